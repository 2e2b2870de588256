//! `empty-message`
//!
//! What the user sees: "messages.1: all messages must have non-empty content", at every prompt from then on.
//!
//! Why: opencode was killed while the model was still thinking. The answer holds thinking without a signature, which
//! opencode sends on and `@ai-sdk/anthropic` leaves out: what is left is a message without content. Through
//! `@ai-sdk/google-vertex/anthropic` an answer that was stopped before its first word is such a message as well.
//!
//! Rows before: `user` · `assistant (step-start, reasoning, no finish)` · `user`
//! Rows after:  `user` · `assistant (step-start, reasoning, MessageAbortedError)` · `user`
//! Asked: `--include blank-text`
//!
//! Kimi, MiniMax and Copilot refuse the same of an answer with neither word nor call ("the message at position 5 with role
//! 'assistant' must not be empty", opencode issues 39451, 37887, 6056): there only a stored refusal proves it, and an empty
//! text is taken out.
//!
//! Source: measured on 1.14.48 and 1.18.34 (`dead-thinking` of the end-to-end suite).

use super::{Asked, Broken, Place, RequestRule, left_out};
use crate::diagnosis::Code;
use crate::history::RefusalClass;
use crate::replay::{Block, BlockKind};

pub(super) const RULE: RequestRule =
    RequestRule { code: Code::EmptyMessage, classes: &[RefusalClass::EmptyContent], broken };

/// Answers of chat completions with neither a word nor a call: `content: ""`. An empty text goes first: beside it, thinking
/// may stay.
fn without_words(asked: &Asked<'_, '_>) -> Vec<Broken> {
    let mut out = Vec::new();
    for turn in asked.request.turns.iter().filter(|turn| turn.is_assistant()) {
        let says =
            |kind: BlockKind| !kind.is_empty() && !matches!(kind, BlockKind::Thinking | BlockKind::ReasoningDetail);
        if turn.blocks.iter().any(|block| says(block.kind)) {
            continue;
        }
        let of = |kind| turn.blocks.iter().chain(&turn.left_out).filter(move |b: &&Block<'_>| b.kind == kind);
        let texts: Vec<_> = of(BlockKind::EmptyText).collect();
        let thinking = of(BlockKind::Thinking).chain(of(BlockKind::EmptyThinking));
        let blocks = if texts.is_empty() { thinking.collect() } else { texts };
        for block in blocks {
            let detail = "an answer without a word, which is sent with empty content".to_owned();
            out.push(super::broken(Code::EmptyMessage, Place { row: turn.row, block }, detail));
        }
    }
    out
}

fn broken(asked: &Asked<'_, '_>) -> Vec<Broken> {
    let refused = asked.refused(RefusalClass::EmptyContent).is_some();
    if refused && asked.sdk.chats() {
        return without_words(asked);
    }
    if !asked.claude() && !refused {
        return Vec::new();
    }
    let mut out = Vec::new();
    for turns in asked.request.messages().filter(|turns| turns[0].is_assistant()) {
        if turns.iter().any(|turn| !turn.blocks.is_empty()) {
            continue;
        }
        for at in left_out(turns) {
            let what = match at.block.kind {
                BlockKind::Thinking => "unsigned thinking",
                BlockKind::EmptyText => "an empty text",
                _ => continue,
            };
            let detail = format!("{what}, which the package leaves out, and nothing else is in the message");
            out.push(asked.rule(Code::EmptyMessage, at, detail));
        }
    }
    out
}
