//! A store that a version has made itself, with sessions of four messages put into it.

use std::sync::OnceLock;

use rusqlite::{Connection, params};
use serde_json::{Value, json};

use crate::opencode::{Home, MODEL, Server, Snapshots, Version};
use crate::provider::Provider;
use crate::rows;
use crate::setup::SETUPS;

/// The four rows of a session, a prompt and its answer twice: text of `data`, and the parts.
#[derive(Clone, Debug)]
pub(super) struct Script {
    pub(super) id: String,
    pub(super) messages: [Message; 4],
}

#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) id: String,
    pub(super) time: i64,
    pub(super) text: String,
    pub(super) parts: Vec<(String, String)>,
}

/// An hour before the first call: what opencode writes next is newer.
fn start() -> i64 {
    static START: OnceLock<i64> = OnceLock::new();
    *START.get_or_init(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock after 1970");
        i64::try_from(now.as_millis()).expect("a time") - 3_600_000
    })
}

fn id(prefix: &str, time: i64, count: u64) -> String {
    let digits = (u64::try_from(time).expect("a time") * 4096 + count) & 0xffff_ffff_ffff;
    format!("{prefix}_{digits:012x}{:014}", 0)
}

pub(super) fn user() -> Value {
    json!({"role": "user", "agent": "build", "model": {"providerID": "mock", "modelID": MODEL}})
}

pub(super) fn assistant(prompt: &str, work: &str) -> Value {
    json!({"role": "assistant", "parentID": prompt, "mode": "build", "agent": "build", "cost": 0,
        "path": {"cwd": work, "root": work}, "modelID": MODEL, "providerID": "mock", "finish": "stop",
        "tokens": {"total": 15, "input": 10, "output": 5, "reasoning": 0, "cache": {"read": 0, "write": 0}}})
}

impl Script {
    /// A sound session, the `n`th.
    pub(super) fn sound(n: u64, work: &str) -> Self {
        let start = start() + i64::try_from(n * 1000).expect("a time");
        let mut messages: Vec<Message> = Vec::new();
        for at in 0..4_i64 {
            let time = start + at * 100;
            let mut data = match messages.last() {
                Some(prompt) if at % 2 == 1 => assistant(&prompt.id, work),
                _ => user(),
            };
            data["time"] = json!({"created": time});
            let words = json!({"type": "text", "text": format!("Words {at}.")});
            let mut parts = vec![words];
            if at % 2 == 1 {
                data["time"]["completed"] = json!(time);
                parts.insert(0, json!({"type": "step-start"}));
                parts.push(json!({"type": "step-finish", "reason": "stop", "cost": 0, "tokens": data["tokens"]}));
            }
            let parts = (1_u64..).zip(parts).map(|(count, part)| (id("prt", time, count * 16), part.to_string()));
            messages.push(Message { id: id("msg", time, 0), time, text: data.to_string(), parts: parts.collect() });
        }
        let messages = messages.try_into().expect("four messages");
        Self { id: format!("ses_{n:012x}{:014}", 0), messages }
    }

    /// Puts a part behind the words of a message, or before them; its id is changed by `rename`.
    pub(super) fn add(&mut self, message: usize, text: String, before: bool, rename: impl Fn(&str) -> String) {
        let message = &mut self.messages[message];
        // The words of an answer are its second part.
        let id = rename(&id("prt", message.time, if before { 24 } else { 40 }));
        message.parts.push((id, text));
    }
}

/// A private home with a store in it.
pub(super) struct Place {
    pub(super) provider: Provider,
    pub(super) home: Home,
}

/// The session that the version itself has made, and that others are copied from.
pub(super) const BASE: &str = "base";

impl Place {
    pub(super) fn new(version: &Version) -> Self {
        let provider = Provider::start();
        let home = Home::new(version, provider.port(), Snapshots::Off);
        let server = Server::start(&home);
        server.post("/session", &json!({"title": BASE})).expect("a session");
        server.stop();
        Self { provider, home }
    }

    pub(super) fn work(&self) -> String {
        self.home.work().to_str().expect("a folder in UTF-8").to_owned()
    }

    pub(super) fn db(&self) -> Connection {
        let db = rows::open(&self.home.store());
        db.busy_timeout(std::time::Duration::from_secs(10)).expect("a time");
        db.execute_batch("PRAGMA foreign_keys = OFF").expect("rows of which something is missing");
        db
    }

    /// Puts sessions into the store, as copies of the version's own.
    pub(super) fn insert(&self, scripts: &[Script]) {
        let db = self.db();
        let columns = columns(&db, "session");
        let values: Vec<String> = columns
            .iter()
            .map(|name| match name.as_str() {
                "id" => "?1".to_owned(),
                "slug" | "title" => "?2".to_owned(),
                other => format!("\"{other}\""),
            })
            .collect();
        let names: Vec<String> = columns.iter().map(|name| format!("\"{name}\"")).collect();
        let session = format!(
            "INSERT INTO session ({}) SELECT {} FROM session WHERE title = '{BASE}'",
            names.join(", "),
            values.join(", ")
        );
        db.execute_batch("BEGIN").expect("a transaction");
        for script in scripts {
            db.prepare_cached(&session).expect("an insert").execute([&script.id, &script.id[4..]]).expect("a session");
            for message in &script.messages {
                db.prepare_cached(
                    "INSERT INTO message (id, session_id, time_created, time_updated, data) VALUES (?, ?, ?, ?, ?)",
                )
                .expect("an insert")
                .execute(params![message.id, script.id, message.time, message.time, message.text])
                .unwrap_or_else(|error| panic!("{}: {error}", message.id));
                for (id, text) in &message.parts {
                    db.prepare_cached("INSERT INTO part (id, message_id, session_id, time_created, time_updated, data) VALUES (?, ?, ?, ?, ?, ?)")
                        .expect("an insert")
                        .execute(params![id, message.id, script.id, message.time, message.time, text])
                        .unwrap_or_else(|error| panic!("{id}: {error}"));
                }
            }
        }
        db.execute_batch("COMMIT").expect("a transaction");
    }

    /// Whether a prompt, or a retry of the message named, works: a request is sent or none is due, and there is no error.
    pub(super) fn ask(&self, server: &Server, session: &str, retry: Option<&str>) -> Result<(), String> {
        let mut body = json!({"system": format!("E2E-SESSION:{session} "), "agent": "build",
            "model": {"providerID": SETUPS[0].provider, "modelID": MODEL},
            "parts": [{"type": "text", "text": "And now?"}]});
        if let Some(message) = retry {
            body["messageID"] = json!(message);
            body["parts"] = json!([]);
        }
        let path = format!("/session/{session}/message");
        let answer = server.post_within(&path, &body, std::time::Duration::from_secs(90))?;
        if retry.is_some() {
            return if answer["info"].is_object() { Ok(()) } else { Err(format!("answered {answer}")) };
        }
        if !answer["info"]["error"].is_null() {
            return Err(answer["info"]["error"].to_string());
        }
        if self.provider.requests(0, Some(session)).is_empty() {
            return Err(format!("no request; answered {answer}"));
        }
        if answer["info"]["finish"].is_string() { Ok(()) } else { Err(format!("answered {answer}")) }
    }
}

pub(super) fn columns(db: &Connection, table: &str) -> Vec<String> {
    let mut statement = db.prepare(&format!("SELECT name FROM pragma_table_info('{table}')")).expect("the schema");
    let names = statement.query_map([], |row| row.get(0)).expect("the schema");
    names.collect::<Result<_, _>>().expect("the schema")
}
