//! What became of each key of a message, for people: passed to an [`Observer`](crate::Observer) by a converter that
//! [traces](crate::Converter::trace).

use std::ops::Range;

use crate::line_protocol::field_type::FieldType;
use crate::observe::event::Reason;

/// What became of one message, of one payload if the message was an array, or of one metric of another kind.
#[derive(Clone, Copy, Debug)]
pub struct Trace<'a> {
    /// The position in the input of the message, or of the metric that holds it.
    pub position: Position,
    /// The payload's index in the message, if the message is an array; the first is 0.
    pub item: Option<usize>,
    /// The payload's text. The metric's text, if it could not be read or was passed through. If the text is too large, only
    /// its start.
    pub text: &'a [u8],
    /// The metric's tags and fields, then every key of the payload, in order. For a rejected payload, the keys that it would
    /// have given, if it could be read, without those of the metric.
    pub keys: &'a [Key],
    /// What became of the whole.
    pub outcome: Outcome<'a>,
}

/// A position in an input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The number of bytes before it.
    pub byte: u64,
    /// Its line; the first is 1.
    pub line: u64,
}

/// What became of a message.
#[derive(Clone, Copy, Debug)]
pub enum Outcome<'a> {
    /// It became a point.
    Point(PointTime),
    /// It was rejected. A point with the reason was written in its place.
    Rejected {
        /// The reason.
        reason: Reason,
        /// The error.
        error: &'a str,
        /// The byte of the text that is wrong, if there is a single one.
        at: Option<usize>,
    },
    /// It is a metric of another kind, and was passed through.
    Passed,
    /// The metric is named as a source and has no message, so it passed through.
    NoMessage,
}

/// A point's time, and where it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PointTime {
    /// Nanoseconds since the epoch.
    pub nanoseconds: i64,
    /// The source of the time.
    pub source: TimeSource,
    /// The number of last digits that the source did not give, and that were filled.
    pub filled: u32,
    /// The filled digits are made from the request's id. Otherwise they are made from the whole payload, or from the whole
    /// array if the time is its metric's.
    pub by_request_id: bool,
}

/// The source of a point's time.
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
    /// Where it comes from.
    pub origin: Origin,
    /// The key, unchanged. For a value within another, its path: `box.size.w`, `scores[0]`.
    pub name: String,
    /// The value's position in the payload's text. Empty for the metric's tags and fields.
    pub value: Range<usize>,
    /// What became of it.
    pub fate: Fate,
}

/// Where a key comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The payload.
    Payload,
    /// A tag of the metric.
    MetricTag,
    /// A field of the metric other than the message.
    MetricField,
}

/// What became of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It became a tag of the point.
    Tag {
        /// The key as it is stored.
        key: String,
        /// The value as it is stored.
        value: String,
    },
    /// It became a field of the point.
    Field {
        /// The key as it is stored.
        key: String,
        /// Float, integer, boolean or string.
        kind: FieldType,
        /// The value as it is stored. Values other than strings are as line protocol writes them.
        value: String,
        /// The string's length in bytes before it was cut.
        cut_from: Option<usize>,
        /// The suffixes that were added to the key.
        suffixes: Vec<Suffix>,
    },
    /// It gives the point its time.
    Time,
    /// It was not stored.
    LeftOut(LeftOut),
}

/// A suffix of a field's key, so that each key has one type and differs from the keys of tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suffix {
    /// The suffix.
    pub text: &'static str,
    /// The reason, in words for people.
    pub why: &'static str,
}

/// Why a value is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// The reason.
    pub why: &'static str,
    /// Information was lost: the value is neither `null` nor one that nobody wants.
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
