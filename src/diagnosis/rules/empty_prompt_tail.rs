//! `empty-prompt-tail`
//!
//! What the user sees: after an empty prompt (or a re-entry by a program) every retry is refused.
//!
//! Why: the prompt is stored as a user row without parts. Such a row is passed over in the replay, so the
//! request ends with the answer before it; and the loop goes on, for that answer is older than the prompt.
//!
//! Rows before: `user` · `assistant (text, finish "stop")` · `user (no parts)`
//! Rows after:  `user` · `assistant (text, finish "stop")`
//!
//! Source: measured on 1.3.0 to 1.18.33 (docs/opencode.md §7).

use super::Match;
use crate::diagnosis::tail::Tail;
use crate::history::Message;

pub(in crate::diagnosis) fn found(row: &Message, _: &Tail<'_>) -> Option<Match> {
    row.user()?;
    let what = if row.parts.is_empty() { "a prompt without parts" } else { "a prompt of which no part is sent" };
    Some(Match::row(what))
}
