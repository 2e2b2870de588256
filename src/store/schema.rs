//! The gate: only a store whose tables have the form that was measured is read or written (docs/opencode.md §2, §16).
//! It holds opencode 1's, opencode 2's, or both.
//!
//! opencode 1's tables beyond docs/opencode.md §2. Indexes from 1.2.27 on:
//! `message_session_time_created_id_idx(session_id, time_created, id)`, `part_message_id_id_idx(message_id, id)`,
//! `part_session_idx(session_id)`; the first 1.2 releases have `message_session_idx(session_id)` and
//! `part_message_idx(message_id)` for the first two. `session` gains columns, and their order changes: in the fixtures
//! `path`, `agent`, `model` from 1.14.34 on, `cost`, `tokens_*` (filled) from 1.15.3 on, `metadata` from 1.15.13
//! on. Migrations: `__drizzle_migrations` up to 1.15.13, `migration` from 1.17.11 on. `session_message` (from 1.14.34 on)
//! records switches of agent and model (fixtures: 101 rows in 1.14.48, 44 in 1.15.3, 14 in 1.15.13, 43 in 1.17.11, else none).

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::Connection;

use super::form::{check_table, column_names};
use super::v2::{self, Newer};
use crate::error::{Error, ErrorCode, Result};

/// Columns that are read or written, with their declared type.
const REQUIRED: [(&str, &[(&str, &str)]); 3] = [
    (
        "session",
        &[
            ("id", "TEXT"),
            ("directory", "TEXT"),
            ("title", "TEXT"),
            ("version", "TEXT"),
            ("time_created", "INTEGER"),
            ("time_updated", "INTEGER"),
        ],
    ),
    (
        "message",
        &[
            ("id", "TEXT"),
            ("session_id", "TEXT"),
            ("time_created", "INTEGER"),
            ("time_updated", "INTEGER"),
            ("data", "TEXT"),
        ],
    ),
    (
        "part",
        &[
            ("id", "TEXT"),
            ("message_id", "TEXT"),
            ("session_id", "TEXT"),
            ("time_created", "INTEGER"),
            ("time_updated", "INTEGER"),
            ("data", "TEXT"),
        ],
    ),
];

/// Tables that older or newer versions lack, with the columns that matter where they are there.
const OPTIONAL: [(&str, &[(&str, &str)]); 3] = [
    ("event", &[("id", "TEXT"), ("aggregate_id", "TEXT"), ("seq", "INTEGER"), ("type", "TEXT"), ("data", "TEXT")]),
    ("event_sequence", &[("aggregate_id", "TEXT"), ("seq", "INTEGER")]),
    ("session_message", &[("id", "TEXT"), ("session_id", "TEXT")]),
];

/// What of the optional things this store has.
#[derive(Debug, Clone, Default)]
pub struct Schema {
    /// opencode 1's tables are there.
    v1: bool,
    pub(super) newer: Option<Newer>,
    columns: BTreeMap<String, Vec<String>>,
}

impl Schema {
    /// Whether opencode 1's tables are there.
    #[must_use]
    pub fn has_v1(&self) -> bool {
        self.v1
    }

    /// Whether the table is there.
    #[must_use]
    pub fn has_table(&self, table: &str) -> bool {
        self.columns.contains_key(table)
    }

    /// Whether the column is there.
    #[must_use]
    pub fn has(&self, table: &str, column: &str) -> bool {
        self.columns.get(table).is_some_and(|c| c.iter().any(|name| name == column))
    }

    /// The columns of a table in their order; empty where it is missing.
    #[must_use]
    pub fn columns(&self, table: &str) -> &[String] {
        self.columns.get(table).map_or(&[], Vec::as_slice)
    }

    /// Reads and checks the schema.
    ///
    /// # Errors
    /// [`ErrorCode::NotOpencode`] when a table is missing, [`ErrorCode::UnknownSchema`] when one has another
    /// form: a view, a trigger, a generated or missing or differently typed column, no rowid, texts that are not UTF-8.
    pub fn check(db: &Connection, path: &Path) -> Result<Self> {
        let mut schema = Self::default();
        let unknown = Error::unknown_schema;
        // opencode never sets the encoding (read in 1.2.1 to 1.18.34), so its stores are UTF-8. What is compared byte by
        // byte here would not hold for another.
        let encoding: String = db.query_row("PRAGMA encoding", [], |row| row.get(0))?;
        if encoding != "UTF-8" {
            return Err(unknown(format!("its texts are {encoding}, expected UTF-8")));
        }
        let mut objects = BTreeMap::new();
        // Something would be done whenever a project is written: none is, then.
        let mut watched = false;
        let mut statement = db.prepare("SELECT type, name, tbl_name FROM sqlite_schema WHERE type <> 'index'")?;
        let rows = statement
            .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?)))?;
        for row in rows {
            let (kind, name, table) = row?;
            let guarded = REQUIRED.iter().chain(&OPTIONAL).any(|(t, _)| t.eq_ignore_ascii_case(&table));
            if kind == "trigger" && table.eq_ignore_ascii_case("project") {
                watched = true;
            }
            if kind == "trigger" && guarded {
                return Err(unknown(format!("there is a trigger `{name}` on table `{table}`")));
            }
            objects.insert(name, kind);
        }
        let missing: Vec<_> = REQUIRED.iter().map(|(t, _)| *t).filter(|t| !objects.contains_key(*t)).collect();
        schema.v1 = missing.is_empty();
        schema.newer = v2::find(db, &objects)?;
        if !schema.v1 && schema.newer.is_none() {
            let message = format!(
                "{} is a SQLite database, but not an opencode store: no table {}",
                path.display(),
                missing.join(", ")
            );
            return Err(Error::new(ErrorCode::NotOpencode, message));
        }
        for (table, columns) in REQUIRED.iter().chain(&OPTIONAL).filter(|_| schema.v1) {
            let Some(kind) = objects.get(*table) else {
                continue;
            };
            if kind != "table" {
                return Err(unknown(format!("`{table}` is a {kind}, not a table")));
            }
            schema.columns.insert((*table).to_owned(), check_table(db, table, columns)?);
        }
        if schema.newer.as_ref().is_some_and(Newer::has_messages) {
            schema.columns.insert("session_message".to_owned(), column_names(db, "session_message")?);
        }
        // What a session names.
        for table in ["project", "workspace"].into_iter().filter(|table| schema.v1 && !(watched && *table == "project"))
        {
            if objects.get(table).is_some_and(|kind| kind == "table") {
                schema.columns.insert(table.to_owned(), column_names(db, table)?);
            }
        }
        for (table, key) in [("__drizzle_migrations", "name"), ("migration", "id")] {
            if objects.get(table).is_some_and(|kind| kind == "table")
                && column_names(db, table)?.iter().any(|c| c == key)
            {
                schema.columns.insert(table.to_owned(), vec![key.to_owned()]);
            }
        }
        Ok(schema)
    }
}
