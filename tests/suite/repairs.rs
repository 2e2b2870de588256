//! `repair --yes --opencode any` on a copy of every real store: what it reaches and what it leaves alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use opencode_unstick::history::Session;
use opencode_unstick::replay::{BlockKind, RULE_SETS, RuleSet, Sdk, TurnRole, after_revert, newest, prompt, view};
use opencode_unstick::store::{SessionEntry, with_snapshot};
use serde_json::{Value, json};

use crate::built::Built;
use crate::dump::{Cell, Dump, Row, WRITTEN, copied, int, key, text};
use crate::fixtures::{self, Fixture};
use crate::place::{Files, Place, Run, Scan};

/// Sessions that a repair of everything leaves: store, title, reason.
const LEFT: [(&str, &str, &str); 0] = [];

/// A real store that was repaired twice.
struct Repaired {
    fixture: Fixture,
    place: Place,
    scan_before: Scan,
    before: Dump,
    prompts_before: Prompts,
    run: Run,
    after: Dump,
    files: Files,
    again: Run,
    files_again: Files,
}

/// The turns of a prompt that say something, as the parts that they come from.
type Turns = Vec<(TurnRole, Vec<(BlockKind, Option<String>)>)>;

/// The next prompt by session and rule set, for the history as it is and with its revert carried out.
type Prompts = BTreeMap<(String, &'static str, bool), Turns>;

const EVERYTHING: [&str; 2] = ["--opencode", "any"];

/// The real stores, repaired once for all tests of this module.
static REPAIRED: LazyLock<Vec<Repaired>> = LazyLock::new(|| fixtures::all().into_iter().map(Repaired::new).collect());

impl Repaired {
    fn new(fixture: Fixture) -> Self {
        let place = Place::of(&fixture);
        let (scan_before, before) = (place.scan_with(&EVERYTHING), place.dump());
        let prompts_before = prompts(&place, &fixture);
        let run = place.repair_with(&EVERYTHING);
        let (after, files) = (place.dump(), place.files());
        let again = place.repair_with(&EVERYTHING);
        let files_again = place.files();
        Self { fixture, place, scan_before, before, prompts_before, run, after, files, again, files_again }
    }

    fn name(&self) -> &str {
        &self.fixture.name
    }

    /// What must be left of this store.
    fn left(&self) -> Vec<(&str, &str)> {
        LEFT.iter().filter(|(store, ..)| *store == self.name()).map(|(_, title, why)| (*title, *why)).collect()
    }

    /// The sessions that the plan names.
    fn planned(&self) -> BTreeSet<String> {
        planned(&self.run.json())
    }
}

fn planned(document: &Value) -> BTreeSet<String> {
    document["plan"]["sessions"].as_array().unwrap().iter().map(|s| s["id"].as_str().unwrap().to_owned()).collect()
}

fn prompts(place: &Place, fixture: &Fixture) -> Prompts {
    let sdk = Sdk::new(fixture.sessions.sdk.values().next().unwrap());
    with_snapshot(&place.db(), |store| {
        let mut out = Prompts::new();
        for entry in store.sessions()? {
            let SessionEntry::Readable(info) = entry else { panic!("{entry:?}") };
            let loaded = store.load(&info)?;
            assert!(loaded.unreadable.is_empty(), "{:?}", loaded.unreadable);
            for set in &RULE_SETS {
                out.insert((info.id.clone(), set.key, false), said(&loaded.session, set, &sdk));
                out.insert((info.id.clone(), set.key, true), said(&after_revert(&loaded.session, set), set, &sdk));
            }
        }
        Ok(out)
    })
    .unwrap()
}

fn said(session: &Session, set: &RuleSet, sdk: &Sdk) -> Turns {
    let seen = view(&session.messages, set);
    let model = newest(&seen, set).user.and_then(|m| m.user()).and_then(|u| u.model.as_deref());
    prompt(&seen, set, sdk, model)
        .turns
        .into_iter()
        .map(|turn| {
            let blocks = turn.blocks.iter().filter(|b| !b.kind.is_empty());
            (turn.role, blocks.map(|b| (b.kind, b.part_id().map(str::to_owned))).collect::<Vec<_>>())
        })
        .filter(|(_, blocks)| !blocks.is_empty())
        .collect()
}

#[test]
fn no_session_stays_stuck_under_any_rule_set() {
    let mut repaired = 0;
    for store in REPAIRED.iter() {
        let name = store.name();
        let document = store.run.json();
        let left: Vec<(&str, &str)> = document["left"]
            .as_array()
            .unwrap()
            .iter()
            .map(|l| {
                let id = l["id"].as_str().unwrap();
                (store.fixture.verdicts[id].title.as_str(), l["reason"].as_str().unwrap())
            })
            .collect();
        assert_eq!(left, store.left(), "{name}");
        assert_eq!(store.run.code, i32::from(!left.is_empty()), "{name}: {:?}", store.run);
        assert_eq!(document["applied"], true, "{name}");
        let scan = store.place.scan_with(&EVERYTHING);
        let still: Vec<_> =
            scan.not_resuming().into_iter().filter(|(t, _)| !left.iter().any(|(l, _)| l == t)).collect();
        assert!(still.is_empty(), "{name}: {still:?}");
        assert_eq!(scan.run.code, store.run.code, "{name}");
        repaired += store.planned().len();
    }
    assert!(repaired >= 56, "only {repaired} sessions were repaired");
}

#[test]
fn a_second_repair_has_nothing_to_do_and_writes_nothing() {
    for store in REPAIRED.iter() {
        let document = store.again.json();
        assert_eq!(document["plan"]["sessions"], Value::Array(Vec::new()), "{}", store.name());
        assert_eq!(document["applied"], false, "{}", store.name());
        assert_eq!(store.again.code, i32::from(!store.left().is_empty()), "{}", store.name());
        store.files.assert_still(&store.files_again, "the second repair");
    }
}

#[test]
fn exactly_the_sessions_that_some_rule_set_does_not_let_resume_are_planned() {
    for store in REPAIRED.iter() {
        let stuck: BTreeSet<String> = store
            .scan_before
            .not_resuming()
            .into_iter()
            .filter(|(title, _)| !store.left().iter().any(|(left, _)| left == title))
            .map(|(title, _)| store.scan_before.session(title)["id"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(store.planned(), stuck, "{}", store.name());
        // What a real opencode found sound is in no plan, unless another real opencode did not.
        let judged = |seen: &str| -> BTreeSet<String> {
            let cells = store.fixture.retry_cells();
            cells.iter().filter(|c| c.seen.to_string() == seen).map(|c| c.session.to_owned()).collect()
        };
        assert!(judged("ends-with-assistant").is_subset(&stuck), "{}", store.name());
        assert!(judged("runs-task").is_disjoint(&stuck), "{}", store.name());
    }
}

/// A prompt that names no agent or model goes to those of the newest prompt in the store.
#[test]
fn an_empty_prompt_that_chose_another_agent_or_model_stays() {
    for member in ["agent", "model.modelID"] {
        for shape in ["empty-after-orphan", "empty-after-healthy"] {
            let place = Place::named("1.18.33");
            let id = fixtures::one("1.18.33").id(shape).to_owned();
            let newest = "SELECT id FROM message WHERE session_id = ?1 AND data LIKE '%\"role\":\"user\"%' \
                          ORDER BY time_created DESC, id DESC LIMIT 1";
            let row: String = place.sql().query_row(newest, [&id], |row| row.get(0)).unwrap();
            let removed = |place: &Place| {
                let edits = &place.repair_with(&[&id]).json()["plan"]["sessions"][0]["edits"];
                edits.as_array().is_some_and(|all| all.iter().any(|e| e["op"] == "delete" && e["id"] == row.as_str()))
            };
            place
                .edit(&format!("UPDATE message SET data = json_set(data, '$.{member}', 'another') WHERE id = '{row}'"));
            assert!(!removed(&place), "{member} {shape}");
            assert!(removed(&Place::named("1.18.33")), "{shape}");
        }
    }
}

#[test]
fn rows_of_sessions_outside_of_the_plan_stay_byte_for_byte() {
    for store in REPAIRED.iter() {
        let planned = store.planned();
        let untouched: Vec<_> = store.fixture.verdicts.keys().filter(|id| !planned.contains(*id)).collect();
        assert!(!untouched.is_empty());
        for id in untouched {
            assert_eq!(store.before.of_session(id), store.after.of_session(id), "{} {id}", store.name());
        }
    }
}

#[test]
fn every_table_but_the_history_and_its_log_stays_byte_for_byte() {
    for store in REPAIRED.iter() {
        let (before, after) = (store.before.of_other_tables(), store.after.of_other_tables());
        assert!(before.0.contains_key("session"));
        assert!(before == after, "{}: {:?}", store.name(), before.difference(&after));
    }
}

#[test]
fn an_event_log_only_grows_at_its_end_and_only_for_planned_sessions() {
    let mut told = 0;
    for store in REPAIRED.iter() {
        let planned = store.planned();
        let (before, after) = (store.before.rows_if_any("event"), store.after.rows_if_any("event"));
        let (old, new) = after.split_at(before.len());
        assert!(old == before, "{}: an event that was there has changed", store.name());
        told += new.len();
        let mut ends: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
        for event in new {
            let session = text(event, "aggregate_id");
            assert!(planned.contains(session), "{} {session}", store.name());
            ends.entry(session).or_default().push(int(event, "seq"));
        }
        for old in store.before.rows_if_any("event_sequence") {
            let session = text(old, "aggregate_id");
            let mut expected = old.clone();
            let seqs = ends.remove(session).unwrap_or_default();
            let next: Vec<i64> = (int(old, "seq") + 1..).take(seqs.len()).collect();
            assert_eq!(seqs, next, "{} {session}", store.name());
            if let Some(last) = seqs.last() {
                expected.insert("seq".to_owned(), Cell::Int(*last));
            }
            assert_eq!(store.after.row("event_sequence", session), Some(&expected), "{}", store.name());
        }
        assert!(ends.is_empty(), "{}: {ends:?} have no sequence", store.name());
        let logged = |id: &&String| before.iter().any(|e| text(e, "aggregate_id") == id.as_str());
        let silent: Vec<_> = planned
            .iter()
            .filter(logged)
            .filter(|id| !new.iter().any(|e| text(e, "aggregate_id") == id.as_str()))
            .collect();
        assert!(silent.is_empty(), "{}: the log of {silent:?} was told nothing", store.name());
    }
    assert!(told > 0);
}

/// Whether the part is at most a mark or a text without a character.
fn says_nothing(part: &Row) -> bool {
    let data: Value = serde_json::from_str(text(part, "data")).unwrap();
    ["step-start", "step-finish"].contains(&data["type"].as_str().unwrap()) || data["text"] == ""
}

#[test]
fn no_part_that_says_something_is_lost_or_changed() {
    for store in REPAIRED.iter() {
        for old in store.before.rows("part") {
            let id = text(old, "id");
            let Some(new) = store.after.row("part", id) else {
                assert!(says_nothing(old), "{} lost {id}", store.name());
                continue;
            };
            for column in ["data", "rowid", "time_created", "session_id"] {
                assert_eq!(new[column], old[column], "{} {id} {column}", store.name());
            }
        }
        assert!(store.after.rows("part").len() <= store.before.rows("part").len(), "{}", store.name());
    }
}

#[test]
fn a_message_that_goes_held_nothing() {
    let mut gone = 0;
    for store in REPAIRED.iter() {
        for old in store.before.rows("message").iter().filter(|m| store.after.row("message", text(m, "id")).is_none()) {
            gone += 1;
            let data: Value = serde_json::from_str(text(old, "data")).unwrap();
            let parts = store.before.parts(text(old, "id"));
            let at = format!("{} {data}", store.name());
            if data["role"] == "assistant" {
                assert!(data["finish"].is_null() && data["cost"] == 0 && data["tokens"]["output"] == 0, "{at}");
                let refused = data["error"]["data"]["message"].as_str().is_some_and(|m| m.contains("prefill"));
                assert!(refused || data["error"].is_null() || data["error"]["name"] == "MessageAbortedError", "{at}");
                assert!(parts.iter().all(|p| says_nothing(p)), "{at}");
            } else {
                assert!(parts.is_empty(), "{at}");
            }
        }
    }
    assert!(gone > 0);
}

#[test]
fn the_next_prompt_of_every_session_sends_the_same() {
    let mut sessions = BTreeSet::new();
    for store in REPAIRED.iter() {
        let after = prompts(&store.place, &store.fixture);
        for (key, before) in &store.prompts_before {
            assert_eq!(before, &after[key], "{} {key:?}", store.name());
            sessions.insert((store.name(), &key.0));
        }
    }
    assert!(sessions.len() >= 161, "only {} sessions", sessions.len());
}

#[test]
fn cost_and_tokens_of_every_session_add_up_to_the_same() {
    const SUMS: &str =
        "SELECT session_id, sum(json_extract(data, '$.cost')), sum(json_extract(data, '$.tokens.total')),
        sum(json_extract(data, '$.tokens.input')), sum(json_extract(data, '$.tokens.output')),
        sum(json_extract(data, '$.tokens.reasoning')), sum(json_extract(data, '$.tokens.cache.read')),
        sum(json_extract(data, '$.tokens.cache.write'))
        FROM message WHERE json_extract(data, '$.role') = 'assistant' GROUP BY session_id";
    let sums = |db: &std::path::Path| -> BTreeMap<String, Vec<Option<f64>>> {
        let (_folder, db) = copied(db);
        let mut query = db.prepare(SUMS).unwrap();
        query
            .query_map([], |row| Ok((row.get(0)?, (1..=7).map(|at| row.get(at)).collect::<Result<Vec<_>, _>>()?)))
            .unwrap()
            .map(|row| row.unwrap())
            .collect()
    };
    let mut spent = 0.0;
    for store in REPAIRED.iter() {
        let before = sums(&store.fixture.db);
        let after = sums(&store.place.db());
        for (session, sum) in &before {
            let numbers = |sums: &Vec<Option<f64>>| sums.iter().map(|s| s.unwrap_or(0.0)).collect::<Vec<_>>();
            let now = after.get(session).map_or(vec![0.0; 7], numbers);
            assert_eq!(numbers(sum), now, "{} {session}", store.name());
            spent += sum[2].unwrap_or(0.0);
        }
    }
    assert!(spent > 0.0);
}

#[test]
fn new_rows_have_ids_of_opencodes_form_right_behind_their_source() {
    let mut made = 0;
    for store in REPAIRED.iter() {
        for new in store.after.rows("message").iter().filter(|m| store.before.row("message", text(m, "id")).is_none()) {
            made += 1;
            let id = text(new, "id");
            let at = format!("{} {id}", store.name());
            let (prefix, rest) = id.split_at(4);
            let (hex, tail) = rest.split_at(12);
            assert_eq!((prefix, id.len()), ("msg_", 30), "{at}");
            assert!(hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)), "{at}");
            assert!(tail.bytes().all(|b| b.is_ascii_alphanumeric()), "{at}");
            // Its parts were another row's: that row must be its neighbour in every order.
            let sources: BTreeSet<&str> = store
                .after
                .parts(id)
                .into_iter()
                .map(|part| text(store.before.row("part", text(part, "id")).unwrap(), "message_id"))
                .collect();
            let [source] = Vec::from_iter(sources)[..] else { panic!("{at} has its parts from several rows") };
            let created = |row: &Row| -> i64 {
                serde_json::from_str::<Value>(text(row, "data")).unwrap()["time"]["created"].as_i64().unwrap()
            };
            let session: Vec<_> =
                store.after.rows("message").iter().filter(|m| m["session_id"] == new["session_id"]).collect();
            for order in ["replay", "id", "time"] {
                let mut ids: Vec<_> = session
                    .iter()
                    .map(|m| {
                        let key = match (order, &m["time_created"]) {
                            ("replay", Cell::Int(n)) => *n,
                            ("time", _) => created(m),
                            _ => 0,
                        };
                        (key, text(m, "id"))
                    })
                    .collect();
                ids.sort_unstable();
                let place = ids.iter().position(|(_, i)| *i == id).unwrap();
                assert_eq!(ids[place - 1].1, source, "{at} in the order by {order}");
            }
        }
    }
    assert!(made > 0);
}

#[test]
fn sqlite_finds_nothing_wrong_afterwards() {
    for store in REPAIRED.iter() {
        let (_folder, db) = copied(&store.place.db());
        let said: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(said, "ok", "{}", store.name());
        let broken: i64 = db.query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| row.get(0)).unwrap();
        assert_eq!(broken, 0, "{}", store.name());
        assert_eq!(store.files.names(), ["opencode.db"], "{}", store.name());
    }
}

#[test]
fn the_plan_shown_is_the_difference_that_is_made() {
    for store in REPAIRED.iter() {
        let document = store.run.json();
        let mut shown: Vec<(String, String, String)> = Vec::new();
        for edit in document["plan"]["sessions"].as_array().unwrap().iter().flat_map(|s| s["edits"].as_array().unwrap())
        {
            let field = |name: &str| edit[name].as_str().unwrap().to_owned();
            shown.push((field("op"), field("table"), field("id")));
        }
        let mut made = Vec::new();
        for table in WRITTEN {
            let mut edit =
                |op: &str, row: &Row| made.push((op.to_owned(), table.to_owned(), key(table, row).to_owned()));
            for row in store.before.rows_if_any(table) {
                match store.after.row(table, key(table, row)) {
                    None => edit("delete", row),
                    Some(now) if now != row => edit("update", row),
                    Some(_) => {}
                }
            }
            let new = |row: &&Row| store.before.row(table, key(table, row)).is_none();
            store.after.rows_if_any(table).iter().filter(new).for_each(|row| edit("insert", row));
        }
        shown.sort();
        made.sort();
        assert_eq!(shown, made, "{}", store.name());
    }
}

#[test]
fn a_dry_run_shows_the_plan_that_a_repair_carries_out() {
    for store in REPAIRED.iter() {
        let place = Place::of(&store.fixture);
        let dry = place.unstick(&[&["repair", "--dry-run", "--json"][..], &EVERYTHING].concat()).exits(1).json();
        assert_eq!((&dry["dry_run"], &dry["applied"]), (&true.into(), &false.into()));
        let ops = |document: &Value| {
            let sessions = document["plan"]["sessions"].as_array().unwrap().clone();
            let edits = sessions.iter().flat_map(|s| s["edits"].as_array().unwrap().clone());
            edits
                .map(|e| (e["op"].clone(), e["table"].clone(), e["id"].clone(), e["reason"].clone()))
                .collect::<Vec<_>>()
        };
        assert_eq!(ops(&dry), ops(&store.run.json()), "{}", store.name());
    }
}

/// Two turns of which the first answer names the second prompt and was made last by its own time: opencode from
/// 1.18.15 on stops there.
fn answers_out_of_order(place: &Place, session: &str) {
    let turn = |table: &str, columns: &str, filter: &str| {
        place.edit(&format!(
            "INSERT INTO {table} SELECT {columns} FROM {table} WHERE session_id = '{session}' AND {filter}"
        ));
    };
    let (user, answer) = ("msg_ffffffffff01AAAAAAAAAAAAAA", "msg_ffffffffff02AAAAAAAAAAAAAA");
    let role = |role: &str| format!("json_extract(data, '$.role') = '{role}' AND id NOT LIKE 'msg_ffff%'");
    let hangs =
        |r: &str| format!("message_id IN (SELECT id FROM message WHERE session_id = '{session}' AND {})", role(r));
    for (id, r) in [(user, "user"), (answer, "assistant")] {
        turn(
            "message",
            &format!(
                "'{id}', session_id, time_created + 1000, time_updated, json_set(data, '$.time.created', json_extract(data, '$.time.created') + 1000)"
            ),
            &role(r),
        );
        let part = "'prt_ffff' || substr(id, 9)".replace("ffff", &id[12..16]);
        turn("part", &format!("{part}, '{id}', session_id, time_created, time_updated, data"), &hangs(r));
    }
    place.edit(&format!(
        "UPDATE message SET data = json_set(data, '$.parentID', '{user}') WHERE id = '{answer}';
         UPDATE message SET data = json_set(data, '$.parentID', '{user}', '$.time.created', json_extract(data, '$.time.created') + 5000)
         WHERE session_id = '{session}' AND {}",
        role("assistant")
    ));
}

#[test]
fn a_latent_turn_is_not_helped_at_the_cost_of_a_sound_tail() {
    let place = Place::named("1.18.33");
    let session = fixtures::one("1.18.33").id("healthy-text").to_owned();
    answers_out_of_order(&place, &session);
    let sound = |place: &Place| {
        let scan = place.scan_with(&["--opencode", "any"]);
        let resume = scan.session("healthy-text")["resume"].clone();
        assert!(resume.as_object().unwrap().values().all(|r| r == "no-request"), "{resume}");
        scan.status("healthy-text").to_owned()
    };
    assert_eq!(sound(&place), "latent");
    place.repair_with(&["--opencode", "any", "--include", "latent", &session]);
    sound(&place);
}

#[test]
fn a_prompt_that_an_answer_names_stays() {
    let place = Place::named("1.17.11");
    let session = fixtures::one("1.17.11").id("empty-after-orphan").to_owned();
    let refused = place.text(&format!(
        "SELECT id FROM message WHERE session_id = '{session}' ORDER BY time_created DESC, id DESC LIMIT 1"
    ));
    place.edit(&format!(r#"UPDATE session SET revert = '{{"messageID":"{refused}"}}' WHERE id = '{session}'"#));
    let dangling = |place: &Place| {
        place.text(&format!(
            "SELECT cast(count(*) AS text) FROM message WHERE session_id = '{session}'
             AND json_extract(data, '$.parentID') NOT IN (SELECT id FROM message)"
        ))
    };
    assert_eq!(dangling(&place), "0");
    place.repair_with(&["--opencode", "any", &session]);
    assert_eq!(dangling(&place), "0", "the reverted answer can come back, and its prompt is gone");
}

/// A session `ses_a`.
struct Talk(Built);

impl Talk {
    fn new() -> Self {
        let built = Built::new();
        built.session("ses_a");
        Self(built)
    }

    fn ask(&self, parts: Vec<Value>) -> String {
        self.0.message("ses_a", |at| {
            let model = json!({"providerID": "anthropic", "modelID": "claude-opus-4-6"});
            (json!({"role": "user", "time": {"created": at}, "agent": "build", "model": model}), parts)
        })
    }

    /// An answer with what `more` says of it.
    fn answer_to(&self, prompt: &str, more: Value, parts: Vec<Value>) -> String {
        self.0.message("ses_a", |at| {
            let mut data = json!({"role": "assistant", "time": {"created": at}, "parentID": prompt, "mode": "build",
                "agent": "build", "modelID": "claude-opus-4-6", "providerID": "anthropic", "cost": 0,
                "path": {"cwd": "/", "root": "/"}, "tokens": tokens(15)});
            let Value::Object(more) = more else { panic!("{more}") };
            data.as_object_mut().unwrap().extend(more);
            (data, parts)
        })
    }

    /// A prompt and its answer, whose id this gives.
    fn answer(&self, more: Value, parts: Vec<Value>) -> String {
        self.answer_to(&self.ask(words()), more, parts)
    }

    /// The rows that a repair changes.
    fn repaired(&self, include: &str) -> Vec<String> {
        let how = ["--include", include, "--sdk", "anthropic=@ai-sdk/anthropic", "--opencode", "any", "ses_a"];
        let plan = self.0.place.unstick(&[&["repair", "-n", "--json"], &how[..]].concat()).json();
        let edits = plan["plan"]["sessions"][0]["edits"].as_array().cloned().unwrap_or_default();
        edits.iter().map(|edit| edit["id"].as_str().unwrap().to_owned()).collect()
    }
}

fn words() -> Vec<Value> {
    vec![json!({"type": "text", "text": "words"})]
}

fn tokens(input: u32) -> Value {
    json!({"input": input, "output": 0, "reasoning": 0, "cache": {"read": 0, "write": 0}})
}

fn call() -> Value {
    let state = json!({"status": "completed", "input": {}, "output": "a", "title": "", "metadata": {},
        "time": {"start": 1, "end": 2}});
    json!({"type": "tool", "tool": "bash", "callID": "c1", "state": state})
}

/// Each step is proven by itself where the overflow check could read something else after it.
#[test]
fn a_latent_turn_is_left_where_its_step_moves_the_overflow_check() {
    let talk = Talk::new();
    talk.answer(json!({"finish": "stop"}), words());
    let far = talk.answer(json!({"tokens": tokens(150_000)}), words());
    let near = talk.answer(json!({}), words());
    let last = talk.ask(words());
    assert_eq!(talk.repaired("latent"), std::slice::from_ref(&near));
    assert_eq!(talk.repaired("latent,near-window"), [far, near.clone()]);
    let taken_back = talk.answer_to(&last, json!({"finish": "stop"}), words());
    let revert = json!({"messageID": taken_back}).to_string();
    talk.0.place.edit(&format!("UPDATE session SET revert = '{revert}'"));
    assert_eq!(talk.repaired("latent"), [near], "what a revert leaves is read as well");
}

#[test]
fn a_latent_turn_that_cannot_be_mended_keeps_no_other_from_it() {
    let talk = Talk::new();
    let first = talk.answer(json!({}), words());
    talk.answer(json!({}), [words(), vec![call()], words()].concat());
    // An answer that ended follows, so nothing reads the tokens of this one.
    let second = talk.answer(json!({"tokens": tokens(150_000)}), words());
    talk.answer(json!({"finish": "stop"}), words());
    talk.ask(words());
    assert_eq!(talk.repaired("latent"), [first, second]);
}

#[test]
fn a_latent_turn_behind_a_pending_task_is_left() {
    let talk = Talk::new();
    let first = talk.ask(words());
    talk.answer_to(&first, json!({"finish": "stop"}), words());
    let task = talk.ask(vec![json!({"type": "compaction", "auto": false, "tail_start_id": first})]);
    let aborted = json!({"name": "MessageAbortedError", "data": {"message": "Aborted"}});
    talk.answer_to(&task, json!({"summary": true, "error": aborted}), vec![]);
    for _ in 0..2 {
        talk.answer(json!({}), words());
    }
    talk.answer(json!({"finish": "stop"}), words());
    assert_eq!(talk.repaired("latent"), Vec::<String>::new());
}

#[test]
fn the_row_that_a_split_makes_has_an_id_of_its_own() {
    let talk = Talk::new();
    let step = || json!({"type": "step-start"});
    let cut = talk.answer(json!({}), [vec![step(), call(), step()], words()].concat());
    let prompt = talk.ask(words());
    talk.answer_to(&prompt, json!({"finish": "stop"}), words());
    // The prompt behind it has the id that would be next.
    let next = opencode_unstick::history::ids::successor(&cut).unwrap();
    talk.0.place.edit(&format!(
        "UPDATE message SET id = replace(id, '{prompt}', '{next}'), data = replace(data, '{prompt}', '{next}');
         UPDATE part SET message_id = replace(message_id, '{prompt}', '{next}')"
    ));
    talk.0.place.repair_with(&["--opencode", "any", "--include", "latent", "--sdk", "anthropic=@ai-sdk/anthropic"]);
    let rows = talk.0.place.text("SELECT cast(count(*) AS text) FROM message");
    assert_eq!(rows, "5", "the answer is cut in two, and every other row stays");
}
