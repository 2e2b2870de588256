//! What the preview of opencode 2 does with its sessions, and whether `src/opencode2` says so.

mod capture;
mod checks;
mod judge;
mod program;
mod shapes;
mod stories;

/// The protocols that the preview is asked with, each by a provider of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Anthropic,
    OpenAi,
    /// OpenAI's newer one, without a memory on the server.
    Responses,
}

impl Protocol {
    /// Those that stories are played with.
    pub(crate) const ALL: [Self; 2] = [Self::Anthropic, Self::OpenAi];
    pub(crate) const EVERY: [Self; 3] = [Self::Anthropic, Self::OpenAi, Self::Responses];

    /// The provider id under which the private configuration offers it.
    pub(crate) fn provider(self) -> &'static str {
        match self {
            Self::Anthropic => "mock",
            Self::OpenAi => "litellm",
            Self::Responses => "gateway",
        }
    }

    pub(crate) fn package(self) -> &'static str {
        match self {
            Self::Anthropic => "@ai-sdk/anthropic",
            Self::OpenAi => "@ai-sdk/openai-compatible",
            Self::Responses => "@ai-sdk/openai",
        }
    }
}
