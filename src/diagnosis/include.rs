//! What a person may allow beyond the default: `repair --include`.

use std::collections::BTreeSet;

use strum::{Display, EnumIter, EnumString, IntoStaticStr};

/// One thing that `repair` does only if it is asked to. The name is what `--include` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Display, EnumIter, EnumString, IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum Include {
    /// Sessions whose model is not known to refuse.
    AtRisk,
    /// Sessions whose package or opencode is a guess or was never measured, where those differ.
    Unmeasured,
    /// Buried turns, and tails that only older opencode trips over.
    Latent,
    /// Tool calls that are stored as still going on.
    Unsettled,
    /// Edits that change what the overflow check reads.
    NearWindow,
    /// Blank texts that every prompt is refused for.
    BlankText,
    /// Images and other files that every prompt is refused for.
    Media,
    /// Tool calls that every prompt is refused for.
    Calls,
    /// Signatures of thinking that every prompt is refused for.
    Signatures,
    /// Encrypted reasoning that every prompt is refused for.
    Reasoning,
    /// What opencode 2's import stumbles over.
    Import,
    /// Rows that opencode cannot read.
    Rows,
    /// Parts whose JSON is broken.
    BrokenParts,
}

impl Include {
    /// What it stands for, in a few words.
    #[must_use]
    pub fn description(self) -> &'static str {
        match self {
            Self::AtRisk => "Sessions whose model is not known to refuse",
            Self::Unmeasured => {
                "Sessions whose AI SDK package or opencode version is a guess or was never measured, where those differ"
            }
            Self::Latent => "Turns that a revert or a fork would make a stuck tail",
            Self::Unsettled => "Tool calls that are stored as still going on",
            Self::NearWindow => "Edits that change what opencode compares with the model's window",
            Self::BlankText => "Blank texts that every prompt is refused for: they are left out of what is sent",
            Self::Media => "Images that every prompt is refused for: they are left out of what is sent",
            Self::Calls => {
                "Tool calls that every prompt is refused for: they get another id, or are sent as ordinary calls, in one \
                 turn with the words before them, or with a stand-in for their signature"
            }
            Self::Signatures => {
                "Thinking that every prompt is refused for: it is left out of what is sent, or sent as text (opencode 2)"
            }
            Self::Reasoning => {
                "Encrypted reasoning that every prompt is refused for: it is left out of what is sent, no word that you \
                 can read goes"
            }
            Self::Import => "Rows that opencode 2's import stops at, and answers that were never marked as ended",
            Self::Rows => {
                "Rows that opencode cannot read: members that other rows (in opencode 2, the row's own columns) tell without \
                 doubt are filled in, and ids of parts get their form"
            }
            Self::BrokenParts => {
                "Parts whose JSON is broken: they are taken out whole, for opencode neither opens nor prompts their session"
            }
        }
    }
}

/// As `--include` takes them.
#[must_use]
pub fn names(kinds: &BTreeSet<Include>) -> String {
    kinds.iter().map(|kind| (*kind).into()).collect::<Vec<&str>>().join(",")
}

/// A set of [`Include`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Includes(u32);

impl Includes {
    /// Nothing beyond the default.
    pub const NONE: Self = Self(0);

    /// Whether it was asked for.
    #[must_use]
    pub fn has(self, include: Include) -> bool {
        self.0 & (1 << include as u32) != 0
    }

    /// The set without one.
    #[must_use]
    pub fn without(self, include: Include) -> Self {
        Self(self.0 & !(1 << include as u32))
    }

    /// The set with more.
    #[must_use]
    pub fn with(self, more: impl IntoIterator<Item = Include>) -> Self {
        Self(self.0 | Self::from_iter(more).0)
    }

    /// Whether what the code stands for may leave what the model is sent.
    #[must_use]
    pub fn redacts(self, code: super::Code) -> bool {
        code.redacted_by().is_some_and(|include| self.has(include))
    }

    /// Whether anything was asked for that only a look at whole histories finds.
    #[must_use]
    pub fn beyond_tails(self) -> bool {
        use strum::IntoEnumIterator as _;
        let of_tails =
            |include: &Include| matches!(include, Include::AtRisk | Include::Unmeasured | Include::NearWindow);
        Include::iter().any(|include| self.has(include) && !of_tails(&include))
    }
}

impl FromIterator<Include> for Includes {
    fn from_iter<T: IntoIterator<Item = Include>>(all: T) -> Self {
        Self(all.into_iter().fold(0, |bits, include| bits | 1 << include as u32))
    }
}
