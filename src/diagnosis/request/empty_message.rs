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

use super::{Asked, Broken, RequestRule};
use crate::diagnosis::Code;
use crate::history::{Message, RefusalClass};
use crate::replay::BlockKind;

pub(super) const RULE: RequestRule =
    RequestRule { code: Code::EmptyMessage, classes: &[RefusalClass::EmptyContent], broken };

fn broken(asked: &Asked<'_, '_>) -> Vec<Broken> {
    if !asked.claude() {
        return Vec::new();
    }
    let empty = asked.wire.messages.iter().filter(|m| m.assistant && m.blocks.is_empty());
    let cut_off = |m: &Message| m.assistant().is_some_and(|a| a.finish.is_none());
    let thinking = empty.flat_map(|m| &m.dropped).filter(|b| b.kind == BlockKind::Thinking && cut_off(b.row));
    let detail = "unsigned thinking, which the package leaves out, and nothing else is in the message";
    thinking.map(|block| asked.rule(Code::EmptyMessage, block, None, detail.to_owned())).collect()
}
