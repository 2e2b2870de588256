//! What is kept of a repair, so that it can be taken back: a header, every changed row as it was and as it is
//! then, and an end that proves the file is whole. One JSON value a line.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::plan::{Cell, Image, Op, RowEdit};
use crate::history::{MessageRow, ModelRef, message};

/// Version of the format.
pub const VERSION: u32 = 1;

/// What a journal is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema, Deserialize, strum::Display)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Kind {
    /// A repair.
    Repair,
    /// The taking back of one.
    Undo,
}

/// A journal's first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`VERSION`].
    pub version: u32,
    /// What it is of.
    pub kind: Kind,
    /// What `undo` calls it.
    pub id: String,
    /// The journal that it takes back.
    pub undoes: Option<String>,
    /// The store's identity.
    pub store_id: String,
    /// Where the store was.
    pub store_path: String,
    /// When, in ms since the epoch.
    pub time_ms: i64,
    /// The sessions that it touches.
    pub sessions: Vec<String>,
}

/// A changed row, whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The session that it was changed for.
    pub session: String,
    /// The edit, with both whole rows.
    pub edit: RowEdit,
}

/// A line of a journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Line {
    /// The first.
    Header(Header),
    /// One for each row.
    Row(Box<Entry>),
    /// After the last row, before the commit.
    End {
        /// How many rows there are.
        rows: u64,
        /// SHA-256 of all lines before, line breaks included, in hex.
        sha256: String,
    },
    /// After the commit.
    Committed {
        /// When, in ms since the epoch.
        time_ms: i64,
    },
}

/// A journal that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journal {
    /// Its first line.
    pub header: Header,
    /// The changed rows in order.
    pub entries: Vec<Entry>,
    /// It was written to its end: the commit came after that.
    pub whole: bool,
    /// The commit was noted.
    pub committed: bool,
}

/// Reads a journal's text.
///
/// # Errors
/// What is wrong with it, when it is not a journal of this version. One that breaks off is not an error but not
/// [`Journal::whole`]: such a repair never came to its commit.
pub fn read(text: &str) -> Result<Journal, String> {
    let mut header = None;
    let mut entries = Vec::new();
    let mut digest = Sha256::new();
    let (mut whole, mut committed) = (false, false);
    for (at, line) in text.split_inclusive('\n').enumerate() {
        let parsed: Line = match serde_json::from_str(line.trim_end()) {
            Ok(parsed) => parsed,
            // A line that was cut off is the last one.
            Err(_) if !line.ends_with('\n') && header.is_some() => break,
            // What serde says quotes the line, and that holds what people have said.
            Err(e) => return Err(format!("line {}, column {}: this is no journal's line", at + 1, e.column())),
        };
        match parsed {
            Line::Header(h) if header.is_none() && h.version == VERSION => header = Some(h),
            Line::Header(h) => return Err(format!("a header of version {} out of place", h.version)),
            Line::Row(entry) if !whole => entries.push(*entry),
            Line::End { rows, sha256 } if !whole => {
                whole = rows == entries.len() as u64 && sha256 == hex(digest.clone());
                if !whole {
                    return Err("its rows are not those that were written".to_owned());
                }
            }
            Line::Committed { .. } if whole => committed = true,
            _ => return Err("a line out of place".to_owned()),
        }
        digest.update(line);
    }
    header.map(|header| Journal { header, entries, whole, committed }).ok_or_else(|| "it has no header".to_owned())
}

pub(crate) fn hex(digest: Sha256) -> String {
    digest.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

impl Journal {
    /// The edits of one session, as they were made.
    pub fn of<'a>(&'a self, session: &'a str) -> impl Iterator<Item = &'a RowEdit> {
        self.entries.iter().filter(move |e| e.session == session).map(|e| &e.edit)
    }

    /// Models of prefill 400s that this repair removed: a later one must not forget what they proved.
    #[must_use]
    pub fn proven(&self) -> BTreeSet<ModelRef> {
        self.entries
            .iter()
            .filter(|e| e.edit.op == Op::Delete)
            .filter_map(|e| refusal(&e.session, &e.edit.id, &e.edit.table, e.edit.before.as_ref()?))
            .collect()
    }
}

/// The model of a prefill 400, from the row's image; `None` for any other row.
fn refusal(session: &str, id: &str, table: &str, image: &Image) -> Option<ModelRef> {
    if table != "message" {
        return None;
    }
    let Cell::Text(data) = image.get("data")? else { return None };
    let row =
        MessageRow { rowid: 0, id: id.to_owned(), session_id: session.to_owned(), time_created: 0, time_updated: 0 };
    let message = message(row, data).ok().filter(crate::history::Message::prefill_400)?;
    message.assistant().map(|a| a.model.clone())
}

/// The prefill 400s that the repairs of a store have removed and no undo has put back, by row id.
///
/// `journals` are the store's, oldest first. Those whose commit was not noted do not count.
#[must_use]
pub fn removed_refusals<'a>(journals: impl IntoIterator<Item = &'a Journal>) -> BTreeSet<&'a str> {
    let mut out = BTreeSet::new();
    for entry in journals.into_iter().filter(|j| j.committed).flat_map(|j| &j.entries) {
        let edit = &entry.edit;
        let is_refusal = |image: &Option<Image>| {
            image.as_ref().is_some_and(|i| refusal(&entry.session, &edit.id, &edit.table, i).is_some())
        };
        match edit.op {
            Op::Delete if is_refusal(&edit.before) => {
                out.insert(edit.id.as_str());
            }
            Op::Insert if is_refusal(&edit.after) => {
                out.remove(edit.id.as_str());
            }
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal(op: Op, data: &str, committed: bool) -> Journal {
        let image: Image = [("data".to_owned(), Cell::Text(data.to_owned()))].into();
        let (before, after) = if op == Op::Delete { (Some(image), None) } else { (None, Some(image)) };
        let edit = RowEdit { op, table: "message".into(), id: "msg_1".into(), before, after, reason: "x".into() };
        let header = Header {
            version: VERSION,
            kind: Kind::Repair,
            id: "j".into(),
            undoes: None,
            store_id: "s".into(),
            store_path: "/".into(),
            time_ms: 1,
            sessions: vec!["ses_1".into()],
        };
        let entry = Entry { session: "ses_1".into(), edit };
        Journal { header, entries: vec![entry], whole: true, committed }
    }

    #[test]
    fn a_removed_refusal_counts_until_it_is_put_back() {
        let refusal = r#"{"role":"assistant","modelID":"m","providerID":"p","time":{"created":1},"error":{"name":"APIError","data":{"statusCode":400,"message":"assistant message prefill"}}}"#;
        let other = r#"{"role":"user","time":{"created":1}}"#;
        let gone = journal(Op::Delete, refusal, true);
        let back = journal(Op::Insert, refusal, true);
        assert_eq!(removed_refusals([&gone]).len(), 1);
        assert_eq!(removed_refusals([&gone, &back]).len(), 0);
        assert_eq!(removed_refusals([&gone, &back, &gone]).len(), 1);
        assert_eq!(removed_refusals([&journal(Op::Delete, refusal, false)]).len(), 0, "its commit was not noted");
        assert_eq!(removed_refusals([&journal(Op::Delete, other, true)]).len(), 0);
    }
}
