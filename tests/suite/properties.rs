//! Random histories: whatever the rows, a repair either leaves a session that resumes everywhere, with the same
//! next prompt, or leaves the session and says why.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use opencode_unstick::diagnosis::{Code, Includes, Judge, Left, LeftReason, Refuses, Status, diagnose};
use opencode_unstick::error::Result;
use opencode_unstick::history::{self, Depth, MessageRow, Session, SessionInfo};
use opencode_unstick::repair::{Goal, Planned, Request, SessionPlan, plan_session, prove};
use opencode_unstick::replay::{
    RULE_SETS, Resume, RuleSet, Sdk, after_revert, counting_from, newest, prompt, resume, view,
};
use opencode_unstick::rows::{Cell, Lookup, Row, Table};
use proptest::prelude::*;
use serde_json::{Value, json};

/// A part in short: what `Debug` of a failing history shows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum P {
    Start,
    Finish,
    Text(&'static str),
    Ignored,
    Thinking(&'static str, bool),
    Tool(&'static str),
    Orphan,
    OrphanWithOutput,
    Provider,
    Image,
    File,
    Pdf,
    Compaction(bool),
    Subtask,
    Patch,
    Snapshot,
    Agent,
    Retry,
    TextFile,
    Markup,
    /// An image with a side of 9,000 pixels.
    Wide,
    /// More images than any request may hold.
    Many,
    /// A call without an id.
    NoId,
    /// A call whose id others have as well.
    SameId,
}

/// A row in short.
#[derive(Debug, Clone, PartialEq)]
pub struct M {
    user: bool,
    finish: Option<&'static str>,
    error: Option<&'static str>,
    summary: bool,
    /// How many rows back its parent is.
    parent: usize,
    tokens: u32,
    other_model: bool,
    plan_agent: bool,
    /// Its clocks, in ms from where they should be: of the column, of the JSON, of the id.
    skew: (i64, i64, i64),
    pub parts: Vec<P>,
}

fn part() -> impl Strategy<Value = P> {
    prop_oneof![
        4 => Just(P::Start),
        2 => Just(P::Finish),
        4 => prop_oneof![Just("words"), Just(""), Just(" ")].prop_map(P::Text),
        1 => Just(P::Ignored),
        2 => (prop_oneof![Just("hm"), Just(""), Just(" ")], any::<bool>()).prop_map(|(t, s)| P::Thinking(t, s)),
        4 => prop_oneof![Just("completed"), Just("error"), Just("running"), Just("pending")].prop_map(P::Tool),
        2 => Just(P::Orphan),
        1 => Just(P::OrphanWithOutput),
        1 => Just(P::Provider),
        1 => Just(P::Image),
        1 => Just(P::File),
        1 => any::<bool>().prop_map(P::Compaction),
        1 => Just(P::Subtask),
        1 => prop::sample::select(vec![P::Patch, P::Snapshot, P::Agent, P::Retry, P::TextFile, P::Markup, P::Pdf]),
        1 => prop::sample::select(vec![P::Wide, P::Many, P::NoId, P::SameId, P::SameId]),
    ]
}

fn skew() -> impl Strategy<Value = (i64, i64, i64)> {
    let clock = || prop_oneof![12 => Just(0i64), 1 => Just(-5_000i64), 1 => Just(5_000i64)];
    (clock(), clock(), clock())
}

fn row() -> impl Strategy<Value = M> {
    let finish = prop_oneof![
        4 => Just(None),
        3 => Just(Some("stop")),
        2 => Just(Some("tool-calls")),
        1 => Just(Some("unknown")),
        1 => Just(Some("length")),
    ];
    let error = prop_oneof![
        6 => Just(None),
        3 => Just(Some("prefill")),
        2 => Just(Some("aborted")),
        1 => Just(Some("api")),
        1 => Just(Some("unknown")),
        1 => prop_oneof![Just(Some("signature")), Just(Some("window"))],
    ];
    (
        prop::bool::weighted(0.35),
        finish,
        error,
        prop::bool::weighted(0.05),
        0usize..3,
        prop_oneof![4 => Just(0u32), 2 => Just(15), 1 => Just(150_000)],
        (prop::bool::weighted(0.1), prop::bool::weighted(0.1)),
        skew(),
        prop_oneof![1 => Just(Vec::new()), 3 => prop::collection::vec(part(), 0..6)],
    )
        .prop_map(|(user, finish, error, summary, parent, tokens, (other_model, plan_agent), skew, parts)| M {
            user,
            finish,
            error,
            summary,
            parent,
            tokens,
            other_model,
            plan_agent,
            skew,
            parts,
        })
}

/// A history, and a revert at one of its rows, maybe at a part.
pub type Story = (Vec<M>, Option<(usize, Option<usize>)>);

/// A row as opencode writes it where all goes well, or where one of the known things happens to it.
fn known_row() -> impl Strategy<Value = M> {
    use P::{Finish, Orphan, Start, Text, Thinking, Tool};
    let words = Text("words");
    let prompt = || said_by_user(&[words]);
    let step = [Start, Thinking("hm", true), Tool("completed"), Finish];
    let refused = M { error: Some("prefill"), ..answered(None, &[]) };
    let aborted = |parts: &[P]| M { error: Some("aborted"), ..answered(None, parts) };
    let told = |parts: &[P]| M { tokens: 15, ..answered(Some("stop"), parts) };
    let called = M { tokens: 15, ..answered(Some("tool-calls"), &step) };
    let known = vec![
        prompt(),
        prompt(),
        called,
        told(&[Start, words, Finish]),
        told(&[Start, Orphan, Start, words, Finish]),
        told(&[Start, Tool("completed"), Orphan, Start, words, Finish]),
        told(&[Start, Tool("completed"), Finish, Start, words, Finish]),
        refused.clone(),
        refused,
        aborted(&[Start, words]),
        aborted(&[Start, Tool("error")]),
        aborted(&[Start, Text("")]),
        answered(None, &[Start, words]),
        answered(None, &[Start, Tool("running")]),
        answered(None, &[Start, Text("")]),
        said_by_user(&[]),
        said_by_user(&[P::Compaction(true)]),
        M { summary: true, ..told(&[Start, words, Finish]) },
        answered(None, &[Start, Thinking("hm", false)]),
        told(&[Start, Thinking("hm", true), P::SameId, Finish]),
        M { error: Some("signature"), ..answered(None, &[]) },
    ];
    prop::sample::select(known)
}

/// Half of all histories are rows of any kind, the others such rows as opencode writes, with one of any kind now and
/// then.
pub fn story() -> impl Strategy<Value = Story> {
    let revert = || prop::option::weighted(0.15, (0usize..8, prop::option::of(0usize..4)));
    let begun = prop::collection::vec(prop_oneof![12 => known_row().boxed(), 1 => row().boxed()], 0..9);
    let known = begun.prop_map(|rows| {
        // One that begins with an answer is rare.
        let first = [said_by_user(&[P::Text("words")])];
        first.into_iter().chain(rows).collect::<Vec<M>>()
    });
    let of_any_kind = prop::collection::vec(row(), 1..9);
    prop_oneof![(of_any_kind, revert()).boxed(), (known, revert()).boxed()]
}

pub const START: i64 = 1_795_251_000_000;

fn id(prefix: &str, ms: i64, n: usize) -> String {
    format!("{prefix}_{:012x}{:014}", (ms * 4096) & 0xffff_ffff_ffff, n)
}

/// The first bytes of images, which tell their size: 9,000 by 1 pixels, and 1 by 1.
const WIDE: &str = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAIygAAAABCAYAAAA=";
const SMALL: &str = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAA=";

fn part_json(p: P, n: usize) -> Value {
    let tool = |state: Value| json!({"type": "tool", "tool": "bash", "callID": format!("call_{n}"), "state": state});
    let settled = |status: &str| match status {
        "completed" => json!({"status": status, "input": {}, "output": "out", "time": {"start": 1, "end": 2}}),
        "error" => json!({"status": status, "input": {}, "error": "failed", "time": {"start": 1, "end": 2}}),
        _ => json!({"status": status, "input": {}}),
    };
    match p {
        P::Start => json!({"type": "step-start"}),
        P::Finish => json!({"type": "step-finish", "reason": "stop", "cost": 0, "tokens": {"input": 0, "output": 0}}),
        P::Text(text) => json!({"type": "text", "text": text}),
        P::Ignored => json!({"type": "text", "text": "aside", "ignored": true}),
        P::Thinking(text, false) => json!({"type": "reasoning", "text": text, "time": {"start": 1}}),
        P::Thinking(text, true) => {
            let metadata = json!({"anthropic": {"signature": "s"}});
            json!({"type": "reasoning", "text": text, "time": {"start": 1}, "metadata": metadata})
        }
        P::Tool(status) => tool(settled(status)),
        P::Orphan => tool(json!({"status": "error", "input": {}, "error": "Tool execution aborted",
            "metadata": {"interrupted": true}, "time": {"start": 1, "end": 1}})),
        P::OrphanWithOutput => tool(json!({"status": "error", "input": {}, "error": "Tool execution aborted",
            "metadata": {"interrupted": true, "output": "so far"}, "time": {"start": 1, "end": 1}})),
        P::Provider => {
            let mut call = tool(settled("completed"));
            call["metadata"] = json!({"providerExecuted": true});
            call
        }
        P::Image => {
            let mut call = tool(settled("completed"));
            call["state"]["attachments"] = json!([{"mime": "image/png", "url": "data:image/png;base64,AA=="}]);
            call
        }
        P::Wide | P::Many => {
            let one = json!({"type": "file", "mime": "image/png", "url": if p == P::Wide { WIDE } else { SMALL }});
            let mut call = tool(settled("completed"));
            call["state"]["attachments"] = json!(vec![one; if p == P::Wide { 1 } else { 101 }]);
            call
        }
        P::NoId | P::SameId => {
            let mut call = tool(settled("completed"));
            call["callID"] = json!(if p == P::NoId { "" } else { "call_same" });
            call
        }
        P::File => json!({"type": "file", "mime": "image/png", "url": "data:image/png;base64,AA=="}),
        P::Pdf => json!({"type": "file", "mime": "application/pdf", "url": "data:application/pdf;base64,JVBERi0="}),
        P::Compaction(_) => json!({"type": "compaction", "auto": true}),
        P::Subtask => json!({"type": "subtask", "prompt": "p", "description": "d", "agent": "general"}),
        P::Patch => json!({"type": "patch", "hash": "h", "files": ["/f"]}),
        P::Snapshot => json!({"type": "snapshot", "snapshot": "h"}),
        P::Agent => json!({"type": "agent", "name": "general", "source": {"value": "@general", "start": 0, "end": 8}}),
        P::Retry => {
            json!({"type": "retry", "attempt": 1, "error": {"name": "APIError", "data": {}}, "time": {"created": 1}})
        }
        P::TextFile => json!({"type": "file", "mime": "text/plain", "filename": "a.txt", "url": "file:///a.txt"}),
        P::Markup => json!({"type": "text", "text": "<function_calls><invoke name=\"bash\">"}),
    }
}

/// A part as a store has it, but for its JSON.
pub struct PartRow {
    pub rowid: i64,
    pub id: String,
    pub message_id: String,
    pub session_id: String,
    pub time_created: i64,
    pub time_updated: i64,
}

/// A message as a store has it, with its parts.
pub struct Stored {
    pub row: MessageRow,
    pub data: String,
    pub parts: Vec<(PartRow, String)>,
}

/// The rows of a history whose clock begins at `start`, in ms since the epoch.
pub fn stored(rows: &[M], session: &str, start: i64) -> Vec<Stored> {
    let ids: Vec<String> =
        rows.iter().enumerate().map(|(n, m)| id("msg", start + n as i64 * 1000 + m.skew.2, n)).collect();
    let users: Vec<usize> = (0..rows.len()).filter(|n| rows[*n].user).collect();
    let mut messages = Vec::new();
    for (n, m) in rows.iter().enumerate() {
        let time = start + n as i64 * 1000;
        let model = if m.other_model { "claude-opus-4-7" } else { "claude-opus-4-6" };
        let agent = if m.plan_agent { "plan" } else { "build" };
        let mut data = if m.user {
            json!({"role": "user", "agent": agent, "model": {"providerID": "p", "modelID": model}})
        } else {
            let before: Vec<&usize> = users.iter().filter(|u| **u < n).collect();
            let parent = before.iter().rev().nth(m.parent).or(before.last()).map_or("msg_none", |u| ids[**u].as_str());
            json!({"role": "assistant", "parentID": parent, "agent": agent, "modelID": model, "providerID": "p",
                "cost": f64::from(m.tokens) / 1024.0, "tokens": {"input": m.tokens, "output": 0, "reasoning": 0, "cache": {"read": 0, "write": 0}}})
        };
        data["time"] = json!({"created": time + m.skew.1});
        if m.user && m.summary {
            data["summary"] = json!({"title": "t", "diffs": []});
        }
        if !m.user {
            if let Some(finish) = m.finish {
                data["finish"] = json!(finish);
            }
            data["path"] = json!({"cwd": "/w", "root": "/w"});
            data["mode"] = json!(agent);
            if m.tokens > 0 {
                data["time"]["completed"] = json!(time + 500);
            }
            if m.summary {
                data["summary"] = json!(true);
            }
            match m.error {
                Some("prefill") => {
                    data["error"] = json!({"name": "APIError", "data": {"statusCode": 400,
                        "message": "This model does not support assistant message prefill."}});
                }
                Some("aborted") => {
                    data["error"] = json!({"name": "MessageAbortedError", "data": {"message": "Aborted"}});
                }
                Some("api") => {
                    data["error"] = json!({"name": "APIError", "data": {"statusCode": 529, "message": "busy"}});
                }
                Some("signature") => {
                    data["error"] = json!({"name": "APIError", "data": {"statusCode": 400,
                        "message": "messages.1.content.0: Invalid `signature` in `thinking` block"}});
                }
                Some("window") => {
                    data["error"] = json!({"name": "APIError", "data": {"statusCode": 400,
                        "message": "prompt is too long: 200001 tokens > 200000 maximum"}});
                }
                Some(_) => data["error"] = json!({"name": "UnknownError", "data": {"message": "?"}}),
                None => {}
            }
        }
        let row = MessageRow {
            rowid: n as i64 + 1,
            id: ids[n].clone(),
            session_id: session.into(),
            time_created: time + m.skew.0,
            time_updated: time,
        };
        let mut parts = Vec::new();
        for (k, p) in m.parts.iter().enumerate() {
            let mut data = part_json(*p, n * 10 + k);
            if let P::Compaction(true) = p {
                data["tail_start_id"] = json!(ids[n / 2]);
            }
            let data = data.to_string();
            let row = PartRow {
                rowid: (n * 10 + k) as i64 + 1,
                id: id("prt", time, k),
                message_id: ids[n].clone(),
                session_id: session.to_owned(),
                time_created: time,
                time_updated: time,
            };
            parts.push((row, data));
        }
        messages.push(Stored { row, data: data.to_string(), parts });
    }
    messages
}

fn session(rows: &[M], revert: Option<(usize, Option<usize>)>) -> Session {
    let messages = stored(rows, "ses_1", START).into_iter().map(|stored| {
        let mut message = history::head(stored.row, &stored.data).unwrap().with(Vec::new());
        for (row, data) in stored.parts {
            message.parts.push(history::part(&row.id, row.time_created, &data, Depth::Whole).unwrap());
        }
        Rc::new(message)
    });
    let messages = messages.collect();
    let info = SessionInfo {
        id: "ses_1".to_owned(),
        parent_id: None,
        title: String::new(),
        directory: String::new(),
        version: "1.18.33".to_owned(),
        revert: None,
        time_created: START,
        time_updated: START,
    };
    let mut session = Session { info, messages, depth: Depth::Whole };
    session.sort();
    session.info.revert = revert.and_then(|(at, part)| {
        let message = session.messages.get(at)?;
        let part_id = part.and_then(|p| message.parts.get(p)).map(|p| p.id().to_owned());
        Some(history::Revert { message_id: message.row.id.clone(), part_id })
    });
    session
}

/// The rows of a history as a store would have them.
struct InStore(BTreeMap<String, (Row, String)>);

impl InStore {
    fn of(rows: &[M]) -> Self {
        let mut out = BTreeMap::new();
        let ints = |rowid: i64, created: i64, updated: i64| {
            [("rowid", rowid), ("time_created", created), ("time_updated", updated)]
                .map(|(name, n)| (name.to_owned(), Cell::Int(n)))
        };
        let texts = |texts: &[(&str, &str)]| -> Vec<(String, Cell)> {
            texts.iter().map(|(name, text)| ((*name).to_owned(), Cell::Text((*text).to_owned()))).collect()
        };
        let kept = |data: &str| ("data".to_owned(), Cell::kept(data));
        for Stored { row, data, parts } in stored(rows, "ses_1", START) {
            for (part, data) in parts {
                let mut image: Row = ints(part.rowid, part.time_created, part.time_updated).into();
                let ids = [("id", &part.id), ("message_id", &part.message_id), ("session_id", &part.session_id)];
                image.extend(texts(&ids.map(|(name, id)| (name, id.as_str()))));
                image.extend([kept(&data)]);
                out.insert(part.id, (image, data));
            }
            let mut image: Row = ints(row.rowid, row.time_created, row.time_updated).into();
            image.extend(texts(&[("id", &row.id), ("session_id", &row.session_id)]));
            image.extend([kept(&data)]);
            out.insert(row.id, (image, data));
        }
        Self(out)
    }
}

impl Lookup for InStore {
    fn data(&self, _: Table, id: &str) -> Result<Option<String>> {
        Ok(self.0.get(id).map(|(_, data)| data.clone()))
    }

    fn brief(&self, _: Table, id: &str) -> Result<Option<Row>> {
        Ok(self.0.get(id).map(|(row, _)| row.clone()))
    }

    fn whole(&self, _: Table, _: &str) -> Result<Option<Row>> {
        Ok(None)
    }

    fn is_taken(&self, _: Table, _: i64) -> Result<bool> {
        Ok(false)
    }

    fn named_since(&self, _: &str, _: i64, _: &str) -> Result<bool> {
        Ok(false)
    }
}

/// A session's plan and what it leads to, or why it is left.
fn planned(
    session: &Session,
    sdk: &Sdk,
    goal: Goal,
    judge: &Judge,
    now: i64,
    rows: &InStore,
) -> std::result::Result<(SessionPlan, Session), Left> {
    match plan_session(session, sdk, Request { goal, includes: Includes::NONE, judge, now, fills: &[] }, rows).unwrap()
    {
        Planned::Repair(repair) => Ok(*repair),
        Planned::Left(left) => Err(left),
    }
}

/// What the next prompt sends before its own turn, empty blocks and turns aside.
fn said(session: &Session, sdk: &Sdk) -> Vec<String> {
    let mut out = Vec::new();
    for set in &RULE_SETS {
        let seen = view(&session.messages, set);
        let model = newest(&seen, set).user.and_then(|u| u.user()).and_then(|u| u.model.as_deref());
        for turn in prompt(&seen, set, sdk, model).turns {
            let blocks: Vec<String> = turn
                .blocks
                .iter()
                .filter(|b| !b.is_nothing())
                .map(|b| format!("{:?} {:?} {:?} {:?}", b.kind, b.part_id(), b.digest, b.carries))
                .collect();
            if !blocks.is_empty() {
                out.push(format!("{} {:?} {blocks:?}", set.key, turn.role));
            }
        }
    }
    out
}

/// Whether a model that is asked again has anything to answer.
fn says_something(session: &Session, set: &RuleSet, sdk: &Sdk) -> bool {
    let cut = after_revert(session, set);
    let seen = view(&cut.messages, set);
    let model = newest(&seen, set).user.and_then(|u| u.user()).and_then(|u| u.model.as_deref());
    prompt(&seen, set, sdk, model).blocks().any(|block| !block.is_nothing())
}

fn totals(session: &Session) -> (f64, f64) {
    session.messages.iter().filter_map(|m| m.assistant()).fold((0.0, 0.0), |t, a| (t.0 + a.cost, t.1 + a.tokens.input))
}

fn packages() -> impl Strategy<Value = Sdk> {
    prop_oneof![Just("@ai-sdk/anthropic"), Just("@ai-sdk/openai-compatible"), Just("@ai-sdk/amazon-bedrock")]
        .prop_map(Sdk::new)
}

fn check((rows, revert): (Vec<M>, Option<(usize, Option<usize>)>), sdk: &Sdk) -> Result<(), TestCaseError> {
    let before = session(&rows, revert);
    let in_store = InStore::of(&rows);
    let judge = Judge { counting: counting_from(None), guess: None, refuses: Refuses::default(), doubted: Vec::new() };
    let diagnosis = diagnose(&before, sdk, &judge);
    prop_assert_eq!(diagnosis.resume.len(), RULE_SETS.len());
    let stuck_somewhere = RULE_SETS.iter().any(|set| resume(&before, set, sdk) == Resume::EndsWithAssistant);
    prop_assert_eq!(stuck_somewhere, matches!(diagnosis.tail, Status::Stuck | Status::AtRisk));
    if stuck_somewhere {
        prop_assert!(diagnosis.findings.iter().any(|f| f.code.applicability().to_string() == "automatic"));
    }
    let goals = [
        Goal::TAIL,
        Goal {
            tail: stuck_somewhere,
            latent: true,
            calls_ended: true,
            mended: false,
            importable: false,
            decodable: false,
        },
    ];
    for goal in goals.into_iter().filter(|goal| goal.tail == stuck_somewhere) {
        let Ok((plan, after)) = planned(&before, sdk, goal, &judge, START, &in_store) else { continue };
        prop_assert_eq!(plan.edits.len(), plan.step_of.len());
        prop_assert!(plan.step_of.iter().all(|at| *at < plan.steps.len()), "an edit belongs to no step");
        if goal.tail {
            prop_assert!(!plan.edits.is_empty());
            prop_assert!(prove(&before, &after, sdk, Includes::NONE).is_ok());
            for set in &RULE_SETS {
                let ends = resume(&after, set, sdk);
                prop_assert!(matches!(ends, Resume::NoRequest | Resume::EndsWithUser));
                prop_assert!(ends == Resume::NoRequest || says_something(&after, set, sdk), "nothing to answer");
            }
            let (again, _) = planned(&after, sdk, Goal::TAIL, &judge, START + 1, &in_store).unwrap();
            prop_assert!(again.edits.is_empty(), "a second repair: {:?}", again.edits);
        }
        prop_assert_eq!(said(&before, sdk), said(&after, sdk));
        for set in &RULE_SETS {
            prop_assert_eq!(said(&after_revert(&before, set), sdk), said(&after_revert(&after, set), sdk));
        }
        prop_assert_eq!(totals(&before), totals(&after));
        prop_assert_eq!(&before.info, &after.info);
        untouched(&before, &after, &plan.edits.iter().map(|e| e.id.clone()).collect())?;
    }
    Ok(())
}

/// What no plan may touch, and that what it does not name is as it was.
fn untouched(before: &Session, after: &Session, planned: &BTreeSet<String>) -> Result<(), TestCaseError> {
    let reverted =
        before.info.revert.as_ref().and_then(|r| before.messages.iter().position(|m| m.row.id == r.message_id));
    for (at, message) in before.messages.iter().enumerate() {
        let named = planned.contains(message.id()) || message.parts.iter().any(|p| planned.contains(p.id()));
        let frozen = message.assistant().is_some_and(|a| a.summary) || reverted.is_some_and(|from| at >= from);
        prop_assert!(!(named && frozen), "{} is touched", message.id());
        let now = after.message(message.id());
        let parent = |m: &history::Message| m.assistant().and_then(|a| a.parent_id.clone());
        if let Some(new) = now.and_then(parent).filter(|new| parent(message).as_ref() != Some(new)) {
            let prompt = before.messages.iter().position(|m| *m.row.id == *new);
            prop_assert!(prompt.is_some_and(|p| p < at), "{} is made out to answer what came later", message.id());
        }
        if !named {
            let same = now.is_some_and(|n| n.changed.is_none() && n.parts == message.parts);
            prop_assert!(same, "{} is in no plan and has changed", message.id());
        }
        if now.is_none() {
            prop_assert!(message.removable(), "{} held something", message.id());
        }
    }
    // Parts of removed rows, which held nothing, are gone; every other part is where it was or in the row after.
    let parts = |rows: &mut dyn Iterator<Item = &history::Message>| -> BTreeSet<String> {
        rows.flat_map(|m| m.parts.iter().map(|p| p.id().to_owned())).collect()
    };
    let kept = parts(&mut before.messages.iter().map(Rc::as_ref).filter(|m| after.message(m.id()).is_some()));
    prop_assert_eq!(
        kept,
        parts(&mut after.messages.iter().map(Rc::as_ref)),
        "a part that says something is gone, or new"
    );
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: crate::histories::cases(3000), max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn a_repair_is_sound_or_says_why_not(story in story(), sdk in packages()) {
        check(story, &sdk)?;
    }
}

#[test]
fn random_histories_reach_every_finding_that_a_tail_or_a_buried_row_can_give() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let judge = Judge { counting: counting_from(None), guess: None, refuses: Refuses::default(), doubted: Vec::new() };
    let mut seen = BTreeSet::new();
    for _ in 0..3000 {
        let (rows, revert) = story().new_tree(&mut runner).unwrap().current();
        seen.extend(diagnose(&session(&rows, revert), &Sdk::keeping(), &judge).findings.into_iter().map(|f| f.code));
    }
    for code in [
        Code::OrphanTail,
        Code::CompletedToolTail,
        Code::FailedPrefillTail,
        Code::AbortedTextTail,
        Code::UnfinishedTextTail,
        Code::EmptyAnswerTail,
        Code::EmptyPromptTail,
        Code::LatentTail,
        Code::UnsettledTool,
        Code::BuriedOrphan,
        Code::RecoveredPrefill400,
        Code::StepLimitPrefill,
        Code::PendingTask,
        Code::LeakedToolCallText,
    ] {
        assert!(seen.contains(&code), "no random history gives {code}");
    }
}

fn said_by_user(parts: &[P]) -> M {
    let parts = parts.to_vec();
    let skew = (0, 0, 0);
    M {
        user: true,
        finish: None,
        error: None,
        summary: false,
        parent: 0,
        tokens: 0,
        other_model: false,
        plan_agent: false,
        skew,
        parts,
    }
}

fn answered(finish: Option<&'static str>, parts: &[P]) -> M {
    M { user: false, finish, ..said_by_user(parts) }
}

/// Histories that were found at random, shrunk, and have each shown a fault.
#[test]
fn histories_that_have_shown_a_fault() {
    // The clock went back: the newest answer by its time is the empty one.
    let back = M { skew: (0, -5000, 0), ..answered(Some("stop"), &[P::Text("words")]) };
    check((vec![said_by_user(&[]), answered(None, &[]), back], None), &Sdk::new("@ai-sdk/anthropic")).unwrap();
    // A call in a summary is stored as still going on, and no summary is touched.
    let summary = M { summary: true, ..answered(None, &[P::Tool("running")]) };
    check((vec![summary], None), &Sdk::new("@ai-sdk/anthropic")).unwrap();
    // Nothing would have been left that a model could answer.
    let ahead = M { skew: (0, 5000, 0), ..answered(None, &[P::Start]) };
    let aborted = M { error: Some("aborted"), ..answered(Some("stop"), &[P::Text("words")]) };
    check((vec![said_by_user(&[]), ahead, aborted], None), &Sdk::new("@ai-sdk/anthropic")).unwrap();
    // Nor here, where the answer that is in the way is all that is sent.
    let prompt = || said_by_user(&[P::Text("")]);
    check((vec![prompt(), answered(None, &[P::Start, P::Text("")])], None), &Sdk::keeping()).unwrap();
}

/// The clock went back after the first answer: by its time it is the newest one, and opencode from 1.18.15 on looks
/// at it alone. That it answers the second prompt would be a lie.
#[test]
fn an_answer_is_not_made_out_to_be_one_to_a_later_prompt() {
    let words = [P::Text("words")];
    let ahead = M { skew: (0, 60_000, 0), ..answered(Some("stop"), &words) };
    let rows = [said_by_user(&words), ahead, said_by_user(&words), answered(Some("stop"), &words)];
    let before = session(&rows, None);
    let sdk = Sdk::keeping();
    assert!(RULE_SETS.iter().any(|set| resume(&before, set, &sdk) == Resume::EndsWithAssistant));
    let judge = Judge { counting: counting_from(None), guess: None, refuses: Refuses::default(), doubted: Vec::new() };
    let left = planned(&before, &sdk, Goal::TAIL, &judge, START, &InStore::of(&rows)).unwrap_err();
    assert_eq!(left.reason, LeftReason::NoLosslessEdit);
}
