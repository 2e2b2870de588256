//! opencode's event log (≥ 1.17, docs/opencode.md §2): folding it to rows, and the events that tell it of row
//! edits.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::plan::{Cell, Image, Op, RowEdit};
use crate::history::ids;
use crate::history::json::{self, Object, ShapeError, quote, shape};

/// Deepest JSON that is compared; rows that are deeper count as different from their log.
const DEEPEST: usize = 256;

/// What a session's log folds to, as opencode's projector does it (1.17.11, 1.18.33).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fold {
    messages: BTreeMap<String, String>,
    /// By id: the message that it hangs on, and its content.
    parts: BTreeMap<String, (String, String)>,
}

impl Fold {
    /// Takes in the session's next event.
    ///
    /// # Errors
    /// When it is a message's or part's event of a kind that nobody measured.
    pub fn event(&mut self, kind: &str, data: &str) -> Result<(), ShapeError> {
        let Some(kind) = kind.strip_prefix("message.") else { return Ok(()) };
        let object = Object::parse(data)?;
        match kind {
            "updated.1" => {
                let Some(info) = object.some("info") else { return shape("`info` is missing") };
                let id = Object::parse(info)?.required_string("id")?;
                self.messages.insert(id, content(info)?);
            }
            "removed.1" => {
                let id = object.required_string("messageID")?;
                self.parts.retain(|_, (message, _)| *message != id);
                self.messages.remove(&id);
            }
            "part.updated.1" => {
                let Some(part) = object.some("part") else { return shape("`part` is missing") };
                let fields = Object::parse(part)?;
                let (id, message) = (fields.required_string("id")?, fields.required_string("messageID")?);
                // The projector's upsert sets a part's content alone: it stays where it was first put.
                let message = self.parts.get(&id).map_or(message, |(first, _)| first.clone());
                self.parts.insert(id, (message, content(part)?));
            }
            "part.removed.1" => {
                self.parts.remove(&object.required_string("partID")?);
            }
            other => return shape(format!("event message.{other} is not known")),
        }
        Ok(())
    }

    /// Takes in a row of `message`.
    ///
    /// # Errors
    /// When its JSON cannot be read.
    pub fn message_row(&mut self, id: &str, data: &str) -> Result<(), ShapeError> {
        self.messages.insert(id.to_owned(), content(data)?);
        Ok(())
    }

    /// Takes in a row of `part`.
    ///
    /// # Errors
    /// When its JSON cannot be read.
    pub fn part_row(&mut self, id: &str, message_id: &str, data: &str) -> Result<(), ShapeError> {
        self.parts.insert(id.to_owned(), (message_id.to_owned(), content(data)?));
        Ok(())
    }

    /// The first row in which the two differ.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Option<String> {
        fn first<V: PartialEq>(a: &BTreeMap<String, V>, b: &BTreeMap<String, V>) -> Option<String> {
            a.keys().chain(b.keys()).find(|id| a.get(*id) != b.get(*id)).cloned()
        }
        first(&self.messages, &other.messages).or_else(|| first(&self.parts, &other.parts))
    }
}

/// A digest of a row's JSON that the log and the row agree on: whatever the order of keys and the spelling of
/// strings and numbers; ids, which a row keeps in columns, aside; and `state.raw` of a failed call aside, which
/// rows of orphans keep and events lack.
fn content(raw: &str) -> Result<String, ShapeError> {
    let object = Object::parse(raw)?;
    let failed = object
        .object("state")
        .ok()
        .flatten()
        .is_some_and(|s| s.string("status").ok().flatten().as_deref() == Some("error"));
    let mut digest = Sha256::new();
    let mut members: Vec<(&str, &str)> =
        object.members().filter(|(k, _)| !matches!(*k, "id" | "sessionID" | "messageID")).collect();
    members.sort_unstable();
    for (key, value) in members {
        digest.update(quote(key));
        if key == "state" && failed {
            let without = Object::parse(value)?.without("raw");
            canonical(&without, &mut digest, DEEPEST)?;
        } else {
            canonical(value, &mut digest, DEEPEST)?;
        }
    }
    Ok(digest.finalize().iter().map(|b| format!("{b:02x}")).collect())
}

fn canonical(raw: &str, out: &mut Sha256, depth: usize) -> Result<(), ShapeError> {
    let Some(depth) = depth.checked_sub(1) else { return shape("too deep to be compared") };
    match raw.as_bytes().first() {
        Some(b'{') => {
            let object = Object::parse(raw)?;
            let mut members: Vec<(&str, &str)> = object.members().collect();
            members.sort_unstable();
            out.update(b"{");
            for (key, value) in members {
                out.update(quote(key));
                canonical(value, out, depth)?;
            }
            out.update(b"}");
        }
        Some(b'[') => {
            let Some(items) = json::array(raw) else { return shape("an array that cannot be read") };
            out.update(b"[");
            for item in items {
                canonical(item, out, depth)?;
            }
            out.update(b"]");
        }
        Some(b'"') => out.update(quote(&json::string(raw).unwrap_or_default())),
        _ => match json::number(raw) {
            Some(n) => out.update(format!("{n};")),
            None => out.update(raw),
        },
    }
    Ok(())
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

    #[test]
    fn key_order_escapes_and_raw_of_failed_calls_do_not_count() {
        let same = |a: &str, b: &str| content(a).unwrap() == content(b).unwrap();
        assert!(same(r#"{"type":"text","text":"é","n":1.0}"#, r#"{"id":"x","n":1,"text":"\u00e9","type":"text"}"#));
        assert!(same(
            r#"{"type":"tool","state":{"status":"error","raw":"","error":"x"}}"#,
            r#"{"type":"tool","state":{"error":"x","status":"error"}}"#
        ));
        assert!(!same(
            r#"{"type":"tool","state":{"status":"pending","raw":"a"}}"#,
            r#"{"type":"tool","state":{"status":"pending"}}"#
        ));
        assert!(!same(r#"{"text":"a"}"#, r#"{"text":"b"}"#));
    }

    #[test]
    fn the_fold_moves_no_part_by_an_update() {
        let mut fold = Fold::default();
        let part = |message: &str| {
            format!(r#"{{"part":{{"id":"prt_1","messageID":"{message}","type":"text","text":"x"}},"time":1}}"#)
        };
        fold.event("message.part.updated.1", &part("msg_1")).unwrap();
        fold.event("message.part.updated.1", &part("msg_2")).unwrap();
        assert_eq!(fold.parts["prt_1"].0, "msg_1");
        fold.event("message.part.removed.1", r#"{"partID":"prt_1"}"#).unwrap();
        fold.event("message.part.updated.1", &part("msg_2")).unwrap();
        assert_eq!(fold.parts["prt_1"].0, "msg_2");
        fold.event("session.updated.1", "{}").unwrap();
        assert!(fold.event("message.updated.2", "{}").is_err());
    }
}
