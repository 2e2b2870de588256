//! What keeps a plan from being carried out is said before any question, by a dry run too, and nothing is touched for it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::fixtures;
use crate::holder::Holder;
use crate::place::{Place, Run, start};
use crate::pty::Pty;

const STORE: &str = "1.18.33";

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A repair ends with `code` before it shows or asks anything; a dry run says the same above its plan and shows it.
fn is_said_first(place: &Place, code: &str, words: &str, more: &[&str], variables: &[(&str, &str)]) {
    let before = place.files();
    let run = |args: &[&str]| Run::of(place.on_store(&[args, more].concat()).envs(variables.iter().copied()));

    let refused = run(&["repair", "--yes", "--json"]).exits(2).json();
    assert_eq!(refused["error"]["code"], code, "{refused}");
    assert!(refused["error"]["message"].as_str().unwrap().contains(words), "{refused}");

    let mut command = place.on_store(&[&["repair"], more].concat());
    command.envs(variables.iter().copied());
    let (exit, shown) = Pty::start(command, start).ends();
    assert_eq!(exit, 2, "{shown}");
    assert!(shown.contains(code) && !shown.contains("[y/N"), "{shown}");

    let dry = run(&["repair", "--dry-run", "--json"]).exits(1).json();
    assert_eq!(dry["obstacles"][0]["code"], code, "{dry}");
    assert_eq!(dry["plan"]["sessions"].as_array().unwrap().len(), 5, "{dry}");
    let text = run(&["repair", "--dry-run"]).exits(1).stdout;
    let (said, plan) =
        (text.find(&format!("Not now [{code}]: ")).unwrap(), text.find("  - splits the answer").unwrap());
    assert!(said < plan && text[..plan].contains("next: "), "{text}");
    before.assert_still(&place.files(), code);
}

#[cfg(target_os = "linux")]
#[test]
fn a_store_that_is_open_elsewhere() {
    let place = Place::named(STORE);
    let holder = Holder::start(&place.db(), "SELECT count(*) FROM message;");
    is_said_first(&place, "store-in-use", "in use by another process (", &[], &[]);
    // Whoever has nothing to write needs nothing.
    place.unstick(&["repair", "--yes", "healthy"]).exits(0);
    holder.close();
    let done = place.unstick(&["repair", "--yes", "--json"]).exits(0).json();
    assert!(done["obstacles"].is_null(), "{done}");
    let holder = Holder::start(&place.db(), "SELECT count(*) FROM message;");
    let dry = place.unstick(&["undo", "--dry-run"]).exits(0).stdout;
    assert!(dry.starts_with("Not now [store-in-use]: "), "{dry}");
    assert_eq!(place.unstick(&["undo", "--json", "--yes"]).exits(2).json()["error"]["code"], "store-in-use");
    let (old, new) = ("/home/dev/work", place.root().display().to_string());
    let dry = place.unstick(&["relink", old, &new, "--dry-run"]).exits(1).stdout;
    assert!(dry.starts_with("Not now [store-in-use]: "), "{dry}");
    assert_eq!(
        place.unstick(&["relink", old, &new, "--json", "--yes"]).exits(2).json()["error"]["code"],
        "store-in-use"
    );
    holder.close();
}

#[test]
fn of_several_stores_one_that_cannot_be_written_is_known_before_another_is() {
    let place = Place::named(STORE);
    let second = place.root().join("second.db");
    fs::copy(fixtures::one("1.2.27").db, &second).unwrap();
    mode(&second, 0o444);
    let before = place.files();
    let refused = place.unstick(&["repair", "--yes", "--db", second.to_str().unwrap()]).exits(2);
    assert!(refused.stderr.contains("no-permission") && refused.stderr.contains("second.db"), "{refused:?}");
    // Whichever comes first.
    let mut command = place.on(&second, &["repair", "--yes"]);
    Run::of(command.arg("--db").arg(place.db())).exits(2);
    before.assert_still(&place.files(), "a repair of two stores");
    mode(&second, 0o644);
    place.unstick(&["repair", "--yes", "--db", second.to_str().unwrap()]).exits(0);
}

#[test]
fn a_file_that_is_read_only() {
    let place = Place::named(STORE);
    mode(&place.db(), 0o444);
    is_said_first(&place, "no-permission", "opencode.db", &[], &[]);
}

#[test]
fn a_folder_that_cannot_be_written() {
    let place = Place::named(STORE);
    mode(&place.folder(), 0o555);
    is_said_first(&place, "no-permission", "/store", &[], &[]);
    mode(&place.folder(), 0o755);
}

#[test]
fn a_journal_folder_that_cannot_be_made() {
    let place = Place::named(STORE);
    let file = place.root().join("file");
    fs::write(&file, "").unwrap();
    let folder = file.join("journals");
    is_said_first(&place, "journal", "is not a folder", &["--journal", folder.to_str().unwrap()], &[]);
}

#[test]
fn no_journal_folder_at_all() {
    let place = Place::named(STORE);
    let run = |args: &[&str]| {
        let mut command = place.on_store(args);
        Run::of(command.env_remove("HOME").env_remove("XDG_STATE_HOME"))
    };
    let refused = run(&["repair", "--yes", "--json"]).exits(2).json();
    assert_eq!(refused["error"]["code"], "no-journal-folder");
    let dry = run(&["repair", "--dry-run", "--json"]).exits(1).json();
    assert_eq!(dry["obstacles"][0]["code"], "no-journal-folder", "{dry}");
}

#[test]
fn a_disk_that_is_full() {
    let place = Place::named(STORE);
    is_said_first(&place, "disk-full", "the disk has 100 bytes left", &[], &[("UNSTICK_FREE", "100")]);
    Run::of(place.on_store(&["repair", "--yes"]).env("UNSTICK_FREE", "1000000")).exits(0);
}

#[test]
fn a_plan_names_the_cause_and_each_question_its_plan() {
    let place = Place::named(STORE);
    let text = place.unstick(&["repair", "--dry-run"]).exits(1).stdout;
    assert!(text.contains("rstpar\n  cause: tool call, then text; refused once\n  - splits the answer"), "{text}");
    let mut pty = Pty::start(place.on_store(&["repair"]), start);
    pty.shows("[y/N/each]");
    pty.types("each");
    for _ in 0..5 {
        pty.shows("  cause: ");
        pty.shows("  - ");
        pty.shows("[y/n/all/quit]");
        pty.types("n");
    }
    assert_eq!(pty.ends().0, 1);
}
