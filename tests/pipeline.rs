//! The whole road on real servers: Kafka, a Telegraf that runs the shipped telegraf.conf and our binary, InfluxDB.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use influxdb_line_protocol::{FieldValue, parse_lines};
use stack::{BUCKET, Influxdb, Kafka, ORG, Point, TOKEN, Telegraf, Value, wait_for};

const BINARY: &str = env!("CARGO_BIN_EXE_telegraf-algorithmia");
const TOPIC: &str = "insights";

/// How long a condition may take on the slowest machine.
const LONG: Duration = Duration::from_secs(300);

/// One at a time: side by side the servers of several tests would slow each other down.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// What the shipped telegraf.conf wants to know.
fn environment(kafka: &str, influxdb: &str) -> Vec<(&'static str, String)> {
    vec![
        ("KAFKA_BROKER", kafka.to_owned()),
        ("KAFKA_TOPIC", TOPIC.to_owned()),
        ("KAFKA_CONSUMER_GROUP", "telegraf".to_owned()),
        ("INFLUX_HOST", influxdb.to_owned()),
        ("INFLUX_TOKEN", TOKEN.to_owned()),
        ("INFLUX_ORG", ORG.to_owned()),
        ("INFLUX_BUCKET", BUCKET.to_owned()),
        ("TELEGRAF_ALGORITHMIA", BINARY.to_owned()),
    ]
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64
}

/// The points that tests/insights.lp promises. A time of `*` there, the moment of reading, is 0 here.
fn promised() -> Vec<Point> {
    let text = std::fs::read_to_string(repository("tests/insights.lp")).unwrap().replace(" *\n", " 0\n");
    let points = parse_lines(&text).map(|line| {
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

/// The names of all measurements in the bucket.
fn measurements(influxdb: &Influxdb) -> Result<BTreeSet<String>> {
    let flux = format!("import \"influxdata/influxdb/schema\" schema.measurements(bucket: \"{BUCKET}\", start: 0)");
    let rows = influxdb.query(&flux)?;
    let names = rows.iter().filter_map(|row| match row.get("_value") {
        Some(Value::String(name)) => Some(name.clone()),
        _ => None,
    });
    Ok(names.collect())
}

/// Points in an order of their own, for comparison.
fn sorted(mut points: Vec<Point>) -> Vec<Point> {
    points.sort_by_cached_key(|point| format!("{:?}{:?}{:?}", point.measurement, point.tags, point.fields));
    points
}

#[test]
fn insights_become_the_promised_points() {
    let _turn = turn();
    stack::test("insights", |dir| {
        let start = now();
        let kafka = Kafka::start(dir)?;
        kafka.create_topic(TOPIC, 1)?;
        let influxdb = Influxdb::start(dir)?;
        let telegraf =
            Telegraf::start(dir, repository("telegraf/telegraf.conf"), environment(kafka.broker(), influxdb.url()))?;
        let sample = std::fs::read_to_string(repository("examples/insights.jsonl"))?;
        kafka.produce(TOPIC, sample.lines())?;

        let promised = promised();
        let stored = wait_for("all points in InfluxDB", LONG, || {
            telegraf.ensure_running()?;
            let mut stored = influxdb.points(BUCKET, "algorithmia")?;
            stored.extend(influxdb.points(BUCKET, "algorithmia_rejected")?);
            Ok((stored.len() >= promised.len()).then_some(stored))
        })?;
        telegraf.terminate()?;

        let end = now();
        let masked = stored.into_iter().map(|mut point| {
            // What came without a readable time has the time at which Telegraf read it.
            if (start..=end).contains(&point.time_ns) {
                point.time_ns = 0;
            }
            point
        });
        assert_eq!(sorted(masked.collect()), sorted(promised));
        let names = ["algorithmia", "algorithmia_rejected"].map(str::to_owned);
        assert_eq!(measurements(&influxdb)?, BTreeSet::from(names), "and nothing that should not be there");
        ensure!(!telegraf.log().contains(" E! "), "Telegraf's log has errors:\n{}", telegraf.log());
        Ok(())
    });
}

/// 200,000 calls of one algorithm in a day, each at a random microsecond.
fn distinct_messages() -> impl Iterator<Item = String> {
    const DAY: u64 = 86_400_000_000;
    let mut random = 20_210_220_u64;
    (0..200_000).map(move |index| {
        // splitmix64
        random = random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (random ^ (random >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let micros = (mixed ^ (mixed >> 31)) % DAY;
        let (second, micro) = (micros / 1_000_000, micros % 1_000_000);
        format!(
            r#"{{"risk_score":0.{},"duration_milliseconds":{},"algorithm_version":"1.0.6","session_id":"rses-{index}","time":"2021-02-20T{:02}:{:02}:{:02}.{micro:06}","algorithm_name":"credit_card_approval","request_id":"req-{index}","algorithm_owner":"asli"}}"#,
            1 + index % 9,
            index % 50,
            second / 3600,
            second / 60 % 60,
            second % 60,
        )
    })
}

#[test]
fn three_restarts_amid_200000_messages_lose_none_and_none_overwrites_another() {
    let _turn = turn();
    stack::test("restarts", |dir| {
        let kafka = Kafka::start(dir)?;
        kafka.create_topic(TOPIC, 1)?;
        let influxdb = Influxdb::start(dir)?;
        let messages = distinct_messages().collect::<Vec<_>>();
        kafka.produce(TOPIC, &messages)?;
        let telegraf =
            Telegraf::start(dir, repository("telegraf/telegraf.conf"), environment(kafka.broker(), influxdb.url()))?;
        let consumed = |at_least: usize| {
            wait_for("Telegraf's consumption", LONG, || {
                telegraf.ensure_running()?;
                let left = kafka.lag("telegraf", TOPIC)? as usize;
                Ok((messages.len() - left >= at_least).then_some(left))
            })
        };
        for restart in 1..=3 {
            let left = consumed(restart * messages.len() / 5)?;
            ensure!(left > 0, "all messages were consumed before restart {restart}, so it proved nothing");
            telegraf.terminate()?;
            telegraf.restart()?;
        }
        consumed(messages.len())?;
        telegraf.terminate()?;

        let points = influxdb.points(BUCKET, "algorithmia")?;
        let stored = points.iter().filter_map(|point| point.fields.get("request_id"));
        let stored: BTreeSet<String> = stored.map(|id| format!("{id:?}")).collect();
        assert_eq!(stored.len(), messages.len(), "every call is there");
        assert_eq!(points.len(), messages.len(), "once");
        let names = BTreeSet::from(["algorithmia".to_owned()]);
        assert_eq!(measurements(&influxdb)?, names, "and nothing that should not be there");
        Ok(())
    });
}
