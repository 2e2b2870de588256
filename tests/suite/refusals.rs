//! Sessions that services other than Claude's refuse for ever, each store built row by row.

use std::cell::Cell;

use rusqlite::{Connection, params};
use serde_json::{Value, json};

use crate::place::Place;

/// A store that is built row by row, with a clock that goes on by a second for each row.
struct Built {
    place: Place,
    rows: Cell<i64>,
    provider: &'static str,
    model: &'static str,
    package: &'static str,
}

/// 1 November 2026, in ms.
const START: i64 = 1_793_491_200_000;

impl Built {
    fn new(provider: &'static str, model: &'static str, package: &'static str) -> Self {
        let place = Place::empty();
        place.sql().execute_batch(include_str!("refusals.sql")).unwrap();
        Self { place, rows: Cell::new(0), provider, model, package }
    }

    fn next(&self) -> (i64, String) {
        let n = self.rows.get() + 1;
        self.rows.set(n);
        (START + n * 1_000, format!("{n:012x}{n:014}"))
    }

    fn db(&self) -> Connection {
        self.place.sql()
    }

    fn session(&self, name: &str) -> &Self {
        let (at, _) = self.next();
        let insert = "INSERT INTO session VALUES (?1, 'p', NULL, 's', '/', ?1, '1.18.34', NULL, ?2, ?2)";
        self.db().execute(insert, params![name, at]).unwrap();
        self
    }

    fn row(&self, session: &str, data: &Value, parts: &[Value]) -> String {
        let (at, id) = self.next();
        let (db, id) = (self.db(), format!("msg_{id}"));
        let mut data = data.clone();
        data["time"] = json!({"created": at});
        let message = "INSERT INTO message VALUES (?1, ?2, ?3, ?3, ?4)";
        db.execute(message, params![id, session, at, data.to_string()]).unwrap();
        for (n, part) in parts.iter().enumerate() {
            let insert = "INSERT INTO part VALUES (?1, ?2, ?3, ?4, ?4, ?5)";
            let part_id = format!("prt_{}_{n:03}", &id[4..]);
            db.execute(insert, params![part_id, id, session, at, part.to_string()]).unwrap();
        }
        id
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
        let scan = self.place.scan_with(&self.flags(&[], &sdk));
        let named = self.place.scan_with(&self.flags(&[session], &sdk));
        assert_eq!(named.session(session), scan.session(session));
        let found = scan.session(session)["findings"].as_array().unwrap().iter();
        let told = found.map(|f| {
            let part = f["part_id"].as_str().unwrap_or("").rsplit('_').next().unwrap_or("");
            format!("{} {} {part}", f["code"].as_str().unwrap(), f["applicability"].as_str().unwrap())
        });
        (scan.status(session).to_owned(), told.collect())
    }

    fn repair(&self, session: &str, include: &str) -> Value {
        let sdk = self.sdk();
        let run = self.place.repair_with(&self.flags(&[session, "--include", include], &sdk));
        assert!(run.code <= 1, "{run:?}");
        run.json()
    }

    fn undo(&self) {
        self.place.unstick(&["undo", "--yes"]).exits(0);
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
    for n in 0..20 {
        two_answers(&store, &format!("ses_{n}"));
    }
    assert_eq!(store.said("ses_7"), healthy());
    store.refused("ses_7", 400, NOT_ISSUED);
    store.refused("ses_7", 400, NOT_ISSUED);
    let both = ["bad-encrypted-reasoning opt-in 001", "bad-encrypted-reasoning opt-in 001"];
    assert_eq!(store.said("ses_7"), dead(&both));
    for n in (0..20).filter(|n| *n != 7) {
        assert_eq!(store.said(&format!("ses_{n}")), healthy());
    }
    let before = store.place.dump();
    let run = store.repair("ses_7", "blank-text,media,calls,signatures");
    assert_eq!(run["plan"]["sessions"], json!([]));
    let run = store.repair("ses_7", "reasoning");
    assert_eq!(run["plan"]["sessions"][0]["leaves"].as_array().unwrap().len(), 2);
    assert_eq!(store.said("ses_7"), healthy());
    let left = store
        .place
        .text("SELECT group_concat(data, ' ') FROM part WHERE session_id = 'ses_7' AND data LIKE '%reasoning%'");
    assert!(!left.contains("gAAA") && !left.contains("rs_") && left.contains(r#""metadata":{"openai":{}}"#), "{left}");
    for n in (0..20).filter(|n| *n != 7) {
        let id = format!("ses_{n}");
        assert!(before.of_session(&id) == store.place.dump().of_session(&id));
    }
    store.undo();
    assert!(before == store.place.dump());
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
        let left = store.place.text(
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
        let all = store.place.text("SELECT group_concat(data, ' ') FROM part");
        assert!(!all.contains(gone) && all.contains(kept), "{package}: {all}");
    }
}
