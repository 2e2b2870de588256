//! JSON: every document is what its schema says, the files of docs/schema are what the program prints, and what
//! version 1 once wrote is there for ever.

use std::collections::{BTreeMap, BTreeSet};

use opencode_unstick::report::{Document, schema};
use serde_json::Value;
use strum::IntoEnumIterator;

use crate::fixtures;
use crate::held;
use crate::place::{Place, Run};

/// The schema with every object closed: a member that it does not name is then an error.
fn closed(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut out: serde_json::Map<String, Value> =
                members.iter().map(|(name, value)| (name.clone(), closed(value))).collect();
            if out.contains_key("properties") && !out.contains_key("additionalProperties") {
                out.insert("additionalProperties".to_owned(), false.into());
            }
            Value::Object(out)
        }
        Value::Array(items) => items.iter().map(closed).collect(),
        other => other.clone(),
    }
}

/// Checks a document against its schema, and against that with every object closed.
struct Checker(BTreeMap<String, [jsonschema::Validator; 2]>);

impl Checker {
    fn new() -> Self {
        let validators = |document: Document| {
            let schema = schema(document).to_value();
            [schema.clone(), closed(&schema)].map(|s| jsonschema::validator_for(&s).unwrap())
        };
        Self(Document::iter().map(|d| (d.to_string(), validators(d))).collect())
    }

    fn check(&self, document: Document, value: &Value, from: &str) {
        for validator in &self.0[&document.to_string()] {
            let wrong: Vec<String> = validator
                .iter_errors(value)
                .take(3)
                .map(|e| format!("{} at {}", e.masked(), e.instance_path()))
                .collect();
            assert!(wrong.is_empty(), "{from} is no {document}: {wrong:?}");
        }
    }
}

/// Which document a call writes.
fn document(args: &[&str], run: &Run) -> Document {
    let has = |flag: &str| args.contains(&flag);
    match args[0] {
        _ if run.code == 2 => Document::Error,
        "scan" if has("--json-lines") => Document::ScanLine,
        "scan" => Document::Scan,
        "repair" => Document::Repair,
        "undo" if has("--list") => Document::UndoList,
        "undo" => Document::Undo,
        "relink" => Document::Relink,
        "explain" => Document::Explain,
        "stats" => Document::Stats,
        other => panic!("{other}"),
    }
}

/// The documents of a run: one, or one a line.
fn documents(document: Document, run: &Run) -> Vec<Value> {
    match document {
        Document::ScanLine => run.stdout.lines().map(|l| serde_json::from_str(l).unwrap()).collect(),
        _ => vec![run.json()],
    }
}

#[test]
fn the_schema_files_are_what_the_types_say() {
    let mut files = BTreeSet::new();
    for document in Document::iter() {
        let made = serde_json::to_string_pretty(&schema(document)).unwrap() + "\n";
        held::is(&format!("docs/schema/{document}.json"), &made);
        files.insert(format!("{document}.json"));
    }
    let entries = std::fs::read_dir(held::path("docs/schema")).unwrap();
    let there: BTreeSet<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(there, files);
}

#[test]
fn the_program_prints_the_schema_files() {
    let place = Place::empty();
    for document in Document::iter() {
        let printed = Run::of(&mut place.command(["schema", &document.to_string()])).exits(0);
        assert!(printed.stdout == held::read(&format!("docs/schema/{document}.json")), "{document}");
    }
}

#[test]
fn every_document_of_every_store_is_what_its_schema_says() {
    let checker = Checker::new();
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    for fixture in fixtures::all() {
        let place = Place::of(&fixture);
        let sessions: Vec<&str> = fixture.verdicts.keys().map(String::as_str).collect();
        // Every third is enough of the many that are alike.
        let explained = sessions.iter().step_by(3).map(|id| vec!["explain", id, "--json", "--text"]);
        let everything = "at-risk,latent,unsettled,near-window";
        let calls = [
            vec!["scan", "--all", "--json", "--opencode", "any"],
            vec!["scan", "--stuck", "--json"],
            vec!["scan", "--all", "--json-lines"],
            vec!["stats", "--json", "--by", "day"],
            vec!["repair", "--dry-run", "--json", "--text", "--include", everything],
            vec!["repair", "--json"],
            vec!["repair", "--yes", "--json", "--opencode", "any"],
            vec!["undo", "--list", "--json"],
            vec!["undo", "--dry-run", "--json"],
            vec!["undo", "--yes", "--json"],
            vec!["undo", "--list", "--json"],
            vec!["undo", "--json"],
            vec!["relink", "--json"],
            vec!["relink", "/home/dev/work", "/tmp", "--dry-run", "--json"],
            vec!["scan", "nobody", "--json"],
        ];
        for args in explained.chain(calls) {
            let run = place.unstick(&args);
            let document = document(&args, &run);
            for value in documents(document, &run) {
                checker.check(document, &value, &format!("{}: {args:?}", fixture.name));
                *seen.entry(document.to_string()).or_default() += 1;
            }
        }
    }
    let missing: Vec<Document> = Document::iter().filter(|d| !seen.contains_key(&d.to_string())).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn json_lines_are_the_sessions_of_the_document_one_a_line() {
    let place = Place::named("1.18.33");
    let lines = place.unstick(&["scan", "--all", "--json-lines"]).exits(1);
    let sessions: Vec<Value> = documents(Document::ScanLine, &lines);
    assert_eq!(Value::from(sessions), place.scan().document["sessions"]);
}

/// Every member by its path, with the types of its values. Elements of a list share a path; so do the members of a
/// map whose names are data.
fn members(value: &Value, path: &str, out: &mut BTreeSet<(String, &'static str)>) {
    const MAPS: [&str; 9] =
        ["/fields", "/by_tool", "/by_model", "/by_version", "/by_day", "/by_cause", "/by_wrapper", "/before", "/after"];
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    out.insert((path.to_owned(), kind));
    match value {
        Value::Array(items) => items.iter().for_each(|item| members(item, &format!("{path}[]"), out)),
        Value::Object(map) => {
            for (name, value) in map {
                let name = if MAPS.iter().any(|m| path.ends_with(m)) { "*" } else { name };
                members(value, &format!("{path}/{name}"), out);
            }
        }
        _ => {}
    }
}

/// What version 1 wrote on the day that it was recorded is written today: every member, with the same type.
/// A recording is never changed; later members get a recording of their own.
#[test]
fn every_recorded_member_is_still_there_with_its_type() {
    let mut recordings = 0;
    for entry in std::fs::read_dir(held::path("tests/suite/recorded")).unwrap() {
        let file = entry.unwrap().path();
        let recording: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        let place = Place::named(recording["store"].as_str().unwrap());
        let other = place.root().join("other.db");
        std::fs::copy(fixtures::one("1.2.27").db, &other).unwrap();
        place.edit(recording["sql"].as_str().unwrap());
        for call in recording["calls"].as_array().unwrap() {
            let args: Vec<&str> = call["args"]
                .as_array()
                .unwrap()
                .iter()
                .map(|a| if a == "OTHER" { other.to_str().unwrap() } else { a.as_str().unwrap() })
                .collect();
            let run = place.unstick(&args);
            assert_eq!(Value::from(run.code), call["exit"], "{args:?} of {}", file.display());
            let today =
                if call["output"].is_array() { Value::from(documents(Document::ScanLine, &run)) } else { run.json() };
            let (mut was, mut is) = (BTreeSet::new(), BTreeSet::new());
            members(&call["output"], "", &mut was);
            members(&today, "", &mut is);
            let gone: Vec<_> = was.difference(&is).take(5).collect();
            assert!(gone.is_empty(), "{args:?} of {} no longer writes {gone:?}", file.display());
        }
        recordings += 1;
    }
    assert!(recordings >= 3);
}
