//! `explain`: one session's request in words and as a JSON document.

use comfy_table::Cell;
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::Serialize;

use super::doc::SCHEMA_VERSION;
use super::human::{plural, size};
use super::layout::{fit, grid, named, wrap};
use super::words::{moment, sentences};
use super::{Output, SessionDoc, clean, explain_v2, unopenable};
use crate::diagnosis::{Applicability, Code, Diagnosis, Evidence, Format, Include, Left, Status};
use crate::explain::{AfterRepair, Explained, Explanation, Failure, Generation, GoesOn, NewerTurn, Piece, Row, Turn};
use crate::replay::{BlockKind, RULE_SETS, Resume, TurnRole, Why};
use crate::stats::Cause;

/// `explain --json`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ExplainDoc {
    /// Of all documents: 1.
    schema_version: u32,
    /// `explain`.
    #[schemars(extend("const" = "explain"))]
    command: &'static str,
    session: SessionDoc,
    /// The rules under which the turns are shown.
    rule_set: Option<&'static str>,
    resume: Resume,
    /// What the first of the refusals that keep it stuck came from.
    cause: Option<Cause>,
    /// Why it stands as it does, sentence by sentence.
    why: Vec<String>,
    /// The turns that would be sent, in order.
    turns: Vec<TurnDoc>,
    /// Of a session of opencode 2, the turns that would be sent before a new prompt.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    turns_v2: Vec<NewerTurn>,
    /// Rows that give no turn.
    skipped: Vec<SkipDoc>,
    /// What every generation of the run loop does, oldest first.
    generations: Vec<GenerationDoc>,
    /// What a repair would do; null where there is nothing to repair.
    repair: Option<RepairDoc>,
    /// What would be sent after it; null where there is none, or where it would leave the session.
    after_repair: Option<AfterDoc>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
struct TurnDoc {
    /// Whose turn it is.
    role: TurnRole,
    /// The message rows that it comes from.
    message_ids: Vec<String>,
    /// The part rows that it comes from.
    part_ids: Vec<String>,
    /// What it holds, in order.
    blocks: Vec<Piece>,
    /// The request ends with it, and it is the assistant's.
    offending: bool,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
struct SkipDoc {
    /// The row.
    message_id: String,
    /// Why it gives no turn.
    why: Why,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
struct GenerationDoc {
    /// Its key.
    rule_set: &'static str,
    /// The first opencode version that was measured with it.
    first: String,
    /// The last one.
    last: String,
    /// It counts for this store.
    counts: bool,
    /// What re-entering does.
    resume: Resume,
    /// The newest prompt that it sees.
    newest_user: Option<String>,
    /// The newest answer that it sees.
    newest_assistant: Option<String>,
    /// Why it does not stop there; empty where it does.
    goes_on: Vec<GoesOn>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "RepairOfSession")]
struct RepairDoc {
    /// What it would do, in words.
    does: Vec<String>,
    /// Row edits that it would make.
    edits: usize,
    /// It has to be asked for.
    opt_in: bool,
    /// Why it would leave the session.
    left: Option<Left>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
struct AfterDoc {
    /// The turns that would be sent.
    turns: Vec<TurnDoc>,
    /// Rows that give no turn.
    skipped: Vec<SkipDoc>,
    /// What re-entering does.
    resume: Resume,
}

fn turn_docs(explanation: &Explanation) -> Vec<TurnDoc> {
    let one = |row: &Row, turn: &Turn| {
        let mut part_ids: Vec<String> = Vec::new();
        for id in turn.blocks.iter().filter_map(|b| b.part_id.as_ref()) {
            if !part_ids.contains(id) {
                part_ids.push(id.clone());
            }
        }
        TurnDoc {
            role: turn.role,
            message_ids: vec![row.message_id.clone()],
            part_ids,
            blocks: turn.blocks.clone(),
            offending: turn.offending,
        }
    };
    explanation.rows.iter().flat_map(|row| row.turns.iter().map(move |turn| one(row, turn))).collect()
}

fn skip_docs(explanation: &Explanation) -> Vec<SkipDoc> {
    let skipped = explanation.rows.iter().filter_map(|row| row.skipped.map(|why| (row, why)));
    skipped.map(|(row, why)| SkipDoc { message_id: row.message_id.clone(), why }).collect()
}

fn opt_in(diagnosis: &Diagnosis) -> bool {
    diagnosis.status == Status::AtRisk
}

impl ExplainDoc {
    /// Puts the document together. `now` in ms since the epoch.
    #[must_use]
    pub fn new(explained: &Explained, now: i64, zone: &TimeZone) -> Self {
        let shown = explained.now.as_ref();
        let repair = explained.repair.as_ref().map(|repair| match repair {
            AfterRepair::Repaired(plan, _) => RepairDoc {
                does: sentences(&plan.steps, now, zone),
                edits: plan.edits.len(),
                opt_in: opt_in(&explained.diagnosis),
                left: None,
            },
            AfterRepair::Left(left) => {
                RepairDoc { does: Vec::new(), edits: 0, opt_in: opt_in(&explained.diagnosis), left: Some(left.clone()) }
            }
        });
        let after = match &explained.repair {
            Some(AfterRepair::Repaired(_, after)) => {
                Some(AfterDoc { turns: turn_docs(after), skipped: skip_docs(after), resume: after.resume })
            }
            _ => None,
        };
        Self {
            schema_version: SCHEMA_VERSION,
            command: "explain",
            session: SessionDoc::new(&explained.diagnosis, explained.sdk.as_ref()),
            rule_set: shown.map(|e| e.set.key),
            resume: shown.map_or(Resume::Unreadable, |e| e.resume),
            cause: explained.cause,
            why: story(explained, now, zone),
            turns: shown.map(turn_docs).unwrap_or_default(),
            turns_v2: explained.newer.clone(),
            skipped: shown.map(skip_docs).unwrap_or_default(),
            generations: shown.map(|e| e.generations.iter().map(GenerationDoc::of).collect()).unwrap_or_default(),
            repair,
            after_repair: after,
        }
    }
}

impl GenerationDoc {
    fn of(generation: &Generation) -> Self {
        Self {
            rule_set: generation.set.key,
            first: generation.set.measured.0.to_string(),
            last: generation.set.measured.1.to_string(),
            counts: generation.counts,
            resume: generation.resume,
            newest_user: generation.user.clone(),
            newest_assistant: generation.assistant.clone(),
            goes_on: generation.goes_on.clone(),
        }
    }
}

/// Why the session stands as it does, sentence by sentence, for somebody who has never seen opencode's source.
fn story(explained: &Explained, now: i64, zone: &TimeZone) -> Vec<String> {
    let d = &explained.diagnosis;
    if d.format == Format::V2 && explained.unreadable.is_empty() {
        return explain_v2::story(d);
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
            let mut out = vec![looks, format!("They end with {}, so the model simply answers.", ending(e))];
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
fn afterwards(e: &Explanation) -> String {
    match e.resume {
        Resume::NoRequest => "A retry then sends nothing: the last answer is finished.".to_owned(),
        Resume::EndsWithUser => {
            format!("A retry then sends these turns. They end with {}, so the model simply answers.", ending(e))
        }
        other => format!("A retry then {}.", retry(other)),
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
        "That is a guess: nobody has measured the opencode that the store was last used with, and those that were measured \
         since do not send this. Name yours with --opencode VERSION."
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
fn name(row: &Row) -> &'static str {
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

fn because(why: Why, row: &Row) -> &'static str {
    match why {
        Why::NoParts => "it holds nothing",
        Why::Error if row.error == Some(Failure::Aborted) => "aborted before anything came",
        Why::Error => "answers with an error are not sent",
        Why::NothingSent => "none of its parts is sent",
        Why::EmptyForSdk => "empty text is not sent to this provider",
        Why::Reverted => "the pending revert takes it away first",
        Why::Compacted => "the summary of a compaction stands for it",
    }
}

/// Why the loop goes on; `it` is what the newest answer is called.
fn reasons(e: &Explanation, goes_on: &[GoesOn], it: &str) -> String {
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

fn retry(resume: Resume) -> &'static str {
    match resume {
        Resume::NoRequest => "sends nothing",
        Resume::EndsWithUser => "is answered",
        Resume::EndsWithAssistant => "ends with the assistant",
        Resume::RunsTask => "works off a task first",
        Resume::NoUserTurn => "has no prompt to answer",
        Resume::Unreadable => "cannot be told",
    }
}

/// A block of the request as a noun.
fn block(piece: &Piece) -> String {
    let tool = || piece.tool.as_deref().map(|t| format!(" of {}", fit(t, 12))).unwrap_or_default();
    match piece.kind {
        BlockKind::Text => "text".to_owned(),
        BlockKind::BlankText => "blank text".to_owned(),
        BlockKind::EmptyText => "empty text".to_owned(),
        BlockKind::StandIn => "a space".to_owned(),
        BlockKind::Thinking => "thinking".to_owned(),
        BlockKind::EmptyThinking => "empty thinking".to_owned(),
        BlockKind::ToolCall => format!("call{}", tool()),
        BlockKind::ProviderToolCall => format!("provider ran{}", tool().replacen(" of", ":", 1)),
        BlockKind::ProviderToolResult => format!("provider's result{}", tool()),
        BlockKind::ReasoningDetail => "reasoning detail".to_owned(),
        BlockKind::ItemReference => "item by name".to_owned(),
        BlockKind::ToolResult => format!("result{}", tool()),
        BlockKind::ToolError if piece.orphan => format!("cut off{}", tool().replacen(" of", ":", 1)),
        BlockKind::ToolError => format!("error{}", tool()),
        BlockKind::ToolInterrupted => format!("interrupted{}", tool().replacen(" of", ":", 1)),
        BlockKind::File => "file".to_owned(),
        BlockKind::UnreadableFile => "\"cannot read …\"".to_owned(),
        BlockKind::MediaIntroduction => "\"Attached media …\"".to_owned(),
        BlockKind::Done => "\"Done.\"".to_owned(),
        BlockKind::CompactionPrompt => "\"What did we do …\"".to_owned(),
        BlockKind::SubtaskPrompt => "subtask".to_owned(),
        BlockKind::Reminder => "opencode's reminder".to_owned(),
    }
}

/// Rows that are shown without `-v`, counted from the end.
const SHORT: usize = 12;
/// Characters of a block's text that are shown without `-v`.
const SHORT_TEXT: usize = 600;

/// The report for people. `bound` is what is said of the opencode versions that count; `now` in ms since the
/// epoch.
#[must_use]
pub fn explain(out: &Output, explained: &Explained, bound: &str, now: i64, zone: &TimeZone) -> String {
    let d = &explained.diagnosis;
    let status = match d.evidence {
        Some(Evidence::Evidenced) => format!("{}, refusal stored", d.status),
        Some(Evidence::Predicted) => format!("{}, predicted", d.status),
        None => d.status.to_string(),
    };
    let told = story(explained, now, zone);
    if out.quiet {
        let first = match explained.now.as_ref().and_then(Explanation::offending) {
            Some((number, row, _)) => format!("the request ends with turn {number} (row {})", clean(&row.message_id)),
            None => told.first().cloned().unwrap_or_default(),
        };
        return format!("{status}: {first}\n");
    }
    let colour = match d.status {
        Status::Unopenable | Status::Dead | Status::Stuck => "31;1",
        Status::AtRisk | Status::Unreadable => "33",
        _ => "32",
    };
    let mut text = named(out, &d.info.id, &d.info.title);
    if let Some(parent) = &d.info.parent_id {
        text.push_str(&(out.wrap(&format!("child of {}", clean(parent)), "  ") + "\n"));
    }
    let model = d.model.as_ref().map(|m| format!(" · {}", clean(&m.to_string()))).unwrap_or_default();
    text.push_str(&(out.wrap(&format!("{}{model}", out.paint(colour, &status)), "  ") + "\n"));
    let mut dimmed = |line: &str| text.push_str(&format!("{}\n", out.dim(&out.wrap(line, "  "))));
    if let Some(sdk) = &explained.sdk {
        dimmed(&format!("through {} ({})", clean(&sdk.package), clean(&sdk.source)));
    }
    dimmed(if d.format == Format::V2 { explain_v2::KNOWN } else { bound });
    text.push_str(&heading(out, why_heading(d.status)));
    text.push_str(&paragraphs(out, &told));
    for row in &explained.unreadable {
        let line = format!("  {} {}: {}\n", row.table, clean(&row.id), clean(&row.detail));
        text.push_str(&out.wrap(&line, "    "));
    }
    if !explained.newer.is_empty() {
        text.push_str(&heading(out, "What a new prompt sends before itself"));
        text.push_str(&explain_v2::turns(out, &explained.newer));
    }
    let Some(e) = &explained.now else {
        return text;
    };
    if d.info.revert.is_some() {
        text.push_str(&paragraphs(
            out,
            &["A revert is pending; opencode carries it out before anything else, and so does what is shown here."
                .to_owned()],
        ));
    }
    let what = match e.resume {
        Resume::NoRequest => "What the next prompt would send before its own turn",
        _ => "What the model would be sent",
    };
    text.push_str(&heading(out, &format!("{what} (opencode {})", range(e.set.key, e.set.key))));
    text.push_str(&rows(out, e, first_shown(out, e), now, zone));
    text.push_str(&heading(out, "What a retry does, by opencode version"));
    text.push_str(&generations(out, e));
    let also: Vec<String> = d
        .findings
        .iter()
        .filter(|f| f.applicability != Applicability::Automatic && f.misfit.is_none())
        .map(|f| format!("{}: {} ({})", f.code, clean(&f.detail), clean(f.part_id.as_deref().unwrap_or(&f.message_id))))
        .collect();
    if !also.is_empty() {
        text.push_str(&heading(out, "Also found"));
        text.push_str(&paragraphs(out, &also));
    }
    match &explained.repair {
        None => {}
        Some(AfterRepair::Left(left)) => {
            text.push_str(&heading(out, "What a repair would do"));
            text.push_str(&paragraphs(out, &[format!("Nothing: {} ({})", clean(&left.detail), left.reason)]));
        }
        Some(AfterRepair::Repaired(plan, after)) => {
            let unmeasured = d.doubts.package || d.doubts.version;
            let kinds = [(d.doubts.model, Include::AtRisk), (unmeasured, Include::Unmeasured)];
            let kinds: Vec<&str> =
                kinds.into_iter().filter(|(doubt, _)| opt_in(d) && *doubt).map(|(_, kind)| kind.into()).collect();
            let asked = if kinds.is_empty() { String::new() } else { format!(" --include {}", kinds.join(",")) };
            text.push_str(&heading(out, &format!("What `unstick repair{asked}` would do")));
            let does: Vec<String> =
                sentences(&plan.steps, now, zone).iter().map(|sentence| format!("- {}", clean(sentence))).collect();
            text.push_str(&paragraphs(out, &does));
            text.push_str(&heading(out, "What the model would be sent after that"));
            text.push_str(&rows(out, after, first_changed(e, after).max(first_shown(out, after)), now, zone));
            text.push_str(&paragraphs(out, &[afterwards(after)]));
            text.push_str(&format!("\nNext: {}\n", out.command(&format!("repair{asked} {}", clean(&d.info.id)))));
        }
    }
    text
}

fn why_heading(status: Status) -> &'static str {
    match status {
        Status::Unopenable => "Why opencode cannot read it",
        Status::Dead => "Why it is dead",
        Status::Stuck => "Why it is stuck",
        Status::AtRisk => "Why it is at risk",
        Status::Unreadable => "Why it is unreadable",
        _ => "What a retry would do",
    }
}

fn heading(out: &Output, text: &str) -> String {
    format!("\n{}\n", out.bold(&out.wrap(text, "  ")))
}

/// Texts wrapped to the terminal's width, each indented; of a list's item the later lines more.
fn paragraphs(out: &Output, texts: &[String]) -> String {
    let one = |text: &String| {
        let indent = if text.starts_with("- ") { "    " } else { "  " };
        out.wrap(&format!("  {text}"), indent) + "\n"
    };
    texts.iter().map(one).collect()
}

/// The versions that the rule sets from the one to the other were measured with.
fn range(first: &str, last: &str) -> String {
    let find = |key: &str| RULE_SETS.iter().find(|set| set.key == key);
    match (find(first), find(last)) {
        (Some(first), Some(last)) if last.key == RULE_SETS[RULE_SETS.len() - 1].key => {
            format!("{} and newer", first.measured.0)
        }
        (Some(first), Some(last)) => format!("{} to {}", first.measured.0, last.measured.1),
        _ => format!("{first} to {last}"),
    }
}

/// Narrower than this, a generation of the loop is a sentence and no row.
const NARROW: u16 = 76;

fn generations(out: &Output, e: &Explanation) -> String {
    let mut groups: Vec<(&Generation, &Generation)> = Vec::new();
    for g in &e.generations {
        match groups.last_mut() {
            Some((_, last))
                if (last.resume, &last.goes_on, last.counts, &last.assistant)
                    == (g.resume, &g.goes_on, g.counts, &g.assistant) =>
            {
                *last = g;
            }
            _ => groups.push((g, g)),
        }
    }
    let mut sentences = Vec::new();
    let mut rows = Vec::new();
    for (first, last) in groups {
        let versions = range(first.set.key, last.set.key);
        let why = match first.resume {
            Resume::RunsTask => "a compaction or subtask is pending".to_owned(),
            _ => reasons(e, &first.goes_on, "the newest answer"),
        };
        let does = retry(first.resume);
        if out.width < NARROW {
            let counts = if first.counts { "" } else { " (older than this store)" };
            sentences.push(format!("{versions}{counts}: {does}, because {why}"));
            continue;
        }
        let counts = if first.counts { "" } else { "\n(older than this store)" };
        let mut cell = Cell::new(does);
        if out.color && first.resume == Resume::EndsWithAssistant && first.counts {
            cell = cell.fg(comfy_table::Color::DarkRed);
        }
        // Beside the versions and what a retry does: 2 + 23 + 2 + 23 + 2.
        let why = wrap(&why, usize::from(out.width.min(120)).saturating_sub(52));
        rows.push(vec![Cell::new(format!("{versions}{counts}")), cell, Cell::new(why)]);
    }
    if out.width < NARROW {
        return sentences.iter().map(|s| out.wrap(&format!("  {s}"), "    ") + "\n").collect();
    }
    grid(out, &[], rows).lines().map(|line| format!("  {line}\n")).collect()
}

fn first_shown(out: &Output, e: &Explanation) -> usize {
    if out.verbose { 0 } else { e.rows.len().saturating_sub(SHORT) }
}

/// Where the rows begin to differ, the one before it shown too.
fn first_changed(before: &Explanation, after: &Explanation) -> usize {
    let same = |(a, b): &(&Row, &Row)| {
        a.message_id == b.message_id && a.turns.len() == b.turns.len() && a.skipped == b.skipped && a.finish == b.finish
    };
    before.rows.iter().zip(&after.rows).take_while(same).count().saturating_sub(1)
}

/// The rows from `from` on with the turns that they give, one block a line.
fn rows(out: &Output, e: &Explanation, from: usize, now: i64, zone: &TimeZone) -> String {
    let mut text = String::new();
    let mut number = 0;
    if from > 0 {
        let turns: usize = e.rows[..from].iter().map(|r| r.turns.len()).sum();
        let hidden =
            format!("  … {} with {} before", plural(from as u64, "row", "rows"), plural(turns as u64, "turn", "turns"));
        let hidden = format!("{hidden}{}", if out.verbose { "" } else { ": -v shows all" });
        text.push_str(&format!("{}\n", out.dim(&out.wrap(&hidden, "    "))));
    }
    for (at, row) in e.rows.iter().enumerate() {
        if at < from {
            number += row.turns.len();
            continue;
        }
        let mut what = vec![name(row).to_owned(), moment(row.time_ms, now, zone)];
        if let Some(finish) = &row.finish {
            what.push(format!("finish \"{}\"", fit(finish, 20)));
        }
        let line = format!("  {}  {}", clean(&row.message_id), what.join(", "));
        text.push_str(&format!("{}\n", out.dim(&out.wrap(&line, "      "))));
        if let Some(why) = row.skipped {
            let line = format!("    - not sent: {}", because(why, row));
            text.push_str(&format!("{}\n", out.dim(&out.wrap(&line, "      "))));
        }
        for turn in &row.turns {
            number += 1;
            text.push_str(&turn_text(out, turn, number));
        }
    }
    text
}

/// Columns of a block's line with its part's id: marker, number, role, kind, size, id.
const WHOLE_BLOCK: u16 = 80;

fn turn_text(out: &Output, turn: &Turn, number: usize) -> String {
    let role = match turn.role {
        TurnRole::User => "user",
        TurnRole::Assistant => "assistant",
        TurnRole::Tool => "tool",
    };
    let mut text = String::new();
    let marker = if turn.offending { ">" } else { " " };
    let mut head = format!("{marker} {number:>4} {role:<9}");
    if turn.blocks.is_empty() {
        text.push_str(&format!("{head} nothing\n"));
    }
    // In a narrow terminal the part's id, which stands whole, has a line of its own.
    let narrow = out.width < WHOLE_BLOCK;
    let kind_width = if narrow { usize::from(out.width).saturating_sub(26).min(22) } else { 22 };
    for piece in &turn.blocks {
        let id = piece.part_id.as_deref().map(clean).unwrap_or_default();
        let bytes = if piece.part_id.is_some() { size(piece.bytes) } else { String::new() };
        let kind = fit(&block(piece), kind_width);
        let id = if narrow && !id.is_empty() { format!("\n       {id}") } else { format!("  {id}") };
        let line = format!("{head} {kind:<kind_width$} {bytes:>8}{id}");
        let line = match piece.refused {
            Some(code) => format!("{}  < refused: {code}", line.trim_end()),
            None => line.trim_end().to_owned(),
        };
        text.push_str(&if turn.offending || piece.refused.is_some() { out.paint("31;1", &line) } else { line });
        text.push('\n');
        if let Some(words) = &piece.text {
            text.push_str(&quoted(out, words));
        }
        head = " ".repeat(head.chars().count());
    }
    if turn.offending {
        let line = out.wrap("       ^ the request ends with this turn, which is the assistant's", "         ");
        text.push_str(&format!("{}\n", out.paint("31;1", &line)));
    }
    text
}

/// A text as it is sent, line by line, cleaned.
fn quoted(out: &Output, words: &str) -> String {
    let shown: String = if out.verbose { words.to_owned() } else { words.chars().take(SHORT_TEXT).collect() };
    let mut text: String = shown.lines().map(|line| format!("       | {}\n", clean(line).trim_end())).collect();
    let more = words.chars().count() - shown.chars().count();
    if more > 0 {
        let more = plural(more as u64, "more character", "more characters");
        text.push_str(&format!("       {}\n", out.dim(&format!("… {more}: -v shows all"))));
    }
    text
}
