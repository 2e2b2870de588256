//! The plan: each row edit with what the row must be before and is to be after. What is shown is this very
//! value, and this very value is executed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::change::{Change, apply_change};
use super::mend::{Leaves, Mended, mend};
use super::proof::{
    Check, Difference, Mending, blocked, differ, finds_the_same, prove, prove_mended, unchanged, worse,
};
use super::steps::{Next, next, settled_tools, touches_revert};
use super::{Allowed, Rows};
use crate::diagnosis::{Code, LeftReason};
use crate::history::{Message, Part, PartKind, Session};
use crate::replay::{RULE_SETS, RuleSet, Sdk};

/// All edits of a repair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Plan {
    /// Session by session.
    pub sessions: Vec<SessionPlan>,
}

/// The edits of one session, in the order in which they are made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionPlan {
    /// The session.
    pub id: String,
    /// Its edits.
    pub edits: Vec<RowEdit>,
    /// Why its event log is left alone, where it has one that did not tell of its rows before either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_left_alone: Option<String>,
    /// What the model is no longer sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leaves: Vec<Leaves>,
    /// The next prompt sends one assistant's turn less, or more than one: turns in which nothing was sent, neither a word
    /// nor a call nor any of a provider's metadata.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub empty_answers: bool,
}

/// What is done to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema, Deserialize, strum::Display)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Op {
    /// Columns are set.
    Update,
    /// The row is made.
    Insert,
    /// The row is removed.
    Delete,
}

/// One row edit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowEdit {
    /// What is done.
    pub op: Op,
    /// `message` or `part`.
    pub table: String,
    /// The row's primary key.
    pub id: String,
    /// Every column before; `None` for an insert.
    pub before: Option<Image>,
    /// Every column after; `None` for a delete.
    pub after: Option<Image>,
    /// The finding's code.
    pub reason: String,
}

/// A row: column name to value, `rowid` among them where it is known.
pub type Image = BTreeMap<String, Cell>;

/// A value of a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cell {
    /// An integer.
    Int(i64),
    /// Nothing.
    Null,
    /// A text.
    Text(String),
    /// A text that is not in memory: it is guarded by its size in bytes and its SHA-256, and stays as it is.
    Kept {
        /// Size in bytes.
        bytes: u64,
        /// SHA-256 in hex.
        sha256: String,
    },
}

/// A session that a repair leaves, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Left {
    /// The session.
    pub id: String,
    /// Why.
    pub reason: LeftReason,
    /// What stood in the way, in words.
    pub detail: String,
}

/// SHA-256 of a row's JSON in hex.
#[must_use]
pub fn digest(data: &str) -> String {
    hex(&sha256(data))
}

/// SHA-256 of a row's JSON.
#[must_use]
pub fn sha256(data: &str) -> [u8; 32] {
    Sha256::digest(data).into()
}

/// Bytes as hex digits.
#[must_use]
pub fn hex(digest: &[u8]) -> String {
    digest.iter().map(|b| format!("{b:02x}")).collect()
}

/// How many histories are looked at before a session is given up: a repair takes a few changes, each with at
/// most a few alternatives.
const MOST_TRIED: u32 = 256;

/// What a plan for a session is to reach.
#[derive(Debug, Clone, Copy)]
pub struct Aim<'a> {
    /// Its tail resumes.
    pub tail: bool,
    /// So would every history that a revert or fork cuts right before one of these rows.
    pub cuts: &'a [String],
    /// No tool call is stored as still going on.
    pub settled: bool,
    /// No prompt is refused for what was allowed to be taken out, under these rule sets; empty where that is not asked
    /// for.
    pub mended: &'a [&'static RuleSet],
}

impl Aim<'static> {
    /// The tail alone.
    pub const TAIL: Self = Self { tail: true, cuts: &[], settled: false, mended: &[] };
}

/// Plans the repair of one session whose rows were all understood. `now` (ms since the epoch) becomes `time_updated` of
/// every row that changes; `rows` are those that the session was read from.
///
/// Returns the edits and the session as they leave it; no edits when there is nothing to do.
///
/// # Errors
/// The reason for leaving the session as it is.
pub fn plan_session(
    session: &Session,
    sdk: &Sdk,
    aim: Aim<'_>,
    allowed: Allowed,
    now: i64,
    rows: &dyn Rows,
) -> Result<(SessionPlan, Session), Left> {
    let own = plan_for(session, sdk, aim, allowed, now, rows);
    if allowed.unmeasured {
        return own;
    }
    // Where nobody knows the package, all that were measured have to come to the same.
    for other in sdk.candidates().iter().skip(1) {
        let theirs = plan_for(session, other, aim, allowed, now, rows);
        let same = match (&own, &theirs) {
            (Ok((own, _)), Ok((theirs, _))) => own.edits == theirs.edits,
            (Err(own), Err(theirs)) => own.reason == theirs.reason,
            _ => false,
        };
        if !same {
            let reason = LeftReason::UnmeasuredPackage;
            return Err(Left { id: session.info.id.clone(), reason, detail: reason.description().to_owned() });
        }
    }
    own
}

fn plan_for(
    session: &Session,
    sdk: &Sdk,
    aim: Aim<'_>,
    allowed: Allowed,
    now: i64,
    rows: &dyn Rows,
) -> Result<(SessionPlan, Session), Left> {
    let left = |reason: LeftReason, detail: String| Left { id: session.info.id.clone(), reason, detail };
    // First for every package, so that the repair outlives a change of provider; else for the session's own.
    let both = [sdk.clone(), Sdk::keeping()];
    let original = session;
    let (mended, Mended { reasons, leaves }) = if aim.mended.is_empty() {
        (session.clone(), Mended::default())
    } else {
        mend(session, sdk, aim.mended, allowed, rows).map_err(|why| left(why, why.description().to_owned()))?
    };
    // From here on what was taken out is gone: nothing else may change.
    let session = &mended;
    let mut at: Reached = (session.clone(), reasons);
    let tail = aim.tail || (!leaves.is_empty() && blocked(session, sdk).is_some() && worse(original, session, sdk));
    if tail {
        at = reach(&at, None, &both, allowed, rows)
            .or_else(|_| reach(&at, None, &both[..1], allowed, rows))
            .map_err(|reason| left(reason, reason.description().to_owned()))?;
    }
    // A buried turn that cannot be helped is no reason to leave the rest.
    for cut in aim.cuts {
        if let Ok(further) = reach(&at, Some(cut), &both[..1], allowed, rows)
            && !worse(&at.0, &further.0, sdk)
        {
            at = further;
        }
    }
    if aim.settled {
        at = settle_tools(session, at, sdk, allowed, rows);
    }
    let (after, reasons) = at;
    let check = if tail {
        prove(session, &after, sdk, allowed).err()
    } else {
        unchanged(session, &after, &both[..1], allowed).or(worse(session, &after, sdk).then_some(Check::Tail))
    };
    let hides = || (!finds_the_same(session, &after, sdk)).then_some(Check::Findings);
    if let Some(check) = check.or_else(hides) {
        return Err(left(reason_of(check), format!("not so: {check}")));
    }
    let mending = Mending { leaves: &leaves, counting: aim.mended };
    if let Some(check) =
        (!leaves.is_empty()).then(|| prove_mended(original, &after, sdk, allowed, mending).err()).flatten()
    {
        return Err(left(reason_of(check), format!("not so: {check}")));
    }
    let edits = diff(original, &after, &reasons, now, rows)
        .map_err(|row| left(LeftReason::Unreadable, format!("{row} cannot be read")))?;
    let newest = &RULE_SETS[RULE_SETS.len() - 1];
    let empty_answers = differ(original, &after, newest, sdk) == Difference::EmptyAnswers;
    Ok((SessionPlan { id: session.info.id.clone(), edits, log_left_alone: None, leaves, empty_answers }, after))
}

/// A history on its way, and the reason for each row that was touched so far.
type Reached = (Session, BTreeMap<String, Code>);

fn reach(
    from: &Reached,
    cut: Option<&str>,
    sdks: &[Sdk],
    allowed: Allowed,
    rows: &dyn Rows,
) -> Result<Reached, LeftReason> {
    let mut search = Search { cut, sdks, allowed, rows, tried: 0, refused: None };
    search.from(&from.0, &from.1).ok_or(search.refused.unwrap_or(LeftReason::NoLosslessEdit))
}

/// The search for a way: proposals in their order, depth first, every step proven against the original.
struct Search<'a> {
    /// Look at the history before this row instead of the whole.
    cut: Option<&'a str>,
    sdks: &'a [Sdk],
    allowed: Allowed,
    rows: &'a dyn Rows,
    tried: u32,
    /// Why the first way that was tried came to an end.
    refused: Option<LeftReason>,
}

impl Search<'_> {
    fn next(&self, now: &Session) -> Next {
        let Some(at) = self.cut.and_then(|id| now.messages.iter().position(|m| m.row.id == id)) else {
            return next(now, self.sdks, self.rows);
        };
        let mut before = now.clone();
        before.info.revert = None;
        before.messages.truncate(at);
        match next(&before, self.sdks, self.rows) {
            Next::Try(changes) => Next::Try(changes.into_iter().filter(|c| !touches_revert(now, c)).collect()),
            other => other,
        }
    }

    fn from(&mut self, now: &Session, reasons: &BTreeMap<String, Code>) -> Option<Reached> {
        let candidates = match self.next(now) {
            Next::Resumes => return Some((now.clone(), reasons.clone())),
            Next::Leave(reason) => {
                self.refused.get_or_insert(reason);
                return None;
            }
            Next::Try(candidates) => candidates,
        };
        for change in candidates.into_iter().filter(|change| !leaves_dangling(now, change)) {
            self.tried += 1;
            if self.tried > MOST_TRIED {
                return None;
            }
            let Ok(after) = apply_change(now, &change) else { continue };
            // What is proven of each step holds for all of them together: every proof says that two things are equal.
            if let Some(check) = unchanged(now, &after, self.sdks, self.allowed) {
                self.refused.get_or_insert(reason_of(check));
                continue;
            }
            let mut reasons = reasons.clone();
            for id in change.messages() {
                reasons.insert(id.to_owned(), change.reason());
            }
            if let Some(reached) = self.from(&after, &reasons) {
                return Some(reached);
            }
        }
        None
    }
}

/// Whether the change removes a row that one which stays names: an answer its prompt, a compaction where the
/// history that it keeps begins. opencode's clients show an answer under the prompt that it names.
fn leaves_dangling(now: &Session, change: &Change) -> bool {
    let Change::Remove { id, .. } = change else { return false };
    let names =
        |part: &Part| matches!(&part.kind, PartKind::Compaction { tail_start_id: Some(tail) } if **tail == **id);
    now.messages
        .iter()
        .filter(|m| m.row.id != *id)
        .any(|m| m.assistant().is_some_and(|a| a.parent_id.as_deref() == Some(id)) || m.parts.iter().any(names))
}

/// Settles every tool call that is stored as still going on, where the next prompt stays the same.
fn settle_tools(original: &Session, mut at: Reached, sdk: &Sdk, allowed: Allowed, rows: &dyn Rows) -> Reached {
    for change in settled_tools(&at.0, rows) {
        let Ok(after) = apply_change(&at.0, &change) else { continue };
        if touches_revert(original, &change) || unchanged(&at.0, &after, std::slice::from_ref(sdk), allowed).is_some() {
            continue;
        }
        for id in change.messages() {
            at.1.insert(id.to_owned(), change.reason());
        }
        at.0 = after;
    }
    at
}

fn reason_of(check: Check) -> LeftReason {
    match check {
        Check::Tasks => LeftReason::PendingTask,
        Check::Overflow => LeftReason::NearWindow,
        Check::Prompt | Check::Cut => LeftReason::WouldChangePrompt,
        Check::Tail | Check::Totals => LeftReason::NoLosslessEdit,
        Check::Request => LeftReason::NoMend,
        Check::Findings => LeftReason::WouldHideRefusal,
    }
}

/// Prompts up to this size are in a plan whole where they are removed, in bytes; larger ones by size and hash.
const LARGE: u64 = 1 << 20;

type Histories<'a> = HashMap<&'a str, &'a Rc<Message>>;

fn by_id(session: &Session) -> Histories<'_> {
    session.messages.iter().map(|m| (m.id(), m)).collect()
}

/// The messages that the other history does not share: all others are the same in both.
fn own<'a>(session: &'a Session, other: &Histories<'_>) -> Vec<&'a Message> {
    let shared = |m: &&Rc<Message>| other.get(m.id()).is_some_and(|o| Rc::ptr_eq(m, o));
    session.messages.iter().filter(|m| !shared(m)).map(Rc::as_ref).collect()
}

/// What a row was, as it is stored.
struct Stored<'a>(&'a dyn Rows);

impl Stored<'_> {
    fn row(&self, table: &str, id: &str) -> Result<Image, String> {
        self.0.image(table, id).ok_or_else(|| format!("{table} {id}"))
    }

    /// The same with its JSON.
    fn message(&self, id: &str) -> Result<Image, String> {
        let data = self.0.message(id).ok_or_else(|| format!("message {id}"))?;
        Ok(with(self.row("message", id)?, [("data", Cell::Text(data))]))
    }

    /// The row of a message that is removed, with its JSON where that is of ordinary size.
    fn removed(&self, message: &Message) -> Result<Image, String> {
        let image = self.row("message", message.id())?;
        match image.get("data") {
            Some(Cell::Kept { bytes, .. }) if *bytes > LARGE && message.user().is_some() => Ok(image),
            _ => self.message(message.id()),
        }
    }
}

/// A row with some of its columns set.
fn with<const N: usize>(mut image: Image, cells: [(&str, Cell); N]) -> Image {
    image.extend(cells.map(|(name, cell)| (name.to_owned(), cell)));
    image
}

fn changed(data: Option<&Arc<str>>) -> Option<Cell> {
    data.map(|data| Cell::Text(data.to_string()))
}

/// The row edits that lead from `before` to `after`: new messages first, then moved parts, changed messages,
/// and what is removed, parts before their message.
///
/// # Errors
/// The row that cannot be read.
fn diff(
    before: &Session,
    after: &Session,
    reasons: &BTreeMap<String, Code>,
    now: i64,
    rows: &dyn Rows,
) -> Result<Vec<RowEdit>, String> {
    let reason = |id: &str| reasons.get(id).copied().unwrap_or(Code::UnfinishedTextTail).to_string();
    let edit = |op, table: &str, id: &str, before, after, why: &str| RowEdit {
        op,
        table: table.to_owned(),
        id: id.to_owned(),
        before,
        after,
        reason: reason(why),
    };
    let stored = Stored(rows);
    let mut edits = Vec::new();
    let (old, new) = (by_id(before), by_id(after));
    let (was, is) = (own(before, &new), own(after, &old));
    let old_parts: HashMap<&str, &str> =
        was.iter().flat_map(|m| m.parts.iter().map(|part| (part.id(), m.id()))).collect();
    for message in is.iter().filter(|m| !old.contains_key(m.id())) {
        let row = &message.row;
        let cells = [
            ("id", Cell::Text(row.id.clone())),
            ("session_id", Cell::Text(row.session_id.to_string())),
            ("time_created", Cell::Int(row.time_created)),
            ("time_updated", Cell::Int(now)),
            ("data", changed(message.changed.as_ref()).ok_or_else(|| format!("message {}", row.id))?),
        ];
        edits.push(edit(Op::Insert, "message", message.id(), None, Some(with(Image::new(), cells)), message.id()));
    }
    for message in &is {
        for part in &message.parts {
            let moved = old_parts.get(part.id()).is_some_and(|from| *from != message.id());
            if !old_parts.contains_key(part.id()) || !(moved || part.changed.is_some()) {
                continue;
            }
            let was = stored.row("part", part.id())?;
            let owner = Cell::Text(message.row.id.clone());
            let mut is = with(was.clone(), [("message_id", owner), ("time_updated", Cell::Int(now))]);
            is.extend(changed(part.changed.as_ref()).map(|data| ("data".to_owned(), data)));
            edits.push(edit(Op::Update, "part", part.id(), Some(was), Some(is), message.id()));
        }
    }
    for message in is.iter().filter(|m| old.contains_key(m.id())) {
        let Some(data) = changed(message.changed.as_ref()) else { continue };
        let was = stored.message(message.id())?;
        if was.get("data") != Some(&data) {
            let is = with(was.clone(), [("time_updated", Cell::Int(now)), ("data", data)]);
            edits.push(edit(Op::Update, "message", message.id(), Some(was), Some(is), message.id()));
        }
    }
    let kept: HashSet<&str> = is.iter().flat_map(|m| &m.parts).map(Part::id).collect();
    for message in was.iter().filter(|m| new.contains_key(m.id())) {
        for part in message.parts.iter().filter(|p| !kept.contains(p.id())) {
            edits.push(edit(Op::Delete, "part", part.id(), Some(stored.row("part", part.id())?), None, message.id()));
        }
    }
    for message in was.iter().filter(|m| !new.contains_key(m.id())) {
        for part in &message.parts {
            edits.push(edit(Op::Delete, "part", part.id(), Some(stored.row("part", part.id())?), None, message.id()));
        }
        edits.push(edit(Op::Delete, "message", message.id(), Some(stored.removed(message)?), None, message.id()));
    }
    Ok(edits)
}
