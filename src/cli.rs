//! The command line: clap types, nothing else.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use opencode_unstick::audit::Opencode;
use opencode_unstick::diagnosis::{Format, Include, Status};
use opencode_unstick::sdk::SdkOverride;
use strum::IntoEnumIterator;

const EXIT_CODES: &str = "Exit codes: 0 nothing to do, or all done; 1 a session is stuck, dead or unopenable, or was left; \
    2 could not do it, nothing changed; 130 interrupted, nothing changed.";

const EXAMPLES: &str = "\
Examples:
  unstick                                 how the store stands, in three lines
  unstick scan                            which sessions are stuck, and why
  unstick explain SESSION                 what a retry of one would send
  unstick repair --dry-run                what a repair would do
  unstick repair                          the same, then ask, then do it
  unstick undo                            take that back";

const SCAN_EXAMPLES: &str = "\
Examples:
  unstick scan                            the store that opencode itself would open
  unstick scan --here --since 7d          sessions of this folder, touched in the last week
  unstick scan --status latent            every latent session
  unstick scan --all --verbose            every session, with all that is known of it
  unstick scan --stuck --quiet            one line, as fast as it gets
  unstick scan session.json               a session that `opencode export` has written
  unstick scan --deep                     every byte of every row, for sessions that do not open
  unstick scan --json-lines               one session a line, for jq or DuckDB
  unstick scan --all-stores               the stores of every opencode channel

Without --deep a scan reads the start of a large row: a row that opencode cannot read is found by what stands there (ids, \
members that are missing or of a wrong kind). Broken JSON further in, and members within members, are found by --deep and by \
`explain`.

Writes nothing, and may run beside a running opencode. Exit code 1: something is stuck, dead or unopenable.";

const REPAIR_EXAMPLES: &str = "\
Examples:
  unstick repair --dry-run                show what would be done
  unstick repair                          show it, ask, do it
  unstick repair SESSION --yes            one session, without asking
  unstick repair --backup before.db       a full copy of the store first
  unstick repair --wait 30                give opencode 30 seconds to be closed
  unstick repair --include latent         turns that a revert or a fork would bring up, too

Quit opencode first: a store that another process has open is not written. `unstick undo` takes a repair back.";

const UNDO_EXAMPLES: &str = "\
Examples:
  unstick undo                            take the newest repair back, after asking
  unstick undo --list                     the repairs on record, and how they stand
  unstick undo 20261121T0854              that one, by the beginning of its ID
  unstick undo --dry-run                  show what would be put back";

const RELINK_EXAMPLES: &str = "\
Examples:
  unstick relink                          sessions whose folder is gone, and where it may be now
  unstick relink --dry-run OLD NEW        show what would be done
  unstick relink OLD NEW                  show it, ask, do it

Quit opencode first. `unstick undo` takes a relink back.";

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  unstick explain ses_e02af698dffe6x5k00rvAEqXN3
  unstick explain \"Fix the login test\"    by exact title
  unstick explain SESSION --text          with what the messages say
  unstick explain SESSION --verbose       every row, not the last twelve";

const STATS_EXAMPLES: &str = "\
Examples:
  unstick stats --since 30d               what happened in the last month
  unstick stats --by model                one table
  unstick stats --svg timeline.svg        a picture
  unstick stats --json                    a report without paths, titles or texts

A report of --json holds ids, times, models and tools, but no paths, titles or texts, so it can be handed on. \
docs/json.md shows how DuckDB reads many of them at once.";

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  unstick completions bash > ~/.local/share/bash-completion/completions/unstick
  unstick completions zsh > ~/.zfunc/_unstick
  unstick completions fish > ~/.config/fish/completions/unstick.fish";

const MAN_EXAMPLES: &str = "\
Examples:
  unstick man > unstick.1                 the page of the program
  unstick man repair > unstick-repair.1   the page of one command";

const SCHEMA_EXAMPLES: &str = "\
Examples:
  unstick schema scan                     of `unstick scan --json`
  unstick schema error                    of what is written when something cannot be done";

/// Repairs opencode sessions that every retry gets a 400 for.
///
/// When a stream is cut, an answer is aborted or an empty prompt arrives, the history that opencode stored can
/// make the next request end with an assistant turn. Models without prefill refuse that, the refusal is stored
/// too, and every retry sends the same history again. unstick finds such sessions and rewrites their rows so
/// that they resume, without losing or adding a word.
#[derive(Debug, Parser)]
#[command(name = "unstick", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = EXIT_CODES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    /// Without one, the store is checked.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// The store to work on; may be given several times [default: the one that opencode opens]
    #[arg(long, value_name = "PATH", global = true)]
    pub(crate) db: Vec<PathBuf>,
    /// Work on every store in opencode's data folder
    #[arg(long, global = true, conflicts_with = "db")]
    pub(crate) all_stores: bool,
    /// The oldest opencode that will open the store, or `any` [default: what the store tells]
    #[arg(long, value_name = "any|VERSION", global = true, hide_short_help = true)]
    pub(crate) opencode: Option<Opencode>,
    /// A model that refuses requests which end with an assistant turn (PROVIDER/MODEL or MODEL)
    #[arg(long, value_name = "MODEL", global = true, hide_short_help = true)]
    pub(crate) refuses: Vec<String>,
    /// The AI SDK package behind a provider or model
    #[arg(long, value_name = "PROVIDER[/MODEL]=PACKAGE", global = true, hide_short_help = true)]
    pub(crate) sdk: Vec<SdkOverride>,
    /// Print one JSON document (docs/json.md; `unstick schema` prints its schema)
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// When to use colours; auto follows the terminal, NO_COLOR and CLICOLOR_FORCE
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = Color::Auto, global = true, hide_short_help = true)]
    pub(crate) color: Color,
    /// One line only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say more
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
    /// How many threads read a store [default: as many as the machine runs at once]
    #[arg(long, value_name = "N", global = true, hide_short_help = true)]
    pub(crate) threads: Option<NonZeroUsize>,
    /// No progress bars
    #[arg(long, global = true, hide_short_help = true)]
    pub(crate) no_progress: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say which sessions are stuck, and why
    Scan(Scan),
    /// Rewrite stuck sessions so that they resume
    Repair(Repair),
    /// Take a repair back
    Undo(Undo),
    /// List sessions whose folder is gone, and tell them where it is now
    Relink(Relink),
    /// Show what a model would be sent from a session, turn by turn, and why that is refused
    Explain(Explain),
    /// Count cut-off tool calls and refused requests, and show how they belong together
    Stats(Stats),
    /// Print a completion script for a shell
    Completions(Completions),
    /// Print the manual page, of the program or of one command
    Man(Man),
    /// Print the JSON Schema of what a command writes with --json
    Schema(Schema),
}

#[derive(Debug, Args)]
#[command(after_long_help = COMPLETIONS_EXAMPLES)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
#[command(after_long_help = MAN_EXAMPLES)]
pub(crate) struct Man {
    /// The command [default: the program]
    #[arg(value_name = "COMMAND")]
    pub(crate) command: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_long_help = SCHEMA_EXAMPLES)]
pub(crate) struct Schema {
    /// The command, or one of its other documents
    #[arg(value_enum, value_name = "COMMAND")]
    pub(crate) document: Document,
}

/// `unstick schema`: see [`opencode_unstick::report::Document`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Document {
    /// scan --json
    Scan,
    /// A line of scan --json-lines
    ScanLine,
    /// repair --json
    Repair,
    /// undo --json
    Undo,
    /// undo --list --json
    UndoList,
    /// relink --json
    Relink,
    /// explain --json
    Explain,
    /// stats --json
    Stats,
    /// What is written instead when something cannot be done
    Error,
}

/// Which sessions a command is about.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Selection {
    /// Sessions: an id, a unique prefix of one, or an exact title [default: all]; scan takes files of `opencode export` too
    #[arg(value_name = "SESSION")]
    pub(crate) sessions: Vec<String>,
    /// Only sessions that were made in this folder
    #[arg(long, value_name = "PATH")]
    pub(crate) directory: Option<PathBuf>,
    /// Only sessions that were made in the current folder
    #[arg(long, conflicts_with = "directory")]
    pub(crate) here: bool,
    /// Only sessions of opencode 1 (v1) or of opencode 2 (v2)
    #[arg(long, value_name = "v1|v2", hide_short_help = true)]
    pub(crate) format: Option<Format>,
}

#[derive(Debug, Default, Args)]
#[command(after_long_help = SCAN_EXAMPLES)]
pub(crate) struct Scan {
    #[command(flatten)]
    pub(crate) selection: Selection,
    /// Only look for stuck sessions
    #[arg(long)]
    pub(crate) stuck: bool,
    /// Read every row whole, and hold each of its members against what opencode can read
    #[arg(long, conflicts_with = "stuck")]
    pub(crate) deep: bool,
    /// List every session, healthy ones too
    #[arg(long)]
    pub(crate) all: bool,
    /// List the sessions of these statuses, all of them
    #[arg(long, value_parser = status(), value_name = "STATUS", value_delimiter = ',', conflicts_with_all = ["stuck", "all"])]
    pub(crate) status: Vec<Status>,
    /// Only sessions touched since: 2026-11-20, 2026-11-20T08:00, or an age such as 36h, 7d
    #[arg(long, value_name = "WHEN")]
    pub(crate) since: Option<String>,
    /// Print one session a line as JSON
    #[arg(long, conflicts_with = "json")]
    pub(crate) json_lines: bool,
}

#[derive(Debug, Args)]
#[command(after_long_help = REPAIR_EXAMPLES)]
pub(crate) struct Repair {
    #[command(flatten)]
    pub(crate) selection: Selection,
    /// Show what would be done and change nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Show the texts of rows in JSON instead of their size and hash
    #[arg(long)]
    pub(crate) text: bool,
    /// What to repair beyond sessions that are stuck
    #[arg(long, value_parser = include(), value_name = "WHAT", value_delimiter = ',')]
    pub(crate) include: Vec<Include>,
    /// Save files that leave the history to this folder (never over a file that is there)
    #[arg(long, value_name = "DIR")]
    pub(crate) extract: Option<PathBuf>,
    /// Make a full copy of the store first
    #[arg(long, value_name = "FILE")]
    pub(crate) backup: Option<PathBuf>,
    /// The folder in which undo journals are kept [default: the platform's place for state]
    #[arg(long, value_name = "DIR")]
    pub(crate) journal: Option<PathBuf>,
    /// How long to wait for others to close the store
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = seconds)]
    pub(crate) wait: Duration,
}

#[derive(Debug, Args)]
#[command(after_long_help = UNDO_EXAMPLES)]
pub(crate) struct Undo {
    /// What to take back: an id of --list, or a unique prefix of one [default: the newest repair]
    #[arg(value_name = "ID")]
    pub(crate) id: Option<String>,
    /// List the repairs on record
    #[arg(long)]
    pub(crate) list: bool,
    /// Show what would be done and change nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// The folder in which journals are kept [default: the platform's place for state]
    #[arg(long, value_name = "DIR")]
    pub(crate) journal: Option<PathBuf>,
    /// How long to wait for others to close the store
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = seconds)]
    pub(crate) wait: Duration,
}

#[derive(Debug, Args)]
#[command(after_long_help = RELINK_EXAMPLES)]
pub(crate) struct Relink {
    /// The folder as sessions name it [default: list those that are gone]
    #[arg(value_name = "OLD", requires = "new")]
    pub(crate) old: Option<PathBuf>,
    /// The folder as it is now
    #[arg(value_name = "NEW")]
    pub(crate) new: Option<PathBuf>,
    /// Show what would be done and change nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// The folder in which undo journals are kept [default: the platform's place for state]
    #[arg(long, value_name = "DIR")]
    pub(crate) journal: Option<PathBuf>,
    /// How long to wait for others to close the store
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = seconds)]
    pub(crate) wait: Duration,
}

/// What `--include` takes, each with what it stands for.
fn include() -> impl TypedValueParser<Value = Include> {
    let value = |include: Include| PossibleValue::new(<&str>::from(include)).help(include.description());
    PossibleValuesParser::new(Include::iter().map(value)).try_map(|name| name.parse::<Include>())
}

/// What `scan --status` takes.
fn status() -> impl TypedValueParser<Value = Status> {
    let value = |status: Status| PossibleValue::new(<&str>::from(status));
    PossibleValuesParser::new(Status::iter().map(value)).try_map(|name| name.parse::<Status>())
}

#[derive(Debug, Args)]
#[command(after_long_help = EXPLAIN_EXAMPLES)]
pub(crate) struct Explain {
    /// An id, a unique prefix of one, an exact title, or a file that `opencode export` has written (- is standard input)
    #[arg(value_name = "SESSION")]
    pub(crate) session: String,
    /// The session of opencode 1 (v1) or of opencode 2 (v2)
    #[arg(long, value_name = "v1|v2", hide_short_help = true)]
    pub(crate) format: Option<Format>,
    /// Show what the messages say, too
    #[arg(long)]
    pub(crate) text: bool,
}

#[derive(Debug, Args)]
#[command(after_long_help = STATS_EXAMPLES)]
pub(crate) struct Stats {
    /// Sessions that `opencode export` has written to files, instead of a store; - is standard input
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<String>,
    /// Only what happened since: 2026-11-20, 2026-11-20T08:00, or an age such as 36h, 7d
    #[arg(long, value_name = "WHEN")]
    pub(crate) since: Option<String>,
    /// Only what happened before
    #[arg(long, value_name = "WHEN")]
    pub(crate) until: Option<String>,
    /// One table, by this key
    #[arg(long, value_enum, value_name = "KEY")]
    pub(crate) by: Option<By>,
    /// Draw what happened when, and the times from orphan to 400, to a new file
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
}

/// `stats --by`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum By {
    /// PROVIDER/MODEL
    Model,
    /// The provider
    Provider,
    /// The opencode version that created the session
    Version,
    /// The orphan's tool
    Tool,
    /// The local day
    Day,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("`{text}` is no number of seconds"))?;
    Duration::try_from_secs_f64(seconds).map_err(|_| format!("`{text}` is no number of seconds"))
}
