//! Every finding that a scan can make, and every reason for which a repair leaves a session.

use schemars::JsonSchema;
use serde::Serialize;
use strum::{Display, EnumIter, EnumString, IntoStaticStr};

/// What can be done about a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema, Display)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Applicability {
    /// `repair` does it.
    Automatic,
    /// `repair --include …` does it.
    OptIn,
    /// It is only said.
    ReportOnly,
}

/// A finding's code. Names are stable; a later version only adds.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Display, EnumIter, EnumString, IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
#[non_exhaustive]
pub enum Code {
    /// See `rules/orphan_tail.rs`.
    OrphanTail,
    /// See `rules/completed_tool_tail.rs`.
    CompletedToolTail,
    /// See `rules/failed_prefill_tail.rs`.
    FailedPrefillTail,
    /// See `rules/aborted_text_tail.rs`.
    AbortedTextTail,
    /// See `rules/unfinished_text_tail.rs`.
    UnfinishedTextTail,
    /// See `rules/empty_answer_tail.rs`.
    EmptyAnswerTail,
    /// See `rules/empty_prompt_tail.rs`.
    EmptyPromptTail,
    /// See `request/blank_text.rs`.
    BlankText,
    /// See `request/image_size.rs`.
    ImageSize,
    /// See `request/bad_image.rs`.
    BadImage,
    /// See `request/too_many_images.rs`.
    TooManyImages,
    /// See `request/call_ids.rs`.
    CallId,
    /// See `request/provider_calls.rs`.
    ProviderCall,
    /// See `request/empty_message.rs`.
    EmptyMessage,
    /// See `request/thinking_last.rs`.
    ThinkingLast,
    /// See `request/unsendable_file.rs`.
    UnsendableFile,
    /// See `request/signature.rs`.
    BadSignature,
    /// See `request/window.rs`.
    OverWindow,
    /// See `buried.rs`.
    LatentTail,
    /// See `buried.rs`.
    UnsettledTool,
    /// See `buried.rs`.
    BuriedOrphan,
    /// See `buried.rs`.
    #[strum(serialize = "recovered-prefill-400")]
    #[serde(rename = "recovered-prefill-400")]
    RecoveredPrefill400,
    /// See `buried.rs`.
    StepLimitPrefill,
    /// See `buried.rs`.
    LeakedToolCallText,
    /// A row that could not be understood.
    UnreadableRow,
    /// A compaction or subtask that is still to be worked off.
    PendingTask,
}

impl Code {
    /// One sentence for people.
    #[must_use]
    pub fn description(self) -> &'static str {
        match self {
            Self::OrphanTail => {
                "the last answer goes on after a tool call that opencode cut off, so the loop does not stop there"
            }
            Self::CompletedToolTail => {
                "the last answer holds a tool call and text after it in one row, so the loop does not stop there"
            }
            Self::FailedPrefillTail => "a request that was refused for its prefill is stored as the newest answer",
            Self::AbortedTextTail => {
                "the last answer was aborted while its text streamed and is not marked as finished"
            }
            Self::UnfinishedTextTail => "the last answer is not marked as finished, or answers another prompt",
            Self::EmptyAnswerTail => "the last answer holds no word and is sent as an empty assistant turn",
            Self::EmptyPromptTail => {
                "the last prompt has nothing that is sent, so the request ends with the answer before it"
            }
            Self::BlankText => "a message whose text is nothing but white space, which Claude refuses",
            Self::ImageSize => "an image of more bytes or pixels than the provider takes",
            Self::BadImage => "a file that is said to be an image and is none, or one of another type",
            Self::TooManyImages => "more images than the provider takes in one request",
            Self::CallId => "a tool call whose id is empty or used twice, which Claude refuses",
            Self::ProviderCall => "a call that another provider ran itself, which cannot be sent to this one",
            Self::EmptyMessage => "an answer of which nothing is left when it is sent, which Claude refuses",
            Self::ThinkingLast => "an answer that ends with thinking, which Claude refuses",
            Self::UnsendableFile => "a file of a kind that the AI SDK package cannot send",
            Self::BadSignature => "thinking whose signature the provider has refused",
            Self::OverWindow => "a request that was refused for its length, with nothing that worked since",
            Self::LatentTail => "a turn that would make the session stuck if a revert or a fork made it the last one",
            Self::UnsettledTool => "a tool call is stored as still running; its process is gone or still at work",
            Self::BuriedOrphan => "a tool call that opencode cut off, where it does no harm now",
            Self::RecoveredPrefill400 => "a request that was refused for its prefill, with later turns that worked",
            Self::StepLimitPrefill => {
                "a request that was refused because the step limit added an assistant turn; nothing stored is wrong"
            }
            Self::LeakedToolCallText => "an answer's text holds raw tool-call markup",
            Self::UnreadableRow => "a row could not be understood",
            Self::PendingTask => "a compaction or subtask is worked off before anything is sent",
        }
    }

    /// What `repair --include` calls it, where it is something that every prompt is refused for.
    #[must_use]
    pub fn include(self) -> Option<&'static str> {
        Some(match self {
            Self::BlankText | Self::EmptyMessage => "blank-text",
            Self::ImageSize | Self::BadImage | Self::TooManyImages | Self::UnsendableFile => "media",
            Self::CallId | Self::ProviderCall => "calls",
            Self::BadSignature | Self::ThinkingLast => "signatures",
            _ => return None,
        })
    }

    /// What can be done about it.
    #[must_use]
    pub fn applicability(self) -> Applicability {
        match self {
            Self::OrphanTail
            | Self::CompletedToolTail
            | Self::FailedPrefillTail
            | Self::AbortedTextTail
            | Self::UnfinishedTextTail
            | Self::EmptyAnswerTail
            | Self::EmptyPromptTail => Applicability::Automatic,
            Self::LatentTail
            | Self::UnsettledTool
            | Self::BlankText
            | Self::ImageSize
            | Self::BadImage
            | Self::TooManyImages
            | Self::CallId
            | Self::ProviderCall
            | Self::EmptyMessage
            | Self::ThinkingLast
            | Self::UnsendableFile
            | Self::BadSignature => Applicability::OptIn,
            Self::OverWindow
            | Self::BuriedOrphan
            | Self::RecoveredPrefill400
            | Self::StepLimitPrefill
            | Self::LeakedToolCallText
            | Self::UnreadableRow
            | Self::PendingTask => Applicability::ReportOnly,
        }
    }
}

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
    /// Mending the tail alone would hide that every prompt is refused.
    WouldHideRefusal,
    /// A row is not what it was.
    RowChanged,
    /// Something newer names an id that undo would take away.
    Referenced,
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
            Self::WouldHideRefusal => {
                "mending its tail would hide what every prompt is refused for; mend that with --include"
            }
            Self::RowChanged => "a row has changed since",
            Self::Referenced => "something newer refers to a row that undo would take away",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use strum::IntoEnumIterator;

    use super::*;

    #[test]
    fn codes_are_unique_and_serialise_as_they_print() {
        let names: BTreeSet<String> = Code::iter().map(|c| c.to_string()).collect();
        assert_eq!(names.len(), Code::iter().count());
        let texts: BTreeSet<&str> = Code::iter().map(Code::description).collect();
        assert_eq!(texts.len(), names.len());
        for code in Code::iter() {
            assert_eq!(serde_json::to_value(code).unwrap(), code.to_string());
        }
        for reason in LeftReason::iter() {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.to_string());
        }
    }
}
