//! One complete message: the payloads in it, each made into its point or its rejection.

use xxhash_rust::xxh3::xxh3_64;

use crate::convert::engine::{Engine, FromMetric, Sink, trim};
use crate::convert::wrapping::{explained, held, is_sequence, object_behind, unmarked};
use crate::json::split::{Piece, Splitter};
use crate::observe::event::Reason;
use crate::payload::Rejection;

impl Engine {
    /// Converts the message of a metric. The point already has the metric's tags and other fields.
    pub fn message(&mut self, message: &[u8], time: Option<i64>, sink: &mut Sink<'_>) {
        let text = trim(message);
        let origin = FromMetric { time, ..FromMetric::default() };
        // A message that is too large is not read.
        if text.len() > self.settings.limits.message {
            return self.payload(text, origin, sink);
        }
        let text = unmarked(text);
        match held(text) {
            Some(held) => self.content(&held, origin, sink),
            None => self.content(text, origin, sink),
        }
    }

    /// Converts a single value of a stream.
    pub fn value(&mut self, text: &[u8], sink: &mut Sink<'_>) {
        let origin = FromMetric::default();
        match held(text).filter(|_| text.len() <= self.settings.limits.message) {
            Some(held) => self.content(&held, origin, sink),
            None => self.payload(text, origin, sink),
        }
    }

    /// Converts what a message holds: an object, an array of objects, or several of these.
    fn content(&mut self, text: &[u8], origin: FromMetric, sink: &mut Sink<'_>) {
        let is_array = text.first() == Some(&b'[');
        if is_array && text.last() == Some(&b']') {
            return self.items(Splitter::of_message(), text, origin, sink);
        }
        let room = self.room;
        let Err(rejection) = self.point_of(text, origin, sink) else { return };
        self.room = room;
        if is_sequence(text) {
            return self.items(Splitter::of_values(self.settings.limits), text, origin, sink);
        }
        if matches!(rejection.reason, Reason::InvalidJson | Reason::NotAnObject)
            && let Some(object) = object_behind(text)
        {
            match self.point_of(object, origin, sink) {
                Ok(()) => return,
                Err(other) if other.reason != Reason::InvalidJson && !matches!(text, [b'{' | b'[', ..]) => {
                    return self.reject(&other, object, None, origin, sink);
                }
                // The object is rather a part of broken JSON.
                Err(_) => {
                    self.room = room;
                    self.tracer.iter_mut().for_each(|tracer| tracer.start_payload());
                }
            }
        }
        if is_array {
            return self.items(Splitter::of_message(), text, origin, sink);
        }
        self.reject(&explained(rejection, text), text, None, origin, sink);
    }

    /// Converts the payloads of a message with several of them.
    fn items(&mut self, mut splitter: Splitter, text: &[u8], mut origin: FromMetric, sink: &mut Sink<'_>) {
        origin.is_item = true;
        origin.array.get_or_insert_with(|| xxh3_64(text));
        while let Some(piece) = splitter.next(text, true) {
            if let (false, Some(range)) = (self.room.is_left(), piece.range()) {
                let rest = trim(&text[range.start..]);
                return self.reject(&self.room.rejection_of_rest(), rest, None, origin, sink);
            }
            let start = sink.out.len();
            match piece {
                Piece::Value(range) if splitter.is_behind_array() && matches!(text[range.start], b'{' | b'[') => {
                    let limits = self.settings.limits;
                    return self.items(Splitter::of_values(limits), &text[range], origin, sink);
                }
                Piece::OpenArray if splitter.is_of_message() => {
                    self.reject(&open_array().at(text.len()), text, None, origin, sink);
                }
                piece => self.piece(piece, text, origin, sink),
            }
            // Tags cost this much even if a rejection leaves them out.
            self.room.take((sink.out.len() - start).max(self.payloads.point().incoming_len()));
            origin.index += 1;
        }
    }

    /// Converts one piece of a text.
    pub fn piece(&mut self, piece: Piece, text: &[u8], origin: FromMetric, sink: &mut Sink<'_>) {
        match piece {
            Piece::Value(range) => self.payload(trim(&text[range]), origin, sink),
            Piece::EmptyArray(range) => {
                let rejection = Rejection::new(Reason::NotAnObject, "the array holds no payload").at(0);
                self.reject(&rejection, &text[range], None, origin, sink);
            }
            Piece::TooLong(range) => {
                let limit = self.settings.limits.message;
                let error = format!(
                    "the message takes more than {limit} bytes; this is its start, up to a line that may begin the next"
                );
                self.reject(&Rejection::new(Reason::TooLarge, error), trim(&text[range]), None, origin, sink);
            }
            // In a stream, only the bracket is left of the array.
            Piece::OpenArray => self.reject(&open_array(), b"[", None, origin, sink),
        }
    }

    /// Converts one payload to its point or its rejection.
    fn payload(&mut self, text: &[u8], origin: FromMetric, sink: &mut Sink<'_>) {
        if let Err(rejection) = self.point_of(text, origin, sink) {
            self.reject(&explained(rejection, text), text, None, origin, sink);
        }
    }
}

fn open_array() -> Rejection {
    Rejection::new(Reason::InvalidJson, "expected the `]` that ends the array")
}
