//! A scripted model service on loopback. It speaks the protocols of all packages that the suite sets up, enforces what
//! the real services are known to enforce, and keeps every request whole.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};

use crate::claude;
use crate::claude::FOREIGN;
use crate::strict;
use crate::wire::stream::{Dialect, Writer};
use crate::wire::{self, Side, Wire};

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
    pub(crate) wire: Wire,
    pub(crate) body: Value,
    pub(crate) refusal: Option<Refusal>,
}

impl Request {
    /// The body without what says nothing about the conversation: system prompt, tools, cache marks.
    pub(crate) fn bare(&self) -> Value {
        wire::bare(&self.body)
    }

    /// [`Self::bare`] without the assistant's turns in which nothing is sent: no word, no call, no metadata.
    pub(crate) fn without_empty_answers(&self) -> Value {
        let mut body = self.bare();
        if let Some(turns) = body[self.wire.member()].as_array_mut() {
            turns.retain(|turn| !is_empty_answer(turn));
            // Messages of Claude's API alternate: two of the user's that stand side by side then are one.
            if self.wire == Wire::Messages {
                turns.dedup_by(|next, before| {
                    let both = next["role"] == "user" && before["role"] == "user";
                    if both {
                        before["content"] = [blocks(before), blocks(next)].concat().into();
                    }
                    both
                });
            }
        }
        body
    }

    /// The conversation of [`Request::bare`], entry by entry.
    pub(crate) fn turns(&self) -> Vec<Value> {
        self.bare()[self.wire.member()].as_array().cloned().unwrap_or_default()
    }

    pub(crate) fn ends_with_assistant(&self) -> bool {
        self.wire.ends_with_assistant(&self.body)
    }

    /// `user[text:12] assistant[text:5 tool_use:bash] …`, for people.
    pub(crate) fn short(&self) -> String {
        wire::short(&self.body)
    }
}

/// Whether an entry of chat completions says nothing.
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

/// The content of an entry as a list: one text stands for itself.
fn blocks(turn: &Value) -> Vec<Value> {
    match &turn["content"] {
        Value::Array(blocks) => blocks.clone(),
        text => vec![json!({"type": "text", "text": text})],
    }
}

/// Whether an entry is an assistant's turn in which nothing is sent.
fn is_empty_answer(turn: &Value) -> bool {
    let only = |value: &Value, names: &[&str]| {
        value.as_object().is_some_and(|members| members.keys().all(|name| names.contains(&name.as_str())))
    };
    let nothing = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(blocks) => blocks.iter().all(|block| only(block, &["type", "text"]) && block["text"] == ""),
        _ => false,
    };
    ["assistant", "model"].iter().any(|role| turn["role"] == *role)
        && only(turn, &["role", "content", "parts", "reasoning_content", "reasoning_details"])
        && nothing(&turn["content"])
        && ["parts", "reasoning_content", "reasoning_details"].iter().all(|name| nothing(&turn[*name]))
}

/// A step of an answer that is streamed.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Thinking(&'static str),
    /// Thoughts of which nothing but something encrypted is told.
    Encrypted(&'static str),
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
    if path.starts_with("/computeMetadata/") {
        return metadata(&stream, &path);
    }
    let Some(wire) = Wire::at(&path) else {
        return plain(&stream, "404 Not Found", &json!({"error": {"message": format!("no such path: {path}")}}));
    };
    let provider = path.split('/').nth(1).unwrap_or_default().to_owned();
    answer(stream, wire, &provider, &headers, body, state, over)
}

/// What a machine of Google's cloud tells programs about themselves: Vertex' packages get their token there.
fn metadata(mut stream: &TcpStream, path: &str) -> std::io::Result<()> {
    let token = json!({"access_token": "x", "expires_in": 3_600, "token_type": "Bearer"}).to_string();
    let body = if path.contains("/token") { token.as_str() } else { "some-project" };
    let kind = if path.contains("/token") { "application/json" } else { "text/plain" };
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nmetadata-flavor: Google\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn answer(
    stream: TcpStream,
    wire: Wire,
    provider: &str,
    headers: &HashMap<String, String>,
    body: Value,
    state: &Mutex<State>,
    over: &AtomicBool,
) -> std::io::Result<()> {
    let system = wire.system(&body);
    let purpose = purpose(wire, &system, &body);
    let refusal = refusal(wire, provider, &body);
    let session = headers.get("x-session-affinity").cloned().or_else(|| {
        let (_, after) = system.split_once("E2E-SESSION:")?;
        Some(after.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect())
    });
    let refused = refusal.clone();
    let marker = newest_marker(wire, &body);
    let (reply, call) = {
        let mut state = state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        state.requests.push(Request { purpose, session, wire, body, refusal });
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
        Some(refusal) => plain(&stream, "400 Bad Request", &wire.error(refusal.text())),
        None => stream_reply(stream, wire, Dialect::of(provider), &reply, call, over),
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

fn purpose(wire: Wire, system: &str, body: &Value) -> Purpose {
    let last = wire.conversation(body).next_back().map(|turn| wire.text(turn)).unwrap_or_default();
    let tools = wire.has_tools(body);
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

fn newest_marker(wire: Wire, body: &Value) -> Option<String> {
    let users: Vec<&Value> = wire.conversation(body).filter(|turn| wire.side(turn) == Side::User).collect();
    users.iter().rev().find_map(|turn| {
        let text = wire.text(turn);
        let (_, after) = text.rsplit_once("SCN:")?;
        Some(after.chars().take_while(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).collect())
    })
}

const PREFILL: &str =
    "This model does not support assistant message prefill. The conversation must end with a user message.";

/// The rule that a request breaks. The last turn is looked at first: it is what this project is about. Beyond that,
/// only what a service is known to refuse is refused.
fn refusal(wire: Wire, provider: &str, body: &Value) -> Option<Refusal> {
    let turns: Vec<&Value> = wire.conversation(body).collect();
    if provider == "gateway" {
        return gateway_rule(&turns).map(Refusal::Other);
    }
    if wire.ends_with_assistant(body) {
        return Some(Refusal::Prefill);
    }
    let claude = |broken: Option<String>| broken.or_else(|| claude::refuses(&turns));
    let broken = match wire {
        Wire::Messages if provider == "minimax" => None,
        Wire::Messages => claude(anthropic_rule(&turns)),
        Wire::Chat if provider == "litellm" => claude(openai_rule(&turns)),
        Wire::Chat => pairs(&turns),
        Wire::Responses => responses_rule(&turns),
        Wire::Google => None,
        Wire::Converse => converse_rule(&turns),
    };
    broken.or_else(|| strict::refuses(wire, body)).map(Refusal::Other)
}

/// Encrypted reasoning that the service has not made, in OpenAI's words. It takes requests that end with an answer.
fn gateway_rule(items: &[&Value]) -> Option<String> {
    if items.is_empty() {
        return Some("Missing required parameter: 'input'.".to_owned());
    }
    let foreign = items.iter().any(|item| item["type"] == "reasoning" && item["encrypted_content"] == FOREIGN);
    foreign.then(|| {
        "The encrypted content for item rs_1 could not be verified. Reason: Encrypted content could not be decrypted \
         or parsed."
            .to_owned()
    })
}

/// Calls and results that do not belong together, in OpenAI's words.
fn responses_rule(items: &[&Value]) -> Option<String> {
    let ids = |kind: &str| -> Vec<&str> {
        items.iter().filter(|i| i["type"] == kind).filter_map(|i| i["call_id"].as_str()).collect()
    };
    let (calls, outputs) = (ids("function_call"), ids("function_call_output"));
    let lacks = calls.iter().find(|id| !outputs.contains(id));
    let astray = outputs.iter().find(|id| !calls.contains(id));
    lacks
        .map(|id| format!("No tool output found for function call {id}."))
        .or_else(|| astray.map(|id| format!("No tool call found for function call output with call_id {id}.")))
}

/// What Bedrock says of blank texts, empty messages and calls without results.
fn converse_rule(turns: &[&Value]) -> Option<String> {
    let blocks = |turn: &Value| turn["content"].as_array().cloned().unwrap_or_default();
    for (m, turn) in turns.iter().enumerate() {
        if blocks(turn).is_empty() {
            return Some(format!("The content field in the Message object at messages.{m} is empty."));
        }
        for (b, block) in blocks(turn).iter().enumerate() {
            if block["text"].as_str().is_some_and(|text| text.trim().is_empty()) {
                return Some(format!(
                    "The text field in the ContentBlock object at messages.{m}.content.{b} is blank. Add text to the text \
                     field, and try again."
                ));
            }
        }
        let calls = blocks(turn).iter().filter(|b| b["toolUse"].is_object()).count();
        let results =
            turns.get(m + 1).map_or(0, |next| blocks(next).iter().filter(|b| b["toolResult"].is_object()).count());
        if calls != results {
            return Some(format!("Expected toolResult blocks at messages.{} for the calls before it", m + 1));
        }
    }
    None
}

/// The turns as Anthropic's API takes them: those of one side that follow each other are one. A text is a block.
fn merged(turns: &[&Value]) -> Vec<Vec<Value>> {
    let mut out: Vec<(&Value, Vec<Value>)> = Vec::new();
    for turn in turns {
        let blocks = match &turn["content"] {
            Value::String(text) if !text.is_empty() => vec![json!({"type": "text", "text": text})],
            other => other.as_array().cloned().unwrap_or_default(),
        };
        match out.last_mut() {
            Some((role, all)) if **role == turn["role"] && !blocks.is_empty() && !all.is_empty() => all.extend(blocks),
            _ => out.push((&turn["role"], blocks)),
        }
    }
    out.into_iter().map(|(_, blocks)| blocks).collect()
}

fn anthropic_rule(turns: &[&Value]) -> Option<String> {
    if turns.is_empty() {
        return Some("messages: at least one message is required".to_owned());
    }
    let mut seen = BTreeSet::new();
    let mut open = BTreeSet::new();
    for (index, blocks) in merged(turns).into_iter().enumerate() {
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
    for (index, turn) in turns.iter().enumerate() {
        if turn["role"] == "user" && is_empty(turn) {
            return Some(format!("messages.{index}: user messages must have non-empty content"));
        }
        for call in turn["tool_calls"].as_array().into_iter().flatten() {
            if !seen.insert(call["id"].as_str().unwrap_or("")) {
                return Some(format!("messages.{index}: `tool_use` ids must be unique"));
            }
        }
    }
    pairs(turns)
}

/// Calls without results and results without calls, in chat completions.
fn pairs(turns: &[&Value]) -> Option<String> {
    let mut open = Vec::<&str>::new();
    for (index, turn) in turns.iter().enumerate() {
        if turn["role"] == "tool" {
            let name = turn["tool_call_id"].as_str().unwrap_or("");
            match open.iter().position(|id| *id == name) {
                Some(at) => drop(open.remove(at)),
                None => return Some(format!("messages.{index}: unexpected tool message: {name}")),
            }
            continue;
        }
        if let Some(name) = open.first() {
            return Some(format!("messages.{index}: tool_calls must be followed by tool messages: {name}"));
        }
        open.extend(turn["tool_calls"].as_array().into_iter().flatten().map(|call| call["id"].as_str().unwrap_or("")));
    }
    open.first().map(|name| format!("tool_calls must be followed by tool messages: {name}"))
}

fn stream_reply(
    stream: TcpStream,
    wire: Wire,
    dialect: Dialect,
    reply: &[Event],
    call: u64,
    over: &AtomicBool,
) -> std::io::Result<()> {
    let input = reply.iter().find_map(|event| match event {
        Event::InputTokens(tokens) => Some(*tokens),
        _ => None,
    });
    let input = input.unwrap_or(10);
    let mut writer = Writer { stream: &stream, wire, dialect, call, block: 0, tools: 0, input };
    writer.head()?;
    writer.start()?;
    for event in reply {
        match event {
            Event::Thinking(text) => writer.thought(text, "c2ln")?,
            Event::Encrypted(data) => writer.encrypted(data)?,
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
