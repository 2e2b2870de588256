//! Reading rows: typed where they can be understood, named where they cannot.

use std::cell::{OnceCell, RefCell};
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::rc::Rc;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row};
use sha2::{Digest, Sha256};

use super::{Schema, StoreError, Sweep, blob};
use crate::history::{
    self, Depth, Message, MessageRow, ModelRef, Part, PartKind, Role, Session, SessionInfo, ToolState, UnreadableRow,
};
use crate::json::{self, ShapeError};
use crate::repair::undo::Now;
use crate::repair::{Cell, Image, Rows, hex, sha256};

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
    /// How many messages there are, once they were counted.
    messages: OnceCell<u64>,
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
        Self { db, path, schema, bytes, again: None, utf8: OnceCell::new(), messages: OnceCell::new() }
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

    /// How many messages there are.
    pub(super) fn messages(&self) -> Result<u64, StoreError> {
        if let Some(known) = self.messages.get() {
            return Ok(*known);
        }
        let counted = self.count("message")?;
        Ok(*self.messages.get_or_init(|| counted))
    }

    fn count(&self, table: &str) -> Result<u64, StoreError> {
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
            messages: self.messages()?,
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
        self.load_with(info, None, None)
    }

    /// The same for whoever writes: a part that hangs on nothing is a row that nobody understands.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub fn load_all(&self, info: &SessionInfo) -> Result<Loaded, StoreError> {
        let mut loaded = self.load(info)?;
        loaded.unreadable.extend(self.strays_of(info)?);
        Ok(loaded)
    }

    /// The same with a digest of all its rows but those that `rest` leaves out.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub fn load_guarded(&self, info: &SessionInfo, rest: &mut Rest<'_>) -> Result<Loaded, StoreError> {
        let mut loaded = self.load_with(info, Some(rest), None)?;
        loaded.unreadable.extend(self.strays_of(info)?);
        Ok(loaded)
    }

    /// The same, sharing every message that is as it is in `like`.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub fn load_again(&self, like: &Session, rest: &mut Rest<'_>) -> Result<Loaded, StoreError> {
        let mut loaded = self.load_with(&like.info, Some(rest), Some(like))?;
        loaded.unreadable.extend(self.strays_of(&like.info)?);
        Ok(loaded)
    }

    fn load_with(
        &self,
        info: &SessionInfo,
        mut rest: Option<&mut Rest<'_>>,
        like: Option<&Session>,
    ) -> Result<Loaded, StoreError> {
        let mut unreadable = Vec::new();
        let mut shared = Shared::default();
        let known: HashMap<&str, &Rc<Message>> =
            like.into_iter().flat_map(|l| &l.messages).map(|m| (m.id(), m)).collect();
        let utf8 = self.is_utf8()?;
        let mut slots: Vec<Slot<'_>> = Vec::new();
        let query = format!("{MESSAGE} WHERE session_id = ?1");
        let mut statement = self.db.prepare_cached(&query).map_err(|e| self.sql(e))?;
        let mut rows = statement.query([&info.id]).map_err(|e| self.sql(e))?;
        while let Some(row) = rows.next().map_err(|e| self.sql(e))? {
            match read_message(self.db, row, utf8).map_err(|e| self.sql(e))? {
                Ok(mut message) => {
                    if let Some(rest) =
                        rest.as_deref_mut().filter(|rest| !rest.but.contains(&("message", message.id())))
                    {
                        rest.add(self.db, "message", row, utf8).map_err(|e| self.sql(e))?;
                    }
                    shared.share(&mut message);
                    slots.push(match known.get(message.id()) {
                        Some(like) if same_row(like, &message) => Slot::Like(like, 0),
                        _ => Slot::Own(Rc::new(message)),
                    });
                }
                Err(error) => unreadable.push(bad_row("message", row, Some(&info.id), &error)),
            }
        }
        drop(rows);
        slots.sort_by(|a, b| a.id().cmp(b.id()));
        let query = format!("{PART} JOIN message ON message.id = part.message_id WHERE message.session_id = ?1");
        let mut statement = self.db.prepare_cached(&query).map_err(|e| self.sql(e))?;
        let mut rows = statement.query([&info.id]).map_err(|e| self.sql(e))?;
        let mut at = 0;
        while let Some(row) = rows.next().map_err(|e| self.sql(e))? {
            match part_row(self.db, row, utf8).map_err(|e| self.sql(e))? {
                Ok(part) => {
                    if let Some(rest) = rest.as_deref_mut().filter(|rest| !rest.but.contains(&("part", part.id()))) {
                        rest.add(self.db, "part", row, utf8).map_err(|e| self.sql(e))?;
                    }
                    let Ok(message) = text(row, 2, "message_id") else { continue };
                    // The parts of a message come one after the other, more often than not.
                    if slots.get(at).is_none_or(|slot| slot.id() != message) {
                        // A part whose message could not be read makes its session unreadable already.
                        let Ok(found) = slots.binary_search_by(|slot| slot.id().cmp(message)) else { continue };
                        if let Some(slot) = slots.get_mut(at) {
                            slot.fit();
                        }
                        at = found;
                    }
                    self.make_room(slots[at].own_parts(), message)?;
                    slots[at].add(part);
                }
                Err(error) => unreadable.push(bad_row("part", row, Some(&info.id), &error)),
            }
        }
        drop(rows);
        let mut messages = Vec::with_capacity(slots.len());
        for slot in slots {
            messages.push(match slot {
                Slot::Own(message) => message,
                Slot::Like(like, met) if met == like.parts.len() => Rc::clone(like),
                Slot::Like(like, _) => {
                    let mut own = Message { parts: Vec::new(), ..Message::clone(like) };
                    unreadable.extend(self.read_parts(&mut own)?);
                    Rc::new(own)
                }
            });
        }
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
        let mut shared = Shared::default();
        let utf8 = self.is_utf8()?;
        let query = format!("{MESSAGE} WHERE session_id = ?1");
        let mut statement = self.db.prepare_cached(&query).map_err(|e| self.sql(e))?;
        let mut rows = statement.query([&info.id]).map_err(|e| self.sql(e))?;
        while let Some(row) = rows.next().map_err(|e| self.sql(e))? {
            match read_message(self.db, row, utf8).map_err(|e| self.sql(e))? {
                Ok(mut message) => {
                    shared.share(&mut message);
                    let no_tools = sweep.no_tools(message.id());
                    message.depth = Depth::unread(no_tools);
                    messages.push(Rc::new(message));
                }
                Err(error) => unreadable.push(bad_row("message", row, Some(&info.id), &error)),
            }
        }
        drop(rows);
        let refused = |m: &Message| m.assistant().and_then(|a| a.error.as_deref()).is_some_and(|e| e.refusal.is_some());
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
        while let Some(row) = rows.next().map_err(|e| self.sql(e))? {
            match part_row(self.db, row, utf8).map_err(|e| self.sql(e))? {
                Ok(part) => {
                    self.make_room(Some(&mut message.parts), &message.row.id)?;
                    message.parts.push(part);
                }
                Err(error) => unreadable.push(bad_row("part", row, Some(&message.row.session_id), &error)),
            }
        }
        message.parts.sort_by(|a, b| a.id.cmp(&b.id));
        message.depth = Depth::Whole;
        Ok(unreadable)
    }

    /// Makes room for all parts of a message that has a great many: to make more of it again and again leaves holes.
    fn make_room(&self, parts: Option<&mut Vec<Part>>, message: &str) -> Result<(), StoreError> {
        const MANY: usize = 1 << 10;
        if let Some(parts) = parts.filter(|parts| parts.len() == MANY) {
            let mut statement =
                self.db.prepare_cached("SELECT count(*) FROM part WHERE message_id = ?1").map_err(|e| self.sql(e))?;
            let all: i64 = statement.query_row([message], |row| row.get(0)).map_err(|e| self.sql(e))?;
            parts.reserve_exact(usize::try_from(all).unwrap_or(0).saturating_sub(MANY));
        }
        Ok(())
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
                && let Ok(part) = part_row(self.db, row, utf8).map_err(|e| self.sql(e))?
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

    /// The JSON of a message.
    ///
    /// # Errors
    /// When SQLite cannot read it.
    pub fn message_data(&self, id: &str) -> Result<Option<String>, StoreError> {
        let mut statement =
            self.db.prepare_cached("SELECT data FROM message WHERE id = ?1").map_err(|e| self.sql(e))?;
        statement.query_row([id], |row| row.get(0)).optional().map_err(|e| self.sql(e))
    }

    /// A row of `message` or `part` by its primary key, its JSON by size and hash; `None` where there is none.
    ///
    /// # Errors
    /// When SQLite cannot read it, or a value is of another type than such a row's.
    pub fn image(&self, table: &str, id: &str) -> Result<Option<Image>, StoreError> {
        let (query, owner) = if table == "part" { (PART, 3) } else { (MESSAGE, 2) };
        let mut statement =
            self.db.prepare_cached(&format!("{query} WHERE {table}.id = ?1")).map_err(|e| self.sql(e))?;
        let mut rows = statement.query([id]).map_err(|e| self.sql(e))?;
        let Some(row) = rows.next().map_err(|e| self.sql(e))? else { return Ok(None) };
        let damaged = |detail: String| StoreError::Corrupt { path: self.path.to_path_buf(), detail };
        let odd = |e: ShapeError| damaged(format!("{table} {id}: {e}"));
        if text(row, 1, "id").map_err(odd)? != id {
            return Err(damaged(format!("the index of `{table}` and its rows do not agree about {id}")));
        }
        let utf8 = self.is_utf8()?;
        let (bytes, sha256) = content(self.db, table, row, utf8).map_err(|e| self.sql(e))?.map_err(odd)?;
        let mut image = Image::new();
        let mut set = |name: &str, cell: Cell| image.insert(name.to_owned(), cell);
        let texts = ["id", "message_id", "session_id"];
        let texts = texts.into_iter().filter(|name| table == "part" || *name != "message_id");
        for (at, name) in (1..).zip(texts) {
            set(name, Cell::Text(text(row, at, name).map_err(odd)?.to_owned()));
        }
        for (at, name) in [(0, "rowid"), (owner + 1, "time_created"), (owner + 2, "time_updated")] {
            set(name, Cell::Int(integer(row, at, name).map_err(odd)?));
        }
        set("data", Cell::Kept { bytes, sha256: hex(&sha256) });
        Ok(Some(image))
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

/// Longest string of such a part that is kept as it is, in bytes.
const LONGEST: usize = 16 << 10;

/// A message's row, its value null where it is a text that is read piece by piece.
pub(super) const MESSAGE: &str = "SELECT rowid, id, session_id, time_created, time_updated, \
     CASE WHEN octet_length(data) <= 1048576 OR typeof(data) <> 'text' THEN data END, octet_length(data) FROM message";

/// A part's row, its value null where it is a text that is read piece by piece.
pub(super) const PART: &str = "SELECT part.rowid, part.id, part.message_id, part.session_id, part.time_created, \
     part.time_updated, CASE WHEN octet_length(part.data) <= 1048576 OR typeof(part.data) <> 'text' THEN part.data END, \
     octet_length(part.data) FROM part";

/// The column of a row of [`MESSAGE`] or [`PART`] that holds its JSON; its size stands in the next.
fn data_column(table: &str) -> usize {
    if table == "part" { 6 } else { 5 }
}

/// Whether the value of a row of [`MESSAGE`] or [`PART`] was left out, for it is large.
fn is_large(row: &Row<'_>, data: usize) -> rusqlite::Result<bool> {
    Ok(row.get_ref(data)? == ValueRef::Null && row.get::<_, Option<i64>>(data + 1)?.is_some_and(|bytes| bytes > LARGE))
}

/// The JSON of a row of [`MESSAGE`] or [`PART`], read whole where it was left out.
fn whole<T>(
    db: &Connection,
    table: &str,
    row: &Row<'_>,
    read: impl FnOnce(&str) -> Result<T, ShapeError>,
) -> rusqlite::Result<Result<T, ShapeError>> {
    let data = data_column(table);
    if !is_large(row, data)? {
        return Ok(text(row, data, "data").and_then(read));
    }
    let mut statement = db.prepare_cached(&format!("SELECT data FROM {table} WHERE rowid = ?1"))?;
    let mut rows = statement.query([row.get::<_, i64>(0)?])?;
    let Some(row) = rows.next()? else { return Ok(Err(ShapeError("it is gone".to_owned()))) };
    Ok(text(row, 0, "data").and_then(read))
}

/// Size and SHA-256 of the JSON of a row of [`MESSAGE`] or [`PART`].
fn content(
    db: &Connection,
    table: &str,
    row: &Row<'_>,
    utf8: bool,
) -> rusqlite::Result<Result<(u64, [u8; 32]), ShapeError>> {
    if !utf8 || !is_large(row, data_column(table))? {
        return whole(db, table, row, |data| Ok((data.len() as u64, sha256(data))));
    }
    let value = db.blob_open("main", table, "data", row.get(0)?, true)?;
    let mut digest = Sha256::new();
    blob::pieces(&value, |piece| digest.update(piece))?;
    Ok(Ok((value.len() as u64, digest.finalize().into())))
}

/// A digest of all rows of a session but for some: what a repair must leave as it is. It does not go by the order in which
/// the rows come.
#[derive(Debug)]
pub struct Rest<'a> {
    /// Table and id of the rows that are left out.
    but: HashSet<(&'a str, &'a str)>,
    found: RowsDigest,
}

/// A digest of rows, whatever their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RowsDigest {
    rows: u64,
    /// The sum of the SHA-256 of each.
    sum: [u64; 4],
}

impl<'a> Rest<'a> {
    /// Of all rows but these, each by its table and id.
    pub fn but(rows: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        Self { but: rows.collect(), found: RowsDigest::default() }
    }

    /// What was found once a session was read.
    #[must_use]
    pub fn found(&self) -> RowsDigest {
        self.found
    }

    /// Takes in a row of [`MESSAGE`] or [`PART`].
    fn add(&mut self, db: &Connection, table: &str, row: &Row<'_>, utf8: bool) -> rusqlite::Result<()> {
        let mut digest = Sha256::new();
        digest.update(table);
        for at in 0..data_column(table) {
            match row.get_ref(at)? {
                ValueRef::Integer(n) => digest.update(n.to_be_bytes()),
                ValueRef::Text(text) => {
                    digest.update((text.len() as u64).to_be_bytes());
                    digest.update(text);
                }
                // A row that was understood has no other.
                _ => digest.update([0]),
            }
        }
        if let Ok((bytes, sha256)) = content(db, table, row, utf8)? {
            digest.update(bytes.to_be_bytes());
            digest.update(sha256);
        }
        self.found.rows += 1;
        for (sum, bytes) in self.found.sum.iter_mut().zip(digest.finalize().chunks_exact(8)) {
            *sum = sum.wrapping_add(bytes.iter().fold(0, |n, byte| n << 8 | u64::from(*byte)));
        }
        Ok(())
    }
}

/// A message on its way from the store.
enum Slot<'a> {
    Own(Rc<Message>),
    /// One whose row is that of a message at hand, and how many of that one's parts were met.
    Like(&'a Rc<Message>, usize),
}

impl Slot<'_> {
    fn id(&self) -> &str {
        match self {
            Self::Own(message) => message.id(),
            Self::Like(like, _) => like.id(),
        }
    }

    /// Its parts so far, where they are its own.
    fn own_parts(&mut self) -> Option<&mut Vec<Part>> {
        match self {
            Self::Own(message) => Rc::get_mut(message).map(|message| &mut message.parts),
            Self::Like(..) => None,
        }
    }

    /// Gives back the room that no part has taken.
    fn fit(&mut self) {
        self.own_parts().into_iter().for_each(Vec::shrink_to_fit);
    }

    fn add(&mut self, part: Part) {
        match self {
            Self::Own(message) => Rc::make_mut(message).parts.push(part),
            Self::Like(like, met) => {
                let at = like.parts.binary_search_by(|known| known.id.cmp(&part.id));
                let same = at.is_ok_and(|at| like.parts[at] == part);
                // Ids are unique, so as many as there are means all of them.
                *met = if same { met.saturating_add(1) } else { usize::MAX };
            }
        }
    }
}

/// Whether two messages are the same, parts aside.
fn same_row(a: &Message, b: &Message) -> bool {
    a.row == b.row && a.created.to_bits() == b.created.to_bits() && a.role == b.role && a.changed == b.changed
}

/// Strings and models that many rows of a session have in common, each held once.
#[derive(Default)]
struct Shared {
    strings: HashSet<Rc<str>>,
    models: HashSet<Rc<ModelRef>>,
}

impl Shared {
    fn string(&mut self, own: &mut Rc<str>) {
        match self.strings.get(own) {
            Some(known) => own.clone_from(known),
            None => {
                self.strings.insert(own.clone());
            }
        }
    }

    fn model(&mut self, own: &mut Rc<ModelRef>) {
        match self.models.get(own) {
            Some(known) => own.clone_from(known),
            None => {
                self.models.insert(own.clone());
            }
        }
    }

    fn share(&mut self, message: &mut Message) {
        self.string(&mut message.row.session_id);
        match &mut message.role {
            Role::User(user) => {
                user.agent.iter_mut().for_each(|own| self.string(own));
                user.model.iter_mut().for_each(|own| self.model(own));
            }
            Role::Assistant(a) => {
                let strings = [&mut a.parent_id, &mut a.agent, &mut a.finish];
                strings.into_iter().flatten().for_each(|own| self.string(own));
                self.model(&mut a.model);
            }
        }
    }
}

/// The rows of a store for a plan or an undo. What goes wrong first is kept, for these have no room for it.
#[derive(Debug)]
pub struct StoredRows<'a> {
    store: &'a Store<'a>,
    error: RefCell<Option<StoreError>>,
}

impl<'a> StoredRows<'a> {
    /// The rows of the store.
    #[must_use]
    pub fn new(store: &'a Store<'a>) -> Self {
        Self { store, error: RefCell::new(None) }
    }

    fn keep<T: Default>(&self, result: Result<T, StoreError>) -> T {
        result.unwrap_or_else(|e| {
            self.error.borrow_mut().get_or_insert(e);
            T::default()
        })
    }

    /// What went wrong.
    ///
    /// # Errors
    /// The first row that could not be read: what was planned counts for nothing then.
    pub fn done(self) -> Result<(), StoreError> {
        self.error.into_inner().map_or(Ok(()), Err)
    }
}

impl Now for StoredRows<'_> {
    fn row(&self, table: &str, id: &str) -> Option<Image> {
        let rowid = self.keep(self.store.rowid(table, id))?;
        self.keep(self.store.row(table, rowid))
    }

    fn taken(&self, table: &str, rowid: i64) -> bool {
        self.keep(self.store.row(table, rowid)).is_some()
    }

    fn named_since(&self, session: &str, seq: i64, text: &str) -> bool {
        self.keep(self.store.named_since(session, seq, text))
    }
}

impl Rows for StoredRows<'_> {
    fn message(&self, id: &str) -> Option<String> {
        self.keep(self.store.message_data(id))
    }

    fn part(&self, id: &str) -> Option<String> {
        self.keep(self.store.part_data(id))
    }

    fn image(&self, table: &str, id: &str) -> Option<Image> {
        self.keep(self.store.image(table, id))
    }
}

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

fn message_columns(row: &Row<'_>) -> Result<MessageRow, ShapeError> {
    Ok(MessageRow {
        rowid: integer(row, 0, "rowid")?,
        id: text(row, 1, "id")?.to_owned(),
        session_id: text(row, 2, "session_id")?.into(),
        time_created: integer(row, 3, "time_created")?,
        time_updated: integer(row, 4, "time_updated")?,
    })
}

/// A row of [`MESSAGE`]: `Err` within where it cannot be understood.
pub(super) fn read_message(
    db: &Connection,
    row: &Row<'_>,
    utf8: bool,
) -> rusqlite::Result<Result<Message, ShapeError>> {
    let columns = match message_columns(row) {
        Ok(columns) => columns,
        Err(error) => return Ok(Err(error)),
    };
    if utf8
        && is_large(row, 5)?
        && let Some(message) = large_message(db, &columns)?
    {
        return Ok(Ok(message));
    }
    whole(db, "message", row, |data| history::message(columns, data))
}

/// A large row of a user, read piece by piece; `None` where the row is another one, or odd, and has to be read whole.
fn large_message(db: &Connection, columns: &MessageRow) -> rusqlite::Result<Option<Message>> {
    let value = db.blob_open("main", "message", "data", columns.rowid, true)?;
    Ok(history::large_user(columns.clone(), value))
}

/// A row of [`PART`]: `Err` within where it cannot be understood.
pub(super) fn part_row(db: &Connection, row: &Row<'_>, utf8: bool) -> rusqlite::Result<Result<Part, ShapeError>> {
    let (id, time_created) = match part_columns(row) {
        Ok(columns) => columns,
        Err(error) => return Ok(Err(error)),
    };
    if utf8
        && is_large(row, 6)?
        && let Some(part) = large_part(db, row.get(0)?, id, time_created)?
    {
        return Ok(Ok(part));
    }
    whole(db, "part", row, |data| history::part(id, time_created, data))
}

/// A large tool call, read piece by piece; `None` where the part is another one, or odd.
fn large_part(db: &Connection, rowid: i64, id: &str, time_created: i64) -> rusqlite::Result<Option<Part>> {
    let mut value = db.blob_open("main", "part", "data", rowid, true)?;
    let short = json::shortened(&mut value, LONGEST).map_err(blob::error_of)?;
    let Some(Ok(mut part)) = short.map(|short| history::part(id, time_created, &short)) else {
        return Ok(None);
    };
    if let PartKind::Tool(call) = &part.kind
        && matches!(&call.state, ToolState::Completed { attachments, .. } if !attachments.is_empty())
    {
        // A file's facts are in its bytes.
        return Ok(None);
    }
    part.bytes = value.len() as u64;
    // Of a text, every word may matter.
    Ok(Some(part).filter(|part| matches!(part.kind, PartKind::Tool(_))))
}

/// Id and time of a part, once all its columns were found to be of their types.
fn part_columns<'r>(row: &'r Row<'_>) -> Result<(&'r str, i64), ShapeError> {
    integer(row, 0, "rowid")?;
    let id = text(row, 1, "id")?;
    text(row, 2, "message_id")?;
    text(row, 3, "session_id")?;
    let time_created = integer(row, 4, "time_created")?;
    integer(row, 5, "time_updated")?;
    Ok((id, time_created))
}
