//! What services refuse for ever besides Claude's rules, each in its words. Held only of conversations that say so, for the
//! other stories are about something else.

use serde_json::Value;

use crate::wire::{Side, Wire};

/// What a conversation says that is held to these rules.
pub(crate) const STRICT: &str = "E2E-STRICT";
/// What a conversation says with a model of chat completions that thinks before each call.
pub(crate) const THINKING: &str = "E2E-THINKING";
/// What a conversation says that is longer than the model's window.
pub(crate) const WINDOW: &str = "E2E-WINDOW";
/// What a caller's encrypted reasoning begins with where it was another's.
pub(crate) const FOREIGN: &str = "FOREIGN";

/// The rule that a request breaks.
pub(crate) fn refuses(wire: Wire, body: &Value) -> Option<String> {
    let turns: Vec<&Value> = wire.conversation(body).collect();
    if !turns.iter().any(|turn| wire.text(turn).contains(STRICT)) {
        return None;
    }
    match wire {
        Wire::Responses => responses(&turns),
        Wire::Chat => chat(wire, &turns),
        Wire::Google => google(&turns),
        Wire::Messages => messages(&turns),
        Wire::Converse => converse(&turns),
    }
}

/// MiniMax's.
fn messages(turns: &[&Value]) -> Option<String> {
    let empty = turns.iter().any(|turn| turn["content"].as_array().is_some_and(Vec::is_empty));
    empty.then(|| "invalid params, chat content is empty (2013)".to_owned())
}

/// Models of Bedrock that take no documents.
fn converse(turns: &[&Value]) -> Option<String> {
    let document = turns.iter().any(|turn| turn.to_string().contains("\"document\":"));
    document.then(|| "This model doesn't support documents.".to_owned())
}

fn responses(items: &[&Value]) -> Option<String> {
    for (at, item) in items.iter().enumerate() {
        let id = item["id"].as_str().unwrap_or("rs_alone");
        if item["type"] == "item_reference" {
            return Some(format!(
                "Item with id '{id}' not found. Items are not persisted when `store` is set to false. Try again with `store` \
                 set to true, or remove this item from your input."
            ));
        }
        if item["type"] != "reasoning" {
            continue;
        }
        if item["encrypted_content"].as_str().is_some_and(|data| data.starts_with(FOREIGN)) {
            return Some(
                "Upstream request failed: [invalid_request_error] reasoning `encrypted_content` was not issued to this caller"
                    .to_owned(),
            );
        }
        if items.get(at + 1).is_none_or(|next| next["role"] == "user") {
            return Some(format!("Item '{id}' of type 'reasoning' was provided without its required following item."));
        }
    }
    None
}

fn chat(wire: Wire, turns: &[&Value]) -> Option<String> {
    let foreign = |value: &Value| value.as_str().is_some_and(|data| data.starts_with(FOREIGN));
    if turns.iter().any(|turn| wire.text(turn).contains(WINDOW)) {
        return Some("prompt is too long: 213000 tokens > 200000 maximum".to_owned());
    }
    if let Some(at) = turns.iter().position(|turn| turn["content"].to_string().contains("\"image_url\":")) {
        return Some(format!(
            "Failed to deserialize the JSON body into the target type: messages[{at}]: unknown variant `image_url`, expected \
             `text` at line 1 column 482302"
        ));
    }
    for (at, turn) in turns.iter().enumerate().filter(|(_, turn)| wire.side(turn) == Side::Assistant) {
        let details = turn["reasoning_details"].as_array().into_iter().flatten();
        if details.into_iter().any(|detail| foreign(&detail["data"])) || foreign(&turn["reasoning_opaque"]) {
            return Some("The encrypted content could not be verified. Reason: it could not be decrypted.".to_owned());
        }
        let silent = turn["reasoning_content"].as_str().is_none_or(str::is_empty);
        if silent && turn["tool_calls"].is_array() && turns.iter().any(|turn| wire.text(turn).contains(THINKING)) {
            return Some(format!(
                "thinking is enabled but reasoning_content is missing in assistant tool call message at index {at}"
            ));
        }
        let calls = turn["tool_calls"].as_array().is_some_and(|calls| !calls.is_empty());
        if !calls && wire.text(turn).is_empty() {
            return Some(format!(
                "Invalid request: the message at position {at} with role 'assistant' must not be empty"
            ));
        }
    }
    None
}

fn google(turns: &[&Value]) -> Option<String> {
    for (at, turn) in turns.iter().enumerate().filter(|(_, turn)| turn["role"] == "model") {
        let parts = turn["parts"].as_array().map_or(&[][..], Vec::as_slice);
        let Some(call) = parts.iter().find(|part| part["functionCall"].is_object()) else { continue };
        if at > 0 && turns[at - 1]["role"] == "model" {
            return Some(
                "Please ensure that function call turn comes immediately after a user turn or after a function response turn."
                    .to_owned(),
            );
        }
        if call["thoughtSignature"].is_null() {
            return Some(format!(
                "Function call is missing a thought_signature in functionCall parts. Additional data, function call \
                 `default_api:bash`, position {at}."
            ));
        }
    }
    None
}
