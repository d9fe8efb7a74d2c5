//! The command `telegraf-algorithmia`.

mod cli;
mod execd;
mod generate;
mod output;
mod platform;

use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use telegraf_algorithmia::{Converter, Summary};

use crate::cli::{Conversion, Job, Output};
use crate::execd::{Ended, PAUSE_SIZE, Stream, log, supervisor};
use crate::output::shown::{Screen, shown_lines};
use crate::output::{Report, progress};

/// Wrong usage, as clap exits for it too.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        log::write('E', format_args!("{error:#}"));
        ExitCode::FAILURE
    })
}

fn run() -> Result<ExitCode> {
    platform::outlive_size_limit().context("cannot listen for SIGXFSZ")?;
    if platform::has_only_pipes() {
        ignore_telegrafs_signals()?;
    }
    match cli::parse() {
        Ok(Job::Convert(conversion)) => convert(*conversion),
        Ok(Job::Replay(folder)) => {
            let stdout = io::stdout().lock();
            quietly(if stdout.is_terminal() {
                execd::replay(&folder, &mut Screen(stdout))
            } else {
                execd::replay(&folder, &mut { stdout })
            })
        }
        Ok(Job::Generate(text)) => quietly(write_out(&text)),
        Err(error) if error.use_stderr() && !cli::is_for_generate() => {
            execd::hold(|| drop(print_usage(&error)))?;
            Ok(ExitCode::from(error.exit_code() as u8))
        }
        Err(error) => {
            print_usage(&error)?;
            Ok(ExitCode::from(error.exit_code() as u8))
        }
    }
}

fn ignore_telegrafs_signals() -> Result<()> {
    platform::ignore_telegrafs_signals().context("cannot listen for signals")
}

/// Prints what is wrong with the command line, or the help. The names of files may be in it.
fn print_usage(error: &clap::Error) -> io::Result<()> {
    if std::env::args_os().any(|arg| arg.to_string_lossy().contains(char::is_control)) {
        return io::stderr().write_all(shown_lines(error.render().to_string().as_bytes()).as_bytes());
    }
    error.print()
}

fn convert(conversion: Conversion) -> Result<ExitCode> {
    let Conversion { settings, inputs, service, patience, output, summary, threads, strict } = conversion;
    if inputs.is_empty() && io::stdin().is_terminal() {
        eprint!("{}", cli::nothing_to_read());
        return Ok(ExitCode::from(USAGE));
    }
    let summary = summary.then(|| Summary::new(&settings.measurement));
    let converter = match Converter::new(settings) {
        Ok(converter) => converter,
        Err(error) => {
            execd::hold(|| log::write('E', &error))?;
            return Ok(ExitCode::from(USAGE));
        }
    };
    progress::start(&inputs, patience.progress);
    if output == Output::Table {
        return show(converter, &inputs, summary, strict);
    }
    if service.is_asked_for() {
        ignore_telegrafs_signals()?;
    }
    if service.journal.is_some() && !service.supervised {
        let code = supervisor::run(&patience)?;
        execd::let_go()?;
        return Ok(ExitCode::from(code));
    }
    let mut stream = match Stream::new(converter, service, patience, summary, threads) {
        Ok(stream) => stream,
        Err(error) => {
            execd::hold(|| log::write('E', format_args!("{error:#}")))?;
            return Ok(ExitCode::FAILURE);
        }
    };
    let mut failed = false;
    let mut ended = Ended::Input;
    let stdin = [PathBuf::from("-")];
    for path in if inputs.is_empty() { &stdin } else { &inputs[..] } {
        match stream.read_file(path) {
            Ok(Ended::Input) => {}
            Ok(other) => {
                ended = other;
                break;
            }
            // One file that cannot be read does not cost the others.
            Err(error) => {
                log::write('E', format_args!("{error:#}"));
                failed = true;
            }
        }
    }
    let interrupted = stream.interrupted();
    match stream.finish(ended)? {
        Some(counts) => failed |= strict && counts.all_rejected() > 0,
        None => failed = true,
    }
    Ok(match interrupted {
        Some(status) => ExitCode::from(status),
        None if failed => ExitCode::FAILURE,
        None => ExitCode::SUCCESS,
    })
}

/// Writes a table of what becomes of each message.
fn show(mut converter: Converter, inputs: &[PathBuf], mut summary: Option<Summary>, strict: bool) -> Result<ExitCode> {
    converter.trace();
    converter.pause_at(PAUSE_SIZE);
    let mut report = Report::new();
    let stdin = [PathBuf::from("-")];
    let mut failed = false;
    for path in if inputs.is_empty() { &stdin } else { inputs } {
        match show_input(&mut converter, path, &mut report, summary.as_mut()) {
            Err(error) if is_broken_pipe(&error) => break,
            Err(error) => {
                log::write('E', format_args!("{error:#}"));
                failed = true;
            }
            Ok(()) => {}
        }
    }
    progress::end();
    if let Some(summary) = &summary {
        output::summarize(summary, &report.counts);
    }
    failed |= strict && report.counts.all_rejected() > 0;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn show_input(
    converter: &mut Converter,
    path: &Path,
    report: &mut Report,
    mut summary: Option<&mut Summary>,
) -> Result<()> {
    let is_stdin = path == Path::new("-");
    let mut input: Box<dyn Read> = if is_stdin { Box::new(io::stdin().lock()) } else { Box::new(execd::open(path)?) };
    report.begin_input((!is_stdin).then(|| path.display().to_string()).as_deref());
    let (mut buffer, mut out) = (vec![0; 64 * 1024], Vec::new());
    loop {
        let read = input.read(&mut buffer);
        let mut rest = match &read {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // What was read before an error is as good as ever.
            result => &buffer[..*result.as_ref().unwrap_or(&0)],
        };
        progress::advance(rest.len());
        let ended = rest.is_empty();
        loop {
            if ended {
                converter.finish(&mut out, report);
            } else {
                converter.push(rest, &mut out, report);
            }
            report.flush().context("cannot write to stdout: check that there is room where it goes")?;
            if let Some(summary) = &mut summary {
                summary.read(&out);
            }
            out.clear();
            rest = &[];
            if !converter.has_paused() {
                break;
            }
        }
        if read.with_context(|| execd::unreadable(path))? == 0 {
            return Ok(());
        }
    }
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
