//! `unstick completions`, `unstick man` and `unstick schema`: what follows from the program's own definitions.

use clap::CommandFactory;
use opencode_unstick::error::{Error, ErrorCode, Result};
use opencode_unstick::report::Output;

use super::Exit;
use crate::cli::{Cli, Completions, Document, Man, Schema};

pub(crate) fn completions(out: &Output, args: &Completions) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "unstick", &mut script);
    out.print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Fine)
}

pub(crate) fn man(out: &Output, args: &Man) -> Result<Exit> {
    let mut program = Cli::command();
    program.build();
    let command = match &args.command {
        None => program,
        Some(name) => program
            .get_subcommands()
            .find(|c| c.get_name() == name)
            .cloned()
            .map(|c| c.display_name(format!("unstick-{name}")))
            .ok_or_else(|| Error::new(ErrorCode::Usage, format!("unstick has no command `{name}`")))?,
    };
    let mut page = Vec::new();
    let source = concat!("unstick ", env!("CARGO_PKG_VERSION"));
    clap_mangen::Man::new(command).source(source).manual("unstick").render(&mut page)?;
    out.print(&String::from_utf8_lossy(&page))?;
    Ok(Exit::Fine)
}

pub(crate) fn schema(out: &Output, args: &Schema) -> Result<Exit> {
    // The files are generated from the types by docs/make, and a test holds them to these: a generator in the program
    // would make it larger by more than they are.
    out.print(match args.document {
        Document::Scan => include_str!("../../docs/schema/scan.json"),
        Document::ScanLine => include_str!("../../docs/schema/scan-line.json"),
        Document::Repair => include_str!("../../docs/schema/repair.json"),
        Document::Undo => include_str!("../../docs/schema/undo.json"),
        Document::UndoList => include_str!("../../docs/schema/undo-list.json"),
        Document::Relink => include_str!("../../docs/schema/relink.json"),
        Document::Explain => include_str!("../../docs/schema/explain.json"),
        Document::Stats => include_str!("../../docs/schema/stats.json"),
        Document::Error => include_str!("../../docs/schema/error.json"),
    })?;
    Ok(Exit::Fine)
}
