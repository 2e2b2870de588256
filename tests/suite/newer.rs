//! Stores that hold sessions of opencode 2: what the program says of them, and that it leaves them as they are.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use crate::opencode2::{document, folder};
use crate::place::Place;

/// A place with a copy of a store of `fixtures/stores2`, and the package behind its models named.
pub(crate) fn place(store: &str) -> Place {
    let place = Place::empty();
    let from = folder().join(store);
    let db = ["opencode.db", "opencode-next.db"].map(|name| from.join(name)).into_iter().find(|p| p.is_file()).unwrap();
    fs::copy(db, place.db()).unwrap();
    place
}

/// The package behind the models of a captured store, as a flag.
pub(crate) fn sdk(store: &str) -> String {
    let header = document(&folder().join(store).join("sessions.json"));
    let (provider, package) = header["sdk"].as_object().unwrap().iter().next().unwrap();
    format!("--sdk={provider}={}", package.as_str().unwrap())
}

pub(crate) const CLAUDE: &str = "--sdk=mock=@ai-sdk/anthropic";

/// The sessions of a scan, by format and id.
fn sessions(document: &Value) -> BTreeMap<(String, String), Value> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let all = document["sessions"].as_array().unwrap().iter();
    all.map(|s| ((text(&s["format"]), text(&s["id"])), s.clone())).collect()
}

#[test]
fn a_scan_says_of_each_session_of_the_preview_what_the_preview_did() {
    for store in ["preview", "preview-litellm", "shapes", "shapes-litellm", "shapes-gateway"] {
        let place = place(store);
        let verdicts = document(&folder().join(store).join("verdicts.json"));
        let found = sessions(&place.scan_with(&[&sdk(store)]).document);
        assert_eq!(found.len(), verdicts.as_object().unwrap().len(), "{store}: every session is listed");
        for (id, verdict) in verdicts.as_object().unwrap() {
            let session = &found[&("v2".to_owned(), id.clone())];
            for way in ["resume", "prompt"] {
                let said = session["programs"]["next-16350"][way]["sends"].as_str().unwrap();
                let did = verdict[way]["outcome"].as_str().unwrap();
                let agrees = match said {
                    "ends-with-user" => did == "ends with user",
                    "ends-with-assistant" => did == "ends with assistant",
                    "no-turns" => did == "no turns",
                    "compacts" => did == "compacts",
                    // A lone defect keeps the service from resuming what comes after it, so nothing may have begun.
                    _ => did.starts_with("failed") || did.starts_with("no request"),
                };
                let note = &session["title"];
                // That a window is full is not in the store.
                assert!(agrees || did == "compacts", "{store}, {note}, {way}: {said}, and it {did}");
            }
            let unreadable = session["status"] == "unreadable";
            assert!(unreadable || verdict["opens"] == true, "{store}, {}: {}", session["title"], session["status"]);
        }
    }
}

#[test]
fn a_guess_about_the_package_calls_no_session_dead() {
    let place = place("shapes");
    let (guessed, named) = (place.scan_with(&[]), place.scan_with(&[CLAUDE]));
    let (guessed, named) = (sessions(&guessed.document), sessions(&named.document));
    let names = &document(&folder().join("shapes").join("sessions.json"))["sessions"];
    let key = |name: &str| ("v2".to_owned(), names[name].as_str().unwrap().to_owned());
    let mut dead = 0;
    for (id, session) in guessed.iter().filter(|(_, session)| session["status"] == "dead") {
        assert_eq!(named[id]["status"], "dead", "{}", session["title"]);
        dead += 1;
    }
    assert!(dead > 0, "a revert to a row that is gone stops every prompt, whatever the package");
    assert_eq!(named[&key("hosted-search")]["status"], "healthy");
    let hosted = &guessed[&key("hosted-search")];
    assert_eq!((&hosted["status"], &hosted["doubts"]), (&"at-risk".into(), &serde_json::json!(["package"])));
    let left = place.unstick(&["repair", "--json", "-n", &key("hosted-search").1]).json()["left"].to_string();
    assert!(
        left.contains("newer-format") && !left.contains("--include"),
        "nothing that can be asked for helps: {left}"
    );
}

#[test]
fn a_store_of_both_lists_both_and_says_so_first() {
    let place = place("imported-1.18.33");
    let before = place.dump();
    let scan = place.scan_with(&[CLAUDE]);
    let store = &scan.document["store"];
    assert_eq!((&store["sessions"], &store["sessions_v2"]), (&22.into(), &22.into()));
    let found = sessions(&scan.document);
    assert_eq!(found.len(), 44);
    for ((format, id), session) in &found {
        assert!(found.contains_key(&(if format == "v1" { "v2" } else { "v1" }.to_owned(), id.clone())), "{id}");
        assert_eq!(session["programs"].is_null(), format == "v1", "{id}");
        assert!(format == "v1" || session["status"] != "unreadable" && session["status"] != "stuck", "{session}");
    }
    let human = place.unstick(&["scan", CLAUDE]).stdout;
    assert!(human.lines().nth(1).unwrap().starts_with("22 sessions of opencode 1, 22 of opencode 2"), "{human}");

    let (_, id) = found.keys().next().unwrap();
    let error = place.unstick(&["explain", id, "--json"]).exits(2).json();
    assert_eq!(error["error"]["code"], "several-sessions");
    assert!(error["error"]["hint"].as_str().unwrap().contains("--format v2"), "{error}");
    for format in ["v1", "v2"] {
        let said = place.unstick(&["explain", id, "--format", format, "--json", CLAUDE]).exits(0).json();
        assert_eq!(said["session"]["format"], format);
        let only = place.scan_with(&["--format", format, CLAUDE]);
        assert!(sessions(&only.document).keys().all(|(f, _)| f == format));
    }
    assert!(before == place.dump(), "nothing was written");

    // A repair is about opencode 1's rows alone.
    let done = place.repair_with(&[CLAUDE]).json();
    assert_eq!(done["plan"]["sessions"].as_array().unwrap().len(), 5, "{done}");
    let rows = |place: &Place| place.text("SELECT group_concat(id || data) FROM session_message ORDER BY id");
    assert_eq!(rows(&place), rows(&self::place("imported-1.18.33")));
    let said = found.iter().find(|((format, _), session)| format == "v2" && session["status"] == "recovered");
    let ((_, id), _) = said.unwrap();
    let named = place.unstick(&["repair", id, "--format", "v2", "--yes", "--json", CLAUDE]).exits(0).json();
    assert_eq!(named["left"], Value::Array(Vec::new()), "there is nothing to repair");
    place.unstick(&["undo", "--yes"]).exits(0);
    assert!(before == place.dump(), "nothing was written");
}

#[test]
fn a_store_of_opencode_2_alone_is_a_store() {
    let place = place("imported-1.18.33");
    place.edit("DROP TABLE part; DROP TABLE message; DROP TABLE session");
    let scan = place.scan_with(&[CLAUDE]);
    assert_eq!(scan.document["store"]["sessions"], 0);
    assert_eq!(sessions(&scan.document).len(), 22);
    assert!(place.unstick(&["scan"]).stdout.contains("\n22 sessions of opencode 2 ·"));
    let stats = place.unstick(&["stats", "--json"]).exits(0).json();
    assert_eq!(stats["orphans"]["total"], 11, "{stats}");
}

#[test]
fn what_was_imported_is_counted_once() {
    let both = place("imported-1.18.33").unstick(&["stats", "--json"]).exits(0).json();
    let place = place("imported-1.18.33");
    place.edit("DELETE FROM session_v2; DELETE FROM session_message");
    let older = place.unstick(&["stats", "--json"]).exits(0).json();
    assert_eq!(both["pairs"], older["pairs"]);
    // Two calls that were open are errors since the import.
    assert_eq!((&older["orphans"]["total"], &both["orphans"]["total"]), (&9.into(), &11.into()));
}

/// A store of the preview in which something was spoilt: what is said of the session, and of rows.
fn spoilt(edit: &str) -> (BTreeMap<(String, String), Value>, Vec<Value>) {
    let place = place("preview");
    let before = sessions(&place.scan_with(&[CLAUDE]).document);
    place.edit(edit);
    let dump = place.dump();
    let scan = place.scan_with(&[CLAUDE]).document;
    assert!(dump == place.dump(), "nothing was written");
    let mut found = sessions(&scan);
    found.retain(|id, session| before.get(id) != Some(session));
    (found, scan["unreadable_rows"].as_array().unwrap().clone())
}

#[test]
fn rows_that_are_wrong_are_named_and_the_rest_is_judged() {
    const ROW: &str = "(SELECT id FROM session_message WHERE type = 'assistant' ORDER BY id LIMIT 1)";
    for (edit, code) in [
        (format!("UPDATE session_message SET data = '{{' WHERE id = {ROW}"), "undecodable-row"),
        (format!("UPDATE session_message SET data = '[]' WHERE id = {ROW}"), "undecodable-row"),
        (format!("UPDATE session_message SET type = 'telegram' WHERE id = {ROW}"), "undecodable-row"),
        (format!("UPDATE session_message SET data = json_remove(data, '$.agent') WHERE id = {ROW}"), "undecodable-row"),
        (format!("UPDATE session_message SET data = x'00' WHERE id = {ROW}"), "unreadable-row"),
        (format!("UPDATE session_message SET time_created = 'now' WHERE id = {ROW}"), "unreadable-row"),
        (
            format!(
                "DROP INDEX session_message_session_seq_idx; UPDATE session_message SET seq = (SELECT max(seq) FROM \
                 session_message AS other WHERE other.session_id = session_message.session_id AND \
                 other.id <> session_message.id) WHERE id = {ROW}"
            ),
            "unreadable-row",
        ),
    ] {
        let (found, _) = spoilt(&edit);
        assert_eq!(found.len(), 1, "{edit}: {found:?}");
        let session = found.values().next().unwrap();
        assert_eq!(
            (&session["status"], &session["findings"][0]["code"]),
            (&"unreadable".into(), &code.into()),
            "{edit}"
        );
        let row = session["findings"][0]["message_id"].as_str().unwrap();
        assert!(row.starts_with("msg_"), "{edit}: {session}");
    }
    let (found, rows) = spoilt(
        "INSERT INTO session_message SELECT 'msg_lost', 'ses_lost', type, seq, 1, 1, data FROM session_message LIMIT 1",
    );
    assert!(found.is_empty());
    assert_eq!((&rows[0]["id"], &rows[0]["session_id"]), (&"msg_lost".into(), &"ses_lost".into()));
    let (found, _) = spoilt("UPDATE session SET directory = x'00' WHERE id = (SELECT max(id) FROM session)");
    assert_eq!(found.values().next().unwrap()["status"], "unreadable");
}

#[test]
fn tables_that_are_half_there_are_said_and_opencode_1_is_judged() {
    for (edit, detail) in [
        ("DROP TABLE session_message", "there is no table `session_message`"),
        ("ALTER TABLE session_message RENAME COLUMN seq TO place", "has no column `seq`"),
        ("ALTER TABLE session_v2 RENAME COLUMN directory TO folder", "has no column `directory`"),
    ] {
        let place = place("imported-1.18.33");
        place.edit(edit);
        let scan = place.scan_with(&[CLAUDE]);
        let rows = scan.document["unreadable_rows"].as_array().unwrap();
        assert!(!rows.is_empty() && rows.iter().all(|r| r["detail"].as_str().unwrap().contains(detail)), "{rows:?}");
        let found = sessions(&scan.document);
        let stuck = found.iter().filter(|((format, _), s)| format == "v1" && s["status"] == "stuck");
        assert_eq!(stuck.count(), 5, "{edit}");
        assert!(found.iter().all(|((format, _), s)| format == "v1" || s["status"] == "unreadable"), "{edit}");
    }
}

#[test]
fn a_large_row_is_judged_as_a_small_one() {
    let (found, rows) = spoilt(
        "UPDATE session_message SET data = json_set(data, '$.content[0].text', printf('%.*c', 3000000, 'x'))
         WHERE id = (SELECT id FROM session_message WHERE type = 'assistant'
                     AND json_extract(data, '$.content[0].type') = 'text' ORDER BY id LIMIT 1)",
    );
    assert_eq!((found.len(), rows.len()), (0, 0), "{found:?}");
}
