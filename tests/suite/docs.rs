//! What the documents say is what the program does.

use std::collections::BTreeSet;

use clap::{CommandFactory, Parser};
use opencode_unstick::diagnosis::{Applicability, Code, LeftReason};
use opencode_unstick::error::ErrorCode;
use strum::IntoEnumIterator;

use crate::cli::Cli;
use crate::held::{self, read};

/// Names in code marks, one behind the other.
fn list<T: std::fmt::Display>(names: impl Iterator<Item = T>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Each code with the words that a scan has for it; its sentence is in docs/schema/scan.json.
#[test]
fn the_findings_page_names_every_code_and_no_other() {
    let mut lines = Vec::new();
    for (can, what) in [
        (Applicability::Automatic, "`repair` does it."),
        (Applicability::OptIn, "`repair --include` does it, with the name in brackets."),
        (Applicability::ReportOnly, "it is only said."),
    ] {
        lines.extend([format!("`{can}`: {what}"), String::new()]);
        for code in Code::iter().filter(|code| code.applicability() == can) {
            let include = code.include().map(|include| format!(" (`{include}`)")).unwrap_or_default();
            lines.push(format!("- `{code}`{include}: {}", code.cause()));
        }
        lines.push(String::new());
    }
    lines.pop();
    held::section("docs/findings.md", "codes", &lines);
    held::section("docs/findings.md", "reasons", &[list(LeftReason::iter())]);
}

/// The cause of each is in docs/schema/error.json, and with the next step in what the program prints.
#[test]
fn the_errors_page_names_every_code_and_no_other() {
    held::section("docs/errors.md", "codes", &[list(ErrorCode::iter())]);
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

/// The long flags of a command, those of every command aside.
fn flags(command: &clap::Command, global: bool) -> BTreeSet<String> {
    command
        .get_arguments()
        .filter(|a| a.is_global_set() == global && !a.is_hide_set())
        .filter_map(|a| a.get_long())
        .filter(|name| !["help", "version"].contains(name))
        .map(|name| format!("--{name}"))
        .collect()
}

/// The words of a text that are long flags.
fn named(text: &str) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    for (at, _) in text.match_indices("--") {
        let before = text[..at].chars().next_back();
        let name: String =
            text[at + 2..].chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect::<String>();
        if !name.is_empty() && !name.starts_with('-') && before.is_none_or(|c| !c.is_alphanumeric() && c != '-') {
            out.insert(format!("--{}", name.trim_end_matches('-')));
        }
    }
    out
}

/// The sections of docs/commands.md about a command, by its name; under "" what is said of every command.
fn sections() -> Vec<(String, String)> {
    let page = read("docs/commands.md");
    let mut out = Vec::new();
    for (n, section) in page.split("\n## ").enumerate() {
        let title = section.lines().next().unwrap();
        match title.strip_prefix("`unstick ").map(|rest| rest.trim_end_matches('`')) {
            Some(name) => out.push((name.split(' ').next().unwrap().to_owned(), section.to_owned())),
            None if n == 0 => out.push((String::new(), section.to_owned())),
            None => {}
        }
    }
    out
}

#[test]
fn the_commands_page_names_every_flag_and_no_other() {
    let program = Cli::command();
    let sections = sections();
    let of = |name: &str| &sections.iter().find(|(n, _)| n == name).unwrap_or_else(|| panic!("no section on {name}")).1;
    let global = flags(&program, true);
    assert!(global.len() > 8);
    let lacking: Vec<_> = global.iter().filter(|flag| !of("").contains(&format!("`{flag}"))).collect();
    assert!(lacking.is_empty(), "docs/commands.md lacks {lacking:?} of every command");
    let commands: Vec<&clap::Command> = program.get_subcommands().filter(|c| c.get_name() != "help").collect();
    let everywhere: BTreeSet<String> =
        commands.iter().flat_map(|c| flags(c, false)).chain(global.iter().cloned()).collect();
    for command in &commands {
        let name = command.get_name();
        let said = named(of(name));
        let lacking: Vec<_> = flags(command, false).difference(&said).cloned().collect();
        assert!(lacking.is_empty(), "docs/commands.md lacks {lacking:?} of `unstick {name}`");
        let invented: Vec<_> = said.difference(&everywhere).cloned().collect();
        assert!(invented.is_empty(), "`unstick {name}` has no {invented:?}");
    }
    let unknown: Vec<&String> =
        sections.iter().map(|(n, _)| n).filter(|n| !n.is_empty() && program.find_subcommand(n).is_none()).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn the_synopses_of_the_commands_page_hold_every_flag_of_their_command() {
    let program = Cli::command();
    for (name, section) in sections().iter().filter(|(name, _)| !name.is_empty()) {
        let synopsis: String =
            section.lines().filter(|l| l.starts_with("    ")).map(|l| l.trim().to_owned() + " ").collect();
        let flags = flags(program.find_subcommand(name).unwrap(), false);
        let lacking: Vec<_> = flags.difference(&named(&synopsis)).cloned().collect();
        assert!(lacking.is_empty(), "the synopsis of `unstick {name}` lacks {lacking:?}");
    }
}

/// Documents in which commands are shown.
fn pages() -> Vec<(String, String)> {
    let mut files = vec!["README.md".to_owned(), "CONTRIBUTING.md".to_owned()];
    let docs = std::fs::read_dir(held::path("docs")).unwrap();
    files.extend(docs.map(|e| format!("docs/{}", e.unwrap().file_name().into_string().unwrap())));
    files.retain(|f| f.ends_with(".md") && held::path(f).exists());
    files.into_iter().map(|f| (f.clone(), read(&f))).collect()
}

/// The words of a command line as a shell would take them, up to a pipe, a redirection or a comment.
fn words(line: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, ' ') => {
                if !word.is_empty() {
                    out.push(std::mem::take(&mut word));
                }
                if chars.peek().is_some_and(|c| "|>#;&(".contains(*c)) {
                    break;
                }
            }
            (None, ';' | '|') => break,
            (_, c) => word.push(c),
        }
    }
    if !word.is_empty() {
        out.push(word);
    }
    out
}

/// A command of a text: what stands behind "unstick " in code, or at the beginning of a line of a code block.
fn commands(page: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut block = String::new();
    let mut inside = false;
    for line in page.lines() {
        if line.starts_with("```") {
            inside = !inside;
        } else if inside || line.starts_with("    ") {
            // A line that ends with a backslash goes on.
            block.push_str(line.trim_end().trim_end_matches('\\'));
            if !line.trim_end().ends_with('\\') {
                let line = std::mem::take(&mut block);
                let line =
                    line.trim().trim_start_matches("$ ").trim_start_matches("Next: ").trim_start_matches("Why:  ");
                out.extend(line.starts_with("unstick ").then(|| line.to_owned()));
            }
        }
    }
    // Code in running text may go over the end of a line.
    let text: String = page.split("```").step_by(2).collect::<Vec<_>>().join(" ").replace('\n', " ");
    out.extend(text.split('`').skip(1).step_by(2).filter(|code| code.starts_with("unstick ")).map(str::to_owned));
    out
}

/// Whether the program's own definition takes the command; a synopsis is none.
fn is_taken(command: &str) -> Result<bool, String> {
    if command.contains('[') || command.contains('…') || command.contains(" --opencode any|VERSION") {
        return Ok(false);
    }
    let numbers = command.replace("SECONDS", "30").replace(" VERSION", " 1.18.33").replace("SHELL", "bash");
    let mut words = words(&numbers);
    // `unstick schema COMMAND` and the like stand for any of the values.
    if let Some(word) = words.iter_mut().find(|w| *w == "COMMAND") {
        *word = "scan".to_owned();
    }
    if words.get(1).is_some_and(|w| w.chars().all(|c| c.is_ascii_uppercase())) {
        return Ok(false);
    }
    match Cli::try_parse_from(&words) {
        Ok(_) => Ok(true),
        Err(error) if !error.use_stderr() => Ok(true),
        Err(error) => Err(format!("{command}: {}", error.to_string().lines().next().unwrap_or_default())),
    }
}

#[test]
fn every_command_that_is_shown_is_one() {
    let mut shown: Vec<(String, String)> =
        pages().iter().flat_map(|(file, text)| commands(text).into_iter().map(|c| (file.clone(), c))).collect();
    let mut program = Cli::command();
    let mut helps = vec![("--help".to_owned(), program.render_long_help().to_string())];
    let names: Vec<String> = program.get_subcommands().map(|c| c.get_name().to_owned()).collect();
    for name in names {
        let help = program.find_subcommand_mut(&name).unwrap().render_long_help().to_string();
        helps.push((format!("{name} --help"), help));
    }
    for (name, help) in &helps {
        let examples = help.split_once("Examples:\n").map(|(_, rest)| rest).unwrap_or_default();
        let lines: Vec<&str> = examples.lines().take_while(|l| l.starts_with("  unstick ")).collect();
        let command = name.trim_end_matches("--help").trim();
        assert!(!lines.is_empty() || command == "help", "{name} shows no example");
        for line in lines {
            // The comment stands at least two spaces behind the command.
            let line = line.trim();
            let line = line.split_once("  ").map_or(line, |(before, _)| before);
            assert!(line.starts_with(format!("unstick {command}").trim_end()), "{name}: {line}");
            shown.push((name.clone(), line.to_owned()));
        }
    }
    for code in ErrorCode::iter() {
        shown.extend(commands(code.next()).into_iter().map(|c| (format!("error {code}"), c)));
    }
    let mut taken = 0;
    let mut wrong = Vec::new();
    for (from, command) in shown {
        match is_taken(&command) {
            Ok(was) => taken += u32::from(was),
            Err(why) => wrong.push(format!("{from}: {why}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(taken > 60, "only {taken} commands were looked at");
}

#[test]
fn every_argument_is_explained() {
    let program = Cli::command();
    for command in std::iter::once(&program).chain(program.get_subcommands()) {
        assert!(command.get_about().is_some(), "{}", command.get_name());
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
        }
    }
}

#[test]
fn every_test_that_the_page_about_reliability_names_is_there() {
    let page = read("docs/reliability.md");
    let mut named = 0;
    for word in page.split('`').skip(1).step_by(2).filter(|w| w.contains("::") && !w.contains(' ')) {
        let (module, test) = word.split_once("::").unwrap();
        let folder = if ["beside", "live"].contains(&module) { "e2e" } else { "suite" };
        let source = read(&format!("tests/{folder}/{module}.rs"));
        let there = source.contains(&format!("fn {test}(")) || source.contains(&format!("    {test}: "));
        assert!(there, "docs/reliability.md names {word}");
        named += 1;
    }
    let number = |line: &&str| line.split('|').nth(1).is_some_and(|n| n.trim().parse::<u32>().is_ok());
    let promises = page.lines().filter(|line| line.starts_with('|')).filter(number);
    assert!(promises.map(|line| line.matches("::").count()).all(|tests| tests >= 2));
    assert!(named > 40, "{named}");
}

/// Every source file that a page about the code names, in code marks, is in the tree.
#[test]
fn every_source_file_that_a_page_names_is_there() {
    let root = held::path("");
    let mut missing = Vec::new();
    let mut named = 0;
    for page in
        ["docs/architecture.md", "docs/performance.md", "docs/reliability.md", "docs/testing.md", "CONTRIBUTING.md"]
    {
        let text = read(page);
        let text = text.split("```").step_by(2).collect::<Vec<_>>().join(" ");
        for name in text.split('`').skip(1).step_by(2).filter(|n| n.ends_with(".rs") && !n.contains(' ')) {
            let file = name.trim_start_matches("src/");
            let rooms =
                ["src", "tests/suite", "tests/e2e", "tests", ".", "src/diagnosis", "src/opencode2", "src/report"];
            let there = rooms.iter().any(|room| root.join(room).join(file).is_file());
            if !there {
                missing.push(format!("{page}: {name}"));
            }
            named += 1;
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(named > 30, "{named}");
}
