//! Rows as types: of each row what the rules ask, and nothing serialised anew.

mod head;
pub mod ids;
mod large;
mod leaked;
pub mod log;
mod media;
pub mod metadata;
mod names;
mod parse;
mod places;
mod refusal;
mod start;

use std::rc::Rc;
use std::sync::Arc;

use schemars::JsonSchema;

pub use head::Head;
pub use large::{LARGE, large_part, large_user, stored_part};
pub use media::{Found, Media, bytes_of};
pub use metadata::{Detail, Digest, Meta, MetaKind, Metadata};
pub use names::Names;
pub use parse::{NEVER_ENDED, head, head_of, head_with, part, part_of, prefill_wrapper, refuses_prefill, revert};
pub use places::Places;
pub use refusal::{Named, Pointer, Refusal, RefusalClass};
pub use start::{Behind, head_of_start, part_of_start};

/// A model as opencode names it: `PROVIDER/MODEL` in print.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModelRef {
    /// The provider's id in opencode's configuration.
    pub provider: String,
    /// The model's id under that provider.
    pub model: String,
}

impl std::fmt::Display for ModelRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.provider, self.model)
    }
}

/// A row of `session`, as far as it is needed. Times are ms since the Unix epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionInfo {
    /// The row's id.
    pub id: String,
    /// The session that started this one as a subagent, if any.
    pub parent_id: Option<String>,
    /// The title as stored: may hold anything, sanitise before showing.
    pub title: String,
    /// The folder in which the session was made.
    pub directory: String,
    /// The opencode version that created the session.
    pub version: String,
    /// A revert that is set and not yet carried out.
    pub revert: Option<Revert>,
    /// When it was made.
    pub time_created: i64,
    /// When it was last touched.
    pub time_updated: i64,
}

/// `session.revert`: at the next prompt or re-entry opencode removes what it names (docs/opencode.md §5.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revert {
    /// The message at which history is cut.
    pub message_id: String,
    /// The part of it from which on parts go; without it the whole message goes.
    pub part_id: Option<String>,
}

/// A session with its messages in replay order: by `(time_created, id)`, parts by id.
#[derive(Debug, Clone)]
pub struct Session {
    /// The session's own row.
    pub info: SessionInfo,
    /// The messages in replay order. Histories that differ in few rows share all the others.
    pub messages: Vec<Rc<Message>>,
    /// How much of each row was read.
    pub depth: Depth,
}

/// How much of a session's rows was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Of each row what a verdict asks: of the long result of a tool that returns text alone, only its start, and no digest
    /// of any content. Two histories of this depth cannot be compared.
    Scan,
    /// Every row whole. Edits are planned and proven on such a history alone.
    Whole,
}

impl Depth {
    /// The digest of content that is only told from other content in a history that was read whole.
    pub(crate) fn digest(self, pieces: &[&[u8]]) -> Digest {
        match self {
            Self::Scan => Digest::default(),
            Self::Whole => Digest::of(pieces),
        }
    }
}

/// A row of `message` and its parts.
#[derive(Debug, Clone)]
pub struct Message {
    /// The row's columns other than `data`.
    pub row: MessageRow,
    /// The JSON itself, where a change has made a new one.
    pub changed: Option<Arc<str>>,
    /// `data.time.created`, which later rule sets order by. JavaScript compares it as a number.
    pub created: f64,
    /// What the row says about its turn.
    pub role: Role,
    /// All of its parts, in replay order.
    pub parts: Vec<Part>,
}

/// The columns of a `message` row other than `data`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageRow {
    /// SQLite's rowid.
    pub rowid: i64,
    /// Primary key.
    pub id: String,
    /// The session it belongs to.
    pub session_id: Rc<str>,
    /// ms since the epoch; first key of the replay order.
    pub time_created: i64,
    /// ms since the epoch.
    pub time_updated: i64,
}

/// Whose turn a message is.
#[derive(Debug, Clone, PartialEq)]
pub enum Role {
    /// A user's turn.
    User(User),
    /// An assistant's turn.
    Assistant(Box<Assistant>),
}

/// Fields of a user row that the rules read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The agent that the prompt was sent to.
    pub agent: Option<Rc<str>>,
    /// The model that the prompt was sent to.
    pub model: Option<Rc<ModelRef>>,
}

/// Fields of an assistant row that the rules read.
#[derive(Debug, Clone, PartialEq)]
pub struct Assistant {
    /// The user row that it answers.
    pub parent_id: Option<Rc<str>>,
    /// The agent that answered.
    pub agent: Option<Rc<str>>,
    /// The model that answered.
    pub model: Rc<ModelRef>,
    /// Why the answer ended; `None` where JavaScript would see nothing (absent, null or empty).
    pub finish: Option<Rc<str>>,
    /// The error that the row holds.
    pub error: Option<Box<RowError>>,
    /// A compaction's summary: a finished one cuts all history before it.
    pub summary: bool,
    /// The row's tokens.
    pub tokens: Tokens,
    /// The row's cost.
    pub cost: f64,
}

/// `error` of an assistant row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowError {
    /// `APIError`, `MessageAbortedError`, `UnknownError`, …
    pub name: String,
    /// HTTP status, where one is stored.
    pub status: Option<i64>,
    /// Whether its texts say that the model takes no assistant prefill (docs/opencode.md §9).
    pub prefill_400: bool,
    /// Whose wording a prefill 400 has; `None` for any other error.
    pub wrapper: Option<Wrapper>,
    /// What any other 400 is about.
    pub refusal: Option<Refusal>,
}

/// Whose wording a prefill 400 has: what stood between the model and opencode (docs/opencode.md §9).
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    JsonSchema,
    strum::Display,
    strum::EnumIter,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Wrapper {
    /// Anthropic's sentence as it is.
    Anthropic,
    /// Amazon Bedrock, "The model returned the following errors: …".
    Bedrock,
    /// Amazon Bedrock's earlier wording, "… in the final position, which would pre-fill …".
    BedrockOld,
    /// A LiteLLM proxy.
    Litellm,
    /// A LiteLLM proxy in front of Azure.
    AzureLitellm,
    /// Another wording.
    Other,
}

impl RowError {
    /// Whether the user (or a stop of the program) aborted the answer.
    #[must_use]
    pub fn aborted(&self) -> bool {
        self.name == "MessageAbortedError"
    }
}

/// Token counts of an assistant row; missing ones are zero.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Tokens {
    /// `tokens.total`, absent before 1.15.
    pub total: f64,
    /// Prompt tokens.
    pub input: f64,
    /// Answer tokens.
    pub output: f64,
    /// Thinking tokens.
    pub reasoning: f64,
    /// Tokens read from the provider's cache.
    pub cache_read: f64,
    /// Tokens written to the provider's cache.
    pub cache_write: f64,
}

impl Tokens {
    /// What opencode compares with the model's window: `total`, or the sum where that is zero or absent.
    #[must_use]
    pub fn window(&self) -> f64 {
        if self.total == 0.0 { self.input + self.output + self.cache_read + self.cache_write } else { self.total }
    }

    /// Whether every count is zero.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }
}

/// A row of `part`, as far as the rules need it. A session may have hundreds of thousands of them: whoever writes a row
/// reads the rest of it again.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Primary key.
    pub id: Box<str>,
    /// When the row was made, in ms since the epoch.
    pub time_created: i64,
    /// Size of `data` in bytes.
    pub bytes: u64,
    /// The JSON itself, where a change has made a new one.
    pub changed: Option<Arc<str>>,
    /// What the part is.
    pub kind: PartKind,
}

/// What a text is, as far as the replay asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text {
    /// It is `""`.
    pub empty: bool,
    /// It is nothing but white space, or empty.
    pub blank: bool,
    /// It holds raw tool-call markup outside of code. Looked at in text parts only, not in thinking.
    pub leaked_call: bool,
    /// Of the text as it stands in the JSON.
    pub digest: Digest,
}

/// What a part is.
#[derive(Debug, Clone, PartialEq)]
pub enum PartKind {
    /// Text of the user or the assistant.
    Text {
        /// The text.
        text: Text,
        /// Not sent to the model.
        ignored: bool,
        /// What the provider's package has stored with it.
        metadata: Metadata,
    },
    /// The model's thinking.
    Reasoning {
        /// The text.
        text: Text,
        /// What the provider's package has stored with it.
        metadata: Metadata,
    },
    /// A request's start: where the replay cuts a row into blocks.
    StepStart,
    /// A request's end.
    StepFinish {
        /// It counts tokens or cost, which opencode adds to the session's.
        spent: bool,
    },
    /// An attached file.
    File(Box<Media>),
    /// A tool call.
    Tool(Box<ToolCall>),
    /// A pending or done `/compact`.
    Compaction {
        /// From where on history is kept beside the summary.
        tail_start_id: Option<Box<str>>,
    },
    /// A pending or done subtask.
    Subtask,
    /// Any other type: no part of the request.
    Other(Box<str>),
}

/// A tool part.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolCall {
    /// The tool's name.
    pub tool: String,
    /// The id that calls and results are told apart by.
    pub call_id: String,
    /// The provider ran it: its result stays in the assistant's turn.
    pub provider_executed: bool,
    /// What the provider's package has stored with it.
    pub metadata: Metadata,
    /// Of the tool's name, the id and the input.
    pub call: Digest,
    /// Of the id and what is said of how it came out, for an interrupted call by opencode.
    pub result: Digest,
    /// How far it came.
    pub state: ToolState,
}

/// What a tool's output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// A text.
    Text,
    /// `""`.
    Silent,
    /// There is none. A provider's own tool leaves its result elsewhere.
    Missing,
    /// An object or a list.
    Other,
}

/// How far a tool call came.
#[derive(Debug, Clone, PartialEq)]
pub enum ToolState {
    /// It ran, and its result is stored.
    Completed {
        /// Its output was pruned: attachments are not sent either.
        compacted: bool,
        /// Its output.
        output: Output,
        /// Its attachments.
        attachments: Vec<Media>,
    },
    /// It failed.
    Error {
        /// `metadata.interrupted` is true: opencode cut it off. This is what "orphan" means.
        orphan: bool,
        /// `metadata.output` is a string: replayed as a normal result.
        has_output: bool,
        /// Its text is what the replay says of a call that never ended.
        never_ended: bool,
        /// `state.time.start` in ms since the epoch.
        start: Option<f64>,
    },
    /// It was running when the row was last written.
    Running,
    /// Its input was still streaming when the row was last written.
    Pending,
}

impl ToolCall {
    /// The files that its result carries, where that is still sent whole.
    #[must_use]
    pub fn attachments(&self) -> &[Media] {
        match &self.state {
            ToolState::Completed { compacted: false, attachments, .. } => attachments,
            _ => &[],
        }
    }

    /// Whether opencode cut the call off (docs/opencode.md §3).
    #[must_use]
    pub fn orphan(&self) -> bool {
        matches!(self.state, ToolState::Error { orphan: true, .. })
    }

    /// Whether the row says that it is still going on.
    #[must_use]
    pub fn unsettled(&self) -> bool {
        matches!(self.state, ToolState::Running | ToolState::Pending)
    }
}

/// A row that could not be understood. `detail` names the field, never its content.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, JsonSchema)]
pub struct UnreadableRow {
    /// `session`, `message` or `part`.
    pub table: &'static str,
    /// The row's id, or `rowid N` where the id itself cannot be read.
    pub id: String,
    /// The session it belongs to, where that is known.
    pub session_id: Option<String>,
    /// What was expected and what was found.
    pub detail: String,
}

impl Message {
    /// The row's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.row.id
    }

    /// The assistant's fields, if it is an assistant's row.
    #[must_use]
    pub fn assistant(&self) -> Option<&Assistant> {
        match &self.role {
            Role::Assistant(a) => Some(a),
            Role::User(_) => None,
        }
    }

    /// The user's fields, if it is a user's row.
    #[must_use]
    pub fn user(&self) -> Option<&User> {
        match &self.role {
            Role::User(u) => Some(u),
            Role::Assistant(_) => None,
        }
    }

    /// The part with this id.
    #[must_use]
    pub fn part(&self, id: &str) -> Option<&Part> {
        // They stand in the order of their ids.
        let at = self.parts.binary_search_by(|part| part.id().cmp(id)).ok()?;
        self.parts.get(at)
    }

    /// Whether the row holds what not every package can send: a call that a provider ran or that has no output, or a file
    /// that is neither text nor an image.
    #[must_use]
    pub fn may_not_be_sendable(&self) -> bool {
        self.parts.iter().any(|part| match &part.kind {
            PartKind::Tool(call) => {
                call.provider_executed
                    || matches!(&call.state, ToolState::Completed { compacted: false, output: Output::Missing, .. })
                    || call.attachments().iter().any(|file| !file.is_plain())
            }
            PartKind::File(file) => !file.is_plain(),
            _ => false,
        })
    }

    /// The tool calls of the row with their parts.
    pub fn tools(&self) -> impl Iterator<Item = (&Part, &ToolCall)> {
        self.parts.iter().filter_map(|p| match &p.kind {
            PartKind::Tool(call) => Some((p, call.as_ref())),
            _ => None,
        })
    }

    /// The calls that opencode cut off, and those that are stored as still going on.
    pub fn open_calls(&self) -> impl Iterator<Item = (&Part, &ToolCall)> {
        self.tools().filter(|(_, call)| call.orphan() || call.unsettled())
    }

    /// The text parts of an assistant's row that hold raw tool-call markup.
    pub fn leaked_calls(&self) -> impl Iterator<Item = &Part> {
        let leaks = |p: &&Part| matches!(p.kind, PartKind::Text { text: Text { leaked_call: true, .. }, .. });
        self.parts.iter().filter(move |_| self.assistant().is_some()).filter(leaks)
    }

    /// Whether the row is a stored prefill 400.
    #[must_use]
    pub fn prefill_400(&self) -> bool {
        self.assistant().and_then(|a| a.error.as_deref()).is_some_and(|e| e.prefill_400)
    }

    /// A row that a repair may remove, for it holds nothing (docs/architecture.md, "What a repair may do"):
    /// a user row without parts; an assistant row without finish, cost and tokens, whose parts are at most
    /// step marks, `""` text and `""` thinking, neither with metadata of a provider, and whose error is absent, an abort
    /// or a prefill 400.
    #[must_use]
    pub fn removable(&self) -> bool {
        let Some(a) = self.assistant() else {
            return self.parts.is_empty();
        };
        a.finish.is_none()
            && !a.summary
            && a.cost == 0.0
            && a.tokens.is_zero()
            && a.error.as_deref().is_none_or(|e| e.prefill_400 || e.aborted())
            && self.parts.iter().all(|p| match &p.kind {
                PartKind::StepStart | PartKind::StepFinish { spent: false } => true,
                PartKind::Text { text, metadata, .. } | PartKind::Reasoning { text, metadata } => {
                    text.empty && metadata.as_deref().unwrap_or_default().is_empty()
                }
                _ => false,
            })
    }
}

impl Part {
    /// The part's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What the provider's package has stored with it.
    #[must_use]
    pub fn metadata(&self) -> &[Meta] {
        let metadata = match &self.kind {
            PartKind::Text { metadata, .. } | PartKind::Reasoning { metadata, .. } => metadata,
            PartKind::Tool(call) => &call.metadata,
            _ => return &[],
        };
        metadata.as_deref().unwrap_or_default()
    }

    /// Whether it is the model's thinking.
    #[must_use]
    pub fn is_reasoning(&self) -> bool {
        matches!(self.kind, PartKind::Reasoning { .. })
    }
}

impl Session {
    /// The message with this id.
    #[must_use]
    pub fn message(&self, id: &str) -> Option<&Message> {
        self.messages.iter().find(|m| m.row.id == id).map(Rc::as_ref)
    }

    /// Puts messages and parts in replay order (docs/opencode.md §2).
    pub fn sort(&mut self) {
        self.messages.sort_by(|a, b| a.row.time_created.cmp(&b.row.time_created).then_with(|| a.row.id.cmp(&b.row.id)));
        for message in &mut self.messages {
            if !message.parts.is_sorted_by(|a, b| a.id <= b.id) {
                Rc::make_mut(message).parts.sort_by(|a, b| a.id.cmp(&b.id));
            }
        }
    }
}
