//! The same messages from a real Kafka through one Telegraf, with what may turn them into points: our binary as shipped and
//! without options, what Telegraf itself offers (its two JSON parsers, starlark), and what people would write (Go with
//! Telegraf's shim, Python). `cat`, which changes nothing, is what all are compared with.
//!
//! ```sh
//! cargo bench -p benches --bench pipeline                                       # all of it, a quarter of an hour
//! cargo bench -p benches --bench pipeline -- --short                            # what CI runs, two minutes
//! cargo bench -p benches --bench pipeline -- --plots docs/performance           # draws docs/performance/pipeline-*.svg
//! cargo bench -p benches --bench pipeline -- cat shipped json --shape tutorial --rounds 15
//! cargo bench -p benches --bench pipeline -- shipped direct --shape tutorial    # docs/recipes.md
//! cargo bench -p benches --bench pipeline -- cat cat --shape tutorial           # the noise
//! cargo bench -p benches --bench pipeline -- cat 'dd=dd bs=4k status=none' --shape tutorial
//! cargo bench -p benches --bench pipeline -- cat shipped --at-least shipped=0.97
//! ```
//!
//! All but `direct` run with the shipped telegraf.conf, in which nothing changes but what stands between Kafka and the output. The
//! conversion by others is in benches/pipeline/; building the one in Go takes `go`.
//!
//! First each processor gets the first thousand messages, and what comes out is compared with what is in them: nobody is
//! fast because he does nothing. Then come the rounds. In a round there is a new Telegraf for each processor, and each
//! reads the same topic from its beginning. But only one of them runs at a time: they take turns of a quarter of a second,
//! and all processes of the others are stopped (SIGSTOP). A machine that does other things too is never the same for
//! long; in this way it is the same for all. A round ends when each has had its seconds, whatever it has done in them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use benches::sink::{Sink, Taken};
use benches::table::Table;
use benches::telegraf::{Conf, journal};
use benches::{Shape, Spread, figure, machine, plot, spread, usage};
use clap::{Parser, ValueEnum};
use fixtures::{program, repository};
use influxdb_line_protocol::{EscapedStr, FieldValue, ParsedLine, parse_lines};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use memchr::memmem;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::value::RawValue;
use stack::{Dir, Influxdb, Kafka, Telegraf, wait_for};

/// How long a condition may take on the slowest machine.
const LONG: Duration = Duration::from_secs(600);

/// How long each runs before it is measured: Telegraf's start, and memory that fills.
const WARM_UP: Duration = Duration::from_secs(1);

/// A round ends, too, when somebody has come to this share of the messages: the end of the topic is not measured.
const END: f64 = 0.9;

/// Kafka takes a consumer for dead after 10 s of silence, and some Telegrafs start slower than others.
const ALIVE_EVERY: Duration = Duration::from_secs(2);
const SIGN_OF_LIFE: Duration = Duration::from_millis(100);

/// So many messages are looked at before anything is measured.
const LOOKED_AT: u64 = 1000;

/// What `--short` asks for at least. Noise does not reach it, a mistake that costs something does.
const SHORT_AT_LEAST: [(&str, f64); 2] = [("plain", 0.85), ("shipped", 0.85)];

/// Paired rounds of one Telegraf with different processors.
#[derive(Parser)]
struct Options {
    /// What stands between Kafka and the output: `cat`, `plain` (our binary without options), `shipped` (as telegraf.conf
    /// has it), `json` and `json_v2` (the parsers of kafka_consumer), `starlark`, `go`, `python`, or NAME=COMMAND; or
    /// `direct`, which is no processor, but kcat and our binary as telegraf-direct.conf has them. The others are compared
    /// with the first
    #[arg(default_values = ["cat", "plain", "shipped", "json", "json_v2", "starlark", "go", "python"])]
    processors: Vec<Processor>,

    /// What the messages look like; can be given again
    #[arg(long = "shape", value_enum, default_values = ["tutorial", "metrics25", "large", "bad"])]
    shapes: Vec<Shape>,

    /// How often to begin anew [default: 5, or 7 in the short form]
    #[arg(long)]
    rounds: Option<usize>,

    /// For how long each is measured in a round
    #[arg(long, value_name = "SECONDS", default_value_t = 4.0)]
    seconds: f64,

    /// Milliseconds that each has before the next one comes
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 250)]
    slice: u64,

    /// Messages in the topic, in place of as many as a round can take
    #[arg(long)]
    messages: Option<u64>,

    /// Where Telegraf's output goes
    #[arg(long, value_enum, default_value = "sink")]
    into: Into,

    /// Draw the throughput, as pipeline-SHAPE.svg in this folder
    #[arg(long, value_name = "FOLDER")]
    plots: Option<PathBuf>,

    /// Exit with status 1 if a processor has less than this share of the first one's throughput, by the median of all
    /// pairs; can be given again
    #[arg(long, value_name = "NAME=RATIO", value_parser = at_least)]
    at_least: Vec<(String, f64)>,

    /// The tutorial's messages, `cat`, `plain` and `shipped`, with `--at-least` for both unless it is given
    #[arg(long, conflicts_with_all = ["processors", "shapes"])]
    short: bool,

    /// cargo says so.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Into {
    /// A server that does nothing but count
    Sink,
    /// A real InfluxDB behind it. Without flow control Telegraf's buffer then has to hold all messages
    Influxdb,
}

fn at_least(text: &str) -> Result<(String, f64)> {
    let (name, ratio) = text.split_once('=').context("not NAME=RATIO")?;
    Ok((name.to_owned(), ratio.parse()?))
}

// ---------------------------------------------------------------------------------------------------------------------
// What is compared.

/// A candidate for the place between Kafka and the output.
#[derive(Clone)]
struct Processor {
    name: String,
    place: Place,
    output: Output,
}

#[derive(Clone)]
enum Place {
    /// The one that telegraf.conf names.
    Shipped,
    /// Another command for processors.execd.
    Execd(Vec<String>),
    /// Starlark, in Telegraf itself.
    Starlark,
    /// No processor: a parser of kafka_consumer, whose settings these are.
    Parser(&'static str),
    /// No processor: the input that telegraf-direct.conf has in place of kafka_consumer.
    Direct,
}

/// What has to come out.
#[derive(Clone, Copy, PartialEq)]
enum Output {
    /// The messages as they are.
    Messages,
    /// A point of each.
    Points,
    /// Whatever it is.
    Anything,
}

impl std::str::FromStr for Processor {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let execd = |command: &str| Place::Execd(command.split_whitespace().map(str::to_owned).collect());
        let (name, place, output) = match text {
            "cat" => (text, execd("cat"), Output::Messages),
            "plain" => (text, Place::Execd(vec![program().to_owned()]), Output::Points),
            "shipped" => (text, Place::Shipped, Output::Points),
            "direct" => (text, Place::Direct, Output::Points),
            "json" => (text, Place::Parser(include_str!("pipeline/json.toml")), Output::Points),
            "json_v2" => (text, Place::Parser(include_str!("pipeline/json_v2.toml")), Output::Points),
            "starlark" => (text, Place::Starlark, Output::Points),
            "go" => (text, Place::Execd(vec![shim().to_string_lossy().into_owned()]), Output::Points),
            "python" => {
                let script = theirs("convert.py").to_string_lossy().into_owned();
                (text, Place::Execd(vec!["python3".to_owned(), script]), Output::Points)
            }
            other => {
                let (name, command) = other.split_once('=').context("neither one that is known nor NAME=COMMAND")?;
                (name, execd(command), Output::Anything)
            }
        };
        Ok(Processor { name: name.to_owned(), place, output })
    }
}

/// A file of what people would pick instead.
fn theirs(name: &str) -> PathBuf {
    repository("benches/pipeline").join(name)
}

/// The processor in Go, once it is built.
fn shim() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("pipeline-shim")
}

fn build_shim() -> Result<()> {
    let mut go = Command::new("go");
    go.args(["build", "-C"]).arg(theirs("shim")).arg("-o").arg(shim());
    let go = go.env("CGO_ENABLED", "0").env("GOWORK", "off").env("GOFLAGS", "-mod=readonly").status();
    let status = go.context("cannot run `go`: install Go, or name the processors that you want, without `go`")?;
    ensure!(status.success(), "benches/pipeline/shim cannot be built");
    Ok(())
}

impl Processor {
    /// The shipped file with this processor in it.
    fn conf(&self, into: Into, messages: u64) -> Result<Conf> {
        let mut conf = if let Place::Direct = self.place { Conf::direct()? } else { Conf::shipped()? };
        let buffer = conf.agent()?["metric_buffer_limit"].clone();
        match &self.place {
            Place::Shipped => return Ok(conf),
            Place::Direct => {}
            Place::Execd(command) => {
                conf.plugin("processors", "execd")?.insert("command".into(), command.clone().into());
            }
            Place::Starlark => {
                conf.remove("processors");
                conf.add(&format!(
                    "[[processors.starlark]]\nnamepass = [\"kafka_consumer\"]\nscript = {:?}",
                    theirs("json.star")
                ))?;
            }
            Place::Parser(settings) => {
                conf.remove("processors");
                conf.plugin("inputs", "kafka_consumer")?.remove("data_type");
                conf.add(settings)?;
            }
        }
        if matches!(self.place, Place::Starlark | Place::Parser(_)) {
            // These messages are on their way until they are written, not only until a processor has taken them. With few
            // of them Telegraf would wait for its flush_interval time and again.
            conf.plugin("inputs", "kafka_consumer")?.insert("max_undelivered_messages".into(), buffer);
        }
        if into == Into::Influxdb {
            conf.agent()?.insert("metric_buffer_limit".into(), i64::try_from(messages)?.into());
        }
        Ok(conf)
    }
}

/// As many as the fastest takes in a round of the default length.
fn messages(shape: Shape) -> u64 {
    match shape {
        Shape::Tutorial | Shape::Bad => 1_200_000,
        Shape::Metrics25 => 500_000,
        Shape::Large => 50_000,
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// What comes out.

/// How many points each processor makes of the first messages. An error where they are not what is in the messages.
fn look(dir: &Dir, kafka: &Kafka, shape: Shape, processors: &[Processor]) -> Result<Vec<u64>> {
    let topic = format!("{}-first", shape.name());
    kafka.create_topic(&topic, 1)?;
    let messages: Vec<String> = shape.messages(LOOKED_AT).collect();
    kafka.produce(&topic, &messages)?;
    let mut running = Vec::new();
    for (index, processor) in processors.iter().enumerate() {
        let sink = Sink::keeping()?;
        let id = format!("{topic}-{index}");
        let conf = processor.conf(Into::Sink, LOOKED_AT)?;
        let telegraf = conf.start(dir, kafka.broker(), &topic, &id, sink.url(), &id)?;
        running.push((processor, sink, telegraf));
    }
    let last = messages.last().and_then(|message| request_id(message)).context("the last message is a good one")?;
    let counts = running.iter().map(|(processor, sink, telegraf)| {
        wait_for("the last message", LONG, || {
            telegraf.ensure_running()?;
            Ok(sink.look(|written| memmem::find(written, last.as_bytes()).map(drop)))
        })
        .and_then(|()| {
            let written = sink.look(|written| String::from_utf8(written.to_vec()))?;
            compare(&written, &messages, processor.output)
        })
        .with_context(|| format!("{}, {}:\n{}", processor.name, shape.title(), telegraf.log()))
    });
    counts.collect()
}

/// The number of points, if they are what is to be made of the messages.
fn compare(written: &str, messages: &[String], output: Output) -> Result<u64> {
    let lines = parse_lines(written).collect::<Result<Vec<_>, _>>()?;
    // The count of `--stats` is not made of a message.
    let lines: Vec<_> = lines.iter().filter(|line| line.series.measurement != "algorithmia_processor").collect();
    if output == Output::Messages {
        ensure!(lines.len() == messages.len(), "{} points of {} messages", lines.len(), messages.len());
        for (line, message) in lines.iter().zip(messages) {
            ensure!(
                fields(line)? == [("value".to_owned(), Found::Text(message.clone()))].into(),
                "{line} of {message}"
            );
        }
    }
    if output == Output::Points {
        let named = |name| lines.iter().filter(move |line| line.series.measurement == name);
        let points = named("algorithmia").map(|line| point(line)).collect::<Result<Vec<_>>>()?;
        for message in messages {
            let Some(expected) = expected(message)? else { continue };
            let same =
                points.iter().filter(|point| point.fields.get("request_id") == expected.fields.get("request_id"));
            let same: Vec<_> = same.collect();
            ensure!(same == [&expected], "{message}\nmakes {same:#?}\ninstead of {expected:#?}");
        }
    }
    Ok(lines.len() as u64)
}

#[derive(Debug, PartialEq)]
struct Point {
    tags: BTreeMap<String, String>,
    fields: BTreeMap<String, Found>,
    /// Only our own binary fills the last three digits of the nanoseconds, so that calls of the same microsecond keep apart.
    microseconds: i64,
}

#[derive(Clone, Debug, PartialEq)]
enum Found {
    Number(f64),
    Text(String),
}

const TAGS: [&str; 3] = ["algorithm_name", "algorithm_owner", "algorithm_version"];

/// The point to be made of a message, if it is a good one.
fn expected(message: &str) -> Result<Option<Point>> {
    let Ok(payload) = serde_json::from_str::<BTreeMap<String, &RawValue>>(message) else { return Ok(None) };
    if !payload.contains_key(TAGS[0]) {
        return Ok(None);
    }
    let mut point = Point { tags: BTreeMap::new(), fields: BTreeMap::new(), microseconds: 0 };
    for (key, value) in payload {
        // serde_json itself reads a float to a last digit more or less.
        let found = match value.get().parse() {
            Ok(number) => Found::Number(number),
            Err(_) => Found::Text(serde_json::from_str(value.get())?),
        };
        match found {
            Found::Text(text) if TAGS.contains(&&*key) => drop(point.tags.insert(key, text)),
            Found::Text(text) if key == "time" => {
                let time = text.parse::<DateTime>()?.to_zoned(TimeZone::UTC)?;
                point.microseconds = time.timestamp().as_microsecond();
            }
            found => drop(point.fields.insert(key, found)),
        }
    }
    Ok(Some(point))
}

fn request_id(message: &str) -> Option<String> {
    let payload: serde_json::Value = serde_json::from_str(message).ok()?;
    Some(payload.get("request_id")?.as_str()?.to_owned())
}

fn point(line: &ParsedLine) -> Result<Point> {
    let tags = line.series.tag_set.iter().flatten();
    let tags = tags.map(|(key, value)| (key.to_string(), value.to_string())).collect();
    let nanoseconds = line.timestamp.context("a point without time")?;
    Ok(Point { tags, fields: fields(line)?, microseconds: nanoseconds.div_euclid(1000) })
}

fn fields(line: &ParsedLine) -> Result<BTreeMap<String, Found>> {
    let field = |(key, value): &(EscapedStr, FieldValue)| {
        let key = key.to_string();
        Ok(match value {
            FieldValue::F64(number) => (key, Found::Number(*number)),
            // Our own binary says in the key that it is text.
            FieldValue::String(text) => {
                (key.strip_suffix("_text").unwrap_or(&key).to_owned(), Found::Text(text.to_string()))
            }
            other => bail!("{key} is neither float nor text: {other}"),
        })
    };
    line.field_set.iter().map(field).collect()
}

// ---------------------------------------------------------------------------------------------------------------------
// How fast.

/// What one processor came to in one round.
#[derive(Clone, Copy)]
struct Outcome {
    /// Messages a second.
    per_second: f64,
    /// Processor time a message, in microseconds, and the most memory, in MiB: Telegraf's own, and that of its children.
    cpu: [f64; 2],
    memory: [f64; 2],
}

/// A Telegraf that reads the topic, in slices of time between which all of its processes are stopped.
struct Runner<'a> {
    processor: &'a Processor,
    telegraf: Telegraf,
    sink: &'a Sink,
    journal: PathBuf,
    /// What the sink had from others.
    before: u64,
    running: Duration,
    /// Telegraf's own processes, itself first.
    processes: Vec<u32>,
    /// When the last point came.
    last: Mark,
}

#[derive(Clone, Copy, Default)]
struct Mark {
    points: u64,
    running: Duration,
    cpu: [f64; 2],
}

impl Runner<'_> {
    /// Stops it as soon as something has gone all the way; true then.
    fn stop_once_started(&mut self) -> Result<bool> {
        self.telegraf.ensure_running()?;
        if self.processes.is_empty() && self.sink.taken().points > self.before {
            self.processes = processes(&self.telegraf)?;
            signal(&self.processes, Signal::STOP)?;
        }
        Ok(!self.processes.is_empty())
    }

    fn run(&mut self, slice: Duration) -> Result<()> {
        self.telegraf.ensure_running()?;
        let start = Instant::now();
        signal(&self.processes, Signal::CONT)?;
        thread::sleep(slice);
        signal(&self.processes, Signal::STOP)?;
        let slice = start.elapsed();
        let Taken { points, at } = self.sink.taken();
        let points = points - self.before;
        if points > self.last.points {
            // Telegraf writes in batches, and where a slice ends within one should make no difference.
            let running = self.running + at.saturating_duration_since(start).min(slice);
            self.last = Mark { points, running, cpu: self.sum(usage::cpu_seconds)? };
        }
        self.running += slice;
        Ok(())
    }

    /// Telegraf's own, and that of its children.
    fn sum(&self, of: impl Fn(u32) -> Result<f64>) -> Result<[f64; 2]> {
        let (telegraf, children) = self.processes.split_first().context("not started")?;
        Ok([of(*telegraf)?, children.iter().map(|child| of(*child)).sum::<Result<f64>>()?])
    }

    /// Ends all of it, which is stopped. It has still much to read, and nobody waits for that.
    fn end(self, shape: Shape) -> Result<()> {
        // The children first: as long as Telegraf is stopped and waits for none of them, their numbers are theirs.
        signal(&self.processes[1..], Signal::KILL)?;
        self.telegraf.kill()?;
        let log = self.telegraf.log();
        // Some report what is no good as an error.
        let errors = shape != Shape::Bad && log.contains(" E! ");
        ensure!(!errors && !log.contains("overflow"), "{} did not go well:\n{log}", self.processor.name);
        if self.journal.exists() {
            // Or the disk would fill up.
            std::fs::remove_dir_all(&self.journal).context("the journal")?;
        }
        Ok(())
    }
}

fn signal(processes: &[u32], signal: Signal) -> Result<()> {
    processes.iter().try_for_each(|process| {
        let process = Pid::from_raw((*process).try_into()?).context("a process has a number")?;
        Ok(kill_process(process, signal)?)
    })
}

/// Telegraf and all that it has started.
fn processes(telegraf: &Telegraf) -> Result<Vec<u32>> {
    let mut processes = vec![telegraf.pid()];
    let mut descendants = telegraf.children()?;
    while let Some(descendant) = descendants.pop() {
        processes.push(descendant.pid());
        descendants.extend(descendant.children()?);
    }
    Ok(processes)
}

/// All that the rounds of one shape have in common.
struct Race<'a> {
    dir: &'a Dir,
    kafka: &'a Kafka,
    sinks: &'a [Sink],
    options: &'a Options,
    shape: Shape,
    messages: u64,
    /// How many points each processor makes of a message.
    points: &'a [f64],
}

impl Race<'_> {
    /// One Telegraf for each processor, all new, and what each of them came to in turns.
    fn round(&self, number: usize) -> Result<Vec<Outcome>> {
        let mut runners = Vec::new();
        for (index, processor) in self.options.processors.iter().enumerate() {
            runners.push(self.start(
                processor,
                &self.sinks[index],
                &format!("{}-{number}-{index}", self.shape.name()),
            )?);
        }
        let mut alive = Instant::now();
        wait_for("the start of all", LONG, || {
            let started = runners.iter_mut().map(Runner::stop_once_started).collect::<Result<Vec<_>>>()?;
            if alive.elapsed() >= ALIVE_EVERY {
                let mut started = runners.iter_mut().zip(&started).filter(|(_, started)| **started);
                started.try_for_each(|(runner, _)| runner.run(SIGN_OF_LIFE))?;
                alive = Instant::now();
            }
            Ok(started.into_iter().all(|started| started).then_some(()))
        })?;
        let count = runners.len();
        let slice = Duration::from_millis(self.options.slice);
        let mut turn = number;
        let mut turns_for = |time: Duration| -> Result<Vec<Mark>> {
            let turns = time.div_duration_f64(slice).ceil() as usize;
            for _ in 0..turns {
                (0..count).try_for_each(|step| runners[(turn + step) % count].run(slice))?;
                turn += 1;
                let done = |(runner, points): (&Runner, &f64)| {
                    runner.last.points as f64 >= END * points * self.messages as f64
                };
                if runners.iter().zip(self.points).any(done) {
                    break;
                }
            }
            Ok(runners.iter().map(|runner| runner.last).collect())
        };
        let starts = turns_for(WARM_UP)?;
        let ends = turns_for(Duration::from_secs_f64(self.options.seconds))?;
        let mut outcomes = Vec::new();
        for (index, runner) in runners.into_iter().enumerate() {
            let (start, end) = (starts[index], ends[index]);
            let messages = (end.points - start.points) as f64 / self.points[index];
            ensure!(
                messages > 0.0,
                "{} made nothing of the messages: {}",
                runner.processor.name,
                runner.telegraf.log()
            );
            outcomes.push(Outcome {
                per_second: messages / (end.running - start.running).as_secs_f64(),
                cpu: [0, 1].map(|who| (end.cpu[who] - start.cpu[who]) * 1e6 / messages),
                memory: runner.sum(|process| Ok(usage::peak_rss(process)? as f64 / 1024.0 / 1024.0))?,
            });
            runner.end(self.shape)?;
        }
        Ok(outcomes)
    }

    fn start<'a>(&self, processor: &'a Processor, sink: &'a Sink, id: &str) -> Result<Runner<'a>> {
        let before = sink.taken().points;
        let conf = processor.conf(self.options.into, self.messages)?;
        let telegraf = conf.start(self.dir, self.kafka.broker(), self.shape.name(), id, sink.url(), id)?;
        Ok(Runner {
            processor,
            telegraf,
            sink,
            journal: journal(self.dir, id),
            before,
            running: Duration::ZERO,
            processes: Vec::new(),
            last: Mark::default(),
        })
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// What is said of it.

/// Prints what came out, and gives the median ratio of each processor to the first one's turns in the same round.
fn report(processors: &[Processor], rounds: &[Vec<Outcome>], points: &[u64]) -> Vec<f64> {
    let column =
        |index: usize, value: &dyn Fn(&Outcome) -> f64| spread(rounds.iter().map(|round| value(&round[index])));
    let range = |Spread { min, median, max }| format!("{} ({} to {})", figure(median), figure(min), figure(max));
    let ratio = |Spread { min, median, max }| format!("{median:.2} ({min:.2} to {max:.2})");
    let reference = &processors[0].name;
    let mut table = Table::new(&[
        "",
        "messages/s",
        &format!("/ {reference}"),
        &format!("/ {reference}, in pairs"),
        "Telegraf, us",
        "children, us",
        "children / Telegraf",
        "Telegraf, MiB",
        "children, MiB",
        &format!("points of {} messages", figure(LOOKED_AT as f64)),
    ]);
    let first = column(0, &|outcome| outcome.per_second).median;
    let mut ratios = Vec::new();
    for (index, processor) in processors.iter().enumerate() {
        let per_second = column(index, &|outcome| outcome.per_second);
        let pairs = spread(rounds.iter().map(|round| round[index].per_second / round[0].per_second));
        let median = |value: &dyn Fn(&Outcome) -> f64| column(index, value).median;
        let share = median(&|outcome| outcome.cpu[1] / outcome.cpu[0]);
        table.row(vec![
            processor.name.clone(),
            range(per_second),
            format!("{:.2}", per_second.median / first),
            ratio(pairs),
            figure(median(&|outcome| outcome.cpu[0])),
            figure(median(&|outcome| outcome.cpu[1])),
            format!("{:.0} %", share * 100.0),
            figure(median(&|outcome| outcome.memory[0])),
            figure(median(&|outcome| outcome.memory[1])),
            figure(points[index] as f64),
        ]);
        ratios.push(pairs.median);
    }
    println!("\n{table}");
    ratios
}

fn main() -> Result<ExitCode> {
    let mut options = Options::parse();
    if options.short {
        options.shapes = vec![Shape::Tutorial];
        options.processors = ["cat", "plain", "shipped"].map(str::parse).into_iter().collect::<Result<_>>()?;
        if options.at_least.is_empty() {
            options.at_least = SHORT_AT_LEAST.map(|(name, ratio)| (name.to_owned(), ratio)).into();
        }
    }
    let dir = Dir::new("pipeline")?;
    measure(&dir, &options).inspect_err(|_| dir.keep())
}

fn measure(dir: &Dir, options: &Options) -> Result<ExitCode> {
    let processors = &options.processors;
    let named = |name: &str| processors.iter().position(|processor| processor.name == name);
    for (name, _) in &options.at_least {
        ensure!(named(name).is_some(), "--at-least is for {name}, which is not among the processors");
    }
    let count = options.rounds.unwrap_or(if options.short { 7 } else { 5 });
    ensure!(count > 0 && options.slice > 0, "no rounds, no figures");
    if named("go").is_some() {
        build_shim()?;
    }
    println!("{}", machine());

    let kafka = Kafka::start(dir)?;
    let influxdb = if options.into == Into::Influxdb { Some(Influxdb::start(dir)?) } else { None };
    let influxdb = influxdb.map(Arc::new);
    let sinks = processors.iter().map(|_| Sink::start(influxdb.clone())).collect::<Result<Vec<_>>>()?;

    let mut too_slow = false;
    for &shape in &options.shapes {
        let bytes = shape.messages(LOOKED_AT).map(|message| message.len()).sum::<usize>() as f64 / LOOKED_AT as f64;
        println!("\n### {}, {} bytes each", shape.title(), figure(bytes));
        let points = look(dir, &kafka, shape, processors)?;
        let points_per_message: Vec<f64> = points.iter().map(|points| *points as f64 / LOOKED_AT as f64).collect();
        let messages = options.messages.unwrap_or(messages(shape));
        kafka.create_topic(shape.name(), 1)?;
        kafka.produce(shape.name(), shape.messages(messages))?;
        let race = Race { dir, kafka: &kafka, sinks: &sinks, options, shape, messages, points: &points_per_message };
        let mut rounds = Vec::new();
        for number in 1..=count {
            let outcomes = race.round(number)?;
            let line = processors.iter().zip(&outcomes).map(|(processor, outcome)| {
                let ratio = outcome.per_second / outcomes[0].per_second;
                format!("{} {}/s {ratio:.3}", processor.name, figure(outcome.per_second))
            });
            eprintln!("round {number}: {}", line.collect::<Vec<_>>().join(", "));
            rounds.push(outcomes);
        }
        let ratios = report(processors, &rounds, &points);
        for (name, least) in &options.at_least {
            let ratio = named(name).map_or(f64::NAN, |index| ratios[index]);
            if ratio.is_nan() || ratio < *least {
                println!("{name} reaches {ratio:.3} of {}, and not {least}", processors[0].name);
                too_slow = true;
            }
        }
        if let Some(folder) = &options.plots {
            let bars = processors.iter().enumerate().map(|(index, processor)| {
                (processor.name.clone(), spread(rounds.iter().map(|round| round[index].per_second)))
            });
            let title = format!("Throughput of one Telegraf: {}", shape.title());
            let file = folder.join(format!("pipeline-{}.svg", shape.name()));
            plot::bars(&file, &title, "messages/s", &bars.collect::<Vec<_>>())?;
        }
    }
    Ok(if too_slow { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
