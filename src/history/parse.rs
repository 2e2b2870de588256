//! Row JSON to typed rows. Unknown fields are passed over; a field that a rule reads must have its kind.

use std::rc::Rc;

use super::leaked;
use super::metadata;
use super::refusal;
use super::{
    Assistant, Depth, Head, Media, MessageRow, ModelRef, Names, Output, Part, PartKind, Refusal, RefusalClass, Revert,
    Role, RowError, Text, Tokens, ToolCall, ToolState, User, Wrapper,
};
use crate::json::{self, Object, ShapeError, shape};

/// What error texts say when a model takes no assistant prefill, lower case (docs/opencode.md §9).
///
/// Seen: Anthropic's plain sentence, in `APIError` or `UnknownError`; Bedrock's "The model returned the following errors: …",
/// and earlier "… `assistant` message in the final position, which would pre-fill …"; LiteLLM's
/// "litellm.BadRequestError: AnthropicException - b'{…}'", and Azure's through it, "Azure_aiException - {…}"; from others
/// "Conversation must end with a user message." without "The", and "Prefilling assistant messages is not supported for this
/// model."; from older Claude with thinking [`THINKING_FIRST`]. Mostly a turn that worked follows.
const PREFILL_TEXTS: &[&str] = &[
    "assistant message prefill",
    "must end with a user message",
    "prefilling assistant messages",
    "in the final position, which would pre-fill",
];

/// What older models say of an answer that ends the request where they are asked to think.
const THINKING_FIRST: &str = "a final `assistant` message must start with a thinking block";

/// With this, that is said of a call that lacks its thinking: the request did not end with an answer.
const NO_PREFILL: &str = "found `tool_use`";

/// What the replay says of a tool call that is still pending or running (the head of `replay/said.rs`).
pub const NEVER_ENDED: &str = "[Tool execution was interrupted]";

/// Reads a message row's JSON.
///
/// # Errors
/// When `data` is not the JSON object of a user or assistant row; the text names the field.
pub fn head(row: MessageRow, data: &str) -> Result<Head, ShapeError> {
    head_with(row, data, &mut Names::default())
}

/// [`head`], with strings and models that other rows have as well held once.
///
/// # Errors
/// As [`head`].
pub fn head_with(row: MessageRow, data: &str, names: &mut Names) -> Result<Head, ShapeError> {
    head_of(row, &Object::parse(data)?, names)
}

/// [`head_with`], of a row whose JSON is parsed already.
///
/// # Errors
/// As [`head`].
pub fn head_of(row: MessageRow, object: &Object<'_>, names: &mut Names) -> Result<Head, ShapeError> {
    let time = object.object("time")?;
    let Some(created) = time.map(|time| time.number("created")).transpose()?.flatten() else {
        return shape("`time.created` is missing");
    };
    let role = match object.required("role")?.as_ref() {
        "user" => Role::User(User {
            agent: object.words("agent")?.map(|agent| names.string(&agent)),
            model: object.object("model")?.map(|m| model(&m, names)).transpose()?,
        }),
        "assistant" => Role::Assistant(Box::new(assistant(object, names)?)),
        _ => return shape("`role` is neither user nor assistant"),
    };
    Ok(Head { row, created, role })
}

pub(super) fn model(object: &Object<'_>, names: &mut Names) -> Result<Rc<ModelRef>, ShapeError> {
    Ok(names.model(&object.required("providerID")?, &object.required("modelID")?))
}

fn assistant(object: &Object<'_>, names: &mut Names) -> Result<Assistant, ShapeError> {
    Ok(Assistant {
        parent_id: object.words("parentID")?.map(|parent| names.string(&parent)),
        agent: object.words("agent")?.map(|agent| names.string(&agent)),
        model: model(object, names)?,
        finish: object.words("finish")?.filter(|f| !f.is_empty()).map(|finish| names.string(&finish)),
        error: if object.truthy("error") { Some(Box::new(row_error(object)?)) } else { None },
        summary: object.truthy("summary"),
        tokens: tokens(object)?,
        cost: object.number("cost")?.unwrap_or(0.0),
    })
}

fn tokens(object: &Object<'_>) -> Result<Tokens, ShapeError> {
    let Some(tokens) = object.object("tokens")? else {
        return Ok(Tokens::default());
    };
    let cache = tokens.object("cache")?;
    let of = |object: &Object<'_>, key| Ok(object.number(key)?.unwrap_or(0.0));
    let cached = |key| cache.as_ref().map_or(Ok(0.0), |cache| of(cache, key));
    Ok(Tokens {
        total: of(&tokens, "total")?,
        input: of(&tokens, "input")?,
        output: of(&tokens, "output")?,
        reasoning: of(&tokens, "reasoning")?,
        cache_read: cached("read")?,
        cache_write: cached("write")?,
    })
}

fn row_error(object: &Object<'_>) -> Result<RowError, ShapeError> {
    let Some(error) = object.object("error")? else {
        return shape("`error` is not an object");
    };
    let mut status = None;
    let mut wrapper = None;
    let mut refusal = None;
    let name = error.string("name")?.unwrap_or_default();
    if let Ok(Some(data)) = error.object("data") {
        #[expect(clippy::cast_possible_truncation, reason = "a status code; the cast saturates")]
        let code = data.number("statusCode").ok().flatten().map(|n| n as i64);
        status = code;
        // The raw JSON is searched, metadata and all: escapes never stand inside the phrases that count.
        // 404: a service of items that it does not know, OpenRouter of models that take no images.
        if status.is_none_or(|s| s == 400 || s == 404) {
            let members = ["message", "responseBody", "metadata"].iter().filter_map(|key| data.some(key));
            let (texts, lower): (Vec<&str>, Vec<String>) =
                members.filter_map(|text| refusal::told(text, status)).unzip();
            let says = |phrase: &str| lower.iter().any(|text| text.contains(phrase));
            let prefill = status != Some(404) && refuses_prefill(says);
            wrapper = prefill.then(|| wrapper_of(says));
            if wrapper.is_none() {
                let known = |r: &Refusal| match status {
                    Some(404) => matches!(r.class, RefusalClass::ItemIds | RefusalClass::NoImages),
                    Some(_) => true,
                    None => r.class != RefusalClass::Other,
                };
                refusal = Some(refusal::of(&name, &texts, &lower)).filter(known);
            }
        }
    }
    Ok(RowError { name, status, prefill_400: wrapper.is_some(), wrapper, refusal })
}

/// Whether the texts of an error say that a request may not end with an answer. `says` tells whether one of them, in lower
/// case, holds some words.
pub fn refuses_prefill(says: impl Fn(&str) -> bool) -> bool {
    PREFILL_TEXTS.iter().any(|phrase| says(phrase)) || says(THINKING_FIRST) && !says(NO_PREFILL)
}

/// Whose wording a stored prefill 400 has. `text` is what the provider said, in lower case.
#[must_use]
pub fn prefill_wrapper(text: &str) -> Wrapper {
    wrapper_of(|phrase| text.contains(phrase))
}

/// Whose wording it is, the outermost wrapper first: each passes the words of the one inside it on.
fn wrapper_of(says: impl Fn(&str) -> bool) -> Wrapper {
    if says("azure_aiexception") {
        Wrapper::AzureLitellm
    } else if says("litellm") || says("anthropicexception") {
        Wrapper::Litellm
    } else if says("in the final position, which would pre-fill") {
        Wrapper::BedrockOld
    } else if says("the model returned the following errors") {
        Wrapper::Bedrock
    } else if says("does not support assistant message prefill") || says("must start with a thinking block") {
        Wrapper::Anthropic
    } else {
        Wrapper::Other
    }
}

/// A part row with its JSON.
///
/// # Errors
/// When `data` is not the JSON object of a part, or a field that the replay reads has another kind.
pub fn part(id: &str, time_created: i64, data: &str, depth: Depth) -> Result<Part, ShapeError> {
    part_of(id, time_created, data.len() as u64, &Object::parse(data)?, depth)
}

/// [`part`], of a row whose JSON is parsed already; `bytes` is the size of its text.
///
/// # Errors
/// As [`part`].
pub fn part_of(id: &str, time_created: i64, bytes: u64, object: &Object<'_>, depth: Depth) -> Result<Part, ShapeError> {
    let kind = match object.required("type")?.as_ref() {
        "text" => {
            let mut text = text(object, depth)?;
            text.leaked_call = object.some("text").is_some_and(leaked::in_json);
            PartKind::Text { text, ignored: object.truthy("ignored"), metadata: metadata::of(object, depth) }
        }
        "reasoning" => PartKind::Reasoning { text: text(object, depth)?, metadata: metadata::of(object, depth) },
        "step-start" => PartKind::StepStart,
        "step-finish" => {
            let spent = !tokens(object)?.is_zero() || object.number("cost")?.is_some_and(|c| c != 0.0);
            PartKind::StepFinish { spent }
        }
        "file" => PartKind::File(Box::new(Media::of(object, depth)?)),
        "tool" => PartKind::Tool(Box::new(tool(object, depth)?)),
        "compaction" => PartKind::Compaction {
            tail_start_id: object.words("tail_start_id")?.filter(|t| !t.is_empty()).map(Box::from),
        },
        "subtask" => PartKind::Subtask,
        other => PartKind::Other(other.into()),
    };
    Ok(Part { id: id.into(), time_created, bytes, changed: None, kind })
}

fn text(object: &Object<'_>, depth: Depth) -> Result<Text, ShapeError> {
    let Some(raw) = object.some("text").filter(|raw| raw.starts_with('"')) else {
        return shape("`text` is not a string");
    };
    // Most texts start with something visible: only those that start with white space are decoded.
    let visible = raw.as_bytes().get(1).is_some_and(|b| b.is_ascii_graphic() && !matches!(b, b'\\' | b'"'));
    let blank = !visible && json::words(raw).is_some_and(|t| json::is_blank(&t));
    Ok(Text { empty: raw == "\"\"", blank, leaked_call: false, digest: depth.digest(&[raw.as_bytes()]) })
}

fn tool(object: &Object<'_>, depth: Depth) -> Result<ToolCall, ShapeError> {
    let Some(state) = object.object("state")? else {
        return shape("`state` is missing");
    };
    let call_id = object.required_string("callID")?;
    let metadata = || state.object("metadata").ok().flatten();
    let time = state.object("time").ok().flatten();
    let status = match state.required("status")?.as_ref() {
        "completed" => {
            let mut attachments = Vec::new();
            if let Some(raw) = state.some("attachments") {
                let Some(items) = json::array(raw) else {
                    return shape("`state.attachments` is not an array");
                };
                for item in items {
                    attachments.push(Media::of(&Object::parse(item)?, depth)?);
                }
            }
            // opencode reads `state.time.compacted` of a completed call without asking whether `time` is there.
            let Some(time) = time else {
                return shape("`state.time` is missing");
            };
            let output = match state.get("output") {
                None => Output::Missing,
                Some("\"\"") => Output::Silent,
                Some(raw) if raw.starts_with('"') => Output::Text,
                Some(_) => Output::Other,
            };
            ToolState::Completed { compacted: time.truthy("compacted"), output, attachments }
        }
        "error" => {
            let interrupted = metadata().filter(|m| m.get("interrupted") == Some("true"));
            ToolState::Error {
                orphan: interrupted.is_some(),
                has_output: interrupted.is_some_and(|m| m.get("output").is_some_and(|o| o.starts_with('"'))),
                never_ended: state.get("error").and_then(json::words).as_deref() == Some(NEVER_ENDED),
                start: time.and_then(|t| t.number("start").ok().flatten()),
            }
        }
        "running" => ToolState::Running,
        "pending" => ToolState::Pending,
        _ => return shape("`state.status` is none of pending, running, completed, error"),
    };
    let tool = object.required_string("tool")?;
    // What is said of a call that never ended is the same whether its row says so or opencode.
    let said = match &status {
        ToolState::Completed { .. } => state.get("output"),
        ToolState::Error { has_output: true, .. } => metadata().and_then(|m| m.get("output")),
        ToolState::Error { never_ended: false, .. } => state.get("error"),
        _ => None,
    };
    Ok(ToolCall {
        call: depth.digest(&[tool.as_bytes(), call_id.as_bytes(), state.get("input").unwrap_or_default().as_bytes()]),
        result: depth.digest(&[call_id.as_bytes(), said.unwrap_or_default().as_bytes()]),
        metadata: metadata::of(object, depth),
        tool,
        call_id,
        provider_executed: object.object("metadata").ok().flatten().is_some_and(|m| m.truthy("providerExecuted")),
        state: status,
    })
}

/// `session.revert`: `None` where it is not set.
///
/// # Errors
/// When it is set and is no object with a `messageID`.
pub fn revert(raw: Option<&str>) -> Result<Option<Revert>, ShapeError> {
    let Some(raw) = raw.filter(|r| !matches!(r.trim(), "" | "null")) else {
        return Ok(None);
    };
    let object = Object::parse(raw).map_err(|e| ShapeError(format!("`revert`: {e}")))?;
    Ok(Some(Revert {
        message_id: object.required_string("messageID")?,
        part_id: object.string("partID")?.filter(|p| !p.is_empty()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_orphan_needs_the_flag_itself() {
        let of = |metadata: &str, status: &str| {
            let data = format!(
                r#"{{"type":"tool","tool":"bash","callID":"c","state":{{"status":"{status}","input":{{}},"time":{{"start":5}},"metadata":{metadata}}}}}"#
            );
            match part("prt_1", 0, &data, Depth::Whole).unwrap().kind {
                PartKind::Tool(t) => t.orphan(),
                _ => false,
            }
        };
        assert!(of(r#"{"interrupted":true}"#, "error"));
        assert!(!of(r#"{"interrupted":false}"#, "error"));
        assert!(!of(r#"{"interrupted":"true"}"#, "error"));
        assert!(!of("{}", "error"));
        assert!(!of(r#"{"interrupted":true}"#, "completed"));
    }

    #[test]
    fn prefill_is_recognised_in_every_wrapper() {
        let base = |data: &str| {
            let raw = format!(
                r#"{{"role":"assistant","modelID":"m","providerID":"p","time":{{"created":1}},"error":{{"name":"UnknownError","data":{data}}}}}"#
            );
            let row = MessageRow { rowid: 1, id: "m".into(), session_id: "s".into(), time_created: 1, time_updated: 1 };
            head(row, &raw).unwrap().with(Vec::new()).prefill_400()
        };
        assert!(base(
            r#"{"message":"This model does not support assistant message prefill. The conversation must end with a user message."}"#
        ));
        assert!(base(
            r#"{"message":"x","responseBody":"{\"error\":{\"message\":\"litellm.BadRequestError: AnthropicException - b'Conversation must end with a user message.'\"}}"}"#
        ));
        assert!(base(
            r#"{"message":"x","metadata":{"why":"Prefilling assistant messages is not supported for this model."}}"#
        ));
        assert!(base(
            r#"{"message":"Expected: `assistant` message in the final position, which would pre-fill the response"}"#
        ));
        assert!(!base(r#"{"message":"prompt is too long","statusCode":400}"#));
        // A call that lacks its thinking, a list of guesses, a web page, and what was said when nobody was reached.
        for other in [
            "Expected `thinking` or `redacted_thinking`, but found `tool_use`. When `thinking` is enabled, a final \
             `assistant` message must start with a thinking block",
            "Possible reasons: the conversation must end with a user message; quota exceeded",
            "<html>must end with a user message</html>",
            "PluginError: the docs say must end with a user message: connect ECONNREFUSED 127.0.0.1:4000",
        ] {
            assert!(!base(&format!(r#"{{"message":{}}}"#, json::quote(other))), "{other}");
        }
        for guessed in [
            "This model does not support assistant message prefill. Possible reasons: the model is not known",
            "assistant message prefill is not supported; a fallback said: found `tool_use`",
            "<ErrorResponse>the conversation must end with a user message</ErrorResponse>",
        ] {
            assert!(base(&format!(r#"{{"message":{}}}"#, json::quote(guessed))), "{guessed}");
        }
        assert!(base(
            r#"{"message":"Expected `thinking`, but found `text`. A final `assistant` message must start with a thinking block"}"#
        ));
        assert!(!base(r#"{"message":"must end with a user message","statusCode":500}"#));
    }

    #[test]
    fn every_wrapper_is_told_from_the_others() {
        let of = |error: &str| {
            let raw = format!(
                r#"{{"role":"assistant","modelID":"m","providerID":"p","time":{{"created":1}},"error":{error}}}"#
            );
            let row = MessageRow { rowid: 1, id: "m".into(), session_id: "s".into(), time_created: 1, time_updated: 1 };
            head(row, &raw).unwrap().assistant().and_then(|a| a.error.as_deref()?.wrapper)
        };
        let plain =
            "This model does not support assistant message prefill. The conversation must end with a user message.";
        let data = |message: &str| {
            let message = json::quote(message);
            format!(r#"{{"name":"APIError","data":{{"statusCode":400,"message":{message}}}}}"#)
        };
        assert_eq!(of(&data(plain)), Some(Wrapper::Anthropic));
        assert_eq!(of(&data(&plain.to_uppercase())), Some(Wrapper::Anthropic), "case does not matter");
        assert_eq!(of(&data("a final `assistant` message must start with a thinking block")), Some(Wrapper::Anthropic));
        assert_eq!(of(&data(&format!("The model returned the following errors: {plain}"))), Some(Wrapper::Bedrock));
        assert_eq!(
            of(&data(
                "The model returned the following errors: an `assistant` message in the final position, which would \
                 pre-fill the response"
            )),
            Some(Wrapper::BedrockOld)
        );
        assert_eq!(
            of(&data(&format!("litellm.BadRequestError: AnthropicException - b'{{\"message\":\"{plain}\"}}'"))),
            Some(Wrapper::Litellm)
        );
        assert_eq!(
            of(&data(&format!("litellm.BadRequestError: Azure_aiException - {{\"message\":\"{plain}\"}}"))),
            Some(Wrapper::AzureLitellm)
        );
        assert_eq!(of(&data("Conversation must end with a user message.")), Some(Wrapper::Other));
        assert_eq!(of(&data("Prefilling assistant messages is not supported for this model.")), Some(Wrapper::Other));
        let body = r#"{"name":"UnknownError","data":{"message":"Bad Request","responseBody":"{\"error\":\"litellm.BadRequestError: the conversation must end with a user message\"}"}}"#;
        assert_eq!(of(body), Some(Wrapper::Litellm), "the body counts, whatever the error's name");
        let metadata = r#"{"name":"X","data":{"message":"Bad Request","metadata":{"raw":"Azure_aiException assistant message prefill"}}}"#;
        assert_eq!(of(metadata), Some(Wrapper::AzureLitellm));
        assert_eq!(of(&data("prompt is too long")), None);
        assert_eq!(of(&data(plain).replace("400", "500")), None);
    }

    #[test]
    fn wrong_kinds_are_errors_that_name_the_field() {
        for (data, field) in [
            (r#"{"type":"text","text":5}"#, "text"),
            (r#"{"type":"tool","callID":"c","tool":"t","state":{"status":"done"}}"#, "state.status"),
            (r#"{"type":"tool","callID":"c","tool":"t"}"#, "state"),
            (r#"{"text":"x"}"#, "type"),
            ("nonsense", "not JSON"),
        ] {
            let error = part("prt_1", 0, data, Depth::Whole).unwrap_err().to_string();
            assert!(error.contains(field), "{data}: {error}");
        }
    }

    #[test]
    fn blank_and_empty_text() {
        let of =
            |t: &str| match part("prt_1", 0, &format!(r#"{{"type":"text","text":{t}}}"#), Depth::Whole).unwrap().kind {
                PartKind::Text { text, .. } => (text.empty, text.blank),
                _ => (false, false),
            };
        assert_eq!(of(r#""""#), (true, true));
        assert_eq!(of(r#"" \n""#), (false, true));
        assert_eq!(of(r#""\u0020""#), (false, true));
        assert_eq!(of(r#"" a""#), (false, false));
        assert_eq!(of(r#""\ud800""#), (false, false));
    }
}
