//! `leaked-tool-call-text`
//!
//! What the user sees: an answer that shows the markup of a tool call, and nothing was run.
//!
//! Why: the model wrote its call as text, and the provider did not take it for one.
//!
//! Rows before: `user` · `assistant (text "<invoke name='bash'>", finish "stop")`
//!
//! Source: stores that people have reported (docs/findings.md).

use super::Match;
use crate::history::Message;

pub(in crate::diagnosis) fn found(row: &Message) -> Vec<Match> {
    let detail = "the text holds a tool call as raw markup: it was never run";
    row.leaked_calls().map(|part| Match::part(part, detail)).collect()
}
