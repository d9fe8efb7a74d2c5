//! What inputs cost that somebody made to be slow: no more than ten times what usual messages cost, which are as many bytes or as
//! many messages.
//!
//! ```sh
//! cargo bench -p benches --bench hostile
//! cargo bench -p benches --bench hostile -- --short                           # less of each, in half a minute
//! cargo bench -p benches --bench hostile -- --only "alternating" --rounds 1   # under a profiler
//! ```
//!
//! Each input goes through the ways in that could be slow with it, beside the tutorial's messages, which take their turn right
//! before it in each round. What is compared is the least processor time of all rounds.
//!
//! A rejection of two bytes cannot cost as little as two bytes of a message, nor can an item of an array. So what is allowed is
//! counted in bytes, in messages (payloads, rejections, metrics that pass, records of the journal), or in values (members of
//! objects, items of arrays, tags, fields), whichever is most.

#[path = "hostile/inputs.rs"]
mod inputs;

use std::fs;
use std::hint::black_box;
use std::io::Cursor;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use benches::table::Table;
use benches::{Shape, figure, machine, usage};
use clap::Parser;
use fixtures::program;
use fixtures::telegraf::metric;
use reference::fuzzed::record::{RecordReader, write_head};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use rustix::time::{ClockId, clock_gettime};
use telegraf_algorithmia::{Converter, Counts, Input, Observer, Parallel, Settings, Summary, Trace};

use inputs::{Hostile, Inputs, values};

/// What is read from a pipe at once.
const CHUNK: usize = 64 * 1024;

/// More than this many times the usual is a failure.
const AT_MOST: f64 = 10.0;

/// What several threads leave to the first one is converted twice, and what is cut at the end of a chunk too.
const ON_THREADS: f64 = 3.0;

/// So many inputs of each way are shown, those that take longest.
const SHOWN: usize = 4;

/// After this many times the usual, once is enough.
const HOPELESS: f64 = 100.0;

/// Time for hostile inputs, in times of what usual ones take.
#[derive(Parser)]
struct Options {
    /// How often each input has its turn
    #[arg(long, default_value_t = 2)]
    rounds: usize,

    /// MiB of each input
    #[arg(long, default_value_t = 2)]
    size: usize,

    /// Less of each input, one round, and only the ways that differ most
    #[arg(long)]
    short: bool,

    /// Show all inputs, and not only those of each way that take longest
    #[arg(long)]
    all: bool,

    /// Measure inputs whose name or way holds this text
    #[arg(long)]
    only: Option<String>,

    /// cargo says so.
    #[arg(long, hide = true)]
    bench: bool,
}

/// The ways in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Metrics of Telegraf's, in chunks as they come from a pipe.
    Metrics,
    /// Likewise, one byte after the other.
    MetricsByByte,
    /// A stream of JSON.
    Json,
    JsonByByte,
    /// JSON lines.
    Lines,
    /// A file on two threads.
    Parallel,
    /// `--summary`.
    Summary,
    /// What `inspect` is told.
    Trace,
    /// `inspect`, by the command.
    Table,
    /// A segment of the journal.
    Journal,
}

impl Way {
    const ALL: [Way; 10] = [
        Way::Metrics,
        Way::MetricsByByte,
        Way::Json,
        Way::JsonByByte,
        Way::Lines,
        Way::Parallel,
        Way::Summary,
        Way::Trace,
        Way::Table,
        Way::Journal,
    ];

    /// What `--short` leaves out is like the others.
    const SHORT: [Way; 6] = [Way::Metrics, Way::MetricsByByte, Way::Json, Way::JsonByByte, Way::Parallel, Way::Journal];

    fn name(self) -> &'static str {
        match self {
            Way::Metrics => "metrics",
            Way::MetricsByByte => "metrics, byte by byte",
            Way::Json => "JSON",
            Way::JsonByByte => "JSON, byte by byte",
            Way::Lines => "JSON lines",
            Way::Parallel => "a file on two threads",
            Way::Summary => "--summary",
            Way::Trace => "a trace",
            Way::Table => "inspect",
            Way::Journal => "journal",
        }
    }

    /// How many times the usual an input may take.
    fn at_most(self) -> f64 {
        if self == Way::Parallel { ON_THREADS * AT_MOST } else { AT_MOST }
    }

    fn takes_metrics(self) -> bool {
        matches!(self, Way::Metrics | Way::MetricsByByte)
    }

    /// How much of an input is enough where each byte takes long.
    fn size(self, size: usize) -> usize {
        match self {
            Way::MetricsByByte | Way::JsonByByte => size / 16,
            Way::Table => size / 8,
            _ => size,
        }
    }

    /// The tutorial's messages, likewise, and how many values they hold.
    fn usual(self, size: usize) -> (Vec<u8>, u64) {
        let messages = Shape::Tutorial.messages(u64::MAX);
        if self == Way::Journal {
            return (journal(messages.map(String::into_bytes), size), 0);
        }
        let (mut input, mut sum) = (Vec::new(), 0);
        for message in messages {
            if input.len() >= size {
                break;
            }
            sum += values(message.as_bytes());
            let text = if self.takes_metrics() { metric(&message, 1_613_780_514_867_231_999) } else { message + "\n" };
            input.extend_from_slice(text.as_bytes());
        }
        (input, sum)
    }

    /// Takes all of an input; how many messages are in it.
    fn run(self, input: &[u8]) -> Result<u64> {
        let settings = |input| Settings { input, ..Settings::default() };
        match self {
            Way::Metrics => {
                convert(Converter::new(settings(Input::Auto))?, input, CHUNK, &mut Counted::default(), None)
            }
            Way::Json => convert(Converter::new(settings(Input::Json))?, input, CHUNK, &mut Counted::default(), None),
            Way::Lines => {
                convert(Converter::new(settings(Input::JsonLines))?, input, CHUNK, &mut Counted::default(), None)
            }
            Way::MetricsByByte => {
                convert(Converter::new(settings(Input::Auto))?, input, 1, &mut Counted::default(), None)
            }
            Way::JsonByByte => convert(Converter::new(settings(Input::Json))?, input, 1, &mut Counted::default(), None),
            Way::Summary => {
                let mut summary = Summary::new(&Settings::default().measurement);
                let converter = Converter::new(settings(Input::Json))?;
                let count = convert(converter, input, CHUNK, &mut Counted::default(), Some(&mut summary));
                black_box(summary.algorithms().len());
                count
            }
            Way::Trace => {
                let mut converter = Converter::new(settings(Input::Json))?;
                converter.trace();
                convert(converter, input, CHUNK, &mut Counted::default(), None)
            }
            Way::Parallel => parallel(Converter::new(settings(Input::Json))?, input),
            Way::Table | Way::Journal => records(input),
        }
    }
}

/// How many messages there are, of whatever becomes of them.
#[derive(Default)]
struct Counted(Counts);

impl Counted {
    fn messages(&self) -> u64 {
        self.0.converted + self.0.passed + self.0.all_rejected()
    }
}

impl Observer for Counted {
    fn observe(&mut self, event: telegraf_algorithmia::Event<'_>) {
        self.0.observe(event);
    }

    fn trace(&mut self, trace: &Trace<'_>) {
        black_box(trace.keys.len());
    }
}

fn convert(
    mut converter: Converter,
    input: &[u8],
    chunk: usize,
    counted: &mut Counted,
    mut summary: Option<&mut Summary>,
) -> Result<u64> {
    let mut out = Vec::new();
    for chunk in input.chunks(chunk) {
        converter.push(chunk, &mut out, counted);
        if let Some(summary) = &mut summary {
            summary.read(&out);
        }
        black_box(&out);
        out.clear();
    }
    converter.finish(&mut out, counted);
    Ok(counted.messages())
}

fn parallel(mut converter: Converter, input: &[u8]) -> Result<u64> {
    let (mut out, mut counted) = (Vec::new(), Counted::default());
    let mut parallel = Parallel::new(Cursor::new(input.to_vec()), 2);
    while let Some(counts) = parallel.next(&mut converter, &mut out, &mut counted)? {
        counted.0.add(&counts);
        black_box(&out);
        out.clear();
    }
    converter.finish(&mut out, &mut counted);
    Ok(counted.messages())
}

/// A segment of the journal, with a record for each text.
fn journal(texts: impl Iterator<Item = Vec<u8>>, size: usize) -> Vec<u8> {
    let (mut segment, mut head) = (Vec::new(), String::new());
    for text in texts {
        if segment.len() >= size {
            break;
        }
        write_head(&mut head, inputs::KEY, &text, 1, segment.len() as u64);
        segment.extend_from_slice(head.as_bytes());
        segment.extend_from_slice(&text);
    }
    segment
}

/// Reads a segment. What looks like the start of a record counts as one.
fn records(segment: &[u8]) -> Result<u64> {
    let (mut reader, mut lines) = (RecordReader::new(segment, 0), Vec::new());
    while reader.next(&mut lines)?.is_some() {
        black_box(&lines);
    }
    Ok(memchr::memmem::find_iter(segment, b"# journal").count() as u64)
}

/// The processor time of all threads: what other processes do meanwhile is not in it.
fn process_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// What an input takes.
#[derive(Clone, Copy)]
struct Cost {
    seconds: f64,
    bytes: usize,
    messages: u64,
    values: u64,
}

impl Cost {
    fn of(way: Way, (input, values): &(Vec<u8>, u64)) -> Result<Self> {
        let (seconds, messages) = if way == Way::Table {
            (table_seconds(input)?, Way::Trace.run(input)?)
        } else {
            let start = process_time();
            let messages = way.run(input)?;
            ((process_time() - start).as_secs_f64(), messages)
        };
        Ok(Cost { seconds, bytes: input.len(), messages, values: *values })
    }

    fn least(self, other: Cost) -> Cost {
        Cost { seconds: self.seconds.min(other.seconds), ..self }
    }

    /// How many times as much as what is usual.
    fn ratio(self, usual: Cost) -> f64 {
        let by_bytes = self.bytes as f64 / usual.bytes as f64;
        let by_messages = self.messages as f64 / usual.messages as f64;
        let by_values = self.values as f64 / usual.values.max(1) as f64;
        self.seconds / usual.seconds / by_bytes.max(by_messages).max(by_values)
    }
}

/// The processor time of the command with a table of this input, which nobody reads.
fn table_seconds(input: &[u8]) -> Result<f64> {
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), input)?;
    let mut child = Command::new(program())
        .args(["inspect", "--input", "json"])
        .arg(file.path())
        .stdout(Stdio::null())
        .spawn()
        .context("cannot start the command")?;
    let pid = Pid::from_child(&child);
    waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)?;
    let seconds = usage::thread_seconds(child.id())?;
    ensure!(child.wait()?.success(), "the command failed");
    Ok(seconds)
}

/// The least that the usual input and a hostile one take. What seems to be too slow is looked at more often.
fn measure(way: Way, hostile: &Hostile, usual: &(Vec<u8>, u64), options: &Options) -> Result<(Cost, Cost)> {
    let size = way.size(options.size);
    let mut input = (hostile.make)(way, size);
    // One message may be longer, and by its bytes that takes long.
    if matches!(way, Way::MetricsByByte | Way::JsonByByte) && input.0.len() > 2 * size {
        input.1 = input.1 * 2 * size as u64 / input.0.len() as u64;
        input.0.truncate(2 * size);
    }
    let mut costs: Option<(Cost, Cost)> = None;
    for round in 0.. {
        let (usual, own) = (Cost::of(way, usual)?, Cost::of(way, &input)?);
        let (usual, own) = costs.map_or((usual, own), |(least, own_least)| (least.least(usual), own_least.least(own)));
        costs = Some((usual, own));
        let ratio = own.ratio(usual);
        let rounds = if ratio > way.at_most() { 5 * options.rounds } else { options.rounds };
        if ratio > HOPELESS || round + 1 >= rounds {
            return Ok((usual, own));
        }
    }
    unreachable!("it ends after some rounds");
}

fn main() -> Result<ExitCode> {
    let mut options = Options::parse();
    if options.short {
        (options.rounds, options.size) = (1, 1);
    }
    options.size <<= 20;
    println!("{}\n", machine());
    let mut table = Table::new(&["input", "way", "ns a byte", "us a message", "times the usual"]);
    let inputs = Inputs::all();
    let mut slow = Vec::new();
    for way in if options.short { Way::SHORT.as_slice() } else { &Way::ALL }.iter().copied() {
        let is_wanted = |name: &str| options.only.as_ref().is_none_or(|only| name.contains(only) || way.name() == only);
        let wanted: Vec<_> = inputs.of(way).filter(|hostile| is_wanted(hostile.name)).collect();
        if wanted.is_empty() {
            continue;
        }
        let usual_input = way.usual(way.size(options.size));
        let mut rows = Vec::new();
        for hostile in wanted {
            let (usual, own) = measure(way, hostile, &usual_input, &options)?;
            let ratio = own.ratio(usual);
            rows.extend(rows.is_empty().then_some(("**the tutorial's messages**", usual, f64::INFINITY)));
            rows.push((hostile.name, own, ratio));
            let at_most = way.at_most();
            if ratio > at_most {
                let (name, way) = (hostile.name, way.name());
                slow.push(format!("{name}, {way}: {ratio:.1} times the usual, and {at_most} are allowed"));
            }
        }
        rows.sort_by(|(.., a), (.., b)| b.total_cmp(a));
        rows.truncate(if options.all { usize::MAX } else { 1 + SHOWN });
        for (name, cost, ratio) in rows {
            table.row(vec![
                name.to_owned(),
                way.name().to_owned(),
                figure(cost.seconds / cost.bytes as f64 * 1e9),
                figure(cost.seconds / cost.messages.max(1) as f64 * 1e6),
                if ratio.is_finite() { format!("{ratio:.1}") } else { "1".to_owned() },
            ]);
        }
    }
    println!("{table}");
    if slow.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!("Too slow:\n\n{}", slow.join("\n"));
    Ok(ExitCode::FAILURE)
}
