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

use super::Match;
use crate::diagnosis::tail::Tail;
use crate::history::Message;

pub(in crate::diagnosis) fn found(row: &Message, _: &Tail<'_>) -> Option<Match> {
    if row.assistant().is_some() && row.removable() { Some(Match::row("an answer without a word")) } else { None }
}
