//! opencode's event log: what the real program wrote folds to its rows, before and after a repair.

use opencode_unstick::history::log::Log;
use opencode_unstick::store::{SessionEntry, with_snapshot};

use crate::fixtures;
use crate::place::Place;

#[test]
fn every_log_that_opencode_wrote_folds_to_its_rows() {
    for (name, logs) in [("1.17.11", 22), ("1.18.33", 22), ("1.18.33-tails", 7), ("1.15.3", 0)] {
        let mut folded = 0;
        with_snapshot(&fixtures::one(name).db, |store| {
            for entry in store.sessions()? {
                let SessionEntry::Readable(info) = entry else { panic!("{entry:?}") };
                let session = store.load(&info)?.session;
                match store.log(&session)? {
                    Log::Folds(_) => folded += 1,
                    Log::None => {}
                    Log::Differs(why) => panic!("{name} {}: {why}", info.title),
                }
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(folded, logs, "{name}");
    }
}

#[test]
fn one_odd_row_of_the_log_does_not_stop_the_repair_of_the_others() {
    let place = Place::named("1.18.33");
    let session = fixtures::one("1.18.33").id("rstpar").to_owned();
    place.edit(&format!("UPDATE event_sequence SET owner_id = x'00' WHERE aggregate_id = '{session}'"));
    let said = place.unstick(&["repair", "--yes", "--opencode", "any"]).exits(0);
    assert!(said.stdout.contains("event log not updated"), "{said:?}");
    assert_eq!(place.scan().status("rstpar"), "healthy");
}
