//! What people and scripts see of `relink`.

use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::Serialize;

use super::doc::SCHEMA_VERSION;
use super::layout::named;
use super::words::{ago, plural};
use super::{Output, StoreDoc, clean, left};
use crate::apply::PlannedRelink;
use crate::diagnosis::Left;
use crate::environment::folders::Candidate;
use crate::rows::{Cell, Row, RowEdit, Table};
use crate::store::Folder;

/// `relink --json`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RelinkDoc {
    /// Of all documents: 1.
    schema_version: u32,
    /// `relink`.
    #[schemars(extend("const" = "relink"))]
    command: &'static str,
    /// The store's identity: the same for copies and after repairs.
    pub store_id: String,
    /// Without folders to move: those that sessions name and that are not there.
    pub gone: Vec<GoneDoc>,
    /// It was asked for a plan only.
    pub dry_run: bool,
    /// The plan was carried out.
    pub applied: bool,
    /// What takes it back.
    pub undo_id: Option<String>,
    /// The rows that change.
    pub moved: Vec<MovedDoc>,
    /// Sessions that are left, and why.
    pub left: Vec<Left>,
}

/// A folder that is not there.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct GoneDoc {
    /// Its path.
    pub directory: String,
    /// The project of its sessions.
    pub project_id: String,
    /// How many sessions name it.
    pub sessions: u64,
    /// How many messages these have.
    pub messages: u64,
    /// When one of them was last touched, in ms since the epoch.
    pub last_used_ms: i64,
    /// Where it may be now.
    pub candidates: Vec<Candidate>,
}

/// A row that says where something is.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct MovedDoc {
    /// Its table.
    pub table: Table,
    /// Its id.
    pub id: String,
    /// The folder before.
    pub from: String,
    /// The folder after.
    pub to: String,
}

/// A folder that is not there, with where it may be now.
#[derive(Debug, Clone)]
pub struct Gone {
    /// What the store says of it.
    pub folder: Folder,
    /// Where it may be now.
    pub candidates: Vec<Candidate>,
}

impl RelinkDoc {
    /// The list of folders that are gone.
    #[must_use]
    pub fn of_gone(store_id: &str, gone: &[Gone]) -> Self {
        let gone = gone.iter().map(|Gone { folder, candidates }| GoneDoc {
            directory: folder.directory.clone(),
            project_id: folder.project_id.clone(),
            sessions: folder.sessions,
            messages: folder.messages,
            last_used_ms: folder.last_used,
            candidates: candidates.clone(),
        });
        Self { gone: gone.collect(), ..Self::blank(store_id) }
    }

    /// What is moved.
    #[must_use]
    pub fn of_plan(planned: &PlannedRelink, dry_run: bool) -> Self {
        let edits = planned.plan.sessions.iter().flat_map(|session| &session.edits).filter(|edit| !edit.table.is_log());
        let moved = edits.map(|edit| MovedDoc {
            table: edit.table,
            id: edit.id.clone(),
            from: folder(edit, edit.before.as_ref()),
            to: folder(edit, edit.after.as_ref()),
        });
        Self { moved: moved.collect(), left: planned.left.clone(), dry_run, ..Self::blank(&planned.facts.id) }
    }

    fn blank(store_id: &str) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            command: "relink",
            store_id: store_id.to_owned(),
            gone: Vec::new(),
            dry_run: false,
            applied: false,
            undo_id: None,
            moved: Vec::new(),
            left: Vec::new(),
        }
    }
}

fn folder(edit: &RowEdit, row: Option<&Row>) -> String {
    let column = if edit.table == Table::Project { "worktree" } else { "directory" };
    match row.and_then(|row| row.get(column)) {
        Some(Cell::Text(path)) => path.clone(),
        _ => String::new(),
    }
}

/// The folders that are gone, each with how to relink it. `now` in ms since the epoch.
#[must_use]
pub fn gone(out: &Output, store: &StoreDoc, gone: &[Gone], now: i64) -> String {
    let sessions: u64 = gone.iter().map(|gone| gone.folder.sessions).sum();
    let folders = gone.len() as u64;
    if folders == 0 {
        return "Every session's folder is there.\n".to_owned();
    }
    let head = format!(
        "{} to {}.",
        plural(sessions, "session points", "sessions point"),
        plural(folders, "folder that is gone", "folders that are gone")
    );
    if out.quiet {
        return format!("{head}\n");
    }
    let path = store.path.as_deref().unwrap_or("store");
    let mut text = format!("{}\n\n{}\n", out.dim(&clean(path)), out.wrap(&head, ""));
    let zone = TimeZone::system();
    for Gone { folder, candidates } in gone {
        text.push_str(&format!("\n{}\n", out.bold(&clean(&folder.directory))));
        let mut line = |words: &str| text.push_str(&format!("{}\n", out.wrap(&format!("  {words}"), "    ")));
        line(&format!(
            "{}, {}, last used {}",
            plural(folder.sessions, "session", "sessions"),
            plural(folder.messages, "message", "messages"),
            ago(folder.last_used, now, &zone)
        ));
        for candidate in candidates {
            let why = if candidate.same_project { "the same repository" } else { "a folder of that name" };
            line(&format!("Perhaps {} ({why})", clean(&candidate.directory)));
        }
    }
    let first = gone.iter().find_map(|gone| Some((&gone.folder.directory, &gone.candidates.first()?.directory)));
    let lost = gone.first().map_or("OLD".to_owned(), |gone| word(&gone.folder.directory));
    let (old, new) = first.map_or((lost, "NEW".to_owned()), |(old, new)| (word(old), word(new)));
    text.push_str(&format!("\nNext: {}\n", out.command(&format!("relink --dry-run {old} {new}"))));
    text
}

/// A path as a shell takes it.
fn word(path: &str) -> String {
    let path = clean(path);
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-=@:,+".contains(c);
    if path.chars().all(plain) { path } else { format!("'{}'", path.replace('\'', "'\\''")) }
}

/// What a relink would do, session by session.
#[must_use]
pub fn relink_plan(out: &Output, planned: &PlannedRelink) -> String {
    if out.quiet {
        return String::new();
    }
    let mut text = String::new();
    for session in &planned.plan.sessions {
        let title = planned.titles.iter().find(|(id, _)| *id == session.id).map_or("", |(_, title)| title);
        text.push_str(&named(out, &session.id, title));
        for edit in session.edits.iter().filter(|edit| !edit.table.is_log()) {
            let what = if edit.table == Table::Project { "its project" } else { "the session" };
            let (from, to) = (folder(edit, edit.before.as_ref()), folder(edit, edit.after.as_ref()));
            let line = format!("  - {what} is in {} instead of {}", clean(&to), clean(&from));
            text.push_str(&format!("{}\n", out.wrap(&line, "    ")));
        }
        if let Some(why) = &session.log_not_updated {
            let line = format!("  - event log not updated: it already disagreed with the rows ({})", clean(why));
            text.push_str(&format!("{}\n", out.wrap(&line, "    ")));
        }
    }
    text.push_str(&left(out, &planned.left, &planned.titles));
    text
}

/// What a relink did. `undo` is the command that takes it back.
#[must_use]
pub fn relinked(out: &Output, planned: &PlannedRelink, undo: &str) -> String {
    let n = planned.plan.sessions.len() as u64;
    let done = format!("Relinked {}.", plural(n, "session", "sessions"));
    if out.quiet {
        return format!("{done}\n");
    }
    format!("\n{}\nTake it back with: {}\n", out.paint("32", &done), out.command(undo))
}
