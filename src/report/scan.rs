//! The report of a scan. What needs action comes first and fits a screen; everything else is a count, with the command
//! that lists it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use jiff::tz::TimeZone;
use unicode_width::UnicodeWidthStr;

use super::human::store_line;
use super::listing::{Shown, details, full, short, short_lines};
use super::words::plural;
use super::{Output, StoreDoc, Summary, clean, unopenable};
use crate::diagnosis::{Diagnosis, Doubts, Format, Status};

/// Which sessions are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listed {
    /// The newest of those that need action, as many as fit a screen.
    Short,
    /// All that the call is about.
    Full,
}

/// What a report of a scan is made of.
#[derive(Debug)]
pub struct Scan<'a> {
    /// The store.
    pub store: &'a StoreDoc,
    /// Counts over all sessions that were judged.
    pub summary: &'a Summary,
    /// The sessions that the report is about, newest first.
    pub sessions: &'a [Shown<'a>],
    /// How many of them are listed.
    pub listed: Listed,
    /// Stores beside this one that were not looked at.
    pub others: &'a [String],
    /// The command that shows what a repair would do.
    pub next: &'a str,
    /// How many sessions are in folders that are gone, where that was looked at.
    pub gone: usize,
    /// What there is to say of opencode 2's import.
    pub import: &'a str,
    /// The present in ms since the epoch.
    pub now: i64,
}

/// Lines that a report has at most where no terminal tells how many fit.
const LINES: usize = 30;
/// Sessions in the short list.
const NEWEST: usize = 10;
/// Sessions in it that no note is worth pushing out.
const FEW: usize = 5;
/// Names in a note.
const NAMES: usize = 3;

/// The report of a scan.
#[must_use]
pub fn scan(out: &Output, scan: &Scan<'_>) -> String {
    if out.quiet {
        return verdict(out, scan.summary) + "\n";
    }
    let mut sessions: Vec<&Shown<'_>> = scan.sessions.iter().collect();
    sessions.sort_by_key(|s| (s.diagnosis.status, Reverse(s.diagnosis.info.time_updated)));
    let line = out.wrap(&verdict(out, scan.summary), "");
    let head = format!("{}\n\n{line}\n", store_line(out, scan.store, scan.listed == Listed::Full));
    let text = match scan.listed {
        Listed::Full => whole(out, scan, &sessions, head),
        Listed::Short => on_a_screen(out, scan, &sessions, head),
    };
    let scrolled = out.rows.is_some_and(|rows| lines(out, &text) >= usize::from(rows));
    if scrolled { format!("{text}\n{line}\n") } else { text }
}

fn whole(out: &Output, scan: &Scan<'_>, sessions: &[&Shown<'_>], head: String) -> String {
    let mut text = head;
    if !sessions.is_empty() {
        let list = full(out, sessions, of_both(scan), (scan.now, &TimeZone::system()));
        text.push_str(&format!("\n{list}\n"));
    }
    if out.verbose {
        for shown in sessions {
            text.push_str(&details(out, shown));
        }
    }
    let notes = notes(out, scan, sessions).into_iter().chain(advice(out, scan, sessions));
    for note in notes.chain(commands(out, scan, sessions)) {
        text.push_str(&format!("\n{note}"));
    }
    text
}

fn on_a_screen(out: &Output, scan: &Scan<'_>, sessions: &[&Shown<'_>], head: String) -> String {
    let urgent: Vec<&Shown<'_>> = sessions.iter().copied().filter(|s| s.diagnosis.needs_action()).collect();
    let limit = out.rows.map_or(LINES, |rows| usize::from(rows).saturating_sub(2).min(LINES));
    let mut advice = advice(out, scan, sessions);
    let commands = commands(out, scan, sessions).unwrap_or_default();
    // What stands around the list, with the empty lines and the count of those that are not in it.
    let frame = |notes: &[String], advice: &[String]| {
        [&head, &notes.concat(), &advice.concat(), &commands].map(|text| lines(out, text)).iter().sum::<usize>() + 5
    };
    let mut notes: Vec<String> = not_listed(out, sessions).into_iter().chain(notes(out, scan, sessions)).collect();
    let few = urgent.len().min(FEW) * short_lines(out, false);
    let mut left_out = 0;
    while frame(&notes, &advice) + 1 + few > limit && (notes.len() > 1 || !advice.is_empty()) {
        // What a person may do comes before what else there is to know.
        if notes.len() > 1 {
            notes.pop()
        } else {
            advice.pop()
        };
        left_out += 1;
    }
    if left_out > 0 {
        notes.push(format!("{} with `unstick scan -v`.\n", plural(left_out, "more note", "more notes")));
    }
    let room = limit.saturating_sub(frame(&notes, &advice));
    let roomy = urgent.len() <= FEW && urgent.len() * short_lines(out, true) <= room + 1;
    let all = urgent.len() * short_lines(out, roomy) <= room + 1;
    let fit = if all { urgent.len() } else { (room / short_lines(out, roomy)).max(1) };
    let shown = urgent.len().min(NEWEST).min(fit);
    let mut text = head;
    if shown > 0 {
        text.push_str(&format!("\n{}\n", short(out, &urgent[..shown], of_both(scan), roomy, scan.now)));
    }
    if urgent.len() > shown {
        let list = format!("`unstick scan --status {}`", names(urgent.iter().map(|s| s.diagnosis.status)));
        text.push_str(&out.wrap(&format!("and {} more: {list} lists all\n", urgent.len() - shown), "  "));
    }
    for block in [notes.concat(), advice.concat(), commands].iter().filter(|block| !block.is_empty()) {
        text.push_str(&format!("\n{block}"));
    }
    text
}

/// How many lines of the terminal a text takes.
fn lines(out: &Output, text: &str) -> usize {
    let mut plain = String::with_capacity(text.len());
    let mut escape = false;
    for c in text.chars() {
        match c {
            '\u{1b}' => escape = true,
            'm' if escape => escape = false,
            _ if escape => {}
            c => plain.push(c),
        }
    }
    plain.lines().map(|line| line.width().div_ceil(usize::from(out.width)).max(1)).sum()
}

fn of_both(scan: &Scan<'_>) -> bool {
    scan.store.sessions > 0 && scan.store.sessions_v2 > 0
}

/// The statuses as `--status` takes them.
fn names(statuses: impl Iterator<Item = Status>) -> String {
    let names: BTreeSet<Status> = statuses.collect();
    names.into_iter().map(<&str>::from).collect::<Vec<_>>().join(",")
}

/// The sessions that need no action, counted, and the command that lists them.
fn not_listed(out: &Output, sessions: &[&Shown<'_>]) -> Option<String> {
    let mut counts: BTreeMap<Status, u64> = BTreeMap::new();
    let others = sessions.iter().filter(|s| !s.diagnosis.needs_action() && s.diagnosis.status != Status::Healthy);
    for s in others {
        *counts.entry(s.diagnosis.status).or_default() += 1;
    }
    let said: Vec<String> = counts.iter().map(|(status, n)| format!("{n} {}", status.words())).collect();
    let list = names(counts.into_keys());
    let text = format!("Not listed: {}. `unstick scan --status {list}` lists them.\n", said.join(", "));
    (!said.is_empty()).then(|| out.wrap(&text, "  "))
}

/// What else there is to say of the store, what matters most first.
fn notes(out: &Output, scan: &Scan<'_>, sessions: &[&Shown<'_>]) -> Vec<String> {
    let summary = scan.summary;
    let mut notes = Vec::new();
    let mut note = |text: String| notes.push(out.wrap(&(text + "\n"), "  "));
    if summary.unreadable_rows > 0 {
        let rows = plural(summary.unreadable_rows, "row could not be understood", "rows could not be understood");
        note(format!("{rows}: see `unstick scan --json`. Sessions with such rows are left alone."));
    }
    if scan.gone > 0 {
        let these = plural(scan.gone as u64, "session points to a folder", "sessions point to folders");
        let are = if scan.gone == 1 { "is" } else { "are" };
        note(format!("{these} that {are} gone: `unstick relink` lists them."));
    }
    let guessed: BTreeSet<&str> = sessions
        .iter()
        .filter(|s| s.sdk.is_some_and(|(_, source)| source == "default"))
        .filter_map(|s| s.diagnosis.model.as_ref().map(|m| m.provider.as_str()))
        .collect();
    if !guessed.is_empty() {
        let whose = some(guessed.into_iter(), "and");
        note(format!(
            "Nothing tells which package opencode uses for {whose}: taken for @ai-sdk/openai-compatible, as opencode does. \
             If its configuration says otherwise elsewhere, add --sdk PROVIDER=PACKAGE."
        ));
    }
    if !scan.import.is_empty() {
        notes.push(scan.import.to_owned());
    }
    let mut note = |text: String| notes.push(out.wrap(&(text + "\n"), "  "));
    if let Some(n) = summary.waiting.filter(|n| *n > 0) {
        let these = plural(n, "session waits for nothing", "sessions wait for nothing");
        note(format!(
            "{these}, unless opencode is at work there now: a tool call of the last answer was cut off or never ended. \
             A new prompt is answered; `unstick repair --include unsettled` ends calls that are stored as running."
        ));
    }
    if !scan.others.is_empty() {
        let list = some(scan.others.iter().map(String::as_str), "and");
        notes.push(out.dim(&out.wrap(&format!("Not looked at: {list} (--all-stores takes them too)"), "  ")) + "\n");
    }
    notes
}

/// The first names, and how many more there are.
fn some<'a>(names: impl ExactSizeIterator<Item = &'a str>, and: &str) -> String {
    let more = names.len().saturating_sub(NAMES);
    let shown = names.take(NAMES).map(clean).collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{shown} {and} {more} more") } else { shown }
}

/// What the sessions that need action are to a person.
fn advice(out: &Output, scan: &Scan<'_>, sessions: &[&Shown<'_>]) -> Vec<String> {
    let mut said = Vec::new();
    let mut say = |text: &str| said.push(out.wrap(&format!("{text}\n"), ""));
    let listed = |s: &&&Shown<'_>| scan.listed == Listed::Full || s.diagnosis.needs_action();
    if sessions.iter().filter(listed).any(|s| s.diagnosis.format == Format::V2) {
        say(
            "In sessions of opencode 2 a repair changes what was measured on its preview, if `--include` asks for it. The rest is only reported.",
        );
    }
    if let Some(text) = unopenable::advice(sessions) {
        say(&text);
    }
    let dies = dead(sessions).next().is_some();
    if dies {
        say(
            "A dead session is refused whatever is sent to it. A repair takes what the provider refuses out of what is \
             sent: the model loses it. The plan is shown first, and `undo` gives every row back.",
        );
    }
    if scan.summary.stuck > 0 && dies {
        say(
            "A stuck session takes a new message: that gets past the refusal. Clients that retry, subagents, automation and \
             `opencode run -s` need a repair.",
        );
    } else if scan.summary.stuck > 0 {
        say("Just typing? Send a new message: that gets past it, too. Clients that retry, subagents, automation and \
             `opencode run -s` need a repair.");
    } else if scan.summary.at_risk > 0 {
        let doubts = |of: fn(&Doubts) -> bool| sessions.iter().any(|s| of(&s.diagnosis.doubts));
        if doubts(|d| d.model) {
            say(
                "At risk: the same tail, but the model is not known to refuse it. If yours does, name it with --refuses \
                 MODEL, or repair anyway with `unstick repair --include at-risk`.",
            );
        }
        if doubts(|d| d.package) {
            say(
                "At risk: which AI SDK package stands behind the model is not known, and packages differ here. Name it \
                 with --sdk PROVIDER=PACKAGE, or repair anyway with `unstick repair --include unmeasured`.",
            );
        }
        if doubts(|d| d.version) {
            say(
                "At risk: the store was last used with an opencode that was never measured, and only if that goes by the \
                 rules of the measured one before it are these stuck. Name yours with --opencode VERSION, or repair anyway \
                 with `unstick repair --include unmeasured`.",
            );
        }
    }
    said
}

/// Dead sessions that a repair can help.
fn dead<'a>(sessions: &'a [&Shown<'_>]) -> impl Iterator<Item = &'a Diagnosis> {
    let dead = sessions.iter().map(|s| s.diagnosis).filter(|d| d.status == Status::Dead);
    dead.filter(|d| !d.mended_by().is_empty())
}

/// The commands to go on with.
fn commands(out: &Output, scan: &Scan<'_>, sessions: &[&Shown<'_>]) -> Option<String> {
    let mut text = String::new();
    let urgent = sessions.iter().map(|s| s.diagnosis).find(|d| d.needs_action());
    let newer = || sessions.iter().map(|s| s.diagnosis).find(|d| d.format == Format::V2);
    if let Some(first) = urgent.or_else(|| newer().filter(|_| scan.listed == Listed::Full)) {
        let format = if of_both(scan) { format!(" --format {}", first.format) } else { String::new() };
        text.push_str(&format!("Why:  {}\n", out.command(&format!("explain {}{format}", clean(&first.info.id)))));
    }
    if scan.summary.stuck > 0 {
        text.push_str(&format!("Next: {}\n", out.command(scan.next)));
    }
    let rows = unopenable::mended_by(sessions).into_iter().map(Into::into);
    let kinds: BTreeSet<&str> = dead(sessions).flat_map(Diagnosis::mended_by).map(Into::into).collect();
    let kinds: Vec<&str> = rows.chain(kinds).collect();
    if !kinds.is_empty() {
        let kinds = kinds.into_iter().collect::<Vec<_>>().join(",");
        text.push_str(&format!("Next: {}\n", out.command(&format!("{} --include {kinds}", scan.next))));
    }
    (!text.is_empty()).then_some(text)
}

/// How a store stands, in three lines: where it is, what was found, what to do next.
#[must_use]
pub fn check(out: &Output, store: &StoreDoc, summary: &Summary) -> String {
    let path = clean(store.path.as_deref().unwrap_or("store"));
    let some = |n: Option<u64>| n.is_some_and(|n| n > 0);
    let urgent = summary.stuck > 0 || summary.undecodable > 0 || some(summary.dead) || some(summary.unopenable);
    let next = if urgent {
        format!("Next: {}", out.command("scan"))
    } else if summary.unreadable > 0 {
        format!("Next: {}", out.command("scan --status unreadable"))
    } else {
        "There is nothing to do. `unstick --help` says what else it can tell.".to_owned()
    };
    format!("{}\n{}\n{next}\n", out.dim(&path), out.wrap(&verdict(out, summary), "  "))
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
    let mut all = vec![plural(stuck, "session is stuck", "sessions are stuck")];
    let sum = |of: fn(&Summary) -> Option<u64>| stores.iter().filter_map(|s| of(&s.summary)).sum::<u64>();
    for (n, is, are) in [
        (sum(|s| s.dead), "is dead", "are dead"),
        (sum(|s| s.unopenable), "cannot be read by opencode", "cannot be read by opencode"),
        (sum(|s| Some(s.undecodable)), "cannot be read by opencode 2", "cannot be read by opencode 2"),
    ] {
        all.extend((n > 0).then(|| plural(n, is, are)));
    }
    let mut text = format!("{}\n", out.bold(&format!("{} stores, {}", stores.len(), all.join(", "))));
    for store in stores {
        text.push_str(&format!("  {}", out.wrap(&line(store), "    ")));
    }
    text
}

fn verdict(out: &Output, summary: &Summary) -> String {
    let rest: Vec<String> = [
        (Some(summary.at_risk), "at risk"),
        (summary.latent, "latent"),
        (summary.recovered, "recovered"),
        (Some(summary.unreadable - summary.undecodable), "unreadable"),
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
    let unopenable = summary
        .unopenable
        .filter(|n| *n > 0)
        .map(|n| plural(n, "session cannot be read by opencode", "sessions cannot be read by opencode"));
    let undecodable = (summary.undecodable > 0).then(|| {
        plural(summary.undecodable, "session cannot be read by opencode 2", "sessions cannot be read by opencode 2")
    });
    let unopenable = match (unopenable, undecodable) {
        (Some(one), Some(two)) => Some(format!("{one}, {two}")),
        (one, two) => one.or(two),
    };
    let dead = match (unopenable, dead) {
        (Some(unopenable), Some(dead)) => Some(format!("{unopenable}; {dead}")),
        (unopenable, dead) => unopenable.or(dead),
    };
    let bad = match dead {
        None if summary.stuck == 0 => return format!("{}{rest}", out.paint("32", "No session is stuck.")),
        None => stuck,
        Some(dead) if summary.stuck == 0 => dead,
        Some(dead) => format!("{dead}; {stuck}"),
    };
    format!("{}{rest}", out.paint("31;1", &format!("{bad}.")))
}
