//! `unstick`: arguments in, exit code out.

mod cli;
mod commands;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return commands::misunderstood(&error, std::env::args_os().any(|a| a == "--json")).into(),
    };
    commands::run(&cli).into()
}
