//! The hostile inputs, made the same every time.

use fixtures::telegraf::{metric_bytes, quoted_bytes};

use crate::Way;
use reference::fuzzed::record::write_head;

/// The key of the journal's records.
pub const KEY: u32 = 0x9c0f_fee1;

/// When metrics came.
const TIME: i64 = 1_613_780_514_867_231_593;

/// A message may take so many bytes, ...
const LARGEST: usize = 1 << 20;

/// ... and one that is read at a glance, so many.
const LARGE: usize = 60 * 1024;

/// A text, and how many values it holds: members of objects, items of arrays, tags and fields.
type Text = (Vec<u8>, u64);

/// An input of about so many bytes.
pub struct Hostile {
    pub name: &'static str,
    pub make: Box<dyn Fn(Way, usize) -> Text>,
}

impl Hostile {
    /// All of it is such texts.
    fn of_texts(name: &'static str, text: impl Fn(usize) -> Vec<u8> + 'static) -> Self {
        Self::counted(name, move |index| {
            let text = text(index);
            let values = values(&text);
            (text, values)
        })
    }

    fn counted(name: &'static str, text: impl Fn(usize) -> Text + 'static) -> Self {
        Hostile { name, make: Box::new(move |_, size| fill(size, &text)) }
    }

    /// All of it is such messages, each in a metric or on a line.
    fn of_messages(name: &'static str, message: impl Fn(usize) -> Vec<u8> + 'static) -> Self {
        let make = move |way: Way, size| {
            fill(size, |index| {
                let message = message(index);
                let values = values(&message);
                let text = match way.takes_metrics() {
                    true => metric_bytes(&message, TIME + index as i64),
                    false => [message, b"\n".to_vec()].concat(),
                };
                (text, values)
            })
        };
        Hostile { name, make: Box::new(make) }
    }

    /// Likewise, of one message.
    fn of_message(name: &'static str, message: Vec<u8>) -> Self {
        Self::of_messages(name, move |_| message.clone())
    }
}

/// All inputs, by what they go into.
pub struct Inputs {
    messages: Vec<Hostile>,
    metrics: Vec<Hostile>,
    streams: Vec<Hostile>,
    segments: Vec<Hostile>,
}

impl Inputs {
    pub fn all() -> Self {
        Inputs { messages: messages(), metrics: metrics(), streams: streams(), segments: segments() }
    }

    /// The inputs for a way in.
    pub fn of(&self, way: Way) -> impl Iterator<Item = &Hostile> {
        let (messages, others) = match way {
            Way::Metrics | Way::MetricsByByte => (self.messages.as_slice(), self.metrics.as_slice()),
            Way::Lines => (self.messages.as_slice(), &[][..]),
            Way::Journal => (&[][..], self.segments.as_slice()),
            _ => (self.messages.as_slice(), self.streams.as_slice()),
        };
        messages.iter().chain(others)
    }
}

/// How many values there are in a text, as far as commas and brackets outside of strings say.
pub fn values(text: &[u8]) -> u64 {
    let (mut values, mut in_string, mut last) = (1, false, 0);
    for byte in text {
        match byte {
            b'"' if last != b'\\' => in_string = !in_string,
            b',' | b'[' | b'{' if !in_string => values += 1,
            _ => {}
        }
        last = *byte;
    }
    values
}

/// As many texts as it takes to make so many bytes.
fn fill(size: usize, text: impl Fn(usize) -> Text) -> Text {
    let (mut input, mut sum, mut index) = (Vec::new(), 0, 0);
    while input.len() < size {
        let (text, values) = text(index);
        input.extend_from_slice(&text);
        sum += values;
        index += 1;
    }
    (input, sum)
}

/// The same text as often as it fits.
fn repeat(text: &str, size: usize) -> String {
    text.repeat(size / text.len())
}

/// A payload with so many members.
fn object(count: usize, member: impl Fn(usize) -> String) -> Vec<u8> {
    let members: Vec<String> = (0..count).map(member).collect();
    format!(r#"{{"algorithm_name":"a","x":1,{}}}"#, members.join(",")).into_bytes()
}

/// A payload with as many members as fit.
fn full_object(size: usize, member: impl Fn(usize) -> String) -> Vec<u8> {
    object(size / (member(size / 8).len() + 1) - 4, member)
}

/// A payload with one member.
fn with(member: String) -> Vec<u8> {
    object(1, |_| member.clone())
}

fn array(item: &str, size: usize) -> Vec<u8> {
    format!("[{}{item}]", repeat(&format!("{item},"), size)).into_bytes()
}

/// What can be in a metric, on a line and in a stream.
fn messages() -> Vec<Hostile> {
    let one = Hostile::of_message;
    let many = |name, message: fn(usize) -> Vec<u8>| Hostile::of_messages(name, message);
    let key = |index: usize| format!(r#""k{index}":{index}"#);
    vec![
        one("a digit", b"1".to_vec()),
        one("an empty object", b"{}".to_vec()),
        one("a word", b"oops".to_vec()),
        many("different words", |index| format!("oops{index}").into_bytes()),
        one("an array that is cut", br#"[{"algorithm_name":"a","x":1},{"al"#.to_vec()),
        one("64 brackets on lines", repeat("[\n", 128).into_bytes()),
        one("brackets", repeat("[", LARGEST).into_bytes()),
        one("lines of {", repeat("{\n", LARGE).into_bytes()),
        one(r#"{"a": without end"#, repeat(r#"{"a":"#, LARGEST).into_bytes()),
        one("nested as deep as may be", {
            format!(r#"{{"algorithm_name":"a",{}1{}"#, r#""a":{"#.repeat(63) + r#""b":"#, "}".repeat(64)).into_bytes()
        }),
        one("nested deeper", {
            format!(r#"{{"algorithm_name":"a",{}1{}"#, r#""a":{"#.repeat(127) + r#""b":"#, "}".repeat(128)).into_bytes()
        }),
        one("many small objects", full_object(LARGE, |index| format!(r#""k{index}":{{}}"#))),
        one("a string without end", format!(r#"{{"a":"{}"#, repeat("x", LARGE)).into_bytes()),
        one("a short string without end", br#"{"a":"x"#.to_vec()),
        one("a string of }", with(format!(r#""a":"{}""#, repeat("}", LARGE)))),
        one("a string of line breaks", with(format!(r#""a":"{}""#, repeat("\n", LARGE)))),
        one("a long key over many short ones", {
            let inner: Vec<String> = (0..120).map(key).collect();
            with(format!(r#""{}":{{{}}}"#, repeat("k", 32_000), inner.join(",")))
        }),
        one("a key of 1,000 bytes over many short ones", {
            let inner: Vec<String> = (0..900).map(key).collect();
            with(format!(r#""{}":{{{}}}"#, repeat("k", 1000), inner.join(",")))
        }),
        one("a key that repeats", full_object(LARGEST, |_| r#""a":1"#.to_owned())),
        one("900 keys that repeat", full_object(LARGEST, |index| format!(r#""k{}":1"#, index % 900))),
        one("900 keys, each twice", object(1800, |index| format!(r#""k{}":1"#, index.min(1799 - index)))),
        one("900 fields", object(900, key)),
        one("900 fields, one of them twice", object(900, |index| format!(r#""k{}":1"#, index.max(1)))),
        many("new keys in each message", |message| {
            object(20, |index| format!(r#""k{}":{index}"#, 20 * message + index))
        }),
        many("keys in two orders", |message| {
            object(20, |index| format!(r#""k{}":1"#, if message % 2 == 0 { index } else { 20 - index }))
        }),
        one("keys that differ late", object(900, |index| format!(r#""{}{index:03}":1"#, "k".repeat(200)))),
        one("keys of the same hash", {
            let keys = keys_of_one_hash(900);
            object(900, |index| format!(r#""{}":1"#, keys[index]))
        }),
        one("keys of escapes", object(500, |index| format!(r#""\u006b{}{index}":1"#, r"\u0061".repeat(12)))),
        one("empty keys", full_object(LARGE, |_| r#""":1"#.to_owned())),
        one("keys of underscores", full_object(LARGE, |_| r#""____":1"#.to_owned())),
        one("escapes", with(format!(r#""a":"{}""#, repeat(r"\u0041", LARGE)))),
        one("escaped surrogates", with(format!(r#""a":"{}""#, repeat(r"\ud83d\ude00", LARGE)))),
        one("halves of surrogates", with(format!(r#""a":"{}""#, repeat(r"\ud83d", LARGE)))),
        one("an escape that is none, at the end", with(format!(r#""a":"{}\x""#, repeat("x", LARGE)))),
        one("backslashes", with(format!(r#""a":"{}""#, repeat(r"\\", LARGE)))),
        one("quotes", with(format!(r#""a":"{}""#, repeat(r#"\""#, LARGE)))),
        one("control characters", with(format!(r#""a":"{}""#, repeat(r"\n\t\u0001", LARGE)))),
        one("a string of 1 MB", with(format!(r#""a":"{}""#, repeat("x", LARGEST - 100)))),
        one("numbers of 10,000 digits", object(5, |index| format!(r#""k{index}":{}"#, "7".repeat(10_000)))),
        one("exponents of 10,000 digits", object(5, |index| format!(r#""k{index}":1e-{}"#, "7".repeat(10_000)))),
        one("0.000...1", object(5, |index| format!(r#""k{index}":0.{}1"#, "0".repeat(10_000)))),
        one("numbers without a float", object(500, |index| format!(r#""k{index}":1e999"#))),
        one("numbers half way between two floats", {
            object(100, |index| format!(r#""k{index}":9007199254740993{}1"#, "0".repeat(600)))
        }),
        one("numbers half way between the least floats", {
            let digits = digits_of_a_power_of_five(1075);
            object(100, |index| format!(r#""k{index}":{digits}e-1075"#))
        }),
        one("strings that are numbers", object(500, |index| format!(r#""k{index}":"12345678901234567.{index}""#))),
        one("strings that are nearly numbers", object(6, |index| format!(r#""k{index}":"{}x""#, "7".repeat(9000)))),
        one("a time of 10,000 digits", with(format!(r#""time":"2021-02-20T00:21:54.{}""#, "7".repeat(10_000)))),
        one("what is nearly a time", with(r#""time":"2021-02-20T00:21:54.867231+25:00""#.to_owned())),
        one("a long text for a time", with(format!(r#""time":"{}x""#, "7".repeat(LARGE)))),
        one(
            "invalid UTF-8 at the end",
            [with(format!(r#""a":"{}"#, repeat("x", LARGE))), b"\xff\"}".to_vec()].concat(),
        ),
        one("invalid UTF-8", vec![0xff; LARGE]),
        one("1 MB of invalid UTF-8", vec![0xff; LARGEST]),
        one(
            "white space within",
            [b"{".to_vec(), vec![b' '; LARGEST], br#""algorithm_name":"a","x":1}"#.to_vec()].concat(),
        ),
        one("zero bytes", vec![0; LARGE]),
        one("NaN", full_object(LARGEST, |index| format!(r#""k{index}":NaN"#))),
        one("null", full_object(LARGEST, |index| format!(r#""k{index}":null"#))),
        one("a message above the limit", with(format!(r#""a":"{}""#, repeat("x", 3 * LARGEST / 2)))),
        one("a key twice, at the end of many", object(500, |index| format!(r#""k{}":"{:0100}""#, index % 499, 1))),
        one("an array of digits", array("1", LARGEST - 8)),
        one("an array of empty objects", array("{}", LARGEST - 8)),
        one("an array of short payloads", array(r#"{"algorithm_name":"a","x":1}"#, LARGEST - 64)),
        one("an array in a payload", with(format!(r#""a":[{}1]"#, repeat("1,", 1600)))),
        one("arrays of 300 values", object(800, |index| format!(r#""k{index}":[{}1]"#, "1,".repeat(299)))),
        one(
            "arrays of 200 values, too many together",
            object(9, |index| format!(r#""k{index}":[{}1]"#, "1,".repeat(199))),
        ),
        one(
            "large arrays within each other",
            with(format!(r#""a":{}1{}"#, "[1,".repeat(60), repeat(",1", LARGE) + &"]".repeat(60))),
        ),
        one("a key that is null, behind 16,000 values", {
            let members = |index| if index < 16_000 { r#""a":1"# } else { r#""b":null"# }.to_owned();
            full_object(LARGEST, members)
        }),
        one("a tag again and again, behind 8,000 values", {
            object(16_000, |index| if index < 8000 { r#""a":1"# } else { r#""algorithm_name":"b""# }.to_owned())
        }),
        one("a key of number and text in turn", {
            full_object(LARGE, |index| if index % 2 == 0 { r#""a":1"# } else { r#""a":"t""# }.to_owned())
        }),
        one("JSON in a JSON string", {
            format!(r#""{}""#, String::from_utf8_lossy(&object(500, key)).replace('"', r#"\""#)).into_bytes()
        }),
        one("16 bytes in front of a payload", [vec![0xc3; 16], object(2, key)].concat()),
        one("16 bytes in front of no payload", [vec![b'x'; 16], repeat("{", LARGE).into_bytes()].concat()),
        one("payloads on lines, the last one broken", {
            format!("{}{{", repeat("{\"algorithm_name\":\"a\",\"x\":1}\n", LARGE)).into_bytes()
        }),
        one("payloads one behind the other", repeat(r#"{"algorithm_name":"a","x":1}"#, LARGE).into_bytes()),
        one("UTF-16", repeat("{\x00\"\x00a\x00\"\x00:\x001\x00}\x00", LARGE).into_bytes()),
        one(
            "a time that is an object of 60 KB",
            with(format!(r#""time":{{{}"a":1}}"#, repeat(r#""$date":1,"#, LARGE))),
        ),
        one("a date of many words", with(format!(r#""time":"Tue, 02 Jan 2024 15:04:05 {}""#, repeat("GMT ", LARGE)))),
        one("empty arrays in a payload", with(format!(r#""a":[{}1]"#, repeat("[],", LARGE)))),
    ]
}

/// Line protocol.
fn metrics() -> Vec<Hostile> {
    let rejections = |name, time: fn(usize) -> i64| {
        Hostile::of_texts(name, move |index| metric_bytes(format!("oops{index}").as_bytes(), time(index)))
    };
    let text = |name, text: String| Hostile::of_texts(name, move |_| text.clone().into_bytes());
    let source = |name, tags: String, before: String, message: Vec<u8>| {
        let quoted = String::from_utf8(quoted_bytes(&message)).expect("it is text");
        let line = format!("kafka_consumer{tags} {before}value={quoted} {TIME}\n").into_bytes();
        let values = values(&line) + values(&message);
        Hostile::counted(name, move |_| (line.clone(), values))
    };
    let pairs = |count: usize| (0..count).map(|index| format!("k{index}=1")).collect::<Vec<_>>().join(",");
    let payload = || br#"{"algorithm_name":"a","x":1}"#.to_vec();
    vec![
        rejections("rejections at one time", |_| TIME),
        rejections("rejections at one millisecond", |_| TIME / 1_000_000 * 1_000_000),
        rejections("rejections at two alternating times", |index| TIME + (index % 2) as i64 * 1_000_000_007),
        rejections("rejections at two times 1 ns apart", |index| TIME + (index % 2) as i64),
        rejections("rejections at 5,000 alternating times", |index| TIME + (index % 5000) as i64 * 1_000_007),
        rejections("rejections at 5,000 times 1 ns apart", |index| TIME + (index % 5000) as i64),
        rejections("rejections at the last times", |index| i64::MAX - 1 - (index % 3) as i64),
        text("other metrics", "m f=1 1\n".to_owned()),
        text("reports that look like Telegraf's", "internal_write,output=influxdb_v2 buffer_size=1i 1\n".to_owned()),
        text("another metric with 5,000 tags", format!("m,{} f=1 1\n", pairs(5000))),
        text("another metric with 5,000 fields", format!("m {} 1\n", pairs(5000))),
        text("comments", "#\n".to_owned()),
        text("a comment without end", "# ".to_owned()),
        text("line breaks", "\n".to_owned()),
        text("white space", " ".to_owned()),
        text("letters on lines", "x\n".to_owned()),
        text("letters", "x".to_owned()),
        text("backslashes alone", "\\".to_owned()),
        text("zero bytes on lines", "\0\n".to_owned()),
        text("a string without end in a metric", "kafka_consumer value=\"x".to_owned()),
        text("metrics with a carriage return", "kafka_consumer value=\"{}\" 1\r\n".to_owned()),
        text("a source without a message", "kafka_consumer f=1 1\n".to_owned()),
        text("metrics above the limit", format!("m f=\"{}\" 1\n", repeat("x", 4 * LARGEST))),
        source("a message with 1,000 tags", format!(",{}", pairs(1000)), String::new(), payload()),
        source("a message with 1,001 tags", format!(",{}", pairs(1001)), String::new(), payload()),
        source("a message with 8,000 tags, each twice", format!(",{0},{0}", pairs(4000)), String::new(), payload()),
        source("a message behind 8,000 fields, each twice", String::new(), format!("{0},{0},", pairs(4000)), payload()),
        source("a message behind 1,000 fields", String::new(), format!("{},", pairs(1000)), payload()),
        source("900 fields in a message behind 1,000", String::new(), format!("{},", pairs(1000)), {
            object(900, |index| format!(r#""k{index}":1"#))
        }),
        source("900 fields in a message with 1,000 tags", format!(",{}", pairs(1000)), String::new(), {
            object(900, |index| format!(r#""k{index}":1"#))
        }),
        source("900 fields in a message behind another field", String::new(), "offset=1i,".to_owned(), {
            object(900, |index| format!(r#""k{index}":1"#))
        }),
        source("an array of digits with 1,000 tags", format!(",{}", pairs(1000)), String::new(), array("1", 2000)),
        source("an array of payloads with 1,000 tags", format!(",{}", pairs(1000)), String::new(), {
            array(r#"{"algorithm_name":"a","x":1}"#, 40_000)
        }),
        source("an array of payloads behind 1,000 fields", String::new(), format!("{},", pairs(1000)), {
            array(r#"{"algorithm_name":"a","x":1}"#, 40_000)
        }),
        source("an array of digits with a tag of 30 KB", format!(",t={}", repeat("x", 30_000)), String::new(), {
            array("1", 2000)
        }),
        Hostile::of_texts("messages with tags of their own", |index| {
            format!("kafka_consumer,t{index}=1 value=\"{{\\\"algorithm_name\\\":\\\"a\\\",\\\"x\\\":1}}\" {TIME}\n")
                .into_bytes()
        }),
    ]
}

/// JSON over several lines.
fn streams() -> Vec<Hostile> {
    let text = |name, text: String| Hostile::of_texts(name, move |_| text.clone().into_bytes());
    let nested = |level: &str, rest: String| level.repeat(127) + &rest;
    vec![
        text("objects that begin within each other", r#"{"a":"#.to_owned() + "\n"),
        text(
            "128 objects within each other, and a long array",
            nested("{\"a\":\n", format!("[{}\n", repeat("1,", LARGEST))),
        ),
        text("128 arrays within each other, and many small ones", nested("[\n", repeat("[],", LARGEST) + "}\n")),
        text("128 objects within each other, and a long string", {
            nested("{\"a\":\n", format!("\"{}\n", repeat("x", LARGEST)))
        }),
        text("arrays that begin within each other, on long lines", {
            r#"{"a":"#.to_owned() + &format!("[{}\n", repeat("\"x\",", 250)).repeat(LARGEST / 250)
        }),
        text("arrays that begin within each other, with a long string", {
            r#"{"a":"#.to_owned() + &format!("[\"{}\",\n", repeat("x", 2000)).repeat(LARGEST / 2000)
        }),
        text("brackets that do not match", "[}\n".to_owned()),
        text("objects without a comma between", "{}".to_owned()),
        text("white space and nothing else", " \n".to_owned()),
        text("an array without end", "[1,".to_owned()),
        text("commas", ",".to_owned()),
        text("quotes alone", "\"".to_owned()),
        text("closing brackets", "]}".to_owned()),
    ]
}

/// Segments of a journal, with damaged records that hold what looks like records.
fn segments() -> Vec<Hostile> {
    /// The lines of a record, and what one of them claims.
    const LINES: usize = 128 * 1024;
    const CLAIMED: usize = 64 * 1024;
    // Damaged records of false heads, and whole ones between.
    let damaged = |name, head: fn(&mut String, u64)| Hostile {
        name,
        make: Box::new(move |_, size| {
            let (mut segment, mut own, mut heads, mut lines) = (Vec::new(), String::new(), String::new(), Vec::new());
            while segment.len() < size {
                write_head(&mut own, KEY, b"m f=1 1\n", 1, segment.len() as u64);
                segment.extend_from_slice(own.as_bytes());
                segment.extend_from_slice(b"m f=1 1\n");
                lines.clear();
                lines.resize(LINES, b'x');
                write_head(&mut own, KEY, &lines, 1, segment.len() as u64);
                segment.extend_from_slice(own.as_bytes());
                let end = segment.len() + LINES;
                while segment.len() < end {
                    head(&mut heads, segment.len() as u64);
                    segment.extend_from_slice(heads.as_bytes());
                }
                segment.truncate(end);
            }
            let values = 0;
            (segment, values)
        }),
    };
    vec![
        damaged("heads of the version before", |head, offset| {
            let lines = [0; CLAIMED];
            let checksum = xxhash_rust::xxh3::xxh3_64_with_seed(&lines, offset);
            *head = format!("# journal {checksum:016x} {CLAIMED} 1\n");
        }),
        damaged("heads with another key", |head, offset| write_head(head, KEY ^ 1, &[0; CLAIMED], 1, offset)),
        damaged("heads of another place", |head, _| write_head(head, KEY, &[0; CLAIMED], 1, 7)),
        damaged("marks", |head, _| *head = "# journal".to_owned()),
        damaged("nothing that looks like a head", |head, _| *head = "m f=\"#\" 1\n".to_owned()),
    ]
}

/// Keys that had one hash while that had no secret: see `hash` in src/point.rs.
fn keys_of_one_hash(count: usize) -> Vec<String> {
    const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;
    // Newton's way to the number that undoes the factor.
    let inverse = (0..6).fold(1u64, |inverse, _| inverse.wrapping_mul(2u64.wrapping_sub(FACTOR.wrapping_mul(inverse))));
    let mix = |sum: u64, word: u64| (sum.rotate_left(29) ^ word).wrapping_mul(FACTOR);
    let key = |index: usize| {
        let first = format!("k{index:07}");
        let sum = mix(mix(0, 16), u64::from_le_bytes(first.as_bytes().try_into().expect("eight digits")));
        let second = |low: u64| (0x1234_5678 << 32 | low).wrapping_mul(inverse) ^ sum.rotate_left(29);
        let is_plain =
            |word: &u64| word.to_le_bytes().iter().all(|byte| byte.is_ascii_alphanumeric() || b"-+.:;".contains(byte));
        let second = (0..u64::from(u32::MAX)).map(second).find(is_plain).expect("there are thousands");
        first + std::str::from_utf8(&second.to_le_bytes()).expect("it is ASCII")
    };
    (0..count).map(key).collect()
}

/// The digits of 5^`power`, which are those of 2^-`power`.
fn digits_of_a_power_of_five(power: usize) -> String {
    let mut digits = vec![1u8];
    for _ in 0..power {
        let mut carry = 0;
        for digit in &mut digits {
            let product = 5 * *digit + carry;
            (*digit, carry) = (product % 10, product / 10);
        }
        digits.extend((carry > 0).then_some(carry));
    }
    digits.iter().rev().map(|digit| char::from(b'0' + digit)).collect()
}
