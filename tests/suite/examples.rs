//! Every rule's file shows its rows before and after a repair; here these lines are run.
//!
//! A row is a role and what is in it: `assistant (step-start, tool error interrupted, text, finish "stop")`. A part is its
//! kind, a call's state, a text if it matters (`text "hello"`, `text of 2000000 bytes`), and `with` the paths of its
//! metadata. `Rows after:` is left out where nothing is mended. `Refused:` is the provider's word on the request that
//! follows the rows, `Through:` the provider, `Asked:` how the program is asked.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::built::Built;
use crate::place::Place;

/// A row, as far as an example tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Row {
    role: String,
    parts: Vec<Part>,
    finish: Option<String>,
    error: Option<String>,
}

/// A part, as far as an example tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Part {
    /// `text`, `reasoning`, `step-start`; of a call with its state: `tool error interrupted`.
    kind: String,
    text: Option<String>,
    call: Option<String>,
    /// Paths within the metadata, with their values.
    metadata: BTreeSet<(String, String)>,
}

struct Example {
    code: String,
    before: Vec<Row>,
    /// Nothing where the rule is only reported.
    after: Option<Vec<Row>>,
    refused: Option<String>,
    asked: Vec<String>,
    provider: String,
    model: String,
    /// The service is asked to store what it answers.
    stores: bool,
}

const WORDS: &str = "words";
const PREFILL: &str =
    "This model does not support assistant message prefill. The conversation must end with a user message.";

/// What stands between double quotes, and the rest before it.
fn quoted(item: &str) -> (&str, Option<&str>) {
    match item.split_once('"') {
        Some((rest, text)) => (rest.trim(), Some(text.trim_end_matches('"'))),
        None => (item.trim(), None),
    }
}

fn part(item: &str) -> Part {
    let (what, with) = item.split_once(" with ").unwrap_or((item, ""));
    let (kind, text) = quoted(what);
    let metadata = with.split(" and ").filter(|path| !path.is_empty()).map(|path| {
        let (path, value) = quoted(path);
        (path.to_owned(), value.unwrap_or("x").to_owned())
    });
    let mut out = Part { kind: kind.to_owned(), metadata: metadata.collect(), ..Part::default() };
    match kind.strip_suffix(" callID") {
        Some(kind) => (out.kind, out.call) = (kind.to_owned(), text.map(str::to_owned)),
        None => out.text = text.map(str::to_owned),
    }
    if let Some((kind, size)) = kind.split_once(" of ") {
        let bytes = size.trim_end_matches(" bytes").parse().expect("a text of N bytes");
        (out.kind, out.text) = (kind.to_owned(), Some("x".repeat(bytes)));
    }
    if ["text", "reasoning"].contains(&out.kind.as_str()) {
        out.text.get_or_insert_with(|| WORDS.to_owned());
    }
    out
}

fn row(text: &str) -> Row {
    let (role, items) =
        text.trim().trim_matches('`').split_once(' ').unwrap_or((text.trim().trim_matches('`'), "(text)"));
    let mut out = Row { role: role.to_owned(), ..Row::default() };
    for item in items.trim().trim_start_matches('(').trim_end_matches(')').split(", ") {
        match quoted(item) {
            ("finish", Some(finish)) => out.finish = Some(finish.to_owned()),
            ("no finish" | "no error" | "no parts", _) => {}
            ("MessageAbortedError" | "error 400", _) => out.error = Some(item.to_owned()),
            _ => out.parts.push(part(item)),
        }
    }
    out
}

fn rows(text: &str) -> Vec<Row> {
    // A remark may follow.
    let text = text.split_once("`:").map_or(text, |(rows, _)| rows);
    text.split(" · ").filter(|text| !text.trim().is_empty()).map(row).collect()
}

/// The example of a rule's file; `None` if it gives none.
fn example(file: &Path) -> Option<Example> {
    let text = fs::read_to_string(file).unwrap();
    let lines: Vec<&str> = text.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim).collect();
    // A line that is indented goes on with the one before it.
    let of = |name: &str| {
        let at = lines.iter().position(|line| line.starts_with(name))?;
        let rest = lines[at + 1..].iter().take_while(|line| line.starts_with('`'));
        Some([lines[at].trim_start_matches(name).trim(), &rest.copied().collect::<Vec<_>>().join(" ")].join(" "))
    };
    let through = of("Through:").unwrap_or_default();
    let provider = through.split('`').nth(1).unwrap_or("anthropic").to_owned();
    let model = match provider.as_str() {
        "openai" => "gpt-5",
        "google" => "gemini-3-pro",
        _ => "claude-opus-4-6",
    };
    Some(Example {
        code: lines[0].trim_matches('`').to_owned(),
        before: rows(&of("Rows before:")?),
        after: of("Rows after:").map(|text| rows(&text)),
        refused: of("Refused:").map(|text| text.trim().trim_matches('`').to_owned()),
        asked: of("Asked:")
            .unwrap_or_default()
            .trim()
            .trim_matches('`')
            .split(' ')
            .filter(|w| !w.is_empty())
            .map(str::to_owned)
            .collect(),
        provider,
        stores: through.contains("`store: true`"),
        model: model.to_owned(),
    })
}

fn set(object: &mut Value, path: &str, value: &str) {
    let value = if value == "true" { json!(true) } else { json!(value) };
    let pointer = path.split('.').collect::<Vec<_>>();
    let (last, way) = pointer.split_last().unwrap();
    let mut at = object;
    for step in way {
        at = at.as_object_mut().unwrap().entry((*step).to_owned()).or_insert_with(|| Value::Object(Map::new()));
    }
    at[*last] = value;
}

impl Part {
    fn stored(&self, at: i64, n: usize) -> Value {
        let mut words = self.kind.split(' ');
        let mut out = json!({"type": words.next().unwrap()});
        let state: Vec<&str> = words.collect();
        match out["type"].as_str().unwrap() {
            "text" => out["text"] = json!(self.text),
            "reasoning" => (out["text"], out["time"]) = (json!(self.text), json!({"start": at, "end": at})),
            "tool" => {
                let time = json!({"start": at, "end": at});
                out["tool"] = json!("bash");
                out["callID"] = json!(self.call.clone().unwrap_or_else(|| format!("call_{at}_{n}")));
                out["state"] = match state[..] {
                    ["error", "interrupted"] => {
                        json!({"status": "error", "input": {}, "error": "Tool execution aborted",
                        "metadata": {"interrupted": true}, "time": time})
                    }
                    ["running"] => json!({"status": "running", "input": {}, "time": {"start": at}}),
                    ["error"] => json!({"status": "error", "input": {}, "error": "no", "time": time}),
                    _ => json!({"status": "completed", "input": {}, "output": "done", "title": "t", "metadata": {},
                        "time": time}),
                };
            }
            _ => {}
        }
        for (path, value) in &self.metadata {
            set(&mut out, &format!("metadata.{path}"), value);
        }
        out
    }

    /// What is stored, as far as an example tells of it.
    fn read(stored: &Value, told_of_calls: bool) -> Self {
        let kind = stored["type"].as_str().unwrap().to_owned();
        let mut metadata = BTreeSet::new();
        leaves("", &stored["metadata"], &mut metadata);
        let mut out = Self { kind, metadata, ..Self::default() };
        if out.kind == "tool" {
            let interrupted = stored["state"]["metadata"]["interrupted"] == true;
            let state = stored["state"]["status"].as_str().unwrap();
            out.kind = format!("tool {state}{}", if interrupted { " interrupted" } else { "" });
            out.call = stored["callID"].as_str().filter(|_| told_of_calls).map(str::to_owned);
        } else {
            out.text = stored["text"].as_str().map(str::to_owned);
        }
        out
    }
}

fn leaves(path: &str, value: &Value, out: &mut BTreeSet<(String, String)>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                leaves(&[path, name].join(if path.is_empty() { "" } else { "." }), value, out);
            }
        }
        Value::Null => {}
        value => {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            out.insert((path.to_owned(), value));
        }
    }
}

impl Row {
    fn stored(&self, at: i64, parent: &str, of: &Example) -> Value {
        let (provider, model) = (&of.provider, &of.model);
        if self.role == "user" {
            let model = json!({"providerID": provider, "modelID": model});
            return json!({"role": "user", "time": {"created": at}, "agent": "build", "model": model});
        }
        let mut out = json!({"role": "assistant", "time": {"created": at, "completed": at}, "parentID": parent,
            "modelID": model, "providerID": provider, "mode": "build", "agent": "build", "cost": 0,
            "path": {"cwd": "/", "root": "/"},
            "tokens": {"input": 0, "output": 0, "reasoning": 0, "cache": {"read": 0, "write": 0}}});
        if let Some(finish) = &self.finish {
            out["finish"] = json!(finish);
        }
        match self.error.as_deref() {
            Some("error 400") => {
                let text = of.refused.as_deref().unwrap_or(PREFILL);
                let data = json!({"message": text, "statusCode": 400, "isRetryable": false});
                out["error"] = json!({"name": "APIError", "data": data});
            }
            Some(name) => out["error"] = json!({"name": name, "data": {"message": "The operation was aborted."}}),
            None => {}
        }
        out
    }
}

fn store(of: &Example) -> Place {
    let built = Built::new();
    built.session("it");
    if of.stores {
        let folder = built.place.root().join("config/opencode");
        fs::create_dir_all(&folder).unwrap();
        let models = json!({of.model.clone(): {"options": {"store": true}}});
        let config = json!({"provider": {of.provider.clone(): {"npm": "@ai-sdk/openai", "models": models}}});
        fs::write(folder.join("opencode.json"), config.to_string()).unwrap();
    }
    let mut prompt = String::new();
    let mut before = of.before.clone();
    if of.refused.is_some() {
        before.extend(rows("`user` · `assistant (error 400, no parts)`"));
    }
    for row in &before {
        let id = built.message("it", |at| {
            let parts = row.parts.iter().enumerate().map(|(n, part)| part.stored(at, n));
            (row.stored(at, &prompt, of), parts.collect())
        });
        if row.role == "user" {
            prompt = id;
        }
    }
    built.place
}

/// The rows as they are stored, but for the refusal that an example adds.
fn stored(place: &Place, of: &Example) -> Vec<Row> {
    let db = place.sql();
    let told_of_calls = of.after.iter().flatten().flat_map(|row| &row.parts).any(|part| part.call.is_some());
    let mut statement = db.prepare("SELECT id, data FROM message ORDER BY time_created, id").unwrap();
    let messages = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))).unwrap();
    let mut out: Vec<Row> = messages
        .map(|message| {
            let (id, data) = message.unwrap();
            let data: Value = serde_json::from_str(&data).unwrap();
            let mut parts = db.prepare("SELECT data FROM part WHERE message_id = ?1 ORDER BY id").unwrap();
            let parts = parts.query_map([id], |row| row.get::<_, String>(0)).unwrap();
            let parts = parts.map(|data| Part::read(&serde_json::from_str(&data.unwrap()).unwrap(), told_of_calls));
            let word = |value: &Value| value.as_str().map(str::to_owned);
            let error = word(&data["error"]["name"]);
            Row {
                role: data["role"].as_str().unwrap().to_owned(),
                parts: parts.collect(),
                finish: word(&data["finish"]),
                error: error.map(|name| if name == "APIError" { "error 400".to_owned() } else { name }),
            }
        })
        .collect();
    if of.refused.is_some() {
        out.truncate(out.len() - 2);
    }
    out
}

/// The rows of an example, with what every call of it has.
fn told(rows: &[Row]) -> Vec<Row> {
    let mut rows = rows.to_vec();
    for part in rows.iter_mut().flat_map(|row| &mut row.parts).filter(|part| part.kind == "tool") {
        part.kind = "tool completed".to_owned();
    }
    rows
}

#[test]
fn every_rule_finds_and_mends_the_rows_that_its_file_shows() {
    let mut seen = 0;
    for room in ["rules", "request"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/diagnosis").join(room);
        for file in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let Some(of) = example(&file) else { continue };
            seen += 1;
            let place = store(&of);
            assert_eq!(stored(&place, &of), told(&of.before), "{}: the example is read as it is written", of.code);
            let sdk = format!("{0}=@ai-sdk/{0}", of.provider);
            let asked: Vec<&str> = of.asked.iter().map(String::as_str).collect();
            let (include, how): (Vec<&str>, Vec<&str>) = match asked.iter().position(|word| *word == "--include") {
                Some(at) => (asked[at..at + 2].to_vec(), [&asked[..at], &asked[at + 2..]].concat()),
                None => (Vec::new(), asked),
            };
            let how = if of.stores { how } else { [&["--sdk", &sdk][..], &how].concat() };
            let found = place.scan_with(&how);
            let codes: Vec<&str> = found.session("it")["findings"]
                .as_array()
                .unwrap()
                .iter()
                .map(|f| f["code"].as_str().unwrap())
                .collect();
            assert!(codes.contains(&of.code.as_str()), "{}: {codes:?}", of.code);
            let repair = [&include[..], &how].concat();
            if let Some(after) = &of.after {
                let run = place.repair_with(&repair);
                assert_eq!(stored(&place, &of), told(after), "{}: {}", of.code, run.stdout);
            }
            let again = place.repair_with(&repair).json();
            assert_eq!(again["plan"]["sessions"], json!([]), "{}: a repair has nothing more to do", of.code);
        }
    }
    assert!(seen >= RULES_WITH_ROWS, "{seen} rules show their rows");
}

/// Of the others, the rows are files, or take more than a line.
const RULES_WITH_ROWS: usize = 20;
