//! From a session and what its repair is to reach to the plan: changes are proposed, tried in memory and proven.

use crate::diagnosis::{Diagnosis, Include, Includes, Judge, Left, LeftReason, Status, latent_cuts};
use crate::error::Result;
use crate::history::{Depth, Session};
use crate::replay::{Resume, Sdk};
use crate::rows::Lookup;

use super::change::{Change, apply_change};
use super::diff::diff;
use super::importable::importable;
use super::mend::mend;
use super::plan::{SessionPlan, Stop, reason_of};
use super::proof::{
    Check, Difference, Mending, blocked, differ, finds_the_same, prove, prove_mended, unchanged, worse,
};
use super::proposals::{Next, ended_calls, next, touches_revert};
use super::step::Step;
use super::turns::{Reached, Turns, names};
use crate::diagnosis::Code;

/// How many histories are looked at before a session is given up: a repair takes a few changes, each with at
/// most a few alternatives.
const MOST_TRIED: u32 = 256;

/// What the repair of a session is to reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Goal {
    /// Its tail resumes.
    pub tail: bool,
    /// So does every history that a revert or a fork would cut.
    pub latent: bool,
    /// No tool call is stored as still going on.
    pub calls_ended: bool,
    /// No prompt is refused for what may be taken out.
    pub mended: bool,
    /// opencode 2's import neither stops at it nor hides its history, as far as that can be mended.
    pub importable: bool,
    /// opencode can read its rows, as far as other rows say what they lack.
    pub decodable: bool,
}

impl Goal {
    /// The tail alone.
    pub const TAIL: Self =
        Self { tail: true, latent: false, calls_ended: false, mended: false, importable: false, decodable: false };

    /// What a repair is to reach for a session that stands like this; `None` where there is nothing to do.
    #[must_use]
    pub fn of(d: &Diagnosis, includes: Includes) -> Option<Self> {
        let has = |code: Code| d.findings.iter().any(|f| f.code == code);
        let latent = includes.has(Include::Latent) && has(Code::LatentTail);
        let anywhere = d.resume.iter().any(|(_, r)| *r == Resume::EndsWithAssistant);
        let tail = match d.tail {
            Status::Stuck => true,
            Status::AtRisk => d.doubts.allowed_by(includes),
            Status::Unreadable => return None,
            _ => latent && anywhere,
        };
        let goal = Self {
            tail,
            latent,
            calls_ended: includes.has(Include::Unsettled) && has(Code::UnsettledTool),
            importable: includes.has(Include::Import),
            decodable: includes.has(Include::Rows) && d.findings.iter().any(|f| f.misfit.is_some()),
            mended: d.mended_by().into_iter().any(|include| includes.has(include)),
        };
        (goal != Self::default()).then_some(goal)
    }
}

/// What a plan is made for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// What it is to reach.
    pub goal: Goal,
    /// What was allowed beyond the default.
    pub includes: Includes,
    /// Which rule sets count, and who refuses.
    pub judge: &'a Judge,
    /// Becomes `time_updated` of every row that changes, in ms since the epoch.
    pub now: i64,
    /// What lets opencode read its rows, one change a row.
    pub fills: &'a [Change],
}

/// What came of planning.
#[derive(Debug)]
pub enum Planned {
    /// The edits, and the session as they leave it. No edits where there is nothing to do.
    Repair(Box<(SessionPlan, Session)>),
    /// The session is left.
    Left(Left),
}

/// Plans the repair of one session whose rows were all understood and read whole. `rows` are those that it was read from.
///
/// # Errors
/// When a row cannot be read.
pub fn plan_session(session: &Session, sdk: &Sdk, request: Request<'_>, rows: &dyn Lookup) -> Result<Planned> {
    debug_assert_eq!(session.depth, Depth::Whole, "what is proven must have been read");
    let request = Request { includes: request.judge.allowed(&session.info.id, request.includes), ..request };
    let plan = |sdk: &Sdk| Planner { original: session, sdk, request, rows }.plan();
    let own = plan(sdk);
    if !request.includes.has(Include::Unmeasured) {
        // Where nobody knows the package, all that were measured have to come to the same.
        for other in sdk.candidates().iter().skip(1) {
            let same = match (&own, &plan(other)) {
                (Ok((own, _)), Ok((theirs, _))) => own.edits == theirs.edits,
                (Err(Stop::Leave(own, _)), Err(Stop::Leave(theirs, _))) => own == theirs,
                (Err(Stop::Failed(_)), _) => true,
                _ => false,
            };
            if !same {
                return Ok(Planned::Left(Left::new(&session.info.id, LeftReason::UnmeasuredPackage)));
            }
        }
    }
    match own {
        Ok(repair) => Ok(Planned::Repair(Box::new(repair))),
        Err(Stop::Leave(reason, detail)) => Ok(Planned::Left(Left { id: session.info.id.clone(), reason, detail })),
        Err(Stop::Failed(error)) => Err(error),
    }
}

struct Planner<'a> {
    original: &'a Session,
    sdk: &'a Sdk,
    request: Request<'a>,
    rows: &'a dyn Lookup,
}

impl Planner<'_> {
    fn plan(&self) -> Result<(SessionPlan, Session), Stop> {
        let Request { goal, includes, judge, now, .. } = self.request;
        let (original, sdk) = (self.original, self.sdk);
        let (session, redactions) = if goal.mended {
            mend(original, sdk, &judge.counting, includes, self.rows)?
        } else {
            (original.clone(), Vec::new())
        };
        // From here on what was taken out is gone: nothing else may change.
        let mends = !redactions.is_empty();
        let tail = goal.tail || (mends && blocked(&session, sdk).is_some() && worse(original, &session, sdk));
        let mut at: Reached = (session.clone(), redactions);
        if goal.decodable {
            at = self.make_decodable(at);
        }
        // First for every package, so that the repair outlives a change of provider; else for the session's own.
        let both = [sdk.clone(), Sdk::keeping()];
        if tail && blocked(&at.0, sdk).is_some() {
            at = match self.reach(&at, None, &both) {
                Err(Stop::Leave(..)) => self.reach(&at, None, &both[..1])?,
                other => other?,
            };
        }
        if goal.latent {
            at = self.reach_cuts(at, &both[..1])?;
        }
        if goal.calls_ended {
            at = self.end_calls(at)?;
        }
        if goal.importable {
            at = self.make_importable(at)?;
        }
        let (after, steps) = at;
        self.prove(&session, &after, tail)?;
        if mends {
            let mending = Mending { steps: &steps, counting: &judge.counting };
            prove_mended(original, &after, sdk, includes, mending)?;
        }
        let mut plan = diff(original, &after, steps, now, self.rows)?;
        plan.empty_answers =
            judge.counting.iter().any(|set| differ(original, &after, set, sdk) == Difference::EmptyAnswers);
        Ok((plan, after))
    }

    fn prove(&self, session: &Session, after: &Session, tail: bool) -> Result<(), Stop> {
        let (sdk, includes) = (self.sdk, self.request.includes);
        if tail {
            prove(session, after, sdk, includes)?;
        } else if let Some(check) = unchanged(session, after, std::slice::from_ref(sdk), includes) {
            return Err(check.into());
        } else if worse(session, after, sdk) {
            return Err(Check::Tail.into());
        }
        if finds_the_same(session, after, sdk) { Ok(()) } else { Err(Check::Findings.into()) }
    }

    fn search<'s>(&'s self, cut: Option<&'s str>, sdks: &'s [Sdk]) -> Search<'s> {
        Search { cut, sdks, includes: self.request.includes, rows: self.rows, tried: 0, refused: None }
    }

    fn reach(&self, from: &Reached, cut: Option<&str>, sdks: &[Sdk]) -> Result<Reached, Stop> {
        let mut search = self.search(cut, sdks);
        match search.from(&from.0, &from.1)? {
            Some(reached) => Ok(reached),
            None => Err(search.refused.unwrap_or(LeftReason::NoLosslessEdit).into()),
        }
    }

    /// Mends the histories that a revert or a fork would cut. One that cannot be helped is no reason to leave the rest.
    fn reach_cuts(&self, at: Reached, sdks: &[Sdk]) -> Result<Reached, Stop> {
        let cuts = latent_cuts(&at.0, self.sdk, self.request.judge);
        let turns = Turns { sdk: self.sdk, includes: self.request.includes, rows: self.rows };
        let (at, unclear) = turns.mend(at, &cuts)?;
        self.reach_one_by_one(at, &unclear, sdks)
    }

    fn reach_one_by_one(&self, mut at: Reached, cuts: &[String], sdks: &[Sdk]) -> Result<Reached, Stop> {
        for cut in cuts {
            match self.reach(&at, Some(cut), sdks) {
                Ok(further) if !worse(&at.0, &further.0, self.sdk) => at = further,
                Ok(_) | Err(Stop::Leave(..)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(at)
    }

    /// Ends every tool call that is stored as still going on.
    fn end_calls(&self, at: Reached) -> Result<Reached, Stop> {
        let changes = ended_calls(&at.0, self.rows)?;
        Ok(self.take(at, &changes, |_, _| true))
    }

    /// Fills in what rows lack.
    fn make_decodable(&self, at: Reached) -> Reached {
        self.take(at, self.request.fills, |before, after| !worse(before, after, self.sdk))
    }

    /// Mends what opencode 2's import stumbles over.
    fn make_importable(&self, at: Reached) -> Result<Reached, Stop> {
        let changes = importable(&at.0, self.rows)?;
        Ok(self.take(at, &changes, |_, _| true))
    }

    /// Makes the changes after which the next prompt of opencode 1 stays the same, and that are `sound` too.
    fn take(&self, mut at: Reached, changes: &[Change], sound: impl Fn(&Session, &Session) -> bool) -> Reached {
        let (sdks, includes) = (std::slice::from_ref(self.sdk), self.request.includes);
        for change in changes {
            let Ok(after) = apply_change(&at.0, change) else { continue };
            let same = || unchanged(&at.0, &after, sdks, includes).is_none();
            if touches_revert(self.original, change) || !same() || !sound(&at.0, &after) {
                continue;
            }
            at.1.extend(Step::of(change, &at.0, &after));
            at.0 = after;
        }
        at
    }
}

/// The search for a way: proposals in their order, depth first, every step proven against the one before it.
struct Search<'a> {
    /// Look at the history before this row instead of the whole.
    cut: Option<&'a str>,
    sdks: &'a [Sdk],
    includes: Includes,
    rows: &'a dyn Lookup,
    tried: u32,
    /// Why the first way that was tried came to an end.
    refused: Option<LeftReason>,
}

impl Search<'_> {
    fn next(&self, now: &Session) -> Result<Next> {
        let Some(at) = self.cut.and_then(|id| now.messages.iter().position(|m| m.row.id == id)) else {
            return next(now, self.sdks, self.rows);
        };
        let mut before = now.clone();
        before.info.revert = None;
        before.messages.truncate(at);
        Ok(match next(&before, self.sdks, self.rows)? {
            Next::Try(changes) => Next::Try(changes.into_iter().filter(|c| !touches_revert(now, c)).collect()),
            other => other,
        })
    }

    fn from(&mut self, now: &Session, steps: &[Step]) -> Result<Option<Reached>, Stop> {
        let candidates = match self.next(now)? {
            Next::Resumes => return Ok(Some((now.clone(), steps.to_vec()))),
            Next::Leave(reason) => {
                self.refused.get_or_insert(reason);
                return Ok(None);
            }
            Next::Try(candidates) => candidates,
        };
        for change in candidates.into_iter().filter(|change| !leaves_dangling(now, change)) {
            self.tried += 1;
            if self.tried > MOST_TRIED {
                return Ok(None);
            }
            let Ok(after) = apply_change(now, &change) else { continue };
            // What is proven of each step holds for all of them together: every proof says that two things are equal, or that
            // both are far below any model's window.
            if let Some(check) = unchanged(now, &after, self.sdks, self.includes) {
                self.refused.get_or_insert(reason_of(check));
                continue;
            }
            let mut steps = steps.to_vec();
            steps.extend(Step::of(&change, now, &after));
            if let Some(reached) = self.from(&after, &steps)? {
                return Ok(Some(reached));
            }
        }
        Ok(None)
    }
}

/// Whether the change removes a row that one which stays names: an answer its prompt, a compaction where the
/// history that it keeps begins. opencode's clients show an answer under the prompt that it names.
fn leaves_dangling(now: &Session, change: &Change) -> bool {
    let Change::Remove { id, .. } = change else { return false };
    now.messages.iter().filter(|m| m.row.id != *id).any(|m| names(m).any(|named| named == id))
}
