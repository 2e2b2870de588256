//! Verdicts that are reached by short cuts are those of the whole history: sessions that are sound at first sight, tails
//! that are settled, and prefixes that are judged in one pass.

use std::rc::Rc;

use opencode_unstick::diagnosis::{
    Code, Diagnosis, Judge, Refuses, Scope, Status, diagnose, diagnose_tail, draft, latent_cuts, model_of, settled,
};
use opencode_unstick::history::{self, Depth, Head, Message, MessageRow, PartKind, Revert, Session, SessionInfo};
use opencode_unstick::replay::{
    RULE_SETS, Resume, RuleSet, Sdk, TurnRole, Version, counting_from, last_turn, newest, request, resume, view,
};
use proptest::prelude::*;

use crate::fixtures;
use crate::place::Place;

/// A call that the provider ran, with a result that lies on many pages and the mark behind it.
fn provider_call(result: usize) -> String {
    format!(
        r#"{{"type":"tool","tool":"web","callID":"c","state":{{"status":"completed","input":{{}},"output":"{}","time":{{"start":1}}}},"metadata":{{"providerExecuted":true}}}}"#,
        "x".repeat(result)
    )
}

#[test]
fn a_scan_of_all_says_what_a_scan_of_each_says() {
    // Sessions that are named are read to the last byte, and all of them as a walk and their verdicts ask.
    let mut runs = 0;
    for fixture in fixtures::all() {
        let place = Place::of(&fixture);
        if let Some(session) = fixture.sessions.sessions.get("abort-text") {
            // In the oldest row, which nothing else is asked of; the mark lies across two of the pieces in which
            // a large value is read.
            let answer = r#"{"role":"assistant","parentID":"msg_","modelID":"m","providerID":"p","time":{"created":1},"finish":"stop","mode":"build","agent":"build","path":{"cwd":"/","root":"/"},"cost":0,"tokens":{"input":0,"output":0,"reasoning":0,"cache":{"read":0,"write":0}}}"#;
            let call = provider_call((1 << 16) - 140);
            place.edit(&format!("INSERT INTO message VALUES ('msg_0', '{session}', 1, 1, '{answer}')"));
            place.edit(&format!("INSERT INTO part VALUES ('prt_0', 'msg_0', '{session}', 1, 1, '{call}')"));
        }
        let all = place.scan();
        let ids: Vec<&str> = all.by_id().into_keys().collect();
        let each = place.scan_with(&ids);
        assert_eq!(each.by_id(), all.by_id(), "{}", fixture.name);
        let stuck = place.scan_with(&["--stuck"]);
        // A walk over the tails does not see what else a prompt is refused for.
        let dead = all.titles("dead");
        let tails: Vec<_> = stuck.titles("stuck").into_iter().filter(|t| !dead.contains(t)).collect();
        assert_eq!(tails, all.titles("stuck"), "{}", fixture.name);
        if let Some(session) = fixture.sessions.sessions.get("abort-text") {
            assert_eq!(all.by_id()[session.as_str()]["resume"]["1.2"], "no-request", "{}", fixture.name);
            runs += 1;
        }
    }
    assert!(runs > 0);
}

/// What a generated row is made of: small numbers, each of which picks from a list.
type Seed = (u8, u8, u8, u8, u8, u8, Vec<u8>);

fn seed() -> impl Strategy<Value = Seed> {
    let parts = proptest::collection::vec(0u8..16, 0..5);
    (0u8..10, 0u8..20, 0u8..12, 0u8..12, 0u8..16, 0u8..16, parts)
}

fn part_json(kind: u8, earlier: &str) -> String {
    let tool =
        |state: &str, rest: &str| format!(r#"{{"type":"tool","tool":"bash","callID":"c","state":{state}{rest}}}"#);
    match kind {
        0 => r#"{"type":"text","text":""}"#.to_owned(),
        1 => r#"{"type":"text","text":" "}"#.to_owned(),
        2 => r#"{"type":"text","text":"<invoke name=\"x\">"}"#.to_owned(),
        3 => r#"{"type":"reasoning","text":"","metadata":{"anthropic":{"signature":"s"}}}"#.to_owned(),
        4 => r#"{"type":"reasoning","text":"hm"}"#.to_owned(),
        5 => tool(r#"{"status":"completed","input":{},"output":"o","time":{"start":1}}"#, ""),
        6 => tool(r#"{"status":"completed","input":{},"time":{}}"#, r#","metadata":{"providerExecuted":true}"#),
        7 => tool(r#"{"status":"error","error":"Tool execution aborted","metadata":{"interrupted":true}}"#, ""),
        8 => tool(r#"{"status":"running","input":{}}"#, ""),
        9 => r#"{"type":"compaction","auto":true}"#.to_owned(),
        10 => format!(r#"{{"type":"compaction","tail_start_id":"{earlier}"}}"#),
        11 => r#"{"type":"subtask"}"#.to_owned(),
        12 | 13 => r#"{"type":"step-start"}"#.to_owned(),
        _ => r#"{"type":"text","text":"words"}"#.to_owned(),
    }
}

/// Mostly as opencode writes a history, with everything now and then otherwise.
fn build(seeds: &[Seed], revert: Option<(usize, bool)>) -> Session {
    let mut messages: Vec<Rc<Message>> = Vec::new();
    let mut prompt = String::from("msg_none");
    for (at, (role, order, finish, parent, flags, agent, parts)) in seeds.iter().enumerate() {
        let place = i64::try_from(at).unwrap() * 10;
        // Out of order: by id, by the column's time, by the JSON's time.
        let id = format!("msg_{:04}{at:03}", if *order == 0 { (place - 25).max(0) } else { place });
        let time_created = if *order == 1 { place - 25 } else { place };
        let created = if *order == 2 { place + 35 } else { place };
        let earlier = messages.get(at.saturating_sub(3)).map_or("msg_none", |m| m.id()).to_owned();
        let agent = if *agent == 0 { "plan" } else { "build" };
        let data = if *role < 3 || at == 0 && *role < 9 {
            prompt.clone_from(&id);
            format!(
                r#"{{"role":"user","time":{{"created":{created}}},"agent":"{agent}","model":{{"providerID":"p","modelID":"{}"}}}}"#,
                if *flags == 0 { "gpt-5" } else { "claude-opus-4-6" }
            )
        } else {
            let finish = match finish {
                0 => "",
                1 => r#","finish":"unknown""#,
                2..=4 => r#","finish":"tool-calls""#,
                _ => r#","finish":"stop""#,
            };
            let parent = if *parent == 0 { &earlier } else { &prompt };
            let error = match flags {
                1 => r#","error":{"name":"APIError","data":{"message":"assistant message prefill","statusCode":400}}"#,
                2 => r#","error":{"name":"MessageAbortedError","data":{"message":"x"}}"#,
                3 => r#","error":{"name":"UnknownError","data":{"message":"x"}}"#,
                4 | 5 => r#","summary":true"#,
                _ => "",
            };
            format!(
                r#"{{"role":"assistant","parentID":"{parent}","agent":"{agent}","modelID":"claude-opus-4-6","providerID":"p","time":{{"created":{created}}}{finish}{error}}}"#
            )
        };
        let row =
            MessageRow { rowid: place, id: id.clone(), session_id: "ses_1".into(), time_created, time_updated: place };
        let mut message = history::head(row, &data).unwrap().with(Vec::new());
        let is_user = message.user().is_some();
        for (n, kind) in parts.iter().enumerate() {
            // Tools and thinking are the assistant's, and a compaction is the user's.
            let kind = match (is_user, kind) {
                (true, 3..=8) => 15,
                (false, 9 | 10) => 5,
                (_, kind) => *kind,
            };
            let id = format!("prt_{at:04}{n}");
            message.parts.push(history::part(&id, place, &part_json(kind, &earlier), Depth::Whole).unwrap());
        }
        messages.push(Rc::new(message));
    }
    let revert = revert.and_then(|(at, with_part)| {
        let message = messages.get(at)?;
        let part_id = message.parts.last().filter(|_| with_part).map(|p| p.id().to_owned());
        Some(Revert { message_id: message.row.id.clone(), part_id })
    });
    let info = SessionInfo {
        id: "ses_1".to_owned(),
        parent_id: None,
        title: String::new(),
        directory: String::new(),
        version: "1.18.33".to_owned(),
        revert,
        time_created: 0,
        time_updated: 0,
    };
    let mut session = Session { info, messages, depth: Depth::Whole };
    session.sort();
    session
}

/// The prompts before which a session would be stuck, and of the refusals those that the step limit made: each found
/// by looking at the rows before as if they were the whole session.
fn cut_by_cut(whole: &Session, judge: &Judge, sdk: &Sdk) -> (Vec<String>, Vec<String>) {
    let (mut cuts, mut limits) = (Vec::new(), Vec::new());
    for (at, row) in whole.messages.iter().enumerate() {
        let info = SessionInfo { revert: None, ..whole.info.clone() };
        let before = Session { info, messages: whole.messages[..at].to_vec(), depth: Depth::Whole };
        let ends = |set: &'static RuleSet| {
            let seen = view(&before.messages, set);
            let user = newest(&seen, set).user?;
            Some((user.user()?.model.clone()?, last_turn(&seen, set, sdk, user)?.0))
        };
        let stuck = |set: &&'static RuleSet| {
            resume(&before, set, sdk) == Resume::EndsWithAssistant
                && ends(set).is_some_and(|(model, _)| judge.refuses.refuses(&model))
        };
        if row.user().is_some() && judge.counting.iter().any(stuck) {
            cuts.push(row.row.id.clone());
        }
        let newest_set = judge.counting.last().unwrap();
        if row.prefill_400() && ends(newest_set).is_some_and(|(_, role)| role != TurnRole::Assistant) {
            limits.push(row.row.id.clone());
        }
    }
    (cuts, limits)
}

fn said(d: &Diagnosis) -> String {
    format!("{:?} {:?} {:?} {:?} {:?} {:?}", d.status, d.evidence, d.model, d.orphans, d.prefill_400s, d.findings)
}

fn check(whole: &Session, judge: &Judge, sdk: &Sdk) -> Result<(), TestCaseError> {
    let expected = diagnose(whole, sdk, judge);
    let (cuts, limits) = cut_by_cut(whole, judge, sdk);
    prop_assert_eq!(latent_cuts(whole, sdk, judge), cuts);
    let past = |code: Code| expected.findings.iter().filter(move |f| f.code == code).map(|f| &f.message_id);
    prop_assert!(past(Code::StepLimitPrefill).all(|id| limits.contains(id)));
    prop_assert!(past(Code::RecoveredPrefill400).all(|id| !limits.contains(id)));
    for set in &RULE_SETS {
        let seen = view(&whole.messages, set);
        if let Some(user) = newest(&seen, set).user {
            let all = request(&seen, set, sdk, user);
            prop_assert_eq!(last_turn(&seen, set, sdk, user), all.last().map(|t| (t.role, t.row.id())));
        }
    }
    let stuck = |d: &Diagnosis| matches!(d.tail, Status::Stuck | Status::AtRisk);
    let mut tail = diagnose_tail(whole, sdk, judge);
    prop_assert_eq!(&tail.model, &model_of(whole));
    prop_assert_eq!(stuck(&tail), stuck(&expected));
    if stuck(&expected) {
        prop_assert_eq!(tail.tail, expected.tail);
        prop_assert!(expected.status == Status::Dead || tail.evidence == expected.evidence);
        prop_assert_eq!(&tail.resume, &expected.resume);
        tail.findings.retain(|f| !expected.findings.contains(f));
        prop_assert!(tail.findings.is_empty(), "{:?}", tail.findings);
    }
    check_short_cuts(whole, judge, sdk, &expected)
}

/// What is cleared at first sight has nothing to say, and is not stuck.
fn check_short_cuts(whole: &Session, judge: &Judge, sdk: &Sdk, expected: &Diagnosis) -> Result<(), TestCaseError> {
    let no_request = |d: &Diagnosis| d.resume.iter().all(|(_, r)| *r == Resume::NoRequest);
    if draft(whole, sdk, &judge.counting, Scope::All).is_plain() {
        // A revert that names nothing changes nothing of a history, but keeps it from being cleared.
        let mut looked_at = whole.clone();
        looked_at.info.revert = Some(Revert { message_id: "msg_zzzz".to_owned(), part_id: None });
        let looked_at = diagnose(&looked_at, sdk, judge);
        prop_assert_eq!(said(expected), said(&looked_at));
        prop_assert!(no_request(&looked_at) && expected.findings.is_empty());
    }
    let heads: Vec<Head> =
        whole.messages.iter().map(|m| Head { row: m.row.clone(), created: m.created, role: m.role.clone() }).collect();
    let calls = |m: &Rc<Message>| m.parts.iter().any(|p| matches!(p.kind, PartKind::Tool(_)));
    if whole.info.revert.is_none() && settled(&heads) && !whole.messages.last().is_some_and(calls) {
        prop_assert!(no_request(expected), "{:?}", expected.resume);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: crate::histories::cases(3_000), ..ProptestConfig::default() })]

    #[test]
    fn a_verdict_from_few_parts_is_that_of_all(
        seeds in proptest::collection::vec(seed(), 0..24),
        straight in any::<bool>(),
        revert in proptest::option::weighted(0.2, (0usize..14, any::<bool>())),
        newest in any::<bool>(),
        package in proptest::sample::select(vec!["@ai-sdk/anthropic", "@ai-sdk/openai-compatible", "@ai-sdk/amazon-bedrock"]),
    ) {
        // Half of the histories are in one order by every measure, and many of those longer.
        let mut seeds = seeds;
        if straight {
            for seed in &mut seeds {
                seed.1 = seed.1.max(3);
                seed.4 = if matches!(seed.4, 4 | 5) { 1 } else { seed.4 };
            }
        } else {
            seeds.truncate(14);
        }
        let counting = counting_from(newest.then_some(Version(1, 18, 33)));
        let judge = Judge { counting, guess: None, refuses: Refuses::default(), doubted: Vec::new() };
        check(&build(&seeds, revert), &judge, &Sdk::new(package))?;
    }
}

#[test]
fn the_tail_that_a_compaction_keeps_is_looked_at() {
    // The last row is a finished summary, but what is replayed last is the unfinished answer that it keeps.
    let rows = [
        (0, 9, 9, 9, 9, 9, vec![15]),
        (5, 9, 0, 9, 9, 9, vec![15]),
        (0, 9, 9, 9, 9, 9, vec![10]),
        (5, 9, 9, 9, 4, 9, vec![15]),
    ];
    let judge = Judge { counting: counting_from(None), guess: None, refuses: Refuses::default(), doubted: Vec::new() };
    let session = build(&rows, None);
    assert_eq!(diagnose(&session, &Sdk::keeping(), &judge).status, Status::Stuck);
    check(&session, &judge, &Sdk::keeping()).unwrap();
    // So it is where a revert or a fork makes that summary the last row.
    let mut longer = rows.to_vec();
    longer.extend([(0, 9, 9, 9, 9, 9, vec![15]), (5, 9, 9, 9, 9, 9, vec![15])]);
    let session = build(&longer, None);
    assert_eq!(diagnose(&session, &Sdk::keeping(), &judge).status, Status::Latent);
    let cuts = latent_cuts(&session, &Sdk::keeping(), &judge);
    assert_eq!(cuts.last().map(String::as_str), Some(session.messages[4].id()));
    check(&session, &judge, &Sdk::keeping()).unwrap();
}

#[test]
fn what_is_sent_to_one_model_says_nothing_of_another() {
    // Thinking that is only signed is a turn to the model that thought it, and none to another; the second prompt,
    // which is empty, goes to that model.
    let rows = [
        (0, 9, 9, 9, 0, 9, vec![15]),
        (5, 9, 0, 9, 9, 9, vec![3]),
        (0, 9, 9, 9, 9, 9, vec![]),
        (0, 9, 9, 9, 9, 9, vec![15]),
    ];
    let judge = Judge { counting: counting_from(None), guess: None, refuses: Refuses::default(), doubted: Vec::new() };
    let (session, sdk) = (build(&rows, None), Sdk::new("@ai-sdk/anthropic"));
    assert_eq!(latent_cuts(&session, &sdk, &judge), [session.messages[3].id()]);
    check(&session, &judge, &sdk).unwrap();
}

#[test]
fn a_sound_session_is_cleared_at_first_sight() {
    let turn = |role, parts: &[u8]| (role, 9, 9, 9, 9, 9, parts.to_vec());
    let tools = (5, 9, 3, 9, 9, 9, vec![12, 5]);
    let counting = counting_from(None);
    let plain = |rows: &[Seed]| draft(&build(rows, None), &Sdk::keeping(), &counting, Scope::All).is_plain();
    assert!(plain(&[turn(0, &[15]), tools.clone(), turn(5, &[12, 15]), turn(0, &[15]), turn(5, &[12, 15])]));
    assert!(!plain(&[turn(0, &[15]), tools, turn(0, &[15]), turn(5, &[12, 15])]), "a turn was interrupted");
    assert!(!plain(&[turn(0, &[15]), turn(5, &[12, 5, 12, 15])]), "a call in the last answer");
    assert!(!plain(&[turn(0, &[15]), turn(5, &[12, 7])]), "a call that was cut off");
}
