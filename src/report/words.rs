//! A plan in words: one sentence for each thing that is done, none of the session's content.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::clean;
use crate::diagnosis::Code;
use crate::repair::{Action, Means, Redaction, Step};

/// A number with its noun.
pub(super) fn plural(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// A size in the unit that fits.
pub(super) fn size(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in ["KB", "MB", "GB", "TB"] {
        if value < 1000.0 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

/// A time in ms since the epoch, in the local zone: "12 May 14:03", with the year where it is another than `now`'s.
pub(super) fn moment(ms: i64, now: i64, zone: &TimeZone) -> String {
    let unknown = || "an unknown time".to_owned();
    if ms <= 0 {
        return unknown();
    }
    let (Ok(then), Ok(now)) = (Timestamp::from_millisecond(ms), Timestamp::from_millisecond(now)) else {
        return unknown();
    };
    let then = then.to_zoned(zone.clone());
    let format = if then.year() == now.to_zoned(zone.clone()).year() { "%-d %b %H:%M" } else { "%-d %b %Y %H:%M" };
    then.strftime(format).to_string()
}

/// Whether a time lies ahead by more than clocks differ, both in ms since the epoch.
fn ahead(ms: i64, now: i64) -> bool {
    ms > now.saturating_add(60_000)
}

/// How long ago, in one unit: "3 hours", "12 days". A row without a time has none.
pub(super) fn age(ms: i64, now: i64) -> String {
    if ms <= 0 {
        return "no time".to_owned();
    }
    if ahead(ms, now) {
        return "in the future".to_owned();
    }
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
    if ms <= 0 || ahead(ms, now) {
        moment(ms, now, zone)
    } else {
        format!("{} ago, {}", age(ms, now), moment(ms, now, zone))
    }
}

/// How many answers steps are about; `None` where there is none.
fn answers(steps: &[Step], about: impl Fn(&Step) -> bool) -> Option<String> {
    let answers: BTreeSet<&str> = steps.iter().filter(|s| about(s)).map(|s| s.message_id.as_str()).collect();
    (!answers.is_empty()).then(|| plural(answers.len() as u64, "answer", "answers"))
}

/// What is done many times, in a sentence for all of it, each with its place among the others.
fn summed(steps: &[Step]) -> Vec<(i64, String)> {
    let mut out: Vec<(i64, String)> = Vec::new();
    let ended = steps.iter().filter(|step| matches!(step.action, Action::EndCall { .. })).count();
    if ended > 0 {
        let calls = if ended == 1 { "tool call that never ended" } else { "tool calls that never ended" };
        out.push((i64::MAX, format!("settles {ended} {calls}")));
    }
    let hidden = |step: &Step| matches!(step.reason, Code::BadEncryptedReasoning | Code::RefusedState);
    if let Some(of) = answers(steps, hidden) {
        let words = "every word that you can read stays stored, and the answers themselves are sent as before";
        out.push((i64::MIN, format!("the model no longer sees its hidden reasoning of {of}; {words}")));
    }
    let unsigned = |step: &Step| step.reason == Code::BadSignature && matches!(step.action, Action::DropState { .. });
    if let Some(of) = answers(steps, unsigned) {
        out.push((i64::MIN, format!("takes the refused signature from the thinking of {of}; its words stay stored")));
    }
    if let Some(of) = answers(steps, |step| matches!(step.action, Action::ThinkingAsText { empty: false, .. })) {
        out.push((i64::MIN, format!("makes the thinking of {of} plain text, as released programs send it")));
    }
    if let Some(of) = answers(steps, |step| matches!(step.action, Action::ThinkingAsText { empty: true, .. })) {
        out.push((i64::MIN, format!("makes thinking without a word of {of} an empty text, which is not sent")));
    }
    out
}

/// What is done to a session, a sentence for each step, in the order of the rows.
pub(super) fn sentences(steps: &[Step], now: i64, zone: &TimeZone) -> Vec<String> {
    let mut out = summed(steps);
    for step in steps {
        let time = moment(step.time_ms, now, zone);
        let mut say = |sentence: String| out.push((step.time_ms, sentence));
        match &step.action {
            Action::RemovePrompt => say(format!("removes the empty prompt of {time}")),
            Action::RemoveRefusal => say(format!("removes the failed request without content of {time}")),
            Action::RemoveAnswer => say(format!("removes the empty answer of {time}")),
            Action::Split { moved, .. } => {
                let parts = if *moved == 1 { "part moves" } else { "parts move" };
                say(format!(
                    "splits the answer of {time} in two after its last tool call ({moved} {parts} to the second row)"
                ));
            }
            Action::Settle { finished, answers_newest } => {
                if *finished {
                    say(format!("marks the answer of {time} as finished"));
                }
                if *answers_newest {
                    say(format!("makes the answer of {time} the one to the newest prompt"));
                }
            }
            Action::EndCall { .. } | Action::DropState { .. } | Action::ThinkingAsText { .. } => {}
            Action::Redact(_) if step.reason == Code::BadEncryptedReasoning => {}
            Action::EncodeUrl { .. } => say(format!("encodes the URL of a file of {time}, so that it can be decoded")),
            Action::FillIn { .. } if step.reason == Code::UndecodableRow => {
                say(format!("fills in the time of the row of {time}, as its own column says it"));
            }
            Action::FillIn { members } => {
                let members: Vec<String> = members.iter().map(|name| format!("`{}`", clean(name))).collect();
                say(format!("fills in {} of the row of {time}, as other rows say it", members.join(", ")));
            }
            Action::RenamePart { part_id, new_id } => {
                say(format!("gives the part {} of {time} the id {}", clean(part_id), clean(new_id)));
            }
            Action::TakeOut { part_id, bytes } => {
                let (part, size) = (clean(part_id), size(*bytes));
                say(format!("takes out the part {part} of {time}, whose JSON is broken ({size}), whole"));
            }
            Action::Complete => say(format!("marks the answer of {time} as ended, when its last part was")),
            Action::Redact(redaction) => out.push((i64::MIN, redacted(step.reason, redaction, &time))),
        }
    }
    out.sort_by_key(|(at, _)| *at);
    out.into_iter().map(|(_, sentence)| sentence).collect()
}

/// What a plan takes out of what the model is sent, in a few words: "the hidden reasoning of 2 answers, 1 file".
#[must_use]
pub fn discards(steps: &[Step]) -> String {
    let mut counts: BTreeMap<&str, BTreeSet<(&str, Option<usize>)>> = BTreeMap::new();
    for step in steps {
        let newer = match step.action {
            Action::DropState { .. } if step.reason == Code::BadSignature => Some("the signatures of # answer"),
            Action::DropState { .. } => Some("the hidden reasoning of # answer"),
            _ => None,
        };
        if let Some(what) = newer {
            counts.entry(what).or_default().insert((step.message_id.as_str(), None));
        }
        let Some(redaction) = step.redaction() else { continue };
        let (what, whose) = match step.reason {
            Code::BadEncryptedReasoning | Code::ReasoningAlone => {
                ("the hidden reasoning of # answer", &step.message_id)
            }
            Code::StaleItemId => ("the provider's names for what is in # answer", &step.message_id),
            Code::BlankText => ("# blank text", &redaction.part_id),
            Code::EmptyMessage | Code::ThinkingLast | Code::BadSignature => {
                ("the thinking of # answer", &step.message_id)
            }
            Code::CallId | Code::ProviderCall | Code::SplitCall | Code::UnsignedCall => {
                ("the form of # tool call", &redaction.part_id)
            }
            _ => ("# file", &redaction.part_id),
        };
        counts.entry(what).or_default().insert((whose.as_str(), redaction.attachment));
    }
    let said = counts.into_iter().map(|(what, of)| {
        let n = of.iter().map(|(whose, at)| if what.contains("answer") { (*whose, None) } else { (*whose, *at) });
        let n = n.collect::<BTreeSet<_>>().len();
        what.replace('#', &n.to_string()) + if n == 1 { "" } else { "s" }
    });
    said.collect::<Vec<_>>().join(", ")
}

/// What the model is no longer sent, or is sent otherwise.
fn redacted(reason: Code, redaction: &Redaction, time: &str) -> String {
    let instead = redaction.instead.as_deref().map(clean);
    match reason {
        Code::BlankText => format!("leaves a blank text of {time} out of what the model is sent"),
        Code::EmptyMessage if redaction.bytes == 0 => format!("removes the empty text of {time}"),
        Code::EmptyMessage | Code::ThinkingLast => match redaction.by {
            Means::Removed => format!("removes the thinking of {time}, beside which nothing is in its message"),
            Means::Rewritten => {
                format!("leaves the thinking of {time} out of what the model is sent: its text stays stored")
            }
            Means::MarkedAsAborted => {
                format!("marks the answer of {time} as aborted: its thinking stays stored, and opencode passes over it")
            }
        },
        Code::CallId => {
            format!(
                "sends the call of {time} under the id {} ({})",
                instead.unwrap_or_default(),
                clean(&redaction.what)
            )
        }
        Code::ProviderCall => format!("sends the call of {time} as an ordinary one with its result"),
        Code::SplitCall => format!("sends the answer of {time} as one turn: a mark goes, and no word"),
        Code::UnsignedCall => format!("sends the call of {time} with a stand-in for its signature"),
        Code::StaleItemId => {
            format!(
                "sends what stands in the answer of {time} itself, and not by a name that its provider has forgotten"
            )
        }
        Code::ReasoningAlone => {
            format!("leaves the hidden reasoning of {time} out of what the model is sent: every word stays stored")
        }
        Code::BadSignature => {
            format!(
                "leaves the thinking of {time} out of what the model is sent: its signature goes, its text stays stored"
            )
        }
        _ => {
            let place = match instead {
                Some(text) => format!("\"{text}\" stands in its place"),
                None => "the tool's output text stays".to_owned(),
            };
            let mime = redaction.mime.as_deref().map(clean).unwrap_or_default();
            format!(
                "takes a file ({mime}, {}) of {time} out of the history; {place}: {}",
                size(redaction.bytes),
                clean(&redaction.what)
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_moments() {
        assert_eq!(age(1, 60_000), "59 seconds");
        assert_eq!(age(1, 60_001), "1 minute");
        assert_eq!(age(1, 1 + 3 * 3_600_000), "3 hours");
        assert_eq!(age(1, 1 + 70 * 86_400_000), "2 months");
        assert_eq!(age(10, 0), "0 seconds");
        let utc = TimeZone::UTC;
        let now = 1_795_251_999_000;
        assert_eq!((age(0, now), ago(0, now, &utc)), ("no time".to_owned(), "an unknown time".to_owned()));
        assert_eq!(moment(1_795_251_279_474, 1_795_251_999_000, &utc), "21 Nov 08:54");
        assert_eq!(moment(1_695_251_279_474, 1_795_251_999_000, &utc), "20 Sep 2023 23:07");
        assert_eq!(moment(i64::MAX, 0, &utc), "an unknown time");
    }
}
