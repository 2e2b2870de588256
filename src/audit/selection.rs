//! Which sessions a call is about.

use std::path::{Path, PathBuf};

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::diagnosis::Format;
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
    /// Of this opencode.
    pub format: Option<Format>,
}

impl Selection {
    /// One session, by its id, the beginning of it, or its title.
    #[must_use]
    pub fn of(session: &str, format: Option<Format>) -> Self {
        Self { sessions: vec![session.to_owned()], format, ..Self::default() }
    }

    /// Whether every session is meant.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.sessions.is_empty() && self.directory.is_none() && self.since.is_none() && self.format.is_none()
    }

    /// Whether sessions are named one by one.
    #[must_use]
    pub fn names_sessions(&self) -> bool {
        !self.sessions.is_empty()
    }

    /// Of all sessions of opencode 1, and of all of opencode 2, whether the call is about each.
    ///
    /// # Errors
    /// A name that fits no session, or several: nothing is to be repaired by mistake.
    pub fn choose(&self, v1: &[SessionInfo], v2: &[&SessionInfo]) -> Result<(Vec<bool>, Vec<bool>)> {
        let of = |format: Format| move |info| (format, info);
        let all: Vec<Known<'_>> = v1.iter().map(of(Format::V1)).chain(v2.iter().copied().map(of(Format::V2))).collect();
        let meant = |known: &&Known<'_>| self.format.is_none_or(|format| known.0 == format);
        let candidates: Vec<Known<'_>> = all.iter().filter(meant).copied().collect();
        let named = self.sessions.iter().map(|wanted| one(&candidates, wanted)).collect::<Result<Vec<_>>>()?;
        let meant = |known: &Known<'_>| {
            let (_, s) = known;
            meant(&known)
                && (named.is_empty() || named.iter().any(|n| n.0 == known.0 && n.1.id == s.id))
                && self.directory.as_ref().is_none_or(|d| same_folder(&s.directory, d))
                && self.since.is_none_or(|at| s.time_updated >= at)
        };
        let mut chosen: Vec<bool> = all.iter().map(meant).collect();
        let newer = chosen.split_off(v1.len());
        Ok((chosen, newer))
    }
}

fn same_folder(stored: &str, wanted: &Path) -> bool {
    let stored = Path::new(stored);
    // The stored folder may be gone, or be reached through a link: then only the text can be compared.
    stored == wanted || stored.canonicalize().is_ok_and(|s| wanted.canonicalize().is_ok_and(|w| s == w))
}

/// A session, and which opencode it is of.
type Known<'a> = (Format, &'a SessionInfo);

fn one<'a>(sessions: &[Known<'a>], wanted: &str) -> Result<Known<'a>> {
    let exact: Vec<Known<'a>> = sessions.iter().filter(|(_, s)| s.id == wanted).copied().collect();
    let prefix = !wanted.is_empty();
    let like = |(_, s): &&Known<'a>| s.title == wanted || (prefix && s.id.starts_with(wanted));
    let found = if exact.is_empty() { sessions.iter().filter(like).copied().collect() } else { exact };
    match found[..] {
        [session] => Ok(session),
        [] => Err(Error::new(ErrorCode::NoSuchSession, format!("no session is called `{wanted}`"))),
        [a, b] if a.1.id == b.1.id => {
            let message = format!("`{wanted}` is a session of opencode 1 and, imported, one of opencode 2");
            Err(Error::new(ErrorCode::SeveralSessions, message)
                .hint("say which one with `--format v1` or `--format v2`"))
        }
        _ => {
            let mut ids: Vec<&str> = found.iter().map(|(_, s)| s.id.as_str()).collect();
            ids.dedup();
            let more = if ids.len() > 5 { ", …" } else { "" };
            ids.truncate(5);
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
