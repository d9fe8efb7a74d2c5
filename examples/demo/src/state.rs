//! What Kafka, InfluxDB and the receiver have at a moment.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use jiff::{SignedDuration, Timestamp};
use stack::{BUCKET, Row, Value};

use crate::servers::{GROUP, Servers, TOPIC};

/// The checks that the story is about.
pub const RISK_SCORE_ALERT: &str = "Risk Score Alert";
pub const DRIFT_ALERT: &str = "Drift Alert";
pub const GROUP_ALERT: &str = "Group Alert";

/// A status that is older is of a model that is not called any more.
const RECENT: SignedDuration = SignedDuration::from_mins(3);

/// An algorithm's owner, its name, and its version.
pub type Key = [String; 3];

const KEY: [&str; 3] = ["algorithm_owner", "algorithm_name", "algorithm_version"];

#[derive(Default)]
pub struct State {
    /// Messages in the topic.
    pub in_kafka: i64,
    /// Of them, those that Telegraf has still to commit.
    pub uncommitted: i64,
    /// Calls in InfluxDB since the demo's start.
    pub points: u64,
    /// Rejected messages there.
    pub rejections: u64,
    pub models: BTreeMap<Key, Model>,
    /// The latest status of each check, model and metric.
    pub statuses: Vec<Status>,
    /// Reports of telegraf-algorithmia so far.
    pub reports: usize,
    pub report: Option<Report>,
    /// What the receiver has got in place of Slack.
    pub deliveries: Vec<Delivery>,
}

/// A model in the last minute.
#[derive(Default)]
pub struct Model {
    pub calls: i64,
    /// Not every model has one.
    pub risk_score: Option<f64>,
    /// The highest of its metrics, in the interval that was compared last.
    pub psi: Option<f64>,
}

#[derive(Clone, Debug)]
pub struct Status {
    pub check: String,
    pub key: Key,
    /// Empty where it is about none in particular.
    pub metric: String,
    pub level: Level,
    pub message: String,
    pub time: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Ok,
    Info,
    Warn,
    Crit,
    Unknown,
}

/// The latest report of telegraf-algorithmia.
pub struct Report {
    pub time: Timestamp,
    /// By their fields.
    pub numbers: BTreeMap<String, i64>,
}

/// A request to the receiver.
pub struct Delivery {
    pub seen: Timestamp,
    pub path: String,
    pub body: String,
}

impl Delivery {
    /// `danger` where something is critical, `good` where it is normal again.
    pub fn color(&self) -> Option<String> {
        self.attachment("color")
    }

    pub fn is_of(&self, check: &str) -> bool {
        self.text().is_some_and(|text| text.contains(&format!(" triggered by check: {check}: ")))
    }

    pub fn text(&self) -> Option<String> {
        self.attachment("text")
    }

    fn attachment(&self, key: &str) -> Option<String> {
        let body = serde_json::from_str::<serde_json::Value>(&self.body).ok()?;
        Some(body["attachments"][0][key].as_str()?.to_owned())
    }
}

impl State {
    /// Looks anew. `start` is when the first call was made that came by Kafka.
    pub fn observe(&mut self, servers: &Servers, start: Timestamp) -> Result<()> {
        servers.ensure_running()?;
        self.in_kafka = servers.kafka.end_offsets(TOPIC)?.iter().sum();
        self.uncommitted = servers.kafka.lag(GROUP, TOPIC)?;
        self.points = count(servers, start, "algorithmia", "duration_milliseconds")?;
        self.rejections = count(servers, start, "algorithmia_rejected", "error")?;
        self.models = models(servers)?;
        self.statuses = statuses(servers, start.max(Timestamp::now() - RECENT), "|> last()")?;
        (self.reports, self.report) = reports(servers, start)?;
        for request in servers.slack.requests().into_iter().skip(self.deliveries.len()) {
            self.deliveries.push(Delivery { seen: Timestamp::now(), path: request.path, body: request.body });
        }
        Ok(())
    }

    /// The worst of the latest statuses of a check for a model.
    pub fn worst(&self, check: &str, key: &Key) -> Option<Level> {
        let statuses = self.statuses.iter().filter(|status| status.check == check && status.key == *key);
        statuses.map(|status| status.level).max()
    }
}

/// All statuses since `start` that a further step of Flux leaves of each check, model and metric, in the order of their times.
pub fn statuses(servers: &Servers, start: Timestamp, step: &str) -> Result<Vec<Status>> {
    let rows = servers.influxdb.query(&format!(
        "from(bucket: \"_monitoring\") |> range(start: {start}) \
         |> filter(fn: (r) => r._measurement == \"statuses\" and r._field == \"_message\") \
         |> group(columns: [\"_check_name\", {}, \"metric\"]) |> sort(columns: [\"_time\"]) {step} \
         |> group() |> sort(columns: [\"_time\"])",
        columns()
    ))?;
    let status = |row: Row| {
        Some(Status {
            check: text(&row, "_check_name"),
            key: key(&row),
            metric: text(&row, "metric"),
            level: Level::from(text(&row, "_level").as_str()),
            message: text(&row, "_value"),
            time: time(&row)?,
        })
    };
    Ok(rows.into_iter().filter_map(status).collect())
}

fn count(servers: &Servers, start: Timestamp, measurement: &str, field: &str) -> Result<u64> {
    let rows = servers.influxdb.query(&format!(
        "from(bucket: \"{BUCKET}\") |> range(start: {start}) \
         |> filter(fn: (r) => r._measurement == \"{measurement}\" and r._field == \"{field}\") |> count() |> group() |> sum()"
    ))?;
    Ok(rows.first().and_then(|row| integer(row, "_value")).unwrap_or(0).unsigned_abs())
}

fn models(servers: &Servers) -> Result<BTreeMap<Key, Model>> {
    let rows = |field: &str, aggregate: &str| {
        servers.influxdb.query(&format!(
            "from(bucket: \"{BUCKET}\") |> range(start: -1m) \
             |> filter(fn: (r) => r._measurement == \"algorithmia\" and r._field == \"{field}\") \
             |> group(columns: [{}]) |> {aggregate}()",
            columns()
        ))
    };
    let mut models = BTreeMap::<Key, Model>::new();
    for row in rows("duration_milliseconds", "count")? {
        models.entry(key(&row)).or_default().calls = integer(&row, "_value").context("a count is no number")?;
    }
    for row in rows("risk_score", "mean")? {
        if let Some(Value::Float(mean)) = row.get("_value") {
            models.entry(key(&row)).or_default().risk_score = Some(*mean);
        }
    }
    let psi = servers.influxdb.query(&format!(
        "from(bucket: \"{BUCKET}\") |> range(start: -{}s) \
         |> filter(fn: (r) => r._measurement == \"algorithmia_drift\" and r._field == \"psi\") \
         |> last() |> group(columns: [{}]) |> max()",
        RECENT.as_secs(),
        columns()
    ))?;
    for row in psi {
        if let (Some(model), Some(Value::Float(psi))) = (models.get_mut(&key(&row)), row.get("_value")) {
            model.psi = Some(*psi);
        }
    }
    Ok(models)
}

fn reports(servers: &Servers, start: Timestamp) -> Result<(usize, Option<Report>)> {
    let rows = servers.influxdb.query(&format!(
        "import \"influxdata/influxdb/schema\" from(bucket: \"{BUCKET}\") |> range(start: {start}) \
         |> filter(fn: (r) => r._measurement == \"algorithmia_processor\") |> schema.fieldsAsCols() \
         |> group() |> sort(columns: [\"_time\"])"
    ))?;
    let report = rows.last().and_then(|row| {
        let numbers = row.keys().filter_map(|name| Some((name.clone(), integer(row, name)?)));
        Some(Report { time: time(row)?, numbers: numbers.collect() })
    });
    Ok((rows.len(), report))
}

/// The columns of a [`Key`], as a list in Flux has them.
fn columns() -> String {
    KEY.map(|name| format!("\"{name}\"")).join(", ")
}

/// All population stability indices that were computed, of a model's metric for the interval that ends at a time.
pub fn stability(servers: &Servers) -> Result<BTreeMap<(Key, String, Timestamp), f64>> {
    let rows = servers.influxdb.query(&format!(
        "from(bucket: \"{BUCKET}\") |> range(start: 0) \
         |> filter(fn: (r) => r._measurement == \"algorithmia_drift\" and r._field == \"psi\")"
    ))?;
    let psi = |row: Row| match row.get("_value") {
        Some(Value::Float(psi)) => Some(((key(&row), text(&row, "metric"), time(&row)?), *psi)),
        _ => None,
    };
    Ok(rows.into_iter().filter_map(psi).collect())
}

fn key(row: &Row) -> Key {
    KEY.map(|name| text(row, name))
}

/// Empty where there is none.
fn text(row: &Row, column: &str) -> String {
    match row.get(column) {
        Some(Value::String(text)) => text.clone(),
        _ => String::new(),
    }
}

fn integer(row: &Row, column: &str) -> Option<i64> {
    match row.get(column) {
        Some(Value::Integer(number)) => Some(*number),
        _ => None,
    }
}

fn time(row: &Row) -> Option<Timestamp> {
    match row.get("_time") {
        Some(Value::Time(time)) => Timestamp::from_nanosecond((*time).into()).ok(),
        _ => None,
    }
}

impl Level {
    /// As InfluxDB writes it.
    pub fn name(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Crit => "crit",
            Level::Unknown => "unknown",
        }
    }
}

impl From<&str> for Level {
    fn from(text: &str) -> Level {
        match text {
            "ok" => Level::Ok,
            "info" => Level::Info,
            "warn" => Level::Warn,
            "crit" => Level::Crit,
            _ => Level::Unknown,
        }
    }
}

impl std::fmt::Display for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(if *self == Level::Crit { "CRIT" } else { self.name() })
    }
}
