//! `provider-call`
//!
//! What the user sees: "messages.1: all messages must have non-empty content", or "tool_calls must be followed by tool
//! messages", at every prompt from then on.
//!
//! Why: a call that one provider ran itself is sent to another. `@ai-sdk/anthropic` leaves out a call of a tool that
//! Anthropic's own servers do not have, and where nothing else is in the message, that is sent without content;
//! `@ai-sdk/openai-compatible` sends the call without its result.
//!
//! Rows before: `assistant (step-start, tool with metadata.providerExecuted)`
//! Rows after:  `assistant (step-start, tool)`: an ordinary call with its result
//!
//! Source: measured on 1.14.48 and 1.18.34.

use super::{Asked, Broken, RequestRule, left_out, places};
use crate::diagnosis::Code;
use crate::history::RefusalClass;
use crate::replay::BlockKind;

pub(super) const RULE: RequestRule =
    RequestRule { code: Code::ProviderCall, classes: &[RefusalClass::EmptyContent, RefusalClass::CallPairs], broken };

fn broken(asked: &Asked<'_, '_>) -> Vec<Broken> {
    let refused = asked.refused(RefusalClass::CallPairs).or(asked.refused(RefusalClass::EmptyContent)).is_some();
    if !asked.claude() && !refused {
        return Vec::new();
    }
    let mut out = Vec::new();
    let pairs = asked.sdk.package == "@ai-sdk/openai-compatible";
    for turns in asked.request.messages().filter(|turns| turns[0].is_assistant()) {
        if !pairs && turns.iter().any(|turn| !turn.blocks.is_empty()) {
            continue;
        }
        let calls: Vec<_> = if pairs { places(turns).collect() } else { left_out(turns).collect() };
        for at in calls.into_iter().filter(|at| at.block.kind == BlockKind::ProviderToolCall) {
            let Some(call) = at.block.call() else { continue };
            let what = if pairs {
                "is sent without its result"
            } else {
                "is left out by the package, and nothing else is in the message"
            };
            out.push(asked.rule(Code::ProviderCall, at, format!("the {} call {what}", call.tool)));
        }
    }
    out
}
