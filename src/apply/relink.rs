//! Planning and carrying out a relink: sessions whose folder was moved are told where it is now.

use std::collections::HashMap;
use std::path::Path;

use super::{Applied, ApplyOptions, Job, Older, Postcondition};
use crate::diagnosis::{Left, LeftReason};
use crate::error::{Error, ErrorCode, Result};
use crate::history::log::Log;
use crate::history::{Session, SessionInfo};
use crate::journal::Kind;
use crate::relink::{Edit, Move};
use crate::repair::log::{Told, events};
use crate::repair::{Plan, SessionPlan, touched};
use crate::rows::{Cell, Lookup as _, RowEdit, Table};
use crate::store::{Facts, Loaded, SessionEntry, Store};

/// A relink that was planned.
#[derive(Debug)]
pub struct PlannedRelink {
    /// What the store is.
    pub facts: Facts,
    /// The rows that change, session by session. A project goes with its first session.
    pub plan: Plan,
    /// Sessions that are left, and why.
    pub left: Vec<Left>,
    /// The titles of the sessions of both, by id.
    pub titles: Vec<(String, String)>,
}

/// Plans to tell sessions that a folder was moved. `now` is the present, in ms since the epoch.
///
/// # Errors
/// What is wrong with the store; [`ErrorCode::NoSuchSession`] where no session is in the folder or below it.
pub fn plan_relink(store: &Store<'_>, moved: Move<'_>, now: i64) -> Result<PlannedRelink> {
    Ok(Planner { store, moved, now }.plan()?.0)
}

/// Carries out a relink that was shown, for the store at `path`.
///
/// # Errors
/// Whatever keeps it from being carried out; then nothing was changed, but for [`ErrorCode::CommitUnclear`].
pub fn relink(path: &Path, shown: &PlannedRelink, moved: Move<'_>, options: &mut ApplyOptions<'_>) -> Result<Applied> {
    let job = Job { path, plan: &shown.plan, kind: Kind::Relink, undoes: None, store_id: &shown.facts.id };
    let now = options.now;
    super::apply(&job, options, |store| {
        let (again, conditions) = Planner { store, moved, now }.plan()?;
        Ok((again.plan, conditions))
    })
}

struct Planner<'a> {
    store: &'a Store<'a>,
    moved: Move<'a>,
    now: i64,
}

impl Planner<'_> {
    fn plan(&self) -> Result<(PlannedRelink, Vec<Postcondition>)> {
        let (sessions, projects) = (self.store.session_rows()?, self.store.project_rows()?);
        let project_of: HashMap<&str, &str> =
            sessions.iter().map(|row| (row.id.as_str(), row.project_id.as_str())).collect();
        // opencode 2 may keep rows of its own in the same table: those are not in this list.
        let infos: HashMap<String, Option<SessionInfo>> = self
            .store
            .sessions()?
            .into_iter()
            .map(|entry| match entry {
                SessionEntry::Readable(info) => (info.id.clone(), Some(info)),
                SessionEntry::Unreadable(row) => (row.id, None),
            })
            .collect();
        let mut out =
            PlannedRelink { facts: self.store.facts()?, plan: Plan::default(), left: Vec::new(), titles: Vec::new() };
        let mut conditions = Vec::new();
        let edits = crate::relink::relink(self.moved, &sessions, &projects, &[]);
        for edit in &edits {
            let Edit::Session { id, .. } = edit else { continue };
            let Some(info) = infos.get(id) else { continue };
            let (Some(info), Some(row)) = (info, self.session(edit)?) else {
                out.left.push(Left::new(id, LeftReason::Unreadable));
                continue;
            };
            out.titles.push((id.clone(), info.title.clone()));
            let mut plan = SessionPlan { id: id.clone(), ..SessionPlan::default() };
            plan.push(row, 0);
            for project in edits.iter().filter(|edit| matches!(edit, Edit::Project { .. })) {
                let Edit::Project { id: of, .. } = project else { continue };
                let taken = out.plan.sessions.iter().any(|s| s.edits.iter().any(|e| e.id == *of));
                if !taken && project_of.get(id.as_str()) == Some(&of.as_str()) {
                    plan.edits.extend(self.project(project)?);
                    plan.step_of.resize(plan.edits.len(), 0);
                }
            }
            let (Loaded { session, unreadable }, untouched) =
                self.store.load_guarded(info, &touched(&plan.edits), None)?;
            if !unreadable.is_empty() {
                out.left.push(Left::new(id, LeftReason::Unreadable));
                continue;
            }
            let log_told = self.tell_log(&session, &mut plan)?;
            conditions.push(Postcondition::Older(Box::new(Older::of_rows(info.clone(), untouched, log_told))));
            out.plan.sessions.push(plan);
        }
        if out.plan.sessions.is_empty() && out.left.is_empty() {
            let message = format!("no session is in {} or below it", self.moved.from);
            return Err(
                Error::new(ErrorCode::NoSuchSession, message).hint("`unstick relink` lists the folders that are gone")
            );
        }
        Ok((out, conditions))
    }

    /// The edit of a session's row; `None` where it cannot be read.
    fn session(&self, edit: &Edit) -> Result<Option<RowEdit>> {
        let Edit::Session { id, directory, path, project_id } = edit else { return Ok(None) };
        let Some(before) = self.store.whole(Table::Session, id)? else { return Ok(None) };
        let mut after = before.clone();
        after.insert("directory".to_owned(), Cell::Text(directory.clone()));
        if after.contains_key("path") {
            after.insert("path".to_owned(), path.clone().map_or(Cell::Null, Cell::Text));
        }
        if let Some(project) = project_id {
            after.insert("project_id".to_owned(), Cell::Text(project.clone()));
        }
        Ok(Some(RowEdit { table: Table::Session, id: id.clone(), before: Some(before), after: Some(after) }))
    }

    /// The edit of a project's row; `None` where it cannot be read.
    fn project(&self, edit: &Edit) -> Result<Option<RowEdit>> {
        let Edit::Project { id, worktree, sandboxes } = edit else { return Ok(None) };
        let Some(before) = self.store.whole(Table::Project, id)? else { return Ok(None) };
        let mut after = before.clone();
        after.insert("worktree".to_owned(), Cell::Text(worktree.clone()));
        if after.contains_key("sandboxes") {
            after.insert("sandboxes".to_owned(), Cell::Text(sandboxes.clone()));
        }
        Ok(Some(RowEdit { table: Table::Project, id: id.clone(), before: Some(before), after: Some(after) }))
    }

    /// Adds the event that opencode itself appends when it moves a session, if the session has a log that tells of its rows.
    fn tell_log(&self, session: &Session, plan: &mut SessionPlan) -> Result<bool> {
        let end = match self.store.log(session)? {
            Log::None => return Ok(false),
            Log::Differs(why) => {
                plan.log_not_updated = Some(why);
                return Ok(false);
            }
            Log::Folds(end) => end,
        };
        match events(&session.info.id, &plan.edits, &Default::default(), &end, (self.now, self.store))? {
            Told::Events(events) => {
                let created = self.store.schema().has("event", "created");
                for (_, mut edit) in events {
                    if let Some(row) = edit.after.as_mut().filter(|_| created && edit.table == Table::Event) {
                        row.insert("created".to_owned(), Cell::Int(0));
                    }
                    plan.push(edit, 0);
                }
                Ok(true)
            }
            Told::Nothing(why) => {
                plan.log_not_updated = Some(why);
                Ok(false)
            }
        }
    }
}
