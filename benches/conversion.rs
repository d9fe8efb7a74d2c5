//! What the conversion of a message takes, without pipes: ours, whole, beside what others take for a part of it.
//!
//! ```sh
//! cargo bench -p benches --bench conversion
//! cargo bench -p benches --bench conversion -- --plots docs/performance
//! cargo bench -p benches --bench conversion -- --rounds 100 --at-most 0.85          # for CI: only the ratio counts
//! cargo bench -p benches --bench conversion -- --forms                              # nested objects, arrays, NaN, escapes and others
//! cargo bench -p benches --bench conversion -- --shape large --only telegraf-algorithmia   # under a profiler
//! ```
//!
//! Each has the same messages, and they take turns of some milliseconds, beginning with another one in each round. What is
//! measured is the processor time of the thread, and compared is what one took with what serde_json took in the same
//! round: on a machine that does other things too no single figure means much, but what happens to one within a few
//! milliseconds happens to the others.

use std::fs;
use std::hint::black_box;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use benches::table::Table;
use benches::{Shape, Spread, figure, machine, plot, spread};
use clap::Parser;
use fixtures::Call;
use fixtures::telegraf::tagged;
use influxdb_line_protocol::{FieldValue, LineProtocolBuilder, parse_lines};
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;
use telegraf_algorithmia::{Converter, Counts, Settings};

/// Messages of each shape take about as many bytes: more than the fastest caches hold, as in life.
const BYTES: usize = 512 * 1024;

/// What is read from a pipe at once.
const CHUNK: usize = 64 * 1024;

const OURS: &str = "telegraf-algorithmia";
const REFERENCE: &str = "serde_json to Value";
const CRATE: &str = "influxdb-line-protocol crate";

/// Time for each message, ours and that of others.
#[derive(Parser)]
struct Options {
    /// Rounds, in each of which all have a turn
    #[arg(long, default_value_t = 400)]
    rounds: usize,

    /// Milliseconds of a turn
    #[arg(long, default_value_t = 5)]
    slice: u64,

    /// What messages look like; all shapes if it is not given
    #[arg(long, value_enum)]
    shape: Vec<Shape>,

    /// Measure this one alone
    #[arg(long)]
    only: Option<String>,

    /// Draw plots into this folder
    #[arg(long, value_name = "FOLDER")]
    plots: Option<PathBuf>,

    /// Exit with status 1 if the tutorial's message takes us more than this share of what serde_json takes to parse it
    #[arg(long, value_name = "RATIO")]
    at_most: Option<f64>,

    /// Measure other forms of payloads than those of the shapes, and exit with status 1 if one takes us more than so many times what
    /// a byte of the tutorial's message takes
    #[arg(long, value_name = "TIMES", num_args = 0..=1, default_missing_value = "2")]
    forms: Option<f64>,

    /// cargo says so.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Payloads of other forms, with as many values as the tutorial's or more: what the values are, and a message of them.
fn forms() -> Vec<(&'static str, String)> {
    let call = |metrics: &str| Call { metrics: metrics.to_owned(), ..Call::numbered(7, "2021-02-20") }.to_string();
    let list = |values: &[&str]| {
        let members = values.iter().enumerate().map(|(index, value)| format!("\"metric_{index}\":{value}"));
        members.collect::<Vec<_>>().join(",")
    };
    vec![
        ("nine numbers", call(&list(&["0.25"; 9]))),
        ("one NaN among nine", call(&list(&["0.25", "0.5", "7", "NaN", "0.125", "12", "0.75", "3", "1"]))),
        ("one null among nine", call(&list(&["0.25", "0.5", "7", "null", "0.125", "12", "0.75", "3", "1"]))),
        (
            "objects in each other",
            call(
                r#""scores":{"risk":{"low":0.25,"high":0.75},"fraud":{"card":0.5,"device":0.125}},"meta":{"region":"eu","tier":2}"#,
            ),
        ),
        (
            "arrays",
            call(r#""probabilities":[0.25,0.125,0.5,0.0625,0.75,0.875,0.375],"top":["approve","review","decline"]"#),
        ),
        (
            "an array of objects",
            call(
                r#""top":[{"label":"approve","score":0.75},{"label":"review","score":0.125},{"label":"decline","score":0.0625}]"#,
            ),
        ),
        ("a key that comes twice", call(&format!("{},\"metric_3\":0.5", list(&["0.25"; 9])))),
        ("escapes in texts", call(r#""label":"Zahlung gepr\u00fcft\n","note":"said \"yes\"","path":"C:\\models\\v3""#)),
        ("keys beyond ASCII", call(r#""h\u00f6he":0.25,"gr\u00f6\u00dfe":0.5,"l\u00e4nge":0.75,"st\u00e4rke":0.125"#)),
        ("white space", call(&list(&["0.25"; 9])).replace(':', ": ").replace(",\"", ",\n  \"")),
    ]
}

/// Shows what a byte of each form takes beside one of the tutorial's message. False if one takes more than so many times that.
fn measure_forms(at_most: f64, options: &Options) -> Result<bool> {
    let tutorial = Texts::of(Shape::Tutorial);
    let forms: Vec<_> = forms().into_iter().map(|(name, message)| (name, Texts::repeating(&message))).collect();
    let all = || {
        std::iter::once(("the tutorial's message", &tutorial)).chain(forms.iter().map(|(name, texts)| (*name, texts)))
    };
    let mut fits = true;
    for (way, input) in
        [("in Telegraf's line", Texts::telegraf as fn(&Texts) -> &[u8]), ("as JSON lines", Texts::lines)]
    {
        let mut runs =
            all().map(|(name, texts)| Ok(Candidate { name, run: ours(input(texts))? })).collect::<Result<Vec<_>>>()?;
        let mut times = measure(&mut runs, 1, options);
        // Of all messages of a text.
        for (times, (_, texts)) in times.iter_mut().zip(all()) {
            let bytes = texts.messages.iter().map(String::len).sum::<usize>() as f64;
            times.iter_mut().for_each(|time| *time /= bytes);
        }
        println!("\nForms of payloads {way}\n");
        let mut table = Table::new(&["", "bytes", "ns a byte", "times the tutorial's", "least", "most"]);
        for ((name, texts), own) in all().zip(&times) {
            let ratio = spread(own.iter().zip(&times[0]).map(|(own, usual)| own / usual));
            fits &= ratio.median <= at_most;
            let mut row =
                vec![name.to_owned(), texts.messages[0].len().to_string(), figure(spread(own.iter().copied()).median)];
            row.extend([ratio.median, ratio.min, ratio.max].map(|ratio| format!("{ratio:.2}")));
            table.row(row);
        }
        println!("{table}");
    }
    Ok(fits)
}

/// The same messages, as each wants to have them.
struct Texts {
    messages: Vec<String>,
    /// One by one, and all together.
    metrics: Vec<String>,
    telegraf: Vec<u8>,
    lines: Vec<u8>,
}

impl Texts {
    fn of(shape: Shape) -> Self {
        Self::taken(shape.messages(u64::MAX))
    }

    /// The same message over and over.
    fn repeating(message: &str) -> Self {
        Self::taken(std::iter::repeat(message.to_owned()))
    }

    fn taken(messages: impl Iterator<Item = String>) -> Self {
        let mut bytes = 0;
        let enough = |message: &String| {
            bytes += message.len();
            bytes <= BYTES
        };
        let messages: Vec<String> = messages.take_while(enough).collect();
        let metric = |message: &String| tagged([("topic", "insights")], message, 1_613_780_514_867_231_999);
        let metrics: Vec<String> = messages.iter().map(metric).collect();
        let lines = messages.iter().flat_map(|message| [message.as_bytes(), b"\n"]).flatten().copied().collect();
        Texts { telegraf: metrics.concat().into_bytes(), lines, metrics, messages }
    }

    fn telegraf(&self) -> &[u8] {
        &self.telegraf
    }

    fn lines(&self) -> &[u8] {
        &self.lines
    }
}

/// One that is measured: it goes through all messages once.
struct Candidate<'a> {
    name: &'static str,
    run: Box<dyn FnMut() + 'a>,
}

fn ours(input: &[u8]) -> Result<Box<dyn FnMut() + '_>> {
    let mut converter = Converter::new(Settings::default())?;
    let (mut out, mut counts) = (Vec::new(), Counts::default());
    Ok(Box::new(move || {
        for chunk in input.chunks(CHUNK) {
            out.clear();
            converter.push(chunk, &mut out, &mut counts);
            black_box(&out);
        }
    }))
}

fn candidates(texts: &Texts) -> Result<Vec<Candidate<'_>>> {
    fn each<'a, T>(of: &'a [T], mut run: impl FnMut(&T) + 'a) -> Box<dyn FnMut() + 'a> {
        Box::new(move || of.iter().for_each(&mut run))
    }
    let messages = texts.messages.as_slice();
    let (mut copy, mut buffers) = (Vec::new(), simd_json::Buffers::default());
    let (mut other_copy, mut other_buffers) = (Vec::new(), simd_json::Buffers::default());
    let all = [
        (REFERENCE, each(messages, |message| drop(black_box(serde_json::from_str::<Value>(message))))),
        (OURS, ours(&texts.telegraf)?),
        ("the same, from JSON lines", ours(&texts.lines)?),
        (
            "sonic-rs to Value",
            each(messages, |message| drop(black_box(sonic_rs::from_str::<sonic_rs::Value>(message)))),
        ),
        (
            "simd-json to BorrowedValue",
            each(messages, move |message| {
                copy.clear();
                copy.extend_from_slice(message.as_bytes());
                drop(black_box(simd_json::to_borrowed_value_with_buffers(&mut copy, &mut buffers)));
            }),
        ),
        (
            "simd-json to OwnedValue",
            each(messages, move |message| {
                other_copy.clear();
                other_copy.extend_from_slice(message.as_bytes());
                drop(black_box(simd_json::to_owned_value_with_buffers(&mut other_copy, &mut other_buffers)));
            }),
        ),
        (CRATE, each(&texts.metrics, |metric| drop(black_box(through_influxdb_line_protocol(metric))))),
    ];
    Ok(all.into_iter().map(|(name, run)| Candidate { name, run }).collect())
}

/// The line of a metric's message by way of the field's own crates. It does less than ours: the payload's time is left alone,
/// and nothing is looked at twice.
fn through_influxdb_line_protocol(metric: &str) -> Result<Vec<u8>> {
    const TAGS: [&str; 3] = ["algorithm_name", "algorithm_owner", "algorithm_version"];
    let metric = parse_lines(metric).next().context("no line")??;
    let Some(FieldValue::String(message)) = metric.field_value("value") else { anyhow::bail!("no message") };
    let payload: Value = serde_json::from_str(message)?;
    let payload = payload.as_object().context("not an object")?;
    let mut line = LineProtocolBuilder::new().measurement("algorithmia");
    for tag in TAGS {
        line = line.tag(tag, payload.get(tag).and_then(Value::as_str).context("no such tag")?);
    }
    for (key, value) in metric.series.tag_set.iter().flatten() {
        line = line.tag(key, value);
    }
    // The builder has other types before and behind the first field.
    let mut line = line.field("duration_milliseconds", payload["duration_milliseconds"].as_f64().unwrap_or_default());
    for (key, value) in payload {
        line = match value {
            Value::Number(number) if key != "duration_milliseconds" => {
                line.field(key, number.as_f64().unwrap_or_default())
            }
            Value::String(text) if key != "time" && !TAGS.contains(&key.as_str()) => line.field(key, text.as_str()),
            _ => line,
        };
    }
    Ok(line.timestamp(metric.timestamp.unwrap_or_default()).close_line().build())
}

/// The processor time of this thread: what others do meanwhile is not in it.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Nanoseconds for each message, in each round.
fn measure(candidates: &mut [Candidate<'_>], messages: usize, options: &Options) -> Vec<Vec<f64>> {
    let slice = Duration::from_millis(options.slice);
    let mut times = vec![Vec::new(); candidates.len()];
    for round in 0..options.rounds {
        for turn in 0..candidates.len() {
            let index = (round + turn) % candidates.len();
            let (start, mut count) = (thread_time(), 0);
            let taken = loop {
                (candidates[index].run)();
                count += messages;
                let taken = thread_time() - start;
                if taken >= slice {
                    break taken;
                }
            };
            times[index].push(taken.as_nanos() as f64 / count as f64);
        }
    }
    times
}

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    ensure!(options.rounds > 0, "no rounds, no figures");
    println!("{}", machine());
    if let Some(at_most) = options.forms {
        return Ok(if measure_forms(at_most, &options)? { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let shapes = if options.shape.is_empty() { Shape::ALL.as_slice() } else { &options.shape };
    let mut code = ExitCode::SUCCESS;
    for shape in shapes {
        let texts = Texts::of(*shape);
        let count = texts.messages.len();
        let bytes = texts.messages.iter().map(String::len).sum::<usize>() as f64 / count as f64;
        let mut candidates = candidates(&texts)?;
        if let Some(only) = &options.only {
            candidates.retain(|candidate| candidate.name == only);
            ensure!(!candidates.is_empty(), "there is no {only}");
        }
        let times = measure(&mut candidates, count, &options);
        println!("\nConversion: {}, {bytes:.0} bytes\n", shape.title());
        let headings = ["", "ns a message", "least", "most", "MB/s", "of serde_json's time", "least", "most"];
        let mut table = Table::new(&headings);
        let mut bars = Vec::new();
        for (candidate, own) in candidates.iter().zip(&times) {
            let time = spread(own.iter().copied());
            let ratio = spread(own.iter().zip(&times[0]).map(|(own, reference)| own / reference));
            let Spread { min, median, max } = time;
            let mut row = vec![candidate.name.to_owned(), figure(median), figure(min), figure(max)];
            row.push(figure(bytes * 1e3 / median));
            row.extend([ratio.median, ratio.min, ratio.max].map(|ratio| format!("{ratio:.2}")));
            table.row(row);
            bars.push((candidate.name.to_owned(), time));
            if let Some(at_most) = options.at_most
                && (*shape, candidate.name) == (Shape::Tutorial, OURS)
                && ratio.median > at_most
            {
                println!(
                    "{OURS} takes {:.2} of what {REFERENCE} takes, and should take {at_most} at most\n",
                    ratio.median
                );
                code = ExitCode::FAILURE;
            }
        }
        println!("{table}");
        if let Some(ours) = candidates.iter().position(|candidate| candidate.name == OURS)
            && let Some(crates) = candidates.iter().position(|candidate| candidate.name == CRATE)
        {
            let ratio = spread(times[ours].iter().zip(&times[crates]).map(|(ours, crates)| ours / crates));
            println!(
                "{OURS} takes {:.3} ({:.3} to {:.3}) of the time of the {CRATE}.",
                ratio.median, ratio.min, ratio.max
            );
        }
        if let Some(folder) = &options.plots {
            fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
            let path = folder.join(format!("conversion-{}.svg", shape.name()));
            plot::bars(&path, &format!("Conversion: {}", shape.title()), "ns a message", &bars)?;
        }
    }
    Ok(code)
}
