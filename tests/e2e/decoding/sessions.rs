//! Sessions' and projects' rows: one wrong column at a time, in a store that a server has open.

use rusqlite::types::Value as Cell;
use rusqlite::{Connection, params};
use serde_json::Value;

use super::place::{BASE, Place, Script, columns};
use super::{Outcomes, note};
use crate::opencode::{Server, Version};

/// A column's wrong content, and its name in the record.
type Wrong = (&'static str, Cell);

fn text(words: &str) -> Cell {
    Cell::Text(words.to_owned())
}

const JSON: [&str; 7] = ["summary_diffs", "revert", "permission", "metadata", "model", "sandboxes", "commands"];

/// What is tried on a column of `session` or `project`.
fn wrongs(column: &str, kind: &str, prompt: &str) -> Vec<Wrong> {
    let mut out = vec![("null", Cell::Null)];
    let json: Vec<(&str, String)> = match column {
        "model" => vec![
            ("without id", r#"{"providerID":"mock"}"#.to_owned()),
            ("without providerID", r#"{"id":"claude-opus-4-6"}"#.to_owned()),
            ("id number", r#"{"id":7,"providerID":"mock"}"#.to_owned()),
        ],
        "revert" => vec![
            ("of no message", r#"{"partID":"prt_1"}"#.to_owned()),
            ("of a message that is missing", r#"{"messageID":"msg_1"}"#.to_owned()),
            ("of a wrong id", r#"{"messageID":"xyz_1"}"#.to_owned()),
            ("of a wrong part", format!(r#"{{"messageID":"{prompt}","partID":7}}"#)),
        ],
        "permission" => vec![("of nothing", "[{}]".to_owned())],
        "summary_diffs" => vec![("of nothing", "[{}]".to_owned())],
        "sandboxes" => vec![("of a number", "[7]".to_owned()), ("of no folder", r#"["/nowhere/at/all"]"#.to_owned())],
        _ => Vec::new(),
    };
    if JSON.contains(&column) {
        out.extend([("broken", text("{")), ("number", text("7")), ("string", text("\"x\""))]);
        out.extend([("array", text("[]")), ("object", text("{}")), ("empty", text(""))]);
        out.extend(json.into_iter().map(|(name, value)| (name, text(&value))));
    } else if kind.eq_ignore_ascii_case("text") {
        out.extend([("empty", text("")), ("other", text("xyz_1")), ("folder", text("/nowhere/at/all"))]);
    } else {
        out.extend([("string", text("x")), ("fraction", Cell::Real(1.5)), ("negative", Cell::Integer(-1))]);
    }
    out
}

fn kinds(db: &Connection, table: &str) -> Vec<(String, String)> {
    let kind = |name: &String| {
        let query = format!("SELECT type FROM pragma_table_info('{table}') WHERE name = ?");
        db.query_row(&query, [name], |row| row.get(0)).expect("the schema")
    };
    columns(db, table).into_iter().map(|name| (name.clone(), kind(&name))).collect()
}

/// Lets every column be empty.
fn allow_nulls(db: &Connection) {
    db.execute_batch(
        "PRAGMA writable_schema = ON;
         UPDATE sqlite_master SET sql = replace(replace(sql, ' NOT NULL', ''), ' not null', '')
             WHERE type = 'table' AND name IN ('session', 'project');
         PRAGMA writable_schema = RESET;",
    )
    .expect("the schema can be changed");
}

fn set(db: &Connection, table: &str, column: &str, id: &str, value: &Cell) {
    let update = format!("UPDATE {table} SET \"{column}\" = ? WHERE id = ?");
    db.execute(&update, params![value, id]).expect("a column is set");
}

fn get(db: &Connection, table: &str, column: &str, id: &str) -> Cell {
    db.query_row(&format!("SELECT \"{column}\" FROM {table} WHERE id = ?"), [id], |row| row.get(0)).expect("a column")
}

/// Whether a list of sessions holds one, and the one that nothing is done to.
fn listed(list: &Value, id: &str, witness: &str) -> (bool, bool) {
    let has = |id: &str| list.as_array().is_some_and(|list| list.iter().any(|session| session["id"] == id));
    (has(id), has(witness))
}

/// What is said of a list: nothing where both sessions are in it.
fn list(answer: Result<Value, String>, id: &str, witness: &str) -> Option<&'static str> {
    match answer.map(|list| listed(&list, id, witness)) {
        Ok((true, true)) => None,
        Ok((false, true)) => Some("list"),
        _ => Some("whole-list"),
    }
}

/// The sessions that the command prints.
fn command(place: &Place) -> Result<Value, String> {
    let out = place.home.run(&["session", "list", "--max-count", "100000", "--format", "json"])?;
    Ok(serde_json::from_str(&out).unwrap_or(Value::Null))
}

pub(super) fn measure(version: &Version, seen: &mut Outcomes) -> Vec<String> {
    let place = Place::new(version);
    let db = place.db();
    allow_nulls(&db);
    let columns = kinds(&db, "session");
    let mut cases = Vec::new();
    for (column, kind) in columns.iter().filter(|(name, _)| name != "id") {
        // The folder of a prompt's session is told by its number.
        cases.extend(wrongs(column, kind, "").into_iter().map(|wrong| (column.as_str(), kind.as_str(), wrong.0)));
    }
    let scripts: Vec<Script> = (0..=cases.len()).map(|n| Script::sound(n as u64 + 1, &place.work())).collect();
    place.insert(&scripts);
    db.execute_batch("UPDATE session SET summary_additions = 1, summary_deletions = 1, summary_files = 1")
        .expect("a summary");
    let witness = &scripts[cases.len()].id;
    let server = Server::start(&place.home);
    let mut misses = Vec::new();
    for (script, (column, kind, name)) in scripts.iter().zip(&cases) {
        let id = script.id.as_str();
        let before = get(&db, "session", column, id);
        let wrong = wrongs(column, kind, &script.messages[2].id);
        let value = &wrong.iter().find(|wrong| wrong.0 == *name).expect("a case").1;
        set(&db, "session", column, id, value);
        let mut fails: Vec<&str> = Vec::new();
        let all = list(server.get("/session?limit=100000"), id, witness);
        fails.extend(all);
        if all.is_some() && list(command(&place), id, witness).is_some() {
            fails.push("command");
        }
        let asked = [
            ("get", server.get(&format!("/session/{id}")).map(|_| ())),
            ("open", server.get(&format!("/session/{id}/message")).map(|_| ())),
            ("prompt", place.ask(&server, id, None)),
        ];
        for (what, answer) in asked {
            if let Err(why) = answer {
                fails.push(what);
                println!(
                    "  {version} session / {column} / {name}: {what}: {}",
                    why.chars().take(300).collect::<String>()
                );
            }
        }
        note(seen, "session", column, name, &fails);
        set(&db, "session", column, id, &before);
        if list(server.get("/session?limit=100000"), id, witness).is_some() {
            misses.push(format!("opencode {version}: session / {column} / {name}: not listed again"));
        }
    }
    server.stop();
    drop(db);
    projects(version, &place, witness, seen);
    misses
}

/// A project's row is read when a server first uses its folder, so each change needs a new one.
fn projects(version: &Version, place: &Place, witness: &str, seen: &mut Outcomes) {
    let db = place.db();
    let base: String = db
        .query_row("SELECT project_id FROM session WHERE title = ?", [BASE], |row| row.get(0))
        .expect("the project of the sessions");
    let columns = kinds(&db, "project");
    let row: Vec<Cell> = columns.iter().map(|(name, _)| get(&db, "project", name, &base)).collect();
    for (column, kind) in columns.iter().filter(|(name, _)| name != "id") {
        for (name, value) in wrongs(column, kind, "") {
            set(&db, "project", column, &base, &value);
            let mut fails = Vec::new();
            // On a busy machine a start may take too long once.
            let server = (0..3).find_map(|_| Server::listening(&place.home));
            match server {
                None => fails.push("start"),
                Some(server) => {
                    fails.extend(list(server.get("/session?limit=100000"), witness, witness));
                    let asked = [
                        ("projects", server.get("/project").map(|_| ())),
                        ("open", server.get(&format!("/session/{witness}/message")).map(|_| ())),
                        ("prompt", place.ask(&server, witness, None)),
                    ];
                    for (what, answer) in asked {
                        if let Err(why) = answer {
                            fails.push(what);
                            let why: String = why.chars().take(300).collect();
                            println!("  {version} project / {column} / {name}: {what}: {why}");
                        }
                    }
                    server.stop();
                }
            }
            note(seen, "project", column, name, &fails);
            for ((name, _), cell) in columns.iter().zip(&row) {
                set(&db, "project", name, &base, cell);
            }
        }
    }
}
