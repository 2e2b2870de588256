//! What was said in a session stays there: no text of a row reaches a terminal, a document, a list of journals or an
//! error unless it is asked for; what must hold texts is readable by its owner alone; nothing is written over.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::dump::text;
use crate::fixtures;
use crate::holder::Holder;
use crate::place::{Place, Run};

const STORE: &str = "1.18.33";

/// The start of every secret; each goes on with the place where it stands.
const SECRET: &str = "5ecret";

/// Members whose values are names of things, which are shown.
const NAMES: [&str; 21] = [
    "type",
    "role",
    "status",
    "tool",
    "callID",
    "finish",
    "reason",
    "providerID",
    "modelID",
    "parentID",
    "agent",
    "mode",
    "mime",
    "name",
    "id",
    "sessionID",
    "messageID",
    "tail_start_id",
    "title",
    "directory",
    "version",
];

/// Puts a secret into every text that is content, which says where it stands.
fn tell(value: &mut Value, at: &str, told: &mut Vec<String>) {
    match value {
        Value::String(text) if !text.is_empty() && !NAMES.contains(&at.rsplit('.').next().unwrap()) => {
            text.push_str(&format!(" {SECRET}{at}"));
            told.push(at.to_owned());
        }
        Value::Array(items) => items.iter_mut().for_each(|item| tell(item, &format!("{at}.n"), told)),
        Value::Object(members) => {
            members.iter_mut().for_each(|(key, value)| tell(value, &format!("{at}.{key}"), told));
        }
        _ => {}
    }
}

/// A store with a secret in every text field of every row of every table that holds JSON, and in the columns that
/// hold texts and are nobody's name.
fn secretive() -> Place {
    let place = Place::named(STORE);
    let dump = place.dump();
    let db = place.sql();
    let mut told = Vec::new();
    for table in ["message", "part", "event"] {
        for row in dump.rows(table) {
            let mut data: Value = serde_json::from_str(text(row, "data")).unwrap();
            tell(&mut data, &format!("-{table}"), &mut told);
            let change = format!("UPDATE {table} SET data = ?2 WHERE id = ?1");
            db.execute(&change, [text(row, "id"), &data.to_string()]).unwrap();
        }
    }
    db.execute_batch(&format!(
        "UPDATE session SET slug = slug || '{SECRET}-slug', share_url = '{SECRET}-share', metadata = '{{\"a\":\"{SECRET}-metadata\"}}'"
    ))
    .unwrap();
    told.sort();
    told.dedup();
    for field in [
        "-part.text",
        "-part.state.output",
        "-part.state.input.command",
        "-message.error.data.message",
        "-event.part.text",
    ] {
        assert!(told.iter().any(|t| t == field), "no row has {field}");
    }
    place
}

/// Every command, in every voice.
const CALLS: [&[&str]; 30] = [
    &["scan"],
    &["scan", "--all", "-v", "--opencode", "any"],
    &["scan", "-q"],
    &["scan", "--stuck", "-v"],
    &["scan", "--all", "--json", "--opencode", "any"],
    &["scan", "--json-lines"],
    &["scan", "nobody"],
    &["explain", "rstpar"],
    &["explain", "abort-text", "-v"],
    &["explain", "rstpar", "--json"],
    &["explain", "nobody", "--json"],
    &["stats"],
    &["stats", "-v", "--by", "tool"],
    &["stats", "--json"],
    &["stats", "--csv"],
    &["stats", "--csv", "--by", "model"],
    &["stats", "--svg", "chart.svg"],
    &["repair", "-n", "-v"],
    &["repair", "-n", "--json", "--include", "at-risk,latent,unsettled,near-window"],
    &["repair"],
    &["repair", "nobody", "--json"],
    &["repair", "--yes", "--journal", "no/such\u{0}", "--json"],
    &["repair", "--yes", "-v", "--include", "latent,unsettled", "--opencode", "any"],
    &["repair", "--yes", "--json"],
    &["undo", "--list", "-v"],
    &["undo", "--list", "--json"],
    &["undo", "-n", "-v"],
    &["undo", "-n", "--json"],
    &["undo", "--yes", "-v"],
    &["undo", "--yes", "--json"],
];

fn keeps(call: &str, run: &Run) {
    for said in [&run.stdout, &run.stderr] {
        let found: Vec<&str> =
            said.match_indices(SECRET).take(5).map(|(at, _)| said[at..].lines().next().unwrap()).collect();
        assert!(found.is_empty(), "{call} gives away {found:?}");
    }
}

fn calls() -> impl Iterator<Item = &'static &'static [&'static str]> {
    CALLS.iter().filter(|args| !args.iter().any(|a| a.contains('\u{0}')))
}

#[test]
fn no_command_gives_a_text_away() {
    let place = secretive();
    let mut done = 0;
    for args in calls() {
        let run = place.unstick(args);
        keeps(&format!("{args:?}"), &run);
        done += usize::from(run.code < 2);
    }
    assert!(done >= 24, "{done} calls came to something");
    let chart = fs::read_to_string(place.root().join("chart.svg")).unwrap();
    assert!(!chart.contains(SECRET));
    // What is asked for is shown, so that the secrets are known to stand where they would be seen.
    for args in [&["explain", "rstpar", "--text"][..], &["repair", "-n", "--json", "--text"]] {
        assert!(place.unstick(args).stdout.contains(SECRET), "{args:?}");
    }
}

/// Ways in which the store itself refuses: what SQLite or a proof says must not quote a row.
#[test]
fn no_error_gives_a_text_away() {
    let fixture = fixtures::one(STORE);
    let place = secretive();
    for (shape, sql) in [
        ("rstpar", "UPDATE part SET data = substr(data, 1, length(data) - 3)".to_owned()),
        ("rstthink", "UPDATE part SET data = replace(data, '\"text\":\"', '\"text\":[1],\"x\":\"')".to_owned()),
        ("overaftertool", "UPDATE message SET data = CAST(data AS BLOB)".to_owned()),
        ("maxsteps", format!("UPDATE message SET data = replace(data, '\"role\":\"', '\"role\":\"{SECRET}')")),
        ("rstmidtool", format!("UPDATE part SET data = replace(data, '\"status\":\"', '\"status\":\"{SECRET}')")),
    ] {
        place.edit(&format!("{sql} WHERE session_id = '{}'", fixture.id(shape)));
    }
    let revert = format!(
        "UPDATE session SET revert = '{{\"messageID\":{{\"{SECRET}\":1}}}}' WHERE id = '{}'",
        fixture.id("healthy")
    );
    place.edit(&revert);
    assert!(place.scan().titles("unreadable").len() >= 5);
    for args in calls() {
        keeps(&format!("rows that cannot be understood: {args:?}"), &place.unstick(args));
    }
    // A table of another form, with a secret for a default.
    let place = secretive();
    place.edit(&format!("ALTER TABLE part ADD COLUMN kind TEXT DEFAULT '{SECRET}'"));
    for args in calls() {
        keeps(&format!("another form: {args:?}"), &place.unstick(args));
    }
    // A row that somebody has changed meanwhile.
    let place = secretive();
    place.unstick(&["repair", "--yes"]).exits(0);
    place.edit("UPDATE message SET data = replace(data, '\"stop\"', '\"length\"')");
    for args in [&["undo", "--yes"][..], &["undo", "--yes", "--json"], &["undo", "--list"]] {
        keeps(&format!("changed since: {args:?}"), &place.unstick(args));
    }
    // A journal that was tampered with quotes no line of itself.
    for entry in fs::read_dir(place.root().join("state/opencode-unstick")).unwrap() {
        let path = entry.unwrap().path();
        let whole = fs::read_to_string(&path).unwrap();
        assert!(whole.contains(SECRET), "a journal holds the rows that were touched");
        for bad in [
            whole.replacen("\"row\"", &format!("\"{SECRET}\""), 1),
            whole.replacen("\"text\":", &format!("\"{SECRET}\":"), 3),
            whole.replacen("{\"header\"", &format!("{{\"{SECRET}\":1,\"header\""), 1),
            whole.replacen("\"int\":", "\"int\":\"5ecret\"", 1),
        ] {
            fs::write(&path, bad).unwrap();
            for args in [
                &["undo", "--list"][..],
                &["undo", "--list", "--json"],
                &["undo", "--yes"],
                &["undo", "--yes", "--json"],
            ] {
                keeps(&format!("a bad journal: {args:?}"), &place.unstick(args));
            }
        }
    }
    // Somebody else has it.
    let holder = Holder::start(&place.db(), "BEGIN IMMEDIATE;");
    keeps("in use", &place.unstick(&["repair", "--yes"]));
    holder.close();
}

#[cfg(unix)]
mod files {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn journals(place: &Place) -> Vec<PathBuf> {
        fs::read_dir(place.root().join("state/opencode-unstick")).unwrap().map(|e| e.unwrap().path()).collect()
    }

    #[test]
    fn whatever_is_written_is_its_owners_alone() {
        let place = Place::named(STORE);
        // However open the store is, and whatever the mask would allow.
        fs::set_permissions(place.db(), fs::Permissions::from_mode(0o666)).unwrap();
        let mut command = std::process::Command::new("sh");
        let unstick = place.on_store(&["repair", "--yes", "--backup", "copy.db"]);
        command.arg("-c").arg("umask 0; exec \"$0\" \"$@\"").arg(unstick.get_program()).args(unstick.get_args());
        command.env_clear().envs(unstick.get_envs().filter_map(|(k, v)| Some((k, v?)))).current_dir(place.root());
        command
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        Run::of(&mut command).exits(0);
        place.unstick(&["stats", "--svg", "chart.svg"]).exits(0);
        place.unstick(&["undo", "--yes"]).exits(0);
        for path in journals(&place)
            .iter()
            .map(PathBuf::as_path)
            .chain([&*place.root().join("copy.db"), &*place.root().join("chart.svg")])
        {
            assert_eq!(mode(path), 0o600, "{}", path.display());
        }
        assert_eq!(mode(&place.root().join("state/opencode-unstick")), 0o700);
        assert_eq!(mode(&place.db()), 0o666, "the store's own mode is not ours to change");
    }

    #[test]
    fn no_file_is_followed_or_overwritten() {
        let place = Place::named(STORE);
        let mine = place.root().join("mine");
        fs::write(&mine, "mine").unwrap();
        symlink(&mine, place.root().join("link")).unwrap();
        symlink(place.root().join("nowhere"), place.root().join("dangling")).unwrap();
        let store = place.files();
        for name in ["mine", "link", "dangling"] {
            place.unstick(&["repair", "--yes", "--backup", name]).exits(2);
            place.unstick(&["stats", "--svg", name]).exits(2);
            assert_eq!(fs::read_to_string(&mine).unwrap(), "mine", "{name}");
            assert!(!place.root().join("nowhere").exists(), "{name}");
            store.assert_still(&place.files(), name);
        }
        // The store itself is a file that is there as well.
        let db = place.db();
        place.unstick(&["repair", "--yes", "--backup", db.to_str().unwrap()]).exits(2);
        place.unstick(&["stats", "--svg", db.to_str().unwrap()]).exits(2);
        store.assert_still(&place.files(), "a backup onto the store");
        // A folder of journals that leads elsewhere by a dangling link is none.
        let run = place.unstick(&["repair", "--yes", "--json", "--journal", "dangling"]).exits(2);
        assert_eq!(run.json()["error"]["code"], "journal");
        store.assert_still(&place.files(), "a journal folder that is a dangling link");
    }
}

/// Every source file below src/.
fn sources() -> Vec<(PathBuf, String)> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut out = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else {
                let text = fs::read_to_string(&entry).unwrap();
                out.push((entry, text));
            }
        }
    }
    assert!(out.len() > 50);
    out
}

/// SQL that is put together may hold names of tables and columns, which come from the program or were checked
/// against the schema that is known; values are bound.
#[test]
fn no_value_is_put_into_sql() {
    // What may stand in braces, by where it comes from.
    const KNOWN: [&str; 10] =
        ["table", "name", "column", "columns", "key", "guard", "query", "names.join", "marks.join", "assignments.join"];
    // A constant of the program, or one of these; `{}` takes what is written behind it.
    let known = |hole: &str| KNOWN.contains(&hole) || hole.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    let word = |text: &str| {
        ["SELECT ", "INSERT ", "UPDATE ", "DELETE ", "PRAGMA ", "FROM ", "WHERE "].iter().any(|w| text.contains(w))
    };
    let mut looked_at = 0;
    for (path, text) in sources() {
        let inside = path.components().any(|c| c.as_os_str() == "store");
        for (at, _) in text.match_indices("format!(") {
            let call = &text[at..];
            let call = &call[..call.find(';').unwrap_or(call.len()).min(600)];
            let literal = call.split('"').nth(1).unwrap_or_default();
            if !word(literal) {
                continue;
            }
            assert!(inside, "{} puts SQL together", path.display());
            looked_at += 1;
            for hole in literal.split('{').skip(1).map(|h| h.split('}').next().unwrap()) {
                assert!(known(hole), "{}: `{hole}` is put into {literal:?}", path.display());
            }
        }
    }
    assert!(looked_at >= 6, "{looked_at}");
}

/// The settings under which nothing that a file brings along is run, asked of SQLite through a store that tries.
#[test]
fn nothing_that_a_store_brings_along_is_run() {
    let place = Place::named(STORE);
    // A view and a trigger on tables that are not looked at, an index on an expression, a default that would be
    // worked out when a row is made.
    place.edit(
        "CREATE TABLE bait (id INTEGER PRIMARY KEY, text TEXT);
         CREATE VIEW lure AS SELECT * FROM message;
         CREATE TRIGGER on_bait AFTER INSERT ON bait BEGIN DELETE FROM message; END;
         CREATE TRIGGER on_lure INSTEAD OF UPDATE ON lure BEGIN DELETE FROM message; END;",
    );
    let plain = Place::named(STORE);
    assert_eq!(place.scan().document["sessions"], plain.scan().document["sessions"]);
    place.repair_with(&[]).exits(0);
    plain.repair_with(&[]).exits(0);
    for table in crate::dump::WRITTEN {
        let (found, expected) = (place.dump().without_times_of_change(), plain.dump().without_times_of_change());
        assert!(found.rows(table) == expected.rows(table), "{table}");
    }
    // Where a setting is given, it is given to every connection.
    let open = sources().into_iter().find(|(p, _)| p.ends_with("store/open.rs")).unwrap().1;
    for setting in [
        "DEFENSIVE, true",
        "TRUSTED_SCHEMA, false",
        "ENABLE_TRIGGER, false",
        "ENABLE_VIEW, false",
        "cell_size_check\", true",
    ] {
        assert!(open.contains(setting), "{setting}");
    }
    let opened: usize = sources()
        .iter()
        .filter(|(p, _)| !p.ends_with("backup.rs"))
        .map(|(_, t)| t.matches("Connection::open").count())
        .sum();
    let hardened: usize = sources().iter().map(|(_, t)| t.matches("harden(").count()).sum();
    // Three ways of opening in open.rs share one call, and the definition is one more.
    assert_eq!((opened, hardened), (5, 4), "a connection without its settings");
}
