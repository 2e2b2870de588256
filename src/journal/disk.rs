//! Journals on disk: private files that are whole and synced before the store is committed.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{Entry, Header, Journal, Line, read};
use crate::error::{Error, ErrorCode, Result};
use crate::files::{create_private, make_folder, sync_folder};
use crate::rows::hex;

const SUFFIX: &str = "jsonl";
const UNFINISHED: &str = "partial";

fn failed(path: &Path, source: &io::Error) -> Error {
    let message = format!("the undo journal at {} cannot be written or read: {source}", path.display());
    Error::new(ErrorCode::Journal, message)
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

impl JournalWriter {
    /// Whether a journal of that id is in the folder.
    #[must_use]
    pub fn is_taken(folder: &Path, id: &str) -> bool {
        // A link that leads nowhere is there as well.
        folder.join(format!("{id}.{SUFFIX}")).symlink_metadata().is_ok()
    }

    /// Begins a journal in the folder, which is made where it is missing.
    ///
    /// # Errors
    /// When the folder cannot be made or written, or a journal of that id is there already.
    pub fn create(folder: &Path, header: &Header) -> Result<Self> {
        let failed = |e| failed(folder, &e);
        make_folder(folder).map_err(failed)?;
        let path = folder.join(format!("{}.{SUFFIX}", header.id));
        let partial = folder.join(format!("{}.{UNFINISHED}", header.id));
        if Self::is_taken(folder, &header.id) {
            return Err(failed(io::Error::new(io::ErrorKind::AlreadyExists, "a journal of that id is there already")));
        }
        let file = create_private(&partial).map_err(failed)?;
        let mut writer = Self { file, partial, path, digest: Sha256::new(), rows: 0, sealed: false };
        writer.line(&Line::Header(header.clone()))?;
        Ok(writer)
    }

    fn failed(&self, source: &io::Error) -> Error {
        failed(&self.partial, source)
    }

    fn line(&mut self, line: &Line) -> Result<()> {
        // As it is made, for a row may be large.
        let mut both = Both { file: BufWriter::with_capacity(1 << 16, &self.file), digest: &mut self.digest };
        let written = serde_json::to_writer(&mut both, line).map_err(io::Error::from);
        let written = written.and_then(|()| both.write_all(b"\n")).and_then(|()| both.flush());
        drop(both);
        written.map_err(|e| self.failed(&e))
    }

    /// Writes one changed row.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn row(&mut self, entry: Entry) -> Result<()> {
        self.rows += 1;
        self.line(&Line::Row(Box::new(entry)))
    }

    /// Ends the journal and makes it last: it is there, whole and synced, under its final name.
    ///
    /// # Errors
    /// When it cannot be written or synced. The store must not be committed then.
    pub fn seal(&mut self) -> Result<()> {
        let end = Line::End { rows: self.rows, sha256: hex(&self.digest.clone().finalize()) };
        self.line(&end)?;
        self.file.sync_all().map_err(|e| self.failed(&e))?;
        fs::rename(&self.partial, &self.path).map_err(|e| self.failed(&e))?;
        self.sealed = true;
        let folder = self.path.parent().unwrap_or(Path::new("."));
        sync_folder(folder).map_err(|e| self.failed(&e))
    }

    /// Gives every row that was written, read from the disk.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read_back(&self, mut each: impl FnMut(Entry)) -> Result<()> {
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

fn broken(path: &Path, why: String) -> Error {
    failed(path, &io::Error::new(io::ErrorKind::InvalidData, why))
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
    pub fn rows(&self, mut each: impl FnMut(Entry)) -> Result<()> {
        open(&self.path, |_, entry| each(entry)).map(|_| ()).map_err(|why| broken(&self.path, why))
    }
}

/// All journals of the folder, oldest first. A folder that is not there holds none. Rows are read one at a time: `each`
/// makes of them what is asked for.
///
/// # Errors
/// When the folder is there and cannot be read.
pub fn journals<T: Default>(folder: &Path, mut each: impl FnMut(&mut T, &Header, Entry)) -> Result<Vec<Found<T>>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed(folder, &e)),
    };
    let mut out = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| failed(folder, &e))?.path();
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
