//! Events between input and output: passed to an [`Observer`], counted in [`Counts`].

use strum::{Display, IntoStaticStr, VariantArray};

use crate::line_protocol::decoder::Metric;
use crate::observe::trace::Trace;

/// Why a message is rejected: the `reason` tag of the point that takes its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Display, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Reason {
    /// The message is not JSON.
    InvalidJson,
    /// The message is JSON, but not an object.
    NotAnObject,
    /// The payload does not say which algorithm was called.
    MissingAlgorithmName,
    /// The payload makes no field.
    NoFields,
    /// The message exceeds one of the [`Limits`](crate::Limits), or what InfluxDB stores.
    TooLarge,
    /// The line is not line protocol.
    InvalidMetric,
}

impl Reason {
    /// All reasons, in the order of [`Counts::rejected`].
    pub const ALL: &[Reason] = Self::VARIANTS;

    /// The reason's code, such as `invalid_json`.
    pub fn code(self) -> &'static str {
        self.into()
    }
}

/// Something that happened to one message. The texts are borrowed for the duration of the call.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A payload became a point.
    Converted {
        /// The point's time in nanoseconds since the epoch, if it is the payload's own.
        time: Option<i64>,
    },
    /// A metric of another kind was passed through.
    Passed {
        /// The metric.
        metric: Metric<'a>,
    },
    /// A metric named as a source has no string field of the configured name, so it was passed through.
    NoMessage,
    /// A message was rejected. A point with the reason was written in its place.
    Rejected {
        /// The reason.
        reason: Reason,
        /// The error, and its position.
        error: &'a str,
    },
    /// A key's value makes no field or tag. The rest of the point is complete.
    LeftOut {
        /// The key, flattened.
        key: &'a str,
        /// Why it was left out.
        why: &'static str,
    },
    /// An object or array was left out because it holds more values than [`Limits::items`](crate::Limits::items).
    TooMany {
        /// Its key, flattened.
        key: &'a str,
        /// How many values it holds, including those of objects and arrays within it.
        values: usize,
        /// What this means, and what to do.
        why: &'static str,
    },
    /// The payload's time cannot be read or stored, so the point has another time.
    TimeDefaulted {
        /// The payload's time as it is written.
        text: &'a str,
    },
    /// A string was cut to the length that InfluxDB stores.
    StringCut {
        /// The field's key.
        key: &'a str,
        /// The string's length in bytes before the cut.
        bytes: usize,
    },
}

/// Receives the events of a converter.
pub trait Observer {
    /// Receives one event.
    fn observe(&mut self, event: Event<'_>);

    /// Receives what became of a message, key by key. It is called after the message's events, and only if the converter
    /// [traces](crate::Converter::trace).
    fn trace(&mut self, _: &Trace<'_>) {}
}

/// Ignores all events.
impl Observer for () {
    fn observe(&mut self, _: Event<'_>) {}
}

/// How often each event happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Points.
    pub converted: u64,
    /// Metrics passed through, including those without a message.
    pub passed: u64,
    /// Rejections, in the order of [`Reason::ALL`].
    pub rejected: [u64; Reason::ALL.len()],
    /// Values that made no field or tag.
    pub left_out: u64,
    /// Points that did not get the time their payload gives.
    pub time_defaulted: u64,
    /// Strings that were cut.
    pub strings_cut: u64,
}

impl Counts {
    /// All rejections.
    pub fn all_rejected(&self) -> u64 {
        self.rejected.iter().sum()
    }

    /// Adds the counts of another.
    pub fn add(&mut self, other: &Counts) {
        self.converted += other.converted;
        self.passed += other.passed;
        self.rejected.iter_mut().zip(other.rejected).for_each(|(sum, count)| *sum += count);
        self.left_out += other.left_out;
        self.time_defaulted += other.time_defaulted;
        self.strings_cut += other.strings_cut;
    }
}

impl Observer for Counts {
    fn observe(&mut self, event: Event<'_>) {
        let count = match event {
            Event::Converted { .. } => &mut self.converted,
            Event::Passed { .. } | Event::NoMessage => &mut self.passed,
            Event::Rejected { reason, .. } => &mut self.rejected[reason as usize],
            Event::LeftOut { .. } | Event::TooMany { .. } => &mut self.left_out,
            Event::TimeDefaulted { .. } => &mut self.time_defaulted,
            Event::StringCut { .. } => &mut self.strings_cut,
        };
        *count += 1;
    }
}
