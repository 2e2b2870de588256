//! What opencode cannot read: which members of which rows a version insists on when it opens a session or goes on with it
//! (docs/opencode.md §13). Rules are data; nothing is read or written here.

mod columns;
pub mod fill;
mod runs;
mod shape;
mod table;

use crate::json::{Name, Object, is_json, string};

pub use columns::{ColumnViolation, Fails, Value, columns, session_violations};
use runs::RUNS;
pub use runs::Where;
pub use shape::Wrong;
use shape::{Check, Member, Shape, Variant};

/// What versions read alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation {
    /// The first version that was looked at.
    pub key: &'static str,
    /// The versions that were measured, in words.
    pub measured: &'static str,
    /// Whether the answer to `GET /session/:id/message` is checked before it is sent.
    pub checks: bool,
}

/// The oldest first.
pub const GENERATIONS: [Generation; 5] = [
    Generation { key: "1.2", measured: "1.2.27, 1.3.0, 1.14.34, 1.14.41", checks: false },
    Generation { key: "1.14.48", measured: "1.14.48", checks: true },
    Generation { key: "1.15.13", measured: "1.15.13", checks: true },
    Generation { key: "1.17.11", measured: "1.17.11, 1.18.14", checks: true },
    Generation { key: "1.18.15", measured: "1.18.20, 1.18.34", checks: true },
];

/// The generation of a version `1.2.3`: the newest whose first version is not later. `None` for what is no version, or
/// is older than all of them. A version between two that were measured may be of either.
#[must_use]
pub fn generation_of(version: &str) -> Option<usize> {
    let numbers = |version: &str| -> Option<Vec<u32>> { version.split('.').map(|word| word.parse().ok()).collect() };
    let version = numbers(version)?;
    GENERATIONS.iter().rposition(|generation| numbers(generation.key).is_some_and(|key| key <= version))
}

/// The generation that first checks its answers.
const DECODES: usize = 1;
/// The one that first stores where an unknown error was logged.
const REFERENCES: usize = 2;
/// The one that first takes a fraction for the time of a prompt.
const FRACTIONS: usize = 3;
/// All of them.
const ALL: (usize, usize) = (0, usize::MAX);
/// Those whose run loop puts rows in order by `data.time.created`.
const BY_TIME: (usize, usize) = (4, usize::MAX);

/// A table whose rows are JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, strum::Display)]
#[strum(serialize_all = "lowercase")]
pub enum Table {
    /// `message`.
    Message,
    /// `part`.
    Part,
}

impl Table {
    /// How the ids of its rows begin.
    #[must_use]
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Message => "msg",
            Self::Part => "prt",
        }
    }

    /// The member that says what a row is, and what it may say.
    fn variants(self) -> (&'static str, &'static [Variant]) {
        match self {
            Self::Message => ("role", table::MESSAGES),
            Self::Part => ("type", table::PARTS),
        }
    }
}

/// A row as it is stored.
#[derive(Debug, Clone, Copy)]
pub struct StoredRow<'a> {
    /// Its table.
    pub table: Table,
    /// Its id.
    pub id: &'a str,
    /// The message's id: its own, or the one that a part hangs on.
    pub message: &'a str,
    /// Its JSON.
    pub data: &'a str,
}

/// A rule that a row breaks, and what fails for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// `agent`, `tokens.cache.read`, `state.attachments.0.url`; `id` for the row's id, empty for the row as a whole.
    pub member: String,
    /// What is wrong with it.
    pub wrong: Wrong,
    /// `GET /session/:id/message` answers an error, so that the session cannot be opened.
    pub open: bool,
    /// A new prompt fails.
    pub prompt: Where,
    /// The newest prompt, sent again, fails. That writes the prompt's row anew, whatever was wrong with it but its id.
    pub retry: Where,
}

impl Violation {
    /// Whether it takes more than the row's own members to see it: a value within a value, or text that is no JSON.
    #[must_use]
    pub fn deep(&self) -> bool {
        self.member.contains('.') || self.wrong == Wrong::Json
    }

    fn new(member: &str, wrong: Wrong, open: bool) -> Self {
        Self { member: member.to_owned(), wrong, open, prompt: Where::Nowhere, retry: Where::Nowhere }
    }
}

/// The rules that a row breaks under a generation (an index of [`GENERATIONS`]), those of which something fails.
/// `data` is the row's JSON.
#[must_use]
pub fn violations(table: Table, id: &str, data: &str, generation: usize) -> Vec<Violation> {
    let checks = GENERATIONS.get(generation).is_some_and(|generation| generation.checks);
    let object = Object::parse(data).ok();
    if object.is_none() && !is_json(data) {
        let mut broken = Violation::new("", Wrong::Json, true);
        (broken.prompt, broken.retry) = (Where::Anywhere, Where::Anywhere);
        return vec![broken];
    }
    let mut out = Vec::new();
    let (name, variants) = table.variants();
    let mut check = Check { generation, found: &mut |member, wrong| out.push(Violation::new(member, wrong, checks)) };
    match &object {
        Some(object) => check.variant("", name, variants, object),
        None => (check.found)("", Wrong::Kind),
    }
    let word = object.as_ref().and_then(|object| object.get(name)).and_then(string);
    for run in RUNS.iter().filter(|run| run.broken(table, word.as_deref(), object.as_ref(), generation)) {
        fails(&mut out, run);
    }
    if !id.starts_with(table.prefix()) {
        // A prompt is sent again by its id, which every version checks.
        let again = if word.as_deref() == Some("user") { Where::LastTurn } else { Where::Nowhere };
        out.push(Violation { retry: again, ..Violation::new("id", Wrong::Prefix, checks) });
    }
    let nothing = |violation: &Violation| {
        (violation.open, violation.prompt, violation.retry) == (false, Where::Nowhere, Where::Nowhere)
    };
    out.retain(|violation| !nothing(violation));
    out
}

/// Notes what a run trips over, at the member that is wrong.
fn fails(out: &mut Vec<Violation>, run: &runs::Run) {
    let within =
        |member: &str| run.member.strip_prefix(member).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    let at = out.iter().position(|violation| within(&violation.member)).unwrap_or_else(|| {
        out.push(Violation::new(run.member, Wrong::Missing, false));
        out.len() - 1
    });
    if let Some(violation) = out.get_mut(at) {
        violation.prompt = violation.prompt.max(run.prompt);
        violation.retry = violation.retry.max(run.retry);
    }
}

/// Whether a row breaks a rule about its own members, told by their names and how their values begin. Nothing is copied: a
/// scan asks this of every row. What is within a value is not looked at, nor whether a number is whole; `true` means that
/// [`violations`] has to tell.
#[must_use]
pub fn breaks(table: Table, row: &Object<'_>) -> bool {
    let (name, variants) = table.variants();
    let tag = Name::of(name);
    let Some(word) = row.get(name) else { return true };
    let known = |variant: &&Variant| word.get(1..word.len().saturating_sub(1)) == Some(variant.word);
    // A word may be spelled with escapes: the whole check tells.
    let Some(variant) = variants.iter().find(known) else { return true };
    let rules = variant.members;
    let (mut seen, mut tags) = (0_u32, 0);
    for entry in row.entries() {
        let Some(at) = rules.iter().position(|rule| entry.is(rule.name)) else {
            tags += usize::from(entry.is(tag));
            continue;
        };
        // Of what stands twice the last counts: the whole check tells.
        if seen & (1 << at) != 0 || !fits(&rules[at], entry.raw().as_bytes()) {
            return true;
        }
        seen |= 1 << at;
    }
    tags > 1 || rules.iter().enumerate().any(|(at, rule)| rule.must && seen & (1 << at) == 0)
}

/// Whether a value is of the kind that a rule asks for, by its first byte.
fn fits(rule: &Member, value: &[u8]) -> bool {
    let Some(first) = value.first() else { return true };
    match rule.shape {
        Shape::Any | Shape::Since(..) => true,
        Shape::Nothing => false,
        Shape::Some => *first != b'n',
        Shape::String | Shape::Words(_) => *first == b'"',
        Shape::Id(prefix) => value.strip_prefix(b"\"").is_some_and(|rest| {
            let length = rest.len().min(prefix.len());
            rest.get(..length) == prefix.as_bytes().get(..length)
        }),
        Shape::Number | Shape::Natural | Shape::PromptTime => *first == b'-' || first.is_ascii_digit(),
        Shape::Flag => matches!(first, b't' | b'f'),
        Shape::List(_) => *first == b'[',
        Shape::Map(_) | Shape::Object(_) | Shape::OneOf(..) => *first == b'{',
    }
}
