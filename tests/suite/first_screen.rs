//! A scan of a store with a thousand sessions: what needs action stands on the first screen, with the next command.

use std::process::Command;

use rusqlite::Connection;
use unicode_width::UnicodeWidthStr;

use crate::fixtures;
use crate::place::{Place, Run, start};
use crate::pty::Pty;

const NAME: &str = "1.18.33";
/// Three days after the store of 1.18.33 was made, in ms since the epoch.
const NOW: &str = "1795510479474";

/// Adds `n` copies of the session, each a minute older than the one before.
fn copies(db: &Connection, session: &str, n: u64) {
    db.execute_batch(&format!(
        "CREATE TEMP TABLE s AS SELECT *, title AS name FROM session WHERE id = '{session}';
         CREATE TEMP TABLE m AS SELECT * FROM message WHERE session_id = '{session}';
         CREATE TEMP TABLE p AS SELECT * FROM part WHERE session_id = '{session}';
         ALTER TABLE s DROP COLUMN name;
         CREATE TEMP TABLE t AS SELECT title FROM s;"
    ))
    .unwrap();
    for at in 0..n {
        let id = |column: &str| format!("substr({column}, 1, 24) || '{at:06}'");
        db.execute_batch(&format!(
            "UPDATE s SET id = {}, title = (SELECT title FROM t) || ' {at}', time_updated = time_updated - 60000;
             UPDATE m SET id = {}, session_id = {}, data = CASE WHEN data ->> '$.parentID' IS NULL THEN data
                 ELSE json_set(data, '$.parentID', {}) END;
             UPDATE p SET id = {}, message_id = {}, session_id = {};
             INSERT INTO session SELECT * FROM s; INSERT INTO message SELECT * FROM m; INSERT INTO part SELECT * FROM p;",
            id("id"),
            id("id"),
            id("session_id"),
            id("data ->> '$.parentID'"),
            id("id"),
            id("message_id"),
            id("session_id"),
        ))
        .unwrap();
    }
    db.execute_batch("DROP TABLE s; DROP TABLE m; DROP TABLE p; DROP TABLE t").unwrap();
}

/// A store with 1,022 sessions, of which 17 are stuck and 227 latent.
fn worn() -> Place {
    let place = Place::named(NAME);
    let db = place.sql();
    db.execute_batch("PRAGMA foreign_keys = OFF; BEGIN").unwrap();
    for (title, n) in [("abort-text", 8), ("rstpar", 4), ("rstmidtool", 224), ("healthy", 764)] {
        copies(&db, fixtures::one(NAME).id(title), n);
    }
    db.execute_batch("COMMIT").unwrap();
    db.close().unwrap();
    place
}

/// The program, told of the store by a short path.
fn at(place: &Place, args: &[&str]) -> Command {
    let mut command = place.command(args);
    command.args(["--db", "store/opencode.db", "--sdk", "mock=@ai-sdk/anthropic", "--no-progress"]);
    command.env("UNSTICK_NOW", NOW).env("NO_COLOR", "1");
    command
}

/// What stands in a terminal of that size, with the place's name replaced.
fn in_terminal(place: &Place, args: &[&str], (rows, columns): (u16, u16)) -> String {
    let (code, shown) = Pty::sized(at(place, args), start, rows, columns).ends();
    assert_eq!(code, 1, "{shown}");
    shown.replace('\r', "").replace(place.root().to_str().unwrap(), "[place]")
}

/// How many lines of a terminal the text takes.
fn lines(text: &str, columns: usize) -> usize {
    text.lines().map(|line| line.width().div_ceil(columns).max(1)).sum()
}

const HEADLINE: &str = "17 sessions are stuck: every retry is refused. (227 latent, 778 healthy)";

#[test]
fn the_first_screen_answers() {
    let place = worn();
    for (rows, columns) in [(24, 80), (40, 120), (24, 60)] {
        let text = in_terminal(&place, &["scan"], (rows, columns));
        // The command that was typed and the next prompt have a line each.
        assert!(lines(&text, columns.into()) + 2 <= rows.into(), "{rows}x{columns}:\n{text}");
        let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(flat.contains(HEADLINE), "{text}");
        assert!(flat.contains("Next: unstick repair --dry-run --db store/opencode.db"), "{text}");
        assert!(flat.contains("more: `unstick scan --status stuck` lists all"), "{text}");
        let mut settings = insta::Settings::clone_current();
        settings.set_prepend_module_to_snapshot(false);
        settings.bind(|| insta::assert_snapshot!(format!("first-screen-{rows}x{columns}"), text));
    }
    // The newest ten, newest first, where they have room.
    let text = in_terminal(&place, &["scan"], (40, 120));
    let times = |line: &str| line.strip_prefix("stuck  ").map(|rest| rest[..30].to_owned());
    let shown: Vec<String> = text.lines().filter_map(times).collect();
    let scan = place.scan();
    let stuck = |id: &&String| scan.by_id()[id.as_str()]["status"] == "stuck";
    assert_eq!(shown.iter().filter(stuck).count(), 10, "{text}");
    let order = place.text(
        "SELECT group_concat(id) FROM (SELECT id FROM session WHERE title LIKE 'abort-text%' OR title LIKE 'rstpar%'
             OR title IN ('overaftertool', 'empty-after-healthy', 'empty-after-orphan') ORDER BY time_updated DESC LIMIT 10)",
    );
    assert_eq!(shown.join(","), order, "{text}");
}

#[test]
fn a_list_longer_than_the_terminal_ends_with_the_headline_too() {
    let place = worn();
    let text = in_terminal(&place, &["scan", "--status", "latent"], (24, 80));
    assert!(text.lines().count() > 600, "{}", text.lines().count());
    assert_eq!(text.matches(HEADLINE).count(), 2);
    assert_eq!(text.lines().last(), Some(HEADLINE));
    // A list that fits says it once; so does one of which nothing scrolls away.
    assert_eq!(in_terminal(&place, &["scan"], (24, 80)).matches(HEADLINE).count(), 1);
    let piped = Run::of(&mut at(&place, &["scan", "--all"])).exits(1).stdout;
    assert_eq!(piped.matches(HEADLINE).count(), 1);
    assert_eq!(piped.matches("\nlatent ").count(), 227, "--all lists every session");
}

#[test]
fn thirty_lines_hold_a_scan_of_any_store() {
    for fixture in fixtures::all() {
        let place = Place::of(&fixture);
        // A row that cannot be read, and a session that every prompt is refused for.
        place.edit("UPDATE message SET data = '{' WHERE rowid = (SELECT max(rowid) FROM message)");
        for flags in [&["--opencode", "any"][..], &[]] {
            for columns in ["40", "80", "110"] {
                let run = Run::of(place.on_store(&[&["scan"], flags].concat()).env("COLUMNS", columns));
                assert!(run.stdout.lines().count() <= 30, "{:?} {flags:?}:\n{}", fixture.db, run.stdout);
                assert!(run.stdout.contains("Next: ") || run.code == 0, "{}", run.stdout);
            }
        }
    }
    let place = worn();
    let run = place.unstick(&["scan"]).exits(1);
    assert!(run.stdout.lines().count() <= 30, "{}", run.stdout);
    assert!(run.stdout.contains("\nand 7 more: "), "{}", run.stdout);
}

#[test]
fn a_status_can_be_asked_for() {
    let place = Place::named(NAME);
    let said = |status: &str| {
        let document = place.unstick(&["scan", "--status", status, "--json"]).json();
        let sessions = document["sessions"].as_array().unwrap();
        let mut titles: Vec<String> = sessions.iter().map(|s| s["title"].as_str().unwrap().to_owned()).collect();
        titles.sort_unstable();
        titles
    };
    let scan = place.scan();
    for status in ["latent", "stuck", "healthy", "dead"] {
        assert_eq!(said(status), scan.titles(status), "{status}");
    }
    assert_eq!(said("latent,stuck").len(), scan.titles("latent").len() + scan.titles("stuck").len());
    let text = place.unstick(&["scan", "--status", "latent"]).exits(1).stdout;
    assert_eq!(text.matches("\nlatent ").count(), scan.titles("latent").len(), "{text}");
    assert!(!text.contains("\nstuck "), "{text}");
    let run = place.unstick(&["scan", "--status", "sick"]).exits(2);
    assert!(run.stderr.contains("sick") && run.stderr.contains("at-risk"), "{run:?}");
}

#[test]
fn causes_are_words_and_codes_come_with_verbose() {
    let place = Place::named(NAME);
    let text = place.unstick(&["scan"]).exits(1).stdout;
    assert!(text.contains("tool call, then text; refused once"), "{text}");
    assert!(!text.contains("-tail"), "{text}");
    let text = place.unstick(&["scan", "-v"]).exits(1).stdout;
    assert!(text.contains("  completed-tool-tail: "), "{text}");
}

#[test]
fn the_program_alone_says_how_the_store_stands_in_three_lines() {
    let place = Place::named(NAME);
    let run = place.unstick(&[]).exits(1);
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{run:?}");
    assert_eq!(lines[0], place.db().to_str().unwrap());
    assert_eq!(lines[1], "5 sessions are stuck: every retry is refused. (3 latent, 14 healthy)");
    assert!(lines[2].starts_with("Next: unstick scan --db "), "{run:?}");
    assert_eq!(place.unstick(&["--json"]).exits(1).json()["command"], "scan");
    assert_eq!(place.unstick(&["-q"]).exits(1).stdout.lines().count(), 1);
    place.repair_with(&[]).exits(0);
    let run = place.unstick(&[]).exits(0);
    assert!(run.stdout.contains("\nNo session is stuck. ") && run.stdout.contains("nothing to do"), "{run:?}");
    // Without a store it says what a scan says.
    let place = Place::empty();
    let alone = Run::of(&mut place.command(["--json"])).exits(2).json();
    assert_eq!(alone, Run::of(&mut place.command(["scan", "--json"])).exits(2).json());
    let text = Run::of(&mut place.command(&[] as &[&str])).exits(2);
    assert!(text.stderr.contains("error[no-store]") && text.stdout.is_empty(), "{text:?}");
}

#[test]
fn an_unknown_command_names_the_one_that_is_meant() {
    let place = Place::empty();
    for (typed, meant) in
        [("scna", "scan"), ("repare", "repair"), ("doctor", "scan"), ("fix", "repair"), ("rollback", "undo")]
    {
        let run = Run::of(&mut place.command([typed])).exits(2);
        assert!(run.stderr.contains(typed) && run.stderr.contains(meant), "{typed}: {run:?}");
    }
}

#[test]
fn a_session_without_a_time_is_not_fifty_years_old() {
    let place = Place::named(NAME);
    place.edit("UPDATE session SET time_updated = 0, time_created = 0 WHERE title = 'rstpar'");
    for args in [&["scan"][..], &["scan", "-v"]] {
        let text = place.unstick(args).exits(1).stdout;
        assert!(!text.contains("year") && !text.contains("1970"), "{text}");
    }
}

#[test]
fn the_size_of_a_store_is_that_of_its_files() {
    let place = Place::named(NAME);
    let db = place.sql();
    db.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; UPDATE part SET time_updated = time_updated + 1",
    )
    .unwrap();
    let on_disk: u64 = ["", "-wal"].iter().map(|s| std::fs::metadata(place.beside(s)).unwrap().len()).sum();
    assert!(std::fs::metadata(place.beside("-wal")).unwrap().len() > 10_000);
    assert_eq!(place.scan().document["store"]["bytes"], on_disk);
}

/// Without a word about packages, in a home without configuration: whatever is called stuck is refused by the real program.
#[test]
fn nothing_is_called_stuck_by_a_guess_that_the_real_program_does_not_refuse() {
    for fixture in fixtures::all() {
        let place = Place::of(&fixture);
        let run = Run::of(&mut place.command(["scan", "--all", "--json", "--db", place.db().to_str().unwrap()]));
        let document = run.json();
        let sessions = document["sessions"].as_array().unwrap();
        let stuck: Vec<&str> =
            sessions.iter().filter(|s| s["status"] == "stuck").map(|s| s["id"].as_str().unwrap()).collect();
        assert!(!stuck.is_empty(), "{:?}", fixture.db);
        for id in stuck {
            let seen = &fixture.verdicts[id].retry;
            assert!(seen.values().any(|v| v == "ends with assistant"), "{:?}: {id}: {seen:?}", fixture.db);
        }
    }
}
