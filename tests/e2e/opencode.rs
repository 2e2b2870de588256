//! A real opencode: installed from npm once, run in a private home, spoken to over HTTP.
//!
//! It is ready when `GET /config` answers, and ends on SIGTERM. Requests for titles come too, without tools, and want
//! an answer. `POST /session/:id/message` with `{parts: [{type: "text", text}], model: {providerID, modelID}, agent?,
//! messageID?}` answers when the loop ends, with `info.finish` and `info.error`. For RETRY `parts` is empty and
//! `messageID` the newest user message, or the one before the cut if a revert is pending; for PROMPT there is no
//! `messageID`. `DELETE …/message/:mid` and `…/message/:mid/part/:pid` remove rows. `GET /config/providers` shows the
//! package of every model. Configured by `tests/setup.rs`, asked by `scenarios.rs`.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::setup::{self, SETUPS, Setup};

pub(crate) use crate::setup::MODELS;

/// The model that is asked unless another is said.
pub(crate) const MODEL: &str = MODELS[0];

/// An opencode version, ordered as versions are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    parts: [u32; 3],
    text: String,
}

impl Version {
    pub(crate) fn new(text: &str) -> Self {
        let mut parts = [0; 3];
        let mut given = text.split('.');
        for part in &mut parts {
            let word = given.next().unwrap_or_else(|| panic!("{text:?} is not a version of the form 1.2.3"));
            *part = word.parse().unwrap_or_else(|_| panic!("{text:?} is not a version of the form 1.2.3"));
        }
        assert!(given.next().is_none(), "{text:?} is not a version of the form 1.2.3");
        Self { parts, text: text.to_owned() }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    pub(crate) fn at_least(&self, major: u32, minor: u32, patch: u32) -> bool {
        self.parts >= [major, minor, patch]
    }

    /// The rule sets of the run loop that can apply: one, or two where nobody has looked between them.
    pub(crate) fn rules(&self) -> Vec<&'static str> {
        let one = |key| vec![key];
        match self.parts {
            p if p < [1, 3, 3] => one("1.2"),
            p if p < [1, 14, 34] => vec!["1.2", "1.14"],
            p if p < [1, 15, 0] => one("1.14"),
            p if p < [1, 15, 5] => one("1.15.0"),
            p if p < [1, 15, 13] => vec!["1.15.0", "1.15.13"],
            p if p < [1, 18, 15] => one("1.15.13"),
            p if p < [1, 18, 21] => one("1.18.15"),
            _ => one("1.18.21"),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The folder that outlives a test run: installed programs, and what a miss leaves behind.
pub(crate) fn cache() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("a target folder");
    target.join("e2e")
}

fn package() -> String {
    let os = match std::env::consts::OS {
        "macos" => "darwin",
        other => other,
    };
    let arch = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("opencode-{os}-{arch}")
}

/// The program of a version, installed from npm where it is missing. Anything short of a program that
/// answers with its own version is a failure: a version that could not be asked has not been judged.
pub(crate) fn install(version: &Version) -> PathBuf {
    install_package(&package(), version.as_str(), "bin/opencode")
}

/// A program of an npm package, installed where it is missing.
pub(crate) fn install_package(package: &str, version: &str, program: &str) -> PathBuf {
    static LOCK: Mutex<()> = Mutex::new(());
    let _one_at_a_time = LOCK.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let prefix = cache().join("opencode").join(version);
    let program = prefix.join("node_modules").join(package).join(program);
    if !program.is_file() {
        fs::create_dir_all(&prefix).expect("the cache folder can be made");
        let wanted = format!("{package}@{version}");
        // A third of the disk space that a run needs would be packages that are unpacked already.
        let cached = prefix.join("npm-cache");
        eprintln!("installing {wanted}");
        let output = Command::new("npm")
            .args(["install", "--no-audit", "--no-fund", "--no-progress", "--loglevel=error", "--prefix"])
            .arg(&prefix)
            .arg("--cache")
            .arg(&cached)
            .arg(&wanted)
            .output()
            .unwrap_or_else(|error| panic!("npm could not be run ({error}); it is needed to install {wanted}"));
        let _spare = fs::remove_dir_all(&cached);
        assert!(
            output.status.success() && program.is_file(),
            "npm could not install {wanted}: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    program
}

/// Everything that one opencode process may read or write.
#[derive(Debug)]
pub(crate) struct Home {
    folder: tempfile::TempDir,
    program: PathBuf,
    /// The name of the work folder.
    work: &'static str,
    provider: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Snapshots {
    On,
    Off,
}

impl Home {
    pub(crate) fn new(version: &Version, provider: u16, snapshots: Snapshots) -> Self {
        let program = install(version);
        let folder = tempfile::Builder::new().prefix("unstick-e2e-").tempdir().expect("a temporary folder");
        let home = Self { folder, program, provider, work: "work" };
        furnish(&home.base(), &configuration(version, provider, snapshots));
        home
    }

    pub(crate) fn base(&self) -> PathBuf {
        fs::canonicalize(self.folder.path()).expect("the private home is there")
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.base().join(self.work)
    }

    /// Gives the work folder another name, as a person who tidies up does.
    pub(crate) fn rename_work(&mut self, name: &'static str) {
        fs::rename(self.work(), self.base().join(name)).expect("the work folder can be renamed");
        self.work = name;
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.base().join("data/opencode/opencode.db")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = private_command(&self.program, &self.base(), args);
        command.current_dir(self.work());
        // Vertex' packages ask the machine that they run on for a token.
        command.env(setup::KEY, "x");
        command.env("GCE_METADATA_HOST", format!("127.0.0.1:{}", self.provider));
        command.env("METADATA_SERVER_DETECTION", "assume-present");
        command
    }

    fn serve(&self, port: u16) -> Command {
        self.command(&["serve", "--port", &port.to_string(), "--hostname", "127.0.0.1"])
    }

    /// Runs a command of opencode's to its end; its output, or what went wrong.
    pub(crate) fn run(&self, args: &[&str]) -> Result<String, String> {
        let file = || tempfile::NamedTempFile::new_in(self.base()).expect("a file for the output");
        let (stdout, stderr) = (file(), file());
        let writer = |file: &tempfile::NamedTempFile| file.reopen().expect("a file for the output");
        let mut child = self
            .command(args)
            .stdout(writer(&stdout))
            .stderr(writer(&stderr))
            .spawn()
            .map_err(|error| format!("{} cannot be run: {error}", self.program.display()))?;
        let status = wait(&mut child, Duration::from_secs(60));
        kill_tree(&child);
        let read = |file: &tempfile::NamedTempFile| {
            String::from_utf8_lossy(&fs::read(file.path()).unwrap_or_default()).into_owned()
        };
        match status {
            Some(status) if status.success() => Ok(read(&stdout)),
            Some(status) => Err(format!("opencode {}: {status}: {}", args.join(" "), read(&stderr))),
            None => Err(format!("opencode {}: no end within 60 s", args.join(" "))),
        }
    }

    /// The lines of opencode's own log that say ERROR, without what differs from start to start.
    pub(crate) fn complaints(&self) -> BTreeSet<String> {
        let mut lines = BTreeSet::new();
        let Ok(folder) = fs::read_dir(self.base().join("data/opencode/log")) else { return lines };
        for entry in folder.flatten() {
            let text = String::from_utf8_lossy(&fs::read(entry.path()).unwrap_or_default()).into_owned();
            for line in text.lines().filter(|line| line.starts_with("ERROR") || line.contains("level=ERROR")) {
                let words = line.split_whitespace().filter(|word| {
                    let time = word.starts_with(|c: char| c.is_ascii_digit()) && word.contains(':');
                    !(time || word.starts_with('+') || word.starts_with("timestamp=") || word.starts_with("run="))
                });
                lines.insert(words.collect::<Vec<_>>().join(" "));
            }
        }
        lines
    }
}

/// Makes the folders of a private home, with the configuration and a git repository of one commit: the same commit in
/// every home, because opencode names a project by it.
pub(crate) fn furnish(base: &Path, config: &Value) {
    for name in ["home", "config/opencode", "data/opencode", "cache", "state", "tmp", "work"] {
        fs::create_dir_all(base.join(name)).expect("a folder of the private home");
    }
    fs::write(base.join("config/opencode/opencode.json"), config.to_string()).expect("the configuration");
    let work = base.join("work");
    fs::write(work.join("README"), "work folder\n").expect("a file in the work folder");
    for args in [&["init", "--quiet"][..], &["add", "README"], &["commit", "--quiet", "--message", "start"]] {
        let mut git = Command::new("git");
        git.args(args).current_dir(&work).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
        for who in ["AUTHOR", "COMMITTER"] {
            git.env(format!("GIT_{who}_NAME"), "dev").env(format!("GIT_{who}_EMAIL"), "dev@localhost");
            git.env(format!("GIT_{who}_DATE"), "2026-01-01T00:00:00Z");
        }
        let status = git.status().expect("git can be run");
        assert!(status.success(), "git {args:?}: {status}");
    }
}

/// A command of opencode's that reads and writes in its private home alone.
pub(crate) fn private_command(program: &Path, base: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(base.join("work")).env("HOME", base.join("home"));
    // Each start unpacks 5 MB of libraries there and leaves them.
    command.env("TMPDIR", base.join("tmp"));
    for name in ["CONFIG", "DATA", "CACHE", "STATE"] {
        command.env(format!("XDG_{name}_HOME"), base.join(name.to_lowercase()));
    }
    for (name, _) in std::env::vars() {
        let other = name.starts_with("OPENCODE") || name.to_lowercase().ends_with("_proxy");
        if other || ["ANTHROPIC_API_KEY", "OPENAI_API_KEY"].contains(&name.as_str()) {
            command.env_remove(name);
        }
    }
    for name in ["AUTOUPDATE", "MODELS_FETCH", "LSP_DOWNLOAD", "DEFAULT_PLUGINS"] {
        command.env(format!("OPENCODE_DISABLE_{name}"), "1");
    }
    command.stdin(Stdio::null()).process_group(0);
    command
}

fn configuration(version: &Version, provider: u16, snapshots: Snapshots) -> Value {
    // Programs up to 1.3 do not know all fields of the others.
    let early = ["1.2.", "1.3."].iter().any(|early| version.to_string().starts_with(early));
    let setups: &[Setup] = if early { &SETUPS[..2] } else { &SETUPS };
    let providers: serde_json::Map<String, Value> =
        setups.iter().map(|setup| (setup.provider.to_owned(), setup.configuration(provider))).collect();
    let model = format!("{}/{MODEL}", SETUPS[0].provider);
    let enabled: Vec<&str> = setups.iter().map(|setup| setup.provider).collect();
    let mut out = json!({
        "autoupdate": false, "share": "disabled", "snapshot": snapshots == Snapshots::On,
        "model": model, "small_model": model,
        "enabled_providers": enabled,
        "permission": {"bash": "allow", "edit": "allow", "task": "allow"},
        "agent": {"short": {"mode": "primary", "prompt": "short", "steps": 2, "maxSteps": 2}},
        "provider": providers,
    });
    // A program that does not know the setting does not start: 1.14.34 does not, 1.14.48 does.
    if version.at_least(1, 14, 48) {
        // Images are kept as they are: what opencode would shrink today, it has stored before, or others have.
        out["attachment"] =
            json!({"image": {"max_width": 20_000, "max_height": 20_000, "max_base64_bytes": 50_000_000}});
    }
    out
}

fn wait(child: &mut Child, limit: Duration) -> Option<std::process::ExitStatus> {
    let end = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            return Some(status);
        }
        if Instant::now() > end {
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Ends a process, its group and all that it has started: opencode's shell tool starts groups of its own.
fn kill_tree(child: &Child) {
    let listing = Command::new("ps").args(["-A", "-o", "pid=,ppid="]).output();
    let listing = listing.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let pairs: Vec<(u32, u32)> = listing
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace().filter_map(|word| word.parse().ok());
            Some((words.next()?, words.next()?))
        })
        .collect();
    let mut tree = vec![child.id()];
    let mut next = 0;
    while next < tree.len() {
        let parent = tree[next];
        tree.extend(pairs.iter().filter(|(_, ppid)| *ppid == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    let mut kill = Command::new("kill");
    kill.arg("-KILL").arg("--").arg(format!("-{}", child.id())).args(tree.iter().map(u32::to_string));
    let _already_gone = kill.stdout(Stdio::null()).stderr(Stdio::null()).status();
}

/// Ends a server when this process is gone without having dropped it: interrupted, or killed.
fn watch(child: &Child) -> Child {
    let script = "while kill -0 $1 && kill -0 $2; do sleep 1; done; kill -s KILL -- -$2";
    let mut watchdog = Command::new("sh");
    watchdog.args(["-c", script, "watchdog"]).arg(std::process::id().to_string()).arg(child.id().to_string());
    watchdog.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    watchdog.spawn().expect("sh can be run")
}

/// `opencode serve`. Dropping it kills it, and everything that it started.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    watchdog: Child,
    port: u16,
    agent: ureq::Agent,
    /// The value of the header of that name.
    authorization: Option<&'static str>,
    over: bool,
}

/// How a program is started as a server.
pub(crate) struct Launch<'a> {
    /// The command that listens on a port.
    pub(crate) command: &'a dyn Fn(u16) -> Command,
    /// The folder for what it prints.
    pub(crate) logs: &'a Path,
    /// What is asked for until it answers.
    pub(crate) probe: &'static str,
    pub(crate) authorization: Option<&'static str>,
}

/// What opencode answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl Server {
    pub(crate) fn start(home: &Home) -> Self {
        let command = |port: u16| home.serve(port);
        let logs = home.base();
        Self::launch(&Launch { command: &command, logs: &logs, probe: "/config", authorization: None })
    }

    pub(crate) fn launch(launch: &Launch<'_>) -> Self {
        for attempt in 1.. {
            let log = launch.logs.join(format!("serve-{attempt}.log"));
            let mut server = Self::spawn(launch, &log);
            if server.ready(&log, launch.probe) {
                return server;
            }
            drop(server);
            let said = fs::read_to_string(&log).unwrap_or_default();
            assert!(attempt < 2, "opencode did not start:\n{said}");
        }
        unreachable!("the loop ends by a return or a panic")
    }

    /// A server that listens, whether or not it can read its store; none where it ends or stays silent.
    pub(crate) fn listening(home: &Home) -> Option<Self> {
        let base = home.base();
        let log = base.join("serve-listening.log");
        let _none_yet = fs::remove_file(&log);
        let command = |port: u16| home.serve(port);
        let launch = Launch { command: &command, logs: &base, probe: "/config", authorization: None };
        let mut server = Self::spawn(&launch, &log);
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(20) {
            if server.child.try_wait().expect("a child can be waited for").is_some() {
                return None;
            }
            if fs::read_to_string(&log).is_ok_and(|said| said.contains("listening")) {
                return Some(server);
            }
            std::thread::sleep(Duration::from_millis(30));
        }
        None
    }

    fn spawn(launch: &Launch<'_>, log: &Path) -> Self {
        let port = free_port();
        let output = || fs::File::options().create(true).append(true).open(log).expect("a file for the output");
        let mut command = (launch.command)(port);
        let child = command
            .stdout(output())
            .stderr(output())
            .spawn()
            .unwrap_or_else(|error| panic!("{} cannot be run: {error}", command.get_program().display()));
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .max_idle_connections(0)
            .build()
            .new_agent();
        let watchdog = watch(&child);
        Self { child, watchdog, port, agent, authorization: launch.authorization, over: false }
    }

    fn ready(&mut self, log: &Path, probe: &str) -> bool {
        let (start, limit) = (Instant::now(), Duration::from_secs(60));
        // A request that comes while the program is starting may be lost, and the first one that is heard may
        // take long: wait until it says that it listens, and ask again, with more patience each time.
        let mut patience = Duration::from_millis(1000);
        while start.elapsed() < limit {
            if self.child.try_wait().expect("a child can be waited for").is_some() {
                return false;
            }
            let listens = fs::read_to_string(log).is_ok_and(|said| said.contains("listening"));
            if listens || start.elapsed() > Duration::from_secs(10) {
                let asked = Instant::now();
                if self.call("GET", probe, None, patience).is_ok_and(|answer| answer.status == 200) {
                    return true;
                }
                if asked.elapsed() >= patience {
                    patience *= 2;
                }
            }
            std::thread::sleep(Duration::from_millis(30));
        }
        false
    }

    pub(crate) fn call(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        limit: Duration,
    ) -> Result<Answer, String> {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        let mut request = ureq::http::Request::builder().method(method).uri(&url);
        if let Some(authorization) = self.authorization {
            request = request.header("authorization", authorization);
        }
        let timeout = |error: ureq::Error| format!("{method} {path}: {error}");
        let configured = |request| {
            self.agent.configure_request(request).timeout_global(Some(limit)).allow_non_standard_methods(true).build()
        };
        let response = match body {
            Some(body) => {
                let request = request.header("content-type", "application/json").body(body.to_string());
                let request = request.map_err(|error| error.to_string())?;
                let request = self.agent.configure_request(request).timeout_global(Some(limit)).build();
                self.agent.run(request)
            }
            None => self.agent.run(configured(request.body(()).map_err(|error| error.to_string())?)),
        };
        let mut response = response.map_err(timeout)?;
        let status = response.status().as_u16();
        let text = response.body_mut().with_config().limit(64 << 20).read_to_string().map_err(timeout)?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok(Answer { status, body })
    }

    pub(crate) fn get(&self, path: &str) -> Result<Value, String> {
        expect_success(path, self.call("GET", path, None, Duration::from_secs(30))?)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<Value, String> {
        self.post_within(path, body, Duration::from_secs(90))
    }

    pub(crate) fn post_within(&self, path: &str, body: &Value, limit: Duration) -> Result<Value, String> {
        expect_success(path, self.call("POST", path, Some(body), limit)?)
    }

    pub(crate) fn delete(&self, path: &str) -> Result<Value, String> {
        expect_success(path, self.call("DELETE", path, None, Duration::from_secs(30))?)
    }

    /// Ends it as a user would.
    pub(crate) fn stop(mut self) {
        let mut kill = Command::new("kill");
        kill.arg("-TERM").arg("--").arg(format!("-{}", self.child.id()));
        let _already_gone = kill.stdout(Stdio::null()).stderr(Stdio::null()).status();
        wait(&mut self.child, Duration::from_secs(5));
        self.end();
    }

    /// Ends it as a crash would, whoever is still talking to it.
    pub(crate) fn kill(&self) {
        kill_tree(&self.child);
    }

    fn end(&mut self) {
        if !self.over {
            self.over = true;
            kill_tree(&self.child);
            let _status = self.child.wait();
            let _already_gone = self.watchdog.kill();
            let _status = self.watchdog.wait();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

fn expect_success(path: &str, answer: Answer) -> Result<Value, String> {
    if (200..300).contains(&answer.status) {
        Ok(answer.body)
    } else {
        Err(format!("{path}: {} {}", answer.status, answer.body))
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}
