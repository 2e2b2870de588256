//! A message without its parts.

use std::rc::Rc;

use super::{Assistant, Message, MessageRow, ModelRef, Part, Role};

/// What a row of `message` says by itself.
#[derive(Debug, Clone)]
pub struct Head {
    /// The row's columns other than `data`.
    pub row: MessageRow,
    /// `data.time.created`, in ms since the epoch.
    pub created: f64,
    /// What the row says about its turn.
    pub role: Role,
}

impl Head {
    /// The message, with all of its parts in replay order.
    #[must_use]
    pub fn with(self, parts: Vec<Part>) -> Message {
        Message { row: self.row, changed: None, created: self.created, role: self.role, parts }
    }

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

    /// The model of a prompt.
    #[must_use]
    pub fn prompted(&self) -> Option<&Rc<ModelRef>> {
        match &self.role {
            Role::User(user) => user.model.as_ref(),
            Role::Assistant(_) => None,
        }
    }
}
