//! opencode 1's rows as opencode 2's import looks at them.

use rusqlite::types::ValueRef;

use super::Store;
use super::blob::{self, Starts};
use super::columns::{integer, optional_text, text};
use super::value::LARGE;
use crate::error::Result;
use crate::json::shortened;
use crate::opencode2::import::NEEDED;
use crate::opencode2::import::stored::{ImportMessage, ImportPart, ImportSession};

/// Parts up to this size are looked at whole, in bytes: they are on their rows' pages. Of larger ones only files without
/// base64 can stop the import; any other is taken to decode.
const ON_PAGE: i64 = blob::ON_PAGE;
const LONGEST: usize = 1 << 12;

impl Store<'_> {
    /// A session of opencode 1 as the import sees it; `None` where its row is gone. Rows that are not text are left out:
    /// a scan names them.
    ///
    /// # Errors
    /// When SQLite cannot read it.
    pub fn import_session(&self, id: &str) -> Result<Option<ImportSession>> {
        let has = |name: &str| self.schema().has("session", name);
        let optional = |name: &&str| if has(name) { (*name).to_owned() } else { format!("NULL AS {name}") };
        let documents = ["metadata", "permission", "summary_diffs"];
        let columns = ["model", "revert"].iter().chain(&documents).map(optional);
        let needed: Vec<&'static str> = NEEDED.into_iter().filter(|name| has(name)).collect();
        let null = needed.iter().map(|name| format!("{name} IS NULL"));
        let columns: Vec<String> = columns.chain(null).collect();
        let query = format!("SELECT directory, {} FROM session WHERE id = ?1", columns.join(", "));
        let mut statement = self.cached(&query)?;
        let read = |row: &rusqlite::Row<'_>| {
            let own = |at, name| optional_text(row, at, name).ok().flatten().map(str::to_owned);
            let mut session = ImportSession { id: id.to_owned(), ..ImportSession::default() };
            session.directory = own(0, "directory").unwrap_or_default();
            (session.model, session.revert) = (own(1, "model"), own(2, "revert"));
            for (at, name) in (3..).zip(documents) {
                session.documents.extend(own(at, name).map(|text| (name, text)));
            }
            for (at, name) in (6..).zip(&needed) {
                session.null.extend(row.get::<_, bool>(at)?.then_some(*name));
            }
            Ok(session)
        };
        let Some(mut session) = Self::first(&mut statement, [id], read)? else { return Ok(None) };
        session.messages = self.import_messages(id)?;
        session.parts = self.import_parts(id)?;
        Ok(Some(session))
    }

    fn import_messages(&self, session: &str) -> Result<Vec<ImportMessage>> {
        let query = format!(
            "SELECT rowid, id, time_created, CASE WHEN octet_length(data) <= {LARGE} THEN data END FROM message \
             WHERE session_id = ?1"
        );
        let mut statement = self.cached(&query)?;
        let mut rows = statement.query([session])?;
        let mut out = Vec::new();
        while let Some(row) = rows.next()? {
            let (Ok(id), Ok(time_created)) = (text(row, 1, "id"), integer(row, 2, "time_created")) else { continue };
            let data = match row.get_ref(3)? {
                ValueRef::Null => {
                    let value = self.db.blob_open("main", "message", "data", row.get(0)?, true)?;
                    shortened(value, LONGEST).map_err(blob::error_of)?.unwrap_or_default()
                }
                _ => match text(row, 3, "data") {
                    Ok(data) => data.to_owned(),
                    Err(_) => continue,
                },
            };
            out.push(ImportMessage { id: id.to_owned(), time_created, data });
        }
        Ok(out)
    }

    fn import_parts(&self, session: &str) -> Result<Vec<ImportPart>> {
        let query = format!(
            "SELECT rowid, id, message_id, CASE WHEN octet_length(data) <= {ON_PAGE} THEN data END FROM part \
             WHERE session_id = ?1"
        );
        let mut statement = self.cached(&query)?;
        let mut rows = statement.query([session])?;
        let mut starts = Starts::new(self.db, "part");
        let mut out = Vec::new();
        while let Some(row) = rows.next()? {
            let (Ok(id), Ok(message)) = (text(row, 1, "id"), text(row, 2, "message_id")) else { continue };
            let data = match row.get_ref(3)? {
                ValueRef::Null => {
                    let rowid: i64 = row.get(0)?;
                    if !is_plain_file(starts.of(rowid)?.0) {
                        continue;
                    }
                    let mut whole = self.cached("SELECT data FROM part WHERE rowid = ?1")?;
                    match Self::first(&mut whole, [rowid], |row| Ok(text(row, 0, "data").ok().map(str::to_owned)))? {
                        Some(Some(data)) => data,
                        _ => continue,
                    }
                }
                _ => match text(row, 3, "data") {
                    Ok(data) => data.to_owned(),
                    Err(_) => continue,
                },
            };
            out.push(ImportPart { id: id.to_owned(), message: message.to_owned(), data });
        }
        Ok(out)
    }
}

/// Whether the start of a part's JSON may be that of a file whose `data:` URL is not base64.
fn is_plain_file(start: &[u8]) -> bool {
    let holds = |wanted: &[u8]| memchr::memmem::find(start, wanted).is_some();
    holds(b"\"type\":\"file\"") && !holds(b";base64,")
}
