//! Findings behind the tail: what rules say of single rows, turns that a revert could bring back, old refusals.

use std::collections::HashSet;

use super::code::{Code, in_row};
use super::refuses::Refuses;
use super::{Finding, finding, found_in};
use crate::history::{Message, ModelRef, Session};
use crate::replay::{Prefixes, RULE_SETS, Resume, RuleSet, Sdk, TurnRole};

/// A prompt before which a revert or a fork would leave a tail that ends with the assistant.
#[derive(Debug, Clone)]
pub(super) struct Cut {
    /// The prompt's id.
    pub(super) prompt: String,
    /// The models that re-entering would send to, by rule set, each with the row that would be in the way.
    pub(super) asked: Vec<(ModelRef, String)>,
}

impl Cut {
    /// The row that would be in the way, if one of the models refuses.
    pub(super) fn stuck(&self, refuses: &Refuses) -> Option<&str> {
        self.asked.iter().find(|(model, _)| refuses.refuses(model)).map(|(_, row)| row.as_str())
    }

    /// The finding, if one of the models refuses.
    pub(super) fn finding(&self, refuses: &Refuses) -> Option<Finding> {
        let detail = "stuck again if a revert or fork makes it the last turn";
        self.stuck(refuses).map(|row| finding(Code::LatentTail, row, None, detail))
    }
}

/// The prompts before which a revert or a fork would leave a tail that ends with the assistant.
pub(super) fn cuts(session: &Session, counting: &[&'static RuleSet], sdk: &Sdk) -> Vec<Cut> {
    let mut out = Vec::new();
    let mut orderly = Orderly::default();
    let mut before = Prefixes::new(&session.messages, sdk);
    for (at, message) in session.messages.iter().enumerate() {
        if at > 0 && message.user().is_some() && !orderly.sound() {
            let mut asked: Vec<(ModelRef, String)> = Vec::new();
            for (model, row) in counting.iter().filter_map(|set| ends_with_assistant(&mut before, set)) {
                if !asked.iter().any(|(m, r)| m == model && r == row) {
                    asked.push((model.clone(), row.to_owned()));
                }
            }
            if !asked.is_empty() {
                out.push(Cut { prompt: message.row.id.clone(), asked });
            }
        }
        orderly.add(message);
        before.advance();
    }
    out
}

/// The model that re-entering would send to, and the row that gives the last turn, where that is an assistant's.
fn ends_with_assistant<'a>(before: &mut Prefixes<'a>, set: &RuleSet) -> Option<(&'a ModelRef, &'a str)> {
    if before.resume(set) != Resume::EndsWithAssistant {
        return None;
    }
    let (user, turn) = before.last_turn(set)?;
    Some((user.user()?.model.as_deref()?, turn?.1))
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
        out.extend(in_row(message).map(|(code, found)| found_in(message, code, found)));
        let orphans = message.open_calls().filter(|(_, call)| call.orphan() && !tail.contains(message.id()));
        out.extend(orphans.map(|(part, call)| {
            let detail = format!("the {} call was cut off", call.tool);
            finding(Code::BuriedOrphan, message.id(), Some(part.id()), detail)
        }));
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
