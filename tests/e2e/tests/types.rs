//! Models that disagree about the types of their fields: InfluxDB keeps one type for a field and a week, and refuses every point
//! with another.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use fixtures::{Call, Random};
use rand::{RngExt, SeedableRng};
use stack::{BUCKET, Influxdb, Kafka, Telegraf, wait_for};

use crate::support::{LONG, TOPIC, environment, shipped_configuration, turn};

const PAYLOADS: usize = 50_000;
const MODELS: usize = 20;

/// Keys that may become each other: by a suffix, by flattening, without their underscores.
const KEYS: [&str; 15] = [
    "score",
    "_score",
    "score_0",
    "score_text",
    "score_text_number",
    "score_number",
    "score_field",
    "label",
    "label_w",
    "label_text",
    "label_text_text",
    "label_w_text",
    "_time",
    "time_field",
    "time_field_text",
];

/// The same thing as each type that JSON has, as texts that are numbers or nearly so, and as what is neither.
const VALUES: [&str; 24] = [
    "1",
    "0.5",
    "-7",
    "1e300",
    "1e999",
    "18446744073709551615",
    "true",
    "false",
    "null",
    "NaN",
    "-Infinity",
    r#""""#,
    r#""a text""#,
    r#""0.5""#,
    r#""1e999""#,
    r#"" 1""#,
    r#""007""#,
    r#""12345678901234567890""#,
    r#""NaN""#,
    r#""true""#,
    r#""5i""#,
    r#"{"w":1,"text":2}"#,
    r#"{"w":"x","text":"y"}"#,
    r#"[0.25,"z",true]"#,
];

/// The message of a call. No two calls have the same request_id, which like session_id is a text in some and a number in others.
fn message(number: usize, metrics: &str) -> String {
    let call = Call {
        metrics: metrics.to_owned(),
        name: format!("model_{}", number % MODELS),
        request: number.to_string(),
        session: "7".to_owned(),
        ..Call::numbered(number, "2021-02-20")
    };
    let mut text = call.to_string();
    for (id, is_number) in [(number.to_string(), number.is_multiple_of(2)), ("7".to_owned(), number.is_multiple_of(3))]
    {
        if is_number {
            text = text.replace(&format!("_id\":\"{id}\""), &format!("_id\":{id}"));
        }
    }
    text
}

/// Each payload has some of the keys, each with any value.
fn messages() -> Vec<String> {
    let mut random = Random::seed_from_u64(20_210_220);
    let payloads = (0..PAYLOADS).map(|number| {
        let keys = KEYS.iter().filter(|_| random.random_bool(0.4)).collect::<Vec<_>>();
        let metrics = keys.into_iter().map(|key| format!("\"{key}\":{}", VALUES[random.random_range(0..VALUES.len())]));
        message(number, &metrics.chain(["\"x\":1".to_owned()]).collect::<Vec<_>>().join(","))
    });
    payloads.collect()
}

/// What Telegraf and InfluxDB say of points that are refused.
fn refused(telegraf: &Telegraf, influxdb: &Influxdb) -> Option<String> {
    let says = |line: &&str| ["field type conflict", "partial write", " E! "].iter().any(|part| line.contains(part));
    [telegraf.log(), influxdb.log()].iter().find_map(|log| log.lines().find(says).map(str::to_owned))
}

fn stored(influxdb: &Influxdb) -> Result<usize> {
    Ok(influxdb.count(BUCKET, "algorithmia", "request_id")? as usize)
}

#[test]
fn models_that_disagree_about_types_have_all_their_points() {
    let _turn = turn();
    stack::test("types", |dir| {
        let kafka = Kafka::start(dir)?;
        kafka.create_topic(TOPIC, 3)?;
        kafka.produce(TOPIC, messages())?;
        let influxdb = Influxdb::start(dir)?;
        let variables = environment(dir, kafka.broker(), influxdb.url());
        let telegraf = Telegraf::start(dir, shipped_configuration(), variables.clone())?;
        wait_for("all points in InfluxDB", LONG, || {
            telegraf.ensure_running()?;
            ensure!(refused(&telegraf, &influxdb).is_none(), "{:?}", refused(&telegraf, &influxdb));
            Ok((stored(&influxdb)? >= PAYLOADS).then_some(()))
        })?;
        telegraf.terminate()?;
        ensure!(refused(&telegraf, &influxdb).is_none(), "{:?}", refused(&telegraf, &influxdb));
        assert_eq!(influxdb.count(BUCKET, "algorithmia_rejected", "error")?, 0);
        let ids: BTreeSet<String> = influxdb.strings(BUCKET, "algorithmia", "request_id")?.into_iter().collect();
        assert_eq!(ids, (0..PAYLOADS).map(|number| number.to_string()).collect());
        // Each of these is there in many points.
        for field in ["score", "score_text", "score_text_number", "label_text", "time_field", "time_field_text"] {
            let count = influxdb.count(BUCKET, "algorithmia", field)?;
            ensure!(count > 1000, "only {count} points have {field}");
        }

        // One type that differs is refused, and that is noticed.
        let telegraf = Telegraf::start(
            dir,
            shipped_configuration(),
            [variables, vec![("ALGORITHMIA_AS", "label=integer".to_owned())]].concat(),
        )?;
        kafka.produce(TOPIC, [message(PAYLOADS, "\"label\":1"), message(PAYLOADS + 1, "\"score\":1")])?;
        wait_for("a point that is refused, and the one behind it", LONG, || {
            telegraf.ensure_running()?;
            let is_refused = refused(&telegraf, &influxdb).is_some_and(|line| line.contains("field type conflict"));
            Ok((is_refused && stored(&influxdb)? == PAYLOADS + 1).then_some(()))
        })?;
        Ok(())
    });
}
