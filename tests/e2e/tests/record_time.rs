//! Kafka's own time of a record, which a message without a time gets: what Telegraf makes of it, and that such a message gives the
//! same point whenever and wherever it is read.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use reference::Value::String as Text;
use reference::lines::decode;
use stack::{BUCKET, Dir, Influxdb, Kafka, Telegraf, wait_for};

use crate::support::{GROUP, LONG, TOPIC, environment, shipped_configuration, turn};

/// The time that producers give the first record, in milliseconds. Records are some milliseconds apart.
const FIRST: i64 = 1_613_780_514_867;

const NANOSECONDS: i64 = 1_000_000;

/// Reads topics as the shipped telegraf.conf does, once for each source of times, and writes what would be handed to
/// telegraf-algorithmia, into one file for each.
fn reader(dir: &Dir, broker: &str, topics: &[String], sources: &[&str]) -> Result<Telegraf> {
    let mut text = String::from("[agent]\n  flush_interval = \"200ms\"\n  omit_hostname = true\n");
    for source in sources {
        let file = dir.path().join(source);
        text += &format!(
            "\
[[inputs.kafka_consumer]]
  name_override = \"{source}\"
  brokers = [\"{broker}\"]
  topics = {topics:?}
  topic_tag = \"topic\"
  consumer_group = \"{source}\"
  offset = \"oldest\"
  kafka_version = \"2.6.0\"
  timestamp_source = \"{source}\"
  data_format = \"value\"
  data_type = \"string\"
[[outputs.file]]
  namepass = [\"{source}\"]
  files = [{file:?}]
  data_format = \"influx\"
"
        );
    }
    Telegraf::start(dir, dir.write("reader.conf", text)?, [("NONE", "")])
}

/// The times in nanoseconds that Telegraf has given the messages of each topic.
type Times = BTreeMap<(String, String), i64>;

/// What Telegraf has written, if it is all there.
fn times_in(file: &Path, count: usize) -> Result<Option<Times>> {
    let text = fs::read_to_string(file).unwrap_or_default();
    if text.lines().count() < count || !text.ends_with('\n') {
        return Ok(None);
    }
    let mut times = Times::new();
    for line in text.lines().map(decode) {
        let message = line.fields.iter().find(|(key, _)| key == "value").map(|(_, value)| value);
        let Some(Text(message)) = message else { bail!("a metric without a message: {line:?}") };
        times.insert((line.tags["topic"].clone(), message.clone()), line.time);
    }
    Ok(Some(times))
}

/// The times in nanoseconds that Kafka has of the messages of a topic, as kcat prints them.
fn times_of(kafka: &Kafka, topic: &str) -> Result<Times> {
    let output = kafka.cat(topic)?.args(["-f", "%T %s\n"]).output()?;
    ensure!(output.status.success(), "kcat: {}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout)?;
    let time = |line: &str| {
        let (time, message) = line.split_once(' ').context("a time and a message")?;
        Ok(((topic.to_owned(), message.to_owned()), NANOSECONDS * time.parse::<i64>()?))
    };
    lines.lines().map(time).collect()
}

#[test]
fn inner_is_the_time_of_each_record_and_outer_is_none() {
    let _turn = turn();
    stack::test("record-time", |dir| {
        const COUNT: i64 = 20;
        let kafka = Kafka::start(dir)?;
        let mut topics = Vec::new();
        let mut expected = Times::new();
        // Whose time a topic keeps, and how the broker packs its records.
        for kind in ["CreateTime", "LogAppendTime"] {
            for packed in ["uncompressed", "gzip", "snappy", "lz4", "zstd"] {
                let topic = format!("{kind}-{packed}");
                let settings = [("message.timestamp.type", kind), ("compression.type", packed)];
                kafka.create_topic_with(&topic, 1, &settings)?;
                let times = (0..COUNT).map(|index| FIRST + 7 * index);
                kafka.produce_at(&topic, times.map(|time| (time, time.to_string())))?;
                let kept = times_of(&kafka, &topic)?;
                ensure!(kept.len() as i64 == COUNT, "{topic} has {kept:?}");
                for ((_, given), kept) in &kept {
                    let is_given = *kept == NANOSECONDS * given.parse::<i64>()?;
                    ensure!(is_given == (kind == "CreateTime"), "{topic}: {kept} for {given}");
                }
                expected.extend(kept);
                topics.push(topic);
            }
        }
        // A producer need not give a record a time. Then Telegraf gives others of its batch wrong ones, too.
        let timeless = "timeless".to_owned();
        kafka.create_topic(&timeless, 1)?;
        kafka.produce_at(&timeless, [(-1, "none"), (FIRST, "some"), (-1, "none too")])?;
        topics.push(timeless.clone());

        let telegraf = reader(dir, kafka.broker(), &topics, &["inner", "outer"])?;
        let times = |source: &str| {
            wait_for("all messages", LONG, || {
                telegraf.ensure_running()?;
                times_in(&dir.path().join(source), expected.len() + 3)
            })
        };
        let (mut inner, outer) = (times("inner")?, times("outer")?);
        telegraf.terminate()?;
        let without = |times: &Times| times.iter().filter(|(_, time)| **time <= 0).count();
        ensure!(without(&outer) == outer.len(), "outer gives times: {outer:?}");
        let odd: Times = inner.extract_if(.., |(topic, _), _| *topic == timeless).collect();
        ensure!(odd.len() == 3 && without(&odd) == 3, "records without a time have these: {odd:?}");
        ensure!(inner == expected, "{inner:?}\nnot {expected:?}");
        Ok(())
    });
}

/// How many points and rejections there have to be. Most messages make one, and the arrays two.
const POINTS: usize = 10_000;

/// A message without a time, and how many points and rejections it makes.
fn timeless(index: usize) -> (String, [usize; 2]) {
    match index % 20 {
        // Cut off; no JSON at all; no name; nothing to store.
        0 => (format!(r#"{{"algorithm_name":"a","x":{index}"#), [0, 1]),
        1 => (format!("text {index}"), [0, 1]),
        2 => (format!(r#"{{"x":{index}}}"#), [0, 1]),
        3 => (format!(r#"{{"algorithm_name":"a","algorithm_version":"{index}","x":null}}"#), [0, 1]),
        // Two calls that say the same.
        4 => (format!(r#"[{{"algorithm_name":"a","x":{index}}},{{"algorithm_name":"a","x":{index}}}]"#), [2, 0]),
        5 => (format!(r#"[{{"x":{index}}},{{"x":{index}}}]"#), [0, 2]),
        // What is there is no time.
        6 => (format!(r#"{{"algorithm_name":"a","x":{index},"time":"yesterday"}}"#), [1, 0]),
        7..14 => (format!(r#"{{"algorithm_name":"a","x":0.5,"request_id":"req-{index}"}}"#), [1, 0]),
        _ => (format!(r#"{{"algorithm_name":"a","x":{index}}}"#), [1, 0]),
    }
}

/// The points and the rejections that InfluxDB has.
fn stored(influxdb: &Influxdb) -> Result<[usize; 2]> {
    let count = |measurement, field| Ok::<_, anyhow::Error>(influxdb.count(BUCKET, measurement, field)? as usize);
    Ok([count("algorithmia", "x")?, count("algorithmia_rejected", "error")?])
}

/// Every message is read three times: once by two Telegrafs of which one joins and leaves, then from the start by one of them as
/// another group, and once more by the other.
#[test]
fn messages_without_a_time_read_three_times_by_two_telegrafs_are_stored_once() {
    let _turn = turn();
    stack::test("timeless", |dir| {
        const PARTITIONS: i32 = 4;
        let kafka = Kafka::start(dir)?;
        kafka.create_topic(TOPIC, PARTITIONS)?;
        let influxdb = Influxdb::start(dir)?;
        let (mut messages, mut made) = (Vec::new(), [0; 2]);
        while made.iter().sum::<usize>() < POINTS {
            let (message, [points, rejections]) = timeless(messages.len());
            messages.push(message);
            made = [made[0] + points, made[1] + rejections];
        }
        // A hundred calls of each millisecond.
        let at = |index: usize| FIRST + (index / 100) as i64;
        let produce =
            |range: Range<usize>| kafka.produce_at(TOPIC, range.map(|index| (at(index), messages[index].as_str())));
        let telegraf = |name: &str, group: &str| {
            let mut variables = environment(dir, kafka.broker(), influxdb.url());
            variables.push(("KAFKA_CONSUMER_GROUP", group.to_owned()));
            variables.push(("ALGORITHMIA_JOURNAL", dir.path().join(name).display().to_string()));
            Telegraf::start(dir, shipped_configuration(), variables)
        };
        let shares = |first: &Telegraf, expected: &[usize]| {
            wait_for(&format!("the partitions to be shared as {expected:?}"), LONG, || {
                first.ensure_running()?;
                Ok((kafka.shares(GROUP, TOPIC)? == expected).then_some(()))
            })
        };
        let read = |telegraf: &Telegraf, group: &str| {
            wait_for("the consumption of all messages", LONG, || {
                telegraf.ensure_running()?;
                Ok((kafka.lag(group, TOPIC)? == 0).then_some(()))
            })
        };

        let half = messages.len() / 2;
        let first = telegraf("journal-1", GROUP)?;
        shares(&first, &[4])?;
        produce(0..half)?;
        let second = telegraf("journal-2", GROUP)?;
        shares(&first, &[2, 2])?;
        produce(half..messages.len())?;
        read(&first, GROUP)?;
        // It may have read what was not committed yet: the other reads that again. Its journal goes out at its next start.
        second.kill()?;
        shares(&first, &[4])?;
        read(&first, GROUP)?;
        first.terminate()?;
        let mut counts = Vec::new();
        for (journal, group) in [("journal-2", "again"), ("journal-1", "once-more")] {
            let telegraf = telegraf(journal, group)?;
            read(&telegraf, group)?;
            telegraf.terminate()?;
            counts.push(stored(&influxdb)?);
        }
        eprintln!("[record_time] {} messages make {made:?}, after two and three readings {counts:?}", messages.len());
        ensure!(counts.iter().all(|count| *count == made), "the messages make {made:?}, and there are {counts:?}");
        Ok(())
    });
}
