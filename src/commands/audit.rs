//! Reading a store and judging its sessions: what scan and repair have in common.

use std::path::Path;

use opencode_unstick::diagnosis::{Diagnosis, Judge, Refuses, diagnose, model_of, unreadable};
use opencode_unstick::history::{Session, SessionInfo, UnreadableRow};
use opencode_unstick::replay::{Bound, Sdk, bound, counting_from};
use opencode_unstick::report::{Progress, StoreDoc};
use opencode_unstick::sdk::SdkChoice;
use opencode_unstick::store::{SessionEntry, Store, StoreError, with_snapshot};

use super::select::Filter;
use super::{CallError, Context};
use crate::cli::Opencode;

/// A store, judged.
pub(crate) struct Audit {
    pub(crate) store: StoreDoc,
    pub(crate) judge: Judge,
    pub(crate) sessions: Vec<Judged>,
    pub(crate) unreadable_rows: Vec<UnreadableRow>,
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
    choice.map_or_else(Sdk::keeping, |c| Sdk::new(c.package.clone()))
}

/// Runs the audit on the store at `path` without disturbing it.
pub(crate) fn audit_at(context: &Context<'_>, path: &Path, filter: &Filter) -> Result<Audit, AuditError> {
    Ok(with_snapshot(path, |store| unwrap_call(audit(context, store, filter)))??)
}

/// An error of the call is carried through the reading of a store as a value: it is no reason to read again.
pub(crate) fn unwrap_call<T>(result: Result<T, AuditError>) -> Result<Result<T, CallError>, StoreError> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(AuditError::Call(error)) => Ok(Err(error)),
        Err(AuditError::Store(error)) => Err(error),
    }
}

/// Reads the whole store and judges the sessions that the filter lets through.
pub(crate) fn audit(context: &Context<'_>, store: &Store<'_>, filter: &Filter) -> Result<Audit, AuditError> {
    audit_each(context, store, filter, |_, _| {})
}

/// The same, with `each` called for every session while its history is at hand: one is at any time.
pub(crate) fn audit_each(
    context: &Context<'_>,
    store: &Store<'_>,
    filter: &Filter,
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
    let mut proven = store.refusals()?;
    proven.extend(context.proven_before(&facts.id));
    let judge = Judge {
        counting: counting_from(bound.version),
        refuses: Refuses::new(proven, context.global.refuses.iter().cloned()),
    };
    let strays = store.strays()?;
    let chosen = filter.apply(infos)?;
    let all = filter.is_all();

    let mut progress = Progress::new("reading", context.progress());
    progress.total(chosen.len() as u64);
    let mut sessions = Vec::with_capacity(chosen.len());
    for (at, info) in chosen.iter().enumerate() {
        progress.at(at as u64);
        let mut loaded = store.load(info)?;
        loaded.unreadable.extend(strays.iter().filter(|r| r.session_id.as_deref() == Some(&info.id)).cloned());
        let sdk = sdk_of(context, &loaded.session);
        let diagnosis = if loaded.unreadable.is_empty() {
            diagnose(&loaded.session, &replay_sdk(sdk.as_ref()), &judge)
        } else {
            unreadable(info, &loaded.unreadable, Some(&loaded.session))
        };
        each(&loaded.session, &diagnosis);
        rows.append(&mut loaded.unreadable);
        sessions.push(Judged { diagnosis, sdk });
    }
    if all {
        sessions.extend(broken.into_iter().map(|diagnosis| Judged { diagnosis, sdk: None }));
        let known = |r: &UnreadableRow| chosen.iter().any(|i| r.session_id.as_deref() == Some(&i.id));
        rows.extend(strays.into_iter().filter(|r| !known(r)));
    }
    Ok(Audit { store: StoreDoc::new(&facts, store.path(), &bound), judge, sessions, unreadable_rows: rows })
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
