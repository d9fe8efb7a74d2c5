//! The command `telegraf-algorithmia`.

mod cli;
mod convert;
mod execd;
mod generate;
mod inspect;
mod manual;
mod output;
mod platform;
mod replay;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::cli::Command;
use crate::execd::{hold, log};
use crate::output::shown::shown_lines;

/// The exit status for an error.
const FAILURE: u8 = 1;

/// The exit status for wrong usage, the same as clap's.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        log::write('E', format_args!("{error:#}"));
        ExitCode::from(FAILURE)
    })
}

fn run() -> Result<ExitCode> {
    platform::outlive_size_limit().context("cannot listen for SIGXFSZ")?;
    if platform::has_only_pipes() {
        platform::ignore_telegrafs_signals().context("cannot listen for signals")?;
    }
    match cli::parse() {
        Ok(Command::Convert(convert)) => convert.run(),
        Ok(Command::Execd(execd)) => execd.run(),
        Ok(Command::Inspect(inspect)) => inspect.run(),
        Ok(Command::Generate(generate)) => generate.run(),
        Ok(Command::Replay(replay)) => replay.run(),
        Err(error) => {
            // It does not matter whether anyone reads it.
            let say = || drop(print(&error));
            if error.use_stderr() && cli::may_be_telegrafs() {
                hold(say)?
            } else {
                say()
            }
            Ok(ExitCode::from(error.exit_code() as u8))
        }
    }
}

/// Prints the error of the command line, or the help. Control characters, for example in file names, are escaped.
fn print(error: &clap::Error) -> io::Result<()> {
    if std::env::args_os().any(|arg| arg.to_string_lossy().contains(char::is_control)) {
        return io::stderr().write_all(shown_lines(error.render().to_string().as_bytes()).as_bytes());
    }
    error.print()
}
