//! Findings behind the tail: turns that a revert could bring back, old refusals, calls that never ended.

use super::code::Code;
use super::refuses::Refuses;
use super::tail::Tail;
use super::{Finding, finding};
use crate::history::{Message, Session};
use crate::replay::{RULE_SETS, Resume, RuleSet, Sdk, TurnRole, last_turn, newest, resume_in, view};

/// The prompts before which a revert or a fork would leave a stuck tail, with the row that would be in the way.
pub(super) fn cuts<'a>(
    session: &'a Session,
    counting: &[&'static RuleSet],
    sdk: &Sdk,
    refuses: &Refuses,
) -> Vec<(&'a Message, &'a str)> {
    let mut out = Vec::new();
    let mut orderly = Orderly::default();
    for (at, message) in session.messages.iter().enumerate() {
        if at > 0 && message.user().is_some() && !orderly.sound() {
            let stuck = counting.iter().find_map(|set| stuck_before(&session.messages[..at], set, sdk, refuses));
            out.extend(stuck.map(|id| (message, id)));
        }
        orderly.add(message);
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

fn stuck_before<'a>(before: &'a [Message], set: &'static RuleSet, sdk: &Sdk, refuses: &Refuses) -> Option<&'a str> {
    let seen = view(before, set);
    if resume_in(&seen, set, sdk) != Resume::EndsWithAssistant {
        return None;
    }
    let tail = Tail::of(&seen, set, sdk)?;
    let model = tail.user.user()?.model.as_ref()?;
    if refuses.refuses(model) { tail.speaker().map(Message::id) } else { None }
}

/// A cheap test that clears nearly every prefix of a history: its last row is an answer at which every rule
/// set stops, and all orders agree on which rows are the newest.
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
        RULE_SETS.iter().all(|set| set.finished(last) && set.paired(user, last))
    }
}

/// What is said of rows that are not part of a stuck tail.
pub(super) fn rest(session: &Session, sdk: &Sdk, tail: &[&str], newest_set: &'static RuleSet) -> Vec<Finding> {
    let mut out = Vec::new();
    for (at, message) in session.messages.iter().enumerate() {
        for (part, call) in message.loud_tools() {
            if call.unsettled() {
                let detail = format!("the {} call is stored as still going on", call.tool);
                out.push(finding(Code::UnsettledTool, message.id(), Some(part.id()), detail));
            } else if call.orphan() && !tail.contains(&message.id()) {
                let detail = format!("the {} call was cut off", call.tool);
                out.push(finding(Code::BuriedOrphan, message.id(), Some(part.id()), detail));
            }
        }
        for part in message.leaked_calls() {
            let detail = "the text holds a tool call as raw markup: it was never run";
            out.push(finding(Code::LeakedToolCallText, message.id(), Some(part.id()), detail));
        }
        if message.prefill_400() && !tail.contains(&message.id()) {
            let code = if ended_with_user(&session.messages[..at], newest_set, sdk) {
                Code::StepLimitPrefill
            } else {
                Code::RecoveredPrefill400
            };
            out.push(finding(code, message.id(), None, "a refused request"));
        }
    }
    out
}

/// Whether the stored history before a refusal ends with the user: then opencode added the assistant turn
/// itself, as it does on the last allowed step.
fn ended_with_user(before: &[Message], set: &'static RuleSet, sdk: &Sdk) -> bool {
    let seen = view(before, set);
    newest(&seen, set)
        .user
        .is_some_and(|user| last_turn(&seen, set, sdk, user).is_some_and(|(role, _)| role != TurnRole::Assistant))
}
