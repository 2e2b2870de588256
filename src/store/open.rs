//! Opening for reading without creating or changing anything (docs/architecture.md, "Opening a store").
//!
//! A store in WAL mode may have `-wal` and `-shm` files beside it, and an ordinary read-only open of one that
//! has none creates them. So the way of opening follows from what lies there, and what lay there is checked
//! again at the end.
//!
//! - No -wal or an empty one, no -journal (or one whose first byte is zero: its transaction is over): with `immutable=1`.
//!   At the end the file, size, mtime, SQLite's change counter, -wal and -journal must be what they were; else it is read
//!   again from the start.
//! - A -wal with content and a -shm: with `mode=ro`. SQLite's own snapshot holds.
//! - A -wal without -shm, or a -journal with content: a private temporary copy, up to 4 GiB, checked as the first.

use std::fs::{self, File, Metadata};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::{Schema, Store, interrupt};
use crate::error::{Error, ErrorCode, Result};

/// Largest store, its -wal or -journal counted in, of which a private copy is made, in bytes.
pub const COPY_LIMIT: u64 = 4 << 30;

/// How often a store that changes while it is read is read again.
const ATTEMPTS: u32 = 5;

/// What lies on disk: which file it is, the store's and its side files' sizes and times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    file: Option<(u64, u64)>,
    main: (u64, Option<SystemTime>),
    /// SQLite's own count of the changes: times of change are no finer than the system's clock ticks.
    changes: Option<[u8; 4]>,
    wal: Option<(u64, Option<SystemTime>)>,
    shm: bool,
    /// Size of a rollback journal that has to be played back.
    journal: u64,
}

/// The path of a file beside the store: `-wal`, `-shm` or `-journal`. Where the store is a link, SQLite has
/// them beside the file that it leads to.
#[must_use]
pub fn sidecar(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.canonicalize().unwrap_or_else(|_| path.to_path_buf()).into_os_string();
    name.push(suffix);
    PathBuf::from(name)
}

fn missing(path: &Path) -> Error {
    Error::new(ErrorCode::StoreMissing, format!("there is no file at {}", path.display()))
}

fn not_sqlite(path: &Path) -> Error {
    Error::new(ErrorCode::NotSqlite, format!("{} is not a SQLite database", path.display()))
}

fn stat(path: &Path) -> Result<Option<Metadata>> {
    match fs::metadata(path) {
        Ok(meta) => Ok(Some(meta)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io(path, "read", e)),
    }
}

impl Snapshot {
    /// Looks at the files.
    ///
    /// # Errors
    /// When the store is missing, a folder, empty, not SQLite or not readable.
    pub fn take(path: &Path) -> Result<Self> {
        let meta = stat(path)?.ok_or_else(|| missing(path))?;
        if meta.is_dir() {
            let message = format!("{} is a folder, not a database", path.display());
            return Err(Error::new(ErrorCode::StoreIsFolder, message));
        }
        if !meta.is_file() {
            return Err(not_sqlite(path));
        }
        let of = |suffix: &str| stat(&sidecar(path, suffix));
        let wal = of("-wal")?.map(|m| (m.len(), m.modified().ok()));
        Ok(Self {
            file: which(&meta),
            main: (meta.len(), meta.modified().ok()),
            changes: changes(path),
            wal,
            shm: of("-shm")?.is_some(),
            journal: hot_journal(path)?,
        })
    }

    /// Whether the path leads to the file that it led to then.
    #[must_use]
    pub fn is_still_there(&self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|meta| which(&meta) == self.file)
    }

    /// Size of the main file in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.main.0
    }

    /// Whether a `-wal` lies beside the store, even an empty one.
    #[must_use]
    pub fn has_wal(&self) -> bool {
        self.wal.is_some()
    }

    fn wal_bytes(&self) -> u64 {
        self.wal.map_or(0, |w| w.0)
    }

    fn journal_bytes(&self) -> u64 {
        self.journal
    }
}

/// Which file it is, where the system tells.
fn which(meta: &Metadata) -> Option<(u64, u64)> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        Some((meta.dev(), meta.ino()))
    }
    #[cfg(not(unix))]
    {
        let _ = meta;
        None
    }
}

/// The change counter of the file's header.
fn changes(path: &Path) -> Option<[u8; 4]> {
    let mut header = [0; 28];
    File::open(path).and_then(|mut f| f.read_exact(&mut header)).ok()?;
    header[24..].try_into().ok()
}

/// Size of the store's rollback journal, 0 where there is none that SQLite would play back: one whose first byte
/// is zero belongs to a transaction that was committed.
fn hot_journal(path: &Path) -> Result<u64> {
    let path = sidecar(path, "-journal");
    let Some(meta) = stat(&path)? else { return Ok(0) };
    let mut first = [0];
    let ended = File::open(&path).and_then(|mut f| f.read(&mut first)).is_ok_and(|n| n == 1 && first[0] == 0);
    Ok(if ended { 0 } else { meta.len() })
}

/// How every database of SQLite's begins.
pub const SQLITE_HEADER: &[u8; 16] = b"SQLite format 3\0";

fn check_header(path: &Path) -> Result<()> {
    let mut header = [0u8; 16];
    let mut file = File::open(path).map_err(|e| Error::io(path, "read", e))?;
    match file.read_exact(&mut header) {
        Ok(()) if header == *SQLITE_HEADER => Ok(()),
        Ok(()) => Err(not_sqlite(path)),
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Err(not_sqlite(path)),
        Err(e) => Err(Error::io(path, "read", e)),
    }
}

/// The bytes of a path: on Unix it need not be Unicode.
fn bytes_of(path: &Path) -> Vec<u8> {
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        path.as_os_str().as_bytes().to_vec()
    }
    #[cfg(not(unix))]
    path.to_string_lossy().into_owned().into_bytes()
}

/// A path as the URI that SQLite wants, with every byte that means something in a URI escaped.
fn uri(path: &Path, query: &str) -> String {
    let mut out = String::from("file:");
    for byte in bytes_of(path) {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out.push('?');
    out.push_str(query);
    out
}

/// Settings of every connection: nothing in the file is trusted to run, and closing rewrites nothing.
pub(super) fn harden(db: &mut Connection) -> rusqlite::Result<()> {
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    interrupt::watch(db)?;
    db.pragma_update(None, "cell_size_check", true)?;
    db.pragma_update(None, "foreign_keys", true)?;
    Ok(())
}

/// Copies a file in pieces, so that it can be stopped.
fn copy_file(from: &Path, to: &Path) -> Result<()> {
    let mut source = File::open(from).map_err(|e| Error::io(from, "read", e))?;
    let mut target = File::create_new(to).map_err(|e| Error::io(to, "write", e))?;
    let mut piece = vec![0; 1 << 20];
    loop {
        interrupt::check()?;
        match source.read(&mut piece).map_err(|e| Error::io(from, "read", e))? {
            0 => return Ok(()),
            n => target.write_all(&piece[..n]).map_err(|e| Error::io(to, "write", e))?,
        }
    }
}

struct Opened {
    db: Connection,
    /// Further connections that see the same state.
    others: Mutex<Vec<Connection>>,
    /// Holds the private copy, if one was needed, until the connections are closed.
    _copy: Option<tempfile::TempDir>,
    /// What must still be so at the end.
    unchanged: Option<Snapshot>,
}

/// How a store is opened for reading.
const READ_ONLY: OpenFlags =
    OpenFlags::SQLITE_OPEN_READ_ONLY.union(OpenFlags::SQLITE_OPEN_URI).union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

/// How much of a store each connection keeps in memory, in pages. A walk reads a page of rows once, and these are enough for
/// the inner pages on its way: a quarter of SQLite's own measure costs no time (530 MB: 8 % more reads).
const CACHE: i64 = 128;

/// Stores up to this size are read by one connection, in bytes: more than one costs more than it saves.
const SMALL: u64 = 4 << 20;

/// How often further connections to a store that others write are opened anew, until all see the same state.
const TRIES: u32 = 20;

fn open(path: &Path, now: &Snapshot, threads: usize) -> Result<Opened> {
    let threads = if now.bytes() + now.wal_bytes() < SMALL { 1 } else { threads };
    let crashed = now.journal_bytes() > 0 || (now.wal_bytes() > 0 && !now.shm);
    if crashed {
        return open_copy(path, now, threads);
    }
    if now.wal_bytes() > 0 {
        let uri = uri(path, "mode=ro");
        let (db, others) = open_live(&uri, threads)?;
        return Ok(Opened { db, others: Mutex::new(others), _copy: None, unchanged: None });
    }
    let uri = uri(path, "mode=ro&immutable=1");
    let (db, others) = (connect(&uri)?, connect_all(&uri, threads - 1)?);
    Ok(Opened { db, others: Mutex::new(others), _copy: None, unchanged: Some(now.clone()) })
}

/// Opens a connection and begins a read transaction: everything that is read belongs to one state of the store.
fn connect(uri: &str) -> Result<Connection> {
    let db = Connection::open_with_flags(uri, READ_ONLY)?;
    begin(db)
}

fn begin(mut db: Connection) -> Result<Connection> {
    harden(&mut db)?;
    db.pragma_update(None, "query_only", true)?;
    db.busy_timeout(Duration::from_secs(5))?;
    db.execute_batch("BEGIN")?;
    // The state is fixed by the first read.
    db.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    db.pragma_update(None, "cache_size", CACHE)?;
    Ok(db)
}

fn connect_all(uri: &str, many: usize) -> Result<Vec<Connection>> {
    (0..many).map(|_| connect(uri)).collect()
}

/// Connections to a store that others may write meanwhile. They see one state where nothing was committed between the
/// first one's beginning and its beginning anew after all others: `data_version` tells.
fn open_live(uri: &str, threads: usize) -> Result<(Connection, Vec<Connection>)> {
    let version = |db: &Connection| db.query_row("PRAGMA data_version", [], |row| row.get::<_, i64>(0));
    let db = connect(uri)?;
    let mut before = version(&db)?;
    for _ in 0..TRIES {
        let others = connect_all(uri, threads - 1)?;
        if others.is_empty() {
            return Ok((db, others));
        }
        db.execute_batch("COMMIT; BEGIN")?;
        db.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        let after = version(&db)?;
        if before == after {
            return Ok((db, others));
        }
        before = after;
    }
    Ok((db, Vec::new()))
}

/// Opens a private copy, on which SQLite can work off what a crash has left.
fn open_copy(path: &Path, now: &Snapshot, threads: usize) -> Result<Opened> {
    let why = if now.journal_bytes() > 0 {
        "a rollback journal lies beside it"
    } else {
        "a -wal without -shm lies beside it"
    };
    let bytes = now.bytes() + now.wal_bytes() + now.journal_bytes();
    if bytes > COPY_LIMIT {
        let message = format!(
            "{} was left behind by a crash ({why}) and is too large ({bytes} bytes) to read from a private copy",
            path.display()
        );
        return Err(Error::new(ErrorCode::NeedsRecovery, message));
    }
    let folder = tempfile::tempdir().map_err(|e| Error::io(&std::env::temp_dir(), "write", e))?;
    let copy = folder.path().join("store.db");
    copy_file(path, &copy)?;
    for suffix in ["-wal", "-journal"] {
        let from = sidecar(path, suffix);
        match copy_file(&from, &sidecar(&copy, suffix)) {
            Err(error) if error.code() != ErrorCode::StoreMissing => return Err(error),
            _ => {}
        }
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connect = || begin(Connection::open_with_flags(&copy, flags)?);
    // The first one works it off; nobody writes the copy after that.
    let db = connect()?;
    let others = (1..threads).map(|_| connect()).collect::<Result<_>>()?;
    Ok(Opened { db, others: Mutex::new(others), _copy: Some(folder), unchanged: Some(now.clone()) })
}

/// Opens the store at `path` for reading, runs `read` on it, and makes sure that what was read was not changed meanwhile; if
/// it was, starts over with what is there then.
///
/// # Errors
/// What opening or `read` says; [`ErrorCode::StoreChanging`] when the store never held still.
pub fn with_snapshot<T>(path: &Path, read: impl FnMut(&Store<'_>) -> Result<T>) -> Result<T> {
    with_threads(path, 1, read)
}

/// Like [`with_snapshot`], with [`Store::twins`] for up to `threads` threads.
///
/// # Errors
/// As [`with_snapshot`].
pub fn with_threads<T>(path: &Path, threads: usize, mut read: impl FnMut(&Store<'_>) -> Result<T>) -> Result<T> {
    for _ in 0..ATTEMPTS {
        let before = Snapshot::take(path)?;
        if before.bytes() == 0 && before.wal_bytes() == 0 {
            return Err(Error::new(ErrorCode::StoreEmpty, format!("{} is empty", path.display())));
        }
        if before.bytes() > 0 {
            check_header(path)?;
        }
        let opened = open(path, &before, threads.max(1)).map_err(|e| e.at(path))?;
        let result = attempt(&opened, path, before.bytes() + before.wal_bytes(), &mut read).map_err(|e| e.at(path));
        match &opened.unchanged {
            Some(expected) if Snapshot::take(path)? != *expected => {}
            _ => return result,
        }
        if matches!(&result, Err(error) if error.code() == ErrorCode::Interrupted) {
            return result;
        }
    }
    Err(Error::new(ErrorCode::StoreChanging, format!("{} kept changing while it was read", path.display())))
}

fn attempt<T>(opened: &Opened, path: &Path, bytes: u64, read: &mut impl FnMut(&Store<'_>) -> Result<T>) -> Result<T> {
    let schema = Schema::check(&opened.db, path)?;
    read(&Store::new(&opened.db, path, &schema, bytes, &opened.others))
}

#[cfg(test)]
mod tests {
    use super::{harden, uri};
    use rusqlite::Connection;
    use rusqlite::config::DbConfig;
    use std::path::Path;

    #[test]
    fn a_connection_trusts_nothing_in_the_file() {
        let mut db = Connection::open_in_memory().unwrap();
        harden(&mut db).unwrap();
        for (setting, value) in [
            (DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true),
            (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
            (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
            (DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false),
            (DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false),
        ] {
            assert_eq!(db.db_config(setting).unwrap(), value, "{setting:?}");
        }
        for pragma in ["cell_size_check", "foreign_keys"] {
            let on: bool = db.pragma_query_value(None, pragma, |row| row.get(0)).unwrap();
            assert!(on, "{pragma}");
        }
    }

    #[test]
    fn odd_paths_survive_as_uri() {
        assert_eq!(uri(Path::new("/a b/c?d#e%.db"), "mode=ro"), "file:/a%20b/c%3Fd%23e%25.db?mode=ro");
    }
}
