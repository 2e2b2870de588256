//! Asks the preview what it does with the sessions of a store.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use rusqlite::params;
use serde_json::{Value, json};

use super::program::{Home, Mode, Run, last_event, run_after, wait_until};
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
            (Some(request), _) if request.turns_of_session().next().is_none() => "no turns".to_owned(),
            (Some(request), _) if request.ends_with_assistant() => "ends with assistant".to_owned(),
            (Some(_), _) => "ends with user".to_owned(),
            (None, Run::Failed(why)) => format!("failed: {why}"),
            (None, run) => format!("no request ({run:?})"),
        }
    }

    /// As it is kept beside a fixture: the first request whole, and whether it was refused.
    pub(crate) fn document(&self) -> Value {
        let mut out = json!({"outcome": self.outcome()});
        if let Some(request) = self.requests.first().filter(|request| request.purpose == Purpose::Turn) {
            out["turns"] = json!(request.whole_turns());
            if let Some(refusal) = &request.refusal {
                out["refused"] = json!(refusal.text());
            }
        }
        out
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
/// folder and the date is taken up anew, and is no update at the end of the history (docs/opencode.md §13).
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
    let home = Home::new(provider.port());
    fs::copy(store, home.store()).expect("a copy of the store");
    prepare(&home.store(), &home.work());
    let ids = sessions(&home.store());
    rows::open(&home.store()).execute("UPDATE session SET time_suspended = NULL", []).expect("sessions at rest");
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
    let before = last_event(&home.store());
    let runs = match how {
        How::Retry => resume(&home, &ids, before),
        How::Prompt => prompt(&home, &ids, before),
    };
    ids.iter()
        .map(|id| {
            let seen = Seen { run: runs[id].clone(), opens: opens[id], requests: provider.requests(0, Some(id)) };
            (id.clone(), seen)
        })
        .collect()
}

/// The one way in without a prompt: the service resumes what was suspended.
fn resume(home: &Home, ids: &[String], before: i64) -> BTreeMap<String, Run> {
    rows::open(&home.store()).execute("UPDATE session SET time_suspended = ?", params![1]).expect("suspended sessions");
    let server = home.start(Mode::Service);
    let runs = ids.iter().map(|id| {
        let over = || run_after(&home.store(), id, before) != Run::None;
        if let Err(why) = wait_until("end of the resumed run", Duration::from_secs(20), over) {
            eprintln!("{id}: {why}");
        }
        (id.clone(), run_after(&home.store(), id, before))
    });
    let runs = runs.collect();
    server.stop();
    runs
}

fn prompt(home: &Home, ids: &[String], before: i64) -> BTreeMap<String, Run> {
    let server = home.start(Mode::Plain);
    let runs = Mutex::new(BTreeMap::new());
    side_by_side(6, ids, |id| {
        let answer = server.post(&format!("/api/session/{id}/prompt"), &json!({"text": "And now?"}));
        let run = match answer {
            Err(why) => Run::Failed(why),
            Ok(_) => {
                let over = || run_after(&home.store(), id, before) != Run::None;
                if let Err(why) = wait_until("end of the run", Duration::from_secs(20), over) {
                    eprintln!("{id}: {why}");
                }
                run_after(&home.store(), id, before)
            }
        };
        runs.lock().expect("no judge has panicked").insert(id.clone(), run);
    });
    server.stop();
    runs.into_inner().expect("no judge has panicked")
}
