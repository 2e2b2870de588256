//! The events that tell opencode's event log (1.17 and later, docs/opencode.md §2) of row edits. Their ids continue the
//! last event's.

use std::collections::HashSet;

use crate::decoding::fill::rename_in_event;
use crate::error::Result;
use crate::history::ids;
use crate::history::log::LogEnd;
use crate::json::quote;
use crate::relink;
use crate::rows::{Cell, Lookup, Op, Row, RowEdit, Table, int, text};

/// What the log can be told.
#[derive(Debug)]
pub enum Told {
    /// Edits of `event` and `event_sequence`, each with the place of the edit that it tells of.
    Events(Vec<(usize, RowEdit)>),
    /// Nothing, and why: the log is not updated then.
    Nothing(String),
}

/// The edits of `event` and `event_sequence` that tell the log of `edits`: one event each, as opencode writes them. A part
/// that moves is removed and updated under its new message. Nothing is told of rows in `silent`. `now` in ms since the epoch.
///
/// # Errors
/// When a row's JSON cannot be read.
pub fn events(
    session: &str,
    edits: &[RowEdit],
    silent: &HashSet<&str>,
    end: &LogEnd,
    (now, rows): (i64, &dyn Lookup),
) -> Result<Told> {
    let mut out: Vec<(usize, RowEdit)> = Vec::new();
    let mut id = end.last_id.clone();
    let mut seq = end.seq;
    let gone = edits.iter().filter(|e| e.op() == Op::Delete && e.table == Table::Message);
    let writer = Writer { session: quote(session), gone: gone.map(|e| e.id.as_str()).collect(), now, rows };
    for (at, edit) in edits.iter().enumerate().filter(|(_, edit)| !silent.contains(edit.id.as_str())) {
        let Some(told) = writer.told(edit)? else {
            return Ok(Told::Nothing(format!("the JSON of {} {} is not at hand", edit.table, edit.id)));
        };
        for (kind, data) in told {
            let Some(next) = ids::successor(&id) else {
                return Ok(Told::Nothing("no event id can be made".to_owned()));
            };
            id = next;
            seq += 1;
            let row = [
                ("id", Cell::Text(id.clone())),
                ("aggregate_id", Cell::Text(session.to_owned())),
                ("seq", Cell::Int(seq)),
                ("type", Cell::Text(kind.to_owned())),
                ("data", Cell::Text(data)),
            ];
            let after = Some(row.map(|(column, cell)| (column.to_owned(), cell)).into());
            out.push((at, RowEdit { table: Table::Event, id: id.clone(), before: None, after }));
        }
    }
    if let Some((at, _)) = out.last() {
        let mut after = end.sequence.clone();
        after.insert("seq".to_owned(), Cell::Int(seq));
        let before = Some(end.sequence.clone());
        out.push((*at, RowEdit { table: Table::EventSequence, id: session.to_owned(), before, after: Some(after) }));
    }
    Ok(Told::Events(out))
}

/// The edit of an event that names a part by an id that it no longer has; `None` where it does not. `row` is the event's.
///
/// opencode folds a log by the ids that stand in it, and takes no other form of id from 1.17.11 on.
#[must_use]
pub fn renamed(row: &Row, from: &str, to: &str) -> Option<RowEdit> {
    let data = rename_in_event(text(row, "type")?, text(row, "data")?, from, to).ok()??;
    let mut after = row.clone();
    after.insert("data".to_owned(), Cell::Text(data));
    let id = text(row, "id")?.to_owned();
    Some(RowEdit { table: Table::Event, id, before: Some(row.clone()), after: Some(after) })
}

struct Writer<'a> {
    /// The session's id as JSON.
    session: String,
    /// Messages that are removed.
    gone: Vec<&'a str>,
    now: i64,
    rows: &'a dyn Lookup,
}

/// An event's type and JSON.
type Event = (&'static str, String);

impl Writer<'_> {
    /// The events of one row edit; `None` where the row's JSON is not at hand.
    fn told(&self, edit: &RowEdit) -> Result<Option<Vec<Event>>> {
        match edit.table {
            Table::Message => Ok(self.of_message(edit)),
            Table::Part => self.of_part(edit),
            Table::Session => Ok(Some(self.of_session(edit).into_iter().collect())),
            Table::Event | Table::EventSequence | Table::Project | Table::SessionMessage => Ok(Some(Vec::new())),
        }
    }

    fn of_message(&self, edit: &RowEdit) -> Option<Vec<Event>> {
        let (session, id) = (&self.session, quote(&edit.id));
        let Some(after) = &edit.after else {
            return Some(vec![("message.removed.1", format!("{{\"sessionID\":{session},\"messageID\":{id}}}"))]);
        };
        let info = with_members(&format!("\"id\":{id},\"sessionID\":{session}"), text(after, "data")?)?;
        Some(vec![("message.updated.1", format!("{{\"sessionID\":{session},\"info\":{info}}}"))])
    }

    fn of_part(&self, edit: &RowEdit) -> Result<Option<Vec<Event>>> {
        let message_of = |row| text(row, "message_id");
        let before = edit.before.as_ref().and_then(message_of);
        let Some(after) = &edit.after else {
            // Parts go with their message.
            let removed = |message: &str| (!self.gone.contains(&message)).then(|| self.removed(message, &edit.id));
            return Ok(before.map(|message| removed(message).into_iter().collect()));
        };
        let Some(message) = message_of(after) else { return Ok(None) };
        let mut events = Vec::new();
        events.extend(before.filter(|before| *before != message).map(|before| self.removed(before, &edit.id)));
        // A part that the projector inserts takes its `time_created` from the event.
        let inserted = before.is_none() || !events.is_empty();
        let time = int(after, "time_created").filter(|_| inserted).unwrap_or(self.now);
        let data = match text(after, "data") {
            Some(data) => Some(data.to_owned()),
            None => self.rows.data(Table::Part, &edit.id)?,
        };
        let session = &self.session;
        let head = format!("\"id\":{},\"sessionID\":{session},\"messageID\":{}", quote(&edit.id), quote(message));
        let Some(part) = data.and_then(|data| with_members(&head, &data)) else { return Ok(None) };
        events.push(("message.part.updated.1", format!("{{\"sessionID\":{session},\"part\":{part},\"time\":{time}}}")));
        Ok(Some(events))
    }

    /// A session that is elsewhere now.
    fn of_session(&self, edit: &RowEdit) -> Option<Event> {
        let after = edit.after.as_ref()?;
        let path = text(after, "path").unwrap_or_default();
        Some(relink::event(&edit.id, text(after, "directory")?, path, self.now))
    }

    fn removed(&self, message: &str, part: &str) -> Event {
        let (session, message, part) = (&self.session, quote(message), quote(part));
        let data = format!("{{\"sessionID\":{session},\"messageID\":{message},\"partID\":{part}}}");
        ("message.part.removed.1", data)
    }
}

/// An object with the given members in front of those of `data`; `None` where that is no object.
fn with_members(head: &str, data: &str) -> Option<String> {
    let rest = data[data.find('{')? + 1..].trim_start();
    let comma = if rest.starts_with('}') { "" } else { "," };
    Some(format!("{{{head}{comma}{rest}"))
}
