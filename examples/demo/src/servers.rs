//! The servers of the demo, with the templates applied and Telegraf between them.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use jiff::{RoundMode, SignedDuration, Timestamp, TimestampRound, Unit};
use stack::{BUCKET, Dashboard, Dir, Influxdb, Kafka, ORG, PASSWORD, Receiver, TOKEN, Telegraf, USER, wait_for};

use crate::say;
use crate::view::number;
use fixtures::models::{Fate, Simulation};

pub const TOPIC: &str = "insights";
pub const GROUP: &str = "demo";

/// Several Telegrafs could share them.
const PARTITIONS: i32 = 3;

/// How long Telegraf may take to start reading.
const PATIENCE: Duration = Duration::from_secs(120);

/// History goes out in pieces of this length.
const PIECE: SignedDuration = SignedDuration::from_secs(10);
/// It ends this much before now at most.
const GAP: SignedDuration = SignedDuration::from_millis(200);

const MINUTE: SignedDuration = SignedDuration::from_mins(1);

/// What an hour is to the shipped influxdb-drift.yml, a minute is to the demo, and the new version of the model that drifts is compared
/// with the old one: what is edited, and what it becomes.
const MINUTES: [(&str, &str); 10] = [
    ("every: 1h", "every: 1m"),
    ("offset: 10m", "offset: 10s"),
    ("offset: 20m", "offset: 20s"),
    // The checks.
    ("every: 30m", "every: 30s"),
    ("reference = 7d", "reference = 10m"),
    ("gap = 1d", "gap = 5m"),
    ("enough = 500", "enough = 250"),
    (
        "baseline = [{owner: \"\", name: \"\", version: \"\"}]",
        "baseline = [{owner: \"asli\", name: \"credit_card_approval\", version: \"1.0.6\"}]",
    ),
    ("groupKey = \"\"", "groupKey = \"gender\""),
    // So much the dashboard shows at least.
    ("date.sub(d: 1d, from: v.timeRangeStop)", "date.sub(d: 30m, from: v.timeRangeStop)"),
];

/// So many comparisons, or counts, at the same time: InfluxDB runs all at once that it is asked to run, and would choke.
const TOGETHER: usize = 2;

/// All that runs. Telegraf ends first.
pub struct Servers {
    telegraf: Telegraf,
    pub kafka: Kafka,
    pub influxdb: Influxdb,
    /// A web server in place of Slack.
    pub slack: Receiver,
    program: PathBuf,
    logs: PathBuf,
}

/// Builds what is not there yet. That may take long, so there is nothing yet that would have to be cleaned up.
pub fn prepare() -> Result<()> {
    say("servers: from the cache; what is not there is built, once, all of it in about a quarter of an hour");
    stack::kafka_libs()?;
    stack::telegraf_binary()?;
    stack::influx_binary()?;
    stack::influxd_binary()?;
    Ok(())
}

impl Servers {
    /// Starts all of them and applies the templates. An error where that is interrupted.
    pub fn start(dir: &Dir, program: PathBuf, interrupted: &AtomicBool) -> Result<Servers> {
        let proceed = || -> Result<()> {
            ensure!(!interrupted.load(Ordering::SeqCst), "interrupted");
            Ok(())
        };
        let began = Instant::now();
        let kafka = Kafka::start(dir)?;
        kafka.create_topic(TOPIC, PARTITIONS)?;
        say(format!("Kafka runs on {}, after {:.1} s", kafka.broker(), began.elapsed().as_secs_f64()));

        proceed()?;
        let began = Instant::now();
        let influxdb = Influxdb::start(dir)?;
        say(format!("InfluxDB runs on {}, after {:.1} s", influxdb.url(), began.elapsed().as_secs_f64()));

        proceed()?;
        let slack = Receiver::start()?;
        let template = generate(dir, &program, "influxdb-template", &[])?;
        influxdb.apply(&template, &[])?;
        let template = generate(dir, &program, "drift-template", &[])?;
        let text = std::fs::read_to_string(&template)?;
        influxdb.apply(&dir.write("drift-template-of-minutes", minutes(text)?)?, &[])?;
        let slack_url = format!("{}/services/T00000000/B00000000/demo", slack.url());
        let template = generate(dir, &program, "slack-template", &["--slack-url", &slack_url])?;
        influxdb.apply(&template, &[])?;
        let count = |kind: &str| Ok::<_, anyhow::Error>(influxdb.list(kind)?.len());
        say(format!(
            "influxdb-template.yml and influxdb-drift.yml are applied: {} dashboards, {} variables, {} checks",
            count("dashboards")?,
            count("variables")?,
            count("checks")?
        ));
        say(format!("influxdb-slack.yml is applied, with {slack_url} in place of Slack"));

        let conf = generate(dir, &program, "telegraf-conf", &[])?;
        let telegraf = Telegraf::start(dir, conf, environment(dir, &program, &kafka, &influxdb))?;
        let readers = || -> Result<Option<()>> {
            proceed()?;
            telegraf.ensure_running()?;
            Ok((!kafka.shares(GROUP, TOPIC)?.is_empty()).then_some(()))
        };
        wait_for("Telegraf to read from Kafka", PATIENCE, readers)?;
        say(format!("Telegraf runs with the shipped telegraf.conf and with {}", program.display()));
        Ok(Servers { telegraf, kafka, influxdb, slack, program, logs: dir.path().to_owned() })
    }

    /// An error if any of them has ended.
    pub fn ensure_running(&self) -> Result<()> {
        self.kafka.ensure_running()?;
        self.influxdb.ensure_running()?;
        self.telegraf.ensure_running()
    }

    /// Writes the calls from `first` up to now by hand, past Kafka and Telegraf: `telegraf-algorithmia | influx write`. So
    /// the pipeline's own statistics tell of what is new only. Hands over the request_id of each, and gives the time up to
    /// which they are written. An error where that is interrupted.
    pub fn write_history(
        &self,
        simulation: &mut Simulation,
        first: Timestamp,
        interrupted: &AtomicBool,
        written: &mut impl FnMut(String),
    ) -> Result<Timestamp> {
        let began = Instant::now();
        let log_path = self.logs.join("history.log");
        let log = File::create(&log_path).with_context(|| format!("cannot write {}", log_path.display()))?;
        let mut converter = Command::new(&self.program)
            .args(["--input", "json", "--strict"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log.try_clone()?)
            .spawn()
            .with_context(|| format!("cannot run {}", self.program.display()))?;
        let points = converter.stdout.take().context("the program has no stdout")?;
        let mut messages = BufWriter::new(converter.stdin.take().context("the program has no stdin")?);
        let mut writer = {
            // Not to outlive this: with its end of the pipe open here, the program would not notice the death of influx.
            let mut command = self.influxdb.cli(["write", "--bucket", BUCKET])?;
            command.stdin(points).stdout(log.try_clone()?).stderr(log).spawn().context("cannot run influx")?
        };

        let mut count = 0;
        let mut end = first;
        let mut feed = || -> std::io::Result<()> {
            // Time goes on meanwhile.
            while Timestamp::now().duration_since(end) > GAP && !interrupted.load(Ordering::SeqCst) {
                end = Timestamp::now().min(end + PIECE);
                for message in simulation.until(end) {
                    messages.write_all(&message.text)?;
                    messages.write_all(b"\n")?;
                    count += 1;
                    if let Fate::Point { request } = message.fate {
                        written(request);
                    }
                }
                messages.flush()?;
            }
            Ok(())
        };
        let fed = feed();
        drop(messages);
        let said = || std::fs::read_to_string(&log_path).unwrap_or_default();
        for (name, process) in [("telegraf-algorithmia", &mut converter), ("influx write", &mut writer)] {
            let status = process.wait()?;
            ensure!(status.success(), "the history was not written: {name} ended with {status}\n{}", said());
        }
        fed.context("the history was not written")?;
        ensure!(!interrupted.load(Ordering::SeqCst), "interrupted");
        let minutes = end.duration_since(first).as_secs_f64() / 60.0;
        let seconds = began.elapsed().as_secs_f64();
        say(format!("{} calls of {minutes:.1} minutes are written by hand, in {seconds:.1} s", number(count)));
        Ok(end)
    }

    /// Has so many minutes before `end` counted, and so many compared, which without this would have happened as they
    /// passed. An error where that is interrupted.
    pub fn compare_history(&self, end: Timestamp, counted: i32, compared: i32, interrupted: &AtomicBool) -> Result<()> {
        let began = Instant::now();
        let last = end.round(TimestampRound::new().smallest(Unit::Minute).mode(RoundMode::Trunc))?;
        for (name, count) in [("Drift - Histograms", counted), ("Drift - Measures", compared)] {
            let task = &self.influxdb.task(name)?;
            let ticks = (0..count).rev().map(|ago| last - MINUTE * ago).collect::<Vec<_>>();
            // The first lays the edges that the others count at.
            let (first, others) = ticks.split_at(1);
            for ticks in std::iter::once(first).chain(others.chunks(TOGETHER)) {
                ensure!(!interrupted.load(Ordering::SeqCst), "interrupted");
                thread::scope(|scope| {
                    let run = |tick: &Timestamp| {
                        let tick = *tick;
                        scope.spawn(move || self.influxdb.run_task(task, Some(tick)))
                    };
                    let runs = ticks.iter().map(run).collect::<Vec<_>>();
                    let ended =
                        |run: thread::ScopedJoinHandle<'_, Result<_>>| run.join().map_err(|_| anyhow!("a panic"))?;
                    runs.into_iter().try_for_each(|run| ended(run).map(drop))
                })?;
            }
        }
        let seconds = began.elapsed().as_secs_f64();
        say(format!("{counted} minutes are counted, and the last {compared} compared, in {seconds:.1} s"));
        Ok(())
    }

    /// Where everything is.
    pub fn addresses(&self) -> [String; 3] {
        [
            format!("InfluxDB  {}  user {USER}, password {PASSWORD}, organization {ORG}", self.influxdb.url()),
            format!("Kafka     {}  topic {TOPIC}", self.kafka.broker()),
            format!("Logs      {}  until the demo ends", self.logs.display()),
        ]
    }

    /// How to look around in InfluxDB.
    pub fn directions(&self) -> Result<Vec<String>> {
        let url = self.influxdb.url();
        if has_ui(url) {
            let org = self.influxdb.org_id();
            let dashboards = self.influxdb.dashboards()?;
            let link =
                |dashboard: Dashboard| format!("{url}/orgs/{org}/dashboards/{}  {}", dashboard.id, dashboard.name);
            return Ok(dashboards.into_iter().map(link).collect());
        }
        let influx = stack::influx_binary()?;
        Ok(vec![
            "This InfluxDB is built from its Go module, and has no web UI. To look around in another terminal:".to_owned(),
            format!("export INFLUX_HOST={url} INFLUX_ORG={ORG} INFLUX_TOKEN={TOKEN}"),
            format!("alias influx='{}'", influx.display()),
            "influx dashboards".to_owned(),
            format!("influx query 'from(bucket: \"{BUCKET}\") |> range(start: -10s)'"),
            "influx query 'from(bucket: \"_monitoring\") |> range(start: -5m) |> filter(fn: (r) => r._level == \"crit\")'"
                .to_owned(),
        ])
    }
}

/// The template of the drift with minutes for hours.
fn minutes(mut template: String) -> Result<String> {
    for (text, edited) in MINUTES {
        ensure!(template.contains(text), "influxdb-drift.yml has no {text:?}: what is the demo to edit?");
        template = template.replace(text, edited);
    }
    Ok(template)
}

/// Has the program write one of the files that it carries.
fn generate(dir: &Dir, program: &Path, kind: &str, options: &[&str]) -> Result<PathBuf> {
    let output = Command::new(program)
        .args(["generate", kind])
        .args(options)
        .output()
        .with_context(|| format!("cannot run {}", program.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "telegraf-algorithmia generate {kind} failed ({}): {said}", output.status);
    dir.write(kind, output.stdout)
}

/// What the shipped telegraf.conf wants to know.
fn environment(dir: &Dir, program: &Path, kafka: &Kafka, influxdb: &Influxdb) -> [(&'static str, String); 9] {
    [
        ("KAFKA_BROKER", kafka.broker().to_owned()),
        ("KAFKA_TOPIC", TOPIC.to_owned()),
        ("KAFKA_CONSUMER_GROUP", GROUP.to_owned()),
        ("INFLUX_HOST", influxdb.url().to_owned()),
        ("INFLUX_TOKEN", TOKEN.to_owned()),
        ("INFLUX_ORG", ORG.to_owned()),
        ("INFLUX_BUCKET", BUCKET.to_owned()),
        ("TELEGRAF_ALGORITHMIA", program.display().to_string()),
        ("ALGORITHMIA_JOURNAL", dir.path().join("journal").display().to_string()),
    ]
}

/// Whether an InfluxDB has its web UI: built from its Go module it has not.
fn has_ui(url: &str) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(url.trim_start_matches("http://"))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok(status.ends_with(b" 200"))
    };
    ask().unwrap_or(false)
}
