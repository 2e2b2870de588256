//! `undo`: what a repair did can be seen and taken back, and never at the cost of what came after it.

use std::fs;
use std::path::PathBuf;

use opencode_unstick::history::log::Log;
use opencode_unstick::store::{SessionEntry, with_snapshot};
use serde_json::Value;

use crate::dump::{Dump, int, text};
use crate::fixtures;
use crate::place::{Place, Run};

const EVERYTHING: [&str; 4] = ["--opencode", "any", "--include", "latent,unsettled,near-window"];

fn repair(place: &Place) -> Run {
    place.repair_with(&EVERYTHING)
}

fn undo(place: &Place, more: &[&str]) -> Run {
    place.unstick(&[&["undo", "--yes", "--json"], more].concat())
}

/// The states that `undo --list` gives, oldest journal first.
fn states(place: &Place) -> Vec<String> {
    let list = place.unstick(&["undo", "--list", "--json"]).exits(0).json();
    list["journals"].as_array().unwrap().iter().map(|j| j["state"].as_str().unwrap().to_owned()).collect()
}

/// The journals of repairs, then those of undos.
fn journals(place: &Place) -> Vec<PathBuf> {
    let mut out: Vec<PathBuf> =
        fs::read_dir(place.root().join("state/opencode-unstick")).unwrap().map(|e| e.unwrap().path()).collect();
    out.sort_by_cached_key(|p| {
        let undo = fs::read_to_string(p).is_ok_and(|text| text.contains(r#""kind":"undo""#));
        (undo, p.clone())
    });
    out
}

fn left(run: &Run) -> Vec<(String, String)> {
    let field = |l: &Value, name: &str| l[name].as_str().unwrap().to_owned();
    run.json()["left"].as_array().unwrap().iter().map(|l| (field(l, "id"), field(l, "reason"))).collect()
}

/// How many logs of the store fold to their rows, and those that do not.
fn logs(place: &Place) -> (usize, Vec<String>) {
    with_snapshot(&place.db(), |store| {
        let (mut fold, mut differ) = (0, Vec::new());
        for entry in store.sessions()? {
            let SessionEntry::Readable(info) = entry else { panic!("{entry:?}") };
            match store.log(&store.load(&info)?.session)? {
                Log::None => {}
                Log::Folds(_) => fold += 1,
                Log::Differs(why) => differ.push(format!("{}: {why}", info.title)),
            }
        }
        Ok((fold, differ))
    })
    .unwrap()
}

#[test]
fn every_table_is_as_before_rowids_included() {
    for fixture in fixtures::all() {
        let place = Place::of(&fixture);
        let before = place.dump();
        repair(&place).exits(0);
        let repaired = place.dump();
        assert!(before != repaired, "{}", fixture.name);
        undo(&place, &[]).exits(0);
        let after = place.dump();
        assert!(before == after, "{}: {:?}", fixture.name, before.difference(&after));
        assert_eq!(states(&place), ["taken-back", "done"], "{}", fixture.name);
        // Taking that back is the repair again.
        let redo = place.unstick(&["undo", "--list", "--json"]).json();
        let id = redo["journals"][1]["id"].as_str().unwrap().to_owned();
        undo(&place, &[&id]).exits(0);
        assert!(repaired == place.dump(), "{}: {:?}", fixture.name, repaired.difference(&place.dump()));
    }
}

#[test]
fn the_event_log_folds_to_the_rows_after_a_repair_and_after_its_undo() {
    for (name, sessions) in [("1.17.11", 22), ("1.18.33", 22), ("1.18.33-tails", 7)] {
        let place = Place::named(name);
        repair(&place).exits(0);
        assert_eq!(logs(&place), (sessions, Vec::new()), "{name} repaired");
        undo(&place, &[]).exits(0);
        assert_eq!(logs(&place), (sessions, Vec::new()), "{name} as before");
    }
}

#[test]
fn a_log_that_has_moved_on_is_told_of_the_undo() {
    let place = Place::named("1.18.33");
    repair(&place).exits(0);
    let session = fixtures::one("1.18.33").id("rstpar").to_owned();
    let events = "SELECT count(*) FROM event WHERE aggregate_id";
    place.edit(&format!(
        "INSERT INTO event SELECT 'evt_ffffffffffff00000000000000', aggregate_id, seq + 1, 'session.updated.1', '{{}}'
         FROM event_sequence WHERE aggregate_id = '{session}';
         UPDATE event_sequence SET seq = seq + 1 WHERE aggregate_id = '{session}';"
    ));
    let count = |place: &Place| place.text(&format!("SELECT cast(({events} = '{session}') AS text)"));
    let moved = count(&place).parse::<u64>().unwrap();
    undo(&place, &[]).exits(0);
    assert!(count(&place).parse::<u64>().unwrap() > moved, "compensating events are appended");
    assert_eq!(logs(&place), (22, Vec::new()));
    let clean = Place::named("1.18.33").dump();
    assert_eq!(clean.of_session(&session), place.dump().of_session(&session));
}

#[test]
fn a_log_that_did_not_fold_before_is_left_alone_and_that_is_said() {
    let place = Place::named("1.18.33");
    let session = fixtures::one("1.18.33").id("rstpar").to_owned();
    place.edit(&format!(
        "UPDATE event SET data = replace(data, 'Two at once.', 'Two at twice.') WHERE aggregate_id = '{session}'"
    ));
    let events = |dump: &Dump| {
        dump.rows("event").iter().filter(|r| text(r, "aggregate_id") == session).cloned().collect::<Vec<_>>()
    };
    let before = events(&place.dump());
    let said = place.unstick(&["repair", "--yes", &session]).exits(0);
    assert!(said.stdout.contains("event log not updated"), "{said:?}");
    assert_eq!(events(&place.dump()), before);
}

#[test]
fn a_session_that_went_on_is_left_and_the_others_are_taken_back() {
    let fixture = fixtures::one("1.18.33");
    let place = Place::of(&fixture);
    let before = place.dump();
    repair(&place).exits(0);
    let changed = fixture.id("abort-text").to_owned();
    place.edit(&format!(
        "UPDATE message SET data = replace(data, '\"stop\"', '\"length\"') WHERE session_id = '{changed}'"
    ));
    let touched = place.dump();
    let run = undo(&place, &[]).exits(1);
    assert_eq!(left(&run), [(changed.clone(), "row-changed".to_owned())]);
    let after = place.dump();
    assert_eq!(after.of_session(&changed), touched.of_session(&changed));
    for id in fixture.verdicts.keys().filter(|id| **id != changed) {
        assert_eq!(after.of_session(id), before.of_session(id), "{id}");
    }
    assert_eq!(states(&place), ["changed-since", "done"]);
}

#[test]
fn a_session_whose_message_is_gone_does_not_keep_the_others_from_their_undo() {
    let place = Place::named("1.18.33");
    let blank = |shape: &str| {
        let id = fixtures::one("1.18.33").id(shape).to_owned();
        place.edit(&format!(
            "UPDATE part SET data = json_set(data, '$.text', ' ') WHERE rowid = (SELECT min(part.rowid) FROM part JOIN message m \
             ON m.id = message_id WHERE m.session_id = '{id}' AND m.data ->> '$.role' = 'user' AND part.data ->> '$.type' = 'text')"
        ));
        id
    };
    let (one, other) = (blank("healthy"), blank("healthy-text"));
    let before = place.dump();
    place.repair_with(&[&one, &other, "--include", "blank-text"]).exits(0);
    let prompt = place.text(&format!(
        "SELECT id FROM message WHERE session_id = '{one}' AND data ->> '$.role' = 'user' ORDER BY time_created LIMIT 1"
    ));
    place.edit(&format!("DELETE FROM part WHERE message_id = '{prompt}'; DELETE FROM message WHERE id = '{prompt}'"));
    let run = undo(&place, &[]).exits(1);
    assert_eq!(left(&run), [(one, "row-changed".to_owned())]);
    assert_eq!(place.dump().of_session(&other), before.of_session(&other));
}

#[test]
fn a_row_that_was_damaged_since_keeps_no_other_session_from_its_undo() {
    for damage in ["CAST(x'7bff7d' AS TEXT)", "x'00'"] {
        let fixture = fixtures::one("1.18.33");
        let place = Place::of(&fixture);
        let before = place.dump();
        repair(&place).exits(0);
        let damaged = fixture.id("abort-text").to_owned();
        place.edit(&format!("UPDATE message SET data = {damage} WHERE session_id = '{damaged}'"));
        assert_eq!(states(&place), ["changed-since"]);
        let run = undo(&place, &[]).exits(1);
        assert_eq!(left(&run), [(damaged.clone(), "unreadable".to_owned())]);
        let after = place.dump();
        for id in fixture.verdicts.keys().filter(|id| **id != damaged) {
            assert_eq!(after.of_session(id), before.of_session(id), "{id}");
        }
    }
}

#[test]
fn of_several_stores_with_one_name_the_repair_of_this_file_is_taken_back() {
    let place = Place::named("1.18.33");
    let copy = place.root().join("copy.db");
    fs::copy(place.db(), &copy).unwrap();
    let before = place.dump();
    repair(&place).exits(0);
    Run::of(&mut place.on(&copy, &["repair", "--yes", fixtures::one("1.18.33").id("abort-text")])).exits(0);
    let list = place.unstick(&["undo", "--list"]).exits(0).stdout;
    assert_eq!(list.matches("; made in ").count(), 1, "{list}");
    undo(&place, &[]).exits(0);
    assert!(place.dump() == before, "{:?}", before.difference(&place.dump()));
}

#[test]
fn what_something_newer_names_is_not_taken_away() {
    let fixture = fixtures::one("1.15.3");
    let session = fixture.id("rstpar").to_owned();
    let of_split = |place: &Place| {
        place.text(&format!(
            "SELECT id FROM message WHERE session_id = '{session}' AND json_extract(data, '$.finish') = 'stop'"
        ))
    };
    type Reference = fn(&str, &str) -> String;
    let references: [(&str, Reference); 3] = [
        ("revert", |session, made| {
            format!(r#"UPDATE session SET revert = '{{"messageID":"{made}"}}' WHERE id = '{session}'"#)
        }),
        ("parent", |session, made| {
            format!(
                r#"INSERT INTO message SELECT 'msg_zzzzzzzzzzzzzzzzzzzzzzzzzz', session_id, time_created + 1, time_updated,
                   json_set(data, '$.parentID', '{made}') FROM message WHERE id = '{made}' AND session_id = '{session}'"#
            )
        }),
        ("part", |session, made| {
            format!(
                r#"INSERT INTO part VALUES ('prt_zzzzzzzzzzzzzzzzzzzzzzzzzz', '{made}', '{session}', 1, 1, '{{"type":"patch"}}')"#
            )
        }),
    ];
    for (name, reference) in references {
        let place = Place::of(&fixture);
        repair(&place).exits(0);
        place.edit(&reference(&session, &of_split(&place)));
        let with_reference = place.dump();
        let run = undo(&place, &[]).exits(1);
        assert_eq!(left(&run), [(session.clone(), "referenced".to_owned())], "{name}");
        assert_eq!(place.dump().of_session(&session), with_reference.of_session(&session), "{name}");
    }
}

#[test]
fn what_a_newer_event_names_is_not_taken_away() {
    let fixture = fixtures::one("1.18.33");
    let place = Place::of(&fixture);
    let session = fixture.id("rstpar").to_owned();
    place.unstick(&["repair", "--yes", &session]).exits(0);
    let made = place.text(&format!(
        "SELECT id FROM message WHERE session_id = '{session}' AND json_extract(data, '$.finish') = 'stop'"
    ));
    // Nothing but the log knows of it, as where a newer opencode keeps a table of its own.
    place.edit(&format!(
        r#"INSERT INTO event SELECT 'evt_ffffffffffff00000000000000', aggregate_id, seq + 1, 'session.updated.1',
           '{{"info":{{"at":"{made}"}}}}' FROM event_sequence WHERE aggregate_id = '{session}';
           UPDATE event_sequence SET seq = seq + 1 WHERE aggregate_id = '{session}';"#
    ));
    let before = place.dump();
    let run = undo(&place, &[]).exits(1);
    assert_eq!(left(&run), [(session, "referenced".to_owned())]);
    assert!(place.dump() == before);
}

#[test]
fn a_journal_without_its_commit_never_happened() {
    let place = Place::named("1.18.33");
    let original = fs::read(place.db()).unwrap();
    repair(&place).exits(0);
    let repaired = fs::read(place.db()).unwrap();
    let journal = journals(&place).remove(0);
    let whole = fs::read_to_string(&journal).unwrap();
    let without_note = whole.trim_end().rsplit_once('\n').unwrap().0.to_owned() + "\n";

    // Killed between the journal and the commit.
    fs::write(&journal, &without_note).unwrap();
    fs::write(place.db(), &original).unwrap();
    assert_eq!(states(&place), ["never-happened"]);
    assert_eq!(undo(&place, &[]).exits(2).json()["error"]["code"], "nothing-to-undo");
    // Killed between the commit and its note.
    fs::write(place.db(), &repaired).unwrap();
    assert_eq!(states(&place), ["done"]);
    // Killed while the journal was written.
    fs::write(place.db(), &original).unwrap();
    fs::write(&journal, &whole[..whole.len() / 2]).unwrap();
    assert_eq!(states(&place), ["never-happened"]);
    assert_eq!(fs::read(place.db()).unwrap(), original);
}

#[test]
fn a_journal_that_is_not_what_was_written_is_named_and_not_used() {
    let place = Place::named("1.18.33");
    repair(&place).exits(0);
    let journal = journals(&place).remove(0);
    let whole = fs::read_to_string(&journal).unwrap();
    let repaired = fs::read(place.db()).unwrap();
    for tampered in [
        whole.replacen("Done after retry.", "Done after retrY.", 1),
        whole.replacen("\"row\"", "\"end\"", 1),
        "x".to_owned(),
    ] {
        assert!(tampered != whole);
        fs::write(&journal, tampered).unwrap();
        assert_eq!(states(&place), ["broken"]);
        undo(&place, &[]).exits(2);
        assert_eq!(fs::read(place.db()).unwrap(), repaired);
    }
}

#[test]
fn a_journal_of_another_store_is_not_used() {
    let (one, other) = (Place::named("1.18.33"), Place::named("1.17.11"));
    repair(&one).exits(0);
    fs::create_dir_all(other.root().join("state/opencode-unstick")).unwrap();
    let journal = journals(&one).remove(0);
    fs::copy(&journal, other.root().join("state/opencode-unstick").join(journal.file_name().unwrap())).unwrap();
    assert_eq!(states(&other), ["other-store"]);
    undo(&other, &[]).exits(2);
}

#[test]
fn two_copies_of_a_store_are_repaired_in_one_call_and_each_is_taken_back() {
    let place = Place::named("1.18.33");
    let copy = place.root().join("copy.db");
    fs::copy(place.db(), &copy).unwrap();
    let before = place.dump();
    let both = ["--db", copy.to_str().unwrap()];
    place.unstick(&[&["repair", "--yes"][..], &both].concat()).exits(0);
    assert_eq!(journals(&place).len(), 2);
    for store in [place.db(), copy] {
        assert!(Dump::of(&store) != before);
        Run::of(&mut place.on(&store, &["undo", "--yes"])).exits(0);
        assert!(Dump::of(&store) == before, "{:?}", before.difference(&Dump::of(&store)));
    }
}

#[test]
fn a_dry_run_and_a_list_of_undo_change_nothing() {
    let place = Place::named("1.18.33");
    repair(&place).exits(0);
    let (before, kept) = (place.files(), journals(&place));
    for args in [&["undo", "-n"][..], &["undo", "-n", "--json"], &["undo", "--list"], &["undo"]] {
        place.unstick(args);
        before.assert_still(&place.files(), &format!("{args:?}"));
        assert_eq!(journals(&place), kept);
    }
    assert_eq!(states(&place), ["done"]);
}

#[cfg(unix)]
#[test]
fn journals_and_backups_are_private_and_hold_no_more_than_the_touched_rows() {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let fixture = fixtures::one("1.18.33");
    let place = Place::of(&fixture);
    let backup = place.root().join("backup.db");
    let before = place.dump();
    let session = fixture.id("rstpar");
    place.unstick(&["repair", "--yes", session, "--backup", "backup.db"]).exits(0);
    let journal = journals(&place).remove(0);
    assert_eq!((mode(&journal), mode(&backup)), (0o600, 0o600));
    assert!(before == Dump::of(&backup), "{:?}", before.difference(&Dump::of(&backup)));
    let held = fs::read_to_string(&journal).unwrap();
    assert!(held.contains("Done after retry."), "the moved text is held");
    assert!(!held.contains("please SCN"), "the prompt, which nothing touched, is not");
    assert!(!held.contains(fixture.id("abort-text")), "nor is another session");
}

#[test]
fn a_backup_overwrites_nothing_and_without_it_nothing_is_repaired() {
    let place = Place::named("1.18.33");
    let before = place.files();
    fs::write(place.root().join("there.db"), "mine").unwrap();
    for file in ["there.db", "no/such/folder.db"] {
        let run = place.repair_with(&["--backup", file]).exits(2);
        assert_eq!(run.json()["error"]["code"], "backup");
        before.assert_still(&place.files(), file);
    }
    assert_eq!(fs::read_to_string(place.root().join("there.db")).unwrap(), "mine");
}

#[test]
fn without_a_place_for_the_journal_nothing_is_repaired() {
    let place = Place::named("1.18.33");
    let before = place.files();
    fs::write(place.root().join("taken"), "a file").unwrap();
    // In /proc nobody makes a folder, whatever rights they have.
    for folder in ["taken", "taken/below", if cfg!(target_os = "linux") { "/proc/none" } else { "taken" }] {
        let run = place.repair_with(&["--journal", folder]).exits(2);
        assert_eq!(run.json()["error"]["code"], "journal", "{folder}");
        before.assert_still(&place.files(), folder);
    }
}

#[test]
fn a_refusal_that_a_repair_removed_still_proves_that_the_model_refuses() {
    let place = Place::named("1.18.33");
    let fixture = fixtures::one("1.18.33");
    // A model of no known family, which the store itself proves by its refusals.
    place.edit("UPDATE message SET data = replace(data, 'claude-opus-4-6', 'own-model')");
    assert_eq!(place.scan().status("abort-text"), "stuck");
    place.unstick(&["repair", "--yes", fixture.id("rstpar")]).exits(0);
    place
        .edit(&format!("DELETE FROM message WHERE data LIKE '%prefill%' AND session_id <> '{}'", fixture.id("rstpar")));
    assert_eq!(place.scan().status("abort-text"), "stuck", "the journal remembers");
    fs::remove_dir_all(place.root().join("state/opencode-unstick")).unwrap();
    assert_eq!(place.scan().status("abort-text"), "at-risk");
}

#[test]
fn unsettled_calls_are_settled_on_request_alone() {
    let place = Place::named("1.18.33");
    let session = fixtures::one("1.18.33").id("kill-running-tool").to_owned();
    let states = |place: &Place| {
        place.text(&format!(
            "SELECT group_concat(json_extract(data, '$.state.status') || ' ' || coalesce(json_extract(data, '$.state.error'), ''))
             FROM part WHERE session_id = '{session}' AND json_extract(data, '$.type') = 'tool'"
        ))
    };
    let before = states(&place);
    assert!(before.contains("running"));
    place.unstick(&["repair", "--yes", &session]).exits(0);
    assert_eq!(states(&place), before);
    place.unstick(&["repair", "--yes", "--include", "unsettled", &session]).exits(0);
    assert_eq!(states(&place), "error [Tool execution was interrupted]");
    assert!(place.scan().session("kill-running-tool")["findings"].as_array().unwrap().is_empty());
}

#[test]
fn latent_turns_are_split_on_request_alone() {
    let place = Place::named("1.18.33-tails");
    // Where something else is asked for, all rows are looked at, and the turn is found.
    for args in [&[][..], &["--include", "at-risk,unsettled,near-window"]] {
        place.repair_with(args).exits(0);
        assert_eq!(place.scan().status("buried-completed"), "latent", "{args:?}");
    }
    repair(&place).exits(0);
    let scan = place.scan();
    assert!(scan.titles("latent").is_empty(), "{:?}", scan.titles("latent"));
}

#[test]
fn an_id_that_another_session_has_taken_stops_no_other_repair() {
    let fixture = fixtures::one("1.18.33");
    let place = Place::of(&fixture);
    let plan = place.unstick(&["repair", "-n", "--json", fixture.id("rstpar")]).exits(1).json();
    let edits = plan["plan"]["sessions"][0]["edits"].as_array().unwrap().clone();
    let made = edits.iter().find(|e| e["op"] == "insert" && e["table"] == "message").unwrap()["id"].as_str().unwrap();
    place.edit(&format!(
        "INSERT INTO message SELECT '{made}', session_id, time_created + 1, time_updated, data FROM message
         WHERE session_id = '{}' LIMIT 1",
        fixture.id("healthy")
    ));
    let run = place.repair_with(&[]).exits(1);
    assert!(left(&run).contains(&(fixture.id("rstpar").to_owned(), "no-lossless-edit".to_owned())), "{run:?}");
    assert_eq!(run.json()["applied"], true);
}

#[test]
fn a_repair_of_several_sessions_takes_no_place_that_one_of_its_rows_had() {
    // The newest row of the store goes, and another session gets a new one.
    let place = Place::with_sessions("1.18.33", &["rstpar", "empty-after-healthy"]);
    let before = place.dump();
    repair(&place).exits(0);
    undo(&place, &[]).exits(0);
    assert!(before == place.dump(), "{:?}", before.difference(&place.dump()));
}

#[test]
fn a_row_whose_place_is_taken_is_not_given_back_elsewhere() {
    let fixture = fixtures::one("1.18.33");
    let place = Place::with_sessions("1.18.33", &["rstpar", "empty-after-orphan", "healthy"]);
    let before = place.dump();
    repair(&place).exits(0);
    let place_of = |dump: &Dump| dump.rows("message").iter().map(|r| int(r, "rowid")).collect::<Vec<_>>();
    let now = place_of(&place.dump());
    let free = place_of(&before).into_iter().find(|rowid| !now.contains(rowid)).expect("a row was removed");
    // opencode goes on in another session; SQLite gives a new row the place behind the last one.
    place.edit(&format!(
        "INSERT INTO message (rowid, id, session_id, time_created, time_updated, data)
         SELECT {free}, 'msg_zzz', session_id, 1, 1, data FROM message WHERE session_id = '{}' LIMIT 1",
        fixture.id("healthy")
    ));
    let touched = place.dump();
    let run = undo(&place, &[]).exits(1).json();
    let detail = run["left"][0]["detail"].as_str().unwrap();
    assert_eq!(run["left"][0]["reason"], "row-changed");
    assert!(detail.contains("belongs to a newer row"), "{detail}");
    let left = run["left"][0]["id"].as_str().unwrap();
    assert_eq!(place.dump().of_session(left), touched.of_session(left));
}

/// The default repair, under every rule set.
fn repair_tails(place: &Place) -> Run {
    place.repair_with(&["--opencode", "any"]).exits(0)
}

#[test]
fn a_copy_that_was_taken_back_does_not_keep_the_store_from_it() {
    let place = Place::named("1.18.33");
    let before = place.dump();
    repair_tails(&place);
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
    repair_tails(&place);
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
    repair_tails(&place);
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
    repair_tails(&place);
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
