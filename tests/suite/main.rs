//! Tests of the library and the program on real stores. One crate of modules: one link step.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod bad_input;
mod bad_rows;
mod docs;
mod dump;
mod explain;
mod fixtures;
mod generated;
mod holder;
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
