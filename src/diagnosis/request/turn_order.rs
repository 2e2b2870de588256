//! `split-call`
//!
//! What the user sees: "Please ensure that function call turn comes immediately after a user turn or after a function response
//! turn", at every prompt from then on (opencode issue 2241).
//!
//! Why: an answer begins again within its row, behind words: what stands before and behind the mark are two turns of the
//! model's in a row, and Gemini takes no call in the second.
//!
//! Rows before: `user` · `assistant (step-start, text, step-start, tool, finish "tool-calls")`
//! Rows after:  `user` · `assistant (step-start, text, tool, finish "tool-calls")`: one turn, no word less
//! Refused: Please ensure that function call turn comes immediately after a user turn or after a function response turn.
//! Through: `google`
//! Asked: `--include calls`
//!
//! Source: the issue; what is sent was measured on 1.14.48 and 1.18.34. Only a stored refusal proves it.

use super::{Asked, Broken, Place, RequestRule};
use crate::diagnosis::Code;
use crate::history::{PartKind, RefusalClass};
use crate::replay::{Block, BlockKind};

pub(super) const RULE: RequestRule = RequestRule { code: Code::SplitCall, classes: &[RefusalClass::TurnOrder], broken };

fn broken(asked: &Asked<'_, '_>) -> Vec<Broken> {
    if asked.refused(RefusalClass::TurnOrder).is_none() {
        return Vec::new();
    }
    let mut out = Vec::new();
    for pair in asked.request.turns.windows(2) {
        let [before, turn] = pair else { continue };
        let calls = turn.blocks.iter().any(|b| matches!(b.kind, BlockKind::ToolCall | BlockKind::ProviderToolCall));
        if !calls || !turn.is_assistant() || !before.is_assistant() || before.row.id() != turn.row.id() {
            continue;
        }
        let Some(first) = turn.blocks.iter().filter_map(Block::part_id).min() else { continue };
        let mut marks = turn.row.parts.iter().filter(|p| matches!(p.kind, PartKind::StepStart) && p.id() < first);
        if let Some(mark) = marks.next_back() {
            let block = Block { part: Some(mark), ..Block::added(BlockKind::ToolCall) };
            let detail =
                "the answer begins again here, so that its call follows another turn of the model's".to_owned();
            out.push(super::broken(Code::SplitCall, Place { row: turn.row, block: &block }, detail));
        }
    }
    out
}
