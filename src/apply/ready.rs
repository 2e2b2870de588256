//! Whether a plan could be carried out now, as far as that can be told without touching anything: it is said before the plan
//! is shown, so that nobody says yes to what cannot be done.

use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorCode, Result};
use crate::files::may_write;
use crate::repair::Plan;
use crate::store::check_ready;

/// Where a plan would be written, and what is there.
pub struct Places<'a> {
    /// The store.
    pub store: &'a Path,
    /// The folder in which undo journals are kept, or why there is none.
    pub journals: Result<PathBuf>,
    /// Room that is left on the disk of a folder, in bytes, where the system tells.
    pub free: &'a dyn Fn(&Path) -> Option<u64>,
}

impl std::fmt::Debug for Places<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Places").field("store", &self.store).field("journals", &self.journals).finish_non_exhaustive()
    }
}

/// What keeps the plan from being carried out, worst first; nothing where nothing is known to. An empty plan needs nothing.
#[must_use]
pub fn obstacles(plan: &Plan, places: Places<'_>) -> Vec<Error> {
    if plan.sessions.is_empty() {
        return Vec::new();
    }
    let mut found = check_ready(places.store);
    let needed = rows_in_bytes(plan);
    match places.journals {
        Err(none) => found.push(none),
        Ok(folder) => {
            found.extend(journal_folder(&folder).err());
            found.extend(room("undo journal", &existing(&folder), needed, places.free).err());
        }
    }
    let real = places.store.canonicalize().unwrap_or_else(|_| places.store.to_path_buf());
    found.extend(room("store", real.parent().unwrap_or(Path::new("/")), needed, places.free).err());
    found
}

/// The size of the rows that a plan changes, before and after. A journal holds both, and so do the pages that SQLite writes:
/// less than this is surely too little.
fn rows_in_bytes(plan: &Plan) -> u64 {
    let edits = plan.sessions.iter().flat_map(|session| &session.edits);
    let rows = edits.flat_map(|edit| [&edit.before, &edit.after]).flatten();
    rows.flat_map(|row| row.values()).map(|cell| cell.bytes()).sum()
}

/// The folder, or the nearest one above it that is there.
fn existing(folder: &Path) -> PathBuf {
    folder.ancestors().find(|above| above.symlink_metadata().is_ok()).unwrap_or(Path::new(".")).to_path_buf()
}

fn journal_folder(folder: &Path) -> Result<()> {
    let there = existing(folder);
    let cannot = |why: &str| {
        let message = format!("the undo journal at {} cannot be written: {why}", folder.display());
        Err(Error::new(ErrorCode::Journal, message))
    };
    if !there.is_dir() {
        return cannot(&format!("{} is not a folder", there.display()));
    }
    if !may_write(&there) {
        return cannot(&format!("no permission to write {}", there.display()));
    }
    Ok(())
}

fn room(what: &str, folder: &Path, needed: u64, free: &dyn Fn(&Path) -> Option<u64>) -> Result<()> {
    match free(folder) {
        Some(left) if left < needed => {
            let folder = folder.display();
            let message =
                format!("{folder}: the disk has {left} bytes left, and the {what} needs {needed} bytes or more");
            Err(Error::new(ErrorCode::DiskFull, message))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_missing_can_be_made_and_one_under_a_file_cannot() {
        let place = tempfile::tempdir().unwrap();
        assert!(journal_folder(&place.path().join("a/b/c")).is_ok());
        let file = place.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = journal_folder(&file.join("a")).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Journal);
        assert!(error.to_string().contains("file is not a folder"), "{error}");
    }

    #[test]
    fn too_little_room_is_said_and_room_that_is_not_known_is_none() {
        let at = Path::new("/somewhere");
        assert!(room("store", at, 100, &|_| None).is_ok());
        assert!(room("store", at, 100, &|_| Some(100)).is_ok());
        let error = room("store", at, 100, &|_| Some(99)).unwrap_err();
        assert_eq!(error.code(), ErrorCode::DiskFull);
        assert_eq!(error.to_string(), "/somewhere: the disk has 99 bytes left, and the store needs 100 bytes or more");
    }
}
