//! `thinking-last`
//!
//! What the user sees: "messages.1: The final block in an assistant message cannot be `thinking`", at every prompt from
//! then on.
//!
//! Why: opencode was killed, or the answer was aborted by something else, behind thinking that the provider vouches for.
//! It is sent, and nothing behind it is in the message.
//!
//! Rows before: `user` · `assistant (step-start, reasoning with anthropic.signature, no finish)` · `user`
//! Rows after:  `user` · `assistant (step-start, reasoning with anthropic.signature, MessageAbortedError)` · `user`
//! Asked: `--include signatures`
//!
//! Source: the refusal (docs/opencode.md §12); what is sent was measured on 1.14.48 and 1.18.34. That Bedrock says the same
//! of Claude is taken from its passing on what Anthropic's API says, and only said.

use super::{Asked, Broken, Place, RequestRule};
use crate::diagnosis::Code;
use crate::history::RefusalClass;
use crate::replay::BlockKind;

pub(super) const RULE: RequestRule =
    RequestRule { code: Code::ThinkingLast, classes: &[RefusalClass::ThinkingLast], broken };

fn broken(asked: &Asked<'_, '_>) -> Vec<Broken> {
    let speaks_claude = asked.sdk.is_anthropic() || asked.sdk.package == "@ai-sdk/amazon-bedrock";
    if !asked.claude() || !speaks_claude {
        return Vec::new();
    }
    let mut out = Vec::new();
    for turns in asked.request.messages().filter(|turns| turns[0].is_assistant()) {
        let last = turns.iter().rev().find_map(|turn| Some((turn, turn.blocks.last()?)));
        if let Some((turn, block)) = last.filter(|(_, block)| block.kind == BlockKind::Thinking) {
            let at = Place { row: turn.row, block };
            let detail = "signed thinking, and nothing behind it in its message";
            out.push(asked.rule(Code::ThinkingLast, at, detail.to_owned()));
        }
    }
    out
}
