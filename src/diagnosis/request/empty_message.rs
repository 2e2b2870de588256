//! `empty-message`
//!
//! What the user sees: "messages.1: all messages must have non-empty content", at every prompt from then on.
//!
//! Why: opencode was killed while the model was still thinking. The answer holds thinking without a signature, which
//! opencode sends on and `@ai-sdk/anthropic` leaves out: what is left is a message without content.
//!
//! Rows before: `user` · `assistant (step-start, reasoning)` · `user`
//! Rows after:  `user` · `assistant (step-start, reasoning)` marked as aborted, which opencode passes over · `user`
//!
//! Source: measured on 1.14.48 and 1.18.34 (`dead-thinking` of the end-to-end suite).

use super::{Asked, Broken, RequestRule, left_out};
use crate::diagnosis::Code;
use crate::history::RefusalClass;
use crate::replay::BlockKind;

pub(super) const RULE: RequestRule =
    RequestRule { code: Code::EmptyMessage, classes: &[RefusalClass::EmptyContent], broken };

fn broken(asked: &Asked<'_, '_>) -> Vec<Broken> {
    if !asked.claude() {
        return Vec::new();
    }
    let mut out = Vec::new();
    for turns in asked.request.messages().filter(|turns| turns[0].is_assistant()) {
        if turns.iter().any(|turn| !turn.blocks.is_empty()) {
            continue;
        }
        for at in left_out(turns).filter(|at| at.block.kind == BlockKind::Thinking) {
            let detail = "unsigned thinking, which the package leaves out, and nothing else is in the message";
            out.push(asked.rule(Code::EmptyMessage, at, detail.to_owned()));
        }
    }
    out
}
