//! `unfinished-text-tail`
//!
//! What the user sees: opencode was killed, or failed, while an answer streamed; a retry is refused.
//!
//! Why: the newest answer has no finish (or one that means "go on"), holds another error, or is stored as the
//! answer to another prompt. The loop goes on, and the request ends with an assistant turn.
//!
//! Rows before: `user` · `assistant (text, no finish)`
//! Rows after:  `user` · `assistant (text, finish "stop")`
//!
//! Source: stores changed at random and judged by 1.14.48 and 1.18.33 (docs/opencode.md §8).

use super::Match;
use crate::diagnosis::tail::Tail;
use crate::history::Message;

pub(in crate::diagnosis) fn found(row: &Message, tail: &Tail<'_>) -> Option<Match> {
    let a = row.assistant()?;
    if tail.settled(row) {
        return None;
    }
    Some(Match::row(match (&a.error, a.finish.as_deref()) {
        (Some(error), None) => format!("failed with {}, without finish", name(&error.name)),
        (_, None) => "text without finish".to_owned(),
        (_, Some("tool-calls" | "unknown")) => "finish says that the loop goes on".to_owned(),
        _ => "the newest prompt is not the one that it answers".to_owned(),
    }))
}

/// An error's name, if it is one that opencode writes: a name is not content, but a store can hold anything.
fn name(name: &str) -> &str {
    if !name.is_empty() && name.len() < 40 && name.bytes().all(|b| b.is_ascii_alphanumeric()) {
        name
    } else {
        "an error"
    }
}
