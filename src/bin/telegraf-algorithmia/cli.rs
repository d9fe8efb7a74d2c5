//! The command line: the commands, and the options that several share.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::num::NonZero;
use std::path::PathBuf;

use clap::builder::{BoolishValueParser, RangedU64ValueParser, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use telegraf_algorithmia::{Input, Kind, KindRule, Limits, Rename, Settings};

use crate::convert::Convert;
use crate::execd::{Execd, Patience};
use crate::generate::Generate;
use crate::inspect::Inspect;
use crate::replay::Replay;

/// Turns the messages of Algorithmia Insights into InfluxDB points.
///
/// Reads the metrics that Telegraf's kafka_consumer makes of Kafka messages, or the messages themselves as JSON, and
/// writes line protocol to stdout. What cannot be converted is written as a point of the measurement
/// algorithmia_rejected, with the reason; other metrics pass through unchanged.
///
/// Without a command, it runs convert. Give a file that has the name of a command as ./NAME.
#[derive(Debug, Parser)]
#[command(version = env!("TELEGRAF_ALGORITHMIA_VERSION"), after_help = EXAMPLES, after_long_help = EXAMPLES)]
#[command(max_term_width = 100, args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    convert: Convert,
}

/// What the program is used for.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write messages as line protocol (the default command)
    Convert(Convert),
    /// Convert as a child of Telegraf's processors.execd, with journal, flow control and reports
    Execd(Execd),
    /// Show what becomes of each key of a message, or a summary of all messages
    Inspect(Inspect),
    /// Write a built-in file: configuration, templates, man page, completions
    Generate(Generate),
    /// Write the lines in a journal
    Replay(Replay),
}

/// What makes the points. It is the same by hand and under Telegraf, so that both can be told to make the same points.
#[derive(Debug, Args)]
pub struct Conversion {
    /// How the input is read
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "auto", env = "ALGORITHMIA_INPUT")]
    #[arg(help_heading = "Input")]
    input: Format,

    /// Name of the metrics that carry messages (repeatable, or separated by commas)
    #[arg(long = "source", value_name = "NAME", default_value = "kafka_consumer", env = "ALGORITHMIA_SOURCE")]
    #[arg(value_delimiter = ',', help_heading = "Input")]
    sources: Vec<String>,

    /// String field of those metrics that holds the message
    #[arg(long, value_name = "NAME", default_value = "value", env = "ALGORITHMIA_FIELD", help_heading = "Input")]
    field: String,

    /// Measurement of the points; rejected messages go to NAME_rejected
    #[arg(long, value_name = "NAME", default_value = "algorithmia", env = "ALGORITHMIA_MEASUREMENT")]
    #[arg(help_heading = "Points")]
    measurement: String,

    /// Rename a flattened key of payloads, or a tag or field of metrics, before any other rule. A `*` in FROM matches any text,
    /// and a `*` in TO is the same text (repeatable, or separated by commas; applied in this order)
    #[arg(long = "rename", value_name = "FROM=TO", env = "ALGORITHMIA_RENAME", value_delimiter = ',')]
    #[arg(help_heading = "Points")]
    renames: Vec<Rename>,

    #[arg(help = as_help())]
    #[arg(long = "as", value_name = "KEY=KIND", env = "ALGORITHMIA_AS", value_delimiter = ',')]
    #[arg(help_heading = "Points")]
    kinds: Vec<KindRule>,

    /// Keep times unchanged. Two calls of one algorithm in the same microsecond then overwrite each other [default: digits
    /// that a time lacks are filled from the request's id]
    #[arg(long, env = "ALGORITHMIA_EXACT_TIME", value_parser = BoolishValueParser::new(), help_heading = "Points")]
    exact_time: bool,

    /// Maximum size of a message; a larger one is rejected as too_large, and so is a metric of more than twice that and
    /// 64 KiB
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().message, env = "ALGORITHMIA_MAX_MESSAGE")]
    #[arg(value_parser = size(1 << 30), help_heading = "Limits")]
    max_message: usize,

    /// Maximum number of fields and tags of a payload
    #[arg(long, value_name = "COUNT", default_value_t = Limits::default().fields, env = "ALGORITHMIA_MAX_FIELDS")]
    #[arg(value_parser = size(1_000_000), help_heading = "Limits")]
    max_fields: usize,

    /// Maximum depth of nested objects and arrays
    #[arg(long, value_name = "COUNT", default_value_t = Limits::default().nesting, env = "ALGORITHMIA_MAX_NESTING")]
    #[arg(value_parser = size(1000), help_heading = "Limits")]
    max_nesting: usize,

    /// Maximum number of values in an object or array of a payload; one with more is left out, and the rest is kept
    #[arg(long, value_name = "COUNT", default_value_t = Limits::default().items, env = "ALGORITHMIA_MAX_ITEMS")]
    #[arg(value_parser = size(1_000_000), help_heading = "Limits")]
    max_items: usize,

    /// Divide the times that the program waits for, so that tests of them are short
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = RangedU64ValueParser::<u32>::new().range(1..=100))]
    #[arg(hide = true)]
    patience_divisor: u32,
}

impl Conversion {
    pub fn patience(&self) -> Patience {
        Patience::divided(self.patience_divisor)
    }

    pub fn settings(self) -> Settings {
        Settings {
            sources: self.sources,
            field: self.field,
            measurement: self.measurement,
            input: match self.input {
                Format::Auto => Input::Auto,
                Format::Influx => Input::Influx,
                Format::Json => Input::Json,
                Format::JsonLines => Input::JsonLines,
            },
            renames: self.renames.into_iter().collect(),
            kinds: self.kinds.into_iter().collect(),
            exact_time: self.exact_time,
            limits: Limits {
                message: self.max_message,
                fields: self.max_fields,
                nesting: self.max_nesting,
                items: self.max_items,
            },
            ..Settings::default()
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// Each line or value by itself: JSON if it begins with `{` or `[`, line protocol if it reads as a metric
    Auto,
    /// Line protocol
    Influx,
    /// JSON: lines, concatenated objects, or an array of objects; a value may span lines
    Json,
    /// JSON, one message per line: an invalid line does not affect others
    JsonLines,
}

/// What is read by hand.
#[derive(Debug, Args)]
pub struct Files {
    /// Files to read, one after the other; `-`, and no file, is stdin
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

impl Files {
    /// The inputs. None if the program would wait for input from an empty terminal; the reason is then printed.
    pub fn inputs(self) -> Option<Vec<PathBuf>> {
        if self.files.is_empty() { has_input().then(|| vec!["-".into()]) } else { Some(self.files) }
    }
}

/// Whether input is piped in. Otherwise prints the usage, since the program would wait for input from an empty
/// terminal.
pub fn has_input() -> bool {
    let is_terminal = io::stdin().is_terminal();
    if is_terminal {
        let usage = command().render_usage();
        eprintln!(
            "E! nothing is piped in and no file is named\n\n{usage}\n\n{EXAMPLES}\n\nFor all options, try '--help'."
        );
    }
    !is_terminal
}

/// How many threads convert a file.
#[derive(Debug, Args)]
pub struct Threads {
    /// Threads that convert a file [default: one for each core, at most 16]
    #[arg(long, value_name = "COUNT", env = "ALGORITHMIA_THREADS", value_parser = size(256), help_heading = "Input")]
    threads: Option<usize>,
}

impl Threads {
    /// One thread writes the output of all others, so more threads do not help. With this many, memory stays below the
    /// limit in tests/command/memory.rs.
    const MOST: usize = 16;

    pub fn count(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, NonZero::get).min(Self::MOST);
        self.threads.unwrap_or_else(cores)
    }
}

const EXAMPLES: &str = "\
Examples:
  telegraf-algorithmia messages.jsonl
  telegraf-algorithmia inspect messages.jsonl
  kcat -b localhost:9092 -t insights -C -e -q | telegraf-algorithmia --input json-lines |
    influx write --bucket insights
  telegraf-algorithmia generate influxdb-template | influx apply --force yes

In telegraf.conf:
  [[processors.execd]]
    command = [\"telegraf-algorithmia\", \"execd\", \"--flow-control\"]
    namepass = [\"kafka_consumer\", \"internal_write\"]

Exit status: 0 done, 1 a file could not be read or output not written (or, with --strict, a message was rejected),
2 wrong usage, 130 or 143 interrupted by SIGINT or SIGTERM.";

fn size(most: u64) -> impl TypedValueParser<Value = usize> {
    RangedU64ValueParser::<u64>::new().range(1..=most).map(|size| size as usize)
}

/// The whole command line, without any environment variables.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Reads the command line, and the environment variables of the given command.
///
/// # Errors
/// If they are wrong, or ask for help or the version. Printing the error shows the message.
pub fn parse() -> Result<Command, clap::Error> {
    let mut command = without_empty_variables(command());
    if first().is_some_and(|first| command.find_subcommand(first).is_some()) {
        // The options without a command are not options of this command, so their variables do not apply.
        command = command.mut_args(|arg| arg.env(None::<&str>));
    }
    let matches = command.try_get_matches_from_mut(std::env::args_os()).map_err(|error| with_owner(error, &command))?;
    let Cli { command, convert } = Cli::from_arg_matches(&matches)?;
    Ok(command.unwrap_or(Command::Convert(convert)))
}

/// Treats a variable that is set to an empty value as unset: unit and compose files often set such variables.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty = |arg: &clap::Arg| arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
    command
        .mut_args(|arg| if is_empty(&arg) { arg.env(None::<&str>) } else { arg })
        .mut_subcommands(without_empty_variables)
}

/// If an option is unknown in its place but belongs to a command, the error names that command.
fn with_owner(mut error: clap::Error, command: &clap::Command) -> clap::Error {
    let Some(ContextValue::String(given)) = error.get(ContextKind::InvalidArg) else { return error };
    let name = given.trim_start_matches('-');
    let owns = |owner: &&clap::Command| {
        owner.get_name() == name || owner.get_arguments().any(|arg| arg.get_long() == Some(name))
    };
    let owner = command.get_subcommands().find(owns).map(clap::Command::get_name);
    if let Some(owner) = owner.filter(|_| error.kind() == ErrorKind::UnknownArgument) {
        let option = if owner == name { String::new() } else { format!(" {given}") };
        let tip = format!("write 'telegraf-algorithmia {owner}{option}'");
        error.remove(ContextKind::SuggestedArg);
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    error
}

/// The first word of the command line. Only this word can be a command.
fn first() -> Option<OsString> {
    std::env::args_os().nth(1)
}

/// Whether the command line, valid or not, may be one with which Telegraf starts the program.
pub fn may_be_telegrafs() -> bool {
    let first = first().unwrap_or_default();
    let name = first.to_string_lossy();
    !["inspect", "generate", "replay"].contains(&name.trim_start_matches('-'))
}

fn as_help() -> String {
    format!(
        "Fix what a key becomes: {}. json is an object or array as its text. KEY may end in `*` (repeatable, or separated by commas; \
         the last one that matches counts) [default: numbers and booleans are floats under their own key, and text is a string under \
         KEY_text]",
        Kind::names()
    )
}
