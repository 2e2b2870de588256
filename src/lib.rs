//! Finds opencode sessions whose stored history makes every retry end with an assistant turn, and rewrites
//! their rows so that they resume. See docs/architecture.md for the pipeline.

pub mod diagnosis;
pub mod error;
pub mod explain;

pub mod history;
pub mod opencode2;
pub mod repair;
pub mod replay;
pub mod report;
pub mod sdk;
pub mod stats;
pub mod store;
