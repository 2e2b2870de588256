//! The rule sets of the run loop, one row each (docs/opencode.md §4), and the replay that belongs to each.

use std::fmt;
use std::str::FromStr;

/// An opencode version: three numbers; anything after them is passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u32, pub u32, pub u32);

impl serde::Serialize for Version {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || format!("`{text}` is no opencode version such as 1.18.33");
        let core = text.trim().trim_start_matches('v').split(['-', '+']).next().unwrap_or_default();
        let mut numbers = core.split('.').map(|n| n.parse::<u32>().map_err(|_| bad()));
        let version = Self(
            numbers.next().ok_or_else(bad)??,
            numbers.next().transpose()?.unwrap_or(0),
            numbers.next().transpose()?.unwrap_or(0),
        );
        if numbers.next().is_some() { Err(bad()) } else { Ok(version) }
    }
}

/// A version as a store or a person names it: with what a fork adds, as in `1.17.3-aiand.1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Its three numbers.
    pub version: Version,
    /// As it was written.
    pub name: String,
}

impl FromStr for Release {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = text.trim();
        // A fork may count on behind the three numbers: `1.18.34.1`.
        let end = name.match_indices('.').nth(2).map_or(name.len(), |(at, _)| at);
        Ok(Self { version: name.get(..end).unwrap_or(name).parse()?, name: name.to_owned() })
    }
}

impl Release {
    /// Whether it is a version of opencode's own and not a fork's or a preview.
    #[must_use]
    pub fn is_official(&self) -> bool {
        !self.name.contains(['-', '+']) && self.name.matches('.').count() < 3
    }

    /// The rule set that stands for it though nobody has looked at it: the version lies in a gap of docs/opencode.md §4, or
    /// is not opencode's own.
    #[must_use]
    pub fn guess(&self) -> Option<&'static RuleSet> {
        let at = RULE_SETS.iter().rposition(|set| set.measured.0 <= self.version)?;
        let gap = RULE_SETS[at].measured.1 < self.version && at + 1 < RULE_SETS.len();
        (gap || !self.is_official()).then_some(&RULE_SETS[at])
    }
}

/// Which tool parts of the newest assistant row keep the loop going.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolCheck {
    /// None: the row's finish alone decides.
    None,
    /// Every call that opencode itself ran.
    Own,
    /// Every call that opencode itself ran, orphans aside.
    OwnSettled,
}

/// How the newest user row and the newest assistant row must belong together for the loop to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairing {
    /// The user row's id is the smaller one.
    IdOrder,
    /// The assistant row's `parentID` is the user row's id.
    Parent,
}

/// What "newest" means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Last in replay order.
    Replay,
    /// Greatest id.
    Id,
    /// Greatest `(data.time.created, id)`.
    Created,
}

/// One generation of the run loop with its replay.
#[derive(Debug, PartialEq, Eq)]
pub struct RuleSet {
    /// Its name in output: the first version that was measured under it.
    pub key: &'static str,
    /// First and last version that were looked at.
    pub measured: (Version, Version),
    /// Values of `finish` that keep the loop going.
    pub unfinished: &'static [&'static str],
    /// Which tool parts keep it going.
    pub tools: ToolCheck,
    /// How the two rows must belong together.
    pub pairing: Pairing,
    /// What "newest" means.
    pub newest: Order,
    /// What a pending revert takes away: rows with a greater id (up to 1.18.14), or rows after it in replay order.
    pub revert_by_id: bool,
    /// 1.14 and later: `metadata.output` of orphans, provider-executed calls, another model's thinking as
    /// text, empty user text dropped, a blank stand-in beside signed thinking, the kept tail of a compaction.
    /// (The last three since 1.14.48, which stands for 1.14 here.)
    pub modern_replay: bool,
    /// Which Bedrock rules its package follows: 1.18 keeps only signed thinking.
    pub strict_bedrock: bool,
}

/// All rule sets, oldest first.
pub const RULE_SETS: [RuleSet; 6] = [
    RuleSet {
        key: "1.2",
        measured: (Version(1, 2, 1), Version(1, 3, 2)),
        unfinished: &["tool-calls", "unknown"],
        tools: ToolCheck::None,
        pairing: Pairing::IdOrder,
        newest: Order::Replay,
        revert_by_id: true,
        modern_replay: false,
        strict_bedrock: false,
    },
    RuleSet {
        key: "1.14",
        measured: (Version(1, 14, 34), Version(1, 14, 48)),
        unfinished: &["tool-calls"],
        tools: ToolCheck::Own,
        pairing: Pairing::IdOrder,
        newest: Order::Replay,
        revert_by_id: true,
        modern_replay: true,
        strict_bedrock: false,
    },
    RuleSet {
        key: "1.15.0",
        measured: (Version(1, 15, 0), Version(1, 15, 4)),
        unfinished: &["tool-calls"],
        tools: ToolCheck::Own,
        pairing: Pairing::IdOrder,
        newest: Order::Id,
        revert_by_id: true,
        modern_replay: true,
        strict_bedrock: false,
    },
    RuleSet {
        key: "1.15.13",
        measured: (Version(1, 15, 13), Version(1, 18, 14)),
        unfinished: &["tool-calls"],
        tools: ToolCheck::OwnSettled,
        pairing: Pairing::IdOrder,
        newest: Order::Id,
        revert_by_id: true,
        modern_replay: true,
        strict_bedrock: true,
    },
    RuleSet {
        key: "1.18.15",
        measured: (Version(1, 18, 15), Version(1, 18, 20)),
        unfinished: &["tool-calls"],
        tools: ToolCheck::OwnSettled,
        pairing: Pairing::Parent,
        newest: Order::Created,
        revert_by_id: false,
        modern_replay: true,
        strict_bedrock: true,
    },
    RuleSet {
        key: "1.18.21",
        measured: (Version(1, 18, 21), Version(1, 18, 34)),
        unfinished: &["tool-calls", "unknown"],
        tools: ToolCheck::OwnSettled,
        pairing: Pairing::Parent,
        newest: Order::Created,
        revert_by_id: false,
        modern_replay: true,
        strict_bedrock: true,
    },
];

/// The rule sets that count from `bound` on: the one it runs under and every newer one. A version in a gap
/// that nobody measured counts as both its neighbours; `None` (nothing known) counts as all.
#[must_use]
pub fn counting_from(bound: Option<Version>) -> Vec<&'static RuleSet> {
    let first = bound.map_or(0, |v| RULE_SETS.iter().rposition(|set| set.measured.0 <= v).unwrap_or(0));
    RULE_SETS[first..].iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(v: &str) -> Vec<&'static str> {
        counting_from(Some(v.parse().unwrap())).iter().map(|s| s.key).collect()
    }

    #[test]
    fn a_version_counts_with_every_newer_set() {
        assert_eq!(keys("1.3.0").len(), 6);
        assert_eq!(keys("1.14.34"), ["1.14", "1.15.0", "1.15.13", "1.18.15", "1.18.21"]);
        assert_eq!(keys("1.18.14")[0], "1.15.13");
        assert_eq!(keys("1.18.15")[0], "1.18.15");
        assert_eq!(keys("1.18.33"), ["1.18.21"]);
        assert_eq!(keys("2.0.0"), ["1.18.21"]);
        assert_eq!(keys("1.10.0")[0], "1.2", "a gap counts as the set before it and the one after");
        assert_eq!(keys("1.15.8")[0], "1.15.0");
        assert_eq!(keys("1.1.0").len(), 6);
        assert_eq!(counting_from(None).len(), 6);
    }

    #[test]
    fn gaps_and_forks_are_guesses() {
        let guess = |name: &str| name.parse::<Release>().unwrap().guess().map(|set| set.key);
        for (name, key) in [("1.3.3", "1.2"), ("1.10.0", "1.2"), ("1.15.5", "1.15.0"), ("1.17.3-aiand.1", "1.15.13")] {
            assert_eq!(guess(name), Some(key), "{name}");
        }
        // Below the first one that was measured, only newer ones count; above the last one, that goes on.
        for name in ["1.1.0", "1.2.27", "1.14.42", "1.16.0", "1.18.14", "1.18.34", "v1.19.0", "2.0.0"] {
            assert_eq!(guess(name), None, "{name}");
        }
        assert_eq!(guess("1.18.34-fork"), Some("1.18.21"));
    }

    #[test]
    fn versions_parse_or_say_why() {
        assert_eq!("v1.18.33".parse(), Ok(Version(1, 18, 33)));
        assert_eq!("1.18.33-beta.1".parse(), Ok(Version(1, 18, 33)));
        assert!("local".parse::<Version>().unwrap_err().contains("1.18.33"));
        assert!("0.0.0.1".parse::<Version>().is_err());
    }
}
