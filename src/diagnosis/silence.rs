//! Prompts that nobody answers: the loop stops at a call that was cut off, or a call is stored as still going on.

use super::code::Code;
use super::{Finding, finding};
use crate::history::{PartKind, Session};
use crate::replay::{RuleSet, after_revert, newest, view};

/// The newest prompt, where the answer to it ends with a call that opencode cut off. The caller knows that the loop stops
/// there (opencode issue 44254).
pub(super) fn unanswered(session: &Session, set: &RuleSet) -> Option<Finding> {
    let cut = after_revert(session, set);
    let newest = newest(&view(&cut.messages, set), set);
    let (user, answer) = (newest.user?, newest.assistant?);
    let said = answer.parts.iter().rev().find(|part| match &part.kind {
        PartKind::Text { text, .. } => !text.empty,
        PartKind::Tool(_) => true,
        _ => false,
    })?;
    match &said.kind {
        PartKind::Tool(call) if call.orphan() => {
            let detail = format!("its answer stops at the {} call, which was cut off", call.tool);
            Some(finding(Code::UnansweredPrompt, user.id(), Some(said.id()), detail))
        }
        _ => None,
    }
}

/// Whether the last row holds a call that is stored as still going on.
pub(super) fn still_running(session: &Session) -> bool {
    session.messages.last().is_some_and(|last| last.open_calls().any(|(_, call)| call.unsettled()))
}
