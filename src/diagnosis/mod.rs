//! Requests to findings: which sessions are stuck, who would refuse them, and why.

mod buried;
mod code;
pub mod import;
mod include;
mod left;
pub mod limits;
mod outline;
pub mod refuses;
pub mod request;
pub mod rules;
mod silence;
mod tail;
pub mod unopenable;
pub mod v2;

use schemars::JsonSchema;
use serde::Serialize;
use strum::{Display, EnumIter, EnumString, IntoStaticStr};

pub use code::{Applicability, Code};
pub use include::{Include, Includes};
pub use left::{Left, LeftReason};
pub use outline::{prompted, settled};
pub use refuses::Refuses;
pub(crate) use request::is_encrypted_reasoning;
pub use tail::Tail;
use unopenable::Misfit;

use crate::decoding::Wrong;

use crate::history::{Message, ModelRef, Session, SessionInfo, UnreadableRow};
use crate::replay::{RULE_SETS, Resume, RuleSet, Sdk, after_revert, newest, resume, view};

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
    /// It was refused once, and later turns got past that.
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
        let helps = self.misfit.is_some() && self.applicability == Applicability::OptIn;
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

/// How much is to be said about a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    All,
    /// Whether it is stuck.
    Tail,
}

/// A session at whose last row every rule set stops, and of which there is nothing to say. `model` is that of its newest
/// prompt.
#[must_use]
fn plain(info: SessionInfo, model: Option<&ModelRef>, scope: Scope) -> Diagnosis {
    let counted = (scope == Scope::All).then_some(0);
    Diagnosis {
        format: Format::V1,
        programs: Vec::new(),
        info,
        status: Status::Healthy,
        tail: Status::Healthy,
        refused: false,
        evidence: None,
        doubts: Doubts::default(),
        model: model.cloned(),
        orphans: counted,
        prefill_400s: counted,
        resume: RULE_SETS.iter().map(|set| (set.key, Resume::NoRequest)).collect(),
        findings: Vec::new(),
        waits: false,
        import: Vec::new(),
    }
}

/// A verdict but for one question: which models refuse a request that ends with an assistant turn. Refusals that other
/// sessions hold count for that, so it is answered last.
#[derive(Debug)]
pub struct Draft {
    diagnosis: Diagnosis,
    /// It is sound at first sight.
    plain: bool,
    /// What every prompt is refused for, and how sure that is.
    refused_for: Option<Evidence>,
    /// The same without what may have been the service's fault, and what the store has to be asked for that.
    otherwise: Option<Evidence>,
    question: Option<Question>,
    /// Its tail ends with the assistant, under a rule set that counts: how sure that is.
    ends_with_assistant: Option<Evidence>,
    cuts: Vec<buried::Cut>,
    /// Where the findings about `cuts` belong.
    cuts_at: usize,
}

impl Draft {
    /// A session of which nothing more than this was looked at, for it is sound at first sight.
    #[must_use]
    pub fn plain(info: &SessionInfo, model: Option<&ModelRef>, scope: Scope) -> Self {
        Self { plain: true, ..plain(info.clone(), model, scope).into() }
    }

    /// Whether the session is sound at first sight.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.plain
    }

    /// The session, and what the store has to be asked before it can be judged.
    #[must_use]
    pub fn question(&self) -> Option<(&str, &Question)> {
        Some((&self.diagnosis.info.id, self.question.as_ref()?))
    }

    /// The verdict.
    #[must_use]
    pub fn settle(self, judge: &Judge) -> Diagnosis {
        let Self { mut diagnosis, plain: _, mut refused_for, otherwise, question, ends_with_assistant, cuts, cuts_at } =
            self;
        let refuses = &judge.refuses;
        if question.is_some() && judge.doubted.contains(&diagnosis.info.id) {
            if diagnosis.evidence == refused_for {
                diagnosis.evidence = otherwise;
            }
            refused_for = otherwise;
            let doubted = diagnosis.findings.iter_mut().filter(|f| f.code == Code::BadEncryptedReasoning);
            doubted.for_each(|f| {
                f.applicability = Applicability::ReportOnly;
                f.detail.push_str(MAY_BE_THE_SERVICE);
            });
        }
        let latent = cuts.iter().filter_map(|cut| cut.finding(refuses));
        diagnosis.findings.splice(cuts_at..cuts_at, latent.collect::<Vec<_>>());
        let has = |code: Code| diagnosis.findings.iter().any(|f| f.code == code);
        let refusing = diagnosis.model.as_ref().is_some_and(|m| refuses.refuses(m));
        let doubts = &mut diagnosis.doubts;
        doubts.model = ends_with_assistant.is_some() && !refusing;
        doubts.version = ends_with_assistant == Some(Evidence::Predicted) && judge.guesses(&diagnosis.resume);
        diagnosis.tail = match ends_with_assistant {
            Some(_) if diagnosis.doubts == Doubts::default() => Status::Stuck,
            Some(_) => Status::AtRisk,
            None if has(Code::LatentTail) => Status::Latent,
            None if has(Code::RecoveredPrefill400) => Status::Recovered,
            None => Status::Healthy,
        };
        diagnosis.refused = refused_for.is_some();
        if diagnosis.status != Status::Unreadable {
            diagnosis.status = if refused_for.is_some() { Status::Dead } else { diagnosis.tail };
        } else {
            diagnosis.tail = Status::Unreadable;
        }
        diagnosis
    }
}

const MAY_BE_THE_SERVICE: &str =
    ", which may have been the service: it has taken the like from other sessions since. A new prompt tells";

impl From<Diagnosis> for Draft {
    fn from(diagnosis: Diagnosis) -> Self {
        Self {
            diagnosis,
            plain: false,
            refused_for: None,
            otherwise: None,
            question: None,
            ends_with_assistant: None,
            cuts: Vec::new(),
            cuts_at: 0,
        }
    }
}

/// Judges one session whose rows were all understood.
#[must_use]
pub fn diagnose(session: &Session, sdk: &Sdk, judge: &Judge) -> Diagnosis {
    draft(session, sdk, &judge.counting, Scope::All).settle(judge)
}

/// Judges a session by its tail alone: stuck, at risk, or neither, which is said as healthy. Of a session that is
/// neither, only what the counting rule sets do is told.
#[must_use]
pub fn diagnose_tail(session: &Session, sdk: &Sdk, judge: &Judge) -> Diagnosis {
    draft(session, sdk, &judge.counting, Scope::Tail).settle(judge)
}

/// Judges one session whose rows were all understood, but for who refuses. With [`Scope::Tail`], of a session whose tail
/// does not end with the assistant only what the counting rule sets do is told.
#[must_use]
pub fn draft(session: &Session, sdk: &Sdk, counting: &[&'static RuleSet], scope: Scope) -> Draft {
    if scope == Scope::Tail {
        let outcome: Vec<_> = counting.iter().map(|set| (set.key, resume(session, set, sdk))).collect();
        if !outcome.iter().any(|(_, r)| *r == Resume::EndsWithAssistant) {
            let plain = plain(session.info.clone(), model_of(session).as_ref(), scope);
            return Diagnosis { resume: outcome, ..plain }.into();
        }
    } else if let Some(model) = outline::plainly_sound(session, sdk) {
        return Draft::plain(&session.info, model, scope);
    }
    Drafting::new(session, sdk, counting, scope).draft()
}

/// A verdict on its way.
struct Drafting<'a> {
    session: &'a Session,
    sdk: &'a Sdk,
    counting: &'a [&'static RuleSet],
    scope: Scope,
    outcome: Vec<(&'static RuleSet, Resume)>,
}

impl<'a> Drafting<'a> {
    fn new(session: &'a Session, sdk: &'a Sdk, counting: &'a [&'static RuleSet], scope: Scope) -> Self {
        let outcome = RULE_SETS.iter().map(|set| (set, resume(session, set, sdk))).collect();
        Self { session, sdk, counting, scope, outcome }
    }

    fn counts(&self, set: &RuleSet) -> bool {
        self.counting.iter().any(|c| c.key == set.key)
    }

    /// The newest of the rule sets under which the tail ends with the assistant.
    fn stuck_under(&self, sets: impl Fn(&RuleSet) -> bool) -> Option<&'static RuleSet> {
        let stuck = |(set, r): &&(&'static RuleSet, Resume)| *r == Resume::EndsWithAssistant && sets(set);
        self.outcome.iter().rev().find(stuck).map(|(set, _)| *set)
    }

    fn draft(self) -> Draft {
        let (session, sdk) = (self.session, self.sdk);
        let counting = self.stuck_under(|set| self.counts(set));
        let mut findings = Vec::new();
        let mut evidence = None;
        let mut tail_ids: Vec<&str> = Vec::new();
        let shown = counting.or(self.stuck_under(|_| true));
        let cut = shown.map(|set| after_revert(session, set));
        if let (Some(set), Some(cut)) = (shown, &cut)
            && let Some(tail) = Tail::of(&view(&cut.messages, set), set, sdk)
        {
            if counting.is_some() {
                findings.extend(of_tail(&tail, &view(&cut.messages, set)));
                let refused = tail.rows.iter().any(|m| m.prefill_400());
                evidence = Some(if refused { Evidence::Evidenced } else { Evidence::Predicted });
                tail_ids = tail.rows.iter().map(|m| m.id()).collect();
            } else {
                findings.extend(tail.speaker().map(|speaker| self.left_behind(speaker)));
            }
        }
        findings.extend(self.pending_task());
        let cuts_at = findings.len();
        let (mut cuts, mut refused_for) = (Vec::new(), None);
        let (mut otherwise, mut question, mut waits) = (None, None, false);
        let everything = self.scope == Scope::All;
        if everything {
            let newest_set = self.counting.last().copied().unwrap_or(&RULE_SETS[RULE_SETS.len() - 1]);
            cuts = buried::cuts(session, self.counting, sdk);
            findings.extend(buried::rest(session, sdk, &tail_ids, newest_set));
            let stops = self.outcome.iter().any(|(set, r)| set.key == newest_set.key && *r == Resume::NoRequest);
            let unanswered = silence::unanswered(session, newest_set).filter(|_| stops);
            waits = unanswered.is_some() || silence::still_running(session);
            findings.extend(unanswered);
        }
        let mut first = Vec::new();
        if everything
            && (request::risky(session) || request::unsendable(session) || request::refused_or_cut_off(session))
        {
            let broken = request::broken_in(session, sdk, self.counting);
            let surest = |of: &dyn Fn(&request::Broken) -> bool| {
                let all = broken.iter().filter(|b| of(b)).filter_map(|b| b.evidence);
                all.max_by_key(|e| *e == Evidence::Evidenced)
            };
            refused_for = surest(&|_| true);
            otherwise = surest(&|b| b.code != Code::BadEncryptedReasoning);
            if broken.iter().any(|b| b.code == Code::BadEncryptedReasoning) {
                question = model_of(session).and_then(|model| {
                    let (first, last) = request::refused_reasoning(session, &model)?;
                    Some(Question { model, first, last })
                });
            }
            // What a prompt is refused for comes first.
            first = broken.iter().map(request::Broken::finding).collect();
        }
        let cuts_at = cuts_at + first.len();
        first.append(&mut findings);
        let diagnosis = Diagnosis {
            format: Format::V1,
            programs: Vec::new(),
            info: session.info.clone(),
            status: Status::Healthy,
            tail: Status::Healthy,
            refused: false,
            evidence: refused_for.or(evidence),
            doubts: Doubts { package: counting.is_some() && self.differs_by_package(), ..Doubts::default() },
            model: model_of(session),
            orphans: everything.then(|| count_orphans(session)),
            prefill_400s: everything.then(|| count_400s(session)),
            resume: self.outcome.iter().map(|(set, r)| (set.key, *r)).collect(),
            findings: first,
            waits,
            import: Vec::new(),
        };
        Draft {
            diagnosis,
            plain: false,
            refused_for,
            otherwise,
            question,
            ends_with_assistant: evidence,
            cuts,
            cuts_at,
        }
    }

    /// Whether the package is not known, and some package that it may be sends a request that goes through.
    fn differs_by_package(&self) -> bool {
        let ends_with_assistant =
            |sdk: &Sdk| self.counting.iter().any(|set| resume(self.session, set, sdk) == Resume::EndsWithAssistant);
        !self.sdk.candidates().iter().all(ends_with_assistant)
    }

    /// A tail that only rule sets before the store's own trip over.
    fn left_behind(&self, speaker: &Message) -> Finding {
        let stuck = self.outcome.iter().filter(|(_, r)| *r == Resume::EndsWithAssistant);
        let sets: Vec<&str> = stuck.map(|(set, _)| set.key).collect();
        let detail = format!("stuck under the rules of {} alone, which this store has left behind", sets.join(", "));
        finding(Code::LatentTail, speaker.id(), None, detail)
    }

    fn pending_task(&self) -> Option<Finding> {
        let task = |(set, r): &&(&'static RuleSet, Resume)| self.counts(set) && *r == Resume::RunsTask;
        let (set, _) = self.outcome.iter().find(task)?;
        let cut = after_revert(self.session, set);
        let user = newest(&view(&cut.messages, set), set).user?;
        Some(finding(Code::PendingTask, user.id(), None, "worked off before anything is sent"))
    }
}

/// What is wrong with a tail that ends with the assistant; `seen` is the history that it is the tail of.
fn of_tail(tail: &Tail<'_>, seen: &[&Message]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for row in &tail.rows {
        if let Some((code, found)) = rules::first_match(row, tail) {
            findings.push(finding(code, row.id(), found.part_id.as_deref(), found.detail));
        }
    }
    if findings.is_empty() {
        // Every row of the tail is in order: what the loop takes for the newest answer stands elsewhere.
        let newest = newest(seen, tail.set).assistant.or(tail.speaker());
        let detail = "its clocks disagree with its order: opencode takes it for the newest answer";
        findings.extend(newest.map(|row| finding(Code::UnfinishedTextTail, row.id(), None, detail)));
    }
    findings
}
