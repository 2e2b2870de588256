//! The ways to a model that the suite knows: one provider of the private configuration for each package, and for each
//! setting of a package that changes what is sent.

use serde_json::{Value, json};

/// The models that the private configuration offers, for each provider. All of them refuse a request that ends with the
/// assistant's turn, as far as the scripted provider is concerned.
pub(crate) const MODELS: [&str; 3] = ["claude-opus-4-6", "claude-opus-4-7", "claude-sonnet-4-6"];

/// A provider of the private configuration. Its models are named as [`MODELS`] are and stand for `api_id` of the service.
#[derive(Debug)]
pub(crate) struct Setup {
    /// The provider's id.
    pub(crate) provider: &'static str,
    pub(crate) package: &'static str,
    /// The id of the model at the service, where it is not the model's own.
    pub(crate) api_id: Option<&'static str>,
    /// Behind the address of the scripted service.
    path: &'static str,
    /// Further options of the provider.
    options: fn() -> Value,
    /// Further fields of its models.
    model: fn() -> Value,
}

/// Providers for which opencode picks one of the package's protocols itself. It does so only where their key comes from the
/// environment or from a login.
const OWN_WAYS: [&str; 3] = ["azure", "github-copilot", "xai"];

/// The variable that holds it.
pub(crate) const KEY: &str = "UNSTICK_E2E_KEY";

fn nothing() -> Value {
    json!({})
}

const PLAIN: Setup = Setup { provider: "", package: "", api_id: None, path: "v1", options: nothing, model: nothing };

/// All of them. The first two are those that every story is played with.
pub(crate) static SETUPS: [Setup; 25] = [
    Setup { provider: "mock", package: "@ai-sdk/anthropic", ..PLAIN },
    Setup { provider: "litellm", package: "@ai-sdk/openai-compatible", ..PLAIN },
    Setup { provider: "minimax", package: "@ai-sdk/anthropic", api_id: Some("minimax-m2.1"), ..PLAIN },
    Setup { provider: "responses", package: "@ai-sdk/openai", api_id: Some("gpt-5.2"), ..PLAIN },
    Setup {
        provider: "responses-stored",
        package: "@ai-sdk/openai",
        api_id: Some("gpt-5.2"),
        model: || json!({"options": {"store": true}}),
        ..PLAIN
    },
    Setup { provider: "azure-like", package: "@ai-sdk/azure", api_id: Some("gpt-5.2"), path: "openai", ..PLAIN },
    Setup {
        provider: "azure",
        package: "@ai-sdk/azure",
        api_id: Some("gpt-5.2"),
        path: "openai",
        options: || json!({"useCompletionUrls": true}),
        ..PLAIN
    },
    Setup {
        provider: "or",
        package: "@openrouter/ai-sdk-provider",
        api_id: Some("anthropic/claude-opus-4.6"),
        path: "api/v1",
        ..PLAIN
    },
    Setup {
        provider: "or-gpt",
        package: "@openrouter/ai-sdk-provider",
        api_id: Some("openai/gpt-5.2"),
        path: "api/v1",
        ..PLAIN
    },
    Setup { provider: "copilot-like", package: "@ai-sdk/github-copilot", api_id: Some("gemini-3-pro"), ..PLAIN },
    Setup { provider: "github-copilot", package: "@ai-sdk/github-copilot", api_id: Some("gpt-5.2"), ..PLAIN },
    Setup {
        provider: "gemini",
        package: "@ai-sdk/google",
        api_id: Some("gemini-3-pro-preview"),
        path: "v1beta",
        ..PLAIN
    },
    Setup {
        provider: "gemini-old",
        package: "@ai-sdk/google",
        api_id: Some("gemini-2.5-pro"),
        path: "v1beta",
        ..PLAIN
    },
    Setup {
        provider: "vertex",
        package: "@ai-sdk/google-vertex",
        api_id: Some("gemini-3-pro-preview"),
        path: "v1/publishers/google",
        ..PLAIN
    },
    Setup {
        provider: "vertex-claude",
        package: "@ai-sdk/google-vertex/anthropic",
        api_id: Some("claude-opus-4-6@default"),
        path: "v1/publishers/anthropic/models",
        options: || json!({"project": "some-project", "location": "us-east5"}),
        ..PLAIN
    },
    Setup {
        provider: "bedrock",
        package: "@ai-sdk/amazon-bedrock",
        api_id: Some("us.anthropic.claude-opus-4-6-v1"),
        path: "runtime",
        options: || json!({"region": "us-east-1"}),
        ..PLAIN
    },
    Setup {
        provider: "bedrock-gpt",
        package: "@ai-sdk/amazon-bedrock",
        api_id: Some("openai.gpt-oss-120b-1:0"),
        path: "runtime",
        options: || json!({"region": "us-east-1"}),
        ..PLAIN
    },
    Setup { provider: "mistral", package: "@ai-sdk/mistral", api_id: Some("mistral-large-2512"), ..PLAIN },
    Setup { provider: "grok", package: "@ai-sdk/xai", api_id: Some("grok-4"), ..PLAIN },
    Setup { provider: "xai", package: "@ai-sdk/xai", api_id: Some("grok-4"), ..PLAIN },
    Setup { provider: "groq", package: "@ai-sdk/groq", api_id: Some("openai/gpt-oss-120b"), ..PLAIN },
    Setup {
        provider: "kimi",
        package: "@ai-sdk/openai-compatible",
        api_id: Some("kimi-k2-thinking"),
        model: || json!({"reasoning": true, "interleaved": {"field": "reasoning_content"}}),
        ..PLAIN
    },
    Setup {
        provider: "details",
        package: "@ai-sdk/openai-compatible",
        api_id: Some("glm-4.7"),
        model: || json!({"reasoning": true, "interleaved": {"field": "reasoning_details"}}),
        ..PLAIN
    },
    Setup { provider: "deep", package: "@ai-sdk/openai-compatible", api_id: Some("deepseek-v3.2"), ..PLAIN },
    Setup { provider: "devstral", package: "@ai-sdk/openai-compatible", api_id: Some("devstral-2"), ..PLAIN },
];

/// Those that `UNSTICK_E2E_SETUPS` names, `all` for every one; unless said, the first two.
pub(crate) fn chosen() -> Vec<&'static Setup> {
    match std::env::var("UNSTICK_E2E_SETUPS") {
        Err(_) => SETUPS[..2].iter().collect(),
        Ok(all) if all == "all" => SETUPS.iter().collect(),
        Ok(said) => said.split_whitespace().map(setup).collect(),
    }
}

/// Those that `UNSTICK_E2E_SETUPS` names; unless said, all.
pub(crate) fn or_all() -> Vec<&'static Setup> {
    if std::env::var_os("UNSTICK_E2E_SETUPS").is_some() { chosen() } else { SETUPS.iter().collect() }
}

/// The setup of a provider.
pub(crate) fn setup(provider: &str) -> &'static Setup {
    SETUPS.iter().find(|s| s.provider == provider).unwrap_or_else(|| panic!("no set-up is called {provider:?}"))
}

impl Setup {
    /// Its entry in the configuration, for a scripted service at `port`.
    pub(crate) fn configuration(&self, port: u16) -> Value {
        let mut model = json!({"limit": {"context": 200_000, "output": 8_000}, "attachment": true,
            "modalities": {"input": ["text", "image", "pdf"], "output": ["text"]}});
        if let Some(id) = self.api_id {
            model["id"] = json!(id);
        }
        merge(&mut model, (self.model)());
        let models: serde_json::Map<String, Value> = MODELS
            .iter()
            .map(|id| {
                let mut model = model.clone();
                model["name"] = json!(id);
                ((*id).to_owned(), model)
            })
            .collect();
        let base = format!("http://127.0.0.1:{port}/{}/{}", self.provider, self.path);
        let mut options = json!({"baseURL": base, "apiKey": "x"});
        merge(&mut options, (self.options)());
        let mut out = json!({"npm": self.package, "name": self.provider, "models": models, "options": options});
        if OWN_WAYS.contains(&self.provider) {
            out["env"] = json!([KEY]);
        }
        out
    }
}

fn merge(into: &mut Value, more: Value) {
    let Value::Object(more) = more else { return };
    for (name, value) in more {
        into[name] = value;
    }
}

impl PartialEq for Setup {
    fn eq(&self, other: &Self) -> bool {
        self.provider == other.provider
    }
}

impl Eq for Setup {}

impl PartialOrd for Setup {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Setup {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.provider.cmp(other.provider)
    }
}
