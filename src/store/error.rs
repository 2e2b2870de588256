//! What can be wrong with a store, in a sentence that names the file or row; its code says what to do next.

use std::path::PathBuf;

use thiserror::Error;

use crate::error::ErrorCode;

/// A store that could not be read or written. Nothing was changed when one of these is returned, but for
/// [`StoreError::CommitUnclear`].
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is nothing at the path.
    #[error("there is no file at {}", .0.display())]
    Missing(PathBuf),
    /// The path is a folder.
    #[error("{} is a folder, not a database", .0.display())]
    Folder(PathBuf),
    /// The file has no bytes.
    #[error("{} is empty", .0.display())]
    Empty(PathBuf),
    /// The file has not SQLite's header.
    #[error("{} is not a SQLite database", .0.display())]
    NotSqlite(PathBuf),
    /// SQLite, but not opencode's.
    #[error("{} is a SQLite database, but not an opencode store: {detail}", .path.display())]
    NotOpencode {
        /// The file.
        path: PathBuf,
        /// What is missing.
        detail: String,
    },
    /// opencode's tables in a form that nobody measured.
    #[error("{} has a schema that this version does not know: {detail}", .path.display())]
    UnknownSchema {
        /// The file.
        path: PathBuf,
        /// What was expected and what was found.
        detail: String,
    },
    /// The operating system does not let us read or write.
    #[error("no permission to {what} {}", .path.display())]
    Permission {
        /// `read` or `write`.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
    },
    /// Another process has it open, or holds a lock.
    #[error("{} is in use by another process{holders}", .path.display())]
    InUse {
        /// The file.
        path: PathBuf,
        /// Which processes, where that can be told.
        holders: String,
    },
    /// A page of it is malformed.
    #[error("{} is damaged: {detail}", .path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// SQLite's words.
        detail: String,
    },
    /// It was written to again and again while it was read.
    #[error("{} kept changing while it was read", .0.display())]
    Changing(PathBuf),
    /// A crash left it in a state that only a copy can be read from, and it is too large to copy.
    #[error("{} was left behind by a crash ({why}) and is too large ({bytes} bytes) to read from a private copy", .path.display())]
    NeedsRecovery {
        /// The file.
        path: PathBuf,
        /// Which file beside it tells.
        why: &'static str,
        /// Its size in bytes.
        bytes: u64,
    },
    /// A row was not what the plan said.
    #[error("{table} {id}: {detail}; everything was rolled back")]
    RowChanged {
        /// The table.
        table: String,
        /// The row's id.
        id: String,
        /// What differs.
        detail: String,
    },
    /// One of the proofs did not hold for the rows that the repair left.
    #[error("the repaired rows of {session} did not pass the check \"{check}\"; everything was rolled back")]
    ProofFailed {
        /// The session.
        session: String,
        /// Which proof.
        check: String,
    },
    /// The commit failed, and what is on disk does not tell whether it is in force.
    #[error("{}: the commit failed ({detail}), and it cannot be told now whether the changes are in force", .path.display())]
    CommitUnclear {
        /// The store.
        path: PathBuf,
        /// What the commit said.
        detail: String,
    },
    /// The user stopped it.
    #[error("interrupted; nothing was changed")]
    Interrupted,
    /// The journal, without which nothing is written, cannot be kept.
    #[error("the undo journal at {} cannot be written or read: {source}", .path.display())]
    Journal {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The full copy that was asked for cannot be made.
    #[error("no backup at {}: {detail}", .path.display())]
    Backup {
        /// The file.
        path: PathBuf,
        /// Why.
        detail: String,
    },
    /// Anything else that SQLite says.
    #[error("{}: {source}", .path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// SQLite's error.
        source: rusqlite::Error,
    },
    /// Anything else that the operating system says.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
}

impl StoreError {
    /// Its stable name (docs/errors.md).
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Missing(_) => ErrorCode::StoreMissing,
            Self::Folder(_) => ErrorCode::StoreIsFolder,
            Self::Empty(_) => ErrorCode::StoreEmpty,
            Self::NotSqlite(_) => ErrorCode::NotSqlite,
            Self::NotOpencode { .. } => ErrorCode::NotOpencode,
            Self::UnknownSchema { .. } => ErrorCode::UnknownSchema,
            Self::Permission { .. } => ErrorCode::NoPermission,
            Self::InUse { .. } => ErrorCode::StoreInUse,
            Self::Corrupt { .. } => ErrorCode::StoreCorrupt,
            Self::Changing(_) => ErrorCode::StoreChanging,
            Self::NeedsRecovery { .. } => ErrorCode::NeedsRecovery,
            Self::RowChanged { .. } => ErrorCode::RowChanged,
            Self::ProofFailed { .. } => ErrorCode::ProofFailed,
            Self::CommitUnclear { .. } => ErrorCode::CommitUnclear,
            Self::Interrupted => ErrorCode::Interrupted,
            Self::Journal { .. } => ErrorCode::Journal,
            Self::Backup { .. } => ErrorCode::Backup,
            Self::Sqlite { .. } => ErrorCode::Sqlite,
            Self::Io { .. } => ErrorCode::Io,
        }
    }

    /// SQLite's error about `path`, by what it means for a person.
    #[must_use]
    pub fn sqlite(path: &std::path::Path, source: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        let path = path.to_path_buf();
        match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::InUse { path, holders: String::new() },
            Some(ErrorCode::DatabaseCorrupt) => Self::Corrupt { path, detail: source.to_string() },
            Some(ErrorCode::NotADatabase) => Self::NotSqlite(path),
            Some(ErrorCode::ReadOnly) => Self::Permission { what: "write", path },
            Some(ErrorCode::PermissionDenied) => Self::Permission { what: "read", path },
            Some(ErrorCode::OperationInterrupted) => Self::Interrupted,
            Some(ErrorCode::CannotOpen) if matches!(path.try_exists(), Ok(false)) => Self::Missing(path),
            _ => Self::Sqlite { path, source },
        }
    }

    /// The operating system's error about `path`.
    #[must_use]
    pub fn io(path: &std::path::Path, what: &'static str, source: std::io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            std::io::ErrorKind::NotFound => Self::Missing(path),
            std::io::ErrorKind::PermissionDenied => Self::Permission { what, path },
            _ => Self::Io { path, source },
        }
    }
}
