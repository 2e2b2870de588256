//! opencode's configuration, as far as it names packages: which files there are, in which order, and how they merge.
//!
//! Each of these is stronger than those before it, value by value (1 to 7 measured pair by pair on 1.18.33 and 1.3.0, 8
//! read); "both" are `opencode.json` and `opencode.jsonc`:
//!
//! 1. `config.json` and both in `$XDG_CONFIG_HOME/opencode` (`~/.config/opencode`)
//! 2. the file that `OPENCODE_CONFIG` names
//! 3. both in each folder from the worktree's root (the nearest parent with a `.git`, else `/`) down to the session's
//! 4. both in `.opencode/` of these folders, from the session's *up* to the root: the root's wins
//! 5. both in `~/.opencode`
//! 6. both in the folder that `OPENCODE_CONFIG_DIR` names
//! 7. the text in `OPENCODE_CONFIG_CONTENT`
//! 8. both in the administrator's folder: `/etc/opencode`, `/Library/Application Support/opencode`,
//!    `%ProgramData%\opencode`
//!
//! `OPENCODE_DISABLE_PROJECT_CONFIG` leaves out 3 and 4. In one place `.jsonc` wins over `.json` from 1.14.34 on, which
//! is followed; in 1.3.0 `.json` wins from 3 on, in 3 even over a nested `.jsonc`. The files are JSON with comments and
//! trailing commas; `{env:NAME}` and `{file:PATH}` are replaced before parsing. A broken file keeps opencode from
//! starting the session. Not followed (use `--sdk`): what opencode fetches (`.well-known/opencode` of a login, the
//! active organisation's), preferences that macOS manages, plugins, the contents of `{file:…}`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::environment::Environment;
use crate::replay::Input;

/// A package and the file that names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) package: String,
    pub(super) source: String,
}

/// What the configuration says about packages, merged over all files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Config {
    pub(super) providers: BTreeMap<String, Provider>,
}

/// One entry of `provider`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Provider {
    /// `provider.<id>.npm`
    pub(super) npm: Option<Named>,
    /// `provider.<id>.options.useCompletionUrls`
    pub(super) completions: Option<bool>,
    /// `provider.<id>.models`
    pub(super) models: BTreeMap<String, Model>,
}

/// One entry of `provider.<id>.models`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Model {
    /// `id`: the model that an alias stands for.
    pub(super) id: Option<String>,
    /// `provider.npm`
    pub(super) npm: Option<Named>,
    /// `options.store`
    pub(super) store: Option<bool>,
    /// `options.useCompletionUrls`
    pub(super) completions: Option<bool>,
    /// What it says of the model itself.
    pub(super) abilities: Abilities,
}

/// What configuration and catalogue say of a model in the same words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Abilities {
    /// `modalities.input`
    pub(super) input: Option<Input>,
    /// `interleaved`; inside, the field where it names one.
    pub(super) interleaved: Option<Option<String>>,
}

impl Abilities {
    pub(super) fn of(model: &Value) -> Self {
        let kinds = model.get("modalities").and_then(|m| m.get("input")).and_then(Value::as_array);
        let input = kinds.map(|kinds| {
            let has = |kind: &str| kinds.iter().any(|k| k == kind);
            Input { image: has("image"), pdf: has("pdf"), audio: has("audio"), video: has("video") }
        });
        let field = |value: &Value| value.as_str().or_else(|| value.get("field")?.as_str()).map(str::to_owned);
        Self { input, interleaved: model.get("interleaved").map(field) }
    }
}

impl Config {
    /// Lays `later` over this one, value by value, as opencode's deep merge does.
    pub(super) fn merge(&mut self, later: &Self) {
        for (id, provider) in &later.providers {
            let target = self.providers.entry(id.clone()).or_default();
            replace(&mut target.npm, &provider.npm);
            replace(&mut target.completions, &provider.completions);
            for (id, model) in &provider.models {
                let target = target.models.entry(id.clone()).or_default();
                replace(&mut target.id, &model.id);
                replace(&mut target.npm, &model.npm);
                replace(&mut target.store, &model.store);
                replace(&mut target.completions, &model.completions);
                replace(&mut target.abilities.input, &model.abilities.input);
                replace(&mut target.abilities.interleaved, &model.abilities.interleaved);
            }
        }
    }

    /// Reads the text of one configuration file.
    ///
    /// `label` becomes the source of what it names. Out: the packages, and warnings about values that were left out. `Err`
    /// says where the text is no JSONC; it quotes nothing, since the text holds keys.
    pub(super) fn parse(text: &str, label: &str, env: &Environment) -> Result<(Self, Vec<String>), String> {
        // opencode replaces variables in the text before it parses it, so a value may turn out to be no JSON.
        let text = substitute(text, env);
        let options = jsonc_parser::ParseOptions {
            allow_comments: true,
            allow_trailing_commas: true,
            // opencode's own parser, the one of VS Code, reports the following as errors.
            allow_loose_object_property_names: false,
            allow_missing_commas: false,
            allow_single_quoted_strings: false,
            allow_hexadecimal_numbers: false,
            allow_unary_plus_numbers: false,
            allow_bare_decimal_point_numbers: false,
            allow_non_finite_numbers: false,
            allow_extended_string_escapes: false,
        };
        let root = jsonc_parser::parse_to_serde_value::<Value>(&text, &options).map_err(|error| {
            format!("no valid JSONC at line {}, column {}", error.line_display(), error.column_display())
        })?;
        let mut config = Self::default();
        let mut warnings = Vec::new();
        let mut named = |value: Option<&Value>| -> Option<Named> {
            let package = value?.as_str().filter(|package| !package.is_empty())?;
            if package.contains("{file:") {
                warnings.push(format!("{label}: a package named through {{file:…}} is not looked up; use --sdk"));
                return None;
            }
            Some(Named { package: package.to_owned(), source: label.to_owned() })
        };
        for (id, provider) in entries(root.get("provider")) {
            let flag = |of: &Value, name: &str| of.get("options")?.get(name)?.as_bool();
            let completions = flag(provider, "useCompletionUrls");
            let mut target = Provider { npm: named(provider.get("npm")), completions, models: BTreeMap::new() };
            for (id, model) in entries(provider.get("models")) {
                let npm = named(model.get("provider").and_then(|provider| provider.get("npm")));
                let alias = model.get("id").and_then(Value::as_str).map(str::to_owned);
                let (store, completions) = (flag(model, "store"), flag(model, "useCompletionUrls"));
                let abilities = Abilities::of(model);
                target.models.insert(id.clone(), Model { id: alias, npm, store, completions, abilities });
            }
            config.providers.insert(id.clone(), target);
        }
        Ok((config, warnings))
    }
}

fn replace<T: Clone>(target: &mut Option<T>, later: &Option<T>) {
    if later.is_some() {
        target.clone_from(later);
    }
}

fn entries(value: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    value.and_then(Value::as_object).into_iter().flatten().filter(|(_, value)| value.is_object())
}

/// Replaces `{env:NAME}` by the variable's value, or by nothing if it is not set, as opencode does; it also replaces
/// `{file:PATH}` by the file's text, as the inside of a JSON string.
fn substitute(text: &str, env: &Environment) -> String {
    const OPEN: &str = "{env:";
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(OPEN) {
        let name = &rest[start + OPEN.len()..];
        match name.find('}') {
            // `{env:}` is no reference: opencode asks for at least one character.
            Some(end) if end > 0 => {
                out.push_str(&rest[..start]);
                out.push_str(env.vars.get(&name[..end]).map_or("", String::as_str));
                rest = &name[end + 1..];
            }
            _ => {
                out.push_str(&rest[..start + OPEN.len()]);
                rest = name;
            }
        }
    }
    out.push_str(rest);
    out
}

/// The configuration files that go for every session, weakest first.
pub(super) fn global_files(env: &Environment) -> Vec<PathBuf> {
    let mut files = Vec::new();
    if let Some(folder) = env.config_folder() {
        files.extend(["config.json", "opencode.json", "opencode.jsonc"].map(|name| folder.join(name)));
    }
    files.extend(env.var("OPENCODE_CONFIG").map(|path| env.absolute(path)));
    files
}

/// The configuration files that go for a session in `directory`, weakest first, all stronger than the global ones.
///
/// Project files run from the worktree's root inwards. The `.opencode` folders run the other way, from the session's
/// folder outwards, so that the root's wins over a nested one, the one in the home folder over both, and
/// OPENCODE_CONFIG_DIR over all. A directory that is not absolute on this machine has no project files.
pub(super) fn project_files(env: &Environment, directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = Vec::new();
    if directory.is_absolute() && !env.flag("OPENCODE_DISABLE_PROJECT_CONFIG") {
        let upwards = up_to_worktree(directory);
        files.extend(upwards.iter().rev().flat_map(|folder| both_names(folder)));
        folders.extend(upwards.iter().map(|folder| folder.join(".opencode")));
    }
    let home = env.var("OPENCODE_TEST_HOME").map(|home| env.absolute(home)).or_else(|| env.home.clone());
    folders.extend(home.map(|home| home.join(".opencode")));
    folders.extend(env.var("OPENCODE_CONFIG_DIR").map(|path| env.absolute(path)));
    let mut seen = Vec::new();
    for folder in folders {
        if !seen.contains(&folder) {
            files.extend(both_names(&folder));
            seen.push(folder);
        }
    }
    files
}

/// The files that an administrator sets, which win over everything that a user says.
pub(super) fn managed_files(env: &Environment) -> Vec<PathBuf> {
    let folder = match env.var("OPENCODE_TEST_MANAGED_CONFIG_DIR") {
        Some(folder) => env.absolute(folder),
        None if cfg!(target_os = "macos") => PathBuf::from("/Library/Application Support/opencode"),
        None if cfg!(windows) => Path::new(env.var("ProgramData").unwrap_or("C:\\ProgramData")).join("opencode"),
        None => PathBuf::from("/etc/opencode"),
    };
    both_names(&folder).to_vec()
}

fn both_names(folder: &Path) -> [PathBuf; 2] {
    [folder.join("opencode.json"), folder.join("opencode.jsonc")]
}

/// `directory` and its parents up to the root of its git worktree; up to the root of the file system outside of git.
fn up_to_worktree(directory: &Path) -> Vec<PathBuf> {
    let ancestors: Vec<PathBuf> = directory.ancestors().map(Path::to_owned).collect();
    match ancestors.iter().position(|folder| folder.join(".git").exists()) {
        Some(root) => ancestors[..=root].to_vec(),
        None => ancestors,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(vars: &[(&str, &str)]) -> Environment {
        Environment {
            vars: vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            ..Environment::default()
        }
    }

    fn package<'a>(config: &'a Config, provider: &str, model: &str) -> Option<&'a str> {
        config.providers[provider].models[model].npm.as_ref().map(|named| named.package.as_str())
    }

    #[test]
    fn jsonc_is_read_with_comments_and_trailing_commas() {
        let text = r#"{
            // a comment with "quotes"
            "provider": { "p": { "npm": "a", "models": { "m": { "provider": { "npm": "b", }, "id": "real" } } } }, /* end */
        }"#;
        let (config, warnings) = Config::parse(text, "f", &env(&[])).unwrap();
        assert_eq!(config.providers["p"].npm, Some(Named { package: "a".to_owned(), source: "f".to_owned() }));
        assert_eq!(package(&config, "p", "m"), Some("b"));
        assert_eq!(config.providers["p"].models["m"].id.as_deref(), Some("real"));
        assert!(warnings.is_empty());
    }

    #[test]
    fn broken_text_is_an_error_that_names_the_place_and_no_content() {
        let error = Config::parse("{\n \"apiKey\": {env:KEY}\n}", "f", &env(&[("KEY", "hunter2")])).unwrap_err();
        assert!(error.contains("line 2"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
        for text in ["{'a': 1}", "{a: 1}", "{\"a\": 1 \"b\": 2}", "{\"a\": 0x10}"] {
            assert!(Config::parse(text, "f", &env(&[])).is_err(), "{text}");
        }
    }

    #[test]
    fn deep_nesting_is_an_error_and_no_crash() {
        let text = format!("{{\"provider\":{}{}}}", "[".repeat(200_000), "]".repeat(200_000));
        assert!(Config::parse(&text, "f", &env(&[])).is_err());
    }

    #[test]
    fn variables_are_replaced_before_parsing() {
        let text = r#"{"timeout": {env:T}, "provider": {"p": {"npm": "@s/{env:N}{env:UNSET}"}}}"#;
        let (config, _) = Config::parse(text, "f", &env(&[("T", "5"), ("N", "x")])).unwrap();
        assert_eq!(config.providers["p"].npm.as_ref().unwrap().package, "@s/x");
        assert_eq!(substitute("{env:}{env:A}{env:A", &env(&[("A", "1")])), "{env:}1{env:A");
    }

    #[test]
    fn a_package_in_another_file_is_left_out_and_said() {
        let (config, warnings) = Config::parse(r#"{"provider":{"p":{"npm":"{file:x}"}}}"#, "f", &env(&[])).unwrap();
        assert_eq!(config.providers["p"].npm, None);
        assert_eq!(warnings.len(), 1);
    }

    #[test]
    fn values_of_other_types_are_passed_over() {
        let text = r#"{"provider":{"p":{"npm":1,"models":[1]},"q":"x","r":{"models":{"m":null,"n":{"provider":{"npm":""}}}}}}"#;
        let (config, _) = Config::parse(text, "f", &env(&[])).unwrap();
        assert_eq!(config.providers.keys().collect::<Vec<_>>(), ["p", "r"]);
        assert_eq!(package(&config, "r", "n"), None);
    }

    #[test]
    fn merging_replaces_single_values_and_keeps_the_rest() {
        let read = |text, label| Config::parse(text, label, &env(&[])).unwrap().0;
        let mut config =
            read(r#"{"provider":{"p":{"npm":"a","models":{"m":{"id":"i","provider":{"npm":"b"}}}}}}"#, "1");
        config.merge(&read(r#"{"provider":{"p":{"models":{"m":{"provider":{"npm":"c"}},"n":{}}}}}"#, "2"));
        assert_eq!(config.providers["p"].npm.as_ref().unwrap().source, "1");
        assert_eq!(config.providers["p"].models["m"].npm.as_ref().unwrap().source, "2");
        assert_eq!(config.providers["p"].models["m"].id.as_deref(), Some("i"));
        assert!(config.providers["p"].models.contains_key("n"));
    }

    #[test]
    fn project_files_come_in_the_order_that_was_measured() {
        let root = tempfile::tempdir().unwrap();
        let repo = root.path().join("repo");
        let sub = repo.join("a/b");
        std::fs::create_dir_all(&sub).unwrap();
        std::fs::create_dir(repo.join(".git")).unwrap();
        let mut env = env(&[("OPENCODE_CONFIG_DIR", "extra")]);
        env.home = Some(root.path().join("home"));
        env.cwd = root.path().to_owned();
        let shown: Vec<String> = project_files(&env, &sub)
            .iter()
            .map(|path| path.strip_prefix(root.path()).unwrap().to_str().unwrap().replace('\\', "/"))
            .filter(|path| path.ends_with(".json"))
            .collect();
        assert_eq!(
            shown,
            [
                "repo/opencode.json",
                "repo/a/opencode.json",
                "repo/a/b/opencode.json",
                "repo/a/b/.opencode/opencode.json",
                "repo/a/.opencode/opencode.json",
                "repo/.opencode/opencode.json",
                "home/.opencode/opencode.json",
                "extra/opencode.json",
            ]
        );
        let all = project_files(&env, &sub);
        assert_eq!(all[1], repo.join("opencode.jsonc"), "in one place, .jsonc comes later and wins");
    }

    #[test]
    fn project_files_can_be_switched_off_and_need_an_absolute_directory() {
        let mut env = env(&[("OPENCODE_DISABLE_PROJECT_CONFIG", "true")]);
        assert!(project_files(&env, Path::new("/x")).is_empty());
        env.vars.clear();
        assert!(project_files(&env, Path::new("x")).is_empty());
        assert!(project_files(&env, Path::new("")).is_empty());
    }

    #[test]
    fn outside_of_git_the_walk_goes_to_the_root() {
        let walked = up_to_worktree(Path::new("/no/such/folder"));
        assert_eq!(walked.last().map(PathBuf::as_path), Some(Path::new("/")));
        assert_eq!(walked.len(), 4);
    }
}
