//! Rows that cannot be understood are named, and their session is left alone; rows that are only unusual are
//! repaired without losing a byte.

use serde_json::Value;

use crate::dump::{Dump, text};
use crate::fixtures::{self, Fixture};
use crate::place::Place;

const STORE: &str = "1.18.33";

/// A stuck session, so that leaving it alone can be seen.
const BROKEN: &str = "rstpar";

/// The stuck sessions beside it.
const OTHERS: [&str; 4] = ["abort-text", "empty-after-healthy", "empty-after-orphan", "overaftertool"];

/// A store with one bad row.
struct Spoilt {
    fixture: Fixture,
    place: Place,
}

impl Spoilt {
    fn new() -> Self {
        let fixture = fixtures::one(STORE);
        Self { place: Place::of(&fixture), fixture }
    }

    /// A row of the session to be broken: its nth answer, or the nth part of type `kind` in it.
    fn id(&self, table: &str, kind: &str, nth: usize) -> String {
        let key = if table == "message" { "role" } else { "type" };
        self.place.text(&format!(
            "SELECT id FROM {table} WHERE session_id = '{}' AND json_extract(data, '$.{key}') = '{kind}' ORDER BY id LIMIT 1 OFFSET {nth}",
            self.fixture.id(BROKEN)
        ))
    }

    /// The row is reported, its session is unreadable and stays as it is, and the others are repaired.
    fn is_left_alone(&self, table: &str, id: &str, detail: &str) {
        let session = self.fixture.id(BROKEN);
        let at = format!("{table} {id} ({detail})");
        let scan = self.place.scan();
        // The stuck ones decide; a row that cannot be read is only said.
        assert_eq!(scan.run.code, 1, "{at}");
        let rows = scan.document["unreadable_rows"].as_array().unwrap();
        assert_eq!(rows.len(), 1, "{at}: {rows:?}");
        assert_eq!((&rows[0]["table"], &rows[0]["id"]), (&table.into(), &id.into()), "{at}");
        assert_eq!(rows[0]["session_id"], session, "{at}");
        assert!(rows[0]["detail"].as_str().unwrap().contains(detail), "{at}: {}", rows[0]);
        let found = scan.by_id()[session];
        assert_eq!(found["status"], "unreadable", "{at}");
        assert!(found["resume"].as_object().unwrap().values().all(|r| r == "unreadable"), "{at}: {found}");
        assert_eq!(scan.titles("stuck"), OTHERS, "{at}");
        assert_eq!(scan.document["summary"]["unreadable"], 1, "{at}");
        let human = self.place.unstick(&["scan"]).exits(1).stdout;
        assert!(human.contains("1 row could not be understood"), "{at}: {human}");

        let before = self.place.dump();
        let named = self.place.repair_with(&[session]).exits(1).json();
        assert_eq!(named["left"][0]["reason"], "unreadable", "{at}");
        assert!(before == self.place.dump(), "{at}");
        self.place.repair_with(&[]).exits(0);
        let after = self.place.dump();
        assert_eq!(before.of_session(session), after.of_session(session), "{at}");
        assert_eq!(self.place.scan().titles("stuck"), Vec::<&str>::new(), "{at}");
        // Nothing stuck is left, and unreadable rows alone do not raise the code.
        self.place.unstick(&["scan"]).exits(0);
    }
}

/// The row's data, set to an SQL value that the caller writes, is reported with `detail`.
fn data_is_reported(table: &str, kind: &str, value: &str, detail: &str) {
    let spoilt = Spoilt::new();
    let id = spoilt.id(table, kind, 0);
    spoilt.place.edit(&format!("UPDATE {table} SET data = {value} WHERE id = '{id}'"));
    spoilt.is_left_alone(table, &id, detail);
}

/// The row's data after a change of its JSON is reported with `detail`.
fn shape_is_reported(table: &str, kind: &str, from: &str, to: &str, detail: &str) {
    let spoilt = Spoilt::new();
    let id = spoilt.id(table, kind, 0);
    spoilt.place.rewrite(table, &id, |data| data.replacen(from, to, 1));
    spoilt.is_left_alone(table, &id, detail);
}

#[test]
fn data_that_is_not_json() {
    data_is_reported("message", "assistant", "'{\"role\":\"assistant\"'", "not JSON");
    data_is_reported("message", "user", "''", "not JSON");
    data_is_reported("part", "text", "'{\"type\":\"text\",\"text\":\"a\u{1}b\"}'", "not JSON");
    data_is_reported("part", "tool", "substr(data, 1, 40)", "not JSON");
}

/// Of a sound session a scan reads no more than a walk over its rows: that has to see it.
#[test]
fn a_bad_row_of_a_sound_session_is_reported_as_well() {
    let fixture = fixtures::one(STORE);
    let session = fixture.id("healthy");
    for (table, data) in [
        ("message", "substr(data, 1, length(data) - 1)"),
        ("message", "CAST(data AS BLOB)"),
        ("part", "substr(data, 1, length(data) - 1)"),
        ("part", "replace(data, '\"type\":', '\"kind\":')"),
        ("part", "CAST(data AS BLOB)"),
    ] {
        let place = Place::of(&fixture);
        let id = place.text(&format!("SELECT max(id) FROM {table} WHERE session_id = '{session}'"));
        place.edit(&format!("UPDATE {table} SET data = {data} WHERE id = '{id}'"));
        let scan = place.scan();
        assert_eq!(scan.titles("unreadable"), ["healthy"], "{table} {data}");
        let rows = scan.document["unreadable_rows"].as_array().unwrap();
        assert_eq!(rows.len(), 1, "{table} {data}: {rows:?}");
        assert_eq!((&rows[0]["table"], &rows[0]["id"]), (&table.into(), &id.as_str().into()), "{data}");
        assert_eq!(rows[0]["session_id"], session, "{table} {data}");
    }
}

#[test]
fn data_that_is_no_object() {
    data_is_reported("message", "assistant", "'[1]'", "not a JSON object");
    data_is_reported("part", "text", "'null'", "not a JSON object");
    // The column's kind makes a text of the number.
    data_is_reported("part", "text", "17", "not a JSON object");
}

#[test]
fn data_that_is_a_blob() {
    data_is_reported("message", "assistant", "CAST(data AS BLOB)", "`data` is a blob, expected text");
    data_is_reported("part", "text", "x'00ff'", "`data` is a blob, expected text");
}

#[test]
fn data_that_is_not_utf_8() {
    data_is_reported("part", "text", "CAST(x'7b2274797065223a2274657874222c2274657874223a22ff227d' AS TEXT)", "UTF-8");
    data_is_reported("message", "user", "CAST(x'c328' AS TEXT)", "UTF-8");
}

#[test]
fn a_message_of_the_wrong_shape() {
    for (kind, from, to, detail) in [
        ("assistant", "\"role\":\"assistant\",", "", "`role` is missing"),
        ("assistant", "\"role\":\"assistant\"", "\"role\":\"system\"", "`role` is neither"),
        ("assistant", "\"created\":1", "\"created\":\"1\",\"was\":1", "`created` is not a number"),
        ("user", "\"time\":{", "\"when\":{", "`time.created` is missing"),
        ("assistant", "\"finish\":\"stop\"", "\"finish\":7", "`finish` is not a string"),
        ("assistant", "\"modelID\":", "\"model\":", "`modelID` is missing"),
        ("user", "\"modelID\":", "\"model\":", "`modelID` is missing"),
        ("assistant", "\"tokens\":{", "\"tokens\":[],\"old\":{", "`tokens` is not an object"),
        ("assistant", "\"input\":10", "\"input\":\"10\"", "`input` is not a number"),
        ("assistant", "\"parentID\":\"", "\"parentID\":5,\"was\":\"", "`parentID` is not a string"),
        ("assistant", "\"finish\":", "\"error\":\"boom\",\"finish\":", "`error` is not an object"),
    ] {
        shape_is_reported("message", kind, from, to, detail);
    }
}

#[test]
fn a_part_of_the_wrong_shape() {
    for (kind, from, to, detail) in [
        ("text", "\"type\":\"text\",", "", "`type` is missing"),
        ("text", "\"text\":\"please", "\"text\":1,\"was\":\"please", "`text` is not a string"),
        ("tool", "\"status\":\"completed\"", "\"status\":\"done\"", "`state.status`"),
        ("tool", "\"status\":\"completed\"", "\"status\":null", "`status` is missing"),
        ("tool", "\"state\":", "\"was\":", "`state` is missing"),
        ("tool", "\"callID\":", "\"was\":", "`callID` is missing"),
        ("tool", "\"tool\":", "\"was\":", "`tool` is missing"),
        ("tool", "\"time\":", "\"was\":", "`state.time` is missing"),
    ] {
        shape_is_reported("part", kind, from, to, detail);
    }
}

#[test]
fn columns_of_the_wrong_kind() {
    for (table, kind, column, value, detail) in [
        ("message", "assistant", "time_created", "'soon'", "`time_created` is text, expected an integer"),
        ("message", "user", "time_updated", "1.5", "`time_updated` is a real number"),
        ("part", "text", "time_created", "x'00'", "`time_created` is a blob"),
    ] {
        let spoilt = Spoilt::new();
        let id = spoilt.id(table, kind, 0);
        spoilt.place.edit(&format!("UPDATE {table} SET {column} = {value} WHERE id = '{id}'"));
        spoilt.is_left_alone(table, &id, detail);
    }
}

#[test]
fn an_id_that_is_no_text_is_named_by_its_rowid() {
    let spoilt = Spoilt::new();
    let id = spoilt.id("part", "step-finish", 0);
    let rowid = spoilt.place.text(&format!("SELECT CAST(rowid AS TEXT) FROM part WHERE id = '{id}'"));
    spoilt.place.edit(&format!("UPDATE part SET id = NULL WHERE id = '{id}'"));
    spoilt.is_left_alone("part", &format!("rowid {rowid}"), "`id` is null");
}

#[test]
fn a_part_without_its_message() {
    let spoilt = Spoilt::new();
    let id = spoilt.id("part", "text", 1);
    spoilt.place.edit(&format!("UPDATE part SET message_id = 'msg_gone' WHERE id = '{id}'"));
    spoilt.is_left_alone("part", &id, "its message does not exist");
}

#[test]
fn a_part_without_its_message_is_seen_beside_a_message_without_an_id() {
    let spoilt = Spoilt::new();
    let id = spoilt.id("part", "text", 1);
    let healthy = spoilt.fixture.id("healthy");
    spoilt.place.edit(&format!(
        "UPDATE part SET message_id = 'msg_gone' WHERE id = '{id}';
         INSERT INTO message SELECT NULL, session_id, time_created, time_updated, data FROM message
         WHERE session_id = '{healthy}' LIMIT 1;"
    ));
    let scan = spoilt.place.scan();
    assert_eq!(scan.titles("unreadable"), ["healthy", BROKEN]);
    let rows = scan.document["unreadable_rows"].as_array().unwrap();
    assert!(rows.iter().any(|r| r["id"] == id.as_str()), "{rows:?}");
}

#[test]
fn a_message_without_its_session() {
    let place = Place::named(STORE);
    let stray = fixtures::one(STORE).id("healthy").to_owned();
    place.edit(&format!(
        "UPDATE message SET session_id = 'ses_gone' WHERE session_id = '{stray}' AND data LIKE '%\"user\"%'"
    ));
    let scan = place.scan();
    let rows = scan.document["unreadable_rows"].as_array().unwrap();
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!((&rows[0]["table"], &rows[0]["session_id"]), (&"message".into(), &"ses_gone".into()));
    assert!(rows[0]["detail"].as_str().unwrap().contains("session does not exist"), "{rows:?}");
    let before = place.dump();
    place.repair_with(&[]).exits(0);
    let after = place.dump();
    assert_eq!(before.of_session("ses_gone"), after.of_session("ses_gone"));
}

/// The session's own row cannot be read: it is reported by its id, and its rows stay.
fn session_row_is_reported(place: &Place, session: &str, detail: &str) {
    let scan = place.scan();
    let rows = scan.document["unreadable_rows"].as_array().unwrap();
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!((&rows[0]["table"], &rows[0]["id"]), (&"session".into(), &session.into()));
    assert!(rows[0]["detail"].as_str().unwrap().contains(detail), "{rows:?}");
    assert_eq!(scan.by_id()[session]["status"], "unreadable");
    assert_eq!(scan.titles("stuck"), OTHERS);
    let before = place.dump();
    place.repair_with(&[]).exits(0);
    assert_eq!(before.of_session(session), place.dump().of_session(session));
}

#[test]
fn a_session_without_a_title() {
    let Spoilt { fixture, place } = Spoilt::new();
    place.edit_schema("session", "`title` text NOT NULL", "`title` text");
    place.edit(&format!("UPDATE session SET title = NULL WHERE id = '{}'", fixture.id(BROKEN)));
    session_row_is_reported(&place, fixture.id(BROKEN), "`title` is null");
}

#[test]
fn a_session_whose_columns_are_of_the_wrong_kind() {
    for (column, value, detail) in [
        ("title", "x'ff'", "`title` is a blob"),
        ("time_updated", "'yesterday'", "`time_updated` is text"),
        ("directory", "CAST(x'c3' AS TEXT)", "`directory` is not valid UTF-8"),
        ("revert", "'not json'", "`revert`"),
        ("revert", "'{\"partID\":\"prt_1\"}'", "`messageID` is missing"),
        ("revert", "'[]'", "`revert`"),
    ] {
        let Spoilt { fixture, place } = Spoilt::new();
        place.edit(&format!("UPDATE session SET {column} = {value} WHERE id = '{}'", fixture.id(BROKEN)));
        session_row_is_reported(&place, fixture.id(BROKEN), detail);
    }
}

#[test]
fn a_session_whose_history_is_elsewhere() {
    let Spoilt { fixture, place } = Spoilt::new();
    let session = fixture.id(BROKEN);
    place.edit(&format!(
        "DELETE FROM part WHERE session_id = '{session}'; DELETE FROM message WHERE session_id = '{session}';
         INSERT INTO session_message (id, session_id, type, seq, time_created, time_updated, data)
         VALUES ('x', '{session}', 'user', 0, 1, 1, '{{}}');"
    ));
    session_row_is_reported(&place, session, "`session_message` alone");
}

#[test]
fn an_empty_session_is_healthy() {
    let Spoilt { fixture, place } = Spoilt::new();
    let session = fixture.id(BROKEN);
    place.edit(&format!(
        "DELETE FROM part WHERE session_id = '{session}'; DELETE FROM message WHERE session_id = '{session}'"
    ));
    assert_eq!(place.scan().status(BROKEN), "healthy");
}

/// Members that JavaScript reads and other JSON readers refuse or change.
fn odd_members() -> String {
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    format!(
        r#" "odd" : "\ud800 \u0000 \/ é","big":1e400,"n":-0.10e+1,"twice":1,"twice":{{"a":1,"a":2}},"deep":{deep} ,"#
    )
}

/// The session's rows with odd members at the start of each row's JSON.
fn made_odd(place: &Place, session: &str) -> Dump {
    for row in place.dump().of_session(session) {
        let table = if row.contains_key("message_id") { "part" } else { "message" };
        place.rewrite(table, text(row, "id"), |data| data.replacen('{', &format!("{{{}", odd_members()), 1));
    }
    place.dump()
}

/// JSON at which the odd members were put in front, without them.
fn plain(data: &str) -> Value {
    let at = data.find(&odd_members()).unwrap_or_else(|| panic!("the odd members are gone: {}", &data[..80]));
    serde_json::from_str(&(data[..at].to_owned() + &data[at + odd_members().len()..])).unwrap()
}

#[test]
fn odd_rows_are_understood() {
    let place = Place::named(STORE);
    let plain = place.scan();
    for shape in ["rstpar", "abort-text", "maxsteps"] {
        made_odd(&place, fixtures::one(STORE).id(shape));
    }
    assert_eq!(place.scan().document["sessions"], plain.document["sessions"]);
}

#[test]
fn a_settled_row_keeps_every_byte_but_its_finish() {
    let Spoilt { fixture, place } = Spoilt::new();
    let before = made_odd(&place, fixture.id("abort-text"));
    place.repair_with(&["abort-text"]).exits(0);
    let after = place.dump();
    let mut settled = 0;
    for (old, new) in
        before.of_session(fixture.id("abort-text")).into_iter().zip(after.of_session(fixture.id("abort-text")))
    {
        let (old, new) = (text(old, "data"), text(new, "data"));
        if old != new {
            settled += 1;
            assert_eq!(new, format!("{},\"finish\":\"stop\"}}", &old[..old.len() - 1]));
        }
    }
    assert_eq!(settled, 1);
}

#[test]
fn a_split_row_keeps_every_byte_but_its_finish_and_totals() {
    let Spoilt { fixture, place } = Spoilt::new();
    let session = fixture.id("rstpar");
    let before = made_odd(&place, session);
    place.repair_with(&["rstpar"]).exits(0);
    let after = place.dump();
    let source =
        before.of_session(session).into_iter().map(|r| text(r, "id")).find(|id| {
            before.row("message", id).is_some() && before.data("message", id).contains("\"finish\":\"stop\"")
        });
    let source = source.unwrap();
    let made =
        after.rows("message").iter().map(|r| text(r, "id")).find(|id| before.row("message", id).is_none()).unwrap();
    let old = before.data("message", source);
    assert_eq!(after.data("message", made), old, "the second row is the first one's copy");
    let tokens = r#""tokens":{"total":15,"input":10,"output":5,"reasoning":0,"cache":{"write":0,"read":0}}"#;
    let none = r#""tokens":{"input":0,"output":0,"reasoning":0,"cache":{"read":0,"write":0}}"#;
    assert!(old.contains(tokens));
    let expected = old.replace(tokens, none).replace("\"finish\":\"stop\"", "\"finish\":\"tool-calls\"");
    assert_eq!(after.data("message", source), expected);
    let moved: Vec<_> = after.parts(made).into_iter().map(|p| (text(p, "id"), text(p, "data"))).collect();
    assert_eq!(moved.len(), 3);
    for (id, data) in moved {
        assert_eq!(data, before.data("part", id));
        plain(data);
    }
}

#[test]
fn a_member_that_stands_twice_is_edited_where_javascript_reads_it() {
    let Spoilt { fixture, place } = Spoilt::new();
    let session = fixture.id("abort-text");
    let answer =
        place.text(&format!("SELECT id FROM message WHERE session_id = '{session}' AND data LIKE '%Aborted%'"));
    place.rewrite("message", &answer, |data| data.replacen('{', r#"{"finish":"stop","finish" : null,"#, 1));
    // opencode cannot read a `finish` that is null; the repair fills it.
    assert_eq!(place.scan().status("abort-text"), "unopenable");
    let old = place.dump();
    place.repair_with(&["abort-text"]).exits(0);
    let expected = old.data("message", &answer).replacen("\"finish\" : null", "\"finish\" : \"stop\"", 1);
    assert_eq!(place.dump().data("message", &answer), expected);
    assert_eq!(place.scan().status("abort-text"), "healthy");
}
