//! `explain`: one session's request in words and as a JSON document.

mod doc;
mod newer;
mod story;

use std::collections::BTreeSet;

use comfy_table::Cell;
use jiff::tz::TimeZone;

use super::layout::{fit, grid, named, wrap};
use super::words::{moment, plural, sentences, size};
use super::{Output, clean};
pub use doc::ExplainDoc;
use story::{afterwards, because, name, reasons, retry, story};

use crate::diagnosis::{Applicability, Diagnosis, Evidence, Format, Include, Status};
use crate::explain::{AfterRepair, Explained, Explanation, Generation, Piece, Row, Turn};
use crate::replay::{BlockKind, RULE_SETS, Resume, TurnRole};

/// A block of the request as a noun.
fn block(piece: &Piece) -> String {
    let tool = || piece.tool.as_deref().map(|t| format!(" of {}", fit(t, 12))).unwrap_or_default();
    match piece.kind {
        BlockKind::Text => "text".to_owned(),
        BlockKind::BlankText => "blank text".to_owned(),
        BlockKind::EmptyText => "empty text".to_owned(),
        BlockKind::StandIn => "a space".to_owned(),
        BlockKind::Thinking => "thinking".to_owned(),
        BlockKind::EmptyThinking => "empty thinking".to_owned(),
        BlockKind::ToolCall => format!("call{}", tool()),
        BlockKind::ProviderToolCall => format!("provider ran{}", tool().replacen(" of", ":", 1)),
        BlockKind::ProviderToolResult => format!("provider's result{}", tool()),
        BlockKind::ReasoningDetail => "reasoning detail".to_owned(),
        BlockKind::ItemReference => "item by name".to_owned(),
        BlockKind::ToolResult => format!("result{}", tool()),
        BlockKind::ToolError if piece.orphan => format!("cut off{}", tool().replacen(" of", ":", 1)),
        BlockKind::ToolError => format!("error{}", tool()),
        BlockKind::ToolInterrupted => format!("interrupted{}", tool().replacen(" of", ":", 1)),
        BlockKind::File => "file".to_owned(),
        BlockKind::UnreadableFile => "\"cannot read …\"".to_owned(),
        BlockKind::MediaIntroduction => "\"Attached media …\"".to_owned(),
        BlockKind::Done => "\"Done.\"".to_owned(),
        BlockKind::CompactionPrompt => "\"What did we do …\"".to_owned(),
        BlockKind::SubtaskPrompt => "subtask".to_owned(),
        BlockKind::Reminder => "opencode's reminder".to_owned(),
    }
}

/// Rows that are shown without `-v`, counted from the end.
const SHORT: usize = 12;
/// Characters of a block's text that are shown without `-v`.
const SHORT_TEXT: usize = 600;

/// The report for people. `bound` is what is said of the opencode versions that count; `now` in ms since the
/// epoch.
#[must_use]
pub fn explain(out: &Output, explained: &Explained, bound: &str, now: i64, zone: &TimeZone) -> String {
    let told = story(explained, now, zone);
    if out.quiet {
        let refused = explained.diagnosis.refused;
        let first = match explained.now.as_ref().filter(|_| !refused).and_then(Explanation::offending) {
            Some((number, row, _)) => format!("the request ends with turn {number} (row {})", clean(&row.message_id)),
            None => match told.as_slice() {
                [list, item, ..] if list.ends_with(':') => format!("{list} {}", item.trim_start_matches("- ")),
                told => told.first().cloned().unwrap_or_default(),
            },
        };
        return format!("{}: {first}\n", standing(&explained.diagnosis));
    }
    let mut text = head(out, explained, bound);
    text.push_str(&heading(out, why_heading(explained.diagnosis.status)));
    text.push_str(&paragraphs(out, &told));
    for row in &explained.unreadable {
        let line = format!("  {} {}: {}\n", row.table, clean(&row.id), clean(&row.detail));
        text.push_str(&out.wrap(&line, "    "));
    }
    if !explained.newer.is_empty() {
        text.push_str(&heading(out, "What a new prompt sends before itself"));
        text.push_str(&newer::turns(out, &explained.newer));
    }
    text.extend(newer::next(out, &explained.diagnosis).filter(|_| explained.diagnosis.format == Format::V2));
    if let Some(e) = &explained.now {
        text.push_str(&request(out, explained, e, (now, zone)));
        text.push_str(&repair(out, explained, e, (now, zone)));
    }
    text
}

/// The session's status, and how sure that is.
fn standing(d: &Diagnosis) -> String {
    match d.evidence {
        Some(Evidence::Evidenced) => format!("{}, refusal stored", d.status),
        Some(Evidence::Predicted) => format!("{}, predicted", d.status),
        None => d.status.to_string(),
    }
}

/// Which session it is, and by what it is judged.
fn head(out: &Output, explained: &Explained, bound: &str) -> String {
    let d = &explained.diagnosis;
    let colour = match d.status {
        Status::Unopenable | Status::Dead | Status::Stuck => "31;1",
        Status::AtRisk | Status::Unreadable => "33",
        _ => "32",
    };
    let mut text = named(out, &d.info.id, &d.info.title);
    if let Some(parent) = &d.info.parent_id {
        text.push_str(&(out.wrap(&format!("child of {}", clean(parent)), "  ") + "\n"));
    }
    let model = d.model.as_ref().map(|m| format!(" · {}", clean(&m.to_string()))).unwrap_or_default();
    text.push_str(&(out.wrap(&format!("{}{model}", out.paint(colour, &standing(d))), "  ") + "\n"));
    let mut dimmed = |line: &str| text.push_str(&format!("{}\n", out.dim(&out.wrap(line, "  "))));
    if let Some(sdk) = &explained.sdk {
        let guess = if sdk.is_guess() { ": a guess; --sdk PROVIDER=PACKAGE says which it is" } else { "" };
        dimmed(&format!("through {} ({}{guess})", clean(&sdk.package), clean(&sdk.source)));
    }
    dimmed(if d.format == Format::V2 { newer::KNOWN } else { bound });
    text
}

/// What is sent as the rows are now, under which rules, and what else there is to say of them.
fn request(out: &Output, explained: &Explained, e: &Explanation, (now, zone): (i64, &TimeZone)) -> String {
    let d = &explained.diagnosis;
    let mut text = String::new();
    if d.info.revert.is_some() {
        let pending =
            "A revert is pending; opencode carries it out before anything else, and so does what is shown here.";
        text.push_str(&paragraphs(out, &[pending.to_owned()]));
    }
    let what = match e.resume {
        Resume::NoRequest => "What the next prompt would send before its own turn",
        _ => "What the model would be sent",
    };
    text.push_str(&heading(out, &format!("{what} (opencode {})", range(e.set.key, e.set.key))));
    text.push_str(&rows(out, e, first_shown(out, e), now, zone));
    text.push_str(&heading(out, "What a retry does, by opencode version"));
    text.push_str(&generations(out, e, d.refused));
    let also: Vec<String> = d
        .findings
        .iter()
        .filter(|f| f.applicability != Applicability::Automatic && f.misfit.is_none())
        .map(|f| format!("{}: {} ({})", f.code, clean(&f.detail), clean(f.part_id.as_deref().unwrap_or(&f.message_id))))
        .collect();
    if !also.is_empty() {
        text.push_str(&heading(out, "Also found"));
        text.push_str(&paragraphs(out, &also));
    }
    text
}

/// What a repair would do, and what is sent after it.
fn repair(out: &Output, explained: &Explained, e: &Explanation, (now, zone): (i64, &TimeZone)) -> String {
    let d = &explained.diagnosis;
    let mut text = String::new();
    match &explained.repair {
        None => {}
        Some(AfterRepair::Left(left)) => {
            text.push_str(&heading(out, "What a repair would do"));
            text.push_str(&paragraphs(out, &[format!("Nothing: {} ({})", clean(&left.detail), left.reason)]));
        }
        Some(AfterRepair::Repaired(plan, after)) => {
            let unmeasured = d.doubts.package || d.doubts.version;
            let kinds = [(d.doubts.model, Include::AtRisk), (unmeasured, Include::Unmeasured)];
            let doubted = kinds.into_iter().filter(|(doubt, _)| opt_in(d) && *doubt).map(|(_, kind)| kind);
            let kinds: BTreeSet<Include> = doubted.chain(d.mended_by()).collect();
            let kinds: Vec<&str> = kinds.into_iter().map(Into::into).collect();
            let asked = if kinds.is_empty() { String::new() } else { format!(" --include {}", kinds.join(",")) };
            text.push_str(&heading(out, &format!("What `unstick repair{asked}` would do")));
            let does: Vec<String> =
                sentences(&plan.steps, now, zone).iter().map(|sentence| format!("- {}", clean(sentence))).collect();
            text.push_str(&paragraphs(out, &does));
            text.push_str(&heading(out, "What the model would be sent after that"));
            text.push_str(&rows(out, after, first_changed(e, after).max(first_shown(out, after)), now, zone));
            text.push_str(&paragraphs(out, &[afterwards(after)]));
            text.push_str(&format!("\nNext: {}\n", out.command(&format!("repair{asked} {}", clean(&d.info.id)))));
        }
    }
    text
}

fn why_heading(status: Status) -> &'static str {
    match status {
        Status::Unopenable => "Why opencode cannot read it",
        Status::Dead => "Why it is dead",
        Status::Stuck => "Why it is stuck",
        Status::AtRisk => "Why it is at risk",
        Status::Unreadable => "Why it is unreadable",
        _ => "What a retry would do",
    }
}

fn heading(out: &Output, text: &str) -> String {
    format!("\n{}\n", out.bold(&out.wrap(text, "  ")))
}

/// Texts wrapped to the terminal's width, each indented; of a list's item the later lines more.
fn paragraphs(out: &Output, texts: &[String]) -> String {
    let one = |text: &String| {
        let indent = if text.starts_with("- ") { "    " } else { "  " };
        out.wrap(&format!("  {text}"), indent) + "\n"
    };
    texts.iter().map(one).collect()
}

/// The versions that the rule sets from the one to the other were measured with.
fn range(first: &str, last: &str) -> String {
    let find = |key: &str| RULE_SETS.iter().find(|set| set.key == key);
    match (find(first), find(last)) {
        (Some(first), Some(last)) if last.key == RULE_SETS[RULE_SETS.len() - 1].key => {
            format!("{} and newer", first.measured.0)
        }
        (Some(first), Some(last)) => format!("{} to {}", first.measured.0, last.measured.1),
        _ => format!("{first} to {last}"),
    }
}

/// Narrower than this, a generation of the loop is a sentence and no row.
const NARROW: u16 = 76;

/// A table of what a retry does. `refused`: every request is, for what stands in the history.
fn generations(out: &Output, e: &Explanation, refused: bool) -> String {
    let mut groups: Vec<(&Generation, &Generation)> = Vec::new();
    for g in &e.generations {
        match groups.last_mut() {
            Some((_, last))
                if (last.resume, &last.goes_on, last.counts, &last.assistant)
                    == (g.resume, &g.goes_on, g.counts, &g.assistant) =>
            {
                *last = g;
            }
            _ => groups.push((g, g)),
        }
    }
    let mut sentences = Vec::new();
    let mut rows = Vec::new();
    for (first, last) in groups {
        let versions = range(first.set.key, last.set.key);
        let why = match first.resume {
            Resume::RunsTask => "a compaction or subtask is pending".to_owned(),
            _ => reasons(e, &first.goes_on, "the newest answer"),
        };
        let does = retry(first.resume, refused && first.counts);
        if out.width < NARROW {
            let counts = if first.counts { "" } else { " (older than this store)" };
            sentences.push(format!("{versions}{counts}: {does}, because {why}"));
            continue;
        }
        let counts = if first.counts { "" } else { "\n(older than this store)" };
        let mut cell = Cell::new(does);
        if out.color && first.resume == Resume::EndsWithAssistant && first.counts {
            cell = cell.fg(comfy_table::Color::DarkRed);
        }
        // Beside the versions and what a retry does: 2 + 23 + 2 + 23 + 2.
        let why = wrap(&why, usize::from(out.width.min(120)).saturating_sub(52));
        rows.push(vec![Cell::new(format!("{versions}{counts}")), cell, Cell::new(why)]);
    }
    if out.width < NARROW {
        return sentences.iter().map(|s| out.wrap(&format!("  {s}"), "    ") + "\n").collect();
    }
    grid(out, &[], rows).lines().map(|line| format!("  {line}\n")).collect()
}

fn first_shown(out: &Output, e: &Explanation) -> usize {
    if out.verbose { 0 } else { e.rows.len().saturating_sub(SHORT) }
}

/// Where the rows begin to differ, the one before it shown too.
fn first_changed(before: &Explanation, after: &Explanation) -> usize {
    let same = |(a, b): &(&Row, &Row)| {
        a.message_id == b.message_id && a.turns.len() == b.turns.len() && a.skipped == b.skipped && a.finish == b.finish
    };
    before.rows.iter().zip(&after.rows).take_while(same).count().saturating_sub(1)
}

/// The rows from `from` on with the turns that they give, one block a line.
fn rows(out: &Output, e: &Explanation, from: usize, now: i64, zone: &TimeZone) -> String {
    let mut text = String::new();
    let mut number = 0;
    if from > 0 {
        let turns: usize = e.rows[..from].iter().map(|r| r.turns.len()).sum();
        let hidden =
            format!("  … {} with {} before", plural(from as u64, "row", "rows"), plural(turns as u64, "turn", "turns"));
        let hidden = format!("{hidden}{}", if out.verbose { "" } else { ": -v shows all" });
        text.push_str(&format!("{}\n", out.dim(&out.wrap(&hidden, "    "))));
    }
    for (at, row) in e.rows.iter().enumerate() {
        if at < from {
            number += row.turns.len();
            continue;
        }
        let mut what = vec![name(row).to_owned(), moment(row.time_ms, now, zone)];
        if let Some(finish) = &row.finish {
            what.push(format!("finish \"{}\"", fit(finish, 20)));
        }
        let line = format!("  {}  {}", clean(&row.message_id), what.join(", "));
        text.push_str(&format!("{}\n", out.dim(&out.wrap(&line, "      "))));
        if let Some(why) = row.skipped {
            let line = format!("    - not sent: {}", because(why, row));
            text.push_str(&format!("{}\n", out.dim(&out.wrap(&line, "      "))));
        }
        for turn in &row.turns {
            number += 1;
            text.push_str(&turn_text(out, turn, number));
        }
    }
    text
}

/// Columns of a block's line with its part's id: marker, number, role, kind, size, id.
const WHOLE_BLOCK: u16 = 80;

fn turn_text(out: &Output, turn: &Turn, number: usize) -> String {
    let role = match turn.role {
        TurnRole::User => "user",
        TurnRole::Assistant => "assistant",
        TurnRole::Tool => "tool",
    };
    let mut text = String::new();
    let marker = if turn.offending { ">" } else { " " };
    let mut head = format!("{marker} {number:>4} {role:<9}");
    if turn.blocks.is_empty() {
        text.push_str(&format!("{head} nothing\n"));
    }
    // In a narrow terminal the part's id, which stands whole, has a line of its own.
    let narrow = out.width < WHOLE_BLOCK;
    let kind_width = if narrow { usize::from(out.width).saturating_sub(26).min(22) } else { 22 };
    for piece in &turn.blocks {
        let id = piece.part_id.as_deref().map(clean).unwrap_or_default();
        let bytes = if piece.part_id.is_some() { size(piece.bytes) } else { String::new() };
        let kind = fit(&block(piece), kind_width);
        let id = if narrow && !id.is_empty() { format!("\n       {id}") } else { format!("  {id}") };
        let line = format!("{head} {kind:<kind_width$} {bytes:>8}{id}");
        let line = match piece.refused {
            Some(code) => format!("{}  < refused: {code}", line.trim_end()),
            None => line.trim_end().to_owned(),
        };
        text.push_str(&if turn.offending || piece.refused.is_some() { out.paint("31;1", &line) } else { line });
        text.push('\n');
        if let Some(words) = &piece.text {
            text.push_str(&quoted(out, words));
        }
        head = " ".repeat(head.chars().count());
    }
    if turn.offending {
        let line = out.wrap("       ^ the request ends with this turn, which is the assistant's", "         ");
        text.push_str(&format!("{}\n", out.paint("31;1", &line)));
    }
    text
}

/// A text as it is sent, line by line, cleaned.
fn quoted(out: &Output, words: &str) -> String {
    let shown: String = if out.verbose { words.to_owned() } else { words.chars().take(SHORT_TEXT).collect() };
    let mut text: String = shown.lines().map(|line| format!("       | {}\n", clean(line).trim_end())).collect();
    let more = words.chars().count() - shown.chars().count();
    if more > 0 {
        let more = plural(more as u64, "more character", "more characters");
        text.push_str(&format!("       {}\n", out.dim(&format!("… {more}: -v shows all"))));
    }
    text
}

fn opt_in(diagnosis: &Diagnosis) -> bool {
    diagnosis.status == Status::AtRisk
}
