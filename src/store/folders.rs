//! Where sessions and projects say that they are.

use super::Store;
use super::columns::{integer, optional_text, text};
use crate::error::Result;
use crate::json::ShapeError;
use crate::plain::{ProjectRow, SessionRow};

/// A folder that sessions of opencode 1 name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// Its path.
    pub directory: String,
    /// The project of the sessions; empty where the store does not tell.
    pub project_id: String,
    /// How many sessions are there.
    pub sessions: u64,
    /// How many messages these have.
    pub messages: u64,
    /// When one of them was last touched, in ms since the epoch.
    pub last_used: i64,
}

const FOLDERS: &str = "SELECT s.directory, s.project_id, count(*), max(s.time_updated), \
     sum((SELECT count(*) FROM message m WHERE m.session_id = s.id)) \
     FROM session s GROUP BY s.directory, s.project_id ORDER BY max(s.time_updated) DESC, s.directory";
const NO_PROJECTS: &str = "SELECT s.directory, '', count(*), max(s.time_updated), \
     sum((SELECT count(*) FROM message m WHERE m.session_id = s.id)) \
     FROM session s GROUP BY s.directory ORDER BY max(s.time_updated) DESC, s.directory";
const SESSIONS: &str = "SELECT id, project_id, directory, path FROM session ORDER BY id";
const NO_PATHS: &str = "SELECT id, project_id, directory, NULL FROM session ORDER BY id";
const PROJECTS: &str = "SELECT id, worktree, sandboxes FROM project ORDER BY id";

impl Store<'_> {
    /// The folders that sessions name, the one that was used last first. Rows whose folder is no text are left out.
    ///
    /// # Errors
    /// When SQLite cannot read it.
    pub fn folders(&self) -> Result<Vec<Folder>> {
        if !self.schema().has_v1() {
            return Ok(Vec::new());
        }
        let mut statement =
            self.cached(if self.schema().has("session", "project_id") { FOLDERS } else { NO_PROJECTS })?;
        let mut rows = statement.query([])?;
        let mut out = Vec::new();
        while let Some(row) = rows.next()? {
            let folder = || -> std::result::Result<Folder, ShapeError> {
                Ok(Folder {
                    directory: text(row, 0, "directory")?.to_owned(),
                    project_id: optional_text(row, 1, "project_id")?.unwrap_or_default().to_owned(),
                    sessions: integer(row, 2, "count")?.unsigned_abs(),
                    last_used: integer(row, 3, "time_updated")?,
                    messages: integer(row, 4, "count")?.unsigned_abs(),
                })
            };
            out.extend(folder());
        }
        Ok(out)
    }

    /// The rows of `session` as far as they say where it is, by id. Rows that cannot be read are left out.
    ///
    /// # Errors
    /// When SQLite cannot read it.
    pub fn session_rows(&self) -> Result<Vec<SessionRow>> {
        if !self.schema().has("session", "project_id") {
            return Ok(Vec::new());
        }
        let mut statement = self.cached(if self.schema().has("session", "path") { SESSIONS } else { NO_PATHS })?;
        let mut rows = statement.query([])?;
        let mut out = Vec::new();
        while let Some(row) = rows.next()? {
            let session = || -> std::result::Result<SessionRow, ShapeError> {
                Ok(SessionRow {
                    id: text(row, 0, "id")?.to_owned(),
                    project_id: text(row, 1, "project_id")?.to_owned(),
                    directory: text(row, 2, "directory")?.to_owned(),
                    path: optional_text(row, 3, "path")?.map(str::to_owned),
                    ..SessionRow::default()
                })
            };
            out.extend(session());
        }
        Ok(out)
    }

    /// The rows of `project`, by id. Rows that cannot be read are left out.
    ///
    /// # Errors
    /// When SQLite cannot read it.
    pub fn project_rows(&self) -> Result<Vec<ProjectRow>> {
        if !["id", "worktree", "sandboxes"].iter().all(|column| self.schema().has("project", column)) {
            return Ok(Vec::new());
        }
        let mut statement = self.cached(PROJECTS)?;
        let mut rows = statement.query([])?;
        let mut out = Vec::new();
        while let Some(row) = rows.next()? {
            let project = || -> std::result::Result<ProjectRow, ShapeError> {
                Ok(ProjectRow {
                    id: text(row, 0, "id")?.to_owned(),
                    worktree: text(row, 1, "worktree")?.to_owned(),
                    sandboxes: text(row, 2, "sandboxes")?.to_owned(),
                })
            };
            out.extend(project());
        }
        Ok(out)
    }
}
