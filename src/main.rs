//! `unstick`: arguments in, exit code out.

mod cli;
mod commands;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are data, not errors; a closed pipe below them is nobody's fault.
            let _ = error.print();
            return if error.use_stderr() { commands::Exit::Failed } else { commands::Exit::Fine }.into();
        }
    };
    commands::run(&cli).into()
}
