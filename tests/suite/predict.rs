//! Every recorded verdict of a real opencode is what a scan predicts.

use crate::fixtures;
use crate::place::Place;

#[test]
fn a_scan_predicts_every_retry_verdict() {
    let mut looked_at = 0;
    let mut misses = Vec::new();
    for fixture in fixtures::all() {
        let scan = Place::of(&fixture).scan();
        let sessions = scan.by_id();
        for cell in fixture.retry_cells() {
            looked_at += 1;
            let said = &sessions[cell.session]["resume"][cell.key];
            if *said != cell.seen.to_string() {
                misses.push(format!(
                    "{} {} by {}: predicted {said}, seen {}",
                    fixture.name, cell.title, cell.version, cell.seen
                ));
            }
        }
    }
    assert!(misses.is_empty(), "{} of {looked_at} cells missed:\n{}", misses.len(), misses.join("\n"));
    assert!(looked_at >= 315, "only {looked_at} cells were looked at");
}

#[test]
fn a_scan_lists_every_session_once_and_counts_it() {
    for fixture in fixtures::all() {
        let scan = Place::of(&fixture).scan();
        let ids: Vec<&str> = scan.by_id().into_keys().collect();
        let expected: Vec<&str> = fixture.verdicts.keys().map(String::as_str).collect();
        assert_eq!(ids, expected, "{}", fixture.name);
        let summary = &scan.document["summary"];
        let counted: u64 = ["stuck", "at_risk", "latent", "recovered", "healthy", "unreadable"]
            .iter()
            .map(|status| summary[status].as_u64().unwrap())
            .sum();
        assert_eq!(counted, expected.len() as u64, "{}: {summary}", fixture.name);
        assert_eq!(summary["stuck"], scan.titles("stuck").len(), "{}", fixture.name);
        assert_eq!(scan.run.code, i32::from(summary["stuck"] != 0), "{}", fixture.name);
        assert_eq!(scan.document["store"]["sessions"], expected.len(), "{}", fixture.name);
    }
}
