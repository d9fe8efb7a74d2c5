//! One payload, the JSON object that Insights sends for a call, read into a [`Point`]: which key becomes what.

mod container;
pub(crate) mod field_key;
mod large;
mod metric_field;
mod names;
mod order;
pub(crate) mod point;
mod reader;
pub(crate) mod room;
mod sets;
pub(crate) mod timestamp;
pub(crate) mod tracer;
mod tree;
pub(crate) mod value;

use std::borrow::Cow;

use xxhash_rust::xxh3::xxh3_64;

use crate::buffers::KEPT;
use crate::json::{Encoding, Scalar, Source, SyntaxError, Value};
use crate::line_protocol::escape::plain_key;
use crate::observe::event::{Event, Observer, Reason};
use crate::observe::trace::TimeSource;
use crate::payload::large::Large;
use crate::payload::point::{Note, Point, What};
use crate::payload::room::Room;
use crate::payload::timestamp::Timestamp;
use crate::payload::tracer::{TimeOf, Tracer};
use crate::payload::tree::Tree;
use crate::settings::Settings;

/// The longest start of a line that is remembered, in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// Why a text does not become a point.
#[derive(Debug)]
pub(crate) struct Rejection {
    pub reason: Reason,
    pub error: String,
    /// The byte that is wrong, if there is a single one.
    pub at: Option<usize>,
}

impl Rejection {
    /// A rejection of the whole text.
    pub fn new(reason: Reason, error: impl Into<String>) -> Self {
        Rejection { reason, error: error.into(), at: None }
    }

    /// A rejection of a payload with too many fields and tags.
    fn too_many_fields(limit: usize) -> Self {
        Rejection::new(Reason::TooLarge, format!("the payload has more than {limit} fields and tags"))
    }

    /// The same at one byte of the text.
    pub fn at(self, at: usize) -> Self {
        Rejection { at: Some(at), ..self }
    }
}

impl From<SyntaxError> for Rejection {
    fn from(SyntaxError { at, what }: SyntaxError) -> Self {
        Rejection::new(Reason::InvalidJson, format!("{what} at byte {at}")).at(at)
    }
}

/// Reads payloads one at a time, and makes points of them.
#[derive(Debug, Default)]
pub(crate) struct Payloads {
    point: Point,
    tree: Tree,
    /// The start of the last line up to its message, whose tags the point has. Empty if the point has the tags of another
    /// line.
    head: Vec<u8>,
    /// The objects and arrays around the one that is being read.
    around: Vec<container::OpenContainer>,
    /// The flattened key of a value that is not remembered.
    path: Vec<u8>,
    /// Strings that had escapes, as they are written in a point.
    decoded: Vec<u8>,
    /// The size of all flattened keys, in bytes.
    keys: usize,
    /// The values of `time` and `timestamp`, in order of priority.
    times: [Option<Time>; 2],
    request_id: Option<Value>,
    /// How many values took the slow path into the point.
    others: usize,
    /// The objects and arrays that are left out because of their size, in order. None before they are searched for.
    large: Option<Vec<Large>>,
}

/// The value of a key that gives a time.
#[derive(Clone, Copy, Debug)]
enum Time {
    Value(Value),
    /// An object or array that is not a time.
    Container,
}

impl Payloads {
    /// Clears the metric, for the next one.
    pub fn start_metric(&mut self) {
        self.head.clear();
        self.point.start_metric();
    }

    /// Remembers the start of the line whose tags the point has.
    pub fn take_head(&mut self, head: &[u8]) {
        if head.len() <= MAX_HEAD {
            self.head.extend_from_slice(head);
        }
    }

    /// The rest of a line that starts like the last one.
    #[inline]
    pub fn behind_head<'a>(&self, line: &'a [u8]) -> Option<&'a [u8]> {
        line.strip_prefix(self.head.as_slice()).filter(|_| !self.head.is_empty())
    }

    /// The point that is being made. The metric's tags and other fields are shared by all its payloads.
    pub fn point(&mut self) -> &mut Point {
        &mut self.point
    }

    /// Clears the payload, for the next one of the same metric.
    #[inline]
    fn start(&mut self) {
        if self.tree.is_full() || self.point.names.are_many() {
            self.tree.clear();
            self.point.forget_names();
        }
        self.point.start_payload();
        self.around.clear();
        self.decoded.clear();
        self.keys = 0;
        self.times = [None; 2];
        self.request_id = None;
        self.others = 0;
    }

    /// Frees the memory that a large message took.
    pub fn shrink(&mut self) {
        // Later messages may have the same head.
        if self.head.is_empty() {
            self.start_metric();
        }
        self.point.shrink();
        for text in [&mut self.path, &mut self.decoded] {
            text.clear();
            text.shrink_to(KEPT);
        }
    }

    /// Reads the payload `text`. Its flattened keys may take as much room as its line.
    pub fn read<E: Encoding>(
        &mut self,
        text: &[u8],
        settings: &Settings,
        room: &mut Room,
        tracer: Option<&mut Tracer>,
    ) -> Result<(), Rejection> {
        reader::read::<E>(self, text, settings, room, tracer)
    }

    /// Reads the payload at the start of `text`. Returns its length, or None if there is none.
    #[inline]
    pub fn read_start<E: Encoding>(&mut self, text: &[u8], settings: &Settings, room: &mut Room) -> Option<usize> {
        reader::read_start::<E>(self, text, settings, room)
    }

    /// Whether there is room for the keys that were read.
    #[inline]
    pub fn check_keys(&self, room: &mut Room) -> Result<(), Rejection> {
        room.check(self.keys)
    }

    /// Appends the line of the payload that was read from `text`, up to its time. If `traced`, what became of each key is
    /// known afterwards.
    #[inline]
    pub fn write(
        &mut self,
        text: &[u8],
        settings: &Settings,
        measurement: &[u8],
        room: &mut Room,
        traced: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), Rejection> {
        let Payloads { point, decoded, .. } = self;
        let source = Source { text, decoded };
        point.write(measurement, source, settings, room, traced, out)
    }

    /// Reports what happened to the keys of the payload that was written.
    #[inline]
    pub fn tell(&mut self, observer: &mut dyn Observer) {
        if !self.point.notes.is_empty() {
            self.tell_notes(observer);
        }
    }

    #[cold]
    fn tell_notes(&mut self, observer: &mut dyn Observer) {
        // Sorts the notes in the order of the payload. Those made while reading come before those made while writing.
        self.point.notes.sort_by_key(|note| note.behind);
        for Note { name, what, .. } in &self.point.notes {
            let key = plain_key(name.map_or(b"", |name| self.point.names.key(name)));
            let key = &String::from_utf8_lossy(&key);
            observer.observe(match *what {
                What::LeftOut(why) => Event::LeftOut { key, why },
                What::Cut(bytes) => Event::StringCut { key, bytes },
                What::TooMany(values) => Event::TooMany { key, values, why: large::TOO_MANY.why },
            });
        }
    }

    /// Determines what became of all keys that a tracer has noted.
    pub fn settle(&mut self, tracer: &mut Tracer, text: &[u8], time: TimeOf) {
        tracer.settle(&mut self.point, Source { text, decoded: &self.decoded }, time);
    }

    /// The point's time from the payload, and the key that gave it. `text` is the text that the payload was read from.
    pub fn own_time(&self, text: &[u8], observer: &mut dyn Observer) -> Option<(Timestamp, TimeSource)> {
        let source = Source { text, decoded: &self.decoded };
        let mut given = None;
        let mut unreadable = None;
        for (time, given_by) in self.times.iter().zip(TIME_SOURCES) {
            let Some(time) = time else { continue };
            let scalar = match time {
                Time::Value(value) => value.of(source),
                Time::Container => {
                    unreadable.get_or_insert(Cow::Borrowed(&b"an object or array"[..]));
                    continue;
                }
            };
            given = Timestamp::of(scalar).map(|time| (time, given_by));
            if given.is_some() {
                break;
            }
            unreadable.get_or_insert(scalar.text());
        }
        if let Some(text) = unreadable {
            observer.observe(Event::TimeDefaulted { text: &String::from_utf8_lossy(&text) });
        }
        given
    }

    /// The hash that identifies the call, and whether it is the hash of the request's id. `buffer` is used to decode `text`.
    pub fn hash<E: Encoding>(&self, text: &[u8], buffer: &mut Vec<u8>) -> (u64, bool) {
        let source = Source { text, decoded: &self.decoded };
        let id = self.request_id.as_ref().map(|id| id.of(source));
        let id = id.filter(|id| !matches!(id, Scalar::Null | Scalar::NotFinite)).map(|id| id.text());
        match id {
            Some(id) if !id.is_empty() => (xxh3_64(&id), true),
            // Without an id, the whole payload identifies the call.
            _ => (xxh3_64(E::decoded(text, buffer)), false),
        }
    }
}

/// The keys that give a time, in the order of [`Payloads::times`].
const TIME_SOURCES: [TimeSource; 2] = [TimeSource::Time, TimeSource::Timestamp];
