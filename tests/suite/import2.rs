//! What opencode 2's import of opencode 1's sessions stumbles over, planted in copies of stores.

use std::path::Path;

use opencode_unstick::opencode2::import::{self, Columns, Effect, Examination, NEEDED, State, fix};
use rusqlite::{Connection, params};
use serde_json::{Value, json};

use crate::place::Place;

/// What the import does to the sessions of a store: `session code row`, what stops it first.
fn examined(store: &Path) -> Vec<(String, String, String, Effect)> {
    let db = Connection::open(store).unwrap();
    let texts = |query: &str, id: &str| -> Vec<Vec<Option<String>>> {
        let mut statement = db.prepare(query).unwrap();
        let width = statement.column_count();
        let rows = statement.query_map([id], |row| (0..width).map(|at| row.get(at)).collect());
        rows.unwrap().collect::<Result<_, _>>().unwrap()
    };
    let has: Vec<String> = texts("SELECT name FROM pragma_table_info('session') WHERE name <> ?", "")
        .into_iter()
        .filter_map(|mut row| row.remove(0))
        .collect();
    let column = |id: &str, name: &str| -> Option<String> {
        let query = format!("SELECT CAST({name} AS TEXT) FROM session WHERE id = ?");
        has.iter().any(|n| n == name).then(|| texts(&query, id).remove(0).remove(0)).flatten()
    };
    let mut out = Vec::new();
    for mut row in texts("SELECT id FROM session WHERE id <> ? ORDER BY id", "") {
        let id = row.remove(0).unwrap();
        let null: Vec<&'static str> =
            NEEDED.into_iter().filter(|name| has.iter().any(|n| n == name) && column(&id, name).is_none()).collect();
        let text = |value: &Option<String>| value.clone().unwrap();
        let mut examination = Examination::of(&id);
        for m in texts("SELECT id, time_created || '', data FROM message WHERE session_id = ?", &id) {
            examination.message(&text(&m[0]), text(&m[1]).parse().unwrap(), &text(&m[2]));
        }
        for p in texts("SELECT id, message_id, data FROM part WHERE session_id = ?", &id) {
            examination.part(&text(&p[0]), &text(&p[1]), &text(&p[2]));
        }
        let [directory, model, revert, diffs] =
            ["directory", "model", "revert", "summary_diffs"].map(|name| column(&id, name));
        let documents = diffs.map(|diffs| ("summary_diffs", diffs)).into_iter().collect();
        let directory = directory.unwrap_or_else(|| "/".to_owned());
        let findings = examination.findings(&Columns { directory, model, revert, documents, null });
        let told = findings.into_iter().map(|f| (id.clone(), f.effect.code().to_owned(), f.row, f.effect));
        out.extend(told);
    }
    out
}

const STORE: &str = "1.18.33";

/// A prompt of a session, and its first part.
fn prompt(place: &Place, story: &str) -> (String, String, String) {
    let db = place.sql();
    let query = "SELECT s.id, m.id, p.id FROM session s JOIN message m ON m.session_id = s.id
                 JOIN part p ON p.message_id = m.id WHERE s.title = ? AND m.data ->> '$.role' = 'user' ORDER BY m.id, p.id";
    db.query_row(query, [story], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap()
}

fn plant(place: &Place, statement: &str, values: &[&str]) {
    let db = place.sql();
    db.execute(statement, rusqlite::params_from_iter(values)).unwrap();
}

/// What is new since the store was whole.
fn news(place: &Place) -> Vec<(String, String, String, Effect)> {
    let before = examined(&Place::named(STORE).db());
    let mut after = examined(&place.db());
    after.retain(|finding| !before.contains(finding));
    after
}

#[test]
fn no_captured_store_stops_the_import() {
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/stores")).unwrap() {
        let entry = entry.unwrap();
        if !entry.path().is_dir() {
            continue;
        }
        let place = Place::named(entry.file_name().to_str().unwrap());
        for (session, code, row, effect) in examined(&place.db()) {
            // What a kill has left open, and reverts that are staged: there are stories of both.
            let expected = ["import-hides-history", "import-forgets-revert"].contains(&code.as_str());
            assert!(expected, "{:?}, {session}, {row}: {effect:?}", entry.file_name());
        }
    }
}

#[test]
fn a_broken_escape_stops_it_and_can_be_mended() {
    let place = Place::named(STORE);
    let (session, message, _) = prompt(&place, "healthy");
    let data = r#"{"type":"file", "mime":"image/svg+xml","url":"data:image/svg+xml,100% é%20<svg/>"}"#;
    let insert = "INSERT INTO part (id, message_id, session_id, time_created, time_updated, data)
                  VALUES ('prt_planted', ?, ?, 1, 1, ?)";
    plant(&place, insert, &[&message, &session, data]);
    let found = news(&place);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        (found[0].0.as_str(), found[0].1.as_str(), found[0].2.as_str()),
        (session.as_str(), "import-stops", "prt_planted")
    );
    let fixed = fix::encode_escapes(data).unwrap();
    assert_eq!(fixed, data.replace("100% ", "100%25 "));
    plant(&place, "UPDATE part SET data = ? WHERE id = 'prt_planted'", &[&fixed]);
    assert_eq!(news(&place), []);
}

#[test]
fn an_id_without_its_underscore_stops_it() {
    let place = Place::named(STORE);
    let (session, message, _) = prompt(&place, "healthy");
    let other = message.replacen("msg_", "msg", 1);
    let db = place.sql();
    db.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
    db.execute("UPDATE message SET id = ? WHERE id = ?", params![other, message]).unwrap();
    db.execute("UPDATE part SET message_id = ? WHERE message_id = ?", params![other, message]).unwrap();
    let found = news(&place);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0], (session, "import-stops".to_owned(), other, Effect::Stops(import::Stop::MessageId)));
}

#[test]
fn a_missing_column_stops_it() {
    let place = Place::named(STORE);
    let (session, _, _) = prompt(&place, "healthy");
    // The column does not allow it; a table that somebody has mended by hand may.
    place.edit_schema("session", "`slug` text NOT NULL", "`slug` text");
    let db = place.sql();
    db.execute("UPDATE session SET slug = NULL WHERE id = ?", [&session]).unwrap();
    let found = news(&place);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].3, Effect::Stops(import::Stop::Null("slug")));
    db.execute("UPDATE session SET slug = 'x', model = '{' WHERE id = ?", [&session]).unwrap();
    let found = news(&place);
    assert!(matches!(&found[0].3, Effect::Stops(import::Stop::Column(misfit)) if misfit.place == "model"), "{found:?}");
}

type Change = fn(&mut Value);

#[test]
fn rows_that_do_not_decode_are_dropped() {
    let (session, message, part) = prompt(&Place::named(STORE), "healthy");
    let edits: [(&str, &str, Change); 4] = [
        ("message", &message, |data| drop(data.as_object_mut().unwrap().remove("agent"))),
        ("message", &message, |data| data["time"]["created"] = json!(-1)),
        ("part", &part, |data| data["text"] = Value::Null),
        ("part", &part, |data| data["type"] = json!("telegram")),
    ];
    for (table, id, edit) in edits {
        let place = Place::named(STORE);
        place.rewrite(table, id, |data| {
            let mut data = serde_json::from_str(data).unwrap();
            edit(&mut data);
            data.to_string()
        });
        let found = news(&place);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((&found[0].0, found[0].1.as_str(), found[0].2.as_str()), (&session, "import-drops-row", id));
    }
    let place = Place::named(STORE);
    let db = place.sql();
    db.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
    db.execute("UPDATE part SET message_id = 'msg_nowhere' WHERE id = ?", [&part]).unwrap();
    assert_eq!(news(&place)[0].3, Effect::DropsOrphan);
}

#[test]
fn an_answer_that_never_ended_hides_what_follows() {
    let place = Place::named(STORE);
    let query = "SELECT m.id, m.data FROM session s JOIN message m ON m.session_id = s.id
                 WHERE s.title = 'healthy' AND m.data ->> '$.role' = 'assistant' ORDER BY m.id";
    let answers: Vec<(String, String)> = {
        let db = place.sql();
        let mut statement = db.prepare(query).unwrap();
        statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().collect::<Result<_, _>>().unwrap()
    };
    assert_eq!(answers.len(), 2);
    let open = |data: &str| {
        let mut data: Value = serde_json::from_str(data).unwrap();
        data["time"].as_object_mut().unwrap().remove("completed");
        data.to_string()
    };
    for (at, hides) in [(1, false), (0, true)] {
        let place = Place::named(STORE);
        let (id, data) = &answers[at];
        plant(&place, "UPDATE message SET data = ? WHERE id = ?", &[&open(data), id]);
        let found = news(&place);
        assert_eq!(found.iter().any(|f| f.3 == Effect::HidesHistory && f.2 == *id), hides, "{found:?}");
    }
}

#[test]
fn the_state_tells_how_far_it_has_come() {
    assert_eq!(import::state(r#"{"phase":"completed"}"#), Some(State::Completed));
    assert_eq!(import::state(r#"{"phase":"sessions"}"#), Some(State::Sessions(None)));
    let at = import::state(r#"{"phase":"sessions","cursor":"ses_c"}"#).unwrap();
    assert_eq!(at, State::Sessions(Some("ses_c".to_owned())));
    for broken in ["", "3", "{}", r#"{"phase":"x"}"#, r#"{"phase":"sessions","cursor":3}"#] {
        assert_eq!(import::state(broken), None, "{broken}");
    }
    let ids = ["ses_a", "ses_b", "ses_c", "ses_d"];
    assert_eq!(import::next(&at, ids), Some("ses_b"), "newest first: ids count down");
    assert_eq!(import::next(&State::Sessions(None), ids), Some("ses_d"));
    assert_eq!(import::next(&State::Completed, ids), None);
}

/// What a scan says of a code: session and row.
fn said(place: &Place, code: &str) -> Vec<(String, String)> {
    let scan = place.scan();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut out = Vec::new();
    for session in scan.document["sessions"].as_array().unwrap() {
        for finding in session["import"].as_array().into_iter().flatten().filter(|f| f["code"] == code) {
            out.push((text(&session["id"]), text(&finding["message_id"]) + &text(&finding["part_id"])));
        }
    }
    out
}

#[test]
fn what_stops_the_import_is_mended_and_given_back() {
    let place = Place::with_sessions(STORE, &["healthy", "healthy-text"]);
    let (session, message, _) = prompt(&place, "healthy");
    let data = r#"{"type":"file", "mime":"text/plain","url":"data:text/plain,100% é%20", "filename":"a.txt"}"#;
    let insert = "INSERT INTO part (id, message_id, session_id, time_created, time_updated, data)
                  VALUES ('prt_planted', ?, ?, 1, 1, ?)";
    plant(&place, insert, &[&message, &session, data]);
    assert_eq!(said(&place, "import-stops"), [(session, "prt_planted".to_owned())]);
    let human = place.unstick(&["scan"]).exits(0).stdout;
    assert!(human.contains("import stops at 1 session") && human.contains("import-stops"), "{human}");

    let before = place.dump();
    place.repair_with(&[]).exits(0);
    assert!(before == place.dump(), "only what was asked for is written");
    let done = place.repair_with(&["--include", "import"]).exits(0).json();
    assert_eq!(done["plan"]["sessions"][0]["steps"].as_array().unwrap().len(), 1, "{done}");
    assert_eq!(place.dump().data("part", "prt_planted"), data.replace("100% ", "100%25 "));
    assert_eq!(said(&place, "import-stops"), []);
    place.unstick(&["undo", "--yes"]).exits(0);
    assert!(before == place.dump(), "every byte is back");
}

#[test]
fn an_answer_that_never_ended_gets_the_end_of_its_last_part() {
    let place = Place::with_sessions(STORE, &["healthy"]);
    let answer = place.text("SELECT id FROM message WHERE data ->> '$.role' = 'assistant' ORDER BY id LIMIT 1");
    place.rewrite("message", &answer, |data| {
        let at = data.find(",\"completed\":").unwrap();
        let end = at + 1 + data[at + 1..].find(['}', ',']).unwrap();
        data[..at].to_owned() + &data[end..]
    });
    let session = place.text("SELECT id FROM session");
    assert_eq!(said(&place, "import-hides-history"), [(session, answer.clone())]);
    let before = place.dump();
    place.repair_with(&["--include", "import"]).exits(0);
    let end: i64 = place
        .text(&format!("SELECT CAST(data ->> '$.time.end' AS TEXT) FROM part WHERE message_id = '{answer}' AND data ->> '$.time.end' IS NOT NULL ORDER BY id DESC LIMIT 1"))
        .parse()
        .unwrap_or_default();
    let now: Value = serde_json::from_str(place.dump().data("message", &answer)).unwrap();
    assert!(now["time"]["completed"].as_i64().is_some_and(|at| at >= end), "{now}, {end}");
    assert_eq!(said(&place, "import-hides-history"), []);
    place.unstick(&["undo", "--yes"]).exits(0);
    assert!(before == place.dump(), "every byte is back");
}

#[test]
fn a_scan_tells_how_far_the_import_has_come() {
    let place = Place::empty();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/stores2/imported-1.18.33/opencode.db");
    std::fs::copy(from, place.db()).unwrap();
    let import = |place: &Place| place.scan().document["import"].clone();
    assert_eq!((&import(&place)["completed"], &import(&place)["missing"]), (&json!(true), &json!([])));
    let newest = place.text("SELECT max(id) FROM session");
    place.edit(&format!(
        "DELETE FROM session_message WHERE session_id = '{newest}'; DELETE FROM session_v2 WHERE id = '{newest}'"
    ));
    assert_eq!(import(&place)["missing"], json!([newest]));
    let human = place.unstick(&["scan"]).stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(human.contains("import is over, and 1 session of opencode 1 is not in it"), "{human}");
    place.edit("UPDATE kv SET value = '{\"phase\":\"sessions\"}'");
    assert_eq!(import(&place)["next"], json!(newest));
    place.edit("UPDATE kv SET value = 'x'");
    assert_eq!(import(&place), Value::Null);
}

/// The end of a call that the same repair settles is the end of its answer.
#[test]
fn a_second_repair_has_nothing_to_do_for_the_import() {
    for fixture in crate::fixtures::all() {
        let place = Place::of(&fixture);
        let more = ["--include", "unsettled,import"];
        place.repair_with(&more);
        let again = place.repair_with(&more).json();
        assert_eq!(again["plan"]["sessions"], json!([]), "{}", fixture.name);
    }
}
