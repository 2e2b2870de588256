//! Tests of the library and the program on real stores. One crate of modules: one link step.
//!
//! Bugs were planted against every promise of docs/reliability.md (here by number), and made tests of the promise, or
//! those beside it, fail:
//!
//! - 1: a -wal or -journal passed over, not copied along, or looked for beside a link
//! - 1, 8: several transactions in one scan; a store replaced, changed or removed unnoticed
//! - 2: "n" is a yes; Ctrl-C not heard; `undo` does not ask; calls settled, or latent turns split, unasked
//! - 3, 9: the second plan not compared with the first; a dry run shows one session fewer
//! - 4: the journal, its folder, or the commit not synced; an unclear commit said to have failed; a finished
//!   -journal played back; a -wal left behind
//! - 5: a row given back at any rowid; newer names not looked for; the way back not tried; the log cut back
//!   though it went on; a journal's checksum, store or missing commit counts for nothing
//! - 6: a commit touches a row of another session, or the row of a session
//! - 7: a split loses text; prompt or totals not proven; a row that a revert or an answer names changed; a new id
//!   of another form; `--include` of one thing takes out another; a file overwritten
//! - 8: a walk ends quietly at a damaged page; an error of SQLite is a panic; a pipe opened; a value of another
//!   kind counts as absent, a history elsewhere as none; of two members of one name the first counts; times subtracted
//! - 9: no lock taken, or open files not listed; `--wait` does not wait; a replaced store committed
//! - 10: unknown columns or a trigger passed over; the index of keys not compared with the rows; a connection
//!   lacks a setting (a test of `src/store/open.rs`)
//! - 11: a value put into SQL; titles printed raw; `--text` always on; a group can read a journal
//! - Verdicts from few rows (`tails.rs`, `sweep.rs`,
//!   `properties::random_histories_reach_every_finding_that_a_tail_or_a_buried_row_can_give`): parts that are needed
//!   not read; a session cleared whose orders disagree; one model's finding said of another
//! - What every prompt is refused for (`tests/suite/dead.rs`): a rule finds nothing where it should, or goes too far
//!   (by one pixel, for any model, through a proxy); a refusal leads to the next block
//! - With a real opencode (`beside`, `live`): neither lock nor open files asked; the second plan not compared; a -wal
//!   not read
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
