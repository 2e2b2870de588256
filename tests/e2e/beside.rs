//! A real opencode at work on the store while `unstick` reads it, waits for it, or is asked to write it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::checks::{list, run_unstick, unstick_command};
use crate::opencode::{Home, Server, Snapshots, Version};
use crate::provider::Provider;
use crate::pty::Pty;
use crate::rows;
use crate::{alone, dump, fixtures, versions};

/// A home whose store is a fixture with stuck sessions.
struct Stuck {
    version: Version,
    home: Home,
    place: tempfile::TempDir,
    _provider: Provider,
}

impl Stuck {
    fn new(version: &Version) -> Self {
        let provider = Provider::start();
        let home = Home::new(version, provider.port(), Snapshots::Off);
        fs::copy(fixtures::folder().join(dump::base(version)).join("opencode.db"), home.store()).expect("a copy");
        rows::move_to(&home.store(), &home.work());
        let place = tempfile::tempdir().expect("a temporary folder");
        Self { version: version.clone(), home, place, _provider: provider }
    }

    fn unstick(&self, args: &[&str]) -> (Value, i32) {
        run_unstick(&self.home.store(), self.place.path(), args)
    }

    /// `unstick repair` that goes on by itself.
    fn repairs(&self, args: &[&str]) -> Child {
        let mut command = unstick_command(&self.home.store(), self.place.path());
        command.args(["--json", "--opencode", "any", "repair", "--yes"]).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("unstick can be run")
    }

    /// Every row of the history, in short, by session.
    fn rows(&self) -> Vec<(String, String)> {
        rows::load(&self.home.store()).iter().map(|s| (s.id.clone(), s.describe())).collect()
    }

    /// Sends a prompt to the session as a person would.
    fn prompt(&self, server: &Server, session: &str) {
        let found = rows::load(&self.home.store()).into_iter().find(|s| s.id == session).expect("the session");
        let model = found.newest_user(&self.version).map_or(json!({}), |user| user.data["model"].clone());
        let words = json!({ "parts": [{ "type": "text", "text": "go on" }], "model": model });
        let answer = server.post(&format!("/session/{session}/message"), &words).expect("a prompt is answered");
        assert!(answer["info"]["error"].is_null(), "opencode {}: {session}: {answer}", self.version);
    }

    fn planned(&self) -> Vec<String> {
        let (shown, _) = self.unstick(&["--opencode", "any", "repair", "--dry-run"]);
        list(&shown["plan"]["sessions"]).iter().map(|s| s["id"].as_str().expect("an id").to_owned()).collect()
    }

    /// A session that no plan is about.
    fn sound(&self) -> String {
        let planned: BTreeSet<String> = self.planned().into_iter().collect();
        let (scan, _) = self.unstick(&["scan", "--all"]);
        let sound = list(&scan["sessions"]).iter().find(|s| {
            s["status"] == "healthy" && s["parent_id"].is_null() && !planned.contains(s["id"].as_str().unwrap_or(""))
        });
        sound.expect("a sound session")["id"].as_str().expect("an id").to_owned()
    }
}

fn ended(child: Child) -> (Value, i32) {
    let output = child.wait_with_output().expect("unstick ends");
    let said = String::from_utf8_lossy(&output.stdout);
    let json = serde_json::from_str(&said).unwrap_or_else(|e| panic!("{e}: {said}"));
    (json, output.status.code().expect("an exit code"))
}

fn names_beside(store: &Path) -> BTreeSet<String> {
    let folder = store.parent().expect("the store is in a folder");
    let names = fs::read_dir(folder).expect("the store's folder").flatten();
    names.map(|e| e.file_name().to_string_lossy().into_owned()).filter(|n| n.contains(".db")).collect()
}

#[test]
#[ignore = "asks a real opencode"]
fn scans_beside_an_opencode_that_starts_and_writes_see_one_state_and_disturb_nothing() {
    let _turn = alone();
    for version in versions() {
        let stuck = Stuck::new(&version);
        let session = stuck.sound();
        let over = AtomicBool::new(false);
        let (seen, gave_up) = std::thread::scope(|scope| {
            let scans = scope.spawn(|| {
                let (mut seen, mut gave_up) = (0, 0);
                while !over.load(Ordering::SeqCst) {
                    let (found, code) = stuck.unstick(&["scan", "--all"]);
                    if code == 2 {
                        gave_up += 1;
                        let why = found["error"]["code"].as_str().unwrap_or_default();
                        assert!(["store-changing", "store-in-use"].contains(&why), "opencode {version}: {found}");
                        continue;
                    }
                    seen += 1;
                    assert_eq!(found["summary"]["unreadable"], 0, "opencode {version}: half a change was read");
                }
                (seen, gave_up)
            });
            let server = Server::start(&stuck.home);
            stuck.prompt(&server, &session);
            server.stop();
            let server = Server::start(&stuck.home);
            stuck.prompt(&server, &session);
            server.stop();
            over.store(true, Ordering::SeqCst);
            scans.join().expect("the scans")
        });
        assert!(seen > 3, "opencode {version}: {seen} scans");
        let left = names_beside(&stuck.home.store());
        let (found, code) = stuck.unstick(&["scan", "--all"]);
        assert_eq!((code, &found["summary"]["unreadable"]), (1, &json!(0)), "opencode {version}");
        eprintln!("opencode {version}: {seen} scans while it started and wrote, {gave_up} gave up; left: {left:?}");
    }
}

#[test]
#[ignore = "asks a real opencode"]
fn a_repair_that_waits_for_a_real_opencode_keeps_what_that_has_written_meanwhile() {
    let _turn = alone();
    for version in versions() {
        let stuck = Stuck::new(&version);
        let (session, planned) = (stuck.sound(), stuck.planned());
        let server = Server::start(&stuck.home);
        let repair = stuck.repairs(&["--wait", "300"]);
        stuck.prompt(&server, &session);
        std::thread::sleep(Duration::from_secs(2));
        let theirs = stuck.rows();
        server.stop();
        let (done, code) = ended(repair);
        assert!(code < 2 && done["applied"] == true, "opencode {version}: {done}");
        let changed: Vec<String> =
            theirs.iter().zip(stuck.rows()).filter(|(a, b)| *a != b).map(|(a, _)| a.0.clone()).collect();
        assert!(
            !changed.is_empty() && changed.iter().all(|id| planned.contains(id)),
            "opencode {version}: {changed:?}"
        );
        let (undone, code) = stuck.unstick(&["undo", "--yes"]);
        assert_eq!(code, 0, "opencode {version}: {undone}");
        assert!(stuck.rows() == theirs, "opencode {version}: what was written meanwhile is gone");
    }
}

#[test]
#[ignore = "asks a real opencode"]
fn a_session_that_goes_on_while_a_repair_waits_is_not_written_by_the_old_plan() {
    let _turn = alone();
    for version in versions() {
        let stuck = Stuck::new(&version);
        let planned = stuck.planned();
        let server = Server::start(&stuck.home);
        let repair = stuck.repairs(&["--wait", "300"]);
        std::thread::sleep(Duration::from_secs(2));
        stuck.prompt(&server, &planned[0]);
        server.stop();
        let theirs = stuck.rows();
        let (said, code) = ended(repair);
        assert_eq!((code, said["error"]["code"].as_str()), (2, Some("row-changed")), "opencode {version}: {said}");
        assert!(stuck.rows() == theirs, "opencode {version}: an outgrown plan was carried out");
    }
}

#[test]
#[ignore = "asks a real opencode"]
fn an_opencode_that_starts_between_the_question_and_the_yes_is_not_written_under() {
    let _turn = alone();
    for version in versions() {
        let stuck = Stuck::new(&version);
        let before = stuck.rows();
        let mut command = unstick_command(&stuck.home.store(), stuck.place.path());
        command.args(["--opencode", "any", "repair"]);
        let mut repair = Pty::start(command, |c| c.spawn().expect("unstick can be run"));
        repair.shows("[y/N");
        let server = Server::start(&stuck.home);
        server.get("/session").expect("opencode lists the sessions");
        repair.types("y");
        let (code, shown) = repair.ends();
        assert!(code == 2 && shown.contains("in use"), "opencode {version}: {shown}");
        server.stop();
        assert!(stuck.rows() == before, "opencode {version}");
        let (done, code) = ended(stuck.repairs(&[]));
        assert!(code < 2 && done["applied"] == true, "opencode {version}: {done}");
    }
}
