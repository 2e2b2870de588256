//! The replay against what real programs sent: every recorded body is predicted, block by block, word for word.
//!
//! A body and a prediction are brought to one form: the entries of the conversation, whose each is, and a line for every
//! piece of it. The lines of a body come from the body alone, those of a prediction from the rows that the replay names.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use opencode_unstick::environment::Environment;
use opencode_unstick::history::{Depth, Digest, MessageRow, MetaKind, Session, SessionInfo, head, part};
use opencode_unstick::replay::{BlockKind, RULE_SETS, Request, RuleSet, Sdk, Turn, TurnRole, prompt, resume_in, view};
use opencode_unstick::sdk::SdkResolver;
use serde_json::{Value, json};

use crate::setup::{MODELS, SETUPS, Setup};
use crate::shapes::{For, Row, Shape, shapes};

/// Where what was recorded lies.
fn recorded() -> PathBuf {
    std::env::var_os("UNSTICK_REQUESTS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/requests"), PathBuf::from)
}

/// One entry of a conversation: whose it is, and its pieces.
type Entry = (&'static str, Vec<String>);

/// A history with the JSON of its parts.
struct Made {
    session: Session,
    data: BTreeMap<String, Value>,
}

fn make(rows: &[Row]) -> Made {
    let mut messages = Vec::new();
    let mut all = BTreeMap::new();
    let mut parent = Value::Null;
    for (row, at) in rows.iter().zip(0i64..) {
        let id = format!("msg_{at:026}");
        let mut data = row.data.clone();
        data["time"] = json!({ "created": at });
        if data["role"] == "assistant" {
            data["parentID"] = parent.clone();
        } else {
            parent = json!(id);
        }
        let columns =
            MessageRow { rowid: at, id: id.clone(), session_id: "ses_1".into(), time_created: at, time_updated: at };
        let mut made = head(columns, &data.to_string()).unwrap().with(Vec::new());
        for (json, n) in row.parts.iter().zip(0..) {
            let id = format!("prt_{at:012}{n:014}");
            made.parts.push(part(&id, at, &json.to_string(), Depth::Whole).unwrap());
            all.insert(id, json.clone());
        }
        messages.push(made.into());
    }
    let info = SessionInfo {
        id: "ses_1".into(),
        parent_id: None,
        title: String::new(),
        directory: "/".into(),
        version: "1.18.34".into(),
        revert: None,
        time_created: 0,
        time_updated: 0,
    };
    Made { session: Session { info, messages, depth: Depth::Whole }, data: all }
}

fn short(url: &str) -> String {
    let data = url.rsplit_once(',').map_or(url, |(_, data)| data);
    format!("file:{}", &data[..data.len().min(24)])
}

fn text(words: &str) -> Vec<String> {
    if words.is_empty() { Vec::new() } else { vec![format!("text:{words}")] }
}

// What a body says.

fn call(name: &Value, id: &Value, input: &Value) -> String {
    let input = match input {
        Value::String(json) => serde_json::from_str(json).unwrap_or(Value::Null),
        other => other.clone(),
    };
    format!("call:{}:{}:{input}", name.as_str().unwrap_or(""), id.as_str().unwrap_or(""))
}

/// A result: its text, and the files in it.
fn result(id: &Value, content: &Value) -> Vec<String> {
    let mut out = vec![format!("result:{}", id.as_str().unwrap_or(""))];
    match content {
        // A list that stands in a text.
        Value::String(words) => match serde_json::from_str::<Value>(words) {
            Ok(Value::Array(list)) if words.starts_with("[{") => out.extend(list.iter().flat_map(piece)),
            _ => out.extend(text(words)),
        },
        Value::Array(list) => out.extend(list.iter().flat_map(piece)),
        _ => {}
    }
    out
}

/// Texts and files in any dialect.
fn piece(block: &Value) -> Vec<String> {
    let at = |path: &str| block.pointer(path).and_then(Value::as_str);
    let file = ["/image_url/url", "/file/file_data", "/source/data", "/image_url", "/document_url", "/file_data"]
        .iter()
        .chain(&["/inlineData/data", "/image/source/bytes", "/document/source/bytes", "/data"])
        .find_map(|path| at(path));
    match (at("/text"), file) {
        (Some(words), _) => text(words),
        (None, Some(url)) => vec![short(url)],
        _ => vec![format!("?{block}")],
    }
}

fn pieces(content: &Value) -> Vec<String> {
    match content {
        Value::String(words) => text(words),
        Value::Array(list) => list.iter().flat_map(piece).collect(),
        _ => Vec::new(),
    }
}

fn messages_block(block: &Value) -> Vec<String> {
    let at = |name: &str| block[name].as_str().unwrap_or("").to_owned();
    match at("type").as_str() {
        "thinking" => vec![format!("thinking:{}", at("thinking")), format!("sign:{}", at("signature"))],
        "redacted_thinking" => vec![format!("sign:{}", at("data"))],
        "tool_use" => vec![call(&block["name"], &block["id"], &block["input"])],
        "server_tool_use" => vec![format!("served:{}", at("name"))],
        "tool_result" => result(&block["tool_use_id"], &block["content"]),
        kind if kind.ends_with("_tool_result") => vec!["served-result".to_owned()],
        _ => piece(block),
    }
}

fn converse_block(block: &Value) -> Vec<String> {
    let of = |path: &str| block.pointer(path).and_then(Value::as_str);
    let thinking = &block["reasoningContent"];
    if thinking.is_object() {
        let words = of("/reasoningContent/reasoningText/text").map(|words| format!("thinking:{words}"));
        let sign = ["/reasoningText/signature", "/redactedContent", "/redactedReasoning/data"];
        let sign = sign.iter().find_map(|path| thinking.pointer(path)).and_then(Value::as_str);
        return words.into_iter().chain(sign.map(|sign| format!("sign:{sign}"))).collect();
    }
    if let Some(used) = block.get("toolUse") {
        return vec![call(&used["name"], &used["toolUseId"], &used["input"])];
    }
    match block.get("toolResult") {
        Some(done) => result(&done["toolUseId"], &done["content"]),
        None => piece(block),
    }
}

fn google_part(part: &Value) -> Vec<String> {
    let mut out = match part {
        p if p["thought"] == true => vec![format!("thinking:{}", p["text"].as_str().unwrap_or(""))],
        p if p["functionCall"].is_object() => {
            vec![call(&p["functionCall"]["name"], &json!(""), &p["functionCall"]["args"])]
        }
        p if p["toolCall"].is_object() => vec!["served:".to_owned()],
        p if p["toolResponse"].is_object() => vec!["served-result".to_owned()],
        p if p["functionResponse"].is_object() => {
            let said = &p["functionResponse"]["response"]["content"];
            let silent = said == "Tool executed successfully.";
            let mut out = result(&json!(""), if silent { &Value::Null } else { said });
            out.extend(p["functionResponse"]["parts"].as_array().into_iter().flatten().flat_map(piece));
            out
        }
        // Older models are told of a file behind the result.
        p if p["text"].as_str().is_some_and(|t| t.starts_with("Tool executed successfully and")) => Vec::new(),
        p => match p["text"].as_str().and_then(|text| serde_json::from_str::<Value>(text).ok()) {
            Some(file) if file["type"] == "file-data" => piece(&file),
            _ => piece(p),
        },
    };
    // Newer ones get a stand-in for a signature that is missing.
    let sign = part["thoughtSignature"].as_str().filter(|sign| *sign != "skip_thought_signature_validator");
    out.extend(sign.map(|sign| format!("sign:{sign}")));
    out
}

fn chat_entry(entry: &Value) -> Vec<String> {
    let mut out = Vec::new();
    for name in ["reasoning_content", "reasoning", "reasoning_text"] {
        out.extend(entry[name].as_str().filter(|t| !t.is_empty()).map(|words| format!("thinking:{words}")));
    }
    match &entry["reasoning_details"] {
        // A field of that name may hold the words.
        Value::String(words) if !words.is_empty() => out.push(format!("thinking:{words}")),
        Value::Array(details) => out.extend(details.iter().map(|detail| format!("detail:{detail}"))),
        _ => {}
    }
    out.extend(entry["reasoning_opaque"].as_str().map(|sign| format!("sign:{sign}")));
    out.extend(pieces(&entry["content"]));
    for used in entry["tool_calls"].as_array().into_iter().flatten() {
        out.push(call(&used["function"]["name"], &used["id"], &used["function"]["arguments"]));
        let sign = used.pointer("/extra_content/google/thought_signature").and_then(Value::as_str);
        out.extend(sign.map(|sign| format!("sign:{sign}")));
        out.extend(used["reasoning_content"].as_str().map(|field| format!("field:{field}")));
    }
    out
}

fn responses_item(item: &Value) -> Entry {
    let at = |name: &str| item[name].as_str().unwrap_or("").to_owned();
    match item["type"].as_str() {
        Some("reasoning") => {
            let words = item["summary"].as_array().into_iter().flatten();
            let mut out: Vec<String> =
                words.map(|w| format!("thinking:{}", w["text"].as_str().unwrap_or(""))).collect();
            out.extend(item["id"].as_str().filter(|id| !id.is_empty()).map(|id| format!("sign:{id}")));
            out.extend(item["encrypted_content"].as_str().map(|sign| format!("sign:{sign}")));
            ("assistant", out)
        }
        Some("item_reference") => ("assistant", vec![format!("named:{}", at("id"))]),
        Some("function_call") => {
            let mut out = vec![call(&item["name"], &item["call_id"], &item["arguments"])];
            out.extend(item["id"].as_str().filter(|id| item["call_id"] != *id).map(|id| format!("sign:{id}")));
            ("assistant", out)
        }
        Some("function_call_output") => ("tool", result(&item["call_id"], &item["output"])),
        _ if item["role"] == "user" => ("user", pieces(&item["content"])),
        _ => {
            let mut out = pieces(&item["content"]);
            for name in ["id", "phase"] {
                out.extend(item[name].as_str().map(|sign| format!("sign:{sign}")));
            }
            ("assistant", out)
        }
    }
}

/// The entries of a recorded conversation.
fn said(wire: &str, body: &[Value]) -> Vec<Entry> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let side = |entry: &Value| match entry["role"].as_str() {
        Some("assistant" | "model") => "assistant",
        Some("tool") => "tool",
        _ => "user",
    };
    let one = |entry: &Value| -> Entry {
        match wire {
            "messages" if entry["content"].is_array() => {
                (side(entry), list(&entry["content"]).iter().flat_map(messages_block).collect())
            }
            "converse" => (side(entry), list(&entry["content"]).iter().flat_map(converse_block).collect()),
            "google" => (side(entry), list(&entry["parts"]).iter().flat_map(google_part).collect()),
            "responses" => responses_item(entry),
            "chat" if entry["role"] == "tool" => ("tool", result(&entry["tool_call_id"], &entry["content"])),
            "chat" => (side(entry), chat_entry(entry)),
            _ => (side(entry), pieces(&entry["content"])),
        }
    };
    body.iter().map(one).collect()
}

fn wire(body: &[Value], setup: &Setup) -> &'static str {
    match setup.package {
        "@ai-sdk/anthropic" | "@ai-sdk/google-vertex/anthropic" => "messages",
        "@ai-sdk/amazon-bedrock" => "converse",
        "@ai-sdk/google" | "@ai-sdk/google-vertex" => "google",
        "@ai-sdk/openai" | "@ai-sdk/azure" | "@ai-sdk/xai" | "@ai-sdk/github-copilot"
            if body.iter().any(|entry| {
                entry["type"].is_string()
                    || entry["content"][0]["type"].as_str().is_some_and(|k| k.starts_with("input"))
            }) =>
        {
            "responses"
        }
        _ => "chat",
    }
}

// What the replay says.

struct Predicted<'a> {
    data: &'a BTreeMap<String, Value>,
    wire: &'a str,
    package: &'a str,
    mistral: bool,
    claude: bool,
}

impl Predicted<'_> {
    fn id(&self, id: &str) -> String {
        if self.wire == "google" {
            return String::new();
        }
        if self.claude {
            return id.chars().map(|c| if c.is_ascii_alphanumeric() || "_-".contains(c) { c } else { '_' }).collect();
        }
        if self.mistral {
            let plain: String = id.chars().filter(char::is_ascii_alphanumeric).take(9).collect();
            return format!("{plain:0<9}");
        }
        id.to_owned()
    }

    /// The words, calls and signs of a turn.
    fn pieces(&self, turn: &Turn<'_>) -> Vec<String> {
        let mut out = Vec::new();
        for block in &turn.blocks {
            let part = block.part_id().and_then(|id| self.data.get(id)).unwrap_or(&Value::Null);
            let at = |path: &str| part.pointer(path).and_then(Value::as_str).unwrap_or("");
            let id = || self.id(at("/callID"));
            match block.kind {
                BlockKind::Text | BlockKind::BlankText | BlockKind::EmptyText => out.extend(text(at("/text"))),
                BlockKind::StandIn => out.push("text: ".to_owned()),
                // Nothing of it but what only the provider can read.
                BlockKind::Thinking if block.digest == Digest::default() => {}
                BlockKind::Thinking if self.package == "@ai-sdk/mistral" => out.extend(text(at("/text"))),
                BlockKind::Thinking | BlockKind::EmptyThinking => {
                    let always = ["messages", "converse"].contains(&self.wire);
                    if always || !at("/text").is_empty() {
                        out.push(format!("thinking:{}", at("/text")));
                    }
                }
                BlockKind::ReasoningDetail => {
                    let all = part["metadata"].as_object().into_iter().flatten();
                    let details = all.flat_map(|(_, of)| of["reasoning_details"].as_array()).next().unwrap();
                    out.push(format!("detail:{}", details[block.piece.unwrap()]));
                }
                BlockKind::ItemReference => {}
                BlockKind::ToolCall => {
                    let input = part["state"]["input"].clone();
                    out.push(call(&part["tool"], &json!(id()), &input));
                }
                BlockKind::ProviderToolCall if self.wire == "messages" => out.push(format!("served:{}", at("/tool"))),
                BlockKind::ProviderToolCall if block.carries.iter().any(|c| c.kind == MetaKind::ServerTool) => {
                    out.push("served:".to_owned());
                }
                BlockKind::ProviderToolCall => {
                    out.push(call(&part["tool"], &json!(id()), &part["state"]["input"]));
                }
                BlockKind::ProviderToolResult => out.push("served-result".to_owned()),
                BlockKind::ToolResult | BlockKind::ToolError | BlockKind::ToolInterrupted => {
                    out.push(format!("result:{}", id()));
                    let state = &part["state"];
                    let words = match (&block.kind, state["status"].as_str()) {
                        (BlockKind::ToolInterrupted, _) => "[Tool execution was interrupted]",
                        (BlockKind::ToolError, _) => at("/state/error"),
                        _ if state["time"]["compacted"].is_number() => "[Old tool result content cleared]",
                        (_, Some("completed")) => at("/state/output"),
                        _ => at("/state/metadata/output"),
                    };
                    out.extend(text(words));
                }
                BlockKind::File => {
                    let attached = block.attachment().map(|at| &part["state"]["attachments"][at]["url"]);
                    out.push(short(attached.unwrap_or(&part["url"]).as_str().unwrap_or("")));
                }
                BlockKind::UnreadableFile => out.push("text:ERROR".to_owned()),
                BlockKind::MediaIntroduction => out.push("text:Attached media from tool result:".to_owned()),
                BlockKind::CompactionPrompt => out.push("text:What did we do so far?".to_owned()),
                BlockKind::SubtaskPrompt => out.push("text:The following tool was executed by the user".to_owned()),
                BlockKind::Reminder => out.push("text:reminder".to_owned()),
                BlockKind::Done => out.push("text:Done.".to_owned()),
            }
            out.extend(self.signs(block, part));
        }
        out
    }

    fn signs(&self, block: &opencode_unstick::replay::Block<'_>, part: &Value) -> Vec<String> {
        use MetaKind as K;
        let name = |kind: K| match kind {
            K::Signature => "signature",
            K::RedactedData => "redactedData",
            K::RedactedContent => "redactedContent",
            K::EncryptedContent => "reasoningEncryptedContent",
            K::ItemId => "itemId",
            K::Phase => "phase",
            K::ReasoningOpaque => "reasoningOpaque",
            K::ThoughtSignature => "thoughtSignature",
            K::ReasoningDetails | K::ServerTool | K::Unknown => "",
        };
        if block.kind == BlockKind::ItemReference && block.carries.is_empty() {
            return vec![format!("named:{}", part["callID"].as_str().unwrap_or(""))];
        }
        let mut out = Vec::new();
        for carried in &block.carries {
            // Which namespace it stood in is told by the digest.
            let all = part["metadata"].as_object().into_iter().flatten();
            let found = all.filter_map(|(_, of)| of[name(carried.kind)].as_str());
            let value = found.clone().find(|value| {
                let json = json!(value).to_string();
                let kind = name(carried.kind);
                Digest::of(&[kind.as_bytes(), json.as_bytes()]) == carried.digest
            });
            let what = if block.kind == BlockKind::ItemReference { "named" } else { "sign" };
            match carried.kind {
                K::Unknown | K::ServerTool => {
                    let field = part["metadata"]["openaiCompatible"]["reasoning_content"].as_str();
                    out.extend(field.filter(|_| self.wire == "chat").map(|f| format!("field:{f}")));
                }
                _ => out.push(format!("{what}:{}", value.unwrap_or("?"))),
            }
        }
        out
    }

    /// The entries that the request comes to.
    fn entries(&self, request: &Request<'_>) -> Vec<Entry> {
        let mut out: Vec<Entry> = Vec::new();
        let merges = ["messages", "converse"].contains(&self.wire);
        let mut last = None;
        for turn in &request.turns {
            let pieces = self.pieces(turn);
            let side = match turn.role {
                TurnRole::User => "user",
                TurnRole::Assistant => "assistant",
                TurnRole::Tool if merges || self.wire == "google" => "user",
                TurnRole::Tool => "tool",
            };
            if turn.role == TurnRole::Tool && side == "tool" {
                // Each result is an entry of its own.
                for piece in pieces {
                    match out.last_mut() {
                        Some((_, of)) if !piece.starts_with("result:") => of.push(piece),
                        _ => out.push(("tool", vec![piece])),
                    }
                }
            } else if merges && last == Some(turn.message) {
                out.last_mut().unwrap().1.extend(pieces);
            } else {
                out.push((side, pieces));
            }
            last = Some(turn.message);
        }
        if ["chat"].contains(&self.wire) {
            out.iter_mut().for_each(|(_, pieces)| join(pieces));
        }
        out
    }
}

/// In chat completions the texts of an answer are one text, and so is its thinking.
fn join(pieces: &mut Vec<String>) {
    let mut out: Vec<String> = Vec::new();
    for piece in std::mem::take(pieces) {
        let kind = piece.split(':').next().unwrap_or("").to_owned();
        match out.last_mut() {
            Some(last) if ["text", "thinking"].contains(&kind.as_str()) && last.starts_with(&format!("{kind}:")) => {
                last.push_str(&piece[kind.len() + 1..]);
            }
            _ => out.push(piece),
        }
    }
    *pieces = out;
}

/// Whether the history itself ends with that word.
fn ends_with_done(shape: &Shape) -> bool {
    let mut parts = shape.rows.iter().rev().flat_map(|row| row.parts.iter().rev());
    parts.find(|part| part["type"] == "text" || part["type"] == "tool").is_some_and(|part| part["text"] == "Done.")
}

fn rule_set(version: &str) -> &'static RuleSet {
    let version = version.parse().unwrap();
    RULE_SETS.iter().rev().find(|set| set.measured.0 <= version).unwrap()
}

/// The resolver's answer for a set-up, from the configuration that the recorded program had.
fn sdk(setup: &Setup) -> Sdk {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join(".config/opencode");
    fs::create_dir_all(&config).unwrap();
    let providers: serde_json::Map<String, Value> =
        SETUPS.iter().map(|setup| (setup.provider.to_owned(), setup.configuration(9))).collect();
    fs::write(config.join("opencode.json"), json!({ "provider": providers }).to_string()).unwrap();
    let env = Environment { vars: [].into(), home: Some(folder.path().to_owned()), cwd: folder.path().to_owned() };
    let resolver = SdkResolver::new(Vec::new(), &env).unwrap();
    resolver.choose(setup.provider, MODELS[0], folder.path()).sdk()
}

/// The misses of one set-up under one version.
fn misses(version: &str, setup: &Setup, record: &Value) -> Vec<String> {
    let (set, sdk) = (rule_set(version), sdk(setup));
    let who = For { provider: setup.provider, package: setup.package, model: MODELS[0], other: MODELS[1] };
    let mut out = Vec::new();
    for shape in shapes(who) {
        let Some(seen) = record.get(&shape.name) else { continue };
        let made = make(&shape.rows);
        let rows = view(&made.session.messages, set);
        let model = opencode_unstick::history::ModelRef { provider: setup.provider.into(), model: MODELS[0].into() };
        let request = prompt(&rows, set, &sdk, Some(&model));
        let retry = resume_in(&rows, set, &sdk).to_string().replace('-', " ");
        let stops = seen["retry"].as_str().is_some_and(|seen| seen.starts_with("failed")) && !request.stops.is_empty();
        if seen["retry"] != retry && !stops {
            out.push(format!("{}: a retry was to be {retry}, and was {}", shape.name, seen["retry"]));
        }
        let Some(body) = seen["prompt"].as_array() else {
            if request.stops.is_empty() {
                out.push(format!("{}: nothing was sent ({})", shape.name, seen["prompt"]));
            }
            continue;
        };
        if let Some(stop) = request.stops.first() {
            out.push(format!("{}: was to stop over {:?}", shape.name, stop.what));
        }
        let wire = wire(body, setup);
        let api = setup.api_id.unwrap_or(MODELS[0]);
        let mistral = setup.package == "@ai-sdk/mistral" || api.contains("devstral") || api.contains("mistral");
        let claude = api.contains("claude");
        let predicted = Predicted { data: &made.data, wire, package: setup.package, mistral, claude };
        let mut expected = said(wire, body);
        // The prompt itself, and what stands before it.
        let last = expected.pop();
        if let Some((_, pieces)) = last {
            let before: Vec<String> = pieces.into_iter().take_while(|piece| piece != "text:And now?").collect();
            if !before.is_empty() {
                expected.push(("user", before));
            }
        }
        // opencode's own word between a result and that.
        let results = expected.iter().rev().nth(1).is_some_and(|(side, _)| *side == "tool");
        if mistral && results && expected.last().is_some_and(|(_, p)| p == &["text:Done."]) && !ends_with_done(&shape) {
            expected.pop();
        }
        let found = predicted.entries(&request);
        if found != expected {
            out.push(format!("{}:\n    predicted {found:?}\n    sent      {expected:?}", shape.name));
        }
    }
    out
}

#[test]
fn every_recorded_body_is_predicted() {
    let mut all = Vec::new();
    let mut bodies = 0;
    for version in fs::read_dir(recorded()).unwrap().flatten().filter(|entry| entry.path().is_dir()) {
        let version = version.file_name().into_string().unwrap();
        for setup in &SETUPS {
            let path = recorded().join(&version).join(format!("{}.json", setup.provider));
            let Ok(text) = fs::read_to_string(&path) else { continue };
            let record: Value = serde_json::from_str(&text).unwrap();
            bodies += record.as_object().unwrap().len();
            let found = misses(&version, setup, &record);
            all.extend(found.into_iter().map(|miss| format!("{version} {}: {miss}", setup.provider)));
        }
    }
    assert!(all.is_empty(), "{} of {bodies} bodies are not predicted\n{}", all.len(), all.join("\n"));
    assert!(bodies > 0);
}
