//! How long one message takes from the write to a processor's stdin until its line can be read from stdout: beside `cat`,
//! our binary, and our binary with the options of the shipped telegraf.conf, which are a journal, flow control and reports.
//!
//! ```sh
//! cargo bench -p benches --bench latency
//! cargo bench -p benches --bench latency -- --plots docs/performance
//! cargo bench -p benches --bench latency -- --samples 1000                       # half a minute
//! ```
//!
//! Each message is written only when the one before has been read. The processors take turns message by message, so that
//! what else the machine does meets all of them; without a pause between messages in turns of a thousand, for a processor
//! that takes single messages for a flood would do so then. How full Telegraf's buffer is comes every 50 ms, as with the
//! shipped telegraf.conf, to `cat` too.
//!
//! The processors have one core, and who asks them has another: to wake a process on another core takes several times as
//! long as on the same one, and the kernel would put one of them here and one there.

use std::io::Write;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use benches::child::{Processor, gauge, metric, shipped};
use benches::plot::{self, Series};
use benches::table::Table;
use benches::{Shape, figure, machine, spread};
use clap::Parser;
use rustix::thread::{CpuSet, sched_setaffinity, set_current_timer_slack};

/// Messages that are written again and again.
const MESSAGES: u64 = 1000;

/// What comes before the first message that counts.
const WARM_UP: usize = 500;

/// The pauses before each message. With the longest one, each processor gets a message every 20 ms.
const PAUSES: [(&str, Duration); 4] = [
    ("none", Duration::ZERO),
    ("0.1 ms", Duration::from_micros(100)),
    ("1 ms", Duration::from_millis(1)),
    ("6.5 ms", Duration::from_micros(6500)),
];

/// Without a pause, so many messages go to one processor before it is another's turn.
const RUN: usize = 1000;

/// A flood, and how many messages behind it are looked at.
const FLOOD: Duration = Duration::from_millis(50);
const AFTER_FLOOD: usize = 100;

/// Into so many parts each measurement is cut, to see how much the machine's noise is in it.
const PARTS: usize = 10;

/// The latency of single messages, beside that of cat.
#[derive(Parser)]
struct Options {
    /// Messages to each processor with each pause
    #[arg(long, default_value_t = 10_000)]
    samples: usize,

    /// Draw the distributions into this folder
    #[arg(long, value_name = "FOLDER")]
    plots: Option<PathBuf>,

    /// cargo says so.
    #[arg(long, hide = true)]
    bench: bool,
}

struct Candidate {
    name: &'static str,
    processor: Processor,
    /// What the answer to a message has in it.
    sign: &'static [u8],
    /// In microseconds.
    latencies: Vec<f64>,
}

impl Candidate {
    fn start(name: &'static str, program: Option<&str>, options: &[String], sign: &'static str) -> Result<Self> {
        let processor = Processor::start(program, options).with_context(|| format!("the processor {name}"))?;
        Ok(Candidate { name, processor, sign: sign.as_bytes(), latencies: Vec::new() })
    }

    fn ask(&mut self, message: &[u8]) -> Result<()> {
        let latency = self.processor.ask(message, self.sign).with_context(|| format!("the processor {}", self.name))?;
        self.latencies.push(latency.as_secs_f64() * 1e6);
        Ok(())
    }

    /// Writes messages for a while, one by one as Telegraf does, and waits until all have come through.
    fn flood(&mut self, messages: &[Vec<u8>]) -> Result<()> {
        let Processor { stdin, stdout, .. } = &mut self.processor;
        let end = gauge();
        thread::scope(|scope| {
            let writer = scope.spawn(|| -> Result<()> {
                let started = Instant::now();
                for message in messages.iter().cycle() {
                    if started.elapsed() >= FLOOD {
                        break;
                    }
                    stdin.write_all(message)?;
                }
                Ok(stdin.write_all(end.as_bytes())?)
            });
            stdout.read_until(end.as_bytes(), |_| ())?;
            writer.join().expect("the writer does not panic")
        })
    }
}

/// All processors, and the messages for them.
struct Bench {
    candidates: Vec<Candidate>,
    messages: Vec<Vec<u8>>,
    asked: usize,
}

impl Bench {
    /// Asks one processor.
    fn ask(&mut self, index: usize) -> Result<()> {
        let message = &self.messages[self.asked % self.messages.len()];
        self.asked += 1;
        self.candidates[index].ask(message)
    }

    /// So many messages to each, with a pause before each of them.
    fn singles(&mut self, samples: usize, pause: Duration) -> Result<()> {
        let count = self.candidates.len();
        let run = if pause.is_zero() { RUN.min(samples) } else { 1 };
        for round in 0..samples / run {
            for step in 0..count {
                // Nobody is always the first.
                let index = (round + step) % count;
                self.candidates[index].processor.heed_time()?;
                for _ in 0..run {
                    if !pause.is_zero() {
                        thread::sleep(pause);
                    }
                    self.ask(index)?;
                }
            }
        }
        Ok(())
    }

    /// The first messages after each of many floods.
    fn after_floods(&mut self, samples: usize) -> Result<()> {
        let count = self.candidates.len();
        for round in 0..samples.div_ceil(AFTER_FLOOD) {
            for step in 0..count {
                let index = (round + step) % count;
                self.candidates[index].processor.heed_time()?;
                self.candidates[index].flood(&self.messages)?;
                (0..AFTER_FLOOD).try_for_each(|_| self.ask(index))?;
            }
        }
        Ok(())
    }

    /// What has been measured since the last call of this, for each processor in the order of time.
    fn take(&mut self) -> Vec<Vec<f64>> {
        self.candidates.iter_mut().map(|candidate| std::mem::take(&mut candidate.latencies)).collect()
    }
}

/// The value that this share of all is not above. The values are in order.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values
}

/// How far apart the 99th percentiles of two are, for each part of the time.
fn beyond(latencies: &[f64], reference: &[f64]) -> impl Iterator<Item = f64> {
    let p99 = |values: &[f64], part: usize| {
        let bound = |part| part * values.len() / PARTS;
        percentile(&sorted(&values[bound(part)..bound(part + 1)]), 0.99)
    };
    (0..PARTS).map(move |part| p99(latencies, part) - p99(reference, part))
}

/// Lets this thread, and what it starts from here on, run on one core alone.
fn run_on(core: usize) -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).with_context(|| format!("cannot run on the core {core}"))
}

fn main() -> Result<()> {
    let options = Options::parse();
    anyhow::ensure!(options.samples >= RUN, "fewer than {RUN} samples say nothing of what is rare");
    println!("{}\n", machine());
    // A pause is to be as long as it is said to be.
    set_current_timer_slack(std::num::NonZeroU64::new(1))?;
    let folder = tempfile::tempdir()?;
    run_on(1)?;
    let candidates = vec![
        Candidate::start("cat", Some("cat"), &[], "kafka_consumer")?,
        Candidate::start("ours, plain", None, &[], "algorithmia,")?,
        Candidate::start("ours, as shipped", None, &shipped(folder.path()), "algorithmia,")?,
    ];
    run_on(0)?;
    let names: Vec<&str> = candidates.iter().map(|candidate| candidate.name).collect();
    let messages = Shape::Tutorial.messages(MESSAGES).map(|message| metric(&message).into_bytes()).collect();
    let mut bench = Bench { candidates, messages, asked: 0 };
    bench.singles(WARM_UP, Duration::from_micros(100))?;
    bench.take();

    let mut table = Table::new(&[
        "pause before each message",
        "processor",
        "p50, us",
        "p99",
        "p99.9",
        "longest",
        "p99 less cat's: median of ten parts (least to most)",
    ]);
    let mut series = Vec::new();
    let floods = ("none, behind a flood", None);
    for (case, pause) in PAUSES.map(|(name, pause)| (name, Some(pause))).into_iter().chain([floods]) {
        match pause {
            Some(pause) => bench.singles(options.samples, pause)?,
            None => bench.after_floods(options.samples)?,
        }
        let taken = bench.take();
        for (name, latencies) in names.iter().zip(&taken) {
            let sorted = sorted(latencies);
            let apart = spread(beyond(latencies, &taken[0]));
            let mut row = vec![case.to_owned(), (*name).to_owned()];
            row.extend([0.5, 0.99, 0.999, 1.0].map(|share| figure(percentile(&sorted, share))));
            row.push(format!("{:.0} ({:.0} to {:.0})", apart.median, apart.min, apart.max));
            table.row(row);
            if pause == Some(Duration::from_millis(1)) {
                // In nines, as there is more to see the rarer it gets.
                let points = (0..=300).map(|step| f64::from(step) / 100.0);
                let points = points.map(|nines| (percentile(&sorted, 1.0 - 10_f64.powf(-nines)), nines)).collect();
                series.push(Series { name: (*name).to_owned(), points });
            }
        }
    }
    println!("{table}");
    if let Some(plots) = &options.plots {
        plot::lines(
            &plots.join("latency.svg"),
            "One message, 1 ms after the one before",
            ["microseconds from stdin to stdout", "1: 90 % are as fast, 2: 99 %, 3: 99.9 %"],
            &series,
        )?;
    }
    bench.candidates.into_iter().try_for_each(|candidate| candidate.processor.end())
}
