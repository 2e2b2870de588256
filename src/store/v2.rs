//! Sessions of opencode 2: `session_v2`, or `session` in a store of the preview, with `session_message` and what waits
//! (docs/opencode.md §16).
//!
//! - `session_v2` (read; `session` in the preview): opencode 1's columns and `agent`, `model` (JSON), `time_suspended`;
//!   released programs also `resume_attempts`, `time_idle`, `fork_boundary`
//! - `session_message`: `id`, `session_id`, `type`, `seq`, `time_created`, `time_updated`, `data` (JSON without id and
//!   type); `(session_id, seq)` is unique
//! - `session_inbox` (read; `session_pending` in the preview): waiting prompts: `type`, `payload` or `data`, `delivery`
//!   (`steer`, `queue`), `enqueued_seq` or `admitted_seq`
//! - `event_sequence`: the last number given out for a session. A row's `seq` is that of the event that made it, so
//!   there are gaps; if that of an added row is above it, the next event collides.
//! - `kv`: under `migration.v1-v2` how far the import has come (read)
//!
//! Without a level: measured on the preview and read in 2.0.26.

use std::borrow::Cow;
use std::collections::BTreeMap;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row};
use sha2::{Digest as _, Sha256};

use super::Store;
use super::blob;
use super::columns::{bad_row, integer, optional_text, text};
use super::form::{check_table, column_names};
use super::load::{Touched, UntouchedDigest};
use crate::error::{ErrorCode, Result};
use crate::history::{SessionInfo, UnreadableRow};
use crate::json::{ShapeError, shortened};
use crate::opencode2::generation::{Generation, PREVIEW, RELEASED};
use crate::opencode2::stored::{StoredMessage, StoredRows, StoredSession, StoredWaiting};
use crate::rows::Table;

/// Values beyond this size are read piece by piece with their long strings cut short, in bytes.
const LARGE: i64 = 1 << 20;
/// Prompts are read whole up to this size, in bytes: whether a file is base64 shows at its end.
const LARGE_PROMPT: i64 = 64 << 20;
/// What is left of a long string, in bytes: a multiple of 4, so that base64 stays base64.
const LONGEST: usize = 1 << 14;

const SESSION: [(&str, &str); 4] =
    [("id", "TEXT"), ("directory", "TEXT"), ("time_created", "INTEGER"), ("time_updated", "INTEGER")];
const MESSAGE: [(&str, &str); 6] = [
    ("id", "TEXT"),
    ("session_id", "TEXT"),
    ("type", "TEXT"),
    ("seq", "INTEGER"),
    ("time_created", "INTEGER"),
    ("data", "TEXT"),
];

/// What of opencode 2 a store has.
#[derive(Debug, Clone)]
pub struct Newer {
    /// Whose tables they are.
    pub generation: &'static Generation,
    /// The table of the sessions.
    table: &'static str,
    /// The columns of that table.
    columns: Vec<String>,
    /// The table holds opencode 1's sessions too.
    shared: bool,
    /// The query for what waits in a session.
    waiting: Option<&'static str>,
    /// Why the sessions cannot be read.
    sessions_lack: Option<String>,
    /// Why the messages cannot be read.
    messages_lack: Option<String>,
}

const INBOX: &str = "SELECT rowid, id, type, payload, delivery, enqueued_seq FROM session_inbox WHERE session_id = ?1";
const PENDING: &str = "SELECT rowid, id, type, data, delivery, admitted_seq FROM session_pending WHERE session_id = ?1";

/// Looks for the tables of opencode 2. `objects` are the names of the schema with their kinds. A table that is missing or
/// has another form is no error: it is said of each session.
///
/// # Errors
/// When SQLite cannot read the schema.
pub(super) fn find(db: &Connection, objects: &BTreeMap<String, String>) -> Result<Option<Newer>> {
    let is_table = |name: &str| objects.get(name).is_some_and(|kind| kind == "table");
    let preview = || -> Result<bool> {
        Ok(is_table("session")
            && is_table("session_message")
            && column_names(db, "session")?.iter().any(|c| c == "time_suspended"))
    };
    let (table, generation) = if objects.contains_key("session_v2") {
        ("session_v2", &RELEASED)
    } else if preview()? {
        ("session", &PREVIEW)
    } else {
        return Ok(None);
    };
    let form = |table: &str, wanted: &[(&str, &str)]| -> Result<Result<Vec<String>, String>> {
        if !is_table(table) {
            return Ok(Err(format!("there is no table `{table}`")));
        }
        match check_table(db, table, wanted) {
            Ok(columns) => Ok(Ok(columns)),
            Err(error) if error.code() == ErrorCode::UnknownSchema => Ok(Err(error.to_string())),
            Err(error) => Err(error),
        }
    };
    let has = |table: &str, names: [&str; 2]| -> Result<bool> {
        let columns = if is_table(table) { column_names(db, table)? } else { Vec::new() };
        Ok(names.iter().chain(&["id", "session_id", "type", "delivery"]).all(|n| columns.iter().any(|c| c == n)))
    };
    let waiting = if has("session_inbox", ["payload", "enqueued_seq"])? {
        Some(INBOX)
    } else {
        has("session_pending", ["data", "admitted_seq"])?.then_some(PENDING)
    };
    let sessions = form(table, &SESSION)?;
    let messages_lack = form("session_message", &MESSAGE)?.err();
    let sessions_lack = sessions.as_ref().err().cloned();
    let shared = table == "session" && is_table("message") && messages_lack.is_none();
    let columns = sessions.unwrap_or_default();
    Ok(Some(Newer { generation, table, columns, shared, waiting, sessions_lack, messages_lack }))
}

/// The columns of `session_message` (measured on the preview, read in 2.0.26).
const COLUMNS: [&str; 7] = ["id", "session_id", "type", "seq", "time_created", "time_updated", "data"];

impl Newer {
    /// Whether the messages can be read.
    pub(super) fn has_messages(&self) -> bool {
        self.messages_lack.is_none()
    }

    /// Of the preview's `session`: opencode 1's sessions.
    pub(super) fn others(&self) -> &'static str {
        if self.shared { "WHERE EXISTS (SELECT 1 FROM message WHERE session_id = session.id)" } else { "" }
    }

    /// Of the preview's `session`, which holds opencode 1's sessions too: those of opencode 2.
    fn own(&self) -> &'static str {
        if self.shared {
            "(NOT EXISTS (SELECT 1 FROM message WHERE session_id = session.id) \
             OR EXISTS (SELECT 1 FROM session_message WHERE session_id = session.id))"
        } else {
            "TRUE"
        }
    }
}

/// How far the import of opencode 1's sessions has come, as `kv` tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportState {
    /// The value under `migration.v1-v2`.
    pub value: String,
    /// When it was written, in ms since the epoch.
    pub time_updated: i64,
}

impl Store<'_> {
    /// Whose tables of opencode 2 the store has.
    #[must_use]
    pub fn generation(&self) -> Option<&'static Generation> {
        self.schema().newer.as_ref().map(|newer| newer.generation)
    }

    /// The number of sessions and of messages of opencode 2.
    ///
    /// # Errors
    /// When SQLite cannot read it.
    pub(super) fn newer_counts(&self) -> Result<(u64, u64)> {
        let Some(newer) = &self.schema().newer else { return Ok((0, 0)) };
        let count = |query: String| -> Result<u64> {
            Ok(self.db.query_row(&query, [], |row| row.get::<_, i64>(0))?.unsigned_abs())
        };
        let (table, guard) = (newer.table, newer.own());
        let sessions = match newer.sessions_lack {
            None => count(format!("SELECT count(*) FROM {table} WHERE {guard}"))?,
            Some(_) => 0,
        };
        let messages = match newer.messages_lack {
            None => count("SELECT count(*) FROM session_message".to_owned())?,
            Some(_) => 0,
        };
        Ok((sessions, messages))
    }

    /// The sessions of opencode 2, newest first, and rows of them that cannot be read.
    ///
    /// # Errors
    /// When SQLite cannot read it.
    pub fn newer_sessions(&self) -> Result<(Vec<StoredSession>, Vec<UnreadableRow>)> {
        self.newer_sessions_of(None)
    }

    /// The sessions of opencode 2, or the one with an id.
    fn newer_sessions_of(&self, id: Option<&str>) -> Result<(Vec<StoredSession>, Vec<UnreadableRow>)> {
        let Some(newer) = &self.schema().newer else { return Ok(Default::default()) };
        if let Some(why) = &newer.sessions_lack {
            let row = UnreadableRow { table: newer.table, id: String::new(), session_id: None, detail: why.clone() };
            return Ok((Vec::new(), vec![row]));
        }
        let names = [
            "parent_id",
            "title",
            "version",
            "model",
            "revert",
            "metadata",
            "permission",
            "summary_diffs",
            "time_suspended",
            "resume_attempts",
        ];
        let optional = names.map(|name| match newer.columns.iter().any(|c| c == name) {
            true => name.to_owned(),
            false => format!("NULL AS {name}"),
        });
        let (columns, table, guard) = (optional.join(", "), newer.table, newer.own());
        let guard = [if id.is_some() { "id = ?1" } else { "?1 IS NULL" }, guard].join(" AND ");
        let query = format!(
            "SELECT rowid, id, directory, time_created, time_updated, {columns} FROM {table} WHERE {guard} \
             ORDER BY time_updated DESC, id"
        );
        let (mut out, mut unreadable) = (Vec::new(), Vec::new());
        let mut statement = self.cached(&query)?;
        let mut rows = statement.query([id])?;
        while let Some(row) = rows.next()? {
            match stored_session(row) {
                Ok(session) => out.push(session),
                Err(error) => unreadable.push(bad_row(newer.table, row, text(row, 1, "id").ok(), &error)),
            }
        }
        Ok((out, unreadable))
    }

    /// The rows of a session of opencode 2.
    ///
    /// # Errors
    /// When SQLite cannot read it.
    pub fn newer_rows(&self, session: &str) -> Result<StoredRows> {
        let mut out = StoredRows::default();
        let Some(newer) = &self.schema().newer else { return Ok(out) };
        if let Some(why) = &newer.messages_lack {
            let (id, session_id) = (session.to_owned(), Some(session.to_owned()));
            out.unreadable.push(UnreadableRow { table: "session_message", id, session_id, detail: why.clone() });
            return Ok(out);
        }
        let query = format!(
            "SELECT rowid, id, type, seq, time_created, \
             CASE WHEN typeof(data) <> 'text' OR octet_length(data) <= {LARGE} THEN data END, octet_length(data) \
             FROM session_message WHERE session_id = ?1 ORDER BY seq, id"
        );
        let mut statement = self.cached(&query)?;
        let mut rows = statement.query([session])?;
        let mut last = None;
        while let Some(row) = rows.next()? {
            let read = self.newer_message(row)?.and_then(|message| match last.replace(message.seq) {
                Some(seq) if seq == message.seq => Err(ShapeError("its `seq` is that of another row".to_owned())),
                _ => Ok(message),
            });
            match read {
                Ok(message) => out.messages.push(message),
                Err(error) => out.unreadable.push(bad_row("session_message", row, Some(session), &error)),
            }
        }
        if let Some(query) = newer.waiting {
            let table = if query == INBOX { "session_inbox" } else { "session_pending" };
            let mut statement = self.cached(query)?;
            let mut rows = statement.query([session])?;
            while let Some(row) = rows.next()? {
                match stored_waiting(row) {
                    Ok(waiting) => out.waiting.push(waiting),
                    Err(error) => out.unreadable.push(bad_row(table, row, Some(session), &error)),
                }
            }
        }
        Ok(out)
    }

    fn newer_message(&self, row: &Row<'_>) -> Result<std::result::Result<StoredMessage, ShapeError>> {
        let columns = || -> std::result::Result<(i64, StoredMessage), ShapeError> {
            let message = StoredMessage {
                id: text(row, 1, "id")?.to_owned(),
                kind: text(row, 2, "type")?.to_owned(),
                seq: integer(row, 3, "seq")?,
                time_created: integer(row, 4, "time_created")?,
                data: String::new(),
            };
            Ok((integer(row, 0, "rowid")?, message))
        };
        let (rowid, mut message) = match columns() {
            Ok(columns) => columns,
            Err(error) => return Ok(Err(error)),
        };
        let bytes = match (row.get_ref(5)?, row.get::<_, Option<i64>>(6)?) {
            (ValueRef::Null, Some(bytes)) => bytes,
            _ => {
                return Ok(text(row, 5, "data").map(|data| {
                    data.clone_into(&mut message.data);
                    message
                }));
            }
        };
        if message.kind == "user" && bytes <= LARGE_PROMPT {
            let mut statement = self.cached("SELECT data FROM session_message WHERE rowid = ?1")?;
            let data = Self::first(&mut statement, [rowid], |row| Ok(text(row, 0, "data").map(str::to_owned)))?;
            return Ok(data.unwrap_or_else(|| Err(ShapeError("it is gone".to_owned()))).map(|data| {
                message.data = data;
                message
            }));
        }
        let value = self.db.blob_open("main", "session_message", "data", rowid, true)?;
        // What is no JSON stays so: an empty text does not decode either.
        message.data = shortened(value, LONGEST).map_err(blob::error_of)?.unwrap_or_default();
        Ok(Ok(message))
    }

    /// The row of one session of opencode 2; `None` where there is none that can be understood.
    ///
    /// # Errors
    /// When SQLite cannot read it.
    pub fn newer_session(&self, id: &str) -> Result<Option<StoredSession>> {
        Ok(self.newer_sessions_of(Some(id))?.0.pop())
    }

    /// A column of `session_message` that was never seen: no repair is made of rows of such a table.
    #[must_use]
    pub fn newer_unknown_column(&self) -> Option<&str> {
        let mut columns = self.schema().columns("session_message").iter().map(String::as_str);
        columns.find(|name| !COLUMNS.contains(name))
    }

    /// A digest of the messages of a session of opencode 2 but for those that are `touched`.
    ///
    /// # Errors
    /// When SQLite cannot read it.
    pub fn newer_untouched(&self, session: &str, touched: &Touched<'_>) -> Result<UntouchedDigest> {
        let mut out = UntouchedDigest::default();
        if !self.schema().newer.as_ref().is_some_and(Newer::has_messages) {
            return Ok(out);
        }
        let mut statement = self.cached("SELECT id, rowid, * FROM session_message WHERE session_id = ?1")?;
        let columns = statement.column_count();
        let mut rows = statement.query([session])?;
        while let Some(row) = rows.next()? {
            if text(row, 0, "id").is_ok_and(|id| touched.contains(&(Table::SessionMessage, id))) {
                continue;
            }
            let mut digest = Sha256::new();
            for at in 1..columns {
                add_value(&mut digest, row.get_ref(at)?);
            }
            out.add_row(digest);
        }
        Ok(out)
    }

    /// Messages of opencode 2 whose session is not there.
    ///
    /// # Errors
    /// When SQLite cannot read it.
    pub fn newer_strays(&self) -> Result<Vec<UnreadableRow>> {
        let Some(newer) = &self.schema().newer else { return Ok(Vec::new()) };
        if newer.sessions_lack.is_some() || newer.messages_lack.is_some() {
            return Ok(Vec::new());
        }
        let table = newer.table;
        let query = format!(
            "SELECT rowid, id, session_id FROM session_message AS m \
             WHERE NOT EXISTS (SELECT 1 FROM {table} WHERE id = m.session_id)"
        );
        let mut statement = self.db.prepare(&query)?;
        let mut rows = statement.query([])?;
        let mut out = Vec::new();
        while let Some(row) = rows.next()? {
            let error = ShapeError("its session does not exist".to_owned());
            out.push(bad_row("session_message", row, text(row, 2, "session_id").ok(), &error));
        }
        Ok(out)
    }

    /// How far the import of opencode 1's sessions has come; `None` where the store does not tell.
    ///
    /// # Errors
    /// When SQLite cannot read it.
    pub fn import_state(&self) -> Result<Option<ImportState>> {
        let Ok(mut statement) = self.db.prepare("SELECT value, time_updated FROM kv WHERE key = 'migration.v1-v2'")
        else {
            return Ok(None);
        };
        let read = |row: &Row<'_>| Ok((row.get::<_, String>(0).ok(), row.get::<_, i64>(1).ok()));
        let found = statement.query_row([], read).optional()?;
        Ok(found.and_then(|(value, time)| Some(ImportState { value: value?, time_updated: time.unwrap_or_default() })))
    }
}

fn stored_session(row: &Row<'_>) -> std::result::Result<StoredSession, ShapeError> {
    let own = |at: usize, name: &str| optional_text(row, at, name).map(|text| text.map(str::to_owned));
    let mut documents = Vec::new();
    for (at, name) in [(10, "metadata"), (11, "permission"), (12, "summary_diffs")] {
        documents.extend(own(at, name)?.map(|text| (name, text)));
    }
    let number = |at: usize, name: &str| match row.get_ref(at) {
        Ok(ValueRef::Null) => Ok(None),
        _ => integer(row, at, name).map(Some),
    };
    Ok(StoredSession {
        info: SessionInfo {
            id: text(row, 1, "id")?.to_owned(),
            parent_id: own(5, "parent_id")?,
            title: own(6, "title")?.unwrap_or_default(),
            directory: text(row, 2, "directory")?.to_owned(),
            version: own(7, "version")?.unwrap_or_default(),
            revert: None,
            time_created: integer(row, 3, "time_created")?,
            time_updated: integer(row, 4, "time_updated")?,
        },
        model: own(8, "model")?,
        revert: own(9, "revert")?,
        documents,
        time_suspended: number(13, "time_suspended")?,
        resume_attempts: number(14, "resume_attempts")?.unwrap_or_default(),
    })
}

/// A value with its type and size, so that no two rows read alike.
fn add_value(digest: &mut Sha256, value: ValueRef<'_>) {
    let (kind, bytes): (u8, Cow<'_, [u8]>) = match value {
        ValueRef::Null => (0, Cow::Borrowed(&[])),
        ValueRef::Integer(n) => (1, Cow::Owned(n.to_be_bytes().to_vec())),
        ValueRef::Real(n) => (2, Cow::Owned(n.to_be_bytes().to_vec())),
        ValueRef::Text(bytes) => (3, Cow::Borrowed(bytes)),
        ValueRef::Blob(bytes) => (4, Cow::Borrowed(bytes)),
    };
    digest.update([kind]);
    digest.update((bytes.len() as u64).to_be_bytes());
    digest.update(bytes);
}

fn stored_waiting(row: &Row<'_>) -> std::result::Result<StoredWaiting, ShapeError> {
    Ok(StoredWaiting {
        id: text(row, 1, "id")?.to_owned(),
        kind: text(row, 2, "type")?.to_owned(),
        data: text(row, 3, "data")?.to_owned(),
        delivery: optional_text(row, 4, "delivery")?.map(str::to_owned),
        seq: integer(row, 5, "seq")?,
    })
}
