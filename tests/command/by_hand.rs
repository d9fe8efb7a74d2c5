//! The command as people run it to find out what becomes of messages: the table, the summary, and the progress of long files.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use influxdb_line_protocol::{FieldValue, parse_lines};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use unicode_width::UnicodeWidthStr;

use fixtures::command::{DIVISOR, IMPATIENT, LONG, command, exit_code, run, spawn, text, wait_until};
use fixtures::telegraf::metric;

/// An escape that would set a terminal's title, and one that would make all red.
const HOSTILE: &str = "\u{1b}]0;owned\u{7}\u{1b}[31m\u{9b}31m\u{202e}";

fn repository(path: &str) -> String {
    fixtures::repository(path).display().to_string()
}

/// The table of some input.
fn table(args: &[&str], input: &str) -> String {
    let output = run(&[&["inspect"], args].concat(), input.as_bytes());
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "");
    text(&output.stdout)
}

/// What the table says of a key: each cell, without the columns between them.
fn row<'a>(table: &'a str, key: &str) -> Vec<&'a str> {
    let is_row = |line: &&str| line.strip_prefix("  ").is_some_and(|line| cells(line).next() == Some(key));
    let line = table.lines().find(is_row).unwrap_or_else(|| panic!("no {key} in\n{table}"));
    cells(line.trim_start()).collect()
}

fn cells(line: &str) -> impl Iterator<Item = &str> {
    line.split("  ").map(str::trim).filter(|cell| !cell.is_empty())
}

/// The line that carets mark, and what they mark in it.
fn marked(table: &str) -> Vec<(String, String)> {
    let lines: Vec<&str> = table.lines().collect();
    let mut found = Vec::new();
    for (above, below) in lines.iter().zip(&lines[1..]) {
        if below.trim_start().starts_with('^') {
            let start = below.len() - below.trim_start().len();
            let end = start + below.trim().len();
            let (mut columns, mut marked) = (0, String::new());
            for c in above.chars() {
                let width = c.to_string().width();
                if columns >= start && columns < end {
                    marked.push(c);
                }
                columns += width;
            }
            found.push((above.trim_start().to_owned(), marked));
        }
    }
    found
}

/// tests/fixtures/insights.lp promises what becomes of each message of examples/insights.jsonl.
#[test]
fn the_table_says_what_the_promised_points_have() {
    let shown = table(&[&repository("examples/insights.jsonl")], "");
    let mut messages = shown.trim_end().split("\n\n");
    let promised = fs::read_to_string(repository("tests/fixtures/insights.lp")).unwrap().replace(" *\n", "\n");
    let mut numbers = 0;
    for line in parse_lines(&promised) {
        let (line, message) = (line.unwrap(), messages.next().unwrap());
        numbers += 1;
        assert!(message.starts_with(&format!("message {numbers}, ")), "{message}");
        let mut stored = Vec::new();
        if line.series.measurement.as_str() == "algorithmia_rejected" {
            let reason = line.series.tag_set.iter().flatten().next().unwrap().1.to_string();
            let FieldValue::String(error) = &line.field_set[0].1 else { panic!("no text") };
            assert!(message.contains(&format!(": rejected, {reason}\n  {error}\n")), "{message}");
            continue;
        }
        for (key, value) in line.series.tag_set.iter().flatten() {
            stored.push(vec!["tag".to_owned(), key.to_string(), value.to_string()]);
        }
        for (key, value) in &line.field_set {
            let (kind, value) = match value {
                FieldValue::F64(value) => ("float field", value.to_string()),
                FieldValue::String(value) => ("string field", format!("{:?}", value.as_str())),
                other => panic!("not in this file: {other:?}"),
            };
            stored.push(vec![kind.to_owned(), key.to_string(), value]);
        }
        if let Some(time) = line.timestamp {
            let time = jiff::Timestamp::from_nanosecond(time.into()).unwrap();
            assert!(message.contains(&format!(": a point at {time:.9}\n")), "{time} is not in {message}");
        }
        let mut rows = Vec::new();
        let is_row =
            |line: &&str| line.starts_with("  ") && !line.starts_with("    ") && !line.contains(" in the key: ");
        for line in message.lines().skip(3).filter(is_row) {
            let cells: Vec<&str> = cells(line).collect();
            if cells[1] != "time" && cells[1] != "left out" {
                let stored_as = if cells.len() == 4 { cells[2] } else { cells[0] };
                let value = cells[cells.len() - 1];
                let value = value.split_once(", from ").map_or(value, |(value, _)| value);
                rows.push(vec![cells[1].to_owned(), stored_as.to_owned(), value.to_owned()]);
            }
        }
        stored.sort();
        rows.sort();
        assert_eq!(rows, stored, "{message}");
    }
    assert_eq!(messages.next(), None);
    assert_eq!(numbers, 20);
}

#[test]
fn each_way_that_a_key_can_go_is_told() {
    let payload = concat!(
        r#"{"algorithm_name":"a","_score":1,"score":"2","nothing":null,"nan":NaN,"huge":1e999,"flag":true,"#,
        r#""count":"many","secret":{"a":[1]},"region":"eu","empty":[],"none":{},"host":"h","":3,"box":{"w":[4]},"#,
        r#""label":"","whole":7,"time":null,"timestamp":1613780514.5,"on":1,"note":"n","note_text":2,"topic":5,"_time":6}"#
    );
    let line = metric(payload, 1_613_780_514_000_000_009).replacen(' ', ",host_text=n1,_topic=t ", 1).replacen(
        "\" 16",
        "\",offset=5i,whole=1i,said=\"s\" 16",
        1,
    );
    let kinds = ["--as", "count=integer,secret=drop,region=tag,label=tag,whole=integer,on=boolean"];
    let shown = table(&kinds, &line);
    for (key, expected) in [
        ("_topic", &["_topic", "tag", "topic", "t"][..]),
        ("offset", &["offset", "float field", "5"]),
        ("said", &["said", "string field", "said_text", "\"s\""]),
        ("_score", &["_score", "left out", "a later value of this name counts"]),
        ("score", &["score", "float field", "2, from \"2\""]),
        ("nothing", &["nothing", "left out", "null makes no field"]),
        ("nan", &["nan", "left out", "NaN and Infinity make no field"]),
        ("huge", &["huge", "left out", "the number is beyond a 64-bit float"]),
        ("flag", &["flag", "float field", "1, from true"]),
        ("count", &["count", "left out", "the value is not a number"]),
        ("secret", &["secret", "left out", "--as drops it"]),
        ("region", &["region", "tag", "eu"]),
        ("empty", &["empty", "left out", "there is nothing in it"]),
        ("none", &["none", "left out", "there is nothing in it"]),
        ("box.w[0]", &["box.w[0]", "float field", "box_w_0", "4"]),
        ("label", &["label", "left out", "an empty value makes no tag"]),
        ("on", &["on", "boolean field", "true, from 1"]),
        ("time", &["time", "left out", "null gives no time"]),
        ("timestamp", &["timestamp", "time", "1613780514.5"]),
        ("note", &["note", "string field", "note_text", "\"n\""]),
        ("note_text", &["note_text", "float field", "note_text_number", "2"]),
        ("topic", &["topic", "float field", "topic_field", "5"]),
        ("_time", &["_time", "float field", "time_field", "6"]),
        ("host", &["host", "string field", "host_text_field", "\"h\""]),
    ] {
        assert_eq!(row(&shown, key), expected, "{shown}");
    }
    // What came with the metric stands first; a payload's key of the same name is another row.
    let (metrics, payloads) = shown.split_once("  of the message:\n").unwrap();
    assert_eq!(row(metrics, "host_text"), ["host_text", "tag", "n1"]);
    assert_eq!(row(metrics, "whole"), ["whole", "left out", "another value of this name counts"]);
    assert_eq!(row(payloads, "whole"), ["whole", "integer field", "7i, from 7"]);
    assert!(payloads.contains("left out       ") && payloads.contains("an empty key makes no field"), "{shown}");
    let places: Vec<String> = marked(&shown).into_iter().map(|(_, marked)| marked).collect();
    assert_eq!(places, ["1", "NaN", "1e999", "\"many\"", "3"], "{shown}");
    // Behind the table each suffix has its reason, once.
    let (_, legend) = payloads.split_once("time_field").unwrap();
    let legend: Vec<_> = legend.lines().skip(1).filter(|line| !line.is_empty()).collect();
    let expected = [
        "  _text in the key: the value is text",
        "  _field in the key: a tag has this key",
        "  _number in the key: the value is a number, and keys that end in _text are for text",
        "  _field in the key: InfluxDB reserves the key time",
    ];
    assert_eq!(legend, expected, "{shown}");
    let heading = ": a point at 2021-02-20T00:21:54.500";
    assert!(shown.contains(heading) && shown.contains("is the message's `timestamp`; the last 6 digits"), "{shown}");
    assert!(shown.contains("filled from the whole message"), "{shown}");
}

#[test]
fn a_time_is_told_with_where_it_came_from() {
    let point = |rest: &str| format!(r#"{{"algorithm_name":"a","x":1,"request_id":"r"{rest}}}"#);
    for (rest, expected) in [
        (
            r#","time":"2021-02-20T00:21:54.867231""#,
            "the message's `time`; the last 3 digits, which that lacks, filled from `request_id`",
        ),
        (r#","time":1613780514867231001"#, "the message's `time`\n"),
        (r#","time":"soon","timestamp":1613780514"#, "the message's `timestamp`; the last 6 digits"),
        (r#","time":"soon""#, "the metric's own; the last 6 digits, which that lacks, filled from `request_id`\n"),
        (r#","time":{"$date":1613780514867}"#, "the message's `time`; the last 6 digits"),
        (r#","time":{"a":"soon"},"timestamp":[2021,2,20,0,21]"#, "the message's `timestamp`; the last 6 digits"),
    ] {
        let shown = table(&[], &metric(&point(rest), 1_613_780_514_000_000_000));
        assert!(shown.contains(&format!("\n  the time is {expected}")), "{expected} is not in\n{shown}");
        assert_eq!(shown.contains("it cannot be read as a time that InfluxDB stores"), rest.contains("soon"));
    }
    let exact = table(&["--exact-time"], &point(r#","time":"2021-02-20T00:21:54""#));
    assert!(
        exact.contains("a point at 2021-02-20T00:21:54.000000000Z\n  the time is the message's `time`\n"),
        "{exact}"
    );
    assert!(table(&[], &point("")).contains("\n  the time is the clock's"));
    let both = table(&[], &metric(&format!("[{},{}]", point(""), point("")), 7));
    assert!(both.contains("payload 2 of its array: a point at 1970-01-01T00:00:00.000000008Z\n"), "{both}");
    assert!(both.contains("the time is the metric's own, and 1 ns, one for each payload before\n"), "{both}");
    let both = table(&[], &metric(&format!("[{},{}]", point(""), point("")), 1_613_780_514_867_000_000));
    let filled = "the metric's own; the last 6 digits, which that lacks, filled from the whole message";
    assert!(both.contains(&format!("the time is {filled}\n")), "{both}");
    assert!(both.contains(&format!("the time is {filled}, and 1 ns, one for each payload before\n")), "{both}");
    assert!(table(&[], &metric(&point(""), 0)).contains("\n  the time is the clock's"));
    let unused = table(&[], &point(r#","timestamp":5,"time":1613780514867231001"#));
    assert_eq!(row(&unused, "timestamp"), ["timestamp", "left out", "`time` is there, and counts"]);
}

#[test]
fn the_place_of_an_error_is_marked_in_any_text() {
    let long = "x".repeat(100_000);
    let wide = "漢字かな".repeat(40);
    for (message, place, in_line) in [
        ("{\"a\":tru}".to_owned(), "t", "{\"a\":tru}"),
        (format!("{{\"a\":\"{long}\",b:1}}"), "b", "xxx\",b:1}"),
        (format!("{{\"{wide}\":1 2,\"{long}\":1}}"), "2", "字かな\":1 2,\"xxx"),
        ("{\"a\":1,\n \"b\" 2,\n \"c\":3}".to_owned(), "2", "\"b\" 2,"),
        (format!("{{\"{}\":x,\"{HOSTILE}\":1}}", HOSTILE.replace(['\u{1b}', '\u{7}'], "")), "x", "\":x,"),
        ("{\"a\":\"\u{1b}[31m\"}".to_owned(), "\\u{1b}", "{\"a\":\"\\u{1b}[31m\"}"),
    ] {
        let shown = table(&["--input", "json"], &message);
        assert!(shown.contains(": rejected, invalid_json\n"), "{shown}");
        let found = marked(&shown);
        assert_eq!(found.len(), 1, "{shown}");
        assert!(place.starts_with(&found[0].1) && found[0].0.contains(in_line), "{found:?}\n{shown}");
        assert!(shown.lines().all(|line| line.width() <= 100), "{shown}");
        assert_harmless(&shown);
    }
    let shown = table(&["--input", "influx"], "m,host=a, b=1 7\n");
    assert_eq!(marked(&shown)[0].1, " ", "{shown}");
    let output = run(&["inspect", "--input", "json"], b"{\"a\":\"\xff\xfe\"}");
    assert_eq!(marked(&text(&output.stdout))[0].1, "\u{fffd}", "{}", text(&output.stdout));
    // The limits of one byte more and less are not for the table to know.
    let shown = table(&["--max-nesting", "2"], r#"{"algorithm_name":"a","b":{"c":{"d":1}}}"#);
    assert_eq!(marked(&shown), [(r#"{"algorithm_name":"a","b":{"c":{"d":1}}}"#.to_owned(), "{".to_owned())], "{shown}");
}

/// No control character but line breaks, and nothing that turns a text around.
fn assert_harmless(shown: &str) {
    let harmful = |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c);
    assert!(!shown.contains(harmful), "{shown:?}");
}

#[test]
fn nothing_in_a_message_reaches_the_terminal_as_a_command() {
    let escaped: String = HOSTILE.chars().fold(String::new(), |mut text, c| {
        let _ = write!(text, "\\u{:04x}", c as u32);
        text
    });
    let payload = format!(
        r#"{{"algorithm_name":"{escaped}","{escaped}":"{escaped}","x":NaN,"{HOSTILE0}":1,"time":"{escaped}"}}"#,
        HOSTILE0 = "\u{9b}31m\u{202e}"
    );
    let metrics = format!(
        "{}cpu,host={HOSTILE} x=\"{HOSTILE}\" 7\n",
        metric(&payload, 7).replacen(' ', &format!(",h={HOSTILE} "), 1)
    );
    for args in [
        &["inspect"][..],
        &["inspect", "--measurement", "n"],
        &["inspect", "--format", "summary"],
        &["inspect", "--format", "summary", "--measurement", "n"],
    ] {
        let output = run(args, metrics.as_bytes());
        assert!(output.status.success());
        let shown = text(&output.stdout);
        assert!(shown.contains(r"\u{1b}[31m"), "{shown}");
        assert_harmless(&shown);
    }
}

#[test]
fn messages_are_numbered_and_placed_and_other_metrics_take_a_line() {
    let good = metric(r#"{"algorithm_name":"a","x":1}"#, 7);
    let input = format!("# comment\ncpu usage=1 7\n{good}\nkafka_consumer other=1 7\noops\n{good}");
    let shown = table(&[], &input);
    let at = |part: &str, from: usize| from + input[from..].find(part).unwrap();
    let first = at("kafka_consumer value", 0);
    let second = at("kafka_consumer value", first + 1);
    for line in [
        "another metric, line 2, byte 10, passes through: cpu usage=1 7".to_owned(),
        format!("message 1, line 3, byte {first}: a point at 1970-01-01T00:00:00.000000007Z"),
        format!(
            "a metric without a message, line 5, byte {}, passes through: kafka_consumer other=1 7",
            at("kafka_consumer other", 0)
        ),
        format!("message 2, line 6, byte {}: rejected, invalid_metric", at("oops", 0)),
        format!("message 3, line 7, byte {second}: a point at 1970-01-01T00:00:00.000000007Z"),
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line} is not in\n{shown}");
    }
}

#[test]
fn what_stands_where_a_rejected_message_could_be_read_is_shown_too() {
    let shown = table(&[], r#"{"algorithmName":"a","score":0.5,"none":null}"#);
    assert!(shown.contains(": rejected, missing_algorithm_name\n"), "{shown}");
    assert!(shown.contains("  what its keys would have become:\n"), "{shown}");
    assert_eq!(row(&shown, "algorithmName"), ["algorithmName", "string field", "algorithmName_text", "\"a\""]);
    assert_eq!(row(&shown, "score"), ["score", "float field", "0.5"]);
    let cut = table(&[], &format!(r#"{{"algorithm_name":"a","long":"{}"}}"#, "y".repeat(70_000)));
    assert!(row(&cut, "long")[3].ends_with("y…, cut from 70000 bytes to 65536"), "{cut}");
}

#[test]
fn the_table_comes_with_its_message_and_its_memory_is_bounded() {
    let mut child = spawn(command().arg("inspect"));
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (sender, lines) = channel();
    let reader = std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(len @ 1..) = stdout.read(&mut buffer) {
            sender.send(String::from_utf8_lossy(&buffer[..len]).into_owned()).unwrap();
        }
    });
    for number in 1..4 {
        stdin.write_all(metric(r#"{"algorithm_name":"a","x":1}"#, 7).as_bytes()).unwrap();
        // Nothing follows, and stdin stays open.
        let mut shown = String::new();
        while !shown.ends_with("\n\n") {
            shown += &lines.recv_timeout(LONG).unwrap();
        }
        assert!(shown.starts_with(&format!("message {number}, ")), "{shown}");
    }
    // All of the tables are some ten MiB.
    let large = metric(&format!("[{}]", vec![r#"{"algorithm_name":"a"}"#; 5000].join(",")), 7);
    let peak = || {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    let mut first = 0;
    for number in 4..12 {
        stdin.write_all(large.as_bytes()).unwrap();
        let last = format!("message {number}, line {number}, ");
        let (mut shown, mut begun) = (String::new(), false);
        while !(begun && shown.contains(", payload 5000 of its array: ") && shown.ends_with("\n\n")) {
            shown += &lines.recv_timeout(LONG).unwrap();
            begun |= shown.contains(&last);
            shown.drain(..shown.floor_char_boundary(shown.len().saturating_sub(1000)));
        }
        first = if first == 0 { peak() } else { first };
    }
    // The kernel's counts are some pages off, in either direction.
    let last = peak();
    assert!(last < first + 2048, "it grew from {first} kB to {last} kB");
    drop(stdin);
    for _ in lines.iter() {}
    reader.join().unwrap();
    assert_eq!(exit_code(&mut child), 0);
}

#[test]
fn files_that_cannot_be_read_and_a_reader_that_goes_are_treated_as_ever() {
    let output = run(&["inspect", "missing.jsonl", "-", "/"], b"{\"algorithm_name\":\"a\",\"x\":1}");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains(": a point at "));
    let stderr = text(&output.stderr);
    assert!(stderr.contains("E! cannot open missing.jsonl: ") && stderr.contains("E! cannot read /: "), "{stderr}");
    assert_eq!(run(&["inspect", "--strict"], b"oops").status.code(), Some(1));

    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = command()
        .args(["inspect", &repository("examples/insights.jsonl")])
        .stdout(full)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with("E! cannot write to stdout: check that there is room"));

    let mut child = spawn(command().arg("inspect"));
    drop(child.stdout.take());
    let mut stdin = child.stdin.take().unwrap();
    wait_until("it has gone", || stdin.write_all(b"{\"algorithm_name\":\"a\",\"x\":1}\n").is_err());
    assert_eq!(exit_code(&mut child), 0);
}

/// A shell that exports the variables of the service changes nothing of what is done by hand, even where they are wrong; and no
/// use has the options of another.
#[test]
fn each_use_has_its_own_options_and_variables_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let journal = journal.to_str().unwrap();
    // All of them with times, so that none has the clock's.
    let messages = folder.path().join("messages.jsonl");
    let message = r#"{"algorithm_name":"a","x":1,"time":1613780514867}"#;
    fs::write(&messages, format!("{message}\n{}\n", message.replace('1', "2"))).unwrap();
    let messages = messages.to_str().unwrap();
    let run = |args: &[&str], variables: &[(&str, &str)]| -> Output {
        let mut command = command();
        command.args(args).envs(variables.iter().copied()).stdin(Stdio::null());
        command.output().unwrap()
    };
    let of_execd = [
        ("--journal", "JOURNAL", journal),
        ("--journal-window", "JOURNAL_WINDOW", "5min"),
        ("--journal-size", "JOURNAL_SIZE", "1MiB"),
        ("--journal-sync", "JOURNAL_SYNC", "true"),
        ("--flow-control", "FLOW_CONTROL", "true"),
        ("--flow-output", "FLOW_OUTPUT", "x"),
        ("--stats", "STATS", "1s"),
        ("--instance", "INSTANCE", "x"),
    ];
    let around: Vec<_> = of_execd.iter().map(|(_, name, value)| (format!("ALGORITHMIA_{name}"), *value)).collect();
    let around: Vec<_> = around.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let wrong: Vec<_> = around.iter().map(|(name, _)| (*name, "\u{1b}?")).collect();
    let used = [
        &["--exact-time", messages][..],
        &["convert", "--exact-time", messages],
        &["inspect", "--exact-time", messages],
        &["inspect", "--exact-time", "--format", "summary", messages],
        &["generate", "telegraf-conf"],
        &["generate", "man"],
    ];
    for args in used {
        let plain = run(args, &[]);
        assert!(plain.status.success(), "{args:?}: {}", text(&plain.stderr));
        for variables in [&around, &wrong] {
            let output = run(args, variables);
            assert_eq!(output.status, plain.status, "{args:?}: {}", text(&output.stderr));
            assert_eq!(text(&output.stdout), text(&plain.stdout), "{args:?}");
            assert_eq!(text(&output.stderr), text(&plain.stderr), "{args:?}");
        }
        assert!(!folder.path().join("journal").exists(), "{args:?}");
        for (option, ..) in of_execd {
            let output = run(&[args, &[option]].concat(), &[]);
            let stderr = text(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{args:?} {option}: {stderr}");
            assert!(stderr.starts_with(&format!("error: unexpected argument '{option}' found\n")), "{stderr}");
            let advice = format!("write 'telegraf-algorithmia execd {option}'");
            assert!(stderr.contains(&advice), "{args:?}: {stderr}");
        }
    }
    // And what is set for use by hand is nothing to the service.
    let by_hand = ["THREADS", "SUMMARY", "STRICT", "FORMAT"].map(|name| format!("ALGORITHMIA_{name}"));
    let by_hand = by_hand.each_ref().map(|name| (name.as_str(), "?"));
    for args in [&["execd"][..], &["replay", journal], &["generate", "telegraf-conf"]] {
        fs::create_dir_all(journal).unwrap();
        let output = run(args, &by_hand);
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    }
    for (args, option) in [
        (&["execd"][..], "--threads=1"),
        (&["execd"], "--summary"),
        (&["execd"], "--strict"),
        (&["execd"], "--format=table"),
        (&["execd"], "file"),
        (&["convert"], "--format=table"),
        (&["inspect"], "--summary"),
        (&["replay", "d"], "--input=json"),
        (&["replay", "d"], "file"),
    ] {
        let stderr = text(&run(&[args, &[option]].concat(), &[]).stderr);
        let name = option.split('=').next().unwrap();
        assert!(stderr.starts_with(&format!("error: unexpected argument '{name}' found\n")), "{args:?}: {stderr}");
    }
}

#[test]
fn what_was_an_option_says_which_command_it_is_now() {
    for (args, advice) in [
        (&["--generate", "telegraf-conf"][..], "telegraf-algorithmia generate"),
        (&["--replay", "journal"], "telegraf-algorithmia replay"),
        (&["--journal", "journal"], "telegraf-algorithmia execd --journal"),
        (&["--input", "json", "--flow-control"], "telegraf-algorithmia execd --flow-control"),
    ] {
        // Three pipes, as a script may have them, and nothing to read.
        let output = run(args, b"");
        let stderr = text(&output.stderr);
        assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(2), ""), "{stderr}");
        assert!(stderr.contains(&format!("tip: write '{advice}'\n")), "{stderr}");
    }
}

/// A word that is a command is one only where it stands first.
#[test]
fn a_file_may_have_the_name_of_a_command() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["execd", "generate"] {
        fs::write(folder.path().join(name), "{\"algorithm_name\":\"a\",\"x\":1,\"time\":1613780514867231000}").unwrap();
        for args in [&[&*format!("./{name}")][..], &["convert", name], &["--exact-time", name], &["--", name]] {
            let output = command().args(args).current_dir(&folder).stdin(Stdio::null()).output().unwrap();
            let point = "algorithmia,algorithm_name=a x=1 1613780514867231000\n";
            assert_eq!(text(&output.stdout), point, "{args:?}: {}", text(&output.stderr));
        }
    }
}

/// A summary held against what the points of tests/fixtures/insights.lp say.
#[test]
fn the_summary_says_what_the_promised_points_come_to() {
    let insights = repository("examples/insights.jsonl");
    let promised = fs::read_to_string(repository("tests/fixtures/insights.lp")).unwrap().replace(" *\n", "\n");
    let mut expected: Vec<(String, String, Vec<f64>)> = Vec::new();
    for line in parse_lines(&promised) {
        let line = line.unwrap();
        let Some(algorithm) = line.tag_value("algorithm_name") else { continue };
        for (key, value) in &line.field_set {
            let FieldValue::F64(value) = value else { continue };
            let (algorithm, key) = (algorithm.to_string(), key.to_string());
            match expected.iter_mut().find(|(a, k, _)| (a, k) == (&algorithm, &key)) {
                Some((.., values)) => values.push(*value),
                None => expected.push((algorithm, key, vec![*value])),
            }
        }
    }
    for args in [
        &["--summary", "--threads", "1"][..],
        &["convert", "--summary", "--threads", "3"],
        &["inspect", "--format", "summary"],
        &["inspect", "--format", "summary", "--threads", "3"],
    ] {
        let output = run(&[args, &[&insights]].concat(), b"");
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        let start = "20 messages: 16 points, 4 rejected\n";
        let summary = if args[0] == "inspect" {
            assert_eq!(stderr, "", "all of it is in the summary");
            assert!(stdout.starts_with(start), "{stdout}");
            &stdout
        } else {
            &stderr[stderr.find(start).unwrap_or_else(|| panic!("{stderr}"))..]
        };
        for line in [
            "  1 rejected, invalid_json",
            "  1 rejected, no_fields",
            "  values left out: 1",
            "  times that could not be read: 1",
        ] {
            assert!(summary.lines().any(|shown| shown == line), "{line} is not in\n{summary}");
        }
        assert!(summary.contains("the points are from 2021-02-19T19:21:58.750015901Z to 2"), "{summary}");
        let mut rows = 0;
        for (algorithm, key, values) in &expected {
            let heading = format!("\n{algorithm}: ");
            let section = summary.split(&heading).nth(1).unwrap().split("\n\n").next().unwrap();
            let cells = row(section, key);
            let (least, most) =
                (values.iter().copied().fold(f64::MAX, f64::min), values.iter().copied().fold(f64::MIN, f64::max));
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            assert_eq!(cells[1], values.len().to_string());
            assert_eq!((cells[2].parse(), cells[4].parse()), (Ok(least), Ok(most)), "{section}");
            assert!((cells[3].parse::<f64>().unwrap() - mean).abs() <= mean.abs() * 1e-5, "{section}");
            if least == most {
                assert_eq!(cells[5..], ["all the same"]);
            } else {
                assert_bars(cells[5], cells[6], values);
            }
            rows += 1;
        }
        assert_eq!(
            summary.lines().filter(|line| line.starts_with("  ") && !line.contains("metric ")).count() - rows,
            7
        );
    }
}

/// Each bar stands where there are values, and the highest where most are.
fn assert_bars(bins: &str, bars: &str, values: &[f64]) {
    let numbers: Vec<f64> = bins.split(' ').filter_map(|word| word.parse().ok()).collect();
    let [from, to, by] = numbers[..] else { panic!("{bins}") };
    let bars: Vec<char> = bars.chars().collect();
    assert_eq!(bars.len(), ((to - from) / by).round() as usize, "{bins}");
    let mut counts = vec![0; bars.len()];
    for value in values {
        counts[((value - from) / by + 1e-6) as usize] += 1;
    }
    let most = *counts.iter().max().unwrap();
    for (bar, count) in bars.iter().zip(&counts) {
        assert_eq!((*bar == '·', *bar == '█'), (*count == 0, *count == most), "{bars:?} {counts:?}");
    }
}

/// Several threads give one summary, and namesakes are told apart by their owners.
#[test]
fn a_summary_of_many_messages_is_the_same_for_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("messages.jsonl");
    let mut file = std::io::BufWriter::new(File::create(&path).unwrap());
    let count = 50_000;
    for index in 0..count {
        let owner = ["x", "y"][usize::from(index % 5 == 0)];
        let value = (index * 7919 % 1000) as f64 / 1000.0;
        let broken = if index % 100 == 3 { "" } else { "}" };
        let time = 1_613_780_514_000_000i64 + index;
        writeln!(
            file,
            r#"{{"algorithm_name":"a","algorithm_owner":"{owner}","score":{value},"big":{index},"time":{time}{broken}"#
        )
        .unwrap();
    }
    file.into_inner().unwrap();
    let summary = |threads: &str| {
        let args = ["--summary", "--exact-time", "--threads", threads, path.to_str().unwrap()];
        let stderr = text(&run(&args, b"").stderr);
        stderr[stderr.find("50000 messages: 49500 points, 500 rejected\n").unwrap()..].to_owned()
    };
    let one = summary("1");
    assert_eq!(summary("4"), one);
    assert!(one.contains("  500 rejected, invalid_json\n"), "{one}");
    assert!(one.contains("from 2021-02-20T00:21:54Z to 2021-02-20T00:21:54.049999Z\n"), "{one}");
    let (_, rest) = one.split_once("\na of x: 39500 points\n").unwrap_or_else(|| panic!("{one}"));
    let (of_x, of_y) = rest.split_once("\na of y: 10000 points\n").unwrap_or_else(|| panic!("{one}"));
    assert_eq!(row(of_x, "score")[5], "0 to 1 by 0.05");
    assert_eq!(row(of_y, "big")[1..5], ["10000", "0", "24997.5", "49995"]);
    // All values are as frequent as all others.
    assert!(row(of_x, "score")[6].chars().all(|bar| matches!(bar, '▇' | '█')), "{of_x}");
}

/// A pseudoterminal of so many columns: the end that people sit at, and the one for a program.
fn terminal(columns: u16) -> (OwnedFd, OwnedFd) {
    let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&controller).unwrap();
    unlockpt(&controller).unwrap();
    let name = ptsname(&controller, Vec::new()).unwrap();
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
    let terminal = rustix::fs::open(name.as_c_str(), flags, rustix::fs::Mode::empty()).unwrap();
    let size = Winsize { ws_row: 40, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&terminal, size).unwrap();
    (controller, terminal)
}

/// What comes to a terminal.
struct Screen {
    seen: Arc<Mutex<String>>,
    reader: JoinHandle<()>,
}

impl Screen {
    fn watch(controller: OwnedFd) -> Self {
        let seen = Arc::new(Mutex::new(String::new()));
        let sink = Arc::clone(&seen);
        let reader = std::thread::spawn(move || {
            let mut file = File::from(controller);
            let mut buffer = [0; 4096];
            // It is an error when nobody has the other end any more.
            while let Ok(len @ 1..) = file.read(&mut buffer) {
                sink.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..len]));
            }
        });
        Screen { seen, reader }
    }

    /// Whether this has come.
    fn has(&self, part: &str) -> bool {
        self.seen.lock().unwrap().contains(part)
    }

    /// All that has come, once the command has ended.
    fn all(self) -> String {
        wait_until("the terminal is closed", || self.reader.is_finished());
        self.seen.lock().unwrap().replace("\r\n", "\n")
    }
}

/// The command, with the variables of a usual terminal and no others that say something of colours.
fn at_terminal() -> Command {
    let mut command = command();
    command.env("TERM", "xterm-256color").stdin(Stdio::null());
    for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "CI", "COLORTERM"] {
        command.env_remove(name);
    }
    command
}

#[test]
fn colours_are_for_terminals_and_for_those_who_want_them() {
    let insights = repository("examples/insights.jsonl");
    let seen = |format: &str, columns: u16, variables: &[(&str, &str)]| {
        let (controller, terminal) = terminal(columns);
        let mut child = at_terminal()
            .args(["inspect", "--format", format, &insights])
            .envs(variables.iter().copied())
            .stdout(Stdio::from(terminal.try_clone().unwrap()))
            .stderr(Stdio::from(terminal))
            .spawn()
            .unwrap();
        let screen = Screen::watch(controller);
        assert_eq!(exit_code(&mut child), 0);
        screen.all()
    };
    let coloured = seen("table", 80, &[]);
    assert!(coloured.contains("\u{1b}[32mfloat field\u{1b}[0m") && coloured.contains("\u{1b}[1mmessage 1\u{1b}[0m"));
    for variables in [&[("NO_COLOR", "1")][..], &[("TERM", "dumb")]] {
        let plain = seen("table", 80, variables);
        assert!(!plain.contains('\u{1b}'), "{variables:?}: {plain:?}");
        let table_lines = plain.lines().filter(|line| line.starts_with("  ") && !line.starts_with("  the "));
        assert!(table_lines.clone().count() > 150);
        assert!(table_lines.clone().all(|line| line.width() <= 80), "{plain}");
    }
    // A wider terminal shows more of the marked texts, up to 120 columns.
    let widest =
        |columns| seen("table", columns, &[("NO_COLOR", "1")]).lines().map(UnicodeWidthStr::width).max().unwrap();
    assert!(widest(110) > 100 && widest(200) <= 120);
    // What is no terminal gets none, whatever is asked for.
    for args in [&["inspect"][..], &["inspect", "--format", "summary"], &["--summary"]] {
        let output = at_terminal().args(args).arg(&insights).env("CLICOLOR_FORCE", "1").output().unwrap();
        assert!(!text(&output.stdout).contains('\u{1b}') && !text(&output.stderr).contains('\u{1b}'), "{args:?}");
    }
    assert!(seen("summary", 80, &[]).contains("\u{1b}[1m20 messages\u{1b}[0m"));
    assert!(!seen("summary", 80, &[("NO_COLOR", "1")]).contains('\u{1b}'));
}

#[test]
fn nothing_that_comes_from_outside_commands_a_terminal() {
    const EVIL: &str = "\u{1b}]0;x\u{7}\r\u{9b}2J\u{202e}\u{8}";
    let folder = tempfile::tempdir().unwrap();
    let in_folder = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let messages = in_folder("messages.json");
    let text =
        EVIL.replace('\u{1b}', "\\u001b").replace('\u{7}', "\\u0007").replace('\r', "\\r").replace('\u{8}', "\\b");
    let point = format!("{{\"algorithm_name\":\"a{text}\",\"k{text}\":\"{text}\",\"time\":1613780514867}}");
    std::fs::write(&messages, format!("{point}\noops{EVIL}\n{{\"algorithm_name\":\"a\",\"x{text}\":NaN,\"y\":1}}\n"))
        .unwrap();
    let journal = in_folder("journal");
    let to_journal =
        command().args(["execd", "--journal", &journal]).stdin(File::open(&messages).unwrap()).output().unwrap();
    assert!(to_journal.status.success());
    let missing = in_folder(&format!("missing{EVIL}\nE! invented"));
    for args in [
        &[&*messages][..],
        &[&messages, "--summary"],
        &["inspect", &messages],
        &["inspect", "--format", "summary", &messages],
        &["replay", &journal],
        &[&missing],
        &["inspect", &missing],
        &["replay", &missing],
        &["execd", "--journal", &missing],
        &[&format!("--no-such-option{EVIL}")],
        &["--as", EVIL],
    ] {
        let (controller, terminal) = terminal(80);
        let mut child = at_terminal()
            .env("NO_COLOR", "1")
            .args(args)
            .stdin(File::open(&messages).unwrap())
            .stdout(Stdio::from(terminal.try_clone().unwrap()))
            .stderr(Stdio::from(terminal))
            .spawn()
            .unwrap();
        let screen = Screen::watch(controller);
        exit_code(&mut child);
        let seen = screen.all();
        assert!(seen.contains("\\u{9b}2J\\u{202e}"), "{args:?}: {seen:?}");
        let commands = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
        assert!(!seen.contains(commands), "{args:?}: {seen:?}");
        assert!(!seen.contains("\nE! invented"), "{args:?}: {seen:?}");
    }
    // Whoever is no terminal gets line protocol as it is.
    let output = command().arg(&messages).output().unwrap();
    assert!(output.stdout.contains(&0x1b));
}

/// A file that is long enough for progress, and in its midst has something for the log.
fn long_file(folder: &tempfile::TempDir) -> String {
    let path = folder.path().join("long.jsonl");
    let message = |index: usize| match index % 1000 {
        7 => "oops\n".to_owned(),
        _ => format!("{{\"algorithm_name\":\"a\",\"x\":1,\"time\":1613780514867,\"request_id\":\"{index}\"}}\n"),
    };
    let block: String = (0..10_000).map(message).collect();
    let mut file = File::create(&path).unwrap();
    let blocks = 18 * 1024 * 1024 / block.len();
    for index in 0..blocks {
        file.write_all(block.as_bytes()).unwrap();
        if index == blocks / 2 {
            file.write_all(b"{\"algorithm_name\":\"a\",\"x\":1,\"late\":NaN,\"time\":1613780514867}\n").unwrap();
        }
    }
    path.to_str().unwrap().to_owned()
}

#[test]
fn progress_is_a_line_on_a_terminal_that_goes_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = long_file(&folder);
    for args in [&["--summary", "--threads", "2"][..], &["--summary", "--threads", "1"], &["inspect"]] {
        let (controller, terminal) = terminal(100);
        let mut child = at_terminal()
            .args(args)
            .args([&path, IMPATIENT])
            .env("NO_COLOR", "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::from(terminal))
            .spawn()
            .unwrap();
        let screen = Screen::watch(controller);
        let mut stdout = child.stdout.take().unwrap();
        let mut buffer = vec![0; 64 * 1024];
        // Slowly, until the line is there: it comes only to those who wait.
        wait_until("there is progress", || {
            assert!(stdout.read(&mut buffer).unwrap() > 0, "it ended without: {:?}", screen.seen);
            screen.has("iB of ")
        });
        // Nobody wants to wait for so many tables.
        let is_table = args[0] == "inspect";
        if is_table {
            drop(stdout);
        } else {
            while stdout.read(&mut buffer).unwrap() > 0 {}
        }
        assert_eq!(exit_code(&mut child), 0);
        let seen = screen.all();
        let line = seen.split(['\r', '\n']).find(|line| line.contains("iB of ")).unwrap();
        let left = line.split(", ").nth(1).and_then(|left| left.trim_end().strip_suffix(" left"));
        assert!(line.contains("iB/s, ") && left.is_some_and(|left| left.ends_with(['s', 'm', 'h'])), "{line:?}");
        // What a terminal shows of it: a line that is cleared begins anew.
        let screen: Vec<&str> = seen.lines().map(last_drawn).collect();
        assert!(!screen.iter().any(|line| line.contains("iB of ")), "{screen:#?}");
        let is_known = |line: &&&str| {
            line.is_empty() || ["W! ", "I! "].iter().any(|level| line.starts_with(level)) || line.starts_with("  ")
        };
        let others: Vec<&&str> = screen.iter().filter(|line| !is_known(line)).collect();
        // The summary, which is not among tables.
        match others[..] {
            [] => assert!(is_table),
            [all, algorithm] => assert!(!is_table && all.contains(" messages: ") && algorithm.contains(": ")),
            _ => panic!("{others:?}"),
        }
        for logged in ["W! rejected a message, invalid_json", "W! left out \"late\": NaN"] {
            assert_eq!(screen.iter().any(|line| line.starts_with(logged)), !is_table, "{logged}: {screen:#?}");
        }
    }
}

/// What is left of a line after all that was drawn over it.
fn last_drawn(line: &str) -> &str {
    let line = line.rsplit("\u{1b}[2K").next().unwrap_or_default();
    line.rsplit('\r').next().unwrap_or_default()
}

#[test]
fn there_is_no_progress_where_nobody_would_see_it_or_the_lines_would_mix() {
    // Longer than the time after which progress is shown, which begins before the command writes anything.
    let longer = Duration::from_millis(1000) / DIVISOR;
    let writes = |reader: BorrowedFd<'_>| {
        let is_there = || poll(&mut [PollFd::new(&reader, PollFlags::IN)], Some(&Timespec::default())) == Ok(1);
        wait_until("it writes", is_there);
    };
    let folder = tempfile::tempdir().unwrap();
    let path = long_file(&folder);
    // On no terminal.
    let mut child =
        at_terminal().args([IMPATIENT, &path]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), String::new());
    writes(stdout.as_fd());
    std::thread::sleep(longer);
    std::io::copy(&mut stdout, &mut std::io::sink()).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(exit_code(&mut child), 0);
    assert!(!stderr.contains("iB of ") && !stderr.contains('\u{1b}'), "{stderr}");

    // From a pipe, of which nobody knows how long it is.
    let (controller, terminal_end) = terminal(100);
    let mut child = at_terminal()
        .arg(IMPATIENT)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::from(terminal_end))
        .spawn()
        .unwrap();
    let screen = Screen::watch(controller);
    let mut stdin = child.stdin.take().unwrap();
    let messages = fs::read(&path).unwrap();
    let (first, second) = messages.split_at(messages.len() / 2);
    stdin.write_all(first).unwrap();
    std::thread::sleep(longer);
    stdin.write_all(second).unwrap();
    drop(stdin);
    assert_eq!(exit_code(&mut child), 0);
    let seen = screen.all();
    assert!(seen.contains("I! ") && !seen.contains("iB of "), "{seen}");

    // Where the lines go to the same terminal.
    let (controller, terminal_end) = terminal(100);
    let mut child = at_terminal()
        .args([IMPATIENT, &path])
        .stdout(Stdio::from(terminal_end.try_clone().unwrap()))
        .stderr(Stdio::from(terminal_end))
        .spawn()
        .unwrap();
    writes(controller.as_fd());
    std::thread::sleep(longer);
    let screen = Screen::watch(controller);
    assert_eq!(exit_code(&mut child), 0);
    let seen = screen.all();
    assert!(seen.contains("I! ") && !seen.contains("iB of "));
}

/// The pages show what the commands in them print.
#[test]
fn the_documented_commands_print_what_is_documented() {
    let page = fs::read_to_string(repository("docs/by_hand.md")).unwrap();
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_telegraf-algorithmia")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let mut commands = 0;
    for block in page.split("```sh\n").skip(1) {
        let (script, rest) = block.split_once("\n```\n").unwrap();
        let Some((expected, _)) = rest.strip_prefix("\n```text\n").and_then(|rest| rest.split_once("```\n")) else {
            panic!("no output is shown for {script}");
        };
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).current_dir(repository("")).env("PATH", &path).stdin(Stdio::null());
        let output = shell.output().unwrap();
        assert_eq!(text(&output.stderr), "", "{script}");
        assert_eq!(text(&output.stdout).trim_end(), expected.trim_end(), "{script}");
        commands += 1;
    }
    assert_eq!(commands, 8);
}

/// It would be read as broken metrics, and the exit status would say that all is well.
#[test]
fn a_compressed_input_is_refused_and_the_others_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let good = repository("examples/insights.jsonl");
    let expected = run(&[&good], b"").stdout;
    for (program, start) in [("gzip", &b"\x1f\x8b\x08\0\0\0"[..]), ("zstd", b"\x28\xb5\x2f\xfd\x04\x58")] {
        let path = folder.path().join(format!("insights.jsonl.{program}"));
        fs::write(&path, [start, &b"\n{\xff\n".repeat(100)].concat()).unwrap();
        let path = path.display().to_string();
        for options in [&[][..], &["--threads", "1"], &["--threads", "4", "--input", "json-lines"]] {
            let output = run(&[options, &[&path, &good]].concat(), b"");
            assert_eq!(output.status.code(), Some(1));
            let error = format!(
                "E! {path} is compressed: decompress it first, `{program} -dc {path} | telegraf-algorithmia ...`\n"
            );
            assert!(text(&output.stderr).starts_with(&error), "{}", text(&output.stderr));
            assert_eq!(output.stdout.len(), expected.len());
        }
        for command in [&[][..], &["inspect"]] {
            let output = run(command, &fs::read(&path).unwrap());
            assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), String::new()));
            let error = format!(
                "E! stdin is compressed: decompress it first, `{program} -dc FILE | telegraf-algorithmia ...`\n"
            );
            assert_eq!(text(&output.stderr), error);
        }
    }
}
