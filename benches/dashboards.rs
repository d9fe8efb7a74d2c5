//! How long the queries of telegraf/influxdb-template.yml take on a real InfluxDB that holds ten million calls of models:
//! every cell of every dashboard, every variable, every check; and the task that sends alerts to Slack.
//!
//! ```sh
//! cargo bench -p benches --bench dashboards
//! cargo bench -p benches --bench dashboards -- --points 500000 --rounds 3
//! cargo bench -p benches --bench dashboards -- --hold               # and then look around
//! ```
//!
//! The calls are of 30 days up to now, and go on while it is measured, so that the last hour is never cut short. A cell's
//! query runs as InfluxDB's own UI runs it, alone, and its time is that from the request to the last byte of the answer.
//! All cells of a dashboard at once are what opening it costs.
//!
//! A check's time is that of a run of its task as InfluxDB itself reports it: its query, its levels, and the writing of
//! its statuses. Of these there are as many as the checks make in the 7 days for which InfluxDB keeps them. Then there are
//! 500 more models that are called every minute; and then all of them go wrong in one minute.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use benches::{machine, run_seconds, usage, write_all};
use bytesize::ByteSize;
use clap::Parser;
use fixtures::generate::{SLACK_EXAMPLE, file};
use fixtures::telegraf::{line, quoted};
use fixtures::{Random, id, repository};
use jiff::Timestamp;
use rand::{RngExt, SeedableRng};
use rand_distr::{Exp1, StandardNormal};
use stack::{Arguments, Dir, Influxdb, PASSWORD, Receiver, USER, Variables, wait_for};

/// How long a condition may take on the slowest machine.
const LONG: Duration = Duration::from_secs(3600);

/// The name of all cells of a dashboard together.
const AT_ONCE: &str = "all at once";

/// The cell that has rows only where a field changed its type.
const EMPTY: &str = "Left Out, as Their Type Changed";

/// What stands for no choice in a variable.
const ALL: &str = "(all)";

const SECOND: i64 = 1_000_000_000;
const MINUTE: i64 = 60 * SECOND;
const DAY: i64 = 24 * 60 * MINUTE;
const DAYS: i64 = 30;

/// Lines in a request.
const BATCH: usize = 10_000;

/// How often Telegraf writes.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

/// Compactions are over when no file has changed for this long.
const REST: Duration = Duration::from_secs(30);

/// Times the queries of the shipped template
#[derive(Parser)]
struct Options {
    /// Calls in 30 days, on average
    #[arg(long, default_value_t = 10_000_000)]
    points: u32,

    /// How often each query runs
    #[arg(long, default_value_t = 5)]
    rounds: usize,

    /// A range of time up to now, in place of 1h, 24h, 7d and 30d; can be given again
    #[arg(long = "range", default_values = ["1h", "24h", "7d", "30d"], hide_default_value = true)]
    ranges: Vec<String>,

    /// Leave the server running at the end, until Enter is pressed
    #[arg(long)]
    hold: bool,

    /// cargo says so.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let dir = Dir::new("dashboards")?;
    measure(&dir, &options).inspect_err(|_| dir.keep())
}

fn measure(dir: &Dir, options: &Options) -> Result<()> {
    ensure!(options.points > 0 && options.rounds > 0, "nothing to measure");
    println!("{}", machine());

    let (influxdb, slack) = (Influxdb::start(dir)?, Receiver::start()?);
    influxdb.apply(&repository("telegraf/influxdb-template.yml"), &[])?;
    let sender = file("influxdb-slack.yml").replace(SLACK_EXAMPLE, &slack.url());
    influxdb.apply(&dir.write("slack.yml", sender)?, &[])?;
    let mut traffic = Traffic::new(options.points);
    fill(dir, &influxdb, &mut traffic)?;
    while_traffic_goes_on(&influxdb, &mut traffic, || {
        // So that each has written a minute's statuses.
        run_checks(&influxdb, 1)?;
        fill_statuses(&influxdb)?;
        rest(dir)?;
        let mut checks = vec![("50 models", run_checks(&influxdb, options.rounds)?)];
        run_queries(&influxdb, options)?.print(&options.ranges);
        let minute = now() / MINUTE * MINUTE;
        (1..=LOOK_BACK).try_for_each(|ago| crowd(&influxdb, minute - ago * MINUTE, false))?;
        checks.push(("500 more", run_checks(&influxdb, options.rounds)?));
        crowd(&influxdb, minute - MINUTE, true)?;
        checks.push(("all of these critical", run_checks(&influxdb, options.rounds)?));
        print_checks(&checks);
        println!("\n{} messages went out.", slack.requests().len());
        println!("\ninfluxd took {} of memory at most.", ByteSize(usage::peak_rss(influxdb.pid())?));

        if options.hold {
            println!("\n{} is up, user {USER}, password {PASSWORD}, data in {}", influxdb.url(), dir.path().display());
            println!("Press Enter to end.");
            std::io::stdin().read_line(&mut String::new())?;
        }
        Ok(())
    })
}

// ---------------------------------------------------------------------------------------------------------------------
// What there is to be asked for.

/// Models in the order of the alphabet, which is also that of their calls. The first one is what the dashboards show
/// before anything is chosen, so it is the one with the most to show: a quarter of all.
const ALGORITHMS: [&str; 25] = [
    "card_fraud",
    "churn",
    "claims_triage",
    "credit_card_approval",
    "credit_limit",
    "customer_lifetime_value",
    "demand_forecast",
    "document_type",
    "email_intent",
    "face_match",
    "id_verification",
    "image_moderation",
    "income_estimate",
    "invoice_reader",
    "lead_scoring",
    "loan_default",
    "loan_pricing",
    "money_laundering",
    "next_offer",
    "receipt_reader",
    "review_sentiment",
    "route_time",
    "spam",
    "speech_to_text",
    "stock_level",
];

const OWNERS: [&str; 5] = ["asli", "billing", "fraud", "logistics", "marketing"];

const TELEGRAFS: [&str; 2] = ["telegraf-1", "telegraf-2"];

const REASONS: [(&str, &str); 3] = [
    ("invalid_json", "expected `,` or `}` at byte 57"),
    ("missing_algorithm_name", "neither the payload nor a tag of the metric says which algorithm was called"),
    ("no_fields", "there is nothing to store but tags"),
];

/// Rejected messages in 30 days.
const REJECTED: f64 = 5_000.0;

/// A version begins with no calls, and a week later has all but these, from callers that have not moved on.
const ROLLOUT: i64 = 7 * DAY;
const LAGGARDS: f64 = 0.1;

/// How many minutes the checks that are tasks look back.
const LOOK_BACK: i64 = 17;

/// Models that come on top of all others in the end.
const CROWD: usize = 500;

/// At the end of the 30 days, and so in the last hour, it is the busiest time of the day, with 1.8 times the mean.
const SWING: f64 = 0.8;

/// What happens in 30 days up to now and from then on, in order of time: calls, rejected messages, and the reports of
/// telegraf-algorithmia.
struct Traffic {
    random: Random,
    /// The end of the 30 days.
    end: i64,
    /// Calls in a nanosecond, on average.
    rate: f64,
    next_call: i64,
    next_report: i64,
    /// Up to where each algorithm's share of the calls goes.
    shares: Vec<f64>,
    calls: u64,
    rejected: u64,
}

impl Traffic {
    fn new(points: u32) -> Self {
        let end = now();
        let start = end - DAYS * DAY;
        let weights = (1..=ALGORITHMS.len()).map(|rank| 1.0 / rank as f64);
        let total: f64 = weights.clone().sum();
        let shares = weights.scan(0.0, |sum, weight| {
            *sum += weight / total;
            Some(*sum)
        });
        let mut traffic = Traffic {
            random: Random::seed_from_u64(20_210_220),
            end,
            rate: f64::from(points) / (DAYS * DAY) as f64,
            next_call: start,
            next_report: start,
            shares: shares.collect(),
            calls: 0,
            rejected: 0,
        };
        traffic.go_on();
        traffic
    }

    /// A batch of what happens before `until`, if there is anything.
    fn batch(&mut self, until: i64) -> Option<String> {
        let mut lines = String::with_capacity(BATCH * 400);
        for _ in 0..BATCH {
            if self.next_call.min(self.next_report) >= until {
                break;
            }
            if self.next_report <= self.next_call {
                self.report(&mut lines);
                self.next_report += MINUTE;
            } else {
                self.call(&mut lines);
                self.go_on();
            }
        }
        (!lines.is_empty()).then_some(lines)
    }

    /// Finds the time of the next call. They come independently of each other, at a rate that changes with the time of the
    /// day: of calls at the highest rate as many are left out as are too many.
    fn go_on(&mut self) {
        let highest = 1.0 + SWING;
        loop {
            self.next_call += 1 + (self.random.sample::<f64, _>(Exp1) / (self.rate * highest)) as i64;
            let day = (self.next_call - self.end) as f64 / DAY as f64;
            if self.random.random::<f64>() * highest < 1.0 + SWING * (std::f64::consts::TAU * day).cos() {
                return;
            }
        }
    }

    fn call(&mut self, lines: &mut String) {
        let (time, random) = (self.next_call, &mut self.random);
        if random.random::<f64>() < REJECTED / (self.rate * (DAYS * DAY) as f64) {
            let (reason, error) = REASONS[random.random_range(0..REASONS.len())];
            let payload = format!(r#"{{"algorithm_owner":"asli","risk_score":{}"#, random.random::<f64>());
            let fields = [("error", quoted(error)), ("payload", quoted(&payload))];
            *lines += &line("algorithmia_rejected", [("reason", reason)], fields, time);
            self.rejected += 1;
            return;
        }
        let place: f64 = random.random();
        let algorithm = self.shares.iter().position(|share| place < *share).unwrap_or(ALGORITHMS.len() - 1);
        let rollout = self.end - DAYS * DAY * (ALGORITHMS.len() - algorithm) as i64 / ALGORITHMS.len() as i64;
        let new = ((time - rollout) as f64 / ROLLOUT as f64).clamp(0.0, 1.0 - LAGGARDS);
        let (version, speed) = if random.random_bool(new) { ("1.1.0", 0.8) } else { ("1.0.6", 1.0) };
        // None over 0.7, so that nothing is wrong.
        let risk = 0.69 * random.random::<f64>().powi(3);
        let approved = u8::from(risk < 0.3);
        let duration = (speed * 30.0 * (0.8 * random.sample::<f64, _>(StandardNormal)).exp()).ceil();
        let confidence = 1.0 - 0.5 * random.random::<f64>().powi(2);
        let amount = 100.0 * random.sample::<f64, _>(StandardNormal).exp();
        let [session, request] = ["rses", "req"].map(|prefix| id(prefix, random));
        let _ = writeln!(
            lines,
            "algorithmia,algorithm_name={},algorithm_owner={},algorithm_version={version} risk_score={risk:.4},\
             approved={approved},duration_milliseconds={duration},confidence={confidence:.4},amount={amount:.2},\
             session_id=\"{session}\",request_id=\"{request}\" {time}",
            ALGORITHMS[algorithm],
            OWNERS[algorithm % OWNERS.len()],
        );
        self.calls += 1;
    }

    /// What every Telegraf's telegraf-algorithmia says of itself. They share the messages.
    fn report(&mut self, lines: &mut String) {
        for host in TELEGRAFS {
            let count = TELEGRAFS.len() as u64;
            let (converted, rejected) = (self.calls / count, self.rejected / count);
            let (received, bytes) = (converted + rejected, converted * 400);
            let [size, lag] = [self.random.random_range(0..2_000), self.random.random_range(300..1_200)];
            let _ = writeln!(
                lines,
                "algorithmia_processor,host={host},instance=1 received={received}i,received_bytes={bytes}i,\
                 converted={converted}i,passed=0i,rejected={rejected}i,rejected_invalid_json={rejected}i,\
                 rejected_not_an_object=0i,rejected_missing_algorithm_name=0i,rejected_no_fields=0i,\
                 rejected_too_large=0i,rejected_invalid_metric=0i,time_defaulted=0i,fields_left_out=0i,strings_cut=0i,\
                 written_bytes={bytes}i,replayed=0i,journal_written_bytes={bytes}i,journal_bytes=80000000i,\
                 queue_bytes=0i,throttled_ms=0i,telegraf_buffer_size={size}i,telegraf_buffer_limit=100000i,\
                 telegraf_dropped=0i,lag_mean_ms={lag}i,lag_max_ms={}i {}",
                2 * lag,
                self.next_report,
            );
        }
    }
}

/// Nanoseconds since 1970.
fn now() -> i64 {
    Timestamp::now().as_nanosecond() as i64
}

/// Writes 30 days, and says how fast that went and what they take.
fn fill(dir: &Dir, influxdb: &Influxdb, traffic: &mut Traffic) -> Result<()> {
    let (start, end) = (Instant::now(), traffic.end);
    for day in 1..=DAYS {
        write(influxdb, traffic, end - (DAYS - day) * DAY)?;
        let per_second = traffic.calls as f64 / start.elapsed().as_secs_f64();
        println!("day {day} of {DAYS}: {} calls, {per_second:.0} a second", traffic.calls);
    }
    rest(dir)?;
    let size = |suffix: &str| {
        let files = files(dir.path())?;
        Ok::<u64, anyhow::Error>(files.iter().filter(|(path, _)| path.ends_with(suffix)).map(|(_, size)| size).sum())
    };
    let (calls, data) = (traffic.calls, size(".tsm")?);
    println!(
        "{calls} calls take {} on disk, {:.0} bytes each, and {} of write-ahead log",
        ByteSize(data),
        data as f64 / calls as f64,
        ByteSize(size(".wal")?),
    );
    Ok(())
}

/// Writes what happens before `until`, as fast as the server takes it.
fn write(influxdb: &Influxdb, traffic: &mut Traffic, until: i64) -> Result<()> {
    let traffic = Mutex::new(traffic);
    write_all(influxdb, || traffic.lock().unwrap_or_else(PoisonError::into_inner).batch(until))
}

/// Has Telegraf's usual batches come in, once a second, while something else is done.
fn while_traffic_goes_on(
    influxdb: &Influxdb,
    traffic: &mut Traffic,
    something: impl FnOnce() -> Result<()>,
) -> Result<()> {
    write(influxdb, traffic, now())?;
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let going_on = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                thread::sleep(FLUSH_INTERVAL);
                write(influxdb, traffic, now())?;
            }
            Ok(())
        });
        let result = something();
        done.store(true, Ordering::Relaxed);
        going_on.join().expect("writing does not panic").and(result)
    })
}

/// Waits until InfluxDB has put its files in order.
fn rest(dir: &Dir) -> Result<()> {
    let (mut last, mut since) = (BTreeMap::new(), Instant::now());
    wait_for("the compactions", LONG, || {
        thread::sleep(Duration::from_secs(1));
        let mut files = files(dir.path())?;
        files.retain(|path, _| path.contains(".tsm"));
        if files != last {
            (last, since) = (files, Instant::now());
        }
        Ok((since.elapsed() >= REST).then_some(()))
    })
}

/// All files below a folder, with their sizes.
fn files(folder: &Path) -> Result<BTreeMap<String, u64>> {
    let mut sizes = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            sizes.extend(files(&path)?);
        } else if let Ok(metadata) = path.metadata() {
            // One that is gone by now was compacted into another.
            sizes.insert(path.display().to_string(), metadata.len());
        }
    }
    Ok(sizes)
}

/// Makes the last minute's statuses those of every minute for which InfluxDB keeps them, but the first, which it may just
/// be deleting.
fn fill_statuses(influxdb: &Influxdb) -> Result<()> {
    let keeps = 7 * 24 * 60 - 1;
    let mut minutes = 1;
    while minutes < keeps {
        let more = minutes.min(keeps - minutes);
        influxdb.query(&format!(
            r#"
            from(bucket: "_monitoring")
              |> range(start: -{more}m)
              |> filter(fn: (r) => r._measurement == "statuses")
              |> timeShift(duration: -{minutes}m)
              |> to(bucket: "_monitoring")
              |> filter(fn: (r) => false)
            "#
        ))?;
        minutes += more;
    }
    println!("{} statuses in 7 days", influxdb.count("_monitoring", "statuses", "_message")?);
    Ok(())
}

// ---------------------------------------------------------------------------------------------------------------------
// The queries, and how long they take.

/// What is chosen at the top of a dashboard.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Choice {
    /// Nothing: what the UI itself begins with.
    Default,
    /// Everything, where that is offered.
    All,
}

impl Choice {
    fn name(self) -> &'static str {
        match self {
            Choice::Default => "by default",
            Choice::All => ALL,
        }
    }

    fn variables(self, influxdb: &Influxdb, range: &str) -> Result<Variables> {
        let mut v = Variables::new(format!("-{range}").as_str(), "now()")?;
        if self == Choice::All {
            let offered = influxdb.resolve_variables(&mut v.clone())?;
            for (name, _) in offered.iter().filter(|(_, values)| values.iter().any(|value| value == ALL)) {
                v.set(name, ALL);
            }
        }
        influxdb.resolve_variables(&mut v)?;
        Ok(v)
    }
}

/// A query's times in seconds, and how many rows it gave.
#[derive(Default)]
struct Times {
    seconds: Vec<f64>,
    rows: usize,
}

impl Times {
    /// The least, the middle and the most.
    fn spread(&self) -> [f64; 3] {
        let mut seconds = self.seconds.clone();
        seconds.sort_by(f64::total_cmp);
        let (low, high) = (seconds[(seconds.len() - 1) / 2], seconds[seconds.len() / 2]);
        [seconds[0], (low + high) / 2.0, seconds[seconds.len() - 1]]
    }

    /// For a table.
    fn shown(&self) -> String {
        let [min, median, max] = self.spread();
        format!("{median:.3} ({min:.3} to {max:.3})")
    }
}

/// All times: by dashboard, cell (in the order of the dashboard) and choice, then by range.
#[derive(Default)]
struct Report {
    times: BTreeMap<(String, usize, String, Choice), BTreeMap<String, Times>>,
}

/// Runs everything over each range, with each choice that makes a difference.
fn run_queries(influxdb: &Influxdb, options: &Options) -> Result<Report> {
    let variables = influxdb.variables()?.into_iter().filter_map(|variable| match variable.arguments {
        Arguments::Query { query } => Some((variable.name, vec![query])),
        _ => None,
    });
    let mut groups = vec![("Variables".to_owned(), variables.collect::<Vec<_>>())];
    for dashboard in influxdb.dashboards()? {
        let cells = dashboard.cells.into_iter().filter(|cell| !cell.queries.is_empty());
        groups.push((dashboard.name, cells.map(|cell| (cell.name, cell.queries)).collect()));
    }
    let mut report = Report::default();
    for range in &options.ranges {
        let mut chosen = Vec::new();
        for choice in [Choice::Default, Choice::All] {
            let v = choice.variables(influxdb, range)?;
            if chosen.contains(&format!("{v:?}")) {
                continue;
            }
            chosen.push(format!("{v:?}"));
            println!("\nThe last {range}, {}: {v:?}", choice.name());
            for _ in 0..options.rounds {
                for (group, cells) in &groups {
                    let names = cells.iter().map(|(name, _)| name.as_str()).chain([AT_ONCE]);
                    let queries: Vec<_> = cells.iter().map(|(_, queries)| queries.as_slice()).collect();
                    let answers = ask_each_and_all(influxdb, &queries, &v).with_context(|| format!("in {group}"))?;
                    for (index, (name, (seconds, rows))) in names.zip(answers).enumerate() {
                        ensure!(
                            rows > 0 || name == EMPTY,
                            "{group}, {name}: no rows over {range}, and so fast in vain"
                        );
                        let ranges = report.times.entry((group.clone(), index, name.to_owned(), choice)).or_default();
                        let times = ranges.entry(range.clone()).or_default();
                        times.seconds.push(seconds);
                        times.rows = rows;
                    }
                }
            }
        }
    }
    Ok(report)
}

/// Asks for each cell by itself, and then for all of them at once: one answer more than there are cells.
fn ask_each_and_all(influxdb: &Influxdb, cells: &[&[String]], v: &Variables) -> Result<Vec<(f64, usize)>> {
    let mut answers = cells.iter().map(|queries| ask(influxdb, queries, v)).collect::<Result<Vec<_>>>()?;
    let start = Instant::now();
    let rows = thread::scope(|scope| {
        let asking: Vec<_> = cells.iter().map(|queries| scope.spawn(|| ask(influxdb, queries, v))).collect();
        let answers = asking.into_iter().map(|asking| Ok(asking.join().expect("asking does not panic")?.1));
        answers.sum::<Result<usize>>()
    })?;
    answers.push((start.elapsed().as_secs_f64(), rows));
    Ok(answers)
}

/// How many seconds the answers take, and how many rows they have.
fn ask(influxdb: &Influxdb, queries: &[String], v: &Variables) -> Result<(f64, usize)> {
    let (mut seconds, mut rows) = (0.0, 0);
    for query in queries {
        let mut answer = String::new();
        let start = Instant::now();
        influxdb.query_csv_with(query, v)?.read_to_string(&mut answer)?;
        seconds += start.elapsed().as_secs_f64();
        rows += count_rows(&answer)?;
    }
    Ok((seconds, rows))
}

/// The rows of an annotated CSV text in which no value has a line feed: each block of them has lines that begin with `#`,
/// then one with the columns' names.
fn count_rows(csv: &str) -> Result<usize> {
    let (mut rows, mut names_follow) = (0, false);
    for line in csv.lines().filter(|line| !line.is_empty()) {
        if line.starts_with('#') {
            names_follow = true;
        } else if names_follow {
            ensure!(!line.starts_with(",error,"), "the query failed: {csv}");
            names_follow = false;
        } else {
            rows += 1;
        }
    }
    Ok(rows)
}

impl Report {
    fn print(&self, ranges: &[String]) {
        let mut last_group = "";
        for ((group, _, name, choice), times) in &self.times {
            if group != last_group {
                let columns = ranges.join(" | rows | ");
                println!("\n## {group}\n\nSeconds: median (min to max)\n\n| cell | {columns} | rows |");
                println!("|---|{}", "---|---|".repeat(ranges.len()));
                last_group = group;
            }
            let mut line = format!("| {name}");
            if *choice == Choice::All {
                let _ = write!(line, ", {ALL}");
            }
            for range in ranges {
                match times.get(range) {
                    Some(times) => {
                        let _ = write!(line, " | {} | {}", times.shown(), times.rows);
                    }
                    None => line.push_str(" | | "),
                }
            }
            println!("{line} |");
        }
        println!();
        for range in ranges {
            let cells = self.times.iter().filter(|((_, _, name, _), _)| name != AT_ONCE);
            let medians = cells.filter_map(|(key, times)| Some((key, times.get(range)?.spread()[1])));
            if let Some(((group, _, name, choice), median)) = medians.max_by(|a, b| a.1.total_cmp(&b.1)) {
                println!("The slowest over {range}: {group}, {name}, {}: {median:.3} s", choice.name());
            }
        }
    }
}

/// A call of each of many models in a minute, all of them well or all of them not.
fn crowd(influxdb: &Influxdb, minute: i64, bad: bool) -> Result<()> {
    let (risk, duration) = if bad { (0.9, 9000) } else { (0.1, 30) };
    let lines = (0..CROWD).map(|model| {
        let time = minute + 30 * SECOND + model as i64;
        format!(
            "algorithmia,algorithm_name=crowd_{model},algorithm_owner=asli,algorithm_version=1 \
             risk_score={risk},duration_milliseconds={duration} {time}\n"
        )
    });
    influxdb.write(lines.collect::<String>())
}

/// Runs every check, then what sends its alerts, and gives names and times.
fn run_checks(influxdb: &Influxdb, rounds: usize) -> Result<BTreeMap<String, Times>> {
    let mut checks: BTreeMap<String, Times> = BTreeMap::new();
    for round in 0..rounds {
        // Some checks are tasks.
        let (senders, tasks): (Vec<_>, Vec<_>) =
            influxdb.list("tasks")?.into_iter().partition(|task| task["name"] == "Slack Alert");
        for check in influxdb.list("checks")?.into_iter().chain(tasks).chain(senders) {
            let name = check["name"].as_str().context("a check has no name")?;
            let task = check["taskID"].as_str().or(check["id"].as_str()).context("a check has no task")?;
            let ran = influxdb.run_task(task, None).and_then(|run| run_seconds(&run));
            let seconds = ran.with_context(|| format!("in the check {name}, round {round}"))?;
            checks.entry(name.to_owned()).or_default().seconds.push(seconds);
        }
    }
    Ok(checks)
}

fn print_checks(checks: &[(&str, BTreeMap<String, Times>)]) {
    let situations: Vec<_> = checks.iter().map(|(situation, _)| *situation).collect();
    println!("\n## Checks\n\nSeconds of a run: median (min to max)\n\n| check | {} |", situations.join(" | "));
    println!("|---|{}", "---|".repeat(situations.len()));
    for name in checks.iter().flat_map(|(_, times)| times.keys()).collect::<BTreeSet<_>>() {
        let times = checks.iter().filter_map(|(_, times)| times.get(name)).map(Times::shown);
        println!("| {name} | {} |", times.collect::<Vec<_>>().join(" | "));
    }
}
