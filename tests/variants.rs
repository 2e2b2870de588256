//! Rows that a sound opencode writes, and each of them with one thing wrong. The end-to-end suite asks real programs
//! what they do with each; the first suite asks the rules.

use std::path::Path;

use serde_json::{Map, Value};

/// Which table a row is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    Message,
    Part,
}

/// A sound row: `user`, `tool completed`, …
#[derive(Clone, Debug)]
pub struct Base {
    pub table: Table,
    pub name: String,
    /// The row's `data`, without ids.
    pub data: Value,
}

/// What is wrong with a member, or with the row where the path is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    Absent,
    Null,
    Number,
    String,
    Array,
    Object,
    Fraction,
    Negative,
    /// A word that no version knows, where there is a list of words.
    Word,
    /// An id of another kind.
    Prefix,
    /// The row's text ends in the middle.
    Broken,
    /// A member that no version knows.
    Extra,
}

impl Change {
    pub fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

/// A base row with one change.
#[derive(Clone, Debug)]
pub struct Variant {
    pub table: Table,
    pub row: String,
    /// `tokens.cache.read`, `attachments.0.url`; empty for the whole row.
    pub member: String,
    pub change: Change,
    /// The row's text.
    pub text: String,
}

/// What the placeholders in the base rows stand for.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    pub prompt: &'a str,
    pub work: &'a str,
    /// Milliseconds since the epoch.
    pub time: i64,
}

/// The folder of the base rows and of what was recorded.
pub fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/decoding")
}

/// All base rows.
pub fn bases(setting: Setting<'_>) -> Vec<Base> {
    let text = std::fs::read_to_string(folder().join("rows.json")).expect("the base rows");
    let text = text.replace("\"$TIME\"", &setting.time.to_string());
    let text = text.replace("$PROMPT", setting.prompt).replace("$WORK", setting.work);
    let rows: Value = serde_json::from_str(&text).expect("the base rows are JSON");
    let mut out = Vec::new();
    for (table, key) in [(Table::Message, "messages"), (Table::Part, "parts")] {
        for (name, data) in rows[key].as_object().expect("rows by name") {
            out.push(Base { table, name: name.clone(), data: data.clone() });
        }
    }
    out
}

/// The members below which a row says nothing that another base row does not say as well.
fn below(row: &str) -> &'static str {
    match row {
        "user with a format" | "user with a schema" => "format",
        "tool pending" | "tool running" | "tool error" => "state",
        "file of a file" | "file of a symbol" | "file of a resource" => "source",
        _ if row.starts_with("assistant ") => "error",
        _ => "",
    }
}

/// Members whose content is free.
const FREE: [&str; 5] = ["metadata", "input", "structured", "schema", "permission"];

/// Members with a list of words.
const WORDS: [&str; 4] = ["type", "role", "status", "name"];

const IDS: [&str; 5] = ["parentID", "tail_start_id", "sessionID", "messageID", "id"];

/// Everything that is tried on a row.
pub fn variants(base: &Base) -> Vec<Variant> {
    let only = below(&base.name);
    let mut found = Vec::new();
    if only.is_empty() {
        let sound = base.data.to_string();
        let mut whole = |change, text: String| found.push((String::new(), change, text));
        whole(Change::Broken, sound[..sound.len() / 2].to_owned());
        whole(Change::Null, "null".to_owned());
        whole(Change::Number, "7".to_owned());
        whole(Change::String, "\"x\"".to_owned());
        whole(Change::Array, "[]".to_owned());
        whole(Change::Object, "{}".to_owned());
        whole(Change::Extra, format!("{},\"zzz\":1}}", &sound[..sound.len() - 1]));
    }
    let mut members = Vec::new();
    walk(&base.data, &mut Vec::new(), &mut members);
    for path in members {
        let member = path.join(".");
        if !only.is_empty() && path[0] != only {
            continue;
        }
        let changes = changes(&path, base.data.pointer(&format!("/{}", path.join("/"))).expect("a member"));
        for (change, value) in changes {
            found.push((member.clone(), change, changed(&base.data, &path, value).to_string()));
        }
    }
    let variant = |(member, change, text)| Variant { table: base.table, row: base.name.clone(), member, change, text };
    found.into_iter().map(variant).collect()
}

fn walk(value: &Value, path: &mut Vec<String>, out: &mut Vec<Vec<String>>) {
    let inner: Vec<(String, &Value)> = match value {
        Value::Object(map) => map.iter().map(|(name, value)| (name.clone(), value)).collect(),
        Value::Array(list) => list.iter().enumerate().map(|(at, value)| (at.to_string(), value)).collect(),
        _ => return,
    };
    for (name, value) in inner {
        let free = FREE.contains(&name.as_str()) && !path.iter().any(|step| step == "error");
        path.push(name);
        out.push(path.clone());
        if !free {
            walk(value, path, out);
        }
        path.pop();
    }
}

fn changes(path: &[String], value: &Value) -> Vec<(Change, Option<Value>)> {
    let name = path.last().expect("a member").as_str();
    let mut out = vec![(Change::Null, Some(Value::Null))];
    if name.parse::<usize>().is_err() {
        out.insert(0, (Change::Absent, None));
    }
    let text = |text: &str| Some(Value::String(text.to_owned()));
    match value {
        Value::String(_) => {
            out.push((Change::Number, Some(7.into())));
            // `name` is free but in an error.
            let words = WORDS.contains(&name) && (name != "name" || path[0] == "error");
            if words {
                out.push((Change::Word, text("newer")));
            }
            if IDS.contains(&name) {
                out.push((Change::Prefix, text("xyz_1")));
            }
        }
        Value::Number(_) => {
            out.push((Change::String, text("x")));
            out.push((Change::Fraction, Some(serde_json::json!(1.5))));
            out.push((Change::Negative, Some((-1).into())));
        }
        Value::Bool(_) => out.push((Change::String, text("x"))),
        Value::Object(_) => {
            out.push((Change::String, text("x")));
            out.push((Change::Array, Some(Value::Array(Vec::new()))));
            out.push((Change::Object, Some(Value::Object(Map::new()))));
        }
        Value::Array(_) => {
            out.push((Change::String, text("x")));
            out.push((Change::Object, Some(Value::Object(Map::new()))));
        }
        Value::Null => {}
    }
    out.retain(|(_, new)| new.as_ref() != Some(value));
    out
}

fn changed(data: &Value, path: &[String], value: Option<Value>) -> Value {
    let mut data = data.clone();
    let (last, parents) = path.split_last().expect("a member");
    let parent = parents.iter().fold(&mut data, |at, step| match at {
        Value::Array(list) => &mut list[step.parse::<usize>().expect("an index")],
        other => &mut other[step.as_str()],
    });
    match (parent, value) {
        (Value::Object(map), Some(value)) => {
            map.insert(last.clone(), value);
        }
        (Value::Object(map), None) => {
            map.remove(last);
        }
        (Value::Array(list), Some(value)) => list[last.parse::<usize>().expect("an index")] = value,
        _ => unreachable!("a member has a parent"),
    }
    data
}
