//! `unstick explain`

use std::collections::HashMap;

use anyhow::Error;
use jiff::tz::TimeZone;
use opencode_unstick::diagnosis::Status;
use opencode_unstick::error::ErrorCode;
use opencode_unstick::explain::Explanation;
use opencode_unstick::history::Session;
use opencode_unstick::repair::{Aim, Allowed, Left, SessionPlan, plan_session};
use opencode_unstick::report::{self, ExplainDoc, Explained};
use opencode_unstick::stats::{Cause, Events};
use opencode_unstick::store::{Store, StoreError, StoredRows, with_snapshot};

use super::audit::{Audit, AuditError, Want, audit_each, replay_sdk, unwrap_call};
use super::select::Filter;
use super::stats::sdks;
use super::{CallError, Context, Exit};
use crate::cli::{Explain, Selection};

/// A session with everything that is to be said about it.
struct Found {
    audit: Audit,
    now: Option<Explanation>,
    cause: Option<Cause>,
    repair: Option<Result<(SessionPlan, Explanation), Left>>,
}

pub(crate) fn run(context: &Context<'_>, args: &Explain) -> Result<Exit, Error> {
    let selection = Selection { sessions: vec![args.session.clone()], directory: None, here: false };
    let filter = Filter::new(context, &selection, None)?;
    let targets = context.targets()?;
    let mut missing: Option<CallError> = None;
    for target in &targets {
        match with_snapshot(&target.path, |store| unwrap_call(find(context, store, &filter, args.text)))? {
            Ok(found) => return show(context, &found),
            // The session may be in the next store.
            Err(error) if error.code() == ErrorCode::NoSuchSession => missing = Some(error),
            Err(error) => return Err(error.into()),
        }
    }
    match missing {
        Some(error) => Err(error.into()),
        None => Err(CallError::new(ErrorCode::NoStore, "there is no store to look at").into()),
    }
}

fn find(context: &Context<'_>, store: &Store<'_>, filter: &Filter, text: bool) -> Result<Found, AuditError> {
    let mut events = Events::default();
    let audit = audit_each(context, store, filter, Want::Findings, |session, diagnosis| {
        events.add(session, diagnosis, &sdks(context, session));
    })?;
    let cause = events.pairs.iter().find(|p| p.still_stuck).map(|p| p.root_cause);
    let Some(judged) = audit.sessions.first() else {
        return Err(CallError::new(ErrorCode::NoSuchSession, "no session is called that").into());
    };
    let d = &judged.diagnosis;
    if d.status == Status::Unreadable {
        return Ok(Found { audit, now: None, cause, repair: None });
    }
    let session = store.load_all(&d.info)?.session;
    let sdk = replay_sdk(judged.sdk.as_ref());
    let explanation = |session: &Session| Explanation::of(session, &sdk, &audit.judge.counting);
    let mut now = explanation(&session);
    now.mark(&d.findings);
    let mut repair = None;
    if matches!(d.tail, Status::Stuck | Status::AtRisk) {
        let allowed = Allowed { at_risk: true, unmeasured: true, ..Allowed::default() };
        let rows = StoredRows::new(store);
        let planned = plan_session(&session, &sdk, Aim::TAIL, allowed, context.now, &rows);
        rows.done()?;
        repair = Some(planned.map(|(plan, after)| (plan, explanation(&after))));
    }
    if text {
        let data = part_data(store, &now)?;
        let of = |id: &str| data.get(id).map(String::as_str);
        now.add_texts(of);
        if let Some(Ok((_, after))) = &mut repair {
            after.add_texts(of);
        }
    }
    Ok(Found { now: Some(now), cause, repair, audit })
}

/// The JSON of every part that is sent.
fn part_data(store: &Store<'_>, explanation: &Explanation) -> Result<HashMap<String, String>, StoreError> {
    let mut out = HashMap::new();
    for id in explanation.part_ids() {
        if !out.contains_key(id)
            && let Some(data) = store.part_data(id)?
        {
            out.insert(id.to_owned(), data);
        }
    }
    Ok(out)
}

fn show(context: &Context<'_>, found: &Found) -> Result<Exit, Error> {
    let zone = TimeZone::system();
    let Some(judged) = found.audit.sessions.first() else {
        return Ok(Exit::Fine);
    };
    let explained = Explained {
        diagnosis: &judged.diagnosis,
        sdk: judged.sdk.as_ref(),
        now: found.now.as_ref(),
        cause: found.cause,
        unreadable: &found.audit.unreadable_rows,
        repair: found.repair.as_ref().map(|r| r.as_ref().map(|(plan, after)| (plan, after))),
    };
    if context.global.json {
        context.out.json(&ExplainDoc::new(&explained, context.now, &zone))?;
    } else {
        let bound = report::bound_words(&found.audit.store);
        context.out.print(&report::explain(&context.out, &explained, &bound, context.now, &zone))?;
    }
    context.warn();
    Ok(Exit::Fine)
}
