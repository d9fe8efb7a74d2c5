//! The whole conversion, from bytes to bytes, without input or output of its own.

mod detection;
mod engine;
mod messages;
mod oversize;
pub(crate) mod parallel;
mod rejections;
pub(crate) mod standing;
mod utf8;
pub(crate) mod wrapping;

use memchr::{memchr, memrchr};

use crate::buffers::KEPT;
use crate::convert::detection::{Ends, Last};
use crate::convert::engine::{Engine, FromMetric, MAX_AS_IT_STANDS, Sink, trim};
use crate::convert::oversize::Oversize;
use crate::convert::rejections::RejectionTimes;
pub(crate) use crate::convert::standing::Place;
use crate::convert::utf8::Utf8;
use crate::json::lines::Lines;
use crate::json::split::{Piece, Splitter};
use crate::line_protocol::decoder::MetricReader;
use crate::line_protocol::framer::{Framer, FramerState};
use crate::observe::event::Observer;
use crate::payload::Payloads;
use crate::payload::room::Room;
use crate::settings::{Input, Settings, SettingsError};

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
                payloads: Payloads::default(),
                message: Vec::new(),
                decoded: Vec::new(),
                utf8: Utf8::default(),
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
        self.engine.start_metric();
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
            Format::Json(splitter) => Place::Values { line_start: splitter.at_line_start() },
            Format::Rest(place) => *place,
        }
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
            Place::Lines => Format::Influx(self.engine.settings.framer(FramerState::LineStart)),
            Place::Messages => Format::JsonLines(Lines::default()),
            Place::Values { line_start } => Format::Json(Splitter::of_rest(limits, line_start)),
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
        self.engine.utf8 = Utf8::default();
        let mut format = std::mem::replace(&mut self.format, Format::Undecided);
        let mut ends = Ends::default();
        loop {
            let (done, turns) = match &mut format {
                Format::Undecided => (0, false),
                Format::Influx(framer) => self.read_influx(framer, buffer, end_of_input, &mut ends, sink),
                Format::Json(splitter) => self.read_json(splitter, buffer, end_of_input, &mut ends, sink),
                Format::JsonLines(lines) => (self.read_json_lines(lines, buffer, end_of_input, sink), false),
                Format::Rest(place) => {
                    let done = self.skip_rest(buffer, end_of_input, sink);
                    self.engine.drained(buffer, done);
                    if self.oversize.is_none() {
                        self.go_to(*place);
                        return skipped + done + self.read(&buffer[done..], end_of_input, sink);
                    }
                    (done, false)
                }
            };
            if !matches!(format, Format::Rest(_)) {
                self.engine.drained(buffer, done);
            }
            (skipped, buffer) = (skipped + done, &buffer[done..]);
            if !turns {
                self.format = format;
                return skipped;
            }
            format = self.engine.settings.other(&format);
        }
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

    /// Reads metrics. How many bytes are done with, and whether JSON begins there.
    fn read_influx(
        &mut self,
        framer: &mut Framer,
        buffer: &[u8],
        end_of_input: bool,
        ends: &mut Ends,
        sink: &mut Sink<'_>,
    ) -> (usize, bool) {
        let limit = self.engine.settings.limits.longest();
        if self.is_worth_reading_anew(&buffer[framer.start()..], framer.at() - framer.start(), b'\n') {
            framer.restart();
        }
        let complete = ends.line.find(b'\n', buffer, framer.at());
        while !self.pauses(sink) {
            // Nearly every line is one plain message: no look at its bytes but the one that converts it.
            if framer.at_line_start() && framer.at() < complete {
                let at = framer.at();
                self.engine.begin(buffer, at);
                if let Some(len) = self.engine.metric_as_it_stands(&buffer[at..], sink) {
                    framer.skip_to(at + len);
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
        if framer.is_at_json(buffer) && !self.paused {
            return (framer.at(), true);
        }
        let done = self.skip(buffer, framer.start(), framer.at(), limit);
        framer.drained(done);
        (done, false)
    }

    /// Reads a stream of JSON. How many bytes are done with, and whether a metric begins there.
    fn read_json(
        &mut self,
        splitter: &mut Splitter,
        buffer: &[u8],
        end_of_input: bool,
        ends: &mut Ends,
        sink: &mut Sink<'_>,
    ) -> (usize, bool) {
        let limit = self.engine.settings.limits.message;
        let longest = self.engine.settings.limits.longest();
        let is_auto = self.engine.settings.input == Input::Auto;
        if self.is_worth_reading_anew(&buffer[splitter.start()..], splitter.at() - splitter.start(), b'}') {
            splitter.restart();
        }
        let complete = ends.brace.find(b'}', buffer, splitter.at());
        while !self.pauses(sink) {
            if let Some(start) = splitter.object_start(buffer)
                && start < complete
                && let Some(len) = self.engine.object_as_it_stands(&buffer[start..], sink)
            {
                splitter.skip_to(start + len);
                continue;
            }
            let Some(piece) = splitter.next(buffer, end_of_input) else { break };
            if is_auto
                && !splitter.in_array()
                && self.oversize.is_none()
                && let Some(range) = piece.range().filter(|range| range.len() <= longest)
                && self.engine.metric.begins(&buffer[range.clone()])
            {
                return (range.start, true);
            }
            // Without a metric there is nothing that payloads could share, not even a time.
            self.engine.start_metric();
            let text = piece.range().unwrap_or(splitter.at()..splitter.at());
            self.engine.begin(buffer, text.start);
            self.engine.start_message(trim(&buffer[text]).len());
            if let Piece::Value(range) = &piece
                && let Some(oversize) = self.take_oversize(range.len(), limit)
            {
                oversize.reject_message(&buffer[range.clone()], &mut self.engine, sink);
            } else if let Piece::Value(range) = &piece
                && buffer[range.start] == b'"'
                && !splitter.in_array()
            {
                self.engine.value(trim(&buffer[range.clone()]), sink);
            } else {
                self.engine.piece(piece, buffer, FromMetric::default(), sink);
            }
            self.engine.shrink();
        }
        let start = splitter.start();
        let kept = if is_auto { longest } else { splitter.keeps(limit) };
        let done = if splitter.in_value() { self.skip(buffer, start, splitter.at(), kept) } else { start };
        splitter.drained(done);
        (done, false)
    }

    fn read_json_lines(&mut self, lines: &mut Lines, buffer: &[u8], end_of_input: bool, sink: &mut Sink<'_>) -> usize {
        // Of the line's end, the carriage return is looked at as well.
        let limit = self.engine.settings.limits.message + 1;
        if self.is_worth_reading_anew(&buffer[lines.start()..], lines.at() - lines.start(), b'\n') {
            lines.restart();
        }
        let complete = Last::default().find(b'\n', buffer, lines.at());
        while !self.pauses(sink) {
            if lines.at_line_start()
                && lines.at() < complete
                && let Some(len) = self.engine.line_as_it_stands(&buffer[lines.at()..], sink)
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

    /// Whether a text of which the first `read` bytes came earlier may now be complete, and worth reading again at once.
    /// That is no more than eight times what is new, so that no text is read again and again as its bytes come.
    fn is_worth_reading_anew(&self, text: &[u8], read: usize, end: u8) -> bool {
        let is_worth_it = (1..=MAX_AS_IT_STANDS.min(8 * (text.len() - read))).contains(&read);
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

#[cfg(test)]
mod tests;
