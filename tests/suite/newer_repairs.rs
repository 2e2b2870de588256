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
    let said = place.unstick(&["repair", "--yes", CLAUDE]).exits(1).stdout;
    assert!(said.contains("sessions are dead") && said.contains("Next: unstick repair --dry-run --include"), "{said}");
    assert!(said.contains("2 sessions cannot be read by opencode 2"), "{said}");
    let scan = place.unstick(&["scan", "user-no-time", CLAUDE]).exits(1).stdout;
    assert!(scan.contains("1 session cannot be read by opencode 2."), "{scan}");
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

/// Sessions of `shapes` whose rows are changed, repaired: the exit code, what is said, and what a scan says then.
fn changed(edit: &str, session: &str, more: &[&str]) -> (i32, String, String) {
    let place = place("shapes");
    place.edit(edit);
    let id = place.text(&format!("SELECT id FROM session WHERE title = '{session}'"));
    let before = place.dump();
    let run = place.unstick(&[&["repair", &id, "--yes"], more].concat());
    let status = place.scan_with(&[more.last().unwrap()]).by_id()[id.as_str()]["status"].as_str().unwrap().to_owned();
    let said = run.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    if said.contains("Repaired") {
        place.unstick(&["undo", "--yes"]).exits(0);
    }
    assert!(before == place.dump(), "{session}: undo gives every byte back");
    (run.code, said, status)
}

const PROMPT: &str = "(SELECT m.id FROM session_message m JOIN session s ON s.id = m.session_id \
                      WHERE s.title = 'TITLE' AND m.type = 'user' ORDER BY m.seq LIMIT 1)";

#[test]
fn what_stays_wrong_is_said() {
    let untimed = |title: &str| {
        let row = PROMPT.replace("TITLE", title);
        format!("UPDATE session_message SET data = json_remove(data, '$.time') WHERE id = {row};")
    };
    // Its thinking is still refused: asked for rows alone, it opens, and that is all.
    let rows = ["--include=rows", CLAUDE];
    let (code, said, status) = changed(&untimed("thinking-unsigned"), "thinking-unsigned", &rows);
    assert_eq!((code, status.as_str()), (1, "dead"));
    assert!(said.contains("still wrong: every prompt still fails") && said.contains("--include signatures"), "{said}");
    assert!(said.contains("read again, every other row as it was") && !said.contains("proven"), "{said}");
    let all = changed(&untimed("thinking-unsigned"), "thinking-unsigned", &[ALL, CLAUDE]);
    assert_eq!((all.0, all.2.as_str()), (0, "healthy"));
    // What cannot be mended does not keep a row from being filled in.
    let blank = "UPDATE session_message SET data = json_insert(data, '$.content[#]', json('{\"type\":\"reasoning\",\"text\":\" \"}')) \
                 WHERE type = 'assistant' AND session_id = (SELECT id FROM session WHERE title = 'thinking-unsigned');";
    let edit = format!("{} {blank}", untimed("thinking-unsigned"));
    let (code, said, status) = changed(&edit, "thinking-unsigned", &[ALL, CLAUDE]);
    assert_eq!((code, status.as_str()), (1, "dead"), "{said}");
    assert!(said.contains("Repaired 1 session") && said.contains("still wrong"), "{said}");
    let (code, said, status) = changed(
        &format!("{} UPDATE session SET model = '{{' WHERE title = 'thinking-signed'", untimed("thinking-signed")),
        "thinking-signed",
        &rows,
    );
    assert_eq!((code, status.as_str()), (1, "unreadable"), "{said}");
    assert!(said.contains("still wrong: ses_"), "{said}");
}

#[test]
fn a_sound_session_is_not_touched() {
    // Its model is not known to refuse.
    let model = "UPDATE session SET model = json_set(model, '$.id', 'MiniMax-M2') WHERE title = 'thinking-unsigned'; \
                 UPDATE session_message SET data = json_set(data, '$.model.id', 'MiniMax-M2') WHERE type = 'assistant' \
                 AND session_id = (SELECT id FROM session WHERE title = 'thinking-unsigned')";
    let (code, said, status) = changed(model, "thinking-unsigned", &["--include=signatures", CLAUDE]);
    assert!(!said.contains("Repaired") && said.contains("--include at-risk"), "{said}");
    assert_eq!((code, status.as_str()), (1, "at-risk"));
    let asked = changed(model, "thinking-unsigned", &["--include=signatures,at-risk", CLAUDE]);
    assert_eq!((asked.0, asked.2.as_str()), (0, "healthy"), "{}", asked.1);
    // A staged revert takes the thinking away before a prompt is sent.
    let revert = format!(
        "UPDATE session SET revert = json_object('messageID', {}) WHERE title = 'thinking-unsigned'",
        PROMPT.replace("TITLE", "thinking-unsigned")
    );
    let (code, said, status) = changed(&revert, "thinking-unsigned", &["--include=signatures", CLAUDE]);
    assert_eq!((code, status.as_str()), (0, "healthy"), "{said}");
    assert!(said.starts_with("/") && said.contains("Nothing to repair"), "{said}");
}

#[test]
fn a_long_blank_text_beside_a_long_one_is_no_text_to_send() {
    let edit = "UPDATE session_message SET data = json_set(data, '$.content[0].text', printf('%20000s', ''), \
                '$.content[1].text', printf('%.*c', 1200000, 'x')) WHERE type = 'assistant' AND session_id = \
                (SELECT id FROM session WHERE title = 'thinking-signature-empty')";
    let (code, said, _) = changed(edit, "thinking-signature-empty", &["--include=signatures", CLAUDE]);
    assert!(code == 1 && !said.contains("Repaired"), "{said}");
}

#[test]
fn many_parts_of_one_row_are_changed_together() {
    let place = refused("{\"signature\":\"sig\"}", SIGNATURE);
    let many =
        (0..800).map(|n| format!("{{\"type\":\"reasoning\",\"text\":\"{n}\",\"state\":{{\"signature\":\"s\"}}}}"));
    let many = many.collect::<Vec<_>>().join(",");
    let row = place.text(&format!("SELECT id FROM session_message WHERE session_id = '{SESSION}' AND seq = 1"));
    place.rewrite("session_message", &row, |data| data.replacen("\"content\":[", &format!("\"content\":[{many},"), 1));
    let before = place.dump();
    let named = ["--format=v2", CLAUDE, "--include=signatures", SESSION];
    let done = repair(&place, &named);
    assert_eq!(done["plan"]["sessions"][0]["steps"].as_array().unwrap().len(), 801);
    assert_eq!(done["plan"]["sessions"][0]["edits"].as_array().unwrap().len(), 1);
    let data = place.text(&format!("SELECT data FROM session_message WHERE id = '{row}'"));
    assert!(data.len() > 20_000 && !data.contains("\"signature\""));
    place.unstick(&["undo", "--yes"]).exits(0);
    assert!(before == place.dump(), "undo gives every byte back");
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
