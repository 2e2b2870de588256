//! The rows of a session, as they are in the store.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, params};
use serde_json::{Value, json};

use crate::opencode::Version;

#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) id: String,
    pub(crate) time: i64,
    pub(crate) data: Value,
}

#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) id: String,
    /// The column, which is not always what `data.time.created` says.
    pub(crate) time: i64,
    pub(crate) data: Value,
    pub(crate) parts: Vec<Part>,
}

impl Message {
    pub(crate) fn is_user(&self) -> bool {
        self.data["role"] == "user"
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) parent: Option<String>,
    pub(crate) revert: Option<Value>,
    /// In replay order.
    pub(crate) messages: Vec<Message>,
}

pub(crate) fn open(store: &Path) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(store, flags).unwrap_or_else(|error| panic!("{}: {error}", store.display()))
}

/// All sessions of a store, in the order of their ids.
pub(crate) fn load(store: &Path) -> Vec<Session> {
    let db = open(store);
    let mut statement = db.prepare("SELECT id, title, parent_id, revert FROM session ORDER BY id").expect("sessions");
    let rows = statement.query_map([], |row| {
        let revert: Option<String> = row.get(3)?;
        let revert = revert.and_then(|text| serde_json::from_str(&text).ok()).filter(Value::is_object);
        Ok(Session { id: row.get(0)?, title: row.get(1)?, parent: row.get(2)?, revert, messages: Vec::new() })
    });
    let mut sessions: Vec<Session> = rows.expect("sessions").collect::<Result<_, _>>().expect("sessions");
    for session in &mut sessions {
        session.messages = messages(&db, &session.id);
    }
    sessions
}

fn json_column(row: &rusqlite::Row<'_>, index: usize) -> rusqlite::Result<Value> {
    let text: String = row.get(index)?;
    Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
}

fn messages(db: &Connection, session: &str) -> Vec<Message> {
    let query = "SELECT id, time_created, data FROM message WHERE session_id = ? ORDER BY time_created, id";
    let mut statement = db.prepare_cached(query).expect("messages");
    let rows = statement.query_map([session], |row| {
        Ok(Message { id: row.get(0)?, time: row.get(1)?, data: json_column(row, 2)?, parts: Vec::new() })
    });
    let mut messages: Vec<Message> = rows.expect("messages").collect::<Result<_, _>>().expect("messages");
    let query = "SELECT id, time_created, data FROM part WHERE message_id = ? ORDER BY id";
    let mut statement = db.prepare_cached(query).expect("parts");
    for message in &mut messages {
        let rows = statement.query_map([&message.id], |row| {
            Ok(Part { id: row.get(0)?, time: row.get(1)?, data: json_column(row, 2)? })
        });
        message.parts = rows.expect("parts").collect::<Result<_, _>>().expect("parts");
    }
    messages
}

impl Session {
    /// The rows that are left when a version has carried out a pending revert: those before the named row, and
    /// that row itself where a part of it is named. Until 1.18.14 "before" is a matter of ids, then of replay order.
    pub(crate) fn cut(&self, version: &Version) -> Vec<&Message> {
        let Some(revert) = &self.revert else { return self.messages.iter().collect() };
        let named = revert["messageID"].as_str().unwrap_or("");
        let place = self.messages.iter().position(|message| message.id == named).unwrap_or(self.messages.len());
        let at_part = revert["partID"].is_string();
        let kept = self.messages.iter().enumerate().filter(|(index, message)| {
            let before = if version.at_least(1, 18, 15) { *index < place } else { message.id.as_str() < named };
            before || at_part && message.id == named
        });
        kept.map(|(_, message)| message).collect()
    }

    /// The user's row that the run loop of a version takes for the newest.
    pub(crate) fn newest_user(&self, version: &Version) -> Option<&Message> {
        let mut users = self.cut(version).into_iter().filter(|message| message.is_user());
        let created = |message: &Message| message.data["time"]["created"].as_i64().unwrap_or(0);
        if version.at_least(1, 18, 15) {
            users.max_by_key(|message| (created(message), message.id.clone()))
        } else if version.at_least(1, 15, 0) {
            users.max_by_key(|message| message.id.clone())
        } else {
            users.next_back()
        }
    }

    /// Whether a compaction or a subtask may be pending somewhere in it.
    pub(crate) fn has_task(&self) -> bool {
        let kinds = ["compaction", "subtask"];
        let mut parts = self.messages.iter().flat_map(|message| &message.parts);
        parts.any(|part| part.data["type"].as_str().is_some_and(|kind| kinds.contains(&kind)))
    }

    /// The rows in a form for people.
    pub(crate) fn describe(&self) -> String {
        let mut out = format!("{} {:?}", self.id, self.title);
        if let Some(parent) = &self.parent {
            out.push_str(&format!(" child of {parent}"));
        }
        if let Some(revert) = &self.revert {
            out.push_str(&format!(" revert {} {}", revert["messageID"], revert["partID"]));
        }
        for message in &self.messages {
            let data = &message.data;
            out.push_str(&format!("\n  {} {} time {}", data["role"].as_str().unwrap_or("?"), message.id, message.time));
            for name in ["finish", "parentID", "summary", "modelID", "providerID"] {
                if let Some(value) = data.get(name) {
                    out.push_str(&format!(" {name}={value}"));
                }
            }
            if data["time"]["created"].as_i64() != Some(message.time) {
                out.push_str(&format!(" created={}", data["time"]["created"]));
            }
            if data["model"].is_object() {
                out.push_str(&format!(" model={}/{}", data["model"]["providerID"], data["model"]["modelID"]));
            }
            if let Some(error) = data.get("error") {
                out.push_str(&format!(" error={} {}", error["name"], error["data"]["message"]));
            }
            for part in &message.parts {
                let data = &part.data;
                out.push_str(&format!("\n    {} {}", part.id, data["type"].as_str().unwrap_or("?")));
                for name in ["text", "tool", "reason", "metadata", "ignored", "tail_start_id"] {
                    if let Some(value) = data.get(name) {
                        out.push_str(&format!(" {name}={value}"));
                    }
                }
                if let Some(state) = data.get("state") {
                    out.push_str(&format!(" {}", state["status"]));
                    for name in ["error", "metadata"].iter().filter(|name| state.get(**name).is_some()) {
                        out.push_str(&format!(" {name}={}", state[*name]));
                    }
                }
            }
        }
        out
    }
}

/// Lets a store that was made elsewhere be found from a work folder.
pub(crate) fn move_to(store: &Path, work: &Path) {
    let db = open(store);
    let work = work.to_str().expect("a work folder in UTF-8");
    db.execute("UPDATE session SET directory = ?", [work]).expect("the sessions' folder can be set");
}

/// A copy of a store that nobody has open, with everything in one file.
pub(crate) fn copy(from: &Path, to: &Path) {
    let db = open(from);
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).expect("a checkpoint");
    let to = to.to_str().expect("a path in UTF-8");
    db.execute("VACUUM INTO ?", [to]).expect("a copy of the store");
}

/// Takes all other sessions out of a store.
pub(crate) fn keep_only(store: &Path, ids: &[String]) {
    let db = open(store);
    db.execute_batch("PRAGMA foreign_keys = ON").expect("foreign keys");
    let others = load(store).into_iter().filter(|session| !ids.contains(&session.id));
    for session in others {
        db.execute("DELETE FROM session WHERE id = ?", [&session.id]).expect("a session is deleted");
        // Stores before 1.14 have no log.
        let _no_log = db.execute("DELETE FROM event_sequence WHERE aggregate_id = ?", [&session.id]);
    }
    db.execute_batch("VACUUM").expect("the store shrinks");
}

/// Writes a session's rows in place of those that are there, and where opencode keeps an event log of
/// its own, a log that folds to them.
pub(crate) fn write(db: &Connection, session: &Session) {
    db.execute("DELETE FROM part WHERE session_id = ?", [&session.id]).expect("parts are deleted");
    db.execute("DELETE FROM message WHERE session_id = ?", [&session.id]).expect("messages are deleted");
    let mut message_row = db
        .prepare_cached("INSERT INTO message (id, session_id, time_created, time_updated, data) VALUES (?, ?, ?, ?, ?)")
        .expect("an insert");
    let mut part_row = db
        .prepare_cached(
            "INSERT INTO part (id, message_id, session_id, time_created, time_updated, data) VALUES (?, ?, ?, ?, ?, ?)",
        )
        .expect("an insert");
    for message in &session.messages {
        let data = message.data.to_string();
        message_row.execute(params![message.id, session.id, message.time, message.time, data]).expect("a message");
        for part in &message.parts {
            let data = part.data.to_string();
            part_row
                .execute(params![part.id, message.id, session.id, part.time, part.time, data])
                .unwrap_or_else(|error| panic!("{}: {error}", part.id));
        }
    }
}

/// Rewrites the event log of a session so that it tells of the rows that are there, where there is a log.
pub(crate) fn rewrite_log(db: &Connection, session: &Session, source: &str) {
    let created = "SELECT type, data FROM event WHERE aggregate_id = ? AND type LIKE 'session.created%' LIMIT 1";
    let Ok(mut statement) = db.prepare_cached(created) else { return };
    let found = statement.query_row([source], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)));
    let Ok((kind, data)) = found else { return };
    let mut created: Value = serde_json::from_str(&data.replace(source, &session.id)).expect("an event is JSON");
    created["info"]["title"] = json!(session.title);
    let mut events = vec![(kind, created.to_string())];
    let with = |data: &Value, more: Value| {
        let mut info = more;
        for (name, value) in data.as_object().into_iter().flatten() {
            info[name] = value.clone();
        }
        info
    };
    for message in &session.messages {
        let info = with(&message.data, json!({"id": message.id, "sessionID": session.id}));
        events.push(("message.updated.1".to_owned(), json!({"sessionID": session.id, "info": info}).to_string()));
        for part in &message.parts {
            let info = with(&part.data, json!({"id": part.id, "sessionID": session.id, "messageID": message.id}));
            let event = json!({"sessionID": session.id, "part": info, "time": part.time});
            events.push(("message.part.updated.1".to_owned(), event.to_string()));
        }
    }
    db.execute("DELETE FROM event WHERE aggregate_id = ?", [&session.id]).expect("events are deleted");
    db.execute("DELETE FROM event_sequence WHERE aggregate_id = ?", [&session.id]).expect("the sequence is deleted");
    db.execute(
        "INSERT INTO event_sequence (aggregate_id, seq) VALUES (?, ?)",
        params![session.id, events.len() as i64 - 1],
    )
    .expect("a sequence");
    let stem = session.id.trim_start_matches("ses_");
    for (seq, (kind, data)) in (0_i64..).zip(&events) {
        let id = format!("evt_{}{seq:06}{}", &stem[..12], &stem[stem.len() - 8..]);
        db.execute(
            "INSERT INTO event (id, aggregate_id, seq, type, data) VALUES (?, ?, ?, ?, ?)",
            params![id, session.id, seq, kind, data],
        )
        .expect("an event");
    }
}
