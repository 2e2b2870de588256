//! Which change comes next: proposals for the tail of a history, least invasive first.

use super::change::{Change, RowJson, part_json};
use super::proof::blocked;
use crate::diagnosis::{Code, LeftReason, Tail, in_tail};
use crate::error::Result;
use crate::history::{Message, NEVER_ENDED, Part, PartKind, Session, ids};
use crate::json::{self, Object};
use crate::replay::{Order, RULE_SETS, RuleSet, Sdk, after_revert, newest, pending_task, reverted, view};
use crate::rows::{Lookup, Table, int, text};

/// Totals of a row that passes its own on to the row after it.
const NO_TOKENS: &str = r#"{"input":0,"output":0,"reasoning":0,"cache":{"read":0,"write":0}}"#;

/// What can be done next about a session whose tail does not resume.
pub(super) enum Next {
    /// Nothing: it resumes under every rule set.
    Resumes,
    /// One of these, the first that passes the proofs.
    Try(Vec<Change>),
    /// It must be left.
    Leave(LeftReason),
}

/// Looks at the session's tail and proposes.
pub(super) fn next(session: &Session, sdks: &[Sdk], rows: &dyn Lookup) -> Result<Next> {
    let Some((set, sdk)) = sdks.iter().find_map(|sdk| blocked(session, sdk).map(|set| (set, sdk))) else {
        return Ok(Next::Resumes);
    };
    if RULE_SETS.iter().any(|set| pending_task(&view(&after_revert(session, set).messages, set), set)) {
        return Ok(Next::Leave(LeftReason::PendingTask));
    }
    let cut = after_revert(session, set);
    let seen = view(&cut.messages, set);
    let Some(tail) = Tail::of(&seen, set, sdk) else {
        return Ok(Next::Leave(LeftReason::NoLosslessEdit));
    };
    let mut out = Vec::new();
    if let Some(last) = tail.rows.last().filter(|m| m.removable()) {
        out.push(Change::Remove { id: last.row.id.clone(), reason: reason(last, &tail) });
    }
    // Orders may disagree about which answer is the newest: each one's is a candidate.
    let mut answers: Vec<&Message> = Vec::new();
    for set in std::iter::once(set).chain(RULE_SETS.iter().rev()) {
        if let Some(row) = newest(&seen, set).assistant
            && !answers.iter().any(|a| a.row.id == row.row.id)
        {
            answers.push(row);
        }
    }
    let mut inside_block = false;
    for row in answers.iter().filter(|row| !tail.settled(row)) {
        if Tail::tool_counts(row) {
            match split(session, row, reason(row, &tail), rows)? {
                Some(splits) => out.extend(splits),
                None => {
                    inside_block |= row.row.id == tail.rows[0].row.id && !row.assistant().is_some_and(|a| a.summary);
                }
            }
        } else {
            out.extend(settle(session, row, &tail, &seen, rows)?);
        }
    }
    let before = out.len();
    out.retain(|change| !touches_revert(session, change));
    if out.is_empty() {
        let reverted = before > 0 || answers.iter().any(|a| reverted(session, a.id()));
        return Ok(Next::Leave(if reverted {
            LeftReason::PendingRevert
        } else if inside_block {
            LeftReason::SplitInsideBlock
        } else {
            LeftReason::NoLosslessEdit
        }));
    }
    Ok(Next::Try(out))
}

fn reason(row: &Message, tail: &Tail<'_>) -> Code {
    in_tail(row, tail).map_or(Code::UnfinishedTextTail, |(code, _)| code)
}

/// Whether the change touches a row that a pending revert names or takes away.
pub(super) fn touches_revert(session: &Session, change: &Change) -> bool {
    change.messages().any(|id| reverted(session, id))
}

/// Cuts the row at the first step-start after its last counted tool call. More than one way where the row
/// holds an error, for what is replayed of a row depends on it.
fn split(session: &Session, row: &Message, reason: Code, rows: &dyn Lookup) -> Result<Option<Vec<Change>>> {
    let (Some((at, new_id)), Some(whole)) = (cut(session, row, rows)?, RowJson::of(row, rows)?) else {
        return Ok(None);
    };
    let Some(a) = row.assistant().filter(|a| !a.summary) else { return Ok(None) };
    let first = || {
        let json = whole.clone().set("finish", "\"tool-calls\"").set("tokens", NO_TOKENS);
        if a.cost == 0.0 { json } else { json.set("cost", "0") }
    };
    let finished = RULE_SETS.iter().all(|set| a.finish.as_deref().is_some_and(|f| !set.unfinished.contains(&f)));
    let second = || {
        if finished { whole.clone() } else { whole.clone().set("finish", "\"stop\"") }
    };
    let change = |first: RowJson, second: RowJson| Change::Split {
        id: row.row.id.clone(),
        at_part: row.parts[at].id().to_owned(),
        new_id: new_id.clone(),
        first: first.text(),
        second: second.text(),
        reason,
    };
    Ok(Some(if a.error.is_none() {
        vec![change(first(), second())]
    } else {
        vec![
            change(first().drop("error"), second()),
            change(first(), second()),
            change(first(), second().drop("error")),
        ]
    }))
}

/// Where an answer can be cut, and the new row's id: one that no row of the session has.
///
/// # Errors
/// When a row cannot be read.
fn cut(session: &Session, row: &Message, rows: &dyn Lookup) -> Result<Option<(usize, String)>> {
    let counts =
        |part: &Part| matches!(&part.kind, PartKind::Tool(call) if RULE_SETS.iter().any(|set| set.counts(call)));
    let Some(behind) = row.parts.iter().rposition(counts).map(|last| last + 1) else { return Ok(None) };
    let Some(at) = row.parts[behind..].iter().position(|part| part.kind == PartKind::StepStart) else {
        return Ok(None);
    };
    let mut id = ids::successor(row.id());
    while let Some(next) = &id {
        // The session may have rows behind those that are looked at.
        let stored = rows.brief(Table::Message, next)?;
        let own = stored.is_some_and(|row| text(&row, "session_id") == Some(session.info.id.as_str()));
        if session.message(next).is_none() && !own {
            break;
        }
        id = ids::successor(next);
    }
    Ok(id.map(|id| (behind + at, id)))
}

/// Marks the row as the finished answer to the newest prompt. Where clocks have jumped, the answer that is newest by
/// its time may stand before that prompt: it is no answer to it, and is not made out to be one.
fn settle(
    session: &Session,
    row: &Message,
    tail: &Tail<'_>,
    seen: &[&Message],
    rows: &dyn Lookup,
) -> Result<Option<Change>> {
    let (Some(a), Some(whole)) = (row.assistant().filter(|a| !a.summary), RowJson::of(row, rows)?) else {
        return Ok(None);
    };
    let mut json = whole.clone();
    let stops = |set: &RuleSet| a.finish.as_deref().is_some_and(|f| !set.unfinished.contains(&f));
    if !RULE_SETS.iter().all(stops) {
        json = json.set("finish", "\"stop\"");
    }
    // `parentID` counts under the rule sets that order by time.
    let by_time = RULE_SETS.iter().rfind(|set| set.newest == Order::Created);
    if let Some(user) = by_time.and_then(|set| newest(seen, set).user)
        && a.parent_id.as_deref() != Some(user.id())
    {
        let at = |id: &str| session.messages.iter().position(|m| m.row.id == id);
        if at(row.id()) < at(user.id()) {
            return Ok(None);
        }
        json = json.set("parentID", &json::quote(user.id()));
    }
    let data = json.text();
    let changed = data != whole.text();
    Ok(changed.then(|| Change::SetData { id: row.row.id.clone(), data, reason: reason(row, tail) }))
}

/// One change for each tool call that is stored as still going on: an error with the very text that the replay
/// stands in for it, and without the mark of an orphan.
///
/// # Errors
/// When a row cannot be read.
pub(super) fn ended_calls(session: &Session, rows: &dyn Lookup) -> Result<Vec<Change>> {
    let mut out = Vec::new();
    // Summaries are never touched.
    for message in session.messages.iter().filter(|m| !m.assistant().is_some_and(|a| a.summary)) {
        for (part, _) in message.tools().filter(|(_, call)| call.unsettled()) {
            let (Some(data), Some(row)) = (part_json(part, rows)?, rows.brief(Table::Part, part.id())?) else {
                continue;
            };
            let Some(data) = int(&row, "time_updated").and_then(|heard| never_ended(part, &data, heard)) else {
                continue;
            };
            let (id, part) = (message.row.id.clone(), part.id().to_owned());
            out.push(Change::SetPart { id, part, data, reason: Code::UnsettledTool });
        }
    }
    Ok(out)
}

/// A call's JSON with its end. `heard` is when its row was last written, in ms since the epoch.
fn never_ended(part: &Part, data: &str, heard: i64) -> Option<String> {
    let object = Object::parse(data).ok()?;
    let state = Object::parse(object.some("state")?).ok()?;
    // The row's own times: when it began, and when it was last heard of.
    let began = state.object("time").ok().flatten().and_then(|t| t.some("start").map(str::to_owned));
    let began = began.unwrap_or_else(|| part.time_created.to_string());
    let time = format!("{{\"start\":{began},\"end\":{heard}}}");
    let mut text = state.with("status", "\"error\"");
    for (key, value) in [("error", json::quote(NEVER_ENDED)), ("time", time)] {
        text = Object::parse(&text).ok()?.with(key, &value);
    }
    Some(object.with("state", &text))
}
