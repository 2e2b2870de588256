//! Large values, read in part or piece by piece: incremental blob I/O reads the pages that are asked for.

use memchr::memmem;
use rusqlite::Connection;
use rusqlite::blob::Blob;

/// Values up to this size are on the page that holds their row, in bytes, and are looked at whole.
pub(super) const ON_PAGE: i64 = 3_900;

/// How much of a larger value is looked at before it is read whole.
const START: usize = 512;

/// How much of a value is in memory at a time, in bytes.
const PIECE: usize = 1 << 16;

/// Reads the starts of large values of one table.
pub(super) struct Starts<'db> {
    db: &'db Connection,
    table: &'static str,
    blob: Option<Blob<'db>>,
    /// The row that was read last, whose start is still at hand.
    rowid: Option<i64>,
    buffer: [u8; START],
}

impl<'db> Starts<'db> {
    pub(super) fn new(db: &'db Connection, table: &'static str) -> Self {
        Self { db, table, blob: None, rowid: None, buffer: [0; START] }
    }

    /// The start of the row's `data`, and what reads the rest.
    pub(super) fn of(&mut self, rowid: i64) -> rusqlite::Result<(&[u8; START], &Blob<'db>)> {
        let known = self.rowid.take() == Some(rowid);
        let blob = match &mut self.blob {
            Some(blob) => {
                if !known {
                    blob.reopen(rowid)?;
                }
                blob
            }
            none => none.insert(self.db.blob_open("main", self.table, "data", rowid, true)?),
        };
        if !known {
            blob.read_at_exact(&mut self.buffer, 0)?;
        }
        self.rowid = Some(rowid);
        Ok((&self.buffer, blob))
    }
}

/// What SQLite said, where a value was read as a stream.
pub(super) fn error_of(error: std::io::Error) -> rusqlite::Error {
    error.downcast().unwrap_or_else(|other| rusqlite::Error::ToSqlConversionFailure(other.into()))
}

/// Gives the whole value piece by piece.
pub(super) fn pieces(blob: &Blob<'_>, mut each: impl FnMut(&[u8])) -> rusqlite::Result<()> {
    let mut buffer = vec![0; PIECE.min(blob.len())];
    let mut at = 0;
    while at < blob.len() {
        let piece = &mut buffer[..PIECE.min(blob.len() - at)];
        blob.read_at_exact(piece, at)?;
        at += piece.len();
        each(piece);
    }
    Ok(())
}

/// Whether the value holds one of these.
pub(super) fn holds(blob: &Blob<'_>, wanted: &[&[u8]]) -> rusqlite::Result<bool> {
    let mut buffer = vec![0; PIECE.min(blob.len())];
    let mut at = 0;
    loop {
        let piece = &mut buffer[..PIECE.min(blob.len() - at)];
        blob.read_at_exact(piece, at)?;
        if wanted.iter().any(|wanted| memmem::find(piece, wanted).is_some()) {
            return Ok(true);
        }
        if at + piece.len() >= blob.len() {
            return Ok(false);
        }
        // What is looked for may lie across two pieces.
        at += piece.len() - wanted.iter().map(|wanted| wanted.len()).max().unwrap_or(0);
    }
}

/// Whether JSON may hold a member of one of these names.
pub(super) fn names(blob: &Blob<'_>, names: &[&[u8]]) -> rusqlite::Result<bool> {
    // An escaped letter could spell it; `JSON.stringify` escapes control characters alone.
    const ESCAPED: [&[u8]; 4] = [b"\\u004", b"\\u005", b"\\u006", b"\\u007"];
    let wanted: Vec<&[u8]> = names.iter().copied().chain(ESCAPED).collect();
    holds(blob, &wanted)
}
