//! Finds opencode sessions whose stored history makes requests fail, and rewrites their rows so that they resume. See
//! docs/architecture.md for the rooms and the way of a row through them.

#![cfg_attr(test, allow(clippy::too_many_lines, reason = "a test tells its story in one piece"))]

pub mod apply;
pub mod audit;
pub mod decoding;
pub mod diagnosis;
pub mod environment;
pub mod error;
pub mod explain;
pub mod export;
pub mod files;
pub mod history;
pub mod journal;
pub mod json;
pub mod opencode2;
pub mod plain;
pub mod relink;
pub mod repair;
pub mod replay;
pub mod report;
pub mod rows;
pub mod sdk;
pub mod stats;
pub mod store;
