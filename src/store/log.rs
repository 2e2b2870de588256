//! opencode's event log of a session. It holds every state that a row ever had, and was reported to make up nine tenths
//! of a store (docs/performance.md): of each event no more is read than it takes to tell which row it is about, but for
//! the one that has the last word on a row.

use std::io::BufReader;

use rusqlite::OptionalExtension;
use rusqlite::types::ValueRef;

use super::blob::{self, ON_PAGE, Starts};
use super::read::{LARGE, integer, text};
use super::{Store, StoreError};
use crate::history::Session;
use crate::json::{Content, Object, ShapeError, content, content_of};
use crate::repair::Cell;
use crate::repair::log::{About, Fold, Log, LogEnd};

impl Store<'_> {
    /// Whether an event of the session with a number above `seq` names the text.
    ///
    /// # Errors
    /// When SQLite cannot read it.
    pub fn named_since(&self, session: &str, seq: i64, wanted: &str) -> Result<bool, StoreError> {
        if !self.schema().has_table("event") {
            return Ok(false);
        }
        let utf8 = self.is_utf8()?;
        let query = format!(
            "SELECT rowid, octet_length(data) > {LARGE} AND typeof(data) = 'text', \
                 CASE WHEN octet_length(data) <= {LARGE} OR NOT ?4 THEN instr(data, ?3) > 0 END \
             FROM event WHERE aggregate_id = ?1 AND seq > ?2"
        );
        let mut statement = self.db.prepare_cached(&query).map_err(|e| self.sql(e))?;
        let mut rows = statement.query((session, seq, wanted, utf8)).map_err(|e| self.sql(e))?;
        while let Some(row) = rows.next().map_err(|e| self.sql(e))? {
            let named = || -> rusqlite::Result<bool> {
                match row.get::<_, Option<bool>>(2)? {
                    Some(named) => Ok(named),
                    None if row.get::<_, Option<bool>>(1)?.unwrap_or(false) => blob::holds(
                        &self.db.blob_open("main", "event", "data", row.get(0)?, true)?,
                        &[wanted.as_bytes()],
                    ),
                    None => Ok(false),
                }
            };
            if named().map_err(|e| self.sql(e))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What the session's event log says of its rows.
    ///
    /// # Errors
    /// When SQLite cannot read it.
    pub fn log(&self, session: &Session) -> Result<Log, StoreError> {
        let id = &session.info.id;
        if !self.schema().has_table("event") || !self.schema().has_table("event_sequence") {
            return Ok(Log::None);
        }
        let Some(rowid) = self.rowid("event_sequence", id)? else { return Ok(Log::None) };
        let (fold, end) = match self.fold(id)? {
            Ok((fold, Some(end))) => (fold, end),
            Ok((_, None)) => return Ok(Log::None),
            Err(why) => return Ok(Log::Differs(why)),
        };
        let (seq, last_id) = end;
        let sequence = match self.row("event_sequence", rowid) {
            Ok(Some(sequence)) => sequence,
            Ok(None) => return Ok(Log::None),
            // One odd row of one session is no reason to stop the work on all the others.
            Err(StoreError::RowChanged { detail, .. }) => return Ok(Log::Differs(format!("event_sequence: {detail}"))),
            Err(error) => return Err(error),
        };
        if sequence.get("seq") != Some(&Cell::Int(seq)) {
            return Ok(Log::Differs("event_sequence is not at the last event".to_owned()));
        }
        let other = |row: &str| Log::Differs(format!("{row} is not what its events say"));
        if let Some(row) = fold.difference(session) {
            return Ok(other(&row));
        }
        for message in &session.messages {
            let own = std::iter::once(("message", message.id(), fold.message(message.id())));
            let parts = message.parts.iter().map(|p| ("part", p.id(), fold.part(p.id())));
            for (table, id, event) in own.chain(parts) {
                match self.agree(table, id, event.unwrap_or_default())? {
                    Ok(true) => {}
                    Ok(false) => return Ok(other(id)),
                    Err(error) => return Ok(Log::Differs(format!("{id}: {error}"))),
                }
            }
        }
        Ok(Log::Folds(LogEnd { seq, last_id, sequence }))
    }

    /// The session's log, folded, with its last event's number and id; or why it cannot be.
    #[expect(clippy::type_complexity, reason = "an error of the store, one of the log, and both values")]
    fn fold(&self, session: &str) -> Result<Result<(Fold, Option<(i64, String)>), String>, StoreError> {
        let utf8 = self.is_utf8()?;
        let query = format!(
            "SELECT rowid, seq, id, type, octet_length(data), \
                 CASE WHEN octet_length(data) <= {ON_PAGE} OR NOT ?2 OR typeof(data) <> 'text' THEN data END \
             FROM event WHERE aggregate_id = ?1 ORDER BY seq"
        );
        let mut statement = self.db.prepare_cached(&query).map_err(|e| self.sql(e))?;
        let mut whole = self.db.prepare_cached("SELECT data FROM event WHERE rowid = ?1").map_err(|e| self.sql(e))?;
        let mut starts = Starts::new(self.db, "event");
        let mut fold = Fold::default();
        let mut end: Option<(i64, String)> = None;
        let mut rows = statement.query((session, utf8)).map_err(|e| self.sql(e))?;
        while let Some(row) = rows.next().map_err(|e| self.sql(e))? {
            let columns = || -> Result<(i64, i64, &str, &str), ShapeError> {
                Ok((integer(row, 0, "rowid")?, integer(row, 1, "seq")?, text(row, 2, "id")?, text(row, 3, "type")?))
            };
            let (rowid, seq, id, kind) = match columns() {
                Ok(columns) => columns,
                Err(error) => return Ok(Err(format!("an event: {error}"))),
            };
            if seq != end.as_ref().map_or(0, |(last, _)| last + 1) {
                return Ok(Err(format!("event {id} is number {seq}, out of turn")));
            }
            let large = matches!(row.get_ref(5), Ok(ValueRef::Null)) && !matches!(row.get_ref(4), Ok(ValueRef::Null));
            let start = if large { About::of_start(kind, starts.of(rowid).map_err(|e| self.sql(e))?.0) } else { None };
            let about = match start {
                Some(about) => Ok(about),
                None if large => {
                    let mut found = whole.query([rowid]).map_err(|e| self.sql(e))?;
                    let Some(row) = found.next().map_err(|e| self.sql(e))? else { continue };
                    text(row, 0, "data").and_then(|data| About::of(kind, data))
                }
                None => text(row, 5, "data").and_then(|data| About::of(kind, data)),
            };
            match about {
                Ok(about) => fold.event(&about, rowid),
                Err(error) => return Ok(Err(format!("event {id}: {error}"))),
            }
            end = Some((seq, id.to_owned()));
        }
        Ok(Ok((fold, end)))
    }

    /// Whether a row's content is that of an event, or why that cannot be told.
    fn agree(&self, table: &str, id: &str, event: i64) -> Result<Result<bool, ShapeError>, StoreError> {
        let Some(rowid) = self.rowid(table, id)? else { return Ok(Ok(false)) };
        let member = if table == "message" { "info" } else { "part" };
        let query = format!(
            "SELECT max(octet_length({table}.data), octet_length(event.data)) > {LARGE} FROM {table}, event \
             WHERE {table}.rowid = ?1 AND event.rowid = ?2"
        );
        let large: Option<bool> = self
            .db
            .prepare_cached(&query)
            .and_then(|mut statement| statement.query_row((rowid, event), |row| row.get(0)).optional())
            .map_err(|e| self.sql(e))?
            .flatten();
        if large.unwrap_or(false) && self.is_utf8()? {
            let read = |table: &str, rowid, member| -> rusqlite::Result<Result<Content, ShapeError>> {
                Ok(content_of(BufReader::new(self.db.blob_open("main", table, "data", rowid, true)?), member))
            };
            let (row, event) = (read(table, rowid, None), read("event", event, Some(member)));
            let (row, event) = (row.map_err(|e| self.sql(e))?, event.map_err(|e| self.sql(e))?);
            return Ok(row.and_then(|row| Ok(row == event?)));
        }
        let query = format!(
            "SELECT {table}.data, event.data FROM {table}, event WHERE {table}.rowid = ?1 AND event.rowid = ?2"
        );
        let mut statement = self.db.prepare_cached(&query).map_err(|e| self.sql(e))?;
        let mut rows = statement.query((rowid, event)).map_err(|e| self.sql(e))?;
        let Some(row) = rows.next().map_err(|e| self.sql(e))? else { return Ok(Ok(false)) };
        let same = || -> Result<bool, ShapeError> {
            let told = Object::parse(text(row, 1, "data")?)?;
            let told = told.some(member).ok_or_else(|| ShapeError(format!("`{member}` is missing")))?;
            Ok(content(text(row, 0, "data")?)? == content(told)?)
        };
        Ok(same())
    }
}
