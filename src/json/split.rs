//! A stream of JSON cut into its values: objects and arrays one behind the other, on lines of their own or over several,
//! or arrays of objects, as they arrive. Or, where each line is one message, cut into its lines.
//!
//! Only brackets, commas, colons, quotes and line breaks are looked at; whether a value is JSON is for who reads it. But an
//! object or array that is broken must not take those behind it with it. It shows where it breaks: another value begins
//! where none can, or brackets do not match. Then it ends at the first line in it that begins with `{` or `[`, for that may be
//! the next value, and reading goes on there.
//!
//! So a byte may be read more than once, but not often: each time, the value that is read begins deeper within the one before,
//! and values deeper than [`DEEPER`] levels beyond the limit are broken.

use std::ops::Range;

use crate::json::container::{Brackets, Container, End, string_end};
use crate::json::lines::BYTE_ORDER_MARK;
use crate::settings::Limits;

/// The largest array of white space alone that is reported as a whole.
const MAX_EMPTY_ARRAY: usize = 1024;

/// A value that exceeds the limit on nesting by this many levels is treated as broken. Below that it is only too large.
const DEEPER: usize = 32;

/// The text of one value, or the error in its place.
#[derive(Debug, PartialEq)]
pub(crate) enum Piece {
    /// A value, or text that is not a value.
    Value(Range<usize>),
    /// The start of a value that exceeds any limit, up to a line at which the next value may begin.
    TooLong(Range<usize>),
    /// An array without values.
    EmptyArray(Range<usize>),
    /// An array that did not end before the input ended or another array began.
    OpenArray,
}

impl Piece {
    /// Its range in the buffer, if it has one.
    pub fn range(&self) -> Option<Range<usize>> {
        match self {
            Piece::Value(range) | Piece::TooLong(range) | Piece::EmptyArray(range) => Some(range.clone()),
            Piece::OpenArray => None,
        }
    }
}

/// The length of the object or array at the start of `text`, if all its brackets are closed.
pub(crate) fn container_len(text: &[u8]) -> Option<usize> {
    let is_container = matches!(text.first(), Some(b'{' | b'['));
    is_container.then(|| Container::default().end_in_message(&mut 0, text, true))?
}

/// Finds the values in a buffer that grows.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    /// A line break ends a value that cannot continue after it, so that a broken line does not take the next ones with it.
    lines: bool,
    /// The text is a message, in which zero bytes are white space.
    record: bool,
    /// A longer container is broken.
    longest: usize,
    /// A deeper container is broken.
    deepest: usize,
    start: usize,
    at: usize,
    state: State,
    /// The open containers of the value that is being read.
    open: Brackets,
    /// Within an array of values.
    array: bool,
    /// The array has had no value yet.
    empty: bool,
    /// Only white space has come on the line.
    line_start: bool,
    /// The array of a message has ended, so the message should end too.
    closed: bool,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Between,
    /// Anything but a container, up to the end of the line or item, or of the message.
    Word,
    /// A string that is not in a container.
    Quoted,
    Container(Container),
}

impl Splitter {
    /// For a stream of values.
    pub fn of_stream(limits: Limits) -> Self {
        Splitter {
            lines: true,
            longest: limits.longest(),
            deepest: limits.nesting + DEEPER,
            line_start: true,
            ..Splitter::default()
        }
    }

    /// For the rest of a stream of values. `line_start`: at the start of a line.
    pub fn of_rest(limits: Limits, line_start: bool) -> Self {
        Splitter { line_start, ..Splitter::of_stream(limits) }
    }

    /// The same within an array of values that has had a value.
    pub fn of_array(limits: Limits, line_start: bool) -> Self {
        Splitter { array: true, ..Splitter::of_rest(limits, line_start) }
    }

    /// For the text of one message, which is an array.
    pub fn of_message() -> Self {
        Splitter { record: true, ..Splitter::default() }
    }

    /// For the text of one message with several values.
    pub fn of_values(limits: Limits) -> Self {
        Splitter { record: true, ..Splitter::of_stream(limits) }
    }

    /// Where the incomplete value begins. Everything before it is done with.
    pub fn start(&self) -> usize {
        self.start
    }

    /// Whether a value has begun that is not complete.
    pub fn in_value(&self) -> bool {
        !matches!(self.state, State::Between)
    }

    /// How many bytes of an incomplete value have to stay in the buffer, if values above `limit` are rejected.
    pub fn keeps(&self, limit: usize) -> usize {
        if let State::Container(_) = self.state { self.longest } else { limit }
    }

    /// Whether it is within an array of values.
    pub fn in_array(&self) -> bool {
        self.array
    }

    /// Whether it splits one message, which is an array.
    pub fn is_of_message(&self) -> bool {
        !self.lines
    }

    /// Whether it is after the array of a message.
    pub fn is_behind_array(&self) -> bool {
        self.closed
    }

    /// Whether only white space has come on the line.
    pub fn at_line_start(&self) -> bool {
        self.line_start
    }

    /// Whether it is within an array of values that has had none yet, nor the start of one.
    pub fn in_empty_array(&self) -> bool {
        self.array && self.empty && !self.in_value()
    }

    /// Whether `in_array` and `at_line_start` are all that what follows depends on.
    pub fn is_between(&self) -> bool {
        !(self.in_value() || self.array && self.empty)
    }

    /// Where the next value begins, if it is an object of which nothing has been read.
    pub fn object_start(&self, buffer: &[u8]) -> Option<usize> {
        let separators = buffer[self.at..].iter().take(2).take_while(|byte| matches!(byte, b',' | b'\n'));
        let at = self.at + separators.count();
        let found = matches!(self.state, State::Between) && !self.closed && buffer.get(at) == Some(&b'{');
        found.then_some(at)
    }

    /// Continues at `at`, which must be the end of a value.
    pub fn skip_to(&mut self, at: usize) {
        (self.start, self.at, self.empty, self.line_start) = (at, at, false, false);
    }

    /// Goes back to the start of the incomplete container.
    pub fn restart(&mut self) {
        if let State::Container(_) = self.state {
            (self.at, self.state) = (self.start, State::Between);
        }
    }

    /// The buffer is cut off after its first `len` bytes, at the start of a line.
    pub fn cut_off(&mut self, len: usize) {
        self.restart();
        if self.at > len || self.start >= len {
            (self.start, self.at, self.state) = (self.start.min(len), len, State::Between);
        }
    }

    /// How far the buffer has been read.
    pub fn at(&self) -> usize {
        self.at
    }

    /// The first `len` bytes of the buffer are removed.
    pub fn drained(&mut self, len: usize) {
        self.start = self.start.saturating_sub(len);
        self.at -= len;
    }

    /// The next value. None if more input is needed, or at the end of the input.
    pub fn next(&mut self, buffer: &[u8], end_of_input: bool) -> Option<Piece> {
        loop {
            let found = match &mut self.state {
                State::Between => {
                    if let Some(piece) = self.between(buffer, end_of_input) {
                        return Some(piece);
                    }
                    if !matches!(self.state, State::Between) {
                        continue;
                    }
                    if end_of_input && self.array {
                        self.array = false;
                        return Some(Piece::OpenArray);
                    }
                    return None;
                }
                State::Word => {
                    let ends = |byte: &u8| *byte == b'\n' || self.array && matches!(byte, b',' | b']');
                    let len = buffer[self.at..].iter().position(ends);
                    self.at = len.map_or(buffer.len(), |len| self.at + len);
                    len.map(|_| self.at)
                }
                State::Quoted => string_end(&mut self.at, buffer, end_of_input, true).map(|_| self.at),
                State::Container(_) => match self.container(buffer, end_of_input) {
                    Some(piece) => return Some(piece),
                    None => None,
                },
            };
            match found {
                Some(end) => return Some(self.value(end)),
                None if end_of_input => {
                    self.at = buffer.len();
                    return Some(self.value(buffer.len()));
                }
                None => return None,
            }
        }
    }

    fn value(&mut self, end: usize) -> Piece {
        let value = self.start..end;
        self.start = self.at;
        self.state = State::Between;
        self.empty = false;
        Piece::Value(value)
    }

    /// Skips what may be between values, up to the start of the next one.
    fn between(&mut self, buffer: &[u8], end_of_input: bool) -> Option<Piece> {
        while let Some(&byte) = buffer.get(self.at) {
            match byte {
                b'\n' => self.line_start = true,
                b' ' | b'\t' | b'\r' => {}
                // At the start of a line they begin a value, so that a line of zero bytes alone is rejected.
                0 if self.record || !self.line_start => {}
                0xef if buffer[self.at..].starts_with(BYTE_ORDER_MARK) => self.at += BYTE_ORDER_MARK.len() - 1,
                // The rest of the mark may still come.
                0xef if !end_of_input && BYTE_ORDER_MARK.starts_with(&buffer[self.at..]) => return None,
                _ if self.closed => {
                    self.start = self.at;
                    self.at = buffer.len();
                    self.state = State::Word;
                    return None;
                }
                b',' => self.line_start = false,
                b'[' if !self.array => {
                    self.start = self.at;
                    (self.array, self.empty, self.line_start) = (true, true, false);
                }
                // No payload is an array, so this bracket begins the next message, and the array before it is broken.
                b'[' if self.lines && self.line_start => {
                    self.start = self.at;
                    self.array = false;
                    return Some(Piece::OpenArray);
                }
                b']' if self.array => {
                    (self.array, self.line_start) = (false, false);
                    self.closed = !self.lines;
                    if self.empty {
                        self.at += 1;
                        return Some(Piece::EmptyArray(self.start..self.at));
                    }
                }
                _ => {
                    self.start = self.at;
                    self.line_start = false;
                    self.state = match byte {
                        b'{' | b'[' => State::Container(Container::default()),
                        b'"' => State::Quoted,
                        _ => State::Word,
                    };
                    self.at += usize::from(byte == b'"');
                    return None;
                }
            }
            self.at += 1;
            // The start of an array that may be empty is kept, but not endless white space.
            if !(self.array && self.empty) || self.at - self.start > MAX_EMPTY_ARRAY {
                self.start = self.at;
            }
        }
        None
    }

    /// Reads on in a container: to its end, or to where it breaks. None if more input is needed.
    fn container(&mut self, buffer: &[u8], end_of_input: bool) -> Option<Piece> {
        let State::Container(container) = &mut self.state else { return None };
        let start = self.start;
        if !self.lines {
            return container.end_in_message(&mut self.at, buffer, end_of_input).map(|end| self.value(end));
        }
        loop {
            // Bytes beyond the limit are read only once the container is known to be too long, however many have come.
            let last = if container.too_long { buffer.len() } else { buffer.len().min(start + self.longest) };
            let end_of_input = end_of_input && last == buffer.len();
            #[cfg(test)]
            let from = self.at;
            let found = container.end(&mut self.at, start, &buffer[..last], end_of_input, &mut self.open, self.deepest);
            #[cfg(test)]
            tests::READ.set(tests::READ.get() + self.at - from);
            let too_long = found.is_none() && !container.too_long && last == start + self.longest;
            if found == Some(End::Whole) {
                return Some(self.value(self.at));
            }
            let resume = container.resume.map(|len| start + len).or(found.map(|_| self.at));
            if (found.is_some() || too_long || end_of_input)
                && let Some(end) = resume
            {
                (self.at, self.line_start) = (end, true);
                let piece = self.value(end);
                return Some(if too_long { Piece::TooLong(start..end) } else { piece });
            }
            if !too_long {
                return None;
            }
            (container.too_long, container.broken) = (true, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        /// How many bytes of containers this thread has read.
        pub static READ: Cell<usize> = const { Cell::new(0) };
    }

    fn pieces(text: &str) -> Vec<&str> {
        all(Splitter::of_stream(Limits::default()), text)
    }

    fn pieces_of_message(text: &str) -> Vec<&str> {
        all(Splitter::of_message(), text)
    }

    fn all(mut splitter: Splitter, text: &str) -> Vec<&str> {
        let mut found = Vec::new();
        while let Some(piece) = splitter.next(text.as_bytes(), true) {
            found.push(match piece {
                // White space after a value may be taken for a part of it, until the value turns out to be broken.
                Piece::Value(range) | Piece::TooLong(range) => text[range].trim_ascii_end(),
                Piece::EmptyArray(_) => "EMPTY",
                Piece::OpenArray => "OPEN",
            });
        }
        found
    }

    #[test]
    fn values_are_found_in_every_arrangement() {
        assert_eq!(pieces("{\"a\":1}\n{\"b\":2}\n"), ["{\"a\":1}", "{\"b\":2}"]);
        assert_eq!(pieces("{\"a\":1}{\"b\":{\"c\":[2]}} {}"), ["{\"a\":1}", "{\"b\":{\"c\":[2]}}", "{}"]);
        assert_eq!(pieces(" [ {\"a\":1}, 5 ,[1,2], \"x,]\" ] {}"), ["{\"a\":1}", "5", "[1,2]", "\"x,]\"", "{}"]);
        assert_eq!(
            pieces("{\n \"a\": [\n  {\n  }\n ],\n \"b\":\n {}\n}\n{}"),
            ["{\n \"a\": [\n  {\n  }\n ],\n \"b\":\n {}\n}", "{}"]
        );
        assert_eq!(pieces("{\"a\":\"}\\\"{\"}{}"), ["{\"a\":\"}\\\"{\"}", "{}"]);
        assert_eq!(pieces("[]"), ["EMPTY"]);
        assert_eq!(pieces("[{}"), ["{}", "OPEN"]);
        assert_eq!(pieces_of_message("[{}] {} x\n"), ["{}", "{} x"]);
        assert_eq!(pieces_of_message("[{},\n{\"a\":\"\n\"}]"), ["{}", "{\"a\":\"\n\"}"]);
        assert_eq!(pieces(""), [""; 0]);
        assert_eq!(pieces("{\"a\":"), ["{\"a\":"]);
    }

    #[test]
    fn a_broken_line_does_not_take_the_next_with_it() {
        for broken in [
            "{\"a\":1",
            "{\"a\":1,",
            "{\"a\":\"x",
            "{\"a\":\"x\\",
            "{\"a\":[1",
            "{\"a\":[1}",
            "garbage",
            "{\"a\":[{\"b\":1}",
            "\"x",
            "{\"a\":\"x\"",
        ] {
            assert_eq!(pieces(&format!("{broken}\n{{\"b\":2}}\n")), [broken, "{\"b\":2}"], "{broken}");
        }
        assert_eq!(pieces("{\"a\":1\n\"text\"\n{}"), ["{\"a\":1", "\"text\"", "{}"]);
        assert_eq!(pieces("{\"a\":1\nword\n{}"), ["{\"a\":1", "word", "{}"]);
    }

    #[test]
    fn splitting_goes_on_where_the_buffer_ended() {
        let text = "[{\"a\":\"\\\"}\n\"},\n{\"b\":[{}]}, \"x\"]{\"a\":1\n{\"b\":2} word\n\"q\\\\\"";
        let whole = pieces(text);
        for cut in 0..text.len() {
            let mut splitter = Splitter::of_stream(Limits::default());
            let (mut buffer, mut found) = (text.as_bytes()[..cut].to_vec(), Vec::new());
            for end_of_input in [false, true] {
                while let Some(Piece::Value(range)) = splitter.next(&buffer, end_of_input) {
                    found.push(String::from_utf8(buffer[range].trim_ascii_end().to_vec()).unwrap());
                }
                let gone = splitter.start();
                buffer.drain(..gone);
                splitter.drained(gone);
                if !end_of_input {
                    buffer.extend(&text.as_bytes()[cut..]);
                }
            }
            assert_eq!(found, whole, "cut at {cut}");
        }
    }

    #[test]
    fn a_broken_value_ends_at_the_first_line_that_may_begin_another() {
        let good = ["{\"b\":[\n{}]}", "{\"c\":3}", "{}"];
        for broken in ["{\"a\":", "{\"a\":[", "{\"a\":[1,", "{\"a\":{\"b\":[[", "{\"a\":[}", "{\"a\"", "{\"a\":[],"] {
            let text = format!("{broken}\n{}\n", good.join("\n"));
            assert_eq!(pieces(&text), [&[broken], good.as_slice()].concat(), "{broken}");
        }
        // They are items of the array that the broken value has left open.
        assert_eq!(pieces("[{\"a\":[\n{},\n{}\n]\n{\"b\":1}"), ["{\"a\":[", "{}", "{}", "{\"b\":1}"]);
        // This shows only at the end of the input.
        assert_eq!(pieces("{\"a\":[\n{}"), ["{\"a\":[", "{}"]);
        // Complete values are not split.
        for whole in ["{\"a\":[\n{},\n[\n{\"b\":\n{}}]]}", "{\"a\" \n:\n[\n]\n,\n\"b\":2\n}"] {
            assert_eq!(pieces(&format!("{whole}\n{{}}")), [whole, "{}"]);
        }
    }

    #[test]
    fn an_array_at_the_start_of_a_line_ends_the_one_before() {
        assert_eq!(pieces("[{},\n[{}]\n"), ["{}", "OPEN", "{}"]);
        assert_eq!(pieces("[\n [{}]\n"), ["OPEN", "{}"]);
        assert_eq!(pieces("[{},[1],\n{}]\n[{}]"), ["{}", "[1]", "{}", "{}"]);
    }

    /// Each line nests in the one before, and so they are broken as often as can be, at the last place that can be.
    #[test]
    fn no_byte_is_read_more_often_than_values_are_deep() {
        let long = "\"x\",".repeat(50);
        let deepest = Limits::default().nesting + DEEPER;
        for line in [
            "[\n".to_owned(),
            "{\"a\":\n".to_owned(),
            format!("[{long}\n"),
            format!("{{\"a\":[{long}\n"),
            format!("[{long}\n{{}},"),
            format!("[{long}\n[{long}\n1],"),
            format!("[{long}[[[\n{{}}]]],"),
        ] {
            let text = format!("{{\"a\":{}", line.repeat(300_000 / line.len()));
            let before = READ.get();
            let count = pieces(&text).len();
            let read = READ.get() - before;
            assert!(count > 100 && read <= (deepest + 2) * text.len(), "{read} of {}: {line}", text.len());
        }
    }
}
