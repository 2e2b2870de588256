//! A plan in words: one sentence for each thing that is done, none of the session's content.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::clean;
use super::doc::data_string;
use super::human::size;
use crate::diagnosis::Code;
use crate::json::Object;
use crate::repair::{Cell, Image, Leaves, Op, RowEdit, SessionPlan};

/// A time in ms since the epoch, in the local zone: "12 May 14:03", with the year where it is another than `now`'s.
pub(super) fn moment(ms: i64, now: i64, zone: &TimeZone) -> String {
    let (Ok(then), Ok(now)) = (Timestamp::from_millisecond(ms), Timestamp::from_millisecond(now)) else {
        return "an unknown time".to_owned();
    };
    let then = then.to_zoned(zone.clone());
    let format = if then.year() == now.to_zoned(zone.clone()).year() { "%-d %b %H:%M" } else { "%-d %b %Y %H:%M" };
    then.strftime(format).to_string()
}

/// How long ago, in one unit: "3 hours", "12 days".
pub(super) fn age(ms: i64, now: i64) -> String {
    let seconds = now.saturating_sub(ms).max(0) / 1000;
    let (n, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3_600 => (seconds / 60, "minute"),
        3_600..86_400 => (seconds / 3_600, "hour"),
        86_400..5_184_000 => (seconds / 86_400, "day"),
        5_184_000..63_072_000 => (seconds / 2_592_000, "month"),
        _ => (seconds / 31_536_000, "year"),
    };
    format!("{n} {unit}{}", if n == 1 { "" } else { "s" })
}

/// How long ago and when: "3 days ago, 12 May 14:03".
pub(super) fn ago(ms: i64, now: i64, zone: &TimeZone) -> String {
    format!("{} ago, {}", age(ms, now), moment(ms, now, zone))
}

/// What is done to a session, a sentence each, in the order of the rows.
pub(super) fn sentences(plan: &SessionPlan, now: i64, zone: &TimeZone) -> Vec<String> {
    let mut out: Vec<(i64, String)> = Vec::new();
    let inserted: BTreeSet<&str> =
        plan.edits.iter().filter(|e| e.op == Op::Insert && e.table == "message").map(|e| e.id.as_str()).collect();
    let when = |image: &Image| match image.get("time_created") {
        Some(Cell::Int(ms)) => (*ms, moment(*ms, now, zone)),
        _ => (0, "an unknown time".to_owned()),
    };
    let settled = plan.edits.iter().filter(|e| is_settled(e)).count();
    if settled > 0 {
        let calls = if settled == 1 { "tool call that never ended" } else { "tool calls that never ended" };
        out.push((i64::MAX, format!("settles {settled} {calls}")));
    }
    out.extend(left_out(plan, now, zone).into_iter().map(|sentence| (i64::MIN, sentence)));
    for edit in plan.edits.iter().filter(|e| e.table == "message") {
        match (edit.op, &edit.before, &edit.after) {
            (Op::Insert, _, Some(after)) => {
                let (at, time) = when(after);
                let moved = plan.edits.iter().filter(|e| e.table == "part" && moves_to(e, &edit.id)).count();
                let parts = if moved == 1 { "part" } else { "parts" };
                out.push((at, format!("splits the answer of {time} in two after its last tool call ({moved} {parts} move to the second row)")));
            }
            (Op::Delete, Some(before), _) => {
                let (at, time) = when(before);
                let role = match before.get("data") {
                    // Of a prompt alone is so much removed that it is not shown.
                    Some(Cell::Kept { .. }) => Some("user".to_owned()),
                    _ => data_string(before, "role"),
                };
                let what = match (role.as_deref(), has(before, "error")) {
                    (Some("user"), _) => "empty prompt",
                    (_, true) => "failed request without content",
                    _ => "answer without a word",
                };
                out.push((at, format!("removes the {what} of {time}")));
            }
            (Op::Update, Some(before), Some(after)) => {
                let (at, time) = when(before);
                let split = inserted.iter().any(|id| when_of(plan, id) == Some(at) && has_sibling(plan, &edit.id, id));
                if split {
                    continue;
                }
                let mut done = Vec::new();
                if data_string(before, "finish") != data_string(after, "finish") {
                    done.push("marks the answer of {} as finished");
                }
                if data_string(before, "parentID") != data_string(after, "parentID") {
                    done.push("makes the answer of {} the one to the newest prompt");
                }
                out.extend(done.into_iter().map(|s| (at, s.replace("{}", &time))));
            }
            _ => {}
        }
    }
    out.sort_by_key(|(at, _)| *at);
    out.into_iter().map(|(_, sentence)| sentence).collect()
}

fn is_settled(edit: &RowEdit) -> bool {
    edit.table == "part" && edit.op == Op::Update && edit.reason == Code::UnsettledTool.to_string()
}

/// What the model is no longer sent, or is sent otherwise: a sentence for each kind of thing and what stands in its
/// place.
fn left_out(plan: &SessionPlan, now: i64, zone: &TimeZone) -> Vec<String> {
    let when = |leaves: &Leaves| {
        let row = plan.edits.iter().find(|e| e.id == leaves.part_id).and_then(|e| e.before.as_ref());
        match row.and_then(|image| image.get("time_created")) {
            Some(Cell::Int(ms)) => format!(" of {}", moment(*ms, now, zone)),
            _ => String::new(),
        }
    };
    let of_part = |id: &str| plan.edits.iter().find(|e| e.table == "part" && e.id == id).map(|e| e.op);
    let sentence = |l: &Leaves| {
        let time = when(l);
        let instead = l.instead.as_deref().map(clean);
        match l.code.parse::<Code>() {
            Ok(Code::BlankText) => format!("leaves a blank text{time} out of what the model is sent"),
            Ok(Code::EmptyMessage | Code::ThinkingLast) => match of_part(&l.part_id) {
                Some(Op::Delete) => format!("removes the thinking{time}, beside which nothing is in its message"),
                Some(_) => format!("leaves the thinking{time} out of what the model is sent: its text stays stored"),
                None => {
                    format!("marks the answer{time} as aborted: its thinking stays stored, and opencode passes over it")
                }
            },
            Ok(Code::CallId) => {
                format!("sends the call{time} under the id {} ({})", instead.unwrap_or_default(), clean(&l.what))
            }
            Ok(Code::ProviderCall) => format!("sends the call{time} as an ordinary one with its result"),
            Ok(Code::BadSignature) => {
                format!(
                    "leaves the thinking{time} out of what the model is sent: its signature goes, its text stays stored"
                )
            }
            _ => {
                let place = match instead {
                    Some(text) => format!("\"{text}\" stands in its place"),
                    None => "the tool's output text stays".to_owned(),
                };
                let mime = l.mime.as_deref().map(clean).unwrap_or_default();
                format!(
                    "takes a file ({mime}, {}){time} out of the history; {place}: {}",
                    size(l.bytes),
                    clean(&l.what)
                )
            }
        }
    };
    plan.leaves.iter().map(sentence).collect()
}

fn has(image: &Image, key: &str) -> bool {
    matches!(image.get("data"), Some(Cell::Text(t)) if Object::parse(t).is_ok_and(|o| o.truthy(key)))
}

fn moves_to(edit: &RowEdit, message: &str) -> bool {
    matches!(edit.after.as_ref().and_then(|i| i.get("message_id")), Some(Cell::Text(id)) if id == message)
}

fn when_of(plan: &SessionPlan, id: &str) -> Option<i64> {
    let edit = plan.edits.iter().find(|e| e.id == id)?;
    match edit.after.as_ref()?.get("time_created")? {
        Cell::Int(ms) => Some(*ms),
        _ => None,
    }
}

/// Whether parts move from one message to the other.
fn has_sibling(plan: &SessionPlan, from: &str, to: &str) -> bool {
    plan.edits.iter().any(|e| {
        moves_to(e, to)
            && matches!(e.before.as_ref().and_then(|i| i.get("message_id")), Some(Cell::Text(id)) if id == from)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_moments() {
        assert_eq!(age(0, 59_999), "59 seconds");
        assert_eq!(age(0, 60_000), "1 minute");
        assert_eq!(age(0, 3 * 3_600_000), "3 hours");
        assert_eq!(age(0, 70 * 86_400_000), "2 months");
        assert_eq!(age(10, 0), "0 seconds");
        let utc = TimeZone::UTC;
        assert_eq!(moment(1_795_251_279_474, 1_795_251_999_000, &utc), "21 Nov 08:54");
        assert_eq!(moment(1_695_251_279_474, 1_795_251_999_000, &utc), "20 Sep 2023 23:07");
        assert_eq!(moment(i64::MAX, 0, &utc), "an unknown time");
    }
}
