//! Exported sessions say what the store says.

use std::path::{Path, PathBuf};

use opencode_unstick::diagnosis::{Diagnosis, Judge, Refuses, diagnose};
use opencode_unstick::export::{self, Export};
use opencode_unstick::plain::{self, MessageRow, PartRow, SessionRow};
use opencode_unstick::replay::{Sdk, counting_from};
use rusqlite::{Connection, OpenFlags};

use crate::fixtures;
use crate::place::{Place, Run};

struct File {
    /// `1.18.34/rstpar`, for people.
    name: String,
    store: String,
    export: Export,
    messages: Vec<MessageRow>,
}

fn files() -> Vec<File> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/exports");
    let within = |folder: &Path| -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    };
    let stores = within(&folder).into_iter().filter(|path| path.is_dir());
    let files = stores.flat_map(|store| within(&store)).map(|path| {
        let mut messages = Vec::new();
        let read = export::read(std::fs::File::open(&path).unwrap(), |message| {
            messages.push(message);
            Ok(())
        });
        let store = path.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
        let name = format!("{store}/{}", path.file_stem().unwrap().to_str().unwrap());
        let export = read.unwrap_or_else(|error| panic!("{name}: {error}"));
        File { name, store, export, messages }
    });
    files.collect()
}

/// A session's row and messages in the store.
pub fn stored(store: &str, id: &str) -> (SessionRow, Vec<MessageRow>) {
    let path = fixtures::root().join(store).join("opencode.db");
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let path = if db.prepare("SELECT path FROM session").is_ok() { "path" } else { "NULL" };
    let query = format!(
        "SELECT id, project_id, parent_id, directory, {path}, title, version, revert, time_created, time_updated
         FROM session WHERE id = ?"
    );
    let session = db.query_row(&query, [id], |row| {
        Ok(SessionRow {
            id: row.get(0)?,
            project_id: row.get(1)?,
            parent_id: row.get(2)?,
            directory: row.get(3)?,
            path: row.get(4)?,
            title: row.get(5)?,
            version: row.get(6)?,
            revert: row.get(7)?,
            time_created: row.get(8)?,
            time_updated: row.get(9)?,
        })
    });
    let list = |query: &str, of: &str| -> Vec<(String, i64, String)> {
        let mut statement = db.prepare_cached(query).unwrap();
        let found = statement.query_map([of], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
        found.collect::<Result<_, _>>().unwrap()
    };
    let messages = "SELECT id, time_created, data FROM message WHERE session_id = ? ORDER BY time_created, id";
    let messages = list(messages, id).into_iter().map(|(id, time_created, data)| {
        let parts = list("SELECT id, time_created, data FROM part WHERE message_id = ? ORDER BY id", &id);
        let parts = parts.into_iter().map(|(id, time_created, data)| PartRow { id, time_created, data }).collect();
        MessageRow { id, time_created, data, parts }
    });
    (session.unwrap(), messages.collect())
}

fn verdict(session: &SessionRow, messages: &[MessageRow], package: &str) -> Diagnosis {
    let judge = Judge { counting: counting_from(None), guess: None, refuses: Refuses::default(), doubted: Vec::new() };
    diagnose(&plain::history(session, messages).unwrap(), &Sdk::new(package), &judge)
}

/// What a scan says of a session, details aside.
fn said(diagnosis: &Diagnosis) -> String {
    let findings: Vec<_> = diagnosis
        .findings
        .iter()
        .map(|finding| format!("{} {:?} {:?}", finding.code, finding.message_id, finding.part_id))
        .collect();
    format!(
        "{:?} {:?} {:?} {:?} {:?} {:?} {findings:?}",
        diagnosis.status,
        diagnosis.evidence,
        diagnosis.model,
        diagnosis.orphans,
        diagnosis.prefill_400s,
        diagnosis.resume
    )
}

const PACKAGES: [&str; 2] = ["@ai-sdk/anthropic", "@ai-sdk/openai-compatible"];

#[test]
fn an_export_holds_the_rows_of_the_store() {
    let (mut compared, mut rows) = (0, 0);
    for file in files().into_iter().filter(|file| !file.export.sanitized) {
        let (session, messages) = stored(&file.store, &file.export.session.id);
        assert_eq!(file.export.session, session, "{}", file.name);
        assert_eq!(file.messages.len(), messages.len(), "{}", file.name);
        for (found, stored) in file.messages.iter().zip(&messages) {
            let of = |message: &MessageRow| -> Vec<(String, String)> {
                let parts = message.parts.iter().map(|part| (part.id.clone(), part.data.clone()));
                std::iter::once((message.id.clone(), message.data.clone())).chain(parts).collect()
            };
            assert_eq!(of(found), of(stored), "{}", file.name);
            rows += of(found).len();
        }
        for package in PACKAGES {
            let (found, stored) =
                (verdict(&file.export.session, &file.messages, package), verdict(&session, &messages, package));
            assert_eq!(said(&found), said(&stored), "{} with {package}", file.name);
        }
        compared += 1;
    }
    assert!(compared >= 20 && rows >= 150, "{compared} files, {rows} rows");
}

#[test]
fn a_sanitised_export_gives_the_same_verdict() {
    let (mut compared, mut restored) = (0, 0);
    for mut file in files().into_iter().filter(|file| file.export.sanitized) {
        let (session, messages) = stored(&file.store, &file.export.session.id);
        for part in file.messages.iter_mut().flat_map(|message| &mut message.parts) {
            if let Some(data) = export::restore(&part.data) {
                part.data = data;
                restored += 1;
            }
        }
        for package in PACKAGES {
            let (found, stored) =
                (verdict(&file.export.session, &file.messages, package), verdict(&session, &messages, package));
            assert_eq!(said(&found), said(&stored), "{} with {package}", file.name);
        }
        compared += 1;
    }
    assert!(compared >= 15 && restored >= 5, "{compared} files, {restored} calls");
}

/// What a scan says of one session that another scan of it must say too.
fn verdict_of(session: &serde_json::Value) -> serde_json::Value {
    let mut out = session.clone();
    let members = out.as_object_mut().unwrap();
    for other in ["title", "directory", "sdk", "import"] {
        members.remove(other);
    }
    out
}

/// The turns that an explanation shows: whose each is, and of which parts.
fn sent(explained: &serde_json::Value) -> Vec<(serde_json::Value, serde_json::Value)> {
    let turns = explained["turns"].as_array().unwrap().iter();
    turns.map(|turn| (turn["role"].clone(), turn["part_ids"].clone())).collect()
}

#[test]
fn the_program_says_of_a_file_what_it_says_of_the_store() {
    let mut compared = 0;
    for fixture in fixtures::all() {
        let folder = fixtures::root().join("../exports").join(&fixture.name);
        let Ok(files) = std::fs::read_dir(&folder) else { continue };
        let place = Place::of(&fixture);
        let store = place.scan();
        let sdk = fixture.sdk_flags();
        for file in files.map(|entry| entry.unwrap().path()) {
            let name = file.to_str().unwrap();
            let scan = Run::of(place.command(["scan", "--all", "--json", name]).args(&sdk));
            let document = scan.json();
            let found = &document["sessions"][0];
            let id = found["id"].as_str().unwrap();
            assert_eq!(verdict_of(found), verdict_of(store.by_id()[id]), "{name}");
            let said = scan.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(said.contains("is an exported session. It lacks opencode's configuration"), "{said}");
            assert_eq!(said.contains("sanitised"), name.contains("sanitized"), "{said}");
            let bad = ["stuck", "dead", "unopenable"].contains(&found["status"].as_str().unwrap());
            assert_eq!(scan.code, i32::from(bad), "{name}");
            let explained = Run::of(place.command(["explain", "--json", name]).args(&sdk)).exits(0).json();
            assert_eq!(verdict_of(&explained["session"]), verdict_of(found), "{name}");
            let own = place.unstick(&["explain", "--json", id]).exits(0).json();
            if name.contains("sanitized") {
                // Whether thinking is signed, which decides whether it is sent, is not in such a file.
                let sides = |of| sent(of).into_iter().map(|(side, _)| side).collect::<Vec<_>>();
                assert_eq!(sides(&explained), sides(&own), "{name}");
            } else {
                assert_eq!(sent(&explained), sent(&own), "{name}");
            }
            assert_eq!(explained["repair"]["left"], own["repair"]["left"], "{name}");
            Run::of(place.command(["stats", "--json", name]).args(&sdk)).exits(0);
            compared += 1;
        }
        place.leaves_nothing_elsewhere("a file");
    }
    assert!(compared >= 35, "{compared} files");
}

#[test]
fn a_file_is_read_from_standard_input_and_never_repaired() {
    let place = Place::named("1.18.34");
    let path = fixtures::root().join("../exports/1.18.34/abort-then-prompt.json");
    let file = path.to_str().unwrap();
    let mut command = place.command(["scan", "--all", "--json", "-"]);
    command.stdin(std::fs::File::open(&path).unwrap());
    assert_eq!(Run::of(&mut command).json()["sessions"].as_array().unwrap().len(), 1);
    let code = |run: &Run| run.json()["error"]["code"].as_str().unwrap().to_owned();
    let refused = Run::of(&mut place.command(["repair", "--yes", "--json", file])).exits(2);
    assert_eq!(code(&refused), "is-export");
    assert!(refused.json()["error"]["hint"].as_str().unwrap().contains("unstick repair SESSION"));
    // Not both, not something else, not half of it.
    let both = place.unstick(&["scan", "--json", file]).exits(2);
    assert_eq!(code(&both), "usage");
    let text = std::fs::read_to_string(&path).unwrap();
    for (name, content) in [("cut.json", &text[..text.len() / 2]), ("other.json", "{}"), ("list.json", "[]")] {
        std::fs::write(place.root().join(name), content).unwrap();
        for command in ["scan", "explain", "stats"] {
            let run = Run::of(&mut place.command([command, "--json", name])).exits(2);
            assert_eq!(code(&run), "bad-export", "{command} {name}");
        }
    }
    let gone = Run::of(&mut place.command(["scan", "--json", "gone.json"])).exits(2);
    assert_eq!(code(&gone), "bad-export");
    // What opencode cannot read is in the file as well.
    let (info, messages) = text.split_at(text.find("\"messages\"").unwrap());
    let lacking = info.to_owned() + &messages.replacen("\"agent\":", "\"agent_was\":", 1);
    std::fs::write(place.root().join("lacking.json"), lacking).unwrap();
    let scan = Run::of(&mut place.command(["scan", "--json", "lacking.json"])).exits(1).json();
    assert_eq!(scan["sessions"][0]["status"], "unopenable");
}

#[test]
fn a_store_in_the_place_of_an_export_is_told_how_to_be_named() {
    let place = Place::named("1.18.33");
    let run = Run::of(&mut place.command(["scan", "store/opencode.db"])).exits(2);
    assert!(run.stderr.contains("is a store") && run.stderr.contains("--db store/opencode.db"), "{}", run.stderr);
}
