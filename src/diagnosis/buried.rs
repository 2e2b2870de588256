//! Findings behind the tail: turns that a revert could bring back, old refusals, calls that never ended.

use std::collections::HashSet;

use super::code::Code;
use super::refuses::Refuses;
use super::{Finding, finding};
use crate::history::{Message, Session};
use crate::replay::{Prefixes, RULE_SETS, Resume, RuleSet, Sdk, TurnRole};

/// The prompts before which a revert or a fork would leave a stuck tail, with the row that would be in the way.
pub(super) fn cuts<'a>(
    session: &'a Session,
    counting: &[&'static RuleSet],
    sdk: &'a Sdk,
    refuses: &Refuses,
) -> Vec<(&'a Message, &'a str)> {
    let mut out = Vec::new();
    let mut orderly = Orderly::default();
    let mut before = Prefixes::new(&session.messages, sdk);
    for (at, message) in session.messages.iter().enumerate() {
        if at > 0 && message.user().is_some() && !orderly.sound() {
            let stuck = counting.iter().find_map(|set| stuck(&mut before, set, refuses));
            out.extend(stuck.map(|id| (message.as_ref(), id)));
        }
        orderly.add(message);
        before.advance();
    }
    out
}

/// Buried tails: for each prompt, whether the history before it would be stuck if a revert or a fork cut it
/// there. The finding names the row that would be in the way.
pub(super) fn latent(session: &Session, counting: &[&'static RuleSet], sdk: &Sdk, refuses: &Refuses) -> Vec<Finding> {
    cuts(session, counting, sdk, refuses)
        .into_iter()
        .map(|(_, id)| finding(Code::LatentTail, id, None, "stuck again if a revert or fork makes it the last turn"))
        .collect()
}

/// The row that gives the last turn, where the rows so far would be a stuck session.
fn stuck<'a>(before: &mut Prefixes<'a>, set: &RuleSet, refuses: &Refuses) -> Option<&'a str> {
    if before.resume(set) != Resume::EndsWithAssistant {
        return None;
    }
    let (user, turn) = before.last_turn(set)?;
    let model = user.user()?.model.as_ref()?;
    turn.filter(|_| refuses.refuses(model)).map(|(_, id)| id)
}

/// A cheap test that clears nearly every prefix of a history: its last row is an answer at which every rule
/// set stops, and all orders agree on which rows are the newest. A summary is no such answer: what it keeps of the
/// history before it is replayed after it.
#[derive(Default)]
struct Orderly<'a> {
    last: Option<&'a Message>,
    user: Option<&'a Message>,
    shuffled: bool,
}

impl<'a> Orderly<'a> {
    fn add(&mut self, message: &'a Message) {
        let after = |older: &Message| message.row.id > older.row.id && message.created >= older.created;
        self.shuffled |= !self.last.is_none_or(after);
        self.last = Some(message);
        if message.user().is_some() {
            self.user = Some(message);
        }
    }

    fn sound(&self) -> bool {
        let (Some(last), Some(user), false) = (self.last, self.user, self.shuffled) else {
            return false;
        };
        !last.assistant().is_some_and(|a| a.summary)
            && RULE_SETS.iter().all(|set| set.finished(last) && set.paired(user, last))
    }
}

/// What is said of rows that are not part of a stuck tail.
pub(super) fn rest(session: &Session, sdk: &Sdk, tail: &[&str], newest_set: &'static RuleSet) -> Vec<Finding> {
    let mut out = Vec::new();
    let tail: HashSet<&str> = tail.iter().copied().collect();
    let mut before = Prefixes::new(&session.messages, sdk);
    for message in &session.messages {
        for (part, call) in message.loud_tools() {
            if call.unsettled() {
                let detail = format!("the {} call is stored as still going on", call.tool);
                out.push(finding(Code::UnsettledTool, message.id(), Some(part.id()), detail));
            } else if call.orphan() && !tail.contains(message.id()) {
                let detail = format!("the {} call was cut off", call.tool);
                out.push(finding(Code::BuriedOrphan, message.id(), Some(part.id()), detail));
            }
        }
        for part in message.leaked_calls() {
            let detail = "the text holds a tool call as raw markup: it was never run";
            out.push(finding(Code::LeakedToolCallText, message.id(), Some(part.id()), detail));
        }
        if message.prefill_400() && !tail.contains(message.id()) {
            let code = if ended_with_user(&mut before, newest_set) {
                Code::StepLimitPrefill
            } else {
                Code::RecoveredPrefill400
            };
            out.push(finding(code, message.id(), None, "a refused request"));
        }
        before.advance();
    }
    out
}

/// Whether the stored history before a refusal ends with the user: then opencode added the assistant turn
/// itself, as it does on the last allowed step.
fn ended_with_user(before: &mut Prefixes<'_>, set: &RuleSet) -> bool {
    before.last_turn(set).and_then(|(_, turn)| turn).is_some_and(|(role, _)| role != TurnRole::Assistant)
}
