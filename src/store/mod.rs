//! The only SQL: opening a store without disturbing it, reading its rows, writing row edits.

mod backup;
mod blob;
mod columns;
mod decode;
mod exclusive;
mod folders;
mod form;
mod holders;
mod import;
pub mod interrupt;
mod load;
mod log;
mod memory;
mod open;
mod reader;
mod schema;
mod v2;
mod value;
mod write;

pub use backup::backup_to;
pub use columns::By;
pub use exclusive::{Exclusive, check_ready};
pub use folders::Folder;
pub use holders::holders;
pub use load::{Heads, Loaded, Scanned, Touched, UntouchedDigest};
pub use memory::with_rows;
pub use open::{COPY_LIMIT, SQLITE_HEADER, Snapshot, sidecar, with_snapshot, with_threads};
pub use reader::{Facts, SessionEntry, Store, Twin};
pub use schema::Schema;
pub use v2::ImportState;
pub use write::{Edits, WayBack};
