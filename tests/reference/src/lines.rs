//! Line protocol as Telegraf 1.39 reads it, and the decoding of the product's output.

use std::collections::BTreeMap;

use crate::numbers::float_text;
use crate::{Line, Metric, Value};

// ------------------------------------------------------------------------------------------------------------- reading

/// One metric, cut into its parts; the texts are as they stand in the line.
#[derive(Debug)]
pub struct Parts<'a> {
    pub measurement: &'a [u8],
    pub tags: Vec<(&'a [u8], &'a [u8])>,
    pub fields: Vec<(&'a [u8], &'a [u8])>,
    pub time: Option<i64>,
}

/// Cuts a text into metrics, each with its line end; the error is the part that Telegraf would refuse.
///
/// The grammar is that of Telegraf's plugins/parsers/influx/machine.go.rl, without its recovery: blank lines and comments
/// are refused too, for the product never writes them.
pub fn split(mut text: &[u8]) -> Result<Vec<&[u8]>, &[u8]> {
    let mut metrics = vec![];
    while !text.is_empty() {
        let (_, length) = parse(text).ok_or(text)?;
        metrics.push(&text[..length]);
        text = &text[length..];
    }
    Ok(metrics)
}

/// Reads the metric that a text begins with, and says how long it is, its line end included.
pub fn parse(text: &[u8]) -> Option<(Parts<'_>, usize)> {
    let mut at = 0;
    // A metric that passes through byte for byte may have blanks before its name.
    blanks(text, &mut at);
    if text.get(at) == Some(&b'#') {
        return None;
    }
    let measurement = name(text, &mut at, b",", true)?;
    let mut tags = vec![];
    while text.get(at) == Some(&b',') {
        at += 1;
        let key = name(text, &mut at, b",=", false)?;
        expect(text, &mut at, b'=')?;
        let value = name(text, &mut at, b",=", false)?;
        tags.push((key, value));
    }
    let mut fields = vec![];
    let mut separator = b' ';
    loop {
        if separator == b' ' {
            blanks(text, &mut at).then_some(())?;
        } else {
            at += 1;
        }
        let key = name(text, &mut at, b",=", true)?;
        expect(text, &mut at, b'=')?;
        fields.push((key, value(text, &mut at)?));
        separator = b',';
        if text.get(at) != Some(&b',') {
            break;
        }
    }
    let mut time = None;
    if blanks(text, &mut at) {
        let start = at;
        while text.get(at).is_some_and(|b| b.is_ascii_digit() || (*b == b'-' && at == start)) {
            at += 1;
        }
        if at > start {
            let digits = std::str::from_utf8(&text[start..at]).unwrap();
            if digits.trim_start_matches('-').len() > 19 {
                return None;
            }
            time = Some(digits.parse().ok()?);
            blanks(text, &mut at);
        }
    }
    if text.get(at) == Some(&b'\r') && text.get(at + 1) == Some(&b'\n') {
        at += 1;
    }
    if at < text.len() {
        expect(text, &mut at, b'\n')?;
    }
    Some((Parts { measurement, tags, fields, time }, at))
}

fn expect(text: &[u8], at: &mut usize, byte: u8) -> Option<()> {
    (text.get(*at) == Some(&byte)).then(|| *at += 1)
}

fn blanks(text: &[u8], at: &mut usize) -> bool {
    let start = *at;
    while matches!(text.get(*at), Some(b'\t' | 0x0B | 0x0C | b' ')) {
        *at += 1;
    }
    *at > start
}

/// A measurement, tag key, tag value or field key, up to (not including) a blank or one of `ends`. In tags a backslash
/// escapes what follows unless that is a backslash too; elsewhere two backslashes are a pair.
fn name<'a>(text: &'a [u8], at: &mut usize, ends: &[u8], pairs: bool) -> Option<&'a [u8]> {
    let start = *at;
    let is_control = |b: &u8| matches!(b, b'\t' | b'\n' | 0x0B | 0x0C | b'\r');
    loop {
        match text.get(*at)? {
            b'\\' => {
                let next = text.get(*at + 1)?;
                if is_control(next) {
                    return None;
                }
                *at += if *next == b'\\' && !pairs { 1 } else { 2 };
            }
            b if is_control(b) || *b == b' ' || ends.contains(b) => break,
            _ => *at += 1,
        }
    }
    (*at > start).then(|| &text[start..*at])
}

fn value<'a>(text: &'a [u8], at: &mut usize) -> Option<&'a [u8]> {
    let start = *at;
    if text.get(start) == Some(&b'"') {
        *at += 1;
        loop {
            match text.get(*at)? {
                b'"' => break,
                b'\\' if matches!(text.get(*at + 1), Some(b'\\' | b'"')) => *at += 2,
                b'\\' => return None,
                _ => *at += 1,
            }
        }
        *at += 1;
        return Some(&text[start..*at]);
    }
    while text.get(*at).is_some_and(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b)) {
        *at += 1;
    }
    let raw = &text[start..*at];
    decode_value(raw).map(|_| raw)
}

/// A field's value, or none if Telegraf would not read it.
pub fn decode_value(raw: &[u8]) -> Option<Value> {
    let raw = String::from_utf8_lossy(raw);
    if let Some(text) = raw.strip_prefix('"') {
        let text = text.strip_suffix('"')?;
        return Some(Value::String(replace(text, &[("\\\"", "\""), ("\\\\", "\\")])));
    }
    let digits_only = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let whole = |text: &str| digits_only(text) && (text.len() == 1 || !text.starts_with('0'));
    match &*raw {
        "true" | "TRUE" | "True" | "T" | "t" => return Some(Value::Boolean(true)),
        "false" | "FALSE" | "False" | "F" | "f" => return Some(Value::Boolean(false)),
        _ => {}
    }
    if let Some(digits) = raw.strip_suffix('i') {
        let unsigned = digits.strip_prefix('-').unwrap_or(digits);
        return whole(unsigned).then(|| digits.parse().ok().map(Value::Integer))?;
    }
    if let Some(digits) = raw.strip_suffix('u') {
        return whole(digits).then(|| digits.parse().ok().map(Value::Unsigned))?;
    }
    let (mantissa, exponent) = raw.split_once(['e', 'E']).unwrap_or((&raw, "0"));
    let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let before = before.strip_prefix('-').unwrap_or(before);
    let plausible =
        digits_only(&format!("{before}{after}")) && digits_only(exponent.strip_prefix(['-', '+']).unwrap_or(exponent));
    let float: f64 = raw.parse().ok()?;
    (plausible && float.is_finite()).then_some(Value::Float(float))
}

/// Takes the escapes out of a tag or a field key as Telegraf does: any other backslash stays.
pub fn unescape(raw: &[u8]) -> String {
    replace(&String::from_utf8_lossy(raw), &[("\\,", ","), ("\\\"", "\""), ("\\ ", " "), ("\\=", "=")])
}

pub fn unescape_measurement(raw: &[u8]) -> String {
    replace(&String::from_utf8_lossy(raw), &[("\\,", ","), ("\\ ", " ")])
}

/// The metric that a line holds, and the message in its string field; none if it holds no message.
pub fn message_of(line: &[u8], field: &str) -> Option<(Vec<u8>, Metric)> {
    let (parts, _) = parse(line)?;
    let mut message = None;
    let mut fields = vec![];
    for (key, raw) in parts.fields {
        if unescape(key) == field && raw.starts_with(b"\"") {
            let inner = &raw[1..raw.len() - 1];
            let mut text = vec![];
            let mut escaped = false;
            for &byte in inner {
                escaped = byte == b'\\' && !escaped;
                if !escaped {
                    text.push(byte);
                }
            }
            message = Some(text);
        } else {
            fields.push((unescape(key), decode_value(raw)?));
        }
    }
    let tags = parts.tags.iter().map(|(key, value)| (unescape(key), unescape(value))).collect();
    let bytes = Some(line.strip_suffix(b"\n").unwrap_or(line).len());
    Some((message?, Metric { tags, fields, time: parts.time, bytes }))
}

/// Decodes a line that the product made. It panics, with the line, where Telegraf, InfluxDB or the crate that knows the
/// format would not read it as one point, or would not agree on where its parts end.
pub fn decode(line: &str) -> Line {
    let (parts, length) = parse(line.as_bytes()).unwrap_or_else(|| panic!("Telegraf refuses {line:?}"));
    assert_eq!(length, line.len(), "more than one metric in {line:?}");

    let points: Vec<_> = influxdb_line_protocol::parse_lines(line)
        .map(|point| point.unwrap_or_else(|error| panic!("{error} in {line:?}")))
        .collect();
    assert_eq!(points.len(), 1, "not one point: {line:?}");
    let tag_count = points[0].series.tag_set.as_ref().map_or(0, |tags| tags.len());
    assert_eq!(tag_count, parts.tags.len(), "tags of {line:?}");
    assert_eq!(points[0].field_set.len(), parts.fields.len(), "fields of {line:?}");
    assert_eq!(points[0].timestamp, parts.time, "time of {line:?}");

    let mut tags = BTreeMap::new();
    let mut last = None;
    for (key, value) in &parts.tags {
        let key = unescape(key);
        assert!(last < Some(key.clone()), "tags are not sorted, or repeated: {line:?}");
        assert!(!key.starts_with('_') && key != "time", "reserved tag in {line:?}");
        last = Some(key.clone());
        tags.insert(key, unescape(value));
    }
    let mut fields: Vec<(String, Value)> = vec![];
    for (key, value) in &parts.fields {
        let key = unescape(key);
        assert!(!key.starts_with('_') && key != "time", "reserved field in {line:?}");
        assert!(!tags.contains_key(&key), "a field with a tag's key in {line:?}");
        assert!(fields.iter().all(|(known, _)| *known != key), "a field twice in {line:?}");
        fields.push((key, decode_value(value).expect("parse has read it")));
    }
    let time = parts.time.unwrap_or_else(|| panic!("no time in {line:?}"));
    assert!(super::STORABLE.contains(&time), "InfluxDB cannot store the time of {line:?}");

    let measurement = unescape_measurement(parts.measurement);
    let written = write_series(&measurement, &tags).len();
    let longest_key = parts.fields.iter().map(|(key, _)| key.len()).max().unwrap();
    assert!(written + 4 + longest_key <= super::SERIES_BYTES, "InfluxDB refuses the series of {line:.200?}");

    if measurement.ends_with("_rejected") {
        let error = fields.iter().position(|(key, _)| key == "error").expect("a rejection says why");
        assert!(matches!(&fields.remove(error).1, Value::String(text) if !text.is_empty()), "no error in {line:?}");
    }
    Line { measurement, tags, fields, time }
}

fn replace(text: &str, pairs: &[(&str, &str)]) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (taken, put) = pairs
            .iter()
            .find(|(from, _)| rest.starts_with(from))
            .map_or((first.len_utf8(), &rest[..first.len_utf8()]), |(from, to)| (from.len(), *to));
        out.push_str(put);
        rest = &rest[taken..];
    }
    out
}

// ------------------------------------------------------------------------------------------------------------- writing

/// A text for a name, tag or field key, without what cannot be written so that all readers agree on it.
pub fn clean(text: &str) -> String {
    let text = replace(text, &[("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r"), ("\u{b}", "\\v"), ("\u{c}", "\\f")]);
    let mut out = String::new();
    for piece in text.split_inclusive([',', '=', ' ', '"']) {
        match piece.strip_suffix([',', '=', ' ', '"']) {
            // A run of backslashes before a character that is escaped, or may be.
            Some(before) => {
                out.push_str(before.trim_end_matches('\\'));
                out.push_str(&piece[before.len()..]);
            }
            None => out.push_str(piece.trim_end_matches('\\')),
        }
    }
    out
}

pub fn escape(text: &str) -> String {
    replace(text, &[(",", "\\,"), ("=", "\\="), (" ", "\\ ")])
}

pub fn write_series(measurement: &str, tags: &BTreeMap<String, String>) -> String {
    let mut out = replace(&clean(measurement), &[(",", "\\,"), (" ", "\\ ")]);
    for (key, value) in tags {
        out += &format!(",{}={}", escape(key), escape(value));
    }
    out
}

/// How many bytes a line takes up to its time.
pub fn length(line: &Line) -> usize {
    let value = |value: &Value| match value {
        Value::Float(x) => float_text(*x),
        Value::Integer(x) => format!("{x}i"),
        Value::Unsigned(x) => format!("{x}u"),
        Value::Boolean(x) => x.to_string(),
        Value::String(text) => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
    };
    let fields = line.fields.iter().map(|(key, text)| format!(",{}={}", escape(key), value(text)).len());
    write_series(&line.measurement, &line.tags).len() + fields.sum::<usize>()
}
