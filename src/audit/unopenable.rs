//! Which sessions opencode cannot read, and what other rows say of what is missing.

use std::collections::{HashMap, HashSet};

use crate::decoding::fill::{Edit, fill};
use crate::diagnosis::unopenable::{Turns, looks_odd, of_row, of_session};
use crate::diagnosis::{Applicability, Code, Finding};
use crate::error::Result;
use crate::history::Session;
use crate::plain::{MessageRow, PartRow};
use crate::repair::Change;
use crate::rows::Table;
use crate::store::Store;

/// What opencode cannot read of a session's own row and of the rows that look odd.
pub(super) fn misfits(store: &Store<'_>, session: &Session, odd: &[(Table, String)]) -> Result<Vec<Finding>> {
    let mut out = of_session_row(store, &session.info.id, false)?;
    if !odd.is_empty() {
        let turns = Turns::of(session);
        for (table, id) in odd {
            store.stored_row(*table, id, &mut |row| out.extend(of_row(&row, &turns)))?;
        }
    }
    marked(store, session, out)
}

/// [`misfits`] of a session that was read whole: what a walk over its rows would have come across.
pub(super) fn seen_misfits(store: &Store<'_>, session: &Session) -> Result<Vec<Finding>> {
    let mut out = of_session_row(store, session.info.id.as_str(), false)?;
    let turns = Turns::of(session);
    store.stored_rows_of(&session.info.id, &mut |row| {
        if looks_odd(&row) {
            out.extend(of_row(&row, &turns));
        }
    })?;
    marked(store, session, out)
}

/// What opencode cannot read of a session's own row and of all its rows.
///
/// # Errors
/// When SQLite cannot read the store.
pub(crate) fn every_misfit(store: &Store<'_>, session: &Session) -> Result<Vec<Finding>> {
    let mut out = of_session_row(store, &session.info.id, true)?;
    let turns = Turns::of(session);
    store.stored_rows_of(&session.info.id, &mut |row| out.extend(of_row(&row, &turns)))?;
    marked(store, session, out)
}

pub(super) fn of_session_row(store: &Store<'_>, session: &str, whole: bool) -> Result<Vec<Finding>> {
    let found = store.session_columns(session, whole, |columns| of_session(|name| columns.get(name), &columns.lost))?;
    Ok(found.unwrap_or_default())
}

/// What can be done about rows that opencode cannot read, and what cannot.
#[derive(Debug, Default)]
pub(crate) struct Fills {
    /// One change a row.
    pub(crate) changes: Vec<Change>,
    /// What stays: rows by id, and the member that is wrong.
    left: HashSet<(String, String)>,
}

impl Fills {
    /// Of all that opencode cannot read of a session, what stays.
    pub(crate) fn left(&self, findings: &[Finding]) -> Vec<Finding> {
        findings.iter().filter(|finding| self.stays(finding)).cloned().collect()
    }

    fn stays(&self, finding: &Finding) -> bool {
        let Some(misfit) = finding.misfit.as_ref().filter(|_| finding.code == Code::UnopenableRow) else { return true };
        let id = finding.part_id.as_deref().unwrap_or(&finding.message_id);
        self.left.contains(&(id.to_owned(), misfit.member.clone()))
    }
}

/// What other rows of a session say of what its rows lack.
///
/// # Errors
/// When SQLite cannot read the store.
pub(crate) fn fills(store: &Store<'_>, session: &Session) -> Result<Fills> {
    let Some((row, worktree)) = store.session_row(&session.info.id)? else { return Ok(Fills::default()) };
    let mut messages: Vec<MessageRow> = Vec::new();
    store.stored_rows_of(&session.info.id, &mut |row| {
        let (id, data) = (row.id.to_owned(), row.data.to_owned());
        match messages.iter_mut().rfind(|message| message.id == row.message) {
            Some(message) if row.table == crate::decoding::Table::Part => {
                message.parts.push(PartRow { id, data, time_created: 0 });
            }
            _ => messages.push(MessageRow { id, data, time_created: 0, parts: Vec::new() }),
        }
    })?;
    let mut taken = HashSet::new();
    for part in messages.iter().flat_map(|message| &message.parts) {
        if let Some(new) = part.id.strip_prefix("part_").map(|rest| format!("prt_{rest}"))
            && store.rowid(Table::Part, &new)?.is_some()
        {
            taken.insert(new);
        }
    }
    let filled = fill(&row, &messages, worktree.as_deref(), |id| taken.contains(id));
    let parts = messages.iter().flat_map(|message| message.parts.iter().map(move |part| (message, part)));
    let parts: HashMap<&str, _> = parts.map(|(message, part)| (part.id.as_str(), (message, part))).collect();
    let changes = filled.edits.iter().filter_map(|edit| match edit {
        Edit::Message { id, members, data } => {
            Some(Change::FillIn { id: id.clone(), members: members.clone(), data: data.clone() })
        }
        Edit::Part { from, to } => parts.get(from.as_str()).map(|(message, part)| Change::RenamePart {
            id: message.id.clone(),
            part: from.clone(),
            new_id: to.clone(),
            data: part.data.clone(),
        }),
    });
    let changes = changes.collect();
    let left = filled.left.into_iter().map(|left| (left.id, left.violation.member)).collect();
    Ok(Fills { changes, left })
}

/// The findings, those for which nothing can be done as such.
fn marked(store: &Store<'_>, session: &Session, mut found: Vec<Finding>) -> Result<Vec<Finding>> {
    if found.iter().any(|finding| finding.code == Code::UnopenableRow) {
        let fills = fills(store, session)?;
        // A part that cannot be parsed can be taken out of its message, where that is known.
        let known = |finding: &Finding| session.message(&finding.message_id).is_some();
        for finding in found.iter_mut().filter(|f| fills.stays(f) && !(f.is_broken_part() && known(f))) {
            finding.applicability = Applicability::ReportOnly;
        }
    }
    Ok(found)
}
