//! What people see. Titles are cleaned; no content of a session is shown.

use comfy_table::{Attribute, Cell, CellAlignment, Color, ColumnConstraint, ContentArrangement, Table, Width, presets};
use jiff::tz::TimeZone;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::words::{age, sentences};
use super::{Output, StoreDoc, Summary, clean};
use crate::diagnosis::{Applicability, Diagnosis, Evidence, Status};
use crate::history::ids::ID_LENGTH;
use crate::repair::{Left, Plan};

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

/// A text cut to `width` columns, with an ellipsis where something went.
pub(super) fn fit(text: &str, width: usize) -> String {
    let text = clean(text);
    if text.width() <= width {
        return text;
    }
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        let w = c.width().unwrap_or(0);
        if used + w + 1 > width {
            break;
        }
        used += w;
        out.push(c);
    }
    out + "…"
}

/// Which opencode versions count for the store, and where that comes from.
#[must_use]
pub fn bound_words(store: &StoreDoc) -> String {
    let bound = match store.opencode.bound.as_str() {
        "any" => "every opencode counts".to_owned(),
        bound => format!("opencode {} and newer count", clean(bound)),
    };
    format!("{bound} ({})", clean(&store.opencode.source))
}

/// The lines about the store.
pub(super) fn store_line(out: &Output, store: &StoreDoc) -> String {
    let path = store.path.as_deref().unwrap_or("store");
    // The path stands alone: it may be long, and it is there to be copied.
    let line =
        format!("{} · {} · {}", plural(store.sessions, "session", "sessions"), size(store.bytes), bound_words(store));
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

fn status_cell(out: &Output, d: &Diagnosis) -> Cell {
    let cell = Cell::new(d.status.to_string());
    if !out.color {
        return cell;
    }
    match d.status {
        Status::Stuck => cell.fg(Color::Red).add_attribute(Attribute::Bold),
        Status::AtRisk | Status::Unreadable => cell.fg(Color::Yellow),
        Status::Latent | Status::Recovered => cell.fg(Color::Blue),
        Status::Healthy => cell.fg(Color::Green),
    }
}

/// Why a session stands as it does, in a few words.
fn why(d: &Diagnosis) -> String {
    let mut codes: Vec<&'static str> = Vec::new();
    let shown: Vec<_> = match d.status {
        Status::Stuck | Status::AtRisk => {
            d.findings.iter().filter(|f| f.applicability == Applicability::Automatic).collect()
        }
        _ => d.findings.iter().collect(),
    };
    for finding in shown {
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
    now: i64,
) -> String {
    let verdict = verdict(out, summary);
    if out.quiet {
        return verdict + "\n";
    }
    let mut text = format!("{}\n\n{verdict}\n", store_line(out, store));
    if !sessions.is_empty() {
        text.push_str(&format!("\n{}\n", table(out, sessions, now)));
    }
    if out.verbose {
        for shown in sessions {
            let d = shown.diagnosis;
            text.push_str(&format!("\n{} {}\n", out.bold(&clean(&d.info.id)), clean(&d.info.title)));
            if let (Some(model), Some((package, source))) = (&d.model, shown.sdk) {
                text.push_str(&format!(
                    "  {} through {} ({})\n",
                    clean(&model.to_string()),
                    clean(package),
                    clean(source)
                ));
            }
            for finding in &d.findings {
                let at = finding.part_id.as_deref().unwrap_or(&finding.message_id);
                text.push_str(&format!("  {}: {} ({})\n", finding.code, clean(&finding.detail), clean(at)));
            }
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
    if summary.unreadable_rows > 0 {
        let rows = plural(summary.unreadable_rows, "row could not be understood", "rows could not be understood");
        text.push_str(&format!("\n{rows}: see `unstick scan --json`. Sessions with such rows are left alone.\n"));
    }
    if summary.stuck > 0 {
        text.push_str(&out.wrap(
            "\nSending a new message gets past this as well. A repair is what you need where something retries or \
             resumes without one: clients that retry, subagents, automation, `opencode run -s`.\n",
            "",
        ));
        let worst = sessions.first().map_or("SESSION", |s| s.diagnosis.info.id.as_str());
        text.push_str(&format!("\nWhy:  {}\n", out.command(&format!("explain {}", clean(worst)))));
        text.push_str(&format!("Next: {}\n", out.command("repair --dry-run")));
    } else if summary.at_risk > 0 {
        text.push_str(&out.wrap(
            "\nAt risk: the same tail, but the model is not known to refuse it. If yours does, name it with \
             --refuses MODEL, or repair anyway with `unstick repair --include at-risk`.\n",
            "",
        ));
    }
    if !others.is_empty() {
        let list: Vec<String> = others.iter().map(|o| clean(o)).collect();
        text.push_str(&format!("\n{}\n", out.dim(&format!("Not looked at: {}", list.join(", ")))));
    }
    text
}

fn verdict(out: &Output, summary: &Summary) -> String {
    let rest: Vec<String> = [
        (Some(summary.at_risk), "at risk"),
        (summary.latent, "latent"),
        (summary.recovered, "recovered"),
        (Some(summary.unreadable), "unreadable"),
        (summary.healthy, "healthy"),
    ]
    .into_iter()
    .filter_map(|(n, word)| n.filter(|n| *n > 0).map(|n| format!("{n} {word}")))
    .collect();
    let rest = if rest.is_empty() { String::new() } else { format!(" ({})", rest.join(", ")) };
    if summary.stuck == 0 {
        format!("{}{rest}", out.paint("32", "No session is stuck."))
    } else {
        let stuck = plural(
            summary.stuck,
            "session is stuck: every retry is refused",
            "sessions are stuck: every retry is refused",
        );
        out.wrap(&format!("{}{rest}", out.paint("31;1", &format!("{stuck}."))), "")
    }
}

/// Narrower than this, a table would break ids: sessions are listed one below the other instead.
pub(super) const TABLE_WIDTH: u16 = 76;

fn table(out: &Output, sessions: &[Shown<'_>], now: i64) -> String {
    if out.width < TABLE_WIDTH {
        return list(out, sessions, now);
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_width(out.width);
    if out.color {
        table.enforce_styling();
    }
    table.set_header(["STATUS", "SESSION", "AGE", "WHY"].map(|h| Cell::new(h).add_attribute(Attribute::Dim)));
    // The id is what is typed next: it stands whole, and the title above it gives way.
    let title_width = usize::from(out.width).saturating_sub(48).clamp(ID_LENGTH, 60);
    for shown in sessions {
        let d = shown.diagnosis;
        table.add_row([
            status_cell(out, d),
            Cell::new(named(d, title_width)),
            Cell::new(age(d.info.time_updated, now)).set_alignment(CellAlignment::Right),
            Cell::new(why(d)),
        ]);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    if let Some(column) = table.column_mut(1) {
        column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(ID_LENGTH as u16 + 2)));
    }
    table.trim_fmt()
}

/// A session's title, its id below, and its parent's where it is a child.
fn named(d: &Diagnosis, width: usize) -> String {
    let mut text = format!("{}\n{}", fit(&d.info.title, width), clean(&d.info.id));
    if let Some(parent) = &d.info.parent_id {
        text.push_str(&format!("\nchild of\n{}", clean(parent)));
    }
    text
}

fn list(out: &Output, sessions: &[Shown<'_>], now: i64) -> String {
    let mut text = String::new();
    for shown in sessions {
        let d = shown.diagnosis;
        let style = if d.status == Status::Stuck { "31;1" } else { "1" };
        let width = usize::from(out.width).saturating_sub(12);
        text.push_str(&format!("{}  {}\n", out.paint(style, &d.status.to_string()), fit(&d.info.title, width)));
        text.push_str(&format!("  {}\n", clean(&d.info.id)));
        text.push_str(&out.wrap(&format!("  {} ago: {}", age(d.info.time_updated, now), why(d)), "  "));
        text.push('\n');
    }
    text.trim_end().to_owned()
}

/// A plan in words, session by session.
#[must_use]
pub fn plan(out: &Output, plan: &Plan, titles: &[(String, String)], now: i64) -> String {
    let zone = TimeZone::system();
    let mut text = String::new();
    for session in &plan.sessions {
        let title = titles.iter().find(|(id, _)| *id == session.id).map_or("", |(_, t)| t);
        text.push_str(&format!("{}  {}\n", out.bold(&fit(title, 60)), out.dim(&clean(&session.id))));
        for sentence in sentences(session, now, &zone) {
            text.push_str(&out.wrap(&format!("  - {sentence}\n"), "    "));
        }
        if let Some(why) = &session.log_left_alone {
            text.push_str(&format!(
                "  - its event log is left alone, for it did not tell of its rows before: {}\n",
                clean(why)
            ));
        }
        if out.verbose {
            for edit in &session.edits {
                text.push_str(&out.dim(&format!(
                    "    {} {} {} ({})\n",
                    edit.op,
                    edit.table,
                    clean(&edit.id),
                    edit.reason
                )));
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
        text.push_str(&format!(
            "left as it is: {}  {}\n  {}: {}\n",
            out.bold(&fit(title, 60)),
            out.dim(&clean(&one.id)),
            one.reason,
            one.detail
        ));
    }
    text
}

/// What a repair did.
#[must_use]
pub fn repaired(out: &Output, plan: &Plan, undo: &str) -> String {
    let of_log = |e: &&crate::repair::RowEdit| e.table.starts_with("event");
    let edits = || plan.sessions.iter().flat_map(|s| &s.edits);
    let rows = edits().count() - edits().filter(of_log).count();
    let told = edits().filter(|e| e.table == "event").count() as u64;
    let log =
        if told == 0 { String::new() } else { format!(", {} told to opencode's log", plural(told, "event", "events")) };
    let done = format!(
        "Repaired {}: {} of messages and parts changed{log}, read again, proven to resume with the same next prompt.",
        plural(plan.sessions.len() as u64, "session", "sessions"),
        plural(rows as u64, "row", "rows")
    );
    if out.quiet {
        return out.paint("32", &done) + "\n";
    }
    let mut text = format!("{}\n", out.paint("32", &out.wrap(&done, "")));
    for session in plan.sessions.iter().take(3) {
        text.push_str(&format!("Go on with: {}\n", out.bold(&format!("opencode -s {}", clean(&session.id)))));
    }
    if plan.sessions.len() > 3 {
        text.push_str(&format!("… and {} more.\n", plan.sessions.len() - 3));
    }
    text.push_str(&format!("Take it back with: {}\n", out.command(undo)));
    text
}
