//! The road that nearly all messages take: one flat object, in which no key comes twice, and nothing has to be left out
//! or told.
//!
//! Everything else is for [`payload`](crate::payload), which also says what becomes of each key; what is done here gives the
//! same point in less time. Two things make it quick. The text is read as it stands in Telegraf's line, where `\"` is a
//! quote and `\\` the backslash of JSON's escapes. And payloads of one algorithm have the same keys in the same
//! order: what a key becomes is found out once, and then it is only compared with the key that came there last time.

use std::collections::HashMap;
use std::ops::Range;

use xxhash_rust::xxh3::xxh3_64;

use crate::json::{Number, Scalar, Str, number_prefix};
use crate::line_protocol::{escape_key, is_plain_key, string_len, write_float};
use crate::payload::kinds::{Kind, Kinds};
use crate::payload::point::{MAX_SERIES_KEY, Point};
use crate::payload::timestamp::Timestamp;
use crate::payload::{MAX_STRING, write_value};
use crate::settings::Settings;

/// The longest text that is read. No string of it has to be cut.
pub(crate) const MAX_TEXT: usize = MAX_STRING;

/// As many keys are remembered, each of at most this many bytes.
const MAX_KEYS: usize = 1024;
const MAX_KEY: usize = 255;

/// The longest start of a line that is remembered.
const MAX_HEAD: usize = 16 * 1024;

/// Reads flat payloads, one at a time.
#[derive(Debug)]
pub(crate) struct Flat {
    /// The first is no key: behind it comes the first one of a payload.
    keys: Vec<Key>,
    by_text: HashMap<Box<[u8]>, usize>,
    /// The payloads so far.
    payload: u64,
    /// The start of the last line up to its message, and the tags in it. Empty where nothing is known of them.
    head: Vec<u8>,
    incoming: Vec<Tag>,
    incoming_text: Vec<u8>,
    /// What was read.
    tags: Vec<Tag>,
    fields: Vec<Member>,
    /// Strings that had escapes, as they are written in a point.
    decoded: Vec<u8>,
    times: [Option<Value>; 2],
    request_id: Option<Value>,
    has_name: bool,
    /// The keys of `tags`, and the places of these in the order of the keys: mostly the same for the next payload.
    tag_keys: Vec<usize>,
    order: Vec<usize>,
}

/// A key, and what becomes of it.
#[derive(Debug)]
struct Key {
    /// `,key=`, and nothing where it is no key.
    text: Box<[u8]>,
    role: Role,
    is_request_id: bool,
    /// The last payload in which it was, or that came with a tag of this key.
    seen: u64,
    /// The key that came behind it last time.
    next: usize,
}

#[derive(Clone, Copy, Debug)]
enum Role {
    /// Its place in [`Flat::times`].
    Time(usize),
    Name,
    Tag,
    Field(Option<Kind>),
    Drop,
}

#[derive(Clone, Debug)]
struct Tag {
    key: usize,
    value: Range<usize>,
}

#[derive(Debug)]
struct Member {
    key: usize,
    kind: Option<Kind>,
    value: Value,
}

/// A value's place in the text; a string's is between its quotes.
#[derive(Clone, Copy, Debug)]
struct Value {
    start: usize,
    end: usize,
    form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    Null,
    True,
    False,
    Number {
        shortest: bool,
    },
    String,
    /// A string with escapes of JSON's, whose place is in [`Flat::decoded`].
    Decoded,
}

/// How a text writes what JSON writes as `"` and `\`.
pub(crate) trait Encoding {
    const QUOTE: &'static [u8];
    const BACKSLASH: &'static [u8];
}

/// In a string of Telegraf's line.
pub(crate) struct InString;

impl Encoding for InString {
    const QUOTE: &'static [u8] = br#"\""#;
    const BACKSLASH: &'static [u8] = br"\\";
}

/// In JSON by itself.
pub(crate) struct Plain;

impl Encoding for Plain {
    const QUOTE: &'static [u8] = b"\"";
    const BACKSLASH: &'static [u8] = br"\";
}

impl Default for Flat {
    fn default() -> Self {
        let none = Key { text: Box::default(), role: Role::Drop, is_request_id: false, seen: 0, next: 0 };
        Flat {
            keys: vec![none],
            by_text: HashMap::new(),
            payload: 0,
            head: Vec::new(),
            incoming: Vec::new(),
            incoming_text: Vec::new(),
            tags: Vec::new(),
            fields: Vec::new(),
            decoded: Vec::new(),
            times: [None; 2],
            request_id: None,
            has_name: false,
            tag_keys: Vec::new(),
            order: Vec::new(),
        }
    }
}

impl Flat {
    /// Takes note of how a line starts, `point` having its tags.
    pub fn take_head(&mut self, head: &[u8], point: &Point, kinds: &Kinds) {
        self.forget_head();
        if head.len() > MAX_HEAD {
            return;
        }
        for (key, value) in point.incoming_tags() {
            // No common key.
            let Some(key) = self.learn(key, kinds) else { return self.forget_head() };
            let start = self.incoming_text.len();
            self.incoming_text.extend_from_slice(value);
            self.incoming.push(Tag { key, value: start..self.incoming_text.len() });
        }
        self.head.extend_from_slice(head);
    }

    /// What stands behind the start of the last line, in a line that starts like it.
    pub fn behind_head<'a>(&self, line: &'a [u8]) -> Option<&'a [u8]> {
        line.strip_prefix(self.head.as_slice()).filter(|_| !self.head.is_empty())
    }

    /// The payloads to come are in no metric.
    pub fn forget_head(&mut self) {
        self.head.clear();
        self.incoming.clear();
        self.incoming_text.clear();
    }

    /// Reads the payload at the start of `text`; its length, or None where it is not for this road.
    pub fn read<E: Encoding>(&mut self, text: &[u8], settings: &Settings) -> Option<usize> {
        self.payload += 1;
        self.tags.clear();
        self.fields.clear();
        self.decoded.clear();
        self.times = [None; 2];
        self.request_id = None;
        self.has_name = false;
        // A key that is also that of the metric's tag then is one too many.
        for tag in &self.incoming {
            self.keys[tag.key].seen = self.payload;
        }
        if text.first() != Some(&b'{') {
            return None;
        }
        let mut at = 1;
        let mut last = 0;
        loop {
            at = skip_blank(text, at);
            let mut id = self.keys[last].next;
            match takes_key::<E>(&text[at..], &self.keys[id].text) {
                Some(len) => at += len,
                None => {
                    let start = at + text[at..].starts_with(E::QUOTE).then_some(E::QUOTE.len())?;
                    let end = start + string_len(&text[start..]);
                    id = self.learn(&text[start..end], &settings.kinds)?;
                    self.keys[last].next = id;
                    at += takes_key::<E>(&text[at..], &self.keys[id].text)?;
                }
            }
            last = id;
            let (value, end) = value::<E>(text, skip_blank(text, at), &mut self.decoded)?;
            let key = &mut self.keys[id];
            if key.seen == self.payload {
                return None;
            }
            key.seen = self.payload;
            if key.is_request_id {
                if value.form == Form::Decoded {
                    return None;
                }
                self.request_id = Some(value);
            }
            match key.role {
                _ if value.form == Form::Null => {}
                Role::Name | Role::Tag | Role::Time(_) if value.form == Form::Decoded => return None,
                Role::Field(kind) => self.fields.push(Member { key: id, kind, value }),
                Role::Name | Role::Tag if value.start == value.end => {}
                Role::Name => {
                    self.has_name = true;
                    self.tags.push(Tag { key: id, value: value.start..value.end });
                }
                Role::Tag => self.tags.push(Tag { key: id, value: value.start..value.end }),
                Role::Time(index) => self.times[index] = Some(value),
                Role::Drop => {}
            }
            at = skip_blank(text, end);
            match text.get(at) {
                Some(b',') => at += 1,
                Some(b'}') => break,
                _ => return None,
            }
        }
        let fits = self.fields.len() + self.tags.len() <= settings.limits.fields;
        (self.has_name && !self.fields.is_empty() && fits).then_some(at + 1)
    }

    /// Appends the line of the payload that was read from `text`, up to its time. False where there is something to tell or
    /// to reject; then nothing is appended.
    pub fn write(&mut self, text: &str, measurement: &[u8], out: &mut Vec<u8>) -> bool {
        let start = out.len();
        out.extend_from_slice(measurement);
        self.write_tags(text.as_bytes(), out);
        // No key is longer than the text.
        if out.len() - start + text.len() > MAX_SERIES_KEY {
            out.truncate(start);
            return false;
        }
        let fields = out.len();
        for Member { key, kind, value } in &self.fields {
            out.extend_from_slice(&self.keys[*key].text);
            let written = match (kind, value.form) {
                (None | Some(Kind::String), Form::Decoded) => {
                    out.extend_from_slice(&self.decoded[value.start..value.end]);
                    true
                }
                (_, Form::Decoded) => false,
                _ => value.write(*kind, text, out),
            };
            if !written {
                out.truncate(start);
                return false;
            }
        }
        out[fields] = b' ';
        #[cfg(test)]
        tests::WRITTEN.with(|written| written.set(written.get() + 1));
        true
    }

    fn write_tags(&mut self, text: &[u8], out: &mut Vec<u8>) {
        let all = || self.incoming.iter().chain(&self.tags);
        if !all().map(|tag| tag.key).eq(self.tag_keys.iter().copied()) {
            self.tag_keys.clear();
            self.tag_keys.extend(all().map(|tag| tag.key));
            self.order.clear();
            self.order.extend(0..self.tag_keys.len());
            let key = |place: usize| self.keys[self.tag_keys[place]].raw();
            self.order.sort_unstable_by(|a, b| key(*a).cmp(key(*b)));
        }
        for place in &self.order {
            out.extend_from_slice(&self.keys[self.tag_keys[*place]].text);
            match place.checked_sub(self.incoming.len()) {
                None => out.extend_from_slice(&self.incoming_text[self.incoming[*place].value.clone()]),
                Some(place) => escape_key(&text[self.tags[place].value.clone()], out),
            }
        }
    }

    /// The time that the payload gives its point, if it gives one. None where it gives one that cannot be read.
    pub fn time(&self, text: &str) -> Option<Option<Timestamp>> {
        let Some(value) = self.times[0].or(self.times[1]) else { return Some(None) };
        match value.scalar(text) {
            Scalar::String(time) => Timestamp::from_text(time.raw).map(Some),
            Scalar::Number(number) => Timestamp::from_number(number).map(Some),
            _ => None,
        }
    }

    /// The hash of the request's id, as `own_time` in [`convert`](crate::convert) takes it.
    pub fn call_hash(&self, text: &[u8]) -> Option<u64> {
        let id = self.request_id.filter(|id| id.form != Form::Null)?;
        let id = &text[id.start..id.end];
        (!id.is_empty()).then(|| xxh3_64(id))
    }

    /// The place of a key that stands for itself wherever it is written.
    fn learn(&mut self, text: &[u8], kinds: &Kinds) -> Option<usize> {
        if let Some(id) = self.by_text.get(text) {
            return Some(*id);
        }
        if text.is_empty() || text.len() > MAX_KEY || text.starts_with(b"_") || !is_plain_key(text) {
            return None;
        }
        if self.keys.len() > MAX_KEYS {
            self.keys.truncate(1);
            self.keys[0].next = 0;
            self.by_text.clear();
            self.tag_keys.clear();
            self.forget_head();
            return None;
        }
        let role = match (text, kinds.of(text)) {
            (b"time", _) => Role::Time(0),
            (b"timestamp", _) => Role::Time(1),
            (b"algorithm_name", _) => Role::Name,
            (_, Some(Kind::Tag)) => Role::Tag,
            (_, Some(Kind::Drop)) => Role::Drop,
            (_, kind) => Role::Field(kind),
        };
        let id = self.keys.len();
        let written = [b",", text, b"="].concat().into();
        self.keys.push(Key { text: written, role, is_request_id: text == b"request_id", seen: 0, next: 0 });
        self.by_text.insert(text.into(), id);
        Some(id)
    }
}

impl Key {
    fn raw(&self) -> &[u8] {
        &self.text[1..self.text.len() - 1]
    }
}

impl Value {
    fn scalar<'a>(&self, text: &'a str) -> Scalar<'a> {
        // The places are those of whole tokens, so there is always such a piece.
        let raw = text.get(self.start..self.end).unwrap_or_default();
        match self.form {
            Form::Null => Scalar::Null,
            Form::True => Scalar::Bool(true),
            Form::False => Scalar::Bool(false),
            Form::Number { shortest } => Scalar::Number(Number { text: raw, shortest }),
            Form::String => Scalar::String(Str { raw, escaped: false }),
            // Written elsewhere.
            Form::Decoded => Scalar::NotFinite,
        }
    }

    /// Appends what the value is as a field of this kind, if it can be one.
    fn write(&self, kind: Option<Kind>, text: &str, out: &mut Vec<u8>) -> bool {
        let raw = &text.as_bytes()[self.start..self.end];
        match (kind, self.form) {
            (None | Some(Kind::Float), Form::Number { shortest: true }) => out.extend_from_slice(raw),
            (None | Some(Kind::String), Form::String) => {
                if kind.is_none()
                    && let [b'-' | b'0'..=b'9', ..] = raw
                    && let Some(number) = text.get(self.start..self.end).and_then(Number::of)
                {
                    return write_float(number, out);
                }
                // With its first quote, which is the same in all texts.
                out.extend_from_slice(&text.as_bytes()[self.start - 1..self.end]);
                out.push(b'"');
            }
            (kind, _) => {
                let scalar = self.scalar(text);
                let (shown, number) = match scalar {
                    Scalar::Number(number) => (number.text, Some(number)),
                    Scalar::String(string) => (string.raw, Number::of(string.raw)),
                    _ => ("", None),
                };
                return write_value(kind, scalar, shown, number, out).is_ok();
            }
        }
        true
    }
}

fn skip_blank(text: &[u8], mut at: usize) -> usize {
    while text.get(at) == Some(&b' ') {
        at += 1;
    }
    at
}

/// The length of the key with its quotes and colon, if it is this one.
#[inline]
fn takes_key<E: Encoding>(text: &[u8], written: &[u8]) -> Option<usize> {
    let [b',', key @ .., b'='] = written else { return None };
    let (start, rest) = text.strip_prefix(E::QUOTE)?.split_at_checked(key.len())?;
    let rest = rest.strip_prefix(E::QUOTE)?.strip_prefix(b":")?;
    same(start, key).then_some(text.len() - rest.len())
}

/// Whether two texts of one length are equal. Keys are so short that a call of memcmp takes longer.
#[inline]
fn same(a: &[u8], b: &[u8]) -> bool {
    let Some(end) = a.last_chunk::<8>() else { return a == b };
    Some(end) == b.last_chunk() && a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0).all(|(a, b)| a == b)
}

/// The value that starts at `at`, and where it ends.
fn value<E: Encoding>(text: &[u8], at: usize, decoded: &mut Vec<u8>) -> Option<(Value, usize)> {
    let rest = text.get(at..)?;
    let word = |word: &[u8], form| rest.starts_with(word).then_some((word.len(), form));
    let (len, form) = match rest.first()? {
        b'-' | b'0'..=b'9' => number_prefix(rest).ok().map(|(len, shortest)| (len, Form::Number { shortest }))?,
        b't' => word(b"true", Form::True)?,
        b'f' => word(b"false", Form::False)?,
        b'n' => word(b"null", Form::Null)?,
        _ => {
            rest.strip_prefix(E::QUOTE)?;
            return string::<E>(text, at + E::QUOTE.len(), decoded);
        }
    };
    Some((Value { start: at, end: at + len, form }, at + len))
}

/// The string whose first character is at `start`, and where it ends. A call of it for each string costs a message 7 % more.
#[inline(always)]
fn string<E: Encoding>(text: &[u8], start: usize, decoded: &mut Vec<u8>) -> Option<(Value, usize)> {
    let mut end = start + string_len(&text[start..]);
    if text[end..].starts_with(E::QUOTE) {
        return Some((Value { start, end, form: Form::String }, end + E::QUOTE.len()));
    }
    let written = decoded.len();
    decoded.push(b'"');
    decoded.extend_from_slice(&text[start..end]);
    while !text[end..].starts_with(E::QUOTE) {
        let (len, mut meant) = escape::<E>(&text[end..])?;
        end += len;
        if let 0xD800..0xDC00 = meant
            && let Some((len, low @ 0xDC00..0xE000)) = escape::<E>(&text[end..])
        {
            meant = 0x10000 + ((meant - 0xD800) << 10) + (low - 0xDC00);
            end += len;
        }
        match char::from_u32(meant).unwrap_or(char::REPLACEMENT_CHARACTER) {
            special @ ('"' | '\\') => decoded.extend([b'\\', special as u8]),
            other => decoded.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
        let plain = string_len(&text[end..]);
        decoded.extend_from_slice(&text[end..end + plain]);
        end += plain;
    }
    decoded.push(b'"');
    Some((Value { start: written, end: decoded.len(), form: Form::Decoded }, end + E::QUOTE.len()))
}

/// The length of the escape that `text` starts with, and what it stands for: half a surrogate pair as it is.
fn escape<E: Encoding>(text: &[u8]) -> Option<(usize, u32)> {
    let rest = text.strip_prefix(E::BACKSLASH)?;
    let len = E::BACKSLASH.len();
    let (behind, meant) = match *rest.first()? {
        b'/' => (1, b'/'),
        b'b' => (1, 0x08),
        b'f' => (1, 0x0c),
        b'n' => (1, b'\n'),
        b'r' => (1, b'\r'),
        b't' => (1, b'\t'),
        b'u' => {
            let digits: &[u8; 4] = rest[1..].first_chunk()?;
            let digit = |sum: u32, digit: &u8| Some(sum << 4 | char::from(*digit).to_digit(16)?);
            let meant = digits.iter().try_fold(0, digit)?;
            // Digits in disguise may make a number.
            let in_number = u8::try_from(meant).is_ok_and(|meant| b"0123456789+-.eE".contains(&meant));
            return Some((len + 5, meant)).filter(|_| !in_number);
        }
        _ if rest.starts_with(E::QUOTE) => (E::QUOTE.len(), b'"'),
        _ if rest.starts_with(E::BACKSLASH) => (E::BACKSLASH.len(), b'\\'),
        _ => return None,
    };
    Some((len + behind, meant.into()))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    use crate::{Converter, Counts, Settings};

    thread_local! {
        /// The lines that this thread has written on this road.
        pub static WRITTEN: Cell<usize> = const { Cell::new(0) };
    }

    /// What may stand for a value. Each of the texts has something that one of the roads might treat in its own way.
    fn value() -> impl Strategy<Value = String> {
        const PIECES: [&str; 24] = [
            "a",
            "word ",
            "ü",
            "日本",
            "😀",
            ",",
            "=",
            "0.5",
            "12",
            "-",
            r#"\""#,
            r"\\",
            r"\/",
            r"\n",
            r"\t\b\f\r",
            r"\u00e9",
            r"\u0031",
            r"\u0022",
            r"\u005C",
            r"\u0000",
            r"\ud83d\ude00",
            r"\ud83d",
            r"\ude00",
            r"\x",
        ];
        const WORDS: [&str; 24] = [
            "1",
            "-0",
            "0.1",
            "1.50",
            "1e5",
            "1E-7",
            "01",
            "1.",
            "-",
            "1e400",
            "12345678901234567890",
            "0.000001",
            "true",
            "false",
            "null",
            "nul",
            "NaN",
            "-Infinity",
            "{}",
            "[1,2]",
            r#"{"b":1}"#,
            "",
            "\"",
            "\"\u{1}\"",
        ];
        const STRINGS: [&str; 9] =
            ["", "12", "-1.0", "1e999", "true", "0", "NaN", "2021-02-20T00:21:54.867231", "1613780514867"];
        let string = |text: String| format!("\"{text}\"");
        prop_oneof![
            8 => any::<f64>().prop_map(|x| x.to_string()),
            6 => any::<i32>().prop_map(|x| x.to_string()),
            1 => select(&WORDS[..]).prop_map(str::to_owned),
            2 => select(&STRINGS[..]).prop_map(move |text| string(text.to_owned())),
            8 => "[a-z0-9 ._-]{0,40}".prop_map(string),
            3 => vec(select(&PIECES[..]), 0..12).prop_map(move |pieces| string(pieces.concat())),
        ]
    }

    fn key() -> impl Strategy<Value = String> {
        const COMMON: [&str; 12] = [
            "algorithm_owner",
            "algorithm_version",
            "session_id",
            "request_id",
            "time",
            "risk_score",
            "approved",
            "count",
            "label",
            "text",
            "unwanted",
            "x",
        ];
        const ODD: [&str; 8] = ["timestamp", "topic", "_hidden", "a b", r"k\u0065y", "é", "", "n,m"];
        prop_oneof![
            20 => select(&COMMON[..]).prop_map(str::to_owned),
            20 => "[a-z]{1,30}",
            1 => select(&ODD[..]).prop_map(str::to_owned),
        ]
    }

    fn message() -> impl Strategy<Value = String> {
        let name = prop_oneof![9 => Just("\"a\"".to_owned()), 1 => value()];
        let members = vec((key(), value()), 0..7);
        let blanks = prop_oneof![4 => Just(["", ""]), 4 => Just([" ", " "]), 1 => Just(["\n ", "\t"])];
        (name, members, blanks, any::<prop::sample::Index>(), 0..20).prop_map(
            |(name, mut members, [behind_comma, behind_colon], place, damage)| {
                members.insert(place.index(members.len() + 1), ("algorithm_name".to_owned(), name));
                let members = members.iter().map(|(key, value)| format!("\"{key}\":{behind_colon}{value}"));
                let members: Vec<_> = members.collect();
                let mut text = format!("{{{}}}", members.join(&format!(",{behind_comma}")));
                if damage == 0 {
                    text.truncate(text.floor_char_boundary(place.index(text.len())));
                }
                text
            },
        )
    }

    fn settings() -> impl Strategy<Value = Settings> {
        const RULES: [&str; 6] =
            ["approved=boolean", "count=integer", "label=tag", "text=string", "unwanted=drop", "risk_*=float"];
        (vec(select(&RULES[..]), 0..5), any::<bool>(), select(&[1000, 4][..])).prop_map(
            |(rules, exact_time, fields)| {
                let mut settings = Settings { exact_time, clock: || 1_700_000_000_000_000_000, ..Settings::default() };
                rules.iter().for_each(|rule| settings.kinds.add(rule).expect("a rule"));
                settings.limits.fields = fields;
                settings
            },
        )
    }

    fn metric(message: &str, tags: &str) -> String {
        format!("kafka_consumer{tags} value={} 1613780514867231999\n", fixtures::telegraf::quoted(message))
    }

    /// What each input gives, what became of all, and how many lines were written on this road.
    fn convert(settings: &Settings, inputs: &[String]) -> (Vec<String>, Counts, usize) {
        let mut converter = Converter::new(settings.clone()).expect("good settings");
        let mut counts = Counts::default();
        let before = WRITTEN.get();
        let outputs = inputs.iter().map(|input| {
            let mut out = Vec::new();
            converter.push(input.as_bytes(), &mut out, &mut counts);
            String::from_utf8(out).expect("UTF-8")
        });
        (outputs.collect(), counts, WRITTEN.get() - before)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// White space before a message changes nothing but the road.
        #[test]
        fn both_roads_come_to_the_same(
            settings in settings(),
            messages in vec((message(), select(&["", ",topic=t", r",host=a\ b,topic=x\,y", ",algorithm_owner=o"][..])), 1..30),
        ) {
            let metrics = |blank: &str| -> Vec<String> {
                messages.iter().map(|(message, tags)| metric(&format!("{blank}{message}"), tags)).collect()
            };
            let (straight, counts, _) = convert(&settings, &metrics(""));
            let (around, expected, flat) = convert(&settings, &metrics("\t"));
            prop_assert_eq!(flat, 0);
            prop_assert_eq!(straight, around);
            prop_assert_eq!(counts, expected);

            let lines = |blank: &str| -> Vec<String> {
                // A message that is cut off may take the next one for its rest, and the blank with it.
                let messages = messages.iter().filter(|(message, _)| message.ends_with('}'));
                messages.map(|(message, _)| format!("{blank}{message}\n")).collect()
            };
            let (straight, counts, _) = convert(&settings, &lines(""));
            let (around, expected, flat) = convert(&settings, &lines("\t"));
            prop_assert_eq!(flat, 0);
            prop_assert_eq!(straight.concat(), around.concat());
            prop_assert_eq!(counts, expected);
        }
    }

    #[test]
    fn both_roads_are_taken() {
        let mut runner = TestRunner::deterministic();
        let messages: Vec<String> =
            (0..1000).map(|_| message().new_tree(&mut runner).expect("a message").current()).collect();
        let metrics: Vec<String> = messages.iter().map(|message| metric(message, ",topic=t")).collect();
        let lines: Vec<String> = messages.iter().map(|message| format!("{message}\n")).collect();
        for inputs in [metrics, lines] {
            let (_, counts, flat) = convert(&Settings::default(), &inputs);
            assert!((200..600).contains(&flat), "{flat} of {counts:?}");
        }
    }
}
