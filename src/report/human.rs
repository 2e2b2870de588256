//! What people see. Titles are cleaned; no content of a session is shown.

use std::collections::BTreeSet;

use comfy_table::{Attribute, Cell, Color};
use jiff::tz::TimeZone;

use super::layout::{fit, grid, named, wrap};
use super::words::{ago, sentences};
use super::{Output, StoreDoc, Summary, clean};
use crate::diagnosis::{Applicability, Code, Diagnosis, Doubts, Evidence, Finding, Format, Left, Status};
use crate::repair::{Plan, SessionPlan};
use crate::rows::Table;

/// A session as a report shows it.
#[derive(Debug)]
pub struct Shown<'a> {
    /// How it stands.
    pub diagnosis: &'a Diagnosis,
    /// The SDK package behind its model, and what decided.
    pub sdk: Option<(&'a str, &'a str)>,
}

pub(super) fn plural(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// By which opencode versions the store is judged, and where that comes from.
#[must_use]
pub fn bound_words(store: &StoreDoc) -> String {
    let bound = match store.opencode.bound.as_str() {
        "any" => "every opencode".to_owned(),
        bound => format!("opencode {} and newer", clean(bound)),
    };
    format!("judged by the rules of {bound} ({})", clean(&store.opencode.source))
}

/// The lines about the store.
pub(super) fn store_line(out: &Output, store: &StoreDoc) -> String {
    let path = store.path.as_deref().unwrap_or("store");
    // The path stands alone: it may be long, and it is there to be copied.
    let sessions = plural(store.sessions, "session", "sessions");
    let line = match (store.sessions, store.sessions_v2) {
        (_, 0) => format!("{sessions} · {} · {}", size(store.bytes), bound_words(store)),
        (0, n) => format!("{} of opencode 2 · {}", plural(n, "session", "sessions"), size(store.bytes)),
        (_, n) => {
            format!("{sessions} of opencode 1, {n} of opencode 2 · {} · {}", size(store.bytes), bound_words(store))
        }
    };
    out.dim(&format!("{}\n{}", clean(path), out.wrap(&line, "")))
}

/// A size in the unit that fits.
pub(super) fn size(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in ["KB", "MB", "GB", "TB"] {
        if value < 1000.0 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

/// The SGR style of a status.
fn style(status: Status) -> &'static str {
    match status {
        Status::Unopenable | Status::Dead | Status::Stuck => "31;1",
        Status::AtRisk | Status::Unreadable => "33",
        Status::Latent | Status::Recovered => "36",
        Status::Healthy => "32",
    }
}

fn status_cell(out: &Output, d: &Diagnosis) -> Cell {
    let cell = Cell::new(d.status.to_string());
    if !out.color {
        return cell;
    }
    match d.status {
        Status::Unopenable | Status::Dead | Status::Stuck => cell.fg(Color::DarkRed).add_attribute(Attribute::Bold),
        Status::AtRisk | Status::Unreadable => cell.fg(Color::DarkYellow),
        Status::Latent | Status::Recovered => cell.fg(Color::DarkCyan),
        Status::Healthy => cell.fg(Color::DarkGreen),
    }
}

/// Why a session stands as it does, in a few words.
fn why(d: &Diagnosis) -> String {
    let mut codes: Vec<&'static str> = Vec::new();
    let shown: Vec<_> = match d.status {
        Status::Unopenable => d.findings.iter().filter(|f| f.misfit.is_some()).collect(),
        Status::Dead if d.format == Format::V1 => d.findings.iter().filter(|f| f.redacted_by().is_some()).collect(),
        Status::Stuck | Status::AtRisk if d.format == Format::V1 => {
            d.findings.iter().filter(|f| f.applicability == Applicability::Automatic).collect()
        }
        _ => d.findings.iter().collect(),
    };
    // Of the rest of the import the end of the report tells.
    let stops = d.import.iter().filter(|f| f.code == Code::ImportStops);
    for finding in shown.into_iter().chain(stops) {
        let code: &'static str = finding.code.into();
        if !codes.contains(&code) {
            codes.push(code);
        }
    }
    let mut text = codes.join(", ");
    if d.evidence == Some(Evidence::Evidenced) {
        text.push_str(" (refusal stored)");
    }
    text
}

/// The report of a scan. `now` in ms since the epoch; `next` is the command to go on with.
#[must_use]
pub fn scan(
    out: &Output,
    store: &StoreDoc,
    summary: &Summary,
    sessions: &[Shown<'_>],
    others: &[String],
    next: &str,
    now: i64,
) -> String {
    if out.quiet {
        return verdict(out, summary) + "\n";
    }
    let zone = TimeZone::system();
    let mut text = format!("{}\n\n{}\n", store_line(out, store), out.wrap(&verdict(out, summary), ""));
    if !sessions.is_empty() {
        let both = store.sessions > 0 && store.sessions_v2 > 0;
        text.push_str(&format!("\n{}\n", listed(out, sessions, both, (now, &zone))));
    }
    if out.verbose {
        for shown in sessions {
            text.push_str(&details(out, shown));
        }
    }
    let guessed: std::collections::BTreeSet<&str> = sessions
        .iter()
        .filter(|s| s.sdk.is_some_and(|(_, source)| source == "default"))
        .filter_map(|s| s.diagnosis.model.as_ref().map(|m| m.provider.as_str()))
        .collect();
    for provider in guessed {
        let provider = clean(provider);
        let line = format!(
            "\nNothing tells which package opencode uses for {provider}: taken for @ai-sdk/openai-compatible, as opencode \
             does. If its configuration says otherwise elsewhere, add --sdk {provider}=PACKAGE.\n"
        );
        text.push_str(&out.wrap(&line, ""));
    }
    if let Some(n) = summary.waiting.filter(|n| *n > 0) {
        let these = plural(n, "session waits for nothing", "sessions wait for nothing");
        let line = format!(
            "\n{these}, unless opencode is at work there now: the last prompt got no answer, because a tool call was cut off or is \
             stored as running for ever. A new prompt is answered; `unstick repair --include unsettled` ends such calls.\n"
        );
        text.push_str(&out.wrap(&line, ""));
    }
    if summary.unreadable_rows > 0 {
        let rows = plural(summary.unreadable_rows, "row could not be understood", "rows could not be understood");
        let line = format!("\n{rows}: see `unstick scan --json`. Sessions with such rows are left alone.\n");
        text.push_str(&out.wrap(&line, ""));
    }
    let mendable = |d: &&Diagnosis| d.findings.iter().any(|f| f.redacted_by().is_some());
    let dead = || sessions.iter().map(|s| s.diagnosis).filter(|d| d.status == Status::Dead).filter(mendable);
    if dead().next().is_some() {
        let kinds: BTreeSet<&str> =
            dead().flat_map(|d| d.findings.iter().filter_map(Finding::redacted_by)).map(Into::into).collect();
        text.push_str(&out.wrap(
            "\nA dead session is refused whatever is sent to it, until what the provider refuses is no longer in its \
             history. A repair takes that out of what is sent, which is not without loss: what it would leave out is \
             shown first, and `undo` gives it back.\n",
            "",
        ));
        let worst = dead().next().map_or("SESSION", |d| d.info.id.as_str());
        text.push_str(&format!("\nWhy:  {}\n", out.command(&format!("explain {}", clean(worst)))));
        text.push_str(&format!(
            "Next: {}\n",
            out.command(&format!("repair --dry-run --include {}", kinds.into_iter().collect::<Vec<_>>().join(",")))
        ));
    }
    if summary.stuck > 0 {
        text.push_str(&out.wrap(
            "\nSending a new message gets past this as well. A repair is what you need where something retries or \
             resumes without one: clients that retry, subagents, automation, `opencode run -s`.\n",
            "",
        ));
        let stuck = sessions.iter().find(|s| s.diagnosis.status == Status::Stuck);
        let worst = stuck.map_or("SESSION", |s| s.diagnosis.info.id.as_str());
        text.push_str(&format!("\nWhy:  {}\n", out.command(&format!("explain {}", clean(worst)))));
        text.push_str(&format!("Next: {}\n", out.command(next)));
    } else if summary.at_risk > 0 {
        let doubts = |of: fn(&Doubts) -> bool| sessions.iter().any(|s| of(&s.diagnosis.doubts));
        if doubts(|d| d.model) {
            text.push_str(&out.wrap(
                "\nAt risk: the same tail, but the model is not known to refuse it. If yours does, name it with \
                 --refuses MODEL, or repair anyway with `unstick repair --include at-risk`.\n",
                "",
            ));
        }
        if doubts(|d| d.package) {
            text.push_str(&out.wrap(
                "\nAt risk: which AI SDK package stands behind the model is not known, and packages differ here. Name it \
                 with --sdk PROVIDER=PACKAGE, or repair anyway with `unstick repair --include unmeasured`.\n",
                "",
            ));
        }
    }
    text.push_str(&newer(out, sessions));
    if !others.is_empty() {
        let list: Vec<String> = others.iter().map(|o| clean(o)).collect();
        let line = format!("Not looked at: {} (--all-stores takes them too)", list.join(", "));
        text.push_str(&format!("\n{}\n", out.dim(&out.wrap(&line, "  "))));
    }
    text
}

/// What is said once of all listed sessions of opencode 2.
fn newer(out: &Output, sessions: &[Shown<'_>]) -> String {
    let Some(first) = sessions.iter().find(|s| s.diagnosis.format == Format::V2) else { return String::new() };
    let text =
        "\nOf sessions of opencode 2 it is only said what is wrong: none of it was measured on a released program.\n";
    let explain = format!("explain {} --format v2", clean(&first.diagnosis.info.id));
    format!("{}\nWhy:  {}\n", out.wrap(text, ""), out.command(&explain))
}

/// A store in the summary of several.
#[derive(Debug)]
pub struct ScanLine {
    /// Where it is.
    pub path: String,
    /// What was found in it.
    pub summary: Summary,
}

/// A line for each of several stores.
#[must_use]
pub fn scans(out: &Output, stores: &[ScanLine]) -> String {
    let line = |store: &ScanLine| format!("{}: {}\n", clean(&store.path), verdict(out, &store.summary));
    if out.quiet {
        return stores.iter().map(line).collect();
    }
    let stuck: u64 = stores.iter().map(|s| s.summary.stuck).sum();
    let all = plural(stuck, "session is stuck", "sessions are stuck");
    let mut text = format!("{}\n", out.bold(&format!("{} stores, {all}", stores.len())));
    for store in stores {
        text.push_str(&format!("  {}", out.wrap(&line(store), "    ")));
    }
    text
}

/// What is known of a session beyond its line.
fn details(out: &Output, shown: &Shown<'_>) -> String {
    let d = shown.diagnosis;
    let mut text = format!("\n{}", named(out, &d.info.id, &d.info.title));
    if let (Some(model), Some((package, source))) = (&d.model, shown.sdk) {
        let line = format!("  {} through {} ({})\n", clean(&model.to_string()), clean(package), clean(source));
        text.push_str(&out.wrap(&line, "    "));
    }
    for finding in d.findings.iter().chain(&d.import) {
        let at = finding.part_id.as_deref().unwrap_or(&finding.message_id);
        let line = format!("  {}: {} ({})\n", finding.code, clean(&finding.detail), clean(at));
        text.push_str(&out.wrap(&line, "    "));
    }
    text
}

fn verdict(out: &Output, summary: &Summary) -> String {
    let rest: Vec<String> = [
        (Some(summary.at_risk), "at risk"),
        (summary.latent, "latent"),
        (summary.recovered, "recovered"),
        (Some(summary.unreadable), "unreadable"),
        (summary.unopenable, "unopenable"),
        (summary.healthy, "healthy"),
    ]
    .into_iter()
    .filter_map(|(n, word)| n.filter(|n| *n > 0).map(|n| format!("{n} {word}")))
    .collect();
    let rest = if rest.is_empty() { String::new() } else { format!(" ({})", rest.join(", ")) };
    let stuck =
        plural(summary.stuck, "session is stuck: every retry is refused", "sessions are stuck: every retry is refused");
    let dead = summary
        .dead
        .filter(|n| *n > 0)
        .map(|n| plural(n, "session is dead: every prompt is refused", "sessions are dead: every prompt is refused"));
    let bad = match dead {
        None if summary.stuck == 0 => return format!("{}{rest}", out.paint("32", "No session is stuck.")),
        None => stuck,
        Some(dead) if summary.stuck == 0 => dead,
        Some(dead) => format!("{dead}; {stuck}"),
    };
    format!("{}{rest}", out.paint("31;1", &format!("{bad}.")))
}

/// From this width on, a session has one line.
const ONE_LINE: u16 = 150;
/// Narrower than this, a session's lines are hardly indented.
const NARROW: u16 = 76;
/// Columns of the longest status.
const STATUS: usize = "unreadable".len();

/// The sessions: one line each where that is wide enough, else a few. `both`: the store holds sessions of both formats.
fn listed(out: &Output, sessions: &[Shown<'_>], both: bool, (now, zone): (i64, &TimeZone)) -> String {
    let id = |d: &Diagnosis| match both {
        true => format!("{} {}", clean(&d.info.id), d.format),
        false => clean(&d.info.id),
    };
    let width = usize::from(out.width);
    if out.width >= ONE_LINE {
        let whens: Vec<String> = sessions.iter().map(|s| ago(s.diagnosis.info.time_updated, now, zone)).collect();
        let when_width = whens.iter().map(String::len).max().unwrap_or(0);
        let id_width = sessions.iter().map(|s| id(s.diagnosis).len()).max().unwrap_or(0);
        let rest = width.saturating_sub(STATUS + id_width + when_width + 8);
        let (why_width, title_width) = (rest * 3 / 5, rest * 2 / 5);
        let row = |shown: &Shown<'_>, when: String| {
            let d = shown.diagnosis;
            let mut title = fit(&d.info.title, title_width);
            if let Some(parent) = &d.info.parent_id {
                title.push_str(&format!("\n{}", wrap(&format!("child of {}", clean(parent)), title_width)));
            }
            let why = wrap(&why(d), why_width);
            vec![status_cell(out, d), Cell::new(id(d)), Cell::new(when), Cell::new(why), Cell::new(title)]
        };
        let rows = sessions.iter().zip(whens).map(|(shown, when)| row(shown, when)).collect();
        return grid(out, &["STATUS", "SESSION", "CHANGED", "WHY", "TITLE"], rows);
    }
    let indent = if out.width < NARROW { 2 } else { STATUS + 2 };
    let mut text = String::new();
    for shown in sessions {
        let d = shown.diagnosis;
        let status = d.status.to_string();
        // Filled up to the column before it is painted: colours have no width.
        let head = if out.width < NARROW { format!("{status}  ") } else { format!("{status:indent$}") };
        let title = fit(&d.info.title, width.saturating_sub(head.len()));
        text.push_str(&format!("{}{title}\n", head.replacen(&status, &out.paint(style(d.status), &status), 1)));
        let pad = " ".repeat(indent);
        let mut line = |words: String| text.push_str(&(out.wrap(&format!("{pad}{words}"), &pad) + "\n"));
        let when = ago(d.info.time_updated, now, zone);
        if out.width < NARROW {
            line(id(d));
            line(when);
        } else {
            line(format!("{}  {when}", id(d)));
        }
        if let Some(parent) = &d.info.parent_id {
            line(format!("child of {}", clean(parent)));
        }
        line(why(d));
    }
    text.lines().map(|line| line.trim_end()).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

/// What is said of a plan after which the next prompt has fewer turns.
const EMPTY_ANSWERS: &str = "the next prompt no longer sends the empty answer: an assistant's turn without a word";

/// A plan in words, session by session.
#[must_use]
pub fn plan(out: &Output, plan: &Plan, titles: &[(String, String)], now: i64) -> String {
    let zone = TimeZone::system();
    let mut text = String::new();
    for session in &plan.sessions {
        let title = titles.iter().find(|(id, _)| *id == session.id).map_or("", |(_, t)| t);
        text.push_str(&named(out, &session.id, title));
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
            let line = format!("  - opencode still cannot read a row of it: {}\n", clean(row));
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
    let told_less = |session: &SessionPlan| session.redacts() || session.empty_answers;
    let proven = if plan.sessions.iter().any(told_less) {
        "proven that the next prompt differs in nothing but what was named"
    } else {
        "proven to resume with the same next prompt"
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
    match plan.sessions.as_slice() {
        [one] => text.push_str(&format!("Go on with: {}\n", out.bold(&format!("opencode -s {}", clean(&one.id))))),
        _ => text.push_str(&format!(
            "Go on with: {}, SESSION being any of the ids above\n",
            out.bold("opencode -s SESSION")
        )),
    }
    text.push_str(&format!("Take it back with: {}\n", out.command(undo)));
    text
}
