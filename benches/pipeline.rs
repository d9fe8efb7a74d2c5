//! Throughput of one Telegraf with the shipped telegraf.conf, in which nothing changes from round to round but the
//! command of processors.execd: `cat`, which is as fast as any child of Telegraf can be, our binary, our binary as
//! shipped.
//!
//! ```sh
//! cargo bench --bench pipeline
//! cargo bench --bench pipeline -- --rounds 15 --at-least 0.97
//! cargo bench --bench pipeline -- cat cat                          # the noise
//! cargo bench --bench pipeline -- cat shipped 'dd=dd bs=4k status=none'
//! ```
//!
//! In a round there is a new Telegraf for each processor, and each reads the same topic from its beginning. But only one
//! of them runs at a time: they take turns of a quarter of a second, and all processes of the others are stopped
//! (SIGSTOP). A machine that does other things too is never the same for long; in this way it is the same for all.
//!
//! The sink speaks so much of InfluxDB's API that Telegraf's own output writes to it: its buffer and its gauges are the
//! real ones, but no database takes a share of the processor.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use memchr::memchr_iter;
use rustix::param::clock_ticks_per_second;
use rustix::process::{Pid, Signal, kill_process};
use stack::{BUCKET, Dir, Influxdb, Kafka, ORG, TOKEN, Telegraf, wait_for};

const BINARY: &str = env!("CARGO_BIN_EXE_telegraf-algorithmia");
const TOPIC: &str = "insights";

/// How long a condition may take on the slowest machine.
const LONG: Duration = Duration::from_secs(600);

/// Measured is what lies between these shares of the messages: not Telegraf's start, nor its last, partial batches.
const WINDOW: [f64; 2] = [0.1, 0.9];

/// Kafka takes a consumer for dead after 10 s of silence, and some Telegrafs start slower than others.
const ALIVE_EVERY: Duration = Duration::from_secs(2);
const SIGN_OF_LIFE: Duration = Duration::from_millis(100);

/// Paired rounds of one Telegraf with different processors.
#[derive(Parser)]
struct Options {
    /// What stands between Kafka and the output: `cat`, `plain` (our binary without options), `shipped` (as telegraf.conf
    /// has it), or NAME=COMMAND. The others are compared with the first
    #[arg(default_values = ["cat", "plain", "shipped"])]
    processors: Vec<Processor>,

    /// How often to begin anew
    #[arg(long, default_value_t = 5)]
    rounds: usize,

    /// Messages in the topic
    #[arg(long, default_value_t = 1_000_000)]
    messages: u64,

    /// Milliseconds that each has before the next one comes
    #[arg(long, default_value_t = 250)]
    slice: u64,

    /// Where Telegraf's output goes
    #[arg(long, value_enum, default_value = "sink")]
    into: Into,

    /// Exit with status 1 if `shipped` has less than this share of the first one's throughput
    #[arg(long, value_name = "RATIO")]
    at_least: Option<f64>,

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

/// A candidate for the place in the shipped telegraf.conf.
#[derive(Clone)]
struct Processor {
    name: String,
    /// None for the one that the file names.
    command: Option<Vec<String>>,
}

impl std::str::FromStr for Processor {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, command) = match text {
            "cat" => (text, Some("cat")),
            "plain" => (text, Some(BINARY)),
            "shipped" => (text, None),
            other => other.split_once('=').map(|(name, command)| (name, Some(command))).context("not NAME=COMMAND")?,
        };
        let command = command.map(|command| command.split_whitespace().map(str::to_owned).collect());
        Ok(Processor { name: name.to_owned(), command })
    }
}

impl Processor {
    /// The shipped file with this processor in it.
    fn telegraf_conf(&self, options: &Options) -> Result<String> {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("telegraf/telegraf.conf");
        let mut text = std::fs::read_to_string(shipped)?;
        if let Some(command) = &self.command {
            replace(&mut text, "[[processors.execd]]", "\n  command = [", "]", &format!("\n  command = {command:?}"))?;
            if options.into == Into::Influxdb {
                let limit = format!("\n  metric_buffer_limit = {}\n", options.messages);
                replace(&mut text, "[agent]", "\n  metric_buffer_limit = ", "\n", &limit)?;
            }
        }
        // Compression would take a share of the time that depends on what is compressed. And a request may take as long
        // as the others have their turns.
        replace(&mut text, "[[outputs.influxdb_v2]]", "\n  timeout = ", "\n", "\n  timeout = \"60s\"\n")?;
        let output = "[[outputs.influxdb_v2]]\n";
        Ok(text.replace(output, &format!("{output}  content_encoding = \"identity\"\n")))
    }
}

/// Replaces what is from `start` to `end`, the first time that it comes behind `section`.
fn replace(text: &mut String, section: &str, start: &str, end: &str, by: &str) -> Result<()> {
    let section = text.find(section).with_context(|| format!("telegraf.conf has no {section}"))?;
    let start = section + text[section..].find(start).with_context(|| format!("telegraf.conf has no {start}"))?;
    let end = start + 1 + text[start + 1..].find(end).context("telegraf.conf is cut off")? + end.len();
    text.replace_range(start..end, by);
    Ok(())
}

/// Takes what Telegraf's influxdb_v2 output writes, and counts it.
struct Sink {
    url: String,
    taken: Arc<Mutex<Taken>>,
}

/// How many lines there were, and when the last of them came.
#[derive(Clone, Copy)]
struct Taken {
    lines: u64,
    at: Instant,
}

impl Sink {
    fn start(influxdb: Option<Arc<Influxdb>>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}", listener.local_addr()?);
        let taken = Arc::new(Mutex::new(Taken { lines: 0, at: Instant::now() }));
        let counter = Arc::clone(&taken);
        thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let (counter, influxdb) = (Arc::clone(&counter), influxdb.clone());
                thread::spawn(move || {
                    // Telegraf tries again where it gets no answer, and complains in its log.
                    if let Err(error) = serve(connection, influxdb.as_deref(), &counter) {
                        eprintln!("a connection to the sink ended: {error:#}");
                    }
                });
            }
        });
        Ok(Sink { url, taken })
    }

    fn taken(&self) -> Taken {
        *self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers the requests of one connection until it is closed.
fn serve(connection: TcpStream, influxdb: Option<&Influxdb>, taken: &Mutex<Taken>) -> Result<()> {
    let mut reader = BufReader::with_capacity(256 * 1024, connection.try_clone()?);
    let mut body = Vec::new();
    while read_request(&mut reader, &mut body)? {
        if let Some(influxdb) = influxdb {
            influxdb.write(&body)?;
        }
        let lines = memchr_iter(b'\n', &body).count() as u64;
        {
            let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
            *taken = Taken { lines: taken.lines + lines, at: Instant::now() };
        }
        (&connection).write_all(b"HTTP/1.1 204 No Content\r\n\r\n")?;
    }
    Ok(())
}

/// Reads a request of which only the body counts; false where there is none any more.
fn read_request(reader: &mut impl BufRead, body: &mut Vec<u8>) -> Result<bool> {
    body.clear();
    let (mut line, mut length, mut chunked) = (String::new(), 0, false);
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(false);
        }
        let header = line.trim_end().to_ascii_lowercase();
        match header.split_once(": ") {
            Some(("content-length", value)) => length = value.parse()?,
            Some(("transfer-encoding", value)) => chunked = value == "chunked",
            Some(("content-encoding", value)) => ensure!(value == "identity", "the sink cannot decode {value}"),
            _ if header.is_empty() => break,
            _ => {}
        }
    }
    if !chunked {
        reader.take(length).read_to_end(body)?;
        return Ok(true);
    }
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let length = u64::from_str_radix(line.trim_end(), 16).with_context(|| format!("{line:?} begins a chunk"))?;
        reader.take(length).read_to_end(body)?;
        reader.read_line(&mut line)?;
        if length == 0 {
            return Ok(true);
        }
    }
}

/// What one processor came to in one round.
#[derive(Clone, Copy)]
struct Outcome {
    per_second: f64,
    /// Processor time a message, in microseconds: Telegraf's own, and that of its children.
    cpu: [f64; 2],
}

/// A Telegraf that reads the whole topic, in slices of time between which all of its processes are stopped.
struct Runner<'a> {
    processor: &'a Processor,
    telegraf: Telegraf,
    sink: &'a Sink,
    journal: Option<PathBuf>,
    /// What the sink had from others.
    before: u64,
    running: Duration,
    /// Telegraf's own processes, itself first.
    processes: Vec<Pid>,
    /// When the last line came.
    last: Mark,
}

#[derive(Clone, Copy, Default)]
struct Mark {
    lines: u64,
    running: Duration,
    cpu: [f64; 2],
}

impl<'a> Runner<'a> {
    fn start(dir: &Dir, broker: &str, sink: &'a Sink, processor: &'a Processor, conf: &str, id: &str) -> Result<Self> {
        let mut environment = vec![
            ("KAFKA_BROKER", broker.to_owned()),
            ("KAFKA_TOPIC", TOPIC.to_owned()),
            ("KAFKA_CONSUMER_GROUP", id.to_owned()),
            ("INFLUX_HOST", sink.url.clone()),
            ("INFLUX_TOKEN", TOKEN.to_owned()),
            ("INFLUX_ORG", ORG.to_owned()),
            ("INFLUX_BUCKET", BUCKET.to_owned()),
            ("TELEGRAF_ALGORITHMIA", BINARY.to_owned()),
        ];
        let journal = conf.contains("\"--journal\"").then(|| dir.path().join(format!("journal-{id}")));
        environment.extend(journal.iter().map(|folder| ("ALGORITHMIA_JOURNAL", folder.display().to_string())));
        let config = dir.write(&format!("telegraf-{id}.conf"), conf)?;
        let before = sink.taken().lines;
        let telegraf = Telegraf::start(dir, config, environment)?;
        let running = Duration::ZERO;
        Ok(Runner { processor, telegraf, sink, journal, before, running, processes: Vec::new(), last: Mark::default() })
    }

    /// Stops it as soon as something has gone all the way; true then.
    fn stop_once_started(&mut self) -> Result<bool> {
        self.telegraf.ensure_running()?;
        if self.processes.is_empty() && self.sink.taken().lines > self.before {
            self.processes = processes(&self.telegraf)?;
            self.signal(Signal::STOP)?;
        }
        Ok(!self.processes.is_empty())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        self.processes.iter().try_for_each(|process| Ok(kill_process(*process, signal)?))
    }

    fn run(&mut self, slice: Duration) -> Result<()> {
        self.telegraf.ensure_running()?;
        let start = Instant::now();
        self.signal(Signal::CONT)?;
        thread::sleep(slice);
        self.signal(Signal::STOP)?;
        let slice = start.elapsed();
        let Taken { lines, at } = self.sink.taken();
        let lines = lines - self.before;
        if lines > self.last.lines {
            // Telegraf writes in batches, and where a slice ends within one should make no difference.
            let running = self.running + at.saturating_duration_since(start).min(slice);
            self.last = Mark { lines, running, cpu: cpu(&self.processes) };
        }
        self.running += slice;
        Ok(())
    }

    fn reach(&self, lines: u64) -> Result<()> {
        wait_for("the messages", LONG, || {
            self.telegraf.ensure_running()?;
            Ok((self.sink.taken().lines - self.before >= lines).then_some(()))
        })
        .with_context(|| format!("{}: {lines} messages should come", self.processor.name))
    }

    /// Lets Telegraf come to the topic's end, since a processor that loses messages is fast in vain.
    fn finish(self, messages: u64) -> Result<()> {
        self.reach(messages)?;
        // Before the end, at which Telegraf complains of a child that leaves as `cat` does.
        let log = self.telegraf.log();
        self.telegraf.terminate()?;
        ensure!(!log.contains(" E! ") && !log.contains("overflow"), "{} did not go well:\n{log}", self.processor.name);
        if let Some(journal) = self.journal {
            // Or the disk would fill up.
            std::fs::remove_dir_all(&journal).context("the journal")?;
        }
        Ok(())
    }
}

/// Telegraf and all that it has started.
fn processes(telegraf: &Telegraf) -> Result<Vec<Pid>> {
    let mut processes = vec![telegraf.pid() as i32];
    for index in 0.. {
        let Some(process) = processes.get(index) else { break };
        for task in std::fs::read_dir(format!("/proc/{process}/task"))? {
            // A thread may end meanwhile.
            let children = std::fs::read_to_string(task?.path().join("children")).unwrap_or_default();
            processes.extend(children.split_whitespace().filter_map(|child| child.parse::<i32>().ok()));
        }
    }
    processes.into_iter().map(|process| Pid::from_raw(process).context("a process has a number")).collect()
}

/// The processor time in seconds of the first one, and of the others.
fn cpu(processes: &[Pid]) -> [f64; 2] {
    let seconds = |process: &Pid| {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero())).unwrap_or_default();
        // The second item is the program's name in brackets, which may hold anything.
        let items = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let ticks: u64 = items.skip(11).take(2).filter_map(|item| item.parse::<u64>().ok()).sum();
        ticks as f64 / clock_ticks_per_second() as f64
    };
    [seconds(&processes[0]), processes[1..].iter().map(seconds).sum()]
}

/// One Telegraf for each processor, all new, and what each of them came to in turns.
fn round(dir: &Dir, broker: &str, sinks: &[Sink], options: &Options, number: usize) -> Result<Vec<Outcome>> {
    let mut runners = Vec::new();
    for (index, processor) in options.processors.iter().enumerate() {
        let (conf, id) = (processor.telegraf_conf(options)?, format!("{number}-{index}"));
        runners.push(Runner::start(dir, broker, &sinks[index], processor, &conf, &id)?);
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
    let slice = Duration::from_millis(options.slice);
    let [from, to] = WINDOW.map(|share| (share * options.messages as f64) as u64);
    let mut turn = number;
    let mut turns_until = |done: &dyn Fn(&[Runner]) -> bool| -> Result<Vec<Mark>> {
        while !done(&runners) {
            (0..count).try_for_each(|step| runners[(turn + step) % count].run(slice))?;
            turn += 1;
        }
        Ok(runners.iter().map(|runner| runner.last).collect())
    };
    let starts = turns_until(&|runners| runners.iter().all(|runner| runner.last.lines >= from))?;
    let ends = turns_until(&|runners| runners.iter().any(|runner| runner.last.lines >= to))?;
    runners.iter().try_for_each(|runner| runner.signal(Signal::CONT))?;
    runners.into_iter().try_for_each(|runner| runner.finish(options.messages))?;
    let outcome = |(start, end): (&Mark, &Mark)| {
        let lines = (end.lines - start.lines) as f64;
        Outcome {
            per_second: lines / (end.running - start.running).as_secs_f64(),
            cpu: [0, 1].map(|index| (end.cpu[index] - start.cpu[index]) * 1e6 / lines),
        }
    };
    Ok(starts.iter().zip(&ends).map(outcome).collect())
}

/// Prints what came out, and gives the median ratio of each processor to the first one's turn in the same round.
fn report(processors: &[Processor], rounds: &[Vec<Outcome>]) -> Vec<f64> {
    println!(
        "\n{:<14} {:>26}   {:>7}   {:>20}   {:>17}",
        "", "messages/s", "medians", "paired ratio", "CPU us/message"
    );
    println!(
        "{:<14} {:>8} {:>8} {:>8}   {:>7}   {:>6} {:>6} {:>6}   {:>8} {:>8}",
        "", "min", "median", "max", "ratio", "min", "median", "max", "Telegraf", "children"
    );
    let column = |index: usize, value: fn(&Outcome) -> f64| {
        support::spread(rounds.iter().map(move |round| value(&round[index])))
    };
    let reference = column(0, |outcome| outcome.per_second).median;
    let row = |(index, processor): (usize, &Processor)| {
        let support::Spread { min, median, max } = column(index, |outcome| outcome.per_second);
        let paired = support::spread(rounds.iter().map(|round| round[index].per_second / round[0].per_second));
        let [telegraf, children] = [column(index, |outcome| outcome.cpu[0]), column(index, |outcome| outcome.cpu[1])];
        let (telegraf, children) = (telegraf.median, children.median);
        println!(
            "{:<14} {min:>8.0} {median:>8.0} {max:>8.0}   {:>7.3}   {:>6.3} {:>6.3} {:>6.3}   {telegraf:>8.2} {children:>8.2}",
            processor.name,
            median / reference,
            paired.min,
            paired.median,
            paired.max,
        );
        paired.median
    };
    processors.iter().enumerate().map(row).collect()
}

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    let dir = Dir::new("pipeline")?;
    measure(&dir, &options).inspect_err(|_| dir.keep())
}

fn measure(dir: &Dir, options: &Options) -> Result<ExitCode> {
    let processors = &options.processors;
    let shipped = processors.iter().position(|processor| processor.command.is_none());
    ensure!(options.at_least.is_none() || shipped.is_some(), "--at-least is for `shipped`, which is not among them");
    ensure!(options.rounds > 0, "no rounds, no figures");

    let kafka = Kafka::start(dir)?;
    kafka.create_topic(TOPIC, 1)?;
    kafka.produce(TOPIC, support::Shape::Tutorial.messages(options.messages))?;
    let influxdb = if options.into == Into::Influxdb { Some(Influxdb::start(dir)?) } else { None };
    let influxdb = influxdb.map(Arc::new);
    let sinks = processors.iter().map(|_| Sink::start(influxdb.clone())).collect::<Result<Vec<_>>>()?;

    let mut rounds = Vec::new();
    for number in 1..=options.rounds {
        let outcomes = round(dir, kafka.broker(), &sinks, options, number)?;
        print!("round {number}:");
        for (processor, outcome) in processors.iter().zip(&outcomes) {
            print!(
                "  {} {:.0}/s {:.3}",
                processor.name,
                outcome.per_second,
                outcome.per_second / outcomes[0].per_second
            );
        }
        println!();
        rounds.push(outcomes);
    }

    let ratios = report(processors, &rounds);
    if let (Some(shipped), Some(at_least)) = (shipped, options.at_least)
        && ratios[shipped] < at_least
    {
        println!("\nshipped reaches {:.3} of {}, and not {at_least}", ratios[shipped], processors[0].name);
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}
