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
use rusqlite::{Connection, OptionalExtension, Row};

use super::blob::{ON_PAGE, Starts, names};
use super::read::{MESSAGE, PART, bad_row, integer, part_row, read_message, text};
use super::{Store, StoreError};
use crate::diagnosis::request::is_claude;
use crate::diagnosis::{Outline, Scope};
use crate::history::{self, End, FactKind, ModelRef, PartFact, Risk, SessionInfo, UnreadableRow};

/// Rows between two reports of progress.
const STRIDE: u64 = 4_096;

/// Most messages that are taken note of in one pass over the parts, but for a session that has more by itself: twelve
/// bytes each, and eight for each of their tool calls.
pub const MESSAGES_A_PASS: u64 = 1_000_000;

/// What a sweep found out.
#[derive(Debug)]
pub struct Sweep {
    scope: Scope,
    /// By place of the session; `None` where no row of it was met.
    outlines: Vec<Option<Box<Outline>>>,
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

/// Messages by a hash of their id: the session, and whether an outline rests on it. Some thirteen bytes for each message:
/// a store may have millions of them.
#[derive(Debug, Default)]
struct Table {
    /// Both halves of the hash, and the rest; sorted when the walk is done.
    rows: Vec<[u32; 3]>,
    /// Where the hashes of each bucket begin, and the end: hashes are spread evenly, eight to a bucket or so.
    starts: Vec<u32>,
    /// How far the upper half of a hash is shifted to give its bucket.
    shift: u32,
}

impl Table {
    #[expect(clippy::cast_possible_truncation, reason = "halves of the hash")]
    fn key(hash: u64) -> [u32; 2] {
        [(hash >> 32) as u32, hash as u32]
    }

    fn push(&mut self, hash: u64, session: u32, rests: bool) {
        let [high, low] = Self::key(hash);
        self.rows.push([high, low, session << 1 | u32::from(rests)]);
    }

    fn sort(&mut self) {
        self.rows.sort_unstable();
        // At least two buckets: a shift by all 32 bits is none.
        let buckets = (self.rows.len() / 8).next_power_of_two().clamp(2, 1 << 24);
        self.shift = 32 - buckets.trailing_zeros();
        self.starts = vec![0; buckets + 1];
        for [high, ..] in &self.rows {
            self.starts[(high >> self.shift) as usize + 1] += 1;
        }
        for bucket in 0..buckets {
            self.starts[bucket + 1] += self.starts[bucket];
        }
    }

    fn get(&self, hash: u64) -> Option<(u32, bool)> {
        let [high, low] = Self::key(hash);
        let bucket = (high >> self.shift) as usize;
        let (from, to) = (self.starts.get(bucket)?, self.starts.get(bucket + 1)?);
        let within = self.rows.get(*from as usize..*to as usize)?;
        let [.., rest] = within.iter().find(|row| row[0] == high && row[1] == low)?;
        Some((rest >> 1, rest & 1 == 1))
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

/// Whose a row is.
enum Whose {
    /// The session's at this place.
    Of(u32),
    /// A session's of another pass.
    Other,
    /// No session's.
    Nobody,
}

impl Places<'_> {
    fn whose(&self, session: Option<&str>, pass: u32) -> Whose {
        match session.and_then(|id| self.sessions.get(id)) {
            Some(at) if self.passes.get(*at as usize).is_none_or(|of| *of == pass) => Whose::Of(*at),
            Some(_) => Whose::Other,
            None => Whose::Nobody,
        }
    }
}

/// The rowids of a table that one pass walks over.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    first: i64,
    last: i64,
    /// From here on, no earlier pass has walked: rows of no session are taken note of once.
    fresh: i64,
}

impl Stretch {
    const ALL: Self = Self { first: i64::MIN, last: i64::MAX, fresh: i64::MIN };

    fn holds(&self, rowid: i64) -> bool {
        (self.first..=self.last).contains(&rowid)
    }

    /// One for each pass, so that together they cover the table; `spans` are the first and last rowid of each pass.
    fn covering(spans: &[(i64, i64)]) -> Vec<Self> {
        let mut fresh = i64::MIN;
        let mut out: Vec<Self> = Vec::new();
        for (first, last) in spans {
            out.push(Self { first: fresh.min(*first), last: *last, fresh });
            fresh = fresh.max(last.saturating_add(1));
        }
        if let Some(end) = out.last_mut() {
            end.last = i64::MAX;
        }
        out
    }
}

/// Where rows lie.
#[derive(Debug, Clone, Copy)]
struct Span {
    first: i64,
    last: i64,
    rows: u64,
}

impl Default for Span {
    fn default() -> Self {
        Self { first: i64::MAX, last: i64::MIN, rows: 0 }
    }
}

impl Span {
    fn join(&mut self, other: Self) {
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.rows += other.rows;
    }
}

struct MessageWalk {
    outlines: Vec<Option<Box<Outline>>>,
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
    /// Messages that so far end with thinking: the part, and the session.
    thinking: HashMap<u64, (String, u32)>,
    unreadable: Vec<(Option<u32>, UnreadableRow)>,
    strays: Vec<i64>,
}

impl Sweep {
    /// Whether there is nothing to say about the session at this place of the list that was swept.
    fn plain(&self, at: u32, info: &SessionInfo) -> bool {
        info.revert.is_none()
            && !self.loud.contains_key(&at)
            && !self.may_be_refused(at)
            && self.outline(at).is_some_and(|o| o.plain(self.scope))
            && !self.broken.contains(&at)
    }

    /// Whether the session's requests have to be looked at: most rules are Claude's.
    fn may_be_refused(&self, at: u32) -> bool {
        let served = self.risks.get(&at).is_some_and(|risk| risk.served);
        served || self.suspect(at) && self.model(at).is_none_or(|m| is_claude(&m.model))
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
        self.outline(at).and_then(Outline::model)
    }

    fn outline(&self, at: u32) -> Option<&Outline> {
        self.outlines.get(at as usize).and_then(Option::as_deref)
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
        let sessions = infos.iter().zip(0..).map(|(info, at)| (info.id.as_str(), at)).collect();
        let mut places = Places { sessions, passes: Vec::new(), hasher: RandomState::new() };
        let mut stretches = vec![[Stretch::ALL; 2]];
        // Without the parts, messages need not be known by their ids.
        if scope == Scope::All && self.messages()? > most {
            stretches = self.passes(&mut places, most)?;
        }
        let mut sweep = Sweep {
            scope,
            outlines: vec![None; infos.len()],
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
        for pass in 0..stretches.len() {
            self.pass(&mut sweep, &places, (pass, &stretches), &done, progress)?;
            if stretches.len() > 1 {
                (sweep.messages, sweep.tooled) = (Vec::new(), HashSet::new());
            }
        }
        sweep.broken = sweep.unreadable.iter().filter_map(|(session, _)| *session).collect();
        Ok(sweep)
    }

    /// Gives each session its pass, in the order in which they begin in the file, for rows of a session lie together more
    /// or less. Returns what each pass walks over of the messages and of the parts.
    fn passes(&self, places: &mut Places<'_>, most: u64) -> Result<Vec<[Stretch; 2]>, StoreError> {
        let messages = self.spans("message", places)?;
        let mut order: Vec<usize> = (0..messages.len()).collect();
        order.sort_unstable_by_key(|at| messages[*at].first);
        places.passes = vec![0; messages.len()];
        let (mut pass, mut full) = (0, 0);
        for at in order {
            if full > 0 && full + messages[at].rows > most {
                (pass, full) = (pass + 1, 0);
            }
            full += messages[at].rows;
            places.passes[at] = pass;
        }
        let stretches = |spans: &[Span]| {
            let mut of_pass = vec![Span::default(); pass as usize + 1];
            for (span, pass) in spans.iter().zip(&places.passes) {
                of_pass[*pass as usize].join(*span);
            }
            let ends: Vec<(i64, i64)> = of_pass.iter().map(|span| (span.first, span.last)).collect();
            Stretch::covering(&ends)
        };
        let (messages, parts) = (stretches(&messages), stretches(&self.spans("part", places)?));
        Ok(messages.into_iter().zip(parts).map(|(messages, parts)| [messages, parts]).collect())
    }

    /// By place of the session, where its rows lie.
    fn spans(&self, table: &str, places: &Places<'_>) -> Result<Vec<Span>, StoreError> {
        let mut spans = vec![Span::default(); places.sessions.len()];
        let mut statement =
            self.db.prepare(&format!("SELECT rowid, session_id FROM {table}")).map_err(|e| self.sql(e))?;
        let mut rows = statement.query([]).map_err(|e| self.sql(e))?;
        while let Some(row) = rows.next().map_err(|e| self.sql(e))? {
            let (Ok(rowid), Ok(id)) = (integer(row, 0, "rowid"), text(row, 1, "session_id")) else { continue };
            if let Some(at) = places.sessions.get(id) {
                spans[*at as usize].join(Span { first: rowid, last: rowid, rows: 1 });
            }
        }
        Ok(spans)
    }

    fn pass(
        &self,
        sweep: &mut Sweep,
        places: &Places<'_>,
        (pass, stretches): (usize, &[[Stretch; 2]]),
        done: &AtomicU64,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), StoreError> {
        let utf8 = self.is_utf8()?;
        let parts_follow = sweep.scope == Scope::All;
        let [messages, parts] = &stretches[pass];
        let pass = u32::try_from(pass).unwrap_or(u32::MAX);
        let rows = Rows { places, pass, fresh: messages.fresh, utf8 };
        let walks = self.both("message", messages, progress, done, |db, range, tick| {
            walk_messages(db, range, &rows, parts_follow, tick)
        })?;
        let mut strays = Vec::new();
        for walk in walks {
            for (mine, theirs) in sweep.outlines.iter_mut().zip(walk.outlines) {
                match (mine, theirs) {
                    (Some(mine), Some(theirs)) => mine.join(&theirs),
                    (mine, Some(theirs)) => *mine = Some(theirs),
                    (_, None) => {}
                }
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
        if parts_follow {
            let tables = &sweep.messages;
            let rows = Rows { fresh: parts.fresh, ..rows };
            let walks =
                self.both("part", parts, progress, done, |db, range, tick| walk_parts(db, range, tables, &rows, tick))?;
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
                        && let Some(Some(outline)) = sweep.outlines.get_mut(session as usize)
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
            } else if table == "part"
                && let Some((message, session)) = self.owner(rowid)?
                && let Some(at) = places.sessions.get(session.as_str())
                && places.passes.get(*at as usize).is_some_and(|pass| !stretches[*pass as usize][1].holds(rowid))
            {
                // It hangs on a message of another session than it says, whose pass does not come by here: that
                // session's own history has to tell.
                sweep.loud.entry(*at).or_default().insert(message);
                sweep.risks.entry(*at).or_default().suspect = true;
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
        let last = sweep.outline(at).map_or("", Outline::last);
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

    /// The message that a part hangs on, and its session.
    fn owner(&self, part: i64) -> Result<Option<(String, String)>, StoreError> {
        self.db
            .prepare_cached(
                "SELECT m.id, m.session_id FROM part p JOIN message m ON m.id = p.message_id WHERE p.rowid = ?1",
            )
            .and_then(|mut found| found.query_row([part], |row| Ok((row.get(0)?, row.get(1)?))).optional())
            .map_err(|e| self.sql(e))
    }

    /// Runs `walk` over a stretch of a table: in two halves at the same time, where a second connection is sure to
    /// see the same state of the store.
    fn both<T: Send>(
        &self,
        table: &str,
        stretch: &Stretch,
        progress: &mut dyn FnMut(u64),
        done: &AtomicU64,
        walk: impl Fn(&Connection, (i64, i64), &mut dyn FnMut(u64)) -> rusqlite::Result<T> + Sync,
    ) -> Result<Vec<T>, StoreError> {
        let (first, last): (Option<i64>, Option<i64>) = self
            .db
            .query_row(&format!("SELECT min(rowid), max(rowid) FROM {table}"), [], |row| Ok((row.get(0)?, row.get(1)?)))
            .map_err(|e| self.sql(e))?;
        let (Some(first), Some(last)) = (first, last) else { return Ok(Vec::new()) };
        let (first, last) = (first.max(stretch.first), last.min(stretch.last));
        if first > last {
            return Ok(Vec::new());
        }
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
    fresh: i64,
    utf8: bool,
}

/// A message's columns, its value only where that is on the row's own page, and a number where it is no text.
const MESSAGES: &str = "SELECT rowid, id, session_id, time_created, time_updated, octet_length(data), \
     CASE WHEN octet_length(data) <= 3900 THEN data WHEN typeof(data) <> 'text' THEN 0 END FROM message";

fn walk_messages(
    db: &Connection,
    range: (i64, i64),
    rows: &Rows<'_>,
    parts_follow: bool,
    tick: &mut dyn FnMut(u64),
) -> rusqlite::Result<MessageWalk> {
    let Rows { places, pass, fresh, utf8 } = rows;
    let mut out = MessageWalk {
        outlines: vec![None; places.sessions.len()],
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
            Whose::Nobody if rowid >= *fresh => None,
            Whose::Other | Whose::Nobody => continue,
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
                let rests = out.outlines[session as usize].get_or_insert_default().add(id, time, &fact);
                if parts_follow {
                    out.table.push(places.hasher.hash_one(id), session, rests);
                }
                continue;
            }
        }
        let mut found = whole.query([rowid])?;
        let Some(row) = found.next()? else { continue };
        let message = read_message(db, row, *utf8)?;
        if let Ok(message) = &message {
            refused(message, &mut out.refusing);
        }
        let Some(session) = session else {
            out.strays.push(rowid);
            continue;
        };
        let rests = match &message {
            Ok(message) => out.outlines[session as usize].get_or_insert_default().add_message(message),
            Err(error) => {
                let session_id = text(row, 2, "session_id").ok();
                out.unreadable.push((Some(session), bad_row("message", row, session_id, error)));
                false
            }
        };
        if parts_follow && let Ok(id) = id {
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
        && !refusing.contains(a.model.as_ref())
    {
        refusing.push(ModelRef::clone(&a.model));
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
    let Rows { places, pass, fresh, utf8 } = rows;
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
            if rowid >= *fresh {
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
                Whose::Other => false,
                Whose::Nobody => rowid >= *fresh,
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
                match part_row(db, row, *utf8)? {
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
        out.ends(fact.end, hash, session, text(row, 1, "id").unwrap_or_default());
        out.calls.extend(fact.call.map(|id| (session, id)));
        if fact.kind == FactKind::Loud {
            out.loud.entry(session).or_default().insert(message.to_owned());
        }
    }
    tick(seen % STRIDE);
    for (_, session) in std::mem::take(&mut out.thinking).into_values() {
        out.risks.entry(session).or_default().suspect = true;
    }
    Ok(out)
}

impl PartWalk {
    /// Takes note of what an answer ends with so far. Its parts are replayed by their ids, and mostly lie in that order.
    fn ends(&mut self, end: End, message: u64, session: u32, id: &str) {
        match end {
            End::Silent => {}
            End::Thinks => drop(self.thinking.insert(message, (id.to_owned(), session))),
            End::Speaks => {
                if self.thinking.get(&message).is_some_and(|(thought, _)| id > thought.as_str()) {
                    self.thinking.remove(&message);
                }
            }
            // What stands before the results of the block's calls is a message of its own.
            End::Start if self.thinking.contains_key(&message) => {
                self.risks.entry(session).or_default().suspect = true;
            }
            End::Start => {}
        }
    }
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
