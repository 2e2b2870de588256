//! Where a session's messages are, by their ids.

/// Finds the messages of a session by their ids. The messages stand elsewhere: each question says whose id is where.
#[derive(Debug, Default)]
pub struct Places {
    /// Places, by id.
    by_id: Vec<u32>,
    /// The last one: the parts of a message come one after the other, more often than not.
    last: usize,
}

impl Places {
    /// The place of a message among the first `len`, by `id_of` each place; `None` where none has that id.
    pub fn find<'a>(&mut self, len: usize, id_of: impl Fn(usize) -> &'a str, message: &str) -> Option<usize> {
        let is = |at: usize| at < len && id_of(at) == message;
        if is(self.last) {
            return Some(self.last);
        }
        if is(self.last + 1) {
            self.last += 1;
            return Some(self.last);
        }
        if self.by_id.len() != len {
            self.by_id = (0..u32::try_from(len).unwrap_or(u32::MAX)).collect();
            self.by_id.sort_unstable_by(|a, b| id_of(*a as usize).cmp(id_of(*b as usize)));
        }
        let at = self.by_id.binary_search_by(|at| id_of(*at as usize).cmp(message)).ok()?;
        self.last = self.by_id[at] as usize;
        Some(self.last)
    }
}
