//! Every recorded verdict of a real opencode is what the replay predicts.

use opencode_unstick::replay::{Resume, Sdk, Version, counting_from, resume};
use opencode_unstick::store::{SessionEntry, with_snapshot};

use crate::fixtures;

pub fn verdict(text: &str) -> Resume {
    text.replace(' ', "-").parse().unwrap()
}

#[test]
fn every_retry_verdict_is_predicted() {
    let mut cells = 0;
    let mut misses = Vec::new();
    for fixture in fixtures::all() {
        let sdk = Sdk::new(fixture.sessions.sdk.values().next().unwrap());
        with_snapshot(&fixture.db, |store| {
            for entry in store.sessions()? {
                let SessionEntry::Readable(info) = entry else { panic!("{entry:?}") };
                let loaded = store.load(&info)?;
                assert!(loaded.unreadable.is_empty(), "{:?}", loaded.unreadable);
                for (version, seen) in &fixture.verdicts[&info.id].retry {
                    cells += 1;
                    let set = counting_from(Some(version.parse::<Version>().unwrap()))[0];
                    let said = resume(&loaded.session, set, &sdk);
                    if said != verdict(seen) {
                        misses.push(format!(
                            "{} {} by {version}: predicted {said}, seen {seen}",
                            fixture.name, info.title
                        ));
                    }
                }
            }
            Ok(())
        })
        .unwrap();
    }
    assert!(misses.is_empty(), "{} of {cells} cells missed:\n{}", misses.len(), misses.join("\n"));
    assert!(cells >= 315, "only {cells} cells were looked at");
}
