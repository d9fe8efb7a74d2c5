//! The road that nearly all messages take: one flat object, in which no string holds an escape, no key comes twice, and
//! nothing has to be left out or told.
//!
//! Everything else is for [`payload`](crate::payload), which also says what becomes of each key; what is done here gives the
//! same point in less time. Two things make it quick. The text is read as it stands in Telegraf's line, where `\"` is a
//! quote and any other backslash would be an escape of JSON's. And payloads of one algorithm have the same keys in the same
//! order: what a key becomes is found out once, and then it is only compared with the key that came there last time.

use std::collections::HashMap;
use std::ops::Range;

use xxhash_rust::xxh3::xxh3_64;

use crate::json::{Number, Scalar, Str, number_prefix};
use crate::kinds::{Kind, Kinds};
use crate::line_protocol::{escape_key, is_plain_key, string_len, write_float};
use crate::payload::{MAX_STRING, write_value};
use crate::point::{MAX_SERIES_KEY, Point};
use crate::settings::Settings;
use crate::timestamp::Timestamp;

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
    /// The first is none: behind it comes the first key of a payload.
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
    /// `,key=`
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
    Number { shortest: bool },
    String,
}

/// How a quote is written in the text.
pub(crate) trait Quote {
    const TEXT: &'static [u8];
}

/// In a string of Telegraf's line.
pub(crate) struct Escaped;

impl Quote for Escaped {
    const TEXT: &'static [u8] = b"\\\"";
}

/// In JSON by itself.
pub(crate) struct Raw;

impl Quote for Raw {
    const TEXT: &'static [u8] = b"\"";
}

impl Default for Flat {
    fn default() -> Self {
        let none = Key { text: b",=".as_slice().into(), role: Role::Drop, is_request_id: false, seen: 0, next: 0 };
        Flat {
            keys: vec![none],
            by_text: HashMap::new(),
            payload: 0,
            head: Vec::new(),
            incoming: Vec::new(),
            incoming_text: Vec::new(),
            tags: Vec::new(),
            fields: Vec::new(),
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
    pub fn read<Q: Quote>(&mut self, text: &[u8], settings: &Settings) -> Option<usize> {
        self.payload += 1;
        self.tags.clear();
        self.fields.clear();
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
            match takes_key::<Q>(&text[at..], &self.keys[id].text) {
                Some(len) => at += len,
                None => {
                    let start = at + text[at..].starts_with(Q::TEXT).then_some(Q::TEXT.len())?;
                    let end = start + string_len(&text[start..]);
                    id = self.learn(&text[start..end], &settings.kinds)?;
                    self.keys[last].next = id;
                    at += takes_key::<Q>(&text[at..], &self.keys[id].text)?;
                }
            }
            last = id;
            let (value, end) = value::<Q>(text, skip_blank(text, at))?;
            let key = &mut self.keys[id];
            if key.seen == self.payload {
                return None;
            }
            key.seen = self.payload;
            if key.is_request_id {
                self.request_id = Some(value);
            }
            match key.role {
                _ if value.form == Form::Null => {}
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
    pub fn write<Q: Quote>(&mut self, text: &str, measurement: &[u8], out: &mut Vec<u8>) -> bool {
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
            if !value.write::<Q>(*kind, text, out) {
                out.truncate(start);
                return false;
            }
        }
        out[fields] = b' ';
        true
    }

    fn write_tags(&mut self, text: &[u8], out: &mut Vec<u8>) {
        let all = || self.incoming.iter().chain(&self.tags);
        if !all().map(|tag| tag.key).eq(self.tag_keys.iter().copied()) {
            self.tag_keys.clear();
            self.tag_keys.extend(self.incoming.iter().chain(&self.tags).map(|tag| tag.key));
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

    /// The time that the payload gives its point, if it gives one that can be read.
    pub fn time(&self, text: &str) -> Option<Option<Timestamp>> {
        let Some(value) = self.times[0].or(self.times[1]) else { return Some(None) };
        let time = match value.scalar(text) {
            Scalar::String(time) => Timestamp::from_text(time.raw),
            Scalar::Number(number) => Timestamp::from_number(number),
            _ => None,
        };
        Some(Some(time?))
    }

    /// What [`call_hash`](crate::convert) gives, where it takes the request's id.
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
        }
    }

    /// Appends what the value is as a field of this kind, if it can be one.
    fn write<Q: Quote>(&self, kind: Option<Kind>, text: &str, out: &mut Vec<u8>) -> bool {
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
fn takes_key<Q: Quote>(text: &[u8], written: &[u8]) -> Option<usize> {
    let key = written.get(1..written.len() - 1)?;
    let rest = text.strip_prefix(Q::TEXT)?.strip_prefix(key)?.strip_prefix(Q::TEXT)?.strip_prefix(b":")?;
    Some(text.len() - rest.len())
}

/// The value that starts at `at`, and where it ends.
fn value<Q: Quote>(text: &[u8], at: usize) -> Option<(Value, usize)> {
    let rest = text.get(at..)?;
    let word = |word: &[u8], form| rest.starts_with(word).then_some((word.len(), form));
    let (len, form) = match rest.first()? {
        b'-' | b'0'..=b'9' => number_prefix(rest).ok().map(|(len, shortest)| (len, Form::Number { shortest }))?,
        b't' => word(b"true", Form::True)?,
        b'f' => word(b"false", Form::False)?,
        b'n' => word(b"null", Form::Null)?,
        _ => {
            let string = rest.strip_prefix(Q::TEXT)?;
            let start = at + Q::TEXT.len();
            let len = string_len(string);
            string[len..].starts_with(Q::TEXT).then_some(())?;
            return Some((Value { start, end: start + len, form: Form::String }, start + len + Q::TEXT.len()));
        }
    };
    Some((Value { start: at, end: at + len, form }, at + len))
}
