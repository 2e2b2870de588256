//! Exported sessions where a command takes a store.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use opencode_unstick::error::{Error, ErrorCode, Result};
use opencode_unstick::export::{self, Export, ExportError};
use opencode_unstick::plain::MessageRow;
use opencode_unstick::report::clean;
use opencode_unstick::store::{SQLITE_HEADER, Store, with_rows, with_threads};

use super::{Context, Target};

/// A session that was read from a file.
pub(crate) struct Exported {
    export: Export,
    messages: Vec<MessageRow>,
    bytes: u64,
}

impl Exported {
    /// The session's id.
    pub(crate) fn session(&self) -> &str {
        &self.export.session.id
    }
}

/// Whether an argument means a file, and not a session: `-` is standard input, ids begin with `ses_`.
pub(crate) fn is_file(argument: &str) -> bool {
    let json = Path::new(argument).extension().is_some_and(|end| end.eq_ignore_ascii_case("json"));
    argument == "-" || json || !argument.starts_with("ses_") && Path::new(argument).is_file()
}

/// The exports that arguments name; `None` where they name sessions of a store.
///
/// # Errors
/// Where they name both, or a file cannot be read or is no export.
pub(crate) fn targets(context: &Context<'_>, arguments: &[String]) -> Result<Option<Vec<Target>>> {
    let files: Vec<&String> = arguments.iter().filter(|argument| is_file(argument)).collect();
    if files.is_empty() {
        return Ok(None);
    }
    if files.len() < arguments.len() || !context.global.db.is_empty() || context.global.all_stores {
        return Err(Error::new(ErrorCode::Usage, "name exported files, or a store and its sessions, not both"));
    }
    files.into_iter().map(|file| open(context, file)).collect::<Result<Vec<_>>>().map(Some)
}

/// Refuses to write to an export.
///
/// # Errors
/// [`ErrorCode::IsExport`] where an argument means a file.
pub(crate) fn refuse(arguments: &[String]) -> Result<()> {
    match arguments.iter().find(|argument| is_file(argument)) {
        Some(file) => Err(Error::new(ErrorCode::IsExport, format!("{} is an exported session", clean(file)))),
        None => Ok(()),
    }
}

fn open(context: &Context<'_>, argument: &str) -> Result<Target> {
    let path = if argument == "-" { PathBuf::from("-") } else { context.env.absolute(argument) };
    let failed = |error: &dyn std::fmt::Display| {
        Error::new(ErrorCode::BadExport, format!("{}: {}", clean(argument), clean(&error.to_string())))
    };
    let input: Box<dyn Read> = match argument {
        "-" => Box::new(io::stdin()),
        _ => Box::new(File::open(&path).map_err(|error| failed(&error))?),
    };
    let mut input = BufReader::new(input);
    if input.fill_buf().is_ok_and(|start| start.starts_with(SQLITE_HEADER)) {
        let error = Error::new(ErrorCode::Usage, format!("{} is a store, not an exported session", clean(argument)));
        return Err(error.hint(format!("name it with --db {}", super::quoted(argument))));
    }
    let mut messages = Vec::new();
    let export = export::read(input, |message| {
        messages.push(message);
        Ok(())
    });
    let mut export = export.map_err(|error: ExportError| failed(&error))?;
    if export.sanitized {
        // A placeholder is no absolute path, which opencode insists on.
        if !export.session.directory.starts_with('/') {
            export.session.directory.insert(0, '/');
        }
        for part in messages.iter_mut().flat_map(|message: &mut MessageRow| &mut message.parts) {
            if let Some(data) = export::restore(&part.data) {
                part.data = data;
            }
        }
    }
    let size =
        |message: &MessageRow| message.data.len() + message.parts.iter().map(|part| part.data.len()).sum::<usize>();
    let bytes = messages.iter().map(size).sum::<usize>() as u64;
    note(context, argument, &export);
    Ok(Target { path, export: Some(Exported { export, messages, bytes }), others: Vec::new() })
}

/// What an export does not tell.
fn note(context: &Context<'_>, argument: &str, export: &Export) {
    let sanitized = if export.sanitized {
        " It is sanitised: signatures, images and who ran a call are placeholders, so what a prompt is refused for may go unseen."
    } else {
        ""
    };
    let text = format!(
        "note: {} is an exported session. It lacks opencode's configuration (packages are this machine's, or --sdk), other sessions \
         (whether a model refuses may stand in them: --refuses), the project and the event log.{sanitized}",
        clean(argument)
    );
    context.out.note(&context.out.wrap(&text, "  "));
}

impl Context<'_> {
    /// The stores or exports that a call is about.
    pub(crate) fn targets_or_exports(&self, arguments: &[String]) -> Result<Vec<Target>> {
        match targets(self, arguments)? {
            Some(exports) => Ok(exports),
            None => self.targets(),
        }
    }

    /// Reads a store, or an export as if it were one.
    pub(crate) fn read<T>(&self, target: &Target, mut work: impl FnMut(&Store<'_>) -> Result<T>) -> Result<T> {
        match &target.export {
            None => with_threads(&target.path, self.threads(), work),
            Some(of) => with_rows((&target.path, of.bytes), &of.export.session, &of.messages, |store| work(store)),
        }
    }
}
