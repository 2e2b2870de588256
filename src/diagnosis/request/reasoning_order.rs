//! `reasoning-alone`
//!
//! What the user sees: "Item 'rs_…' of type 'reasoning' was provided without its required following item", at every prompt
//! from then on (opencode issue 2628).
//!
//! Why: OpenAI wants the item that it made after the reasoning. An answer that was cut off behind its reasoning, or whose
//! call is not sent, lacks it.
//!
//! Rows before: `user` · `assistant (step-start, reasoning with openai.reasoningEncryptedContent and openai.itemId "rs_1", finish "stop")`
//! Rows after:  `user` · `assistant (step-start, reasoning, finish "stop")`
//! Refused: Item 'rs_1' of type 'reasoning' was provided without its required following item.
//! Through: `openai`
//! Asked: `--include reasoning`
//!
//! Source: the issue; what is sent was measured on 1.14.48 and 1.18.34. Only a stored refusal proves it.

use super::{Asked, Broken, Place, RequestRule};
use crate::diagnosis::Code;
use crate::history::{MetaKind, RefusalClass};

pub(super) const RULE: RequestRule =
    RequestRule { code: Code::ReasoningAlone, classes: &[RefusalClass::ReasoningOrder], broken };

fn broken(asked: &Asked<'_, '_>) -> Vec<Broken> {
    let Some(refusal) = asked.refused(RefusalClass::ReasoningOrder) else { return Vec::new() };
    let mut out: Vec<Broken> = Vec::new();
    let turns = &asked.request.turns;
    for (at, turn) in turns.iter().enumerate() {
        let next = turns.get(at + 1);
        let alone = next.is_none_or(|next| !next.is_assistant() || next.row.id() != turn.row.id());
        for block in &turn.blocks {
            let Some(part) = block.part.filter(|part| part.is_reasoning() && !block.carries.is_empty()) else {
                continue;
            };
            let meant = refusal.named.map_or(alone, |named| super::encrypted_reasoning::is_named(part, named));
            // The parts of one item are one.
            let item = part.metadata().iter().find(|meta| meta.kind == MetaKind::ItemId).map(|meta| meta.digest);
            let same = |other: &&crate::history::Part| {
                let own =
                    other.metadata().iter().any(|meta| meta.kind == MetaKind::ItemId && Some(meta.digest) == item);
                other.id == part.id || other.is_reasoning() && own
            };
            for part in turn.row.parts.iter().filter(|_| meant).filter(same) {
                if !out.iter().any(|b| b.part_id.as_deref() == Some(part.id())) {
                    let block = crate::replay::Block { part: Some(part), ..block.clone() };
                    let detail = "reasoning, and the item that its provider made after it does not follow".to_owned();
                    out.push(super::broken(Code::ReasoningAlone, Place { row: turn.row, block: &block }, detail));
                }
            }
        }
    }
    out
}
