//! Standard output and standard error, with colours where they are wanted and silence on a closed pipe.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use super::sanitize::steers;

/// `--color`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ColorChoice {
    /// On a terminal, unless the environment says otherwise.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The size of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Screen {
    /// How wide it is.
    pub columns: u16,
    /// How many lines it has.
    pub rows: u16,
}

/// Where a command prints.
#[derive(Debug, Clone)]
pub struct Output {
    /// Escape sequences for colours are allowed on standard output.
    pub color: bool,
    /// The same on standard error.
    pub color_notes: bool,
    /// Columns of the terminal, or what is assumed where there is none.
    pub width: u16,
    /// Lines of the terminal; `None` where there is none, and nothing scrolls away.
    pub rows: Option<u16>,
    /// One line only.
    pub quiet: bool,
    /// More detail.
    pub verbose: bool,
    /// Flags of the call that the next command must repeat to be about the same store, in the shell's spelling.
    pub repeat: String,
}

/// Columns beyond which a text is hard to read.
const PROSE: u16 = 110;
/// Columns that are assumed where standard output is no terminal.
const DEFAULT_WIDTH: u16 = 100;

impl Output {
    /// Decides on colours and size. `screen` is the terminal that standard output is, if it is one; `var` looks an
    /// environment variable up, and empty counts as unset.
    #[must_use]
    pub fn new(
        choice: ColorChoice,
        (quiet, verbose): (bool, bool),
        screen: Option<Screen>,
        var: impl Fn(&str) -> Option<String>,
    ) -> Self {
        let terminal = io::stdout().is_terminal();
        let color_on = |terminal: bool| match choice {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => {
                if var("NO_COLOR").is_some() {
                    false
                } else if var("CLICOLOR_FORCE").is_some_and(|v| v != "0") {
                    true
                } else {
                    terminal && var("TERM").as_deref() != Some("dumb") && var("CLICOLOR").as_deref() != Some("0")
                }
            }
        };
        let (color, color_notes) = (color_on(terminal), color_on(io::stderr().is_terminal()));
        let width = screen.map(|s| s.columns).or_else(|| var("COLUMNS").and_then(|c| c.parse().ok()));
        Self {
            color,
            color_notes,
            width: width.unwrap_or(DEFAULT_WIDTH).max(40),
            rows: screen.map(|s| s.rows),
            quiet,
            verbose,
            repeat: String::new(),
        }
    }

    /// Prints to standard output. A closed pipe is not an error: the reader has seen enough.
    ///
    /// # Errors
    /// When standard output cannot be written for another reason.
    pub fn print(&self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    }

    /// Prints a JSON document, indented, and a line break.
    ///
    /// # Errors
    /// As [`Output::print`].
    pub fn json(&self, document: &impl Serialize) -> io::Result<()> {
        self.print(&(printable(&serde_json::to_string_pretty(document)?) + "\n"))
    }

    /// Prints a JSON document in one line.
    ///
    /// # Errors
    /// As [`Output::print`].
    pub fn json_line(&self, document: &impl Serialize) -> io::Result<()> {
        self.print(&(printable(&serde_json::to_string(document)?) + "\n"))
    }

    /// Prints a line to standard error. Nobody can be told when that fails.
    pub fn note(&self, line: &str) {
        let _ = writeln!(io::stderr(), "{line}");
    }

    /// Asks on standard error and reads one line of the answer; `None` at the end of input.
    ///
    /// # Errors
    /// When the answer cannot be read.
    pub fn ask(&self, question: &str) -> io::Result<Option<String>> {
        let _ = write!(io::stderr(), "{question} ");
        let _ = io::stderr().flush();
        let mut line = String::new();
        Ok((io::stdin().read_line(&mut line)? > 0).then(|| line.trim().to_lowercase()))
    }

    /// Whether somebody sits there to be asked.
    #[must_use]
    pub fn interactive() -> bool {
        io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// A command to go on with: it repeats what this call said of the store.
    #[must_use]
    pub fn command(&self, words: &str) -> String {
        self.bold(format!("unstick {words} {}", self.repeat).trim_end())
    }

    /// The text in lines of the terminal's width, or of 110 columns where that is wider, broken between words; later lines start with `indent`.
    #[must_use]
    pub fn wrap(&self, text: &str, indent: &str) -> String {
        // Codes, paths and commands hold hyphens and slashes: a line breaks at spaces alone.
        let options = textwrap::Options::new(usize::from(self.width.min(PROSE)))
            .subsequent_indent(indent)
            .break_words(false)
            .word_separator(textwrap::WordSeparator::AsciiSpace)
            .word_splitter(textwrap::WordSplitter::NoHyphenation);
        textwrap::fill(text, options)
    }

    /// A text for standard error in an SGR style, where colours are allowed there.
    #[must_use]
    pub fn note_style(&self, style: &str, text: &str) -> String {
        if self.color_notes { format!("\u{1b}[{style}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// The text in an SGR style, where colours are allowed.
    #[must_use]
    pub fn paint(&self, style: &str, text: &str) -> String {
        if self.color { format!("\u{1b}[{style}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// The text in bold.
    #[must_use]
    pub fn bold(&self, text: &str) -> String {
        self.paint("1", text)
    }

    /// The text dimmed.
    #[must_use]
    pub fn dim(&self, text: &str) -> String {
        self.paint("2", text)
    }
}

/// JSON text with the characters escaped that a terminal must not get: they can only stand in strings.
fn printable(json: &str) -> String {
    if !json.chars().any(|c| c != '\n' && steers(c)) {
        return json.to_owned();
    }
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c != '\n' && steers(c) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(c);
        }
    }
    out
}
