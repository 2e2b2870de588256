//! Plans for every real session: what they lead to, and what they leave.

use opencode_unstick::diagnosis::{Judge, Refuses, Status, diagnose};
use opencode_unstick::repair::{Aim, Allowed, plan_session, prove};
use opencode_unstick::replay::{RULE_SETS, Resume, Sdk, counting_from, resume};
use opencode_unstick::store::{SessionEntry, with_snapshot};

use crate::fixtures;

/// Sessions of the fixtures that a repair leaves, and why.
const LEFT: &[(&str, &str, &str)] = &[("1.18.33-tails", "overflow-tail", "near-window")];

#[test]
fn every_stuck_session_is_planned_and_proven() {
    let judge = Judge { counting: counting_from(None), refuses: Refuses::default() };
    let mut planned = 0;
    for fixture in fixtures::all() {
        let sdk = Sdk::new(fixture.sessions.sdk.values().next().unwrap());
        with_snapshot(&fixture.db, |store| {
            for entry in store.sessions()? {
                let SessionEntry::Readable(info) = entry else { panic!("{entry:?}") };
                let session = store.load_guarded(&info)?.session;
                let diagnosis = diagnose(&session, &sdk, &judge);
                let name = format!("{} {}", fixture.name, info.title);
                println!(
                    "{name}: {} {:?}",
                    diagnosis.status,
                    diagnosis.findings.iter().map(|f| f.code.to_string()).collect::<Vec<_>>()
                );
                if diagnosis.status != Status::Stuck {
                    continue;
                }
                match plan_session(&session, &sdk, Aim::TAIL, Allowed::default(), 1, &|_| None) {
                    Ok((plan, after)) => {
                        planned += 1;
                        assert!(!plan.edits.is_empty(), "{name}");
                        prove(&session, &after, &sdk, Allowed::default()).unwrap_or_else(|c| panic!("{name}: {c}"));
                        for set in &RULE_SETS {
                            assert!(
                                matches!(resume(&after, set, &sdk), Resume::NoRequest | Resume::EndsWithUser),
                                "{name}"
                            );
                        }
                        let again = plan_session(&after, &sdk, Aim::TAIL, Allowed::default(), 2, &|_| None).unwrap();
                        assert!(again.0.edits.is_empty(), "{name}: {:?}", again.0);
                        for e in &plan.edits {
                            println!("    {} {} {} {}", e.op, e.table, e.id, e.reason);
                        }
                    }
                    Err(left) => assert!(
                        LEFT.contains(&(fixture.name.as_str(), info.title.as_str(), left.reason.to_string().as_str())),
                        "{name} is left: {left:?}"
                    ),
                }
            }
            Ok(())
        })
        .unwrap();
    }
    assert!(planned >= 56, "only {planned}");
}
