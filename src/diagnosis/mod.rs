//! Requests to findings: which sessions are stuck, who would refuse them, and why.

mod buried;
pub mod code;
mod outline;
pub mod refuses;
pub mod request;
pub mod rules;
mod tail;

use schemars::JsonSchema;
use serde::Serialize;
use strum::Display;

pub use code::{Applicability, Code, LeftReason};
pub use outline::{Outline, Scope};
pub use refuses::Refuses;
pub use tail::Tail;

use crate::history::{ModelRef, Session, SessionInfo, UnreadableRow};
use crate::replay::{RULE_SETS, Resume, RuleSet, Sdk, after_revert, newest, resume, view};

/// How a session stands; the first that matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema, Display)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
#[non_exhaustive]
pub enum Status {
    /// A row of it could not be understood.
    Unreadable,
    /// The next prompt sends a request that is refused as well.
    Dead,
    /// Re-entering sends a request that its model refuses.
    Stuck,
    /// The same tail, but its model is not known to refuse.
    AtRisk,
    /// A buried turn, or a tail that only older opencode trips over.
    Latent,
    /// It was refused once, and later turns got past that.
    Recovered,
    /// Nothing to say.
    Healthy,
}

/// How sure "stuck" is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema, Display)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Evidence {
    /// Its tail holds the refusal.
    Evidenced,
    /// The replay says so.
    Predicted,
}

/// One thing that a scan has to say about a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Finding {
    /// What it is.
    pub code: Code,
    /// What can be done about it.
    pub applicability: Applicability,
    /// The message row that shows it.
    pub message_id: String,
    /// The part row that shows it.
    pub part_id: Option<String>,
    /// What is wrong, without any of the session's content.
    pub detail: String,
}

impl Finding {
    /// What `repair --include` calls it, where every prompt is surely refused for it and it may be taken out.
    #[must_use]
    pub fn takes_out(&self) -> Option<&'static str> {
        self.code.include().filter(|_| self.applicability == Applicability::OptIn)
    }
}

pub(crate) fn finding(code: Code, message_id: &str, part_id: Option<&str>, detail: impl Into<String>) -> Finding {
    Finding {
        code,
        applicability: code.applicability(),
        message_id: message_id.to_owned(),
        part_id: part_id.map(str::to_owned),
        detail: detail.into(),
    }
}

/// What is known before any session is judged.
#[derive(Debug, Clone)]
pub struct Judge {
    /// The rule sets that count.
    pub counting: Vec<&'static RuleSet>,
    /// Who refuses.
    pub refuses: Refuses,
}

/// How one session stands.
#[derive(Debug, Clone)]
pub struct Diagnosis {
    /// The session's row.
    pub info: SessionInfo,
    /// How it stands.
    pub status: Status,
    /// How its tail stands, whatever else is refused: the same as `status` unless that is [`Status::Dead`].
    pub tail: Status,
    /// How sure that is, where it is dead, stuck or at risk.
    pub evidence: Option<Evidence>,
    /// Why it is only at risk.
    pub doubts: Doubts,
    /// The model that re-entering would send to.
    pub model: Option<ModelRef>,
    /// Tool calls that opencode cut off, where they were counted.
    pub orphans: Option<u64>,
    /// Stored prefill 400s, where they were counted.
    pub prefill_400s: Option<u64>,
    /// What re-entering does under each rule set, oldest first.
    pub resume: Vec<(&'static str, Resume)>,
    /// What there is to say.
    pub findings: Vec<Finding>,
}

/// What keeps a tail that looks stuck from being called so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Doubts {
    /// The model is not known to refuse.
    pub model: bool,
    /// The package is a guess or was never measured, and not every measured package sends a request that is refused.
    pub package: bool,
}

/// The model that re-entering sends to: that of the newest user row, a pending revert carried out.
#[must_use]
pub fn model_of(session: &Session) -> Option<ModelRef> {
    let set = &RULE_SETS[RULE_SETS.len() - 1];
    let cut = after_revert(session, set);
    newest(&view(&cut.messages, set), set).user.and_then(|u| u.user()).and_then(|u| u.model.as_deref().cloned())
}

/// The rows right before which a revert or a fork would leave a stuck tail.
#[must_use]
pub fn latent_cuts(session: &Session, sdk: &Sdk, judge: &Judge) -> Vec<String> {
    let cuts = buried::cuts(session, &judge.counting, sdk, &judge.refuses);
    cuts.into_iter().map(|(prompt, _)| prompt.row.id.clone()).collect()
}

/// A session of which a row could not be understood.
#[must_use]
pub fn unreadable(info: &SessionInfo, rows: &[UnreadableRow], known: Option<&Session>) -> Diagnosis {
    Diagnosis {
        info: info.clone(),
        status: Status::Unreadable,
        tail: Status::Unreadable,
        evidence: None,
        doubts: Doubts::default(),
        model: known.and_then(model_of),
        orphans: Some(known.map_or(0, count_orphans)),
        prefill_400s: Some(known.map_or(0, count_400s)),
        resume: RULE_SETS.iter().map(|set| (set.key, Resume::Unreadable)).collect(),
        findings: rows
            .iter()
            .map(|row| {
                let (message, part) =
                    if row.table == "part" { ("", Some(row.id.as_str())) } else { (row.id.as_str(), None) };
                finding(Code::UnreadableRow, message, part, row.detail.clone())
            })
            .collect(),
    }
}

fn count_orphans(session: &Session) -> u64 {
    session.messages.iter().flat_map(|m| m.loud_tools()).filter(|(_, t)| t.orphan()).count() as u64
}

fn count_400s(session: &Session) -> u64 {
    session.messages.iter().filter(|m| m.prefill_400()).count() as u64
}

/// A session that the outline of its rows clears: every rule set stops at its last row.
#[must_use]
pub fn plain(info: SessionInfo, model: Option<&ModelRef>) -> Diagnosis {
    Diagnosis {
        info,
        status: Status::Healthy,
        tail: Status::Healthy,
        evidence: None,
        doubts: Doubts::default(),
        model: model.cloned(),
        orphans: Some(0),
        prefill_400s: Some(0),
        resume: RULE_SETS.iter().map(|set| (set.key, Resume::NoRequest)).collect(),
        findings: Vec::new(),
    }
}

/// Judges a session by its tail alone: stuck, at risk, or neither, which is said as healthy. Of a session that is
/// neither, only what the counting rule sets do is told.
#[must_use]
pub fn diagnose_tail(session: &Session, sdk: &Sdk, judge: &Judge) -> Diagnosis {
    let outcome: Vec<_> = judge.counting.iter().map(|set| (set.key, resume(session, set, sdk))).collect();
    if outcome.iter().any(|(_, r)| *r == Resume::EndsWithAssistant) {
        return diagnose_within(session, sdk, judge, Scope::Tail);
    }
    Diagnosis {
        resume: outcome,
        model: model_of(session),
        orphans: None,
        prefill_400s: None,
        ..plain(session.info.clone(), None)
    }
}

/// Judges one session whose rows were all understood.
#[must_use]
pub fn diagnose(session: &Session, sdk: &Sdk, judge: &Judge) -> Diagnosis {
    diagnose_within(session, sdk, judge, Scope::All)
}

/// Whether re-entering ends with an assistant's turn under a rule set that counts.
fn ends_with_assistant(session: &Session, sdk: &Sdk, judge: &Judge) -> bool {
    judge.counting.iter().any(|set| resume(session, set, sdk) == Resume::EndsWithAssistant)
}

fn diagnose_within(session: &Session, sdk: &Sdk, judge: &Judge, scope: Scope) -> Diagnosis {
    let outcome: Vec<(&'static RuleSet, Resume)> =
        RULE_SETS.iter().map(|set| (set, resume(session, set, sdk))).collect();
    let stuck_under = |sets: &dyn Fn(&RuleSet) -> bool| {
        outcome.iter().rev().find(|(set, r)| *r == Resume::EndsWithAssistant && sets(set)).map(|(set, _)| *set)
    };
    let counts = |set: &RuleSet| judge.counting.iter().any(|c| c.key == set.key);
    let counting = stuck_under(&|set| counts(set));
    let any = stuck_under(&|_| true);
    let model = model_of(session);
    let refused = model.as_ref().is_some_and(|m| judge.refuses.refuses(m));

    let mut findings = Vec::new();
    let mut evidence = None;
    let mut tail_ids: Vec<&str> = Vec::new();
    let cut = counting.or(any).map(|set| after_revert(session, set));
    if let (Some(set), Some(cut)) = (counting, &cut)
        && let Some(tail) = Tail::of(&view(&cut.messages, set), set, sdk)
    {
        for row in &tail.rows {
            if let Some((code, seen)) = rules::first_match(row, &tail) {
                findings.push(finding(code, row.id(), seen.part_id.as_deref(), seen.detail));
            }
        }
        if findings.is_empty() {
            // Every row of the tail is in order: what the loop takes for the newest answer stands elsewhere.
            let newest = newest(&view(&cut.messages, set), set).assistant.or(tail.speaker());
            let detail = "its clocks disagree with its order: opencode takes it for the newest answer";
            findings.extend(newest.map(|row| finding(Code::UnfinishedTextTail, row.id(), None, detail)));
        }
        evidence =
            Some(if tail.rows.iter().any(|m| m.prefill_400()) { Evidence::Evidenced } else { Evidence::Predicted });
        tail_ids = tail.rows.iter().map(|m| m.id()).collect();
    } else if let (Some(set), Some(cut)) = (any, &cut)
        && let Some(tail) = Tail::of(&view(&cut.messages, set), set, sdk)
        && let Some(speaker) = tail.speaker()
    {
        let sets: Vec<&str> =
            outcome.iter().filter(|(_, r)| *r == Resume::EndsWithAssistant).map(|(s, _)| s.key).collect();
        let detail = format!("stuck under the rules of {} alone, which this store has left behind", sets.join(", "));
        findings.push(finding(Code::LatentTail, speaker.id(), None, detail));
    }
    let newest_set = judge.counting.last().copied().unwrap_or(&RULE_SETS[RULE_SETS.len() - 1]);
    if let Some((set, _)) = outcome.iter().find(|(set, r)| counts(set) && *r == Resume::RunsTask)
        && let Some(user) = newest(&view(&after_revert(session, set).messages, set), set).user
    {
        findings.push(finding(Code::PendingTask, user.id(), None, "worked off before anything is sent"));
    }
    if scope == Scope::All {
        findings.extend(buried::latent(session, &judge.counting, sdk, &judge.refuses));
        findings.extend(buried::rest(session, sdk, &tail_ids, newest_set));
    }

    let mut refused_for = None;
    if scope == Scope::All && session.suspect {
        let broken = request::broken_in(session, sdk, &judge.counting);
        refused_for = broken.iter().filter_map(|b| b.evidence).max_by_key(|e| *e == Evidence::Evidenced);
        // What a prompt is refused for comes first.
        findings.splice(0..0, broken.iter().map(request::Broken::finding));
    }

    let counted = scope == Scope::All;
    let has = |code: Code| findings.iter().any(|f| f.code == code);
    let package = counting.is_some() && !sdk.candidates().iter().all(|sdk| ends_with_assistant(session, sdk, judge));
    let doubts = Doubts { model: counting.is_some() && !refused, package };
    let tail = match counting {
        Some(_) if doubts == Doubts::default() => Status::Stuck,
        Some(_) => Status::AtRisk,
        None if has(Code::LatentTail) => Status::Latent,
        None if has(Code::RecoveredPrefill400) => Status::Recovered,
        None => Status::Healthy,
    };
    Diagnosis {
        info: session.info.clone(),
        status: if refused_for.is_some() { Status::Dead } else { tail },
        tail,
        evidence: refused_for.or(evidence.filter(|_| counting.is_some())),
        doubts,
        model,
        orphans: counted.then(|| count_orphans(session)),
        prefill_400s: counted.then(|| count_400s(session)),
        resume: outcome.iter().map(|(set, r)| (set.key, *r)).collect(),
        findings,
    }
}
