//! `stale-item-id`
//!
//! What the user sees: "Item with id 'rs_…' not found. Items are not persisted when `store` is set to false", at every prompt
//! from then on (opencode issues 7724, 8288, 8746, 8987).
//!
//! Why: with `store: true` an item is sent by the name that the service gave it. It keeps items for a time, for one account,
//! and not at all where it does not store.
//!
//! Rows before: `user` · `assistant (step-start, text with openai.itemId "msg_1", finish "stop")`
//! Rows after:  `user` · `assistant (step-start, text, finish "stop")`
//! Refused: Item with id 'msg_1' not found. Items are not persisted when `store` is set to false.
//! Through: `openai`, configured with `store: true`
//! Asked: `--include reasoning`
//!
//! Texts are then sent themselves; reasoning that is not encrypted is not sent any more.
//!
//! Source: the issues; what is sent was measured on 1.14.48 and 1.18.34. Only a stored refusal proves it.

use super::{Asked, Broken, RequestRule};
use crate::diagnosis::Code;
use crate::history::{MetaKind, RefusalClass};

pub(super) const RULE: RequestRule = RequestRule { code: Code::StaleItemId, classes: &[RefusalClass::ItemIds], broken };

/// All names that the refused request sent: where one is not known any more, those before it are not either.
fn broken(asked: &Asked<'_, '_>) -> Vec<Broken> {
    let Some((refused, _)) = asked.refusal.filter(|(_, r)| r.class == RefusalClass::ItemIds) else {
        return Vec::new();
    };
    let mut out: Vec<Broken> = Vec::new();
    for at in asked.places() {
        let sent = (at.row.row.time_created, at.row.id()) < (refused.row.time_created, refused.id());
        let named = at.block.carries.iter().any(|carried| carried.kind == MetaKind::ItemId);
        if sent && named && !out.iter().any(|b| b.part_id.as_deref() == at.block.part_id()) {
            let detail = "sent by a name that the service does not know any more".to_owned();
            out.push(super::broken(Code::StaleItemId, at, detail));
        }
    }
    out
}
