//! A private place for one test: a home with nothing of the machine's in it, a copy of a store, and the
//! program run there.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::time::SystemTime;
use std::{fmt, fs};

use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;

use crate::dump::Dump;
use crate::fixtures::{self, Fixture};

/// A process that is being started has, for a moment, every file open that this one has. The program would
/// see that as somebody who holds the store, so processes are started one after the other.
static STARTING: Mutex<()> = Mutex::new(());

pub fn start(command: &mut Command) -> Child {
    let _alone = STARTING.lock().unwrap();
    command.spawn().unwrap()
}

pub struct Place {
    root: TempDir,
    flags: Vec<String>,
}

/// What a run of the program came to.
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// A folder's entries: time of change and bytes; of a `-shm`, which readers write to, neither.
#[derive(PartialEq, Eq)]
pub struct Files(BTreeMap<String, Option<(SystemTime, Vec<u8>)>>);

/// A session as `scan --json` shows it, by title.
pub struct Scan {
    pub document: Value,
    pub run: Run,
}

impl Place {
    /// A place without a store.
    pub fn empty() -> Self {
        Self::in_folder(&std::env::temp_dir())
    }

    fn in_folder(folder: &Path) -> Self {
        let root = tempfile::tempdir_in(folder).unwrap();
        for folder in ["home", "data", "config", "cache", "state", "managed", "tmp", "store"] {
            fs::create_dir(root.path().join(folder)).unwrap();
        }
        Self { root, flags: Vec::new() }
    }

    /// A place with a copy of the store.
    pub fn of(fixture: &Fixture) -> Self {
        Self::empty().filled(fixture)
    }

    /// A place with a copy of the store of that name, whose path is as long on every machine: how many lines a command takes
    /// depends on it.
    pub fn with_a_short_path(name: &str) -> Self {
        Self::in_folder(Path::new("/tmp")).filled(&fixtures::one(name))
    }

    fn filled(mut self, fixture: &Fixture) -> Self {
        fs::copy(&fixture.db, self.db()).unwrap();
        self.flags = fixture.sdk_flags();
        if let Some(configuration) = fixture.configuration() {
            let folder = self.root.path().join("config/opencode");
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("opencode.json"), configuration.to_string()).unwrap();
        }
        self
    }

    /// A place with a copy of the store of that name.
    pub fn named(name: &str) -> Self {
        Self::of(&fixtures::one(name))
    }

    /// A place with a copy of these sessions of the store of that name alone, so that it is small.
    pub fn with_sessions(name: &str, shapes: &[&str]) -> Self {
        let fixture = fixtures::one(name);
        let place = Self::of(&fixture);
        let kept = shapes.iter().map(|s| format!("'{}'", fixture.id(s))).collect::<Vec<_>>().join(", ");
        place.edit(&format!(
            "DELETE FROM part WHERE session_id NOT IN ({kept}); DELETE FROM message WHERE session_id NOT IN ({kept});
             DELETE FROM event WHERE aggregate_id NOT IN ({kept});
             DELETE FROM event_sequence WHERE aggregate_id NOT IN ({kept});
             DELETE FROM session WHERE id NOT IN ({kept}); VACUUM;"
        ));
        place
    }

    /// Another place with copies of this one's store, of what lies beside it, and of its journals.
    pub fn twin(&self) -> Self {
        let mut place = Self::empty();
        place.flags.clone_from(&self.flags);
        for folder in ["store", "state/opencode-unstick"] {
            let (from, to) = (self.root().join(folder), place.root().join(folder));
            if from.exists() {
                fs::create_dir_all(&to).unwrap();
                for entry in fs::read_dir(&from).unwrap().map(|e| e.unwrap()) {
                    fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
                }
            }
        }
        place
    }

    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// The folder that holds the store and nothing else.
    pub fn folder(&self) -> PathBuf {
        self.root().join("store")
    }

    pub fn db(&self) -> PathBuf {
        self.folder().join("opencode.db")
    }

    pub fn beside(&self, suffix: &str) -> PathBuf {
        self.folder().join(format!("opencode.db{suffix}"))
    }

    /// The program in this place, with nothing of the environment that runs the tests.
    pub fn command(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let at = |name: &str| self.root().join(name);
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("unstick"));
        command
            .env_clear()
            .env("HOME", at("home"))
            .env("XDG_DATA_HOME", at("data"))
            .env("XDG_CONFIG_HOME", at("config"))
            .env("XDG_CACHE_HOME", at("cache"))
            .env("XDG_STATE_HOME", at("state"))
            .env("OPENCODE_TEST_MANAGED_CONFIG_DIR", at("managed"))
            .env("TMPDIR", at("tmp"))
            .env("TZ", "UTC")
            .current_dir(self.root())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .args(args);
        command
    }

    /// The program told of a store.
    pub fn on(&self, db: &Path, args: &[&str]) -> Command {
        let mut command = self.command(args);
        command.arg("--db").arg(db).args(&self.flags);
        command
    }

    /// The program told of this place's store.
    pub fn on_store(&self, args: &[&str]) -> Command {
        self.on(&self.db(), args)
    }

    /// Runs the program on this place's store.
    pub fn unstick(&self, args: &[&str]) -> Run {
        Run::of(&mut self.on_store(args))
    }

    /// `scan --all --json` with what else is said.
    pub fn scan_with(&self, more: &[&str]) -> Scan {
        let run = self.unstick(&[&["scan", "--all", "--json"], more].concat());
        Scan { document: run.json(), run }
    }

    pub fn scan(&self) -> Scan {
        self.scan_with(&[])
    }

    /// `repair --yes --json` with what else is said.
    pub fn repair_with(&self, more: &[&str]) -> Run {
        self.unstick(&[&["repair", "--yes", "--json"], more].concat())
    }

    /// A connection to the store. It must be gone before the program writes.
    pub fn sql(&self) -> Connection {
        Connection::open(self.db()).unwrap()
    }

    /// Changes the store. References are not looked at, so that broken ones can be made.
    pub fn edit(&self, sql: &str) {
        let db = self.sql();
        db.execute_batch(&format!("PRAGMA foreign_keys = OFF; {sql}")).unwrap_or_else(|e| panic!("{sql}: {e}"));
        db.close().unwrap();
    }

    /// Changes a table's definition, with all its rows as they are.
    pub fn edit_schema(&self, table: &str, from: &str, to: &str) {
        let db = self.sql();
        db.execute_batch("PRAGMA writable_schema = ON").unwrap();
        let changed = db
            .execute(
                "UPDATE sqlite_schema SET sql = replace(sql, ?2, ?3) WHERE name = ?1 AND instr(sql, ?2)",
                [table, from, to],
            )
            .unwrap();
        assert_eq!(changed, 1, "{table} does not say {from}");
    }

    /// Changes the JSON of one row, which must change it.
    pub fn rewrite(&self, table: &str, id: &str, change: impl Fn(&str) -> String) {
        let db = self.sql();
        let old: String =
            db.query_row(&format!("SELECT data FROM {table} WHERE id = ?1"), [id], |row| row.get(0)).unwrap();
        let new = change(&old);
        assert_ne!(old, new);
        db.execute(&format!("UPDATE {table} SET data = ?2 WHERE id = ?1"), [id, &new]).unwrap();
    }

    /// One text that a query gives.
    pub fn text(&self, query: &str) -> String {
        self.sql().query_row(query, [], |row| row.get(0)).unwrap_or_else(|e| panic!("{query}: {e}"))
    }

    pub fn files(&self) -> Files {
        Files::of(&self.folder())
    }

    /// Every row of the store as a reader with full rights would see it, without touching the store.
    pub fn dump(&self) -> Dump {
        Dump::of(&self.db())
    }

    /// Neither a private copy nor a journal is there.
    pub fn leaves_nothing_elsewhere(&self, after: &str) {
        for folder in ["tmp", "state", "home"] {
            let left: Vec<_> = fs::read_dir(self.root().join(folder)).unwrap().map(|e| e.unwrap().path()).collect();
            // A repair that was refused may have looked for the place of its journal, but leaves none there.
            let files: Vec<_> = left.iter().filter(|p| !p.is_dir() || fs::read_dir(p).unwrap().count() > 0).collect();
            assert!(files.is_empty(), "{files:?} left by {after}");
        }
    }

    /// Runs `commands`, of which none may change an entry of the store's folder, and leaves no private copy.
    pub fn unchanged_by(&self, commands: &[&[&str]]) {
        let before = self.files();
        for args in commands {
            let run = self.unstick(args);
            before.assert_still(&self.files(), &format!("{args:?} ({run:?})"));
            self.leaves_nothing_elsewhere(&format!("{args:?}"));
        }
    }
}

/// Long documents are cut: a failure must be readable.
impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = |text: &str| text.chars().take(600).collect::<String>();
        write!(f, "exit {}\nstdout: {}\nstderr: {}", self.code, start(&self.stdout), start(&self.stderr))
    }
}

impl Run {
    pub fn of(command: &mut Command) -> Self {
        Self::ended(start(command))
    }

    /// What a process that was started came to.
    pub fn ended(child: Child) -> Self {
        let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
        Self {
            code: status.code().unwrap_or(-1),
            stdout: String::from_utf8(stdout).unwrap(),
            stderr: String::from_utf8(stderr).unwrap(),
        }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The run, which must have ended with `code`.
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }
}

impl Files {
    pub fn of(folder: &Path) -> Self {
        let mut out = BTreeMap::new();
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let steady = !name.ends_with("-shm") && entry.metadata().unwrap().is_file();
            let content =
                steady.then(|| (entry.metadata().unwrap().modified().unwrap(), fs::read(entry.path()).unwrap()));
            out.insert(name, content);
        }
        Self(out)
    }

    pub fn names(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }

    /// Fails, naming the entries that differ, unless nothing has changed.
    pub fn assert_still(&self, now: &Self, after: &str) {
        let differ = |name: &&String| self.0.get(*name) != now.0.get(*name);
        let changed: Vec<&String> = self.0.keys().chain(now.0.keys()).filter(differ).collect();
        assert!(changed.is_empty(), "{changed:?} changed by {after}");
    }
}

impl Scan {
    /// The session of that title.
    pub fn session(&self, title: &str) -> &Value {
        let sessions = self.document["sessions"].as_array().unwrap_or_else(|| panic!("{:?}", self.run));
        sessions.iter().find(|s| s["title"] == title).unwrap_or_else(|| panic!("no {title}: {:?}", self.run))
    }

    /// The status of the session of that title.
    pub fn status(&self, title: &str) -> &str {
        self.session(title)["status"].as_str().unwrap()
    }

    /// Every session by id.
    pub fn by_id(&self) -> BTreeMap<&str, &Value> {
        self.document["sessions"].as_array().unwrap().iter().map(|s| (s["id"].as_str().unwrap(), s)).collect()
    }

    /// The titles with that status, sorted.
    pub fn titles(&self, status: &str) -> Vec<&str> {
        let mut out: Vec<&str> =
            self.by_id().values().filter(|s| s["status"] == status).map(|s| s["title"].as_str().unwrap()).collect();
        out.sort_unstable();
        out
    }

    /// The sessions that some rule set does not let resume, by title, with those sets.
    pub fn not_resuming(&self) -> Vec<(&str, Vec<&str>)> {
        self.by_id()
            .values()
            .filter_map(|s| {
                let sets: Vec<&str> = s["resume"]
                    .as_object()?
                    .iter()
                    .filter(|(_, r)| *r == "ends-with-assistant")
                    .map(|(key, _)| key.as_str())
                    .collect();
                (!sets.is_empty()).then(|| (s["title"].as_str().unwrap(), sets))
            })
            .collect()
    }
}
