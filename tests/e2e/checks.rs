//! The five checks: does `unstick` say and do what the real opencode shows to be right?
//!
//! 1. The judge must say of `fixtures/stores` what their `verdicts.json` says, for this version or the nearest with the
//!    same rules.
//! 2. *Predict*: RETRY does what `unstick scan` says, under the rule set of the version.
//! 3. *Repair*: after `unstick repair --yes`, RETRY sends nothing that is refused for its tail. A session may be left
//!    for a reason of its own; one of the repair's (`no-lossless-edit` …) is a miss for a story, and for random changes
//!    if more than 40 of 100 that are refused get it.
//! 4. *Lossless*: PROMPT sends the same body on the unrepaired and on the repaired copy, byte for byte but for system
//!    prompt, tools, cache marks, and an assistant's turn in which nothing is sent if the plan says so
//!    (`empty_answers`).
//! 5. *Undisturbed*: sound sessions behave as before; rows of sessions outside the plan, cost and tokens (rows and
//!    `opencode stats`) are the same; `opencode export` reads every repaired session; opencode's log has no new ERROR
//!    line when it starts on the repaired store.
//!
//! Random changes are asked of 1.14.48 and later: older versions may differ for shapes that they never stored. Of
//! histories made by hand (`tests/shapes.rs`, some 280 for each set-up), with every include, no history that went on
//! stops going on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Instant;

use serde_json::{Value, json};

use crate::judge::{self, How, Judged, Outcome, Seen};
use crate::mutate::{self, Mutant};
use crate::opencode::{self, Home, Snapshots, Version};
use crate::provider::{Refusal, Request};
use crate::rows::{self, Session};
use crate::scenarios::{self, Missing};
use crate::setup::{self, SETUPS};
use crate::{dump, fixtures};

/// Above this many tokens the newest finished row can be near a model's window: opencode compacts first, and
/// `resume` says what would be sent if it did not.
const NEAR_WINDOW: u64 = 100_000;

/// One `unstick` run that must come to something: what it printed as JSON, and its exit code.
fn unstick(store: &Path, home: &Path, args: &[&str]) -> (Value, i32) {
    let (json, code) = run_unstick(store, home, args);
    assert!(code < 2, "unstick {}: exit {code}: {json}", args.join(" "));
    (json, code)
}

/// `unstick` told of the store, with a home of its own.
pub(crate) fn unstick_command(store: &Path, home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_unstick"));
    command.arg("--db").arg(store).current_dir(home).env("HOME", home);
    for name in ["CONFIG", "DATA", "CACHE", "STATE"] {
        command.env(format!("XDG_{name}_HOME"), home.join(name.to_lowercase()));
    }
    for name in ["OPENCODE_DB", "OPENCODE_CONFIG"] {
        command.env_remove(name);
    }
    // The configuration that the judged programs have, so that the same package, settings and model ids are found.
    let config = home.join("config/opencode");
    if !config.exists() {
        let providers: serde_json::Map<String, Value> =
            SETUPS.iter().map(|setup| (setup.provider.to_owned(), setup.configuration(9))).collect();
        fs::create_dir_all(&config).expect("a folder for the configuration");
        fs::write(config.join("opencode.json"), json!({"provider": providers}).to_string()).expect("the configuration");
    }
    command
}

/// One `unstick` run: what it printed as JSON, and its exit code.
pub(crate) fn run_unstick(store: &Path, home: &Path, args: &[&str]) -> (Value, i32) {
    let output = unstick_command(store, home).arg("--json").args(args).output().expect("unstick can be run");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    let code = output.status.code().unwrap_or_else(|| panic!("unstick {}: {}", args.join(" "), output.status));
    let json = serde_json::from_str(&said).unwrap_or_else(|error| {
        panic!("unstick {}: {error} in what it printed (exit {code}):\n{said}\n{errors}", args.join(" "))
    });
    (json, code)
}

pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// What is known of the sessions of a store, before and after a repair.
struct Case<'a> {
    version: &'a Version,
    /// How to name a session in a miss.
    names: BTreeMap<String, String>,
    before: BTreeMap<String, Session>,
    after: BTreeMap<String, Session>,
    resume: BTreeMap<String, Value>,
    edited: BTreeMap<String, BTreeSet<String>>,
    /// Sessions of which the plan says that the next prompt no longer sends an empty answer.
    empty_answers: BTreeSet<String>,
    left: BTreeMap<String, String>,
    /// Sessions of which `scan` says that every prompt is refused, by some version.
    dead: BTreeSet<String>,
    /// Before and after, RETRY and PROMPT.
    retry: [Judged; 2],
    prompt: [Judged; 2],
    folder: PathBuf,
    misses: Mutex<Vec<String>>,
    seconds: String,
}

impl<'a> Case<'a> {
    /// Repairs a copy of the store, and asks the real program about both.
    fn new(version: &'a Version, kind: &str, store: &Path, names: BTreeMap<String, String>) -> Self {
        let start = Instant::now();
        let folder = opencode::cache().join("runs").join(format!("{version}-{kind}"));
        let _not_there = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder for the stores");
        let (unrepaired, repaired) = (folder.join("unrepaired.db"), folder.join("repaired.db"));
        rows::copy(store, &unrepaired);
        fs::copy(&unrepaired, &repaired).expect("a copy of the store");
        let home = tempfile::tempdir().expect("a temporary folder");
        let original = fs::read(&unrepaired).expect("the store");
        let (scan, _) = unstick(&unrepaired, home.path(), &["--opencode", "any", "scan", "--all"]);
        assert!(original == fs::read(&unrepaired).expect("the store"), "scan has changed the store");
        let (repair, _) = unstick(&repaired, home.path(), &["--opencode", "any", "repair", "--yes"]);
        fs::write(folder.join("scan.json"), scan.to_string()).expect("the report");
        fs::write(folder.join("repair.json"), repair.to_string()).expect("the report");
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let resume = list(&scan["sessions"]).iter().map(|said| (text(&said["id"]), said["resume"].clone())).collect();
        let dead = list(&scan["sessions"]).iter().filter(|said| said["status"] == "dead");
        let dead = dead.map(|said| text(&said["id"])).collect();
        let edited = list(&repair["plan"]["sessions"]).iter().map(|plan| {
            let reasons = list(&plan["edits"]).iter().map(|edit| text(&edit["reason"])).collect();
            (text(&plan["id"]), reasons)
        });
        let empty_answers = list(&repair["plan"]["sessions"]).iter().filter(|plan| plan["empty_answers"] == true);
        let empty_answers = empty_answers.map(|plan| text(&plan["id"])).collect();
        // Of dead sessions nothing is promised.
        let left = list(&repair["left"]).iter().filter(|left| left["reason"] != "not-included");
        let left = left.map(|left| (text(&left["id"]), text(&left["reason"])));
        let (edited, left) = (edited.collect(), left.collect());
        let load = |store: &Path| rows::load(store).into_iter().map(|session| (session.id.clone(), session)).collect();
        let jobs =
            [(&unrepaired, How::Retry), (&repaired, How::Retry), (&unrepaired, How::Prompt), (&repaired, How::Prompt)];
        let answers = Mutex::new(BTreeMap::new());
        let indices: Vec<usize> = (0..jobs.len()).collect();
        judge::side_by_side(2, &indices, |index| {
            let (store, how) = jobs[*index];
            let judged = judge::judge(version, store, how);
            answers.lock().expect("a map").insert(*index, judged);
        });
        let mut answers = answers.into_inner().expect("a map");
        let mut take = |index: usize| answers.remove(&index).expect("all are judged");
        Self {
            version,
            names,
            before: load(&unrepaired),
            after: load(&repaired),
            resume,
            edited,
            empty_answers,
            left,
            dead,
            retry: [take(0), take(1)],
            prompt: [take(2), take(3)],
            folder,
            misses: Mutex::default(),
            seconds: format!("{:.0} s", start.elapsed().as_secs_f64()),
        }
    }

    fn name(&self, id: &str) -> String {
        self.names.get(id).cloned().unwrap_or_else(|| {
            let session = self.before.get(id);
            session.map_or_else(|| id.to_owned(), |session| format!("{:?} ({id})", session.title))
        })
    }

    fn miss(&self, check: &str, id: &str, what: &str) {
        let mut text = format!("MISS {check}: opencode {}, {}: {what}", self.version, self.name(id));
        if let Some(session) = self.before.get(id) {
            let _ = write!(text, "\n  {}", session.describe().replace('\n', "\n  "));
        }
        if self.edited.contains_key(id)
            && let Some(session) = self.after.get(id)
        {
            let _ =
                write!(text, "\n  repaired ({:?}):\n  {}", self.edited[id], session.describe().replace('\n', "\n  "));
        }
        self.misses.lock().expect("a list").push(text);
    }

    /// (a) What `scan` says is what RETRY does.
    fn predict(&self) {
        let rules = self.version.rules();
        for (id, seen) in &self.retry[0].seen {
            let Some(resume) = self.resume.get(id) else {
                self.miss("predict", id, "scan does not list it");
                continue;
            };
            let predicted: Vec<&str> = rules.iter().map(|key| resume[*key].as_str().unwrap_or("nothing")).collect();
            // Where opencode itself fails before it sends anything, there is no request.
            let outcome = match seen.outcome {
                Outcome::Failed(_) => "no-request".to_owned(),
                _ => seen.outcome.words().replace(' ', "-"),
            };
            let compacts = seen.outcome == Outcome::RunsTask && self.before.get(id).is_some_and(near_window);
            if !predicted.contains(&outcome.as_str()) && !compacts {
                let predicted = predicted.join(" or ");
                self.miss(
                    "predict",
                    id,
                    &format!("predicted {predicted}, seen {}\n  request: {}", seen.outcome, seen.short()),
                );
            }
        }
    }

    /// (b) After a repair, nothing is refused for its tail, sessions that were left with a reason aside.
    fn repaired(&self) {
        for (id, seen) in &self.retry[1].seen {
            if !self.left.contains_key(id) && is_refused(seen) {
                let planned = if self.edited.contains_key(id) { "was repaired" } else { "was not in the plan" };
                self.miss("repair", id, &format!("it {planned}, and is refused still\n  request: {}", seen.short()));
            }
            if let Outcome::Failed(why) = &seen.outcome
                && !matches!(self.retry[0].seen[id].outcome, Outcome::Failed(_))
            {
                self.miss("repair", id, &format!("opencode itself fails: {why}"));
            }
        }
    }

    /// (b) A reason to leave a session must be about the session, not about a repair that cannot.
    fn left_for_a_reason(&self, allowed: &[&str], of_a_hundred: usize) {
        let refused = self.retry[0].seen.values().filter(|seen| is_refused(seen)).count();
        let others: Vec<_> = self.left.iter().filter(|(_, reason)| !allowed.contains(&reason.as_str())).collect();
        if others.len() * 100 > refused * of_a_hundred {
            for (id, reason) in others {
                self.miss("repair", id, &format!("it is left: {reason}"));
            }
        }
    }

    /// (c) The next prompt tells the model the same.
    ///
    /// The one difference that a plan may announce is that an answer in which nothing is sent is no longer sent.
    fn lossless(&self) {
        for (id, before) in &self.prompt[0].seen {
            let Some(after) = self.prompt[1].seen.get(id) else {
                self.miss("lossless", id, "the session is gone");
                continue;
            };
            let announced = self.empty_answers.contains(id);
            let content = if announced { Request::without_empty_answers } else { Request::bare };
            let turns = |seen: &Seen| seen.request.as_ref().map(content);
            if before.outcome != after.outcome || turns(before) != turns(after) {
                let what = format!(
                    "the next prompt differs\n  before: {}, {}\n  after:  {}, {}",
                    before.outcome,
                    before.short(),
                    after.outcome,
                    after.short()
                );
                self.miss("lossless", id, &what);
            }
        }
    }

    /// (d) Sessions that were sound behave as before, and what is not in the plan is as it was.
    fn undisturbed(&self) {
        for (id, before) in &self.retry[0].seen {
            let after = &self.retry[1].seen[id];
            let turns = |seen: &Seen| seen.request.as_ref().map(Request::bare);
            if self.edited.contains_key(id) {
                let sound = |seen: &Seen| {
                    matches!(seen.outcome, Outcome::NoRequest | Outcome::EndsWithUser | Outcome::RunsTask)
                };
                if sound(before) && !sound(after) {
                    self.miss("undisturbed", id, &format!("before: {}, after: {}", before.outcome, after.outcome));
                }
                continue;
            }
            if before.outcome != after.outcome || turns(before) != turns(after) {
                let what = format!(
                    "it was not in the plan, and behaves otherwise\n  before: {}, {}\n  after:  {}, {}",
                    before.outcome,
                    before.short(),
                    after.outcome,
                    after.short()
                );
                self.miss("undisturbed", id, &what);
            }
            let rows = |sessions: &BTreeMap<String, Session>| format!("{:?}", sessions.get(id));
            if rows(&self.before) != rows(&self.after) {
                self.miss("undisturbed", id, "it was not in the plan, and its rows have changed");
            }
        }
        let new: Vec<&String> = self.retry[1].complaints.difference(&self.retry[0].complaints).collect();
        if !new.is_empty() {
            self.miss("undisturbed", "-", &format!("opencode complains of the repaired store: {new:?}"));
        }
    }

    /// (f) Whatever may be asked for, no history that went on stops going on.
    fn with_everything(&self) {
        let store = self.folder.join("everything.db");
        fs::copy(self.folder.join("unrepaired.db"), &store).expect("a copy of the store");
        let home = tempfile::tempdir().expect("a temporary folder");
        unstick(&store, home.path(), &["--opencode", "any", "repair", "--yes", "--include", INCLUDES]);
        let sound =
            |seen: &Seen| matches!(seen.outcome, Outcome::NoRequest | Outcome::EndsWithUser | Outcome::RunsTask);
        for (how, all) in [(How::Retry, &self.retry[0]), (How::Prompt, &self.prompt[0])] {
            let after = judge::judge(self.version, &store, how).seen;
            // What the plain repair edits is held against the rules by itself.
            let others = all.seen.iter().filter(|(id, before)| sound(before) && !self.edited.contains_key(*id));
            for (id, before) in others {
                // Of a dead one what is refused was taken out: the files of a result that a retry was about may have been that.
                let stops = how == How::Retry && self.dead.contains(id) && after[id].outcome == Outcome::NoRequest;
                let asks = before.outcome == Outcome::EndsWithUser && !stops;
                if !sound(&after[id]) || asks && after[id].outcome != before.outcome {
                    let what =
                        format!("with every include, {how:?}: {} before, {} now", before.outcome, after[id].outcome);
                    self.miss("repair", id, &what);
                }
            }
        }
    }

    /// (d) `opencode stats` and `opencode export`.
    fn commands(&self) {
        let home = |store: &str| {
            let home = Home::new(self.version, 9, Snapshots::Off);
            fs::copy(self.folder.join(store), home.store()).expect("a copy of the store");
            rows::move_to(&home.store(), &home.work());
            home
        };
        let (unrepaired, repaired) = (home("unrepaired.db"), home("repaired.db"));
        match (unrepaired.run(&["stats"]), repaired.run(&["stats"])) {
            (Ok(before), Ok(after)) => {
                assert!(before.contains("Total Cost"), "opencode stats prints no cost:\n{before}");
                let lines =
                    |text: &str| text.lines().filter(|line| !line.contains("Messages")).collect::<Vec<_>>().join("\n");
                if lines(&before) != lines(&after) {
                    self.miss(
                        "undisturbed",
                        "-",
                        &format!("opencode stats differs\nbefore:\n{before}\nafter:\n{after}"),
                    );
                }
            }
            (Err(why), _) => self.miss("undisturbed", "-", &format!("the unrepaired store has no stats: {why}")),
            (_, Err(why)) => self.miss("undisturbed", "-", &why),
        }
        if totals(&self.before) != totals(&self.after) {
            self.miss(
                "undisturbed",
                "-",
                &format!("totals: {:?}, then {:?}", totals(&self.before), totals(&self.after)),
            );
        }
        let edited: Vec<&String> = self.edited.keys().collect();
        judge::side_by_side(3, &edited, |id| {
            let exported = repaired.run(&["export", id]).and_then(|text| {
                let start = text.find('{').ok_or_else(|| format!("no JSON in {text:?}"))?;
                serde_json::from_str::<Value>(&text[start..]).map_err(|error| error.to_string())
            });
            match exported {
                Ok(export) if list(&export["messages"]).len() == self.after[*id].messages.len() => {}
                Ok(export) => {
                    self.miss(
                        "undisturbed",
                        id,
                        &format!("opencode export has {} messages", list(&export["messages"]).len()),
                    );
                }
                Err(why) => self.miss("undisturbed", id, &why),
            }
        });
    }

    fn finish(self, what: &str) -> Vec<String> {
        let mut counts = BTreeMap::<String, usize>::new();
        for seen in self.retry[0].seen.values() {
            *counts.entry(seen.outcome.words()).or_default() += 1;
        }
        let mut reasons = BTreeMap::<&str, usize>::new();
        for reason in self.left.values() {
            *reasons.entry(reason).or_default() += 1;
        }
        let misses = self.misses.into_inner().expect("a list");
        println!(
            "opencode {}, {what}: {} sessions {counts:?}, {} repaired, left {reasons:?}, {} misses ({})",
            self.version,
            self.retry[0].seen.len(),
            self.edited.len(),
            misses.len(),
            self.seconds
        );
        if !misses.is_empty() {
            println!("the stores and reports are in {}", self.folder.display());
        }
        misses
    }
}

fn is_refused(seen: &Seen) -> bool {
    let refusal = seen.request.as_ref().and_then(|request| request.refusal.clone());
    seen.outcome == Outcome::EndsWithAssistant || refusal == Some(Refusal::Prefill)
}

fn near_window(session: &Session) -> bool {
    let finished = session.messages.iter().rev().find(|message| message.data["finish"].is_string());
    finished.is_some_and(|message| {
        let tokens = &message.data["tokens"];
        let one = |path: &str| tokens.pointer(path).and_then(Value::as_u64).unwrap_or(0);
        one("/input") + one("/output") + one("/cache/read") + one("/cache/write") >= NEAR_WINDOW
    })
}

/// Cost and tokens of all rows, to the last one.
fn totals(sessions: &BTreeMap<String, Session>) -> (f64, [u64; 5]) {
    let rows = || sessions.values().flat_map(|session| &session.messages);
    let cost = rows().filter_map(|message| message.data["cost"].as_f64()).sum();
    let tokens = ["/input", "/output", "/reasoning", "/cache/read", "/cache/write"]
        .map(|path| rows().filter_map(|message| message.data["tokens"].pointer(path).and_then(Value::as_u64)).sum());
    (cost, tokens)
}

/// The stories of one version: played, and all checks made. The misses.
fn stories(version: &Version) -> Vec<String> {
    let start = Instant::now();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = folder.path().join("played.db");
    let played = scenarios::play(version, &setup::chosen(), &store);
    let mut misses = Vec::new();
    for ((setup, name), why) in &played.missing {
        match why {
            Missing::NotApplicable(why) => {
                println!("opencode {version}, {name} ({}): not applicable: {why}", setup.package);
            }
            Missing::Failed(why) => {
                misses.push(format!("MISS scenario: opencode {version}, {name} ({}): {why}", setup.package));
            }
        }
    }
    println!("opencode {version}: {} sessions played in {:.0} s", played.sessions.len(), start.elapsed().as_secs_f64());
    let names =
        played.sessions.iter().map(|((setup, name), id)| (id.clone(), format!("{name} ({}, {id})", setup.package)));
    let case = Case::new(version, "stories", &store, names.collect());
    case.predict();
    case.repaired();
    case.left_for_a_reason(&["pending-revert", "pending-task", "near-window"], 0);
    case.lossless();
    case.undisturbed();
    case.commands();
    misses.extend(case.finish("stories"));
    misses
}

#[test]
#[ignore = "runs real opencode programs"]
fn stories_are_predicted_and_repaired() {
    let _alone = crate::alone();
    crate::report(&crate::versions().iter().flat_map(stories).collect::<Vec<_>>());
}

/// (e) Sessions changed at random, judged before and after a repair.
fn random(version: &Version) -> Vec<String> {
    if !version.at_least(1, 14, 48) {
        println!(
            "opencode {version}, random changes: not applicable: a rule set's replay is that of its newest measured version, \
             and 1.14.48 is the oldest of those that is compared"
        );
        return Vec::new();
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = folder.path().join("changed.db");
    let (seed, count) = (crate::seed(), crate::mutations());
    let mutants: Vec<Mutant> = mutate::mutants(seed, count, &dump::sources(version), &setup::chosen());
    rows::copy(&fixtures::folder().join(dump::base(version)).join("opencode.db"), &store);
    mutate::insert(&store, &mutants);
    rows::keep_only(&store, &mutants.iter().map(|mutant| mutant.session.id.clone()).collect::<Vec<_>>());
    let names = mutants.iter().enumerate().map(|(number, mutant)| {
        let name = format!("seed {seed}, session {number} of {count} ({}), {}", mutant.session.id, mutant.describe());
        (mutant.session.id.clone(), name)
    });
    let case = Case::new(version, "random", &store, names.collect());
    case.predict();
    case.repaired();
    case.left_for_a_reason(&["pending-revert", "pending-task", "near-window"], 40);
    case.lossless();
    case.undisturbed();
    case.finish(&format!("random changes (seed {seed})"))
}

#[test]
#[ignore = "runs real opencode programs"]
fn random_changes_are_predicted_and_repaired() {
    let _alone = crate::alone();
    crate::report(&crate::versions().iter().flat_map(random).collect::<Vec<_>>());
}

/// Includes that take content out of a history or rewrite more of it than its tail.
const INCLUDES: &str = "at-risk,unmeasured,latent,unsettled,near-window,blank-text,media,calls,signatures";

/// (f) Histories made by hand, through every package: a sample of them, or those that are asked for.
fn matrix(version: &Version) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = folder.path().join("made.db");
    let setups = setup::or_all();
    let made = crate::matrix::make(version, &setups, crate::matrix::sampled(), &store);
    let names = made.iter().map(|(id, (setup, shape))| {
        (id.clone(), format!("{} ({}, {}, {id})", shape.name, setup.provider, setup.package))
    });
    let case = Case::new(version, "matrix", &store, names.collect());
    case.predict();
    case.repaired();
    case.lossless();
    case.undisturbed();
    case.with_everything();
    case.finish("matrix")
}

#[test]
#[ignore = "runs real opencode programs"]
fn every_package_is_predicted_and_repaired() {
    let _alone = crate::alone();
    crate::report(&crate::versions().iter().flat_map(matrix).collect::<Vec<_>>());
}
