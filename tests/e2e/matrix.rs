//! The matrix: every package with every history made by hand.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::judge::{self, How, Seen};
use crate::mutate::{self, Mutant};
use crate::opencode::{MODELS, Version};
use crate::rows::{self, Message, Part, Session};
use crate::setup::{self, Setup};
use crate::shapes::{For, Row, Shape, shapes};
use crate::{dump, fixtures};

/// The histories of one set-up.
fn histories(setup: &'static Setup) -> Vec<Shape> {
    shapes(For { provider: setup.provider, package: setup.package, model: MODELS[0], other: MODELS[1] })
}

/// Ids that sort by time, as opencode makes them: the place of a session, of a row and of a part.
fn id(prefix: &str, time: i64, count: i64, session: usize) -> String {
    format!("{prefix}_{:012x}{session:014}", (time * 4096 + count) & 0xffff_ffff_ffff)
}

/// A session of these rows; `number` keeps its ids apart from those of others.
pub(crate) fn session(title: String, rows: &[Row], number: usize) -> Session {
    // Ids hold the time modulo 2^36 ms, some 795 days: rows from before 14 August 2026 would sort behind what is asked
    // today, and 1.14.48, which goes by ids, would take a prompt of today for answered.
    session_at(title, rows, number, 1_790_000_000_000)
}

/// [`session`], where the first one was made at `first`, in ms since the epoch.
pub(crate) fn session_at(title: String, rows: &[Row], number: usize, first: i64) -> Session {
    let base = first + i64::try_from(number).unwrap_or(0) * 1_000;
    let mut messages = Vec::new();
    let mut parent = json!(null);
    for (row, at) in rows.iter().zip(0i64..) {
        let time = base + at * 20;
        let id_of_row = id("msg", time, 1, number);
        let mut data = row.data.clone();
        data["time"] = json!({"created": time});
        if data["role"] == "assistant" {
            data["parentID"] = parent.clone();
            if data["finish"].is_string() {
                data["time"]["completed"] = json!(time + 5);
            }
        } else {
            parent = json!(id_of_row);
        }
        let parts = row.parts.iter().zip(2i64..);
        let parts = parts.map(|(data, n)| Part { id: id("prt", time, n, number), time, data: data.clone() }).collect();
        messages.push(Message { id: id_of_row, time, data, parts });
    }
    Session { id: id("ses", base, 0, number), title, parent: None, revert: None, messages }
}

/// A store of the histories that are wanted for some set-ups, at `store`; the sessions by their ids. `wanted` is asked for
/// a provider and the name of a history.
pub(crate) fn make(
    version: &Version,
    setups: &[&'static Setup],
    wanted: impl Fn(&str, &str) -> bool,
    store: &Path,
) -> BTreeMap<String, (&'static Setup, Shape)> {
    let mut made = BTreeMap::new();
    let mut mutants = Vec::new();
    for setup in setups {
        for shape in histories(setup).into_iter().filter(|shape| wanted(setup.provider, &shape.name)) {
            let session = session(format!("{}/{}", setup.provider, shape.name), &shape.rows, mutants.len());
            made.insert(session.id.clone(), (*setup, shape.clone()));
            mutants.push(Mutant { session, setup, source: shape.name, changes: Vec::new() });
        }
    }
    rows::copy(&fixtures::folder().join(dump::base(version)).join("opencode.db"), store);
    mutate::insert(store, &mutants);
    rows::keep_only(store, &made.keys().cloned().collect::<Vec<_>>());
    made
}

/// Those histories whose name holds one of the words of `UNSTICK_E2E_SHAPES`; all, unless said.
pub(crate) fn wanted() -> impl Fn(&str) -> bool {
    let said = std::env::var("UNSTICK_E2E_SHAPES").ok();
    move |name| said.as_ref().is_none_or(|said| said.split_whitespace().any(|word| name.contains(word)))
}

/// Of each set-up's histories one in this many is played, unless they are asked for.
const ONE_IN: u64 = 70;

/// A sample of the histories that differs from set-up to set-up and from seed to seed; those that `UNSTICK_E2E_SHAPES`
/// asks for, `all` for every one.
pub(crate) fn sampled() -> impl Fn(&str, &str) -> bool {
    let said = std::env::var("UNSTICK_E2E_SHAPES").ok();
    let seed = crate::seed();
    move |provider, name| match &said {
        Some(all) if all == "all" => true,
        Some(said) => said.split_whitespace().any(|word| name.contains(word)),
        None => {
            let bytes = provider.bytes().chain(name.bytes());
            // FNV-1a.
            let hash = bytes.fold(0xcbf2_9ce4_8422_2325 ^ seed, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
            });
            (hash >> 20).is_multiple_of(ONE_IN)
        }
    }
}

/// The conversation of the request that was seen, in one form for all places.
fn conversation(seen: &Seen) -> Value {
    seen.request.as_ref().map_or(Value::Null, |request| {
        let bare = request.bare();
        bare[request.wire.member()].clone()
    })
}

/// What the real program does with every history of a set-up: by name, what a retry comes to, and the conversation that a
/// prompt sends, or what came of it where nothing was sent.
fn recorded(version: &Version, setup: &'static Setup) -> BTreeMap<String, Value> {
    let place = tempfile::tempdir().expect("a temporary folder");
    let store = place.path().join("made.db");
    let made = make(version, &[setup], |_, name| wanted()(name), &store);
    let [retry, prompt] = [How::Retry, How::Prompt].map(|how| judge::judge(version, &store, how).seen);
    let one = |(id, (_, shape)): (&String, &(_, Shape))| {
        let body = match conversation(&prompt[id]) {
            Value::Null => json!(prompt[id].outcome.words()),
            body => body,
        };
        (shape.name.clone(), json!({"retry": retry[id].outcome.words(), "prompt": body}))
    };
    made.iter().map(one).collect()
}

#[test]
#[ignore = "runs real opencode programs; writes to UNSTICK_E2E_OUT"]
fn record() {
    let _alone = crate::alone();
    let Some(out) = std::env::var_os("UNSTICK_E2E_OUT").map(PathBuf::from) else {
        println!("not applicable: UNSTICK_E2E_OUT names no folder to write to");
        return;
    };
    for version in crate::versions() {
        let folder = out.join(version.as_str());
        fs::create_dir_all(&folder).expect("the folder can be made");
        for setup in setup::chosen() {
            let all = recorded(&version, setup);
            // One line for each history, so that a change is seen.
            let lines: Vec<String> = all.iter().map(|(name, seen)| format!("{}:{seen}", json!(name))).collect();
            let text = format!("{{\n{}\n}}\n", lines.join(",\n"));
            fs::write(folder.join(format!("{}.json", setup.provider)), text).expect("the record");
            println!("opencode {version}: {} histories for {}", all.len(), setup.provider);
        }
    }
}
