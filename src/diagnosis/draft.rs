//! The verdict on one session: drafted by itself, and settled once it is known which models refuse.

use super::{
    Code, Diagnosis, Doubts, Evidence, Finding, Format, Judge, Question, Status, Tail, buried, count_400s,
    count_orphans, finding, found_in, in_tail, model_of, outline, request, silence,
};
use std::collections::HashSet;

use crate::diagnosis::Applicability;
use crate::history::{Message, ModelRef, Session, SessionInfo};
use crate::replay::{RULE_SETS, Resume, RuleSet, Sdk, after_revert, newest, resume, view};

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

/// How a history ends.
#[derive(Default)]
struct Ending<'a> {
    findings: Vec<Finding>,
    /// It ends with the assistant, under a rule set that counts: how sure that is.
    evidence: Option<Evidence>,
    /// The rows of that tail.
    rows: Vec<&'a str>,
}

/// What every prompt is refused for.
#[derive(Default)]
struct Prompted {
    findings: Vec<Finding>,
    /// How sure that is.
    refused_for: Option<Evidence>,
    /// The same without what may have been the service's fault, and what the store has to be asked for that.
    otherwise: Option<Evidence>,
    question: Option<Question>,
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
        let (session, everything) = (self.session, self.scope == Scope::All);
        let Ending { mut findings, evidence, rows } = self.ending();
        findings.extend(self.pending_task());
        let prompted = if everything { self.prompted() } else { Prompted::default() };
        let cuts_at = prompted.findings.len() + findings.len();
        // What a prompt is refused for comes first.
        findings.splice(0..0, prompted.findings);
        let (mut cuts, mut waits) = (Vec::new(), false);
        if everything {
            let newest_set = self.counting.last().copied().unwrap_or(&RULE_SETS[RULE_SETS.len() - 1]);
            cuts = buried::cuts(session, self.counting, self.sdk);
            findings.extend(buried::rest(session, self.sdk, &rows, newest_set));
            let stops = self.outcome.iter().any(|(set, r)| set.key == newest_set.key && *r == Resume::NoRequest);
            let unanswered = silence::unanswered(session, newest_set).filter(|_| stops);
            waits = unanswered.is_some() || silence::still_running(session);
            findings.extend(unanswered);
        }
        let diagnosis = Diagnosis {
            evidence: prompted.refused_for.or(evidence),
            doubts: Doubts { package: evidence.is_some() && self.differs_by_package(), ..Doubts::default() },
            orphans: everything.then(|| count_orphans(session)),
            prefill_400s: everything.then(|| count_400s(session)),
            resume: self.outcome.iter().map(|(set, r)| (set.key, *r)).collect(),
            findings,
            waits,
            ..plain(session.info.clone(), model_of(session).as_ref(), self.scope)
        };
        Draft {
            refused_for: prompted.refused_for,
            otherwise: prompted.otherwise,
            question: prompted.question,
            ends_with_assistant: evidence,
            cuts,
            cuts_at,
            ..diagnosis.into()
        }
    }

    /// What is wrong with the tail.
    fn ending(&self) -> Ending<'a> {
        let counting = self.stuck_under(|set| self.counts(set));
        let mut out = Ending::default();
        let Some(set) = counting.or(self.stuck_under(|_| true)) else { return out };
        let cut = after_revert(self.session, set);
        let seen = view(&cut.messages, set);
        let Some(tail) = Tail::of(&seen, set, self.sdk) else { return out };
        if counting.is_some() {
            out.findings = of_tail(&tail, &seen);
            let refused = tail.rows.iter().any(|m| m.prefill_400());
            out.evidence = Some(if refused { Evidence::Evidenced } else { Evidence::Predicted });
            let ids: HashSet<&str> = tail.rows.iter().map(|m| m.id()).collect();
            out.rows = self.session.messages.iter().map(|m| m.id()).filter(|id| ids.contains(id)).collect();
        } else {
            out.findings.extend(tail.speaker().map(|speaker| self.left_behind(speaker)));
        }
        out
    }

    /// What every prompt is refused for.
    fn prompted(&self) -> Prompted {
        let session = self.session;
        if !(request::risky(session) || request::unsendable(session) || request::refused_or_cut_off(session)) {
            return Prompted::default();
        }
        let broken = request::broken_in(session, self.sdk, self.counting);
        let surest = |of: &dyn Fn(&request::Broken) -> bool| {
            let all = broken.iter().filter(|b| of(b)).filter_map(|b| b.evidence);
            all.max_by_key(|e| *e == Evidence::Evidenced)
        };
        let asks = broken.iter().any(|b| b.code == Code::BadEncryptedReasoning);
        let question = model_of(session).filter(|_| asks).and_then(|model| {
            let (first, last) = request::refused_reasoning(session, &model)?;
            Some(Question { model, first, last })
        });
        Prompted {
            refused_for: surest(&|_| true),
            otherwise: surest(&|b| b.code != Code::BadEncryptedReasoning),
            question,
            findings: broken.iter().map(request::Broken::finding).collect(),
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
        findings.extend(in_tail(row, tail).map(|(code, found)| found_in(row, code, found)));
    }
    if findings.is_empty() {
        // Every row of the tail is in order: what the loop takes for the newest answer stands elsewhere.
        let newest = newest(seen, tail.set).assistant.or(tail.speaker());
        let detail = "its clocks disagree with its order: opencode takes it for the newest answer";
        findings.extend(newest.map(|row| finding(Code::UnfinishedTextTail, row.id(), None, detail)));
    }
    findings
}
