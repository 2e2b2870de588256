//! History to request: the turns that a model would be sent (docs/opencode.md §5).

use super::Sdk;
use super::package::{Ask, Out};
use super::packages::{self, row};
use super::rules::RuleSet;
use super::turn::{Block, BlockKind, Request, Turn, TurnRole, Why};
use crate::history::{Message, ModelRef};

/// The request that re-entering the loop sends for the view; `user` is its newest user row.
#[must_use]
pub fn request<'a>(seen: &[&'a Message], set: &RuleSet, sdk: &Sdk, user: &Message) -> Request<'a> {
    let reminder = reminds(seen, user).then(|| seen.iter().rposition(|m| m.user().is_some())).flatten();
    build(seen, set, sdk, user.user().and_then(|u| u.model.as_deref()), reminder)
}

/// What every next prompt sends before its own turn: what a repair must not change. `model` is the one that the prompt
/// goes to.
#[must_use]
pub fn prompt<'a>(seen: &[&'a Message], set: &RuleSet, sdk: &Sdk, model: Option<&ModelRef>) -> Request<'a> {
    build(seen, set, sdk, model, None)
}

/// Whether the row keeps a request to the model of `user` from being sent: up to 1.3 the SDK's own check refuses a history in
/// which the provider ran a call, Mistral's package gives up over one, and others over files that they do not take.
pub(super) fn stops_at(message: &Message, set: &RuleSet, sdk: &Sdk, user: &Message) -> bool {
    if !message.may_not_be_sendable() {
        return false;
    }
    let mut out = Out::default();
    let _why = row(&packages::ask(set, sdk, user.user().and_then(|u| u.model.as_deref())), message, false, &mut out);
    !out.stops.is_empty()
}

/// Whose turn is the last one of a request, and the row that gives it.
pub type LastTurn<'a> = (TurnRole, &'a str);

/// The last turn of the request of [`request`]: whose it is, and the row that gives it. Looks back no further than it
/// must.
#[must_use]
pub fn last_turn<'a>(seen: &[&'a Message], set: &RuleSet, sdk: &Sdk, user: &Message) -> Option<LastTurn<'a>> {
    let model = user.user().and_then(|u| u.model.as_deref());
    let reminder = reminds(seen, user).then(|| seen.iter().rposition(|m| m.user().is_some())).flatten();
    last_turn_from(seen, 0, &packages::ask(set, sdk, model), reminder)
}

/// The last turn among the rows from place `from` on, with the reminder's place.
pub(super) fn last_turn_from<'a>(
    seen: &[&'a Message],
    from: usize,
    ask: &Ask<'_>,
    reminder: Option<usize>,
) -> Option<LastTurn<'a>> {
    (from..seen.len()).rev().find_map(|at| {
        // Every row gives its turns by itself.
        let mut out = Out { last_only: true, ..Out::default() };
        let _why = row(ask, seen[at], reminder == Some(at), &mut out);
        out.turns.last().map(|turn| (turn.role, turn.row.id()))
    })
}

/// Whether opencode adds a mode reminder to the last user row: the plan agent is at work, or the build agent
/// after a turn of the plan agent (seen in 1.3.0 to 1.18.33).
fn reminds(seen: &[&Message], user: &Message) -> bool {
    reminds_after(seen.iter().any(|m| m.assistant().is_some_and(|a| a.agent.as_deref() == Some("plan"))), user)
}

/// Whether it does where it is known whether the plan agent had a turn.
pub(super) fn reminds_after(plan: bool, user: &Message) -> bool {
    match user.user().and_then(|u| u.agent.as_deref()) {
        Some("plan") => true,
        Some("build") => plan,
        _ => false,
    }
}

fn build<'a>(
    seen: &[&'a Message],
    set: &RuleSet,
    sdk: &Sdk,
    model: Option<&ModelRef>,
    reminder: Option<usize>,
) -> Request<'a> {
    let ask = packages::ask(set, sdk, model);
    let mut out = Out::default();
    let mut skipped: Vec<(&'a str, Why)> = Vec::new();
    for (at, message) in seen.iter().enumerate() {
        skipped.extend(row(&ask, message, reminder == Some(at), &mut out).map(|why| (message.id(), why)));
    }
    let mut request = Request { turns: out.turns, skipped, stops: out.stops };
    if ask.is_mistral() {
        between_result_and_prompt(&mut request.turns);
    }
    request.number(ask.package.details_once);
    request
}

/// For Mistral's models, an answer of opencode's own stands between a tool's result and a prompt.
fn between_result_and_prompt<'a>(turns: &mut Vec<Turn<'a>>) {
    let mut out: Vec<Turn<'a>> = Vec::with_capacity(turns.len());
    for turn in std::mem::take(turns) {
        if let Some(result) = out.last().filter(|last| last.role == TurnRole::Tool && turn.role == TurnRole::User) {
            let (role, row) = (TurnRole::Assistant, result.row);
            let blocks = vec![Block::added(BlockKind::Done)];
            out.push(Turn { role, row, blocks, left_out: Vec::new(), message: 0 });
        }
        out.push(turn);
    }
    *turns = out;
}
