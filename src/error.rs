//! One error type for the whole program: a stable code, what happened, what is behind it, and what to do next.

use std::fmt;
use std::io;
use std::path::Path;

use serde::Serialize;
use strum::{Display, EnumIter, IntoStaticStr};

/// The result of anything that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong. Nothing was changed when one of these is returned, but for [`ErrorCode::CommitUnclear`].
#[derive(Debug)]
pub struct Error {
    code: ErrorCode,
    message: String,
    /// The message names the file that it is about, or is about none.
    located: bool,
    cause: Option<&'static str>,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error with a message that says it all.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), located: true, cause: None, hint: None, source: None }
    }

    /// Sets what is behind it, where that is more exact than what the code tells.
    #[must_use]
    pub fn because(mut self, cause: &'static str) -> Self {
        self.cause = Some(cause);
        self
    }

    /// Sets what to do next, where that is more exact than what the code tells.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The operating system's error about `path`; `what` was to be done with it: `read`, `write`, `make`.
    #[must_use]
    pub fn io(path: &Path, what: &'static str, source: io::Error) -> Self {
        let (code, message) = match source.kind() {
            io::ErrorKind::NotFound => (ErrorCode::StoreMissing, format!("there is no file at {}", path.display())),
            io::ErrorKind::PermissionDenied => (ErrorCode::NoPermission, denied(what, path)),
            _ => (ErrorCode::Io, format!("{}: {source}", path.display())),
        };
        Self { source: Some(source.into()), ..Self::new(code, message) }
    }

    /// The operating system does not allow `what` with `path`.
    #[must_use]
    pub fn denied(what: &'static str, path: &Path) -> Self {
        Self::new(ErrorCode::NoPermission, denied(what, path))
    }

    /// A row is not what it was when a plan was made. Everything was rolled back.
    pub fn row_changed(row: impl fmt::Display, detail: impl fmt::Display) -> Self {
        Self::new(ErrorCode::RowChanged, format!("{row}: {detail}; everything was rolled back"))
    }

    /// A page or an index of the store does not hold what it must. The path is set where the store is opened.
    pub fn damaged(detail: impl Into<String>) -> Self {
        Self { located: false, ..Self::new(ErrorCode::StoreCorrupt, detail) }
    }

    /// The tables have a form that nobody measured. The path is set where the store is opened.
    #[must_use]
    pub fn unknown_schema(detail: String) -> Self {
        Self { located: false, ..Self::new(ErrorCode::UnknownSchema, detail) }
    }

    /// The program was stopped from outside.
    #[must_use]
    pub fn interrupted() -> Self {
        Self::new(ErrorCode::Interrupted, "interrupted; nothing was changed")
    }

    /// Names the store that the error is about, where it does not yet.
    #[must_use]
    pub fn at(mut self, path: &Path) -> Self {
        if self.located {
            return self;
        }
        let (shown, detail) = (path.display(), &self.message);
        if self.code == ErrorCode::Sqlite && self.is_cannot_open() && matches!(path.try_exists(), Ok(false)) {
            self.code = ErrorCode::StoreMissing;
        }
        self.message = match self.code {
            ErrorCode::StoreMissing => format!("there is no file at {shown}"),
            ErrorCode::StoreInUse => format!("{shown} is in use by another process"),
            ErrorCode::StoreCorrupt => format!("{shown} is damaged: {detail}"),
            ErrorCode::UnknownSchema => format!("{shown} has a schema that this version does not know: {detail}"),
            ErrorCode::NotSqlite => format!("{shown} is not a SQLite database"),
            ErrorCode::NoPermission => format!("no permission to {detail} {shown}"),
            _ => format!("{shown}: {detail}"),
        };
        self.located = true;
        self
    }

    fn is_cannot_open(&self) -> bool {
        let sqlite = self.source.as_ref().and_then(|e| e.downcast_ref::<rusqlite::Error>());
        sqlite.and_then(rusqlite::Error::sqlite_error_code) == Some(rusqlite::ErrorCode::CannotOpen)
    }

    /// Its stable name (docs/errors.md).
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// What is behind it, in one sentence.
    #[must_use]
    pub fn cause(&self) -> &'static str {
        self.cause.unwrap_or(self.code.cause())
    }

    /// What to do next.
    #[must_use]
    pub fn next(&self) -> &str {
        self.hint.as_deref().unwrap_or(self.code.next())
    }
}

fn denied(what: &str, path: &Path) -> String {
    format!("no permission to {what} {}", path.display())
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|e| &**e as _)
    }
}

/// SQLite's error by what it means for a person. It names no file: [`Error::at`] does, where the store is opened.
impl From<rusqlite::Error> for Error {
    fn from(source: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode as Sqlite;
        let (code, message) = match source.sqlite_error_code() {
            Some(Sqlite::DatabaseBusy | Sqlite::DatabaseLocked) => (ErrorCode::StoreInUse, String::new()),
            Some(Sqlite::DatabaseCorrupt) => (ErrorCode::StoreCorrupt, source.to_string()),
            Some(Sqlite::NotADatabase) => (ErrorCode::NotSqlite, String::new()),
            Some(Sqlite::ReadOnly) => (ErrorCode::NoPermission, "write".to_owned()),
            Some(Sqlite::PermissionDenied) => (ErrorCode::NoPermission, "read".to_owned()),
            Some(Sqlite::OperationInterrupted) => return Self::interrupted(),
            _ => (ErrorCode::Sqlite, source.to_string()),
        };
        Self { code, message, located: false, cause: None, hint: None, source: Some(source.into()) }
    }
}

/// Standard output cannot be written.
impl From<io::Error> for Error {
    fn from(source: io::Error) -> Self {
        let message = source.to_string();
        Self { source: Some(source.into()), ..Self::new(ErrorCode::Failed, message) }
    }
}

/// An error's code. Names are stable; a later version only adds (docs/errors.md, which a test holds against this).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Display, EnumIter, IntoStaticStr)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
#[non_exhaustive]
pub enum ErrorCode {
    /// No file is where opencode would have its store.
    NoStore,
    /// The file that was named is not there.
    StoreMissing,
    /// A folder was named.
    StoreIsFolder,
    /// The file has no bytes.
    StoreEmpty,
    /// The file has not SQLite's header.
    NotSqlite,
    /// SQLite, but not opencode's.
    NotOpencode,
    /// opencode's tables in a form that nobody measured.
    UnknownSchema,
    /// The operating system does not allow it.
    NoPermission,
    /// Another process has the store.
    StoreInUse,
    /// SQLite says that it is damaged.
    StoreCorrupt,
    /// It changed again and again while it was read.
    StoreChanging,
    /// A crash left it, and it is too large to be read from a copy.
    NeedsRecovery,
    /// Anything else that SQLite says.
    Sqlite,
    /// Anything else that the operating system says.
    Io,
    /// What was to be written did not fit what is there.
    RowChanged,
    /// A proof did not hold.
    ProofFailed,
    /// The commit failed, and what is on disk cannot be read.
    CommitUnclear,
    /// What would be written does not fit the disk.
    DiskFull,
    /// The undo journal cannot be kept.
    Journal,
    /// There is no folder for it.
    NoJournalFolder,
    /// The copy that was asked for cannot be made.
    Backup,
    /// The arguments make no sense.
    Usage,
    /// No session is called that.
    NoSuchSession,
    /// Several are.
    SeveralSessions,
    /// The call is about one store.
    SeveralStores,
    /// A WHEN that is none.
    BadTime,
    /// Nobody is there to be asked.
    NeedsYes,
    /// The file that was to be written is there.
    FileExists,
    /// A file cannot be written.
    CannotWrite,
    /// No journal is called that.
    NoSuchJournal,
    /// Several are.
    SeveralJournals,
    /// There is no repair to take back.
    NothingToUndo,
    /// A file that is no session that opencode has exported.
    BadExport,
    /// It is an exported session, and only a store can be written.
    IsExport,
    /// Ctrl-C.
    Interrupted,
    /// Anything else.
    Failed,
}

impl ErrorCode {
    /// What is behind it, in one sentence for people.
    #[must_use]
    pub fn cause(self) -> &'static str {
        match self {
            Self::NoStore => {
                "opencode has not run as this user, keeps its data elsewhere, or has several stores to choose from"
            }
            Self::StoreMissing => "the path is misspelt, or the file was moved or removed",
            Self::StoreIsFolder => "the folder was named in place of the database in it",
            Self::StoreEmpty => "the file was made and never filled, or a copy broke off",
            Self::NotSqlite => "the file does not begin as a SQLite database does",
            Self::NotOpencode => "the database does not hold the tables of opencode",
            Self::UnknownSchema => {
                "an opencode that was not measured, or another program, has changed the tables, so nothing is guessed"
            }
            Self::NoPermission => "the file or its folder belongs to another user, or is protected",
            Self::StoreInUse => {
                "opencode, or another program, has the store open, and writing beside it could lose rows"
            }
            Self::StoreCorrupt => "a page of the database does not hold what it must; a disk or a copy has failed",
            Self::StoreChanging => "opencode wrote each time that the store was read",
            Self::NeedsRecovery => {
                "a crash left the store with a -journal or -wal file that SQLite has to work off first"
            }
            Self::Sqlite => "SQLite could not do what it was asked for",
            Self::Io => "the operating system could not read or write",
            Self::RowChanged => "the store has changed since the plan was made; everything was rolled back",
            Self::CommitUnclear => {
                "the disk failed at the commit, and then the store could not be read: all of it was done, or nothing"
            }
            Self::ProofFailed => {
                "the rows that a repair left did not prove to be what they must be; everything was rolled back"
            }
            Self::DiskFull => "the changed rows, or the undo journal of them, do not fit what is left of the disk",
            Self::Journal => "without an undo journal on disk nothing is written",
            Self::NoJournalFolder => "neither XDG_STATE_HOME nor a home folder is set",
            Self::Backup => "the copy could not be made, or a file of that name is there; nothing is overwritten",
            Self::Usage => "the command line was not understood",
            Self::NoSuchSession => "no id, beginning of an id or title in this store is that",
            Self::SeveralSessions => "the title or the beginning of an id fits more than one session",
            Self::SeveralStores => "what was asked for is about one store, and more than one is meant",
            Self::BadTime => "WHEN is neither a date, nor a local time, nor an age",
            Self::NeedsYes => "nothing is written without a yes, and input is not a terminal",
            Self::FileExists => "nothing is ever overwritten",
            Self::CannotWrite => "the operating system does not let the file be written there, or the disk is full",
            Self::NoSuchJournal => "no repair on record has that id",
            Self::SeveralJournals => "the beginning of an id fits more than one repair",
            Self::NothingToUndo => {
                "every repair of this store is taken back, none was made, or its journal cannot be read"
            }
            Self::BadExport => {
                "`opencode export SESSION > session.json` writes one session; the file is something else, or is cut"
            }
            Self::IsExport => "an export is a copy of one session, which opencode does not read back",
            Self::Interrupted => "it was stopped from outside, by Ctrl-C or a signal",
            Self::Failed => "something went wrong that has no code of its own, such as standard output that is full",
        }
    }

    /// What to do next where nothing more exact is known.
    #[must_use]
    pub fn next(self) -> &'static str {
        match self {
            Self::NoStore
            | Self::StoreMissing
            | Self::StoreIsFolder
            | Self::StoreEmpty
            | Self::NotSqlite
            | Self::NotOpencode => {
                "name opencode's database with `unstick scan --db PATH`; it is usually \
                 ~/.local/share/opencode/opencode.db"
            }
            Self::UnknownSchema => "look for a newer unstick, or report the opencode version that made the store",
            Self::NoPermission => {
                "run it as the user whose opencode it is, or copy the store and name the copy with `unstick scan --db \
                 COPY`"
            }
            Self::StoreInUse => {
                "quit opencode (every window and server) and try again, or give it time with `--wait SECONDS`"
            }
            Self::StoreCorrupt => {
                "recover a copy with `sqlite3 STORE .recover | sqlite3 COPY`, then look at it with `unstick scan --db \
                 COPY`"
            }
            Self::StoreChanging => "try again when opencode is less busy",
            Self::NeedsRecovery => "start opencode once and quit it, so that SQLite recovers the store; then try again",
            Self::Sqlite | Self::Io => "look at the message: the disk, the path or the permissions may need mending",
            Self::RowChanged => "run it again: a new plan is made from what is there now",
            Self::CommitUnclear => "make room or mend the disk; then `unstick undo --list` says whether it was done",
            Self::ProofFailed => {
                "report this with the output of `unstick explain SESSION --json`; the store is as it was"
            }
            Self::DiskFull => {
                "make room on that disk, or keep the journal on another with `unstick repair --journal DIR`"
            }
            Self::Journal | Self::NoJournalFolder => {
                "name a folder that can be written with `unstick repair --journal DIR`"
            }
            Self::Backup => "name another file with `unstick repair --backup FILE`",
            Self::Usage => "see `unstick --help`, or `unstick COMMAND --help`",
            Self::NoSuchSession | Self::SeveralSessions => {
                "name it by its id, the beginning of it, or its exact title if no other has it; `unstick scan --all` lists them"
            }
            Self::SeveralStores => "name one with --db PATH",
            Self::BadTime => "give a date (2026-11-20), a local time (2026-11-20T08:00) or an age (90m, 36h, 7d, 4w)",
            Self::NeedsYes => "add --yes to go on without being asked, or --dry-run to see the plan alone",
            Self::FileExists | Self::CannotWrite => "name another file",
            Self::NoSuchJournal | Self::SeveralJournals | Self::NothingToUndo => {
                "`unstick undo --list` shows what there is"
            }
            Self::BadExport => "export the session again, to a file and not through a pipe",
            Self::IsExport => "repair the session where it comes from: `unstick repair SESSION` beside its store",
            Self::Interrupted => "run it again; nothing was changed",
            Self::Failed => "run it again with --json and report what it says",
        }
    }
}
