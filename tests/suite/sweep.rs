//! The walk over a store: on several threads as on one, past rows that name another session than their message does, and
//! past the large rows that real stores hold.

use opencode_unstick::history::log::Log;
use opencode_unstick::store::with_snapshot;

use crate::fixtures;
use crate::place::Place;

/// Makes the store large enough for more than one thread.
fn grow(place: &Place, session: &str) {
    place.edit(&format!(
        "WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n WHERE value < 100) \
         INSERT INTO part SELECT 'prt_zzz' || value, (SELECT min(id) FROM message WHERE session_id = '{session}'), \
         '{session}', 1, 1, json_object('type', 'patch', 'text', hex(zeroblob(30000))) FROM n"
    ));
}

#[test]
fn several_threads_find_what_one_finds() {
    for fixture in fixtures::all() {
        let place = Place::of(&fixture);
        let (one, other) = (place.text("SELECT min(id) FROM session"), place.text("SELECT max(id) FROM session"));
        let theirs = place.text(&format!("SELECT min(id) FROM message WHERE session_id = '{other}'"));
        grow(&place, &one);
        // Rows of nobody, rows that are broken.
        place.edit(&format!(
            "INSERT INTO message VALUES ('msg_lost', 'ses_gone', 1, 1, '{{}}');
             INSERT INTO part VALUES ('prt_lost', 'msg_gone', '{one}', 1, 1, '{{\"type\":\"text\",\"text\":\"x\"}}');
             INSERT INTO part VALUES ('prt_nobodys', 'msg_gone', 'ses_gone', 1, 1, '{{\"type\":\"text\",\"text\":\"x\"}}');
             INSERT INTO part VALUES ('prt_odd', '{theirs}', '{other}', 1, 1, '{{\"type\":\"tool\"}}');
             INSERT INTO message VALUES ('msg_odd', '{other}', 1, 1, '{{\"role\":1}}');"
        ));
        for scope in ["--all", "--stuck"] {
            let found = |threads| place.unstick(&["scan", scope, "--json", "--threads", threads]).json();
            let once = found("1");
            assert_eq!(found("2"), once, "{} {scope}", fixture.name);
            assert_eq!(found("7"), once, "{} {scope}", fixture.name);
            let lost = |id: &str| once["unreadable_rows"].as_array().unwrap().iter().any(|row| row["id"] == id);
            assert!(lost("msg_lost") && lost("msg_odd"), "{} {scope}", fixture.name);
            assert_eq!(
                lost("prt_lost") && lost("prt_nobodys") && lost("prt_odd"),
                scope == "--all",
                "{}",
                fixture.name
            );
        }
    }
}

#[test]
fn a_part_that_names_another_session_belongs_to_its_message() {
    let place = Place::named("1.18.33");
    let healthy = fixtures::one("1.18.33").sessions.sessions["healthy"].clone();
    let message = place.text(&format!("SELECT max(id) FROM message WHERE session_id = '{healthy}'"));
    let status = || place.scan().status("healthy").to_owned();
    assert_eq!(status(), "healthy");
    let call = r#"{"type":"tool","tool":"bash","callID":"","state":{"status":"completed","input":{},"output":"","time":{"start":1}}}"#;
    for session in [place.text("SELECT max(id) FROM session"), "ses_gone".to_owned()] {
        for (data, found) in [(r#"{"type":"tool"}"#, "unreadable"), (call, "dead")] {
            place.edit(&format!("INSERT INTO part VALUES ('prt_{session}', '{message}', '{session}', 1, 1, '{data}')"));
            assert_eq!(status(), found, "{session}");
            place.edit(&format!("DELETE FROM part WHERE id = 'prt_{session}'"));
        }
    }
}

/// JSON of a list of changed files of about so many bytes, with what JSON has to escape in it.
fn diffs(bytes: usize) -> String {
    let patch = "@@ -1 +1 @@\\n-let \\\"a\\\" = \u{e9};\\n+let \\u0000 = {\\\"role\\\":\\\"assistant\\\"};".repeat(40);
    let one = format!(r#"{{"file":"src/a.rs","patch":"{patch}","additions":1,"deletions":1}}"#);
    format!("[{}]", vec![one.as_str(); bytes / one.len() + 1].join(","))
}

#[test]
fn a_prompt_that_lists_all_that_its_turn_has_changed_changes_no_verdict() {
    for name in ["1.3.0", "1.18.33"] {
        let place = Place::named(name);
        let before = place.scan();
        for (at, bytes) in [(0, 5_000), (1, 60_000), (2, 2_500_000)] {
            let ids = place.text("SELECT group_concat(id) FROM message WHERE json_extract(data, '$.role') = 'user'");
            for id in ids.split(',').skip(at).step_by(3).take(12) {
                place.rewrite("message", id, |row| {
                    row.replace(r#""diffs":[]"#, &format!(r#""diffs":{}"#, diffs(bytes)))
                });
            }
        }
        assert_eq!(place.scan().by_id(), before.by_id(), "{name}");
        assert_eq!(place.scan_with(&["--stuck"]).titles("stuck"), before.titles("stuck"), "{name}");
        let whole = place.dump();
        place.repair_with(&[]).exits(0);
        assert!(place.scan().titles("stuck").is_empty(), "{name}");
        place.unstick(&["undo", "--yes"]).exits(0);
        assert_eq!(place.dump(), whole, "{name}");
    }
}

#[test]
fn a_log_with_large_rows_is_compared_piece_by_piece() {
    let place = Place::named("1.18.33");
    let session = fixtures::one("1.18.33").sessions.sessions["rstmidtool"].clone();
    let of = |table: &str, wanted: &str| {
        place.text(&format!("SELECT id FROM {table} WHERE {wanted} ORDER BY rowid DESC LIMIT 1"))
    };
    let row = of("message", &format!("session_id = '{session}' AND json_extract(data, '$.role') = 'user'"));
    let event = of(
        "event",
        &format!(
            "aggregate_id = '{session}' AND type = 'message.updated.1' AND json_extract(data, '$.info.id') = '{row}'"
        ),
    );
    let large = format!(r#""diffs":{}"#, diffs(2_500_000));
    place.rewrite("message", &row, |json| json.replace(r#""diffs":[]"#, &large));
    place.rewrite("event", &event, |json| json.replace(r#""diffs":[]"#, &large));
    let log = || {
        with_snapshot(&place.db(), |store| {
            let info = store.session(&session)?.unwrap();
            Ok(match store.log(&store.load(&info)?.session)? {
                Log::Folds(_) => "folds".to_owned(),
                Log::Differs(why) => why,
                Log::None => "none".to_owned(),
            })
        })
        .unwrap()
    };
    assert_eq!(log(), "folds");
    place.rewrite("message", &row, |json| json.replacen("@@ -1", "@@ -2", 1));
    assert_eq!(log(), format!("{row} is not what its events say"));
    place.rewrite("event", &event, |json| json.replacen("@@ -1", "@@ -2", 1));
    assert_eq!(log(), "folds");
    // Half of a surrogate pair is what JavaScript may write.
    place.rewrite("message", &row, |json| json.replacen("@@ -2", "\\ud800", 1));
    assert_eq!(log(), format!("{row} is not what its events say"));
    place.rewrite("event", &event, |json| json.replacen("@@ -2", "\\ud800", 1));
    assert_eq!(log(), "folds");
}
