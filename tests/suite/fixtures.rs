//! The real stores under fixtures/stores and what the real program did with them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

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
    pub sdk: BTreeMap<String, String>,
    pub sessions: BTreeMap<String, String>,
}

#[derive(Deserialize)]
pub struct Verdict {
    pub title: String,
    /// By opencode version that opened the store: what RETRY did.
    #[serde(default)]
    pub retry: BTreeMap<String, String>,
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
