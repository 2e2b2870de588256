//! Every row of a store as it is, so that what a repair may not touch can be compared.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rusqlite::Connection;
use rusqlite::types::ValueRef;

/// A value with its type; a text need not be UTF-8.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    Null,
    Int(i64),
    Real(f64),
    Text(Vec<u8>),
    Blob(Vec<u8>),
}

/// Column name to value, `rowid` among them.
pub type Row = BTreeMap<String, Cell>;

/// Table name to rows, in rowid order.
#[derive(Debug, Clone, PartialEq)]
pub struct Dump(pub BTreeMap<String, Vec<Row>>);

impl Cell {
    fn of(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Null => Self::Null,
            ValueRef::Integer(n) => Self::Int(n),
            ValueRef::Real(r) => Self::Real(r),
            ValueRef::Text(t) => Self::Text(t.to_vec()),
            ValueRef::Blob(b) => Self::Blob(b.to_vec()),
        }
    }
}

/// The row's column as text.
pub fn text<'a>(row: &'a Row, column: &str) -> &'a str {
    match &row[column] {
        Cell::Text(t) => std::str::from_utf8(t).unwrap(),
        other => panic!("{column} is {other:?}"),
    }
}

/// The row's column as an integer.
pub fn int(row: &Row, column: &str) -> i64 {
    match row[column] {
        Cell::Int(n) => n,
        ref other => panic!("{column} is {other:?}"),
    }
}

/// The tables that a repair writes: the history, and the log that tells of it.
pub const WRITTEN: [&str; 4] = ["message", "part", "event", "event_sequence"];

/// The primary key of a row of a written table.
pub fn key<'a>(table: &str, row: &'a Row) -> &'a str {
    text(row, if table == "event_sequence" { "aggregate_id" } else { "id" })
}

/// A private copy of the store as it would be recovered by whoever opens it next.
pub fn copied(db: &Path) -> (tempfile::TempDir, Connection) {
    let folder = tempfile::tempdir().unwrap();
    for suffix in ["", "-wal", "-journal"] {
        let beside =
            |base: &Path| base.with_file_name(format!("{}{suffix}", base.file_name().unwrap().to_str().unwrap()));
        let from = beside(db);
        if from.exists() {
            fs::copy(from, beside(&folder.path().join(db.file_name().unwrap()))).unwrap();
        }
    }
    let connection = Connection::open(folder.path().join(db.file_name().unwrap())).unwrap();
    (folder, connection)
}

impl Dump {
    pub fn of(db: &Path) -> Self {
        let (_folder, connection) = copied(db);
        let mut tables = BTreeMap::new();
        let mut names = connection
            .prepare("SELECT name, wr FROM pragma_table_list WHERE schema = 'main' AND type = 'table'")
            .unwrap();
        let names = names.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, bool>(1)?))).unwrap();
        for (name, without_rowid) in names.map(|n| n.unwrap()) {
            let rowid = if without_rowid { "" } else { "rowid AS rowid, " };
            let order = if without_rowid { "1" } else { "rowid" };
            let mut rows = connection.prepare(&format!("SELECT {rowid}* FROM \"{name}\" ORDER BY {order}")).unwrap();
            let columns: Vec<String> = rows.column_names().map(str::to_owned).collect();
            let mut rows = rows.query([]).unwrap();
            let mut out = Vec::new();
            while let Some(row) = rows.next().unwrap() {
                out.push(
                    columns.iter().enumerate().map(|(at, c)| (c.clone(), Cell::of(row.get_ref(at).unwrap()))).collect(),
                );
            }
            tables.insert(name, out);
        }
        Self(tables)
    }

    pub fn rows(&self, table: &str) -> &[Row] {
        &self.0[table]
    }

    /// The rows of a table that some versions lack.
    pub fn rows_if_any(&self, table: &str) -> &[Row] {
        self.0.get(table).map_or(&[], Vec::as_slice)
    }

    /// The row of a written table with that key.
    pub fn row(&self, table: &str, id: &str) -> Option<&Row> {
        self.rows(table).iter().find(|r| key(table, r) == id)
    }

    /// The JSON of the row with that id.
    pub fn data(&self, table: &str, id: &str) -> &str {
        text(self.row(table, id).unwrap_or_else(|| panic!("no {table} {id}")), "data")
    }

    /// The rows of `message` and `part` that belong to the session.
    pub fn of_session(&self, session: &str) -> Vec<&Row> {
        let of = Cell::Text(session.into());
        ["message", "part"].iter().flat_map(|t| self.rows(t)).filter(|r| r["session_id"] == of).collect()
    }

    /// The rows of `message` and `part` that belong to other sessions.
    pub fn of_others(&self, session: &str) -> Vec<&Row> {
        let of = Cell::Text(session.into());
        ["message", "part"].iter().flat_map(|t| self.rows(t)).filter(|r| r["session_id"] != of).collect()
    }

    /// The parts of the message, in the order of their ids.
    pub fn parts(&self, message: &str) -> Vec<&Row> {
        let of = Cell::Text(message.into());
        let mut out: Vec<&Row> = self.rows("part").iter().filter(|r| r["message_id"] == of).collect();
        out.sort_by_key(|r| text(r, "id"));
        out
    }

    /// The same without the tables that a repair writes.
    pub fn of_other_tables(&self) -> Self {
        let other = |table: &str| !WRITTEN.contains(&table);
        Self(self.0.iter().filter(|(t, _)| other(t)).map(|(t, r)| (t.clone(), r.clone())).collect())
    }

    /// The same without the time at which a repair was made.
    pub fn without_times_of_change(&self) -> Self {
        let mut out = self.clone();
        for table in ["message", "part"] {
            for row in out.0.get_mut(table).unwrap() {
                row.remove("time_updated");
            }
        }
        out
    }

    /// Names what differs, so that a failure can be read.
    pub fn difference(&self, other: &Self) -> Vec<String> {
        let mut out = Vec::new();
        for table in self.0.keys().chain(other.0.keys().filter(|t| !self.0.contains_key(*t))) {
            let (a, b) = (self.0.get(table), other.0.get(table));
            let only = |one: Option<&Vec<Row>>, two: Option<&Vec<Row>>, sign: &str| -> Vec<String> {
                one.into_iter()
                    .flatten()
                    .filter(|r| !two.is_some_and(|t| t.contains(r)))
                    .map(|r| format!("{sign} {table} {:?} {:?}", r.get("rowid"), r.get("id")))
                    .collect()
            };
            out.extend(only(a, b, "-"));
            out.extend(only(b, a, "+"));
        }
        out
    }
}
