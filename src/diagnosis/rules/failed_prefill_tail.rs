//! `failed-prefill-tail`
//!
//! What the user sees: every retry answers "This model does not support assistant message prefill".
//!
//! Why: the refused request is stored as an assistant row without parts and without finish. The run loop
//! takes it for the newest answer, finds it unfinished, and sends the same history again.
//!
//! Rows before: `user` · `assistant (text, finish "stop")` · `assistant (error 400, no parts)`
//! Rows after:  `user` · `assistant (text, finish "stop")`
//!
//! Source: measured on 1.3.0, 1.14.34, 1.15.3, 1.17.11 and 1.18.33 (docs/opencode.md §7).

use super::Match;
use crate::diagnosis::tail::Tail;
use crate::history::Message;

pub(in crate::diagnosis) fn found(row: &Message, _: &Tail<'_>) -> Option<Match> {
    if row.prefill_400() && row.removable() {
        Some(Match::row("a refused request, stored without parts and without finish"))
    } else {
        None
    }
}
