//! JSON as the producers of Insights write it: RFC 8259, and bare tokens such as the `NaN`, `Infinity` and `-Infinity` that Python's
//! `json.dumps` emits.
//!
//! This is a reader of our own, and not serde_json, for what a payload needs and serde_json does not give: the
//! source text of a number (`1.10` as a version, sixteen digits as a time), those tokens, a number out of
//! `f64`'s range without an error, and all of it in the one pass that also writes the point. And the text is read as it
//! stands in Telegraf's line, with no copy made of it. The tests hold it against serde_json.

mod container;
pub(crate) mod decimal;
pub(crate) mod lines;
pub(crate) mod number;
pub(crate) mod split;

use std::borrow::Cow;
use std::marker::PhantomData;
use std::ops::Range;

pub(crate) use crate::json::number::Number;
use crate::json::number::{not_finite_prefix, number_prefix};
use crate::line_protocol::escape::{string_len, unescape_string, write_string};

/// How a text writes the `"` and `\` of JSON.
pub(crate) trait Encoding {
    const QUOTE: &'static [u8];
    const BACKSLASH: &'static [u8];

    /// The node of the payload in the tree of keys. Keys look different in each encoding.
    const ROOT: u32;

    /// Appends a text, with quotes, as a string field of line protocol.
    fn write_string(text: &[u8], out: &mut Vec<u8>);

    /// The JSON of a text. It is made in `buffer` if it differs from the text.
    fn decoded<'a>(text: &'a [u8], buffer: &'a mut Vec<u8>) -> &'a [u8];
}

/// JSON in a string of line protocol.
pub(crate) enum InString {}

impl Encoding for InString {
    const QUOTE: &'static [u8] = br#"\""#;
    const BACKSLASH: &'static [u8] = br"\\";
    const ROOT: u32 = 1;

    fn write_string(text: &[u8], out: &mut Vec<u8>) {
        out.push(b'"');
        out.extend_from_slice(text);
        out.push(b'"');
    }

    fn decoded<'a>(text: &'a [u8], buffer: &'a mut Vec<u8>) -> &'a [u8] {
        buffer.clear();
        // `text` does not include the quote that ends the string.
        let _ = unescape_string(text, buffer);
        buffer
    }
}

/// JSON that is not in a string.
pub(crate) enum Plain {}

impl Encoding for Plain {
    const QUOTE: &'static [u8] = b"\"";
    const BACKSLASH: &'static [u8] = br"\";
    const ROOT: u32 = 2;

    fn write_string(text: &[u8], out: &mut Vec<u8>) {
        write_string(text, out);
    }

    fn decoded<'a>(text: &'a [u8], _: &'a mut Vec<u8>) -> &'a [u8] {
        text
    }
}

/// The position and reason of an error in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    /// Offset in bytes from the start of the text.
    pub at: usize,
    /// What was expected there.
    pub what: &'static str,
}

/// The texts that values are read from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    pub text: &'a [u8],
    /// The strings that had escapes, decoded by [`Text::scalar`].
    pub decoded: &'a [u8],
}

/// The position of a value that is neither object nor array. A string's begins at its opening quote and ends before the
/// closing one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value {
    start: u32,
    end: u32,
    form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Null,
    True,
    False,
    NotFinite,
    Number,
    /// A number that is [`Number::shortest`].
    Shortest,
    /// A string in the text, between its quotes.
    String,
    /// A string in [`Source::decoded`].
    Decoded,
}

/// A value that is neither object nor array.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scalar<'a> {
    Null,
    Bool(bool),
    /// NaN or an infinity, without quotes.
    NotFinite,
    Number(Number<'a>),
    String(Str<'a>),
}

/// A string, as a string field of line protocol writes it: only `"` and `\` are escaped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Str<'a> {
    /// The string with its opening quote.
    opened: &'a [u8],
    /// The string may have such an escape.
    escaped: bool,
}

impl Value {
    /// Positions fit into 32 bits, since no message is longer.
    #[inline]
    fn new(start: usize, end: usize, form: Form) -> Self {
        Value { start: start as u32, end: end as u32, form }
    }

    /// A string that is unchanged in the text, with its opening quote.
    pub fn string(place: Range<usize>) -> Self {
        Value::new(place.start, place.end, Form::String)
    }

    #[inline(always)]
    pub fn of(self, source: Source<'_>) -> Scalar<'_> {
        let place = self.start as usize..self.end as usize;
        let opened = |text| Str { opened: text, escaped: self.form == Form::Decoded };
        match self.form {
            Form::Null => Scalar::Null,
            Form::True => Scalar::Bool(true),
            Form::False => Scalar::Bool(false),
            Form::NotFinite => Scalar::NotFinite,
            Form::Number => Scalar::Number(Number { text: &source.text[place], shortest: false }),
            Form::Shortest => Scalar::Number(Number { text: &source.text[place], shortest: true }),
            Form::String => Scalar::String(opened(&source.text[place])),
            Form::Decoded => Scalar::String(opened(&source.decoded[place])),
        }
    }

    #[inline]
    pub fn is_null(self) -> bool {
        self.form == Form::Null
    }

    /// A string that is unchanged in [`Source::decoded`], with both quotes.
    pub fn decoded(place: Range<usize>) -> Self {
        Value::new(place.start, place.end - 1, Form::Decoded)
    }

    /// Whether it is neither null nor a string.
    #[inline]
    pub fn is_float(self) -> bool {
        !matches!(self.form, Form::Null | Form::String | Form::Decoded)
    }

    /// A string without the white space around it.
    pub fn trimmed(self, source: Source<'_>) -> Self {
        let text = match self.form {
            Form::String => source.text,
            Form::Decoded => source.decoded,
            Form::Null | Form::True | Form::False | Form::NotFinite | Form::Number | Form::Shortest => return self,
        };
        let (before, text) = trim(&text[self.start as usize + 1..self.end as usize]);
        let start = self.start + before as u32;
        Value { start, end: start + 1 + text.len() as u32, form: self.form }
    }

    /// The string, if it is unchanged in the text.
    #[inline]
    pub fn text(self, text: &[u8]) -> Option<&[u8]> {
        (self.form == Form::String).then(|| &text[self.start as usize + 1..self.end as usize])
    }
}

impl<'a> Scalar<'a> {
    /// Its text. A string is unescaped; anything else is as it is written.
    #[inline]
    pub fn text(&self) -> Cow<'a, [u8]> {
        match self {
            Scalar::Null => Cow::Borrowed(b"null"),
            Scalar::Bool(true) => Cow::Borrowed(b"true"),
            Scalar::Bool(false) => Cow::Borrowed(b"false"),
            Scalar::NotFinite => Cow::Borrowed(b"NaN or Infinity"),
            Scalar::Number(number) => Cow::Borrowed(number.text),
            Scalar::String(string) => string.plain(),
        }
    }
}

impl<'a> Str<'a> {
    /// A string field's value as line protocol writes it, without the closing quote.
    pub fn opened(opened: &'a [u8]) -> Self {
        Str { opened, escaped: true }
    }

    /// The string as a string field of line protocol has it between its quotes.
    #[inline]
    pub fn written(&self) -> &'a [u8] {
        &self.opened[1..]
    }

    /// Appends the string with its quotes.
    #[inline]
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.opened);
        out.push(b'"');
    }

    /// The unescaped string.
    #[inline]
    pub fn plain(&self) -> Cow<'a, [u8]> {
        if self.escaped { self.unescaped() } else { Cow::Borrowed(self.written()) }
    }

    fn unescaped(&self) -> Cow<'a, [u8]> {
        if memchr::memchr(b'\\', self.written()).is_none() {
            return Cow::Borrowed(self.written());
        }
        let mut plain = Vec::with_capacity(self.written().len());
        let _ = unescape_string(self.written(), &mut plain);
        Cow::Owned(plain)
    }
}

/// A text that begins with JSON. Methods return where a value ends. A cursor that stores the position would be in memory,
/// and that makes a message a fifth slower.
#[derive(Debug)]
pub(crate) struct Text<'a, E>(&'a [u8], PhantomData<E>);

impl<E> Clone for Text<'_, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for Text<'_, E> {}

#[cold]
fn error<T>(at: usize, what: &'static str) -> Result<T, SyntaxError> {
    Err(SyntaxError { at, what })
}

impl<'a, E: Encoding> Text<'a, E> {
    pub fn new(text: &'a [u8]) -> Self {
        Text(text, PhantomData)
    }

    pub fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// The position of the next byte that is not white space.
    #[inline(always)]
    pub fn skip_blank(self, mut at: usize) -> usize {
        // Nearly every byte takes only this comparison.
        while let Some(byte @ ..=b' ') = self.0.get(at)
            && matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
        {
            at += 1;
        }
        at
    }

    #[inline]
    pub fn byte(self, at: usize) -> Option<u8> {
        self.0.get(at).copied()
    }

    /// The text from a position on, which is never beyond the end.
    #[inline(always)]
    fn behind(self, at: usize) -> &'a [u8] {
        &self.0[at..]
    }

    /// Where a key and its colon end, if both are at `at` exactly as in `key`.
    #[inline]
    pub fn key_is(self, at: usize, key: &[u8]) -> Option<usize> {
        let start = self.behind(at).get(..key.len())?;
        same(start, key).then_some(at + key.len())
    }

    /// A key and the colon after it. Returns the key with its quotes, unchanged; the key as a value; and where the colon
    /// ends.
    pub fn key(self, at: usize, decoded: &mut Vec<u8>) -> Result<(&'a [u8], Value, usize), SyntaxError> {
        let at = self.skip_blank(at);
        if !self.behind(at).starts_with(E::QUOTE) {
            return error(at, "expected a key in double quotes");
        }
        let (key, end) = self.string(at, decoded)?;
        let raw = &self.0[at..end];
        let at = self.skip_blank(end);
        if self.byte(at) == Some(b':') { Ok((raw, key, at + 1)) } else { error(at, "expected `:`") }
    }

    /// The value at `at`, which is neither object nor array, and where it ends. A string with escapes is decoded and
    /// appended to a buffer.
    #[inline(always)]
    pub fn scalar(self, at: usize, decoded: &mut Vec<u8>) -> Result<(Value, usize), SyntaxError> {
        let rest = self.behind(at);
        if rest.starts_with(E::QUOTE) {
            return self.string(at, decoded);
        }
        let (len, form) = match rest.first() {
            Some(b'-' | b'0'..=b'9') => match number_prefix(rest) {
                Ok((len, true)) => (len, Form::Shortest),
                Ok((len, false)) => (len, Form::Number),
                Err(len) => match not_finite_prefix(rest) {
                    Some(len) => (len, Form::NotFinite),
                    None => return error(at + len, "expected a digit"),
                },
            },
            Some(b't') if rest.starts_with(b"true") => (4, Form::True),
            Some(b'f') if rest.starts_with(b"false") => (5, Form::False),
            Some(b'n') if rest.starts_with(b"null") => (4, Form::Null),
            _ => match not_finite_prefix(rest) {
                Some(len) => (len, Form::NotFinite),
                None => return error(at, "expected a value"),
            },
        };
        Ok((Value::new(at, at + len, form), at + len))
    }

    /// The string whose opening quote is at `at`, and where its closing quote ends.
    #[inline(always)]
    fn string(self, at: usize, decoded: &mut Vec<u8>) -> Result<(Value, usize), SyntaxError> {
        let start = at + E::QUOTE.len();
        let end = start + string_len(self.behind(start));
        if self.behind(end).starts_with(E::QUOTE) {
            return Ok((Value::new(start - 1, end, Form::String), end + E::QUOTE.len()));
        }
        let written = decoded.len();
        decoded.extend_from_slice(&self.0[start - 1..end]);
        let end = self.rest_of_string(end, decoded)?;
        Ok((Value::new(written, decoded.len(), Form::Decoded), end))
    }

    /// Decodes the rest of a string, from the first byte that needs more than a copy.
    #[inline(never)]
    fn rest_of_string(self, mut at: usize, decoded: &mut Vec<u8>) -> Result<usize, SyntaxError> {
        loop {
            let rest = self.behind(at);
            if rest.starts_with(E::QUOTE) {
                return Ok(at + E::QUOTE.len());
            }
            at = match rest.first() {
                Some(b'\\') if rest.starts_with(E::BACKSLASH) => self.escape(at, decoded)?,
                Some(..0x20) => {
                    return error(at, "expected no control character in a string, but its escape, such as `\\n`");
                }
                _ => return error(self.0.len(), "expected the `\"` that ends the string"),
            };
            at += copy_string(self.behind(at), decoded);
        }
    }

    /// Decodes an escape, with the next one if both are one character. Returns where it ends. A surrogate without a partner
    /// becomes U+FFFD.
    #[inline]
    fn escape(self, at: usize, decoded: &mut Vec<u8>) -> Result<usize, SyntaxError> {
        let rest = self.behind(at + E::BACKSLASH.len());
        let (meant, len): (&[u8], usize) = match rest.first() {
            Some(b'n') => (b"\n", 1),
            Some(b't') => (b"\t", 1),
            Some(b'r') => (b"\r", 1),
            Some(b'b') => (b"\x08", 1),
            Some(b'f') => (b"\x0c", 1),
            Some(b'/') => (b"/", 1),
            Some(b'u') => return self.units(at, decoded),
            _ if rest.starts_with(E::QUOTE) => (br#"\""#, E::QUOTE.len()),
            _ if rest.starts_with(E::BACKSLASH) => (br"\\", E::BACKSLASH.len()),
            _ => return error(at, "expected an escape such as `\\n`"),
        };
        decoded.extend_from_slice(meant);
        Ok(at + E::BACKSLASH.len() + len)
    }

    fn units(self, mut at: usize, decoded: &mut Vec<u8>) -> Result<usize, SyntaxError> {
        let Some(mut code) = unit::<E>(self.behind(at)) else {
            return error(at, "expected four hexadecimal digits after `\\u`");
        };
        let len = E::BACKSLASH.len() + 5;
        at += len;
        if let 0xD800..0xDC00 = code
            && let Some(low @ 0xDC00..0xE000) = unit::<E>(self.behind(at))
        {
            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
            at += len;
        }
        match char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER) {
            special @ ('"' | '\\') => decoded.extend([b'\\', special as u8]),
            other => decoded.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
        Ok(at)
    }

    /// After a member or item: whether the closing bracket follows rather than a comma, and where that ends.
    #[inline(always)]
    pub fn ends(self, at: usize, close: u8) -> Result<(bool, usize), SyntaxError> {
        let at = self.skip_blank(at);
        match self.byte(at) {
            Some(b',') => Ok((false, at + 1)),
            Some(byte) if byte == close => Ok((true, at + 1)),
            _ if close == b'}' => error(at, "expected `,` or `}`"),
            _ => error(at, "expected `,` or `]`"),
        }
    }

    /// Checks that only white space follows the value that ends at `at`.
    pub fn end(self, at: usize) -> Result<(), SyntaxError> {
        let at = self.skip_blank(at);
        if at < self.0.len() { error(at, "expected nothing after the value") } else { Ok(()) }
    }
}

/// A text without the white space around it, and the length of that before it.
pub(crate) fn trim(text: &[u8]) -> (usize, &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else {
        let trimmed = text.trim_ascii_start();
        return (text.len() - trimmed.len(), trimmed.trim_ascii_end());
    };
    (text.len() - text.trim_start().len(), text.trim().as_bytes())
}

/// The value of an escape such as `\u00e9` at the start of `text`. Half of a surrogate pair is returned as it is.
fn unit<E: Encoding>(text: &[u8]) -> Option<u32> {
    let digits: &[u8; 4] = text.strip_prefix(E::BACKSLASH)?.strip_prefix(b"u")?.first_chunk()?;
    digits.iter().try_fold(0, |sum, digit| Some(sum << 4 | char::from(*digit).to_digit(16)?))
}

/// Whether two texts of the same length are equal. Keys are so short that a call of memcmp takes longer.
#[inline]
fn same(a: &[u8], b: &[u8]) -> bool {
    let Some(end) = a.last_chunk::<8>() else { return a == b };
    Some(end) == b.last_chunk() && a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0).all(|(a, b)| a == b)
}

/// Appends the start of `text`, up to the first `"`, `\` or control character. Returns its length.
fn copy_string(text: &[u8], out: &mut Vec<u8>) -> usize {
    let len = string_len(text);
    out.extend_from_slice(&text[..len]);
    len
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The content of a string, with its quotes and escapes written as in the encoding.
    fn decoded<E: Encoding>(json: &str) -> String {
        let text = json.replace('\\', std::str::from_utf8(E::BACKSLASH).unwrap());
        let text = text.replace('"', std::str::from_utf8(E::QUOTE).unwrap());
        let mut decoded = Vec::new();
        let (value, end) = Text::<E>::new(text.as_bytes()).scalar(0, &mut decoded).unwrap();
        assert_eq!(end, text.len());
        String::from_utf8(value.of(Source { text: text.as_bytes(), decoded: &decoded }).text().into_owned()).unwrap()
    }

    #[test]
    fn strings_are_decoded() {
        for (json, text) in [
            (r#""plain""#, "plain"),
            (r#""a\/\b\f\n\r\tz""#, "a/\u{8}\u{c}\n\r\tz"),
            (r#""\u00e9\u20AC""#, "é€"),
            (r#""\ud83d\ude00!""#, "😀!"),
            (r#""\ud83d!""#, "\u{fffd}!"),
            (r#""\ude00\ud83d\u0041""#, "\u{fffd}\u{fffd}A"),
            (r#""\u0022\u005c""#, "\"\\"),
        ] {
            assert_eq!(decoded::<Plain>(json), text);
            assert_eq!(decoded::<InString>(json), text);
        }
        assert_eq!(decoded::<Plain>(r#""a\"\\b""#), "a\"\\b");
        assert_eq!(Str { opened: br#""a\"\\b"#, escaped: true }.plain().as_ref(), b"a\"\\b");
    }
}
