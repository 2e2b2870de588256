//! `unsettled-tool`
//!
//! What the user sees: a tool call that spins for ever.
//!
//! Why: opencode was killed while the call ran, so its row was never brought to an end; or its process is still at work.
//!
//! Rows before: `user` · `assistant (step-start, tool running)` · `user` · `assistant (text, finish "stop")`
//! Rows after:  `user` · `assistant (step-start, tool error)` · `user` · `assistant (text, finish "stop")`
//! Asked: `--include unsettled`
//!
//! Source: every measured version (docs/opencode.md §7).

use super::Match;
use crate::history::Message;

pub(in crate::diagnosis) fn found(row: &Message) -> Vec<Match> {
    let calls = row.open_calls().filter(|(_, call)| call.unsettled());
    calls.map(|(part, call)| Match::part(part, format!("the {} call is stored as still going on", call.tool))).collect()
}
