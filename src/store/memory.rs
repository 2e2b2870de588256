//! Rows that come from elsewhere than a store, as a store in memory: what reads a store reads them the same way.

use std::path::Path;
use std::sync::Mutex;

use rusqlite::{Connection, params};

use super::open::harden;
use super::{Schema, Store};
use crate::error::Result;
use crate::plain::{MessageRow, SessionRow};

const TABLES: &str = "CREATE TABLE session (id TEXT PRIMARY KEY, project_id TEXT, parent_id TEXT, directory TEXT, path TEXT, \
         title TEXT, version TEXT, revert TEXT, time_created INTEGER, time_updated INTEGER); \
     CREATE TABLE message (id TEXT PRIMARY KEY, session_id TEXT, time_created INTEGER, time_updated INTEGER, data TEXT); \
     CREATE INDEX message_session ON message (session_id, time_created, id); \
     CREATE TABLE part (id TEXT PRIMARY KEY, message_id TEXT, session_id TEXT, time_created INTEGER, time_updated INTEGER, \
         data TEXT); \
     CREATE INDEX part_message ON part (message_id, id); CREATE INDEX part_session ON part (session_id)";
const SESSION: &str = "INSERT INTO session VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
const MESSAGE: &str = "INSERT INTO message VALUES (?1, ?2, ?3, ?3, ?4)";
const PART: &str = "INSERT INTO part VALUES (?1, ?2, ?3, ?4, ?4, ?5)";

/// Gives `read` a store in memory that holds one session of opencode 1. `path` and `bytes` are those of the file that the
/// rows come from.
///
/// # Errors
/// Where two rows have one id; what `read` says.
pub fn with_rows<T>(
    (path, bytes): (&Path, u64),
    session: &SessionRow,
    messages: &[MessageRow],
    read: impl FnOnce(&Store<'_>) -> Result<T>,
) -> Result<T> {
    let mut db = Connection::open_in_memory()?;
    harden(&mut db)?;
    db.execute_batch(TABLES)?;
    let SessionRow { id, project_id, parent_id, directory, path: within, title, version, revert, .. } = session;
    let times = (session.time_created, session.time_updated);
    let row = params![id, project_id, parent_id, directory, within, title, version, revert, times.0, times.1];
    db.execute(SESSION, row)?;
    for message in messages {
        db.prepare_cached(MESSAGE)?.execute(params![message.id, id, message.time_created, message.data])?;
        for part in &message.parts {
            db.prepare_cached(PART)?.execute(params![part.id, message.id, id, part.time_created, part.data])?;
        }
    }
    let schema = Schema::check(&db, path)?;
    let none = Mutex::default();
    read(&Store::new(&db, path, &schema, bytes, &none))
}
