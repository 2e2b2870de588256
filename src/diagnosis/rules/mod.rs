//! One file per rule about a row: `found` says what is wrong with it. Files that end with `_tail` look at a row of a stuck
//! tail, the others at a row of any session of opencode 1. Of the rules about a tail, the first in the table of problems
//! (`diagnosis/code.rs`) that matches a row names it.

pub(super) mod aborted_text_tail;
pub(super) mod completed_tool_tail;
pub(super) mod empty_answer_tail;
pub(super) mod empty_prompt_tail;
pub(super) mod failed_prefill_tail;
pub(super) mod leaked_tool_call_text;
pub(super) mod orphan_tail;
pub(super) mod unfinished_text_tail;
pub(super) mod unsettled_tool;

use crate::history::Part;

/// What a rule saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// The part that shows it.
    pub part_id: Option<String>,
    /// What is wrong, without any of the session's content.
    pub detail: String,
}

impl Match {
    fn row(detail: impl Into<String>) -> Self {
        Self { part_id: None, detail: detail.into() }
    }

    fn part(part: &Part, detail: impl Into<String>) -> Self {
        Self { part_id: Some(part.id().to_owned()), detail: detail.into() }
    }
}
