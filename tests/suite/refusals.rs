//! Sessions that services other than Claude's refuse for ever, each store built row by row.

use serde_json::{Value, json};

use crate::built;

/// A store of sessions of one model.
struct Built {
    rows: built::Built,
    provider: &'static str,
    model: &'static str,
    package: &'static str,
}

impl Built {
    fn new(provider: &'static str, model: &'static str, package: &'static str) -> Self {
        Self { rows: built::Built::new(), provider, model, package }
    }

    fn session(&self, name: &str) -> &Self {
        self.rows.session(name);
        self
    }

    fn row(&self, session: &str, data: &Value, parts: &[Value]) -> String {
        self.rows.message(session, |at| {
            let mut data = data.clone();
            data["time"] = json!({"created": at});
            (data, parts.to_vec())
        })
    }

    fn asks(&self, session: &str) -> String {
        let model = json!({"providerID": self.provider, "modelID": self.model});
        let data = json!({"role": "user", "agent": "build", "model": model});
        self.row(session, &data, &[json!({"type": "text", "text": "And now?"})])
    }

    /// An answer, to a prompt of its own.
    fn says(&self, session: &str, finish: Option<&str>, parts: &[Value]) -> String {
        let mut data = self.answer(&self.asks(session));
        if let Some(finish) = finish {
            data["finish"] = json!(finish);
        }
        self.row(session, &data, parts)
    }

    fn answer(&self, prompt: &str) -> Value {
        json!({"role": "assistant", "parentID": prompt, "modelID": self.model, "providerID": self.provider, "cost": 0,
            "mode": "build", "agent": "build", "path": {"cwd": "/", "root": "/"},
            "tokens": {"input": 0, "output": 0, "reasoning": 0, "cache": {"read": 0, "write": 0}}})
    }

    /// A prompt that is refused.
    fn refused(&self, session: &str, status: i64, text: &str) {
        let mut data = self.answer(&self.asks(session));
        let error = json!({"message": text, "statusCode": status, "isRetryable": false});
        data["error"] = json!({"name": "APIError", "data": error});
        self.row(session, &data, &[]);
    }

    fn flags<'f>(&self, more: &[&'f str], sdk: &'f str) -> Vec<&'f str> {
        [more, &["--sdk", sdk]].concat()
    }

    fn sdk(&self) -> String {
        format!("{}={}", self.provider, self.package)
    }

    /// Status and findings, each with its part's place in its answer.
    fn said(&self, session: &str) -> (String, Vec<String>) {
        let sdk = self.sdk();
        let scan = self.rows.place.scan_with(&self.flags(&[], &sdk));
        let named = self.rows.place.scan_with(&self.flags(&[session], &sdk));
        assert_eq!(named.session(session), scan.session(session));
        let found = scan.session(session)["findings"].as_array().unwrap().iter();
        let told = found.map(|f| {
            let part = f["part_id"].as_str().unwrap_or("").rsplit('_').next().unwrap_or("");
            format!("{} {} {part}", f["code"].as_str().unwrap(), f["applicability"].as_str().unwrap())
        });
        (scan.status(session).to_owned(), told.collect())
    }

    /// How many sessions are healthy, and which have findings.
    fn found(&self) -> (usize, Vec<String>) {
        let sdk = self.sdk();
        let scan = self.rows.place.scan_with(&self.flags(&[], &sdk)).document;
        let sessions = scan["sessions"].as_array().unwrap();
        let found =
            sessions.iter().filter(|s| s["findings"] != json!([])).map(|s| s["id"].as_str().unwrap().to_owned());
        (sessions.iter().filter(|s| s["status"] == "healthy").count(), found.collect())
    }

    fn repair(&self, session: &str, include: &str) -> Value {
        let sdk = self.sdk();
        let run = self.rows.place.repair_with(&self.flags(&[session, "--include", include], &sdk));
        assert!(run.code <= 1, "{run:?}");
        run.json()
    }

    fn undo(&self) {
        self.rows.place.unstick(&["undo", "--yes"]).exits(0);
    }
}

fn healthy() -> (String, Vec<String>) {
    ("healthy".to_owned(), Vec::new())
}

fn dead(findings: &[&str]) -> (String, Vec<String>) {
    ("dead".to_owned(), findings.iter().map(|f| (*f).to_owned()).collect())
}

fn start() -> Value {
    json!({"type": "step-start"})
}

fn words() -> Value {
    json!({"type": "text", "text": "Well."})
}

fn thought(text: &str, metadata: &Value) -> Value {
    json!({"type": "reasoning", "text": text, "time": {"start": 1, "end": 2}, "metadata": metadata})
}

fn secret(namespace: &str, item: &str, content: &str) -> Value {
    thought("", &json!({namespace: {"itemId": item, "reasoningEncryptedContent": content}}))
}

const NOT_ISSUED: &str = "Error from provider (Console): Upstream request failed: [invalid_request_error] reasoning \
                          `encrypted_content` was not issued to this caller";

fn responses() -> Built {
    Built::new("opencode", "gpt-5.2", "@ai-sdk/openai")
}

fn two_answers(store: &Built, session: &str) {
    store.session(session);
    store.says(session, Some("stop"), &[start(), secret("openai", "rs_1a", "gAAAABcdDQ=="), words()]);
    store.says(session, Some("stop"), &[start(), secret("openai", "rs_2b", "gAAAAExyZZg="), words()]);
}

#[test]
fn encrypted_reasoning_is_nothing_until_it_was_refused() {
    let store = responses();
    two_answers(&store, "ses_0");
    store.rows.place.sql().execute_batch(include_str!("thousand.sql")).unwrap();
    assert_eq!(store.found(), (1_000, Vec::new()));
    store.refused("ses_7", 400, NOT_ISSUED);
    store.refused("ses_7", 400, NOT_ISSUED);
    let both = ["bad-encrypted-reasoning opt-in 001", "bad-encrypted-reasoning opt-in 001"];
    assert_eq!(store.said("ses_7"), dead(&both));
    assert_eq!(store.found(), (999, vec!["ses_7".to_owned()]));
    let before = store.rows.place.dump();
    let run = store.repair("ses_7", "blank-text,media,calls,signatures");
    assert_eq!(run["plan"]["sessions"], json!([]));
    let run = store.repair("ses_7", "reasoning");
    assert_eq!(run["plan"]["sessions"][0]["leaves"].as_array().unwrap().len(), 2);
    assert_eq!(store.said("ses_7"), healthy());
    let left = store
        .rows
        .place
        .text("SELECT group_concat(data, ' ') FROM part WHERE session_id = 'ses_7' AND data LIKE '%reasoning%'");
    assert!(!left.contains("gAAA") && !left.contains("rs_") && left.contains(r#""metadata":{"openai":{}}"#), "{left}");
    assert!(before.of_others("ses_7") == store.rows.place.dump().of_others("ses_7"));
    store.undo();
    assert!(before == store.rows.place.dump());
    assert_eq!(store.said("ses_7"), dead(&both));
}

#[test]
fn a_refusal_that_names_an_item_is_about_that_one_alone() {
    for (text, part) in [
        ("The encrypted content for item rs_2b could not be verified. Reason: could not be decrypted.", Some(1)),
        ("The encrypted content gAAA...DQ== could not be verified.", Some(0)),
        (
            r#"litellm.BadRequestError: OpenAIException - {"error":{"message":"The encrypted content gAAA...ZZg= could not be verified.","code":"invalid_encrypted_content"}}"#,
            Some(1),
        ),
        ("The encrypted content for item rs_gone could not be verified.", None),
    ] {
        let store = responses();
        two_answers(&store, "ses_a");
        store.refused("ses_a", 400, text);
        let (status, findings) = store.said("ses_a");
        assert_eq!(
            (status.as_str(), findings.len()),
            if part.is_some() { ("dead", 1) } else { ("healthy", 0) },
            "{text}"
        );
        let run = store.repair("ses_a", "reasoning");
        let leaves = run["plan"]["sessions"][0]["leaves"].as_array().cloned().unwrap_or_default();
        let left = store.rows.place.text(
            "SELECT group_concat(json_extract(data, '$.metadata.openai.itemId')) FROM part WHERE session_id = 'ses_a'",
        );
        match part {
            Some(at) => assert_eq!((leaves.len(), left.as_str()), (1, ["rs_2b", "rs_1a"][at]), "{text}"),
            None => assert_eq!((leaves.len(), left.as_str()), (0, "rs_1a,rs_2b"), "{text}"),
        }
    }
}

#[test]
fn what_got_past_a_refusal_ends_it() {
    let store = responses();
    two_answers(&store, "ses_a");
    store.refused("ses_a", 400, NOT_ISSUED);
    store.says("ses_a", Some("stop"), &[start(), words()]);
    assert_eq!(store.said("ses_a"), healthy());
    // An answer that was cut off after its first words was taken, too.
    two_answers(&store, "ses_b");
    store.refused("ses_b", 400, NOT_ISSUED);
    store.says("ses_b", None, &[start(), words()]);
    assert_ne!(store.said("ses_b").0, "dead");
    // What came after the refusal was not refused.
    two_answers(&store, "ses_c");
    store.refused("ses_c", 500, NOT_ISSUED);
    assert_eq!(store.said("ses_c"), healthy());
}

#[test]
fn encrypted_reasoning_of_other_packages_is_taken_out_where_they_keep_it() {
    let details = json!([{"type": "reasoning.encrypted", "id": "rs_1", "data": "gAAAxyzDQ=="},
        {"type": "reasoning.summary", "summary": "Hm."}]);
    let call = json!({"type": "tool", "tool": "bash", "callID": "c1", "metadata": {"openrouter":
        {"reasoning_details": details}}, "state": {"status": "completed", "input": {}, "output": "ok",
        "time": {"start": 1, "end": 2}}});
    let refusal = r#"Provider returned error: {"error":{"message":"The encrypted content could not be verified","code":"invalid_encrypted_content"}}"#;
    for (provider, model, package, parts, gone, kept) in [
        (
            "openrouter",
            "openai/gpt-5.2",
            "@openrouter/ai-sdk-provider",
            vec![start(), thought("Hm.", &json!({"openrouter": {"reasoning_details": details}})), words(), call],
            "reasoning.encrypted",
            "reasoning.summary",
        ),
        (
            "copilot-like",
            "gemini-3-pro",
            "@ai-sdk/github-copilot",
            vec![
                start(),
                thought("Hm.", &json!({"copilot": {"reasoningOpaque": "o1"}})),
                json!({"type": "text", "text": "Well.", "metadata": {"copilot": {"reasoningOpaque": "o2"}}}),
            ],
            "reasoningOpaque",
            "Well.",
        ),
        (
            "azure-like",
            "gpt-5.2",
            "@ai-sdk/azure",
            vec![start(), secret("azure", "rs_1", "gAAAxyzDQ=="), words()],
            "reasoningEncryptedContent",
            "Well.",
        ),
        (
            "xai",
            "grok-4",
            "@ai-sdk/xai",
            vec![start(), secret("xai", "rs_1", "gAAAxyzDQ=="), words()],
            "reasoningEncryptedContent",
            "Well.",
        ),
    ] {
        let store = Built::new(provider, model, package);
        store.session("ses_a");
        store.says("ses_a", Some("stop"), &parts);
        store.refused("ses_a", 400, refusal);
        assert_eq!(store.said("ses_a").0, "dead", "{package}");
        let run = store.repair("ses_a", "reasoning");
        assert_eq!(run["left"], json!([]), "{package}");
        assert_eq!(store.said("ses_a").0, "healthy", "{package}");
        let all = store.rows.place.text("SELECT group_concat(data, ' ') FROM part");
        assert!(!all.contains(gone) && all.contains(kept), "{package}: {all}");
    }
}

#[test]
fn a_refusal_that_may_have_been_the_service_is_only_said() {
    let store = responses();
    two_answers(&store, "ses_a");
    two_answers(&store, "ses_b");
    two_answers(&store, "ses_plain");
    store.refused("ses_a", 400, NOT_ISSUED);
    store.refused("ses_a", 400, NOT_ISSUED);
    let both = ["bad-encrypted-reasoning opt-in 001", "bad-encrypted-reasoning opt-in 001"];
    assert_eq!(store.said("ses_a"), dead(&both));
    // The first answer of a new session sends no such thing.
    store.session("ses_new");
    store.says("ses_new", Some("stop"), &[start(), secret("openai", "rs_9", "gAAAAAAAAA=="), words()]);
    assert_eq!(store.said("ses_a"), dead(&both));
    store.says("ses_b", Some("stop"), &[start(), words()]);
    let (status, findings) = store.said("ses_a");
    assert_eq!(status, "healthy");
    assert_eq!(findings, ["bad-encrypted-reasoning report-only 001", "bad-encrypted-reasoning report-only 001"]);
    assert_eq!(store.repair("ses_a", "reasoning")["plan"]["sessions"], json!([]));
    // Refused again, with one in between that was taken.
    store.refused("ses_a", 400, NOT_ISSUED);
    store.says("ses_b", Some("stop"), &[start(), words()]);
    assert_eq!(store.said("ses_a"), dead(&both));
    store.repair("ses_a", "reasoning");
    assert_eq!(store.said("ses_a"), healthy());
}

fn called(id: &str, metadata: &Value) -> Value {
    json!({"type": "tool", "tool": "bash", "callID": id, "metadata": metadata, "state": {"status": "completed",
        "input": {}, "output": "ok", "time": {"start": 1, "end": 2}}})
}

/// A history that one service refuses.
struct Case {
    provider: &'static str,
    model: &'static str,
    package: &'static str,
    parts: Vec<Value>,
    finish: Option<&'static str>,
    status: i64,
    refusal: &'static str,
    found: &'static [&'static str],
    include: &'static str,
    /// What is left of the parts, by type.
    left: &'static str,
}

fn cases() -> Vec<Case> {
    let compatible = "@ai-sdk/openai-compatible";
    let empty = "Invalid request: the message at position 5 with role 'assistant' must not be empty";
    let kimi = |parts: Vec<Value>, finish, found, left| Case {
        provider: "moonshot",
        model: "kimi-k3",
        package: compatible,
        parts,
        finish,
        status: 400,
        refusal: empty,
        found,
        include: "blank-text",
        left,
    };
    let killed = json!({"type": "reasoning", "text": "Hm", "time": {"start": 1}});
    let read = |mime: &str| {
        let mut call = called("c1", &json!({}));
        let url = format!("data:{mime};base64,JVBERi0xLjQK");
        call["state"]["attachments"] = json!([{"id": "prt_a", "sessionID": "ses_a", "messageID": "msg_a", "type": "file",
            "mime": mime, "filename": "it", "url": url}]);
        call
    };
    let nothing = json!({"type": "text", "text": ""});
    let end = json!({"type": "step-finish", "reason": "stop", "cost": 0, "tokens": {"input": 0, "output": 0,
        "reasoning": 0, "cache": {"read": 0, "write": 0}}});
    vec![
        kimi(vec![start(), killed.clone()], None, &["empty-message opt-in 001"], "step-start,reasoning"),
        kimi(vec![start(), nothing], Some("stop"), &["empty-message opt-in 001"], "step-start"),
        kimi(vec![start(), killed, end], Some("stop"), &["empty-message opt-in 001"], "step-start,step-finish"),
        Case {
            provider: "opencode",
            model: "gpt-5.2",
            package: "@ai-sdk/openai",
            parts: vec![start(), words(), secret("openai", "rs_1", "gAAAxyzDQ==")],
            finish: Some("stop"),
            status: 400,
            refusal: "Item 'rs_1' of type 'reasoning' was provided without its required following item.",
            found: &["reasoning-alone opt-in 002"],
            include: "reasoning",
            left: "step-start,text,reasoning",
        },
        Case {
            provider: "gemini",
            model: "gemini-3-pro-preview",
            package: "@ai-sdk/google",
            parts: vec![start(), words(), start(), called("c1", &json!({"google": {"thoughtSignature": "s"}}))],
            finish: Some("tool-calls"),
            status: 400,
            refusal: "Please ensure that function call turn comes immediately after a user turn or after a function \
                      response turn.",
            found: &["split-call opt-in 002"],
            include: "calls",
            left: "step-start,text,tool",
        },
        Case {
            provider: "gemini",
            model: "gemini-3-pro-preview",
            package: "@ai-sdk/google",
            parts: vec![start(), called("c1", &json!({"google": {}})), called("c2", &json!({}))],
            finish: Some("tool-calls"),
            status: 400,
            refusal: "Function call is missing a thought_signature in functionCall parts.",
            found: &["unsigned-call opt-in 001"],
            include: "calls",
            left: "step-start,tool,tool",
        },
        Case {
            provider: "minimax",
            model: "minimax-m3",
            package: "@ai-sdk/anthropic",
            parts: vec![start(), json!({"type": "reasoning", "text": "Hm", "time": {"start": 1}})],
            finish: None,
            status: 400,
            refusal: "invalid params, chat content is empty (2013)",
            found: &["empty-message opt-in 001"],
            include: "blank-text",
            left: "step-start,reasoning",
        },
        Case {
            provider: "amazon-bedrock",
            model: "openai.gpt-5.6",
            package: "@ai-sdk/amazon-bedrock",
            parts: vec![start(), read("application/pdf"), start(), words()],
            finish: Some("stop"),
            status: 400,
            refusal: "This model doesn't support documents.",
            found: &["unsendable-file opt-in 001"],
            include: "media",
            left: "step-start,tool,step-start,text",
        },
        Case {
            provider: "deepseek",
            model: "deepseek-v4-pro",
            package: compatible,
            parts: vec![start(), read("image/png"), read("application/pdf"), start(), words()],
            finish: Some("stop"),
            status: 400,
            refusal: "Failed to deserialize the JSON body into the target type: messages[4]: unknown variant `image_url`, \
                      expected `text` at line 1 column 482302",
            found: &["unsendable-file opt-in 001"],
            include: "media",
            left: "step-start,tool,tool,step-start,text",
        },
        Case {
            provider: "moonshot",
            model: "kimi-k3",
            package: compatible,
            parts: vec![start(), called("c1", &json!({})), start(), words()],
            finish: Some("stop"),
            status: 400,
            refusal: "thinking is enabled but reasoning_content is missing in assistant tool call message at index 2",
            found: &["call-without-reasoning report-only 001"],
            include: "calls",
            left: "step-start,tool,step-start,text",
        },
    ]
}

#[test]
fn what_services_refuse_for_ever_is_found_and_mended() {
    for case in cases() {
        let store = Built::new(case.provider, case.model, case.package);
        store.session("ses_a");
        store.says("ses_a", Some("stop"), &[start(), words()]);
        let answer = store.says("ses_a", case.finish, &case.parts);
        let found = |said: (String, Vec<String>)| -> Vec<String> {
            let codes: Vec<&str> = case.found.iter().map(|f| f.split(' ').next().unwrap()).collect();
            said.1.into_iter().filter(|f| codes.iter().any(|code| f.starts_with(code))).collect()
        };
        let name = format!("{} {:?}", case.package, case.found);
        assert_eq!(found(store.said("ses_a")), [] as [&str; 0], "{name}");
        store.refused("ses_a", case.status, case.refusal);
        let said = store.said("ses_a");
        let mends = case.found.iter().all(|f| f.contains("opt-in"));
        assert_eq!(said.0 == "dead", mends, "{name}");
        assert_eq!(found(said), case.found, "{name}");
        let before = store.rows.place.dump();
        let run = store.repair("ses_a", case.include);
        assert_eq!(run["left"], json!([]), "{name}");
        assert_eq!(run["plan"]["sessions"].as_array().unwrap().is_empty(), !mends, "{name}");
        let left = store.rows.place.text(&format!(
            "SELECT group_concat(json_extract(data, '$.type')) FROM (SELECT data FROM part WHERE message_id = '{answer}' \
             ORDER BY id)"
        ));
        assert_eq!(left, case.left, "{name}");
        if mends {
            assert_eq!(found(store.said("ses_a")), [] as [&str; 0], "{name}");
            assert_ne!(store.said("ses_a").0, "dead", "{name}");
            store.undo();
            assert!(before == store.rows.place.dump(), "{name}");
        }
    }
}

#[test]
fn items_that_are_sent_by_a_forgotten_name_are_sent_themselves() {
    let store = responses();
    let folder = store.rows.place.root().join("config/opencode");
    std::fs::create_dir_all(&folder).unwrap();
    let config = json!({"provider": {"opencode": {"npm": "@ai-sdk/openai", "models": {"gpt-5.2": {"options": {"store": true}}}}}});
    std::fs::write(folder.join("opencode.json"), config.to_string()).unwrap();
    store.session("ses_a");
    let text = json!({"type": "text", "text": "Well.", "metadata": {"openai": {"itemId": "msg_1"}}});
    store.says("ses_a", Some("stop"), &[start(), secret("openai", "rs_1", "gAAAxyzDQ=="), text]);
    store.refused("ses_a", 404, "Item with id 'rs_1' not found. Items are not persisted when `store` is set to false.");
    let scan = |store: &Built| store.rows.place.scan().status("ses_a").to_owned();
    assert_eq!(scan(&store), "dead");
    let run = store.rows.place.repair_with(&["ses_a", "--include", "reasoning"]).exits(0).json();
    assert_eq!(run["plan"]["sessions"][0]["leaves"].as_array().unwrap().len(), 2);
    assert_eq!(scan(&store), "healthy");
    let all = store.rows.place.text("SELECT group_concat(data, ' ') FROM part");
    assert!(!all.contains("itemId") && all.contains("gAAAxyzDQ==") && all.contains("Well."), "{all}");
}

#[test]
fn sessions_that_wait_for_nothing_are_counted() {
    let store = Built::new("mock", "claude-opus-4-6", "@ai-sdk/anthropic");
    let cut = |state: Value| json!({"type": "tool", "tool": "bash", "callID": "c1", "state": state});
    let orphan = cut(json!({"status": "error", "input": {}, "error": "Tool execution aborted",
        "metadata": {"interrupted": true}, "time": {"start": 1, "end": 2}}));
    let running = cut(json!({"status": "running", "input": {}, "time": {"start": 1}}));
    store.session("ses_orphan").says("ses_orphan", Some("stop"), &[start(), orphan.clone()]);
    store.session("ses_running").says("ses_running", None, &[start(), running]);
    store.session("ses_sound").says("ses_sound", Some("stop"), &[start(), orphan.clone(), words()]);
    store.session("ses_past").says("ses_past", Some("stop"), &[start(), orphan]);
    store.says("ses_past", Some("stop"), &[start(), words()]);
    let sdk = store.sdk();
    let scan = store.rows.place.scan_with(&store.flags(&[], &sdk));
    assert_eq!(scan.document["summary"]["waiting"], 2, "{:?}", scan.document["summary"]);
    let waits = |id: &str| scan.session(id)["findings"].to_string().contains("unanswered-prompt");
    assert_eq!([waits("ses_orphan"), waits("ses_running"), waits("ses_past")], [true, false, false]);
    let text = store.rows.place.unstick(&store.flags(&["scan"], &sdk)).stdout;
    assert!(text.contains("2 sessions wait for nothing"), "{text}");
}

#[test]
fn figures_tell_what_was_refused_and_by_whom() {
    let store = responses();
    two_answers(&store, "ses_a");
    store.refused("ses_a", 400, NOT_ISSUED);
    store.refused("ses_a", 400, NOT_ISSUED);
    let stats = store.rows.place.unstick(&["stats", "--json"]).exits(0).json();
    assert_eq!(stats["other_400s_by_model"], json!({"encrypted-reasoning": {"opencode/gpt-5.2": 2}}));
    let text = store.rows.place.unstick(&["stats"]).exits(0).stdout;
    assert!(text.contains("2 encrypted-reasoning: 2 of opencode/gpt-5.2"), "{text}");
    let sdk = store.sdk();
    let text = store.rows.place.unstick(&store.flags(&["explain", "ses_a"], &sdk)).stdout;
    assert!(text.contains("< refused: bad-encrypted-reasoning"), "{text}");
}

#[cfg(unix)]
#[test]
fn a_dead_session_is_offered_what_helps() {
    use crate::place::start as begin;
    use crate::pty::Pty;
    let store = responses();
    two_answers(&store, "ses_a");
    store.refused("ses_a", 400, NOT_ISSUED);
    let before = store.rows.place.dump();
    let sdk = store.sdk();
    let args = store.flags(&["repair", "ses_a"], &sdk);
    for (answer, code) in [("n", 1), ("y", 0)] {
        let mut pty = Pty::start(store.rows.place.on_store(&args), begin);
        pty.shows("This discards the hidden reasoning of 2 answers. Do it? [y/N]");
        pty.types(answer);
        let (exit, shown) = pty.ends();
        assert_eq!(exit, code, "{shown}");
        assert!(shown.contains("the model no longer sees its hidden reasoning of 2 answers"), "{shown}");
        assert_eq!(before == store.rows.place.dump(), answer == "n");
    }
    assert_eq!(store.said("ses_a"), healthy());
    // Nobody is there to ask: the command is told.
    store.undo();
    let told = store.rows.place.unstick(&args).exits(1).stdout;
    assert!(told.contains("repair ses_a --dry-run --include reasoning"), "{told}");
}

#[test]
fn an_answer_without_a_word_that_claude_is_sent_is_dead_and_goes_with_a_plain_repair_at_the_end() {
    let store = Built::new("google-vertex-anthropic", "claude-opus-4-6@default", "@ai-sdk/google-vertex/anthropic");
    let nothing = || vec![start(), json!({"type": "text", "text": ""})];
    store.session("ses_a");
    store.says("ses_a", None, &nothing());
    store.refused("ses_a", 400, "messages.1: all messages must have non-empty content");
    store.session("ses_b");
    store.says("ses_b", None, &nothing());
    assert_eq!(store.said("ses_a"), dead(&["empty-message opt-in 001", "latent-tail opt-in "]));
    assert_eq!(store.said("ses_b"), dead(&["empty-message opt-in 001", "empty-answer-tail automatic "]));
    // At the end it is a row that nothing refers to, in the middle it is taken out where that is asked for.
    let before = store.rows.place.dump();
    let plan = |include: &str| store.repair("ses_a", include)["plan"]["sessions"].as_array().unwrap().len();
    assert_eq!(plan("calls"), 0);
    assert_eq!(plan("blank-text"), 1);
    let run = store.repair("ses_b", "at-risk");
    assert_eq!(run["plan"]["sessions"][0]["empty_answers"], true, "{run}");
    assert_eq!(run["left"], json!([]), "it is not dead any more");
    for session in ["ses_a", "ses_b"] {
        assert_ne!(store.said(session).0, "dead", "{session}");
    }
    store.undo();
    store.undo();
    assert!(before == store.rows.place.dump());
}

/// A refusal of one file says nothing of the others of its kind where the model has answered such a file.
#[test]
fn a_model_that_has_answered_an_image_takes_images() {
    let read = |id: &str| {
        let mut call = called(id, &json!({}));
        call["state"]["attachments"] = json!([{"id": "prt_a", "sessionID": "ses_a", "messageID": "msg_a", "type": "file",
            "mime": "image/png", "filename": "it", "url": "data:image/png;base64,aGk="}]);
        call
    };
    let text = "No endpoints found that support image input";
    for (answered, status) in [("tool", "healthy"), ("nothing", "dead"), ("prompt", "dead")] {
        let store = Built::new("openrouter", "some/model", "@openrouter/ai-sdk-provider");
        store.session("ses_a");
        if answered == "prompt" {
            // Of a prompt's image opencode may have sent no more than its name.
            let model = json!({"providerID": store.provider, "modelID": store.model});
            let data = json!({"role": "user", "agent": "build", "model": model});
            let file =
                json!({"type": "file", "mime": "image/png", "filename": "it", "url": "data:image/png;base64,aGk="});
            let prompt = store.row("ses_a", &data, &[file]);
            let mut answer = store.answer(&prompt);
            answer["finish"] = json!("stop");
            store.row("ses_a", &answer, &[start(), words()]);
        }
        store.says("ses_a", Some("stop"), &[start(), read("c1")]);
        if answered == "tool" {
            store.says("ses_a", Some("stop"), &[start(), words()]);
            store.says("ses_a", Some("stop"), &[start(), read("c2")]);
        }
        store.refused("ses_a", 404, text);
        assert_eq!(store.said("ses_a").0, status, "{answered}");
    }
}

#[test]
fn a_document_that_bedrocks_package_gives_up_over_is_named_for_the_versions_that_do() {
    let store = Built::new("amazon-bedrock", "us.anthropic.claude-opus-4-6-v1", "@ai-sdk/amazon-bedrock");
    let mut call = called("c1", &json!({}));
    call["state"]["attachments"] = json!([{"id": "prt_a", "sessionID": "ses_a", "messageID": "msg_a", "type": "file",
        "mime": "text/csv", "filename": "it", "url": "data:text/csv;base64,YSxiCg=="}]);
    store.session("ses_a");
    store.says("ses_a", Some("stop"), &[start(), call, start(), words()]);
    let sdk = store.sdk();
    let status = |version: &str| {
        let scan = store.rows.place.scan_with(&store.flags(&["--opencode", version], &sdk));
        let session = scan.session("ses_a");
        (
            session["status"].as_str().unwrap().to_owned(),
            session["findings"][0]["code"].as_str().unwrap_or("").to_owned(),
        )
    };
    assert_eq!(status("1.14.48"), ("dead".to_owned(), "unsendable-file".to_owned()));
    assert_ne!(status("1.18.34").0, "dead");
    let include = ["ses_a", "--include", "media", "--opencode", "1.14.48"];
    let run = store.rows.place.repair_with(&store.flags(&include, &sdk)).json();
    assert_eq!(run["plan"]["sessions"].as_array().unwrap().len(), 1, "{run}");
    assert_ne!(status("1.14.48").0, "dead");
}
