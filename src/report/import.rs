//! What a scan says of opencode 2's import of opencode 1's sessions.

use super::words::plural;
use super::{Output, clean};
use crate::audit::Audit;
use crate::diagnosis::{Applicability, Code, Finding};

/// What the import would stop at, what it would leave out, and how far it has come; nothing where there is nothing to say.
#[must_use]
pub fn import(out: &Output, audit: &Audit) -> String {
    let with = |code: Code| {
        let of = move |f: &&Finding| f.code == code;
        audit.sessions.iter().filter(move |j| j.diagnosis.import.iter().any(|f| of(&f)))
    };
    let mut lines = Vec::new();
    if let Some(import) = &audit.import {
        let missing = import.missing.len() as u64;
        let lack = plural(missing, "session of opencode 1 is", "sessions of opencode 1 are");
        match (&import.next, missing) {
            (_, 0) => {}
            (Some(next), _) => lines.push(format!(
                "opencode 2's import has not come to its end: {lack} not in opencode 2. Next is {}.",
                clean(next)
            )),
            (None, _) => lines.push(format!(
                "opencode 2's import is over, and {lack} not in it: made since, or left out. opencode 2 imports once."
            )),
        }
        let copied = audit.facts.sessions.saturating_sub(missing);
        if copied > 0 {
            let copied = plural(copied, "session", "sessions");
            lines.push(format!(
                "Of {copied} opencode 2 has a copy: a repair of opencode 1's rows helps opencode 1 alone."
            ));
        }
    }
    let stops = with(Code::ImportStops).count() as u64;
    if stops > 0 {
        let at = plural(stops, "session", "sessions");
        lines.push(format!("opencode 2's import stops at {at}; no older one is imported then (import-stops)."));
        let mendable = |f: &Finding| f.code == Code::ImportStops && f.applicability == Applicability::OptIn;
        if audit.sessions.iter().any(|j| j.diagnosis.import.iter().any(mendable)) {
            lines.push(format!("Next: {}", out.command("repair --dry-run --include import")));
        }
    }
    let dropped = with(Code::ImportDropsRow).count() as u64;
    if dropped > 0 {
        lines.push(format!("opencode 2's import leaves out rows of {}.", plural(dropped, "session", "sessions")));
    }
    lines.iter().map(|line| out.wrap(line, "  ") + "\n").collect()
}
