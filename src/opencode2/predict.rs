//! What a program of opencode 2 does with a session: when it is resumed, and when it gets a new prompt.

use schemars::JsonSchema;
use serde::Serialize;

use super::decode;
use super::generation::Generation;
use super::history::{self, Entry};
use super::json::Raw;
use super::request::{self, Said, Speaker, Words};
use super::rows::{Message, SessionRow, Undecodable, WaitingRow};
use super::wire::{self, Api, Kind, Role, Turn, Unsendable};

/// The two ways in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The managed service starts again, and the session has a `time_suspended`. There is no other way without a prompt.
    Resume,
    /// A new prompt.
    Prompt,
}

/// A session with its rows.
#[derive(Debug, Clone, Copy)]
pub struct Session<'a> {
    /// Its row.
    pub row: SessionRow<'a>,
    /// Its messages, oldest first.
    pub messages: &'a [Entry<'a>],
    /// What waits in it.
    pub waiting: &'a [WaitingRow<'a>],
}

/// What the configuration says of the model; the store does not know it.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The protocol.
    pub api: Api,
    /// The tokens of its window and of an answer. Without them no compaction for want of room is predicted.
    pub limits: Option<(f64, f64)>,
}

/// What the program does first.
#[derive(Debug)]
pub enum Outcome<'a> {
    /// The session's row, a waiting prompt or a message does not decode: nothing happens, then or ever.
    Unreadable(Undecodable<'a>),
    /// The row that a staged revert names is not there: the prompt fails.
    LostRevert,
    /// It was resumed too often, and is not resumed again.
    GivenUp,
    /// It makes a summary first: one was asked for, or the window is full.
    Compacts,
    /// opencode cannot write the request.
    Fails(Unsendable<'a>),
    /// It sends a request.
    Sends(Vec<Turn<'a>>),
}

/// The one text that is not stored: the notice of a resumed session in released programs.
const NOTICE: &str =
    "The server restarted while you were working. Continue from where you left off without repeating completed work.";

/// What a program does with a session.
#[must_use]
pub fn predict<'a>(generation: &Generation, session: &Session<'a>, target: Target, way: Way) -> Outcome<'a> {
    let given_up = generation.resumes.is_some_and(|most| session.row.resume_attempts >= most);
    if let Err(undecodable) = decode::session(&session.row) {
        return Outcome::Unreadable(undecodable);
    }
    if way == Way::Resume && given_up {
        return Outcome::GivenUp;
    }
    let Some(end) = revert(session, way) else { return Outcome::LostRevert };
    let messages = &session.messages[..session.messages.partition_point(|entry| entry.row.seq < end)];
    let waiting: Vec<WaitingRow<'a>> = session.waiting.iter().filter(|row| row.seq < end).copied().collect();
    let history = match history::load(generation, messages) {
        Ok(history) => history,
        Err(undecodable) => return Outcome::Unreadable(undecodable),
    };
    let compaction = waiting.iter().any(|row| row.kind == "compaction");
    if compaction
        && generation.compacts_at_once
        && history.iter().any(|entry| entry.message(generation).is_ok_and(is_told))
    {
        return Outcome::Compacts;
    }
    let promoted = promoted(&waiting, way);
    if let Some(undecodable) = promoted.iter().find_map(|row| decode::waiting(row).err()) {
        return Outcome::Unreadable(undecodable);
    }
    if target.limits.is_some_and(|limits| is_full(generation, history, limits)) {
        return Outcome::Compacts;
    }
    let model = session.row.model.and_then(decode::model_of);
    let mut said = request::said(generation, history, model);
    said.extend((way == Way::Resume && generation.resume_notice).then(|| made(NOTICE)));
    said.extend(promoted.iter().filter_map(words));
    said.extend((way == Way::Prompt).then(|| made(NEW_PROMPT)));
    wire::turns(generation, target.api, &said).map_or_else(Outcome::Fails, Outcome::Sends)
}

/// What stands for the words of a new prompt.
pub const NEW_PROMPT: &str = "And now?";

fn made<'a, 'h>(words: &'static str) -> Said<'a, 'h> {
    Said::words(Speaker::User, "", Words::Made(words))
}

/// Where the history ends: a prompt carries a staged revert out first, a resumed session does not. `None` if the row
/// that the revert names is missing.
pub(super) fn revert(session: &Session<'_>, way: Way) -> Option<i64> {
    let staged = session.row.revert.and_then(Raw::parse).and_then(|revert| revert.string("messageID"));
    match staged {
        Some(id) if way == Way::Prompt => {
            session.messages.iter().map(|entry| entry.row).find(|row| id == *row.id).map(|row| row.seq)
        }
        _ => Some(i64::MAX),
    }
}

/// The waiting prompts that become part of the history first: all that steer, or else the first that is queued.
fn promoted<'a>(waiting: &[WaitingRow<'a>], way: Way) -> Vec<WaitingRow<'a>> {
    let mut rows: Vec<WaitingRow<'a>> = waiting.iter().filter(|row| row.kind != "compaction").copied().collect();
    rows.sort_by_key(|row| row.seq);
    let steers = way == Way::Prompt || rows.iter().any(|row| row.delivery == Some("steer"));
    rows.retain(|row| row.delivery == Some(if steers { "steer" } else { "queue" }));
    rows.truncate(if steers { usize::MAX } else { 1 });
    rows
}

/// What a waiting prompt says; nothing if it is empty.
fn words<'a, 'h>(row: &WaitingRow<'a>) -> Option<Said<'a, 'h>> {
    let text = Raw::parse(row.data)?.string("text")?;
    (!text.is_empty() || row.kind == "synthetic").then(|| Said::words(Speaker::User, row.id, Words::Row(text)))
}

/// Whether a summary has anything to say of a row.
fn is_told(message: &Message<'_>) -> bool {
    match message {
        Message::User { .. } | Message::AsUser(_) => true,
        Message::Assistant(answer) => !answer.parts.is_empty(),
        _ => false,
    }
}

/// Whether the newest answer that counted its tokens has filled the window.
fn is_full(generation: &Generation, history: &[Entry<'_>], (window, output): (f64, f64)) -> bool {
    let used = history.iter().rev().find_map(|entry| match entry.message(generation) {
        Ok(Message::Assistant(answer)) => answer.tokens,
        _ => None,
    });
    let output = output.min(32_000.0);
    let room = if output > 0.0 { output } else { 20_000.0 };
    window > 0.0 && used.is_some_and(|used| used > 0.0 && used >= window - room)
}

/// Why a service refuses a request, as far as the turns show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Refused {
    /// It ends with the assistant's turn, and the model takes no such request.
    Prefill,
    /// It has no turn at all.
    NoTurns,
    /// Thinking without a signature (Anthropic).
    Unsigned,
    /// Text without a word (Anthropic).
    Blank,
    /// The id of a call twice.
    CallTwice,
    /// The id of a call that is spelled with other letters than Claude takes.
    CallId,
    /// An answer whose last block is thinking (Anthropic).
    EndsWithThinking,
}

/// Whether a request ends with the assistant's turn.
#[must_use]
pub fn ends_with_assistant(turns: &[Turn<'_>]) -> bool {
    turns.last().is_some_and(|turn| turn.role == Role::Assistant)
}

/// A rule of Claude's API that a request breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal<'a> {
    /// Which.
    pub why: Refused,
    /// The row that shows it; empty where none does.
    pub row: &'a str,
}

/// The rule of Claude's API that a request breaks; the first that the service would name.
#[must_use]
pub fn refused<'a>(generation: &Generation, api: Api, turns: &[Turn<'a>]) -> Option<Refusal<'a>> {
    let row = || turns.last().and_then(|turn| turn.blocks.last()).map_or("", |block| block.row);
    if turns.is_empty() {
        return Some(Refusal { why: Refused::NoTurns, row: "" });
    }
    if matches!(api, Api::Responses { .. }) {
        return None;
    }
    if ends_with_assistant(turns) {
        return Some(Refusal { why: Refused::Prefill, row: row() });
    }
    call_refused(generation, turns).or_else(|| blocks_refused(api, turns))
}

fn call_refused<'a>(generation: &Generation, turns: &[Turn<'a>]) -> Option<Refusal<'a>> {
    let mut calls = std::collections::HashSet::new();
    for block in turns.iter().flat_map(|turn| &turn.blocks) {
        let Kind::Call(id) = block.kind else { continue };
        let id = id.decode();
        let spelled = id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
        if id.is_empty() || !spelled && !generation.spells_ids {
            return Some(Refusal { why: Refused::CallId, row: block.row });
        }
        if !calls.insert(id) {
            return Some(Refusal { why: Refused::CallTwice, row: block.row });
        }
    }
    None
}

fn is_empty(block: &wire::Block<'_>) -> bool {
    matches!(block.kind, Kind::Text(words) if words.is_empty())
}

fn blocks_refused<'a>(api: Api, turns: &[Turn<'a>]) -> Option<Refusal<'a>> {
    // Turns of one side that follow each other are one for the service.
    let side = |turn: &Turn<'_>| turn.role == Role::Assistant;
    for message in turns.chunk_by(|a, b| side(a) == side(b)) {
        let blocks = || message.iter().flat_map(|turn| &turn.blocks);
        let at = |why, row: Option<&wire::Block<'a>>| Some(Refusal { why, row: row.map_or("", |block| block.row) });
        let unsigned = |kind: Kind<'_>| matches!(kind, Kind::Thinking(_, s) if s.is_none_or(|s| s.is_empty()));
        let bad = blocks().find(|block| api == Api::Anthropic && unsigned(block.kind));
        if bad.is_some() {
            return at(Refused::Unsigned, bad);
        }
        let texts: Vec<Words<'_>> = blocks()
            .filter_map(|block| match block.kind {
                Kind::Text(words) => Some(words),
                _ => None,
            })
            .collect();
        let mut users = message.iter().filter(|turn| turn.role == Role::User && !turn.blocks.is_empty());
        let empty = match api {
            Api::Anthropic => texts.iter().any(Words::is_empty),
            _ => users.any(|turn| turn.blocks.iter().all(is_empty)),
        };
        if empty || !texts.is_empty() && texts.iter().all(Words::is_blank) {
            return at(Refused::Blank, blocks().find(|block| matches!(block.kind, Kind::Text(_))));
        }
        let last = message.last().and_then(|turn| turn.blocks.last());
        let thinking = last.is_some_and(|block| matches!(block.kind, Kind::Thinking(..)));
        if api == Api::Anthropic && thinking {
            return at(Refused::EndsWithThinking, last);
        }
    }
    None
}
