//! What became of each key of a message, for people: passed to an [`Observer`](crate::Observer) by a converter that
//! [traces](crate::Converter::trace).

use std::ops::Range;

use crate::line_protocol::field_type::FieldType;
use crate::observe::event::Reason;

/// One message, or one payload of an array that was the message, or one metric of another kind.
#[derive(Clone, Copy, Debug)]
pub struct Trace<'a> {
    /// Where the message begins in the input, or the metric that holds it.
    pub position: Position,
    /// The payload's place in the message, where that is an array: 0 for the first.
    pub item: Option<usize>,
    /// The payload's text, or the metric's where it could not be read or was passed through. Of one that is too large, the
    /// start.
    pub text: &'a [u8],
    /// What came with the metric, and then every key of the payload in its order. Of a rejected payload those that it would
    /// have given, where it could be read; the metric's are not among them.
    pub keys: &'a [Key],
    /// What became of it all.
    pub outcome: Outcome<'a>,
}

/// A place in an input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Bytes before it.
    pub byte: u64,
    /// The line that it is in, from 1 on.
    pub line: u64,
}

/// What became of a message.
#[derive(Clone, Copy, Debug)]
pub enum Outcome<'a> {
    /// It is a point.
    Point(PointTime),
    /// Another point says in its place that it was rejected.
    Rejected {
        /// Why.
        reason: Reason,
        /// What was wrong.
        error: &'a str,
        /// The byte of the text that is wrong, where it is a certain one.
        at: Option<usize>,
    },
    /// It is a metric of another kind, and passed through.
    Passed,
    /// The metric is named as a source and has no message, so it passed through.
    NoMessage,
}

/// A point's time, and where it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PointTime {
    /// Nanoseconds since the epoch.
    pub nanoseconds: i64,
    /// What gave it.
    pub source: TimeSource,
    /// How many of its last digits that did not give, and were filled.
    pub filled: u32,
    /// They are from the request's id, rather than the whole payload, or the whole array that has its metric's time.
    pub by_request_id: bool,
}

/// What gave a point its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeSource {
    /// The payload's `time`.
    Time,
    /// The payload's `timestamp`.
    Timestamp,
    /// The metric that the message came in.
    Metric,
    /// The clock.
    Clock,
}

/// A key, and what became of it.
#[derive(Clone, Debug)]
pub struct Key {
    /// Where it is from.
    pub origin: Origin,
    /// The key, unchanged, and for what is within another value the path to it: `box.size.w`, `scores[0]`.
    pub name: String,
    /// The value's place in the payload's text. Empty for what came with the metric.
    pub value: Range<usize>,
    /// What became of it.
    pub fate: Fate,
}

/// Where a key is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The payload.
    Payload,
    /// A tag of the metric.
    MetricTag,
    /// A field of the metric, beside the message.
    MetricField,
}

/// What became of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is a tag of the point.
    Tag {
        /// The key as it is stored.
        key: String,
        /// The value as it is stored.
        value: String,
    },
    /// It is a field of the point.
    Field {
        /// The key as it is stored.
        key: String,
        /// Float, integer, boolean or string.
        kind: FieldType,
        /// The value as it is stored, for all but strings as it is written in line protocol.
        value: String,
        /// The string's length in bytes before it was cut.
        cut_from: Option<usize>,
        /// What was added to the key.
        suffixes: Vec<Suffix>,
    },
    /// It gives the point its time.
    Time,
    /// Nothing of it is stored.
    LeftOut(LeftOut),
}

/// What is added to a field's key, so that each key has one type and is not also that of a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suffix {
    /// What is added.
    pub text: &'static str,
    /// Why, in words for people.
    pub why: &'static str,
}

/// Why a value is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// The reason.
    pub why: &'static str,
    /// The value said something that is lost, unlike `null`, and unlike one that nobody wants.
    pub lost: bool,
}

impl LeftOut {
    pub(crate) const fn lost(why: &'static str) -> Self {
        LeftOut { why, lost: true }
    }

    pub(crate) const fn nothing(why: &'static str) -> Self {
        LeftOut { why, lost: false }
    }
}
