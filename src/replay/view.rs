//! The history that the run loop sees: a pending revert carried out, then everything before an accepted
//! summary cut (docs/opencode.md §5.1).

use std::borrow::Cow;
use std::rc::Rc;

use super::rules::{Order, RuleSet};
use crate::history::{Assistant, Message, PartKind, Session};

/// The messages that the loop sees, in the order in which they are replayed.
pub type View<'a> = Vec<&'a Message>;

/// The session after its pending revert, as opencode cleans it up on every prompt and re-entry. Borrowed where no
/// revert is set.
///
/// Up to 1.18.14 every row with a greater id than the named one goes, even where that is gone itself; from
/// 1.18.15 on the rows after it in replay order, and none where it is gone (read in 1.14.48, 1.18.14, 1.18.15
/// and 1.18.33; the older rule seen on 1.15.3).
#[must_use]
pub fn after_revert<'a>(session: &'a Session, set: &RuleSet) -> Cow<'a, Session> {
    let Some(revert) = &session.info.revert else { return Cow::Borrowed(session) };
    let mut cut = session.clone();
    cut.info.revert = None;
    if set.revert_by_id {
        cut.messages
            .retain(|m| m.row.id < revert.message_id || (m.row.id == revert.message_id && revert.part_id.is_some()));
    } else if let Some(at) = cut.messages.iter().position(|m| m.row.id == revert.message_id) {
        cut.messages.truncate(at + usize::from(revert.part_id.is_some()));
    }
    if let Some(part) = &revert.part_id
        && let Some(named) = cut.messages.iter_mut().find(|m| m.row.id == revert.message_id)
        && let Some(from) = named.parts.iter().position(|p| p.id() == part)
    {
        Rc::make_mut(named).parts.truncate(from);
    }
    Cow::Owned(cut)
}

/// Whether a pending revert names the row or takes it away, under any rule set.
#[must_use]
pub fn reverted(session: &Session, id: &str) -> bool {
    let Some(revert) = &session.info.revert else { return false };
    let at = |id: &str| session.messages.iter().position(|m| m.row.id == id);
    id >= revert.message_id.as_str() || at(&revert.message_id).is_some_and(|from| at(id).is_some_and(|at| at >= from))
}

/// The newest of the rows that are wanted, by an order.
pub(super) fn newest_by<'a>(
    seen: &[&'a Message],
    order: Order,
    wanted: impl Fn(&Message) -> bool,
) -> Option<&'a Message> {
    let rows = seen.iter().copied().filter(|m| wanted(m));
    match order {
        Order::Replay => rows.last(),
        Order::Id => rows.max_by(|a, b| a.row.id.cmp(&b.row.id)),
        Order::Created => rows.max_by(|a, b| a.created.total_cmp(&b.created).then_with(|| a.row.id.cmp(&b.row.id))),
    }
}

fn compaction(message: &Message) -> Option<&Option<Box<str>>> {
    message.user()?;
    message.parts.iter().find_map(|p| match &p.kind {
        PartKind::Compaction { tail_start_id } => Some(tail_start_id),
        _ => None,
    })
}

/// Whether the row is a summary that the loop accepts: finished and free of errors.
fn accepted_summary(a: &Assistant) -> bool {
    a.summary && a.finish.is_some() && a.error.is_none()
}

/// What the loop sees of `messages` (in replay order): back to the newest accepted compaction.
#[must_use]
pub fn view<'a>(messages: &'a [Rc<Message>], set: &RuleSet) -> View<'a> {
    let mut seen: View<'a> = Vec::new();
    let mut summarised: Vec<&str> = Vec::new();
    let mut keep_from: Option<&str> = None;
    for message in messages.iter().rev() {
        seen.push(message);
        if let Some(start) = keep_from {
            if message.row.id == start {
                break;
            }
            continue;
        }
        if summarised.contains(&message.id())
            && let Some(tail) = compaction(message)
        {
            match tail.as_deref().filter(|_| set.modern_replay) {
                None => break,
                Some(tail) if tail == message.row.id => break,
                Some(tail) => {
                    keep_from = Some(tail);
                    continue;
                }
            }
        }
        if let Some(a) = message.assistant()
            && accepted_summary(a)
            && let Some(parent) = &a.parent_id
        {
            summarised.push(parent);
        }
    }
    seen.reverse();
    if set.modern_replay { kept_tail_after_summary(seen) } else { seen }
}

/// From 1.14.48 on, the tail that a compaction keeps is replayed after its summary.
fn kept_tail_after_summary(seen: View<'_>) -> View<'_> {
    if !seen.iter().any(|m| m.assistant().is_some_and(|a| a.summary)) {
        return seen;
    }
    let Some(at) = seen.iter().rposition(|m| compaction(m).is_some_and(Option::is_some)) else {
        return seen;
    };
    let Some(Some(tail)) = compaction(seen[at]) else {
        return seen;
    };
    let id = seen[at].id();
    let summary = seen
        .iter()
        .enumerate()
        .skip(at + 1)
        .find(|(_, m)| m.assistant().is_some_and(|a| a.summary && a.parent_id.as_deref() == Some(id)));
    let start = seen.iter().position(|m| *m.row.id == **tail);
    match (summary, start) {
        (Some((summary, _)), Some(start)) if start < at => {
            [&seen[at..=summary], &seen[start..at], &seen[summary + 1..]].concat()
        }
        _ => seen,
    }
}

/// Whether a compaction or subtask is still to be worked off before anything is sent: such a part in a row
/// newer than the newest finished assistant. Re-entering rewrites the newest user row's `time.created`, so
/// under the orders by time that row counts as newer (docs/opencode.md §6).
#[must_use]
pub fn pending_task(seen: &[&Message], set: &RuleSet) -> bool {
    use super::rules::Order;
    let finished = newest_by(seen, set.newest, |m| m.assistant().is_some_and(|a| a.finish.is_some()));
    match (finished, set.newest) {
        (None, _) => seen.iter().any(|m| is_task(m)),
        (Some(f), Order::Replay) => {
            let at = seen.iter().rposition(|m| m.row.id == f.row.id).unwrap_or(0);
            seen[at + 1..].iter().any(|m| is_task(m))
        }
        (Some(f), Order::Id) => seen.iter().any(|m| m.row.id > f.row.id && is_task(m)),
        (Some(f), Order::Created) => {
            let user = newest_by(seen, set.newest, |m| m.user().is_some());
            seen.iter().any(|m| {
                (user.is_some_and(|u| u.row.id == m.row.id)
                    || (m.created, m.row.id.as_str()) > (f.created, f.row.id.as_str()))
                    && is_task(m)
            })
        }
    }
}

/// Whether the row holds a compaction or subtask.
pub(super) fn is_task(message: &Message) -> bool {
    message.parts.iter().any(|p| matches!(p.kind, PartKind::Compaction { .. } | PartKind::Subtask))
}

/// The tokens that the overflow check compares with the model's window: those of the newest finished
/// assistant, none where that is a summary or missing (docs/opencode.md §4).
#[must_use]
pub fn overflow_tokens(seen: &[&Message], set: &RuleSet) -> Option<f64> {
    newest_by(seen, set.newest, |m| m.assistant().is_some_and(|a| a.finish.is_some()))
        .and_then(Message::assistant)
        .filter(|a| !a.summary)
        .map(|a| a.tokens.window())
}
