//! What must hold for the rows that a repair leaves (docs/architecture.md, "What a repair may do").

use std::collections::HashSet;
use std::rc::Rc;

use strum::Display;

use super::step::Step;
use crate::diagnosis::request::{broken_in, goes_along};
use crate::diagnosis::{Code, Include, Includes};
use crate::history::{Message, ModelRef, Part, PartKind, Session, Tokens};
use crate::replay::{
    BlockKind, RULE_SETS, Request, Resume, RuleSet, Sdk, Turn, after_revert, newest, overflow_tokens, pending_task,
    prompt, resume, view,
};

/// Newest finished answers below this many tokens cannot be near any model's window, in tokens.
const NEAR_WINDOW: f64 = 100_000.0;

/// A proof, named by what it says of the repaired session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Display)]
pub enum Check {
    /// Re-entering sends nothing that ends with an assistant turn, under any rule set.
    #[strum(serialize = "the tail resumes under every rule set")]
    Tail,
    /// No pending task came or went.
    #[strum(serialize = "pending tasks are the same")]
    Tasks,
    /// Compaction cuts where it did.
    #[strum(serialize = "the compaction cut is the same")]
    Cut,
    /// The overflow check reads the same.
    #[strum(serialize = "the overflow check reads the same")]
    Overflow,
    /// The next prompt sends the same turns.
    #[strum(serialize = "the next prompt sends the same turns")]
    Prompt,
    /// The newest prompt names the agent and the model that it named: a prompt that names none goes to those.
    #[strum(serialize = "the next prompt goes to the same agent and model")]
    Choice,
    /// The next prompt is refused for nothing that was taken out, and for nothing new.
    #[strum(serialize = "the next prompt is no longer refused, and otherwise sends the same")]
    Request,
    /// Cost and tokens add up to the same.
    #[strum(serialize = "cost and tokens add up to the same")]
    Totals,
    /// What the next prompt is refused for is still found.
    #[strum(serialize = "what every prompt is refused for is still found")]
    Findings,
}

/// Proves `after` against `before`, all checks but the tail's; `None` when they hold.
///
/// Each is looked at for the history as it stands and, where a revert is pending, for what is left of it; the
/// next prompt for each of the packages.
#[must_use]
pub(super) fn unchanged(before: &Session, after: &Session, sdks: &[Sdk], includes: Includes) -> Option<Check> {
    in_every_view(before, after, includes, |b, a, set| turns(b, a, set, sdks))
}

/// Whether the totals are the same, and, under every rule set, what steers the loop and what `more` looks at: for the
/// history as it stands and, where a revert is pending, for what is left of it.
fn in_every_view(
    before: &Session,
    after: &Session,
    includes: Includes,
    more: impl Fn(&Session, &Session, &RuleSet) -> Option<Check>,
) -> Option<Check> {
    if totals(before) != totals(after) {
        return Some(Check::Totals);
    }
    let whole = (before, after);
    let reverted = before.info.revert.is_some();
    for set in &RULE_SETS {
        let cut = (after_revert(before, set), after_revert(after, set));
        for (b, a) in std::iter::once(whole).chain(reverted.then_some((cut.0.as_ref(), cut.1.as_ref()))) {
            if let Some(check) = steering(b, a, set, includes).or_else(|| more(b, a, set)) {
                return Some(check);
            }
        }
    }
    None
}

/// Proves `after` against `before`: everything in [`unchanged`], and that the tail resumes under every rule
/// set with the session's own package.
///
/// # Errors
/// The first check that does not hold.
pub fn prove(before: &Session, after: &Session, sdk: &Sdk, includes: Includes) -> Result<(), Check> {
    if let Some(check) = unchanged(before, after, std::slice::from_ref(sdk), includes) {
        return Err(check);
    }
    if blocked(after, sdk).is_some() { Err(Check::Tail) } else { Ok(()) }
}

/// What was taken out of a history on purpose.
#[derive(Debug, Clone, Copy)]
pub struct Mending<'a> {
    /// How it was done.
    pub steps: &'a [Step],
    /// The rule sets that count.
    pub counting: &'a [&'static RuleSet],
}

/// Proves a history from which content was taken out on purpose: the next prompt's request differs only in the parts that
/// are named, is refused for nothing that was taken out and nothing new; pending tasks, compaction, overflow check and
/// totals are the same; no tail that resumed before does not resume now.
///
/// # Errors
/// The first check that does not hold.
pub fn prove_mended(
    before: &Session,
    after: &Session,
    sdk: &Sdk,
    includes: Includes,
    mending: Mending<'_>,
) -> Result<(), Check> {
    // An answer of which only thinking is left is passed over as a whole.
    let passed_over = |message: &&Rc<Message>| {
        let was = before.message(message.id()).and_then(|m| m.assistant()).is_some_and(|a| a.error.is_none());
        was && message.assistant().is_some_and(|a| a.error.is_some())
    };
    let parts = after.messages.iter().filter(passed_over).flat_map(|m| &m.parts).map(Part::id);
    let of_blanks = mending.steps.iter().filter(|step| step.reason == Code::BlankText);
    let blank: HashSet<&str> = of_blanks.map(|step| step.message_id.as_str()).collect();
    let thinking = before.messages.iter().filter(|m| blank.contains(m.id()));
    let thinking =
        thinking.flat_map(|m| &m.parts).filter(|p| matches!(p.kind, PartKind::Reasoning { .. })).map(Part::id);
    let of_secrets: Vec<&Step> =
        mending.steps.iter().filter(|step| step.reason == Code::BadEncryptedReasoning).collect();
    let rows = before.messages.iter().filter(|m| of_secrets.iter().any(|step| step.message_id == m.id()));
    let secret = of_secrets.iter().filter_map(|step| step.redaction()).map(|r| r.part_id.as_str());
    let secret: HashSet<&str> = secret.chain(rows.flat_map(|m| goes_along(m)).map(Part::id)).collect();
    let whole = mending.steps.iter().filter(|step| step.reason != Code::BadEncryptedReasoning);
    let whole = whole.filter_map(Step::redaction).map(|r| r.part_id.as_str());
    let named = Taken { whole: whole.chain(parts).chain(thinking).collect(), secret };
    let of_splits = mending.steps.iter().filter(|step| step.reason == Code::SplitCall);
    let split: HashSet<&str> = of_splits.map(|step| step.message_id.as_str()).collect();
    let differ = |b: &Session, a: &Session, set: &RuleSet| {
        let (was, is) = (view(&b.messages, set), view(&a.messages, set));
        let (was, is) = (prompt(&was, set, sdk, model(&was, set)), prompt(&is, set, sdk, model(&is, set)));
        let same =
            sends_the_same(joined(without(was.turns, &named), &split), joined(without(is.turns, &named), &split));
        (!same).then_some(Check::Prompt)
    };
    if let Some(check) = in_every_view(before, after, includes, differ) {
        return Err(check);
    }
    let (was, is) = (sure(before, sdk, mending.counting), sure(after, sdk, mending.counting));
    if is.iter().any(|b| includes.redacts(b.0) || !was.contains(b)) {
        return Err(Check::Request);
    }
    if worse(before, after, sdk) { Err(Check::Tail) } else { Ok(()) }
}

/// What the next prompt is surely refused for, and the part that it is about.
fn sure(session: &Session, sdk: &Sdk, counting: &[&'static RuleSet]) -> HashSet<(Code, Option<String>)> {
    let found = broken_in(session, sdk, counting).into_iter().filter(|b| b.evidence.is_some());
    found.map(|b| (b.code, b.part_id)).collect()
}

/// Whether everything that the next prompt is refused for before, under any rule set, is still found after, but for parts
/// without content that are gone with their row. An edit that only hides it would make a dead session look healthy.
pub(super) fn finds_the_same(before: &Session, after: &Session, sdk: &Sdk) -> bool {
    let stays: HashSet<&str> = after.messages.iter().flat_map(|m| &m.parts).map(Part::id).collect();
    let there = |part: &Option<String>| part.as_deref().is_none_or(|id| stays.contains(id));
    RULE_SETS.iter().all(|set| {
        let after = sure(after, sdk, &[set]);
        sure(before, sdk, &[set]).iter().filter(|(_, part)| there(part)).all(|found| after.contains(found))
    })
}

/// What was taken out of a history.
struct Taken<'a> {
    /// Parts, with everything that they send.
    whole: HashSet<&'a str>,
    /// Parts of which the thinking goes and everything else stays.
    secret: HashSet<&'a str>,
}

impl Taken<'_> {
    fn takes(&self, part: &str, kind: BlockKind) -> bool {
        let thinking = matches!(kind, BlockKind::Thinking | BlockKind::EmptyThinking | BlockKind::ReasoningDetail);
        self.whole.contains(part) || thinking && self.secret.contains(part)
    }
}

/// Turns without the blocks of some parts, and without those of which nothing is sent then. The words that opencode puts
/// before the files of a tool come and go with the files.
fn without<'a>(turns: Vec<Turn<'a>>, named: &Taken<'_>) -> Vec<Turn<'a>> {
    let rest = turns.into_iter().map(|mut turn| {
        turn.blocks.retain(|b| b.part_id().is_none_or(|id| !named.takes(id, b.kind)));
        turn
    });
    let says_something = |turn: &Turn<'_>| turn.blocks.iter().any(|b| b.kind != BlockKind::MediaIntroduction);
    rest.filter(|turn| says_something(turn) && !turn.is_nothing()).collect()
}

/// Turns of which those of an answer that was made one are one.
fn joined<'a>(turns: Vec<Turn<'a>>, split: &HashSet<&str>) -> Vec<Turn<'a>> {
    let mut out: Vec<Turn<'a>> = Vec::with_capacity(turns.len());
    for turn in turns {
        match out.last_mut() {
            Some(last)
                if split.contains(turn.row.id())
                    && last.row.id() == turn.row.id()
                    && last.is_assistant()
                    && turn.is_assistant() =>
            {
                last.blocks.extend(turn.blocks);
            }
            _ => out.push(turn),
        }
    }
    out
}

fn sends_the_same<'a>(was: impl IntoIterator<Item = Turn<'a>>, is: impl IntoIterator<Item = Turn<'a>>) -> bool {
    let mut is = is.into_iter();
    let same = was.into_iter().all(|turn| is.next().is_some_and(|other| turn.sends_the_same(&other)));
    same && is.next().is_none()
}

/// How two requests differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Difference {
    /// They send the same.
    None,
    /// One has answers in which nothing is sent that the other lacks.
    EmptyAnswers,
    /// They send something else.
    Content,
}

fn difference(was: Request<'_>, is: Request<'_>) -> Difference {
    if was.turns.len() == is.turns.len() && was.turns.iter().zip(&is.turns).all(|(a, b)| a.sends_the_same(b)) {
        return Difference::None;
    }
    let filled = |turn: &Turn<'_>| !(turn.is_assistant() && turn.is_nothing());
    let same = sends_the_same(was.turns.into_iter().filter(filled), is.turns.into_iter().filter(filled));
    if same { Difference::EmptyAnswers } else { Difference::Content }
}

/// The newest rule set under which the tail does not resume; `None` when it does under all.
#[must_use]
pub(super) fn blocked(session: &Session, sdk: &Sdk) -> Option<&'static RuleSet> {
    RULE_SETS.iter().rev().find(|set| match resume(session, set, sdk) {
        Resume::NoRequest => false,
        // The model must have something to answer.
        Resume::EndsWithUser => {
            let cut = after_revert(session, set);
            let seen = view(&cut.messages, set);
            let model = model(&seen, set);
            // From the end, for nearly always the last row says something.
            let speaks = |row: &&Message| prompt(&[*row], set, sdk, model).turns.iter().any(|turn| !turn.is_nothing());
            !seen.iter().rev().any(speaks)
        }
        _ => true,
    })
}

/// Whether the tail resumes under some rule set before, and no longer does under it after.
#[must_use]
pub fn worse(before: &Session, after: &Session, sdk: &Sdk) -> bool {
    let resumes = |session: &Session, set| {
        matches!(resume(session, set, sdk), Resume::NoRequest | Resume::EndsWithUser | Resume::RunsTask)
    };
    RULE_SETS.iter().any(|set| resumes(before, set) && !resumes(after, set))
}

/// Whether the overflow check may read so much of the session that a model's window matters.
pub(super) fn near_window(session: &Session) -> bool {
    let far = |message: &Rc<Message>| message.assistant().is_none_or(|a| a.tokens.window() < NEAR_WINDOW);
    !session.messages.iter().all(far)
}

/// Whether no model's window is so small that it matters which of the two the overflow check reads, in tokens.
pub(super) fn far_from_window(one: f64, other: f64) -> bool {
    one < NEAR_WINDOW && other < NEAR_WINDOW
}

fn steering(before: &Session, after: &Session, set: &RuleSet, includes: Includes) -> Option<Check> {
    let seen = (view(&before.messages, set), view(&after.messages, set));
    if pending_task(&seen.0, set) != pending_task(&seen.1, set) {
        return Some(Check::Tasks);
    }
    // In the same row it was filled in, where it was not there.
    let (was, is) = (newest(&seen.0, set).user, newest(&seen.1, set).user);
    if was.map(Message::id) != is.map(Message::id) && was.map(Message::user) != is.map(Message::user) {
        return Some(Check::Choice);
    }
    // Rows that one side lacks are the removed and the new ones; the others must be cut and ordered alike.
    let (was, is) = apart(&seen.0, &seen.1);
    if !was.is_empty() || !is.is_empty() {
        let (old, new) = changed(before, after);
        let was = was.iter().map(|m| m.id()).filter(|id| !old.contains(id) || new.contains(id));
        if !was.eq(is.iter().map(|m| m.id()).filter(|id| !new.contains(id) || old.contains(id))) {
            return Some(Check::Cut);
        }
    }
    let tokens = (overflow_tokens(&seen.0, set).unwrap_or(0.0), overflow_tokens(&seen.1, set).unwrap_or(0.0));
    if tokens.0 != tokens.1 && !far_from_window(tokens.0, tokens.1) && !includes.has(Include::NearWindow) {
        return Some(Check::Overflow);
    }
    None
}

/// The ids of the rows in which two histories differ: those of the first, and those of the second. Every other row of
/// one is a row of the other.
fn changed<'a>(before: &'a Session, after: &'a Session) -> (HashSet<&'a str>, HashSet<&'a str>) {
    let (was, is) = (&before.messages, &after.messages);
    let first = was.iter().zip(is).take_while(|(a, b)| Rc::ptr_eq(a, b)).count();
    let (was, is) = (&was[first..], &is[first..]);
    let last = was.iter().rev().zip(is.iter().rev()).take_while(|(a, b)| Rc::ptr_eq(a, b)).count();
    let ids = |rows: &'a [Rc<Message>]| rows[..rows.len() - last].iter().map(|m| m.id()).collect();
    (ids(was), ids(is))
}

/// What is left of two views without the rows that both begin with and those that both end with. Histories that come
/// from one another share every row that no edit has touched.
fn apart<'v, 'a>(mut was: &'v [&'a Message], mut is: &'v [&'a Message]) -> (&'v [&'a Message], &'v [&'a Message]) {
    let same = |(a, b): &(&&Message, &&Message)| std::ptr::eq(**a, **b);
    let first = was.iter().zip(is).take_while(same).count();
    (was, is) = (&was[first..], &is[first..]);
    let last = was.iter().rev().zip(is.iter().rev()).take_while(same).count();
    (&was[..was.len() - last], &is[..is.len() - last])
}

/// The model that the next prompt goes to, as far as the rows tell.
fn model<'a>(seen: &[&'a Message], set: &RuleSet) -> Option<&'a ModelRef> {
    newest(seen, set).user.and_then(|u| u.user()).and_then(|u| u.model.as_deref())
}

fn turns(before: &Session, after: &Session, set: &RuleSet, sdks: &[Sdk]) -> Option<Check> {
    sdks.iter().any(|sdk| differ(before, after, set, sdk) == Difference::Content).then_some(Check::Prompt)
}

/// How the next prompts of two histories differ, both as they stand.
pub(super) fn differ(before: &Session, after: &Session, set: &RuleSet, sdk: &Sdk) -> Difference {
    let (was, is) = (view(&before.messages, set), view(&after.messages, set));
    let models = (model(&was, set), model(&is, set));
    // To the same model, rows that both share send the same, but for what stands right beside rows that they do not.
    let (was, is) = if models.0 == models.1 { around(&was, &is) } else { (&was[..], &is[..]) };
    difference(prompt(was, set, sdk, models.0), prompt(is, set, sdk, models.1))
}

/// [`apart`] with the rows next to it on both sides that are there to be sent.
fn around<'v, 'a>(was: &'v [&'a Message], is: &'v [&'a Message]) -> (&'v [&'a Message], &'v [&'a Message]) {
    let apart = apart(was, is);
    let first = was.len().min(is.len()).min(was.iter().zip(is).take_while(|(a, b)| std::ptr::eq(**a, **b)).count());
    let sent = |row: &&Message| !row.parts.is_empty() && row.assistant().is_none_or(|a| a.error.is_none());
    let before = was[..first].iter().rev().position(sent).map_or(first, |at| at + 1);
    let ends = (first + apart.0.len(), first + apart.1.len());
    let rest = &was[ends.0..];
    let behind = rest.iter().position(sent).map_or(rest.len(), |at| at + 1);
    (&was[first - before..ends.0 + behind], &is[first - before..ends.1 + behind])
}

/// Sums over all assistant rows, as `opencode stats` adds them up.
fn totals(session: &Session) -> (f64, Tokens) {
    session.messages.iter().filter_map(|m| m.assistant()).fold((0.0, Tokens::default()), |(cost, t), a| {
        (
            cost + a.cost,
            Tokens {
                total: t.total + a.tokens.total,
                input: t.input + a.tokens.input,
                output: t.output + a.tokens.output,
                reasoning: t.reasoning + a.tokens.reasoning,
                cache_read: t.cache_read + a.tokens.cache_read,
                cache_write: t.cache_write + a.tokens.cache_write,
            },
        )
    })
}
