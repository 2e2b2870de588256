//! Histories made by hand, in which an answer holds what packages treat differently: the same rows for the programs that
//! are asked and for the replay that predicts them.

use serde_json::{Value, json};

/// A row of a history: its JSON and that of its parts, ids aside.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) data: Value,
    pub(crate) parts: Vec<Value>,
}

/// A history under its name.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) name: String,
    pub(crate) rows: Vec<Row>,
}

/// For whom rows are made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct For<'a> {
    pub(crate) provider: &'a str,
    pub(crate) package: &'a str,
    pub(crate) model: &'a str,
    /// Another model of the same provider.
    pub(crate) other: &'a str,
}

/// A file of one pixel.
pub(crate) const DOT: &str = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";
const PDF: &str = "data:application/pdf;base64,JVBERi0xLjQK";

fn start() -> Value {
    json!({"type": "step-start"})
}

fn finish(reason: &str) -> Value {
    json!({"type": "step-finish", "reason": reason, "cost": 0,
        "tokens": {"input": 0, "output": 0, "reasoning": 0, "cache": {"read": 0, "write": 0}}})
}

fn text(words: &str) -> Value {
    json!({"type": "text", "text": words, "time": {"start": 1, "end": 2}})
}

fn thought(words: &str) -> Value {
    json!({"type": "reasoning", "text": words, "time": {"start": 1, "end": 2}})
}

fn with(mut part: Value, metadata: Value) -> Value {
    part["metadata"] = metadata;
    part
}

fn call(id: &str, state: impl Into<Value>) -> Value {
    json!({"type": "tool", "callID": id, "tool": "bash", "state": state.into()})
}

fn done() -> Value {
    json!({"status": "completed", "input": {"command": "echo ok", "description": "ok"}, "output": "ok\n", "title": "ok",
        "metadata": {"output": "ok\n", "exit": 0}, "time": {"start": 1, "end": 2}})
}

fn attached(mime: &str, url: &str) -> Value {
    let mut state = done();
    state["attachments"] = json!([{"id": "prt_000000000001aaaaaaaaaaaaaa", "sessionID": "ses_x", "messageID": "msg_x",
        "type": "file", "mime": mime, "filename": "some.file", "url": url}]);
    state
}

fn failed(metadata: Value) -> Value {
    let mut state = json!({"status": "error", "input": {"command": "x", "description": "x"}, "error": "No such file",
        "time": {"start": 1, "end": 2}});
    if !metadata.is_null() {
        state["metadata"] = metadata;
        state["error"] = json!("Tool execution aborted");
    }
    state
}

fn aborted() -> Value {
    json!({"name": "MessageAbortedError", "data": {"message": "The operation was aborted."}})
}

fn refused() -> Value {
    let message =
        "This model does not support assistant message prefill. The conversation must end with a user message.";
    json!({"name": "APIError", "data": {"message": message, "statusCode": 400, "isRetryable": false,
        "responseHeaders": {}, "responseBody": ""}})
}

/// The metadata that each provider's package stores, as (name, metadata).
fn kinds(provider: &str) -> Vec<(&'static str, Value)> {
    let details = |detail: Value| json!({"openrouter": {"reasoning_details": [detail]}});
    vec![
        ("anthropic-signature", json!({"anthropic": {"signature": "c2ln"}})),
        ("anthropic-redacted", json!({"anthropic": {"redactedData": "cmVk"}})),
        ("bedrock-signature", json!({"bedrock": {"signature": "c2ln"}})),
        ("bedrock-redacted-data", json!({"bedrock": {"redactedData": "cmVk"}})),
        ("bedrock-redacted-content", json!({"bedrock": {"redactedContent": "cmVk"}})),
        ("provider-signature", json!({provider: {"signature": "c2ln"}})),
        ("openai-encrypted", json!({"openai": {"itemId": "rs_1", "reasoningEncryptedContent": "ZW5j"}})),
        ("openai-encrypted-bare", json!({"openai": {"reasoningEncryptedContent": "ZW5j"}})),
        ("openai-item", json!({"openai": {"itemId": "rs_2"}})),
        ("openai-null", json!({"openai": {"itemId": "rs_3", "reasoningEncryptedContent": null}})),
        ("openai-phase", json!({"openai": {"itemId": "msg_4", "phase": "final_answer"}})),
        ("azure-encrypted", json!({"azure": {"itemId": "rs_5", "reasoningEncryptedContent": "ZW5j"}})),
        ("azure-item", json!({"azure": {"itemId": "rs_6"}})),
        ("xai-encrypted", json!({"xai": {"itemId": "rs_7", "reasoningEncryptedContent": "ZW5j"}})),
        ("copilot-opaque", json!({"copilot": {"reasoningOpaque": "b3Bh"}})),
        ("copilot-encrypted", json!({"copilot": {"itemId": "rs_8", "reasoningEncryptedContent": "ZW5j"}})),
        (
            "openrouter-encrypted",
            details(json!({"type": "reasoning.encrypted", "data": "ZW5j", "id": "rs_9",
            "format": "openai-responses-v1", "index": 0})),
        ),
        (
            "openrouter-signed",
            details(json!({"type": "reasoning.text", "text": "hmm", "signature": "c2ln",
            "format": "anthropic-claude-v1", "index": 0})),
        ),
        (
            "openrouter-unsigned",
            details(json!({"type": "reasoning.text", "text": "hmm", "format": "anthropic-claude-v1",
            "index": 0})),
        ),
        (
            "openrouter-other-format",
            details(json!({"type": "reasoning.text", "text": "hmm", "format": "xai-responses-v1",
            "index": 0})),
        ),
        (
            "openrouter-summary",
            details(json!({"type": "reasoning.summary", "summary": "in short",
            "format": "openai-responses-v1", "index": 0})),
        ),
        ("openrouter-none", json!({"openrouter": {"reasoning_details": []}})),
        ("google-thought", json!({"google": {"thoughtSignature": "c2ln"}})),
        ("vertex-thought", json!({"vertex": {"thoughtSignature": "c2ln"}})),
        ("compatible-field", json!({"openaiCompatible": {"reasoning_content": "hmm"}})),
        ("weird", json!({"weird": {"some": ["thing"]}})),
        ("own-weird", json!({provider: {"some": ["thing"]}})),
        ("empty", json!({})),
        ("empty-inside", json!({"anthropic": {}, "openai": {}})),
    ]
}

/// What vouches for thinking in the eyes of a package.
fn own(who: For<'_>, id: &str) -> Value {
    let item =
        |name: &str| json!({name: {"itemId": format!("rs_{id}"), "reasoningEncryptedContent": format!("ZW5j{id}")}});
    match who.package {
        "@ai-sdk/anthropic" | "@ai-sdk/google-vertex/anthropic" => {
            json!({"anthropic": {"signature": format!("c2ln{id}")}})
        }
        "@ai-sdk/amazon-bedrock" => json!({"bedrock": {"signature": format!("c2ln{id}")}}),
        "@ai-sdk/openai" => item("openai"),
        "@ai-sdk/azure" => item("azure"),
        "@ai-sdk/xai" => item("xai"),
        "@ai-sdk/github-copilot" => {
            json!({"copilot": {"reasoningOpaque": format!("b3Bh{id}"), "itemId": format!("rs_{id}"),
            "reasoningEncryptedContent": format!("ZW5j{id}")}})
        }
        "@ai-sdk/google" => json!({"google": {"thoughtSignature": format!("c2ln{id}")}}),
        "@ai-sdk/google-vertex" => json!({"vertex": {"thoughtSignature": format!("c2ln{id}")}}),
        "@openrouter/ai-sdk-provider" => json!({"openrouter": {"reasoning_details": [{"type": "reasoning.encrypted",
            "data": format!("ZW5j{id}"), "id": format!("rs_{id}"), "format": "openai-responses-v1", "index": 0}]}}),
        _ => json!({who.provider: {"itemId": format!("rs_{id}")}}),
    }
}

/// Rows under construction.
struct Rows<'a> {
    who: For<'a>,
    rows: Vec<Row>,
}

impl Rows<'_> {
    fn user(mut self, parts: Vec<Value>) -> Self {
        let data = json!({"role": "user", "agent": "build",
            "model": {"providerID": self.who.provider, "modelID": self.who.model}});
        self.rows.push(Row { data, parts });
        self
    }

    fn says(self, words: &str) -> Self {
        self.user(vec![text(words)])
    }

    /// An answer; `finish` where it has one.
    fn answer(mut self, finish: Option<&str>, parts: Vec<Value>) -> Self {
        let mut data = json!({"role": "assistant", "mode": "build", "agent": "build",
            "path": {"cwd": "/home/dev/work", "root": "/home/dev/work"}, "cost": 0,
            "tokens": {"input": 0, "output": 0, "reasoning": 0, "cache": {"read": 0, "write": 0}},
            "modelID": self.who.model, "providerID": self.who.provider});
        if let Some(finish) = finish {
            data["finish"] = json!(finish);
        }
        self.rows.push(Row { data, parts });
        self
    }

    /// Sets a field of the last row.
    fn set(mut self, name: &str, value: Value) -> Self {
        if let Some(row) = self.rows.last_mut() {
            row.data[name] = value;
        }
        self
    }

    fn other_model(self) -> Self {
        let other = json!(self.who.other);
        self.set("modelID", other)
    }
}

/// All histories, for one model.
pub(crate) fn shapes(who: For<'_>) -> Vec<Shape> {
    let mut out = Vec::new();
    thinking_of_each_kind(who, &mut out);
    texts(who, &mut out);
    thoughts(who, &mut out);
    calls(who, &mut out);
    provider_calls(who, &mut out);
    media(who, &mut out);
    mixtures(who, &mut out);
    rows(who, &mut out);
    out
}

struct Out<'a, 'o> {
    who: For<'a>,
    out: &'o mut Vec<Shape>,
}

impl Out<'_, '_> {
    /// A history that begins with a prompt.
    fn add(&mut self, name: &str, more: impl FnOnce(Rows<'_>) -> Rows<'_>) {
        let rows = Rows { who: self.who, rows: Vec::new() }.says("Please begin.");
        self.out.push(Shape { name: name.to_owned(), rows: more(rows).rows });
    }

    /// One whose last row is an answer of these parts, never finished.
    fn cut(&mut self, name: &str, parts: Vec<Value>) {
        self.add(name, |rows| rows.answer(None, parts));
    }

    /// One whose last row is a finished answer of these parts, and one in which a prompt and an answer follow it.
    fn both(&mut self, name: &str, parts: Vec<Value>) {
        let cut = [vec![start()], parts.clone()].concat();
        self.cut(&format!("{name}-cut"), cut);
        let ended = [vec![start()], parts, vec![finish("stop")]].concat();
        self.add(&format!("{name}-stop"), |rows| rows.answer(Some("stop"), ended.clone()));
        self.add(&format!("{name}-buried"), |rows| {
            let rows = rows.answer(Some("stop"), ended).says("And then?");
            rows.answer(Some("stop"), vec![start(), text("That is all."), finish("stop")])
        });
    }
}

/// The kinds of metadata that a package looks at, by how their names begin; all others only in empty parts.
fn looked_at(package: &str) -> &'static [&'static str] {
    match package {
        "@ai-sdk/anthropic" | "@ai-sdk/google-vertex/anthropic" => &["anthropic", "provider"],
        "@ai-sdk/amazon-bedrock" => &["bedrock", "provider"],
        "@ai-sdk/openai" => &["openai"],
        "@ai-sdk/azure" => &["azure", "openai-encrypted"],
        "@ai-sdk/xai" => &["xai"],
        "@ai-sdk/github-copilot" => &["copilot", "openai-encrypted"],
        "@openrouter/ai-sdk-provider" => &["openrouter"],
        "@ai-sdk/google" | "@ai-sdk/google-vertex" => &["google", "vertex"],
        _ => &["compatible", "google"],
    }
}

fn thinking_of_each_kind(who: For<'_>, out: &mut Vec<Shape>) {
    let mut out = Out { who, out };
    for (name, metadata) in kinds(who.provider) {
        out.cut(&format!("think-nothing-{name}"), vec![start(), with(thought(""), metadata.clone())]);
        out.cut(&format!("text-nothing-{name}"), vec![start(), with(text(""), metadata.clone())]);
        if !["own-weird", "empty"].iter().chain(looked_at(who.package)).any(|known| name.starts_with(known)) {
            continue;
        }
        out.cut(&format!("think-words-{name}"), vec![start(), with(thought("hmm"), metadata.clone())]);
        out.cut(&format!("text-words-{name}"), vec![start(), with(text("Well."), metadata.clone())]);
        let ran = with(call("call_1", done()), metadata);
        out.add(&format!("call-{name}"), |rows| {
            rows.answer(Some("tool-calls"), vec![start(), ran, finish("tool-calls")])
        });
    }
}

fn texts(who: For<'_>, out: &mut Vec<Shape>) {
    let mut out = Out { who, out };
    out.both("text", vec![text("Well.")]);
    out.both("empty-text", vec![text("")]);
    out.both("blank-text", vec![text(" ")]);
    out.both("line-breaks", vec![text("\n\n")]);
    out.both("trailing-space", vec![text("Well. \n")]);
    out.both("two-texts", vec![text("One."), text("Two.")]);
    out.both("text-and-empty", vec![text("One."), text("")]);
    out.both("empty-and-text", vec![text(""), text("Two.")]);
    out.both("text-of-own", vec![with(text("Well."), own(who, "t"))]);
    out.both("empty-text-of-own", vec![with(text(""), own(who, "t"))]);
    out.both("two-of-own", vec![with(text("One."), own(who, "t")), with(text("Two."), own(who, "t"))]);
    out.both("nothing-at-all", vec![]);
    out.add("no-parts", |rows| rows.answer(None, vec![]));
    out.add("aborted-text", |rows| rows.answer(None, vec![start(), text("Half of")]).set("error", aborted()));
    out.add("aborted-empty", |rows| rows.answer(None, vec![start(), text("")]).set("error", aborted()));
    out.add("aborted-empty-own", |rows| {
        rows.answer(None, vec![start(), with(text(""), own(who, "t"))]).set("error", aborted())
    });
}

fn thoughts(who: For<'_>, out: &mut Vec<Shape>) {
    let mut out = Out { who, out };
    let signed = |words: &str, id: &str| with(thought(words), own(who, id));
    out.both("thinking", vec![thought("hmm")]);
    out.both("blank-thinking", vec![thought("  ")]);
    out.both("signed", vec![signed("hmm", "1")]);
    out.both("signed-nothing", vec![signed("", "1")]);
    out.both("signed-and-empty", vec![signed("hmm", "1"), text("")]);
    out.both("signed-and-blank", vec![signed("hmm", "1"), text(" ")]);
    out.both("signed-and-text", vec![signed("hmm", "1"), text("Well.")]);
    out.both("thinking-and-text", vec![thought("hmm"), text("Well.")]);
    out.both("thinking-and-empty", vec![thought("hmm"), text("")]);
    out.both("text-and-signed", vec![text("Well."), signed("hmm", "1")]);
    out.both("text-and-thinking", vec![text("Well."), thought("hmm")]);
    out.both("signed-twice", vec![signed("one", "1"), signed("two", "2")]);
    out.both("signed-same-item", vec![signed("one", "1"), signed("two", "1")]);
    out.both("signed-same-item-empty", vec![signed("one", "1"), signed("", "1")]);
    out.both("signed-text-signed", vec![signed("one", "1"), text("Well."), signed("two", "2"), text("So.")]);
    out.add("aborted-thinking", |rows| rows.answer(None, vec![start(), thought("hm")]).set("error", aborted()));
    out.add("aborted-thinking-ended", |rows| {
        rows.answer(None, vec![start(), thought("hm"), finish("stop")]).set("error", aborted())
    });
    out.add("killed-thinking-after-text", |rows| {
        let rows = rows.answer(Some("stop"), vec![start(), text("One."), finish("stop")]);
        rows.answer(None, vec![start(), thought("hm")])
    });
    out.add("killed-thinking-after-call", |rows| {
        let rows = rows.answer(Some("tool-calls"), vec![start(), call("call_1", done()), finish("tool-calls")]);
        rows.answer(None, vec![start(), thought("hm")])
    });
}

fn calls(who: For<'_>, out: &mut Vec<Shape>) {
    let mut out = Out { who, out };
    let signed = |words: &str, id: &str| with(thought(words), own(who, id));
    let ran = || call("call_1", done());
    let states = [
        ("done", done()),
        ("failed", failed(Value::Null)),
        ("orphan", failed(json!({"interrupted": true}))),
        ("orphan-output", failed(json!({"interrupted": true, "output": "half of it"}))),
        ("running", json!({"status": "running", "input": {"command": "sleep 9"}, "time": {"start": 1}})),
        ("pending", json!({"status": "pending", "input": {}, "raw": ""})),
    ];
    for (name, state) in states {
        let one = || call("call_1", state.clone());
        out.add(&format!("call-{name}"), |rows| {
            rows.answer(Some("tool-calls"), vec![start(), text("See."), one(), finish("tool-calls")])
        });
        let later = vec![start(), text("See."), one(), start(), text("Done."), finish("stop")];
        out.add(&format!("call-{name}-and-text"), |rows| rows.answer(Some("stop"), later));
    }
    let mut silent = done();
    silent["output"] = json!("");
    out.cut("call-silent", vec![start(), call("call_1", silent), finish("tool-calls")]);
    let mut cleared = done();
    cleared["time"]["compacted"] = json!(3);
    out.cut("call-cleared", vec![start(), call("call_1", cleared), finish("tool-calls")]);
    out.cut("call-odd-id", vec![start(), call("call:1|a b", done()), finish("tool-calls")]);
    out.cut("call-no-id", vec![start(), call("", done()), finish("tool-calls")]);
    out.cut("call-long-id", vec![start(), call("call_abcdefghijklmnop", done()), finish("tool-calls")]);
    out.cut("calls", vec![start(), ran(), call("call_2", done()), finish("tool-calls")]);
    out.cut("calls-same-id", vec![start(), ran(), start(), ran(), finish("tool-calls")]);
    out.cut("calls-in-steps", vec![start(), ran(), start(), call("call_2", done()), start(), text("Done.")]);
    out.both("call-before-text", vec![ran(), text("Said after.")]);
    out.both("signed-and-call", vec![signed("hmm", "1"), ran()]);
    out.both("call-and-signed", vec![ran(), signed("hmm", "1")]);
    out.both("thinking-and-call", vec![thought("hmm"), ran()]);
    out.both("call-and-empty", vec![ran(), text("")]);
    out.both("call-of-own", vec![with(ran(), own(who, "c"))]);
    out.both("signed-and-call-of-own", vec![signed("hmm", "c"), with(ran(), own(who, "c"))]);
    out.cut("call-then-signed-empty", vec![start(), ran(), start(), signed("", "1")]);
    out.cut("call-then-thinking", vec![start(), ran(), start(), thought("hmm")]);
    out.cut("call-then-empty", vec![start(), ran(), start(), text("")]);
    out.cut("call-then-blank", vec![start(), ran(), start(), text(" ")]);
    out.cut("call-then-signed-text", vec![start(), ran(), start(), signed("hmm", "1"), text("Done.")]);
    out.add("call-user", |rows| rows.answer(Some("tool-calls"), vec![start(), ran()]).says("Go on."));
    out.add("call-empty-user", |rows| {
        let rows = rows.answer(Some("tool-calls"), vec![start(), ran()]);
        rows.answer(None, vec![start(), text("")]).says("Go on.")
    });
    out.add("call-signed-user", |rows| {
        let rows = rows.answer(Some("tool-calls"), vec![start(), ran()]);
        rows.answer(None, vec![start(), signed("", "1")]).says("Go on.")
    });
}

fn provider_calls(who: For<'_>, out: &mut Vec<Shape>) {
    let mut out = Out { who, out };
    let served = |tool: &str, state: Value, more: Value| {
        let mut part = call("srv_1", state);
        part["tool"] = json!(tool);
        part["metadata"] = more;
        part["metadata"]["providerExecuted"] = json!(true);
        part
    };
    let mut listed = done();
    listed["output"] = json!([{"url": "u", "title": "t", "type": "web_search_result", "encryptedContent": "e"}]);
    let states = [
        ("done", done()),
        ("failed", failed(Value::Null)),
        (
            "running",
            json!({"status": "running", "input": {},
            "time": {"start": 1}}),
        ),
    ];
    for (name, state) in states {
        for tool in ["bash", "web_search"] {
            let part = || served(tool, state.clone(), json!({}));
            out.cut(&format!("served-{tool}-{name}"), vec![start(), part()]);
            out.cut(&format!("served-{tool}-{name}-and-text"), vec![start(), part(), text("Well.")]);
        }
    }
    let mut missing = done();
    if let Some(state) = missing.as_object_mut() {
        state.remove("output");
    }
    for (name, state) in [("listed", listed), ("missing", missing)] {
        let part = served("web_search", state, json!({}));
        out.cut(&format!("served-web_search-{name}-and-text"), vec![start(), part, text("Well.")]);
    }
    out.cut("served-code", vec![start(), served("code_execution", done(), json!({})), text("Well.")]);
    out.cut("served-own", vec![start(), served("web_search", done(), own(who, "s")), text("Well.")]);
    out.cut("served-own-alone", vec![start(), served("web_search", done(), own(who, "s"))]);
    let google = json!({"google": {"serverToolCallId": "s1", "serverToolType": "GOOGLE_SEARCH_WEB"},
        "vertex": {"serverToolCallId": "s1", "serverToolType": "GOOGLE_SEARCH_WEB"}});
    out.cut("served-google", vec![start(), served("web_search", done(), google), text("Well.")]);
    out.add("served-buried", |rows| {
        rows.answer(Some("stop"), vec![start(), served("web_search", done(), json!({})), finish("stop")])
            .says("And?")
            .answer(Some("stop"), vec![start(), text("Fine."), finish("stop")])
    });
}

fn media(who: For<'_>, out: &mut Vec<Shape>) {
    let mut out = Out { who, out };
    let files = [
        ("image", "image/png", DOT),
        ("pdf", "application/pdf", PDF),
        ("csv", "text/csv", "data:text/csv;base64,YSxi"),
    ];
    for (name, mime, url) in files {
        let one = || call("call_1", attached(mime, url));
        out.add(&format!("call-{name}"), |rows| {
            rows.answer(Some("tool-calls"), vec![start(), one(), finish("tool-calls")])
        });
        out.cut(&format!("call-{name}-and-text"), vec![start(), one(), start(), text("I see.")]);
        out.add(&format!("call-{name}-stop"), |rows| {
            rows.answer(Some("stop"), vec![start(), one(), start(), text("I see."), finish("stop")])
        });
    }
    let mut both = attached("image/png", DOT);
    both["output"] = json!("");
    out.cut("call-image-silent", vec![start(), call("call_1", both), start(), text("I see.")]);
    let file = |mime: &str, url: &str| json!({"type": "file", "mime": mime, "filename": "some.file", "url": url});
    for (name, mime, url) in [("image", "image/png", DOT), ("pdf", "application/pdf", PDF)] {
        out.add(&format!("user-{name}"), |rows| {
            let rows = rows.answer(Some("stop"), vec![start(), text("One."), finish("stop")]);
            rows.user(vec![text("Look."), file(mime, url)])
                .answer(Some("stop"), vec![start(), text("Two."), finish("stop")])
        });
        out.add(&format!("user-{name}-alone"), |rows| {
            let rows = rows.answer(Some("stop"), vec![start(), text("One."), finish("stop")]);
            rows.user(vec![file(mime, url)])
        });
    }
    out.add("user-text-file", |rows| {
        let rows = rows.answer(Some("stop"), vec![start(), text("One."), finish("stop")]);
        rows.user(vec![file("text/plain", "data:text/plain;base64,YQ==")])
    });
}

fn mixtures(who: For<'_>, out: &mut Vec<Shape>) {
    let mut out = Out { who, out };
    let signed = |words: &str, id: &str| with(thought(words), own(who, id));
    let ended = |parts: Vec<Value>| [vec![start()], parts, vec![finish("stop")]].concat();
    let others: [(&str, Vec<Value>); 6] = [
        ("text", vec![with(text("Well."), own(who, "t"))]),
        ("empty", vec![with(text(""), own(who, "t"))]),
        ("signed", vec![signed("hmm", "1")]),
        ("signed-nothing", vec![signed("", "1")]),
        ("blank-thinking", vec![signed(" ", "1")]),
        ("call", vec![signed("hmm", "1"), with(call("call_1", done()), own(who, "c"))]),
    ];
    for (name, parts) in others {
        let cut = [vec![start()], parts.clone()].concat();
        out.add(&format!("other-model-{name}"), |rows| rows.answer(None, cut).other_model());
        let buried = ended(parts);
        out.add(&format!("other-model-{name}-buried"), |rows| {
            let rows = rows.answer(Some("stop"), buried).other_model().says("And?");
            rows.answer(Some("stop"), ended(vec![text("Fine.")]))
        });
    }
    out.add("empty-between", |rows| {
        let rows = rows.answer(Some("stop"), ended(vec![text("One.")])).says("Two?");
        rows.answer(None, vec![start(), text("")]).says("Three?").answer(Some("stop"), ended(vec![text("Four.")]))
    });
    out.add("signed-nothing-between", |rows| {
        let rows = rows.answer(Some("stop"), ended(vec![text("One.")])).says("Two?");
        rows.answer(None, vec![start(), signed("", "1")])
            .says("Three?")
            .answer(Some("stop"), ended(vec![text("Four.")]))
    });
    out.add("same-item-in-two-rows", |rows| {
        let rows = rows.answer(Some("stop"), ended(vec![signed("one", "1"), text("One.")])).says("Two?");
        rows.answer(Some("stop"), ended(vec![signed("one", "1"), text("Two.")]))
    });
    out.add("answers-in-a-row", |rows| {
        let rows = rows.answer(Some("stop"), ended(vec![text("One.")]));
        rows.answer(Some("stop"), ended(vec![text("Two.")]))
    });
    out.add("answer-and-signed-nothing", |rows| {
        let rows = rows.answer(Some("stop"), ended(vec![text("One.")]));
        rows.answer(None, vec![start(), signed("", "1")])
    });
    out.add("answer-and-empty", |rows| {
        let rows = rows.answer(Some("stop"), ended(vec![text("One.")]));
        rows.answer(None, vec![start(), text("")])
    });
}

fn rows(who: For<'_>, out: &mut Vec<Shape>) {
    let mut out = Out { who, out };
    let one = || vec![start(), text("One."), finish("stop")];
    out.add("prompt", |rows| rows);
    out.add("empty-prompt", |rows| rows.answer(Some("stop"), one()).user(vec![]));
    out.add("empty-prompt-twice", |rows| rows.answer(Some("stop"), one()).user(vec![]).user(vec![]));
    out.add("prompt-of-nothing", |rows| rows.answer(Some("stop"), one()).user(vec![text("")]));
    out.add("prompt-of-blank", |rows| rows.answer(Some("stop"), one()).user(vec![text(" ")]));
    out.add("prompt-ignored", |rows| {
        let mut psst = text("psst");
        psst["ignored"] = json!(true);
        rows.answer(Some("stop"), one()).user(vec![psst])
    });
    out.add("prompts-in-a-row", |rows| rows.says("More.").answer(Some("stop"), one()));
    out.add("refused", |rows| rows.answer(Some("stop"), one()).answer(None, vec![]).set("error", refused()));
    out.add("refused-after-tools", |rows| {
        let parts = vec![start(), call("call_1", done()), start(), text("Done."), finish("stop")];
        rows.answer(Some("stop"), parts).answer(None, vec![]).set("error", refused())
    });
    out.add("failed-row", |rows| {
        let error = json!({"name": "UnknownError", "data": {"message": "Error: it broke"}});
        rows.answer(None, vec![start(), text("Half")]).set("error", error)
    });
    out.add("subtask", |rows| {
        let rows = rows.answer(Some("stop"), one());
        rows.user(vec![json!({"type": "subtask", "prompt": "p", "description": "d", "agent": "general"})])
            .answer(Some("stop"), one())
    });
    out.add("summary", |rows| {
        let rows = rows.answer(Some("stop"), one()).user(vec![json!({"type": "compaction", "auto": false})]);
        let rows = rows.answer(Some("stop"), vec![start(), text("In short."), finish("stop")]);
        rows.set("summary", json!(true)).says("Go on.").answer(Some("stop"), one())
    });
    out.add("revived", |rows| rows.answer(Some("unknown"), one()));
    out.add("other-finish", |rows| rows.answer(Some("length"), one()));
}
