//! Asks a real opencode what it does with the sessions of a store.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::opencode::{Home, Server, Snapshots, Version};
use crate::provider::{Provider, Purpose, Request};
use crate::rows::{self, Session};

/// The two ways to ask again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// The run loop is entered again without a new turn of the user's.
    Retry,
    /// A new turn of the user's.
    Prompt,
}

/// What opencode then does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    NoRequest,
    EndsWithUser,
    EndsWithAssistant,
    RunsTask,
    NoUserTurn,
    /// opencode itself could not do it.
    Failed(String),
}

impl Outcome {
    /// The word of the fixtures' verdicts.json.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::NoRequest => "no request".to_owned(),
            Self::EndsWithUser => "ends with user".to_owned(),
            Self::EndsWithAssistant => "ends with assistant".to_owned(),
            Self::RunsTask => "runs task".to_owned(),
            Self::NoUserTurn => "no user turn".to_owned(),
            Self::Failed(why) => format!("failed: {why}"),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words())
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) outcome: Outcome,
    /// The first request, titles aside.
    pub(crate) request: Option<Request>,
}

impl Seen {
    pub(crate) fn short(&self) -> String {
        self.request.as_ref().map_or_else(|| "-".to_owned(), Request::short)
    }
}

#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) seen: BTreeMap<String, Seen>,
    /// What opencode's log complains of after it has started and read all sessions, before anything is asked.
    pub(crate) complaints: BTreeSet<String>,
}

/// Puts a copy of the store into a private home, and asks every session once.
pub(crate) fn judge(version: &Version, store: &Path, how: How) -> Judged {
    let provider = Provider::start();
    let home = Home::new(version, provider.port(), Snapshots::Off);
    fs::copy(store, home.store()).expect("a copy of the store");
    rows::move_to(&home.store(), &home.work());
    let sessions = rows::load(&home.store());
    let server = Server::start(&home);
    for session in &sessions {
        let path = format!("/session/{}/message", session.id);
        if let Err(error) = server.get(&path) {
            eprintln!("opencode {version}: {error}");
        }
    }
    let complaints = home.complaints();
    // A request that does not say which session it is of can be told only when it is alone.
    let alone = |session: &&Session| !version.at_least(1, 14, 34) && session.has_task();
    let (one_by_one, together): (Vec<&Session>, Vec<&Session>) = sessions.iter().partition(alone);
    let seen = Mutex::new(BTreeMap::new());
    side_by_side(8, &together, |session| {
        let answer = ask(&server, version, session, how);
        let mine = provider.requests(0, Some(&session.id));
        seen.lock().expect("no judge has panicked").insert(session.id.clone(), outcome(answer, mine));
    });
    for session in one_by_one {
        let before = provider.count();
        let answer = ask(&server, version, session, how);
        let mine = provider.requests(before, None);
        seen.lock().expect("no judge has panicked").insert(session.id.clone(), outcome(answer, mine));
    }
    server.stop();
    Judged { seen: seen.into_inner().expect("no judge has panicked"), complaints }
}

/// Runs a piece of work for each item, a few at a time.
pub(crate) fn side_by_side<T: Sync>(workers: usize, items: &[T], work: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..workers.min(items.len()) {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    work(item);
                }
            });
        }
    });
}

enum Reply {
    Nobody,
    Said(Result<Option<Value>, String>),
}

fn ask(server: &Server, version: &Version, session: &Session, how: How) -> Reply {
    let Some(user) = session.newest_user(version) else { return Reply::Nobody };
    let system = format!("E2E-SESSION:{} ", session.id);
    let mut body = json!({"system": system, "model": {
        "providerID": user.data["model"]["providerID"], "modelID": user.data["model"]["modelID"]}});
    if user.data["agent"].is_string() {
        body["agent"] = user.data["agent"].clone();
    }
    match how {
        How::Retry => {
            body["messageID"] = json!(user.id);
            body["parts"] = json!([]);
        }
        How::Prompt => body["parts"] = json!([{"type": "text", "text": "And now?"}]),
    }
    let path = format!("/session/{}/message", session.id);
    let answer = server.post_within(&path, &body, Duration::from_secs(60));
    // An error in a row that was there before is no answer to this question.
    Reply::Said(answer.map(|answer| {
        let old = session.messages.iter().any(|message| answer["info"]["id"] == message.id.as_str());
        let error = &answer["info"]["error"];
        (!old && !error.is_null()).then(|| error.clone())
    }))
}

fn outcome(reply: Reply, requests: Vec<Request>) -> Seen {
    let request = requests.into_iter().next();
    let outcome = match (&request, reply) {
        (_, Reply::Nobody) => Outcome::NoUserTurn,
        (Some(request), _) if request.purpose == Purpose::Compaction => Outcome::RunsTask,
        (Some(request), _) if request.ends_with_assistant() => Outcome::EndsWithAssistant,
        (Some(_), _) => Outcome::EndsWithUser,
        (None, Reply::Said(Ok(None))) => Outcome::NoRequest,
        (None, Reply::Said(Ok(Some(error)))) => Outcome::Failed(error.to_string()),
        (None, Reply::Said(Err(error))) => Outcome::Failed(error),
    };
    Seen { outcome, request }
}
