//! Output for people: tables, summaries, and how far a file has been read.

mod json;
pub mod progress;
pub mod shown;
mod summary;
mod table;

use std::io;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use anyhow::Result;
use telegraf_algorithmia::{Outcome, Trace};

pub use self::json::Objects;
pub use self::summary::summarize;
pub use self::table::Report;

const HEADING: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const LOST: Style = AnsiColor::Yellow.on_default();
const ASIDE: Style = Style::new().dimmed();

/// How messages are written.
pub enum Form {
    /// As the lines that they are converted to.
    Lines,
    Table(Report),
    Json(Objects),
    /// Not at all, except for a summary at the end.
    Nothing,
}

impl Form {
    /// Whether the converter traces what becomes of each key.
    pub fn traces(&self) -> bool {
        match self {
            Form::Lines | Form::Nothing => false,
            Form::Table(_) | Form::Json(_) => true,
        }
    }

    /// The next messages are from another input, with this name if it has one.
    pub fn begin_input(&mut self, name: Option<&str>) {
        match self {
            Form::Lines | Form::Nothing => {}
            Form::Table(report) => report.begin_input(name),
            Form::Json(objects) => objects.begin_input(name),
        }
    }

    pub fn trace(&mut self, trace: &Trace<'_>) {
        match self {
            Form::Lines | Form::Nothing => {}
            Form::Table(report) => report.trace(trace),
            Form::Json(objects) => objects.trace(trace),
        }
    }

    /// Flushes the output.
    ///
    /// # Errors
    /// If writing to stdout has failed since the last call.
    pub fn flush(&mut self) -> io::Result<()> {
        match self {
            Form::Lines | Form::Nothing => Ok(()),
            Form::Table(report) => report.flush(),
            Form::Json(objects) => objects.flush(),
        }
    }
}

/// Whether this trace is a whole message, or the first payload of one.
fn begins_message(trace: &Trace<'_>) -> bool {
    !matches!(trace.outcome, Outcome::Passed | Outcome::NoMessage) && trace.item.unwrap_or(0) == 0
}

/// Treats a broken pipe as success: the reader has closed it.
pub fn quietly(result: Result<()>) -> Result<ExitCode> {
    let is_broken_pipe = |error: &anyhow::Error| {
        let source = error.root_cause().downcast_ref::<io::Error>();
        source.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    match result {
        Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
        result => result.map(|()| ExitCode::SUCCESS),
    }
}
