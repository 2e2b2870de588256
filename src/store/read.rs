//! Reading rows: typed where they can be understood, named where they cannot.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row};
use sha2::{Digest, Sha256};

use super::{Schema, StoreError, Sweep, blob};
use crate::history::json::ShapeError;
use crate::history::{
    self, Depth, Message, MessageRow, Part, PartKind, PartRow, Session, SessionInfo, ToolState, UnreadableRow,
};
use crate::repair::{Cell, Image};

/// An open store in one read transaction.
#[derive(Debug)]
pub struct Store<'db> {
    pub(super) db: &'db Connection,
    path: &'db Path,
    schema: Schema,
    bytes: u64,
    /// How to open the same state of the store a second time, where that is possible.
    again: Option<String>,
    /// Whether its texts are UTF-8, once that was asked.
    utf8: OnceCell<bool>,
}

/// What a store is, counted and identified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// A digest of its oldest project and session ids and times: the same for a copied or repaired store.
    pub id: String,
    /// Size of the main file in bytes.
    pub bytes: u64,
    /// Rows of `session`.
    pub sessions: u64,
    /// Rows of `message`.
    pub messages: u64,
    /// Rows of `part`.
    pub parts: u64,
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

/// A session's history, with the rows of it that could not be understood.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The rows that were understood.
    pub session: Session,
    /// The others. A session with any is left alone.
    pub unreadable: Vec<UnreadableRow>,
}

pub(super) fn text<'r>(row: &'r Row<'_>, at: usize, name: &str) -> Result<&'r str, ShapeError> {
    match row.get_ref(at) {
        Ok(ValueRef::Text(bytes)) => {
            std::str::from_utf8(bytes).map_err(|_| ShapeError(format!("`{name}` is not valid UTF-8")))
        }
        Ok(other) => Err(ShapeError(format!("`{name}` is {}, expected text", kind(other)))),
        Err(_) => Err(ShapeError(format!("`{name}` could not be read"))),
    }
}

fn optional_text<'r>(row: &'r Row<'_>, at: usize, name: &str) -> Result<Option<&'r str>, ShapeError> {
    match row.get_ref(at) {
        Ok(ValueRef::Null) => Ok(None),
        _ => text(row, at, name).map(Some),
    }
}

pub(super) fn integer(row: &Row<'_>, at: usize, name: &str) -> Result<i64, ShapeError> {
    match row.get_ref(at) {
        Ok(ValueRef::Integer(n)) => Ok(n),
        Ok(other) => Err(ShapeError(format!("`{name}` is {}, expected an integer", kind(other)))),
        Err(_) => Err(ShapeError(format!("`{name}` could not be read"))),
    }
}

fn kind(value: ValueRef<'_>) -> &'static str {
    match value {
        ValueRef::Null => "null",
        ValueRef::Integer(_) => "an integer",
        ValueRef::Real(_) => "a real number",
        ValueRef::Text(_) => "text",
        ValueRef::Blob(_) => "a blob",
    }
}

/// A row that cannot be understood, for a report. Its columns begin with rowid and id.
pub(super) fn bad_row(
    table: &'static str,
    row: &Row<'_>,
    session_id: Option<&str>,
    error: &ShapeError,
) -> UnreadableRow {
    let session_id = session_id.map(str::to_owned);
    UnreadableRow { table, id: name_of(row, 0, 1), session_id, detail: error.to_string() }
}

/// The row's id for a report: the rowid where the id itself is not text.
fn name_of(row: &Row<'_>, rowid: usize, id: usize) -> String {
    text(row, id, "id").map_or_else(|_| format!("rowid {}", integer(row, rowid, "rowid").unwrap_or(-1)), str::to_owned)
}

impl<'db> Store<'db> {
    pub(super) fn new(db: &'db Connection, path: &'db Path, schema: Schema, bytes: u64) -> Self {
        Self { db, path, schema, bytes, again: None, utf8: OnceCell::new() }
    }

    /// The same store, which `uri` opens once more: what it leads to does not change.
    pub(super) fn with_twin(mut self, uri: Option<String>) -> Self {
        self.again = uri;
        self
    }

    /// Whether its texts are UTF-8: else the bytes of a value are not its text.
    pub(super) fn is_utf8(&self) -> Result<bool, StoreError> {
        if let Some(known) = self.utf8.get() {
            return Ok(*known);
        }
        let name: String = self.db.query_row("PRAGMA encoding", [], |row| row.get(0)).map_err(|e| self.sql(e))?;
        Ok(*self.utf8.get_or_init(|| name == "UTF-8"))
    }

    /// Opens the store a second time, for another thread.
    pub(super) fn twin(&self) -> Option<impl Fn() -> rusqlite::Result<Connection> + Send + Sync + use<>> {
        self.again.clone().map(|uri| {
            move || {
                let mut db = Connection::open_with_flags(&uri, super::open::READ_ONLY)?;
                super::open::harden(&mut db)?;
                Ok(db)
            }
        })
    }

    /// Where the store is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.path
    }

    /// Which optional tables and columns it has.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    pub(super) fn sql(&self, error: rusqlite::Error) -> StoreError {
        StoreError::sqlite(self.path, error)
    }

    pub(super) fn count(&self, table: &str) -> Result<u64, StoreError> {
        let n: i64 = self
            .db
            .query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))
            .map_err(|e| self.sql(e))?;
        Ok(n.unsigned_abs())
    }

    /// Counts the rows and works out the store's identity.
    ///
    /// # Errors
    /// When SQLite cannot read it.
    pub fn facts(&self) -> Result<Facts, StoreError> {
        Ok(Facts {
            id: self.identity()?,
            bytes: self.bytes,
            sessions: self.count("session")?,
            messages: self.count("message")?,
            parts: self.count("part")?,
            newest_migration: self.newest_migration()?,
        })
    }

    /// A digest of what opencode wrote first and never changes.
    ///
    /// # Errors
    /// When SQLite cannot read it.
    pub fn identity(&self) -> Result<String, StoreError> {
        let mut digest = Sha256::new();
        for table in ["project", "session"] {
            let query = format!("SELECT id, time_created FROM {table} ORDER BY time_created, id LIMIT 1");
            // A store without a project table of the known form is identified by its sessions alone.
            let Ok(mut statement) = self.db.prepare(&query) else {
                continue;
            };
            let mut rows = statement.query([]).map_err(|e| self.sql(e))?;
            if let Some(row) = rows.next().map_err(|e| self.sql(e))? {
                digest.update(table);
                digest.update(text(row, 0, "id").unwrap_or_default());
                digest.update(integer(row, 1, "time_created").unwrap_or_default().to_be_bytes());
            }
        }
        Ok(digest.finalize().iter().take(8).map(|b| format!("{b:02x}")).collect())
    }

    fn newest_migration(&self) -> Result<Option<String>, StoreError> {
        let mut newest = None;
        for (table, column) in [("__drizzle_migrations", "name"), ("migration", "id")] {
            if !self.schema.has(table, column) {
                continue;
            }
            let query = format!("SELECT max({column}) FROM {table} WHERE typeof({column}) = 'text'");
            let found: Option<String> = self.db.query_row(&query, [], |row| row.get(0)).map_err(|e| self.sql(e))?;
            newest = newest.max(found);
        }
        Ok(newest)
    }

    /// All rows of `session`, newest first.
    ///
    /// # Errors
    /// When SQLite cannot read it.
    pub fn sessions(&self) -> Result<Vec<SessionEntry>, StoreError> {
        let optional = |name: &str| {
            if self.schema.has("session", name) { name.to_owned() } else { format!("NULL AS {name}") }
        };
        let query = format!(
            "SELECT rowid, id, {}, title, directory, version, {}, time_created, time_updated FROM session ORDER BY time_updated DESC, id",
            optional("parent_id"),
            optional("revert"),
        );
        let mut statement = self.db.prepare(&query).map_err(|e| self.sql(e))?;
        let mut rows = statement.query([]).map_err(|e| self.sql(e))?;
        let mut out = Vec::new();
        while let Some(row) = rows.next().map_err(|e| self.sql(e))? {
            out.push(match session_info(row) {
                Ok(info) => SessionEntry::Readable(info),
                Err(error) => SessionEntry::Unreadable(UnreadableRow {
                    table: "session",
                    id: name_of(row, 0, 1),
                    session_id: text(row, 1, "id").ok().map(str::to_owned),
                    detail: error.to_string(),
                }),
            });
        }
        Ok(out)
    }

    /// The whole history of one session.
    ///
    /// # Errors
    /// When SQLite cannot read it. Rows that are there but cannot be understood are named in the result.
    pub fn load(&self, info: &SessionInfo) -> Result<Loaded, StoreError> {
        self.load_with(info, false)
    }

    /// The same with the digest of every part's JSON, which guards the rows that a plan touches.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub fn load_guarded(&self, info: &SessionInfo) -> Result<Loaded, StoreError> {
        let mut loaded = self.load_with(info, true)?;
        // A part that hangs on nothing is a row that nobody understands.
        loaded.unreadable.extend(self.strays_of(info)?);
        Ok(loaded)
    }

    fn load_with(&self, info: &SessionInfo, guarded: bool) -> Result<Loaded, StoreError> {
        let mut unreadable = Vec::new();
        let mut bad = |table: &'static str, id: String, detail: String| {
            unreadable.push(UnreadableRow { table, id, session_id: Some(info.id.clone()), detail });
        };
        let mut messages: Vec<Message> = Vec::new();
        let mut at: HashMap<Rc<str>, usize> = HashMap::new();
        let owner: Rc<str> = Rc::from(info.id.as_str());
        let query = format!("{MESSAGE} WHERE session_id = ?1");
        let mut statement = self.db.prepare_cached(&query).map_err(|e| self.sql(e))?;
        let mut rows = statement.query([&info.id]).map_err(|e| self.sql(e))?;
        while let Some(row) = rows.next().map_err(|e| self.sql(e))? {
            match message_row(row) {
                Ok(message) => {
                    at.insert(Rc::from(message.id()), messages.len());
                    messages.push(message);
                }
                Err(error) => bad("message", name_of(row, 0, 1), error.to_string()),
            }
        }
        drop(rows);
        let query = format!("{PART} JOIN message ON message.id = part.message_id WHERE message.session_id = ?1");
        let mut statement = self.db.prepare_cached(&query).map_err(|e| self.sql(e))?;
        let utf8 = self.is_utf8()?;
        let mut rows = statement.query([&info.id]).map_err(|e| self.sql(e))?;
        while let Some(row) = rows.next().map_err(|e| self.sql(e))? {
            match part_row(self.db, row, utf8, guarded).map_err(|e| self.sql(e))? {
                Ok(mut part) => {
                    // A part whose message could not be read makes its session unreadable already.
                    if let Some((message, index)) = at.get_key_value(&part.row.message_id) {
                        share(&mut part, message, &owner);
                        messages[*index].parts.push(part);
                    }
                }
                Err(error) => bad("part", name_of(row, 0, 1), error.to_string()),
            }
        }
        drop(rows);
        let messages = messages.into_iter().map(Rc::new).collect();
        let mut session = Session { info: info.clone(), messages, suspect: true };
        session.sort();
        if session.messages.is_empty() && unreadable.is_empty() && self.only_in_session_message(info)? {
            unreadable.push(elsewhere(info));
        }
        Ok(Loaded { session, unreadable })
    }

    /// The session's messages with their parts unread, but for those that the sweep found something in. `at` is
    /// the session's place in the list that was swept.
    ///
    /// # Errors
    /// When SQLite cannot read it.
    pub fn outline(&self, info: &SessionInfo, sweep: &Sweep, at: u32) -> Result<Loaded, StoreError> {
        let mut unreadable = Vec::new();
        let mut messages = Vec::new();
        let nothing: Arc<str> = Arc::from("");
        let query = format!("{MESSAGE} WHERE session_id = ?1");
        let mut statement = self.db.prepare_cached(&query).map_err(|e| self.sql(e))?;
        let mut rows = statement.query([&info.id]).map_err(|e| self.sql(e))?;
        while let Some(row) = rows.next().map_err(|e| self.sql(e))? {
            match message_row(row) {
                Ok(mut message) => {
                    // A verdict needs the fields alone.
                    message.data = nothing.clone();
                    let no_tools = sweep.no_tools(message.id());
                    message.depth = Depth::unread(no_tools);
                    messages.push(Rc::new(message));
                }
                Err(error) => unreadable.push(bad_row("message", row, Some(&info.id), &error)),
            }
        }
        drop(rows);
        let refused = |m: &Message| m.assistant().and_then(|a| a.error.as_ref()).is_some_and(|e| e.refusal.is_some());
        // An answer that was cut off may be sent without content.
        let cut = |m: &Message| m.assistant().is_some_and(|a| a.finish.is_none() && a.error.is_none());
        let suspect = sweep.suspect(at) || messages.iter().any(|m| refused(m) || cut(m));
        let mut session = Session { info: info.clone(), messages, suspect };
        session.sort();
        let loud: HashSet<&String> = sweep.loud(at).collect();
        for message in session.messages.iter_mut().filter(|m| loud.contains(&m.row.id)) {
            unreadable.extend(self.read_parts(Rc::make_mut(message))?);
        }
        if session.messages.is_empty() && unreadable.is_empty() && self.only_in_session_message(info)? {
            unreadable.push(elsewhere(info));
        }
        Ok(Loaded { session, unreadable })
    }

    /// Reads what was asked for while the session was judged. Returns whether there was anything.
    ///
    /// # Errors
    /// When SQLite cannot read it.
    pub fn fill(&self, loaded: &mut Loaded) -> Result<bool, StoreError> {
        let mut any = false;
        let mut unreadable = Vec::new();
        for message in &mut loaded.session.messages {
            if message.parts_asked() {
                any = true;
                unreadable.extend(self.read_parts(Rc::make_mut(message))?);
            } else if message.provider_asked() {
                any = true;
                let found = self.provider_call(message.id())?;
                if let Depth::Unread(unread) = &message.depth {
                    unread.provider_call.set(Some(found));
                }
            }
        }
        unreadable.retain(|row| !loaded.unreadable.iter().any(|known| known.id == row.id));
        loaded.unreadable.append(&mut unreadable);
        Ok(any)
    }

    fn read_parts(&self, message: &mut Message) -> Result<Vec<UnreadableRow>, StoreError> {
        let mut unreadable = Vec::new();
        let mut statement =
            self.db.prepare_cached(&format!("{PART} WHERE part.message_id = ?1")).map_err(|e| self.sql(e))?;
        let mut rows = statement.query([&message.row.id]).map_err(|e| self.sql(e))?;
        message.parts.clear();
        let utf8 = self.is_utf8()?;
        let owner: (Rc<str>, Rc<str>) = (Rc::from(message.id()), Rc::from(message.row.session_id.as_str()));
        while let Some(row) = rows.next().map_err(|e| self.sql(e))? {
            match part_row(self.db, row, utf8, false).map_err(|e| self.sql(e))? {
                Ok(mut part) => {
                    share(&mut part, &owner.0, &owner.1);
                    message.parts.push(part);
                }
                Err(error) => unreadable.push(bad_row("part", row, Some(&message.row.session_id), &error)),
            }
        }
        message.parts.sort_by(|a, b| a.row.id.cmp(&b.row.id));
        message.depth = Depth::Whole;
        Ok(unreadable)
    }

    /// Whether the provider ran a tool call of the message.
    fn provider_call(&self, message: &str) -> Result<bool, StoreError> {
        let utf8 = self.is_utf8()?;
        let query = "SELECT rowid, octet_length(data) FROM part WHERE message_id = ?1";
        let mut statement = self.db.prepare_cached(query).map_err(|e| self.sql(e))?;
        let mut whole = self.db.prepare_cached(&format!("{PART} WHERE part.rowid = ?1")).map_err(|e| self.sql(e))?;
        let mut rows = statement.query([message]).map_err(|e| self.sql(e))?;
        while let Some(row) = rows.next().map_err(|e| self.sql(e))? {
            let (rowid, bytes): (i64, Option<i64>) =
                row.get(0).and_then(|id| Ok((id, row.get(1)?))).map_err(|e| self.sql(e))?;
            // The mark stands behind the result; only a row in which its name may stand is parsed.
            if utf8 && !self.may_name(rowid, bytes.unwrap_or(0), b"providerExecuted").map_err(|e| self.sql(e))? {
                continue;
            }
            let mut found = whole.query([rowid]).map_err(|e| self.sql(e))?;
            if let Some(row) = found.next().map_err(|e| self.sql(e))?
                && let Ok(part) = part_row(self.db, row, utf8, false).map_err(|e| self.sql(e))?
                && let PartKind::Tool(call) = &part.kind
                && call.provider_executed
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the part's JSON may hold a member of this name, read piece by piece however large it is.
    fn may_name(&self, rowid: i64, bytes: i64, name: &[u8]) -> rusqlite::Result<bool> {
        if bytes == 0 {
            return Ok(false);
        }
        match self.db.blob_open("main", "part", "data", rowid, true) {
            Ok(blob) => blob::names(&blob, &[name]),
            // No text, so no JSON.
            Err(rusqlite::Error::SqliteFailure(..)) => Ok(true),
            Err(error) => Err(error),
        }
    }

    fn only_in_session_message(&self, info: &SessionInfo) -> Result<bool, StoreError> {
        if !self.schema.has_table("session_message") {
            return Ok(false);
        }
        self.db
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM session_message WHERE session_id = ?1)")
            .and_then(|mut s| s.query_row([&info.id], |row| row.get(0)))
            .map_err(|e| self.sql(e))
    }

    /// A whole row by its rowid, rowid included; `None` where there is none.
    ///
    /// # Errors
    /// When SQLite cannot read it, or a value is neither text, integer nor null: such a row is never touched.
    pub fn row(&self, table: &str, rowid: i64) -> Result<Option<Image>, StoreError> {
        let columns = self.schema.columns(table);
        let query = format!("SELECT {} FROM {table} WHERE rowid = ?1", columns.join(", "));
        let mut statement = self.db.prepare_cached(&query).map_err(|e| self.sql(e))?;
        let mut rows = statement.query([rowid]).map_err(|e| self.sql(e))?;
        let Some(row) = rows.next().map_err(|e| self.sql(e))? else { return Ok(None) };
        let mut image = Image::new();
        image.insert("rowid".to_owned(), Cell::Int(rowid));
        for (at, column) in columns.iter().enumerate() {
            let cell = match row.get_ref(at).map_err(|e| self.sql(e))? {
                ValueRef::Null => Cell::Null,
                ValueRef::Integer(n) => Cell::Int(n),
                ValueRef::Text(_) => {
                    Cell::Text(text(row, at, column).map_err(|e| self.odd(table, rowid, &e))?.to_owned())
                }
                other => {
                    let error = ShapeError(format!("`{column}` is {}", kind(other)));
                    return Err(self.odd(table, rowid, &error));
                }
            };
            image.insert(column.clone(), cell);
        }
        Ok(Some(image))
    }

    fn odd(&self, table: &str, rowid: i64, error: &ShapeError) -> StoreError {
        StoreError::RowChanged { table: table.to_owned(), id: format!("rowid {rowid}"), detail: error.to_string() }
    }

    /// The rowid of a row by its primary key.
    ///
    /// # Errors
    /// When SQLite cannot read it.
    pub fn rowid(&self, table: &str, id: &str) -> Result<Option<i64>, StoreError> {
        let key = if table == "event_sequence" { "aggregate_id" } else { "id" };
        let query = format!("SELECT rowid FROM {table} WHERE {key} = ?1");
        let mut statement = self.db.prepare_cached(&query).map_err(|e| self.sql(e))?;
        statement.query_row([id], |row| row.get(0)).optional().map_err(|e| self.sql(e))
    }

    /// The JSON of a part.
    ///
    /// # Errors
    /// When SQLite cannot read it.
    pub fn part_data(&self, id: &str) -> Result<Option<String>, StoreError> {
        let mut statement = self.db.prepare_cached("SELECT data FROM part WHERE id = ?1").map_err(|e| self.sql(e))?;
        statement.query_row([id], |row| row.get(0)).optional().map_err(|e| self.sql(e))
    }

    /// Parts that say they are the session's and hang on no message.
    ///
    /// # Errors
    /// When SQLite cannot read it.
    pub fn strays_of(&self, info: &SessionInfo) -> Result<Vec<UnreadableRow>, StoreError> {
        let (query, detail) = (STRAYS[1].1, STRAYS[1].2);
        let mut statement = self.db.prepare_cached(&format!("{query} AND session_id = ?1")).map_err(|e| self.sql(e))?;
        let mut rows = statement.query([&info.id]).map_err(|e| self.sql(e))?;
        let mut out = Vec::new();
        while let Some(row) = rows.next().map_err(|e| self.sql(e))? {
            out.push(bad_row("part", row, Some(&info.id), &ShapeError(detail.to_owned())));
        }
        Ok(out)
    }

    /// The row, if it belongs to nothing.
    pub(super) fn stray(&self, table: &'static str, rowid: i64) -> Result<Option<UnreadableRow>, StoreError> {
        let (query, detail) = STRAYS.iter().find(|(t, ..)| *t == table).map_or(("", ""), |(_, q, d)| (*q, *d));
        let mut statement = self.db.prepare_cached(&format!("{query} AND rowid = ?1")).map_err(|e| self.sql(e))?;
        let mut rows = statement.query([rowid]).map_err(|e| self.sql(e))?;
        let Some(row) = rows.next().map_err(|e| self.sql(e))? else { return Ok(None) };
        let error = ShapeError(detail.to_owned());
        Ok(Some(bad_row(table, row, text(row, 2, "session_id").ok(), &error)))
    }
}

/// How rows that belong to nothing are found, and what is said of them.
const STRAYS: [(&str, &str, &str); 2] = [
    (
        "message",
        "SELECT rowid, id, session_id FROM message WHERE NOT EXISTS (SELECT 1 FROM session s WHERE s.id = session_id)",
        "its session does not exist",
    ),
    (
        "part",
        "SELECT rowid, id, session_id FROM part WHERE NOT EXISTS (SELECT 1 FROM message m WHERE m.id = message_id)",
        "its message does not exist",
    ),
];

/// Values beyond this size are read piece by piece, in bytes.
pub(super) const LARGE: i64 = 1 << 20;

/// A message's row.
pub(super) const MESSAGE: &str = "SELECT rowid, id, session_id, time_created, time_updated, data FROM message";

/// A part's row, its value null where it is a text that is read piece by piece.
pub(super) const PART: &str = "SELECT part.rowid, part.id, part.message_id, part.session_id, part.time_created, \
     part.time_updated, CASE WHEN octet_length(part.data) <= 1048576 OR typeof(part.data) <> 'text' THEN part.data END, \
     octet_length(part.data) FROM part";

fn elsewhere(info: &SessionInfo) -> UnreadableRow {
    UnreadableRow {
        table: "session",
        id: info.id.clone(),
        session_id: Some(info.id.clone()),
        detail: "its history is in `session_message` alone, which the run loop that is known here does not read"
            .to_owned(),
    }
}

fn session_info(row: &Row<'_>) -> Result<SessionInfo, ShapeError> {
    Ok(SessionInfo {
        id: text(row, 1, "id")?.to_owned(),
        parent_id: optional_text(row, 2, "parent_id")?.map(str::to_owned),
        title: text(row, 3, "title")?.to_owned(),
        directory: text(row, 4, "directory")?.to_owned(),
        version: text(row, 5, "version")?.to_owned(),
        revert: history::revert(optional_text(row, 6, "revert")?)?,
        time_created: integer(row, 7, "time_created")?,
        time_updated: integer(row, 8, "time_updated")?,
    })
}

pub(super) fn message_row(row: &Row<'_>) -> Result<Message, ShapeError> {
    let columns = MessageRow {
        rowid: integer(row, 0, "rowid")?,
        id: text(row, 1, "id")?.to_owned(),
        session_id: text(row, 2, "session_id")?.to_owned(),
        time_created: integer(row, 3, "time_created")?,
        time_updated: integer(row, 4, "time_updated")?,
    };
    history::message(columns, text(row, 5, "data")?)
}

/// Lets a part share the ids that all parts of a message have in common.
fn share(part: &mut Part, message: &Rc<str>, session: &Rc<str>) {
    for (own, all) in [(&mut part.row.message_id, message), (&mut part.row.session_id, session)] {
        if own == all {
            own.clone_from(all);
        }
    }
}

/// A row of [`PART`]: `Err` within where it cannot be understood.
pub(super) fn part_row(
    db: &Connection,
    row: &Row<'_>,
    utf8: bool,
    guarded: bool,
) -> rusqlite::Result<Result<Part, ShapeError>> {
    if row.get_ref(6)? != ValueRef::Null || row.get::<_, Option<i64>>(7)?.is_none_or(|bytes| bytes <= LARGE) {
        return Ok(part_columns(row).and_then(|columns| small_part(columns, text(row, 6, "data")?, guarded)));
    }
    let columns = match part_columns(row) {
        Ok(columns) => columns,
        Err(error) => return Ok(Err(error)),
    };
    if utf8 && let Some(part) = large_part(db, &columns, guarded)? {
        return Ok(Ok(part));
    }
    let mut whole = db.prepare_cached("SELECT data FROM part WHERE rowid = ?1")?;
    let mut rows = whole.query([columns.rowid])?;
    let Some(row) = rows.next()? else { return Ok(Err(ShapeError("it is gone".to_owned()))) };
    Ok(text(row, 0, "data").and_then(|data| small_part(columns, data, guarded)))
}

/// A large tool call, read piece by piece; `None` where the part is another one, or odd.
fn large_part(db: &Connection, columns: &PartRow, guarded: bool) -> rusqlite::Result<Option<Part>> {
    const PIECE: usize = 1 << 16;
    let blob = db.blob_open("main", "part", "data", columns.rowid, true)?;
    let mut buffer = vec![0; PIECE.min(blob.len())];
    let (mut digest, mut shrink) = (Sha256::new(), history::Shrink::default());
    let mut at = 0;
    while at < blob.len() {
        let piece = &mut buffer[..PIECE.min(blob.len() - at)];
        blob.read_at_exact(piece, at)?;
        at += piece.len();
        shrink.push(piece);
        if guarded {
            digest.update(&piece);
        }
    }
    let Some(Ok(mut part)) = shrink.finish().map(|short| history::part(columns.clone(), &short)) else {
        return Ok(None);
    };
    if let PartKind::Tool(call) = &part.kind
        && matches!(&call.state, ToolState::Completed { attachments, .. } if !attachments.is_empty())
    {
        // A file's facts are in its bytes.
        return Ok(None);
    }
    part.bytes = blob.len() as u64;
    part.sha256 = guarded.then(|| digest.finalize().into());
    // Of a text, every word may matter.
    Ok(Some(part).filter(|part| matches!(part.kind, PartKind::Tool(_))))
}

fn part_columns(row: &Row<'_>) -> Result<PartRow, ShapeError> {
    Ok(PartRow {
        rowid: integer(row, 0, "rowid")?,
        id: text(row, 1, "id")?.to_owned(),
        message_id: text(row, 2, "message_id")?.into(),
        session_id: text(row, 3, "session_id")?.into(),
        time_created: integer(row, 4, "time_created")?,
        time_updated: integer(row, 5, "time_updated")?,
    })
}

fn small_part(columns: PartRow, data: &str, guarded: bool) -> Result<Part, ShapeError> {
    let mut part = history::part(columns, data)?;
    part.sha256 = guarded.then(|| crate::repair::sha256(data));
    Ok(part)
}
