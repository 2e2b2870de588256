//! `aborted-text-tail`
//!
//! What the user sees: an answer was aborted while its text streamed; a retry without a new message is refused.
//!
//! Why: the row has text and `MessageAbortedError`, but no finish. It is replayed, for it says something,
//! and the loop goes on, for it is not finished.
//!
//! Rows before: `user` · `assistant (text, MessageAbortedError, no finish)`
//! Rows after:  `user` · `assistant (text, MessageAbortedError, finish "stop")`
//!
//! Source: measured on 1.14.34 to 1.18.33 (docs/opencode.md §7).

use super::Match;
use crate::diagnosis::tail::Tail;
use crate::history::Message;

pub(in crate::diagnosis) fn found(row: &Message, tail: &Tail<'_>) -> Option<Match> {
    let a = row.assistant()?;
    if a.error.as_ref()?.aborted() && a.finish.is_none() && !tail.settled(row) {
        Some(Match::row("aborted while its text streamed, without finish"))
    } else {
        None
    }
}
