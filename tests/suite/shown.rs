//! What a person sees of a real store, word for word, in terminals of every width.

use std::process::Command;

use unicode_width::UnicodeWidthStr;

use crate::fixtures;
use crate::place::{Place, Run};

/// Three days after the store of 1.18.33 was made, in ms since the epoch.
const NOW: &str = "1795510479474";
const WIDTHS: [usize; 6] = [40, 60, 80, 120, 160, 200];
const NAME: &str = "1.18.33";

fn at(place: &Place, args: &[&str], columns: usize) -> Command {
    let mut command = place.on_store(args);
    command.env("COLUMNS", columns.to_string()).env("UNSTICK_NOW", NOW);
    command
}

/// What is said, with the place's name replaced.
fn shown(place: &Place, args: &[&str], columns: usize, code: i32) -> String {
    let run = Run::of(&mut at(place, args, columns)).exits(code);
    assert_eq!(run.stderr, "");
    run.stdout.replace(place.root().to_str().unwrap(), "[place]")
}

/// Commands and the store's path stand whole, so that they can be copied.
fn stands_whole(line: &str) -> bool {
    ["Why:  unstick ", "Next: unstick ", "Take it back with: unstick ", "[place]/store/opencode.db"]
        .iter()
        .any(|begin| line.starts_with(begin))
}

/// No line is wider than the terminal, and no id is broken: each that begins is 30 characters long.
fn fits(name: &str, text: &str, columns: usize) {
    for line in text.lines().filter(|line| !stands_whole(line)) {
        assert!(line.width() <= columns, "{name}: {} columns in {columns}: {line}", line.width());
        assert_eq!(line, line.trim_end(), "{name}: spaces at the end");
        for prefix in ["ses_", "msg_", "prt_"] {
            for (from, _) in line.match_indices(prefix) {
                let id = line[from..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').count();
                assert_eq!(id, 30, "{name}: an id is broken in {columns}: {line}");
            }
        }
    }
}

/// Compares with what was approved.
fn is_approved(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

fn in_every_width(name: &str, place: &Place, args: &[&str], code: i32) {
    for columns in WIDTHS {
        let text = shown(place, args, columns, code);
        fits(name, &text, columns);
        is_approved(&format!("{name}-{columns}"), &text);
    }
    // Whatever the width: nothing is lost at one that nobody approved.
    for columns in (45..=200).step_by(22) {
        fits(name, &shown(place, args, columns, code), columns);
    }
}

#[test]
fn a_scan() {
    in_every_width("scan", &Place::with_a_short_path(NAME), &["scan"], 1);
}

#[test]
fn a_dry_run() {
    in_every_width("dry-run", &Place::named(NAME), &["repair", "--dry-run"], 1);
}

#[test]
fn statistics() {
    in_every_width("stats", &Place::named(NAME), &["stats"], 0);
}

#[test]
fn an_explanation() {
    in_every_width("explain", &Place::named(NAME), &["explain", "rstpar"], 0);
}

#[test]
fn an_undo() {
    let place = Place::named(NAME);
    Run::of(&mut at(&place, &["repair", "--yes"], 80)).exits(0);
    in_every_width("undo-list", &place, &["undo", "--list"], 0);
    in_every_width("undo", &place, &["undo", "--dry-run"], 0);
}

#[test]
fn a_repair_and_its_undo() {
    let place = Place::named(NAME);
    is_approved("repair-yes-80", &shown(&place, &["repair", "--yes"], 80, 0));
    is_approved("undo-yes-80", &shown(&place, &["undo", "--yes"], 80, 0));
}

#[test]
fn every_session_with_all_that_is_known() {
    let place = Place::named(NAME);
    for columns in [40, 120] {
        let text = shown(&place, &["scan", "--all", "--verbose"], columns, 1);
        fits("scan --all --verbose", &text, columns);
        is_approved(&format!("scan-all-verbose-{columns}"), &text);
    }
    is_approved("dry-run-any-120", &shown(&place, &["repair", "--dry-run", "--opencode", "any"], 120, 1));
}

#[test]
fn every_explanation_and_table_fits() {
    for (name, columns) in [("1.2.27", 40), ("1.14.48-litellm", 61), ("1.18.33-tails", 77), ("1.18.34-litellm", 151)] {
        let fixture = fixtures::one(name);
        let place = Place::of(&fixture);
        for id in fixture.verdicts.keys() {
            fits(name, &shown(&place, &["explain", id], columns, 0), columns);
        }
        for args in [&["stats", "-v"][..], &["stats", "--by", "model"], &["scan", "--all", "-v", "--opencode", "any"]] {
            let run = Run::of(&mut at(&place, args, columns));
            fits(name, &run.stdout.replace(place.root().to_str().unwrap(), "[place]"), columns);
        }
    }
}

#[test]
fn a_session_that_was_refused_for_its_step_limit_is_explained() {
    let text = shown(&Place::named(NAME), &["explain", "maxsteps"], 120, 0);
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("on the last step that an agent is allowed"), "{text}");
    assert!(words.contains("There is nothing to repair."), "{text}");
    let other = shown(&Place::named(NAME), &["explain", "rstpar"], 120, 0);
    assert!(!other.contains("on the last step"), "{other}");
}

#[test]
fn statistics_say_why_a_scan_counts_more_stuck_sessions() {
    let place = Place::named(NAME);
    let text = shown(&place, &["stats"], 120, 0);
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("4 of the 400s keep 4 sessions stuck now; 1 more session is stuck without"), "{text}");
    let json = place.unstick(&["stats", "--json"]).exits(0).json();
    assert_eq!(json["stuck_sessions"], place.scan().document["summary"]["stuck"]);
}

#[test]
fn quiet_is_one_line() {
    let place = Place::named(NAME);
    for (args, code, words) in [
        (&["scan"][..], 1, "5 sessions are stuck"),
        (&["scan", "--stuck"], 1, "5 sessions are stuck"),
        (&["stats"], 0, "9 orphans in 9 sessions"),
        (&["explain", "rstpar"], 0, "stuck, refusal stored"),
        (&["repair", "--dry-run"], 1, "5 sessions would be repaired"),
        (&["undo", "--list"], 0, "No repairs are on record"),
        (&["repair", "--yes"], 0, "Repaired 5 sessions"),
        (&["undo", "--list"], 0, "1 repair can be taken back"),
        (&["undo", "--dry-run"], 0, "5 sessions would be as before"),
        (&["undo", "--yes"], 0, "as before the repair"),
        (&["repair", "--dry-run", "healthy"], 0, "Nothing to repair"),
    ] {
        // The place's path is long, and a line is not broken for it.
        let text = shown(&place, &[args, &["--quiet"]].concat(), 200, code);
        assert_eq!(text.lines().count(), 1, "{args:?}: {text}");
        assert!(text.contains(words), "{args:?}: {text}");
    }
}

const WIDE: &str = "修复解析器的错误并且写一个测试以便它不会再次发生而且让所有人都满意修复解析器的错误并且写一个测试以便它不会再次发生而且让所有人都满意修复解析器的错误并且写一个测试以便它不会再次发生而且让所有人都满意";
const RIGHT_TO_LEFT: &str = "תיקון הבדיקה של המסך הראשון 12";

#[test]
fn wide_titles_are_cut_and_titles_from_right_to_left_end_their_line() {
    let place = Place::named(NAME);
    let titled = |title: &str, old: &str| {
        place.edit(&format!("UPDATE session SET title = '{title}' WHERE title = '{old}'"));
    };
    titled(WIDE, "rstpar");
    titled(RIGHT_TO_LEFT, "abort-text");
    let rstpar = fixtures::one(NAME).id("rstpar").to_owned();
    for columns in (40..=200).step_by(20) {
        for args in [&["scan"][..], &["scan", "-v"], &["repair", "--dry-run"], &["explain", &rstpar]] {
            let run = Run::of(&mut at(&place, args, columns));
            let text = run.stdout.replace(place.root().to_str().unwrap(), "[place]");
            fits("wide", &text, columns);
            let lines: Vec<&str> = text.lines().filter(|l| l.contains("תיקון")).collect();
            assert!(lines.iter().all(|l| l.ends_with("12") || l.ends_with('…')), "{columns}: {lines:?}");
            // In a line of its own it follows its id, which no turning of the line can reach.
            assert!(
                lines.iter().all(|l| !l.trim().starts_with("תיקון") || l.starts_with("  ")),
                "{columns}: {lines:?}"
            );
            let cut: Vec<&str> = text.lines().filter(|l| l.contains("修复")).collect();
            // Narrow, the few that a scan lists are others.
            assert!(columns < 60 || !cut.is_empty(), "{columns} {args:?}: {text}");
            assert!(cut.iter().all(|l| l.ends_with('…') || l.ends_with("满意")), "{cut:?}");
        }
    }
}

/// What stands outside of ASCII must be in the fonts that Windows brings for its terminals.
#[test]
fn symbols_are_in_every_font() {
    const SYMBOLS: [char; 5] = ['·', '…', '░', '█', '▌'];
    for name in [NAME, "1.14.48-litellm"] {
        let place = Place::named(name);
        let mut calls: Vec<Vec<&str>> = vec![
            vec!["scan", "--all", "-v"],
            vec!["stats", "-v"],
            vec!["repair", "--dry-run", "-v"],
            vec!["scan", "nobody"],
            vec!["--help"],
        ];
        calls.extend(["scan", "repair", "undo", "explain", "stats"].map(|c| vec![c, "--help"]));
        for args in calls {
            let run = place.unstick(&args);
            let strange: Vec<char> =
                (run.stdout + &run.stderr).chars().filter(|c| !c.is_ascii() && !SYMBOLS.contains(c)).collect();
            assert!(strange.is_empty(), "{args:?}: {strange:?}");
        }
    }
}

#[test]
fn colours_follow_the_flag_and_the_variables() {
    let place = Place::named(NAME);
    let coloured = |flag: &[&str], variables: &[(&str, &str)]| {
        let mut command = place.on_store(&[&["scan", "--all"], flag].concat());
        command.envs(variables.iter().copied());
        Run::of(&mut command).exits(1).stdout.contains('\u{1b}')
    };
    assert!(!coloured(&[], &[]), "output is no terminal");
    assert!(coloured(&[], &[("CLICOLOR_FORCE", "1")]));
    assert!(!coloured(&[], &[("CLICOLOR_FORCE", "0")]));
    assert!(!coloured(&[], &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]));
    assert!(coloured(&["--color", "always"], &[("NO_COLOR", "1")]));
    assert!(!coloured(&["--color", "never"], &[("CLICOLOR_FORCE", "1")]));
    let error = |flag: &str| {
        let run = place.unstick(&["scan", "nobody", "--color", flag]).exits(2);
        run.stderr.contains('\u{1b}')
    };
    assert!(error("always") && !error("auto"));
}

/// Without colours the same words are said.
#[test]
fn colours_add_nothing_but_colours() {
    let place = Place::named(NAME);
    let escapes = |text: &str| {
        let mut out = String::new();
        let mut inside = false;
        for c in text.chars() {
            match c {
                '\u{1b}' => inside = true,
                'm' if inside => inside = false,
                _ if inside => {}
                c => out.push(c),
            }
        }
        out
    };
    let same_lines = |text: &str| text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
    for args in [&["scan", "-v"][..], &["stats"], &["explain", "rstpar"], &["repair", "--dry-run"]] {
        for columns in [40, 80, 160] {
            let plain = Run::of(&mut at(&place, args, columns)).stdout;
            let coloured = Run::of(&mut at(&place, &[args, &["--color", "always"]].concat(), columns)).stdout;
            assert!(coloured.contains('\u{1b}'));
            assert_eq!(same_lines(&escapes(&coloured)), same_lines(&plain), "{args:?} in {columns}");
        }
    }
}

#[test]
fn several_stores_end_with_a_line_for_each() {
    let place = Place::named(NAME);
    let second = place.root().join("second.db");
    std::fs::copy(fixtures::one("1.2.27").db, &second).unwrap();
    let flag = ["--db", second.to_str().unwrap()];
    let text = shown(&place, &[&["scan", "--stuck"], &flag[..]].concat(), 120, 1);
    let lines: Vec<&str> = text.lines().rev().take(3).collect();
    assert_eq!(
        lines,
        [
            "  [place]/store/opencode.db: 5 sessions are stuck: every retry is refused.",
            "  [place]/second.db: 7 sessions are stuck: every retry is refused.",
            "2 stores, 12 sessions are stuck",
        ]
    );
    let text = shown(&place, &[&["scan", "-q"], &flag[..]].concat(), 120, 1);
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(text.starts_with("[place]/second.db: 7 sessions are stuck"), "{text}");
    let text = shown(&place, &[&["repair", "-n", "-q"], &flag[..]].concat(), 120, 1);
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(text.starts_with("[place]/second.db: Dry run"), "{text}");
    let text = shown(&place, &[&["stats"], &flag[..]].concat(), 120, 0);
    assert!(text.contains("  [place]/second.db: 0 orphans"), "{text}");
    assert!(text.contains("  [place]/store/opencode.db: 9 orphans"), "{text}");
}

#[test]
fn all_stores_are_those_of_every_channel() {
    let place = Place::empty();
    let folder = place.root().join("data/opencode");
    std::fs::create_dir(&folder).unwrap();
    for (name, file) in [(NAME, "opencode.db"), ("1.2.27", "opencode-dev.db")] {
        std::fs::copy(fixtures::one(name).db, folder.join(file)).unwrap();
    }
    let sdk = ["--sdk", "mock=@ai-sdk/anthropic"];
    let run = |args: &[&str]| Run::of(&mut place.command([args, &sdk].concat()));
    let one = run(&["scan"]).exits(1);
    assert!(one.stdout.contains("Not looked at:") && one.stdout.contains("opencode-dev.db"), "{one:?}");
    let all = run(&["scan", "--all-stores", "--json"]).exits(1).json();
    let found: Vec<&str> =
        all["stores"].as_array().unwrap().iter().map(|s| s["store"]["path"].as_str().unwrap()).collect();
    assert_eq!(found, [folder.join("opencode.db").to_str().unwrap(), folder.join("opencode-dev.db").to_str().unwrap()]);
    let quiet = run(&["scan", "--all-stores", "-q"]).exits(1);
    assert_eq!(quiet.stdout.lines().count(), 2, "{quiet:?}");
}

#[test]
fn a_list_of_repairs_needs_no_store() {
    let place = Place::named(NAME);
    Run::of(&mut at(&place, &["repair", "--yes"], 80)).exits(0);
    let list = Run::of(&mut place.command(["undo", "--list"])).exits(0);
    assert!(list.stdout.contains("no store to compare with"), "{list:?}");
    let json = Run::of(&mut place.command(["undo", "--list", "--json"])).exits(0).json();
    assert_eq!(json["journals"][0]["state"], "unknown");
    // Anything else does.
    let run = Run::of(&mut place.command(["undo", "--yes", "--json"])).exits(2);
    assert_eq!(run.json()["error"]["code"], "no-store");
}

#[test]
fn a_session_that_an_undo_leaves_has_its_title() {
    let place = Place::named(NAME);
    Run::of(&mut at(&place, &["repair", "--yes"], 80)).exits(0);
    let id = fixtures::one(NAME).id("abort-text").to_owned();
    place.edit(&format!("UPDATE message SET data = replace(data, '\"stop\"', '\"length\"') WHERE session_id = '{id}'"));
    let text = shown(&place, &["undo", "--yes"], 120, 1);
    assert!(text.contains(&format!("{id}  abort-text\n  left as it is: ")), "{text}");
    assert!(text.contains("1 session is left as it is."), "{text}");
}

#[test]
fn a_store_with_nothing_stuck() {
    let place = Place::named(NAME);
    place.repair_with(&[]).exits(0);
    let run = place.unstick(&["repair", "--dry-run", "-q"]).exits(0);
    assert_eq!(run.stdout, "Nothing to repair: no session is stuck.\n");
    let run = place.unstick(&["scan", "--quiet"]).exits(0);
    assert_eq!(run.stdout, "No session is stuck. (3 latent, 19 healthy)\n");
}

#[test]
fn the_next_command_is_about_the_same_sessions() {
    let place = Place::named(NAME);
    let next = |args: &[&str]| {
        let text = shown(&place, args, 200, 1);
        text.lines().find_map(|l| l.strip_prefix("Next: unstick ")).unwrap().split(" --db").next().unwrap().to_owned()
    };
    assert_eq!(next(&["scan"]), "repair --dry-run");
    assert_eq!(next(&["scan", "rstpar"]), "repair --dry-run rstpar");
    assert_eq!(next(&["scan", "--directory", "/home/dev/work"]), "repair --dry-run --directory /home/dev/work");
    assert_eq!(next(&["repair", "-n", "rstpar", "--include", "latent"]), "repair rstpar --include latent");
}

#[test]
fn no_time_is_too_odd_to_be_shown() {
    for time in [i64::MIN, i64::MAX, -1, 8_640_000_000_000_001] {
        let place = Place::named("1.18.33");
        place.edit(&format!("UPDATE session SET time_updated = {time}; UPDATE message SET time_updated = {time}"));
        place.unstick(&["scan", "--all"]).exits(1);
    }
}
