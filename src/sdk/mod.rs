//! Which AI SDK package opencode would load for a model.
//!
//! The store names only provider and model, but the package decides whether an empty text is sent or dropped, and with it
//! whether some histories end with the assistant (docs/opencode.md §5.7).

mod builtin;
mod catalogue;
mod config;
mod files;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::environment::Environment;
use crate::error::{Error, ErrorCode};
use crate::replay::{Input, Sdk};
use catalogue::{Catalogue, Entry};
use config::Config;

/// Configuration files are written by hand; this only keeps a wrong file from filling the memory.
const CONFIG_LIMIT: u64 = 8 << 20;

/// A package and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SdkChoice {
    /// The npm name, such as `@ai-sdk/anthropic`.
    pub package: String,
    /// `--sdk`, `config PATH`, `models.json`, `built-in table` or `default`. A path is as the file system gave it, so its
    /// characters are not safe for a terminal.
    pub source: String,
    /// What is known of the model besides.
    pub facts: Facts,
}

/// What the configuration and the catalogue say of a model, as far as its requests depend on it. opencode's own defaults
/// where they say nothing; `None` where they may be there and cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// Its id at the service, where that is another than its own.
    pub api_id: Option<String>,
    /// Which files it takes in prompts.
    pub input: Option<Input>,
    /// `interleaved.field`
    pub interleaved: Option<String>,
    /// `options.store`
    pub store: Option<bool>,
    /// `options.useCompletionUrls`
    pub completions: bool,
}

impl SdkChoice {
    fn new(package: impl Into<String>, source: impl Into<String>) -> Self {
        Self { package: package.into(), source: source.into(), facts: Facts::default() }
    }

    /// Whether nothing names the package: opencode's default is the best guess.
    #[must_use]
    pub fn is_guess(&self) -> bool {
        self.source == "default"
    }

    /// In the form that the replay wants.
    #[must_use]
    pub fn sdk(&self) -> Sdk {
        let Facts { api_id, input, interleaved, store, completions } = self.facts.clone();
        Sdk { package: self.package.clone(), api_id, input, interleaved, store, completions, guess: self.is_guess() }
    }
}

/// One `--sdk PROVIDER[/MODEL]=PACKAGE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SdkOverride {
    /// The provider's id, which has no slash.
    pub provider: String,
    /// The model's id, which may have slashes; `None` for every model of the provider.
    pub model: Option<String>,
    /// The npm name.
    pub package: String,
}

/// Why a `--sdk` is no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SdkError {
    /// There is no `=`.
    #[error("{0:?} has no \"=\"; write PROVIDER[/MODEL]=PACKAGE, such as litellm=@ai-sdk/openai-compatible")]
    NoPackage(String),
    /// One of the parts is empty.
    #[error("{text:?} names no {part}; write PROVIDER[/MODEL]=PACKAGE, such as litellm=@ai-sdk/openai-compatible")]
    Empty {
        /// What was given.
        text: String,
        /// `provider`, `model` or `package`.
        part: &'static str,
    },
    /// White space or a control character, which is in no id and no package name.
    #[error("{0:?} holds white space or a control character; write PROVIDER[/MODEL]=PACKAGE")]
    Blank(String),
    /// Two overrides name the same target.
    #[error("--sdk names two packages for {target}: {first} and {second}; leave one of them out")]
    Conflict {
        /// PROVIDER or PROVIDER/MODEL.
        target: String,
        /// The package that came first.
        first: String,
        /// The package that came second.
        second: String,
    },
}

impl From<SdkError> for Error {
    fn from(error: SdkError) -> Self {
        Self::new(ErrorCode::Usage, error.to_string())
    }
}

impl FromStr for SdkOverride {
    type Err = SdkError;

    /// Parses `PROVIDER[/MODEL]=PACKAGE`. The provider ends at the first slash, the package begins at the last `=`.
    fn from_str(text: &str) -> Result<Self, SdkError> {
        let (target, package) = text.rsplit_once('=').ok_or_else(|| SdkError::NoPackage(text.to_owned()))?;
        let (provider, model) = match target.split_once('/') {
            Some((provider, model)) => (provider, Some(model)),
            None => (target, None),
        };
        let empty = |part| SdkError::Empty { text: text.to_owned(), part };
        if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(SdkError::Blank(text.to_owned()));
        }
        if provider.is_empty() {
            return Err(empty("provider"));
        }
        if model.is_some_and(str::is_empty) {
            return Err(empty("model"));
        }
        if package.is_empty() {
            return Err(empty("package"));
        }
        Ok(Self { provider: provider.to_owned(), model: model.map(str::to_owned), package: package.to_owned() })
    }
}

/// Chooses packages, reading opencode's configuration and catalogue when they are first needed, each file once.
#[derive(Debug)]
pub struct SdkResolver {
    overrides: Vec<SdkOverride>,
    env: Environment,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    files: HashMap<PathBuf, Arc<Config>>,
    directories: HashMap<PathBuf, Arc<Config>>,
    choices: HashMap<PathBuf, HashMap<(String, String), SdkChoice>>,
    /// The outer `None` is "not looked for yet".
    catalogue: Option<Option<Arc<Catalogue>>>,
    inline: Option<Arc<Config>>,
    warnings: Vec<String>,
}

impl SdkResolver {
    /// A resolver for this environment. Nothing is read yet.
    ///
    /// # Errors
    /// [`SdkError::Conflict`] if two overrides name different packages for the same target.
    pub fn new(overrides: Vec<SdkOverride>, env: &Environment) -> Result<Self, SdkError> {
        for (index, second) in overrides.iter().enumerate() {
            let same = |first: &&SdkOverride| first.provider == second.provider && first.model == second.model;
            if let Some(first) = overrides[..index].iter().find(same)
                && first.package != second.package
            {
                let target = match &second.model {
                    Some(model) => format!("{}/{model}", second.provider),
                    None => second.provider.clone(),
                };
                return Err(SdkError::Conflict {
                    target,
                    first: first.package.clone(),
                    second: second.package.clone(),
                });
            }
        }
        Ok(Self { overrides, env: env.clone(), state: Mutex::default() })
    }

    /// The package for a model in a session of `session_directory`.
    ///
    /// The order (docs/opencode.md §5.7): `--sdk` for the model, then for the provider; the configuration's entry of the
    /// model, and for a model that has one its provider's `npm`; what the program's code fixes; the catalogue, model before
    /// provider; the built-in table; [the default](builtin::DEFAULT). opencode applies a provider's `npm` only to models
    /// that the configuration lists (measured on 1.3.0 and 1.18.33); for a model that nothing lists any more it is
    /// the best guess, and taken.
    pub fn choose(&self, provider_id: &str, model_id: &str, session_directory: &Path) -> SdkChoice {
        let named = self.overridden(provider_id, model_id);
        let mut state = self.lock();
        let key = (provider_id.to_owned(), model_id.to_owned());
        if let Some(choice) = state.choices.get(session_directory).and_then(|choices| choices.get(&key)) {
            return choice.clone();
        }
        let config = state.config_of(&self.env, session_directory);
        let mut choice = named.unwrap_or_else(|| decide(provider_id, model_id, &config, || state.catalogue(&self.env)));
        choice.facts = facts(provider_id, model_id, &choice, &config, state.catalogue(&self.env).as_deref());
        state.choices.entry(session_directory.to_owned()).or_default().insert(key, choice.clone());
        choice
    }

    /// What was skipped so far, and why: files that could not be read or understood. They name files, never contents.
    pub fn warnings(&self) -> Vec<String> {
        self.lock().warnings.clone()
    }

    fn overridden(&self, provider: &str, model: &str) -> Option<SdkChoice> {
        let of_provider = || self.overrides.iter().filter(|entry| entry.provider == provider);
        of_provider()
            .find(|entry| entry.model.as_deref() == Some(model))
            .or_else(|| of_provider().find(|entry| entry.model.is_none()))
            .map(|entry| SdkChoice::new(entry.package.clone(), "--sdk"))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is a cache of what was read: after a panic elsewhere it is still what was read.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn config_of(&mut self, env: &Environment, directory: &Path) -> Arc<Config> {
        if let Some(config) = self.directories.get(directory) {
            return Arc::clone(config);
        }
        let mut config = Config::default();
        for path in config::global_files(env).into_iter().chain(config::project_files(env, directory)) {
            config.merge(&self.file(env, path));
        }
        config.merge(&self.inline(env));
        for path in config::managed_files(env) {
            config.merge(&self.file(env, path));
        }
        let config = Arc::new(config);
        self.directories.insert(directory.to_owned(), Arc::clone(&config));
        config
    }

    fn file(&mut self, env: &Environment, path: PathBuf) -> Arc<Config> {
        if let Some(config) = self.files.get(&path) {
            return Arc::clone(config);
        }
        let label = format!("config {}", path.display());
        let config = match files::read(&path, CONFIG_LIMIT) {
            Ok(Some(text)) => self.parse(&text, &label, env),
            Ok(None) => Config::default(),
            Err(why) => {
                self.warnings.push(format!("{label} is skipped: {why}"));
                Config::default()
            }
        };
        let config = Arc::new(config);
        self.files.insert(path, Arc::clone(&config));
        config
    }

    fn inline(&mut self, env: &Environment) -> Arc<Config> {
        if let Some(config) = &self.inline {
            return Arc::clone(config);
        }
        let text = env.var("OPENCODE_CONFIG_CONTENT").unwrap_or_default();
        let config = Arc::new(self.parse(text, "config OPENCODE_CONFIG_CONTENT", env));
        self.inline = Some(Arc::clone(&config));
        config
    }

    fn parse(&mut self, text: &str, label: &str, env: &Environment) -> Config {
        match Config::parse(text, label, env) {
            Ok((config, warnings)) => {
                self.warnings.extend(warnings);
                config
            }
            Err(why) => {
                self.warnings.push(format!("{label} is skipped: {why}"));
                Config::default()
            }
        }
    }

    fn catalogue(&mut self, env: &Environment) -> Option<Arc<Catalogue>> {
        if let Some(catalogue) = &self.catalogue {
            return catalogue.clone();
        }
        let (catalogue, warning) = Catalogue::load(env);
        self.warnings.extend(warning);
        let catalogue = catalogue.map(Arc::new);
        self.catalogue = Some(catalogue.clone());
        catalogue
    }
}

/// The rule of [`SdkResolver::choose`] without `--sdk`. The catalogue is asked for only when it matters.
fn decide(
    provider_id: &str,
    model_id: &str,
    config: &Config,
    catalogue: impl FnOnce() -> Option<Arc<Catalogue>>,
) -> SdkChoice {
    let provider = config.providers.get(provider_id);
    let provider_npm = provider.and_then(|provider| provider.npm.as_ref());
    let listed = provider.and_then(|provider| provider.models.get(model_id));
    let from_config = |named: &config::Named| SdkChoice::new(named.package.clone(), named.source.clone());
    if let Some(named) = listed.and_then(|model| model.npm.as_ref().or(provider_npm)) {
        return from_config(named);
    }
    // An alias takes the package of the model that it stands for.
    let id = listed.and_then(|model| model.id.as_deref()).unwrap_or(model_id);
    if let Some(package) = builtin::by_program(provider_id, id) {
        return SdkChoice::new(package, "built-in table");
    }
    let default = || SdkChoice::new(builtin::DEFAULT, "default");
    let by_catalogue =
        |package: Option<&str>| package.map_or_else(default, |package| SdkChoice::new(package, "models.json"));
    let table = || builtin::by_model(provider_id, id).or_else(|| builtin::by_provider(provider_id));
    let by_table = || table().map(|package| SdkChoice::new(package, "built-in table"));
    // For a model that neither the configuration nor the catalogue lists, so that opencode would refuse it as it is now.
    let guess = || provider_npm.filter(|_| listed.is_none()).map(from_config);
    let Some(catalogue) = catalogue() else {
        // opencode falls back to the catalogue that is built into it, which the table stands for.
        return by_table().or_else(guess).unwrap_or_else(default);
    };
    match catalogue.entry(provider_id, id) {
        Entry::Model(package) => by_catalogue(package),
        Entry::Provider(package) if listed.is_some() => by_catalogue(package),
        Entry::Provider(package) => guess()
            .or_else(|| builtin::by_model(provider_id, id).map(|package| SdkChoice::new(package, "built-in table")))
            .unwrap_or_else(|| by_catalogue(package)),
        Entry::Unknown => guess().or_else(by_table).unwrap_or_else(default),
    }
}

/// What is known of a model besides its package: each from the configuration, else from the catalogue, else as opencode
/// takes it (read in 1.14.48 and 1.18.34).
fn facts(provider: &str, model: &str, choice: &SdkChoice, config: &Config, catalogue: Option<&Catalogue>) -> Facts {
    let of_provider = config.providers.get(provider);
    let listed = of_provider.and_then(|p| p.models.get(model));
    let id = listed.and_then(|l| l.id.as_deref()).unwrap_or(model);
    let known = catalogue.and_then(|c| c.abilities(provider, id));
    // The catalogue that is built into opencode may know the model, and is not at hand.
    let hidden = catalogue.is_none() && builtin::by_provider(provider).is_some();
    let abilities = || listed.map(|l| &l.abilities).into_iter().chain(known);
    let said = |input: Option<Input>| input.or_else(|| (!hidden && listed.is_some()).then(Input::default));
    let deepseek = || {
        let new = listed.is_some() && known.is_none() && choice.package == builtin::DEFAULT;
        (new && id.contains("deepseek")).then(|| "reasoning_content".to_owned())
    };
    Facts {
        api_id: (id != model).then(|| id.to_owned()),
        input: said(abilities().find_map(|a| a.input)),
        interleaved: abilities().find_map(|a| a.interleaved.clone()).unwrap_or_else(deepseek),
        store: listed.and_then(|l| l.store),
        completions: listed.and_then(|l| l.completions).or_else(|| of_provider?.completions).unwrap_or(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct World {
        root: tempfile::TempDir,
        env: Environment,
    }

    impl World {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            let managed = root.path().join("managed").to_str().unwrap().to_owned();
            let vars = [("OPENCODE_TEST_MANAGED_CONFIG_DIR".to_owned(), managed)].into();
            let env = Environment { vars, home: Some(root.path().join("home")), cwd: root.path().to_owned() };
            std::fs::create_dir_all(root.path().join("repo/.git")).unwrap();
            Self { root, env }
        }

        fn file(self, path: &str, text: &str) -> Self {
            let path = self.root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
            self
        }

        fn set(mut self, name: &str, value: &str) -> Self {
            self.env.vars.insert(name.to_owned(), value.to_owned());
            self
        }

        fn global(self, text: &str) -> Self {
            self.file("home/.config/opencode/opencode.json", text)
        }

        fn catalogue(self, text: &str) -> Self {
            self.file("home/.cache/opencode/models.json", text)
        }

        fn resolver(&self, overrides: &[&str]) -> SdkResolver {
            let overrides = overrides.iter().map(|text| text.parse().unwrap()).collect();
            SdkResolver::new(overrides, &self.env).unwrap()
        }

        fn repo(&self) -> PathBuf {
            self.root.path().join("repo")
        }

        /// Package and source, the root of the test's files left out of the source.
        fn choose(&self, provider: &str, model: &str) -> (String, String) {
            let choice = self.resolver(&[]).choose(provider, model, &self.repo());
            (choice.package, choice.source.replace(self.root.path().to_str().unwrap(), ""))
        }
    }

    fn pair(package: &str, source: &str) -> (String, String) {
        (package.to_owned(), source.to_owned())
    }

    #[test]
    fn overrides_are_parsed_with_slashes_in_models() {
        let parsed: SdkOverride = "openrouter/anthropic/claude-opus-4.6=@openrouter/ai-sdk-provider".parse().unwrap();
        assert_eq!(parsed.provider, "openrouter");
        assert_eq!(parsed.model.as_deref(), Some("anthropic/claude-opus-4.6"));
        assert_eq!(parsed.package, "@openrouter/ai-sdk-provider");
        assert_eq!("litellm=x".parse::<SdkOverride>().unwrap().model, None);
    }

    #[test]
    fn overrides_that_lack_a_part_say_which() {
        for (text, part) in
            [("=x", "provider"), ("/m=x", "provider"), ("p/=x", "model"), ("p=", "package"), ("p/m=", "package")]
        {
            let error = text.parse::<SdkOverride>().unwrap_err();
            assert_eq!(error, SdkError::Empty { text: text.to_owned(), part });
            assert!(error.to_string().contains(&format!("names no {part}")), "{error}");
        }
        assert!(matches!("litellm".parse::<SdkOverride>(), Err(SdkError::NoPackage(_))));
        assert!(matches!("litellm= x".parse::<SdkOverride>(), Err(SdkError::Blank(_))));
    }

    #[test]
    fn overrides_must_not_contradict_each_other() {
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<SdkOverride>>();
        let env = Environment::default();
        let error = SdkResolver::new(parse(&["p/m=a", "p=b", "p/m=c"]), &env).unwrap_err();
        assert!(error.to_string().contains("p/m: a and c"), "{error}");
        assert!(SdkResolver::new(parse(&["p/m=a", "p/m=a", "p=b", "q/m=c"]), &env).is_ok());
    }

    #[test]
    fn an_override_for_the_model_goes_before_one_for_the_provider_and_both_before_everything() {
        let world = World::new().global(r#"{"provider":{"p":{"models":{"m":{"provider":{"npm":"config"}}}}}}"#);
        let resolver = world.resolver(&["p=wide", "p/m=narrow"]);
        let choose = |model| resolver.choose("p", model, &world.repo());
        assert_eq!((choose("m").package, choose("m").source), pair("narrow", "--sdk"));
        assert_eq!((choose("other").package, choose("other").source), pair("wide", "--sdk"));
    }

    #[test]
    fn a_models_entry_goes_before_its_providers_in_the_configuration() {
        let world = World::new()
            .global(r#"{"provider":{"p":{"npm":"wide","models":{"m":{"provider":{"npm":"narrow"}},"n":{}}}}}"#);
        assert_eq!(world.choose("p", "m"), pair("narrow", "config /home/.config/opencode/opencode.json"));
        assert_eq!(world.choose("p", "n"), pair("wide", "config /home/.config/opencode/opencode.json"));
    }

    /// Measured: `/config/providers` of 1.18.33 and 1.3.0 with this very configuration of anthropic.
    #[test]
    fn a_providers_package_does_not_reach_models_that_only_the_catalogue_lists() {
        let config =
            r#"{"provider":{"anthropic":{"npm":"@ai-sdk/openai-compatible","models":{"claude-opus-4-5":{}}}}}"#;
        let catalogue =
            r#"{"anthropic":{"npm":"@ai-sdk/anthropic","models":{"claude-opus-4-5":{},"claude-opus-4-6":{}}}}"#;
        let without = World::new().global(config);
        assert_eq!(without.choose("anthropic", "claude-opus-4-5").0, "@ai-sdk/openai-compatible");
        assert_eq!(without.choose("anthropic", "claude-opus-4-6"), pair("@ai-sdk/anthropic", "built-in table"));
        let with = without.catalogue(catalogue);
        assert_eq!(with.choose("anthropic", "claude-opus-4-5").0, "@ai-sdk/openai-compatible");
        assert_eq!(with.choose("anthropic", "claude-opus-4-6"), pair("@ai-sdk/anthropic", "models.json"));
        assert_eq!(with.choose("anthropic", "gone").0, "@ai-sdk/openai-compatible", "nothing lists it: the best guess");
    }

    /// Measured like the one above: an alias of a known model, and a model that nobody knows.
    #[test]
    fn an_alias_takes_the_package_of_the_model_it_stands_for() {
        let config = r#"{"provider":{"azure":{"models":{"mine":{"id":"claude-opus-4-6"},"made-up":{}}}}}"#;
        let catalogue = r#"{"azure":{"npm":"@ai-sdk/azure","models":{"claude-opus-4-6":{"provider":{"npm":"@ai-sdk/anthropic"}}}}}"#;
        let without = World::new().global(config);
        assert_eq!(without.choose("azure", "mine"), pair("@ai-sdk/anthropic", "built-in table"));
        assert_eq!(without.choose("azure", "made-up"), pair("@ai-sdk/azure", "built-in table"));
        let with = without.catalogue(catalogue);
        assert_eq!(with.choose("azure", "mine"), pair("@ai-sdk/anthropic", "models.json"));
        assert_eq!(with.choose("azure", "made-up"), pair("@ai-sdk/azure", "models.json"));
    }

    #[test]
    fn the_catalogue_goes_before_the_table_and_the_default_comes_last() {
        let world =
            World::new().catalogue(r#"{"openai":{"npm":"changed","models":{"m":{}}},"bare":{"models":{"m":{}}}}"#);
        assert_eq!(world.choose("openai", "m"), pair("changed", "models.json"));
        assert_eq!(world.choose("bare", "m"), pair("@ai-sdk/openai-compatible", "default"));
        assert_eq!(world.choose("mistral", "m"), pair("@ai-sdk/mistral", "built-in table"));
        assert_eq!(world.choose("litellm", "m"), pair("@ai-sdk/openai-compatible", "default"));
    }

    #[test]
    fn a_model_that_left_the_catalogue_keeps_the_package_of_its_family() {
        let world = World::new().catalogue(r#"{"opencode":{"npm":"@ai-sdk/openai-compatible","models":{}}}"#);
        assert_eq!(world.choose("opencode", "claude-opus-4-6"), pair("@ai-sdk/anthropic", "built-in table"));
        assert_eq!(world.choose("opencode", "kimi"), pair("@ai-sdk/openai-compatible", "models.json"));
    }

    #[test]
    fn what_the_program_fixes_goes_before_the_catalogue_but_not_before_the_configuration() {
        let world =
            World::new().catalogue(r#"{"github-copilot":{"npm":"x","models":{"claude-opus-4.6":{},"gpt-5":{}}}}"#);
        assert_eq!(world.choose("github-copilot", "claude-opus-4.6").0, "@ai-sdk/anthropic");
        assert_eq!(world.choose("github-copilot", "gpt-5").0, "@ai-sdk/github-copilot");
        assert_eq!(world.choose("cloudflare-ai-gateway", "anthropic/claude-opus-4.6").0, "@ai-sdk/anthropic");
        let world = world.global(r#"{"provider":{"github-copilot":{"models":{"gpt-5":{"provider":{"npm":"mine"}}}}}}"#);
        assert_eq!(world.choose("github-copilot", "gpt-5").0, "mine");
    }

    /// Every file names every model "i-j" with i or j its own number, so each model shows which of two files wins. This is
    /// the layout with which 1.18.33 was measured.
    #[test]
    fn files_win_over_each_other_as_measured() {
        let order = [
            "home/.config/opencode/config.json",
            "home/.config/opencode/opencode.json",
            "home/.config/opencode/opencode.jsonc",
            "custom.json",
            "repo/opencode.json",
            "repo/opencode.jsonc",
            "repo/a/opencode.json",
            "repo/a/opencode.jsonc",
            "repo/a/.opencode/opencode.json",
            "repo/a/.opencode/opencode.jsonc",
            "repo/.opencode/opencode.json",
            "home/.opencode/opencode.json",
            "envdir/opencode.json",
            "",
            "managed/opencode.json",
            "managed/opencode.jsonc",
        ];
        let text = |own: usize| {
            let models: serde_json::Map<String, serde_json::Value> = (0..order.len())
                .filter(|other| *other != own)
                .map(|other| {
                    let id = format!("{}-{}", own.min(other), own.max(other));
                    (id, serde_json::json!({"provider": {"npm": own.to_string()}}))
                })
                .collect();
            serde_json::json!({"provider": {"p": {"models": models}}}).to_string()
        };
        let mut world = World::new()
            .set("OPENCODE_CONFIG", "custom.json")
            .set("OPENCODE_CONFIG_DIR", "envdir")
            .set("OPENCODE_CONFIG_CONTENT", &text(13));
        for (number, path) in order.iter().enumerate().filter(|(_, path)| !path.is_empty()) {
            world = world.file(path, &text(number));
        }
        // Not read: above the worktree, and names that do not count there.
        for path in ["opencode.json", ".opencode/opencode.json", "repo/config.json", "repo/.opencode/config.json"] {
            world = world.file(path, r#"{"provider":{"p":{"models":{"0-1":{"provider":{"npm":"no"}}}}}}"#);
        }
        let resolver = world.resolver(&[]);
        for low in 0..order.len() {
            for high in low + 1..order.len() {
                let choice = resolver.choose("p", &format!("{low}-{high}"), &world.repo().join("a"));
                assert_eq!(choice.package, high.to_string(), "{} against {}", order[low], order[high]);
            }
        }
        assert!(resolver.warnings().is_empty(), "{:?}", resolver.warnings());
    }

    #[test]
    fn project_configuration_goes_for_its_own_sessions_only() {
        let world = World::new()
            .file("repo/opencode.jsonc", r#"{"provider":{"p":{"models":{"m":{"provider":{"npm":"project"}}}}},}"#);
        let resolver = world.resolver(&[]);
        assert_eq!(resolver.choose("p", "m", &world.repo().join("gone/deep")).package, "project");
        let elsewhere = resolver.choose("p", "m", &world.root.path().join("home"));
        assert_eq!(elsewhere, SdkChoice::new("@ai-sdk/openai-compatible", "default"));
    }

    #[test]
    fn a_broken_file_is_skipped_and_said_once() {
        let world = World::new()
            .global(r#"{"provider":{"p":{"models":{"m":{"provider":{"npm":"good"}}}}}}"#)
            .file("repo/opencode.json", "{ broken")
            .file("repo/opencode.jsonc/x", "");
        let resolver = world.resolver(&[]);
        for directory in ["repo", "repo/a", "repo/b"] {
            assert_eq!(resolver.choose("p", "m", &world.root.path().join(directory)).package, "good");
        }
        let warnings = resolver.warnings();
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings[0].contains("opencode.json is skipped: no valid JSONC at line 1"), "{warnings:?}");
        assert!(warnings[1].contains("opencode.jsonc is skipped: not a regular file"), "{warnings:?}");
    }

    #[test]
    fn answers_are_kept() {
        let world = World::new().global(r#"{"provider":{"p":{"models":{"m":{"provider":{"npm":"first"}}}}}}"#);
        let resolver = world.resolver(&[]);
        assert_eq!(resolver.choose("p", "m", &world.repo()).package, "first");
        let world = world.global("{ broken");
        assert_eq!(resolver.choose("p", "m", &world.repo()).package, "first");
        assert_eq!(resolver.choose("p", "m", &world.repo().join("a")).package, "first", "a file is read once");
        assert!(resolver.warnings().is_empty());
    }

    #[test]
    fn without_a_home_the_table_still_answers() {
        let vars = [("OPENCODE_TEST_MANAGED_CONFIG_DIR".to_owned(), "/no/such/folder".to_owned())].into();
        let env = Environment { vars, home: None, cwd: PathBuf::from("/no/such/folder") };
        let resolver = SdkResolver::new(Vec::new(), &env).unwrap();
        let choice = resolver.choose("anthropic", "claude-opus-4-6", Path::new("/no/such/folder"));
        assert_eq!(choice, SdkChoice::new("@ai-sdk/anthropic", "built-in table"));
    }
}
