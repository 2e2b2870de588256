//! Sessions that are sound at first sight.
//!
//! Most sessions are: their rows are in one order by every measure, each prompt comes after an answer at which every rule set
//! stops, and no part is out of the ordinary. Of such a session there is nothing to say, so it is not replayed.
//! `tests/suite/tails.rs` holds this against the verdict of the whole history.

use super::code::in_row;
use super::request::{risky, serves_claude, unsendable};
use crate::history::{Head, Message, ModelRef, Role, Session};
use crate::replay::{RULE_SETS, Sdk};

/// A history without its parts, row by row.
#[derive(Default)]
struct Rows<'a> {
    last: Option<(&'a str, i64, f64)>,
    user: Option<&'a str>,
    /// The last row is an answer at which every rule set stops, tool calls aside.
    stops: bool,
    summary: bool,
    /// Rows are in no single order.
    shuffled: bool,
    /// A prompt follows a row at which some rule set goes on.
    buried: bool,
}

/// Whether every rule set takes an answer with this finish for finished.
fn finished(finish: Option<&str>) -> bool {
    finish.is_some_and(|f| RULE_SETS.iter().all(|set| !set.unfinished.contains(&f)))
}

impl<'a> Rows<'a> {
    fn add(&mut self, id: &'a str, time: i64, created: f64, role: &'a Role) {
        let after = |(last, last_time, last_created): (&str, i64, f64)| {
            (time, id) > (last_time, last) && id > last && created.total_cmp(&last_created).is_ge()
        };
        self.shuffled |= !self.last.is_none_or(after);
        match role {
            Role::User(_) => {
                self.buried |= self.last.is_some() && !self.stops;
                (self.stops, self.summary, self.user) = (false, false, Some(id));
            }
            Role::Assistant(a) => {
                let answers = a.parent_id.is_some() && a.parent_id.as_deref() == self.user;
                self.stops = finished(a.finish.as_deref()) && answers;
                self.summary = a.summary;
            }
        }
        self.last = Some((id, time, created));
    }

    /// Whether every rule set stops at the last row.
    fn settled(&self) -> bool {
        self.stops && !self.summary && !self.shuffled
    }
}

/// Whether every rule set stops at the last of these rows, if that row holds no tool call. In replay order.
#[must_use]
pub fn settled(heads: &[Head]) -> bool {
    let mut rows = Rows::default();
    heads.iter().for_each(|head| rows.add(&head.row.id, head.row.time_created, head.created, &head.role));
    rows.settled()
}

/// The model of the newest prompt. In replay order.
#[must_use]
pub fn prompted(heads: &[Head]) -> Option<&ModelRef> {
    heads.iter().rev().find(|head| head.assistant().is_none()).and_then(|head| head.prompted()).map(|model| &**model)
}

/// The model of the newest prompt, if there is nothing to say about the session, which goes through `sdk`.
pub(super) fn plainly_sound<'a>(session: &'a Session, sdk: &Sdk) -> Option<Option<&'a ModelRef>> {
    if session.info.revert.is_some() {
        return None;
    }
    let mut rows = Rows::default();
    let mut model = None;
    for message in &session.messages {
        rows.add(message.id(), message.row.time_created, message.created, &message.role);
        if rows.buried || !ordinary(message) || (rows.stops && message.tools().next().is_some()) {
            return None;
        }
        if let Some(user) = message.user() {
            model = user.model.as_deref();
        }
    }
    let refused_by_nature =
        unsendable(session) || model.is_none_or(|model| serves_claude(sdk, model)) && risky(session);
    (rows.settled() && !refused_by_nature).then_some(model)
}

/// Whether the message is no failed answer, holds no call that was cut off, and no rule has anything to say of it.
fn ordinary(message: &Message) -> bool {
    message.assistant().is_none_or(|a| a.error.is_none())
        && !message.open_calls().any(|(_, call)| call.orphan())
        && in_row(message).next().is_none()
}
