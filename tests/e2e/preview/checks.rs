//! Asks the preview itself: is it as it was when the fixtures were made, does it do what is predicted, and does it take
//! what was refused once a row is changed.

use std::path::{Path, PathBuf};

use opencode_unstick::opencode2::generation::PREVIEW;
use opencode_unstick::opencode2::predict::Way;
use opencode_unstick::opencode2::wire::Api;
use serde_json::Value;

use super::Protocol;
use super::judge::{self, Seen};
use super::program::Run;
use super::{shapes, stories};
use crate::agreement;
use crate::judge::How;
use crate::rows;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

fn api(protocol: Protocol) -> Api {
    match protocol {
        Protocol::Anthropic => Api::Anthropic,
        Protocol::OpenAi => Api::Chat,
        Protocol::Responses => Api::Responses { stateless: true },
    }
}

#[test]
#[ignore = "runs the preview of opencode 2"]
fn preview_fixtures_are_judged_as_they_were() {
    let _alone = crate::alone();
    let mut misses = Vec::new();
    for name in ["preview", "preview-litellm"] {
        let folder = fixtures().join("stores2").join(name);
        let text = std::fs::read_to_string(folder.join("verdicts.json")).expect("the verdicts");
        let verdicts: Value = serde_json::from_str(&text).expect("JSON");
        for (how, key) in [(How::Retry, "resume"), (How::Prompt, "prompt")] {
            for (id, seen) in judge::judge(&folder.join("opencode-next.db"), how) {
                let (was, is) = (&verdicts[&id][key], seen.document());
                if *was != is {
                    misses.push(format!("{name}, {id}, {key}: was {was}, is {is}"));
                }
            }
        }
    }
    crate::report(&misses);
}

#[test]
#[ignore = "runs the preview of opencode 2"]
fn preview_stories_are_predicted() {
    let _alone = crate::alone();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut misses = Vec::new();
    for protocol in Protocol::ALL {
        let store = folder.path().join(format!("{}.db", protocol.provider()));
        let played = stories::play(protocol, &store);
        let sessions = agreement::load(&store);
        for (how, way) in [(How::Retry, Way::Resume), (How::Prompt, Way::Prompt)] {
            let seen = judge::judge(&store, how);
            for session in &sessions {
                let name = played.sessions.iter().find(|(_, id)| **id == session.id).map_or("?", |(name, _)| name);
                let document = seen[&session.id].document();
                let miss =
                    session.with(|session| agreement::disagreement(&PREVIEW, session, api(protocol), way, &document));
                misses.extend(miss.map(|why| format!("{}, {name}, {way:?}: {why}", protocol.provider())));
            }
        }
    }
    crate::report(&misses);
}

/// Shapes that every prompt is refused for, and what a repair of them is asked for.
const REPAIRED: &[(&str, Protocol, &str)] = &[
    ("thinking-item-foreign", Protocol::Responses, "refused-state"),
    ("user-no-time", Protocol::Responses, "undecodable-row"),
    ("thinking-foreign", Protocol::Anthropic, "bad-signature"),
    ("thinking-unsigned", Protocol::Anthropic, "unsigned-thinking"),
    ("thinking-signature-empty", Protocol::Anthropic, "unsigned-thinking"),
    ("thinking-empty-state", Protocol::Anthropic, "unsigned-thinking"),
    ("thinking-nested", Protocol::Anthropic, "unsigned-thinking"),
    ("user-no-time", Protocol::Anthropic, "undecodable-row"),
    ("answer-without-time", Protocol::Anthropic, "undecodable-row"),
    ("call-id-twice", Protocol::Anthropic, ""),
    ("thinking-signed", Protocol::Anthropic, ""),
];

/// As a person meets it: a prompt is refused, the refusal is stored, the session is repaired, and the next prompt is taken.
#[test]
#[ignore = "runs the preview of opencode 2"]
fn preview_goes_on_after_a_repair() {
    let _alone = crate::alone();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut misses = Vec::new();
    for protocol in [Protocol::Anthropic, Protocol::Responses] {
        let at = |name: &str| folder.path().join(format!("{}-{name}.db", protocol.provider()));
        let names: Vec<&str> = REPAIRED.iter().filter(|case| case.1 == protocol).map(|case| case.0).collect();
        let made = shapes::store_of(protocol, &at("made"), |name| names.contains(&name));
        let refused = judge::judge_and_keep(&at("made"), &at("refused"));
        std::fs::copy(at("refused"), at("repaired")).expect("a copy");
        let sdk = format!("{}={}", protocol.provider(), protocol.package());
        let unstick = |args: &[&str]| {
            let mut command = crate::checks::unstick_command(&at("repaired"), folder.path());
            let out = command.args(args).args(["--yes", "--json"]).output().expect("unstick runs");
            serde_json::from_slice::<Value>(&out.stdout).unwrap_or_else(|_| panic!("{out:?}"))
        };
        let done = unstick(&["repair", "--include", "reasoning,signatures,rows", "--sdk", &sdk]);
        let repaired = judge::judge(&at("repaired"), How::Prompt);
        for (name, _, reason) in REPAIRED.iter().filter(|case| case.1 == protocol) {
            let id = &made.sessions[*name];
            let plans = done["plan"]["sessions"].as_array().expect("a plan");
            let plan = plans.iter().find(|plan| plan["id"] == **id);
            let why = plan.map(|plan| plan["steps"][0]["reason"].as_str().unwrap_or_default()).unwrap_or_default();
            if why != *reason || plan.is_some_and(|plan| plan["format"] != "v2") {
                misses.push(format!("{}, {name}: planned for {why:?}", protocol.provider()));
            }
            let sound = *name == "thinking-signed";
            if accepted(&refused[id]) != sound || accepted(&repaired[id]) != (sound || !reason.is_empty()) {
                let (was, is) = (refused[id].document(), repaired[id].document());
                misses.push(format!("{}, {name}: {was}, then {is}", protocol.provider()));
            }
        }
        unstick(&["undo"]);
        if messages(&at("refused")) != messages(&at("repaired")) {
            misses.push(format!("{}: undo does not give the rows back", protocol.provider()));
        }
    }
    crate::report(&misses);
}

/// Every message of a store, byte for byte.
fn messages(store: &Path) -> Vec<(i64, String, String, i64)> {
    let db = rows::open(store);
    let mut statement =
        db.prepare("SELECT rowid, id, data, time_updated FROM session_message ORDER BY rowid").expect("messages");
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)));
    rows.expect("messages").collect::<Result<_, _>>().expect("messages")
}

fn accepted(seen: &Seen) -> bool {
    seen.opens && seen.run == Run::Succeeded && seen.requests.iter().all(|request| request.refusal.is_none())
}

/// What opencode knows of the folder and the date is part of the history: where it has changed since, a resumed session's
/// request ends with that news, which is sent as the user's turn.
#[test]
#[ignore = "runs the preview of opencode 2"]
fn preview_resumes_with_the_news_of_another_folder() {
    let _alone = crate::alone();
    let store = fixtures().join("stores2/preview/opencode-next.db");
    let seen = judge::judge_prepared(&store, How::Retry, rows::move_to);
    let text = std::fs::read_to_string(store.with_file_name("sessions.json")).expect("the sessions");
    let header: Value = serde_json::from_str(&text).expect("JSON");
    let sessions = header["sessions"].as_object().expect("the sessions by their names");
    let ends =
        sessions.iter().filter(|(_, id)| id.as_str().is_some_and(|id| seen[id].outcome() == "ends with assistant"));
    let ends: Vec<&String> = ends.map(|(name, _)| name).collect();
    // A revert that is carried out makes opencode forget what it knew, so that nothing is news.
    assert_eq!(ends, ["revert-committed"]);
}

/// The preview has no import: sessions of opencode 1 in its file are listed, and have no messages.
#[test]
#[ignore = "runs the preview of opencode 2"]
fn preview_does_not_import_sessions_of_opencode_1() {
    let _alone = crate::alone();
    for version in ["1.2.27", "1.18.33"] {
        let store = fixtures().join(format!("stores/{version}/opencode.db"));
        let seen = judge::judge_prepared(&store, How::Prompt, rows::move_to);
        assert_eq!(seen.len(), 22, "{version}");
        for (id, seen) in seen {
            let turns: Vec<Value> = seen.requests.iter().take(1).flat_map(|request| request.turns()).collect();
            assert!(turns.len() <= 1, "{version}, {id}: {turns:?}");
        }
    }
}
