//! A write fails, the process is killed in it, the disk is full, power is lost: at every call that changes a file,
//! of the store and of the journal. Whatever happens, the store is as before or as planned, the program has told
//! the truth, and what it kept agrees.
//!
//! The calls are counted and broken by `faults.c`, preloaded into the program as it is. `cargo test` tries where
//! one kind of call follows another; the sweep over every call is run by
//!
//!     cargo test --locked --test suite every_fault -- --ignored --nocapture
//!
//! The exit codes that it counts are those of programs that were not killed.

use std::collections::BTreeMap;
use std::fs;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::dump::Dump;
use crate::holder::Holder;
use crate::place::{Place, Run, start};

/// Every way in which a call goes wrong; the last loses a part of what was not synced.
const WAYS: [&str; 6] = ["kill", "torn", "full", "eio", "power", "rags"];

/// The library that breaks calls.
fn library() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/faults.c");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let fresh = tempfile::Builder::new().prefix("faults-").suffix(".so").tempfile_in(folder).unwrap();
        let cc = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
        let made = Command::new(&cc)
            .args(["-O1", "-shared", "-fPIC", "-o"])
            .arg(fresh.path())
            .arg(&source)
            .arg("-lpthread")
            .output()
            .unwrap_or_else(|e| panic!("{cc}: {e}"));
        assert!(made.status.success(), "{cc}: {}", String::from_utf8_lossy(&made.stderr));
        let path = folder.join("faults.so");
        fresh.persist(&path).unwrap();
        path
    })
}

/// A fault: which call, and what becomes of it.
#[derive(Debug, Clone, Copy)]
struct Fault {
    at: usize,
    how: &'static str,
    seed: u32,
}

/// The calls that were counted, each with the file it was about, and whether the fault came about.
struct Calls {
    names: Vec<String>,
    struck: bool,
}

/// Runs the program with a fault in what lies below `under`.
fn broken(place: &Place, args: &[&str], under: &Path, fault: Fault) -> (Run, Calls) {
    let elsewhere = tempfile::tempdir().unwrap();
    let log = elsewhere.path().join("calls");
    let run = Run::of(
        place
            .on_store(args)
            .env("LD_PRELOAD", library())
            .env("FAULTS_UNDER", under)
            .env("FAULTS_LOG", &log)
            .env("FAULTS_SAVE", elsewhere.path())
            .env("FAULTS_AT", fault.at.to_string())
            .env("FAULTS_HOW", fault.how)
            .env("FAULTS_SEED", fault.seed.to_string()),
    );
    let lines = fs::read_to_string(&log).unwrap_or_default();
    assert!(!lines.contains('?'), "a call that is not covered: {lines}");
    let names = lines.lines().filter(|l| !l.starts_with('!')).map(|l| named(l, place)).collect();
    (run, Calls { names, struck: lines.contains('!') })
}

/// The program, waiting in the middle of its work.
pub struct Paused {
    child: Child,
    elsewhere: TempDir,
}

/// Runs the program until its call of that number, of those that read files of the place or of those that change
/// them.
pub fn paused(place: &Place, args: &[&str], reading: bool, at: usize) -> Paused {
    let elsewhere = tempfile::tempdir().unwrap();
    let log = elsewhere.path().join("calls");
    let mut command = place.on_store(args);
    command
        .env("LD_PRELOAD", library())
        .env("FAULTS_UNDER", place.folder())
        .env("FAULTS_LOG", &log)
        .env("FAULTS_AT", at.to_string())
        .env("FAULTS_HOW", "pause")
        .env("FAULTS_GO", elsewhere.path().join("go"));
    if reading {
        command.env("FAULTS_READS", "1");
    }
    let mut child = start(&mut command);
    while !fs::read_to_string(&log).unwrap_or_default().contains('!') {
        assert!(child.try_wait().unwrap().is_none(), "{args:?} has ended before call {at}");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    Paused { child, elsewhere }
}

impl Paused {
    /// Lets it go on, and waits for its end.
    pub fn goes_on(self) -> Run {
        fs::write(self.elsewhere.path().join("go"), "").unwrap();
        Run::ended(self.child)
    }
}

/// A line of the log without what differs from run to run.
fn named(line: &str, place: &Place) -> String {
    let mut words = line.split(' ').skip(1);
    let (call, path) = (words.next().unwrap(), words.next().unwrap_or_default());
    let below = path.strip_prefix(place.root().to_str().unwrap()).unwrap_or(path);
    let name = below.rsplit('/').next().unwrap();
    // A journal's name holds the time.
    let name = if name.contains('Z') { name.rsplit('.').next().unwrap() } else { name };
    format!("{call} {name}")
}

/// A store before and after a command that writes it.
struct Scene {
    name: String,
    place: Place,
    args: Vec<&'static str>,
    before: Dump,
    after: Dump,
    /// The states that `undo --list` gives, for a store as before and as after.
    states: [Vec<Vec<&'static str>>; 2],
    calls: Vec<String>,
}

const REPAIR: [&str; 3] = ["repair", "--yes", "--json"];
const UNDO: [&str; 3] = ["undo", "--yes", "--json"];

fn states(place: &Place) -> Vec<String> {
    let list = place.unstick(&["undo", "--list", "--json"]).exits(0).json();
    let mut states: Vec<String> =
        list["journals"].as_array().unwrap().iter().map(|j| j["state"].as_str().unwrap().to_owned()).collect();
    // A file that was cut off in its first line has no time to be sorted by.
    states.sort_unstable();
    states
}

/// A real store with a session for each kind of edit, small enough to break every call of its repair.
fn few_sessions() -> Place {
    Place::with_sessions("1.18.33", &["rstpar", "abort-text", "empty-after-orphan", "healthy"])
}

/// How the store lies on disk before the command.
#[derive(Debug, Clone, Copy)]
enum Form {
    /// In rollback mode.
    Rollback,
    /// In WAL mode, closed.
    Wal,
    /// In WAL mode, by a process that was killed: its rows are in the -wal alone.
    Crashed,
}

impl Form {
    const ALL: [Self; 3] = [Self::Rollback, Self::Wal, Self::Crashed];

    fn place(self) -> Place {
        let place = few_sessions();
        match self {
            Self::Rollback => {}
            Self::Wal => place.edit("PRAGMA journal_mode = WAL"),
            Self::Crashed => {
                place.edit("PRAGMA journal_mode = WAL");
                let holder = Holder::start(
                    &place.db(),
                    "PRAGMA wal_autocheckpoint = 0; UPDATE part SET time_updated = time_updated + 1;
                     UPDATE message SET time_updated = time_updated + 1;",
                );
                let held = place.twin();
                holder.kill();
                return held;
            }
        }
        place
    }
}

impl Scene {
    fn repair(form: Form) -> Self {
        let states = [vec![vec![], vec!["never-happened"]], vec![vec!["done"]]];
        Self::new(format!("repair, {form:?}"), form.place(), REPAIR.to_vec(), states)
    }

    fn undo(form: Form) -> Self {
        let place = form.place();
        place.unstick(&REPAIR).exits(0);
        let states = [vec![vec!["done"], vec!["done", "never-happened"]], vec![vec!["done", "taken-back"]]];
        Self::new(format!("undo, {form:?}"), place, UNDO.to_vec(), states)
    }

    fn new(name: String, place: Place, args: Vec<&'static str>, states: [Vec<Vec<&'static str>>; 2]) -> Self {
        let before = place.dump();
        let twin = place.twin();
        let (run, calls) = broken(&twin, &args, twin.root(), Fault { at: 0, how: "kill", seed: 0 });
        run.exits(0);
        assert!(!calls.struck);
        let after = twin.dump();
        assert!(before != after, "{name}");
        Self { name, place, args, before, after, states, calls: calls.names }
    }

    /// Lets one call fail, and looks at what is left. Returns how it ended.
    fn survives(&self, fault: Fault) -> &'static str {
        let place = self.place.twin();
        let (run, calls) = broken(&place, &self.args, place.root(), fault);
        self.is_whole(&place, &run, calls.struck, fault)
    }

    fn is_whole(&self, place: &Place, run: &Run, struck: bool, fault: Fault) -> &'static str {
        let call = self.calls.get(fault.at - 1).map_or("after the last call", String::as_str);
        let at = format!("{}: {fault:?} ({call}): {run:?}", self.name);
        // First what the program itself says of it, before anyone has recovered the store.
        let said = states(place);
        let found = place.dump();
        let same = |dump: &Dump| found.without_times_of_change() == dump.without_times_of_change();
        let new = same(&self.after);
        assert!(new || found == self.before, "neither old nor new: {at} {:?}", self.before.difference(&found));
        match run.code {
            0 => assert!(new, "it said that all was done: {at}"),
            // Where nothing can be written and nothing be read, the program may say that it does not know.
            2 if run.json()["error"]["code"] == "commit-unclear" => {}
            2 | 130 => assert!(!new, "it said that nothing was changed: {at}"),
            -1 => assert!(struck && !["full", "eio"].contains(&fault.how), "{at}"),
            _ => panic!("{at}"),
        }
        assert!(self.states[usize::from(new)].iter().any(|s| *s == said), "{said:?}, new {new}: {at}");
        let db = place.sql();
        for check in
            ["PRAGMA integrity_check", "SELECT coalesce((SELECT 'dangling' FROM pragma_foreign_key_check), 'ok')"]
        {
            assert_eq!(db.query_row(check, [], |row| row.get::<_, String>(0)).unwrap(), "ok", "{at}");
        }
        db.close().unwrap();
        // And it goes on from there.
        if !new {
            place.unstick(&self.args).exits(0);
            let done = place.dump();
            assert!(done.without_times_of_change() == self.after.without_times_of_change(), "again: {at}");
        }
        if self.args[0] == "repair" {
            place.unstick(&UNDO).exits(0);
            let back = place.dump();
            assert!(back == self.before, "taken back: {at} {:?}", self.before.difference(&back));
        }
        match (run.code, new) {
            (0, _) => "done",
            (2, _) if run.json()["error"]["code"] == "commit-unclear" => "does not know",
            (2, _) => "refused",
            (130, _) => "interrupted",
            (_, true) => "cut off, all new",
            (_, false) => "cut off, all old",
        }
    }

    /// The calls at which something else begins: the others are more of the same.
    fn turning_points(&self) -> Vec<usize> {
        let n = self.calls.len();
        (1..=n + 1).filter(|at| *at == 1 || *at > n || self.calls[at - 1] != self.calls[at - 2]).collect()
    }

    /// Tries them all and counts how they end; fails with all that went wrong.
    fn survives_all(&self, faults: impl Iterator<Item = Fault>) -> BTreeMap<(&'static str, &'static str), usize> {
        let mut ends = BTreeMap::new();
        let mut wrong = 0;
        for fault in faults {
            match std::panic::catch_unwind(AssertUnwindSafe(|| self.survives(fault))) {
                Ok(end) => *ends.entry((fault.how, end)).or_default() += 1,
                Err(_) => wrong += 1,
            }
        }
        assert_eq!(wrong, 0, "{}: see above", self.name);
        ends
    }

    /// Tries some: each turning point with two of the ways, in turn.
    fn survives_some(&self) {
        assert!(self.calls.len() > 40, "{}: only {} calls are seen", self.name, self.calls.len());
        let points = self.turning_points().into_iter().enumerate();
        let two = |(n, at)| [WAYS[n % 6], WAYS[(n + 3) % 6]].map(|how| Fault { at, how, seed: 1 });
        let ends = self.survives_all(points.flat_map(two));
        println!("{}: {} calls, {} faults; {ends:?}", self.name, self.calls.len(), ends.values().sum::<usize>());
    }
}

macro_rules! sampled {
    ($($name:ident: $of:ident $form:ident;)*) => {
        $(#[test]
        fn $name() {
            Scene::$of(Form::$form).survives_some();
        })*
    };
}

sampled! {
    a_repair_in_rollback_mode_survives_faults: repair Rollback;
    a_repair_in_wal_mode_survives_faults: repair Wal;
    a_repair_after_a_crash_survives_faults: repair Crashed;
    an_undo_in_rollback_mode_survives_faults: undo Rollback;
    an_undo_in_wal_mode_survives_faults: undo Wal;
    an_undo_after_a_crash_survives_faults: undo Crashed;
}

#[test]
fn ctrl_c_at_any_write_leaves_all_or_nothing_and_says_which() {
    for scene in [Scene::repair(Form::Rollback), Scene::repair(Form::Crashed), Scene::undo(Form::Wal)] {
        let points = scene.turning_points().into_iter().map(|at| Fault { at, how: "int", seed: 0 });
        let ends = scene.survives_all(points);
        // Until the commit it is obeyed; what was committed is said to be done.
        assert!(ends[&("int", "interrupted")] > 5 && ends[&("int", "done")] > 0, "{}: {ends:?}", scene.name);
    }
}

#[test]
fn without_room_for_the_journal_nothing_is_written() {
    let scene = Scene::repair(Form::Rollback);
    let sound = scene.place.twin();
    let (run, calls) = broken(&sound, &REPAIR, &sound.root().join("state"), Fault { at: 0, how: "kill", seed: 0 });
    run.exits(0);
    for how in ["full", "eio"] {
        let mut refused = 0;
        // Up to the first that succeeds: the note after the commit, written and synced.
        for at in 1.. {
            let place = scene.place.twin();
            let before = place.files();
            let fault = Fault { at, how, seed: 0 };
            let (run, _) = broken(&place, &REPAIR, &place.root().join("state"), fault);
            if run.code == 0 {
                break;
            }
            assert_eq!(run.exits(2).json()["error"]["code"], "journal", "{fault:?}");
            before.assert_still(&place.files(), &format!("{fault:?}"));
            refused += 1;
        }
        assert!(refused > 20, "{how}: {refused}");
        assert_eq!(refused + 2, calls.names.len(), "{how}: {:?} is not needed", calls.names.get(refused));
    }
}

/// The disk is full in the middle of the commit, and there is no room for a private copy of what lies there either:
/// whoever says then that nothing was changed has guessed.
#[test]
fn a_commit_of_which_nothing_can_be_known_is_not_said_to_have_failed() {
    let scene = Scene::repair(Form::Rollback);
    let at = 1 + scene.calls.iter().position(|c| c == "pwrite opencode.db").expect("the commit writes the store");
    let place = scene.place.twin();
    let (run, _) = broken(&place, &REPAIR, place.root(), Fault { at, how: "full", seed: 0 });
    assert_eq!(run.exits(2).json()["error"]["code"], "commit-unclear");
    // With room again, the rows tell.
    assert_eq!(states(&place), ["never-happened"]);
    assert!(place.dump() == scene.before);
    place.unstick(&REPAIR).exits(0);
}

#[test]
fn a_backup_and_its_journal_last_when_power_is_lost_right_after_the_repair() {
    for how in ["power", "rags"] {
        let place = few_sessions();
        let before = place.dump();
        let journals = place.root().join("state/of/my/own");
        let args = ["repair", "--yes", "--json", "--backup", "copy.db", "--journal", journals.to_str().unwrap()];
        let (run, calls) = broken(&place, &args, place.root(), Fault { at: 100_000, how, seed: 3 });
        run.exits(0);
        assert!(calls.struck, "no power was lost");
        let copy = Dump::of(&place.root().join("copy.db"));
        assert!(copy == before, "{how}: {:?}", before.difference(&copy));
        place.unstick(&["undo", "--yes", "--journal", journals.to_str().unwrap()]).exits(0);
        assert!(place.dump() == before, "{how}");
    }
}

#[test]
fn a_journal_whose_transaction_is_over_is_not_played_back() {
    let place = few_sessions();
    let scan = place.scan().document;
    fs::write(place.beside("-journal"), [0; 512]).unwrap();
    // There is no room for a private copy, and none is needed.
    let run = Run::of(place.on_store(&["scan", "--all", "--json"]).env("TMPDIR", "/nowhere")).exits(1);
    assert_eq!(run.json()["sessions"], scan["sessions"]);
    place.repair_with(&[]).exits(0);
}

#[test]
fn where_nothing_can_be_printed_the_exit_code_still_tells_of_the_store() {
    let full = || std::process::Stdio::from(fs::File::options().write(true).open("/dev/full").unwrap());
    let place = few_sessions();
    let before = place.files();
    // A plan that could not be shown is not carried out.
    let run = Run::of(place.on_store(&["repair", "--yes"]).stdout(full())).exits(2);
    assert!(run.stderr.contains("error[failed]: "), "{run:?}");
    before.assert_still(&place.files(), "a plan that could not be shown");
    // The document is printed when all is done.
    let run = Run::of(place.on_store(&REPAIR).stdout(full())).exits(0);
    assert!(run.stderr.contains("it was done"), "{run:?}");
    assert_eq!(place.scan().titles("stuck"), Vec::<&str>::new());
    Run::of(place.on_store(&UNDO).stdout(full())).exits(0);
    assert_eq!(place.scan().titles("stuck").len(), 3);
}

#[test]
#[ignore = "takes minutes: every call of six scenes, in every way"]
fn every_fault_at_every_call() {
    // What is not synced by a power loss is drawn from four times.
    let ways: Vec<(&str, u32)> =
        WAYS.iter().flat_map(|how| (1..=if *how == "rags" { 4 } else { 1 }).map(move |seed| (*how, seed))).collect();
    let scenes = Form::ALL.into_iter().flat_map(|form| [Scene::repair(form), Scene::undo(form)]);
    let scenes: Vec<Scene> = scenes.collect();
    let sweep = |scene: &Scene| {
        let calls = 1..=scene.calls.len() + 1;
        let faults = ways.iter().flat_map(|(how, seed)| calls.clone().map(move |at| Fault { at, how, seed: *seed }));
        let ends = scene.survives_all(faults);
        println!("{}: {} calls; {ends:?}", scene.name, scene.calls.len());
        ends.values().sum::<usize>()
    };
    let all: usize = std::thread::scope(|scope| {
        let halves: Vec<_> =
            scenes.chunks(3).map(|half| scope.spawn(|| half.iter().map(sweep).sum::<usize>())).collect();
        halves.into_iter().map(|half| half.join().unwrap()).sum()
    });
    println!("{all} faults, all survived");
}
