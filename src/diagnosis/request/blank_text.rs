//! `blank-text`
//!
//! What the user sees: "messages: text content blocks must contain non-whitespace text", at every prompt from then on
//! (opencode issues 3981, 31259).
//!
//! Why: opencode keeps text that is nothing but white space, and from 1.14.48 on it sends a space for an empty text
//! beside signed thinking. Claude's API takes a blank text beside one with words, and refuses a message that has no
//! other text.
//!
//! Rows before: `user` · `assistant (step-start, reasoning with anthropic.signature, text "", no finish)`
//! Rows after:  `user` · `assistant (step-start, reasoning with anthropic.signature, MessageAbortedError)`
//! Refused: messages: text content blocks must contain non-whitespace text
//! Asked: `--include blank-text`
//!
//! Thinking that would be left alone in the request leaves it too.
//!
//! Source: the answers of the API itself as LibreChat-AI/agents pull request 124 lists them (a blank text alone is
//! refused, beside another text it is taken); opencode pull request 21860 (a blank between thinking and text is taken).
//! Nobody has shown what becomes of a blank that has thinking alone beside it: that is only said, until it was refused.

use super::{Asked, Broken, RequestRule, places};
use crate::diagnosis::Code;
use crate::history::RefusalClass;
use crate::replay::BlockKind;

pub(super) const RULE: RequestRule = RequestRule { code: Code::BlankText, classes: &[RefusalClass::BlankText], broken };

const BESIDE: &str = "it is not known whether Claude refuses it with nothing but thinking or calls beside it";

fn broken(asked: &Asked<'_, '_>) -> Vec<Broken> {
    if !asked.claude() {
        return Vec::new();
    }
    let mut out = Vec::new();
    for turns in asked.request.messages() {
        let blank = |kind| matches!(kind, BlockKind::BlankText | BlockKind::StandIn);
        // A new prompt is put together with the user's message before it, and has words.
        let last_of_user =
            !turns[0].is_assistant() && asked.request.turns.last().is_some_and(|last| last.message == turns[0].message);
        let texts = || places(turns).filter(|at| at.block.inner.is_none());
        if last_of_user || texts().any(|at| at.block.kind.has_words()) {
            continue;
        }
        let alone = texts().all(|at| blank(at.block.kind));
        for at in texts().filter(|at| blank(at.block.kind)) {
            let what = if at.block.kind == BlockKind::StandIn {
                "opencode sends a space for its empty text, and nothing beside it has words"
            } else {
                "its text is nothing but white space, and nothing beside it has words"
            };
            let found = asked.rule(Code::BlankText, at, what.to_owned());
            out.push(if alone {
                found
            } else {
                Broken { evidence: None, doubt: Some(found.doubt.unwrap_or(BESIDE)), ..found }
            });
        }
    }
    out
}
