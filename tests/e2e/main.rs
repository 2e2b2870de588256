//! The end-to-end suite: what the real opencode does with a store, and whether `unstick` says and
//! does the right thing about it. See docs/testing.md.
//!
//! Every test is ignored: `cargo test --locked --test e2e -- --ignored`.
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
