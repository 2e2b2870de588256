//! What opencode 2's import of opencode 1's sessions stumbles over (docs/opencode.md §15; read, not measured).
//!
//! The import runs when opencode 2 starts, newest id first, one transaction a session. What it cannot take stops it at
//! that session, on every start, so that no older session ever appears.

pub mod fix;
mod shapes;
pub mod stored;

use std::collections::{HashMap, HashSet};

use super::json::{Members, Raw, Text};
use super::rows::{SessionRow, Undecodable};
use super::shape::Misfit;

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

/// A row of opencode 1's `message`.
#[derive(Debug, Clone, Copy)]
pub struct V1Message<'a> {
    /// `id`.
    pub id: &'a str,
    /// `time_created`, in ms since the epoch.
    pub time_created: i64,
    /// `data`.
    pub data: &'a str,
}

/// A row of opencode 1's `part`.
#[derive(Debug, Clone, Copy)]
pub struct V1Part<'a> {
    /// `id`.
    pub id: &'a str,
    /// `message_id`.
    pub message: &'a str,
    /// `data`.
    pub data: &'a str,
}

/// A session of opencode 1 with all rows that carry its id, in any order.
#[derive(Debug, Clone, Copy)]
pub struct V1Session<'a> {
    /// Its row. `model`, `revert` and the documents are what drizzle reads as JSON.
    pub row: SessionRow<'a>,
    /// Those of [`NEEDED`] that are NULL.
    pub null: &'a [&'static str],
    /// Its messages.
    pub messages: &'a [V1Message<'a>],
    /// Its parts.
    pub parts: &'a [V1Part<'a>],
}

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
pub struct Finding<'a> {
    /// The row: the session's, a message's or a part's.
    pub row: &'a str,
    /// What.
    pub effect: Effect,
}

/// A message that decodes.
struct Known<'a, 's> {
    row: &'s V1Message<'a>,
    data: Members<'a>,
    parts: Vec<KnownPart<'a, 's>>,
}

/// A part that decodes. Its members are read only where they are asked for.
struct KnownPart<'a, 's> {
    row: &'s V1Part<'a>,
    kind: &'static str,
}

impl<'a> KnownPart<'a, '_> {
    fn get(&self, name: &str) -> Option<Raw<'a>> {
        Members::parse(self.row.data)?.get(name)
    }

    fn text(&self, name: &str) -> Option<Text<'a>> {
        self.get(name)?.text()
    }
}

/// The messages that decode, oldest first.
struct Messages<'a, 's> {
    rows: Vec<Known<'a, 's>>,
    /// Their places by their ids.
    places: HashMap<&'a str, usize>,
    /// For each place the first message that says it is its summary.
    summaries: HashMap<usize, usize>,
}

impl<'a, 's> Known<'a, 's> {
    fn is(&self, role: &str) -> bool {
        self.data.text("role").is_some_and(|said| said == *role)
    }

    fn has(&self, kind: &str) -> bool {
        self.of(kind).next().is_some()
    }

    fn of(&self, kind: &str) -> impl Iterator<Item = &KnownPart<'a, 's>> {
        self.parts.iter().filter(move |part| part.kind == kind)
    }

    fn parent(&self) -> Option<Text<'a>> {
        self.data.text("parentID")
    }

    fn flag(&self, name: &str) -> bool {
        self.data.get(name).is_some_and(Raw::is_true)
    }

    fn is_completed(&self) -> bool {
        self.data.get("time").and_then(Raw::members).is_some_and(|time| time.get("completed").is_some())
    }
}

/// Everything that the import does to a session, in the order in which it meets it: what stops it comes first.
#[must_use]
pub fn examine<'a>(session: &V1Session<'a>) -> Vec<Finding<'a>> {
    let mut out = Vec::new();
    let id = session.row.id;
    let mut stop = |stop| out.push(Finding { row: id, effect: Effect::Stops(stop) });
    for name in session.null {
        stop(Stop::Null(name));
    }
    if let Err(Undecodable { why, .. }) = super::decode::columns(&session.row) {
        stop(Stop::Column(why));
    }
    let mut dropped = Vec::new();
    let known = known(session, &mut dropped);
    for at in 0..known.rows.len() {
        examine_message(&known, at, &mut out);
    }
    out.extend(dropped);
    hidden(&known, &mut out);
    out.extend(brought_back(session).map(|effect| Finding { row: id, effect }));
    out
}

/// The messages that decode, oldest first, each with its parts that do; what does not is dropped.
fn known<'a, 's>(session: &'s V1Session<'a>, dropped: &mut Vec<Finding<'a>>) -> Messages<'a, 's> {
    let session_fits = session.row.id.starts_with("ses");
    let mut rows: Vec<Known<'a, 's>> = Vec::new();
    for row in session.messages {
        let fits = session_fits && row.id.starts_with("msg");
        match fitting(fits).and_then(|()| super::decode::document(&shapes::INFO, row.data)) {
            Ok(data) => rows.push(Known { row, data, parts: Vec::new() }),
            Err(misfit) => dropped.push(Finding { row: row.id, effect: Effect::Drops(misfit) }),
        }
    }
    rows.sort_by_key(|known| (known.row.time_created, known.row.id));
    let places: HashMap<&'a str, usize> = rows.iter().enumerate().map(|(at, known)| (known.row.id, at)).collect();
    let ids: HashSet<&str> = session.messages.iter().map(|message| message.id).collect();
    let mut parts: Vec<&V1Part<'a>> = session.parts.iter().collect();
    parts.sort_by_key(|part| part.id);
    for part in parts {
        if !ids.contains(part.message) {
            dropped.push(Finding { row: part.id, effect: Effect::DropsOrphan });
            continue;
        }
        let fits = session_fits && part.id.starts_with("prt") && part.message.starts_with("msg");
        match fitting(fits).and_then(|()| shapes::PART.tag(part.data)) {
            Ok(kind) => {
                if let Some(owner) = places.get(part.message).and_then(|at| rows.get_mut(*at)) {
                    owner.parts.push(KnownPart { row: part, kind });
                }
            }
            Err(misfit) => dropped.push(Finding { row: part.id, effect: Effect::Drops(misfit) }),
        }
    }
    let mut summaries = HashMap::new();
    for (at, known) in rows.iter().enumerate().filter(|(_, known)| known.is("assistant") && known.flag("summary")) {
        if let Some(parent) = known.parent().and_then(|id| places.get(id.decode().as_ref())) {
            summaries.entry(*parent).or_insert(at);
        }
    }
    Messages { rows, places, summaries }
}

fn fitting(ids: bool) -> Result<(), Misfit> {
    if ids { Ok(()) } else { Err(Misfit { place: "id".to_owned(), wanted: "an id with its prefix" }) }
}

/// Whether a message becomes a row of its own: not a compaction without a finished summary, its summary, a subtask, or the
/// answer that a subtask gave.
fn becomes_row(known: &Messages<'_, '_>, at: usize) -> bool {
    let message = &known.rows[at];
    if message.is("user") {
        if message.has("compaction") {
            let summary = known.summaries.get(&at).map(|summary| &known.rows[*summary]);
            return summary.is_some_and(|summary| summary.data.get("error").is_none() && summary.is_completed());
        }
        let mut texts = message.of("text");
        let mut shown = || texts.any(|text| !text.get("ignored").is_some_and(Raw::is_true));
        return !message.has("subtask") || shown() || message.has("file") || message.has("agent");
    }
    let parent = message.parent().and_then(|id| known.places.get(id.decode().as_ref()).copied());
    let parent_has = |kind| parent.is_some_and(|parent| known.rows[parent].has(kind));
    let summary = parent.is_some_and(|parent| known.summaries.get(&parent) == Some(&at)) && parent_has("compaction");
    let task = |tool: &KnownPart<'_, '_>| tool.text("tool").is_some_and(|tool| tool == *"task");
    let subtask = parent_has("subtask") && message.of("tool").any(task);
    !summary && !subtask
}

fn examine_message<'a>(known: &Messages<'a, '_>, at: usize, out: &mut Vec<Finding<'a>>) {
    let message = &known.rows[at];
    if !becomes_row(known, at) {
        return;
    }
    if !message.row.id.starts_with("msg_") {
        out.push(Finding { row: message.row.id, effect: Effect::Stops(Stop::MessageId) });
    }
    if !message.is("user") || message.has("compaction") {
        return;
    }
    for file in message.of("file") {
        let broken = file.text("url").is_some_and(|url| fix::broken_payload(&url.decode()).is_some());
        if broken {
            out.push(Finding { row: file.row.id, effect: Effect::Stops(Stop::BrokenEscape) });
        }
    }
}

/// Answers that never ended, the last row aside.
fn hidden<'a>(known: &Messages<'a, '_>, out: &mut Vec<Finding<'a>>) {
    let rows: Vec<usize> = (0..known.rows.len()).filter(|at| becomes_row(known, *at)).collect();
    let Some((_last, before)) = rows.split_last() else { return };
    for message in before.iter().map(|at| &known.rows[*at]) {
        if message.is("assistant") && !message.is_completed() {
            out.push(Finding { row: message.row.id, effect: Effect::HidesHistory });
        }
    }
}

/// The messages that a staged revert has taken back, and the part's own message in part.
fn brought_back(session: &V1Session<'_>) -> Option<Effect> {
    let revert = Raw::parse(session.row.revert?)?.members()?;
    let named = revert.text("messageID")?;
    let mut rows: Vec<&V1Message<'_>> = session.messages.iter().collect();
    rows.sort_by_key(|row| (row.time_created, row.id));
    let at = rows.iter().position(|row| named == *row.id)?;
    Some(Effect::BringsBack(rows.len() - at))
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
