//! Who refuses, which versions count, what a repair leaves although it is stuck, and what a rule's example cannot show.

use serde_json::Value;

use crate::dump::{Row, key, text};
use crate::fixtures;
use crate::place::Place;

const STORE: &str = "1.18.33";
const TAILS: &str = "1.18.33-tails";

/// Everything that may be asked for beyond the default.
const ALL_INCLUDED: [&str; 4] = ["--include", "at-risk,latent,unsettled,near-window", "--opencode", "any"];

fn id(store: &str, shape: &str) -> String {
    fixtures::one(store).id(shape).to_owned()
}

/// Makes `model` the model of every row of the session of that shape.
fn switch(place: &Place, shape: &str, model: &str) {
    let session = id(STORE, shape);
    for row in place.dump().of_session(&session).into_iter().filter(|r| !r.contains_key("message_id")) {
        place.rewrite("message", text(row, "id"), |data| data.replace("claude-opus-4-6", model));
    }
}

/// A store in which only the session of that shape is about `model`.
fn switched(shape: &str, model: &str) -> Place {
    let place = Place::named(STORE);
    switch(&place, shape, model);
    place
}

/// The ids that the run planned, sorted.
fn planned(document: &Value) -> Vec<&str> {
    let mut out: Vec<&str> =
        document["plan"]["sessions"].as_array().unwrap().iter().map(|s| s["id"].as_str().unwrap()).collect();
    out.sort_unstable();
    out
}

#[test]
fn an_aborted_answer_of_a_model_that_is_not_known_to_refuse_is_at_risk() {
    let session = id(STORE, "abort-text");
    for model in ["gpt-5", "claude-opus-4-5", "gemini-3-pro"] {
        let place = switched("abort-text", model);
        let found = place.scan();
        assert_eq!(found.status("abort-text"), "at-risk", "{model}");
        assert_eq!(found.session("abort-text")["evidence"], "predicted", "{model}");
        assert_eq!(found.session("abort-text")["model"], format!("mock/{model}"));
        assert_eq!(found.document["summary"]["at_risk"], 1, "{model}");
        place.unstick(&["scan", "abort-text"]).exits(0);

        let before = place.dump();
        let run = place.repair_with(&[]).exits(0).json();
        assert!(!planned(&run).contains(&session.as_str()), "{model}");
        assert_eq!(before.of_session(&session), place.dump().of_session(&session), "{model}");

        let run = place.repair_with(&["--include", "at-risk"]).exits(0).json();
        assert_eq!(planned(&run), [&session], "{model}");
        assert_eq!(place.scan().status("abort-text"), "healthy", "{model}");
    }
}

#[test]
fn a_model_of_a_family_that_refuses_is_stuck_by_itself() {
    for model in ["claude-sonnet-5", "us.anthropic.claude-opus-4-6-v1:0", "anthropic/claude-sonnet-4.6"] {
        assert_eq!(switched("abort-text", model).scan().status("abort-text"), "stuck", "{model}");
    }
}

#[test]
fn a_stored_refusal_proves_the_model_for_every_session() {
    let place = switched("abort-text", "gpt-5");
    switch(&place, "rstpar", "gpt-5");
    let scan = place.scan();
    assert_eq!(scan.status("abort-text"), "stuck");
    assert_eq!(scan.session("abort-text")["evidence"], "predicted", "the refusal is not its own");
    assert_eq!(scan.session("rstpar")["evidence"], "evidenced");
    // The same model through another provider was never asked.
    place.edit(&format!(
        "UPDATE message SET data = replace(data, '\"mock\"', '\"lab\"') WHERE session_id = '{}'",
        id(STORE, "abort-text")
    ));
    assert_eq!(place.scan().status("abort-text"), "at-risk");
}

#[test]
fn a_repair_does_not_forget_the_refusals_that_it_removes() {
    let place = switched("abort-text", "gpt-5");
    switch(&place, "rstpar", "gpt-5");
    place.repair_with(&["rstpar"]).exits(0);
    let (scan, refusals) = (place.scan(), place.scan_with(&["rstpar"]));
    assert_eq!(refusals.session("rstpar")["prefill_400s"], 0);
    assert_eq!(scan.status("abort-text"), "stuck", "what the store once proved is on record");
    place.repair_with(&[]).exits(0);
    assert_eq!(place.scan().status("abort-text"), "healthy");
}

#[test]
fn one_repair_uses_a_refusal_and_removes_it() {
    let place = switched("abort-text", "gpt-5");
    switch(&place, "rstpar", "gpt-5");
    let run = place.repair_with(&["rstpar", "abort-text"]).exits(0).json();
    assert_eq!(planned(&run).len(), 2);
}

#[test]
fn a_named_model_refuses() {
    let place = switched("abort-text", "gpt-5");
    for (named, status) in
        [("gpt-5", "stuck"), ("mock/gpt-5", "stuck"), ("lab/gpt-5", "at-risk"), ("gpt-5.1", "at-risk")]
    {
        assert_eq!(place.scan_with(&["--refuses", named]).status("abort-text"), status, "{named}");
    }
    let run = place.repair_with(&["--refuses", "gpt-5", "abort-text"]).exits(0).json();
    assert_eq!(planned(&run), [id(STORE, "abort-text")]);
}

#[test]
fn the_model_is_that_of_the_newest_prompt() {
    let place = Place::named(STORE);
    let session = id(STORE, "abort-text");
    place.edit(&format!(
        "UPDATE message SET data = replace(data, 'claude-opus-4-6', 'gpt-5') WHERE session_id = '{session}' AND data LIKE '%\"user\"%'"
    ));
    let scan = place.scan();
    assert_eq!(scan.session("abort-text")["model"], "mock/gpt-5");
    assert_eq!(scan.status("abort-text"), "at-risk");
}

/// What the store says is its lower bound, and where that comes from.
fn bound(place: &Place, more: &[&str]) -> (String, String) {
    let document = place.scan_with(more).document;
    let of = |name: &str| document["store"]["opencode"][name].as_str().unwrap().to_owned();
    (of("bound"), of("source"))
}

#[test]
fn the_newest_session_bounds_the_versions_that_count() {
    let place = Place::named("1.14.34");
    assert_eq!(bound(&place, &[]), ("1.14.34".to_owned(), "the newest session.version".to_owned()));
    assert_eq!(place.scan().status("rstmidtool"), "stuck");
    place.edit("UPDATE session SET version = '1.18.33' WHERE title = 'healthy'");
    assert_eq!(bound(&place, &[]).0, "1.18.33");
    let scan = place.scan();
    // Its tail holds the refusal of that very run, which newer versions do not get past either.
    assert_eq!(scan.status("rstmidtool"), "stuck");
    assert_eq!(scan.status("rstthenrun"), "healthy");
}

#[test]
fn an_orphan_tail_is_stuck_only_where_an_older_version_counts() {
    let place = Place::named(STORE);
    for (opencode, status) in [
        (None, "latent"),
        (Some("any"), "stuck"),
        (Some("1.14.34"), "stuck"),
        (Some("1.15.4"), "stuck"),
        (Some("1.15.13"), "latent"),
    ] {
        let more: Vec<&str> = opencode.iter().flat_map(|v| ["--opencode", v]).collect();
        assert_eq!(place.scan_with(&more).status("rstmidtool"), status, "{opencode:?}");
        let run = place.unstick(&[&["repair", "-n", "--json"][..], &more].concat()).json();
        let session = id(STORE, "rstmidtool");
        assert_eq!(planned(&run).contains(&session.as_str()), status == "stuck", "{opencode:?}");
    }
    assert_eq!(bound(&place, &["--opencode", "any"]), ("any".to_owned(), "--opencode any".to_owned()));
    assert_eq!(bound(&place, &["--opencode", "v1.14.34-dev"]), ("1.14.34".to_owned(), "--opencode".to_owned()));
}

#[test]
fn versions_that_say_nothing_leave_the_migrations_to_bound() {
    let place = Place::named("1.17.11");
    place.edit("UPDATE session SET version = 'local'");
    assert_eq!(bound(&place, &[]).1, "the newest migration");
    assert_eq!(place.scan().status("rstmidtool"), "latent");
    let oldest = Place::named("1.2.27");
    oldest.edit("UPDATE session SET version = ''");
    assert_eq!(bound(&oldest, &[]).0, "any");
}

/// The rows of the session from the named message on, in replay order, with their parts.
fn rows_from(place: &Place, session: &str, message: &str) -> Vec<Row> {
    let dump = place.dump();
    let messages: Vec<&Row> = dump.of_session(session).into_iter().filter(|r| !r.contains_key("message_id")).collect();
    let from = dump.row("message", message).unwrap();
    let at = |r: &Row| (crate::dump::int(r, "time_created"), key("message", r).to_owned());
    let later: Vec<&Row> = messages.into_iter().filter(|r| at(r) >= at(from)).collect();
    later.iter().flat_map(|m| std::iter::once(*m).chain(dump.parts(key("message", m)))).cloned().collect()
}

fn revert_of(place: &Place, session: &str) -> String {
    place.text(&format!("SELECT revert FROM session WHERE id = '{session}'"))
}

#[test]
fn a_pending_revert_keeps_its_rows_and_can_be_taken_back() {
    let place = Place::named(TAILS);
    let session = id(TAILS, "revert-plain");
    let revert = revert_of(&place, &session);
    let named: Value = serde_json::from_str(&revert).unwrap();
    let message = named["messageID"].as_str().unwrap();
    let kept = rows_from(&place, &session, message);
    assert!(kept.len() > 2);
    // As it is once the revert is taken back.
    let taken_back = |place: &Place| {
        place.edit(&format!("UPDATE session SET revert = NULL WHERE id = '{session}'"));
        let resume = place.scan().session("revert-plain")["resume"].clone();
        place.edit(&format!("UPDATE session SET revert = '{revert}' WHERE id = '{session}'"));
        resume
    };
    let unreverted = taken_back(&place);

    let run = place.repair_with(&["revert-plain"]).exits(0).json();
    assert_eq!(planned(&run), [&session]);
    assert_eq!(revert_of(&place, &session), revert);
    assert_eq!(rows_from(&place, &session, message), kept);
    assert_eq!(place.scan().status("revert-plain"), "healthy");
    assert_eq!(taken_back(&place), unreverted);
}

#[test]
fn a_revert_into_the_very_row_that_would_change_is_left() {
    let place = Place::named(TAILS);
    let session = id(TAILS, "revert-part");
    let last = place.text(&format!("SELECT max(id) FROM part WHERE session_id = '{session}'"));
    let named = revert_of(&place, &session);
    let part = serde_json::from_str::<Value>(&named).unwrap()["partID"].as_str().unwrap().to_owned();
    // Only the mark at its end goes, so that the text behind the tools stays the last turn.
    let later = named.replace(&part, &last);
    place.edit(&format!("UPDATE session SET revert = '{later}' WHERE id = '{session}'"));
    assert_eq!(place.scan().status("revert-part"), "stuck");
    let before = place.files();
    let run = place.repair_with(&["revert-part"]).exits(1).json();
    assert_eq!((&run["left"][0]["id"], &run["left"][0]["reason"]), (&session.into(), &"pending-revert".into()));
    before.assert_still(&place.files(), "a repair of a session with such a revert");
    let human = place.unstick(&["repair", "--dry-run", "revert-part"]).exits(1);
    let words = human.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("left as it is: a revert is pending") && words.contains("(pending-revert)"), "{human:?}");
}

#[test]
fn a_revert_to_a_row_that_is_gone_changes_nothing_of_the_verdict() {
    let place = Place::named(STORE);
    let plain = place.scan();
    place.edit("UPDATE session SET revert = '{\"messageID\":\"msg_gone\"}' WHERE title IN ('rstpar', 'healthy')");
    assert_eq!(place.scan().document["sessions"], plain.document["sessions"]);
}

#[test]
fn a_pending_compaction_is_never_touched() {
    let place = Place::named(TAILS);
    let before = place.dump();
    let scan = place.scan_with(&["--opencode", "any"]);
    for shape in ["compact-aborted", "compact-killed"] {
        let codes: Vec<&Value> =
            scan.session(shape)["findings"].as_array().unwrap().iter().map(|f| &f["code"]).collect();
        assert!(codes.contains(&&"pending-task".into()), "{shape}: {codes:?}");
        assert_eq!(scan.session(shape)["resume"]["1.18.21"], "runs-task", "{shape}");
    }
    place.repair_with(&ALL_INCLUDED);
    let after = place.dump();
    for shape in ["compact-aborted", "compact-killed"] {
        let session = id(TAILS, shape);
        assert_eq!(before.of_session(&session), after.of_session(&session), "{shape}");
    }
}

#[test]
fn a_summary_is_never_touched() {
    let place = Place::named(TAILS);
    let summaries = |place: &Place| -> Vec<Row> {
        let dump = place.dump();
        dump.rows("message").iter().filter(|m| text(m, "data").contains("\"summary\":true")).cloned().collect()
    };
    let before = summaries(&place);
    assert!(!before.is_empty());
    place.repair_with(&ALL_INCLUDED);
    assert_eq!(summaries(&place), before);
}

/// The tails' store, with that many tokens in the newest finished answer before the aborted one.
fn near_window(tokens: u32) -> Place {
    let place = Place::named(TAILS);
    let session = id(TAILS, "overflow-tail");
    let answer = place.text(&format!(
        "SELECT id FROM message WHERE session_id = '{session}' AND json_extract(data, '$.finish') = 'stop'
         ORDER BY time_created DESC LIMIT 1"
    ));
    place.rewrite("message", &answer, |data| data.replace("\"total\":15", &format!("\"total\":{tokens}")));
    assert_eq!(place.scan().status("overflow-tail"), "stuck");
    place
}

#[test]
fn a_tail_behind_an_answer_that_may_fill_the_window_is_left_unless_asked_for() {
    let session = id(TAILS, "overflow-tail");
    for tokens in [100_000, 199_505] {
        let place = near_window(tokens);
        let before = place.dump();
        let run = place.repair_with(&[]).exits(1).json();
        assert_eq!(
            (&run["left"][0]["id"], &run["left"][0]["reason"]),
            (&session.clone().into(), &"near-window".into())
        );
        assert_eq!(before.of_session(&session), place.dump().of_session(&session), "{tokens}");
        let again = place.unstick(&["repair", "--yes"]).exits(1);
        assert!(again.stdout.contains("near-window") && again.stdout.contains("--include near-window"), "{again:?}");

        let run = place.repair_with(&["--include", "near-window"]).exits(0).json();
        assert_eq!(planned(&run), [&session]);
        assert_eq!(place.scan().status("overflow-tail"), "healthy");
    }
}

#[test]
fn an_answer_that_cannot_fill_a_window_is_no_reason_to_leave_a_tail() {
    let run = near_window(99_999).repair_with(&["overflow-tail"]).exits(0).json();
    assert_eq!(planned(&run), [id(TAILS, "overflow-tail")]);
}

#[test]
fn an_id_that_is_taken_is_not_given_again() {
    let session = id(STORE, "rstpar");
    let made = |place: &Place| -> String {
        let run = place.repair_with(&["rstpar"]).exits(0).json();
        let edits = run["plan"]["sessions"][0]["edits"].as_array().unwrap().clone();
        let new = edits.iter().find(|e| e["op"] == "insert" && e["table"] == "message").unwrap();
        new["id"].as_str().unwrap().to_owned()
    };
    let place = Place::named(STORE);
    let taken = made(&place);
    let place = Place::named(STORE);
    place.edit(&format!(
        "INSERT INTO message SELECT '{taken}', session_id, time_created - 1, time_updated, data
         FROM message WHERE session_id = '{session}' AND data LIKE '%\"user\"%' ORDER BY time_created LIMIT 1"
    ));
    assert!(made(&place) > taken);
}
