//! The real stores under fixtures/stores and what the real program did with them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use opencode_unstick::replay::{Resume, Version, counting_from};
use serde::Deserialize;

/// One folder of fixtures/stores.
pub struct Fixture {
    pub name: String,
    pub db: PathBuf,
    pub sessions: Sessions,
    pub verdicts: BTreeMap<String, Verdict>,
}

#[derive(Deserialize)]
pub struct Sessions {
    /// The AI SDK package of each provider.
    pub sdk: BTreeMap<String, String>,
    /// By provider and model, what the service calls the model, where that is another name.
    #[serde(default)]
    pub models: BTreeMap<String, BTreeMap<String, String>>,
    /// The session of each named shape.
    pub sessions: BTreeMap<String, String>,
}

#[derive(Deserialize)]
pub struct Verdict {
    pub title: String,
    /// By opencode version that opened the store: what RETRY did.
    #[serde(default)]
    pub retry: BTreeMap<String, String>,
    /// The same: what PROMPT did.
    #[serde(default)]
    pub prompt: BTreeMap<String, String>,
}

/// One cell of a verdicts.json: what RETRY did to a session under one opencode.
pub struct Cell<'a> {
    pub session: &'a str,
    pub title: &'a str,
    pub version: &'a str,
    /// The rule set of that opencode.
    pub key: &'static str,
    pub seen: Resume,
}

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/stores")
}

pub fn all() -> Vec<Fixture> {
    let mut names: Vec<String> = std::fs::read_dir(root())
        .unwrap()
        .map(|e| e.unwrap())
        .filter(|e| e.path().join("opencode.db").exists())
        .map(|e| e.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names.into_iter().map(|n| one(&n)).collect()
}

pub fn one(name: &str) -> Fixture {
    let folder = root().join(name);
    let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap();
    Fixture {
        name: name.to_owned(),
        db: folder.join("opencode.db"),
        sessions: serde_json::from_str(&read("sessions.json")).unwrap(),
        verdicts: serde_json::from_str(&read("verdicts.json")).unwrap(),
    }
}

impl Fixture {
    /// The `--sdk` flags that say what the store does not.
    pub fn sdk_flags(&self) -> Vec<String> {
        let flagged = |provider: &String| !self.sessions.models.contains_key(provider);
        self.sessions
            .sdk
            .iter()
            .filter(|(p, _)| flagged(p))
            .flat_map(|(p, s)| ["--sdk".to_owned(), format!("{p}={s}")])
            .collect()
    }

    /// The configuration of opencode that says how the service calls the models; `None` where the store says it.
    pub fn configuration(&self) -> Option<serde_json::Value> {
        let models = |models: &BTreeMap<String, String>| -> serde_json::Value {
            models.iter().map(|(name, id)| (name.clone(), serde_json::json!({ "id": id }))).collect()
        };
        let provider = |(name, of): (&String, _)| {
            (name.clone(), serde_json::json!({ "npm": self.sessions.sdk[name], "models": models(of) }))
        };
        let providers: serde_json::Value = self.sessions.models.iter().map(provider).collect();
        (!self.sessions.models.is_empty()).then(|| serde_json::json!({ "provider": providers }))
    }

    /// The session of a named shape.
    pub fn id(&self, shape: &str) -> &str {
        &self.sessions.sessions[shape]
    }

    /// Every RETRY cell that says what a request looked like. A value that says something else, such as that
    /// the case does not exist there, is passed over if the README of the stores explains it.
    pub fn retry_cells(&self) -> Vec<Cell<'_>> {
        let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
        let mut out = Vec::new();
        for (session, verdict) in &self.verdicts {
            for (version, seen) in &verdict.retry {
                let at = || format!("{} {} by {version}: `{seen}`", self.name, verdict.title);
                assert!(readme.contains(&format!("`{seen}`")), "{} is not explained in the README", at());
                let Ok(seen) = seen.replace(' ', "-").parse() else { continue };
                let key =
                    counting_from(Some(version.parse::<Version>().unwrap_or_else(|e| panic!("{}: {e}", at()))))[0].key;
                out.push(Cell { session, title: &verdict.title, version, key, seen });
            }
        }
        out
    }
}
