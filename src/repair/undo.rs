//! Taking a repair back: its edits turned round, for each session all or nothing.

use std::collections::{BTreeSet, HashSet};

use super::log::{self, Told};
use super::plan::SessionPlan;
use super::step::Step;
use crate::diagnosis::{Left, LeftReason};
use crate::error::{ErrorCode, Result};
use crate::history::log::Log;
use crate::history::{PartKind, Session};
use crate::rows::{Lookup, Op, Row, RowEdit, Table, int, text};

/// Whether the rows of the store are those that edits left, or those that they found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Every row is what the edits left.
    Done,
    /// Every row is what it was before.
    NotDone,
    /// Neither.
    Changed,
}

/// What the rows of the store say of edits that are given one after the other; those of the event log do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowsNow {
    done: bool,
    not_done: bool,
}

impl Default for RowsNow {
    fn default() -> Self {
        Self { done: true, not_done: true }
    }
}

impl RowsNow {
    /// Takes in an edit.
    ///
    /// # Errors
    /// When its row cannot be read.
    pub fn add(&mut self, edit: &RowEdit, rows: &dyn Lookup) -> Result<()> {
        if !edit.table.is_log() {
            let row = found(edit, rows)?;
            self.done &= row.as_ref() == Some(&edit.after);
            self.not_done &= row.as_ref() == Some(&edit.before);
        }
        Ok(())
    }

    /// What both say together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { done: self.done && other.done, not_done: self.not_done && other.not_done }
    }

    /// How the store stands to all edits that were taken in.
    #[must_use]
    pub fn standing(self) -> Standing {
        match (self.done, self.not_done) {
            (true, _) => Standing::Done,
            (false, true) => Standing::NotDone,
            _ => Standing::Changed,
        }
    }
}

/// What of one session is to be taken back.
#[derive(Debug, Clone, Copy)]
pub struct Taken<'a> {
    /// Its edits, with whole rows, in the order in which they were made.
    pub edits: &'a [RowEdit],
    /// The steps that they were.
    pub steps: &'a [Step],
}

/// The row of an edit as it is now, or that there is none; `None` if it holds what no journal does: then it has changed since.
fn found(edit: &RowEdit, rows: &dyn Lookup) -> Result<Option<Option<Row>>> {
    match rows.whole(edit.table, &edit.id) {
        Err(error) if error.code() == ErrorCode::RowChanged => Ok(None),
        row => row.map(Some),
    }
}

/// What came of planning an undo.
#[derive(Debug)]
pub enum Undo {
    /// The edits that take a session's back.
    Plan(SessionPlan),
    /// The session is left.
    Left(Left),
}

/// Plans the taking back of one session's edits. `session` is its history as it is now, `log` what its event log says of
/// that; `now_ms` is for the events that tell the log, in ms since the epoch.
///
/// # Errors
/// When a row cannot be read.
pub fn plan_undo(session: &Session, taken: Taken<'_>, log: &Log, rows: &dyn Lookup, now_ms: i64) -> Result<Undo> {
    let id = &session.info.id;
    let left = |reason: LeftReason, detail: String| Ok(Undo::Left(Left { id: id.clone(), reason, detail }));
    if let Some(detail) = changed_since(session, taken.edits, rows)? {
        return left(LeftReason::RowChanged, detail);
    }
    if let Some(detail) = referenced(session, taken.edits, rows)? {
        return left(LeftReason::Referenced, detail);
    }
    let mut plan = SessionPlan { id: id.clone(), steps: taken.steps.to_vec(), ..SessionPlan::default() };
    // The log's own count tells whether anything came after the events that these edits wrote or took back.
    let unmoved = match taken.edits.iter().find(|e| e.table == Table::EventSequence) {
        Some(sequence) => rows.whole(Table::EventSequence, id)? == sequence.after,
        None => true,
    };
    for edit in taken.edits.iter().rev().filter(|e| !e.table.is_log() || unmoved) {
        plan.push(edit.reversed(), 0);
    }
    match log {
        Log::Folds(end) if !unmoved && last_event(taken.edits).is_some() => {
            match log::events(id, &plan.edits, &HashSet::new(), end, (now_ms, rows))? {
                Told::Events(events) => events.into_iter().for_each(|(_, edit)| plan.push(edit, 0)),
                Told::Nothing(why) => return left(LeftReason::NoLosslessEdit, why),
            }
        }
        Log::Differs(why) if !unmoved => plan.log_not_updated = Some(why.clone()),
        _ => {}
    }
    Ok(Undo::Plan(plan))
}

/// Plans the taking back of the edits of a session of opencode 2: they have changed rows and made or removed none.
///
/// # Errors
/// When a row cannot be read.
pub fn plan_newer_undo(id: &str, taken: Taken<'_>, rows: &dyn Lookup) -> Result<Undo> {
    let mut plan = SessionPlan { id: id.to_owned(), steps: taken.steps.to_vec(), ..SessionPlan::default() };
    for edit in taken.edits.iter().rev() {
        if found(edit, rows)?.as_ref() != Some(&edit.after) {
            let detail = format!("{} {} has changed since the repair", edit.table, edit.id);
            return Ok(Undo::Left(Left { id: id.to_owned(), reason: LeftReason::RowChanged, detail }));
        }
        plan.push(edit.reversed(), 0);
    }
    Ok(Undo::Plan(plan))
}

/// The first row that is not what the edits left, or whose place is taken.
fn changed_since(session: &Session, edits: &[RowEdit], rows: &dyn Lookup) -> Result<Option<String>> {
    for edit in edits.iter().filter(|e| !e.table.is_log()) {
        if found(edit, rows)?.as_ref() != Some(&edit.after) {
            return Ok(Some(format!("{} {} has changed since the repair", edit.table, edit.id)));
        }
        if let Some(parent) =
            edit.before.as_ref().filter(|_| edit.table == Table::Part).and_then(|r| text(r, "message_id"))
            && !edits.iter().any(|e| e.table == Table::Message && e.id == parent)
            && session.message(parent).is_none()
        {
            return Ok(Some(format!("message {parent}, which part {} belongs to, is gone", edit.id)));
        }
        let rowid = edit.before.as_ref().filter(|_| edit.op() == Op::Delete).and_then(|row| int(row, "rowid"));
        if let Some(rowid) = rowid
            && rows.is_taken(edit.table, rowid)?
        {
            return Ok(Some(format!(
                "the place (rowid {rowid}) of {} {} belongs to a newer row now, and rows are given back just as they were",
                edit.table, edit.id
            )));
        }
    }
    Ok(None)
}

/// The number of the last event that edits wrote or took back.
fn last_event(edits: &[RowEdit]) -> Option<i64> {
    let events = edits.iter().filter(|e| e.table == Table::Event);
    events.filter_map(|e| int(e.after.as_ref().or(e.before.as_ref())?, "seq")).max()
}

/// What names a row that the undo would take away, in words.
fn referenced(session: &Session, edits: &[RowEdit], rows: &dyn Lookup) -> Result<Option<String>> {
    let made: BTreeSet<&str> =
        edits.iter().filter(|e| e.op() == Op::Insert && !e.table.is_log()).map(|e| e.id.as_str()).collect();
    let touched: BTreeSet<&str> = edits.iter().map(|e| e.id.as_str()).collect();
    let last = last_event(edits);
    for gone in made {
        let by_event = match last {
            Some(seq) => rows.named_since(&session.info.id, seq, gone)?,
            None => false,
        };
        let by = names(session, gone, &touched).or_else(|| by_event.then(|| "a newer event".to_owned()));
        if let Some(by) = by {
            return Ok(Some(format!("{by} names {gone}, which undo would take away")));
        }
    }
    Ok(None)
}

/// A row of the session that names the id and is not itself part of the repair.
fn names(session: &Session, id: &str, touched: &BTreeSet<&str>) -> Option<String> {
    if let Some(revert) = &session.info.revert
        && (revert.message_id == id || revert.part_id.as_deref() == Some(id))
    {
        return Some("session.revert".to_owned());
    }
    session.messages.iter().find_map(|m| {
        let parent = m.assistant().and_then(|a| a.parent_id.as_deref()) == Some(id);
        let tail = m.parts.iter().any(|p| {
            matches!(&p.kind, PartKind::Compaction { tail_start_id: Some(tail) } if **tail == *id)
                || (m.id() == id && !touched.contains(p.id()))
        });
        ((parent && !touched.contains(m.id())) || tail).then(|| m.row.id.clone())
    })
}
