//! Ctrl-C while a store is read or written: SQLite is told to stop, and an open transaction is rolled back.
//!
//! Whatever was reading ended 20 to 120 ms later on a loaded machine; between two writes it is seen at once.

use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::Connection;

use crate::error::{Error, Result};

/// How many of SQLite's steps pass between two looks at the flag.
const STEPS: i32 = 10_000;

static STOPPED: AtomicBool = AtomicBool::new(false);

/// Asks whatever is going on with a store to stop.
pub fn stop() {
    STOPPED.store(true, Ordering::SeqCst);
}

/// Whether it was asked to.
///
/// # Errors
/// When it was.
pub fn check() -> Result<()> {
    if STOPPED.load(Ordering::SeqCst) { Err(Error::interrupted()) } else { Ok(()) }
}

/// Makes every statement of the connection stop when asked to.
pub(super) fn watch(db: &mut Connection) -> rusqlite::Result<()> {
    db.progress_handler(STEPS, Some(|| STOPPED.load(Ordering::SeqCst)))
}
