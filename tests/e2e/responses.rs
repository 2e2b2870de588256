//! OpenAI's Responses protocol, as far as the stories need it: whole answers, and what is refused of reasoning.

use serde_json::{Value, json};

use crate::claude::FOREIGN;
use crate::provider::Event;

/// Encrypted reasoning that this provider has not made is refused, in the words of OpenAI's service.
pub(crate) fn refuses(items: &[&Value]) -> Option<String> {
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

/// The events of an answer.
pub(crate) fn events(reply: &[Event], call: u64) -> Vec<Value> {
    let mut out = vec![json!({"type": "response.created", "response": {"id": format!("resp_{call}")}})];
    for (at, event) in reply.iter().enumerate() {
        let item = |kind: &str| format!("{kind}_{call}_{at}");
        match event {
            Event::Text(text) => out.extend(message(&item("msg"), text)),
            Event::Thinking(text) => out.extend(reasoning(&item("rs"), text, "ZW5jcnlwdGVk")),
            Event::Foreign(text) => out.extend(reasoning(&item("rs"), text, FOREIGN)),
            Event::Tool(name, arguments) => out.extend(function(&item("fc"), name, &arguments.to_string())),
            _ => {}
        }
    }
    let usage = json!({"input_tokens": 10, "output_tokens": 5, "total_tokens": 15});
    out.push(json!({"type": "response.completed", "response": {"id": format!("resp_{call}"), "usage": usage}}));
    out
}

fn message(id: &str, text: &str) -> Vec<Value> {
    let item = json!({"type": "message", "id": id, "role": "assistant"});
    vec![
        json!({"type": "response.output_item.added", "output_index": 0, "item": item}),
        json!({"type": "response.output_text.delta", "item_id": id, "delta": text}),
        json!({"type": "response.output_item.done", "output_index": 0, "item": item}),
    ]
}

fn reasoning(id: &str, text: &str, encrypted: &str) -> Vec<Value> {
    let item = json!({"type": "reasoning", "id": id, "encrypted_content": encrypted, "summary": []});
    let part = json!({"type": "summary_text", "text": ""});
    vec![
        json!({"type": "response.output_item.added", "output_index": 0, "item": item}),
        json!({"type": "response.reasoning_summary_part.added", "item_id": id, "summary_index": 0, "part": part}),
        json!({"type": "response.reasoning_summary_text.delta", "item_id": id, "summary_index": 0, "delta": text}),
        json!({"type": "response.reasoning_summary_part.done", "item_id": id, "summary_index": 0, "part": part}),
        json!({"type": "response.output_item.done", "output_index": 0, "item": item}),
    ]
}

fn function(id: &str, name: &str, arguments: &str) -> Vec<Value> {
    let item = |arguments: &str| {
        json!({"type": "function_call", "id": id, "call_id": format!("call_{id}"), "name": name,
        "arguments": arguments})
    };
    vec![
        json!({"type": "response.output_item.added", "output_index": 0, "item": item("")}),
        json!({"type": "response.function_call_arguments.delta", "item_id": id, "delta": arguments}),
        json!({"type": "response.output_item.done", "output_index": 0, "item": item(arguments)}),
    ]
}
