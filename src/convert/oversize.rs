//! A metric or message that is too large to wait for, or of which the start was lost: skipped, and then rejected.

use xxhash_rust::xxh3::Xxh3Default;

use crate::convert::engine::{Engine, FromMetric, MAX_REJECTED, Sink, too_large, trim};
use crate::line_protocol::decoder::MetricReader;
use crate::line_protocol::escape::unescape_string;
use crate::observe::event::Reason;
use crate::observe::trace::Position;
use crate::payload::Rejection;

/// The parts that are kept of a skipped text.
pub(super) struct Oversize {
    /// The text is skipped because its start was lost, not because of its size.
    is_rest: bool,
    head: Vec<u8>,
    /// The last bytes, which hold a metric's time.
    tail: Vec<u8>,
    len: usize,
    hash: Xxh3Default,
    position: Position,
}

impl Oversize {
    /// Enough for a metric's name and tags, and for the part of its message that a rejection keeps.
    const HEAD: usize = 4 * MAX_REJECTED;
    /// Enough for a time and the characters around it.
    const TAIL: usize = 32;

    pub fn new(position: Position) -> Self {
        Oversize { is_rest: false, head: Vec::new(), tail: Vec::new(), len: 0, hash: Xxh3Default::new(), position }
    }

    /// The rest of a text whose start was lost.
    pub fn rest(position: Position) -> Self {
        Oversize { is_rest: true, ..Oversize::new(position) }
    }

    pub fn add(&mut self, text: &[u8]) {
        let room = (Self::HEAD - self.head.len()).min(text.len());
        self.head.extend_from_slice(&text[..room]);
        let last = &text[text.len().saturating_sub(Self::TAIL)..];
        self.tail.extend_from_slice(last);
        self.tail.drain(..self.tail.len().saturating_sub(Self::TAIL));
        self.len += text.len();
        self.hash.update(text);
    }

    /// Why it is rejected: for `reason` if its start was lost, otherwise for its size.
    fn rejection(&self, what: &str, reason: Reason, limit: usize) -> Rejection {
        if self.is_rest {
            let error = format!("the start of the {what} was lost when a process was killed; this is the rest of it");
            return Rejection::new(reason, error);
        }
        too_large(what, self.len, limit)
    }

    pub fn reject_message(mut self, rest: &[u8], engine: &mut Engine, sink: &mut Sink<'_>) {
        self.add(rest);
        engine.begin_at(self.position);
        let rejection = self.rejection("message", Reason::InvalidJson, engine.settings.limits.message);
        let text = if self.len == self.head.len() { trim(&self.head) } else { &self.head };
        engine.reject(&rejection, text, Some(self.hash.digest()), FromMetric::default(), sink);
    }

    pub fn reject_metric(mut self, rest: &[u8], engine: &mut Engine, sink: &mut Sink<'_>) {
        self.add(rest);
        engine.begin_at(self.position);
        engine.start_metric();
        let time = self.tail.rsplit(|byte| *byte == b'"').next().filter(|rest| rest.len() < self.tail.len());
        let time = time.and_then(|rest| MetricReader::read_time(rest, 0).ok()).flatten();
        let mut message = Vec::new();
        let head = match engine.message_start(&self.head).filter(|_| !self.is_rest) {
            Some(start) => {
                engine.take_tags(&self.head);
                // The closing quote is not in the head, so this unescapes the whole head.
                let _ = unescape_string(&self.head[start..], &mut message);
                &message
            }
            None => &self.head,
        };
        let rejection = self.rejection("metric", Reason::InvalidMetric, engine.settings.limits.longest());
        engine.reject(&rejection, head, Some(self.hash.digest()), FromMetric { time, ..FromMetric::default() }, sink);
    }
}
