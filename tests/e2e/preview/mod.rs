//! What the preview of opencode 2 does with its sessions, and whether `src/opencode2` says so.

mod capture;
mod checks;
mod judge;
mod program;
mod shapes;
mod stories;
