//! What the tests of the whole road share: Kafka, a Telegraf that runs the shipped telegraf.conf and our binary, InfluxDB.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fixtures::{program, repository};
use influxdb_line_protocol::{FieldValue, parse_lines};
use jiff::{SignedDuration, Timestamp};
use stack::{BUCKET, Dashboard, Dir, Influxdb, ORG, Point, Row, TOKEN, Value};

pub const TOPIC: &str = "insights";
pub const GROUP: &str = "telegraf";

/// How long a condition may take on the slowest machine.
pub const LONG: Duration = Duration::from_secs(300);

/// Who works, and who is next.
struct Turns {
    /// The places that are taken.
    taken: usize,
    /// How many have come, and how many of them have had their turn: nobody is overtaken.
    come: u64,
    served: u64,
}

static TURNS: Mutex<Turns> = Mutex::new(Turns { taken: 0, come: 0, served: 0 });
static CHANGE: Condvar = Condvar::new();

/// A test's right to work, until it is dropped.
pub struct Turn(usize);

impl Turn {
    fn take(places: usize, of: usize) -> Turn {
        let mut turns = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
        let number = turns.come;
        turns.come += 1;
        let not_yet = |turns: &mut Turns| turns.served != number || turns.taken + places > of;
        turns = CHANGE.wait_while(turns, not_yet).unwrap_or_else(PoisonError::into_inner);
        turns.served += 1;
        turns.taken += places;
        CHANGE.notify_all();
        Turn(places)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        TURNS.lock().unwrap_or_else(PoisonError::into_inner).taken -= self.0;
        CHANGE.notify_all();
    }
}

/// Two tests for each core: half of the time they wait for servers to start and to settle.
fn places() -> usize {
    2 * thread::available_parallelism().map_or(1, usize::from)
}

/// Waits until there is a core for this test. A test that mostly waits itself, for clocks or for time limits, takes no turn.
pub fn turn() -> Turn {
    Turn::take(1, places())
}

/// Waits until no other test works, for one that measures how fast something is.
pub fn alone() -> Turn {
    Turn::take(places(), places())
}

/// The Flux of a task in the text of a template.
pub fn flux_of(template: &str, task: &str) -> Result<String> {
    let of_task = |part: &&str| part.contains("\nkind: Task\n") && part.contains(&format!("\n  name: {task}\n"));
    let part = template.split("\n---\n").find(of_task).with_context(|| format!("there is no task {task}"))?;
    let (_, rest) = part.split_once("  query: |-\n").context("the task has no query")?;
    let (query, _) = rest.split_once("\n  associations:").context("the query has no end")?;
    Ok(query.lines().map(|line| line.strip_prefix("    ").unwrap_or(line)).collect::<Vec<_>>().join("\n"))
}

/// The Flux of a task as a query that does what the task does at a tick.
pub fn at(flux: &str, tick: Timestamp) -> Result<String> {
    let (imports, rest) = flux.split_once("\n\n").context("there are no imports")?;
    Ok(format!("{imports}\noption now = () => {tick}\n{rest}"))
}

/// When the minute at hand began.
pub fn this_minute() -> Result<Timestamp> {
    Ok(Timestamp::from_second(Timestamp::now().as_second() / 60 * 60)?)
}

/// A full minute, some hours ago.
pub fn hours_ago() -> Result<Timestamp> {
    Ok(this_minute()? - SignedDuration::from_hours(5))
}

/// Has InfluxDB run a task, or that of a check, no more by itself.
pub fn stop_task(influxdb: &Influxdb, id: &str) -> Result<()> {
    let stop = influxdb.cli(["task", "update", "--id", id, "--status", "inactive"])?.output()?;
    ensure!(stop.status.success(), "{}", String::from_utf8_lossy(&stop.stderr));
    Ok(())
}

/// Has InfluxDB run none of its checks by itself.
pub fn stop_checks(influxdb: &Influxdb) -> Result<()> {
    for check in influxdb.list("checks")? {
        stop_task(influxdb, check["taskID"].as_str().context("the check has no task")?)?;
    }
    Ok(())
}

/// Gives InfluxDB a secret in the way that the templates tell.
pub fn keep_secret(influxdb: &Influxdb, key: &str, value: &str) -> Result<()> {
    let mut command = influxdb.cli(["secret", "update", "--key", key])?;
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    child.stdin.take().context("no input")?.write_all(value.as_bytes())?;
    ensure!(child.wait()?.success(), "influx does not take the secret {key}");
    Ok(())
}

/// Whether tests that can be made longer should be: ALGORITHMIA_LONG_TESTS=1.
pub fn long_tests() -> bool {
    std::env::var("ALGORITHMIA_LONG_TESTS").is_ok_and(|value| value == "1")
}

pub fn shipped_configuration() -> PathBuf {
    repository("telegraf/telegraf.conf")
}

/// What the shipped telegraf.conf wants to know.
pub fn environment(dir: &Dir, kafka: &str, influxdb: &str) -> Vec<(&'static str, String)> {
    vec![
        ("KAFKA_BROKER", kafka.to_owned()),
        ("KAFKA_TOPIC", TOPIC.to_owned()),
        ("KAFKA_CONSUMER_GROUP", GROUP.to_owned()),
        ("INFLUX_HOST", influxdb.to_owned()),
        ("INFLUX_TOKEN", TOKEN.to_owned()),
        ("INFLUX_ORG", ORG.to_owned()),
        ("INFLUX_BUCKET", BUCKET.to_owned()),
        ("TELEGRAF_ALGORITHMIA", program().to_owned()),
        ("ALGORITHMIA_JOURNAL", dir.path().join("journal").display().to_string()),
    ]
}

/// A copy of one of the templates in `telegraf` with some of its text replaced, as a user would: what by what, and how
/// often it is there.
pub fn edited(dir: &Dir, name: &str, edits: &[(&str, &str, usize)]) -> Result<PathBuf> {
    let mut text = fs::read_to_string(repository("telegraf").join(name))?;
    for (from, to, times) in edits {
        ensure!(text.matches(from).count() == *times, "{from:?} is not {times} times in {name}");
        text = text.replace(from, to);
    }
    dir.write(name, text)
}

/// No cell lies on another, or is cut off.
pub fn ensure_apart(dashboards: &[Dashboard]) -> Result<()> {
    for dashboard in dashboards {
        let mut taken = BTreeSet::new();
        for cell in &dashboard.cells {
            ensure!(cell.x >= 0 && cell.x + cell.w <= 12, "{} is not within the 12 columns", cell.name);
            for place in (cell.x..cell.x + cell.w).flat_map(|x| (cell.y..cell.y + cell.h).map(move |y| (x, y))) {
                ensure!(taken.insert(place), "{}: {} lies on another cell", dashboard.name, cell.name);
            }
        }
    }
    Ok(())
}

/// The names of all measurements in the bucket, but for the processor's reports of itself, which come when they come.
pub fn measurements(influxdb: &Influxdb) -> Result<BTreeSet<String>> {
    let flux = format!("import \"influxdata/influxdb/schema\" schema.measurements(bucket: \"{BUCKET}\", start: 0)");
    let rows = influxdb.query(&flux)?;
    let names = rows.iter().filter_map(|row| match row.get("_value") {
        Some(Value::String(name)) if name != "algorithmia_processor" => Some(name.clone()),
        _ => None,
    });
    Ok(names.collect())
}

/// The points of a text of line protocol, with the types of its fields.
pub fn points(line_protocol: &str) -> Vec<Point> {
    let points = parse_lines(line_protocol).map(|line| {
        let line = line.unwrap();
        let tags = line.series.tag_set.iter().flatten();
        Point {
            measurement: line.series.measurement.to_string(),
            tags: tags.map(|(key, value)| (key.to_string(), value.to_string())).collect(),
            fields: line
                .field_set
                .iter()
                .map(|(key, value)| {
                    let value = match value {
                        FieldValue::F64(value) => Value::Float(*value),
                        FieldValue::I64(value) => Value::Integer(*value),
                        FieldValue::U64(value) => Value::Unsigned(*value),
                        FieldValue::Boolean(value) => Value::Boolean(*value),
                        FieldValue::String(value) => Value::String(value.to_string()),
                    };
                    (key.to_string(), value)
                })
                .collect(),
            time_ns: line.timestamp.unwrap(),
        }
    });
    points.collect()
}

/// A column of text; empty where there is none.
pub fn text(row: &Row, column: &str) -> String {
    match row.get(column) {
        Some(Value::String(text)) => text.clone(),
        _ => String::new(),
    }
}
