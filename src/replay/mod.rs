//! What opencode does when its run loop is entered again: the rule sets, the history that they see, the
//! request that they send.

mod bound;
mod package;
mod packages;
mod prefixes;
mod request;
mod resume;
mod rules;
mod said;
mod transform;
mod turn;
mod view;

pub use bound::{Bound, bound};
pub use prefixes::Prefixes;
pub use request::{LastTurn, last_turn, prompt, request};
pub use resume::{Newest, Resume, newest, resume, resume_in};
pub use rules::{Order, Pairing, RULE_SETS, Release, RuleSet, ToolCheck, Version, counting_from};
pub use turn::{Block, BlockKind, Carried, Request, Stop, StopKind, Turn, TurnRole, Why};
pub use view::{View, after_revert, overflow_tokens, pending_task, reverted, view};

/// What the request's shape depends on besides the rows: the AI SDK package behind the newest user row's model
/// (docs/opencode.md §5.7), and what opencode's configuration says of the model.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sdk {
    /// The npm package, such as `@ai-sdk/anthropic`.
    pub package: String,
    /// The model's id at the service, where that is known to be another than the model's own.
    pub api_id: Option<String>,
    /// Which files the model takes in prompts; `None` where nobody knows. Those in tools' results it is sent all the same
    /// (read in 1.14.48 and 1.18.34).
    pub input: Option<Input>,
    /// The field of a message that takes the model's thinking (`interleaved.field`).
    pub interleaved: Option<String>,
    /// Whether the service is asked to store what it answers; `None` where nobody knows. opencode's own setting is no.
    pub store: Option<bool>,
    /// Azure is asked for chat completions (`useCompletionUrls`).
    pub completions: bool,
    /// The package is a guess: neither the call nor the configuration nor a catalogue names it.
    pub guess: bool,
}

/// Which files a model takes in prompts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Input {
    /// Images.
    pub image: bool,
    /// PDF documents.
    pub pdf: bool,
    /// Recordings.
    pub audio: bool,
    /// Films.
    pub video: bool,
}

impl Sdk {
    /// The given package.
    #[must_use]
    pub fn new(package: impl Into<String>) -> Self {
        Self { package: package.into(), ..Self::default() }
    }

    /// Whether it speaks to Claude in Claude's own protocol.
    #[must_use]
    pub fn is_anthropic(&self) -> bool {
        matches!(self.package.as_str(), "@ai-sdk/anthropic" | "@ai-sdk/google-vertex/anthropic")
    }

    /// Whether opencode sends the model such a file of a prompt; else it says that it cannot. `None` where nobody knows.
    #[must_use]
    pub fn reads(&self, mime: &str) -> Option<bool> {
        let takes = |of: fn(&Input) -> bool| self.input.as_ref().map(of);
        match mime.split('/').next() {
            Some("image") => takes(|input| input.image),
            Some("audio") => takes(|input| input.audio),
            Some("video") => takes(|input| input.video),
            _ if mime == "application/pdf" => takes(|input| input.pdf),
            // Any other file is sent as it is.
            _ => Some(true),
        }
    }

    /// A package that keeps every turn, empty ones too: the strictest case for a repair.
    #[must_use]
    pub fn keeping() -> Self {
        Self::new("@ai-sdk/openai-compatible")
    }

    /// Whether what the package sends was measured on real programs.
    #[must_use]
    pub fn measured(&self) -> bool {
        packages::measured().any(|name| name == self.package)
    }

    /// Whether the package may speak chat completions, where an answer is a message of its own, be it empty.
    #[must_use]
    pub fn chats(&self) -> bool {
        packages::package(&self.package).chats
    }

    /// What it may be where that is not sure: every package that was measured, where the package is a guess or was never
    /// measured; else this one alone.
    #[must_use]
    pub fn candidates(&self) -> Vec<Self> {
        if !self.guess && self.measured() {
            return vec![self.clone()];
        }
        let of = |name: &str| Self { package: name.to_owned(), guess: false, ..self.clone() };
        std::iter::once(self.clone()).chain(packages::measured().map(of)).collect()
    }
}
