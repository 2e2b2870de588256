//! What rests on rules that nobody measured is at risk, says so, and is left until it is asked for.

use serde_json::json;

use crate::place::Place;

/// Those of 1.17.11's sessions whose tail is refused by the rules of 1.15.0 to 1.15.4, and not from 1.15.13 on.
const GUESSED: [&str; 3] = ["overmidtool", "rstmidtool", "rstthink"];

fn titles(place: &Place, version: &str, status: &str) -> Vec<String> {
    let scan = place.scan_with(&["--opencode", version]);
    let mut titles: Vec<String> = scan.titles(status).into_iter().map(str::to_owned).collect();
    titles.sort();
    titles
}

#[test]
fn what_only_a_gap_between_measured_versions_makes_stuck_is_at_risk() {
    let place = Place::named("1.17.11");
    let stuck = titles(&place, "1.15.13", "stuck");
    assert_eq!(stuck.len(), 4);
    // Measured on both sides of the gap.
    assert_eq!(titles(&place, "1.15.4", "stuck").len(), 7);
    for version in ["1.15.5", "1.15.12"] {
        assert_eq!(titles(&place, version, "at-risk"), GUESSED, "{version}");
        assert_eq!(titles(&place, version, "stuck"), stuck, "{version}");
    }
    let scan = place.scan_with(&["--opencode", "1.15.5"]);
    assert_eq!(scan.session("rstthink")["doubts"], json!(["version"]));
    let listed = place.unstick(&["scan", "--status", "at-risk", "--opencode", "1.15.5"]).stdout;
    assert_eq!(listed.matches("if its opencode, never measured, asks so").count(), 3, "{listed}");
    let id = scan.session("rstthink")["id"].as_str().unwrap();
    let told = place.unstick(&["explain", id, "--opencode", "1.15.5"]).stdout;
    assert!(told.contains("That is a guess"), "{told}");

    let left = place.repair_with(&["--opencode", "1.15.5"]).json();
    let reasons: Vec<&str> = left["left"].as_array().unwrap().iter().map(|l| l["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["unmeasured-version"; 3]);
    assert_eq!(titles(&place, "1.15.4", "stuck"), GUESSED);
    place.repair_with(&["--opencode", "1.15.5", "--include", "unmeasured"]).exits(0);
    assert_eq!(titles(&place, "1.15.4", "stuck"), [""; 0]);
}

#[test]
fn a_fork_is_not_the_version_that_it_is_named_after() {
    let place = Place::named("1.18.33");
    let (stuck, none) = (titles(&place, "1.18.33", "stuck"), [""; 0]);
    // Sessions that were refused are no guess, whoever asked.
    let refused = ["empty-after-healthy", "empty-after-orphan", "rstpar"];
    place.edit("UPDATE session SET version = '1.18.33-aiand.1'");
    let scan = place.scan();
    let evidenced = |title: &str| scan.session(title)["evidence"] == "evidenced";
    for title in &stuck {
        assert_eq!(scan.status(title), if evidenced(title) { "stuck" } else { "at-risk" }, "{title}");
    }
    assert!(refused.iter().all(|title| scan.status(title) == "stuck"));
    assert!(!scan.titles("at-risk").is_empty());
    // What newer versions that were measured refuse as well is no guess.
    place.edit("UPDATE session SET version = '1.18.20-aiand.1'");
    assert_eq!(place.scan().titles("at-risk"), none);
    // Where opencode's own program was at it, too, that counts.
    place.edit(
        "UPDATE session SET version = '1.18.33-aiand.1';
         UPDATE session SET version = '1.18.33' WHERE title = 'healthy'",
    );
    assert_eq!(place.scan().titles("at-risk"), none);
    assert_eq!(titles(&place, "1.18.33-aiand.1", "at-risk").len(), stuck.len() - scan.titles("stuck").len());
}
