//! Why a repair or an undo leaves a session as it is.

use schemars::JsonSchema;
use serde::Serialize;
use strum::{Display, EnumIter, IntoStaticStr};

/// Why a repair (or an undo) leaves a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Display, EnumIter, IntoStaticStr)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
#[non_exhaustive]
pub enum LeftReason {
    /// A pending revert names the rows that would have to change.
    PendingRevert,
    /// A compaction or subtask is worked off first.
    PendingTask,
    /// The edit would change what opencode compares with the model's window.
    NearWindow,
    /// A row of it could not be understood.
    Unreadable,
    /// The row would have to be cut inside a request's block.
    SplitInsideBlock,
    /// The next prompt would be sent other turns.
    WouldChangePrompt,
    /// No edit without loss leads to a sound tail.
    NoLosslessEdit,
    /// What is refused cannot be taken out by what was asked for.
    NoMend,
    /// The package is a guess or was never measured, and the measured ones do not agree.
    UnmeasuredPackage,
    /// It is stuck by the rules alone of an opencode that was never measured.
    UnmeasuredVersion,
    /// Mending the tail alone would hide that every prompt is refused.
    WouldHideRefusal,
    /// Every prompt is refused, and what for is taken out only where that is asked for.
    NotIncluded,
    /// A row is not what it was.
    RowChanged,
    /// Something newer names an id that undo would take away.
    Referenced,
    /// A session of opencode 2, of which what would have to change was not measured.
    NewerFormat,
    /// opencode cannot read a row of it.
    Unopenable,
}

impl LeftReason {
    /// One sentence for people.
    #[must_use]
    pub fn description(self) -> &'static str {
        match self {
            Self::PendingRevert => {
                "a revert is pending on the rows that would have to change; take it back or send a message first"
            }
            Self::PendingTask => "a compaction or subtask is pending; retrying works it off first",
            Self::NearWindow => {
                "its newest answer fills 100,000 tokens or more, and the repair would hide that from opencode's overflow check (--include near-window)"
            }
            Self::Unreadable => "a row of it could not be understood",
            Self::SplitInsideBlock => "its last answer would have to be cut inside one request's block",
            Self::WouldChangePrompt => "every edit that helps would change what the model is sent next",
            Self::NoLosslessEdit => "no edit without loss leads to a history that resumes",
            Self::NoMend => "what is refused cannot be taken out of its history",
            Self::UnmeasuredPackage => {
                "its AI SDK package is a guess or was never measured, and packages differ here; name it with --sdk, or use --include unmeasured"
            }
            Self::UnmeasuredVersion => {
                "it is stuck only if an opencode that was never measured goes by the rules of the measured one before it; send a message, or use --include unmeasured"
            }
            Self::WouldHideRefusal => {
                "mending its tail would hide what every prompt is refused for; mend that with --include"
            }
            Self::NotIncluded => {
                "every prompt is refused, and what it is refused for is taken out only if that is asked for with --include"
            }
            Self::RowChanged => "a row has changed since",
            Self::Referenced => "something newer refers to a row that undo would take away",
            Self::Unopenable => "opencode cannot read a row of it, and no other row says without doubt what it lacks",
            Self::NewerFormat => {
                "it is a session of opencode 2; what would have to change was not measured on one of its programs"
            }
        }
    }
}

/// A session that is left, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Left {
    /// The session.
    pub id: String,
    /// Why.
    pub reason: LeftReason,
    /// What stood in the way, in words.
    pub detail: String,
}

impl Left {
    /// Left for a reason that says it all.
    #[must_use]
    pub fn new(id: &str, reason: LeftReason) -> Self {
        Self { id: id.to_owned(), reason, detail: reason.description().to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use strum::IntoEnumIterator;

    use super::*;

    #[test]
    fn reasons_are_written_as_they_print() {
        for reason in LeftReason::iter() {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.to_string());
        }
    }
}
