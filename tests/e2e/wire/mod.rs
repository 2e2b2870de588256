//! The forms in which requests go over the wire, and what the suite reads of each.

pub(crate) mod stream;

use serde_json::{Value, json};

/// A protocol between an AI SDK package and a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    /// Anthropic's Messages.
    Messages,
    /// OpenAI's chat completions, in everybody's dialect.
    Chat,
    /// OpenAI's Responses.
    Responses,
    /// Google's `generateContent`.
    Google,
    /// Amazon Bedrock's Converse.
    Converse,
}

/// Whose turn an entry of a conversation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    User,
    Assistant,
    /// A tool's result.
    Tool,
}

impl Wire {
    /// The protocol that is spoken at a path.
    pub(crate) fn at(path: &str) -> Option<Self> {
        let path = path.split('?').next().unwrap_or(path);
        let ends = |end: &str| path.ends_with(end);
        match () {
            () if ends("/messages") || ends(":streamRawPredict") || ends(":rawPredict") => Some(Self::Messages),
            () if ends("/chat/completions") => Some(Self::Chat),
            () if ends("/responses") => Some(Self::Responses),
            () if ends(":streamGenerateContent") || ends(":generateContent") => Some(Self::Google),
            () if ends("/converse-stream") || ends("/converse") => Some(Self::Converse),
            () => None,
        }
    }

    /// The protocol of a recorded body.
    pub(crate) fn of(body: &Value) -> Self {
        let first = || body["messages"].as_array().into_iter().flatten().next();
        if body["contents"].is_array() {
            Self::Google
        } else if body["input"].is_array() {
            Self::Responses
        } else if body["toolConfig"].is_object() || body["inferenceConfig"].is_object() {
            Self::Converse
        } else if body["max_tokens"].is_u64() && (body["system"].is_array() || body["anthropic_version"].is_string()) {
            Self::Messages
        } else if first().is_some_and(|m| m["content"][0].is_object() && m["content"][0]["type"].is_null()) {
            Self::Converse
        } else {
            Self::Chat
        }
    }

    /// The member of a body that holds the conversation.
    pub(crate) fn member(self) -> &'static str {
        match self {
            Self::Messages | Self::Chat | Self::Converse => "messages",
            Self::Responses => "input",
            Self::Google => "contents",
        }
    }

    /// The entries of the conversation, system prompts aside.
    pub(crate) fn conversation(self, body: &Value) -> impl DoubleEndedIterator<Item = &Value> {
        let all = body[self.member()].as_array().into_iter().flatten();
        all.filter(|turn| !["system", "developer"].iter().any(|role| turn["role"] == *role))
    }

    /// Whose an entry is.
    pub(crate) fn side(self, entry: &Value) -> Side {
        match (self, entry["role"].as_str(), entry["type"].as_str()) {
            (_, Some("user"), _) => Side::User,
            (_, Some("tool"), _) | (Self::Responses, None, Some("function_call_output")) => Side::Tool,
            _ => Side::Assistant,
        }
    }

    /// Whether the last entry is the assistant's.
    pub(crate) fn ends_with_assistant(self, body: &Value) -> bool {
        self.conversation(body).next_back().is_some_and(|entry| self.side(entry) == Side::Assistant)
    }

    /// All words of an entry.
    pub(crate) fn text(self, entry: &Value) -> String {
        let content = if self == Self::Google { &entry["parts"] } else { &entry["content"] };
        text_of(content)
    }

    pub(crate) fn system(self, body: &Value) -> String {
        let mut system = match self {
            Self::Google => text_of(&body["systemInstruction"]["parts"]),
            _ => text_of(&body["system"]),
        };
        for turn in body[self.member()].as_array().into_iter().flatten() {
            if ["system", "developer"].iter().any(|role| turn["role"] == *role) {
                system.push_str(&text_of(&turn["content"]));
            }
        }
        system
    }

    /// Whether the request offers tools.
    pub(crate) fn has_tools(self, body: &Value) -> bool {
        let tools = if self == Self::Converse { &body["toolConfig"]["tools"] } else { &body["tools"] };
        tools.as_array().is_some_and(|tools| !tools.is_empty())
    }

    /// How the service words a 400.
    pub(crate) fn error(self, message: &str) -> Value {
        let anthropic = json!({"type": "error", "error": {"type": "invalid_request_error", "message": message}, "request_id": "req_e2e"});
        match self {
            Self::Messages => anthropic,
            Self::Chat => {
                let message = format!(
                    "litellm.BadRequestError: Azure_aiException - {anthropic}. Received Model Group=claude-opus-4-6\n\
                     Available Model Group Fallbacks=None"
                );
                json!({"error": {"message": message, "type": null, "param": null, "code": "400"}})
            }
            Self::Responses => {
                json!({"error": {"message": message, "type": "invalid_request_error", "param": "input", "code": null}})
            }
            Self::Google => json!({"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}}),
            Self::Converse => json!({"message": format!("The model returned the following errors: {message}")}),
        }
    }
}

fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(blocks) => blocks.iter().filter_map(|block| block["text"].as_str()).collect::<Vec<_>>().join("\n"),
        _ => String::new(),
    }
}

/// Takes out of a body what differs from place to place without the model being told anything else by it: the system
/// prompt, tools and cache marks.
pub(crate) fn bare(body: &Value) -> Value {
    let wire = Wire::of(body);
    let mut body = body.clone();
    let conversation: Vec<Value> = wire.conversation(&body).cloned().collect();
    body[wire.member()] = json!(conversation);
    if let Some(body) = body.as_object_mut() {
        for name in ["system", "systemInstruction", "tools", "toolConfig", "tool_choice", "instructions"] {
            body.remove(name);
        }
    }
    drop_cache_marks(&mut body);
    body
}

fn drop_cache_marks(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for name in ["cache_control", "copilot_cache_control", "prompt_cache_breakpoint"] {
                map.remove(name);
            }
            map.values_mut().for_each(drop_cache_marks);
            // OpenRouter's package makes a list of a text in order to mark it.
            if map.get("role").is_some_and(|role| role == "user")
                && let Some([Value::Object(only)]) = map.get("content").and_then(Value::as_array).map(Vec::as_slice)
                && only.len() == 2
                && only.get("type").is_some_and(|kind| kind == "text")
                && let Some(text) = only.get("text").cloned()
            {
                map.insert("content".to_owned(), text);
            }
        }
        Value::Array(list) => {
            list.retain(|item| !item.as_object().is_some_and(|o| o.len() == 1 && o.contains_key("cachePoint")));
            list.iter_mut().for_each(drop_cache_marks);
        }
        _ => {}
    }
}

/// Turns in a form that fits on a line.
pub(crate) fn short(body: &Value) -> String {
    let wire = Wire::of(body);
    wire.conversation(body).map(|entry| short_entry(wire, entry)).collect::<Vec<_>>().join(" ")
}

fn short_entry(wire: Wire, entry: &Value) -> String {
    let content = if wire == Wire::Google { &entry["parts"] } else { &entry["content"] };
    let mut blocks: Vec<String> = match content {
        Value::String(text) => vec![format!("text:{}", brief(text))],
        Value::Array(blocks) => blocks.iter().map(block).collect(),
        _ => Vec::new(),
    };
    for name in ["reasoning_content", "reasoning", "reasoning_text", "reasoning_details", "reasoning_opaque"] {
        match &entry[name] {
            Value::Null => {}
            Value::String(text) => blocks.insert(0, format!("{name}:{}", brief(text))),
            other => blocks.insert(0, format!("{name}:{}", brief(&other.to_string()))),
        }
    }
    for call in entry["tool_calls"].as_array().into_iter().flatten() {
        blocks.push(format!("tool_call:{}", call["function"]["name"].as_str().unwrap_or("?")));
    }
    let who = entry["role"].as_str().or(entry["type"].as_str()).unwrap_or("?");
    let id = entry["id"].as_str().map(|id| format!(" id={id}")).unwrap_or_default();
    format!("{who}[{}]{id}", blocks.join(" "))
}

fn block(block: &Value) -> String {
    let kind = block["type"].as_str().or_else(|| block.as_object()?.keys().next().map(String::as_str)).unwrap_or("?");
    match kind {
        "text" | "input_text" | "output_text" => format!("text:{}", brief(block["text"].as_str().unwrap_or(""))),
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
