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

/// A helper leaves messages with more lines than this, in bytes, to the converter that it helps. So many helpers take little
/// memory.
const MAX_HELPERS_LINES: usize = 128 * 1024;

/// White space at the start of an input is kept up to this size, until the format of the input is known.
const MAX_BLANK: usize = 64 * 1024;

/// Converts input to points.
///
/// Input comes in chunks that may end anywhere; an incomplete message waits for the next chunk. Output is whole lines.
/// Memory is bounded for any input: the lines of a message take at most about 16 times
/// [`Limits::message`](crate::Limits::message), and the same again while they are made.
pub struct Converter {
    format: Format,
    /// The part of an incomplete metric or message that has arrived.
    pending: Vec<u8>,
    /// The metric or message that is too large to wait for, or of which the start was lost.
    oversize: Option<Oversize>,
    /// Pauses at this many bytes of lines.
    pause_at: usize,
    /// It has paused, so `pending` may hold complete messages.
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
    /// Skips the rest of a message, up to a line break, and then continues at this place.
    Rest(Place),
}

impl Converter {
    /// A converter with these settings.
    ///
    /// # Errors
    /// If the settings contradict each other or are invalid; the error says what to change.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        settings.check()?;
        Ok(Self::of(settings))
    }

    /// A converter with settings that have been checked.
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

    /// From now on, tells observers [what becomes of each key](Observer::trace). The lines are the same, but take longer to
    /// make.
    pub fn trace(&mut self) {
        self.engine.start_metric();
        self.engine.tracer = Some(Box::default());
    }

    /// Whether it tells observers what becomes of each key.
    pub(crate) fn traces(&self) -> bool {
        self.engine.tracer.is_some()
    }

    /// From now on, pauses after a message once `out` holds this many bytes, since a chunk of many short messages may give a
    /// hundred times as many bytes. If it [has paused](Converter::has_paused), take the lines out. Then call
    /// [`push`](Converter::push) with an empty chunk or, at the end of the input, [`finish`](Converter::finish) again.
    pub fn pause_at(&mut self, lines: usize) {
        self.pause_at = lines;
    }

    /// Whether the last call paused, so that there may be more lines without more input.
    pub fn has_paused(&self) -> bool {
        self.paused
    }

    /// Another converter with the same settings. It reports rejections to its observer, and leaves it to this one to write
    /// them.
    pub(crate) fn helper(&self) -> Self {
        let mut helper = Self::of(self.engine.settings.clone());
        helper.engine.leaves_rejections = true;
        helper.engine.most_lines = MAX_HELPERS_LINES;
        helper
    }

    /// Its place in the input.
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

    /// Whether all input so far has been converted, so that what follows depends on the place alone.
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

    /// Continues at another place, between two messages.
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

    /// The last time that the clock gave. A message that needed the clock cannot be converted by another converter.
    pub(crate) fn last_now(&self) -> i64 {
        self.engine.last_now
    }

    /// Converts the next chunk of the input, and appends the lines that it completes to `out`.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>, observer: &mut dyn Observer) {
        self.paused = false;
        let sink = &mut Sink { out, observer };
        if self.pending.is_empty() {
            let done = self.read(chunk, false, sink);
            self.pending.extend_from_slice(&chunk[done..]);
        } else {
            // After a byte order mark, only white space is pending so far, and does not need to be read again.
            let is_blank = matches!(self.format, Format::Undecided) && (3..=MAX_BLANK).contains(&self.pending.len());
            self.pending.extend_from_slice(chunk);
            if !(is_blank && chunk.iter().all(u8::is_ascii_whitespace)) {
                self.read_pending(false, sink);
            }
        }
    }

    /// Ends the input, and appends the remaining lines to `out`. The next chunk starts another input.
    pub fn finish(&mut self, out: &mut Vec<u8>, observer: &mut dyn Observer) {
        self.paused = false;
        self.read_pending(true, &mut Sink { out, observer });
        if !self.paused {
            self.abandon();
        }
    }

    /// How many bytes of the input are not converted yet: the last ones, the start of an incomplete metric or message.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Discards the rest of an interrupted input: forgets what is incomplete. The next chunk starts another input.
    pub fn abandon(&mut self) {
        self.pending.clear();
        self.oversize = None;
        self.format = Format::Undecided;
        if let Some(tracer) = &mut self.engine.tracer {
            tracer.start_input();
        }
    }

    /// Ends an input that was interrupted within a line: converts what is complete, forgets that line, and returns how many
    /// bytes it forgot. The next chunk starts another input. If it [has paused](Converter::has_paused), call
    /// [`finish`](Converter::finish) before that.
    ///
    /// In line protocol, everything incomplete is forgotten, since one metric may span several lines.
    pub fn break_off(&mut self, out: &mut Vec<u8>, observer: &mut dyn Observer) -> usize {
        let limits = self.engine.settings.limits;
        let complete = match &mut self.format {
            Format::Undecided | Format::Influx(_) | Format::Rest(_) => None,
            _ if self.oversize.is_some() => Some(self.pending.len()),
            // A message that lacks only its line break is complete.
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

    /// Reads what is complete in `buffer`. Returns how many bytes are done with.
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

    /// Skips the rest of a message, up to its line break or the end of the input, and rejects it. Returns how many bytes
    /// that are.
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

    /// Reads metrics. Returns how many bytes are done with, and whether JSON begins there.
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
            // Nearly every line is one plain message. Its bytes are read only once, to convert them.
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

    /// Reads a stream of JSON. Returns how many bytes are done with, and whether a metric begins there.
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
            // Without a metric, payloads share nothing, not even a time.
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
        // One byte more, since the line still has its carriage return.
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

    /// Whether to pause, and leave the rest for later.
    #[inline]
    fn pauses(&mut self, sink: &Sink<'_>) -> bool {
        if sink.out.len() < self.pause_at {
            return false;
        }
        self.paused = true;
        true
    }

    /// Whether to read again from its start a text of which the first `read` bytes came earlier, because it may now be
    /// complete. Reads again at most eight times as many bytes as are new, so that a text that comes in many chunks is not
    /// read over and over.
    fn is_worth_reading_anew(&self, text: &[u8], read: usize, end: u8) -> bool {
        let is_worth_it = (1..=MAX_AS_IT_STANDS.min(8 * (text.len() - read))).contains(&read);
        is_worth_it && self.oversize.is_none() && memchr(end, &text[read..]).is_some()
    }

    /// The record of a skipped text whose last `len` bytes have now come, if the text is larger than `limit`. So a text that
    /// is too large is treated the same whether it came in one chunk or in many.
    fn take_oversize(&mut self, len: usize, limit: usize) -> Option<Oversize> {
        self.oversize.take().or_else(|| (len > limit).then(|| Oversize::new(self.engine.position())))
    }

    /// How much of the buffer can be removed: everything before the incomplete text at `start` and, once that text is larger
    /// than `limit`, the part of it that has been read.
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
