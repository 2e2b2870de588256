//! The store as a crash, a copy or another process leaves it: read as it is, written when nobody has it.

use std::fs;
use std::io::{BufRead, BufReader};

use serde_json::Value;

use crate::dump::Dump;
use crate::fixtures;
use crate::holder::Holder;
use crate::place::{Place, Run, start};

const STORE: &str = "1.18.33";

/// Every way of looking at a store.
const READERS: [&[&str]; 12] = [
    &["scan"],
    &["scan", "--all", "-v"],
    &["scan", "--json"],
    &["scan", "--stuck", "--json-lines"],
    &["repair", "--dry-run"],
    &["repair", "-n", "--json", "--opencode", "any"],
    &["repair", "-n", "--yes", "--include", "at-risk,latent,unsettled,near-window"],
    &["stats", "--json"],
    &["explain", "rstpar", "--json"],
    &["undo", "--list"],
    &["undo", "--yes"],
    // Nobody is there to say yes.
    &["repair"],
];

/// What a scan and a repair of the plain store come to, for comparison.
struct Plain {
    place: Place,
    before: Dump,
    scan: Value,
}

impl Plain {
    fn new() -> Self {
        let place = Place::named(STORE);
        Self { before: place.dump(), scan: place.scan().document, place }
    }

    /// The program sees the same sessions there, and leaves everything as it lies.
    fn is_seen_in(&self, other: &Place) {
        let before = other.files();
        let scan = other.scan();
        assert_eq!(scan.document["sessions"], self.scan["sessions"]);
        assert_eq!(scan.document["summary"], self.scan["summary"]);
        assert_eq!(scan.document["store"]["id"], self.scan["store"]["id"]);
        assert_eq!(scan.run.code, 1, "{:?}", scan.run);
        before.assert_still(&other.files(), "scan --all --json");
        other.unchanged_by(&READERS);
    }

    /// A repair there does the same as one of the plain store, and loses nothing.
    fn is_repaired_like(&self, other: &Place) {
        let there = other.repair_with(&[]).exits(0).json();
        let here = self.place.repair_with(&[]).exits(0).json();
        let sessions = |run: &Value| -> Vec<Value> {
            run["plan"]["sessions"].as_array().unwrap().iter().map(|s| s["id"].clone()).collect()
        };
        assert_eq!(sessions(&there), sessions(&here));
        let after = (self.place.dump().without_times_of_change(), other.dump().without_times_of_change());
        assert!(after.0 == after.1, "{:?}", after.0.difference(&after.1));
        assert_eq!(other.scan().titles("stuck"), Vec::<&str>::new());
        let files = other.files();
        assert_eq!(other.repair_with(&[]).exits(0).json()["applied"], false);
        files.assert_still(&other.files(), "a second repair");
    }
}

/// A place whose store is in WAL mode, and SQL that brings its messages back: without what that writes, the
/// store has none.
fn emptied() -> (Place, String) {
    let place = Place::named(STORE);
    let original = place.root().join("original.db");
    fs::copy(place.db(), &original).unwrap();
    place.edit("PRAGMA journal_mode = WAL; DELETE FROM part; DELETE FROM message;");
    assert_eq!(place.files().names(), ["opencode.db"]);
    let mut refill = format!("PRAGMA wal_autocheckpoint = 0; ATTACH '{}' AS original;", original.display());
    for (table, columns) in [
        ("message", "rowid, id, session_id, time_created, time_updated, data"),
        ("part", "rowid, id, message_id, session_id, time_created, time_updated, data"),
    ] {
        refill.push_str(&format!("INSERT INTO main.{table} ({columns}) SELECT {columns} FROM original.{table};"));
    }
    refill.push_str("DETACH original;");
    (place, refill)
}

/// A place whose store is held by a process that has written all messages to the -wal.
fn held_with_wal() -> (Place, Holder) {
    let (place, refill) = emptied();
    let holder = Holder::start(&place.db(), &refill);
    assert_eq!(place.files().names(), ["opencode.db", "opencode.db-shm", "opencode.db-wal"]);
    (place, holder)
}

/// Another place that has these files of the store.
fn taken_from(place: &Place, suffixes: &[&str]) -> Place {
    let other = Place::named(STORE);
    for suffix in suffixes {
        fs::copy(place.beside(suffix), other.beside(suffix)).unwrap();
    }
    other
}

/// A process in the middle of a transaction that has changed everything and no longer fits into memory.
fn spilling(place: &Place) -> Holder {
    Holder::start(
        &place.db(),
        "PRAGMA cache_size = 2; PRAGMA cache_spill = 1; PRAGMA foreign_keys = OFF; BEGIN;
         UPDATE part SET data = '{}' || hex(zeroblob(2000)); DELETE FROM message;",
    )
}

/// The same in rollback mode: main file and journal hold both states.
fn spilling_with_journal() -> (Place, Holder) {
    let place = Place::named(STORE);
    let sound = fs::read(place.db()).unwrap();
    let holder = spilling(&place);
    assert_eq!(place.files().names(), ["opencode.db", "opencode.db-journal"]);
    assert_ne!(fs::read(place.db()).unwrap(), sound, "nothing was spilled");
    (place, holder)
}

/// The holder's name and number are what a person needs to find it.
fn refused_as_in_use(place: &Place) {
    let before = place.files();
    let human = place.unstick(&["repair", "--yes"]).exits(2);
    assert!(human.stderr.contains("in use") && human.stderr.contains("--wait"), "{human:?}");
    let error = place.repair_with(&[]).exits(2).json();
    assert_eq!(error["error"]["code"], "store-in-use", "{error}");
    before.assert_still(&place.files(), "a repair of a store in use");
    place.leaves_nothing_elsewhere("a repair of a store in use");
}

#[test]
fn the_plain_store_stays_as_it_is_for_every_reader() {
    let plain = Plain::new();
    plain.is_seen_in(&Place::named(STORE));
}

#[test]
fn a_clean_wal_store_is_read_and_repaired_without_side_files() {
    let plain = Plain::new();
    let place = Place::named(STORE);
    place.edit("PRAGMA journal_mode = WAL; VACUUM;");
    assert_eq!(place.files().names(), ["opencode.db"]);
    plain.is_seen_in(&place);
    plain.is_repaired_like(&place);
    assert_eq!(place.files().names(), ["opencode.db"]);
    assert_eq!(place.text("PRAGMA journal_mode"), "wal");
}

#[test]
fn a_store_in_rollback_mode_stays_in_it() {
    let place = Place::named(STORE);
    place.repair_with(&[]).exits(0);
    assert_eq!(place.files().names(), ["opencode.db"]);
    assert_eq!(place.text("PRAGMA journal_mode"), "delete");
}

#[test]
fn what_only_the_wal_of_a_copied_store_holds_is_read_and_kept() {
    let (held, holder) = held_with_wal();
    let place = taken_from(&held, &["", "-wal"]);
    holder.kill();
    let plain = Plain::new();
    plain.is_seen_in(&place);
    plain.is_repaired_like(&place);
}

#[test]
fn what_a_killed_process_left_in_the_wal_is_read_and_kept() {
    let (place, holder) = held_with_wal();
    holder.kill();
    assert_eq!(place.files().names(), ["opencode.db", "opencode.db-shm", "opencode.db-wal"]);
    let plain = Plain::new();
    plain.is_seen_in(&place);
    plain.is_repaired_like(&place);
}

#[test]
fn an_unfinished_transaction_of_a_killed_process_is_not_read_and_is_taken_back() {
    let (place, holder) = spilling_with_journal();
    holder.kill();
    let plain = Plain::new();
    plain.is_seen_in(&place);
    plain.is_repaired_like(&place);
    assert_eq!(place.files().names(), ["opencode.db"]);
}

#[test]
fn an_unfinished_transaction_of_a_living_process_is_not_read_and_left_to_it() {
    let (place, holder) = spilling_with_journal();
    let plain = Plain::new();
    plain.is_seen_in(&place);
    refused_as_in_use(&place);
    holder.kill();
    plain.is_repaired_like(&place);
}

#[test]
fn an_unfinished_transaction_in_a_wal_is_not_read() {
    let place = Place::named(STORE);
    place.edit("PRAGMA journal_mode = WAL;");
    spilling(&place).kill();
    assert!(fs::metadata(place.beside("-wal")).unwrap().len() > 0, "nothing was spilled");
    let plain = Plain::new();
    plain.is_seen_in(&place);
    plain.is_repaired_like(&place);
}

#[test]
fn a_store_that_another_process_has_open_is_read_but_not_written() {
    let (place, holder) = held_with_wal();
    let plain = Plain::new();
    plain.is_seen_in(&place);
    refused_as_in_use(&place);
    assert!(place.dump() == plain.before);
    holder.close();
    assert_eq!(place.files().names(), ["opencode.db"]);
    plain.is_repaired_like(&place);
}

#[test]
fn a_store_in_rollback_mode_that_another_process_has_open_is_not_written() {
    let place = Place::named(STORE);
    let holder = Holder::start(&place.db(), "SELECT count(*) FROM message;");
    Plain::new().is_seen_in(&place);
    refused_as_in_use(&place);
    holder.close();
    place.repair_with(&[]).exits(0);
}

#[test]
fn a_lock_alone_is_enough_to_be_in_use() {
    // By this name the list of open files does not show the store.
    let place = Place::named(STORE);
    let elsewhere = place.root().join("elsewhere.db");
    fs::hard_link(place.db(), &elsewhere).unwrap();
    for lock in ["BEGIN; SELECT count(*) FROM message;", "BEGIN EXCLUSIVE;"] {
        let holder = Holder::start(&elsewhere, lock);
        refused_as_in_use(&place);
        holder.close();
    }
    place.repair_with(&[]).exits(0);
}

#[test]
fn the_refusal_names_the_process_that_has_it_open() {
    let place = Place::named(STORE);
    let holder = Holder::start(&place.db(), "SELECT count(*) FROM message;");
    let run = place.unstick(&["repair", "--yes"]).exits(2);
    assert!(run.stderr.contains(&holder.id().to_string()), "{run:?}");
}

/// A repair that waits for the store, its plan already shown.
fn waiting(place: &Place) -> (std::process::Child, BufReader<std::process::ChildStdout>) {
    let mut child = start(&mut place.on_store(&["repair", "--yes", "--wait", "600"]));
    let mut shown = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("  - ") {
        line.clear();
        assert!(shown.read_line(&mut line).unwrap() > 0, "no plan was shown");
    }
    (child, shown)
}

#[test]
fn a_repair_waits_for_a_holder_that_goes_away() {
    let place = Place::named(STORE);
    let holder = Holder::start(&place.db(), "BEGIN IMMEDIATE;");
    let (child, shown) = waiting(&place);
    // Long enough to find the store in use first. Were it too short, the test would only see less.
    std::thread::sleep(std::time::Duration::from_millis(500));
    holder.close();
    let rest: Vec<String> = shown.lines().map(|l| l.unwrap()).collect();
    assert!(child.wait_with_output().unwrap().status.success(), "{rest:?}");
    assert_eq!(place.scan().titles("stuck"), Vec::<&str>::new());
}

#[test]
fn a_plan_that_the_store_has_outgrown_is_not_carried_out() {
    let place = Place::named(STORE);
    let session = fixtures::one(STORE).id("rstpar").to_owned();
    let mut holder = Holder::start(&place.db(), "SELECT count(*) FROM message;");
    let (child, _shown) = waiting(&place);
    holder.run(&format!(
        "UPDATE message SET data = json_set(data, '$.cost', 1) WHERE session_id = '{session}' AND data LIKE '%\"stop\"%';"
    ));
    holder.close();
    let theirs = place.files();
    let run = child.wait_with_output().unwrap();
    let said = String::from_utf8(run.stderr).unwrap();
    assert_eq!(run.status.code(), Some(2), "{said}");
    assert!(said.contains("has changed"), "{said}");
    theirs.assert_still(&place.files(), "a plan that was outgrown");
}

#[cfg(unix)]
#[test]
fn a_store_behind_a_link_is_read_with_the_files_beside_the_real_one() {
    let (place, holder) = held_with_wal();
    holder.kill();
    let link = place.root().join("link.db");
    std::os::unix::fs::symlink(place.db(), &link).unwrap();
    let before = place.files();
    let scan = Run::of(&mut place.on(&link, &["scan", "--all", "--json"])).exits(1).json();
    assert_eq!(scan["sessions"], Plain::new().scan["sessions"]);
    before.assert_still(&place.files(), "a scan by a link");
    Run::of(&mut place.on(&link, &["repair", "--yes"])).exits(0);
    assert_eq!(place.scan().titles("stuck"), Vec::<&str>::new());
}
