//! Every server once: start, use, restart, stop.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use stack::{BUCKET, Influxdb, Kafka, Point, Telegraf, Value};

const A_WHILE: Duration = Duration::from_secs(60);

const NO_ENV: [(&str, &str); 0] = [];

#[test]
fn kafka() {
    stack::test("kafka", |dir| {
        let kafka = Kafka::start(dir)?;
        kafka.create_topic("insights", 3)?;
        assert!(kafka.create_topic("insights", 3).is_err());
        assert!(kafka.produce("no-such-topic", ["message"]).is_err());
        kafka.produce("insights", [&b"one"[..], b"\xff\0\r", b"three", b"four"])?;
        assert_eq!(kafka.end_offsets("insights")?, [2, 1, 1]);
        kafka.create_topic("tiny", 1)?;
        assert!(kafka.cat("tiny")?.output()?.stdout.is_empty());
        kafka.produce("tiny", vec!["x"; 100_000])?;
        assert_eq!(kafka.end_offsets("tiny")?, [100_000]);
        assert_eq!(kafka.committed("nobody", "insights")?, [0, 0, 0]);
        assert_eq!(kafka.lag("nobody", "insights")?, 4);
        let cat = || -> anyhow::Result<_> {
            let output = kafka.cat("insights")?.output()?;
            assert!(output.status.success(), "{output:?}");
            let mut lines = output.stdout.split(|&byte| byte == b'\n').collect::<Vec<_>>();
            lines.sort();
            Ok(lines.into_iter().map(<[u8]>::to_vec).collect::<Vec<_>>())
        };
        assert_eq!(cat()?, [&b""[..], b"four", b"one", b"three", b"\xff\0\r"]);

        let before = kafka.pid();
        assert!(kafka.restart().is_err(), "it still runs");
        kafka.terminate()?;
        assert!(kafka.create_topic("insights", 3).is_err());
        kafka.restart()?;
        assert_ne!(kafka.pid(), before);
        kafka.kill()?;
        kafka.restart()?;
        kafka.produce("insights", vec![[b'x'; 320]; 20_000])?;
        assert_eq!(kafka.end_offsets("insights")?.iter().sum::<i64>(), 20_004);
        assert_eq!(cat()?.len(), 20_005);
        Ok(())
    });
}

#[test]
fn influxdb() {
    stack::test("influxdb", |dir| {
        let influxdb = Influxdb::start(dir)?;
        assert!(influxdb.points(BUCKET, "m")?.is_empty());
        assert_eq!(influxdb.count(BUCKET, "m", "f")?, 0);
        influxdb.write("m,t=a\\ b f=1.5,i=-2i,u=3u,b=true,s=\"x\\\"\n${y}\" 1600000000000000001\n")?;
        influxdb.write("m f=0 -9223372036854775806\nm f=0 9223372036854775805\nother f=0 0\n")?;
        let error = format!("{:#}", influxdb.write("m,t=a\\ b f=1i 1600000000000000002").unwrap_err());
        assert!(error.contains("422") && error.contains("conflict"), "{error}");

        let point = |tags: &[(&str, &str)], fields: &[(&str, Value)], time_ns| Point {
            measurement: "m".into(),
            tags: tags.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
            fields: fields.iter().map(|(key, value)| ((*key).into(), value.clone())).collect(),
            time_ns,
        };
        let expected = [
            point(&[], &[("f", Value::Float(0.0))], -9_223_372_036_854_775_806),
            point(
                &[("t", "a b")],
                &[
                    ("b", Value::Boolean(true)),
                    ("f", Value::Float(1.5)),
                    ("i", Value::Integer(-2)),
                    ("s", Value::String("x\"\n${y}".into())),
                    ("u", Value::Unsigned(3)),
                ],
                1_600_000_000_000_000_001,
            ),
            point(&[], &[("f", Value::Float(0.0))], 9_223_372_036_854_775_805),
        ];
        assert_eq!(influxdb.points(BUCKET, "m")?, expected);
        assert_eq!(influxdb.count(BUCKET, "m", "f")?, 3);

        influxdb
            .write("ids,t=a id=\"1\" 1\nids,t=a id=\"2\" 2\nids,t=b id=\"1\" 1600000000000000000\nids other=0 1\n")?;
        let mut ids = influxdb.strings(BUCKET, "ids", "id")?;
        ids.sort();
        assert_eq!(ids, ["1", "1", "2"]);
        assert!(influxdb.strings(BUCKET, "ids", "none")?.is_empty());

        influxdb.terminate()?;
        influxdb.restart()?;
        influxdb.kill()?;
        assert!(influxdb.points(BUCKET, "m").is_err());
        influxdb.restart()?;
        assert_eq!(influxdb.points(BUCKET, "m")?, expected);

        let rows = influxdb.query("import \"array\" array.from(rows: [{a: 1, b: \"\"}])")?;
        assert_eq!(rows[0]["a"], Value::Integer(1));
        assert_eq!(rows[0]["b"], Value::String(String::new()));
        let error = format!("{:#}", influxdb.query("nonsense").unwrap_err());
        assert!(error.contains("undefined identifier nonsense"), "{error}");
        Ok(())
    });
}

#[test]
fn influx_cli() {
    stack::test("influx-cli", |dir| {
        let influxdb = Influxdb::start(dir)?;
        let output = influxdb.cli(["bucket", "list", "--json"])?.output()?;
        assert!(output.status.success(), "{output:?}");
        assert!(String::from_utf8(output.stdout)?.contains("\"insights\""));
        Ok(())
    });
}

#[test]
fn telegraf() {
    stack::test("telegraf", |dir| {
        let config = dir.write(
            "telegraf.conf",
            r#"
            [agent]
            interval = "100ms"
            precision = "1ns"
            flush_interval = "100ms"
            omit_hostname = true
            skip_processors_after_aggregators = true
            [[inputs.file]]
            files = ["${DIR}/in"]
            data_format = "influx"
            [[outputs.file]]
            files = ["${DIR}/out"]
            data_format = "influx"
            "#,
        )?;
        dir.write("in", "m,t=a f=1i 1600000000000000001\n")?;
        let env = [("DIR", dir.path())];

        let output = Telegraf::check(&config, env)?;
        assert!(output.status.success(), "{output:?}");
        let broken = dir.write("broken.conf", "[[inputs.no_such_input]]\n")?;
        assert!(!Telegraf::check(&broken, NO_ENV)?.status.success());

        let telegraf = Telegraf::start(dir, &config, env)?;
        let wait_for_output = || {
            stack::wait_for("a line in the output", A_WHILE, || {
                telegraf.ensure_running()?;
                let text = fs::read_to_string(dir.path().join("out")).unwrap_or_default();
                Ok(text.lines().next().map(str::to_owned))
            })
        };
        assert_eq!(wait_for_output()?, "m,t=a f=1i 1600000000000000001");
        assert!(telegraf.log().contains("Starting Telegraf 1.39.3"), "{}", telegraf.log());
        assert!(telegraf.terminate()?.success());
        assert!(!telegraf.running());

        fs::remove_file(dir.path().join("out"))?;
        telegraf.restart()?;
        wait_for_output()?;
        telegraf.kill()?;
        Ok(())
    });
}

#[test]
fn from_kafka_through_telegraf_to_influxdb() {
    const MESSAGES: usize = 5_000;
    stack::test("pipeline", |dir| {
        let kafka = Kafka::start(dir)?;
        let influxdb = Influxdb::start(dir)?;
        kafka.create_topic("insights", 2)?;
        let message = |number| format!("m,n={number} f=1i 1600000000000000001");
        kafka.produce("insights", (0..MESSAGES).map(message))?;
        let config = dir.write(
            "telegraf.conf",
            r#"
            [agent]
            flush_interval = "100ms"
            omit_hostname = true
            skip_processors_after_aggregators = true
            [[inputs.kafka_consumer]]
            brokers = ["${KAFKA_BROKER}"]
            topics = ["insights"]
            consumer_group = "telegraf"
            kafka_version = "2.6.0"
            offset = "oldest"
            data_format = "influx"
            [[outputs.influxdb_v2]]
            urls = ["${INFLUX_HOST}"]
            token = "${INFLUX_TOKEN}"
            organization = "${INFLUX_ORG}"
            bucket = "insights"
            "#,
        )?;
        let env = BTreeMap::from([
            ("KAFKA_BROKER", kafka.broker()),
            ("INFLUX_HOST", influxdb.url()),
            ("INFLUX_TOKEN", stack::TOKEN),
            ("INFLUX_ORG", stack::ORG),
        ]);
        let telegraf = Telegraf::start(dir, &config, env.clone())?;
        stack::wait_for("all messages to be committed", A_WHILE, || {
            telegraf.ensure_running()?;
            Ok((kafka.lag("telegraf", "insights")? == 0).then_some(()))
        })?;
        assert!(kafka.shares("nobody", "insights")?.is_empty());
        assert_eq!(kafka.shares("telegraf", "insights")?, [2]);
        let second = Telegraf::start(dir, &config, env)?;
        stack::wait_for("both to have their share", A_WHILE, || {
            second.ensure_running()?;
            Ok((kafka.shares("telegraf", "insights")? == [1, 1]).then_some(()))
        })?;
        second.terminate()?;
        assert_eq!(influxdb.count(BUCKET, "m", "f")?, MESSAGES as u64);
        assert_eq!(influxdb.points(BUCKET, "m")?.len(), MESSAGES);
        Ok(())
    });
}
