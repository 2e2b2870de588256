//! opencode 1's rows as opencode 2's import looks at them.

use super::Store;
use super::blob;
use super::columns::{integer, optional_text, text};
use super::value::{LARGE, MESSAGE, PART, Seen, Values};
use crate::error::Result;
use crate::json::shortened;
use crate::opencode2::import::{Columns, Examination, NEEDED};
use crate::rows::Table;

/// Of messages beyond [`LARGE`], strings longer than this are cut short, in bytes.
const LONGEST: usize = 1 << 12;

impl Store<'_> {
    /// The columns of a session that the import looks at; `None` where its row is gone.
    ///
    /// # Errors
    /// When SQLite cannot read it.
    pub fn import_columns(&self, id: &str) -> Result<Option<Columns>> {
        let has = |name: &str| self.schema().has("session", name);
        let optional = |name: &&str| if has(name) { (*name).to_owned() } else { format!("NULL AS {name}") };
        let documents = ["metadata", "permission", "summary_diffs"];
        let columns = ["model", "revert"].iter().chain(&documents).map(optional);
        let needed: Vec<&'static str> = NEEDED.into_iter().filter(|name| has(name)).collect();
        let null = needed.iter().map(|name| format!("{name} IS NULL"));
        let columns: Vec<String> = columns.chain(null).collect();
        let query = format!("SELECT directory, {} FROM session WHERE id = ?1", columns.join(", "));
        let mut statement = self.cached(&query)?;
        Self::first(&mut statement, [id], |row| {
            let own = |at, name| optional_text(row, at, name).ok().flatten().map(str::to_owned);
            let mut out = Columns { directory: own(0, "directory").unwrap_or_default(), ..Columns::default() };
            (out.model, out.revert) = (own(1, "model"), own(2, "revert"));
            for (at, name) in (3..).zip(documents) {
                out.documents.extend(own(at, name).map(|text| (name, text)));
            }
            for (at, name) in (6..).zip(&needed) {
                out.null.extend(row.get::<_, bool>(at)?.then_some(*name));
            }
            Ok(out)
        })
    }

    /// Shows the import the rows that carry a session's id.
    ///
    /// # Errors
    /// When SQLite cannot read them.
    pub fn show_rows(&self, session: &str, import: &mut Examination) -> Result<()> {
        let mut values = Values::of(self.db, Table::Message);
        let mut statement = self.cached(&format!("{MESSAGE} WHERE session_id = ?1"))?;
        let mut rows = statement.query([session])?;
        while let Some(row) = rows.next()? {
            values.show_message(row, Some(import))?;
        }
        let mut values = Values::of(self.db, Table::Part);
        let mut statement = self.cached(&format!("{PART} WHERE session_id = ?1"))?;
        let mut rows = statement.query([session])?;
        while let Some(row) = rows.next()? {
            values.show_part(row, Some(import))?;
        }
        Ok(())
    }
}

/// Rows that are not text are left out: a scan names them.
impl Values<'_> {
    /// Shows the import, if anybody asks for it, a row of [`MESSAGE`].
    pub(super) fn show_message(&mut self, row: &rusqlite::Row<'_>, import: Option<&mut Examination>) -> Result<()> {
        let Some(import) = import else { return Ok(()) };
        let (Ok(id), Ok(time)) = (text(row, 1, "id"), integer(row, 3, "time_created")) else { return Ok(()) };
        match self.seen(row)? {
            Seen::Whole(data) => {
                if let Ok(data) = data {
                    import.message(id, time, data);
                }
            }
            Seen::Elsewhere(bytes) if bytes <= LARGE => {
                let _no_text = self.whole(row.get(0)?, |data| {
                    import.message(id, time, data);
                    Ok(())
                })?;
            }
            Seen::Elsewhere(_) => {
                let value = self.db.blob_open("main", "message", "data", row.get(0)?, true)?;
                let data = shortened(value, LONGEST).map_err(blob::error_of)?.unwrap_or_default();
                import.message(id, time, &data);
            }
        }
        Ok(())
    }

    /// Shows the import, if anybody asks for it, a row of [`PART`]. Of those that are not on their row's page only files
    /// without base64 can stop it; any other is taken to decode.
    pub(super) fn show_part(&mut self, row: &rusqlite::Row<'_>, import: Option<&mut Examination>) -> Result<()> {
        let Some(import) = import else { return Ok(()) };
        let (Ok(id), Ok(message)) = (text(row, 1, "id"), text(row, 2, "message_id")) else { return Ok(()) };
        match self.seen(row)? {
            Seen::Whole(data) => {
                if let Ok(data) = data {
                    import.part(id, message, data);
                }
            }
            Seen::Elsewhere(_) => {
                let rowid = row.get(0)?;
                if is_plain_file(self.starts.of(rowid)?.0) {
                    let _no_text = self.whole(rowid, |data| {
                        import.part(id, message, data);
                        Ok(())
                    })?;
                }
            }
        }
        Ok(())
    }
}

/// Whether the start of a part's JSON may be that of a file whose `data:` URL is not base64.
fn is_plain_file(start: &[u8]) -> bool {
    let holds = |wanted: &[u8]| memchr::memmem::find(start, wanted).is_some();
    holds(b"\"type\":\"file\"") && !holds(b";base64,")
}
