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
    /// `FROM=TO`, as on the command line.
    pub renames: Vec<String>,
    /// `KEY=kind`, as on the command line.
    pub kinds: Vec<String>,
    pub exact_time: bool,
    pub message: usize,
    pub fields: usize,
    pub nesting: usize,
    pub items: usize,
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
            renames: vec![],
            kinds: vec![],
            exact_time: false,
            message: 1024 * 1024,
            fields: 1000,
            nesting: 64,
            items: 256,
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

impl Value {
    /// The field's type, of whole numbers one.
    pub fn field_type(&self) -> &'static str {
        match self {
            Value::Float(_) => "float",
            Value::Integer(_) | Value::Unsigned(_) => "integer",
            Value::Boolean(_) => "boolean",
            Value::String(_) => "string",
        }
    }
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
    rejected: HashMap<i64, (Vec<u8>, usize)>,
}

type Reason = &'static str;

/// A payload's place in an array, and that array's text, where it is in one.
type Item<'a> = Option<(usize, &'a str)>;

/// The reason for which a payload is `too_large` that ends its message.
const NO_ROOM: Reason = "no room";

impl Reference {
    pub fn new(options: &Options) -> Self {
        Reference { options: options.clone(), last_now: NOW - 1, rejected: HashMap::new() }
    }

    pub fn convert_message(&mut self, message: &[u8], metric: &Metric) -> Vec<Line> {
        let message = trim(message);
        if message.len() > self.options.message {
            return vec![self.reject("too_large", message, metric)];
        }
        let most = LINES_TIMES * metric.bytes.unwrap_or(message.len()) + LINES_BYTES;
        // "A byte order mark where a text begins is skipped."
        let message = trim(message.strip_prefix("\u{feff}".as_bytes()).unwrap_or(message));
        let held = held(message);
        let message = held.as_ref().map_or(message, |text| text.as_bytes());
        let text = std::str::from_utf8(message);

        if let Some(payloads) = text.ok().and_then(sequence) {
            return self.convert_payloads(&payloads, text.unwrap_or_default(), metric, most);
        }
        let elements = text.ok().filter(|text| text.starts_with('[')).map(elements);
        match elements {
            Some(Some(elements)) if elements.is_empty() => {
                return vec![self.reject("not_an_object", message, metric)];
            }
            Some(Some(elements)) => {
                return self.convert_payloads(&elements, text.unwrap_or_default(), metric, most);
            }
            Some(None) | None => {}
        }
        let whole = match text {
            Ok(text) if elements.is_none() => self.point(text, metric, None, most),
            _ => Err("invalid_json"),
        };
        let (mut payload, mut made) = (message, whole);
        if let (Err("invalid_json" | "not_an_object"), Some(object)) = (&made, object_behind(message)) {
            match self.point(object, metric, None, most) {
                Err("invalid_json") => {}
                Err(_) if message.starts_with(b"{") || message.starts_with(b"[") => {}
                other => (payload, made) = (object.as_bytes(), other),
            }
        }
        vec![match made {
            Ok(line) => line,
            Err(NO_ROOM) => self.reject("too_large", payload, metric),
            Err(reason) => self.reject(reason, payload, metric),
        }]
    }

    /// The lines of several payloads, which are parts of `text`.
    fn convert_payloads(&mut self, payloads: &[&str], text: &str, metric: &Metric, most: usize) -> Vec<Line> {
        let (mut lines, mut bytes) = (vec![], 0);
        for (index, payload) in payloads.iter().enumerate() {
            // "A payload for which there is no room is rejected; all that is behind it is one rejection."
            if bytes >= most {
                let start = payload.as_ptr() as usize - text.as_ptr() as usize;
                lines.push(self.reject_item("too_large", &text.as_bytes()[start..], metric, index));
                break;
            }
            let (line, had_room) = self.convert_payload(payload, metric, Some((index, text)), most - bytes);
            bytes = if had_room { bytes + lines::length(&line) + format!(" {}\n", line.time).len() } else { most };
            lines.push(line);
        }
        lines
    }

    /// The payload's line, and whether one of at most `most` bytes was enough for it. How long a rejection is cannot be known
    /// here, for its error may be any text.
    fn convert_payload(&mut self, text: &str, metric: &Metric, item: Item, most: usize) -> (Line, bool) {
        let index = item.map_or(0, |(index, _)| index);
        match self.point(text, metric, item, most) {
            Ok(line) => (line, true),
            Err(NO_ROOM) => (self.reject_item("too_large", text.as_bytes(), metric, index), false),
            Err(reason) => (self.reject_item(reason, text.as_bytes(), metric, index), true),
        }
    }

    fn point(&mut self, text: &str, metric: &Metric, item: Item, most: usize) -> Result<Line, Reason> {
        let payload = match Json::read(text, self.options.nesting)? {
            Json::Object(members, text) => Json::Object(members, text).pruned(self.options.items, true).json,
            _ => return Err("not_an_object"),
        };
        let Json::Object(payload, _) = payload else { unreachable!("the payload itself is not left out") };

        // "Nested objects flatten with `_`; array items get their index. A repeated key: the last one wins."
        let mut leaves: Vec<(String, Json)> = vec![];
        let mut times: Vec<(String, Json)> = vec![];
        let mut keys = 0;
        for (key, value) in &payload {
            keys += self.flatten(key, value, true, &mut leaves, &mut times);
        }
        if keys > most {
            return Err(NO_ROOM);
        }

        let mut tags = self.incoming_tags(metric);
        // "Fields that a metric brings along follow the same rule."
        let mut brought: Vec<(String, Json)> = vec![];
        for (key, value) in &metric.fields {
            if let Some(key) = stored_key(&self.renamed(key)) {
                put_last(&mut brought, key, Json::of(value));
            }
        }
        let mut fields: Vec<(String, Value)> = vec![];
        let mut count = 0;
        for (key, value) in &leaves {
            if let Some((key, text)) = self.tag(key, value) {
                tags.insert(key, text);
                count += 1;
            }
        }
        for (key, value) in &leaves {
            if let Some(value) = self.field(self.kind(key), value)
                && let Some(key) = self.field_key(key, &value, &tags)
            {
                put_last(&mut fields, key, value);
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
        for (key, value) in &brought {
            if let Some(value) = self.field(self.kind(key), value)
                && let Some(key) = self.field_key(key, &value, &tags)
                && !fields[..payloads].iter().any(|(known, _)| *known == key)
            {
                put_last(&mut fields, key, value);
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

        line.time = match self.payload_time(&times, &leaves, text) {
            Some(time) => time,
            None => match metric_time(metric).and_then(|time| self.filled_time(time, &leaves, text, item)) {
                Some(time) => time,
                None => self.now(),
            },
        };
        Ok(line)
    }

    /// "The metric's own timestamp counts as known to the digits that it has": it is filled from what a payload's would be, or for
    /// an array's payloads from the whole array, and then moved by each one's place.
    fn filled_time(&self, time: i64, leaves: &[(String, Json)], text: &str, item: Item) -> Option<i64> {
        let missing = if self.options.exact_time { 0 } else { zeros(time) };
        let (index, hash) = match item {
            Some((index, array)) => (index, xxh3_64(array.as_bytes())),
            None => (0, call_hash(leaves, text)),
        };
        let time = fill(i128::from(time), missing, hash).min(i128::from(*STORABLE.end())) + index as i128;
        i64::try_from(time).ok().filter(|time| STORABLE.contains(time))
    }

    /// Adds what there is in a value; the bytes of its key and of those of all values in it.
    fn flatten(
        &self,
        path: &str,
        value: &Json,
        is_own: bool,
        leaves: &mut Vec<(String, Json)>,
        times: &mut Vec<(String, Json)>,
    ) -> usize {
        // "Renames flattened keys before any other rule."
        let key = self.renamed(path);
        if (is_own || key != path) && (key == "time" || key == "timestamp") {
            times.push((key, value.clone()));
            return 0;
        }
        let stored = stored_key(&key);
        let kind = stored.as_ref().map(|key| self.kind(key));
        let nested: Vec<(String, &Json)> = match value {
            container @ (Json::Object(..) | Json::Array(..) | Json::Large(_)) if kind == Some(Kind::Json) => {
                if let Some(stored) = stored {
                    put_last(leaves, stored, Json::Text(container.text()));
                }
                return path.len();
            }
            Json::Large(_) => return path.len(),
            Json::Object(members, _) => members.iter().map(|(key, value)| (key.clone(), value)).collect(),
            Json::Array(items, _) => items.iter().enumerate().map(|(i, item)| (i.to_string(), item)).collect(),
            scalar => {
                if let Some(key) = stored {
                    put_last(leaves, key, scalar.clone());
                }
                return path.len();
            }
        };
        // `*` is any key, also one of which nothing is left.
        if self.kind(stored.as_deref().unwrap_or_default()) == Kind::Drop {
            return path.len();
        }
        let nested =
            nested.iter().map(|(key, value)| self.flatten(&format!("{path}_{key}"), value, false, leaves, times));
        path.len() + nested.sum::<usize>()
    }

    fn incoming_tags(&self, metric: &Metric) -> BTreeMap<String, String> {
        let mut tags = BTreeMap::new();
        for (key, value) in &metric.tags {
            let Some(key) = stored_key(&self.renamed(key)) else { continue };
            let value = tag_value(&key, value);
            if !value.is_empty() {
                tags.insert(if key == "time" { "time_tag".into() } else { key }, value);
            }
        }
        for (key, value) in &metric.fields {
            tags.extend(stored_key(&self.renamed(key)).and_then(|key| self.tag(&key, &Json::of(value))));
        }
        tags
    }

    /// "Tags: scalars become text." White space around what names an algorithm is removed.
    fn tag(&self, key: &str, value: &Json) -> Option<(String, String)> {
        if self.kind(key) != Kind::Tag {
            return None;
        }
        let text = tag_value(key, &value.scalar_text()?);
        let key = if key == "time" { "time_tag" } else { key };
        Some((key.into(), text)).filter(|(_, text)| !text.is_empty())
    }

    /// "The key has to tell the type": what the field of a key is called.
    fn field_key(&self, key: &str, value: &Value, tags: &BTreeMap<String, String>) -> Option<String> {
        let wanted = value.field_type();
        let mut name = String::from(if key == "time" { "time_field" } else { key });
        if self.kind(key) == Kind::ByValue {
            let suffix = if wanted == "string" { "_text" } else { "_number" };
            let mut stem = key;
            while let Some(rest) = stem.strip_suffix("_number").or(stem.strip_suffix("_field")) {
                stem = rest;
            }
            if wanted == "string" || stem.ends_with("_text") {
                name += suffix;
            }
            let is_named = |name: &str| self.options.kinds.iter().any(|rule| rule.starts_with(&format!("{name}=")));
            for _ in 0..4 {
                if self.type_of(&name) != wanted || name != key && name != "time_field" && is_named(&name) {
                    name += suffix;
                }
            }
        }
        // "A field whose key is also one of the point's tag keys gets the suffix `_field`."
        while tags.contains_key(&name) || (self.type_of(&name) != wanted && name.len() < key.len() + 100) {
            name += "_field";
        }
        Some(name).filter(|name| self.type_of(name) == wanted)
    }

    /// The one type that all fields of a name have.
    fn type_of(&self, name: &str) -> &'static str {
        match (self.kind(name), name.strip_suffix("_field")) {
            (Kind::Float, _) => "float",
            (Kind::Integer, _) => "integer",
            (Kind::Boolean, _) => "boolean",
            (Kind::String | Kind::Json, _) => "string",
            (Kind::ByValue | Kind::Tag | Kind::Drop, Some(rest)) if !rest.is_empty() => self.type_of(rest),
            _ if name.ends_with("_text") => "string",
            _ => "float",
        }
    }

    fn renamed(&self, key: &str) -> String {
        let mut key = String::from(key);
        for rule in &self.options.renames {
            let (from, to) = rule.split_once('=').expect("FROM=TO");
            if from == key {
                key = to.into();
            } else if let Some((before, behind)) = from.split_once('*')
                && key.len() >= before.len() + behind.len()
                && key.starts_with(before)
                && key.ends_with(behind)
            {
                key = to.replace('*', &key[before.len()..key.len() - behind.len()]);
            }
        }
        key
    }

    fn kind(&self, key: &str) -> Kind {
        // `time` is no key that a field has.
        if key == "time" && self.kind("time_field") != Kind::ByValue {
            return self.kind("time_field");
        }
        // No wildcard takes the name away.
        if key == "algorithm_name" {
            return Kind::Tag;
        }
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
                    "json" => Kind::Json,
                    "tag" => Kind::Tag,
                    "drop" => Kind::Drop,
                    _ => panic!("no such kind: {kind}"),
                };
            }
        }
        match key {
            "algorithm_owner" | "algorithm_version" => Kind::Tag,
            "session_id" | "request_id" => Kind::String,
            _ => Kind::ByValue,
        }
    }

    /// The field that a value becomes, if any.
    fn field(&self, kind: Kind, value: &Json) -> Option<Value> {
        let finite = |text: &str| Some(text.parse::<f64>().unwrap()).filter(|x| x.is_finite()).map(Value::Float);
        match (kind, value) {
            (Kind::Tag | Kind::Drop, _) => None,
            (_, Json::Null | Json::Bare | Json::Array(..) | Json::Object(..) | Json::Large(_)) => None,

            (Kind::ByValue | Kind::Float, Json::Number(text)) => finite(text),
            (Kind::ByValue, Json::Text(text)) if is_exact(text) => finite(text),
            (Kind::Float, Json::Text(text)) if is_number(text) => finite(text),
            (Kind::ByValue | Kind::Float, Json::Boolean(x)) => Some(Value::Float(f64::from(u8::from(*x)))),
            (Kind::ByValue, Json::Text(text)) if is_not_finite(text) => None,
            (Kind::ByValue, Json::Text(text)) => Some(Value::String(text.clone())),
            (Kind::Float, Json::Text(text)) => word(text).map(|x| Value::Float(f64::from(u8::from(x)))),

            (Kind::Integer, Json::Number(text)) => integer(text).map(Value::Integer),
            (Kind::Integer, Json::Text(text)) if is_number(text) => integer(text).map(Value::Integer),
            (Kind::Integer, Json::Text(text)) => word(text).map(|x| Value::Integer(i64::from(x))),
            (Kind::Integer, Json::Boolean(x)) => Some(Value::Integer(i64::from(*x))),

            (Kind::Boolean, Json::Boolean(x)) => Some(Value::Boolean(*x)),
            (Kind::Boolean, Json::Number(text)) => match integer(text) {
                Some(0) => Some(Value::Boolean(false)),
                Some(1) => Some(Value::Boolean(true)),
                _ => None,
            },
            (Kind::Boolean, Json::Text(text)) if is_number(text) => match integer(text) {
                Some(0) => Some(Value::Boolean(false)),
                Some(1) => Some(Value::Boolean(true)),
                _ => None,
            },
            (Kind::Boolean, Json::Text(text)) => word(text).map(Value::Boolean),

            (Kind::String | Kind::Json, scalar) => scalar.scalar_text().map(Value::String),
        }
    }

    /// "`time`, else `timestamp`", with the digits that it does not have filled in.
    fn payload_time(&self, times: &[(String, Json)], leaves: &[(String, Json)], text: &str) -> Option<i64> {
        let read = |key: &str| -> Option<(i128, u32)> {
            if self
                .options
                .kinds
                .iter()
                .rev()
                .find(|rule| rule.starts_with(&format!("{key}=")))
                .is_some_and(|rule| rule.ends_with("=drop"))
            {
                return None;
            }
            let (_, value) = times.iter().rev().find(|(k, _)| k == key)?;
            let (time, known) = match value {
                Json::Number(text) => epoch(text)?,
                Json::Text(text) => {
                    let text = text.trim_matches(|c: char| c.is_ascii_whitespace());
                    if is_number(text) { epoch(text)? } else { iso(text).or_else(|| date_in_words(text))? }
                }
                Json::Array(..) | Json::Object(..) | Json::Large(_) => time_of_container(value)?,
                Json::Null | Json::Boolean(_) | Json::Bare => return None,
            };
            STORABLE.contains(&i64::try_from(time).ok()?).then_some((time, known))
        };
        let (time, known) = read("time").or_else(|| read("timestamp"))?;
        let missing = if self.options.exact_time { 0 } else { 9_u32.saturating_sub(known).min(6) };
        i64::try_from(fill(time, missing, call_hash(leaves, text))).ok()
    }

    fn reject(&mut self, reason: Reason, payload: &[u8], metric: &Metric) -> Line {
        self.reject_item(reason, payload, metric, 0)
    }

    /// "`algorithmia_rejected,reason=<code>[,incoming tags] error="...",payload="..." <time>`"
    fn reject_item(&mut self, reason: Reason, payload: &[u8], metric: &Metric, index: usize) -> Line {
        let measurement = format!("{}_rejected", self.options.measurement);
        let mut tags = self.incoming_tags(metric);
        tags.insert("reason".into(), reason.into());
        // A series that InfluxDB refuses would drop the rejection silently.
        if write_series(&measurement, &tags).len() + 4 + "payload".len() > SERIES_BYTES {
            tags.retain(|key, _| key == "reason");
        }

        let text = String::from_utf8_lossy(payload);
        let mut time = metric_time(metric).unwrap_or_else(|| self.now());
        let hash = xxh3_64(text.as_bytes()).wrapping_add(index as u64);
        time = i64::try_from(fill(i128::from(time), zeros(time), hash)).expect("storable");
        // "Two different rejected messages never overwrite each other", nor do two payloads of an array.
        let rejected = (payload.to_vec(), index);
        while self.rejected.get(&time).is_some_and(|other| *other != rejected) {
            time = Some(time + 1).filter(|time| STORABLE.contains(time)).unwrap_or(0);
        }
        self.rejected.insert(time, rejected);

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
    Json,
    Tag,
    Drop,
}

// ---------------------------------------------------------------------------------------------------------- keys, tags

/// A key as InfluxDB can store it, but for `time`: "A key that InfluxDB reserves loses its underscores"; none if nothing is left.
fn stored_key(key: &str) -> Option<String> {
    let key = clean(key);
    Some(key.trim_start_matches('_').to_string()).filter(|key| !key.is_empty())
}

/// A tag's text as it is stored. "White space around a name or version does not make a second series."
fn tag_value(key: &str, text: &str) -> String {
    match key {
        "algorithm_name" | "algorithm_owner" | "algorithm_version" => clean(text.trim()),
        _ => clean(text),
    }
}

/// Of two entries with one key the last stays, in its own place.
fn put_last<T>(entries: &mut Vec<(String, T)>, key: String, value: T) {
    // `time` is `time_field` as a field.
    let stored = |key: &str| String::from(if key == "time" { "time_field" } else { key });
    entries.retain(|(known, _)| stored(known) != stored(&key));
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
    /// NaN or an infinity without quotes.
    Bare,
    /// With their text.
    Array(Vec<Json>, String),
    Object(Vec<(String, Json)>, String),
    /// An array or object that is left out, as it holds too many values.
    Large(Box<Json>),
}

struct Pruned {
    json: Json,
    /// How many values are left in it.
    own: usize,
    is_large_array: bool,
}

impl Json {
    fn read(text: &str, nesting: usize) -> Result<Json, Reason> {
        let text = prepare(text);
        // Grammar first, of the whole text: reading as RawValue checks it without recursion.
        let raw: &RawValue = serde_json::from_str(&text).map_err(|error| {
            // What is nested too deep before that is not read any further.
            let lines = text.split_inclusive('\n').take(error.line() - 1);
            let before = lines.map(str::len).sum::<usize>() + error.column().saturating_sub(1);
            if depth(&text.as_bytes()[..before.min(text.len())]) > nesting { "too_large" } else { "invalid_json" }
        })?;
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
                let items = items.iter().map(|item| Json::tree(item.get(), nesting - 1)).collect::<Result<_, _>>()?;
                Json::Array(items, raw.into())
            }
            b'{' => {
                let Members(members) = serde_json::from_str(raw).map_err(|_| "invalid_json")?;
                // A key is a string: the tokens are values only.
                if members.iter().any(|(key, _)| key.starts_with(BARE)) {
                    return Err("invalid_json");
                }
                let member = |(key, value): (String, &RawValue)| Ok((key, Json::tree(value.get(), nesting - 1)?));
                Json::Object(members.into_iter().map(member).collect::<Result<_, Reason>>()?, raw.into())
            }
            _ => Json::Number(raw.into()),
        })
    }

    /// The text of an array or object.
    fn text(&self) -> String {
        match self {
            Json::Array(_, text) | Json::Object(_, text) => text.clone(),
            Json::Large(json) => json.text(),
            _ => unreachable!("a scalar has scalar_text"),
        }
    }

    /// "An array or object with more values than the limit is left out", of arrays within arrays the outermost.
    fn pruned(self, limit: usize, is_payload: bool) -> Pruned {
        let (mut own, mut has_large) = (0, false);
        let mut inner = |json: Json| {
            let inner = json.pruned(limit, false);
            own += inner.own;
            has_large |= inner.is_large_array;
            inner.json
        };
        let whole = self.clone();
        let (json, is_array) = match self {
            Json::Array(items, text) => (Json::Array(items.into_iter().map(inner).collect(), text), true),
            Json::Object(members, text) => {
                let members = members.into_iter().map(|(key, value)| (key, inner(value))).collect();
                (Json::Object(members, text), false)
            }
            scalar => {
                let own = usize::from(!matches!(scalar, Json::Null));
                return Pruned { json: scalar, own, is_large_array: false };
            }
        };
        if !is_payload && (own > limit || is_array && has_large) {
            return Pruned { json: Json::Large(Box::new(whole)), own: 0, is_large_array: is_array };
        }
        Pruned { json, own, is_large_array: false }
    }

    /// The value of a metric's field.
    fn of(value: &Value) -> Json {
        match value {
            Value::Float(float) => Json::Number(float_text(*float)),
            Value::Integer(integer) => Json::Number(integer.to_string()),
            Value::Unsigned(integer) => Json::Number(integer.to_string()),
            Value::Boolean(value) => Json::Boolean(*value),
            Value::String(text) => Json::Text(text.clone()),
        }
    }

    /// "Scalars become text": numbers as they were written.
    fn scalar_text(&self) -> Option<String> {
        match self {
            Json::Boolean(value) => Some(value.to_string()),
            Json::Number(text) | Json::Text(text) => Some(text.clone()),
            Json::Null | Json::Bare | Json::Array(..) | Json::Object(..) | Json::Large(_) => None,
        }
    }
}

/// How deep a text is nested at most.
fn depth(text: &[u8]) -> usize {
    let (mut depth, mut most, mut in_string, mut escaped) = (0usize, 0, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        most = most.max(depth);
    }
    most
}

/// Marks the string that stands in a bare token's place; no payload of the tests holds it.
const BARE: &str = "\0bare token\0";

/// Turns what Python writes and RFC 8259 lacks into what serde_json reads: bare tokens such as NaN and -Infinity
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
            && let token = token(rest)
            && is_not_finite(token)
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

/// The word that a text begins with, or the start of a longer one than any token.
fn token(text: &str) -> &str {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-".contains(byte);
    &text[..text.bytes().take(16).take_while(is_word).count()]
}

/// The number in `\uXXXX`, if the text begins so.
fn code_unit(text: &str) -> Option<u32> {
    let hex = text.strip_prefix("\\u")?.get(..4)?;
    hex.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u32::from_str_radix(hex, 16).unwrap())
}

/// JSON's white space, and the NULs that Telegraf trims.
const BLANK: [char; 5] = [' ', '\t', '\r', '\n', '\0'];

fn trim(text: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| BLANK.contains(&char::from(*byte));
    let start = text.iter().take_while(|byte| is_blank(byte)).count();
    let end = text[start..].iter().rev().take_while(|byte| is_blank(byte)).count();
    &text[start..text.len() - end]
}

/// "JSON within a JSON string is read as what it holds", through one string or two.
fn held(message: &[u8]) -> Option<String> {
    let mut text = std::str::from_utf8(message).ok()?.to_owned();
    for _ in 0..2 {
        if !text.starts_with('"') {
            return None;
        }
        text = serde_json::from_str::<String>(&prepare(&text)).ok()?;
        text = text.trim_matches(BLANK).trim_start_matches('\u{feff}').trim_matches(BLANK).to_owned();
        if text.starts_with(['{', '[']) {
            return Some(text);
        }
    }
    None
}

/// How long the object or array is that a text begins with; none if not all of its brackets are closed.
fn container(text: &str) -> Option<usize> {
    let (mut depth, mut in_string, mut escaped) = (0, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// The texts of the payloads of a message with more than one value, one behind the other; none if it has only one.
fn sequence(text: &str) -> Option<Vec<&str>> {
    let between = |text: &'static str| move |c: char| BLANK.contains(&c) || text.contains(c);
    let len = text.starts_with(['{', '[']).then(|| container(text))??;
    if !text[len..].trim_start_matches(between("\u{feff}")).starts_with(['{', '[']) {
        return None;
    }
    let (mut payloads, mut rest) = (vec![], text);
    while !rest.is_empty() {
        let len = if rest.starts_with(['{', '[']) { container(rest) } else { rest.find('\n') }.unwrap_or(rest.len());
        let value = &rest[..len];
        match value.starts_with('[').then(|| elements(value)).flatten() {
            Some(elements) if !elements.is_empty() => payloads.extend(elements),
            _ => payloads.push(value.trim_matches(BLANK)),
        }
        rest = rest[len..].trim_start_matches(between(",\u{feff}"));
    }
    Some(payloads)
}

/// "Up to 16 bytes in front of an object that is all the rest are skipped", or up to 4 where the first one is a bracket.
fn object_behind(message: &[u8]) -> Option<&str> {
    let is_json = message.starts_with(b"{") || message.starts_with(b"[");
    let most = if is_json { 4 } else { 16 };
    (1..=most).find_map(|at| {
        let object = std::str::from_utf8(message.get(at..)?).ok()?;
        let front = trim(&message[..at]);
        let is_part = is_json && (front.ends_with(b":") || front.ends_with(b","));
        (object.starts_with('{') && !is_part && container(object) == Some(object.len())).then_some(object)
    })
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
    let elements: Vec<&str> = elements.iter().map(|e| e.trim_matches(BLANK)).collect();
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

/// "A JSON number of which a float keeps every significant digit": one that is the same when it is read back from the float.
fn is_exact(text: &str) -> bool {
    let Some(number) = Some(text).filter(|text| is_number(text)).and_then(Decimal::read) else { return false };
    let float: f64 = text.parse().unwrap();
    float.is_finite() && shortest(float) == number.normal()
}

/// Of the shortest decimals that read back as the float the nearest; of two that are as near, the even one.
fn shortest(float: f64) -> (bool, String, i128) {
    let found = Decimal::read(&float_text(float)).unwrap().normal();
    let (negative, exact, places) = Decimal::read(&format!("{float:.80}")).unwrap().normal();
    match exact.strip_suffix('5') {
        Some(below) if below.len() == found.1.len() => {
            let below: u128 = below.parse().unwrap();
            let digits = (below + below % 2).to_string();
            Decimal { negative, digits, places: places - 1 }.normal()
        }
        _ => found,
    }
}

/// "NaN and infinities in their usual spellings."
fn is_not_finite(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let text = text.strip_prefix(['-', '+']).unwrap_or(&text);
    matches!(text, "nan" | "inf" | "infinity")
}

/// A word for a boolean.
fn word(text: &str) -> Option<bool> {
    match text.trim_matches([' ', '\t', '\r', '\n', '\x0c']).to_ascii_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "on" => Some(true),
        "false" | "f" | "no" | "n" | "off" => Some(false),
        _ => None,
    }
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

    /// Sign, digits and exponent, with no zeros around the digits.
    fn normal(&self) -> (bool, String, i128) {
        let digits = self.digits.trim_start_matches('0');
        let kept = digits.trim_end_matches('0');
        let places = self.places - (digits.len() - kept.len()) as i128;
        (self.negative, kept.into(), if kept.is_empty() { 0 } else { places })
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

/// "Zero, or before 1970, is none."
fn metric_time(metric: &Metric) -> Option<i64> {
    metric.time.filter(|time| *time > 0 && STORABLE.contains(time))
}

/// How many of a time's last digits are zero, six at most.
fn zeros(time: i64) -> u32 {
    (1..=6).rev().find(|&n| time % 10_i64.pow(n) == 0).unwrap_or(0)
}

/// "A stable hash of request_id, or of the whole payload where it has none."
fn call_hash(leaves: &[(String, Json)], text: &str) -> u64 {
    let request_id = leaves
        .iter()
        .rev()
        .find(|(key, _)| key == "request_id")
        .and_then(|(_, value)| value.scalar_text())
        .filter(|id| !id.is_empty());
    xxh3_64(request_id.as_deref().unwrap_or(text).as_bytes())
}

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

    let offset = zone(rest)?;
    if !rest_ok {
        return None;
    }
    utc([year, month, day], [hour, minute, second], &fraction, offset)
}

/// "RFC 2822 and HTTP dates": the day of the week, if any, and then the rest in one of three orders.
fn date_in_words(text: &str) -> Option<(i128, u32)> {
    let mut words: Vec<&str> = text.split_ascii_whitespace().collect();
    let first = words.first()?.trim_end_matches(',');
    if words[0].len() - first.len() < 2 && first.chars().all(|c| c.is_ascii_alphabetic()) {
        words.remove(0);
    }
    // `20-Feb-21` is three words.
    if let [date, rest @ ..] = words.as_slice()
        && date.starts_with(|c: char| c.is_ascii_digit())
        && date.contains('-')
    {
        let date: Vec<&str> = date.split('-').collect();
        words = if date.len() == 3 { [&date, rest].concat() } else { return None };
    }
    let is_clock = |word: &str| word.contains(':');
    let (date, clock, place) = match words.as_slice() {
        [month, day, clock, place @ .., year] if is_clock(clock) => ([*year, *month, *day], clock, place),
        [day, month, year, clock, place @ ..] if day.starts_with(|c: char| c.is_ascii_digit()) => {
            ([*year, *month, *day], clock, place)
        }
        [month, day, year, clock, place @ ..] => ([*year, *month, *day], clock, place),
        _ => return None,
    };
    let months = "jan feb mar apr may jun jul aug sep oct nov dec";
    let month = months.split(' ').position(|month| month == date[1].to_ascii_lowercase())? as i64 + 1;
    let number = |text: &str, lengths: &[usize]| {
        let all_digits = text.bytes().all(|byte| byte.is_ascii_digit());
        (all_digits && lengths.contains(&text.len())).then(|| text.parse::<i64>().unwrap())
    };
    let year = match (number(date[0], &[2, 4])?, date[0].len()) {
        (year @ ..69, 2) => 2000 + year,
        (year, 2) => 1900 + year,
        (year, _) => year,
    };
    // "Any fraction", as in ISO 8601.
    let (clock, fraction) = match clock.split_once(['.', ',']) {
        Some((clock, fraction)) if !fraction.is_empty() && fraction.bytes().all(|byte| byte.is_ascii_digit()) => {
            (clock, &fraction[..fraction.len().min(9)])
        }
        Some(_) => return None,
        None => (*clock, ""),
    };
    let parts = clock.split(':').map(|part| number(part, &[2])).collect::<Option<Vec<_>>>()?;
    let (hour, minute, second) = match parts[..] {
        [hour, minute] => (hour, minute, 0),
        [hour, minute, second] => (hour, minute, second),
        _ => return None,
    };
    utc([year, month, number(date[2], &[1, 2])?], [hour, minute, second], fraction, zone(&place.join(" "))?)
}

/// "`Z`, an offset or nothing (UTC)", "a zone's name behind the time": seconds east of Greenwich.
fn zone(text: &str) -> Option<i64> {
    let text = text.trim_matches(|c: char| c.is_ascii_whitespace());
    if ["", "Z", "z", "UTC", "GMT", "UT"].contains(&text) {
        return Some(0);
    }
    if let Some(place) = text.strip_prefix(['Z', 'z']) {
        let place = place.trim_start_matches(|c: char| c.is_ascii_whitespace());
        return (place.len() > 1 && place.starts_with('[') && place.ends_with(']')).then_some(0);
    }
    let mut rest = ["UTC", "GMT", "UT"].iter().find_map(|name| text.strip_prefix(name)).unwrap_or(text);
    let sign = if rest.starts_with('-') { -1 } else { 1 };
    if !take_one(&mut rest, "+-") {
        return None;
    }
    let hours = take_number(&mut rest, 2)?;
    let colon = take_one(&mut rest, ":");
    let minutes = match take_number(&mut rest, 2) {
        Some(minutes) => minutes,
        None if colon => return None,
        None => 0,
    };
    // What is behind an offset is the same offset once more, for people.
    let is_word = |word: &str| {
        let is_offset = word.starts_with(['+', '-']) && word[1..].bytes().all(|byte| byte.is_ascii_digit());
        is_offset || word.starts_with("m=") || word.bytes().all(|byte| byte.is_ascii_uppercase())
    };
    let note = rest.trim_start_matches(|c: char| c.is_ascii_whitespace());
    let in_brackets = note.len() > 1
        && (note.starts_with('[') && note.ends_with(']') || note.starts_with('(') && note.ends_with(')'));
    let is_note =
        in_brackets || (note.len() < rest.len() || note.is_empty()) && note.split_ascii_whitespace().all(is_word);
    (is_note && hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

/// "The objects and arrays in which MongoDB and java.time write a time": the names of all values in one are those of its form.
fn time_of_container(json: &Json) -> Option<(i128, u32)> {
    let (mut values, mut is_twice) = (BTreeMap::<String, &Json>::new(), false);
    let members: Vec<(String, &Json)> = match json {
        Json::Large(whole) => return time_of_container(whole),
        Json::Object(members, _) => members.iter().map(|(key, value)| (format!(".{key}"), value)).collect(),
        Json::Array(items, _) => items.iter().enumerate().map(|(index, item)| (index.to_string(), item)).collect(),
        _ => vec![],
    };
    for (key, value) in members {
        let value = if let Json::Large(whole) = value { whole } else { value };
        match value {
            Json::Object(inner, _) if key.starts_with('.') && !inner.is_empty() => {
                for (inner, value) in inner {
                    is_twice |= values.insert(format!("{key}.{inner}"), value).is_some();
                }
            }
            _ => is_twice |= values.insert(key, value).is_some(),
        }
    }
    // No name is there twice, and nothing is nested any deeper.
    if is_twice || values.values().any(|value| matches!(value, Json::Array(..) | Json::Object(..) | Json::Large(_))) {
        return None;
    }
    // What says again what others say is not looked at.
    let again = [".month", ".dayOfWeek", ".dayOfYear", ".chronology.id", ".chronology.calendarType"];
    if values.contains_key(".year") {
        values.retain(|key, _| !again.contains(&key.as_str()));
    }
    let names: Vec<&str> = values.keys().map(String::as_str).collect();
    let whole = |key: &str| match values[key] {
        Json::Number(text) => integer(text),
        Json::Text(text) if is_number(text) => integer(text),
        _ => None,
    };
    let instant = |second: i128, nano: Option<i64>| {
        let is_one = nano.is_none_or(|nano| (0..1_000_000_000).contains(&nano));
        is_one
            .then_some((second * 1_000_000_000 + i128::from(nano.unwrap_or(0)), nano.map_or(0, |nano| 9 - zeros(nano))))
    };
    let civil = |parts: [&str; 6], nano: Option<i64>| {
        let mut numbers = [0; 6];
        for (number, part) in numbers.iter_mut().zip(parts) {
            *number = if values.contains_key(part) { whole(part)? } else { 0 };
        }
        let [year, month, day, hour, minute, second] = numbers;
        let (start, _) = utc([year, month, day], [hour, minute, second], "", 0).filter(|_| year >= 0)?;
        instant(start / 1_000_000_000, nano)
    };
    let items = ["0", "1", "2", "3", "4", "5"];
    match names[..] {
        [".$date"] => match values[".$date"] {
            Json::Text(text) => {
                let text = text.trim_matches(|c: char| c.is_ascii_whitespace());
                iso(text).or_else(|| date_in_words(text))
            }
            _ => Some((i128::from(whole(".$date")?) * 1_000_000, 3)),
        },
        [".$date.$numberLong"] => Some((i128::from(whole(".$date.$numberLong")?) * 1_000_000, 3)),
        [".$timestamp.i", ".$timestamp.t"] => {
            whole(".$timestamp.i")?;
            instant(whole(".$timestamp.t")?.into(), None)
        }
        [".epochSecond", ".nano"] => instant(whole(".epochSecond")?.into(), Some(whole(".nano")?)),
        [".nanos", ".seconds"] => instant(whole(".seconds")?.into(), Some(whole(".nanos")?)),
        [".dayOfMonth", ".hour", ".minute", ".monthValue", ".nano", ".second", ".year"] => {
            let parts = [".year", ".monthValue", ".dayOfMonth", ".hour", ".minute", ".second"];
            civil(parts, Some(whole(".nano")?))
        }
        ["0", "1", "2", "3", "4", "5", "6"] => civil(items, Some(whole("6")?)),
        ["0", "1", "2", "3", "4", "5"] | ["0", "1", "2", "3", "4"] => civil(items, None),
        _ => None,
    }
}

/// A date and a time of day, so many seconds east of Greenwich.
fn utc(date: [i64; 3], clock: [i64; 3], fraction: &str, offset: i64) -> Option<(i128, u32)> {
    let [[year, month, day], [hour, minute, second]] = [date, clock];
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
