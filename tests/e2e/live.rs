//! A store that a real opencode has open: looked at, not written; and what opencode makes of it after a repair.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use opencode_unstick::history::log::Log;
use opencode_unstick::store::{SessionEntry, with_snapshot};
use serde_json::json;

use crate::checks::{list, run_unstick};
use crate::opencode::{Home, Server, Snapshots};
use crate::provider::Provider;
use crate::rows::{self, Session};
use crate::{alone, dump, fixtures, versions};

fn entries(store: &Path) -> BTreeSet<String> {
    let folder = store.parent().expect("the store is in a folder");
    let names = fs::read_dir(folder).expect("the store's folder").flatten();
    names.map(|e| e.file_name().to_string_lossy().into_owned()).filter(|n| n.contains(".db")).collect()
}

fn rows_of(store: &Path) -> String {
    let text = |s: &Session| format!("{} {}", s.id, s.describe());
    rows::load(store).iter().map(text).collect()
}

/// How many sessions have a log, and those whose log is not what their rows say.
fn logs(store: &Path) -> (usize, Vec<String>) {
    with_snapshot(store, |store| {
        let (mut folded, mut differ) = (0, Vec::new());
        for entry in store.sessions()? {
            let SessionEntry::Readable(info) = entry else { continue };
            match store.log(&store.load(&info)?.session)? {
                Log::None => {}
                Log::Folds(_) => folded += 1,
                Log::Differs(why) => differ.push(format!("{}: {why}", info.title)),
            }
        }
        Ok((folded, differ))
    })
    .expect("the store can be read")
}

#[test]
#[ignore = "asks a real opencode"]
fn a_store_in_use_is_left_alone_and_repaired_once_it_is_closed() {
    let _turn = alone();
    for version in versions() {
        let provider = Provider::start();
        let home = Home::new(&version, provider.port(), Snapshots::Off);
        let store = home.store();
        fs::copy(fixtures::folder().join(dump::base(&version)).join("opencode.db"), &store).expect("a copy");
        rows::move_to(&store, &home.work());
        let place = tempfile::tempdir().expect("a temporary folder");
        let unstick = |args: &[&str]| run_unstick(&store, place.path(), args);
        let everything = ["--opencode", "any", "repair", "--yes"];

        let server = Server::start(&home);
        server.get("/session").expect("opencode lists the sessions");
        let (before, there) = (rows_of(&store), entries(&store));
        let (scanned, code) = unstick(&["--opencode", "any", "scan", "--all"]);
        assert_eq!(code, 1, "opencode {version}: {scanned}");
        let (refused, code) = unstick(&everything);
        assert_eq!(
            (code, refused["error"]["code"].as_str()),
            (2, Some("store-in-use")),
            "opencode {version}: {refused}"
        );
        let said = refused["error"]["message"].as_str().unwrap_or_default();
        assert!(!cfg!(target_os = "linux") || said.contains("opencode "), "opencode {version} is not named: {said}");
        assert_eq!(entries(&store), there, "opencode {version}");
        assert!(rows_of(&store) == before, "opencode {version}: a refused repair has changed rows");
        server.get("/session").expect("opencode has noticed nothing");
        server.stop();

        let (repaired, code) = unstick(&everything);
        assert!(code < 2 && repaired["applied"] == true, "opencode {version}: {repaired}");
        let (undone, code) = unstick(&["undo", "--yes"]);
        assert_eq!((code, &undone["applied"]), (0, &json!(true)), "opencode {version}: {undone}");
        assert!(rows_of(&store) == before, "opencode {version}: undo has not given the rows back");
        let (repaired, _) = unstick(&everything);

        let server = Server::start(&home);
        for plan in list(&repaired["plan"]["sessions"]) {
            let id = plan["id"].as_str().expect("an id");
            let session = rows::load(&store).into_iter().find(|s| s.id == id).expect("the session is there");
            let seen = server.get(&format!("/session/{id}/message")).expect("opencode reads a repaired session");
            let ids: Vec<&str> = list(&seen).iter().filter_map(|m| m["info"]["id"].as_str()).collect();
            let stored: Vec<&str> = session.messages.iter().map(|m| m.id.as_str()).collect();
            assert_eq!(ids, stored, "opencode {version}: {id}");
            let model = session.newest_user(&version).map_or(json!({}), |user| user.data["model"].clone());
            let words = json!({ "parts": [{ "type": "text", "text": "go on" }], "model": model });
            let answer = server.post(&format!("/session/{id}/message"), &words).expect("a prompt is answered");
            assert!(answer["info"]["error"].is_null(), "opencode {version}: {id}: {answer}");
        }
        server.stop();
        let (folded, differ) = logs(&store);
        assert_eq!(differ, Vec::<String>::new(), "opencode {version}: logs that no longer fold to their rows");
        assert_eq!(folded > 0, version.at_least(1, 17, 0), "opencode {version}: {folded} logs");
        eprintln!(
            "opencode {version}, live: refused while open, {} repaired and prompted, {folded} logs fold",
            list(&repaired["plan"]["sessions"]).len()
        );
    }
}
