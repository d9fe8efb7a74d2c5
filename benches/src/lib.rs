//! What the benchmarks have in common: the messages, how figures are summed up, the tables and plots for
//! docs/performance.md, what the kernel says of a process, and Telegraf with a place for its output.

pub mod child;
pub mod plot;
pub mod sink;
mod spread;
pub mod table;
pub mod telegraf;
pub mod usage;

use std::thread;

use anyhow::{Context, Result};
use bytesize::ByteSize;
use jiff::Timestamp;
use stack::Influxdb;

pub use fixtures::Shape;
pub use spread::{Spread, spread};

/// What the figures depend on.
pub fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let value = |path: &str, key: &str| {
        let text = read(path);
        let value = text.lines().find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix(':').map(str::trim));
        value.unwrap_or("?").to_owned()
    };
    let memory = value("/proc/meminfo", "MemTotal");
    let memory = memory.strip_suffix(" kB").and_then(|kib| kib.parse().ok()).map(ByteSize::kib);
    format!(
        "{} cores of {}, {} of memory, Linux {}, load average {} at the start.",
        thread::available_parallelism().map_or(0, usize::from),
        value("/proc/cpuinfo", "model name"),
        memory.unwrap_or_default(),
        read("/proc/sys/kernel/osrelease").trim(),
        read("/proc/loadavg").split(' ').next().unwrap_or_default(),
    )
}

/// Requests to write at a time.
const WRITERS: usize = 2;

/// Writes batches of lines until there is no next one, as fast as the server takes them.
pub fn write_all(influxdb: &Influxdb, next: impl Fn() -> Option<String> + Sync) -> Result<()> {
    let writer = || std::iter::from_fn(&next).try_for_each(|batch| influxdb.write(batch));
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS).map(|_| scope.spawn(writer)).collect();
        writers.into_iter().try_for_each(|writer| writer.join().expect("a writer does not panic"))
    })
}

/// How many seconds a run of a task of InfluxDB's took, by its own account.
pub fn run_seconds(run: &serde_json::Value) -> Result<f64> {
    let time =
        |key: &str| Ok::<_, anyhow::Error>(run[key].as_str().context("the run has no times")?.parse::<Timestamp>()?);
    Ok(time("startedAt")?.duration_until(time("finishedAt")?).as_secs_f64())
}

/// A figure for people: three digits that count, and commas between thousands.
pub fn figure(value: f64) -> String {
    // Nothing in all is -0.0.
    let value = if value == 0.0 { 0.0 } else { value };
    let size = value.abs();
    let decimals = match size {
        _ if size >= 99.95 || size == 0.0 => 0,
        _ if size >= 9.995 => 1,
        _ if size >= 0.9995 => 2,
        _ => (2 - size.log10().floor() as i32).clamp(3, 9) as usize,
    };
    let text = format!("{value:.decimals$}");
    let (whole, fraction) = text.split_once('.').map_or((&text[..], None), |(whole, fraction)| (whole, Some(fraction)));
    let (sign, digits) = whole.strip_prefix('-').map_or(("", whole), |digits| ("-", digits));
    let mut figure = sign.to_owned();
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            figure.push(',');
        }
        figure.push(digit);
    }
    figure.extend(fraction.map(|fraction| format!(".{fraction}")));
    figure
}
