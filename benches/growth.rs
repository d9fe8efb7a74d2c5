//! What becomes of it in the long run, and with more partitions and more Telegrafs.
//!
//! ```sh
//! cargo bench -p benches --bench growth
//! cargo bench -p benches --bench growth -- --plots docs/performance
//! cargo bench -p benches --bench growth -- process --millions 3
//! cargo bench -p benches --bench growth -- agents --rounds 1
//! ```
//!
//! `process`: ten million messages through one process of our binary with the options of the shipped telegraf.conf. Beside
//! the one that grows old, a new one starts for each million and converts the same messages. They take turns of 5,000
//! messages, so that what else the machine does meets both: what tells age from noise is the ratio of the two.
//!
//! `agents`: topics of 1, 2 and 4 partitions, and one or two Telegrafs that read them in one consumer group, with the shipped
//! telegraf.conf. They write to sinks, one each, that count messages by their request_id; once to a real InfluxDB, to
//! see what it takes. All of this runs on one machine, whose cores are soon busy: what says how it grows is the processor
//! time of each part.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use benches::child::{GAUGE_EVERY, Processor, gauge, metric, shipped};
use benches::plot::{self, Series};
use benches::sink::Sink;
use benches::table::Table;
use benches::telegraf::{self, Conf};
use benches::{Shape, Spread, figure, machine, spread, usage};
use clap::{Parser, ValueEnum};
use memchr::{memchr_iter, memmem};
use stack::{Dir, Influxdb, Kafka, Telegraf, wait_for};
use telegraf_algorithmia::{Converter, Settings};

/// A turn's messages, which are the same in every turn.
const TURN: u64 = 5_000;
const TURNS_OF_A_MILLION: u64 = 1_000_000 / TURN;

/// They are written in blocks of so many bytes, as many as a pipe holds.
const BLOCK: usize = 64 * 1024;

/// The self-report comes once a minute, and no turn takes that long.
const REPORTS: u64 = 1;

/// A Telegraf and its processor in the long run, and several of them.
#[derive(Parser)]
struct Options {
    /// What to measure
    #[arg(value_enum, default_values_t = [Part::Process, Part::Agents])]
    parts: Vec<Part>,

    /// Millions of messages through one process
    #[arg(long, default_value_t = 10)]
    millions: u64,

    /// What their messages look like
    #[arg(long, value_enum, default_value = "bad")]
    shape: Shape,

    /// How often to begin anew with the agents
    #[arg(long, default_value_t = 3)]
    rounds: usize,

    /// Messages in each topic
    #[arg(long, default_value_t = 500_000)]
    messages: u64,

    /// Draw the series into this folder
    #[arg(long, value_name = "FOLDER")]
    plots: Option<PathBuf>,

    /// cargo says so.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Part {
    /// Many messages through one process
    Process,
    /// One and two Telegrafs with one, two and four partitions
    Agents,
}

/// A turn's messages as Telegraf hands them over, in blocks of whole lines.
struct Input {
    blocks: Vec<Vec<u8>>,
    /// How many lines come of them. A bad message may be an array, of which each item is rejected.
    lines: u64,
}

impl Input {
    fn new(shape: Shape) -> Result<Self> {
        let mut blocks: Vec<Vec<u8>> = vec![Vec::new()];
        for message in shape.messages(TURN) {
            let line = metric(&message);
            match blocks.last_mut() {
                Some(block) if block.len() + line.len() <= BLOCK => block.extend_from_slice(line.as_bytes()),
                _ => blocks.push(line.into_bytes()),
            }
        }
        let mut converter = Converter::new(Settings::default())?;
        let mut out = Vec::new();
        blocks.iter().for_each(|block| converter.push(block, &mut out, &mut ()));
        converter.finish(&mut out, &mut ());
        Ok(Input { blocks, lines: count_lines(&out) })
    }
}

fn count_lines(text: &[u8]) -> u64 {
    memchr_iter(b'\n', text).count() as u64
}

/// A process that converts, with a journal of its own.
struct Subject {
    processor: Processor,
    worker: u32,
    journal: PathBuf,
}

/// What a turn took, in seconds.
#[derive(Clone, Copy)]
struct Turn {
    wall: f64,
    cpu: f64,
}

impl Subject {
    fn start(folder: &Path, name: &str) -> Result<Self> {
        let journal = folder.join(name);
        let processor = Processor::start(None, &shipped(&journal))?;
        let worker = processor.worker()?;
        Ok(Subject { processor, worker, journal })
    }

    /// Hands over a turn's messages as fast as they are taken, until all lines have come out.
    fn turn(&mut self, input: &Input) -> Result<Turn> {
        let Processor { stdin, stdout, .. } = &mut self.processor;
        let cpu = usage::thread_seconds(self.worker)?;
        let start = Instant::now();
        let end = gauge();
        let mut lines = 0;
        let gauges = thread::scope(|scope| {
            let writer = scope.spawn(|| -> Result<u64> {
                let (mut gauges, mut last) = (1, Instant::now());
                for block in &input.blocks {
                    if last.elapsed() >= GAUGE_EVERY {
                        stdin.write_all(gauge().as_bytes())?;
                        (gauges, last) = (gauges + 1, Instant::now());
                    }
                    stdin.write_all(block)?;
                }
                stdin.write_all(end.as_bytes())?;
                Ok(gauges)
            });
            stdout.read_until(end.as_bytes(), |bytes| lines += count_lines(bytes))?;
            writer.join().expect("the writer does not panic")
        })?;
        let wall = start.elapsed().as_secs_f64();
        let expected = input.lines + gauges;
        ensure!((expected..=expected + REPORTS).contains(&lines), "{lines} lines came, and not {expected}");
        Ok(Turn { wall, cpu: usage::thread_seconds(self.worker)? - cpu })
    }

    fn memory(&self) -> Result<[u64; 2]> {
        Ok([usage::rss(self.worker)?, usage::rss(self.processor.pid())?])
    }

    fn journal_size(&self) -> Result<u64> {
        let entries = std::fs::read_dir(&self.journal).context("the journal")?;
        entries.map(|entry| Ok(entry?.metadata()?.len())).sum()
    }

    fn end(self) -> Result<()> {
        self.processor.end()?;
        // Or the disk would fill up.
        std::fs::remove_dir_all(&self.journal).context("the journal")
    }
}

/// A million messages through the old process, and through a new one.
struct Million {
    old: Vec<Turn>,
    new: Vec<Turn>,
    /// Of the old one: of the worker, and of its supervisor, in bytes.
    memory: [u64; 2],
    journal: u64,
}

impl Million {
    fn convert(old: &mut Subject, folder: &Path, input: &Input) -> Result<Self> {
        let mut new = Subject::start(folder, "new")?;
        let mut turns = [Vec::new(), Vec::new()];
        for turn in 0..TURNS_OF_A_MILLION {
            // Nobody is always the first.
            for step in 0..2 {
                if (turn + step) % 2 == 0 {
                    turns[0].push(old.turn(input)?);
                } else {
                    turns[1].push(new.turn(input)?);
                }
            }
        }
        new.end()?;
        let [old_turns, new_turns] = turns;
        Ok(Million { old: old_turns, new: new_turns, memory: old.memory()?, journal: old.journal_size()? })
    }

    /// The old one's share of the new one's throughput, or of what it does in the same processor time: the median of turns.
    fn ratio(&self, time: fn(&Turn) -> f64) -> f64 {
        spread(self.old.iter().zip(&self.new).map(|(old, new)| time(new) / time(old))).median
    }
}

fn per_second(turns: &[Turn]) -> f64 {
    1e6 / turns.iter().map(|turn| turn.wall).sum::<f64>()
}

/// Processor time a message, in microseconds.
fn cpu(turns: &[Turn]) -> f64 {
    turns.iter().map(|turn| turn.cpu).sum()
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.2}", bytes as f64 / (1024.0 * 1024.0))
}

/// One process that grows old.
fn one_process(options: &Options) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let input = Input::new(options.shape)?;
    let mut old = Subject::start(folder.path(), "old")?;
    let mut millions = Vec::new();
    let mut table = Table::new(&[
        "million",
        "messages/s",
        "a new process",
        "ratio",
        "CPU us/message",
        "a new process",
        "ratio",
        "worker, MiB",
        "supervisor, MiB",
        "journal, MiB",
    ]);
    for number in 1..=options.millions {
        let million = Million::convert(&mut old, folder.path(), &input)?;
        eprintln!("million {number}: {:.0}/s", per_second(&million.old));
        let [worker, supervisor] = million.memory;
        table.row(vec![
            number.to_string(),
            figure(per_second(&million.old)),
            figure(per_second(&million.new)),
            format!("{:.3}", million.ratio(|turn| turn.wall)),
            figure(cpu(&million.old)),
            figure(cpu(&million.new)),
            format!("{:.3}", million.ratio(|turn| turn.cpu)),
            mebibytes(worker),
            mebibytes(supervisor),
            mebibytes(million.journal),
        ]);
        millions.push(million);
    }
    old.end()?;
    println!("{table}");
    let (Some(first), Some(last)) = (millions.first(), millions.last()) else { return Ok(()) };
    println!(
        "The last million had {:.3} of the first one's throughput, with {:.3} of its processor time; beside a new process, \
         {:.3} and {:.3}.\n",
        per_second(&last.old) / per_second(&first.old),
        cpu(&last.old) / cpu(&first.old),
        last.ratio(|turn| turn.wall) / first.ratio(|turn| turn.wall),
        first.ratio(|turn| turn.cpu) / last.ratio(|turn| turn.cpu),
    );
    let Some(plots) = &options.plots else { return Ok(()) };
    let series = |name: &str, value: &dyn Fn(&Million) -> f64| Series {
        name: name.to_owned(),
        points: (1..).map(f64::from).zip(millions.iter().map(value)).collect(),
    };
    plot::lines(
        &plots.join("growth-throughput.svg"),
        "Throughput of one process as it grows old",
        ["millions of messages so far", "messages a second"],
        &[
            series("the old process", &|million| per_second(&million.old)),
            series("a new one in turns with it", &|million| per_second(&million.new)),
        ],
    )?;
    plot::lines(
        &plots.join("growth-memory.svg"),
        "Memory of one process as it grows old",
        ["millions of messages so far", "MiB"],
        &[
            series("worker", &|million| million.memory[0] as f64 / 1_048_576.0),
            series("supervisor", &|million| million.memory[1] as f64 / 1_048_576.0),
        ],
    )
}

/// Who reads what.
#[derive(Clone, Copy, PartialEq)]
struct Layout {
    partitions: usize,
    agents: usize,
    into: Into,
}

#[derive(Clone, Copy, PartialEq)]
enum Into {
    Sinks,
    Influxdb,
}

const LAYOUTS: [Layout; 7] = {
    const fn sinks(partitions: usize, agents: usize) -> Layout {
        Layout { partitions, agents, into: Into::Sinks }
    }
    let into_influxdb = Layout { partitions: 4, agents: 2, into: Into::Influxdb };
    [sinks(1, 1), sinks(1, 2), sinks(2, 1), sinks(2, 2), sinks(4, 1), sinks(4, 2), into_influxdb]
};

/// How long a condition may take on the slowest machine.
const LONG: Duration = Duration::from_secs(300);

/// Measured is what lies between these shares of the messages, and behind the start of the last agent.
const WINDOW: [f64; 2] = [0.1, 0.9];

/// The partitions of the topic at which a second Telegraf comes and goes: it comes at this share of the messages, and goes when
/// it has had that one.
const MOVING: usize = 4;
const COMES: f64 = 0.1;
const GOES: f64 = 0.15;

/// A Telegraf, and where it writes to.
struct Agent {
    telegraf: Telegraf,
    sink: Sink,
    id: String,
    /// How far the sink has been looked through.
    seen: usize,
    messages: u64,
}

/// How often each message has come.
struct Arrivals(Vec<u32>);

impl Arrivals {
    /// Looks through what has come to an agent's sink since the last time.
    fn see(&mut self, agent: &mut Agent) -> Result<()> {
        const ID: &[u8] = b"request_id=\"req-";
        const DIGITS: usize = 8;
        agent.sink.look(|lines| {
            let new = &lines[agent.seen..];
            for at in memmem::find_iter(new, ID) {
                let digits = new.get(at + ID.len()..at + ID.len() + DIGITS).unwrap_or_default();
                let index: usize = std::str::from_utf8(digits)?.parse().context("a request_id has a number")?;
                *self.0.get_mut(index).with_context(|| format!("nobody sent the message {index}"))? += 1;
                agent.messages += 1;
            }
            agent.seen = lines.len();
            Ok(())
        })
    }

    fn missing(&self) -> u64 {
        self.0.iter().filter(|count| **count == 0).count() as u64
    }

    fn count(&self, agents: &[Agent]) -> Counted {
        Counted {
            shares: agents.iter().map(|agent| agent.messages).collect(),
            again: self.0.iter().map(|count| u64::from(count.saturating_sub(1))).sum(),
            lost: self.missing(),
        }
    }
}

/// Whose processor time is looked at.
const BUSY: [&str; 4] = ["Telegraf", "processor", "Kafka", "sink or InfluxDB"];

/// What came of a layout.
struct Outcome {
    per_second: f64,
    /// Processor time of each of [`BUSY`] a message, in microseconds.
    cpu: [f64; 4],
    /// How many cores they kept busy.
    cores: f64,
    /// Where the messages are counted one by one.
    counted: Option<Counted>,
}

/// What became of the messages.
struct Counted {
    /// Of each agent.
    shares: Vec<u64>,
    /// How many came again, and how many never.
    again: u64,
    lost: u64,
}

/// A cluster on one machine.
struct Cluster<'a> {
    dir: &'a Dir,
    kafka: Kafka,
    influxdb: Arc<Influxdb>,
    messages: u64,
}

impl<'a> Cluster<'a> {
    fn start(dir: &'a Dir, messages: u64) -> Result<Self> {
        let kafka = Kafka::start(dir)?;
        for partitions in [1, 2, 4] {
            let topic = topic(partitions);
            kafka.create_topic(&topic, partitions as i32)?;
            kafka.produce(&topic, Shape::Tutorial.messages(messages))?;
        }
        Ok(Cluster { dir, kafka, influxdb: Arc::new(Influxdb::start(dir)?), messages })
    }

    fn agent(&self, topic: &str, group: &str, number: usize, into: Into) -> Result<Agent> {
        let sink = match into {
            Into::Sinks => Sink::keeping()?,
            Into::Influxdb => Sink::start(Some(Arc::clone(&self.influxdb)))?,
        };
        let id = format!("{group}-{number}");
        let telegraf = Conf::shipped()?.start(self.dir, self.kafka.broker(), topic, group, sink.url(), &id)?;
        Ok(Agent { telegraf, sink, id, seen: 0, messages: 0 })
    }

    /// Waits until the group has shared the partitions out among so many agents.
    fn wait_until_shared(&self, topic: &str, group: &str, partitions: usize, agents: usize) -> Result<()> {
        let mut expected: Vec<usize> = (0..agents).map(|agent| (partitions + agent) / agents).collect();
        expected.sort_unstable();
        wait_for("the agents to share the topic", LONG, || {
            Ok((self.kafka.shares(group, topic)? == expected).then_some(()))
        })
    }

    /// The processor time of each of [`BUSY`] so far, in seconds.
    fn cpu(&self, agents: &[Agent], into: Into) -> Result<[f64; 4]> {
        let mut cpu = [0.0; 4];
        for agent in agents {
            cpu[0] += usage::cpu_seconds(agent.telegraf.pid())?;
            let mut descendants = agent.telegraf.children()?;
            while let Some(descendant) = descendants.pop() {
                cpu[1] += usage::cpu_seconds(descendant.pid())?;
                descendants.extend(descendant.children()?);
            }
        }
        cpu[2] = usage::cpu_seconds(self.kafka.pid())?;
        cpu[3] = usage::cpu_seconds(if into == Into::Influxdb { self.influxdb.pid() } else { std::process::id() })?;
        Ok(cpu)
    }

    fn run(&self, layout: Layout, group: &str) -> Result<Outcome> {
        let Layout { partitions, agents, into } = layout;
        let topic = topic(partitions);
        let mut agents =
            (0..agents).map(|number| self.agent(&topic, group, number, into)).collect::<Result<Vec<_>>>()?;
        self.wait_until_shared(&topic, group, partitions, agents.len())?;
        let mark = |share: f64| {
            wait_for("the messages", LONG, || {
                agents.iter().try_for_each(|agent| agent.telegraf.ensure_running())?;
                let came: u64 = agents.iter().map(|agent| agent.sink.taken().points).sum();
                let there = came >= (share * self.messages as f64) as u64;
                Ok(if there { Some((came, Instant::now(), self.cpu(&agents, into)?)) } else { None })
            })
        };
        let start = mark(WINDOW[0])?;
        let end = mark(WINDOW[1])?;
        let messages = (end.0 - start.0) as f64;
        ensure!(messages >= 0.2 * self.messages as f64, "too few messages are left when all agents have started");
        let seconds = (end.1 - start.1).as_secs_f64();
        let cpu: [f64; 4] = std::array::from_fn(|index| end.2[index] - start.2[index]);
        let mut arrivals = Arrivals(vec![0; self.messages as usize]);
        if into == Into::Sinks {
            self.wait_for_all(&mut agents, &mut arrivals)?;
        }
        self.end(&mut agents, &mut arrivals)?;
        Ok(Outcome {
            per_second: messages / seconds,
            cpu: cpu.map(|cpu| cpu * 1e6 / messages),
            cores: cpu.iter().sum::<f64>() / seconds,
            counted: (into == Into::Sinks).then(|| arrivals.count(&agents)),
        })
    }

    /// One agent, and a second one that comes and goes.
    fn come_and_go(&self, group: &str) -> Result<Counted> {
        let topic = topic(MOVING);
        let mut arrivals = Arrivals(vec![0; self.messages as usize]);
        let mut agents = vec![self.agent(&topic, group, 0, Into::Sinks)?];
        let reach = |agents: &[Agent], number: usize, share: f64| {
            wait_for("the messages", LONG, || {
                let came: Vec<u64> = agents.iter().map(|agent| agent.sink.taken().points).collect();
                let there = came[number] as f64 >= share * self.messages as f64;
                ensure!(there || came.iter().sum::<u64>() < self.messages, "too few messages for two agents: {came:?}");
                Ok(there.then_some(()))
            })
        };
        reach(&agents, 0, COMES)?;
        agents.push(self.agent(&topic, group, 1, Into::Sinks)?);
        reach(&agents, 1, GOES)?;
        agents[1].telegraf.terminate()?;
        self.wait_for_all(&mut agents, &mut arrivals)?;
        let left = agents.split_off(1);
        self.end(&mut agents, &mut arrivals)?;
        agents.extend(left);
        std::fs::remove_dir_all(telegraf::journal(self.dir, &agents[1].id)).context("the journal")?;
        Ok(arrivals.count(&agents))
    }

    /// Waits until each message has come at least once.
    fn wait_for_all(&self, agents: &mut [Agent], arrivals: &mut Arrivals) -> Result<()> {
        let outcome = wait_for("each message", LONG, || {
            agents.iter_mut().try_for_each(|agent| arrivals.see(agent))?;
            Ok((arrivals.missing() == 0).then_some(()))
        });
        outcome.with_context(|| format!("{} of {} messages were lost", arrivals.missing(), self.messages))
    }

    /// Ends them; what is still under way comes to the sinks.
    fn end(&self, agents: &mut [Agent], arrivals: &mut Arrivals) -> Result<()> {
        for agent in agents {
            agent.telegraf.terminate()?;
            let log = agent.telegraf.log();
            // A consumer that has to share says so as if it were an error.
            let is_error = |line: &&str| line.contains(" E! ") && !line.ends_with("context canceled");
            let error = log.lines().find(|line| is_error(line) || line.contains("overflow"));
            ensure!(error.is_none(), "{} did not go well:\n{log}", agent.id);
            arrivals.see(agent)?;
            // Or the disk would fill up.
            std::fs::remove_dir_all(telegraf::journal(self.dir, &agent.id)).context("the journal")?;
        }
        Ok(())
    }
}

fn topic(partitions: usize) -> String {
    format!("insights-{partitions}")
}

/// The busiest agent's share of the messages, in percent.
fn most(counted: &Counted) -> f64 {
    let most = counted.shares.iter().max().copied().unwrap_or(0);
    100.0 * most as f64 / counted.shares.iter().sum::<u64>() as f64
}

/// One and two Telegrafs with several partitions.
fn several_agents(dir: &Dir, options: &Options) -> Result<()> {
    ensure!(options.rounds > 0, "no rounds, no figures");
    let cluster = Cluster::start(dir, options.messages)?;
    let mut outcomes: Vec<Vec<Outcome>> = LAYOUTS.iter().map(|_| Vec::new()).collect();
    let mut moving = Vec::new();
    for round in 0..options.rounds {
        for step in 0..LAYOUTS.len() {
            let index = (round + step) % LAYOUTS.len();
            let layout @ Layout { partitions, agents, .. } = LAYOUTS[index];
            let outcome = cluster.run(layout, &format!("group-{round}-{index}"));
            let outcome = outcome.with_context(|| format!("{partitions} partitions, {agents} agents"))?;
            eprintln!("round {}: {partitions} partitions, {agents} agents: {:.0}/s", round + 1, outcome.per_second);
            outcomes[index].push(outcome);
        }
        moving.push(cluster.come_and_go(&format!("group-{round}-moving"))?);
    }

    let mut headings = vec!["partitions, agents".to_owned(), "messages/s".to_owned(), "busy cores".to_owned()];
    headings.extend(BUSY.map(|name| format!("CPU us/message: {name}")));
    headings.extend(["share of the busiest agent", "came again", "lost"].map(str::to_owned));
    let mut table = Table::new(&headings.iter().map(String::as_str).collect::<Vec<_>>());
    let range =
        |values: Spread| format!("{} ({} to {})", figure(values.median), figure(values.min), figure(values.max));
    for (Layout { partitions, agents, into }, outcomes) in LAYOUTS.iter().zip(&outcomes) {
        let of = |value: &dyn Fn(&Outcome) -> f64| spread(outcomes.iter().map(value));
        let counted = |value: &dyn Fn(&Counted) -> f64| {
            let values = outcomes.iter().filter_map(|outcome| outcome.counted.as_ref()).map(value);
            Some(spread(values)).filter(|values| values.median.is_finite())
        };
        let behind = if *into == Into::Influxdb { ", InfluxDB" } else { "" };
        let mut row = vec![format!("{partitions}, {agents}{behind}"), range(of(&|outcome| outcome.per_second))];
        row.push(figure(of(&|outcome| outcome.cores).median));
        row.extend((0..BUSY.len()).map(|index| figure(of(&|outcome| outcome.cpu[index]).median)));
        let percent = |values: Spread| format!("{:.0} %", values.median);
        row.push(counted(&most).map_or_else(String::new, percent));
        row.push(counted(&|counted| counted.again as f64).map_or_else(String::new, range));
        row.push(counted(&|counted| counted.lost as f64).map_or_else(String::new, |lost| figure(lost.max)));
        table.row(row);
    }
    println!("{table}");
    let of = |value: &dyn Fn(&Counted) -> f64| spread(moving.iter().map(value));
    println!(
        "With {MOVING} partitions, a second agent comes at {:.0} % of the messages, and goes when it has had {:.0} %. The first \
         one had {:.0} % in the end, {} messages came again, {} were lost.\n",
        100.0 * COMES,
        100.0 * GOES,
        of(&most).median,
        range(of(&|counted| counted.again as f64)),
        of(&|counted| counted.lost as f64).max,
    );
    let mut table = Table::new(&["", "CPU us/message", "messages/s of one core", "cores for a million messages/s"]);
    for (index, name) in BUSY.iter().enumerate() {
        let of = |layout: usize| spread(outcomes[layout].iter().map(|outcome| outcome.cpu[index])).median;
        // The sink stands for a database, whose own figure counts.
        let cpu = if index == 3 { of(6) } else { of(5) };
        let name = if index == 3 { "InfluxDB" } else { name };
        table.row(vec![name.to_owned(), figure(cpu), figure(1e6 / cpu), figure(cpu)]);
    }
    println!(
        "Computed from these, with {} partitions and {} agents:\n\n{table}",
        LAYOUTS[5].partitions, LAYOUTS[5].agents
    );
    Ok(())
}

fn main() -> Result<()> {
    let options = Options::parse();
    println!("{}\n", machine());
    if options.parts.contains(&Part::Process) {
        one_process(&options)?;
    }
    if options.parts.contains(&Part::Agents) {
        let dir = Dir::new("growth")?;
        several_agents(&dir, &options).inspect_err(|_| dir.keep())?;
    }
    Ok(())
}
