//! Tests of the library and the program on real stores. One crate of modules: one link step.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod bad_input;
mod bad_rows;
#[path = "../../src/cli.rs"]
#[allow(dead_code, reason = "only its definitions are looked at")]
mod cli;
#[cfg(target_os = "linux")]
mod ctrl_c;
mod dead;
mod docs;
mod dump;
mod explain;
mod fixtures;
mod generated;
mod held;
mod holder;
mod json;
mod links;
mod log;
mod outputs;
mod place;
mod predict;
mod properties;
mod repairs;
mod review;
mod rules;
mod shown;
mod states;
mod stats;
mod tails;
mod undo;
