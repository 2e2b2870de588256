//! What opencode 2's import of opencode 1's sessions stumbles over (docs/opencode.md §16; read, not measured).
//!
//! The import runs in the background when a released program starts, first on an `opencode-next.db`. It empties
//! `event`, then takes each row of `session`, the greatest id first, in a transaction that also stores
//! `{"phase":"sessions","cursor":ID}` under `migration.v1-v2` in `kv`, and in the end stores `{"phase":"completed"}`.
//!
//! - What stops it, at the same session on every start, so that no session with a smaller id ever appears: a prompt's
//!   file whose `data:` URL does not end its header with `;base64` and has a percent escape that `decodeURIComponent`
//!   refuses; a message whose id begins with `msg` and not with `msg_`; NULL in a column of [`NEEDED`]; a column that
//!   is no JSON; a folder that is no absolute path. An `opencode-next.db` without the columns that it expects stops it
//!   before the first.
//! - What it leaves out, and only logs: parts without their message, and what does not decode by opencode 1's schema
//!   (`shapes.rs`; a part's id begins with `prt`).
//! - What it changes: a staged revert is forgotten, and the messages are there again. Open calls become errors; orphans
//!   keep `metadata.interrupted`. Files that are not `data:` become words. The `metadata` of text and thinking becomes
//!   `state`, one level too deep, so signatures and encrypted content are lost to it (reported: opencode's issue
//!   44019). A `system` row at the end tells which tools have other names.
//! - An answer without `time.completed` that is not the last row stays unsettled. A compaction by hand then summarises
//!   only what stands before it, and hides everything after it.

pub mod fix;
mod shapes;

use std::collections::HashMap;
use std::rc::Rc;

use foldhash::fast::RandomState;

use super::json::{Members, Raw};
use super::rows::{SessionRow, Undecodable};
use super::shape::{Misfit, NO_OBJECT};
use crate::history::Places;
use crate::json::Object;

/// The columns of `session` that `session_v2` must have a value in.
pub const NEEDED: [&str; 11] = [
    "slug",
    "directory",
    "version",
    "time_created",
    "time_updated",
    "cost",
    "tokens_input",
    "tokens_output",
    "tokens_reasoning",
    "tokens_cache_read",
    "tokens_cache_write",
];

/// What the import does to a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// It stops here, and no older session is imported.
    Stops(Stop),
    /// It leaves the row out and only logs that.
    Drops(Misfit),
    /// It leaves a part out whose message is not there.
    DropsOrphan,
    /// The answer has no `time.completed` and is not the last row: a `/compact` by hand then summarises only what stands
    /// before it, and everything after it is hidden.
    HidesHistory,
    /// A revert is staged, and forgotten: this many messages that were taken back are there again.
    BringsBack(usize),
}

impl Effect {
    /// The finding's code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Stops(_) => "import-stops",
            Self::Drops(_) | Self::DropsOrphan => "import-drops-row",
            Self::HidesHistory => "import-hides-history",
            Self::BringsBack(_) => "import-forgets-revert",
        }
    }
}

/// Why the import stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// A `data:` URL without base64 has a percent escape that JavaScript cannot decode.
    BrokenEscape,
    /// The id of a message begins with `msg` but not with `msg_`.
    MessageId,
    /// A column that must have a value is NULL.
    Null(&'static str),
    /// A column does not decode.
    Column(Misfit),
}

/// Something that the import does to a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The row: the session's, a message's or a part's.
    pub row: String,
    /// What.
    pub effect: Effect,
}

/// The columns of a session that the import looks at.
#[derive(Debug, Clone, Default)]
pub struct Columns {
    /// `directory`
    pub directory: String,
    /// `model`: JSON.
    pub model: Option<String>,
    /// `revert`: JSON.
    pub revert: Option<String>,
    /// The other columns that hold JSON, by name.
    pub documents: Vec<(&'static str, String)>,
    /// Those of [`NEEDED`] that are NULL.
    pub null: Vec<&'static str>,
}

/// A session of opencode 1 as the import looks at it, row by row: of most rows nothing is kept.
#[derive(Debug, Default)]
pub struct Examination {
    session: String,
    messages: Vec<Seen>,
    /// Where in `messages` an id is.
    places: Places,
    /// The prompt that was named last: its other answers name it as well.
    parent: Option<Rc<str>>,
    dropped_messages: Vec<Finding>,
    dropped_parts: Vec<Finding>,
}

/// A message.
#[derive(Debug)]
struct Seen {
    id: String,
    time_created: i64,
    /// `None` where its JSON does not decode.
    info: Option<Info>,
    holds: Holds,
    /// The parts that stop the import.
    broken: Vec<String>,
}

/// What a message's JSON says.
#[derive(Debug)]
struct Info {
    user: bool,
    parent: Option<Rc<str>>,
    summary: bool,
    failed: bool,
    completed: bool,
}

/// Which parts a message has.
#[derive(Debug, Default)]
struct Holds {
    compaction: bool,
    subtask: bool,
    agent: bool,
    file: bool,
    /// A text that is not ignored.
    words: bool,
    /// A call that started a subagent.
    task: bool,
}

impl Examination {
    /// Begins with a session; then come its messages in any order, then its parts in any order.
    #[must_use]
    pub fn of(session: &str) -> Self {
        Self { session: session.to_owned(), ..Self::default() }
    }

    /// Looks at a row of `message`: its id, `time_created` in ms since the epoch, and its JSON.
    pub fn message(&mut self, id: &str, time_created: i64, data: &str) {
        self.message_of(id, time_created, Object::parse(data).ok().as_ref());
    }

    /// [`Examination::message`], of a row whose JSON is parsed already; `None` for what is no object.
    pub fn message_of(&mut self, id: &str, time_created: i64, data: Option<&Object<'_>>) {
        let fits = self.session.starts_with("ses") && id.starts_with("msg");
        let data = fitting(fits).and_then(|()| {
            let data = Members::of(data.ok_or(NO_OBJECT)?.clone());
            shapes::INFO.check_members(data.object()).map(|()| data)
        });
        if let Err(misfit) = &data {
            self.dropped_messages.push(Finding { row: id.to_owned(), effect: Effect::Drops(misfit.clone()) });
        }
        self.messages.push(Seen {
            id: id.to_owned(),
            time_created,
            info: data.ok().map(|data| Info::of(&data, &mut self.parent)),
            holds: Holds::default(),
            broken: Vec::new(),
        });
    }

    /// Looks at a row of `part`: its id, its message's, and its JSON.
    pub fn part(&mut self, id: &str, message: &str, data: &str) {
        self.part_of(id, message, Object::parse(data).ok().as_ref());
    }

    /// [`Examination::part`], of a row whose JSON is parsed already; `None` for what is no object.
    pub fn part_of(&mut self, id: &str, message: &str, data: Option<&Object<'_>>) {
        let Some(at) = self.places.find(self.messages.len(), |at| &self.messages[at].id, message) else {
            self.dropped_parts.push(Finding { row: id.to_owned(), effect: Effect::DropsOrphan });
            return;
        };
        let fits = self.session.starts_with("ses") && id.starts_with("prt") && message.starts_with("msg");
        let kind = fitting(fits).and_then(|()| {
            let data = data.ok_or(NO_OBJECT)?;
            shapes::PART.tag(data).map(|kind| (kind, Members::of(data.clone())))
        });
        match kind {
            Ok((kind, data)) => self.messages[at].add(id, kind, &data),
            Err(misfit) => {
                self.dropped_parts.push(Finding { row: id.to_owned(), effect: Effect::Drops(misfit) });
            }
        }
    }

    /// Everything that the import does to the session: what stops it comes first.
    #[must_use]
    pub fn findings(mut self, columns: &Columns) -> Vec<Finding> {
        self.messages.sort_by(|a, b| (a.time_created, &a.id).cmp(&(b.time_created, &b.id)));
        let mut out = self.stopped(columns);
        let back = brought_back(columns, &self.messages);
        let known = Known::of(&self.messages);
        let rows: Vec<&Seen> = known.becoming_rows();
        for message in &rows {
            if !message.id.starts_with("msg_") {
                out.push(Finding { row: message.id.clone(), effect: Effect::Stops(Stop::MessageId) });
            }
            if message.is_user() && !message.holds.compaction {
                let stops = |id: &String| Finding { row: id.clone(), effect: Effect::Stops(Stop::BrokenEscape) };
                let mut broken: Vec<&String> = message.broken.iter().collect();
                broken.sort_unstable();
                out.extend(broken.into_iter().map(stops));
            }
        }
        // Answers that never ended, the last row aside.
        let unended = |message: &&&Seen| message.info.as_ref().is_some_and(|info| !info.user && !info.completed);
        let before = rows.split_last().map_or(&[][..], |(_last, before)| before);
        let hides = |message: &&Seen| Finding { row: message.id.clone(), effect: Effect::HidesHistory };
        let hidden: Vec<Finding> = before.iter().filter(unended).map(hides).collect();
        self.dropped_parts.sort_by(|a, b| a.row.cmp(&b.row));
        out.append(&mut self.dropped_messages);
        out.append(&mut self.dropped_parts);
        out.extend(hidden);
        out.extend(back.map(|effect| Finding { row: self.session, effect }));
        out
    }

    /// What in the session's own row stops the import.
    fn stopped(&self, columns: &Columns) -> Vec<Finding> {
        let documents: Vec<(&str, &str)> =
            columns.documents.iter().map(|(name, text)| (*name, text.as_str())).collect();
        let row = SessionRow {
            id: &self.session,
            directory: &columns.directory,
            model: columns.model.as_deref(),
            revert: columns.revert.as_deref(),
            documents: &documents,
            time_suspended: None,
            resume_attempts: 0,
        };
        let column = super::decode::columns(&row).err().map(|Undecodable { why, .. }| Stop::Column(why));
        let stops = columns.null.iter().map(|name| Stop::Null(name)).chain(column);
        stops.map(|stop| Finding { row: self.session.clone(), effect: Effect::Stops(stop) }).collect()
    }
}

impl Seen {
    fn is_user(&self) -> bool {
        self.info.as_ref().is_some_and(|info| info.user)
    }

    fn add(&mut self, id: &str, kind: &str, data: &Members<'_>) {
        match kind {
            "compaction" => self.holds.compaction = true,
            "subtask" => self.holds.subtask = true,
            "agent" => self.holds.agent = true,
            "text" => self.holds.words |= !data.get("ignored").is_some_and(Raw::is_true),
            "tool" => self.holds.task |= data.text("tool").is_some_and(|tool| tool == *"task"),
            "file" => {
                self.holds.file = true;
                if data.text("url").is_some_and(|url| fix::broken_payload(&url.decode()).is_some()) {
                    self.broken.push(id.to_owned());
                }
            }
            _ => {}
        }
    }
}

impl Info {
    fn of(data: &Members<'_>, last: &mut Option<Rc<str>>) -> Self {
        let flag = |name: &str| data.get(name).is_some_and(Raw::is_true);
        let time = data.object().object("time").ok().flatten();
        Self {
            user: data.text("role").is_some_and(|role| role == *"user"),
            parent: data.text("parentID").map(|id| {
                let known = last.take().filter(|known| id == **known);
                Rc::clone(last.insert(known.unwrap_or_else(|| Rc::from(id.decode()))))
            }),
            summary: flag("summary"),
            failed: data.get("error").is_some(),
            completed: time.is_some_and(|time| time.get("completed").is_some()),
        }
    }
}

/// The messages that decode, oldest first.
struct Known<'a> {
    messages: Vec<(&'a Seen, &'a Info)>,
    /// Their places by their ids.
    places: HashMap<&'a str, usize, RandomState>,
    /// For each place the first message that says it is its summary.
    summaries: HashMap<usize, usize, RandomState>,
}

impl<'a> Known<'a> {
    fn of(all: &'a [Seen]) -> Self {
        let messages: Vec<_> = all.iter().filter_map(|seen| Some((seen, seen.info.as_ref()?))).collect();
        let mut known = Self { messages, places: HashMap::default(), summaries: HashMap::default() };
        if !known.messages.iter().any(|(seen, _)| seen.holds.compaction || seen.holds.subtask) {
            // Whose answer one is does not matter.
            return known;
        }
        known.places = known.messages.iter().enumerate().map(|(at, (seen, _))| (seen.id.as_str(), at)).collect();
        for at in 0..known.messages.len() {
            let info = known.messages[at].1;
            if let Some(parent) = known.parent(info).filter(|_| !info.user && info.summary) {
                known.summaries.entry(parent).or_insert(at);
            }
        }
        known
    }

    fn parent(&self, info: &Info) -> Option<usize> {
        self.places.get(info.parent.as_deref()?).copied()
    }

    /// The messages that become rows of their own: not a compaction without a finished summary, its summary, a subtask, or
    /// the answer that a subtask gave.
    fn becoming_rows(&self) -> Vec<&'a Seen> {
        let becomes = |at: &usize| self.becomes_row(*at);
        (0..self.messages.len()).filter(becomes).map(|at| self.messages[at].0).collect()
    }

    fn becomes_row(&self, at: usize) -> bool {
        let (seen, info) = self.messages[at];
        if info.user {
            if seen.holds.compaction {
                let summary = self.summaries.get(&at).map(|summary| self.messages[*summary].1);
                return summary.is_some_and(|summary| !summary.failed && summary.completed);
            }
            return !seen.holds.subtask || seen.holds.words || seen.holds.file || seen.holds.agent;
        }
        let Some(parent) = self.parent(info) else { return true };
        let asked = &self.messages[parent].0.holds;
        let summary = asked.compaction && self.summaries.get(&parent) == Some(&at);
        !(summary || asked.subtask && seen.holds.task)
    }
}

fn fitting(ids: bool) -> Result<(), Misfit> {
    if ids { Ok(()) } else { Err(Misfit { place: "id".to_owned(), wanted: "an id with its prefix" }) }
}

/// The messages that a staged revert has taken back, and the part's own message in part. `messages` are oldest first.
fn brought_back(columns: &Columns, messages: &[Seen]) -> Option<Effect> {
    let revert = Raw::parse(columns.revert.as_deref()?)?.members()?;
    let named = revert.text("messageID")?;
    let at = messages.iter().position(|message| named == *message.id)?;
    Some(Effect::BringsBack(messages.len() - at))
}

/// How far the import has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It is over. Sessions that opencode 1 makes now are never imported.
    Completed,
    /// It is under way, or stands: the last session that was imported.
    Sessions(Option<String>),
}

/// Reads the value of `kv` under the key `migration.v1-v2`; `None` where it tells nothing, so that the import begins anew.
#[must_use]
pub fn state(value: &str) -> Option<State> {
    let members = Raw::parse(value)?.members()?;
    let phase = members.text("phase")?;
    if phase == *"completed" {
        return Some(State::Completed);
    }
    if phase != *"sessions" {
        return None;
    }
    match members.get("cursor") {
        None => Some(State::Sessions(None)),
        Some(cursor) => Some(State::Sessions(Some(cursor.text()?.decode().into_owned()))),
    }
}

/// The session that the import takes next, or stands at: the newest id below the cursor. `ids` are those of `session`, in
/// any order.
#[must_use]
pub fn next<'a>(state: &State, ids: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let State::Sessions(cursor) = state else { return None };
    ids.into_iter().filter(|id| cursor.as_deref().is_none_or(|cursor| *id < cursor)).max()
}
