//! What a report says of sessions that opencode cannot read.

use super::human::plural;
use super::{Output, clean};
use crate::audit::Audit;
use crate::diagnosis::unopenable::Fails;
use crate::diagnosis::{Applicability, Diagnosis, Finding};

fn misfits(d: &Diagnosis) -> impl Iterator<Item = &Finding> {
    d.findings.iter().filter(|finding| finding.misfit.is_some())
}

/// How many sessions of a scan opencode cannot read, what that means, and where to read on; nothing where there is none.
#[must_use]
pub fn unopenable(out: &Output, audit: &Audit) -> String {
    let found: Vec<&Diagnosis> =
        audit.sessions.iter().map(|judged| &judged.diagnosis).filter(|d| misfits(d).next().is_some()).collect();
    let Some(first) = found.first() else { return String::new() };
    let n = plural(found.len() as u64, "session has", "sessions have");
    let whole_list = found
        .iter()
        .flat_map(|d| misfits(d))
        .any(|f| f.misfit.as_ref().is_some_and(|misfit| misfit.fails.contains(&Fails::WholeList)));
    let all = if whole_list { " One of them keeps opencode from listing any session." } else { "" };
    let text = format!(
        "{n} a row that opencode cannot read, so it does not open, or takes no prompt (\"Bad request\"). Nothing of it is lost: \
         every word is stored.{all}"
    );
    let why = out.command(&format!("explain {}", clean(&first.info.id)));
    let mendable = |d: &&Diagnosis| misfits(d).any(|f| f.applicability == Applicability::OptIn);
    let next = match found.iter().copied().find(mendable) {
        Some(_) => format!("Next: {}\n", out.command("repair --dry-run --include rows")),
        None => String::new(),
    };
    format!("\n{}\nWhy:  {why}\n{next}", out.wrap(&text, ""))
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
    }
    out
}
