//! Rows as a store or an export holds them: ids, times in ms since the epoch, and JSON as text.
//!
//! Nothing here is checked. [`crate::decoding`] says what opencode cannot read, [`crate::history`] what the rules need.

use std::rc::Rc;

use crate::history::{self, Depth, Session, SessionInfo};
use crate::json::ShapeError;

/// A row of `session`, as far as a program looks a session up by it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SessionRow {
    /// Primary key.
    pub id: String,
    /// The project: a commit, a hash of a remote's address, or `global` where there is no repository.
    pub project_id: String,
    /// The session that started this one as a subagent.
    pub parent_id: Option<String>,
    /// The folder that it runs in, as an absolute path.
    pub directory: String,
    /// The folder below the project's root, which 1.14.34 and later store.
    pub path: Option<String>,
    /// The title as stored: may hold anything.
    pub title: String,
    /// The opencode version that made it.
    pub version: String,
    /// `revert` as JSON text.
    pub revert: Option<String>,
    /// When it was made.
    pub time_created: i64,
    /// When it was last touched.
    pub time_updated: i64,
}

/// A row of `message` with its parts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MessageRow {
    /// Primary key.
    pub id: String,
    /// The column.
    pub time_created: i64,
    /// The column `data`.
    pub data: String,
    /// By id.
    pub parts: Vec<PartRow>,
}

/// A row of `part`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PartRow {
    /// Primary key.
    pub id: String,
    /// The column.
    pub time_created: i64,
    /// The column `data`.
    pub data: String,
}

/// A row of `project`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProjectRow {
    /// Primary key.
    pub id: String,
    /// The repository's main folder; `/` for `global`.
    pub worktree: String,
    /// Other folders of the same repository, as a JSON array of paths.
    pub sandboxes: String,
}

/// The history that rows tell, for the rules: messages in replay order.
///
/// # Errors
/// Names the first row that cannot be understood.
pub fn history(session: &SessionRow, messages: &[MessageRow]) -> Result<Session, ShapeError> {
    let named = |id: &str, error: ShapeError| ShapeError(format!("{id}: {error}"));
    let info = SessionInfo {
        id: session.id.clone(),
        parent_id: session.parent_id.clone(),
        title: session.title.clone(),
        directory: session.directory.clone(),
        version: session.version.clone(),
        revert: history::revert(session.revert.as_deref()).map_err(|error| named(&session.id, error))?,
        time_created: session.time_created,
        time_updated: session.time_updated,
    };
    let session_id: Rc<str> = session.id.as_str().into();
    let message = |message: &MessageRow| {
        let row = history::MessageRow {
            rowid: 0,
            id: message.id.clone(),
            session_id: Rc::clone(&session_id),
            time_created: message.time_created,
            time_updated: message.time_created,
        };
        let head = history::head(row, &message.data).map_err(|error| named(&message.id, error))?;
        let part = |part: &PartRow| {
            let read = history::part(&part.id, part.time_created, &part.data, Depth::Whole);
            read.map_err(|error| named(&part.id, error))
        };
        Ok(Rc::new(head.with(message.parts.iter().map(part).collect::<Result<_, ShapeError>>()?)))
    };
    let messages = messages.iter().map(message).collect::<Result<_, ShapeError>>()?;
    let mut session = Session { info, messages, depth: Depth::Whole };
    session.sort();
    Ok(session)
}
