//! Notes what becomes of each key while a payload is read, to [tell](Trace) of it.
//!
//! Nothing is converted here. While a payload is read each key is noted, and the entry of the [`Point`] that was made of it.
//! When the point is finished, it says itself which tags and fields it has of which entry; what is noted and has none was
//! replaced.

use std::collections::HashMap;
use std::ops::Range;

use memchr::memchr_iter;

use crate::json::Source;
use crate::line_protocol::escape::{plain_key, unescape_string};
use crate::line_protocol::field_type::FieldType;
use crate::observe::event::{Observer, Reason};
use crate::observe::trace::{Fate, Key, LeftOut, Origin, Outcome, PointTime, Position, TimeSource, Trace};
use crate::payload::field_key;
use crate::payload::point::{Entry, Part, Point, Set};

/// What became of a key while it was read.
#[derive(Clone, Copy, Debug)]
enum Made {
    Nothing,
    Entry(Entry),
    /// One of the two keys that give a time.
    Time(TimeSource),
}

impl Made {
    /// The last entry of a set.
    fn last(set: Set, point: &Point) -> Self {
        point.last(set).map_or(Made::Nothing, Made::Entry)
    }
}

/// The length of a key as it is stored, without its suffixes.
type OwnLen = usize;

/// What is known of a payload's time.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TimeOf {
    /// The payload was rejected before its time was read.
    Unread,
    Point(PointTime),
}

/// Collects what observers are told, one message after the other.
#[derive(Debug, Default)]
pub(crate) struct Tracer {
    /// The position of the buffer in the input, and the number of its lines before `counted`, an offset in the buffer.
    byte: u64,
    lines: u64,
    counted: usize,
    position: Position,
    /// The path to the value that is being read.
    path: Vec<Segment>,
    keys: Vec<Key>,
    /// What each of them was made into.
    made: Vec<(Made, OwnLen)>,
    /// How many of them came with the metric.
    of_metric: usize,
    /// The payload was read to its end, so all its keys are noted.
    is_read: bool,
}

#[derive(Debug)]
enum Segment {
    Key(String),
    Item(usize),
}

impl Tracer {
    /// The next message begins at `start` in the buffer.
    pub fn begin(&mut self, buffer: &[u8], start: usize) {
        self.count_lines(buffer, start);
        self.position = Position { byte: self.byte + start as u64, line: self.lines + 1 };
    }

    /// Where the current message began.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The next message began at this position.
    pub fn begin_at(&mut self, position: Position) {
        self.position = position;
    }

    fn count_lines(&mut self, buffer: &[u8], end: usize) {
        if end > self.counted {
            self.lines += memchr_iter(b'\n', &buffer[self.counted..end]).count() as u64;
            self.counted = end;
        }
    }

    /// The first `len` bytes of the buffer are removed.
    pub fn drained(&mut self, buffer: &[u8], len: usize) {
        self.count_lines(buffer, len);
        self.byte += len as u64;
        // A message is reported before the lines after it are counted.
        self.counted -= len;
    }

    /// Starts another input.
    pub fn start_input(&mut self) {
        *self = Tracer::default();
    }

    pub fn start_metric(&mut self) {
        self.keys.clear();
        self.made.clear();
        self.of_metric = 0;
        self.is_read = false;
    }

    pub fn start_payload(&mut self) {
        self.keys.truncate(self.of_metric);
        self.made.truncate(self.of_metric);
        self.path.clear();
        self.is_read = false;
    }

    /// A tag or field of the metric was given to the point, with the name `called`.
    pub fn metric_key(
        &mut self,
        origin: Origin,
        name: &[u8],
        called: &[u8],
        given: Result<Set, LeftOut>,
        point: &Point,
    ) {
        let (why, made) = match given {
            Ok(set) => (replaced(origin), Made::last(set, point)),
            Err(why) => (why, Made::Nothing),
        };
        let own_len = field_key::own_len(called);
        let name = String::from_utf8_lossy(name).into_owned();
        self.keys.push(Key { origin, name, value: 0..0, fate: Fate::LeftOut(why) });
        self.made.push((made, own_len));
        self.of_metric = self.keys.len();
    }

    /// The next value is that of a key, within `depth` objects and arrays.
    pub fn enter_key(&mut self, depth: usize, key: &str) {
        self.path.truncate(depth - 1);
        self.path.push(Segment::Key(key.to_owned()));
    }

    /// The next value is that of an array's item.
    pub fn enter_item(&mut self, depth: usize, index: usize) {
        self.path.truncate(depth - 1);
        self.path.push(Segment::Item(index));
    }

    /// The value at `value` was made into the last entry of one of the point's sets, with the name `called`.
    pub fn made(&mut self, value: Range<usize>, called: &[u8], set: Set, point: &Point) {
        let own_len = field_key::own_len(called);
        self.add(value, own_len, Fate::LeftOut(replaced(Origin::Payload)), Made::last(set, point));
    }

    pub fn left_out(&mut self, value: Range<usize>, why: LeftOut) {
        self.add(value, 0, Fate::LeftOut(why), Made::Nothing);
    }

    /// The value at `value` is that of a key that gives a time.
    pub fn time(&mut self, value: Range<usize>, source: TimeSource, is_null: bool) {
        let fate = if is_null { Fate::LeftOut(LeftOut::nothing("null gives no time")) } else { Fate::Time };
        self.add(value, 0, fate, Made::Time(source));
    }

    fn add(&mut self, value: Range<usize>, own_len: usize, fate: Fate, made: Made) {
        let mut name = String::new();
        for segment in &self.path {
            match segment {
                Segment::Key(key) if name.is_empty() => name.push_str(key),
                Segment::Key(key) => name.extend([".", key]),
                Segment::Item(index) => name.push_str(&format!("[{index}]")),
            }
        }
        self.keys.push(Key { origin: Origin::Payload, name, value, fate });
        self.made.push((made, own_len));
    }

    /// The payload has been read to its end.
    pub fn payload_read(&mut self) {
        self.is_read = true;
    }

    /// Determines what became of all keys.
    pub fn settle(&mut self, point: &mut Point, source: Source<'_>, time: TimeOf) {
        let mut fates: HashMap<Entry, Fate> =
            point.left_out().map(|(entry, why)| (entry, Fate::LeftOut(why))).collect();
        fates.extend(point.parts(source).into_iter().map(|part| (part.entry, fate_of(&part))));
        // The last key of a name wins.
        let mut seen = [false; 2];
        for (key, (made, own_len)) in self.keys.iter_mut().zip(&self.made).rev() {
            match *made {
                Made::Nothing => {}
                Made::Entry(entry) => {
                    // The metric's value may have been stored with the payload before.
                    key.fate = fates.remove(&entry).unwrap_or(Fate::LeftOut(replaced(key.origin)));
                    if let Fate::Field { key: stored, suffixes, .. } = &mut key.fate {
                        *suffixes = field_key::suffixes(*own_len, stored.as_bytes());
                    }
                }
                Made::Time(source) => {
                    let is_last = !std::mem::replace(&mut seen[usize::from(source == TimeSource::Time)], true);
                    match (time, &key.fate) {
                        _ if !is_last => key.fate = Fate::LeftOut(replaced(key.origin)),
                        (TimeOf::Point(time), Fate::Time) if time.source != source => {
                            key.fate = Fate::LeftOut(match time.source {
                                TimeSource::Time => LeftOut::nothing("`time` is there, and counts"),
                                _ => LeftOut::lost("it cannot be read as a time that InfluxDB stores"),
                            });
                        }
                        _ => {}
                    }
                }
            }
        }
    }

    /// Reports a point. Its keys must be [settled](Self::settle).
    pub fn tell_point(&self, time: PointTime, item: Option<usize>, text: &[u8], observer: &mut dyn Observer) {
        let outcome = Outcome::Point(time);
        observer.trace(&Trace { position: self.position, item, text, keys: &self.keys, outcome });
    }

    /// Reports a rejection. The keys must be [settled](Self::settle) if the payload was read.
    pub fn tell_rejected(
        &mut self,
        (reason, error, at): (Reason, &str, Option<usize>),
        item: Option<usize>,
        text: &[u8],
        observer: &mut dyn Observer,
    ) {
        let mut keys = &self.keys[..0];
        if std::mem::take(&mut self.is_read) {
            keys = &self.keys[self.of_metric..];
        }
        let outcome = Outcome::Rejected { reason, error, at };
        observer.trace(&Trace { position: self.position, item, text, keys, outcome });
    }

    /// Reports a metric that passed through.
    pub fn tell_passed(&self, outcome: Outcome<'_>, text: &[u8], observer: &mut dyn Observer) {
        observer.trace(&Trace { position: self.position, item: None, text, keys: &[], outcome });
    }
}

/// The reason for a value that is not found in the point.
fn replaced(origin: Origin) -> LeftOut {
    LeftOut::lost(match origin {
        Origin::Payload => "a later value of this name counts",
        Origin::MetricTag | Origin::MetricField => "another value of this name counts",
    })
}

/// What became of a tag or field that was written.
fn fate_of(part: &Part<'_>) -> Fate {
    let text = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
    let key = text(&plain_key(&part.key));
    if let Set::Incoming | Set::Tags = part.entry.0 {
        return Fate::Tag { key, value: text(&plain_key(&part.value)) };
    }
    let kind = part.field_type;
    let value = if kind == FieldType::String {
        let mut plain = Vec::new();
        let _ = unescape_string(&part.value[1..], &mut plain);
        text(&plain)
    } else {
        text(&part.value)
    };
    // The suffixes are added where the key's own length is known.
    Fate::Field { key, kind, value, cut_from: part.cut_from, suffixes: Vec::new() }
}
