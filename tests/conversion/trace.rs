//! What a tracing converter tells of each key, held against the points that it writes, and against the payloads.

use std::collections::BTreeMap;
use std::ops::Range;

use proptest::collection::vec;
use proptest::prelude::*;
use telegraf_algorithmia::{Event, Fate, FieldType, Key, LeftOut, Observer, Origin, Outcome, TimeSource, Trace};

use reference::generate;
use reference::lines::{self, decode};
use reference::product::{chunks, convert, converter};
use reference::{Line, Options, Value};

/// What was told of a message, with texts of its own.
#[derive(Clone, Debug)]
struct Told {
    byte: usize,
    line: usize,
    item: Option<usize>,
    text: Vec<u8>,
    keys: Vec<Key>,
    outcome: Result<telegraf_algorithmia::PointTime, Option<usize>>,
    is_message: bool,
    /// Why values were left out, as events tell it.
    left_out: Vec<&'static str>,
    time_defaulted: bool,
}

#[derive(Default)]
struct Listener {
    told: Vec<Told>,
    left_out: Vec<&'static str>,
    time_defaulted: bool,
}

impl Observer for Listener {
    fn observe(&mut self, event: Event<'_>) {
        match event {
            Event::LeftOut { why, .. } | Event::TooMany { why, .. } => self.left_out.push(why),
            Event::TimeDefaulted { .. } => self.time_defaulted = true,
            _ => {}
        }
    }

    fn trace(&mut self, trace: &Trace<'_>) {
        if let Outcome::Rejected { error, at: Some(at), .. } = trace.outcome {
            assert!(at <= trace.text.len(), "{error}: {at}");
            let says = error.rsplit_once(" at byte ").map(|(_, said)| said.parse());
            assert!(says.is_none_or(|said| said == Ok(at)), "{error}: {at}");
        }
        self.told.push(Told {
            byte: trace.position.byte as usize,
            line: trace.position.line as usize,
            item: trace.item,
            text: trace.text.to_vec(),
            keys: trace.keys.to_vec(),
            outcome: match trace.outcome {
                Outcome::Point(time) => Ok(time),
                Outcome::Rejected { at, .. } => Err(at),
                Outcome::Passed | Outcome::NoMessage => Err(None),
            },
            is_message: matches!(trace.outcome, Outcome::Point(_) | Outcome::Rejected { .. }),
            left_out: std::mem::take(&mut self.left_out),
            time_defaulted: std::mem::take(&mut self.time_defaulted),
        });
    }
}

fn trace(pieces: &[&[u8]], options: &Options) -> (Vec<u8>, Vec<Told>) {
    let mut converter = converter(options);
    converter.trace();
    let (mut out, mut listener) = (Vec::new(), Listener::default());
    for piece in pieces {
        converter.push(piece, &mut out, &mut listener);
    }
    converter.finish(&mut out, &mut listener);
    (out, listener.told)
}

/// A value in a JSON text: the way to it, and its place.
#[derive(Debug)]
struct Node {
    name: String,
    place: Range<usize>,
}

/// All values of a text that is known to be an object, without that object.
fn nodes(text: &str) -> Vec<Node> {
    let mut nodes = Vec::new();
    let mut at = 0;
    value(text, &mut at, "", &mut nodes);
    nodes.retain(|node| !node.name.is_empty() || node.place.start > 0);
    nodes
}

fn blanks(text: &str, at: &mut usize) {
    *at = text.len() - text[*at..].trim_start_matches([' ', '\t', '\n', '\r']).len();
}

/// The end of the string that begins at `at`.
fn string(text: &str, at: &mut usize) {
    *at += 1;
    loop {
        match text.as_bytes()[*at] {
            b'"' => break *at += 1,
            b'\\' => *at += 2,
            _ => *at += 1,
        }
    }
}

fn value(text: &str, at: &mut usize, name: &str, nodes: &mut Vec<Node>) {
    blanks(text, at);
    let start = *at;
    let index = nodes.len();
    nodes.push(Node { name: name.to_owned(), place: start..start });
    match text.as_bytes()[*at] {
        open @ (b'{' | b'[') => {
            *at += 1;
            for item in 0.. {
                blanks(text, at);
                match text.as_bytes()[*at] {
                    b'}' | b']' => break,
                    b',' => *at += 1,
                    _ => {}
                }
                blanks(text, at);
                let name = if open == b'{' {
                    let start = *at;
                    string(text, at);
                    let key = decoded(&text[start..*at]);
                    blanks(text, at);
                    assert_eq!(text.as_bytes()[*at], b':');
                    *at += 1;
                    if name.is_empty() { key } else { format!("{name}.{key}") }
                } else {
                    format!("{name}[{item}]")
                };
                value(text, at, &name, nodes);
            }
            *at += 1;
        }
        b'"' => string(text, at),
        _ => *at += text[*at..].find([',', '}', ']', ' ', '\t', '\n', '\r']).unwrap_or(text.len() - *at),
    }
    nodes[index].place.end = *at;
}

/// The string that is meant by one in its quotes.
fn decoded(string: &str) -> String {
    let mut units: Vec<u16> = Vec::new();
    let mut chars = string[1..string.len() - 1].chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            units.extend(c.encode_utf16(&mut [0; 2]).iter());
            continue;
        }
        units.push(match chars.next().unwrap() {
            'u' => u16::from_str_radix(&chars.by_ref().take(4).collect::<String>(), 16).unwrap(),
            'b' => 8,
            'f' => 12,
            'n' => 10,
            'r' => 13,
            't' => 9,
            other => other as u16,
        });
    }
    String::from_utf16_lossy(&units)
}

/// Each key of the payload is told of, once, and nothing else is.
fn check_keys(told: &Told) {
    let text = std::str::from_utf8(&told.text).expect("a payload that could be read");
    let mut keys = told.keys.iter().filter(|key| key.origin == Origin::Payload).peekable();
    let mut covered = 0;
    for Node { name, place } in nodes(text) {
        let is_covered = place.start < covered;
        match keys.peek().filter(|key| key.value.start == place.start) {
            Some(key) => {
                assert!(!is_covered, "{name} is told of twice in {text}");
                assert_eq!((&key.name, &key.value), (&name, &place), "{text}");
                let is_container = text[place.clone()].starts_with(['{', '[']);
                assert!(!is_container || matches!(key.fate, Fate::LeftOut(_) | Fate::Time), "{key:?}");
                covered = place.end;
                keys.next();
            }
            None => {
                let is_open = text[place.clone()].starts_with(['{', '[']);
                assert!(is_covered || is_open, "{name} is not told of in {text}: {:?}", told.keys);
            }
        }
    }
    assert!(keys.next().is_none(), "{:?} is not in {text}", told.keys);
}

/// Each tag and field of the point is told of, once, as it is stored; and its time.
fn check_point(told: &Told, line: &Line) {
    let Ok(time) = told.outcome else { panic!("no point: {told:?}") };
    assert_eq!(time.nanoseconds, line.time);
    let (mut tags, mut fields, mut times) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    for key in &told.keys {
        match &key.fate {
            Fate::Tag { key, value } => assert_eq!(tags.insert(key.clone(), value.clone()), None, "{told:?}"),
            Fate::Field { key, kind, value, .. } => {
                let value = match kind {
                    FieldType::Float => Value::Float(value.parse().unwrap()),
                    FieldType::Integer if value.ends_with('u') => {
                        Value::Unsigned(value.trim_end_matches('u').parse().unwrap())
                    }
                    FieldType::Integer => Value::Integer(value.strip_suffix('i').unwrap().parse().unwrap()),
                    FieldType::Boolean => Value::Boolean(value.starts_with(['t', 'T'])),
                    FieldType::String => Value::String(value.clone()),
                };
                assert!(fields.insert(key.clone(), value).is_none(), "{told:?}");
            }
            Fate::Time => times.push(key.name.as_str()),
            Fate::LeftOut(_) => {}
        }
    }
    assert_eq!(tags, line.tags);
    assert_eq!(fields, line.fields.iter().cloned().collect(), "{line:?}");
    assert_eq!(fields.len(), line.fields.len());
    let expected: &[&str] = match time.source {
        TimeSource::Time => &["time"],
        TimeSource::Timestamp => &["timestamp"],
        TimeSource::Metric | TimeSource::Clock => &[],
    };
    assert_eq!(times, expected, "{told:?}");
    if time.filled > 0 {
        // The digits that were filled are those that are told of.
        let given = time.nanoseconds - time.nanoseconds.rem_euclid(10i64.pow(time.filled));
        assert!(time.filled <= 6 && given <= line.time && line.time - given < 1_000_000);
    }
}

/// What events tell of values that are lost, the keys tell too.
fn check_events(told: &Told) {
    const UNREADABLE: &str = "it cannot be read as a time that InfluxDB stores";
    let lost = |key: &&Key| key.origin == Origin::Payload;
    let lost = told.keys.iter().filter(lost).filter_map(|key| match key.fate {
        Fate::LeftOut(LeftOut { why, lost: true }) => Some(why),
        _ => None,
    });
    let (times, values): (Vec<_>, Vec<_>) =
        lost.filter(|why| *why != "a later value of this name counts").partition(|why| *why == UNREADABLE);
    // Of what the metric brings along it is told once, before its first payload; a rejection does not name it.
    let metric_lost = told.keys.iter().filter(|key| {
        let another = LeftOut { why: "another value of this name counts", lost: true };
        key.origin == Origin::MetricField && matches!(key.fate, Fate::LeftOut(why) if why.lost && why != another)
    });
    let more = told.left_out.len() - values.len();
    assert!(told.left_out.ends_with(&values), "{values:?} is not the end of {told:?}");
    if !told.keys.is_empty() {
        assert!(more == 0 || more == metric_lost.count(), "{told:?}");
    }
    assert_eq!(!times.is_empty(), told.time_defaulted, "{told:?}");
}

/// Holds all that is told of an input against its lines.
fn check(input: &[u8], cuts: &[usize], options: &Options) {
    let expected = convert(input, options);
    let (out, told) = trace(&[input], options);
    assert!(out == expected, "lines differ when they are traced");
    let (cut_out, cut_told) = trace(&chunks(input, cuts), options);
    assert!(cut_out == expected && format!("{cut_told:?}") == format!("{told:?}"), "{cut_told:#?}\nnot {told:#?}");

    let lines = lines::split(&out).expect("line protocol");
    assert_eq!(lines.len(), told.len(), "{told:?}");
    let mut last = None;
    for (line, told) in lines.into_iter().zip(&told) {
        let before = &input[..told.byte];
        assert_eq!(told.line, 1 + before.iter().filter(|byte| **byte == b'\n').count());
        if let Some(item) = told.item {
            let first = if item == 0 { None } else { last };
            assert_eq!(first.unwrap_or((told.byte, 0)), (told.byte, item), "an array's payloads come in order");
        }
        last = told.item.map(|item| (told.byte, item + 1));
        if !told.is_message {
            assert!(input[told.byte..].starts_with(&told.text) && line.starts_with(&told.text));
            continue;
        }
        if told.outcome.is_ok() {
            check_keys(told);
            check_point(told, &decode(std::str::from_utf8(line).expect("UTF-8")));
            check_events(told);
        } else {
            assert!(line.windows(9).any(|part| part == b"_rejected"), "{told:?}");
            if !told.keys.is_empty() {
                check_keys(told);
            }
        }
    }
}

proptest! {
    #![proptest_config(generate::config())]

    #[test]
    fn each_key_and_each_tag_and_field_is_told_of_once(
        run in generate::run(),
        cuts in vec(any::<usize>(), 0..6),
    ) {
        check(run.text().as_bytes(), &cuts, &run.options);
    }

    #[test]
    fn so_it_is_in_raw_json(
        options in generate::options(),
        messages in vec(generate::message(), 1..5),
        cuts in vec(any::<usize>(), 0..6),
    ) {
        check(messages.join("\n").as_bytes(), &cuts, &options);
    }
}
