//! What a session of opencode 2 sends with a new prompt, turn by turn.

use schemars::JsonSchema;
use serde::Serialize;

use crate::opencode2::generation::Generation;
use crate::opencode2::predict::{self, Outcome, Session, Target, Way};
use crate::opencode2::wire::{Block, Role};

/// A turn of the request that a new prompt makes.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct NewerTurn {
    /// Whose it is.
    pub role: Role,
    /// What it holds, in order.
    pub blocks: Vec<NewerBlock>,
}

/// A block of a turn.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct NewerBlock {
    /// What it is.
    pub kind: &'static str,
    /// The row of `session_message`; null for what is not stored.
    pub message_id: Option<String>,
    /// The place in the row's `content`.
    pub part: Option<usize>,
    /// Size of its text in bytes.
    pub bytes: usize,
    /// Its text, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// The turns of the request that a program makes for a new prompt, which itself is left out; none where it makes no request.
#[must_use]
pub fn turns(own: &Generation, session: &Session<'_>, target: Target, text: bool) -> Vec<NewerTurn> {
    let Outcome::Sends(turns) = predict::predict(own, session, target, Way::Prompt) else { return Vec::new() };
    let turns = turns.iter().map(|turn| NewerTurn {
        role: turn.role,
        blocks: turn.blocks.iter().filter(|block| !block.row.is_empty()).map(|block| shown(block, text)).collect(),
    });
    turns.filter(|turn| !turn.blocks.is_empty()).collect()
}

fn shown(block: &Block<'_>, text: bool) -> NewerBlock {
    let words = block.kind.words();
    NewerBlock {
        kind: block.kind.name(),
        message_id: Some(block.row.to_owned()),
        part: block.part,
        bytes: words.as_ref().map_or(0, |words| words.len()),
        text: words.filter(|_| text).map(std::borrow::Cow::into_owned),
    }
}
