//! What opencode does when its run loop is entered again: the rule sets, the history that they see, the
//! request that they send.

mod bound;
mod prefixes;
mod request;
mod resume;
mod rules;
mod view;
mod wire;

pub use bound::{Bound, bound};
pub use prefixes::Prefixes;
pub use request::{Block, BlockKind, LastTurn, Skip, Turn, TurnRole, last_turn, prompt, request, request_with_skips};
pub use resume::{Newest, Resume, newest, resume, resume_in};
pub use rules::{Order, Pairing, RULE_SETS, RuleSet, ToolCheck, Version, counting_from};
pub use view::{View, after_revert, overflow_tokens, pending_task, reverted, view};
pub use wire::{Sent, SentBlock, SentFile, Wire};

/// What the request's shape depends on besides the rows: the AI SDK package behind the newest user row's
/// model (docs/opencode.md §5.7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sdk {
    /// The npm package, such as `@ai-sdk/anthropic`.
    pub package: String,
    /// Whether opencode sends the model the images of prompts; `None` where nobody knows. Those in tools' results it
    /// sends to every model (read in 1.14.48 and 1.18.34).
    pub images: Option<bool>,
}

impl Sdk {
    /// The given package.
    #[must_use]
    pub fn new(package: impl Into<String>) -> Self {
        Self { package: package.into(), images: None }
    }

    /// Whether it speaks to Claude in Claude's own protocol.
    #[must_use]
    pub fn is_anthropic(&self) -> bool {
        matches!(self.package.as_str(), "@ai-sdk/anthropic" | "@ai-sdk/google-vertex/anthropic")
    }

    /// A package that keeps every turn, empty ones too: the strictest case for a repair.
    #[must_use]
    pub fn keeping() -> Self {
        Self::new("@ai-sdk/openai-compatible")
    }
}
