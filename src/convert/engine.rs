//! One complete metric or message, made into lines.

use std::ops::Range;

use memchr::memchr;
use xxhash_rust::xxh3::xxh3_64;

use crate::convert::rejections::RejectionTimes;
use crate::convert::utf8::Utf8;
use crate::json::split::{Piece, Splitter};
use crate::json::{Encoding, InString, Plain};
use crate::line_protocol::decoder::{Metric, MetricReader, Pair};
use crate::line_protocol::encoder::write_time;
use crate::line_protocol::escape::{cut, plain_key, unescape_string, write_string};
use crate::observe::event::{Event, Observer, Reason};
use crate::observe::trace::{self, Outcome, PointTime, Position, TimeOf, TimeSource, Tracer};
use crate::payload::timestamp;
use crate::payload::value::MAX_STRING;
use crate::payload::{Payloads, Rejection};
use crate::room::{KEPT, Room};
use crate::settings::Settings;

/// A rejected payload is kept whole up to this many bytes.
pub(super) const MAX_REJECTED: usize = 60 * 1024;

/// A metric that carries a message may have this many tags, and as many fields: each is compared with all others.
const MAX_METRIC_PARTS: usize = 1000;

/// The last time that a line can have, in nanoseconds.
const LAST_TIME: &[u8; 19] = b"9223372036854775807";

/// The longest payload that is read as it stands in the input, before it is known whether all of it is there.
pub(super) const MAX_AS_IT_STANDS: usize = 64 * 1024;

/// Where lines go, and who is told what became of the input.
pub(super) struct Sink<'a> {
    pub out: &'a mut Vec<u8>,
    pub observer: &'a mut dyn Observer,
}

/// All that turns one complete metric or message into lines.
pub(super) struct Engine {
    pub settings: Settings,
    pub rejected_measurement: Vec<u8>,
    pub measurement: Vec<u8>,
    pub metric: MetricReader,
    pub payloads: Payloads,
    /// The text of a message, unescaped.
    pub message: Vec<u8>,
    /// Likewise, where a payload was read as it stands.
    pub decoded: Vec<u8>,
    pub utf8: Utf8,
    /// What is left for the lines of the present message.
    pub room: Room,
    /// The lines of one message never take more than this.
    pub most_lines: usize,
    /// Another converter writes the rejections.
    pub leaves_rejections: bool,
    /// The last time that the clock gave.
    pub last_now: i64,
    pub rejection_times: RejectionTimes,
    /// Takes note of what becomes of each key, where somebody wants to know. Then all goes by the road that says it.
    pub tracer: Option<Box<Tracer>>,
}

/// What a payload has from the metric that it came in.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Origin {
    /// The metric's time.
    pub time: Option<i64>,
    /// The payload's place in its message, and whether that is an array.
    pub index: i64,
    pub is_item: bool,
}

impl Engine {
    /// What comes next begins at `start` in the buffer.
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

    /// Where the present message begins in the input, if anybody wants to know.
    pub fn position(&self) -> Position {
        self.tracer.as_ref().map_or_else(Position::default, |tracer| tracer.position())
    }

    /// The buffer's first `len` bytes are gone.
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

    /// The present message took so many bytes when it arrived.
    pub fn start_message(&mut self, bytes: usize) {
        self.room = Room::of(bytes, self.most_lines);
    }

    /// Gives back the memory that a large message took.
    #[inline(never)]
    pub fn shrink(&mut self) {
        self.payloads.shrink();
        self.metric.shrink();
        self.message.clear();
        self.message.shrink_to(KEPT);
    }

    /// Converts the line at the start of `buffer`, if all of it is there, it starts as the last one did, and its message is a
    /// payload that makes a point; its length with the line break. Where that is None nothing is done.
    pub fn metric_as_it_stands(&mut self, buffer: &[u8], sink: &mut Sink<'_>) -> Option<usize> {
        let text = self.payloads.behind_head(buffer)?;
        let len = self.read_start::<InString>(text)?;
        self.utf8.check(buffer, buffer.len() - text.len() + len)?;
        let (text, behind) = text.split_at(len);
        // As all times of this century are written.
        let (time, rest) = behind.trim_ascii_start().strip_prefix(b"\" ")?.split_first_chunk()?;
        let is_time = time.iter().fold(true, |all, byte| all & byte.is_ascii_digit()) && time <= LAST_TIME;
        let rest = rest.strip_prefix(b"\n").filter(|_| is_time)?;
        let time = || std::str::from_utf8(time).ok()?.parse().ok();
        let len = buffer.len() - rest.len();
        self.start_message(len);
        self.point_as_it_stands::<InString>(text, time, sink)?;
        Some(len)
    }

    /// Converts the JSON object at the start of `buffer`, likewise.
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

    /// Converts the line at the start of `buffer`, if all of it is there and it holds such an object.
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

    /// Reads the payload at the start of `text`; its length.
    fn read_start<E: Encoding>(&mut self, text: &[u8]) -> Option<usize> {
        let limit = MAX_AS_IT_STANDS.min(self.settings.limits.message).min(text.len());
        // Of so long a message at most. How long it is comes out at the end.
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
        self.end_point::<E>(text, || timestamp::of_metric(metric_time()?, 0), sink);
        #[cfg(test)]
        tests::WRITTEN.with(|written| written.set(written.get() + 1));
        Some(())
    }

    /// Appends the time of the point whose line has been written, and tells of it.
    fn end_point<E: Encoding>(
        &mut self,
        text: &[u8],
        metric_time: impl FnOnce() -> Option<i64>,
        sink: &mut Sink<'_>,
    ) -> PointTime {
        let exact = self.settings.exact_time;
        let own_time = self.payloads.own_time::<E>(text, &mut self.decoded, exact, sink.observer);
        let given = |nanoseconds, source| PointTime { nanoseconds, source, filled: 0, by_request_id: false };
        let time = own_time.unwrap_or_else(|| match metric_time() {
            Some(time) => given(time, TimeSource::Metric),
            None => given(self.now(), TimeSource::Clock),
        });
        write_time(time.nanoseconds, sink.out);
        sink.observer.observe(Event::Converted { time: own_time.map(|time| time.nanoseconds) });
        time
    }

    /// Converts a line of the form `SOURCE[,tags] FIELD="message" TIME`; false where it has another form, and then nothing is
    /// done.
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

    /// Where the message begins in a metric that starts with `line`, if its first field holds one. Reads the tags.
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

    /// Gives the tags that were read to the points to come; none where there are too many.
    pub fn take_tags(&mut self, line: &[u8]) {
        self.start_metric();
        if self.metric.tags.len() > MAX_METRIC_PARTS {
            return;
        }
        for Pair { key, value } in &self.metric.tags {
            let key = plain_key(&line[key.clone()]);
            let given = self.payloads.point().incoming_tag(&key, &plain_key(&line[value.clone()]));
            if let Some(tracer) = &mut self.tracer {
                tracer.metric_key(trace::Origin::MetricTag, &key, given, self.payloads.point());
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
            return self.reject(&rejection, line, None, Origin::default(), sink);
        }
        let name = plain_key(&line[self.metric.name.clone()]);
        let is_source = self.settings.sources.iter().any(|source| source.as_bytes() == &*name);
        let is_message = |field: &&Pair| {
            line[field.value.start] == b'"' && *plain_key(&line[field.key.clone()]) == *self.settings.field.as_bytes()
        };
        // Should the field be there twice, the last counts, as it does for Telegraf.
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

    /// Converts a metric that has been read, with its message in the string at `value`.
    fn source_metric(&mut self, line: &[u8], value: Range<usize>, sink: &mut Sink<'_>) {
        self.take_tags(line);
        if self.metric.tags.len().max(self.metric.fields.len() - 1) > MAX_METRIC_PARTS {
            let error = format!("the metric has more than {MAX_METRIC_PARTS} tags or fields");
            let rejection = Rejection::new(Reason::TooLarge, error);
            let origin = Origin { time: self.metric.time, ..Origin::default() };
            return self.reject(&rejection, line, None, origin, sink);
        }
        let mut message = std::mem::take(&mut self.message);
        for Pair { key, value } in &self.metric.fields {
            let key = plain_key(&line[key.clone()]);
            if *key == *self.settings.field.as_bytes() {
                continue;
            }
            let value = &line[value.clone()];
            let mut cut_from = None;
            let given = if value.first() != Some(&b'"') || value.len() <= MAX_STRING && value.is_ascii() {
                self.payloads.point().other_field(&key, value, None)
            } else {
                message.clear();
                let _ = unescape_string(&value[1..], &mut message);
                let text = String::from_utf8_lossy(&message);
                let mut written = Vec::new();
                write_string(cut(text.as_bytes(), MAX_STRING), &mut written);
                if text.len() > MAX_STRING {
                    cut_from = Some(text.len());
                    sink.observer.observe(Event::StringCut { key: &String::from_utf8_lossy(&key), bytes: text.len() });
                }
                self.payloads.point().other_field(&key, &written, cut_from)
            };
            if let Some(tracer) = &mut self.tracer {
                tracer.metric_key(trace::Origin::MetricField, &key, given, self.payloads.point());
            }
        }
        message.clear();
        let _ = unescape_string(&line[value.start + 1..], &mut message);
        self.start_message(line.len());
        self.message(&message, self.metric.time, sink);
        self.message = message;
    }

    /// Converts the message of a metric whose tags and other fields the point has.
    pub fn message(&mut self, message: &[u8], time: Option<i64>, sink: &mut Sink<'_>) {
        let text = trim(message);
        let mut origin = Origin { time, index: 0, is_item: false };
        // A message that is too large is not looked into.
        if text.first() != Some(&b'[') || text.len() > self.settings.limits.message {
            return self.payload(text, origin, sink);
        }
        let mut splitter = Splitter::of_message();
        origin.is_item = true;
        while let Some(piece) = splitter.next(text, true) {
            if let (false, Some(range)) = (self.room.is_left(), piece.range()) {
                let rest = trim(&text[range.start..]);
                return self.reject(&self.room.rejection_of_rest(), rest, None, origin, sink);
            }
            let start = sink.out.len();
            match piece {
                Piece::OpenArray => self.reject(&open_array().at(text.len()), text, None, origin, sink),
                piece => self.piece(piece, text, origin, sink),
            }
            // Even tags that are left out of a rejection have cost that much.
            self.room.take((sink.out.len() - start).max(self.payloads.point().incoming_len()));
            origin.index += 1;
        }
    }

    pub fn piece(&mut self, piece: Piece, text: &[u8], origin: Origin, sink: &mut Sink<'_>) {
        match piece {
            Piece::Value(range) => self.payload(trim(&text[range]), origin, sink),
            Piece::EmptyArray(range) => {
                let rejection = Rejection::new(Reason::NotAnObject, "the array holds no payload").at(0);
                self.reject(&rejection, &text[range], None, origin, sink);
            }
            Piece::TooLong(range) => {
                let limit = self.settings.limits.message;
                let error = format!(
                    "the message takes more than {limit} bytes; this is its start, up to a line that may begin the next"
                );
                self.reject(&Rejection::new(Reason::TooLarge, error), trim(&text[range]), None, origin, sink);
            }
            // Of a stream, all that is left.
            Piece::OpenArray => self.reject(&open_array(), b"[", None, origin, sink),
        }
    }

    /// Converts one payload to its point or its rejection.
    pub fn payload(&mut self, text: &[u8], origin: Origin, sink: &mut Sink<'_>) {
        if let Err(rejection) = self.point_of(text, origin, sink) {
            self.reject(&rejection, text, None, origin, sink);
        }
    }

    fn point_of(&mut self, bytes: &[u8], origin: Origin, sink: &mut Sink<'_>) -> Result<(), Rejection> {
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
        let metric_time = || timestamp::of_metric(origin.time?, origin.index);
        let time = self.end_point::<Plain>(bytes, metric_time, sink);
        if let Some(tracer) = &mut self.tracer {
            self.payloads.settle(tracer, bytes, TimeOf::Point(time));
            tracer.tell_point(time, origin.item(), bytes, sink.observer);
        }
        Ok(())
    }

    /// The clock's time, never the same twice.
    fn now(&mut self) -> i64 {
        self.last_now = (self.settings.clock)().max(self.last_now.saturating_add(1));
        self.last_now
    }

    /// Appends the point that takes a rejected message's place. `hash` is that of the whole message, where `payload` is only
    /// its start.
    pub fn reject(
        &mut self,
        rejection: &Rejection,
        payload: &[u8],
        hash: Option<u64>,
        origin: Origin,
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
        let given = origin.time.and_then(|time| timestamp::of_metric(time, 0)).unwrap_or_else(|| self.now());
        let time = self.rejection_times.time(given, hash.unwrap_or_else(|| xxh3_64(payload)));
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

impl Origin {
    /// The payload's place in its message, where that is an array.
    pub fn item(&self) -> Option<usize> {
        usize::try_from(self.index).ok().filter(|_| self.is_item)
    }
}

fn open_array() -> Rejection {
    Rejection::new(Reason::InvalidJson, "expected the `]` that ends the array")
}

pub(super) fn too_large(what: &str, len: usize, limit: usize) -> Rejection {
    Rejection::new(Reason::TooLarge, format!("the {what} takes {len} bytes, and the limit is {limit}"))
}

/// Without the white space around it, and the zero bytes that Telegraf takes away as well.
pub(super) fn trim(text: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0);
    let start = text.iter().take_while(|byte| is_blank(byte)).count();
    let end = text[start..].iter().rev().take_while(|byte| is_blank(byte)).count();
    &text[start..text.len() - end]
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    use crate::{Converter, Counts, Settings};

    thread_local! {
        /// The lines that this thread has written of payloads as they stood in the input.
        pub static WRITTEN: Cell<usize> = const { Cell::new(0) };
    }

    /// What may stand for a value. Each of the texts has something that one of the ways might treat in its own way.
    fn value() -> impl Strategy<Value = String> {
        const PIECES: [&str; 24] = [
            "a",
            "word ",
            "ü",
            "日本",
            "😀",
            ",",
            "=",
            "0.5",
            "12",
            "-",
            r#"\""#,
            r"\\",
            r"\/",
            r"\n",
            r"\t\b\f\r",
            r"\u00e9",
            r"\u0031",
            r"\u0022",
            r"\u005C",
            r"\u0000",
            r"\ud83d\ude00",
            r"\ud83d",
            r"\ude00",
            r"\x",
        ];
        const WORDS: [&str; 24] = [
            "1",
            "-0",
            "0.1",
            "1.50",
            "1e5",
            "1E-7",
            "01",
            "1.",
            "-",
            "1e400",
            "12345678901234567890",
            "0.000001",
            "true",
            "false",
            "null",
            "nul",
            "NaN",
            "-Infinity",
            "{}",
            "[1,2]",
            r#"{"b":1}"#,
            "",
            "\"",
            "\"\u{1}\"",
        ];
        const STRINGS: [&str; 9] =
            ["", "12", "-1.0", "1e999", "true", "0", "NaN", "2021-02-20T00:21:54.867231", "1613780514867"];
        let string = |text: String| format!("\"{text}\"");
        prop_oneof![
            8 => any::<f64>().prop_map(|x| x.to_string()),
            6 => any::<i32>().prop_map(|x| x.to_string()),
            1 => select(&WORDS[..]).prop_map(str::to_owned),
            2 => select(&STRINGS[..]).prop_map(move |text| string(text.to_owned())),
            8 => "[a-z0-9 ._-]{0,40}".prop_map(string),
            3 => vec(select(&PIECES[..]), 0..12).prop_map(move |pieces| string(pieces.concat())),
        ]
    }

    fn key() -> impl Strategy<Value = String> {
        const COMMON: [&str; 12] = [
            "algorithm_owner",
            "algorithm_version",
            "session_id",
            "request_id",
            "time",
            "risk_score",
            "approved",
            "count",
            "label",
            "text",
            "unwanted",
            "x",
        ];
        const ODD: [&str; 8] = ["timestamp", "topic", "_hidden", "a b", r"k\u0065y", "é", "", "n,m"];
        prop_oneof![
            20 => select(&COMMON[..]).prop_map(str::to_owned),
            20 => "[a-z]{1,30}",
            1 => select(&ODD[..]).prop_map(str::to_owned),
        ]
    }

    fn message() -> impl Strategy<Value = String> {
        let name = prop_oneof![9 => Just("\"a\"".to_owned()), 1 => value()];
        let members = vec((key(), value()), 0..7);
        let blanks = prop_oneof![4 => Just(["", ""]), 4 => Just([" ", " "]), 1 => Just(["\n ", "\t"])];
        (name, members, blanks, any::<prop::sample::Index>(), 0..20).prop_map(
            |(name, mut members, [behind_comma, behind_colon], place, damage)| {
                members.insert(place.index(members.len() + 1), ("algorithm_name".to_owned(), name));
                let members = members.iter().map(|(key, value)| format!("\"{key}\":{behind_colon}{value}"));
                let members: Vec<_> = members.collect();
                let mut text = format!("{{{}}}", members.join(&format!(",{behind_comma}")));
                if damage == 0 {
                    text.truncate(text.floor_char_boundary(place.index(text.len())));
                }
                text
            },
        )
    }

    fn settings() -> impl Strategy<Value = Settings> {
        const RULES: [&str; 6] =
            ["approved=boolean", "count=integer", "label=tag", "text=string", "unwanted=drop", "risk_*=float"];
        (vec(select(&RULES[..]), 0..5), any::<bool>(), select(&[1000, 4][..])).prop_map(
            |(rules, exact_time, fields)| {
                let mut settings = Settings { exact_time, clock: || 1_700_000_000_000_000_000, ..Settings::default() };
                rules.iter().for_each(|rule| settings.kinds.add(rule).expect("a rule"));
                settings.limits.fields = fields;
                settings
            },
        )
    }

    fn metric(message: &str, tags: &str) -> String {
        format!("kafka_consumer{tags} value={} 1613780514867231999\n", fixtures::telegraf::quoted(message))
    }

    /// What each input gives, what became of all, and how many lines were written of payloads as they stood.
    fn convert(settings: &Settings, inputs: &[String]) -> (Vec<String>, Counts, usize) {
        let mut converter = Converter::new(settings.clone()).expect("good settings");
        let mut counts = Counts::default();
        let before = WRITTEN.get();
        let outputs = inputs.iter().map(|input| {
            let mut out = Vec::new();
            converter.push(input.as_bytes(), &mut out, &mut counts);
            String::from_utf8(out).expect("UTF-8")
        });
        (outputs.collect(), counts, WRITTEN.get() - before)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// White space before a message changes nothing but the way.
        #[test]
        fn both_ways_come_to_the_same(
            settings in settings(),
            messages in vec((message(), select(&["", ",topic=t", r",host=a\ b,topic=x\,y", ",algorithm_owner=o"][..])), 1..30),
        ) {
            let metrics = |blank: &str| -> Vec<String> {
                messages.iter().map(|(message, tags)| metric(&format!("{blank}{message}"), tags)).collect()
            };
            let (straight, counts, _) = convert(&settings, &metrics(""));
            let (around, expected, as_they_stood) = convert(&settings, &metrics("\t"));
            prop_assert_eq!(as_they_stood, 0);
            prop_assert_eq!(straight, around);
            prop_assert_eq!(counts, expected);

            let lines = |blank: &str| -> Vec<String> {
                // A message that is cut off may take the next one for its rest, and the blank with it.
                let messages = messages.iter().filter(|(message, _)| message.ends_with('}'));
                messages.map(|(message, _)| format!("{blank}{message}\n")).collect()
            };
            let (straight, counts, _) = convert(&settings, &lines(""));
            let (around, expected, as_they_stood) = convert(&settings, &lines("\t"));
            prop_assert_eq!(as_they_stood, 0);
            prop_assert_eq!(straight.concat(), around.concat());
            prop_assert_eq!(counts, expected);
        }
    }

    #[test]
    fn both_ways_are_taken() {
        let mut runner = TestRunner::deterministic();
        let messages: Vec<String> =
            (0..1000).map(|_| message().new_tree(&mut runner).expect("a message").current()).collect();
        let metrics: Vec<String> = messages.iter().map(|message| metric(message, ",topic=t")).collect();
        let lines: Vec<String> = messages.iter().map(|message| format!("{message}\n")).collect();
        for inputs in [metrics, lines] {
            let (_, counts, as_they_stood) = convert(&Settings::default(), &inputs);
            assert!((300..900).contains(&as_they_stood), "{as_they_stood} of {counts:?}");
        }
    }
}
