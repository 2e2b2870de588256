//! The rows of opencode 2 as they are stored, and as they are decoded. Nothing of a row's `data` is copied.

use super::json::{Raw, Text};
use super::shape::Misfit;

/// A row of `session_message`.
#[derive(Debug, Clone, Copy)]
pub struct MessageRow<'a> {
    /// `id`.
    pub id: &'a str,
    /// `type`.
    pub kind: &'a str,
    /// `seq`: the order of the replay, unique in its session.
    pub seq: i64,
    /// `time_created`, in ms since the epoch.
    pub time_created: i64,
    /// `data`: JSON without the id and the type.
    pub data: &'a str,
}

/// A prompt that waits: a row of `session_inbox`, or of the preview's `session_pending`.
#[derive(Debug, Clone, Copy)]
pub struct WaitingRow<'a> {
    /// `id`.
    pub id: &'a str,
    /// `type`.
    pub kind: &'a str,
    /// `payload` or `data`.
    pub data: &'a str,
    /// `delivery`; a compaction has none.
    pub delivery: Option<&'a str>,
    /// `enqueued_seq` or `admitted_seq`.
    pub seq: i64,
}

/// A row of `session_v2`, or of the preview's `session`, as far as something depends on it.
#[derive(Debug, Clone, Copy)]
pub struct SessionRow<'a> {
    /// `id`.
    pub id: &'a str,
    /// `directory`.
    pub directory: &'a str,
    /// `model`: JSON.
    pub model: Option<&'a str>,
    /// `revert`: JSON.
    pub revert: Option<&'a str>,
    /// The other columns that hold JSON, by name: `metadata`, `permission`, `summary_diffs`.
    pub documents: &'a [(&'static str, &'a str)],
    /// `time_suspended`, in ms since the epoch. Such a session is resumed when the service starts.
    pub time_suspended: Option<i64>,
    /// `resume_attempts`; the preview has no such column.
    pub resume_attempts: i64,
}

/// A row that does not decode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undecodable<'a> {
    /// The row.
    pub id: &'a str,
    /// Where, and what would decode there.
    pub why: Misfit,
}

/// Who a model belongs to and what it is called.
#[derive(Debug, Clone, Copy)]
pub struct Model<'a> {
    /// `providerID`.
    pub provider: Text<'a>,
    /// `id`.
    pub id: Text<'a>,
}

/// A decoded row, narrowed to what a request and the findings need.
#[derive(Debug)]
pub enum Message<'a> {
    /// A prompt: its skills, its text and its files.
    User {
        /// The texts of skills that were called by it (released programs).
        skills: Vec<Text<'a>>,
        /// `text`.
        text: Text<'a>,
        /// `files`.
        files: Vec<Attachment<'a>>,
    },
    /// What is sent as the user's words: a notice, a skill, a shell command, a change of folder.
    AsUser(AsUser<'a>),
    /// An update of the instructions.
    System(Text<'a>),
    /// An answer.
    Assistant(Assistant<'a>),
    /// A completed summary: `summary` and `recent`.
    Summary(Text<'a>, Text<'a>),
    /// Sent as nothing: switches of agent and model, the mark of a turn's end, and compactions that run or have failed.
    Nothing,
}

/// Words that are sent as the user's.
#[derive(Debug)]
pub enum AsUser<'a> {
    /// As they stand.
    Words(Text<'a>),
    /// A command and what it printed.
    Shell(Text<'a>, Option<Text<'a>>),
    /// The folder that the session moved to.
    Moved(Text<'a>),
}

/// A file of a prompt.
#[derive(Debug, Clone, Copy)]
pub struct Attachment<'a> {
    /// `mime`.
    pub mime: Text<'a>,
    /// `data`: base64.
    pub data: Text<'a>,
    /// `name`.
    pub name: Option<Text<'a>>,
    /// `source.uri`.
    pub uri: Option<Text<'a>>,
    /// `description`.
    pub description: Option<Text<'a>>,
}

/// An answer.
#[derive(Debug)]
pub struct Assistant<'a> {
    /// The model that gave it.
    pub model: Model<'a>,
    /// Its parts, in order.
    pub parts: Vec<Part<'a>>,
    /// `error`: its type and message.
    pub error: Option<(Text<'a>, Text<'a>)>,
    /// Whether it has a `time.completed`.
    pub completed: bool,
    /// The sum of `tokens`: what the request and the answer took.
    pub tokens: Option<f64>,
}

/// A part of an answer.
#[derive(Debug)]
pub enum Part<'a> {
    /// Text, and the provider's state with it.
    Text(Text<'a>, Option<Raw<'a>>),
    /// Thinking, and the provider's state with it: a signature, or encrypted content.
    Reasoning(Text<'a>, Option<Raw<'a>>),
    /// A call.
    Tool(Tool<'a>),
}

/// A call of a tool.
#[derive(Debug)]
pub struct Tool<'a> {
    /// `id`: the call's.
    pub id: Text<'a>,
    /// `name`.
    pub name: Text<'a>,
    /// Whether the provider ran it.
    pub executed: bool,
    /// `providerState`.
    pub state: Option<Raw<'a>>,
    /// `providerResultState`.
    pub result_state: Option<Raw<'a>>,
    /// What became of it.
    pub status: Status<'a>,
    /// `time.completed`, in ms since the epoch.
    pub ended: Option<f64>,
}

/// What became of a call.
#[derive(Debug)]
pub enum Status<'a> {
    /// Still being written, or still running: settled as an error when a run starts.
    Open,
    /// Its content.
    Completed(Vec<Output<'a>>),
    /// Its error.
    Error(Failure<'a>),
}

/// Why a call failed.
#[derive(Debug)]
pub struct Failure<'a> {
    /// `error.type`.
    pub kind: Text<'a>,
    /// `error.message`.
    pub message: Text<'a>,
    /// `metadata.interrupted`, which orphans of opencode 1 keep.
    pub interrupted: bool,
}

/// A piece of a result.
#[derive(Debug, Clone, Copy)]
pub enum Output<'a> {
    /// Text.
    Text(Text<'a>),
    /// A file: its type and where it is.
    File(Text<'a>, Text<'a>),
}
