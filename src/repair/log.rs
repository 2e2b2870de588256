//! opencode's event log (≥ 1.17, docs/opencode.md §2): folding it to rows, and the events that tell it of row
//! edits.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::plan::{Cell, Image, Op, RowEdit};
use crate::history::{self, Session, ids};
use crate::json::{Object, ShapeError, quote, shape};

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
        let ids = |member| history::ids_at_start(start, member);
        match kind {
            "message.updated.1" => Some(Self::Message(ids("info")?.0.to_owned())),
            "message.part.updated.1" => {
                let (id, message) = ids("part")?;
                Some(Self::Part { id: id.to_owned(), message: message?.to_owned() })
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
        // Whatever the session has the log has as well: where that has more, something is left over.
        if self.messages.len() > session.messages.len() {
            return self.messages.keys().find(|id| session.message(id).is_none()).map(|id| id.to_string());
        }
        if self.parts.len() > parts().count() {
            let known: HashSet<&str> = parts().map(|(_, id)| id).collect();
            return self.parts.keys().find(|id| !known.contains(&***id)).map(|id| id.to_string());
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
    pub sequence: Image,
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

/// The edits of `event` and `event_sequence` that tell the log of the row edits: one event each, as opencode
/// writes them, and a part that moves is removed and updated under its new message. `now` in ms since the epoch.
///
/// # Errors
/// When a row's JSON is not in the edit and `data_of` does not know it, or no event id can be made.
pub fn events(
    session: &str,
    edits: &[RowEdit],
    end: &LogEnd,
    now: i64,
    data_of: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<RowEdit>, ShapeError> {
    let mut out: Vec<RowEdit> = Vec::new();
    let mut id = end.last_id.clone();
    let mut seq = end.seq;
    let gone: Vec<&str> =
        edits.iter().filter(|e| e.op == Op::Delete && e.table == "message").map(|e| e.id.as_str()).collect();
    for edit in edits {
        for (kind, data) in told(session, edit, &gone, now, data_of)? {
            id = ids::successor(&id).ok_or_else(|| ShapeError("no event id can be made".to_owned()))?;
            seq += 1;
            let row = [
                ("id", Cell::Text(id.clone())),
                ("aggregate_id", Cell::Text(session.to_owned())),
                ("seq", Cell::Int(seq)),
                ("type", Cell::Text(kind.to_owned())),
                ("data", Cell::Text(data)),
            ];
            out.push(RowEdit {
                op: Op::Insert,
                table: "event".to_owned(),
                id: id.clone(),
                before: None,
                after: Some(row.map(|(k, v)| (k.to_owned(), v)).into()),
                reason: edit.reason.clone(),
            });
        }
    }
    if let Some(last) = out.last() {
        let mut after = end.sequence.clone();
        after.insert("seq".to_owned(), Cell::Int(seq));
        let reason = last.reason.clone();
        out.push(RowEdit {
            op: Op::Update,
            table: "event_sequence".to_owned(),
            id: session.to_owned(),
            before: Some(end.sequence.clone()),
            after: Some(after),
            reason,
        });
    }
    Ok(out)
}

fn text<'a>(image: &'a Image, column: &str) -> Result<&'a str, ShapeError> {
    match image.get(column) {
        Some(Cell::Text(t)) => Ok(t),
        _ => shape(format!("the edit lacks `{column}`")),
    }
}

/// The events of one row edit.
fn told(
    session: &str,
    edit: &RowEdit,
    gone: &[&str],
    now: i64,
    data_of: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<(&'static str, String)>, ShapeError> {
    let ses = quote(session);
    let id = quote(&edit.id);
    match (edit.table.as_str(), edit.op, &edit.before, &edit.after) {
        ("message", Op::Insert | Op::Update, _, Some(after)) => {
            let info = with_members(&format!("\"id\":{id},\"sessionID\":{ses}"), text(after, "data")?)?;
            Ok(vec![("message.updated.1", format!("{{\"sessionID\":{ses},\"info\":{info}}}"))])
        }
        ("message", Op::Delete, ..) => {
            Ok(vec![("message.removed.1", format!("{{\"sessionID\":{ses},\"messageID\":{id}}}"))])
        }
        // Parts go with their message.
        ("part", Op::Delete, Some(before), _) => {
            let message = text(before, "message_id")?;
            Ok(if gone.contains(&message) { Vec::new() } else { vec![removed(&ses, message, &id)] })
        }
        ("part", _, before, Some(after)) => {
            let mut events = Vec::new();
            let message = text(after, "message_id")?;
            let mut time = now;
            if let Some(before) = before
                && text(before, "message_id")? != message
            {
                events.push(removed(&ses, text(before, "message_id")?, &id));
            }
            // A part that the projector inserts takes its `time_created` from the event.
            if (before.is_none() || !events.is_empty())
                && let Some(Cell::Int(created)) = after.get("time_created")
            {
                time = *created;
            }
            let data = match after.get("data") {
                Some(Cell::Text(t)) => t.clone(),
                _ => data_of(&edit.id).ok_or_else(|| ShapeError("a part's JSON is not at hand".to_owned()))?,
            };
            let head = format!("\"id\":{id},\"sessionID\":{ses},\"messageID\":{}", quote(message));
            let part = with_members(&head, &data)?;
            events.push(("message.part.updated.1", format!("{{\"sessionID\":{ses},\"part\":{part},\"time\":{time}}}")));
            Ok(events)
        }
        _ => Ok(Vec::new()),
    }
}

fn removed(session: &str, message: &str, part: &str) -> (&'static str, String) {
    let message = quote(message);
    ("message.part.removed.1", format!("{{\"sessionID\":{session},\"messageID\":{message},\"partID\":{part}}}"))
}

/// An object with the given members in front of those of `data`.
fn with_members(head: &str, data: &str) -> Result<String, ShapeError> {
    let Some(open) = data.find('{') else { return shape("a row's JSON is no object") };
    let rest = data[open + 1..].trim_start();
    let comma = if rest.starts_with('}') { "" } else { "," };
    Ok(format!("{{{head}{comma}{rest}"))
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
