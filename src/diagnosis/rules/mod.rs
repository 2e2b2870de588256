//! One file per rule about a stuck tail. A rule looks at one row of the tail and says what is wrong with it;
//! the first rule that matches a row names it.

mod aborted_text_tail;
mod completed_tool_tail;
mod empty_answer_tail;
mod empty_prompt_tail;
mod failed_prefill_tail;
mod orphan_tail;
mod unfinished_text_tail;

use super::code::Code;
use super::tail::Tail;
use crate::history::Message;

/// A rule about one row of a stuck tail.
#[derive(Debug)]
pub struct Rule {
    /// What it finds.
    pub code: Code,
    /// `Some` with the part that shows it, if any, and what is wrong, when the row is such a case.
    pub matches: fn(&Message, &Tail<'_>) -> Option<Match>,
}

/// What a rule saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// The part that shows it.
    pub part_id: Option<String>,
    /// What is wrong, without any of the session's content.
    pub detail: String,
}

impl Match {
    fn row(detail: impl Into<String>) -> Option<Self> {
        Some(Self { part_id: None, detail: detail.into() })
    }
}

/// All rules, in the order in which they are asked.
pub const RULES: [Rule; 7] = [
    failed_prefill_tail::RULE,
    empty_prompt_tail::RULE,
    empty_answer_tail::RULE,
    orphan_tail::RULE,
    completed_tool_tail::RULE,
    aborted_text_tail::RULE,
    unfinished_text_tail::RULE,
];

/// The first rule that the row matches, with what it saw.
#[must_use]
pub fn first_match(row: &Message, tail: &Tail<'_>) -> Option<(Code, Match)> {
    RULES.iter().find_map(|rule| (rule.matches)(row, tail).map(|m| (rule.code, m)))
}
