//! The table of problems: every finding that a scan can make, what it means, what finds it, and what can be done about it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{Display, EnumIter, EnumString, IntoStaticStr};

use super::Include;
use super::rules::*;
use super::tail::Tail;
use crate::history::Message;

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
    OptIn(Include),
    /// `repair --include`, with this: every prompt is refused for it, and it leaves what the model is sent.
    Redact(Include),
    /// Nothing.
    Report,
}

/// What finds a problem.
#[derive(Debug, Clone, Copy)]
enum Finds {
    /// A rule about a row of a stuck tail. The first in the table that matches a row names it.
    Tail(fn(&Message, &Tail<'_>) -> Option<Match>),
    /// A rule about a row of any session.
    Row(fn(&Message) -> Vec<Match>),
    /// It takes more than a row: `request/` of a whole request, and the files beside this one.
    Elsewhere,
}

/// A row of the table.
#[derive(Debug)]
struct Problem {
    code: Code,
    fix: Fix,
    finds: Finds,
    /// In a few words, for a list.
    cause: &'static str,
    means: &'static str,
}

/// Makes the codes and their table of the same rows:
/// `Code = "as-it-prints", what mends it, what finds it, "a few words for a list of sessions", "what it means";`
macro_rules! problems {
    ($($code:ident = $name:literal, $fix:expr, $finds:expr, $cause:literal, $means:literal;)*) => {
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
        #[non_exhaustive]
        pub enum Code {
            $(
                #[doc = $means]
                #[serde(rename = $name)]
                #[strum(serialize = $name)]
                $code,
            )*
        }

        const PROBLEMS: &[Problem] = {
            use Finds::*;
            use Fix::*;
            &[$(Problem { code: Code::$code, fix: $fix, finds: $finds, cause: $cause, means: $means },)*]
        };
    };
}

problems! {
    FailedPrefillTail = "failed-prefill-tail", Automatic, Tail(failed_prefill_tail::found),
        "refused answer stored last",
        "a request that was refused for its prefill is stored as the newest answer";
    EmptyPromptTail = "empty-prompt-tail", Automatic, Tail(empty_prompt_tail::found),
        "empty prompt",
        "the last prompt has nothing that is sent, so the request ends with the answer before it";
    EmptyAnswerTail = "empty-answer-tail", Automatic, Tail(empty_answer_tail::found),
        "empty answer",
        "the last answer holds no word and is sent as an empty assistant turn";
    OrphanTail = "orphan-tail", Automatic, Tail(orphan_tail::found),
        "tool call cut off",
        "the last answer goes on after a tool call that opencode cut off, so the loop does not stop there";
    CompletedToolTail = "completed-tool-tail", Automatic, Tail(completed_tool_tail::found),
        "tool call, then text",
        "the last answer holds a tool call and text after it in one row, so the loop does not stop there";
    AbortedTextTail = "aborted-text-tail", Automatic, Tail(aborted_text_tail::found),
        "answer aborted",
        "the last answer was aborted while its text streamed and is not marked as finished";
    UnfinishedTextTail = "unfinished-text-tail", Automatic, Tail(unfinished_text_tail::found),
        "answer never finished",
        "the last answer is not marked as finished, or answers another prompt";
    BlankText = "blank-text", Redact(Include::BlankText), Elsewhere,
        "blank text",
        "a message whose text is nothing but white space, which Claude refuses";
    ImageSize = "image-size", Redact(Include::Media), Elsewhere,
        "image too large",
        "an image of more bytes or pixels than the provider takes";
    BadImage = "bad-image", Redact(Include::Media), Elsewhere,
        "file that is no image",
        "a file that is said to be an image and is none, or one of another type";
    TooManyImages = "too-many-images", Redact(Include::Media), Elsewhere,
        "too many images",
        "more images than the provider takes in one request";
    CallId = "call-id", Redact(Include::Calls), Elsewhere,
        "tool call with a bad id",
        "a tool call whose id is empty or used twice, which Claude refuses";
    ProviderCall = "provider-call", Redact(Include::Calls), Elsewhere,
        "another provider's call",
        "a call that another provider ran itself, which cannot be sent to this one";
    EmptyMessage = "empty-message", Redact(Include::BlankText), Elsewhere,
        "answer with nothing to send",
        "an answer of which nothing is left when it is sent, which Claude refuses";
    ThinkingLast = "thinking-last", Redact(Include::Signatures), Elsewhere,
        "answer ends with thinking",
        "an answer that ends with thinking, which Claude refuses";
    UnsendableFile = "unsendable-file", Redact(Include::Media), Elsewhere,
        "file that cannot be sent",
        "a file of a kind that the AI SDK package cannot send, or that the model has refused to take";
    BadSignature = "bad-signature", Redact(Include::Signatures), Elsewhere,
        "thinking signature refused",
        "thinking whose signature the provider has refused";
    BadEncryptedReasoning = "bad-encrypted-reasoning", Redact(Include::Reasoning), Elsewhere,
        "hidden reasoning refused",
        "encrypted reasoning that the provider has refused to take back";
    ReasoningAlone = "reasoning-alone", Redact(Include::Reasoning), Elsewhere,
        "reasoning without its item",
        "a reasoning item without the item that its provider made after it";
    StaleItemId = "stale-item-id", Redact(Include::Reasoning), Elsewhere,
        "item that its provider forgot",
        "an item that is sent by a name which its provider does not know any more";
    SplitCall = "split-call", Redact(Include::Calls), Elsewhere,
        "tool call in a turn of its own",
        "a call that follows another turn of the model's, which Gemini refuses";
    UnsignedCall = "unsigned-call", Redact(Include::Calls), Elsewhere,
        "tool call without a signature",
        "a call without the signature that Gemini wants back";
    CallWithoutReasoning = "call-without-reasoning", Report, Elsewhere,
        "tool call without its thinking",
        "a call without the thinking that its provider wants back";
    OverWindow = "over-window", Report, Elsewhere,
        "too long for the model",
        "a request that was refused for its length, with nothing that worked since";
    LatentTail = "latent-tail", OptIn(Include::Latent), Elsewhere,
        "would be stuck after a revert or fork",
        "a turn that would make the session stuck if a revert or a fork made it the last one";
    UnsettledTool = "unsettled-tool", OptIn(Include::Unsettled), Row(unsettled_tool::found),
        "tool call that never ended",
        "a tool call is stored as still running; its process is gone or still at work";
    BuriedOrphan = "buried-orphan", Report, Elsewhere,
        "old cut-off tool call",
        "a tool call that opencode cut off, where it does no harm now";
    RecoveredPrefill400 = "recovered-prefill-400", Report, Elsewhere,
        "refused once, goes on now",
        "a request that was refused for its prefill, in a session that goes on now";
    StepLimitPrefill = "step-limit-prefill", Report, Elsewhere,
        "refused at the step limit",
        "a request that was refused because the step limit added an assistant turn; nothing stored is wrong";
    LeakedToolCallText = "leaked-tool-call-text", Report, Row(leaked_tool_call_text::found),
        "tool call written as text",
        "an answer's text holds raw tool-call markup";
    UnansweredPrompt = "unanswered-prompt", Report, Elsewhere,
        "prompt without an answer",
        "the newest prompt, whose answer stops at a call that opencode cut off";
    UnreadableRow = "unreadable-row", Report, Elsewhere,
        "row that cannot be read",
        "a row could not be understood";
    UnopenableRow = "unopenable-row", OptIn(Include::Rows), Elsewhere,
        "row that opencode cannot read",
        "a message or part that opencode cannot read: the session does not open, or takes no prompt";
    UnopenableSession = "unopenable-session", Report, Elsewhere,
        "session row that opencode cannot read",
        "a session's own row that opencode cannot read: it is not listed, or no session is";
    PendingTask = "pending-task", Report, Elsewhere,
        "task still to be worked off",
        "a compaction or subtask is worked off before anything is sent";
    UndecodableSession = "undecodable-session", Report, Elsewhere,
        "session row that opencode 2 cannot decode",
        "a session's own row that opencode 2 does not decode: it no longer lists it";
    UndecodableRow = "undecodable-row", OptIn(Include::Rows), Elsewhere,
        "message row that opencode 2 cannot decode",
        "a message's row that opencode 2 does not decode: the session cannot be opened, nor prompted from that row on";
    UndecodablePrompt = "undecodable-prompt", Report, Elsewhere,
        "waiting prompt that opencode 2 cannot decode",
        "a waiting prompt that opencode 2 does not decode: no run gets past it when its turn has come";
    RefusedState = "refused-state", Redact(Include::Reasoning), Elsewhere,
        "provider's state refused",
        "state that the provider gave (encrypted reasoning, an item's id), that opencode 2 sends back, and that is refused";
    UnsignedThinking = "unsigned-thinking", Redact(Include::Signatures), Elsewhere,
        "thinking without a signature",
        "thinking without a signature, which the preview of opencode 2 sends and Claude refuses";
    LostRevert = "lost-revert", Report, Elsewhere,
        "revert to a row that is gone",
        "a staged revert to a row that is gone: opencode 2 takes no prompt";
    PrefillRefusal = "prefill-refusal", Report, Elsewhere,
        "last turn refused",
        "a request of opencode 2 that was refused for its last turn; nothing stored is wrong";
    PreviewTail = "preview-tail", Report, Elsewhere,
        "stuck in the preview of opencode 2",
        "a history that the preview of opencode 2 resumes with the assistant's turn at the end; released programs do not";
    ImportStops = "import-stops", OptIn(Include::Import), Elsewhere,
        "opencode 2's import stops here",
        "opencode 2's import stops at this row on every start, and no older session is imported";
    ImportDropsRow = "import-drops-row", Report, Elsewhere,
        "opencode 2's import leaves a row out",
        "a row that opencode 2's import leaves out";
    ImportHidesHistory = "import-hides-history", OptIn(Include::Import), Elsewhere,
        "opencode 2's import hides history",
        "an answer that was never marked as ended: once imported, a compaction by hand hides what follows it";
    ImportForgetsRevert = "import-forgets-revert", Report, Elsewhere,
        "opencode 2's import forgets a revert",
        "a staged revert that opencode 2's import forgets";
}

/// What is wrong with a row of a stuck tail, by the first rule that matches it.
#[must_use]
pub fn in_tail(row: &Message, tail: &Tail<'_>) -> Option<(Code, Match)> {
    PROBLEMS.iter().find_map(|problem| match problem.finds {
        Finds::Tail(found) => Some((problem.code, found(row, tail)?)),
        Finds::Row(_) | Finds::Elsewhere => None,
    })
}

/// What there is to say of a row wherever it stands.
pub fn in_row(row: &Message) -> impl Iterator<Item = (Code, Match)> {
    let rules = PROBLEMS.iter().filter_map(|problem| match problem.finds {
        Finds::Row(found) => Some((problem.code, found)),
        Finds::Tail(_) | Finds::Elsewhere => None,
    });
    rules.flat_map(|(code, found)| found(row).into_iter().map(move |found| (code, found)))
}

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

    /// Whether it is about what opencode 2 does not decode.
    #[must_use]
    pub fn is_undecodable(self) -> bool {
        matches!(self, Self::UndecodableSession | Self::UndecodableRow | Self::UndecodablePrompt)
    }

    /// What `repair --include` has to name for it to be mended.
    #[must_use]
    pub fn include(self) -> Option<Include> {
        match self.fix() {
            Fix::OptIn(include) | Fix::Redact(include) => Some(include),
            Fix::Automatic | Fix::Report => None,
        }
    }

    /// What `repair --include` has to name for it to leave what the model is sent; `None` where it is not something that
    /// every prompt is refused for.
    #[must_use]
    pub fn redacted_by(self) -> Option<Include> {
        match self.fix() {
            Fix::Redact(include) => Some(include),
            Fix::Automatic | Fix::OptIn(_) | Fix::Report => None,
        }
    }

    /// What can be done about it.
    #[must_use]
    pub fn applicability(self) -> Applicability {
        match self.fix() {
            Fix::Automatic => Applicability::Automatic,
            Fix::OptIn(_) | Fix::Redact(_) => Applicability::OptIn,
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
    fn no_two_problems_read_alike_and_codes_are_written_as_they_print() {
        let texts: BTreeSet<&str> = Code::iter().map(Code::description).collect();
        assert_eq!(texts.len(), PROBLEMS.len(), "no two mean the same");
        let causes: BTreeSet<&str> = Code::iter().map(Code::cause).collect();
        assert_eq!(causes.len(), PROBLEMS.len(), "no two are called the same");
        assert!(causes.iter().all(|cause| (5..45).contains(&cause.len())), "{causes:?}");
        for code in Code::iter() {
            assert_eq!(serde_json::to_value(code).unwrap(), code.to_string());
        }
    }
}
