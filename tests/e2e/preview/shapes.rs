//! Rows that no story makes: what is decoded, what is sent, and what is refused, asked one shape at a time.

use std::path::Path;

use rusqlite::params;
use serde_json::{Value, json};

use super::Protocol;
use super::program::{Home, Mode};
use crate::opencode::MODEL;
use crate::provider::Provider;
use crate::rows;

pub(crate) const TIME: i64 = 1_795_000_000_000;

/// A row: its type and its data.
type Row = (&'static str, String);

/// A session of rows made by hand.
#[derive(Debug, Default)]
pub(crate) struct Shape {
    name: &'static str,
    rows: Vec<Row>,
    /// Rows of `session_pending`: type, data, delivery.
    waiting: Vec<(&'static str, String, Option<&'static str>)>,
    /// Columns of the session: name and value.
    columns: Vec<(&'static str, String)>,
    /// The id of the last row instead of the one that it would have.
    last_id: Option<&'static str>,
}

fn user(text: &str) -> Row {
    ("user", json!({"time": {"created": TIME}, "text": text}).to_string())
}

fn user_with(more: &Value) -> Row {
    ("user", merged(&json!({"time": {"created": TIME}, "text": "see"}), more))
}

/// The object with some members set, or taken out where they are `null` in `more`.
fn merged(object: &Value, more: &Value) -> String {
    let mut object = object.clone();
    for (name, value) in more.as_object().into_iter().flatten() {
        let map = object.as_object_mut().expect("an object");
        if value.is_null() {
            map.remove(name);
        } else {
            map.insert(name.clone(), value.clone());
        }
    }
    object.to_string()
}

fn answer_value(protocol: Protocol) -> Value {
    json!({"time": {"created": TIME, "completed": TIME + 1}, "agent": "build",
        "model": {"id": MODEL, "providerID": protocol.provider(), "variant": "default"},
        "content": [{"type": "text", "text": "Yes."}], "finish": "stop", "cost": 0,
        "tokens": {"input": 1, "output": 1, "reasoning": 0, "cache": {"read": 0, "write": 0}}})
}

fn call(id: &str, state: &Value, more: &Value) -> Value {
    let base = json!({"type": "tool", "id": id, "name": "shell", "state": state, "time": {"created": TIME}});
    serde_json::from_str(&merged(&base, more)).expect("JSON")
}

fn completed() -> Value {
    json!({"status": "completed", "input": {"command": "echo"}, "content": [{"type": "text", "text": "ok"}]})
}

fn failed() -> Value {
    json!({"status": "error", "input": {}, "error": {"type": "tool.execution", "message": "no"}})
}

/// What makes the shapes for one protocol.
struct Maker {
    protocol: Protocol,
    shapes: Vec<Shape>,
}

impl Maker {
    fn add(&mut self, name: &'static str, rows: Vec<Row>) -> &mut Shape {
        self.shapes.push(Shape { name, rows, ..Shape::default() });
        self.shapes.last_mut().expect("it was just added")
    }

    fn answer(&self, more: &Value) -> Row {
        ("assistant", merged(&answer_value(self.protocol), more))
    }

    fn parts(&self, parts: &Value) -> Row {
        self.answer(&json!({"content": parts}))
    }

    /// A prompt, and an answer with some members changed.
    fn answered(&mut self, name: &'static str, more: &Value) {
        let answer = self.answer(more);
        self.add(name, vec![user("go"), answer]);
    }

    fn content(&mut self, name: &'static str, parts: &Value) {
        self.answered(name, &json!({"content": parts}));
    }

    /// A sound exchange, and a row after it.
    fn ends_with(&mut self, name: &'static str, kind: &'static str, data: &Value) {
        let answer = self.answer(&json!({}));
        self.add(name, vec![user("go"), answer, (kind, data.to_string())]);
    }
}

fn undecodable(make: &mut Maker) {
    make.add("user-no-time", vec![("user", json!({"text": "go"}).to_string())]);
    make.add("user-no-text", vec![user_with(&json!({"text": null}))]);
    make.add("user-text-number", vec![user_with(&json!({"text": 3}))]);
    for (name, time) in [
        ("time-huge", json!({"created": 1e20})),
        ("time-negative", json!({"created": -5})),
        ("time-fraction", json!({"created": 1.5})),
        ("time-string", json!({"created": "now"})),
        ("time-array", json!([])),
    ] {
        make.add(name, vec![user_with(&json!({"time": time}))]);
    }
    for (name, data) in [
        ("broken-json", "{\"time\":{\"created\":1},\"text\":\"a"),
        ("data-array", "[]"),
        ("data-string", "\"x\""),
        ("data-null", "null"),
        ("data-number", "3"),
        ("key-twice", "{\"time\":{\"created\":1},\"text\":1,\"text\":\"a\"}"),
        ("extra-keys", "{\"time\":{\"created\":1,\"x\":2},\"text\":\"a\",\"y\":[null]}"),
        ("metadata-array", "{\"time\":{\"created\":1},\"text\":\"a\",\"metadata\":[]}"),
        ("metadata-null", "{\"time\":{\"created\":1},\"text\":\"a\",\"metadata\":null}"),
        ("files-empty", "{\"time\":{\"created\":1},\"text\":\"a\",\"files\":[]}"),
        ("files-null", "{\"time\":{\"created\":1},\"text\":\"a\",\"files\":null}"),
    ] {
        make.add(name, vec![("user", data.to_owned())]);
    }
    for name in ["agent", "model", "content", "time", "finish", "cost", "tokens"] {
        let leaked: &'static str = Box::leak(format!("answer-without-{name}").into_boxed_str());
        make.answered(leaked, &json!({name: null}));
    }
    for (name, more) in [
        ("model-without-provider", json!({"model": {"id": "x"}})),
        ("content-object", json!({"content": {}})),
        ("finish-unknown", json!({"finish": "done"})),
        ("cost-string", json!({"cost": "0"})),
        ("tokens-half", json!({"tokens": {"input": 1, "output": 1}})),
        ("error-without-message", json!({"error": {"type": "x"}})),
        ("error-empty-words", json!({"error": {"type": "", "message": ""}})),
        ("snapshot-array", json!({"snapshot": []})),
        ("snapshot-files-number", json!({"snapshot": {"files": [1]}})),
        ("retry-zero", json!({"retry": {"attempt": 0, "at": 1, "error": {"type": "x", "message": "y"}}})),
        ("retry-half", json!({"retry": {"attempt": 1.5, "at": 1, "error": {"type": "x", "message": "y"}}})),
        ("retry-one", json!({"retry": {"attempt": 1, "at": 1, "error": {"type": "x", "message": "y"}}})),
        ("agent-empty", json!({"agent": ""})),
    ] {
        make.answered(name, &more);
    }
    make.add("id-without-underscore", vec![user("go")]).last_id = Some("msgabcdefabcdef0123456789ab");
    make.ends_with("type-unknown", "telegram", &json!({"time": {"created": TIME}, "text": "x"}));
    make.ends_with("type-idle", "idle", &json!({"time": {"created": TIME}, "outcome": "succeeded"}));
    let moved = json!({"time": {"created": TIME}, "location": {"directory": "/tmp"}});
    make.ends_with("type-location-switched", "location-switched", &moved);
}

fn undecodable_parts(make: &mut Maker) {
    let tool = |state: Value| json!([call("c1", &state, &json!({}))]);
    for (name, state) in [
        ("tool-empty-content", json!({"status": "completed", "input": {}, "content": []})),
        ("tool-no-content", json!({"status": "completed", "input": {}})),
        (
            "tool-input-string",
            json!({"status": "completed", "input": "x", "content": [{"type": "text", "text": "ok"}]}),
        ),
        ("tool-input-array", json!({"status": "completed", "input": [], "content": [{"type": "text", "text": "ok"}]})),
        ("tool-pending", json!({"status": "pending", "input": {}})),
        ("tool-running-no-metadata", json!({"status": "running", "input": {}})),
        ("tool-running", json!({"status": "running", "input": {}, "metadata": {}})),
        ("tool-streaming", json!({"status": "streaming", "input": "{\"a\":"})),
        ("tool-streaming-object", json!({"status": "streaming", "input": {}})),
        (
            "tool-error-empty-content",
            json!({"status": "error", "input": {}, "error": {"type": "a", "message": "b"},
            "content": []}),
        ),
        ("tool-error-no-error", json!({"status": "error", "input": {}})),
        (
            "tool-output-in-metadata",
            json!({"status": "completed", "input": {}, "content": [],
            "metadata": {"output": "ok\n"}}),
        ),
        ("tool-content-unknown", json!({"status": "completed", "input": {}, "content": [{"type": "audio"}]})),
    ] {
        make.content(name, &tool(state));
    }
    let with = |more: Value| json!([call("c1", &completed(), &more)]);
    make.content("tool-no-time", &with(json!({"time": null})));
    make.content("tool-no-name", &with(json!({"name": null})));
    make.content("tool-executed-string", &with(json!({"executed": "yes"})));
    make.content("tool-state-array", &with(json!({"providerState": []})));
    make.content("text-state-array", &json!([{"type": "text", "text": "a", "state": []}]));
    make.content(
        "reasoning-time-empty",
        &json!([{"type": "reasoning", "text": "a", "time": {}}, {"type": "text", "text": "b"}]),
    );
    make.content("part-unknown", &json!([{"type": "file", "text": "a"}]));
    make.content("part-null", &json!([null]));
    let file = |more: Value| {
        let base = json!({"data": "YQ==", "mime": "text/plain", "source": {"type": "inline"}, "name": "a.txt"});
        let file: Value = serde_json::from_str(&merged(&base, &more)).expect("JSON");
        vec![user_with(&json!({"files": [file]}))]
    };
    make.add("file-text", file(json!({})));
    make.add("file-no-source", file(json!({"source": null})));
    make.add("file-source-unknown", file(json!({"source": {"type": "web"}})));
    make.add("file-source-no-uri", file(json!({"source": {"type": "uri"}})));
    make.add("file-not-base64", file(json!({"data": "a b"})));
    make.add("file-unpadded", file(json!({"data": "YQ"})));
    make.add("file-mention-half", file(json!({"mention": {"start": 1}})));
    make.add("file-directory", file(json!({"mime": "application/x-directory", "data": ""})));
    make.add("file-pdf", file(json!({"mime": "application/pdf"})));
    make.add("file-audio", file(json!({"mime": "audio/mpeg"})));
    make.add("file-image-empty", file(json!({"mime": "image/png", "data": ""})));
}

fn other_rows(make: &mut Maker) {
    let at = json!({"created": TIME});
    make.ends_with("synthetic-no-text", "synthetic", &json!({"time": at}));
    make.ends_with("synthetic", "synthetic", &json!({"time": at, "text": "notice"}));
    make.ends_with("synthetic-empty", "synthetic", &json!({"time": at, "text": ""}));
    make.ends_with("skill", "skill", &json!({"time": at, "skill": "s", "name": "S", "text": "do so"}));
    make.ends_with("skill-no-name", "skill", &json!({"time": at, "skill": "s", "text": "do so"}));
    let shell = json!({"time": at, "shellID": "sh_1", "command": "ls", "status": "exited"});
    make.ends_with("shell-no-output", "shell", &shell);
    for (name, more) in [
        ("shell-status-unknown", json!({"status": "done"})),
        ("shell-id", json!({"shellID": "x"})),
        ("shell-output-half", json!({"output": {"output": "a"}})),
        ("shell-output", json!({"output": {"output": "a", "cursor": 1, "size": 1, "truncated": false}})),
        ("shell-cursor-negative", json!({"output": {"output": "a", "cursor": -1, "size": 1, "truncated": false}})),
    ] {
        let data: Value = serde_json::from_str(&merged(&shell, &more)).expect("JSON");
        make.ends_with(name, "shell", &data);
    }
    make.ends_with("system-last", "system", &json!({"time": at, "text": "news <&>"}));
    make.ends_with("agent-switched", "agent-switched", &json!({"time": at, "agent": "plan"}));
    make.ends_with("agent-switched-bad", "agent-switched", &json!({"time": at}));
    let other = json!({"id": "x", "providerID": "y"});
    make.ends_with("model-switched", "model-switched", &json!({"time": at, "model": other}));
    let answer = make.answer(&json!({}));
    let system = ("system", json!({"time": at, "text": "news"}).to_string());
    make.add("system-between", vec![user("a"), system.clone(), answer.clone(), system, user("b"), answer]);
}

fn compactions(make: &mut Maker) {
    let base =
        json!({"time": {"created": TIME}, "status": "completed", "reason": "manual", "summary": "S", "recent": "R"});
    let summary = |more: Value| ("compaction", merged(&base, &more));
    let answer = make.answer(&json!({}));
    let before = || vec![user("old"), answer.clone()];
    let with = |rows: Vec<Row>| before().into_iter().chain(rows).collect::<Vec<Row>>();
    make.add("compaction-last", with(vec![summary(json!({}))]));
    make.add("compaction-then", with(vec![summary(json!({})), user("new"), answer.clone()]));
    make.add(
        "compaction-two",
        with(vec![summary(json!({})), user("mid"), summary(json!({"summary": "T"})), user("n")]),
    );
    let running = summary(json!({"status": "running"}));
    make.add("compaction-running", with(vec![running.clone()]));
    let failed = json!({"time": {"created": TIME}, "status": "failed", "reason": "auto", "error": {"type": "a", "message": "b"}});
    make.add("compaction-failed", with(vec![("compaction", failed.to_string())]));
    make.add("compaction-status-unknown", with(vec![summary(json!({"status": "done"})), user("new")]));
    make.add("compaction-reason-unknown", with(vec![summary(json!({"reason": "why not"})), user("new")]));
    make.add("compaction-no-recent", with(vec![summary(json!({"recent": null})), user("new")]));
    let broken = || ("compaction", "{\"status\":\"comp".to_owned());
    make.add("compaction-broken-old", with(vec![broken(), user("x"), summary(json!({})), user("new")]));
    make.add("compaction-broken-new", with(vec![summary(json!({})), user("x"), broken(), user("new")]));
    let bad = ("user", "{}".to_owned());
    make.add("undecodable-before-compaction", vec![bad.clone(), answer.clone(), summary(json!({})), user("new")]);
    make.add("undecodable-after-compaction", with(vec![summary(json!({})), bad]));
    make.add("compaction-waits", before()).waiting = vec![("compaction", "{}".to_owned(), None)];
    make.add("compaction-waits-and-runs", with(vec![running])).waiting = vec![("compaction", "{}".to_owned(), None)];
    make.add("compaction-waits-alone", vec![]).waiting = vec![("compaction", "{}".to_owned(), None)];
    let full =
        |used: i64| json!({"tokens": {"input": used, "output": 0, "reasoning": 0, "cache": {"read": 0, "write": 0}}});
    make.answered("window-full", &full(192_000));
    make.answered("window-nearly-full", &full(191_999));
    let nothing = make.answer(&json!({"content": [], "tokens": null}));
    let full = make.answer(&full(199_000));
    make.add("window-full-before", vec![user("a"), full, user("b"), nothing]);
}

fn content(make: &mut Maker) {
    let text = |text: &str| json!({"type": "text", "text": text});
    make.content("text-empty", &json!([text("")]));
    make.content("text-blank", &json!([text(" \n")]));
    make.content("text-blank-and-words", &json!([text(" "), text("Yes.")]));
    make.content("text-two", &json!([text("One."), text("Two.")]));
    make.content("text-state-empty", &json!([{"type": "text", "text": "", "state": {"phase": "commentary"}}]));
    let think = |text: &str, state: Value| {
        let base = json!({"type": "reasoning", "text": text});
        let part: Value = serde_json::from_str(&merged(&base, &json!({"state": state}))).expect("JSON");
        json!([part, {"type": "text", "text": "Yes."}])
    };
    make.content("thinking-signed", &think("hm", json!({"signature": "c2ln"})));
    make.content("thinking-unsigned", &think("hm", json!(null)));
    make.content("thinking-blank-unsigned", &think(" ", json!(null)));
    make.content("thinking-signature-empty", &think("hm", json!({"signature": ""})));
    make.content("thinking-foreign", &think("hm", json!({"signature": "Zm9yZWlnbg=="})));
    make.content("thinking-empty-signed", &think("", json!({"signature": "c2ln"})));
    make.content("thinking-empty-state", &think("", json!({})));
    make.content("thinking-redacted", &think("", json!({"redactedData": "eA=="})));
    make.content("thinking-item", &think("hm", json!({"itemId": "rs_1", "reasoningEncryptedContent": "ZW5j"})));
    make.content(
        "thinking-item-foreign",
        &think("hm", json!({"itemId": "rs_1", "reasoningEncryptedContent": "Zm9yZWlnbg=="})),
    );
    make.content("thinking-item-plain", &think("hm", json!({"itemId": "rs_1", "reasoningEncryptedContent": null})));
    make.content("thinking-nested", &think("hm", json!({"anthropic": {"signature": "c2ln"}})));
    make.content("thinking-only", &json!([{"type": "reasoning", "text": "hm", "state": {"signature": "c2ln"}}]));
    let other = |model: Value| json!({"model": model, "content": think("hm", json!({"signature": "c2ln"}))});
    let provider = make.protocol.provider();
    make.answered("thinking-other-model", &other(json!({"id": "claude-sonnet-4-6", "providerID": provider})));
    make.answered("thinking-other-provider", &other(json!({"id": MODEL, "providerID": "elsewhere"})));
    let error = json!({"type": "aborted", "message": "Step interrupted"});
    make.answered("thinking-error", &json!({"error": error, "content": think("hm", json!({"signature": "c2ln"}))}));
    make.answered("empty-answer", &json!({"content": []}));
    let refused = json!({"type": "provider.invalid-request", "message": "Provider request failed with HTTP 400: \
        {\"error\":{\"message\":\"This model does not support assistant message prefill.\"}}"});
    make.answered("empty-refused", &json!({"content": [], "finish": "error", "error": refused}));
    let two = json!([{"type": "reasoning", "text": "a", "state": {"itemId": "rs_1", "reasoningEncryptedContent": null}},
        {"type": "reasoning", "text": "b", "state": {"itemId": "rs_1", "reasoningEncryptedContent": "ZW5j"}}, text("Yes.")]);
    make.content("thinking-item-two-parts", &two);
    let blank = vec![user("go"), make.answer(&json!({})), user(" "), make.answer(&json!({})), user("b")];
    make.add("prompt-blank-between", blank);
    make.add("nothing", vec![]);
    make.add("only-answer", vec![make.answer(&json!({}))]);
}

fn tools(make: &mut Maker) {
    let one = |more: Value| call("c1", &completed(), &more);
    make.content("call-then-text", &json!([one(json!({})), {"type": "text", "text": "after"}]));
    make.content("call-error", &json!([call("c1", &failed(), &json!({}))]));
    make.content("call-id-twice", &json!([one(json!({})), one(json!({}))]));
    let rows = vec![user("a"), make.parts(&json!([one(json!({}))])), make.parts(&json!([one(json!({}))]))];
    make.add("call-id-in-two-rows", rows);
    make.content("call-id-empty", &json!([call("", &completed(), &json!({}))]));
    make.content("call-id-odd", &json!([call("call.1|x", &completed(), &json!({}))]));
    let search = json!({"executed": true, "name": "web_search", "providerState": {"itemId": "ws_1"},
        "providerResultState": {"itemId": "ws_1", "result": [{"type": "web_search_result"}]}});
    make.content("hosted-search", &json!([one(search.clone()), {"type": "text", "text": "found"}]));
    make.content("hosted-unknown", &json!([one(json!({"executed": true})), {"type": "text", "text": "found"}]));
    make.content("hosted-error", &json!([call("c1", &failed(), &json!({"executed": true, "name": "web_fetch"}))]));
    make.content(
        "hosted-running",
        &json!([call("c1", &json!({"status": "running", "input": {}, "metadata": {}}), &search)]),
    );
    let provider = make.protocol.provider();
    let model = json!({"id": "claude-sonnet-4-6", "providerID": provider});
    make.answered(
        "hosted-other-model",
        &json!({"model": model, "content": [one(search.clone()), {"type": "text", "text": "x"}]}),
    );
    let error = json!({"type": "aborted", "message": "Step interrupted"});
    make.answered("hosted-in-error", &json!({"error": error, "content": [one(search)]}));
    let dot = "data:image/png;base64,iVBORw0KGgo=";
    let state = |content: Value| json!({"status": "completed", "input": {}, "content": content});
    let file = |uri: &str, mime: &str| json!({"type": "file", "uri": uri, "mime": mime});
    for (name, content) in [
        ("result-text-two", json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])),
        ("result-image", json!([{"type": "text", "text": "a"}, file(dot, "image/png")])),
        ("result-image-only", json!([file(dot, "image/png")])),
        ("result-image-path", json!([file("file:///nowhere.png", "image/png")])),
        ("result-image-mime", json!([file(dot, "image/jpeg")])),
        ("result-pdf", json!([file("data:application/pdf;base64,YQ==", "application/pdf")])),
        ("result-text-file", json!([file("data:text/plain;base64,YQ==", "text/plain")])),
    ] {
        make.content(name, &json!([call("c1", &state(content), &json!({}))]));
    }
    let image = json!([call("c1", &state(json!([file(dot, "image/png")])), &json!({})), one(json!({"id": "c2"}))]);
    let rows = vec![user("a"), make.parts(&image), make.answer(&json!({}))];
    make.add("result-image-then-answer", rows);
}

fn sessions(make: &mut Maker) {
    let rows = |make: &Maker| vec![user("go"), make.answer(&json!({})), user("on"), make.answer(&json!({}))];
    let provider = make.protocol.provider();
    for (name, column, value) in [
        ("session-model-broken", "model", "{\"id\":".to_owned()),
        ("session-model-no-id", "model", json!({"providerID": provider}).to_string()),
        ("session-model-null", "model", "null".to_owned()),
        ("session-revert-broken", "revert", "{".to_owned()),
        ("session-revert-empty", "revert", "{}".to_owned()),
        ("session-revert-null", "revert", "null".to_owned()),
        ("session-revert-lost", "revert", json!({"messageID": "msg_nowhere"}).to_string()),
        ("session-metadata-broken", "metadata", "{".to_owned()),
        ("session-diffs-broken", "summary_diffs", "[".to_owned()),
        ("session-permission-broken", "permission", "x".to_owned()),
    ] {
        let rows = rows(make);
        make.add(name, rows).columns = vec![(column, value)];
    }
    for (name, kind, data, delivery) in [
        ("waiting-steer", "user", "{\"text\":\"hey\"}", Some("steer")),
        ("waiting-queue", "user", "{\"text\":\"hey\"}", Some("queue")),
        ("waiting-empty", "user", "{\"text\":\"\"}", Some("steer")),
        ("waiting-synthetic", "synthetic", "{\"text\":\"note\"}", Some("steer")),
        ("waiting-broken", "user", "{\"text\":", Some("steer")),
        ("waiting-no-text", "user", "{}", Some("steer")),
        ("waiting-no-delivery", "user", "{\"text\":\"hey\"}", None),
        ("waiting-delivery-unknown", "user", "{\"text\":\"hey\"}", Some("later")),
        ("waiting-type-unknown", "telegram", "{\"text\":\"hey\"}", Some("steer")),
        ("waiting-queue-broken", "user", "{}", Some("queue")),
    ] {
        let rows = rows(make);
        make.add(name, rows).waiting = vec![(kind, data.to_owned(), delivery)];
    }
    let rows = rows(make);
    make.add("waiting-steer-and-queue", rows).waiting =
        vec![("user", "{}".to_owned(), Some("queue")), ("user", "{\"text\":\"b\"}".to_owned(), Some("steer"))];
}

/// All shapes for a protocol.
pub(crate) fn all(protocol: Protocol) -> Vec<Shape> {
    let mut make = Maker { protocol, shapes: Vec::new() };
    undecodable(&mut make);
    undecodable_parts(&mut make);
    other_rows(&mut make);
    compactions(&mut make);
    content(&mut make);
    tools(&mut make);
    sessions(&mut make);
    make.shapes
}

/// Makes a store of the shapes: the preview makes its tables and one session, which the others are copies of.
pub(crate) fn store(protocol: Protocol, store: &Path) -> super::stories::Played {
    store_of(protocol, store, super::stories::wanted)
}

/// [`store`], of some shapes alone.
pub(crate) fn store_of(protocol: Protocol, store: &Path, wanted: impl Fn(&str) -> bool) -> super::stories::Played {
    let provider = Provider::start();
    let home = Home::new(provider.port());
    let server = home.start(Mode::Plain);
    let body = json!({"location": {"directory": home.work()},
        "model": {"providerID": protocol.provider(), "id": MODEL}});
    let answer = server.post("/api/session", &body).expect("a session");
    let first = answer["data"]["id"].as_str().expect("its id").to_owned();
    server.stop();
    let db = rows::open(&home.store());
    let mut names = std::collections::BTreeMap::new();
    for (at, shape) in all(protocol).iter().filter(|shape| wanted(shape.name)).enumerate() {
        let id = format!("ses_{at:012x}shapeshapeshap");
        names.insert(shape.name.to_owned(), id.clone());
        db.execute_batch("DROP TABLE IF EXISTS temp.copy").expect("no copy");
        db.execute("CREATE TEMP TABLE copy AS SELECT * FROM session WHERE id = ?", [&first]).expect("a copy");
        db.execute("UPDATE temp.copy SET id = ?, title = ?", [&id, shape.name]).expect("a name");
        for (column, value) in &shape.columns {
            db.execute(&format!("UPDATE temp.copy SET {column} = ?"), [value]).expect("a column");
        }
        db.execute_batch("INSERT INTO session SELECT * FROM temp.copy").expect("the session");
        insert(&db, &id, at, shape);
    }
    for table in ["event", "event_sequence"] {
        db.execute(&format!("DELETE FROM {table} WHERE aggregate_id = ?"), [&first]).expect("its events");
    }
    db.execute("DELETE FROM session WHERE id = ?", [&first]).expect("the first session");
    drop(db);
    rows::copy(&home.store(), store);
    super::stories::Played { sessions: names, work: home.work() }
}

fn insert(db: &rusqlite::Connection, session: &str, at: usize, shape: &Shape) {
    // Numbers have gaps, as those of events have.
    let mut seq = 5;
    for (nth, (kind, data)) in shape.rows.iter().enumerate() {
        seq += 3;
        let mut id = format!("msg_{:012x}rowrowrowrowro", at * 100 + nth);
        if let Some(last) = shape.last_id.filter(|_| nth + 1 == shape.rows.len()) {
            id = last.to_owned();
        }
        db.execute(
            "INSERT INTO session_message (id, session_id, type, seq, time_created, time_updated, data)
             VALUES (?, ?, ?, ?, ?, ?, ?)",
            params![id, session, kind, seq, TIME, TIME, data],
        )
        .expect("a row");
    }
    for (nth, (kind, data, delivery)) in shape.waiting.iter().enumerate() {
        seq += 1;
        let id = format!("msg_{:012x}waitwaitwaitwa", at * 100 + 50 + nth);
        db.execute(
            "INSERT INTO session_pending (id, session_id, type, data, delivery, admitted_seq, time_created)
             VALUES (?, ?, ?, ?, ?, ?, ?)",
            params![id, session, kind, data, delivery, seq, TIME],
        )
        .expect("a waiting row");
    }
    db.execute("INSERT INTO event_sequence (aggregate_id, seq) VALUES (?, ?)", params![session, seq])
        .expect("a number");
}
