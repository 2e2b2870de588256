//! `unstick repair`

use anyhow::Error;
use opencode_unstick::diagnosis::{Evidence, LeftReason, Status};
use opencode_unstick::history::Session;
use opencode_unstick::repair::{Allowed, Left, Plan, plan_session, prove};
use opencode_unstick::replay::Sdk;
use opencode_unstick::report::{self, Output, RepairDoc};
use opencode_unstick::store::{Exclusive, Store, StoreError, with_snapshot};

use super::audit::{Audit, AuditError, audit, replay_sdk, unwrap_call};
use super::select::Filter;
use super::{CallError, Context, Exit, Target};
use crate::cli::{Include, Repair};

/// A plan with what it was made from.
struct Planned {
    audit: Audit,
    plan: Plan,
    left: Vec<Left>,
    /// Per planned session: as it is, as it will be, and the package that its proofs are for.
    proofs: Vec<(Session, Session, Sdk)>,
    titles: Vec<(String, String)>,
}

pub(crate) fn run(context: &Context<'_>, args: &Repair) -> Result<Exit, Error> {
    let filter = Filter::new(context, &args.selection, None)?;
    let targets = context.targets()?;
    if targets.len() > 1 && context.global.json {
        let hint = "repair one store at a time with --db, or leave --json away";
        return Err(CallError::new("several-stores", "one document is about one store", hint).into());
    }
    let mut exit = Exit::Fine;
    for target in &targets {
        exit = exit.max(one(context, args, target, &filter)?);
    }
    context.warn();
    Ok(exit)
}

fn one(context: &Context<'_>, args: &Repair, target: &Target, filter: &Filter) -> Result<Exit, Error> {
    let allowed = Allowed {
        at_risk: args.include.contains(&Include::AtRisk),
        near_window: args.include.contains(&Include::NearWindow),
    };
    let mut shown = with_snapshot(&target.path, |store| unwrap_call(plan(context, store, filter, allowed, None)))??;
    let mut doc = RepairDoc::new(shown.audit.store.clone(), args.dry_run, &shown.plan, shown.left.clone(), args.text);
    let nothing_left = shown.left.is_empty();
    if !context.global.json {
        context.out.print(&human(context, args, &shown))?;
    }
    if shown.plan.sessions.is_empty() || args.dry_run {
        if context.global.json {
            context.out.json(&doc)?;
        }
        return Ok(if nothing_left && shown.plan.sessions.is_empty() { Exit::Fine } else { Exit::Findings });
    }
    let mut declined = false;
    if !args.yes {
        let chosen = choose(context, &shown)?;
        declined = chosen.len() < shown.plan.sessions.len();
        shown.plan.sessions.retain(|s| chosen.contains(&s.id));
        shown.proofs.retain(|(before, ..)| chosen.contains(&before.info.id));
        if shown.plan.sessions.is_empty() {
            context.out.note("Nothing was changed.");
            return Ok(Exit::Findings);
        }
        doc = RepairDoc::new(shown.audit.store.clone(), false, &shown.plan, shown.left.clone(), args.text);
    }
    apply(context, args, target, filter, allowed, &shown)?;
    doc.applied = true;
    if context.global.json {
        context.out.json(&doc)?;
    } else {
        context.out.print(&report::repaired(&context.out, &shown.plan))?;
    }
    Ok(if nothing_left && !declined { Exit::Fine } else { Exit::Findings })
}

/// Judges the store and plans the repair of what is stuck; of `only`, if given.
fn plan(
    context: &Context<'_>,
    store: &Store<'_>,
    filter: &Filter,
    allowed: Allowed,
    only: Option<&Plan>,
) -> Result<Planned, AuditError> {
    let audit = audit(context, store, filter)?;
    let mut planned =
        Planned { audit, plan: Plan::default(), left: Vec::new(), proofs: Vec::new(), titles: Vec::new() };
    let mut order: Vec<usize> = (0..planned.audit.sessions.len()).collect();
    // Sessions whose tail holds the refusal come first: these are what the person came for.
    order.sort_by_key(|i| planned.audit.sessions[*i].diagnosis.evidence != Some(Evidence::Evidenced));
    for at in order {
        let judged = &planned.audit.sessions[at];
        let info = &judged.diagnosis.info;
        if only.is_some_and(|plan| !plan.sessions.iter().any(|s| s.id == info.id)) {
            continue;
        }
        match judged.diagnosis.status {
            Status::Stuck => {}
            Status::AtRisk if allowed.at_risk => {}
            Status::Unreadable if filter.names_sessions() => {
                let reason = LeftReason::Unreadable;
                planned.left.push(Left { id: info.id.clone(), reason, detail: reason.description().to_owned() });
                planned.titles.push((info.id.clone(), info.title.clone()));
                continue;
            }
            _ => continue,
        }
        let session = store.load_guarded(info)?.session;
        let sdk = replay_sdk(judged.sdk.as_ref());
        planned.titles.push((info.id.clone(), info.title.clone()));
        match plan_session(&session, &sdk, allowed, context.now) {
            Ok((edits, after)) => {
                planned.plan.sessions.push(edits);
                planned.proofs.push((session, after, sdk));
            }
            Err(left) => planned.left.push(left),
        }
    }
    Ok(planned)
}

fn human(context: &Context<'_>, args: &Repair, planned: &Planned) -> String {
    let out = &context.out;
    let mut text = String::new();
    if planned.plan.sessions.is_empty() && planned.left.is_empty() {
        text.push_str("Nothing to repair: no session is stuck.\n");
    }
    if !out.quiet {
        text.push_str(&report::plan(out, &planned.plan, &planned.titles, context.now));
        text.push_str(&report::left(out, &planned.left, &planned.titles));
    }
    if args.dry_run && !planned.plan.sessions.is_empty() {
        let n = planned.plan.sessions.len();
        let sessions = if n == 1 { "1 session".to_owned() } else { format!("{n} sessions") };
        text.push_str(&format!("\nDry run: nothing was changed. `unstick repair` would repair {sessions}.\n"));
    }
    text
}

/// Asks which sessions to repair.
fn choose(context: &Context<'_>, planned: &Planned) -> Result<Vec<String>, Error> {
    let ids: Vec<String> = planned.plan.sessions.iter().map(|s| s.id.clone()).collect();
    if !Output::interactive() || context.global.json {
        let hint = "add --yes to repair without being asked, or --dry-run to see the plan alone";
        return Err(CallError::new("needs-yes", "there is nobody to ask whether to repair", hint).into());
    }
    let n = ids.len();
    let question = if n == 1 { "Repair it? [y/N]".to_owned() } else { format!("Repair all {n}? [y/N/each]") };
    match context.out.ask(&question)?.as_deref() {
        Some("y" | "yes" | "a" | "all") => return Ok(ids),
        Some("e" | "each") => {}
        _ => return Ok(Vec::new()),
    }
    let mut chosen = Vec::new();
    for (at, id) in ids.iter().enumerate() {
        let title = planned.titles.iter().find(|(i, _)| i == id).map_or("", |(_, t)| t);
        match context.out.ask(&format!("Repair \"{}\"? [y/n/all/quit]", report::clean(title)))?.as_deref() {
            Some("y" | "yes") => chosen.push(id.clone()),
            Some("a" | "all") => {
                chosen.extend_from_slice(&ids[at..]);
                break;
            }
            Some("n" | "no") => {}
            _ => break,
        }
    }
    Ok(chosen)
}

/// Carries out what was shown: opens the store for itself, plans again, compares, writes, reads again, proves.
fn apply(
    context: &Context<'_>,
    args: &Repair,
    target: &Target,
    filter: &Filter,
    allowed: Allowed,
    shown: &Planned,
) -> Result<(), Error> {
    let exclusive = Exclusive::open(&target.path, args.wait)?;
    let again = plan(context, &exclusive.store(), filter, allowed, Some(&shown.plan))?;
    if again.plan != shown.plan {
        let detail = "the store has changed since the plan was shown".to_owned();
        return Err(StoreError::RowChanged {
            table: "store".to_owned(),
            id: target.path.display().to_string(),
            detail,
        }
        .into());
    }
    exclusive.execute(&shown.plan, &mut |_, _| Ok(()))?;
    for (before, after, sdk) in &shown.proofs {
        let failed = |check: String| StoreError::ProofFailed { session: before.info.id.clone(), check };
        let reread = exclusive.store().load_guarded(&before.info)?;
        if !reread.unreadable.is_empty() || !same(&reread.session, after) {
            return Err(failed("the rows are what the plan says".to_owned()).into());
        }
        prove(before, &reread.session, sdk, allowed).map_err(|check| failed(check.to_string()))?;
    }
    exclusive.commit()?;
    Ok(())
}

/// Whether the rows that were read again are those of the plan, rowids and times of change aside.
fn same(read: &Session, planned: &Session) -> bool {
    read.messages.len() == planned.messages.len()
        && read.messages.iter().zip(&planned.messages).all(|(r, p)| {
            r.row.id == p.row.id
                && r.row.session_id == p.row.session_id
                && r.row.time_created == p.row.time_created
                && r.data == p.data
                && r.parts.len() == p.parts.len()
                && r.parts
                    .iter()
                    .zip(&p.parts)
                    .all(|(r, p)| r.row.id == p.row.id && r.row.message_id == p.row.message_id && r.sha256 == p.sha256)
        })
}
