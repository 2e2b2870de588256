//! In a terminal: a person is asked, and nothing but a yes writes; no text of the store steers the terminal.

use std::process::Command;

use crate::dump::Dump;
use crate::fixtures;
use crate::holder::Holder;
use crate::place::{Place, start};
use crate::pty::Pty;

const STORE: &str = "1.18.33";

fn asked(place: &Place, args: &[&str]) -> Pty {
    Pty::start(place.on_store(args), start)
}

fn stuck(place: &Place) -> usize {
    place.scan().titles("stuck").len()
}

#[test]
fn only_a_yes_repairs() {
    for answer in ["n", "", "no", "q", "\u{4}"] {
        let place = Place::named(STORE);
        let before = place.files();
        let mut pty = asked(&place, &["repair"]);
        pty.shows("[y/N/each]");
        pty.types(answer);
        let (code, shown) = pty.ends();
        assert_eq!(code, 1, "{answer:?}: {shown}");
        assert!(shown.contains("Nothing was changed"), "{shown}");
        before.assert_still(&place.files(), answer);
    }
    let place = Place::named(STORE);
    let mut pty = asked(&place, &["repair"]);
    pty.shows("[y/N/each]");
    pty.types("perhaps");
    pty.shows("Please answer");
    pty.types("y");
    let (code, shown) = pty.ends();
    assert_eq!((code, stuck(&place)), (0, 0), "{shown}");
}

#[test]
fn each_session_is_asked_for_and_only_the_chosen_ones_are_written() {
    let place = Place::named(STORE);
    let before = place.dump();
    let mut pty = asked(&place, &["repair"]);
    pty.shows("[y/N/each]");
    pty.types("each");
    for answer in ["y", "n", "y", "n", "n"] {
        pty.shows("[y/n/all/quit]");
        pty.types(answer);
    }
    let (code, shown) = pty.ends();
    assert_eq!((code, stuck(&place)), (1, 3), "{shown}");
    let after = place.dump();
    let changed = |id: &&String| before.of_session(id) != after.of_session(id);
    assert_eq!(fixtures::one(STORE).verdicts.keys().filter(changed).count(), 2, "{shown}");
}

#[test]
fn leaving_in_the_middle_is_no_yes() {
    let place = Place::named(STORE);
    let before = place.files();
    let mut pty = asked(&place, &["repair"]);
    pty.shows("[y/N/each]");
    pty.types("each");
    pty.shows("[y/n/all/quit]");
    pty.types("y");
    pty.shows("[y/n/all/quit]");
    pty.types("quit");
    let (code, shown) = pty.ends();
    assert_eq!(code, 1, "{shown}");
    before.assert_still(&place.files(), "half an answer");
}

#[test]
fn an_undo_asks_as_well() {
    let place = Place::named(STORE);
    let before = place.dump();
    place.repair_with(&[]).exits(0);
    let repaired = place.files();
    for (answer, code) in [("n", 1), ("y", 0)] {
        let mut pty = asked(&place, &["undo"]);
        pty.shows("[y/N/each]");
        pty.types(answer);
        let (ended, shown) = pty.ends();
        assert_eq!(ended, code, "{shown}");
        if code == 1 {
            repaired.assert_still(&place.files(), "an undo that was declined");
        }
    }
    assert!(before == place.dump(), "{:?}", before.difference(&place.dump()));
}

#[test]
fn ctrl_c_at_the_question_changes_nothing() {
    let place = Place::named(STORE);
    let before = place.files();
    let command = place.on_store(&["repair"]);
    // A terminal's Ctrl-C reaches whom it belongs to, which only a new session can have.
    let mut with_terminal = Command::new("setsid");
    with_terminal.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
    if Command::new("setsid").arg("--version").output().is_err() {
        println!("skipped: there is no setsid");
        return;
    }
    with_terminal.env_clear().envs(command.get_envs().filter_map(|(k, v)| Some((k, v?))));
    with_terminal.current_dir(place.root());
    with_terminal.env("PATH", std::env::var_os("PATH").unwrap());
    let mut pty = Pty::start(with_terminal, start);
    pty.shows("[y/N/each]");
    pty.presses('\u{3}');
    let (code, shown) = pty.ends();
    assert_eq!(code, 130, "{shown}");
    before.assert_still(&place.files(), "Ctrl-C");
}

/// Says yes to what the store has outgrown: it stays as it has become meanwhile.
fn a_yes_comes_too_late(place: &Place, mut pty: Pty) {
    let theirs = place.files();
    pty.types("y");
    let (code, shown) = pty.ends();
    assert_eq!(code, 2, "{shown}");
    assert!(shown.contains("has changed"), "{shown}");
    theirs.assert_still(&place.files(), "what was shown was outgrown");
}

#[test]
fn a_store_that_changes_between_the_question_and_the_yes_is_not_written() {
    let place = Place::named(STORE);
    let session = fixtures::one(STORE).id("rstpar").to_owned();
    let mut pty = asked(&place, &["repair"]);
    pty.shows("[y/N/each]");
    place.edit(&format!(
        "UPDATE message SET data = json_set(data, '$.cost', 1) WHERE session_id = '{session}' AND data LIKE '%\"stop\"%'"
    ));
    a_yes_comes_too_late(&place, pty);
}

/// The person has gone on in another window meanwhile: the session is not stuck any more, and every row that the plan
/// names is still what it was. Only the plan that is made again tells.
#[test]
fn a_session_that_goes_on_between_the_question_and_the_yes_is_not_written() {
    let place = Place::named(STORE);
    let session = fixtures::one(STORE).id("abort-text").to_owned();
    let mut pty = asked(&place, &["repair", "abort-text"]);
    pty.shows("[y/N]");
    let prompt = r#"{"role":"user","time":{"created":4000000000000},"agent":"build","model":{"providerID":"mock","modelID":"claude-opus-4-6"}}"#;
    let answer = r#"{"role":"assistant","parentID":"msg_z1","modelID":"claude-opus-4-6","providerID":"mock","time":{"created":4000000000001},"finish":"stop","mode":"build","agent":"build","path":{"cwd":"/","root":"/"},"cost":0,"tokens":{"input":0,"output":0,"reasoning":0,"cache":{"read":0,"write":0}}}"#;
    for (id, time, data) in [("msg_z1", 4_000_000_000_000_u64, prompt), ("msg_z2", 4_000_000_000_001, answer)] {
        place.edit(&format!(
            "INSERT INTO message VALUES ('{id}', '{session}', {time}, {time}, '{data}');
             INSERT INTO part VALUES ('prt_{id}', '{id}', '{session}', {time}, {time}, '{{\"type\":\"text\",\"text\":\"Well.\"}}')"
        ));
    }
    assert_eq!(place.scan().status("abort-text"), "latent");
    a_yes_comes_too_late(&place, pty);
}

/// Taking a row away that something newer names would leave that hanging on nothing. No row that the undo writes has
/// changed: only the plan that is made again tells.
#[test]
fn a_store_that_goes_on_between_the_question_and_the_yes_is_not_taken_back() {
    let place = Place::named("1.15.3");
    let session = fixtures::one("1.15.3").id("rstpar").to_owned();
    place.repair_with(&["rstpar"]).exits(0);
    let mut pty = asked(&place, &["undo"]);
    pty.shows("[y/N]");
    place.edit(&format!(
        "INSERT INTO message SELECT 'msg_zzzzzzzzzzzzzzzzzzzzzzzzzz', session_id, time_created + 1, time_updated,
         json_set(data, '$.parentID', id) FROM message
         WHERE session_id = '{session}' AND json_extract(data, '$.finish') = 'stop'"
    ));
    a_yes_comes_too_late(&place, pty);
}

#[test]
fn a_store_that_is_opened_between_the_question_and_the_yes_is_not_written() {
    let place = Place::named(STORE);
    let before = place.dump();
    let mut pty = asked(&place, &["repair"]);
    pty.shows("[y/N/each]");
    let holder = Holder::start(&place.db(), "SELECT count(*) FROM message;");
    pty.types("y");
    let (code, shown) = pty.ends();
    assert_eq!(code, 2, "{shown}");
    assert!(shown.contains("in use"), "{shown}");
    holder.close();
    assert!(before == place.dump());
}

/// Titles that would rename the window, clear the screen, answer for the person, turn the direction of text.
const NASTY: [&str; 7] = [
    "\u{1b}]0;own\u{7}",
    "\u{1b}[2J\u{1b}[H",
    "\u{9b}31m",
    "\u{1b}[6n\u{1b}[c\u{5}",
    "\u{202e}gnp\u{2066}",
    "line\r\nrepair: done. [y/N] y\u{8}\u{8}",
    "\u{1b}P+q\u{1b}\\\u{1b}_G\u{1b}\\",
];

/// What is left of the text without colours and the moves of a progress line, all of them our own.
fn unpainted(shown: &str) -> String {
    let mut out = String::new();
    let mut rest = shown;
    while let Some(at) = rest.find("\u{1b}[") {
        out.push_str(&rest[..at]);
        let body = &rest[at + 2..];
        let end = body.find(|c: char| !c.is_ascii_digit() && c != ';' && c != '?').unwrap_or(body.len());
        let known = body[end..].chars().next().is_some_and(|c| "mKAGlh".contains(c));
        assert!(known, "an escape that is not ours: {:?}", &body[..body.len().min(12)]);
        rest = &body[end + 1..];
    }
    out + rest
}

#[test]
fn no_title_steers_the_terminal() {
    let place = Place::named(STORE);
    let db = place.sql();
    let ids: Vec<String> = {
        let mut all = db.prepare("SELECT id FROM session ORDER BY id").unwrap();
        all.query_map([], |row| row.get(0)).unwrap().map(|id| id.unwrap()).collect()
    };
    for (n, id) in ids.iter().enumerate() {
        let title = format!("{} {}", NASTY[n % NASTY.len()], NASTY[(n + 3) % NASTY.len()]);
        db.execute("UPDATE session SET title = ?2, directory = '/' || ?2 WHERE id = ?1", [id, &title]).unwrap();
    }
    db.close().unwrap();
    let stuck = fixtures::one(STORE).id("rstpar").to_owned();
    let before = Dump::of(&place.db());
    for args in [&["scan", "--all", "-v"][..], &["explain", &stuck, "-v"], &["stats", "-v"], &["repair", "-n", "-v"]] {
        is_harmless(args, &asked(&place, args).ends().1);
    }
    let mut pty = asked(&place, &["repair"]);
    pty.shows("[y/N/each]");
    pty.types("each");
    for _ in 0..5 {
        pty.shows("[y/n/all/quit]");
        pty.types("y");
    }
    is_harmless(&["repair"], &pty.ends().1);
    is_harmless(&["undo", "--list"], &asked(&place, &["undo", "--list"]).ends().1);
    let mut pty = asked(&place, &["undo"]);
    pty.shows("[y/N/each]");
    pty.types("y");
    is_harmless(&["undo"], &pty.ends().1);
    assert!(before == place.dump());
}

fn is_harmless(args: &[&str], shown: &str) {
    let text = unpainted(shown);
    let bad = |c: char| {
        // The terminal itself adds carriage returns.
        c.is_control() && !"\r\n".contains(c)
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let found: Vec<char> = text.chars().filter(|c| bad(*c)).collect();
    assert!(found.is_empty(), "{args:?} lets {found:?} through");
    assert!(!text.contains("\nrepair: done."), "{args:?}: a title breaks its line");
}
