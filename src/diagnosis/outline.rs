//! A session in passing: what a walk over its message rows can tell without its parts.
//!
//! Most sessions are plainly sound: their rows are in one order by every measure, and each prompt comes after an
//! answer at which every rule set stops. Of such a session nothing else has to be read. All others are judged by
//! their history.

use crate::history::{Message, MessageFact, ModelRef, Role, RoleFact};
use crate::replay::RULE_SETS;

/// How much is to be said about a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    All,
    /// Whether it is stuck.
    Tail,
}

/// What is known of a session after a walk over its message rows.
#[derive(Debug, Clone, Default)]
pub struct Outline {
    rows: u64,
    last_id: String,
    last_time: i64,
    last_created: f64,
    /// The last row is an answer at which every rule set stops, tool calls aside.
    stops: bool,
    summary: bool,
    user: Option<String>,
    model: Option<ModelRef>,
    /// Something is out of order, or an older turn could be a stuck tail: the history itself has to tell.
    buried: bool,
    shuffled: bool,
}

/// Whether every rule set takes an answer with this finish for finished.
fn finished(finish: Option<&str>) -> bool {
    finish.is_some_and(|f| RULE_SETS.iter().all(|set| !set.unfinished.contains(&f)))
}

impl Outline {
    /// Takes in the session's next row. Returns whether the session rests on that row having no tool calls.
    pub fn add(&mut self, id: &str, time_created: i64, fact: &MessageFact<'_>) -> bool {
        let after = self.rows == 0
            || ((time_created, id) > (self.last_time, self.last_id.as_str())
                && id > self.last_id.as_str()
                && fact.created.total_cmp(&self.last_created).is_ge());
        self.shuffled |= !after;
        match &fact.role {
            RoleFact::User(model) => {
                self.buried |= self.rows > 0 && !self.stops;
                self.stops = false;
                self.summary = false;
                let user = self.user.get_or_insert_default();
                user.clear();
                user.push_str(id);
                if self.model.as_ref().map(|m| (m.provider.as_str(), m.model.as_str())) != *model {
                    self.model = model.map(|(p, m)| ModelRef { provider: p.to_owned(), model: m.to_owned() });
                }
            }
            RoleFact::Assistant { parent, finish, summary } => {
                self.stops = finished(*finish) && parent.is_some() && *parent == self.user.as_deref();
                self.summary = *summary;
            }
        }
        self.rows += 1;
        self.last_id.clear();
        self.last_id.push_str(id);
        self.last_time = time_created;
        self.last_created = fact.created;
        self.stops
    }

    /// The same for a row that was parsed. One that holds an error says something, wherever it stands.
    pub fn add_message(&mut self, message: &Message) -> bool {
        let role = match &message.role {
            Role::User(u) => RoleFact::User(u.model.as_ref().map(|m| (m.provider.as_str(), m.model.as_str()))),
            Role::Assistant(a) => {
                self.buried |= a.error.is_some();
                RoleFact::Assistant { parent: a.parent_id.as_deref(), finish: a.finish.as_deref(), summary: a.summary }
            }
        };
        self.add(message.id(), message.row.time_created, &MessageFact { created: message.created, role })
    }

    /// Takes in what another walk knows of rows of the same session: nobody has seen in which order both come.
    pub fn join(&mut self, other: &Self) {
        self.rows += other.rows;
        self.shuffled = true;
    }

    /// Notes that an answer which the outline took for finished holds a tool call after all.
    pub fn doubt(&mut self) {
        self.buried = true;
    }

    /// Whether there is nothing to say about the session, for all that its rows tell, parts aside: every rule set
    /// stops at its last row, and, where more than its tail is asked for, at the row before each prompt.
    #[must_use]
    pub fn plain(&self, scope: Scope) -> bool {
        self.rows > 0 && self.stops && !self.summary && !self.shuffled && (scope == Scope::Tail || !self.buried)
    }

    /// The last row's id.
    #[must_use]
    pub fn last(&self) -> &str {
        &self.last_id
    }

    /// The newest prompt's model, where the session is plain.
    #[must_use]
    pub fn model(&self) -> Option<&ModelRef> {
        self.model.as_ref()
    }
}
