//! The demo: its models by themselves, and all of it on real servers.

#[path = "../examples/demo/models.rs"]
#[allow(dead_code)]
mod models;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::process::{Command, Stdio};

use influxdb_line_protocol::parse_lines;
use jiff::{SignedDuration, Timestamp};
use models::{BREAKING, DRIFTING, Fate, Message, Simulation};
use serde_json::Value;
use telegraf_algorithmia::{Converter, Settings};

const MINUTE: SignedDuration = SignedDuration::from_mins(1);
const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// The check "Risk Score Alert" is critical above this.
const LIMIT: f64 = 0.7;

/// Calls per second.
const RATE: f64 = 10.0;

/// When the demo starts in these tests.
fn start() -> Timestamp {
    "2026-02-20T12:34:56Z".parse().unwrap()
}

/// A call, as its message tells of it.
struct Call {
    name: String,
    version: String,
    time: Timestamp,
    numbers: BTreeMap<String, f64>,
    request: String,
}

impl Call {
    fn new(message: &Message) -> Call {
        // As Python writes what JSON does not have.
        let text = String::from_utf8_lossy(&message.text).replace(":NaN,", ":null,");
        let mut fields: BTreeMap<String, Value> = serde_json::from_str(&text).unwrap();
        let mut text = |key| fields.remove(key).unwrap().as_str().unwrap().to_owned();
        Call {
            name: text("algorithm_name"),
            version: text("algorithm_version"),
            time: format!("{}Z", text("time")).parse().unwrap(),
            request: text("request_id"),
            numbers: fields.into_iter().filter_map(|(key, value)| Some((key, value.as_f64()?))).collect(),
        }
    }
}

fn calls(messages: &[Message]) -> Vec<Call> {
    messages.iter().filter(|message| matches!(message.fate, Fate::Point { .. })).map(Call::new).collect()
}

/// What our own converter makes of a message that comes from Kafka.
fn convert(message: &Message) -> String {
    let mut metric = b"kafka_consumer value=\"".to_vec();
    for byte in &message.text {
        if matches!(byte, b'"' | b'\\') {
            metric.push(b'\\');
        }
        metric.push(*byte);
    }
    metric.extend_from_slice(b"\" 1771590896000000000\n");
    let mut converter = Converter::new(Settings::default()).unwrap();
    let mut out = Vec::new();
    converter.push(&metric, &mut out, &mut ());
    converter.finish(&mut out, &mut ());
    String::from_utf8(out).unwrap()
}

/// The calls of an hour before the demo starts, and of an hour after it. The drift breaks out a minute after the start, and is
/// repaired five minutes later.
fn drifting(seed: u64) -> (Vec<Call>, Range<Timestamp>) {
    let mut simulation = Simulation::new(seed, RATE, start() - HOUR, start());
    let drift = start() + MINUTE..start() + 6 * MINUTE;
    let mut messages = simulation.until(start());
    simulation.go_wrong();
    simulation.break_out(drift.start);
    messages.extend(simulation.until(drift.end));
    simulation.repair(drift.end);
    messages.extend(simulation.until(start() + HOUR));
    (calls(&messages), drift)
}

#[test]
fn only_the_drifting_model_exceeds_the_limit_and_only_while_it_drifts() {
    for seed in 0..3 {
        let (calls, drift) = drifting(seed);
        let mut over = Vec::new();
        for call in &calls {
            let Some(score) = call.numbers.get("risk_score") else { continue };
            assert!((0.0..=1.0).contains(score), "{score}");
            if *score > LIMIT {
                assert_eq!((call.name.as_str(), call.version.as_str()), DRIFTING);
                assert!(drift.contains(&call.time), "{score} at {}", call.time);
                over.push(call.time);
            }
        }
        // It crosses the limit before it has come to its full extent, and then never rests.
        assert!(over[0] < drift.start + BREAKING, "seed {seed}: not before {}", over[0]);
        let gaps = over.windows(2).map(|pair| pair[1].duration_since(pair[0]));
        assert!(gaps.max().unwrap() < SignedDuration::from_secs(15), "seed {seed}");
        assert!(drift.end.duration_since(*over.last().unwrap()) < SignedDuration::from_secs(15), "seed {seed}");
    }
}

#[test]
fn the_drift_is_seen_coming() {
    let (calls, drift) = drifting(1);
    let mean = |range: Range<Timestamp>| {
        let drifting = calls.iter().filter(|call| (call.name.as_str(), call.version.as_str()) == DRIFTING);
        let scores =
            drifting.filter(|call| range.contains(&call.time)).filter_map(|call| call.numbers.get("risk_score"));
        let scores: Vec<_> = scores.collect();
        scores.iter().copied().sum::<f64>() / scores.len() as f64
    };
    let before = mean(start() - 10 * MINUTE..start());
    let breaking = mean(drift.start + BREAKING..drift.end);
    let after = mean(drift.end..start() + HOUR);
    assert!(mean(start() - 20 * MINUTE..start() - 10 * MINUTE) + 0.05 < before);
    assert!(after + 0.1 < before && before < LIMIT && LIMIT < breaking, "{before} {breaking} {after}");
}

#[test]
fn a_new_version_is_rolled_out_step_by_step() {
    let (calls, _) = drifting(1);
    let share = |range: Range<Timestamp>| {
        let all = calls.iter().filter(|call| call.name == "credit_card_approval" && range.contains(&call.time));
        let (new, old): (Vec<_>, Vec<_>) = all.partition(|call| call.version == "1.1.0");
        assert!(old.iter().all(|call| call.version == "1.0.6"));
        new.len() as f64 / (new.len() + old.len()) as f64
    };
    let quarters = [-60, -30, -15, 0, 15, 30].map(|from| start() + from * MINUTE..start() + (from + 15) * MINUTE);
    let shares = quarters.map(share);
    assert!(shares.is_sorted_by(|a, b| a + 0.1 < *b) && shares[0] == 0.0 && shares[5] == 1.0, "{shares:?}");
}

#[test]
fn calls_are_as_many_and_as_fast_as_they_should_be() {
    let (calls, _) = drifting(1);
    assert!((calls.len() as f64 - 2.0 * 3600.0 * RATE).abs() < 1_000.0, "{}", calls.len());
    // The check of durations is quiet up to 1000 ms.
    let slow = calls.iter().find(|call| !(1.0..1000.0).contains(&call.numbers["duration_milliseconds"]));
    assert!(slow.is_none());
    let peak = |model: &str, version: &str| {
        let calls = calls.iter().filter(|call| call.name == model && call.version == version);
        let mut durations: Vec<_> = calls.map(|call| call.numbers["duration_milliseconds"]).collect();
        durations.sort_by(f64::total_cmp);
        (durations[durations.len() / 2], durations[durations.len() * 99 / 100])
    };
    let (median, p99) = peak("credit_card_approval", "1.0.6");
    assert!((8.0..=10.0).contains(&median) && p99 > 2.0 * median, "{median} {p99}");
    let ids: BTreeSet<_> = calls.iter().map(|call| call.request.as_str()).collect();
    assert_eq!(ids.len(), calls.len());
    // Metrics of one kind and another: a dashboard has something to choose from.
    let names: BTreeSet<_> = calls.iter().flat_map(|call| call.numbers.keys()).map(String::as_str).collect();
    assert!(names.contains("cats_in_image") && names.contains("sentiment") && names.len() >= 8, "{names:?}");
    let first = calls.iter().map(|call| call.name.as_str()).min();
    assert_eq!(first, Some("credit_card_approval"), "a dashboard opens with the first");
}

#[test]
fn every_message_becomes_what_it_is_said_to_become() {
    let mut simulation = Simulation::new(3, 50.0, start(), start());
    simulation.go_wrong();
    simulation.break_out(start());
    let messages = simulation.until(start() + 5 * MINUTE);
    let (mut twice, mut reasons, mut numberless) = (0, BTreeMap::new(), 0);
    for (index, message) in messages.iter().enumerate() {
        let text = String::from_utf8_lossy(&message.text);
        let lines = convert(message);
        let parsed: Vec<_> = parse_lines(&lines).map(Result::unwrap).collect();
        let [line] = &parsed[..] else { panic!("{text} became\n{lines}") };
        match &message.fate {
            Fate::Point { request } => {
                assert_eq!(line.series.measurement.as_str(), "algorithmia", "{text}");
                assert_eq!(line.field_value("request_id").unwrap().to_string(), *request);
                assert_eq!(Call::new(message).request, *request);
                numberless += usize::from(text.contains(":NaN,"));
            }
            Fate::SamePoint => {
                assert_eq!(lines, convert(&messages[index - 1]));
                twice += 1;
            }
            Fate::Rejection { reason } => {
                assert_eq!(line.series.measurement.as_str(), "algorithmia_rejected", "{text}");
                assert_eq!(line.tag_value("reason").unwrap().as_str(), *reason, "{text}");
                *reasons.entry(*reason).or_insert(0) += 1;
            }
        }
    }
    assert!(twice > 0 && numberless > 0);
    assert_eq!(reasons.len(), 5, "{reasons:?}");
    // Every 10 s, and each kind more than once.
    assert!((28..=30).contains(&reasons.values().sum::<i32>()), "{reasons:?}");
}

#[test]
fn a_seed_always_gives_the_same() {
    let texts = |seed| {
        let mut simulation = Simulation::new(seed, 10.0, start() - MINUTE, start());
        simulation.until(start()).into_iter().map(|message| message.text).collect::<Vec<_>>()
    };
    assert_eq!(texts(1), texts(1));
    assert_ne!(texts(1), texts(2));
}

/// All of it on real servers. The demo itself looks whether everything has come: every message, the alerts to the letter and their
/// end, the statuses of the checks, and something in every cell of every dashboard.
#[test]
fn the_demo_comes_to_a_good_end() {
    let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
    let output = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--locked", "--profile", profile, "--example", "demo", "--", "--once"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("TELEGRAF_ALGORITHMIA", env!("CARGO_BIN_EXE_telegraf-algorithmia"))
        // It takes minutes: people may see how far it is.
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}: {said}", output.status);
    assert_eq!(said.lines().filter(|line| line.starts_with("ok ")).count(), 7, "{said}");
    assert!(said.contains("\nok      Slack has received the alert to the letter"), "{said}");
    assert!(
        said.contains("\nok      Slack has received that there is drift, of approved, risk_score, and its end"),
        "{said}"
    );
}
