//! opencode's event log of a session. It holds every state that a row ever had, and was reported to make up nine tenths
//! of a store (docs/performance.md): of each event no more is read than it takes to tell which row it is about, but for
//! the one that has the last word on a row.

use std::io::BufReader;

use rusqlite::types::ValueRef;

use super::Store;
use super::blob::{self, ON_PAGE, Starts};
use super::columns::{integer, text};
use super::value::LARGE;
use crate::error::{Error, ErrorCode, Result};
use crate::history::Session;
use crate::history::log::{About, Fold, Log, LogEnd};
use crate::json::{Content, Object, ShapeError, content, content_of};
use crate::rows::{Table, int};

/// Why a log does not fold to its rows.
enum Unfolded {
    /// The store cannot be read.
    Store(Error),
    /// It can, and this is odd.
    Differs(String),
}

impl<E: Into<Error>> From<E> for Unfolded {
    fn from(error: E) -> Self {
        Self::Store(error.into())
    }
}

fn differs<T>(why: impl Into<String>) -> Result<T, Unfolded> {
    Err(Unfolded::Differs(why.into()))
}

/// A session's log, folded, with its last event's number and id.
struct Folded {
    fold: Fold,
    end: Option<(i64, String)>,
}

impl Store<'_> {
    /// Whether an event of the session with a number above `seq` names the text.
    pub(super) fn event_names(&self, session: &str, seq: i64, wanted: &str) -> Result<bool> {
        if !self.schema().has_table("event") {
            return Ok(false);
        }
        let query = format!(
            "SELECT rowid, octet_length(data) > {LARGE} AND typeof(data) = 'text', \
                 CASE WHEN octet_length(data) <= {LARGE} THEN instr(data, ?3) > 0 END \
             FROM event WHERE aggregate_id = ?1 AND seq > ?2"
        );
        let mut statement = self.cached(&query)?;
        let mut rows = statement.query((session, seq, wanted))?;
        while let Some(row) = rows.next()? {
            let large = row.get::<_, Option<bool>>(1)?.unwrap_or(false);
            let named = match row.get::<_, Option<bool>>(2)? {
                Some(named) => named,
                None if large => {
                    let value = self.db.blob_open("main", "event", "data", row.get(0)?, true)?;
                    blob::holds(&value, &[wanted.as_bytes()])?
                }
                None => false,
            };
            if named {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What the session's event log says of its rows.
    ///
    /// # Errors
    /// When SQLite cannot read it.
    pub fn log(&self, session: &Session) -> Result<Log> {
        match self.folded(session) {
            Ok(log) => Ok(log),
            Err(Unfolded::Differs(why)) => Ok(Log::Differs(why)),
            Err(Unfolded::Store(error)) => Err(error),
        }
    }

    fn folded(&self, session: &Session) -> Result<Log, Unfolded> {
        let id = &session.info.id;
        if !self.schema().has_table("event") || !self.schema().has_table("event_sequence") {
            return Ok(Log::None);
        }
        let Some(rowid) = self.rowid(Table::EventSequence, id)? else { return Ok(Log::None) };
        let Folded { fold, end } = self.fold(id)?;
        let Some((seq, last_id)) = end else { return Ok(Log::None) };
        let sequence = match self.row(Table::EventSequence, rowid) {
            Ok(Some(sequence)) => sequence,
            Ok(None) => return Ok(Log::None),
            // One odd row of one session is no reason to stop the work on all the others.
            Err(error) if error.code() == ErrorCode::RowChanged => return differs(format!("event_sequence: {error}")),
            Err(error) => return Err(error.into()),
        };
        if int(&sequence, "seq") != Some(seq) {
            return differs("event_sequence is not at the last event");
        }
        if let Some(row) = fold.difference(session) {
            return differs(format!("{row} is not what its events say"));
        }
        for message in &session.messages {
            self.agree(Table::Message, message.id(), fold.message(message.id()))?;
            for part in &message.parts {
                self.agree(Table::Part, part.id(), fold.part(part.id()))?;
            }
        }
        Ok(Log::Folds(LogEnd { seq, last_id, sequence }))
    }

    fn fold(&self, session: &str) -> Result<Folded, Unfolded> {
        let query = format!(
            "SELECT rowid, seq, id, type, octet_length(data), \
                 CASE WHEN octet_length(data) <= {ON_PAGE} OR typeof(data) <> 'text' THEN data END \
             FROM event WHERE aggregate_id = ?1 ORDER BY seq"
        );
        let mut statement = self.cached(&query)?;
        let mut starts = Starts::new(self.db, "event");
        let mut out = Folded { fold: Fold::default(), end: None };
        let mut rows = statement.query([session])?;
        while let Some(row) = rows.next()? {
            let columns = || -> Result<(i64, i64, &str, &str), ShapeError> {
                Ok((integer(row, 0, "rowid")?, integer(row, 1, "seq")?, text(row, 2, "id")?, text(row, 3, "type")?))
            };
            let (rowid, seq, id, kind) = match columns() {
                Ok(columns) => columns,
                Err(error) => return differs(format!("an event: {error}")),
            };
            if seq != out.end.as_ref().map_or(0, |(last, _)| last + 1) {
                return differs(format!("event {id} is number {seq}, out of turn"));
            }
            let large = row.get_ref(5)? == ValueRef::Null && row.get_ref(4)? != ValueRef::Null;
            let about = if large {
                match About::of_start(kind, starts.of(rowid)?.0) {
                    Some(about) => Ok(about),
                    None => self.whole_event(rowid, kind)?,
                }
            } else {
                text(row, 5, "data").and_then(|data| About::of(kind, data))
            };
            match about {
                Ok(about) => out.fold.event(&about, rowid),
                Err(error) => return differs(format!("event {id}: {error}")),
            }
            out.end = Some((seq, id.to_owned()));
        }
        Ok(out)
    }

    fn whole_event(&self, rowid: i64, kind: &str) -> rusqlite::Result<Result<About, ShapeError>> {
        let mut statement = self.db.prepare_cached("SELECT data FROM event WHERE rowid = ?1")?;
        statement.query_row([rowid], |row| Ok(text(row, 0, "data").and_then(|data| About::of(kind, data))))
    }

    /// Checks that a row's content is that of an event.
    fn agree(&self, table: Table, id: &str, event: Option<i64>) -> Result<(), Unfolded> {
        let same = match (self.rowid(table, id)?, event) {
            (Some(rowid), Some(event)) => self.same_content(table, rowid, event)?,
            _ => Ok(false),
        };
        match same {
            Ok(true) => Ok(()),
            Ok(false) => differs(format!("{id} is not what its events say")),
            Err(error) => differs(format!("{id}: {error}")),
        }
    }

    fn same_content(&self, table: Table, rowid: i64, event: i64) -> Result<Result<bool, ShapeError>, Unfolded> {
        let member = if table == Table::Message { "info" } else { "part" };
        let query = format!(
            "SELECT max(octet_length({table}.data), octet_length(event.data)) > {LARGE} FROM {table}, event \
             WHERE {table}.rowid = ?1 AND event.rowid = ?2"
        );
        let large: Option<bool> = self.cached(&query)?.query_row((rowid, event), |row| row.get(0))?;
        if large.unwrap_or(false) {
            let read = |table: &str, rowid, member| -> rusqlite::Result<Result<Content, ShapeError>> {
                Ok(content_of(BufReader::new(self.db.blob_open("main", table, "data", rowid, true)?), member))
            };
            let (row, event) = (read(table.into(), rowid, None)?, read("event", event, Some(member))?);
            return Ok(row.and_then(|row| Ok(row == event?)));
        }
        let query = format!(
            "SELECT {table}.data, event.data FROM {table}, event WHERE {table}.rowid = ?1 AND event.rowid = ?2"
        );
        let same = self.cached(&query)?.query_row((rowid, event), |row| {
            let same = || -> Result<bool, ShapeError> {
                let told = Object::parse(text(row, 1, "data")?)?;
                let told = told.some(member).ok_or_else(|| ShapeError(format!("`{member}` is missing")))?;
                Ok(content(text(row, 0, "data")?)? == content(told)?)
            };
            Ok(same())
        })?;
        Ok(same)
    }
}
