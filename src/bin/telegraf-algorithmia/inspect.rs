//! `inspect`: what becomes of messages, for people and scripts.

use std::process::ExitCode;

use anyhow::Result;
use clap::builder::BoolishValueParser;
use clap::{Args, ValueEnum};
use telegraf_algorithmia::{Converter, Summary};

use crate::USAGE;
use crate::cli::{Conversion, Files, Threads};
use crate::execd::{Caller, Plan, Service, Stream, log};
use crate::output::{Form, Objects, Report};

/// The options of `inspect`.
#[derive(Debug, Args)]
pub struct Inspect {
    #[command(flatten)]
    files: Files,

    #[command(flatten)]
    conversion: Conversion,

    /// What to show
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "table", env = "ALGORITHMIA_FORMAT")]
    #[arg(help_heading = "Output")]
    format: Format,

    #[command(flatten)]
    threads: Threads,

    /// Exit with status 1 if any message was rejected [default: a rejection is no failure]
    #[arg(long, env = "ALGORITHMIA_STRICT", value_parser = BoolishValueParser::new(), help_heading = "Exit status")]
    strict: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// A table for each message: what has become of each key
    Table,
    /// The same for scripts: a JSON object for each message, on a line of its own
    Json,
    /// What has become of all messages, and for each algorithm and metric: count, minimum, mean, maximum, and how its
    /// values are spread
    Summary,
}

impl Inspect {
    pub fn run(self) -> Result<ExitCode> {
        let Some(inputs) = self.files.inputs() else { return Ok(ExitCode::from(USAGE)) };
        let patience = self.conversion.patience();
        let settings = self.conversion.settings();
        let (form, summary) = match self.format {
            Format::Table => (Form::Table(Report::new()), None),
            Format::Json => (Form::Json(Objects::new(&settings.measurement)), None),
            Format::Summary => (Form::Nothing, Some(Summary::new(&settings.measurement))),
        };
        let converter = match Converter::new(settings) {
            Ok(converter) => converter,
            Err(error) => {
                log::write('E', error);
                return Ok(ExitCode::from(USAGE));
            }
        };
        let threads = self.threads.count();
        let plan = Plan { caller: Caller::Hand, service: Service::default(), form, summary, threads, patience };
        Stream::new(converter, plan)?.run(&inputs, self.strict)
    }
}
