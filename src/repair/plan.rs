//! The plan: each row edit with what the row must be before and is to be after, and the steps that they are. What is shown is
//! this very value, and this very value is executed.

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use super::proof::Check;
use super::step::{Action, Step};
use crate::diagnosis::{Format, LeftReason};
use crate::error::Error;
use crate::rows::{RowEdit, Table};

/// All edits of a repair, or of an undo.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Plan {
    /// Session by session.
    pub sessions: Vec<SessionPlan>,
}

/// The edits of one session.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct SessionPlan {
    /// The session.
    pub id: String,
    /// What is done; for an undo, what is taken back.
    pub steps: Vec<Step>,
    /// The row edits, in the order in which they are made.
    pub edits: Vec<RowEdit>,
    /// For each edit, the place of the step that it belongs to.
    pub step_of: Vec<usize>,
    /// Why its event log is not updated, where it has one that already disagreed with the rows.
    pub log_not_updated: Option<String>,
    /// The next prompt sends one assistant's turn less, or more than one: turns in which nothing was sent, neither a word
    /// nor a call nor any of a provider's metadata.
    pub empty_answers: bool,
    /// What still keeps opencode from reading the session afterwards, or, of opencode 2, from sending a prompt, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub still_unread: Vec<String>,
}

impl SessionPlan {
    /// The edits, each with its step.
    pub fn edits(&self) -> impl Iterator<Item = (&RowEdit, Option<&Step>)> {
        self.edits.iter().zip(self.step_of.iter().map(|at| self.steps.get(*at)))
    }

    /// Whether the model is told less by it, or otherwise.
    #[must_use]
    pub fn redacts(&self) -> bool {
        self.steps.iter().any(Step::redacts)
    }

    /// Which opencode the session is of.
    #[must_use]
    pub fn format(&self) -> Format {
        let newer = self.edits.iter().any(|edit| edit.table == Table::SessionMessage);
        if newer { Format::V2 } else { Format::V1 }
    }

    /// Whether parts are taken out whole whose JSON is broken: then nothing else is done to the session.
    #[must_use]
    pub fn takes_out(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.action, Action::TakeOut { .. }))
    }

    /// Adds an edit to the step at a place.
    pub fn push(&mut self, edit: RowEdit, step: usize) {
        self.edits.push(edit);
        self.step_of.push(step);
    }
}

/// Why planning stopped.
#[derive(Debug)]
pub(super) enum Stop {
    /// The session has to be left.
    Leave(LeftReason, String),
    /// A row cannot be read.
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<LeftReason> for Stop {
    fn from(reason: LeftReason) -> Self {
        Self::Leave(reason, reason.description().to_owned())
    }
}

impl From<Check> for Stop {
    fn from(check: Check) -> Self {
        let reason = reason_of(check);
        let detail =
            if check == Check::Findings { reason.description().to_owned() } else { format!("not so: {check}") };
        Self::Leave(reason, detail)
    }
}

/// Why a session is left of which something cannot be proven.
pub(super) fn reason_of(check: Check) -> LeftReason {
    match check {
        Check::Tasks => LeftReason::PendingTask,
        Check::Overflow => LeftReason::NearWindow,
        Check::Prompt | Check::Choice | Check::Cut => LeftReason::WouldChangePrompt,
        Check::Tail | Check::Totals => LeftReason::NoLosslessEdit,
        Check::Request => LeftReason::NoMend,
        Check::Findings => LeftReason::WouldHideRefusal,
    }
}

/// For each message, the last step that touches it.
pub(super) fn last_steps(steps: &[Step]) -> HashMap<&str, usize> {
    steps.iter().enumerate().flat_map(|(at, step)| step.messages().map(move |id| (id, at))).collect()
}

/// The rows that a session's edits name, by table and id.
#[must_use]
pub fn touched(edits: &[RowEdit]) -> HashSet<(Table, &str)> {
    edits.iter().map(|edit| (edit.table, edit.id.as_str())).collect()
}
