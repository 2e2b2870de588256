//! What the documents say is what the program does.

use opencode_unstick::diagnosis::{Code, LeftReason};
use strum::IntoEnumIterator;

fn read(file: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn the_findings_page_names_every_code_and_no_other() {
    let page = read("docs/findings.md");
    let codes = Code::iter().map(|c| format!("| `{c}` | {} | {} |", c.applicability(), c.description()));
    let reasons = LeftReason::iter().map(|r| format!("| `{r}` | {} |", r.description()));
    let rows: Vec<String> = codes.chain(reasons).collect();
    for row in &rows {
        assert!(page.lines().any(|line| line == row), "docs/findings.md lacks: {row}");
    }
    let on_page: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
    assert_eq!(on_page.len(), rows.len(), "docs/findings.md has rows that no code stands for");
}

#[test]
fn the_first_two_shell_blocks_of_the_readme_hold_one_command_each() {
    let readme = read("README.md");
    let blocks: Vec<Vec<&str>> =
        readme.split("```sh\n").skip(1).map(|rest| rest.lines().take_while(|l| *l != "```").collect()).collect();
    assert_eq!((blocks[0].len(), blocks[1].len()), (1, 1));
    assert!(blocks[0][0].contains("cargo run") && blocks[0][0].contains("fixtures/stores/"));
    assert_eq!(blocks[1][0], "cargo test --locked");
}
