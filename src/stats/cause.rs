//! Why a request was refused: the history before the refusal is replayed, and the rows at its end tell.

use std::rc::Rc;

use serde::Serialize;
use strum::{Display, EnumIter};

use crate::diagnosis::Tail;
use crate::history::{Message, ToolCall};
use crate::replay::{RULE_SETS, Resume, RuleSet, Sdk, TurnRole, Version, View, counting_from, last_turn, newest, view};

/// Why a request ended with an assistant turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Display, EnumIter)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Cause {
    /// A call that opencode cut off kept the loop going after a finished answer.
    OrphanRefire,
    /// A call that came to an end did, in one row with the text after it.
    CompletedToolRefire,
    /// An answer that was aborted or killed while its text streamed.
    AbortedText,
    /// An answer without a word.
    EmptyAnswer,
    /// A prompt of which nothing is sent.
    EmptyPrompt,
    /// A retry after a failed request: the failure itself is stored as the newest answer.
    FailedAgain,
    /// The stored history ends with a tool's result: opencode added the assistant turn for an agent's last step.
    StepLimit,
    /// The stored history does not tell: a plugin, a proxy, or rows that have changed since.
    Unexplained,
}

impl Cause {
    /// A few words for a table.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::OrphanRefire => "orphan re-fired",
            Self::CompletedToolRefire => "completed tool re-fired",
            Self::AbortedText => "aborted text",
            Self::EmptyAnswer => "empty answer",
            Self::EmptyPrompt => "empty prompt",
            Self::FailedAgain => "failed tail again",
            Self::StepLimit => "step limit",
            Self::Unexplained => "not explained by the store",
        }
    }

    /// One sentence for people.
    #[must_use]
    pub fn description(self) -> &'static str {
        match self {
            Self::OrphanRefire => "a tool call that opencode cut off kept the loop going after the answer was finished",
            Self::CompletedToolRefire => {
                "a tool call and the text after it are in one answer, which kept the loop going after it was finished"
            }
            Self::AbortedText => "the answer was aborted while its text streamed, and then sent as it was",
            Self::EmptyAnswer => "an answer without a word was the newest one",
            Self::EmptyPrompt => "a prompt without anything to send left the answer before it at the end",
            Self::FailedAgain => {
                "a failed request was stored as the newest answer, and the same history was sent again"
            }
            Self::StepLimit => {
                "the agent was on its last allowed step, for which opencode adds an assistant turn itself"
            }
            Self::Unexplained => {
                "the stored history does not explain it: a plugin or a proxy, or rows that have changed"
            }
        }
    }
}

/// What a refused request was made of.
#[derive(Debug)]
pub(super) struct Replayed<'a> {
    pub(super) cause: Cause,
    /// The rows that the request was made from, in replay order.
    pub(super) seen: View<'a>,
    /// Where the newest prompt stands among them.
    pub(super) prompt: Option<usize>,
}

/// Replays `before`, the rows before a refusal in replay order.
///
/// `version` is the one that made the session; whoever ran it then was at least as new, if anything is known.
/// So the first rule set from that one on that sends a request at all decides, and only then an older one.
pub(super) fn replay<'a>(before: &'a [Rc<Message>], version: Option<Version>, sdk: &Sdk) -> Replayed<'a> {
    let later = counting_from(version);
    let earlier = RULE_SETS.iter().rev().filter(|set| !later.iter().any(|l| l.key == set.key));
    for set in later.iter().copied().chain(earlier) {
        let seen = view(before, set);
        let cause = match crate::replay::resume_in(&seen, set, sdk) {
            Resume::EndsWithAssistant => ended_with_assistant(&seen, set, sdk),
            Resume::EndsWithUser => ended_with_user(&seen, set, sdk),
            _ => continue,
        };
        return Replayed { cause, prompt: prompt(&seen, set), seen };
    }
    let seen = view(before, later[0]);
    Replayed { cause: Cause::Unexplained, prompt: prompt(&seen, later[0]), seen }
}

fn prompt(seen: &[&Message], set: &RuleSet) -> Option<usize> {
    let user = newest(seen, set).user?;
    seen.iter().position(|m| m.row.id == user.row.id)
}

/// On an agent's last step the history ends with the results of the step before; a prompt's first step is
/// nobody's last one unless a plugin or a limit of one step is at work, which no row tells.
fn ended_with_user(seen: &[&Message], set: &RuleSet, sdk: &Sdk) -> Cause {
    let last = newest(seen, set).user.and_then(|user| last_turn(seen, set, sdk, user));
    if last.is_some_and(|(role, _)| role == TurnRole::Tool) { Cause::StepLimit } else { Cause::Unexplained }
}

fn ended_with_assistant(seen: &[&Message], set: &'static RuleSet, sdk: &Sdk) -> Cause {
    let Some(tail) = Tail::of(seen, set, sdk) else {
        return Cause::Unexplained;
    };
    let (speaker, after) = (tail.rows[0], &tail.rows[1..]);
    let prompt = after.iter().rposition(|m| m.row.id == tail.user.row.id);
    let answers = &after[prompt.map_or(0, |at| at + 1)..];
    if answers.iter().any(|m| m.prefill_400()) {
        return Cause::FailedAgain;
    }
    if prompt.is_some() {
        return Cause::EmptyPrompt;
    }
    if let Some(cause) = refired(speaker, |call| set.counts(call)) {
        return cause;
    }
    // Rows behind the speaker give no turn, but the newest of them is the answer that the loop looks at.
    match newest(seen, set).assistant.filter(|a| answers.iter().any(|m| m.row.id == a.row.id)) {
        Some(last) if last.removable() => return Cause::EmptyAnswer,
        Some(_) => return Cause::FailedAgain,
        None => {}
    }
    if speaker.removable() {
        Cause::EmptyAnswer
    } else if set.finished(speaker) {
        // Finished, but taken for the answer to another prompt: no cause that this list knows.
        Cause::Unexplained
    } else if speaker.assistant().is_some_and(|a| a.finish.is_some()) {
        // A finish that means "go on" with text after the tools.
        refired(speaker, |call| !call.provider_executed).unwrap_or(Cause::AbortedText)
    } else {
        Cause::AbortedText
    }
}

/// Which kind of call kept the loop going. With both kinds in a row the completed one would have sufficed.
fn refired(row: &Message, counts: impl Fn(&ToolCall) -> bool) -> Option<Cause> {
    let mut calls = row.tools().map(|(_, call)| call).filter(|call| counts(call)).peekable();
    calls.peek()?;
    Some(if calls.all(ToolCall::orphan) { Cause::OrphanRefire } else { Cause::CompletedToolRefire })
}
