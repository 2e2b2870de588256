//! Finds opencode sessions whose stored history makes requests fail, and rewrites their rows so that they resume. See
//! docs/architecture.md for the rooms and the way of a row through them.
//!
//! A store is audited, and a repair of it planned, without changing a byte:
//!
//! ```
//! use opencode_unstick::apply::{RepairOptions, plan_repair};
//! use opencode_unstick::audit::{Options, Selection};
//! use opencode_unstick::diagnosis::Includes;
//! use opencode_unstick::environment::Environment;
//! use opencode_unstick::sdk::SdkResolver;
//! use opencode_unstick::store::with_snapshot;
//!
//! # fn main() -> opencode_unstick::error::Result<()> {
//! let packages = SdkResolver::new(vec!["mock=@ai-sdk/anthropic".parse()?], &Environment::default())?;
//! let (selection, path) = (Selection::default(), "fixtures/stores/1.18.33/opencode.db".as_ref());
//! let planned = with_snapshot(path, |store| {
//!     let audit = Options::new(&selection, &packages);
//!     plan_repair(store, &RepairOptions { audit, includes: Includes::NONE, now: 1_795_510_000_000 })
//! })?;
//! for session in &planned.plan.sessions {
//!     println!("{}: {} rows change", session.id, session.edits.len());
//! }
//! assert_eq!((planned.audit.sessions.len(), planned.plan.sessions.len()), (22, 5));
//! # Ok(())
//! # }
//! ```

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
