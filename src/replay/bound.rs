//! Which opencode a store was last used with, as far as its rows tell: a lower bound.

use serde::Serialize;

use super::rules::{Release, RuleSet, Version};

/// Migrations that tell two rule sets or gaps apart: a store that ran one was opened by the version or a newer
/// one. Where no version right before the first measured one was looked at, the bound lies in the gap, and a gap
/// counts as both its neighbours. Read from the released programs (docs/opencode.md §2).
const MIGRATIONS: [(&str, Version); 4] = [
    ("20260323234822_events", Version(1, 3, 3)),
    ("20260511000411_data_migration_state", Version(1, 14, 42)),
    ("20260511173437_session-metadata", Version(1, 15, 5)),
    ("20260601010001_normalize_storage_paths", Version(1, 15, 14)),
];

/// A lower bound of the opencode version that a store meets next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bound {
    /// The version; `None` when nothing is known, and every rule set counts.
    pub version: Option<Version>,
    /// Where it comes from, in words.
    pub source: String,
    /// The rule set that stands for it without having been measured.
    #[serde(skip)]
    pub guess: Option<&'static RuleSet>,
}

impl Bound {
    /// Every rule set counts.
    #[must_use]
    pub fn any(source: &str) -> Self {
        Self { version: None, source: source.to_owned(), guess: None }
    }

    /// This version and newer ones count.
    #[must_use]
    pub fn from(release: &Release, source: &str) -> Self {
        Self { version: Some(release.version), source: source.to_owned(), guess: release.guess() }
    }
}

/// The greatest version that the store shows: by the versions that created its sessions, or by its newest
/// migration. A version that cannot be parsed says nothing.
#[must_use]
pub fn bound<'a>(sessions: impl Iterator<Item = &'a str>, newest_migration: Option<&str>) -> Bound {
    // Of a fork and opencode's own version of the same number, the latter was looked at.
    let by_session = sessions
        .filter_map(|name| name.parse::<Release>().ok())
        .max_by_key(|release| (release.version, release.is_official()));
    let by_migration =
        MIGRATIONS.iter().rev().find(|(name, _)| newest_migration.is_some_and(|m| m >= *name)).map(|(_, v)| *v);
    match (by_session, by_migration) {
        (None, None) => Bound::any("nothing in the store tells; every rule set counts"),
        (Some(release), version) if Some(release.version) >= version => {
            Bound::from(&release, "the newest session.version")
        }
        (_, Some(version)) => Bound::from(&Release { version, name: version.to_string() }, "the newest migration"),
        (Some(release), None) => Bound::from(&release, "the newest session.version"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greater_of_both_counts() {
        let of = |sessions: &[&str], migration| bound(sessions.iter().copied(), migration).version;
        assert_eq!(of(&["1.3.0", "1.14.34", "local"], None), Some(Version(1, 14, 34)));
        assert_eq!(of(&["1.3.0"], Some("20260622202450_simplify_session_input")), Some(Version(1, 15, 14)));
        assert_eq!(of(&["1.18.33"], Some("20260622202450_simplify_session_input")), Some(Version(1, 18, 33)));
        assert_eq!(of(&["1.3.0"], Some("20260312043431_session_message_cursor")), Some(Version(1, 3, 0)));
        assert_eq!(of(&["local"], None), None);
        let guess = |sessions: &[&str]| bound(sessions.iter().copied(), None).guess.map(|set| set.key);
        assert_eq!(guess(&["1.17.3-aiand.1", "1.14.34"]), Some("1.15.13"));
        assert_eq!(guess(&["1.17.3-aiand.1", "1.17.3"]), None);
    }
}
