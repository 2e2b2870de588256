//! Everything that there is to say about one session: what would be sent, why that is refused, what a repair makes of it.

mod explanation;
mod newer;

use std::collections::HashMap;

pub use explanation::{Explanation, Failure, Generation, GoesOn, Piece, Row, Turn};
pub use newer::{NewerBlock, NewerTurn};

use crate::audit::{self, Judged, audit_with};
use crate::diagnosis::{Diagnosis, Format, Include, Includes, Left, Status};
use crate::error::{Error, ErrorCode, Result};
use crate::history::{Session, UnreadableRow};
use crate::opencode2::generation::RELEASED;
use crate::repair::{Goal, Planned, Request, SessionPlan, plan_session};
use crate::replay::Bound;
use crate::rows::{Lookup as _, Table};
use crate::sdk::SdkChoice;
use crate::stats::{Cause, Events};
use crate::store::{Facts, Store};

/// A session with everything that is to be said about it.
#[derive(Debug)]
pub struct Explained {
    /// What the store is.
    pub facts: Facts,
    /// Which opencode it is judged by.
    pub bound: Bound,
    /// How the session stands.
    pub diagnosis: Diagnosis,
    /// The SDK package behind its model.
    pub sdk: Option<SdkChoice>,
    /// Its request; `None` where a row could not be understood.
    pub now: Option<Explanation>,
    /// Rows that could not be understood.
    pub unreadable: Vec<UnreadableRow>,
    /// What the first of the refusals that keep it stuck came from.
    pub cause: Option<Cause>,
    /// What a repair would do; `None` where there is nothing to repair.
    pub repair: Option<AfterRepair>,
    /// Of a session of opencode 2, what a new prompt sends.
    pub newer: Vec<NewerTurn>,
}

/// What is told of a session while its rows are at hand.
enum Told {
    Older(Events),
    Newer(Vec<NewerTurn>),
}

/// What a repair would make of a session.
#[derive(Debug)]
pub enum AfterRepair {
    /// The plan, and the request afterwards.
    Repaired(SessionPlan, Explanation),
    /// It would leave the session.
    Left(Left),
}

/// Explains the one session that is selected. `text`: with what its messages say. `now` is the present, in ms since the
/// epoch.
///
/// # Errors
/// What is wrong with the store, or that no session, or more than one, is called that.
pub fn explain(store: &Store<'_>, options: &audit::Options<'_>, text: bool, now: i64) -> Result<Explained> {
    let own = store.generation().unwrap_or(&RELEASED);
    let older = |session: &Session, _| Some(Told::Older(Events::of(session, options.packages)));
    let audit = audit_with(store, options, older, |stored, session| {
        Some(Told::Newer(newer::turns(own, session, audit::target(stored, options.packages).1, text)))
    })?;
    let mut sessions = audit.sessions;
    let Some(Judged { diagnosis, sdk, told }) = (!sessions.is_empty()).then(|| sessions.swap_remove(0)) else {
        return Err(Error::new(ErrorCode::NoSuchSession, "no session is called that"));
    };
    let (cause, newer) = match told {
        Some(Told::Older(mut events)) => {
            events.settle(&diagnosis);
            (events.pairs.iter().find(|pair| pair.still_stuck).map(|pair| pair.root_cause), Vec::new())
        }
        Some(Told::Newer(turns)) => (None, turns),
        None => (None, Vec::new()),
    };
    let mut out = Explained {
        facts: audit.facts,
        bound: audit.bound,
        diagnosis,
        sdk,
        now: None,
        unreadable: audit.unreadable_rows,
        cause,
        repair: None,
        newer,
    };
    let d = &out.diagnosis;
    if d.status == Status::Unreadable || d.format == Format::V2 {
        return Ok(out);
    }
    let session = store.load(&d.info)?.session;
    let sdk = audit::replay_sdk(out.sdk.as_ref());
    let explanation = |session: &Session| Explanation::of(session, &sdk, &audit.judge.counting);
    let mut shown = explanation(&session);
    shown.mark(&d.findings);
    let tail = matches!(d.tail, Status::Stuck | Status::AtRisk);
    let redactions = d.mended_by();
    if tail || !redactions.is_empty() {
        let goal = Goal { tail, mended: !redactions.is_empty(), ..Goal::default() };
        let includes = Includes::from_iter([Include::AtRisk, Include::Unmeasured].into_iter().chain(redactions));
        let request = Request { goal, includes, judge: &audit.judge, now, fills: &[] };
        out.repair = Some(match plan_session(&session, &sdk, request, store)? {
            Planned::Left(left) => AfterRepair::Left(left),
            Planned::Repair(repair) => AfterRepair::Repaired(repair.0, explanation(&repair.1)),
        });
    }
    if text {
        let data = part_data(store, &shown)?;
        let of = |id: &str| data.get(id).map(String::as_str);
        shown.add_texts(of);
        if let Some(AfterRepair::Repaired(_, after)) = &mut out.repair {
            after.add_texts(of);
        }
    }
    out.now = Some(shown);
    Ok(out)
}

/// The JSON of every part that is sent.
fn part_data(store: &Store<'_>, explanation: &Explanation) -> Result<HashMap<String, String>> {
    let mut out = HashMap::new();
    for id in explanation.part_ids() {
        if !out.contains_key(id)
            && let Some(data) = store.data(Table::Part, id)?
        {
            out.insert(id.to_owned(), data);
        }
    }
    Ok(out)
}
