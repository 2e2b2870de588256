//! The one write transaction, for a repair and for an undo.
//!
//! The plan that was shown is made once more under the lock and must come out the same. Then: every edit guarded by what its
//! row was, the rows read back, what the plan is to reach proven on them, the way back tried, the journal sealed, the commit,
//! the commit noted.

mod extract;
mod newer;
mod ready;
mod relink;
mod repair;
mod undo;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use jiff::Timestamp;

pub use ready::{Places, obstacles};
pub use relink::{PlannedRelink, plan_relink, relink};
pub use repair::{Lacking, PlannedRepair, RepairOptions, plan_repair, repair};
pub use undo::{JournalLine, JournalState, PlannedUndo, list_journals, pick_journal, plan_undo, undo};

use crate::audit::every_misfit;
use crate::error::{Error, ErrorCode, Result};
use crate::history::log::Log;
use crate::history::{Message, Session, SessionInfo, UnreadableRow};
use crate::journal::{Entry, Header, JournalWriter, Kind, VERSION};
use crate::repair::undo::{RowsNow, Standing};
use crate::repair::{Check, Plan, touched};
use crate::rows::digest;
use crate::store::{Edits, Exclusive, Loaded, Touched, UntouchedDigest, with_snapshot};

/// How a plan is carried out.
pub struct ApplyOptions<'a> {
    /// How long to wait for others to close the store.
    pub wait: Duration,
    /// The folder in which undo journals are kept.
    pub journals: &'a Path,
    /// A file for a full copy of the store, made before anything is changed.
    pub backup: Option<PathBuf>,
    /// A folder for the files that leave a history.
    pub extract: Option<PathBuf>,
    /// The present, in ms since the epoch.
    pub now: i64,
    /// Is given the pages copied so far and all pages, while a backup is made.
    pub progress: &'a mut dyn FnMut(u64, u64),
}

impl<'a> ApplyOptions<'a> {
    /// Without a backup, and with no files saved.
    pub fn new(journals: &'a Path, wait: Duration, now: i64, progress: &'a mut dyn FnMut(u64, u64)) -> Self {
        Self { wait, journals, backup: None, extract: None, now, progress }
    }
}

impl std::fmt::Debug for ApplyOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApplyOptions")
            .field("wait", &self.wait)
            .field("journals", &self.journals)
            .finish_non_exhaustive()
    }
}

/// A plan that was carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// What `undo` calls it.
    pub journal: String,
    /// What has to be said of it all the same.
    pub warning: Option<Warning>,
}

/// Something that went wrong, and did not keep the changes from being made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// The store was moved during the commit, and another file has taken its place: what was done was done to the file that
    /// was moved.
    Moved,
    /// The disk failed while the changes were made to last, with this error. They are in force.
    DiskFailed(String),
}

/// What must hold of a session before its edits are committed.
enum Postcondition {
    /// Of a session of opencode 1.
    Older(Box<Older>),
    /// Of a session of opencode 2.
    Newer(newer::Newer),
}

impl Postcondition {
    fn session(&self) -> &str {
        match self {
            Self::Older(older) => &older.info.id,
            Self::Newer(newer) => newer.session(),
        }
    }

    fn check(&self, exclusive: &Exclusive, touched: &Touched<'_>) -> Result<()> {
        let failed = match self {
            Self::Older(older) => older.check(exclusive, touched)?,
            Self::Newer(newer) => newer.check(exclusive, touched)?,
        };
        failed.map_or(Ok(()), |check| {
            let id = self.session();
            let message = format!("the rows of {id} did not pass the check \"{check}\"; everything was rolled back");
            Err(Error::new(ErrorCode::ProofFailed, message))
        })
    }
}

/// The check that rows fail which are not what was planned.
const AS_PLANNED: &str = "the rows are what the plan says";

/// What must hold of a session of opencode 1.
struct Older {
    info: SessionInfo,
    /// A digest of its rows that no edit names.
    untouched: UntouchedDigest,
    /// Its event log is told of the edits.
    log_told: bool,
    /// The history that the edits lead to, where it is known.
    expected: Option<Session>,
    /// How many members of its rows opencode cannot read then, where that is to be proven.
    misfits: Option<usize>,
    /// Parts that cannot be understood then: those whose JSON was broken before they were taken out.
    given_back: Vec<String>,
    /// What else is proven of the rows.
    proof: Proof,
}

/// What is proven of a session's rows as they were read back.
type Proof = Box<dyn Fn(&Session) -> Result<(), Check>>;

/// What is to be carried out.
struct Job<'a> {
    path: &'a Path,
    plan: &'a Plan,
    kind: Kind,
    undoes: Option<String>,
    store_id: &'a str,
}

/// Carries out a plan. `again` makes it once more, from the store as it is under the lock, with what must hold then.
///
/// # Errors
/// Whatever keeps the plan from being carried out; then nothing was changed, but for [`ErrorCode::CommitUnclear`].
fn apply(
    job: &Job<'_>,
    options: &mut ApplyOptions<'_>,
    again: impl FnOnce(&crate::store::Store<'_>) -> Result<(Plan, Vec<Postcondition>)>,
) -> Result<Applied> {
    let exclusive = Exclusive::open(job.path, options.wait)?;
    let located = |e: Error| e.at(job.path);
    let (plan, conditions) = again(&exclusive.store()).map_err(located)?;
    if plan != *job.plan {
        let row = format!("store {}", job.path.display());
        return Err(Error::row_changed(row, "the store has changed since the plan was shown"));
    }
    if let Some(file) = &options.backup {
        exclusive.backup(file, options.progress).map_err(located)?;
    }
    if let Some(folder) = &options.extract {
        extract::save(&exclusive.store(), &plan, folder).map_err(located)?;
    }
    let header = header(job, options);
    let mut journal = JournalWriter::create(options.journals, &header)?;
    let written = write(&exclusive, &plan, &conditions, &mut journal).map_err(located);
    let warning = commit(job.path, exclusive, journal, written, options.now)?;
    Ok(Applied { journal: header.id, warning })
}

fn header(job: &Job<'_>, options: &ApplyOptions<'_>) -> Header {
    let now = options.now;
    let sessions = || job.plan.sessions.iter();
    Header {
        version: VERSION,
        kind: job.kind,
        id: journal_id(job.plan, options),
        undoes: job.undoes.clone(),
        store_id: job.store_id.to_owned(),
        store_path: job.path.display().to_string(),
        time_ms: now,
        sessions: sessions().map(|s| s.id.clone()).collect(),
        steps: sessions().map(|s| (s.id.clone(), s.steps.clone())).collect::<BTreeMap<_, _>>(),
    }
}

/// What `undo` calls a journal: when it was, and a piece of its plan's digest. Two copies of a store that are repaired at once
/// have the same plan: the second gets another piece.
fn journal_id(plan: &Plan, options: &ApplyOptions<'_>) -> String {
    let when = Timestamp::from_millisecond(options.now).unwrap_or_default().strftime("%Y%m%dT%H%M%SZ");
    let text = format!("{} {}", options.now, serde_json::to_string(plan).unwrap_or_default());
    let mut whole = digest(&text);
    loop {
        let id = format!("{when}-{}", &whole[..6]);
        if !JournalWriter::is_taken(options.journals, &id) {
            return id;
        }
        whole = digest(&whole);
    }
}

fn write(exclusive: &Exclusive, plan: &Plan, conditions: &[Postcondition], journal: &mut JournalWriter) -> Result<()> {
    let edits: Vec<Edits<'_>> = plan.sessions.iter().map(|s| (s.id.as_str(), &s.edits[..])).collect();
    let back =
        exclusive.execute(&edits, &mut |session, edit| journal.row(Entry { session: session.to_owned(), edit }))?;
    exclusive.verify(&edits)?;
    for condition in conditions {
        let edits = edits.iter().find(|(id, _)| *id == condition.session()).map_or(&[][..], |(_, edits)| edits);
        condition.check(exclusive, &touched(edits))?;
    }
    exclusive.rehearse(&back)?;
    journal.seal()
}

impl Older {
    /// The rows that no edit names are as they were, and of the others what the plan says: nothing else is known of them.
    fn of_rows(info: SessionInfo, untouched: UntouchedDigest, log_told: bool) -> Self {
        let (expected, misfits, given_back) = (None, None, Vec::new());
        Self { info, untouched, log_told, expected, misfits, given_back, proof: Box::new(|_| Ok(())) }
    }

    /// The check that the rows do not pass, if there is one.
    fn check(&self, exclusive: &Exclusive, touched: &Touched<'_>) -> Result<Option<String>> {
        let failed = |check: &str| Ok(Some(check.to_owned()));
        let store = exclusive.store();
        let (Loaded { session, unreadable }, untouched) =
            store.load_guarded(&self.info, touched, self.expected.as_ref())?;
        let as_expected = self.expected.as_ref().is_none_or(|expected| same(&session, expected));
        let known = |row: &UnreadableRow| row.table == "part" && self.given_back.contains(&row.id);
        if !unreadable.iter().all(known) || untouched != self.untouched || !as_expected {
            return failed(AS_PLANNED);
        }
        if let Err(check) = (self.proof)(&session) {
            return failed(&check.to_string());
        }
        if let Some(n) = self.misfits
            && every_misfit(&store, &session)?.len() != n
        {
            return failed("opencode can read its rows");
        }
        if self.log_told && !matches!(store.log(&session)?, Log::Folds(_)) {
            return failed("the event log folds to the rows");
        }
        Ok(None)
    }
}

/// Whether the rows that were read back are those of the plan, rowids and times of change aside. What their contents are
/// is looked at elsewhere: row by row for those that the plan names, by a digest for all others.
fn same(read: &Session, planned: &Session) -> bool {
    let row = |r: &Message, p: &Message| {
        r.row.id == p.row.id
            && r.row.session_id == p.row.session_id
            && r.row.time_created == p.row.time_created
            && r.role == p.role
            && r.parts.len() == p.parts.len()
            && r.parts.iter().zip(&p.parts).all(|(r, p)| r.id == p.id && r.bytes == p.bytes && r.kind == p.kind)
    };
    read.messages.len() == planned.messages.len()
        && read.messages.iter().zip(&planned.messages).all(|(r, p)| Rc::ptr_eq(r, p) || row(r, p))
}

/// Commits what was `written`, and notes in the journal that it was. Where the commit says that it failed, the rows on disk
/// have the last word: they may be there all the same, and then it was done.
///
/// # Errors
/// What was wrong with `written`, or with the commit: then nothing was changed. [`ErrorCode::CommitUnclear`] when that cannot
/// be told.
fn commit(
    path: &Path,
    exclusive: Exclusive,
    journal: JournalWriter,
    written: Result<()>,
    now: i64,
) -> Result<Option<Warning>> {
    if let Err(error) = written {
        drop(exclusive);
        journal.abandon();
        return Err(error);
    }
    let error = match exclusive.commit() {
        Ok(there) => {
            journal.committed(now);
            return Ok((!there).then_some(Warning::Moved));
        }
        Err(error) => error.at(path),
    };
    if matches!(error.code(), ErrorCode::Interrupted | ErrorCode::RowChanged) {
        // It did not come to the commit.
        return Err(error);
    }
    let found = with_snapshot(path, |store| {
        let mut rows = RowsNow::default();
        let mut failed = None;
        journal.read_back(|entry| failed = failed.take().or(rows.add(&entry.edit, store).err()))?;
        failed.map_or(Ok(rows.standing()), Err)
    });
    match found {
        Ok(Standing::NotDone) => Err(error),
        Ok(Standing::Done) => {
            journal.committed(now);
            Ok(Some(Warning::DiskFailed(error.to_string())))
        }
        Ok(Standing::Changed) | Err(_) => {
            let message = format!(
                "{}: the commit failed ({error}), and it cannot be told now whether the changes are in force",
                path.display()
            );
            Err(Error::new(ErrorCode::CommitUnclear, message))
        }
    }
}
