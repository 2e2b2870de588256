//! Requests to findings: which sessions are stuck, who would refuse them, and why.

mod buried;
mod code;
mod draft;
pub mod import;
mod include;
mod left;
pub mod limits;
mod outline;
pub mod refuses;
pub mod request;
mod rules;
mod silence;
mod tail;
pub mod unopenable;
pub mod v2;

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Serialize;
use strum::{Display, EnumIter, EnumString, IntoStaticStr};

pub(crate) use code::in_tail;
pub use code::{Applicability, Code};
pub use draft::{Draft, Scope, diagnose, diagnose_tail, draft};
pub use include::{Include, Includes, names};
pub use left::{Left, LeftReason};
pub use outline::{prompted, settled};
pub use refuses::Refuses;
pub(crate) use request::is_encrypted_reasoning;
use rules::Match;
pub use tail::Tail;
use unopenable::Misfit;

use crate::decoding::Wrong;
use crate::history::{Message, ModelRef, Session, SessionInfo, UnreadableRow};
use crate::replay::{RULE_SETS, Resume, RuleSet, Sdk, after_revert, newest, view};

/// How a session stands; the first that matches.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    JsonSchema,
    Display,
    EnumIter,
    EnumString,
    IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
#[non_exhaustive]
pub enum Status {
    /// A row of it could not be understood.
    Unreadable,
    /// opencode cannot read a row of it: it is not listed, does not open, or takes no prompt.
    Unopenable,
    /// The next prompt sends a request that is refused as well.
    Dead,
    /// Re-entering sends a request that its model refuses.
    Stuck,
    /// The same tail, but its model is not known to refuse.
    AtRisk,
    /// A buried turn, or a tail that only older opencode trips over.
    Latent,
    /// It was refused once, and goes on now.
    Recovered,
    /// Nothing to say.
    Healthy,
}

impl Status {
    /// Whether its owner has to do something before the session goes on.
    #[must_use]
    pub fn needs_action(self) -> bool {
        match self {
            Self::Unopenable | Self::Dead | Self::Stuck => true,
            Self::Unreadable | Self::AtRisk | Self::Latent | Self::Recovered | Self::Healthy => false,
        }
    }

    /// Its name in a sentence.
    #[must_use]
    pub fn words(self) -> String {
        self.to_string().replace('-', " ")
    }
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
    /// Which member of the row opencode cannot read, and what fails for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub misfit: Option<Misfit>,
}

impl Finding {
    /// What `repair --include` has to name, where every prompt is surely refused for it and it may leave what the model is
    /// sent.
    #[must_use]
    pub fn redacted_by(&self) -> Option<Include> {
        self.code.redacted_by().filter(|_| self.applicability == Applicability::OptIn)
    }

    /// Whether it is about a part whose JSON cannot be parsed.
    #[must_use]
    pub fn is_broken_part(&self) -> bool {
        self.part_id.is_some() && self.misfit.as_ref().is_some_and(|misfit| misfit.wrong == Wrong::Json)
    }

    /// What `repair --include` has to name so that opencode can read the row, where anything helps.
    #[must_use]
    pub fn read_by(&self) -> Option<Include> {
        let unread = self.misfit.is_some() || self.code == Code::UndecodableRow;
        let helps = unread && self.applicability == Applicability::OptIn;
        helps.then_some(if self.is_broken_part() { Include::BrokenParts } else { Include::Rows })
    }
}

pub(crate) fn finding(code: Code, message_id: &str, part_id: Option<&str>, detail: impl Into<String>) -> Finding {
    Finding {
        code,
        applicability: code.applicability(),
        message_id: message_id.to_owned(),
        part_id: part_id.map(str::to_owned),
        detail: detail.into(),
        misfit: None,
    }
}

/// What a rule about a row has found.
fn found_in(row: &Message, code: Code, found: Match) -> Finding {
    finding(code, row.id(), found.part_id.as_deref(), found.detail)
}

/// What is known before any session is judged.
#[derive(Debug, Clone)]
pub struct Judge {
    /// The rule sets that count.
    pub counting: Vec<&'static RuleSet>,
    /// The one of them that stands for a version that nobody has measured.
    pub guess: Option<&'static RuleSet>,
    /// Who refuses.
    pub refuses: Refuses,
    /// Sessions that were refused for their encrypted reasoning where that may have been the service's fault, by id.
    pub doubted: Vec<String>,
}

impl Judge {
    /// Whether a tail ends with the assistant by the rules alone that were never measured.
    fn guesses(&self, resume: &[(&'static str, Resume)]) -> bool {
        let ends = |set: &RuleSet| resume.contains(&(set.key, Resume::EndsWithAssistant));
        let mut stuck = self.counting.iter().filter(|set| ends(set)).map(|set| set.key);
        self.guess.is_some_and(|guess| stuck.all(|key| key == guess.key))
    }

    /// What of `includes` holds for a session.
    #[must_use]
    pub fn allowed(&self, session: &str, includes: Includes) -> Includes {
        if self.doubted.iter().any(|id| id == session) { includes.without(Include::Reasoning) } else { includes }
    }
}

/// A refusal of encrypted reasoning that the store has to be asked about: whether it may have been the service's.
#[derive(Debug, Clone)]
pub struct Question {
    /// Who refused it.
    pub model: ModelRef,
    /// The first refusal that nothing has got past, in ms since the epoch.
    pub first: i64,
    /// The last one.
    pub last: i64,
}

/// Which opencode a session is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema, Display, EnumString)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Format {
    /// opencode 1: `message` and `part`.
    V1,
    /// opencode 2: `session_message`.
    V2,
}

/// How one session stands.
#[derive(Debug, Clone)]
pub struct Diagnosis {
    /// Which opencode it is of.
    pub format: Format,
    /// What programs of opencode 2 do with it; empty for a session of opencode 1.
    pub programs: Vec<(&'static str, v2::Program)>,
    /// The session's row.
    pub info: SessionInfo,
    /// How it stands.
    pub status: Status,
    /// How its tail stands, whatever else is refused: the same as `status` unless that is [`Status::Dead`] or
    /// [`Status::Unopenable`].
    pub tail: Status,
    /// Every prompt is refused, whatever else is wrong with it.
    pub refused: bool,
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
    /// Its last prompt has no answer, and nobody is at work on one, unless opencode is right now.
    pub waits: bool,
    /// What opencode 2's import does to it, where that was asked for.
    pub import: Vec<Finding>,
}

impl Diagnosis {
    /// Adds what opencode cannot read. That comes before everything but rows that could not be understood.
    pub(crate) fn add_unopenable(&mut self, found: Vec<Finding>) {
        if !found.is_empty() && self.status != Status::Unreadable {
            self.status = Status::Unopenable;
        }
        self.findings.splice(0..0, found);
    }

    /// Whether its owner has to do something before it goes on.
    #[must_use]
    pub fn needs_action(&self) -> bool {
        self.status.needs_action() || self.undecodable()
    }

    /// Whether a row of it does not decode in opencode 2: it does not open, or takes no prompt.
    #[must_use]
    pub fn undecodable(&self) -> bool {
        let closed = self.format == Format::V2 && self.status == Status::Unreadable;
        closed && self.findings.iter().any(|f| f.code.is_undecodable())
    }

    /// What has to be included for opencode to read it again; nothing where it can, or nothing helps.
    #[must_use]
    pub fn read_by(&self) -> BTreeSet<Include> {
        self.findings.iter().filter(|_| self.needs_action()).filter_map(Finding::read_by).collect()
    }

    /// What has to be included for every prompt not to be refused any more; nothing where none is, or nothing helps.
    #[must_use]
    pub fn mended_by(&self) -> BTreeSet<Include> {
        self.findings.iter().filter(|_| self.refused).filter_map(Finding::redacted_by).collect()
    }

    /// Why it is left, where nothing but doubt about its package or its version keeps the session from being repaired.
    #[must_use]
    pub fn left_unmeasured(&self, includes: Includes) -> Option<LeftReason> {
        let known = Doubts { package: false, version: false, ..self.doubts };
        let left = self.tail == Status::AtRisk && !self.doubts.allowed_by(includes) && known.allowed_by(includes);
        let why = if self.doubts.package { LeftReason::UnmeasuredPackage } else { LeftReason::UnmeasuredVersion };
        left.then_some(why)
    }
}

/// What keeps a tail that looks stuck from being called so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Doubts {
    /// The model is not known to refuse.
    pub model: bool,
    /// The package is a guess or was never measured, and not every measured package sends a request that is refused.
    pub package: bool,
    /// It ends with the assistant by the rules alone of an opencode that was never measured, and was not refused yet.
    pub version: bool,
}

/// One of [`Doubts`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Doubt {
    /// The model is not known to refuse.
    Model,
    /// The package is a guess or was never measured, and packages differ here.
    Package,
    /// The opencode was never measured, and no newer one that was sends such a request.
    Version,
}

impl Doubt {
    /// A few words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Model => "if the model refuses it",
            Self::Package => "if its package sends it so",
            Self::Version => "if its opencode, never measured, asks so",
        }
    }
}

impl Doubts {
    /// Those that there are.
    pub fn all(self) -> impl Iterator<Item = Doubt> {
        let all = [(self.model, Doubt::Model), (self.package, Doubt::Package), (self.version, Doubt::Version)];
        all.into_iter().filter_map(|(there, doubt)| there.then_some(doubt))
    }

    /// Whether a person has allowed to repair all the same.
    #[must_use]
    pub fn allowed_by(self, includes: Includes) -> bool {
        let unmeasured = self.package || self.version;
        (!self.model || includes.has(Include::AtRisk)) && (!unmeasured || includes.has(Include::Unmeasured))
    }
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
    let cuts = buried::cuts(session, &judge.counting, sdk).into_iter();
    cuts.filter(|cut| cut.stuck(&judge.refuses).is_some()).map(|cut| cut.prompt).collect()
}

/// The prompts right before which a revert or a fork would leave a history that ends with an answer, under any rule set.
#[must_use]
pub fn ends_with_answer(session: &Session, sdk: &Sdk) -> Vec<String> {
    let sets: Vec<&'static RuleSet> = RULE_SETS.iter().collect();
    buried::cuts(session, &sets, sdk).into_iter().map(|cut| cut.prompt).collect()
}

/// A session of which a row could not be understood.
#[must_use]
pub fn unreadable(info: &SessionInfo, rows: &[UnreadableRow], known: Option<&Session>) -> Diagnosis {
    Diagnosis {
        format: Format::V1,
        programs: Vec::new(),
        info: info.clone(),
        status: Status::Unreadable,
        tail: Status::Unreadable,
        refused: false,
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
        waits: false,
        import: Vec::new(),
    }
}

fn count_orphans(session: &Session) -> u64 {
    session.messages.iter().flat_map(|m| m.open_calls()).filter(|(_, t)| t.orphan()).count() as u64
}

fn count_400s(session: &Session) -> u64 {
    session.messages.iter().filter(|m| m.prefill_400()).count() as u64
}
