//! Stores that nobody captured: sessions of captured stores, cloned and changed at random near their tails.
//! A seed gives the same rows on every machine.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::types::Value as Column;
use rusqlite::{Connection, params_from_iter};
use serde_json::{Value, json};

use crate::opencode::{MODELS, Version};
use crate::rng::Rng;
use crate::rows::{self, Message, Part, Session};
use crate::setup::{SETUPS, Setup};

/// What was done to a session.
#[derive(Clone, Debug)]
pub(crate) struct Mutant {
    pub(crate) session: Session,
    pub(crate) setup: &'static Setup,
    /// The session that it is a clone of.
    pub(crate) source: String,
    pub(crate) changes: Vec<String>,
}

impl Mutant {
    pub(crate) fn describe(&self) -> String {
        format!("{}, clone of {}: {}", self.setup.package, self.source, self.changes.join("; "))
    }
}

/// `count` changed sessions from `sources` (name, session), the setups in turn.
pub(crate) fn mutants(
    seed: u64,
    count: usize,
    sources: &[(String, Session)],
    setups: &[&'static Setup],
) -> Vec<Mutant> {
    assert!(!sources.is_empty(), "there is no session to change");
    let sound: Vec<&(String, Session)> = sources.iter().filter(|(_, session)| ends_well(session)).collect();
    let mut rng = Rng::new(seed);
    let mut mutants = Vec::new();
    while mutants.len() < count {
        let mut rng = Rng::new(rng.next());
        // Half of them start from sound ends: whether the loop stops there is decided by the most rules.
        let (name, source) = if sound.is_empty() || rng.one_in(2) { rng.choose(sources) } else { *rng.choose(&sound) };
        let setup = setups[mutants.len() % setups.len()];
        let mut mutant = Mutant {
            session: clone(&mut rng, source, setup, mutants.len()),
            setup,
            source: name.clone(),
            changes: Vec::new(),
        };
        let wanted = 1 + rng.below(3);
        for _ in 0..wanted * 3 {
            if mutant.changes.len() < wanted {
                mutant.changes.extend(change(&mut rng, &mut mutant.session, setup));
            }
        }
        settle(&mut rng, &mut mutant.session);
        // Without a user's row there is nothing that RETRY could name.
        let answerable = ["1.18.14", "1.18.15"]
            .iter()
            .all(|version| mutant.session.cut(&Version::new(version)).into_iter().any(Message::is_user));
        if answerable && !mutant.changes.is_empty() {
            mutants.push(mutant);
        }
    }
    mutants
}

/// Whether the newest row is a finished answer.
fn ends_well(session: &Session) -> bool {
    let newest = session.messages.last();
    newest.is_some_and(|message| message.data["finish"] == "stop" && message.data["error"].is_null())
}

/// Puts the mutants into a store, next to what is there.
pub(crate) fn insert(store: &Path, mutants: &[Mutant]) {
    let mut db = rows::open(store);
    let transaction = db.transaction().expect("a transaction");
    let (names, template) = session_row(&transaction);
    let source = match template.get("id") {
        Some(Column::Text(id)) => id.clone(),
        other => panic!("a session's id is {other:?}"),
    };
    for mutant in mutants {
        insert_session(&transaction, &names, template.clone(), &mutant.session);
        rows::write(&transaction, &mutant.session);
        rows::rewrite_log(&transaction, &mutant.session, &source);
    }
    transaction.commit().expect("the mutants are stored");
}

/// A session of the store, column by column.
fn session_row(db: &Connection) -> (Vec<String>, BTreeMap<String, Column>) {
    let mut statement =
        db.prepare("SELECT * FROM session WHERE parent_id IS NULL ORDER BY id LIMIT 1").expect("sessions");
    let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let row = statement.query_row([], |row| {
        names.iter().enumerate().map(|(index, name)| Ok((name.clone(), row.get(index)?))).collect()
    });
    let row = row.expect("a session");
    (names, row)
}

fn insert_session(db: &Connection, names: &[String], mut row: BTreeMap<String, Column>, session: &Session) {
    let mut set = |name: &str, value: Column| {
        if let Some(column) = row.get_mut(name) {
            *column = value;
        }
    };
    set("id", Column::Text(session.id.clone()));
    set("title", Column::Text(session.title.clone()));
    set("slug", Column::Text(session.id.to_lowercase()));
    set("revert", session.revert.as_ref().map_or(Column::Null, |revert| Column::Text(revert.to_string())));
    let sum = |path: &str| -> f64 {
        session.messages.iter().filter_map(|message| message.data.pointer(path).and_then(Value::as_f64)).sum()
    };
    set("cost", Column::Real(sum("/cost")));
    for (column, path) in [
        ("tokens_input", "/tokens/input"),
        ("tokens_output", "/tokens/output"),
        ("tokens_reasoning", "/tokens/reasoning"),
        ("tokens_cache_read", "/tokens/cache/read"),
        ("tokens_cache_write", "/tokens/cache/write"),
    ] {
        set(column, Column::Integer(sum(path) as i64));
    }
    let marks = vec!["?"; names.len()].join(", ");
    let statement = format!("INSERT INTO session ({}) VALUES ({marks})", names.join(", "));
    db.execute(&statement, params_from_iter(names.iter().map(|name| &row[name]))).expect("a session is stored");
}

fn clone(rng: &mut Rng, source: &Session, setup: &'static Setup, number: usize) -> Session {
    let mut text = serde_json::to_string(&json!({
        "id": source.id, "revert": source.revert,
        "messages": source.messages.iter().map(|message| json!({"id": message.id, "time": message.time, "data": message.data,
            "parts": message.parts.iter().map(|part| json!({"id": part.id, "time": part.time, "data": part.data})).collect::<Vec<_>>()
        })).collect::<Vec<_>>(),
    }))
    .expect("rows are JSON");
    let mut ids = vec![source.id.clone()];
    for message in &source.messages {
        ids.push(message.id.clone());
        ids.extend(message.parts.iter().map(|part| part.id.clone()));
    }
    // The time in an id stays, so that the order of the rows does.
    for id in ids {
        text = text.replace(&id, &format!("{}{}", &id[..16], rng.base62(14)));
    }
    for other in &SETUPS {
        text = text.replace(
            &format!("\"providerID\":\"{}\"", other.provider),
            &format!("\"providerID\":\"{}\"", setup.provider),
        );
    }
    let read: Value = serde_json::from_str(&text).expect("rows are JSON");
    let id = |value: &Value| value["id"].as_str().expect("an id").to_owned();
    let time = |value: &Value| value["time"].as_i64().expect("a time");
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let part = |part: &Value| Part { id: id(part), time: time(part), data: part["data"].clone() };
    Session {
        id: id(&read),
        title: format!("mutant-{number}"),
        parent: None,
        revert: Some(read["revert"].clone()).filter(Value::is_object),
        messages: list(&read["messages"])
            .iter()
            .map(|message| Message {
                id: id(message),
                time: time(message),
                data: message["data"].clone(),
                parts: list(&message["parts"]).iter().map(part).collect(),
            })
            .collect(),
    }
}

const NEW: &str = "new";

/// Gives new rows their ids: right after the part before them, so that the order is the one that is meant.
fn settle(rng: &mut Rng, session: &mut Session) {
    for message in &mut session.messages {
        let stem = message.id[4..16].to_owned();
        for index in 0..message.parts.len() {
            if message.parts[index].id != NEW {
                continue;
            }
            let after = message.parts[index + 1..].iter().find(|part| part.id != NEW).map(|part| part.id.clone());
            message.parts[index].id = match (index.checked_sub(1).map(|before| message.parts[before].id.clone()), after)
            {
                (Some(before), _) => successor(&before),
                (None, Some(after)) => format!("prt_{}{}", shifted(&after[4..16], -1), rng.base62(14)),
                (None, None) => format!("prt_{}{}", shifted(&stem, 1), rng.base62(14)),
            };
        }
    }
    session.messages.sort_by(|a, b| (a.time, &a.id).cmp(&(b.time, &b.id)));
}

/// The id with its tail counted up by one.
fn successor(id: &str) -> String {
    const ALPHABET: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut bytes = id.as_bytes().to_vec();
    for byte in bytes.iter_mut().rev() {
        let place = ALPHABET.iter().position(|letter| letter == byte).expect("an id of base62");
        *byte = ALPHABET[(place + 1) % ALPHABET.len()];
        if place + 1 < ALPHABET.len() {
            break;
        }
    }
    String::from_utf8(bytes).expect("base62 is ASCII")
}

/// Twelve hexadecimal digits, moved by some milliseconds' worth of ids.
fn shifted(hex: &str, by: i64) -> String {
    let value = i64::from_str_radix(hex, 16).expect("an id starts with twelve hexadecimal digits");
    format!("{:012x}", (value + by) & 0xffff_ffff_ffff)
}

const MS: i64 = 4096;

fn text(words: &str) -> Value {
    json!({"type": "text", "text": words, "time": {"start": 1, "end": 2}})
}

fn reasoning(words: &str, signed: bool) -> Value {
    let mut part = json!({"type": "reasoning", "text": words, "time": {"start": 1, "end": 2}});
    if signed {
        part["metadata"] = json!({"anthropic": {"signature": "c2ln"}});
    }
    part
}

fn tool(rng: &mut Rng, state: &Value) -> Value {
    json!({"type": "tool", "callID": format!("toolu_{}", rng.base62(10)), "tool": "bash", "state": state})
}

fn completed() -> Value {
    json!({"status": "completed", "input": {"command": "echo ok", "description": "ok"}, "output": "ok\n", "title": "ok",
        "metadata": {"output": "ok\n", "exit": 0}, "time": {"start": 1, "end": 2}})
}

fn orphan(output: Option<&str>) -> Value {
    let mut metadata = json!({"interrupted": true});
    if let Some(output) = output {
        metadata["output"] = json!(output);
    }
    json!({"status": "error", "input": {}, "error": "Tool execution aborted", "metadata": metadata, "time": {"start": 1, "end": 1}})
}

fn step_finish(reason: &str) -> Value {
    json!({"type": "step-finish", "reason": reason, "cost": 0,
        "tokens": {"input": 0, "output": 0, "reasoning": 0, "cache": {"read": 0, "write": 0}}})
}

fn new_part(rng: &mut Rng) -> (String, Value) {
    let (name, part) = match rng.below(22) {
        0 | 1 => ("a text", text("More words.")),
        2 => ("an empty text", text("")),
        3 => ("a blank text", text(" ")),
        4 => ("a text of line breaks", text("\n\n")),
        5 => ("signed reasoning", reasoning("Hmm.", true)),
        6 => ("empty signed reasoning", reasoning("", true)),
        7 => ("unsigned reasoning", reasoning("Hmm.", false)),
        8 => ("empty reasoning", reasoning("", false)),
        9 => ("blank reasoning", reasoning(" ", false)),
        10 => ("an orphan", tool(rng, &orphan(None))),
        11 => ("an orphan with output", tool(rng, &orphan(Some("half of it")))),
        12 => (
            "a failed tool",
            tool(
                rng,
                &json!({"status": "error", "input": {}, "error": "No such file", "time": {"start": 1, "end": 2}}),
            ),
        ),
        13 => (
            "a running tool",
            tool(
                rng,
                &json!({"status": "running", "input": {"command": "sleep 9", "description": "x"}, "time": {"start": 1}}),
            ),
        ),
        14 => ("a pending tool", tool(rng, &json!({"status": "pending", "input": {}, "raw": ""}))),
        15 | 16 => ("a completed tool", tool(rng, &completed())),
        17 => {
            let mut part = tool(rng, &completed());
            part["metadata"] = json!({"providerExecuted": true});
            ("a provider-executed tool", part)
        }
        18 => {
            let mut state = completed();
            state["attachments"] = json!([{"id": "prt_000000000001aaaaaaaaaaaaaa", "sessionID": "ses_x", "messageID": "msg_x",
                "type": "file", "mime": "image/png", "filename": "dot.png", "url": DOT}]);
            ("a tool with an image", tool(rng, &state))
        }
        19 => ("a step's end", step_finish(if rng.one_in(2) { "stop" } else { "tool-calls" })),
        _ => ("a step's start", json!({"type": "step-start"})),
    };
    (name.to_owned(), part)
}

const DOT: &str = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";

fn error(rng: &mut Rng) -> (String, Value) {
    let api = |status: u16, message: &str| {
        json!({"name": "APIError", "data": {"message": message, "statusCode": status, "isRetryable": false,
            "responseHeaders": {"content-type": "application/json"}, "responseBody": json!({"type": "error",
                "error": {"type": "invalid_request_error", "message": message}}).to_string()}})
    };
    let prefill =
        "This model does not support assistant message prefill. The conversation must end with a user message.";
    match rng.below(6) {
        0 | 1 => (
            "MessageAbortedError".to_owned(),
            json!({"name": "MessageAbortedError", "data": {"message": "The operation was aborted."}}),
        ),
        2 | 3 => ("a prefill 400".to_owned(), api(400, prefill)),
        4 => ("another 400".to_owned(), api(400, "prompt is too long")),
        _ => ("UnknownError".to_owned(), json!({"name": "UnknownError", "data": {"message": "Error: it broke"}})),
    }
}

fn assistant(session: &Session, setup: &'static Setup, parent: &str, time: i64) -> Value {
    let like = session.messages.iter().rev().find(|message| !message.is_user());
    let path =
        like.map_or(json!({"cwd": "/home/dev/work", "root": "/home/dev/work"}), |message| message.data["path"].clone());
    json!({"role": "assistant", "parentID": parent, "mode": "build", "agent": "build", "path": path, "cost": 0,
        "tokens": {"input": 0, "output": 0, "reasoning": 0, "cache": {"read": 0, "write": 0}},
        "modelID": MODELS[0], "providerID": setup.provider, "time": {"created": time, "completed": time + 1}})
}

fn user(setup: &'static Setup, time: i64) -> Value {
    json!({"role": "user", "time": {"created": time}, "agent": "build",
        "model": {"providerID": setup.provider, "modelID": MODELS[0]}})
}

/// Makes one change near the tail, where the kind that was drawn fits.
fn change(rng: &mut Rng, session: &mut Session, setup: &'static Setup) -> Option<String> {
    let count = session.messages.len();
    let near = count.saturating_sub(3);
    let any = (count > 0).then(|| near + rng.below(count - near))?;
    let assistants: Vec<usize> = (near..count).filter(|index| !session.messages[*index].is_user()).collect();
    let users: Vec<usize> = (0..count).filter(|index| session.messages[*index].is_user()).collect();
    // The newest assistant's row is where it matters most.
    let newest = assistants.last().copied().map(|last| if rng.one_in(3) { *rng.choose(&assistants) } else { last });
    let back = |index: usize| format!("row {} from the end", count - 1 - index);
    match rng.below(28) {
        0 | 1 => {
            let index = newest?;
            let finish = *rng.choose(&["stop", "stop", "tool-calls", "unknown", "length", "other", "content-filter"]);
            session.messages[index].data["finish"] = json!(finish);
            Some(format!("finish of {} is {finish}", back(index)))
        }
        2 | 3 => {
            let index = newest?;
            session.messages[index].data.as_object_mut()?.remove("finish")?;
            Some(format!("no finish in {}", back(index)))
        }
        4 | 5 => {
            let index = newest?;
            let (name, error) = error(rng);
            session.messages[index].data["error"] = error;
            Some(format!("{name} in {}", back(index)))
        }
        6 => {
            let index = newest?;
            session.messages[index].data.as_object_mut()?.remove("error")?;
            Some(format!("no error in {}", back(index)))
        }
        7 | 8 => {
            let parts = &mut session.messages[any].parts;
            let place = (!parts.is_empty()).then(|| rng.below(parts.len()))?;
            let gone = parts.remove(place);
            Some(format!("no {} in {}", gone.data["type"], back(any)))
        }
        9 => {
            session.messages[any].parts.clear();
            Some(format!("no parts in {}", back(any)))
        }
        10..=14 => {
            let index = newest?;
            let (name, part) = new_part(rng);
            let parts = &mut session.messages[index].parts;
            let place = if rng.one_in(2) { parts.len() } else { rng.below(parts.len() + 1) };
            let time = session.messages[index].time;
            session.messages[index].parts.insert(place, Part { id: NEW.to_owned(), time, data: part });
            Some(format!("{name} at {place} in {}", back(index)))
        }
        15 => {
            // A further step: how a session-level retry leaves it.
            let index = newest?;
            let time = session.messages[index].time;
            for data in [json!({"type": "step-start"}), text("A later step."), step_finish("stop")] {
                session.messages[index].parts.push(Part { id: NEW.to_owned(), time, data });
            }
            Some(format!("a further step in {}", back(index)))
        }
        16 | 26 => {
            let index = newest?;
            let own = session.messages[index].data["parentID"].clone();
            let ids = users.iter().map(|user| session.messages[*user].id.clone());
            let others: Vec<String> = ids.filter(|id| own != id.as_str()).collect();
            let parent = if others.is_empty() || rng.one_in(4) {
                format!("msg_{}{}", &session.messages[index].id[4..16], rng.base62(14))
            } else {
                rng.choose(&others).clone()
            };
            session.messages[index].data["parentID"] = json!(parent);
            Some(format!("another parent of {}", back(index)))
        }
        17 => {
            let model = *rng.choose(&MODELS[1..]);
            let data = &mut session.messages[any].data;
            if data["role"] == "user" {
                data["model"]["modelID"] = json!(model);
            } else {
                data["modelID"] = json!(model);
            }
            Some(format!("model {model} in {}", back(any)))
        }
        18 => {
            let by = *rng.choose(&[-100_000, -1, 1, 100_000]);
            let created = session.messages[any].data["time"]["created"].as_i64()?;
            session.messages[any].data["time"]["created"] = json!(created + by);
            if rng.one_in(2) {
                return Some(format!("data.time.created of {} moved by {by} ms", back(any)));
            }
            session.messages[any].time += by;
            Some(format!("both times of {} moved by {by} ms", back(any)))
        }
        19 | 27 => {
            // A clock that went back, or forward, while the row got its id.
            let old = session.messages[any].id.clone();
            let by = *rng.choose(&[-100_000, 100_000]) * MS;
            let new = format!("msg_{}{}", shifted(&old[4..16], by), &old[16..]);
            rename(session, &old, &new);
            Some(format!("the id of {} moved by {} ms", back(any), by / MS))
        }
        20 => {
            session.messages.remove(any);
            Some(format!("{} removed", back(any)))
        }
        21 => {
            let (id, time) = after(rng, session);
            session.messages.push(Message { id, time, data: user(setup, time), parts: Vec::new() });
            Some("an empty user row at the end".to_owned())
        }
        22 => {
            let (id, time) = after(rng, session);
            let parent = session.messages[*users.last()?].id.clone();
            let mut data = assistant(session, setup, &parent, time);
            let (name, error) = error(rng);
            data["error"] = error;
            session.messages.push(Message { id, time, data, parts: Vec::new() });
            Some(format!("a row with {name} at the end"))
        }
        23 => {
            let index = *users.last()?;
            let time = session.messages[index].time;
            let (name, data) = match rng.below(5) {
                0 => ("an empty text", text("")),
                1 => ("an ignored text", json!({"type": "text", "text": "psst", "ignored": true})),
                2 => ("a synthetic text", json!({"type": "text", "text": "note", "synthetic": true})),
                3 => ("an image", json!({"type": "file", "mime": "image/png", "filename": "dot.png", "url": DOT})),
                _ => (
                    "a text file",
                    json!({"type": "file", "mime": "text/plain", "filename": "a.txt", "url": "data:text/plain;base64,YQ=="}),
                ),
            };
            if rng.one_in(2) {
                session.messages[index].parts.clear();
                session.messages[index].parts.push(Part { id: NEW.to_owned(), time, data });
                return Some(format!("only {name} in the last user row"));
            }
            session.messages[index].parts.push(Part { id: NEW.to_owned(), time, data });
            Some(format!("{name} in the last user row"))
        }
        24 if rng.one_in(2) => {
            let (id, time) = after(rng, session);
            let data = json!({"type": "compaction", "auto": false});
            let parts = vec![Part { id: NEW.to_owned(), time, data }];
            session.messages.push(Message { id, time, data: user(setup, time), parts });
            Some("a pending compaction at the end".to_owned())
        }
        24 => {
            let index = newest?;
            session.messages[index].data["summary"] = json!(true);
            Some(format!("{} is a summary", back(index)))
        }
        _ => {
            let named = &session.messages[any];
            let mut revert = json!({"messageID": named.id});
            let parts: Vec<&Part> = named.parts.iter().filter(|part| part.id != NEW).collect();
            if !parts.is_empty() && rng.one_in(2) {
                revert["partID"] = json!(rng.choose(&parts).id);
            }
            let part = if revert["partID"].is_null() { "" } else { " at a part" };
            session.revert = Some(revert);
            Some(format!("a pending revert to {}{part}", back(any)))
        }
    }
}

/// An id and a time for a row after all others.
fn after(rng: &mut Rng, session: &Session) -> (String, i64) {
    let id = session.messages.iter().map(|message| &message.id).max().expect("a row");
    let time = session.messages.iter().map(|message| message.time).max().expect("a row");
    (format!("msg_{}{}", shifted(&id[4..16], 20 * MS), rng.base62(14)), time + 20)
}

fn rename(session: &mut Session, old: &str, new: &str) {
    for message in &mut session.messages {
        if message.id == old {
            message.id = new.to_owned();
        }
        if message.data["parentID"] == old {
            message.data["parentID"] = json!(new);
        }
        for part in &mut message.parts {
            if part.data["tail_start_id"] == old {
                part.data["tail_start_id"] = json!(new);
            }
        }
    }
    if let Some(revert) = &mut session.revert
        && revert["messageID"] == old
    {
        revert["messageID"] = json!(new);
    }
}
