//! One file per command, each reading top to bottom as its story.

mod ask;
mod audit;
mod commit;
mod explain;
mod extract;
mod generate;
mod interrupt;
mod repair;
mod scan;
mod select;
mod stats;
mod undo;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Error;
use clap::CommandFactory;
use jiff::Timestamp;
use opencode_unstick::error::ErrorCode;
use opencode_unstick::history::ModelRef;
use opencode_unstick::repair::journal::{Entry, Header, Journal, proven};
use opencode_unstick::repair::{Plan, digest};
use opencode_unstick::report::{self, ColorChoice, ErrorDoc, Output, clean};
use opencode_unstick::sdk::{SdkError, SdkResolver};
use opencode_unstick::store::StoreError;
use opencode_unstick::store::environment::Environment;
use opencode_unstick::store::journal::{default_folder, journals};
use opencode_unstick::store::locate::{LocateError, all_stores, locate};

use crate::cli::{Cli, Color, Command, Global, Opencode};

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
    /// Stores beside it that are not looked at.
    pub(crate) others: Vec<PathBuf>,
}

/// An error of the call.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct CallError {
    code: ErrorCode,
    message: String,
    next: Option<&'static str>,
}

impl CallError {
    /// Its stable name.
    pub(crate) fn code(&self) -> ErrorCode {
        self.code
    }

    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), next: None }
    }

    /// With something more exact to do next than the code tells.
    pub(crate) fn then(self, next: &'static str) -> Self {
        Self { next: Some(next), ..self }
    }
}

/// Says why the arguments were not understood, or the help that was asked for.
pub(crate) fn misunderstood(error: &clap::Error, json: bool) -> Exit {
    // Help and version are data, not errors; a closed pipe below them is nobody's fault.
    if !error.use_stderr() {
        let _ = error.print();
        return Exit::Fine;
    }
    let missing = error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if missing && !json {
        let _ = error.print();
        return Exit::Failed;
    }
    let env = Environment::capture();
    let out = Output::new(ColorChoice::Auto, false, false, |name| env.var(name).map(str::to_owned));
    let text = error.to_string();
    let one_line = |text: &str| clean(&text.split_whitespace().collect::<Vec<_>>().join(" "));
    let message = match text.split("\n\n").next() {
        Some(first) if !missing => one_line(first.trim_start_matches("error: ")),
        _ => "a command is missing".to_owned(),
    };
    // What clap proposes is more exact than anything that could be said here.
    let tips: Vec<String> = text.lines().filter_map(|line| line.trim().strip_prefix("tip: ")).map(one_line).collect();
    let program = Cli::command();
    let named = std::env::args_os()
        .find(|arg| program.find_subcommand(arg).is_some())
        .map(|arg| arg.to_string_lossy().into_owned());
    let cause = (!tips.is_empty()).then(|| tips.join("; "));
    let next = format!("see `unstick{} --help`", named.map(|name| format!(" {name}")).unwrap_or_default());
    show_error(&out, json, &ErrorDoc::new(ErrorCode::Usage, message, cause.as_deref(), Some(next)));
    Exit::Failed
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
    let out = Output::new(choice, cli.global.quiet, cli.global.verbose, |name| env.var(name).map(str::to_owned));
    match dispatch(cli, env, &out) {
        Ok(exit) => exit,
        Err(error) => report(&error, cli.global.json, &out),
    }
}

fn dispatch(cli: &Cli, env: Environment, out: &Output) -> Result<Exit, Error> {
    match &cli.command {
        Command::Completions(args) => return generate::completions(out, args),
        Command::Man(args) => return generate::man(out, args),
        Command::Schema(args) => return generate::schema(out, args),
        _ => {}
    }
    let resolver = SdkResolver::new(cli.global.sdk.clone(), &env)?;
    let now = now(&env);
    let mut out = out.clone();
    out.repeat = repeat(&cli.global);
    let out = &out;
    let named = match &cli.command {
        Command::Repair(args) => args.journal.as_deref(),
        Command::Undo(args) => args.journal.as_deref(),
        _ => None,
    };
    let journals = named.map(|folder| env.absolute(folder));
    let context = Context { global: &cli.global, env, out: out.clone(), resolver, now, journals };
    match &cli.command {
        Command::Scan(args) => scan::run(&context, args),
        Command::Repair(args) => repair::run(&context, args),
        Command::Explain(args) => explain::run(&context, args),
        Command::Stats(args) => stats::run(&context, args),
        Command::Undo(args) => undo::run(&context, args),
        Command::Completions(_) | Command::Man(_) | Command::Schema(_) => Ok(Exit::Fine),
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
    pub(crate) fn targets(&self) -> Result<Vec<Target>, LocateError> {
        if self.global.all_stores {
            return Ok(all_stores(&self.env)?.into_iter().map(|path| Target { path, others: Vec::new() }).collect());
        }
        if self.global.db.is_empty() {
            let located = locate(&self.env)?;
            return Ok(vec![Target { path: located.path, others: located.others }]);
        }
        Ok(self.global.db.iter().map(|p| Target { path: self.env.absolute(p), others: Vec::new() }).collect())
    }

    /// The folder in which journals are kept.
    pub(crate) fn journal_folder(&self, named: Option<&Path>) -> Result<PathBuf, CallError> {
        let folder = named.map(|p| self.env.absolute(p)).or_else(|| default_folder(&self.env));
        folder.ok_or_else(|| {
            CallError::new(ErrorCode::NoJournalFolder, "there is no home folder to keep the undo journal in")
        })
    }

    /// Models that earlier repairs of the store have proven to refuse: their refusals were removed.
    pub(crate) fn proven_before(&self, store_id: &str) -> Vec<ModelRef> {
        let found: Vec<(Journal, BTreeSet<ModelRef>)> =
            self.journals_of(store_id, |models: &mut BTreeSet<ModelRef>, entry| models.extend(proven(&entry)));
        found.into_iter().flat_map(|(_, models)| models).collect()
    }

    /// The journals of the store that are in the default folder and in the one that the call names, oldest first, each
    /// with what `tell` makes of its rows.
    pub(crate) fn journals_of<T: Default>(&self, store_id: &str, tell: impl Fn(&mut T, Entry)) -> Vec<(Journal, T)> {
        // A folder that cannot be read proves nothing; whoever undoes will be told.
        let folders = default_folder(&self.env).into_iter().chain(self.journals.clone());
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
            self.out.note(&format!("warning: {}", opencode_unstick::report::clean(&warning)));
        }
    }
}

/// The flags that say which store is meant and how it is to be judged, as they must be typed again.
fn repeat(global: &Global) -> String {
    let mut words = Vec::new();
    for path in &global.db {
        words.extend(["--db".to_owned(), quoted(&path.to_string_lossy())]);
    }
    if global.all_stores {
        words.push("--all-stores".to_owned());
    }
    match global.opencode {
        Some(Opencode::Any) => words.extend(["--opencode".to_owned(), "any".to_owned()]),
        Some(Opencode::From(version)) => words.extend(["--opencode".to_owned(), version.to_string()]),
        None => {}
    }
    for model in &global.refuses {
        words.extend(["--refuses".to_owned(), quoted(model)]);
    }
    for sdk in &global.sdk {
        let model = sdk.model.as_ref().map(|m| format!("/{m}")).unwrap_or_default();
        words.extend(["--sdk".to_owned(), quoted(&format!("{}{model}={}", sdk.provider, sdk.package))]);
    }
    opencode_unstick::report::clean(&words.join(" "))
}

/// A word as a shell takes it.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-=@:,+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// What `undo` calls a journal: when it was, and a piece of its plan's digest.
pub(crate) fn journal_id(now: i64, plan: &Plan) -> String {
    let when = Timestamp::from_millisecond(now).unwrap_or_default().strftime("%Y%m%dT%H%M%SZ");
    let text = serde_json::to_string(plan).unwrap_or_default();
    format!("{when}-{}", &digest(&format!("{now} {text}"))[..6])
}

fn report(error: &Error, json: bool, out: &Output) -> Exit {
    let message = clean(&error.to_string());
    let of_store = |e: &StoreError| ErrorDoc::new(e.code(), &message, None, None);
    let of_call = |e: &CallError| ErrorDoc::new(e.code, &message, None, e.next.map(str::to_owned));
    let doc = if let Some(e) = error.downcast_ref::<audit::AuditError>() {
        match e {
            audit::AuditError::Store(e) => of_store(e),
            audit::AuditError::Call(e) => of_call(e),
        }
    } else if let Some(e) = error.downcast_ref::<StoreError>() {
        of_store(e)
    } else if let Some(e) = error.downcast_ref::<CallError>() {
        of_call(e)
    } else if let Some(e) = error.downcast_ref::<LocateError>() {
        ErrorDoc::new(ErrorCode::NoStore, &message, Some(e.cause()), Some(clean(&e.next())))
    } else if error.downcast_ref::<SdkError>().is_some() {
        ErrorDoc::new(ErrorCode::Usage, &message, None, None)
    } else {
        ErrorDoc::new(ErrorCode::Failed, &message, None, None)
    };
    show_error(out, json, &doc);
    if doc.code() == ErrorCode::Interrupted { Exit::Interrupted } else { Exit::Failed }
}

fn show_error(out: &Output, json: bool, doc: &ErrorDoc) {
    if json {
        // When standard output is gone as well, the exit code is all that is left to say.
        let _ = out.json(doc);
    } else {
        out.note(&report::error(out, doc));
    }
}
