//! A scripted model service on loopback. It speaks the two protocols that opencode's users meet, enforces
//! what the real services enforce, and keeps every request whole.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};

use crate::claude;
use crate::claude::FOREIGN;
use crate::responses;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Protocol {
    Anthropic,
    OpenAi,
    /// OpenAI's newer one, which the preview of opencode 2 is asked with.
    Responses,
}

impl Protocol {
    /// The two that opencode 1 is asked with.
    pub(crate) const ALL: [Self; 2] = [Self::Anthropic, Self::OpenAi];

    /// The provider id under which the private configuration offers it.
    pub(crate) fn provider(self) -> &'static str {
        match self {
            Self::Anthropic => "mock",
            Self::OpenAi => "litellm",
            Self::Responses => "gateway",
        }
    }

    pub(crate) fn package(self) -> &'static str {
        match self {
            Self::Anthropic => "@ai-sdk/anthropic",
            Self::OpenAi => "@ai-sdk/openai-compatible",
            Self::Responses => "@ai-sdk/openai",
        }
    }
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Title,
    Compaction,
    Turn,
}

/// A rule of the real service that a request breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The last turn is the assistant's.
    Prefill,
    Other(String),
}

impl Refusal {
    /// What the service says.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Prefill => PREFILL,
            Self::Other(message) => message,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) purpose: Purpose,
    /// The session that it belongs to, where the request says so.
    pub(crate) session: Option<String>,
    pub(crate) body: Value,
    pub(crate) refusal: Option<Refusal>,
}

impl Request {
    /// The turns as the model is told them: no system prompt, no cache markers, no turn without content.
    pub(crate) fn turns(&self) -> Vec<Value> {
        let mut turns: Vec<Value> = conversation(&self.body).cloned().collect();
        turns.iter_mut().for_each(drop_cache_markers);
        turns.retain(|turn| !is_empty(turn));
        turns
    }

    pub(crate) fn ends_with_assistant(&self) -> bool {
        conversation(&self.body).next_back().is_some_and(|turn| turn["role"] == "assistant")
    }

    /// The turns as they are sent, the first system prompt aside.
    pub(crate) fn turns_of_session(&self) -> impl Iterator<Item = &Value> {
        conversation(&self.body)
    }

    /// [`Request::turns_of_session`] without cache markers.
    pub(crate) fn whole_turns(&self) -> Vec<Value> {
        let mut turns: Vec<Value> = self.turns_of_session().cloned().collect();
        turns.iter_mut().for_each(drop_cache_markers);
        turns
    }

    /// `user[text:12] assistant[text:5 tool_use:bash] …`, for people.
    pub(crate) fn short(&self) -> String {
        short(&conversation(&self.body).cloned().collect::<Vec<_>>())
    }
}

/// Turns in a form that fits on a line.
pub(crate) fn short(turns: &[Value]) -> String {
    let turn = |turn: &Value| {
        let mut blocks: Vec<String> = match &turn["content"] {
            Value::String(text) => vec![format!("text:{}", brief(text))],
            Value::Array(blocks) => blocks.iter().map(block).collect(),
            _ => Vec::new(),
        };
        if let Some(text) = turn["reasoning_content"].as_str() {
            blocks.insert(0, format!("reasoning:{}", brief(text)));
        }
        for call in turn["tool_calls"].as_array().into_iter().flatten() {
            blocks.push(format!("tool_call:{}", call["function"]["name"].as_str().unwrap_or("?")));
        }
        format!("{}[{}]", turn["role"].as_str().unwrap_or("?"), blocks.join(" "))
    };
    turns.iter().map(turn).collect::<Vec<_>>().join(" ")
}

fn block(block: &Value) -> String {
    let kind = block["type"].as_str().unwrap_or("?");
    match kind {
        "text" => format!("text:{}", brief(block["text"].as_str().unwrap_or(""))),
        "thinking" => format!("thinking:{}", brief(block["thinking"].as_str().unwrap_or(""))),
        "tool_use" => format!("tool_use:{}", block["name"].as_str().unwrap_or("?")),
        _ => kind.to_owned(),
    }
}

fn brief(text: &str) -> String {
    let mut short: String = text.chars().take(18).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{short:?}")
}

fn conversation(body: &Value) -> impl DoubleEndedIterator<Item = &Value> {
    let turns = body["messages"].as_array().or_else(|| body["input"].as_array());
    turns.into_iter().flatten().filter(|turn| turn["role"] != "system")
}

fn drop_cache_markers(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.remove("cache_control");
            map.values_mut().for_each(drop_cache_markers);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_cache_markers),
        _ => {}
    }
}

fn is_empty(turn: &Value) -> bool {
    let no_words = match &turn["content"] {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(blocks) => blocks.iter().all(|block| block["type"] == "text" && block["text"] == ""),
        _ => false,
    };
    let calls = turn["tool_calls"].as_array().is_some_and(|calls| !calls.is_empty());
    let thoughts = turn["reasoning_content"].as_str().is_some_and(|text| !text.is_empty());
    no_words && !calls && !thoughts && turn["role"] != "tool"
}

/// A step of an answer that is streamed.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Thinking(&'static str),
    Text(&'static str),
    /// Thoughts with a signature of somebody else's.
    Foreign(&'static str),
    /// The start of a text of which nothing has come yet.
    NoText,
    /// A whole tool call.
    Tool(&'static str, Value),
    /// A whole tool call under an id of its own.
    Call(&'static str, &'static str, Value),
    /// The start of a tool call, and the first characters of its input.
    PartOfTool(&'static str, &'static str),
    Wait(Duration),
    /// The connection is reset: what a broken network looks like. A clean close is no error for the client.
    Reset,
    /// The service says in the middle of its answer that it is overloaded.
    Overload,
    /// Nothing more comes until the client goes away.
    Hang,
    /// The input tokens that the answer reports. Ten, unless said.
    InputTokens(u64),
}

/// What the provider says to the next request of a conversation.
pub(crate) type Reply = Vec<Event>;

#[derive(Debug, Default)]
struct State {
    requests: Vec<Request>,
    scripts: HashMap<String, VecDeque<Reply>>,
    calls: u64,
}

#[derive(Debug)]
pub(crate) struct Provider {
    port: u16,
    state: Arc<Mutex<State>>,
    over: Arc<AtomicBool>,
}

impl Provider {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port for the provider");
        let port = listener.local_addr().expect("its address").port();
        let state = Arc::<Mutex<State>>::default();
        let over = Arc::<AtomicBool>::default();
        let (shared, ended) = (Arc::clone(&state), Arc::clone(&over));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::Relaxed) {
                    break;
                }
                let (Ok(stream), shared, ended) = (stream, Arc::clone(&shared), Arc::clone(&ended)) else { continue };
                std::thread::spawn(move || {
                    let _the_client_may_go_away = serve(stream, &shared, &ended);
                });
            }
        });
        Self { port, state, over }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The replies to the requests whose newest user text holds `SCN:<marker>`, one after the other.
    /// When they are used up, and for all other requests, the answer is a short text.
    pub(crate) fn script(&self, marker: &str, replies: impl IntoIterator<Item = Reply>) {
        self.state().scripts.entry(marker.to_owned()).or_default().extend(replies);
    }

    /// How many requests there were so far.
    pub(crate) fn count(&self) -> usize {
        self.state().requests.len()
    }

    /// The requests from the `start`th on, titles aside: of one session, or all.
    pub(crate) fn requests(&self, start: usize, session: Option<&str>) -> Vec<Request> {
        let state = self.state();
        let asked = state.requests[start..].iter().filter(|request| request.purpose != Purpose::Title);
        asked.filter(|request| session.is_none() || request.session.as_deref() == session).cloned().collect()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _wake_the_listener = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn serve(stream: TcpStream, state: &Mutex<State>, over: &AtomicBool) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split_whitespace().nth(1).unwrap_or("").to_owned();
    let mut headers = HashMap::new();
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.insert(name.trim().to_lowercase(), value.trim().to_owned());
        }
    }
    let length = headers.get("content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let protocol = match path.as_str() {
        "/v1/messages" => Protocol::Anthropic,
        "/v1/chat/completions" => Protocol::OpenAi,
        "/v1/responses" => Protocol::Responses,
        _ => return plain(&stream, "404 Not Found", &json!({"error": {"message": format!("no such path: {path}")}})),
    };
    answer(stream, protocol, &headers, body, state, over)
}

fn answer(
    stream: TcpStream,
    protocol: Protocol,
    headers: &HashMap<String, String>,
    body: Value,
    state: &Mutex<State>,
    over: &AtomicBool,
) -> std::io::Result<()> {
    let system = system_prompt(&body);
    let purpose = purpose(&system, &body);
    let refusal = refusal(protocol, &body);
    let session = headers.get("x-session-affinity").cloned().or_else(|| {
        let (_, after) = system.split_once("E2E-SESSION:")?;
        Some(after.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect())
    });
    let refused = refusal.clone();
    let marker = newest_marker(&body);
    let (reply, call) = {
        let mut state = state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        state.requests.push(Request { purpose, session, body, refusal });
        state.calls += 1;
        let queue = match purpose {
            Purpose::Title => None,
            _ if refused.is_some() => None,
            _ => marker.and_then(|marker| state.scripts.get_mut(&marker)),
        };
        let reply = queue.and_then(VecDeque::pop_front).unwrap_or_else(|| vec![Event::Text("Understood.")]);
        (reply, state.calls)
    };
    match refused {
        Some(refusal) => plain(&stream, "400 Bad Request", &error_body(protocol, &refusal)),
        None => stream_reply(stream, protocol, &reply, call, over),
    }
}

fn plain(mut stream: &TcpStream, status: &str, body: &Value) -> std::io::Result<()> {
    let body = body.to_string();
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(blocks) => blocks.iter().filter_map(|block| block["text"].as_str()).collect::<Vec<_>>().join("\n"),
        _ => String::new(),
    }
}

fn system_prompt(body: &Value) -> String {
    let first = body["messages"].as_array().into_iter().flatten().filter(|turn| turn["role"] == "system");
    let mut system = text_of(&body["system"]);
    for turn in first {
        system.push_str(&text_of(&turn["content"]));
    }
    system
}

fn purpose(system: &str, body: &Value) -> Purpose {
    let last = conversation(body).next_back().map(|turn| text_of(&turn["content"])).unwrap_or_default();
    let tools = body["tools"].as_array().is_some_and(|tools| !tools.is_empty());
    let asks_for_summary =
        ["anchored summary", "prompt for continuing our conversation", "detailed prompt for continuing"]
            .iter()
            .any(|words| last.contains(words));
    let summariser = ["tasked with summarizing", "context summarization", "anchored context"]
        .iter()
        .any(|words| system.contains(words));
    if system.contains("title generator") || last.starts_with("Generate a title for this conversation") {
        Purpose::Title
    } else if !tools && (asks_for_summary || summariser) || asks_for_summary && summariser {
        Purpose::Compaction
    } else {
        Purpose::Turn
    }
}

fn newest_marker(body: &Value) -> Option<String> {
    let users: Vec<&Value> = conversation(body).filter(|turn| turn["role"] == "user").collect();
    users.iter().rev().find_map(|turn| {
        let text = text_of(&turn["content"]);
        let (_, after) = text.rsplit_once("SCN:")?;
        Some(after.chars().take_while(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).collect())
    })
}

const PREFILL: &str =
    "This model does not support assistant message prefill. The conversation must end with a user message.";

fn error_body(protocol: Protocol, refusal: &Refusal) -> Value {
    let message = refusal.text();
    let inner = json!({"type": "error", "error": {"type": "invalid_request_error", "message": message}, "request_id": "req_e2e"});
    match protocol {
        Protocol::Anthropic | Protocol::Responses => inner,
        Protocol::OpenAi => {
            let message = format!(
                "litellm.BadRequestError: Azure_aiException - {inner}. Received Model Group=claude-opus-4-6\n\
                 Available Model Group Fallbacks=None"
            );
            json!({"error": {"message": message, "type": null, "param": null, "code": "400"}})
        }
    }
}

/// The rule that a request breaks. The last turn is looked at first: it is what this project is about.
fn refusal(protocol: Protocol, body: &Value) -> Option<Refusal> {
    let turns: Vec<&Value> = conversation(body).collect();
    if protocol == Protocol::Responses {
        return responses::refuses(&turns).map(Refusal::Other);
    }
    if turns.last().is_some_and(|turn| turn["role"] == "assistant") {
        return Some(Refusal::Prefill);
    }
    let broken = match protocol {
        Protocol::Anthropic => anthropic_rule(&turns),
        Protocol::OpenAi | Protocol::Responses => openai_rule(&turns),
    };
    broken.or_else(|| claude::refuses(&turns)).map(Refusal::Other)
}

/// The turns as Anthropic's API takes them: those of one side that follow each other are one. A text is a block.
fn merged(turns: &[&Value]) -> Vec<(Value, Vec<Value>)> {
    let mut out: Vec<(Value, Vec<Value>)> = Vec::new();
    for turn in turns {
        let blocks = match &turn["content"] {
            Value::String(text) if !text.is_empty() => vec![json!({"type": "text", "text": text})],
            other => other.as_array().cloned().unwrap_or_default(),
        };
        match out.last_mut() {
            Some((role, all)) if *role == turn["role"] && !blocks.is_empty() && !all.is_empty() => all.extend(blocks),
            _ => out.push((turn["role"].clone(), blocks)),
        }
    }
    out
}

fn anthropic_rule(turns: &[&Value]) -> Option<String> {
    if turns.is_empty() {
        return Some("messages: at least one message is required".to_owned());
    }
    let mut seen = BTreeSet::new();
    let mut open = BTreeSet::new();
    for (index, (_, blocks)) in merged(turns).into_iter().enumerate() {
        if blocks.is_empty() {
            return Some(format!("messages.{index}: all messages must have non-empty content"));
        }
        let mut answered = BTreeSet::new();
        let mut called = BTreeSet::new();
        for block in &blocks {
            let id = |name: &str| block[name].as_str().unwrap_or("").to_owned();
            match block["type"].as_str() {
                Some("text") if block["text"] == "" => {
                    return Some("messages: text content blocks must be non-empty".to_owned());
                }
                Some("tool_use") => {
                    if !seen.insert(id("id")) {
                        return Some(format!("messages.{index}: `tool_use` ids must be unique"));
                    }
                    called.insert(id("id"));
                }
                Some("tool_result") => {
                    let name = id("tool_use_id");
                    if !open.contains(&name) {
                        return Some(format!(
                            "messages.{index}: unexpected `tool_use_id` found in `tool_result` blocks: {name}"
                        ));
                    }
                    answered.insert(name);
                }
                _ => {}
            }
        }
        if let Some(name) = open.difference(&answered).next() {
            return Some(format!("messages.{index}: `tool_use` ids were found without `tool_result` blocks: {name}"));
        }
        open = called;
    }
    open.first().map(|name| format!("`tool_use` ids were found without `tool_result` blocks: {name}"))
}

fn openai_rule(turns: &[&Value]) -> Option<String> {
    if turns.is_empty() {
        return Some("messages: at least one message is required".to_owned());
    }
    let mut seen = BTreeSet::new();
    let mut open = BTreeSet::<String>::new();
    for (index, turn) in turns.iter().enumerate() {
        if turn["role"] == "tool" {
            let name = turn["tool_call_id"].as_str().unwrap_or("");
            if !open.remove(name) {
                return Some(format!("messages.{index}: unexpected tool message: {name}"));
            }
            continue;
        }
        if let Some(name) = open.first() {
            return Some(format!("messages.{index}: tool_calls must be followed by tool messages: {name}"));
        }
        if turn["role"] == "user" && is_empty(turn) {
            return Some(format!("messages.{index}: user messages must have non-empty content"));
        }
        for call in turn["tool_calls"].as_array().into_iter().flatten() {
            let name = call["id"].as_str().unwrap_or("").to_owned();
            if !seen.insert(name.clone()) {
                return Some(format!("messages.{index}: `tool_use` ids must be unique"));
            }
            open.insert(name);
        }
    }
    open.first().map(|name| format!("tool_calls must be followed by tool messages: {name}"))
}

fn stream_reply(
    stream: TcpStream,
    protocol: Protocol,
    reply: &[Event],
    call: u64,
    over: &AtomicBool,
) -> std::io::Result<()> {
    // A kept connection that breaks is asked again silently, so each answer has its own. The chunks tell the
    // client where the answer should have ended: without them it takes a reset for the end.
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n\
                transfer-encoding: chunked\r\nconnection: close\r\n\r\n";
    (&stream).write_all(head.as_bytes())?;
    if protocol == Protocol::Responses {
        for event in responses::events(reply, call) {
            let text = format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or("?"));
            (&stream).write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes())?;
        }
        return (&stream).write_all(b"0\r\n\r\n");
    }
    let input = reply.iter().find_map(|event| match event {
        Event::InputTokens(tokens) => Some(*tokens),
        _ => None,
    });
    let mut writer = Writer { stream: &stream, protocol, call, block: 0, tools: 0, input: input.unwrap_or(10) };
    writer.start()?;
    for event in reply {
        match event {
            Event::Thinking(text) => writer.thinking(text)?,
            Event::Text(text) => writer.text(text)?,
            Event::Foreign(text) => writer.thought(text, FOREIGN)?,
            Event::NoText => writer.no_text()?,
            Event::Call(id, name, arguments) => writer.call(id, name, &arguments.to_string(), true)?,
            Event::Tool(name, arguments) => writer.tool(name, &arguments.to_string(), true)?,
            Event::PartOfTool(name, arguments) => writer.tool(name, arguments, false)?,
            Event::Wait(time) => std::thread::sleep(*time),
            Event::InputTokens(_) => {}
            Event::Reset => {
                let socket = socket2::Socket::from(stream);
                socket.set_linger(Some(Duration::ZERO))?;
                return Ok(());
            }
            Event::Overload => {
                writer.overload()?;
                return (&stream).write_all(b"0\r\n\r\n");
            }
            Event::Hang => {
                let mut byte = [0];
                stream.set_read_timeout(Some(Duration::from_millis(200)))?;
                while !over.load(Ordering::Relaxed) {
                    match (&stream).read(&mut byte) {
                        Ok(0) => break,
                        Err(error) if is_timeout(&error) => {}
                        Err(_) => break,
                        Ok(_) => {}
                    }
                }
                return Ok(());
            }
        }
    }
    writer.finish()?;
    (&stream).write_all(b"0\r\n\r\n")
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}

struct Writer<'a> {
    stream: &'a TcpStream,
    protocol: Protocol,
    call: u64,
    block: u64,
    tools: u64,
    input: u64,
}

impl Writer<'_> {
    fn anthropic(&mut self, data: &Value) -> std::io::Result<()> {
        let name = data["type"].as_str().unwrap_or("ping");
        self.send(&format!("event: {name}\ndata: {data}\n\n"))
    }

    fn send(&self, text: &str) -> std::io::Result<()> {
        let mut stream = self.stream;
        stream.write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes())
    }

    fn chunk(&mut self, delta: &Value, finish: &Value) -> std::io::Result<()> {
        let data = json!({"id": format!("chatcmpl-{}", self.call), "object": "chat.completion.chunk", "created": 1_767_225_600,
            "model": "claude-opus-4-6", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]});
        self.send(&format!("data: {data}\n\n"))
    }

    fn start(&mut self) -> std::io::Result<()> {
        match self.protocol {
            Protocol::Anthropic => {
                let message = json!({"id": format!("msg_{}", self.call), "type": "message", "role": "assistant",
                    "model": "claude-opus-4-6", "content": [], "stop_reason": null, "stop_sequence": null,
                    "usage": {"input_tokens": self.input, "output_tokens": 1}});
                self.anthropic(&json!({"type": "message_start", "message": message}))
            }
            Protocol::OpenAi | Protocol::Responses => {
                self.chunk(&json!({"role": "assistant", "content": ""}), &Value::Null)
            }
        }
    }

    fn block(&mut self, start: &Value, deltas: &[Value], whole: bool) -> std::io::Result<()> {
        let index = self.block;
        self.block += 1;
        self.anthropic(&json!({"type": "content_block_start", "index": index, "content_block": start}))?;
        for delta in deltas {
            self.anthropic(&json!({"type": "content_block_delta", "index": index, "delta": delta}))?;
        }
        if whole { self.anthropic(&json!({"type": "content_block_stop", "index": index})) } else { Ok(()) }
    }

    /// Thoughts. Those that end with an ellipsis are still going on.
    fn thinking(&mut self, text: &str) -> std::io::Result<()> {
        self.thought(text, "c2ln")
    }

    fn no_text(&mut self) -> std::io::Result<()> {
        match self.protocol {
            Protocol::Anthropic => self.block(&json!({"type": "text", "text": ""}), &[], false),
            Protocol::OpenAi | Protocol::Responses => self.chunk(&json!({"content": ""}), &Value::Null),
        }
    }

    fn thought(&mut self, text: &str, signature: &str) -> std::io::Result<()> {
        let whole = !text.ends_with('…');
        match self.protocol {
            Protocol::Anthropic => {
                let mut deltas = vec![json!({"type": "thinking_delta", "thinking": text})];
                if whole {
                    deltas.push(json!({"type": "signature_delta", "signature": signature}));
                }
                self.block(&json!({"type": "thinking", "thinking": "", "signature": ""}), &deltas, whole)
            }
            Protocol::OpenAi | Protocol::Responses => self.chunk(&json!({"reasoning_content": text}), &Value::Null),
        }
    }

    /// A text. One that ends with an ellipsis is still going on.
    fn text(&mut self, text: &str) -> std::io::Result<()> {
        match self.protocol {
            Protocol::Anthropic => {
                let deltas: Vec<Value> =
                    text.split_inclusive(' ').map(|word| json!({"type": "text_delta", "text": word})).collect();
                self.block(&json!({"type": "text", "text": ""}), &deltas, !text.ends_with('…'))
            }
            Protocol::OpenAi | Protocol::Responses => {
                text.split_inclusive(' ').try_for_each(|word| self.chunk(&json!({"content": word}), &Value::Null))
            }
        }
    }

    fn tool(&mut self, name: &str, arguments: &str, whole: bool) -> std::io::Result<()> {
        let id = format!("toolu_{}_{}", self.call, self.tools);
        self.call(&id, name, arguments, whole)
    }

    fn call(&mut self, id: &str, name: &str, arguments: &str, whole: bool) -> std::io::Result<()> {
        let index = self.tools;
        self.tools += 1;
        match self.protocol {
            Protocol::Anthropic => self.block(
                &json!({"type": "tool_use", "id": id, "name": name, "input": {}}),
                &[json!({"type": "input_json_delta", "partial_json": arguments})],
                whole,
            ),
            Protocol::OpenAi | Protocol::Responses => {
                let call =
                    json!({"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": ""}});
                self.chunk(&json!({"tool_calls": [call]}), &Value::Null)?;
                let call = json!({"index": index, "function": {"arguments": arguments}});
                self.chunk(&json!({"tool_calls": [call]}), &Value::Null)
            }
        }
    }

    fn overload(&mut self) -> std::io::Result<()> {
        match self.protocol {
            Protocol::Anthropic => self
                .anthropic(&json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})),
            Protocol::OpenAi | Protocol::Responses => {
                let message = "litellm.InternalServerError: Azure_aiException - {\"type\":\"error\",\"error\":\
                    {\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}";
                let data =
                    json!({"error": {"message": message, "type": "overloaded_error", "param": null, "code": "529"}});
                self.send(&format!("data: {data}\n\n"))
            }
        }
    }

    fn finish(&mut self) -> std::io::Result<()> {
        match self.protocol {
            Protocol::Anthropic => {
                let reason = if self.tools > 0 { "tool_use" } else { "end_turn" };
                self.anthropic(
                    &json!({"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": null},
                    "usage": {"output_tokens": 5}}),
                )?;
                self.anthropic(&json!({"type": "message_stop"}))
            }
            Protocol::OpenAi | Protocol::Responses => {
                let reason = if self.tools > 0 { "tool_calls" } else { "stop" };
                self.chunk(&json!({}), &json!(reason))?;
                let data = json!({"id": format!("chatcmpl-{}", self.call), "object": "chat.completion.chunk",
                    "created": 1_767_225_600, "model": "claude-opus-4-6", "choices": [],
                    "usage": {"prompt_tokens": self.input, "completion_tokens": 5, "total_tokens": self.input + 5}});
                self.send(&format!("data: {data}\n\ndata: [DONE]\n\n"))
            }
        }
    }
}
