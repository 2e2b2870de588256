//! What re-entering the run loop does (docs/opencode.md §4): stop, work off a task, or send a request.
//!
//! - A pending task is a `compaction` or `subtask` part that no finished assistant row has answered. Up to 1.14 it is
//!   looked for from the newest row in replay order back to the first assistant row with a `finish`; later in all rows
//!   newer than the newest finished assistant row, by id from 1.15.0 on, by `(data.time.created, id)` from 1.18.15 on.
//!   An aborted or killed `/compact` leaves one; its request then ends with a user turn (measured on 1.18.33): nothing
//!   to repair.
//! - A compaction for want of room comes (read in 1.3.0 and 1.18.33) if the newest assistant row with a `finish` is no
//!   summary and its `tokens.total` (if zero or missing, `input + output + cache.read + cache.write`) reaches the
//!   limit. With `o` the smaller of the model's output limit and 32,000 (32,000 if that is zero), the limit is the
//!   context limit minus `o`; if the model has an input limit, that minus `compaction.reserved` of the configuration,
//!   or minus `min(20000, o)`. There is none if `compaction.auto` is false or the context limit zero. The store knows
//!   neither limits nor configuration.

use schemars::JsonSchema;
use serde::Serialize;
use strum::{Display, EnumString};

use super::Sdk;
use super::request::{last_turn, stops_at};
use super::rules::{Pairing, RuleSet, ToolCheck};
use super::turn::TurnRole;
use super::view::{after_revert, newest_by, pending_task, view};
use crate::history::{Message, Session};

/// What re-entering the loop does under one rule set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema, Display, EnumString)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Resume {
    /// The loop stops: the last answer is finished.
    NoRequest,
    /// A request that ends with the user's turn or a tool's result: the model simply answers.
    EndsWithUser,
    /// A request that ends with an assistant's turn: refused by models that take no prefill.
    EndsWithAssistant,
    /// A pending compaction or subtask is worked off first.
    RunsTask,
    /// There is no user row to answer; opencode ends with an error of its own.
    NoUserTurn,
    /// A row of the session could not be understood.
    Unreadable,
}

/// The newest rows that a rule set looks at.
#[derive(Debug, Clone, Copy)]
pub struct Newest<'a> {
    /// Newest user row.
    pub user: Option<&'a Message>,
    /// Newest assistant row.
    pub assistant: Option<&'a Message>,
}

/// The newest user and assistant row of the view, by the rule set's order.
#[must_use]
pub fn newest<'a>(seen: &[&'a Message], set: &RuleSet) -> Newest<'a> {
    Newest {
        user: newest_by(seen, set.newest, |m| m.user().is_some()),
        assistant: newest_by(seen, set.newest, |m| m.assistant().is_some()),
    }
}

impl RuleSet {
    /// Whether the assistant row, taken alone, lets the loop stop: its finish and its tool parts.
    #[must_use]
    pub fn finished(&self, row: &Message) -> bool {
        let Some(a) = row.assistant() else {
            return false;
        };
        let Some(finish) = a.finish.as_deref() else {
            return false;
        };
        !self.unfinished.contains(&finish) && !row.tools().any(|(_, t)| self.counts(t))
    }

    /// Whether the tool call keeps the loop going.
    #[must_use]
    pub fn counts(&self, call: &crate::history::ToolCall) -> bool {
        match self.tools {
            ToolCheck::None => false,
            ToolCheck::Own => !call.provider_executed,
            ToolCheck::OwnSettled => !call.provider_executed && !call.orphan(),
        }
    }

    /// Whether the two newest rows belong together, so that the loop may stop.
    #[must_use]
    pub fn paired(&self, user: &Message, assistant: &Message) -> bool {
        match self.pairing {
            Pairing::IdOrder => user.row.id < assistant.row.id,
            Pairing::Parent => assistant.assistant().is_some_and(|a| a.parent_id.as_deref() == Some(user.id())),
        }
    }
}

/// What re-entering the loop does with the session under `set`, its pending revert carried out first.
#[must_use]
pub fn resume(session: &Session, set: &RuleSet, sdk: &Sdk) -> Resume {
    resume_in(&view(&after_revert(session, set).messages, set), set, sdk)
}

/// The same for a view that is already cut.
#[must_use]
pub fn resume_in(seen: &[&Message], set: &RuleSet, sdk: &Sdk) -> Resume {
    resume_of(
        &mut (),
        newest(seen, set),
        set,
        |()| pending_task(seen, set),
        |(), user| seen.iter().any(|m| stops_at(m, set, sdk, user)),
        |(), user| last_turn(seen, set, sdk, user).map(|(role, _)| role),
    )
}

/// What re-entering does with `seen`, of which the newest rows are known; the rest is asked for as far as it matters:
/// whether a task is pending, whether a row keeps the request from being sent, and whose turn it ends with.
#[expect(clippy::too_many_arguments, reason = "three questions that are asked only where they matter")]
pub(super) fn resume_of<'a, S>(
    seen: &mut S,
    Newest { user, assistant }: Newest<'a>,
    set: &RuleSet,
    pending: impl FnOnce(&mut S) -> bool,
    stops: impl FnOnce(&mut S, &'a Message) -> bool,
    last: impl FnOnce(&mut S, &'a Message) -> Option<TurnRole>,
) -> Resume {
    let Some(user) = user else {
        return Resume::NoUserTurn;
    };
    if assistant.is_some_and(|a| set.finished(a) && set.paired(user, a)) {
        return Resume::NoRequest;
    }
    if pending(seen) {
        return Resume::RunsTask;
    }
    if stops(seen, user) {
        return Resume::NoRequest;
    }
    match last(seen, user) {
        Some(TurnRole::Assistant) => Resume::EndsWithAssistant,
        // A history of which nothing is sent ends with no assistant turn either: whatever the provider says to
        // an empty request, it does not say prefill.
        Some(TurnRole::User | TurnRole::Tool) | None => Resume::EndsWithUser,
    }
}
