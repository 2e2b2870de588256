//! Tests of the library and the program on real stores. One crate of modules: one link step.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]
#![allow(clippy::too_many_lines, clippy::too_many_arguments, reason = "a test tells its story in one piece")]

#[path = "../agreement.rs"]
mod agreement;
mod bad_input;
mod bad_rows;
mod built;
mod certainty;
#[path = "../../src/cli.rs"]
#[allow(dead_code, reason = "only its definitions are looked at")]
mod cli;
#[cfg(target_os = "linux")]
mod ctrl_c;
mod dead;
mod decoding;
mod docs;
mod dump;
mod examples;
mod explain;
mod exports;
#[cfg(target_os = "linux")]
mod faults;
#[cfg(unix)]
mod first_screen;
mod fixtures;
mod generated;
mod held;
mod histories;
mod holder;
mod hostile;
mod import2;
mod json;
mod large;
mod links;
mod log;
mod newer;
mod newer_repairs;
mod opencode2;
#[cfg(target_os = "linux")]
mod others;
mod outputs;
mod place;
mod predict;
mod privacy;
mod proofs;
mod properties;
#[cfg(unix)]
#[path = "../pty.rs"]
mod pty;
#[cfg(unix)]
mod ready;
mod refusals;
mod relink;
mod repairs;
mod requests;
mod rules;
#[path = "../setup.rs"]
#[allow(dead_code, reason = "the other suite starts programs with it")]
mod setup;
#[path = "../shapes.rs"]
mod shapes;
mod shown;
mod states;
mod stats;
mod sweep;
mod tails;
#[cfg(unix)]
mod terminal;
mod undo;
mod unopenable;
#[path = "../variants.rs"]
mod variants;
