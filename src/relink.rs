//! A folder was moved: which rows name it, and what they have to say instead.
//!
//! opencode looks a session up by `session.directory` and runs it there (docs/opencode.md §14). It never rewrites that
//! column by itself. What is rewritten here is what opencode's own `move-session` rewrites (1.17.11 and later), and the
//! project's folders, which up to 1.14.48 follow by themselves and later keep the old path for ever. The rows of
//! messages stay: `path` there says where a turn ran, and no version looks a session up by it.
//!
//! What else names a folder (measured on the versions of docs/opencode.md §14 unless another is named):
//!
//! - `session.path` (1.14.34 and later): the folder below the repository's root, with `/` between folders; without a
//!   repository, the whole path less its first `/`. Only a list that asks for `path` uses it; if it is NULL, the
//!   directory counts.
//! - `project.id`: the id of the first commit; from 1.15.13 on, with a remote `origin`, the SHA-1 of
//!   `git-remote:HOST/PATH` (read). It is noted in `.git/opencode`; if it changes, all sessions of the noted id move
//!   along. A new clone has no note: even `scope=project` lists no old session until `session.project_id` is the new
//!   project's (measured on 1.15.13 and 1.18.34).
//! - `project.worktree` follows at the next start up to 1.14.48. Later it keeps the first start's path, and the new
//!   folder goes into `sandboxes`. No session is looked up by either; the desktop's list of projects shows them.
//! - `project_directory` (1.17.11 and later): every folder in which a project was opened.
//!
//! opencode's own move, from 1.17.11 on: `POST /experimental/control-plane/move-session` with `{sessionID, destination:
//! {directory}}` sets a session's `directory`, `path` and `time_updated` and appends an event `session.next.moved.1`:
//! `{timestamp, sessionID, location: {directory}, subdirectory}`; even if the old folder is gone, but not if the
//! project's id is another.

use crate::json::{array, quote, string};
use crate::plain::{ProjectRow, SessionRow};

/// A folder's old and new place: absolute paths without a separator at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move<'a> {
    /// Where it was.
    pub from: &'a str,
    /// Where it is.
    pub to: &'a str,
}

/// What is to be done to a row. Every column that is not named stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// A row of `session`.
    Session {
        /// Its primary key.
        id: String,
        /// The new `directory`.
        directory: String,
        /// The new `path`. A session without one is found by its directory.
        path: Option<String>,
        /// The new `project_id`, where the folder is another project's now.
        project_id: Option<String>,
    },
    /// A row of `project`.
    Project {
        /// Its primary key.
        id: String,
        /// The new `worktree`.
        worktree: String,
        /// The new `sandboxes`, as JSON.
        sandboxes: String,
    },
    /// A row of `project_directory` (1.17.11 and later).
    Directory {
        /// The first half of its primary key.
        project_id: String,
        /// The other half.
        from: String,
        /// The new `directory`; `None` where such a row is there already, and this one is to go.
        to: Option<String>,
    },
}

impl Move<'_> {
    /// Where a path is now: `None` where it is neither the moved folder nor below it.
    #[must_use]
    pub fn of(self, path: &str) -> Option<String> {
        let rest = path.strip_prefix(self.from)?;
        (rest.is_empty() || rest.starts_with(['/', '\\'])).then(|| format!("{}{rest}", self.to))
    }
}

/// The rows that name a moved folder, and what they are to say: sessions first, then projects, then their folders.
///
/// A project's id is that of its first commit, or since 1.15.13 of its remote's address, so the folder may belong to
/// another project than before; a version that was started there has stored a row for that one. The innermost project
/// around the new folder gets the session; where two are equally near, it stays where it is.
#[must_use]
pub fn relink(
    moved: Move<'_>,
    sessions: &[SessionRow],
    projects: &[ProjectRow],
    directories: &[(String, String)],
) -> Vec<Edit> {
    let mut edits = Vec::new();
    for session in sessions {
        if let Some(directory) = moved.of(&session.directory) {
            let id = session.id.clone();
            let other = other(moved, session, &directory, projects);
            let path = match other {
                Some(project) => session.path.as_ref().and_then(|_| below(&project.worktree, &directory)),
                None => path(moved, session, &directory),
            };
            edits.push(Edit::Session { id, directory, path, project_id: other.map(|project| project.id.clone()) });
        }
    }
    // A project that another has taken the place of keeps its old folder: two rows for one folder say nothing.
    let taken = |project: &&ProjectRow| {
        let new = moved.of(&project.worktree);
        new.is_none_or(|new| projects.iter().all(|other| other.id == project.id || other.worktree != new))
    };
    edits.extend(projects.iter().filter(taken).filter_map(|project| folders(moved, project)));
    for (project_id, from) in directories {
        if let Some(to) = moved.of(from) {
            let there = directories.iter().any(|(id, directory)| id == project_id && *directory == to);
            let to = (!there).then_some(to);
            edits.push(Edit::Directory { project_id: project_id.clone(), from: from.clone(), to });
        }
    }
    edits
}

/// The other project that the new folder belongs to.
fn other<'a>(
    moved: Move<'_>,
    session: &SessionRow,
    directory: &str,
    projects: &'a [ProjectRow],
) -> Option<&'a ProjectRow> {
    let own = projects.iter().find(|project| project.id == session.project_id && project.id != "global");
    let own = own.and_then(|own| moved.of(&own.worktree).or_else(|| Some(own.worktree.clone())));
    let own = own.filter(|root| below(root, directory).is_some()).map_or(0, |root| root.len());
    let around = projects.iter().filter(|project| {
        !["global", session.project_id.as_str()].contains(&project.id.as_str())
            && project.worktree.len() >= own
            && below(&project.worktree, directory).is_some()
    });
    let mut nearest: Vec<&ProjectRow> = around.collect();
    let longest = nearest.iter().map(|project| project.worktree.len()).max()?;
    nearest.retain(|project| project.worktree.len() == longest);
    match nearest.as_slice() {
        [one] => Some(one),
        _ => None,
    }
}

/// The way from a folder down to another, with `/` between folders; `None` where the other is not below it.
fn below(root: &str, directory: &str) -> Option<String> {
    let rest = directory.strip_prefix(root)?;
    let rest = if rest.is_empty() || root.ends_with('/') { Some(rest) } else { rest.strip_prefix(['/', '\\']) };
    rest.map(|rest| rest.replace('\\', "/"))
}

/// `session.path` after a move: the folder below the root of the repository, with `/` between folders. Sessions outside
/// of a repository have the root `/`.
fn path(moved: Move<'_>, session: &SessionRow, directory: &str) -> Option<String> {
    let old = session.path.as_deref()?;
    if session.project_id == "global" {
        return Some(directory.trim_start_matches('/').to_owned());
    }
    let separate = |c: char| c == '/' || c == '\\';
    let same = |a: &str, b: &str| a.split(separate).eq(b.split(separate));
    let root = match session.directory.len().checked_sub(old.len()).map(|at| session.directory.split_at_checked(at)) {
        _ if old.is_empty() => session.directory.as_str(),
        Some(Some((root, end))) if same(end, old) => root.trim_end_matches(separate),
        _ => return None,
    };
    // A root above the moved folder stays where it is; what has left it has no place below it.
    below(&moved.of(root).unwrap_or_else(|| root.to_owned()), directory)
}

fn folders(moved: Move<'_>, project: &ProjectRow) -> Option<Edit> {
    let worktree = moved.of(&project.worktree);
    // A list that cannot be read is no list of folders: the row stays as it is.
    let list = array(&project.sandboxes)?;
    let mut changed = worktree.is_some();
    let worktree = worktree.unwrap_or_else(|| project.worktree.clone());
    let mut out: Vec<String> = Vec::new();
    for raw in list {
        let folder = string(raw)?;
        let new = moved.of(&folder);
        changed |= new.is_some();
        let new = new.unwrap_or(folder);
        // opencode lists a folder once, and never the main one. Since 1.15.13 it lists a moved repository's new place.
        if new != worktree && !out.contains(&quote(&new)) {
            out.push(quote(&new));
        }
    }
    let sandboxes = format!("[{}]", out.join(","));
    changed.then(|| Edit::Project { id: project.id.clone(), worktree, sandboxes })
}

/// The event that opencode appends to a session's log when it moves one (1.17.11 and later): its type, and its data.
/// `time` is in ms since the epoch.
#[must_use]
pub fn event(session: &str, directory: &str, path: &str, time: i64) -> (&'static str, String) {
    let data = format!(
        r#"{{"timestamp":{time},"sessionID":{},"location":{{"directory":{}}},"subdirectory":{}}}"#,
        quote(session),
        quote(directory),
        quote(path)
    );
    ("session.next.moved.1", data)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOVED: Move<'static> = Move { from: "/home/a/work", to: "/srv/moved" };

    fn session(project: &str, directory: &str, path: Option<&str>) -> SessionRow {
        SessionRow {
            id: "ses_1".into(),
            project_id: project.into(),
            directory: directory.into(),
            path: path.map(str::to_owned),
            ..SessionRow::default()
        }
    }

    fn after(moved: Move<'_>, session: &SessionRow) -> Option<(String, Option<String>)> {
        match relink(moved, std::slice::from_ref(session), &[], &[]).pop()? {
            Edit::Session { directory, path, .. } => Some((directory, path)),
            _ => None,
        }
    }

    #[test]
    fn a_session_goes_where_its_folder_went() {
        let some = |directory: &str, path: &str| Some((directory.to_owned(), Some(path.to_owned())));
        assert_eq!(after(MOVED, &session("c0ffee", "/home/a/work", Some(""))), some("/srv/moved", ""));
        assert_eq!(after(MOVED, &session("c0ffee", "/home/a/work/x/y", Some("x/y"))), some("/srv/moved/x/y", "x/y"));
        assert_eq!(
            after(MOVED, &session("global", "/home/a/work", Some("home/a/work"))),
            some("/srv/moved", "srv/moved")
        );
        assert_eq!(after(MOVED, &session("c0ffee", "/home/a/work", None)), Some(("/srv/moved".into(), None)));
        assert_eq!(after(MOVED, &session("c0ffee", "/home/a/workshop", Some(""))), None, "another folder");
        assert_eq!(after(MOVED, &session("c0ffee", "/home/a", Some(""))), None, "the folder above");
        let windows = Move { from: r"C:\work", to: r"D:\moved" };
        assert_eq!(after(windows, &session("c0ffee", r"C:\work\x\y", Some("x/y"))), some(r"D:\moved\x\y", "x/y"));
    }

    #[test]
    fn a_folder_of_a_repository_keeps_its_root() {
        let below = Move { from: "/home/a/work/x", to: "/home/a/work/z/y" };
        let path = |s| after(below, &s).and_then(|(_, path)| path);
        assert_eq!(path(session("c0ffee", "/home/a/work/x/k", Some("x/k"))).as_deref(), Some("z/y/k"));
        let out = Move { from: "/home/a/work/x", to: "/srv/x" };
        let gone = after(out, &session("c0ffee", "/home/a/work/x/k", Some("x/k")));
        assert_eq!(gone, Some(("/srv/x/k".to_owned(), None)), "it has left the repository");
        let odd = after(below, &session("c0ffee", "/home/a/work/x", Some("elsewhere")));
        assert_eq!(odd, Some(("/home/a/work/z/y".to_owned(), None)), "its path was never that folder's");
    }

    #[test]
    fn a_session_goes_to_the_project_that_its_new_folder_belongs_to() {
        let project =
            |id: &str, worktree: &str| ProjectRow { id: id.into(), worktree: worktree.into(), sandboxes: "[]".into() };
        let edits = |session: &SessionRow, projects: &[ProjectRow]| {
            let mut edits = relink(MOVED, std::slice::from_ref(session), projects, &[]);
            let Edit::Session { path, project_id, .. } = edits.remove(0) else { panic!("the session comes first") };
            (path, project_id, edits)
        };
        let some = |text: &str| Some(text.to_owned());
        let (old, new) = (project("old", "/home/a/work"), project("new", "/srv/moved"));
        let below = session("old", "/home/a/work/x", Some("x"));
        assert_eq!(edits(&below, &[old.clone(), new.clone()]), (some("x"), some("new"), vec![]), "both stay");
        let around = project("around", "/srv");
        let (path, project_id, rest) = edits(&below, &[old.clone(), around.clone()]);
        assert_eq!((path, project_id, rest.len()), (some("x"), None, 1), "its own repository is nearer");
        let plain = session("global", "/home/a/work/x", Some("home/a/work/x"));
        let root = project("global", "/");
        assert_eq!(edits(&plain, &[root.clone(), new.clone()]), (some("x"), some("new"), vec![]));
        assert_eq!(edits(&plain, &[root, around]), (some("moved/x"), some("around"), vec![]));
        let twice = [old, new, project("newer", "/srv/moved")];
        assert_eq!(edits(&below, &twice).1, None, "two are equally near");
    }

    #[test]
    fn a_project_names_a_folder_once() {
        let project = |worktree: &str, sandboxes: &str| ProjectRow {
            id: "p".into(),
            worktree: worktree.into(),
            sandboxes: sandboxes.into(),
        };
        let edit = |worktree, sandboxes| match relink(MOVED, &[], &[project(worktree, sandboxes)], &[]).pop() {
            Some(Edit::Project { worktree, sandboxes, .. }) => Some((worktree, sandboxes)),
            _ => None,
        };
        let some = |worktree: &str, sandboxes: &str| Some((worktree.to_owned(), sandboxes.to_owned()));
        assert_eq!(edit("/home/a/work", r#"["/srv/moved","/x"]"#), some("/srv/moved", r#"["/x"]"#));
        assert_eq!(edit("/home/a/main", r#"["/home/a/work/b"]"#), some("/home/a/main", r#"["/srv/moved/b"]"#));
        assert_eq!(edit("/home/a/main", r#"["/x"]"#), None);
        assert_eq!(edit("/home/a/work", "[7]"), None, "a list that is not understood");
    }

    #[test]
    fn a_folder_that_is_listed_already_is_not_listed_twice() {
        let rows = [("p".into(), "/home/a/work".into()), ("p".into(), "/srv/moved".into())];
        let edit = |to| Edit::Directory { project_id: "p".into(), from: "/home/a/work".into(), to };
        assert_eq!(relink(MOVED, &[], &[], &rows), [edit(None)]);
        assert_eq!(relink(MOVED, &[], &[], &rows[..1]), [edit(Some("/srv/moved".into()))]);
    }

    #[test]
    fn the_event_is_the_one_that_opencode_writes() {
        let (kind, data) = event("ses_1", "/srv/moved/below", "below", 1_795_545_765_408);
        assert_eq!(kind, "session.next.moved.1");
        assert_eq!(
            data,
            r#"{"timestamp":1795545765408,"sessionID":"ses_1","location":{"directory":"/srv/moved/below"},"subdirectory":"below"}"#
        );
    }
}
