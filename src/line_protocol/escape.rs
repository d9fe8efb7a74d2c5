//! All escaping of line protocol: as Telegraf's own influx serializer writes it and its parser reads it
//! (plugins/serializers/influx/escape.go, plugins/parsers/influx/machine.go.rl).

use std::borrow::Cow;

use memchr::{memchr, memchr2};

/// Bytes with a special meaning in names, tag keys, tag values and field keys.
const KEY_SPECIAL: [bool; 256] = set(b",= \t\n\x0b\x0c\r\\");

/// White space that must be escaped in a name, key or tag value. Telegraf's serializer writes the vertical tab raw, and its
/// parser then refuses the line; we escape it like the others.
const fn control_escape(byte: u8) -> Option<u8> {
    match byte {
        b'\t' => Some(b't'),
        b'\n' => Some(b'n'),
        0x0b => Some(b'v'),
        0x0c => Some(b'f'),
        b'\r' => Some(b'r'),
        _ => None,
    }
}

const fn set(bytes: &[u8]) -> [bool; 256] {
    let mut set = [false; 256];
    let mut at = 0;
    while at < bytes.len() {
        set[bytes[at] as usize] = true;
        at += 1;
    }
    set
}

/// Whether a tag key, a tag value or a field key needs no escapes. False if that is not certain.
fn is_plain_key(raw: &[u8]) -> bool {
    let is_plain = |word: &[u8; 8]| {
        let word = u64::from_le_bytes(*word);
        bytes_below(word, 0x21) | bytes_equal(word, b',') | bytes_equal(word, b'=') | bytes_equal(word, b'\\') == 0
    };
    // The compiler turns the check of a whole chunk into a few wide instructions.
    let (chunks, rest) = raw.as_chunks::<64>();
    let is_special = |byte: u8| matches!(byte, b',' | b'=' | b' ' | b'\\' | b'\t'..=b'\r');
    if chunks.iter().any(|chunk| chunk.iter().fold(false, |found, byte| found | is_special(*byte))) {
        return false;
    }
    // The last word overlaps the one before.
    match rest.last_chunk() {
        Some(last) => is_plain(last) && rest.as_chunks().0.iter().all(is_plain),
        None => !rest.iter().any(|byte| KEY_SPECIAL[usize::from(*byte)]),
    }
}

/// The high bits of those bytes of a word that are below a limit of 128 at most. The lowest bit that is set is always right;
/// bits above it may be wrong.
#[inline(always)]
fn bytes_below(word: u64, limit: u64) -> u64 {
    word.wrapping_sub(limit * ONES) & !word & (0x80 * ONES)
}

/// The same for the bytes that are equal to `byte`.
#[inline(always)]
fn bytes_equal(word: u64, byte: u8) -> u64 {
    bytes_below(word ^ (u64::from(byte) * ONES), 1)
}

const ONES: u64 = u64::MAX / 255;

/// Appends a tag key, a tag value or a field key.
///
/// A backslash is written as itself, unless it would be read as the escape of the next character: before `,`, `=`, a space
/// or `"`, and at the end. Readers disagree on every way to write such a backslash (Telegraf, InfluxDB 2 and InfluxDB 3 were
/// compared), so it is left out.
pub fn escape_key(raw: &[u8], out: &mut Vec<u8>) {
    if is_plain_key(raw) {
        return out.extend_from_slice(raw);
    }
    let mut rest = raw;
    while let [byte, behind @ ..] = rest {
        rest = behind;
        match *byte {
            b'\\' => {
                let run = behind.iter().take_while(|byte| **byte == b'\\').count();
                rest = &behind[run..];
                if !matches!(rest, [] | [b',' | b'=' | b' ' | b'"', ..]) {
                    out.resize(out.len() + 1 + run, b'\\');
                }
            }
            b',' | b'=' | b' ' => out.extend([b'\\', *byte]),
            byte => match control_escape(byte) {
                Some(letter) => out.extend([b'\\', letter]),
                None => out.push(byte),
            },
        }
    }
}

/// Appends the unescaped tag key, tag value or field key, as Telegraf reads it.
fn unescape_key(escaped: &[u8], out: &mut Vec<u8>) {
    let mut rest = escaped;
    while let Some(at) = memchr(b'\\', rest) {
        let plain = match rest.get(at + 1) {
            Some(b',' | b'=' | b' ' | b'"') => at,
            _ => at + 1,
        };
        out.extend_from_slice(&rest[..plain]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

/// The name, key or tag value that is written as `escaped`. Bytes that are not UTF-8 become replacement characters.
pub(crate) fn plain_key(escaped: &[u8]) -> Cow<'_, [u8]> {
    if escaped.is_ascii() && !escaped.contains(&b'\\') {
        return Cow::Borrowed(escaped);
    }
    let mut plain = Vec::new();
    unescape_key(escaped, &mut plain);
    Cow::Owned(String::from_utf8_lossy(&plain).into_owned().into_bytes())
}

/// The position of the first quote or backslash. They often come in a row, and then no search is needed.
#[inline]
pub(crate) fn special(text: &[u8]) -> Option<usize> {
    if let Some(b'"' | b'\\') = text.first() { Some(0) } else { memchr2(b'"', b'\\', text) }
}

/// Appends a string field's value with its quotes. Line breaks stay as they are.
pub(crate) fn write_string(raw: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = raw;
    while let Some(at) = special(rest) {
        out.extend_from_slice(&rest[..at]);
        out.extend([b'\\', rest[at]]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// The length of the start of `text`, up to the first `"`, `\` or control character.
// Not inlined, since its callers have no registers left for its constants.
#[inline(never)]
pub(crate) fn string_len(text: &[u8]) -> usize {
    let (words, rest) = text.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let found = bytes_below(word, 0x20) | bytes_equal(word, b'"') | bytes_equal(word, b'\\');
        if found != 0 {
            return 8 * index + found.trailing_zeros() as usize / 8;
        }
    }
    8 * words.len() + rest.iter().take_while(|byte| !matches!(byte, b'"' | b'\\' | ..0x20)).count()
}

/// Appends the unescaped value of a string field, up to the quote that ends it. Returns the length of the text before that
/// quote. None if there is no such quote, or a backslash before it escapes nothing; the text before that is still appended.
pub(crate) fn unescape_string(escaped: &[u8], out: &mut Vec<u8>) -> Option<usize> {
    let mut at = 0;
    loop {
        let Some(len) = special(&escaped[at..]) else {
            out.extend_from_slice(&escaped[at..]);
            return None;
        };
        out.extend_from_slice(&escaped[at..at + len]);
        at += len;
        match (escaped[at], escaped.get(at + 1)) {
            (b'"', _) => return Some(at),
            (_, Some(byte @ (b'"' | b'\\'))) => {
                out.push(*byte);
                at += 2;
            }
            _ => return None,
        }
    }
}

/// The longest start of a UTF-8 text that has at most `limit` bytes and ends between two characters.
pub(crate) fn cut(text: &[u8], limit: usize) -> &[u8] {
    let Some((start, [next, ..])) = text.split_at_checked(limit) else { return text };
    // The bytes of a character after its first one have these two bits.
    let goes_on = |byte: &u8| byte & 0xc0 == 0x80;
    if !goes_on(next) {
        return start;
    }
    let behind = start.iter().rev().take_while(|byte| goes_on(byte)).count();
    &start[..start.len().saturating_sub(behind + 1)]
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    fn key(raw: &str) -> String {
        let mut out = Vec::new();
        escape_key(raw.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn keys_are_escaped() {
        for (raw, escaped) in [
            ("plain", "plain"),
            ("a b,c=d", r"a\ b\,c\=d"),
            ("\t\n\x0b\x0c\r", r"\t\n\v\f\r"),
            (r"C:\models\new", r"C:\models\new"),
            (r"a\\b", r"a\\b"),
            (r"end\", "end"),
            (r"end\\\", "end"),
            (r"\", ""),
            (r"a\,b", r"a\,b"),
            (r"a\\ b", r"a\ b"),
            (r#"a\"b"#, r#"a"b"#),
            ("a\\\tb", r"a\\tb"),
            ("é ü", r"é\ ü"),
        ] {
            assert_eq!(key(raw), escaped, "{raw:?}");
        }
    }

    #[test]
    fn keys_are_unescaped_as_telegraf_does() {
        for (escaped, raw) in
            [("a", "a"), (r"a\ b\,c\=d", "a b,c=d"), (r"a\nb\\c\", r"a\nb\\c\"), (r#"\""#, "\""), (r"\\,", r"\,")]
        {
            let mut out = Vec::new();
            unescape_key(escaped.as_bytes(), &mut out);
            assert_eq!(out, raw.as_bytes(), "{escaped}");
        }
    }

    #[test]
    fn strings_come_back() {
        for raw in ["", "a", "\"", "\\", "a\\\"b\nc", "\\\\", "é"] {
            let (mut text, mut back) = (Vec::new(), Vec::new());
            write_string(raw.as_bytes(), &mut text);
            assert_eq!(unescape_string(&text[1..], &mut back), Some(text.len() - 2));
            assert_eq!(back, raw.as_bytes());
        }
        assert_eq!(unescape_string(b"open", &mut Vec::new()), None);
        assert_eq!(unescape_string(b"open\\", &mut Vec::new()), None);
        assert_eq!(unescape_string(b"open\\\"", &mut Vec::new()), None);
    }

    proptest! {
        #[test]
        fn a_string_goes_to_the_first_byte_that_cannot_be_in_it(
            text in vec(select(&b"\"\\\0\x1f !#[]a\x7f\x80\xa2\xdc\xff"[..]), 0..40),
            plain in 0..40_usize,
        ) {
            for text in [text.clone(), [vec![b'a'; plain], text].concat()] {
                let end = text.iter().position(|byte| matches!(byte, b'"' | b'\\' | ..0x20));
                prop_assert_eq!(string_len(&text), end.unwrap_or(text.len()));
            }
        }
    }
}
