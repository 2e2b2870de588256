//! Exported sessions say what the store says.

use std::path::{Path, PathBuf};

use opencode_unstick::diagnosis::{Diagnosis, Judge, Refuses, diagnose};
use opencode_unstick::export::{self, Export};
use opencode_unstick::plain::{self, MessageRow, PartRow, SessionRow};
use opencode_unstick::replay::{Sdk, counting_from};
use rusqlite::{Connection, OpenFlags};

use crate::fixtures;

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
fn stored(store: &str, id: &str) -> (SessionRow, Vec<MessageRow>) {
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
    let judge = Judge { counting: counting_from(None), refuses: Refuses::default(), doubted: Vec::new() };
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
