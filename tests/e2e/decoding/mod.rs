//! What a real opencode does with rows that have one thing wrong: does it still list, open and prompt the session?
//!
//! Writes what `fixtures/decoding` holds, to `UNSTICK_E2E_OUT`; without it, compares.

mod filled;
mod place;
mod rows;
mod sessions;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use crate::opencode::Version;
use crate::{alone, report, variants};

/// What fails, by row, member and change.
pub(super) type Outcomes = BTreeMap<String, BTreeMap<String, BTreeMap<String, String>>>;

/// Notes what fails, as words. What works is not noted.
pub(super) fn note(outcomes: &mut Outcomes, row: &str, member: &str, change: &str, fails: &[&str]) {
    if !fails.is_empty() {
        let changes = outcomes.entry(row.to_owned()).or_default().entry(member.to_owned()).or_default();
        changes.insert(change.to_owned(), fails.join(" "));
    }
}

/// One row a line.
fn written(version: &Version, outcomes: &Outcomes) -> String {
    let rows: Vec<String> =
        outcomes.iter().map(|(row, members)| format!("    {}: {}", json!(row), json!(members))).collect();
    format!("{{\n  \"opencode\": \"{version}\",\n  \"fails\": {{\n{}\n  }}\n}}\n", rows.join(",\n"))
}

fn recorded(version: &Version) -> Option<Outcomes> {
    let text = fs::read_to_string(variants::folder().join(format!("{version}.json"))).ok()?;
    let mut file: Map<String, Value> = serde_json::from_str(&text).expect("a record is JSON");
    Some(serde_json::from_value(file.remove("fails").expect("what fails")).expect("rows, members, changes"))
}

/// Lines that say where two records differ.
fn differences(version: &Version, known: &Outcomes, seen: &Outcomes) -> Vec<String> {
    let flat = |outcomes: &Outcomes| -> BTreeMap<String, String> {
        let rows = outcomes.iter().flat_map(|(row, members)| members.iter().map(move |(member, of)| (row, member, of)));
        rows.flat_map(|(row, member, of)| of.iter().map(move |(c, f)| (format!("{row}: {member}: {c}"), f.clone())))
            .collect()
    };
    let (known, seen) = (flat(known), flat(seen));
    let mut names: Vec<&String> = known.keys().chain(seen.keys()).collect();
    names.sort();
    names.dedup();
    let differ = names.into_iter().filter(|name| known.get(*name) != seen.get(*name));
    differ
        .map(|name| {
            format!("opencode {version}: {name}: written down {:?}, seen {:?}", known.get(name), seen.get(name))
        })
        .collect()
}

/// The rows of the record that are columns of a table.
const TABLES: [&str; 2] = ["session", "project"];

/// Whether `UNSTICK_E2E_STORIES` leaves a part in: `rows` of messages and parts, or `sessions` and projects.
fn asked(part: &str) -> bool {
    std::env::var("UNSTICK_E2E_STORIES").map_or(true, |said| said.split_whitespace().any(|name| name == part))
}

#[test]
#[ignore = "runs real opencode programs"]
fn rows_fail_as_they_were_recorded() {
    let _alone = alone();
    let out = std::env::var_os("UNSTICK_E2E_OUT").map(PathBuf::from);
    let mut misses = Vec::new();
    for version in crate::versions() {
        let known = recorded(&version);
        let (mut seen, mut tables) = (Outcomes::new(), Outcomes::new());
        if asked("rows") {
            misses.extend(rows::measure(&version, &mut seen));
        }
        if asked("sessions") {
            misses.extend(sessions::measure(&version, &mut tables));
        }
        // What was not asked for stays as it was written down.
        for (row, members) in known.clone().unwrap_or_default() {
            let table = TABLES.contains(&row.as_str());
            if !asked(if table { "sessions" } else { "rows" }) {
                seen.insert(row, members);
            }
        }
        seen.append(&mut tables);
        let count: usize = seen.values().flat_map(BTreeMap::values).map(BTreeMap::len).sum();
        println!("opencode {version}: {count} changes make something fail");
        match (&out, known) {
            (Some(out), _) => {
                fs::create_dir_all(out).expect("the folder can be made");
                fs::write(out.join(format!("{version}.json")), written(&version, &seen)).expect("the record");
            }
            (None, Some(known)) => misses.extend(differences(&version, &known, &seen)),
            (None, None) => println!("opencode {version}: not applicable: nothing was recorded"),
        }
    }
    report(&misses);
}
