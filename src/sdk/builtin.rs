//! What opencode knows about well-known providers without a catalogue file: a copy of the relevant part of the catalogue
//! that is built into 1.18.33 (docs/opencode.md §5.7).

/// The package that opencode takes when nothing names one.
pub(super) const DEFAULT: &str = "@ai-sdk/openai-compatible";

const ANTHROPIC: &str = "@ai-sdk/anthropic";

/// Package per provider. Providers that use [`DEFAULT`] are listed only where people are likely to have them: being
/// listed means that opencode knows the provider's models, so that a package named in its configuration for the
/// provider does not reach the models that the configuration does not list.
const PROVIDERS: &[(&str, &str)] = &[
    ("aihubmix", "@aihubmix/ai-sdk-provider"),
    ("alibaba", DEFAULT),
    ("alibaba-cn", DEFAULT),
    ("amazon-bedrock", "@ai-sdk/amazon-bedrock"),
    ("anthropic", ANTHROPIC),
    ("azure", "@ai-sdk/azure"),
    ("azure-cognitive-services", "@ai-sdk/azure"),
    ("baseten", DEFAULT),
    ("cerebras", "@ai-sdk/cerebras"),
    ("cloudflare-ai-gateway", "ai-gateway-provider"),
    ("cohere", "@ai-sdk/cohere"),
    ("databricks", DEFAULT),
    ("deepinfra", "@ai-sdk/deepinfra"),
    ("deepseek", DEFAULT),
    ("digitalocean", DEFAULT),
    ("fireworks-ai", DEFAULT),
    ("freemodel", ANTHROPIC),
    ("github-copilot", "@ai-sdk/github-copilot"),
    ("gitlab", "gitlab-ai-provider"),
    ("google", "@ai-sdk/google"),
    ("google-vertex", "@ai-sdk/google-vertex"),
    ("google-vertex-anthropic", "@ai-sdk/google-vertex/anthropic"),
    ("groq", "@ai-sdk/groq"),
    ("helicone", DEFAULT),
    ("huggingface", DEFAULT),
    ("infer", "@ai-sdk/openai"),
    ("kilo", DEFAULT),
    ("lmstudio", DEFAULT),
    ("merge-gateway", "merge-gateway-ai-sdk-provider"),
    ("meta", "@ai-sdk/openai"),
    ("minimax", ANTHROPIC),
    ("minimax-cn", ANTHROPIC),
    ("minimax-cn-coding-plan", ANTHROPIC),
    ("minimax-coding-plan", ANTHROPIC),
    ("mistral", "@ai-sdk/mistral"),
    ("moonshotai", DEFAULT),
    ("neosmith", "@ai-sdk/openai"),
    ("nvidia", DEFAULT),
    ("openai", "@ai-sdk/openai"),
    ("opencode", DEFAULT),
    ("opencode-go", DEFAULT),
    ("openrouter", "@openrouter/ai-sdk-provider"),
    ("perplexity", "@ai-sdk/perplexity"),
    ("perplexity-agent", "@ai-sdk/openai"),
    ("poe", DEFAULT),
    ("qvac", "@qvac/ai-sdk-provider"),
    ("requesty", DEFAULT),
    ("salad-cloud", "@saladtechnologies-oss/ai-sdk-provider"),
    ("sap-ai-core", "@jerome-benoit/sap-ai-provider-v2"),
    ("snowflake-cortex", DEFAULT),
    ("standardcompute", "@openrouter/ai-sdk-provider"),
    ("subconscious", ANTHROPIC),
    ("thinkingmachines", ANTHROPIC),
    ("togetherai", "@ai-sdk/togetherai"),
    ("v0", "@ai-sdk/vercel"),
    ("venice", "venice-ai-sdk-provider"),
    ("vercel", "@ai-sdk/gateway"),
    ("vivgrid", "@ai-sdk/openai"),
    ("watsonx", "watsonx-ai-provider"),
    ("xai", "@ai-sdk/xai"),
    ("zai", DEFAULT),
    ("zhipuai", DEFAULT),
];

/// Providers whose Claude models have a package of their own in the catalogue. In 1.18.33 that holds for every Claude model
/// of these, so the rule needs no list of models, and models that come later fall under it too.
const CLAUDE: &[(&str, &str)] = &[
    ("agentrouter", ANTHROPIC),
    ("azure", ANTHROPIC),
    ("azure-cognitive-services", ANTHROPIC),
    ("google-vertex", "@ai-sdk/google-vertex/anthropic"),
    ("ofox", ANTHROPIC),
    ("opencode", ANTHROPIC),
    ("vivgrid", ANTHROPIC),
    ("zenmux", ANTHROPIC),
];

fn find(table: &[(&str, &'static str)], provider: &str) -> Option<&'static str> {
    table.iter().find(|(id, _)| *id == provider).map(|(_, package)| *package)
}

fn is_claude(model: &str) -> bool {
    model.to_ascii_lowercase().contains("claude")
}

/// The package that the program's code, not its catalogue, gives to a model; it goes before any catalogue.
///
/// `cloudflare-ai-gateway` decides by the model's prefix: `@ai-sdk/openai` for `openai/…`, `@ai-sdk/anthropic` for
/// `anthropic/…` (1.18.33; 1.3.0 has one package for all). `github-copilot` takes the list of models from Copilot's own
/// service after login: those that it offers at `/v1/messages` (Claude is taken to be, not measured) get
/// `@ai-sdk/anthropic`, all others `@ai-sdk/github-copilot` (read in 1.14.34 to 1.18.33).
pub(super) fn by_program(provider: &str, model: &str) -> Option<&'static str> {
    match provider {
        "cloudflare-ai-gateway" if model.starts_with("openai/") => Some("@ai-sdk/openai"),
        "cloudflare-ai-gateway" if model.starts_with("anthropic/") => Some(ANTHROPIC),
        "github-copilot" if is_claude(model) => Some(ANTHROPIC),
        "github-copilot" => Some("@ai-sdk/github-copilot"),
        _ => None,
    }
}

/// The package that the built-in catalogue gives to a Claude model other than its provider's.
pub(super) fn by_model(provider: &str, model: &str) -> Option<&'static str> {
    if is_claude(model) { find(CLAUDE, provider) } else { None }
}

/// The package that the built-in catalogue gives to a provider.
pub(super) fn by_provider(provider: &str) -> Option<&'static str> {
    find(PROVIDERS, provider)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_name_each_provider_once() {
        for table in [PROVIDERS, CLAUDE] {
            let mut ids: Vec<_> = table.iter().map(|(id, _)| id).collect();
            let before = ids.len();
            ids.dedup();
            assert_eq!(ids.len(), before);
            assert!(ids.is_sorted(), "kept sorted, so that a second row of a provider is seen");
        }
    }

    #[test]
    fn claude_models_differ_from_their_provider_where_the_catalogue_says_so() {
        assert_eq!(by_model("azure", "claude-opus-4-6"), Some("@ai-sdk/anthropic"));
        assert_eq!(by_model("azure", "gpt-5.4"), None);
        assert_eq!(by_model("google-vertex", "claude-opus-4-6@default"), Some("@ai-sdk/google-vertex/anthropic"));
        assert_eq!(by_model("openrouter", "anthropic/claude-opus-4.6"), None);
    }
}
