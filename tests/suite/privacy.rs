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
    &["stats", "--svg", "chart.svg"],
    &["stats", "--by", "model", "--json"],
    &["scan", "--all", "--threads", "2"],
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

/// Every source file below src/, without its own tests.
fn sources() -> Vec<(PathBuf, String)> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut out = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else {
                let text = fs::read_to_string(&entry).unwrap();
                let shipped = text.split("#[cfg(test)]\nmod ").next().unwrap().to_owned();
                out.push((entry, shipped));
            }
        }
    }
    assert!(out.len() > 50);
    out
}

/// A string literal of a source file, with what stands behind it.
struct Literal<'a> {
    text: &'a str,
    behind: &'a str,
}

/// The string literals of a source file, comments and characters aside.
fn literals(source: &str) -> Vec<Literal<'_>> {
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(c) = source[at..].chars().next() {
        let rest = &source[at..];
        if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
        } else if let Some(skip) = ["'\"'", "'\\\"'", "'\\''"].into_iter().find(|q| rest.starts_with(q)) {
            at += skip.len();
        } else if let Some(raw) = rest.strip_prefix("r#\"") {
            let end = raw.find("\"#").expect("a raw literal ends");
            out.push(Literal { text: &raw[..end], behind: &raw[end + 2..] });
            at += 3 + end + 2;
        } else if let Some(plain) = rest.strip_prefix('"') {
            let bytes = plain.as_bytes();
            let mut end = 0;
            while bytes[end] != b'"' {
                end += 1 + usize::from(bytes[end] == b'\\');
            }
            out.push(Literal { text: &plain[..end], behind: &plain[end + 1..] });
            at += 1 + end + 1;
        } else {
            at += c.len_utf8();
        }
    }
    out
}

/// The arguments up to the parenthesis that closes the call.
fn arguments(text: &str) -> Vec<&str> {
    let (mut depth, mut from, mut out) = (0, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth == 0 => {
                out.push(text[from..at].trim());
                break;
            }
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                out.push(text[from..at].trim());
                from = at + 1;
            }
            _ => {}
        }
    }
    out.retain(|a| !a.is_empty());
    out
}

/// What is wrong with a literal that holds SQL.
fn holds_a_value(sql: &Literal<'_>) -> Option<String> {
    // What may be put in, by where it comes from: names that the program knows or that were checked against the
    // schema, constants of the program, and marks for values.
    const NAMED: [&str; 8] = ["table", "name", "column", "columns", "c", "key", "guard", "query"];
    const GIVEN: [&str; 7] =
        ["optional(", "columns.join(", "names.join(", "marks.join(", "assignments.join(", "values.len()", "n + 1"];
    let mut given = arguments(sql.behind.trim_start().strip_prefix(',').unwrap_or(")")).into_iter();
    for hole in sql.text.split('{').skip(1).map(|h| h.split('}').next().unwrap()) {
        let constant = hole.chars().all(|c| c.is_ascii_uppercase() || c == '_');
        if !hole.is_empty() && !constant && !NAMED.contains(&hole) {
            return Some(format!("`{hole}` is put in"));
        }
        if hole.is_empty() {
            let argument = given.next().unwrap_or_default();
            if !GIVEN.iter().any(|known| argument.starts_with(known)) {
                return Some(format!("`{argument}` is put in"));
            }
        }
    }
    if sql.text.contains("'{") || sql.text.matches('\'').count() % 2 == 1 {
        return Some("a text in it is not closed, or holds what is put in".to_owned());
    }
    let goes_on = sql.behind.trim_start_matches([' ', '\n', ')', '(']);
    let joined = [".to_owned() +", ".to_string() +", ".into() +", "+"].iter().any(|j| goes_on.starts_with(j));
    joined.then(|| "something is added to it".to_owned())
}

/// Whether a literal is SQL.
fn is_sql(text: &str) -> bool {
    ["SELECT ", "INSERT ", "UPDATE ", "DELETE ", "PRAGMA ", "WHERE ", " AND ", " IS ?", " = ?"]
        .iter()
        .any(|w| text.contains(w))
}

/// SQL that is put together may hold names of tables and columns, which come from the program or were checked
/// against the schema that is known; values are bound.
#[test]
fn no_value_is_put_into_sql() {
    let mut looked_at = 0;
    for (path, text) in sources() {
        let inside = path.components().any(|c| c.as_os_str() == "store");
        for sql in literals(&text).iter().filter(|l| is_sql(l.text)) {
            assert!(inside, "{} holds SQL: {:?}", path.display(), sql.text);
            looked_at += 1;
            assert_eq!(holds_a_value(sql), None, "{}: {:?}", path.display(), sql.text);
        }
    }
    assert!(looked_at >= 30, "{looked_at}");
    // Ways of doing it wrong.
    for bad in [
        r#"format!("SELECT id FROM part WHERE id = '{id}'")"#,
        r#"format!("SELECT id FROM part WHERE id = {}", id)"#,
        r#"format!("SELECT id FROM part WHERE id = '{}'", columns.join(", "))"#,
        r#"("SELECT id FROM part WHERE rowid = ".to_owned() + &rowid.to_string())"#,
        r#"query.push_str("WHERE id = '"); query.push_str(id)"#,
    ] {
        assert!(literals(bad).iter().any(|l| is_sql(l.text) && holds_a_value(l).is_some()), "{bad}");
    }
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
    // Every connection is given the settings, which a test of src/store/open.rs asks SQLite for.
    let opened: usize = sources()
        .iter()
        .filter(|(p, _)| !p.ends_with("backup.rs"))
        .map(|(_, t)| t.matches("Connection::open").count())
        .sum();
    let hardened: usize = sources().iter().map(|(_, t)| t.matches("harden(").count()).sum();
    // Both ways of reading share one call, whoever writes and what is in memory have others, and the definition is one more.
    assert_eq!((opened, hardened), (4, 4), "a connection without its settings");
}
