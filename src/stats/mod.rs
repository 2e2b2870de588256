//! How orphans and refusals belong together: events taken from one session at a time, and tables over them.

mod cause;
mod summary;
mod v2;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

pub use cause::Cause;
pub use summary::{
    BUCKETS, Bucket, By, ByRow, Counts, Deltas, Key, OrphanCounts, RefusalCounts, StillStuck, Summary, day,
};

use crate::audit::{self, audit_with};
use crate::diagnosis::{Code, Diagnosis, Format, Status};
use crate::error::Result;
use crate::history::{Message, ModelRef, Part, RefusalClass, RowError, Session, ToolCall, ToolState, Wrapper};
use crate::journal::{Journal, Refusals, removed_refusals};
use crate::replay::{Bound, Sdk, Version};
use crate::sdk::SdkResolver;
use crate::store::{Facts, Store};

/// A tool call that opencode cut off. Times are ms since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Other400 {
    /// The session.
    pub session_id: String,
    /// The row that holds it.
    pub message_id: String,
    /// `PROVIDER/MODEL` that answered with it.
    pub model: String,
    /// What it is about.
    pub class: RefusalClass,
    /// The row's `time_created`, ms since the Unix epoch.
    pub time_ms: i64,
}

/// An answer's text that holds raw tool-call markup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Leaked {
    /// `leaked-tool-call-text`.
    pub code: Code,
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

/// What is known of one store.
#[derive(Debug, Clone)]
pub struct StoreStats {
    /// What the store is.
    pub facts: Facts,
    /// Which opencode it is judged by.
    pub bound: Bound,
    /// When it was read, in ms since the epoch.
    pub generated_ms: i64,
    /// Only events from this time on are in it.
    pub since_ms: Option<i64>,
    /// Only events before this time are in it.
    pub until_ms: Option<i64>,
    /// Rows that could not be understood.
    pub unreadable_rows: u64,
    /// Prefill 400s that repairs have removed, by the journals.
    pub removed_by_repair: u64,
    /// Sessions that are stuck now, with a stored refusal or without.
    pub stuck_sessions: u64,
    /// What happened.
    pub events: Events,
}

/// A store's journals, oldest first, each with the prefill 400s that it removed and put back.
pub type Journals = Vec<(Journal, Refusals)>;

/// Counts what happened in a store. `journals` gives the journals of a store by its identity; `now` is the present, in ms since
/// the epoch.
///
/// # Errors
/// What is wrong with the store.
pub fn of_store(
    store: &Store<'_>,
    options: &audit::Options<'_>,
    journals: &dyn Fn(&str) -> Journals,
    now: i64,
) -> Result<StoreStats> {
    let audit = {
        let older = |session: &Session, readable: bool| {
            let mut events = Events::of(session, options.packages);
            if !readable {
                events.unexplain();
            }
            Some(events)
        };
        audit_with(store, options, older, |session, rows| Some(v2::events(session, rows)))?
    };
    let (mut events, mut newer) = (Events::default(), Events::default());
    let mut stuck_sessions = 0;
    for judged in audit.sessions {
        stuck_sessions += u64::from(judged.diagnosis.status == Status::Stuck);
        let Some(mut told) = judged.told else { continue };
        if judged.diagnosis.format == Format::V2 {
            newer.append(told);
        } else {
            told.settle(&judged.diagnosis);
            events.append(told);
        }
    }
    events.append_unknown(newer);
    let journals = journals(&audit.facts.id);
    let mut removed = removed_refusals(journals.iter().map(|(journal, refusals)| (journal, refusals)));
    // A row that is there is not gone, whatever a journal says: the store may be a copy from before.
    removed.retain(|id| !events.pairs.iter().any(|p| p.message_id == *id));
    Ok(StoreStats {
        removed_by_repair: removed.len() as u64,
        facts: audit.facts,
        bound: audit.bound,
        generated_ms: now,
        since_ms: None,
        until_ms: None,
        unreadable_rows: audit.unreadable_rows.len() as u64,
        stuck_sessions,
        events,
    })
}

impl StoreStats {
    /// Leaves out what happened before `since`, or at `until` or later, in ms since the epoch.
    pub fn keep_between(&mut self, since: Option<i64>, until: Option<i64>) {
        self.events.keep_between(since, until);
        (self.since_ms, self.until_ms) = (since, until);
    }
}

/// The models whose refusals the session holds: the replay needs the SDK package of each.
fn refusing_models(session: &Session) -> Vec<&ModelRef> {
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

    /// Adds what another has, but for what was imported: the rows of both have the same ids.
    fn append_unknown(&mut self, mut other: Self) {
        let orphans: HashSet<&str> = self.orphans.iter().map(|o| o.message_id.as_str()).collect();
        other.orphans.retain(|o| !orphans.contains(o.message_id.as_str()));
        let pairs: HashSet<&str> = self.pairs.iter().map(|p| p.message_id.as_str()).collect();
        other.pairs.retain(|p| !pairs.contains(p.message_id.as_str()));
        self.append(other);
    }

    /// What one session holds, but for what its verdict tells: see [`Events::settle`].
    #[must_use]
    pub fn of(session: &Session, packages: &SdkResolver) -> Self {
        let folder = Path::new(&session.info.directory);
        let sdk = |m: &ModelRef| packages.choose(&m.provider, &m.model, folder).sdk();
        let sdks = refusing_models(session).into_iter().map(|m| (m.clone(), sdk(m))).collect();
        let mut out = Self::default();
        out.add(session, &sdks);
        out
    }

    /// Notes which refusals keep their session stuck, by its verdict.
    pub fn settle(&mut self, diagnosis: &Diagnosis) {
        for pair in &mut self.pairs {
            pair.still_stuck = still_stuck(diagnosis, &pair.message_id);
        }
    }

    /// Takes the causes back: of a session of which a row could not be understood, none can be told.
    fn unexplain(&mut self) {
        for pair in &mut self.pairs {
            (pair.cause, pair.root_cause) = (Cause::Unexplained, Cause::Unexplained);
        }
    }

    /// Adds an error that is no prefill 400.
    fn add_other(&mut self, session: &str, message: &Message, error: &RowError, model: String) {
        if error.status == Some(400) || error.status == Some(404) && error.refusal.is_some() {
            self.other_400s.push(Other400 {
                session_id: session.to_owned(),
                message_id: message.row.id.clone(),
                model,
                class: error.refusal.map_or(RefusalClass::Other, |r| r.class),
                time_ms: message.row.time_created,
            });
        }
    }

    /// Adds what one session holds. `sdks` has the package of every model that refused something in it.
    fn add(&mut self, session: &Session, sdks: &BTreeMap<ModelRef, Sdk>) {
        let info = &session.info;
        // The cause of the first refusal of a row of retries, by each refusal's row.
        let mut roots: BTreeMap<&str, Cause> = BTreeMap::new();
        for (at, message) in session.messages.iter().enumerate() {
            let Some(a) = message.assistant() else { continue };
            let model = a.model.to_string();
            let orphans = message.open_calls().filter(|(_, call)| call.orphan()).map(|(part, call)| Orphan {
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
                code: Code::LeakedToolCallText,
                session_id: info.id.clone(),
                message_id: message.row.id.clone(),
                part_id: part.id().to_owned(),
                time_ms: message.row.time_created,
            }));
            let Some(error) = &a.error else { continue };
            let Some(wrapper) = error.wrapper else {
                self.add_other(&info.id, message, error, model);
                continue;
            };
            let sdk = sdks.get(&a.model).cloned().unwrap_or_else(Sdk::keeping);
            let replayed = cause::replay(&session.messages[..at], info.version.parse::<Version>().ok(), &sdk);
            let cause = replayed.cause;
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
                still_stuck: false,
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
    let of = |message: &'a Message| message.open_calls().filter(|(_, call)| call.orphan()).last();
    seen.iter().rev().find_map(|message| of(message))
}

/// Whether the refusal belongs to the tail that keeps the session stuck: the diagnosis names every refusal
/// that does not.
fn still_stuck(diagnosis: &Diagnosis, message_id: &str) -> bool {
    let past = |code: Code| matches!(code, Code::RecoveredPrefill400 | Code::StepLimitPrefill);
    diagnosis.tail == Status::Stuck && !diagnosis.findings.iter().any(|f| f.message_id == message_id && past(f.code))
}

#[cfg(test)]
mod tests {
    use super::millis;

    #[test]
    fn times_beyond_whole_numbers_are_none() {
        assert_eq!(millis(1_777_464_448_632.0), Some(1_777_464_448_632));
        assert_eq!(millis(f64::INFINITY), None);
        assert_eq!(millis(f64::NAN), None);
    }
}
