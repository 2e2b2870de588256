//! The rules about rows that opencode cannot read, held against what real programs did.

use std::collections::BTreeMap;
use std::path::Path;

use opencode_unstick::decoding::{self, GENERATIONS, Table, Value, Violation};
use opencode_unstick::json::Object;
use rusqlite::{Connection, OpenFlags};

use crate::variants::{self, Change, Setting, Variant};

/// Which generation a recorded version is of.
fn generation(version: &str) -> usize {
    let of = |generation: &decoding::Generation| generation.measured.split(", ").any(|measured| measured == version);
    GENERATIONS.iter().position(of).unwrap_or_else(|| panic!("{version} is measured, and of no generation"))
}

/// What fails, by row, member and change.
type Outcomes = BTreeMap<String, BTreeMap<String, BTreeMap<String, String>>>;

/// What was recorded, by version.
fn records() -> Vec<(String, Outcomes)> {
    let files = std::fs::read_dir(variants::folder()).unwrap().map(|entry| entry.unwrap().path());
    let records = files.filter_map(|path| {
        let version = path.file_name()?.to_str()?.strip_suffix(".json")?.to_owned();
        let text = std::fs::read_to_string(&path).ok()?;
        let mut file: BTreeMap<String, serde_json::Value> = serde_json::from_str(&text).ok()?;
        Some((version, serde_json::from_value(file.remove("fails")?).unwrap()))
    });
    let mut records: Vec<_> = records.collect();
    records.sort_by(|a, b| a.0.cmp(&b.0));
    records
}

/// The rows that were put into the last turn, too.
const IN_THE_LAST_TURN: [&str; 7] =
    ["user", "assistant", "text", "tool completed", "tool error", "tool running", "tool pending"];

fn bases() -> Vec<variants::Base> {
    variants::bases(Setting { prompt: "msg_1", work: "/home/dev/work", time: 1_780_000_000_000 })
}

fn table(table: variants::Table) -> Table {
    match table {
        variants::Table::Message => Table::Message,
        variants::Table::Part => Table::Part,
    }
}

fn words(violations: &[Violation], last_turn: bool, is_newest_prompt: bool) -> String {
    let open = violations.iter().any(|violation| violation.open);
    let prompt = violations.iter().any(|violation| violation.prompt.fails(last_turn));
    // The newest prompt is written anew when it is sent again.
    let stays = |violation: &&Violation| !is_newest_prompt || violation.member == "id";
    let retry = violations.iter().filter(stays).any(|violation| violation.retry.fails(last_turn));
    let words = [("open", open), ("prompt", prompt), ("retry", retry)];
    words.iter().filter(|word| word.1).map(|word| word.0).collect::<Vec<_>>().join(" ")
}

fn tried(base: &variants::Base) -> Vec<(Variant, String)> {
    let sound = |member: &str| Variant {
        table: base.table,
        row: base.name.clone(),
        member: member.to_owned(),
        change: Change::Extra,
        text: base.data.to_string(),
    };
    let mut out = vec![(sound("(sound)"), "none".to_owned()), (sound("(id)"), "prefix".to_owned())];
    out.extend(variants::variants(base).into_iter().map(|variant| {
        let change = variant.change.name();
        (variant, change)
    }));
    out
}

#[test]
fn every_recorded_row_fails_as_the_rules_say() {
    let mut misses = Vec::new();
    let mut compared = 0;
    for (version, recorded) in records() {
        let generation = generation(&version);
        for base in bases() {
            for last_turn in [false, true] {
                if last_turn && !IN_THE_LAST_TURN.contains(&base.name.as_str()) {
                    continue;
                }
                let row = if last_turn { format!("{} (newest)", base.name) } else { base.name.clone() };
                for (variant, change) in tried(&base) {
                    let (prefix, renamed) = match base.table {
                        variants::Table::Message => ("msg_1", "message_1"),
                        variants::Table::Part => ("prt_1", "part_1"),
                    };
                    let id = if variant.member == "(id)" { renamed } else { prefix };
                    let found = decoding::violations(table(variant.table), id, &variant.text, generation);
                    let prompt = last_turn && base.table == variants::Table::Message && variant.row.starts_with("user");
                    let predicted = words(&found, last_turn, prompt);
                    let seen = recorded.get(&row).and_then(|m| m.get(&variant.member)).and_then(|c| c.get(&change));
                    let seen = seen.cloned().unwrap_or_default();
                    compared += 1;
                    if predicted != seen {
                        misses.push(format!(
                            "{version} {row}: {}: {change}: predicted {predicted:?}, seen {seen:?}, found {found:?}",
                            variant.member
                        ));
                    }
                }
            }
        }
    }
    assert!(compared > 3_000, "only {compared} rows were compared");
    assert!(misses.is_empty(), "{} of {compared} differ\n{}", misses.len(), misses.join("\n"));
}

#[test]
fn a_rows_own_members_tell_what_is_not_deep() {
    let newest = GENERATIONS.len() - 1;
    let (mut broken, mut sound) = (0, 0);
    for base in bases() {
        for (variant, _) in tried(&base) {
            let Ok(object) = Object::parse(&variant.text) else { continue };
            let table = table(variant.table);
            let found = decoding::violations(table, table.prefix(), &variant.text, newest);
            let shallow = found.iter().any(|violation| !violation.deep() && violation.wrong != decoding::Wrong::Number);
            assert_eq!(decoding::breaks(table, &object), shallow, "{}: {}: {found:?}", variant.row, variant.text);
            broken += usize::from(shallow);
            sound += usize::from(!shallow);
        }
    }
    let twice = [
        r#"{"type":"text","type":"word","text":""}"#,
        r#"{"type":"word","type":"text","text":""}"#,
        r#"{"type":"text","text":1,"text":""}"#,
    ];
    for text in twice {
        assert!(decoding::breaks(Table::Part, &Object::parse(text).unwrap()), "the whole check tells of {text}");
    }
    assert!(broken > 300 && sound > 500, "{broken} rows are broken, {sound} are not");
}

#[test]
fn no_row_of_a_fixture_breaks_a_rule_of_a_version_that_may_open_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/stores");
    let mut rows = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path().join("opencode.db");
        if !path.is_file() {
            continue;
        }
        let version =
            path.parent().unwrap().file_name().unwrap().to_str().unwrap().split('-').next().unwrap().to_owned();
        let oldest = decoding::generation_of(&version).unwrap();
        let db = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        for table in [Table::Message, Table::Part] {
            let mut statement = db.prepare(&format!("SELECT id, data FROM {table}")).unwrap();
            let found = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
            for (id, data) in found.map(Result::<(String, String), _>::unwrap) {
                rows += 1;
                for generation in oldest..GENERATIONS.len() {
                    let found = decoding::violations(table, &id, &data, generation);
                    assert!(found.is_empty(), "{}: {table} {id}: {found:?}", path.display());
                }
                let object = Object::parse(&data).unwrap();
                assert!(!decoding::breaks(table, &object), "{}: {table} {id}", path.display());
            }
        }
    }
    assert!(rows > 3_000, "only {rows} rows were looked at");
}

/// A sound row of `session`.
const SESSION: [(&str, Value<'static>); 27] = [
    ("slug", Value::Text("quiet-otter")),
    ("title", Value::Text("t")),
    ("version", Value::Text("1.18.34")),
    ("directory", Value::Text("/home/dev/work")),
    ("project_id", Value::Text("c0ffee")),
    ("parent_id", Value::Null),
    ("workspace_id", Value::Null),
    ("path", Value::Text("")),
    ("agent", Value::Text("build")),
    ("summary_additions", Value::Integer(1)),
    ("summary_deletions", Value::Integer(1)),
    ("summary_files", Value::Integer(1)),
    ("summary_diffs", Value::Null),
    ("revert", Value::Null),
    ("permission", Value::Null),
    ("model", Value::Text(r#"{"id":"claude-opus-4-6","providerID":"mock","variant":"default"}"#)),
    ("metadata", Value::Null),
    ("cost", Value::Integer(0)),
    ("tokens_input", Value::Integer(0)),
    ("tokens_output", Value::Integer(0)),
    ("tokens_reasoning", Value::Integer(0)),
    ("tokens_cache_read", Value::Integer(0)),
    ("tokens_cache_write", Value::Integer(0)),
    ("time_created", Value::Integer(1)),
    ("time_updated", Value::Integer(1)),
    ("time_compacting", Value::Null),
    ("time_archived", Value::Null),
];

/// What the end-to-end suite puts into a column, by the name in the record.
fn put(column: &str, name: &str) -> Option<Value<'static>> {
    let json = ["summary_diffs", "revert", "permission", "metadata", "model"].contains(&column);
    Some(match name {
        "null" => Value::Null,
        "empty" => Value::Text(""),
        "broken" => Value::Text("{"),
        "number" => Value::Text("7"),
        "string" if json => Value::Text("\"x\""),
        "string" => Value::Text("x"),
        "array" => Value::Text("[]"),
        "object" => Value::Text("{}"),
        "other" => Value::Text("xyz_1"),
        "folder" => Value::Text("/nowhere/at/all"),
        "fraction" => Value::Real(1.5),
        "negative" => Value::Integer(-1),
        "without id" => Value::Text(r#"{"providerID":"mock"}"#),
        "without providerID" => Value::Text(r#"{"id":"claude-opus-4-6"}"#),
        "id number" => Value::Text(r#"{"id":7,"providerID":"mock"}"#),
        "of no message" => Value::Text(r#"{"partID":"prt_1"}"#),
        "of a message that is missing" => Value::Text(r#"{"messageID":"msg_1"}"#),
        "of a wrong id" => Value::Text(r#"{"messageID":"xyz_1"}"#),
        "of a wrong part" => Value::Text(r#"{"messageID":"msg_1","partID":7}"#),
        "of nothing" => Value::Text("[{}]"),
        _ => return None,
    })
}

/// What is put into a column of a kind.
fn tried_on(value: Value<'_>, column: &str) -> Vec<&'static str> {
    let json = ["summary_diffs", "revert", "permission", "metadata", "model"].contains(&column);
    let mut names = match value {
        _ if json => vec!["broken", "number", "string", "array", "object", "empty"],
        Value::Integer(_) => vec!["string", "fraction", "negative"],
        _ if column.starts_with("time_") => vec!["string", "fraction", "negative"],
        _ => vec!["empty", "other", "folder"],
    };
    names.push("null");
    names.extend(match column {
        "model" => vec!["without id", "without providerID", "id number"],
        "revert" => vec!["of no message", "of a message that is missing", "of a wrong id", "of a wrong part"],
        "permission" | "summary_diffs" => vec!["of nothing"],
        _ => vec![],
    });
    names
}

#[test]
fn every_recorded_column_fails_as_the_rules_say() {
    let (mut misses, mut compared) = (Vec::new(), 0);
    for (version, recorded) in records() {
        let generation = generation(&version);
        let Some(columns) = recorded.get("session") else { continue };
        for (column, sound) in SESSION {
            for name in tried_on(sound, column) {
                let value = put(column, name).unwrap();
                let row = |asked: &str| {
                    let found = SESSION.iter().find(|(name, _)| *name == asked).map(|(_, value)| *value);
                    if asked == column { Some(value) } else { found }
                };
                let found = decoding::session_violations(row, generation);
                let seen = columns.get(column).and_then(|changes| changes.get(name)).cloned().unwrap_or_default();
                let seen: Vec<&str> = seen.split(' ').filter(|word| !word.is_empty()).collect();
                // Another row says whether a project or a workspace is there, and the folder whether it is; the command
                // lists no session that has a parent.
                let elsewhere = matches!(
                    (column, name),
                    ("project_id", _) | ("workspace_id", "other" | "folder") | ("directory", "folder")
                );
                let any = |of: fn(&decoding::Fails) -> bool| found.iter().any(|violation| of(&violation.fails));
                let predicted = [
                    ("whole-list", any(|fails| fails.list)),
                    ("command", any(|fails| fails.command) || column == "parent_id" && seen.contains(&"command")),
                    ("get", any(|fails| fails.get)),
                    ("open", any(|fails| fails.open)),
                    ("prompt", any(|fails| fails.prompt)),
                ];
                let predicted: Vec<&str> = predicted.iter().filter(|word| word.1).map(|word| word.0).collect();
                compared += 1;
                if predicted != seen && !elsewhere {
                    misses.push(format!("{version} {column}: {name}: predicted {predicted:?}, seen {seen:?}"));
                }
            }
        }
    }
    assert!(compared > 300, "only {compared} columns were compared");
    assert!(misses.is_empty(), "{} of {compared} differ\n{}", misses.len(), misses.join("\n"));
}

#[test]
fn a_version_has_a_generation() {
    let key = |version| decoding::generation_of(version).map(|generation| GENERATIONS[generation].key);
    assert_eq!(key("1.2.27"), Some("1.2"));
    assert_eq!(key("1.14.41"), Some("1.2"));
    assert_eq!(key("1.14.48"), Some("1.14.48"));
    assert_eq!(key("1.18.14"), Some("1.17.11"));
    assert_eq!(key("1.18.34"), Some("1.18.15"));
    assert_eq!((key("1.1.9"), key("local"), key("")), (None, None, None));
}
