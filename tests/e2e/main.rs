//! The end-to-end suite: what the real opencode does with a store, and whether `unstick` says and
//! does the right thing about it. See docs/testing.md.
//!
//! Every test is ignored: `cargo test --locked --test e2e -- --ignored`. A missing npm, a failed install or a program that
//! does not start is a failure. Variables say what is asked:
//!
//! - `UNSTICK_E2E_VERSIONS` (`1.14.48 1.18.34`): the opencode versions to ask
//! - `UNSTICK_E2E_MUTATIONS` (100): sessions changed at random, for each version
//! - `UNSTICK_E2E_SEED` (20261121): the seed of those changes, and of the matrix's sample
//! - `UNSTICK_E2E_STORIES` (all): only these stories, cases (`dead-…`) or sessions
//! - `UNSTICK_E2E_SETUPS` (every one for the matrix, else two): the providers of `tests/setup.rs`, or `all`
//! - `UNSTICK_E2E_SHAPES` (a sample of one in 70): of the matrix, histories whose names hold one of these words, or
//!   `all`
//! - `UNSTICK_E2E_OUT`: where a test writes; without it `capture`, `preview_capture`, `dump` and `matrix::record` do
//!   nothing
//! - `UNSTICK_E2E_JUDGES` (`1.18.34`): the versions that judge a captured store, besides the one that made it
//! - `UNSTICK_E2E_KIND` (both): `preview_capture` writes only `preview` or `shapes`
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]
#![allow(clippy::too_many_lines, clippy::too_many_arguments, reason = "a test tells its story in one piece")]

#[path = "../agreement.rs"]
mod agreement;
mod beside;
mod capture;
mod checks;
mod claude;
mod dead;
mod decoding;
mod dump;
mod exports;
mod fixtures;
mod judge;
mod live;
mod matrix;
mod moved;
mod mutate;
mod opencode;
mod preview;
mod provider;
#[path = "../pty.rs"]
mod pty;
mod refusals;
mod rng;
mod rows;
mod scenarios;
#[path = "../setup.rs"]
mod setup;
#[path = "../shapes.rs"]
mod shapes;
mod strict;
#[path = "../variants.rs"]
mod variants;
mod wire;

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::opencode::Version;

/// The versions to judge by: one old, and the newest that the suite knows, unless said otherwise.
fn versions() -> Vec<Version> {
    let said = std::env::var("UNSTICK_E2E_VERSIONS").unwrap_or_else(|_| "1.14.48 1.18.34".to_owned());
    let versions: Vec<Version> = said.split_whitespace().map(Version::new).collect();
    assert!(!versions.is_empty(), "UNSTICK_E2E_VERSIONS names no version");
    versions
}

/// How many sessions are changed at random, for each version.
fn mutations() -> usize {
    number("UNSTICK_E2E_MUTATIONS").map_or(100, |n| usize::try_from(n).expect("a number of sessions"))
}

fn seed() -> u64 {
    number("UNSTICK_E2E_SEED").unwrap_or(20_261_121)
}

fn number(name: &str) -> Option<u64> {
    let said = std::env::var(name).ok()?;
    Some(said.parse().unwrap_or_else(|_| panic!("{name}={said:?} is not a number")))
}

/// The tests take turns: each of them uses all of the machine, and the stories depend on time.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends a test: with all misses, or well.
fn report(misses: &[String]) {
    assert!(misses.is_empty(), "{} misses\n{}", misses.len(), misses.join("\n"));
}
