//! The rows that a request is made of: those from the newest completed compaction on, in the order of `seq`.

use super::decode;
use super::generation::Generation;
use super::json::Raw;
use super::rows::{Message, MessageRow, Undecodable};
use super::shape::Misfit;

/// A row of a history, decoded.
#[derive(Debug)]
pub struct Entry<'a> {
    /// As it is stored.
    pub row: MessageRow<'a>,
    /// As it is decoded.
    pub message: Message<'a>,
}

/// The `seq` that the history begins at: that of the newest completed compaction, if there is one.
///
/// The database looks for it through the compactions from the newest on, and cannot go on where one is no JSON.
///
/// # Errors
/// A compaction that is no JSON.
pub fn beginning<'a>(rows: &[MessageRow<'a>]) -> Result<Option<i64>, Undecodable<'a>> {
    let mut compactions: Vec<&MessageRow<'a>> = rows.iter().filter(|row| row.kind == "compaction").collect();
    compactions.sort_by_key(|row| std::cmp::Reverse(row.seq));
    for row in compactions {
        let Some(data) = Raw::parse(row.data) else {
            let why = Misfit { place: String::new(), wanted: "a JSON object" };
            return Err(Undecodable { id: row.id, why });
        };
        if data.string("status").is_some_and(|status| status == *"completed") {
            return Ok(Some(row.seq));
        }
    }
    Ok(None)
}

/// The history, oldest row first.
///
/// # Errors
/// The first row that does not decode: then there is no request, and the program cannot list the messages either.
pub fn load<'a>(generation: &Generation, rows: &[MessageRow<'a>]) -> Result<Vec<Entry<'a>>, Undecodable<'a>> {
    let beginning = beginning(rows)?;
    let mut rows: Vec<MessageRow<'a>> = rows.iter().filter(|row| Some(row.seq) >= beginning).copied().collect();
    rows.sort_by_key(|row| row.seq);
    rows.into_iter().map(|row| Ok(Entry { row, message: decode::message(generation, &row)? })).collect()
}
