//! Messages and parts: hundreds of sessions in one store, one wrong row in each.

use std::sync::Mutex;

use super::place::{Place, Script};
use super::{Outcomes, note};
use crate::judge::side_by_side;
use crate::opencode::{Server, Version};
use crate::variants::{self, Base, Setting, Table, Variant};

/// Whether the wrong row stands in the last turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    Earlier,
    Newest,
}

struct Case {
    script: Script,
    row: String,
    member: String,
    change: String,
}

fn is_users(base: &str) -> bool {
    base.starts_with("user") || base.starts_with("file") || ["agent", "subtask", "compaction"].contains(&base)
}

/// Rows that the run loop looks at in the last turn.
fn in_the_last_turn(base: &Base) -> bool {
    ["user", "assistant", "text", "tool completed", "tool error", "tool running", "tool pending"]
        .contains(&base.name.as_str())
}

/// The message of a session that a base row is, or is put into.
fn index(base: &str, position: Where) -> usize {
    usize::from(!is_users(base)) + if position == Where::Newest { 2 } else { 0 }
}

fn case(work: &str, n: u64, variant: &Variant, position: Where) -> Case {
    let mut script = Script::sound(n, work);
    let at = index(&variant.row, position);
    // An id is no member of `data`; the row is sound.
    let rename = |id: &str| match variant.member.as_str() {
        "(id)" => format!("part_{}", &id[4..]),
        _ => id.to_owned(),
    };
    match variant.table {
        Table::Message if variant.member == "(id)" => {
            let renamed = format!("message_{}", &script.messages[at].id[4..]);
            let old = std::mem::replace(&mut script.messages[at].id, renamed.clone());
            script.messages.iter_mut().for_each(|message| message.text = message.text.replace(&old, &renamed));
        }
        Table::Message => script.messages[at].text = variant.text.clone(),
        // Claude takes no answer that ends with thinking.
        Table::Part => script.add(at, variant.text.clone(), variant.row == "reasoning", rename),
    }
    let newest = if position == Where::Newest { " (newest)" } else { "" };
    Case {
        script,
        row: format!("{}{newest}", variant.row),
        member: variant.member.clone(),
        change: variant.change.name(),
    }
}

/// The base rows of one session: what stands for its prompt and its time is its own.
fn bases(work: &str, n: u64, position: Where, only: Option<&str>) -> Vec<Base> {
    let script = Script::sound(n, work);
    let prompt = &script.messages[if position == Where::Newest { 2 } else { 0 }];
    let mut bases = Vec::new();
    for base in variants::bases(Setting { prompt: &prompt.id, work, time: prompt.time }) {
        if only.is_none_or(|only| only == base.name) {
            bases.push(base);
        }
    }
    bases
}

fn cases(work: &str) -> Vec<Case> {
    let mut out = Vec::new();
    let mut n = 1;
    for position in [Where::Earlier, Where::Newest] {
        for base in bases(work, n, position, None) {
            if position == Where::Newest && !in_the_last_turn(&base) {
                continue;
            }
            let count = variants::variants(&base).len();
            for at in 0..count + 2 {
                n += 1;
                // Built again for each session, since ids stand in the rows.
                let base = bases(work, n, position, Some(&base.name)).remove(0);
                let whole = |member: &str, change| Variant {
                    table: base.table,
                    row: base.name.clone(),
                    member: member.to_owned(),
                    change,
                    text: base.data.to_string(),
                };
                let variant = match at {
                    0 => whole("(sound)", variants::Change::Extra),
                    1 => whole("(id)", variants::Change::Prefix),
                    _ => variants::variants(&base).swap_remove(at - 2),
                };
                out.push(case(work, n, &variant, position));
            }
        }
    }
    out
}

/// Asks a version about each; lines about what must not be.
pub(super) fn measure(version: &Version, seen: &mut Outcomes) -> Vec<String> {
    let place = Place::new(version);
    let cases = cases(&place.work());
    let scripts: Vec<Script> = cases.iter().map(|case| case.script.clone()).collect();
    place.insert(&scripts);
    let retried = Place::new(version);
    let mut misses = Vec::new();
    let work = retried.work();
    retried.insert(&self::cases(&work).iter().map(|case| case.script.clone()).collect::<Vec<_>>());

    let server = Server::start(&place.home);
    let listed = server.get("/session?limit=100000").map(|list| list.as_array().map_or(0, Vec::len));
    if listed != Ok(cases.len() + 1) {
        misses.push(format!("opencode {version}: a wrong message or part changes the list: {listed:?}"));
    }
    let again = Server::start(&retried.home);
    let fails: Mutex<Vec<(usize, &str, String)>> = Mutex::default();
    let indexes: Vec<usize> = (0..cases.len()).collect();
    side_by_side(4, &indexes, |at| {
        let id = &cases[*at].script.id;
        let asked = [
            ("get", server.get(&format!("/session/{id}")).map(|_| ())),
            ("open", server.get(&format!("/session/{id}/message")).map(|_| ())),
            ("prompt", place.ask(&server, id, None)),
            ("retry", retried.ask(&again, id, Some(&cases[*at].script.messages[2].id))),
        ];
        for (what, answer) in asked {
            if let Err(why) = answer {
                fails.lock().expect("a list").push((*at, what, why));
            }
        }
    });
    let mut fails = fails.into_inner().expect("a list");
    fails.sort();
    for (at, case) in cases.iter().enumerate() {
        let mine: Vec<&(usize, &str, String)> = fails.iter().filter(|fail| fail.0 == at).collect();
        let what: Vec<&str> = mine.iter().map(|fail| fail.1).collect();
        let change = if case.member == "(sound)" { "none" } else { &case.change };
        note(seen, &case.row, &case.member, change, &what);
        for fail in mine {
            let line: String = fail.2.chars().take(400).collect();
            println!("  {version} {} / {} / {}: {}: {line}", case.row, case.member, case.change, fail.1);
        }
    }
    misses
}
