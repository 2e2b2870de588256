//! Reading a store and judging its sessions: what scan and repair have in common.

use std::path::Path;

use opencode_unstick::diagnosis::{
    Diagnosis, Judge, Refuses, Scope, diagnose, diagnose_tail, model_of, plain, unreadable,
};
use opencode_unstick::history::{Session, SessionInfo, UnreadableRow};
use opencode_unstick::replay::{Bound, Sdk, bound, counting_from};
use opencode_unstick::report::{Progress, StoreDoc};
use opencode_unstick::sdk::SdkChoice;
use opencode_unstick::store::{Loaded, MESSAGES_A_PASS, SessionEntry, Store, StoreError, with_snapshot};

use super::select::Filter;
use super::{CallError, Context};
use crate::cli::Opencode;

/// A store, judged.
pub(crate) struct Audit {
    pub(crate) store: StoreDoc,
    pub(crate) judge: Judge,
    pub(crate) sessions: Vec<Judged>,
    pub(crate) unreadable_rows: Vec<UnreadableRow>,
    /// Only tails were looked at.
    pub(crate) tails: bool,
}

/// A session, judged.
pub(crate) struct Judged {
    pub(crate) diagnosis: Diagnosis,
    pub(crate) sdk: Option<SdkChoice>,
}

/// What can go wrong while a store is read: the store, or the call.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuditError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Call(#[from] CallError),
}

/// The SDK package behind the session's model.
pub(crate) fn sdk_of(context: &Context<'_>, session: &Session) -> Option<SdkChoice> {
    let model = model_of(session)?;
    Some(context.resolver.choose(&model.provider, &model.model, Path::new(&session.info.directory)))
}

/// The package in the form that the replay wants; the default where there is no model.
pub(crate) fn replay_sdk(choice: Option<&SdkChoice>) -> Sdk {
    choice.map_or_else(Sdk::keeping, SdkChoice::sdk)
}

/// How much an audit is to find out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// Which sessions are stuck.
    Stuck,
    /// Everything that there is to say.
    Findings,
    /// That, and which SDK package stands behind every healthy session as well.
    Everything,
}

/// Runs the audit on the store at `path` without disturbing it.
pub(crate) fn audit_at(context: &Context<'_>, path: &Path, filter: &Filter, want: Want) -> Result<Audit, AuditError> {
    Ok(with_snapshot(path, |store| unwrap_call(audit(context, store, filter, want)))??)
}

/// An error of the call is carried through the reading of a store as a value: it is no reason to read again.
pub(crate) fn unwrap_call<T>(result: Result<T, AuditError>) -> Result<Result<T, CallError>, StoreError> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(AuditError::Call(error)) => Ok(Err(error)),
        Err(AuditError::Store(error)) => Err(error),
    }
}

/// Judges the sessions that the filter lets through.
pub(crate) fn audit(
    context: &Context<'_>,
    store: &Store<'_>,
    filter: &Filter,
    want: Want,
) -> Result<Audit, AuditError> {
    audit_each(context, store, filter, want, |_, _| {})
}

/// The same, with `each` called for every session that there is something to say about, while its history is at
/// hand. It may be called several times in a row for the same session: the last time counts.
pub(crate) fn audit_each(
    context: &Context<'_>,
    store: &Store<'_>,
    filter: &Filter,
    want: Want,
    mut each: impl FnMut(&Session, &Diagnosis),
) -> Result<Audit, AuditError> {
    let facts = store.facts()?;
    let mut infos: Vec<SessionInfo> = Vec::new();
    let mut rows: Vec<UnreadableRow> = Vec::new();
    let mut broken: Vec<Diagnosis> = Vec::new();
    for entry in store.sessions()? {
        match entry {
            SessionEntry::Readable(info) => infos.push(info),
            SessionEntry::Unreadable(row) => {
                broken.push(unreadable(&blank(&row), std::slice::from_ref(&row), None));
                rows.push(row);
            }
        }
    }
    let bound = match context.global.opencode {
        Some(Opencode::Any) => Bound { version: None, source: "--opencode any".to_owned() },
        Some(Opencode::From(version)) => Bound { version: Some(version), source: "--opencode".to_owned() },
        None => bound(infos.iter().map(|i| i.version.as_str()), facts.newest_migration.as_deref()),
    };
    let chosen = filter.apply(&infos)?;
    // Sessions that somebody names are read to the last byte, whatever there is to say about them.
    let named = filter.names_sessions();
    let scope = if want == Want::Stuck && !named { Scope::Tail } else { Scope::All };
    let mut progress = Progress::new("reading", context.progress());
    progress.total(facts.messages + if scope == Scope::All && !named { facts.parts } else { 0 });
    let walked = if named { Scope::Tail } else { scope };
    let sweep = store.sweep(&infos, walked, MESSAGES_A_PASS, &mut |rows| progress.at(rows))?;
    progress.done();
    let judge = Judge {
        counting: counting_from(bound.version),
        refuses: Refuses::new(
            sweep.refusing.iter().cloned().chain(context.proven_before(&facts.id)),
            context.global.refuses.iter().cloned(),
        ),
    };
    let mut reader = Reader { context, store, judge: &judge, scope, each: &mut each };
    let mut sessions = Vec::with_capacity(chosen.iter().filter(|c| **c).count());
    for ((at, info), _) in (0u32..).zip(infos).zip(chosen).filter(|(_, chosen)| *chosen) {
        let (judged, unreadable) = if named {
            let mut loaded = store.load(&info)?;
            loaded.unreadable.extend(store.strays_of(&info)?);
            reader.judge(loaded)?
        } else if store.is_plain(&sweep, at, &info)? {
            let diagnosis = plain(info, sweep.model(at));
            let model = diagnosis.model.as_ref().filter(|_| want == Want::Everything);
            let folder = Path::new(&diagnosis.info.directory);
            let sdk = model.map(|m| context.resolver.choose(&m.provider, &m.model, folder));
            (Judged { diagnosis, sdk }, Vec::new())
        } else {
            let mut loaded = store.outline(&info, &sweep, at)?;
            let known = sweep.unreadable(Some(at)).filter(|r| !loaded.unreadable.iter().any(|l| l.id == r.id));
            let known: Vec<_> = known.map(|r| with_session(r, &info)).collect();
            loaded.unreadable.extend(known);
            reader.judge(loaded)?
        };
        rows.extend(unreadable);
        sessions.push(judged);
    }
    if filter.is_all() {
        sessions.extend(broken.into_iter().map(|diagnosis| Judged { diagnosis, sdk: None }));
        rows.extend(sweep.unreadable(None).cloned());
    }
    let tails = scope == Scope::Tail;
    Ok(Audit { store: StoreDoc::new(&facts, store.path(), &bound), judge, sessions, unreadable_rows: rows, tails })
}

fn with_session(row: &UnreadableRow, info: &SessionInfo) -> UnreadableRow {
    UnreadableRow { session_id: row.session_id.clone().or_else(|| Some(info.id.clone())), ..row.clone() }
}

/// Judges histories, and has the store read what a verdict asks for.
struct Reader<'a, 'c, E> {
    context: &'a Context<'c>,
    store: &'a Store<'a>,
    judge: &'a Judge,
    scope: Scope,
    each: &'a mut E,
}

impl<E: FnMut(&Session, &Diagnosis)> Reader<'_, '_, E> {
    fn judge(&mut self, mut loaded: Loaded) -> Result<(Judged, Vec<UnreadableRow>), StoreError> {
        loop {
            let session = &loaded.session;
            let sdk = sdk_of(self.context, session);
            let diagnosis = if !loaded.unreadable.is_empty() {
                unreadable(&session.info, &loaded.unreadable, Some(session))
            } else if self.scope == Scope::Tail {
                diagnose_tail(session, &replay_sdk(sdk.as_ref()), self.judge)
            } else {
                diagnose(session, &replay_sdk(sdk.as_ref()), self.judge)
            };
            (self.each)(session, &diagnosis);
            if !self.store.fill(&mut loaded)? {
                return Ok((Judged { diagnosis, sdk }, loaded.unreadable));
            }
        }
    }
}

/// A stand-in for a session whose own row cannot be read.
fn blank(row: &UnreadableRow) -> SessionInfo {
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
