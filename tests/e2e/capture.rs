//! Makes the fixtures: a store of every story, and what real programs do with it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rusqlite::params;
use serde_json::{Map, Value, json};

use crate::judge::{self, How};
use crate::opencode::{MODEL, Version};
use crate::rows;
use crate::scenarios::{self, Missing};
use crate::setup::{self, Setup};

/// The folder that every path in a captured store starts with.
const NEUTRAL: &str = "/home/dev/work";

/// The versions that judge a captured store besides the one that made it.
fn judges() -> Vec<Version> {
    let said = std::env::var("UNSTICK_E2E_JUDGES").unwrap_or_else(|_| "1.18.34".to_owned());
    said.split_whitespace().map(Version::new).collect()
}

#[test]
#[ignore = "runs real opencode programs; writes to UNSTICK_E2E_OUT"]
fn capture() {
    let _alone = crate::alone();
    let Some(out) = std::env::var_os("UNSTICK_E2E_OUT").map(PathBuf::from) else {
        println!("not applicable: UNSTICK_E2E_OUT names no folder to write to");
        return;
    };
    for version in crate::versions() {
        for setup in setup::chosen() {
            let name = match setup.provider {
                "mock" => version.as_str().to_owned(),
                other => format!("{version}-{other}"),
            };
            let folder = out.join(name);
            assert!(!folder.exists(), "{} is there: a fixture is not changed", folder.display());
            one(&version, setup, &folder);
        }
    }
}

fn one(version: &Version, setup: &'static Setup, folder: &Path) {
    fs::create_dir_all(folder).expect("the folder can be made");
    let store = folder.join("opencode.db");
    let raw = folder.join("raw.db");
    let played = scenarios::play(version, &[setup], &raw);
    for ((_, name), why) in &played.missing {
        match why {
            Missing::NotApplicable(why) => println!("opencode {version}, {name}: not applicable: {why}"),
            Missing::Failed(why) => panic!("opencode {version}, {name}: {why}"),
        }
    }
    neutralise(&raw, &played.work);
    rows::copy(&raw, &store);
    fs::remove_file(&raw).expect("the raw store is there");
    let sessions: BTreeMap<&str, &str> =
        played.sessions.iter().map(|((_, name), id)| (name.as_str(), id.as_str())).collect();
    let mut header =
        json!({"opencode": version.as_str(), "sdk": {setup.provider: setup.package}, "sessions": sessions});
    if let Some(id) = setup.api_id {
        header["models"] = json!({setup.provider: {MODEL: id}});
    }
    write(&folder.join("sessions.json"), &header);
    write(&folder.join("verdicts.json"), &verdicts(version, &store));
    println!("{} sessions of opencode {version} in {}", sessions.len(), folder.display());
}

/// What each judge does with each session.
fn verdicts(version: &Version, store: &Path) -> Value {
    let mut judges = judges();
    judges.retain(|judge| judge > version);
    judges.push(version.clone());
    let jobs: Vec<(&Version, How)> =
        judges.iter().flat_map(|judge| [(judge, How::Retry), (judge, How::Prompt)]).collect();
    let verdicts = Mutex::new(Map::new());
    judge::side_by_side(2, &jobs, |(judge, how)| {
        let kind = if *how == How::Retry { "retry" } else { "prompt" };
        for (id, seen) in judge::judge(judge, store, *how).seen {
            let mut verdicts = verdicts.lock().expect("a map");
            let verdict = verdicts.entry(id).or_insert_with(|| json!({}));
            verdict[kind][judge.as_str()] = json!(seen.outcome.words());
        }
    });
    let mut verdicts = verdicts.into_inner().expect("a map");
    for session in rows::load(store) {
        verdicts[&session.id]["title"] = json!(session.title);
    }
    Value::Object(verdicts)
}

/// Takes the paths of this machine out of every text of a store.
pub(crate) fn neutralise(store: &Path, work: &Path) {
    let db = rows::open(store);
    let names = |query: &str| -> Vec<String> {
        let mut statement = db.prepare(query).expect("the schema");
        let names = statement.query_map([], |row| row.get(0)).expect("the schema");
        names.collect::<Result<_, _>>().expect("the schema")
    };
    let home = work.parent().expect("the private home");
    let neutral_home = Path::new(NEUTRAL).parent().expect("a home");
    for table in names("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'") {
        for column in names(&format!("SELECT name FROM pragma_table_info('{table}')")) {
            for (path, neutral) in [(work, Path::new(NEUTRAL)), (home, neutral_home)] {
                let (path, neutral) = (path.to_str().expect("UTF-8"), neutral.to_str().expect("UTF-8"));
                // A path may also stand without its first slash.
                for (path, neutral) in [(path, neutral), (&path[1..], &neutral[1..])] {
                    let update = format!(
                        "UPDATE \"{table}\" SET \"{column}\" = replace(\"{column}\", ?1, ?2)
                         WHERE typeof(\"{column}\") = 'text' AND instr(\"{column}\", ?1) > 0"
                    );
                    db.execute(&update, params![path, neutral]).expect("a path is replaced");
                }
            }
        }
    }
}

pub(crate) fn write(path: &Path, value: &Value) {
    let mut text = serde_json::to_string_pretty(value).expect("JSON");
    text.push('\n');
    fs::write(path, text).expect("the fixture can be written");
}
