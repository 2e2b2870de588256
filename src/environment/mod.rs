//! What opencode's path rules depend on besides files: variables, the home folder, the working folder.

pub mod folders;
pub mod locate;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// The folder that opencode uses under each of the XDG base folders.
const APPLICATION: &str = "opencode";

/// What folders and words of a command line depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Platform {
    /// Linux and other systems of its kind.
    Unix,
    /// macOS.
    MacOs,
    /// Windows.
    Windows,
}

impl Platform {
    /// The one that this program was built for.
    #[must_use]
    pub fn here() -> Self {
        if cfg!(windows) {
            Self::Windows
        } else if cfg!(target_os = "macos") {
            Self::MacOs
        } else {
            Self::Unix
        }
    }

    /// A word as a shell takes it: a POSIX shell, or on Windows both PowerShell and cmd.
    #[must_use]
    pub fn quoted(self, word: &str) -> String {
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._-=@:,+".contains(c);
        match self {
            _ if !word.is_empty() && word.chars().all(plain) => word.to_owned(),
            // A path there is full of backslashes, and holds no quotation mark.
            Self::Windows => format!("\"{word}\""),
            Self::Unix | Self::MacOs => format!("'{}'", word.replace('\'', "'\\''")),
        }
    }
}

/// The process environment as a value, so that everything that depends on it can be tested without touching the process.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Environment {
    /// Variables that are set, by name. A variable whose name or value is not Unicode is left out.
    pub vars: BTreeMap<String, String>,
    /// The home folder, if one is known.
    pub home: Option<PathBuf>,
    /// The folder that relative paths start from.
    pub cwd: PathBuf,
}

/// Values are left out: they hold API keys, and a debug print may end up in a log.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment")
            .field("vars", &self.vars.keys())
            .field("home", &self.home)
            .field("cwd", &self.cwd)
            .finish()
    }
}

impl Environment {
    /// Reads the environment of this process. Home is HOME, on Windows USERPROFILE, as `os.homedir()` has it in opencode.
    pub fn capture() -> Self {
        let vars: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let home = std::env::var_os(if cfg!(windows) { "USERPROFILE" } else { "HOME" })
            .filter(|value| !value.is_empty())
            .map(PathBuf::from);
        // A working folder that is gone makes relative paths meaningless, not the run.
        let cwd = std::env::current_dir().unwrap_or_default();
        Self { vars, home, cwd }
    }

    /// The value of `name`, unless it is unset or empty: opencode tests its path variables for truth, so "" counts as unset.
    pub fn var(&self, name: &str) -> Option<&str> {
        self.vars.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Whether `name` is switched on: "1" or "true" in any case (docs/opencode.md §1).
    pub fn flag(&self, name: &str) -> bool {
        self.var(name).is_some_and(|value| value == "1" || value.eq_ignore_ascii_case("true"))
    }

    /// opencode's data folder (docs/opencode.md §1), the same on every operating system; `None` without a home folder.
    pub fn data_folder(&self) -> Option<PathBuf> {
        self.base_folder("XDG_DATA_HOME", &[".local", "share"])
    }

    /// opencode's folder of global configuration; `None` without a home folder.
    pub fn config_folder(&self) -> Option<PathBuf> {
        self.base_folder("XDG_CONFIG_HOME", &[".config"])
    }

    /// opencode's cache folder; `None` without a home folder.
    pub fn cache_folder(&self) -> Option<PathBuf> {
        self.base_folder("XDG_CACHE_HOME", &[".cache"])
    }

    /// `path` as opencode started in this working folder would understand it.
    pub fn absolute(&self, path: impl AsRef<Path>) -> PathBuf {
        self.cwd.join(path)
    }

    /// The folder in which journals are kept when the user names none: the platform's place for state.
    #[must_use]
    pub fn journal_folder(&self) -> Option<PathBuf> {
        self.journal_folder_on(Platform::here())
    }

    fn journal_folder_on(&self, platform: Platform) -> Option<PathBuf> {
        const NAME: &str = "opencode-unstick";
        // A relative path would mean another folder from every working folder: such a value is to be passed over.
        if let Some(state) = self.var("XDG_STATE_HOME").filter(|p| Path::new(p).is_absolute()) {
            return Some(Path::new(state).join(NAME));
        }
        let below = match platform {
            Platform::Windows => match self.var("LOCALAPPDATA") {
                Some(local) => return Some(Path::new(local).join(NAME)),
                None => "AppData/Local",
            },
            Platform::MacOs => "Library/Application Support",
            Platform::Unix => ".local/state",
        };
        Some(self.home.as_ref()?.join(below).join(NAME))
    }

    fn base_folder(&self, variable: &str, below_home: &[&str]) -> Option<PathBuf> {
        let base = match self.var(variable) {
            Some(value) => self.absolute(value),
            None => below_home.iter().fold(self.home.clone()?, |path, name| path.join(name)),
        };
        Some(base.join(APPLICATION))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(vars: &[(&str, &str)]) -> Environment {
        Environment {
            vars: vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            home: Some(PathBuf::from("/home/u")),
            cwd: PathBuf::from("/srv"),
        }
    }

    #[test]
    fn folders_follow_xdg_and_fall_back_to_home() {
        let plain = environment(&[("XDG_DATA_HOME", "")]);
        assert_eq!(plain.data_folder(), Some(PathBuf::from("/home/u/.local/share/opencode")));
        assert_eq!(plain.config_folder(), Some(PathBuf::from("/home/u/.config/opencode")));
        assert_eq!(plain.cache_folder(), Some(PathBuf::from("/home/u/.cache/opencode")));
        let set = environment(&[("XDG_DATA_HOME", "/d"), ("XDG_CONFIG_HOME", "c"), ("XDG_CACHE_HOME", "/k")]);
        assert_eq!(set.data_folder(), Some(PathBuf::from("/d/opencode")));
        assert_eq!(set.config_folder(), Some(PathBuf::from("/srv/c/opencode")));
        assert_eq!(set.cache_folder(), Some(PathBuf::from("/k/opencode")));
    }

    #[test]
    fn without_home_only_the_variables_give_folders() {
        let homeless = Environment { home: None, ..environment(&[("XDG_DATA_HOME", "/d")]) };
        assert_eq!(homeless.data_folder(), Some(PathBuf::from("/d/opencode")));
        assert_eq!(homeless.config_folder(), None);
    }

    #[test]
    fn journals_lie_where_each_platform_keeps_state() {
        let on = |vars: &[(&str, &str)], platform| {
            environment(vars).journal_folder_on(platform).map(|p| p.to_str().unwrap().replace('\\', "/"))
        };
        let said = |path: &str| Some(format!("{path}/opencode-unstick"));
        assert_eq!(on(&[], Platform::Unix), said("/home/u/.local/state"));
        assert_eq!(on(&[], Platform::MacOs), said("/home/u/Library/Application Support"));
        assert_eq!(on(&[("LOCALAPPDATA", "/c/local")], Platform::Windows), said("/c/local"));
        assert_eq!(on(&[], Platform::Windows), said("/home/u/AppData/Local"));
        for platform in [Platform::Unix, Platform::MacOs, Platform::Windows] {
            let state = if cfg!(windows) { "C:/s" } else { "/s" };
            assert_eq!(on(&[("XDG_STATE_HOME", state)], platform), said(state));
            assert_eq!(on(&[("XDG_STATE_HOME", "s")], platform), on(&[], platform), "a relative one is passed over");
        }
    }

    #[test]
    fn words_are_quoted_as_the_shell_of_the_platform_takes_them() {
        for platform in [Platform::Unix, Platform::MacOs, Platform::Windows] {
            assert_eq!(platform.quoted("--db"), "--db");
            assert_eq!(platform.quoted("a/b.db"), "a/b.db");
        }
        assert_eq!(Platform::Unix.quoted("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(Platform::Unix.quoted(""), "''");
        assert_eq!(Platform::Windows.quoted(r"C:\Users\Jo Doe\x.db"), "\"C:\\Users\\Jo Doe\\x.db\"");
    }

    #[test]
    fn flags_take_1_and_true_only() {
        for (value, on) in [("1", true), ("true", true), ("TRUE", true), ("0", false), ("yes", false), ("", false)] {
            assert_eq!(environment(&[("F", value)]).flag("F"), on, "{value:?}");
        }
        assert!(!environment(&[]).flag("F"));
    }

    #[test]
    fn debug_output_hides_values() {
        let text = format!("{:?}", environment(&[("SOME_API_KEY", "hunter2")]));
        assert!(text.contains("SOME_API_KEY") && !text.contains("hunter2"), "{text}");
    }
}
