//! A store that one connection has for itself, in one transaction.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::holders::{describe, holders};
use super::open::harden;
use super::{Schema, Snapshot, Store};
use crate::error::{Error, ErrorCode, Result};

/// Columns of the tables that are written: those that must be there, and those that may. A table with others is not one
/// whose form was measured.
pub(super) const WRITTEN: [(&str, &[&str], &[&str]); 4] = [
    ("message", &["id", "session_id", "time_created", "time_updated", "data"], &[]),
    ("part", &["id", "message_id", "session_id", "time_created", "time_updated", "data"], &[]),
    // opencode 2 adds `created`, which is 0 unless it is said (read in 2.0.26).
    ("event", &["id", "aggregate_id", "seq", "type", "data"], &["created"]),
    ("event_sequence", &["aggregate_id", "seq"], &["owner_id"]),
];

/// How long to wait between two tries to get the store.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// The store, open for writing in an exclusive transaction. If it is dropped without [`Exclusive::commit`], everything is
/// rolled back and the store is as it was.
#[derive(Debug)]
pub struct Exclusive {
    pub(super) db: Connection,
    path: PathBuf,
    bytes: u64,
    pub(super) schema: Schema,
    others: Mutex<Vec<Connection>>,
    found: Snapshot,
    committed: bool,
}

impl Exclusive {
    /// Opens the store and begins the transaction, trying for as long as `wait` while others have it open.
    ///
    /// # Errors
    /// [`ErrorCode::StoreInUse`] when others still have it open then; [`ErrorCode::NoPermission`] when it or its folder cannot
    /// be written; what reading it says otherwise. Nothing is changed.
    pub fn open(path: &Path, wait: Duration) -> Result<Self> {
        let deadline = Instant::now() + wait;
        loop {
            super::interrupt::check()?;
            match Self::try_open(path) {
                Err(error) if error.code() == ErrorCode::StoreInUse => {
                    if Instant::now() >= deadline {
                        return Err(in_use(path));
                    }
                    thread::sleep(RETRY_PAUSE);
                }
                other => return other.map_err(|e| e.at(path)),
            }
        }
    }

    fn try_open(path: &Path) -> Result<Self> {
        let found = Snapshot::take(path)?;
        check_writable(path)?;
        if !holders(path).is_empty() {
            return Err(in_use(path));
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut db = Connection::open_with_flags(path, flags)?;
        harden(&mut db)?;
        db.busy_timeout(Duration::ZERO)?;
        let begun = begin(&db);
        // From here on, dropping this leaves no -wal where there was none.
        let mut this = Self {
            db,
            path: path.to_path_buf(),
            bytes: found.bytes(),
            schema: Schema::default(),
            others: Mutex::default(),
            found,
            committed: false,
        };
        begun?;
        this.schema = Schema::check(&this.db, path)?;
        for (table, needed, optional) in WRITTEN.iter().filter(|(t, ..)| this.schema.has_table(t)) {
            let found = this.schema.columns(table);
            let has = |c: &&&str| found.iter().any(|f| f == **c);
            let known = |c: &&String| needed.iter().chain(*optional).any(|k| k == *c);
            if !needed.iter().all(|c| has(&c)) || !found.iter().all(|c| known(&c)) {
                return Err(Error::unknown_schema(format!(
                    "table `{table}` has the columns {}; expected {}",
                    found.join(", "),
                    needed.join(", ")
                )));
            }
        }
        Ok(this)
    }

    /// The store as this transaction sees it.
    #[must_use]
    pub fn store(&self) -> Store<'_> {
        Store::new(&self.db, &self.path, &self.schema, self.bytes, &self.others)
    }

    /// Copies the store, as it is before any edit, to a new private file. `progress` is given the pages done and all pages.
    ///
    /// # Errors
    /// [`ErrorCode::Backup`].
    pub fn backup(&self, path: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
        // SQLite copies nothing from under a write transaction. Ending this one, in which nothing was done yet, lets
        // nobody in: the locks are kept until the connection is closed.
        self.db.execute_batch("COMMIT")?;
        let copied = super::backup_to(&self.db, path, progress);
        self.db.execute_batch("BEGIN EXCLUSIVE")?;
        copied
    }

    /// Commits, and leaves no -wal behind where none was. Returns whether the path led to that store to the end.
    ///
    /// # Errors
    /// When SQLite says that it cannot commit. That does not prove that nothing was changed: if what it wrote last could
    /// not be synced, whoever opens the store next may find the transaction whole. What is on disk tells.
    pub fn commit(mut self) -> Result<bool> {
        super::interrupt::check()?;
        if !self.found.is_still_there(&self.path) {
            let row = format!("store {}", self.path.display());
            return Err(Error::row_changed(row, "another file has taken its place meanwhile"));
        }
        self.db.execute_batch("COMMIT")?;
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

fn begin(db: &Connection) -> rusqlite::Result<()> {
    db.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    db.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    db.pragma_update(None, "synchronous", "FULL")?;
    // What the way back changes and gives up again goes to no file of its own.
    db.pragma_update(None, "temp_store", "MEMORY")?;
    db.execute_batch("BEGIN EXCLUSIVE")
}

fn in_use(path: &Path) -> Error {
    let holders = describe(&holders(path));
    Error::new(ErrorCode::StoreInUse, format!("{} is in use by another process{holders}", path.display()))
}

/// What keeps the store from being written now, as far as that can be told without opening it. A lock that nobody's open file
/// explains is found by [`Exclusive::open`] alone.
#[must_use]
pub fn check_ready(path: &Path) -> Vec<Error> {
    let in_use = if holders(path).is_empty() { None } else { Some(in_use(path)) };
    in_use.into_iter().chain(check_writable(path).err()).collect()
}

fn check_writable(path: &Path) -> Result<()> {
    let real = path.canonicalize().map_err(|e| Error::io(path, "read", e))?;
    let folder = real.parent().unwrap_or(Path::new("/"));
    // Asking beats guessing from mode bits: owners, groups and read-only mounts all have their say.
    std::fs::OpenOptions::new().append(true).open(path).map_err(|e| Error::io(path, "write", e))?;
    // On Windows the mark means nothing for a folder.
    let read_only =
        |p: &Path| std::fs::metadata(p).is_ok_and(|m| m.permissions().readonly() && (cfg!(unix) || m.is_file()));
    let closed = [path, folder].into_iter().find(|p| read_only(p));
    match closed.or_else(|| (!crate::files::may_write(folder)).then_some(folder)) {
        Some(closed) => Err(Error::denied("write", closed)),
        None => Ok(()),
    }
}
