//! Makes the fixtures of opencode 2: a store of every story, and what the preview does with it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::Protocol;
use super::stories::Played;
use super::{judge, program, shapes, stories};
use crate::capture::{neutralise, write};
use crate::judge::How;
use crate::rows;

#[test]
#[ignore = "runs the preview of opencode 2; writes to UNSTICK_E2E_OUT"]
fn preview_capture() {
    let _alone = crate::alone();
    let Some(out) = std::env::var_os("UNSTICK_E2E_OUT").map(PathBuf::from) else {
        println!("not applicable: UNSTICK_E2E_OUT names no folder to write to");
        return;
    };
    for protocol in Protocol::ALL {
        one(&out, "preview", protocol, stories::play);
    }
    for protocol in Protocol::EVERY {
        one(&out, "shapes", protocol, shapes::store);
    }
}

/// Makes a store, judges it, and writes both with what is needed to read them.
fn one(out: &Path, kind: &str, protocol: Protocol, make: fn(Protocol, &Path) -> Played) {
    if std::env::var("UNSTICK_E2E_KIND").is_ok_and(|only| only != kind) {
        return;
    }
    let name = match protocol {
        Protocol::Anthropic => kind.to_owned(),
        other => format!("{kind}-{}", other.provider()),
    };
    let folder = out.join(name);
    assert!(!folder.exists(), "{} is there: a fixture is not changed", folder.display());
    fs::create_dir_all(&folder).expect("the folder can be made");
    let (raw, store) = (folder.join("raw.db"), folder.join("opencode-next.db"));
    let made = make(protocol, &raw);
    neutralise(&raw, &made.work);
    rows::copy(&raw, &store);
    fs::remove_file(&raw).expect("the raw store is there");
    let header = json!({"opencode": program::VERSION, "sdk": {protocol.provider(): protocol.package()},
        "sessions": made.sessions});
    write(&folder.join("sessions.json"), &header);
    write(&folder.join("verdicts.json"), &verdicts(&store));
}

/// What the preview does with each session of a store.
pub(super) fn verdicts(store: &Path) -> Value {
    let mut out = Map::new();
    for (how, name) in [(How::Retry, "resume"), (How::Prompt, "prompt")] {
        for (id, seen) in judge::judge(store, how) {
            let verdict = out.entry(id).or_insert_with(|| json!({}));
            verdict["opens"] = json!(seen.opens);
            verdict[name] = seen.document();
        }
    }
    Value::Object(out)
}
