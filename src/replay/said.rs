//! What opencode hands to the AI SDK: the rows of a history as messages (docs/opencode.md §5.2 to §5.6).
//!
//! Every row gives its messages by itself. What the SDK's core and opencode's `ProviderTransform` then leave out stands
//! in `transform.rs`, what the package does with the rest in `packages/`.
//!
//! - The last user row in replay order gets one more text part, the *reminder*, in memory only (read in 1.3.0 to
//!   1.18.33), if the prompt's agent is `plan`, or if it is `build` and any assistant row of the filtered history has
//!   the agent `plan`. The experimental plan mode stores it (read in 1.14.34 and 1.18.33). Then rows without parts are
//!   skipped; a reminder is a part.
//! - User rows give their text parts that are not `ignored` (from 1.14.48 on also not empty), files other than
//!   `text/plain` and directories, "What did we do so far?" for a compaction, "The following tool was executed by the
//!   user" for a subtask. A row that gives nothing is dropped.
//! - Assistant rows with an error are skipped, except a `MessageAbortedError` with a part that is neither `step-start`
//!   nor `reasoning`.
//! - Assistant parts, in order: `text` (from 1.14.48 on an empty text in a row with signed reasoning becomes one
//!   space); `step-start`; `tool` (completed gives a result; error an error result, but a plain one for an orphan with
//!   a string in `metadata.output`, from 1.14 on; pending and running the error result "[Tool execution was
//!   interrupted]"); `reasoning` (from 1.14 on another model's is sent as plain text unless blank).
//! - The result of a tool that the provider executed stays inside the assistant's message, in the AI SDK's conversion
//!   too: no tool message follows. Up to 1.3 opencode refuses such a history before it sends anything.
//! - Rows with nothing but `step-start` are dropped. Every other assistant row is cut at each `step-start`; a block's
//!   tool results form a tool message right behind it.

use super::package::{Ask, Said};
use super::turn::{Block, BlockKind, TurnRole, Why};
use crate::history::{Assistant, Message, Part, PartKind, Text, ToolCall, ToolState};
use crate::history::{MetaKind, metadata};

fn text_kind(text: Text) -> BlockKind {
    if text.empty {
        BlockKind::EmptyText
    } else if text.blank {
        BlockKind::BlankText
    } else {
        BlockKind::Text
    }
}

/// The messages that the row gives; why it gives none otherwise. `reminded`: a reminder of its mode is added to it.
pub(super) fn said<'a>(ask: &Ask<'_>, message: &'a Message, reminded: bool) -> Result<Vec<Said<'a>>, Why> {
    if message.parts.is_empty() && !reminded {
        return Err(Why::NoParts);
    }
    match message.assistant() {
        None => user(ask, message, reminded),
        Some(a) => assistant(ask, message, a),
    }
}

fn user<'a>(ask: &Ask<'_>, message: &'a Message, reminded: bool) -> Result<Vec<Said<'a>>, Why> {
    let mut out = Said::new(TurnRole::User, message, false);
    for part in &message.parts {
        match &part.kind {
            PartKind::Text { text, ignored: false, .. } if !(text.empty && ask.modern()) => {
                out.blocks.push(Block::of(text_kind(*text), part));
            }
            PartKind::File(media) if media.mime != "text/plain" && media.mime != "application/x-directory" => {
                out.blocks.push(Block::of(BlockKind::File, part));
            }
            PartKind::Compaction { .. } => {
                out.blocks.push(Block { part: Some(part), ..Block::added(BlockKind::CompactionPrompt) });
            }
            PartKind::Subtask => out.blocks.push(Block { part: Some(part), ..Block::added(BlockKind::SubtaskPrompt) }),
            _ => {}
        }
    }
    if reminded {
        out.blocks.push(Block::added(BlockKind::Reminder));
    }
    if out.blocks.is_empty() { Err(Why::NothingSent) } else { Ok(vec![out]) }
}

/// Whether a row with an error is passed over: all but an abort that has left more than thinking.
fn passed_over(message: &Message, a: &Assistant) -> bool {
    let says_something = |p: &Part| !matches!(p.kind, PartKind::StepStart | PartKind::Reasoning { .. });
    a.error.as_ref().is_some_and(|e| !(e.aborted() && message.parts.iter().any(says_something)))
}

fn assistant<'a>(ask: &Ask<'_>, message: &'a Message, a: &Assistant) -> Result<Vec<Said<'a>>, Why> {
    if passed_over(message, a) {
        return Err(Why::Error);
    }
    let foreign = ask.model.is_some_and(|m| *m != *a.model);
    let signed = |p: &Part| match &p.kind {
        PartKind::Reasoning { metadata, .. } => metadata::find(metadata, &["anthropic"], MetaKind::Signature).is_some(),
        _ => false,
    };
    let signed = ask.modern() && message.parts.iter().any(signed);
    let mut out = Vec::new();
    let mut media = Said::new(TurnRole::User, message, foreign);
    let (mut step, mut results) =
        (Said::new(TurnRole::Assistant, message, foreign), Said::new(TurnRole::Tool, message, foreign));
    for part in &message.parts {
        match &part.kind {
            PartKind::StepStart => close(&mut step, &mut results, &mut out),
            PartKind::Text { text, .. } => {
                let kind = if text.empty && signed { BlockKind::StandIn } else { text_kind(*text) };
                step.blocks.push(Block::of(kind, part));
            }
            // Another model's thinking is sent as text.
            PartKind::Reasoning { text, .. } if foreign && ask.modern() && text.blank => {}
            PartKind::Reasoning { .. } if foreign && ask.modern() => step.blocks.push(Block::of(BlockKind::Text, part)),
            PartKind::Reasoning { .. } => step.blocks.push(Block::of(BlockKind::Thinking, part)),
            PartKind::Tool(call) => {
                tool(ask, part, call, &mut step, &mut results);
                let files = call.attachments().iter().enumerate();
                let apart = files.filter(|(_, m)| m.is_media() && !ask.takes_media(&m.mime));
                let apart = apart.map(|(at, m)| Block {
                    piece: Some(at),
                    digest: m.digest,
                    ..Block::of(BlockKind::File, part)
                });
                media.blocks.extend(apart);
            }
            _ => {}
        }
    }
    close(&mut step, &mut results, &mut out);
    if out.is_empty() {
        return Err(Why::NothingSent);
    }
    if !media.blocks.is_empty() {
        media.blocks.insert(0, Block::added(BlockKind::MediaIntroduction));
        out.push(media);
    }
    Ok(out)
}

fn tool<'a>(ask: &Ask<'_>, part: &'a Part, call: &ToolCall, step: &mut Said<'a>, results: &mut Said<'a>) {
    if call.provider_executed && ask.modern() {
        // Its result stays in the assistant's message, also in the AI SDK's conversion.
        step.blocks.push(Block::of(BlockKind::ProviderToolCall, part));
        step.blocks.push(Block::of(BlockKind::ProviderToolResult, part));
        return;
    }
    step.blocks.push(Block::of(BlockKind::ToolCall, part));
    let result = match call.state {
        ToolState::Completed { .. } => BlockKind::ToolResult,
        ToolState::Error { has_output: true, .. } if ask.modern() => BlockKind::ToolResult,
        ToolState::Error { never_ended: true, .. } => BlockKind::ToolInterrupted,
        ToolState::Error { .. } => BlockKind::ToolError,
        ToolState::Running | ToolState::Pending => BlockKind::ToolInterrupted,
    };
    results.blocks.push(Block::of(result, part));
    // Files stand inside the result where the provider takes them there, behind the output if there is one.
    let silent = matches!(call.state, ToolState::Completed { output: crate::history::Output::Silent, .. });
    let within = call.attachments().iter().enumerate();
    let within = within.filter(|(_, m)| m.inline && (!m.is_media() || ask.takes_media(&m.mime)));
    for (place, (at, media)) in within.enumerate() {
        let inner = Some(place + usize::from(!silent));
        let block = Block { piece: Some(at), inner, digest: media.digest, ..Block::of(BlockKind::File, part) };
        results.blocks.push(block);
    }
}

/// Ends a block of the row: what was said becomes an assistant's message, results a tool's message behind it.
fn close<'a>(step: &mut Said<'a>, results: &mut Said<'a>, out: &mut Vec<Said<'a>>) {
    for message in [step, results] {
        if !message.blocks.is_empty() {
            let empty = Said::new(message.role, message.row, message.foreign);
            out.push(std::mem::replace(message, empty));
        }
    }
}
