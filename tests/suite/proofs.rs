//! What a proof does not let through: of what the provider's metadata is sent, nothing may go and nothing may change.

use opencode_unstick::diagnosis::Includes;
use opencode_unstick::history::Session;
use opencode_unstick::plain::{self, MessageRow, SessionRow};
use opencode_unstick::repair::prove;
use opencode_unstick::replay::{RULE_SETS, Sdk, prompt, view};
use serde_json::{Value, json};

use crate::{exports, fixtures};

/// Stores whose packages send what the provider keeps in `metadata`, with the member that is sent.
const STORES: [(&str, &str, &str, &str); 3] = [
    ("1.18.34-responses", "@ai-sdk/openai", "openai", "reasoningEncryptedContent"),
    ("1.18.34-gemini", "@ai-sdk/google", "google", "thoughtSignature"),
    ("1.18.34-or", "@openrouter/ai-sdk-provider", "openrouter", "reasoning_details"),
];

fn history(session: &SessionRow, messages: &[MessageRow]) -> Session {
    plain::history(session, messages).unwrap()
}

/// Whether the next prompt sends something of that part.
fn sends(session: &Session, sdk: &Sdk, part: &str) -> bool {
    let set = &RULE_SETS[RULE_SETS.len() - 1];
    let seen = view(&session.messages, set);
    let model = seen.iter().rev().find_map(|m| m.user()).and_then(|user| user.model.as_deref());
    prompt(&seen, set, sdk, model).blocks().any(|block| block.part_id() == Some(part))
}

#[test]
fn metadata_that_is_sent_neither_goes_nor_changes() {
    for (store, package, namespace, member) in STORES {
        let sdk = Sdk::new(package);
        let mut tried = 0;
        for id in fixtures::one(store).sessions.sessions.values() {
            let (session, messages) = exports::stored(store, id);
            let before = history(&session, &messages);
            for (at, message) in messages.iter().enumerate() {
                for (n, part) in message.parts.iter().enumerate() {
                    let data: Value = serde_json::from_str(&part.data).unwrap();
                    let value = &data["metadata"][namespace][member];
                    if value.is_null() || *value == json!([]) || !sends(&before, &sdk, &part.id) {
                        continue;
                    }
                    let with = |change: &dyn Fn(&mut Value)| {
                        let mut changed = messages.clone();
                        let mut data = data.clone();
                        change(&mut data["metadata"][namespace]);
                        changed[at].parts[n].data = data.to_string();
                        prove(&before, &history(&session, &changed), &sdk, Includes::NONE)
                            .map_err(|check| check.to_string())
                    };
                    let other = match value {
                        Value::String(text) => json!("A".repeat(text.len())),
                        _ => json!([{"type": "reasoning.encrypted", "data": "b3RoZXI=", "id": "other"}]),
                    };
                    let gone = with(&|metadata| drop(metadata.as_object_mut().unwrap().remove(member)));
                    let changed = with(&|metadata| metadata[member] = other.clone());
                    let refused = Err("the next prompt sends the same turns".to_owned());
                    assert_eq!((&gone, &changed), (&refused, &refused), "{store} {id} {}", part.data);
                    // Of a tail that does not resume that is said, and nothing else.
                    let same = prove(&before, &before, &sdk, Includes::NONE).map_err(|check| check.to_string());
                    assert!(
                        same.is_ok() || same == Err("the tail resumes under every rule set".to_owned()),
                        "{same:?}"
                    );
                    tried += 1;
                }
            }
        }
        assert!(tried >= 1, "{store} sends nothing of the kind");
    }
}
