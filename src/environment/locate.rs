//! Which file opencode keeps its sessions in. The rules are those of docs/opencode.md §1.

use std::io;
use std::path::{Path, PathBuf};

use super::Environment;
use crate::error::{Error, ErrorCode, Result};

/// The store of the release channels `latest`, `beta` and `prod`.
const RELEASE_STORE: &str = "opencode.db";

/// A store that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// The database file. It existed when it was looked for.
    pub path: PathBuf,
    /// Why this file and no other.
    pub source: LocateSource,
    /// The other stores of the data folder, sorted: sessions of another channel are in one of these.
    pub others: Vec<PathBuf>,
}

/// Why a file was taken for the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::Display, strum::IntoStaticStr)]
pub enum LocateSource {
    /// The variable OPENCODE_DB names it.
    #[strum(serialize = "OPENCODE_DB")]
    Variable,
    /// `opencode.db`, which the release channels use.
    #[strum(serialize = "the store of the release channels")]
    ReleaseChannel,
    /// There is no `opencode.db`, and one store of another channel.
    #[strum(serialize = "the only store in the data folder")]
    OnlyChannel,
}

/// Why no store could be named.
#[derive(Debug, thiserror::Error)]
enum LocateError {
    /// Nothing is where opencode would look.
    #[error("no opencode store found; looked for {}", list(looked))]
    NoStore {
        /// Every path at which opencode would have its store.
        looked: Vec<PathBuf>,
    },
    /// Sessions from before 1.2, which are JSON files.
    #[error(
        "{} holds only the JSON files of opencode before 1.2, so there is no database to repair",
        folder.display()
    )]
    LegacyJson {
        /// The data folder.
        folder: PathBuf,
    },
    /// Several stores, and nothing that says which one is meant.
    #[error("there are several opencode stores and none for the release channels: {}", list(paths))]
    Several {
        /// The stores, sorted.
        paths: Vec<PathBuf>,
    },
    /// OPENCODE_DB is `:memory:`, which opencode from 1.14 on takes for a database that is never written to disk.
    #[error("OPENCODE_DB is \":memory:\", so opencode keeps its sessions in memory only")]
    InMemory,
    /// Neither XDG_DATA_HOME nor a home folder is known.
    #[error("the folder of opencode's data is not known, since neither XDG_DATA_HOME nor a home folder is set")]
    NoDataFolder,
    /// The data folder cannot be listed.
    #[error("cannot read {}: {source}", folder.display())]
    Unreadable {
        /// The data folder.
        folder: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

impl LocateError {
    /// What is behind it, more exactly than the code `no-store` tells.
    fn cause(&self) -> &'static str {
        match self {
            Self::NoStore { .. } => "opencode has not run as this user, or keeps its data elsewhere",
            Self::LegacyJson { .. } => "no opencode with a database has run here yet",
            Self::Several { .. } => "which channel you run is built into opencode and cannot be seen from outside",
            Self::InMemory => "such sessions are gone when opencode ends, so nothing can be read or repaired",
            Self::NoDataFolder => "the environment says nothing of where opencode keeps its data",
            Self::Unreadable { .. } => "the operating system does not let the folder be listed",
        }
    }

    /// What to do next.
    fn next(&self) -> String {
        match self {
            Self::NoStore { .. } => "if the store is elsewhere, name it with `unstick scan --db PATH`".to_owned(),
            Self::LegacyJson { .. } => "start an opencode from 1.2 to 1.15 once, which converts them into a database \
                                        (later versions no longer do), then run this again"
                .to_owned(),
            Self::Several { paths } => format!("choose one with {}, or take --all-stores", choices(paths)),
            Self::InMemory => "unset OPENCODE_DB, or name a store with `unstick scan --db PATH`".to_owned(),
            Self::NoDataFolder => "name the store with `unstick scan --db PATH`".to_owned(),
            Self::Unreadable { .. } => "allow reading it, or name the store with `unstick scan --db PATH`".to_owned(),
        }
    }
}

impl From<LocateError> for Error {
    fn from(error: LocateError) -> Self {
        Self::new(ErrorCode::NoStore, error.to_string()).because(error.cause()).hint(error.next())
    }
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn choices(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| format!("--db {}", path.display())).collect::<Vec<_>>().join(" or ")
}

/// Finds the store that opencode itself would open.
///
/// In: the environment. Out: an existing file, the reason, and the other stores of the data folder. OPENCODE_DB wins; then
/// `opencode.db`; then the store of another channel, if there is exactly one. Which channel a user runs is built into
/// their program and cannot be seen from here, hence the last two steps (docs/opencode.md §1, read in 1.3.0 and 1.18.33).
///
/// # Errors
/// [`ErrorCode::NoStore`] where there is none, or several; nothing is created or opened.
pub fn locate(env: &Environment) -> Result<Located> {
    Ok(find(env)?)
}

/// Every store of the data folder, sorted, `opencode.db` first; before them the file that OPENCODE_DB names, if it exists.
///
/// # Errors
/// As [`locate`], but several are no error. The list is never empty.
pub fn all_stores(env: &Environment) -> Result<Vec<PathBuf>> {
    Ok(find_all(env)?)
}

fn find(env: &Environment) -> Result<Located, LocateError> {
    let folder = env.data_folder();
    if let Some(path) = named_by_variable(env, folder.as_deref())? {
        if !path.is_file() {
            return Err(LocateError::NoStore { looked: vec![path] });
        }
        // The variable settles the question, so a data folder that is missing or closed is no reason to stop.
        let stores = folder.map(|folder| stores_in(&folder).unwrap_or_default()).unwrap_or_default();
        return Ok(located(path, LocateSource::Variable, stores));
    }
    let folder = folder.ok_or(LocateError::NoDataFolder)?;
    let stores = stores_in(&folder)?;
    let release = folder.join(RELEASE_STORE);
    if stores.contains(&release) {
        return Ok(located(release, LocateSource::ReleaseChannel, stores));
    }
    if env.flag("OPENCODE_DISABLE_CHANNEL_DB") {
        // Every channel uses opencode.db then, so the store of a channel is not what opencode would open.
        return Err(nothing_in(&folder, vec![release]));
    }
    match stores.as_slice() {
        [] => Err(nothing_in(&folder, vec![release, folder.join("opencode-<channel>.db")])),
        [only] => Ok(located(only.clone(), LocateSource::OnlyChannel, Vec::new())),
        _ => Err(LocateError::Several { paths: stores }),
    }
}

fn find_all(env: &Environment) -> Result<Vec<PathBuf>, LocateError> {
    let folder = env.data_folder();
    let named = match named_by_variable(env, folder.as_deref()) {
        Ok(named) => named.filter(|path| path.is_file()),
        // The data folder may hold stores from other days all the same.
        Err(LocateError::InMemory) => None,
        Err(error) => return Err(error),
    };
    let Some(folder) = folder else {
        return named.map(|path| vec![path]).ok_or(LocateError::NoDataFolder);
    };
    let mut stores = stores_in(&folder)?;
    if let Some(path) = named
        && !stores.contains(&path)
    {
        stores.insert(0, path);
    }
    if stores.is_empty() {
        let looked = vec![folder.join(RELEASE_STORE), folder.join("opencode-<channel>.db")];
        return Err(nothing_in(&folder, looked));
    }
    Ok(stores)
}

fn located(path: PathBuf, source: LocateSource, mut stores: Vec<PathBuf>) -> Located {
    stores.retain(|store| *store != path);
    Located { path, source, others: stores }
}

/// The file that OPENCODE_DB names: absolute as it is, relative below the data folder.
fn named_by_variable(env: &Environment, folder: Option<&Path>) -> Result<Option<PathBuf>, LocateError> {
    match env.var("OPENCODE_DB") {
        None => Ok(None),
        Some(":memory:") => Err(LocateError::InMemory),
        Some(value) if Path::new(value).is_absolute() => Ok(Some(PathBuf::from(value))),
        Some(value) => folder.map(|folder| Some(folder.join(value))).ok_or(LocateError::NoDataFolder),
    }
}

/// The stores of a data folder, `opencode.db` first, then sorted by name; empty where there is no such folder.
fn stores_in(folder: &Path) -> Result<Vec<PathBuf>, LocateError> {
    let unreadable = |source| LocateError::Unreadable { folder: folder.to_owned(), source };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(unreadable)?;
        // is_file follows links: a store that is linked from another disk is a store.
        if let Some(name) = entry.file_name().to_str().filter(|name| is_store_name(name))
            && entry.path().is_file()
        {
            names.push(name.to_owned());
        }
    }
    names.sort_by_key(|name| (name != RELEASE_STORE, name.clone()));
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

/// `opencode.db`, or `opencode-<channel>.db` with the characters that opencode leaves in a channel's name.
fn is_store_name(name: &str) -> bool {
    let channel = name.strip_prefix("opencode-").and_then(|rest| rest.strip_suffix(".db"));
    name == RELEASE_STORE
        || channel.is_some_and(|channel| {
            !channel.is_empty() && channel.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        })
}

fn nothing_in(folder: &Path, looked: Vec<PathBuf>) -> LocateError {
    // 1.2 and later have a storage folder too, for other things, but never without a database beside it.
    if folder.join("storage").is_dir() && stores_in(folder).is_ok_and(|stores| stores.is_empty()) {
        LocateError::LegacyJson { folder: folder.to_owned() }
    } else {
        LocateError::NoStore { looked }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Home {
        root: tempfile::TempDir,
        env: Environment,
    }

    impl Home {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            let env = Environment {
                home: Some(root.path().to_owned()),
                cwd: root.path().to_owned(),
                ..Environment::default()
            };
            Self { root, env }
        }

        fn set(mut self, name: &str, value: &str) -> Self {
            self.env.vars.insert(name.to_owned(), value.to_owned());
            self
        }

        fn data(&self) -> PathBuf {
            self.root.path().join(".local/share/opencode")
        }

        fn with(self, names: &[&str]) -> Self {
            for name in names {
                let path = self.data().join(name);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, "").unwrap();
            }
            self
        }
    }

    #[test]
    fn the_release_store_wins_and_the_others_are_named() {
        let home = Home::new().with(&[
            "opencode.db",
            "opencode-dev.db",
            "opencode-a.db",
            "opencode.db-wal",
            "opencode-.db",
            "opencode-x y.db",
            "auth.json",
        ]);
        let found = find(&home.env).unwrap();
        assert_eq!(found.path, home.data().join("opencode.db"));
        assert_eq!(found.source, LocateSource::ReleaseChannel);
        assert_eq!(found.others, [home.data().join("opencode-a.db"), home.data().join("opencode-dev.db")]);
    }

    #[test]
    fn a_single_other_channel_is_taken_and_said() {
        let home = Home::new().with(&["opencode-feature_1.2-x.db"]);
        let found = find(&home.env).unwrap();
        assert_eq!(found.path, home.data().join("opencode-feature_1.2-x.db"));
        assert_eq!(found.source.to_string(), "the only store in the data folder");
        assert!(found.others.is_empty());
    }

    #[test]
    fn several_channels_without_a_release_store_are_an_error_that_lists_them() {
        let home = Home::new().with(&["opencode-b.db", "opencode-a.db"]);
        let error = find(&home.env).unwrap_err();
        let (a, b) = (home.data().join("opencode-a.db"), home.data().join("opencode-b.db"));
        assert!(error.next().contains(&format!("--db {} or --db {}", a.display(), b.display())), "{error}");
        assert!(matches!(error, LocateError::Several { paths } if paths == [a, b]));
    }

    #[test]
    fn the_disabled_channel_store_is_not_taken() {
        for value in ["1", "true"] {
            let home = Home::new().with(&["opencode-dev.db"]).set("OPENCODE_DISABLE_CHANNEL_DB", value);
            let error = find(&home.env).unwrap_err();
            assert!(matches!(error, LocateError::NoStore { looked } if looked == [home.data().join("opencode.db")]));
        }
        let home = Home::new().with(&["opencode-dev.db"]).set("OPENCODE_DISABLE_CHANNEL_DB", "0");
        assert_eq!(find(&home.env).unwrap().source, LocateSource::OnlyChannel);
    }

    #[test]
    fn the_variable_wins_relative_to_the_data_folder() {
        let home = Home::new().with(&["opencode.db", "mine.db"]).set("OPENCODE_DB", "mine.db");
        let found = find(&home.env).unwrap();
        assert_eq!(found.path, home.data().join("mine.db"));
        assert_eq!(found.source, LocateSource::Variable);
        assert_eq!(found.others, [home.data().join("opencode.db")]);
    }

    #[test]
    fn the_variable_wins_as_an_absolute_path_even_without_a_home() {
        let home = Home::new().with(&["opencode.db"]);
        let path = home.data().join("opencode.db");
        let mut home = home.set("OPENCODE_DB", path.to_str().unwrap());
        home.env.home = None;
        assert_eq!(find(&home.env).unwrap().path, path);
        assert_eq!(find_all(&home.env).unwrap(), [path]);
    }

    #[test]
    fn a_missing_file_of_the_variable_is_not_replaced_by_another_store() {
        let home = Home::new().with(&["opencode.db"]).set("OPENCODE_DB", "gone.db");
        let error = find(&home.env).unwrap_err();
        assert!(matches!(error, LocateError::NoStore { looked } if looked == [home.data().join("gone.db")]));
    }

    #[test]
    fn an_in_memory_store_is_refused_but_the_data_folder_can_still_be_listed() {
        let home = Home::new().with(&["opencode.db"]).set("OPENCODE_DB", ":memory:");
        assert!(matches!(find(&home.env), Err(LocateError::InMemory)));
        assert_eq!(find_all(&home.env).unwrap(), [home.data().join("opencode.db")]);
    }

    #[test]
    fn nothing_at_all_says_where_it_looked_and_what_to_do() {
        let home = Home::new();
        let error = find(&home.env).unwrap_err();
        assert!(error.to_string().contains(&home.data().join("opencode.db").display().to_string()), "{error}");
        assert!(error.next().contains("--db PATH"), "{error}");
        assert!(matches!(find_all(&home.env), Err(LocateError::NoStore { .. })));
    }

    #[test]
    fn json_files_alone_are_said_to_be_older_than_the_database() {
        let home = Home::new().with(&["storage/session/p/ses_1.json"]);
        let error = find(&home.env).unwrap_err();
        assert!(error.to_string().contains("before 1.2"), "{error}");
        assert!(matches!(error, LocateError::LegacyJson { folder } if folder == home.data()));
        assert!(matches!(find_all(&home.env), Err(LocateError::LegacyJson { .. })));
        let home = home.with(&["opencode.db"]);
        assert_eq!(find(&home.env).unwrap().source, LocateSource::ReleaseChannel);
    }

    #[test]
    fn without_home_or_variable_no_folder_is_guessed() {
        let env = Environment { cwd: PathBuf::from("/"), ..Environment::default() };
        assert!(matches!(find(&env), Err(LocateError::NoDataFolder)));
        assert!(matches!(find_all(&env), Err(LocateError::NoDataFolder)));
    }

    #[test]
    fn a_folder_with_the_name_of_a_store_is_none() {
        let home = Home::new().with(&["opencode-dev.db/x"]);
        assert!(matches!(find(&home.env), Err(LocateError::NoStore { .. })));
    }

    #[test]
    fn all_stores_puts_the_release_store_first_and_a_named_one_before_it() {
        let home = Home::new().with(&["opencode-a.db", "opencode.db"]);
        let expected = [home.data().join("opencode.db"), home.data().join("opencode-a.db")];
        assert_eq!(find_all(&home.env).unwrap(), expected);
        let outside = home.root.path().join("elsewhere.db");
        std::fs::write(&outside, "").unwrap();
        let home = home.set("OPENCODE_DB", outside.to_str().unwrap());
        assert_eq!(find_all(&home.env).unwrap()[0], outside);
    }
}
