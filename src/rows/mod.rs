//! Rows of a store as plain data, and edits of rows. Everything that reads or writes a store speaks of these.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use strum::{Display, IntoStaticStr};

use crate::error::Result;

/// A table that `unstick` writes. The name is the table's in SQL, in journals and in JSON.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, Display, IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Table {
    /// Messages, opencode 1.
    Message,
    /// Parts of messages, opencode 1.
    Part,
    /// opencode's event log (1.17 and later).
    Event,
    /// The number of the last event of each session.
    EventSequence,
    /// Sessions, opencode 1: where they are, and nothing else.
    Session,
    /// Projects: where they are, and nothing else.
    Project,
    /// Messages, opencode 2: their JSON and their place, and nothing else.
    SessionMessage,
}

impl Table {
    /// The column that is its primary key.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::EventSequence => "aggregate_id",
            Self::Message | Self::Part | Self::Event | Self::Session | Self::Project | Self::SessionMessage => "id",
        }
    }

    /// The columns of which its rows are made up here; `None` where it is all that there are. Of wide tables no other column
    /// is read, compared or written.
    #[must_use]
    pub fn only(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Session => Some(&["id", "project_id", "directory", "path"]),
            Self::Project => Some(&["id", "worktree", "sandboxes"]),
            Self::SessionMessage => Some(&["id", "session_id", "type", "seq", "time_created", "data"]),
            Self::Message | Self::Part | Self::Event | Self::EventSequence => None,
        }
    }

    /// Whether it belongs to the event log.
    #[must_use]
    pub fn is_log(self) -> bool {
        matches!(self, Self::Event | Self::EventSequence)
    }
}

/// A row: column to value, `rowid` among them where it is known.
pub type Row = BTreeMap<String, Cell>;

/// A value of a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cell {
    /// An integer.
    Int(i64),
    /// NULL.
    Null,
    /// A text.
    Text(String),
    /// A text that is not in memory. Its size in bytes and its SHA-256 in hex stand for it, and it is never written.
    Kept {
        /// Size in bytes.
        bytes: u64,
        /// SHA-256 in hex.
        sha256: String,
    },
}

impl Cell {
    /// A text by its size and SHA-256.
    #[must_use]
    pub fn kept(text: &str) -> Self {
        Self::Kept { bytes: text.len() as u64, sha256: digest(text) }
    }

    /// Whether a stored value is this one. A text that is not in memory is compared by size and hash.
    #[must_use]
    pub fn matches(&self, stored: &Self) -> bool {
        match (self, stored) {
            (Self::Kept { bytes, sha256 }, Self::Text(t)) => *bytes == t.len() as u64 && digest(t) == *sha256,
            _ => self == stored,
        }
    }

    /// Size of a text in bytes; 0 for any other value.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Text(t) => t.len() as u64,
            Self::Kept { bytes, .. } => *bytes,
            Self::Int(_) | Self::Null => 0,
        }
    }
}

/// What is done to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema, Display)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Op {
    /// Columns are set.
    Update,
    /// The row is made.
    Insert,
    /// The row is removed.
    Delete,
}

/// One row before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowEdit {
    /// The row's table.
    pub table: Table,
    /// The row's primary key.
    pub id: String,
    /// Every column before; `None` where the row is made.
    pub before: Option<Row>,
    /// Every column after; `None` where the row is removed.
    pub after: Option<Row>,
}

impl RowEdit {
    /// What is done to the row.
    #[must_use]
    pub fn op(&self) -> Op {
        match (&self.before, &self.after) {
            (None, _) => Op::Insert,
            (Some(_), None) => Op::Delete,
            (Some(_), Some(_)) => Op::Update,
        }
    }

    /// The edit that takes this one back.
    #[must_use]
    pub fn reversed(&self) -> Self {
        Self { table: self.table, id: self.id.clone(), before: self.after.clone(), after: self.before.clone() }
    }
}

/// SHA-256 of a text.
#[must_use]
pub fn sha256(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}

/// SHA-256 of a text in hex.
#[must_use]
pub fn digest(text: &str) -> String {
    hex(&sha256(text))
}

/// Bytes as hex digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The integer in a column.
#[must_use]
pub fn int(row: &Row, column: &str) -> Option<i64> {
    match row.get(column)? {
        Cell::Int(n) => Some(*n),
        _ => None,
    }
}

/// The text in a column, where it is in memory.
#[must_use]
pub fn text<'a>(row: &'a Row, column: &str) -> Option<&'a str> {
    match row.get(column)? {
        Cell::Text(t) => Some(t),
        _ => None,
    }
}

/// Rows of the state of the store that a history was read from: what a plan needs and a history does not hold.
pub trait Lookup {
    /// The JSON of a row of `message` or `part`; `None` where there is no such row.
    ///
    /// # Errors
    /// When it cannot be read.
    fn data(&self, table: Table, id: &str) -> Result<Option<String>>;

    /// A row of `message` or `part` with its rowid, its JSON as [`Cell::Kept`].
    ///
    /// # Errors
    /// When it cannot be read.
    fn brief(&self, table: Table, id: &str) -> Result<Option<Row>>;

    /// A whole row with its rowid.
    ///
    /// # Errors
    /// When it cannot be read.
    fn whole(&self, table: Table, id: &str) -> Result<Option<Row>>;

    /// Whether a row of the table has the rowid.
    ///
    /// # Errors
    /// When it cannot be read.
    fn is_taken(&self, table: Table, rowid: i64) -> Result<bool>;

    /// Whether an event of the session with a number above `seq` names the text.
    ///
    /// # Errors
    /// When it cannot be read.
    fn named_since(&self, session: &str, seq: i64, text: &str) -> Result<bool>;
}
