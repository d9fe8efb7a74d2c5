//! What becomes of it in the long run: ten million messages through one process of our binary with the options of the
//! shipped telegraf.conf.
//!
//! ```sh
//! cargo bench --bench growth
//! cargo bench --bench growth -- --plots docs/performance
//! cargo bench --bench growth -- --millions 3
//! ```
//!
//! Beside the process that grows old, a new one starts for each million and converts the same messages. They take turns of
//! 25,000 messages, so that what else the machine does meets both: what tells age from noise is the ratio of the two.

mod support;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use memchr::memchr_iter;
use support::child::{GAUGE_EVERY, Processor, gauge, metric, shipped};
use support::plot::{self, Series};
use support::table::Table;
use support::{Shape, figure, machine, spread, usage};
use telegraf_algorithmia::{Converter, Settings};

/// A turn's messages, which are the same in every turn.
const TURN: u64 = 25_000;
const TURNS_OF_A_MILLION: u64 = 1_000_000 / TURN;

/// They are written in blocks of so many bytes, as many as a pipe holds.
const BLOCK: usize = 64 * 1024;

/// The self-report comes once a minute, and no turn takes that long.
const REPORTS: u64 = 1;

/// Growth.
#[derive(Parser)]
struct Options {
    /// Millions of messages through one process
    #[arg(long, default_value_t = 10)]
    millions: u64,

    /// What the messages look like
    #[arg(long, value_enum, default_value = "bad")]
    shape: Shape,

    /// Draw the series into this folder
    #[arg(long, value_name = "FOLDER")]
    plots: Option<PathBuf>,

    /// cargo says so.
    #[arg(long, hide = true)]
    bench: bool,
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

fn main() -> Result<()> {
    let options = Options::parse();
    println!("{}\n", machine());
    one_process(&options)
}
