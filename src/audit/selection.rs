//! Which sessions a call is about.

use std::path::{Path, PathBuf};

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::error::{Error, ErrorCode, Result};
use crate::history::SessionInfo;

/// Which sessions a call is about; all of them where nothing is set.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Ids, beginnings of ids or titles.
    pub sessions: Vec<String>,
    /// The folder that they were made in.
    pub directory: Option<PathBuf>,
    /// Not touched before this, in ms since the epoch.
    pub since: Option<i64>,
}

impl Selection {
    /// One session, by its id, the beginning of it, or its title.
    #[must_use]
    pub fn of(session: &str) -> Self {
        Self { sessions: vec![session.to_owned()], ..Self::default() }
    }

    /// Whether every session is meant.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.sessions.is_empty() && self.directory.is_none() && self.since.is_none()
    }

    /// Whether sessions are named one by one.
    #[must_use]
    pub fn names_sessions(&self) -> bool {
        !self.sessions.is_empty()
    }

    /// Of all sessions, whether the call is about each.
    ///
    /// # Errors
    /// A name that fits no session, or several: nothing is to be repaired by mistake.
    pub fn choose(&self, sessions: &[SessionInfo]) -> Result<Vec<bool>> {
        let ids = self.sessions.iter().map(|wanted| one(sessions, wanted)).collect::<Result<Vec<String>>>()?;
        let meant = |s: &SessionInfo| {
            (ids.is_empty() || ids.contains(&s.id))
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

fn one(sessions: &[SessionInfo], wanted: &str) -> Result<String> {
    if let Some(exact) = sessions.iter().find(|s| s.id == wanted) {
        return Ok(exact.id.clone());
    }
    let prefix = !wanted.is_empty();
    let found: Vec<&SessionInfo> =
        sessions.iter().filter(|s| s.title == wanted || (prefix && s.id.starts_with(wanted))).collect();
    match found[..] {
        [session] => Ok(session.id.clone()),
        [] => Err(Error::new(ErrorCode::NoSuchSession, format!("no session is called `{wanted}`"))),
        _ => {
            let ids: Vec<&str> = found.iter().take(5).map(|s| s.id.as_str()).collect();
            let more = if found.len() > 5 { ", …" } else { "" };
            let message = format!("`{wanted}` is {} sessions: {}{more}", found.len(), ids.join(", "));
            Err(Error::new(ErrorCode::SeveralSessions, message))
        }
    }
}

/// A point in time in ms since the epoch: a date or a local time, or an age before `now`.
///
/// # Errors
/// When the text is none of these.
pub fn when(text: &str, now: i64) -> Result<i64> {
    let bad = || Error::new(ErrorCode::BadTime, format!("`{text}` is no time"));
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
