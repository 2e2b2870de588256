//! What is generated in the documents: the picture of a run (README.md) and the table of versions (docs/findings.md).
//!
//! `docs/make` writes both anew; without it these tests say when they are not current.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::fixtures::{self, Fixture};
use crate::held;
use crate::place::{Place, Run};

/// Columns of the terminal in the picture.
const COLUMNS: &str = "110";
/// The present in the picture, in ms since the epoch: three days after its sessions were touched.
const NOW: &str = "1795512000000";

/// What is run in the picture, one after the other on the same store.
const PICTURE: [(&[&str], i32); 3] = [(&["scan"], 1), (&["repair", "--yes"], 0), (&[], 0)];

/// The titles of its sessions, as people have them.
const TITLES: [(&str, &str); 5] = [
    ("empty-after-orphan", "Move the settings page to the new router"),
    ("empty-after-healthy", "Why is the build slow?"),
    ("abort-text", "Fix the login test"),
    ("overaftertool", "Upgrade to React 19"),
    ("rstpar", "Parse dates with a time zone"),
];

/// Colours of the picture: for light surroundings, then for dark ones.
const STYLE: &str = "\
  .fg { fill: #1f2328 } .bg { fill: #f6f8fa }
    .fg-red, .fg-ansi256-001 { fill: #cf222e } .fg-green, .fg-ansi256-002 { fill: #1a7f37 }
    .dimmed { opacity: 1; fill-opacity: 0.65 }
    @media (prefers-color-scheme: dark) {
      .fg { fill: #e6edf3 } .bg { fill: #161b22 }
      .fg-red, .fg-ansi256-001 { fill: #ff7b72 } .fg-green, .fg-ansi256-002 { fill: #3fb950 }
    }
  </style>";

/// The program as a person calls it: a home with opencode's store and configuration where opencode has them.
fn at_home(place: &Place, args: &[&str]) -> Command {
    let mut command = place.command(args);
    for variable in ["XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"] {
        command.env_remove(variable);
    }
    let home = place.root().join("home/dev");
    command.env("HOME", home).env("COLUMNS", COLUMNS).env("UNSTICK_NOW", NOW).arg("--color=always");
    command
}

/// What the runs print.
fn session_on_screen() -> String {
    let place = Place::empty();
    let home = place.root().join("home/dev");
    let data = home.join(".local/share/opencode");
    let config = home.join(".config/opencode");
    for folder in [&data, &config] {
        fs::create_dir_all(folder).unwrap();
    }
    let fixture = fixtures::one("1.18.33");
    fs::copy(&fixture.db, place.db()).unwrap();
    for (shape, title) in TITLES {
        place.edit(&format!("UPDATE session SET title = '{title}' WHERE title = '{shape}'"));
    }
    // Folders that every machine has.
    place.edit("UPDATE session SET directory = '/'");
    fs::rename(place.db(), data.join("opencode.db")).unwrap();
    let provider = r#"{"npm":"@ai-sdk/anthropic","models":{"claude-opus-4-6":{}}}"#;
    fs::write(config.join("opencode.json"), format!(r#"{{"provider":{{"mock":{provider}}}}}"#)).unwrap();

    let mut screen = String::new();
    for (args, code) in PICTURE {
        let run = Run::of(&mut at_home(&place, args)).exits(code);
        assert_eq!(run.stderr, "");
        let call = [&["unstick"], args].concat();
        let between = if screen.is_empty() { "" } else { "\n" };
        write!(screen, "{between}\u{1b}[2m$\u{1b}[0m \u{1b}[1m{}\u{1b}[0m\n{}", call.join(" "), run.stdout).unwrap();
    }
    screen.replace(place.root().to_str().unwrap(), "")
}

#[test]
fn the_picture_shows_what_the_program_prints() {
    let screen = session_on_screen();
    let svg = anstyle_svg::Term::new().render_svg(screen.trim_end());
    let (size, rest) = svg.strip_prefix("<svg ").unwrap().split_once(" xmlns").unwrap();
    let pixels: Vec<&str> = size.split('"').filter_map(|s| s.strip_suffix("px")).collect();
    let head = format!("<svg {size} viewBox=\"0 0 {} {}\" role=\"img\" xmlns", pixels[0], pixels[1]);
    let title = "  <title>unstick scan finds five stuck sessions, unstick repair mends them</title>";
    let (_, body) = rest.split_once("<style>").unwrap();
    let svg = format!(
        "{head}=\"http://www.w3.org/2000/svg\">\n{title}\n  <style>{}",
        body.replacen("</style>", &format!("  {STYLE}"), 1)
    );
    held::is("docs/picture/run.svg", &svg);
}

/// A fault in the words of somebody who has it, and the shapes of `fixtures/stores` that are it. The first shape that
/// a version's store has decides.
struct Fault {
    what: &'static str,
    shapes: &'static [&'static str],
    litellm: bool,
}

const FAULTS: [Fault; 6] = [
    Fault {
        what: "the connection broke in a tool call, opencode retried",
        shapes: &["rstmidtool", "rst-twice"],
        litellm: false,
    },
    Fault {
        what: "the same, beside a tool call that had completed",
        shapes: &["rstpar", "rst-two-completed"],
        litellm: false,
    },
    Fault { what: "the provider failed after a tool call had completed", shapes: &["overaftertool"], litellm: false },
    Fault {
        what: "you aborted an answer while its text streamed",
        shapes: &["abort-text", "abort-text-second-step"],
        litellm: false,
    },
    Fault { what: "an empty prompt was stored", shapes: &["empty-after-healthy"], litellm: false },
    Fault {
        what: "killed before the first word, behind LiteLLM",
        shapes: &["kill-text", "kill-thinking"],
        litellm: true,
    },
];

/// What became of a fault, from the verdicts of real programs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// Stuck where it happened.
    Stuck,
    /// Sound where it happened, stuck once a newer opencode opens the store.
    AfterUpdate,
    Sound,
}

/// The version that wrote a store.
fn wrote(fixture: &Fixture) -> String {
    let text = fs::read_to_string(fixture.db.with_file_name("sessions.json")).unwrap();
    let header: serde_json::Value = serde_json::from_str(&text).unwrap();
    header["opencode"].as_str().unwrap().to_owned()
}

fn seen(fixture: &Fixture, fault: &Fault) -> Option<Seen> {
    let session = fault.shapes.iter().find_map(|shape| fixture.sessions.sessions.get(*shape))?;
    let retry = &fixture.verdicts[session].retry;
    let stuck = |verdict: &String| verdict == "ends with assistant";
    Some(match (stuck(&retry[&wrote(fixture)]), retry.values().any(stuck)) {
        (true, _) => Seen::Stuck,
        (false, true) => Seen::AfterUpdate,
        (false, false) => Seen::Sound,
    })
}

/// By fault: what is known of each version, in the order of versions.
fn table() -> String {
    let stores = fixtures::all();
    let mut versions: Vec<opencode_unstick::replay::Version> =
        stores.iter().map(|f| wrote(f).parse().unwrap()).collect();
    versions.sort();
    versions.dedup();
    let mut out = String::from("| made by opencode |");
    for version in &versions {
        write!(out, " {version} |").unwrap();
    }
    writeln!(out, "\n|---|{}", "---|".repeat(versions.len())).unwrap();
    for fault in &FAULTS {
        let mut known = BTreeMap::new();
        for store in stores.iter().filter(|f| f.sessions.sdk.contains_key("litellm") == fault.litellm) {
            let Some(seen) = seen(store, fault) else { continue };
            let before = known.insert(wrote(store), seen);
            assert!(before.is_none_or(|b| b == seen), "stores of {} disagree: {}", wrote(store), fault.what);
        }
        write!(out, "| {} |", fault.what).unwrap();
        for version in &versions {
            let word = match known.get(&version.to_string()) {
                Some(Seen::Stuck) => "**stuck**",
                Some(Seen::AfterUpdate) => "later",
                Some(Seen::Sound) => "fine",
                None => "?",
            };
            write!(out, " {word} |").unwrap();
        }
        out.push('\n');
    }
    out
}

/// The texts that people search for are those that the program takes for this fault, one wording a line.
#[test]
fn every_error_that_the_readme_names_is_recognised() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let (_, section) = readme.split_once("## Is this my problem?").unwrap();
    let block = |n: usize| section.split("```").nth(n).unwrap().strip_prefix("text\n").unwrap();
    let (prefill, others) = (block(1), block(3));
    assert!(prefill.lines().count() >= 6 && others.lines().count() >= 8);
    let place = Place::named("1.18.33");
    let refused =
        "FROM message WHERE data ->> '$.error.name' = 'APIError' AND session_id = 'ses_e02af698dffe6x5k00rvAEqXN3'";
    let id = place.text(&format!("SELECT id {refused}"));
    let refuse = |line: &str| {
        place.rewrite("message", &id, |data| {
            let mut row: serde_json::Value = serde_json::from_str(data).unwrap();
            row["error"] = serde_json::json!({"name": "APIError", "data": {"statusCode": 400, "message": line}});
            row.to_string()
        });
    };
    for line in others.lines() {
        refuse(line);
        let classes = place.unstick(&["stats", "--json"]).json()["other_400s_by_class"].clone();
        let classes = classes.as_object().unwrap();
        assert!(classes.len() == 1 && !classes.contains_key("other"), "{line}: {classes:?}");
    }
    for line in prefill.lines() {
        refuse(line);
        let run = place.unstick(&["scan", "--json", "rstpar"]).exits(1);
        assert_eq!(run.json()["sessions"][0]["prefill_400s"], 1, "{line}");
    }
}

#[test]
fn the_table_of_versions_is_what_the_programs_did() {
    let page = held::read("docs/findings.md");
    let (before, rest) = page.split_once("<!-- versions -->\n").expect("the page has the table's first mark");
    let (_, after) = rest.split_once("<!-- /versions -->").expect("the page has the table's second mark");
    held::is("docs/findings.md", &format!("{before}<!-- versions -->\n{}<!-- /versions -->{after}", table()));
}

/// What the README says of updates: no session that was stuck came off by opening it with a newer opencode, and every
/// session, stuck or not, takes a new prompt.
#[test]
fn an_update_frees_no_session_and_a_prompt_gets_past_it() {
    let (mut stuck, mut freed) = (0, Vec::new());
    for fixture in fixtures::all() {
        let own = wrote(&fixture);
        for (id, verdict) in &fixture.verdicts {
            if verdict.retry[&own] == "ends with assistant" {
                stuck += 1;
                freed.extend(
                    verdict
                        .retry
                        .iter()
                        .filter(|(_, v)| *v != "ends with assistant")
                        .map(|(by, _)| format!("{id} by {by}")),
                );
            }
            for (by, seen) in &verdict.prompt {
                assert!(seen == "ends with user" || seen == "runs task", "{id} by {by}: {seen}");
            }
        }
    }
    assert!(stuck > 0 && freed.is_empty(), "{freed:?}");
}
