//! Listing journals, and planning and carrying out an undo. The file may stay larger than it was.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

use super::{Applied, ApplyOptions, Job, Older, Postcondition, newer};
use crate::diagnosis::{Left, LeftReason};
use crate::error::{Error, ErrorCode, Result};
use crate::journal::{Found, Header, Journal, Kind};
use crate::repair::undo::{RowsNow, Standing, Taken, Undo};
use crate::repair::{Plan, touched};
use crate::rows::{Lookup, Op, RowEdit, Table, text};
use crate::store::{Loaded, Store, Touched, with_snapshot};

/// How a journal stands to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema, strum::Display)]
#[serde(rename_all = "kebab-case")]
pub enum JournalState {
    /// It was done and can be taken back.
    #[strum(serialize = "done")]
    Done,
    /// It was done, and rows have changed since.
    #[strum(serialize = "done, rows have changed since")]
    ChangedSince,
    /// All of it was taken back.
    #[strum(serialize = "taken back")]
    TakenBack,
    /// It was never committed.
    #[strum(serialize = "never happened")]
    NeverHappened,
    /// Its commit was not noted, and rows have changed since.
    #[strum(serialize = "unclear, rows have changed since")]
    Unclear,
    /// It is about another store.
    #[strum(serialize = "of another store")]
    OtherStore,
    /// The file cannot be understood.
    #[strum(serialize = "cannot be read")]
    Broken,
    /// There is no store to compare it with.
    #[strum(serialize = "no store to compare with")]
    Unknown,
}

impl JournalState {
    /// Whether it may be taken back.
    #[must_use]
    pub fn open(self) -> bool {
        matches!(self, Self::Done | Self::ChangedSince | Self::Unclear)
    }
}

/// A journal in a list.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct JournalLine {
    /// What `undo` calls it.
    pub id: String,
    /// What it is of.
    pub kind: Option<Kind>,
    /// The journal that it takes back.
    pub undoes: Option<String>,
    /// When, in ms since the epoch.
    pub time_ms: Option<i64>,
    /// Where the store was.
    pub store_path: Option<String>,
    /// The sessions that it touches.
    pub sessions: Vec<String>,
    /// How it stands.
    pub state: JournalState,
    /// What is wrong with the file.
    pub detail: Option<String>,
    /// The store was another file then, such as a copy of this one.
    #[serde(skip)]
    pub elsewhere: bool,
}

impl JournalLine {
    fn new(header: &Header, state: JournalState) -> Self {
        Self {
            id: header.id.clone(),
            kind: Some(header.kind),
            undoes: header.undoes.clone(),
            time_ms: Some(header.time_ms),
            store_path: Some(header.store_path.clone()),
            sessions: header.sessions.clone(),
            state,
            detail: None,
            elsewhere: false,
        }
    }

    /// A file that is no journal, or a damaged one. Without its final name it was still being written, and what it would have
    /// told of was never committed.
    fn broken(path: &Path, why: &str, sealed: bool) -> Self {
        Self {
            id: path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default(),
            kind: None,
            undoes: None,
            time_ms: None,
            store_path: None,
            sessions: Vec::new(),
            state: if sealed { JournalState::Broken } else { JournalState::NeverHappened },
            detail: Some(why.to_owned()),
            elsewhere: false,
        }
    }
}

/// A plan to take a repair back.
#[derive(Debug)]
pub struct PlannedUndo {
    /// The journal that is taken back.
    pub journal: Header,
    /// What is to be done.
    pub plan: Plan,
    /// Sessions that are left, and why.
    pub left: Vec<Left>,
    /// The titles of the sessions of both, by id.
    pub titles: Vec<(String, String)>,
    /// The journal's edits, by session.
    edits: BTreeMap<String, Vec<RowEdit>>,
}

/// How each journal stands to the store at `path`, oldest first; `None` where there is no store to compare them with.
///
/// # Errors
/// What is wrong with the store, or with a journal that is read again.
pub fn list_journals(path: Option<&Path>, found: &[Found]) -> Result<Vec<JournalLine>> {
    let Some(path) = path else {
        return Ok(found.iter().map(without_store).collect());
    };
    with_snapshot(path, |store| {
        let id = store.identity()?;
        let line = |f| -> Result<JournalLine> {
            let line = line(f, found, &id, store)?;
            let elsewhere = line.store_path.as_deref().is_some_and(|of| !same_file(path, Path::new(of)));
            Ok(JournalLine { elsewhere, ..line })
        };
        found.iter().map(line).collect()
    })
}

fn same_file(one: &Path, other: &Path) -> bool {
    one == other || one.canonicalize().is_ok_and(|one| other.canonicalize().is_ok_and(|other| one == other))
}

fn without_store(found: &Found) -> JournalLine {
    match &found.journal {
        Err(why) => JournalLine::broken(&found.path, why, found.sealed),
        Ok(journal) => JournalLine::new(&journal.header, JournalState::Unknown),
    }
}

fn line(of: &Found, found: &[Found], store_id: &str, rows: &dyn Lookup) -> Result<JournalLine> {
    let journal = match &of.journal {
        Err(why) => return Ok(JournalLine::broken(&of.path, why, of.sealed)),
        Ok(j) if j.header.store_id != store_id => return Ok(JournalLine::new(&j.header, JournalState::OtherStore)),
        Ok(journal) => journal,
    };
    let mut now = BySession::default();
    let mut failed = None;
    of.rows(|entry| failed = failed.take().or(now.0.entry(entry.session).or_default().add(&entry.edit, rows).err()))?;
    if let Some(error) = failed {
        return Err(error);
    }
    // Only whole journals get their final name: what breaks off under it was damaged later.
    if of.sealed && !journal.whole && !now.never_happened(journal) {
        return Ok(JournalLine::broken(&of.path, "it breaks off before its end", true));
    }
    Ok(JournalLine::new(&journal.header, now.state(journal, &now.undone(found, journal))))
}

/// What the rows of the store say of each session of a journal.
#[derive(Default)]
struct BySession(BTreeMap<String, RowsNow>);

impl BySession {
    fn of(edits: &BTreeMap<String, Vec<RowEdit>>, rows: &dyn Lookup) -> Result<Self> {
        let mut out = Self::default();
        for (id, edits) in edits {
            let now = out.0.entry(id.clone()).or_default();
            for edit in edits {
                now.add(edit, rows)?;
            }
        }
        Ok(out)
    }

    /// How the store stands to all of these sessions together.
    fn standing<'a>(&self, of: impl Iterator<Item = &'a String>) -> Standing {
        of.filter_map(|id| self.0.get(id)).fold(RowsNow::default(), |all, one| all.and(*one)).standing()
    }

    /// Sessions of the journal that are taken back. The rows have the last word: a copy of the store may have been taken back
    /// and this one not, an undo may have been taken back itself, and the note of a commit may be missing.
    fn undone(&self, found: &[Found], journal: &Journal) -> BTreeSet<String> {
        let undos: Vec<&Journal> = found
            .iter()
            .filter_map(|f| f.journal.as_ref().ok())
            .filter(|j| j.whole && j.header.undoes.as_deref() == Some(journal.header.id.as_str()))
            .collect();
        let gone = |session: &String| match self.standing(std::iter::once(session)) {
            Standing::Done => false,
            Standing::NotDone => journal.committed,
            Standing::Changed => undos.iter().any(|undo| undo.committed && undo.header.sessions.contains(session)),
        };
        journal.header.sessions.iter().filter(|s| gone(s)).cloned().collect()
    }

    /// Whether the rows of a journal that breaks off show that it was never committed.
    fn never_happened(&self, journal: &Journal) -> bool {
        journal.rows > 0 && self.standing(self.0.keys()) == Standing::NotDone
    }

    fn state(&self, journal: &Journal, undone: &BTreeSet<String>) -> JournalState {
        if !journal.whole {
            return JournalState::NeverHappened;
        }
        if !journal.header.sessions.is_empty() && journal.header.sessions.iter().all(|s| undone.contains(s)) {
            return JournalState::TakenBack;
        }
        match self.standing(self.0.keys().filter(|s| !undone.contains(*s))) {
            Standing::Done => JournalState::Done,
            // The commit is noted after it; where it was not, the rows tell.
            Standing::NotDone if !journal.committed => JournalState::NeverHappened,
            _ if journal.committed => JournalState::ChangedSince,
            _ => JournalState::Unclear,
        }
    }
}

/// The journal that is meant: by id or a unique prefix, or the newest repair that can be taken back, those of this
/// very file first.
///
/// # Errors
/// When there is none, or several, or it cannot be taken back.
pub fn pick_journal<'a>(lines: &'a [JournalLine], wanted: Option<&str>) -> Result<&'a JournalLine> {
    let Some(wanted) = wanted else {
        let open = |l: &&JournalLine| matches!(l.kind, Some(Kind::Repair | Kind::Relink)) && l.state.open();
        let newest = || lines.iter().rev().filter(open);
        // Copies of a store share its journals: what was done to another file counts where it fits these rows.
        return newest()
            .find(|l| !l.elsewhere || l.state == JournalState::Done)
            .or_else(|| newest().next())
            .ok_or_else(|| Error::new(ErrorCode::NothingToUndo, "there is no repair of this store to take back"));
    };
    let found: Vec<&JournalLine> = lines.iter().filter(|l| l.id == wanted).collect();
    let found = if found.is_empty() && !wanted.is_empty() {
        lines.iter().filter(|l| l.id.starts_with(wanted)).collect()
    } else {
        found
    };
    let line = match found[..] {
        [line] => line,
        [] => return Err(Error::new(ErrorCode::NoSuchJournal, format!("no journal is called `{wanted}`"))),
        _ => return Err(Error::new(ErrorCode::SeveralJournals, format!("`{wanted}` is {} journals", found.len()))),
    };
    if line.state.open() {
        Ok(line)
    } else {
        Err(Error::new(ErrorCode::NothingToUndo, format!("{} cannot be taken back: {}", line.id, line.state)))
    }
}

/// Plans the taking back of a journal, for the store at `path`. `now` is the present, in ms since the epoch.
///
/// # Errors
/// What is wrong with the store or the journal.
pub fn plan_undo(path: &Path, found: &[Found], id: &str, now: i64) -> Result<PlannedUndo> {
    let (kept, journal) = journal(found, id)?;
    let mut edits: BTreeMap<String, Vec<RowEdit>> = BTreeMap::new();
    kept.rows(|entry| edits.entry(entry.session).or_default().push(entry.edit))?;
    with_snapshot(path, |store| {
        let work = plan(store, Recorded { journal, edits: &edits, found }, now, None)?;
        let (journal, edits) = (journal.header.clone(), edits.clone());
        Ok(PlannedUndo { journal, plan: work.plan, left: work.left, titles: work.titles, edits })
    })
}

fn journal<'a>(found: &'a [Found], id: &str) -> Result<(&'a Found, &'a Journal)> {
    found
        .iter()
        .filter_map(|f| f.journal.as_ref().ok().map(|journal| (f, journal)))
        .find(|(_, journal)| journal.header.id == id)
        .ok_or_else(|| Error::new(ErrorCode::NoSuchJournal, "the journal is gone"))
}

/// Carries out an undo that was shown.
///
/// # Errors
/// Whatever keeps it from being carried out; then nothing was changed, but for [`ErrorCode::CommitUnclear`].
pub fn undo(path: &Path, found: &[Found], shown: &PlannedUndo, options: &mut ApplyOptions<'_>) -> Result<Applied> {
    let (_, journal) = journal(found, &shown.journal.id)?;
    let job = Job {
        path,
        plan: &shown.plan,
        kind: Kind::Undo,
        undoes: Some(shown.journal.id.clone()),
        store_id: &shown.journal.store_id,
    };
    let now = options.now;
    super::apply(&job, options, |store| {
        let recorded = Recorded { journal, edits: &shown.edits, found };
        let work = plan(store, recorded, now, Some(&shown.plan))?;
        Ok((work.plan, work.conditions))
    })
}

#[derive(Default)]
struct Work {
    plan: Plan,
    left: Vec<Left>,
    titles: Vec<(String, String)>,
    conditions: Vec<Postcondition>,
}

impl Work {
    /// Plans the taking back of the edits of a session of opencode 2.
    fn newer(&mut self, store: &Store<'_>, id: &str, taken: Taken<'_>) -> Result<()> {
        let Some(session) = store.newer_session(id)? else {
            self.left.push(gone(id));
            return Ok(());
        };
        self.titles.push((id.to_owned(), session.info.title.clone()));
        match newer::take_back(store, &session, taken)? {
            (Undo::Left(left), _) => self.left.push(left),
            (Undo::Plan(plan), condition) => {
                self.conditions.push(condition);
                self.plan.sessions.push(plan);
            }
        }
        Ok(())
    }
}

fn gone(id: &str) -> Left {
    let detail = "the session is gone, or its row cannot be read".to_owned();
    Left { id: id.to_owned(), reason: LeftReason::RowChanged, detail }
}

/// What is on record of what is to be taken back.
#[derive(Clone, Copy)]
struct Recorded<'a> {
    journal: &'a Journal,
    /// Its edits, by session.
    edits: &'a BTreeMap<String, Vec<RowEdit>>,
    /// All journals that there are.
    found: &'a [Found],
}

/// Plans the taking back of every session of the journal that is not taken back yet, or, of these, of those that are in
/// `shown`.
fn plan(store: &Store<'_>, recorded: Recorded<'_>, now: i64, shown: Option<&Plan>) -> Result<Work> {
    let Recorded { journal, edits, found } = recorded;
    let mut work = Work::default();
    let done = BySession::of(edits, store)?.undone(found, journal);
    let wanted = |id: &String| shown.is_none_or(|plan| plan.sessions.iter().any(|s| s.id == *id));
    for id in journal.header.sessions.iter().filter(|id| !done.contains(*id) && wanted(id)) {
        let steps = journal.header.steps.get(id).map_or(&[][..], Vec::as_slice);
        let of_session = edits.get(id).map_or(&[][..], Vec::as_slice);
        if of_session.iter().any(|edit| edit.table == Table::SessionMessage) {
            work.newer(store, id, Taken { edits: of_session, steps })?;
            continue;
        }
        let Some(info) = store.session(id)? else {
            work.left.push(gone(id));
            continue;
        };
        work.titles.push((id.clone(), info.title.clone()));
        let edits = of_session;
        let but: Touched<'_> = touched(edits);
        let (Loaded { session, unreadable }, untouched) = store.load_guarded(&info, &but, None)?;
        if unreadable.iter().any(|row| row.table != "part" || !but.contains(&(Table::Part, row.id.as_str()))) {
            work.left.push(Left::new(id, LeftReason::Unreadable));
            continue;
        }
        let log = store.log(&session)?;
        match crate::repair::undo::plan_undo(&session, Taken { edits, steps }, &log, store, now)? {
            Undo::Left(left) => work.left.push(left),
            Undo::Plan(plan) => {
                // A repair that did not tell the log may have made rows what it says by chance.
                let log_told = plan.edits.iter().any(|edit| edit.table.is_log());
                let given_back = broken_parts(&plan.edits);
                let condition = Older { given_back, ..Older::of_rows(info, untouched, log_told) };
                work.conditions.push(Postcondition::Older(Box::new(condition)));
                work.plan.sessions.push(plan);
            }
        }
    }
    Ok(work)
}

/// The parts whose JSON is broken among the rows that edits make.
fn broken_parts(edits: &[RowEdit]) -> Vec<String> {
    let made = edits.iter().filter(|edit| edit.table == Table::Part && edit.op() == Op::Insert);
    let broken = |edit: &&RowEdit| {
        edit.after.as_ref().and_then(|row| text(row, "data")).is_some_and(|data| !crate::json::is_json(data))
    };
    made.filter(broken).map(|edit| edit.id.clone()).collect()
}
