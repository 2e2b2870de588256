//! The preview of opencode 2, installed from npm once and run in a private home (docs/opencode.md §16).
//!
//! `bin/opencode2 serve --port N`, with `OPENCODE_PASSWORD`, the password of user `opencode` in requests (which are
//! below `/api/session`: `stories.rs`). With `--service` it is in `$XDG_CONFIG_HOME/opencode/service.json`, and the
//! port must be given: the default is one for the whole machine. opencode 1's configuration is understood. `prompt`
//! answers at once. The event log tells how a run ended: `session.execution.succeeded.1`, `.failed.1`,
//! `.interrupted.1`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};

use super::Protocol;
use crate::opencode::{self, Launch, MODELS, Server};

/// The one program of opencode 2 that the npm registry has.
pub(crate) const VERSION: &str = "0.0.0-next-16350";

/// User `opencode`, password `pw`.
const AUTHORIZATION: &str = "Basic b3BlbmNvZGU6cHc=";

/// How the server is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// `serve`: leaves every session alone until it is asked.
    Plain,
    /// `serve --service`: resumes the sessions that have a `time_suspended`, and suspends the running ones on SIGTERM.
    Service,
}

/// Everything that one process of the preview may read or write.
#[derive(Debug)]
pub(crate) struct Home {
    folder: tempfile::TempDir,
    program: PathBuf,
}

impl Home {
    pub(crate) fn new(provider: u16) -> Self {
        let program = opencode::install_package("@opencode-ai/cli-linux-x64-baseline", VERSION, "bin/opencode2");
        let folder = tempfile::Builder::new().prefix("unstick-preview-").tempdir().expect("a temporary folder");
        let home = Self { folder, program };
        opencode::furnish(&home.base(), &configuration(provider));
        let service = home.base().join("config/opencode/service.json");
        fs::write(service, json!({"password": "pw"}).to_string()).expect("the service's configuration");
        home
    }

    pub(crate) fn base(&self) -> PathBuf {
        fs::canonicalize(self.folder.path()).expect("the private home is there")
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.base().join("work")
    }

    /// The preview keeps its sessions in a file of its own.
    pub(crate) fn store(&self) -> PathBuf {
        self.base().join("data/opencode/opencode-next.db")
    }

    pub(crate) fn start(&self, mode: Mode) -> Server {
        let base = self.base();
        let command = |port: u16| {
            let port = port.to_string();
            let mut args = vec!["serve", "--port", &port];
            if mode == Mode::Service {
                args.push("--service");
            }
            let mut command = opencode::private_command(&self.program, &base, &args);
            command.env("OPENCODE_PASSWORD", "pw");
            command
        };
        Server::launch(&Launch {
            command: &command,
            logs: &base,
            probe: "/api/health",
            authorization: Some(AUTHORIZATION),
        })
    }
}

/// The configuration is read in v1's format. `short` is an agent that may take two steps.
fn configuration(provider: u16) -> Value {
    let models: serde_json::Map<String, Value> = MODELS
        .iter()
        .chain(&["gpt-5.1"])
        .map(|id| {
            let model = json!({"name": id, "limit": {"context": 200_000, "output": 8_000},
                "attachment": true, "modalities": {"input": ["text", "image", "pdf"], "output": ["text"]}});
            ((*id).to_owned(), model)
        })
        .collect();
    let mut providers = serde_json::Map::new();
    for protocol in Protocol::EVERY {
        let mut options =
            json!({"baseURL": format!("http://127.0.0.1:{provider}/{}/v1", protocol.provider()), "apiKey": "x"});
        if protocol == Protocol::Responses {
            options["store"] = json!(false);
        }
        providers.insert(
            protocol.provider().to_owned(),
            json!({"npm": protocol.package(), "name": protocol.provider(), "models": models, "options": options}),
        );
    }
    let names: Vec<&String> = providers.keys().collect();
    json!({
        "autoupdate": false, "share": "disabled", "snapshot": false,
        "model": format!("{}/{}", Protocol::Anthropic.provider(), MODELS[0]),
        "enabled_providers": names,
        "permission": {"bash": "allow", "edit": "allow", "task": "allow"},
        "agent": {"short": {"mode": "primary", "prompt": "short", "steps": 2}},
        "provider": providers,
    })
}

/// Reads a store that a server may have open.
pub(crate) fn read(store: &Path) -> Connection {
    Connection::open_with_flags(store, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("the store can be read")
}

/// How the run of a session ended, as the event log tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Run {
    Succeeded,
    Interrupted,
    Failed(String),
    /// It began and has not ended. An answer that does not decode keeps the end from being recorded.
    Begun,
    /// It never began.
    None,
}

/// The newest event of the log.
pub(crate) fn last_event(store: &Path) -> i64 {
    read(store).query_row("SELECT coalesce(max(rowid), 0) FROM event", [], |row| row.get(0)).expect("the event log")
}

/// How the session's newest run after an event ended.
pub(crate) fn run_after(store: &Path, session: &str, after: i64) -> Run {
    let query = "SELECT type, data FROM event WHERE aggregate_id = ?1 AND rowid > ?2
                 AND type LIKE 'session.execution.%' ORDER BY rowid DESC LIMIT 1";
    let row = read(store).query_row(query, rusqlite::params![session, after], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
    });
    let Ok((kind, data)) = row else { return Run::None };
    match kind.as_str() {
        "session.execution.succeeded.1" => Run::Succeeded,
        "session.execution.interrupted.1" => Run::Interrupted,
        "session.execution.failed.1" => {
            let data: Value = serde_json::from_str(&data).unwrap_or_default();
            Run::Failed(data["error"]["message"].as_str().unwrap_or("?").to_owned())
        }
        _ => Run::Begun,
    }
}

impl Run {
    pub(crate) fn is_over(&self) -> bool {
        !matches!(self, Self::Begun | Self::None)
    }
}

/// Asks again until it is so.
pub(crate) fn wait_until(what: &str, limit: Duration, mut so: impl FnMut() -> bool) -> Result<(), String> {
    let start = Instant::now();
    while start.elapsed() < limit {
        if so() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(format!("no {what} within {limit:?}"))
}
