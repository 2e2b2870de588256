//! Row edits: every statement is guarded by what the row was and must change exactly one row.

use rusqlite::types::Value;
use rusqlite::{ToSql, params_from_iter};

use super::Exclusive;
use super::exclusive::WRITTEN;
use crate::error::{Error, Result};
use crate::rows::{Cell, Lookup as _, Op, Row, RowEdit, Table, int};

/// Longest text that is kept in memory where its size and hash would do, in bytes.
const SHORT: usize = 4_096;

/// The edits of one session, in the order in which they are made.
pub type Edits<'a> = (&'a str, &'a [RowEdit]);

/// The edits that take edits back, by session.
#[derive(Debug)]
pub struct WayBack(Vec<(String, Vec<RowEdit>)>);

impl Exclusive {
    /// Makes the edits. Each row must be what its edit says it was, and each statement must change exactly one row. `record`
    /// is given every edit with the whole rows, as they were and as they are then.
    ///
    /// Returns what takes it all back, as an undo would.
    ///
    /// # Errors
    /// [`crate::error::ErrorCode::RowChanged`] when a row is something else; what `record` says. Drop this value then:
    /// nothing was committed.
    pub fn execute(
        &self,
        sessions: &[Edits<'_>],
        record: &mut dyn FnMut(&str, RowEdit) -> Result<()>,
    ) -> Result<WayBack> {
        let before = self.total_changes()?;
        let mut edits = 0;
        let mut back: Vec<Vec<(usize, RowEdit)>> = vec![Vec::new(); sessions.len()];
        let all = || {
            let sessions = sessions.iter().enumerate();
            sessions.flat_map(|(n, (_, edits))| edits.iter().enumerate().map(move |(at, edit)| (n, at, edit)))
        };
        // New rows of every session come first: SQLite gives them rowids above all that are there, and a rowid that
        // another session's row leaves would be missed when that row is given back.
        let is_new = |edit: &RowEdit| edit.op() == Op::Insert;
        let (new, rest) = (all().filter(|(.., e)| is_new(e)), all().filter(|(.., e)| !is_new(e)));
        for (n, at, edit) in new.chain(rest) {
            super::interrupt::check()?;
            let whole = self.edit(edit)?;
            back[n].push((at, lean(&whole).reversed()));
            record(sessions[n].0, whole)?;
            edits += 1;
        }
        let changed = self.total_changes()? - before;
        if changed != edits {
            return Err(Error::row_changed("store", format!("{changed} rows were changed by {edits} edits")));
        }
        let sessions = sessions.iter().zip(back).map(|((session, _), mut back)| {
            back.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
            ((*session).to_owned(), back.into_iter().map(|(_, edit)| edit).collect())
        });
        Ok(WayBack(sessions.collect()))
    }

    /// Takes back what was written, as an undo would, and then leaves it written: damage that only the way back comes
    /// across is met before the commit and not when somebody wants their rows back.
    ///
    /// # Errors
    /// What stands in the way. Drop this value then: nothing was committed.
    pub fn rehearse(&self, back: &WayBack) -> Result<()> {
        self.db.execute_batch("SAVEPOINT written")?;
        let back: Vec<Edits<'_>> = back.0.iter().map(|(session, edits)| (session.as_str(), &edits[..])).collect();
        self.execute(&back, &mut |_, _| Ok(()))?;
        Ok(self.db.execute_batch("ROLLBACK TO written; RELEASE written")?)
    }

    fn total_changes(&self) -> rusqlite::Result<i64> {
        self.db.query_row("SELECT total_changes()", [], |row| row.get(0))
    }

    /// Makes one edit; returns it with both whole rows.
    fn edit(&self, edit: &RowEdit) -> Result<RowEdit> {
        let name: &str = edit.table.into();
        let narrow = edit.table.only().is_some() && edit.op() == Op::Update;
        if !narrow && !WRITTEN.iter().any(|(table, ..)| *table == name) || !self.schema.has_table(name) {
            return Err(wrong(edit, "the plan names a table that is not written"));
        }
        let mut whole = RowEdit { table: edit.table, id: edit.id.clone(), before: None, after: None };
        let rowid = match (&edit.before, &edit.after) {
            (None, Some(after)) => self.insert(edit, after)?,
            (Some(before), Some(after)) => {
                let (rowid, found) = self.checked(edit, before)?;
                whole.before = Some(found);
                self.update(edit, before, after)?;
                rowid
            }
            (Some(before), None) => {
                let (rowid, found) = self.checked(edit, before)?;
                whole.before = Some(found);
                self.delete(edit, before)?;
                rowid
            }
            (None, None) => return Err(wrong(edit, "the plan's edit says nothing")),
        };
        if let Some(planned) = &edit.after {
            let written = self.store().row(edit.table, rowid)?;
            let as_planned = |row: &Row| {
                planned.iter().all(|(name, cell)| matches!(cell, Cell::Kept { .. }) || row.get(name) == Some(cell))
            };
            if !written.as_ref().is_some_and(as_planned) {
                return Err(wrong(edit, "what was written is not what was planned"));
            }
            whole.after = written;
        }
        self.check_index(edit, rowid)?;
        Ok(whole)
    }

    /// Makes a row; returns its rowid.
    fn insert(&self, edit: &RowEdit, after: &Row) -> Result<i64> {
        let columns = self.schema.columns(edit.table.into());
        let names: Vec<&str> = after.keys().map(String::as_str).collect();
        if columns.iter().any(|c| !names.contains(&c.as_str())) {
            return Err(wrong(edit, "the plan lacks a column"));
        }
        let values: Vec<Value> = after.values().filter_map(value).collect();
        let marks: Vec<String> = (1..=names.len()).map(|n| format!("?{n}")).collect();
        let table = edit.table;
        let query = format!("INSERT INTO {table} ({}) VALUES ({})", names.join(", "), marks.join(", "));
        self.change_one(edit, &query, values)?;
        Ok(self.db.last_insert_rowid())
    }

    fn update(&self, edit: &RowEdit, before: &Row, after: &Row) -> Result<()> {
        let columns = self.schema.columns(edit.table.into());
        let set: Vec<&String> = columns.iter().filter(|c| before.get(*c) != after.get(*c)).collect();
        let assignments: Vec<String> = set.iter().enumerate().map(|(n, c)| format!("{c} = ?{}", n + 1)).collect();
        let values = set.iter().map(|c| after.get(*c).and_then(value)).collect::<Option<Vec<Value>>>();
        let mut values = values.ok_or_else(|| wrong(edit, "the plan lacks a column"))?;
        let guard = guard(before, &mut values);
        let table = edit.table;
        let query = format!("UPDATE {table} SET {} WHERE {guard}", assignments.join(", "));
        self.change_one(edit, &query, values)
    }

    fn delete(&self, edit: &RowEdit, before: &Row) -> Result<()> {
        if edit.table == Table::Message && self.has_parts(&edit.id)? {
            return Err(wrong(edit, "it has parts that the plan does not name"));
        }
        let mut values = Vec::new();
        let guard = guard(before, &mut values);
        let table = edit.table;
        self.change_one(edit, &format!("DELETE FROM {table} WHERE {guard}"), values)
    }

    fn change_one(&self, edit: &RowEdit, query: &str, values: Vec<impl ToSql>) -> Result<()> {
        match self.db.execute(query, params_from_iter(values))? {
            1 => Ok(()),
            changed => Err(wrong(edit, &format!("{changed} rows matched instead of one"))),
        }
    }

    /// Reads every row that the edits name once more: each must be what its edit says, its JSON by size and hash where the
    /// edit does not hold it.
    ///
    /// # Errors
    /// [`crate::error::ErrorCode::RowChanged`] where one is not: nothing may be committed then.
    pub fn verify(&self, sessions: &[Edits<'_>]) -> Result<()> {
        let store = self.store();
        for edit in sessions.iter().flat_map(|(_, edits)| *edits) {
            let row = store.whole(edit.table, &edit.id)?;
            let sound = match (&edit.after, &row) {
                (None, None) => true,
                // A new row has a rowid that no plan knows.
                (Some(planned), Some(row)) => {
                    planned.iter().all(|(name, cell)| row.get(name).is_some_and(|is| cell.matches(is)))
                }
                _ => false,
            };
            if !sound {
                return Err(wrong(edit, "what was written is not what was planned"));
            }
        }
        Ok(())
    }

    /// Checks that the table and the index of its keys agree about a row that was written. Where they do not, the
    /// store is damaged in a way that reading has not met, and what is written could not be taken back.
    fn check_index(&self, edit: &RowEdit, rowid: i64) -> Result<()> {
        let by_key = self.store().rowid(edit.table, &edit.id)?;
        let sound = match edit.op() {
            Op::Delete => by_key.is_none() && self.store().row(edit.table, rowid)?.is_none(),
            Op::Insert | Op::Update => by_key == Some(rowid),
        };
        if sound {
            return Ok(());
        }
        Err(Error::damaged(format!("the index of `{}` and its rows do not agree about {}", edit.table, edit.id)))
    }

    fn has_parts(&self, message: &str) -> rusqlite::Result<bool> {
        self.db.query_row("SELECT EXISTS (SELECT 1 FROM part WHERE message_id = ?1)", [message], |row| row.get(0))
    }

    /// Compares the row with what it should be: values for equality, texts that are not in memory by size and hash.
    /// Returns the rowid and the whole row.
    fn checked(&self, edit: &RowEdit, before: &Row) -> Result<(i64, Row)> {
        let rowid = int(before, "rowid").ok_or_else(|| wrong(edit, "the plan lacks its rowid"))?;
        let found = self.store().row(edit.table, rowid)?.ok_or_else(|| wrong(edit, "it is gone"))?;
        for (column, is) in &found {
            if !before.get(column).is_some_and(|was| was.matches(is)) {
                return Err(wrong(edit, &format!("its `{column}` is not what it was when the plan was made")));
            }
        }
        Ok((rowid, found))
    }
}

fn wrong(edit: &RowEdit, detail: &str) -> Error {
    Error::row_changed(format!("{} {}", edit.table, edit.id), detail)
}

/// An edit with no more of its rows than its way back needs: of a long text that is not set, size and hash.
fn lean(whole: &RowEdit) -> RowEdit {
    let shorter = |row: &Row, other: Option<&Row>| -> Row {
        let cell = |(name, cell): (&String, &Cell)| match cell {
            Cell::Text(t) if t.len() > SHORT && other.is_none_or(|o| o.get(name) == Some(cell)) => {
                (name.clone(), Cell::kept(t))
            }
            cell => (name.clone(), cell.clone()),
        };
        row.iter().map(cell).collect()
    };
    let (before, after) = match (&whole.before, &whole.after) {
        (Some(before), Some(after)) => (Some(shorter(before, Some(after))), Some(shorter(after, Some(before)))),
        (None, Some(after)) => (None, Some(shorter(after, None))),
        (before, None) => (before.clone(), None),
    };
    RowEdit { table: whole.table, id: whole.id.clone(), before, after }
}

/// A cell as SQLite's value; `None` for texts that are not in memory.
fn value(cell: &Cell) -> Option<Value> {
    match cell {
        Cell::Null => Some(Value::Null),
        Cell::Int(n) => Some(Value::Integer(*n)),
        Cell::Text(t) => Some(Value::Text(t.clone())),
        Cell::Kept { .. } => None,
    }
}

/// `column IS ? AND …` over every column whose value is in memory, the rowid among them.
fn guard(row: &Row, values: &mut Vec<Value>) -> String {
    let mut terms = Vec::new();
    for (column, cell) in row {
        if let Some(v) = value(cell) {
            values.push(v);
            terms.push(format!("{column} IS ?{}", values.len()));
        }
    }
    terms.join(" AND ")
}
