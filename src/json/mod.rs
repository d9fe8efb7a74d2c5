//! JSON as the producers of Insights write it: RFC 8259, and the bare tokens `NaN`, `Infinity` and `-Infinity`
//! that Python's `json.dumps` emits.
//!
//! This is a reader of our own, and not serde_json, for what a payload needs and serde_json does not give: the
//! source text of a number (`1.10` as a version, sixteen digits as a time), the three tokens, a number out of
//! `f64`'s range without an error, and all of it in the one pass that also writes the point. The tests hold it
//! against serde_json.

pub(crate) mod decimal;
pub(crate) mod split;

use std::borrow::Cow;

use crate::line_protocol::special;

/// Where and why a text is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    /// Offset in bytes from the start of the text.
    pub at: usize,
    /// What was expected there.
    pub what: &'static str,
}

/// A value that is neither object nor array.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scalar<'a> {
    Null,
    Bool(bool),
    /// `NaN`, `Infinity` or `-Infinity`.
    NotFinite,
    Number(Number<'a>),
    String(Str<'a>),
}

/// The text of a number, known to follow JSON's grammar.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Number<'a> {
    pub text: &'a str,
    /// The text is already the shortest plain decimal that reads back as the same `f64`.
    pub shortest: bool,
}

/// What stands between a string's quotes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Str<'a> {
    pub raw: &'a str,
    /// There is a backslash in `raw`.
    pub escaped: bool,
}

/// The kinds of value, told by their first byte.
pub(crate) enum Start {
    Object,
    Array,
    Scalar,
}

/// A cursor over one JSON text. The text has to be UTF-8: slices of it are handed out as `str`.
pub(crate) struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    pub fn new(text: &'a str) -> Self {
        Reader { text, at: 0 }
    }

    /// The offset of the next byte.
    pub fn at(&self) -> usize {
        self.at
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn error<T>(&self, what: &'static str) -> Result<T, SyntaxError> {
        Err(SyntaxError { at: self.at, what })
    }

    pub fn skip_blank(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// Says what value comes next; the opening bracket of an object or array is taken.
    pub fn start(&mut self) -> Result<Start, SyntaxError> {
        self.skip_blank();
        match self.peek() {
            Some(b'{') => {
                self.at += 1;
                Ok(Start::Object)
            }
            Some(b'[') => {
                self.at += 1;
                Ok(Start::Array)
            }
            Some(_) => Ok(Start::Scalar),
            None => self.error("expected a value"),
        }
    }

    /// Right behind an opening bracket: takes the closing one, if the container is empty.
    pub fn empty(&mut self, close: u8) -> bool {
        self.skip_blank();
        let empty = self.peek() == Some(close);
        self.at += usize::from(empty);
        empty
    }

    /// Behind an item: takes the comma (true) or the closing bracket (false).
    pub fn more(&mut self, close: u8) -> Result<bool, SyntaxError> {
        self.skip_blank();
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            Some(b) if b == close => {
                self.at += 1;
                Ok(false)
            }
            _ if close == b'}' => self.error("expected `,` or `}`"),
            _ => self.error("expected `,` or `]`"),
        }
    }

    /// A key and the colon behind it.
    pub fn key(&mut self) -> Result<Str<'a>, SyntaxError> {
        self.skip_blank();
        if self.peek() != Some(b'"') {
            return self.error("expected a key in double quotes");
        }
        let key = self.string()?;
        self.skip_blank();
        if self.peek() != Some(b':') {
            return self.error("expected `:`");
        }
        self.at += 1;
        Ok(key)
    }

    /// The scalar at the cursor.
    pub fn scalar(&mut self) -> Result<Scalar<'a>, SyntaxError> {
        match self.peek() {
            Some(b'"') => self.string().map(Scalar::String),
            Some(b'-') if self.takes("-Infinity") => Ok(Scalar::NotFinite),
            Some(b'-' | b'0'..=b'9') => self.number().map(Scalar::Number),
            Some(b't') if self.takes("true") => Ok(Scalar::Bool(true)),
            Some(b'f') if self.takes("false") => Ok(Scalar::Bool(false)),
            Some(b'n') if self.takes("null") => Ok(Scalar::Null),
            Some(b'N') if self.takes("NaN") => Ok(Scalar::NotFinite),
            Some(b'I') if self.takes("Infinity") => Ok(Scalar::NotFinite),
            _ => self.error("expected a value"),
        }
    }

    fn takes(&mut self, word: &str) -> bool {
        let found = self.text.as_bytes()[self.at..].starts_with(word.as_bytes());
        self.at += if found { word.len() } else { 0 };
        found
    }

    fn number(&mut self) -> Result<Number<'a>, SyntaxError> {
        let rest = &self.text[self.at..];
        match number_prefix(rest.as_bytes()) {
            Ok((len, shortest)) => {
                self.at += len;
                Ok(Number { text: &rest[..len], shortest })
            }
            Err(len) => {
                self.at += len;
                self.error("expected a digit")
            }
        }
    }

    /// The string whose opening quote is at the cursor.
    fn string(&mut self) -> Result<Str<'a>, SyntaxError> {
        self.at += 1;
        let (start, bytes) = (self.at, self.text.as_bytes());
        let mut escaped = false;
        loop {
            let Some(len) = special(&bytes[self.at..]) else {
                self.at = bytes.len();
                return self.error("expected the `\"` that ends the string");
            };
            let plain = &bytes[self.at..self.at + len];
            // Looks at all of them without a branch, which the compiler turns into a few wide instructions.
            if plain.iter().fold(false, |found, byte| found | (*byte < 0x20)) {
                self.at += plain.iter().take_while(|byte| **byte >= 0x20).count();
                return self.error("expected no control character in a string, but its escape, such as `\\n`");
            }
            self.at += len;
            if bytes[self.at] == b'"' {
                break;
            }
            escaped = true;
            match bytes.get(self.at + 1) {
                Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
                Some(b'u') => {
                    let digits = bytes.get(self.at + 2..self.at + 6);
                    if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
                        return self.error("expected four hexadecimal digits behind `\\u`");
                    }
                    self.at += 6;
                }
                _ => return self.error("expected an escape such as `\\n`"),
            }
        }
        let raw = &self.text[start..self.at];
        self.at += 1;
        Ok(Str { raw, escaped })
    }

    /// Everything behind the value has to be blank.
    pub fn end(&mut self) -> Result<(), SyntaxError> {
        self.skip_blank();
        if self.at < self.text.len() { self.error("expected nothing behind the value") } else { Ok(()) }
    }
}

impl<'a> Str<'a> {
    /// The string that is meant. A surrogate escape with no partner becomes U+FFFD.
    pub fn decoded(&self) -> Cow<'a, str> {
        if !self.escaped {
            return Cow::Borrowed(self.raw);
        }
        let mut text = String::with_capacity(self.raw.len());
        self.decode_into(&mut text);
        Cow::Owned(text)
    }

    /// Appends what [`decoded`](Self::decoded) gives.
    pub fn decode_into(&self, text: &mut String) {
        let mut rest = self.raw;
        while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
            // Escapes often come in a row.
            if at > 0 {
                text.push_str(&rest[..at]);
            }
            let escape = rest.as_bytes()[at + 1];
            rest = &rest[at + 2..];
            text.push(match escape {
                b'b' => '\u{8}',
                b'f' => '\u{c}',
                b'n' => '\n',
                b'r' => '\r',
                b't' => '\t',
                b'u' => {
                    let (unit, len) = (hex4(rest), 4);
                    rest = &rest[len..];
                    match (unit, rest.strip_prefix("\\u").map(hex4)) {
                        (0xD800..=0xDBFF, Some(low @ 0xDC00..=0xDFFF)) => {
                            rest = &rest[6..];
                            let code = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
                            char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
                        }
                        _ => char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER),
                    }
                }
                other => char::from(other),
            });
        }
        text.push_str(rest);
    }
}

/// The value of the first four bytes, which the reader has seen to be hexadecimal digits.
fn hex4(text: &str) -> u32 {
    let digit = |sum: u32, digit: &u8| Some(sum << 4 | char::from(*digit).to_digit(16)?);
    let digits = text.as_bytes().first_chunk::<4>();
    digits.and_then(|digits| digits.iter().try_fold(0, digit)).unwrap_or(0xFFFD)
}

impl<'a> Number<'a> {
    /// The number, if the whole text is one.
    pub fn of(text: &'a str) -> Option<Self> {
        match number_prefix(text.as_bytes()) {
            Ok((len, shortest)) if len == text.len() => Some(Number { text, shortest }),
            _ => None,
        }
    }
}

/// How many digits `text` starts with.
fn digits_len(text: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    let (words, rest) = text.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        // A digit becomes its value; adding 0x76 sets the high bit of what is above 9. The lowest such bit is always right.
        let values = u64::from_le_bytes(*word) ^ (u64::from(b'0') * ONES);
        let others = (values.wrapping_add(0x76 * ONES) | values) & (0x80 * ONES);
        if others != 0 {
            return 8 * index + others.trailing_zeros() as usize / 8;
        }
    }
    8 * words.len() + rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// The length of the number that `text` starts with, and whether it is [`Number::shortest`]; or how much of it could
/// have been the start of a number.
pub(crate) fn number_prefix(text: &[u8]) -> Result<(usize, bool), usize> {
    let digits = |at: usize| digits_len(&text[at..]);
    let minus = usize::from(text.first() == Some(&b'-'));
    let whole = match digits(minus) {
        0 => return Err(minus),
        _ if text[minus] == b'0' => 1,
        count => count,
    };
    let mut at = minus + whole;
    let mut fraction = 0;
    if text.get(at) == Some(&b'.') {
        fraction = digits(at + 1);
        if fraction == 0 {
            return Err(at + 1);
        }
        at += 1 + fraction;
    }
    // Fifteen digits always survive the way through an f64 (C's DBL_DIG), so with no zero to take away the text is
    // its own shortest form. ryu goes over to exponents at five zeros behind the point.
    let shortest = whole + fraction <= 15
        && (fraction == 0 || text[at - 1] != b'0')
        && !(fraction > 5 && text[minus..].starts_with(b"0.00000"));
    if let Some(b'e' | b'E') = text.get(at) {
        let sign = usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
        return match digits(at + 1 + sign) {
            0 => Err(at + 1 + sign),
            count => Ok((at + 1 + sign + count, false)),
        };
    }
    Ok((at, shortest))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    #[test]
    fn numbers_follow_the_grammar() {
        for text in ["0", "-0", "1", "10", "0.5", "-1.25", "1e5", "1E+5", "1.5e-7", "123456789012345678901234567890"] {
            assert!(Number::of(text).is_some(), "{text}");
        }
        for text in ["", "-", "+1", "01", "1.", ".5", "1e", "1e+", "0x10", "1 ", " 1", "1_000", "NaN", "１"] {
            assert!(Number::of(text).is_none(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn digits_go_to_the_first_byte_that_is_none(
            digits in 0..40_usize,
            rest in vec(select(&b"0189/:.eE+-,\0\x7f\x80\xb0\xba\xff"[..]), 0..20),
        ) {
            let text = [vec![b'7'; digits], rest].concat();
            let end = text.iter().position(|byte| !byte.is_ascii_digit());
            prop_assert_eq!(digits_len(&text), end.unwrap_or(text.len()));
        }
    }

    #[test]
    fn a_shortest_number_is_what_ryu_writes() {
        let mut seen = [0; 2];
        for whole in ["0", "-0", "1", "8", "100", "99999", "1234567", "123456789012345", "1234567890123456"] {
            for fraction in ["", ".0", ".5", ".50", ".1", ".00001", ".000001", ".0000011", ".867231", ".12345678901"] {
                let text = format!("{whole}{fraction}");
                let number = Number::of(&text).unwrap();
                seen[usize::from(number.shortest)] += 1;
                if number.shortest {
                    let float: f64 = text.parse().unwrap();
                    let mut buffer = ryu::Buffer::new();
                    let expected = buffer.format_finite(float);
                    assert_eq!(expected.strip_suffix(".0").unwrap_or(expected), text);
                }
            }
        }
        assert!(seen.iter().all(|count| *count > 20), "both roads are tried: {seen:?}");
    }

    #[test]
    fn strings_are_decoded() {
        let decode = |raw| Str { raw, escaped: true }.decoded();
        assert_eq!(decode(r#"a\"\\\/\b\f\n\r\tz"#), "a\"\\/\u{8}\u{c}\n\r\tz");
        assert_eq!(decode(r"\u00e9\u20AC"), "é€");
        assert_eq!(decode(r"\ud83d\ude00!"), "😀!");
        assert_eq!(decode(r"\ud83d!"), "\u{fffd}!");
        assert_eq!(decode(r"\ude00\ud83d\u0041"), "\u{fffd}\u{fffd}A");
    }
}
