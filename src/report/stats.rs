//! `stats`: the JSON document and the tables for people.

use std::collections::BTreeMap;
use std::path::Path;

use comfy_table::Cell;
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::Serialize;
use strum::IntoEnumIterator;

use super::doc::SCHEMA_VERSION;
use super::human::store_line;
use super::layout::{fit, grid, right, wrap};
use super::words::{moment, plural};
use super::{OpencodeDoc, Output, StoreDoc, clean};
use crate::rows::digest;
use crate::stats::{
    Bucket, By, ByRow, Cause, Counts, Deltas, Events, Key, Leaked, Orphan, OrphanCounts, Other400, Pair, RefusalCounts,
    StoreStats, Summary,
};
use crate::store::Facts;

fn stuck_sessions(stores: &[StoreStats]) -> u64 {
    stores.iter().map(|s| s.stuck_sessions).sum()
}

/// Several stores as one: their sizes added up, the lowest bound.
fn together(stores: &[StoreStats]) -> StoreDoc {
    if let [one] = stores {
        return StoreDoc { path: None, ..StoreDoc::new(&one.facts, Path::new(""), &one.bound) };
    }
    let mut ids: Vec<&str> = stores.iter().map(|s| s.facts.id.as_str()).collect();
    ids.sort_unstable();
    let sum = |of: fn(&Facts) -> u64| stores.iter().map(|s| of(&s.facts)).fold(0, u64::saturating_add);
    let lowest =
        stores.iter().map(|s| s.bound.version).collect::<Option<Vec<_>>>().and_then(|all| all.into_iter().min());
    StoreDoc {
        id: digest(&ids.join(" "))[..16].to_owned(),
        path: None,
        bytes: sum(|f| f.bytes),
        sessions: sum(|f| f.sessions),
        messages: sum(|f| f.messages),
        parts: sum(|f| f.parts),
        sessions_v2: sum(|f| f.sessions_v2),
        messages_v2: sum(|f| f.messages_v2),
        opencode: OpencodeDoc {
            bound: lowest.map_or_else(|| "any".to_owned(), |v| v.to_string()),
            source: format!("the lowest of {}", plural(stores.len() as u64, "store", "stores")),
        },
    }
}

/// `stats --json`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct StatsDoc {
    /// Of all documents: 1.
    schema_version: u32,
    /// `stats`.
    #[schemars(extend("const" = "stats"))]
    command: &'static str,
    /// The store; several as one.
    pub store: StoreDoc,
    /// When the report was made.
    pub generated_ms: i64,
    /// Only events from this time on are counted.
    pub since_ms: Option<i64>,
    /// Only events before this time are counted.
    pub until_ms: Option<i64>,
    /// Tool calls that opencode cut off.
    orphans: OrphansDoc,
    /// Refused requests.
    prefill_400s: RefusalsDoc,
    /// Stored 400s that say something else.
    other_400s: u64,
    /// The same by what they are about.
    other_400s_by_class: Counts,
    /// Of each of these, by `PROVIDER/MODEL`.
    other_400s_by_model: BTreeMap<String, Counts>,
    /// Answers whose text holds raw tool-call markup.
    leaked_calls: u64,
    /// One for each prefill 400.
    pairs: Vec<Pair>,
    /// Times from orphan to 400.
    deltas: Deltas,
    /// The table of `--by`.
    by: Option<By>,
    /// The other 400s, one by one.
    other_400_items: Vec<Other400>,
    /// The leaked calls, one by one.
    leaked_items: Vec<Leaked>,
    /// Rows that could not be understood.
    unreadable_rows: u64,
    /// Sessions that are stuck now, with a stored refusal or without.
    stuck_sessions: u64,
    /// Store by store, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    stores: Option<Vec<StatsDoc>>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
struct OrphansDoc {
    #[serde(flatten)]
    counts: OrphanCounts,
    /// One by one.
    items: Vec<Orphan>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
struct RefusalsDoc {
    #[serde(flatten)]
    counts: RefusalCounts,
    /// Rows that repairs have removed, by the journals of this machine.
    removed_by_repair: u64,
}

impl StatsDoc {
    /// The document of one store.
    #[must_use]
    pub fn of_store(report: &StoreStats, by: Option<Key>, zone: &TimeZone) -> Self {
        Self::new(std::slice::from_ref(report), &Summary::of(&[&report.events], by, zone), report.generated_ms)
    }

    /// The document of several stores: the whole of them, and each by itself.
    #[must_use]
    pub fn of_stores(reports: &[StoreStats], by: Option<Key>, zone: &TimeZone, now: i64) -> Self {
        let events: Vec<&Events> = reports.iter().map(|r| &r.events).collect();
        Self {
            stores: Some(reports.iter().map(|r| Self::of_store(r, None, zone)).collect()),
            ..Self::new(reports, &Summary::of(&events, by, zone), now)
        }
    }

    fn new(reports: &[StoreStats], summary: &Summary, generated_ms: i64) -> Self {
        fn all<T: Clone>(reports: &[StoreStats], of: fn(&Events) -> &Vec<T>) -> Vec<T> {
            reports.iter().flat_map(|r| of(&r.events)).cloned().collect()
        }
        // A time that only some reports were cut at holds for none of the others.
        let common = |of: fn(&StoreStats) -> Option<i64>| {
            let first = reports.first().and_then(of);
            if reports.iter().all(|r| of(r) == first) { first } else { None }
        };
        Self {
            schema_version: SCHEMA_VERSION,
            command: "stats",
            store: StoreDoc { path: None, ..together(reports) },
            generated_ms,
            since_ms: common(|r| r.since_ms),
            until_ms: common(|r| r.until_ms),
            orphans: OrphansDoc { counts: summary.orphans.clone(), items: all(reports, |e| &e.orphans) },
            prefill_400s: RefusalsDoc {
                counts: summary.prefill_400s.clone(),
                removed_by_repair: reports.iter().map(|r| r.removed_by_repair).sum(),
            },
            other_400s: summary.other_400s,
            other_400s_by_class: summary.other_400s_by_class.clone(),
            other_400s_by_model: summary.other_400s_by_model.clone(),
            leaked_calls: summary.leaked_calls,
            pairs: all(reports, |e| &e.pairs),
            deltas: summary.deltas.clone(),
            by: summary.by.clone(),
            other_400_items: all(reports, |e| &e.other_400s),
            leaked_items: all(reports, |e| &e.leaked),
            unreadable_rows: reports.iter().map(|r| r.unreadable_rows).sum(),
            stuck_sessions: stuck_sessions(reports),
            stores: None,
        }
    }
}

/// Days and pairs that are shown without `-v`.
const SHORT: usize = 10;

/// The tables for people. `names`: where the stores are, in their order; `now` in ms since the epoch.
#[must_use]
pub fn stats(
    out: &Output,
    reports: &[StoreStats],
    names: &[String],
    summary: &Summary,
    (now, zone): (i64, &TimeZone),
) -> String {
    let head = headline(summary);
    let head_style = if summary.orphans.total == 0 && summary.prefill_400s.total == 0 { "32" } else { "1" };
    if out.quiet {
        return out.paint(head_style, &head) + "\n";
    }
    let name = match names {
        [one] => one.clone(),
        _ => format!("{} stores", reports.len()),
    };
    let store = StoreDoc { path: Some(name), ..together(reports) };
    let mut text = format!("{}\n", store_line(out, &store, true));
    if names.len() > 1 {
        for (name, report) in names.iter().zip(reports) {
            let counts = headline(&Summary::of(&[&report.events], None, zone));
            text.push_str(&out.dim(&out.wrap(&format!("  {}: {counts}", clean(name)), "    ")));
            text.push('\n');
        }
    }
    let since = common_time(reports, |r| r.since_ms).map(|ms| format!("since {}", moment(ms, now, zone)));
    let until = common_time(reports, |r| r.until_ms).map(|ms| format!("until {}", moment(ms, now, zone)));
    let period: Vec<String> = [since, until].into_iter().flatten().collect();
    if !period.is_empty() {
        text.push_str(&format!("{}\n", out.dim(&format!("only {}", period.join(", ")))));
    }
    text.push_str(&format!("\n{}\n", out.paint(head_style, &out.wrap(&head, ""))));
    let rest = aside(summary, reports);
    if !rest.is_empty() {
        text.push_str(&format!("{}\n", out.wrap(&rest, "")));
    }
    if let Some(by) = &summary.by {
        text.push_str(&format!("\n{}\n", by_table(out, by)));
        return text;
    }
    let refused = &summary.prefill_400s;
    if refused.total > 0 {
        text.push_str(&format!("\n{}\n", cause_table(out, refused)));
    }
    for key in [Key::Model, Key::Version] {
        let events: Vec<&Events> = reports.iter().map(|r| &r.events).collect();
        if let Some(by) = Summary::of(&events, Some(key), zone).by.filter(|by| !by.rows.is_empty()) {
            text.push_str(&format!("\n{}\n", by_table(out, &by)));
        }
    }
    for (name, counts) in [("TOOL OF THE ORPHAN", &summary.orphans.by_tool), ("400S WORDED BY", &refused.by_wrapper)] {
        if !counts.is_empty() {
            let mut rows: Vec<(String, u64)> = counts.iter().map(|(k, n)| (k.clone(), *n)).collect();
            rows.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            text.push_str(&format!("\n{}\n", bars(out, name, &rows)));
        }
    }
    text.push_str(&days(out, summary));
    if summary.deltas.pairs > 0 {
        let rows: Vec<(String, u64)> = summary.deltas.histogram.iter().map(|b| (bucket_label(b), b.count)).collect();
        text.push_str(&format!("\n{}\n", bars(out, "FROM ORPHAN TO 400", &rows)));
    }
    text.push_str(&pairs(out, reports, now, zone));
    if refused.still_stuck.total > 0 {
        text.push_str(&format!("\nNext: {}\n", out.command("repair --dry-run")));
    }
    text
}

fn common_time(reports: &[StoreStats], of: fn(&StoreStats) -> Option<i64>) -> Option<i64> {
    let first = reports.first().and_then(of);
    if reports.iter().all(|r| of(r) == first) { first } else { None }
}

fn headline(summary: &Summary) -> String {
    let (orphans, refused) = (&summary.orphans, &summary.prefill_400s);
    if orphans.total == 0 && refused.total == 0 {
        return "No orphans and no prefill 400s.".to_owned();
    }
    let in_sessions = |n: u64| format!("in {}", plural(n, "session", "sessions"));
    let mut text = format!(
        "{} {}, {} {}.",
        plural(orphans.total, "orphan", "orphans"),
        in_sessions(orphans.sessions),
        plural(refused.total, "prefill 400", "prefill 400s"),
        in_sessions(refused.sessions)
    );
    if let Some(ms) = summary.deltas.min_ms {
        text.push_str(&format!(" Closest pair: {}.", duration(ms)));
    }
    text
}

/// What is said besides: the sessions that are stuck now, and what is counted apart.
fn aside(summary: &Summary, reports: &[StoreStats]) -> String {
    let stuck = &summary.prefill_400s.still_stuck;
    let mut said = Vec::new();
    if stuck.total > 0 {
        let sessions = plural(stuck.sessions, "session", "sessions");
        let keep = if stuck.total == 1 { "keeps" } else { "keep" };
        said.push(format!("{} of the 400s {keep} {sessions} stuck now", stuck.total));
    }
    // A scan counts these as well: their tail will be refused, and has not been yet.
    let waiting = stuck_sessions(reports).saturating_sub(stuck.sessions);
    if waiting > 0 {
        let more = if stuck.total > 0 { "more " } else { "" };
        let sessions = if waiting == 1 { "session is" } else { "sessions are" };
        said.push(format!("{waiting} {more}{sessions} stuck without a stored 400, as the next retry would be refused"));
    }
    let without = summary.deltas.without_orphan;
    if without > 0 {
        let have = if without == 1 { "has no orphan before it" } else { "have no orphan before them" };
        said.push(format!("{without} of the 400s {have}"));
    }
    let removed: u64 = reports.iter().map(|r| r.removed_by_repair).sum();
    if removed > 0 {
        said.push(format!("repairs have removed {}", plural(removed, "further 400", "further 400s")));
    }
    if summary.other_400s > 0 {
        let of = |class: &str| {
            let models = summary.other_400s_by_model.get(class).into_iter().flatten();
            models.map(|(model, n)| format!("{n} of {}", clean(model))).collect::<Vec<_>>().join(", ")
        };
        let kinds = summary.other_400s_by_class.iter();
        let kinds: Vec<String> =
            kinds.map(|(class, n)| format!("{n} {}: {}", clean(class), of(class.as_str()))).collect();
        let others = plural(summary.other_400s, "400 of another kind", "400s of another kind");
        said.push(format!("{others} ({})", kinds.join("; ")));
    }
    if summary.leaked_calls > 0 {
        said.push(plural(summary.leaked_calls, "leaked tool call in text", "leaked tool calls in texts"));
    }
    let unreadable: u64 = reports.iter().map(|r| r.unreadable_rows).sum();
    if unreadable > 0 {
        said.push(plural(unreadable, "row could not be understood", "rows could not be understood"));
    }
    said.join("; ")
}

/// Columns of a bar: what is left beside a name and the numbers. One row alone gets none, it would say nothing.
fn bar_width(out: &Output, rows: usize) -> u64 {
    if rows < 2 || out.width < NARROW { 0 } else { u64::from(out.width).saturating_sub(48).min(40) }
}

/// Narrower than this, a table of many columns is told in sentences, and nothing is drawn.
const NARROW: u16 = 60;
/// From this width on, a 400 and its session have one line.
const WHOLE_PAIR: u16 = 100;

/// A bar of `n` where `most` takes the whole width; something is there for every `n` above zero.
fn bar(n: u64, most: u64, width: u64) -> String {
    if n == 0 || most == 0 || width == 0 {
        return String::new();
    }
    // Halves are in every font that Windows brings; finer parts are not.
    let halves = (u128::from(n) * u128::from(width) * 2 / u128::from(most)).max(1);
    "█".repeat(usize::try_from(halves / 2).unwrap_or(0)) + if halves % 2 == 1 { "▌" } else { "" }
}

fn name(out: &Output, text: &str) -> String {
    fit(text, usize::from(out.width).saturating_sub(44).clamp(16, 48))
}

fn cause_table(out: &Output, refused: &RefusalCounts) -> String {
    let most = refused.by_cause.values().copied().max().unwrap_or(0);
    let mut causes: Vec<(Cause, u64)> =
        Cause::iter().filter_map(|cause| refused.by_cause.get(&cause.to_string()).map(|n| (cause, *n))).collect();
    causes.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    let width = if out.verbose { 0 } else { bar_width(out, causes.len()) };
    let mut rows = Vec::new();
    for (cause, n) in causes {
        let stuck = refused.still_stuck.by_cause.get(&cause.to_string()).copied().unwrap_or(0);
        // Beside the numbers: 2 + 6 + 2 + 6 + 2.
        let beside = usize::from(out.width).saturating_sub(18);
        let title = if out.verbose { wrap(cause.description(), beside.min(80)) } else { wrap(cause.title(), beside) };
        rows.push(vec![Cell::new(title), right(n), right(stuck), Cell::new(bar(n, most, width))]);
    }
    grid(out, &["CAUSE OF THE 400", "400S", "STUCK", ""], rows)
}

fn by_table(out: &Output, by: &By) -> String {
    // A name stands whole where it can: below it is room for the numbers.
    let cut = by.rows.iter().any(|row| name(out, &row.key) != clean(&row.key));
    if out.width < NARROW || (cut && out.width < WHOLE_PAIR) {
        let one = |row: &ByRow| {
            let closest = row.closest_ms.map(|ms| format!(", closest pair {}", duration(ms))).unwrap_or_default();
            let counts = format!(
                "{}, {}, {}, {} stuck{closest}",
                plural(row.orphans, "orphan", "orphans"),
                plural(row.prefill_400s, "400", "400s"),
                plural(row.sessions, "session", "sessions"),
                row.still_stuck
            );
            let name = fit(&row.key, usize::from(out.width));
            format!("{name}\n{}\n", out.wrap(&format!("  {counts}"), "  "))
        };
        let rows: String = by.rows.iter().map(one).collect();
        return format!("{}\n{}", out.dim(&format!("BY {}", by.key.to_string().to_uppercase())), rows.trim_end());
    }
    let key = by.key.to_string().to_uppercase();
    let rows = by.rows.iter().map(|row| {
        vec![
            Cell::new(name(out, &row.key)),
            right(row.orphans),
            right(row.prefill_400s),
            right(row.sessions),
            right(row.still_stuck),
            right(row.closest_ms.map(duration).unwrap_or_default()),
        ]
    });
    grid(out, &[&key, "ORPHANS", "400S", "SESSIONS", "STUCK", "CLOSEST"], rows.collect())
}

fn bars(out: &Output, header: &str, rows: &[(String, u64)]) -> String {
    let most = rows.iter().map(|(_, n)| *n).max().unwrap_or(0);
    let width = bar_width(out, rows.len());
    let rows = rows.iter().map(|(key, n)| vec![Cell::new(name(out, key)), right(n), Cell::new(bar(*n, most, width))]);
    grid(out, &[header, "", ""], rows.collect())
}

/// Day by day: orphans and refusals in one bar.
fn days(out: &Output, summary: &Summary) -> String {
    let (orphans, refused) = (&summary.orphans.by_day, &summary.prefill_400s.by_day);
    let mut all: Vec<&String> = orphans.keys().chain(refused.keys()).collect();
    all.sort_unstable();
    all.dedup();
    if all.is_empty() {
        return String::new();
    }
    let of = |day: &String| (orphans.get(day).copied().unwrap_or(0), refused.get(day).copied().unwrap_or(0));
    let most = all.iter().map(|day| of(day).0 + of(day).1).max().unwrap_or(0);
    let hidden = if out.verbose { 0 } else { all.len().saturating_sub(SHORT) };
    let width = bar_width(out, SHORT);
    let mut rows = Vec::new();
    for day in &all[hidden..] {
        let (o, r) = of(day);
        let cells = |n: u64| {
            let n = (u128::from(n) * u128::from(width)).div_ceil(u128::from(most));
            usize::try_from(n).unwrap_or(0)
        };
        let drawn = "░".repeat(cells(o)) + &"█".repeat(cells(r));
        rows.push(vec![Cell::new(day), right(o), right(r), Cell::new(drawn)]);
    }
    let legend = if width == 0 { "" } else { "░ orphans  █ 400s" };
    let mut text = format!("\n{}\n", grid(out, &["DAY", "ORPHANS", "400S", legend], rows));
    if hidden > 0 {
        let days = plural(hidden as u64, "earlier day", "earlier days");
        text.push_str(&format!("{}\n", out.dim(&format!("{days}: -v lists all"))));
    }
    text
}

/// The closest pairs, and with `-v` every 400.
fn pairs(out: &Output, reports: &[StoreStats], now: i64, zone: &TimeZone) -> String {
    let mut all: Vec<&Pair> = reports.iter().flat_map(|r| &r.events.pairs).collect();
    if all.is_empty() {
        return String::new();
    }
    all.sort_by_key(|p| (p.delta_ms.is_none(), p.delta_ms, p.error_time_ms));
    let shown = if out.verbose { all.len() } else { all.len().min(SHORT) };
    let cause = |pair: &Pair| format!("{}{}", pair.cause.title(), if pair.still_stuck { " (stuck)" } else { "" });
    let after = |pair: &Pair| pair.delta_ms.map_or_else(|| "none".to_owned(), duration);
    let mut text = "\n".to_owned();
    // An id stands whole, so that it can be typed next; where that leaves no room, below its cause.
    if out.width < NARROW {
        text.push_str(&format!("{}\n", out.dim("CLOSEST 400S")));
        for pair in &all[..shown] {
            let orphan = pair
                .delta_ms
                .map_or_else(|| "no orphan before it".to_owned(), |_| format!("{} after orphan", after(pair)));
            let line = format!("{}: {}, {orphan}", moment(pair.error_time_ms, now, zone), cause(pair));
            text.push_str(&format!("{}\n  {}\n", out.wrap(&line, "  "), clean(&pair.session_id)));
        }
    } else if out.width < WHOLE_PAIR {
        let rows = all[..shown].iter().map(|pair| {
            let cause = format!("{}\n{}", cause(pair), clean(&pair.session_id));
            vec![right(after(pair)), Cell::new(moment(pair.error_time_ms, now, zone)), Cell::new(cause)]
        });
        text.push_str(&(grid(out, &["AFTER ORPHAN", "400 OF", "CAUSE"], rows.collect()) + "\n"));
    } else {
        let rows = all[..shown].iter().map(|pair| {
            let when = moment(pair.error_time_ms, now, zone);
            vec![right(after(pair)), Cell::new(when), Cell::new(cause(pair)), Cell::new(clean(&pair.session_id))]
        });
        text.push_str(&(grid(out, &["AFTER ORPHAN", "400 OF", "CAUSE", "SESSION"], rows.collect()) + "\n"));
    }
    if shown < all.len() {
        let more = plural((all.len() - shown) as u64, "more 400", "more 400s");
        text.push_str(&format!("{}\n", out.dim(&format!("{more}: -v lists all"))));
    }
    text
}

/// A delta in ms in the unit that fits: "5 ms", "1.2 s", "3 min".
fn duration(ms: i64) -> String {
    let sign = if ms < 0 { "-" } else { "" };
    match ms.unsigned_abs() {
        n @ 0..1_000 => format!("{sign}{n} ms"),
        n @ 1_000..60_000 => format!("{sign}{}.{} s", n / 1_000, n % 1_000 / 100),
        n @ 60_000..3_600_000 => format!("{sign}{} min", n / 60_000),
        n @ 3_600_000..86_400_000 => format!("{sign}{} h", n / 3_600_000),
        n => format!("{sign}{} d", n / 86_400_000),
    }
}

/// A bucket's name: "10 to 100 ms".
#[must_use]
pub(super) fn bucket_label(bucket: &Bucket) -> String {
    match (bucket.from_ms, bucket.to_ms) {
        (Some(0), Some(to)) => format!("under {}", round(to)),
        (Some(from), Some(to)) => {
            let (from, to) = (round(from), round(to));
            // One unit is enough where both have the same.
            match (from.split_once(' '), to.split_once(' ')) {
                (Some((n, a)), Some((_, b))) if a == b => format!("{n} to {to}"),
                _ => format!("{from} to {to}"),
            }
        }
        (Some(from), None) => format!("{} and more", round(from)),
        (None, _) => "clock went back".to_owned(),
    }
}

fn round(ms: i64) -> String {
    match ms {
        86_400_000.. => format!("{} d", ms / 86_400_000),
        3_600_000.. => format!("{} h", ms / 3_600_000),
        60_000.. => format!("{} min", ms / 60_000),
        1_000.. => format!("{} s", ms / 1_000),
        _ => format!("{ms} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deltas_and_bars_in_words() {
        assert_eq!(duration(5), "5 ms");
        assert_eq!(duration(1_234), "1.2 s");
        assert_eq!(duration(-61_000), "-1 min");
        assert_eq!(duration(i64::MIN), "-106751991167 d");
        assert_eq!(bar(1, 1_000_000, 10), "▌");
        assert_eq!(bar(10, 10, 4), "████");
        assert_eq!(bar(0, 10, 4), "");
        assert_eq!(bar(u64::MAX, u64::MAX, 4), "████");
        let label = |from_ms, to_ms| bucket_label(&Bucket { from_ms, to_ms, count: 1 });
        assert_eq!(label(Some(0), Some(10)), "under 10 ms");
        assert_eq!(label(Some(10), Some(100)), "10 to 100 ms");
        assert_eq!(label(Some(100), Some(1_000)), "100 ms to 1 s");
        assert_eq!(label(Some(86_400_000), None), "1 d and more");
        assert_eq!(label(None, Some(0)), "clock went back");
    }
}
