//! Asking before anything is written.

use opencode_unstick::error::{Error, ErrorCode, Result};
use opencode_unstick::repair::{Plan, SessionPlan};
use opencode_unstick::report::{self, Output};

use super::Context;
use super::interrupt::while_asking;

/// Asks which sessions of the plan to go on with: all, or one by one. `titles` has theirs, by id.
pub(crate) fn choose(
    context: &Context<'_>,
    verb: &str,
    plan: &Plan,
    titles: &[(String, String)],
) -> Result<Vec<String>> {
    let of_one = |title: &str| format!("{verb}: {}? [y/N]", report::clean(title));
    choose_by(context, plan, titles, &Questions { verb, of_one: &of_one, plan_of: &|_| String::new() })
}

/// What is asked.
pub(crate) struct Questions<'a> {
    /// What is done to a session.
    pub(crate) verb: &'a str,
    /// The question about the only session, from its title.
    pub(crate) of_one: &'a dyn Fn(&str) -> String,
    /// What is shown of a session before it is asked for by itself.
    pub(crate) plan_of: &'a dyn Fn(&SessionPlan) -> String,
}

/// [`choose`], with questions of its own.
pub(crate) fn choose_by(
    context: &Context<'_>,
    plan: &Plan,
    titles: &[(String, String)],
    questions: &Questions<'_>,
) -> Result<Vec<String>> {
    let Questions { verb, of_one, plan_of } = questions;
    if !Output::interactive() || context.global.json {
        return Err(Error::new(ErrorCode::NeedsYes, "there is nobody to ask"));
    }
    let title = |id: &str| titles.iter().find(|(known, _)| known == id).map_or("", |(_, title)| title);
    let choices: Vec<(String, String)> =
        plan.sessions.iter().map(|s| (s.id.clone(), title(&s.id).to_owned())).collect();
    let all = || choices.iter().map(|(id, _)| id.clone()).collect();
    let question = match choices.len() {
        1 => of_one(&choices[0].1),
        n => format!("{verb} all {n}? [y/N/each]"),
    };
    loop {
        match ask(context, &question)?.as_deref() {
            Some("y" | "yes" | "a" | "all") => return Ok(all()),
            Some("e" | "each") if choices.len() > 1 => break,
            Some("" | "n" | "no" | "q" | "quit") | None => return Ok(Vec::new()),
            Some(_) if choices.len() > 1 => {
                context.out.note("Please answer y (go on), n (change nothing) or each (ask for every session).");
            }
            Some(_) => context.out.note("Please answer y (go on) or n (change nothing)."),
        }
    }
    let mut chosen = Vec::new();
    let mut at = 0;
    while at < choices.len() {
        let (id, title) = &choices[at];
        let shown = plan_of(&plan.sessions[at]);
        if !shown.is_empty() {
            context.out.note(&format!("\n{}", shown.trim_end()));
        }
        match ask(context, &format!("{verb}: {}? [y/n/all/quit]", report::clean(title)))?.as_deref() {
            Some("y" | "yes") => chosen.push(id.clone()),
            Some("n" | "no") => {}
            Some("a" | "all") => {
                chosen.extend(choices[at..].iter().map(|(id, _)| id.clone()));
                break;
            }
            // Leaving in the middle means that nothing is wanted: a half answer is no yes.
            Some("q" | "quit") | None => return Ok(Vec::new()),
            Some(_) => {
                context.out.note("y: this one, n: not this one, all: this and the rest, quit: change nothing.");
                continue;
            }
        }
        at += 1;
    }
    let left = choices.len() - chosen.len();
    if left > 0 && !chosen.is_empty() {
        context.out.note(&format!("{left} of {} left as they are.", choices.len()));
    }
    Ok(chosen)
}

fn ask(context: &Context<'_>, question: &str) -> Result<Option<String>> {
    Ok(while_asking(|| context.out.ask(question))?)
}
