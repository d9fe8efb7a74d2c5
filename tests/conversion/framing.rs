//! "One message costs itself alone": whatever is broken in a stream of JSON, the messages beside it give the points that they
//! give without it. In JSON lines, nothing crosses a line break.

use std::time::Instant;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use fixtures::telegraf::quoted;
use reference::case::{bytes_input, input};
use reference::lines::{self, decode};
use reference::product::{assert_same, check_output, chunks, convert, convert_chunks, converter};
use reference::streams::{self, Message, others_are_unharmed};
use reference::{Format, Line, NOW, Options, Value, generate};

fn with(input: Format) -> Options {
    Options { input, ..Options::default() }
}

const LINE_ENDS: [&str; 4] = ["\n", "\r\n", "\n\n \n", "\n  "];

proptest! {
    #![proptest_config(generate::config())]

    /// Of any form, on one line or on several, with line breaks put in and taken out.
    #[test]
    fn a_damaged_value_of_a_stream_harms_no_other(
        messages in streams::messages(any::<bool>().boxed()),
        damage in streams::damage(true),
        place in any::<Index>(),
        line_end in select(LINE_ENDS.to_vec()),
        cuts in vec(any::<usize>(), 0..4),
    ) {
        let (damaged, others) = messages.split_last().expect("two at least");
        let text = damaged.damaged("damaged", &damage);
        others_are_unharmed(others, &text, place.index(others.len() + 1), line_end, &with(Format::Json), &cuts);
    }

    /// Nothing but what matters to the one who cuts the stream.
    #[test]
    fn brackets_and_quotes_of_any_kind_harm_no_value_of_a_stream(
        messages in streams::messages(any::<bool>().boxed()),
        text in "[\\[{}\\]\":,\\\\1 \n]{0,24}",
        place in any::<Index>(),
        cuts in vec(any::<usize>(), 0..4),
    ) {
        let place = place.index(messages.len() + 1);
        others_are_unharmed(&messages, text.as_bytes(), place, "\n", &with(Format::Json), &cuts);
    }

    #[test]
    fn a_damaged_line_harms_no_other(
        messages in streams::messages(Just(false).boxed()),
        damage in streams::damage(false),
        place in any::<Index>(),
        line_end in select(LINE_ENDS.to_vec()),
        cuts in vec(any::<usize>(), 0..4),
    ) {
        let (damaged, others) = messages.split_last().expect("two at least");
        let text = damaged.damaged("damaged", &damage);
        for format in [Format::Json, Format::JsonLines] {
            others_are_unharmed(others, &text, place.index(others.len() + 1), line_end, &with(format), &cuts);
        }
    }

    /// Any lines at all, and all of them may be broken: each gives what it gives alone.
    #[test]
    fn each_of_json_lines_gives_what_it_gives_alone(
        lines in vec(line(), 1..8),
        small in any::<bool>(),
        cuts in vec(any::<usize>(), 0..8),
    ) {
        let limits = if small { (60, 4) } else { (1 << 20, 64) };
        let options = Options { message: limits.0, nesting: limits.1, ..with(Format::JsonLines) };
        let text = lines.join(&b'\n');
        let whole = convert(&text, &options);
        check_output(&whole, &options);
        let alone: Vec<Line> = lines.iter().flat_map(|line| by_no_clock(&convert(line, &options))).collect();
        prop_assert_eq!(by_no_clock(&whole), alone, "for {:?}", String::from_utf8_lossy(&text));
        let cut = convert_chunks(&chunks(&text, &cuts), &options);
        assert_same(&cut, &whole, &text);
    }
}

fn line() -> BoxedStrategy<Vec<u8>> {
    let message = (streams::messages(Just(false).boxed()), streams::damage(false), any::<bool>());
    prop_oneof![
        3 => message.prop_map(|(messages, damage, is_damaged)| {
            messages[0].damaged("a", if is_damaged { &damage } else { &[] })
        }),
        2 => generate::message().prop_map(|message| message.replace('\n', " ").into_bytes()),
        1 => "[\\[{}\\]\":,\\\\1 \r]{0,24}".prop_map(String::into_bytes),
        1 => vec(any::<u8>().prop_map(|byte| if byte == b'\n' { 0 } else { byte }), 0..30),
    ]
    .boxed()
}

/// The lines of an output. Which time the clock gave depends on how often it was asked.
fn by_no_clock(output: &[u8]) -> Vec<Line> {
    let lines = lines::split(output).expect("line protocol").into_iter();
    let mut lines: Vec<Line> = lines.map(|line| decode(std::str::from_utf8(line).expect("UTF-8"))).collect();
    for line in lines.iter_mut().filter(|line| (NOW..NOW + 1_000_000).contains(&line.time)) {
        line.time = NOW;
    }
    lines
}

/// A payload whose time is its number of seconds, and its point.
fn good(number: usize) -> (String, String) {
    (
        format!(r#"{{"algorithm_name":"a","x":{number},"time":{}}}"#, 1_600_000_000 + number),
        format!("algorithmia,algorithm_name=a x={number} {}000000000\n", 1_600_000_000 + number),
    )
}

/// The output of a broken text, line by line or as a stream, with these many good lines behind it.
fn behind(broken: &str, count: usize, format: Format) -> (String, String) {
    let (lines, points): (Vec<_>, Vec<_>) = (0..count).map(good).unzip();
    let text = format!("{broken}\n{}\n", lines.join("\n"));
    let options = Options { exact_time: true, ..with(format) };
    let out = String::from_utf8(convert(text.as_bytes(), &options)).expect("UTF-8");
    let (points, rejected) = (points.concat(), "algorithmia_rejected,reason=");
    let (before, after) = out.split_at(out.find("algorithmia,").unwrap_or(out.len()));
    assert!(after.starts_with(&points), "{broken:.100}: {:.1000}", out);
    for line in before.lines().chain(after[points.len()..].lines()) {
        assert!(line.starts_with(rejected), "{broken:.100}: {line:.500}");
    }
    (before.to_owned(), after[points.len()..].to_owned())
}

#[test]
fn brackets_that_stay_open_swallow_nothing() {
    let deep = format!(r#"{{"algorithm_name":"a","x":{}"#, "[".repeat(64));
    for format in [Format::Json, Format::JsonLines] {
        let (before, after) = behind(&deep, 20_000, format);
        assert_eq!((before.lines().count(), after.as_str()), (1, ""));
        for broken in [
            r#"{"algorithm_name":"a","x":"#,
            r#"{"algorithm_name":"a","#,
            r#"{"algorithm_name":"a","x":["#,
            r#"{"algorithm_name":"a","x":[1,"#,
            r#"{"algorithm_name":"a","x":[{"y":1},"#,
            r#"{"algorithm_name":"a","x":{"y":[[],"#,
            r#"{"algorithm_name":"a","x":"open"#,
            r#"{"algorithm_name":"a","x":"\"#,
            r#"{"algorithm_name":"a","x":[}"#,
            "{",
        ] {
            let (before, after) = behind(broken, 3, format);
            let expected = format!("payload={} {NOW}\n", quoted(broken));
            assert!(before.lines().count() == 1 && before.ends_with(&expected), "{broken} gave {before}");
            assert_eq!(after, "");
        }
    }
}

/// It makes a rejection that says so, and no more.
#[test]
fn an_array_that_stays_open_takes_no_other_with_it() {
    let (one, first) = good(1);
    let (two, second) = good(2);
    let (three, third) = good(3);
    let open = "algorithmia_rejected,reason=invalid_json error=\"expected the `]` that ends the array\",payload=\"[\"";
    for (text, expected) in [
        (format!("[{one},\n[{two}]\n[{three}]\n"), format!("{first}{open} {NOW}\n{second}{third}")),
        (format!("[{one}\n[{two}]\n[{three}]\n"), format!("{first}{open} {NOW}\n{second}{third}")),
        (format!("[\n[{one},{two}]\n{three}\n"), format!("{open} {NOW}\n{first}{second}{third}")),
        (format!("[{one},\n{two}\n{three}\n"), format!("{first}{second}{third}{open} {NOW}\n")),
        (format!("[\n  {one}\n,\n  {two},\n  {three}\n]\n"), format!("{first}{second}{third}")),
        (format!("[{one},\n{two}]\n[\n{three}\n]"), format!("{first}{second}{third}")),
    ] {
        input("in a stream", &text).with(|o| (o.input, o.exact_time) = (Format::Json, true)).gives(expected.trim_end());
    }
    // An item that holds another array is no payload.
    let nested = format!("[{one},[{two}],\n{three}]");
    let rejection = format!(
        "algorithmia_rejected,reason=not_an_object error=\"*\",payload={} {NOW}\n",
        quoted(&format!("[{two}]"))
    );
    input("in a line", &nested)
        .with(|o| (o.input, o.exact_time) = (Format::Json, true))
        .gives(format!("{first}{rejection}{third}").trim_end());
}

/// What stays open may be followed by an array that never ends. Then it shows by its length.
#[test]
fn a_value_that_grows_without_end_ends_at_its_first_line() {
    let (lines, points): (Vec<_>, Vec<_>) = (0..8000).map(good).unzip();
    let text = format!("{{\"algorithm_name\":\"b\",\"x\":[\n{}", lines.join(",\n"));
    let options = Options { message: 10_000, exact_time: true, ..with(Format::Json) };
    assert!(text.len() > 2 * (2 * options.message + 64 * 1024));
    let out = String::from_utf8(convert(text.as_bytes(), &options)).expect("UTF-8");
    let (rejection, rest) = out.split_once('\n').expect("lines");
    assert!(rejection.starts_with("algorithmia_rejected,reason=too_large "), "{rejection}");
    assert!(
        rejection.ends_with(&format!("payload=\"{{\\\"algorithm_name\\\":\\\"b\\\",\\\"x\\\":[\" {NOW}")),
        "{rejection}"
    );
    assert!(rest == points.concat(), "{rest:.500}");
    check_output(out.as_bytes(), &options);
    for size in [1000, 65_536] {
        let cut = convert_chunks(&text.as_bytes().chunks(size).collect::<Vec<_>>(), &options);
        assert_same(&cut, out.as_bytes(), text.as_bytes());
    }
}

/// One that is whole is one rejection, also where there are lines in it at which another could begin.
#[test]
fn a_whole_value_that_is_too_large_is_one_rejection() {
    let (next, point) = good(1);
    let items = vec!["\n{\"w\":1}"; 200].join(",");
    let deep = format!("{}1{}", "[\n".repeat(40), "]\n".repeat(40));
    for value in [format!("[{items}]"), deep] {
        let text = format!("{{\"algorithm_name\":\"a\",\"x\":{value}}}");
        let rejection = format!("algorithmia_rejected,reason=too_large error=\"*\",payload={} {NOW}\n", quoted(&text));
        input("over lines", &format!("{text}\n{next}\n"))
            .with(|o| (o.input, o.exact_time, o.message, o.nesting) = (Format::Json, true, 1000, 10))
            .gives(format!("{rejection}{point}").trim_end());
    }
}

// ========================================================================================================= JSON lines

#[test]
fn each_line_is_a_message() {
    let (one, first) = good(1);
    let (two, second) = good(2);
    let lines = |text: &str| input("lines", text).with(|o| (o.input, o.exact_time) = (Format::JsonLines, true));
    let both = format!("{first}{second}");
    for text in [
        format!("{one}\n{two}\n"),
        format!("{one}\r\n{two}"),
        format!("\u{feff}\n\n {one} \t\n\n\r\n{two}\n \n"),
        format!("[{one},{two}]\n"),
        format!("[{one}]\r\n[{two}]"),
    ] {
        lines(&text).gives(both.trim_end());
    }
    lines(" \n\r\n\t\n").gives_nothing();
    let rejection =
        |text: &str| format!("algorithmia_rejected,reason=invalid_json error=\"*\",payload={} {NOW}", quoted(text));
    for broken in [
        format!("{one},{two}"),
        format!("{one},"),
        "{\"a\":[".to_owned(),
        "\"text".to_owned(),
        "cpu x=1 1".to_owned(),
        "]".to_owned(),
    ] {
        lines(&format!("{one}\n{broken}\n{two}\n")).gives(&format!(
            "{first}{}\n{}",
            rejection(&broken),
            second.trim_end()
        ));
    }
    // A value does not span lines.
    for (text, reason) in [("{\"algorithm_name\":\"a\",\n\"x\":1}\n", "invalid_json"), ("42\n[]\n", "not_an_object")] {
        let out = convert(text.as_bytes(), &with(Format::JsonLines));
        let rejected = by_no_clock(&out).into_iter().map(|line| {
            assert_eq!(line.tags["reason"], reason);
            line.fields
        });
        let payload = |text: &str| vec![("payload".to_owned(), Value::String(text.to_owned()))];
        assert_eq!(rejected.collect::<Vec<_>>(), text.lines().map(payload).collect::<Vec<_>>());
    }
    bytes_input("not UTF-8", &[one.as_bytes(), b"\n\xff\n", two.as_bytes()].concat())
        .with(|o| (o.input, o.exact_time) = (Format::JsonLines, true))
        .gives(&format!("{first}{}\n{}", rejection("\u{fffd}"), second.trim_end()));
}

#[test]
fn a_line_that_is_too_large_is_rejected_alone() {
    let (one, first) = good(1);
    let (two, second) = good(2);
    let lines = |text: &str| {
        let options = |o: &mut Options| (o.input, o.exact_time, o.message) = (Format::JsonLines, true, 100);
        input("a line", text).with(options)
    };
    let sized = |bytes: usize| format!("{{\"algorithm_name\":\"a\",{}\"x\":1}}", " ".repeat(bytes - 28));
    for line_end in ["\n", "\r\n"] {
        for large in [sized(101), sized(102), sized(103), sized(500), "[".repeat(300), "\"".repeat(101)] {
            let rejection =
                format!("algorithmia_rejected,reason=too_large error=\"*\",payload={} {NOW}", quoted(&large));
            lines(&format!("{one}{line_end}{large}{line_end}{two}{line_end}"))
                .gives(&format!("{first}{rejection}\n{}", second.trim_end()));
        }
        lines(&format!("{}{line_end}", sized(100))).gives(&format!("algorithmia,algorithm_name=a x=1 {NOW}"));
    }
    lines(&format!("{}\n{one}", " ".repeat(1000))).gives(first.trim_end());
}

/// The messages of a stream are what the properties think: of every kind, and all of them points.
#[test]
fn messages_of_streams_are_points() {
    let message = |is_array, is_pretty| Message::new(vec![serde_json::json!({"y": [{"z": 1}]})], is_array, is_pretty);
    for is_array in [false, true] {
        assert_eq!(message(is_array, false).text("a").lines().count(), 1);
        assert!(message(is_array, true).text("a").lines().count() > 5);
        for is_pretty in [false, true] {
            let out = convert(message(is_array, is_pretty).text("a").as_bytes(), &with(Format::Json));
            assert!(out.starts_with(b"algorithmia,algorithm_name=a request_id=\"a 0\",x_y_0_z=1 1613780514"));
        }
    }
}

// ===================================================================================================== An end in a line

/// What has died while it wrote sends its last line again, so that is no rejection.
#[test]
fn an_input_that_breaks_off_loses_no_line_but_the_last() {
    let (one, first) = good(1);
    let (two, second) = good(2);
    let broken = r#"{"algorithm_name":"b","x":["#;
    let pretty = one.replace(',', ",\n  ");
    for (format, text, last, expected) in [
        (Format::Json, format!("{one}\n"), "", vec![&*first]),
        (Format::Json, format!("{one}\n{broken}\n{two}\n"), "", vec![&first, broken, &second]),
        (Format::Json, format!("{one}\n{broken}\n{two}\n"), r#"{"algorithm"#, vec![&first, broken, &second]),
        (Format::Json, format!("{broken}\n{two}\n"), "\"x", vec![broken, &second]),
        (Format::Json, format!("{pretty}\n{broken}\n"), "{}, {\"x\"", vec![&first, broken]),
        (Format::Json, format!("[{one},\n{two}\n"), "{\"x\":1", vec![&first, &second, "["]),
        (Format::Json, "[\n".to_owned(), " ", vec!["["]),
        (Format::Json, String::new(), broken, vec![]),
        (Format::JsonLines, format!("{one}\n{broken}\n{two}\n"), "", vec![&first, broken, &second]),
        (Format::JsonLines, format!("{broken}\n{one}\n"), "{\"algorithm\"", vec![broken, &first]),
        (Format::JsonLines, format!("{one}\n{two}"), "", vec![&first, &second]),
        (Format::JsonLines, format!("[{one}]\n"), "[{}, {", vec![&first]),
        (Format::JsonLines, String::new(), "[{}", vec![]),
        (Format::Auto, String::new(), " ", vec![]),
        (Format::Influx, "cpu x=1 1\n".to_owned(), "cpu x=\"\n", vec!["cpu x=1 1\n"]),
    ] {
        let options = Options { exact_time: true, ..with(format) };
        let mut converter = converter(&options);
        let mut out = vec![];
        converter.push(text.as_bytes(), &mut out, &mut ());
        converter.push(last.as_bytes(), &mut out, &mut ());
        let forgotten = converter.break_off(&mut out, &mut ());
        assert_eq!((forgotten, converter.pending()), (last.len(), 0), "{text}{last}");
        let out = String::from_utf8(out).expect("UTF-8");
        let found: Vec<_> = out.split_inclusive('\n').collect();
        assert_eq!(found.len(), expected.len(), "{text}{last} gave {out}");
        for (line, expected) in found.into_iter().zip(expected) {
            let is_rejection = line.contains(&format!("payload={} ", quoted(expected)));
            assert!(is_rejection || line == expected, "{text}{last} gave {out}");
        }
        // What comes next is another input.
        converter.push(b"cpu x=1 1\n", &mut vec![], &mut ());
    }
}

// =============================================================================================================== Cost

/// Going back costs no more than rejections do: the dearest bytes are those that are a rejection each, with a line for it.
#[test]
fn no_input_costs_much_more_than_a_rejection_for_each_line() {
    let nanoseconds = |text: &str| {
        let time = |_| {
            let start = Instant::now();
            convert(text.as_bytes(), &with(Format::Json));
            start.elapsed().as_nanos() as f64 / text.len() as f64
        };
        (0..3).map(time).fold(f64::INFINITY, f64::min)
    };
    let dearest = nanoseconds(&"x\n".repeat(20_000));
    let strings = "\"x\",".repeat(50);
    let brackets = "[],".repeat(70);
    for line in [
        "[\n".to_owned(),
        "{\"a\":\n".to_owned(),
        format!("[{strings}\n"),
        format!("[{brackets}\n"),
        format!("{{\"a\":[{brackets}\n"),
        format!("[{brackets}\n{{}},"),
        format!("[{}\n", brackets.repeat(10)),
        format!("[{},\n", "1".repeat(5000)),
    ] {
        let taken = nanoseconds(&format!("{{\"a\":{}", line.repeat(60_000 / line.len())));
        assert!(taken < 6.0 * dearest, "{taken:.0} ns a byte, and not {dearest:.0}: {line:.50}");
    }
}

/// A chunk, or what was pending, may hold so many short messages that their rejections take a hundred times as much: they come
/// in parts, each with one message more than it takes to be enough.
#[test]
fn lines_beyond_what_is_wanted_at_once_come_later() {
    const ENOUGH: usize = 10_000;
    let broken = format!("{{\"a\":\n{}", "[1],\"b\":\n".repeat(10_000));
    let tiny = "1\n".repeat(20_000);
    let metrics = "kafka_consumer value=\"\" 1\n".repeat(2000);
    for (what, input, format) in [
        ("lines of JSON", &tiny, Format::JsonLines),
        ("values", &tiny, Format::Json),
        ("no metrics", &tiny, Format::Influx),
        ("metrics", &metrics, Format::Influx),
        ("what was pending", &broken, Format::Json),
    ] {
        let options = Options { input: format, message: 10_000, ..Options::default() };
        let mut converter = converter(&options);
        converter.pause_at(ENOUGH);
        let (mut all, mut parts) = (vec![], 0);
        let mut out = vec![];
        converter.push(input.as_bytes(), &mut out, &mut ());
        loop {
            assert!(out.len() < ENOUGH + 500, "{what}: {} bytes at once", out.len());
            all.append(&mut out);
            parts += 1;
            if !converter.has_paused() {
                break;
            }
            converter.push(&[], &mut out, &mut ());
        }
        converter.finish(&mut all, &mut ());
        assert!(parts > 10, "{what}: {parts} parts");
        assert_same(&all, &convert(input.as_bytes(), &options), input.as_bytes());
    }
}
