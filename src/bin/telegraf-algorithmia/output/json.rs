//! `inspect --format json`: what became of each message as one JSON object on a line, for scripts.

use std::io::{self, BufWriter, StdoutLock, Write};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
use telegraf_algorithmia::{Fate, FieldType, Key, Origin, Outcome, PointTime, TimeSource, Trace};

use super::begins_message;
use super::shown::is_shown;

/// Writes the objects to stdout, each when its message is read.
pub struct Objects {
    out: BufWriter<StdoutLock<'static>>,
    /// The measurement of the points.
    measurement: String,
    /// The input that the messages are from.
    input: Option<String>,
    messages: u64,
    failure: Option<io::Error>,
}

impl Objects {
    /// Writes to stdout, for points of this measurement.
    pub fn new(measurement: &str) -> Self {
        let out = BufWriter::new(io::stdout().lock());
        Objects { out, measurement: measurement.to_owned(), input: None, messages: 0, failure: None }
    }

    /// The next messages are from another input, with this name if it has one.
    pub fn begin_input(&mut self, name: Option<&str>) {
        self.input = name.map(str::to_owned);
    }

    /// Flushes the output.
    ///
    /// # Errors
    /// If writing to stdout has failed since the last call.
    pub fn flush(&mut self) -> io::Result<()> {
        match self.failure.take() {
            Some(error) => Err(error),
            None => self.out.flush(),
        }
    }

    /// Writes the object of a message.
    pub fn trace(&mut self, trace: &Trace<'_>) {
        self.messages += u64::from(begins_message(trace));
        if self.failure.is_none() {
            self.failure = self.write(trace).err();
        }
    }

    fn write(&mut self, trace: &Trace<'_>) -> io::Result<()> {
        let Trace { position, item, keys, outcome, .. } = *trace;
        let (stored, left_out) = stored(keys);
        let (message, became) = match outcome {
            Outcome::Point(time) => {
                (Some(self.messages), Became::Point { measurement: &self.measurement, stored, time: Time::of(time) })
            }
            Outcome::Rejected { reason, error, at } => {
                let would_be = (!keys.is_empty()).then_some(stored);
                (Some(self.messages), Became::Rejected { reason: reason.code(), error, at, would_be })
            }
            Outcome::Passed => (None, Became::Passed("other_metric")),
            Outcome::NoMessage => (None, Became::Passed("no_message")),
        };
        let (input, payload) = (self.input.as_deref(), item.map(|item| item + 1));
        let object = Object { input, line: position.line, byte: position.byte, message, payload, became, left_out };
        object.serialize(&mut Serializer::with_formatter(&mut self.out, Harmless))?;
        self.out.write_all(b"\n")
    }
}

/// One message, one payload of an array, or one metric that passed through.
#[derive(Serialize)]
struct Object<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<&'a str>,
    line: u64,
    byte: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<usize>,
    #[serde(flatten)]
    became: Became<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    left_out: Vec<LeftOut<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Became<'a> {
    Point {
        measurement: &'a str,
        #[serde(flatten)]
        stored: Stored<'a>,
        time: Time,
    },
    Rejected {
        reason: &'static str,
        error: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        at: Option<usize>,
        #[serde(skip_serializing_if = "Option::is_none")]
        would_be: Option<Stored<'a>>,
    },
    Passed(&'static str),
}

/// Tags and fields, by the keys under which they are stored.
#[derive(Default, Serialize)]
struct Stored<'a> {
    #[serde(serialize_with = "map")]
    tags: Vec<(&'a str, Entry<'a>)>,
    #[serde(serialize_with = "map")]
    fields: Vec<(&'a str, Entry<'a>)>,
}

#[derive(Serialize)]
struct Entry<'a> {
    value: Value<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    from: &'a str,
    of: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cut_from: Option<usize>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    suffixes: Vec<AddedSuffix>,
}

/// What was added to the key.
#[derive(Serialize)]
struct AddedSuffix {
    suffix: &'static str,
    why: &'static str,
}

/// A key that is not stored.
#[derive(Serialize)]
struct LeftOut<'a> {
    key: &'a str,
    of: &'static str,
    why: &'static str,
    lost: bool,
}

/// What the keys became, except the one that gave the time.
fn stored(keys: &[Key]) -> (Stored<'_>, Vec<LeftOut<'_>>) {
    let (mut stored, mut left_out) = (Stored::default(), Vec::new());
    for its in keys {
        let (from, of) = (its.name.as_str(), origin(its.origin));
        match &its.fate {
            Fate::Tag { key, value } => {
                let value = Value::String(value);
                stored.tags.push((key, Entry { value, kind: None, from, of, cut_from: None, suffixes: Vec::new() }));
            }
            Fate::Field { key, kind, value, cut_from, suffixes } => {
                let (kind, value) = (Some((*kind).into()), Value::of(*kind, value));
                let suffixes = suffixes.iter().map(|its| AddedSuffix { suffix: its.text, why: its.why }).collect();
                stored.fields.push((key, Entry { value, kind, from, of, cut_from: *cut_from, suffixes }));
            }
            Fate::Time => {}
            Fate::LeftOut(why) => left_out.push(LeftOut { key: from, of, why: why.why, lost: why.lost }),
        }
    }
    (stored, left_out)
}

fn map<S: serde::Serializer>(entries: &[(&str, Entry<'_>)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(entries.iter().map(|(key, entry)| (key, entry)))
}

/// A field's value. A number that JSON cannot represent stays text.
#[derive(Serialize)]
#[serde(untagged)]
enum Value<'a> {
    Float(f64),
    Integer(i64),
    Unsigned(u64),
    Boolean(bool),
    String(&'a str),
}

impl<'a> Value<'a> {
    /// The value of a field, from its text in line protocol.
    fn of(kind: FieldType, text: &'a str) -> Self {
        let number = text.trim_end_matches(['i', 'u']);
        let value = match kind {
            FieldType::Boolean => Some(Value::Boolean(text.starts_with(['t', 'T']))),
            FieldType::Integer if text.ends_with('u') => number.parse().ok().map(Value::Unsigned),
            FieldType::Integer => number.parse().ok().map(Value::Integer),
            FieldType::Float => text.parse().ok().filter(|float: &f64| float.is_finite()).map(Value::Float),
            FieldType::String => None,
        };
        value.unwrap_or(Value::String(text))
    }
}

/// A point's time, and its source.
#[derive(Serialize)]
struct Time {
    text: String,
    nanoseconds: i64,
    from: &'static str,
    filled_digits: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    filled_from: Option<&'static str>,
}

impl Time {
    fn of(time: PointTime) -> Self {
        let PointTime { nanoseconds, source, filled, by_request_id } = time;
        let text = Timestamp::from_nanosecond(nanoseconds.into()).map(|at| format!("{at:.9}")).unwrap_or_default();
        let from = match source {
            TimeSource::Time => "time",
            TimeSource::Timestamp => "timestamp",
            TimeSource::Metric => "metric",
            TimeSource::Clock => "clock",
        };
        let filled_from = if by_request_id { "request_id" } else { "message" };
        Time { text, nanoseconds, from, filled_digits: filled, filled_from: (filled > 0).then_some(filled_from) }
    }
}

fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::Payload => "payload",
        Origin::MetricTag => "metric_tag",
        Origin::MetricField => "metric_field",
    }
}

/// Formats JSON without characters that could affect a terminal; they are escaped.
struct Harmless;

impl Formatter for Harmless {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| !is_shown(*c)) {
            writer.write_all(&rest.as_bytes()[..at])?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = &rest[at + c.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}
