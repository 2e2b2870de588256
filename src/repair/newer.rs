//! Changes of rows of opencode 2: planned and proven on the rows in memory (docs/opencode.md §16).
//!
//! What the user sees: every prompt is refused, or the session does not open, and no program can delete or change a row.
//!
//! Rows before: an answer `{"content":[{"type":"reasoning","state":{"signature":…}}]}` that the stored refusal is about.
//! Rows after: the same without that `state`.
//!
//! Source: measured on the preview (`preview_goes_on_after_a_repair` of the end-to-end suite), read in 2.0.26.

use std::collections::{BTreeMap, BTreeSet};

use super::plan::{SessionPlan, reason_of};
use super::proof::Check;
use super::step::{Action, Step};
use crate::diagnosis::request::is_claude;
use crate::diagnosis::v2::code_of;
use crate::diagnosis::{Code, Include, Includes, Left, LeftReason, names};
use crate::error::Result;
use crate::opencode2::edit::{self, Edit};
use crate::opencode2::findings;
use crate::opencode2::generation::Generation;
use crate::opencode2::predict::{self, Outcome, Target, Way};
use crate::opencode2::stored::{StoredRows, StoredSession};
use crate::opencode2::wire::{Block, Role};
use crate::rows::{Cell, Lookup, Row, RowEdit, Table, sha256, text};

/// How often the findings are asked for again: a row that decodes shows what is wrong in it, and thinking whose state is gone
/// may have to become text.
const ROUNDS: usize = 8;

/// A session of opencode 2 that may be repaired.
#[derive(Debug, Clone, Copy)]
pub struct NewerTask<'a> {
    /// The program that keeps the store.
    pub generation: &'static Generation,
    /// The session's row.
    pub session: &'a StoredSession,
    /// What its requests are made for.
    pub target: Target,
    /// What may be done.
    pub includes: Includes,
}

/// What came of planning a repair of a session of opencode 2.
#[derive(Debug)]
pub enum PlannedNewer {
    /// There is nothing to do of what was asked for.
    Nothing,
    /// It is left.
    Left(Left),
    /// The edits.
    Repair(Box<NewerPlan>),
}

/// A plan for a session of opencode 2, with what it is proven by.
#[derive(Debug)]
pub struct NewerPlan {
    /// The edits.
    pub plan: SessionPlan,
    /// What they do of what was asked for.
    pub includes: Includes,
    /// What the session was.
    pub before: Before,
}

/// Plans what was asked for. `rows` are the session's, `lookup` gives each whole.
///
/// # Errors
/// When a row cannot be read.
pub fn plan_newer(task: NewerTask<'_>, rows: &StoredRows, lookup: &dyn Lookup) -> Result<PlannedNewer> {
    let fills = Includes::from_iter([Include::Rows]);
    let all = plan(task, rows, lookup)?;
    if matches!(all, PlannedNewer::Left(_)) && task.includes.has(Include::Rows) && task.includes != fills {
        // What is missing can be filled in, whatever else cannot be mended.
        let filled = plan(NewerTask { includes: fills, ..task }, rows, lookup)?;
        if matches!(filled, PlannedNewer::Repair(..)) {
            return Ok(filled);
        }
    }
    Ok(all)
}

fn plan(task: NewerTask<'_>, rows: &StoredRows, lookup: &dyn Lookup) -> Result<PlannedNewer> {
    let plan = SessionPlan { id: task.session.info.id.clone(), ..SessionPlan::default() };
    let mut work = Work { now: rows.clone(), plan, changed: BTreeMap::new(), dropped: BTreeSet::new() };
    for _ in 0..ROUNDS {
        let fixes = task.fixes(&work);
        if fixes.is_empty() {
            break;
        }
        for (row, fixes) in fixes {
            if let Some((reason, detail)) = work.make(&row, &fixes, lookup)? {
                return Ok(PlannedNewer::Left(Left { id: work.plan.id, reason, detail }));
            }
        }
    }
    let Work { now, mut plan, changed, .. } = work;
    if plan.steps.is_empty() {
        return Ok(PlannedNewer::Nothing);
    }
    for (id, Changed { before, data, step }) in changed {
        let after = Row::from([("data".to_owned(), Cell::Text(data))]);
        let after = before.iter().map(|(name, cell)| (name.clone(), cell.clone())).chain(after).collect();
        let kept = text(&before, "data").map(Cell::kept);
        let before = before.into_iter().chain(kept.map(|kept| ("data".to_owned(), kept))).collect();
        plan.push(RowEdit { table: Table::SessionMessage, id, before: Some(before), after: Some(after) }, step);
    }
    let before = Before::of(task, rows);
    if let Err(check) = prove_newer(task, &before, &now, &plan.steps) {
        let reason = reason_of(check);
        return Ok(PlannedNewer::Left(Left { id: plan.id, reason, detail: reason.description().to_owned() }));
    }
    plan.still_unread = task.still_wrong(&now);
    Ok(PlannedNewer::Repair(Box::new(NewerPlan { plan, includes: task.includes, before })))
}

/// Rows as they come to be.
struct Work {
    now: StoredRows,
    plan: SessionPlan,
    changed: BTreeMap<String, Changed>,
    /// Parts whose state was taken out.
    dropped: BTreeSet<(String, usize)>,
}

/// A row that is changed.
struct Changed {
    before: Row,
    data: String,
    /// The last step that touches it.
    step: usize,
}

/// A change that is to be made of a row.
#[derive(Clone, Copy)]
struct Fix {
    code: Code,
    edit: Edit,
}

impl Work {
    /// Makes changes of one row, as it is stored whole; why the session is left, where they cannot be made.
    fn make(&mut self, row: &str, fixes: &[Fix], lookup: &dyn Lookup) -> Result<Option<(LeftReason, String)>> {
        let left = |reason: LeftReason, what: &str| Ok(Some((reason, format!("row {row}: {what}"))));
        let Some(message) = self.now.messages.iter_mut().find(|message| message.id == row) else {
            return left(LeftReason::RowChanged, "it is gone");
        };
        let (before, whole) = match self.changed.remove(row) {
            Some(Changed { before, data, .. }) => (before, data),
            None => {
                let Some(row) = lookup.whole(Table::SessionMessage, row)? else {
                    return left(LeftReason::RowChanged, "it is gone");
                };
                let Some(data) = text(&row, "data").map(str::to_owned) else {
                    return left(LeftReason::RowChanged, "its `data` is no text");
                };
                (row, data)
            }
        };
        let edits: Vec<Edit> = fixes.iter().map(|fix| fix.edit).collect();
        let Ok(data) = edit::apply(&whole, &edits) else {
            return left(LeftReason::NoLosslessEdit, "what is to be changed is not there");
        };
        if !edit::keeps(&whole, &data, &edits) {
            return left(LeftReason::NoLosslessEdit, "more than what is named would change");
        }
        // Whole, even if it was read shortened: what is proven holds for what is written.
        message.data.clone_from(&data);
        let time_ms = message.time_created;
        for Fix { code, edit } in fixes {
            let action = match *edit {
                Edit::DropState { part } => {
                    self.dropped.insert((row.to_owned(), part));
                    Action::DropState { part }
                }
                Edit::ThinkingAsText { part, empty } => Action::ThinkingAsText { part, empty },
                Edit::Created { .. } => Action::FillIn { members: vec!["time.created".to_owned()] },
            };
            self.plan.steps.push(Step { message_id: row.to_owned(), time_ms, reason: *code, action });
        }
        let step = self.plan.steps.len() - 1;
        self.changed.insert(row.to_owned(), Changed { before, data, step });
        Ok(None)
    }
}

impl NewerTask<'_> {
    fn ask<T>(&self, rows: &StoredRows, ask: impl Fn(&findings::Finding<'_>) -> T) -> Vec<T> {
        self.session
            .with(rows, |session| findings::all(self.generation, session, self.target.api).iter().map(ask).collect())
    }

    fn keys(&self, rows: &StoredRows) -> BTreeSet<Key> {
        self.ask(rows, |found| (code_of(found.code), found.row.to_owned(), found.part)).into_iter().collect()
    }

    /// What is to be changed next, by row.
    fn fixes(&self, work: &Work) -> BTreeMap<String, Vec<Fix>> {
        let mut out: BTreeMap<String, Vec<Fix>> = BTreeMap::new();
        let all = self.ask(&work.now, |found| (code_of(found.code), found.row.to_owned(), found.edit));
        for (code, row, edit) in all {
            let Some(edit) = edit else { continue };
            let dropped = edit.part().is_some_and(|part| work.dropped.contains(&(row.clone(), part)));
            let fixes = out.entry(row).or_default();
            // One part can be found twice; one change of it is enough.
            if self.wants(code, dropped) && fixes.iter().all(|fix| fix.edit.part() != edit.part()) {
                fixes.push(Fix { code, edit });
            }
        }
        out.retain(|_, fixes| !fixes.is_empty());
        out
    }

    /// Whether a finding is to be mended: it was asked for, or it comes of what was asked for.
    fn wants(&self, code: Code, dropped: bool) -> bool {
        let asked = code.include().is_some_and(|include| self.includes.has(include));
        let claude = || self.session.model().is_some_and(|model| is_claude(&model.model));
        // That every prompt is refused is predicted here, of Claude.
        let refused = code != Code::UnsignedThinking || claude() || self.includes.has(Include::AtRisk);
        asked && refused || dropped && code == Code::UnsignedThinking
    }

    /// What still keeps the session from being opened or prompted, in words.
    fn still_wrong(&self, rows: &StoredRows) -> Vec<String> {
        let said = self.ask(rows, |found| {
            let code = code_of(found.code);
            let why = found.misfit.as_ref().map(ToString::to_string);
            // A waiting prompt that nobody delivers stops nobody.
            let stops = code.is_undecodable() && (found.blocks || code != Code::UndecodablePrompt);
            stops.then(|| format!("{}: {}", found.row, why.unwrap_or_default()))
        });
        let mut out: Vec<String> = said.into_iter().flatten().collect();
        let refused = matches!(self.sends(rows), Sent::Nothing | Sent::Turns { refused: true, .. });
        if out.is_empty() && refused {
            let codes = self.ask(rows, |found| code_of(found.code));
            let kinds: BTreeSet<Include> = codes.into_iter().filter_map(|code| code.redacted_by()).collect();
            let more = if kinds.is_empty() { String::new() } else { format!(" (--include {})", names(&kinds)) };
            out.push(format!("every prompt still fails: `unstick explain` says why{more}"));
        }
        out
    }

    /// What a new prompt sends.
    fn sends(&self, rows: &StoredRows) -> Sent {
        self.session.with(rows, |session| match predict::predict(self.generation, session, self.target, Way::Prompt) {
            Outcome::Compacts => Sent::Compacts,
            Outcome::Sends(turns) => {
                let block = |role: Role| {
                    move |block: &Block<'_>| {
                        let words = block.kind.words().map(|words| sha256(&words));
                        SentBlock { role, row: block.row.to_owned(), part: block.part, kind: block.kind.name(), words }
                    }
                };
                let blocks = turns.iter().flat_map(|turn| turn.blocks.iter().map(block(turn.role)));
                let refused = predict::refused(self.generation, self.target.api, &turns).is_some();
                Sent::Turns { blocks: blocks.collect(), refused }
            }
            _ => Sent::Nothing,
        })
    }
}

/// A finding, and the place of it.
type Key = (Code, String, Option<usize>);

/// What a new prompt sends.
#[derive(Debug)]
enum Sent {
    Nothing,
    Compacts,
    Turns { blocks: Vec<SentBlock>, refused: bool },
}

#[derive(Debug, PartialEq, Eq)]
struct SentBlock {
    role: Role,
    row: String,
    part: Option<usize>,
    kind: &'static str,
    /// The SHA-256 of its words.
    words: Option<[u8; 32]>,
}

/// What a session was before a repair, as far as it is compared: findings, and what a new prompt sends.
#[derive(Debug)]
pub struct Before {
    found: BTreeSet<Key>,
    sent: Sent,
}

impl Before {
    fn of(task: NewerTask<'_>, rows: &StoredRows) -> Self {
        Self { found: task.keys(rows), sent: task.sends(rows) }
    }
}

/// Proves the rows after a repair against those before it: what was to be mended is found no more and nothing new is, a new
/// prompt is sent and not refused where something was taken out of it, and it sends the same but for the parts that the steps
/// name. Words are compared of rows that no step names: of the others the plan has each byte.
///
/// # Errors
/// The first check that does not hold.
pub fn prove_newer(task: NewerTask<'_>, before: &Before, after: &StoredRows, steps: &[Step]) -> Result<(), Check> {
    let left = task.ask(after, |found| found.edit.is_some() && task.wants(code_of(found.code), false));
    // Of a row that did not decode, nothing was known.
    let opened = steps.iter().any(|step| step.reason == Code::UndecodableRow);
    let new = task.keys(after);
    let mut new = new.difference(&before.found);
    if left.contains(&true) || new.any(|(code, ..)| !opened || code.is_undecodable()) {
        return Err(Check::Findings);
    }
    let named: BTreeSet<(&str, usize)> = steps.iter().filter_map(part_of).collect();
    let rows: BTreeSet<&str> = steps.iter().map(|step| step.message_id.as_str()).collect();
    let sends = task.sends(after);
    if let (Sent::Turns { blocks: was, .. }, Sent::Turns { blocks: is, .. }) = (&before.sent, &sends) {
        let of_step = |block: &&SentBlock| block.part.is_some_and(|part| named.contains(&(block.row.as_str(), part)));
        let others = |blocks: &'_ [SentBlock]| -> Vec<_> {
            let others = blocks.iter().filter(|block| !of_step(block));
            let seen = |b: &SentBlock| {
                let words = b.words.filter(|_| !rows.contains(b.row.as_str()));
                (b.role, b.row.clone(), b.part, b.kind, words)
            };
            others.map(seen).collect()
        };
        if others(was) != others(is) || is.iter().filter(of_step).any(|block| block.kind != "text") {
            return Err(Check::Prompt);
        }
    }
    match sends {
        Sent::Nothing | Sent::Turns { refused: true, .. } if !named.is_empty() => Err(Check::Request),
        _ => Ok(()),
    }
}

/// The part that a step is about.
fn part_of(step: &Step) -> Option<(&str, usize)> {
    match step.action {
        Action::DropState { part } | Action::ThinkingAsText { part, .. } => Some((step.message_id.as_str(), part)),
        _ => None,
    }
}
