//! One file per command, each reading top to bottom as its story: parse, call the library, print.

mod ask;
mod explain;
mod export;
mod generate;
mod interrupt;
mod relink;
mod repair;
mod scan;
mod stats;
mod undo;

use std::cell::RefCell;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue};
use jiff::Timestamp;
use opencode_unstick::apply::{Places, Warning, obstacles};
use opencode_unstick::audit::{Options, Selection, Want, when};
use opencode_unstick::environment::locate::{all_stores, locate};
use opencode_unstick::environment::{Environment, Platform};
use opencode_unstick::error::{Error, ErrorCode, Result};
use opencode_unstick::history::ModelRef;
use opencode_unstick::journal::{Entry, Header, Journal, journals, proven};
use opencode_unstick::repair::Plan;
use opencode_unstick::report::{self, ColorChoice, ErrorDoc, Output, Progress, Screen, clean};
use opencode_unstick::sdk::SdkResolver;

use crate::cli::{self, Cli, Color, Command, Global};

/// What a run ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// Nothing is stuck, or all was done.
    Fine = 0,
    /// Something is stuck, or was left.
    Findings = 1,
    /// It could not be done, and nothing was changed.
    Failed = 2,
    /// Interrupted, and nothing was changed.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What every command needs.
pub(crate) struct Context<'a> {
    pub(crate) global: &'a Global,
    pub(crate) env: Environment,
    pub(crate) out: Output,
    pub(crate) resolver: SdkResolver,
    /// The time at which the run began, in ms since the epoch.
    pub(crate) now: i64,
    /// The journal folder that the call names.
    pub(crate) journals: Option<PathBuf>,
}

/// A store to work on.
pub(crate) struct Target {
    pub(crate) path: PathBuf,
    /// It is an exported session.
    pub(crate) export: Option<export::Exported>,
    /// Stores beside it that are not looked at.
    pub(crate) others: Vec<PathBuf>,
}

/// Says why the arguments were not understood, or the help that was asked for.
pub(crate) fn misunderstood(error: &clap::Error, json: bool) -> Exit {
    // Help and version are data, not errors; a closed pipe below them is nobody's fault.
    if !error.use_stderr() {
        let _ = error.print();
        return Exit::Fine;
    }
    let env = Environment::capture();
    let out = Output::new(ColorChoice::Auto, (false, false), screen(), |name| env.var(name).map(str::to_owned));
    let text = error.to_string();
    let one_line = |text: &str| clean(&text.split_whitespace().collect::<Vec<_>>().join(" "));
    let message = one_line(text.split("\n\n").next().unwrap_or_default().trim_start_matches("error: "));
    // What clap proposes is more exact than anything that could be said here.
    let mut tips: Vec<String> =
        text.lines().filter_map(|line| line.trim().strip_prefix("tip: ")).map(one_line).collect();
    if let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand)
        && let Some(command) = meant(word).filter(|_| tips.is_empty())
    {
        tips.push(format!("did you mean `unstick {command}`?"));
    }
    let program = Cli::command();
    let named = std::env::args_os()
        .find(|arg| program.find_subcommand(arg).is_some())
        .map(|arg| arg.to_string_lossy().into_owned());
    let see = format!("see `unstick{} --help`", named.map(|name| format!(" {name}")).unwrap_or_default());
    let next = tips.into_iter().chain([see]).collect::<Vec<_>>().join("; ");
    show_error(&out, json, &Error::new(ErrorCode::Usage, message).hint(next))
}

/// The command that people mean who call it by another word.
fn meant(word: &str) -> Option<&'static str> {
    match word.to_lowercase().as_str() {
        "check" | "doctor" | "status" | "list" | "ls" | "find" | "diagnose" | "info" => Some("scan"),
        "fix" | "mend" | "heal" | "clean" | "run" => Some("repair"),
        "revert" | "rollback" | "restore" | "back" => Some("undo"),
        "show" | "why" | "describe" | "inspect" => Some("explain"),
        "count" | "report" | "figures" => Some("stats"),
        _ => None,
    }
}

/// Runs the command and reports what went wrong, if anything did.
pub(crate) fn run(cli: &Cli) -> Exit {
    interrupt::listen();
    let env = Environment::capture();
    let choice = match cli.global.color {
        Color::Auto => ColorChoice::Auto,
        Color::Always => ColorChoice::Always,
        Color::Never => ColorChoice::Never,
    };
    let amount = (cli.global.quiet, cli.global.verbose);
    let out = Output::new(choice, amount, screen(), |name| env.var(name).map(str::to_owned));
    match dispatch(cli, env, &out) {
        Ok(exit) => exit,
        Err(error) => show_error(&out, cli.global.json, &error),
    }
}

/// The terminal that standard output is, if it is one. A terminal that does not tell its size is none for this.
fn screen() -> Option<Screen> {
    let (columns, rows) = terminal_size::terminal_size_of(io::stdout())?;
    (columns.0 > 0 && rows.0 > 0).then_some(Screen { columns: columns.0, rows: rows.0 })
}

fn dispatch(cli: &Cli, env: Environment, out: &Output) -> Result<Exit> {
    match &cli.command {
        Some(Command::Completions(args)) => return generate::completions(out, args),
        Some(Command::Man(args)) => return generate::man(out, args),
        Some(Command::Schema(args)) => return generate::schema(out, args),
        _ => {}
    }
    let resolver = SdkResolver::new(cli.global.sdk.clone(), &env)?;
    let now = now(&env);
    let mut out = out.clone();
    out.repeat = repeat(&cli.global);
    let named = match &cli.command {
        Some(Command::Repair(args)) => args.journal.as_deref(),
        Some(Command::Undo(args)) => args.journal.as_deref(),
        Some(Command::Relink(args)) => args.journal.as_deref(),
        _ => None,
    };
    let journals = named.map(|folder| env.absolute(folder));
    let context = Context { global: &cli.global, env, out, resolver, now, journals };
    match &cli.command {
        None => scan::check(&context),
        Some(Command::Scan(args)) => scan::run(&context, args),
        Some(Command::Repair(args)) => repair::run(&context, args),
        Some(Command::Explain(args)) => explain::run(&context, args),
        Some(Command::Stats(args)) => stats::run(&context, args),
        Some(Command::Undo(args)) => undo::run(&context, args),
        Some(Command::Relink(args)) => relink::run(&context, args),
        Some(Command::Completions(_) | Command::Man(_) | Command::Schema(_)) => Ok(Exit::Fine),
    }
}

/// The present in ms since the epoch. A test build takes it from `UNSTICK_NOW`, so that what is shown can be compared
/// word for word; a release build has no such variable.
fn now(env: &Environment) -> i64 {
    let fixed = env.var("UNSTICK_NOW").filter(|_| cfg!(debug_assertions)).and_then(|ms| ms.parse().ok());
    fixed.unwrap_or_else(|| Timestamp::now().as_millisecond())
}

impl Context<'_> {
    /// The stores that the call is about.
    pub(crate) fn targets(&self) -> Result<Vec<Target>> {
        if self.global.all_stores {
            return Ok(all_stores(&self.env)?
                .into_iter()
                .map(|path| Target { path, export: None, others: Vec::new() })
                .collect());
        }
        if self.global.db.is_empty() {
            let located = locate(&self.env)?;
            return Ok(vec![Target { path: located.path, export: None, others: located.others }]);
        }
        Ok(self
            .global
            .db
            .iter()
            .map(|p| Target { path: self.env.absolute(p), export: None, others: Vec::new() })
            .collect())
    }

    /// The sessions that the call is about.
    pub(crate) fn selection(&self, selection: &cli::Selection, since: Option<&str>) -> Result<Selection> {
        let directory = match (&selection.directory, selection.here) {
            (Some(path), _) => Some(self.env.absolute(path)),
            (None, true) => Some(self.env.cwd.clone()),
            (None, false) => None,
        };
        let since = since.map(|text| when(text, self.now)).transpose()?;
        Ok(Selection { sessions: selection.sessions.clone(), directory, since, format: selection.format })
    }

    /// How many threads read a store.
    pub(crate) fn threads(&self) -> usize {
        let machine = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        self.global.threads.map_or_else(machine, NonZeroUsize::get)
    }

    /// Runs `work` with what an audit is told by this call, and shows its progress.
    pub(crate) fn audited<T>(
        &self,
        selection: &Selection,
        want: Want,
        work: impl FnOnce(&Options<'_>) -> Result<T>,
    ) -> Result<T> {
        let shown = RefCell::new(Progress::new("reading", self.progress()));
        let progress = |done, all| {
            let mut shown = shown.borrow_mut();
            shown.total(all);
            shown.at(done);
        };
        let proven = |store: &str| self.proven_before(store);
        work(&Options {
            want,
            opencode: self.global.opencode.as_ref(),
            refusing: &self.global.refuses,
            proven: &proven,
            progress: &progress,
            ..Options::new(selection, &self.resolver)
        })
    }

    /// The folder in which journals are kept.
    pub(crate) fn journal_folder(&self) -> Result<PathBuf> {
        let none = || Error::new(ErrorCode::NoJournalFolder, "there is no home folder to keep the undo journal in");
        self.journals.clone().or_else(|| self.env.journal_folder()).ok_or_else(none)
    }

    /// What keeps the plan from being carried out now. A dry run says it above the plan; anything else ends with it, before
    /// any question. Others who have the store open are waited for later where that was asked for.
    pub(crate) fn obstacles(&self, store: &Path, plan: &Plan, dry_run: bool, wait: Duration) -> Result<Vec<Error>> {
        let free = |folder: &Path| self.free(folder);
        let mut found = obstacles(plan, Places { store, journals: self.journal_folder(), free: &free });
        if dry_run {
            return Ok(found);
        }
        found.retain(|error| error.code() != ErrorCode::StoreInUse || wait.is_zero());
        if found.is_empty() { Ok(found) } else { Err(found.swap_remove(0)) }
    }

    /// Room that is left on the disk of the folder, in bytes. A test build takes it from `UNSTICK_FREE`; a release build has
    /// no such variable.
    fn free(&self, folder: &Path) -> Option<u64> {
        let said = self.env.var("UNSTICK_FREE").filter(|_| cfg!(debug_assertions)).and_then(|n| n.parse().ok());
        // A file system of the kernel's own, such as /proc, has no room at all: whoever tries to write there is told.
        let there =
            || fs4::statvfs(folder).ok().filter(|disk| disk.total_space() > 0).map(|disk| disk.available_space());
        said.or_else(there)
    }

    /// Models that earlier repairs of the store have proven to refuse: their refusals were removed.
    fn proven_before(&self, store_id: &str) -> Vec<ModelRef> {
        let found: Vec<(Journal, Vec<ModelRef>)> =
            self.journals_of(store_id, |models: &mut Vec<ModelRef>, entry| models.extend(proven(&entry)));
        found.into_iter().flat_map(|(_, models)| models).collect()
    }

    /// The journals of the store that are in the default folder and in the one that the call names, oldest first, each
    /// with what `tell` makes of its rows.
    pub(crate) fn journals_of<T: Default>(&self, store_id: &str, tell: impl Fn(&mut T, Entry)) -> Vec<(Journal, T)> {
        // A folder that cannot be read proves nothing; whoever undoes will be told.
        let folders = self.env.journal_folder().into_iter().chain(self.journals.clone());
        let each = |told: &mut T, header: &Header, entry: Entry| {
            if header.store_id == store_id {
                tell(told, entry);
            }
        };
        let found = folders.flat_map(|folder| journals(&folder, each).unwrap_or_default());
        let found = found.filter_map(|f| f.journal.ok().map(|journal| (journal, f.told)));
        found.filter(|(journal, _)| journal.header.store_id == store_id).collect()
    }

    pub(crate) fn progress(&self) -> bool {
        !self.global.no_progress && !self.global.quiet
    }

    /// Files that were skipped while the SDK package was looked for.
    pub(crate) fn warn(&self) {
        for warning in self.resolver.warnings() {
            self.out.note(&format!("warning: {}", clean(&warning)));
        }
    }
}

/// What has to be said of changes that were made.
fn say_warning(context: &Context<'_>, path: &Path, warning: Option<&Warning>) {
    match warning {
        None => {}
        Some(Warning::Moved) => {
            let path = clean(&path.display().to_string());
            let note = format!("warning: {path} was moved during the commit, and another file has taken its place");
            context.out.note(&note);
            context.out.note("  What was done was done to the file that was moved.");
        }
        Some(Warning::DiskFailed(error)) => {
            let error = clean(error);
            context.out.note(&format!("warning: the disk failed while the changes were made to last ({error})"));
            context.out.note("  They are in force. Look after the disk, then run `unstick scan` again.");
        }
    }
}

/// That it could not be said what was done does not undo it: the exit code still tells of the store.
fn say_unsaid(context: &Context<'_>, said: io::Result<()>) {
    if let Err(error) = said {
        context.out.note(&format!("warning: it was done, and standard output cannot be written: {error}"));
    }
}

/// The flags that say which store is meant and how it is to be judged, as they must be typed again.
fn repeat(global: &Global) -> String {
    use opencode_unstick::audit::Opencode;
    let mut words = Vec::new();
    for path in &global.db {
        words.extend(["--db".to_owned(), quoted(&path.to_string_lossy())]);
    }
    if global.all_stores {
        words.push("--all-stores".to_owned());
    }
    match &global.opencode {
        Some(Opencode::Any) => words.extend(["--opencode".to_owned(), "any".to_owned()]),
        Some(Opencode::From(release)) => words.extend(["--opencode".to_owned(), quoted(&release.name)]),
        None => {}
    }
    for model in &global.refuses {
        words.extend(["--refuses".to_owned(), quoted(model)]);
    }
    for sdk in &global.sdk {
        let model = sdk.model.as_ref().map(|m| format!("/{m}")).unwrap_or_default();
        words.extend(["--sdk".to_owned(), quoted(&format!("{}{model}={}", sdk.provider, sdk.package))]);
    }
    clean(&words.join(" "))
}

/// The words of a selection as they must be typed again.
fn words(selection: &cli::Selection) -> Vec<String> {
    let mut words: Vec<String> = selection.sessions.iter().map(|s| quoted(s)).collect();
    if let Some(folder) = &selection.directory {
        words.extend(["--directory".to_owned(), quoted(&folder.to_string_lossy())]);
    }
    if selection.here {
        words.push("--here".to_owned());
    }
    if let Some(format) = selection.format {
        words.push(format!("--format {format}"));
    }
    words
}

/// A word as a shell takes it.
pub(crate) fn quoted(word: &str) -> String {
    Platform::here().quoted(word)
}

fn show_error(out: &Output, json: bool, error: &Error) -> Exit {
    let doc = ErrorDoc::new(error);
    if json {
        // When standard output is gone as well, the exit code is all that is left to say.
        let _ = out.json(&doc);
    } else {
        out.note(&report::error(out, &doc));
    }
    if doc.code() == ErrorCode::Interrupted { Exit::Interrupted } else { Exit::Failed }
}
