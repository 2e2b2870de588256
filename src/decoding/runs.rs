//! What makes a prompt fail, or a retry, whatever a version's answers hold. Measured (`fixtures/decoding`).

use super::{ALL, BY_TIME, DECODES, Table};
use crate::json::{Object, truthy};

/// Where a row has to stand for something to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, strum::Display)]
#[strum(serialize_all = "kebab-case")]
pub enum Where {
    /// It does not fail.
    Nowhere,
    /// In a turn before the last.
    Earlier,
    /// In the last turn.
    LastTurn,
    /// In any turn.
    Anywhere,
}

impl Where {
    /// Whether it fails for a row that stands in the last turn, or in an earlier one.
    #[must_use]
    pub fn fails(self, last_turn: bool) -> bool {
        match self {
            Self::Nowhere => false,
            Self::Earlier => !last_turn,
            Self::LastTurn => last_turn,
            Self::Anywhere => true,
        }
    }
}

/// What stands at a member, as JavaScript sees it: nothing below something that is no object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Absent,
    Null,
    Flag,
    Number,
    String,
    Array,
    Object,
}

use Kind::{Absent, Array, Flag, Null, Number, String};

/// A member that the run loop trips over.
pub(super) struct Run {
    table: Table,
    /// The role of a message, the type of a part; empty where it has none.
    word: &'static str,
    /// Where the rule is about one `state.status` alone.
    status: Option<&'static str>,
    pub(super) member: &'static str,
    kinds: &'static [Kind],
    /// The rule holds for generations from the first to before the last.
    generations: (usize, usize),
    /// It does not hold where this member is true.
    unless: Option<&'static str>,
    pub(super) prompt: Where,
    pub(super) retry: Where,
}

const NO_TEXT: &[Kind] = &[Absent, Null, Flag, Number, Array, Kind::Object];
const GONE: &[Kind] = &[Absent, Null];
const NO_METADATA: &[Kind] = &[String, Number, Flag, Array];

const fn of_message(word: &'static str, member: &'static str, kinds: &'static [Kind]) -> Run {
    Run {
        table: Table::Message,
        word,
        status: None,
        member,
        kinds,
        generations: ALL,
        unless: None,
        prompt: Where::Anywhere,
        retry: Where::Nowhere,
    }
}

const fn of_part(word: &'static str, member: &'static str, kinds: &'static [Kind]) -> Run {
    Run { table: Table::Part, ..of_message(word, member, kinds) }
}

pub(super) const RUNS: &[Run] = &[
    // Rows are put in order by `data.time.created`.
    Run { generations: BY_TIME, retry: Where::Earlier, ..of_message("user", "time", GONE) },
    Run { generations: BY_TIME, retry: Where::Anywhere, ..of_message("assistant", "time", GONE) },
    Run { generations: BY_TIME, retry: Where::Anywhere, ..of_message("", "time", GONE) },
    // Not a number: an earlier answer is taken for the newest, and the request ends with it.
    Run {
        generations: BY_TIME,
        prompt: Where::Earlier,
        ..of_message("assistant", "time.created", &[Absent, String, Flag, Array, Kind::Object])
    },
    // The size of the newest answer decides about a compaction.
    Run { unless: Some("tokens.total"), prompt: Where::LastTurn, ..of_message("assistant", "tokens.cache", GONE) },
    // The AI SDK: "The messages do not match the ModelMessage[] schema".
    of_part("text", "text", NO_TEXT),
    of_part("text", "metadata", NO_METADATA),
    of_part("reasoning", "text", NO_TEXT),
    of_part("reasoning", "metadata", &[Null, String, Number, Flag, Array]),
    of_part("file", "mime", NO_TEXT),
    of_part("file", "url", NO_TEXT),
    of_part("file", "filename", &[Null, Flag, Number, Array, Kind::Object]),
    of_part("tool", "callID", NO_TEXT),
    Run { generations: (0, DECODES), status: Some("completed"), ..of_part("tool", "metadata", NO_METADATA) },
    Run {
        generations: (DECODES, usize::MAX),
        status: Some("completed"),
        ..of_part("tool", "metadata", &[String, Number, Flag])
    },
    Run { generations: (0, DECODES), ..of_part("tool", "state", GONE) },
    Run { generations: (DECODES, usize::MAX), retry: Where::LastTurn, ..of_part("tool", "state", GONE) },
    Run { generations: (0, DECODES), status: Some("completed"), ..of_part("tool", "state.time", GONE) },
    Run {
        generations: (DECODES, usize::MAX),
        status: Some("completed"),
        retry: Where::LastTurn,
        ..of_part("tool", "state.time", GONE)
    },
];

impl Run {
    /// Whether a row breaks it.
    pub(super) fn broken(&self, table: Table, word: Option<&str>, row: Option<&Object<'_>>, generation: usize) -> bool {
        let at = |member| row.and_then(|row| at(row, member));
        let (from, to) = self.generations;
        self.table == table
            && self.word == word.unwrap_or_default()
            && (from..to).contains(&generation)
            && self.kinds.contains(&kind(at(self.member)))
            && self.status.is_none_or(|status| is(at("state.status"), status))
            && !self.unless.is_some_and(|member| at(member).is_some_and(truthy))
    }
}

fn is(raw: Option<&str>, word: &str) -> bool {
    raw.is_some_and(|raw| raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"')) == Some(word))
}

/// The raw value at a member of a row.
pub(super) fn at<'a>(row: &Object<'a>, member: &str) -> Option<&'a str> {
    match member.split_once('.') {
        None => row.get(member),
        Some((outer, inner)) => at(&row.object(outer).ok()??, inner),
    }
}

fn kind(raw: Option<&str>) -> Kind {
    match raw {
        None => Absent,
        Some("null") => Null,
        Some("true" | "false") => Flag,
        Some(raw) if raw.starts_with('"') => String,
        Some(raw) if raw.starts_with('[') => Array,
        Some(raw) if raw.starts_with('{') => Kind::Object,
        Some(_) => Number,
    }
}
