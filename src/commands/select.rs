//! Which sessions a call is about.

use std::path::{Path, PathBuf};

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use opencode_unstick::error::ErrorCode;
use opencode_unstick::history::SessionInfo;

use super::{CallError, Context};
use crate::cli::Selection;

/// The words of a selection as they must be typed again.
pub(crate) fn words(selection: &Selection) -> Vec<String> {
    let mut words: Vec<String> = selection.sessions.iter().map(|s| super::quoted(s)).collect();
    if let Some(folder) = &selection.directory {
        words.extend(["--directory".to_owned(), super::quoted(&folder.to_string_lossy())]);
    }
    if selection.here {
        words.push("--here".to_owned());
    }
    words
}

/// A filter over sessions.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    wanted: Vec<String>,
    directory: Option<PathBuf>,
    since: Option<i64>,
}

impl Filter {
    pub(crate) fn new(context: &Context<'_>, selection: &Selection, since: Option<&str>) -> Result<Self, CallError> {
        let directory = match (&selection.directory, selection.here) {
            (Some(path), _) => Some(context.env.absolute(path)),
            (None, true) => Some(context.env.cwd.clone()),
            (None, false) => None,
        };
        let since = since.map(|text| when(text, context.now)).transpose()?;
        Ok(Self { wanted: selection.sessions.clone(), directory, since })
    }

    /// Whether every session passes.
    pub(crate) fn is_all(&self) -> bool {
        self.wanted.is_empty() && self.directory.is_none() && self.since.is_none()
    }

    /// Whether sessions are named one by one.
    pub(crate) fn names_sessions(&self) -> bool {
        !self.wanted.is_empty()
    }

    /// Of all sessions, whether the call is about each.
    ///
    /// A SESSION that matches none or several is an error, so that nothing is repaired by mistake.
    pub(crate) fn apply(&self, sessions: &[SessionInfo]) -> Result<Vec<bool>, CallError> {
        let mut chosen: Option<Vec<String>> = None;
        for wanted in &self.wanted {
            let id = one(sessions, wanted)?;
            chosen.get_or_insert_default().push(id);
        }
        let meant = |s: &SessionInfo| {
            chosen.as_ref().is_none_or(|ids| ids.contains(&s.id))
                && self.directory.as_ref().is_none_or(|d| same_folder(&s.directory, d))
                && self.since.is_none_or(|at| s.time_updated >= at)
        };
        Ok(sessions.iter().map(meant).collect())
    }
}

fn same_folder(stored: &str, wanted: &Path) -> bool {
    let stored = Path::new(stored);
    // The stored folder may be gone, or be reached through a link: then only the text can be compared.
    stored == wanted || stored.canonicalize().is_ok_and(|s| wanted.canonicalize().is_ok_and(|w| s == w))
}

fn one(sessions: &[SessionInfo], wanted: &str) -> Result<String, CallError> {
    if let Some(exact) = sessions.iter().find(|s| s.id == wanted) {
        return Ok(exact.id.clone());
    }
    let prefix = !wanted.is_empty();
    let found: Vec<&SessionInfo> =
        sessions.iter().filter(|s| s.title == wanted || (prefix && s.id.starts_with(wanted))).collect();
    match found[..] {
        [session] => Ok(session.id.clone()),
        [] => Err(CallError::new(ErrorCode::NoSuchSession, format!("no session is called `{wanted}`"))),
        _ => {
            let ids: Vec<&str> = found.iter().take(5).map(|s| s.id.as_str()).collect();
            let more = if found.len() > 5 { ", …" } else { "" };
            let message = format!("`{wanted}` is {} sessions: {}{more}", found.len(), ids.join(", "));
            Err(CallError::new(ErrorCode::SeveralSessions, message))
        }
    }
}

/// A point in time in ms since the epoch: a date or a local time, or an age before `now`.
pub(crate) fn when(text: &str, now: i64) -> Result<i64, CallError> {
    let bad = || CallError::new(ErrorCode::BadTime, format!("`{text}` is no time"));
    if let Some(unit) = text.chars().last().filter(|c| matches!(c, 's' | 'm' | 'h' | 'd' | 'w')) {
        let n: i64 = text[..text.len() - 1].parse().map_err(|_| bad())?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            _ => 604_800,
        };
        let age = n.checked_mul(seconds).filter(|s| *s >= 0).ok_or_else(bad)?;
        let at = Timestamp::from_millisecond(now)
            .ok()
            .and_then(|t| t.checked_sub(SignedDuration::from_secs(age)).ok())
            .ok_or_else(bad)?;
        return Ok(at.as_millisecond());
    }
    if let Ok(exact) = text.parse::<Timestamp>() {
        return Ok(exact.as_millisecond());
    }
    let local: DateTime = text.parse().map_err(|_| bad())?;
    Ok(local.to_zoned(TimeZone::system()).map_err(|_| bad())?.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::when;

    #[test]
    fn times_and_ages() {
        let now = 1_795_251_279_474;
        assert_eq!(when("36h", now).unwrap(), now - 36 * 3_600_000);
        assert_eq!(when("7d", now).unwrap(), now - 7 * 86_400_000);
        assert!(when("2026-11-20", now).is_ok());
        assert!(when("2026-11-20T08:00", now).is_ok());
        assert_eq!(when("2026-11-20T08:00Z", now).unwrap(), 1_795_161_600_000);
        for bad in ["yesterday", "", "d", "-3d", "99999999999999999h", "2026-13-01"] {
            assert!(when(bad, now).is_err(), "{bad}");
        }
    }
}
