//! A second, slow implementation of the conversion, to judge the product by.
//!
//! It is written from the contract alone, sentence by sentence, and shares no code with the product. Where speed and
//! clarity disagree, clarity wins: keys live in vectors, numbers stay text, every value is read several times.

pub mod case;
pub mod fuzzed;
pub mod generate;
pub mod lines;
pub mod product;
pub mod streams;

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use jiff::{SignedDuration, Timestamp, civil, tz};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use xxhash_rust::xxh3::xxh3_64;

use lines::{clean, write_series};

/// What the tests' clock says.
pub const NOW: i64 = 1_600_000_000_123_456_789;

/// The times that InfluxDB stores.
pub const STORABLE: std::ops::RangeInclusive<i64> = i64::MIN + 2..=i64::MAX - 1;

/// InfluxDB's limit on a series and one of its fields, as they are written in line protocol.
pub const SERIES_BYTES: usize = 65_535;

/// What the lines of one message may take: so many times what it took when it arrived, and so many bytes.
const LINES_TIMES: usize = 16;
const LINES_BYTES: usize = 32_768;

const STRING_BYTES: usize = 64 * 1024;
const PAYLOAD_BYTES: usize = 60 * 1024;

/// The choices of a run, the same for the product and the reference.
#[derive(Clone, Debug)]
pub struct Options {
    pub sources: Vec<String>,
    pub field: String,
    pub measurement: String,
    pub input: Format,
    /// `KEY=kind`, as on the command line.
    pub kinds: Vec<String>,
    pub exact_time: bool,
    pub message: usize,
    pub fields: usize,
    pub nesting: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Format {
    Auto,
    Influx,
    Json,
    JsonLines,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            sources: vec!["kafka_consumer".into()],
            field: "value".into(),
            measurement: "algorithmia".into(),
            input: Format::Auto,
            kinds: vec![],
            exact_time: false,
            message: 1024 * 1024,
            fields: 1000,
            nesting: 64,
        }
    }
}

/// What came with the message.
#[derive(Clone, Debug, Default)]
pub struct Metric {
    pub tags: Vec<(String, String)>,
    /// The fields beside the one that holds the message.
    pub fields: Vec<(String, Value)>,
    pub time: Option<i64>,
    /// What its line took, without the line break. None where the message came without one.
    pub bytes: Option<usize>,
}

/// One line of line protocol, decoded. A rejection has the error text left out: it is meant for people.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub measurement: String,
    pub tags: BTreeMap<String, String>,
    /// In the order in which they are written.
    pub fields: Vec<(String, Value)>,
    pub time: i64,
}

#[derive(Clone, Debug)]
pub enum Value {
    Float(f64),
    Integer(i64),
    Unsigned(u64),
    Boolean(bool),
    String(String),
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            // By their bits, so that -0 differs from 0.
            (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
            (Value::Integer(a), Value::Integer(b)) => a == b,
            (Value::Unsigned(a), Value::Unsigned(b)) => a == b,
            (Value::Boolean(a), Value::Boolean(b)) => a == b,
            (Value::String(a), Value::String(b)) => a == b,
            _ => false,
        }
    }
}

/// Converts one message on its own.
pub fn convert_message(text: &[u8], metric: &Metric, options: &Options) -> Vec<Line> {
    Reference::new(options).convert_message(text, metric)
}

/// Converts messages one after the other. What it remembers is the clock's last time and the rejections' times.
pub struct Reference {
    options: Options,
    last_now: i64,
    rejected: HashMap<i64, Vec<u8>>,
}

type Reason = &'static str;

/// The reason for which a payload is `too_large` that ends its message.
const NO_ROOM: Reason = "no room";

impl Reference {
    pub fn new(options: &Options) -> Self {
        Reference { options: options.clone(), last_now: NOW - 1, rejected: HashMap::new() }
    }

    pub fn convert_message(&mut self, message: &[u8], metric: &Metric) -> Vec<Line> {
        if message.len() > self.options.message {
            return vec![self.reject("too_large", message, metric)];
        }
        let Ok(text) = std::str::from_utf8(message) else {
            return vec![self.reject("invalid_json", message, metric)];
        };
        // JSON's white space, and the NULs that Telegraf trims.
        let text = text.trim_matches([' ', '\t', '\r', '\n', '\0']);
        let most = LINES_TIMES * metric.bytes.unwrap_or(text.len()) + LINES_BYTES;
        if !text.starts_with('[') {
            return vec![self.convert_payload(text, metric, 0, most).0];
        }
        match elements(text) {
            None => vec![self.reject("invalid_json", text.as_bytes(), metric)],
            Some(elements) if elements.is_empty() => {
                vec![self.reject("not_an_object", text.as_bytes(), metric)]
            }
            Some(elements) => {
                let (mut lines, mut bytes) = (vec![], 0);
                for (index, element) in elements.iter().enumerate() {
                    // "A payload for which there is no room is rejected; all that is behind it is one rejection."
                    if bytes >= most {
                        let start = element.as_ptr() as usize - text.as_ptr() as usize;
                        lines.push(self.reject("too_large", &text.as_bytes()[start..], metric));
                        break;
                    }
                    let (line, had_room) = self.convert_payload(element, metric, index, most - bytes);
                    bytes =
                        if had_room { bytes + lines::length(&line) + format!(" {}\n", line.time).len() } else { most };
                    lines.push(line);
                }
                lines
            }
        }
    }

    /// The payload's line, and whether one of at most `most` bytes was enough for it. How long a rejection is cannot be known
    /// here, for its error may be any text.
    fn convert_payload(&mut self, text: &str, metric: &Metric, index: usize, most: usize) -> (Line, bool) {
        match self.point(text, metric, index, most) {
            Ok(line) => (line, true),
            Err(NO_ROOM) => (self.reject("too_large", text.as_bytes(), metric), false),
            Err(reason) => (self.reject(reason, text.as_bytes(), metric), true),
        }
    }

    fn point(&mut self, text: &str, metric: &Metric, index: usize, most: usize) -> Result<Line, Reason> {
        let Json::Object(payload) = Json::read(text, self.options.nesting)? else {
            return Err("not_an_object");
        };

        // "Nested objects flatten with `_`; array items get their index. A repeated key: the last one wins."
        let mut leaves: Vec<(String, Json)> = vec![];
        let mut keys = 0;
        for (key, value) in &payload {
            if key != "time" && key != "timestamp" {
                keys += self.flatten(key, value, &mut leaves);
            }
        }
        if keys > most {
            return Err(NO_ROOM);
        }

        let mut tags = incoming_tags(metric);
        let mut fields: Vec<(String, Value)> = vec![];
        let mut count = 0;
        for (key, value) in &leaves {
            if let (Kind::Tag, Some(text)) = (self.kind(key), value.scalar_text()) {
                let text = clean(&text);
                if !text.is_empty() {
                    tags.insert(key.clone(), text);
                    count += 1;
                }
            }
        }
        for (key, value) in &leaves {
            if let Some(value) = self.field(self.kind(key), value) {
                // "A field whose key is also one of the point's tag keys gets the suffix `_field`."
                put_last(&mut fields, beside_tags(key, &tags), value);
            }
        }
        count += fields.len();
        if count > self.options.fields {
            return Err("too_large");
        }
        if !tags.contains_key("algorithm_name") {
            return Err("missing_algorithm_name");
        }

        // "Other fields beside it are kept, the payload's win."
        let payloads = fields.len();
        for (key, value) in &metric.fields {
            if let Some(key) = stored_key(key, "time_field") {
                let key = beside_tags(&key, &tags);
                if !fields[..payloads].iter().any(|(known, _)| *known == key) {
                    put_last(&mut fields, key, value.clone());
                }
            }
        }
        if fields.is_empty() {
            return Err("no_fields");
        }
        for (_, value) in &mut fields {
            if let Value::String(text) = value {
                *text = cut(text, STRING_BYTES);
            }
        }
        let series = write_series(&self.options.measurement, &tags).len();
        if fields.iter().any(|(key, _)| series + 4 + lines::escape(key).len() > SERIES_BYTES) {
            return Err("too_large");
        }
        let mut line = Line { measurement: self.options.measurement.clone(), tags, fields, time: 0 };
        if lines::length(&line) > most {
            return Err(NO_ROOM);
        }

        line.time = match self.payload_time(&payload, text) {
            Some(time) => time,
            None => match metric.time {
                Some(time) => time + index as i64,
                None => self.now(),
            },
        };
        Ok(line)
    }

    /// Adds what there is in a value; the bytes of its key and of those of all values in it.
    fn flatten(&self, path: &str, value: &Json, leaves: &mut Vec<(String, Json)>) -> usize {
        let stored = stored_key(path, "time_field");
        let nested: Vec<(String, &Json)> = match value {
            Json::Object(members) => members.iter().map(|(key, value)| (key.clone(), value)).collect(),
            Json::Array(items) => items.iter().enumerate().map(|(i, item)| (i.to_string(), item)).collect(),
            scalar => {
                if let Some(key) = stored {
                    put_last(leaves, key, scalar.clone());
                }
                return path.len();
            }
        };
        if stored.is_some_and(|key| self.kind(&key) == Kind::Drop) {
            return path.len();
        }
        let nested = nested.iter().map(|(key, value)| self.flatten(&format!("{path}_{key}"), value, leaves));
        path.len() + nested.sum::<usize>()
    }

    fn kind(&self, key: &str) -> Kind {
        for rule in self.options.kinds.iter().rev() {
            let (pattern, kind) = rule.rsplit_once('=').expect("KEY=kind");
            let matches = match pattern.strip_suffix('*') {
                Some(prefix) => key.starts_with(prefix),
                None => key == pattern,
            };
            if matches {
                return match kind {
                    "float" => Kind::Float,
                    "integer" => Kind::Integer,
                    "boolean" => Kind::Boolean,
                    "string" => Kind::String,
                    "tag" => Kind::Tag,
                    "drop" => Kind::Drop,
                    _ => panic!("no such kind: {kind}"),
                };
            }
        }
        match key {
            "algorithm_name" | "algorithm_owner" | "algorithm_version" => Kind::Tag,
            "session_id" | "request_id" => Kind::String,
            _ => Kind::ByValue,
        }
    }

    /// The field that a value becomes, if any.
    fn field(&self, kind: Kind, value: &Json) -> Option<Value> {
        let finite = |text: &str| Some(text.parse::<f64>().unwrap()).filter(|x| x.is_finite()).map(Value::Float);
        match (kind, value) {
            (Kind::Tag | Kind::Drop, _) => None,
            (_, Json::Null | Json::Bare | Json::Array(_) | Json::Object(_)) => None,

            (Kind::ByValue | Kind::Float, Json::Number(text)) => finite(text),
            (Kind::ByValue | Kind::Float, Json::Text(text)) if is_number(text) => finite(text),
            (Kind::ByValue | Kind::Float, Json::Boolean(x)) => Some(Value::Float(f64::from(u8::from(*x)))),
            (Kind::ByValue, Json::Text(text)) => Some(Value::String(text.clone())),
            (Kind::Float, Json::Text(_)) => None,

            (Kind::Integer, Json::Number(text)) => integer(text).map(Value::Integer),
            (Kind::Integer, Json::Text(text)) if is_number(text) => integer(text).map(Value::Integer),
            (Kind::Integer, Json::Text(_)) => None,
            (Kind::Integer, Json::Boolean(x)) => Some(Value::Integer(i64::from(*x))),

            (Kind::Boolean, Json::Boolean(x)) => Some(Value::Boolean(*x)),
            (Kind::Boolean, Json::Number(text)) => match integer(text) {
                Some(0) => Some(Value::Boolean(false)),
                Some(1) => Some(Value::Boolean(true)),
                _ => None,
            },
            (Kind::Boolean, Json::Text(text)) => match text.to_ascii_lowercase().as_str() {
                "false" | "0" => Some(Value::Boolean(false)),
                "true" | "1" => Some(Value::Boolean(true)),
                _ => None,
            },

            (Kind::String, scalar) => scalar.scalar_text().map(Value::String),
        }
    }

    /// "`time`, else `timestamp`", with the digits that it does not have filled in.
    fn payload_time(&self, payload: &[(String, Json)], text: &str) -> Option<i64> {
        let read = |key: &str| -> Option<(i128, u32)> {
            let (_, value) = payload.iter().rev().find(|(k, _)| k == key)?;
            let (time, known) = match value {
                Json::Number(text) => epoch(text)?,
                Json::Text(text) if is_number(text) => epoch(text)?,
                Json::Text(text) => iso(text)?,
                _ => return None,
            };
            STORABLE.contains(&i64::try_from(time).ok()?).then_some((time, known))
        };
        let (time, known) = read("time").or_else(|| read("timestamp"))?;
        let missing = if self.options.exact_time { 0 } else { 9_u32.saturating_sub(known).min(6) };

        let request_id = payload
            .iter()
            .rev()
            .find(|(key, _)| key == "request_id")
            .and_then(|(_, value)| value.scalar_text())
            .filter(|id| !id.is_empty());
        let hash = xxh3_64(request_id.as_deref().unwrap_or(text).as_bytes());
        i64::try_from(fill(time, missing, hash)).ok()
    }

    /// "`algorithmia_rejected,reason=<code>[,incoming tags] error="...",payload="..." <time>`"
    fn reject(&mut self, reason: Reason, payload: &[u8], metric: &Metric) -> Line {
        let measurement = format!("{}_rejected", self.options.measurement);
        let mut tags = incoming_tags(metric);
        tags.insert("reason".into(), reason.into());
        // A series that InfluxDB refuses would drop the rejection silently.
        if write_series(&measurement, &tags).len() + 4 + "payload".len() > SERIES_BYTES {
            tags.retain(|key, _| key == "reason");
        }

        let text = String::from_utf8_lossy(payload);
        let mut time = metric.time.unwrap_or_else(|| self.now());
        let missing = (1..=6).rev().find(|&n| time % 10_i64.pow(n) == 0).unwrap_or(0);
        time = i64::try_from(fill(i128::from(time), missing, xxh3_64(text.as_bytes()))).expect("storable");
        // "Two different rejected messages never overwrite each other."
        while self.rejected.get(&time).is_some_and(|other| other != payload) {
            time += 1;
        }
        self.rejected.insert(time, payload.to_vec());

        let fields = vec![("payload".into(), Value::String(cut(&text, PAYLOAD_BYTES)))];
        Line { measurement, tags, fields, time }
    }

    fn now(&mut self) -> i64 {
        self.last_now = NOW.max(self.last_now + 1);
        self.last_now
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    ByValue,
    Float,
    Integer,
    Boolean,
    String,
    Tag,
    Drop,
}

// ---------------------------------------------------------------------------------------------------------- keys, tags

/// A key as InfluxDB can store it: "A key that InfluxDB reserves loses its underscores"; none if nothing is left.
fn stored_key(key: &str, instead_of_time: &str) -> Option<String> {
    let key = clean(key);
    match key.trim_start_matches('_') {
        "" => None,
        "time" => Some(instead_of_time.into()),
        key => Some(key.into()),
    }
}

fn incoming_tags(metric: &Metric) -> BTreeMap<String, String> {
    let mut tags = BTreeMap::new();
    for (key, value) in &metric.tags {
        let value = clean(value);
        if let Some(key) = stored_key(key, "time_tag").filter(|_| !value.is_empty()) {
            tags.insert(key, value);
        }
    }
    tags
}

fn beside_tags(key: &str, tags: &BTreeMap<String, String>) -> String {
    if tags.contains_key(key) { format!("{key}_field") } else { key.into() }
}

/// Of two entries with one key the last stays, in its own place.
fn put_last<T>(entries: &mut Vec<(String, T)>, key: String, value: T) {
    entries.retain(|(known, _)| *known != key);
    entries.push((key, value));
}

fn cut(text: &str, bytes: usize) -> String {
    let end = (0..=bytes.min(text.len())).rev().find(|&end| text.is_char_boundary(end));
    text[..end.unwrap_or(0)].into()
}

// ---------------------------------------------------------------------------------------------------------------- JSON

/// A JSON value that keeps its keys' order and repetitions, and its numbers' text.
#[derive(Clone, Debug)]
enum Json {
    Null,
    Boolean(bool),
    Number(String),
    Text(String),
    /// `NaN`, `Infinity` or `-Infinity`.
    Bare,
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    fn read(text: &str, nesting: usize) -> Result<Json, Reason> {
        let text = prepare(text);
        // Grammar first, of the whole text: reading as RawValue checks it without recursion.
        let raw: &RawValue = serde_json::from_str(&text).map_err(|_| "invalid_json")?;
        Json::tree(raw.get(), nesting)
    }

    fn tree(raw: &str, nesting: usize) -> Result<Json, Reason> {
        if raw.starts_with(['{', '[']) && nesting == 0 {
            return Err("too_large");
        }
        Ok(match raw.as_bytes()[0] {
            b'n' => Json::Null,
            b't' => Json::Boolean(true),
            b'f' => Json::Boolean(false),
            b'"' => {
                let text: String = serde_json::from_str(raw).map_err(|_| "invalid_json")?;
                if text.starts_with(BARE) { Json::Bare } else { Json::Text(text) }
            }
            b'[' => {
                let items: Vec<&RawValue> = serde_json::from_str(raw).map_err(|_| "invalid_json")?;
                Json::Array(items.iter().map(|item| Json::tree(item.get(), nesting - 1)).collect::<Result<_, _>>()?)
            }
            b'{' => {
                let Members(members) = serde_json::from_str(raw).map_err(|_| "invalid_json")?;
                // A key is a string: the tokens are values only.
                if members.iter().any(|(key, _)| key.starts_with(BARE)) {
                    return Err("invalid_json");
                }
                let member = |(key, value): (String, &RawValue)| Ok((key, Json::tree(value.get(), nesting - 1)?));
                Json::Object(members.into_iter().map(member).collect::<Result<_, Reason>>()?)
            }
            _ => Json::Number(raw.into()),
        })
    }

    /// "Scalars become text": numbers as they were written.
    fn scalar_text(&self) -> Option<String> {
        match self {
            Json::Boolean(value) => Some(value.to_string()),
            Json::Number(text) | Json::Text(text) => Some(text.clone()),
            Json::Null | Json::Bare | Json::Array(_) | Json::Object(_) => None,
        }
    }
}

/// Marks the string that stands in a bare token's place; no payload of the tests holds it.
const BARE: &str = "\0bare token\0";

/// Turns what Python writes and RFC 8259 lacks into what serde_json reads: the bare tokens NaN, Infinity and -Infinity
/// into a marked string, and half a surrogate pair into U+FFFD.
fn prepare(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    let mut in_string = false;
    while let Some(first) = rest.chars().next() {
        let mut taken = first.len_utf8();
        if in_string && first == '\\' {
            taken = match (code_unit(rest), rest.get(6..).and_then(code_unit)) {
                (Some(0xD800..0xDC00), Some(0xDC00..0xE000)) => 12,
                (Some(0xD800..0xE000), _) => {
                    out.push_str("\\ufffd");
                    rest = &rest[6..];
                    continue;
                }
                (Some(_), _) => 6,
                (None, _) => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            };
        } else if first == '"' {
            in_string = !in_string;
        } else if !in_string
            && let Some(token) = ["-Infinity", "Infinity", "NaN"].iter().find(|token| rest.starts_with(**token))
        {
            out.push_str(r#""\u0000bare token\u0000""#);
            rest = &rest[token.len()..];
            continue;
        }
        out.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    out
}

/// The number in `\uXXXX`, if the text begins so.
fn code_unit(text: &str) -> Option<u32> {
    let hex = text.strip_prefix("\\u")?.get(..4)?;
    hex.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u32::from_str_radix(hex, 16).unwrap())
}

/// The texts of an array's elements, right or broken, or none if the text is not one array from end to end.
fn elements(array: &str) -> Option<Vec<&str>> {
    let mut elements = vec![];
    let (mut depth, mut in_string, mut escaped, mut start) = (0, false, false, 1);
    for (at, byte) in array.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => depth += 1,
            b',' if depth == 1 => {
                elements.push(&array[start..at]);
                start = at + 1;
            }
            b']' | b'}' => {
                depth -= 1;
                if depth == 0 {
                    if at + 1 != array.len() || byte != b']' {
                        return None;
                    }
                    elements.push(&array[start..at]);
                }
            }
            _ => {}
        }
    }
    let elements: Vec<&str> = elements.iter().map(|e| e.trim_matches([' ', '\t', '\r', '\n'])).collect();
    match elements[..] {
        [] => None,
        [""] => Some(vec![]),
        _ => Some(elements),
    }
}

struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = vec![];
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

// ------------------------------------------------------------------------------------------------------------- numbers

/// "Strings that are entirely a JSON number."
fn is_number(text: &str) -> bool {
    text.starts_with(|c: char| c == '-' || c.is_ascii_digit())
        && text.ends_with(|c: char| c.is_ascii_digit())
        && serde_json::from_str::<&RawValue>(text).is_ok()
}

/// A decimal number, exactly: `digits` times ten to the power of `-places`.
struct Decimal {
    negative: bool,
    digits: String,
    places: i128,
}

impl Decimal {
    fn read(number: &str) -> Option<Decimal> {
        let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let exponent: i128 = exponent.parse().ok()?;
        Some(Decimal {
            negative: number.starts_with('-'),
            digits: format!("{}{fraction}", whole.trim_start_matches('-')),
            places: fraction.len() as i128 - exponent,
        })
    }

    /// The number times ten to the power of `shift`; what is behind the point is cut off.
    fn shifted(&self, shift: i128) -> Option<i128> {
        let zeros = shift - self.places;
        let magnitude: i128 = if self.digits.trim_start_matches('0').is_empty() {
            0
        } else if zeros >= 0 {
            if zeros > 40 {
                return None;
            }
            format!("{}{}", self.digits, "0".repeat(zeros as usize)).parse().ok()?
        } else {
            let kept = (self.digits.len() as i128 + zeros).max(0) as usize;
            format!("0{}", &self.digits[..kept]).parse().ok()?
        };
        Some(if self.negative { -magnitude } else { magnitude })
    }

    fn is_whole(&self) -> bool {
        let zeros = self.digits.len() - self.digits.trim_end_matches('0').len();
        zeros == self.digits.len() || zeros as i128 >= self.places
    }
}

/// "Integer: a number whose value is whole and fits i64 (exact, not through f64)."
fn integer(number: &str) -> Option<i64> {
    let number = Decimal::read(number)?;
    if !number.is_whole() {
        return None;
    }
    i64::try_from(number.shifted(0)?).ok()
}

/// The shortest text that reads back the same: plain where the decimal point is near the digits, else with an exponent.
pub fn float_text(value: f64) -> String {
    // `{:e}` gives the shortest digits, as `d.ddde-7`.
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap();
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |m| ("-", m));
    let digits = mantissa.replace('.', "");
    // The value is 0.digits times ten to the power of `point`.
    let point = exponent.parse::<i32>().unwrap() + 1;
    let len = digits.len() as i32;
    if value == 0.0 {
        format!("{sign}0")
    } else if -5 < point && point <= 0 {
        format!("{sign}0.{}{digits}", "0".repeat(-point as usize))
    } else if 0 < point && point <= 16 && len <= point {
        format!("{sign}{digits}{}", "0".repeat((point - len) as usize))
    } else if 0 < point && point <= 16 {
        format!("{sign}{}.{}", &digits[..point as usize], &digits[point as usize..])
    } else {
        format!("{sign}{mantissa}e{exponent}")
    }
}

// ---------------------------------------------------------------------------------------------------------------- time

/// Replaces the last `missing` digits by the hash's.
fn fill(time: i128, missing: u32, hash: u64) -> i128 {
    let unit = 10_i128.pow(missing);
    time - time.rem_euclid(unit) + i128::from(hash) % unit
}

/// "Epoch seconds, milliseconds, microseconds, nanoseconds, by magnitude": the nanoseconds, and how many digits of the
/// second are known.
fn epoch(number: &str) -> Option<(i128, u32)> {
    let decimal = Decimal::read(number)?;
    let unit = match decimal.shifted(0)?.abs() {
        0..100_000_000_000 => 0,
        100_000_000_000..100_000_000_000_000 => 3,
        100_000_000_000_000..100_000_000_000_000_000 => 6,
        _ => 9,
    };
    let known = (i128::from(unit) + decimal.places.max(0)).min(9) as u32;
    Some((decimal.shifted(9 - i128::from(unit))?, known))
}

/// "ISO 8601 / RFC 3339 with `T` or space, any fraction, `Z`, an offset or nothing (UTC)."
fn iso(text: &str) -> Option<(i128, u32)> {
    let mut rest = text;
    let year = take_number(&mut rest, 4)?;
    let rest_ok = take_one(&mut rest, "-");
    let month = take_number(&mut rest, 2)?;
    let rest_ok = rest_ok && take_one(&mut rest, "-");
    let day = take_number(&mut rest, 2)?;
    let rest_ok = rest_ok && take_one(&mut rest, "Tt ");
    let hour = take_number(&mut rest, 2)?;
    let rest_ok = rest_ok && take_one(&mut rest, ":");
    let minute = take_number(&mut rest, 2)?;
    let second = if take_one(&mut rest, ":") { take_number(&mut rest, 2)? } else { 0 };

    let mut fraction = String::new();
    if take_one(&mut rest, ".,") {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        if digits == 0 {
            return None;
        }
        fraction = rest[..digits].chars().take(9).collect();
        rest = &rest[digits..];
    }

    rest = rest.trim_start_matches(' ');
    let mut offset = 0;
    if !take_one(&mut rest, "Zz") && !rest.is_empty() {
        let sign = if rest.starts_with('-') { -1 } else { 1 };
        if !take_one(&mut rest, "+-") {
            return None;
        }
        let hours = take_number(&mut rest, 2)?;
        take_one(&mut rest, ":");
        let minutes = if rest.is_empty() { 0 } else { take_number(&mut rest, 2)? };
        offset = sign * (hours * 3600 + minutes * 60);
        if hours > 23 || minutes > 59 {
            return None;
        }
    }
    if !rest_ok || !rest.is_empty() {
        return None;
    }

    // A leap second is read as the first of the next minute.
    let (second, leap) = if second == 60 { (59, 1) } else { (second, 0) };
    let small = |n: i64| i8::try_from(n).ok();
    let civil = civil::DateTime::new(
        i16::try_from(year).ok()?,
        small(month)?,
        small(day)?,
        small(hour)?,
        small(minute)?,
        small(second)?,
        0,
    )
    .ok()?;
    let utc: Timestamp = tz::TimeZone::UTC.to_timestamp(civil).ok()?;
    let utc = utc.checked_add(SignedDuration::from_secs(leap - offset)).ok()?;
    let known = fraction.len() as u32;
    let nanoseconds: i128 = format!("{fraction:0<9}").parse().unwrap();
    Some((i128::from(utc.as_second()) * 1_000_000_000 + nanoseconds, known))
}

fn take_number(rest: &mut &str, digits: usize) -> Option<i64> {
    let number = rest.get(..digits).filter(|text| text.bytes().all(|b| b.is_ascii_digit()))?;
    *rest = &rest[digits..];
    number.parse().ok()
}

fn take_one(rest: &mut &str, any_of: &str) -> bool {
    let taken = rest.starts_with(|c: char| any_of.contains(c));
    if taken {
        *rest = &rest[1..];
    }
    taken
}
