//! The limits of one message: its lines take at most a small multiple of its size, and memory is freed after it.

use crate::observe::event::Reason;
use crate::payload::Rejection;

/// The lines of a message may take this many times its size on arrival.
const TIMES: usize = 16;

/// And this many bytes more, for short messages: 32 for each of a thousand fields. Flattened keys may be longer than their
/// values.
const MORE: usize = 32 * 1024;

/// The room for the lines of one message.
///
/// Without a limit the lines could be much larger than the message: a long key before many short values is written for each
/// value, and a metric's tags and other fields for each payload of an array.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Room {
    most: usize,
    left: usize,
}

impl Room {
    /// The room for a message of this size: that of the metric's line, or of the message if it came without a metric. It is
    /// at most `most`.
    pub fn of(message: usize, most: usize) -> Self {
        let most = message.saturating_mul(TIMES).saturating_add(MORE).min(most);
        Room { most, left: most }
    }

    /// Whether there is room for a line of this size. If not, there is none for the lines after it.
    #[inline]
    pub fn check(&mut self, line: usize) -> Result<(), Rejection> {
        if self.has(line) { Ok(()) } else { Err(self.rejection(line)) }
    }

    #[inline]
    pub fn has(&self, line: usize) -> bool {
        line <= self.left
    }

    /// The rejection for a line of this size. The lines after it have no room either.
    #[cold]
    pub fn rejection(&mut self, line: usize) -> Rejection {
        let error = format!("{}: shorten the keys that others are nested in", self.would_take(line));
        self.left = 0;
        Rejection::new(Reason::TooLarge, error)
    }

    /// Subtracts the size of lines that were written.
    pub fn take(&mut self, lines: usize) {
        self.left = self.left.saturating_sub(lines);
    }

    /// Whether any room is left.
    pub fn is_left(&self) -> bool {
        self.left > 0
    }

    /// The rejection for the rest of an array.
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
