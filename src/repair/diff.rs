//! From two histories to the row edits that lead from the one to the other.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use super::plan::{SessionPlan, Stop, last_steps};
use super::step::Step;
use crate::diagnosis::LeftReason;
use crate::history::{Message, Part, Session};
use crate::rows::{Cell, Lookup, Row, RowEdit, Table};

/// Prompts up to this size are in a plan whole where they are removed, in bytes; larger ones by size and hash.
const LARGE: u64 = 1 << 20;

type Histories<'a> = HashMap<&'a str, &'a Rc<Message>>;

fn by_id(session: &Session) -> Histories<'_> {
    session.messages.iter().map(|m| (m.id(), m)).collect()
}

/// The messages that the other history does not share: all others are the same in both.
fn own<'a>(session: &'a Session, other: &Histories<'_>) -> Vec<&'a Message> {
    let shared = |m: &&Rc<Message>| other.get(m.id()).is_some_and(|o| Rc::ptr_eq(m, o));
    session.messages.iter().filter(|m| !shared(m)).map(Rc::as_ref).collect()
}

/// What a row was, as it is stored.
struct Stored<'a>(&'a dyn Lookup);

impl Stored<'_> {
    fn row(&self, table: Table, id: &str) -> Result<Row, Stop> {
        self.0.brief(table, id)?.ok_or_else(|| gone(table, id))
    }

    /// A message's row with its JSON.
    fn message(&self, id: &str) -> Result<Row, Stop> {
        let data = self.0.data(Table::Message, id)?.ok_or_else(|| gone(Table::Message, id))?;
        Ok(with(self.row(Table::Message, id)?, [("data", Cell::Text(data))]))
    }

    /// The row of a message that is removed, with its JSON where that is of ordinary size.
    fn removed(&self, message: &Message) -> Result<Row, Stop> {
        let row = self.row(Table::Message, message.id())?;
        match row.get("data") {
            Some(Cell::Kept { bytes, .. }) if *bytes > LARGE && message.user().is_some() => Ok(row),
            _ => self.message(message.id()),
        }
    }
}

fn gone(table: Table, id: &str) -> Stop {
    Stop::Leave(LeftReason::Unreadable, format!("{table} {id} cannot be read"))
}

/// A row with some of its columns set.
fn with<const N: usize>(mut row: Row, cells: [(&str, Cell); N]) -> Row {
    row.extend(cells.map(|(name, cell)| (name.to_owned(), cell)));
    row
}

fn changed(data: Option<&Arc<str>>) -> Option<Cell> {
    data.map(|data| Cell::Text(data.to_string()))
}

/// The row edits that lead from `before` to `after`: new messages first, then moved parts, changed messages, and what is
/// removed, parts before their message. `now` is their `time_updated`, in ms since the epoch.
///
/// # Errors
/// The row that cannot be read.
pub(super) fn diff(
    before: &Session,
    after: &Session,
    steps: Vec<Step>,
    now: i64,
    rows: &dyn Lookup,
) -> Result<SessionPlan, Stop> {
    let (old, new) = (by_id(before), by_id(after));
    let (was, is) = (own(before, &new), own(after, &old));
    let mut edits = Vec::new();
    let writer = Writer { old, new, now, stored: Stored(rows) };
    writer.inserted(&is, &mut edits)?;
    writer.renamed(&was, &is, &mut edits)?;
    writer.moved(&was, &is, &mut edits)?;
    writer.rewritten(&is, &mut edits)?;
    writer.removed(&was, &is, &mut edits)?;
    let mut plan = SessionPlan { id: before.info.id.clone(), ..SessionPlan::default() };
    let last = last_steps(&steps);
    for (edit, message) in edits {
        plan.push(edit, last.get(message).copied().unwrap_or_default());
    }
    plan.steps = steps;
    Ok(plan)
}

/// Edits, each with the message that it is made for.
type Edits<'a> = Vec<(RowEdit, &'a str)>;

struct Writer<'a> {
    old: Histories<'a>,
    new: Histories<'a>,
    now: i64,
    stored: Stored<'a>,
}

impl Writer<'_> {
    fn inserted<'a>(&self, is: &[&'a Message], edits: &mut Edits<'a>) -> Result<(), Stop> {
        for message in is.iter().filter(|m| !self.old.contains_key(m.id())) {
            let row = &message.row;
            let data = changed(message.changed.as_ref()).ok_or_else(|| gone(Table::Message, &row.id))?;
            let cells = [
                ("id", Cell::Text(row.id.clone())),
                ("session_id", Cell::Text(row.session_id.to_string())),
                ("time_created", Cell::Int(row.time_created)),
                ("time_updated", Cell::Int(self.now)),
                ("data", data),
            ];
            let after = Some(with(Row::new(), cells));
            edits.push((edit(Table::Message, message.id(), None, after), message.id()));
        }
        Ok(())
    }

    /// Parts with an id that is new: the row with the old one is among those that are removed.
    fn renamed<'a>(&self, was: &[&Message], is: &[&'a Message], edits: &mut Edits<'a>) -> Result<(), Stop> {
        let known: HashSet<&str> = was.iter().flat_map(|m| &m.parts).map(Part::id).collect();
        for message in is {
            for part in message.parts.iter().filter(|part| part.changed.is_some() && !known.contains(part.id())) {
                let data = changed(part.changed.as_ref()).ok_or_else(|| gone(Table::Part, part.id()))?;
                let cells = [
                    ("id", Cell::Text(part.id().to_owned())),
                    ("message_id", Cell::Text(message.row.id.clone())),
                    ("session_id", Cell::Text(message.row.session_id.to_string())),
                    ("time_created", Cell::Int(part.time_created)),
                    ("time_updated", Cell::Int(self.now)),
                    ("data", data),
                ];
                let after = Some(with(Row::new(), cells));
                edits.push((edit(Table::Part, part.id(), None, after), message.id()));
            }
        }
        Ok(())
    }

    fn moved<'a>(&self, was: &[&Message], is: &[&'a Message], edits: &mut Edits<'a>) -> Result<(), Stop> {
        let owners: HashMap<&str, &str> =
            was.iter().flat_map(|m| m.parts.iter().map(|part| (part.id(), m.id()))).collect();
        for message in is {
            for part in &message.parts {
                let moved = owners.get(part.id()).is_some_and(|from| *from != message.id());
                if !owners.contains_key(part.id()) || !(moved || part.changed.is_some()) {
                    continue;
                }
                let before = self.stored.row(Table::Part, part.id())?;
                let owner = Cell::Text(message.row.id.clone());
                let mut after = with(before.clone(), [("message_id", owner), ("time_updated", Cell::Int(self.now))]);
                after.extend(changed(part.changed.as_ref()).map(|data| ("data".to_owned(), data)));
                edits.push((edit(Table::Part, part.id(), Some(before), Some(after)), message.id()));
            }
        }
        Ok(())
    }

    fn rewritten<'a>(&self, is: &[&'a Message], edits: &mut Edits<'a>) -> Result<(), Stop> {
        for message in is.iter().filter(|m| self.old.contains_key(m.id())) {
            let Some(data) = changed(message.changed.as_ref()) else { continue };
            let before = self.stored.message(message.id())?;
            if before.get("data") != Some(&data) {
                let after = with(before.clone(), [("time_updated", Cell::Int(self.now)), ("data", data)]);
                edits.push((edit(Table::Message, message.id(), Some(before), Some(after)), message.id()));
            }
        }
        Ok(())
    }

    fn removed<'a>(&self, was: &[&'a Message], is: &[&Message], edits: &mut Edits<'a>) -> Result<(), Stop> {
        let kept: HashSet<&str> = is.iter().flat_map(|m| &m.parts).map(Part::id).collect();
        let (stay, go): (Vec<&Message>, Vec<&Message>) =
            was.iter().copied().partition(|m| self.new.contains_key(m.id()));
        for message in stay {
            for part in message.parts.iter().filter(|p| !kept.contains(p.id())) {
                let before = self.stored.row(Table::Part, part.id())?;
                edits.push((edit(Table::Part, part.id(), Some(before), None), message.id()));
            }
        }
        for message in go {
            for part in &message.parts {
                let before = self.stored.row(Table::Part, part.id())?;
                edits.push((edit(Table::Part, part.id(), Some(before), None), message.id()));
            }
            let before = self.stored.removed(message)?;
            edits.push((edit(Table::Message, message.id(), Some(before), None), message.id()));
        }
        Ok(())
    }
}

fn edit(table: Table, id: &str, before: Option<Row>, after: Option<Row>) -> RowEdit {
    RowEdit { table, id: id.to_owned(), before, after }
}
