//! Rows that lack a member, before and after it is filled in: what could not be opened opens, and the next prompt sends
//! what it sent before.

use std::sync::Mutex;

use opencode_unstick::decoding::fill::{self, Edit};
use opencode_unstick::plain::{MessageRow, PartRow, SessionRow};
use rusqlite::params;
use serde_json::Value;

use super::place::{Place, Script};
use crate::checks::run_unstick;
use crate::judge::side_by_side;
use crate::opencode::{Server, Version};
use crate::{alone, report, versions};

/// What is taken away: a name, the message (0 and 2 are prompts, 1 and 3 their answers), and its members.
const GAPS: [(&str, usize, &[&str]); 14] = [
    ("a prompt's agent", 0, &["agent"]),
    ("a prompt's model", 0, &["model"]),
    ("both", 0, &["agent", "model"]),
    ("the newest prompt's agent", 2, &["agent"]),
    ("the newest prompt's model", 2, &["model"]),
    ("an answer's agent", 1, &["agent"]),
    ("an answer's mode", 1, &["mode"]),
    ("an answer's parent", 1, &["parentID"]),
    ("an answer's model", 1, &["modelID", "providerID"]),
    ("an answer's folder", 1, &["path"]),
    ("the newest answer's agent", 3, &["agent"]),
    ("the newest answer's parent", 3, &["parentID"]),
    ("the newest answer's folder", 3, &["path"]),
    ("all of an answer", 3, &["agent", "mode", "parentID", "modelID", "providerID", "path"]),
];

fn damaged(n: u64, work: &str, message: usize, members: &[&str]) -> Script {
    let mut script = Script::sound(n, work);
    let row = &mut script.messages[message];
    let mut data: Value = serde_json::from_str(&row.text).expect("a row");
    for member in members {
        data.as_object_mut().expect("an object").remove(*member).expect("the member");
    }
    row.text = data.to_string();
    script
}

/// Gives the parts of a message ids as other programs have stored them.
fn renamed(n: u64, work: &str, message: usize) -> Script {
    let mut script = Script::sound(n, work);
    for (id, _) in &mut script.messages[message].parts {
        *id = format!("part_{}", &id[4..]);
    }
    script
}

/// One of each, then the same again: what is filled in stands beside what is not.
fn scripts(work: &str) -> Vec<(&'static str, Script, Script)> {
    let numbers = || (1_u64..).map(|n| (n, n + 1_000));
    let gaps = GAPS.iter().zip(numbers()).map(|((name, at, members), (one, other))| {
        (*name, damaged(one, work, *at, members), damaged(other, work, *at, members))
    });
    let more = [("a prompt's part", 2), ("an answer's parts", 3), ("an earlier answer's parts", 1)];
    let parts = more
        .iter()
        .zip(numbers().skip(GAPS.len()))
        .map(|((name, at), (one, other))| (*name, renamed(one, work, *at), renamed(other, work, *at)));
    gaps.chain(parts).collect()
}

/// Fills in what sessions lack with the program. Returns what is wrong with that.
fn repair(place: &Place, scripts: &[&Script]) -> Vec<String> {
    let ids: Vec<&str> = scripts.iter().map(|script| script.id.as_str()).collect();
    let args = [&["repair", "--yes", "--include", "rows"][..], &ids].concat();
    let (done, code) = run_unstick(&place.home.store(), &place.home.base(), &args);
    let planned = done["plan"]["sessions"].as_array().map_or(0, Vec::len);
    let whole = code == 0 && planned == ids.len() && done["applied"] == true;
    (!whole)
        .then(|| format!("exit {code}, {planned} of {} sessions: {}", ids.len(), done["left"]))
        .into_iter()
        .collect()
}

/// Whether the program can understand the rows before they are filled in: it leaves a session of which it cannot.
fn understood(script: &Script) -> bool {
    let answers = script.messages.iter().filter(|message| message.text.contains("\"role\":\"assistant\""));
    answers.into_iter().all(|message| message.text.contains("\"modelID\""))
}

/// Fills in what a session lacks.
fn fill(place: &Place, script: &Script) -> Vec<String> {
    let row = SessionRow {
        id: script.id.clone(),
        project_id: "c0ffee".to_owned(),
        directory: place.work(),
        ..SessionRow::default()
    };
    let messages = script.messages.iter().map(|message| MessageRow {
        id: message.id.clone(),
        time_created: message.time,
        data: message.text.clone(),
        parts: sorted(message.parts.iter().map(|(id, data)| PartRow {
            id: id.clone(),
            time_created: 0,
            data: data.clone(),
        })),
    });
    let messages: Vec<MessageRow> = messages.collect();
    let filled = fill::fill(&row, &messages, Some(&place.work()), |_| false);
    let db = place.db();
    for edit in &filled.edits {
        let changed = match edit {
            Edit::Message { id, data, .. } => db.execute("UPDATE message SET data = ? WHERE id = ?", params![data, id]),
            Edit::Part { from, to } => db.execute("UPDATE part SET id = ? WHERE id = ?", params![to, from]),
        };
        assert_eq!(changed.expect("an edit"), 1, "{edit:?}");
    }
    filled.left.iter().map(|left| format!("{left:?}")).collect()
}

fn sorted(parts: impl Iterator<Item = PartRow>) -> Vec<PartRow> {
    let mut parts: Vec<PartRow> = parts.collect();
    parts.sort_by(|a, b| a.id.cmp(&b.id));
    parts
}

fn check(version: &Version) -> Vec<String> {
    let place = Place::new(version);
    let scripts = scripts(&place.work());
    let all: Vec<Script> = scripts.iter().flat_map(|(_, one, other)| [one.clone(), other.clone()]).collect();
    place.insert(&all);
    let misses = Mutex::new(Vec::new());
    let others: Vec<&Script> = scripts.iter().map(|(_, _, other)| other).filter(|other| understood(other)).collect();
    for wrong in repair(&place, &others) {
        misses.lock().expect("a list").push(format!("opencode {version}: {wrong}"));
    }
    for (name, _, other) in scripts.iter().filter(|(_, _, other)| !understood(other)) {
        for left in fill(&place, other) {
            misses.lock().expect("a list").push(format!("opencode {version}: {name} stays: {left}"));
        }
    }
    let server = Server::start(&place.home);
    let list = server.get("/session?limit=1000").expect("a list");
    side_by_side(2, &scripts, |(name, one, other)| {
        let miss = |what: String| misses.lock().expect("a list").push(format!("opencode {version}: {name}: {what}"));
        let opens = |script: &Script| server.get(&format!("/session/{}/message", script.id)).is_ok();
        if opens(one) == version.at_least(1, 14, 48) {
            miss("it was not the gap that kept it from opening".to_owned());
        }
        if !opens(other) {
            miss("it does not open".to_owned());
        }
        if !list.as_array().is_some_and(|list| list.iter().any(|session| session["id"] == other.id.as_str())) {
            miss("it is not listed".to_owned());
        }
        let asked = [one, other].map(|script| {
            let answer = place.ask(&server, &script.id, None);
            let turns = place.provider.requests(0, Some(&script.id)).first().map(|request| request.turns());
            (answer, turns)
        });
        let [(before, old), (after, new)] = asked;
        if after.is_err() || before.is_ok() && old != new || new.is_none_or(|turns| turns.len() != 5) {
            miss(format!("its prompt was {before:?} and is {after:?}"));
        }
        if let Err(why) = place.ask(&server, &other.id, Some(&other.messages[2].id)) {
            miss(format!("its prompt cannot be sent again: {why}"));
        }
        if !opens(other) {
            miss("it does not open after a prompt".to_owned());
        }
    });
    server.stop();
    misses.into_inner().expect("a list")
}

#[test]
#[ignore = "runs real opencode programs"]
fn what_is_filled_in_opens_and_sends_the_same() {
    let _alone = alone();
    report(&versions().iter().flat_map(check).collect::<Vec<_>>());
}

/// A part that is cut off in the middle of its JSON, in the message at that place.
fn cut_off(n: u64, work: &str, message: usize) -> Script {
    let mut script = Script::sound(n, work);
    let (_, data) = script.messages[message].parts.last_mut().expect("a part");
    data.truncate(data.len() - 3);
    script
}

fn without_broken_parts(version: &Version) -> Vec<String> {
    let place = Place::new(version);
    let pairs: Vec<(Script, Script)> = (0..4)
        .zip(1_u64..)
        .map(|(at, n)| (cut_off(n, &place.work(), at), cut_off(n + 1_000, &place.work(), at)))
        .collect();
    let all: Vec<Script> = pairs.iter().flat_map(|(one, other)| [one.clone(), other.clone()]).collect();
    place.insert(&all);
    let ids: Vec<&str> = pairs.iter().map(|(_, other)| other.id.as_str()).collect();
    let args = [&["repair", "--yes", "--include", "broken-parts"][..], &ids].concat();
    let (done, code) = run_unstick(&place.home.store(), &place.home.base(), &args);
    let mut misses = Vec::new();
    if code != 0 || done["plan"]["sessions"].as_array().map_or(0, Vec::len) != ids.len() {
        misses.push(format!("MISS broken: opencode {version}: exit {code}: {done}"));
    }
    let server = Server::start(&place.home);
    let list = server.get("/session?limit=1000").expect("a list");
    for (at, (one, other)) in pairs.iter().enumerate() {
        let mut miss = |what: String| misses.push(format!("MISS broken: opencode {version}, message {at}: {what}"));
        let opens = |script: &Script| server.get(&format!("/session/{}/message", script.id)).is_ok();
        if opens(one) || place.ask(&server, &one.id, None).is_ok() {
            miss("with the broken part it opens, or takes a prompt".to_owned());
        }
        if !opens(other) {
            miss("it does not open".to_owned());
        }
        if !list.as_array().is_some_and(|list| list.iter().any(|session| session["id"] == other.id.as_str())) {
            miss("it is not listed".to_owned());
        }
        if let Err(why) = place.ask(&server, &other.id, None) {
            miss(format!("it takes no prompt: {why}"));
        }
        if !opens(other) {
            miss("it does not open after a prompt".to_owned());
        }
    }
    server.stop();
    misses
}

#[test]
#[ignore = "runs real opencode programs"]
fn what_is_left_without_its_broken_part_opens_and_takes_a_prompt() {
    let _alone = alone();
    report(&versions().iter().flat_map(without_broken_parts).collect::<Vec<_>>());
}
