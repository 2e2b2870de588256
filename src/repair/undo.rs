//! Taking a repair back: its edits turned round, for each session all or nothing.

use std::collections::BTreeSet;

use super::log::{self, Log};
use super::plan::{Cell, Image, Left, Op, RowEdit, SessionPlan};
use crate::diagnosis::LeftReason;
use crate::history::{PartKind, Session};

/// What an undo looks at in the store as it is now.
pub trait Now {
    /// The row with this primary key, rowid included; `None` where there is none.
    fn row(&self, table: &str, id: &str) -> Option<Image>;
    /// Whether the rowid is taken.
    fn taken(&self, table: &str, rowid: i64) -> bool;
    /// Whether an event of the session with a number above `seq` names the text.
    fn named_since(&self, session: &str, seq: i64, text: &str) -> bool;
}

/// How the store stands to a session's edits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Every row is what the edits left.
    Done,
    /// Every row is what it was before.
    NotDone,
    /// Neither.
    Changed,
}

fn is_log(edit: &RowEdit) -> bool {
    edit.table.starts_with("event")
}

/// How the store stands to edits, as they come: the event log aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stand {
    done: bool,
    not_done: bool,
}

impl Default for Stand {
    fn default() -> Self {
        Self { done: true, not_done: true }
    }
}

impl Stand {
    /// Takes in an edit.
    pub fn add(&mut self, edit: &RowEdit, now: &dyn Now) {
        if is_log(edit) {
            return;
        }
        let row = now.row(&edit.table, &edit.id);
        self.done &= row == edit.after;
        self.not_done &= row == edit.before;
    }

    /// The same with edits that were looked at elsewhere.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { done: self.done && other.done, not_done: self.not_done && other.not_done }
    }

    /// How it stands to all that were taken in.
    #[must_use]
    pub fn standing(self) -> Standing {
        match (self.done, self.not_done) {
            (true, _) => Standing::Done,
            (false, true) => Standing::NotDone,
            _ => Standing::Changed,
        }
    }
}

/// Plans the taking back of one session's edits. `session` is its history as it is now, `log` what its event log
/// says of that; `now_ms` is for compensating events.
///
/// # Errors
/// The reason for leaving the session as it is.
pub fn plan_undo(
    session: &Session,
    edits: &[RowEdit],
    now: &dyn Now,
    log: &Log,
    now_ms: i64,
) -> Result<SessionPlan, Left> {
    let id = &session.info.id;
    let left = |reason: LeftReason, detail: String| Left { id: id.clone(), reason, detail };
    for edit in edits.iter().filter(|e| !is_log(e)) {
        if now.row(&edit.table, &edit.id) != edit.after {
            let detail = format!("{} {} has changed since the repair", edit.table, edit.id);
            return Err(left(LeftReason::RowChanged, detail));
        }
        if edit.op == Op::Delete
            && let Some(Cell::Int(rowid)) = edit.before.as_ref().and_then(|b| b.get("rowid"))
            && now.taken(&edit.table, *rowid)
        {
            let detail = format!(
                "the place (rowid {rowid}) of {} {} belongs to a newer row now, and rows are given back just as they were",
                edit.table, edit.id
            );
            return Err(left(LeftReason::RowChanged, detail));
        }
    }
    let last_own = edits
        .iter()
        .filter(|e| e.table == "event")
        .filter_map(|e| match e.after.as_ref().or(e.before.as_ref())?.get("seq")? {
            Cell::Int(seq) => Some(*seq),
            _ => None,
        })
        .max();
    let made: BTreeSet<&str> =
        edits.iter().filter(|e| e.op == Op::Insert && !is_log(e)).map(|e| e.id.as_str()).collect();
    let touched: BTreeSet<&str> = edits.iter().map(|e| e.id.as_str()).collect();
    for gone in &made {
        let by_event = last_own.is_some_and(|seq| now.named_since(id, seq, gone));
        if let Some(by) = names(session, gone, &touched).or_else(|| by_event.then(|| "a newer event".to_owned())) {
            return Err(left(LeftReason::Referenced, format!("{by} names {gone}, which undo would take away")));
        }
    }
    // The log's own count tells whether anything came after the events that these edits wrote or took back.
    let unmoved =
        edits.iter().find(|e| e.table == "event_sequence").is_none_or(|e| now.row("event_sequence", id) == e.after);
    let mut turned: Vec<RowEdit> = edits.iter().rev().filter(|e| !is_log(e) || unmoved).map(turn).collect();
    if let (false, Log::Folds(end), Some(_)) = (unmoved, log, last_own) {
        let events = log::events(id, &turned, end, now_ms, &|_| None)
            .map_err(|e| left(LeftReason::NoLosslessEdit, e.to_string()))?;
        turned.extend(events);
    }
    let log_left_alone = match log {
        Log::Differs(why) if !unmoved => Some(why.clone()),
        _ => None,
    };
    Ok(SessionPlan { id: id.clone(), edits: turned, log_left_alone, leaves: Vec::new(), empty_answers: false })
}

/// The edit that takes this one back.
pub(crate) fn turn(edit: &RowEdit) -> RowEdit {
    let op = match edit.op {
        Op::Insert => Op::Delete,
        Op::Delete => Op::Insert,
        Op::Update => Op::Update,
    };
    RowEdit { op, before: edit.after.clone(), after: edit.before.clone(), ..edit.clone() }
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
