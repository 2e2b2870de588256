//! A store that is being read: one state of it, seen by one connection or by several.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Statement};
use sha2::{Digest, Sha256};

use super::Schema;
use super::columns::{bad_row, integer, kind, session_info, text};
use super::value::{MESSAGE, PART, Values};
use crate::error::{Error, Result};
use crate::history::{SessionInfo, UnreadableRow};
use crate::json::ShapeError;
use crate::rows::{Cell, Lookup, Row, Table, hex};

/// An open store in one read transaction.
#[derive(Debug)]
pub struct Store<'db> {
    pub(super) db: &'db Connection,
    path: &'db Path,
    schema: &'db Schema,
    bytes: u64,
    others: &'db Mutex<Vec<Connection>>,
}

/// A second view of the state that a [`Store`] sees, for another thread.
#[derive(Debug)]
pub struct Twin<'db> {
    db: Connection,
    path: &'db Path,
    schema: &'db Schema,
    bytes: u64,
    others: Mutex<Vec<Connection>>,
}

impl Twin<'_> {
    /// The store as this view sees it.
    #[must_use]
    pub fn store(&self) -> Store<'_> {
        Store { db: &self.db, path: self.path, schema: self.schema, bytes: self.bytes, others: &self.others }
    }
}

/// What a store is, counted and identified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// A digest of its oldest project and session ids and times: the same for a copied or repaired store.
    pub id: String,
    /// Size of its files in bytes, its -wal counted in.
    pub bytes: u64,
    /// Sessions of opencode 1.
    pub sessions: u64,
    /// Rows of `message`.
    pub messages: u64,
    /// Rows of `part`.
    pub parts: u64,
    /// Sessions of opencode 2.
    pub sessions_v2: u64,
    /// Rows of `session_message`, where they are opencode 2's.
    pub messages_v2: u64,
    /// The name of the newest migration that ran.
    pub newest_migration: Option<String>,
}

/// A row of `session`, or why it cannot be read.
#[derive(Debug, Clone)]
pub enum SessionEntry {
    /// A row that was understood.
    Readable(SessionInfo),
    /// One that was not.
    Unreadable(UnreadableRow),
}

impl<'db> Store<'db> {
    pub(super) fn new(
        db: &'db Connection,
        path: &'db Path,
        schema: &'db Schema,
        bytes: u64,
        others: &'db Mutex<Vec<Connection>>,
    ) -> Self {
        Self { db, path, schema, bytes, others }
    }

    /// Further views of the same state, as many as there are connections left.
    #[must_use]
    pub fn twins(&self) -> Vec<Twin<'db>> {
        let others = std::mem::take(&mut *self.others.lock().unwrap_or_else(PoisonError::into_inner));
        let twin = |db| Twin { db, path: self.path, schema: self.schema, bytes: self.bytes, others: Mutex::default() };
        others.into_iter().map(twin).collect()
    }

    /// Where the store is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.path
    }

    /// Which optional tables and columns it has.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        self.schema
    }

    fn count(&self, table: &str) -> Result<u64> {
        let n: i64 = self.db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?;
        Ok(n.unsigned_abs())
    }

    /// Counts the rows and works out the store's identity.
    ///
    /// # Errors
    /// When SQLite cannot read it.
    pub fn facts(&self) -> Result<Facts> {
        let count = |table: &str| if self.schema.has_v1() { self.count(table) } else { Ok(0) };
        let (sessions_v2, messages_v2) = self.newer_counts()?;
        Ok(Facts {
            id: self.identity()?,
            bytes: self.bytes,
            sessions: count(&format!("session {}", self.own()))?,
            messages: count("message")?,
            parts: count("part")?,
            sessions_v2,
            messages_v2,
            newest_migration: self.newest_migration()?,
        })
    }

    /// Which rows of `session` are opencode 1's.
    fn own(&self) -> &'static str {
        self.schema.newer.as_ref().map_or("", |newer| newer.others())
    }

    /// A digest of what opencode wrote first and never changes.
    ///
    /// # Errors
    /// When SQLite cannot read it.
    pub fn identity(&self) -> Result<String> {
        let mut digest = Sha256::new();
        // A store of opencode 2 alone has no `session`.
        for table in ["project", if self.schema.has_v1() { "session" } else { "session_v2" }] {
            let query = format!("SELECT id, time_created FROM {table} ORDER BY time_created, id LIMIT 1");
            // A store without a project table of the known form is identified by its sessions alone.
            let Ok(mut statement) = self.db.prepare(&query) else {
                continue;
            };
            let mut rows = statement.query([])?;
            if let Some(row) = rows.next()? {
                digest.update(table);
                digest.update(text(row, 0, "id").unwrap_or_default());
                digest.update(integer(row, 1, "time_created").unwrap_or_default().to_be_bytes());
            }
        }
        Ok(hex(&digest.finalize()[..8]))
    }

    fn newest_migration(&self) -> Result<Option<String>> {
        let mut newest = None;
        for (table, column) in [("__drizzle_migrations", "name"), ("migration", "id")] {
            if self.schema.has(table, column) {
                let query = format!("SELECT max({column}) FROM {table} WHERE typeof({column}) = 'text'");
                newest = newest.max(self.db.query_row(&query, [], |row| row.get(0))?);
            }
        }
        Ok(newest)
    }

    /// opencode 1's rows of `session`, newest first.
    ///
    /// # Errors
    /// When SQLite cannot read it.
    pub fn sessions(&self) -> Result<Vec<SessionEntry>> {
        if !self.schema.has_v1() {
            return Ok(Vec::new());
        }
        let optional = |name: &str| {
            if self.schema.has("session", name) { name.to_owned() } else { format!("NULL AS {name}") }
        };
        let guard = self.own();
        let query = format!(
            "SELECT rowid, id, {}, title, directory, version, {}, time_created, time_updated FROM session {guard} ORDER BY time_updated DESC, id",
            optional("parent_id"),
            optional("revert"),
        );
        let mut statement = self.db.prepare(&query)?;
        let mut rows = statement.query([])?;
        let mut out = Vec::new();
        while let Some(row) = rows.next()? {
            out.push(match session_info(row) {
                Ok(info) => SessionEntry::Readable(info),
                Err(error) => SessionEntry::Unreadable(bad_row("session", row, text(row, 1, "id").ok(), &error)),
            });
        }
        Ok(out)
    }

    /// The row of one session; `None` where there is none that can be understood.
    ///
    /// # Errors
    /// When SQLite cannot read it.
    pub fn session(&self, id: &str) -> Result<Option<SessionInfo>> {
        Ok(self.sessions()?.into_iter().find_map(|entry| match entry {
            SessionEntry::Readable(info) if info.id == id => Some(info),
            _ => None,
        }))
    }

    /// A whole row by its rowid, rowid included; `None` where there is none.
    ///
    /// # Errors
    /// When SQLite cannot read it, or a value is neither text, integer nor null: such a row is never touched.
    pub fn row(&self, table: Table, rowid: i64) -> Result<Option<Row>> {
        let known = self.schema.columns(table.into()).iter();
        let columns: Vec<&str> =
            known.map(String::as_str).filter(|c| table.only().is_none_or(|only| only.contains(c))).collect();
        let query = format!("SELECT {} FROM {table} WHERE rowid = ?1", columns.join(", "));
        let mut statement = self.db.prepare_cached(&query)?;
        let mut rows = statement.query([rowid])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let odd = |error: ShapeError| Error::row_changed(format!("{table} rowid {rowid}"), error);
        let mut out = Row::from([("rowid".to_owned(), Cell::Int(rowid))]);
        for (at, column) in columns.iter().enumerate() {
            let cell = match row.get_ref(at)? {
                ValueRef::Null => Cell::Null,
                ValueRef::Integer(n) => Cell::Int(n),
                ValueRef::Text(_) => Cell::Text(text(row, at, column).map_err(odd)?.to_owned()),
                other => return Err(odd(ShapeError(format!("`{column}` is {}", kind(other))))),
            };
            out.insert((*column).to_owned(), cell);
        }
        Ok(Some(out))
    }

    /// The rowid of a row by its primary key.
    ///
    /// # Errors
    /// When SQLite cannot read it.
    pub fn rowid(&self, table: Table, id: &str) -> Result<Option<i64>> {
        let key = table.key();
        let query = format!("SELECT rowid FROM {table} WHERE {key} = ?1");
        Ok(self.db.prepare_cached(&query)?.query_row([id], |row| row.get(0)).optional()?)
    }

    pub(super) fn cached(&self, query: &str) -> Result<rusqlite::CachedStatement<'db>> {
        Ok(self.db.prepare_cached(query)?)
    }

    /// The first row that a statement gives, as `read` understands it.
    pub(super) fn first<T>(
        statement: &mut Statement<'_>,
        params: impl rusqlite::Params,
        read: impl FnOnce(&rusqlite::Row<'_>) -> Result<T>,
    ) -> Result<Option<T>> {
        let mut rows = statement.query(params)?;
        rows.next()?.map(read).transpose()
    }
}

impl Lookup for Store<'_> {
    fn data(&self, table: Table, id: &str) -> Result<Option<String>> {
        let mut statement = self.cached(&format!("SELECT data FROM {table} WHERE id = ?1"))?;
        Ok(statement.query_row([id], |row| row.get(0)).optional()?)
    }

    fn brief(&self, table: Table, id: &str) -> Result<Option<Row>> {
        let (query, owner) = if table == Table::Part { (PART, 3) } else { (MESSAGE, 2) };
        let mut statement = self.cached(&format!("{query} WHERE {table}.id = ?1"))?;
        Self::first(&mut statement, [id], |row| {
            let odd = |e: ShapeError| Error::damaged(format!("{table} {id}: {e}"));
            if text(row, 1, "id").map_err(odd)? != id {
                return Err(Error::damaged(format!("the index of `{table}` and its rows do not agree about {id}")));
            }
            let (bytes, sha256) = Values::of(self.db, table).digest(row)?.map_err(odd)?;
            let mut out = Row::new();
            let mut set = |name: &str, cell: Cell| out.insert(name.to_owned(), cell);
            let texts = ["id", "message_id", "session_id"];
            let texts = texts.into_iter().filter(|name| table == Table::Part || *name != "message_id");
            for (at, name) in (1..).zip(texts) {
                set(name, Cell::Text(text(row, at, name).map_err(odd)?.to_owned()));
            }
            for (at, name) in [(0, "rowid"), (owner + 1, "time_created"), (owner + 2, "time_updated")] {
                set(name, Cell::Int(integer(row, at, name).map_err(odd)?));
            }
            set("data", Cell::Kept { bytes, sha256: hex(&sha256) });
            Ok(out)
        })
    }

    fn whole(&self, table: Table, id: &str) -> Result<Option<Row>> {
        if !self.schema.has_table(table.into()) {
            return Ok(None);
        }
        match self.rowid(table, id)? {
            Some(rowid) => self.row(table, rowid),
            None => Ok(None),
        }
    }

    fn is_taken(&self, table: Table, rowid: i64) -> Result<bool> {
        Ok(self.db.prepare_cached(&format!("SELECT 1 FROM {table} WHERE rowid = ?1"))?.exists([rowid])?)
    }

    fn named_since(&self, session: &str, seq: i64, wanted: &str) -> Result<bool> {
        self.event_names(session, seq, wanted)
    }
}
