//! The lines of an input of which each is one message.

use std::ops::Range;

use memchr::memchr;

/// A mark that some programs write at the start of each text.
pub(crate) const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Finds the lines in a buffer that grows. Blank lines are skipped.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    start: usize,
    at: usize,
    /// An incomplete line has begun.
    in_line: bool,
}

impl Lines {
    /// Where the incomplete line begins. Everything before it is done with.
    pub fn start(&self) -> usize {
        self.start
    }

    /// How far the buffer has been read.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Whether no byte of the line has been read.
    pub fn at_line_start(&self) -> bool {
        !self.in_line
    }

    /// Continues at `at`, which must be the start of a line.
    pub fn skip_to(&mut self, at: usize) {
        *self = Lines { start: at, at, in_line: false };
    }

    /// Goes back to the start of the incomplete line.
    pub fn restart(&mut self) {
        self.skip_to(self.start);
    }

    /// The first `len` bytes of the buffer are removed.
    pub fn drained(&mut self, len: usize) {
        self.start = self.start.saturating_sub(len);
        self.at -= len;
    }

    /// The next line, from its first byte that is neither white space nor a byte order mark. None if more input is needed,
    /// or at the end of the input.
    pub fn next(&mut self, buffer: &[u8], end_of_input: bool) -> Option<Range<usize>> {
        if !self.in_line {
            let is_blank = |byte: &&u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
            loop {
                self.skip_to(self.at + buffer[self.at..].iter().take_while(is_blank).count());
                if !buffer[self.at..].starts_with(BYTE_ORDER_MARK) {
                    break;
                }
                self.skip_to(self.at + BYTE_ORDER_MARK.len());
            }
            self.in_line = self.at < buffer.len();
            // The rest of a mark may still come.
            if self.in_line && !end_of_input && BYTE_ORDER_MARK.starts_with(&buffer[self.at..]) {
                self.in_line = false;
                return None;
            }
        }
        let start = self.start;
        let Some(len) = memchr(b'\n', &buffer[self.at..]) else {
            self.at = buffer.len();
            if !(end_of_input && self.in_line) {
                return None;
            }
            self.skip_to(self.at);
            return Some(start..self.at);
        };
        let end = self.at + len;
        self.skip_to(end + 1);
        Some(start..end)
    }
}
