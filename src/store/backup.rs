//! A full copy of the store, made before anything is changed.

use std::fs;
use std::path::Path;

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use crate::error::{Error, ErrorCode, Result};
use crate::files::{create_private, sync_folder};

/// Pages that are copied between two looks at the progress.
const PAGES: i32 = 4096;

/// Copies what `db` sees to a new file at `path`, which only its owner can read. `progress` is given the pages
/// done and all pages.
///
/// # Errors
/// [`ErrorCode::Backup`] when something is at `path` already, there is not enough room for it, or it cannot be
/// written. What was made of it is taken away again.
pub fn backup_to(db: &Connection, path: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
    let failed = |detail: String| Error::new(ErrorCode::Backup, format!("no backup at {}: {detail}", path.display()));
    let count = |name: &str| db.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0));
    let needed = count("page_count")
        .and_then(|pages| count("page_size").map(|size| (pages * size).unsigned_abs()))
        .map_err(|e| failed(e.to_string()))?;
    let folder = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    let free = fs4::available_space(folder).map_err(|e| failed(format!("{}: {e}", folder.display())))?;
    if free < needed {
        return Err(failed(format!("it needs {needed} bytes, and {free} are free")));
    }
    create_private(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => failed("there is a file already, and none is ever overwritten".to_owned()),
        _ => failed(e.to_string()),
    })?;
    copy(db, path, progress).and_then(|()| sync_folder(folder).map_err(|e| e.to_string())).map_err(|e| {
        let _ = fs::remove_file(path);
        failed(e)
    })
}

fn copy(db: &Connection, path: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<(), String> {
    let mut target = Connection::open(path).map_err(|e| e.to_string())?;
    let backup = Backup::new(db, &mut target).map_err(|e| e.to_string())?;
    loop {
        super::interrupt::check().map_err(|e| e.to_string())?;
        let step = backup.step(PAGES).map_err(|e| e.to_string())?;
        let at = backup.progress();
        progress(u64::from((at.pagecount - at.remaining).unsigned_abs()), u64::from(at.pagecount.unsigned_abs()));
        match step {
            StepResult::Done => break,
            StepResult::More => {}
            _ => return Err("the store is locked".to_owned()),
        }
    }
    drop(backup);
    target.close().map_err(|(_, e)| e.to_string())?;
    fs::File::open(path).and_then(|f| f.sync_all()).map_err(|e| e.to_string())
}
