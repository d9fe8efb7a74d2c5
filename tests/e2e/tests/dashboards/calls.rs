//! What was produced: calls of models, and messages that are none.

use std::collections::BTreeSet;

use fixtures::Random;
use jiff::Timestamp;
use rand::{RngExt, SeedableRng};
use serde_json::{Map, Value as Json, json};

pub const MILLISECOND: i64 = 1_000_000;
pub const SECOND: i64 = 1_000 * MILLISECOND;
pub const MINUTE: i64 = 60 * SECOND;
pub const HOUR: i64 = 60 * MINUTE;
pub const DAY: i64 = 24 * HOUR;

/// Names that a query, a line or a CSV text could stumble over.
pub const ODD_OWNER: &str = r#"o'brien "x" \b ${v.owner} é,=日"#;
pub const ODD_NAME: &str = r#"na me "q" \b ${1 + 1} ü,="#;
pub const ODD_VERSION: &str = r#"1.0 "beta" \b ${x} ß,="#;
pub const ODD_METRIC: &str = r#"mé "tric" \b ${x},="#;

/// What Telegraf tags messages with, where it is set up to tell topics apart.
pub const TOPIC_TAG: &str = "topic";

/// A metric of a call.
#[derive(Clone, Debug)]
pub enum Metric {
    Number(f64),
    Flag(bool),
    Text(String),
}

/// A call of a model.
#[derive(Clone, Debug)]
pub struct Call {
    pub owner: String,
    pub name: String,
    pub version: String,
    pub time: i64,
    pub request: String,
    pub metrics: Vec<(String, Metric)>,
    /// What else its point is tagged with: the topic, and what the payload has that `--as` makes a tag.
    pub tags: Vec<(&'static str, String)>,
}

impl Call {
    /// The message that tells of it. Where there is no owner, or no version, there is an empty one, null or none at all: to
    /// InfluxDB that is the same.
    pub fn payload(&self) -> Json {
        let mut payload = Map::new();
        for (key, value) in
            [("algorithm_owner", &self.owner), ("algorithm_name", &self.name), ("algorithm_version", &self.version)]
        {
            let none = [None, Some(Json::Null), Some(json!(""))][self.time as usize % 3].clone();
            if let Some(value) = if value.is_empty() { none } else { Some(json!(value)) } {
                payload.insert(key.to_owned(), value);
            }
        }
        // All nine digits: the processor fills those that are left out.
        let time = Timestamp::from_nanosecond(self.time.into()).expect("a time");
        payload
            .insert("time".to_owned(), if self.time % 2 == 0 { json!(format!("{time:.9}")) } else { json!(self.time) });
        payload.insert("request_id".to_owned(), json!(self.request));
        payload.insert("session_id".to_owned(), json!(format!("rses-{}", self.request)));
        for (key, metric) in &self.metrics {
            let value = match metric {
                Metric::Number(number) => json!(number),
                Metric::Flag(flag) => json!(flag),
                Metric::Text(text) => json!(text),
            };
            payload.insert(key.clone(), value);
        }
        for (key, tag) in self.tags.iter().filter(|(key, _)| *key != TOPIC_TAG) {
            payload.insert((*key).to_owned(), json!(tag));
        }
        Json::Object(payload)
    }

    /// A metric as a number: flags are 1 and 0.
    pub fn number(&self, field: &str) -> Option<f64> {
        self.metrics.iter().find(|(key, _)| key == field).and_then(|(_, metric)| match metric {
            Metric::Number(number) => Some(*number),
            Metric::Flag(flag) => Some(f64::from(u8::from(*flag))),
            Metric::Text(text) => text.parse().ok(),
        })
    }

    /// All fields as text, and the further tags, as the table of the latest calls has them: by the keys that they are stored as.
    pub fn texts(&self, booleans: bool) -> Vec<(String, String)> {
        let metrics = self.metrics.iter().map(|(key, metric)| match (metric, self.number(key)) {
            (Metric::Flag(flag), _) if booleans => (key.clone(), flag.to_string()),
            (Metric::Text(text), None) => (format!("{key}_text"), text.clone()),
            (_, number) => (key.clone(), number.expect("only a text is no number").to_string()),
        });
        let tags = self.tags.iter().map(|(key, tag)| ((*key).to_owned(), tag.clone()));
        metrics.chain([("request_id".to_owned(), self.request.clone())]).chain(tags).collect()
    }
}

/// Messages of these calls; every tenth message is an array of three.
pub fn messages(calls: &[Call]) -> Vec<String> {
    let mut messages = Vec::new();
    let mut rest = calls;
    while !rest.is_empty() {
        let count = if messages.len() % 10 == 9 { rest.len().min(3) } else { 1 };
        let (now, later) = rest.split_at(count);
        let payloads = now.iter().map(Call::payload).collect::<Vec<_>>();
        messages.push(if count == 1 { payloads[0].to_string() } else { Json::Array(payloads).to_string() });
        rest = later;
    }
    messages
}

/// A number that looks random and always is the same.
fn noise(seed: u64) -> u64 {
    Random::seed_from_u64(seed).random()
}

/// The same between 0 and 1.
pub fn share(seed: u64) -> f64 {
    Random::seed_from_u64(seed).random()
}

/// Makes calls that each have a time of their own.
#[derive(Default)]
pub struct Producer {
    taken: BTreeSet<i64>,
    pub calls: Vec<Call>,
}

impl Producer {
    /// `count` calls of a model spread over a time, with the usual metrics of an approval, and others.
    pub fn model(&mut self, model: [&str; 3], count: usize, times: std::ops::Range<i64>, others: &[&str]) {
        for index in 0..count {
            let step = (times.end - times.start) / count as i64;
            let time = times.start + index as i64 * step + (share(self.calls.len() as u64) * step as f64) as i64;
            self.call(model, time, others);
        }
    }

    /// One call, at this very time.
    pub fn call(&mut self, model: [&str; 3], time: i64, others: &[&str]) {
        let seed = (self.calls.len() as u64 + 1) * 1000;
        let risk = share(seed);
        let mut metrics = vec![("risk_score", Metric::Number(risk)), ("approved", Metric::Flag(risk < 0.6))];
        // The set of metrics differs from call to call; even the duration may be missing.
        if !noise(seed + 1).is_multiple_of(29) {
            let slow = if noise(seed + 2).is_multiple_of(11) { 100.0 } else { 1.0 };
            metrics.push(("duration_milliseconds", Metric::Number((share(seed + 3) * 80.0 * slow).ceil())));
        }
        for (index, other) in others.iter().enumerate() {
            let index = index as u64;
            if !noise(seed + 100 + index).is_multiple_of(5) {
                let number = (share(seed + 200 + index) - 0.4) * 1000.0;
                // A string that is a number is a number.
                let text = index % 2 == 1;
                metrics.push((other, if text { Metric::Text(number.to_string()) } else { Metric::Number(number) }));
            }
        }
        self.exact(model, time, &metrics);
    }

    /// One call with these very metrics.
    pub fn exact(&mut self, [owner, name, version]: [&str; 3], time: i64, metrics: &[(&str, Metric)]) {
        assert!(self.taken.insert(time), "two calls at {time}");
        let [owner, name, version] = [owner, name, version].map(str::to_owned);
        let request = format!("req-{}", self.calls.len());
        let metrics = metrics.iter().map(|(key, metric)| ((*key).to_owned(), metric.clone())).collect();
        self.calls.push(Call { owner, name, version, time, request, metrics, tags: Vec::new() });
    }
}

/// A message that cannot be converted.
#[derive(Clone, Debug)]
pub struct Bad {
    pub reason: &'static str,
    pub message: String,
}

/// Messages that cannot be converted, for several reasons, each message another.
pub fn bad(round: usize) -> Vec<Bad> {
    let long = format!("{{\"round\":{round},\"text\":\"{}", "日本語 ü\\\"\n".repeat(200) + "!");
    let mut bad = vec![
        ("invalid_json", format!("{{\"round\":{round}")),
        ("invalid_json", long),
        ("not_an_object", format!("\"${{round}} {round}, \u{e9}\"")),
        ("missing_algorithm_name", format!("{{\"round\":{round},\"risk_score\":0.5}}")),
    ];
    if round == 0 {
        bad.push(("missing_algorithm_name", "{\"risk_score\":0.25}".to_owned()));
        bad.push(("no_fields", "{\"algorithm_name\":\"x\"}".to_owned()));
    }
    bad.into_iter().map(|(reason, message)| Bad { reason, message }).collect()
}
