//! One complete metric or message, made into lines.

use std::ops::Range;

use memchr::memchr;
use xxhash_rust::xxh3::xxh3_64;

use crate::buffers::KEPT;
use crate::convert::rejections::RejectionTimes;
use crate::convert::utf8::Utf8;
use crate::json::{Encoding, InString, Plain};
use crate::line_protocol::decoder::{Metric, MetricReader, Pair};
use crate::line_protocol::encoder::write_time;
use crate::line_protocol::escape::{cut, plain_key, unescape_string};
use crate::observe::event::{Event, Observer, Reason};
use crate::observe::trace::{self, LeftOut, Outcome, PointTime, Position, TimeSource};
use crate::payload::room::Room;
use crate::payload::timestamp::{self, Timestamp};
use crate::payload::tracer::{TimeOf, Tracer};
use crate::payload::{Payloads, Rejection};
use crate::settings::Settings;

/// The largest part of a rejected payload that is kept, in bytes.
pub(super) const MAX_REJECTED: usize = 60 * 1024;

/// The most tags, and the most fields, of a metric with a message. The number is limited because each is compared with all
/// others.
const MAX_METRIC_PARTS: usize = 1000;

/// The latest time that a line can have, in nanoseconds.
const LAST_TIME: &[u8; 19] = b"9223372036854775807";

/// The longest payload that is read unchanged from the input, before it is known whether all of it is there.
pub(super) const MAX_AS_IT_STANDS: usize = 64 * 1024;

/// Where lines are written, and the observer.
pub(super) struct Sink<'a> {
    pub out: &'a mut Vec<u8>,
    pub observer: &'a mut dyn Observer,
}

/// Turns one complete metric or message into lines.
pub(super) struct Engine {
    pub settings: Settings,
    pub rejected_measurement: Vec<u8>,
    pub measurement: Vec<u8>,
    pub metric: MetricReader,
    pub payloads: Payloads,
    /// The text of a message, unescaped.
    pub message: Vec<u8>,
    /// The same, if a payload was read unchanged from the input.
    pub decoded: Vec<u8>,
    pub utf8: Utf8,
    /// The room that is left for the lines of the current message.
    pub room: Room,
    /// The most bytes that the lines of one message may take.
    pub most_lines: usize,
    /// Rejections are left to another converter to write.
    pub leaves_rejections: bool,
    /// The last time that the clock gave.
    pub last_now: i64,
    pub rejection_times: RejectionTimes,
    /// Notes what becomes of each key, for an observer. With it, no payload is read unchanged from the input.
    pub tracer: Option<Box<Tracer>>,
}

/// What a payload gets from the metric that it came in.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FromMetric {
    /// The metric's time.
    pub time: Option<i64>,
    /// The payload's index in its message, and whether the message is an array.
    pub index: i64,
    pub is_item: bool,
    /// The hash of that array.
    pub array: Option<u64>,
}

impl Engine {
    /// The next message begins at `start` in the buffer.
    pub fn begin(&mut self, buffer: &[u8], start: usize) {
        if let Some(tracer) = &mut self.tracer {
            tracer.begin(buffer, start);
        }
    }

    pub fn begin_at(&mut self, position: Position) {
        if let Some(tracer) = &mut self.tracer {
            tracer.begin_at(position);
        }
    }

    /// The position of the current message in the input, if there is a tracer.
    pub fn position(&self) -> Position {
        self.tracer.as_ref().map_or_else(Position::default, |tracer| tracer.position())
    }

    /// The first `len` bytes of the buffer are removed.
    pub fn drained(&mut self, buffer: &[u8], len: usize) {
        if let Some(tracer) = &mut self.tracer {
            tracer.drained(buffer, len);
        }
    }

    pub fn start_metric(&mut self) {
        self.payloads.start_metric();
        if let Some(tracer) = &mut self.tracer {
            tracer.start_metric();
        }
    }

    /// Starts a message that took this many bytes when it arrived.
    pub fn start_message(&mut self, bytes: usize) {
        self.room = Room::of(bytes, self.most_lines);
    }

    /// Frees the memory that a large message took.
    #[inline(never)]
    pub fn shrink(&mut self) {
        self.payloads.shrink();
        self.metric.shrink();
        self.message.clear();
        self.message.shrink_to(KEPT);
    }

    /// Converts the line at the start of `buffer` and returns its length with the line break. It does so only if the line is
    /// complete and starts as the last one did, and its message is a payload that makes a point. Otherwise it does nothing
    /// and returns None.
    pub fn metric_as_it_stands(&mut self, buffer: &[u8], sink: &mut Sink<'_>) -> Option<usize> {
        let text = self.payloads.behind_head(buffer)?;
        let len = self.read_start::<InString>(text)?;
        self.utf8.check(buffer, buffer.len() - text.len() + len)?;
        let (text, behind) = text.split_at(len);
        // All times of this century have 19 digits.
        let (time, rest) = behind.trim_ascii_start().strip_prefix(b"\" ")?.split_first_chunk()?;
        let is_time = time.iter().fold(true, |all, byte| all & byte.is_ascii_digit()) && time <= LAST_TIME;
        let rest = rest.strip_prefix(b"\n").filter(|_| is_time)?;
        let time = || std::str::from_utf8(time).ok()?.parse().ok();
        let len = buffer.len() - rest.len();
        self.start_message(len);
        self.point_as_it_stands::<InString>(text, time, sink)?;
        Some(len)
    }

    /// The same for the JSON object at the start of `buffer`.
    pub fn object_as_it_stands(&mut self, buffer: &[u8], sink: &mut Sink<'_>) -> Option<usize> {
        if self.tracer.is_some() {
            return None;
        }
        self.payloads.start_metric();
        let len = self.read_start::<Plain>(buffer)?;
        self.utf8.check(buffer, len)?;
        self.start_message(len);
        self.point_as_it_stands::<Plain>(&buffer[..len], || None, sink)?;
        Some(len)
    }

    /// The same for the line at the start of `buffer`, if it is complete and holds such an object.
    pub fn line_as_it_stands(&mut self, buffer: &[u8], sink: &mut Sink<'_>) -> Option<usize> {
        if self.tracer.is_some() {
            return None;
        }
        self.payloads.start_metric();
        let len = self.read_start::<Plain>(buffer)?;
        self.utf8.check(buffer, len)?;
        // A line break in the object ends the line.
        if memchr(b'\n', &buffer[..len]).is_some() {
            return None;
        }
        let rest = &buffer[len..];
        let rest = rest.strip_prefix(b"\r").unwrap_or(rest).strip_prefix(b"\n")?;
        self.start_message(len);
        self.point_as_it_stands::<Plain>(&buffer[..len], || None, sink)?;
        Some(buffer.len() - rest.len())
    }

    /// Reads the payload at the start of `text`. Returns its length.
    fn read_start<E: Encoding>(&mut self, text: &[u8]) -> Option<usize> {
        let limit = MAX_AS_IT_STANDS.min(self.settings.limits.message).min(text.len());
        // The length of the message is known only at the end, so this is the room of the longest.
        let mut room = Room::of(limit, self.most_lines);
        self.payloads.read_start::<E>(&text[..limit], &self.settings, &mut room)
    }

    /// Appends the line of the payload that was read from `text`.
    fn point_as_it_stands<E: Encoding>(
        &mut self,
        text: &[u8],
        metric_time: impl FnOnce() -> Option<i64>,
        sink: &mut Sink<'_>,
    ) -> Option<()> {
        self.payloads.check_keys(&mut self.room).ok()?;
        self.payloads.write(text, &self.settings, &self.measurement, &mut self.room, false, sink.out).ok()?;
        self.payloads.tell(sink.observer);
        self.end_point::<E>(text, metric_time, FromMetric::default(), sink);
        #[cfg(test)]
        tests::WRITTEN.with(|written| written.set(written.get() + 1));
        Some(())
    }

    /// Appends the time of the point whose line has been written, and reports the point.
    fn end_point<E: Encoding>(
        &mut self,
        text: &[u8],
        metric_time: impl FnOnce() -> Option<i64>,
        origin: FromMetric,
        sink: &mut Sink<'_>,
    ) -> PointTime {
        let own_time = self.payloads.own_time(text, sink.observer);
        let metric_time = || Some((timestamp::of_metric(metric_time()?)?, TimeSource::Metric));
        let given = own_time.or_else(metric_time);
        let filled = given.and_then(|(time, source)| self.filled::<E>(text, time, source, origin));
        let time = filled.unwrap_or_else(|| {
            let nanoseconds = self.now();
            PointTime { nanoseconds, source: TimeSource::Clock, filled: 0, by_request_id: false }
        });
        write_time(time.nanoseconds, sink.out);
        sink.observer.observe(Event::Converted { time: own_time.map(|_| time.nanoseconds) });
        time
    }

    /// The given time, with its missing digits filled, if InfluxDB stores it.
    fn filled<E: Encoding>(
        &mut self,
        text: &[u8],
        given: Timestamp,
        source: TimeSource,
        origin: FromMetric,
    ) -> Option<PointTime> {
        let filled = if self.settings.exact_time { 0 } else { given.unknown };
        // All payloads of an array share the metric's time. Their indexes in the array keep them apart, even if two are
        // equal.
        let (array, place) = if source == TimeSource::Metric { (origin.array, origin.index) } else { (None, 0) };
        let (hash, by_request_id) = match array {
            _ if filled == 0 => (0, false),
            Some(hash) => (hash, false),
            None => self.payloads.hash::<E>(text, &mut self.decoded),
        };
        let nanoseconds = timestamp::later(given.filled(hash), place)?;
        Some(PointTime { nanoseconds, source, filled, by_request_id })
    }

    /// Converts a line of the form `SOURCE[,tags] FIELD="message" TIME`. If it has another form, does nothing and returns
    /// false.
    fn plain_metric(&mut self, line: &[u8], sink: &mut Sink<'_>) -> bool {
        let Some(start) = self.message_start(line) else { return false };
        let mut message = std::mem::take(&mut self.message);
        message.clear();
        let end = unescape_string(&line[start..], &mut message);
        let time = end.and_then(|len| MetricReader::read_time(line, start + len + 1).ok());
        let time = time.filter(|_| self.metric.tags.len() <= MAX_METRIC_PARTS);
        if let Some(time) = time {
            self.take_tags(line);
            if self.tracer.is_none() {
                self.payloads.take_head(&line[..start]);
            }
            self.start_message(line.len());
            self.message(&message, time, sink);
        }
        self.message = message;
        time.is_some()
    }

    /// Where the message begins in a metric that starts with `line`, if its first field holds one. Reads the tags too.
    pub fn message_start(&mut self, line: &[u8]) -> Option<usize> {
        if !self.settings.sources.iter().any(|source| line.starts_with(source.as_bytes())) {
            return None;
        }
        let at = self.metric.read_head(line).ok()?;
        let name = &line[self.metric.name.clone()];
        if !self.settings.sources.iter().any(|source| source.as_bytes() == name) {
            return None;
        }
        let rest = line[at..].strip_prefix(b" ")?.strip_prefix(self.settings.field.as_bytes())?.strip_prefix(b"=\"")?;
        Some(line.len() - rest.len())
    }

    /// Gives the tags that were read to the next points; none of them if there are too many.
    pub fn take_tags(&mut self, line: &[u8]) {
        self.start_metric();
        if self.metric.tags.len() > MAX_METRIC_PARTS {
            return;
        }
        for Pair { key, value } in &self.metric.tags {
            let key = plain_key(&line[key.clone()]);
            let given = self.payloads.point().take_metric_tag(&key, &plain_key(&line[value.clone()]), &self.settings);
            if let Some(tracer) = &mut self.tracer {
                let called = self.settings.renames.key(&key);
                tracer.metric_key(trace::Origin::MetricTag, &key, &called, given, self.payloads.point());
            }
        }
    }

    /// Converts or passes through any metric.
    pub fn metric(&mut self, line: &[u8], sink: &mut Sink<'_>) {
        if self.plain_metric(line, sink) {
            return;
        }
        if let Err(error) = self.metric.read(line) {
            self.start_metric();
            let rejection = Rejection::new(Reason::InvalidMetric, format!("{} at byte {}", error.what, error.at));
            let rejection = rejection.at(error.at);
            return self.reject(&rejection, line, None, FromMetric::default(), sink);
        }
        let name = plain_key(&line[self.metric.name.clone()]);
        let is_source = self.settings.sources.iter().any(|source| source.as_bytes() == &*name);
        let is_message = |field: &&Pair| {
            line[field.value.start] == b'"' && *plain_key(&line[field.key.clone()]) == *self.settings.field.as_bytes()
        };
        // If the metric has the field twice, the last one counts, as in Telegraf.
        match self.metric.fields.iter().rfind(is_message).map(|field| field.value.clone()) {
            Some(value) if is_source => self.source_metric(line, value, sink),
            _ => {
                sink.out.extend_from_slice(line);
                sink.out.push(b'\n');
                let metric = Metric::new(line, &self.metric);
                sink.observer.observe(if is_source { Event::NoMessage } else { Event::Passed { metric } });
                if let Some(tracer) = &self.tracer {
                    let outcome = if is_source { Outcome::NoMessage } else { Outcome::Passed };
                    tracer.tell_passed(outcome, line, sink.observer);
                }
            }
        }
    }

    /// Converts a metric that has been read, and whose message is the string at `value`.
    fn source_metric(&mut self, line: &[u8], value: Range<usize>, sink: &mut Sink<'_>) {
        self.take_tags(line);
        if self.metric.tags.len().max(self.metric.fields.len() - 1) > MAX_METRIC_PARTS {
            let error = format!("the metric has more than {MAX_METRIC_PARTS} tags or fields");
            let rejection = Rejection::new(Reason::TooLarge, error);
            let origin = FromMetric { time: self.metric.time, ..FromMetric::default() };
            return self.reject(&rejection, line, None, origin, sink);
        }
        let mut message = std::mem::take(&mut self.message);
        for Pair { key, value } in &self.metric.fields {
            let key = plain_key(&line[key.clone()]);
            if *key == *self.settings.field.as_bytes() {
                continue;
            }
            let given = self.payloads.point().take_metric_field(&key, &line[value.clone()], &self.settings);
            let lossy = || String::from_utf8_lossy(&key);
            match given {
                Ok((_, Some(bytes))) => sink.observer.observe(Event::StringCut { key: &lossy(), bytes }),
                Err(LeftOut { lost: true, why }) => sink.observer.observe(Event::LeftOut { key: &lossy(), why }),
                Ok((_, None)) | Err(LeftOut { lost: false, .. }) => {}
            }
            if let Some(tracer) = &mut self.tracer {
                let given = given.map(|(set, _)| set);
                let called = self.settings.renames.key(&key);
                tracer.metric_key(trace::Origin::MetricField, &key, &called, given, self.payloads.point());
            }
        }
        message.clear();
        let _ = unescape_string(&line[value.start + 1..], &mut message);
        self.start_message(line.len());
        self.message(&message, self.metric.time, sink);
        self.message = message;
    }

    /// Converts one payload to its point. If that fails, nothing is written.
    pub fn point_of(&mut self, bytes: &[u8], origin: FromMetric, sink: &mut Sink<'_>) -> Result<(), Rejection> {
        let fail = |reason, error: &str| Err(Rejection::new(reason, error));
        let limit = self.settings.limits.message;
        if bytes.len() > limit {
            return Err(too_large("message", bytes.len(), limit));
        }
        if bytes.is_empty() {
            return fail(Reason::InvalidJson, "the message is empty");
        }
        if let Err(error) = std::str::from_utf8(bytes) {
            let at = error.valid_up_to();
            return Err(Rejection::new(Reason::InvalidJson, format!("expected UTF-8 at byte {at}")).at(at));
        }
        let mut tracer = self.tracer.as_deref_mut();
        if let Some(tracer) = &mut tracer {
            tracer.start_payload();
        }
        let (settings, room) = (&self.settings, &mut self.room);
        self.payloads.read::<Plain>(bytes, settings, room, tracer.as_deref_mut())?;
        let traced = tracer.is_some();
        let written = self.payloads.write(bytes, settings, &self.measurement, room, traced, sink.out);
        self.payloads.tell(sink.observer);
        if let (Err(_), Some(tracer)) = (&written, tracer) {
            self.payloads.settle(tracer, bytes, TimeOf::Unread);
            tracer.payload_read();
        }
        written?;
        let time = self.end_point::<Plain>(bytes, || origin.time, origin, sink);
        if let Some(tracer) = &mut self.tracer {
            self.payloads.settle(tracer, bytes, TimeOf::Point(time));
            tracer.tell_point(time, origin.item(), bytes, sink.observer);
        }
        Ok(())
    }

    /// The clock's time. No two calls return the same time.
    fn now(&mut self) -> i64 {
        self.last_now = (self.settings.clock)().max(self.last_now.saturating_add(1));
        self.last_now
    }

    /// Appends the point that replaces a rejected message. `hash` is that of the whole message, if `payload` is only its
    /// start.
    pub fn reject(
        &mut self,
        rejection: &Rejection,
        payload: &[u8],
        hash: Option<u64>,
        origin: FromMetric,
        sink: &mut Sink<'_>,
    ) {
        let Rejection { reason, error, at } = rejection;
        if self.leaves_rejections {
            return sink.observer.observe(Event::Rejected { reason: *reason, error });
        }
        if let Some(tracer) = &mut self.tracer {
            let why = (*reason, error.as_str(), *at);
            tracer.tell_rejected(why, origin.item(), payload, sink.observer);
        }
        let given = origin.time.and_then(timestamp::of_metric).map_or_else(|| self.now(), |time| time.nanoseconds);
        // Two payloads of an array are two calls, even if they are equal.
        let hash = hash.unwrap_or_else(|| xxh3_64(payload)).wrapping_add(origin.index as u64);
        let time = self.rejection_times.time(given, hash);
        let text = String::from_utf8_lossy(payload);
        let fields = [("error", error.as_bytes()), ("payload", cut(text.as_bytes(), MAX_REJECTED))];
        self.payloads.point().write_about(
            &self.rejected_measurement,
            ("reason", reason.code()),
            &fields,
            time,
            sink.out,
        );
        sink.observer.observe(Event::Rejected { reason: *reason, error });
    }
}

impl FromMetric {
    /// The payload's index in its message, if the message is an array.
    pub fn item(&self) -> Option<usize> {
        usize::try_from(self.index).ok().filter(|_| self.is_item)
    }
}

pub(super) fn too_large(what: &str, len: usize, limit: usize) -> Rejection {
    Rejection::new(Reason::TooLarge, format!("the {what} takes {len} bytes, and the limit is {limit}"))
}

/// Removes white space at both ends, and zero bytes, which Telegraf removes as well.
pub(super) fn trim(text: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0);
    let start = text.iter().take_while(|byte| is_blank(byte)).count();
    let end = text[start..].iter().rev().take_while(|byte| is_blank(byte)).count();
    &text[start..text.len() - end]
}

#[cfg(test)]
mod tests;
