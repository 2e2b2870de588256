//! opencode's event log: what the real program wrote folds to its rows, before and after a repair.

use opencode_unstick::history::log::Log;
use opencode_unstick::store::{SessionEntry, with_snapshot};

use crate::fixtures;

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
