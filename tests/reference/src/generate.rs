//! Inputs for the property tests: payloads with awkward keys and values, wrapped as Telegraf wraps them.

use proptest::collection::vec;
use proptest::option::{of, weighted};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};

use fixtures::telegraf::{line, quoted};

use super::{Options, lines, product};

/// What a run is given, and what it is asked for.
#[derive(Clone, Debug)]
pub struct Run {
    pub options: Options,
    pub inputs: Vec<Incoming>,
}

impl Run {
    pub fn text(&self) -> String {
        self.inputs.iter().map(Incoming::line).collect()
    }
}

#[derive(Clone, Debug)]
pub enum Incoming {
    /// A metric that holds a message.
    Message(String),
    /// A metric that passes through.
    Other(String),
}

impl Incoming {
    pub fn line(&self) -> &str {
        match self {
            Incoming::Message(line) | Incoming::Other(line) => line,
        }
    }
}

/// As many lines of the product's output as asked for, always the same: to be fed into other readers of line protocol.
pub fn output_lines(count: usize) -> Vec<Vec<u8>> {
    let mut runner = TestRunner::deterministic();
    let mut all = vec![];
    while all.len() < count {
        let run = run().new_tree(&mut runner).expect("a run").current();
        let output = product::convert(run.text().as_bytes(), &run.options);
        all.extend(lines::split(&output).expect("line protocol").into_iter().map(<[u8]>::to_vec));
    }
    all.truncate(count);
    all
}

/// The properties' configuration: PROPTEST_CASES raises the number of cases; nothing is written into the tree.
pub fn config() -> Config {
    Config { failure_persistence: None, ..Config::default() }
}

// ------------------------------------------------------------------------------------------------------------- streams

pub fn run() -> BoxedStrategy<Run> {
    (options(), vec(incoming(), 1..5)).prop_map(|(options, inputs)| Run { options, inputs }).boxed()
}

/// Metrics whose lines may be many times as long: some bytes of the message are in them over and over, around the bound on
/// that. No payload is rejected for anything else.
pub fn multiplied() -> BoxedStrategy<Run> {
    let long = |most: usize| {
        (prop_oneof!["k", "[a-z]{1,3}[ ,=\"\\\\é]?"], 0..most).prop_map(|(text, count)| text.repeat(count))
    };
    let quoted_long = |most| long(most).prop_map(|text| quoted(&text));
    let small = || {
        select(vec!["1", "null", "true", "1e15", "\"é\"", r#""\"""#, "[]", "[2]", "{\"_\":3}"]).prop_map(String::from)
    };
    let under_a_key = (quoted_long(900), vec(small(), 0..400), any::<bool>()).prop_map(|(key, values, named)| {
        let members = values.iter().enumerate();
        let value = if named {
            let members = members.map(|(index, value)| format!("\"{}\":{value}", index % 300));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        } else {
            format!("[{}]", values.join(","))
        };
        format!("{{\"algorithm_name\":\"a\",\"x\":1,{key}:{value}}}")
    });
    let in_an_array = (vec(small(), 1..4), 1..150_usize).prop_map(|(values, count)| {
        let payload = |value: &String| format!("{{\"algorithm_name\":\"a\",\"x\":1,\"y\":{value}}}");
        let payloads: Vec<_> = values.iter().cycle().take(count).map(payload).collect();
        format!("[{}]", payloads.join(","))
    });
    let message = prop_oneof![under_a_key, in_an_array].boxed();
    let metric = (message, long(700), quoted_long(700), metric_time()).prop_map(|(message, tag, field, time)| {
        let tags = if tag.is_empty() { vec![] } else { vec![("t".to_string(), tag)] };
        let fields = vec![("value".to_string(), quoted(&message)), ("f".to_string(), field)];
        Incoming::Message(line("kafka_consumer", tags, fields, time))
    });
    let options = select(vec![Options::default(), Options { fields: 200, ..Options::default() }]);
    (options, vec(metric, 1..3)).prop_map(|(options, inputs)| Run { options, inputs }).boxed()
}

/// Messages of several models under the same few keys, with values of all types; metrics with tags and other fields of these keys; and
/// rules for them and for what they are called where their types differ.
pub fn few_keys() -> BoxedStrategy<Run> {
    let rule_keys = select(vec![
        "a",
        "a_text",
        "a_number",
        "a_text_text",
        "a_text_number",
        "a_text_number_number",
        "a_field",
        "a_text_field",
        "a_field_text",
        "note",
        "note_text",
        "note_text_number",
        "count_number",
        "count_text",
        "time",
        "time_field",
        "time_field_text",
        "timestamp",
        "request_id",
        "session_id",
        "algorithm_owner",
        "a*",
        "a_*",
        "a_t*",
        "a_text_*",
        "note_*",
        "t*",
        "*",
    ]);
    let kinds = select(vec!["float", "integer", "boolean", "string", "tag", "drop"]);
    let rules = vec((rule_keys, kinds).prop_map(|(key, kind)| format!("{key}={kind}")), 0..4);
    let options = rules.prop_map(|kinds| Options { kinds, ..Options::default() });
    let input = (few_keys_payload(), few_keys_tags(), few_keys_fields(), metric_time());
    let input = input.prop_map(|(payload, tags, mut fields, time)| {
        fields.push(("value".into(), quoted(&payload)));
        Incoming::Message(line("kafka_consumer", tags, without_repetition(fields), time))
    });
    (options, vec(input, 1..8)).prop_map(|(options, inputs)| Run { options, inputs }).boxed()
}

/// The keys that all of it has.
const FEW_KEYS: &[&str] = &[
    "a",
    "_a",
    "a_text",
    "a_text_number",
    "a_field",
    "a_text_field",
    "note",
    "note_text",
    "count",
    "count_number",
    "_time",
    "time_field",
    "time_tag",
    "request_id",
    "session_id",
    "algorithm_owner",
];

fn few_keys_payload() -> BoxedStrategy<String> {
    let value = || {
        select(vec![
            "1",
            "1.5",
            "-0",
            "1e400",
            "true",
            "false",
            "null",
            "NaN",
            "\"t\"",
            "\"\"",
            "\"1\"",
            "\"0.10\"",
            "\"9007199254740993\"",
            "\"1e400\"",
            "\"nan\"",
            "\"Yes\"",
            "\" off \"",
            "[]",
        ])
    };
    let member = prop_oneof![
        6 => (select(FEW_KEYS), value()).prop_map(|(key, value)| format!("\"{key}\":{value}")),
        1 => (select(vec!["time", "timestamp"]), value()).prop_map(|(key, value)| format!("\"{key}\":{value}")),
        // What flattens to these.
        1 => value().prop_map(|value| format!("\"a\":{{\"text\":{value}}}")),
        1 => value().prop_map(|value| format!("\"a\":{{\"text\":{{\"number\":{value}}},\"field\":{value}}}")),
        1 => value().prop_map(|value| format!("\"_\":{{\"a\":{value}}},\"note\":{{\"text\":{value}}}")),
        1 => value().prop_map(|value| format!("\"\":{{\"time\":{value}}},\"session\":{{\"id\":{value}}}")),
        1 => value().prop_map(|value| format!("\"request\":{{\"id\":{value}}}")),
    ];
    (select(vec!["m", "n", " n"]), vec(member, 0..6))
        .prop_map(|(name, members)| {
            let members: String = members.iter().map(|member| format!(",{member}")).collect();
            format!("{{\"algorithm_name\":\"{name}\",\"x\":1{members}}}")
        })
        .boxed()
}

fn few_keys_tags() -> BoxedStrategy<Vec<(String, String)>> {
    prop::collection::btree_map(
        select(FEW_KEYS).prop_map(String::from),
        select(vec!["t", " 1"]).prop_map(String::from),
        0..3,
    )
    .prop_map(|tags| tags.into_iter().collect())
    .boxed()
}

/// Fields, with their values as Telegraf writes them.
fn few_keys_fields() -> BoxedStrategy<Vec<(String, String)>> {
    let value = select(vec!["5i", "7u", "1i", "1.5", "0", "true", "false", "\"t\"", "\"1\"", "\"yes\"", "\"NaN\""]);
    vec((select(FEW_KEYS).prop_map(String::from), value.prop_map(String::from)), 0..3).boxed()
}

pub fn options() -> BoxedStrategy<Options> {
    let with = |kinds: &[&str]| Options { kinds: kinds.iter().map(|k| k.to_string()).collect(), ..Options::default() };
    let kinds =
        ["count*=integer", "count_text=string", "approved=boolean", "label=tag", "note=string", "session_id=float"];
    let other = ["scores=drop", "risk_score=tag", "note=float", "approved=integer", "a b=tag", "request_id=drop"];
    prop_oneof![
        4 => Just(Options::default()),
        1 => Just(Options { exact_time: true, ..Options::default() }),
        2 => Just(with(&kinds)),
        2 => Just(with(&other)),
        2 => Just(Options {
            renames: ["risk_*=*", "note=time", "a=algorithm_name", "x=y", "*id=request_id", "count=_count"].map(String::from).to_vec(),
            ..with(&["time=drop", "score=integer"])
        }),
        1 => Just(Options { measurement: "my own,name".into(), ..Options::default() }),
        1 => Just(Options { fields: 6, nesting: 3, message: 600, ..Options::default() }),
        2 => Just(Options { items: 2, ..Options::default() }),
        1 => Just(Options { items: 1, ..with(&kinds) }),
    ]
    .boxed()
}

fn incoming() -> BoxedStrategy<Incoming> {
    prop_oneof![
        9 => message_metric(message()).prop_map(Incoming::Message),
        1 => metric("cpu").prop_map(Incoming::Other),
        // The name of a source, but no message in it.
        1 => metric("kafka_consumer").prop_map(Incoming::Other),
    ]
    .boxed()
}

/// A message in a metric of the source's, as Telegraf hands it over.
fn message_metric(message: BoxedStrategy<String>) -> BoxedStrategy<String> {
    (message, tags(), vec(other_field(), 0..3), any::<prop::sample::Index>(), metric_time())
        .prop_map(|(message, tags, mut fields, place, time)| {
            let place = place.index(fields.len() + 1);
            fields.insert(place, ("value".into(), quoted(&message)));
            line("kafka_consumer", tags, without_repetition(fields), time)
        })
        .boxed()
}

fn metric(name: &'static str) -> BoxedStrategy<String> {
    (tags(), vec(other_field(), 1..4), metric_time())
        .prop_map(move |(tags, fields, time)| line(name, tags, without_repetition(fields), time))
        .boxed()
}

fn without_repetition(fields: Vec<(String, String)>) -> Vec<(String, String)> {
    let mut once: Vec<(String, String)> = vec![];
    for (key, value) in fields {
        if !once.iter().any(|(known, _)| *known == key) {
            once.push((key, value));
        }
    }
    once
}

fn tags() -> BoxedStrategy<Vec<(String, String)>> {
    let keys = vec![
        "host",
        "topic",
        "algorithm_owner",
        "_x",
        "x",
        "time",
        "label",
        "a b",
        "k,e=y",
        "reason",
        "risk_score",
        "_",
        "\\",
        "tab\tkey",
        "q\"uote",
    ];
    prop::collection::btree_map(select(keys).prop_map(String::from), text(), 0..4)
        .prop_map(|tags| tags.into_iter().collect())
        .boxed()
}

/// A field, with its value as Telegraf writes it.
fn other_field() -> BoxedStrategy<(String, String)> {
    let keys = vec!["partition", "offset", "risk_score", "host", "_f", "time", "a b", "topic_field", "session_id"];
    let value = prop_oneof![
        any::<i64>().prop_map(|x| format!("{x}i")),
        select(vec![0.0, -0.0, 1.5, 1e15, 0.001]).prop_map(|x: f64| x.to_string()),
        any::<bool>().prop_map(|x| x.to_string()),
        text().prop_map(|text| quoted(&text)),
    ];
    (select(keys).prop_map(String::from), value).boxed()
}

fn metric_time() -> BoxedStrategy<i64> {
    let zeros = select(vec![1_i64, 1, 1_000, 1_000_000, 1_000_000_000]);
    let times = (1_500_000_000_000_000_000..1_700_000_000_000_000_000_i64, zeros).prop_map(|(t, unit)| t / unit * unit);
    // Those that are none, and the borders of those that InfluxDB stores.
    let odd = select(vec![0, -1, -1_613_780_514_867_000_000, i64::MIN, 1, i64::MAX - 2, i64::MAX - 1, i64::MAX]);
    prop_oneof![20 => times, 1 => odd].boxed()
}

// ------------------------------------------------------------------------------------------------------------ messages

pub fn message() -> BoxedStrategy<String> {
    let elements = vec(prop_oneof![6 => payload(), 1 => not_a_payload()], 1..4);
    prop_oneof![
        20 => payload(),
        2 => elements.prop_map(|elements| format!("[{}]", elements.join(" , "))),
        3 => wrapped(),
        1 => not_a_payload(),
    ]
    .boxed()
}

/// Messages as some producers write them: several payloads, something in front of one, or one in a string.
fn wrapped() -> BoxedStrategy<String> {
    let between = vec!["", "\n", "\r\n", " \0\n", "\0", "\u{feff}"];
    let array = vec(payload(), 1..3).prop_map(|payloads| format!("[{}]", payloads.join(",")));
    let broken = select(vec!["{}", "[]", "{\"a\":}", "{\"a\":1 \"b\":2}", "{'a':1}", "[5]"]).prop_map(String::from);
    let value = prop_oneof![5 => payload(), 1 => array, 1 => broken];
    let in_front = vec![
        "\u{feff}",
        "\u{1}",
        "\0\0\0\0\u{1}",
        "\u{2}\n",
        "{",
        "\"",
        "\\",
        ":",
        "é",
        "INFO ",
        "{\"a\":",
        "0123456789abcdef",
        "0123456789abcdefg",
    ];
    let quoted = |text: String| serde_json::Value::from(text).to_string();
    prop_oneof![
        (vec(value, 2..5), select(between)).prop_map(|(values, between)| values.join(between)),
        (select(in_front), payload()).prop_map(|(in_front, payload)| format!("{in_front}{payload}")),
        (prop_oneof![4 => payload(), 1 => string(), 1 => vec(payload(), 0..3).prop_map(|all| format!("[{}]", all.join(",")))], 1..4)
            .prop_map(move |(text, times)| (0..times).fold(text, |text, _| quoted(text))),
    ]
    .boxed()
}

/// Every bracket and quote in it has its counterpart, so that it does no harm to an array around it.
fn not_a_payload() -> BoxedStrategy<String> {
    let broken = vec![
        "hello",
        "42",
        "\"text\"",
        "null",
        "true",
        "tru",
        "NaN",
        "[]",
        "[{}]",
        "{}",
        "01",
        "{\"a\":}",
        "{\"a\" 1}",
        "{\"a\":01}",
        "{\"a\":.5}",
        "{\"a\":+1}",
        "{\"a\":nan}",
        "{\"a\":-NaN}",
        "{NaN:1}",
        "{\"a\":1,}",
        "{'a':1}",
        "{\"a\":\"\t\"}",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\\u12g4\"}",
        "{\"algorithm_name\":\"x\"}",
        "{\"a\":1 \"b\":2}",
        "{\"algorithm_name\":null,\"x\":1}",
        "{\"algorithm_name\":\"\\\\\",\"x\":1}",
        "{\"a\":1.}",
        "{\"a\":1e}",
    ];
    select(broken).prop_map(String::from).boxed()
}

/// The text of one JSON object.
pub fn payload() -> BoxedStrategy<String> {
    let member = |key: &str, value: BoxedStrategy<String>| {
        let key = key.to_string();
        value.prop_map(move |value| (format!("\"{key}\""), value)).boxed()
    };
    let known = (
        weighted(0.95, member("algorithm_name", prop_oneof![8 => string(), 1 => value()].boxed())),
        weighted(0.7, member("time", time())),
        weighted(0.1, member("timestamp", time())),
        weighted(0.5, member("request_id", request_id())),
        of(member("session_id", value())),
        of(member("algorithm_version", value())),
    );
    (known, vec((key(), nested()), 0..6), select(vec!["", "", " ", "\n", "\r\n\t "]))
        .prop_map(|((name, time, timestamp, request, session, version), mut members, blank)| {
            members.extend([name, time, timestamp, request, session, version].into_iter().flatten());
            (members, blank)
        })
        .prop_flat_map(|(members, blank)| (Just(members).prop_shuffle(), Just(blank)))
        .prop_map(|(members, blank)| object(&members, blank))
        .boxed()
}

fn object(members: &[(String, String)], blank: &str) -> String {
    let members: Vec<String> =
        members.iter().map(|(key, value)| format!("{blank}{key}{blank}:{blank}{value}{blank}")).collect();
    format!("{{{}}}", members.join(","))
}

fn key() -> BoxedStrategy<String> {
    let known = vec![
        "risk_score",
        "approved",
        "count",
        "count_text",
        "label",
        "note",
        "scores",
        "topic",
        "topic_field",
        "host",
        "x",
        "_x",
        "__x",
        "",
        "_",
        "_time",
        "time_field",
        "a b",
        "a,b=c",
        "algorithm_owner",
        "a",
        "a_0",
        "0",
        "offset",
        "é",
    ];
    prop_oneof![
        8 => select(known).prop_map(|key| format!("\"{key}\"")),
        1 => string(),
    ]
    .boxed()
}

fn nested() -> BoxedStrategy<String> {
    value()
        .prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..3).prop_map(|items| format!("[{}]", items.join(", "))),
                vec((key(), inner), 0..3).prop_map(|members| object(&members, "")),
            ]
        })
        .boxed()
}

/// The text of a scalar.
fn value() -> BoxedStrategy<String> {
    prop_oneof![
        6 => number(),
        4 => string(),
        3 => select(vec!["true", "false", "null", "NaN", "Infinity", "-Infinity"]).prop_map(String::from),
        2 => number().prop_map(|number| format!("\"{number}\"")),
        2 => select(vec![r#""TRUE""#, r#""false""#, r#""1""#, r#""0""#, r#""NaN""#, r#"" 1""#, r#""0x1""#, r#""1.""#, r#""+1""#])
            .prop_map(String::from),
    ]
    .boxed()
}

fn number() -> BoxedStrategy<String> {
    let known = vec![
        "0",
        "-0",
        "0.0",
        "-0.0e5",
        "1",
        "1.0",
        "1e0",
        "10e-1",
        "1E+3",
        "5e-324",
        "1e-400",
        "1e400",
        "-1e999",
        "0e999999999999",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775808",
        "9007199254740993",
        "9007199254740993.0",
        "1.7976931348623157e308",
        "1.7976931348623159e308",
        "123456789012345678901234567890",
        "0.1e1",
        "1.10",
        "1e16",
        "1e15",
        "0.00001",
        "0.000001",
        "1e99999999999999999999999999999999999999999",
    ];
    prop_oneof![
        4 => select(known).prop_map(String::from),
        2 => any::<i64>().prop_map(|x| x.to_string()),
        2 => (-1000..1000_i32).prop_map(|x| x.to_string()),
        2 => any::<f64>().prop_filter("finite", |x| x.is_finite()).prop_map(|x| format!("{x:e}")),
        1 => any::<f64>().prop_filter("finite", |x| x.is_finite()).prop_map(|x| format!("{x}")),
        2 => "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?",
    ]
    .boxed()
}

/// A string's text with its quotes.
pub fn string() -> BoxedStrategy<String> {
    let awkward = vec![
        r"\n",
        r"\t",
        r"\r",
        r"\f",
        r"\b",
        r"\u000b",
        r"\u0000",
        r#"\""#,
        r"\\",
        r"\/",
        ",",
        "=",
        " ",
        r"\u00e9",
        "é",
        r"\ud83d\ude00",
        "😀",
        r"\ud800",
        r"\udc00\ud800",
        r"\uD800\u0041",
        "'",
        "#",
        r"\u2028",
        "\u{7f}",
        "{",
        "}",
        "[",
        "]",
        ":",
        "NaN",
        r"\ufeff",
        r"\\\\",
        r"\\,",
        r#"\\\""#,
        "_",
    ];
    let piece = prop_oneof![
        3 => "[a-zA-Z0-9_.-]{1,6}",
        4 => select(awkward).prop_map(String::from),
        1 => any::<char>().prop_filter("needs no escape", |c| *c >= ' ' && *c != '"' && *c != '\\').prop_map(String::from),
    ];
    let long = (65_530..65_540_usize).prop_map(|n| format!("{}é\\n", "x".repeat(n)));
    prop_oneof![
        400 => vec(piece, 0..6).prop_map(|pieces| pieces.concat()),
        1 => long,
    ]
    .prop_map(|text| format!("\"{text}\""))
    .boxed()
}

/// Plain text, for what Telegraf hands over. No vertical tab: Telegraf writes it into tags as it is, and then refuses it.
fn text() -> BoxedStrategy<String> {
    let awkward = vec!["\n", "\r", "\t", "\u{c}", "\"", "\\", ",", "=", " ", "é", "😀", "\\\\", "\\,", "#", "\r\n"];
    vec(prop_oneof!["[a-zA-Z0-9_.-]{1,6}", select(awkward).prop_map(String::from)], 0..5)
        .prop_map(|pieces| pieces.concat())
        .boxed()
}

fn request_id() -> BoxedStrategy<String> {
    prop_oneof![
        6 => "req-[0-9a-f]{8}".prop_map(|id| format!("\"{id}\"")),
        1 => string(),
        1 => select(vec!["null", "\"\"", "true", "7", "1.10", "{}", "[1]", "{\"a\":1}"]).prop_map(String::from),
    ]
    .boxed()
}

fn time() -> BoxedStrategy<String> {
    let date = (1678..2262_i32, 1..13_u32, 1..32_u32, 0..25_u32, 0..61_u32, 0..62_u32);
    let iso = (date, select(vec!["T", "t", " "]), of("[.,][0-9]{1,12}"), zone()).prop_map(
        |((year, month, day, hour, minute, second), between, fraction, zone)| {
            let fraction = fraction.unwrap_or_default();
            format!("\"{year}-{month:02}-{day:02}{between}{hour:02}:{minute:02}:{second:02}{fraction}{zone}\"")
        },
    );
    let form = select(vec![
        "W, D M Y C Z",
        "D M Y C Z",
        "W, D-M-y C Z",
        "W M D C Y",
        "W M D C Z Y",
        "W M D Y C Z",
        "M D Y C Z",
    ]);
    let months = select(vec!["Jan", "Feb", "mar", "Apr", "DEC", "May", "Sep", "Feb.", "9"]);
    let clock = select(vec!["00:21:54", "23:59:60", "00:21", "12:00:00.867", "24:00:00", "0:21:54", "00:21:54."]);
    let words =
        (form, months, 1678..2262_i32, 1..32_u32, clock, zone()).prop_map(|(form, month, year, day, clock, zone)| {
            let short = format!("{:02}", year % 100);
            let (year, day) = (year.to_string(), day.to_string());
            let piece = |letter| match letter {
                'W' => "Saturday".to_owned(),
                'D' => day.clone(),
                'M' => month.to_owned(),
                'Y' => year.clone(),
                'y' => short.clone(),
                'C' => clock.to_owned(),
                'Z' => zone.to_owned(),
                other => other.to_string(),
            };
            format!("\"{}\"", form.chars().map(piece).collect::<String>())
        });
    let whole = prop_oneof![
        0..9_000_000_000_i64,
        100_000_000_000..9_000_000_000_000_i64,
        100_000_000_000_000..9_000_000_000_000_000_i64,
        100_000_000_000_000_000..9_000_000_000_000_000_000_i64,
    ];
    let epoch = (whole, any::<bool>(), of("\\.[0-9]{1,12}"), any::<bool>()).prop_map(|(n, minus, fraction, quoted)| {
        let number = format!("{}{n}{}", if minus { "-" } else { "" }, fraction.unwrap_or_default());
        if quoted { format!("\"{number}\"") } else { number }
    });
    let containers = prop_oneof![
        select(vec![
            r#"{"$date":"2021-02-20T00:21:54.867Z"}"#,
            r#"{"$date":"Sat, 20 Feb 2021 00:21:54 GMT"}"#,
            r#"{"$date":"1613780514867"}"#,
            r#"{"$date":{}}"#,
            r#"{"$date":1,"$date":1}"#,
            r#"{"$date":{"$date":1}}"#,
            r#"{"x":{"$date":1}}"#,
            r#"{"seconds":1613780514}"#,
            r#"{"year":2021,"monthValue":2,"dayOfMonth":20}"#,
            "[[2021,2,20,0,21]]",
            "[2021,2,20,0,21,54,0,0]",
            "[1613780514,867231000]",
        ])
        .prop_map(String::from),
        pieces(vec![
            ("{\"$date\":N}", 10_000_000_000_000),
            ("{\"$date\":{ \"$numberLong\" : \"N\" }}", 10_000_000_000_000),
            ("{\"$timestamp\":{\"t\":N,\"i\":N}}", 10_000_000_000),
            ("{\"\\u0065pochSecond\":N,\"nano\":N}", 1_100_000_000),
            ("{\"nanos\":N,\"seconds\":\"N\"}", 1_100_000_000),
            ("{\"seconds\":N,\"nanos\":N,\"x\":null}", 1_100_000_000),
        ]),
        pieces(vec![
            ("[202N, N, N, N, N]", 14),
            ("[202N, N, N, N, N, N]", 14),
            ("[202N, N, N, N, N, N, N]", 14),
            ("{\"year\":202N,\"monthValue\":N,\"dayOfMonth\":N,\"hour\":N,\"minute\":N,\"second\":N,\"nano\":N}", 14),
            (
                "{\"nano\":N,\"year\":202N,\"monthValue\":N,\"dayOfMonth\":N,\"hour\":N,\"minute\":N,\"second\":N,\"month\":\"MAY\",\"chronology\":{\"id\":\"ISO\"}}",
                14,
            ),
        ]),
    ];
    let odd = vec![
        "null",
        "true",
        "NaN",
        "\"\"",
        "\"now\"",
        "\"2021-02-20\"",
        "\"2021-02-20T00:21\"",
        "1e30",
        "{\"a\":1}",
        "[1]",
        "{}",
        "\"9999-12-31T00:00:00\"",
        "\"2262-04-12T00:00:00Z\"",
        "\"1677-09-21T00:12:43Z\"",
        "\"2021-02-30T00:00:00\"",
        "1e999",
        "\"2021-02-20T00:21:54.\"",
        "\"2021-02-20T00:21:54+\"",
        "\"20210220T002154\"",
        "9223372036854775807",
        "\"2016-12-31T23:59:60Z\"",
    ];
    prop_oneof![
        5 => iso,
        4 => epoch,
        2 => words,
        2 => containers,
        2 => select(odd).prop_map(String::from),
    ]
    .boxed()
}

/// One of the texts, with a number below its bound for each N in it.
fn pieces(texts: Vec<(&'static str, i64)>) -> BoxedStrategy<String> {
    let numbers = |(text, bound): (&str, i64)| {
        let pieces: Vec<String> = text.split('N').map(String::from).collect();
        (vec(0..bound, pieces.len()), Just(pieces))
    };
    let joined = |(numbers, pieces): (Vec<i64>, Vec<String>)| {
        let (last, pieces) = pieces.split_last().expect("split gives one at least");
        let joined = pieces.iter().zip(numbers).map(|(piece, number)| format!("{piece}{number}"));
        joined.collect::<String>() + last
    };
    select(texts).prop_flat_map(numbers).prop_map(joined).boxed()
}

/// What stands behind a time for its zone.
fn zone() -> BoxedStrategy<&'static str> {
    let offsets = vec!["", "", "Z", "z", "+00:00", "+05:30", "-0800", "+14", " Z", " +01:00"];
    let names = vec![
        " UTC",
        "GMT",
        " UT",
        " CET",
        "Z[UTC]",
        "[UTC]",
        "+01:00[Europe/Paris]",
        " +0000 UTC",
        " -0300 -03 m=+0.000123",
        " +0100 2021",
        "GMT+0100 (Central European Standard Time)",
        " UTC+1",
        " UTC+01",
        "-0000",
        "+24:00",
        "+01:",
        " +0100(CET)",
        "+0100 [",
        "Zulu",
    ];
    prop_oneof![2 => select(offsets), 1 => select(names)].boxed()
}
