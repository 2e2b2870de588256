//! The form of a table: its columns, with their types and its key.

use rusqlite::Connection;

use crate::error::{Error, Result};

/// The names of a table's columns, in their order.
///
/// # Errors
/// When SQLite cannot read them.
pub(super) fn column_names(db: &Connection, table: &str) -> Result<Vec<String>> {
    let mut statement = db.prepare("SELECT name FROM pragma_table_info(?1) ORDER BY cid")?;
    let names = statement.query_map([table], |row| row.get(0))?;
    Ok(names.collect::<Result<_, _>>()?)
}

/// The names of the columns of a table of which some are wanted, each with its declared type.
///
/// # Errors
/// [`crate::error::ErrorCode::UnknownSchema`] when it has another form.
pub(super) fn check_table(db: &Connection, table: &str, wanted: &[(&str, &str)]) -> Result<Vec<String>> {
    let unknown = Error::unknown_schema;
    let (kind, without_rowid): (String, bool) =
        db.query_row("SELECT type, wr FROM pragma_table_list WHERE schema = 'main' AND name = ?1", [table], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    if kind != "table" || without_rowid {
        return Err(unknown(format!("`{table}` is not an ordinary table with rowids")));
    }
    let mut statement = db.prepare("SELECT name, upper(type), pk, hidden FROM pragma_table_xinfo(?1) ORDER BY cid")?;
    let rows = statement
        .query_map([table], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?, row.get::<_, i64>(3)?))
        })?
        .collect::<Result<Vec<_>, _>>()?;
    for (column, declared) in wanted {
        let Some((_, found, pk, _)) = rows.iter().find(|(name, ..)| name == column) else {
            return Err(unknown(format!("table `{table}` has no column `{column}`")));
        };
        if found != declared {
            return Err(unknown(format!("column `{table}.{column}` is {found}, expected {declared}")));
        }
        let key = if table == "event_sequence" { "aggregate_id" } else { "id" };
        if (*column == key) != (*pk > 0) {
            return Err(unknown(format!("the primary key of `{table}` is not `{key}`")));
        }
    }
    if let Some((name, ..)) = rows.iter().find(|(_, _, _, hidden)| *hidden != 0) {
        return Err(unknown(format!("column `{table}.{name}` is generated")));
    }
    Ok(rows.into_iter().map(|(name, ..)| name).collect())
}
