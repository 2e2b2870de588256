//! Others at work on the store: writers that come and go, a reader that stays, a store that is moved away, a second
//! `unstick`. What is read belongs to one state of the store, and nobody's work is lost.

use std::fs;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};

use crate::dump::Dump;
use crate::faults::paused;
use crate::fixtures;
use crate::holder::Holder;
use crate::place::{Place, Run, start};

const STORE: &str = "1.18.33";
const OTHER: &str = "1.17.11";

const WRITE_TO: &str = "UNSTICK_TEST_STORE_TO_WRITE";

/// Two sessions whose titles always change places in one transaction.
const SWAPPED: [&str; 2] = ["healthy", "healthy-text"];

/// Opens the store, changes both titles in one transaction, closes it, and does so again until input ends.
#[test]
#[ignore = "the other process of the tests about writers"]
fn writes_all_the_time() {
    let Ok(path) = std::env::var(WRITE_TO) else { return };
    let over = std::thread::spawn(|| std::io::stdin().read_to_end(&mut Vec::new()));
    let mut done = 0;
    while !over.is_finished() || done == 0 {
        let mut db = Connection::open(&path).unwrap();
        db.busy_timeout(Duration::from_secs(60)).unwrap();
        // Nothing here has to outlive a power loss, and a slow disk would only make the test slow.
        db.execute_batch("PRAGMA synchronous = OFF").unwrap();
        for _ in 0..3 {
            let change = db.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
            let [one, two] = SWAPPED;
            for (from, to) in [(one, "between"), (two, one), ("between", two)] {
                change.execute("UPDATE session SET title = ?2 WHERE title = ?1", [from, to]).unwrap();
            }
            // Pages that lie apart: a reader that sees half of this sees two states.
            change.execute("UPDATE part SET time_updated = time_updated + 1", []).unwrap();
            change.commit().unwrap();
        }
        db.close().unwrap();
        done += 1;
    }
}

fn writer(place: &Place) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["others::writes_all_the_time", "--exact", "--ignored"])
        .env(WRITE_TO, place.db())
        .stdin(Stdio::piped())
        .stdout(Stdio::null());
    start(&mut command)
}

/// Scans while ten others write. Returns how many scans saw the store, and how many said that it never held still.
fn scanned_beside_ten_writers(place: &Place) -> (usize, usize) {
    let plain = Place::named(STORE).scan();
    let writers: Vec<Child> = (0..10).map(|_| writer(place)).collect();
    let (mut seen, mut gave_up) = (0, 0);
    for _ in 0..6 {
        let run = place.unstick(&["scan", "--all", "--json"]);
        let found = run.json();
        match run.code {
            1 => {
                seen += 1;
                assert_eq!(found["summary"], plain.document["summary"]);
                let titles = |d: &serde_json::Value| {
                    let mut all: Vec<String> =
                        d["sessions"].as_array().unwrap().iter().map(|s| s["title"].as_str().unwrap().into()).collect();
                    all.sort();
                    all
                };
                assert_eq!(titles(&found), titles(&plain.document), "half of a transaction was read");
            }
            2 => {
                gave_up += 1;
                let code = found["error"]["code"].as_str().unwrap();
                assert!(["store-changing", "store-in-use"].contains(&code), "{run:?}");
            }
            _ => panic!("{run:?}"),
        }
    }
    // Nor is it written while somebody has it. In an instant in which nobody has, it may be.
    let repaired = place.repair_with(&[]);
    assert!(repaired.code == 0 || repaired.code == 2 && repaired.json()["error"]["code"] != "sqlite", "{repaired:?}");
    for mut writer in writers {
        drop(writer.stdin.take());
        assert!(writer.wait().unwrap().success(), "a writer was disturbed");
    }
    (seen, gave_up)
}

#[test]
fn ten_writers_in_wal_mode_are_not_disturbed_and_read_past() {
    let place = Place::named(STORE);
    place.edit("PRAGMA journal_mode = WAL");
    let (seen, gave_up) = scanned_beside_ten_writers(&place);
    println!("WAL: {seen} seen, {gave_up} gave up");
    assert_eq!(place.text("PRAGMA integrity_check"), "ok");
}

#[test]
fn ten_writers_in_rollback_mode_are_not_disturbed() {
    let place = Place::named(STORE);
    let (seen, gave_up) = scanned_beside_ten_writers(&place);
    println!("rollback: {seen} seen, {gave_up} gave up");
    assert_eq!(place.text("PRAGMA integrity_check"), "ok");
}

#[test]
fn of_ten_repairs_at_once_one_is_done() {
    let plain = Place::named(STORE);
    plain.repair_with(&[]).exits(0);
    let place = Place::named(STORE);
    let all: Vec<Child> =
        (0..10).map(|_| start(&mut place.on_store(&["repair", "--yes", "--json", "--wait", "300"]))).collect();
    let mut done = 0;
    for run in all.into_iter().map(Run::ended) {
        let found = run.json();
        match run.code {
            0 => done += usize::from(found["applied"] == true),
            2 => assert_eq!(found["error"]["code"], "row-changed", "{run:?}"),
            _ => panic!("{run:?}"),
        }
    }
    assert_eq!(done, 1);
    let (found, expected) = (place.dump(), plain.dump());
    assert!(found.without_times_of_change() == expected.without_times_of_change());
    let list = place.unstick(&["undo", "--list", "--json"]).exits(0).json();
    assert_eq!(list["journals"].as_array().unwrap().len(), 1);
    assert_eq!(place.text("PRAGMA integrity_check"), "ok");
}

#[test]
fn a_second_repair_in_the_middle_of_the_first_is_refused_and_a_scan_sees_the_store_as_it_was() {
    for mode in ["delete", "wal"] {
        let place = Place::named(STORE);
        place.edit(&format!("PRAGMA journal_mode = {mode}"));
        let (before, scan) = (place.dump(), place.scan().document);
        for at in [2, 20] {
            let first = paused(&place, &["repair", "--yes", "--json"], false, at);
            let second = place.repair_with(&[]).exits(2).json();
            assert_eq!(second["error"]["code"], "store-in-use", "{mode}");
            let undo = place.unstick(&["undo", "--yes", "--json"]).exits(2).json();
            assert!(["store-in-use", "nothing-to-undo"].contains(&undo["error"]["code"].as_str().unwrap()), "{undo}");
            assert_eq!(place.scan().document["sessions"], scan["sessions"], "{mode}");
            first.goes_on().exits(0);
            place.unstick(&["undo", "--yes"]).exits(0);
            assert!(place.dump() == before, "{mode}");
        }
    }
}

#[test]
fn a_reader_that_stays_keeps_a_repair_away_and_sees_what_it_saw() {
    for mode in ["delete", "wal"] {
        let place = Place::named(STORE);
        place.edit(&format!("PRAGMA journal_mode = {mode}"));
        // Not to be found among the open files: the lock alone has to do.
        let elsewhere = place.root().join("elsewhere.db");
        fs::hard_link(place.db(), &elsewhere).unwrap();
        let mut reader = Holder::start(&elsewhere, "BEGIN; CREATE TEMP TABLE was AS SELECT id, data FROM message;");
        let before = place.dump();
        let refused = place.repair_with(&[]).exits(2).json();
        assert_eq!(refused["error"]["code"], "store-in-use", "{mode}");
        assert!(place.dump() == before, "{mode}");
        reader.run("CREATE TEMP TABLE same AS SELECT 1 / (count(*) = 0) FROM message m JOIN was USING (id) WHERE m.data <> was.data;");
        reader.run("COMMIT;");
        reader.close();
        place.repair_with(&[]).exits(0);
    }
}

/// What a scan says that was stopped at its nth read while something happened to the store.
fn scanned_while(place: &Place, at: usize, happens: impl Fn(&Place)) -> Run {
    let scan = paused(place, &["scan", "--all", "--json"], true, at);
    happens(place);
    scan.goes_on()
}

/// Reads at which a scan is stopped: at the header, at the schema, among the sessions, among the rows.
const READS: [usize; 5] = [1, 2, 4, 9, 25];

fn sessions(place: &Place) -> serde_json::Value {
    place.scan().document["sessions"].clone()
}

#[test]
fn a_store_that_is_replaced_while_it_is_read_is_read_again() {
    let (old, new) = (sessions(&Place::named(STORE)), sessions(&Place::named(OTHER)));
    for at in READS {
        let run = scanned_while(&Place::named(STORE), at, |place| {
            let fresh = place.folder().join("fresh");
            fs::copy(fixtures::one(OTHER).db, &fresh).unwrap();
            // With the very time that the old one had.
            let time = fs::metadata(place.db()).unwrap().modified().unwrap();
            fs::File::options().write(true).open(&fresh).unwrap().set_modified(time).unwrap();
            fs::rename(&fresh, place.db()).unwrap();
        });
        let found = run.exits(1).json()["sessions"].clone();
        assert!(found == new, "read {at}: {}", if found == old { "what is gone" } else { "a mixture" });
    }
}

#[test]
fn a_store_that_is_overwritten_in_place_with_its_old_time_is_read_again() {
    let new = sessions(&Place::named("1.18.33-tails"));
    for at in READS {
        let run = scanned_while(&Place::named(STORE), at, |place| {
            let time = fs::metadata(place.db()).unwrap().modified().unwrap();
            fs::copy(fixtures::one("1.18.33-tails").db, place.db()).unwrap();
            fs::File::options().write(true).open(place.db()).unwrap().set_modified(time).unwrap();
        });
        assert!(run.exits(1).json()["sessions"] == new, "read {at}");
    }
}

#[test]
fn a_commit_that_the_clock_does_not_show_is_seen() {
    for at in READS {
        let run = scanned_while(&Place::named(STORE), at, |place| {
            let time = fs::metadata(place.db()).unwrap().modified().unwrap();
            place.edit("UPDATE session SET title = 'renamed'");
            fs::File::options().write(true).open(place.db()).unwrap().set_modified(time).unwrap();
        });
        let found = run.exits(1).json();
        let all = found["sessions"].as_array().unwrap();
        assert!(all.iter().all(|s| s["title"] == "renamed"), "read {at}");
    }
}

#[test]
fn a_store_that_is_moved_away_or_removed_while_it_is_read_is_said_to_be_gone() {
    for at in READS {
        for gone in
            [(|place: &Place| fs::rename(place.db(), place.root().join("away.db")).unwrap()) as fn(&Place), |place| {
                fs::remove_file(place.db()).unwrap();
            }]
        {
            let place = Place::named(STORE);
            let run = scanned_while(&place, at, gone).exits(2);
            assert_eq!(run.json()["error"]["code"], "store-missing", "read {at}: {run:?}");
            assert_eq!(place.files().names().len(), 0);
        }
    }
}

#[test]
fn a_store_that_is_cut_short_while_it_is_read_is_an_error() {
    for at in READS {
        let run = scanned_while(&Place::named(STORE), at, |place| {
            fs::File::options().write(true).open(place.db()).unwrap().set_len(40_960).unwrap();
        });
        assert_eq!(run.exits(2).json()["error"]["code"], "store-corrupt", "read {at}");
    }
}

#[test]
fn a_writer_that_turns_up_while_the_store_is_read_is_noticed() {
    for at in READS {
        let place = Place::named(STORE);
        place.edit("PRAGMA journal_mode = WAL");
        let scan = paused(&place, &["scan", "--all", "--json"], true, at);
        let holder = Holder::start(&place.db(), "PRAGMA wal_autocheckpoint = 0; UPDATE session SET title = 'renamed';");
        let found = scan.goes_on().exits(1).json();
        let all = found["sessions"].as_array().unwrap();
        assert!(all.len() == 22 && all.iter().all(|s| s["title"] == "renamed"), "read {at}");
        holder.close();
    }
}

#[test]
fn what_is_committed_to_a_wal_while_it_is_read_is_seen_whole_or_not_at_all() {
    let before = sessions(&Place::named(STORE));
    let mut old = 0;
    for at in READS {
        let place = Place::named(STORE);
        place.edit("PRAGMA journal_mode = WAL");
        let mut holder = Holder::start(
            &place.db(),
            "PRAGMA wal_autocheckpoint = 0; UPDATE part SET time_updated = time_updated + 1;",
        );
        let scan = paused(&place, &["scan", "--all", "--json"], true, at);
        holder.run("BEGIN; DELETE FROM part; DELETE FROM message; DELETE FROM session; COMMIT;");
        let run = scan.goes_on();
        assert!(run.code < 2, "read {at}: {run:?}");
        let found = run.json()["sessions"].clone();
        old += usize::from(found == before);
        assert!(found == before || found == serde_json::json!([]), "read {at}: a mixture");
        holder.close();
    }
    assert!(old > 0, "no scan had begun");
}

/// The reader has seen a -wal with content, and when it opens the store, the writer has gone and taken it along.
/// SQLite then makes the files of a reader, an empty -wal among them, and leaves them: the one trace that reading
/// can leave (docs/reliability.md). It harms nobody.
#[test]
fn a_writer_that_goes_in_the_instant_of_opening_leaves_at_most_an_empty_wal() {
    let plain = sessions(&Place::named(STORE));
    let mut traces = 0;
    // While it looks at what lies there, when it has looked, and when SQLite opens it.
    for at in [1, 2, 3] {
        let place = Place::named(STORE);
        place.edit("PRAGMA journal_mode = WAL");
        let holder = Holder::start(&place.db(), "UPDATE part SET time_updated = time_updated + 1;");
        let before = place.dump();
        assert!(fs::metadata(place.beside("-wal")).unwrap().len() > 0);
        let scan = paused(&place, &["scan", "--all", "--json"], true, at);
        holder.close();
        assert_eq!(place.files().names(), ["opencode.db"]);
        let closed = fs::read(place.db()).unwrap();
        scan.goes_on().exits(1);
        assert!(fs::read(place.db()).unwrap() == closed, "read {at}: reading has written the store");
        traces += place.files().names().len() - 1;
        println!("read {at}: left by it: {:?}", place.files().names());
        assert!(fs::metadata(place.beside("-wal")).map_or(0, |m| m.len()) == 0, "read {at}");
        assert!(sessions(&place) == plain, "read {at}");
        assert!(place.dump() == before, "read {at}");
        place.repair_with(&[]).exits(0);
        // Whoever opens it next for writing clears up.
        place.edit("UPDATE session SET title = title");
        assert_eq!(place.files().names(), ["opencode.db"], "read {at}");
    }
    assert!(traces > 0, "the instant was not met");
}

#[test]
fn a_store_that_is_replaced_while_it_is_written_is_not_said_to_be_repaired() {
    let plain = Place::named(STORE);
    plain.repair_with(&[]).exits(0);
    let repaired = plain.dump().without_times_of_change();
    let theirs = Place::named(OTHER).dump();
    for mode in ["delete", "wal"] {
        for at in [2, 20] {
            let place = Place::named(STORE);
            place.edit(&format!("PRAGMA journal_mode = {mode}"));
            let repair = paused(&place, &["repair", "--yes", "--json"], false, at);
            let other = fs::read(fixtures::one(OTHER).db).unwrap();
            let fresh = place.root().join("fresh");
            fs::write(&fresh, &other).unwrap();
            fs::rename(place.db(), place.root().join("moved.db")).unwrap();
            fs::rename(&fresh, place.db()).unwrap();
            let run = repair.goes_on();
            // In the very middle of the commit it can only be said.
            let said = run.code == 0 && run.stderr.contains("has taken its place");
            assert!(said && mode == "wal" || run.code == 2, "{mode} {at}: {run:?}");
            assert!(fs::read(place.db()).unwrap() == other, "{mode} {at}: another store was written");
            // What lies beside it belongs to the one that was moved, and must not be taken for its own.
            assert!(place.dump() == theirs, "{mode} {at}: {:?}", place.files().names());
            if said {
                assert!(Dump::of(&place.root().join("moved.db")).without_times_of_change() == repaired, "{mode} {at}");
            }
        }
    }
}
