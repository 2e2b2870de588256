//! Reading a store and judging its sessions.
//!
//! Each session is read once and judged at once, on as many threads as there are views of the store; only who refuses is
//! settled at the end, for a refusal that one session holds counts for all. How little of a row is read, and why that is
//! enough, is told in docs/performance.md. A walk over the messages by `(session_id, time_created, id)` would not do: it is
//! wrong after a message was sent again, which sets `data.time.created` alone.

mod newer;
mod scan;
mod selection;
mod service;
mod unopenable;

use std::collections::HashSet;
use std::path::Path;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::Serialize;

pub use newer::target;
pub use selection::{Selection, when};
pub(crate) use unopenable::{every_misfit, fills};

use crate::diagnosis::{Diagnosis, Judge, Refuses, Scope, model_of, v2};
use crate::error::Result;
use crate::history::{ModelRef, Session, SessionInfo, UnreadableRow};
use crate::opencode2::stored::StoredSession;
use crate::opencode2::{self, import};
use crate::replay::{Bound, Release, Sdk, bound, counting_from};
use crate::sdk::{SdkChoice, SdkResolver};
use crate::store::{Facts, SessionEntry, Store, with_threads};

/// How much an audit is to find out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// Which sessions are stuck.
    Stuck,
    /// Everything that there is to say.
    Findings,
    /// That, and which SDK package stands behind every healthy session as well.
    Everything,
}

/// Which opencode versions count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opencode {
    /// All that were measured.
    Any,
    /// This one and newer ones.
    From(Release),
}

impl FromStr for Opencode {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if text == "any" { Ok(Self::Any) } else { text.parse().map(Self::From) }
    }
}

/// What an audit is told.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Which sessions it is about.
    pub selection: &'a Selection,
    /// How much it is to find out.
    pub want: Want,
    /// Which opencode versions count; `None` where the store is to tell.
    pub opencode: Option<&'a Opencode>,
    /// Models that refuse: `PROVIDER/MODEL`, or a model's id.
    pub refusing: &'a [String],
    /// Models that earlier repairs of a store have proven to refuse, by the store's identity.
    pub proven: &'a dyn Fn(&str) -> Vec<ModelRef>,
    /// Sessions of opencode 2 are judged too.
    pub newer: bool,
    /// Every row is held against what opencode can read, whole.
    pub deep: bool,
    /// What opencode 2's import does to sessions of opencode 1 is told.
    pub import: bool,
    /// Which SDK package stands behind a model.
    pub packages: &'a SdkResolver,
    /// Is given the rows that were read so far and all rows, from time to time.
    pub progress: &'a dyn Fn(u64, u64),
}

impl<'a> Options<'a> {
    /// What a plain scan is told: everything that there is to say, by what the store itself tells.
    #[must_use]
    pub fn new(selection: &'a Selection, packages: &'a SdkResolver) -> Self {
        Self {
            selection,
            want: Want::Findings,
            opencode: None,
            refusing: &[],
            proven: &|_| Vec::new(),
            newer: true,
            deep: false,
            import: false,
            packages,
            progress: &|_, _| {},
        }
    }
}

impl std::fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").field("selection", self.selection).field("want", &self.want).finish_non_exhaustive()
    }
}

/// A store, judged.
#[derive(Debug)]
pub struct Audit<T = ()> {
    /// What the store is.
    pub facts: Facts,
    /// Which opencode it is judged by, and where that comes from.
    pub bound: Bound,
    /// By which rules it was judged.
    pub judge: Judge,
    /// The sessions that the audit is about, newest first.
    pub sessions: Vec<Judged<T>>,
    /// Rows that could not be understood.
    pub unreadable_rows: Vec<UnreadableRow>,
    /// Only tails were looked at.
    pub tails: bool,
    /// How far opencode 2's import has come, where that was asked for and the store tells.
    pub import: Option<Import>,
}

/// How far opencode 2's import of opencode 1's sessions has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Import {
    /// It is over: what opencode 1 makes now is never imported.
    pub completed: bool,
    /// When that was written, in ms since the epoch.
    pub time_ms: i64,
    /// The session that it takes next, or stands at.
    pub next: Option<String>,
    /// Sessions of opencode 1 that opencode 2 does not have.
    pub missing: Vec<String>,
}

impl Import {
    fn of(store: &Store<'_>, infos: &[SessionInfo], imported: &HashSet<&str>) -> Result<Option<Self>> {
        let Some(stored) = store.import_state()? else { return Ok(None) };
        let Some(state) = import::state(&stored.value) else { return Ok(None) };
        let ids = || infos.iter().map(|info| info.id.as_str());
        Ok(Some(Self {
            completed: state == import::State::Completed,
            time_ms: stored.time_updated,
            next: import::next(&state, ids()).map(str::to_owned),
            missing: ids().filter(|id| !imported.contains(id)).map(str::to_owned).collect(),
        }))
    }
}

/// A session, judged.
#[derive(Debug)]
pub struct Judged<T = ()> {
    /// How it stands.
    pub diagnosis: Diagnosis,
    /// The SDK package behind the model of its newest prompt, where that was asked for or mattered.
    pub sdk: Option<SdkChoice>,
    /// What was told of its history.
    pub told: Option<T>,
}

impl Judged<()> {
    /// The package in the form that the replay wants.
    #[must_use]
    pub fn replay_sdk(&self) -> Sdk {
        replay_sdk(self.sdk.as_ref())
    }
}

/// The SDK package behind the model of the session's newest prompt.
#[must_use]
pub fn sdk_of(session: &Session, packages: &SdkResolver) -> Option<SdkChoice> {
    let model = model_of(session)?;
    Some(packages.choose(&model.provider, &model.model, Path::new(&session.info.directory)))
}

/// A package in the form that the replay wants; the strictest case where there is no model.
#[must_use]
pub fn replay_sdk(choice: Option<&SdkChoice>) -> Sdk {
    choice.map_or_else(Sdk::keeping, SdkChoice::sdk)
}

/// Judges the store at `path` without disturbing it, on up to `threads` threads.
///
/// # Errors
/// What is wrong with the store, or with the selection.
pub fn audit_at(path: &Path, threads: usize, options: &Options<'_>) -> Result<Audit> {
    with_threads(path, threads, |store| audit(store, options))
}

/// Judges the sessions that are selected.
///
/// # Errors
/// What is wrong with the store, or with the selection.
pub fn audit(store: &Store<'_>, options: &Options<'_>) -> Result<Audit> {
    audit_with(store, options, |_, _| None, |_, _| None)
}

/// The rows of `session`: those that can be understood, and the others.
fn sessions_of(store: &Store<'_>) -> Result<(Vec<SessionInfo>, Vec<UnreadableRow>)> {
    let (mut infos, mut broken) = (Vec::new(), Vec::new());
    for entry in store.sessions()? {
        match entry {
            SessionEntry::Readable(info) => infos.push(info),
            SessionEntry::Unreadable(row) => broken.push(row),
        }
    }
    Ok((infos, broken))
}

/// The lower bound of the version, as it was asked for or as the store tells.
fn bound_of(asked: Option<&Opencode>, infos: &[SessionInfo], facts: &Facts) -> Bound {
    match asked {
        Some(Opencode::Any) => Bound::any("--opencode any"),
        Some(Opencode::From(release)) => Bound::from(release, "--opencode"),
        None => bound(infos.iter().map(|i| i.version.as_str()), facts.newest_migration.as_deref()),
    }
}

impl<T> Judged<T> {
    fn bare(diagnosis: Diagnosis) -> Self {
        Self { diagnosis, sdk: None, told: None }
    }

    fn settled(verdict: scan::Verdict<T>, judge: &Judge) -> Self {
        let scan::Verdict { draft, sdk, told, unopenable, import } = verdict;
        let mut diagnosis = draft.settle(judge);
        diagnosis.add_unopenable(unopenable);
        diagnosis.import = import;
        Self { diagnosis, sdk, told }
    }
}

/// Judges the sessions that are selected. `tell` is given the history of each session of which there is something to say, and
/// whether all of its rows were understood; `tell_newer` each session of opencode 2 whose rows could be read. They are called
/// once for each, from any thread.
///
/// # Errors
/// What is wrong with the store, or with the selection.
pub fn audit_with<T: Send>(
    store: &Store<'_>,
    options: &Options<'_>,
    tell: impl Fn(&Session, bool) -> Option<T> + Sync,
    tell_newer: impl Fn(&StoredSession, &opencode2::predict::Session<'_>) -> Option<T> + Sync,
) -> Result<Audit<T>> {
    let facts = store.facts()?;
    let (infos, broken) = sessions_of(store)?;
    let (newer, mut lost) = if options.newer { store.newer_sessions()? } else { Default::default() };
    let bound = bound_of(options.opencode, &infos, &facts);
    let (chosen, newer_chosen) =
        options.selection.choose(&infos, &newer.iter().map(|s| &s.info).collect::<Vec<_>>())?;
    // Sessions that somebody names are read to the last byte, whatever there is to say about them.
    let (named, all) = (options.selection.names_sessions(), options.selection.is_all());
    let scope = if options.want == Want::Stuck && !named { Scope::Tail } else { Scope::All };
    let imported: HashSet<&str> = newer.iter().map(|session| session.info.id.as_str()).collect();
    let mut twins = store.twins();
    let scanned = scan::Scan {
        counting: counting_from(bound.version),
        scope,
        named,
        all,
        everything: options.want == Want::Everything,
        deep: options.deep,
        import: options.import && scope == Scope::All,
        imported: &imported,
        packages: options.packages,
        infos: &infos,
        chosen: &chosen,
        facts: &facts,
        tell: &tell,
    }
    .run(store, &mut twins, options.progress)?;
    let walk = newer::Walk {
        packages: options.packages,
        sessions: newer.iter().zip(newer_chosen).filter_map(|(session, chosen)| chosen.then_some(session)).collect(),
        tell: &tell_newer,
    };
    let newer = walk.run(store, &mut twins, &|rows| (options.progress)(rows, facts.messages_v2))?;
    let drafts = scanned.sessions.iter().map(|verdict| &verdict.draft);
    let doubted = service::doubted(store, &infos, drafts)?;
    let proven = scanned.refusing.into_iter().chain((options.proven)(&facts.id));
    let refuses = Refuses::new(proven, options.refusing.iter().cloned());
    let judge = Judge { counting: counting_from(bound.version), guess: bound.guess, refuses, doubted };
    let mut sessions: Vec<Judged<T>> =
        scanned.sessions.into_iter().map(|verdict| Judged::settled(verdict, &judge)).collect();
    let mut unreadable_rows = scanned.unreadable;
    for newer::Done { diagnosis, sdk, told, unreadable } in newer {
        sessions.push(Judged { diagnosis, sdk, told });
        unreadable_rows.extend(unreadable);
    }
    sessions.sort_by_key(|judged| std::cmp::Reverse(judged.diagnosis.info.time_updated));
    if all {
        for row in &broken {
            let mut diagnosis = without_session(row);
            diagnosis.add_unopenable(unopenable::of_session_row(store, &diagnosis.info.id, options.deep)?);
            sessions.push(Judged::bare(diagnosis));
        }
        let named = lost.iter().filter(|row| row.session_id.is_some());
        sessions.extend(named.map(|row| Judged::bare(v2::unreadable(&nameless(row), std::slice::from_ref(row)))));
        lost.extend(if options.newer { store.newer_strays()? } else { Vec::new() });
        unreadable_rows.splice(0..0, broken.into_iter().chain(lost));
    }
    let import = if options.import { Import::of(store, &infos, &imported)? } else { None };
    Ok(Audit { facts, bound, judge, sessions, unreadable_rows, tails: scope == Scope::Tail, import })
}

/// The verdict on a session whose own row cannot be read.
fn without_session(row: &UnreadableRow) -> Diagnosis {
    crate::diagnosis::unreadable(&nameless(row), std::slice::from_ref(row), None)
}

/// What is known of a session whose own row cannot be read.
fn nameless(row: &UnreadableRow) -> SessionInfo {
    SessionInfo {
        id: row.session_id.clone().unwrap_or_else(|| row.id.clone()),
        parent_id: None,
        title: String::new(),
        directory: String::new(),
        version: String::new(),
        revert: None,
        time_created: 0,
        time_updated: 0,
    }
}
