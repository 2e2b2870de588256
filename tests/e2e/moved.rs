//! A repository that was moved: what a real opencode still finds of its sessions, before and after its rows say where
//! it is now. Where opencode moves them itself (1.17.11 and later), rows and event must be equal to a relink's.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use opencode_unstick::plain::{ProjectRow, SessionRow};
use opencode_unstick::relink;
use serde_json::{Value, json};

use crate::checks::run_unstick;
use crate::opencode::{Home, MODEL, Server, Snapshots, Version};
use crate::provider::{Event, Provider};
use crate::setup::SETUPS;
use crate::{alone, report, rows, versions};

/// Where a session was made: its name, and the folder below the private home before and after the move.
const SESSIONS: [(&str, &str, &str); 3] =
    [("root", "work", "moved"), ("below", "work/below", "moved/below"), ("plain", "plain", "plain-moved")];

struct Stage {
    version: Version,
    provider: Provider,
    home: Home,
    /// By name: the id, and the turns of the last request before the move.
    sessions: BTreeMap<&'static str, (String, Vec<Value>)>,
}

/// What a session does in its new place.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    /// `GET /session?directory=`, which the terminal's list asks.
    by_directory: bool,
    /// `GET /session?scope=project` and `GET /session?path=`.
    by_project: bool,
    by_path: bool,
    opens: bool,
    prompt: Result<(), String>,
    /// `path` of the new answer.
    cwd: String,
    root: String,
    /// What the shell tool says of its folder.
    pwd: String,
    /// Whether the conversation is sent as it was.
    same: bool,
}

fn pwd() -> [Vec<Event>; 2] {
    [vec![Event::Tool("bash", json!({"command": "pwd", "description": "where"}))], vec![Event::Text("There.")]]
}

fn query(folder: &Path) -> String {
    format!("?directory={}", text(folder).replace('/', "%2F"))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

fn body(marker: &str) -> Value {
    json!({"parts": [{"type": "text", "text": format!("please SCN:{marker}")}], "agent": "build",
        "model": {"providerID": SETUPS[0].provider, "modelID": MODEL}})
}

/// The newest result of a tool in a request's turns.
fn result(turns: &[Value]) -> String {
    let mut blocks = turns.iter().flat_map(|turn| turn["content"].as_array().into_iter().flatten());
    let newest = blocks.rfind(|block| block["type"] == "tool_result");
    newest.map_or_else(String::new, |block| block["content"].to_string())
}

impl Stage {
    /// Plays a turn with a tool in every folder, and moves the folders.
    fn play(version: &Version) -> Self {
        let provider = Provider::start();
        let mut home = Home::new(version, provider.port(), Snapshots::On);
        for folder in ["work/below", "plain"] {
            fs::create_dir_all(home.base().join(folder)).expect("a folder");
        }
        let server = Server::start(&home);
        let mut sessions = BTreeMap::new();
        for (name, before, _) in SESSIONS {
            let query = query(&home.base().join(before));
            let session = server.post(&format!("/session{query}"), &json!({"title": name})).expect("a session");
            let id = session["id"].as_str().expect("its id").to_owned();
            provider.script(name, pwd());
            let start = provider.count();
            server.post(&format!("/session/{id}/message{query}"), &body(name)).expect("an answer");
            let turns = provider.requests(start, None).last().expect("a request").turns();
            sessions.insert(name, (id, turns));
        }
        server.stop();
        home.rename_work("moved");
        fs::rename(home.base().join("plain"), home.base().join("plain-moved")).expect("a folder can be renamed");
        Self { version: version.clone(), provider, home, sessions }
    }

    /// Asks every session in its new place.
    fn ask(&self, label: &str) -> BTreeMap<&'static str, Seen> {
        let server = Server::start(&self.home);
        let seen = SESSIONS.map(|(name, _, after)| {
            let seen = self.ask_one(&server, label, name, after);
            println!("  {} {label} {name}: {seen:?}", self.version);
            (name, seen)
        });
        server.stop();
        seen.into()
    }

    fn ask_one(&self, server: &Server, label: &str, name: &str, after: &str) -> Seen {
        let (id, before) = &self.sessions[name];
        let folder = self.home.base().join(after);
        let (here, path) = (query(&folder), format!("/session/{id}"));
        let below = if name == "plain" {
            text(&folder).trim_start_matches('/')
        } else {
            after.strip_prefix("moved/").unwrap_or("")
        };
        let has = |more: &str| {
            let list = server.get(&format!("/session{here}{more}")).expect("a list");
            list.as_array().is_some_and(|list| list.iter().any(|session| session["id"] == id.as_str()))
        };
        let marker = format!("{label}-{name}");
        let start = self.provider.count();
        self.provider.script(&marker, pwd());
        let mut seen = Seen {
            by_directory: has(""),
            by_project: has("&scope=project"),
            by_path: has(&format!("&path={}", below.replace('/', "%2F"))),
            opens: server.get(&format!("{path}/message{here}")).is_ok(),
            prompt: Ok(()),
            cwd: String::new(),
            root: String::new(),
            pwd: String::new(),
            same: false,
        };
        let answer = server.post_within(&format!("{path}/message{here}"), &body(&marker), Duration::from_secs(30));
        seen.prompt = answer.and_then(|answer| {
            let place = |name: &str| answer["info"]["path"][name].as_str().unwrap_or("").to_owned();
            (seen.cwd, seen.root) = (place("cwd"), place("root"));
            let error = &answer["info"]["error"];
            if error.is_null() && answer["info"]["finish"] == "stop" { Ok(()) } else { Err(error.to_string()) }
        });
        if let Some(request) = self.provider.requests(start, None).last() {
            let turns = request.turns();
            seen.pwd = result(&turns);
            seen.same = turns.starts_with(before);
        }
        seen
    }

    /// Tells the sessions where their folders are now.
    fn relink(&self) {
        let base = self.home.base();
        for (from, to) in [("work", "moved"), ("plain", "plain-moved")] {
            let (from, to) = (base.join(from), base.join(to));
            let (done, code) = run_unstick(&self.home.store(), &base, &["relink", text(&from), text(&to), "--yes"]);
            assert!(code == 0 && done["applied"] == true, "exit {code}: {done}");
        }
    }
}

fn has_path(db: &rusqlite::Connection) -> bool {
    db.prepare("SELECT path FROM session").is_ok()
}

fn sessions(db: &rusqlite::Connection) -> Vec<SessionRow> {
    let path = if has_path(db) { "path" } else { "NULL" };
    let query = format!("SELECT id, project_id, directory, {path} FROM session ORDER BY id");
    let mut statement = db.prepare(&query).expect("sessions");
    let found = statement.query_map([], |row| {
        let (id, project_id, directory, path) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
        Ok(SessionRow { id, project_id, directory, path, ..SessionRow::default() })
    });
    found.expect("sessions").collect::<Result<_, _>>().expect("sessions")
}

fn projects(db: &rusqlite::Connection) -> Vec<ProjectRow> {
    let mut statement = db.prepare("SELECT id, worktree, sandboxes FROM project").expect("projects");
    let found = statement
        .query_map([], |row| Ok(ProjectRow { id: row.get(0)?, worktree: row.get(1)?, sandboxes: row.get(2)? }));
    found.expect("projects").collect::<Result<_, _>>().expect("projects")
}

fn restore(from: &Path, to: &Path) {
    for end in ["-wal", "-shm"] {
        let _none = fs::remove_file(format!("{}{end}", to.display()));
    }
    fs::copy(from, to).expect("a store is put back");
}

fn copy_to(home: &Home, name: &str) -> PathBuf {
    let to = home.base().join(name);
    rows::copy(&home.store(), &to);
    to
}

/// What is wrong with a session that nothing was done for. No version lists it; those up to 1.14 run it in the folder
/// that the client names, later ones in the one that its row names.
fn lost(version: &Version, seen: &Seen) -> Option<&'static str> {
    let stale = seen.cwd.contains("/work") || seen.cwd.ends_with("/plain");
    let works = seen.prompt.is_ok() && !stale && !seen.pwd.contains("NotFound");
    match () {
        () if seen.by_directory => Some("listed"),
        () if !seen.opens => Some("not opened"),
        () if version.at_least(1, 15, 0) && works => Some("prompted"),
        () if !version.at_least(1, 15, 0) && !works => Some("not prompted"),
        () => None,
    }
}

fn found(seen: &Seen, folder: &Path) -> bool {
    let cwd = text(folder);
    let root = if cwd.ends_with("/plain-moved") { "/" } else { cwd.trim_end_matches("/below") };
    seen.by_directory
        && seen.by_project
        && seen.by_path
        && seen.opens
        && seen.prompt.is_ok()
        && (seen.cwd.as_str(), seen.root.as_str()) == (cwd, root)
        && seen.pwd.contains(&format!("{cwd}\\n"))
        && seen.same
}

/// From 1.17.11 on opencode can move a session by itself: the rows and the event have to be the same.
fn moved_by_opencode(stage: &Stage, expected: &[SessionRow], misses: &mut Vec<String>) {
    let base = stage.home.base();
    let server = Server::start(&stage.home);
    for (name, _, after) in SESSIONS {
        let body = json!({"sessionID": stage.sessions[name].0, "destination": {"directory": base.join(after)}});
        server.post("/experimental/control-plane/move-session", &body).expect("a session is moved");
    }
    server.stop();
    let db = rows::open(&stage.home.store());
    let seen = sessions(&db);
    if seen != expected {
        misses.push(format!("opencode {}: moves {seen:?}, and not {expected:?}", stage.version));
    }
    for session in &seen {
        let query =
            "SELECT type, data, data ->> '$.timestamp' FROM event WHERE aggregate_id = ? ORDER BY seq DESC LIMIT 1";
        let event = db.query_row(query, [&session.id], |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)));
        let ((kind, data), time): ((String, String), i64) = event.expect("an event");
        let path = session.path.as_deref().expect("a path");
        let own = relink::event(&session.id, &session.directory, path, time);
        if own != (kind.as_str(), data.clone()) {
            misses.push(format!("opencode {}: writes {kind} {data}, and not {own:?}", stage.version));
        }
    }
}

#[test]
#[ignore = "runs real opencode programs"]
fn a_moved_repository_is_lost_and_found() {
    let _alone = alone();
    let mut misses = Vec::new();
    for version in versions() {
        let stage = Stage::play(&version);
        let copy = copy_to(&stage.home, "moved.db");
        for (name, seen) in stage.ask("lost") {
            if let Some(what) = lost(&version, &seen) {
                misses.push(format!("opencode {version}: {name} was {what} before its rows were rewritten: {seen:?}"));
            }
        }
        restore(&copy, &stage.home.store());
        stage.relink();
        let expected = sessions(&rows::open(&stage.home.store()));
        for ((name, _, after), (_, seen)) in SESSIONS.iter().zip(sorted(stage.ask("found"))) {
            if !found(&seen, &stage.home.base().join(after)) {
                misses.push(format!("opencode {version}: {name} is not found again: {seen:?}"));
            }
        }
        let moved = stage.home.base().join("moved");
        let projects = projects(&rows::open(&stage.home.store()));
        let repository = projects.iter().find(|project| project.id != "global").expect("the repository's project");
        if (repository.worktree.as_str(), repository.sandboxes.as_str()) != (text(&moved), "[]") {
            misses.push(format!("opencode {version}: {repository:?}"));
        }
        if version.at_least(1, 17, 11) {
            restore(&copy, &stage.home.store());
            moved_by_opencode(&stage, &expected, &mut misses);
        }
    }
    report(&misses);
}

/// From 1.15.13 on a project's id is made of its remote's address. Where the repository was cloned anew, nothing tells
/// the program of the old id.
#[test]
#[ignore = "runs real opencode programs"]
fn a_repository_that_was_cloned_anew_is_found() {
    let _alone = alone();
    let mut misses = Vec::new();
    for version in versions() {
        if !version.at_least(1, 15, 13) {
            println!("opencode {version}: not applicable: a project's id is that of its first commit");
            continue;
        }
        let stage = Stage::play(&version);
        let moved = stage.home.base().join("moved");
        fs::remove_file(moved.join(".git/opencode")).expect("the id that the program has noted");
        let mut git = Command::new("git");
        git.current_dir(&moved).args(["remote", "add", "origin", "https://example.org/dev/work.git"]);
        assert!(git.status().expect("git can be run").success(), "a remote is added");
        let repository = ["root", "below"];
        for (name, seen) in stage.ask("lost") {
            if repository.contains(&name) && (seen.by_directory || seen.by_project || !seen.opens) {
                misses.push(format!("opencode {version}: {name} was not lost: {seen:?}"));
            }
        }
        stage.relink();
        for ((name, _, after), (_, seen)) in SESSIONS.iter().zip(sorted(stage.ask("found"))) {
            if !found(&seen, &stage.home.base().join(after)) {
                misses.push(format!("opencode {version}: {name} is not found again: {seen:?}"));
            }
        }
    }
    report(&misses);
}

/// In the order of `SESSIONS`.
fn sorted(mut seen: BTreeMap<&'static str, Seen>) -> Vec<(&'static str, Seen)> {
    SESSIONS.iter().filter_map(|(name, ..)| seen.remove_entry(name)).collect()
}
