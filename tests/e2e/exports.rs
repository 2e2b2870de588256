//! Exports: what `opencode export` writes of a session, read back, is the rows of the store.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use opencode_unstick::export;
use opencode_unstick::plain::{MessageRow, PartRow, SessionRow};
use rusqlite::{Connection, Row};

use crate::judge::side_by_side;
use crate::opencode::{Home, Snapshots, Version};
use crate::{alone, fixtures, report, rows, versions};

/// The sessions of a store by name, those that `UNSTICK_E2E_STORIES` names.
fn wanted(store: &str) -> Vec<(String, String)> {
    let said = std::env::var("UNSTICK_E2E_STORIES").unwrap_or_default();
    let names: Vec<&str> = said.split_whitespace().collect();
    let file = fixtures::read_json(&fixtures::folder().join(store).join("sessions.json"));
    let sessions = file["sessions"].as_object().expect("sessions by name").iter();
    let sessions = sessions.filter(|(name, _)| names.is_empty() || names.contains(&name.as_str()));
    sessions.map(|(name, id)| (name.clone(), id.as_str().expect("an id").to_owned())).collect()
}

/// A session's row and its messages as the store has them, without the times that are not exported.
fn stored(db: &Connection, id: &str) -> (SessionRow, Vec<MessageRow>) {
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
    let pair = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let list = |query: &str, of: &str| -> Vec<(String, String)> {
        let mut statement = db.prepare_cached(query).expect("the schema");
        let found = statement.query_map([of], pair).expect("rows");
        found.collect::<Result<_, _>>().expect("rows")
    };
    let messages = list("SELECT id, data FROM message WHERE session_id = ? ORDER BY time_created, id", id);
    let messages = messages.into_iter().map(|(id, data)| {
        let parts = list("SELECT id, data FROM part WHERE message_id = ? ORDER BY id", &id);
        let parts = parts.into_iter().map(|(id, data)| PartRow { id, time_created: 0, data }).collect();
        MessageRow { id, time_created: 0, data, parts }
    });
    (session.expect("a session"), messages.collect())
}

fn exported(text: &str) -> Result<(export::Export, Vec<MessageRow>), String> {
    let mut messages = Vec::new();
    let found = export::read(text.as_bytes(), |mut message| {
        message.time_created = 0;
        message.parts.iter_mut().for_each(|part| part.time_created = 0);
        messages.push(message);
        Ok(())
    });
    found.map(|export| (export, messages)).map_err(|error| error.to_string())
}

fn ids(messages: &[MessageRow]) -> Vec<&str> {
    messages.iter().flat_map(|m| std::iter::once(m.id.as_str()).chain(m.parts.iter().map(|p| p.id.as_str()))).collect()
}

/// What is wrong with an export.
fn check(db: &Connection, id: &str, text: &str, sanitized: bool) -> Option<String> {
    let (session, messages) = stored(db, id);
    let (export, found) = match exported(text) {
        Ok(found) => found,
        Err(error) => return Some(error),
    };
    if export.sanitized != sanitized {
        return Some("it does not say whether it is sanitised".to_owned());
    }
    if sanitized {
        return (ids(&found) != ids(&messages)).then(|| format!("{:?} for {:?}", ids(&found), ids(&messages)));
    }
    if export.session != session {
        return Some(format!("{:?} for {session:?}", export.session));
    }
    let differ = found.iter().zip(&messages).find(|(a, b)| a != b);
    let differ = differ.map(|(a, b)| format!("{a:?} for {b:?}"));
    differ.or_else(|| (found.len() != messages.len()).then(|| format!("{} messages", found.len())))
}

/// Exports the sessions of a store one after another: a program that starts takes the store for itself.
fn one(version: &Version, store: &str, out: Option<&Path>) -> Vec<String> {
    // Nothing is asked of a provider.
    let home = Home::new(version, 9, Snapshots::Off);
    let source = fixtures::folder().join(store).join("opencode.db");
    fs::copy(&source, home.store()).expect("a copy of the store");
    let db = rows::open(&source);
    let mut misses = Vec::new();
    for (name, id) in &wanted(store) {
        for flag in [None, Some("--sanitize")] {
            if flag.is_some() && !version.at_least(1, 14, 34) {
                continue;
            }
            let mut args = vec!["export", id];
            args.extend(flag);
            let wrong = match home.run(&args) {
                Ok(text) => {
                    if let Some(out) = out {
                        let end = if flag.is_some() { "sanitized.json" } else { "json" };
                        fs::create_dir_all(out.join(store)).expect("the folder can be made");
                        fs::write(out.join(store).join(format!("{name}.{end}")), &text).expect("an export");
                    }
                    check(&db, id, &text, flag.is_some())
                }
                Err(error) => Some(error),
            };
            if let Some(wrong) = wrong {
                misses.push(format!("opencode {version}, {store}/{name} {flag:?}: {wrong}"));
            }
        }
    }
    misses
}

#[test]
#[ignore = "runs real opencode programs; writes to UNSTICK_E2E_OUT"]
fn an_export_is_the_rows_of_the_store() {
    let _alone = alone();
    let out = std::env::var_os("UNSTICK_E2E_OUT").map(PathBuf::from);
    let asked = versions();
    let stores: Vec<_> = fixtures::stores().into_iter().filter(|(_, made_by)| asked.contains(made_by)).collect();
    let misses = Mutex::new(Vec::new());
    side_by_side(2, &stores, |(store, version)| {
        let found = one(version, store, out.as_deref());
        misses.lock().expect("a list").extend(found);
    });
    report(&misses.into_inner().expect("a list"));
}
