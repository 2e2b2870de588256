//! opencode 2: what it stores, how strictly it decodes that, and what it sends (docs/opencode.md §16).
//!
//! A room beside that of opencode 1. Plain rows come in, predictions, findings and changed rows go out. Two programs are
//! known: the preview, which was measured, and 2.0.26, whose code was read. Where they differ is data
//! ([`generation`]).

pub mod decode;
pub mod edit;
pub mod findings;
pub mod generation;
pub mod history;
pub mod import;
mod json;
pub mod predict;
mod request;
pub mod rows;
mod shape;
mod shapes;
pub mod stored;
pub mod wire;

pub use json::{Raw, Text};
pub use request::Words;
pub use shape::Misfit;
