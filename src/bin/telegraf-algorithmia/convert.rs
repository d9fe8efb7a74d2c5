//! `convert`, the default command: messages become lines.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use clap::builder::BoolishValueParser;
use telegraf_algorithmia::Summary;

use crate::USAGE;
use crate::cli::{Conversion, Files, Threads};
use crate::execd::{self, Caller, Plan, Service};
use crate::output::Form;

/// The options of `convert`.
#[derive(Debug, Args)]
pub struct Convert {
    #[command(flatten)]
    files: Files,

    #[command(flatten)]
    conversion: Conversion,

    #[command(flatten)]
    threads: Threads,

    /// Print a summary to stderr at the end: messages by outcome, and for each algorithm and metric count, minimum, mean,
    /// maximum and distribution
    #[arg(long, env = "ALGORITHMIA_SUMMARY", value_parser = BoolishValueParser::new(), help_heading = "Output")]
    summary: bool,

    /// Exit with status 1 if any message was rejected [default: a rejection is no failure]
    #[arg(long, env = "ALGORITHMIA_STRICT", value_parser = BoolishValueParser::new(), help_heading = "Exit status")]
    strict: bool,
}

impl Convert {
    pub fn run(self) -> Result<ExitCode> {
        let Some(inputs) = self.files.inputs() else { return Ok(ExitCode::from(USAGE)) };
        let patience = self.conversion.patience();
        let settings = self.conversion.settings();
        let plan = Plan {
            caller: Caller::Hand,
            service: Service::default(),
            form: Form::Lines,
            summary: self.summary.then(|| Summary::new(&settings.measurement)),
            threads: self.threads.count(),
            patience,
        };
        execd::run(settings, plan, &inputs, self.strict)
    }
}
