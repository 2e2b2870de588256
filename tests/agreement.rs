//! Whether a prediction of `src/opencode2` agrees with what the preview did. Used by both test crates.

use std::path::Path;

use opencode_unstick::opencode2::Words;
use opencode_unstick::opencode2::generation::Generation;
use opencode_unstick::opencode2::history;
use opencode_unstick::opencode2::predict::{self, Outcome, Refused, Session, Target, Way};
use opencode_unstick::opencode2::rows::{MessageRow, SessionRow, WaitingRow};
use opencode_unstick::opencode2::wire::{Api, Block, Kind, Role, Turn};
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

/// The rows of a session, owned.
#[derive(Debug, Default, Clone)]
pub(crate) struct Owned {
    pub(crate) id: String,
    directory: String,
    model: Option<String>,
    revert: Option<String>,
    pub(crate) attempts: i64,
    documents: Vec<(&'static str, String)>,
    /// id, type, seq, time_created, data
    pub(crate) messages: Vec<(String, String, i64, i64, String)>,
    /// id, type, data, delivery, seq
    waiting: Vec<(String, String, String, Option<String>, i64)>,
}

impl Owned {
    /// Asks something of the session.
    pub(crate) fn with<T>(&self, ask: impl FnOnce(&Session<'_>) -> T) -> T {
        let messages = history::entries(self.messages.iter().map(|(id, kind, seq, time_created, data)| MessageRow {
            id,
            kind,
            seq: *seq,
            time_created: *time_created,
            data,
        }));
        let waiting: Vec<WaitingRow<'_>> = self
            .waiting
            .iter()
            .map(|(id, kind, data, delivery, seq)| WaitingRow {
                id,
                kind,
                data,
                delivery: delivery.as_deref(),
                seq: *seq,
            })
            .collect();
        let documents: Vec<(&'static str, &str)> = self.documents.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let row = SessionRow {
            id: &self.id,
            directory: &self.directory,
            model: self.model.as_deref(),
            revert: self.revert.as_deref(),
            documents: &documents,
            time_suspended: None,
            resume_attempts: self.attempts,
        };
        ask(&Session { row, messages: &messages, waiting: &waiting })
    }
}

pub(crate) fn open(store: &Path) -> Connection {
    let uri = format!("file:{}?immutable=1", store.display());
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    Connection::open_with_flags(uri, flags).unwrap_or_else(|error| panic!("{}: {error}", store.display()))
}

fn rows<T>(db: &Connection, query: &str, id: &str, read: impl Fn(&rusqlite::Row<'_>) -> rusqlite::Result<T>) -> Vec<T> {
    let mut statement = db.prepare(query).unwrap();
    statement.query_map([id], |row| read(row)).unwrap().collect::<Result<_, _>>().unwrap()
}

/// All sessions of a store: of the preview's tables, or of those that 2.0.26 has.
pub(crate) fn load(store: &Path) -> Vec<Owned> {
    let db = open(store);
    let has = |table: &str| {
        let found: i64 =
            db.query_row("SELECT count(*) FROM sqlite_master WHERE name = ?", [table], |row| row.get(0)).unwrap();
        found > 0
    };
    let (table, attempts) = if has("session_v2") { ("session_v2", "resume_attempts") } else { ("session", "0") };
    let waiting = if has("session_inbox") {
        "SELECT id, type, payload, delivery, enqueued_seq FROM session_inbox WHERE session_id = ?"
    } else {
        "SELECT id, type, data, delivery, admitted_seq FROM session_pending WHERE session_id = ?"
    };
    let query = format!("SELECT id, directory, model, revert, {attempts} FROM {table} WHERE id >= ? ORDER BY id");
    let mut sessions = rows(&db, &query, "", |row| {
        Ok(Owned {
            id: row.get(0)?,
            directory: row.get(1)?,
            model: row.get(2)?,
            revert: row.get(3)?,
            attempts: row.get(4)?,
            ..Owned::default()
        })
    });
    for session in &mut sessions {
        for name in ["metadata", "permission", "summary_diffs"] {
            let query = format!("SELECT {name} FROM {table} WHERE id = ? AND {name} IS NOT NULL");
            let found: Vec<String> = rows(&db, &query, &session.id, |row| row.get(0));
            session.documents.extend(found.into_iter().map(|value| (name, value)));
        }
        let query = "SELECT id, type, seq, time_created, data FROM session_message WHERE session_id = ?";
        session.messages =
            rows(&db, query, &session.id, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)));
        session.waiting = rows(&db, waiting, &session.id, |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
        });
    }
    sessions
}

/// A turn of a request as a line, for comparison.
fn seen_turn(api: Api, turn: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut blocks: Vec<String> = Vec::new();
    if let Some(reasoning) = turn["reasoning_content"].as_str() {
        blocks.push(format!("thinking {reasoning:?}"));
    }
    match &turn["content"] {
        Value::String(content) if turn["role"] != "tool" => blocks.push(format!("text {content:?}")),
        Value::Array(content) => {
            blocks.extend(content.iter().map(|block| match block["type"].as_str().unwrap_or("?") {
                "text" | "input_text" | "output_text" => format!("text {:?}", text(&block["text"])),
                "thinking" => {
                    format!("thinking {:?} signature {:?}", text(&block["thinking"]), block["signature"].as_str())
                }
                "redacted_thinking" => "encrypted".to_owned(),
                "tool_use" => format!("call {}", text(&block["id"])),
                "server_tool_use" => format!("hosted call {}", text(&block["id"])),
                "tool_result" => format!("result {} {}", text(&block["tool_use_id"]), block["is_error"] == true),
                kind if kind.ends_with("_tool_result") => format!("hosted result {}", text(&block["tool_use_id"])),
                "image" | "document" | "image_url" | "input_image" | "input_file" => "media".to_owned(),
                other => panic!("a block of type {other}"),
            }));
        }
        _ => {}
    }
    for call in turn["tool_calls"].as_array().into_iter().flatten() {
        blocks.push(format!("call {}", text(&call["id"])));
    }
    match turn["type"].as_str() {
        Some("function_call") => blocks.push(format!("call {}", text(&turn["call_id"]))),
        Some("function_call_output") => blocks.push(format!("result {}", text(&turn["call_id"]))),
        Some("reasoning" | "item_reference") => blocks.push("encrypted".to_owned()),
        _ => {}
    }
    let role = match (turn["role"].as_str(), api) {
        (Some("tool"), _) => {
            blocks = vec![format!("result {}", text(&turn["tool_call_id"]))];
            "tool"
        }
        (Some(role), _) => role,
        (None, _) => "item",
    };
    format!("{role}: {}", blocks.join(" | "))
}

fn predicted_turn(api: Api, turn: &Turn<'_>) -> String {
    let id = |text: opencode_unstick::opencode2::Text<'_>| text.decode().into_owned();
    let words = |words: &Words<'_>| words.render().into_owned();
    let block = |block: &Block<'_>| match block.kind {
        Kind::Text(w) => format!("text {:?}", words(&w)),
        Kind::Media => "media".to_owned(),
        Kind::Thinking(text, signature) => {
            format!("thinking {:?} signature {:?}", text.decode(), signature.map(id).as_deref())
        }
        Kind::Encrypted => "encrypted".to_owned(),
        Kind::Call(call) => format!("call {}", id(call)),
        Kind::HostedCall(call) => format!("hosted call {}", id(call)),
        Kind::Result(call, error) if api == Api::Anthropic => format!("result {} {error}", id(call)),
        Kind::Result(call, _) => format!("result {}", id(call)),
        Kind::HostedResult(call) => format!("hosted result {}", id(call)),
    };
    let role = match turn.role {
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
        Role::Item => "item",
    };
    let media = turn.blocks.iter().any(|block| matches!(block.kind, Kind::Media));
    if api != Api::Chat || turn.role == Role::Tool || media {
        return format!("{role}: {}", turn.blocks.iter().map(block).collect::<Vec<_>>().join(" | "));
    }
    // Chat completions put the texts of a turn together: the user's as they are, the assistant's in lines.
    let texts: Vec<String> = turn
        .blocks
        .iter()
        .filter_map(|block| match &block.kind {
            Kind::Text(w @ Words::Update(_)) if block.row != turn.blocks[0].row => Some(format!("\n{}", words(w))),
            Kind::Text(w) => Some(words(w)),
            _ => None,
        })
        .collect();
    let thoughts: Vec<String> = turn
        .blocks
        .iter()
        .filter_map(|block| match block.kind {
            Kind::Thinking(text, _) => Some(id(text)),
            _ => None,
        })
        .collect();
    let mut out = Vec::new();
    if !thoughts.is_empty() {
        out.push(format!("thinking {:?}", thoughts.concat()));
    }
    if !texts.is_empty() {
        out.push(format!("text {:?}", if turn.role == Role::User { texts.concat() } else { texts.join("\n") }));
    }
    out.extend(turn.blocks.iter().filter(|b| matches!(b.kind, Kind::Call(_))).map(block));
    format!("{role}: {}", out.join(" | "))
}

/// In the words of verdicts.json.
fn outcome(outcome: &Outcome<'_>) -> &'static str {
    match outcome {
        Outcome::Unreadable(_) | Outcome::LostRevert | Outcome::Fails(_) => "failed",
        Outcome::GivenUp => "no request",
        Outcome::Compacts => "compacts",
        Outcome::Sends(turns) if turns.is_empty() => "no turns",
        Outcome::Sends(turns) if predict::ends_with_assistant(turns) => "ends with assistant",
        Outcome::Sends(_) => "ends with user",
    }
}

/// Words of the service's refusal for each rule.
fn refusal(refused: Refused) -> &'static [&'static str] {
    match refused {
        Refused::Prefill => &["assistant message prefill"],
        Refused::NoTurns => &["at least one message", "Missing required parameter: 'input'"],
        Refused::Unsigned => &["signature"],
        Refused::Blank => &["non-whitespace", "must be non-empty", "must have non-empty content"],
        Refused::CallTwice => &["ids must be unique"],
        Refused::CallId => &["should match pattern"],
        Refused::EndsWithThinking => &["cannot be `thinking`"],
    }
}

/// What is wrong with a prediction; nothing if it agrees with what was seen.
pub(crate) fn disagreement(
    generation: &Generation,
    session: &Session<'_>,
    api: Api,
    way: Way,
    seen: &Value,
) -> Option<String> {
    // A session without a model gets the configuration's.
    let api = if session.row.model == Some("null") { Api::Anthropic } else { api };
    let target = Target { api, limits: Some((200_000.0, 8_000.0)) };
    let predicted = predict::predict(generation, session, target, way);
    let said = seen["outcome"].as_str().unwrap();
    if !said.starts_with(outcome(&predicted)) {
        return Some(format!("predicted {predicted:?}, seen {said}"));
    }
    let Outcome::Sends(turns) = &predicted else { return None };
    let ours: Vec<String> = turns.iter().map(|turn| predicted_turn(api, turn)).collect();
    let theirs: Vec<String> = seen["turns"].as_array().into_iter().flatten().map(|turn| seen_turn(api, turn)).collect();
    if ours != theirs {
        return Some(format!("predicted turns\n  {}\nseen\n  {}", ours.join("\n  "), theirs.join("\n  ")));
    }
    let text = seen["refused"].as_str();
    let refused = predict::refused(generation, api, turns).map(|refusal| refusal.why);
    let agree = match (refused, text) {
        (None, None) => true,
        // Only the service knows whether a signature or encrypted content is its own.
        (None, Some(theirs)) => theirs.contains("Invalid `signature`") || theirs.contains("encrypted content"),
        (Some(ours), Some(theirs)) => refusal(ours).iter().any(|words| theirs.contains(words)),
        (Some(_), None) => false,
    };
    (!agree).then(|| format!("predicted refusal {refused:?}, seen {text:?}"))
}
