//! Folders of sessions on this machine's disk: which are gone, and where a repository may have gone.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// How many folders are looked into for one that is gone.
const MOST: usize = 2_000;
/// How deep below a starting point.
const DEPTH: usize = 2;

/// Whether a session's folder is gone. An empty path, or one that is not absolute here (a store of another system), is not.
#[must_use]
pub fn is_gone(directory: &str) -> bool {
    let path = Path::new(directory);
    path.is_absolute() && matches!(path.try_exists(), Ok(false))
}

/// A folder that may be where another went.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, schemars::JsonSchema)]
pub struct Candidate {
    /// Its path.
    pub directory: String,
    /// It is the same repository: opencode's note in it, or its first commit, is the project's id.
    pub same_project: bool,
}

/// Folders that may be where `directory` went, those of the same repository first: near the place where it was, and near
/// `known` folders. A folder of the same repository counts by any name; where the project is none (`global`), or cannot be
/// told, a folder counts by its name. At most five.
#[must_use]
pub fn candidates(directory: &str, project: &str, known: &[PathBuf]) -> Vec<Candidate> {
    let gone = Path::new(directory);
    let mut starts: BTreeSet<PathBuf> = known.iter().filter_map(|path| path.parent()).map(Path::to_path_buf).collect();
    starts.extend(gone.ancestors().skip(1).find(|path| path.is_dir()).map(Path::to_path_buf));
    // From the root everything is near.
    starts.retain(|path| path.parent().is_some());
    let mut seen = BTreeSet::new();
    let mut left = MOST;
    for start in starts {
        walk(&start, DEPTH, &mut left, &mut seen);
    }
    let mut out: Vec<Candidate> = seen
        .into_iter()
        .filter_map(|path| {
            let named = path.file_name() == gone.file_name();
            let same_project = is_project(&path, project, named);
            let other = !same_project && path.join(".git").exists() && project != "global";
            let directory = path.to_str()?.to_owned();
            (same_project || named && !other).then_some(Candidate { directory, same_project })
        })
        .collect();
    out.sort_by(|a, b| b.same_project.cmp(&a.same_project).then_with(|| a.directory.cmp(&b.directory)));
    out.truncate(5);
    out
}

/// Adds the folders below a place; hidden ones and links are passed over.
fn walk(folder: &Path, depth: usize, left: &mut usize, seen: &mut BTreeSet<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if *left == 0 {
            return;
        }
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        if hidden || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        *left -= 1;
        let path = entry.path();
        if depth > 1 && !path.join(".git").exists() {
            walk(&path, depth - 1, left, seen);
        }
        seen.insert(path);
    }
}

/// Whether a folder is the root of the project: opencode has noted its id there, or, where the name fits, git names it as the
/// first commit.
fn is_project(path: &Path, project: &str, named: bool) -> bool {
    if project.is_empty() || project == "global" {
        return false;
    }
    let git = path.join(".git");
    if let Ok(note) = fs::read_to_string(git.join("opencode")) {
        return note.trim() == project;
    }
    if !named || !git.exists() {
        return false;
    }
    let first = Command::new("git")
        .arg("-C")
        .arg(path)
        .args(["rev-list", "--max-parents=0", "HEAD"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    first.is_ok_and(|out| String::from_utf8_lossy(&out.stdout).lines().any(|line| line.trim() == project))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_known_by_its_note_and_a_plain_folder_by_its_name() {
        let place = std::env::temp_dir().join(format!("unstick-folders-{}", std::process::id()));
        for folder in ["near/renamed/.git", "near/work", "near/other/.git", "near/deep/er/work"] {
            fs::create_dir_all(place.join(folder)).unwrap();
        }
        fs::write(place.join("near/renamed/.git/opencode"), "c0ffee\n").unwrap();
        fs::write(place.join("near/other/.git/opencode"), "beef").unwrap();
        let gone = place.join("near/work-that-was");
        let at = |name: &str| place.join(name).to_str().unwrap().to_owned();
        assert!(is_gone(gone.to_str().unwrap()) && !is_gone(&at("near")) && !is_gone("") && !is_gone("work"));
        let found = candidates(gone.to_str().unwrap(), "c0ffee", &[]);
        assert_eq!(found, [Candidate { directory: at("near/renamed"), same_project: true }]);
        let plain = candidates(&at("gone/work"), "global", &[place.join("near/work")]);
        assert_eq!(plain, [Candidate { directory: at("near/work"), same_project: false }]);
        fs::remove_dir_all(&place).unwrap();
    }
}
