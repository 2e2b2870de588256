//! Sessions of opencode 2 as a store gives them, owned; the rest of the room borrows from these.

use super::predict::Session;
use super::rows::{MessageRow, SessionRow, WaitingRow};
use crate::history::{ModelRef, SessionInfo, UnreadableRow};

/// A row of `session_v2`, or of the preview's `session`.
#[derive(Debug, Clone)]
pub struct StoredSession {
    /// What every session has. A title that is NULL is empty, and what is reverted is in [`StoredSession::revert`].
    pub info: SessionInfo,
    /// `model`: JSON.
    pub model: Option<String>,
    /// `revert`: JSON.
    pub revert: Option<String>,
    /// The other columns that hold JSON, by name.
    pub documents: Vec<(&'static str, String)>,
    /// `time_suspended`, in ms since the epoch.
    pub time_suspended: Option<i64>,
    /// `resume_attempts`
    pub resume_attempts: i64,
}

/// A row of `session_message`.
#[derive(Debug, Clone)]
pub struct StoredMessage {
    /// `id`
    pub id: String,
    /// `type`
    pub kind: String,
    /// `seq`
    pub seq: i64,
    /// `time_created`, in ms since the epoch.
    pub time_created: i64,
    /// `data`; of a very large row, with long strings cut short.
    pub data: String,
}

/// A row of `session_inbox`, or of `session_pending`.
#[derive(Debug, Clone)]
pub struct StoredWaiting {
    /// `id`
    pub id: String,
    /// `type`
    pub kind: String,
    /// `payload`, or `data`.
    pub data: String,
    /// `delivery`
    pub delivery: Option<String>,
    /// `enqueued_seq`, or `admitted_seq`.
    pub seq: i64,
}

/// The rows that carry a session's id.
#[derive(Debug, Clone, Default)]
pub struct StoredRows {
    /// Its messages, in the order of `seq`.
    pub messages: Vec<StoredMessage>,
    /// What waits in it.
    pub waiting: Vec<StoredWaiting>,
    /// Rows whose columns have other types than the tables say.
    pub unreadable: Vec<UnreadableRow>,
}

impl StoredSession {
    /// Asks something of the session with its rows.
    pub fn with<T>(&self, rows: &StoredRows, ask: impl FnOnce(&Session<'_>) -> T) -> T {
        let messages = rows.messages.iter().map(|m| MessageRow {
            id: &m.id,
            kind: &m.kind,
            seq: m.seq,
            time_created: m.time_created,
            data: &m.data,
        });
        let messages = super::history::entries(messages);
        let waiting = rows.waiting.iter().map(|w| WaitingRow {
            id: &w.id,
            kind: &w.kind,
            data: &w.data,
            delivery: w.delivery.as_deref(),
            seq: w.seq,
        });
        let waiting: Vec<WaitingRow<'_>> = waiting.collect();
        let documents: Vec<(&'static str, &str)> = self.documents.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let row = SessionRow {
            id: &self.info.id,
            directory: &self.info.directory,
            model: self.model.as_deref(),
            revert: self.revert.as_deref(),
            documents: &documents,
            time_suspended: self.time_suspended,
            resume_attempts: self.resume_attempts,
        };
        ask(&Session { row, messages: &messages, waiting: &waiting })
    }

    /// The model that the session's row names.
    #[must_use]
    pub fn model(&self) -> Option<ModelRef> {
        let model = super::decode::model_of(self.model.as_deref()?)?;
        Some(ModelRef { provider: model.provider.decode().into_owned(), model: model.id.decode().into_owned() })
    }
}
