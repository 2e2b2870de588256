//! Rows as opencode decodes them: every column of `session`, and the whole JSON of messages and parts.

use rusqlite::types::ValueRef;

use super::Store;
use super::columns::{optional_text, text};
use crate::decoding::{self, StoredRow, Value};
use crate::error::Result;
use crate::json::ShapeError;
use crate::plain::SessionRow;
use crate::rows::{Row, Table};

/// JSON of a column of `session` beyond this size is looked at only where everything is, in bytes.
const SHORT: usize = 3_900;

/// The columns of `session` that name a row of another table, with that table.
const NAMING: [(&str, &str); 2] = [("project_id", "project"), ("workspace_id", "workspace")];

/// A row of `session`.
#[derive(Debug)]
pub struct SessionColumns<'r> {
    values: Vec<(&'static str, Value<'r>)>,
    /// The columns that name a row which is not there.
    pub lost: Vec<&'static str>,
}

impl<'r> SessionColumns<'r> {
    /// A column's value; `None` where the store has no such column.
    #[must_use]
    pub fn get(&self, column: &str) -> Option<Value<'r>> {
        self.values.iter().find(|(name, _)| *name == column).map(|(_, value)| *value)
    }
}

impl Store<'_> {
    /// What `tell` makes of a session's row; `None` where it is gone. Without `whole`, long JSON is taken for NULL.
    ///
    /// # Errors
    /// When SQLite cannot read it.
    pub fn session_columns<T>(
        &self,
        id: &str,
        whole: bool,
        tell: impl FnOnce(&SessionColumns<'_>) -> T,
    ) -> Result<Option<T>> {
        let schema = self.schema();
        let names: Vec<&'static str> = decoding::columns().filter(|name| schema.has("session", name)).collect();
        let naming: Vec<&(&str, &str)> =
            NAMING.iter().filter(|(column, table)| names.contains(column) && schema.has(table, "id")).collect();
        let column = |name: &&str| match whole {
            true => (*name).to_owned(),
            false => format!("CASE WHEN typeof({name}) <> 'text' OR octet_length({name}) <= {SHORT} THEN {name} END"),
        };
        let lost = |(column, table): &&(&str, &str)| {
            format!("{column} IS NOT NULL AND NOT EXISTS (SELECT 1 FROM {table} WHERE {table}.id = session.{column})")
        };
        let columns: Vec<String> = names.iter().map(column).chain(naming.iter().map(lost)).collect();
        if columns.is_empty() {
            return Ok(None);
        }
        let mut statement = self.cached(&format!("SELECT {} FROM session WHERE id = ?1", columns.join(", ")))?;
        Self::first(&mut statement, [id], |row| {
            let mut out = SessionColumns { values: Vec::with_capacity(names.len()), lost: Vec::new() };
            for (at, name) in names.iter().enumerate() {
                let value = match row.get_ref(at)? {
                    ValueRef::Null => Value::Null,
                    ValueRef::Integer(number) => Value::Integer(number),
                    ValueRef::Real(number) => Value::Real(number),
                    // Neither is a text that opencode reads as one.
                    ValueRef::Blob(_) => Value::Real(f64::NAN),
                    ValueRef::Text(_) => text(row, at, name).map_or(Value::Real(f64::NAN), Value::Text),
                };
                out.values.push((name, value));
            }
            for (at, (column, _)) in (names.len()..).zip(naming) {
                out.lost.extend(row.get::<_, bool>(at)?.then_some(*column));
            }
            Ok(tell(&out))
        })
    }

    /// A session's row, as far as other rows are told by it, and the root of its project; `None` where there is none, or its
    /// columns are not what they are taken for. Titles and times are left out.
    ///
    /// # Errors
    /// When SQLite cannot read it.
    pub fn session_row(&self, id: &str) -> Result<Option<(SessionRow, Option<String>)>> {
        if !self.schema().has("session", "project_id") {
            return Ok(None);
        }
        let query = match self.schema().has("project", "worktree") {
            true => SESSION_AND_PROJECT,
            false => SESSION,
        };
        let mut statement = self.cached(query)?;
        let row = Self::first(&mut statement, [id], |row| {
            let columns = || -> std::result::Result<_, ShapeError> {
                let (directory, project_id) = (text(row, 0, "directory")?, text(row, 1, "project_id")?);
                let own = SessionRow {
                    id: id.to_owned(),
                    directory: directory.to_owned(),
                    project_id: project_id.to_owned(),
                    ..SessionRow::default()
                };
                Ok((own, optional_text(row, 2, "worktree")?.map(str::to_owned)))
            };
            Ok(columns().ok())
        })?;
        Ok(row.flatten())
    }

    /// The events of a session that name a part, whole, in their order.
    ///
    /// # Errors
    /// When SQLite cannot read it.
    pub fn events_of_part(&self, session: &str, part: &str) -> Result<Vec<Row>> {
        let mut statement = self.cached(EVENTS)?;
        let mut rows = statement.query([session, part])?;
        let mut out = Vec::new();
        while let Some(row) = rows.next()? {
            out.extend(self.row(Table::Event, row.get(0)?)?);
        }
        Ok(out)
    }

    /// Gives a row of `message` or `part` to `each`, its JSON whole; not where it is gone, or is no text.
    ///
    /// # Errors
    /// When SQLite cannot read it.
    pub fn stored_row(&self, table: Table, id: &str, each: &mut dyn FnMut(StoredRow<'_>)) -> Result<()> {
        match table {
            Table::Part => self.stored(decoding::Table::Part, PART, id, each),
            _ => self.stored(decoding::Table::Message, MESSAGE, id, each),
        }
    }

    /// Gives every row of a session to `each`, messages first, their JSON whole. Rows that are no text are left out.
    ///
    /// # Errors
    /// When SQLite cannot read it.
    pub fn stored_rows_of(&self, session: &str, each: &mut dyn FnMut(StoredRow<'_>)) -> Result<()> {
        self.stored(decoding::Table::Message, MESSAGES, session, each)?;
        self.stored(decoding::Table::Part, PARTS, session, each)
    }

    fn stored(
        &self,
        table: decoding::Table,
        query: &str,
        key: &str,
        each: &mut dyn FnMut(StoredRow<'_>),
    ) -> Result<()> {
        let mut statement = self.cached(query)?;
        let mut rows = statement.query([key])?;
        while let Some(row) = rows.next()? {
            if let (Ok(id), Ok(message), Ok(data)) =
                (text(row, 0, "id"), text(row, 1, "message_id"), text(row, 2, "data"))
            {
                each(StoredRow { table, id, message, data });
            }
        }
        Ok(())
    }
}

const SESSION: &str = "SELECT directory, project_id, NULL FROM session WHERE id = ?1";
const SESSION_AND_PROJECT: &str = "SELECT s.directory, s.project_id, p.worktree FROM session s \
     LEFT JOIN project p ON p.id = s.project_id WHERE s.id = ?1";
const EVENTS: &str = "SELECT rowid FROM event WHERE aggregate_id = ?1 AND instr(data, ?2) > 0 ORDER BY seq";
const MESSAGE: &str = "SELECT id, id, data FROM message WHERE id = ?1";
const MESSAGES: &str = "SELECT id, id, data FROM message WHERE session_id = ?1 ORDER BY time_created, id";
const PART: &str = "SELECT id, message_id, data FROM part WHERE id = ?1";
const PARTS: &str = "SELECT p.id, p.message_id, p.data FROM part p JOIN message m ON m.id = p.message_id \
     WHERE m.session_id = ?1 ORDER BY m.time_created, m.id, p.id";
