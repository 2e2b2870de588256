//! Which opencode a store was last used with, as far as its rows tell: a lower bound.

use serde::Serialize;

use super::rules::Version;

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
}

/// The greatest version that the store shows: by the versions that created its sessions, or by its newest
/// migration. A version that cannot be parsed says nothing.
#[must_use]
pub fn bound<'a>(sessions: impl Iterator<Item = &'a str>, newest_migration: Option<&str>) -> Bound {
    let by_session = sessions.filter_map(|v| v.parse::<Version>().ok()).max();
    let by_migration =
        MIGRATIONS.iter().rev().find(|(name, _)| newest_migration.is_some_and(|m| m >= *name)).map(|(_, v)| *v);
    if by_session.is_none() && by_migration.is_none() {
        return Bound { version: None, source: "nothing in the store tells; every rule set counts".to_owned() };
    }
    if by_session >= by_migration {
        Bound { version: by_session, source: "the newest session.version".to_owned() }
    } else {
        Bound { version: by_migration, source: "the newest migration".to_owned() }
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
    }
}
