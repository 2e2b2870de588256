//! What people and scripts see of undo.

use std::path::Path;

use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::Serialize;

use super::doc::SCHEMA_VERSION;
use super::human::plural;
use super::layout::named;
use super::words::{ago, moment};
use super::{Output, clean, left, remain};
use crate::repair::journal::{Header, Kind};
use crate::repair::{Left, Plan};

/// How a journal stands to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema, strum::Display)]
#[serde(rename_all = "kebab-case")]
pub enum JournalState {
    /// It was done and can be taken back.
    #[strum(serialize = "done")]
    Done,
    /// It was done, and rows have changed since.
    #[strum(serialize = "done, rows have changed since")]
    ChangedSince,
    /// All of it was taken back.
    #[strum(serialize = "taken back")]
    TakenBack,
    /// It was never committed.
    #[strum(serialize = "never happened")]
    NeverHappened,
    /// Its commit was not noted, and rows have changed since.
    #[strum(serialize = "unclear, rows have changed since")]
    Unclear,
    /// It is about another store.
    #[strum(serialize = "of another store")]
    OtherStore,
    /// The file cannot be understood.
    #[strum(serialize = "cannot be read")]
    Broken,
    /// There is no store to compare it with.
    #[strum(serialize = "no store to compare with")]
    Unknown,
}

impl JournalState {
    /// Whether it may be taken back.
    #[must_use]
    pub fn open(self) -> bool {
        matches!(self, Self::Done | Self::ChangedSince | Self::Unclear)
    }
}

/// A journal in a list.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct JournalLine {
    /// What `undo` calls it.
    pub id: String,
    /// What it is of.
    pub kind: Option<Kind>,
    /// The journal that it takes back.
    pub undoes: Option<String>,
    /// When, in ms since the epoch.
    pub time_ms: Option<i64>,
    /// Where the store was.
    pub store_path: Option<String>,
    /// The sessions that it touches.
    pub sessions: Vec<String>,
    /// How it stands.
    pub state: JournalState,
    /// What is wrong with the file.
    pub detail: Option<String>,
}

impl JournalLine {
    /// A journal that was read.
    #[must_use]
    pub fn new(header: &Header, state: JournalState) -> Self {
        Self {
            id: header.id.clone(),
            kind: Some(header.kind),
            undoes: header.undoes.clone(),
            time_ms: Some(header.time_ms),
            store_path: Some(header.store_path.clone()),
            sessions: header.sessions.clone(),
            state,
            detail: None,
        }
    }

    /// A file that is no journal, or a damaged one. Without its final name it was still being written, and what
    /// it would have told of was never committed.
    #[must_use]
    pub fn broken(path: &Path, why: &str, sealed: bool) -> Self {
        Self {
            id: path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default(),
            kind: None,
            undoes: None,
            time_ms: None,
            store_path: None,
            sessions: Vec::new(),
            state: if sealed { JournalState::Broken } else { JournalState::NeverHappened },
            detail: Some(why.to_owned()),
        }
    }
}

/// `undo --json`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct UndoDoc {
    /// Of all documents: 1.
    schema_version: u32,
    /// `undo`.
    #[schemars(extend("const" = "undo"))]
    command: &'static str,
    /// It was asked for a plan only.
    pub dry_run: bool,
    /// The plan was carried out.
    pub applied: bool,
    /// The undo's own journal.
    pub undo_id: Option<String>,
    /// Sessions that are as they were.
    pub restored: Vec<Restored>,
    /// Sessions that are left, and why.
    pub left: Vec<Left>,
}

/// A session that is as it was.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Restored {
    /// The session.
    pub id: String,
}

impl UndoDoc {
    /// Puts the document together.
    #[must_use]
    pub fn new(dry_run: bool, plan: &Plan, left: Vec<Left>) -> Self {
        let restored = plan.sessions.iter().map(|s| Restored { id: s.id.clone() }).collect();
        Self { schema_version: SCHEMA_VERSION, command: "undo", dry_run, applied: false, undo_id: None, restored, left }
    }
}

/// `undo --list --json`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct JournalsDoc {
    /// Of all documents: 1.
    schema_version: u32,
    /// `undo`.
    #[schemars(extend("const" = "undo"))]
    command: &'static str,
    /// Every journal of the folder, oldest first.
    journals: Vec<JournalLine>,
}

impl JournalsDoc {
    /// Puts the document together.
    #[must_use]
    pub fn new(journals: Vec<JournalLine>) -> Self {
        Self { schema_version: SCHEMA_VERSION, command: "undo", journals }
    }
}

/// `undo --list`.
#[must_use]
pub fn journals(out: &Output, lines: &[JournalLine], folder: &Path, now: i64) -> String {
    if lines.is_empty() {
        let line = format!("No repairs are on record in {}.", clean(&folder.display().to_string()));
        return format!("{}\n", out.wrap(&line, "  "));
    }
    if out.quiet {
        let open = lines.iter().filter(|l| l.kind == Some(Kind::Repair) && l.state.open()).count();
        let all = plural(lines.len() as u64, "journal", "journals");
        return format!("{all}, {} can be taken back.\n", plural(open as u64, "repair", "repairs"));
    }
    let zone = TimeZone::system();
    let mut text = String::new();
    for line in lines.iter().rev() {
        let what = match (line.kind, &line.undoes) {
            (Some(Kind::Undo), Some(of)) => format!("undo of {}, ", clean(of)),
            (Some(kind), _) => format!("{kind}, "),
            (None, _) => String::new(),
        };
        let state = match (&line.detail, line.state, &line.store_path) {
            (Some(detail), ..) => format!("{}: {}", line.state, clean(detail)),
            (None, JournalState::OtherStore | JournalState::Unknown, Some(path)) => {
                format!("{}: {}", line.state, clean(path))
            }
            _ => line.state.to_string(),
        };
        // The id is what is typed next.
        text.push_str(&format!("{}\n", out.bold(&clean(&line.id))));
        let mut told = |words: &str| text.push_str(&format!("{}\n", out.wrap(&format!("  {words}"), "    ")));
        if let Some(ms) = line.time_ms {
            told(&format!(
                "{what}{}, {}",
                plural(line.sessions.len() as u64, "session", "sessions"),
                ago(ms, now, &zone)
            ));
        }
        told(&state);
        if out.verbose {
            line.sessions.iter().for_each(|session| told(&clean(session)));
        }
    }
    text
}

/// What an undo would do.
#[must_use]
pub fn undo_plan(
    out: &Output,
    line: &JournalLine,
    plan: &Plan,
    leaves: &[Left],
    titles: &[(String, String)],
    now: i64,
) -> String {
    if out.quiet {
        return String::new();
    }
    let zone = TimeZone::system();
    let when = line.time_ms.map(|ms| moment(ms, now, &zone)).unwrap_or_default();
    let what = if line.kind == Some(Kind::Undo) { "undo" } else { "repair" };
    let head = format!("Takes back the {what} {} of {when}:", clean(&line.id));
    let mut text = format!("{}\n", out.wrap(&head, "  "));
    for session in &plan.sessions {
        let title = titles.iter().find(|(id, _)| *id == session.id).map_or("", |(_, t)| t);
        let count = |table: &str| session.edits.iter().filter(|e| e.table == table).count();
        let rows = count("message") + count("part");
        let put = if rows == 1 { "row is put back as it was" } else { "rows are put back as they were" };
        text.push_str(&named(out, &session.id, title));
        let mut item = |words: String| text.push_str(&format!("{}\n", out.wrap(&format!("  - {words}"), "    ")));
        item(format!("{rows} {put}"));
        let told = session.edits.iter().filter(|e| e.table == "event");
        let (gone, added): (Vec<_>, Vec<_>) = told.partition(|e| e.after.is_none());
        if !gone.is_empty() {
            item(format!("{} of opencode's event log taken back", events(gone.len())));
        }
        if !added.is_empty() {
            item(format!("its event log has moved on: {} appended that take back", events(added.len())));
        }
        if let Some(why) = &session.log_left_alone {
            item(format!("its event log is left alone: {}", clean(why)));
        }
    }
    text.push_str(&left(out, leaves, titles));
    text
}

fn events(n: usize) -> String {
    if n == 1 { "1 event".to_owned() } else { format!("{n} events") }
}

/// What an undo did; `left` is the number of sessions that it left.
#[must_use]
pub fn undone(out: &Output, plan: &Plan, left: usize, of: Kind) -> String {
    let n = plan.sessions.len();
    let sessions = if n == 1 { "1 session".to_owned() } else { format!("{n} sessions") };
    let text = format!("Messages and parts of {sessions} are as before the {of}, byte for byte.");
    let rest = if left == 0 { String::new() } else { format!(" {}", remain(left)) };
    if out.quiet {
        return format!("{}{rest}\n", out.paint("32", &text));
    }
    format!("\n{}\n", out.wrap(&format!("{}{rest}", out.paint("32", &text)), ""))
}
