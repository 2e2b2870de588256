//! Changes of rows of opencode 2: planned and proven on the rows in memory (docs/opencode.md §16).
//!
//! What the user sees: every prompt is refused, or the session does not open, and no program can delete or change a row.
//!
//! Rows before: an answer `{"content":[{"type":"reasoning","state":{"signature":…}}]}` that the stored refusal is about.
//! Rows after: the same without that `state`.
//!
//! Source: measured on the preview (`preview_goes_on_after_a_repair` of the end-to-end suite), read in 2.0.26.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::plan::{SessionPlan, reason_of};
use super::proof::Check;
use super::step::{Action, Step};
use crate::diagnosis::v2::code_of;
use crate::diagnosis::{Code, Includes, Left, LeftReason};
use crate::error::Result;
use crate::opencode2::edit::{self, Edit};
use crate::opencode2::findings;
use crate::opencode2::generation::Generation;
use crate::opencode2::predict::{self, Outcome, Target, Way};
use crate::opencode2::stored::{StoredRows, StoredSession};
use crate::opencode2::wire::{Block, Role};
use crate::rows::{Cell, Lookup, Row, RowEdit, Table, text};

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
    Repair(SessionPlan),
}

/// Plans what was asked for. `rows` are the session's, `lookup` gives each whole.
///
/// # Errors
/// When a row cannot be read.
pub fn plan_newer(task: NewerTask<'_>, rows: &StoredRows, lookup: &dyn Lookup) -> Result<PlannedNewer> {
    let plan = SessionPlan { id: task.session.info.id.clone(), ..SessionPlan::default() };
    let mut work = Work { now: rows.clone(), plan, changed: BTreeMap::new() };
    for _ in 0..ROUNDS {
        let fixes = task.fixes(&work);
        if fixes.is_empty() {
            break;
        }
        for fix in fixes {
            if let Some((reason, detail)) = work.make(&fix, lookup)? {
                return Ok(PlannedNewer::Left(Left { id: work.plan.id, reason, detail }));
            }
        }
    }
    let Work { now, mut plan, changed } = work;
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
    if let Err(check) = prove_newer(task, rows, &now, &plan.steps) {
        let (id, detail) = (plan.id, format!("not so: {check}"));
        return Ok(PlannedNewer::Left(Left { id, reason: reason_of(check), detail }));
    }
    let undecodable = |row: &Found| row.code == Code::UndecodableRow;
    plan.still_unread = task.found(&now).into_iter().filter(undecodable).map(|row| row.said).collect();
    Ok(PlannedNewer::Repair(plan))
}

/// Rows as they come to be.
struct Work {
    now: StoredRows,
    plan: SessionPlan,
    changed: BTreeMap<String, Changed>,
}

/// A row that is changed.
struct Changed {
    before: Row,
    data: String,
    /// The last step that touches it.
    step: usize,
}

/// A change that is to be made.
struct Fix {
    code: Code,
    row: String,
    edit: Edit,
}

/// A finding, owned.
struct Found {
    code: Code,
    row: String,
    part: Option<usize>,
    edit: Option<Edit>,
    said: String,
}

impl Found {
    /// What it says, and of which place.
    fn key(&self) -> (Code, &str, Option<usize>) {
        (self.code, &self.row, self.part)
    }
}

impl Work {
    /// Makes a change, in the row as it is stored whole and in what was read of it; why the session is left, where it
    /// cannot be made.
    fn make(&mut self, fix: &Fix, lookup: &dyn Lookup) -> Result<Option<(LeftReason, String)>> {
        let left = |reason: LeftReason, what: &str| Ok(Some((reason, format!("row {}: {what}", fix.row))));
        let Some(message) = self.now.messages.iter_mut().find(|message| message.id == fix.row) else {
            return left(LeftReason::RowChanged, "it is gone");
        };
        let (before, whole) = match self.changed.remove(&fix.row) {
            Some(Changed { before, data, .. }) => (before, data),
            None => {
                let Some(row) = lookup.whole(Table::SessionMessage, &fix.row)? else {
                    return left(LeftReason::RowChanged, "it is gone");
                };
                let Some(data) = text(&row, "data").map(str::to_owned) else {
                    return left(LeftReason::RowChanged, "its `data` is no text");
                };
                (row, data)
            }
        };
        let (Ok(data), Ok(seen)) = (edit::apply(&whole, fix.edit), edit::apply(&message.data, fix.edit)) else {
            return left(LeftReason::NoLosslessEdit, "what is to be changed is not there");
        };
        if !edit::keeps(&whole, &data, fix.edit) {
            return left(LeftReason::NoLosslessEdit, "more than what is named would change");
        }
        message.data = seen;
        let action = match fix.edit {
            Edit::DropState { part } => Action::DropState { part },
            Edit::ThinkingAsText { part } => Action::ThinkingAsText { part },
            Edit::Created { .. } => Action::FillIn { members: vec!["time.created".to_owned()] },
        };
        let time_ms = message.time_created;
        self.plan.steps.push(Step { message_id: fix.row.clone(), time_ms, reason: fix.code, action });
        let step = self.plan.steps.len() - 1;
        self.changed.insert(fix.row.clone(), Changed { before, data, step });
        Ok(None)
    }

    /// Whether the state of a part was taken out.
    fn dropped(&self, row: &str, part: Option<usize>) -> bool {
        self.plan.steps.iter().any(|step| {
            step.message_id == row
                && matches!(step.action, Action::DropState { part: dropped } if Some(dropped) == part)
        })
    }
}

impl NewerTask<'_> {
    fn found(&self, rows: &StoredRows) -> Vec<Found> {
        self.session.with(rows, |session| {
            let all = findings::all(self.generation, session, self.target.api).into_iter();
            let owned = all.map(|found| Found {
                code: code_of(found.code),
                row: found.row.to_owned(),
                part: found.part,
                edit: found.edit,
                said: format!("{}: {}", found.row, found.misfit.as_ref().map(ToString::to_string).unwrap_or_default()),
            });
            owned.collect()
        })
    }

    /// What is to be changed next.
    fn fixes(&self, work: &Work) -> Vec<Fix> {
        let mut seen = BTreeSet::new();
        let fix = |found: Found| {
            let edit = found.edit.filter(|_| self.wants(&found, work.dropped(&found.row, found.part)))?;
            // A call and its result name the same part.
            seen.insert((found.row.clone(), found.part)).then_some(Fix { code: found.code, row: found.row, edit })
        };
        self.found(&work.now).into_iter().filter_map(fix).collect()
    }

    /// Whether a finding is to be mended: it was asked for, or it comes of what was asked for.
    fn wants(&self, found: &Found, dropped: bool) -> bool {
        found.code.include().is_some_and(|include| self.includes.has(include))
            || dropped && found.code == Code::UnsignedThinking
    }

    /// What a new prompt sends.
    fn sends(&self, rows: &StoredRows) -> Sent {
        self.session.with(rows, |session| match predict::predict(self.generation, session, self.target, Way::Prompt) {
            Outcome::Compacts => Sent::Compacts,
            Outcome::Sends(turns) => {
                let block = |role: Role| {
                    move |block: &Block<'_>| {
                        let words = block.kind.words().map(Cow::into_owned);
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

/// What a new prompt sends.
enum Sent {
    Nothing,
    Compacts,
    Turns { blocks: Vec<SentBlock>, refused: bool },
}

#[derive(PartialEq, Eq)]
struct SentBlock {
    role: Role,
    row: String,
    part: Option<usize>,
    kind: &'static str,
    words: Option<String>,
}

/// Proves the rows after a repair against those before it: what was to be mended is found no more and nothing new is, a new
/// prompt is sent and not refused where something was taken out of it, and it sends the same but for the parts that the steps
/// name. Words are compared of rows that no step names: of the others the plan has each byte.
///
/// # Errors
/// The first check that does not hold.
pub fn prove_newer(task: NewerTask<'_>, before: &StoredRows, after: &StoredRows, steps: &[Step]) -> Result<(), Check> {
    let (was, is) = (task.found(before), task.found(after));
    if is.iter().any(|found| found.edit.is_some() && task.wants(found, false)) {
        return Err(Check::Findings);
    }
    // Of a row that did not decode, nothing was known.
    let opened = steps.iter().any(|step| step.reason == Code::UndecodableRow);
    let undecodable = |code| matches!(code, Code::UndecodableRow | Code::UndecodableSession | Code::UndecodablePrompt);
    let known: BTreeSet<_> = was.iter().map(Found::key).collect();
    let is_new = |found: &&Found| !known.contains(&found.key());
    if is.iter().filter(is_new).any(|found| !opened || undecodable(found.code)) {
        return Err(Check::Findings);
    }
    let named: BTreeSet<(&str, usize)> = steps.iter().filter_map(part_of).collect();
    let rows: BTreeSet<&str> = steps.iter().map(|step| step.message_id.as_str()).collect();
    let (sent, sends) = (task.sends(before), task.sends(after));
    if let (Sent::Turns { blocks: was, .. }, Sent::Turns { blocks: is, .. }) = (&sent, &sends) {
        let of_step = |block: &&SentBlock| block.part.is_some_and(|part| named.contains(&(block.row.as_str(), part)));
        let others = |blocks: &'_ [SentBlock]| -> Vec<_> {
            let others = blocks.iter().filter(|block| !of_step(block));
            let seen = |b: &SentBlock| {
                let words = b.words.clone().filter(|_| !rows.contains(b.row.as_str()));
                (b.role, b.row.clone(), b.part, b.kind, words)
            };
            others.map(seen).collect()
        };
        if others(was) != others(is) || is.iter().filter(of_step).any(|block| block.kind != "text") {
            return Err(Check::Prompt);
        }
    }
    let redacts = steps.iter().any(Step::redacts);
    match sends {
        Sent::Nothing | Sent::Turns { refused: true, .. } if redacts => Err(Check::Request),
        _ => Ok(()),
    }
}

/// The part that a step is about.
fn part_of(step: &Step) -> Option<(&str, usize)> {
    match step.action {
        Action::DropState { part } | Action::ThinkingAsText { part } => Some((step.message_id.as_str(), part)),
        _ => None,
    }
}
