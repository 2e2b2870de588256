//! Rows as a store or an export holds them: ids, times in ms since the epoch, and JSON as text.
//!
//! Nothing here is checked. [`crate::decoding`] says what opencode cannot read, [`crate::history`] what the rules need.

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
