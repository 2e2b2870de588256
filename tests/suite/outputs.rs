//! What reaches a reader: titles without what steers a terminal, nothing of what was said, and no complaint
//! when the reader has gone.

use std::process::Stdio;

use serde_json::Value;

use crate::dump::text;
use crate::fixtures;
use crate::place::{Place, Run, start};

const STORE: &str = "1.18.33";

/// Every way to have something said about a store, which is repaired at the end.
const VOICES: [&[&str]; 19] = [
    &["scan"],
    &["scan", "--all", "-v", "--opencode", "any"],
    &["scan", "--all", "-q"],
    &["scan", "--all", "--json", "--opencode", "any"],
    &["scan", "--json-lines"],
    &["scan", "no such session"],
    &["repair", "--dry-run", "-v", "--opencode", "any"],
    &["repair", "--dry-run", "--json", "--include", "at-risk,latent,unsettled,near-window"],
    &["repair"],
    &["repair", "no such session", "--json"],
    &["explain", "rstpar"],
    &["explain", "rstpar", "--json"],
    &["stats"],
    &["stats", "--json"],
    &["repair", "--yes", "-v", "--opencode", "any"],
    &["undo", "--list"],
    &["undo", "--dry-run", "-v", "--json"],
    &["undo", "--yes"],
    &["repair", "--yes", "--json", "--opencode", "any"],
];

/// All that is said by all voices, with the call in front.
fn said(place: &Place) -> Vec<(String, Run)> {
    VOICES.iter().map(|args| (format!("{args:?}"), place.unstick(args))).collect()
}

const SECRET: &str = "s3cret-between-us";

/// Keys whose values are names and not content.
const NAMES: [&str; 18] = [
    "type",
    "role",
    "status",
    "tool",
    "callID",
    "finish",
    "reason",
    "providerID",
    "modelID",
    "parentID",
    "agent",
    "mode",
    "mime",
    "name",
    "id",
    "sessionID",
    "messageID",
    "tail_start_id",
];

/// Puts the secret into every text that is content.
fn tell(value: &mut Value, key: &str) {
    match value {
        // An empty text decides what is sent, so it stays empty.
        Value::String(text) if !NAMES.contains(&key) && !text.is_empty() => *text = format!("{text} {SECRET}"),
        Value::Array(items) => items.iter_mut().for_each(|item| tell(item, key)),
        Value::Object(members) => members.iter_mut().for_each(|(key, value)| tell(value, key)),
        _ => {}
    }
}

/// A store whose content is a secret, wherever it stands.
fn secretive() -> Place {
    let place = Place::named(STORE);
    let dump = place.dump();
    let db = place.sql();
    let mut told = 0;
    for table in ["message", "part", "event"] {
        for row in dump.rows(table) {
            let mut data: Value = serde_json::from_str(text(row, "data")).unwrap();
            tell(&mut data, "");
            let data = data.to_string();
            told += data.matches(SECRET).count();
            db.execute(&format!("UPDATE {table} SET data = ?2 WHERE id = ?1"), [text(row, "id"), &data]).unwrap();
        }
    }
    assert!(told > 500, "only {told}");
    place
}

/// Nobody says the secret.
fn is_kept(place: &Place) {
    for (voice, run) in said(place) {
        assert!(!run.stdout.contains(SECRET), "{voice} says it: {}", around(&run.stdout));
        assert!(!run.stderr.contains(SECRET), "{voice} says it: {}", around(&run.stderr));
    }
}

fn around(text: &str) -> String {
    let at = text.find(SECRET).unwrap();
    text[..at].chars().rev().take(200).collect::<Vec<_>>().into_iter().rev().collect()
}

#[test]
fn nothing_of_what_was_said_is_shown() {
    let place = secretive();
    assert_eq!(place.scan().titles("stuck").len(), 5, "the secret changes no verdict");
    is_kept(&place);
    assert_eq!(place.scan().titles("stuck"), Vec::<&str>::new());
}

#[test]
fn nothing_of_a_row_that_cannot_be_understood_is_shown() {
    for (table, data) in [
        ("message", format!("{{\"role\":\"{SECRET}\",\"time\":{{\"created\":1}}}}")),
        ("message", SECRET.to_owned()),
        ("message", format!("{{\"{SECRET}\":1,\"role\":\"assistant\",\"time\":{{\"created\":\"{SECRET}\"}}}}")),
        ("part", format!("{{\"type\":\"text\",\"text\":[\"{SECRET}\"]}}")),
        (
            "part",
            format!("{{\"type\":\"tool\",\"tool\":\"t\",\"callID\":\"c\",\"state\":{{\"status\":\"{SECRET}\"}}}}"),
        ),
        ("part", format!("\"{SECRET}")),
    ] {
        let place = Place::named(STORE);
        let session = fixtures::one(STORE).id("rstpar").to_owned();
        place.edit(&format!(
            "UPDATE {table} SET data = '{data}' WHERE id = (SELECT min(id) FROM {table} WHERE session_id = '{session}')"
        ));
        assert_eq!(place.scan().status("rstpar"), "unreadable", "{data}");
        is_kept(&place);
    }
}

#[test]
fn the_texts_of_rows_are_shown_only_when_asked_for() {
    let place = secretive();
    let run = place.unstick(&["repair", "--dry-run", "--json", "--text"]).exits(1);
    assert!(run.stdout.contains(SECRET));
}

/// Whether the character must not reach a terminal: it steers it, hides, or turns the direction of text.
fn steers(c: char) -> bool {
    let invisible =
        matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    (c.is_control() && c != '\n') || invisible
}

const NASTY: &str = "\u{1b}]0;own\u{7}\u{1b}[2J\u{9b}31mred\u{202e}gnp.exe\u{2066}\r\n\t\u{7f}\u{200b}end";

/// The text as it stands inside of JSON, with the escapes that JavaScript would write.
fn escaped(text: &str) -> String {
    let quoted = serde_json::to_string(text).unwrap();
    quoted[1..quoted.len() - 1].to_owned()
}

#[test]
fn no_text_of_the_store_steers_the_terminal() {
    let place = Place::named(STORE);
    let db = place.sql();
    db.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
    let all = "UPDATE session SET title = ?1 || title, directory = ?1 || directory, parent_id = ?1 || parent_id, version = version || '-' || ?1";
    db.execute(all, [NASTY]).unwrap();
    for table in ["message", "part"] {
        for (from, to) in [
            ("\"tool\":\"bash", format!("\"tool\":\"bash{}", escaped(NASTY))),
            ("\"modelID\":\"", format!("\"modelID\":\"{}", escaped(NASTY))),
            ("\"providerID\":\"", format!("\"providerID\":\"{}", escaped(NASTY))),
            ("\"agent\":\"", format!("\"agent\":\"{}", escaped(NASTY))),
        ] {
            db.execute(&format!("UPDATE {table} SET data = replace(data, ?1, ?2)"), [from, &to]).unwrap();
        }
        // Ids are the store's as well: one with every character is given to a row that findings name.
        db.execute(&format!("UPDATE {table} SET session_id = session_id || ?1"), [NASTY]).unwrap();
    }
    db.execute("UPDATE part SET id = id || ?1, message_id = message_id || ?1", [NASTY]).unwrap();
    db.execute("UPDATE message SET id = id || ?1", [NASTY]).unwrap();
    db.execute("UPDATE session SET id = id || ?1", [NASTY]).unwrap();
    db.close().unwrap();

    let scan = place.scan();
    // Their parents' ids are none any more, which opencode cannot read.
    assert!(scan.titles("unopenable").len() >= 5);
    let title = format!("{NASTY}rstpar");
    assert_eq!(scan.session(&title)["title"], title, "a machine still reads the title as it is");
    for (voice, run) in said(&place) {
        for (stream, text) in [("stdout", &run.stdout), ("stderr", &run.stderr)] {
            let bad: Vec<char> = text.chars().filter(|c| steers(*c)).collect();
            assert!(bad.is_empty(), "{voice} lets {bad:?} through to {stream}");
        }
    }
}

#[test]
fn colours_are_the_only_escapes_and_only_where_they_are_wanted() {
    let place = Place::named(STORE);
    let always = place.unstick(&["scan", "--color", "always"]).exits(1);
    assert!(always.stdout.contains("\u{1b}["));
    for more in [&["--color", "never"][..], &[]] {
        let run = place.unstick(&[&["scan"], more].concat()).exits(1);
        assert!(!run.stdout.contains('\u{1b}') && run.stderr.is_empty(), "{run:?}");
    }
}

#[test]
fn a_reader_that_has_gone_is_not_an_error() {
    for (args, code) in [
        (&["scan", "--all"][..], 1),
        (&["scan", "--all", "--json"], 1),
        (&["scan", "--json-lines"], 1),
        (&["scan", "healthy"], 0),
        (&["repair", "--dry-run"], 1),
        (&["repair", "--yes", "--json"], 0),
        (&["--help"], 0),
    ] {
        let place = Place::named(STORE);
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = if args[0] == "--help" { place.command(args) } else { place.on_store(args) };
        let run = start(command.stdout(Stdio::from(writer))).wait_with_output().unwrap();
        assert_eq!(run.status.code(), Some(code), "{args:?}");
        assert_eq!(String::from_utf8(run.stderr).unwrap(), "", "{args:?}");
    }
}

#[test]
fn several_stores_are_one_document_or_one_report_after_the_other() {
    let place = Place::named(STORE);
    let other = fixtures::one("1.2.27");
    let second = place.root().join("second.db");
    std::fs::copy(&other.db, &second).unwrap();
    let second = second.to_str().unwrap();
    let scan = place.scan_with(&["--db", second]);
    let stores = scan.document["stores"].as_array().unwrap();
    assert_eq!(scan.document["schema_version"], 1);
    let counts: Vec<&Value> = stores.iter().map(|s| &s["summary"]["stuck"]).collect();
    let alone = |p: &Place| p.scan().document["summary"]["stuck"].clone();
    assert_eq!(counts, [&alone(&Place::of(&other)), &alone(&place)]);
}
