//! `inspect --format json`: it says the same as the lines do.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use influxdb_line_protocol::{FieldValue, ParsedLine, parse_lines};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use fixtures::command::{command, exit_code, run, spawn, text};
use fixtures::models::Simulation;
use fixtures::repository;
use fixtures::telegraf::metric;

/// The objects of some input.
fn objects(args: &[&str], input: &[u8]) -> Vec<Value> {
    let output = run(&[&["inspect", "--format", "json"], args].concat(), input);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "");
    text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Asserts that the objects tell of the lines that the same input becomes.
fn check(args: &[&str], input: &[u8]) -> Vec<Value> {
    let objects = objects(args, input);
    let lines = text(&run(args, input).stdout);
    let lines: Vec<_> = parse_lines(&lines).map(Result::unwrap).collect();
    assert_eq!(objects.len(), lines.len());
    for (object, line) in objects.iter().zip(&lines) {
        match (&object["point"], &object["rejected"], &object["passed"]) {
            (point, Value::Null, Value::Null) => check_point(point, line),
            (Value::Null, rejected, Value::Null) => {
                let reason = line.tag_value("reason").unwrap().to_string();
                let Some(FieldValue::String(error)) = line.field_value("error") else { panic!("no text in {line:?}") };
                assert_eq!((&rejected["reason"], &rejected["error"]), (&json!(reason), &json!(error.to_string())));
            }
            (Value::Null, Value::Null, Value::String(_)) => {}
            _ => panic!("{object}"),
        }
    }
    objects
}

fn check_point(point: &Value, line: &ParsedLine<'_>) {
    assert_eq!(point["measurement"], line.series.measurement.as_str());
    let values = |key: &str| -> Map<String, Value> {
        let all = point[key].as_object().unwrap();
        all.iter().map(|(key, its)| (key.clone(), its["value"].clone())).collect()
    };
    let tags = line.series.tag_set.iter().flatten().map(|(key, value)| (key.to_string(), json!(value.to_string())));
    assert_eq!(values("tags"), tags.collect());
    let fields = line.field_set.iter().map(|(key, value)| {
        let (kind, value) = match value {
            FieldValue::F64(value) => ("float", json!(value)),
            FieldValue::I64(value) => ("integer", json!(value)),
            FieldValue::U64(value) => ("integer", json!(value)),
            FieldValue::Boolean(value) => ("boolean", json!(value)),
            FieldValue::String(value) => ("string", json!(value.to_string())),
        };
        assert_eq!(point["fields"][key.as_str()]["kind"], kind, "{key} in {point}");
        (key.to_string(), value)
    });
    assert_eq!(values("fields"), fields.collect());
    let time = &point["time"];
    if time["from"] != "clock" {
        assert_eq!(time["nanoseconds"].as_i64(), line.timestamp);
    }
    let parsed: Timestamp = time["text"].as_str().unwrap().parse().unwrap();
    assert_eq!(Some(parsed.as_nanosecond() as i64), time["nanoseconds"].as_i64());
}

/// Messages in which keys go all ways that there are.
const KEYS: &str = concat!(
    r#"{"algorithm_name":"a","_score":1,"score":"2","nothing":null,"nan":NaN,"huge":1e999,"flag":true,"#,
    r#""count":"many","secret":{"a":[1]},"region":"eu","empty":[],"none":{},"host":"h","":3,"box":{"w":[4]},"#,
    r#""label":"","whole":7,"time":null,"timestamp":1613780514.5,"on":1,"text":"\u001b[31m \"q\" \\ \u009b\u202e é \n","_time":6,"x_text":2}"#
);

#[test]
fn it_says_the_same_as_the_lines() {
    let insights = fs::read(repository("examples/insights.jsonl")).unwrap();
    let objects = check(&[], &insights);
    assert_eq!(objects.iter().filter(|object| object["point"].is_object()).count(), 16);

    let start: Timestamp = "2021-02-20T00:00:00Z".parse().unwrap();
    let mut models = Simulation::new(7, 20.0, start, start);
    let mut messages = models.until(start + jiff::SignedDuration::from_secs(20));
    models.go_wrong();
    messages.extend(models.until(start + jiff::SignedDuration::from_secs(400)));
    let messages: Vec<_> = messages.into_iter().flat_map(|message| [message.text, b"\n".to_vec()].concat()).collect();
    let objects = check(&["--input", "json-lines"], &messages);
    for outcome in ["point", "rejected"] {
        assert!(objects.iter().filter(|object| object[outcome].is_object()).count() > 10, "{outcome}");
    }

    let metrics = [
        metric(KEYS, 1_613_780_514_000_000_009).replacen(' ', ",host=n1,_topic=t ", 1).replacen(
            "\" 16",
            "\",offset=5i,many=18446744073709551615u,big=1e300,yes=t,whole=1i,note=\"n\" 16",
            1,
        ),
        "cpu usage=1 7\n".to_owned(),
        metric(&format!("[{KEYS},{{\"x\":1}},{KEYS}]"), 7),
        "kafka_consumer other=1 7\noops\n".to_owned(),
        metric(&format!(r#"{{"algorithm_name":"a","long":"{}"}}"#, "y".repeat(70_000)), 7),
    ];
    let kinds =
        ["--as", "count=integer,secret=drop,region=tag,label=tag,whole=integer,on=boolean", "--measurement", "n"];
    for args in [&kinds[..], &["--exact-time"]] {
        let objects = check(args, metrics.concat().as_bytes());
        let numbers: Vec<_> = objects.iter().map(|object| object["message"].as_u64()).collect();
        let expected = [Some(1), None, Some(2), Some(2), Some(2), None, Some(3), Some(4)];
        assert_eq!(numbers, expected);
        let payloads: Vec<_> = objects.iter().filter_map(|object| object["payload"].as_u64()).collect();
        assert_eq!(payloads, [1, 2, 3]);
        let lines: Vec<_> = objects.iter().map(|object| object["line"].as_u64().unwrap()).collect();
        assert!(lines.is_sorted() && objects[1]["byte"] == metrics[0].len(), "{lines:?}");
        assert_eq!((&objects[1]["passed"], &objects[5]["passed"]), (&json!("other_metric"), &json!("no_message")));
        assert_eq!(objects[7]["point"]["fields"]["long_text"]["cut_from"], 70_000);
    }
}

#[test]
fn each_key_is_there_with_where_it_is_from_or_why_it_is_not() {
    let line = metric(KEYS, 7).replacen(' ', ",host=n1,_topic=t ", 1).replacen("\" 7", "\",offset=5i,whole=1i 7", 1);
    let kinds = ["--as", "count=integer,secret=drop,region=tag,label=tag,whole=integer,on=boolean"];
    let [object] = &objects(&kinds, line.as_bytes())[..] else { panic!("one message") };
    let point = &object["point"];
    for (stored, expected) in [
        (&point["tags"]["topic"], json!({"value": "t", "from": "_topic", "of": "metric_tag"})),
        (&point["tags"]["host"], json!({"value": "n1", "from": "host", "of": "metric_tag"})),
        (
            &point["fields"]["host_text"],
            json!({
                "value": "h", "kind": "string", "from": "host", "of": "payload",
                "suffixes": [{"suffix": "_text", "why": "the value is text"}],
            }),
        ),
        (
            &point["fields"]["x_text_number"],
            json!({
                "value": 2.0, "kind": "float", "from": "x_text", "of": "payload",
                "suffixes": [{"suffix": "_number", "why": "the value is a number, and keys that end in _text are for text"}],
            }),
        ),
        (
            &point["fields"]["time_field"],
            json!({
                "value": 6.0, "kind": "float", "from": "_time", "of": "payload",
                "suffixes": [{"suffix": "_field", "why": "InfluxDB reserves the key time"}],
            }),
        ),
        (&point["fields"]["offset"], json!({"value": 5.0, "kind": "float", "from": "offset", "of": "metric_field"})),
        (&point["fields"]["box_w_0"], json!({"value": 4.0, "kind": "float", "from": "box.w[0]", "of": "payload"})),
        (&point["fields"]["on"], json!({"value": true, "kind": "boolean", "from": "on", "of": "payload"})),
    ] {
        assert_eq!(stored, &expected, "{object}");
    }
    let time = json!({
        "text": "2021-02-20T00:21:54.500000000Z", "nanoseconds": 1_613_780_514_500_000_000i64,
        "from": "timestamp", "filled_digits": 0,
    });
    let exact = &objects(&["--exact-time"], line.as_bytes())[0]["point"]["time"];
    assert_eq!(exact, &time);
    assert_eq!((&point["time"]["filled_digits"], &point["time"]["filled_from"]), (&json!(6), &json!("message")));
    // With the reasons of the table.
    let left_out = object["left_out"].as_array().unwrap();
    for (key, of, why, lost) in [
        ("whole", "metric_field", "another value of this name counts", true),
        ("_score", "payload", "a later value of this name counts", true),
        ("nothing", "payload", "null makes no field", false),
        ("nan", "payload", "NaN and Infinity make no field", true),
        ("secret", "payload", "--as drops it", false),
        ("time", "payload", "null gives no time", false),
    ] {
        let expected = json!({"key": key, "of": of, "why": why, "lost": lost});
        assert!(left_out.contains(&expected), "{expected} is not in {left_out:?}");
    }

    let rejected = &objects(&[], br#"{"algorithmName":"a","score":0.5,"none":null}"#)[0];
    assert_eq!(rejected["rejected"]["would_be"]["fields"]["score"]["value"], 0.5);
    assert_eq!(rejected["left_out"][0]["key"], "none");
    assert_eq!(objects(&[], b"{\"algorithm_name\":tru}")[0]["rejected"]["at"], 18);
}

#[test]
fn it_comes_with_its_message_and_does_nothing_to_a_terminal() {
    let mut child = spawn(command().args(["inspect", "--format", "json", "--strict"]));
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    for number in 1..4 {
        stdin.write_all(metric(KEYS, 7).as_bytes()).unwrap();
        // Nothing follows, and stdin stays open.
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let harmful = |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c);
        assert!(!line.contains(harmful), "{line:?}");
        let object: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(object["message"], number);
        assert_eq!(object["point"]["fields"]["text_text"]["value"], "\u{1b}[31m \"q\" \\ \u{9b}\u{202e} é \n");
    }
    stdin.write_all(b"oops\n").unwrap();
    drop(stdin);
    assert_eq!(exit_code(&mut child), 1, "strict");

    let insights = repository("examples/insights.jsonl").display().to_string();
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut inspect = command();
    inspect.args(["inspect", "--format", "json", &insights, "missing", &insights]);
    let output = inspect.stdin(Stdio::null()).stdout(full).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    assert!(stderr.starts_with("E! cannot write to stdout: check that there is room"), "{stderr}");
    let objects = objects(&[&insights, "-"], b"oops");
    assert_eq!(objects[0]["input"], insights);
    assert_eq!(objects.last().unwrap()["input"], Value::Null, "stdin has no name");
}

/// docs/by_hand.md says what each key of an object is.
#[test]
fn the_keys_of_objects_are_documented() {
    fn collect(value: &Value, keys: &mut BTreeSet<String>) {
        let Value::Object(object) = value else { return };
        for (key, value) in object {
            keys.insert(key.clone());
            match (key.as_str(), value) {
                // The keys in there are those of the message.
                ("tags" | "fields", Value::Object(all)) => all.values().for_each(|its| collect(its, keys)),
                (_, Value::Array(items)) => items.iter().for_each(|item| collect(item, keys)),
                _ => collect(value, keys),
            }
        }
    }
    let page = fs::read_to_string(repository("docs/by_hand.md")).unwrap();
    let insights = repository("examples/insights.jsonl").display().to_string();
    let long = metric(&format!(r#"{{"algorithm_name":"a","long":"{}"}}"#, "y".repeat(70_000)), 7);
    let mut keys = BTreeSet::new();
    for object in objects(&[&insights, "-"], (long + "cpu usage=1 7\n").as_bytes()) {
        collect(&object, &mut keys);
    }
    assert!(keys.len() > 20, "{keys:?}");
    for key in keys {
        assert!(page.contains(&format!("`{key}`")), "docs/by_hand.md does not say what {key} is");
    }
}
