//! JSON as producers write it, and what stands around it in a message.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::numbers::{float_text, is_not_finite};
use crate::{Reason, Value};

/// A JSON value that keeps its keys' order and repetitions, and its numbers' text.
#[derive(Clone, Debug)]
pub(crate) enum Json {
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

pub(crate) struct Pruned {
    pub(crate) json: Json,
    /// How many values are left in it.
    own: usize,
    is_large_array: bool,
}

impl Json {
    pub(crate) fn read(text: &str, nesting: usize) -> Result<Json, Reason> {
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

    pub(crate) fn tree(raw: &str, nesting: usize) -> Result<Json, Reason> {
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
    pub(crate) fn text(&self) -> String {
        match self {
            Json::Array(_, text) | Json::Object(_, text) => text.clone(),
            Json::Large(json) => json.text(),
            _ => unreachable!("a scalar has scalar_text"),
        }
    }

    /// "An array or object with more values than the limit is left out", of arrays within arrays the outermost.
    pub(crate) fn pruned(self, limit: usize, is_payload: bool) -> Pruned {
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
    pub(crate) fn of(value: &Value) -> Json {
        match value {
            Value::Float(float) => Json::Number(float_text(*float)),
            Value::Integer(integer) => Json::Number(integer.to_string()),
            Value::Unsigned(integer) => Json::Number(integer.to_string()),
            Value::Boolean(value) => Json::Boolean(*value),
            Value::String(text) => Json::Text(text.clone()),
        }
    }

    /// "Scalars become text": numbers as they were written.
    pub(crate) fn scalar_text(&self) -> Option<String> {
        match self {
            Json::Boolean(value) => Some(value.to_string()),
            Json::Number(text) | Json::Text(text) => Some(text.clone()),
            Json::Null | Json::Bare | Json::Array(..) | Json::Object(..) | Json::Large(_) => None,
        }
    }
}

/// The bytes that are in no string and begin or end none, each with its place.
fn outside_strings(text: &[u8]) -> impl Iterator<Item = (usize, u8)> {
    let (mut in_string, mut escaped) = (false, false);
    text.iter().copied().enumerate().filter(move |(_, byte)| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ => return !in_string,
        }
        false
    })
}

/// How deep a text is nested at most.
pub(crate) fn depth(text: &[u8]) -> usize {
    let (mut depth, mut most) = (0usize, 0);
    for (_, byte) in outside_strings(text) {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        most = most.max(depth);
    }
    most
}

/// Marks the string that stands in a bare token's place; no payload of the tests holds it.
pub(crate) const BARE: &str = "\0bare token\0";

/// Turns what Python writes and RFC 8259 lacks into what serde_json reads: bare tokens such as NaN and -Infinity
/// into a marked string, and half a surrogate pair into U+FFFD.
pub(crate) fn prepare(text: &str) -> String {
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
pub(crate) fn token(text: &str) -> &str {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-".contains(byte);
    &text[..text.bytes().take(16).take_while(is_word).count()]
}

/// The number in `\uXXXX`, if the text begins so.
pub(crate) fn code_unit(text: &str) -> Option<u32> {
    let hex = text.strip_prefix("\\u")?.get(..4)?;
    hex.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u32::from_str_radix(hex, 16).unwrap())
}

/// JSON's white space, and the NULs that Telegraf trims.
pub(crate) const BLANK: [char; 5] = [' ', '\t', '\r', '\n', '\0'];

pub(crate) fn trim(text: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| BLANK.contains(&char::from(*byte));
    let start = text.iter().take_while(|byte| is_blank(byte)).count();
    let end = text[start..].iter().rev().take_while(|byte| is_blank(byte)).count();
    &text[start..text.len() - end]
}

/// "JSON within a JSON string is read as what it holds", through one string or two.
pub(crate) fn held(message: &[u8]) -> Option<String> {
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
pub(crate) fn container(text: &str) -> Option<usize> {
    let mut depth = 0;
    for (at, byte) in outside_strings(text.as_bytes()) {
        match byte {
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
pub(crate) fn sequence(text: &str) -> Option<Vec<&str>> {
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
pub(crate) fn object_behind(message: &[u8]) -> Option<&str> {
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
pub(crate) fn elements(array: &str) -> Option<Vec<&str>> {
    let mut elements = vec![];
    let (mut depth, mut start) = (0, 1);
    for (at, byte) in outside_strings(array.as_bytes()) {
        match byte {
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

pub(crate) struct Members<'a>(Vec<(String, &'a RawValue)>);

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
