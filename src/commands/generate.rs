//! `unstick completions`, `unstick man` and `unstick schema`: what follows from the program's own definitions.

use anyhow::Error;
use clap::CommandFactory;
use opencode_unstick::error::ErrorCode;
use opencode_unstick::report::{self, Output};

use super::{CallError, Exit};
use crate::cli::{Cli, Completions, Document, Man, Schema};

pub(crate) fn completions(out: &Output, args: &Completions) -> Result<Exit, Error> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "unstick", &mut script);
    out.print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Fine)
}

pub(crate) fn man(out: &Output, args: &Man) -> Result<Exit, Error> {
    let mut program = Cli::command();
    program.build();
    let command = match &args.command {
        None => program,
        Some(name) => program
            .get_subcommands()
            .find(|c| c.get_name() == name)
            .cloned()
            .map(|c| c.display_name(format!("unstick-{name}")))
            .ok_or_else(|| CallError::new(ErrorCode::Usage, format!("unstick has no command `{name}`")))?,
    };
    let mut page = Vec::new();
    let source = concat!("unstick ", env!("CARGO_PKG_VERSION"));
    clap_mangen::Man::new(command).source(source).manual("unstick").render(&mut page)?;
    out.print(&String::from_utf8_lossy(&page))?;
    Ok(Exit::Fine)
}

pub(crate) fn schema(out: &Output, args: &Schema) -> Result<Exit, Error> {
    let document = match args.document {
        Document::Scan => report::Document::Scan,
        Document::ScanLine => report::Document::ScanLine,
        Document::Repair => report::Document::Repair,
        Document::Undo => report::Document::Undo,
        Document::UndoList => report::Document::UndoList,
        Document::Explain => report::Document::Explain,
        Document::Stats => report::Document::Stats,
        Document::Error => report::Document::Error,
    };
    out.json(&report::schema(document))?;
    Ok(Exit::Fine)
}
