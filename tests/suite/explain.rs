//! `explain`: the turn that the request ends with, what is left out, what a repair makes of it.

use std::collections::BTreeMap;

use rusqlite::Connection;
use serde_json::Value;

use crate::fixtures;
use crate::place::Place;

fn explain(place: &Place, session: &str) -> Value {
    place.unstick(&["explain", session, "--json"]).exits(0).json()
}

fn turns(doc: &Value) -> &Vec<Value> {
    doc["turns"].as_array().unwrap()
}

/// The part that the last word of the assistant is in, and whether the person reverted behind it, straight from
/// the rows: the request of a session that is stuck ends with that.
fn last_words(db: &Connection, session: &str) -> String {
    db.query_row(
        "SELECT p.id FROM message m JOIN part p ON p.message_id = m.id
         WHERE m.session_id = ?1 AND m.data ->> '$.role' = 'assistant' AND p.data ->> '$.type' IN ('text', 'reasoning')
           AND (m.data ->> '$.error.name' IS NULL OR m.data ->> '$.error.name' = 'MessageAbortedError')
           AND m.id < coalesce((SELECT revert ->> '$.messageID' FROM session WHERE id = ?1), 'z')
         ORDER BY m.time_created DESC, m.id DESC, p.id DESC LIMIT 1",
        [session],
        |row| row.get(0),
    )
    .unwrap()
}

#[test]
fn the_turn_that_every_stuck_request_ends_with_is_marked() {
    // By the store's own bound, and with every generation of the loop.
    for (flags, least) in [(&[][..], 50), (&["--opencode", "any"], 56)] {
        let mut stuck = 0;
        for fixture in fixtures::all() {
            let place = Place::of(&fixture);
            let scan = place.scan_with(flags);
            let db = place.sql();
            for (id, session) in scan.by_id().into_iter().filter(|(_, s)| s["status"] == "stuck") {
                stuck += 1;
                let name = format!("{} {}", fixture.name, session["title"]);
                // By that bound, the programs that were asked to retry ended their request with the assistant.
                let seen = &fixture.verdicts[id].retry;
                assert!(!flags.is_empty() || seen.values().any(|v| v == "ends with assistant"), "{name}: {seen:?}");
                let doc = place.unstick(&[&["explain", id, "--json"], flags].concat()).exits(0).json();
                assert_eq!(doc["session"]["findings"], session["findings"], "{name}");
                let all = turns(&doc);
                let marked: Vec<usize> = (0..all.len()).filter(|at| all[*at]["offending"] == true).collect();
                assert_eq!(marked, [all.len() - 1], "{name}: one turn, and that the last");
                let last = &all[marked[0]];
                assert_eq!(last["role"], "assistant", "{name}");
                let part = last_words(&db, id);
                assert_eq!(last["part_ids"].as_array().unwrap().last().unwrap(), part.as_str(), "{name}");
                let message: String =
                    db.query_row("SELECT message_id FROM part WHERE id = ?1", [&part], |row| row.get(0)).unwrap();
                assert_eq!(last["message_ids"], serde_json::json!([message]), "{name}");
                let said = place.unstick(&[&["explain", id], flags].concat()).exits(0).stdout;
                let marked = format!("> {:>4} assistant", marked[0] + 1);
                assert!(said.contains(&marked) && said.contains("the request ends with this turn"), "{name}: {said}");
                assert!(said.contains("Why it is stuck"), "{name}");
            }
        }
        assert!(stuck >= least, "only {stuck} with {flags:?}");
    }
}

#[test]
fn after_a_repair_the_same_words_are_sent_and_no_turn_is_marked() {
    for fixture in fixtures::all() {
        let place = Place::of(&fixture);
        for (id, session) in place.scan().by_id() {
            let name = format!("{} {}", fixture.name, session["title"]);
            let doc = explain(&place, id);
            let after = &doc["after_repair"];
            if session["status"] != "stuck" {
                assert!(after.is_null() && doc["repair"].is_null(), "{name}");
                continue;
            }
            if doc["repair"]["left"].is_object() {
                assert_eq!(doc["repair"]["left"]["reason"], "near-window", "{name}");
                continue;
            }
            let parts = |doc: &Value| -> Vec<Value> {
                let turns = doc["turns"].as_array().unwrap().clone();
                let blocks = turns.iter().flat_map(|t| t["blocks"].as_array().unwrap().clone());
                blocks.filter(|b| b["kind"] != "empty-text" && b["kind"] != "empty-thinking").collect()
            };
            assert_eq!(parts(&doc), parts(after), "{name}");
            assert!(after["turns"].as_array().unwrap().iter().all(|t| t["offending"] == false), "{name}");
            assert!(["no-request", "ends-with-user"].contains(&after["resume"].as_str().unwrap()), "{name}");
            assert!(!doc["repair"]["does"].as_array().unwrap().is_empty(), "{name}");
            // What it says is what a repair then plans.
            let planned = place.unstick(&["repair", "-n", "--json", id]).json();
            let edits = planned["plan"]["sessions"][0]["edits"].as_array().unwrap();
            let told = edits.iter().filter(|e| ["message", "part"].contains(&e["table"].as_str().unwrap())).count();
            assert_eq!(doc["repair"]["edits"], told, "{name}");
        }
    }
}

#[test]
fn a_sound_session_is_said_to_send_nothing() {
    let place = Place::named("1.18.33");
    for title in ["healthy", "healthy-text", "compacted", "rstmidtool"] {
        let doc = explain(&place, title);
        assert_eq!(doc["resume"], "no-request", "{title}");
        assert!(turns(&doc).iter().all(|t| t["offending"] == false), "{title}");
        let said = place.unstick(&["explain", title]).exits(0).stdout;
        assert!(said.contains("Nothing would be sent: the last answer is finished."), "{title}: {said}");
        assert!(!said.contains("unstick repair"), "{title}");
    }
    let said = place.unstick(&["explain", "maxsteps"]).exits(0).stdout;
    assert!(said.contains("They end with a tool's result, so the model simply answers."), "{said}");
    let tails = Place::named("1.18.33-tails");
    let said = tails.unstick(&["explain", "compact-killed"]).exits(0).stdout;
    assert!(said.contains("first works off a compaction or subtask"), "{said}");
}

#[test]
fn what_is_left_out_is_said_with_its_reason() {
    let place = Place::named("1.18.33-tails");
    let why = |title: &str| -> BTreeMap<String, usize> {
        let mut out = BTreeMap::new();
        for skip in explain(&place, title)["skipped"].as_array().unwrap() {
            *out.entry(skip["why"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        out
    };
    assert_eq!(why("revert-plain"), BTreeMap::from([("no-parts".to_owned(), 1), ("reverted".to_owned(), 2)]));
    assert_eq!(why("tail-kept"), BTreeMap::from([("compacted".to_owned(), 6)]));
    assert_eq!(why("compact-killed"), BTreeMap::from([("empty-for-sdk".to_owned(), 1)]));
    let place = Place::named("1.18.33");
    let doc = explain(&place, "empty-after-healthy");
    assert_eq!(doc["cause"], "empty-prompt");
    assert_eq!(doc["skipped"].as_array().unwrap().len(), 2);
}

#[test]
fn each_generation_says_why_it_goes_on() {
    let place = Place::named("1.14.34");
    // Without its stored refusal the session is stuck for the older programs alone, and each for its reason.
    let id = &fixtures::one("1.14.34").sessions.sessions["rstmidtool"];
    place.edit(&format!("DELETE FROM message WHERE session_id = '{id}' AND data ->> '$.error.name' = 'APIError'"));
    let doc = explain(&place, id);
    let of = |key: &str| {
        let all = doc["generations"].as_array().unwrap();
        all.iter().find(|g| g["rule_set"] == key).unwrap_or_else(|| panic!("{key}")).clone()
    };
    assert_eq!(doc["generations"].as_array().unwrap().len(), 6);
    assert_eq!((of("1.2")["resume"].as_str(), of("1.2")["counts"].as_bool()), (Some("no-request"), Some(false)));
    for key in ["1.14", "1.15.0"] {
        assert_eq!(of(key)["resume"], "ends-with-assistant");
        assert_eq!(of(key)["goes_on"][0]["code"], "holds-tools");
        assert_eq!(of(key)["goes_on"][0]["orphans"], true);
    }
    for key in ["1.15.13", "1.18.15", "1.18.21"] {
        assert_eq!(of(key)["resume"], "no-request");
        assert_eq!(of(key)["goes_on"], serde_json::json!([]));
    }
    assert_eq!(doc["rule_set"], "1.15.0", "shown as the newest program that trips over it would send it");
    let said = place.unstick(&["explain", id]).stdout;
    for words in
        ["1.14.34 to 1.15.4", "holds a tool call that was cut off (bash)", "1.15.13 and newer", "sends nothing"]
    {
        let unwrapped = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(unwrapped.contains(words), "{words}: {said}");
    }
}

#[test]
fn words_of_messages_are_shown_on_request_alone() {
    let place = Place::named("1.18.33");
    // Every text that the model said or was told in this session.
    let texts = ["SCN:rstpar", "Two at once.", "Done after retry.", "echo one", "Tool execution aborted"];
    for args in [&["explain", "rstpar"][..], &["explain", "rstpar", "--json"], &["explain", "rstpar", "-v"]] {
        let run = place.unstick(args).exits(0);
        for text in texts {
            assert!(!run.stdout.contains(text), "{args:?} shows {text:?}");
        }
    }
    for args in [&["explain", "rstpar", "--text"][..], &["explain", "rstpar", "--text", "--json"]] {
        let run = place.unstick(args).exits(0);
        for text in texts {
            assert!(run.stdout.contains(text), "{args:?} lacks {text:?}: {run:?}");
        }
    }
    let blocks = |doc: &Value| turns(doc).last().unwrap()["blocks"][0].clone();
    assert!(blocks(&explain(&place, "rstpar")).get("text").is_none());
}

#[test]
fn what_steers_a_terminal_does_not_reach_it() {
    let place = Place::named("1.18.33");
    let id = fixtures::one("1.18.33").sessions.sessions["rstpar"].clone();
    place.edit(&format!("UPDATE session SET title = char(27) || '[31mred' || char(10) || 'line' WHERE id = '{id}'"));
    place.edit(&format!(
        "UPDATE part SET data = json_set(data, '$.text', char(27) || ']0;x' || char(7)) \
         WHERE session_id = '{id}' AND data ->> '$.type' = 'text'"
    ));
    for args in [&["explain", &id, "--text", "--color", "never"][..], &["explain", &id, "--text", "--json"]] {
        let run = place.unstick(args).exits(0);
        assert!(!run.stdout.contains(['\u{1b}', '\u{7}']), "{args:?}");
    }
}

#[test]
fn sessions_are_found_like_elsewhere_and_nothing_is_written() {
    let place = Place::named("1.18.33");
    let missing = place.unstick(&["explain", "nobody", "--json"]).exits(2);
    assert_eq!(missing.json()["error"]["code"], "no-such-session");
    place.unstick(&["explain"]).exits(2);
    // In whichever of several stores it is.
    let other = Place::named("1.14.34");
    let id = &fixtures::one("1.14.34").sessions.sessions["overmidtool"];
    let mut command = place.on_store(&["explain", id, "--json"]);
    let run = crate::place::Run::of(command.arg("--db").arg(other.db())).exits(0);
    assert_eq!(run.json()["session"]["id"], id.as_str());
    place.unchanged_by(&[
        &["explain", "rstpar"],
        &["explain", "rstpar", "--text", "--json"],
        &["explain", "healthy", "-v"],
    ]);
}

#[test]
fn a_session_that_cannot_be_read_says_which_row() {
    let place = Place::named("1.18.33");
    let id = fixtures::one("1.18.33").sessions.sessions["rstpar"].clone();
    let part = place.text(&format!("SELECT max(id) FROM part WHERE session_id = '{id}'"));
    place.edit(&format!("UPDATE part SET data = 'nonsense' WHERE id = '{part}'"));
    let doc = explain(&place, &id);
    assert_eq!(doc["session"]["status"], "unreadable");
    assert_eq!(doc["turns"], serde_json::json!([]));
    assert!(doc["after_repair"].is_null());
    let said = place.unstick(&["explain", &id]).exits(0).stdout;
    assert!(said.contains(&part) && said.contains("Why it is unreadable"), "{said}");
}

#[test]
fn an_at_risk_session_is_explained_as_one() {
    let place = Place::named("1.18.33");
    let id = fixtures::one("1.18.33").sessions.sessions["abort-text"].clone();
    place.edit("UPDATE message SET data = replace(data, 'claude-opus-4-6', 'some-model')");
    place.edit("DELETE FROM message WHERE data ->> '$.error.name' = 'APIError'");
    let doc = explain(&place, &id);
    assert_eq!(doc["session"]["status"], "at-risk");
    assert_eq!(turns(&doc).last().unwrap()["offending"], true);
    assert_eq!(doc["repair"]["opt_in"], true);
    let said = place.unstick(&["explain", &id]).stdout;
    assert!(said.contains("--refuses") && said.contains("unstick repair --include at-risk"), "{said}");
}

#[test]
fn lines_fit_the_terminal() {
    use unicode_width::UnicodeWidthStr;

    for fixture in fixtures::all() {
        let place = Place::of(&fixture);
        for id in fixture.sessions.sessions.values() {
            for columns in ["80", "120"] {
                let mut command = place.on_store(&["explain", id]);
                let run = crate::place::Run::of(command.env("COLUMNS", columns)).exits(0);
                // A command stands on one line, whatever it repeats: it is there to be copied.
                let lines = run.stdout.lines().filter(|l| !l.starts_with("Next: "));
                let wide: Vec<&str> = lines.filter(|l| l.trim_end().width() > columns.parse().unwrap()).collect();
                assert!(wide.is_empty(), "{columns}: {wide:#?}");
            }
        }
    }
}

/// What ends the request is called the same wherever it is named: an answer in which nothing stands has no words of its own.
#[test]
fn an_empty_answer_that_ends_the_request_is_not_said_to_have_words() {
    let place = Place::named("1.18.34-basic-litellm");
    let run = place.unstick(&["explain", "kill-text"]).exits(0);
    let words = run.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("the newest answer: the answer without a word of"), "{words}");
    assert!(words.contains("the assistant's: the answer without a word of"), "{words}");
}
