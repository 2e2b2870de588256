//! Answers as each service streams them.

use std::io::Write as _;
use std::net::TcpStream;

use base64::Engine as _;
use serde_json::{Value, json};

use super::Wire;
use crate::claude::crc;

/// The dialects of chat completions: where a service puts thinking, and what vouches for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Plain,
    OpenRouter,
    Copilot,
    Groq,
    Mistral,
}

impl Dialect {
    pub(crate) fn of(provider: &str) -> Self {
        match provider {
            "or" | "or-gpt" => Self::OpenRouter,
            "copilot-like" | "github-copilot" => Self::Copilot,
            "groq" => Self::Groq,
            "mistral" => Self::Mistral,
            _ => Self::Plain,
        }
    }
}

/// One answer on its way.
pub(crate) struct Writer<'a> {
    pub(crate) stream: &'a TcpStream,
    pub(crate) wire: Wire,
    pub(crate) dialect: Dialect,
    pub(crate) call: u64,
    pub(crate) block: u64,
    pub(crate) tools: u64,
    pub(crate) input: u64,
}

impl Writer<'_> {
    pub(crate) fn head(&self) -> std::io::Result<()> {
        let kind = match self.wire {
            Wire::Converse => "application/vnd.amazon.eventstream",
            _ => "text/event-stream",
        };
        // A kept connection that breaks is asked again silently, so each answer has its own. The chunks tell the
        // client where the answer should have ended: without them it takes a reset for the end.
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncache-control: no-cache\r\n\
             transfer-encoding: chunked\r\nconnection: close\r\n\r\n"
        );
        let mut stream = self.stream;
        stream.write_all(head.as_bytes())
    }

    fn send(&self, bytes: &[u8]) -> std::io::Result<()> {
        let mut stream = self.stream;
        let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
        chunk.extend(bytes);
        chunk.extend(b"\r\n");
        stream.write_all(&chunk)
    }

    /// An event under its own type: Anthropic's and Responses.
    fn event(&self, data: &Value) -> std::io::Result<()> {
        let name = data["type"].as_str().unwrap_or("ping");
        self.send(format!("event: {name}\ndata: {data}\n\n").as_bytes())
    }

    fn data(&self, data: &Value) -> std::io::Result<()> {
        self.send(format!("data: {data}\n\n").as_bytes())
    }

    fn chunk(&self, delta: &Value, finish: &Value) -> std::io::Result<()> {
        self.data(&json!({"id": format!("chatcmpl-{}", self.call), "object": "chat.completion.chunk",
            "created": 1_767_225_600, "model": "claude-opus-4-6",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}))
    }

    fn google(&self, parts: &Value) -> std::io::Result<()> {
        self.data(&json!({"candidates": [{"content": {"parts": parts, "role": "model"}, "index": 0}]}))
    }

    /// A message of AWS's event stream.
    fn frame(&self, kind: &str, payload: &Value) -> std::io::Result<()> {
        let payload = payload.to_string();
        let mut headers = Vec::new();
        for (name, value) in [(":event-type", kind), (":content-type", "application/json"), (":message-type", "event")]
        {
            headers.push(u8::try_from(name.len()).unwrap_or(0));
            headers.extend(name.as_bytes());
            headers.push(7);
            headers.extend(u16::try_from(value.len()).unwrap_or(0).to_be_bytes());
            headers.extend(value.as_bytes());
        }
        let word = |n: usize| u32::try_from(n).unwrap_or(0).to_be_bytes();
        let mut message = Vec::new();
        message.extend(word(16 + headers.len() + payload.len()));
        message.extend(word(headers.len()));
        message.extend(crc(&message).to_be_bytes());
        message.extend(headers);
        message.extend(payload.as_bytes());
        message.extend(crc(&message).to_be_bytes());
        self.send(&message)
    }

    pub(crate) fn start(&mut self) -> std::io::Result<()> {
        match self.wire {
            Wire::Messages => {
                let message = json!({"id": format!("msg_{}", self.call), "type": "message", "role": "assistant",
                    "model": "claude-opus-4-6", "content": [], "stop_reason": null, "stop_sequence": null,
                    "usage": {"input_tokens": self.input, "output_tokens": 1}});
                self.event(&json!({"type": "message_start", "message": message}))
            }
            Wire::Chat => self.chunk(&json!({"role": "assistant", "content": ""}), &Value::Null),
            Wire::Responses => self.event(&json!({"type": "response.created", "sequence_number": 0,
                "response": {"id": format!("resp_{}", self.call), "object": "response", "created_at": 1_767_225_600,
                    "status": "in_progress", "model": "gpt-5.2", "output": []}})),
            Wire::Google => Ok(()),
            Wire::Converse => self.frame("messageStart", &json!({"role": "assistant"})),
        }
    }

    /// A block of Anthropic's.
    fn content(&mut self, start: &Value, deltas: &[Value], whole: bool) -> std::io::Result<()> {
        let index = self.next();
        self.event(&json!({"type": "content_block_start", "index": index, "content_block": start}))?;
        for delta in deltas {
            self.event(&json!({"type": "content_block_delta", "index": index, "delta": delta}))?;
        }
        if whole { self.event(&json!({"type": "content_block_stop", "index": index})) } else { Ok(()) }
    }

    /// A block of Converse's.
    fn converse(&mut self, start: Option<&Value>, deltas: &[Value], whole: bool) -> std::io::Result<()> {
        let index = self.next();
        if let Some(start) = start {
            self.frame("contentBlockStart", &json!({"contentBlockIndex": index, "start": start}))?;
        }
        for delta in deltas {
            self.frame("contentBlockDelta", &json!({"contentBlockIndex": index, "delta": delta}))?;
        }
        if whole { self.frame("contentBlockStop", &json!({"contentBlockIndex": index})) } else { Ok(()) }
    }

    /// An item of Responses: how it begins, its deltas, and how it is in the end.
    fn item(&mut self, start: &Value, deltas: Vec<Value>, end: Option<&Value>) -> std::io::Result<()> {
        let index = self.next();
        self.event(&json!({"type": "response.output_item.added", "output_index": index, "item": start}))?;
        for mut delta in deltas {
            delta["output_index"] = json!(index);
            delta["item_id"] = start["id"].clone();
            self.event(&delta)?;
        }
        match end {
            Some(end) => self.event(&json!({"type": "response.output_item.done", "output_index": index, "item": end})),
            None => Ok(()),
        }
    }

    fn next(&mut self) -> u64 {
        self.block += 1;
        self.block - 1
    }

    /// Thoughts with what vouches for them. Those that end with an ellipsis are still going on.
    pub(crate) fn thought(&mut self, text: &str, signature: &str) -> std::io::Result<()> {
        let whole = !text.ends_with('…');
        match self.wire {
            Wire::Messages => {
                let mut deltas = vec![json!({"type": "thinking_delta", "thinking": text})];
                if whole {
                    deltas.push(json!({"type": "signature_delta", "signature": signature}));
                }
                self.content(&json!({"type": "thinking", "thinking": "", "signature": ""}), &deltas, whole)
            }
            Wire::Chat => self.chat_thought(text, signature, whole),
            Wire::Responses => {
                let id = format!("rs_{}_{}", self.call, self.block);
                let start = json!({"type": "reasoning", "id": id, "summary": []});
                let end = json!({"type": "reasoning", "id": id, "encrypted_content": signature,
                    "summary": [{"type": "summary_text", "text": text}]});
                let deltas = vec![
                    json!({"type": "response.reasoning_summary_part.added", "summary_index": 0,
                        "part": {"type": "summary_text", "text": ""}}),
                    json!({"type": "response.reasoning_summary_text.delta", "summary_index": 0, "delta": text}),
                ];
                self.item(&start, deltas, whole.then_some(&end))
            }
            Wire::Google => {
                let mut part = json!({"text": text, "thought": true});
                if whole {
                    part["thoughtSignature"] = json!(signature);
                }
                self.google(&json!([part]))
            }
            Wire::Converse => {
                let mut deltas = vec![json!({"reasoningContent": {"text": text}})];
                if whole {
                    deltas.push(json!({"reasoningContent": {"signature": signature}}));
                }
                self.converse(None, &deltas, whole)
            }
        }
    }

    fn chat_thought(&self, text: &str, signature: &str, whole: bool) -> std::io::Result<()> {
        match self.dialect {
            Dialect::Plain => self.chunk(&json!({"reasoning_content": text}), &Value::Null),
            Dialect::Groq => self.chunk(&json!({"reasoning": text}), &Value::Null),
            Dialect::Mistral => {
                let thinking = json!([{"type": "thinking", "thinking": [{"type": "text", "text": text}]}]);
                self.chunk(&json!({"content": thinking}), &Value::Null)
            }
            Dialect::Copilot => {
                self.chunk(&json!({"reasoning_text": text}), &Value::Null)?;
                if whole { self.chunk(&json!({"reasoning_opaque": signature}), &Value::Null) } else { Ok(()) }
            }
            Dialect::OpenRouter => {
                let detail =
                    json!({"type": "reasoning.text", "text": text, "format": "anthropic-claude-v1", "index": 0});
                self.chunk(&json!({"reasoning": text, "reasoning_details": [detail]}), &Value::Null)?;
                let signed = json!({"type": "reasoning.text", "signature": signature, "format": "anthropic-claude-v1",
                    "index": 0});
                if whole { self.chunk(&json!({"reasoning_details": [signed]}), &Value::Null) } else { Ok(()) }
            }
        }
    }

    /// Thinking of which nothing but something encrypted is told.
    pub(crate) fn encrypted(&mut self, data: &str) -> std::io::Result<()> {
        match self.wire {
            Wire::Messages => self.content(&json!({"type": "redacted_thinking", "data": data}), &[], true),
            Wire::Responses => {
                let id = format!("rs_{}_{}", self.call, self.block);
                let start = json!({"type": "reasoning", "id": id, "summary": []});
                let end = json!({"type": "reasoning", "id": id, "encrypted_content": data, "summary": []});
                self.item(&start, Vec::new(), Some(&end))
            }
            Wire::Chat if self.dialect == Dialect::OpenRouter => {
                let detail = json!({"type": "reasoning.encrypted", "data": data, "id": format!("rs_{}", self.call),
                    "format": "openai-responses-v1", "index": 0});
                self.chunk(&json!({"reasoning_details": [detail]}), &Value::Null)
            }
            Wire::Chat if self.dialect == Dialect::Copilot => {
                self.chunk(&json!({"reasoning_opaque": data}), &Value::Null)
            }
            Wire::Chat => Ok(()),
            Wire::Google => self.google(&json!([{"text": "", "thought": true, "thoughtSignature": data}])),
            Wire::Converse => {
                let bytes = base64::engine::general_purpose::STANDARD.encode(data);
                self.converse(None, &[json!({"reasoningContent": {"redactedContent": bytes}})], true)
            }
        }
    }

    /// The start of a text of which nothing has come yet.
    pub(crate) fn no_text(&mut self) -> std::io::Result<()> {
        match self.wire {
            Wire::Messages => self.content(&json!({"type": "text", "text": ""}), &[], false),
            Wire::Chat => self.chunk(&json!({"content": ""}), &Value::Null),
            Wire::Responses => {
                let id = format!("msg_{}_{}", self.call, self.block);
                let start =
                    json!({"type": "message", "id": id, "role": "assistant", "status": "in_progress", "content": []});
                self.item(&start, Vec::new(), None)
            }
            Wire::Google => self.google(&json!([{"text": ""}])),
            Wire::Converse => self.converse(None, &[json!({"text": ""})], false),
        }
    }

    /// A text. One that ends with an ellipsis is still going on.
    pub(crate) fn text(&mut self, text: &str) -> std::io::Result<()> {
        let whole = !text.ends_with('…');
        let words = || text.split_inclusive(' ');
        match self.wire {
            Wire::Messages => {
                let deltas: Vec<Value> = words().map(|word| json!({"type": "text_delta", "text": word})).collect();
                self.content(&json!({"type": "text", "text": ""}), &deltas, whole)
            }
            Wire::Chat => words().try_for_each(|word| self.chunk(&json!({"content": word}), &Value::Null)),
            Wire::Responses => {
                let id = format!("msg_{}_{}", self.call, self.block);
                let start =
                    json!({"type": "message", "id": id, "role": "assistant", "status": "in_progress", "content": []});
                let end = json!({"type": "message", "id": id, "role": "assistant", "status": "completed",
                    "content": [{"type": "output_text", "text": text, "annotations": []}]});
                let delta = |word| json!({"type": "response.output_text.delta", "content_index": 0, "delta": word});
                self.item(&start, words().map(delta).collect(), whole.then_some(&end))
            }
            Wire::Google => words().try_for_each(|word| self.google(&json!([{"text": word}]))),
            Wire::Converse => {
                let deltas: Vec<Value> = words().map(|word| json!({"text": word})).collect();
                self.converse(None, &deltas, whole)
            }
        }
    }

    pub(crate) fn tool(&mut self, name: &str, arguments: &str, whole: bool) -> std::io::Result<()> {
        let id = format!("toolu_{}_{}", self.call, self.tools);
        self.call(&id, name, arguments, whole)
    }

    pub(crate) fn call(&mut self, id: &str, name: &str, arguments: &str, whole: bool) -> std::io::Result<()> {
        let index = self.tools;
        self.tools += 1;
        match self.wire {
            Wire::Messages => self.content(
                &json!({"type": "tool_use", "id": id, "name": name, "input": {}}),
                &[json!({"type": "input_json_delta", "partial_json": arguments})],
                whole,
            ),
            Wire::Chat => {
                let call =
                    json!({"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": ""}});
                self.chunk(&json!({"tool_calls": [call]}), &Value::Null)?;
                let call = json!({"index": index, "function": {"arguments": arguments}});
                self.chunk(&json!({"tool_calls": [call]}), &Value::Null)
            }
            Wire::Responses => {
                let item = format!("fc_{}_{}", self.call, self.block);
                let mut start = json!({"type": "function_call", "id": item, "call_id": id, "name": name,
                    "arguments": "", "status": "in_progress"});
                let begun = start.clone();
                start["arguments"] = json!(arguments);
                start["status"] = json!("completed");
                let delta = json!({"type": "response.function_call_arguments.delta", "delta": arguments});
                self.item(&begun, vec![delta], whole.then_some(&start))
            }
            // Gemini streams whole calls alone.
            Wire::Google if !whole => Ok(()),
            Wire::Google => {
                let input: Value = serde_json::from_str(arguments).unwrap_or_default();
                self.google(&json!([{"functionCall": {"name": name, "args": input}, "thoughtSignature": "c2ln"}]))
            }
            Wire::Converse => self.converse(
                Some(&json!({"toolUse": {"toolUseId": id, "name": name}})),
                &[json!({"toolUse": {"input": arguments}})],
                whole,
            ),
        }
    }

    pub(crate) fn overload(&mut self) -> std::io::Result<()> {
        match self.wire {
            Wire::Messages => {
                self.event(&json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}))
            }
            Wire::Chat => {
                let message = "litellm.InternalServerError: Azure_aiException - {\"type\":\"error\",\"error\":\
                    {\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}";
                self.data(&json!({"error": {"message": message, "type": "overloaded_error", "param": null, "code": "529"}}))
            }
            Wire::Responses => self.event(&json!({"type": "error", "sequence_number": 9,
                "error": {"type": "server_error", "code": "server_is_overloaded", "message": "Overloaded", "param": null}})),
            Wire::Google => self.data(&json!({"error": {"code": 503, "message": "Overloaded", "status": "UNAVAILABLE"}})),
            Wire::Converse => self.frame("modelStreamErrorException", &json!({"message": "Overloaded"})),
        }
    }

    pub(crate) fn finish(&mut self) -> std::io::Result<()> {
        let called = self.tools > 0;
        match self.wire {
            Wire::Messages => {
                let reason = if called { "tool_use" } else { "end_turn" };
                self.event(&json!({"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": null},
                    "usage": {"output_tokens": 5}}))?;
                self.event(&json!({"type": "message_stop"}))
            }
            Wire::Chat => {
                self.chunk(&json!({}), &json!(if called { "tool_calls" } else { "stop" }))?;
                let data = json!({"id": format!("chatcmpl-{}", self.call), "object": "chat.completion.chunk",
                    "created": 1_767_225_600, "model": "claude-opus-4-6", "choices": [],
                    "usage": {"prompt_tokens": self.input, "completion_tokens": 5, "total_tokens": self.input + 5}});
                self.send(format!("data: {data}\n\ndata: [DONE]\n\n").as_bytes())
            }
            Wire::Responses => self.event(&json!({"type": "response.completed", "sequence_number": 10,
                "response": {"id": format!("resp_{}", self.call), "object": "response", "created_at": 1_767_225_600,
                    "status": "completed", "model": "gpt-5.2", "output": [], "incomplete_details": null,
                    "usage": {"input_tokens": self.input, "input_tokens_details": {"cached_tokens": 0},
                        "output_tokens": 5, "output_tokens_details": {"reasoning_tokens": 0},
                        "total_tokens": self.input + 5}}})),
            Wire::Google => self.data(&json!({
                "candidates": [{"content": {"parts": [], "role": "model"}, "finishReason": "STOP", "index": 0}],
                "usageMetadata": {"promptTokenCount": self.input, "candidatesTokenCount": 5,
                    "totalTokenCount": self.input + 5}})),
            Wire::Converse => {
                self.frame("messageStop", &json!({"stopReason": if called { "tool_use" } else { "end_turn" }}))?;
                self.frame(
                    "metadata",
                    &json!({"metrics": {"latencyMs": 1},
                    "usage": {"inputTokens": self.input, "outputTokens": 5, "totalTokens": self.input + 5}}),
                )
            }
        }
    }
}
