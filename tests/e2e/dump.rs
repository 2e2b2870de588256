//! Changed sessions and what the real program does with them, written to a folder: for working on the rules.

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;

use serde_json::{Value, json};

use crate::fixtures;
use crate::judge::{self, How};
use crate::mutate;
use crate::opencode::Version;
use crate::rows::{self, Session};
use crate::setup;

/// The sessions of all fixtures that a version can open, under the names of store and scenario.
pub(crate) fn sources(version: &Version) -> Vec<(String, Session)> {
    let mut sources = Vec::new();
    for (name, _) in fixtures::stores().iter().filter(|(_, made_by)| made_by <= version) {
        for session in rows::load(&fixtures::folder().join(name).join("opencode.db")) {
            sources.push((format!("{name}/{}", session.title), session));
        }
    }
    sources
}

/// The newest fixture store that a version can open without a setup of its own.
pub(crate) fn base(version: &Version) -> String {
    let stores = fixtures::stores();
    let plain = stores.iter().filter(|(name, made_by)| !name.contains('-') && made_by <= version);
    let newest = plain.max_by_key(|(_, made_by)| made_by.clone());
    newest.unwrap_or_else(|| panic!("no fixture is as old as {version}")).0.clone()
}

#[test]
#[ignore = "runs real opencode programs; writes to UNSTICK_E2E_OUT"]
fn dump() {
    let _alone = crate::alone();
    let Some(out) = std::env::var_os("UNSTICK_E2E_OUT") else {
        println!("not applicable: UNSTICK_E2E_OUT names no folder to write to");
        return;
    };
    for version in crate::versions() {
        let mutants = mutate::mutants(crate::seed(), crate::mutations(), &sources(&version), &setup::chosen());
        let folder = PathBuf::from(&out).join(version.as_str());
        let _not_there = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("the folder can be made");
        let store = folder.join("store.db");
        rows::copy(&fixtures::folder().join(base(&version)).join("opencode.db"), &store);
        mutate::insert(&store, &mutants);
        rows::keep_only(&store, &mutants.iter().map(|mutant| mutant.session.id.clone()).collect::<Vec<_>>());
        let judged = Mutex::new(Vec::new());
        judge::side_by_side(2, &[How::Retry, How::Prompt], |how| {
            let seen = judge::judge(&version, &store, *how).seen;
            judged.lock().expect("a list").push((*how, seen));
        });
        let judged = judged.into_inner().expect("a list");
        let seen = |how, id: &str| {
            judged.iter().find(|(asked, _)| *asked == how).map(|(_, seen)| seen[id].clone()).expect("judged")
        };
        let mut verdicts = serde_json::Map::new();
        for mutant in &mutants {
            let (retry, prompt) = (seen(How::Retry, &mutant.session.id), seen(How::Prompt, &mutant.session.id));
            let refused = |seen: &judge::Seen| {
                seen.request.as_ref().and_then(|request| request.refusal.as_ref().map(|why| format!("{why:?}")))
            };
            verdicts.insert(
                mutant.session.id.clone(),
                json!({"retry": retry.outcome.words(), "turns": retry.short(), "refused": refused(&retry),
                    "prompt": prompt.outcome.words(), "prompt_turns": prompt.short(), "prompt_refused": refused(&prompt),
                    "sdk": mutant.setup.package, "source": mutant.source, "mutation": mutant.changes.join("; "),
                    "rows": mutant.session.describe()}),
            );
        }
        let text = serde_json::to_string_pretty(&Value::Object(verdicts)).expect("JSON");
        fs::write(folder.join("verdicts.json"), text).expect("the verdicts");
        let options: Vec<String> =
            setup::chosen().iter().map(|p| format!("--sdk {}={}", p.provider, p.package)).collect();
        println!(
            "opencode {version}: {} changed sessions in {} ({})",
            mutants.len(),
            folder.display(),
            options.join(" ")
        );
    }
}
