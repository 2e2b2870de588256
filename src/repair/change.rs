//! The edits that a repair is made of, as operations on a history in memory.

use std::rc::Rc;
use std::sync::Arc;

use crate::diagnosis::Code;
use crate::error::Result;
use crate::history::{self, Message, Session};
use crate::json::{Object, ShapeError};
use crate::rows::{Lookup, Table};

/// One edit of a history. Content never changes: rows without content go, parts move to the row after
/// theirs, and `finish`, `parentID`, `error` and totals of an assistant row may be set. Where a person asked for content
/// to be left out of requests (`mend.rs`), parts may go or change as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Removes a message and its parts.
    Remove {
        /// The message.
        id: String,
        /// Why.
        reason: Code,
    },
    /// Cuts an assistant row in two at a step-start.
    Split {
        /// The message.
        id: String,
        /// The first part that goes to the new row.
        at_part: String,
        /// The new row's id.
        new_id: String,
        /// The old row's new JSON.
        first: String,
        /// The new row's JSON.
        second: String,
        /// Why.
        reason: Code,
    },
    /// Removes a part.
    RemovePart {
        /// The part's message.
        id: String,
        /// The part.
        part: String,
        /// Why.
        reason: Code,
    },
    /// Replaces a part's JSON.
    SetPart {
        /// The part's message.
        id: String,
        /// The part.
        part: String,
        /// The new JSON.
        data: String,
        /// Why.
        reason: Code,
    },
    /// Adds members to a message's JSON.
    FillIn {
        /// The message.
        id: String,
        /// The members.
        members: Vec<&'static str>,
        /// The new JSON.
        data: String,
    },
    /// Gives a part another id.
    RenamePart {
        /// The part's message.
        id: String,
        /// The part.
        part: String,
        /// Its new id.
        new_id: String,
        /// Its JSON, which stays.
        data: String,
    },
    /// Replaces an assistant row's JSON.
    SetData {
        /// The message.
        id: String,
        /// The new JSON.
        data: String,
        /// Why.
        reason: Code,
    },
}

impl Change {
    /// Why the change is made.
    #[must_use]
    pub fn reason(&self) -> Code {
        match self {
            Self::Remove { reason, .. }
            | Self::Split { reason, .. }
            | Self::SetData { reason, .. }
            | Self::RemovePart { reason, .. }
            | Self::SetPart { reason, .. } => *reason,
            Self::FillIn { .. } | Self::RenamePart { .. } => Code::UnopenableRow,
        }
    }

    /// The message that it is about.
    #[must_use]
    pub fn message(&self) -> &str {
        match self {
            Self::Remove { id, .. }
            | Self::Split { id, .. }
            | Self::SetData { id, .. }
            | Self::SetPart { id, .. }
            | Self::FillIn { id, .. }
            | Self::RenamePart { id, .. }
            | Self::RemovePart { id, .. } => id,
        }
    }

    /// The rows that it touches or makes.
    pub fn messages(&self) -> impl Iterator<Item = &str> {
        let new = match self {
            Self::Split { new_id, .. } => Some(new_id.as_str()),
            _ => None,
        };
        std::iter::once(self.message()).chain(new)
    }
}

/// The history with the change made. Rows are read again from their new JSON, by the same reader that reads
/// a store, so what is proven of the result holds for what will be stored.
///
/// # Errors
/// When the new JSON cannot be read, which would be a fault of the change.
pub fn apply_change(session: &Session, change: &Change) -> Result<Session, ShapeError> {
    let mut out = session.clone();
    let missing = || ShapeError("the change names a row that is not there".to_owned());
    let reread = |message: &Message, id: &str, data: &str| -> Result<Message, ShapeError> {
        let mut row = message.row.clone();
        row.id = id.to_owned();
        Ok(Message { changed: Some(Arc::from(data)), ..history::head(row, data)?.with(Vec::new()) })
    };
    match change {
        Change::Remove { id, .. } => {
            let at = out.messages.iter().position(|m| m.row.id == *id).ok_or_else(missing)?;
            out.messages.remove(at);
        }
        Change::SetData { id, data, .. } | Change::FillIn { id, data, .. } => {
            let message = out.messages.iter_mut().find(|m| m.row.id == *id).ok_or_else(missing)?;
            let mut new = reread(message, id, data)?;
            new.parts = parts_of(message);
            *message = Rc::new(new);
        }
        Change::RemovePart { id, part, .. } => {
            let message = out.messages.iter_mut().find(|m| m.row.id == *id).ok_or_else(missing)?;
            let at = message.parts.iter().position(|p| p.id() == part).ok_or_else(missing)?;
            Rc::make_mut(message).parts.remove(at);
        }
        Change::SetPart { id, part, data, .. } => {
            let message = out.messages.iter_mut().find(|m| m.row.id == *id).ok_or_else(missing)?;
            let part = Rc::make_mut(message).parts.iter_mut().find(|p| p.id() == part).ok_or_else(missing)?;
            let changed = Some(Arc::from(data.as_str()));
            *part = history::Part { changed, ..history::stored_part(&part.id, part.time_created, data)? };
        }
        Change::RenamePart { id, part, new_id, data } => {
            let message = out.messages.iter_mut().find(|m| m.row.id == *id).ok_or_else(missing)?;
            let part = Rc::make_mut(message).parts.iter_mut().find(|p| p.id() == part).ok_or_else(missing)?;
            (part.id, part.changed) = (new_id.as_str().into(), Some(Arc::from(data.as_str())));
        }
        Change::Split { id, at_part, new_id, first, second, .. } => {
            let message = out.messages.iter_mut().find(|m| m.row.id == *id).ok_or_else(missing)?;
            let at = message.parts.iter().position(|p| p.id() == at_part).ok_or_else(missing)?;
            let mut kept = reread(message, id, first)?;
            let mut new = reread(message, new_id, second)?;
            kept.parts = parts_of(message);
            new.parts = kept.parts.split_off(at);
            *message = Rc::new(kept);
            out.messages.push(Rc::new(new));
        }
    }
    out.sort();
    Ok(out)
}

/// The message's parts, taken from it where no other history shares it.
fn parts_of(message: &mut Rc<Message>) -> Vec<history::Part> {
    Rc::get_mut(message)
        .map_or_else(|| None, |own| Some(std::mem::take(&mut own.parts)))
        .unwrap_or_else(|| message.parts.clone())
}

/// A part's JSON as it is now, with what earlier changes made of it; `None` where there is no such row.
///
/// # Errors
/// When it cannot be read.
pub(super) fn part_json(part: &history::Part, rows: &dyn Lookup) -> Result<Option<String>> {
    match &part.changed {
        Some(changed) => Ok(Some(changed.to_string())),
        None => rows.data(Table::Part, part.id()),
    }
}

/// Edits of an assistant row's JSON, every other byte of which stays.
#[derive(Debug, Clone)]
pub(super) struct RowJson(Arc<str>);

impl RowJson {
    /// The row's JSON as it is now; `None` where there is no such row.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn of(message: &Message, rows: &dyn Lookup) -> Result<Option<Self>> {
        if let Some(changed) = &message.changed {
            return Ok(Some(Self(changed.clone())));
        }
        Ok(rows.data(Table::Message, message.id())?.map(|data| Self(Arc::from(data))))
    }

    fn edit(self, edit: impl FnOnce(&Object<'_>) -> String) -> Self {
        match Object::parse(&self.0) {
            Ok(object) => Self(Arc::from(edit(&object))),
            Err(_) => self,
        }
    }

    pub(super) fn set(self, key: &str, raw: &str) -> Self {
        self.edit(|o| o.with(key, raw))
    }

    pub(super) fn drop(self, key: &str) -> Self {
        self.edit(|o| o.without(key))
    }

    pub(super) fn text(self) -> String {
        self.0.to_string()
    }
}
