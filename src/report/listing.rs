//! Sessions in a list: a line each where they are many, all that is known of them where that was asked for.

use comfy_table::{Attribute, Cell, Color};
use jiff::tz::TimeZone;

use super::layout::{fit, grid, named, wrap};
use super::words::{age, ago};
use super::{Output, clean};
use crate::diagnosis::{Applicability, Code, Diagnosis, Evidence, Format, Status};

/// A session as a report shows it.
#[derive(Debug)]
pub struct Shown<'a> {
    /// How it stands.
    pub diagnosis: &'a Diagnosis,
    /// The SDK package behind its model, and what decided.
    pub sdk: Option<(&'a str, &'a str)>,
}

/// From this width on, a session of the full list has one line.
const FULL_LINE: u16 = 150;
/// From this width on, a session of the short list has its id in its line.
const WITH_ID: u16 = 120;
/// Narrower than this, a session has more than one line, which are hardly indented.
const NARROW: u16 = 76;
/// Columns of the longest status.
const STATUS: usize = "unreadable".len();
/// Columns that a title gets at least.
const TITLE: usize = 16;

/// The SGR style of a status.
fn style(status: Status) -> &'static str {
    match status {
        Status::Unopenable | Status::Dead | Status::Stuck => "31;1",
        Status::AtRisk | Status::Unreadable => "33",
        Status::Latent | Status::Recovered => "36",
        Status::Healthy => "32",
    }
}

fn status_cell(out: &Output, status: Status, text: &str) -> Cell {
    let cell = Cell::new(text);
    if !out.color {
        return cell;
    }
    match status {
        Status::Unopenable | Status::Dead | Status::Stuck => cell.fg(Color::DarkRed).add_attribute(Attribute::Bold),
        Status::AtRisk | Status::Unreadable => cell.fg(Color::DarkYellow),
        Status::Latent | Status::Recovered => cell.fg(Color::DarkCyan),
        Status::Healthy => cell.fg(Color::DarkGreen),
    }
}

/// Why a session stands as it does, in a few words.
#[must_use]
pub fn cause(d: &Diagnosis) -> String {
    let mut causes: Vec<&'static str> = Vec::new();
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
    for finding in shown.iter().copied().chain(stops).filter(|f| f.code != Code::FailedPrefillTail) {
        if !causes.contains(&finding.code.cause()) {
            causes.push(finding.code.cause());
        }
    }
    let refused = shown.iter().filter(|f| f.code == Code::FailedPrefillTail).count();
    if causes.is_empty() && refused > 0 {
        causes.push(Code::FailedPrefillTail.cause());
    }
    let times = match refused {
        0 if d.evidence == Some(Evidence::Evidenced) => "; refused".to_owned(),
        0 => String::new(),
        1 => "; refused once".to_owned(),
        2 => "; refused twice".to_owned(),
        n => format!("; refused {n} times"),
    };
    let doubts = d.doubts.all().filter(|_| d.status == Status::AtRisk).map(|doubt| format!("; {}", doubt.words()));
    causes.join(", ") + &times + &doubts.collect::<String>()
}

/// A session's status; `both`: the store holds sessions of both formats.
fn status_of(d: &Diagnosis, both: bool) -> String {
    if both { format!("{} {}", d.status, d.format) } else { d.status.to_string() }
}

/// The sessions in as few lines as they need: status, age, cause, title. `roomy`: their ids stand beneath, where there is
/// no room beside.
pub(super) fn short(out: &Output, sessions: &[&Shown<'_>], both: bool, roomy: bool, now: i64) -> String {
    let width = usize::from(out.width);
    let status = |s: &&Shown<'_>| status_of(s.diagnosis, both);
    let ages = |s: &&Shown<'_>| age(s.diagnosis.info.time_updated, now);
    let longest =
        |of: &dyn Fn(&&Shown<'_>) -> String| sessions.iter().map(|s| of(s).chars().count()).max().unwrap_or(0);
    let (status_width, age_width) = (longest(&status), longest(&ages));
    let painted = |s: &&Shown<'_>, filled: &str| {
        // Filled up to the column before it is painted: colours have no width.
        filled.replacen(&status(s), &out.paint(style(s.diagnosis.status), &status(s)), 1)
    };
    let mut text = String::new();
    if out.width < NARROW {
        for s in sessions {
            let title = fit(&s.diagnosis.info.title, width.saturating_sub(status_width + 2));
            text.push_str(&format!("{}  {title}\n", painted(s, &format!("{:status_width$}", status(s)))));
            text.push_str(&format!("  {}\n", fit(&format!("{}: {}", ages(s), cause(s.diagnosis)), width - 2)));
            if roomy {
                text.push_str(&format!("  {}\n", out.dim(&clean(&s.diagnosis.info.id))));
            }
        }
        return trimmed(&text);
    }
    let id = |s: &&Shown<'_>| if out.width >= WITH_ID { clean(&s.diagnosis.info.id) + "  " } else { String::new() };
    let id_width = longest(&id);
    let rest = width.saturating_sub(status_width + id_width + age_width + 6);
    let why_width = longest(&|s| cause(s.diagnosis)).min(rest.saturating_sub(TITLE));
    for s in sessions {
        let head = format!("{:status_width$}  {:id_width$}{:age_width$}  ", status(s), id(s), ages(s));
        let words = fit(&cause(s.diagnosis), why_width);
        let title = fit(&s.diagnosis.info.title, rest.saturating_sub(why_width));
        text.push_str(&format!("{}{words:why_width$}  {title}\n", painted(s, &head)));
        if roomy && id_width == 0 {
            let indent = " ".repeat(status_width + 2);
            text.push_str(&format!("{indent}{}\n", out.dim(&clean(&s.diagnosis.info.id))));
        }
    }
    trimmed(&text)
}

/// How many lines a session of the short list has; `roomy` as in [`short`].
pub(super) fn short_lines(out: &Output, roomy: bool) -> usize {
    let lines = if out.width < NARROW { 2 } else { 1 };
    lines + usize::from(roomy && out.width < WITH_ID)
}

fn trimmed(text: &str) -> String {
    text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

/// The sessions with their ids, times and parents: one line each where that is wide enough, else a few.
pub(super) fn full(out: &Output, sessions: &[&Shown<'_>], both: bool, (now, zone): (i64, &TimeZone)) -> String {
    let id = |d: &Diagnosis| match both {
        true => format!("{} {}", clean(&d.info.id), d.format),
        false => clean(&d.info.id),
    };
    let width = usize::from(out.width);
    if out.width >= FULL_LINE {
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
            let why = wrap(&cause(d), why_width);
            let status = status_cell(out, d.status, &d.status.to_string());
            vec![status, Cell::new(id(d)), Cell::new(when), Cell::new(why), Cell::new(title)]
        };
        let rows = sessions.iter().zip(whens).map(|(shown, when)| row(shown, when)).collect();
        return grid(out, &["STATUS", "SESSION", "CHANGED", "WHY", "TITLE"], rows);
    }
    let indent = if out.width < NARROW { 2 } else { STATUS + 2 };
    let mut text = String::new();
    for shown in sessions {
        let d = shown.diagnosis;
        let status = d.status.to_string();
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
        line(cause(d));
    }
    trimmed(&text)
}

/// What is known of a session beyond its line.
pub(super) fn details(out: &Output, shown: &Shown<'_>) -> String {
    let d = shown.diagnosis;
    let mut text = format!("\n{}", named(out, &d.info.id, &d.info.title));
    if let (Some(model), Some((package, source))) = (&d.model, shown.sdk) {
        let line = format!("  {} through {} ({})\n", clean(&model.to_string()), clean(package), clean(source));
        text.push_str(&out.wrap(&line, "    "));
    }
    for finding in d.findings.iter().chain(&d.import) {
        let at = finding.part_id.as_deref().unwrap_or(&finding.message_id);
        let at = if at.is_empty() { d.info.id.as_str() } else { at };
        let line = format!("  {}: {} ({})\n", finding.code, clean(&finding.detail), clean(at));
        text.push_str(&out.wrap(&line, "    "));
    }
    text
}
