//! Repairs of sessions of opencode 2: what was measured is changed where it is asked for, and `undo` gives every byte back.

use serde_json::Value;

use crate::newer::{CLAUDE, place, sdk};
use crate::place::Place;

const ALL: &str = "--include=reasoning,signatures,rows";

fn repair(place: &Place, more: &[&str]) -> Value {
    place.repair_with(more).json()
}

/// The titles of the sessions of a plan, with the reason of their first step.
fn planned(place: &Place, document: &Value) -> Vec<(String, String)> {
    let sessions = document["plan"]["sessions"].as_array().unwrap().iter();
    let one = |session: &Value| {
        assert_eq!(session["format"], "v2", "{session}");
        let title = place.text(&format!("SELECT title FROM session WHERE id = '{}'", session["id"].as_str().unwrap()));
        (title, session["steps"][0]["reason"].as_str().unwrap().to_owned())
    };
    let mut out: Vec<_> = sessions.map(one).collect();
    out.sort();
    out
}

/// Every message but the sessions' that are named, and the counters: what no repair touches.
fn others(place: &Place, ids: &[&str]) -> String {
    let ids = ids.iter().map(|id| format!("'{id}'")).collect::<Vec<_>>().join(",");
    let rows = format!(
        "SELECT group_concat(id || seq || time_updated || data, char(10)) FROM (SELECT * FROM session_message \
         WHERE session_id NOT IN ({ids}) ORDER BY id)"
    );
    place.text(&rows) + &place.text("SELECT group_concat(aggregate_id || seq) FROM event_sequence")
}

#[test]
fn what_was_measured_is_changed_and_given_back() {
    let of_claude = |title: &str| (title.to_owned(), "unsigned-thinking".to_owned());
    let undecodable = |title: &str| (title.to_owned(), "undecodable-row".to_owned());
    let times = || ["answer-without-time", "user-no-time"].map(undecodable);
    let thinking = [
        "thinking-empty-state",
        "thinking-item",
        "thinking-item-foreign",
        "thinking-item-plain",
        "thinking-item-two-parts",
        "thinking-nested",
        "thinking-signature-empty",
        "thinking-unsigned",
    ];
    let claude: Vec<_> = times().into_iter().chain(thinking.map(of_claude)).collect();
    for (store, mut expected) in
        [("shapes", claude), ("shapes-litellm", times().into()), ("shapes-gateway", times().into())]
    {
        expected.sort();
        let (place, sdk) = (place(store), sdk(store));
        let before = place.dump();
        let done = repair(&place, &[&sdk, ALL]);
        assert_eq!(planned(&place, &done), expected, "{store}");
        let ids: Vec<&str> =
            done["plan"]["sessions"].as_array().unwrap().iter().map(|s| s["id"].as_str().unwrap()).collect();
        assert_eq!(others(&place, &ids), others(&self::place(store), &ids), "{store}");
        let scan = place.scan_with(&[&sdk]);
        for id in &ids {
            assert_eq!(scan.by_id()[id]["status"], "healthy", "{store}, {id}");
        }
        assert_eq!(repair(&place, &[&sdk, ALL])["plan"]["sessions"].as_array().unwrap().len(), 0, "{store}: again");
        place.unstick(&["undo", "--yes"]).exits(0);
        assert!(before == place.dump(), "{store}: undo gives every byte back");
    }
}

#[test]
fn nothing_is_changed_that_was_not_asked_for() {
    let place = place("shapes");
    let before = place.dump();
    place.unstick(&["repair", "--yes", CLAUDE]).exits(0);
    let title = |title: &str| place.text(&format!("SELECT id FROM session WHERE title = '{title}'"));
    for (session, words) in [
        ("thinking-unsigned", "--include signatures"),
        ("user-no-time", "--include rows"),
        ("call-id-twice", "was not measured"),
        ("thinking-blank-unsigned", "was not measured"),
    ] {
        let said = place.unstick(&["repair", &title(session), "--yes", CLAUDE]).exits(1).stdout;
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains(words), "{session}: {said}");
    }
    assert_eq!(repair(&place, &[CLAUDE, "--include=reasoning"])["plan"]["sessions"].as_array().unwrap().len(), 0);
    assert!(before == place.dump(), "nothing was written");
}

const SESSION: &str = "ses_e02aed95fffeR3cfJKlA281ry6";

/// A store of opencode 1 and of a released 2, in which Claude has refused a signature of an imported session.
fn refused(state: &str, refusal: &str) -> Place {
    let place = place("imported-1.18.33");
    let of = |seq: u8| format!("session_id = '{SESSION}' AND seq = {seq}");
    let thinking = format!("json('{{\"type\":\"reasoning\",\"text\":\"hm\",\"state\":{state}}}')");
    place.edit(&format!(
        "UPDATE session_message SET data = json_insert(data, '$.content[#]', {thinking}) WHERE {};
         UPDATE session_message SET data = json_set(data, '$.error.message', '{refusal}') WHERE {}",
        of(1),
        of(3)
    ));
    place
}

const SIGNATURE: &str = "messages.1.content.0: Invalid `signature` in `thinking` block";

#[test]
fn a_refused_signature_leaves_and_the_words_stay() {
    let place = refused("{\"signature\":\"sig\"}", SIGNATURE);
    let before = place.dump();
    let data = || place.text(&format!("SELECT data FROM session_message WHERE session_id = '{SESSION}' AND seq = 1"));
    let was = data();
    let named = ["--format=v2", CLAUDE, "--include=signatures"];
    let done = repair(&place, &[&named[..], &[SESSION]].concat());
    let plan = &done["plan"]["sessions"][0];
    assert_eq!((&plan["format"], &plan["steps"][0]["reason"]), (&"v2".into(), &"bad-signature".into()));
    assert_eq!(data(), was.replacen(",\"state\":{\"signature\":\"sig\"}", "", 1));
    let edit = |data: &str| {
        let row = format!("session_id = '{SESSION}' AND seq = 1");
        place.edit(&format!("UPDATE session_message SET data = {data} WHERE {row}"));
    };
    edit("data || ' '");
    let said = place.unstick(&["undo", "--yes", "--json"]).exits(1).json();
    assert_eq!(said["left"][0]["reason"], "row-changed");
    edit("rtrim(data, ' ')");
    place.unstick(&["undo", "--yes"]).exits(0);
    assert!(before == place.dump(), "undo gives every byte back");
}

#[test]
fn a_session_of_both_formats_is_repaired_in_two_calls() {
    let place = refused("{\"signature\":\"sig\"}", SIGNATURE);
    let before = place.dump();
    let first = repair(&place, &[CLAUDE, "--include=signatures"]);
    let formats = |done: &Value| -> Vec<String> {
        let plans = done["plan"]["sessions"].as_array().unwrap().iter().filter(|plan| plan["id"] == SESSION);
        plans.map(|plan| plan["format"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(formats(&first), ["v1"]);
    assert_eq!((&first["left"][0]["id"], &first["left"][0]["reason"]), (&SESSION.into(), &"newer-format".into()));
    assert!(first["left"][0]["detail"].as_str().unwrap().contains("repair again"), "{first}");
    assert_eq!(formats(&repair(&place, &[CLAUDE, "--include=signatures"])), ["v2"]);
    place.unstick(&["undo", "--yes"]).exits(0);
    place.unstick(&["undo", "--yes"]).exits(0);
    assert!(before == place.dump(), "undo gives every byte back");
}

#[test]
fn what_was_not_measured_is_left() {
    let item = refused("{\"itemId\":\"rs_1\"}", "reasoning was provided without its required following item");
    let named = ["repair", SESSION, "--format=v2", "--yes", "--json", ALL];
    let left = |place: &Place, sdk: &str| {
        let before = place.dump();
        let said = place.unstick(&[&named[..], &[sdk]].concat()).exits(1).json();
        assert!(before == place.dump(), "nothing was written");
        (said["left"][0]["reason"].clone(), said["left"][0]["detail"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(left(&item, "--sdk=mock=@ai-sdk/openai").0, "newer-format");
    let encrypted = refused("{\"reasoningEncryptedContent\":\"e\"}", "The encrypted content could not be verified");
    assert_eq!(left(&encrypted, "--sdk=mock=@ai-sdk/google").0, "newer-format");
    let column = refused("{\"signature\":\"sig\"}", SIGNATURE);
    column.edit("ALTER TABLE session_message ADD COLUMN sealed TEXT");
    let (reason, detail) = left(&column, CLAUDE);
    assert_eq!(reason, "newer-format");
    assert!(detail.contains("`sealed`"), "{detail}");
}

#[test]
fn a_large_row_keeps_its_bytes() {
    let place = place("shapes");
    let row = "(SELECT m.id FROM session_message m JOIN session s ON s.id = m.session_id \
               WHERE s.title = 'user-no-time' AND m.type = 'user' LIMIT 1)";
    place.edit(&format!(
        "UPDATE session_message SET data = json_set(data, '$.text', printf('%.*c', 3000000, 'x'), '$.metadata', \
         json_object('y', printf('%.*c', 2000000, 'y'))) WHERE id = {row}"
    ));
    let before = place.dump();
    let length = || place.text(&format!("SELECT length(data) || '' FROM session_message WHERE id = {row}"));
    let was: usize = length().parse().unwrap();
    let done = repair(&place, &[CLAUDE, "--include=rows"]);
    assert_eq!(planned(&place, &done).len(), 2, "{done}");
    let time = ",\"time\":{\"created\":1795000000000}";
    assert_eq!(length().parse::<usize>().unwrap(), was + time.len());
    place.unstick(&["undo", "--yes"]).exits(0);
    assert!(before == place.dump(), "undo gives every byte back");
}
