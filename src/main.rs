//! The command `telegraf-algorithmia`.

mod cli;
mod execd;
mod generate;
mod platform;

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use telegraf_algorithmia::Converter;

use crate::cli::{Conversion, Job};
use crate::execd::{Ended, Stream, log, supervisor};

/// Wrong usage, as clap exits for it too.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        log::write('E', format_args!("{error:#}"));
        ExitCode::FAILURE
    })
}

fn run() -> Result<ExitCode> {
    match cli::parse() {
        Ok(Job::Convert(conversion)) => convert(*conversion),
        Ok(Job::Replay(folder)) => quietly(execd::replay(&folder, &mut io::stdout().lock())),
        Ok(Job::Generate(text)) => quietly(write_out(&text)),
        Err(error) if error.use_stderr() && !cli::is_for_generate() => {
            execd::hold(|| drop(error.print()))?;
            Ok(ExitCode::from(error.exit_code() as u8))
        }
        Err(error) => {
            error.print()?;
            Ok(ExitCode::from(error.exit_code() as u8))
        }
    }
}

fn convert(Conversion { settings, inputs, service, threads, strict }: Conversion) -> Result<ExitCode> {
    if inputs.is_empty() && io::stdin().is_terminal() {
        eprint!("{}", cli::nothing_to_read());
        return Ok(ExitCode::from(USAGE));
    }
    let converter = match Converter::new(settings) {
        Ok(converter) => converter,
        Err(error) => {
            execd::hold(|| log::write('E', &error))?;
            return Ok(ExitCode::from(USAGE));
        }
    };
    if service.journal.is_some() && !service.supervised {
        let code = supervisor::run()?;
        execd::let_go()?;
        return Ok(ExitCode::from(code));
    }
    let mut stream = match Stream::new(converter, service, threads) {
        Ok(stream) => stream,
        Err(error) => {
            execd::hold(|| log::write('E', format_args!("{error:#}")))?;
            return Ok(ExitCode::FAILURE);
        }
    };
    let mut failed = false;
    let mut ended = Ended::Input;
    if inputs.is_empty() {
        ended = stream.read_stdin()?;
    }
    for path in &inputs {
        // One file that cannot be read does not cost the others.
        match stream.read_file(path) {
            Ok(Ended::Input) => {}
            Ok(Ended::Signal) if path != Path::new("-") => {
                log::write('E', format_args!("interrupted: {} was not read to its end", path.display()));
                failed = true;
                break;
            }
            Ok(other) => {
                ended = other;
                break;
            }
            Err(error) => {
                log::write('E', format_args!("{error:#}"));
                failed = true;
            }
        }
    }
    match stream.finish(ended)? {
        Some(counts) => failed |= strict && counts.all_rejected() > 0,
        None => failed = true,
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn write_out(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .context("cannot write to stdout: check that there is room where it goes")
}

/// Takes it as done when nobody reads on.
fn quietly(result: Result<()>) -> Result<ExitCode> {
    match result {
        Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
        result => result.map(|()| ExitCode::SUCCESS),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let source = error.root_cause().downcast_ref::<io::Error>();
    source.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
