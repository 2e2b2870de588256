//! Sessions of opencode 2: how they stand, and what its programs do with them (docs/opencode.md §16).

use schemars::JsonSchema;
use serde::Serialize;
use strum::Display;

use super::request::is_claude;
use super::{Applicability, Code, Diagnosis, Doubts, Evidence, Finding, Format, Status, finding};
use crate::history::{ModelRef, SessionInfo, UnreadableRow};
use crate::opencode2::findings::{self, EventKind, Prefill};
use crate::opencode2::generation::{Generation, PREVIEW, RELEASED};
use crate::opencode2::predict::{self, Outcome, Refused, Session, Target, Way};
use crate::opencode2::wire::Api;

/// What re-entering or prompting a session sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema, Display)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Sends {
    /// A request that ends with the user's turn or a tool's result.
    EndsWithUser,
    /// A request that ends with the assistant's turn.
    EndsWithAssistant,
    /// A request without a turn.
    NoTurns,
    /// A compaction's request first.
    Compacts,
    /// Nothing: a row does not decode.
    Unreadable,
    /// Nothing: the staged revert names a row that is gone.
    LostRevert,
    /// Nothing: it was resumed too often.
    GivenUp,
    /// Nothing: the protocol cannot take what is to be sent.
    Unsendable,
}

/// What one program does with a session, once it is resumed and once it is prompted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Program {
    /// Resumed, which only the managed service does, and only with what was suspended.
    pub resume: Forecast,
    /// A new prompt.
    pub prompt: Forecast,
}

/// What is sent, and whether a service that keeps Claude's rules refuses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Forecast {
    /// What is sent.
    pub sends: Sends,
    /// The rule that it breaks.
    pub refused: Option<Refused>,
}

impl Forecast {
    const UNREADABLE: Self = Self { sends: Sends::Unreadable, refused: None };
}

/// A session of which rows cannot be read.
#[must_use]
pub fn unreadable(info: &SessionInfo, rows: &[UnreadableRow]) -> Diagnosis {
    let program = Program { resume: Forecast::UNREADABLE, prompt: Forecast::UNREADABLE };
    let found = rows.iter().map(|row| finding(Code::UnreadableRow, &row.id, None, row.detail.clone()));
    Diagnosis {
        status: Status::Unreadable,
        tail: Status::Unreadable,
        programs: [&RELEASED, &PREVIEW].map(|g| (g.key, program)).to_vec(),
        findings: found.collect(),
        ..blank(info)
    }
}

fn blank(info: &SessionInfo) -> Diagnosis {
    Diagnosis {
        format: Format::V2,
        programs: Vec::new(),
        info: info.clone(),
        status: Status::Healthy,
        tail: Status::Healthy,
        refused: false,
        evidence: None,
        doubts: Doubts::default(),
        model: None,
        orphans: Some(0),
        prefill_400s: Some(0),
        resume: Vec::new(),
        findings: Vec::new(),
        waits: false,
        import: Vec::new(),
    }
}

/// Judges a session of opencode 2 whose rows were all read, by the program that keeps it.
#[must_use]
pub fn diagnose(
    own: &Generation,
    session: &Session<'_>,
    info: &SessionInfo,
    model: Option<ModelRef>,
    target: Target,
) -> Diagnosis {
    let found = findings::all(own, session, target.api);
    let mut d = blank(info);
    // What was refused before the import was another program's request.
    let imported = info.version.starts_with("1.");
    d.findings = found.iter().map(|found| said(found, imported)).collect();
    let events = findings::events(own, session.messages);
    let count = |kind| Some(events.iter().filter(|event| event.kind == kind).count() as u64);
    (d.orphans, d.prefill_400s) = (count(EventKind::Orphan), count(EventKind::Prefill));
    let forecasts = [&RELEASED, &PREVIEW].map(|generation| {
        (generation, [Way::Resume, Way::Prompt].map(|way| forecast(generation, session, target, way)))
    });
    d.programs =
        forecasts.map(|(g, [resume, prompt])| (g.key, Program { resume: resume.0, prompt: prompt.0 })).to_vec();
    let [(_, [_, of_released]), (_, [_, of_preview])] = forecasts;
    let (prompt, row) = if own.key == PREVIEW.key { of_preview } else { of_released };
    add_refusal(&mut d.findings, prompt, row);
    let preview = d.programs[1].1.resume;
    let suspended = session.row.time_suspended.is_some();
    if suspended && own.key == PREVIEW.key && preview.refused == Some(Refused::Prefill) {
        let newest = session.messages.last().map_or("", |entry| entry.row.id);
        let detail = "the preview resumes it when its service starts, and the request ends with the assistant's turn, which Claude refuses. \
                      A new prompt gets past that, and released programs put a notice at the end";
        d.findings.push(finding(Code::PreviewTail, newest, None, detail));
    }
    let claude = target.api == Api::Anthropic && model.as_ref().is_some_and(|m| is_claude(&m.model));
    (d.status, d.evidence) = status(&found, prompt, claude, &d.findings);
    d.refused = d.status == Status::Dead;
    d.tail = if d.status == Status::Dead { Status::Healthy } else { d.status };
    d.model = model;
    d
}

/// Takes back what is sure only if the package is: that opencode cannot write the request.
pub fn doubt_package(own: &Generation, d: &mut Diagnosis) {
    let unsendable = |(key, program): &(&str, Program)| *key == own.key && program.prompt.sends == Sends::Unsendable;
    if d.evidence == Some(Evidence::Predicted) && d.programs.iter().any(unsendable) {
        (d.status, d.tail, d.refused) = (Status::AtRisk, Status::AtRisk, false);
        d.doubts.package = true;
    }
}

/// How the session stands: what stops every prompt comes first.
fn status(
    found: &[findings::Finding<'_>],
    prompt: Forecast,
    claude: bool,
    said: &[Finding],
) -> (Status, Option<Evidence>) {
    use findings::Code as C;
    let closes = |f: &findings::Finding<'_>| match f.code {
        C::UndecodableSession | C::UndecodableRow => true,
        C::UndecodablePrompt => f.blocks,
        _ => false,
    };
    if found.iter().any(closes) || prompt.sends == Sends::Unreadable {
        return (Status::Unreadable, None);
    }
    if found.iter().any(|f| matches!(f.code, C::RefusedState | C::RefusedSignature)) {
        return (Status::Dead, Some(Evidence::Evidenced));
    }
    match prompt {
        Forecast { sends: Sends::Unsendable | Sends::LostRevert, .. } => (Status::Dead, Some(Evidence::Predicted)),
        Forecast { refused: Some(_), .. } if claude => (Status::Dead, Some(Evidence::Predicted)),
        Forecast { refused: Some(_), .. } => (Status::AtRisk, Some(Evidence::Predicted)),
        _ if said.iter().any(|f| f.code == Code::PrefillRefusal) => (Status::Recovered, None),
        _ if !said.is_empty() => (Status::Latent, None),
        _ => (Status::Healthy, None),
    }
}

/// What a program sends, and the row that shows why it is refused.
fn forecast<'a>(generation: &Generation, session: &Session<'a>, target: Target, way: Way) -> (Forecast, &'a str) {
    let nothing = |sends| Forecast { sends, refused: None };
    match predict::predict(generation, session, target, way) {
        Outcome::Unreadable(row) => (Forecast::UNREADABLE, row.id),
        Outcome::LostRevert => (nothing(Sends::LostRevert), session.row.id),
        Outcome::GivenUp => (nothing(Sends::GivenUp), session.row.id),
        Outcome::Compacts => (nothing(Sends::Compacts), ""),
        Outcome::Fails(why) => (nothing(Sends::Unsendable), why.row),
        Outcome::Sends(turns) => {
            let refusal = predict::refused(generation, target.api, &turns);
            let sends = match turns.last() {
                None => Sends::NoTurns,
                Some(_) if predict::ends_with_assistant(&turns) => Sends::EndsWithAssistant,
                Some(_) => Sends::EndsWithUser,
            };
            let row = refusal.map_or("", |refusal| refusal.row);
            (Forecast { sends, refused: refusal.map(|refusal| refusal.why) }, row)
        }
    }
}

/// Names what a prompt is stopped by, where nothing else has named it.
fn add_refusal(findings: &mut Vec<Finding>, prompt: Forecast, row: &str) {
    let (code, detail) = match prompt {
        Forecast { sends: Sends::LostRevert, .. } => {
            (Code::LostRevert, "the staged revert names a message that is gone: every prompt fails")
        }
        Forecast { sends: Sends::Unsendable, .. } => {
            (Code::UnsendableFile, "the model's protocol cannot take what stands here: opencode sends nothing")
        }
        Forecast { refused: Some(Refused::Blank), .. } => {
            (Code::BlankText, "text without a word, which Claude refuses on every prompt")
        }
        Forecast { refused: Some(Refused::CallId | Refused::CallTwice), .. } => {
            (Code::CallId, "a tool call whose id is empty, spelled with other characters or used twice")
        }
        Forecast { refused: Some(Refused::EndsWithThinking), .. } => {
            (Code::ThinkingLast, "an answer that ends with thinking, which Claude refuses on every prompt")
        }
        _ => return,
    };
    let named = |f: &Finding| f.code == code || code == Code::UnsendableFile && f.code == Code::ProviderCall;
    if !findings.iter().any(named) {
        findings.push(report(code, row, None, detail));
    }
}

/// A finding for which nothing is done.
fn report(code: Code, row: &str, part: Option<usize>, detail: impl Into<String>) -> Finding {
    let place = part.map(|at| format!("content[{at}]"));
    Finding { applicability: Applicability::ReportOnly, ..finding(code, row, place.as_deref(), detail) }
}

/// The code that a finding is reported by.
#[must_use]
pub fn code_of(code: findings::Code) -> Code {
    use findings::Code as C;
    match code {
        C::UndecodableSession => Code::UndecodableSession,
        C::UndecodableRow => Code::UndecodableRow,
        C::UndecodablePrompt => Code::UndecodablePrompt,
        C::RefusedState => Code::RefusedState,
        C::RefusedSignature => Code::BadSignature,
        C::ProviderCall => Code::ProviderCall,
        C::CallIdTwice => Code::CallId,
        C::UnsignedThinking => Code::UnsignedThinking,
        C::PrefillRefusal => Code::PrefillRefusal,
    }
}

fn said(found: &findings::Finding<'_>, imported: bool) -> Finding {
    use findings::Code as C;
    let misfit = found.misfit.as_ref().map(ToString::to_string).unwrap_or_default();
    let detail = match found.code {
        C::UndecodableSession => format!("{misfit}; opencode 2 no longer lists the session and takes no prompt"),
        C::UndecodableRow if found.blocks => format!("{misfit}; the session can neither be opened nor prompted"),
        C::UndecodableRow => {
            format!("{misfit}; its messages cannot be listed, but prompts work, for a compaction came after it")
        }
        C::UndecodablePrompt if found.blocks => format!("{misfit}; no run gets past this waiting prompt"),
        C::UndecodablePrompt => format!("{misfit}; this waiting prompt is never delivered"),
        C::RefusedState | C::RefusedSignature => {
            "the stored refusal is about what the provider wants sent back with this part, and it is still sent".into()
        }
        C::ProviderCall => {
            "a call that a provider ran itself, which cannot be sent to this model: opencode sends nothing".into()
        }
        C::CallIdTwice => "the id of this tool call is that of an earlier one".into(),
        C::UnsignedThinking => {
            "thinking without a signature: the preview sends it as it is, released programs as text".into()
        }
        C::PrefillRefusal => {
            let why = match found.prefill {
                _ if imported => "refused before the import, or for a step limit; nothing of it is sent any more",
                Some(Prefill::StepLimit) => {
                    "the agent had no step left, and opencode put a turn of its own at the end, which is not stored"
                }
                _ => "the program resumed the session without a notice; released programs end with the user's turn",
            };
            format!("nothing to repair: {why}")
        }
    };
    let code = code_of(found.code);
    let applicability = if found.edit.is_some() { code.applicability() } else { Applicability::ReportOnly };
    Finding { applicability, ..report(code, found.row, found.part, detail) }
}
