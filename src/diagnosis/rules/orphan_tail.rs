//! `orphan-tail`
//!
//! What the user sees: a stream broke in the middle of a tool call, opencode tried again by itself and
//! finished; from then on every retry is refused.
//!
//! Why: the cut-off call and the text of the second try are in one row. Up to 1.15.4 any tool part of the
//! newest answer keeps the loop going, whatever its finish says; and as the text stands after the tool's
//! result, the request ends with an assistant turn.
//!
//! Rows before: `user` · `assistant (step-start, tool error interrupted, step-start, text, finish "stop")`
//! Rows after:  `user` · `assistant (step-start, tool error interrupted, finish "tool-calls")` ·
//!              `assistant (step-start, text, finish "stop")`
//! Asked: `--opencode any`
//!
//! Source: measured on 1.14.34 and 1.15.3; harmless from 1.15.13 on (docs/opencode.md §4, §7).

use super::Match;
use crate::diagnosis::tail::Tail;
use crate::history::Message;

pub(in crate::diagnosis) fn found(row: &Message, _: &Tail<'_>) -> Option<Match> {
    // With a call beside it that newer rule sets count as well, the other rule says more.
    let own: Vec<_> = row.tools().filter(|(_, t)| !t.provider_executed).collect();
    if !Tail::tool_counts(row) || own.iter().any(|(_, t)| !t.orphan()) {
        return None;
    }
    let (part, call) = own.last()?;
    Some(Match::part(
        part,
        format!("the {} call was cut off, and text of a later try follows in the same row", call.tool),
    ))
}
