//! `stats`: the figures of a store that is built here for them, the causes of every refusal that real programs
//! have stored, and putting reports together.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::fixtures;
use crate::place::{Place, Run};

/// What stands in every text of the built store, and may stand in no output.
const SECRET: &str = "xyzzy-words-of-a-person";
const REFUSED: &str =
    "This model does not support assistant message prefill. The conversation must end with a user message.";
const DAY: i64 = 86_400_000;
/// The closest pair of opencode's issue 26177.
const CLOSEST: (i64, i64) = (1_777_464_448_632, 1_777_464_448_637);

/// A store that is built row by row.
struct Built {
    db: Connection,
    place: Place,
    rows: i64,
}

/// A session of it that is being written.
struct Writer<'b> {
    built: &'b mut Built,
    id: String,
    at: i64,
    parent: String,
    model: &'static str,
}

impl Built {
    fn new() -> Self {
        let place = Place::empty();
        let db = Connection::open(place.db()).unwrap();
        db.execute_batch(include_str!("built.sql")).unwrap();
        Self { db, place, rows: 0 }
    }

    fn id(&mut self, prefix: &str, ms: i64) -> String {
        self.rows += 1;
        format!("{prefix}_{:012x}{:014}", (ms * 4096 + self.rows) & 0xffff_ffff_ffff, self.rows)
    }

    fn session(&mut self, version: &str, at: i64, model: &'static str) -> Writer<'_> {
        let id = self.id("ses", at);
        self.db
            .execute(
                "INSERT INTO session VALUES (?1, 'global', NULL, 's', ?2, ?3, ?4, NULL, ?5, ?5)",
                (&id, format!("/home/{SECRET}"), format!("title {SECRET}"), version, at),
            )
            .unwrap();
        Writer { built: self, id, at, parent: String::new(), model }
    }

    fn done(self) -> Place {
        self.db.close().unwrap();
        self.place
    }
}

impl Writer<'_> {
    fn message(&mut self, at: i64, mut data: Value, parts: &[Value]) -> String {
        self.at = at;
        let id = self.built.id("msg", at);
        data["time"] = json!({ "created": at });
        self.built
            .db
            .execute("INSERT INTO message VALUES (?1, ?2, ?3, ?3, ?4)", (&id, &self.id, at, data.to_string()))
            .unwrap();
        for part in parts {
            let part_id = self.built.id("prt", at);
            let values = (&part_id, &id, &self.id, at, part.to_string());
            self.built.db.execute("INSERT INTO part VALUES (?1, ?2, ?3, ?4, ?4, ?5)", values).unwrap();
        }
        id
    }

    fn prompt(&mut self, parts: &[Value]) {
        let data = json!({ "role": "user", "agent": "build",
            "model": { "providerID": "anthropic", "modelID": self.model } });
        self.parent = self.message(self.at + 1_000, data, parts);
    }

    fn answer(&mut self, at: i64, finish: Option<&str>, error: Option<Value>, parts: &[Value]) -> String {
        let mut data = json!({ "role": "assistant", "parentID": self.parent, "agent": "build", "mode": "build",
            "providerID": "anthropic", "modelID": self.model, "cost": 0,
            "tokens": { "input": 0, "output": 0, "reasoning": 0, "cache": { "read": 0, "write": 0 } } });
        if let Some(finish) = finish {
            data["finish"] = finish.into();
        }
        if let Some(error) = error {
            data["error"] = error;
        }
        self.message(at, data, parts)
    }

    /// A refusal, stored as opencode stores it.
    fn refusal(&mut self, at: i64, message: &str) {
        self.answer(at, None, Some(api_error(400, message)), &[]);
    }

    /// An answer whose stream broke in `orphans` tool calls and was tried again.
    fn broken(&mut self, starts: &[i64]) {
        let mut parts = vec![json!({ "type": "step-start" }), text("I look.")];
        parts.extend(starts.iter().map(|start| orphan(*start)));
        parts.extend([json!({ "type": "step-start" }), text("Done.")]);
        let at = self.at + 1_000;
        self.answer(at, Some("stop"), None, &parts);
    }
}

fn text(words: &str) -> Value {
    json!({ "type": "text", "text": format!("{words} {SECRET}") })
}

fn api_error(status: i64, message: &str) -> Value {
    json!({ "name": "APIError", "data": { "statusCode": status, "isRetryable": false,
        "message": message, "responseBody": format!("{{\"error\":\"{SECRET}\"}}") } })
}

fn tool(status: &str, start: i64, metadata: &Value) -> Value {
    let mut state = json!({ "status": status, "input": { "command": SECRET },
        "time": { "start": start, "end": start }, "metadata": metadata });
    state[if status == "error" { "error" } else { "output" }] = format!("Tool execution aborted {SECRET}").into();
    json!({ "type": "tool", "callID": "toolu_1", "tool": "bash", "state": state })
}

fn orphan(start: i64) -> Value {
    tool("error", start, &json!({ "interrupted": true }))
}

/// A store with the figures of opencode's issue 26177, and everything beside them that must not count.
fn seed() -> Place {
    let mut built = Built::new();
    let (orphan_at, refused_at) = CLOSEST;
    let opus = "claude-opus-4-6";

    // The closest pair, three retries, and a session that ends there: 1 orphan, 4 refusals.
    let mut s = built.session("1.14.34", orphan_at - 60_000, opus);
    s.prompt(&[text("Do it.")]);
    s.at = orphan_at - 5_000;
    s.broken(&[orphan_at]);
    s.refusal(refused_at, REFUSED);
    for n in 1..=3 {
        s.refusal(refused_at + n * 7_000, REFUSED);
    }
    // The one on the other model, from which a prompt went on: 3 orphans, 1 refusal.
    let mut s = built.session("1.14.34", orphan_at - 2 * DAY, "claude-opus-4-7");
    s.prompt(&[text("Do it.")]);
    let at = s.at;
    s.broken(&[at + 1_100, at + 1_200, at + 1_900]);
    s.refusal(at + 1_950, REFUSED);
    s.prompt(&[text("Go on.")]);
    let at = s.at;
    s.answer(at + 500, Some("stop"), None, &[text("Gone on.")]);
    // Two prompts, each with an orphan, two refusals behind the first and three behind the second; the orphan of
    // the first prompt is not the one that led to those of the second: 2 orphans, 5 refusals.
    let mut s = built.session("1.14.34", orphan_at - DAY, opus);
    for refusals in [2, 3] {
        s.prompt(&[text("Do it.")]);
        let at = s.at;
        s.broken(&[at + 1_200]);
        for n in 1..=refusals {
            s.refusal(at + 1_200 + n * 40, REFUSED);
        }
    }
    // An orphan that a compaction has cut off the history, and refusals that so have none: 1 orphan, 2 refusals.
    let mut s = built.session("1.14.34", orphan_at - 3 * DAY, opus);
    s.prompt(&[text("Do it.")]);
    let at = s.at;
    s.broken(&[at + 1_200]);
    s.at += 10_000;
    s.prompt(&[json!({ "type": "compaction", "auto": false })]);
    let (at, parent) = (s.at + 500, s.parent.clone());
    let mut summary = json!({ "role": "assistant", "parentID": parent, "mode": "compaction", "agent": "compaction",
        "providerID": "anthropic", "modelID": opus, "cost": 0, "finish": "stop", "summary": true });
    summary["tokens"] = json!({ "input": 1, "output": 1, "reasoning": 0, "cache": { "read": 0, "write": 0 } });
    s.message(at, summary, &[text("Summary.")]);
    s.prompt(&[text("Next.")]);
    let at = s.at;
    s.answer(at + 500, Some("stop"), None, &[text("Yes.")]);
    s.prompt(&[]);
    let at = s.at;
    s.refusal(at + 1, "litellm.BadRequestError: AnthropicException - b'{\"message\":\"assistant message prefill\"}'");
    s.refusal(at + 9_000, "Conversation must end with a user message.");
    // A refusal one millisecond after the closest pair's orphan, in a session without one; an orphan comes after
    // it: 1 orphan, 2 refusals (one of them before the orphan).
    let mut s = built.session("1.14.34", orphan_at - 4 * DAY, opus);
    s.at = orphan_at - 3_000;
    s.prompt(&[text("Do it.")]);
    s.answer(orphan_at - 500, None, Some(aborted()), &[text("I was about to")]);
    s.refusal(orphan_at + 1, REFUSED);
    s.at = orphan_at + 1_000;
    s.prompt(&[text("Do it.")]);
    let at = s.at;
    s.broken(&[at + 1_200]);
    s.refusal(at + 1_290, "The model returned the following errors: assistant message prefill");
    // The step limit: a refusal after a tool's result: 1 refusal.
    let mut s = built.session("1.14.34", orphan_at - 5 * DAY, opus);
    s.prompt(&[text("Do it.")]);
    let at = s.at;
    s.answer(at + 500, Some("tool-calls"), None, &[tool("completed", at + 600, &json!({}))]);
    s.refusal(at + 700, "Azure_aiException - {\"message\":\"assistant message prefill\"}");

    // Orphans without refusals, the rest of the 71: 63 in 21 sessions of another version.
    for n in 0..21 {
        let mut s = built.session("1.18.33", orphan_at - 6 * DAY + n * 3_600_000, opus);
        s.prompt(&[text("Do it.")]);
        let at = s.at;
        s.broken(&[at + 1_200, at + 1_300, at + 1_400]);
    }

    // What looks like an orphan or a refusal and is none, close to the closest pair in time.
    let mut s = built.session("1.18.33", orphan_at - 10_000, opus);
    s.prompt(&[text("{\"interrupted\":true} Tool execution aborted, assistant message prefill")]);
    let decoys = [
        tool("error", orphan_at, &json!({})),
        tool("error", orphan_at, &json!({ "interrupted": false })),
        tool("error", orphan_at, &json!({ "interrupted": "true" })),
        tool("completed", orphan_at, &json!({ "interrupted": true })),
        json!({ "type": "reasoning", "text": format!("interrupted true {REFUSED} {SECRET}") }),
        text(&format!("\"metadata\":{{\"interrupted\":true}} {REFUSED}")),
    ];
    s.answer(orphan_at - 100, Some("stop"), None, &decoys);
    s.answer(orphan_at + 2, None, Some(api_error(400, "prompt is too long: 214345 tokens > 200000 maximum")), &[]);
    s.answer(orphan_at + 3, None, Some(api_error(400, "invalid_request_error: bad tool name")), &[]);
    s.answer(orphan_at + 4, None, Some(api_error(529, REFUSED)), &[]);
    s.prompt(&[text("Well?")]);
    let at = s.at;
    s.answer(at + 500, Some("stop"), None, &[text("Well.")]);

    // Leaked calls: two that count, and two in code.
    let mut s = built.session("1.18.33", orphan_at - 20_000, opus);
    s.prompt(&[text("<invoke name=\"bash\"> said the user")]);
    let at = s.at;
    let leaks = [
        text("I run it.\n\n<function_calls>\n<invoke name=\"bash\">\n<parameter name=\"command\">"),
        text(&format!("<{}:invoke name=\"read\">", ["ant", "ml"].concat())),
        text("Write it like this:\n```xml\n<invoke name=\"bash\">\n```\n"),
        text("Write `<function_calls>` like this:\n~~~\n<function_calls>\n"),
    ];
    s.answer(at + 500, Some("stop"), None, &leaks);
    built.done()
}

fn aborted() -> Value {
    json!({ "name": "MessageAbortedError", "data": { "message": "aborted" } })
}

fn report(place: &Place, more: &[&str]) -> Value {
    place.unstick(&[&["stats", "--json"], more].concat()).exits(0).json()
}

#[test]
fn the_seeds_figures_come_out_and_nothing_beside_them() {
    let place = seed();
    let doc = report(&place, &[]);
    assert_eq!(doc["schema_version"], 1);
    assert_eq!(doc["command"], "stats");
    assert_eq!(doc["store"]["path"], Value::Null);
    assert_eq!(doc["orphans"]["total"], 71, "{:#}", doc["orphans"]["by_version"]);
    assert_eq!(doc["orphans"]["sessions"], 26);
    assert_eq!(doc["orphans"]["by_tool"], json!({ "bash": 71 }));
    assert_eq!(doc["orphans"]["by_version"], json!({ "1.14.34": 8, "1.18.33": 63 }));
    let refused = &doc["prefill_400s"];
    assert_eq!(refused["total"], 15);
    assert_eq!(refused["sessions"], 6);
    assert_eq!(refused["by_model"], json!({ "anthropic/claude-opus-4-6": 14, "anthropic/claude-opus-4-7": 1 }));
    assert_eq!(refused["by_provider"], json!({ "anthropic": 15 }));
    assert_eq!(refused["removed_by_repair"], 0);
    assert_eq!(
        refused["by_wrapper"],
        json!({ "anthropic": 11, "bedrock": 1, "litellm": 1, "azure-litellm": 1, "other": 1 })
    );
    assert_eq!(
        refused["by_cause"],
        json!({ "orphan-refire": 5, "failed-again": 7, "empty-prompt": 1, "aborted-text": 1, "step-limit": 1 })
    );
    assert_eq!(
        refused["by_root_cause"],
        json!({ "orphan-refire": 11, "empty-prompt": 2, "aborted-text": 1, "step-limit": 1 })
    );
    assert_eq!(refused["by_day"]["2026-04-29"], 6, "{}", refused["by_day"]);
    assert_eq!(doc["other_400s"], 2);
    assert_eq!(doc["leaked_calls"], 2);
    assert!(doc["leaked_items"].as_array().unwrap().iter().all(|l| l["code"] == "leaked-tool-call-text"));
    let pairs = doc["pairs"].as_array().unwrap();
    assert_eq!(pairs.len(), 15, "one per refusal");
    let closest = pairs.iter().filter(|p| !p["delta_ms"].is_null()).min_by_key(|p| p["delta_ms"].as_i64()).unwrap();
    assert_eq!(closest["delta_ms"], 5);
    assert_eq!((&closest["orphan_time_ms"], &closest["error_time_ms"]), (&json!(CLOSEST.0), &json!(CLOSEST.1)));
    assert_eq!(doc["deltas"]["min_ms"], 5);
    // Without an orphan: the two after the compaction, the one in the session before its orphan, the step limit.
    let alone: Vec<&Value> = pairs.iter().filter(|p| p["part_id"].is_null()).collect();
    assert_eq!(alone.len(), 4);
    assert!(alone.iter().all(|p| p["delta_ms"].is_null() && p["orphan_time_ms"].is_null()));
    // Each prompt's refusals go with that prompt's own orphan.
    let deltas: Vec<i64> = pairs.iter().filter_map(|p| p["delta_ms"].as_i64()).collect();
    for delta in [40, 80, 120, 50, 90] {
        assert!(deltas.contains(&delta), "{delta} in {deltas:?}");
    }
    let stuck = &refused["still_stuck"];
    assert_eq!(stuck["sessions"], 4, "{stuck}");
    assert_eq!(stuck["total"], 10, "{stuck}");
    let histogram: Vec<(Option<i64>, u64)> = doc["deltas"]["histogram"]
        .as_array()
        .unwrap()
        .iter()
        .map(|b| (b["from_ms"].as_i64(), b["count"].as_u64().unwrap()))
        .collect();
    assert_eq!(histogram.iter().map(|(_, n)| n).sum::<u64>(), 11);
    assert_eq!(histogram[0], (Some(0), 1), "the closest pair is alone below ten milliseconds");
}

#[test]
fn no_output_holds_what_a_person_wrote() {
    let place = seed();
    let svg = place.root().join("out.svg");
    let svg = svg.to_str().unwrap();
    let runs: [&[&str]; 3] = [&["stats"], &["stats", "-v", "--svg", svg], &["stats", "--json"]];
    for args in runs {
        let run = place.unstick(args).exits(0);
        assert!(!run.stdout.contains(SECRET) && !run.stderr.contains(SECRET), "{args:?}: {run:?}");
    }
    assert!(!fs::read_to_string(svg).unwrap().contains(SECRET));
    let path = place.db();
    let json = place.unstick(&["stats", "--json"]).stdout;
    assert!(!json.contains(path.parent().unwrap().to_str().unwrap()), "a report holds no path");
}

#[test]
fn nothing_is_written_by_looking() {
    let place = seed();
    place.unchanged_by(&[&["stats"], &["stats", "--json"], &["stats", "--by", "day"]]);
}

/// A scenario's name, and the causes of its refusals.
type Causes = &'static [(&'static str, &'static [&'static str])];

/// The cause of every refusal that the fixtures hold, in the order of its session. `rstpar` has an orphan and a
/// completed tool in one row, of which either would do for the older programs; the one that also counts for the
/// newer ones names it.
const CAUSES: &[(&str, Causes)] = &[
    ("1.14.34", OLDER),
    ("1.15.3", OLDER),
    (
        "1.17.11",
        &[
            ("empty-after-healthy", &["empty-prompt"]),
            ("empty-after-orphan", &["empty-prompt"]),
            ("maxsteps", &["step-limit"]),
            ("rstpar", &["completed-tool-refire"]),
        ],
    ),
    (
        "1.18.33",
        &[
            ("empty-after-healthy", &["empty-prompt"]),
            ("empty-after-orphan", &["empty-prompt"]),
            ("maxsteps", &["step-limit"]),
            ("overaftertool", &["completed-tool-refire"]),
            ("rstpar", &["completed-tool-refire"]),
        ],
    ),
    (
        "1.18.33-tails",
        &[
            ("buried-completed", &["completed-tool-refire"]),
            ("revert-part", &["completed-tool-refire"]),
            ("revert-plain", &["completed-tool-refire"]),
            ("tail-kept", &["completed-tool-refire"]),
        ],
    ),
    ("1.14.48", STORIES_1_14),
    ("1.14.48-litellm", STORIES_1_14),
    ("1.18.34", STORIES_1_18),
    ("1.18.34-litellm", STORIES_1_18_LITELLM),
    ("1.15.13", BASIC_1_15),
    ("1.15.13-litellm", BASIC_1_15),
    ("1.18.20", BASIC_1_18),
    ("1.18.20-litellm", BASIC_1_18),
    ("1.18.34-basic", BASIC_1_18),
    ("1.18.34-basic-litellm", BASIC_1_18),
    ("1.18.34-responses", IMAGE),
    ("1.18.34-gemini", IMAGE),
    ("1.18.34-or", &[]),
    ("1.2.27", OLDEST),
    ("1.3.0", OLDEST),
    ("1.3.0-litellm", OLDEST),
];
const OLDER: Causes = &[
    ("empty-after-healthy", &["empty-prompt"]),
    ("empty-after-orphan", &["orphan-refire", "empty-prompt"]),
    ("maxsteps", &["step-limit"]),
    ("overaftertool", &["completed-tool-refire"]),
    ("overmidtool", &["orphan-refire"]),
    ("recovered", &["orphan-refire"]),
    ("rstmidtool", &["orphan-refire"]),
    ("rstpar", &["completed-tool-refire"]),
    ("rstthink", &["orphan-refire"]),
];
/// `child` is the session of the subagent whose stream was reset.
const STORIES_1_14: Causes = &[
    ("buried-completed", &["completed-tool-refire"]),
    ("child", &["completed-tool-refire"]),
    ("compacted-then-reset", &["completed-tool-refire"]),
    ("deleted-orphan", &["completed-tool-refire"]),
    ("empty-after-healthy", &["empty-prompt"]),
    ("empty-after-orphan", &["orphan-refire", "empty-prompt"]),
    ("failed-again", &["completed-tool-refire", "failed-again"]),
    ("fork", &["completed-tool-refire"]),
    ("forked", &["completed-tool-refire"]),
    ("maxsteps", &["step-limit"]),
    ("recovered", &["orphan-refire"]),
    ("recovered-400", &["step-limit"]),
    ("revert-onto-orphan", &["orphan-refire"]),
    ("revert-part", &["completed-tool-refire"]),
    ("revert-plain", &["completed-tool-refire"]),
    ("rst-image", &["completed-tool-refire"]),
    ("rst-running-tool", &["completed-tool-refire"]),
    ("rst-twice", &["orphan-refire"]),
    ("rst-two-completed", &["completed-tool-refire"]),
    ("rstmidtool", &["orphan-refire"]),
    ("rstpar", &["completed-tool-refire"]),
    ("rstthink", &["orphan-refire"]),
    ("tail-kept", &["completed-tool-refire"]),
];
const STORIES_1_18: Causes = &[
    ("child", &["completed-tool-refire"]),
    ("compacted-then-reset", &["completed-tool-refire"]),
    ("deleted-orphan", &["completed-tool-refire"]),
    ("failed-again", &["completed-tool-refire", "failed-again"]),
    ("fork", &["completed-tool-refire"]),
    ("forked", &["completed-tool-refire"]),
    ("recovered-400", &["step-limit"]),
    ("rst-image", &["completed-tool-refire"]),
    ("rst-two-completed", &["completed-tool-refire"]),
];
/// The story with an image ends without a refusal here.
const STORIES_1_18_LITELLM: Causes = &[
    ("child", &["completed-tool-refire"]),
    ("compacted-then-reset", &["completed-tool-refire"]),
    ("deleted-orphan", &["completed-tool-refire"]),
    ("failed-again", &["completed-tool-refire", "failed-again"]),
    ("fork", &["completed-tool-refire"]),
    ("forked", &["completed-tool-refire"]),
    ("recovered-400", &["step-limit"]),
    ("rst-two-completed", &["completed-tool-refire"]),
];
const BASIC_1_15: Causes = &[("empty-after-healthy", &["empty-prompt"]), ("rstpar", &["completed-tool-refire"])];
const BASIC_1_18: Causes = &[
    ("empty-after-healthy", &["empty-prompt"]),
    ("overaftertool", &["completed-tool-refire"]),
    ("rstpar", &["completed-tool-refire"]),
];
const IMAGE: Causes = &[("rst-image", &["completed-tool-refire"])];
const OLDEST: Causes = &[
    ("empty-after-healthy", &["empty-prompt"]),
    ("empty-after-orphan", &["empty-prompt"]),
    ("maxsteps", &["step-limit"]),
];

#[test]
fn every_refusal_of_a_real_store_gets_the_cause_that_its_scenario_had() {
    let mut refusals = 0;
    for fixture in fixtures::all() {
        let expected =
            CAUSES.iter().find(|(name, _)| *name == fixture.name).unwrap_or_else(|| panic!("{}", fixture.name)).1;
        let expected: BTreeMap<&str, Vec<&str>> = expected.iter().map(|(n, c)| (*n, c.to_vec())).collect();
        let place = Place::of(&fixture);
        let doc = report(&place, &[]);
        let names: BTreeMap<&str, &str> =
            fixture.sessions.sessions.iter().map(|(name, id)| (id.as_str(), name.as_str())).collect();
        let mut found: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for pair in doc["pairs"].as_array().unwrap() {
            refusals += 1;
            let name = names.get(pair["session_id"].as_str().unwrap()).copied().unwrap_or("child");
            found.entry(name).or_default().push(pair["cause"].as_str().unwrap());
        }
        assert_eq!(found, expected, "{}", fixture.name);
        let wrapper = if fixture.name.ends_with("-litellm") { "azure-litellm" } else { "anthropic" };
        let expected: Vec<&str> = (!found.is_empty()).then_some(wrapper).into_iter().collect();
        let wrappers: Vec<&String> = doc["prefill_400s"]["by_wrapper"].as_object().unwrap().keys().collect();
        assert_eq!(wrappers, expected, "{}", fixture.name);
    }
    assert_eq!(refusals, 129);
}

/// What a case writes into its session, starting with a prompt that is there already.
type Write = fn(&mut Writer<'_>);

#[test]
fn causes_that_no_fixture_has() {
    let cases: &[(&str, &str, Write, &[&str])] = &[
        (
            "an orphan, by a version that nobody measured",
            "1.14.28",
            |s| {
                let at = s.at;
                s.broken(&[at + 1_100]);
                s.refusal(at + 1_105, REFUSED);
            },
            &["orphan-refire"],
        ),
        (
            "an orphan, by a version that cannot be read",
            "local",
            |s| {
                let at = s.at;
                s.broken(&[at + 1_100]);
                s.refusal(at + 1_105, REFUSED);
            },
            &["orphan-refire"],
        ),
        (
            "an orphan in a session of a version that stops there: an older one must have run",
            "1.18.33",
            |s| {
                let at = s.at;
                s.broken(&[at + 1_100]);
                s.refusal(at + 1_105, REFUSED);
            },
            &["orphan-refire"],
        ),
        (
            "tools, then text, marked as going on",
            "1.3.0",
            |s| {
                let at = s.at;
                let parts = [tool("completed", at + 900, &json!({})), json!({ "type": "step-start" }), text("So.")];
                s.answer(at + 1_000, Some("tool-calls"), None, &parts);
                s.refusal(at + 1_100, REFUSED);
            },
            &["completed-tool-refire"],
        ),
        (
            "killed while text streamed",
            "1.18.33",
            |s| {
                let at = s.at;
                s.answer(at + 1_000, None, None, &[text("I was about")]);
                s.refusal(at + 2_000, REFUSED);
            },
            &["aborted-text"],
        ),
        (
            "an answer without a word behind a finished one",
            "1.18.33",
            |s| {
                let at = s.at;
                s.answer(at + 1_000, Some("stop"), None, &[text("Done.")]);
                s.answer(at + 2_000, None, None, &[json!({ "type": "text", "text": "" })]);
                s.refusal(at + 3_000, REFUSED);
            },
            &["empty-answer"],
        ),
        (
            "a retry after a failure of another kind",
            "1.18.33",
            |s| {
                let at = s.at;
                s.answer(at + 1_000, Some("stop"), None, &[text("Done.")]);
                s.answer(at + 2_000, None, Some(api_error(529, "overloaded")), &[]);
                s.refusal(at + 3_000, REFUSED);
                s.refusal(at + 4_000, REFUSED);
            },
            &["failed-again", "failed-again"],
        ),
        (
            "an empty prompt, and a retry of it",
            "1.18.33",
            |s| {
                let at = s.at;
                s.answer(at + 1_000, Some("stop"), None, &[text("Done.")]);
                s.at = at + 2_000;
                s.prompt(&[]);
                s.refusal(at + 4_000, REFUSED);
                s.refusal(at + 5_000, REFUSED);
            },
            &["empty-prompt", "failed-again"],
        ),
        (
            "a finished answer: nothing stored sends a request",
            "1.18.33",
            |s| {
                let at = s.at;
                s.answer(at + 1_000, Some("stop"), None, &[text("Done.")]);
                s.refusal(at + 2_000, REFUSED);
            },
            &["unexplained"],
        ),
        (
            "a prompt's first step: no row tells who added the turn",
            "1.18.33",
            |s| {
                let at = s.at;
                s.refusal(at + 1_000, REFUSED);
            },
            &["unexplained"],
        ),
    ];
    let mut built = Built::new();
    let mut expected: BTreeMap<String, (&str, &[&str])> = BTreeMap::new();
    for (at, (name, version, write, causes)) in cases.iter().enumerate() {
        let mut s = built.session(version, CLOSEST.0 + i64::try_from(at).unwrap() * DAY, "claude-opus-4-6");
        s.prompt(&[text("Do it.")]);
        write(&mut s);
        expected.insert(s.id.clone(), (name, causes));
    }
    let doc = report(&built.done(), &["--sdk", "anthropic=@ai-sdk/anthropic"]);
    for (id, (name, causes)) in expected {
        let pairs = doc["pairs"].as_array().unwrap().iter().filter(|p| p["session_id"] == id.as_str());
        let found: Vec<&str> = pairs.map(|p| p["cause"].as_str().unwrap()).collect();
        assert_eq!(found, causes, "{name}");
    }
}

#[test]
fn a_revert_that_is_pending_takes_nothing_from_the_history_of_a_refusal() {
    let doc = report(&Place::named("1.18.33-tails"), &[]);
    assert!(doc["pairs"].as_array().unwrap().iter().all(|p| p["delta_ms"].as_i64().is_some_and(|d| d < 10)));
}

#[test]
fn time_and_keys_cut_the_tables() {
    let place = seed();
    let of = |more: &[&str]| report(&place, more);
    // Before the day of the closest pair: the sessions made earlier. The refusals of that day are six.
    let day = "2026-04-29T00:00Z";
    assert_eq!(of(&["--since", day])["prefill_400s"]["total"], 6);
    assert_eq!(of(&["--until", day])["prefill_400s"]["total"], 9);
    assert_eq!(
        of(&["--since", day])["orphans"]["total"].as_u64().unwrap()
            + of(&["--until", day])["orphans"]["total"].as_u64().unwrap(),
        71
    );
    assert_eq!(of(&["--since", day])["since_ms"], 1_777_420_800_000_i64);
    assert_eq!(of(&["--since", day])["leaked_calls"], 2);
    assert_eq!(of(&["--until", day])["other_400s"], 0);
    let by = of(&["--by", "model"])["by"].clone();
    assert_eq!(by["key"], "model");
    assert_eq!(
        by["rows"][0],
        json!({ "key": "anthropic/claude-opus-4-6", "orphans": 68, "prefill_400s": 14, "sessions": 26,
                "still_stuck": 10, "closest_ms": 5 })
    );
    for (key, first) in [("provider", "anthropic"), ("version", "1.14.34"), ("tool", "bash"), ("day", "2026-04-23")] {
        assert_eq!(of(&["--by", key])["by"]["rows"][0]["key"], first, "{key}");
    }
    let bad = place.unstick(&["stats", "--since", "yesterday", "--json"]).exits(2);
    assert_eq!(bad.json()["error"]["code"], "bad-time");
}

#[cfg(unix)]
#[test]
fn a_picture_is_drawn_to_a_new_private_file_alone() {
    use std::os::unix::fs::{MetadataExt, symlink};

    let place = seed();
    let file = place.root().join("out.svg");
    let draw = |path: &Path| place.unstick(&["stats", "--svg", path.to_str().unwrap()]);
    let said = draw(&file).exits(0).stderr;
    assert_eq!(said.trim_end(), format!("written to {}", file.display()));
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    let drawn = fs::read_to_string(&file).unwrap();
    let svg = roxmltree::Document::parse(&drawn).unwrap();
    let count = |tag: &str| svg.descendants().filter(|n| n.has_tag_name(tag)).count();
    // One mark each: triangles for the orphans, circles for the refusals, and a ring for each that still counts.
    assert!(count("polygon") >= 71, "{}", count("polygon"));
    assert_eq!(count("circle"), 15 + 10);
    let words: String = svg.descendants().filter_map(|n| n.text()).collect();
    for part in ["71 orphans", "orphan re-fired (5)", "failed tail again (7)", "under 10 ms"] {
        assert!(words.contains(part), "{part} in {words}");
    }

    let again = draw(&file).exits(2);
    assert!(again.stderr.contains("is there already"), "{again:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), drawn);
    let elsewhere = place.root().join("elsewhere");
    let link = place.root().join("link.svg");
    symlink(&elsewhere, &link).unwrap();
    draw(&link).exits(2);
    assert!(!elsewhere.exists(), "a link is not followed");
    // Nothing to draw is drawn as that.
    let empty = place.root().join("empty.svg");
    place.unstick(&["stats", "--until", "2020-01-01", "--svg", empty.to_str().unwrap()]).exits(0);
    roxmltree::Document::parse(&fs::read_to_string(&empty).unwrap()).unwrap();
}

#[test]
fn several_stores_are_one_document_and_none_counts_twice() {
    let (one, other) = (Place::named("1.14.34"), Place::named("1.18.33"));
    let mut command = one.on_store(&["stats", "--json"]);
    let both = Run::of(command.arg("--db").arg(other.db())).exits(0).json();
    assert_eq!(both["stores"].as_array().unwrap().len(), 2);
    assert_eq!(both["prefill_400s"]["total"], 15);
    assert_eq!(both["store"]["path"], Value::Null);
    assert_eq!(both["stores"][1]["prefill_400s"], report(&other, &[])["prefill_400s"], "each store is there as it is");
    let copy = one.root().join("copy.db");
    fs::copy(one.db(), &copy).unwrap();
    let again = Run::of(one.on_store(&["stats", "--json"]).arg("--db").arg(&copy)).exits(0);
    assert_eq!(again.json()["prefill_400s"]["total"], 10);
    assert!(again.stderr.contains("not counted"), "{again:?}");
}

#[test]
fn refusals_that_repairs_removed_are_counted_until_they_are_undone() {
    let place = Place::named("1.14.34");
    assert_eq!(report(&place, &[])["prefill_400s"]["removed_by_repair"], 0);
    let before = report(&place, &[])["prefill_400s"]["total"].as_u64().unwrap();
    place.repair_with(&[]).exits(0);
    let doc = report(&place, &[]);
    let removed = doc["prefill_400s"]["removed_by_repair"].as_u64().unwrap();
    assert_eq!(removed, 8);
    assert_eq!(doc["prefill_400s"]["total"].as_u64().unwrap() + removed, before);
    assert_eq!(doc["prefill_400s"]["still_stuck"]["total"], 0);
    place.unstick(&["undo", "--yes"]).exits(0);
    assert_eq!(report(&place, &[])["prefill_400s"]["removed_by_repair"], 0);
}

#[test]
fn a_row_that_cannot_be_read_is_said_and_its_session_gets_no_cause() {
    let place = Place::named("1.14.34");
    let fixture = fixtures::one("1.14.34");
    let id = &fixture.sessions.sessions["rstmidtool"];
    place.edit(&format!("UPDATE part SET data = '5' WHERE id = (SELECT max(id) FROM part WHERE session_id = '{id}')"));
    let doc = report(&place, &[]);
    assert_eq!(doc["unreadable_rows"], 1);
    assert_eq!(doc["prefill_400s"]["total"], 10);
    let pair = doc["pairs"].as_array().unwrap().iter().find(|p| p["session_id"] == id.as_str()).unwrap();
    assert_eq!(pair["cause"], "unexplained");
    assert_eq!(pair["still_stuck"], false, "nobody can tell");
}

#[test]
fn leaked_calls_are_found_by_scan_too() {
    let doc = seed().scan().document;
    let found: Vec<&Value> = doc["sessions"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|s| s["findings"].as_array().unwrap())
        .filter(|f| f["code"] == "leaked-tool-call-text")
        .collect();
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|f| f["applicability"] == "report-only" && f["part_id"].is_string()));
}

#[test]
fn tables_fit_the_terminal() {
    use unicode_width::UnicodeWidthStr;

    let place = seed();
    for columns in ["60", "80", "120"] {
        for args in [&["stats", "-v"][..], &["stats"], &["stats", "--by", "tool"]] {
            let run = Run::of(place.on_store(args).env("COLUMNS", columns)).exits(0);
            let path = place.db();
            let fits = |line: &&str| line.width() > columns.parse().unwrap() && !line.contains(path.to_str().unwrap());
            let wide: Vec<&str> = run.stdout.lines().filter(fits).collect();
            assert!(wide.is_empty(), "{columns}: {wide:#?}");
        }
    }
    let run = place.unstick(&["stats"]).exits(0);
    assert!(
        run.stdout.contains("71 orphans in 26 sessions, 15 prefill 400s in 6 sessions. Closest pair: 5 ms."),
        "{run:?}"
    );
}
