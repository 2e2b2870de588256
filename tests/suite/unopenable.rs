//! Sessions that opencode cannot read: rows planted in copies of stores, named with row and member.

use serde_json::{Value, json};

use crate::fixtures;
use crate::place::{Place, Scan};

const STORE: &str = "1.18.33";
const SHAPE: &str = "healthy";

fn place() -> Place {
    Place::with_sessions(STORE, &[SHAPE, "healthy-text"])
}

/// The newest row of a table that is of this kind.
fn row(place: &Place, table: &str, kind: &str) -> String {
    place.text(&format!(
        "SELECT id FROM {table} WHERE '{kind}' IN (data ->> '$.role', data ->> '$.type')
         AND session_id = (SELECT id FROM session WHERE title = '{SHAPE}') ORDER BY id DESC LIMIT 1"
    ))
}

/// What a scan says that opencode cannot read of the session: code, row, member, what is wrong, what fails.
fn misfits(scan: &Scan) -> Vec<(String, String, Value)> {
    let findings = scan.session(SHAPE)["findings"].as_array().unwrap();
    let found = findings.iter().filter(|f| !f["misfit"].is_null()).map(|f| {
        let text = |of: &Value| of.as_str().unwrap_or_default().to_owned();
        let part = text(&f["part_id"]);
        (text(&f["code"]), if part.is_empty() { text(&f["message_id"]) } else { part }, f["misfit"].clone())
    });
    found.collect()
}

/// Sets members of a row's JSON; `null` takes one away.
fn set(place: &Place, table: &str, id: &str, path: &[&str], value: Option<&Value>) {
    place.rewrite(table, id, |data| {
        let mut data: Value = serde_json::from_str(data).unwrap();
        let (last, above) = path.split_last().unwrap();
        let at = above.iter().fold(&mut data, |at, name| &mut at[*name]).as_object_mut().unwrap();
        match value {
            Some(value) => at.insert((*last).to_owned(), value.clone()),
            None => at.remove(*last),
        };
        data.to_string()
    });
}

#[test]
fn no_session_of_a_fixture_is_unopenable() {
    let mut sessions = 0;
    let v2 = std::fs::read_dir(fixtures::root().join("../stores2")).unwrap().map(|entry| entry.unwrap().path());
    let v2 = v2.map(|folder| folder.join("opencode.db")).filter(|path| path.exists()).map(|path| {
        let place = Place::empty();
        std::fs::copy(&path, place.db()).unwrap();
        (path.display().to_string(), place)
    });
    let v1 = fixtures::all().into_iter().map(|fixture| (fixture.name.clone(), Place::of(&fixture)));
    for (name, place) in v1.chain(v2) {
        for more in [&[][..], &["--deep"]] {
            let scan = place.scan_with(more);
            assert_eq!(scan.document["summary"]["unopenable"], 0, "{name} {more:?}: {:?}", scan.titles("unopenable"));
            sessions += scan.document["sessions"].as_array().unwrap().len();
        }
    }
    assert!(sessions > 500, "{sessions}");
}

#[test]
fn a_member_that_is_missing_is_named() {
    let open = json!(["open"]);
    for (table, kind, member, fails) in [
        ("message", "user", "agent", &open),
        ("message", "user", "model", &open),
        ("message", "assistant", "agent", &open),
        ("message", "assistant", "parentID", &open),
        ("message", "assistant", "mode", &open),
        ("message", "assistant", "path", &open),
        ("message", "assistant", "cost", &open),
        ("message", "assistant", "tokens", &json!(["open", "prompt"])),
        ("part", "step-finish", "reason", &open),
    ] {
        let place = place();
        let id = row(&place, table, kind);
        set(&place, table, &id, &[member], None);
        let scan = place.scan();
        assert_eq!(scan.status(SHAPE), "unopenable", "{kind} {member}");
        let misfit = json!({"member": member, "wrong": "missing", "fails": fails});
        assert_eq!(misfits(&scan), [("unopenable-row".to_owned(), id.clone(), misfit)], "{kind} {member}");
        assert_eq!(scan.document["summary"]["unopenable"], 1);
        assert_eq!(scan.status("healthy-text"), "healthy");
        let human = place.unstick(&["scan"]).exits(1).stdout;
        let human = human.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            human.contains("1 session cannot be read by opencode") && human.contains("every word is stored"),
            "{human}"
        );
        let said = place.unstick(&["explain", SHAPE]).exits(0).stdout;
        assert!(said.contains(&id) && said.contains(&format!("`{member}` is missing")), "{said}");
    }
}

#[test]
fn ids_of_another_form_are_named() {
    let place = place();
    let (message, part) = (row(&place, "message", "user"), row(&place, "part", "text"));
    let new = part.replacen("prt_", "part_", 1);
    place.edit(&format!("UPDATE part SET id = '{new}' WHERE id = '{part}'"));
    let misfit = |fails: Value| json!({"member": "id", "wrong": "prefix", "fails": fails});
    assert_eq!(misfits(&place.scan()), [("unopenable-row".to_owned(), new, misfit(json!(["open"])))]);
    let other = message.replacen("msg_", "message_", 1);
    place.edit(&format!(
        "UPDATE message SET id = '{other}' WHERE id = '{message}';
         UPDATE part SET message_id = '{other}' WHERE message_id = '{message}'"
    ));
    let found = misfits(&place.scan());
    assert!(found.contains(&("unopenable-row".to_owned(), other, misfit(json!(["open", "retry"])))), "{found:?}");
}

/// What stands within a value, or behind what a scan reads, is found by a deep look alone, and by whoever names the session.
#[test]
fn what_a_scan_does_not_read_a_deep_one_finds() {
    let place = place();
    let answer = row(&place, "message", "assistant");
    set(&place, "message", &answer, &["tokens", "cache", "read"], None);
    let tool = row(&place, "part", "tool");
    place.rewrite("part", &tool, |data| {
        data.replacen("\"output\":\"", &format!("\"output\":\"{}", "x".repeat(9_000)), 1)
    });
    place.rewrite("part", &tool, |data| data[..data.len() - 1].to_owned());
    assert_eq!(place.scan().status(SHAPE), "healthy");
    let deep = place.scan_with(&["--deep"]);
    assert_eq!(deep.status(SHAPE), "unopenable");
    let all = ["open", "prompt", "retry"];
    let expected = [
        (
            "unopenable-row".to_owned(),
            answer.clone(),
            json!({"member": "tokens.cache.read", "wrong": "missing", "fails": ["open"]}),
        ),
        ("unopenable-row".to_owned(), tool.clone(), json!({"member": "", "wrong": "json", "fails": all})),
    ];
    assert_eq!(misfits(&deep), expected);
    // Whoever names a session has every row read: broken JSON cannot be understood then.
    let named = place.scan_with(&[SHAPE]);
    assert_eq!((named.status(SHAPE), misfits(&named).len()), ("unreadable", 0));
    let said = place.unstick(&["explain", SHAPE]).exits(0).stdout;
    assert!(said.contains(&answer) && said.contains(&tool), "{said}");
}

#[test]
fn a_session_row_that_does_not_fit_is_named() {
    for (edit, member, wrong, fails) in [
        ("parent_id = 'xyz_1'", "parent_id", "prefix", json!(["whole-list", "open", "prompt"])),
        ("permission = '{'", "permission", "json", json!(["whole-list", "open", "prompt"])),
        ("summary_diffs = '[{}]'", "summary_diffs", "missing", json!(["whole-list", "open", "prompt"])),
        ("project_id = 'gone'", "project_id", "missing", json!(["list", "prompt"])),
        ("workspace_id = 'wrk_gone'", "workspace_id", "missing", json!(["whole-list", "open", "prompt"])),
    ] {
        let place = place();
        place.edit(&format!("UPDATE session SET {edit} WHERE title = '{SHAPE}'"));
        let scan = place.scan();
        assert_eq!(scan.status(SHAPE), "unopenable", "{edit}");
        let misfit = json!({"member": member, "wrong": wrong, "fails": fails});
        assert_eq!(misfits(&scan), [("unopenable-session".to_owned(), String::new(), misfit)], "{edit}");
    }
    // A row that cannot be understood at all takes the list with it as well.
    let place = place();
    place.edit(&format!("UPDATE session SET revert = 'x' WHERE title = '{SHAPE}'"));
    let id = place.text(&format!("SELECT id FROM session WHERE title = '{SHAPE}'"));
    let scan = place.scan();
    let session = scan.by_id()[id.as_str()];
    assert_eq!(session["status"], "unreadable");
    let codes: Vec<&Value> = session["findings"].as_array().unwrap().iter().map(|f| &f["code"]).collect();
    assert_eq!(codes, ["unopenable-session", "unreadable-row"]);
}

/// A stuck tail is mended all the same: the verdict on the tail does not go under.
#[test]
fn a_stuck_session_that_does_not_open_is_still_repaired() {
    let place = Place::with_sessions(STORE, &["rstpar"]);
    assert_eq!(place.scan().status("rstpar"), "stuck");
    let prompt = place.text("SELECT id FROM message WHERE data ->> '$.role' = 'user' ORDER BY id LIMIT 1");
    set(&place, "message", &prompt, &["agent"], None);
    assert_eq!(place.scan().status("rstpar"), "unopenable");
    place.repair_with(&[]).exits(0);
    let scan = place.scan();
    assert_eq!(scan.status("rstpar"), "unopenable");
    assert!(scan.session("rstpar")["resume"].as_object().unwrap().values().all(|r| r != "ends-with-assistant"));
}

/// The JSON of a row.
fn json_of(place: &Place, table: &str, id: &str) -> Value {
    serde_json::from_str(place.dump().data(table, id)).unwrap()
}

const ROWS: [&str; 2] = ["--include", "rows"];

#[test]
fn what_other_rows_say_is_filled_in_and_taken_back() {
    for (kind, members) in [
        ("user", &["agent"][..]),
        ("user", &["model"]),
        ("user", &["agent", "model"]),
        ("assistant", &["agent"]),
        ("assistant", &["mode"]),
        ("assistant", &["parentID"]),
        ("assistant", &["path"]),
        ("assistant", &["agent", "mode", "parentID", "path"]),
    ] {
        let place = place();
        let id = row(&place, "message", kind);
        let sound = json_of(&place, "message", &id);
        for member in members {
            set(&place, "message", &id, &[member], None);
        }
        assert!(place.unstick(&["scan"]).stdout.contains("--include rows"), "it is offered");
        let before = place.dump();
        // Without its parent the last answer is no answer to the last prompt: that tail is another matter.
        if !members.contains(&"parentID") {
            place.repair_with(&[]).exits(0);
            assert!(before == place.dump(), "{members:?}: only what was asked for is written");
        }
        let run = place.repair_with(&ROWS).exits(0).json();
        let step = &run["plan"]["sessions"][0]["steps"][0];
        let mut told: Vec<&str> =
            step["action"]["fill-in"]["members"].as_array().unwrap().iter().map(|m| m.as_str().unwrap()).collect();
        told.sort_unstable();
        assert_eq!((told, &step["message_id"]), (members.to_vec(), &json!(id)), "{run}");
        assert_eq!(json_of(&place, "message", &id), sound, "{kind} {members:?}");
        assert_eq!(place.scan_with(&["--deep"]).status(SHAPE), "healthy", "{kind} {members:?}");
        place.unstick(&["undo", "--yes"]).exits(0);
        assert!(before == place.dump(), "{kind} {members:?}: every byte is back");
    }
}

/// A part with an id that other programs write, in its row and in the event log.
fn misnamed(place: &Place) -> (String, String) {
    // The only part of its message: among others it would stand in another place.
    let prompt = row(place, "message", "user");
    let sound = place.text(&format!("SELECT id FROM part WHERE message_id = '{prompt}'"));
    let odd = sound.replacen("prt_", "part_", 1);
    place.edit(&format!(
        "UPDATE part SET id = '{odd}' WHERE id = '{sound}'; UPDATE event SET data = replace(data, '{sound}', '{odd}')"
    ));
    (odd, sound)
}

#[test]
fn a_part_gets_the_id_that_opencode_expects_in_the_event_log_too() {
    let place = place();
    let sound_place = place.dump();
    let (odd, sound) = misnamed(&place);
    let before = place.dump();
    let named = |id: &str| place.text(&format!("SELECT count(*) || '' FROM event WHERE instr(data, '{id}')"));
    assert_ne!(named(&odd), "0", "the log names it");
    let shown = place.unstick(&["repair", "--dry-run", "--include", "rows"]).exits(1).stdout;
    assert!(shown.contains(&odd) && shown.contains(&sound) && !shown.contains("log not updated"), "{shown}");
    place.repair_with(&ROWS).exits(0);
    assert_eq!(named(&odd), "0");
    assert_eq!(place.scan_with(&["--deep"]).status(SHAPE), "healthy");
    // Nothing else is new: no event came, and the row says what it said.
    assert_eq!(place.dump().rows("event").len(), before.rows("event").len());
    assert_eq!(place.dump().data("part", &sound), sound_place.data("part", &sound));
    place.unstick(&["undo", "--yes"]).exits(0);
    assert!(before == place.dump(), "every byte is back");
}

/// The session is left, with a reason that holds `why`, and no byte of it changes.
fn is_left(place: &Place, why: &str) {
    let before = place.dump();
    let run = place.repair_with(&ROWS).exits(1).json();
    assert_eq!(run["plan"]["sessions"], json!([]), "{run}");
    assert_eq!(run["left"][0]["reason"], "unopenable");
    assert!(run["left"][0]["detail"].as_str().unwrap().contains(why), "{run}");
    assert!(before == place.dump());
    let scan = place.scan();
    assert!(scan.session(SHAPE)["findings"].as_array().unwrap().iter().all(|f| f["applicability"] == "report-only"));
}

#[test]
fn what_no_row_says_or_two_say_is_left_and_named() {
    let collision = place();
    let (odd, sound) = misnamed(&collision);
    collision.edit(&format!(
        "INSERT INTO part SELECT '{sound}', message_id, session_id, 1, 1, data FROM part
         WHERE session_id = (SELECT id FROM session WHERE title = 'healthy-text') LIMIT 1"
    ));
    is_left(&collision, &odd);
    let nobody = place();
    let answer = row(&nobody, "message", "assistant");
    set(&nobody, "message", &answer, &["cost"], None);
    is_left(&nobody, "`cost` is missing");
    // Two rows that differ are no answer.
    let two = place();
    let prompt = row(&two, "message", "user");
    set(&two, "message", &prompt, &["agent"], None);
    two.edit(&format!(
        "INSERT INTO message SELECT id || 'x', session_id, time_created, time_updated,
             json_set(data, '$.agent', 'plan', '$.mode', 'plan') FROM message
         WHERE data ->> '$.parentID' = '{prompt}' ORDER BY id DESC LIMIT 1"
    ));
    is_left(&two, "`agent` is missing");
}

#[test]
fn what_cannot_be_filled_in_beside_what_can_is_said() {
    let place = place();
    let answer = row(&place, "message", "assistant");
    set(&place, "message", &answer, &["agent"], None);
    set(&place, "message", &answer, &["cost"], None);
    let run = place.repair_with(&ROWS).exits(1).json();
    let session = &run["plan"]["sessions"][0];
    assert_eq!(session["still_unread"].as_array().unwrap().len(), 1, "{run}");
    assert!(session["still_unread"][0].as_str().unwrap().contains("`cost` is missing"), "{run}");
    assert_eq!(misfits(&place.scan()).len(), 1);
}

/// A retry of a session with such a row fails whatever its tail: nothing is written that would not help.
#[test]
fn a_tail_is_not_mended_where_a_retry_would_fail_all_the_same() {
    let place = Place::with_sessions(STORE, &["rstpar"]);
    let text = place.text("SELECT id FROM part WHERE data ->> '$.type' = 'text' ORDER BY id LIMIT 1");
    set(&place, "part", &text, &["metadata"], Some(&json!("x")));
    assert_eq!(place.scan().status("rstpar"), "unopenable");
    let before = place.dump();
    let run = place.repair_with(&[]).exits(1).json();
    assert_eq!(run["left"][0]["reason"], "unopenable", "{run}");
    assert!(before == place.dump());
}

/// Breaks the JSON of a part: `n` bytes of its end are replaced.
fn breaks(place: &Place, part: &str, n: usize, end: &str) {
    place.rewrite("part", part, |data| format!("{}{end}", &data[..data.len() - n]));
}

/// The newest part of that kind, broken.
fn broken(place: &Place, kind: &str, n: usize, end: &str) -> String {
    let id = row(place, "part", kind);
    breaks(place, &id, n, end);
    id
}

#[test]
fn a_part_whose_json_is_broken_is_taken_out_whole_and_put_back() {
    // Cut off, and with something behind it; in the last answer and before it.
    for (kind, n, end) in [("text", 3, ""), ("text", 0, "}"), ("tool", 20, ""), ("step-finish", 1, ",}")] {
        let place = place();
        let part = broken(&place, kind, n, end);
        let before = place.dump();
        let data = before.data("part", &part).to_owned();
        let scan = place.scan();
        let found = scan.session(SHAPE)["findings"].as_array().unwrap();
        let found = found.iter().find(|f| f["code"] == "unopenable-row").unwrap();
        assert_eq!((&found["part_id"], &found["applicability"]), (&json!(part), &json!("opt-in")));
        let run = place.unstick(&["explain", scan.session(SHAPE)["id"].as_str().unwrap()]);
        assert!(run.stdout.contains("--include broken-parts"), "{run:?}");

        // Nothing else asks for it.
        let plain = place.repair_with(&["--include", "rows,latent,unsettled,import"]).json();
        assert_eq!(plain["plan"]["sessions"], json!([]), "{kind}");
        assert!(before == place.dump());

        let run = place.repair_with(&["--include", "broken-parts", "--extract", "parts"]).exits(0).json();
        let steps = &run["plan"]["sessions"][0]["steps"];
        assert_eq!(steps[0]["action"]["take-out"], json!({"part_id": part, "bytes": data.len()}), "{steps}");
        let after = place.dump();
        assert!(after.row("part", &part).is_none());
        let others = |dump: &crate::dump::Dump| {
            dump.rows("part").iter().filter(|r| crate::dump::key("part", r) != part).cloned().collect::<Vec<_>>()
        };
        assert!(others(&before) == others(&after) && before.rows("message") == after.rows("message"));
        assert_eq!(std::fs::read_to_string(place.root().join(format!("parts/{part}.json"))).unwrap(), data);
        let status = place.scan().status(SHAPE).to_owned();
        assert!(!["unreadable", "unopenable"].contains(&status.as_str()), "{status}");
        assert_eq!(place.repair_with(&["--include", "broken-parts"]).json()["plan"]["sessions"], json!([]));

        place.unstick(&["undo", "--yes"]).exits(0);
        assert!(before == place.dump(), "{kind}");
        assert_eq!(place.scan().session(SHAPE), scan.session(SHAPE));
    }
}

#[test]
fn what_is_broken_beside_parts_leaves_the_session() {
    let place = place();
    let message = row(&place, "message", "assistant");
    broken(&place, "text", 3, "");
    place.rewrite("message", &message, |data| data[..data.len() - 1].to_owned());
    let before = place.dump();
    let run = place.repair_with(&["--include", "broken-parts,rows"]).json();
    assert_eq!(run["plan"]["sessions"], json!([]), "{run}");
    assert!(before == place.dump());
}

#[test]
fn two_broken_parts_of_one_message_go_together() {
    let place = place();
    let parts = ["text", "step-start"].map(|kind| row(&place, "part", kind));
    parts.iter().for_each(|part| breaks(&place, part, 1, ""));
    let before = place.dump();
    let run = place.repair_with(&["--include", "broken-parts"]).exits(0).json();
    assert_eq!(run["plan"]["sessions"][0]["steps"].as_array().unwrap().len(), 2, "{run}");
    assert!(parts.iter().all(|part| place.dump().row("part", part).is_none()));
    place.unstick(&["undo", "--yes"]).exits(0);
    assert!(before == place.dump());
    // What the session is without them was not looked at, and nothing is claimed of it.
    let said = place.unstick(&["repair", "--yes", "--include", "broken-parts"]).exits(0).stdout.replace('\n', " ");
    assert!(said.contains("every other row as it was") && !said.contains("same next prompt"), "{said}");
    assert!(said.contains("was not looked at: `unstick scan SESSION` tells"), "{said}");
}
