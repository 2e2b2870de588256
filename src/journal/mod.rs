//! The undo journal: what is kept of a repair so that it can be taken back. A header, every changed row as it was and as it
//! is then, and an end that proves the file is whole; one JSON value a line.

mod disk;

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufRead;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use disk::{Found, JournalWriter, journals};

use crate::history::{MessageRow, ModelRef, head};
use crate::repair::Step;
use crate::rows::{Op, Row, RowEdit, Table, hex, text};

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
    /// A folder that was moved.
    Relink,
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
    /// What was done, by session: for an undo, what it takes back.
    pub steps: BTreeMap<String, Vec<Step>>,
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

/// A journal that was read, its rows aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journal {
    /// Its first line.
    pub header: Header,
    /// How many rows it holds.
    pub rows: u64,
    /// It was written to its end: the commit came after that.
    pub whole: bool,
    /// The commit was noted.
    pub committed: bool,
}

/// Reads a journal line by line; `each` is given every row as it comes. What it was given counts for nothing where the
/// journal turns out to be none.
///
/// # Errors
/// What is wrong with it, when it is not a journal of this version or cannot be read. One that breaks off is not an error
/// but not [`Journal::whole`]: such a repair never came to its commit.
pub fn read(mut from: impl BufRead, mut each: impl FnMut(&Header, Entry)) -> Result<Journal, String> {
    let mut journal: Option<Journal> = None;
    let mut digest = Sha256::new();
    let mut line = Vec::new();
    for at in 1.. {
        line.clear();
        // A line may be as large as the largest row; the next one need not keep its room.
        line.shrink_to(1 << 20);
        if from.read_until(b'\n', &mut line).map_err(|e| e.to_string())? == 0 {
            break;
        }
        let parsed: Line = match serde_json::from_slice(line.trim_ascii_end()) {
            Ok(parsed) => parsed,
            // A line that was cut off is the last one.
            Err(_) if !line.ends_with(b"\n") && journal.is_some() => break,
            // What serde says quotes the line, and that holds what people have said.
            Err(e) => return Err(format!("line {at}, column {}: this is no journal's line", e.column())),
        };
        match (parsed, &mut journal) {
            (Line::Header(header), None) if header.version == VERSION => {
                journal = Some(Journal { header, rows: 0, whole: false, committed: false });
            }
            (Line::Header(h), _) => return Err(format!("a header of version {} out of place", h.version)),
            (_, None) => return Err("it has no header".to_owned()),
            (Line::Row(entry), Some(journal)) if !journal.whole => {
                journal.rows += 1;
                each(&journal.header, *entry);
            }
            (Line::End { rows, sha256 }, Some(journal)) if !journal.whole => {
                journal.whole = rows == journal.rows && sha256 == hex(&digest.clone().finalize());
                if !journal.whole {
                    return Err("its rows are not those that were written".to_owned());
                }
            }
            (Line::Committed { .. }, Some(journal)) if journal.whole => journal.committed = true,
            _ => return Err("a line out of place".to_owned()),
        }
        digest.update(&line);
    }
    journal.ok_or_else(|| "it has no header".to_owned())
}

/// The model of a prefill 400 that a repair removed: a later one must not forget what it proved.
#[must_use]
pub fn proven(entry: &Entry) -> Option<ModelRef> {
    refusal(entry, entry.edit.before.as_ref().filter(|_| entry.edit.op() == Op::Delete)?)
}

/// The model of a prefill 400, from one side of an edit; `None` for any other row.
fn refusal(entry: &Entry, row: &Row) -> Option<ModelRef> {
    if entry.edit.table != Table::Message {
        return None;
    }
    let (id, session_id) = (entry.edit.id.clone(), entry.session.as_str().into());
    let columns = MessageRow { rowid: 0, id, session_id, time_created: 0, time_updated: 0 };
    let message = head(columns, text(row, "data")?).ok()?;
    let a = message.assistant()?;
    a.error.as_deref().is_some_and(|e| e.prefill_400).then(|| ModelRef::clone(&a.model))
}

/// The prefill 400s that a journal removed and put back, by row id, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Refusals(Vec<(Op, String)>);

impl Refusals {
    /// Takes in the journal's next row.
    pub fn add(&mut self, entry: &Entry) {
        let edit = &entry.edit;
        let row = match edit.op() {
            Op::Delete => &edit.before,
            Op::Insert => &edit.after,
            Op::Update => &None,
        };
        if row.as_ref().is_some_and(|row| refusal(entry, row).is_some()) {
            self.0.push((edit.op(), edit.id.clone()));
        }
    }
}

/// The prefill 400s that the repairs of a store have removed and no undo has put back, by row id.
///
/// `journals` are the store's, oldest first. Those whose commit was not noted do not count.
#[must_use]
pub fn removed_refusals<'a>(journals: impl IntoIterator<Item = (&'a Journal, &'a Refusals)>) -> BTreeSet<&'a str> {
    let mut out = BTreeSet::new();
    for (op, id) in journals.into_iter().filter(|(j, _)| j.committed).flat_map(|(_, refusals)| &refusals.0) {
        if *op == Op::Delete {
            out.insert(id.as_str());
        } else {
            out.remove(id.as_str());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::Cell;

    fn journal(op: Op, data: &str, committed: bool) -> (Journal, Refusals) {
        let row: Row = [("data".to_owned(), Cell::Text(data.to_owned()))].into();
        let (before, after) = if op == Op::Delete { (Some(row), None) } else { (None, Some(row)) };
        let edit = RowEdit { table: Table::Message, id: "msg_1".into(), before, after };
        let header = Header {
            version: VERSION,
            kind: Kind::Repair,
            id: "j".into(),
            undoes: None,
            store_id: "s".into(),
            store_path: "/".into(),
            time_ms: 1,
            sessions: vec!["ses_1".into()],
            steps: BTreeMap::new(),
        };
        let entry = Entry { session: "ses_1".into(), edit };
        let mut refusals = Refusals::default();
        refusals.add(&entry);
        (Journal { header, rows: 1, whole: true, committed }, refusals)
    }

    #[test]
    fn a_removed_refusal_counts_until_it_is_put_back() {
        let refusal = r#"{"role":"assistant","modelID":"m","providerID":"p","time":{"created":1},"error":{"name":"APIError","data":{"statusCode":400,"message":"assistant message prefill"}}}"#;
        let other = r#"{"role":"user","time":{"created":1}}"#;
        let gone = journal(Op::Delete, refusal, true);
        let back = journal(Op::Insert, refusal, true);
        let removed_refusals = |all: &[&(Journal, Refusals)]| removed_refusals(all.iter().map(|(j, r)| (j, r))).len();
        assert_eq!(removed_refusals(&[&gone]), 1);
        assert_eq!(removed_refusals(&[&gone, &back]), 0);
        assert_eq!(removed_refusals(&[&gone, &back, &gone]), 1);
        assert_eq!(removed_refusals(&[&journal(Op::Delete, refusal, false)]), 0, "its commit was not noted");
        assert_eq!(removed_refusals(&[&journal(Op::Delete, other, true)]), 0);
    }
}
