//! How much memory the command takes at most, with the inputs that take most of it.

use std::fs;
use std::io::{self, Read, Write};
use std::process::Command;

use fixtures::command::{command, exit_code, spawn};
use fixtures::telegraf::{line, metric, quoted, tagged};
use rustix::pipe::fcntl_setpipe_size;

/// What docs/operations.md says that the command takes at most, in kB.
const MOST: u64 = 64 * 1024;

/// What docs/performance.md says that it takes for the tables, which hold what becomes of each key.
const MOST_OF_TABLES: u64 = 128 * 1024;

/// What takes most of all.
const LARGEST: &str = "the longest lines of the largest message";

/// What ends an input, by the name that is in its line.
const MARK: &str = "the_mark";

/// An input, and what `--input` it is.
struct Input {
    what: &'static str,
    format: &'static str,
    text: String,
    /// It gives a hundred thousand rejections or more.
    is_rejected: bool,
}

/// Each has what takes most of one thing, and what is usual before and behind it.
fn worst() -> Vec<Input> {
    let payload = |rest: &str| format!(r#"{{"algorithm_name":"a","x":1,"time":1613780514867231,{rest}}}"#);
    let short = |count: usize| (0..count).map(|index| format!("\"{index}\":1")).collect::<Vec<_>>().join(",");
    let array = |count: usize, item: &str| format!("[{}]", vec![item; count].join(","));
    let tiny = r#"{"algorithm_name":"a","x":1}"#;
    let usual = payload(r#""request_id":"r","y":2"#);
    let nested = |levels: usize, rest: &str| format!("{}{rest}{}", r#"{"k":"#.repeat(levels), "}".repeat(levels));
    // As large as a message may be, with as many fields, each of a key as long as there is room for.
    let largest = {
        let keys = payload(&format!(r#""{}":{{{}}},"y":"#, "k".repeat(15_000), short(990)));
        format!("{}\"{}\"}}", &keys[..keys.len() - 1], "y".repeat((1 << 20) - keys.len() - 2))
    };
    let deepest = payload(&format!(r#""{}":{}"#, "k".repeat(3_900), nested(61, &format!("{{{}}}", short(990)))));
    let flattened = payload(&format!(r#""{}":{}"#, "k".repeat(20), array(600, "1")));
    let escapes = payload(&format!(r#""y":"{}""#, r#"\""#.repeat((1 << 19) - 100)));

    let messages: Vec<(&'static str, String, usize)> = vec![
        ("a long key over many short ones", payload(&format!(r#""{}":{{{}}}"#, "k".repeat(3_900), short(995))), 60),
        (LARGEST, largest, 3),
        ("the deepest, with the most fields", deepest, 40),
        ("a key that is longer than its values", flattened, 400),
        ("an array of tiny payloads", array(36_000, tiny), 1),
        ("an array of what is no payload", array(20_000, "1"), 1),
        ("nothing but escapes", escapes, 2),
    ];
    let tags: Vec<(String, String)> =
        (0..15).map(|index| (format!("some_tag_{index}"), format!("value_{index}"))).collect();
    let mut inputs = Vec::new();
    for (what, message, times) in &messages {
        let lines = format!("{usual}\n{message}\n").repeat(*times);
        let metrics = (metric(&usual, 7) + &tagged(tags.clone(), message, 7)).repeat(*times);
        inputs.push(Input { what, format: "json-lines", text: lines, is_rejected: false });
        inputs.push(Input { what, format: "influx", text: metrics, is_rejected: false });
    }
    let long = "t".repeat(50_000);
    let alternating = messages.iter().map(|(_, message, _)| format!("{message}\n{usual}\n"));
    let with_field = [("value".to_owned(), quoted(&array(30_000, tiny))), ("f".to_owned(), quoted(&long))];
    let (lines, influx) = ("json-lines", "influx");
    let many_fields = |count: usize| format!("m {} 7\n", vec!["f=1"; count].join(","));
    for (what, format, text, is_rejected) in [
        ("one after the other", lines, alternating.collect(), false),
        ("an array with long tags", influx, tagged([("t", &long)], &array(30_000, tiny), 7), false),
        ("a long field beside an array", influx, line("kafka_consumer", [("t", "t")], with_field, 7), false),
        ("what is rejected of a few bytes", lines, "1\n".repeat(100_000), true),
        ("the same in a value without an end", "json", format!("{{\"a\":\n{}", "[1],\"b\":\n".repeat(250_000)), true),
        ("metrics of empty messages", influx, "kafka_consumer value=\"\" 1\n".repeat(50_000), true),
        ("metrics that are none", influx, "1\n".repeat(100_000), true),
        ("a metric of many fields", influx, many_fields(500_000), false),
        ("metrics of many fields", influx, many_fields(25_000).repeat(20), false),
    ] {
        inputs.push(Input { what, format, text, is_rejected });
    }
    inputs
}

/// A message with the mark in its line.
fn mark(format: &str) -> String {
    let message = format!("{{\"algorithm_name\":\"{MARK}\",\"x\":1,\"time\":1}}");
    if format == "influx" { metric(&message, 1) } else { format!("\n{message}\n") }
}

/// The most memory that the command, or the process that works for it, has taken when the mark has come out, in kB.
fn peak(command: &mut Command, input: &str, format: &str) -> u64 {
    let mut child = spawn(command.args(["--input", format]));
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    // Another program may have made it as large, and then as much is read at once.
    fcntl_setpipe_size(&stdin, 1 << 20).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            stdin.write_all(input.as_bytes()).unwrap();
            stdin.write_all(mark(format).as_bytes()).unwrap();
        });
        let (mut buffer, mut tail) = (vec![0; 1 << 20], Vec::new());
        while !tail.windows(MARK.len()).any(|window| window == MARK.as_bytes()) {
            let len = stdout.read(&mut buffer).unwrap();
            assert!(len > 0, "it ended");
            tail.drain(..tail.len().saturating_sub(MARK.len()));
            tail.extend_from_slice(&buffer[..len]);
        }
    });
    let id = child.id();
    let workers = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    let id = workers.split_whitespace().next().map_or(id.to_string(), str::to_owned);
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak = peak.trim().trim_end_matches(" kB").parse().unwrap();
    drop(stdin);
    io::copy(&mut stdout, &mut io::sink()).unwrap();
    assert_eq!(exit_code(&mut child), 0);
    peak
}

/// Checks the peak of each of the worst inputs.
fn check(most: u64, is_wanted: impl Fn(&Input) -> bool, peak: impl Fn(&Input) -> u64) {
    let inputs = worst();
    let wanted = inputs.iter().filter(|input| is_wanted(input));
    let peaks: Vec<_> = wanted.map(|input| (peak(input), input.what, input.format)).collect();
    let highest = peaks.iter().max().unwrap();
    println!("the most memory: {highest:?} in kB, of {peaks:?}");
    assert!(highest.0 < most, "{highest:?} in kB, of {peaks:?}");
}

#[test]
fn as_a_service_it_takes_no_more_than_is_promised() {
    check(MOST, |_| true, |input| peak(command().arg("execd"), &input.text, input.format));
}

#[test]
fn with_a_journal_it_takes_no_more_than_is_promised() {
    let with_journal = |input: &Input| {
        let folder = tempfile::tempdir().unwrap();
        peak(command().args(["execd", "--journal"]).arg(folder.path()), &input.text, input.format)
    };
    check(MOST, |_| true, with_journal);
}

#[test]
fn by_hand_it_takes_no_more_than_is_promised() {
    let by_hand = |input: &Input| {
        let file = tempfile::NamedTempFile::new().unwrap();
        // So that each of the threads has some of it.
        let times = if input.is_rejected { 1 } else { 4 };
        fs::write(file.path(), input.text.repeat(times)).unwrap();
        peak(command().args(["--threads", "16"]).arg(file.path()).arg("-"), "", input.format)
    };
    check(MOST, |_| true, by_hand);
}

/// There is a table, or an object, for each payload, so this is about large ones.
#[test]
fn for_tables_and_json_it_takes_no_more_than_is_promised() {
    let large = [LARGEST, "the deepest, with the most fields", "nothing but escapes"];
    for format in ["table", "json"] {
        let inspect = |input: &Input| peak(command().args(["inspect", "--format", format]), &input.text, input.format);
        check(MOST_OF_TABLES, |input| large.contains(&input.what), inspect);
    }
}
