//! `explain` of a session of opencode 2.

use crate::diagnosis::v2::{Forecast, Program, Sends};
use crate::diagnosis::{Applicability, Diagnosis, Status, names};
use crate::explain::NewerTurn;
use crate::opencode2::predict::Refused;
use crate::opencode2::wire::Role;
use crate::report::layout::fit;
use crate::report::words::size;
use crate::report::{Output, clean};

/// What is said of how opencode 2 is judged.
pub(super) const KNOWN: &str = "opencode 2: the preview was measured, released programs (2.0.26) were read";

/// Why the session stands as it does, sentence by sentence.
pub(super) fn story(d: &Diagnosis) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    out.extend(
        (d.status == Status::Dead).then(|| "Every prompt fails, because of what stands in its history:".to_owned()),
    );
    out.extend(d.findings.iter().map(|f| {
        let part = f.part_id.as_deref().map(|part| format!(" {}", clean(part))).unwrap_or_default();
        format!("- {}: {} ({}{part})", f.code, clean(&f.detail), clean(&f.message_id))
    }));
    for (key, Program { resume, prompt }) in &d.programs {
        let who = if *key == "2.0" { "Released programs" } else { "The preview" };
        out.push(format!("{who}: a new prompt {}; resumed by the service, it {}.", words(*prompt), words(*resume)));
    }
    out
}

fn words(forecast: Forecast) -> String {
    let sends = match forecast.sends {
        Sends::EndsWithUser => "sends a request that ends with the user",
        Sends::EndsWithAssistant => "sends a request that ends with the assistant",
        Sends::NoTurns => "sends a request without a turn",
        Sends::Compacts => "makes a compaction first",
        Sends::Unreadable => "sends nothing, for a row does not decode",
        Sends::LostRevert => "sends nothing, for the staged revert names a message that is gone",
        Sends::GivenUp => "is given up, for it was resumed ten times",
        Sends::Unsendable => "sends nothing, for the protocol cannot take what is to be sent",
    };
    let why = match forecast.refused {
        None => return sends.to_owned(),
        Some(Refused::Prefill) => "its last turn",
        Some(Refused::NoTurns) => "having no turn",
        Some(Refused::Unsigned) => "thinking without a signature",
        Some(Refused::Blank) => "a text without a word",
        Some(Refused::CallTwice) => "the id of a call that stands twice",
        Some(Refused::CallId) => "the id of a call",
        Some(Refused::EndsWithThinking) => "an answer that ends with thinking",
    };
    format!("{sends}, which Claude refuses for {why}")
}

/// The command that shows what a repair would change; `None` where it changes nothing.
pub(super) fn next(out: &Output, d: &Diagnosis) -> Option<String> {
    let mendable = d.findings.iter().filter(|f| f.applicability == Applicability::OptIn);
    let kinds = names(&mendable.filter_map(|f| f.code.include()).collect());
    let id = clean(&d.info.id);
    let command = || out.command(&format!("repair --dry-run --include {kinds} {id} --format v2"));
    (!kinds.is_empty()).then(|| format!("\nNext: {}\n", command()))
}

/// The turns, a line each, with their blocks below.
pub(super) fn turns(out: &Output, turns: &[NewerTurn]) -> String {
    let mut text = String::new();
    for (number, turn) in (1..).zip(turns) {
        let role = match turn.role {
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
            Role::Item => "item",
        };
        text.push_str(&format!("  {number:>3}  {role}\n"));
        for block in &turn.blocks {
            let row = block.message_id.as_deref().map(clean).unwrap_or_default();
            let part = block.part.map(|part| format!(" content[{part}]")).unwrap_or_default();
            let words = block.text.as_deref().map(|text| format!("  {}", fit(text, 60))).unwrap_or_default();
            let bytes = if block.bytes > 0 { format!(", {}", size(block.bytes as u64)) } else { String::new() };
            text.push_str(&(out.wrap(&format!("       {}{bytes}  {row}{part}{words}\n", block.kind), "         ")));
        }
    }
    text
}
