//! `call-without-reasoning`
//!
//! What the user sees: "thinking is enabled but reasoning_content is missing in assistant tool call message at index 12", at
//! every prompt from then on.
//!
//! Why: Kimi and DeepSeek want the thinking back that led to each call. A call of another model, or one that came without
//! thinking, has none.
//!
//! Nothing is proposed: what is missing was never there, and a repair makes nothing up. The same model with thinking
//! switched off takes the history.
//!
//! Source: the refusal; what is sent was measured on 1.14.48 and 1.18.34.

use super::{Asked, Broken, Place, RequestRule};
use crate::diagnosis::Code;
use crate::history::RefusalClass;
use crate::replay::BlockKind;

pub(super) const RULE: RequestRule =
    RequestRule { code: Code::CallWithoutReasoning, classes: &[RefusalClass::MissingReasoning], broken };

const OFF: &str = "the model takes it with thinking switched off";

fn broken(asked: &Asked<'_, '_>) -> Vec<Broken> {
    if asked.refused(RefusalClass::MissingReasoning).is_none() {
        return Vec::new();
    }
    let mut out = Vec::new();
    for turn in asked.request.turns.iter().filter(|turn| turn.is_assistant()) {
        if turn.blocks.iter().any(|b| b.kind == BlockKind::Thinking) {
            continue;
        }
        for block in turn.blocks.iter().filter(|b| b.kind == BlockKind::ToolCall) {
            let detail = "a call without the thinking that led to it".to_owned();
            let found = super::broken(Code::CallWithoutReasoning, Place { row: turn.row, block }, detail);
            out.push(Broken { doubt: Some(OFF), ..found });
        }
    }
    out
}
