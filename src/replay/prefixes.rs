//! The histories that end before each row of a session, in one pass: what re-entering would do with each of them.
//!
//! A revert or a fork cuts a history before a prompt, and long sessions have thousands of those. In a history that is
//! in one order by every measure and holds no summary, the loop sees every row, and its newest rows are the last ones.
//! So what was found out about a prefix is carried on to the next, and the whole pass takes as long as one look at the
//! history. Any other prefix is replayed by itself. `tests/suite/tails.rs` holds both against a cut session.

use std::rc::Rc;

use super::packages;
use super::request::{LastTurn, last_turn_from, reminds_after, stops_at};
use super::resume::{Newest, Resume, newest, resume_in, resume_of};
use super::rules::{Order, RULE_SETS, RuleSet};
use super::view::{is_task, pending_task, view};
use super::{Sdk, last_turn};
use crate::history::{Message, ModelRef};

/// A prefix of a history, and what is known of it.
#[derive(Debug)]
pub struct Prefixes<'a> {
    all: &'a [Rc<Message>],
    rows: Vec<&'a Message>,
    sdk: &'a Sdk,
    /// Something in it is out of order, or a summary may cut it.
    winding: bool,
    user: Option<usize>,
    assistant: Option<usize>,
    /// The newest answer that has a finish.
    finished: Option<usize>,
    plan: bool,
    tasks: Tasks,
    /// How far rows were looked for that not every package can send, and those that were found.
    odd: (usize, Vec<&'a Message>),
    /// What was found out about the last turn, for each rule set.
    turns: [Option<Known<'a>>; RULE_SETS.len()],
}

/// The last turn of the request that an earlier prefix of so many rows sends to the model.
#[derive(Debug)]
struct Known<'a> {
    rows: usize,
    model: Option<&'a ModelRef>,
    turn: Option<LastTurn<'a>>,
}

/// Rows that were asked for a compaction or subtask.
#[derive(Debug, Default)]
struct Tasks {
    from: usize,
    to: usize,
    last: Option<usize>,
}

impl<'a> Prefixes<'a> {
    /// The empty prefix of `all`, rows in replay order.
    #[must_use]
    pub fn new(all: &'a [Rc<Message>], sdk: &'a Sdk) -> Self {
        Self {
            all,
            rows: Vec::new(),
            sdk,
            winding: false,
            user: None,
            assistant: None,
            finished: None,
            plan: false,
            tasks: Tasks::default(),
            odd: (0, Vec::new()),
            turns: [const { None }; RULE_SETS.len()],
        }
    }

    /// Takes in the next row.
    pub fn advance(&mut self) {
        let at = self.rows.len();
        let Some(row) = self.all.get(at) else { return };
        let after = |last: &&Message| row.row.id > last.row.id && row.created.total_cmp(&last.created).is_ge();
        self.winding |= !self.rows.last().is_none_or(after);
        match row.assistant() {
            None => self.user = Some(at),
            Some(a) => {
                self.assistant = Some(at);
                self.winding |= a.summary;
                self.plan |= a.agent.as_deref() == Some("plan");
                if a.finish.is_some() {
                    self.finished = Some(at);
                }
            }
        }
        self.rows.push(row);
    }

    /// What re-entering does with the prefix.
    pub fn resume(&mut self, set: &RuleSet) -> Resume {
        if self.winding {
            return resume_in(&view(&self.all[..self.rows.len()], set), set, self.sdk);
        }
        let now = Newest { user: self.user.map(|at| self.rows[at]), assistant: self.assistant.map(|at| self.rows[at]) };
        resume_of(
            self,
            now,
            set,
            |this| this.pending_task(set),
            |this, user| this.stops(set, user),
            |this, user| this.straight_turn(set, user).map(|(role, _)| role),
        )
    }

    /// Whether a compaction or subtask is still to be worked off in the prefix.
    pub fn pending(&mut self, set: &RuleSet) -> bool {
        if self.winding {
            return pending_task(&view(&self.all[..self.rows.len()], set), set);
        }
        self.pending_task(set)
    }

    /// The prefix's newest user row, and the last turn of the request that re-entering sends for it.
    pub fn last_turn(&mut self, set: &RuleSet) -> Option<(&'a Message, Option<LastTurn<'a>>)> {
        if self.winding {
            let seen = view(&self.all[..self.rows.len()], set);
            let user = newest(&seen, set).user?;
            return Some((user, last_turn(&seen, set, self.sdk, user)));
        }
        let user = self.rows[self.user?];
        Some((user, self.straight_turn(set, user)))
    }

    fn pending_task(&mut self, set: &RuleSet) -> bool {
        let from = self.finished.map_or(0, |at| at + 1);
        // Re-entering rewrites the newest user row's time, so by time that one is the newest row of all.
        let rewritten = self.finished.is_some() && set.newest == Order::Created;
        (rewritten && self.user.is_some_and(|at| is_task(self.rows[at]))) || self.tasks.any(&self.rows, from)
    }

    fn stops(&mut self, set: &RuleSet, user: &Message) -> bool {
        let (to, odd) = &mut self.odd;
        odd.extend(self.rows[*to..].iter().filter(|row| row.may_not_be_sendable()));
        *to = self.rows.len();
        odd.iter().any(|row| stops_at(row, set, self.sdk, user))
    }

    fn straight_turn(&mut self, set: &RuleSet, user: &'a Message) -> Option<LastTurn<'a>> {
        let model = user.user().and_then(|u| u.model.as_deref());
        let reminder = self.user.filter(|_| reminds_after(self.plan, user));
        let known = RULE_SETS.iter().position(|s| s.key == set.key).and_then(|at| self.turns.get_mut(at));
        // A reminder is a turn, so with one there is nothing to be remembered from before it.
        let before = known.as_ref().and_then(|k| k.as_ref()).filter(|k| reminder.is_none() && k.model == model);
        let (from, earlier) = before.map_or((0, None), |k| (k.rows, k.turn));
        let turn = last_turn_from(&self.rows, from, &packages::ask(set, self.sdk, model), reminder).or(earlier);
        if let (Some(known), None) = (known, reminder) {
            *known = Some(Known { rows: self.rows.len(), model, turn });
        }
        turn
    }
}

impl Tasks {
    /// Whether a row from place `from` on holds a compaction or subtask.
    fn any(&mut self, rows: &[&Message], from: usize) -> bool {
        if from < self.from || from > self.to {
            *self = Self { from, to: from, last: None };
        }
        for (at, row) in rows.iter().enumerate().skip(self.to) {
            if is_task(row) {
                self.last = Some(at);
            }
        }
        self.to = rows.len();
        self.last.is_some_and(|last| last >= from)
    }
}
