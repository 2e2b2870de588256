//! The only SQL: opening a store without disturbing it, reading its rows, writing a plan.

mod backup;
mod blob;
pub mod environment;
mod error;
pub mod interrupt;
pub mod journal;
pub mod locate;
mod log;
mod open;
mod read;
mod schema;
mod sweep;
mod write;

pub use backup::backup_to;
pub use error::StoreError;
pub use open::{COPY_LIMIT, Snapshot, sidecar, with_snapshot};
pub use read::{Facts, Loaded, Rest, RowsDigest, SessionEntry, Store, StoredRows};
pub use schema::Schema;
pub use sweep::{MESSAGES_A_PASS, Sweep};
pub use write::{Exclusive, holders};
