//! Asks the preview what it does with the sessions of a store.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::program::{Home, Mode, Run, last_event, run_after};
use crate::judge::{How, side_by_side};
use crate::provider::{Provider, Purpose, Request};
use crate::rows;

/// What the preview did with a session.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) run: Run,
    /// Whether its messages can be listed, before anything is asked.
    pub(crate) opens: bool,
    /// Its requests, titles aside.
    pub(crate) requests: Vec<Request>,
}

impl Seen {
    /// In a word, as in the fixtures' verdicts.json.
    pub(crate) fn outcome(&self) -> String {
        match (self.requests.first(), &self.run) {
            (Some(request), _) if request.purpose == Purpose::Compaction => "compacts".to_owned(),
            (Some(request), _) if request.turns().is_empty() => "no turns".to_owned(),
            (Some(request), _) if request.ends_with_assistant() => "ends with assistant".to_owned(),
            (Some(_), _) => "ends with user".to_owned(),
            (None, Run::Failed(why)) => format!("failed: {why}"),
            (None, Run::Begun) => "failed: the run has no end".to_owned(),
            (None, run) => format!("no request ({run:?})"),
        }
    }

    /// As it is kept beside a fixture: the first request whole, and whether it was refused.
    pub(crate) fn document(&self) -> Value {
        let mut out = json!({"outcome": self.outcome()});
        if let Some(request) = self.requests.first().filter(|request| request.purpose == Purpose::Turn) {
            out["turns"] = json!(turns(request));
            if let Some(refusal) = &request.refusal {
                out["refused"] = json!(refusal.text());
            }
        }
        out
    }
}

/// The turns as they are sent, word for word but for cache marks.
pub(super) fn turns(request: &Request) -> Vec<Value> {
    let mut turns: Vec<Value> = request.wire.conversation(&request.body).cloned().collect();
    turns.iter_mut().for_each(drop_cache_marks);
    turns
}

fn drop_cache_marks(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.remove("cache_control");
            map.values_mut().for_each(drop_cache_marks);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_cache_marks),
        _ => {}
    }
}

/// The sessions of a store with their titles.
pub(crate) fn sessions(store: &Path) -> Vec<String> {
    let db = rows::open(store);
    let mut statement = db.prepare("SELECT id FROM session ORDER BY id").expect("sessions");
    let ids = statement.query_map([], |row| row.get(0)).expect("sessions");
    ids.collect::<Result<_, _>>().expect("sessions")
}

/// Lets a store that was made elsewhere and earlier be resumed as it would have been then: what opencode knows of the
/// folder and the date is taken up anew, and is no update at the end of the history (docs/opencode.md §16).
pub(crate) fn settle_in(store: &Path, work: &Path) {
    rows::move_to(store, work);
    let db = rows::open(store);
    db.execute_batch(
        "DELETE FROM instruction_state; DELETE FROM event WHERE type LIKE 'session.instructions.updated.%'",
    )
    .expect("the instructions are forgotten");
}

/// Puts a copy of the store into a private home, and asks every session once.
pub(crate) fn judge(store: &Path, how: How) -> BTreeMap<String, Seen> {
    judge_prepared(store, how, settle_in)
}

/// [`judge`], with another preparation of the copy: it gets the copy and the work folder.
pub(crate) fn judge_prepared(store: &Path, how: How, prepare: impl Fn(&Path, &Path)) -> BTreeMap<String, Seen> {
    let provider = Provider::start();
    judge_at(&Home::new(provider.port()), &provider, store, how, prepare)
}

/// [`judge`] by prompts; the store as it is then, with the refusals in it, is kept as `kept`.
pub(crate) fn judge_and_keep(store: &Path, kept: &Path) -> BTreeMap<String, Seen> {
    let provider = Provider::start();
    let home = Home::new(provider.port());
    let seen = judge_at(&home, &provider, store, How::Prompt, settle_in);
    rows::copy(&home.store(), kept);
    seen
}

fn judge_at(
    home: &Home,
    provider: &Provider,
    store: &Path,
    how: How,
    prepare: impl Fn(&Path, &Path),
) -> BTreeMap<String, Seen> {
    fs::copy(store, home.store()).expect("a copy of the store");
    prepare(&home.store(), &home.work());
    let ids = sessions(&home.store());
    let opens: BTreeMap<String, bool> = {
        let server = home.start(Mode::Plain);
        let opens = ids.iter().map(|id| {
            let listed = server.get(&format!("/api/session/{id}/message?limit=200"));
            (id.clone(), listed.is_ok())
        });
        let opens = opens.collect();
        server.stop();
        opens
    };
    rows::open(&home.store()).execute("UPDATE session SET time_suspended = NULL", []).expect("sessions at rest");
    let before = last_event(&home.store());
    let runs = match how {
        How::Retry => resume(home, &ids, before),
        How::Prompt => prompt(home, &ids, before),
    };
    ids.iter()
        .map(|id| {
            let seen = Seen { run: runs[id].clone(), opens: opens[id], requests: provider.requests(0, Some(id)) };
            (id.clone(), seen)
        })
        .collect()
}

/// The one way in without a prompt: the service resumes what was suspended. The defect of one session may end the
/// resumption of all, so those that were left are asked again.
fn resume(home: &Home, ids: &[String], before: i64) -> BTreeMap<String, Run> {
    let store = home.store();
    let mut left: Vec<&String> = ids.iter().collect();
    for _round in 0..8 {
        let db = rows::open(&store);
        for id in &left {
            db.execute("UPDATE session SET time_suspended = 1 WHERE id = ?", [id]).expect("a suspended session");
        }
        drop(db);
        let server = home.start(Mode::Service);
        wait_until_quiet(&store, &left, before);
        // What has begun and is not over now never will be: to stop the service interrupts the others.
        let begun: Vec<&String> =
            left.iter().copied().filter(|id| run_after(&store, id, before) == Run::Begun).collect();
        server.stop();
        rows::open(&store).execute("UPDATE session SET time_suspended = NULL", []).expect("sessions at rest");
        left.retain(|id| {
            let ended = matches!(run_after(&store, id, before), Run::Succeeded | Run::Failed(_));
            !ended && !begun.contains(id)
        });
        if left.is_empty() {
            break;
        }
    }
    ids.iter().map(|id| (id.clone(), run_after(&store, id, before))).collect()
}

/// Waits until all runs are over, or nothing has happened for a while.
fn wait_until_quiet(store: &Path, ids: &[&String], before: i64) {
    let (mut last, mut since) = (last_event(store), Instant::now());
    while since.elapsed() < Duration::from_secs(8) && !ids.iter().all(|id| run_after(store, id, before).is_over()) {
        std::thread::sleep(Duration::from_millis(200));
        let now = last_event(store);
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
}

fn prompt(home: &Home, ids: &[String], before: i64) -> BTreeMap<String, Run> {
    let server = home.start(Mode::Plain);
    let refused = Mutex::new(BTreeMap::new());
    side_by_side(6, ids, |id| {
        let answer = server.post(&format!("/api/session/{id}/prompt"), &json!({"text": "And now?"}));
        if let Err(why) = answer {
            refused.lock().expect("no judge has panicked").insert(id.clone(), Run::Failed(why));
        }
    });
    let mut runs = refused.into_inner().expect("no judge has panicked");
    let asked: Vec<&String> = ids.iter().filter(|id| !runs.contains_key(*id)).collect();
    wait_until_quiet(&home.store(), &asked, before);
    runs.extend(asked.into_iter().map(|id| (id.clone(), run_after(&home.store(), id, before))));
    server.stop();
    runs
}
