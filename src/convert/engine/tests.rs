use std::cell::Cell;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::{Converter, Counts, Settings};

thread_local! {
    /// How many lines this thread has written of payloads that were read unchanged from the input.
    pub static WRITTEN: Cell<usize> = const { Cell::new(0) };
}

/// A value. Each of the texts has something that one of the two ways might treat differently.
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
    (vec(select(&RULES[..]), 0..5), any::<bool>(), select(&[1000, 4][..])).prop_map(|(rules, exact_time, fields)| {
        let mut settings = Settings { exact_time, clock: || 1_700_000_000_000_000_000, ..Settings::default() };
        rules.iter().for_each(|rule| settings.kinds.add(rule).expect("a rule"));
        settings.limits.fields = fields;
        settings
    })
}

fn metric(message: &str, tags: &str) -> String {
    format!("kafka_consumer{tags} value={} 1613780514867231999\n", fixtures::telegraf::quoted(message))
}

/// The lines of each input, the counts, and how many lines were written of payloads that were read unchanged from the input.
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

    /// White space before a message changes only the way in which it is read.
    #[test]
    fn both_ways_come_to_the_same(
        settings in settings(),
        messages in vec((message(), select(&["", ",topic=t", r",host=a\ b,topic=x\,y", ",algorithm_owner=o"][..])), 1..30),
    ) {
        let metrics = |blank: &str| -> Vec<String> {
            messages.iter().map(|(message, tags)| metric(&format!("{blank}{message}"), tags)).collect()
        };
        let (straight, counts, _) = convert(&settings, &metrics(""));
        let (around, expected, as_they_stood) = convert(&settings, &metrics("\t"));
        prop_assert_eq!(as_they_stood, 0);
        prop_assert_eq!(straight, around);
        prop_assert_eq!(counts, expected);

        let lines = |blank: &str| -> Vec<String> {
            // A message that is cut off may take the next message, and the blank before it, for its rest.
            let messages = messages.iter().filter(|(message, _)| message.ends_with('}'));
            messages.map(|(message, _)| format!("{blank}{message}\n")).collect()
        };
        let (straight, counts, _) = convert(&settings, &lines(""));
        let (around, expected, as_they_stood) = convert(&settings, &lines("\t"));
        prop_assert_eq!(as_they_stood, 0);
        prop_assert_eq!(straight.concat(), around.concat());
        prop_assert_eq!(counts, expected);
    }
}

#[test]
fn both_ways_are_taken() {
    let mut runner = TestRunner::deterministic();
    let messages: Vec<String> =
        (0..1000).map(|_| message().new_tree(&mut runner).expect("a message").current()).collect();
    let metrics: Vec<String> = messages.iter().map(|message| metric(message, ",topic=t")).collect();
    let lines: Vec<String> = messages.iter().map(|message| format!("{message}\n")).collect();
    for inputs in [metrics, lines] {
        let (_, counts, as_they_stood) = convert(&Settings::default(), &inputs);
        assert!((300..900).contains(&as_they_stood), "{as_they_stood} of {counts:?}");
    }
}
