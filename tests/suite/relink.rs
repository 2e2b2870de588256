//! Sessions whose folder was moved.

use std::fs;

use serde_json::{Value, json};

use crate::place::{Place, Run};

const STORE: &str = "1.18.33";

/// A store of two sessions in a folder that is gone, one of them further down, and the folder's new place.
fn moved() -> (Place, String, String) {
    let place = Place::with_sessions(STORE, &["healthy", "rstpar"]);
    let at = |name: &str| place.root().join(name).to_str().unwrap().to_owned();
    let (old, new) = (at("was/work"), at("is/work"));
    fs::create_dir_all(&new).unwrap();
    place.edit(&format!(
        "UPDATE session SET directory = '{old}', path = '' WHERE title = 'healthy';
         UPDATE session SET directory = '{old}/below', path = 'below' WHERE title = 'rstpar';
         UPDATE project SET worktree = '{old}', sandboxes = '[\"{old}-other\",\"{old}/copy\"]'"
    ));
    (place, old, new)
}

fn places(place: &Place) -> Vec<(String, String, Option<String>)> {
    let db = place.sql();
    let mut rows = db.prepare("SELECT title, directory, path FROM session ORDER BY title").unwrap();
    rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap().collect::<Result<_, _>>().unwrap()
}

fn relink(place: &Place, args: &[&str]) -> Run {
    place.unstick(&[&["relink", "--json"], args].concat())
}

#[test]
fn sessions_are_told_where_their_folder_is_and_taken_back() {
    let (place, old, new) = moved();
    let before = place.dump();
    let list = relink(&place, &[]).exits(1).json();
    let gone = list["gone"].as_array().unwrap();
    assert_eq!(gone.iter().map(|g| g["sessions"].as_u64().unwrap()).sum::<u64>(), 2, "{list}");
    assert!(gone.iter().any(|g| g["directory"] == old.as_str() && g["messages"].as_u64() > Some(1)), "{list}");
    relink(&place, &[&old, &new, "--dry-run"]).exits(1);
    assert!(before == place.dump(), "a dry run changes nothing");
    let done = relink(&place, &[&old, &new, "--yes"]).exits(0).json();
    assert_eq!((&done["applied"], done["moved"].as_array().unwrap().len()), (&json!(true), 3), "{done}");
    let expected = [
        ("healthy".to_owned(), new.clone(), Some(String::new())),
        ("rstpar".to_owned(), format!("{new}/below"), Some("below".to_owned())),
    ];
    assert_eq!(places(&place), expected);
    let project = place.text("SELECT worktree || ' ' || sandboxes FROM project WHERE id <> 'global'");
    assert_eq!(project, format!("{new} [\"{old}-other\",\"{new}/copy\"]"));
    // Each log that tells of its session's rows is told of the move, as opencode does.
    let events = place.text("SELECT count(*) || ' ' || max(data) FROM event WHERE type = 'session.next.moved.1'");
    assert!(events.starts_with("2 ") && events.contains(&format!("\"location\":{{\"directory\":\"{new}")), "{events}");
    let seq = "SELECT group_concat(s.seq = (SELECT max(e.seq) FROM event e WHERE e.aggregate_id = s.aggregate_id)) FROM event_sequence s";
    assert_eq!(place.text(seq), "1,1");
    // Messages and parts are what they were, and judged as they were.
    assert_eq!(
        (place.dump().rows("message"), place.dump().rows("part")),
        (before.rows("message"), before.rows("part"))
    );
    assert_eq!((place.scan().status("healthy"), place.scan().status("rstpar")), ("healthy", "stuck"));
    // Nothing is gone that is there.
    let list = relink(&place, &[]).json();
    assert!(list["gone"].as_array().unwrap().iter().all(|g| g["directory"] != new.as_str()), "{list}");
    // A session that went on is taken back as well.
    let undo = place.twin();
    undo.edit("UPDATE session SET time_updated = time_updated + 1000");
    undo.unstick(&["undo", "--yes"]).exits(0);
    assert_eq!(places(&undo)[0].1, old);
    place.unstick(&["undo", "--yes"]).exits(0);
    assert!(before == place.dump(), "every byte is back: {:?}", before.difference(&place.dump()));
}

#[test]
fn a_repository_is_proposed_by_the_id_that_opencode_noted_in_it() {
    let (place, old, new) = moved();
    let project = place.text("SELECT project_id FROM session WHERE title = 'healthy'");
    let renamed = place.root().join("is/renamed");
    fs::create_dir_all(renamed.join(".git")).unwrap();
    fs::write(renamed.join(".git/opencode"), &project).unwrap();
    // Something is known to be near there.
    place.edit(&format!("UPDATE session SET directory = '{new}' WHERE title = 'rstpar'"));
    let list = relink(&place, &[]).exits(1).json();
    let of = list["gone"].as_array().unwrap().iter().find(|g| g["directory"] == old.as_str()).unwrap();
    let first: &Value = &of["candidates"][0];
    assert_eq!(
        (&first["directory"], &first["same_project"]),
        (&json!(renamed.to_str().unwrap()), &json!(true)),
        "{list}"
    );
    let said = place.unstick(&["relink"]).exits(1).stdout;
    assert!(said.contains("the same repository") && said.contains("relink --dry-run"), "{said}");
}

#[test]
fn the_next_command_names_the_folder_that_is_gone() {
    let (place, _, new) = moved();
    fs::remove_dir_all(&new).unwrap();
    let said = place.unstick(&["relink"]).exits(1).stdout;
    let next = said.lines().find(|line| line.starts_with("Next:")).unwrap();
    let named = place.text("SELECT group_concat(directory) FROM (SELECT DISTINCT directory FROM session)");
    assert!(named.split(',').any(|old| next.contains(&format!("relink --dry-run {old} NEW "))), "{next}: {named}");
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let (place, old, new) = moved();
    let before = place.dump();
    let gone = format!("{new}-nowhere");
    for (from, to) in [(old.as_str(), gone.as_str()), (&new, &new), (&gone, &new), (&old[..old.len() - 1], &new)] {
        let error = relink(&place, &[from, to, "--yes"]).exits(2).json();
        assert!(error["error"]["message"].as_str().unwrap().len() > 10, "{error}");
    }
    relink(&place, &[&old]).exits(2);
    assert!(before == place.dump());
    // A session with a row that cannot be understood stays where it is.
    place.edit("UPDATE part SET data = 'x' WHERE session_id = (SELECT id FROM session WHERE title = 'rstpar')");
    let done = relink(&place, &[&old, &new, "--yes"]).exits(1).json();
    assert_eq!(
        (&done["left"][0]["reason"], places(&place)[1].1.as_str()),
        (&json!("unreadable"), &*format!("{old}/below"))
    );
    assert_eq!(places(&place)[0].1, new);
}

#[test]
fn a_scan_of_this_machines_store_says_how_many_sessions_are_lost() {
    let (place, old, new) = moved();
    let folder = place.root().join("data/opencode");
    fs::create_dir_all(&folder).unwrap();
    fs::copy(place.db(), folder.join("opencode.db")).unwrap();
    let said = |run: Run| run.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    let own = said(Run::of(&mut place.command(["scan", "-v"])));
    assert!(own.contains("2 sessions point to folders that are gone"), "{own}");
    assert!(!said(place.unstick(&["scan", "-v"])).contains("gone"), "a store that is named may be from elsewhere");
    assert!(!old.is_empty() && !new.is_empty());
}
