//! Nothing is lost, whatever dies: each test is a fault on real servers, after which the calls that InfluxDB has are
//! compared with those that were produced.
//!
//! With ALGORITHMIA_LONG_TESTS=1 the faults last as long as docs/reliability.md says; else they are short. What was
//! measured is written to stderr: `cargo test -p e2e reliability:: -- --nocapture`.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{GROUP, LONG, TOPIC, alone, environment, long_tests, measurements, shipped_configuration, turn};
use anyhow::{Context, Result, ensure};
use fixtures::Call;
use stack::{BUCKET, Descendant, Dir, Influxdb, Kafka, Proxy, Telegraf, wait_for};

/// With nothing left in Kafka and nothing written to InfluxDB for this time, nothing more will come: twice the longest
/// flush_interval here.
const QUIET: Duration = Duration::from_secs(20);

/// How often messages are produced under load.
const TICK: Duration = Duration::from_millis(20);

/// The first number in the short version of a test, the second in the long one.
fn scale<T>(short: T, long: T) -> T {
    if long_tests() { long } else { short }
}

/// A moment that nobody chose, within a range of milliseconds.
fn random_moment(milliseconds: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(rand::random_range(milliseconds))
}

/// The call of this number.
fn message(index: usize) -> String {
    message_at(index, "2021-02-20")
}

fn message_at(index: usize, day: &str) -> String {
    Call::numbered(index, day).to_string()
}

fn messages(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(message)
}

/// The shipped telegraf.conf with some texts replaced, each of which has to be there once.
fn configuration(dir: &Dir, name: &str, changes: &[(&str, &str)]) -> Result<PathBuf> {
    let mut text = fs::read_to_string(shipped_configuration())?;
    for (shipped, changed) in changes {
        ensure!(text.matches(shipped).count() == 1, "telegraf.conf has not one {shipped:?}");
        text = text.replace(shipped, changed);
    }
    dir.write(name, text)
}

const BUFFER: &str = "metric_buffer_limit = 100000";

fn buffer(limit: usize) -> String {
    format!("metric_buffer_limit = {limit}")
}

/// The option, as it stands in the shipped command.
const FLOW_CONTROL: &str = "\"--flow-control\",";

/// What came of the messages.
struct Verdict {
    produced: usize,
    /// Those that InfluxDB does not have.
    missing: BTreeSet<usize>,
    /// Points beyond one for each message.
    extra: usize,
}

impl Verdict {
    fn of(influxdb: &Influxdb, produced: usize) -> Result<Verdict> {
        let mut missing: BTreeSet<usize> = (0..produced).collect();
        let mut extra = influxdb.count(BUCKET, "algorithmia_rejected", "error")? as usize;
        for id in influxdb.strings(BUCKET, "algorithmia", "request_id")? {
            let number = id.strip_prefix("req-").and_then(|number| number.parse().ok());
            let expected = number.is_some_and(|number: usize| missing.remove(&number));
            extra += usize::from(!expected);
        }
        let known = ["algorithmia", "algorithmia_rejected"];
        let names = measurements(influxdb)?;
        ensure!(names.iter().all(|name| known.contains(&name.as_str())), "there should not be all of {names:?}");
        Ok(Verdict { produced, missing, extra })
    }

    fn ensure_nothing_lost(&self) -> Result<()> {
        ensure!(self.missing.is_empty() && self.extra == 0, "{self}; the first missing: {:?}", self.missing.first());
        Ok(())
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "of {} messages {} missing, {} extra", self.produced, self.missing.len(), self.extra)
    }
}

/// Writes the line that docs/reliability.md quotes.
fn report(fault: &str, measured: fmt::Arguments, verdict: &Verdict, start: Instant) {
    eprintln!("[reliability] {fault}: {measured}; {verdict}; {:.0} s", start.elapsed().as_secs_f64());
}

/// The servers at both ends. Telegrafs come and go between them.
struct Road<'a> {
    dir: &'a Dir,
    kafka: Kafka,
    influxdb: Influxdb,
}

impl<'a> Road<'a> {
    fn start(dir: &'a Dir, partitions: i32) -> Result<Self> {
        let kafka = Kafka::start(dir)?;
        kafka.create_topic(TOPIC, partitions)?;
        Ok(Road { dir, kafka, influxdb: Influxdb::start(dir)? })
    }

    /// A Telegraf whose environment differs in some variables.
    fn telegraf(&self, configuration: impl AsRef<Path>, different: &[(&'static str, String)]) -> Result<Telegraf> {
        let mut variables = environment(self.dir, self.kafka.broker(), self.influxdb.url());
        variables.extend(different.iter().cloned());
        Telegraf::start(self.dir, configuration, variables)
    }

    fn journal(&self) -> PathBuf {
        self.dir.path().join("journal")
    }

    /// How many messages Kafka considers delivered.
    fn committed(&self) -> Result<usize> {
        Ok(self.kafka.committed(GROUP, TOPIC)?.iter().sum::<i64>() as usize)
    }

    /// How many points InfluxDB has.
    fn stored(&self) -> Result<usize> {
        Ok(self.influxdb.count(BUCKET, "algorithmia", "request_id")? as usize)
    }

    /// Waits until Kafka considers so many messages delivered.
    fn wait_for_committed(&self, telegraf: &Telegraf, count: usize) -> Result<usize> {
        wait_for(&format!("the consumption of {count} messages"), LONG, || {
            telegraf.ensure_running()?;
            let committed = self.committed()?;
            Ok((committed >= count).then_some(committed))
        })
    }

    /// Waits until Telegraf reads on: what it does not read, it cannot lose.
    fn wait_for_progress(&self, telegraf: &Telegraf, messages: usize) -> Result<usize> {
        self.wait_for_committed(telegraf, self.committed()? + messages)
    }

    /// Waits until InfluxDB has so many points, or until nothing more comes. A replay begins with what is there already.
    fn settle(&self, telegraf: &Telegraf, expected: usize) -> Result<()> {
        let mut last = (0, Instant::now());
        wait_for("all points in InfluxDB, or for the last one that comes", 3 * LONG, || {
            telegraf.ensure_running()?;
            let taken = self.influxdb.bytes_taken()?;
            if taken != last.0 {
                last = (taken, Instant::now());
            }
            let quiet = last.1.elapsed() > QUIET && self.kafka.lag(GROUP, TOPIC)? == 0;
            Ok((quiet || self.stored()? >= expected).then_some(()))
        })
    }

    /// Lets Telegraf come to an end with all that was produced, stops it, and compares.
    fn verdict(&self, telegraf: &Telegraf, produced: usize) -> Result<Verdict> {
        self.settle(telegraf, produced)?;
        telegraf.terminate()?;
        Verdict::of(&self.influxdb, produced)
    }

    /// Does something while messages come in steadily, and gives how many came since `first`, and what it gave.
    fn under_load<T>(&self, first: usize, per_second: usize, body: impl FnOnce() -> Result<T>) -> Result<(usize, T)> {
        struct Stop<'a>(&'a AtomicBool);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let producer = scope.spawn(|| self.produce_until(&stop, first, per_second));
            let result = {
                let _stop = Stop(&stop);
                body()
            };
            let produced = producer.join().expect("the producer does not panic");
            // The first error is the more telling one.
            let result = result?;
            Ok((produced?, result))
        })
    }

    fn produce_until(&self, stop: &AtomicBool, first: usize, per_second: usize) -> Result<usize> {
        let start = Instant::now();
        let mut next = first;
        while !stop.load(Ordering::SeqCst) {
            let due = first + (start.elapsed().as_secs_f64() * per_second as f64) as usize;
            if due > next {
                // A broker that is being restarted is tried again, as any producer does. What it has got nevertheless
                // comes twice, and makes the same point.
                let patience = Instant::now();
                while let Err(error) = self.kafka.produce(TOPIC, (next..due).map(message)) {
                    if patience.elapsed() > LONG {
                        return Err(error);
                    }
                    thread::sleep(TICK);
                }
                next = due;
            }
            thread::sleep(TICK);
        }
        Ok(next)
    }
}

/// The processes that run our binary below a Telegraf.
struct Processor {
    /// Telegraf's own child.
    supervisor: Descendant,
    /// The child's child, which does the work.
    worker: Descendant,
}

impl Processor {
    fn of(telegraf: &Telegraf) -> Result<Processor> {
        let only = |mut found: Vec<Descendant>| (found.len() == 1).then(|| found.remove(0));
        wait_for("Telegraf's child and its worker", Duration::from_secs(60), || {
            telegraf.ensure_running()?;
            let Some(supervisor) = only(telegraf.children()?) else { return Ok(None) };
            let Some(worker) = only(supervisor.children()?) else { return Ok(None) };
            Ok(Some(Processor { supervisor, worker }))
        })
    }
}

/// Stops Telegraf as systemd stops a service: SIGTERM to all of its processes, ours among them.
fn stop_service(telegraf: &Telegraf) -> Result<()> {
    let children = wait_for("Telegraf's child", LONG, || {
        telegraf.ensure_running()?;
        let children = telegraf.children()?;
        Ok((!children.is_empty()).then_some(children))
    })?;
    let mut all = Vec::new();
    for child in children {
        all.extend(child.children()?);
        all.push(child);
    }
    for process in all {
        // One may have ended with the other.
        let _ = process.terminate();
    }
    telegraf.terminate()?;
    Ok(())
}

#[test]
fn three_restarts_amid_200000_messages_lose_none_and_none_overwrites_another() {
    let _turn = turn();
    stack::test("restarts", |dir| {
        let start = Instant::now();
        let count = 200_000;
        let road = Road::start(dir, 1)?;
        road.kafka.produce(TOPIC, messages(count))?;
        let telegraf = road.telegraf(shipped_configuration(), &[])?;
        let mut left = Vec::new();
        for restart in 1..=3 {
            let committed = road.wait_for_committed(&telegraf, restart * count / 5)?;
            ensure!(committed < count, "all messages were consumed before restart {restart}, so it proved nothing");
            left.push(count - committed);
            stop_service(&telegraf)?;
            telegraf.restart()?;
        }
        let verdict = road.verdict(&telegraf, count)?;
        report("SIGTERM of Telegraf", format_args!("3 restarts with {left:?} messages to go"), &verdict, start);
        verdict.ensure_nothing_lost()
    });
}

#[test]
fn telegraf_killed_five_times_at_random_moments_loses_none() {
    let _turn = turn();
    stack::test("telegraf-killed", |dir| {
        let start = Instant::now();
        let road = Road::start(dir, 1)?;
        let slow = ("flush_interval = \"1s\"", "flush_interval = \"10s\"");
        let telegraf = road.telegraf(configuration(dir, "slow.conf", &[slow])?, &[])?;
        let (produced, in_flight) = road.under_load(0, 500, || {
            let mut in_flight = Vec::new();
            for _ in 0..5 {
                road.wait_for_progress(&telegraf, 500)?;
                thread::sleep(random_moment(0..scale(4_000, 15_000)));
                let committed = road.committed()?;
                telegraf.kill()?;
                in_flight.push(committed.saturating_sub(road.stored()?));
                telegraf.restart()?;
            }
            Ok(in_flight)
        })?;
        ensure!(in_flight.iter().any(|count| *count > 0), "no kill found a message that only Telegraf had");
        let verdict = road.verdict(&telegraf, produced)?;
        let measured = format_args!("5 kills at 500/s, with {in_flight:?} messages that Kafka had done with");
        report("SIGKILL of Telegraf", measured, &verdict, start);
        verdict.ensure_nothing_lost()
    });
}

#[test]
fn the_worker_killed_five_times_loses_none() {
    let _turn = turn();
    stack::test("worker-killed", |dir| {
        let start = Instant::now();
        let road = Road::start(dir, 1)?;
        let telegraf = road.telegraf(shipped_configuration(), &[])?;
        let kill = || -> Result<()> {
            let worker = Processor::of(&telegraf)?.worker;
            worker.kill()?;
            worker.wait(LONG)
        };
        let (produced, ()) = road.under_load(0, 500, || {
            for _ in 0..5 {
                road.wait_for_progress(&telegraf, 500)?;
                thread::sleep(random_moment(0..scale(2_000, 10_000)));
                kill()?;
            }
            Ok(())
        })?;
        // At 500 messages/s it mostly waits for the next one; in a backlog it is always in the midst of some.
        let backlog = scale(200_000, 1_000_000);
        road.kafka.produce(TOPIC, (produced..produced + backlog).map(message))?;
        let mut left = Vec::new();
        for part in 1..=5 {
            let committed = road.wait_for_committed(&telegraf, produced + part * backlog / 8)?;
            ensure!(committed < produced + backlog, "all messages were consumed before kill {part} in the backlog");
            left.push(produced + backlog - committed);
            kill()?;
        }
        let verdict = road.verdict(&telegraf, produced + backlog)?;
        let measured = format_args!("5 kills at 500/s, and 5 with {left:?} messages to go");
        report("SIGKILL of the worker", measured, &verdict, start);
        verdict.ensure_nothing_lost()
    });
}

/// Telegraf itself drops what it reads while it has no child. No child can help that; what it takes until the next one
/// runs, and what comes in that time, is measured here.
#[test]
fn the_supervisor_killed_five_times_costs_what_telegraf_reads_meanwhile() {
    let _turn = turn();
    stack::test("supervisor-killed", |dir| {
        const RATE: usize = 500;
        let start = Instant::now();
        let road = Road::start(dir, 1)?;
        let telegraf = road.telegraf(shipped_configuration(), &[])?;
        let (produced, gaps) = road.under_load(0, RATE, || {
            let mut gaps = Vec::new();
            for _ in 0..5 {
                road.wait_for_progress(&telegraf, RATE)?;
                thread::sleep(random_moment(0..scale(2_000, 10_000)));
                let before = Processor::of(&telegraf)?;
                let killed = Instant::now();
                before.supervisor.kill()?;
                before.supervisor.wait(LONG)?;
                Processor::of(&telegraf)?;
                gaps.push(killed.elapsed());
            }
            Ok(gaps)
        })?;
        let verdict = road.verdict(&telegraf, produced)?;
        let dropped = telegraf.log().matches("error writing to process stdin").count();
        let measured = format_args!(
            "5 kills at {RATE}/s, the next one ran after {gaps:.2?}, Telegraf says that it dropped {dropped}"
        );
        report("SIGKILL of the supervisor", measured, &verdict, start);
        ensure!(verdict.missing.len() <= dropped && verdict.extra == 0, "{verdict}, but Telegraf dropped {dropped}");
        // What comes between the death and the next start, and for each kill what Telegraf delivers in one go, which is
        // what came in half a second at most.
        let gap: Duration = gaps.iter().sum();
        let bound = (gap.as_secs_f64() * RATE as f64) as usize + gaps.len() * RATE / 2;
        ensure!(dropped <= bound, "Telegraf dropped {dropped} messages, and should {bound} at most");
        Ok(())
    });
}

#[test]
fn an_outage_of_influxdb_in_which_telegraf_is_killed_loses_none() {
    let _turn = turn();
    stack::test("outage", |dir| {
        const RATE: usize = 2_000;
        let start = Instant::now();
        let road = Road::start(dir, 1)?;
        let outage = Duration::from_secs(scale(15, 90));
        // Smaller than what comes during the outage.
        let limit = scale(15_000, 100_000);
        let telegraf = road.telegraf(configuration(dir, "outage.conf", &[(BUFFER, &buffer(limit))])?, &[])?;
        let (produced, (only_telegraf, behind)) = road.under_load(0, RATE, || {
            road.wait_for_progress(&telegraf, RATE)?;
            let stored = road.stored()?;
            road.influxdb.terminate()?;
            thread::sleep(outage);
            let committed = road.committed()?;
            let end = road.kafka.end_offsets(TOPIC)?.iter().sum::<i64>() as usize;
            telegraf.kill()?;
            road.influxdb.restart()?;
            let stored_then = road.stored()?;
            ensure!(stored_then < stored + 2 * RATE, "InfluxDB was not down");
            telegraf.restart()?;
            Ok((committed.saturating_sub(stored_then), end - stored_then))
        })?;
        ensure!(only_telegraf > 0, "the kill found no message that only Telegraf had");
        ensure!(behind > limit, "the outage was too short to fill Telegraf's buffer: {behind} messages");
        let verdict = road.verdict(&telegraf, produced)?;
        let measured = format_args!(
            "{outage:?} at {RATE}/s, metric_buffer_limit {limit}; at its end {behind} messages were not stored, and with \
             {only_telegraf} of them Kafka had done"
        );
        report("InfluxDB down, then SIGKILL of Telegraf", measured, &verdict, start);
        verdict.ensure_nothing_lost()
    });
}

/// How a Telegraf of its own, with an InfluxDB of its own, catches up with all that is in the topic: the points stored
/// per second from the first to the last one, and what came of the messages.
fn catch_up(kafka: &Kafka, dir: &Dir, configuration: &Path, name: &str, count: usize) -> Result<(f64, Verdict)> {
    let influxdb = Influxdb::start(dir)?;
    let mut variables = environment(dir, kafka.broker(), influxdb.url());
    variables.push(("KAFKA_CONSUMER_GROUP", name.to_owned()));
    variables.push(("ALGORITHMIA_JOURNAL", dir.path().join(format!("journal-{name}")).display().to_string()));
    let telegraf = Telegraf::start(dir, configuration, variables)?;
    // The last look at an empty InfluxDB, and the first look at the last point.
    let (mut first, mut last) = (Instant::now(), Instant::now());
    let mut stored = 0;
    loop {
        telegraf.ensure_running()?;
        let now = Instant::now();
        let count_now = influxdb.count(BUCKET, "algorithmia", "request_id")? as usize;
        if count_now == 0 {
            first = now;
        }
        if count_now != stored {
            (stored, last) = (count_now, Instant::now());
        }
        // The flush_interval is a second here.
        let quiet = last.elapsed() > QUIET / 4 && kafka.lag(name, TOPIC)? == 0;
        if stored >= count || quiet {
            break;
        }
        ensure!(last.elapsed() < LONG, "nothing more comes, and there is more in Kafka");
        thread::sleep(Duration::from_millis(200));
    }
    telegraf.terminate()?;
    Ok((stored as f64 / (last - first).as_secs_f64(), Verdict::of(&influxdb, count)?))
}

/// What flow control may cost.
const LEAST_RATIO: f64 = 0.8;

fn backlog_is_caught_up(limit: usize) {
    let _turn = alone();
    stack::test("backlog", |dir| {
        let start = Instant::now();
        let count = scale(200_000, 1_000_000);
        let kafka = Kafka::start(dir)?;
        kafka.create_topic(TOPIC, 1)?;
        kafka.produce(TOPIC, messages(count))?;
        let limited = buffer(limit);
        // Several batches have to fit in, as telegraf.conf says; Telegraf's defaults are 1,000 of 10,000.
        let batch = format!("metric_batch_size = {}", 5_000.min(limit / 10));
        let changes = [(BUFFER, limited.as_str()), ("metric_batch_size = 5000", &batch)];
        let shipped = configuration(dir, "shipped.conf", &changes)?;
        let unheld = configuration(dir, "unheld.conf", &[changes[0], changes[1], (FLOW_CONTROL, "")])?;
        // Without flow control Telegraf drops points; how fast InfluxDB takes them shows where they all have room.
        let roomy = buffer(2 * count);
        let free = configuration(dir, "free.conf", &[(BUFFER, &roomy), changes[1], (FLOW_CONTROL, "")])?;
        let lost = catch_up(&kafka, dir, &unheld, "unheld", count)?.1.missing.len();
        let mut pairs = Vec::new();
        // The machine has other things to do, more at one time than at another: neighbours are compared, and when the
        // middle one of three pairs is slow, more are asked.
        let (ratio, verdict) = loop {
            let round = pairs.len();
            let (free, verdict) = catch_up(&kafka, dir, &free, &format!("free-{round}"), count)?;
            verdict.ensure_nothing_lost()?;
            let (held, verdict) = catch_up(&kafka, dir, &shipped, &format!("held-{round}"), count)?;
            verdict.ensure_nothing_lost()?;
            pairs.push((held, free));
            let mut ratios: Vec<f64> = pairs.iter().map(|(held, free)| held / free).collect();
            ratios.sort_by(f64::total_cmp);
            let ratio = ratios[ratios.len() / 2];
            if pairs.len() >= 3 && ratio >= LEAST_RATIO || pairs.len() >= 7 {
                break (ratio, verdict);
            }
        };
        let measured = format_args!(
            "metric_buffer_limit {limit}, {batch}, points/s with and without flow control {pairs:.0?}, ratio {ratio:.2}, \
             {lost} lost without",
        );
        report("backlog", measured, &verdict, start);
        // Whether a larger one overflows is up to how fast this InfluxDB is.
        ensure!(limit > 10_000 || lost > 0, "the backlog went through a buffer of {limit} without flow control, too");
        ensure!(ratio >= LEAST_RATIO, "flow control makes it slow: {ratio:.2}");
        Ok(())
    });
}

#[test]
fn a_backlog_with_a_buffer_of_10000_loses_none_at_full_speed() {
    backlog_is_caught_up(10_000);
}

#[test]
fn a_backlog_with_a_buffer_of_100000_loses_none_at_full_speed() {
    backlog_is_caught_up(100_000);
}

#[test]
fn an_influxdb_slower_than_kafka_loses_none() {
    let _turn = turn();
    stack::test("slow", |dir| {
        let start = Instant::now();
        let road = Road::start(dir, 1)?;
        let address = road.influxdb.url().strip_prefix("http://").context("an address")?;
        let proxy = Proxy::start(address)?;
        // Telegraf waits 5 s for an answer, and has to get a batch of 5,000 points through in that time.
        proxy.limit(Some(50_000));
        let slow = Duration::from_secs(scale(20, 300));
        let count = scale(300_000, 1_500_000);
        road.kafka.produce(TOPIC, messages(count))?;
        let telegraf =
            road.telegraf(shipped_configuration(), &[("INFLUX_HOST", format!("http://{}", proxy.address()))])?;
        road.wait_for_progress(&telegraf, 1)?;
        let begin = Instant::now();
        thread::sleep(slow);
        telegraf.ensure_running()?;
        let (stored, bytes, elapsed) = (road.stored()?, proxy.forwarded(), begin.elapsed().as_secs_f64());
        proxy.limit(None);
        ensure!(stored > 0, "nothing went through in {slow:?}");
        ensure!(count - stored > 150_000, "InfluxDB was not slow enough to fill Telegraf's buffer: {stored} stored");
        let verdict = road.verdict(&telegraf, count)?;
        let measured = format_args!(
            "{:.0} points/s and {:.0} bytes/s in {slow:?}, after which {} messages were still to come",
            stored as f64 / elapsed,
            bytes as f64 / elapsed,
            count - stored,
        );
        report("slow InfluxDB", measured, &verdict, start);
        verdict.ensure_nothing_lost()
    });
}

/// A script that is our binary, but for something that it does to itself before, and how it is run.
fn wrapper(dir: &Dir, name: &str, before: &str, run: &str) -> Result<String> {
    let path = dir.write(name, format!("#!/bin/sh\n{before}\n{run} '{}' \"$@\"\n", fixtures::program()))?;
    fs::set_permissions(&path, Permissions::from_mode(0o755))?;
    Ok(path.display().to_string())
}

/// The lines of Telegraf's log in which our binary says something about the journal.
fn journal_errors(telegraf: &Telegraf) -> Vec<String> {
    let log = telegraf.log();
    let lines = log.lines().filter(|line| line.contains(" E! [processors.execd]") && line.contains("journal"));
    lines.map(str::to_owned).collect()
}

/// The files of a journal, oldest first.
fn segments(journal: &Path) -> Result<Vec<PathBuf>> {
    let files = fs::read_dir(journal).with_context(|| format!("there is no {}", journal.display()))?;
    let mut files = files.map(|file| Ok(file?.path())).collect::<Result<Vec<_>>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "lp"));
    files.sort();
    Ok(files)
}

/// Runs a Telegraf with a journal that cannot be written (any more), and then one whose journal is well again, with all
/// calls so far and more, and gives how many there are now.
fn goes_on_without_journal(
    road: &Road,
    first: usize,
    fault: &str,
    different: (&'static str, String),
    error: &str,
) -> Result<usize> {
    let start = Instant::now();
    let more = scale(20_000, 200_000);
    let (then, end) = (first + more, first + 2 * more);
    road.kafka.produce(TOPIC, (first..then).map(message))?;
    let telegraf = road.telegraf(shipped_configuration(), &[different])?;
    let verdict = road.verdict(&telegraf, then)?;
    let said = journal_errors(&telegraf);
    ensure!(
        said.iter().any(|line| line.contains(error)),
        "the fault did not hit, or was not logged:\n{}",
        telegraf.log()
    );
    report(fault, format_args!("logged {} times as {:?}", said.len(), said[0]), &verdict, start);
    verdict.ensure_nothing_lost()?;

    // What the fault has left behind does no harm to the next one.
    let telegraf = road.telegraf(shipped_configuration(), &[])?;
    road.kafka.produce(TOPIC, (then..end).map(message))?;
    road.wait_for_committed(&telegraf, then + 1)?;
    telegraf.kill()?;
    telegraf.restart()?;
    road.verdict(&telegraf, end)?.ensure_nothing_lost()?;
    Ok(end)
}

#[test]
fn a_full_disk_under_the_journal_loses_none() {
    let _turn = turn();
    stack::test("full-disk", |dir| {
        let road = Road::start(dir, 1)?;
        // 64 KiB for each file, in blocks of 512 bytes: beyond them a write fails as on a full disk, with another error.
        let limited = wrapper(dir, "limited", "ulimit -f 128", "exec")?;
        let limited = ("TELEGRAF_ALGORITHMIA", limited);
        let count = goes_on_without_journal(&road, 0, "full disk", limited, "File too large")?;

        // A real full disk takes a file system of our own, which not everybody may have.
        let own = "exec unshare -rm \
                   sh -c 'mount -t tmpfs -o size=2m,mode=700 tmpfs \"$ALGORITHMIA_JOURNAL\" && exec \"$0\" \"$@\"'";
        let mut trial = Command::new("sh");
        trial.args(["-c", &format!("{own} true")]).env("ALGORITHMIA_JOURNAL", road.journal());
        let trial = trial.output()?;
        if !trial.status.success() {
            let reason = String::from_utf8_lossy(&trial.stderr).trim().to_owned();
            eprintln!("[reliability] small file system: NOT TESTED, as none may be mounted: {reason}");
            return Ok(());
        }
        let small = ("TELEGRAF_ALGORITHMIA", wrapper(dir, "small", "", own)?);
        goes_on_without_journal(&road, count, "small file system", small, "No space left").map(drop)
    });
}

#[test]
fn a_journal_folder_that_cannot_be_written_loses_none() {
    let _turn = turn();
    stack::test("no-folder", |dir| {
        let road = Road::start(dir, 1)?;
        // Not even root can make a folder below a file.
        let impossible = dir.write("file", "")?.join("journal");
        let impossible = ("ALGORITHMIA_JOURNAL", impossible.display().to_string());
        let count = goes_on_without_journal(&road, 0, "no folder", impossible, "Not a directory")?;

        let locked = dir.path().join("locked");
        fs::create_dir(&locked)?;
        fs::set_permissions(&locked, Permissions::from_mode(0o500))?;
        // Root may write there all the same, but not below /proc.
        let (folder, error) = match fs::write(locked.join("trial"), "") {
            Err(_) => (locked, "Permission denied"),
            Ok(()) => (PathBuf::from("/proc/telegraf-algorithmia"), "No such file"),
        };
        let folder = ("ALGORITHMIA_JOURNAL", folder.display().to_string());
        goes_on_without_journal(&road, count, "no permission", folder, error).map(drop)
    });
}

/// Cuts a journal's segment within its last batch of calls, and gives these: a line that starts with `#` stands before
/// each batch.
fn cut_last_batch(segment: &Path) -> Result<BTreeSet<usize>> {
    const ID: &str = "request_id=\"req-";
    let text = fs::read_to_string(segment)?;
    let cut = text.rfind(ID).context("the journal has no calls")?;
    let start = text[..cut].rfind("\n#").unwrap_or(0);
    fs::File::options().write(true).open(segment)?.set_len(cut as u64)?;
    let ids = text[start..].split(ID).skip(1);
    Ok(ids.filter_map(|rest| rest.split('"').next()?.parse().ok()).collect())
}

#[test]
fn a_journal_cut_in_its_last_batch_gives_back_all_others() {
    let _turn = turn();
    stack::test("cut-journal", |dir| {
        let start = Instant::now();
        let road = Road::start(dir, 1)?;
        let slow = ("flush_interval = \"1s\"", "flush_interval = \"10s\"");
        let telegraf = road.telegraf(configuration(dir, "slow.conf", &[slow])?, &[])?;
        let (produced, ()) = road.under_load(0, 500, || road.wait_for_progress(&telegraf, 1_500).map(drop))?;
        road.wait_for_committed(&telegraf, produced)?;
        let processor = Processor::of(&telegraf)?;
        processor.supervisor.kill()?;
        // Without its supervisor it ends by itself, perhaps before the signal reaches it.
        let _ = processor.worker.kill();
        telegraf.kill()?;
        processor.supervisor.wait(LONG)?;
        processor.worker.wait(LONG)?;
        let in_flight = produced - road.stored()?;

        let segment = segments(&road.journal())?.pop().context("the journal has no file")?;
        let lost = cut_last_batch(&segment)?;
        ensure!(lost.len() < in_flight, "{} of {in_flight} are in the last batch", lost.len());

        telegraf.restart()?;
        let verdict = road.verdict(&telegraf, produced)?;
        let measured = format_args!(
            "all killed at once with {in_flight} messages only in the journal, {} of them in its last batch, which was cut",
            lost.len()
        );
        report("cut journal", measured, &verdict, start);
        ensure!(
            verdict.missing.is_subset(&lost) && verdict.extra == 0,
            "{verdict}, but {} in the last batch",
            lost.len()
        );
        Ok(())
    });
}

#[test]
fn restarts_of_kafka_lose_none() {
    let _turn = turn();
    stack::test("kafka-restarts", |dir| {
        let start = Instant::now();
        let road = Road::start(dir, 1)?;
        let telegraf = road.telegraf(shipped_configuration(), &[])?;
        let (produced, left) = road.under_load(0, scale(1_000, 2_000), || {
            let mut left = Vec::new();
            for kill in [false, true] {
                road.wait_for_progress(&telegraf, 1_000)?;
                let lag = wait_for("messages in flight", LONG, || {
                    let lag = road.kafka.lag(GROUP, TOPIC)?;
                    Ok((lag > 0).then_some(lag))
                })?;
                left.push(lag);
                if kill {
                    road.kafka.kill()?
                } else {
                    road.kafka.terminate()?
                };
                thread::sleep(Duration::from_secs(scale(2, 30)));
                road.kafka.restart()?;
            }
            road.wait_for_progress(&telegraf, 1_000)?;
            Ok(left)
        })?;
        let verdict = road.verdict(&telegraf, produced)?;
        let measured = format_args!("SIGTERM and SIGKILL of the broker with {left:?} messages to go");
        report("Kafka restarted", measured, &verdict, start);
        verdict.ensure_nothing_lost()
    });
}

#[test]
fn a_second_telegraf_that_joins_and_leaves_loses_none() {
    let _turn = turn();
    stack::test("rebalance", |dir| {
        let start = Instant::now();
        let road = Road::start(dir, 4)?;
        let first = road.telegraf(shipped_configuration(), &[])?;
        let shares = |expected: &[usize]| {
            wait_for(&format!("the partitions to be shared as {expected:?}"), LONG, || {
                first.ensure_running()?;
                Ok((road.kafka.shares(GROUP, TOPIC)? == expected).then_some(()))
            })
        };
        let rate = scale(2_000, 5_000);
        // Each needs a journal of its own.
        let journal = ("ALGORITHMIA_JOURNAL", dir.path().join("journal-2").display().to_string());
        let (produced, second) = road.under_load(0, rate, || {
            shares(&[4])?;
            road.wait_for_progress(&first, rate)?;
            let second = road.telegraf(shipped_configuration(), &[journal])?;
            shares(&[2, 2])?;
            road.wait_for_progress(&first, 2 * rate)?;
            second.terminate()?;
            shares(&[4])?;
            road.wait_for_progress(&first, rate)?;
            second.restart()?;
            shares(&[2, 2])?;
            road.wait_for_progress(&first, 2 * rate)?;
            second.kill()?;
            shares(&[4])?;
            road.wait_for_progress(&first, rate)?;
            // What it had taken is in its journal.
            second.restart()?;
            shares(&[2, 2])?;
            Ok(second)
        })?;
        road.settle(&first, produced)?;
        second.terminate()?;
        let verdict = road.verdict(&first, produced)?;
        let measured = format_args!("at {rate}/s a second Telegraf joined, left, joined, was killed and came back");
        report("rebalance", measured, &verdict, start);
        verdict.ensure_nothing_lost()
    });
}

#[test]
fn calls_of_all_times_delivered_three_times_by_two_hosts_are_stored_once() {
    let _turn = turn();
    stack::test("deliveries", |dir| {
        // From the first to the last day that InfluxDB has whole.
        const DAYS: [&str; 9] = [
            "1677-09-22",
            "1850-02-28",
            "1969-12-31",
            "1970-01-01",
            "2000-02-29",
            "2021-02-20",
            "2038-01-19",
            "2106-02-07",
            "2262-04-10",
        ];
        let start = Instant::now();
        let count = 10_000;
        let road = Road::start(dir, 1)?;
        let messages: Vec<_> = (0..count).map(|index| message_at(index, DAYS[index % DAYS.len()])).collect();
        road.kafka.produce(TOPIC, &messages)?;
        let proxy = Proxy::start(road.influxdb.url().strip_prefix("http://").context("an address")?)?;
        let mut bytes = Vec::new();
        for (host, group) in [("host-1", "group-1"), ("host-2", "group-2"), ("host-1", "group-3")] {
            let named = format!("[agent]\n  hostname = \"{host}\"");
            let configuration = configuration(dir, &format!("{group}.conf"), &[("[agent]", &named)])?;
            let before = proxy.forwarded();
            let variables = [
                ("INFLUX_HOST", format!("http://{}", proxy.address())),
                ("KAFKA_CONSUMER_GROUP", group.to_owned()),
                ("ALGORITHMIA_JOURNAL", dir.path().join(format!("journal-{host}")).display().to_string()),
            ];
            let telegraf = road.telegraf(configuration, &variables)?;
            wait_for("the consumption of all messages", LONG, || {
                telegraf.ensure_running()?;
                Ok((road.kafka.lag(group, TOPIC)? == 0).then_some(()))
            })?;
            telegraf.terminate()?;
            bytes.push(proxy.forwarded() - before);
        }
        let verdict = Verdict::of(&road.influxdb, count)?;
        let measured =
            format_args!("in {} weeks from 1677 to 2262, {bytes:?} bytes on the way to InfluxDB", DAYS.len());
        report("three deliveries by two hosts", measured, &verdict, start);
        // No packing makes a call as small as this.
        let least = 5 * count as u64;
        ensure!(bytes.iter().all(|bytes| *bytes > least), "not all deliveries were written: {bytes:?} bytes");
        verdict.ensure_nothing_lost()
    });
}
