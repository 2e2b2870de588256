//! From a diagnosed session to row edits: proposed, proven in memory, written down as a plan.

mod change;
pub mod journal;
pub mod log;
mod mend;
mod plan;
mod proof;
mod rows;
mod steps;
pub mod undo;

pub use change::{Change, apply_change};
pub use mend::Leaves;
pub use plan::{Aim, Cell, Image, Left, Op, Plan, RowEdit, SessionPlan, digest, hex, plan_session, sha256};
pub use proof::{Check, Mending, prove, prove_mended, worse};
pub use rows::Rows;

/// What the user allowed beyond the default (docs/commands.md, `--include`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Allowed {
    /// Sessions whose model is not known to refuse.
    pub at_risk: bool,
    /// Sessions whose package is a guess or was never measured, where packages differ.
    pub unmeasured: bool,
    /// Edits that change what the overflow check reads.
    pub near_window: bool,
    /// Buried turns, and tails that only older opencode trips over.
    pub latent: bool,
    /// Tool calls that are stored as still going on.
    pub unsettled: bool,
    /// Blank texts that every prompt is refused for.
    pub blank_text: bool,
    /// Images and other files that every prompt is refused for.
    pub media: bool,
    /// Tool calls that every prompt is refused for.
    pub calls: bool,
    /// Signatures of thinking that every prompt is refused for.
    pub signatures: bool,
}
