//! Messages in a file become line protocol in another: by us, and by what people would take instead.
//!
//! ```sh
//! cargo bench -p benches --bench by_hand -- --plots docs/performance
//! cargo bench -p benches --bench by_hand -- --rounds 9 --slice 50 --megabytes 50 ours jq        # a short form
//! cargo bench -p benches --bench by_hand -- --at-least 10 ours jq
//! ```
//!
//! The file holds the tutorial's messages as JSON lines. In each round all take their turn on the first part of it; after
//! that on all of it, but for those whose speed says that this would take too long. The others' programs are told which keys
//! there are, and neither look for more nor escape nor check anything: that is less than we do. Before anything is measured,
//! their points are compared with ours.
//!
//! jq, Miller and Python are taken from the PATH (Debian: `apt-get install jq miller python3`); jaq and Benthos are built
//! from crates.io and Go's modules on the first run. The files, twice as large as the largest and as much again while
//! somebody writes, stay in `target/tmp/by_hand` for the next run.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, ValueEnum};
use fixtures::program;
use memchr::memchr_iter;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use benches::table::Table;
use benches::{Shape, Spread, figure, machine, plot, spread, usage};

/// Messages whose points are compared.
const SAMPLE: u64 = 10_000;

/// Between two looks at a process's memory.
const LOOK: Duration = Duration::from_millis(5);

const JAQ: &str = "3.1.2";
const BENTHOS: &str = "4.60.0";
const BENTHOS_FILES: [(&str, &str); 3] = [
    ("main.go", include_str!("by_hand/benthos/main.go")),
    ("go.mod", include_str!("by_hand/benthos/go.mod")),
    ("go.sum", include_str!("by_hand/benthos/go.sum")),
];

/// Alternating rounds of several programs that turn the same messages into line protocol.
#[derive(Parser)]
struct Options {
    /// Who takes part [default: all]
    #[arg(value_enum)]
    tools: Vec<Kind>,

    /// How often all take their turn
    #[arg(long, default_value_t = 5)]
    rounds: usize,

    /// Size of the file
    #[arg(long, default_value_t = 2000)]
    megabytes: u64,

    /// How much of it is read in each round
    #[arg(long, default_value_t = 100)]
    slice: u64,

    /// Read all of it only where that takes so many seconds
    #[arg(long, default_value_t = 120.0)]
    patience: f64,

    /// Draw by-hand.svg in this folder
    #[arg(long)]
    plots: Option<PathBuf>,

    /// Exit with status 1 if we are not so many times as fast as jq
    #[arg(long, value_name = "RATIO")]
    at_least: Option<f64>,

    /// cargo says so.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Our program, on all cores
    Ours,
    /// Our program, with --threads 1
    OneThread,
    Jq,
    /// A clone of jq that is known to be fast
    Jaq,
    Miller,
    Python,
    /// The stream processor of which Redpanda Connect and Bento are made
    Benthos,
}

/// A program that is there.
struct Tool {
    kind: Kind,
    name: String,
    program: PathBuf,
}

impl Tool {
    /// Finds or builds it.
    fn get(kind: Kind, folder: &Path) -> Result<Self> {
        let on_path = |program: &str, package: &str| {
            let version = said(Command::new(program).arg("--version"));
            version.with_context(|| format!("there is no {program}: apt-get install {package}"))
        };
        let (name, program) = match kind {
            Kind::Ours => ("telegraf-algorithmia".to_owned(), program().into()),
            Kind::OneThread => ("the same, --threads 1".to_owned(), program().into()),
            Kind::Jq => (on_path("jq", "jq")?.replace('-', " "), "jq".into()),
            Kind::Miller => (on_path("mlr", "miller")?.replace("mlr", "Miller"), "mlr".into()),
            Kind::Python => (on_path("python3", "python3")?, "python3".into()),
            Kind::Jaq => (format!("jaq {JAQ}"), jaq(folder)?),
            Kind::Benthos => (format!("Benthos {BENTHOS}"), benthos(folder)?),
        };
        Ok(Tool { kind, name, program })
    }

    fn command(&self, folder: &Path, input: &Path) -> Result<Command> {
        let mut command = Command::new(&self.program);
        match self.kind {
            Kind::Ours => command.arg(input),
            Kind::OneThread => command.args(["--threads", "1"]).arg(input),
            Kind::Jq | Kind::Jaq => command.args(["-r", include_str!("by_hand/points.jq")]).arg(input),
            Kind::Miller => {
                command.args(["--ijsonl", "--from"]).arg(input).args(["put", "-q", include_str!("by_hand/points.mlr")])
            }
            Kind::Python => command.args(["-c", include_str!("by_hand/points.py")]).stdin(File::open(input)?),
            Kind::Benthos => {
                let config = folder.join("benthos.yaml");
                fs::write(&config, include_str!("by_hand/benthos.yaml"))?;
                command.arg("-c").arg(config).stdin(File::open(input)?)
            }
        };
        Ok(command)
    }
}

/// The first line that a command writes, if there is such a command.
fn said(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    String::from_utf8_lossy(&output.stdout).lines().next().map(str::to_owned)
}

fn jaq(folder: &Path) -> Result<PathBuf> {
    let root = folder.join(format!("jaq-{JAQ}"));
    let program = root.join("bin/jaq");
    if !program.exists() {
        build(Command::new("cargo").args(["install", "--locked", &format!("jaq@{JAQ}"), "--root"]).arg(root))?;
    }
    Ok(program)
}

fn benthos(folder: &Path) -> Result<PathBuf> {
    let source = folder.join(format!("benthos-{BENTHOS}"));
    let program = source.join("benthos");
    if !program.exists() {
        fs::create_dir_all(&source)?;
        for (name, text) in BENTHOS_FILES {
            fs::write(source.join(name), text)?;
        }
        let flags = ["-ldflags", "-s -w", "-o", "benthos", "."];
        build(Command::new("go").arg("build").args(flags).env("CGO_ENABLED", "0").current_dir(&source))?;
    }
    Ok(program)
}

fn build(command: &mut Command) -> Result<()> {
    eprintln!("{command:?}: once, a few minutes");
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    let last = stderr.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    ensure!(output.status.success(), "{command:?} failed: {last}");
    Ok(())
}

/// What a program came to.
#[derive(Clone, Copy)]
struct Run {
    seconds: f64,
    cpu: f64,
    /// In bytes.
    peak: u64,
}

/// Runs a command with its output in a file, as people do. It has to write so many lines and to log nothing, unless it is not
/// known how many.
fn run(mut command: Command, folder: &Path, lines: Option<u64>) -> Result<Run> {
    let path = folder.join("output.lp");
    let start = Instant::now();
    let mut child = command.stdout(File::create(&path)?).stderr(Stdio::piped()).spawn()?;
    let pid = child.id();
    let done = AtomicBool::new(false);
    let (seconds, peak) = thread::scope(|scope| -> Result<(f64, u64)> {
        let watch = scope.spawn(|| {
            let mut peak = 0;
            while !done.load(Ordering::Relaxed) {
                peak = usage::peak_rss(pid).unwrap_or(peak);
                thread::sleep(LOOK);
            }
            peak
        });
        // What it says must not stop it.
        let log = child.stderr.take();
        let log = scope.spawn(|| log.map(std::io::read_to_string).transpose());
        // It stays as it ended until it is waited for, and so do its times.
        let waited = waitid(WaitId::Pid(Pid::from_child(&child)), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        let seconds = start.elapsed().as_secs_f64();
        done.store(true, Ordering::Relaxed);
        waited?;
        let log = log.join().expect("no panic")?.unwrap_or_default();
        ensure!(lines.is_none() || log.is_empty(), "{command:?} says: {log}");
        Ok((seconds, watch.join().expect("no panic")))
    })?;
    let cpu = usage::cpu_seconds(pid)?;
    let status = child.wait()?;
    ensure!(status.success(), "{command:?} ended with {status}");
    let written = count_lines(&path)?;
    ensure!(written == lines.unwrap_or(written), "{command:?} has written {written} lines of {lines:?}");
    fs::remove_file(path)?;
    Ok(Run { seconds, cpu, peak })
}

fn count_lines(path: &Path) -> Result<u64> {
    let (mut file, mut buffer, mut lines) = (File::open(path)?, vec![0; 1 << 20], 0);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(lines),
            len => lines += memchr_iter(b'\n', &buffer[..len]).count() as u64,
        }
    }
}

/// Messages in a file.
struct Messages {
    path: PathBuf,
    count: u64,
    bytes: u64,
}

impl Messages {
    /// As many as fit into so many megabytes.
    fn of(folder: &Path, shape: Shape, megabytes: u64, as_array: bool) -> Result<Self> {
        let mut bytes = 0;
        let fits = |message: &String| {
            bytes += message.len() as u64 + 1;
            bytes <= megabytes * 1_000_000
        };
        let name = format!("{}-{megabytes}MB.{}", shape.name(), if as_array { "json" } else { "jsonl" });
        Self::write(folder, &name, shape.messages(u64::MAX).take_while(fits), as_array)
    }

    /// Where the file is there already, it holds the same.
    fn write(folder: &Path, name: &str, messages: impl Iterator<Item = String>, as_array: bool) -> Result<Self> {
        let (path, counted) = (folder.join(name), folder.join(format!("{name}.count")));
        if let (Ok(count), true) = (fs::read_to_string(&counted), path.exists()) {
            let bytes = path.metadata()?.len();
            return Ok(Messages { path, count: count.parse()?, bytes });
        }
        eprintln!("writing {}: once", path.display());
        let mut file = BufWriter::with_capacity(1 << 20, File::create(&path)?);
        let mut count = 0;
        for message in messages {
            let before = match (as_array, count) {
                (false, _) => "",
                (true, 0) => "[",
                (true, _) => ",",
            };
            write!(file, "{before}{message}{}", if as_array { "" } else { "\n" })?;
            count += 1;
        }
        if as_array {
            file.write_all(b"]\n")?;
        }
        file.flush()?;
        drop(file);
        // Last: a file that was not written to its end has none.
        fs::write(counted, count.to_string())?;
        let bytes = path.metadata()?.len();
        Ok(Messages { path, count, bytes })
    }
}

/// A program that does less than it should would be fast in vain.
fn check(tools: &[Tool], folder: &Path) -> Result<()> {
    let sample = Messages::write(folder, "sample.jsonl", Shape::Tutorial.messages(SAMPLE), false)?;
    let points = |tool: &Tool| -> Result<Vec<String>> {
        let output = tool.command(folder, &sample.path)?.stderr(Stdio::inherit()).output()?;
        let mut points = output.stdout.lines().map(|line| canonical(&line?)).collect::<Result<Vec<_>>>()?;
        // Not all keep the order.
        points.sort();
        Ok(points)
    };
    let ours = points(&Tool::get(Kind::OneThread, folder)?)?;
    ensure!(ours.len() as u64 == SAMPLE, "we make {} points of {SAMPLE} messages", ours.len());
    for tool in tools {
        let theirs = points(tool).with_context(|| tool.name.clone())?;
        ensure!(theirs.len() == ours.len(), "{} makes {} points of {SAMPLE} messages", tool.name, theirs.len());
        let differs = ours.iter().zip(&theirs).find(|(ours, theirs)| ours != theirs);
        ensure!(differs.is_none(), "{} makes other points than we do: {differs:?}", tool.name);
    }
    Ok(())
}

/// A point with its tags and fields in order, and without the digits of its time that the message does not have. There are
/// no blanks or commas in these messages' values.
fn canonical(line: &str) -> Result<String> {
    let parts: Vec<&str> = line.split(' ').collect();
    let [series, fields, time] = parts[..] else { bail!("no point: {line}") };
    let sorted = |list: &str| {
        let mut items: Vec<&str> = list.split(',').collect();
        items.sort_unstable();
        items.join(",")
    };
    ensure!(time.len() == 19, "no time in nanoseconds: {line}");
    Ok(format!("{} {} {}", sorted(series), sorted(fields), &time[..16]))
}

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    ensure!(options.rounds > 0, "no rounds, no figures");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("by_hand");
    fs::create_dir_all(&folder)?;
    let kinds = if options.tools.is_empty() { Kind::value_variants() } else { &options.tools };
    let mut tools = Vec::new();
    let mut missing = String::new();
    for kind in kinds {
        match Tool::get(*kind, &folder) {
            Ok(tool) => tools.push(tool),
            Err(error) => writeln!(missing, "Not measured: {kind:?}. {error:#}")?,
        }
    }
    check(&tools, &folder)?;
    let slice = Messages::of(&folder, Shape::Tutorial, options.slice, false)?;
    let whole = Messages::of(&folder, Shape::Tutorial, options.megabytes, false)?;

    println!("{}\n", machine());
    let mut rounds = Vec::new();
    for number in 1..=options.rounds {
        let mut runs = Vec::new();
        for tool in &tools {
            runs.push(run(tool.command(&folder, &slice.path)?, &folder, Some(slice.count)).context(tool.name.clone())?);
        }
        let all: Vec<_> =
            tools.iter().zip(&runs).map(|(tool, run)| format!("{} {:.2} s", tool.name, run.seconds)).collect();
        eprintln!("round {number}: {}", all.join(", "));
        rounds.push(runs);
    }
    let ratio = report_rounds(&options, &tools, &slice, &rounds)?;
    report_whole(&options, &tools, &folder, &whole, &slice, &rounds)?;
    report_ours(&options, &folder, whole)?;
    print!("{missing}");
    if let Some(at_least) = options.at_least {
        let ratio = ratio.context("--at-least is for `ours` and `jq`, and one of them is not among them")?;
        if ratio < at_least {
            println!("\nwe are {ratio:.1} times as fast as jq, and not {at_least}");
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints what the rounds gave; how many times as fast as jq we are.
fn report_rounds(options: &Options, tools: &[Tool], slice: &Messages, rounds: &[Vec<Run>]) -> Result<Option<f64>> {
    let (megabytes, count) = (slice.bytes as f64 / 1e6, slice.count as f64);
    let position = |kind| tools.iter().position(|tool| tool.kind == kind);
    let over = |index: usize, of: &dyn Fn(&Run) -> f64| spread(rounds.iter().map(|runs| of(&runs[index])));
    // Of each round, so that a slow hour of the machine is one for both.
    let than_jq = |index: usize| {
        position(Kind::Jq).map(|jq| spread(rounds.iter().map(|runs| runs[jq].seconds / runs[index].seconds)))
    };
    let headings = [
        &*format!("{} MB, {} rounds", options.slice, options.rounds),
        "MB/s",
        "messages/s",
        "times as fast as jq",
        "processor seconds",
        "peak memory, MB",
    ];
    let mut table = Table::new(&headings);
    let mut bars = Vec::new();
    for (index, tool) in tools.iter().enumerate() {
        let speed = over(index, &|run| megabytes / run.seconds);
        table.row(vec![
            tool.name.clone(),
            of_many(speed),
            figure(over(index, &|run| count / run.seconds).median),
            than_jq(index).map_or("".to_owned(), of_many),
            figure(over(index, &|run| run.cpu).median),
            figure(over(index, &|run| run.peak as f64 / 1e6).max),
        ]);
        bars.push((tool.name.clone(), speed));
    }
    println!("{table}");
    if let Some(folder) = &options.plots {
        plot::bars(&folder.join("by-hand.svg"), "JSON lines to line protocol", "MB/s", &bars)?;
    }
    Ok(position(Kind::Ours).and_then(than_jq).map(|spread| spread.median))
}

/// Median (least to most).
fn of_many(Spread { min, median, max }: Spread) -> String {
    format!("{} ({} to {})", figure(median), figure(min), figure(max))
}

/// Has all of the file read by those that can do it in time.
fn report_whole(
    options: &Options,
    tools: &[Tool],
    folder: &Path,
    whole: &Messages,
    slice: &Messages,
    rounds: &[Vec<Run>],
) -> Result<()> {
    let mut table =
        Table::new(&[&*format!("{} MB, once", options.megabytes), "seconds", "messages/s", "peak memory, MB"]);
    for (index, tool) in tools.iter().enumerate() {
        let seconds = spread(rounds.iter().map(|runs| runs[index].seconds)).median;
        let estimate = seconds * whole.bytes as f64 / slice.bytes as f64;
        table.row(if estimate <= options.patience {
            let run = run(tool.command(folder, &whole.path)?, folder, Some(whole.count)).context(tool.name.clone())?;
            eprintln!("{}: {:.1} s", tool.name, run.seconds);
            let speed = whole.count as f64 / run.seconds;
            vec![tool.name.clone(), figure(run.seconds), figure(speed), figure(run.peak as f64 / 1e6)]
        } else {
            let about = |value| format!("about {}", figure(value));
            vec![tool.name.clone(), about(estimate), about(whole.count as f64 / estimate), "not run".to_owned()]
        });
    }
    println!("{table}");
    Ok(())
}

/// Shows that our memory does not grow with the file, and what threads give in files of other kinds.
fn report_ours(options: &Options, folder: &Path, whole: Messages) -> Result<()> {
    let megabytes = options.megabytes;
    let lines = |megabytes| Messages::of(folder, Shape::Tutorial, megabytes, false);
    let files = [
        (format!("{} MB", megabytes / 100), lines(megabytes / 100)?, true),
        (format!("{} MB", megabytes / 10), lines(megabytes / 10)?, true),
        (format!("{megabytes} MB"), whole, true),
        (format!("{megabytes} MB, one array"), Messages::of(folder, Shape::Tutorial, megabytes, true)?, true),
        (format!("{} MB, 5 % bad", megabytes / 10), Messages::of(folder, Shape::Bad, megabytes / 10, false)?, false),
    ];
    let mut table =
        Table::new(&["telegraf-algorithmia", "MB/s", "with --threads 1", "peak memory, MB", "with --threads 1"]);
    for (name, messages, is_good) in files {
        let lines = is_good.then_some(messages.count);
        let run = |kind| run(Tool::get(kind, folder)?.command(folder, &messages.path)?, folder, lines);
        let (mut several, mut one) = (Vec::new(), Vec::new());
        for _ in 0..options.rounds {
            several.push(run(Kind::Ours)?);
            one.push(run(Kind::OneThread)?);
        }
        let speed = |runs: &[Run]| of_many(spread(runs.iter().map(|run| messages.bytes as f64 / 1e6 / run.seconds)));
        let peak = |runs: &[Run]| figure(spread(runs.iter().map(|run| run.peak as f64 / 1e6)).max);
        table.row(vec![name, speed(&several), speed(&one), peak(&several), peak(&one)]);
    }
    println!("{table}");
    Ok(())
}
