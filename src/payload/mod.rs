//! One payload, the JSON object that Insights sends for a call, read into a [`Point`]: which key becomes what.

pub(crate) mod flat;
pub(crate) mod kinds;
pub(crate) mod point;
pub(crate) mod timestamp;

use std::borrow::Cow;

use crate::json::decimal::Decimal;
use crate::json::{Number, Reader, Scalar, Start, SyntaxError};
use crate::line_protocol::{cut, write_float, write_integer, write_string};
use crate::observe::event::{Event, Observer, Reason};
use crate::observe::trace::{LeftOut, TimeSource, Tracer};
use crate::payload::kinds::Kind;
use crate::payload::point::{Missing, Point, Set};
use crate::room::{KEPT, Room};
use crate::settings::Settings;

/// The most bytes of a string field that InfluxDB is documented to store.
pub(crate) const MAX_STRING: usize = 64 * 1024;

/// What a payload says besides tags and fields.
#[derive(Debug, Default)]
pub(crate) struct Payload<'a> {
    /// The values of `time` and `timestamp`, in the order in which they count.
    pub times: [Option<Time<'a>>; 2],
    pub request_id: Option<Scalar<'a>>,
}

/// What stands where a time should.
#[derive(Debug)]
pub(crate) enum Time<'a> {
    Scalar(Scalar<'a>),
    Container,
}

/// Why a text makes no point.
#[derive(Debug)]
pub(crate) struct Rejection {
    pub reason: Reason,
    pub error: String,
    /// The byte that is wrong, where it is a certain one.
    pub at: Option<usize>,
}

impl Rejection {
    /// Of the text as a whole.
    pub fn new(reason: Reason, error: impl Into<String>) -> Self {
        Rejection { reason, error: error.into(), at: None }
    }

    /// Of one byte of it.
    pub fn at(self, at: usize) -> Self {
        Rejection { at: Some(at), ..self }
    }
}

impl From<SyntaxError> for Rejection {
    fn from(SyntaxError { at, what }: SyntaxError) -> Self {
        Rejection::new(Reason::InvalidJson, format!("{what} at byte {at}")).at(at)
    }
}

/// Buffers that every payload uses again.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    path: String,
    decoded: String,
}

impl Scratch {
    /// Gives back the memory that a large payload took.
    pub fn shrink(&mut self) {
        for text in [&mut self.path, &mut self.decoded] {
            text.clear();
            text.shrink_to(KEPT);
        }
    }
}

/// Reads the payload `text` into `point`. Its flattened keys may take as much as its line may.
pub(crate) fn read<'a>(
    text: &'a str,
    settings: &Settings,
    room: &mut Room,
    scratch: &mut Scratch,
    point: &mut Point,
    observer: &mut dyn Observer,
    tracer: Option<&mut Tracer>,
) -> Result<Payload<'a>, Rejection> {
    let mut walk = Walk {
        reader: Reader::new(text),
        settings,
        room,
        scratch,
        point,
        observer,
        tracer,
        payload: Payload::default(),
        keys: 0,
    };
    match walk.reader.start()? {
        Start::Object => walk.object(1, 0)?,
        Start::Array => walk.skip(b']', 1)?,
        Start::Scalar => drop(walk.reader.scalar()?),
    }
    walk.reader.end()?;
    walk.check_fields(0)?;
    if text.trim_ascii_start().starts_with('{') {
        Ok(walk.payload)
    } else {
        Err(Rejection::new(Reason::NotAnObject, "expected a JSON object, as Insights sends one for each call").at(0))
    }
}

struct Walk<'a, 'w> {
    reader: Reader<'a>,
    settings: &'w Settings,
    room: &'w mut Room,
    scratch: &'w mut Scratch,
    point: &'w mut Point,
    observer: &'w mut dyn Observer,
    /// Takes note of each key, where somebody wants to know.
    tracer: Option<&'w mut Tracer>,
    payload: Payload<'a>,
    /// The bytes of all flattened keys so far.
    keys: usize,
}

impl<'a> Walk<'a, '_> {
    /// The members of an object whose `{` has been taken, and whose key is the first `base` bytes of the path.
    fn object(&mut self, depth: usize, base: usize) -> Result<(), Rejection> {
        self.check_depth(depth)?;
        let opening = self.reader.at() - 1;
        if self.reader.empty(b'}') {
            if depth > 1 {
                self.trace_left_out(opening, LeftOut::nothing("there is nothing in it"));
            }
            return Ok(());
        }
        loop {
            let key = self.reader.key()?;
            if let Some(tracer) = &mut self.tracer {
                tracer.enter_key(depth, &key.decoded());
            }
            let start = self.reader.start()?;
            if depth == 1 && !key.escaped {
                match (start, key.raw) {
                    (start, "time") => self.time(0, start)?,
                    (start, "timestamp") => self.time(1, start)?,
                    // The common case: a flat payload, nothing to decode or copy.
                    (Start::Scalar, key) => self.scalar(key)?,
                    (start, key) => {
                        self.scratch.path.clear();
                        self.scratch.path.push_str(key);
                        self.container(start, depth)?;
                    }
                }
            } else {
                self.scratch.path.truncate(base);
                if depth > 1 {
                    self.scratch.path.push('_');
                }
                key.decode_into(&mut self.scratch.path);
                match (start, depth, self.scratch.path.as_str()) {
                    (start, 1, "time") => self.time(0, start)?,
                    (start, 1, "timestamp") => self.time(1, start)?,
                    (start, ..) => self.at_path(start, depth)?,
                }
            }
            if !self.reader.more(b'}')? {
                return Ok(());
            }
        }
    }

    /// The items of an array, likewise.
    fn array(&mut self, depth: usize, base: usize) -> Result<(), Rejection> {
        self.check_depth(depth)?;
        let opening = self.reader.at() - 1;
        if self.reader.empty(b']') {
            self.trace_left_out(opening, LeftOut::nothing("there is nothing in it"));
            return Ok(());
        }
        for index in 0usize.. {
            if let Some(tracer) = &mut self.tracer {
                tracer.enter_item(depth, index);
            }
            self.scratch.path.truncate(base);
            self.scratch.path.push('_');
            self.scratch.path.push_str(itoa::Buffer::new().format(index));
            let start = self.reader.start()?;
            self.at_path(start, depth)?;
            if !self.reader.more(b']')? {
                break;
            }
        }
        Ok(())
    }

    /// The value whose key is the path.
    fn at_path(&mut self, start: Start, depth: usize) -> Result<(), Rejection> {
        if !matches!(start, Start::Scalar) {
            return self.container(start, depth);
        }
        let path = std::mem::take(&mut self.scratch.path);
        let result = self.scalar(&path);
        self.scratch.path = path;
        result
    }

    /// The object or array whose key is the path, in a container of depth `depth`.
    fn container(&mut self, start: Start, depth: usize) -> Result<(), Rejection> {
        self.count_key(self.scratch.path.len())?;
        let key = self.scratch.path.trim_start_matches('_');
        let dropped = self.settings.kinds.of(key.as_bytes()) == Some(Kind::Drop);
        let base = self.scratch.path.len();
        let opening = self.reader.at() - 1;
        match start {
            Start::Object if dropped => self.skip(b'}', depth + 1)?,
            Start::Array if dropped => self.skip(b']', depth + 1)?,
            Start::Object => self.object(depth + 1, base)?,
            _ => self.array(depth + 1, base)?,
        }
        if dropped {
            self.trace_left_out(opening, DROPPED);
        }
        Ok(())
    }

    /// Reads over the rest of a container whose opening bracket has been taken.
    fn skip(&mut self, close: u8, depth: usize) -> Result<(), Rejection> {
        self.check_depth(depth)?;
        if self.reader.empty(close) {
            return Ok(());
        }
        loop {
            if close == b'}' {
                self.reader.key()?;
            }
            match self.reader.start()? {
                Start::Object => self.skip(b'}', depth + 1)?,
                Start::Array => self.skip(b']', depth + 1)?,
                Start::Scalar => drop(self.reader.scalar()?),
            }
            if !self.reader.more(close)? {
                return Ok(());
            }
        }
    }

    fn check_depth(&self, depth: usize) -> Result<(), Rejection> {
        let limit = self.settings.limits.nesting;
        if depth <= limit {
            return Ok(());
        }
        let error = format!("objects and arrays are nested deeper than {limit}");
        Err(Rejection::new(Reason::TooLarge, error).at(self.reader.at().saturating_sub(1)))
    }

    fn time(&mut self, index: usize, start: Start) -> Result<(), Rejection> {
        let from = self.reader.at() - usize::from(!matches!(start, Start::Scalar));
        let time = match start {
            Start::Object => self.skip(b'}', 2).map(|()| Some(Time::Container))?,
            Start::Array => self.skip(b']', 2).map(|()| Some(Time::Container))?,
            Start::Scalar => match self.reader.scalar()? {
                Scalar::Null => None,
                scalar => Some(Time::Scalar(scalar)),
            },
        };
        if let Some(tracer) = &mut self.tracer {
            tracer.time(from..self.reader.at(), TIME_SOURCES[index], time.is_none());
        }
        self.payload.times[index] = time;
        Ok(())
    }

    /// Turns the scalar at the cursor into the field or tag `key`.
    fn scalar(&mut self, key: &str) -> Result<(), Rejection> {
        let start = self.reader.at();
        let scalar = self.reader.scalar()?;
        self.count_key(key.len())?;
        let key = key.trim_start_matches('_');
        if key == "request_id" {
            self.payload.request_id = Some(scalar);
        }
        let made = match self.settings.kinds.of(key.as_bytes()) {
            Some(Kind::Drop) => Err(DROPPED),
            Some(Kind::Tag) => self.tag(key, scalar).map(|()| (Set::Tags, None)),
            kind => self.field(key, kind, scalar).map(|cut_from| (Set::Fields, cut_from)),
        };
        if let Err(LeftOut { why, lost: true }) = made {
            self.observer.observe(Event::LeftOut { key, why });
        }
        if let Some(tracer) = &mut self.tracer {
            let value = start..self.reader.at();
            match made {
                Ok((set, cut_from)) => tracer.made(value, set, cut_from, self.point),
                Err(why) => tracer.left_out(value, why),
            }
        }
        // What counts is the finished point, from which a later null may take fields away again; but each field is compared
        // with all before it, so there have to be bounds on the way too.
        self.check_fields(1000)
    }

    fn trace_left_out(&mut self, start: usize, why: LeftOut) {
        if let Some(tracer) = &mut self.tracer {
            tracer.left_out(start..self.reader.at(), why);
        }
    }

    /// Takes account of a key of this length, whatever becomes of it: to look at it costs time.
    fn count_key(&mut self, len: usize) -> Result<(), Rejection> {
        self.keys += len;
        self.room.check(self.keys)
    }

    fn check_fields(&self, beyond: usize) -> Result<(), Rejection> {
        let limit = self.settings.limits.fields;
        if self.point.len() <= limit + beyond {
            return Ok(());
        }
        let error = format!("the payload has more than {limit} fields and tags");
        Err(Rejection::new(Reason::TooLarge, error))
    }

    fn tag(&mut self, key: &str, scalar: Scalar<'a>) -> Result<(), LeftOut> {
        let decoded;
        let value = match scalar {
            Scalar::Null | Scalar::NotFinite => "",
            Scalar::Bool(true) => "true",
            Scalar::Bool(false) => "false",
            Scalar::Number(number) => number.text,
            Scalar::String(text) => {
                decoded = text.decoded();
                &decoded
            }
        };
        match (self.point.tag(key, value), scalar) {
            (_, Scalar::NotFinite) => Err(LeftOut::lost("NaN and Infinity make no tag")),
            (_, Scalar::Null) => Err(LeftOut::nothing("null makes no tag")),
            (Err(Missing::Key), _) if !value.is_empty() => Err(LeftOut::lost("an empty key makes no tag")),
            (Err(_), _) => Err(LeftOut::nothing("an empty value makes no tag")),
            (Ok(()), _) => Ok(()),
        }
    }

    /// Makes a field; the string's length where it had to be cut.
    fn field(&mut self, key: &str, kind: Option<Kind>, scalar: Scalar<'a>) -> Result<Option<usize>, LeftOut> {
        let mut decoded = std::mem::take(&mut self.scratch.decoded);
        let text = match scalar {
            Scalar::String(text) if text.escaped => {
                decoded.clear();
                text.decode_into(&mut decoded);
                decoded.as_str()
            }
            Scalar::String(text) => text.raw,
            Scalar::Number(number) => number.text,
            _ => "",
        };
        let number = match scalar {
            Scalar::Number(number) => Some(number),
            Scalar::String(_) => Number::of(text),
            _ => None,
        };
        let (mut why, mut cut_from) = (None, None);
        let made = self.point.field(key, |out| {
            let result = write_value(kind, scalar, text, number, out);
            cut_from = result.is_ok_and(|_| text.len() > MAX_STRING && out.last() == Some(&b'"')).then_some(text.len());
            why = result.err();
            result.is_ok()
        });
        self.scratch.decoded = decoded;
        if let Some(bytes) = cut_from {
            self.observer.observe(Event::StringCut { key, bytes });
        }
        match (made, why, scalar) {
            (.., Scalar::Null) => Err(LeftOut::nothing("null makes no field")),
            (Err(Missing::Key), ..) => Err(LeftOut::lost("an empty key makes no field")),
            (_, Some(why), _) => Err(LeftOut::lost(why)),
            (_, None, _) => Ok(cut_from),
        }
    }
}

const DROPPED: LeftOut = LeftOut::nothing("--as drops it");

/// The keys that give a time, in the order of [`Payload::times`].
pub(crate) const TIME_SOURCES: [TimeSource; 2] = [TimeSource::Time, TimeSource::Timestamp];

/// Appends the field's value, or says why there is none.
pub(crate) fn write_value(
    kind: Option<Kind>,
    scalar: Scalar<'_>,
    text: &str,
    number: Option<Number<'_>>,
    out: &mut Vec<u8>,
) -> Result<(), &'static str> {
    let mut float = |number| if write_float(number, out) { Ok(()) } else { Err("the number is beyond a 64-bit float") };
    match (kind, scalar, number) {
        (_, Scalar::Null, _) => Err("null makes no field"),
        (_, Scalar::NotFinite, _) => Err("NaN and Infinity make no field"),
        (Some(Kind::String), Scalar::Bool(value), _) => {
            write_string(if value { "true" } else { "false" }, out);
            Ok(())
        }
        (Some(Kind::String), ..) | (None, Scalar::String(_), None) => {
            write_string(cut(text, MAX_STRING), out);
            Ok(())
        }
        (None | Some(Kind::Float), _, Some(number)) => float(number),
        (None | Some(Kind::Float), Scalar::Bool(value), _) => {
            out.push(if value { b'1' } else { b'0' });
            Ok(())
        }
        (Some(Kind::Integer), _, Some(number)) => match Decimal::of(number).integer() {
            Some(integer) => {
                write_integer(integer, out);
                Ok(())
            }
            None => Err("the number is not a whole one of 64 bits"),
        },
        (Some(Kind::Integer), Scalar::Bool(value), _) => {
            write_integer(i64::from(value), out);
            Ok(())
        }
        (Some(Kind::Boolean), ..) => {
            let value = match scalar {
                Scalar::Bool(value) => Some(value),
                Scalar::Number(number) => match Decimal::of(number).integer() {
                    Some(1) => Some(true),
                    Some(0) => Some(false),
                    _ => None,
                },
                _ if text == "1" || text.eq_ignore_ascii_case("true") => Some(true),
                _ if text == "0" || text.eq_ignore_ascii_case("false") => Some(false),
                _ => None,
            };
            out.extend_from_slice(match value {
                Some(true) => b"true",
                Some(false) => b"false",
                None => return Err("the value is not a boolean"),
            });
            Ok(())
        }
        _ => Err("the value is not a number"),
    }
}

impl<'a> Time<'a> {
    /// The time's text, to be read or shown.
    pub fn text(&self) -> Cow<'a, str> {
        match self {
            Time::Scalar(Scalar::String(text)) => text.decoded(),
            Time::Scalar(Scalar::Number(number)) => Cow::Borrowed(number.text),
            Time::Scalar(Scalar::Bool(true)) => Cow::Borrowed("true"),
            Time::Scalar(Scalar::Bool(false)) => Cow::Borrowed("false"),
            Time::Scalar(_) => Cow::Borrowed("NaN or Infinity"),
            Time::Container => Cow::Borrowed("an object or array"),
        }
    }
}
