//! Is the judge itself right? It has to say of the fixtures what was seen when they were captured.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde_json::Value;

use crate::judge::{self, How};
use crate::opencode::Version;

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/stores")
}

/// Every captured store: its name, and the version that made it.
pub(crate) fn stores() -> Vec<(String, Version)> {
    let entries = fs::read_dir(folder()).expect("the fixtures' folder").map(|entry| entry.expect("an entry").path());
    let stores = entries.filter(|path| path.join("verdicts.json").is_file());
    let names = stores.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()));
    let mut stores: Vec<(String, Version)> = names
        .map(|name| {
            let version = Version::new(name.split('-').next().expect("a first word"));
            (name, version)
        })
        .collect();
    stores.sort();
    stores
}

pub(crate) fn read_json(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Cells that were written down wrongly: store, title, kind, and what the program did each time it was asked again.
/// A prompt to a session whose compaction is pending makes the compaction first, and a compaction that is over is not made again.
const MISTAKES: [(&str, &str, &str, &str); 3] = [
    ("1.18.33-tails", "compact-aborted", "prompt", "runs task"),
    ("1.18.33-tails", "compact-killed", "prompt", "runs task"),
    ("1.18.33-tails", "tail-kept", "prompt", "ends with user"),
];

/// Compares what `version` does with what was written down for it, or, where nothing was, for the
/// nearest version that has the same rules.
fn compare(version: &Version) -> (usize, Vec<String>) {
    let misses = Mutex::new(Vec::new());
    let cells = Mutex::new(0);
    let jobs: Vec<(String, How)> = stores()
        .into_iter()
        .filter(|(_, made_by)| made_by <= version)
        .flat_map(|(name, _)| [(name.clone(), How::Retry), (name, How::Prompt)])
        .collect();
    judge::side_by_side(2, &jobs, |(name, how)| {
        let verdicts = read_json(&folder().join(name).join("verdicts.json"));
        let kind = if *how == How::Retry { "retry" } else { "prompt" };
        let Some(known) = nearest(&verdicts, kind, version) else { return };
        let judged = judge::judge(version, &folder().join(name).join("opencode.db"), *how);
        for (session, verdict) in verdicts.as_object().expect("an object") {
            let Some(expected) = verdict[kind][&known].as_str() else { continue };
            let mistake = MISTAKES.iter().find(|cell| (cell.0, cell.2) == (name, kind) && verdict["title"] == cell.1);
            let expected = mistake.map_or(expected, |cell| cell.3);
            let seen = judged.seen.get(session).expect("every session is judged");
            *cells.lock().expect("a number") += 1;
            if seen.outcome.words() != expected {
                misses.lock().expect("a list").push(format!(
                    "opencode {version}, store {name}, {} ({session}), {kind}: written down for {known}: {expected}; seen: {}\n    {}",
                    verdict["title"], seen.outcome, seen.short()
                ));
            }
        }
    });
    (cells.into_inner().expect("a number"), misses.into_inner().expect("a list"))
}

fn nearest(verdicts: &Value, kind: &str, version: &Version) -> Option<String> {
    let mut known: Vec<Version> = verdicts
        .as_object()?
        .values()
        .flat_map(|verdict| verdict[kind].as_object().into_iter().flatten())
        .map(|(known, _)| Version::new(known))
        .filter(|known| known == version || known.rules() == version.rules())
        .collect();
    known.sort();
    let below = known.iter().rfind(|known| *known <= version);
    below.or_else(|| known.first()).map(|known| known.as_str().to_owned())
}

#[test]
#[ignore = "runs real opencode programs"]
fn fixtures_are_judged_as_they_were() {
    let _alone = crate::alone();
    let mut misses = Vec::new();
    for version in crate::versions() {
        let (cells, found) = compare(&version);
        println!("opencode {version}: {cells} verdicts of the fixtures compared, {} differ", found.len());
        misses.extend(found);
    }
    crate::report(&misses);
}
