//! The whole conversion: bytes in, bytes out. It does no input or output of its own.

pub(crate) mod parallel;
mod rejections;
pub(crate) mod standing;

use std::borrow::Cow;
use std::ops::Range;

use memchr::{memchr, memrchr};
use xxhash_rust::xxh3::{Xxh3Default, xxh3_64};

use crate::convert::rejections::RejectionTimes;
use crate::convert::standing::{Standing, Stands};
use crate::json::Scalar;
use crate::json::split::{Lines, Piece, Splitter};
use crate::line_protocol::metric::{Framer, FramerState, Metric, MetricReader, Pair};
use crate::line_protocol::{cut, plain_key, unescape_string, write_string};
use crate::observe::event::{Event, Observer, Reason};
use crate::observe::trace::{self, Outcome, PointTime, Position, TimeOf, TimeSource, Tracer};
use crate::payload::flat::{self, Flat, InString, Plain};
use crate::payload::point::{Point, write_time};
use crate::payload::timestamp::{self, Timestamp};
use crate::payload::{self, MAX_STRING, Payload, Rejection, Scratch};
use crate::room::{KEPT, Room};
use crate::settings::{Input, Settings, SettingsError};

/// A rejected payload is kept whole up to this many bytes.
const MAX_REJECTED: usize = 60 * 1024;

/// A metric that carries a message may have this many tags, and as many fields: each is compared with all others.
const MAX_METRIC_PARTS: usize = 1000;

/// The last time that a line can have, in nanoseconds.
const LAST_TIME: &[u8; 19] = b"9223372036854775807";

/// A converter that helps another leaves to it what takes more lines than this, so that many of them take little memory.
const MAX_HELPERS_LINES: usize = 128 * 1024;

/// As much white space at the start of an input is kept until it is known what the input is.
const MAX_BLANK: usize = 64 * 1024;

/// Turns input into points.
///
/// Input comes in chunks that may end anywhere; what is not complete waits for the next chunk. Output is whole lines.
/// Memory stays bounded, whatever comes: the lines of a message take at most some 16 times [`Limits::message`](crate::Limits::message),
/// and while they are made as much again.
pub struct Converter {
    format: Format,
    /// What has arrived of a metric or message that is not complete.
    pending: Vec<u8>,
    /// The metric or message that is too large to wait for.
    oversize: Option<Oversize>,
    /// It pauses with so many bytes of lines.
    pause_at: usize,
    /// It has paused, so that what is pending may be complete.
    paused: bool,
    engine: Engine,
}

/// Where lines go, and who is told what became of the input.
struct Sink<'a> {
    out: &'a mut Vec<u8>,
    observer: &'a mut dyn Observer,
}

/// How the current input is read.
enum Format {
    /// Nothing but white space has come.
    Undecided,
    Influx(Framer),
    Json(Splitter),
    JsonLines(Lines),
    /// As the rest of a message, up to a line break; and then as at this place.
    Rest(Place),
}

/// Where in its input a converter stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nothing but white space has come.
    #[default]
    Start,
    /// In line protocol.
    Lines,
    /// In JSON lines.
    Messages,
    /// In a stream of JSON.
    Values,
    /// In a stream of JSON, in an array of values; whether at the start of a line.
    Array { line_start: bool },
}

/// What is kept of a text that is skipped.
struct Oversize {
    /// It is skipped because it is the rest of a text, and not because of its size.
    is_rest: bool,
    head: Vec<u8>,
    /// The last bytes, which hold a metric's time.
    tail: Vec<u8>,
    len: usize,
    hash: Xxh3Default,
    position: Position,
}

/// All that turns one complete metric or message into lines.
struct Engine {
    settings: Settings,
    rejected_measurement: Vec<u8>,
    measurement: Vec<u8>,
    metric: MetricReader,
    point: Point,
    flat: Flat,
    scratch: Scratch,
    /// The text of a message, unescaped.
    message: Vec<u8>,
    /// What is left for the lines of the present message.
    room: Room,
    /// The lines of one message never take more than this.
    most_lines: usize,
    /// Another converter writes the rejections.
    leaves_rejections: bool,
    /// The last time that the clock gave.
    last_now: i64,
    rejection_times: RejectionTimes,
    /// Takes note of what becomes of each key, where somebody wants to know. Then all goes by the road that says it.
    tracer: Option<Box<Tracer>>,
}

/// What a payload has from the metric that it came in.
#[derive(Clone, Copy, Debug, Default)]
struct Origin {
    /// The metric's time.
    time: Option<i64>,
    /// The payload's place in its message, and whether that is an array.
    index: i64,
    is_item: bool,
}

impl Converter {
    /// A converter that keeps to `settings`.
    ///
    /// # Errors
    /// Where the settings contradict each other or make no sense; the error says what to change.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        settings.check()?;
        Ok(Self::of(settings))
    }

    /// A converter that keeps to `settings`, which have been checked.
    fn of(settings: Settings) -> Self {
        let measurement = settings.measurement.replace(',', "\\,").replace(' ', "\\ ").into_bytes();
        Converter {
            format: Format::Undecided,
            pending: Vec::new(),
            oversize: None,
            pause_at: usize::MAX,
            paused: false,
            engine: Engine {
                rejected_measurement: [&measurement, b"_rejected".as_slice()].concat(),
                measurement,
                metric: MetricReader::default(),
                point: Point::default(),
                flat: Flat::default(),
                scratch: Scratch::default(),
                message: Vec::new(),
                room: Room::default(),
                most_lines: usize::MAX,
                leaves_rejections: false,
                last_now: i64::MIN,
                rejection_times: RejectionTimes::default(),
                tracer: None,
                settings,
            },
        }
    }

    /// From now on, tells observers [what becomes of each key](Observer::trace). The lines are the same, and take longer.
    pub fn trace(&mut self) {
        self.engine.flat.forget_head();
        self.engine.tracer = Some(Box::default());
    }

    /// Whether it does that.
    pub(crate) fn traces(&self) -> bool {
        self.engine.tracer.is_some()
    }

    /// From now on, pauses behind a message once `out` holds this many bytes, since a chunk of many short messages may give a
    /// hundred times as many bytes. While it [has paused](Converter::has_paused), take the lines out, and call
    /// [`push`](Converter::push) with an empty chunk or, at the end, [`finish`](Converter::finish) again.
    pub fn pause_at(&mut self, lines: usize) {
        self.pause_at = lines;
    }

    /// Whether it has paused the last time, so that there may be more lines without more input.
    pub fn has_paused(&self) -> bool {
        self.paused
    }

    /// Another converter of the same settings, which tells of rejections but leaves it to this one to write them.
    pub(crate) fn helper(&self) -> Self {
        let mut helper = Self::of(self.engine.settings.clone());
        helper.engine.leaves_rejections = true;
        helper.engine.most_lines = MAX_HELPERS_LINES;
        helper
    }

    /// Where it stands in the input.
    pub(crate) fn place(&self) -> Place {
        match &self.format {
            Format::Undecided => Place::Start,
            Format::Influx(_) => Place::Lines,
            Format::JsonLines(_) => Place::Messages,
            Format::Json(splitter) if splitter.in_array() => Place::Array { line_start: splitter.at_line_start() },
            Format::Json(_) => Place::Values,
            Format::Rest(place) => *place,
        }
    }

    /// Where it stands in the input before the bytes that are [pending](Converter::pending).
    pub fn standing_before(&self) -> Standing {
        Standing(match &self.format {
            Format::Json(splitter) if splitter.in_empty_array() => Stands::Between(Place::Values),
            _ => Stands::Between(self.place()),
        })
    }

    /// Where it stands in the input behind all bytes that have come, but for so many that it has not looked at yet.
    pub fn standing_behind(&self) -> (Standing, usize) {
        let (stands, looked_at) = match &self.format {
            Format::Undecided => (Stands::Between(Place::Start), 0),
            Format::Influx(framer) => {
                let state = framer.state();
                let is_between = state == FramerState::LineStart;
                (if is_between { Stands::Between(Place::Lines) } else { Stands::Within(state) }, framer.at())
            }
            Format::JsonLines(lines) if lines.at_line_start() => (Stands::Between(Place::Messages), lines.at()),
            Format::Json(splitter) if splitter.is_between() => (Stands::Between(self.place()), splitter.at()),
            Format::Json(_) => (Stands::Before(Place::Values), self.pending.len()),
            Format::JsonLines(_) => (Stands::Before(Place::Messages), self.pending.len()),
            Format::Rest(place) => (Stands::Before(*place), self.pending.len()),
        };
        (Standing(stands), self.pending.len() - looked_at)
    }

    /// Goes on in the midst of an input, where another converter stood. If it stood within a metric or message, the rest of that
    /// becomes a rejection.
    pub fn resume(&mut self, standing: Standing) {
        match standing.0 {
            Stands::Between(place) => return self.go_to(place),
            Stands::Within(state) => {
                self.abandon();
                self.format = Format::Influx(Framer::within(state));
                if state == FramerState::Comment {
                    return;
                }
            }
            Stands::Before(place) => {
                self.abandon();
                self.format = Format::Rest(place);
            }
        }
        self.oversize = Some(Oversize { is_rest: true, ..Oversize::new(self.engine.position()) });
    }

    /// Whether all that has come is done with, so that what comes next depends on nothing but the place.
    pub(crate) fn is_between(&self) -> bool {
        let is_between = match &self.format {
            Format::Undecided => true,
            Format::Influx(framer) => framer.at_line_start(),
            Format::Json(splitter) => splitter.is_between(),
            Format::JsonLines(lines) => lines.at_line_start(),
            Format::Rest(_) => false,
        };
        is_between && self.pending.is_empty() && self.oversize.is_none()
    }

    /// Goes on at another place, between two messages.
    pub(crate) fn go_to(&mut self, place: Place) {
        self.abandon();
        let limits = self.engine.settings.limits;
        self.format = match place {
            Place::Start => Format::Undecided,
            Place::Lines => Format::Influx(Framer::default()),
            Place::Messages => Format::JsonLines(Lines::default()),
            Place::Values => Format::Json(Splitter::of_stream(limits)),
            Place::Array { line_start } => Format::Json(Splitter::of_array(limits, line_start)),
        };
    }

    /// The last time that the clock gave. What asked for it cannot be converted by another converter.
    pub(crate) fn last_now(&self) -> i64 {
        self.engine.last_now
    }

    /// Takes the next chunk of the input, and appends the lines that are complete with it to `out`.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>, observer: &mut dyn Observer) {
        self.paused = false;
        let sink = &mut Sink { out, observer };
        if self.pending.is_empty() {
            let done = self.read(chunk, false, sink);
            self.pending.extend_from_slice(&chunk[done..]);
        } else {
            // Behind a byte order mark there is nothing but white space yet, and that need not be looked at again.
            let is_blank = matches!(self.format, Format::Undecided) && (3..=MAX_BLANK).contains(&self.pending.len());
            self.pending.extend_from_slice(chunk);
            if !(is_blank && chunk.iter().all(u8::is_ascii_whitespace)) {
                self.read_pending(false, sink);
            }
        }
    }

    /// Takes the input as ended, and appends what is left to `out`. The next chunk begins another input.
    pub fn finish(&mut self, out: &mut Vec<u8>, observer: &mut dyn Observer) {
        self.paused = false;
        self.read_pending(true, &mut Sink { out, observer });
        if !self.paused {
            self.abandon();
        }
    }

    /// How many bytes of the input are not done with: the last ones, which are the start of a metric or message.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Takes the input as broken off, and forgets what is not complete. The next chunk begins another input.
    pub fn abandon(&mut self) {
        self.pending.clear();
        self.oversize = None;
        self.format = Format::Undecided;
        if let Some(tracer) = &mut self.engine.tracer {
            tracer.start_input();
        }
    }

    /// Takes the input as broken off within a line: forgets that line, and converts what is complete. How many bytes were
    /// forgotten. The next chunk begins another input; where it [has paused](Converter::has_paused),
    /// [`finish`](Converter::finish) comes before that.
    ///
    /// A line of line protocol may itself have several lines, and so all that is not complete is forgotten.
    pub fn break_off(&mut self, out: &mut Vec<u8>, observer: &mut dyn Observer) -> usize {
        let limits = self.engine.settings.limits;
        let complete = match &mut self.format {
            Format::Undecided | Format::Influx(_) | Format::Rest(_) => None,
            _ if self.oversize.is_some() => Some(self.pending.len()),
            // One that lacks nothing but its end is complete.
            Format::JsonLines(_) => {
                let mut splitter = Splitter::of_stream(limits);
                while splitter.next(&self.pending, false).is_some() {}
                (!splitter.in_value() && !splitter.in_array()).then_some(self.pending.len())
            }
            Format::Json(splitter) => {
                let len = memrchr(b'\n', &self.pending).map_or(0, |at| at + 1);
                splitter.cut_off(len);
                Some(len)
            }
        };
        let forgotten = self.pending.len() - complete.unwrap_or_default();
        match complete {
            Some(len) => {
                self.pending.truncate(len);
                self.finish(out, observer);
            }
            None => self.abandon(),
        }
        forgotten
    }

    fn read_pending(&mut self, end_of_input: bool, sink: &mut Sink<'_>) {
        let mut pending = std::mem::take(&mut self.pending);
        let done = self.read(&pending, end_of_input, sink);
        pending.drain(..done);
        if pending.len() <= KEPT {
            pending.shrink_to(KEPT);
        }
        self.pending = pending;
    }

    /// Reads what is complete in `buffer`; how many of its bytes are done with.
    fn read(&mut self, mut buffer: &[u8], end_of_input: bool, sink: &mut Sink<'_>) -> usize {
        let mut skipped = 0;
        if let Format::Undecided = self.format {
            match self.engine.settings.format(buffer, end_of_input) {
                Ok((mark, format)) => (skipped, self.format) = (mark, format),
                Err(blank) => {
                    self.engine.drained(buffer, blank);
                    return blank;
                }
            }
            self.engine.drained(buffer, skipped);
            buffer = &buffer[skipped..];
        }
        let mut format = std::mem::replace(&mut self.format, Format::Undecided);
        let done = match &mut format {
            Format::Undecided => 0,
            Format::Influx(framer) => self.read_influx(framer, buffer, end_of_input, sink),
            Format::Json(splitter) => self.read_json(splitter, buffer, end_of_input, sink),
            Format::JsonLines(lines) => self.read_json_lines(lines, buffer, end_of_input, sink),
            Format::Rest(place) => {
                let done = self.skip_rest(buffer, end_of_input, sink);
                self.engine.drained(buffer, done);
                if self.oversize.is_none() {
                    self.go_to(*place);
                    return skipped + done + self.read(&buffer[done..], end_of_input, sink);
                }
                self.format = format;
                return skipped + done;
            }
        };
        self.format = format;
        self.engine.drained(buffer, done);
        skipped + done
    }

    /// Skips the rest of a message, up to its line break or the end of the input, and rejects it; how many bytes that are.
    fn skip_rest(&mut self, buffer: &[u8], end_of_input: bool, sink: &mut Sink<'_>) -> usize {
        let end = memchr(b'\n', buffer);
        let Some(mut oversize) = self.oversize.take() else { return 0 };
        let rest = &buffer[..end.unwrap_or(buffer.len())];
        if end.is_some() || end_of_input {
            self.engine.start_metric();
            oversize.reject_message(rest, &mut self.engine, sink);
        } else {
            oversize.add(rest);
            self.oversize = Some(oversize);
        }
        end.map_or(buffer.len(), |end| end + 1)
    }

    fn read_influx(&mut self, framer: &mut Framer, buffer: &[u8], end_of_input: bool, sink: &mut Sink<'_>) -> usize {
        let limit = self.engine.settings.limits.longest();
        if self.may_be_flat(&buffer[framer.start()..], framer.at() - framer.start(), b'\n') {
            framer.restart();
        }
        while !self.pauses(sink) {
            // Nearly every line is one plain message: no look at its bytes but the one that converts it.
            if framer.at_line_start() {
                let at = framer.at();
                self.engine.begin(buffer, at);
                if let Some(len) = self.engine.flat_metric(&buffer[at..], sink) {
                    framer.skip_to(at + len);
                    continue;
                }
                if let Some(len) = memchr(b'\n', &buffer[at..])
                    && len <= limit
                    && self.engine.plain_metric(&buffer[at..at + len], sink)
                {
                    framer.skip_to(at + len + 1);
                    self.engine.shrink();
                    continue;
                }
            }
            let Some(line) = framer.next(buffer, end_of_input) else { break };
            self.engine.begin(buffer, line.start);
            match self.take_oversize(line.len(), limit) {
                Some(oversize) => oversize.reject_metric(&buffer[line], &mut self.engine, sink),
                None => self.engine.metric(&buffer[line], sink),
            }
            self.engine.shrink();
        }
        let done = self.skip(buffer, framer.start(), framer.at(), limit);
        framer.drained(done);
        done
    }

    fn read_json(&mut self, splitter: &mut Splitter, buffer: &[u8], end_of_input: bool, sink: &mut Sink<'_>) -> usize {
        let limit = self.engine.settings.limits.message;
        if self.may_be_flat(&buffer[splitter.start()..], splitter.at() - splitter.start(), b'}') {
            splitter.restart();
        }
        while !self.pauses(sink) {
            if let Some(start) = splitter.object_start(buffer)
                && let Some(len) = self.engine.flat_object(&buffer[start..], sink)
            {
                splitter.skip_to(start + len);
                continue;
            }
            let Some(piece) = splitter.next(buffer, end_of_input) else { break };
            // Without a metric there is nothing that payloads could share, not even a time.
            self.engine.start_metric();
            let text = piece.range().unwrap_or(splitter.at()..splitter.at());
            self.engine.begin(buffer, text.start);
            self.engine.start_message(trim(&buffer[text]).len());
            if let Piece::Value(range) = &piece
                && let Some(oversize) = self.take_oversize(range.len(), limit)
            {
                oversize.reject_message(&buffer[range.clone()], &mut self.engine, sink);
            } else {
                self.engine.piece(piece, buffer, Origin::default(), sink);
            }
            self.engine.shrink();
        }
        let start = splitter.start();
        let kept = splitter.keeps(limit);
        let done = if splitter.in_value() { self.skip(buffer, start, splitter.at(), kept) } else { start };
        splitter.drained(done);
        done
    }

    fn read_json_lines(&mut self, lines: &mut Lines, buffer: &[u8], end_of_input: bool, sink: &mut Sink<'_>) -> usize {
        // Of the line's end, the carriage return is looked at as well.
        let limit = self.engine.settings.limits.message + 1;
        if self.may_be_flat(&buffer[lines.start()..], lines.at() - lines.start(), b'\n') {
            lines.restart();
        }
        while !self.pauses(sink) {
            if lines.at_line_start()
                && let Some(len) = self.engine.flat_line(&buffer[lines.at()..], sink)
            {
                lines.skip_to(lines.at() + len);
                continue;
            }
            let Some(line) = lines.next(buffer, end_of_input) else { break };
            self.engine.start_metric();
            self.engine.begin(buffer, line.start);
            match self.take_oversize(line.len(), limit) {
                Some(oversize) => oversize.reject_message(&buffer[line], &mut self.engine, sink),
                None => {
                    self.engine.start_message(trim(&buffer[line.clone()]).len());
                    self.engine.message(&buffer[line], None, sink);
                }
            }
            self.engine.shrink();
        }
        let done = self.skip(buffer, lines.start(), lines.at(), limit);
        lines.drained(done);
        done
    }

    /// Whether to pause, and to leave the rest for later.
    #[inline]
    fn pauses(&mut self, sink: &Sink<'_>) -> bool {
        if sink.out.len() < self.pause_at {
            return false;
        }
        self.paused = true;
        true
    }

    /// Whether a text of which the first `read` bytes came earlier may now be complete, and worth to be read anew at once. That is
    /// no more than eight times what is new, so that no text is read again and again as its bytes come.
    fn may_be_flat(&self, text: &[u8], read: usize, end: u8) -> bool {
        let is_worth_it = (1..=flat::MAX_TEXT.min(8 * (text.len() - read))).contains(&read);
        is_worth_it && self.oversize.is_none() && memchr(end, &text[read..]).is_some()
    }

    /// What was skipped of the text whose last `len` bytes have now come, if it is larger than `limit`: a text that is too
    /// large is treated the same whether it came in one piece or in many.
    fn take_oversize(&mut self, len: usize, limit: usize) -> Option<Oversize> {
        self.oversize.take().or_else(|| (len > limit).then(|| Oversize::new(self.engine.position())))
    }

    /// How much of the buffer can go: what is before the incomplete text at `start`, and that text too, as far as it has been
    /// looked at, once it is larger than `limit`.
    fn skip(&mut self, buffer: &[u8], start: usize, at: usize, limit: usize) -> usize {
        if self.paused || self.oversize.is_none() && buffer.len() - start <= limit {
            return start;
        }
        let engine = &mut self.engine;
        let new = || {
            engine.begin(buffer, start);
            Oversize::new(engine.position())
        };
        self.oversize.get_or_insert_with(new).add(&buffer[start..at]);
        at
    }
}

impl Settings {
    /// How to read an input that starts with `start`, and how many bytes to skip before; where that cannot be said yet only
    /// the latter.
    fn format(&self, start: &[u8], end_of_input: bool) -> Result<(usize, Format), usize> {
        const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
        if !end_of_input && start.len() < BYTE_ORDER_MARK.len() && BYTE_ORDER_MARK.starts_with(start) {
            return Err(0);
        }
        let mark = if start.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        let text = &start[mark..];
        let blank = text.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let format = match (self.input, text.get(blank)) {
            // White space is part of the first line, unless it is without end.
            (Input::Auto, None) => return Err(if blank > MAX_BLANK { mark + blank } else { 0 }),
            (Input::Auto, Some(b'{' | b'[')) | (Input::Json, _) => Format::Json(Splitter::of_stream(self.limits)),
            (Input::JsonLines, _) => Format::JsonLines(Lines::default()),
            (Input::Auto | Input::Influx, _) => Format::Influx(Framer::default()),
        };
        Ok((mark, format))
    }
}

impl Oversize {
    /// Enough for a metric's name and tags, and for as much of its message as is kept of a rejected one.
    const HEAD: usize = 4 * MAX_REJECTED;
    /// Enough for a time and what is around it.
    const TAIL: usize = 32;

    fn new(position: Position) -> Self {
        Oversize { is_rest: false, head: Vec::new(), tail: Vec::new(), len: 0, hash: Xxh3Default::new(), position }
    }

    fn add(&mut self, text: &[u8]) {
        let room = (Self::HEAD - self.head.len()).min(text.len());
        self.head.extend_from_slice(&text[..room]);
        let last = &text[text.len().saturating_sub(Self::TAIL)..];
        self.tail.extend_from_slice(last);
        self.tail.drain(..self.tail.len().saturating_sub(Self::TAIL));
        self.len += text.len();
        self.hash.update(text);
    }

    /// Why it is rejected: for `reason` where it is a rest, for its size otherwise.
    fn rejection(&self, what: &str, reason: Reason, limit: usize) -> Rejection {
        if self.is_rest {
            let error = format!("the start of the {what} was lost when a process was killed; this is the rest of it");
            return Rejection::new(reason, error);
        }
        too_large(what, self.len, limit)
    }

    fn reject_message(mut self, rest: &[u8], engine: &mut Engine, sink: &mut Sink<'_>) {
        self.add(rest);
        engine.begin_at(self.position);
        let rejection = self.rejection("message", Reason::InvalidJson, engine.settings.limits.message);
        let text = if self.len == self.head.len() { trim(&self.head) } else { &self.head };
        engine.reject(&rejection, text, Some(self.hash.digest()), Origin::default(), sink);
    }

    fn reject_metric(mut self, rest: &[u8], engine: &mut Engine, sink: &mut Sink<'_>) {
        self.add(rest);
        engine.begin_at(self.position);
        engine.start_metric();
        let time = self.tail.rsplit(|byte| *byte == b'"').next().filter(|rest| rest.len() < self.tail.len());
        let time = time.and_then(|rest| MetricReader::read_time(rest, 0).ok()).flatten();
        let mut message = Vec::new();
        let head = match engine.message_start(&self.head).filter(|_| !self.is_rest) {
            Some(start) => {
                engine.take_tags(&self.head);
                // The closing quote is not in it, so this unescapes all there is.
                let _ = unescape_string(&self.head[start..], &mut message);
                &message
            }
            None => &self.head,
        };
        let rejection = self.rejection("metric", Reason::InvalidMetric, engine.settings.limits.longest());
        engine.reject(&rejection, head, Some(self.hash.digest()), Origin { time, ..Origin::default() }, sink);
    }
}

impl Engine {
    /// What comes next begins at `start` in the buffer.
    fn begin(&mut self, buffer: &[u8], start: usize) {
        if let Some(tracer) = &mut self.tracer {
            tracer.begin(buffer, start);
        }
    }

    fn begin_at(&mut self, position: Position) {
        if let Some(tracer) = &mut self.tracer {
            tracer.begin_at(position);
        }
    }

    /// Where the present message begins in the input, if anybody wants to know.
    fn position(&self) -> Position {
        self.tracer.as_ref().map_or_else(Position::default, |tracer| tracer.position())
    }

    /// The buffer's first `len` bytes are gone.
    fn drained(&mut self, buffer: &[u8], len: usize) {
        if let Some(tracer) = &mut self.tracer {
            tracer.drained(buffer, len);
        }
    }

    fn start_metric(&mut self) {
        self.point.start_metric();
        if let Some(tracer) = &mut self.tracer {
            tracer.start_metric();
        }
    }

    /// The present message took so many bytes when it arrived.
    fn start_message(&mut self, bytes: usize) {
        self.room = Room::of(bytes, self.most_lines);
    }

    /// Gives back the memory that a large message took.
    #[inline(never)]
    fn shrink(&mut self) {
        self.point.shrink();
        self.metric.shrink();
        self.scratch.shrink();
        self.message.clear();
        self.message.shrink_to(KEPT);
    }

    /// Converts the line at the start of `buffer`, if all of it is there, it starts as the last one did, and its message is
    /// for [`Flat`]; its length with the line break. Where that is None nothing is done.
    ///
    /// Such a payload's line always has room: of the text of a flat object each key and value is written once, at most doubled
    /// by escapes or, where it is a number, four times as long.
    fn flat_metric(&mut self, buffer: &[u8], sink: &mut Sink<'_>) -> Option<usize> {
        let text = self.flat.behind_head(buffer)?;
        let len = self.flat.read::<InString>(&text[..self.flat_limit(text)], &self.settings)?;
        // As all times of this century are written.
        let (time, rest) = text[len..].strip_prefix(b"\" ")?.split_first_chunk()?;
        let is_time = time.iter().fold(true, |all, byte| all & byte.is_ascii_digit()) && time <= LAST_TIME;
        let rest = rest.strip_prefix(b"\n").filter(|_| is_time)?;
        self.flat_point(&text[..len], Some(time), sink)?;
        Some(buffer.len() - rest.len())
    }

    /// Converts the JSON object at the start of `buffer`, likewise.
    fn flat_object(&mut self, buffer: &[u8], sink: &mut Sink<'_>) -> Option<usize> {
        if self.tracer.is_some() {
            return None;
        }
        self.flat.forget_head();
        let len = self.flat.read::<Plain>(&buffer[..self.flat_limit(buffer)], &self.settings)?;
        self.flat_point(&buffer[..len], None, sink)?;
        Some(len)
    }

    /// Converts the line at the start of `buffer`, if all of it is there and it holds such an object.
    fn flat_line(&mut self, buffer: &[u8], sink: &mut Sink<'_>) -> Option<usize> {
        if self.tracer.is_some() {
            return None;
        }
        self.flat.forget_head();
        let len = self.flat.read::<Plain>(&buffer[..self.flat_limit(buffer)], &self.settings)?;
        let rest = &buffer[len..];
        let rest = rest.strip_prefix(b"\r").unwrap_or(rest).strip_prefix(b"\n")?;
        self.flat_point(&buffer[..len], None, sink)?;
        Some(buffer.len() - rest.len())
    }

    fn flat_limit(&self, text: &[u8]) -> usize {
        flat::MAX_TEXT.min(self.settings.limits.message).min(text.len())
    }

    /// Appends the line of the payload that was read from `text`.
    fn flat_point(&mut self, text: &[u8], metric_time: Option<&[u8]>, sink: &mut Sink<'_>) -> Option<()> {
        let text = simdutf8::basic::from_utf8(text).ok()?;
        let own_time = match self.flat.time(text)? {
            Some(time) if self.settings.exact_time => Some(time.nanoseconds),
            Some(time) => Some(time.filled(self.flat.call_hash(text.as_bytes())?)),
            None => None,
        };
        self.flat.write(text, &self.measurement, sink.out).then_some(())?;
        let metric_time = || timestamp::of_metric(std::str::from_utf8(metric_time?).ok()?.parse().ok()?, 0);
        write_time(own_time.or_else(metric_time).unwrap_or_else(|| self.now()), sink.out);
        sink.observer.observe(Event::Converted { time: own_time });
        Some(())
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
                self.flat.take_head(&line[..start], &self.point, &self.settings.kinds);
            }
            self.start_message(line.len());
            self.message(&message, time, sink);
        }
        self.message = message;
        time.is_some()
    }

    /// Where the message begins in a metric that starts with `line`, if its first field holds one. Reads the tags.
    fn message_start(&mut self, line: &[u8]) -> Option<usize> {
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
    fn take_tags(&mut self, line: &[u8]) {
        self.start_metric();
        if self.metric.tags.len() > MAX_METRIC_PARTS {
            return;
        }
        for Pair { key, value } in &self.metric.tags {
            let key = plain_key(&line[key.clone()]);
            let given = self.point.incoming_tag(&key, &plain_key(&line[value.clone()]));
            if let Some(tracer) = &mut self.tracer {
                tracer.metric_key(trace::Origin::MetricTag, &key, given, None, &self.point);
            }
        }
    }

    /// Converts or passes through any metric.
    fn metric(&mut self, line: &[u8], sink: &mut Sink<'_>) {
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
                self.point.other_field(&key, value)
            } else {
                message.clear();
                let _ = unescape_string(&value[1..], &mut message);
                let text = String::from_utf8_lossy(&message);
                let mut written = Vec::new();
                write_string(cut(&text, MAX_STRING), &mut written);
                if text.len() > MAX_STRING {
                    cut_from = Some(text.len());
                    sink.observer.observe(Event::StringCut { key: &String::from_utf8_lossy(&key), bytes: text.len() });
                }
                self.point.other_field(&key, &written)
            };
            if let Some(tracer) = &mut self.tracer {
                tracer.metric_key(trace::Origin::MetricField, &key, given, cut_from, &self.point);
            }
        }
        message.clear();
        let _ = unescape_string(&line[value.start + 1..], &mut message);
        self.start_message(line.len());
        self.message(&message, self.metric.time, sink);
        self.message = message;
    }

    /// Converts the message of a metric whose tags and other fields the point has.
    fn message(&mut self, message: &[u8], time: Option<i64>, sink: &mut Sink<'_>) {
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
            self.room.take((sink.out.len() - start).max(self.point.incoming_len()));
            origin.index += 1;
        }
    }

    fn piece(&mut self, piece: Piece, text: &[u8], origin: Origin, sink: &mut Sink<'_>) {
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
    fn payload(&mut self, text: &[u8], origin: Origin, sink: &mut Sink<'_>) {
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
        let text = match std::str::from_utf8(bytes) {
            Ok("") => return fail(Reason::InvalidJson, "the message is empty"),
            Ok(text) => text,
            Err(error) => {
                let at = error.valid_up_to();
                return Err(Rejection::new(Reason::InvalidJson, format!("expected UTF-8 at byte {at}")).at(at));
            }
        };
        self.point.start_payload();
        let mut tracer = self.tracer.as_deref_mut();
        if let Some(tracer) = &mut tracer {
            tracer.start_payload();
        }
        let payload = payload::read(
            text,
            &self.settings,
            &mut self.room,
            &mut self.scratch,
            &mut self.point,
            sink.observer,
            tracer.as_deref_mut(),
        )?;
        if let Some(tracer) = tracer {
            tracer.payload_read();
        }
        if !self.point.has_tag("algorithm_name") {
            return fail(Reason::MissingAlgorithmName, "the payload does not say which algorithm was called");
        }
        if !self.point.has_fields() {
            return fail(Reason::NoFields, "the payload has nothing but tags, time and values that make no field");
        }
        self.point.write(&self.measurement, &mut self.room, sink.out)?;
        let own_time = self.own_time(&payload, text, sink.observer);
        let metric_time = || {
            let nanoseconds = timestamp::of_metric(origin.time?, origin.index)?;
            Some(PointTime { nanoseconds, source: TimeSource::Metric, filled: 0, by_request_id: false })
        };
        let time = own_time.or_else(metric_time).unwrap_or_else(|| PointTime {
            nanoseconds: self.now(),
            source: TimeSource::Clock,
            filled: 0,
            by_request_id: false,
        });
        write_time(time.nanoseconds, sink.out);
        sink.observer.observe(Event::Converted { time: own_time.map(|time| time.nanoseconds) });
        if let Some(tracer) = &mut self.tracer {
            tracer.settle(&mut self.point, TimeOf::Point(time));
            tracer.tell_point(time, origin.item(), bytes, sink.observer);
        }
        Ok(())
    }

    /// The time that the payload gives its point.
    fn own_time(&self, payload: &Payload<'_>, text: &str, observer: &mut dyn Observer) -> Option<PointTime> {
        let mut given = None;
        let mut unreadable = None;
        for (time, source) in payload.times.iter().zip(payload::TIME_SOURCES) {
            let Some(time) = time else { continue };
            let written = time.text();
            let read = match time {
                payload::Time::Scalar(Scalar::Number(number)) => Timestamp::from_number(*number),
                payload::Time::Scalar(Scalar::String(_)) => Timestamp::from_text(&written),
                _ => None,
            };
            given = read.map(|time| (time, source));
            if given.is_some() {
                break;
            }
            unreadable.get_or_insert(written);
        }
        if let Some(text) = unreadable {
            observer.observe(Event::TimeDefaulted { text: &text });
        }
        let (given, source) = given?;
        if self.settings.exact_time {
            let nanoseconds = given.nanoseconds;
            return Some(PointTime { nanoseconds, source, filled: 0, by_request_id: false });
        }
        let id = call_id(payload);
        let hash = xxh3_64(if id.is_empty() { text.as_bytes() } else { id.as_bytes() });
        let (nanoseconds, filled) = (given.filled(hash), given.unknown);
        Some(PointTime { nanoseconds, source, filled, by_request_id: !id.is_empty() })
    }

    /// The clock's time, never the same twice.
    fn now(&mut self) -> i64 {
        self.last_now = (self.settings.clock)().max(self.last_now.saturating_add(1));
        self.last_now
    }

    /// Appends the point that takes a rejected message's place. `hash` is that of the whole message, where `payload` is only
    /// its start.
    fn reject(
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
            tracer.tell_rejected(why, origin.item(), payload, &mut self.point, sink.observer);
        }
        let given = origin.time.and_then(|time| timestamp::of_metric(time, 0)).unwrap_or_else(|| self.now());
        let time = self.rejection_times.time(given, hash.unwrap_or_else(|| xxh3_64(payload)));
        let text = String::from_utf8_lossy(payload);
        let fields = [("error", error.as_str()), ("payload", cut(&text, MAX_REJECTED))];
        self.point.write_about(&self.rejected_measurement, ("reason", reason.code()), &fields, time, sink.out);
        sink.observer.observe(Event::Rejected { reason: *reason, error });
    }
}

impl Origin {
    /// The payload's place in its message, where that is an array.
    fn item(&self) -> Option<usize> {
        usize::try_from(self.index).ok().filter(|_| self.is_item)
    }
}

/// What tells two calls apart: the request's id. Empty where there is none, and then it is the whole payload that does.
fn call_id<'a>(payload: &Payload<'a>) -> Cow<'a, str> {
    match payload.request_id {
        Some(Scalar::String(id)) => id.decoded(),
        Some(Scalar::Number(id)) => id.text.into(),
        Some(Scalar::Bool(true)) => "true".into(),
        Some(Scalar::Bool(false)) => "false".into(),
        Some(Scalar::Null | Scalar::NotFinite) | None => "".into(),
    }
}

fn open_array() -> Rejection {
    Rejection::new(Reason::InvalidJson, "expected the `]` that ends the array")
}

fn too_large(what: &str, len: usize, limit: usize) -> Rejection {
    Rejection::new(Reason::TooLarge, format!("the {what} takes {len} bytes, and the limit is {limit}"))
}

/// Without the white space around it, and the zero bytes that Telegraf takes away as well.
fn trim(text: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0);
    let start = text.iter().take_while(|byte| is_blank(byte)).count();
    let end = text[start..].iter().rev().take_while(|byte| is_blank(byte)).count();
    &text[start..text.len() - end]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The times that points have from their payloads.
    struct Times(Vec<Option<i64>>);

    impl Observer for Times {
        fn observe(&mut self, event: Event<'_>) {
            if let Event::Converted { time } = event {
                self.0.push(time);
            }
        }
    }

    #[test]
    fn a_converted_point_tells_of_a_time_that_is_its_payloads() {
        for (exact_time, filled) in [(true, 1_613_780_514_867_231_000), (false, 1_613_780_514_867_231_593)] {
            let mut converter = Converter::new(Settings { exact_time, ..Settings::default() }).unwrap();
            let (mut out, mut times) = (Vec::new(), Times(Vec::new()));
            let id = "req-9f5345b4-a1cd-431c-a43a-bd2a06f4a6f4";
            for time in [
                r#""time":"2021-02-20T00:21:54.867231""#,
                r#""timestamp":1613780514867231"#,
                r#""time":"yesterday","timestamp":1613780514867231"#,
                r#""time":"yesterday""#,
                r#""time":null"#,
                r#""x":2"#,
            ] {
                let message = format!(r#"{{"algorithm_name":"a","x":1,"request_id":"{id}",{time}}}"#);
                let metric = fixtures::telegraf::metric(&message, 1_613_780_514_867_231_999);
                converter.push(metric.as_bytes(), &mut out, &mut times);
            }
            assert_eq!(times.0, [Some(filled), Some(filled), Some(filled), None, None, None]);
            let written = String::from_utf8(out).unwrap();
            assert_eq!(written.matches(&format!(" {filled}\n")).count(), 3, "{written}");
        }
    }
}
