//! `empty-answer-tail`
//!
//! What the user sees: an answer was stopped before its first word; with some providers every retry is refused.
//!
//! Why: the row holds `""` alone. The Anthropic package drops it, other packages send it as an empty
//! assistant turn, and the request ends with that.
//!
//! Rows before: `user` · `assistant (step-start, text "", no finish)`
//! Rows after:  `user`
//! Through: `openai-compatible`
//!
//! Source: measured through LiteLLM on 1.3.0, 1.14.48 and 1.18.33 (docs/opencode.md §7).

use super::{Match, Rule};
use crate::diagnosis::code::Code;

pub(super) const RULE: Rule = Rule {
    code: Code::EmptyAnswerTail,
    matches: |row, _| {
        if row.assistant().is_some() && row.removable() { Match::row("an answer without a word") } else { None }
    },
};
