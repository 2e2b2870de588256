//! How orphans and refusals belong together: events taken from one session at a time, and tables over them.
//!
//! A report keeps the events themselves, so that reports of several stores can be put together and cut by
//! time or by key like a single one.

mod cause;
mod summary;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use cause::Cause;
pub use summary::{
    BUCKETS, Bucket, By, ByRow, Counts, Deltas, Key, OrphanCounts, RefusalCounts, StillStuck, Summary, day,
};

use crate::diagnosis::{Code, Diagnosis, Status};
use crate::history::{Message, ModelRef, Part, RefusalClass, Session, ToolCall, ToolState, Wrapper};
use crate::replay::{Sdk, Version};

/// A tool call that opencode cut off. Times are ms since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema, Deserialize)]
pub struct Orphan {
    /// The session.
    pub session_id: String,
    /// The message row.
    pub message_id: String,
    /// The part row.
    pub part_id: String,
    /// The tool's name.
    pub tool: String,
    /// `PROVIDER/MODEL` that called it.
    pub model: String,
    /// The opencode version that created the session.
    pub version: String,
    /// `state.time.start`, or the part row's `time_created` where that is missing.
    pub time_ms: i64,
}

/// A stored prefill 400 with the orphan that led to it, if any. Times are ms since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema, Deserialize)]
pub struct Pair {
    /// The session.
    pub session_id: String,
    /// The newest orphan before the refusal in the history that was replayed.
    pub part_id: Option<String>,
    /// The row that holds the refusal.
    pub message_id: String,
    /// The orphan's `state.time.start`.
    pub orphan_time_ms: Option<i64>,
    /// The refusal row's `time_created`.
    pub error_time_ms: i64,
    /// From the one to the other.
    pub delta_ms: Option<i64>,
    /// The orphan's tool.
    pub tool: Option<String>,
    /// `PROVIDER/MODEL` that refused.
    pub model: String,
    /// The opencode version that created the session.
    pub version: String,
    /// Whose wording the refusal has.
    pub wrapper: Wrapper,
    /// Why the request ended with an assistant turn.
    pub cause: Cause,
    /// For a retry, the cause of the first refusal of its row of retries; else the same as `cause`.
    pub root_cause: Cause,
    /// It belongs to the tail that keeps its session stuck now.
    pub still_stuck: bool,
}

/// A stored 400 of another kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema, Deserialize)]
pub struct Other400 {
    /// The session.
    pub session_id: String,
    /// The row that holds it.
    pub message_id: String,
    /// `PROVIDER/MODEL` that answered with it.
    pub model: String,
    /// What it is about; `None` in reports of earlier versions.
    #[serde(default)]
    pub class: Option<RefusalClass>,
    /// The row's `time_created`, ms since the Unix epoch.
    pub time_ms: i64,
}

/// An answer's text that holds raw tool-call markup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema, Deserialize)]
pub struct Leaked {
    /// `leaked-tool-call-text`.
    pub code: String,
    /// The session.
    pub session_id: String,
    /// The message row.
    pub message_id: String,
    /// The part row.
    pub part_id: String,
    /// The message row's `time_created`, ms since the Unix epoch.
    pub time_ms: i64,
}

/// Everything that statistics are made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Events {
    /// Tool calls that opencode cut off.
    pub orphans: Vec<Orphan>,
    /// Prefill 400s.
    pub pairs: Vec<Pair>,
    /// Other 400s.
    pub other_400s: Vec<Other400>,
    /// Leaked calls.
    pub leaked: Vec<Leaked>,
}

/// The models whose refusals the session holds: the replay needs the SDK package of each.
#[must_use]
pub fn refusing_models(session: &Session) -> Vec<&ModelRef> {
    let mut out: Vec<&ModelRef> = Vec::new();
    for a in session.messages.iter().filter(|m| m.prefill_400()).filter_map(|m| m.assistant()) {
        if !out.contains(&a.model.as_ref()) {
            out.push(&a.model);
        }
    }
    out
}

/// A time that is stored as JavaScript's number, in ms; `None` beyond its whole numbers.
fn millis(time: f64) -> Option<i64> {
    const SAFE: f64 = 9_007_199_254_740_991.0;
    #[expect(clippy::cast_possible_truncation, reason = "within the whole numbers that both types hold")]
    (time.abs() <= SAFE).then_some(time as i64)
}

fn start(call: &ToolCall) -> Option<i64> {
    match call.state {
        ToolState::Error { start, .. } => start.and_then(millis),
        _ => None,
    }
}

impl Events {
    /// Adds what another has.
    pub fn append(&mut self, mut other: Self) {
        self.orphans.append(&mut other.orphans);
        self.pairs.append(&mut other.pairs);
        self.other_400s.append(&mut other.other_400s);
        self.leaked.append(&mut other.leaked);
    }

    /// Adds what one session holds. `sdks` has the package of every model in [`refusing_models`].
    ///
    /// Where rows could not be understood, what can be read is counted, but no cause is told.
    pub fn add(&mut self, session: &Session, diagnosis: &Diagnosis, sdks: &BTreeMap<ModelRef, Sdk>) {
        let info = &session.info;
        // The cause of the first refusal of a row of retries, by each refusal's row.
        let mut roots: BTreeMap<&str, Cause> = BTreeMap::new();
        for (at, message) in session.messages.iter().enumerate() {
            let Some(a) = message.assistant() else { continue };
            let model = a.model.to_string();
            let orphans = message.loud_tools().filter(|(_, call)| call.orphan()).map(|(part, call)| Orphan {
                session_id: info.id.clone(),
                message_id: message.row.id.clone(),
                part_id: part.id().to_owned(),
                tool: call.tool.clone(),
                model: model.clone(),
                version: info.version.clone(),
                time_ms: start(call).unwrap_or(part.time_created),
            });
            self.orphans.extend(orphans);
            self.leaked.extend(message.leaked_calls().map(|part| Leaked {
                code: Code::LeakedToolCallText.to_string(),
                session_id: info.id.clone(),
                message_id: message.row.id.clone(),
                part_id: part.id().to_owned(),
                time_ms: message.row.time_created,
            }));
            let Some(error) = &a.error else { continue };
            let Some(wrapper) = error.wrapper else {
                if error.status == Some(400) {
                    self.other_400s.push(Other400 {
                        session_id: info.id.clone(),
                        message_id: message.row.id.clone(),
                        model,
                        class: Some(error.refusal.map_or(RefusalClass::Other, |r| r.class)),
                        time_ms: message.row.time_created,
                    });
                }
                continue;
            };
            let sdk = sdks.get(&a.model).cloned().unwrap_or_else(Sdk::keeping);
            let replayed = cause::replay(&session.messages[..at], info.version.parse::<Version>().ok(), &sdk);
            let cause = if diagnosis.status == Status::Unreadable { Cause::Unexplained } else { replayed.cause };
            let root_cause = if cause == Cause::FailedAgain {
                let retried = &replayed.seen[replayed.prompt.map_or(0, |at| at + 1)..];
                retried.iter().rev().find_map(|m| roots.get(m.id())).copied().unwrap_or(cause)
            } else {
                cause
            };
            roots.insert(message.id(), root_cause);
            let orphan = newest_orphan(&replayed.seen);
            let orphan_time_ms = orphan.and_then(|(_, call)| start(call));
            self.pairs.push(Pair {
                session_id: info.id.clone(),
                part_id: orphan.map(|(part, _)| part.id().to_owned()),
                message_id: message.row.id.clone(),
                orphan_time_ms,
                error_time_ms: message.row.time_created,
                delta_ms: orphan_time_ms.map(|then| message.row.time_created.saturating_sub(then)),
                tool: orphan.map(|(_, call)| call.tool.clone()),
                model,
                version: info.version.clone(),
                wrapper,
                cause,
                root_cause,
                still_stuck: still_stuck(diagnosis, message.id()),
            });
        }
    }

    /// What happened at `since` or later and before `until`, in ms since the Unix epoch. A pair counts by its
    /// refusal's time, wherever its orphan lies.
    pub fn keep_between(&mut self, since: Option<i64>, until: Option<i64>) {
        let within = |time: i64| since.is_none_or(|s| time >= s) && until.is_none_or(|u| time < u);
        self.orphans.retain(|o| within(o.time_ms));
        self.pairs.retain(|p| within(p.error_time_ms));
        self.other_400s.retain(|o| within(o.time_ms));
        self.leaked.retain(|l| within(l.time_ms));
    }
}

fn newest_orphan<'a>(seen: &[&'a Message]) -> Option<(&'a Part, &'a ToolCall)> {
    let of = |message: &'a Message| message.loud_tools().filter(|(_, call)| call.orphan()).last();
    seen.iter().rev().find_map(|message| of(message))
}

/// Whether the refusal belongs to the tail that keeps the session stuck: the diagnosis names every refusal
/// that does not.
fn still_stuck(diagnosis: &Diagnosis, message_id: &str) -> bool {
    let past = |code: Code| matches!(code, Code::RecoveredPrefill400 | Code::StepLimitPrefill);
    diagnosis.tail == Status::Stuck && !diagnosis.findings.iter().any(|f| f.message_id == message_id && past(f.code))
}

/// Of several reports of one store, the newest. Returns what is kept, in the order given, and what is not.
///
/// `key` gives a report's store and when it was made.
#[must_use]
pub fn newest_of_each_store<T>(reports: Vec<T>, key: impl Fn(&T) -> (String, i64)) -> (Vec<T>, Vec<T>) {
    let mut best: BTreeMap<String, (i64, usize)> = BTreeMap::new();
    for (at, report) in reports.iter().enumerate() {
        let (store, made) = key(report);
        let entry = best.entry(store).or_insert((made, at));
        if made > entry.0 {
            *entry = (made, at);
        }
    }
    let (mut kept, mut dropped) = (Vec::new(), Vec::new());
    for (at, report) in reports.into_iter().enumerate() {
        if best.values().any(|(_, kept)| *kept == at) { kept.push(report) } else { dropped.push(report) }
    }
    (kept, dropped)
}

#[cfg(test)]
mod tests {
    use super::{millis, newest_of_each_store};

    #[test]
    fn one_report_of_each_store_and_that_the_newest() {
        let reports = vec![("a", 1), ("b", 5), ("a", 3), ("a", 2), ("b", 5)];
        let (kept, dropped) = newest_of_each_store(reports, |(id, made)| ((*id).to_owned(), *made));
        assert_eq!(kept, [("b", 5), ("a", 3)]);
        assert_eq!(dropped, [("a", 1), ("a", 2), ("b", 5)]);
    }

    #[test]
    fn times_beyond_whole_numbers_are_none() {
        assert_eq!(millis(1_777_464_448_632.0), Some(1_777_464_448_632));
        assert_eq!(millis(f64::INFINITY), None);
        assert_eq!(millis(f64::NAN), None);
    }
}
