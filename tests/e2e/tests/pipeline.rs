//! The whole road on real servers: Kafka, a Telegraf that runs the shipped telegraf.conf and our binary, InfluxDB.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::support::{LONG, TOPIC, environment, measurements, points, shipped_configuration, turn};
use anyhow::{Context, Result, ensure};
use fixtures::{Call, program, repository};
use reference::{Line, Metric, Options, Reference, generate, lines};
use stack::{BUCKET, Dir, Influxdb, Kafka, Point, Telegraf, Value, wait_for};

/// Kafka, InfluxDB, and a Telegraf between them that runs the shipped telegraf.conf.
struct Pipeline {
    _kafka: Kafka,
    influxdb: Influxdb,
    telegraf: Telegraf,
}

impl Pipeline {
    /// Starts all three, with `messages` in the topic before Telegraf comes. Each has a millisecond of its own: two that are the
    /// same, and come in the same millisecond without a time, are one point.
    fn start<M: AsRef<[u8]>>(dir: &Dir, messages: impl IntoIterator<Item = M>) -> Result<Self> {
        let kafka = Kafka::start(dir)?;
        kafka.create_topic(TOPIC, 1)?;
        kafka.produce_at(TOPIC, (now() / 1_000_000 + 1..).zip(messages))?;
        let influxdb = Influxdb::start(dir)?;
        let config = shipped_configuration();
        let telegraf = Telegraf::start(dir, config, environment(dir, kafka.broker(), influxdb.url()))?;
        Ok(Pipeline { _kafka: kafka, influxdb, telegraf })
    }

    /// Waits until InfluxDB has as many points and rejections, stops Telegraf, and gives them.
    fn stored(&self, count: usize) -> Result<Vec<Point>> {
        stored(&self.telegraf, &self.influxdb, count)
    }
}

/// Waits until InfluxDB has as many points and rejections, stops Telegraf, and gives them.
fn stored(telegraf: &Telegraf, influxdb: &Influxdb, count: usize) -> Result<Vec<Point>> {
    let read = || -> Result<Vec<Point>> {
        let mut stored = influxdb.points(BUCKET, "algorithmia")?;
        stored.extend(influxdb.points(BUCKET, "algorithmia_rejected")?);
        Ok(stored)
    };
    wait_for("all points in InfluxDB", LONG, || {
        telegraf.ensure_running()?;
        Ok((read()?.len() >= count).then_some(()))
    })?;
    // A point that is just being written may have been seen without its last fields.
    telegraf.terminate()?;
    read()
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64
}

/// The points that tests/fixtures/insights.lp promises. A time of `*` there, the moment of reading, is 0 here.
fn promised() -> Vec<Point> {
    let text = std::fs::read_to_string(repository("tests/fixtures/insights.lp")).unwrap().replace(" *\n", " 0\n");
    points(&text)
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
        let sample = std::fs::read_to_string(repository("examples/insights.jsonl"))?;
        let pipeline = Pipeline::start(dir, sample.lines())?;
        let promised = promised();
        let stored = pipeline.stored(promised.len())?;
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
        assert_eq!(measurements(&pipeline.influxdb)?, BTreeSet::from(names), "and nothing that should not be there");
        let log = pipeline.telegraf.log();
        ensure!(!log.contains(" E! "), "Telegraf's log has errors:\n{log}");
        Ok(())
    });
}

/// The shipped telegraf.conf, with its output in a file as line protocol: that of the messages alone.
fn telegraf_conf_into_file(output: &Path) -> Result<String> {
    let shipped = std::fs::read_to_string(shipped_configuration())?;
    let (rest, _) =
        shipped.split_once("[[outputs.influxdb_v2]]").context("telegraf.conf has no outputs.influxdb_v2")?;
    let file = output.display();
    Ok(format!(
        "{rest}[[outputs.file]]\n  namepass = [\"algorithmia\", \"algorithmia_rejected\"]\n  files = [\"{file}\"]\n  \
         data_format = \"influx\"\n"
    ))
}

/// The lines of a line protocol text, decoded, in an order of their own, and without the times that a clock gave since
/// `start`.
fn decoded(text: &[u8], start: i64) -> Vec<String> {
    let lines = lines::split(text).expect("line protocol");
    let mut lines: Vec<String> = lines
        .into_iter()
        .map(|line| {
            let mut line = lines::decode(std::str::from_utf8(line).expect("UTF-8"));
            if line.time >= start {
                line.time = 0;
            }
            // Telegraf keeps the order of fields; InfluxDB has none.
            format!("{line:?}")
        })
        .collect();
    lines.sort();
    lines
}

#[test]
fn all_roads_give_the_same_lines() {
    let _turn = turn();
    stack::test("roads", |dir| {
        let start = now();
        let kafka = Kafka::start(dir)?;
        kafka.create_topic(TOPIC, 1)?;
        let sample = std::fs::read_to_string(repository("examples/insights.jsonl"))?;
        kafka.produce(TOPIC, sample.lines())?;

        let output = dir.path().join("points.lp");
        let config = dir.write("telegraf.conf", telegraf_conf_into_file(&output)?)?;
        let telegraf = Telegraf::start(dir, config, environment(dir, kafka.broker(), "http://127.0.0.1:1"))?;
        let expected = promised().len();
        let by_telegraf = wait_for("all points in the file", LONG, || {
            telegraf.ensure_running()?;
            let text = std::fs::read(&output).unwrap_or_default();
            let complete = lines::split(&text).is_ok_and(|lines| lines.len() >= expected);
            Ok(complete.then_some(text))
        })?;
        telegraf.terminate()?;

        let mut kafka_cat = kafka.cat(TOPIC)?.stdout(Stdio::piped()).spawn().context("cannot read the topic")?;
        let messages = kafka_cat.stdout.take().context("no output")?;
        let piped = Command::new(program()).stdin(messages).stderr(Stdio::null()).output()?;
        kafka_cat.wait()?;
        let file = Command::new(program()).arg(repository("examples/insights.jsonl")).stderr(Stdio::null()).output()?;

        let by_telegraf = decoded(&by_telegraf, start);
        assert_eq!(by_telegraf.len(), expected);
        assert_eq!(decoded(&piped.stdout, start), by_telegraf);
        assert_eq!(decoded(&file.stdout, start), by_telegraf);
        Ok(())
    });
}

#[test]
fn telegraf_reads_what_is_meant() {
    let _turn = turn();
    stack::test("telegraf-reads", |dir| {
        // No other metrics: Telegraf has its own ways with unsigned integers, and with lines that have no time.
        let ours: Vec<Vec<u8>> = generate::output_lines(20_000)
            .into_iter()
            .filter(|line| {
                let (parts, _) = lines::parse(line).expect("a line");
                let name = String::from_utf8_lossy(parts.measurement).into_owned();
                let measurements = ["algorithmia", "my\\ own\\,name"];
                measurements.iter().any(|ours| name == *ours || name == format!("{ours}_rejected"))
                    && parts.time.is_some()
                    && std::str::from_utf8(line).is_ok()
            })
            .collect();
        ensure!(ours.len() > 5000, "only {} of the lines are points and rejections", ours.len());
        let input = dir.write("ours.lp", ours.concat())?;
        let output = dir.path().join("telegraf.lp");
        let config = format!(
            "[agent]\n  omit_hostname = true\n  precision = \"1ns\"\n  skip_processors_after_aggregators = true\n  \
             metric_buffer_limit = 100000\n\
             [[inputs.file]]\n  files = [\"{}\"]\n  data_format = \"influx\"\n\
             [[outputs.file]]\n  files = [\"{}\"]\n  data_format = \"influx\"\n",
            input.display(),
            output.display(),
        );
        let config = dir.write("telegraf.conf", config)?;
        let run = Command::new(stack::telegraf_binary()?).args(["--once", "--config"]).arg(config).output()?;
        let log = String::from_utf8_lossy(&run.stderr);
        ensure!(run.status.success() && !log.contains("E! "), "Telegraf says:\n{log}");

        let text = std::fs::read(&output)?;
        let read = lines::split(&text).expect("line protocol");
        assert_eq!(read.len(), ours.len());
        for (read, ours) in read.iter().zip(&ours) {
            let decode = |line: &[u8]| lines::decode(std::str::from_utf8(line).expect("UTF-8"));
            assert_eq!(decode(read), decode(ours));
        }
        Ok(())
    });
}

#[test]
fn telegraf_reads_on_behind_half_a_line() {
    let _turn = turn();
    stack::test("half-lines", |dir| {
        // What a worker writes first that goes on where another was killed.
        let spoiler = Command::new(program()).args(["execd", "--worker=next"]).stdin(Stdio::null()).output()?.stdout;
        ensure!(!spoiler.is_empty(), "nothing ends half a line");
        let mut text = Vec::new();
        let mut count = 0;
        for line in [
            r#"algorithmia,algorithm_name=a\ b\,c\=d\e risk\ score=0.25,s="x \" y\\ , = z",e="" 1613780514867231593"#,
            "m t=\"line\nbreak\",f=t,i=5i 16",
            r#"algorithmia_rejected,reason=invalid_json error="e\\",payload="{\"a\":1" 16"#,
        ] {
            for end in 0..=line.len() {
                text.extend_from_slice(&line.as_bytes()[..end]);
                text.extend_from_slice(&spoiler);
                text.extend_from_slice(format!("next,index={count} f=1 {count}\n").as_bytes());
                count += 1;
            }
        }
        let input = dir.write("half-lines.lp", text)?;
        let output = dir.path().join("telegraf.lp");
        // As processors.execd reads its child, metric by metric.
        let config = format!(
            "[agent]\n  omit_hostname = true\n  precision = \"1ns\"\n  skip_processors_after_aggregators = true\n  \
             flush_interval = \"1s\"\n\
             [[inputs.execd]]\n  command = [\"sh\", \"-c\", \"cat {}; read -r _\"]\n  signal = \"STDIN\"\n  interval = \"1h\"\n  \
             data_format = \"influx\"\n\
             [[outputs.file]]\n  files = [\"{}\"]\n  data_format = \"influx\"\n",
            input.display(),
            output.display(),
        );
        let config = dir.write("telegraf.conf", config)?;
        let telegraf = Telegraf::start(dir, config, [] as [(&str, &str); 0])?;
        let last = format!("next,index={} ", count - 1);
        let read = wait_for("the last line", LONG, || {
            telegraf.ensure_running()?;
            let read = std::fs::read_to_string(&output).unwrap_or_default();
            Ok((read.contains(&last) && read.ends_with('\n')).then_some(read))
        })?;
        telegraf.terminate()?;
        let expected = (0..count).map(|index| format!("next,index={index} f=1 {index}"));
        ensure!(read.lines().eq(expected), "Telegraf has read\n{read}");
        Ok(())
    });
}

/// Messages that are hard to bear. All but the first few are rejected.
fn hard_messages() -> Vec<Vec<u8>> {
    let payload = |rest: &str| format!(r#"{{"algorithm_name":"hard","time":"2021-02-20T00:21:54.867231",{rest}}}"#);
    let metrics: Vec<String> = (0..25).map(|index| format!(r#""text_{index}":"{}""#, "ü".repeat(490))).collect();
    let nested = |depth: usize| format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
    let many: Vec<String> = (0..1001).map(|index| format!(r#""x{index}":1"#)).collect();
    let texts = [
        payload(&metrics.join(",")),
        payload(&format!(r#""notes":"{}""#, "é".repeat(490_000))),
        payload(r#""odd":"tab\t newline\n quote\" backslash\\ nul\u0000 bell\u0007 \ud83d\ude00","x y,z=\\":1"#),
        r#"{"algorithm_name":"a b,c=d\\e\nf\tg\"h\u0001😀","x":1,"time":1613780514867}"#.to_owned(),
        // Telegraf would stop reading a log that quotes this key whole.
        payload(&format!(r#""{}":NaN,"x":1"#, "k".repeat(70_000))),
        String::new(),
        "   ".to_owned(),
        "null".to_owned(),
        "42".to_owned(),
        "[]".to_owned(),
        "[[]]".to_owned(),
        "{\"algorithm_name\":\"x\"".to_owned(),
        payload(&format!(r#""deep":{}"#, nested(64))),
        payload(&many.join(",")),
        r#"{"x":1}"#.to_owned(),
        r#"{"algorithm_name":"x"}"#.to_owned(),
        "x".repeat(1_000_000),
    ];
    let binary = [
        // InfluxDB leaves carriage returns out of its answers, and Telegraf trims zero bytes at the ends.
        (1..=255).chain([0, 1]).filter(|byte| *byte != b'\r').collect(),
        b"{\"algorithm_name\":\"\xff\xfe\",\"x\":1}".to_vec(),
        (0..100_000u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8 | 0x80).collect(),
    ];
    texts.map(String::into_bytes).into_iter().chain(binary).collect()
}

#[test]
fn hard_messages_are_stored_as_documented() {
    let _turn = turn();
    stack::test("hard-messages", |dir| {
        let start = now();
        let messages = hard_messages();
        let pipeline = Pipeline::start(dir, &messages)?;
        let mut reference = Reference::new(&Options::default());
        let metric = Metric { time: Some(start), ..Metric::default() };
        let mut expected: Vec<String> = messages
            .iter()
            .flat_map(|message| reference.convert_message(message, &metric))
            .map(|mut line| {
                if line.time >= start {
                    line.time = 0;
                }
                line.fields.sort_by(|a, b| a.0.cmp(&b.0));
                format!("{line:?}")
            })
            .collect();
        let stored = pipeline.stored(expected.len())?;
        let mut stored: Vec<String> = stored
            .into_iter()
            .map(|mut point| {
                if point.measurement == "algorithmia_rejected" {
                    assert!(point.fields.remove("error").is_some(), "a rejection says why");
                }
                let fields = point.fields.into_iter().map(|(key, value)| {
                    let value = match value {
                        Value::Float(value) => reference::Value::Float(value),
                        Value::String(value) => reference::Value::String(value),
                        other => panic!("{key} is {other:?}"),
                    };
                    (key, value)
                });
                let fields = fields.collect();
                let time = if point.time_ns >= start { 0 } else { point.time_ns };
                format!("{:?}", Line { measurement: point.measurement, tags: point.tags, fields, time })
            })
            .collect();
        expected.sort();
        stored.sort();
        assert_eq!(stored.len(), expected.len());
        for (stored, expected) in stored.iter().zip(&expected) {
            ensure!(stored == expected, "stored   {stored:.600}\nexpected {expected:.600}");
        }
        let names = ["algorithmia", "algorithmia_rejected"].map(str::to_owned);
        assert_eq!(measurements(&pipeline.influxdb)?, BTreeSet::from(names), "and nothing that should not be there");
        Ok(())
    });
}

#[test]
fn the_shipped_configuration_passes_telegrafs_check() {
    stack::test("config-check", |dir| {
        let mut variables = environment(dir, "127.0.0.1:1", "http://127.0.0.1:1");
        let plain = variables.clone();
        variables.extend([
            ("KAFKA_TLS_CA", repository("tests/e2e/tests/ca.pem").display().to_string()),
            ("KAFKA_USERNAME", "$ConnectionString".to_owned()),
            ("KAFKA_PASSWORD", "Endpoint=sb://a.example/;SharedAccessKey=a+b/c=".to_owned()),
            ("KAFKA_SASL_MECHANISM", "PLAIN".to_owned()),
        ]);
        for variables in [&plain, &variables] {
            let output = check(&shipped_configuration(), variables)?;
            let log = String::from_utf8_lossy(&output.stderr).into_owned();
            ensure!(output.status.success() && !log.contains("W! ") && !log.contains("E! "), "{log}");
        }
        // What has to be set is asked for, with what to set it to.
        for needed in ["KAFKA_BROKER", "KAFKA_TOPIC", "INFLUX_TOKEN", "INFLUX_ORG"] {
            let others: Vec<_> = variables.iter().filter(|(name, _)| *name != needed).cloned().collect();
            let output = check(&shipped_configuration(), &others)?;
            let log = String::from_utf8_lossy(&output.stderr).into_owned();
            ensure!(
                !output.status.success() && log.contains(&format!("{needed} is missing a value: set it to ")),
                "{log}"
            );
        }
        Ok(())
    });
}

/// `telegraf config check`, with the handling of variables said: without that the command itself warns.
fn check(config: &Path, variables: &[(&str, String)]) -> Result<Output> {
    let mut command = Command::new(stack::telegraf_binary()?);
    command.args(["config", "check", "--strict-env-handling", "--config"]).arg(config);
    for name in ["KAFKA_BROKER", "KAFKA_TOPIC", "INFLUX_TOKEN", "INFLUX_ORG"] {
        command.env_remove(name);
    }
    command.envs(variables.iter().map(|(name, value)| (name, value))).output().context("cannot run telegraf")
}

#[test]
fn several_brokers_and_topics_are_named_by_variables() {
    let _turn = turn();
    stack::test("topics", |dir| {
        let kafka = Kafka::start(dir)?;
        let influxdb = Influxdb::start(dir)?;
        let mut variables = environment(dir, kafka.broker(), influxdb.url());
        // The first broker is down, and only the second answers.
        variables[0].1 = "127.0.0.1:1".to_owned();
        variables.extend([
            ("KAFKA_BROKER_2", kafka.broker().to_owned()),
            ("KAFKA_TOPIC_2", "insights-2".to_owned()),
            ("KAFKA_TOPIC_3", "insights-3".to_owned()),
        ]);
        let message = |topic: &str, index: usize| {
            Call { name: topic.to_owned(), ..Call::numbered(index, "2021-02-20") }.to_string()
        };
        let topics = [TOPIC, "insights-2", "insights-3"];
        for topic in topics {
            kafka.create_topic(topic, 2)?;
            kafka.produce(topic, (0..100).map(|index| message(topic, index)))?;
        }
        let telegraf = Telegraf::start(dir, shipped_configuration(), variables)?;
        let stored = stored(&telegraf, &influxdb, 300)?;
        for topic in topics {
            assert_eq!(stored.iter().filter(|point| point.tags["algorithm_name"] == topic).count(), 100);
        }
        Ok(())
    });
}
