//! What people and scripts see of undo.

use std::path::Path;

use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::Serialize;

use super::doc::SCHEMA_VERSION;
use super::layout::named;
use super::words::{ago, moment, plural, sentences};
use super::{Output, clean, left, remain};
use crate::apply::{JournalLine, JournalState, PlannedUndo};
use crate::diagnosis::Left;
use crate::journal::Kind;
use crate::repair::Plan;
use crate::rows::Table;

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
        let open =
            lines.iter().filter(|l| matches!(l.kind, Some(Kind::Repair | Kind::Relink)) && l.state.open()).count();
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
            // Copies of a store share their journals.
            (None, state, Some(path)) if line.elsewhere => {
                format!("{state}; made in {}", clean(path))
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
pub fn undo_plan(out: &Output, line: &JournalLine, planned: &PlannedUndo, now: i64) -> String {
    let PlannedUndo { plan, left: leaves, titles, .. } = planned;
    if out.quiet {
        return String::new();
    }
    let zone = TimeZone::system();
    let when = line.time_ms.map(|ms| moment(ms, now, &zone)).unwrap_or_default();
    let what = line.kind.unwrap_or(Kind::Repair);
    let head = format!("Takes back the {what} {} of {when}:", clean(&line.id));
    let mut text = format!("{}\n", out.wrap(&head, "  "));
    for session in &plan.sessions {
        let title = titles.iter().find(|(id, _)| *id == session.id).map_or("", |(_, t)| t);
        let rows = session.edits.iter().filter(|e| !e.table.is_log()).count();
        let put = if rows == 1 { "row is put back as it was" } else { "rows are put back as they were" };
        text.push_str(&named(out, &session.id, title));
        let mut item = |words: String| text.push_str(&format!("{}\n", out.wrap(&format!("  - {words}"), "    ")));
        let verb = if what == Kind::Undo { "does again" } else { "takes back" };
        for sentence in sentences(&session.steps, now, &zone) {
            item(format!("{verb}: {sentence}"));
        }
        item(format!("{rows} {put}"));
        let told = session.edits.iter().filter(|e| e.table == Table::Event);
        let (gone, added): (Vec<_>, Vec<_>) = told.partition(|e| e.after.is_none());
        if !gone.is_empty() {
            item(format!("{} of opencode's event log taken back", events(gone.len())));
        }
        if !added.is_empty() {
            item(format!("its event log has moved on: {} appended that take back", events(added.len())));
        }
        if let Some(why) = &session.log_not_updated {
            item(format!("event log not updated: {}", clean(why)));
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
    let what = if of == Kind::Relink { "The rows" } else { "Messages and parts" };
    let text = format!("{what} of {sessions} are as before the {of}, byte for byte.");
    let rest = if left == 0 { String::new() } else { format!(" {}", remain(left)) };
    if out.quiet {
        return format!("{}{rest}\n", out.paint("32", &text));
    }
    format!("\n{}\n", out.wrap(&format!("{}{rest}", out.paint("32", &text)), ""))
}
