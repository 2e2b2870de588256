//! The `data` of a row of `message` or `part`, at as little cost as its size asks: a small value stands on its row's page
//! and is read with it; of a larger one the start is read first; a very large one is read piece by piece.
//!
//! SQL functions read a chain of overflow pages to its end even for the first few characters (measured: `substr`), so only
//! the length is asked for, and the rest is incremental blob I/O.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};
use sha2::{Digest, Sha256};

use super::blob::{self, ON_PAGE, Starts};
use super::columns::{By, PartColumns, message_row, part_columns, text, text_of};
use crate::decoding::{self, breaks};
use crate::error::Result;
use crate::history::{self, Behind, Depth, Head, MessageRow, Names, Part, Role};
use crate::json::{Object, Room, ShapeError};
use crate::opencode2::import::Examination;
use crate::rows::{Table, sha256};

/// Values beyond this size are read piece by piece, in bytes.
pub(super) const LARGE: i64 = history::LARGE as i64;

/// A message's columns: rowid, id, session_id, time_created, time_updated, its JSON where that is on the row's own page, its
/// size. A large blob is empty.
pub(super) const MESSAGE: &str = "SELECT rowid, id, session_id, time_created, time_updated, \
     CASE WHEN octet_length(data) <= 3900 THEN data WHEN typeof(data) = 'blob' THEN x'' \
     WHEN typeof(data) <> 'text' THEN data END, octet_length(data) FROM message";

/// A part's columns: rowid, id, message_id, session_id, time_created, time_updated, and its JSON as in [`MESSAGE`].
pub(super) const PART: &str = "SELECT part.rowid, part.id, part.message_id, part.session_id, part.time_created, \
     part.time_updated, CASE WHEN octet_length(part.data) <= 3900 THEN part.data \
     WHEN typeof(part.data) = 'blob' THEN x'' WHEN typeof(part.data) <> 'text' THEN part.data END, \
     octet_length(part.data) FROM part";

/// Reads the JSON of rows of one table.
pub(super) struct Values<'db> {
    pub(super) db: &'db Connection,
    table: Table,
    pub(super) starts: Starts<'db>,
    names: Names,
    room: Room,
    odd: bool,
}

/// What there is of a row's JSON without reading further.
pub(super) enum Seen<'r> {
    /// All of it, or what is wrong with the column.
    Whole(Result<&'r str, ShapeError>),
    /// Nothing: the value of so many bytes is elsewhere.
    Elsewhere(i64),
}

impl<'db> Values<'db> {
    pub(super) fn of(db: &'db Connection, table: Table) -> Self {
        Self {
            db,
            table,
            starts: Starts::new(db, table.into()),
            names: Names::default(),
            room: Room::default(),
            odd: false,
        }
    }

    /// Whether opencode may not be able to read the row that was read last, as far as that row was read.
    pub(super) fn odd(&self) -> bool {
        self.odd
    }

    /// The column that holds the JSON in [`MESSAGE`] or [`PART`].
    fn column(&self) -> usize {
        if self.table == Table::Part { 6 } else { 5 }
    }

    pub(super) fn seen<'r>(&self, row: &'r Row<'_>) -> rusqlite::Result<Seen<'r>> {
        let column = self.column();
        let value = row.get_ref(column)?;
        if value == ValueRef::Null
            && let Some(bytes) = row.get(column + 1)?
        {
            return Ok(Seen::Elsewhere(bytes));
        }
        Ok(Seen::Whole(text_of(value, "data")))
    }

    /// A message of a row of [`MESSAGE`]; `Err` within where it cannot be understood. `import` is shown the row.
    pub(super) fn head(&mut self, row: &Row<'_>, import: Option<&mut Examination>) -> Result<Result<Head, ShapeError>> {
        self.odd = true;
        let columns = match message_row(row, &mut self.names) {
            Ok(columns) => columns,
            Err(error) => {
                self.show_message(row, import)?;
                return Ok(Err(error));
            }
        };
        let named = columns.id.starts_with(decoding::Table::Message.prefix());
        let seen = match self.seen(row)? {
            Seen::Whole(Ok(data)) => {
                let (time, object) = (columns.time_created, Object::parse_in(data, &mut self.room));
                let head = object.as_ref().map_err(Clone::clone).and_then(|object| {
                    let broken = breaks(decoding::Table::Message, object);
                    Ok((history::head_of(columns, object, &mut self.names)?, broken))
                });
                if let Some(import) = import {
                    import.message_of(text(row, 1, "id").unwrap_or_default(), time, object.as_ref().ok());
                }
                if let Ok(object) = object {
                    object.leave(&mut self.room);
                }
                head
            }
            Seen::Whole(Err(error)) => Err(error),
            Seen::Elsewhere(bytes) => {
                self.show_message(row, import)?;
                self.head_elsewhere(columns, bytes)?.map(|mut head| {
                    self.names.share(&mut head);
                    let broken = lacks_a_name(&head);
                    (head, broken)
                })
            }
        };
        Ok(seen.map(|(head, broken)| {
            self.odd = broken || !named;
            head
        }))
    }

    fn head_elsewhere(&mut self, columns: MessageRow, bytes: i64) -> rusqlite::Result<Result<Head, ShapeError>> {
        if let Some(head) = history::head_of_start(columns.clone(), self.starts.of(columns.rowid)?.0) {
            return Ok(Ok(head));
        }
        if bytes > LARGE {
            let value = self.db.blob_open("main", "message", "data", columns.rowid, true)?;
            if let Some(head) = history::large_user(columns.clone(), value) {
                return Ok(Ok(head));
            }
        }
        let rowid = columns.rowid;
        self.whole(rowid, |data| history::head(columns, data))
    }

    /// A part of a row of [`PART`], read whole; `Err` within where it cannot be understood.
    pub(super) fn part(&mut self, row: &Row<'_>) -> rusqlite::Result<Result<Part, ShapeError>> {
        let PartColumns { id, time_created: time, .. } = match part_columns(row, By::Messages) {
            Ok(columns) => columns,
            Err(error) => return Ok(Err(error)),
        };
        match self.seen(row)? {
            Seen::Whole(data) => Ok(data.and_then(|data| history::part(id, time, data, Depth::Whole))),
            Seen::Elsewhere(bytes) => self.part_elsewhere(row.get(0)?, id, time, bytes, Depth::Whole),
        }
    }

    /// A part as far as a verdict asks: of a large one the start may do. `columns` are the row's, `exact` as in
    /// [`history::part_of_start`]; `import` is shown the row.
    pub(super) fn scanned_part(
        &mut self,
        row: &Row<'_>,
        columns: Result<PartColumns<'_>, ShapeError>,
        exact: bool,
        import: Option<&mut Examination>,
    ) -> Result<Result<Part, ShapeError>> {
        self.odd = true;
        let PartColumns { id, message, time_created: time } = match columns {
            Ok(columns) => columns,
            Err(error) => {
                self.show_part(row, import)?;
                return Ok(Err(error));
            }
        };
        let named = id.starts_with(decoding::Table::Part.prefix());
        let bytes = match self.seen(row)? {
            Seen::Whole(Ok(data)) => {
                let object = Object::parse_in(data, &mut self.room);
                let part = object.as_ref().map_err(Clone::clone).and_then(|object| {
                    let part = history::part_of(id, time, data.len() as u64, object, Depth::Scan)?;
                    self.odd = !named || breaks(decoding::Table::Part, object);
                    Ok(part)
                });
                if let Some(import) = import {
                    import.part_of(id, message, object.as_ref().ok());
                }
                if let Ok(object) = object {
                    object.leave(&mut self.room);
                }
                return Ok(part);
            }
            Seen::Whole(Err(error)) => return Ok(Err(error)),
            Seen::Elsewhere(bytes) => bytes,
        };
        // Of what stands behind the start only a deep look tells.
        self.odd = !named;
        let rowid = row.get(0)?;
        let (start, _) = self.starts.of(rowid)?;
        let begun = history::part_of_start(id, time, bytes.unsigned_abs(), start, exact);
        if begun.is_none() {
            // Of a file the start never tells enough.
            self.show_part(row, import)?;
        }
        match begun {
            Some((part, Behind::Nothing)) => return Ok(Ok(part)),
            Some((part, Behind::Names(names))) if !blob::names(self.starts.of(rowid)?.1, names)? => {
                return Ok(Ok(part));
            }
            _ => {}
        }
        let part = self.part_elsewhere(rowid, id, time, bytes, Depth::Scan)?;
        self.odd |= part.is_err();
        Ok(part)
    }

    #[expect(clippy::too_many_arguments, reason = "the columns of one row")]
    fn part_elsewhere(
        &self,
        rowid: i64,
        id: &str,
        time: i64,
        bytes: i64,
        depth: Depth,
    ) -> rusqlite::Result<Result<Part, ShapeError>> {
        if bytes > LARGE {
            let mut value = self.db.blob_open("main", "part", "data", rowid, true)?;
            let part = history::large_part(id, time, bytes.unsigned_abs(), &mut value).map_err(blob::error_of)?;
            if let Some(part) = part {
                return Ok(Ok(part));
            }
        }
        self.whole(rowid, |data| history::part(id, time, data, depth))
    }

    /// What `read` makes of the whole JSON of a row.
    pub(super) fn whole<T>(
        &self,
        rowid: i64,
        read: impl FnOnce(&str) -> Result<T, ShapeError>,
    ) -> rusqlite::Result<Result<T, ShapeError>> {
        let table = self.table;
        let mut statement = self.db.prepare_cached(&format!("SELECT data FROM {table} WHERE rowid = ?1"))?;
        let mut rows = statement.query([rowid])?;
        let Some(row) = rows.next()? else { return Ok(Err(ShapeError("it is gone".to_owned()))) };
        Ok(text(row, 0, "data").and_then(read))
    }

    /// Size in bytes and SHA-256 of the JSON of a row.
    pub(super) fn digest(&self, row: &Row<'_>) -> rusqlite::Result<Result<(u64, [u8; 32]), ShapeError>> {
        let of = |data: &str| Ok((data.len() as u64, sha256(data)));
        match self.seen(row)? {
            Seen::Whole(data) => Ok(data.and_then(of)),
            Seen::Elsewhere(bytes) if bytes <= LARGE => self.whole(row.get(0)?, of),
            Seen::Elsewhere(_) => {
                let value = self.db.blob_open("main", self.table.into(), "data", row.get(0)?, true)?;
                let mut digest = Sha256::new();
                blob::pieces(&value, |piece| digest.update(piece))?;
                Ok(Ok((value.len() as u64, digest.finalize().into())))
            }
        }
    }

    /// Adds the row to a digest of rows: its columns, and its JSON by size and hash.
    pub(super) fn add_to(&self, digest: &mut Sha256, row: &Row<'_>) -> rusqlite::Result<()> {
        digest.update(self.table.to_string());
        for at in 0..self.column() {
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
        if let Ok((bytes, sha256)) = self.digest(row)? {
            digest.update(bytes.to_be_bytes());
            digest.update(sha256);
        }
        Ok(())
    }
}

/// Whether a message lacks a name that opencode asks for.
fn lacks_a_name(head: &Head) -> bool {
    match &head.role {
        Role::User(user) => user.agent.is_none() || user.model.is_none(),
        Role::Assistant(answer) => answer.agent.is_none() || answer.parent_id.is_none(),
    }
}

const _: () = assert!(ON_PAGE == 3_900, "the size in the queries above");
