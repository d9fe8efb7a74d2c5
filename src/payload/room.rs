//! The limits of one message: its lines take at most a small multiple of its size, and memory is freed after it.

use crate::observe::event::Reason;
use crate::payload::Rejection;

/// The lines of a message may take so many times the bytes that it had when it arrived.
const TIMES: usize = 16;

/// And so many bytes more, for short messages: 32 for each of a thousand fields, whose keys may be longer than their values
/// where they are flattened.
const MORE: usize = 32 * 1024;

/// The room that the lines of one message have.
///
/// A long key in front of many short values is written as often as there are values, and so are the tags and other fields of a
/// metric for each payload of an array.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Room {
    most: usize,
    left: usize,
}

impl Room {
    /// For a message that takes so many bytes: the metric's line, or the message where it came by itself. It is never more
    /// than `most`.
    pub fn of(message: usize, most: usize) -> Self {
        let most = message.saturating_mul(TIMES).saturating_add(MORE).min(most);
        Room { most, left: most }
    }

    /// Whether a line of so many bytes has room. If not, no line behind it has.
    #[inline]
    pub fn check(&mut self, line: usize) -> Result<(), Rejection> {
        if self.has(line) { Ok(()) } else { Err(self.rejection(line)) }
    }

    #[inline]
    pub fn has(&self, line: usize) -> bool {
        line <= self.left
    }

    /// Why a line of so many bytes has no room, and none behind it has.
    #[cold]
    pub fn rejection(&mut self, line: usize) -> Rejection {
        let error = format!("{}: shorten the keys that others are nested in", self.would_take(line));
        self.left = 0;
        Rejection::new(Reason::TooLarge, error)
    }

    /// Lines of so many bytes were written.
    pub fn take(&mut self, lines: usize) {
        self.left = self.left.saturating_sub(lines);
    }

    /// Whether there is still some.
    pub fn is_left(&self) -> bool {
        self.left > 0
    }

    /// Why the rest of an array has none.
    pub fn rejection_of_rest(&self) -> Rejection {
        let error = format!("{}; this is the rest of it: send fewer payloads in a message", self.would_take(1));
        Rejection::new(Reason::TooLarge, error)
    }

    fn would_take(&self, line: usize) -> String {
        let (most, sum) = (self.most, (self.most - self.left).saturating_add(line));
        format!(
            "the lines of the message would take {sum} bytes or more, and the limit is {most}, {TIMES} times the message \
             and {MORE} bytes"
        )
    }
}
