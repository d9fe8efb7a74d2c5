//! Where one metric ends in line protocol as it arrives.

use std::ops::Range;

use memchr::{memchr, memmem};

use crate::line_protocol::decoder::{MetricReader, is_blank};
use crate::line_protocol::escape::{plain_key, special};

/// White space before a metric belongs to it, up to this many bytes.
const MAX_INDENT: usize = 1024;

/// Finds the end of each metric in a buffer that grows. A line break ends a metric unless it is in a string. A quote opens a
/// string only directly after the `=` of a field.
#[derive(Debug, Default)]
pub(crate) struct Framer {
    start: usize,
    at: usize,
    state: FramerState,
    /// It stops at a line that begins like JSON.
    stops_at_json: bool,
}

/// The part of a metric that a byte belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum FramerState {
    /// The white space before a metric, if there is any.
    #[default]
    LineStart,
    Comment,
    NameAndTags,
    Fields,
    Value,
    String,
}

impl Framer {
    /// For the rest of a metric, and the metrics after it. With `stops_at_json`, up to a line that begins like JSON.
    pub fn within(state: FramerState, stops_at_json: bool) -> Self {
        Framer { state, stops_at_json, ..Framer::default() }
    }

    /// Whether it has stopped at a line that begins like JSON.
    pub fn is_at_json(&self, buffer: &[u8]) -> bool {
        self.stops_at_json && self.state == FramerState::LineStart && matches!(buffer.get(self.at), Some(b'{' | b'['))
    }

    /// The part that the next byte belongs to.
    pub fn state(&self) -> FramerState {
        self.state
    }

    /// Where the incomplete metric begins. Everything before it is done with.
    pub fn start(&self) -> usize {
        self.start
    }

    /// How far the buffer has been read.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Whether it is at the start of a line of which no byte has been read.
    pub fn at_line_start(&self) -> bool {
        self.state == FramerState::LineStart && self.at == self.start
    }

    /// Continues at `at`, which must be the start of a line.
    pub fn skip_to(&mut self, at: usize) {
        (self.start, self.at, self.state) = (at, at, FramerState::LineStart);
    }

    /// Goes back to the start of the incomplete metric.
    pub fn restart(&mut self) {
        if self.state != FramerState::Comment {
            self.skip_to(self.start);
        }
    }

    /// The first `len` bytes of the buffer are removed.
    pub fn drained(&mut self, len: usize) {
        self.start = self.start.saturating_sub(len);
        self.at -= len;
    }

    /// The range of the next complete metric, without its line break. At the end of the input, the last metric needs no line
    /// break.
    pub fn next(&mut self, buffer: &[u8], end_of_input: bool) -> Option<Range<usize>> {
        while let Some(&byte) = buffer.get(self.at) {
            match self.state {
                FramerState::LineStart if is_blank(byte) || byte == b'\r' => {
                    self.at += 1;
                    // A line with so much white space does not have to be kept unchanged.
                    if self.at - self.start > MAX_INDENT {
                        self.start = self.at;
                    }
                }
                FramerState::LineStart if byte == b'\n' => self.skip_to(self.at + 1),
                FramerState::LineStart if self.is_at_json(buffer) => return None,
                FramerState::LineStart => {
                    self.state = if byte == b'#' { FramerState::Comment } else { FramerState::NameAndTags };
                }
                FramerState::Comment => match memchr(b'\n', &buffer[self.at..]) {
                    Some(len) => self.skip_to(self.at + len + 1),
                    None => self.at = buffer.len(),
                },
                FramerState::String => match special(&buffer[self.at..]) {
                    None => self.at = buffer.len(),
                    Some(len) => {
                        self.at += len;
                        if buffer[self.at] == b'"' {
                            self.state = FramerState::Fields;
                            self.at += 1;
                        } else if !self.skip_escape(buffer, end_of_input) {
                            return None;
                        }
                    }
                },
                FramerState::Value if byte == b'"' => {
                    self.state = FramerState::String;
                    self.at += 1;
                }
                FramerState::Value => self.state = FramerState::Fields,
                FramerState::NameAndTags | FramerState::Fields => match byte {
                    b'\n' => {
                        let metric = self.start..self.at;
                        self.skip_to(self.at + 1);
                        return Some(metric);
                    }
                    b'\\' => {
                        if !self.skip_escape(buffer, end_of_input) {
                            return None;
                        }
                    }
                    b'=' if self.state == FramerState::Fields => {
                        self.state = FramerState::Value;
                        self.at += 1;
                    }
                    byte => {
                        if is_blank(byte) {
                            self.state = FramerState::Fields;
                        }
                        self.at += 1;
                    }
                },
            }
        }
        match self.state {
            FramerState::Comment => self.start = self.at,
            FramerState::LineStart => {}
            _ if end_of_input => {
                let metric = self.start..buffer.len();
                self.skip_to(buffer.len());
                return Some(metric);
            }
            _ => {}
        }
        None
    }

    /// Skips a backslash and the character that it escapes. False if that has not arrived yet.
    fn skip_escape(&mut self, buffer: &[u8], end_of_input: bool) -> bool {
        self.at += match buffer.get(self.at + 1) {
            None if !end_of_input => return false,
            None => 1,
            // In a name or tag, the second of two backslashes may still escape the next character.
            Some(b'\\') if self.state == FramerState::NameAndTags => 1,
            Some(b'\n') if self.state != FramerState::String => 1,
            Some(_) => 2,
        };
        true
    }
}

/// The length of the first `count` lines of a text of whole lines of line protocol. A line break in a string does not end a
/// line.
pub fn length_of_lines(text: &[u8], count: u64) -> usize {
    let mut framer = Framer::default();
    let mut end = 0;
    for _ in 0..count {
        if framer.next(text, true).is_none() {
            return text.len();
        }
        end = framer.at();
    }
    end
}

/// The ranges of this measurement's lines, with their line breaks, in a text of whole lines of line protocol. The lines are
/// found by reading them, so a line break in a string does not begin one.
pub fn lines_of(text: &[u8], measurement: &str) -> impl Iterator<Item = Range<usize>> {
    let (mut framer, mut reader) = (Framer::default(), MetricReader::default());
    // Most texts do not contain the name and are not read. A name that needs escapes can be written in several ways, so then
    // the text is always read.
    let is_plain = measurement.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let text = if is_plain && memmem::find(text, measurement.as_bytes()).is_none() { &[] } else { text };
    std::iter::from_fn(move || {
        loop {
            let range = framer.next(text, true)?;
            let line = &text[range.clone()];
            if reader.read_head(line).is_ok() && *plain_key(&line[reader.name.clone()]) == *measurement.as_bytes() {
                return Some(range.start..framer.at());
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(text: &str) -> Vec<&str> {
        let mut framer = Framer::default();
        std::iter::from_fn(|| framer.next(text.as_bytes(), true)).map(|range| &text[range]).collect()
    }

    #[test]
    fn metrics_end_at_line_breaks_outside_strings() {
        assert_eq!(frame("a f=1 1\nb f=2 2\n"), ["a f=1 1", "b f=2 2"]);
        assert_eq!(frame("a f=\"x\ny\" 1\nb f=2"), ["a f=\"x\ny\" 1", "b f=2"]);
        assert_eq!(frame("a f=\"\\\"\n\\\\\" 1\nb f=2"), ["a f=\"\\\"\n\\\\\" 1", "b f=2"]);
        assert_eq!(frame("a,t=\"x f=1 1\nb,t=\" f=2"), ["a,t=\"x f=1 1", "b,t=\" f=2"]);
        assert_eq!(frame("a,t=x\\ y=\" f=\"\n\" 1\nb f=2"), ["a,t=x\\ y=\" f=\"\n\" 1", "b f=2"]);
        assert_eq!(frame("a f\\==\"x\n\",g=1 1\nb f=2"), ["a f\\==\"x\n\",g=1 1", "b f=2"]);
        assert_eq!(frame("\n# a comment \"\n  \r\n  a f=1\n\n"), ["  a f=1"]);
        assert_eq!(frame("junk\nb f=2"), ["junk", "b f=2"]);
    }

    #[test]
    fn framing_goes_on_where_the_buffer_ended() {
        let text = b"m,t=a\\ b f=\"x\\\"\n\\\\\",g=1i 5\n# c\nn f=1\n";
        for cut in 0..text.len() {
            let mut framer = Framer::default();
            let mut found = Vec::new();
            while let Some(range) = framer.next(&text[..cut], false) {
                found.push(range);
            }
            let gone = framer.start();
            framer.drained(gone);
            while let Some(range) = framer.next(&text[gone..], true) {
                found.push(range.start + gone..range.end + gone);
            }
            assert_eq!(found, [0..26, 31..36], "cut at {cut}");
        }
    }

    #[test]
    fn lines_of_a_measurement_are_found_as_they_are_read() {
        let count = |text: &str| lines_of(text.as_bytes(), "internal_write").count();
        assert_eq!(count("internal_write,output=a f=1 1\nm f=1\n  internal_write f=2\n"), 2);
        assert_eq!(count("m note=\"x\ninternal_write,output=a f=1 1\ny\" 1\nm f=1\n"), 0);
        assert_eq!(
            count("internal_writer f=1\n# internal_write f=1\nm,t=internal_write f=1\ninternal_write\\ f=1 1\n"),
            0
        );
        assert_eq!(count(""), 0);
        assert_eq!(lines_of(b"a\\ b f=1\na\\,b f=1\n", "a b").count(), 1);
        let text = "m f=1\n internal_write f=1\nm f=2\ninternal_write f=2";
        assert_eq!(lines_of(text.as_bytes(), "internal_write").collect::<Vec<_>>(), [6..26, 32..50]);
    }
}
