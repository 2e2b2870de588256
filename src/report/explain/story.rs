//! Why a session stands as it does, sentence by sentence.

use jiff::tz::TimeZone;

use super::newer;
use crate::diagnosis::{Code, Diagnosis, Format, Status};
use crate::explain::{Explained, Explanation, Failure, Generation, GoesOn, Row};
use crate::replay::{Resume, TurnRole, Why};
use crate::report::layout::fit;
use crate::report::words::{moment, plural};
use crate::report::{clean, unopenable};

/// Why the session stands as it does, sentence by sentence, for somebody who has never seen opencode's source.
pub(super) fn story(explained: &Explained, now: i64, zone: &TimeZone) -> Vec<String> {
    let d = &explained.diagnosis;
    if d.format == Format::V2 && explained.unreadable.is_empty() {
        return newer::story(d);
    }
    let Some(e) = &explained.now else {
        let rows = plural(explained.unreadable.len() as u64, "row of it could not be", "rows of it could not be");
        let mut out = vec![format!("{rows} understood, so it cannot be told what opencode would send.")];
        out.extend(unopenable::story(d));
        return out;
    };
    let mut out = unopenable::story(d);
    out.extend(dead(d));
    out.extend(of_retry(explained, e, now, zone));
    out
}

/// Why every prompt is refused, where it is.
fn dead(d: &Diagnosis) -> Vec<String> {
    if !d.refused {
        return Vec::new();
    }
    let sure = d.findings.iter().filter(|f| f.redacted_by().is_some());
    let mut out = vec!["Every prompt is refused, a new one too, because of what stands in its history:".to_owned()];
    out.extend(sure.map(|f| {
        format!("- {}: {} ({})", f.code, clean(&f.detail), clean(f.part_id.as_deref().unwrap_or(&f.message_id)))
    }));
    out
}

fn of_retry(explained: &Explained, e: &Explanation, now: i64, zone: &TimeZone) -> Vec<String> {
    let d = &explained.diagnosis;
    match e.resume {
        Resume::EndsWithAssistant => refused(explained, e, now, zone),
        Resume::NoRequest => {
            let mut out = vec!["Nothing would be sent: the last answer is finished.".to_owned()];
            if goes_on(e).is_empty() {
                out.push(format!(
                    "A retry makes opencode look at the newest answer: {}. It is marked as finished, holds no tool \
                     call that is still to be followed up, and belongs to the newest prompt, so opencode stops there.",
                    newest_answer(e, now, zone)
                ));
            } else {
                out = vec!["Nothing would be sent: opencode itself refuses this history before that.".to_owned()];
            }
            out
        }
        Resume::EndsWithUser => {
            let looks = match goes_on(e) {
                [GoesOn::NoAnswer] => "There is no answer yet, so a retry sends the turns below.".to_owned(),
                reason => format!(
                    "A retry makes opencode look at the newest answer: {}. It does not stop there, because {}; it \
                     sends the turns below.",
                    newest_answer(e, now, zone),
                    reasons(e, reason, "it")
                ),
            };
            let then = if d.refused {
                format!("They end with {}, but hold what is refused: a retry is refused as well.", ending(e))
            } else {
                format!("They end with {}, so the model simply answers.", ending(e))
            };
            let mut out = vec![looks, then];
            out.extend(of_step_limit(d, e, now, zone));
            out
        }
        Resume::RunsTask => {
            vec!["A retry first works off a compaction or subtask that is pending, and then looks again.".to_owned()]
        }
        Resume::NoUserTurn => vec!["There is no prompt to answer, so a retry sends nothing that helps.".to_owned()],
        Resume::Unreadable => vec![format!("It is {}.", d.status)],
    }
}

/// Why a refusal is stored where nothing that is stored is wrong (docs/opencode.md §5.8).
fn of_step_limit(d: &Diagnosis, e: &Explanation, now: i64, zone: &TimeZone) -> Option<String> {
    let finding = d.findings.iter().find(|f| f.code == Code::StepLimitPrefill)?;
    let row = e.rows.iter().find(|r| r.message_id == finding.message_id)?;
    Some(format!(
        "The refusal of {} is stored although nothing in this history is wrong: on the last step that an agent is \
         allowed, opencode ends the request with an assistant message of its own, which is not stored, and the model \
         refused that. There is nothing to repair.",
        moment(row.time_ms, now, zone)
    ))
}

/// What a request that does not end with the assistant ends with.
fn ending(e: &Explanation) -> &'static str {
    match e.rows.iter().flat_map(|r| &r.turns).next_back().map(|t| t.role) {
        Some(TurnRole::Tool) => "a tool's result",
        _ => "the user's turn",
    }
}

/// What a retry does after a repair.
pub(super) fn afterwards(e: &Explanation) -> String {
    match e.resume {
        Resume::NoRequest => "A retry then sends nothing: the last answer is finished.".to_owned(),
        Resume::EndsWithUser => {
            format!("A retry then sends these turns. They end with {}, so the model simply answers.", ending(e))
        }
        other => format!("A retry then {}.", retry(other, false)),
    }
}

fn refused(explained: &Explained, e: &Explanation, now: i64, zone: &TimeZone) -> Vec<String> {
    let d = &explained.diagnosis;
    let mut out = vec![format!(
        "A retry makes opencode look at the newest answer: {}. It does not stop there, because {}.",
        newest_answer(e, now, zone),
        reasons(e, goes_on(e), "it")
    )];
    if let Some((number, row, _)) = e.offending() {
        let behind = e.rows.iter().skip_while(|r| r.message_id != row.message_id).skip(1);
        let left_out: Vec<String> = behind
            .filter_map(|r| r.skipped.map(|why| (r, why)))
            .filter(|(_, why)| *why != Why::Reverted)
            .map(|(r, why)| format!("the {} of {} ({})", name(r), moment(r.time_ms, now, zone), because(why, r)))
            .collect();
        let left_out = match left_out.len() {
            0 => String::new(),
            1..=3 => format!(" Left out behind it: {}.", left_out.join(", ")),
            n => format!(" Left out behind it: {n} rows, such as {}.", left_out[0]),
        };
        out.push(format!(
            "So it sends the stored history again. The last turn of that is turn {number}, the assistant's: the {} of \
             {}.{left_out}",
            name(row),
            moment(row.time_ms, now, zone)
        ));
    }
    let model = d.model.as_ref().map_or_else(|| "The model".to_owned(), |m| clean(&m.to_string()));
    out.push(if d.status == Status::AtRisk && d.doubts.version {
        "That is a guess: nobody has measured the opencode that the store was last used with. Name yours with --opencode \
         VERSION."
            .to_owned()
    } else if d.status == Status::AtRisk && !d.doubts.model {
        "Which AI SDK package opencode loads for the model is not known here, and not every package sends a request \
         that ends with the assistant; name it with --sdk PROVIDER=PACKAGE."
            .to_owned()
    } else if d.status == Status::AtRisk {
        format!(
            "A model without prefill refuses a request that ends with the assistant. {model} is not known to; name \
             it with --refuses if it does."
        )
    } else {
        format!(
            "{model} refuses a request that ends with the assistant (error 400, \"assistant message prefill\"). \
             opencode stores the refusal as one more answer, and the next retry finds the same again."
        )
    });
    if let Some(cause) = explained.cause {
        out.push(format!("The first such refusal here came because {}.", cause.description()));
    }
    if !d.refused && d.status != Status::Unopenable {
        out.push("A new prompt gets past it, since the request then ends with that prompt.".to_owned());
    }
    out
}

fn generation(e: &Explanation) -> Option<&Generation> {
    e.generations.iter().find(|g| g.set.key == e.set.key)
}

fn goes_on(e: &Explanation) -> &[GoesOn] {
    generation(e).map_or(&[], |g| &g.goes_on)
}

fn newest_answer(e: &Explanation, now: i64, zone: &TimeZone) -> String {
    let id = generation(e).and_then(|g| g.assistant.as_ref());
    let Some(row) = id.and_then(|id| e.rows.iter().find(|r| r.message_id == *id)) else {
        return "there is none".to_owned();
    };
    format!("the {} of {} (row {})", name(row), moment(row.time_ms, now, zone), clean(&row.message_id))
}

/// What a row is, as a noun.
pub(super) fn name(row: &Row) -> &'static str {
    match (row.user, row.error, row.empty) {
        (true, _, true) => "empty prompt",
        (true, ..) => "prompt",
        (_, Some(Failure::Prefill400), _) => "stored refusal",
        (_, Some(Failure::Other), _) => "failed request",
        (_, Some(Failure::Aborted), false) => "aborted answer",
        (_, _, true) => "answer without a word",
        _ if row.summary => "summary",
        _ => "answer",
    }
}

pub(super) fn because(why: Why, row: &Row) -> &'static str {
    match why {
        Why::NoParts => "it holds nothing",
        Why::Error if row.error == Some(Failure::Aborted) => "aborted before it said anything",
        Why::Error => "answers with an error are not sent",
        Why::NothingSent => "none of its parts is sent",
        Why::EmptyForSdk => "empty text is not sent to this provider",
        Why::Reverted => "the pending revert takes it away first",
        Why::Compacted => "the summary of a compaction stands for it",
    }
}

/// Why the loop goes on; `it` is what the newest answer is called.
pub(super) fn reasons(e: &Explanation, goes_on: &[GoesOn], it: &str) -> String {
    let tool = |ids: &[String]| {
        let pieces = e.rows.iter().flat_map(|r| &r.turns).flat_map(|t| &t.blocks);
        let tool =
            pieces.filter(|p| p.part_id.as_ref().is_some_and(|id| ids.contains(id))).find_map(|p| p.tool.clone());
        tool.map(|t| format!(" ({})", fit(&t, 30))).unwrap_or_default()
    };
    let said: Vec<String> = goes_on
        .iter()
        .map(|reason| match reason {
            GoesOn::NoAnswer => "there is no answer yet".to_owned(),
            GoesOn::Unfinished { finish: None } => format!("{it} is not marked as finished"),
            GoesOn::Unfinished { finish: Some(finish) } => {
                format!("{it} is marked with \"{}\", which says that more is to come", fit(finish, 30))
            }
            GoesOn::HoldsTools { part_ids, orphans: true } => {
                format!("{it} holds a tool call that was cut off{}, finished or not", tool(part_ids))
            }
            GoesOn::HoldsTools { part_ids, orphans: false } => {
                format!("{it} holds a tool call{} that opencode means to follow up, finished or not", tool(part_ids))
            }
            GoesOn::AnswersAnother => format!("{it} is not the answer to the newest prompt"),
        })
        .collect();
    match said.split_last() {
        None => format!("{it} is finished"),
        Some((only, [])) => only.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}

/// What a retry does. `refused`: every request is, for what stands in the history.
pub(super) fn retry(resume: Resume, refused: bool) -> &'static str {
    match resume {
        Resume::NoRequest => "sends nothing",
        Resume::EndsWithUser if refused => "is refused",
        Resume::EndsWithUser => "is answered",
        Resume::EndsWithAssistant => "ends with the assistant",
        Resume::RunsTask => "works off a task first",
        Resume::NoUserTurn => "has no prompt to answer",
        Resume::Unreadable => "cannot be told",
    }
}
