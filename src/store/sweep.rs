//! One walk over all messages, and one over all parts, in the order in which they lie in the file. Stores with
//! millions of messages are walked several times, for some of the sessions each time, so that memory stays flat.
//!
//! Values beyond a page's room are in chains of overflow pages. SQL functions read a chain to its end even for the
//! first few characters (measured: `substr`), so only the length is asked for, and the start is read with
//! incremental blob I/O.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use super::blob::{ON_PAGE, Starts, names};
use super::read::{MESSAGE, PART, bad_row, integer, message_row, part_row, text};
use super::{Store, StoreError};
use crate::diagnosis::request::is_claude;
use crate::diagnosis::{Outline, Scope};
use crate::history::{self, FactKind, ModelRef, PartFact, Risk, SessionInfo, UnreadableRow};

/// Rows between two reports of progress.
const STRIDE: u64 = 4_096;

/// Most messages that are taken note of in one pass, but for a session that has more by itself: twelve bytes each, and
/// eight for each of their tool calls.
pub const MESSAGES_A_PASS: u64 = 1_000_000;

/// What a sweep found out.
#[derive(Debug)]
pub struct Sweep {
    scope: Scope,
    outlines: Vec<Outline>,
    /// Empty where several passes were made: then nothing is known of a message's calls.
    messages: Vec<Table>,
    /// Answers that were taken for finished and hold tool calls.
    tooled: HashSet<u64>,
    /// Messages with calls that were cut off, never ended or leaked, by session.
    loud: HashMap<u32, BTreeSet<String>>,
    /// What sessions send that a provider may refuse.
    risks: HashMap<u32, Risk>,
    unreadable: Vec<(Option<u32>, UnreadableRow)>,
    /// Sessions with rows that could not be understood.
    broken: HashSet<u32>,
    hasher: RandomState,
    /// Models that refused a prefill.
    pub refusing: Vec<ModelRef>,
}

/// Messages by a hash of their id: the session, and whether an outline rests on it. Sorted when the walk is done, and
/// twelve bytes for each message: a store may have millions of them.
#[derive(Debug, Default)]
struct Table(Vec<[u32; 3]>);

impl Table {
    #[expect(clippy::cast_possible_truncation, reason = "halves of the hash")]
    fn key(hash: u64) -> [u32; 2] {
        [(hash >> 32) as u32, hash as u32]
    }

    fn push(&mut self, hash: u64, session: u32, rests: bool) {
        let [high, low] = Self::key(hash);
        self.0.push([high, low, session << 1 | u32::from(rests)]);
    }

    fn sort(&mut self) {
        self.0.sort_unstable();
    }

    fn get(&self, hash: u64) -> Option<(u32, bool)> {
        let [high, low] = Self::key(hash);
        let key = |row: &[u32; 3]| (row[0], row[1]);
        // Hashes are spread evenly: the first half tells about where to look.
        let rows = self.0.as_slice();
        let guess = usize::try_from((u64::from(high) * rows.len() as u64) >> 32).unwrap_or(0);
        let mut step = 8;
        let (mut from, mut to) = (guess, guess);
        while from > 0 && key(&rows[from]) >= (high, low) {
            from = from.saturating_sub(step);
            step *= 2;
        }
        step = 8;
        while to < rows.len() && key(&rows[to]) <= (high, low) {
            to = (to + step).min(rows.len());
            step *= 2;
        }
        let within = rows.get(from..to)?;
        let at = within.binary_search_by_key(&(high, low), key).ok()?;
        Some((within[at][2] >> 1, within[at][2] & 1 == 1))
    }
}

/// Where rows of a session go.
struct Places<'a> {
    /// By id, a session's place in the list.
    sessions: HashMap<&'a str, u32>,
    /// By place, the pass in which its rows are looked at; empty where there is one pass.
    passes: Vec<u32>,
    hasher: RandomState,
}

/// Whose turn it is to be looked at.
enum Whose {
    /// The session at this place.
    Of(u32),
    /// A session of another pass.
    Later,
    /// No session's.
    Nobody,
}

impl Places<'_> {
    fn whose(&self, session: Option<&str>, pass: u32) -> Whose {
        match session.and_then(|id| self.sessions.get(id)) {
            Some(at) if self.passes.get(*at as usize).is_none_or(|of| *of == pass) => Whose::Of(*at),
            Some(_) => Whose::Later,
            None => Whose::Nobody,
        }
    }

    fn count(&self) -> u32 {
        self.passes.iter().max().map_or(1, |last| last + 1)
    }
}

struct MessageWalk {
    outlines: Vec<Outline>,
    table: Table,
    unreadable: Vec<(Option<u32>, UnreadableRow)>,
    refusing: Vec<ModelRef>,
    strays: Vec<i64>,
}

#[derive(Default)]
struct PartWalk {
    tooled: HashSet<u64>,
    loud: HashMap<u32, BTreeSet<String>>,
    risks: HashMap<u32, Risk>,
    /// Sessions with hashes of the ids of their calls.
    calls: Vec<(u32, u32)>,
    unreadable: Vec<(Option<u32>, UnreadableRow)>,
    strays: Vec<i64>,
}

impl Sweep {
    /// Whether there is nothing to say about the session at this place of the list that was swept.
    fn plain(&self, at: u32, info: &SessionInfo) -> bool {
        info.revert.is_none()
            && !self.loud.contains_key(&at)
            && !(self.suspect(at) && self.model(at).is_none_or(|m| is_claude(&m.model)))
            && self.outlines.get(at as usize).is_some_and(|o| o.plain(self.scope))
            && !self.broken.contains(&at)
    }

    /// Whether a request of the session at this place may break a rule of its provider, but for that of its last turn.
    pub(super) fn suspect(&self, at: u32) -> bool {
        self.risks.get(&at).is_some_and(|risk| risk.counts())
    }

    /// The rows of the session that could not be understood; those of no session for `None`.
    pub fn unreadable(&self, at: Option<u32>) -> impl Iterator<Item = &UnreadableRow> {
        self.unreadable.iter().filter(move |(session, _)| *session == at).map(|(_, row)| row)
    }

    /// Whether the message is known to hold no tool call.
    pub(super) fn no_tools(&self, id: &str) -> bool {
        let hash = self.hasher.hash_one(id);
        self.scope == Scope::All
            && !self.tooled.contains(&hash)
            && self.messages.iter().any(|t| t.get(hash).is_some_and(|(_, rests)| rests))
    }

    /// The messages of the session that have something to report.
    pub(super) fn loud(&self, at: u32) -> impl Iterator<Item = &String> {
        self.loud.get(&at).into_iter().flatten()
    }

    /// The newest prompt's model of a plain session.
    #[must_use]
    pub fn model(&self, at: u32) -> Option<&ModelRef> {
        self.outlines.get(at as usize).and_then(Outline::model)
    }
}

impl Store<'_> {
    /// Walks over the messages and, where everything is asked for, over the parts: once, or, where there are more than
    /// `most` messages, as often as it takes.
    ///
    /// # Errors
    /// When SQLite cannot read them.
    pub fn sweep(
        &self,
        infos: &[SessionInfo],
        scope: Scope,
        most: u64,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Sweep, StoreError> {
        let sessions: HashMap<&str, u32> = infos.iter().zip(0..).map(|(info, at)| (info.id.as_str(), at)).collect();
        let passes = self.passes(&sessions, most)?;
        let places = Places { sessions, passes, hasher: RandomState::new() };
        let mut sweep = Sweep {
            scope,
            outlines: vec![Outline::default(); infos.len()],
            messages: Vec::new(),
            tooled: HashSet::new(),
            loud: HashMap::new(),
            risks: HashMap::new(),
            unreadable: Vec::new(),
            broken: HashSet::new(),
            hasher: places.hasher.clone(),
            refusing: Vec::new(),
        };
        let done = AtomicU64::new(0);
        for pass in 0..places.count() {
            self.pass(&mut sweep, &places, pass, &done, progress)?;
            if places.count() > 1 {
                (sweep.messages, sweep.tooled) = (Vec::new(), HashSet::new());
            }
        }
        sweep.broken = sweep.unreadable.iter().filter_map(|(session, _)| *session).collect();
        Ok(sweep)
    }

    /// The pass of each session, by place: empty where one is enough.
    fn passes(&self, sessions: &HashMap<&str, u32>, most: u64) -> Result<Vec<u32>, StoreError> {
        if self.count("message")? <= most {
            return Ok(Vec::new());
        }
        let mut passes = vec![0; sessions.len()];
        let (mut pass, mut full) = (0, 0);
        let query = "SELECT session_id, count(*) FROM message GROUP BY session_id";
        let mut statement = self.db.prepare(query).map_err(|e| self.sql(e))?;
        let mut rows = statement.query([]).map_err(|e| self.sql(e))?;
        while let Some(row) = rows.next().map_err(|e| self.sql(e))? {
            let (Ok(id), Ok(messages)) = (text(row, 0, "session_id"), integer(row, 1, "count")) else { continue };
            let Some(at) = sessions.get(id) else { continue };
            if full > 0 && full + messages.unsigned_abs() > most {
                (pass, full) = (pass + 1, 0);
            }
            full += messages.unsigned_abs();
            passes[*at as usize] = pass;
        }
        Ok(passes)
    }

    fn pass(
        &self,
        sweep: &mut Sweep,
        places: &Places<'_>,
        pass: u32,
        done: &AtomicU64,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), StoreError> {
        let utf8 = self.is_utf8()?;
        let rows = Rows { places, pass, utf8 };
        let walks = self.both("message", progress, done, |db, range, tick| walk_messages(db, range, &rows, tick))?;
        let mut strays = Vec::new();
        for walk in walks {
            for (mine, theirs) in sweep.outlines.iter_mut().zip(walk.outlines) {
                mine.join(theirs);
            }
            sweep.messages.push(walk.table);
            sweep.unreadable.extend(walk.unreadable);
            for model in walk.refusing {
                if !sweep.refusing.contains(&model) {
                    sweep.refusing.push(model);
                }
            }
            strays.extend(walk.strays.into_iter().map(|rowid| ("message", rowid)));
        }
        if sweep.scope == Scope::All {
            let tables = &sweep.messages;
            let walks =
                self.both("part", progress, done, |db, range, tick| walk_parts(db, range, tables, &rows, tick))?;
            let mut calls = Vec::new();
            for walk in walks {
                sweep.tooled.extend(walk.tooled);
                for (session, risk) in walk.risks {
                    sweep.risks.entry(session).or_default().add(risk);
                }
                calls.push(walk.calls);
                for (session, ids) in walk.loud {
                    sweep.loud.entry(session).or_default().extend(ids);
                }
                sweep.unreadable.extend(walk.unreadable);
                strays.extend(walk.strays.into_iter().map(|rowid| ("part", rowid)));
            }
            for session in twice(calls) {
                sweep.risks.entry(session).or_default().suspect = true;
            }
            for hash in &sweep.tooled {
                for table in &sweep.messages {
                    if let Some((session, _)) = table.get(*hash)
                        && let Some(outline) = sweep.outlines.get_mut(session as usize)
                    {
                        outline.doubt();
                    }
                }
            }
        }
        for (table, rowid) in strays {
            if let Some(row) = self.stray(table, rowid)? {
                let session = row.session_id.as_deref().and_then(|id| places.sessions.get(id).copied());
                sweep.unreadable.push((session, row));
            }
        }
        Ok(())
    }

    /// Whether there is nothing to say about the session at place `at` of the list that was swept.
    ///
    /// # Errors
    /// When SQLite cannot read its last row's parts.
    pub fn is_plain(&self, sweep: &Sweep, at: u32, info: &SessionInfo) -> Result<bool, StoreError> {
        if !sweep.plain(at, info) {
            return Ok(false);
        }
        if sweep.scope == Scope::All {
            return Ok(true);
        }
        let last = sweep.outlines.get(at as usize).map_or("", Outline::last);
        Ok(!self.holds_tool(last)?)
    }

    /// Whether a part of the message is a tool call, or could be one.
    fn holds_tool(&self, message: &str) -> Result<bool, StoreError> {
        let utf8 = self.is_utf8()?;
        let query = format!("{PARTS} WHERE message_id = ?1");
        let mut statement = self.db.prepare_cached(&query).map_err(|e| self.sql(e))?;
        let mut rows = statement.query([message]).map_err(|e| self.sql(e))?;
        let mut starts = Starts::new(self.db, "part");
        while let Some(row) = rows.next().map_err(|e| self.sql(e))? {
            if fact(&mut starts, row, utf8, false)
                .map_err(|e| self.sql(e))?
                .is_none_or(|fact| fact.kind != FactKind::Quiet)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Runs `walk` over all rows of a table: in two halves at the same time, where a second connection is sure to
    /// see the same state of the store.
    fn both<T: Send>(
        &self,
        table: &str,
        progress: &mut dyn FnMut(u64),
        done: &AtomicU64,
        walk: impl Fn(&Connection, (i64, i64), &mut dyn FnMut(u64)) -> rusqlite::Result<T> + Sync,
    ) -> Result<Vec<T>, StoreError> {
        let (first, last): (Option<i64>, Option<i64>) = self
            .db
            .query_row(&format!("SELECT min(rowid), max(rowid) FROM {table}"), [], |row| Ok((row.get(0)?, row.get(1)?)))
            .map_err(|e| self.sql(e))?;
        let (Some(first), Some(last)) = (first, last) else { return Ok(Vec::new()) };
        let mut shown = |rows| progress(done.fetch_add(rows, Ordering::Relaxed) + rows);
        let middle = first + (last - first) / 2;
        let Some(twin) = self.twin().filter(|_| last.saturating_sub(first) > 20_000) else {
            return Ok(vec![walk(self.db, (first, last), &mut shown).map_err(|e| self.sql(e))?]);
        };
        let (here, there) = thread::scope(|scope| {
            let other = scope.spawn(|| {
                let db = twin()?;
                walk(&db, (middle + 1, last), &mut |rows| {
                    done.fetch_add(rows, Ordering::Relaxed);
                })
            });
            let here = walk(self.db, (first, middle), &mut shown);
            (here, other.join())
        });
        let here = here.map_err(|e| self.sql(e))?;
        match there {
            Ok(there) => Ok(vec![here, there.map_err(|e| self.sql(e))?]),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// The sessions in which an id of a call comes twice, in one walk or in two.
fn twice(mut walks: Vec<Vec<(u32, u32)>>) -> Vec<u32> {
    let mut out = Vec::new();
    walks.iter_mut().for_each(|calls| calls.sort_unstable());
    for (at, calls) in walks.iter().enumerate() {
        out.extend(calls.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0].0));
        for other in &walks[..at] {
            out.extend(calls.iter().filter(|call| other.binary_search(call).is_ok()).map(|call| call.0));
        }
    }
    out.sort_unstable();
    out.dedup();
    out
}

/// What the walks of one pass have in common.
struct Rows<'a> {
    places: &'a Places<'a>,
    pass: u32,
    utf8: bool,
}

/// A message's columns, its value only where that is on the row's own page, and a number where it is no text.
const MESSAGES: &str = "SELECT rowid, id, session_id, time_created, time_updated, octet_length(data), \
     CASE WHEN octet_length(data) <= 3900 THEN data WHEN typeof(data) <> 'text' THEN 0 END FROM message";

fn walk_messages(
    db: &Connection,
    range: (i64, i64),
    rows: &Rows<'_>,
    tick: &mut dyn FnMut(u64),
) -> rusqlite::Result<MessageWalk> {
    let Rows { places, pass, utf8 } = rows;
    let mut out = MessageWalk {
        outlines: vec![Outline::default(); places.sessions.len()],
        table: Table::default(),
        unreadable: Vec::new(),
        refusing: Vec::new(),
        strays: Vec::new(),
    };
    let mut statement = db.prepare(&format!("{MESSAGES} WHERE rowid BETWEEN ?1 AND ?2"))?;
    let mut whole = db.prepare(&format!("{MESSAGE} WHERE rowid = ?1"))?;
    let mut starts = Starts::new(db, "message");
    let mut rows = statement.query(range)?;
    let mut seen = 0;
    while let Some(row) = rows.next()? {
        let rowid: i64 = row.get(0)?;
        let session = match places.whose(text(row, 2, "session_id").ok(), *pass) {
            Whose::Of(at) => Some(at),
            Whose::Nobody if *pass == 0 => None,
            Whose::Later | Whose::Nobody => continue,
        };
        seen += 1;
        if seen % STRIDE == 0 {
            tick(STRIDE);
        }
        let id = text(row, 1, "id");
        let columns = (&id, integer(row, 3, "time_created"), integer(row, 4, "time_updated"));
        if let (Some(session), (Ok(id), Ok(time), Ok(_))) = (session, columns) {
            let fact = match row.get_ref(6)? {
                ValueRef::Text(data) => history::message_fact(data),
                ValueRef::Null if *utf8 && row.get::<_, Option<i64>>(5)?.is_some_and(|bytes| bytes > ON_PAGE) => {
                    history::message_fact_of_start(starts.of(rowid)?.0)
                }
                _ => None,
            };
            if let Some(fact) = fact {
                let rests = out.outlines[session as usize].add(id, time, &fact);
                out.table.push(places.hasher.hash_one(id), session, rests);
                continue;
            }
        }
        let mut found = whole.query([rowid])?;
        let Some(row) = found.next()? else { continue };
        let message = message_row(row);
        if let Ok(message) = &message {
            refused(message, &mut out.refusing);
        }
        let Some(session) = session else {
            out.strays.push(rowid);
            continue;
        };
        let rests = match &message {
            Ok(message) => out.outlines[session as usize].add_message(message),
            Err(error) => {
                let session_id = text(row, 2, "session_id").ok();
                out.unreadable.push((Some(session), bad_row("message", row, session_id, error)));
                false
            }
        };
        if let Ok(id) = id {
            out.table.push(places.hasher.hash_one(id), session, rests);
        }
    }
    tick(seen % STRIDE);
    out.table.sort();
    Ok(out)
}

fn refused(message: &history::Message, refusing: &mut Vec<ModelRef>) {
    if message.prefill_400()
        && let Some(a) = message.assistant()
        && !refusing.contains(&a.model)
    {
        refusing.push(a.model.clone());
    }
}

/// A part's columns, its value only where that is on the row's own page, and a number where it is no text.
const PARTS: &str = "SELECT rowid, id, message_id, session_id, time_created, time_updated, octet_length(data), \
     CASE WHEN octet_length(data) <= 3900 THEN data WHEN typeof(data) <> 'text' THEN 0 END FROM part";

/// What the row of [`PARTS`] is; `None` where it has to be read whole. Where `behind` is set, what stands behind the
/// start of a result counts as well.
fn fact(starts: &mut Starts<'_>, row: &Row<'_>, utf8: bool, behind: bool) -> rusqlite::Result<Option<PartFact>> {
    let columns_fit = text(row, 1, "id").is_ok()
        && text(row, 2, "message_id").is_ok()
        && text(row, 3, "session_id").is_ok()
        && integer(row, 4, "time_created").is_ok()
        && integer(row, 5, "time_updated").is_ok();
    let ValueRef::Integer(rowid) = row.get_ref(0)? else { return Ok(None) };
    if !columns_fit || !utf8 {
        return Ok(None);
    }
    Ok(match row.get_ref(7)? {
        ValueRef::Text(data) => history::part_fact(data),
        ValueRef::Null if row.get::<_, i64>(6)? > ON_PAGE => {
            let (start, blob) = starts.of(rowid)?;
            match history::part_fact_of_start(start) {
                Some(start) if behind && start.behind && names(blob, &history::BEHIND_OUTPUT)? => None,
                start => start.map(|start| start.fact),
            }
        }
        _ => None,
    })
}

fn walk_parts(
    db: &Connection,
    range: (i64, i64),
    tables: &[Table],
    rows: &Rows<'_>,
    tick: &mut dyn FnMut(u64),
) -> rusqlite::Result<PartWalk> {
    let Rows { places, pass, utf8 } = rows;
    let mut out = PartWalk::default();
    let mut statement = db.prepare(&format!("{PARTS} WHERE rowid BETWEEN ?1 AND ?2"))?;
    let mut whole = db.prepare(&format!("{PART} WHERE part.rowid = ?1"))?;
    let mut starts = Starts::new(db, "part");
    let mut rows = statement.query(range)?;
    let mut seen = 0;
    let mut last = (String::new(), 0, None);
    while let Some(row) = rows.next()? {
        let rowid: i64 = row.get(0)?;
        let Ok(message) = text(row, 2, "message_id") else {
            if *pass == 0 {
                out.strays.push(rowid);
            }
            continue;
        };
        // The parts of a message lie side by side, more often than not.
        if last.0 != message || last.2.is_none() {
            let hash = places.hasher.hash_one(message);
            last.0.clear();
            last.0.push_str(message);
            (last.1, last.2) = (hash, tables.iter().find_map(|t| t.get(hash)));
        }
        let (_, hash, Some((session, rests))) = last else {
            // Of another pass, most likely; whether it really hangs on nothing is asked once.
            if match places.whose(text(row, 3, "session_id").ok(), *pass) {
                Whose::Of(_) => true,
                Whose::Later => false,
                Whose::Nobody => *pass == 0,
            } {
                out.strays.push(rowid);
            }
            continue;
        };
        seen += 1;
        if seen % STRIDE == 0 {
            tick(STRIDE);
        }
        let fact = match fact(&mut starts, row, *utf8, true)? {
            Some(fact) => fact,
            None => {
                let mut rows = whole.query([rowid])?;
                let Some(row) = rows.next()? else { continue };
                match part_row(db, row, *utf8, false)? {
                    Ok(part) => PartFact::of(&part.kind),
                    Err(error) => {
                        out.unreadable.push((Some(session), bad_row("part", row, None, &error)));
                        continue;
                    }
                }
            }
        };
        if fact.kind != FactKind::Quiet && rests {
            out.tooled.insert(hash);
        }
        if fact.suspect || fact.images > 0 {
            out.risks.entry(session).or_default().add(fact.into());
        }
        out.calls.extend(fact.call.map(|id| (session, id)));
        if fact.kind == FactKind::Loud {
            out.loud.entry(session).or_default().insert(message.to_owned());
        }
    }
    tick(seen % STRIDE);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Table;

    proptest! {
        #[test]
        fn a_table_finds_what_was_put_in_and_nothing_else(
            hashes in proptest::collection::hash_set(prop_oneof![any::<u64>(), 0u64..40, (u64::MAX - 40)..=u64::MAX], 0..200),
            others in proptest::collection::vec(prop_oneof![any::<u64>(), 0u64..40, (u64::MAX - 40)..=u64::MAX], 0..20),
        ) {
            let mut table = Table::default();
            for (hash, at) in hashes.iter().zip(0..) {
                table.push(*hash, at, at % 3 == 0);
            }
            table.sort();
            for (hash, at) in hashes.iter().zip(0..) {
                prop_assert_eq!(table.get(*hash), Some((at, at % 3 == 0)));
            }
            for hash in others.iter().filter(|hash| !hashes.contains(hash)) {
                prop_assert_eq!(table.get(*hash), None);
            }
        }
    }
}
