//! What a plan does, step by step: what people are told, and why each row is touched.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::change::Change;
use crate::diagnosis::Code;
use crate::history::{Message, Session};

/// One thing that is done to a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// The message that it is about.
    pub message_id: String,
    /// When that message's row was made, or the part's that is redacted, in ms since the epoch.
    pub time_ms: i64,
    /// The finding that it is done for.
    pub reason: Code,
    /// What is done.
    pub action: Action,
}

/// What is done to a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// A prompt without parts is removed.
    RemovePrompt,
    /// A refused request without content is removed.
    RemoveRefusal,
    /// An answer without content is removed.
    RemoveAnswer,
    /// An answer is cut in two after its last tool call.
    Split {
        /// The new row, which takes what stands behind the cut.
        new_id: String,
        /// How many parts move to it.
        moved: u64,
    },
    /// An answer is marked.
    Settle {
        /// As finished.
        finished: bool,
        /// As the answer to the newest prompt.
        answers_newest: bool,
    },
    /// A tool call that is stored as still going on is brought to an end.
    EndCall {
        /// The call's part.
        part_id: String,
    },
    /// A part's URL gets the escapes that it lacks.
    EncodeUrl {
        /// The part.
        part_id: String,
    },
    /// An answer is marked as ended when its last part was.
    Complete,
    /// Members that other rows tell are added to a message.
    FillIn {
        /// The members.
        members: Vec<String>,
    },
    /// A part gets the id that opencode expects.
    RenamePart {
        /// The part.
        part_id: String,
        /// Its new id.
        new_id: String,
    },
    /// A part whose JSON is broken is removed.
    TakeOut {
        /// The part.
        part_id: String,
        /// The size of what it holds, in bytes.
        bytes: u64,
    },
    /// Content is taken out of what the model is sent, or sent otherwise.
    Redact(Redaction),
    /// A row of opencode 2: what the provider wants back with a part is taken out.
    DropState {
        /// The place in the row's `content`.
        part: usize,
    },
    /// A row of opencode 2: thinking is made plain text.
    ThinkingAsText {
        /// The place in the row's `content`.
        part: usize,
        /// It holds no word: text without one is not sent.
        empty: bool,
    },
}

/// One thing that the model is no longer sent, or is sent otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Redaction {
    /// The part row.
    pub part_id: String,
    /// Which of the part's attachments, from 0; `None` where it is the part itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attachment: Option<usize>,
    /// How.
    pub by: Means,
    /// What is wrong with it.
    pub what: String,
    /// The media type of a file that leaves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime: Option<String>,
    /// Its size, as base64 where it is a file, in bytes.
    pub bytes: u64,
    /// What is sent in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead: Option<String>,
}

/// How content is taken out of what the model is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Means {
    /// The part is written anew.
    Rewritten,
    /// The part is removed.
    Removed,
    /// The answer is marked as aborted, and opencode passes over it.
    MarkedAsAborted,
}

impl Means {
    /// What the changes do to the part that they are for, which the last of them is about.
    pub(super) fn of(changes: &[Change]) -> Self {
        match changes.last() {
            Some(Change::RemovePart { .. }) => Self::Removed,
            Some(Change::SetData { .. }) => Self::MarkedAsAborted,
            _ => Self::Rewritten,
        }
    }
}

impl Step {
    /// The step that a change of a history's tail is. `before` and `after` are the histories around it.
    pub(super) fn of(change: &Change, before: &Session, after: &Session) -> Option<Self> {
        let message = before.message(change.message())?;
        let action = match change {
            Change::Remove { .. } => match message.assistant() {
                None => Action::RemovePrompt,
                Some(a) if a.error.is_some() => Action::RemoveRefusal,
                Some(_) => Action::RemoveAnswer,
            },
            Change::Split { new_id, .. } => {
                let moved = after.message(new_id).map_or(0, |m| m.parts.len());
                Action::Split { new_id: new_id.clone(), moved: moved as u64 }
            }
            Change::SetData { reason: Code::ImportHidesHistory, .. } => Action::Complete,
            Change::SetPart { part, reason: Code::ImportStops, .. } => Action::EncodeUrl { part_id: part.clone() },
            Change::SetData { .. } => {
                let is = after.message(message.id())?;
                let finish = |m: &Message| m.assistant().and_then(|a| a.finish.clone());
                let parent = |m: &Message| m.assistant().and_then(|a| a.parent_id.clone());
                Action::Settle {
                    finished: finish(message) != finish(is),
                    answers_newest: parent(message) != parent(is),
                }
            }
            Change::FillIn { members, .. } => {
                Action::FillIn { members: members.iter().map(|name| (*name).to_owned()).collect() }
            }
            Change::RenamePart { part, new_id, .. } => {
                Action::RenamePart { part_id: part.clone(), new_id: new_id.clone() }
            }
            Change::SetPart { part, .. } | Change::RemovePart { part, .. } => Action::EndCall { part_id: part.clone() },
        };
        let (message_id, time_ms) = (message.row.id.clone(), message.row.time_created);
        Some(Self { message_id, time_ms, reason: change.reason(), action })
    }

    /// What the model is no longer sent by it.
    #[must_use]
    pub fn redaction(&self) -> Option<&Redaction> {
        match &self.action {
            Action::Redact(redaction) => Some(redaction),
            _ => None,
        }
    }

    /// Whether the model is told less by it, or otherwise.
    #[must_use]
    pub fn redacts(&self) -> bool {
        let told_less = matches!(self.action, Action::Redact(_) | Action::DropState { .. });
        told_less || matches!(self.action, Action::ThinkingAsText { empty: false, .. })
    }

    /// The messages that it touches or makes.
    pub fn messages(&self) -> impl Iterator<Item = &str> {
        let new = match &self.action {
            Action::Split { new_id, .. } => Some(new_id.as_str()),
            _ => None,
        };
        std::iter::once(self.message_id.as_str()).chain(new)
    }
}
