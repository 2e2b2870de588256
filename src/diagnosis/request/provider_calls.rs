//! `provider-call`
//!
//! What the user sees: "messages.1: all messages must have non-empty content", or "tool_calls must be followed by tool
//! messages", at every prompt from then on.
//!
//! Why: a call that one provider ran itself is sent to another. `@ai-sdk/anthropic` leaves out a call of a tool that
//! Anthropic's own servers do not have, and where nothing else is in the message, that is sent without content;
//! `@ai-sdk/openai-compatible` sends the call without its result. `@ai-sdk/mistral` gives up over it before anything is
//! sent, and up to 1.3 opencode itself does.
//!
//! Rows before: `user` · `assistant (step-start, tool with providerExecuted "true", finish "stop")`
//! Rows after:  `user` · `assistant (step-start, tool, finish "stop")`: an ordinary call with its result
//! Asked: `--include calls`
//!
//! Source: measured on 1.14.48 and 1.18.34.

use std::collections::HashSet;

use super::{Asked, Broken, Place, RequestRule, left_out, places};
use crate::diagnosis::{Code, Evidence};
use crate::history::RefusalClass;
use crate::replay::{BlockKind, StopKind};

pub(super) const RULE: RequestRule =
    RequestRule { code: Code::ProviderCall, classes: &[RefusalClass::EmptyContent, RefusalClass::CallPairs], broken };

fn broken(asked: &Asked<'_, '_>) -> Vec<Broken> {
    let stops = asked.request.stops.iter().filter(|stop| stop.what == StopKind::ProviderCall);
    let stops: HashSet<&str> = stops.map(|stop| stop.part.id()).collect();
    if !stops.is_empty() {
        let stop = |at: &Place<'_, '_>| {
            matches!(at.block.kind, BlockKind::ProviderToolCall | BlockKind::ToolCall)
                && at.block.part_id().is_some_and(|id| stops.contains(id))
        };
        return asked.places().filter(stop).map(|at| gives_up(at)).collect();
    }
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

/// The package, or opencode itself, gives up over the call before anything is sent.
fn gives_up(at: Place<'_, '_>) -> Broken {
    let tool = at.block.call().map_or("", |call| &call.tool);
    let detail = format!("the {tool} call is more than the package can send: it gives up over it");
    Broken { evidence: Some(Evidence::Predicted), ..super::broken(Code::ProviderCall, at, detail) }
}
