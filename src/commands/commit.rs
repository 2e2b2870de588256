//! The end of a command that writes: what was committed, and what is known when that failed.

use std::io;
use std::path::Path;

use opencode_unstick::repair::undo::{Stand, Standing};
use opencode_unstick::store::journal::JournalWriter;
use opencode_unstick::store::{Exclusive, Store, StoreError, StoredRows, with_snapshot};

use super::Context;

/// Commits what was `written`, and notes in the journal that it was. Where the commit says that it failed, the
/// rows on disk have the last word: they may be there all the same, and then it was done.
///
/// # Errors
/// What was wrong with `written`, or with the commit: then nothing was changed.
/// [`StoreError::CommitUnclear`] when that cannot be told.
pub(super) fn commit(
    context: &Context<'_>,
    path: &Path,
    exclusive: Exclusive,
    journal: JournalWriter,
    written: Result<(), StoreError>,
) -> Result<(), StoreError> {
    if let Err(error) = written {
        drop(exclusive);
        journal.abandon();
        return Err(error);
    }
    let error = match exclusive.commit() {
        Ok(there) => {
            journal.committed(context.now);
            if !there {
                let path = opencode_unstick::report::clean(&path.display().to_string());
                context.out.note(&format!(
                    "warning: {path} was moved during the commit, and another file has taken its place"
                ));
                context.out.note("  What was done was done to the file that was moved.");
            }
            return Ok(());
        }
        Err(error) => error,
    };
    if matches!(error, StoreError::Interrupted | StoreError::RowChanged { .. }) {
        // It did not come to the commit.
        return Err(error);
    }
    let found = with_snapshot(path, |store| {
        with_now(store, |now| {
            let mut stand = Stand::default();
            journal.read_back(|entry| stand.add(&entry.edit, now))?;
            Ok(stand.standing())
        })
    });
    match found {
        Ok(Standing::NotDone) => Err(error),
        Ok(Standing::Done) => {
            journal.committed(context.now);
            let error = opencode_unstick::report::clean(&error.to_string());
            context.out.note(&format!("warning: the disk failed while the changes were made to last ({error})"));
            context.out.note("  They are in force. Look after the disk, then run `unstick scan` again.");
            Ok(())
        }
        Ok(Standing::Changed) | Err(_) => {
            Err(StoreError::CommitUnclear { path: path.to_path_buf(), detail: error.to_string() })
        }
    }
}

/// That it could not be said what was done does not undo it: the exit code still tells of the store.
pub(super) fn unsaid(context: &Context<'_>, said: io::Result<()>) {
    if let Err(error) = said {
        context.out.note(&format!("warning: it was done, and standard output cannot be written: {error}"));
    }
}

/// Looks at the store as an undo does.
///
/// # Errors
/// The first thing that could not be read.
pub(super) fn with_now<T>(
    store: &Store<'_>,
    look: impl FnOnce(&StoredRows<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let now = StoredRows::new(store);
    let result = look(&now)?;
    now.done()?;
    Ok(result)
}
