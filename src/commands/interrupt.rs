//! Ctrl-C: at a question the program ends at once, in the middle of work it stops cleanly.

use std::sync::atomic::{AtomicBool, Ordering};

use opencode_unstick::store::interrupt;

use super::Exit;

static ASKING: AtomicBool = AtomicBool::new(false);

/// Listens for Ctrl-C. Where that cannot be done, the system's own way of ending a program remains.
pub(crate) fn listen() {
    let _ = ctrlc::set_handler(|| {
        interrupt::stop();
        if ASKING.load(Ordering::SeqCst) {
            // Nothing is open while a person reads, so there is nothing to clean up.
            std::process::exit(Exit::Interrupted as i32);
        }
    });
}

/// Runs `ask`, during which Ctrl-C ends the program at once.
pub(crate) fn while_asking<T>(ask: impl FnOnce() -> T) -> T {
    ASKING.store(true, Ordering::SeqCst);
    let answer = ask();
    ASKING.store(false, Ordering::SeqCst);
    answer
}
