//! opencode 1's rows as a store gives them, owned.

use super::{Finding, V1Message, V1Part, V1Session, examine};
use crate::opencode2::rows::SessionRow;

/// A session of opencode 1 with its rows.
#[derive(Debug, Clone, Default)]
pub struct ImportSession {
    /// `id`
    pub id: String,
    /// `directory`
    pub directory: String,
    /// `model`: JSON.
    pub model: Option<String>,
    /// `revert`: JSON.
    pub revert: Option<String>,
    /// The other columns that hold JSON, by name.
    pub documents: Vec<(&'static str, String)>,
    /// The columns that are NULL and must not be.
    pub null: Vec<&'static str>,
    /// Its messages.
    pub messages: Vec<ImportMessage>,
    /// Its parts.
    pub parts: Vec<ImportPart>,
}

/// A row of `message`.
#[derive(Debug, Clone)]
pub struct ImportMessage {
    /// `id`
    pub id: String,
    /// `time_created`, in ms since the epoch.
    pub time_created: i64,
    /// `data`
    pub data: String,
}

/// A row of `part`.
#[derive(Debug, Clone)]
pub struct ImportPart {
    /// `id`
    pub id: String,
    /// `message_id`
    pub message: String,
    /// `data`
    pub data: String,
}

impl ImportSession {
    /// What `tell` makes of everything that the import does to the session.
    pub fn examine<T>(&self, tell: impl Fn(&Finding<'_>) -> T) -> Vec<T> {
        let documents: Vec<(&'static str, &str)> = self.documents.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let row = SessionRow {
            id: &self.id,
            directory: &self.directory,
            model: self.model.as_deref(),
            revert: self.revert.as_deref(),
            documents: &documents,
            time_suspended: None,
            resume_attempts: 0,
        };
        let messages = self.messages.iter();
        let messages: Vec<V1Message<'_>> =
            messages.map(|m| V1Message { id: &m.id, time_created: m.time_created, data: &m.data }).collect();
        let parts = self.parts.iter();
        let parts: Vec<V1Part<'_>> = parts.map(|p| V1Part { id: &p.id, message: &p.message, data: &p.data }).collect();
        let session = V1Session { row, null: &self.null, messages: &messages, parts: &parts };
        examine(&session).iter().map(tell).collect()
    }
}
