//! Stores full of random histories, through the program as it is: what it shows is what it does, a second repair has
//! nothing to do, nothing but planned rows changes, and an undo gives every byte back.
//!
//! `UNSTICK_TEST_CASES` says how many histories are tried (docs/reliability.md).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use opencode_unstick::diagnosis::Code;
use opencode_unstick::history::log::Log;
use opencode_unstick::store::{SessionEntry, with_snapshot};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use rusqlite::params;
use serde_json::{Value, json};

use crate::dump::{Dump, Row};
use crate::place::Place;
use crate::properties::{START, Story, stored, story};

/// How many histories share a store.
const TOGETHER: usize = 125;

/// How many cases are tried: `usual` of them, unless more are asked for.
pub fn cases(usual: u32) -> u32 {
    std::env::var("UNSTICK_TEST_CASES").ok().map_or(usual, |n| n.parse().expect("UNSTICK_TEST_CASES is a number"))
}

/// Everything that can be asked for.
const EVERYTHING: [&str; 2] =
    ["--include", "at-risk,unmeasured,latent,unsettled,near-window,blank-text,media,calls,signatures,reasoning"];

/// Codes that random histories give. Others ask for one service's refusal of what it was sent right before, or for a row of
/// `session` that is spoilt: they are in `dead.rs`, `refusals.rs` and `unopenable.rs`. A new rule need not be here.
const BY_CHANCE: [Code; 27] = [
    Code::FailedPrefillTail,
    Code::EmptyPromptTail,
    Code::EmptyAnswerTail,
    Code::OrphanTail,
    Code::CompletedToolTail,
    Code::AbortedTextTail,
    Code::UnfinishedTextTail,
    Code::BlankText,
    Code::ImageSize,
    Code::BadImage,
    Code::TooManyImages,
    Code::CallId,
    Code::ProviderCall,
    Code::EmptyMessage,
    Code::ThinkingLast,
    Code::UnsendableFile,
    Code::OverWindow,
    Code::LatentTail,
    Code::UnsettledTool,
    Code::BuriedOrphan,
    Code::RecoveredPrefill400,
    Code::StepLimitPrefill,
    Code::LeakedToolCallText,
    Code::UnansweredPrompt,
    Code::UnreadableRow,
    Code::UnopenableRow,
    Code::PendingTask,
];

/// How a store is looked at: by every rule set, and through Anthropic's own package, one that sends no documents, or one
/// that is not known.
fn how(way: usize) -> &'static [&'static str] {
    const WAYS: [&[&str]; 3] = [
        &["--opencode", "any"],
        &["--opencode", "any", "--sdk", "p=@ai-sdk/anthropic"],
        &["--opencode", "any", "--sdk", "p=@ai-sdk/groq"],
    ];
    WAYS[way % WAYS.len()]
}

fn id(n: usize) -> String {
    format!("ses_h{n:05}")
}

/// A store that holds these histories and nothing else. Every third has a log of events that tells of its rows,
/// every ninth a row that cannot be understood.
fn store_of(stories: &[Story]) -> Place {
    let place = Place::with_sessions("1.18.33", &["healthy"]);
    let mut db = place.sql();
    let write = db.transaction().unwrap();
    write
        .execute_batch("DELETE FROM part; DELETE FROM message; DELETE FROM event; DELETE FROM event_sequence")
        .unwrap();
    let columns: Vec<String> = {
        let mut all = write.prepare("SELECT name FROM pragma_table_info('session') WHERE name <> 'id'").unwrap();
        all.query_map([], |row| row.get(0)).unwrap().map(|c| c.unwrap()).collect()
    };
    let columns = columns.join(", ");
    for (n, (rows, revert)) in stories.iter().enumerate() {
        let session = id(n);
        write
            .execute(
                &format!("INSERT INTO session (id, {columns}) SELECT ?1, {columns} FROM session LIMIT 1"),
                [&session],
            )
            .unwrap();
        let start = START + i64::try_from(n).unwrap() * 1_000_000;
        let mut rows = stored(rows, &session, start);
        if n % 9 == 4
            && let Some(row) = rows.last_mut()
        {
            row.data.push('x');
        }
        let mut seq = -1;
        let mut told = |kind: &str, data: Value| {
            seq += 1;
            if n % 3 == 0 {
                let event = format!("evt_{:012x}{:014}", (start * 4096) & 0xffff_ffff_ffff, seq);
                if seq == 0 {
                    write.execute("INSERT INTO event_sequence (aggregate_id, seq) VALUES (?1, 0)", [&session]).unwrap();
                }
                write
                    .execute(
                        "INSERT INTO event (id, aggregate_id, seq, type, data) VALUES (?1, ?2, ?3, ?4, ?5)",
                        params![event, session, seq, kind, data.to_string()],
                    )
                    .unwrap();
                write
                    .execute("UPDATE event_sequence SET seq = ?2 WHERE aggregate_id = ?1", params![session, seq])
                    .unwrap();
            }
        };
        for message in &rows {
            let row = &message.row;
            write
                .execute(
                    "INSERT INTO message (id, session_id, time_created, time_updated, data) VALUES (?1, ?2, ?3, ?4, ?5)",
                    params![row.id, session, row.time_created, row.time_updated, message.data],
                )
                .unwrap();
            if let Ok(Value::Object(mut info)) = serde_json::from_str(&message.data) {
                info.extend([("id".to_owned(), json!(row.id)), ("sessionID".to_owned(), json!(session))]);
                told("message.updated.1", json!({"sessionID": session, "info": info}));
            }
            for (part, data) in &message.parts {
                write
                    .execute(
                        "INSERT INTO part (id, message_id, session_id, time_created, time_updated, data) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                        params![part.id, part.message_id, session, part.time_created, part.time_updated, data],
                    )
                    .unwrap();
                let mut whole: Value = serde_json::from_str(data).unwrap();
                for (key, value) in
                    [("id", part.id.as_str()), ("messageID", &*part.message_id), ("sessionID", session.as_str())]
                {
                    whole[key] = json!(value);
                }
                told("message.part.updated.1", json!({"sessionID": session, "part": whole, "time": part.time_created}));
            }
        }
        if let Some((at, part)) = revert
            && let Some(message) = rows.get(*at)
        {
            let part = part.and_then(|p| message.parts.get(p)).map(|(row, _)| row.id.clone());
            let mut revert = json!({"messageID": message.row.id});
            if let Some(part) = part {
                revert["partID"] = json!(part);
            }
            write.execute("UPDATE session SET revert = ?2 WHERE id = ?1", [&session, &revert.to_string()]).unwrap();
        }
    }
    write.execute("DELETE FROM session WHERE id NOT LIKE 'ses_h%'", []).unwrap();
    write.commit().unwrap();
    db.close().unwrap();
    place
}

/// What is wrong, and with which session, where that is known.
type Wrong = (Option<usize>, String);

fn number(session: &str) -> Option<usize> {
    session.strip_prefix("ses_h")?.parse().ok()
}

fn wrong(session: &str, what: &str) -> Wrong {
    (number(session), what.to_owned())
}

/// The edits of each session without the time of the repair, which is another one each time.
fn edits(run: &Value) -> BTreeMap<String, Value> {
    let mut out = BTreeMap::new();
    for session in run["plan"]["sessions"].as_array().unwrap() {
        let mut edits = session["edits"].clone();
        for edit in edits.as_array_mut().unwrap() {
            if let Some(fields) = edit["fields"].as_object_mut() {
                fields.remove("time_updated");
                fields.remove("data.time");
            }
            // A new row is as long as its times are.
            edit.as_object_mut().unwrap().remove("bytes");
        }
        out.insert(session["id"].as_str().unwrap().to_owned(), edits);
    }
    out
}

fn rows_by_session(dump: &Dump) -> BTreeMap<String, BTreeMap<(String, String), Row>> {
    let mut out: BTreeMap<String, BTreeMap<(String, String), Row>> = BTreeMap::new();
    for (table, of) in [
        ("message", "session_id"),
        ("part", "session_id"),
        ("event", "aggregate_id"),
        ("event_sequence", "aggregate_id"),
    ] {
        for row in dump.rows(table) {
            let key = (table.to_owned(), crate::dump::key(table, row).to_owned());
            out.entry(crate::dump::text(row, of).to_owned()).or_default().insert(key, row.clone());
        }
    }
    out
}

/// Sessions whose log leads to their rows.
fn folding(place: &Place) -> BTreeSet<String> {
    with_snapshot(&place.db(), |store| {
        let mut out = BTreeSet::new();
        for entry in store.sessions()? {
            let SessionEntry::Readable(info) = entry else { continue };
            if matches!(store.log(&store.load(&info)?.session)?, Log::Folds(_)) {
                out.insert(info.id);
            }
        }
        Ok(out)
    })
    .unwrap()
}

/// Everything that must hold for a store of any histories. Returns how many sessions had each status, and under
/// `repaired` and `left` what became of them.
fn holds(stories: &[Story], way: usize) -> Result<BTreeMap<String, usize>, Wrong> {
    let place = store_of(stories);
    let how = how(way);
    let everything = [how, &EVERYTHING].concat();
    let scan = place.scan_with(how);
    if scan.run.code > 1 {
        return Err((None, format!("a scan fails: {:?}", scan.run)));
    }
    let found = scan.by_id();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let (mut stuck, mut dead) = (BTreeSet::new(), BTreeSet::new());
    for (id, session) in &found {
        let status = session["status"].as_str().unwrap();
        *counts.entry(status.to_owned()).or_default() += 1;
        for finding in session["findings"].as_array().unwrap() {
            *counts.entry(format!("finds {}", finding["code"].as_str().unwrap())).or_default() += 1;
        }
        match status {
            "stuck" => stuck.insert((*id).to_owned()),
            "dead" => dead.insert((*id).to_owned()),
            _ => false,
        };
    }
    // Tails alone, and every session to its last byte, say the same.
    let tails = place.scan_with(&[how, &["--stuck"]].concat());
    let by_tail: BTreeSet<String> =
        tails.by_id().iter().filter(|(_, s)| s["status"] == "stuck").map(|(id, _)| (*id).to_owned()).collect();
    // They do not tell of what every prompt is refused for.
    if let Some(id) = stuck.symmetric_difference(&by_tail).find(|id| !dead.contains(*id)) {
        return Err(wrong(id, "tails say something else than the whole"));
    }
    let ids: Vec<&str> = found.keys().copied().collect();
    let whole = place.scan_with(&[how, &ids].concat());
    for (id, session) in whole.by_id() {
        if session != found[id] {
            return Err(wrong(id, "a scan of it says something else than a scan of all"));
        }
    }
    // What is shown is what is done.
    let before = place.dump();
    let folded = folding(&place);
    let shown = place.unstick(&[&["repair", "-n", "--json"], &everything[..]].concat()).json();
    if place.dump() != before {
        return Err((None, "a dry run has written".to_owned()));
    }
    let run = place.repair_with(&everything);
    if run.code > 1 {
        return Err((None, format!("a repair fails: {run:?}")));
    }
    let done = run.json();
    let (shown, planned) = (edits(&shown), edits(&done));
    for id in shown.keys().chain(planned.keys()) {
        if shown.get(id) != planned.get(id) {
            let (one, two) = (shown.get(id), planned.get(id));
            return Err(wrong(id, &format!("what was shown is not what was done: {one:?} {two:?}")));
        }
    }
    let left: BTreeMap<&str, &str> = done["left"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| (l["id"].as_str().unwrap(), l["reason"].as_str().unwrap()))
        .collect();
    counts.insert("repaired".to_owned(), planned.len());
    counts.insert("left with a reason".to_owned(), left.len());
    // Only planned rows have changed.
    let after = place.dump();
    let (old, new) = (rows_by_session(&before), rows_by_session(&after));
    let none = BTreeMap::new();
    for id in &ids {
        let (old, new) = (old.get(*id).unwrap_or(&none), new.get(*id).unwrap_or(&none));
        let named: BTreeSet<(String, String)> = planned
            .get(*id)
            .into_iter()
            .flat_map(|edits| edits.as_array().unwrap())
            .map(|e| (e["table"].as_str().unwrap().to_owned(), e["id"].as_str().unwrap().to_owned()))
            .collect();
        for key in old.keys().chain(new.keys()) {
            if old.get(key) != new.get(key) && !named.contains(key) {
                return Err(wrong(id, &format!("{key:?} has changed and is in no plan")));
            }
        }
        if ["healthy", "recovered", "unreadable"].contains(&found[id]["status"].as_str().unwrap())
            && named.iter().any(|(table, _)| table != "part")
            && found[id]["findings"].as_array().unwrap().iter().all(|f| f["applicability"] == "report-only")
        {
            return Err(wrong(id, "a sound session is in a plan"));
        }
    }
    if before.of_other_tables() != after.of_other_tables() {
        return Err((None, "a table that is not written has changed".to_owned()));
    }
    // None is stuck any more but those that were left with a reason.
    let again = place.scan_with(how);
    for (id, session) in again.by_id() {
        let stands = ["dead", "stuck", "at-risk"].contains(&session["status"].as_str().unwrap());
        if stands && !left.contains_key(id) {
            return Err(wrong(id, "it is stuck, and nothing was said"));
        }
    }
    if let Some(id) = folded.difference(&folding(&place)).next() {
        return Err(wrong(id, "its log no longer leads to its rows"));
    }
    // A second repair has nothing to do.
    let second = place.repair_with(&everything).json();
    if let Some(id) = edits(&second).keys().next() {
        return Err(wrong(id, "a second repair finds something to do"));
    }
    if !planned.is_empty() {
        let undone = place.unstick(&["undo", "--yes", "--json"]);
        if undone.code != 0 {
            let id = undone.json()["left"][0]["id"].as_str().unwrap_or_default().to_owned();
            return Err((number(&id), format!("it is not taken back: {undone:?}")));
        }
        let back = place.dump();
        if back != before {
            return Err((None, format!("an undo does not give every byte back: {:?}", before.difference(&back))));
        }
    }
    Ok(counts)
}

/// The smallest history of which the same is still wrong, by leaving out rows and parts.
fn shrunk(mut story: Story, stays: &dyn Fn(&Story) -> bool) -> Story {
    loop {
        let rows = story.0.len();
        let without_row = (0..rows).map(|n| {
            let mut less = story.clone();
            less.0.remove(n);
            less
        });
        let without_part = (0..rows).flat_map(|n| (0..story.0[n].parts.len()).map(move |p| (n, p))).map(|(n, p)| {
            let mut less = story.clone();
            less.0[n].parts.remove(p);
            less
        });
        let Some(less) = without_row.chain(without_part).find(stays) else { return story };
        story = less;
    }
}

#[test]
fn random_stores_are_repaired_as_shown_and_taken_back() {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let wanted = cases(500) as usize;
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut tried = 0;
    while tried < wanted {
        let stories: Vec<Story> =
            (0..TOGETHER.min(wanted - tried)).map(|_| story().new_tree(&mut runner).unwrap().current()).collect();
        let way = tried / TOGETHER;
        tried += stories.len();
        match holds(&stories, way) {
            Ok(more) => more.into_iter().for_each(|(k, n)| *counts.entry(k).or_default() += n),
            Err((Some(n), what)) => {
                // Its place among the others decides what else it has: a log, a row that cannot be read.
                let alone = |story: &Story| {
                    let mut all = vec![story.clone(); n % 9];
                    all.push(story.clone());
                    holds(&all, way).is_err()
                };
                let story = &stories[n];
                let story = if alone(story) { shrunk(story.clone(), &alone) } else { story.clone() };
                panic!("{what}, in store place {n} of {story:#?}");
            }
            Err((None, what)) => panic!("{what}, with histories {} to {tried}", tried - stories.len()),
        }
    }
    let mut said = String::new();
    counts.iter().for_each(|(k, n)| write!(said, "\n  {n:>7} {k}").unwrap());
    println!("{tried} histories:{said}");
    for code in BY_CHANCE {
        assert!(counts.contains_key(&format!("finds {code}")), "no history gives {code}: {said}");
    }
    assert!(counts["repaired"] > tried / 5 && counts["unreadable"] > tried / 20, "{said}");
}
