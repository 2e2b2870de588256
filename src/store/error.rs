//! What can be wrong with a store, in words that say what to do next.

use std::path::PathBuf;

use thiserror::Error;

/// A store that could not be read or written. Nothing was changed when one of these is returned.
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
    /// A stable name for scripts (docs/commands.md, "Errors").
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing(_) => "store-missing",
            Self::Folder(_) => "store-is-folder",
            Self::Empty(_) => "store-empty",
            Self::NotSqlite(_) => "not-sqlite",
            Self::NotOpencode { .. } => "not-opencode",
            Self::UnknownSchema { .. } => "unknown-schema",
            Self::Permission { .. } => "no-permission",
            Self::InUse { .. } => "store-in-use",
            Self::Corrupt { .. } => "store-corrupt",
            Self::Changing(_) => "store-changing",
            Self::NeedsRecovery { .. } => "needs-recovery",
            Self::RowChanged { .. } => "row-changed",
            Self::ProofFailed { .. } => "proof-failed",
            Self::Interrupted => "interrupted",
            Self::Journal { .. } => "journal",
            Self::Backup { .. } => "backup",
            Self::Sqlite { .. } => "sqlite",
            Self::Io { .. } => "io",
        }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Missing(_) | Self::Folder(_) | Self::Empty(_) | Self::NotSqlite(_) | Self::NotOpencode { .. } => {
                "name opencode's database with --db; it is usually ~/.local/share/opencode/opencode.db"
            }
            Self::UnknownSchema { .. } => {
                "look for a newer version of unstick, or report the opencode version that made it"
            }
            Self::Permission { .. } => {
                "run it as the user whose opencode it is, or copy the store and name the copy with --db"
            }
            Self::InUse { .. } => {
                "quit opencode (every window and server) and try again, or give it time with --wait SECONDS"
            }
            Self::Corrupt { .. } => {
                "nothing was changed; recover a copy with `sqlite3 STORE .recover` and name that with --db"
            }
            Self::Changing(_) => "try again when opencode is less busy",
            Self::NeedsRecovery { .. } => {
                "start opencode once and quit it, so that SQLite can recover the store; then try again"
            }
            Self::RowChanged { .. } => "run it again: a new plan is made from what is there now",
            Self::ProofFailed { .. } => "please report this; the store is as it was",
            Self::Journal { .. } => "name another folder with --journal DIR; nothing was changed",
            Self::Backup { .. } => "name another file with --backup FILE; nothing was changed",
            Self::Interrupted | Self::Sqlite { .. } | Self::Io { .. } => return None,
        })
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
