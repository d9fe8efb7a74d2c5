//! `execd`: running as a child of Telegraf's processors.execd.
//!
//! What Telegraf asks of its child, and does not say: that output leaves as soon as nothing more is waiting to be
//! read, and that the child goes only when its output has been read. When a child exits, Telegraf closes the pipe and
//! throws away what it has not read.

#[cfg(all(test, target_os = "linux"))]
mod faults;
mod flood;
mod flow;
mod folder;
mod handover;
mod input;
mod journal;
pub mod log;
mod outlet;
mod patience;
mod reading;
mod record;
mod stats;
mod stream;
mod supervisor;
mod watch;

use std::fmt::{self, Display};
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use bytesize::ByteSize;
use clap::builder::BoolishValueParser;
use clap::{Args, ValueEnum};
use jiff::SignedDuration;
use telegraf_algorithmia::{Converter, Settings};

pub use self::journal::replay;
pub use self::patience::Patience;
pub use self::stream::{Caller, Plan, Service, Stream};
use crate::cli::{self, Conversion};
use crate::output::Form;
use crate::{FAILURE, USAGE, platform};

/// The options of `execd`.
#[derive(Debug, Args)]
pub struct Execd {
    #[command(flatten)]
    conversion: Conversion,

    /// Keep the output in this folder for a while, and write it again at the next start, so that nothing is lost if
    /// Telegraf is killed [default: no journal]
    #[arg(long, value_name = "DIR", env = "ALGORITHMIA_JOURNAL", help_heading = "Lose nothing")]
    journal: Option<PathBuf>,

    /// How long the journal keeps what was written
    #[arg(long, value_name = "TIME", default_value = "10min", env = "ALGORITHMIA_JOURNAL_WINDOW", value_parser = duration)]
    #[arg(help_heading = "Lose nothing")]
    journal_window: Duration,

    /// Maximum size of the journal; the oldest records are deleted first
    #[arg(long, value_name = "SIZE", default_value = "512MiB", env = "ALGORITHMIA_JOURNAL_SIZE", value_parser = journal_size)]
    #[arg(help_heading = "Lose nothing")]
    journal_size: ByteSize,

    /// Wait until the journal is on the disk before anything is written, so that a power failure loses less. Slow
    #[arg(long, env = "ALGORITHMIA_JOURNAL_SYNC", value_parser = BoolishValueParser::new())]
    #[arg(help_heading = "Lose nothing")]
    journal_sync: bool,

    /// Write no more than Telegraf's buffer has room for; further messages stay in Kafka. Needs the metrics internal_write
    /// of Telegraf's inputs.internal in the input
    #[arg(long, env = "ALGORITHMIA_FLOW_CONTROL", value_parser = BoolishValueParser::new())]
    #[arg(help_heading = "Lose nothing")]
    flow_control: bool,

    /// The Telegraf output whose buffer --flow-control watches, by name or alias
    #[arg(long, value_name = "NAME", default_value = "influxdb_v2", env = "ALGORITHMIA_FLOW_OUTPUT")]
    #[arg(help_heading = "Lose nothing")]
    flow_output: String,

    /// Report the counts of all input so far at this interval, as the metric NAME_processor [default: never]
    #[arg(long, value_name = "TIME", env = "ALGORITHMIA_STATS", value_parser = duration, help_heading = "Self-report")]
    stats: Option<Duration>,

    /// What tells this process from others on the host, in that report [default: the journal's folder, or "default"]
    #[arg(long, value_name = "NAME", env = "ALGORITHMIA_INSTANCE", help_heading = "Self-report")]
    instance: Option<String>,

    /// Do the work for the process that started this one, and waits for its end
    #[arg(long = WORKER, value_enum, hide = true)]
    worker: Option<Turn>,
}

/// The option that makes a process a worker.
const WORKER: &str = "worker";

/// The role of this process, decided once from the command line.
enum Role {
    /// Starts workers, one after the other, and keeps the pipes to Telegraf open.
    Supervisor,
    /// Does the work. If it is killed, another worker replaces it.
    Worker(Worker),
    /// Does the work without a supervisor: without a journal, another worker could not continue where this one stopped.
    Alone,
}

/// A process that does the work for the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worker {
    /// The id of the process that has started this worker and those before it.
    supervisor: u32,
    turn: Turn,
}

/// Which one a worker is of those that its supervisor starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Turn {
    /// None was before it.
    First,
    /// The one before it was killed, and may have left half a line.
    Next,
    /// That one was killed by the signal that asked both to end: this one ends, too, when it has read what is there.
    Last,
}

impl Display for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_possible_value().map_or(Ok(()), |value| f.write_str(value.get_name()))
    }
}

impl Execd {
    fn role(&self) -> Role {
        match (self.worker, &self.journal) {
            (Some(turn), _) => Role::Worker(Worker { supervisor: platform::parent_id(), turn }),
            (None, Some(_)) => Role::Supervisor,
            (None, None) => Role::Alone,
        }
    }

    pub fn run(self) -> Result<ExitCode> {
        if !cli::has_input() {
            return Ok(ExitCode::from(USAGE));
        }
        let role = self.role();
        let patience = self.conversion.patience();
        let settings = self.conversion.settings();
        let instance = self.instance.unwrap_or_else(|| match &self.journal {
            Some(folder) => folder.display().to_string(),
            None => "default".to_owned(),
        });
        let report = format!("{}_processor", settings.measurement);
        let service = Service {
            journal: self.journal.map(|folder| journal::Settings {
                folder,
                window: self.journal_window,
                size: self.journal_size.as_u64(),
                sync: self.journal_sync,
            }),
            flow_control: self.flow_control.then_some(self.flow_output),
            stats: self.stats.map(|every| (every, report, instance)),
        };
        platform::ignore_telegrafs_signals().context("cannot listen for signals")?;
        let caller = match role {
            Role::Supervisor => {
                if let Err(error) = Converter::new(settings) {
                    return refuse(error, USAGE);
                }
                let status = supervisor::run(&patience)?;
                let_go()?;
                return Ok(ExitCode::from(status));
            }
            Role::Worker(worker) => Caller::Supervisor(worker),
            Role::Alone => Caller::Telegraf,
        };
        let plan = Plan { caller, service, form: Form::Lines, summary: None, threads: 1, patience };
        run(settings, plan, &["-".into()], false)
    }
}

/// Converts these inputs. If it cannot start, for example because of a refused setting, the error is logged repeatedly
/// while Telegraf waits.
pub fn run(settings: Settings, plan: Plan, inputs: &[PathBuf], strict: bool) -> Result<ExitCode> {
    let converter = match Converter::new(settings) {
        Ok(converter) => converter,
        Err(error) => return refuse(error, USAGE),
    };
    match Stream::new(converter, plan) {
        Ok(stream) => stream.run(inputs, strict),
        Err(error) => refuse(format_args!("{error:#}"), FAILURE),
    }
}

fn refuse(why: impl Display, status: u8) -> Result<ExitCode> {
    hold(|| log::write('E', &why))?;
    Ok(ExitCode::from(status))
}

/// If Telegraf has started us in a way that cannot work, reports that with `say` and waits until Telegraf closes our
/// input. Exiting would lose what Telegraf reads from Kafka until someone fixes the problem. In any other case, returns
/// at once.
pub fn hold(say: impl Fn()) -> Result<()> {
    const AGAIN: Duration = Duration::from_secs(60);
    say();
    if platform::has_only_pipes() {
        while !platform::wait_for_hang_up(io::stdin(), AGAIN)? {
            say();
        }
    }
    Ok(())
}

/// Closes our pipes shortly before we exit. Telegraf closes its ends when we are gone, and reports an error if it was
/// still reading then.
fn let_go() -> Result<()> {
    const AFTER_CLOSE: Duration = Duration::from_millis(30);
    platform::close_output()?;
    std::thread::sleep(AFTER_CLOSE);
    Ok(())
}

/// A time such as `60s` or `10min`. The limit exists because the system's clock may not be able to count longer times.
fn duration(text: &str) -> Result<Duration, String> {
    const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);
    let duration = text.parse::<SignedDuration>().map_err(|error| error.to_string())?;
    Duration::try_from(duration)
        .ok()
        .filter(|duration| (Duration::from_millis(1)..=LONGEST).contains(duration))
        .ok_or_else(|| "it has to be from 1ms to 8784h, which is 366 days, such as 60s or 10min".to_owned())
}

/// A size such as `512MiB`.
fn journal_size(text: &str) -> Result<ByteSize, String> {
    let size = text.parse::<ByteSize>()?;
    let allowed = ByteSize::kib(1)..=ByteSize::pib(1);
    if allowed.contains(&size) { Ok(size) } else { Err("it has to be from 1KiB to 1PiB, such as 512MiB".to_owned()) }
}
