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
    /// The message is JSON, but no object.
    NotAnObject,
    /// The payload does not say which algorithm was called.
    MissingAlgorithmName,
    /// The payload gives no field.
    NoFields,
    /// The message goes over one of the [`Limits`](crate::Limits), or over what InfluxDB stores.
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

/// Something that happened to one message. The texts live as long as the call that tells of them.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A payload became a point.
    Converted {
        /// The point's time in nanoseconds since the epoch, where it is the payload's own.
        time: Option<i64>,
    },
    /// A metric of another kind was passed through.
    Passed {
        /// The metric.
        metric: Metric<'a>,
    },
    /// A metric named as a source has no string field of the configured name, so it was passed through.
    NoMessage,
    /// A message was rejected; a point that says so went out in its place.
    Rejected {
        /// Why.
        reason: Reason,
        /// What was wrong, and where.
        error: &'a str,
    },
    /// A key's value makes no field (or tag); the rest of the point is as it should be.
    LeftOut {
        /// The key, flattened.
        key: &'a str,
        /// Why it was left out.
        why: &'static str,
    },
    /// An object or array is left out, as it holds more values than [`Limits::items`](crate::Limits::items).
    TooMany {
        /// Its key, flattened.
        key: &'a str,
        /// How many it holds, those of objects and arrays in it counted.
        values: usize,
        /// What that means, and what to do.
        why: &'static str,
    },
    /// The payload's time cannot be read or stored; the point has another.
    TimeDefaulted {
        /// The payload's time as it is written there.
        text: &'a str,
    },
    /// A string was cut to what InfluxDB stores.
    StringCut {
        /// The field's key.
        key: &'a str,
        /// The string's length in bytes before the cut.
        bytes: usize,
    },
}

/// Who is told of events.
pub trait Observer {
    /// Takes notice of one event.
    fn observe(&mut self, event: Event<'_>);

    /// Takes notice of what became of a message, key by key: after its events, and only where the converter
    /// [traces](crate::Converter::trace).
    fn trace(&mut self, _: &Trace<'_>) {}
}

/// Takes no notice.
impl Observer for () {
    fn observe(&mut self, _: Event<'_>) {}
}

/// How often each event happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Points.
    pub converted: u64,
    /// Metrics passed through, those without a message among them.
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

    /// Adds what was counted elsewhere.
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
