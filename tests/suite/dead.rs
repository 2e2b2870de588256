//! Sessions of which every prompt is refused, and those that only look like it.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use base64::Engine as _;
use rusqlite::params;
use serde_json::{Value, json};

use crate::fixtures;
use crate::place::Place;

const STORE: &str = "1.18.33";
const SHAPE: &str = "healthy";

fn session() -> String {
    fixtures::one(STORE).id(SHAPE).to_owned()
}

/// A PNG's first bytes: all that its size is read from.
fn png(width: u32, height: u32) -> Vec<u8> {
    let mut out = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".to_vec();
    out.extend(width.to_be_bytes());
    out.extend(height.to_be_bytes());
    out.extend([8, 6, 0, 0, 0]);
    out
}

fn url(bytes: &[u8]) -> String {
    format!("data:image/png;base64,{}", base64::engine::general_purpose::STANDARD.encode(bytes))
}

/// A place in which the JSON of each part of the healthy session's kind has been changed.
fn with(kind: &str, change: impl Fn(&mut Value)) -> Place {
    let place = Place::named(STORE);
    parts(&place, kind, change);
    place
}

fn parts(place: &Place, kind: &str, change: impl Fn(&mut Value)) {
    let db = place.sql();
    let mut found = db.prepare("SELECT id, data FROM part WHERE session_id = ?1").unwrap();
    let rows: Vec<(String, String)> =
        found.query_map([session()], |r| Ok((r.get(0)?, r.get(1)?))).unwrap().map(Result::unwrap).collect();
    let mut changed = 0;
    for (id, data) in rows {
        let mut data: Value = serde_json::from_str(&data).unwrap();
        if data["type"] == kind {
            change(&mut data);
            db.execute("UPDATE part SET data = ?2 WHERE id = ?1", params![id, data.to_string()]).unwrap();
            changed += 1;
        }
    }
    assert!(changed > 0, "no {kind}");
    // The event log of a store that was changed by hand is left alone.
}

fn attached(bytes: &[u8]) -> Place {
    let file = json!({"id": "prt_x", "type": "file", "mime": "image/png", "url": url(bytes)});
    with("tool", |part| part["state"]["attachments"] = json!([file]))
}

/// A prompt and its refusal behind everything else, or an answer that worked.
fn asked(place: &Place, number: i64, refusal: Option<&str>) {
    let db = place.sql();
    let (session, at) = (session(), 4_000_000_000_000 + number);
    let user = json!({"role": "user", "time": {"created": at}, "agent": "build",
        "model": {"providerID": "mock", "modelID": "claude-opus-4-6"}});
    let mut answer = json!({"role": "assistant", "parentID": format!("msg_u{number}"), "modelID": "claude-opus-4-6",
        "providerID": "mock", "time": {"created": at + 1}, "cost": 0, "mode": "build", "agent": "build",
        "path": {"cwd": "/home/dev/work", "root": "/home/dev/work"},
        "tokens": {"input": 0, "output": 0, "reasoning": 0, "cache": {"read": 0, "write": 0}}});
    match refusal {
        Some(text) => {
            answer["error"] =
                json!({"name": "APIError", "data": {"message": text, "statusCode": 400, "isRetryable": false}});
        }
        None => answer["finish"] = json!("stop"),
    }
    let insert = "INSERT INTO message (id, session_id, time_created, time_updated, data) VALUES (?1, ?2, ?3, ?3, ?4)";
    db.execute(insert, params![format!("msg_u{number}"), session, at, user.to_string()]).unwrap();
    db.execute(insert, params![format!("msg_v{number}"), session, at + 1, answer.to_string()]).unwrap();
    let part = "INSERT INTO part (id, message_id, session_id, time_created, time_updated, data) VALUES (?1, ?2, ?3, ?4, ?4, ?5)";
    let text = json!({"type": "text", "text": "And now?"}).to_string();
    db.execute(part, params![format!("prt_u{number}"), format!("msg_u{number}"), session, at, text]).unwrap();
    if refusal.is_none() {
        let text = json!({"type": "text", "text": "Well."}).to_string();
        db.execute(part, params![format!("prt_v{number}"), format!("msg_v{number}"), session, at + 1, text]).unwrap();
    }
}

/// A prompt and an answer of these parts behind everything else.
fn answered(place: &Place, number: i64, finish: Option<&str>, parts: &[Value]) {
    asked(place, number, None);
    let at = 4_000_000_000_001 + number;
    if finish != Some("stop") {
        let new = finish.map_or("\"was\":\"stop\"".to_owned(), |finish| format!("\"finish\":\"{finish}\""));
        place.rewrite("message", &format!("msg_v{number}"), |data| data.replace("\"finish\":\"stop\"", &new));
    }
    let db = place.sql();
    db.execute("DELETE FROM part WHERE id = ?1", [format!("prt_v{number}")]).unwrap();
    for (n, part) in parts.iter().enumerate() {
        let insert = "INSERT INTO part (id, message_id, session_id, time_created, time_updated, data) VALUES (?1, ?2, ?3, ?4, ?4, ?5)";
        let ids = [format!("prt_v{number}_{n}"), format!("msg_v{number}"), session()];
        db.execute(insert, params![ids[0], ids[1], ids[2], at, part.to_string()]).unwrap();
    }
}

fn call(id: &str) -> Value {
    json!({"type": "tool", "tool": "bash", "callID": id,
        "state": {"status": "completed", "input": {}, "output": "ok", "time": {"start": 1, "end": 2}}})
}

fn words() -> Value {
    json!({"type": "text", "text": "Well."})
}

/// The findings with this code, and the status.
fn with_code(place: &Place, more: &[&str], code: &str) -> (String, Vec<String>) {
    let (status, all) = said(place, more);
    (status, all.into_iter().filter(|f| f.starts_with(&format!("{code} "))).collect())
}

/// Status and the codes of what a prompt is or may be refused for, with what can be done about each.
fn said(place: &Place, more: &[&str]) -> (String, Vec<String>) {
    let scan = place.scan_with(more);
    let found = scan.session(SHAPE)["findings"].as_array().unwrap().iter();
    let told = found.map(|f| format!("{} {}", f["code"].as_str().unwrap(), f["applicability"].as_str().unwrap()));
    // What is said of one session is the same whether it is named or found on the way.
    let named = place.scan_with(&[&[SHAPE][..], more].concat());
    assert_eq!(named.session(SHAPE), scan.session(SHAPE));
    (scan.status(SHAPE).to_owned(), told.collect())
}

fn dead(code: &str) -> (String, Vec<String>) {
    ("dead".to_owned(), vec![format!("{code} opt-in")])
}

fn doubtful(code: &str) -> (String, Vec<String>) {
    ("healthy".to_owned(), vec![format!("{code} report-only")])
}

fn sound() -> (String, Vec<String>) {
    ("healthy".to_owned(), Vec::new())
}

const PROXY: [&str; 2] = ["--sdk", "mock/claude-opus-4-6=@ai-sdk/openai-compatible"];

#[test]
fn an_image_counts_by_its_bytes_and_pixels() {
    assert_eq!(said(&attached(&png(8_000, 8_000)), &[]), sound(), "as large as it may be");
    assert_eq!(said(&attached(&png(8_001, 1)), &[]), dead("image-size"));
    assert_eq!(said(&attached(b"<html>"), &[]), dead("bad-image"));
    assert_eq!(said(&attached(b""), &[]), dead("bad-image"));
    // 3,932,160 bytes are 5 MiB of base64.
    let mut large = png(10, 10);
    large.resize(3_932_160, 0);
    assert_eq!(said(&attached(&large), &[]), sound());
    large.push(0);
    assert_eq!(said(&attached(&large), &[]), dead("image-size"));
}

#[test]
fn among_many_images_smaller_ones_are_too_large() {
    for (count, expected) in [(20, sound()), (21, dead("image-size"))] {
        let small = json!({"mime": "image/png", "url": url(&png(10, 10))});
        let mut files = vec![small; count - 1];
        files.push(json!({"mime": "image/png", "url": url(&png(2_001, 10))}));
        // Behind a long output, where a walk does not see them at first.
        let place = with("tool", |part| {
            part["state"]["output"] = json!("x".repeat(70_000));
            part["state"]["attachments"] = json!(files);
        });
        assert_eq!(said(&place, &[]), expected, "{count}");
    }
}

#[test]
fn what_a_proxy_passes_on_is_not_known_until_it_has_refused_it() {
    let place = with("tool", |part| part["callID"] = json!(""));
    assert_eq!(said(&place, &[]), dead("call-id"));
    assert_eq!(said(&place, &PROXY), doubtful("call-id"));
    asked(&place, 1, Some("messages.1.content.1.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'"));
    assert_eq!(said(&place, &PROXY).0, "dead");
    assert_eq!(place.scan_with(&PROXY).session(SHAPE)["evidence"], "evidenced");
    asked(&place, 2, None);
    assert_eq!(said(&place, &PROXY), doubtful("call-id"), "something worked since");
    assert_eq!(said(&place, &[]), dead("call-id"), "the rule stands, whoever let it pass");
}

#[test]
fn other_models_are_not_held_to_claudes_rules() {
    let place = with("tool", |part| part["callID"] = json!(""));
    place.edit(&format!(
        "UPDATE message SET data = replace(data, 'claude-opus-4-6', 'gpt-5') WHERE session_id = '{}'",
        session()
    ));
    assert_eq!(said(&place, &[]), sound());
}

#[test]
fn a_blank_text_counts_where_nothing_beside_it_has_words() {
    let blank = |part: &mut Value| part["text"] = json!(" \n");
    let place = with("text", blank);
    // The last answer stands alone; the first has a call beside its text, and nobody knows what becomes of that.
    assert_eq!(said(&place, &[]).0, "dead");
    let first = Place::named(STORE);
    parts(&first, "text", |part| {
        if part["text"].as_str().unwrap().contains("SCN:") {
            blank(part);
        }
    });
    assert_eq!(said(&first, &[]), dead("blank-text"));
    let both = Place::named(STORE);
    parts(&both, "text", |part| {
        if part["text"].as_str().unwrap().contains("SCN:") {
            blank(part);
        }
    });
    let row = both.text(&format!(
        "SELECT message_id FROM part WHERE session_id = '{}' AND data LIKE '% \\n%' LIMIT 1",
        session()
    ));
    let words = json!({"type": "text", "text": "Words."}).to_string();
    both.sql()
        .execute(
            "INSERT INTO part (id, message_id, session_id, time_created, time_updated, data) VALUES ('prt_zz', ?1, ?2, 1, 1, ?3)",
            params![row, session(), words],
        )
        .unwrap();
    assert_eq!(said(&both, &[]), sound(), "beside words it is taken");
}

/// Nobody has shown what becomes of these.
#[test]
fn a_blank_text_beside_nothing_but_thinking_or_a_call_is_only_said() {
    let signed = json!({"type": "reasoning", "text": "hm", "time": {"start": 1},
        "metadata": {"anthropic": {"signature": "s"}}});
    for (beside, finish) in [(signed, "stop"), (call("call_1"), "tool-calls")] {
        let place = Place::named(STORE);
        answered(&place, 10, Some(finish), &[json!({"type": "text", "text": " \n"}), beside.clone()]);
        answered(&place, 20, Some("stop"), &[words()]);
        let (status, found) = with_code(&place, &[], "blank-text");
        // Signed thinking that comes last is a fault of its own.
        let (_, last) = with_code(&place, &[], "thinking-last");
        assert_eq!(status == "dead", !last.is_empty(), "{beside}: {last:?}");
        assert_eq!(last.is_empty(), beside["type"] == "tool", "{beside}");
        assert_eq!(found, ["blank-text report-only"], "{beside}");
    }
}

#[test]
fn a_refusal_is_read_back_to_the_row_that_it_points_at() {
    // Nothing is wrong with the bytes that are looked at: the provider alone has said so.
    let place = attached(&png(10, 10));
    let part = place.text(&format!(
        "SELECT id FROM part WHERE session_id = '{}' AND json_extract(data, '$.type') = 'tool'",
        session()
    ));
    assert_eq!(said(&place, &[]), sound());
    asked(
        &place,
        1,
        Some("messages.2.content.0.tool_result.content.1.image.source.base64.data: Could not process image"),
    );
    assert_eq!(said(&place, &[]), dead("bad-image"));
    assert_eq!(place.scan().session(SHAPE)["findings"][0]["part_id"], part.as_str());
    let run = place.repair_with(&[SHAPE, "--include", "media"]).exits(0).json();
    assert_eq!(run["plan"]["sessions"][0]["leaves"][0]["part_id"], part.as_str());
    assert_eq!(said(&place, &[]).0, "healthy");
    // A place that holds no image is no evidence of one.
    let other = attached(&png(10, 10));
    asked(&other, 1, Some("messages.0.content.0.image.source.base64.data: Could not process image"));
    assert_eq!(said(&other, &[]).0, "healthy");
}

#[test]
fn an_image_of_another_type_than_is_said_counts() {
    let file = json!({"type": "file", "mime": "image/jpeg", "url": url(&png(10, 10)).replace("png", "jpeg")});
    assert_eq!(said(&with("tool", |part| part["state"]["attachments"] = json!([file])), &[]), dead("bad-image"));
}

#[test]
fn an_id_that_comes_twice_counts_as_it_is_sent() {
    for (ids, expected) in [(["call_1", "call_2"], sound()), (["call.1", "call_1"], dead("call-id"))] {
        let place = Place::named(STORE);
        for (id, number) in ids.iter().zip([10, 20]) {
            answered(&place, number, Some("tool-calls"), &[call(id)]);
        }
        answered(&place, 30, Some("stop"), &[words()]);
        assert_eq!(said(&place, &[]), expected, "{ids:?}");
    }
}

#[test]
fn thinking_alone_counts_whether_the_answer_is_marked_as_finished_or_not() {
    let thinking = || json!({"type": "reasoning", "text": "hm", "time": {"start": 1}});
    let start = || json!({"type": "step-start"});
    for (finish, parts, counts) in [
        (None, vec![start(), thinking()], true),
        (Some("stop"), vec![start(), thinking()], true),
        (None, vec![start(), thinking(), words()], false),
    ] {
        let place = Place::named(STORE);
        answered(&place, 10, finish, &parts);
        answered(&place, 20, Some("stop"), &[words()]);
        let (status, found) = with_code(&place, &[], "empty-message");
        assert_eq!((status == "dead", found.len()), (counts, usize::from(counts)), "{finish:?} {parts:?}");
    }
}

#[test]
fn a_call_that_another_provider_ran_counts_where_nothing_stands_beside_it() {
    let ran = |tool: &str| {
        let mut call = call("call_1");
        call["tool"] = json!(tool);
        call["metadata"] = json!({"providerExecuted": true});
        call
    };
    for (parts, expected) in [
        (vec![ran("own_search")], dead("provider-call")),
        (vec![ran("own_search"), words()], sound()),
        (vec![ran("web_search")], sound()),
    ] {
        let place = Place::named(STORE);
        answered(&place, 10, Some("stop"), &parts);
        answered(&place, 20, Some("stop"), &[words()]);
        let (status, mut found) = said(&place, &[]);
        // Of what a cut would leave, nothing is asked here.
        found.retain(|f| !f.starts_with("latent"));
        let status = if status == "latent" { "healthy".to_owned() } else { status };
        assert_eq!((status, found), expected, "{parts:?}");
        // The other package sends the call, and no result: that is only said.
        assert_eq!(with_code(&place, &PROXY, "provider-call").1, ["provider-call report-only"], "{parts:?}");
    }
}

#[test]
fn a_signature_counts_only_where_the_provider_has_pointed_at_it() {
    let signed = json!({"type": "reasoning", "text": "hm", "time": {"start": 1},
        "metadata": {"anthropic": {"signature": "s"}}});
    let refused = |place: &str| format!("{place}: Invalid `signature` in `thinking` block");
    for (at, expected) in [
        ("messages.5.content.0", dead("bad-signature")),
        ("messages.5.content.1", sound()),
        ("messages.3.content.0", sound()),
    ] {
        let place = Place::named(STORE);
        answered(&place, 10, Some("stop"), &[signed.clone(), words()]);
        assert_eq!(said(&place, &[]), sound());
        asked(&place, 20, Some(&refused(at)));
        assert_eq!(said(&place, &[]), expected, "{at}");
        asked(&place, 30, None);
        assert_eq!(said(&place, &[]), sound(), "{at}, and something worked since");
    }
}

#[test]
fn too_many_images_count_by_the_number_that_was_refused_the_oldest_first() {
    let images = |n: usize| {
        let one = json!({"type": "file", "mime": "image/png", "url": url(&png(10, 10))});
        with("tool", |part| part["state"]["attachments"] = json!(vec![one.clone(); n]))
    };
    assert_eq!(said(&images(100), &[]), sound());
    assert_eq!(said(&images(101), &[]), doubtful("too-many-images"));
    for (count, leave) in [(50, vec![]), (52, vec![0, 1])] {
        let place = images(count);
        asked(&place, 10, Some("request contains 52 images, exceeding the maximum of 50 allowed per request"));
        assert_eq!(said(&place, &[]).0 == "dead", !leave.is_empty(), "{count}");
        let run = place.repair_with(&[SHAPE, "--include", "media"]).exits(0).json();
        let none = Vec::new();
        let leaves = run["plan"]["sessions"][0]["leaves"].as_array().unwrap_or(&none);
        let mut gone: Vec<_> = leaves.iter().map(|l| l["attachment"].as_u64().unwrap()).collect();
        gone.sort_unstable();
        assert_eq!(gone, leave, "{count}");
    }
}

#[test]
fn a_refusal_for_length_is_said_until_something_works() {
    let place = Place::named(STORE);
    asked(&place, 10, Some("prompt is too long: 213000 tokens > 200000 maximum"));
    assert_eq!(said(&place, &[]), doubtful("over-window"));
    asked(&place, 20, None);
    assert_eq!(said(&place, &[]), sound());
}

#[test]
fn what_a_compaction_has_cut_off_is_not_sent_any_more() {
    let place = Place::named(STORE);
    let compacted = fixtures::one(STORE).id("compacted").to_owned();
    place.edit(&format!(
        "UPDATE part SET data = json_set(data, '$.callID', '') WHERE session_id = '{compacted}' \
         AND json_extract(data, '$.type') = 'tool'"
    ));
    let before = place.text(&format!(
        "SELECT count(*) || '' FROM part WHERE session_id = '{compacted}' AND json_extract(data, '$.callID') = ''"
    ));
    assert_ne!(before, "0");
    assert_eq!(place.scan().status("compacted"), "healthy");
}

#[test]
fn nothing_is_taken_out_unless_it_is_asked_for_and_undo_gives_it_back() {
    for (place, include, code) in [
        (attached(&png(9_000, 3)), "media", "image-size"),
        (with("tool", |part| part["callID"] = json!("")), "calls", "call-id"),
        (
            with("text", |part| {
                if part["text"].as_str().unwrap().contains("SCN:") {
                    part["text"] = json!("  ");
                }
            }),
            "blank-text",
            "blank-text",
        ),
    ] {
        assert_eq!(said(&place, &[]), dead(code));
        place.unstick(&["scan"]).exits(1);
        let before = place.dump();
        let others = ["blank-text", "media", "calls", "signatures"].into_iter().filter(|i| *i != include);
        let others = others.collect::<Vec<_>>().join(",");
        for args in [&[][..], &["--include", &others], &["--include", "at-risk,latent,unsettled,near-window"]] {
            let run = place.unstick(&[&["repair", "--dry-run", "--json", SHAPE][..], args].concat()).json();
            assert_eq!(run["plan"]["sessions"], json!([]), "{code} {args:?}");
        }
        // Whoever does not ask is told how.
        let left = place.unstick(&["repair", "--yes", "--json", SHAPE]).exits(1).json();
        assert_eq!(left["left"][0]["reason"], "not-included", "{left}");
        let told = place.unstick(&["repair", "--dry-run"]).exits(1).stdout;
        assert!(told.contains("1 session is dead"), "a store is looked through for them, too: {told}");
        let told = place.unstick(&["repair", SHAPE]).exits(1).stdout;
        assert!(told.contains("1 session is dead") && told.contains(&format!("--include {include}")), "{told}");
        let shown = place.unstick(&["repair", "--dry-run", SHAPE, "--include", include]).exits(1).stdout;
        assert!(!shown.contains("is dead"), "{shown}");
        assert!(shown.contains("not without loss"), "{shown}");
        let run = place.repair_with(&[SHAPE, "--include", include]).exits(0).json();
        let plan = &run["plan"]["sessions"][0];
        assert_eq!(plan["leaves"][0]["code"], code);
        assert!(plan["edits"].as_array().unwrap().iter().all(|e| e["reason"] == code || e["op"] == "insert"));
        assert_eq!(said(&place, &[]).0, "healthy", "{code}");
        let again = place.repair_with(&[SHAPE, "--include", include]).exits(0).json();
        assert_eq!(again["plan"]["sessions"], json!([]), "{code}");
        place.unstick(&["undo", "--yes"]).exits(0);
        assert!(before == place.dump(), "{code}: undo has not given the rows back");
    }
}

#[test]
fn of_several_files_only_what_is_refused_leaves() {
    let file = |width| json!({"type": "file", "mime": "image/png", "url": url(&png(width, 3))});
    let files = [file(10), file(9_000), file(11), file(9_001)];
    let place = with("tool", |part| part["state"]["attachments"] = json!(files));
    let before = place.dump();
    let run = place.repair_with(&[SHAPE, "--include", "media"]).exits(0).json();
    let leaves = run["plan"]["sessions"][0]["leaves"].as_array().unwrap();
    let places: BTreeSet<_> = leaves.iter().map(|l| l["attachment"].as_u64().unwrap()).collect();
    assert_eq!(places, BTreeSet::from([1, 3]), "counted as they are stored");
    let left = place.text(&format!(
        "SELECT json_extract(data, '$.state.attachments') FROM part WHERE session_id = '{}' \
         AND json_extract(data, '$.type') = 'tool'",
        session()
    ));
    assert_eq!(serde_json::from_str::<Value>(&left).unwrap(), json!([file(10), file(11)]));
    place.unstick(&["undo", "--yes"]).exits(0);
    assert!(before == place.dump());
}

#[test]
fn a_healthy_session_is_in_no_plan_whatever_is_asked_for() {
    let place = attached(&png(9_000, 3));
    let everything = "at-risk,latent,unsettled,near-window,blank-text,media,calls,signatures,reasoning";
    let scan = place.scan();
    let healthy: Vec<&str> =
        scan.by_id().into_iter().filter(|(_, s)| s["status"] == "healthy").map(|(id, _)| id).collect();
    let before = place.dump();
    let run = place.repair_with(&["--include", everything]).json();
    let planned: Vec<&str> =
        run["plan"]["sessions"].as_array().unwrap().iter().map(|s| s["id"].as_str().unwrap()).collect();
    assert!(planned.contains(&session().as_str()));
    for id in healthy {
        let unsettled = scan.by_id()[id]["findings"].as_array().unwrap().iter().any(|f| f["code"] == "unsettled-tool");
        assert!(unsettled || !planned.contains(&id), "{id}");
        assert!(unsettled || before.of_session(id) == place.dump().of_session(id), "{id}");
    }
}

#[test]
fn files_that_leave_are_saved_once_and_never_over_another() {
    let bytes = png(9_000, 3);
    let place = attached(&bytes);
    let folder = place.root().join("files");
    let args = ["--include", "media", "--extract", "files"];
    place.repair_with(&args).exits(0);
    let files: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(files.len(), 1);
    assert_eq!(fs::read(&files[0]).unwrap(), bytes);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(&files[0]).unwrap().permissions().mode() & 0o777, 0o600);
    }
    place.unstick(&["undo", "--yes"]).exits(0);
    let before = place.dump();
    place.repair_with(&args).exits(2);
    assert!(before == place.dump(), "the file is there, so nothing is taken out");
    #[cfg(unix)]
    {
        let elsewhere = place.root().join("elsewhere");
        fs::remove_file(&files[0]).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &files[0]).unwrap();
        place.repair_with(&args).exits(2);
        assert!(!elsewhere.exists(), "a link was followed");
        assert!(before == place.dump());
    }
}

#[test]
fn explain_marks_what_is_refused_and_stats_count_it() {
    let place = attached(&png(9_000, 3));
    asked(
        &place,
        1,
        Some("messages.2.content.0.tool_result.content.1.image.source.base64.data: image dimensions exceed"),
    );
    asked(&place, 2, Some("max_tokens: must be at least 1"));
    let text = place.unstick(&["explain", SHAPE]).exits(0).stdout;
    assert!(text.contains("Every prompt is refused") && text.contains("< refused: image-size"), "{text}");
    // Nothing beside it says otherwise, and it leads on.
    assert!(
        text.contains("a retry is refused as well") && text.contains("1.18.21 and newer        is refused"),
        "{text}"
    );
    assert!(text.contains("What `unstick repair --include media` would do"), "{text}");
    let line = place.unstick(&["explain", "-q", SHAPE]).exits(0).stdout;
    assert!(line.lines().count() == 1 && line.contains("stored here: unopenable-row: "), "one line says why: {line}");
    let stats = place.unstick(&["stats", "--json"]).exits(0).json();
    assert_eq!(stats["other_400s_by_class"], json!({"image-pixels": 1, "other": 1}));
    assert_eq!(stats["other_400s"], 2);
}

/// What some package sends with an empty thinking or text is not nothing: such an answer is not removed.
#[test]
fn an_answer_of_provider_metadata_alone_is_not_removed() {
    let metadata = [
        json!({"openai": {"itemId": "rs_1", "reasoningEncryptedContent": "gAAAA"}}),
        json!({"openrouter": {"reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}]}}),
        json!({"copilot": {"reasoningOpaque": "x"}}),
        json!({"google": {"thoughtSignature": "x"}}),
        json!({"nobody-knows": {"what": 1}}),
    ];
    for (kind, metadata) in ["reasoning", "text"].iter().flat_map(|kind| metadata.iter().map(move |m| (kind, m))) {
        let place = Place::named(STORE);
        let part = json!({"type": kind, "text": "", "metadata": metadata, "time": {"start": 1}});
        answered(&place, 1, None, &[json!({"type": "step-start"}), part]);
        let run = place.repair_with(&[&[SHAPE][..], &PROXY].concat()).json();
        let edits = run["plan"]["sessions"].as_array().unwrap().iter().flat_map(|s| s["edits"].as_array().unwrap());
        let removed: Vec<_> = edits.filter(|edit| edit["op"] == "delete").collect();
        assert!(removed.is_empty(), "{kind} {metadata}: {removed:?}");
        assert!(place.dump().row("part", "prt_v1_1").is_some(), "{kind} {metadata}");
    }
}

/// A plain repair of its tail would make the session look healthy, and every prompt would still be refused.
#[test]
fn a_plain_repair_does_not_hide_what_every_prompt_is_refused_for() {
    let place = Place::named(STORE);
    let thinking = json!({"type": "reasoning", "text": "hmm", "time": {"start": 1}});
    answered(&place, 1, None, &[json!({"type": "step-start"}), thinking]);
    assert_eq!(said(&place, &[]).0, "dead");
    place.repair_with(&[SHAPE]).exits(1);
    assert_eq!(said(&place, &[]).0, "dead");
    place.repair_with(&["--include", "blank-text", SHAPE]).exits(0);
    assert_eq!(said(&place, &[]), sound());
}
