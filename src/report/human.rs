//! What people see. Titles are cleaned; no content of a session is shown.

use jiff::tz::TimeZone;

use super::layout::named;
use super::listing::cause;
use super::words::{plural, sentences, size};
use super::{Output, StoreDoc, clean};
use crate::apply::PlannedRepair;
use crate::diagnosis::{Format, Left};
use crate::error::Error;
use crate::repair::{Plan, SessionPlan};
use crate::rows::Table;

/// By which opencode versions the store is judged, and where that comes from.
#[must_use]
pub fn bound_words(store: &StoreDoc) -> String {
    format!("{} ({})", rules_words(store), clean(&store.opencode.source))
}

fn rules_words(store: &StoreDoc) -> String {
    match store.opencode.bound.as_str() {
        "any" => "judged by the rules of every opencode".to_owned(),
        bound => format!("judged by the rules of opencode {} and newer", clean(bound)),
    }
}

/// The lines about the store; `source`: with where it is known from by which versions it is judged.
pub(super) fn store_line(out: &Output, store: &StoreDoc, source: bool) -> String {
    let bound = if source { bound_words(store) } else { rules_words(store) };
    let path = store.path.as_deref().unwrap_or("store");
    // The path stands alone: it may be long, and it is there to be copied.
    let sessions = plural(store.sessions, "session", "sessions");
    let line = match (store.sessions, store.sessions_v2) {
        (_, 0) => format!("{sessions} · {} · {}", size(store.bytes), bound),
        (0, n) => format!("{} of opencode 2 · {}", plural(n, "session", "sessions"), size(store.bytes)),
        (_, n) => {
            format!("{sessions} of opencode 1, {n} of opencode 2 · {} · {}", size(store.bytes), bound)
        }
    };
    out.dim(&format!("{}\n{}", clean(path), out.wrap(&line, "")))
}

/// What is said of a plan after which the next prompt has fewer turns.
const EMPTY_ANSWERS: &str = "the next prompt no longer sends the empty answer: an assistant's turn without a word";

/// What keeps a plan from being carried out now, above it.
#[must_use]
pub fn obstacles(out: &Output, errors: &[Error]) -> String {
    let say = |error: &Error| {
        let head = format!("Not now [{}]:", error.code());
        let line = out.wrap(&format!("{head} {}", clean(&error.to_string())), "  ");
        let next = out.wrap(&format!("  next: {}", clean(error.next())), "    ");
        format!("{}\n{next}\n", line.replacen(&head, &out.paint("33", &head), 1))
    };
    errors.iter().map(say).collect()
}

/// A plan in words, session by session, each with its cause.
#[must_use]
pub fn plan(out: &Output, planned: &PlannedRepair, now: i64) -> String {
    planned.plan.sessions.iter().map(|session| session_plan(out, planned, session, now)).collect()
}

/// The plan of one session in words.
#[must_use]
pub fn session_plan(out: &Output, planned: &PlannedRepair, session: &SessionPlan, now: i64) -> String {
    let zone = TimeZone::system();
    let mut text = String::new();
    let title = planned.titles.iter().find(|(id, _)| *id == session.id).map_or("", |(_, t)| t);
    text.push_str(&named(out, &session.id, title));
    let format = session.format();
    let judged =
        planned.audit.sessions.iter().find(|j| j.diagnosis.format == format && j.diagnosis.info.id == session.id);
    if let Some(cause) = judged.map(|j| cause(&j.diagnosis)).filter(|cause| !cause.is_empty()) {
        text.push_str(&(out.wrap(&format!("  cause: {cause}"), "    ") + "\n"));
    }
    for sentence in sentences(&session.steps, now, &zone) {
        text.push_str(&out.wrap(&format!("  - {sentence}\n"), "    "));
    }
    if session.redacts() {
        text.push_str(&out.wrap(
            "  This is not without loss: the model is told less, or otherwise, from now on. `undo` gives every row back.\n",
            "  ",
        ));
    }
    for row in &session.still_unread {
        let what =
            if session.format() == Format::V2 { "still wrong" } else { "opencode still cannot read a row of it" };
        let line = format!("  - {what}: {}\n", clean(row));
        text.push_str(&out.wrap(&line, "    "));
    }
    if session.empty_answers {
        text.push_str(&out.wrap(&format!("  - {EMPTY_ANSWERS}\n"), "    "));
    }
    if let Some(why) = &session.log_not_updated {
        let line = format!("  - event log not updated: it already disagreed with the rows ({})\n", clean(why));
        text.push_str(&out.wrap(&line, "    "));
    }
    if out.verbose {
        for (edit, step) in session.edits() {
            let reason = step.map(|step| format!(" ({})", step.reason)).unwrap_or_default();
            let line = format!("    {} {} {}{reason}\n", edit.op(), edit.table, clean(&edit.id));
            text.push_str(&out.dim(&line));
        }
    }
    text
}

/// Sessions that are left, and why.
#[must_use]
pub fn left(out: &Output, left: &[Left], titles: &[(String, String)]) -> String {
    let mut text = String::new();
    for one in left {
        let title = titles.iter().find(|(id, _)| *id == one.id).map_or("", |(_, t)| t);
        text.push_str(&named(out, &one.id, title));
        let head = "left as it is";
        let line = out.wrap(&format!("  {head}: {} ({})\n", clean(&one.detail), one.reason), "    ");
        text.push_str(&line.replacen(head, &out.paint("33", head), 1));
    }
    text
}

/// How many sessions are left as they are.
#[must_use]
pub fn remain(n: usize) -> String {
    format!("{} left as {}.", plural(n as u64, "session is", "sessions are"), if n == 1 { "it is" } else { "they are" })
}

/// What a repair did; `left` is the number of sessions that it left.
#[must_use]
pub fn repaired(out: &Output, plan: &Plan, left: usize, undo: &str) -> String {
    let edits = || plan.sessions.iter().flat_map(|s| &s.edits);
    let rows = edits().filter(|e| !e.table.is_log()).count();
    let told = edits().filter(|e| e.table == Table::Event).count() as u64;
    let log =
        if told == 0 { String::new() } else { format!(", {} told to opencode's log", plural(told, "event", "events")) };
    let newer = |session: &SessionPlan| session.format() == Format::V2;
    let told_less = |session: &SessionPlan| session.redacts() || session.empty_answers || newer(session);
    let proven = if plan.sessions.iter().any(told_less) {
        "proven that the next prompt differs in nothing but what was named"
    } else {
        "proven to resume with the same next prompt"
    };
    // Of a session that opencode could not read nothing was sent before, and nothing else was looked at.
    let taken_out = plan.sessions.iter().filter(|session| session.takes_out()).count();
    let filled = plan.sessions.iter().filter(|session| newer(session) && !session.redacts()).count();
    let proven = match taken_out + filled {
        0 => proven.to_owned(),
        n if n == plan.sessions.len() => "every other row as it was".to_owned(),
        _ => format!("those that could be read before {proven}"),
    };
    let done = format!(
        "Repaired {}: {} of messages and parts changed{log}, read again, {proven}.",
        plural(plan.sessions.len() as u64, "session", "sessions"),
        plural(rows as u64, "row", "rows")
    );
    if out.quiet {
        let left = if left == 0 { String::new() } else { format!(" {}", remain(left)) };
        return out.paint("32", &done) + &left + "\n";
    }
    let mut text = format!("\n{}\n", out.paint("32", &out.wrap(&done, "")));
    if left > 0 {
        text.push_str(&format!("{}\n", remain(left)));
    }
    if taken_out > 0 {
        let line = "How a session stands without its broken part was not looked at: `unstick scan SESSION` tells.";
        text.push_str(&(out.wrap(line, "") + "\n"));
    }
    match plan.sessions.as_slice() {
        sessions if sessions.iter().any(newer) => text.push_str("Go on with a new prompt.\n"),
        [one] => text.push_str(&format!("Go on with: {}\n", out.bold(&format!("opencode -s {}", clean(&one.id))))),
        _ => text.push_str(&format!(
            "Go on with: {}, SESSION being any of the ids above\n",
            out.bold("opencode -s SESSION")
        )),
    }
    text.push_str(&format!("Take it back with: {}\n", out.command(undo)));
    text
}
