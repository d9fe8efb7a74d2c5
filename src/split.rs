//! A stream of JSON cut into its values: JSON lines, objects one behind the other, or arrays of objects, as they
//! arrive. Only brackets, quotes and line breaks are looked at; whether a value is JSON is for who reads it.

use std::ops::Range;

use memchr::{memchr2, memchr3};

/// An array with nothing but white space in it is reported whole up to this many bytes.
const MAX_EMPTY_ARRAY: usize = 1024;

/// One value's text, or what is wrong with what stands in its place.
#[derive(Debug, PartialEq)]
pub(crate) enum Piece {
    /// A value, or a text that is none.
    Value(Range<usize>),
    /// An array with nothing in it.
    EmptyArray(Range<usize>),
    /// The input ended, and an array did not.
    OpenArray,
}

/// Finds the values in a buffer that grows.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    /// A line break ends what cannot go on behind it, so that a broken line does not take the next ones with it.
    lines: bool,
    start: usize,
    at: usize,
    state: State,
    /// Within an array of values.
    array: bool,
    /// That array has had no value yet.
    empty: bool,
    /// The array of a message has ended, and so should the message.
    closed: bool,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Between,
    /// Something else than a container, up to the end of the line or item, or of the message.
    Word,
    /// A string by itself.
    Quoted,
    Container(Container),
}

#[derive(Debug, Default)]
struct Container {
    depth: u32,
    /// A bit for each of the innermost containers, the innermost lowest: 1 for an array.
    arrays: u64,
    /// The last byte that was no white space.
    last: u8,
    /// There was a line break since then.
    line_ended: bool,
    in_string: bool,
}

impl Splitter {
    /// For a stream of values.
    pub fn of_stream() -> Self {
        Splitter { lines: true, ..Splitter::default() }
    }

    /// For what is left of a stream within an array of values, of which one has come.
    pub fn of_array() -> Self {
        Splitter { array: true, ..Splitter::of_stream() }
    }

    /// For the text of one message.
    pub fn of_message() -> Self {
        Splitter::default()
    }

    /// Where the value begins that is not yet complete; what is before it is done with.
    pub fn start(&self) -> usize {
        self.start
    }

    /// Whether a value has begun that is not complete.
    pub fn in_value(&self) -> bool {
        !matches!(self.state, State::Between)
    }

    /// Whether it is in an array of values.
    pub fn in_array(&self) -> bool {
        self.array
    }

    /// Whether nothing of what has been read says more of what comes than that.
    pub fn is_between(&self) -> bool {
        !(self.in_value() || self.array && self.empty)
    }

    /// Where the next value begins, if that is an object of which nothing has been read.
    pub fn object_start(&self, buffer: &[u8]) -> Option<usize> {
        let separators = buffer[self.at..].iter().take(2).take_while(|byte| matches!(byte, b',' | b'\n'));
        let at = self.at + separators.count();
        let found = matches!(self.state, State::Between) && !self.closed && buffer.get(at) == Some(&b'{');
        found.then_some(at)
    }

    /// Moves on to `at`, which has to be the end of a value.
    pub fn skip_to(&mut self, at: usize) {
        (self.start, self.at, self.empty) = (at, at, false);
    }

    /// Goes back to the start of the container that is not yet complete.
    pub fn restart(&mut self) {
        if let State::Container(_) = self.state {
            (self.at, self.state) = (self.start, State::Between);
        }
    }

    /// How far the buffer has been read.
    pub fn at(&self) -> usize {
        self.at
    }

    /// The buffer's first `len` bytes are gone.
    pub fn drained(&mut self, len: usize) {
        self.start = self.start.saturating_sub(len);
        self.at -= len;
    }

    /// The next value. None where more input is needed, or at its end.
    pub fn next(&mut self, buffer: &[u8], end_of_input: bool) -> Option<Piece> {
        loop {
            let found = match &mut self.state {
                State::Between => {
                    if let Some(piece) = self.between(buffer) {
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
                State::Container(container) => container.end(&mut self.at, buffer, end_of_input, self.lines),
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

    /// Steps over what may stand between values, and into the next one.
    fn between(&mut self, buffer: &[u8]) -> Option<Piece> {
        while let Some(&byte) = buffer.get(self.at) {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' => {}
                _ if self.closed => {
                    self.start = self.at;
                    self.at = buffer.len();
                    self.state = State::Word;
                    return None;
                }
                b',' => {}
                b'[' if !self.array => {
                    self.start = self.at;
                    (self.array, self.empty) = (true, true);
                }
                b']' if self.array => {
                    self.array = false;
                    self.closed = !self.lines;
                    if self.empty {
                        self.at += 1;
                        return Some(Piece::EmptyArray(self.start..self.at));
                    }
                }
                _ => {
                    self.start = self.at;
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
            // An array that may turn out to be empty is kept, but not one of white space without end.
            if !(self.array && self.empty) || self.at - self.start > MAX_EMPTY_ARRAY {
                self.start = self.at;
            }
        }
        None
    }
}

/// With `at` in a string: moves behind its closing quote (true), or to the line break that cuts it off (false). None where
/// neither has arrived.
fn string_end(at: &mut usize, buffer: &[u8], end_of_input: bool, lines: bool) -> Option<bool> {
    loop {
        let rest = &buffer[*at..];
        let found = if lines { memchr3(b'"', b'\\', b'\n', rest) } else { memchr2(b'"', b'\\', rest) };
        let Some(len) = found else {
            *at = buffer.len();
            return None;
        };
        *at += len;
        match (buffer[*at], buffer.get(*at + 1)) {
            (b'"', _) => {
                *at += 1;
                return Some(true);
            }
            (b'\n', _) => return Some(false),
            // A backslash, and what it escapes has not arrived yet.
            (_, None) if !end_of_input => return None,
            (_, None) => *at += 1,
            (_, Some(b'\n')) if lines => *at += 1,
            _ => *at += 2,
        }
    }
}

impl Container {
    /// The end of the container, or of what is there of it.
    fn end(&mut self, at: &mut usize, buffer: &[u8], end_of_input: bool, lines: bool) -> Option<usize> {
        loop {
            if self.in_string {
                if !string_end(at, buffer, end_of_input, lines)? {
                    return Some(*at);
                }
                self.in_string = false;
                self.last = b'"';
            }
            let byte = *buffer.get(*at)?;
            let blank = matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
            if self.line_ended && lines && !blank && !self.may_go_on_with(byte) {
                return Some(*at);
            }
            match byte {
                b'\n' => self.line_ended = true,
                b'{' | b'[' => {
                    self.depth += 1;
                    self.arrays = self.arrays << 1 | u64::from(byte == b'[');
                }
                b'}' | b']' => {
                    self.depth -= 1;
                    self.arrays >>= 1;
                    if self.depth == 0 {
                        *at += 1;
                        return Some(*at);
                    }
                }
                b'"' => self.in_string = true,
                _ => {}
            }
            if !blank {
                self.last = byte;
                self.line_ended = false;
            }
            *at += 1;
        }
    }

    /// Whether `byte` can stand at the start of a line within the container, in any JSON.
    fn may_go_on_with(&self, byte: u8) -> bool {
        match byte {
            b',' | b':' | b'}' | b']' => true,
            // Deeper than the bits go.
            b'{' | b'[' if self.depth > 64 => true,
            b'{' | b'[' if self.arrays & 1 == 1 => matches!(self.last, b'[' | b','),
            b'{' | b'[' => self.last == b':',
            _ => matches!(self.last, b'{' | b'[' | b',' | b':'),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &str) -> Vec<&str> {
        all(Splitter::of_stream(), text)
    }

    fn pieces_of_message(text: &str) -> Vec<&str> {
        all(Splitter::of_message(), text)
    }

    fn all(mut splitter: Splitter, text: &str) -> Vec<&str> {
        let mut found = Vec::new();
        while let Some(piece) = splitter.next(text.as_bytes(), true) {
            found.push(match piece {
                // White space behind a value may be taken for a part of it, until it turns out to be broken.
                Piece::Value(range) => text[range].trim_ascii_end(),
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
            let mut splitter = Splitter::of_stream();
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
}
