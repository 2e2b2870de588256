//! What a person sees of a real store, word for word.

use crate::place::Place;

const DAY: &str = "86400000";

/// The store of 1.18.33 in a place of a fixed name, its sessions touched three days ago.
fn shown(args: &[&str], columns: &str, code: i32) -> String {
    let place = Place::named("1.18.33");
    // Ages are part of the layout: counted from now they stay the same.
    place.edit(&format!("UPDATE session SET time_updated = unixepoch() * 1000 - 3 * {DAY} - 60000"));
    let run = crate::place::Run::of(place.on_store(args).env("COLUMNS", columns)).exits(code);
    assert_eq!(run.stderr, "");
    run.stdout.replace(place.root().to_str().unwrap(), "[place]")
}

fn is_id(word: &str) -> bool {
    word.starts_with("ses_") && word.len() == 30
}

/// Compares with what was approved, whenever the test runs.
fn is_approved(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.add_filter(r"\d{1,2} [A-Z][a-z]{2}( \d{4})? \d\d:\d\d", "[time]");
    settings.bind(|| insta::assert_snapshot!(name, text));
}

#[test]
fn a_scan_in_80_and_120_columns() {
    for columns in ["80", "120"] {
        let text = shown(&["scan"], columns, 1);
        let table: Vec<&str> =
            text.lines().skip_while(|l| !l.starts_with("STATUS")).take_while(|l| !l.is_empty()).collect();
        assert_eq!(table.iter().filter(|l| l.split_whitespace().any(is_id)).count(), 8, "an id is broken: {text}");
        assert!(table.iter().all(|l| l.chars().count() <= columns.parse().unwrap()), "too wide: {text}");
        is_approved(&format!("scan-{columns}"), &text);
    }
}

#[test]
fn a_scan_of_every_session_with_all_that_is_known() {
    is_approved("scan-all-verbose-120", &shown(&["scan", "--all", "--verbose"], "120", 1));
}

#[test]
fn a_scan_in_one_line() {
    is_approved("scan-quiet", &shown(&["scan", "--quiet"], "80", 1));
}

#[test]
fn a_dry_run() {
    // Wide enough that the year, which is shown in later years, breaks no other line.
    is_approved("dry-run-120", &shown(&["repair", "--dry-run"], "120", 1));
    is_approved("dry-run-any-120", &shown(&["repair", "--dry-run", "--opencode", "any"], "120", 1));
}

#[test]
fn a_store_with_nothing_stuck() {
    let place = Place::named("1.18.33");
    place.repair_with(&[]).exits(0);
    let run = place.unstick(&["repair", "--dry-run"]).exits(0);
    assert_eq!(run.stdout, "Nothing to repair: no session is stuck.\n");
    let run = place.unstick(&["scan", "--quiet"]).exits(0);
    assert_eq!(run.stdout, "No session is stuck. (3 latent, 19 healthy)\n");
}
