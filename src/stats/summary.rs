//! Tables over events.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::Serialize;
use strum::Display;

use super::{Events, Pair};

/// Counts by name.
pub type Counts = BTreeMap<String, u64>;

/// Counts of orphans.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct OrphanCounts {
    /// All of them.
    pub total: u64,
    /// Sessions that have one.
    pub sessions: u64,
    /// By the tool's name.
    pub by_tool: Counts,
    /// By `PROVIDER/MODEL`.
    pub by_model: Counts,
    /// By the opencode version that created the session.
    pub by_version: Counts,
    /// By local day.
    pub by_day: Counts,
}

/// Counts of prefill 400s.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RefusalCounts {
    /// All of them.
    pub total: u64,
    /// Sessions that have one.
    pub sessions: u64,
    /// By `PROVIDER/MODEL`.
    pub by_model: Counts,
    /// By provider.
    pub by_provider: Counts,
    /// By the opencode version that created the session.
    pub by_version: Counts,
    /// By cause.
    pub by_cause: Counts,
    /// By cause, retries counted with the request that they repeat.
    pub by_root_cause: Counts,
    /// By whose wording they have.
    pub by_wrapper: Counts,
    /// By local day.
    pub by_day: Counts,
    /// Those of sessions that are stuck with them now.
    pub still_stuck: StillStuck,
}

/// Prefill 400s in the tails of sessions that are stuck now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct StillStuck {
    /// All of them.
    pub total: u64,
    /// Sessions that they keep stuck.
    pub sessions: u64,
    /// By cause.
    pub by_cause: Counts,
}

/// A range of deltas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Bucket {
    /// From this many ms on; `None` for all below zero.
    pub from_ms: Option<i64>,
    /// Below this many ms; `None` where there is no end.
    pub to_ms: Option<i64>,
    /// How many deltas lie in it.
    pub count: u64,
}

/// Where the buckets of the histogram begin, in ms, after one for deltas below zero.
pub const BUCKETS: [i64; 9] = [0, 10, 100, 1_000, 10_000, 60_000, 600_000, 3_600_000, 86_400_000];

/// From an orphan to the refusal that it is paired with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Deltas {
    /// Refusals with an orphan whose time is known.
    pub pairs: u64,
    /// Refusals without an orphan before them.
    pub without_orphan: u64,
    /// The shortest, in ms.
    pub min_ms: Option<i64>,
    /// The middle one, in ms; the lower of two.
    pub median_ms: Option<i64>,
    /// The longest, in ms.
    pub max_ms: Option<i64>,
    /// How they are spread, from the first bucket that holds any to the last.
    pub histogram: Vec<Bucket>,
}

/// What the rows of a table are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema, Display)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Key {
    /// `PROVIDER/MODEL`.
    Model,
    /// The provider.
    Provider,
    /// The opencode version that created the session.
    Version,
    /// The tool; for a refusal that of the orphan that it is paired with.
    Tool,
    /// The local day.
    Day,
}

/// A table by one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct By {
    /// What the rows are.
    pub key: Key,
    /// Its rows: days in order, everything else by count.
    pub rows: Vec<ByRow>,
}

/// A row of a table by one key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ByRow {
    /// The model, provider, version, tool or day.
    pub key: String,
    /// Orphans.
    pub orphans: u64,
    /// Prefill 400s.
    pub prefill_400s: u64,
    /// Sessions with either.
    pub sessions: u64,
    /// Prefill 400s in the tails of sessions that are stuck now.
    pub still_stuck: u64,
    /// The shortest delta, in ms.
    pub closest_ms: Option<i64>,
}

/// All tables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Orphans.
    pub orphans: OrphanCounts,
    /// Prefill 400s.
    pub prefill_400s: RefusalCounts,
    /// Other 400s.
    pub other_400s: u64,
    /// These by what they are about.
    pub other_400s_by_class: Counts,
    /// Of each of these, by `PROVIDER/MODEL`.
    pub other_400s_by_model: BTreeMap<String, Counts>,
    /// Leaked calls.
    pub leaked_calls: u64,
    /// Deltas.
    pub deltas: Deltas,
    /// The table by one key, where it was asked for.
    pub by: Option<By>,
}

/// The key of refusals without an orphan in a table by tool.
const NO_ORPHAN: &str = "(no orphan)";

/// The day of a time in ms since the Unix epoch, in the zone: `2026-11-21`.
#[must_use]
pub fn day(ms: i64, zone: &TimeZone) -> String {
    Timestamp::from_millisecond(ms)
        .map_or_else(|_| "unknown".to_owned(), |t| t.to_zoned(zone.clone()).date().to_string())
}

fn provider(model: &str) -> &str {
    model.split_once('/').map_or(model, |(provider, _)| provider)
}

fn count(counts: &mut Counts, key: impl Into<String>) {
    *counts.entry(key.into()).or_default() += 1;
}

impl Summary {
    /// Counts the events of one or more stores; days are those of `zone`.
    #[must_use]
    pub fn of(stores: &[&Events], by: Option<Key>, zone: &TimeZone) -> Self {
        let mut out = Self::default();
        // Two stores may hold a session of the same id: each is a session of its own.
        let (mut with_orphans, mut refused, mut stuck) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for (at, events) in stores.iter().enumerate() {
            for o in &events.orphans {
                out.orphans.total += 1;
                with_orphans.insert((at, o.session_id.as_str()));
                count(&mut out.orphans.by_tool, &o.tool);
                count(&mut out.orphans.by_model, &o.model);
                count(&mut out.orphans.by_version, &o.version);
                count(&mut out.orphans.by_day, day(o.time_ms, zone));
            }
            for p in &events.pairs {
                let counts = &mut out.prefill_400s;
                counts.total += 1;
                refused.insert((at, p.session_id.as_str()));
                count(&mut counts.by_model, &p.model);
                count(&mut counts.by_provider, provider(&p.model));
                count(&mut counts.by_version, &p.version);
                count(&mut counts.by_cause, p.cause.to_string());
                count(&mut counts.by_root_cause, p.root_cause.to_string());
                count(&mut counts.by_wrapper, p.wrapper.to_string());
                count(&mut counts.by_day, day(p.error_time_ms, zone));
                if p.still_stuck {
                    counts.still_stuck.total += 1;
                    stuck.insert((at, p.session_id.as_str()));
                    count(&mut counts.still_stuck.by_cause, p.cause.to_string());
                }
            }
            out.other_400s += events.other_400s.len() as u64;
            for other in &events.other_400s {
                let class = other.class.to_string();
                count(out.other_400s_by_model.entry(class.clone()).or_default(), &other.model);
                count(&mut out.other_400s_by_class, class);
            }
            out.leaked_calls += events.leaked.len() as u64;
        }
        out.orphans.sessions = with_orphans.len() as u64;
        out.prefill_400s.sessions = refused.len() as u64;
        out.prefill_400s.still_stuck.sessions = stuck.len() as u64;
        out.deltas = Deltas::of(stores.iter().flat_map(|e| &e.pairs));
        out.by = by.map(|key| By { key, rows: rows(stores, key, zone) });
        out
    }
}

impl Deltas {
    fn of<'a>(pairs: impl Iterator<Item = &'a Pair>) -> Self {
        let (mut deltas, mut without_orphan) = (Vec::new(), 0);
        for pair in pairs {
            without_orphan += u64::from(pair.part_id.is_none());
            deltas.extend(pair.delta_ms);
        }
        deltas.sort_unstable();
        let starts = std::iter::once(None).chain(BUCKETS.into_iter().map(Some));
        let ends = BUCKETS.into_iter().map(Some).chain(std::iter::once(None));
        let all: Vec<Bucket> = starts
            .zip(ends)
            .map(|(from_ms, to_ms)| {
                let within = |d: &&i64| from_ms.is_none_or(|f| **d >= f) && to_ms.is_none_or(|t| **d < t);
                Bucket { from_ms, to_ms, count: deltas.iter().filter(within).count() as u64 }
            })
            .collect();
        let first = all.iter().position(|b| b.count > 0).unwrap_or(all.len());
        let end = all.iter().rposition(|b| b.count > 0).map_or(first, |at| at + 1);
        Self {
            pairs: deltas.len() as u64,
            without_orphan,
            min_ms: deltas.first().copied(),
            median_ms: deltas.get(deltas.len().saturating_sub(1) / 2).copied(),
            max_ms: deltas.last().copied(),
            histogram: all[first..end].to_vec(),
        }
    }
}

fn rows(stores: &[&Events], key: Key, zone: &TimeZone) -> Vec<ByRow> {
    // Sessions are told apart by their store's place and their id.
    type Counted<'a> = (ByRow, BTreeSet<(usize, &'a str)>);
    let mut rows: BTreeMap<String, Counted<'_>> = BTreeMap::new();
    for (at, events) in stores.iter().enumerate() {
        for o in &events.orphans {
            let name = match key {
                Key::Model => o.model.clone(),
                Key::Provider => provider(&o.model).to_owned(),
                Key::Version => o.version.clone(),
                Key::Tool => o.tool.clone(),
                Key::Day => day(o.time_ms, zone),
            };
            let (row, sessions) = rows.entry(name).or_default();
            row.orphans += 1;
            sessions.insert((at, &o.session_id));
        }
        for p in &events.pairs {
            let name = match key {
                Key::Model => p.model.clone(),
                Key::Provider => provider(&p.model).to_owned(),
                Key::Version => p.version.clone(),
                Key::Tool => p.tool.clone().unwrap_or_else(|| NO_ORPHAN.to_owned()),
                Key::Day => day(p.error_time_ms, zone),
            };
            let (row, sessions) = rows.entry(name).or_default();
            row.prefill_400s += 1;
            row.still_stuck += u64::from(p.still_stuck);
            row.closest_ms = [row.closest_ms, p.delta_ms].into_iter().flatten().min();
            sessions.insert((at, &p.session_id));
        }
    }
    let mut out: Vec<ByRow> =
        rows.into_iter().map(|(key, (row, sessions))| ByRow { key, sessions: sessions.len() as u64, ..row }).collect();
    if key != Key::Day {
        out.sort_by(|a, b| (b.prefill_400s, b.orphans, &a.key).cmp(&(a.prefill_400s, a.orphans, &b.key)));
    }
    out
}
