//! What a report says of sessions that opencode cannot read.

use std::collections::BTreeSet;

use super::clean;
use super::listing::Shown;
use crate::diagnosis::unopenable::Fails;
use crate::diagnosis::{Diagnosis, Finding, Include};

fn misfits(d: &Diagnosis) -> impl Iterator<Item = &Finding> {
    d.findings.iter().filter(|finding| finding.misfit.is_some())
}

/// What such sessions are to a person; `None` where there is none.
pub(super) fn advice(sessions: &[&Shown<'_>]) -> Option<String> {
    let mut found = sessions.iter().flat_map(|shown| misfits(shown.diagnosis)).peekable();
    found.peek()?;
    let all = found.any(|f| f.misfit.as_ref().is_some_and(|misfit| misfit.fails.contains(&Fails::WholeList)));
    let list = if all { " One of them keeps opencode from listing any session." } else { "" };
    Some(format!(
        "A session that opencode cannot read does not open (\"Bad request\"), or takes no prompt. Nothing of it is lost: every \
         word is stored.{list}"
    ))
}

/// What `repair --include` has to name to help them.
pub(super) fn mended_by(sessions: &[&Shown<'_>]) -> BTreeSet<Include> {
    sessions.iter().flat_map(|shown| &shown.diagnosis.findings).filter_map(Finding::read_by).collect()
}

/// What opencode cannot read of a session, sentence by sentence.
pub(super) fn story(d: &Diagnosis) -> Vec<String> {
    let mut out: Vec<String> = misfits(d)
        .map(|f| {
            let at = f.part_id.as_deref().unwrap_or(&f.message_id);
            let at = if at.is_empty() { d.info.id.as_str() } else { at };
            format!("- {}: {} ({})", f.code, clean(&f.detail), clean(at))
        })
        .collect();
    if !out.is_empty() {
        out.insert(0, "opencode (1.14.48 and later) cannot read what is stored here:".to_owned());
        let mended_by = |include| misfits(d).any(|f| f.read_by() == Some(include));
        let id = clean(&d.info.id);
        if mended_by(Include::Rows) {
            out.push(format!("Other rows say what is missing: `unstick repair --include rows {id}` fills it in."));
        }
        if mended_by(Include::BrokenParts) {
            out.push(format!(
                "`unstick repair --include broken-parts {id}` takes the broken part out whole; `--extract DIR` keeps it in a \
                 file, and `undo` puts it back."
            ));
        }
    }
    out
}
