//! `unsigned-call`
//!
//! What the user sees: "Function call is missing a thought_signature in functionCall parts", at every prompt from then on
//! (opencode issue 4832).
//!
//! Why: Gemini 3 wants the signature that it gave to the first call of each step. A call that came through a gateway without
//! one lacks it.
//!
//! Rows before: `user` · `assistant (step-start, tool, finish "tool-calls")`
//! Rows after:  `user` · `assistant (step-start, tool with google.thoughtSignature "skip_thought_signature_validator", finish "tool-calls")`
//! Refused: Function call is missing a thought_signature in functionCall parts.
//! Through: `google`
//! Asked: `--include calls`
//!
//! Source: the issue, and Google's page on thought signatures; what is sent was measured on 1.14.48 and 1.18.34. Calls of
//! another model are sent without any metadata: nothing stored helps there. Only a stored refusal proves it.

use super::{Asked, Broken, Place, RequestRule};
use crate::diagnosis::Code;
use crate::history::{MetaKind, RefusalClass};
use crate::replay::BlockKind;

pub(super) const RULE: RequestRule =
    RequestRule { code: Code::UnsignedCall, classes: &[RefusalClass::ThoughtSignature], broken };

fn broken(asked: &Asked<'_, '_>) -> Vec<Broken> {
    if asked.refused(RefusalClass::ThoughtSignature).is_none() {
        return Vec::new();
    }
    let mut out = Vec::new();
    for turn in asked.request.turns.iter().filter(|turn| turn.is_assistant()) {
        let Some(block) = turn.blocks.iter().find(|b| b.kind == BlockKind::ToolCall) else { continue };
        let own = turn.row.assistant().is_some_and(|a| *a.model == *asked.model);
        if own && !block.carries.iter().any(|carried| carried.kind == MetaKind::ThoughtSignature) {
            let detail = "the first call of a step, without the signature that Gemini wants".to_owned();
            out.push(super::broken(Code::UnsignedCall, Place { row: turn.row, block }, detail));
        }
    }
    out
}
