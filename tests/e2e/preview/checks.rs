//! Asks the preview itself: is it as it was when the fixtures were made, does it do what is predicted, and does it take
//! what was refused once a row is changed.

use std::path::{Path, PathBuf};

use opencode_unstick::opencode2::edit::{self, Edit};
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

/// A change, and the shape that every prompt is refused for without it.
const EDITS: &[(&str, Protocol, &[Edit])] = &[
    ("thinking-item-foreign", Protocol::Responses, &[Edit::DropState { part: 0 }]),
    ("thinking-foreign", Protocol::Anthropic, &[Edit::DropState { part: 0 }, Edit::ThinkingAsText { part: 0 }]),
    ("thinking-unsigned", Protocol::Anthropic, &[Edit::ThinkingAsText { part: 0 }]),
    ("thinking-signature-empty", Protocol::Anthropic, &[Edit::ThinkingAsText { part: 0 }]),
    ("user-no-time", Protocol::Anthropic, &[Edit::Created { ms: shapes::TIME }]),
    ("answer-without-time", Protocol::Anthropic, &[Edit::Created { ms: shapes::TIME }]),
    ("tool-output-in-metadata", Protocol::Anthropic, &[Edit::Output { part: 0 }]),
];

#[test]
#[ignore = "runs the preview of opencode 2"]
fn preview_takes_what_was_refused_once_a_row_is_changed() {
    let _alone = crate::alone();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut misses = Vec::new();
    for protocol in [Protocol::Anthropic, Protocol::Responses] {
        let cases: Vec<_> = EDITS.iter().filter(|case| case.1 == protocol).collect();
        let (before, after) = (folder.path().join("before.db"), folder.path().join("after.db"));
        let names: Vec<&str> = cases.iter().map(|case| case.0).collect();
        let made = shapes::store_of(protocol, &before, |name| names.contains(&name));
        std::fs::copy(&before, &after).expect("a copy");
        for (name, _, edits) in &cases {
            change(&after, &made.sessions[*name], edits);
        }
        let [refused, taken] = [&before, &after].map(|store| judge::judge(store, How::Prompt));
        for (name, _, _) in cases {
            let id = &made.sessions[*name];
            if accepted(&refused[id]) {
                misses.push(format!("{name}: taken before, {}", refused[id].outcome()));
            }
            if !accepted(&taken[id]) {
                misses.push(format!("{name}: refused after, {:?}", taken[id]));
            }
        }
        std::fs::remove_file(before).expect("the store");
        std::fs::remove_file(after).expect("the store");
    }
    crate::report(&misses);
}

fn accepted(seen: &Seen) -> bool {
    seen.opens && seen.run == Run::Succeeded && seen.requests.iter().all(|request| request.refusal.is_none())
}

/// Makes the edits in the last row that they can be made in.
fn change(store: &Path, session: &str, edits: &[Edit]) {
    let db = rows::open(store);
    let query = "SELECT id, data FROM session_message WHERE session_id = ? ORDER BY seq DESC LIMIT 1";
    let (id, data): (String, String) =
        db.query_row(query, [session], |row| Ok((row.get(0)?, row.get(1)?))).expect("a row");
    let new = edits.iter().fold(data, |data, edit| edit::apply(&data, *edit).expect("the edit can be made"));
    db.execute("UPDATE session_message SET data = ? WHERE id = ?", [new, id]).expect("the row is changed");
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
