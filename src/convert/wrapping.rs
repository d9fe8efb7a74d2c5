//! What producers put around the JSON of a message: a byte order mark, a schema registry's prefix, a string. And what they
//! send instead of JSON, recognised by its first bytes.

use std::fmt::Write;

use crate::convert::engine::trim;
use crate::json::lines::BYTE_ORDER_MARK;
use crate::json::split::container_len;
use crate::json::{Plain, Scalar, Source, Text};
use crate::observe::event::Reason;
use crate::payload::Rejection;

/// The most bytes that may precede an object.
const MOST_IN_FRONT: usize = 16;

/// The same if the first of these bytes is a bracket: no more than the id of a schema. A longer prefix is the start of
/// broken JSON.
const REGISTRY_ID: usize = 4;

/// JSON is read from a string, and from a string within that string, but no deeper.
const STRINGS: usize = 2;

/// Removes a byte order mark, and the white space and zero bytes around it.
pub(super) fn unmarked(text: &[u8]) -> &[u8] {
    let text = trim(text);
    text.strip_prefix(BYTE_ORDER_MARK).map_or(text, trim)
}

/// The object or array that a string holds, if `text` is such a string.
pub(super) fn held(text: &[u8]) -> Option<Vec<u8>> {
    let mut held = None;
    // Nearly no message is a string, so most messages cost only this check.
    if text.first() != Some(&b'"') || std::str::from_utf8(text).is_err() {
        return None;
    }
    for _ in 0..STRINGS {
        let text = string(held.as_deref().unwrap_or(text))?;
        if matches!(text.first(), Some(b'{' | b'[')) {
            return Some(text);
        }
        held = Some(text);
    }
    None
}

/// The content of the string that is all of `bytes`.
fn string(bytes: &[u8]) -> Option<Vec<u8>> {
    let (text, mut decoded) = (Text::<Plain>::new(bytes), Vec::new());
    let (value, end) = text.scalar(0, &mut decoded).ok()?;
    text.end(end).ok()?;
    match value.of(Source { text: bytes, decoded: &decoded }) {
        Scalar::String(string) => Some(unmarked(&string.plain()).to_vec()),
        _ => None,
    }
}

/// Whether another object or array begins after a complete one.
#[cold]
pub(super) fn is_sequence(text: &[u8]) -> bool {
    let behind = container_len(text).map(|len| unmarked(&text[len..]));
    matches!(behind, Some([b'{' | b'[', ..]))
}

/// The object that ends a text and has only a few bytes before it.
#[cold]
pub(super) fn object_behind(text: &[u8]) -> Option<&[u8]> {
    let begins_as_json = matches!(text, [b'{' | b'[', ..]);
    let most = if begins_as_json { REGISTRY_ID } else { MOST_IN_FRONT };
    let objects = (1..=most.min(text.len())).map(|at| text.split_at(at)).filter(|(front, object)| {
        // An object after a comma or colon is a part of broken JSON.
        let is_part = begins_as_json && matches!(trim(front).last(), Some(b',' | b':'));
        object.first() == Some(&b'{') && !is_part
    });
    objects.map(|(_, object)| object).find(|object| container_len(object) == Some(object.len()))
}

/// The name of the program, `gzip` or `zstd`, that compressed a text, by its first bytes.
pub fn compression(start: &[u8]) -> Option<&'static str> {
    match start {
        [0x1f, 0x8b, ..] => Some("gzip"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some("zstd"),
        _ => None,
    }
}

/// Whether a text is JSON in UTF-16, in which every other byte of ASCII text is zero.
fn is_utf16(text: &[u8]) -> bool {
    match text {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => true,
        [b'{' | b'[' | b'"', 0, next, 0, ..] => *next != 0,
        _ => false,
    }
}

/// The same rejection. If the text's first bytes show what it is, the error says so.
#[cold]
pub(super) fn explained(rejection: Rejection, text: &[u8]) -> Rejection {
    if rejection.reason != Reason::InvalidJson {
        return rejection;
    }
    let front = &text[..text.len().min(MOST_IN_FRONT)];
    let is_control = |byte: &u8| byte.is_ascii_control() && !byte.is_ascii_whitespace();
    let error = if is_utf16(text) {
        "the text is UTF-16, and JSON has to be UTF-8: have the producer encode it so, or convert a file with `iconv -f UTF-16 \
         -t UTF-8`"
            .to_owned()
    } else if let Some(name) = compression(text) {
        format!(
            "the message is compressed with {name}: have the producer send the JSON itself, and set its `compression.type` \
             instead, which Kafka's clients undo"
        )
    } else if !matches!(text, [b'{' | b'[' | b'"', ..]) && front.iter().any(is_control) {
        let mut bytes = String::new();
        for byte in front.iter().take(8) {
            let _ = write!(bytes, " {byte:02x}");
        }
        format!(
            "expected JSON, but this begins with the bytes{bytes}, as Avro and Protobuf do behind a schema registry's prefix, and \
             there is no JSON object behind at most {MOST_IN_FRONT} bytes: have the producer send JSON"
        )
    } else {
        return rejection;
    };
    Rejection::new(Reason::InvalidJson, error)
}
