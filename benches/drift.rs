//! How long the tasks of telegraf/influxdb-drift.yml take on a real InfluxDB, every hour: 25 algorithms, each with 10 metrics
//! and a million calls a day, and a week of counts to compare with.
//!
//! ```sh
//! cargo bench -p benches --bench drift
//! cargo bench -p benches --bench drift -- --calls 100000 --rounds 5
//! ```
//!
//! Of two hours there are all calls: the last one, and the one that ends a day before, of which the first task asks whether
//! calls came late. Its counts stand for those of the 167 hours before it too. The time is that of a run as InfluxDB itself
//! reports it.

use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use benches::table::Table;
use benches::{figure, machine, run_seconds, spread, usage, write_all};
use bytesize::ByteSize;
use clap::Parser;
use fixtures::telegraf::line;
use fixtures::{Random, id, repository};
use jiff::{SignedDuration, Timestamp};
use rand::{RngExt, SeedableRng};
use rand_distr::{Exp1, StandardNormal};
use stack::{BUCKET, Dir, Influxdb, Value};

const HOUR: SignedDuration = SignedDuration::from_hours(1);
/// The hours of the reference.
const REFERENCE: i32 = 7 * 24;

/// Lines in a request.
const BATCH: usize = 10_000;

const HISTOGRAMS: &str = "Drift - Histograms";
const MEASURES: &str = "Drift - Measures";

/// Times the tasks that measure drift
#[derive(Parser)]
struct Options {
    /// Algorithms, each of one version
    #[arg(long, default_value_t = 25)]
    algorithms: usize,

    /// Calls of each algorithm in a day
    #[arg(long, default_value_t = 1_000_000)]
    calls: usize,

    /// How often each task runs
    #[arg(long, default_value_t = 3)]
    rounds: usize,

    /// cargo says so.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let dir = Dir::new("drift")?;
    measure(&dir, &options).inspect_err(|_| dir.keep())
}

fn measure(dir: &Dir, options: &Options) -> Result<()> {
    ensure!(options.rounds > 0, "nothing to measure");
    println!("{}", machine());
    let influxdb = Influxdb::start(dir)?;
    for template in ["influxdb-template.yml", "influxdb-drift.yml"] {
        influxdb.apply(&repository("telegraf").join(template), &[])?;
    }

    // Of a time that has nothing to do with the runs that InfluxDB itself begins while this goes on.
    let tick: Timestamp = "2026-01-31T12:00:00Z".parse()?;
    let day_before = tick - SignedDuration::from_hours(24);
    for stop in [day_before, tick] {
        fill(&influxdb, options, stop - HOUR)?;
    }
    let calls = options.algorithms * (options.calls / 24);
    println!("{calls} calls an hour, with {} values", calls * METRICS.len());

    let mut table = Table::new(&["task", "s", "share of the hour", "s of processor", "memory of influxd"]);
    let mut total = 0.0;
    let mut run = |name: &str, what: &str, tick: Timestamp, rounds: usize| {
        let mut times = Vec::new();
        let mut processor = Vec::new();
        for _ in 0..rounds {
            let before = usage::cpu_seconds(influxdb.pid())?;
            let ran = influxdb.run_task(&influxdb.task(name)?, Some(tick));
            times.push(run_seconds(&ran.with_context(|| format!("in {name}, {what}"))?)?);
            processor.push(usage::cpu_seconds(influxdb.pid())? - before);
        }
        let (seconds, processor) = (spread(times).median, spread(processor).median);
        table.row(vec![
            format!("{name}, {what}"),
            figure(seconds),
            format!("{:.2} %", seconds / HOUR.as_secs_f64() * 100.0),
            figure(processor),
            ByteSize(usage::peak_rss(influxdb.pid())?).to_string(),
        ]);
        Ok::<f64, anyhow::Error>(seconds)
    };

    run(HISTOGRAMS, "no edges yet", day_before, 1)?;
    copy_counts(&influxdb)?;
    total += run(HISTOGRAMS, "no late calls", tick, options.rounds)?;
    total += run(MEASURES, "a week", tick, options.rounds)?;
    let drift = influxdb.count(BUCKET, "algorithmia_drift", "psi")?;
    ensure!(drift == (options.algorithms * METRICS.len()) as u64, "{drift} points of algorithmia_drift");
    // One more call of each.
    let late = (0..options.algorithms).map(|algorithm| {
        let mut line = String::new();
        call(&mut line, &mut Random::seed_from_u64(0), algorithm, (day_before - HOUR).as_nanosecond() as i64 + 1);
        line
    });
    influxdb.write(late.collect::<String>())?;
    run(HISTOGRAMS, "late calls of all algorithms", tick, 1)?;
    println!("\n{table}\nBoth tasks: {} s, {:.1} % of the hour", figure(total), total / HOUR.as_secs_f64() * 100.0);
    Ok(())
}

// ---------------------------------------------------------------------------------------------------------------------
// The calls.

/// A value of a metric.
type Draw = fn(&mut Random) -> f64;

/// The metrics, and how their values are distributed.
const METRICS: [(&str, Draw); 10] = [
    ("risk_score", Random::random),
    ("approved", |random| f64::from(random.random_range(0..2))),
    ("margin", normal),
    ("confidence", |random| 1.0 - random.random::<f64>() * random.random::<f64>()),
    ("amount", |random| (3.0 + normal(random)).exp()),
    ("temperature", |random| 1000.0 + normal(random)),
    ("n_features", |random| f64::from(random.random_range(0..40))),
    ("stars", |random| f64::from(random.random_range(1..=5))),
    ("waited", |random| 5.0 * random.sample::<f64, _>(Exp1)),
    ("duration_milliseconds", |random| (2.0 + normal(random) / 2.0).exp()),
];

fn normal(random: &mut Random) -> f64 {
    random.sample(StandardNormal)
}

fn call(lines: &mut String, random: &mut Random, algorithm: usize, time: i64) {
    let _ = write!(lines, "algorithmia,algorithm_name=model_{algorithm},algorithm_owner=acme,algorithm_version=1.0.0 ");
    for (metric, value) in METRICS {
        let _ = write!(lines, "{metric}={},", value(random));
    }
    let _ = writeln!(lines, "request_id=\"{}\" {time}", id("req", random));
}

/// Writes the calls of one hour.
fn fill(influxdb: &Influxdb, options: &Options, start: Timestamp) -> Result<()> {
    let begun = Instant::now();
    let each = options.calls / 24;
    ensure!(each > 0, "less than one call an hour");
    let batches = options.algorithms * each.div_ceil(BATCH);
    let next = Mutex::new(0..batches);
    write_all(influxdb, || {
        let batch = next.lock().unwrap_or_else(PoisonError::into_inner).next()?;
        let (algorithm, part) = (batch % options.algorithms, batch / options.algorithms);
        let start = start.as_nanosecond() as i64;
        let mut random = Random::seed_from_u64(start as u64 + batch as u64);
        let mut lines = String::new();
        for index in part * BATCH..each.min((part + 1) * BATCH) {
            let time = start + (HOUR.as_nanos() as usize / each * index) as i64;
            call(&mut lines, &mut random, algorithm, time);
        }
        Some(lines)
    })?;
    println!("The hour from {start} is written after {:.0} s", begun.elapsed().as_secs_f64());
    Ok(())
}

/// Makes the counts of the one hour that there are those of each hour of the reference, which it is the last of.
fn copy_counts(influxdb: &Influxdb) -> Result<()> {
    let mut points = influxdb.points(BUCKET, "algorithmia_histogram")?;
    points.extend(influxdb.points(BUCKET, "algorithmia_summary")?);
    ensure!(!points.is_empty(), "there are no counts");
    for hours in 1..REFERENCE {
        for points in points.chunks(BATCH) {
            let mut lines = String::new();
            for point in points {
                let fields = point.fields.iter().map(|(key, value)| match value {
                    Value::Integer(value) => Ok((key, format!("{value}i"))),
                    Value::Float(value) => Ok((key, value.to_string())),
                    other => bail!("{key} is {other:?}"),
                });
                let time = point.time_ns - (HOUR * hours).as_nanos() as i64;
                lines += &line(&point.measurement, &point.tags, fields.collect::<Result<Vec<_>>>()?, time);
            }
            influxdb.write(lines)?;
        }
    }
    Ok(())
}
