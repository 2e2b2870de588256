//! `call-id`
//!
//! What the user sees: "messages.1.content.2: `tool_use` ids must be unique", or "tool_use.id: String should match
//! pattern", at every prompt from then on (opencode issues 1279, 1150), mostly after the model was changed to a Claude.
//!
//! Why: some models number their calls anew in every answer, or give them no id at all; their own providers take that.
//! opencode replaces the characters that Claude does not take (all but `A-Za-z0-9_-`, by `_`), but neither an empty id
//! nor one that comes twice.
//!
//! Rows before: `user` · `assistant (step-start, tool callID "call_0", finish "tool-calls")` ·
//!              `assistant (step-start, tool callID "call_0", finish "tool-calls")`
//! Rows after:  `user` · `assistant (step-start, tool callID "call_0", finish "tool-calls")` ·
//!              `assistant (step-start, tool callID "call_0_2", finish "tool-calls")`
//! Asked: `--include calls`
//!
//! Source: the issues; the replacement was read in 1.14.48 and 1.18.34, for models whose id holds "claude".

use std::collections::HashSet;

use super::{Asked, Broken, RequestRule};
use crate::diagnosis::Code;
use crate::history::RefusalClass;
use crate::history::ids;
use crate::replay::BlockKind;

pub(super) const RULE: RequestRule = RequestRule { code: Code::CallId, classes: &[RefusalClass::CallIds], broken };

/// The id as opencode sends it to a Claude.
pub(crate) fn sent(id: &str) -> String {
    ids::sent(id).map(char::from).collect()
}

fn broken(asked: &Asked<'_, '_>) -> Vec<Broken> {
    if !asked.claude() {
        return Vec::new();
    }
    let mut seen = HashSet::new();
    let mut out = Vec::new();
    for at in asked.places() {
        let Some(call) = at.block.call().filter(|_| at.block.kind == BlockKind::ToolCall) else { continue };
        let what = if call.call_id.is_empty() {
            "its id is empty"
        } else if !seen.insert(sent(&call.call_id)) {
            "an earlier call of the request has the same id"
        } else {
            continue;
        };
        let detail = format!("the {} call: {what}", call.tool);
        out.push(asked.rule(Code::CallId, at, detail));
    }
    out
}
