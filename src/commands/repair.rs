//! `unstick repair`

use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;

use anyhow::Error;
use opencode_unstick::diagnosis::{
    Code, Diagnosis, Evidence, Finding, Judge, LeftReason, Status, diagnose, diagnose_tail, latent_cuts,
};
use opencode_unstick::error::ErrorCode;
use opencode_unstick::history::{Message, Session, SessionInfo};
use opencode_unstick::repair::journal::{Entry, Header, Kind, VERSION};
use opencode_unstick::repair::log::{self, Log};
use opencode_unstick::repair::{
    Aim, Allowed, Check, Leaves, Left, Mending, Op, Plan, Rows as _, SessionPlan, plan_session, prove, prove_mended,
    worse,
};
use opencode_unstick::replay::{Resume, RuleSet, Sdk};
use opencode_unstick::report::{self, Progress, RepairDoc};
use opencode_unstick::store::journal::JournalWriter;
use opencode_unstick::store::{
    Exclusive, Rest, RowsDigest, SessionEntry, Store, StoreError, StoredRows, with_snapshot,
};

use super::audit::{Audit, AuditError, Judged, Want, audit, replay_sdk, sdk_of, unwrap_call};
use super::select::{self, Filter};
use super::{CallError, Context, Exit, Target};
use crate::cli::{Include, Repair};

/// A plan with what it was made from.
struct Planned {
    audit: Audit,
    plan: Plan,
    left: Vec<Left>,
    titles: Vec<(String, String)>,
}

/// What a planned session must come to.
struct Proof {
    before: Session,
    after: Session,
    /// A digest of its rows that no edit names.
    rest: RowsDigest,
    sdk: Sdk,
    /// Its tail is to resume.
    tail: bool,
    /// Its log is told of the edits.
    told: bool,
    /// What was taken out on purpose.
    leaves: Vec<Leaves>,
    counting: Vec<&'static RuleSet>,
}

pub(crate) fn run(context: &Context<'_>, args: &Repair) -> Result<Exit, Error> {
    let filter = Filter::new(context, &args.selection, None)?;
    let targets = context.targets()?;
    if targets.len() > 1 && (context.global.json || args.backup.is_some()) {
        let error = CallError::new(ErrorCode::SeveralStores, "--json and --backup are about one store");
        return Err(error.then("repair one store at a time with `unstick repair --db PATH`").into());
    }
    if targets.len() > 1 {
        // One that cannot be read must be known before another is written: exit code 2 means nothing was changed.
        for target in &targets {
            with_snapshot(&target.path, |store| store.identity())?;
        }
    }
    let mut exit = Exit::Fine;
    for target in &targets {
        exit = exit.max(one(context, args, target, &filter, targets.len() > 1)?);
    }
    context.warn();
    Ok(exit)
}

fn one(context: &Context<'_>, args: &Repair, target: &Target, filter: &Filter, several: bool) -> Result<Exit, Error> {
    let allowed = Allowed {
        at_risk: args.include.contains(&Include::AtRisk),
        unmeasured: args.include.contains(&Include::Unmeasured),
        near_window: args.include.contains(&Include::NearWindow),
        latent: args.include.contains(&Include::Latent),
        unsettled: args.include.contains(&Include::Unsettled),
        blank_text: args.include.contains(&Include::BlankText),
        media: args.include.contains(&Include::Media),
        calls: args.include.contains(&Include::Calls),
        signatures: args.include.contains(&Include::Signatures),
    };
    let mut shown = with_snapshot(&target.path, |store| unwrap_call(plan(context, store, filter, allowed)))??;
    let mut doc = RepairDoc::new(shown.audit.store.clone(), args.dry_run, &shown.plan, shown.left.clone(), args.text);
    let nothing_left = shown.left.is_empty();
    if !context.global.json {
        let path = report::clean(&target.path.display().to_string());
        match (context.global.quiet, several) {
            // One line for each store.
            (true, true) => context.out.print(&format!("{path}: "))?,
            (true, false) => {}
            (false, _) => context.out.print(&format!("{}\n\n", context.out.dim(&path)))?,
        }
        context.out.print(&human(context, args, &shown, !filter.is_all()))?;
    }
    if shown.plan.sessions.is_empty() || args.dry_run {
        if context.global.json {
            context.out.json(&doc)?;
        }
        return Ok(if nothing_left && shown.plan.sessions.is_empty() { Exit::Fine } else { Exit::Findings });
    }
    let folder = context.journal_folder(args.journal.as_deref())?;
    let mut declined = false;
    if !args.yes {
        context.out.note(&format!("An undo journal will be kept in {}", report::clean(&folder.display().to_string())));
        let choices: Vec<(String, String)> = shown
            .plan
            .sessions
            .iter()
            .map(|s| (s.id.clone(), shown.titles.iter().find(|(id, _)| *id == s.id).map_or("", |(_, t)| t).to_owned()))
            .collect();
        let chosen = super::ask::choose(context, "Repair", &choices)?;
        declined = chosen.len() < shown.plan.sessions.len();
        shown.plan.sessions.retain(|s| chosen.contains(&s.id));
        if shown.plan.sessions.is_empty() {
            context.out.note("Nothing was changed.");
            return Ok(Exit::Findings);
        }
        doc = RepairDoc::new(shown.audit.store.clone(), false, &shown.plan, shown.left.clone(), args.text);
    }
    let undo_id = apply(context, args, target, allowed, &shown, &folder)?;
    doc.applied = true;
    let said = if context.global.json {
        doc.undo_id = Some(undo_id);
        context.out.json(&doc)
    } else {
        let journal = args.journal.as_ref().map(|p| format!(" --journal {}", super::quoted(&p.to_string_lossy())));
        let undo = format!("undo {undo_id}{}", journal.unwrap_or_default());
        let mut said = Ok(());
        if let Some(file) = args.backup.as_ref().filter(|_| !context.global.quiet) {
            let file = context.env.absolute(file).display().to_string();
            said = context.out.print(&format!("\nThe store as it was: {}\n", report::clean(&file)));
        }
        said.and_then(|()| context.out.print(&report::repaired(&context.out, &shown.plan, shown.left.len(), &undo)))
    };
    super::commit::unsaid(context, said);
    Ok(if nothing_left && !declined { Exit::Fine } else { Exit::Findings })
}

/// What the repair of a session is to reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Goal {
    tail: bool,
    latent: bool,
    settled: bool,
    mended: bool,
}

/// What the repair of a session is to reach; `None` where there is nothing to do for it.
fn aim(d: &Diagnosis, allowed: Allowed) -> Option<Goal> {
    let has = |code: Code| d.findings.iter().any(|f| f.code == code);
    let anywhere = d.resume.iter().any(|(_, r)| *r == Resume::EndsWithAssistant);
    let tail = match d.tail {
        Status::Stuck => true,
        Status::AtRisk => (allowed.at_risk || !d.doubts.model) && (allowed.unmeasured || !d.doubts.package),
        Status::Unreadable => return None,
        _ => allowed.latent && anywhere && has(Code::LatentTail),
    };
    let goal = Goal {
        tail,
        latent: allowed.latent && has(Code::LatentTail),
        settled: allowed.unsettled && has(Code::UnsettledTool),
        mended: d.status == Status::Dead && d.findings.iter().any(|f| f.takes_out().is_some() && allowed.mends(f.code)),
    };
    (goal != Goal::default()).then_some(goal)
}

/// Whether nothing but doubt about its package keeps the session from being repaired.
fn differs_by_package(d: &Diagnosis, allowed: Allowed) -> bool {
    d.tail == Status::AtRisk && d.doubts.package && !allowed.unmeasured && (allowed.at_risk || !d.doubts.model)
}

/// Whether what is allowed is only found by looking at everything: buried turns, calls that never ended, what prompts are
/// refused for.
fn everything(allowed: Allowed) -> bool {
    allowed.latent || allowed.unsettled || allowed.mends_any()
}

/// Judges the store and plans what is to be done.
fn plan(context: &Context<'_>, store: &Store<'_>, filter: &Filter, allowed: Allowed) -> Result<Planned, AuditError> {
    let want = if everything(allowed) { Want::Findings } else { Want::Stuck };
    let audit = audit(context, store, filter, want)?;
    let mut work = Work::default();
    let mut order: Vec<&Judged> = audit.sessions.iter().collect();
    // Sessions whose tail holds the refusal come first: these are what the person came for.
    order.sort_by_key(|judged| judged.diagnosis.evidence != Some(Evidence::Evidenced));
    for judged in order {
        let info = &judged.diagnosis.info;
        if judged.diagnosis.status == Status::Unreadable {
            work.unreadable(info, filter);
        } else if differs_by_package(&judged.diagnosis, allowed) {
            work.leave(info, LeftReason::UnmeasuredPackage);
        } else if let Some(aim) = aim(&judged.diagnosis, allowed) {
            let loaded = store.load_all(info)?;
            if loaded.unreadable.is_empty() {
                let sdk = replay_sdk(judged.sdk.as_ref());
                let rest = RowsDigest::default();
                work.session(context, store, &loaded.session, rest, sdk, aim, &audit.judge, allowed)?;
                // Histories can be large, and what is carried out is proven on rows that are read again then.
                work.proofs.clear();
            } else {
                // A verdict reads a tail; whoever writes has to understand every row.
                work.unreadable(info, filter);
            }
        }
    }
    let Work { plan, left, titles, .. } = work;
    Ok(Planned { audit, plan, left, titles })
}

/// Plans the shown sessions once more, with who refuses taken as it was: the plan must come out the same.
fn plan_again(context: &Context<'_>, store: &Store<'_>, shown: &Planned, allowed: Allowed) -> Result<Work, StoreError> {
    let judge = &shown.audit.judge;
    // As deep as the first time: a tail asks for little of a long history.
    let look = if everything(allowed) { diagnose } else { diagnose_tail };
    let infos = store.sessions()?;
    let mut work = Work::default();
    for session in &shown.plan.sessions {
        let found = infos.iter().find_map(|entry| match entry {
            SessionEntry::Readable(info) if info.id == session.id => Some(info),
            _ => None,
        });
        let Some(info) = found else { continue };
        let mut rest = rest_of(session);
        let loaded = store.load_guarded(info, &mut rest)?;
        let choice = sdk_of(context, &loaded.session);
        let sdk = replay_sdk(choice.as_ref());
        if loaded.unreadable.is_empty()
            && let Some(aim) = aim(&look(&loaded.session, &sdk, judge), allowed)
        {
            work.session(context, store, &loaded.session, rest.found(), sdk, aim, judge, allowed)?;
        }
    }
    Ok(work)
}

/// A session's rows but for those that its plan names.
fn rest_of(plan: &SessionPlan) -> Rest<'_> {
    Rest::but(plan.edits.iter().map(|edit| (edit.table.as_str(), edit.id.as_str())))
}

/// Plans as they come together.
#[derive(Default)]
struct Work {
    plan: Plan,
    left: Vec<Left>,
    proofs: Vec<Proof>,
    titles: Vec<(String, String)>,
}

impl Work {
    /// A session that cannot be understood is left; that is said where it was asked for by name.
    fn unreadable(&mut self, info: &SessionInfo, filter: &Filter) {
        if filter.names_sessions() {
            self.leave(info, LeftReason::Unreadable);
        }
    }

    fn leave(&mut self, info: &SessionInfo, reason: LeftReason) {
        self.left.push(Left { id: info.id.clone(), reason, detail: reason.description().to_owned() });
        self.titles.push((info.id.clone(), info.title.clone()));
    }

    #[expect(clippy::too_many_arguments, reason = "what a plan is made from, each of its own kind")]
    fn session(
        &mut self,
        context: &Context<'_>,
        store: &Store<'_>,
        session: &Session,
        rest: RowsDigest,
        sdk: Sdk,
        goal: Goal,
        judge: &Judge,
        allowed: Allowed,
    ) -> Result<(), StoreError> {
        let cuts = if goal.latent { latent_cuts(session, &sdk, judge) } else { Vec::new() };
        let mended: &[_] = if goal.mended { &judge.counting } else { &[] };
        let aim = Aim { tail: goal.tail, cuts: &cuts, settled: goal.settled, mended };
        self.titles.push((session.info.id.clone(), session.info.title.clone()));
        let rows = StoredRows::new(store);
        let planned = plan_session(session, &sdk, aim, allowed, context.now, &rows);
        rows.done()?;
        match planned {
            Ok((edits, _)) if edits.edits.is_empty() => {}
            Ok((edits, _)) if takes_an_id(store, &edits)? => {
                let detail = "the id that its new row would get is taken by another session's".to_owned();
                self.left.push(Left { id: session.info.id.clone(), reason: LeftReason::NoLosslessEdit, detail });
            }
            Ok((mut edits, after)) => {
                let told = tell_log(store, session, &mut edits, context.now)?;
                let leaves = edits.leaves.clone();
                let counting = judge.counting.clone();
                self.plan.sessions.push(edits);
                self.proofs.push(Proof {
                    before: session.clone(),
                    after,
                    rest,
                    sdk,
                    tail: goal.tail,
                    told,
                    leaves,
                    counting,
                });
            }
            Err(left) => self.left.push(left),
        }
        Ok(())
    }
}

/// Whether a new row would get an id that is there already: ids are the store's, and a plan sees one session.
fn takes_an_id(store: &Store<'_>, edits: &SessionPlan) -> Result<bool, StoreError> {
    for edit in edits.edits.iter().filter(|e| e.op == Op::Insert) {
        if store.rowid(&edit.table, &edit.id)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Adds the events that tell the session's log of the edits, if it has one that told of its rows so far.
fn tell_log(store: &Store<'_>, session: &Session, edits: &mut SessionPlan, now: i64) -> Result<bool, StoreError> {
    match store.log(session)? {
        Log::None => Ok(false),
        Log::Differs(why) => {
            edits.log_left_alone = Some(why);
            Ok(false)
        }
        Log::Folds(end) => {
            let rows = StoredRows::new(store);
            let events = log::events(&session.info.id, &edits.edits, &end, now, &|id| rows.part(id));
            rows.done()?;
            match events {
                Ok(events) => edits.edits.extend(events),
                Err(error) => edits.log_left_alone = Some(error.to_string()),
            }
            Ok(edits.log_left_alone.is_none())
        }
    }
}

fn human(context: &Context<'_>, args: &Repair, planned: &Planned, filtered: bool) -> String {
    let out = &context.out;
    let (n, left) = (planned.plan.sessions.len(), planned.left.len());
    if n == 0 && left == 0 {
        let none = if filtered { "no session that the call is about is stuck" } else { "no session is stuck" };
        return format!("Nothing to repair: {none}.\n{}", still_dead(context, args, planned));
    }
    let mut text = String::new();
    if !out.quiet {
        text.push_str(&report::plan(out, &planned.plan, &planned.titles, context.now));
        text.push_str(&report::left(out, &planned.left, &planned.titles));
    }
    let mut end = Vec::new();
    if args.dry_run && n > 0 {
        let sessions = if n == 1 { "1 session".to_owned() } else { format!("{n} sessions") };
        end.push(format!("Dry run: nothing was changed. Without it, {sessions} would be repaired."));
    }
    if left > 0 && (n == 0 || args.dry_run) {
        end.push(report::remain(left));
    }
    if !end.is_empty() {
        let end = end.join(" ");
        text.push_str(&if out.quiet { format!("{end}\n") } else { format!("\n{}\n", out.wrap(&end, "")) });
    }
    if args.dry_run && n > 0 && !out.quiet {
        text.push_str(&format!("Next: {}\n", out.command(&next(args, &[]))));
    }
    text.push_str(&still_dead(context, args, planned));
    text
}

/// What stays dead because nothing was said of taking out what is refused, and how to say it: lines, or nothing.
fn still_dead(context: &Context<'_>, args: &Repair, planned: &Planned) -> String {
    let asked: Vec<String> = args.include.iter().filter_map(Include::name).collect();
    let mut kinds: BTreeSet<&str> = BTreeSet::new();
    let mut dead = 0;
    for judged in planned.audit.sessions.iter().filter(|j| j.diagnosis.status == Status::Dead) {
        let kinds_of_it = judged.diagnosis.findings.iter().filter_map(Finding::takes_out);
        let lacking: Vec<&str> = kinds_of_it.filter(|kind| !asked.iter().any(|a| a == kind)).collect();
        dead += usize::from(!lacking.is_empty());
        kinds.extend(lacking);
    }
    if dead == 0 || context.global.quiet {
        return String::new();
    }
    let these = if dead == 1 { "1 session is dead".to_owned() } else { format!("{dead} sessions are dead") };
    let text = format!("{these}: what is refused leaves a history only where that is asked for, for it is a loss.");
    let kinds: Vec<&str> = kinds.into_iter().collect();
    format!("{}\nNext: {}\n", context.out.wrap(&text, ""), context.out.command(&next(args, &kinds)))
}

/// The same call with `more` included, which is shown first, or without `--dry-run` where there is no more.
fn next(args: &Repair, more: &[&str]) -> String {
    let mut words = vec!["repair".to_owned()];
    words.extend(select::words(&args.selection));
    words.extend((!more.is_empty()).then(|| "--dry-run".to_owned()));
    let names: Vec<String> =
        args.include.iter().filter_map(Include::name).chain(more.iter().map(|kind| (*kind).to_owned())).collect();
    if !names.is_empty() {
        words.extend(["--include".to_owned(), names.join(",")]);
    }
    if let Some(folder) = &args.journal {
        words.extend(["--journal".to_owned(), super::quoted(&folder.to_string_lossy())]);
    }
    report::clean(&words.join(" "))
}

/// Carries out what was shown: opens the store for itself, plans again, compares, keeps a backup and a journal,
/// writes, reads again, proves, tries the way back, commits. Returns what `undo` calls it.
fn apply(
    context: &Context<'_>,
    args: &Repair,
    target: &Target,
    allowed: Allowed,
    shown: &Planned,
    folder: &Path,
) -> Result<String, Error> {
    let exclusive = Exclusive::open(&target.path, args.wait)?;
    let again = plan_again(context, &exclusive.store(), shown, allowed)?;
    if again.plan != shown.plan {
        let detail = "the store has changed since the plan was shown".to_owned();
        let id = target.path.display().to_string();
        return Err(StoreError::RowChanged { table: "store".to_owned(), id, detail }.into());
    }
    if let Some(file) = &args.backup {
        let mut progress = Progress::new("copying", context.progress());
        exclusive.backup(&context.env.absolute(file), &mut |done, all| {
            progress.total(all);
            progress.at(done);
        })?;
    }
    if let Some(folder) = &args.extract {
        super::extract::save(&exclusive.store(), &shown.plan, &context.env.absolute(folder))?;
    }
    let header = Header {
        version: VERSION,
        kind: Kind::Repair,
        id: super::journal_id(context.now, &shown.plan),
        undoes: None,
        store_id: shown.audit.store.id.clone(),
        store_path: target.path.display().to_string(),
        time_ms: context.now,
        sessions: shown.plan.sessions.iter().map(|s| s.id.clone()).collect(),
    };
    let mut journal = JournalWriter::create(folder, &header)?;
    let written = write(&exclusive, &shown.plan, &again.proofs, allowed, &mut journal);
    super::commit::commit(context, &target.path, exclusive, journal, written)?;
    Ok(header.id)
}

fn write(
    exclusive: &Exclusive,
    plan: &Plan,
    proofs: &[Proof],
    allowed: Allowed,
    journal: &mut JournalWriter,
) -> Result<(), StoreError> {
    let back =
        exclusive.execute(plan, &mut |session, edit| journal.row(Entry { session: session.to_owned(), edit }))?;
    exclusive.verify(plan)?;
    let store = exclusive.store();
    for Proof { before, after, rest, sdk, tail, told, leaves, counting } in proofs {
        let failed = |check: String| StoreError::ProofFailed { session: before.info.id.clone(), check };
        let planned = plan.sessions.iter().find(|session| session.id == before.info.id);
        let mut others = planned.map_or_else(|| Rest::but(std::iter::empty()), rest_of);
        let reread = store.load_again(after, &mut others)?;
        if !reread.unreadable.is_empty() || others.found() != *rest || !same(&reread.session, after) {
            return Err(failed("the rows are what the plan says".to_owned()));
        }
        if !leaves.is_empty() {
            let mending = Mending { leaves, counting };
            prove_mended(before, &reread.session, sdk, allowed, mending).map_err(|check| failed(check.to_string()))?;
        } else if *tail {
            prove(before, &reread.session, sdk, allowed).map_err(|check| failed(check.to_string()))?;
        } else if worse(before, &reread.session, sdk) {
            return Err(failed(Check::Tail.to_string()));
        }
        if *told && !matches!(store.log(&reread.session)?, Log::Folds(_)) {
            return Err(failed("the event log folds to the rows".to_owned()));
        }
    }
    exclusive.rehearse(&back)?;
    journal.seal()
}

/// Whether the rows that were read again are those of the plan, rowids and times of change aside. What their contents are
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
