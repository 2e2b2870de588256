//! The catalogue of providers and models that opencode keeps in its cache folder.
//!
//! It is the file that `OPENCODE_MODELS_PATH` names, or `models.json` in `$XDG_CACHE_HOME/opencode`
//! (`~/.cache/opencode`), or the built-in one; from 1.14.34 on another file if `OPENCODE_MODELS_URL` is not the
//! default.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use super::config::Abilities;
use super::files;
use crate::environment::Environment;

/// The catalogue of 1.18.33 has 5 MB; this only keeps a wrong file from filling the memory.
const LIMIT: u64 = 128 << 20;

/// Addresses whose catalogue is `models.json`: the default up to 1.17.11, and the one since 1.18.14.
const DEFAULT_URLS: &[&str] = &["https://models.dev", "https://models.opencode.ai"];

/// Packages by provider and model.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Catalogue {
    providers: BTreeMap<String, Provider>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Provider {
    npm: Option<String>,
    /// Every known model.
    models: BTreeMap<String, Model>,
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Model {
    /// Its own package, if it has one.
    npm: Option<String>,
    abilities: Abilities,
}

/// What the catalogue says about one model.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entry<'a> {
    /// The model is listed. The package is its own or its provider's, if either names one.
    Model(Option<&'a str>),
    /// Only the provider is listed, with its package, if it names one.
    Provider(Option<&'a str>),
    /// Neither is listed.
    Unknown,
}

impl Catalogue {
    /// Reads the catalogue that opencode would read; `None` if there is none, with a warning if one cannot be used.
    pub(super) fn load(env: &Environment) -> (Option<Self>, Option<String>) {
        let Some(path) = path(env) else {
            return (None, None);
        };
        let read = files::read(&path, LIMIT).and_then(|text| match text {
            Some(text) => serde_json::from_str(&text)
                .map(Some)
                .map_err(|error| format!("no valid JSON at line {}, column {}", error.line(), error.column())),
            None => Ok(None),
        });
        match read {
            Ok(value) => (value.as_ref().map(Self::from_value), None),
            Err(why) => (None, Some(format!("model catalogue {} is skipped: {why}", path.display()))),
        }
    }

    fn from_value(root: &Value) -> Self {
        let providers = objects(Some(root)).map(|(id, provider)| {
            let mut models = BTreeMap::new();
            for (id, model) in objects(provider.get("models")) {
                let npm = string(model.get("provider").and_then(|provider| provider.get("npm")));
                // opencode makes one more model of each mode, named after the model's own id.
                let name = model.get("id").and_then(Value::as_str).unwrap_or(id);
                let modes = model.get("experimental").and_then(|experimental| experimental.get("modes"));
                for (mode, _) in objects(modes) {
                    models.insert(format!("{name}-{mode}"), model_of(npm.clone(), model));
                }
                models.insert(id.clone(), model_of(npm, model));
            }
            (id.clone(), Provider { npm: string(provider.get("npm")), models })
        });
        Self { providers: providers.collect() }
    }

    /// Looks up one model.
    pub(super) fn entry(&self, provider: &str, model: &str) -> Entry<'_> {
        let Some(provider) = self.providers.get(provider) else {
            return Entry::Unknown;
        };
        match provider.models.get(model) {
            Some(model) => Entry::Model(model.npm.as_deref().or(provider.npm.as_deref())),
            None => Entry::Provider(provider.npm.as_deref()),
        }
    }

    /// What it says of a model, where it lists that.
    pub(super) fn abilities(&self, provider: &str, model: &str) -> Option<&Abilities> {
        Some(&self.providers.get(provider)?.models.get(model)?.abilities)
    }
}

fn model_of(npm: Option<String>, model: &Value) -> Model {
    Model { npm, abilities: Abilities::of(model) }
}

fn objects(value: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    value.and_then(Value::as_object).into_iter().flatten().filter(|(_, value)| value.is_object())
}

fn string(value: Option<&Value>) -> Option<String> {
    value.and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

/// OPENCODE_MODELS_PATH; else `models.json` in the cache folder; from 1.14.34 on, with another OPENCODE_MODELS_URL than the
/// default, `models-<SHA-1 of it>.json`.
///
/// The hash is not computed here: the one file with such a name is taken, and none if there are several.
fn path(env: &Environment) -> Option<PathBuf> {
    if let Some(path) = env.var("OPENCODE_MODELS_PATH") {
        return Some(env.absolute(path));
    }
    let folder = env.cache_folder()?;
    if env.var("OPENCODE_MODELS_URL").is_none_or(|url| DEFAULT_URLS.contains(&url)) {
        return Some(folder.join("models.json"));
    }
    let mut hashed = std::fs::read_dir(folder).ok()?.flatten().filter(|entry| {
        entry.file_name().to_str().is_some_and(|name| name.starts_with("models-") && name.ends_with(".json"))
    });
    hashed.next().filter(|_| hashed.next().is_none()).map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(root: &std::path::Path, vars: &[(&str, &str)]) -> Environment {
        Environment {
            vars: vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            home: Some(root.to_owned()),
            cwd: root.to_owned(),
        }
    }

    const TEXT: &str = r#"{"p":{"npm":"own","models":{
        "plain":{"id":"plain"},"other":{"id":"other","provider":{"npm":"special"},"experimental":{"modes":{"fast":{}}}}}},
        "bare":{"models":{"m":{}}},"odd":5}"#;

    #[test]
    fn a_models_package_goes_before_its_providers() {
        let catalogue = Catalogue::from_value(&serde_json::from_str(TEXT).unwrap());
        assert_eq!(catalogue.entry("p", "plain"), Entry::Model(Some("own")));
        assert_eq!(catalogue.entry("p", "other"), Entry::Model(Some("special")));
        assert_eq!(catalogue.entry("p", "other-fast"), Entry::Model(Some("special")));
        assert_eq!(catalogue.entry("p", "gone"), Entry::Provider(Some("own")));
        assert_eq!(catalogue.entry("bare", "m"), Entry::Model(None));
        assert_eq!(catalogue.entry("odd", "m"), Entry::Unknown);
    }

    #[test]
    fn the_file_is_found_where_opencode_has_it() {
        let root = tempfile::tempdir().unwrap();
        let cache = root.path().join(".cache/opencode");
        std::fs::create_dir_all(&cache).unwrap();
        assert_eq!(Catalogue::load(&environment(root.path(), &[])), (None, None));
        std::fs::write(cache.join("models.json"), TEXT).unwrap();
        assert!(Catalogue::load(&environment(root.path(), &[])).0.is_some());
        assert!(
            Catalogue::load(&environment(root.path(), &[("OPENCODE_MODELS_URL", "https://models.dev")])).0.is_some()
        );
        let other = environment(root.path(), &[("OPENCODE_MODELS_URL", "http://example.invalid")]);
        assert_eq!(path(&other), None);
        std::fs::write(cache.join("models-1.json"), TEXT).unwrap();
        assert_eq!(path(&other), Some(cache.join("models-1.json")));
        std::fs::write(cache.join("models-2.json"), TEXT).unwrap();
        assert_eq!(path(&other), None);
        let named = environment(root.path(), &[("OPENCODE_MODELS_PATH", "m.json")]);
        assert_eq!(path(&named), Some(root.path().join("m.json")));
    }

    #[test]
    fn a_broken_catalogue_is_a_warning() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("m.json"), "{").unwrap();
        let (catalogue, warning) = Catalogue::load(&environment(root.path(), &[("OPENCODE_MODELS_PATH", "m.json")]));
        assert_eq!(catalogue, None);
        assert!(warning.unwrap().contains("m.json is skipped"));
        let (_, warning) = Catalogue::load(&environment(root.path(), &[("OPENCODE_MODELS_PATH", ".")]));
        assert!(warning.unwrap().contains("not a regular file"));
    }
}
