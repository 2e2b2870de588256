//! Sessions of which every prompt is refused: made by a real opencode, found, mended, taken back.
//!
//! Histories are made by the program itself or from changed rows. Two prompts are refused; `scan` names the part;
//! `repair` alone does nothing; with `--include` the next prompt and a retry are accepted; `undo` brings the rows and
//! the refusal back.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde_json::{Value, json};

use crate::checks::{list, run_unstick};
use crate::claude::png;
use crate::judge::{self, How};
use crate::opencode::{Home, MODEL, Server, Snapshots, Version};
use crate::provider::{Event, Provider, Reply};
use crate::rows::{self, Session};
use crate::setup::{SETUPS, Setup};
use crate::{alone, report, versions};

/// A history that is refused for ever, and what is to be said of it.
struct Case {
    name: &'static str,
    /// Whether it comes about through this setup.
    applies: fn(&'static Setup) -> bool,
    play: fn(&Stage<'_>) -> Result<(), String>,
    /// Row changes where no run of this program makes such a history.
    craft: Option<fn(&mut Session)>,
    code: &'static str,
    /// The part that has to be named.
    part: fn(&Value) -> bool,
    /// Said without a stored refusal, through Anthropic's own package.
    predicted: bool,
}

fn both(_: &'static Setup) -> bool {
    true
}

fn anthropic(setup: &'static Setup) -> bool {
    setup.package == "@ai-sdk/anthropic"
}

const CASES: &[Case] = &[
    Case {
        name: "dead-blank-thinking",
        applies: anthropic,
        play: |stage| stage.aborted("text", [vec![Event::Thinking("Hm."), Event::NoText, Event::Hang]]),
        craft: None,
        code: "blank-text",
        part: |part| part["type"] == "text" && part["text"] == "",
        predicted: false,
    },
    Case {
        name: "dead-blank-prompt",
        applies: both,
        play: |stage| stage.prompt("first", &[json!({"type": "text", "text": "Hello."})], [text("Hi.")]),
        craft: Some(|session| {
            let first = session.messages.iter_mut().find(|m| m.is_user()).expect("a prompt");
            first.parts.iter_mut().for_each(|p| p.data["text"] = json!("  \n"));
        }),
        code: "blank-text",
        part: |part| part["text"] == "  \n",
        predicted: true,
    },
    Case {
        name: "dead-image-pixels",
        applies: both,
        play: |stage| {
            fs::write(stage.home.work().join("wide.png"), png(9_000, 1, 0)).map_err(|e| e.to_string())?;
            stage.read("wide.png")
        },
        // 1.14.48 keeps no image of this form that its tool has read; versions before it, and other tools, do.
        craft: Some(|session| {
            let url = format!("data:image/png;base64,{}", encode(&png(9_000, 1, 0)));
            for message in &mut session.messages {
                for part in message.parts.iter_mut().filter(|p| p.data["type"] == "tool") {
                    if part.data["state"]["attachments"].is_null() {
                        part.data["state"]["attachments"] = json!([{"id": part.id, "sessionID": session.id,
                            "messageID": message.id, "type": "file", "mime": "image/png", "url": url}]);
                    }
                }
            }
        }),
        code: "image-size",
        part: |part| part["type"] == "tool",
        predicted: true,
    },
    Case {
        name: "dead-image-bytes",
        applies: both,
        play: |stage| stage.attach(&png(3, 3, 4_000_000)),
        craft: None,
        code: "image-size",
        part: |part| part["type"] == "file",
        predicted: false,
    },
    Case {
        name: "dead-image-bad",
        applies: both,
        play: |stage| stage.attach(&png(3, 3, 0)),
        craft: Some(|session| {
            for part in session.messages.iter_mut().flat_map(|m| &mut m.parts).filter(|p| p.data["type"] == "file") {
                part.data["url"] = json!(format!("data:image/png;base64,{}", encode(b"<html>no image</html>")));
            }
        }),
        code: "bad-image",
        part: |part| part["type"] == "file",
        predicted: true,
    },
    Case {
        name: "dead-images",
        applies: both,
        play: |stage| {
            let image = stage.file(&png(3, 3, 0));
            let parts: Vec<Value> = std::iter::repeat_n(image, 52).collect();
            stage.prompt("images", &parts, [])
        },
        craft: None,
        code: "too-many-images",
        part: |part| part["type"] == "file",
        predicted: false,
    },
    Case {
        name: "dead-call-twice",
        applies: both,
        play: |stage| {
            let call = || vec![Event::Call("call_0", "bash", json!({"command": "echo hi", "description": "run it"}))];
            stage.prompt("twice", &[json!({"type": "text", "text": "Twice."})], [call(), call()])
        },
        craft: None,
        code: "call-id",
        part: |part| part["type"] == "tool",
        predicted: true,
    },
    Case {
        name: "dead-call-empty",
        applies: both,
        play: |stage| {
            let call = Event::Tool("bash", json!({"command": "echo hi", "description": "run it"}));
            stage.prompt("empty", &[json!({"type": "text", "text": "Once."})], [vec![call], text("Done.")])
        },
        craft: Some(|session| {
            let parts = session.messages.iter_mut().flat_map(|m| &mut m.parts);
            parts.filter(|p| p.data["type"] == "tool").for_each(|p| p.data["callID"] = json!(""));
        }),
        code: "call-id",
        part: |part| part["type"] == "tool",
        predicted: true,
    },
    Case {
        name: "dead-provider-call",
        applies: both,
        play: |stage| {
            let call = Event::Tool("bash", json!({"command": "echo hi", "description": "run it"}));
            stage.prompt("served", &[json!({"type": "text", "text": "Once."})], [vec![call], text("Done.")])
        },
        craft: Some(|session| {
            let parts = session.messages.iter_mut().flat_map(|m| &mut m.parts);
            parts
                .filter(|p| p.data["type"] == "tool")
                .for_each(|p| p.data["metadata"] = json!({"providerExecuted": true}));
            // Nothing else may be in the message, and answers that follow each other are one.
            session.messages.truncate(2);
        }),
        code: "provider-call",
        part: |part| part["type"] == "tool",
        predicted: true,
    },
    Case {
        name: "dead-thinking",
        applies: anthropic,
        play: |stage| stage.aborted("reasoning", [vec![Event::Thinking("Hm…"), Event::Hang]]),
        // A crash leaves no mark of it.
        craft: Some(|session| {
            let answer = session.messages.iter_mut().find(|m| !m.is_user()).expect("an answer");
            answer.data.as_object_mut().expect("an object").remove("error");
        }),
        code: "empty-message",
        part: |part| part["type"] == "reasoning",
        predicted: true,
    },
    Case {
        name: "dead-thinking-last",
        applies: anthropic,
        play: |stage| stage.aborted("reasoning", [vec![Event::Thinking("Hm…"), Event::Hang]]),
        // A crash leaves no mark of it, and the signature may have come.
        craft: Some(|session| {
            let answer = session.messages.iter_mut().find(|m| !m.is_user()).expect("an answer");
            answer.data.as_object_mut().expect("an object").remove("error");
            let thought = answer.parts.iter_mut().find(|p| p.data["type"] == "reasoning").expect("a thought");
            thought.data["metadata"] = json!({"anthropic": {"signature": "b3duIHNpZ25hdHVyZQ=="}});
        }),
        code: "thinking-last",
        part: |part| part["type"] == "reasoning",
        predicted: true,
    },
    Case {
        name: "dead-signature",
        applies: anthropic,
        play: |stage| {
            let thought = vec![Event::Foreign("Hm."), Event::Text("Well.")];
            stage.prompt("signed", &[json!({"type": "text", "text": "Think."})], [thought])
        },
        craft: None,
        code: "bad-signature",
        part: |part| part["type"] == "reasoning",
        predicted: false,
    },
];

fn text(words: &'static str) -> Reply {
    vec![Event::Text(words)]
}

fn encode(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// One case, with one provider.
struct Stage<'a> {
    server: &'a Server,
    provider: &'a Provider,
    home: &'a Home,
    session: &'a str,
    marker: String,
    model: Value,
}

impl Stage<'_> {
    /// A prompt with these parts, and the replies to it.
    fn prompt(&self, what: &str, parts: &[Value], replies: impl IntoIterator<Item = Reply>) -> Result<(), String> {
        let marker = format!("{}.{what}", self.marker);
        self.provider.script(&marker, replies);
        let mut parts = parts.to_vec();
        parts.push(json!({"type": "text", "text": format!("please SCN:{marker}")}));
        let body = json!({"agent": "build", "model": self.model, "parts": parts});
        let path = format!("/session/{}/message", self.session);
        self.server.post_within(&path, &body, Duration::from_secs(90)).map(|_| ())
    }

    fn file(&self, bytes: &[u8]) -> Value {
        json!({"type": "file", "mime": "image/png", "filename": "shot.png",
            "url": format!("data:image/png;base64,{}", encode(bytes))})
    }

    fn attach(&self, bytes: &[u8]) -> Result<(), String> {
        self.prompt("file", &[self.file(bytes)], [text("I see.")])
    }

    fn read(&self, name: &str) -> Result<(), String> {
        let read = Event::Tool("read", json!({"filePath": self.home.work().join(name)}));
        self.prompt("read", &[], [vec![read], text("I see.")])
    }

    /// An answer that is aborted as soon as a part of that kind is stored.
    fn aborted(&self, kind: &str, replies: impl IntoIterator<Item = Reply>) -> Result<(), String> {
        std::thread::scope(|scope| {
            let replies: Vec<Reply> = replies.into_iter().collect();
            scope.spawn(|| self.prompt("aborted", &[], replies));
            let end = Instant::now() + Duration::from_secs(30);
            loop {
                let messages = self.server.get(&format!("/session/{}/message", self.session))?;
                let answers = list(&messages).iter().filter(|m| m["info"]["role"] == "assistant");
                if answers.flat_map(|m| list(&m["parts"])).any(|p| p["type"] == kind) {
                    break;
                }
                if Instant::now() > end {
                    return Err("waited in vain for a part".to_owned());
                }
                std::thread::sleep(Duration::from_millis(150));
            }
            std::thread::sleep(Duration::from_millis(700));
            self.server.post(&format!("/session/{}/abort", self.session), &json!({})).map(|_| ())
        })
    }
}

fn wanted(case: &Case) -> bool {
    let said = std::env::var("UNSTICK_E2E_STORIES").ok();
    said.is_none_or(|said| said.split_whitespace().any(|name| name == case.name))
}

/// What a prompt to each of the sessions comes to: the refusal, if any.
pub(crate) fn prompts(version: &Version, store: &Path) -> BTreeMap<String, Option<String>> {
    let judged = judge::judge(version, store, How::Prompt);
    let refusal = |seen: &judge::Seen| match &seen.request {
        None => Some(format!("no request: {}", seen.outcome)),
        Some(request) => request.refusal.as_ref().map(|refusal| format!("{refusal:?}: {}", request.short())),
    };
    judged.seen.iter().map(|(id, seen)| (id.clone(), refusal(seen))).collect()
}

fn of(version: &Version) -> Vec<String> {
    let mut misses = Vec::new();
    let provider = Provider::start();
    let home = Home::new(version, provider.port(), Snapshots::Off);
    let cases: Vec<(&Case, &'static Setup)> = CASES
        .iter()
        .filter(|case| wanted(case))
        .flat_map(|case| SETUPS[..2].iter().filter(|p| (case.applies)(p)).map(move |p| (case, p)))
        .collect();
    let mut ids: BTreeMap<String, (&Case, &'static Setup)> = BTreeMap::new();
    let server = Server::start(&home);
    for (case, setup) in &cases {
        let title = format!("{} {}", case.name, setup.provider);
        let made = server.post("/session", &json!({"title": title})).expect("a session");
        let id = made["id"].as_str().expect("an id").to_owned();
        let stage = Stage {
            server: &server,
            provider: &provider,
            home: &home,
            session: &id,
            marker: format!("{}.{}", case.name, setup.provider),
            model: json!({"providerID": setup.provider, "modelID": MODEL}),
        };
        match (case.play)(&stage) {
            Ok(()) => drop(ids.insert(id, (case, *setup))),
            Err(why) => misses.push(format!("MISS scenario: opencode {version}, {title}: {why}")),
        }
    }
    server.stop();
    let place = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| place.path().join(name);
    let (made, refused, mended, undone) = (at("made.db"), at("refused.db"), at("mended.db"), at("undone.db"));
    rows::copy(&home.store(), &made);
    let known: Vec<String> = ids.keys().cloned().collect();
    rows::keep_only(&made, &known);
    {
        let db = rows::open(&made);
        for mut session in rows::load(&made) {
            if let Some((Case { craft: Some(craft), .. }, _)) = ids.get(&session.id) {
                craft(&mut session);
                rows::write(&db, &session);
                rows::rewrite_log(&db, &session, &session.id);
            }
        }
    }
    let unstick = |store: &Path, args: &[&str]| run_unstick(store, place.path(), args);
    let status = |store: &Path| -> BTreeMap<String, Value> {
        let (scan, _) = unstick(store, &["scan", "--all"]);
        list(&scan["sessions"]).iter().map(|s| (s["id"].as_str().unwrap_or("").to_owned(), s.clone())).collect()
    };
    // Two prompts in a row, by a real program that stores what it is told.
    let home = Home::new(version, provider.port(), Snapshots::Off);
    fs::copy(&made, home.store()).expect("a copy of the store");
    rows::move_to(&home.store(), &home.work());
    let server = Server::start(&home);
    for (id, (case, setup)) in &ids {
        for turn in ["one", "two"] {
            let words = json!({"type": "text", "text": format!("And now, {turn}?")});
            let body = json!({"agent": "build", "parts": [words],
                "model": {"providerID": setup.provider, "modelID": MODEL}});
            let before = provider.count();
            let answer = server.post_within(&format!("/session/{id}/message"), &body, Duration::from_secs(60));
            let asked = provider.requests(before, Some(id));
            if !asked.iter().any(|request| request.refusal.is_some()) {
                let short: Vec<String> = asked.iter().map(|r| r.short()).collect();
                misses.push(format!(
                    "MISS refusal: opencode {version}, {} ({}), prompt {turn}: {short:?} {answer:?}",
                    case.name, setup.package
                ));
            }
        }
    }
    server.stop();
    rows::copy(&home.store(), &refused);
    let sessions: BTreeMap<String, Session> = rows::load(&refused).into_iter().map(|s| (s.id.clone(), s)).collect();
    let (predicted, evidenced) = (status(&made), status(&refused));
    for (id, (case, setup)) in &ids {
        let name = format!("opencode {version}, {} ({})", case.name, setup.package);
        let told = |store: &BTreeMap<String, Value>| store.get(id).cloned().unwrap_or_default();
        let findings = |said: &Value| -> Vec<String> {
            let mine = list(&said["findings"]).iter().filter(|f| f["code"] == case.code);
            mine.filter_map(|f| f["part_id"].as_str().map(str::to_owned)).collect()
        };
        let sure = case.predicted && setup.package == "@ai-sdk/anthropic";
        let (before, after) = (told(&predicted), told(&evidenced));
        if (before["status"] == "dead") != sure && before["evidence"] != "evidenced" {
            misses.push(format!("MISS predict: {name}: predicted {} {}", before["status"], before["findings"]));
        }
        if after["status"] != "dead" {
            misses.push(format!(
                "MISS scan: {name}: {} {}\n  {}",
                after["status"],
                after["findings"],
                sessions[id].describe()
            ));
        }
        let parts: BTreeMap<&str, &Value> =
            sessions[id].messages.iter().flat_map(|m| &m.parts).map(|p| (p.id.as_str(), &p.data)).collect();
        let named = findings(&after);
        if named.is_empty() || !named.iter().all(|part| parts.get(part.as_str()).is_some_and(|p| (case.part)(p))) {
            misses.push(format!("MISS scan: {name}: names {named:?}"));
        }
    }
    // Nothing of this is done unless it is asked for.
    fs::copy(&refused, &mended).expect("a copy of the store");
    let (plain, _) = unstick(&mended, &["repair", "--yes"]);
    if !list(&plain["plan"]["sessions"]).is_empty() {
        misses.push(format!("MISS default: opencode {version}: {}", plain["plan"]));
    }
    let extract = at("files");
    let (repair, code) = unstick(
        &mended,
        &[
            "repair",
            "--yes",
            "--include",
            "blank-text,media,calls,signatures,reasoning",
            "--extract",
            &extract.to_string_lossy(),
        ],
    );
    if code > 1 || list(&repair["plan"]["sessions"]).len() != ids.len() {
        misses.push(format!(
            "MISS repair: opencode {version}: exit {code}, left {}, error {}",
            repair["left"], repair["error"]
        ));
    }
    let files = fs::read_dir(&extract).map_or(0, |folder| folder.count());
    println!("opencode {version}, dead: {} sessions, {files} files saved", ids.len());
    fs::copy(&mended, &undone).expect("a copy of the store");
    let (undo, code) = unstick(&undone, &["undo", "--yes"]);
    if code != 0 || undo["applied"] != true {
        misses.push(format!("MISS undo: opencode {version}: exit {code}: {undo}"));
    }
    let same = |a: &Path, b: &Path| format!("{:?}", rows::load(a)) == format!("{:?}", rows::load(b));
    if !same(&refused, &undone) {
        misses.push(format!("MISS undo: opencode {version}: the rows are not what they were"));
    }
    let (after, back) = (prompts(version, &mended), prompts(version, &undone));
    let retried = judge::judge(version, &mended, How::Retry);
    for (id, (case, setup)) in &ids {
        let name = format!("opencode {version}, {} ({})", case.name, setup.package);
        if let Some(refusal) = &after[id] {
            misses.push(format!("MISS repair: {name}: refused still: {refusal}"));
        }
        if back[id].is_none() {
            misses.push(format!("MISS undo: {name}: is not refused any more"));
        }
        let retry = retried.seen[id].request.as_ref().and_then(|r| r.refusal.clone());
        if let Some(refusal) = retry {
            misses.push(format!("MISS repair: {name}: a retry is refused still: {refusal:?}"));
        }
    }
    misses
}

#[test]
#[ignore = "runs real opencode programs"]
fn dead_sessions_are_found_and_mended() {
    let _alone = alone();
    report(&versions().iter().flat_map(of).collect::<Vec<_>>());
}
