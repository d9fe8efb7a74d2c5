//! The recipes for messages in an envelope, with messages that CloudEvents' library, MLServer and Kafka Connect have made.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use fixtures::repository;
use serde_json::{Value as Json, json};
use stack::{BUCKET, Dir, Influxdb, Kafka, Value, cloudevents_binary, wait_for};

use super::{recipe, shell, with};
use crate::shell::{Shell, end};
use crate::support::{LONG, turn};

/// The values of Kafka messages that the Python library makes of attributes and data.
fn cloudevents(events: &[(Json, Json)]) -> Result<Vec<String>> {
    let mut python = Command::new(cloudevents_binary()?)
        .arg("-I")
        .arg(repository("tests/e2e/tests/recipes/cloudevents.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let events: String = events.iter().map(|event| json!(event).to_string() + "\n").collect();
    python.stdin.take().context("stdin is a pipe")?.write_all(events.as_bytes())?;
    let output = python.wait_with_output()?;
    ensure!(output.status.success(), "cloudevents.py ended with {}", output.status);
    Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
}

/// What MLServer has written; mlserver.py says how.
const MLSERVER: &str = include_str!("mlserver.jsonl");

/// What the recipe makes of that, behind the tags and before the time.
const RESPONSES: [&str; 2] = [
    "request_id=\"req-1\",risk_score=0.2,label_text=\"approved\",outputs_1_data_1_text=\"gold\"",
    "request_id=\"140e4ecd-04a0-4fc2-93b5-44027106d1ab\",risk_score=0.625,label_text=\"approved\",outputs_1_data_1_text=\"gold\"",
];

const TAGS: &str = "algorithmia,algorithm_name=credit_card_approval,algorithm_version=1.0.6";

/// The lines of points without their times.
fn without_times(lines: &str) -> Vec<&str> {
    lines.lines().filter_map(|line| Some(line.rsplit_once(' ')?.0)).collect()
}

/// The document shows a message as it is.
fn is_shown(heading: &str, message: &str) -> Result<()> {
    let shown = recipe(heading, message)?;
    ensure!(shown.language == "json", "the message below {heading} is {:?}", shown.language);
    Ok(())
}

#[test]
fn envelopes_are_removed() {
    let _turn = turn();
    stack::test("envelopes", |dir| {
        let kafka = Kafka::start(dir)?;
        let influxdb = Influxdb::start(dir)?;
        let shell = shell(dir, &kafka, &influxdb)?
            .set("INFLUX_BUCKET", BUCKET)
            .set("KAFKA_CONSUMER_GROUP", "events")
            .set("ALGORITHMIA_JOURNAL", dir.path().join("journal"));
        of_cloudevents(&shell, &kafka)?;
        of_cloudevents_by_telegraf(&shell, &influxdb)?;
        of_mlserver(&shell, &kafka)?;
        of_kafka_connect(dir, &shell, &kafka)
    });
}

fn of_cloudevents(shell: &Shell, kafka: &Kafka) -> Result<()> {
    kafka.create_topic("events", 1)?;
    let event = |id: &str, more: Json, data: Json| {
        let mut attributes = json!({"type": "com.example.call", "source": "/models/approval", "id": id});
        let more = more.as_object().into_iter().flatten().map(|(key, value)| (key.clone(), value.clone()));
        attributes.as_object_mut().expect("an object").extend(more);
        (attributes, data)
    };
    let at = |time: &str| json!({"time": time, "datacontenttype": "application/json"});
    let events = cloudevents(&[
        event(
            "req-1",
            at("2024-01-01T00:00:00.867231Z"),
            json!({"algorithm_name": "credit_card_approval", "risk_score": 0.2}),
        ),
        // Data with an id, a time and objects of its own, in another zone.
        event(
            "req-2",
            at("2024-01-01T00:00:00+00:00"),
            json!({"algorithm_name": "a", "box": {"w": 1}, "id": 7, "time": "2024-01-01T02:00:00.867231123+01:00"}),
        ),
        event("req-3", json!({"subject": "eu"}), json!({"algorithm_name": "a", "x": 1})),
    ])?;
    is_shown("CloudEvents", &events[0])?;
    kafka.produce("events", &events)?;
    let block = || recipe("CloudEvents", "kcat");
    let lines = shell.succeed(&block()?)?;
    let lines: Vec<_> = lines.lines().collect();
    let source = "source_text=\"/models/approval\"";
    let of_type = "type_text=\"com.example.call\"";
    assert_eq!(lines.len(), 3, "{lines:?}");
    let (first, time) = lines[0].rsplit_once(' ').context("a point has a time")?;
    assert_eq!(
        first,
        format!(
            "algorithmia,algorithm_name=credit_card_approval request_id=\"req-1\",{source},{of_type},risk_score=0.2"
        )
    );
    assert!(time.starts_with("1704067200867231") && time.len() == 19, "{time}");
    assert_eq!(
        lines[1],
        format!(
            "algorithmia,algorithm_name=a request_id=\"req-2\",{source},{of_type},box_w=1,id=7 1704070800867231123"
        )
    );
    // The library says when it has made the event.
    let made: Json = serde_json::from_str(&events[2])?;
    let made: jiff::Timestamp = made["time"].as_str().context("the library gives a time")?.parse()?;
    let (third, time) = lines[2].rsplit_once(' ').context("a point has a time")?;
    assert_eq!(
        third,
        format!("algorithmia,algorithm_name=a request_id=\"req-3\",{source},subject_text=\"eu\",{of_type},x=1")
    );
    assert!(time.starts_with(&made.as_microsecond().to_string()), "{made} and {time}");

    // Data that does not name the algorithm.
    kafka.create_topic("unnamed", 1)?;
    let unnamed = event("req-4", at("2024-01-01T00:00:00Z"), json!({"x": 1}));
    kafka.produce("unnamed", cloudevents(&[unnamed])?)?;
    let named = [
        ("-t events", "-t unnamed"),
        ("--rename id", "--rename source=algorithm_name --rename id"),
        ("--as ", "--as type=tag,"),
    ];
    let lines = shell.succeed(&with(block()?, named)?)?;
    let expected = "algorithmia,algorithm_name=/models/approval,type=com.example.call request_id=\"req-4\",x=1";
    assert_eq!(without_times(&lines), [expected]);
    Ok(())
}

/// The same points by Telegraf.
fn of_cloudevents_by_telegraf(shell: &Shell, influxdb: &Influxdb) -> Result<()> {
    let running = shell.start(&recipe("Messages in an envelope", "telegraf.conf")?)?;
    wait_for("the points", LONG, || {
        running.ensure_running()?;
        Ok((influxdb.count(BUCKET, "algorithmia", "request_id")? == 3).then_some(()))
    })?;
    end(&running)?;
    let points = influxdb.points(BUCKET, "algorithmia")?;
    let second = points.iter().find(|point| point.fields.get("id") == Some(&Value::Float(7.0))).context("req-2")?;
    assert_eq!(second.time_ns, 1_704_070_800_867_231_123);
    assert_eq!(second.fields["request_id"], Value::String("req-2".to_owned()));
    Ok(())
}

fn of_mlserver(shell: &Shell, kafka: &Kafka) -> Result<()> {
    kafka.create_topic("mlserver-output", 1)?;
    let messages: Vec<_> = MLSERVER.lines().collect();
    is_shown("MLServer", messages[0])?;
    kafka.produce("mlserver-output", &messages)?;
    let block = || recipe("MLServer", "kcat");
    let lines = shell.succeed(&block()?)?;
    assert_eq!(without_times(&lines), RESPONSES.map(|fields| format!("{TAGS} {fields}")));

    // In CloudEvents, whose ids are others.
    kafka.create_topic("logged", 1)?;
    let data = messages.iter().map(|message| serde_json::from_str(message)).collect::<Result<Vec<Json>, _>>()?;
    let attributes = json!({"type": "org.kubeflow.serving.inference.response", "source": "s", "id": "other"});
    let events: Vec<_> = data.into_iter().map(|data| (attributes.clone(), data)).collect();
    kafka.produce("logged", cloudevents(&events)?)?;
    let logged = [
        ("mlserver-output", "logged"),
        ("--rename model_name", "--rename 'data_*=*' --rename model_name"),
        ("--as unused=drop", "--as unused=drop,specversion=drop,datacontenttype=drop,type=drop,source=drop"),
    ];
    let lines = shell.succeed(&with(block()?, logged)?)?;
    assert_eq!(without_times(&lines), RESPONSES.map(|fields| format!("{TAGS} {fields}")));
    Ok(())
}

/// Lines of a file become a struct by transformations of Kafka Connect's own.
fn connector(dir: &Dir, scores: &str) -> Result<String> {
    let file = dir.write("scores", scores)?;
    let transforms = "org.apache.kafka.connect.transforms";
    Ok(format!(
        "\
name=scores
connector.class=org.apache.kafka.connect.file.FileStreamSourceConnector
file={}
topic=connect
transforms=struct,float,algorithm,version
transforms.struct.type={transforms}.HoistField$Value
transforms.struct.field=risk_score
transforms.float.type={transforms}.Cast$Value
transforms.float.spec=risk_score:float64
transforms.algorithm.type={transforms}.InsertField$Value
transforms.algorithm.static.field=algorithm_name
transforms.algorithm.static.value=credit_card_approval
transforms.algorithm.timestamp.field=time
transforms.version.type={transforms}.InsertField$Value
transforms.version.static.field=algorithm_version
transforms.version.static.value=1.0.6
",
        file.display()
    ))
}

fn of_kafka_connect(dir: &Dir, shell: &Shell, kafka: &Kafka) -> Result<()> {
    kafka.create_topic("connect", 1)?;
    let connect = kafka.connect(dir, &connector(dir, "0.2\n0.625\n")?)?;
    wait_for("both lines in Kafka", LONG, || {
        connect.ensure_running()?;
        Ok((kafka.end_offsets("connect")? == [2]).then_some(()))
    })?;
    connect.kill()?;
    let messages = String::from_utf8(kafka.cat("connect")?.output()?.stdout)?;
    let lines = shell.succeed(&recipe("Kafka Connect", "kcat")?)?;
    assert_eq!(without_times(&lines), ["0.2", "0.625"].map(|score| format!("{TAGS} risk_score={score}")));
    for (line, message) in lines.lines().zip(messages.lines()) {
        let message: Json = serde_json::from_str(message)?;
        ensure!(message["schema"]["type"] == "struct", "{message}");
        let time = message["payload"]["time"].as_u64().context("Connect gives a time")?;
        let stored = line.rsplit_once(' ').context("a point has a time")?.1;
        assert!(stored.starts_with(&time.to_string()) && stored.len() == 19, "{time} and {stored}");
    }
    Ok(())
}
