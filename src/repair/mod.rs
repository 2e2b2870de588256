//! From a diagnosed session to row edits: proposed, proven in memory, written down as a plan.

mod broken;
mod change;
mod diff;
mod importable;
pub mod log;
mod mend;
pub mod newer;
mod plan;
mod planner;
mod proof;
mod proposals;
mod step;
mod turns;
pub mod undo;

pub use broken::take_out;
pub use change::{Change, apply_change};
pub use plan::{Plan, SessionPlan, touched};
pub use planner::{Goal, Planned, Request, plan_session};
pub use proof::{Check, Mending, prove, prove_mended, worse};
pub use step::{Action, Means, Redaction, Step};
