//! A session as `opencode export [--sanitize]` writes it, read back to rows (docs/opencode.md §15).
//!
//! An export is one JSON object: `info`, the session, and `messages`, each with `info` and `parts`. What stands there
//! is the row's JSON with the ids that the store keeps in columns behind it, so the rows' own JSON comes back byte for
//! byte. Messages are read one at a time: one has to fit into memory, not the file.
//!
//! The program indents by two, and says "Exporting session: …" on the other output. `info` of a message is the row's
//! JSON with `id` and `sessionID` behind it; a part has `messageID` too.
//!
//! `--sanitize` (not in 1.2.27 and 1.3.0) puts `[redacted:KIND:ID]` for what is not blank, and `{"redacted":
//! "KIND:ID"}` for an object that is not empty (read in 1.18.34, seen in 1.14.48 and 1.18.34):
//!
//! - Placeholders stand for `title` and `directory` of the session, `path` of answers; texts, thinking, inputs,
//!   outputs, titles of calls; `metadata` of texts, thinking and calls, and of their states; `url`, `filename` and
//!   `source` of files, hashes of snapshots and patches, diffs.
//! - What stays: ids, times, models, agents, cost, tokens, `finish`, `callID`, a tool's name and status; errors of
//!   answers with their whole text, `state.error` of calls; `""` and texts of nothing but white space; `structured`,
//!   `tools`, `variant`, `mime`; `session.path`.
//!
//! This hides that a call was cut off (`state.metadata.interrupted`, which is put back here), that the provider ran it,
//! whether thinking is signed, what an image is, and a call's markup that leaked into a text.

use std::fmt;
use std::io::{BufRead, BufReader, Read};

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::json::{Object, ShapeError, array, string};
use crate::plain::{MessageRow, PartRow, SessionRow};

/// Why a file is not read.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The file cannot be read.
    #[error("the file cannot be read: {0}")]
    Io(#[source] std::io::Error),
    /// It is UTF-16, as `>` writes it in older PowerShells.
    #[error("the file is UTF-16; save it as UTF-8")]
    Utf16,
    /// It ends in the middle. The program ends before all is written where its output is a pipe that is read slowly.
    #[error("the file ends after {0} whole messages; export the session to a file again")]
    Cut(usize),
    /// It is JSON, and no export.
    #[error("this is no session that opencode has exported: {0}")]
    Shape(String),
}

/// What an export says besides its messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// The session.
    pub session: SessionRow,
    /// It was made with `--sanitize`: texts, metadata, inputs and outputs are placeholders.
    pub sanitized: bool,
    /// How many messages it has.
    pub messages: usize,
}

/// Reads an export. `each` is called with each message in replay order; what it answers ends the reading.
///
/// A message's `time_created` is not exported. It is made of `data.time.created` so that rows put in order by
/// `(time_created, id)` come in the order of the file; a part's is that of its message.
///
/// # Errors
/// Where the file cannot be read, is cut, or is no export; and whatever `each` answers, as [`ExportError::Shape`].
pub fn read(
    input: impl Read,
    mut each: impl FnMut(MessageRow) -> Result<(), ShapeError>,
) -> Result<Export, ExportError> {
    let mut input = BufReader::new(input);
    let start = input.fill_buf().map_err(ExportError::Io)?;
    if start.starts_with(b"\xff\xfe") || start.starts_with(b"\xfe\xff") {
        return Err(ExportError::Utf16);
    }
    if start.starts_with(b"\xef\xbb\xbf") {
        input.consume(3);
    }
    // The program says this on the other output, which people redirect as well.
    if input.fill_buf().map_err(ExportError::Io)?.starts_with(b"Exporting session") {
        input.skip_until(b'\n').map_err(ExportError::Io)?;
    }
    let mut whole = 0;
    let mut count = |message: MessageRow| {
        whole += 1;
        each(message)
    };
    let mut file = serde_json::Deserializer::from_reader(input);
    let found = File { each: &mut count }.deserialize(&mut file).and_then(|found| file.end().map(|()| found));
    let session = found.map_err(|error| match error.classify() {
        serde_json::error::Category::Eof => ExportError::Cut(whole),
        serde_json::error::Category::Io => ExportError::Io(error.into()),
        _ => ExportError::Shape(error.to_string()),
    })?;
    let redacted = |text: &str, what: &str| text.starts_with(&format!("[redacted:{what}:"));
    let sanitized = redacted(&session.directory, "session-directory") || redacted(&session.title, "session-title");
    Ok(Export { session, sanitized, messages: whole })
}

/// The parts of a sanitised export say less: whether a call was cut off stands in metadata that is a placeholder. Its
/// error's text is none, and with any metadata that text comes from the same place (130 of 130 calls of the fixtures of
/// 1.14.34 to 1.18.34). Gives such a call its mark back; `None` for any other part but a file.
#[must_use]
pub fn restore(part: &str) -> Option<String> {
    let object = Object::parse(part).ok()?;
    // What a file was taken from is left out where it is a placeholder: that has not the form that opencode expects.
    if object.object("source").ok().flatten().is_some_and(|source| source.get("redacted").is_some()) {
        return Some(object.without("source"));
    }
    let state = object.object("state").ok()??;
    let metadata = state.object("metadata").ok()??;
    let aborted = state.get("error").and_then(string).as_deref() == Some("Tool execution aborted");
    let placeholder = metadata.get("redacted").is_some() && metadata.get("interrupted").is_none();
    (aborted && placeholder)
        .then(|| object.with("state", &state.with("metadata", &metadata.with("interrupted", "true"))))
}

struct File<'a, F> {
    each: &'a mut F,
}

impl<'de, F: FnMut(MessageRow) -> Result<(), ShapeError>> DeserializeSeed<'de> for File<'_, F> {
    type Value = SessionRow;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<SessionRow, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, F: FnMut(MessageRow) -> Result<(), ShapeError>> Visitor<'de> for File<'_, F> {
    type Value = SessionRow;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with `info` and `messages`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SessionRow, A::Error> {
        let (mut session, mut messages) = (None, false);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "info" => {
                    let info: Box<RawValue> = map.next_value()?;
                    session = Some(session_row(info.get()).map_err(A::Error::custom)?);
                }
                "messages" => {
                    messages = true;
                    map.next_value_seed(Messages { each: &mut *self.each })?;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        match session {
            Some(session) if messages => Ok(session),
            Some(_) => Err(A::Error::missing_field("messages")),
            None => Err(A::Error::missing_field("info")),
        }
    }
}

struct Messages<'a, F> {
    each: &'a mut F,
}

impl<'de, F: FnMut(MessageRow) -> Result<(), ShapeError>> DeserializeSeed<'de> for Messages<'_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, F: FnMut(MessageRow) -> Result<(), ShapeError>> Visitor<'de> for Messages<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of messages")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let mut newest = None;
        while let Some(raw) = list.next_element::<Box<RawValue>>()? {
            let mut message = message_row(raw.get()).map_err(A::Error::custom)?;
            after(&mut newest, &mut message);
            (self.each)(message).map_err(A::Error::custom)?;
        }
        Ok(())
    }
}

/// Gives a message a time at which it sorts behind the one before it.
fn after(newest: &mut Option<(i64, String)>, message: &mut MessageRow) {
    if let Some((time, id)) = newest.take() {
        let least = if message.id > id { time } else { time + 1 };
        message.time_created = message.time_created.max(least);
    }
    message.parts.iter_mut().for_each(|part| part.time_created = message.time_created);
    *newest = Some((message.time_created, message.id.clone()));
}

fn session_row(info: &str) -> Result<SessionRow, ShapeError> {
    let text = compact(info);
    let object = Object::parse(&text)?;
    let time = object.object("time")?;
    let time = |name: &str| -> Result<i64, ShapeError> {
        let number = time.as_ref().map(|time| time.number(name)).transpose()?;
        Ok(number.flatten().map_or(0, whole))
    };
    Ok(SessionRow {
        id: object.required_string("id")?,
        project_id: object.string("projectID")?.unwrap_or_default(),
        parent_id: object.string("parentID")?,
        directory: object.required_string("directory")?,
        path: object.string("path")?,
        title: object.required_string("title")?,
        version: object.required_string("version")?,
        revert: object.some("revert").map(str::to_owned),
        time_created: time("created")?,
        time_updated: time("updated")?,
    })
}

fn message_row(raw: &str) -> Result<MessageRow, ShapeError> {
    let object = Object::parse(raw)?;
    let info = object.some("info").ok_or_else(|| ShapeError("a message without `info`".to_owned()))?;
    let (id, data) = row(info, &["id", "sessionID"])?;
    let raw = object.some("parts").ok_or_else(|| ShapeError(format!("{id} has no `parts`")))?;
    let parts = array(raw).ok_or_else(|| ShapeError(format!("the `parts` of {id} are no list")))?;
    let parts = parts.into_iter().map(|part| -> Result<PartRow, ShapeError> {
        let (id, data) = row(part, &["id", "sessionID", "messageID"])?;
        Ok(PartRow { id, time_created: 0, data })
    });
    let parts = parts.collect::<Result<Vec<_>, _>>()?;
    let created = Object::parse(&data)?.object("time")?.map(|time| time.number("created")).transpose()?.flatten();
    Ok(MessageRow { id, time_created: created.map_or(0, whole), data, parts })
}

/// A row's id, and its JSON as the store has it.
fn row(raw: &str, columns: &[&str]) -> Result<(String, String), ShapeError> {
    let mut data = compact(raw);
    let id = Object::parse(&data)?.required_string("id")?;
    for column in columns {
        data = Object::parse(&data)?.without(column);
    }
    Ok((id, data))
}

#[expect(clippy::cast_possible_truncation, reason = "ms since the epoch; `as` stops at the ends")]
fn whole(number: f64) -> i64 {
    number as i64
}

/// JSON without the white space between its values.
fn compact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut inside, mut escaped) = (false, false);
    for c in text.chars() {
        if inside || !matches!(c, ' ' | '\n' | '\r' | '\t') {
            out.push(c);
        }
        match c {
            _ if escaped => escaped = false,
            '\\' if inside => escaped = true,
            '"' => inside = !inside,
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{
  "info": {
    "id": "ses_1",
    "directory": "/home/dev/work",
    "title": "a \"title\" {",
    "version": "1.18.34",
    "revert": {
      "messageID": "msg_2"
    },
    "time": {
      "created": 5,
      "updated": 7
    }
  },
  "messages": [
    {
      "info": {
        "role": "user",
        "time": {
          "created": 9
        },
        "id": "msg_1",
        "sessionID": "ses_1"
      },
      "parts": [
        {
          "type": "text",
          "text": "two  blanks, \\ and \" \ud800",
          "id": "prt_1",
          "sessionID": "ses_1",
          "messageID": "msg_1"
        }
      ]
    },
    {
      "info": {
        "role": "user",
        "time": {
          "created": 8
        },
        "tools": {},
        "id": "msg_0",
        "sessionID": "ses_1"
      },
      "parts": []
    }
  ]
}
"#;

    fn all(text: &[u8]) -> Result<(Export, Vec<MessageRow>), ExportError> {
        let mut messages = Vec::new();
        let export = read(text, |message| {
            messages.push(message);
            Ok(())
        })?;
        Ok((export, messages))
    }

    #[test]
    fn rows_come_back_as_they_were() {
        let (export, messages) = all(FILE.as_bytes()).unwrap();
        assert_eq!((export.sanitized, export.messages), (false, 2));
        assert_eq!(export.session.revert.as_deref(), Some(r#"{"messageID":"msg_2"}"#));
        assert_eq!((export.session.time_created, export.session.time_updated), (5, 7));
        assert_eq!(messages[0].data, r#"{"role":"user","time":{"created":9}}"#);
        assert_eq!(messages[0].parts[0].data, r#"{"type":"text","text":"two  blanks, \\ and \" \ud800"}"#);
        assert_eq!(messages[1].data, r#"{"role":"user","time":{"created":8},"tools":{}}"#);
        let order = |message: &MessageRow| (message.time_created, message.id.clone());
        assert!(order(&messages[0]) < order(&messages[1]), "the file's order is the order of replay");
    }

    #[test]
    fn what_surrounds_an_export_does_no_harm() {
        let said = format!("Exporting session: ses_1\n{FILE}");
        assert_eq!(all(said.as_bytes()).unwrap().0.messages, 2);
        let marked = format!("\u{feff}{FILE}");
        assert_eq!(all(marked.as_bytes()).unwrap().0.messages, 2);
    }

    #[test]
    fn what_is_no_export_is_said() {
        let cut = &FILE.as_bytes()[..FILE.find("msg_0").unwrap()];
        assert!(matches!(all(cut), Err(ExportError::Cut(1))));
        assert!(matches!(all(b""), Err(ExportError::Cut(0))));
        assert!(matches!(all(b"\xff\xfe{\x00"), Err(ExportError::Utf16)));
        for other in ["[]", "{}", r#"{"info":{}}"#, r#"{"info":{"id":"s"},"messages":[]}"#, "SQLite format 3\0"] {
            assert!(matches!(all(other.as_bytes()), Err(ExportError::Shape(_))), "{other}");
        }
        let end = format!("{FILE}{FILE}");
        assert!(matches!(all(end.as_bytes()), Err(ExportError::Shape(_))));
        let error = read(FILE.as_bytes(), |_| Err(ShapeError("enough".to_owned()))).unwrap_err();
        assert!(error.to_string().contains("enough"), "{error}");
    }

    #[test]
    fn a_call_that_was_cut_off_gets_its_mark_back() {
        let call = |error: &str, metadata: &str| {
            format!(
                r#"{{"type":"tool","state":{{"status":"error","error":"{error}","metadata":{metadata},"time":{{}}}}}}"#
            )
        };
        let redacted = r#"{"redacted":"tool-state-metadata:prt_1"}"#;
        assert_eq!(
            restore(&call("Tool execution aborted", redacted)),
            Some(call("Tool execution aborted", r#"{"redacted":"tool-state-metadata:prt_1","interrupted":true}"#))
        );
        assert_eq!(restore(&call("The user dismissed this question", redacted)), None);
        assert_eq!(restore(&call("Tool execution aborted", r#"{"exit":1}"#)), None);
        assert_eq!(restore(r#"{"type":"text","text":"x"}"#), None);
        let file = r#"{"type":"file","url":"[redacted]","source":{"redacted":"file-source:prt_1"}}"#;
        assert_eq!(restore(file).as_deref(), Some(r#"{"type":"file","url":"[redacted]"}"#));
    }
}
