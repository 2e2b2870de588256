//! What a hard look at repair and undo turned up: states that were told wrongly, tails that a repair made worse.

use std::fs;
use std::path::PathBuf;

use crate::fixtures;
use crate::place::{Place, Run};

fn repair(place: &Place) -> Run {
    place.repair_with(&["--opencode", "any"]).exits(0)
}

fn undo(place: &Place, more: &[&str]) -> Run {
    place.unstick(&[&["undo", "--yes", "--json"], more].concat())
}

/// The states that `undo --list` gives, oldest journal first.
fn states(place: &Place) -> Vec<String> {
    let list = place.unstick(&["undo", "--list", "--json"]).exits(0).json();
    list["journals"].as_array().unwrap().iter().map(|j| j["state"].as_str().unwrap().to_owned()).collect()
}

fn journals(place: &Place) -> Vec<PathBuf> {
    let mut out: Vec<PathBuf> =
        fs::read_dir(place.root().join("state/opencode-unstick")).unwrap().map(|e| e.unwrap().path()).collect();
    out.sort_by_key(|p| fs::read_to_string(p).unwrap().contains(r#""kind":"undo""#));
    out
}

#[test]
fn a_copy_that_was_taken_back_does_not_keep_the_store_from_it() {
    let place = Place::named("1.18.33");
    let before = place.dump();
    repair(&place);
    let repaired = fs::read(place.db()).unwrap();
    undo(&place, &[]).exits(0);
    // As if all that had happened to a copy: both have one identity.
    fs::write(place.db(), repaired).unwrap();
    assert_eq!(states(&place)[0], "done");
    undo(&place, &[]).exits(0);
    assert!(before == place.dump());
}

#[test]
fn an_undo_that_was_taken_back_leaves_the_repair_done() {
    let place = Place::named("1.18.33");
    let before = place.dump();
    repair(&place);
    undo(&place, &[]).exits(0);
    let list = place.unstick(&["undo", "--list", "--json"]).json();
    let id = list["journals"][1]["id"].as_str().unwrap().to_owned();
    let said = place.unstick(&["undo", "--yes", &id]).exits(0);
    assert!(said.stdout.contains("as before the undo"), "{said:?}");
    assert_eq!(states(&place), ["done", "taken-back", "done"]);
    undo(&place, &[]).exits(0);
    assert!(before == place.dump());
}

#[test]
fn an_undo_whose_commit_was_not_noted_is_told_by_the_rows() {
    let place = Place::named("1.18.33");
    repair(&place);
    undo(&place, &[]).exits(0);
    let journal = journals(&place).remove(1);
    let whole = fs::read_to_string(&journal).unwrap();
    fs::write(&journal, whole.trim_end().rsplit_once('\n').unwrap().0.to_owned() + "\n").unwrap();
    assert_eq!(states(&place), ["taken-back", "done"]);
    assert_eq!(undo(&place, &[]).exits(2).json()["error"]["code"], "nothing-to-undo");
}

#[test]
fn a_journal_that_was_cut_off_later_does_not_say_that_nothing_happened() {
    let place = Place::named("1.18.33");
    repair(&place);
    let journal = journals(&place).remove(0);
    let whole = fs::read_to_string(&journal).unwrap();
    let header = whole.find('\n').unwrap() + 1;
    for end in [header, whole.len() / 2] {
        fs::write(&journal, &whole[..end]).unwrap();
        assert_eq!(states(&place), ["broken"], "{end}");
    }
    // Killed while its first line was written: under the name that journals have until they are whole.
    fs::remove_file(&journal).unwrap();
    fs::write(journal.with_extension("partial"), &whole[..40]).unwrap();
    assert_eq!(states(&place), ["never-happened"]);
}

/// Two turns of which the first answer names the second prompt and was made last by its own time: opencode from
/// 1.18.15 on stops there.
fn answers_out_of_order(place: &Place, session: &str) {
    let turn = |table: &str, columns: &str, filter: &str| {
        place.edit(&format!(
            "INSERT INTO {table} SELECT {columns} FROM {table} WHERE session_id = '{session}' AND {filter}"
        ));
    };
    let (user, answer) = ("msg_ffffffffff01AAAAAAAAAAAAAA", "msg_ffffffffff02AAAAAAAAAAAAAA");
    let role = |role: &str| format!("json_extract(data, '$.role') = '{role}' AND id NOT LIKE 'msg_ffff%'");
    let hangs =
        |r: &str| format!("message_id IN (SELECT id FROM message WHERE session_id = '{session}' AND {})", role(r));
    for (id, r) in [(user, "user"), (answer, "assistant")] {
        turn(
            "message",
            &format!(
                "'{id}', session_id, time_created + 1000, time_updated, json_set(data, '$.time.created', json_extract(data, '$.time.created') + 1000)"
            ),
            &role(r),
        );
        let part = "'prt_ffff' || substr(id, 9)".replace("ffff", &id[12..16]);
        turn("part", &format!("{part}, '{id}', session_id, time_created, time_updated, data"), &hangs(r));
    }
    place.edit(&format!(
        "UPDATE message SET data = json_set(data, '$.parentID', '{user}') WHERE id = '{answer}';
         UPDATE message SET data = json_set(data, '$.parentID', '{user}', '$.time.created', json_extract(data, '$.time.created') + 5000)
         WHERE session_id = '{session}' AND {}",
        role("assistant")
    ));
}

#[test]
fn a_latent_turn_is_not_helped_at_the_cost_of_a_sound_tail() {
    let place = Place::named("1.18.33");
    let session = fixtures::one("1.18.33").id("healthy-text").to_owned();
    answers_out_of_order(&place, &session);
    let sound = |place: &Place| {
        let scan = place.scan_with(&["--opencode", "any"]);
        let resume = scan.session("healthy-text")["resume"].clone();
        assert!(resume.as_object().unwrap().values().all(|r| r == "no-request"), "{resume}");
        scan.status("healthy-text").to_owned()
    };
    assert_eq!(sound(&place), "latent");
    place.repair_with(&["--opencode", "any", "--include", "latent", &session]);
    sound(&place);
}

#[test]
fn a_prompt_that_an_answer_names_stays() {
    let place = Place::named("1.17.11");
    let session = fixtures::one("1.17.11").id("empty-after-orphan").to_owned();
    let refused = place.text(&format!(
        "SELECT id FROM message WHERE session_id = '{session}' ORDER BY time_created DESC, id DESC LIMIT 1"
    ));
    place.edit(&format!(r#"UPDATE session SET revert = '{{"messageID":"{refused}"}}' WHERE id = '{session}'"#));
    let dangling = |place: &Place| {
        place.text(&format!(
            "SELECT cast(count(*) AS text) FROM message WHERE session_id = '{session}'
             AND json_extract(data, '$.parentID') NOT IN (SELECT id FROM message)"
        ))
    };
    assert_eq!(dangling(&place), "0");
    place.repair_with(&["--opencode", "any", &session]);
    assert_eq!(dangling(&place), "0", "the reverted answer can come back, and its prompt is gone");
}

#[test]
fn one_odd_row_of_the_log_does_not_stop_the_repair_of_the_others() {
    let place = Place::named("1.18.33");
    let session = fixtures::one("1.18.33").id("rstpar").to_owned();
    place.edit(&format!("UPDATE event_sequence SET owner_id = x'00' WHERE aggregate_id = '{session}'"));
    let said = place.unstick(&["repair", "--yes", "--opencode", "any"]).exits(0);
    assert!(said.stdout.contains("event log not updated"), "{said:?}");
    assert_eq!(place.scan().status("rstpar"), "healthy");
}

#[test]
fn no_time_is_too_odd_to_be_shown() {
    for time in [i64::MIN, i64::MAX, -1, 8_640_000_000_000_001] {
        let place = Place::named("1.18.33");
        place.edit(&format!("UPDATE session SET time_updated = {time}; UPDATE message SET time_updated = {time}"));
        place.unstick(&["scan", "--all"]).exits(1);
    }
}

/// Twenty thousand rows, each of which lacks members: work that grows with their square takes minutes here.
#[test]
fn a_long_session_is_planned() {
    let place = Place::named("1.18.33");
    let session = fixtures::one("1.18.33").id("rstpar").to_owned();
    let (prompt, answer) = ("(m.time_created - 100000 + 4 * i)", "(m.time_created - 99999 + 4 * i)");
    let id = |at: &str| format!("printf('msg_%012x%014d', {at} << 12 & 0xffffffffffff, i)");
    place.edit(&format!(
        "CREATE TABLE n AS WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 9999) SELECT i FROM n;
         CREATE TABLE m AS SELECT * FROM message WHERE session_id = '{session}' ORDER BY time_created, id LIMIT 1;
         INSERT INTO message SELECT {user_id}, m.session_id, {prompt}, m.time_updated,
             json_set(m.data, '$.time.created', {prompt}) FROM n, m;
         INSERT INTO message SELECT {answer_id}, m.session_id, {answer}, m.time_updated,
             json_object('role', 'assistant', 'parentID', {user_id}, 'providerID', 'mock', 'modelID', 'claude-opus-4-6',
                 'finish', 'stop', 'time', json_object('created', {answer})) FROM n, m;
         INSERT INTO part SELECT 'prt_' || substr(id, 5), id, session_id, 1, 1, '{{\"type\":\"text\",\"text\":\"q\"}}'
         FROM message WHERE session_id = '{session}' AND id NOT IN (SELECT message_id FROM part);
         DROP TABLE n; DROP TABLE m; DELETE FROM event WHERE aggregate_id = '{session}'",
        user_id = id(prompt),
        answer_id = id(answer)
    ));
    place.unstick(&["repair", "--dry-run", &session]).exits(1);
}
