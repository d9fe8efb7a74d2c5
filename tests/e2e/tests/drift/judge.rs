//! What InfluxDB should hold, computed by judge.py from the calls, and how that is compared with what it holds.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::{fs::File, io::BufWriter};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::json;
use stack::{BUCKET, Dir, Influxdb, Point, Value, python_binary};

use crate::drift::simulation::{DAY, HOUR, World};
use fixtures::repository;

/// What the tasks are told.
pub struct Options {
    pub interval: i64,
    pub reference: i64,
    pub gap: i64,
    pub enough: usize,
    /// Owner, name and version of the algorithms that are compared with one version.
    pub baseline: Vec<[&'static str; 3]>,
    pub approved: &'static str,
}

impl Default for Options {
    /// As in the template.
    fn default() -> Options {
        Options {
            interval: HOUR,
            reference: 7 * DAY,
            gap: DAY,
            enough: 500,
            baseline: Vec::new(),
            approved: "approved",
        }
    }
}

/// What the tasks write.
pub const MEASUREMENTS: [&str; 4] =
    ["algorithmia_histogram", "algorithmia_summary", "algorithmia_groups", "algorithmia_drift"];

/// Measurement, time and tags of a point.
pub type Key = (String, i64, BTreeMap<String, String>);
pub type Fields = BTreeMap<String, Value>;

/// What judge.py says.
pub struct Verdict {
    pub points: BTreeMap<Key, Fields>,
    /// By how much the measured Kolmogorov-Smirnov statistics are below the exact ones.
    pub ks_losses: Vec<f64>,
}

#[derive(Deserialize)]
struct Answer {
    points: Vec<Expected>,
    ks_losses: Vec<f64>,
}

#[derive(Deserialize)]
struct Expected {
    measurement: String,
    /// Seconds.
    time: i64,
    tags: BTreeMap<String, String>,
    fields: BTreeMap<String, Field>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Field {
    Integer(i64),
    Float(f64),
    Text(String),
}

/// The points that tasks should have written which counted the intervals that end at `counted`, and compared those that
/// end at `compared` with what was before them. At each tenth of these, scipy is asked for the KS statistic, too.
pub fn judge(
    dir: &Dir,
    influxdb: &Influxdb,
    world: &World,
    options: &Options,
    counted: &[i64],
    compared: &[i64],
) -> Result<Verdict> {
    let edges = influxdb.points(BUCKET, "algorithmia_histogram")?;
    let edges = edges.iter().map(|point| json!({"tags": point.tags, "time": point.time_ns / 1_000_000_000}));
    let versions = world.versions.iter().map(|(version, calls)| {
        let mut object = json!(calls.sorted());
        for (key, name) in [("owner", &version.owner), ("name", &version.name), ("version", &version.version)] {
            object[key] = name.as_str().into();
        }
        object
    });
    let baseline =
        options.baseline.iter().map(|[owner, name, version]| json!({"owner": owner, "name": name, "version": version}));
    let case = json!({
        "interval": options.interval,
        "reference": options.reference,
        "gap": options.gap,
        "enough": options.enough,
        "baseline": baseline.collect::<Vec<_>>(),
        "approved": options.approved,
        "versions": versions.collect::<Vec<_>>(),
        "edges": edges.collect::<Vec<_>>(),
        "intervals": counted.iter().map(|stop| stop - options.interval).collect::<Vec<_>>(),
        "ticks": compared,
        "thorough": compared.iter().rev().step_by(10).collect::<Vec<_>>(),
    });
    let path = dir.path().join("case.json");
    serde_json::to_writer(BufWriter::new(File::create(&path)?), &case)?;
    let output = Command::new(python_binary()?)
        .arg("-I")
        .arg(repository("tests/e2e/tests/drift/judge.py"))
        .stdin(File::open(&path)?)
        .stderr(Stdio::piped())
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answer: Answer = serde_json::from_slice(&output.stdout).context("judge.py's answer")?;
    let points = answer.points.into_iter().map(|point| {
        let fields = point.fields.into_iter().map(|(field, value)| match value {
            Field::Integer(number) => (field, Value::Integer(number)),
            Field::Float(number) => (field, Value::Float(number)),
            Field::Text(text) => (field, Value::String(text)),
        });
        ((point.measurement, point.time, point.tags), fields.collect())
    });
    Ok(Verdict { points: points.collect(), ks_losses: answer.ks_losses })
}

/// The points of a measurement that InfluxDB has.
pub fn stored(influxdb: &Influxdb, measurement: &str) -> Result<BTreeMap<Key, Fields>> {
    let points = influxdb.points(BUCKET, measurement)?;
    points
        .into_iter()
        .map(|Point { measurement, mut tags, fields, time_ns }| {
            ensure!(time_ns % 1_000_000_000 == 0, "{measurement} has a point between two seconds: {time_ns}");
            tags.retain(|_, text| !text.is_empty());
            Ok(((measurement, time_ns / 1_000_000_000, tags), fields))
        })
        .collect()
}

/// InfluxDB holds these points of a measurement, and no others. Gives how many.
pub fn ensure_stored(influxdb: &Influxdb, measurement: &str, expected: &BTreeMap<Key, Fields>) -> Result<usize> {
    let stored = stored(influxdb, measurement)?;
    let expected: BTreeMap<_, _> = expected.iter().filter(|((name, ..), _)| name == measurement).collect();
    let mut faults = Vec::new();
    for (key, fields) in &expected {
        match stored.get(*key) {
            None => faults.push(format!("{key:?} is not there: {fields:?}")),
            Some(there) if !same(there, fields) => {
                faults.push(format!("{key:?}\nexpected {fields:?}\n     got {there:?}"))
            }
            Some(_) => {}
        }
    }
    faults.extend(
        stored.iter().filter(|(key, _)| !expected.contains_key(key)).map(|point| format!("not expected: {point:?}")),
    );
    let first = faults.iter().take(5).map(String::as_str).collect::<Vec<_>>().join("\n");
    ensure!(faults.is_empty(), "{} of {} points of {measurement}:\n{first}", faults.len(), expected.len());
    Ok(stored.len())
}

/// InfluxDB holds what the judge says. Gives how many points that are.
pub fn ensure_all_stored(influxdb: &Influxdb, verdict: &Verdict) -> Result<usize> {
    MEASUREMENTS.iter().map(|measurement| ensure_stored(influxdb, measurement, &verdict.points)).sum()
}

/// Floats agree to a billionth, of themselves if they are above 1, and all else is the same.
fn same(one: &Fields, other: &Fields) -> bool {
    one.len() == other.len()
        && one.iter().all(|(field, value)| match (value, other.get(field)) {
            (Value::Float(one), Some(Value::Float(other))) => (one - other).abs() <= 1e-9 * other.abs().max(1.0),
            (value, other) => other == Some(value),
        })
}
