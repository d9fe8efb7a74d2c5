//! The summary of all messages at the end.

use std::io::{self, IsTerminal, Write};

use anstream::stream::{AsLockedWrite, RawStream};
use anstream::{AutoStream, ColorChoice};
use jiff::Timestamp;
use telegraf_algorithmia::{Algorithm, Counts, Reason, Spread, Summary};

use super::shown::{shorten, shown, width_of};
use super::{ASIDE, BAD, HEADING, LOST};

/// The maximum width of a column.
const WIDEST: usize = 40;

/// Writes the summary, with colours if the terminal supports them.
pub fn summarize<S: RawStream + AsLockedWrite + IsTerminal>(
    out: S,
    summary: &Summary,
    counts: &Counts,
) -> io::Result<()> {
    let colours = if IsTerminal::is_terminal(&out) { AutoStream::choice(&out) } else { ColorChoice::Never };
    let mut out = AutoStream::new(out, colours);
    out.write_all(text(summary, counts).as_bytes())?;
    out.flush()
}

fn text(summary: &Summary, counts: &Counts) -> String {
    let Counts { converted, passed, rejected, left_out, time_defaulted, strings_cut } = counts;
    let all_rejected = counts.all_rejected();
    let mut text = format!(
        "{HEADING}{}{HEADING:#}: {}, {all_rejected} rejected\n",
        plural(converted + all_rejected, "message"),
        plural(*converted, "point")
    );
    for (reason, count) in Reason::ALL.iter().zip(rejected).filter(|(_, count)| **count > 0) {
        text += &format!("  {BAD}{count} rejected, {reason}{BAD:#}\n");
    }
    for (count, what) in
        [(left_out, "values left out"), (time_defaulted, "times that could not be read"), (strings_cut, "strings cut")]
    {
        if *count > 0 {
            text += &format!("  {LOST}{what}: {count}{LOST:#}\n");
        }
    }
    if *passed > 0 {
        text += &format!("  other metrics that passed through: {passed}\n");
    }
    if let Some(times) = summary.times() {
        let time = |at: i64| Timestamp::from_nanosecond(at.into()).map_or(at.to_string(), |at| at.to_string());
        text += &format!("  the points are from {} to {}\n", time(*times.start()), time(*times.end()));
    }
    let algorithms = summary.algorithms();
    for algorithm in &algorithms {
        text.push('\n');
        let is_namesake = |other: &&Algorithm| other.name() == algorithm.name();
        let owner = match algorithms.iter().copied().filter(is_namesake).count() {
            1 => String::new(),
            _ => format!(" of {}", if algorithm.owner().is_empty() { "no owner" } else { algorithm.owner() }),
        };
        let name = shown(algorithm.name()) + &shown(&owner);
        text += &format!("{HEADING}{name}{HEADING:#}: {}\n", plural(algorithm.points(), "point"));
        text += &table(algorithm);
    }
    for (count, what) in [
        (summary.other_points(), "points of further algorithms"),
        (summary.other_values(), "values of further metrics"),
    ] {
        if count > 0 {
            text += &format!("\n{LOST}not shown: {count} {what}{LOST:#}\n");
        }
    }
    text
}

fn plural(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// The metrics of one algorithm.
fn table(algorithm: &Algorithm) -> String {
    let mut rows: Vec<[String; 7]> =
        vec![["metric", "count", "min", "mean", "max", "bins", "values in each bin"].map(str::to_owned)];
    rows.extend(algorithm.metrics().map(|(name, spread)| row(&name, spread)));
    if rows.len() == 1 {
        return String::new();
    }
    let widths: [usize; 6] = std::array::from_fn(|column| {
        let widest = rows.iter().map(|row| width_of(&row[column])).max().unwrap_or(0);
        widest.min(WIDEST)
    });
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        let style = if index == 0 { ASIDE } else { anstyle::Style::new() };
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            let cell = shorten(cell, width);
            let pad = " ".repeat(width - width_of(&cell));
            // Names and bins are left-aligned, numbers right-aligned.
            line += &if matches!(column, 0 | 5) { format!("  {cell}{pad}") } else { format!("  {pad}{cell}") };
        }
        let line = format!("{line}  {}", row[6]);
        text += &format!("{style}{}{style:#}\n", line.trim_end());
    }
    text
}

fn row(name: &str, spread: &Spread) -> [String; 7] {
    let (least, most) = match spread.integers() {
        Some((least, most)) => (least.to_string(), most.to_string()),
        None => (figure(spread.least()), figure(spread.most())),
    };
    // Six digits are enough; for more, query InfluxDB.
    let mean = format!("{:.5e}", spread.mean()).parse().map_or_else(|_| String::new(), figure);
    let histogram = spread.histogram();
    let (bins, bars) = if least == most {
        ("all the same".to_owned(), String::new())
    } else {
        let range = histogram.range();
        (
            format!("{} to {} by {}", figure(range.start), figure(range.end), figure(histogram.width())),
            bars(histogram.counts()),
        )
    };
    [shown(name), spread.count().to_string(), least, mean, most, bins, bars]
}

/// A number in human-readable form.
fn figure(value: f64) -> String {
    let is_plain = value == 0.0 || (1e-5..1e15).contains(&value.abs());
    if is_plain { value.to_string() } else { format!("{value:e}") }
}

/// One character for each bin: the more values are in it, the higher the character. A dot is an empty bin.
fn bars(counts: &[u64]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = counts.iter().copied().max().unwrap_or(0).max(1);
    let bar = |count: u64| match (u128::from(count) * BARS.len() as u128).div_ceil(u128::from(most)) {
        0 => '·',
        height => BARS[height as usize - 1],
    };
    counts.iter().map(|count| bar(*count)).collect()
}
