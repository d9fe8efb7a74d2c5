//! `replay`: the lines in a journal.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::execd;
use crate::output::quietly;
use crate::output::shown::Screen;

/// The options of `replay`.
#[derive(Debug, Args)]
pub struct Replay {
    /// The journal's folder; a process may be using it
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

impl Replay {
    pub fn run(self) -> Result<ExitCode> {
        let stdout = io::stdout().lock();
        quietly(if stdout.is_terminal() {
            execd::replay(&self.folder, &mut Screen(stdout))
        } else {
            execd::replay(&self.folder, &mut { stdout })
        })
    }
}
