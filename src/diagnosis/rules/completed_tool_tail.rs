//! `completed-tool-tail`
//!
//! What the user sees: a stream broke while a tool ran, opencode tried again by itself and finished; from
//! then on every retry is refused, by the newest opencode too.
//!
//! Why: as with an orphan, the call and the text after it are in one row. A call that came to an end keeps
//! the loop going under every rule set since 1.14.
//!
//! Rows before: `user` · `assistant (step-start, tool completed, step-start, text, finish "stop")`
//! Rows after:  `user` · `assistant (step-start, tool completed, finish "tool-calls")` ·
//!              `assistant (step-start, text, finish "stop")`
//! Asked: `--opencode any`
//!
//! Source: measured on 1.14.34 to 1.18.33 (docs/opencode.md §7).

use super::Match;
use crate::diagnosis::tail::Tail;
use crate::history::Message;

pub(in crate::diagnosis) fn found(row: &Message, _: &Tail<'_>) -> Option<Match> {
    if !Tail::tool_counts(row) {
        return None;
    }
    let (part, call) = row.tools().filter(|(_, t)| !t.provider_executed && !t.orphan()).last()?;
    Some(Match::part(part, format!("the {} call and later text are in the same row", call.tool)))
}
