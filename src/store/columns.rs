//! Columns of a row that SQLite gives, checked for their types.

use rusqlite::Row;
use rusqlite::types::ValueRef;

use crate::history::{MessageRow, Names, SessionInfo, UnreadableRow, revert};
use crate::json::ShapeError;

pub(super) fn text<'r>(row: &'r Row<'_>, at: usize, name: &str) -> Result<&'r str, ShapeError> {
    match row.get_ref(at) {
        Ok(value) => text_of(value, name),
        Err(_) => Err(ShapeError(format!("`{name}` could not be read"))),
    }
}

/// The text that a column's value is.
pub(super) fn text_of<'r>(value: ValueRef<'r>, name: &str) -> Result<&'r str, ShapeError> {
    match value {
        ValueRef::Text(bytes) => {
            std::str::from_utf8(bytes).map_err(|_| ShapeError(format!("`{name}` is not valid UTF-8")))
        }
        other => Err(ShapeError(format!("`{name}` is {}, expected text", kind(other)))),
    }
}

pub(super) fn optional_text<'r>(row: &'r Row<'_>, at: usize, name: &str) -> Result<Option<&'r str>, ShapeError> {
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

/// The type of a value, in words.
pub(super) fn kind(value: ValueRef<'_>) -> &'static str {
    match value {
        ValueRef::Null => "null",
        ValueRef::Integer(_) => "an integer",
        ValueRef::Real(_) => "a real number",
        ValueRef::Text(_) => "text",
        ValueRef::Blob(_) => "a blob",
    }
}

/// A row that cannot be understood, for a report. Its columns begin with rowid and id.
pub(super) fn bad_row(table: &'static str, row: &Row<'_>, session: Option<&str>, error: &ShapeError) -> UnreadableRow {
    UnreadableRow { table, id: name_of(row), session_id: session.map(str::to_owned), detail: error.to_string() }
}

/// The row's id for a report: the rowid where the id itself is not text.
fn name_of(row: &Row<'_>) -> String {
    text(row, 1, "id").map_or_else(|_| format!("rowid {}", integer(row, 0, "rowid").unwrap_or(-1)), str::to_owned)
}

/// A row of `session`: rowid, id, parent_id, title, directory, version, revert, time_created, time_updated.
pub(super) fn session_info(row: &Row<'_>) -> Result<SessionInfo, ShapeError> {
    Ok(SessionInfo {
        id: text(row, 1, "id")?.to_owned(),
        parent_id: optional_text(row, 2, "parent_id")?.map(str::to_owned),
        title: text(row, 3, "title")?.to_owned(),
        directory: text(row, 4, "directory")?.to_owned(),
        version: text(row, 5, "version")?.to_owned(),
        revert: revert(optional_text(row, 6, "revert")?)?,
        time_created: integer(row, 7, "time_created")?,
        time_updated: integer(row, 8, "time_updated")?,
    })
}

/// The columns of a message: rowid, id, session_id, time_created, time_updated.
pub(super) fn message_row(row: &Row<'_>, names: &mut Names) -> Result<MessageRow, ShapeError> {
    Ok(MessageRow {
        rowid: integer(row, 0, "rowid")?,
        id: text(row, 1, "id")?.to_owned(),
        session_id: names.string(text(row, 2, "session_id")?),
        time_created: integer(row, 3, "time_created")?,
        time_updated: integer(row, 4, "time_updated")?,
    })
}

/// How the parts of a session are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// By the session that each part names. That is how they lie in the file, and what opencode writes; a part may name
    /// another session than its message does all the same.
    Session,
    /// By their messages, as opencode reads them.
    Messages,
}

/// What is asked for of a part's columns.
#[derive(Debug, Clone, Copy)]
pub(super) struct PartColumns<'r> {
    pub(super) id: &'r str,
    pub(super) message: &'r str,
    pub(super) time_created: i64,
}

/// A part's columns, of rowid, id, message_id, session_id, time_created, time_updated.
pub(super) fn part_columns<'r>(row: &'r Row<'_>, by: By) -> Result<PartColumns<'r>, ShapeError> {
    let (id, message) = (text(row, 1, "id")?, text(row, 2, "message_id")?);
    // What is found by its session names it.
    if by == By::Messages {
        text(row, 3, "session_id")?;
    }
    let time_created = integer(row, 4, "time_created")?;
    integer(row, 5, "time_updated")?;
    Ok(PartColumns { id, message, time_created })
}
