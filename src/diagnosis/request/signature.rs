//! `bad-signature`
//!
//! What the user sees: "messages.1.content.0: Invalid `signature` in `thinking` block", at every prompt from then on
//! (opencode issues 48637, 6418).
//!
//! Why: thinking is sent back with the signature of the provider that made it, and another one, or the same one in
//! another conversation, does not accept it. Only the provider can tell, so nothing but its refusal proves it.
//!
//! Rows before: `user` · `assistant (step-start, reasoning with anthropic.signature, text, finish "stop")`
//! Rows after:  `user` · `assistant (step-start, reasoning, text, finish "stop")`
//! Refused: messages.1.content.0: Invalid `signature` in `thinking` block
//! Asked: `--include signatures`
//!
//! Source: the issues; what is sent of thinking was read in 1.14.48 and 1.18.34.

use super::{Asked, Broken, RequestRule};
use crate::diagnosis::Code;
use crate::history::RefusalClass;

/// The place in the refusal is all there is to find it by.
pub(super) const RULE: RequestRule =
    RequestRule { code: Code::BadSignature, classes: &[RefusalClass::Signature], broken };

fn broken(_: &Asked<'_, '_>) -> Vec<Broken> {
    Vec::new()
}
