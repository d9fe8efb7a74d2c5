//! Converts an input on several threads. The lines and their order are those of one [`Converter`].
//!
//! The input is cut into chunks, at a place where a message seems to end. Each thread takes the next chunk and converts it
//! with its own converter, as if it began between two messages. The caller's converter goes through the chunks in order. If
//! it is in the state that the thread assumed, it takes over the thread's lines; if not, it converts the chunk itself. It
//! always converts what depends on earlier messages, such as the time of a rejection, and what is logged. So a wrong guess
//! costs only time.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use memchr::{memchr_iter, memrchr, memrchr_iter};

use crate::convert::{Converter, Place};
use crate::observe::event::{Counts, Event, Observer};

/// The size of the chunks that threads take. The lines of one are still in the processor's cache when they are written.
const CHUNK: usize = 128 * 1024;

/// A thread gives up a chunk at this many bytes of lines, so that memory is bounded for any input.
const MAX_LINES: usize = 4 * CHUNK;

/// A thread collects short lines up to this size and converts them together, except at the end of a chunk.
const SHORTEST: usize = 64;

/// An input that several threads read and convert. Memory is bounded: some hundred KiB for each thread, and what its
/// converter takes. A message with more lines than a thread may make is left to the caller's converter.
pub struct Parallel<R> {
    threads: usize,
    reader: Arc<Mutex<ChunkReader<R>>>,
    /// The place where converters are likely to be between messages.
    guess: Arc<Mutex<Place>>,
    /// Returns chunks to the threads.
    used: Sender<Chunk>,
    /// None while there are no threads.
    converted: Option<Receiver<thread::Result<Chunk>>>,
    /// The chunk of which the caller has not taken all lines.
    current: Option<Chunk>,
    /// Chunks that were converted before their turn.
    early: BTreeMap<u64, Chunk>,
    /// The number of the next chunk.
    next: u64,
    /// Set when all chunks are converted.
    end: Option<io::Result<()>>,
}

/// The input's chunks, in order.
struct ChunkReader<R> {
    input: R,
    size: usize,
    /// The bytes that were read past the end of the last chunk.
    rest: Vec<u8>,
    /// How many chunks have been read.
    count: u64,
    ended: bool,
    /// Empty chunks to read into.
    free: Receiver<Chunk>,
}

#[derive(Default)]
struct Chunk {
    number: u64,
    text: Vec<u8>,
    /// How the input ended, if it ends after the text.
    end_of_input: Option<io::Result<()>>,
    /// The place where the text was assumed to begin.
    begin: Place,
    /// The place where it ends. None if it ends within a message.
    end: Option<Place>,
    lines: Vec<u8>,
    /// How many bytes of the lines the caller has taken.
    taken: usize,
    /// The parts that the caller's converter has to convert.
    left: VecDeque<Left>,
    /// The caller's converter has paused in this chunk.
    paused: bool,
    /// The counts of the messages that became lines.
    counts: Counts,
}

/// A part of a chunk that was not converted.
struct Left {
    text: Range<usize>,
    /// None if the converter continues at its own place.
    begin: Option<Place>,
    /// The position in the chunk's lines where its own lines belong.
    at: usize,
}

impl<R: Read + Send + 'static> Parallel<R> {
    /// Reads `input` and converts it with `threads` threads, in addition to the caller's. They start with the second chunk,
    /// since many files have only one.
    pub fn new(input: R, threads: usize) -> Self {
        Self::with_chunks(input, threads, CHUNK)
    }

    /// The same as [`Parallel::new`], with chunks of another size than the default, which is the fastest.
    pub fn with_chunks(input: R, threads: usize, size: usize) -> Self {
        let (used, free) = channel();
        let reader = ChunkReader { input, size: size.max(1), rest: Vec::new(), count: 0, ended: false, free };
        Parallel {
            threads,
            reader: Arc::new(Mutex::new(reader)),
            guess: Arc::default(),
            used,
            converted: None,
            current: None,
            early: BTreeMap::new(),
            next: 0,
            end: None,
        }
    }

    /// Appends the lines of the next chunk to `out`, or some of them if the converter [pauses](Converter::pause_at).
    ///
    /// Pass the same `converter` each time. At the end it may still have a message to [finish](Converter::finish). Returns
    /// the counts of messages that the observer was not told of, or None at the end of the input.
    ///
    /// # Errors
    /// If the input cannot be read. All that was read before is converted first.
    pub fn next(
        &mut self,
        converter: &mut Converter,
        out: &mut Vec<u8>,
        observer: &mut dyn Observer,
    ) -> io::Result<Option<Counts>> {
        if let Some(end) = &mut self.end {
            return std::mem::replace(end, Ok(())).map(|()| None);
        }
        if self.converted.is_none() && self.next > 0 {
            self.start(converter);
        }
        let mut chunk = match self.current.take() {
            Some(chunk) => chunk,
            None => {
                let converted = self.next_converted();
                let chunk = converted.unwrap_or_else(|| lock(&self.reader).next_unconverted(converter.place()));
                self.next += 1;
                chunk.for_converter(converter)
            }
        };
        let counts = std::mem::take(&mut chunk.counts);
        if chunk.take_over(converter, out, observer) {
            self.current = Some(chunk);
            return Ok(Some(counts));
        }
        *lock(&self.guess) = converter.place();
        self.end = chunk.end_of_input.take();
        // If no thread is left, no one needs the chunk.
        let _ = self.used.send(chunk.emptied());
        Ok(Some(counts))
    }

    /// Starts the threads. If the system provides none, the caller's thread does all the work.
    fn start(&mut self, converter: &Converter) {
        let (sender, converted) = channel();
        // Only the caller's converter tells what becomes of each key.
        let threads = if converter.traces() { 0 } else { self.threads };
        for _ in 0..threads {
            let (reader, guess) = (Arc::clone(&self.reader), Arc::clone(&self.guess));
            let (mut converter, sender) = (converter.helper(), sender.clone());
            converter.pause_at(MAX_LINES);
            let work = move || {
                let mut next = || {
                    let mut chunk = next_chunk(&reader, &guess)?;
                    chunk.convert(&mut converter);
                    Some(chunk)
                };
                // If a thread panics, the caller has to panic too. Otherwise it would wait for the chunk forever.
                while let Some(chunk) = catch_unwind(AssertUnwindSafe(&mut next)).transpose() {
                    if sender.send(chunk).is_err() {
                        break;
                    }
                }
            };
            if thread::Builder::new().name("convert".to_owned()).spawn(work).is_err() {
                break;
            }
            // One chunk to convert, and one that waits for its turn.
            for _ in 0..2 {
                let _ = self.used.send(Chunk::default());
            }
        }
        self.converted = Some(converted);
    }
}

impl<R> Parallel<R> {
    /// The next chunk that a thread converted. None without threads.
    fn next_converted(&mut self) -> Option<Chunk> {
        loop {
            if let Some(chunk) = self.early.remove(&self.next) {
                return Some(chunk);
            }
            match self.converted.as_ref()?.recv().ok()? {
                Ok(chunk) => self.early.insert(chunk.number, chunk),
                Err(panic) => resume_unwind(panic),
            };
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The next chunk for a thread to convert. None at the end of the input, or if no more chunks are wanted.
fn next_chunk<R: Read>(reader: &Mutex<ChunkReader<R>>, guess: &Mutex<Place>) -> Option<Chunk> {
    let mut reader = lock(reader);
    if reader.ended {
        return None;
    }
    let mut chunk = reader.free.recv().ok()?;
    let place = *lock(guess);
    reader.read(&mut chunk, place);
    Some(chunk)
}

impl<R: Read> ChunkReader<R> {
    /// The next chunk, for a converter at `place`.
    fn next_unconverted(&mut self, place: Place) -> Chunk {
        let mut chunk = self.free.try_recv().unwrap_or_default();
        self.read(&mut chunk, place);
        chunk.left.push_back(Left { text: 0..chunk.text.len(), begin: Some(place), at: 0 });
        chunk
    }

    fn read(&mut self, chunk: &mut Chunk, place: Place) {
        (chunk.number, chunk.begin) = (self.count, place);
        self.count += 1;
        let text = &mut chunk.text;
        text.clear();
        text.append(&mut self.rest);
        let missing = self.size.saturating_sub(text.len()) as u64;
        match self.input.by_ref().take(missing).read_to_end(text) {
            Ok(_) if text.len() >= self.size => {
                let len = cut(text, place);
                self.rest.extend_from_slice(&text[len..]);
                text.truncate(len);
            }
            result => {
                self.ended = true;
                chunk.end_of_input = Some(result.map(drop));
            }
        }
    }
}

/// Where to cut a text so that a message is likely to begin there. If no such place is found, the whole text is taken.
fn cut(text: &[u8], place: Place) -> usize {
    let likely = match place {
        Place::Start | Place::Messages => None,
        Place::Lines => last_name(text),
        Place::Values { .. } | Place::Array { .. } => last_value(text),
    };
    likely.or_else(|| memrchr(b'\n', text).map(|at| at + 1)).unwrap_or(text.len())
}

/// Where the last line begins that starts with a letter, as metrics do. Within a message, a line of JSON hardly ever does.
fn last_name(text: &[u8]) -> Option<usize> {
    let begins = |start: &usize| text.get(*start).is_some_and(u8::is_ascii_alphabetic);
    memrchr_iter(b'\n', text).map(|at| at + 1).find(begins)
}

/// Where the last object begins that follows another one: at the start of a line if there is such a place, otherwise
/// anywhere. The latter may be within a payload.
fn last_value(text: &[u8]) -> Option<usize> {
    let mut within_line = None;
    for at in memrchr_iter(b'{', text) {
        let before = text[..at].trim_ascii_end();
        let before = before.strip_suffix(b",").map_or(before, <[u8]>::trim_ascii_end);
        if before.ends_with(b"}") {
            if text[before.len()..at].contains(&b'\n') {
                return Some(at);
            }
            within_line.get_or_insert(at);
        }
    }
    within_line
}

impl Chunk {
    /// Converts what can be converted without knowing the input before it.
    fn convert(&mut self, converter: &mut Converter) {
        converter.go_to(self.begin);
        // The start of the messages that are not complete yet.
        let (mut start, mut begin) = (0, self.begin);
        let mut lines = 0;
        let mut seen = Seen::default();
        let mut clock = converter.last_now();
        let mut at = 0;
        let len = self.text.len();
        for end in memchr_iter(b'\n', &self.text).map(|at| at + 1).chain((!self.text.ends_with(b"\n")).then_some(len)) {
            // A few short lines together cost no more than one of them alone.
            if end - at < SHORTEST && end < len {
                continue;
            }
            converter.push(&self.text[at..end], &mut self.lines, &mut seen);
            if converter.has_paused() {
                break;
            }
            at = end;
            if !converter.is_between() {
                continue;
            }
            let now = converter.last_now();
            if seen.other || clock != now {
                self.lines.truncate(lines);
                self.left.push_back(Left { text: start..end, begin: Some(begin), at: lines });
            } else {
                self.counts.add(&seen.counts);
            }
            (start, begin, lines) = (end, converter.place(), self.lines.len());
            (seen, clock) = (Seen::default(), now);
        }
        self.lines.truncate(lines);
        self.end = Some(begin);
        if start < len {
            self.left.push_back(Left { text: start..len, begin: Some(begin), at: lines });
            self.end = None;
        }
    }

    /// Leaves the whole chunk to the converter if that is not at the place where the text was assumed to begin.
    fn for_converter(mut self, converter: &Converter) -> Self {
        if !converter.is_between() || converter.place() != self.begin {
            self.lines.clear();
            self.left.clear();
            self.left.push_back(Left { text: 0..self.text.len(), begin: None, at: 0 });
            (self.end, self.counts) = (None, Counts::default());
        }
        self
    }

    /// Appends its lines to `out`, with those that `converter` makes. True if the converter has paused and there are more.
    fn take_over(&mut self, converter: &mut Converter, out: &mut Vec<u8>, observer: &mut dyn Observer) -> bool {
        if std::mem::take(&mut self.paused) {
            converter.push(&[], out, observer);
            self.paused = converter.has_paused();
        }
        while !self.paused
            && let Some(left) = self.left.pop_front()
        {
            out.extend_from_slice(&self.lines[self.taken..left.at]);
            self.taken = left.at;
            if let Some(begin) = left.begin {
                converter.go_to(begin);
            }
            converter.push(&self.text[left.text], out, observer);
            self.paused = converter.has_paused();
        }
        if self.paused {
            return true;
        }
        if out.is_empty() && self.taken == 0 {
            std::mem::swap(out, &mut self.lines);
        } else {
            out.extend_from_slice(&self.lines[self.taken..]);
        }
        if let Some(end) = self.end {
            converter.go_to(end);
        }
        false
    }

    /// The empty chunk, with its buffers, to be used again.
    fn emptied(mut self) -> Self {
        self.lines.clear();
        self.lines.shrink_to(2 * CHUNK);
        self.left.clear();
        Chunk { text: self.text, lines: self.lines, left: self.left, ..Chunk::default() }
    }
}

/// What a thread observes of its messages.
#[derive(Default)]
struct Seen {
    counts: Counts,
    /// Something else happened, which may have to be logged.
    other: bool,
}

impl Observer for Seen {
    fn observe(&mut self, event: Event<'_>) {
        self.other |= !matches!(event, Event::Converted { .. } | Event::Passed { .. });
        self.counts.observe(event);
    }
}
