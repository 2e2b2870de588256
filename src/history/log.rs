//! opencode's event log (1.17 and later, docs/opencode.md §2), and the rows that it folds to.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::Session;
use crate::json::{Object, ShapeError, Start, shape};
use crate::rows::Row;

/// What an event is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    /// A message is made or changed.
    Message(String),
    /// A message is removed, with its parts.
    NoMessage(String),
    /// A part is made, on a message, or changed.
    Part {
        /// The part.
        id: String,
        /// The message.
        message: String,
    },
    /// A part is removed.
    NoPart(String),
    /// Neither messages nor parts.
    Other,
}

impl About {
    /// Reads a whole event.
    ///
    /// # Errors
    /// When it is a message's or part's event of a kind that nobody measured, or cannot be read.
    pub fn of(kind: &str, data: &str) -> Result<Self, ShapeError> {
        let Some(kind) = kind.strip_prefix("message.") else { return Ok(Self::Other) };
        let object = Object::parse(data)?;
        let member = |name: &str| match object.some(name) {
            Some(raw) => Object::parse(raw),
            None => shape(format!("`{name}` is missing")),
        };
        Ok(match kind {
            "updated.1" => Self::Message(member("info")?.required_string("id")?),
            "removed.1" => Self::NoMessage(object.required_string("messageID")?),
            "part.updated.1" => {
                let part = member("part")?;
                Self::Part { id: part.required_string("id")?, message: part.required_string("messageID")? }
            }
            "part.removed.1" => Self::NoPart(object.required_string("partID")?),
            other => return shape(format!("event message.{other} is not known")),
        })
    }

    /// Reads the start of a large event. `None`: it has to be read whole.
    #[must_use]
    pub fn of_start(kind: &str, start: &[u8]) -> Option<Self> {
        let start = Start::of(start)?;
        match kind {
            "message.updated.1" => Some(Self::Message(start.object("info")?.string("id")?)),
            "message.part.updated.1" => {
                let part = start.object("part")?;
                Some(Self::Part { id: part.string("id")?, message: part.string("messageID")? })
            }
            _ => None,
        }
    }
}

/// What a session's log folds to, as opencode's projector does it (1.17.11, 1.18.33): of each row the event that has
/// the last word.
#[derive(Debug, Clone, Default)]
pub struct Fold {
    messages: HashMap<Rc<str>, i64>,
    /// By id: the message that it hangs on, and the event.
    parts: HashMap<Box<str>, (Rc<str>, i64)>,
}

impl Fold {
    /// Takes in the session's next event, which `rowid` leads to.
    pub fn event(&mut self, about: &About, rowid: i64) {
        match about {
            About::Message(id) => {
                self.messages.insert(Rc::from(id.as_str()), rowid);
            }
            About::NoMessage(id) => {
                self.parts.retain(|_, (message, _)| **message != **id);
                self.messages.remove(id.as_str());
            }
            About::Part { id, message } => {
                // The projector's upsert sets a part's content alone: it stays where it was first put.
                if let Some((_, last)) = self.parts.get_mut(id.as_str()) {
                    *last = rowid;
                    return;
                }
                let known = self.messages.get_key_value(message.as_str()).map(|(known, _)| known.clone());
                let message = known.unwrap_or_else(|| Rc::from(message.as_str()));
                self.parts.insert(Box::from(id.as_str()), (message, rowid));
            }
            About::NoPart(id) => {
                self.parts.remove(id.as_str());
            }
            About::Other => {}
        }
    }

    /// The first row that the log and the session do not both have, each part on the same message.
    #[must_use]
    pub fn difference(&self, session: &Session) -> Option<String> {
        let parts = || session.messages.iter().flat_map(|m| m.parts.iter().map(move |p| (m.id(), p.id())));
        let mut rows = session.messages.iter().map(|m| m.id()).filter(|id| !self.messages.contains_key(*id));
        let mut theirs = parts().filter(|(on, id)| self.parts.get(*id).is_none_or(|(message, _)| **message != **on));
        if let Some(row) = rows.next().or_else(|| theirs.next().map(|(_, id)| id)) {
            return Some(row.to_owned());
        }
        // Whatever the session has the log has as well: where that has more, something is left over. Which of it is named must
        // not differ from one look to the next: plans are compared.
        if self.messages.len() > session.messages.len() {
            let lost = self.messages.keys().filter(|id| session.message(id).is_none());
            return lost.min().map(|id| id.to_string());
        }
        if self.parts.len() > parts().count() {
            let known: HashSet<&str> = parts().map(|(_, id)| id).collect();
            return self.parts.keys().filter(|id| !known.contains(&***id)).min().map(|id| id.to_string());
        }
        None
    }

    /// The event that has the last word on a message.
    #[must_use]
    pub fn message(&self, id: &str) -> Option<i64> {
        self.messages.get(id).copied()
    }

    /// The event that has the last word on a part.
    #[must_use]
    pub fn part(&self, id: &str) -> Option<i64> {
        self.parts.get(id).map(|(_, rowid)| *rowid)
    }
}

/// Where a session's log stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEnd {
    /// `event_sequence.seq`: the number of the last event.
    pub seq: i64,
    /// The last event's id.
    pub last_id: String,
    /// The row of `event_sequence` as it is, rowid included.
    pub sequence: Row,
}

/// What the log says about a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Log {
    /// The store, or the session, has none.
    None,
    /// It folds to the session's rows.
    Folds(LogEnd),
    /// It does not; the row that shows it. Such a log is left alone.
    Differs(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(kind: &str, data: &str) -> About {
        About::of(kind, data).unwrap()
    }

    #[test]
    fn the_fold_moves_no_part_by_an_update() {
        let mut fold = Fold::default();
        let part = |message: &str| {
            let data =
                format!(r#"{{"part":{{"id":"prt_1","messageID":"{message}","type":"text","text":"x"}},"time":1}}"#);
            about("message.part.updated.1", &data)
        };
        fold.event(&part("msg_1"), 1);
        fold.event(&part("msg_2"), 2);
        assert_eq!(fold.parts["prt_1"], (Rc::from("msg_1"), 2));
        fold.event(&about("message.part.removed.1", r#"{"partID":"prt_1"}"#), 3);
        fold.event(&part("msg_2"), 4);
        assert_eq!(fold.parts["prt_1"], (Rc::from("msg_2"), 4));
        fold.event(&about("session.updated.1", "{}"), 5);
        fold.event(&about("message.removed.1", r#"{"messageID":"msg_2"}"#), 6);
        assert!(fold.parts.is_empty());
        assert!(About::of("message.updated.2", "{}").is_err());
    }

    #[test]
    fn the_start_of_a_large_event_tells_what_it_is_about() {
        let tail = "x".repeat(900);
        for (kind, head) in [
            ("message.updated.1", r#""info":{"id":"msg_1","sessionID":"ses_1","role":"user","text":""#),
            ("message.part.updated.1", r#""part":{"id":"prt_1","sessionID":"ses_1","messageID":"msg_1","text":""#),
        ] {
            let data = format!(r#"{{"sessionID":"ses_1",{head}{tail}"}}}}"#);
            assert_eq!(About::of_start(kind, &data.as_bytes()[..512]), Some(about(kind, &data)));
        }
        let hidden = format!(r#"{{"part":{{"text":"{tail}","id":"prt_1","messageID":"msg_1"}}}}"#);
        assert_eq!(About::of_start("message.part.updated.1", &hidden.as_bytes()[..512]), None);
        assert_eq!(About::of_start("message.removed.1", hidden.as_bytes()), None);
    }
}
