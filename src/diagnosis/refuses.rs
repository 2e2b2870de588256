//! Which models refuse a request that ends with an assistant turn (docs/opencode.md §6).

use std::collections::BTreeSet;

use crate::history::ModelRef;

/// The first Claude version that refuses.
const FIRST_REFUSING: (u32, u32) = (4, 6);

/// Who refuses: model families that are known to, models that this store (or a repair of it) proves, and
/// models that the user named. Fixed before planning, so that a repair cannot remove its own proof.
#[derive(Debug, Clone, Default)]
pub struct Refuses {
    proven: BTreeSet<ModelRef>,
    named: BTreeSet<String>,
}

impl Refuses {
    /// `proven`: models with a stored prefill 400; `named`: `PROVIDER/MODEL` or a model's id.
    #[must_use]
    pub fn new(proven: impl IntoIterator<Item = ModelRef>, named: impl IntoIterator<Item = String>) -> Self {
        Self { proven: proven.into_iter().collect(), named: named.into_iter().collect() }
    }

    /// Adds a model that a stored prefill 400 proves.
    pub fn prove(&mut self, model: ModelRef) {
        self.proven.insert(model);
    }

    /// Whether the model refuses an assistant prefill, as far as is known.
    #[must_use]
    pub fn refuses(&self, model: &ModelRef) -> bool {
        claude_version(&model.model).is_some_and(|v| v >= FIRST_REFUSING)
            || self.proven.contains(model)
            || self.named.contains(&model.model)
            || self.named.contains(&model.to_string())
    }
}

/// The version in a Claude model's id, in any of the spellings that providers use; `None` for other models
/// and for ids without a version. An 8-digit number is a date.
fn claude_version(id: &str) -> Option<(u32, u32)> {
    let id = id.to_lowercase();
    let (_, rest) = id.split_once("claude")?;
    let mut numbers = Vec::new();
    for word in rest.split(|c: char| !c.is_ascii_alphanumeric()) {
        match word.parse::<u32>() {
            Ok(n) if word.len() <= 2 => numbers.push(n),
            Ok(_) => break,
            // `v1:0` and the like close the name; a family's name may stand before or after the version.
            Err(_) if !numbers.is_empty() => break,
            Err(_) => {}
        }
    }
    match numbers[..] {
        [] => None,
        [major] => Some((major, 0)),
        [major, minor, ..] => Some((major, minor)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(id: &str) -> bool {
        Refuses::default().refuses(&ModelRef { provider: "p".into(), model: id.into() })
    }

    #[test]
    fn families_in_every_spelling() {
        for id in [
            "claude-opus-4-6",
            "claude-opus-4.6",
            "us.anthropic.claude-opus-4-6-v1:0",
            "us.anthropic.claude-opus-4-6-v1",
            "azure_ai/claude-opus-4-6",
            "anthropic/claude-sonnet-4.6",
            "claude-opus-4-6@20260205",
            "claude-opus-4-7",
            "claude-opus-4-8-20260601",
            "claude-sonnet-5",
            "claude-sonnet-5-20260801",
            "global.anthropic.claude-sonnet-5-1-20260801-v1:0",
            "Claude-Opus-4-6",
            "claude-opus-4-10",
            "claude-newfamily-5-1",
            "claude-4.6-opus",
        ] {
            assert!(of(id), "{id}");
        }
        for id in [
            "claude-opus-4-5",
            "claude-opus-4-5-20251101",
            "claude-opus-4-20250514",
            "claude-opus-4@20250514",
            "claude-sonnet-4",
            "claude-3-5-sonnet-20241022",
            "claude-3.7-sonnet",
            "us.anthropic.claude-sonnet-4-20250514-v1:0",
            "anthropic.claude-3-5-sonnet-20241022-v2:0",
            "claude-haiku-4-5@20251001",
            "claude-instant-v1",
            "gpt-5.2",
            "gemini-3-pro",
            "claude",
        ] {
            assert!(!of(id), "{id}");
        }
    }

    #[test]
    fn a_stored_refusal_and_a_named_model_count() {
        let model = ModelRef { provider: "lab".into(), model: "own-7".into() };
        assert!(!Refuses::default().refuses(&model));
        assert!(Refuses::new([model.clone()], []).refuses(&model));
        assert!(Refuses::new([], ["own-7".to_owned()]).refuses(&model));
        assert!(Refuses::new([], ["lab/own-7".to_owned()]).refuses(&model));
        let elsewhere = ModelRef { provider: "other".into(), ..model.clone() };
        assert!(!Refuses::new([model], []).refuses(&elsewhere));
    }
}
