//! opencode 2: what the preview did with its own sessions is what is predicted.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use opencode_unstick::opencode2::Words;
use opencode_unstick::opencode2::findings::{self, Code, EventKind};
use opencode_unstick::opencode2::generation::{Generation, PREVIEW, RELEASED};
use opencode_unstick::opencode2::predict::{self, Outcome, Target, Way};
use opencode_unstick::opencode2::wire::{Api, Kind, Role};
use serde_json::{Value, json};

use crate::agreement::{Owned, disagreement, load};

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/stores2")
}

pub(crate) fn document(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The folders of what the preview stored, each with what it is spoken to with.
fn captured() -> Vec<(PathBuf, Api)> {
    let mut out = Vec::new();
    for entry in fs::read_dir(folder()).unwrap() {
        let folder = entry.unwrap().path();
        if folder.join("verdicts.json").is_file() {
            let header = document(&folder.join("sessions.json"));
            let package = header["sdk"].as_object().unwrap().values().next().unwrap().clone();
            let api = match package.as_str().unwrap() {
                "@ai-sdk/anthropic" => Api::Anthropic,
                "@ai-sdk/openai" => Api::Responses { stateless: true },
                _ => Api::Chat,
            };
            out.push((folder, api));
        }
    }
    assert!(out.len() >= 2, "the captured stores are there");
    out
}

#[test]
fn the_preview_does_with_each_of_its_sessions_what_is_predicted() {
    let mut misses = Vec::new();
    let mut asked = 0;
    for (folder, api) in captured() {
        let verdicts = document(&folder.join("verdicts.json"));
        let names: BTreeMap<String, String> =
            serde_json::from_value(document(&folder.join("sessions.json"))["sessions"].clone()).unwrap();
        for session in load(&folder.join("opencode-next.db")) {
            let name = names.iter().find(|(_, id)| **id == session.id).map_or("?", |(name, _)| name);
            let verdict = &verdicts[&session.id];
            for (way, key) in [(Way::Resume, "resume"), (Way::Prompt, "prompt")] {
                assert_ne!(verdict[key], json!(null), "{name} has a verdict");
                asked += 1;
                let miss = session.with(|session| disagreement(&PREVIEW, session, api, way, &verdict[key]));
                misses.extend(miss.map(|why| format!("{}, {name}, {key}: {why}", folder.display())));
            }
        }
    }
    assert!(misses.is_empty(), "{} of {asked} misses\n{}", misses.len(), misses.join("\n"));
    assert!(asked > 150, "{asked} verdicts were compared");
}

#[test]
fn a_session_opens_unless_a_row_of_it_does_not_decode() {
    for (folder, api) in captured() {
        let verdicts = document(&folder.join("verdicts.json"));
        for session in load(&folder.join("opencode-next.db")) {
            let found = session.with(|session| {
                let found = findings::all(&PREVIEW, session, api);
                let closing = [Code::UndecodableRow, Code::UndecodableSession];
                found.iter().any(|finding| closing.contains(&finding.code))
            });
            let opens = verdicts[&session.id]["opens"].as_bool().unwrap();
            assert_eq!(opens, !found, "{} in {}", session.id, folder.display());
        }
    }
}

/// The findings of a session of the shapes, as `code part`, for a program.
fn found(generation: &Generation, store: &str, api: Api, name: &str) -> Vec<String> {
    let folder = folder().join(store);
    let id = document(&folder.join("sessions.json"))["sessions"][name]
        .as_str()
        .unwrap_or_else(|| panic!("{name}"))
        .to_owned();
    let session = load(&folder.join("opencode-next.db")).into_iter().find(|session| session.id == id).unwrap();
    session.with(|session| {
        let found = findings::all(generation, session, api).into_iter();
        found
            .map(|finding| {
                let part = finding.part.map_or_else(String::new, |part| format!(" {part}"));
                let prefill = finding.prefill.map_or_else(String::new, |prefill| format!(" {prefill:?}"));
                format!("{}{part}{prefill}{}", finding.code, if finding.blocks { " blocks" } else { "" })
            })
            .collect()
    })
}

#[test]
fn faults_are_named_with_their_row_and_part() {
    let claude = |name: &str| found(&PREVIEW, "shapes", Api::Anthropic, name);
    assert_eq!(claude("user-no-time"), ["undecodable-row blocks"]);
    assert_eq!(claude("undecodable-before-compaction"), ["undecodable-row"]);
    assert_eq!(claude("compaction-broken-old"), ["undecodable-row"]);
    assert_eq!(claude("session-model-broken"), ["undecodable-session blocks"]);
    assert_eq!(claude("waiting-broken"), ["undecodable-prompt blocks"]);
    assert_eq!(claude("waiting-no-delivery"), ["undecodable-prompt"]);
    assert_eq!(claude("call-id-twice"), ["call-id-twice 1"]);
    assert_eq!(claude("call-id-in-two-rows"), ["call-id-twice 0"]);
    assert_eq!(claude("thinking-unsigned"), ["unsigned-thinking 0"]);
    assert_eq!(found(&RELEASED, "shapes", Api::Anthropic, "thinking-unsigned"), [""; 0]);
    assert_eq!(claude("hosted-search"), [""; 0]);
    assert_eq!(claude("hosted-unknown"), ["provider-call 0"]);
    let chat = |name: &str| found(&PREVIEW, "shapes-litellm", Api::Chat, name);
    assert_eq!(chat("hosted-search"), ["provider-call 0"]);
    assert_eq!(chat("thinking-unsigned"), [""; 0]);
    assert_eq!(claude("empty-refused"), ["prefill-refusal StepLimit"]);
    let story = |name: &str| found(&PREVIEW, "preview", Api::Anthropic, name);
    assert_eq!(story("maxsteps"), ["prefill-refusal StepLimit"]);
    assert_eq!(story("empty-prompt"), ["prefill-refusal Tail"]);
    assert_eq!(story("healthy"), [""; 0]);
}

#[test]
fn state_is_named_only_if_the_history_ends_with_its_refusal() {
    let folder = folder().join("shapes-gateway");
    let id = document(&folder.join("sessions.json"))["sessions"]["thinking-item-foreign"].as_str().unwrap().to_owned();
    let mut session = load(&folder.join("opencode-next.db")).into_iter().find(|session| session.id == id).unwrap();
    let codes = |session: &Owned| {
        session.with(|session| {
            let found = findings::all(&PREVIEW, session, Api::Responses { stateless: true });
            found.into_iter().map(|f| (f.code.to_string(), f.row.to_owned(), f.part)).collect::<Vec<_>>()
        })
    };
    assert_eq!(codes(&session), [], "nothing is said of state that nobody has refused");
    let (answer, _, seq, time, data) = session.messages[1].clone();
    let mut refused: Value = serde_json::from_str(&data).unwrap();
    refused["content"] = json!([]);
    refused["error"] = json!({"type": "provider.invalid-request",
        "message": "Provider request failed with HTTP 400: The encrypted content for item rs_1 could not be verified."});
    session.messages.push(("msg_refused".to_owned(), "assistant".to_owned(), seq + 1, time, refused.to_string()));
    assert_eq!(codes(&session), [("refused-state".to_owned(), answer, Some(0))]);
    session.messages.push(("msg_later".to_owned(), "assistant".to_owned(), seq + 2, time, data));
    assert_eq!(codes(&session), [], "an answer that came after it tells that it is over");
}

#[test]
fn released_programs_end_a_resumed_request_with_the_user() {
    let mut asked = 0;
    for (folder, api) in captured() {
        let target = Target { api, limits: None };
        for session in load(&folder.join("opencode-next.db")) {
            session.with(|session| {
                for way in [Way::Resume, Way::Prompt] {
                    if let Outcome::Sends(turns) = predict::predict(&RELEASED, session, target, way) {
                        assert_eq!(turns.last().unwrap().role, Role::User, "{}", session.row.id);
                        asked += 1;
                    }
                }
            });
        }
    }
    assert!(asked > 500, "{asked} requests");
}

#[test]
fn a_session_that_was_resumed_ten_times_is_given_up() {
    let mut session = load(&folder().join("preview/opencode-next.db")).swap_remove(0);
    let target = Target { api: Api::Anthropic, limits: None };
    for (attempts, given_up) in [(9, false), (10, true)] {
        session.attempts = attempts;
        let outcome = session.with(|s| matches!(predict::predict(&RELEASED, s, target, Way::Resume), Outcome::GivenUp));
        assert_eq!(outcome, given_up, "{attempts} attempts");
        assert!(!session.with(|s| matches!(predict::predict(&RELEASED, s, target, Way::Prompt), Outcome::GivenUp)));
    }
}

#[test]
fn rows_of_the_import_decode_and_their_orphans_are_counted() {
    for (store, orphans) in [("imported-1.18.33", 11), ("imported-1.2.27", 2)] {
        let sessions = load(&folder().join(store).join("opencode.db"));
        assert_eq!(sessions.len(), 22, "{store}");
        let mut events = Vec::new();
        for session in &sessions {
            session.with(|session| {
                let found = findings::all(&RELEASED, session, Api::Anthropic);
                let undecodable = found.iter().find(|finding| finding.misfit.is_some());
                assert_eq!(undecodable, None, "{store}: {}", session.row.id);
                let found = findings::events(&RELEASED, session.messages).into_iter();
                events.extend(found.map(|event| (event.kind, event.ms)));
            });
        }
        let count = |kind| events.iter().filter(|(k, _)| *k == kind).count();
        assert_eq!(count(EventKind::Orphan), orphans, "{store}");
        assert!(events.iter().all(|(_, ms)| *ms > 1.7e12), "{store}: times are milliseconds");
    }
}

#[test]
fn a_large_row_is_not_copied() {
    let text = "a".repeat(20 << 20);
    let data = format!(r#"{{"time":{{"created":1}},"text":"{text}"}}"#);
    let mut session = load(&folder().join("preview/opencode-next.db")).swap_remove(0);
    session.messages = vec![("msg_large".to_owned(), "user".to_owned(), 1, 1, data)];
    session.with(|session| {
        let target = Target { api: Api::Anthropic, limits: None };
        let Outcome::Sends(turns) = predict::predict(&PREVIEW, session, target, Way::Resume) else {
            panic!("a request")
        };
        let Kind::Text(Words::Row(text)) = turns[0].blocks[0].kind else { panic!("a text") };
        let (row, sent) = (session.messages[0].row.data.as_bytes(), text.as_raw().as_str().as_bytes());
        assert!(row.as_ptr_range().contains(&sent.as_ptr()), "what is sent is a part of the row");
    });
}

#[test]
fn a_row_that_is_cut_off_anywhere_does_not_decode() {
    let sessions = load(&folder().join("preview/opencode-next.db"));
    let longest = sessions.iter().flat_map(|session| &session.messages).max_by_key(|row| row.4.len()).unwrap();
    let (id, kind, seq, time, data) = longest.clone();
    let mut session = sessions[0].clone();
    for end in (0..data.len()).filter(|end| data.is_char_boundary(*end)) {
        session.messages = vec![(id.clone(), kind.clone(), seq, time, data[..end].to_owned())];
        let found = session.with(|session| findings::all(&RELEASED, session, Api::Chat).len());
        assert_eq!(found, 1, "cut off at {end}");
    }
}

#[test]
fn every_code_is_a_word_of_its_own() {
    use strum::IntoEnumIterator as _;
    let mut codes: Vec<String> = Code::iter().map(|code| code.to_string()).collect();
    let count = codes.len();
    codes.sort();
    codes.dedup();
    assert_eq!(codes.len(), count);
    assert!(codes.iter().all(|code| code.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')), "{codes:?}");
}
