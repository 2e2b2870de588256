//! The tail of a history whose request ends with an assistant turn: the row that gives that turn, and every
//! row after it.

use crate::history::Message;
use crate::replay::{RULE_SETS, RuleSet, Sdk, TurnRole, last_turn, newest};

/// The tail that makes a request end with an assistant turn.
#[derive(Debug)]
pub struct Tail<'a> {
    /// The rows in replay order; the first one gives the request's last turn.
    pub rows: Vec<&'a Message>,
    /// The newest user row.
    pub user: &'a Message,
    /// The rule set under which it was found.
    pub set: &'static RuleSet,
}

impl<'a> Tail<'a> {
    /// The tail of a view whose request ends with an assistant turn; `None` where it does not.
    #[must_use]
    pub fn of(seen: &[&'a Message], set: &'static RuleSet, sdk: &Sdk) -> Option<Self> {
        let user = newest(seen, set).user?;
        let (_, speaker) = last_turn(seen, set, sdk, user).filter(|(role, _)| *role == TurnRole::Assistant)?;
        let from = seen.iter().rposition(|m| m.row.id == speaker)?;
        Some(Self { rows: seen[from..].to_vec(), user, set })
    }

    /// The row that gives the request's last turn.
    #[must_use]
    pub fn speaker(&self) -> Option<&'a Message> {
        self.rows.first().copied()
    }

    /// Whether the row holds a tool call that some rule set counts, so that it must be split.
    #[must_use]
    pub fn tool_counts(row: &Message) -> bool {
        row.tools().any(|(_, t)| RULE_SETS.iter().any(|set| set.counts(t)))
    }

    /// Whether every rule set would let the loop stop at the row, if nothing removable came after it.
    #[must_use]
    pub fn settled(&self, row: &Message) -> bool {
        let paired = |set: &RuleSet| set.paired(self.user, row);
        RULE_SETS.iter().all(|set| set.finished(row)) && (RULE_SETS.iter().all(paired) || self.in_the_shadow(row))
    }

    /// Whether a row that a repair removes comes after this one: what is wrong may be wrong with that alone.
    fn in_the_shadow(&self, row: &Message) -> bool {
        self.rows.iter().skip_while(|m| m.row.id != row.row.id).skip(1).any(|m| m.removable())
    }
}
