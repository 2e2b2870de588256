//! Writing: one connection that nobody else shares, one transaction, every statement guarded.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, params_from_iter};

use super::open::harden;
use super::{Schema, Snapshot, Store, StoreError, sidecar};
use crate::repair::undo::turn;
use crate::repair::{Cell, Image, Op, Plan, RowEdit, SessionPlan, digest};

/// Columns of the tables that are written. A table with others is not one whose form was measured.
const WRITTEN: [(&str, &[&str], &[&str]); 4] = [
    ("message", &["id", "session_id", "time_created", "time_updated", "data"], &[]),
    ("part", &["id", "message_id", "session_id", "time_created", "time_updated", "data"], &[]),
    ("event", &["id", "aggregate_id", "seq", "type", "data"], &[]),
    ("event_sequence", &["aggregate_id", "seq"], &["owner_id"]),
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
    found: Snapshot,
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
            super::interrupt::check()?;
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
        let mut db = Connection::open_with_flags(path, flags).map_err(sql)?;
        harden(&mut db).map_err(sql)?;
        db.busy_timeout(Duration::ZERO).map_err(sql)?;
        let begun = db
            .pragma_update(None, "locking_mode", "EXCLUSIVE")
            .and_then(|()| db.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())))
            .and_then(|()| db.pragma_update(None, "synchronous", "FULL"))
            // What the way back changes and gives up again goes to no file of its own.
            .and_then(|()| db.pragma_update(None, "temp_store", "MEMORY"))
            .and_then(|()| db.execute_batch("BEGIN EXCLUSIVE"));
        let mut this = Self {
            db,
            path: path.to_path_buf(),
            bytes: now.bytes(),
            schema: Schema::default(),
            found: now,
            committed: false,
        };
        begun.map_err(sql)?;
        this.schema = Schema::check(&this.db, path)?;
        for (table, needed, optional) in WRITTEN.iter().filter(|(t, ..)| this.schema.has_table(t)) {
            let found = this.schema.columns(table);
            let has = |c: &&&str| found.iter().any(|f| f == **c);
            let known = |c: &&String| needed.iter().chain(*optional).any(|k| k == *c);
            if !needed.iter().all(|c| has(&c)) || !found.iter().all(|c| known(&c)) {
                let detail =
                    format!("table `{table}` has the columns {}; expected {}", found.join(", "), needed.join(", "));
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

    /// Copies the store, as it is before any edit, to a new private file.
    ///
    /// # Errors
    /// [`StoreError::Backup`].
    pub fn backup(&self, path: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<(), StoreError> {
        // SQLite copies nothing from under a write transaction. Ending this one, in which nothing was done yet,
        // lets nobody in: the locks are kept until the connection is closed.
        let sql = |e| StoreError::sqlite(&self.path, e);
        self.db.execute_batch("COMMIT").map_err(sql)?;
        let copied = super::backup_to(&self.db, path, progress);
        self.db.execute_batch("BEGIN EXCLUSIVE").map_err(sql)?;
        copied
    }

    /// Makes the plan's edits. Each row must be what the plan says it was, and each statement must change
    /// exactly one row. `record` is given every edit with the whole rows, as they were and as they are then.
    ///
    /// Returns the plan that takes it all back, as an undo would.
    ///
    /// # Errors
    /// [`StoreError::RowChanged`] when a row is something else; what `record` says. Drop this value then:
    /// nothing was committed.
    pub fn execute(
        &self,
        plan: &Plan,
        record: &mut dyn FnMut(&str, RowEdit) -> Result<(), StoreError>,
    ) -> Result<Plan, StoreError> {
        let sql = |e| StoreError::sqlite(&self.path, e);
        let before = self.total_changes().map_err(sql)?;
        let mut edits = 0;
        let mut back: Vec<Vec<(usize, RowEdit)>> = vec![Vec::new(); plan.sessions.len()];
        let all = || {
            let sessions = plan.sessions.iter().enumerate();
            sessions.flat_map(|(n, session)| session.edits.iter().enumerate().map(move |(at, edit)| (n, at, edit)))
        };
        // New rows of every session come first: SQLite gives them rowids above all that are there, and a rowid that
        // another session's row leaves would be missed when that row is given back.
        let (new, rest) = (all().filter(|(.., e)| e.op == Op::Insert), all().filter(|(.., e)| e.op != Op::Insert));
        for (n, at, edit) in new.chain(rest) {
            super::interrupt::check()?;
            let whole = self.edit(edit)?;
            back[n].push((at, turn(&lean(&whole))));
            record(&plan.sessions[n].id, whole)?;
            edits += 1;
        }
        let changed = self.total_changes().map_err(sql)? - before;
        if changed != edits {
            let detail = format!("{changed} rows were changed by {edits} edits");
            return Err(StoreError::RowChanged { table: "store".to_owned(), id: String::new(), detail });
        }
        let sessions = plan.sessions.iter().zip(back).map(|(session, mut back)| {
            back.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
            let edits = back.into_iter().map(|(_, edit)| edit).collect();
            SessionPlan {
                id: session.id.clone(),
                edits,
                log_left_alone: None,
                leaves: Vec::new(),
                empty_answers: false,
            }
        });
        Ok(Plan { sessions: sessions.collect() })
    }

    /// Takes back what was written, as an undo would, and then leaves it written: damage that only the way back comes
    /// across is met before the commit and not when somebody wants their rows back.
    ///
    /// # Errors
    /// What stands in the way. Drop this value then: nothing was committed.
    pub fn rehearse(&self, back: &Plan) -> Result<(), StoreError> {
        let sql = |e| StoreError::sqlite(&self.path, e);
        self.db.execute_batch("SAVEPOINT written").map_err(sql)?;
        self.execute(back, &mut |_, _| Ok(()))?;
        self.db.execute_batch("ROLLBACK TO written; RELEASE written").map_err(sql)
    }

    fn total_changes(&self) -> rusqlite::Result<i64> {
        self.db.query_row("SELECT total_changes()", [], |row| row.get(0))
    }

    /// Makes one edit; returns it with both whole rows.
    fn edit(&self, edit: &RowEdit) -> Result<RowEdit, StoreError> {
        let sql = |e| StoreError::sqlite(&self.path, e);
        let wrong = |detail: &str| StoreError::RowChanged {
            table: edit.table.clone(),
            id: edit.id.clone(),
            detail: detail.to_owned(),
        };
        let table = edit.table.as_str();
        if !WRITTEN.iter().any(|(t, ..)| *t == table) || !self.schema.has_table(table) {
            return Err(wrong("the plan names a table that is not written"));
        }
        let columns = self.schema.columns(table);
        let mut whole = RowEdit {
            op: edit.op,
            table: edit.table.clone(),
            id: edit.id.clone(),
            before: None,
            after: None,
            reason: edit.reason.clone(),
        };
        let (changed, rowid) = match (edit.op, &edit.before, &edit.after) {
            (Op::Insert, None, Some(after)) => {
                let names: Vec<&str> = after.keys().map(String::as_str).collect();
                if columns.iter().any(|c| !names.contains(&c.as_str())) {
                    return Err(wrong("the plan lacks a column"));
                }
                let values: Vec<Value> = after.values().filter_map(value).collect();
                let marks: Vec<String> = (1..=names.len()).map(|n| format!("?{n}")).collect();
                let query = format!("INSERT INTO {table} ({}) VALUES ({})", names.join(", "), marks.join(", "));
                let changed = self.db.execute(&query, params_from_iter(values)).map_err(sql)?;
                (changed, self.db.last_insert_rowid())
            }
            (Op::Update, Some(before), Some(after)) => {
                let rowid = self.check(edit, before, &mut whole).map_err(|d| wrong(&d))?;
                let set: Vec<&String> = columns.iter().filter(|c| before.get(*c) != after.get(*c)).collect();
                let assignments: Vec<String> =
                    set.iter().enumerate().map(|(n, c)| format!("{c} = ?{}", n + 1)).collect();
                let mut values = set
                    .iter()
                    .map(|c| after.get(*c).and_then(value))
                    .collect::<Option<Vec<Value>>>()
                    .ok_or_else(|| wrong("the plan lacks a column"))?;
                let guard = guard(before, &mut values);
                let query = format!("UPDATE {table} SET {} WHERE {guard}", assignments.join(", "));
                (self.db.execute(&query, params_from_iter(values)).map_err(sql)?, rowid)
            }
            (Op::Delete, Some(before), None) => {
                let rowid = self.check(edit, before, &mut whole).map_err(|d| wrong(&d))?;
                if table == "message" && self.has_parts(&edit.id).map_err(sql)? {
                    return Err(wrong("it has parts that the plan does not name"));
                }
                let mut values = Vec::new();
                let guard = guard(before, &mut values);
                let query = format!("DELETE FROM {table} WHERE {guard}");
                (self.db.execute(&query, params_from_iter(values)).map_err(sql)?, rowid)
            }
            _ => return Err(wrong("the plan's edit does not fit its operation")),
        };
        if changed != 1 {
            return Err(wrong(&format!("{changed} rows matched instead of one")));
        }
        if let Some(planned) = &edit.after {
            let written = self.store().row(table, rowid)?;
            let as_planned = |row: &Image| {
                planned.iter().all(|(name, cell)| matches!(cell, Cell::Kept { .. }) || row.get(name) == Some(cell))
            };
            if !written.as_ref().is_some_and(as_planned) {
                return Err(wrong("what was written is not what was planned"));
            }
            whole.after = written;
        }
        self.leads_to(edit, rowid)?;
        Ok(whole)
    }

    /// Reads every row that the plan names once more: each must be what the plan says, its JSON by size and hash where the
    /// plan does not hold it.
    ///
    /// # Errors
    /// [`StoreError::RowChanged`] where one is not: nothing may be committed then.
    pub fn verify(&self, plan: &Plan) -> Result<(), StoreError> {
        let store = self.store();
        for edit in plan.sessions.iter().flat_map(|session| &session.edits) {
            let rowid = store.rowid(&edit.table, &edit.id)?;
            let row = rowid.map(|rowid| store.row(&edit.table, rowid)).transpose()?.flatten();
            let sound = match (&edit.after, &row) {
                (None, None) => true,
                // A new row has a rowid that no plan knows.
                (Some(planned), Some(row)) => {
                    planned.iter().all(|(name, cell)| row.get(name).is_some_and(|is| same(cell, is)))
                }
                _ => false,
            };
            if !sound {
                let detail = "what was written is not what was planned".to_owned();
                return Err(StoreError::RowChanged { table: edit.table.clone(), id: edit.id.clone(), detail });
            }
        }
        Ok(())
    }

    /// Checks that the table and the index of its keys agree about a row that was written. Where they do not, the
    /// store is damaged in a way that reading has not met, and what is written could not be taken back.
    fn leads_to(&self, edit: &RowEdit, rowid: i64) -> Result<(), StoreError> {
        let by_key = self.store().rowid(&edit.table, &edit.id)?;
        let sound = match edit.op {
            Op::Delete => by_key.is_none() && self.store().row(&edit.table, rowid)?.is_none(),
            Op::Insert | Op::Update => by_key == Some(rowid),
        };
        if sound {
            return Ok(());
        }
        let detail = format!("the index of `{}` and its rows do not agree about {}", edit.table, edit.id);
        Err(StoreError::Corrupt { path: self.path.clone(), detail })
    }

    fn has_parts(&self, message: &str) -> rusqlite::Result<bool> {
        self.db.query_row("SELECT EXISTS (SELECT 1 FROM part WHERE message_id = ?1)", [message], |row| row.get(0))
    }

    /// Compares the row with what it should be: values for equality, texts that are not in memory by size and
    /// hash. Returns the rowid; the whole row goes to `whole`.
    fn check(&self, edit: &RowEdit, image: &Image, whole: &mut RowEdit) -> Result<i64, String> {
        let Some(Cell::Int(rowid)) = image.get("rowid") else { return Err("the plan lacks its rowid".to_owned()) };
        let found = self.store().row(&edit.table, *rowid).map_err(|e| e.to_string())?;
        let Some(found) = found else { return Err("it is gone".to_owned()) };
        for (column, is) in &found {
            if !image.get(column).is_some_and(|was| same(was, is)) {
                return Err(format!("its `{column}` is not what it was when the plan was made"));
            }
        }
        whole.before = Some(found);
        Ok(*rowid)
    }

    /// Commits, and leaves no -wal behind where none was. Returns whether the path led to that store to the end.
    ///
    /// # Errors
    /// When SQLite says that it cannot commit. That is no proof that nothing was changed: where what it wrote
    /// last could not be synced, whoever opens the store next may find the transaction whole. What is on disk
    /// tells.
    pub fn commit(mut self) -> Result<bool, StoreError> {
        super::interrupt::check()?;
        if !self.found.is_still_there(&self.path) {
            let detail = "another file has taken its place meanwhile".to_owned();
            return Err(StoreError::RowChanged {
                table: "store".to_owned(),
                id: self.path.display().to_string(),
                detail,
            });
        }
        self.db.execute_batch("COMMIT").map_err(|e| StoreError::sqlite(&self.path, e))?;
        self.committed = true;
        let there = self.found.is_still_there(&self.path);
        if !there {
            // SQLite does not empty the -wal of a store that was moved, and by its name it would now be taken for
            // that of the file in its place.
            let _ = self.db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
        }
        Ok(there)
    }
}

impl Drop for Exclusive {
    fn drop(&mut self) {
        if !self.committed {
            // Without an open transaction (it could not be begun) there is nothing to roll back.
            let _ = self.db.execute_batch("ROLLBACK");
        }
        if !self.found.has_wal() {
            // Closing then checkpoints and removes the -wal that this connection made; without a commit the
            // -wal is empty and the main file stays as it is.
            let _ = self.db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false);
        }
    }
}

/// Whether a value is what a plan says, by size and hash where the plan does not hold it.
fn same(planned: &Cell, is: &Cell) -> bool {
    match (planned, is) {
        (Cell::Kept { bytes, sha256 }, Cell::Text(t)) => *bytes == t.len() as u64 && digest(t) == *sha256,
        (planned, is) => planned == is,
    }
}

/// Longest text that is kept in memory where its size and hash would do, in bytes.
const SHORT: usize = 4_096;

/// An edit with no more of its rows than its way back needs: of a long text that is not set, size and hash.
fn lean(whole: &RowEdit) -> RowEdit {
    let shorter = |image: &Image, other: Option<&Image>| -> Image {
        let cell = |(name, cell): (&String, &Cell)| match cell {
            Cell::Text(t) if t.len() > SHORT && other.is_none_or(|o| o.get(name) == Some(cell)) => {
                (name.clone(), Cell::Kept { bytes: t.len() as u64, sha256: digest(t) })
            }
            cell => (name.clone(), cell.clone()),
        };
        image.iter().map(cell).collect()
    };
    let (before, after) = match (&whole.before, &whole.after) {
        (Some(before), Some(after)) => (Some(shorter(before, Some(after))), Some(shorter(after, Some(before)))),
        (None, Some(after)) => (None, Some(shorter(after, None))),
        (before, None) => (before.clone(), None),
    };
    RowEdit { op: whole.op, table: whole.table.clone(), id: whole.id.clone(), before, after, reason: String::new() }
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
fn guard(image: &Image, values: &mut Vec<Value>) -> String {
    let mut terms = Vec::new();
    for (column, cell) in image {
        if let Some(v) = value(cell) {
            values.push(v);
            terms.push(format!("{column} IS ?{}", values.len()));
        }
    }
    terms.join(" AND ")
}

fn check_writable(path: &Path) -> Result<(), StoreError> {
    let refused = |path: &Path| StoreError::Permission { what: "write", path: path.to_path_buf() };
    let real = path.canonicalize().map_err(|e| StoreError::io(path, "read", e))?;
    let folder = real.parent().unwrap_or(Path::new("/"));
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
