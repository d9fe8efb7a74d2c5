//! The command line, and what the rest of the program takes from it.

use std::borrow::Cow;
use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::builder::{BoolishValueParser, RangedU64ValueParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Command, CommandFactory, FromArgMatches, Parser, ValueEnum};
use jiff::SignedDuration;
use telegraf_algorithmia::{Input, KindRule, Limits, Settings};

use crate::execd::{JournalSettings, Patience, Service};
use crate::generate::{Kind, Values};
use crate::platform;

/// Turns the messages of Algorithmia Insights into InfluxDB points.
///
/// Reads the metrics that Telegraf's kafka_consumer makes of Kafka messages, or the messages themselves as JSON, and
/// writes line protocol to stdout. What cannot be converted is written as a point of the measurement
/// algorithmia_rejected, with the reason; other metrics pass through unchanged.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES, after_long_help = EXAMPLES, max_term_width = 100)]
struct Cli {
    /// Files to read, one after the other; `-` is stdin, which is also read where no file is named
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,

    /// How the input is read
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "auto", env = "ALGORITHMIA_INPUT")]
    #[arg(help_heading = "Input")]
    input: Format,

    /// How many threads convert a file [default: one for each core, at most 16]
    #[arg(long, value_name = "COUNT", env = "ALGORITHMIA_THREADS", value_parser = size(256), help_heading = "Input")]
    threads: Option<usize>,

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

    /// Fix what a key becomes: float, integer, boolean, string, tag or drop; KEY may end in `*` (repeatable, or
    /// separated by commas; the last one that matches counts) [default: as the value says]
    #[arg(long = "as", value_name = "KEY=KIND", env = "ALGORITHMIA_AS", value_delimiter = ',')]
    #[arg(help_heading = "Points")]
    kinds: Vec<KindRule>,

    /// Take the payload's time as it is. Two calls of one algorithm in the same microsecond then overwrite each other
    /// [default: the digits that it lacks are filled from the request's id]
    #[arg(long, env = "ALGORITHMIA_EXACT_TIME", value_parser = BoolishValueParser::new(), help_heading = "Points")]
    exact_time: bool,

    /// What is written for each message
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "influx", env = "ALGORITHMIA_OUTPUT")]
    #[arg(help_heading = "Output")]
    output: Output,

    /// Say on stderr at the end what has become of all messages, and for each algorithm and metric: count, minimum, mean,
    /// maximum, and how its values are spread
    #[arg(long, env = "ALGORITHMIA_SUMMARY", value_parser = BoolishValueParser::new(), help_heading = "Output")]
    summary: bool,

    /// Largest message, in bytes; a larger one is rejected as too_large, and so is any metric of more than twice that and
    /// 64 KiB
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().message, env = "ALGORITHMIA_MAX_MESSAGE")]
    #[arg(value_parser = size(1 << 30), help_heading = "Limits")]
    max_message: usize,

    /// Most fields and tags of one payload
    #[arg(long, value_name = "COUNT", default_value_t = Limits::default().fields, env = "ALGORITHMIA_MAX_FIELDS")]
    #[arg(value_parser = size(1_000_000), help_heading = "Limits")]
    max_fields: usize,

    /// Most objects and arrays within each other
    #[arg(long, value_name = "COUNT", default_value_t = Limits::default().nesting, env = "ALGORITHMIA_MAX_NESTING")]
    #[arg(value_parser = size(1000), help_heading = "Limits")]
    max_nesting: usize,

    /// Keep what goes out in this folder for a while, and put it out again at the next start: what Telegraf loses when it
    /// dies is then not lost [default: no journal]
    #[arg(long, value_name = "DIR", env = "ALGORITHMIA_JOURNAL", help_heading = "Lose nothing")]
    journal: Option<PathBuf>,

    /// For how long the journal keeps what went out
    #[arg(long, value_name = "TIME", default_value = "10min", env = "ALGORITHMIA_JOURNAL_WINDOW", value_parser = duration)]
    #[arg(help_heading = "Lose nothing")]
    journal_window: Duration,

    /// How large the journal may be; the oldest goes first
    #[arg(long, value_name = "SIZE", default_value = "512MiB", env = "ALGORITHMIA_JOURNAL_SIZE", value_parser = journal_size)]
    #[arg(help_heading = "Lose nothing")]
    journal_size: ByteSize,

    /// Wait until the journal is on the disk before anything goes out, for those who fear power cuts. Slow
    #[arg(long, env = "ALGORITHMIA_JOURNAL_SYNC", value_parser = BoolishValueParser::new())]
    #[arg(help_heading = "Lose nothing")]
    journal_sync: bool,

    /// Put out no more than Telegraf's buffer has room for. What waits is bounded: then messages stay in Kafka. Needs the
    /// metrics internal_write of Telegraf's inputs.internal among the input
    #[arg(long, env = "ALGORITHMIA_FLOW_CONTROL", value_parser = BoolishValueParser::new())]
    #[arg(help_heading = "Lose nothing")]
    flow_control: bool,

    /// The Telegraf output whose buffer counts for that, by its name or its alias
    #[arg(long, value_name = "NAME", default_value = "influxdb_v2", env = "ALGORITHMIA_FLOW_OUTPUT")]
    #[arg(help_heading = "Lose nothing")]
    flow_output: String,

    /// Report as a metric, NAME_processor, what has become of all input so far, so often [default: never]
    #[arg(long, value_name = "TIME", env = "ALGORITHMIA_STATS", value_parser = duration, help_heading = "Self-report")]
    stats: Option<Duration>,

    /// What tells this process from others on the host, in that report [default: the journal's folder, or "default"]
    #[arg(long, value_name = "NAME", env = "ALGORITHMIA_INSTANCE", help_heading = "Self-report")]
    instance: Option<String>,

    /// Write what the journal in this folder holds to stdout, and do nothing else
    #[arg(long, value_name = "DIR", conflicts_with = "files", help_heading = "Lose nothing")]
    replay: Option<PathBuf>,

    /// Write a file that this program carries to stdout, and do nothing else
    #[arg(long, value_enum, value_name = "KIND", help_heading = "Files to set up with")]
    generate: Option<Kind>,

    /// Where alerts go, for slack-template: the URL of an incoming webhook of Slack
    #[arg(long, value_name = "URL", env = "ALGORITHMIA_SLACK_URL", hide_env_values = true)]
    #[arg(help_heading = "Files to set up with")]
    slack_url: Option<String>,

    /// Where alerts go, for http-template
    #[arg(long, value_name = "URL", env = "ALGORITHMIA_HTTP_URL", hide_env_values = true)]
    #[arg(help_heading = "Files to set up with")]
    http_url: Option<String>,

    /// Who sends alerts, for email-template
    #[arg(long, value_name = "ADDRESS", env = "ALGORITHMIA_EMAIL_FROM", hide_env_values = true)]
    #[arg(help_heading = "Files to set up with")]
    email_from: Option<String>,

    /// Who gets alerts, for email-template (repeatable, or separated by commas)
    #[arg(long, value_name = "ADDRESS", env = "ALGORITHMIA_EMAIL_TO", hide_env_values = true, value_delimiter = ',')]
    #[arg(help_heading = "Files to set up with")]
    email_to: Vec<String>,

    /// The service that sends them, for email-template [default: SendGrid's]
    #[arg(long, value_name = "URL", env = "ALGORITHMIA_EMAIL_URL", hide_env_values = true)]
    #[arg(help_heading = "Files to set up with")]
    email_url: Option<String>,

    /// Do the work: another process of this program waits for the end of this one
    #[arg(long, hide = true)]
    supervised: bool,

    /// Go on where another process has been killed
    #[arg(long, hide = true)]
    restarted: bool,

    /// End as after a signal, which came for that process
    #[arg(long, hide = true)]
    ending: bool,

    /// Divide the times that the program waits for, so that tests of them are short
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = RangedU64ValueParser::<u32>::new().range(1..=100))]
    #[arg(hide = true)]
    patience_divisor: u32,

    /// Exit with status 1 if any message was rejected [default: a rejection is no failure]
    #[arg(long, env = "ALGORITHMIA_STRICT", value_parser = BoolishValueParser::new(), help_heading = "Exit status")]
    strict: bool,
}

/// One thread writes what all others make of a file, so more do not help; and with these, memory stays below what
/// tests/command/memory.rs says.
const MAX_THREADS: usize = 16;

const EXAMPLES: &str = "\
Examples:
  telegraf-algorithmia messages.jsonl
  telegraf-algorithmia --output table messages.jsonl
  kcat -b localhost:9092 -t insights -C -e -q | telegraf-algorithmia --input json-lines |
    influx write --bucket insights
  telegraf-algorithmia --generate influxdb-template | influx apply --force yes

In telegraf.conf:
  [[processors.execd]]
    command = [\"telegraf-algorithmia\"]
    namepass = [\"kafka_consumer\"]

Exit status: 0 done, 1 a file could not be read or output not written (or, with --strict, a message was rejected),
2 wrong usage, 130 or 143 interrupted by SIGINT or SIGTERM.";

/// What there is to do.
pub enum Job {
    Convert(Box<Conversion>),
    /// Write out the journal in this folder.
    Replay(PathBuf),
    /// Write out this text.
    Generate(Cow<'static, str>),
}

/// What to convert, and how.
pub struct Conversion {
    pub settings: Settings,
    /// Empty for stdin alone.
    pub inputs: Vec<PathBuf>,
    pub service: Service,
    pub patience: Patience,
    pub output: Output,
    /// Whether to say at the end what has become of all messages.
    pub summary: bool,
    /// How many threads convert a file.
    pub threads: usize,
    pub strict: bool,
}

/// What is written for each message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Line protocol
    Influx,
    /// A table for people: what has become of each key
    Table,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// JSON if the first byte that is not white space is `{` or `[`, line protocol otherwise
    Auto,
    /// Line protocol
    Influx,
    /// JSON: lines, concatenated objects, or an array of objects; a value may span lines
    Json,
    /// JSON, and each line is one message: a broken line never touches another
    JsonLines,
}

fn size(most: u64) -> impl TypedValueParser<Value = usize> {
    RangedU64ValueParser::<u64>::new().range(1..=most).map(|size| size as usize)
}

/// A time such as `60s` or `10min`. Longer ones than the longest may lie beyond what the system's clock can count.
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

/// Reads the command line and the environment.
///
/// # Errors
/// Where they are wrong, or ask for help or the version; the error prints what to say.
pub fn parse() -> Result<Job, clap::Error> {
    // A variable that is set to nothing, as unit and compose files like to leave them, is not set.
    let mut command = Cli::command();
    let empty = |arg: &clap::Arg| {
        arg.get_env().is_some_and(|name| std::env::var_os(name).is_some_and(|value| value.is_empty()))
    };
    let ids: Vec<_> = command.get_arguments().filter(|arg| empty(arg)).map(|arg| arg.get_id().clone()).collect();
    for id in ids {
        command = command.mut_arg(id, |arg| arg.env(None::<&str>));
    }
    let matches = command.try_get_matches_from_mut(std::env::args_os())?;
    let cli = Cli::from_arg_matches(&matches)?;
    check_for_generate(&mut command, &matches, cli.generate)?;
    if let Some(kind) = cli.generate {
        let values = Values {
            slack_url: cli.slack_url,
            http_url: cli.http_url,
            email_url: cli.email_url,
            email_from: cli.email_from,
            email_to: cli.email_to,
        };
        return kind
            .text(&values, Cli::command())
            .map(Job::Generate)
            .map_err(|error| command.error(ErrorKind::ValueValidation, error));
    }
    let by_hand = is_by_hand(&mut command, &matches, &cli)?;
    if let Some(folder) = cli.replay {
        return Ok(Job::Replay(folder));
    }
    let settings = Settings {
        sources: cli.sources,
        field: cli.field,
        measurement: cli.measurement,
        input: match cli.input {
            Format::Auto => Input::Auto,
            Format::Influx => Input::Influx,
            Format::Json => Input::Json,
            Format::JsonLines => Input::JsonLines,
        },
        kinds: cli.kinds.into_iter().collect(),
        exact_time: cli.exact_time,
        limits: Limits { message: cli.max_message, fields: cli.max_fields, nesting: cli.max_nesting },
        ..Settings::default()
    };
    let instance = cli.instance.unwrap_or_else(|| match &cli.journal {
        Some(folder) => folder.display().to_string(),
        None => "default".to_owned(),
    });
    let report = format!("{}_processor", settings.measurement);
    let service = Service {
        journal: cli.journal.map(|folder| JournalSettings {
            folder,
            window: cli.journal_window,
            size: cli.journal_size.as_u64(),
            sync: cli.journal_sync,
        }),
        flow_control: cli.flow_control.then_some(cli.flow_output),
        stats: cli.stats.map(|every| (every, report, instance)),
        supervised: cli.supervised,
        supervisor: platform::parent_id(),
        restarted: cli.restarted,
        ending: cli.ending,
    };
    let service = if by_hand { Service::default() } else { service };
    let cores = || std::thread::available_parallelism().map_or(1, NonZero::get).min(MAX_THREADS);
    let threads = cli.threads.unwrap_or_else(cores);
    Ok(Job::Convert(Box::new(Conversion {
        settings,
        inputs: cli.files,
        service,
        patience: Patience::divided(cli.patience_divisor),
        output: cli.output,
        summary: cli.summary,
        threads,
        strict: cli.strict,
    })))
}

/// The options of the life with Telegraf.
const SERVICE: [&str; 9] = [
    "journal",
    "journal_window",
    "journal_size",
    "journal_sync",
    "flow_control",
    "flow_output",
    "stats",
    "instance",
    "replay",
];

/// Whether something is asked for that is for people. Refuses that together with what is for Telegraf; but who asks for it on
/// the command line, with the variables of the service around, wants no service.
fn is_by_hand(command: &mut Command, matches: &ArgMatches, cli: &Cli) -> Result<bool, clap::Error> {
    let by_hand = [("output", "--output table", cli.output == Output::Table), ("summary", "--summary", cli.summary)];
    let serves = |id: &str| match id {
        "journal" => cli.journal.is_some(),
        "flow_control" => cli.flow_control,
        "stats" => cli.stats.is_some(),
        _ => false,
    };
    let source = |id: &str| matches.value_source(id);
    for (id, asked, _) in by_hand.iter().filter(|(.., asks)| *asks) {
        let by_environment = source(id) == Some(ValueSource::EnvVariable);
        let wrong = SERVICE.iter().find(|id| match source(id) {
            Some(ValueSource::CommandLine) => true,
            Some(ValueSource::EnvVariable) => by_environment && serves(id),
            _ => false,
        });
        if let Some(wrong) = wrong.and_then(|id| command.get_arguments().find(|arg| arg.get_id() == *id)) {
            let set = if by_environment { ", which the environment asks for," } else { "" };
            let text = format!("the argument '{asked}'{set} cannot be used with '{wrong}': it is for use by hand");
            return Err(command.error(ErrorKind::ArgumentConflict, text));
        }
    }
    Ok(by_hand.iter().any(|(.., asks)| *asks))
}

/// Refuses options that do not go together with this use of `--generate`, or with none. What the environment sets for other
/// uses is nothing wrong, so clap's own rules, which count that, will not do.
fn check_for_generate(command: &mut Command, matches: &ArgMatches, kind: Option<Kind>) -> Result<(), clap::Error> {
    let is_given = |arg: &&clap::Arg| matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine);
    let wrong = command.get_arguments().filter(is_given).find_map(|arg| {
        let owns = |kind: &&Kind| kind.options().iter().any(|name| arg.get_long() == Some(name));
        match (kind, Kind::value_variants().iter().find(owns)) {
            (_, Some(owner)) if kind != Some(*owner) => {
                Some(format!("the argument '{arg}' goes with '--generate {}'", owner.name()))
            }
            (Some(kind), None) if arg.get_id() != "generate" => {
                Some(format!("the argument '--generate {}' cannot be used with '{arg}'", kind.name()))
            }
            _ => None,
        }
    });
    wrong.map_or(Ok(()), |text| Err(command.error(ErrorKind::ArgumentConflict, text)))
}

/// Whether the command line, right or wrong, is that of somebody who wants a file, and not one of Telegraf's.
pub fn is_for_generate() -> bool {
    std::env::args_os().any(|arg| arg.as_encoded_bytes().starts_with(b"--generate"))
}

/// What to say to somebody who started the program and would otherwise wait before an empty terminal.
pub fn nothing_to_read() -> String {
    let usage = Cli::command().render_usage();
    format!("E! nothing is piped in and no file is named\n\n{usage}\n\n{EXAMPLES}\n\nFor all options, try '--help'.\n")
}
