//! Asking before anything is written.

use anyhow::Error;
use opencode_unstick::report::{self, Output};

use super::interrupt::while_asking;
use super::{CallError, Context};

/// Asks which of the `(id, title)` to go on with: all, or one by one.
pub(crate) fn choose(context: &Context<'_>, verb: &str, choices: &[(String, String)]) -> Result<Vec<String>, Error> {
    if !Output::interactive() || context.global.json {
        let hint = "add --yes to go on without being asked, or --dry-run to see the plan alone";
        return Err(CallError::new("needs-yes", "there is nobody to ask", hint).into());
    }
    let all = || choices.iter().map(|(id, _)| id.clone()).collect();
    let question = match choices.len() {
        1 => format!("{verb} it? [y/N]"),
        n => format!("{verb} all {n}? [y/N/each]"),
    };
    match while_asking(|| context.out.ask(&question))?.as_deref() {
        Some("y" | "yes" | "a" | "all") => return Ok(all()),
        Some("e" | "each") if choices.len() > 1 => {}
        _ => return Ok(Vec::new()),
    }
    let mut chosen = Vec::new();
    for (at, (id, title)) in choices.iter().enumerate() {
        match while_asking(|| context.out.ask(&format!("{verb} \"{}\"? [y/n/all/quit]", report::clean(title))))?
            .as_deref()
        {
            Some("y" | "yes") => chosen.push(id.clone()),
            Some("a" | "all") => {
                chosen.extend(choices[at..].iter().map(|(id, _)| id.clone()));
                break;
            }
            Some("n" | "no") => {}
            _ => break,
        }
    }
    Ok(chosen)
}
