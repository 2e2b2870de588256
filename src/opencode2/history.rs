//! The rows that a request is made of: those from the newest completed compaction on, in the order of `seq`.

use super::decode;
use super::generation::Generation;
use super::json::Raw;
use super::rows::{Message, MessageRow, Undecodable};
use super::shape::{Misfit, NO_OBJECT};

/// A row of a session, decoded once for all who ask.
#[derive(Debug)]
pub struct Entry<'a> {
    /// As it is stored.
    pub row: MessageRow<'a>,
    /// As a program decodes it that knows its type.
    decoded: Result<Message<'a>, Misfit>,
}

impl<'a> Entry<'a> {
    /// As a program decodes it.
    ///
    /// # Errors
    /// What does not decode, and where.
    pub(super) fn message(&self, generation: &Generation) -> Result<&Message<'a>, Undecodable<'a>> {
        let known = !generation.unknown.contains(&self.row.kind);
        let decoded = if known { self.decoded.as_ref().map_err(Misfit::clone) } else { Err(decode::unknown_type()) };
        decoded.map_err(|why| Undecodable { id: self.row.id, why })
    }

    /// Whether it is a completed compaction. The database asks that, whatever else the row holds, and cannot go on where it is
    /// no JSON.
    fn begins(&self) -> Result<bool, Undecodable<'a>> {
        match &self.decoded {
            Ok(message) => Ok(matches!(message, Message::Summary(..))),
            Err(_) => match Raw::parse(self.row.data) {
                Some(data) => Ok(data.string("status").is_some_and(|status| status == *"completed")),
                None => Err(Undecodable { id: self.row.id, why: NO_OBJECT }),
            },
        }
    }
}

/// The rows of a session, oldest first, each decoded.
pub fn entries<'a>(rows: impl IntoIterator<Item = MessageRow<'a>>) -> Vec<Entry<'a>> {
    let decoded = |row: MessageRow<'a>| Entry { decoded: decode::message(&row), row };
    let mut entries: Vec<Entry<'a>> = rows.into_iter().map(decoded).collect();
    entries.sort_by_key(|entry| entry.row.seq);
    entries
}

/// The place of the newest completed compaction, at which the history begins; 0 if there is none.
///
/// # Errors
/// A compaction after it that is no JSON.
pub(super) fn beginning<'a>(entries: &[Entry<'a>]) -> Result<usize, Undecodable<'a>> {
    for (at, entry) in entries.iter().enumerate().rev().filter(|(_, entry)| entry.row.kind == "compaction") {
        if entry.begins()? {
            return Ok(at);
        }
    }
    Ok(0)
}

/// The history, oldest row first.
///
/// # Errors
/// The first row that does not decode: then there is no request, and the program cannot list the messages either.
pub(super) fn load<'h, 'a>(
    generation: &Generation,
    entries: &'h [Entry<'a>],
) -> Result<&'h [Entry<'a>], Undecodable<'a>> {
    let history = &entries[beginning(entries)?..];
    history.iter().try_for_each(|entry| entry.message(generation).map(drop))?;
    Ok(history)
}
