//! The walk over a store: in several passes as in one, and past the large rows that real stores hold.

use std::collections::BTreeSet;

use opencode_unstick::diagnosis::Scope;
use opencode_unstick::history::Depth;
use opencode_unstick::repair::log::Log;
use opencode_unstick::store::{MESSAGES_A_PASS, SessionEntry, with_snapshot};

use crate::fixtures;
use crate::place::Place;

/// What a sweep found out about each session, in words, and about rows of no session and models.
fn found(place: &Place, scope: Scope, most: u64) -> Vec<String> {
    with_snapshot(&place.db(), |store| {
        let readable = |entry| match entry {
            SessionEntry::Readable(info) => Some(info),
            SessionEntry::Unreadable(_) => None,
        };
        let infos: Vec<_> = store.sessions()?.into_iter().filter_map(readable).collect();
        let mut rows = 0;
        let sweep = store.sweep(&infos, scope, most, &mut |seen| rows = seen)?;
        let mut out = Vec::new();
        for (at, info) in (0..).zip(&infos) {
            let plain = store.is_plain(&sweep, at, info)?;
            let mut bad: Vec<_> = sweep.unreadable(Some(at)).map(|row| format!("{row:?}")).collect();
            bad.sort();
            let loaded = store.outline(info, &sweep, at)?;
            let read = |depth: &Depth| matches!(depth, Depth::Whole);
            let loud: Vec<_> = loaded.session.messages.iter().filter(|m| read(&m.depth)).map(|m| m.id()).collect();
            let (model, suspect) = (sweep.model(at), loaded.session.suspect);
            out.push(format!("{} {plain} {model:?} {suspect} {bad:?} {loud:?}", info.id));
        }
        let mut nobodys: Vec<_> = sweep.unreadable(None).map(|row| format!("{row:?}")).collect();
        nobodys.sort();
        let refusing: BTreeSet<_> = sweep.refusing.iter().map(ToString::to_string).collect();
        out.push(format!("{nobodys:?} {refusing:?} {rows}"));
        Ok(out)
    })
    .unwrap()
}

#[test]
fn several_passes_find_what_one_finds() {
    for fixture in fixtures::all() {
        let place = Place::of(&fixture);
        let (one, other) = (place.text("SELECT min(id) FROM session"), place.text("SELECT max(id) FROM session"));
        let theirs = place.text(&format!("SELECT min(id) FROM message WHERE session_id = '{other}'"));
        // Rows of nobody, rows that are broken.
        place.edit(&format!(
            "INSERT INTO message VALUES ('msg_lost', 'ses_gone', 1, 1, '{{}}');
             INSERT INTO part VALUES ('prt_lost', 'msg_gone', '{one}', 1, 1, '{{\"type\":\"text\",\"text\":\"x\"}}');
             INSERT INTO part VALUES ('prt_nobodys', 'msg_gone', 'ses_gone', 1, 1, '{{\"type\":\"text\",\"text\":\"x\"}}');
             INSERT INTO part VALUES ('prt_odd', '{theirs}', '{other}', 1, 1, '{{\"type\":\"tool\"}}');
             INSERT INTO message VALUES ('msg_odd', '{other}', 1, 1, '{{\"role\":1}}');"
        ));
        for scope in [Scope::All, Scope::Tail] {
            let once = found(&place, scope, MESSAGES_A_PASS);
            for most in [1, 7, 40] {
                assert_eq!(found(&place, scope, most), once, "{} {scope:?} {most}", fixture.name);
            }
        }
    }
}

#[test]
fn a_part_that_says_another_session_is_seen_from_whichever_pass() {
    let place = Place::named("1.18.33");
    let healthy = fixtures::one("1.18.33").sessions.sessions["healthy"].clone();
    let message = place.text(&format!("SELECT max(id) FROM message WHERE session_id = '{healthy}'"));
    let plain = |most| found(&place, Scope::All, most).iter().any(|line| line.starts_with(&format!("{healthy} true")));
    assert!(plain(MESSAGES_A_PASS) && plain(1));
    // Behind all other parts, so out of the stretch in which the session's own lie.
    for session in [place.text("SELECT max(id) FROM session"), "ses_gone".to_owned()] {
        place.edit(&format!(
            "INSERT INTO part VALUES ('prt_{session}', '{message}', '{session}', 1, 1, '{{\"type\":\"tool\"}}')"
        ));
        assert!(!plain(MESSAGES_A_PASS) && !plain(1), "{session}");
        place.edit(&format!("DELETE FROM part WHERE id = 'prt_{session}'"));
    }
}

/// JSON of a list of changed files of about so many bytes, with what JSON has to escape in it.
fn diffs(bytes: usize) -> String {
    let patch = "@@ -1 +1 @@\\n-let \\\"a\\\" = \u{e9};\\n+let \\u0000 = {\\\"role\\\":\\\"assistant\\\"};".repeat(40);
    let one = format!(r#"{{"file":"src/a.rs","patch":"{patch}","additions":1,"deletions":1}}"#);
    format!("[{}]", vec![one.as_str(); bytes / one.len() + 1].join(","))
}

#[test]
fn a_prompt_that_lists_all_that_its_turn_has_changed_changes_no_verdict() {
    for name in ["1.3.0", "1.18.33"] {
        let place = Place::named(name);
        let before = place.scan();
        for (at, bytes) in [(0, 5_000), (1, 60_000), (2, 2_500_000)] {
            let ids = place.text("SELECT group_concat(id) FROM message WHERE json_extract(data, '$.role') = 'user'");
            for id in ids.split(',').skip(at).step_by(3).take(12) {
                place.rewrite("message", id, |row| {
                    row.replace(r#""diffs":[]"#, &format!(r#""diffs":{}"#, diffs(bytes)))
                });
            }
        }
        assert_eq!(place.scan().by_id(), before.by_id(), "{name}");
        assert_eq!(place.scan_with(&["--stuck"]).titles("stuck"), before.titles("stuck"), "{name}");
        let whole = place.dump();
        place.repair_with(&[]).exits(0);
        assert!(place.scan().titles("stuck").is_empty(), "{name}");
        place.unstick(&["undo", "--yes"]).exits(0);
        assert_eq!(place.dump(), whole, "{name}");
    }
}

#[test]
fn a_log_with_large_rows_is_compared_piece_by_piece() {
    let place = Place::named("1.18.33");
    let session = fixtures::one("1.18.33").sessions.sessions["rstmidtool"].clone();
    let of = |table: &str, wanted: &str| {
        place.text(&format!("SELECT id FROM {table} WHERE {wanted} ORDER BY rowid DESC LIMIT 1"))
    };
    let row = of("message", &format!("session_id = '{session}' AND json_extract(data, '$.role') = 'user'"));
    let event = of(
        "event",
        &format!(
            "aggregate_id = '{session}' AND type = 'message.updated.1' AND json_extract(data, '$.info.id') = '{row}'"
        ),
    );
    let large = format!(r#""diffs":{}"#, diffs(2_500_000));
    // The event spells a letter otherwise.
    let spelled = large.replacen("let", "l\\u0065t", 1);
    place.rewrite("message", &row, |json| json.replace(r#""diffs":[]"#, &large));
    place.rewrite("event", &event, |json| json.replace(r#""diffs":[]"#, &spelled));
    let log = || {
        with_snapshot(&place.db(), |store| {
            let mut sessions = store.sessions()?.into_iter();
            let info = sessions.find_map(|entry| match entry {
                SessionEntry::Readable(info) if info.id == session => Some(info),
                _ => None,
            });
            Ok(match store.log(&store.load(&info.unwrap())?.session)? {
                Log::Folds(_) => "folds".to_owned(),
                Log::Differs(why) => why,
                Log::None => "none".to_owned(),
            })
        })
        .unwrap()
    };
    assert_eq!(log(), "folds");
    place.rewrite("message", &row, |json| json.replacen("@@ -1", "@@ -2", 1));
    assert_eq!(log(), format!("{row} is not what its events say"));
    // Half of a surrogate pair is no text that can be compared in pieces.
    place.rewrite("message", &row, |json| json.replacen("@@ -2", "\\ud800", 1));
    assert!(log().contains("too large to be compared"), "{}", log());
}
