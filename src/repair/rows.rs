//! What a history does not hold of its rows, and a plan needs: it is read again from the store that the history came from.

use super::plan::Image;

/// The stored rows behind a history. A row that is not there, or cannot be read, is `None`: what needs it is not planned.
pub trait Rows {
    /// The JSON of a message.
    fn message(&self, id: &str) -> Option<String>;
    /// The JSON of a part.
    fn part(&self, id: &str) -> Option<String>;
    /// A row of `message` or `part` with its rowid, its JSON as [`super::Cell::Kept`].
    fn image(&self, table: &str, id: &str) -> Option<Image>;
}
