//! Rows of many megabytes, as opencode keeps the changes of a turn in its prompt's row: read in pieces, written not at all
//! or given back byte for byte.

use std::fs;

use opencode_unstick::error::{ErrorCode, Result};
use opencode_unstick::history::SessionInfo;
use opencode_unstick::rows::{Cell, Lookup as _, Row, RowEdit, Table};
use opencode_unstick::store::{Exclusive, SessionEntry, Store, Touched, with_snapshot};
use serde_json::Value;

use crate::dump::text;
use crate::fixtures;
use crate::place::Place;

const STORE: &str = "1.18.33";

/// A small store with a stuck session and others.
fn small() -> Place {
    Place::with_sessions(STORE, &["rstpar", "abort-text", "empty-after-orphan"])
}

/// The JSON of changes of about so many bytes, as opencode writes it.
fn changes(bytes: usize) -> String {
    let patch = Value::String("- old \u{e9}\u{1f600}\n+ \"new\" \\ line\n".repeat(100)).to_string();
    let diff = format!(r#"{{"file":"src/a.rs","patch":{patch},"additions":1,"deletions":2,"status":"modified"}}"#);
    format!(r#"{{"diffs":[{}]}}"#, vec![diff.as_str(); bytes / diff.len()].join(","))
}

/// What is a large row, with something to spare, in bytes.
const LARGE: usize = 1_300_000;

/// Gives the prompts whose id is like this changes of about so many bytes.
fn grow(place: &Place, ids: &str, bytes: usize) {
    let changes = changes(bytes);
    let prompts: Vec<String> = {
        let db = place.sql();
        let query = "SELECT id FROM message WHERE json_extract(data, '$.role') = 'user' AND id LIKE ?1";
        let mut prompts = db.prepare(query).unwrap();
        prompts.query_map([ids], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    for id in prompts {
        place.rewrite("message", &id, |data| {
            let open = data.strip_suffix('}').unwrap();
            // A member that stands twice counts the last time.
            format!("{open},\"summary\":{changes}}}")
        });
    }
}

fn without_sizes(mut scan: Value) -> Value {
    scan["store"]["bytes"] = Value::Null;
    scan["store"]["path"] = Value::Null;
    scan
}

#[test]
fn large_prompts_are_judged_as_small_ones_and_stay_as_they_are() {
    let place = small();
    // Without an event log, which would have to tell of the change.
    place.edit("DELETE FROM event; DELETE FROM event_sequence");
    let plain = without_sizes(place.unstick(&["scan", "--all", "--json"]).json());
    grow(&place, "%", LARGE);
    let (before, files) = (place.dump(), place.files());
    for scan in [&["scan", "--all", "--json"][..], &["scan", "--all", "--json", "--opencode", "any"]] {
        let large = without_sizes(place.unstick(scan).json());
        assert!(scan.len() > 3 || large == plain, "it is judged otherwise");
    }
    for session in plain["sessions"].as_array().unwrap() {
        let id = session["id"].as_str().unwrap();
        let named = place.unstick(&["scan", id, "--json"]).json();
        assert!(named["sessions"][0]["status"] == session["status"], "{id}");
    }
    files.assert_still(&place.files(), "scans");
    let repair = place.repair_with(&[]);
    let plan = repair.json();
    assert!(plan["applied"] == true, "nothing was repaired");
    let edited: Vec<&str> = plan["plan"]["sessions"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|s| s["edits"].as_array().unwrap())
        .map(|e| e["id"].as_str().unwrap())
        .collect();
    let says =
        |row: &&crate::dump::Row| before.0["part"].iter().any(|part| text(part, "message_id") == text(row, "id"));
    let prompts: Vec<_> =
        before.0["message"].iter().filter(|row| text(row, "data").len() > 1 << 20).filter(says).collect();
    assert!(!prompts.is_empty());
    for prompt in prompts {
        assert!(!edited.contains(&text(prompt, "id")), "a prompt that says something is in a plan");
        assert!(place.dump().0["message"].contains(prompt), "a prompt has changed");
    }
    place.unstick(&["undo", "--yes", "--json"]).exits(0);
    assert!(place.dump() == before, "not every byte is back");
}

#[test]
fn an_empty_prompt_of_many_megabytes_is_removed_and_given_back() {
    let place = small();
    place.edit("DELETE FROM event; DELETE FROM event_sequence");
    let row = "SELECT 'msg_zzzzzzzzzzzz00000000000000', session_id, max(time_created) + 1, max(time_created) + 1";
    let model = r#"{"providerID":"mock","modelID":"claude-opus-4-6"}"#;
    place.edit(&format!(
        r#"INSERT INTO message (id, session_id, time_created, time_updated, data) {row},
         '{{"role":"user","time":{{"created":' || (max(time_created) + 1) || '}},"agent":"build","model":{model}}}'
         FROM message WHERE session_id = (SELECT id FROM session WHERE title LIKE '%abort-text%' LIMIT 1)"#
    ));
    grow(&place, "msg_zzz%", 8 << 20);
    let before = place.dump();
    let prompt = before.0["message"].iter().find(|row| text(row, "id").starts_with("msg_zzz")).unwrap();
    let session = text(prompt, "session_id").to_owned();
    let shown = place.unstick(&["repair", "-n", &session]);
    assert!(shown.stdout.contains("removes the empty prompt of"), "{}", shown.stdout);
    let plan = place.repair_with(&[&session]).exits(0).json();
    let edits = plan["plan"]["sessions"][0]["edits"].as_array().unwrap();
    let removed = edits.iter().find(|e| e["id"] == "msg_zzzzzzzzzzzz00000000000000").unwrap();
    assert_eq!(removed["op"], "delete");
    assert!(removed["bytes"].as_u64().unwrap() > 7 << 20, "{removed}");
    assert!(removed["fields"]["data"]["before"]["sha256"].is_string(), "{removed}");
    assert!(!place.dump().0["message"].contains(prompt), "it is still there");
    let journal = fs::read_dir(place.root().join("state/opencode-unstick")).unwrap().next().unwrap().unwrap();
    assert!(journal.metadata().unwrap().len() > 7 << 20, "the journal does not have it whole");
    assert!(place.unstick(&["scan", &session, "--json"]).code == 0, "it is stuck");
    place.unstick(&["undo", "--yes", "--json"]).exits(0);
    assert!(place.dump() == before, "not every byte is back");
}

fn first(store: &Store<'_>) -> SessionInfo {
    let stored = store.sessions().unwrap().into_iter();
    let mut readable = stored.filter_map(|entry| match entry {
        SessionEntry::Readable(info) => Some(info),
        SessionEntry::Unreadable(_) => None,
    });
    readable.find(|info| info.title.contains("abort-text")).unwrap()
}

/// What guards the rows that a plan does not name: it sees any change of them, and none of the others.
#[test]
fn the_digest_of_all_other_rows_tells_of_every_change() {
    let place = small();
    let session = with_snapshot(&place.db(), |store| Ok(first(store).id)).unwrap();
    let id = |table: &str, order: &str| {
        place.text(&format!("SELECT id FROM {table} WHERE session_id = '{session}' ORDER BY id {order} LIMIT 1"))
    };
    let (part, prompt, answer) = (id("part", "DESC"), id("message", ""), id("message", "DESC"));
    grow(&place, &prompt, LARGE);
    let digest = |but: &[(Table, &str)]| {
        with_snapshot(&place.db(), |store| {
            // A row that is not there, so that there is something to leave out.
            let but: Touched<'_> = but.iter().copied().chain([(Table::Event, "none")]).collect();
            let (loaded, untouched) = store.load_guarded(&first(store), &but, None)?;
            assert!(loaded.unreadable.is_empty());
            Ok(untouched)
        })
        .unwrap()
    };
    let all = digest(&[]);
    assert_eq!(all, digest(&[]));
    assert_ne!(all, digest(&[(Table::Part, &part)]), "a row that is left out does not count");
    assert_eq!(all, digest(&[(Table::Message, &part)]), "left out is a row of its own table");
    let rest = [(Table::Part, part.as_str()), (Table::Message, answer.as_str())];
    let others = digest(&rest);
    for (table, id, sql) in [
        ("part", &part, "time_updated = time_updated + 1"),
        ("part", &part, "data = replace(data, '}', ' }')"),
        ("message", &answer, "data = replace(data, '}', ' }')"),
        ("message", &answer, "time_updated = time_updated + 1"),
        ("message", &prompt, "time_updated = time_updated + 1"),
        ("message", &prompt, "data = replace(data, 'src/a.rs', 'src/b.rs')"),
    ] {
        let (was, was_rest) = (digest(&[]), digest(&rest));
        place.edit(&format!("UPDATE {table} SET {sql} WHERE id = '{id}'"));
        assert_ne!(digest(&[]), was, "{table} {id}: {sql}");
        assert_eq!(digest(&rest) == was_rest, *id != prompt, "{table} {id}: {sql}");
    }
    assert_ne!(others, digest(&rest));
}

/// A history that is read again shares what has not changed, and has what has.
#[test]
fn a_history_read_again_is_the_history_as_it_is() {
    let place = small();
    let load = |store: &Store<'_>| -> Result<_> { Ok(store.load(&first(store))?.session) };
    let before = std::cell::RefCell::new(None);
    let again = |share: usize| {
        with_snapshot(&place.db(), |store| {
            let whole = load(store)?;
            let like = before.borrow().clone().unwrap_or_else(|| whole.clone());
            let (read, _) = store.load_guarded(&like.info, &Touched::new(), Some(&like))?;
            assert!(read.unreadable.is_empty());
            let read = read.session;
            assert!(format!("{:?}", read.messages) == format!("{:?}", whole.messages), "it is another history");
            let shared = read.messages.iter().filter(|m| like.messages.iter().any(|l| std::rc::Rc::ptr_eq(m, l)));
            assert_eq!(whole.messages.len() - shared.count(), share);
            before.borrow_mut().get_or_insert(whole);
            Ok(())
        })
        .unwrap();
    };
    again(0);
    let session = with_snapshot(&place.db(), |store| Ok(first(store).id)).unwrap();
    let part = place.text(&format!("SELECT id FROM part WHERE session_id = '{session}' ORDER BY id LIMIT 1"));
    place.edit(&format!("UPDATE part SET data = json_set(data, '$.text', ' ') WHERE id = '{part}'"));
    again(1);
    place.edit(&format!("DELETE FROM part WHERE id = '{part}'"));
    again(1);
    place.edit(&format!(
        "UPDATE message SET time_updated = 1 WHERE id = (SELECT max(id) FROM message WHERE session_id = '{session}')"
    ));
    again(2);
}

/// After the last edit every row that the plan names is looked at once more: all of it, what the plan does not hold by
/// size and hash.
#[test]
fn a_row_that_is_not_what_was_planned_is_seen_before_the_commit() {
    let place = small();
    let (session, part, was) = with_snapshot(&place.db(), |store| {
        let info = first(store);
        let part = store.load(&info)?.session.messages.iter().find_map(|m| m.parts.first().map(|p| p.id().to_owned()));
        let part = part.unwrap();
        let was = store.brief(Table::Part, &part)?.unwrap();
        Ok((info.id, part, was))
    })
    .unwrap();
    let plan =
        |after: Option<Row>| [RowEdit { table: Table::Part, id: part.clone(), before: Some(was.clone()), after }];
    let with = |name: &str, cell: Cell| {
        let mut row = was.clone();
        row.insert("time_updated".to_owned(), Cell::Int(7));
        row.insert(name.to_owned(), cell);
        row
    };
    let before = place.files();
    let exclusive = Exclusive::open(&place.db(), std::time::Duration::ZERO).unwrap();
    let planned = plan(Some(with("time_updated", Cell::Int(7))));
    exclusive.execute(&[(&session, &planned)], &mut |_, _| Ok(())).unwrap();
    exclusive.verify(&[(&session, &planned)]).unwrap();
    let Some(Cell::Kept { bytes, sha256 }) = was.get("data").cloned() else { panic!("its JSON is in the plan") };
    let other = "0".repeat(64);
    for wrong in [
        None,
        Some(with("time_updated", Cell::Int(8))),
        Some(with("message_id", Cell::Text("msg_other".to_owned()))),
        Some(with("data", Cell::Kept { bytes: bytes + 1, sha256 })),
        Some(with("data", Cell::Kept { bytes, sha256: other })),
    ] {
        let error = exclusive.verify(&[(&session, &plan(wrong))]).unwrap_err();
        assert_eq!(error.code(), ErrorCode::RowChanged, "{error}");
    }
    drop(exclusive);
    before.assert_still(&place.files(), "a plan that was not committed");
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
