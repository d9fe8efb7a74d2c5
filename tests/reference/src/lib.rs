//! A second, slow implementation of the conversion, to judge the product by.
//!
//! It is written from the contract alone, sentence by sentence, and shares no code with the product. Where speed and
//! clarity disagree, clarity wins: keys live in vectors, numbers stay text, every value is read several times.

pub mod case;
pub mod fuzzed;
pub mod generate;
mod json;
pub mod lines;
pub mod numbers;
pub mod product;
pub mod streams;
mod time;

use std::collections::{BTreeMap, HashMap};

use xxhash_rust::xxh3::xxh3_64;

use json::{Json, elements, held, object_behind, sequence, trim};
use lines::{clean, write_series};
use numbers::{integer, is_exact, is_not_finite, is_number, word};
use time::{call_hash, date_in_words, epoch, fill, iso, metric_time, time_of_container, zeros};

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
            if let Some(key) = self.stored_key(&self.renamed(key)) {
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
        let stored = self.stored_key(&key);
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
            let Some(key) = plain_key(&self.renamed(key)) else { continue };
            let value = tag_value(&key, value);
            if !value.is_empty() {
                tags.insert(if key == "time" { "time_tag".into() } else { key }, value);
            }
        }
        for (key, value) in &metric.fields {
            tags.extend(plain_key(&self.renamed(key)).and_then(|key| self.tag(&key, &Json::of(value))));
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

    /// A key as InfluxDB can store it, where `time` is what a field or tag is called: it is the same as `time_field` or `time_tag`.
    fn stored_key(&self, key: &str) -> Option<String> {
        let key = plain_key(key)?;
        let other = if self.kind("time") == Kind::Tag { "time_tag" } else { "time_field" };
        Some(if key == "time" && self.kind("time") == self.kind(other) { other.into() } else { key })
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
fn plain_key(key: &str) -> Option<String> {
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
    entries.retain(|(known, _)| *known != key);
    entries.push((key, value));
}

fn cut(text: &str, bytes: usize) -> String {
    let end = (0..=bytes.min(text.len())).rev().find(|&end| text.is_char_boundary(end));
    text[..end.unwrap_or(0)].into()
}
