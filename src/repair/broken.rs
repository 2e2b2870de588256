//! Parts whose JSON is broken, taken out whole.
//!
//! What the user sees: the session does not open, and every prompt fails ("JSON Parse error"), for opencode parses every
//! part that it reads.
//!
//! Nothing is proven of what is sent: nothing was sent before. What the rest of the session is stays as it is.
//!
//! Source: measured on 1.14.48 and 1.18.34 (docs/opencode.md §13; `what_is_filled_in…` of the end-to-end suite).

use super::plan::SessionPlan;
use super::step::{Action, Step};
use crate::diagnosis::{Code, Finding};
use crate::error::Result;
use crate::history::{Part, Session};
use crate::rows::{Lookup, RowEdit, Table, int};

/// A plan that removes the rows of `broken` parts, and the session without them. `session` is what can be understood of it.
///
/// # Errors
/// When a row cannot be read.
pub fn take_out(session: &Session, broken: &[Finding], rows: &dyn Lookup) -> Result<(SessionPlan, Session)> {
    let mut plan = SessionPlan { id: session.info.id.clone(), ..SessionPlan::default() };
    let mut after = session.clone();
    for finding in broken {
        let Some(id) = finding.part_id.as_deref() else { continue };
        let Some(row) = rows.brief(Table::Part, id)? else { continue };
        let (time_ms, bytes) = (int(&row, "time_created").unwrap_or(0), row.get("data").map_or(0, |data| data.bytes()));
        let action = Action::TakeOut { part_id: id.to_owned(), bytes };
        plan.steps.push(Step { message_id: finding.message_id.clone(), time_ms, reason: Code::UnopenableRow, action });
        plan.push(
            RowEdit { table: Table::Part, id: id.to_owned(), before: Some(row), after: None },
            plan.steps.len() - 1,
        );
        after = without(&after, &finding.message_id, id);
    }
    Ok((plan, after))
}

/// The session without a part that may be in it: readers here pass over what opencode cannot parse.
fn without(session: &Session, message: &str, part: &str) -> Session {
    let mut out = session.clone();
    for at in out.messages.iter_mut().filter(|m| m.id() == message && m.parts.iter().any(|p| p.id() == part)) {
        std::rc::Rc::make_mut(at).parts.retain(|p: &Part| p.id() != part);
    }
    out
}
