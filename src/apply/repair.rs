//! Planning and carrying out a repair.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Applied, ApplyOptions, Job, Older, Postcondition, Proof};
use crate::audit::{self, Audit, audit, every_misfit, fills, replay_sdk, sdk_of};
use crate::diagnosis::unopenable::Fails;
use crate::diagnosis::{
    Applicability, Diagnosis, Evidence, Finding, Format, Include, Includes, Judge, Left, LeftReason, Scope, Status,
    draft, names,
};
use crate::error::Result;
use crate::history::log::Log;
use crate::history::{Session, SessionInfo};
use crate::journal::Kind;
use crate::repair::log::{Told, events, renamed};
use crate::repair::{
    Action, Change, Check, Goal, Mending, Plan, Planned, Request, SessionPlan, Step, plan_session, prove, prove_mended,
    take_out, touched, worse,
};
use crate::replay::Sdk;
use crate::rows::{Cell, Op, Table};
use crate::sdk::SdkResolver;
use crate::store::{Loaded, Store, UntouchedDigest};

/// What a repair is told.
#[derive(Debug)]
pub struct RepairOptions<'a> {
    /// Which sessions, and how they are judged. What has to be found out follows from `includes`.
    pub audit: audit::Options<'a>,
    /// What may be done beyond the default.
    pub includes: Includes,
    /// The present, in ms since the epoch.
    pub now: i64,
}

/// A plan with what it was made from.
#[derive(Debug)]
pub struct PlannedRepair {
    /// The store, judged.
    pub audit: Audit,
    /// What is to be done.
    pub plan: Plan,
    /// Sessions that are left, and why.
    pub left: Vec<Left>,
    /// Sessions of which every prompt stays refused, as nothing was said of taking out what it is refused for; each with
    /// what would have to be included.
    pub dead: Vec<Lacking>,
    /// Sessions that opencode cannot read, as nothing was said of filling in what it lacks; each with what would have to be
    /// included.
    pub closed: Vec<Lacking>,
    /// The titles of the sessions of both, by id.
    pub titles: Vec<(String, String)>,
}

/// A session, and what would have to be included to help it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lacking {
    /// Which opencode it is of.
    pub format: Format,
    /// The session.
    pub id: String,
    /// What would have to be included.
    pub kinds: BTreeSet<Include>,
}

impl Lacking {
    /// Of what helps a session, that which was not included; `None` where all was, or nothing helps.
    fn of(d: &Diagnosis, helps: BTreeSet<Include>, included: Includes) -> Option<Self> {
        let kinds: BTreeSet<Include> = helps.into_iter().filter(|kind| !included.has(*kind)).collect();
        (!kinds.is_empty()).then(|| Self { format: d.format, id: d.info.id.clone(), kinds })
    }
}

impl PlannedRepair {
    /// [`PlannedRepair::left`], and the dead sessions of which nothing is said otherwise.
    #[must_use]
    pub fn all_left(&self) -> Vec<Left> {
        let planned =
            |of: &Lacking| self.plan.sessions.iter().any(|plan| plan.id == of.id && plan.format() == of.format);
        let known = |of: &Lacking| planned(of) || self.left.iter().any(|left| left.id == of.id);
        let lacking = |of: &[Lacking], reason: LeftReason, what: &str| -> Vec<Left> {
            let of = of.iter().filter(|of| !known(of));
            let left = of.map(|Lacking { id, kinds, .. }| Left {
                id: id.clone(),
                reason,
                detail: format!("{what} {}", names(kinds)),
            });
            left.collect()
        };
        let dead = lacking(&self.dead, LeftReason::NotIncluded, LeftReason::NotIncluded.description());
        let filled = "opencode cannot read a row of it; what the store tells of that is filled in with --include";
        let closed = lacking(&self.closed, LeftReason::Unopenable, filled);
        self.left.iter().cloned().chain(dead).chain(closed).collect()
    }
}

/// Judges the store and plans what is to be done. Sessions whose tail holds the refusal come first.
///
/// # Errors
/// What is wrong with the store, or with the selection.
pub fn plan_repair(store: &Store<'_>, options: &RepairOptions<'_>) -> Result<PlannedRepair> {
    // A named session is read whole; in a store, dead ones are found by all of their rows alone.
    let named = options.audit.selection.names_sessions();
    let tails = named && !options.includes.beyond_tails();
    let want = if tails { audit::Want::Stuck } else { audit::Want::Findings };
    let deep = options.audit.deep || [Include::Rows, Include::BrokenParts].iter().any(|i| options.includes.has(*i));
    let audit = audit(store, &audit::Options { want, deep, ..options.audit })?;
    let planner =
        Planner { store, judge: &audit.judge, includes: options.includes, now: options.now, keep_proofs: false };
    let mut work = Work::default();
    let mut order: Vec<_> = audit.sessions.iter().collect();
    // These are what the person came for. A session that is imported is one of opencode 1 first.
    order.sort_by_key(|judged| (judged.diagnosis.format, judged.diagnosis.evidence != Some(Evidence::Evidenced)));
    for judged in order {
        let info = &judged.diagnosis.info;
        if judged.diagnosis.format == Format::V2 {
            planner.newer(&judged.diagnosis, named, options.audit.packages, &mut work)?;
        } else if judged.diagnosis.findings.iter().any(Finding::is_broken_part)
            && planner.broken(&store.load(info)?, UntouchedDigest::default(), &mut work)?
        {
            // Until they are out, nothing else can be said of the session.
        } else if judged.diagnosis.status == Status::Unreadable {
            // Whoever asks for broken parts is told which sessions stay as they are.
            work.unreadable(info, named || options.includes.has(Include::BrokenParts));
        } else if let Some(reason) = judged.diagnosis.left_unmeasured(options.includes) {
            work.leave(info, reason);
        } else if let Some(goal) = Goal::of(&judged.diagnosis, options.includes) {
            let loaded = store.load(info)?;
            if loaded.unreadable.is_empty() {
                let (session, sdk, untouched) = (&loaded.session, judged.replay_sdk(), UntouchedDigest::default());
                let refused = judged.diagnosis.refused;
                planner.session(Task { session, sdk, goal, untouched, refused }, &mut work)?;
            } else {
                // A verdict reads a tail; whoever writes has to understand every row.
                work.unreadable(info, named);
            }
        }
    }
    let Work { plan, left, titles, cured, .. } = work;
    let is_cured = |d: &&Diagnosis| cured.iter().any(|(format, id)| *format == d.format && *id == d.info.id);
    let refused = audit.sessions.iter().map(|j| &j.diagnosis).filter(|d| !is_cured(d));
    let dead = refused.filter_map(|d| Lacking::of(d, d.mended_by(), options.includes)).collect();
    let closed = audit.sessions.iter().map(|j| &j.diagnosis).filter(|d| d.undecodable());
    let closed = closed.filter_map(|d| Lacking::of(d, d.read_by(), options.includes)).collect();
    Ok(PlannedRepair { audit, plan, left, dead, closed, titles })
}

/// Carries out a plan that was shown, for the store at `path`.
///
/// # Errors
/// Whatever keeps it from being carried out; then nothing was changed, but for
/// [`crate::error::ErrorCode::CommitUnclear`].
pub fn repair(
    path: &Path,
    shown: &PlannedRepair,
    includes: Includes,
    packages: &SdkResolver,
    options: &mut ApplyOptions<'_>,
) -> Result<Applied> {
    let job = Job { path, plan: &shown.plan, kind: Kind::Repair, undoes: None, store_id: &shown.audit.facts.id };
    let now = options.now;
    super::apply(&job, options, |store| {
        let planner = Planner { store, judge: &shown.audit.judge, includes, now, keep_proofs: true };
        planner.again(&shown.plan, packages)
    })
}

/// Plans as they come together.
#[derive(Default)]
pub(super) struct Work {
    pub(super) plan: Plan,
    left: Vec<Left>,
    pub(super) titles: Vec<(String, String)>,
    pub(super) conditions: Vec<Postcondition>,
    /// Sessions of which every prompt was refused, and is not any more.
    pub(super) cured: Vec<(Format, String)>,
}

impl Work {
    /// A session that cannot be understood is left; that is said where it was asked for by name.
    fn unreadable(&mut self, info: &SessionInfo, named: bool) {
        if named {
            self.leave(info, LeftReason::Unreadable);
        }
    }

    fn leave(&mut self, info: &SessionInfo, reason: LeftReason) {
        self.leave_so(info, Left::new(&info.id, reason));
    }

    fn older(&mut self, condition: Older) {
        self.conditions.push(Postcondition::Older(Box::new(condition)));
    }

    pub(super) fn leave_so(&mut self, info: &SessionInfo, left: Left) {
        self.left.push(left);
        self.titles.push((info.id.clone(), info.title.clone()));
    }
}

/// A session that is to be repaired.
struct Task<'a> {
    session: &'a Session,
    sdk: Sdk,
    goal: Goal,
    /// A digest of the rows that the plan does not name, where that is known already.
    untouched: UntouchedDigest,
    /// Whether it is to be looked at whether every prompt is still refused afterwards.
    refused: bool,
}

pub(super) struct Planner<'a> {
    pub(super) store: &'a Store<'a>,
    judge: &'a Judge,
    pub(super) includes: Includes,
    now: i64,
    /// What is to be proven is kept: histories can be large, and a plan that is only shown needs none.
    pub(super) keep_proofs: bool,
}

impl Planner<'_> {
    /// Plans the shown sessions once more, with who refuses taken as it was.
    fn again(&self, shown: &Plan, packages: &SdkResolver) -> Result<(Plan, Vec<Postcondition>)> {
        // As deep as the first time: a tail asks for little of a long history.
        let scope = if self.includes.beyond_tails() { Scope::All } else { Scope::Tail };
        let mut work = Work::default();
        for session in &shown.sessions {
            if session.format() == Format::V2 {
                if let Some(session) = self.store.newer_session(&session.id)? {
                    self.newer_session(&session, packages, &mut work)?;
                }
                continue;
            }
            let Some(info) = self.store.session(&session.id)? else { continue };
            let (loaded, untouched) = self.store.load_guarded(&info, &touched(&session.edits), None)?;
            if self.broken(&loaded, untouched, &mut work)? {
                continue;
            }
            let Loaded { session, unreadable } = loaded;
            let sdk = replay_sdk(sdk_of(&session, packages).as_ref());
            let mut diagnosis = draft(&session, &sdk, &self.judge.counting, scope).settle(self.judge);
            if self.includes.has(Include::Rows) {
                diagnosis.add_unopenable(every_misfit(self.store, &session)?);
            }
            if unreadable.is_empty()
                && let Some(goal) = Goal::of(&diagnosis, self.includes)
            {
                self.session(Task { session: &session, sdk, goal, untouched, refused: false }, &mut work)?;
            }
        }
        Ok((work.plan, work.conditions))
    }

    fn session(&self, task: Task<'_>, work: &mut Work) -> Result<()> {
        let Task { session, sdk, goal, untouched, refused } = task;
        work.titles.push((session.info.id.clone(), session.info.title.clone()));
        let misfits = every_misfit(self.store, session)?;
        let (fills, cannot) = if goal.decodable {
            let fills = fills(self.store, session)?;
            let cannot = fills.left(&misfits);
            (fills.changes, cannot)
        } else {
            (Vec::new(), misfits.clone())
        };
        if let Some(left) = self.in_vain(session, goal, &fills, &cannot) {
            work.left.push(left);
            return Ok(());
        }
        let request = Request { goal, includes: self.includes, judge: self.judge, now: self.now, fills: &fills };
        let (mut plan, after) = match plan_session(session, &sdk, request, self.store)? {
            Planned::Left(left) => {
                work.left.push(left);
                return Ok(());
            }
            Planned::Repair(repair) => *repair,
        };
        let remaining: Vec<&Finding> = misfits.iter().filter(|f| !plan.steps.iter().any(|s| fills_in(s, f))).collect();
        if plan.edits.is_empty() {
            if let Some(finding) = remaining.first().filter(|_| goal.decodable) {
                let detail = format!("opencode cannot read a row of it: {}", said(finding));
                work.left.push(Left { id: session.info.id.clone(), reason: LeftReason::Unopenable, detail });
            }
            return Ok(());
        }
        if self.takes_an_id(&plan)? {
            let detail = "the id that its new row would get is taken by another session's".to_owned();
            work.left.push(Left { id: session.info.id.clone(), reason: LeftReason::NoLosslessEdit, detail });
            return Ok(());
        }
        if goal.decodable {
            plan.still_unread = remaining.iter().map(|finding| said(finding)).collect();
        }
        if refused && !draft(&after, &sdk, &self.judge.counting, Scope::All).settle(self.judge).refused {
            work.cured.push((Format::V1, session.info.id.clone()));
        }
        let log_told = self.tell_log(session, &mut plan)?;
        if self.keep_proofs {
            let proof = self.proof(session.clone(), sdk, goal, &plan);
            let info = session.info.clone();
            let misfits = goal.decodable.then_some(remaining.len());
            let condition = Older::of_rows(info, untouched, log_told);
            work.older(Older { expected: Some(after), misfits, proof, ..condition });
        }
        work.plan.sessions.push(plan);
        Ok(())
    }

    /// Plans to take the parts out of the session whose JSON is broken, where that was asked for. Returns whether there are
    /// any: then nothing else is done to it.
    fn broken(&self, loaded: &Loaded, untouched: UntouchedDigest, work: &mut Work) -> Result<bool> {
        let Loaded { session, unreadable } = loaded;
        if !self.includes.has(Include::BrokenParts) {
            return Ok(false);
        }
        let (broken, others): (Vec<Finding>, Vec<Finding>) = every_misfit(self.store, session)?
            .into_iter()
            .partition(|f| f.is_broken_part() && f.applicability == Applicability::OptIn);
        if broken.is_empty() {
            return Ok(false);
        }
        let among = |id: &str| broken.iter().any(|f| f.part_id.as_deref() == Some(id));
        if !unreadable.iter().all(|row| row.table == "part" && among(&row.id)) {
            work.leave(&session.info, LeftReason::Unreadable);
            return Ok(true);
        }
        let (mut plan, after) = take_out(session, &broken, self.store)?;
        plan.still_unread = others.iter().map(said).collect();
        let log_told = self.tell_log(session, &mut plan)?;
        let info = session.info.clone();
        work.titles.push((info.id.clone(), info.title.clone()));
        if self.keep_proofs {
            let condition = Older::of_rows(info, untouched, log_told);
            let misfits = Some(others.len());
            work.older(Older { expected: Some(after), misfits, ..condition });
        }
        work.plan.sessions.push(plan);
        Ok(true)
    }

    /// Why a repair of the session would be in vain, where it would: a retry fails for a row that opencode cannot read, or
    /// that is all that was to be mended and it cannot be.
    fn in_vain(&self, session: &Session, goal: Goal, fills: &[Change], remaining: &[Finding]) -> Option<Left> {
        let fails = |finding: &&Finding| {
            let fails = finding.misfit.as_ref().map_or(&[][..], |misfit| &misfit.fails);
            fails.contains(&Fails::Retry) || fails.contains(&Fails::Prompt)
        };
        let stops = remaining.iter().find(fails).filter(|_| goal.tail);
        let alone = goal == Goal { decodable: true, ..Goal::default() } && fills.is_empty();
        let finding = stops.or(remaining.first().filter(|_| alone))?;
        let more = if self.includes.has(Include::Rows) { "" } else { " (--include rows fills in what other rows say)" };
        let detail = format!("opencode cannot read a row of it: {}{more}", said(finding));
        Some(Left { id: session.info.id.clone(), reason: LeftReason::Unopenable, detail })
    }

    /// What is proven of the rows once they are written.
    fn proof(&self, before: Session, sdk: Sdk, goal: Goal, plan: &SessionPlan) -> Proof {
        let includes = self.includes;
        if plan.redacts() {
            let (steps, counting) = (plan.steps.clone(), self.judge.counting.clone());
            return Box::new(move |after| {
                prove_mended(&before, after, &sdk, includes, Mending { steps: &steps, counting: &counting })
            });
        }
        Box::new(move |after| {
            if goal.tail {
                prove(&before, after, &sdk, includes)
            } else if worse(&before, after, &sdk) {
                Err(Check::Tail)
            } else {
                Ok(())
            }
        })
    }

    /// Whether a new row would get an id that is there already: ids are the store's, and a plan sees one session.
    fn takes_an_id(&self, plan: &SessionPlan) -> Result<bool> {
        for edit in plan.edits.iter().filter(|e| e.op() == Op::Insert) {
            if self.store.rowid(edit.table, &edit.id)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Adds the events that tell the session's log of the edits, if it has one that told of its rows so far. Returns whether
    /// it is told.
    fn tell_log(&self, session: &Session, plan: &mut SessionPlan) -> Result<bool> {
        let end = match self.store.log(session)? {
            Log::None => return Ok(false),
            Log::Differs(why) => {
                plan.log_not_updated = Some(why);
                return Ok(false);
            }
            Log::Folds(end) => end,
        };
        let renames: Vec<(usize, String, String)> = plan
            .steps
            .iter()
            .enumerate()
            .filter_map(|(at, step)| match &step.action {
                Action::RenamePart { part_id, new_id } => Some((at, part_id.clone(), new_id.clone())),
                _ => None,
            })
            .collect();
        let silent = renames.iter().flat_map(|(_, from, to)| [from.as_str(), to.as_str()]).collect();
        match events(&session.info.id, &plan.edits, &silent, &end, (self.now, self.store))? {
            Told::Events(events) => {
                let created = self.store.schema().has("event", "created");
                for (of, mut edit) in events {
                    if let Some(row) = edit.after.as_mut().filter(|_| created && edit.table == Table::Event) {
                        row.insert("created".to_owned(), Cell::Int(0));
                    }
                    let step = plan.step_of[of];
                    plan.push(edit, step);
                }
                // What the log says of a part that is renamed stays true: it names it by its new id.
                for (step, from, to) in &renames {
                    for row in self.store.events_of_part(&session.info.id, from)? {
                        plan.edits.extend(renamed(&row, from, to));
                        plan.step_of.resize(plan.edits.len(), *step);
                    }
                }
                Ok(true)
            }
            Told::Nothing(why) => {
                plan.log_not_updated = Some(why);
                Ok(false)
            }
        }
    }
}

/// Whether a step is what lets opencode read what a finding is about.
fn fills_in(step: &Step, finding: &Finding) -> bool {
    let Some(misfit) = finding.misfit.as_ref().filter(|_| step.message_id == finding.message_id) else { return false };
    match &step.action {
        Action::FillIn { members } => finding.part_id.is_none() && members.contains(&misfit.member),
        Action::RenamePart { part_id, .. } => finding.part_id.as_ref() == Some(part_id) && misfit.member == "id",
        _ => false,
    }
}

/// A finding with its row, in words.
fn said(finding: &Finding) -> String {
    let id = finding.part_id.as_deref().unwrap_or(&finding.message_id);
    if id.is_empty() { finding.detail.clone() } else { format!("{} ({id})", finding.detail) }
}
