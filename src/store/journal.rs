//! Journals on disk: private files that are whole and synced before the store is committed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::StoreError;
use super::environment::Environment;
use crate::repair::journal::{Entry, Header, Journal, Line, hex, read};

const SUFFIX: &str = "jsonl";
const UNFINISHED: &str = "partial";

/// The folder in which journals are kept when the user names none: the platform's place for state.
#[must_use]
pub fn default_folder(env: &Environment) -> Option<PathBuf> {
    const NAME: &str = "opencode-unstick";
    // A relative path would mean another folder from every working folder: such a value is to be passed over.
    if let Some(state) = env.var("XDG_STATE_HOME").filter(|p| Path::new(p).is_absolute()) {
        return Some(Path::new(state).join(NAME));
    }
    if cfg!(windows)
        && let Some(local) = env.var("LOCALAPPDATA")
    {
        return Some(Path::new(local).join(NAME));
    }
    let home = env.home.as_ref()?;
    Some(if cfg!(target_os = "macos") {
        home.join("Library/Application Support").join(NAME)
    } else {
        home.join(".local/state").join(NAME)
    })
}

/// A journal that is being written.
#[derive(Debug)]
pub struct JournalWriter {
    file: File,
    partial: PathBuf,
    path: PathBuf,
    digest: Sha256,
    rows: u64,
    sealed: bool,
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options
}

/// Makes the folder and those above it that are missing, so that they last through a power loss: a journal in a
/// folder that is gone is none.
fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let above = folder.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_folder(above)?;
    #[cfg_attr(not(unix), expect(unused_mut))]
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        builder.mode(0o700);
    }
    match builder.create(folder) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists || !folder.is_dir() => Err(e),
        _ => sync_folder(above),
    }
}

/// Makes a change of the folder's entries last through a power loss.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

impl JournalWriter {
    /// Begins a journal in the folder, which is made where it is missing.
    ///
    /// # Errors
    /// When the folder cannot be made or written, or a journal of that id is there already.
    pub fn create(folder: &Path, header: &Header) -> Result<Self, StoreError> {
        let failed = |e| StoreError::Journal { path: folder.to_path_buf(), source: e };
        make_folder(folder).map_err(failed)?;
        let path = folder.join(format!("{}.{SUFFIX}", header.id));
        let partial = folder.join(format!("{}.{UNFINISHED}", header.id));
        // A link that leads nowhere is there as well.
        if path.symlink_metadata().is_ok() {
            return Err(failed(io::Error::new(io::ErrorKind::AlreadyExists, "a journal of that id is there already")));
        }
        let file = private().open(&partial).map_err(failed)?;
        let mut writer = Self { file, partial, path, digest: Sha256::new(), rows: 0, sealed: false };
        writer.line(&Line::Header(header.clone()))?;
        Ok(writer)
    }

    fn failed(&self, source: io::Error) -> StoreError {
        StoreError::Journal { path: self.partial.clone(), source }
    }

    fn line(&mut self, line: &Line) -> Result<(), StoreError> {
        // As it is made, for a row may be large.
        let mut both = Both { file: BufWriter::with_capacity(1 << 16, &self.file), digest: &mut self.digest };
        let written = serde_json::to_writer(&mut both, line).map_err(io::Error::from);
        let written = written.and_then(|()| both.write_all(b"\n")).and_then(|()| both.flush());
        drop(both);
        written.map_err(|e| self.failed(e))
    }

    /// Writes one changed row.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn row(&mut self, entry: Entry) -> Result<(), StoreError> {
        self.rows += 1;
        self.line(&Line::Row(Box::new(entry)))
    }

    /// Ends the journal and makes it last: it is there, whole and synced, under its final name.
    ///
    /// # Errors
    /// When it cannot be written or synced. The store must not be committed then.
    pub fn seal(&mut self) -> Result<(), StoreError> {
        let end = Line::End { rows: self.rows, sha256: hex(self.digest.clone()) };
        self.line(&end)?;
        self.file.sync_all().map_err(|e| self.failed(e))?;
        fs::rename(&self.partial, &self.path).map_err(|e| self.failed(e))?;
        self.sealed = true;
        let folder = self.path.parent().unwrap_or(Path::new("."));
        sync_folder(folder).map_err(|e| self.failed(e))
    }

    /// Gives every row that was written, read from the disk.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read_back(&self, mut each: impl FnMut(Entry)) -> Result<(), StoreError> {
        let path = if self.sealed { &self.path } else { &self.partial };
        open(path, |_, entry| each(entry)).map(|_| ()).map_err(|why| broken(path, why))
    }

    /// Notes that the store was committed. That it could not be noted is no reason to say that it failed: the
    /// store itself tells.
    pub fn committed(mut self, time_ms: i64) {
        let _ = self.line(&Line::Committed { time_ms });
        let _ = self.file.sync_all();
    }

    /// Takes the journal away where it is not whole: nothing was committed. A whole one stays, for a commit that
    /// failed to sync may be in force all the same; the rows tell whether it happened.
    pub fn abandon(self) {
        if !self.sealed {
            let _ = fs::remove_file(&self.partial);
        }
    }
}

/// Writes to a file and to a digest.
struct Both<'a> {
    file: BufWriter<&'a File>,
    digest: &'a mut Sha256,
}

impl Write for Both<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.digest.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn open(path: &Path, each: impl FnMut(&Header, Entry)) -> Result<Journal, String> {
    let file = File::open(path).map_err(|e| e.to_string())?;
    read(BufReader::with_capacity(1 << 16, file), each)
}

fn broken(path: &Path, why: String) -> StoreError {
    StoreError::Journal { path: path.to_path_buf(), source: io::Error::new(io::ErrorKind::InvalidData, why) }
}

/// A file of the journal folder.
#[derive(Debug)]
pub struct Found<T = ()> {
    /// Where it is.
    pub path: PathBuf,
    /// It has its final name, which only whole journals are given.
    pub sealed: bool,
    /// What it is, or what is wrong with it.
    pub journal: Result<Journal, String>,
    /// What was made of its rows.
    pub told: T,
}

impl<T> Found<T> {
    /// Gives every row of the journal once more.
    ///
    /// # Errors
    /// When it can no longer be read.
    pub fn rows(&self, mut each: impl FnMut(Entry)) -> Result<(), StoreError> {
        open(&self.path, |_, entry| each(entry)).map(|_| ()).map_err(|why| broken(&self.path, why))
    }
}

/// All journals of the folder, oldest first. A folder that is not there holds none. Rows are read one at a time: `each`
/// makes of them what is asked for.
///
/// # Errors
/// When the folder is there and cannot be read.
pub fn journals<T: Default>(
    folder: &Path,
    mut each: impl FnMut(&mut T, &Header, Entry),
) -> Result<Vec<Found<T>>, StoreError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(StoreError::Journal { path: folder.to_path_buf(), source: e }),
    };
    let mut out = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| StoreError::Journal { path: folder.to_path_buf(), source: e })?.path();
        let suffix = path.extension().and_then(|s| s.to_str()).unwrap_or_default();
        if suffix != SUFFIX && suffix != UNFINISHED {
            continue;
        }
        let sealed = suffix == SUFFIX;
        let mut told = T::default();
        let journal = open(&path, |header, entry| each(&mut told, header, entry));
        out.push(Found { path, sealed, journal, told });
    }
    out.sort_by_key(|f| (f.journal.as_ref().map_or(0, |j| j.header.time_ms), f.path.clone()));
    Ok(out)
}
