//! What several threads make of an input is what one converter makes of it, wherever the input is cut.

use std::io::{self, Read};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use fixtures::telegraf::tagged;
use proptest::collection::vec;
use proptest::prelude::*;
use telegraf_algorithmia::{Converter, Counts, Event, Observer, Parallel};

use reference::generate;
use reference::product::{assert_same, converter};
use reference::{Format, Options};

/// What came of an input.
struct Outcome {
    lines: Vec<u8>,
    counts: Counts,
    /// All that is worth a word in the log.
    told: Vec<String>,
}

#[derive(Default)]
struct Told {
    counts: Counts,
    events: Vec<String>,
}

impl Observer for Told {
    fn observe(&mut self, event: Event<'_>) {
        self.counts.observe(event);
        if !matches!(event, Event::Converted { .. } | Event::Passed { .. }) {
            self.events.push(format!("{event:?}"));
        }
    }
}

fn by_one(input: &[u8], options: &Options) -> Outcome {
    let (mut lines, mut told) = (vec![], Told::default());
    let mut converter = converter(options);
    converter.push(input, &mut lines, &mut told);
    converter.finish(&mut lines, &mut told);
    Outcome { lines, counts: told.counts, told: told.events }
}

/// Also how many messages the threads converted.
fn by_threads(input: &[u8], options: &Options, threads: usize, chunk: usize) -> (Outcome, u64) {
    let (mut lines, mut told) = (vec![], Told::default());
    let mut converter = converter(options);
    // In some chunks it pauses, and goes on where it was.
    converter.pause_at(1000);
    let mut parallel = Parallel::with_chunks(io::Cursor::new(input.to_vec()), threads, chunk);
    let mut counts = Counts::default();
    let mut out = vec![];
    while let Some(more) = parallel.next(&mut converter, &mut out, &mut told).expect("it can be read") {
        counts.add(&more);
        // Some callers take the lines of each chunk, and some wait for more.
        if converter.has_paused() || lines.len() % 3 > 0 || out.len() > chunk {
            lines.append(&mut out);
        }
    }
    loop {
        lines.append(&mut out);
        converter.finish(&mut out, &mut told);
        if !converter.has_paused() {
            break;
        }
    }
    lines.append(&mut out);
    let done = counts.converted + counts.passed;
    counts.add(&told.counts);
    (Outcome { lines, counts, told: told.events }, done)
}

fn assert_same_outcome(input: &[u8], options: &Options, threads: usize, chunk: usize) -> u64 {
    let one = by_one(input, options);
    let (several, done) = by_threads(input, options, threads, chunk);
    assert_same(&several.lines, &one.lines, input);
    assert_eq!((several.counts, several.told), (one.counts, one.told));
    done
}

/// Raw JSON in all arrangements, and line protocol; good, bad and broken.
fn input() -> BoxedStrategy<String> {
    let broken = prop::sample::select(vec![
        "{\"algorithm_name\":\"a\"",
        "{\"algorithm_name\":\"a\",\"x\":[{\"y\":1},",
        "{\"algorithm_name\":\"a\",\"x\":",
        "{\"algorithm_name\":\"a\",\"x\":[\n[\n{",
        "[{\"algorithm_name\":\"a\",\"x\":1},",
        "[\n[{\"algorithm_name\":\"a\",\"x\":1}]",
        "oops",
        "\"x",
        "]",
        "[",
        "[]",
        "\u{feff}",
        "# comment",
        "cpu usage=1 7",
        "kafka_consumer value=\"{\\\"algorithm_name\\\":\\\"a\\\",\n\\\"x\\\":1\n}\n\" 7",
        "kafka_consumer value=\"no end",
        "kafka_consumer usage=1",
        "",
    ]);
    let item = prop_oneof![
        6 => generate::payload(),
        // Over several lines.
        2 => generate::payload().prop_map(|payload| payload.replacen('{', "{\n  ", 1) + "\n"),
        2 => generate::run().prop_map(|run| run.text()),
        1 => broken.prop_map(str::to_owned),
        1 => generate::message(),
    ];
    let between = prop::sample::select(vec!["\n", "\n", "\n", "", ",", ",\n", " \r\n\t", "\n\n", "\0\n", " \0"]);
    let start = prop::sample::select(vec!["", "", "", "[", " [\n", "\u{feff}", "\n\n"]);
    (start, vec((item, between), 1..20), any::<bool>())
        .prop_map(|(start, items, uniform)| {
            let mut text = start.to_owned();
            let first = items[0].1;
            for (item, between) in &items {
                text += item;
                text += if uniform { first } else { between };
            }
            text
        })
        .boxed()
}

proptest! {
    #![proptest_config(generate::config())]

    #[test]
    fn threads_change_nothing(
        input in input(),
        options in generate::options(),
        format in prop::sample::select(vec![Format::Auto, Format::Json, Format::JsonLines]),
        threads in 1..4_usize,
        chunk in prop_oneof![1..64_usize, 64..2000_usize],
        damage in vec((any::<usize>(), any::<u8>()), 0..3),
    ) {
        let mut input = input.into_bytes();
        for (place, byte) in damage {
            let at = place % (input.len() + 1);
            input.insert(at, byte);
        }
        let options = Options { input: format, ..options };
        assert_same_outcome(&input, &options, threads, chunk);
    }
}

/// Zero bytes are white space behind a value, and a message of their own on a line of their own, wherever a chunk ends.
#[test]
fn zero_bytes_are_the_same_in_every_chunk() {
    let input = b"{\"a\":1} \0\n\0\n{\"b\":2}\0\0\n[{\"c\":3}\0,{}\0\n]\0";
    for chunk in 1..=input.len() {
        assert_same_outcome(input, &Options::default(), 2, chunk);
    }
}

const POINT: &str = r#"{"algorithm_name":"a","x":1,"boxes":[{"w":1},{"w":2}],"time":"2021-02-20T00:21:54.867231"}"#;

#[test]
fn threads_convert_nearly_all_messages_in_every_arrangement() {
    const ALL: usize = 2000;
    /// Messages of different lengths, or chunks may end where messages do.
    fn messages(change: impl Fn(String) -> String) -> Vec<String> {
        let message =
            |index: usize| POINT.replace("\"x\":1", &format!("\"x\":{}", 10_u64.pow((index * 7 % 10) as u32)));
        (0..ALL).map(|index| change(message(index))).collect()
    }
    let lines = messages(|message| message + "\n");
    // What is all in one line may be cut within a payload, unless there are no objects in it.
    let flat = messages(|message| message.replace(r#"[{"w":1},{"w":2}]"#, "2"));
    let pretty =
        |message: String| message.replace("[{", "[\n    {").replace(",\"", ",\n  \"").replace('}', "\n}") + "\n";
    let metric = |message: String| tagged([("topic", "t")], &message, 1_613_780_514_867_231_999);
    for (what, text) in [
        ("lines", lines.concat()),
        ("lines behind a byte order mark", format!("\u{feff}{}", lines.concat())),
        ("lines of Windows", lines.concat().replace('\n', "\r\n")),
        ("one behind the other", flat.concat()),
        ("over several lines", messages(pretty).concat()),
        ("an array", format!("[{}]", flat.join(","))),
        ("an array in lines", format!("[\n{}]", lines.join(","))),
        ("an array over several lines", format!("[\n{}]\n", messages(pretty).join(","))),
        ("arrays in lines", flat.chunks(2).map(|pair| format!("[{}]\n", pair.join(","))).collect()),
        ("metrics", messages(metric).concat()),
        ("metrics of messages over several lines", messages(|message| metric(pretty(message))).concat()),
        ("other metrics", messages(|message| format!("cpu,name=a usage={} 7\n", message.len())).concat()),
    ] {
        // The first few chunks are begun before the caller knows where they do, and how many depends on who is faster.
        let done = assert_same_outcome(text.as_bytes(), &Options::default(), 2, text.len() / 200);
        assert!(done as usize >= ALL * 95 / 100, "{what}: threads converted {done} of {ALL}");
    }
    for text in [lines.concat(), flat.chunks(2).map(|pair| format!("[{}]\r\n", pair.join(","))).collect()] {
        let options = Options { input: Format::JsonLines, ..Options::default() };
        let done = assert_same_outcome(text.as_bytes(), &options, 2, text.len() / 40);
        assert!(done as usize >= ALL * 8 / 10, "JSON lines: threads converted {done} of {ALL}");
    }
}

#[test]
fn a_bad_message_is_all_that_threads_leave_of_a_chunk() {
    let all = 2000;
    let bad = [
        "oops",
        r#"{"algorithm_name":"a""#,
        r#"{"x":1}"#,
        r#"{"algorithm_name":"a","x":1}"#,
        r#"{"algorithm_name":"a","x":NaN,"y":1,"time":"yesterday"}"#,
    ];
    let text: String = (0..all)
        .map(|index| if index % 20 == 7 { format!("{}\n", bad[index / 20 % 5]) } else { format!("{POINT}\n") })
        .collect();
    let done = assert_same_outcome(text.as_bytes(), &Options::default(), 3, text.len() / 160);
    assert!(done as usize >= all * 85 / 100, "threads converted {done} of {all}");
}

#[test]
fn messages_larger_than_chunks_and_those_too_large_are_the_same() {
    let large = POINT.replace("\"x\":1", &format!("\"x\":\"{}\"", "long ".repeat(2000)));
    let too_large = POINT.replace("\"x\":1", &format!("\"x\":\"{}\"", "long ".repeat(10_000)));
    let text = [POINT, &large, POINT, &too_large, POINT, &large, &too_large, POINT].join("\n");
    let options = Options { message: 20_000, ..Options::default() };
    for chunk in [1000, 4096, 30_000] {
        assert_same_outcome(text.repeat(5).as_bytes(), &options, 2, chunk);
    }
}

#[test]
fn a_chunk_of_many_lines_is_left_to_the_caller() {
    // A short array with long tags takes half a megabyte of lines.
    let metric = |items: usize| {
        let array = vec![r#"{"algorithm_name":"a","x":1}"#; items].join(",");
        tagged([("t", "t".repeat(30_000))], &format!("[{array}]"), 7)
    };
    let text = [metric(1), metric(16), metric(1), metric(17), metric(1)].concat();
    let done =
        assert_same_outcome(text.as_bytes(), &Options { input: Format::Influx, ..Options::default() }, 2, 80_000);
    assert!(done < 50, "threads converted {done}");
}

/// Gives what it holds, and then fails.
struct Failing(io::Cursor<Vec<u8>>);

impl Read for Failing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(io::Error::other("the disk is gone")),
            len => Ok(len),
        }
    }
}

#[test]
fn what_was_read_before_an_error_comes_before_it() {
    let text = format!("{POINT}\n").repeat(100);
    let mut converter = converter(&Options::default());
    let mut parallel = Parallel::with_chunks(Failing(io::Cursor::new(text.into_bytes())), 2, 500);
    let (mut out, mut told, mut counts) = (vec![], Counts::default(), Counts::default());
    let error = loop {
        match parallel.next(&mut converter, &mut out, &mut told) {
            Ok(more) => counts.add(&more.expect("it does not end without an error")),
            Err(error) => break error,
        }
    };
    counts.add(&told);
    assert_eq!(counts, Counts { converted: 100, ..Counts::default() });
    assert_eq!(error.to_string(), "the disk is gone");
    assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 100);
    assert!(parallel.next(&mut converter, &mut out, &mut ()).is_ok_and(|counts| counts.is_none()));
}

/// Has no end, until it panics.
struct Panicking(usize);

impl Read for Panicking {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0 -= 1;
        buffer.fill(b'\n');
        Ok(buffer.len())
    }
}

#[test]
#[should_panic(expected = "subtract with overflow")]
fn a_panic_in_a_thread_is_one_of_the_callers() {
    let mut converter = converter(&Options::default());
    let mut parallel = Parallel::with_chunks(Panicking(10), 2, 100);
    while parallel.next(&mut converter, &mut vec![], &mut ()).is_ok() {}
}

/// Has no end.
struct Endless {
    _alive: Arc<()>,
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        buffer.fill(b'\n');
        Ok(buffer.len())
    }
}

#[test]
fn threads_end_when_nobody_wants_more() {
    let alive = Arc::new(());
    let mut converter: Converter = converter(&Options::default());
    let mut parallel = Parallel::with_chunks(Endless { _alive: Arc::clone(&alive) }, 3, 100);
    for _ in 0..20 {
        assert!(parallel.next(&mut converter, &mut vec![], &mut ()).is_ok_and(|counts| counts.is_some()));
    }
    drop(parallel);
    let start = Instant::now();
    while Arc::strong_count(&alive) > 1 {
        assert!(start.elapsed() < Duration::from_secs(60), "threads still read");
        thread::sleep(Duration::from_millis(1));
    }
}
