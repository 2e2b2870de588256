//! Sessions of opencode 2 in a repair and in an undo.

use std::collections::BTreeSet;

use super::repair::{Planner, Work};
use super::{AS_PLANNED, Postcondition};
use crate::audit::target;
use crate::diagnosis::{Applicability, Code, Diagnosis, Finding, Include, Includes, Left, LeftReason, Status, names};
use crate::error::Result;
use crate::opencode2::generation::RELEASED;
use crate::opencode2::stored::{StoredRows, StoredSession};
use crate::repair::newer::{NewerPlan, NewerTask, PlannedNewer, plan_newer, prove_newer};
use crate::repair::undo::{Taken, Undo, plan_newer_undo};
use crate::repair::{Check, touched};
use crate::sdk::SdkResolver;
use crate::store::{Exclusive, Store, Touched, UntouchedDigest};

/// What is proven of the rows of a session of opencode 2 as they were read back.
type Proof = Box<dyn Fn(&StoredSession, &StoredRows) -> Result<(), Check>>;

/// What must hold of a session of opencode 2 before its edits are committed.
pub(super) struct Newer {
    id: String,
    /// A digest of its messages that no edit names.
    untouched: UntouchedDigest,
    proof: Proof,
}

impl Newer {
    pub(super) fn session(&self) -> &str {
        &self.id
    }

    /// The check that the rows do not pass, if there is one. That the rows that edits name are what those say is looked at
    /// for every table at once.
    pub(super) fn check(&self, exclusive: &Exclusive, touched: &Touched<'_>) -> Result<Option<String>> {
        let store = exclusive.store();
        let session = store.newer_session(&self.id)?;
        let same = store.newer_untouched(&self.id, touched)? == self.untouched;
        let Some(session) = session.filter(|_| same) else { return Ok(Some(AS_PLANNED.to_owned())) };
        let rows = store.newer_rows(&self.id)?;
        Ok((self.proof)(&session, &rows).err().map(|check| check.to_string()))
    }
}

/// Why a session of opencode 2 of which nothing is done is left, where it was asked for by name.
fn left(diagnosis: &Diagnosis, includes: Includes) -> Option<Left> {
    let id = &diagnosis.info.id;
    let lacks = |f: &Finding| {
        let include = f.code.include().filter(|_| f.applicability == Applicability::OptIn)?;
        (!includes.has(include)).then_some(include)
    };
    let mended = diagnosis.findings.iter().any(|f| f.applicability == Applicability::OptIn);
    let doubted = mended && diagnosis.status == Status::AtRisk && !includes.has(Include::AtRisk);
    let doubted = doubted.then_some(Include::AtRisk);
    let lacking = diagnosis.findings.iter().filter_map(lacks).chain(doubted);
    let lacking: BTreeSet<Include> = lacking.collect();
    let left = |reason: LeftReason, detail: String| Some(Left { id: id.clone(), reason, detail });
    match diagnosis.status {
        Status::Healthy | Status::Recovered | Status::Latent => None,
        // Of what would have to be included, the dead and those that cannot be read are told with.
        _ if !lacking.is_empty() && diagnosis.needs_action() => None,
        _ if !lacking.is_empty() => {
            let kinds = names(&lacking);
            left(LeftReason::NotIncluded, format!("what its model may refuse is changed with --include {kinds}"))
        }
        _ if diagnosis.findings.iter().any(|f| f.code == Code::UnreadableRow) => {
            left(LeftReason::Unreadable, LeftReason::Unreadable.description().to_owned())
        }
        _ => {
            let why = diagnosis.findings.first().map(|f| format!(" ({} {})", f.code, f.message_id)).unwrap_or_default();
            left(LeftReason::NewerFormat, format!("{}{why}", LeftReason::NewerFormat.description()))
        }
    }
}

impl Planner<'_> {
    /// Plans what was asked for of a session of opencode 2.
    pub(super) fn newer(
        &self,
        diagnosis: &Diagnosis,
        named: bool,
        packages: &SdkResolver,
        work: &mut Work,
    ) -> Result<()> {
        let info = &diagnosis.info;
        let none = |work: &mut Work| {
            if let Some(left) = left(diagnosis, self.includes).filter(|_| named) {
                work.leave_so(info, left);
            }
            Ok(())
        };
        if !diagnosis.findings.iter().any(|f| f.applicability == Applicability::OptIn) {
            return none(work);
        }
        let Some(session) = self.store.newer_session(&info.id)? else { return none(work) };
        let before = work.plan.sessions.len();
        if !self.newer_session(&session, packages, work)? {
            return none(work);
        }
        if diagnosis.refused && work.plan.sessions.len() > before {
            work.cured.push((diagnosis.format, info.id.clone()));
        }
        Ok(())
    }

    /// Plans what was asked for of a session of opencode 2. Returns whether there was anything to do or to say.
    pub(super) fn newer_session(
        &self,
        session: &StoredSession,
        packages: &SdkResolver,
        work: &mut Work,
    ) -> Result<bool> {
        let rows = self.store.newer_rows(&session.info.id)?;
        if !rows.unreadable.is_empty() {
            return Ok(false);
        }
        let generation = self.store.generation().unwrap_or(&RELEASED);
        let (_, target) = target(session, packages);
        let task = NewerTask { generation, session, target, includes: self.includes };
        let planned = match plan_newer(task, &rows, self.store)? {
            PlannedNewer::Nothing => return Ok(false),
            PlannedNewer::Left(left) => {
                work.leave_so(&session.info, left);
                return Ok(true);
            }
            PlannedNewer::Repair(planned) => *planned,
        };
        let NewerPlan { plan, includes, before } = planned;
        if let Some(left) = self.newer_obstacle(session, work) {
            work.leave_so(&session.info, left);
            return Ok(true);
        }
        work.titles.push((session.info.id.clone(), session.info.title.clone()));
        if self.keep_proofs {
            let untouched = self.store.newer_untouched(&session.info.id, &touched(&plan.edits))?;
            let steps = plan.steps.clone();
            let proof: Proof = Box::new(move |session, after| {
                prove_newer(NewerTask { generation, session, target, includes }, &before, after, &steps)
            });
            work.conditions.push(Postcondition::Newer(Newer { id: session.info.id.clone(), untouched, proof }));
        }
        work.plan.sessions.push(plan);
        Ok(true)
    }

    /// What keeps a planned session of opencode 2 from being repaired in this call.
    fn newer_obstacle(&self, session: &StoredSession, work: &Work) -> Option<Left> {
        let left = |detail: String| Some(Left { id: session.info.id.clone(), reason: LeftReason::NewerFormat, detail });
        if let Some(column) = self.store.newer_unknown_column() {
            return left(format!("`session_message` has a column that was never measured: `{column}`"));
        }
        let both = work.plan.sessions.iter().any(|plan| plan.id == session.info.id);
        both.then(|| left("its session of opencode 1 has the same id and is repaired first; repair again".to_owned()))?
    }
}

/// Plans the taking back of the edits of a session of opencode 2, with what must hold then.
///
/// # Errors
/// When a row cannot be read.
pub(super) fn take_back(store: &Store<'_>, session: &StoredSession, taken: Taken<'_>) -> Result<(Undo, Postcondition)> {
    let id = &session.info.id;
    let untouched = store.newer_untouched(id, &touched(taken.edits))?;
    let undo = plan_newer_undo(id, taken, store)?;
    Ok((undo, Postcondition::Newer(Newer { id: id.clone(), untouched, proof: Box::new(|_, _| Ok(())) })))
}
