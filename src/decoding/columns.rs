//! The columns of `session`: one row that does not fit takes the whole list of sessions with it (docs/opencode.md §13).
//!
//! Measured (`fixtures/decoding`), NOT NULL taken off:
//!
//! - A JSON column that cannot be parsed (`summary_diffs`, `revert`, `permission`, `metadata`, `model`): in every
//!   version the whole list fails, in the program and in the command, and that session neither opens nor takes a
//!   prompt.
//! - From 1.14.48 on, `GET /session` answers 400 as a whole for one row with a column that the rules below do not take,
//!   such as NULL (not `""`) in `title`. The command lists what needs no conversion. From 1.15.13 on such a row fails
//!   prompts too, since each writes an event with the whole row.
//! - A `project_id` that no project has: the session is in no list; up to 1.14.48 it opens and takes prompts.
//! - A missing parent, a `path` of elsewhere, an empty title do no harm.
//! - `project.sandboxes` or `commands` that cannot be parsed, a `vcs` that is not `git`: nothing of that project works.

use super::shape::Shape::{self, Any, Id, List, Map, Object, String, Words};
use super::shape::{Check, Member, Wrong, may, must};
use super::table::DIFF;
use super::{DECODES, REFERENCES};

/// A value of a column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// NULL.
    Null,
    /// An integer.
    Integer(i64),
    /// Any other number.
    Real(f64),
    /// Text.
    Text(&'a str),
}

/// What fails for a row of `session`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fails {
    /// `GET /session` answers an error: no session is listed.
    pub list: bool,
    /// `opencode session list` fails too.
    pub command: bool,
    /// `GET /session/:id` answers an error.
    pub get: bool,
    /// `GET /session/:id/message` does.
    pub open: bool,
    /// A prompt fails.
    pub prompt: bool,
}

/// A rule that a row of `session` breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnViolation {
    /// The column.
    pub column: &'static str,
    /// What is wrong with it.
    pub wrong: Wrong,
    /// What fails.
    pub fails: Fails,
}

/// What has to be in a column.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// A text.
    Text,
    /// A text that begins so.
    Id(&'static str),
    /// An absolute path.
    Folder,
    /// A number.
    Number,
    /// A time in ms: a whole number from 0 on.
    Time,
    /// JSON of a shape.
    Json(Shape),
}

/// How early a row trips over what is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The row is made into an object: whatever reads the session fails.
    Read,
    /// The answer is checked before it is sent, and so is the event that a prompt stores.
    Answer,
}

struct Column {
    name: &'static str,
    kind: Kind,
    /// Whether it may be NULL.
    null: bool,
    /// From which generation on a wrong value is met when the row is read; before, when it is sent.
    read: usize,
    /// The first generation that looks at it.
    since: usize,
}

const NEVER: usize = usize::MAX;

const fn column(name: &'static str, kind: Kind) -> Column {
    Column { name, kind, null: false, read: NEVER, since: DECODES }
}

const fn nullable(name: &'static str, kind: Kind) -> Column {
    Column { null: true, ..column(name, kind) }
}

const RULE: &[Member] =
    &[must("permission", String), must("pattern", String), must("action", Words(&["allow", "deny", "ask"]))];

const REVERT: &[Member] =
    &[must("messageID", Id("msg")), may("partID", Id("prt")), may("snapshot", String), may("diff", String)];

const MODEL: &[Member] = &[must("id", String), must("providerID", String), may("variant", String)];

const COLUMNS: &[Column] = &[
    column("slug", Kind::Text),
    column("title", Kind::Text),
    column("version", Kind::Text),
    column("directory", Kind::Folder),
    column("project_id", Kind::Text),
    nullable("parent_id", Kind::Id("ses")),
    nullable("workspace_id", Kind::Id("wrk")),
    nullable("summary_additions", Kind::Number),
    nullable("summary_deletions", Kind::Number),
    nullable("summary_files", Kind::Number),
    Column { since: 0, ..nullable("summary_diffs", Kind::Json(List(&Object(DIFF)))) },
    Column { since: 0, read: REFERENCES, ..nullable("revert", Kind::Json(Object(REVERT))) },
    Column { since: 0, read: REFERENCES, ..nullable("permission", Kind::Json(List(&Object(RULE)))) },
    Column { read: DECODES, ..nullable("model", Kind::Json(Object(MODEL))) },
    Column { since: REFERENCES, ..nullable("metadata", Kind::Json(Map(&Any))) },
    Column { since: REFERENCES, ..column("cost", Kind::Number) },
    Column { since: REFERENCES, ..column("tokens_input", Kind::Number) },
    Column { since: REFERENCES, ..column("tokens_output", Kind::Number) },
    Column { since: REFERENCES, ..column("tokens_reasoning", Kind::Number) },
    Column { since: REFERENCES, ..column("tokens_cache_read", Kind::Number) },
    Column { since: REFERENCES, ..column("tokens_cache_write", Kind::Number) },
    column("time_created", Kind::Time),
    column("time_updated", Kind::Time),
    nullable("time_compacting", Kind::Time),
    nullable("time_archived", Kind::Number),
];

/// The columns that rules are about.
pub fn columns() -> impl Iterator<Item = &'static str> {
    COLUMNS.iter().map(|column| column.name)
}

/// The rules that a row of `session` breaks under a generation. `get` gives a column's value, `None` where the store has
/// no such column.
///
/// Whether a project, a parent or a workspace is there, another row says: that is not looked at.
#[must_use]
pub fn session_violations<'a>(get: impl Fn(&str) -> Option<Value<'a>>, generation: usize) -> Vec<ColumnViolation> {
    let mut out = Vec::new();
    for column in COLUMNS {
        if let Some((wrong, stage)) = get(column.name).and_then(|value| wrong(column, value, generation)) {
            let fails = fails(column, stage, generation);
            if fails != Fails::default() {
                out.push(ColumnViolation { column: column.name, wrong, fails });
            }
        }
    }
    out
}

fn wrong(column: &Column, value: Value<'_>, generation: usize) -> Option<(Wrong, Stage)> {
    let answer = |wrong| Some((wrong, Stage::Answer));
    match (column.kind, value) {
        (_, Value::Null) if column.null => None,
        (_, Value::Null) => answer(Wrong::Null),
        (Kind::Json(shape), Value::Text(text)) => json(column, shape, text, generation),
        (Kind::Text, Value::Text(_)) | (Kind::Number, Value::Integer(_)) => None,
        (Kind::Number, Value::Real(number)) if number.is_finite() => None,
        (Kind::Time, Value::Integer(time)) if time >= 0 => None,
        (Kind::Time, Value::Integer(_) | Value::Real(_)) => answer(Wrong::Number),
        (Kind::Id(prefix), Value::Text(id)) if id.starts_with(prefix) => None,
        (Kind::Id(_), Value::Text(_)) => answer(Wrong::Prefix),
        // An empty one is the folder that the program was started in.
        (Kind::Folder, Value::Text(path)) if path.is_empty() || absolute(path) || generation < REFERENCES => None,
        (Kind::Folder, Value::Text(_)) => Some((Wrong::Kind, Stage::Read)),
        _ => answer(Wrong::Kind),
    }
}

fn absolute(path: &str) -> bool {
    let drive = || path.as_bytes().get(1) == Some(&b':');
    path.starts_with(['/', '\\']) || drive()
}

fn json(column: &Column, shape: Shape, text: &str, generation: usize) -> Option<(Wrong, Stage)> {
    if serde_json::from_str::<&serde_json::value::RawValue>(text).is_err() {
        return Some((Wrong::Json, Stage::Read));
    }
    let raw = text.trim();
    // A column whose JSON is null counts as one that is NULL.
    if raw == "null" {
        return None;
    }
    let mut first = None;
    let mut check = Check { generation, found: &mut |_, wrong| first = first.or(Some(wrong)) };
    check.value("", shape, raw);
    // A text is a list of its letters to whatever makes a list of rules of it, a list a list.
    let as_list = column.name == "permission" && raw.starts_with(['[', '"']);
    let stage = if generation >= column.read && !as_list { Stage::Read } else { Stage::Answer };
    first.map(|wrong| (wrong, stage))
}

fn fails(column: &Column, stage: Stage, generation: usize) -> Fails {
    let read = stage == Stage::Read;
    let all = Fails { list: true, command: true, get: true, open: true, prompt: true };
    if generation < column.since || generation < DECODES && !read {
        return Fails::default();
    }
    if generation < DECODES {
        return all;
    }
    // A prompt stores an event with the whole row, but for the time, which it sets.
    let stored = generation >= REFERENCES && column.name != "time_updated" || column.name == "permission";
    Fails { list: column.name != "project_id", command: read, get: true, open: read, prompt: read || stored }
}
