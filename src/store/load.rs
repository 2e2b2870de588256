//! The history of one session, with the rows of it that could not be understood.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use sha2::{Digest, Sha256};

use super::Store;
use super::columns::{By, PartColumns, bad_row, part_columns, text};
use super::value::{MESSAGE, PART, Values};
use crate::error::Result;
use crate::history::{Depth, Head, Message, Part, PartKind, Places, Session, SessionInfo, UnreadableRow};
use crate::json::ShapeError;
use crate::opencode2::import::Examination;
use crate::rows::Table;

/// A session's history, with the rows of it that could not be understood.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The rows that were understood.
    pub session: Session,
    /// The others. A session with any is left alone.
    pub unreadable: Vec<UnreadableRow>,
}

/// The messages of a session without their parts, in replay order.
#[derive(Debug)]
pub struct Heads {
    /// Those that were understood.
    pub heads: Vec<Head>,
    /// The others.
    pub unreadable: Vec<UnreadableRow>,
    /// The ids of those that opencode may not be able to read.
    pub odd: Vec<String>,
}

/// The parts of a session, read for a verdict.
#[derive(Debug)]
pub struct Scanned {
    /// The history.
    pub loaded: Loaded,
    /// How many parts were met.
    pub parts: u64,
    /// Messages, then parts, that opencode may not be able to read, by what was read of them.
    pub odd: Vec<(Table, String)>,
    /// Sessions of other messages on which parts of this one hang: their own histories lack these parts.
    pub misfiled: Vec<String>,
}

/// A digest of all rows of a session that a plan does not name. It does not depend on the order of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UntouchedDigest {
    rows: u64,
    /// The sum of the SHA-256 of each.
    sum: [u64; 4],
}

impl UntouchedDigest {
    fn add(&mut self, values: &Values<'_>, row: &rusqlite::Row<'_>) -> rusqlite::Result<()> {
        let mut digest = Sha256::new();
        values.add_to(&mut digest, row)?;
        self.add_row(digest);
        Ok(())
    }

    /// Takes in the digest of one row.
    pub(super) fn add_row(&mut self, digest: Sha256) {
        self.rows += 1;
        for (sum, bytes) in self.sum.iter_mut().zip(digest.finalize().chunks_exact(8)) {
            *sum = sum.wrapping_add(bytes.iter().fold(0, |n, byte| n << 8 | u64::from(*byte)));
        }
    }
}

/// The rows that a plan names, by table and id.
pub type Touched<'a> = HashSet<(Table, &'a str)>;

impl Store<'_> {
    /// The session's messages without their parts. `import` is shown each row.
    ///
    /// # Errors
    /// When SQLite cannot read it.
    pub fn heads(&self, info: &SessionInfo, import: Option<&mut Examination>) -> Result<Heads> {
        self.each_head(info, import, |_, _| Ok(()))
    }

    fn each_head(
        &self,
        info: &SessionInfo,
        mut import: Option<&mut Examination>,
        mut each: impl FnMut(&Values<'_>, &rusqlite::Row<'_>) -> Result<()>,
    ) -> Result<Heads> {
        let mut out = Heads { heads: Vec::new(), unreadable: Vec::new(), odd: Vec::new() };
        let mut values = Values::of(self.db, Table::Message);
        let mut statement = self.cached(&format!("{MESSAGE} WHERE session_id = ?1"))?;
        let mut rows = statement.query([&info.id])?;
        while let Some(row) = rows.next()? {
            let head = values.head(row, import.as_deref_mut())?;
            if values.odd() {
                out.odd.extend(text(row, 1, "id").ok().map(str::to_owned));
            }
            match head {
                Ok(head) => {
                    each(&values, row)?;
                    out.heads.push(head);
                }
                Err(error) => out.unreadable.push(bad_row("message", row, Some(&info.id), &error)),
            }
        }
        out.heads.sort_by(|a, b| (a.row.time_created, &a.row.id).cmp(&(b.row.time_created, &b.row.id)));
        if out.heads.is_empty() && out.unreadable.is_empty() && self.only_in_session_message(info)? {
            out.unreadable.push(elsewhere(info));
        }
        Ok(out)
    }

    /// Reads the parts of a session as far as a verdict asks; `import` is shown each row. `exact` says of which messages what stands behind a long
    /// result counts whatever tool it is of.
    ///
    /// # Errors
    /// When SQLite cannot read it.
    #[expect(clippy::too_many_arguments, reason = "what to read, how, and who else looks on have nothing in common")]
    pub fn scan_parts(
        &self,
        info: &SessionInfo,
        heads: Heads,
        by: By,
        mut import: Option<&mut Examination>,
        exact: impl Fn(usize) -> bool,
    ) -> Result<Scanned> {
        let Heads { heads, mut unreadable, odd } = heads;
        let mut odd: Vec<(Table, String)> = odd.into_iter().map(|id| (Table::Message, id)).collect();
        let mut places = Places::default();
        let mut parts: Vec<Vec<Part>> = vec![Vec::new(); heads.len()];
        let (mut met, mut misfiled) = (0, Vec::new());
        // The parts of a message come one after the other, more often than not: they are given room when all are known.
        let (mut gathered, mut current) = (Vec::new(), 0);
        let mut values = Values::of(self.db, Table::Part);
        let mut statement = self.cached(&parts_query(by))?;
        let mut rows = statement.query([&info.id])?;
        while let Some(row) = rows.next()? {
            met += 1;
            let columns = part_columns(row, by);
            let message = match &columns {
                Ok(PartColumns { message, .. }) => Some(*message),
                Err(_) => text(row, 2, "message_id").ok(),
            };
            let Some(at) = message.and_then(|message| place(&mut places, &heads, message)) else {
                values.show_part(row, import.as_deref_mut())?;
                self.misplaced(info, row, &mut unreadable, &mut misfiled)?;
                continue;
            };
            let part = values.scanned_part(row, columns, exact(at), import.as_deref_mut())?;
            if values.odd() {
                odd.extend(text(row, 1, "id").ok().map(|id| (Table::Part, id.to_owned())));
            }
            match part {
                Ok(part) => {
                    if at != current || gathered.len() == MANY {
                        self.settle(&mut gathered, &mut parts[current], &heads[current].row.id)?;
                        current = at;
                    }
                    gathered.push(part);
                }
                Err(error) => unreadable.push(bad_row("part", row, Some(&info.id), &error)),
            }
        }
        if let (Some(parts), Some(head)) = (parts.get_mut(current), heads.get(current)) {
            self.settle(&mut gathered, parts, &head.row.id)?;
        }
        let messages = heads.into_iter().zip(parts).map(|(head, parts)| Rc::new(head.with(parts))).collect();
        let mut session = Session { info: info.clone(), messages, depth: Depth::Scan };
        session.sort();
        Ok(Scanned { loaded: Loaded { session, unreadable }, parts: met, odd, misfiled })
    }

    /// A part whose message is not among the session's that were understood.
    fn misplaced(
        &self,
        info: &SessionInfo,
        row: &rusqlite::Row<'_>,
        unreadable: &mut Vec<UnreadableRow>,
        misfiled: &mut Vec<String>,
    ) -> Result<()> {
        let message = match text(row, 2, "message_id") {
            Ok(message) => message,
            Err(error) => {
                unreadable.push(bad_row("part", row, Some(&info.id), &error));
                return Ok(());
            }
        };
        let mut statement = self.cached("SELECT session_id FROM message WHERE id = ?1")?;
        match Self::first(&mut statement, [message], |row| Ok(text(row, 0, "session_id").ok().map(str::to_owned)))? {
            None => unreadable.push(bad_row("part", row, Some(&info.id), &ShapeError(NO_MESSAGE.to_owned()))),
            // Its message could not be read, which makes its session unreadable already.
            Some(Some(owner)) if owner == info.id => {}
            Some(owner) => misfiled.extend(owner),
        }
        Ok(())
    }

    /// The whole history of one session.
    ///
    /// # Errors
    /// When SQLite cannot read it. Rows that are there but cannot be understood are named in the result.
    pub fn load(&self, info: &SessionInfo) -> Result<Loaded> {
        Ok(self.load_guarded(info, &Touched::new(), None)?.0)
    }

    /// The whole history of one session, with a digest of all its rows but those that are `touched`. Messages that are as
    /// they are in `like` are shared with it.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub fn load_guarded(
        &self,
        info: &SessionInfo,
        touched: &Touched<'_>,
        like: Option<&Session>,
    ) -> Result<(Loaded, UntouchedDigest)> {
        let mut digest = UntouchedDigest::default();
        let guard = !touched.is_empty();
        let Heads { heads, mut unreadable, odd: _ } = self.each_head(info, None, |values, row| {
            let id = text(row, 1, "id").unwrap_or_default();
            if guard && !touched.contains(&(Table::Message, id)) {
                digest.add(values, row)?;
            }
            Ok(())
        })?;
        let known: HashMap<&str, &Rc<Message>> =
            like.into_iter().flat_map(|l| &l.messages).map(|m| (m.id(), m)).collect();
        let mut places = Places::default();
        let mut slots: Vec<Slot<'_>> = heads.iter().map(|head| Slot::of(head, &known)).collect();
        let mut values = Values::of(self.db, Table::Part);
        let mut statement = self.cached(&parts_query(By::Messages))?;
        let mut rows = statement.query([&info.id])?;
        while let Some(row) = rows.next()? {
            let part = match values.part(row)? {
                Ok(part) => part,
                Err(error) => {
                    unreadable.push(bad_row("part", row, Some(&info.id), &error));
                    continue;
                }
            };
            if guard && !touched.contains(&(Table::Part, part.id())) {
                digest.add(&values, row)?;
            }
            // A part whose message could not be read makes its session unreadable already.
            let at = text(row, 2, "message_id").ok().and_then(|message| place(&mut places, &heads, message));
            let Some(at) = at else { continue };
            if let Slot::Own(parts) = &mut slots[at] {
                self.make_room(parts, &heads[at].row.id)?;
            }
            slots[at].add(part);
        }
        drop(rows);
        let mut messages = Vec::with_capacity(slots.len());
        for (head, slot) in heads.iter().zip(slots) {
            messages.push(match slot {
                Slot::Own(parts) => Rc::new(head.clone().with(parts)),
                Slot::Like(like, met) if met == like.parts.len() => Rc::clone(like),
                Slot::Like(..) => Rc::new(head.clone().with(self.parts_of(head, &mut unreadable)?)),
            });
        }
        let mut session = Session { info: info.clone(), messages, depth: Depth::Whole };
        session.sort();
        unreadable.extend(self.orphaned_parts(Some(&info.id))?);
        Ok((Loaded { session, unreadable }, digest))
    }

    /// Whether a part of the message is a tool call, or could be one.
    ///
    /// # Errors
    /// When SQLite cannot read it.
    pub fn holds_tool(&self, head: &Head) -> Result<bool> {
        let mut values = Values::of(self.db, Table::Part);
        let mut statement = self.cached(&format!("{PART} WHERE part.message_id = ?1"))?;
        let mut rows = statement.query([&head.row.id])?;
        while let Some(row) = rows.next()? {
            match values.scanned_part(row, part_columns(row, By::Messages), false, None)? {
                Ok(part) if !matches!(part.kind, PartKind::Tool(_)) => {}
                _ => return Ok(true),
            }
        }
        Ok(false)
    }

    /// The parts of one message.
    fn parts_of(&self, head: &Head, unreadable: &mut Vec<UnreadableRow>) -> Result<Vec<Part>> {
        let mut parts = Vec::new();
        let mut values = Values::of(self.db, Table::Part);
        let mut statement = self.cached(&format!("{PART} WHERE part.message_id = ?1"))?;
        let mut rows = statement.query([&head.row.id])?;
        while let Some(row) = rows.next()? {
            match values.part(row)? {
                Ok(part) => parts.push(part),
                Err(error) => unreadable.push(bad_row("part", row, Some(&head.row.session_id), &error)),
            }
        }
        Ok(parts)
    }

    /// Gives a message the parts of it that were gathered.
    fn settle(&self, gathered: &mut Vec<Part>, parts: &mut Vec<Part>, message: &str) -> Result<()> {
        parts.append(gathered);
        self.make_room(parts, message)
    }

    /// Makes room for all parts of a message that has a great many: to grow again and again leaves holes.
    fn make_room(&self, parts: &mut Vec<Part>, message: &str) -> Result<()> {
        if parts.len() == MANY && parts.capacity() < 2 * MANY + 1 {
            let mut statement = self.cached("SELECT count(*) FROM part WHERE message_id = ?1")?;
            let all: i64 = statement.query_row([message], |row| row.get(0))?;
            parts.reserve_exact(usize::try_from(all).unwrap_or(0).saturating_sub(MANY));
        }
        Ok(())
    }

    fn only_in_session_message(&self, info: &SessionInfo) -> Result<bool> {
        if !self.schema().has_table("session_message") {
            return Ok(false);
        }
        let mut statement = self.cached("SELECT EXISTS (SELECT 1 FROM session_message WHERE session_id = ?1)")?;
        Ok(statement.query_row([&info.id], |row| row.get(0))?)
    }

    /// Parts whose message does not exist: those that name the session, or, for `None`, those whose session does not exist
    /// either.
    ///
    /// # Errors
    /// When SQLite cannot read it.
    pub fn orphaned_parts(&self, session: Option<&str>) -> Result<Vec<UnreadableRow>> {
        const NONE: &str = "SELECT rowid, id, session_id FROM part \
             WHERE NOT EXISTS (SELECT 1 FROM message m WHERE m.id = part.message_id)";
        let of = match session {
            Some(_) => "AND session_id IS ?1",
            None => "AND ?1 IS NULL AND NOT EXISTS (SELECT 1 FROM session s WHERE s.id = part.session_id)",
        };
        self.unowned("part", &format!("{NONE} {of}"), session, NO_MESSAGE)
    }

    /// Messages whose session does not exist.
    ///
    /// # Errors
    /// When SQLite cannot read it.
    pub fn orphaned_messages(&self) -> Result<Vec<UnreadableRow>> {
        let query = "SELECT rowid, id, session_id FROM message \
             WHERE ?1 IS NULL AND NOT EXISTS (SELECT 1 FROM session s WHERE s.id = message.session_id)";
        self.unowned("message", query, None, "its session does not exist")
    }

    /// Sessions on whose messages parts hang that name no session that there is.
    ///
    /// # Errors
    /// When SQLite cannot read it.
    pub fn sessions_of_unclaimed_parts(&self) -> Result<Vec<String>> {
        let mut statement = self.cached(
            "SELECT DISTINCT m.session_id FROM part p JOIN message m ON m.id = p.message_id \
             WHERE NOT EXISTS (SELECT 1 FROM session s WHERE s.id = p.session_id)",
        )?;
        let mut rows = statement.query([])?;
        let mut out = Vec::new();
        while let Some(row) = rows.next()? {
            out.extend(text(row, 0, "session_id").ok().map(str::to_owned));
        }
        Ok(out)
    }

    fn unowned(
        &self,
        table: &'static str,
        query: &str,
        session: Option<&str>,
        detail: &str,
    ) -> Result<Vec<UnreadableRow>> {
        let mut statement = self.cached(query)?;
        let mut rows = statement.query([session])?;
        let mut out = Vec::new();
        while let Some(row) = rows.next()? {
            out.push(bad_row(table, row, text(row, 2, "session_id").ok(), &ShapeError(detail.to_owned())));
        }
        Ok(out)
    }
}

/// Of a message with so many parts it is asked how many there are.
const MANY: usize = 1 << 10;

const NO_MESSAGE: &str = "its message does not exist";

fn parts_query(by: By) -> String {
    match by {
        By::Session => format!("{PART} WHERE part.session_id = ?1"),
        By::Messages => format!("{PART} JOIN message ON message.id = part.message_id WHERE message.session_id = ?1"),
    }
}

/// The place of a message.
fn place(places: &mut Places, heads: &[Head], message: &str) -> Option<usize> {
    places.find(heads.len(), |at| heads[at].id(), message)
}

/// The parts of a message on their way from the store.
enum Slot<'a> {
    Own(Vec<Part>),
    /// Of a message whose row is that of one at hand, and how many of that one's parts were met.
    Like(&'a Rc<Message>, usize),
}

impl<'a> Slot<'a> {
    fn of(head: &Head, known: &HashMap<&str, &'a Rc<Message>>) -> Self {
        let same = |m: &Message| {
            m.row == head.row
                && m.created.to_bits() == head.created.to_bits()
                && m.role == head.role
                && m.changed.is_none()
        };
        match known.get(head.id()) {
            Some(like) if same(like) => Self::Like(like, 0),
            _ => Self::Own(Vec::new()),
        }
    }

    fn add(&mut self, part: Part) {
        match self {
            Self::Own(parts) => parts.push(part),
            Self::Like(like, met) => {
                // Ids are unique, so as many as there are means all of them.
                *met = if like.part(part.id()) == Some(&part) { met.saturating_add(1) } else { usize::MAX };
            }
        }
    }
}

fn elsewhere(info: &SessionInfo) -> UnreadableRow {
    UnreadableRow {
        table: "session",
        id: info.id.clone(),
        session_id: Some(info.id.clone()),
        detail: "its history is in `session_message` alone, which the run loop that is known here does not read"
            .to_owned(),
    }
}
