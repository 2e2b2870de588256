//! The table of problems: every finding that a scan can make, what it means, and what can be done about it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{Display, EnumIter, EnumString, IntoStaticStr};

use super::Include;

/// A finding's code. Names are stable; a later version only adds.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    Display,
    EnumIter,
    EnumString,
    IntoStaticStr,
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
    /// See `request/encrypted_reasoning.rs`.
    BadEncryptedReasoning,
    /// See `request/reasoning_order.rs`.
    ReasoningAlone,
    /// See `request/item_ids.rs`.
    StaleItemId,
    /// See `request/turn_order.rs`.
    SplitCall,
    /// See `request/thought_signature.rs`.
    UnsignedCall,
    /// See `request/missing_reasoning.rs`.
    CallWithoutReasoning,
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
    /// See `silence.rs`.
    UnansweredPrompt,
    /// A row that could not be understood.
    UnreadableRow,
    /// See `unopenable.rs`.
    UnopenableRow,
    /// See `unopenable.rs`.
    UnopenableSession,
    /// A compaction or subtask that is still to be worked off.
    PendingTask,
    /// See `v2.rs`, as all that follow.
    UndecodableSession,
    /// A message's row of opencode 2.
    UndecodableRow,
    /// A waiting prompt of opencode 2.
    UndecodablePrompt,
    /// What a provider wants sent back and refuses.
    RefusedState,
    /// Thinking that only the preview sends without a signature.
    UnsignedThinking,
    /// A revert to a row that is gone.
    LostRevert,
    /// A stored prefill 400 of opencode 2.
    PrefillRefusal,
    /// What only the preview resumes with the assistant's turn at the end.
    PreviewTail,
    /// What stops opencode 2's import. See `import.rs`, as for all that follow.
    ImportStops,
    /// What opencode 2's import leaves out.
    ImportDropsRow,
    /// An answer that was never marked as ended.
    ImportHidesHistory,
    /// A revert that the import forgets.
    ImportForgetsRevert,
}

/// What can be done about a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema, Display)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Applicability {
    /// `repair` does it.
    Automatic,
    /// `repair --include …` does it.
    OptIn,
    /// Nothing: it is only reported.
    ReportOnly,
}

/// What mends a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fix {
    /// `repair`.
    Automatic,
    /// `repair --include`, with this.
    Include(Include),
    /// `repair --include`, with this: every prompt is refused for it, and it leaves what the model is sent.
    Redact(Include),
    /// Nothing.
    Report,
}

/// A row of the table.
struct Problem {
    code: Code,
    fix: Fix,
    /// In a few words, for a list.
    cause: &'static str,
    means: &'static str,
}

const fn row(code: Code, fix: Fix, cause: &'static str, means: &'static str) -> Problem {
    Problem { code, fix, cause, means }
}

/// All problems, one row a code.
const PROBLEMS: [Problem; 47] = [
    row(
        Code::OrphanTail,
        Fix::Automatic,
        "tool call cut off",
        "the last answer goes on after a tool call that opencode cut off, so the loop does not stop there",
    ),
    row(
        Code::CompletedToolTail,
        Fix::Automatic,
        "tool call, then text",
        "the last answer holds a tool call and text after it in one row, so the loop does not stop there",
    ),
    row(
        Code::FailedPrefillTail,
        Fix::Automatic,
        "refused answer stored last",
        "a request that was refused for its prefill is stored as the newest answer",
    ),
    row(
        Code::AbortedTextTail,
        Fix::Automatic,
        "answer aborted",
        "the last answer was aborted while its text streamed and is not marked as finished",
    ),
    row(
        Code::UnfinishedTextTail,
        Fix::Automatic,
        "answer never finished",
        "the last answer is not marked as finished, or answers another prompt",
    ),
    row(
        Code::EmptyAnswerTail,
        Fix::Automatic,
        "empty answer",
        "the last answer holds no word and is sent as an empty assistant turn",
    ),
    row(
        Code::EmptyPromptTail,
        Fix::Automatic,
        "empty prompt",
        "the last prompt has nothing that is sent, so the request ends with the answer before it",
    ),
    row(
        Code::BlankText,
        Fix::Redact(Include::BlankText),
        "blank text",
        "a message whose text is nothing but white space, which Claude refuses",
    ),
    row(
        Code::ImageSize,
        Fix::Redact(Include::Media),
        "image too large",
        "an image of more bytes or pixels than the provider takes",
    ),
    row(
        Code::BadImage,
        Fix::Redact(Include::Media),
        "file that is no image",
        "a file that is said to be an image and is none, or one of another type",
    ),
    row(
        Code::TooManyImages,
        Fix::Redact(Include::Media),
        "too many images",
        "more images than the provider takes in one request",
    ),
    row(
        Code::CallId,
        Fix::Redact(Include::Calls),
        "tool call with a bad id",
        "a tool call whose id is empty or used twice, which Claude refuses",
    ),
    row(
        Code::ProviderCall,
        Fix::Redact(Include::Calls),
        "another provider's call",
        "a call that another provider ran itself, which cannot be sent to this one",
    ),
    row(
        Code::EmptyMessage,
        Fix::Redact(Include::BlankText),
        "answer with nothing to send",
        "an answer of which nothing is left when it is sent, which Claude refuses",
    ),
    row(
        Code::ThinkingLast,
        Fix::Redact(Include::Signatures),
        "answer ends with thinking",
        "an answer that ends with thinking, which Claude refuses",
    ),
    row(
        Code::UnsendableFile,
        Fix::Redact(Include::Media),
        "file that cannot be sent",
        "a file of a kind that the AI SDK package cannot send, or that the model has refused to take",
    ),
    row(
        Code::BadSignature,
        Fix::Redact(Include::Signatures),
        "thinking signature refused",
        "thinking whose signature the provider has refused",
    ),
    row(
        Code::BadEncryptedReasoning,
        Fix::Redact(Include::Reasoning),
        "hidden reasoning refused",
        "encrypted reasoning that the provider has refused to take back",
    ),
    row(
        Code::ReasoningAlone,
        Fix::Redact(Include::Reasoning),
        "reasoning without its item",
        "a reasoning item without the item that its provider made after it",
    ),
    row(
        Code::StaleItemId,
        Fix::Redact(Include::Reasoning),
        "item that its provider forgot",
        "an item that is sent by a name which its provider does not know any more",
    ),
    row(
        Code::SplitCall,
        Fix::Redact(Include::Calls),
        "tool call in a turn of its own",
        "a call that follows another turn of the model's, which Gemini refuses",
    ),
    row(
        Code::UnsignedCall,
        Fix::Redact(Include::Calls),
        "tool call without a signature",
        "a call without the signature that Gemini wants back",
    ),
    row(
        Code::CallWithoutReasoning,
        Fix::Report,
        "tool call without its thinking",
        "a call without the thinking that its provider wants back",
    ),
    row(
        Code::OverWindow,
        Fix::Report,
        "too long for the model",
        "a request that was refused for its length, with nothing that worked since",
    ),
    row(
        Code::LatentTail,
        Fix::Include(Include::Latent),
        "would be stuck after a revert or fork",
        "a turn that would make the session stuck if a revert or a fork made it the last one",
    ),
    row(
        Code::UnsettledTool,
        Fix::Include(Include::Unsettled),
        "tool call that never ended",
        "a tool call is stored as still running; its process is gone or still at work",
    ),
    row(
        Code::BuriedOrphan,
        Fix::Report,
        "old cut-off tool call",
        "a tool call that opencode cut off, where it does no harm now",
    ),
    row(
        Code::RecoveredPrefill400,
        Fix::Report,
        "refused once, goes on now",
        "a request that was refused for its prefill, in a session that goes on now",
    ),
    row(
        Code::StepLimitPrefill,
        Fix::Report,
        "refused at the step limit",
        "a request that was refused because the step limit added an assistant turn; nothing stored is wrong",
    ),
    row(
        Code::LeakedToolCallText,
        Fix::Report,
        "tool call written as text",
        "an answer's text holds raw tool-call markup",
    ),
    row(
        Code::UnansweredPrompt,
        Fix::Report,
        "prompt without an answer",
        "the newest prompt, whose answer stops at a call that opencode cut off",
    ),
    row(Code::UnreadableRow, Fix::Report, "row that cannot be read", "a row could not be understood"),
    row(
        Code::UnopenableRow,
        Fix::Include(Include::Rows),
        "row that opencode cannot read",
        "a message or part that opencode cannot read: the session does not open, or takes no prompt",
    ),
    row(
        Code::UnopenableSession,
        Fix::Report,
        "session row that opencode cannot read",
        "a session's own row that opencode cannot read: it is not listed, or no session is",
    ),
    row(
        Code::PendingTask,
        Fix::Report,
        "task still to be worked off",
        "a compaction or subtask is worked off before anything is sent",
    ),
    row(
        Code::UndecodableSession,
        Fix::Report,
        "session row that opencode 2 cannot decode",
        "a session's own row that opencode 2 does not decode: it lists it no more",
    ),
    row(
        Code::UndecodableRow,
        Fix::Report,
        "message row that opencode 2 cannot decode",
        "a message's row that opencode 2 does not decode: the session cannot be opened, nor prompted from that row on",
    ),
    row(
        Code::UndecodablePrompt,
        Fix::Report,
        "waiting prompt that opencode 2 cannot decode",
        "a waiting prompt that opencode 2 does not decode: no run gets past it when its turn has come",
    ),
    row(
        Code::RefusedState,
        Fix::Report,
        "provider's state refused",
        "state that the provider gave (a signature, encrypted reasoning), is sent back, and is refused for",
    ),
    row(
        Code::UnsignedThinking,
        Fix::Report,
        "thinking without a signature",
        "thinking without a signature, which the preview of opencode 2 sends and Claude refuses",
    ),
    row(
        Code::LostRevert,
        Fix::Report,
        "revert to a row that is gone",
        "a staged revert to a row that is gone: opencode 2 takes no prompt",
    ),
    row(
        Code::PrefillRefusal,
        Fix::Report,
        "last turn refused",
        "a request of opencode 2 that was refused for its last turn; nothing stored is wrong",
    ),
    row(
        Code::PreviewTail,
        Fix::Report,
        "stuck in the preview of opencode 2",
        "a history that the preview of opencode 2 resumes with the assistant's turn at the end; released programs do not",
    ),
    row(
        Code::ImportStops,
        Fix::Include(Include::Import),
        "opencode 2's import stops here",
        "opencode 2's import stops at this row on every start, and no older session is imported",
    ),
    row(
        Code::ImportDropsRow,
        Fix::Report,
        "opencode 2's import leaves a row out",
        "a row that opencode 2's import leaves out",
    ),
    row(
        Code::ImportHidesHistory,
        Fix::Include(Include::Import),
        "opencode 2's import hides history",
        "an answer that was never marked as ended: once imported, a compaction by hand hides what follows it",
    ),
    row(
        Code::ImportForgetsRevert,
        Fix::Report,
        "opencode 2's import forgets a revert",
        "a staged revert that opencode 2's import forgets",
    ),
];

impl Code {
    fn problem(self) -> Option<&'static Problem> {
        PROBLEMS.iter().find(|problem| problem.code == self)
    }

    fn fix(self) -> Fix {
        self.problem().map_or(Fix::Report, |problem| problem.fix)
    }

    /// One sentence for people.
    #[must_use]
    pub fn description(self) -> &'static str {
        self.problem().map_or("", |problem| problem.means)
    }

    /// A few words for people, as a list of sessions names it.
    #[must_use]
    pub fn cause(self) -> &'static str {
        self.problem().map_or("", |problem| problem.cause)
    }

    /// What `repair --include` has to name for it to be mended.
    #[must_use]
    pub fn include(self) -> Option<Include> {
        match self.fix() {
            Fix::Include(include) | Fix::Redact(include) => Some(include),
            Fix::Automatic | Fix::Report => None,
        }
    }

    /// What `repair --include` has to name for it to leave what the model is sent; `None` where it is not something that
    /// every prompt is refused for.
    #[must_use]
    pub fn redacted_by(self) -> Option<Include> {
        match self.fix() {
            Fix::Redact(include) => Some(include),
            Fix::Automatic | Fix::Include(_) | Fix::Report => None,
        }
    }

    /// What can be done about it.
    #[must_use]
    pub fn applicability(self) -> Applicability {
        match self.fix() {
            Fix::Automatic => Applicability::Automatic,
            Fix::Include(_) | Fix::Redact(_) => Applicability::OptIn,
            Fix::Report => Applicability::ReportOnly,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use strum::IntoEnumIterator;

    use super::*;

    #[test]
    fn every_code_has_one_row_and_is_written_as_it_prints() {
        let rows: BTreeSet<Code> = PROBLEMS.iter().map(|problem| problem.code).collect();
        assert_eq!((rows.len(), PROBLEMS.len()), (Code::iter().count(), Code::iter().count()));
        let texts: BTreeSet<&str> = Code::iter().map(Code::description).collect();
        assert_eq!(texts.len(), rows.len(), "no two mean the same");
        let causes: BTreeSet<&str> = Code::iter().map(Code::cause).collect();
        assert_eq!(causes.len(), rows.len(), "no two are called the same");
        assert!(causes.iter().all(|cause| (5..45).contains(&cause.len())), "{causes:?}");
        for code in Code::iter() {
            assert_eq!(serde_json::to_value(code).unwrap(), code.to_string());
        }
    }
}
