//! The settings of a [`Converter`](crate::Converter), which do not change.

pub(crate) mod kinds;
pub(crate) mod renames;

use std::time::{SystemTime, UNIX_EPOCH};

use crate::settings::kinds::Kinds;
use crate::settings::renames::Renames;

/// How messages become points. The default is the contract described in README.md.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The names of the metrics that carry messages.
    pub sources: Vec<String>,
    /// The string field that holds the message.
    pub field: String,
    /// The measurement of the points. Rejections go to the measurement of this name with `_rejected` appended.
    pub measurement: String,
    /// How the input is read.
    pub input: Input,
    /// Renames of keys, applied before any other rule.
    pub renames: Renames,
    /// The kinds that rules fix for keys.
    pub kinds: Kinds,
    /// Keep times exactly as they are given, even if two calls then have the same time.
    pub exact_time: bool,
    /// The limits on a message's size.
    pub limits: Limits,
    /// The clock, in nanoseconds since the epoch, for messages without any time.
    pub clock: fn() -> i64,
}

/// How the input is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Detect the format of each line or value: JSON if it begins with `{` or `[`, a metric if it can be read as one.
    /// Anything else is read in the format of what came before it.
    Auto,
    /// As line protocol.
    Influx,
    /// As JSON: lines, concatenated objects, or an array of objects. A value may span lines.
    Json,
    /// As JSON lines: each line is one message, whatever it holds.
    JsonLines,
}

/// The limits on a message's size. A message that exceeds `message`, `fields` or `nesting` is rejected as `too_large`. An
/// object or array that exceeds `items` is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the message's text.
    pub message: usize,
    /// Fields and tags that a payload makes.
    pub fields: usize,
    /// Depth of nested objects and arrays, including the payload itself.
    pub nesting: usize,
    /// Values in an object or array of the payload, including those of objects and arrays within it. One with more values is
    /// left out, and the rest of the payload is kept.
    pub items: usize,
}

impl Limits {
    /// The longest text to wait for, in bytes: that of a metric with a message of the limit's size, every byte of it
    /// escaped, and as much again as InfluxDB accepts of tags. A value in a stream of JSON may be as long; if it is
    /// complete, it becomes one rejection.
    pub(crate) fn longest(self) -> usize {
        2 * self.message + 64 * 1024
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits { message: 1024 * 1024, fields: 1000, nesting: 64, items: 256 }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            sources: vec!["kafka_consumer".to_owned()],
            field: "value".to_owned(),
            measurement: "algorithmia".to_owned(),
            input: Input::Auto,
            renames: Renames::default(),
            kinds: Kinds::default(),
            exact_time: false,
            limits: Limits::default(),
            clock: system_clock,
        }
    }
}

/// Why settings are refused. The text says what to change.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// InfluxDB reserves names that start with `_`. `#` starts a comment, `{` and `[` start JSON, and readers disagree on
    /// the rest.
    #[error(
        "`{0}` cannot be the name of a measurement: take one that starts with a letter or digit and has no backslash or \
         control character"
    )]
    Measurement(String),
    /// A point would be read as a message if it came in again.
    #[error("`{0}` is both a source and the measurement of the points: take another measurement")]
    MeasurementIsSource(String),
    /// A source or the field is an empty text.
    #[error("the name of a {0} cannot be empty: give it one, or leave the option out")]
    Empty(&'static str),
    /// A limit is out of its range.
    #[error("the limit on {name} is {value}, and has to be between {least} and {most}")]
    Limit {
        /// What is limited.
        name: &'static str,
        /// The value that was given.
        value: usize,
        /// The smallest value allowed.
        least: usize,
        /// The largest value allowed.
        most: usize,
    },
}

impl Settings {
    pub(crate) fn check(&self) -> Result<(), SettingsError> {
        let name = &self.measurement;
        if !name.starts_with(char::is_alphanumeric) || name.contains(|c: char| c == '\\' || c.is_control()) {
            return Err(SettingsError::Measurement(name.clone()));
        }
        if self.sources.contains(name) || self.sources.contains(&format!("{name}_rejected")) {
            return Err(SettingsError::MeasurementIsSource(name.clone()));
        }
        if self.sources.is_empty() || self.sources.iter().any(String::is_empty) {
            return Err(SettingsError::Empty("source"));
        }
        if self.field.is_empty() {
            return Err(SettingsError::Empty("field"));
        }
        // Nesting costs stack, the others memory.
        for (name, value, most) in [
            ("the size of a message", self.limits.message, 1 << 30),
            ("the number of fields", self.limits.fields, 1_000_000),
            ("nesting", self.limits.nesting, 1000),
            ("the values of an array", self.limits.items, 1_000_000),
        ] {
            if !(1..=most).contains(&value) {
                return Err(SettingsError::Limit { name, value, least: 1, most });
            }
        }
        Ok(())
    }
}

fn system_clock() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_nanos()).unwrap_or(i64::MAX)
}
