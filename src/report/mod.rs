//! The only printing. Data goes to standard output, everything else to standard error.

mod chart;
mod doc;
mod explain;
mod human;
mod import;
mod layout;
mod listing;
mod output;
mod progress;
mod relink;
mod sanitize;
mod scan;
mod schema;
mod stats;
mod undo;
mod unopenable;
mod words;

pub use chart::chart;
pub use doc::{
    EditDoc, ErrorBody, ErrorDoc, LeavesDoc, OpencodeDoc, PlanDoc, RepairDoc, ScanDoc, ScansDoc, SdkDoc, SessionDoc,
    SessionPlanDoc, StoreDoc, Summary, error,
};
pub use explain::{ExplainDoc, explain};
pub use human::{bound_words, left, obstacles, plan, remain, repaired, session_plan};
pub use import::import;
pub use listing::{Shown, cause};
pub use output::{ColorChoice, Output, Screen};
pub use progress::Progress;
pub use relink::{Gone, RelinkDoc, gone, relink_plan, relinked};
pub use sanitize::clean;
pub use scan::{Listed, Scan, ScanLine, check, scan, scans};
pub use schema::{Document, schema};
pub use stats::{StatsDoc, stats};
pub use undo::{JournalsDoc, UndoDoc, journals, undo_plan, undone};
pub use words::discards;
