//! What must hold for any input: the output equals the reference's, can be read by all who read it, does not depend on
//! how the input is cut, and comes out unchanged when it is fed through again.
//!
//! PROPTEST_CASES=20000 looks harder.

use std::collections::HashMap;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use reference::generate::{self, Incoming, Run};
use reference::lines::{self, decode};
use reference::numbers::float_text;
use reference::product::{assert_same, check_output, chunks, convert, convert_chunks, convert_with_pauses, survives};
use reference::{Line, Metric, NOW, Options, Reference};

proptest! {
    #![proptest_config(generate::config())]

    #[test]
    fn the_output_equals_the_reference(run in prop_oneof![8 => generate::run(), 1 => generate::multiplied()]) {
        equals_the_reference(&run)?;
    }

    /// "A field key has one type, whatever any payload says."
    #[test]
    fn a_field_key_has_one_type(run in generate::few_keys()) {
        let output = convert(run.text().as_bytes(), &run.options);
        let mut types = HashMap::new();
        for line in lines::split(&output).expect("line protocol") {
            let line = decode(std::str::from_utf8(line).expect("UTF-8"));
            for (key, value) in line.fields {
                let known = types.entry((line.measurement.clone(), key.clone())).or_insert(value.field_type());
                prop_assert_eq!(*known, value.field_type(), "{} of {:.3000} with {:?}", key, run.text(), run.options.kinds);
            }
        }
        check_output(&output, &run.options);
        // Rules with a `*` may give a type to all that a key could be called: then a value has no field.
        let merges = |rule: &String| {
            let (key, kind) = rule.rsplit_once('=').expect("a rule");
            let is_derived = ["_text", "_number", "_field"].iter().any(|end| key.ends_with(end));
            let is_time = matches!(key, "time" | "t*" | "*") && !["tag", "drop"].contains(&kind);
            is_time || key.ends_with("_*") || key.ends_with("_t*") || (is_derived && ["float", "string"].contains(&kind))
        };
        if !run.options.kinds.iter().any(merges) {
            equals_the_reference(&run)?;
        }
    }

    /// "The lines of a message take at most 16 times the bytes of the message as it arrived, and 32 KiB."
    #[test]
    fn the_lines_of_a_message_are_a_small_multiple_of_it(run in prop_oneof![generate::run(), generate::multiplied()]) {
        for input in &run.inputs {
            let line = input.line();
            let output = convert(line.as_bytes(), &run.options);
            // Where there is no room for a payload, two rejections may take its place and that of all behind it.
            let rejection = line.len() + 500;
            prop_assert!(output.len() <= 16 * line.len() + 32_768 + 2 * rejection, "{} of {}", output.len(), line.len());
        }
    }

    #[test]
    fn the_output_is_readable_and_comes_out_unchanged(run in generate::run()) {
        check_output(&convert(run.text().as_bytes(), &run.options), &run.options);
    }

    #[test]
    fn cutting_the_input_changes_nothing(run in generate::run(), cuts in vec(any::<usize>(), 0..8)) {
        let text = run.text();
        let whole = convert(text.as_bytes(), &run.options);
        let chunks = chunks(text.as_bytes(), &cuts);
        assert_same(&convert_chunks(&chunks, &run.options), &whole, text.as_bytes());
        assert_same(&convert_with_pauses(&chunks, &run.options), &whole, text.as_bytes());
    }

    #[test]
    fn raw_json_gives_what_the_same_messages_give_in_metrics(
        options in generate::options(),
        payloads in vec(generate::payload(), 1..5),
        // Between objects nothing has to stand.
        between in prop::sample::select(vec!["\n", "", " \r\n\t"]),
        array in any::<bool>(),
        cuts in vec(any::<usize>(), 0..8),
    ) {
        let text = if array { format!("[{}]", payloads.join(",")) } else { payloads.join(between) };
        let output = convert(text.as_bytes(), &options);
        check_output(&output, &options);
        let mut lines: Vec<Line> = lines::split(&output)
            .expect("checked")
            .into_iter()
            .map(|line| decode(std::str::from_utf8(line).expect("UTF-8")))
            .collect();
        let mut reference = Reference::new(&options);
        let mut expected: Vec<Line> = payloads
            .iter()
            .flat_map(|payload| reference.convert_message(payload.as_bytes(), &Metric::default()))
            .collect();
        let points = lines.iter().filter(|line| is_by_clock(line) && !line.measurement.ends_with("_rejected"));
        let times: Vec<i64> = points.map(|line| line.time).collect();
        prop_assert!(times.is_sorted_by(|a, b| a < b), "the clock gave a time twice: {times:?}");
        // How often the clock was asked on the way to a rejection is nobody's business.
        for line in lines.iter_mut().chain(&mut expected).filter(|line| is_by_clock(line)) {
            line.time = NOW;
        }
        prop_assert!(lines == expected, "{lines:.1500?}\nnot {expected:.1500?}\nfor {text:.1500}");

        let cut = convert_chunks(&chunks(text.as_bytes(), &cuts), &options);
        assert_same(&cut, &output, text.as_bytes());
    }

    #[test]
    fn damaged_input_never_panics(
        run in generate::run(),
        damage in vec((any::<usize>(), damage()), 1..6),
        cuts in vec(any::<usize>(), 0..8),
    ) {
        let mut input = run.text().into_bytes();
        for (place, damage) in damage {
            damage.apply(&mut input, place);
        }
        survives(&input, &cuts, &run.options);
    }

    #[test]
    fn damaged_raw_json_never_panics(
        options in generate::options(),
        messages in vec(generate::message(), 1..5),
        damage in vec((any::<usize>(), damage()), 1..6),
        cuts in vec(any::<usize>(), 0..8),
    ) {
        let mut input = messages.join("\n").into_bytes();
        for (place, damage) in damage {
            damage.apply(&mut input, place);
        }
        survives(&input, &cuts, &options);
    }

    #[test]
    fn any_bytes_never_panic(
        input in vec(any::<u8>(), 0..300),
        likely in "[ \\n\\r\\t\"\\\\,=#{}\\[\\]:a1.eE+i-]{0,200}",
        cuts in vec(any::<usize>(), 0..8),
    ) {
        survives(&input, &cuts, &Options::default());
        survives(likely.as_bytes(), &cuts, &Options::default());
    }

    /// "Floats are the shortest text that reads back the same."
    #[test]
    fn floats_are_the_shortest_text(x in any::<f64>(), digits in 0..10_000_000_i64, shift in -30..30_i32) {
        for x in [x, digits as f64 * 10_f64.powi(shift)] {
            if !x.is_finite() {
                continue;
            }
            let input = format!(r#"{{"algorithm_name":"a","x":{x},"time":1}}"#);
            let options = Options { exact_time: true, ..Options::default() };
            let output = String::from_utf8(convert(input.as_bytes(), &options)).expect("UTF-8");
            let text = output
                .strip_prefix("algorithmia,algorithm_name=a x=")
                .and_then(|rest| rest.strip_suffix(" 1000000000\n"))
                .expect("one field");
            prop_assert_eq!(text.parse::<f64>().map(f64::to_bits), Ok(x.to_bits()), "{}", output);
            // Two texts can be the shortest: 1825108848305095.2 and ...5.3 read back the same.
            prop_assert_eq!(text.len(), float_text(x).len(), "{}", output);
        }
    }
}

fn is_by_clock(line: &Line) -> bool {
    (NOW..NOW + 1_000_000).contains(&line.time)
}

/// The output is what the reference makes of the input, line for line.
fn equals_the_reference(run: &Run) -> Result<(), TestCaseError> {
    let output = convert(run.text().as_bytes(), &run.options);
    let shown = String::from_utf8_lossy(&output).into_owned();
    let lines = lines::split(&output).unwrap_or_else(|_| panic!("Telegraf refuses {shown:?}"));
    let mut lines = lines.into_iter();
    for expected in expected(run) {
        let Some(line) = lines.next() else { panic!("too few lines: {shown:.3000}\nfor {:.3000}", run.text()) };
        let line = std::str::from_utf8(line).expect("UTF-8");
        match expected {
            Expected::Verbatim(expected) => prop_assert_eq!(line, expected),
            Expected::Decoded(expected) => {
                let line = decode(line);
                prop_assert!(line == expected, "{line:.1500?}\nnot {expected:.1500?}\nfor {:.1500}", run.text());
            }
        }
    }
    prop_assert_eq!(lines.next(), None, "too many lines: {:.3000}\nfor {:.3000}", shown, run.text());
    Ok(())
}

enum Expected {
    Verbatim(String),
    Decoded(Line),
}

fn expected(run: &Run) -> Vec<Expected> {
    let mut reference = Reference::new(&run.options);
    let mut expected = vec![];
    for input in &run.inputs {
        match input {
            Incoming::Other(line) => expected.push(Expected::Verbatim(line.clone())),
            Incoming::Message(line) => {
                let (message, metric) = lines::message_of(line.as_bytes(), &run.options.field).expect("a message");
                expected.extend(reference.convert_message(&message, &metric).into_iter().map(Expected::Decoded));
            }
        }
    }
    expected
}

#[derive(Clone, Debug)]
enum Damage {
    Replace(u8),
    Insert(u8),
    Remove(usize),
    Repeat(usize),
    CutOff,
}

fn damage() -> impl Strategy<Value = Damage> {
    let byte = prop_oneof![any::<u8>(), prop::sample::select(b"\n\r\t \0\"\\,=#{}[]:0eE.-+iu\xC3\xFF".to_vec()),];
    prop_oneof![
        4 => byte.clone().prop_map(Damage::Replace),
        4 => byte.prop_map(Damage::Insert),
        2 => (1..20_usize).prop_map(Damage::Remove),
        2 => (1..40_usize).prop_map(Damage::Repeat),
        1 => Just(Damage::CutOff),
    ]
}

impl Damage {
    fn apply(&self, input: &mut Vec<u8>, place: usize) {
        let at = place % (input.len() + 1);
        let range = |length: usize| at..(at + length).min(input.len());
        match *self {
            Damage::Replace(byte) => {
                input.splice(range(1), [byte]);
            }
            Damage::Insert(byte) => input.insert(at, byte),
            Damage::Remove(length) => {
                input.drain(range(length));
            }
            Damage::Repeat(length) => {
                let piece = input[range(length)].to_vec();
                input.splice(at..at, piece);
            }
            Damage::CutOff => input.truncate(at),
        }
    }
}

/// The generators' own check: they make what they promise.
#[test]
fn the_generators_reach_every_kind_of_line() {
    let lines = generate::output_lines(3000);
    assert_eq!(lines.len(), 3000);
    let starts = ["algorithmia,", "algorithmia_rejected,", "cpu", "kafka_consumer", r"my\ own\,name,"];
    for start in starts {
        assert!(lines.iter().any(|line| line.starts_with(start.as_bytes())), "no line begins with {start}");
    }
}

#[test]
fn the_generators_reach_the_bound_on_the_lines_of_a_message() {
    let mut runner = TestRunner::deterministic();
    let (mut within, mut beyond) = (0, 0);
    for _ in 0..200 {
        let run = generate::multiplied().new_tree(&mut runner).expect("a run").current();
        let output = convert(run.text().as_bytes(), &run.options);
        let has_room = !String::from_utf8_lossy(&output).contains(" times the message and ");
        *if has_room { &mut within } else { &mut beyond } += 1;
    }
    assert!(within > 20 && beyond > 20, "{within} runs within it, {beyond} beyond");
}

/// White space behind a broken value once counted as a part of it, or not, as the input was cut.
#[test]
fn blank_lines_behind_a_broken_value_change_nothing() {
    let broken = format!("{{\"algorithm_name\":\"{}\"", "a".repeat(15));
    let options = Options { message: 20, ..Options::default() };
    for blank in ["\n", "\n\n\n", "\n \r\n\t\n"] {
        let input = format!("{broken}{blank}{{\"algorithm_name\":\"a\",\"x\":1,\"time\":1}}\n");
        for cut in 0..input.len() {
            survives(input.as_bytes(), &[cut], &options);
        }
    }
}

/// White space in an array once counted as a value that is too large.
#[test]
fn white_space_in_an_array_is_no_value() {
    let input = format!("[{}]\n{{\"algorithm_name\":\"a\",\"x\":1,\"time\":1}}\n", " ".repeat(200));
    let options = Options { message: 100, ..Options::default() };
    for cut in 0..input.len() {
        survives(input.as_bytes(), &[cut], &options);
    }
}
