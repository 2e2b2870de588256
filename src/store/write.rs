//! Writing: one connection that nobody else shares, one transaction, every statement guarded.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, OpenFlags, params_from_iter};

use super::open::harden;
use super::{Schema, Snapshot, Store, StoreError, sidecar};
use crate::repair::{Cell, Image, Op, Plan, RowEdit, digest};

/// Columns of the tables that are written. A table with more or fewer is not one whose form was measured.
const WRITTEN: [(&str, &[&str]); 2] = [
    ("message", &["id", "session_id", "time_created", "time_updated", "data"]),
    ("part", &["id", "message_id", "session_id", "time_created", "time_updated", "data"]),
];

/// How long to wait between two tries to get the store for oneself.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// The store, open for writing in an exclusive transaction. Dropped without [`Exclusive::commit`], everything
/// is rolled back and the store is as it was.
#[derive(Debug)]
pub struct Exclusive {
    db: Connection,
    path: PathBuf,
    bytes: u64,
    schema: Schema,
    had_wal: bool,
    committed: bool,
}

impl Exclusive {
    /// Opens the store and begins the transaction, trying for as long as `wait` while others have it open.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when others still have it open then; [`StoreError::Permission`] when it or its
    /// folder cannot be written; what reading it says otherwise. Nothing is changed.
    pub fn open(path: &Path, wait: Duration) -> Result<Self, StoreError> {
        let deadline = Instant::now() + wait;
        loop {
            let result = Self::try_open(path);
            match result {
                Err(StoreError::InUse { .. }) if Instant::now() < deadline => thread::sleep(RETRY_PAUSE),
                Err(StoreError::InUse { path, .. }) => {
                    let holders = describe(&holders(&path));
                    return Err(StoreError::InUse { path, holders });
                }
                other => return other,
            }
        }
    }

    fn try_open(path: &Path) -> Result<Self, StoreError> {
        let sql = |e| StoreError::sqlite(path, e);
        let now = Snapshot::take(path)?;
        check_writable(path)?;
        if !holders(path).is_empty() {
            return Err(StoreError::InUse { path: path.to_path_buf(), holders: String::new() });
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(path, flags).map_err(sql)?;
        harden(&db).map_err(sql)?;
        db.busy_timeout(Duration::ZERO).map_err(sql)?;
        let begun = db
            .pragma_update(None, "locking_mode", "EXCLUSIVE")
            .and_then(|()| db.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())))
            .and_then(|()| db.pragma_update(None, "synchronous", "FULL"))
            .and_then(|()| db.execute_batch("BEGIN EXCLUSIVE"));
        let mut this = Self {
            db,
            path: path.to_path_buf(),
            bytes: now.bytes(),
            schema: Schema::default(),
            had_wal: now.has_wal(),
            committed: false,
        };
        begun.map_err(sql)?;
        this.schema = Schema::check(&this.db, path)?;
        for (table, columns) in WRITTEN {
            let found: BTreeSet<&str> = this.schema.columns(table).iter().map(String::as_str).collect();
            if found != columns.iter().copied().collect() {
                let found = this.schema.columns(table).join(", ");
                let detail = format!("table `{table}` has the columns {found}; expected {}", columns.join(", "));
                return Err(StoreError::UnknownSchema { path: path.to_path_buf(), detail });
            }
        }
        Ok(this)
    }

    /// The store as this transaction sees it.
    #[must_use]
    pub fn store(&self) -> Store<'_> {
        Store::new(&self.db, &self.path, self.schema.clone(), self.bytes)
    }

    /// Makes the plan's edits. Each row must be what the plan says it was, and each statement must change
    /// exactly one row.
    ///
    /// # Errors
    /// [`StoreError::RowChanged`] when a row is something else. Drop this value then: nothing was committed.
    pub fn execute(&self, plan: &Plan) -> Result<(), StoreError> {
        let sql = |e| StoreError::sqlite(&self.path, e);
        let before = self.total_changes().map_err(sql)?;
        let mut edits = 0;
        for edit in plan.sessions.iter().flat_map(|s| &s.edits) {
            self.edit(edit)?;
            edits += 1;
        }
        let changed = self.total_changes().map_err(sql)? - before;
        if changed != edits {
            let detail = format!("{changed} rows were changed by {edits} edits");
            return Err(StoreError::RowChanged { table: "store".to_owned(), id: String::new(), detail });
        }
        Ok(())
    }

    fn total_changes(&self) -> rusqlite::Result<i64> {
        self.db.query_row("SELECT total_changes()", [], |row| row.get(0))
    }

    fn edit(&self, edit: &RowEdit) -> Result<(), StoreError> {
        let sql = |e| StoreError::sqlite(&self.path, e);
        let wrong = |detail: &str| StoreError::RowChanged {
            table: edit.table.clone(),
            id: edit.id.clone(),
            detail: detail.to_owned(),
        };
        let Some((table, columns)) = WRITTEN.iter().find(|(t, _)| *t == edit.table) else {
            return Err(wrong("the plan names a table that is not written"));
        };
        let changed = match (edit.op, &edit.before, &edit.after) {
            (Op::Insert, None, Some(after)) => {
                let marks: Vec<String> = (1..=columns.len()).map(|n| format!("?{n}")).collect();
                let values = columns
                    .iter()
                    .map(|c| after.get(*c).and_then(value))
                    .collect::<Option<Vec<Value>>>()
                    .ok_or_else(|| wrong("the plan lacks a column"))?;
                let query = format!("INSERT INTO {table} ({}) VALUES ({})", columns.join(", "), marks.join(", "));
                self.db.execute(&query, params_from_iter(values)).map_err(sql)?
            }
            (Op::Update, Some(before), Some(after)) => {
                self.check(table, columns, before).map_err(|d| wrong(&d))?;
                let set: Vec<&str> = columns.iter().copied().filter(|c| before.get(*c) != after.get(*c)).collect();
                let assignments: Vec<String> =
                    set.iter().enumerate().map(|(n, c)| format!("{c} = ?{}", n + 1)).collect();
                let mut values = set
                    .iter()
                    .map(|c| after.get(*c).and_then(value))
                    .collect::<Option<Vec<Value>>>()
                    .ok_or_else(|| wrong("the plan lacks a column"))?;
                let guard = guard(columns, before, &mut values);
                let query = format!("UPDATE {table} SET {} WHERE {guard}", assignments.join(", "));
                self.db.execute(&query, params_from_iter(values)).map_err(sql)?
            }
            (Op::Delete, Some(before), None) => {
                self.check(table, columns, before).map_err(|d| wrong(&d))?;
                if *table == "message" && self.has_parts(&edit.id).map_err(sql)? {
                    return Err(wrong("it has parts that the plan does not name"));
                }
                let mut values = Vec::new();
                let guard = guard(columns, before, &mut values);
                self.db.execute(&format!("DELETE FROM {table} WHERE {guard}"), params_from_iter(values)).map_err(sql)?
            }
            _ => return Err(wrong("the plan's edit does not fit its operation")),
        };
        if changed == 1 { Ok(()) } else { Err(wrong(&format!("{changed} rows matched instead of one"))) }
    }

    fn has_parts(&self, message: &str) -> rusqlite::Result<bool> {
        self.db.query_row("SELECT EXISTS (SELECT 1 FROM part WHERE message_id = ?1)", [message], |row| row.get(0))
    }

    /// Compares the row with the image: values for equality, texts that are not in memory by size and hash.
    fn check(&self, table: &str, columns: &[&str], image: &Image) -> Result<(), String> {
        let Some(Cell::Int(rowid)) = image.get("rowid") else { return Err("the plan lacks its rowid".to_owned()) };
        let query = format!("SELECT {} FROM {table} WHERE rowid = ?1", columns.join(", "));
        let mut statement = self.db.prepare_cached(&query).map_err(|e| e.to_string())?;
        let mut rows = statement.query([rowid]).map_err(|e| e.to_string())?;
        let Some(row) = rows.next().map_err(|e| e.to_string())? else { return Err("it is gone".to_owned()) };
        for (at, column) in columns.iter().enumerate() {
            let found = row.get_ref(at).map_err(|e| e.to_string())?;
            let same = match (image.get(*column), found) {
                (Some(Cell::Int(want)), ValueRef::Integer(n)) => *want == n,
                (Some(Cell::Text(want)), ValueRef::Text(t)) => want.as_bytes() == t,
                (Some(Cell::Kept { bytes, sha256 }), ValueRef::Text(t)) => {
                    *bytes == t.len() as u64 && std::str::from_utf8(t).is_ok_and(|t| digest(t) == *sha256)
                }
                _ => false,
            };
            if !same {
                return Err(format!("its `{column}` is not what it was when the plan was made"));
            }
        }
        Ok(())
    }

    /// Commits, and leaves no -wal behind where none was.
    ///
    /// # Errors
    /// When SQLite cannot commit: then nothing is changed.
    pub fn commit(mut self) -> Result<(), StoreError> {
        self.db.execute_batch("COMMIT").map_err(|e| StoreError::sqlite(&self.path, e))?;
        self.committed = true;
        Ok(())
    }
}

impl Drop for Exclusive {
    fn drop(&mut self) {
        if !self.committed {
            // Without an open transaction (it could not be begun) there is nothing to roll back.
            let _ = self.db.execute_batch("ROLLBACK");
        }
        if !self.had_wal {
            // Closing then checkpoints and removes the -wal that this connection made; without a commit the
            // -wal is empty and the main file stays as it is.
            let _ = self.db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false);
        }
    }
}

/// A cell as SQLite's value; `None` for texts that are not in memory.
fn value(cell: &Cell) -> Option<Value> {
    match cell {
        Cell::Int(n) => Some(Value::Integer(*n)),
        Cell::Text(t) => Some(Value::Text(t.clone())),
        Cell::Kept { .. } => None,
    }
}

/// `rowid = ? AND column IS ? …` over every column whose value is in memory.
fn guard(columns: &[&str], image: &Image, values: &mut Vec<Value>) -> String {
    let mut terms = Vec::new();
    for column in std::iter::once(&"rowid").chain(columns) {
        if let Some(v) = image.get(*column).and_then(value) {
            values.push(v);
            terms.push(format!("{column} IS ?{}", values.len()));
        }
    }
    terms.join(" AND ")
}

fn check_writable(path: &Path) -> Result<(), StoreError> {
    let refused = |path: &Path| StoreError::Permission { what: "write", path: path.to_path_buf() };
    let folder = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    // Asking beats guessing from mode bits: owners, groups and read-only mounts all have their say.
    match std::fs::OpenOptions::new().append(true).open(path) {
        Ok(_) => {}
        Err(e) => return Err(StoreError::io(path, "write", e)),
    }
    let read_only = |p: &Path| std::fs::metadata(p).is_ok_and(|m| m.permissions().readonly());
    if read_only(path) {
        return Err(refused(path));
    }
    if read_only(folder) {
        return Err(refused(folder));
    }
    Ok(())
}

/// Other processes that have the store or a file beside it open, as far as the system tells (Linux).
#[must_use]
pub fn holders(path: &Path) -> Vec<(u32, String)> {
    let Ok(real) = path.canonicalize() else { return Vec::new() };
    let files: Vec<PathBuf> =
        std::iter::once(real.clone()).chain(["-wal", "-shm", "-journal"].map(|s| sidecar(&real, s))).collect();
    let mut out = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
        if pid == std::process::id() {
            continue;
        }
        let open = std::fs::read_dir(entry.path().join("fd")).into_iter().flatten().flatten();
        if open.filter_map(|fd| std::fs::read_link(fd.path()).ok()).any(|target| files.contains(&target)) {
            let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            out.push((pid, name.trim().to_owned()));
        }
    }
    out.sort();
    out
}

fn describe(holders: &[(u32, String)]) -> String {
    if holders.is_empty() {
        return String::new();
    }
    let names: Vec<String> = holders
        .iter()
        .map(|(pid, name)| format!("{} {pid}", name.chars().filter(|c| c.is_ascii_graphic()).collect::<String>()))
        .collect();
    format!(" ({})", names.join(", "))
}
