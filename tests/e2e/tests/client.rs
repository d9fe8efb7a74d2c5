//! What Algorithmia's own Python client sends, from a model to InfluxDB and to an alert. Between the client and Kafka is the
//! platform, which has a stand-in here; all else is real. docs/influxdb.md has the models' code and what becomes of it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::process::{Command, Output};

use anyhow::{Context, Result, bail, ensure};
use fixtures::document::blocks;
use fixtures::generate::generated;
use fixtures::repository;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use stack::{BUCKET, Dir, Influxdb, Kafka, Point, Receiver, Telegraf, wait_for};

use crate::support::{LONG, TOPIC, environment, points, shipped_configuration, text, this_minute, turn};

const DOCUMENT: &str = "docs/influxdb.md";
const HEADING: &str = "From your model";

/// A call of an algorithm, and what should come of it.
struct Call {
    algorithm: &'static str,
    /// The Python code of the metrics.
    metrics: String,
    /// What the document says the client sends of `x`, or which exception it raises.
    sent: Option<String>,
    /// The fields of the point but for those that the platform adds, as line protocol.
    fields: String,
}

/// The code in the document that reports metrics.
fn documented_code() -> Result<String> {
    let blocks = blocks(&repository(DOCUMENT))?;
    let code = blocks.into_iter().find(|block| block.heading == HEADING && block.language == "python");
    Ok(code.with_context(|| format!("{DOCUMENT} has no Python below {HEADING:?}"))?.text)
}

/// A call for each value in the document's table.
fn documented_values() -> Result<Vec<Call>> {
    let document = fs::read_to_string(repository(DOCUMENT))?;
    let (_, section) = document.split_once(&format!("\n## {HEADING}\n")).context("the section is not there")?;
    let (section, _) = section.split_once("\n## ").context("the section has no end")?;
    let code = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let mut calls = Vec::new();
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let cells = row.trim_matches('|').split(" | ").map(code).collect::<Vec<_>>();
        let [values, sent, fields] = &cells[..] else { bail!("not three columns: {row}") };
        ensure!(sent.len() == 1, "the second column does not have one value: {row}");
        calls.extend(values.iter().map(|value| Call {
            algorithm: "documented",
            metrics: format!("{{'x': {value}}}"),
            sent: sent.first().cloned(),
            fields: fields.concat(),
        }));
    }
    ensure!(calls.len() > 20, "only {} values", calls.len());
    Ok(calls)
}

/// Python with the client, which sends to this address.
fn python(address: &str) -> Result<Command> {
    let mut python = Command::new(stack::algorithmia_binary()?);
    // A proxy has no business on the loopback interface.
    python.env("ALGORITHMIA_API", address).env("no_proxy", "127.0.0.1");
    Ok(python)
}

fn ensure_success(output: &Output) -> Result<()> {
    ensure!(output.status.success(), "the model failed:\n{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Calls an algorithm that reports the metrics of each call, in the frame of `algorithmia-adk`. Gives what the client has sent in
/// each, or the name of its exception.
fn call_algorithm(dir: &Dir, calls: &[Call]) -> Result<Vec<String>> {
    let platform = Receiver::start()?;
    let requests = calls.iter().map(|call| json!({"content_type": "text", "data": call.metrics}).to_string() + "\n");
    let requests = dir.write("requests", requests.collect::<String>())?;
    let output = python(&platform.url())?
        .arg(repository("tests/e2e/tests/client/algorithm.py"))
        .stdin(File::open(requests)?)
        .output()?;
    ensure_success(&output)?;
    let answers = String::from_utf8(output.stdout)?;
    let answers = answers.strip_prefix("loading complete\n").context("the algorithm was not loaded")?;
    let mut bodies = platform.requests().into_iter().map(|request| request.body);
    let mut sent = Vec::new();
    for answer in answers.lines() {
        let answer: Value = serde_json::from_str(answer)?;
        sent.push(match answer["result"].as_str() {
            Some("reported") => bodies.next().context("nothing was sent")?,
            Some(exception) => exception.to_owned(),
            None => bail!("the algorithm answers {answer}"),
        });
    }
    assert_eq!((sent.len(), bodies.next()), (calls.len(), None));
    Ok(sent)
}

/// The insights in what the client has sent: keys and values in JSON. They are cut out as text, since serde_json rejects NaN and
/// would write 1e+22 in another way. In JSON a quote within a string has a backslash before it, so none of the separators is in one.
fn insights(body: &str) -> Result<Vec<(&str, &str)>> {
    let list = body.strip_prefix('[').and_then(|list| list.strip_suffix(']')).context("not a list")?;
    if list.is_empty() {
        return Ok(Vec::new());
    }
    let list = list.strip_prefix(r#"{"insight_key": "#).and_then(|list| list.strip_suffix('}'));
    let insights = list.context("no insights")?.split(r#"}, {"insight_key": "#);
    insights.map(|insight| insight.split_once(r#", "insight_value": "#).context("no value")).collect()
}

/// The message that the platform produces of a call.
fn message(sent: &str, algorithm: &str, request: &str, time: Timestamp) -> Result<String> {
    // A call that has reported nothing has a message too.
    let insights = if sent.starts_with('[') { insights(sent).with_context(|| sent.to_owned())? } else { Vec::new() };
    let metrics = insights.iter().map(|(key, value)| format!("{key}:{value},")).collect::<String>();
    let added = json!({
        "algorithm_owner": "asli",
        "algorithm_name": algorithm,
        "algorithm_version": "1.0.6",
        "session_id": "rses-1",
        "request_id": request,
        "duration_milliseconds": 8,
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%.6f").to_string(),
    });
    Ok(format!("{{{metrics}{}", &added.to_string()[1..]))
}

/// The point that should come of it.
fn expected(call: &Call, request: &str, time: Timestamp) -> Point {
    let Call { algorithm, fields, .. } = call;
    let comma = if fields.is_empty() { "" } else { "," };
    let line = format!(
        "algorithmia,algorithm_name={algorithm},algorithm_owner=asli,algorithm_version=1.0.6 \
         {fields}{comma}duration_milliseconds=8,session_id=\"rses-1\",request_id=\"{request}\" {}",
        time.as_nanosecond()
    );
    points(&line).remove(0)
}

/// Runs a check as at a tick. Gives the level of each algorithm.
fn check(influxdb: &Influxdb, name: &str, tick: Timestamp) -> Result<BTreeMap<String, String>> {
    influxdb.run_task(&influxdb.task(name)?, Some(tick))?;
    let rows = influxdb.query(&format!(
        "from(bucket: \"_monitoring\") |> range(start: {tick}, stop: {})
            |> filter(fn: (r) => r._measurement == \"statuses\" and r._check_name == \"{name}\" and r._field == \"_message\")",
        tick + SignedDuration::from_secs(1)
    ))?;
    Ok(rows.iter().map(|row| (text(row, "algorithm_name"), text(row, "_level"))).collect())
}

#[test]
fn what_a_model_reports_is_stored_as_documented_and_alerts() {
    let _turn = turn();
    stack::test("client", |dir| {
        let call = |algorithm, metrics: &str, fields: &str| Call {
            algorithm,
            metrics: metrics.to_owned(),
            sent: None,
            fields: fields.to_owned(),
        };
        let mut calls = vec![
            call("well", "{'risk_score': 0.2}", "risk_score=0.2"),
            call("nothing", "{}", ""),
            call("nan", "{'risk_score': float('nan'), 'approved': True}", "approved=1"),
            call("text", "{'risk_score': 'high', 'approved': True}", "risk_score_text=\"high\",approved=1"),
        ];
        calls.extend(documented_values()?);
        let mut sent = call_algorithm(dir, &calls)?;
        for (call, sent) in calls.iter().zip(&sent) {
            if let Some(documented) = &call.sent {
                let is_same = sent == documented || insights(sent).is_ok_and(|sent| sent == [("\"x\"", &**documented)]);
                ensure!(is_same, "{} is sent as {sent}, not {documented}", call.metrics);
            }
        }
        // The model of the document, without a frame.
        let platform = Receiver::start()?;
        ensure_success(&python(&platform.url())?.arg("-c").arg(documented_code()?).output()?)?;
        let requests = platform.requests();
        let [request] = &requests[..] else { bail!("not one request: {requests:?}") };
        assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/v1/insights"));
        sent.push(request.body.clone());
        calls.push(call("credit", "", "risk_score=0.93,approved=0,segment_text=\"gold\""));

        let influxdb = Influxdb::start(dir)?;
        let slack = Receiver::start()?;
        influxdb.apply(&repository("telegraf/influxdb-template.yml"), &[])?;
        let template = dir.write("slack.yml", generated("slack-template", &["--slack-url", &slack.url()]))?;
        influxdb.apply(&template, &[])?;
        let kafka = Kafka::start(dir)?;
        kafka.create_topic(TOPIC, 1)?;
        let variables = environment(dir, kafka.broker(), influxdb.url());
        let telegraf = Telegraf::start(dir, shipped_configuration(), variables)?;

        // At that tick InfluxDB was not there yet: what it runs by itself is at later ones.
        let tick = this_minute()? - SignedDuration::from_mins(5);
        let minute = tick - SignedDuration::from_mins(1);
        let times = (1..).map(|number| minute + SignedDuration::from_micros(1_000_001 * number));
        let (mut messages, mut promised) = (Vec::new(), BTreeMap::new());
        for ((number, (call, sent)), time) in calls.iter().zip(&sent).enumerate().zip(times) {
            let request = format!("req-{number}");
            messages.push(message(sent, call.algorithm, &request, time)?);
            promised.insert(request.clone(), expected(call, &request, time));
        }
        kafka.produce(TOPIC, messages)?;
        wait_for("all points in InfluxDB", LONG, || {
            telegraf.ensure_running()?;
            let rejected = influxdb.strings(BUCKET, "algorithmia_rejected", "payload")?;
            ensure!(rejected.is_empty(), "these are rejected: {rejected:?}");
            let stored = influxdb.count(BUCKET, "algorithmia", "request_id")? as usize;
            Ok((stored >= calls.len()).then_some(()))
        })?;
        // A point that is just being written may be there without its last fields.
        telegraf.terminate()?;

        let stored = influxdb.points(BUCKET, "algorithmia")?.into_iter().map(|mut point| {
            // The digits that the message's time does not have are filled.
            point.time_ns -= point.time_ns % 1000;
            (text(&point.fields, "request_id"), point)
        });
        let stored = stored.collect::<BTreeMap<_, _>>();
        for (request, promised) in &promised {
            assert_eq!(stored.get(request), Some(promised), "{request}");
        }
        assert_eq!(stored.len(), promised.len());

        let all = |levels: &[(&str, &str)]| levels.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        assert_eq!(check(&influxdb, "Risk Score Alert", tick)?, all(&[("credit", "crit"), ("well", "ok")]));
        let names = ["credit", "documented", "nan", "nothing", "text", "well"];
        assert_eq!(check(&influxdb, "Duration Alert", tick)?, all(&names.map(|name| (name, "ok"))));
        influxdb.run_task(&influxdb.task("Slack Alert")?, Some(tick))?;
        let alerts = slack.requests();
        let alert = alerts.first().context("nothing came to Slack")?.json()?;
        let said = format!(
            "Notification Rule: Slack Alert triggered by check: Risk Score Alert: Check: Risk Score Alert is: crit: \
             asli/credit 1.0.6: risk_score above 0.7 since {}, at worst 0.93\n",
            minute.strftime("%Y-%m-%dT%H:%MZ")
        );
        let alert = alert["attachments"][0]["text"].as_str().context("no text")?;
        ensure!(alert.starts_with(&said), "{alert:?} does not begin {said:?}");
        Ok(())
    });
}

#[test]
fn the_client_fails_as_documented() {
    let _turn = turn();
    stack::test("client-fails", |_| {
        let code = documented_code()?;
        let run = |address: &str, code: &str| -> Result<Output> {
            Ok(python(address)?.args(["-c", code]).env("ALGORITHMIA_API_KEY", "secret").output()?)
        };
        let complaint = |output: &Output| {
            assert!(!output.status.success(), "{output:?}");
            String::from_utf8_lossy(&output.stderr).trim_end().lines().last().unwrap_or_default().to_owned()
        };

        // An error status goes unnoticed, the key is not sent, and api_address means nothing.
        let platform = Receiver::start()?;
        platform.answer_with(500)?;
        let other = code.replace("client()", "client(api_address=\"http://127.0.0.1:1\")");
        ensure!(other != code, "the document makes its client in another way");
        for code in [&code, &other] {
            let output = run(&platform.url(), code)?;
            ensure_success(&output)?;
            assert_eq!(output.stdout, b"");
        }
        let requests = platform.requests();
        assert_eq!(requests.len(), 2);
        for request in requests {
            assert_eq!(request.header("authorization"), None);
            ensure!(!format!("{request:?}").contains("secret"), "{request:?}");
        }

        // Nobody can listen at port 0.
        let said = complaint(&run("http://127.0.0.1:0", &code)?);
        ensure!(said.starts_with("requests.exceptions.ConnectionError: "), "{said}");
        let said = complaint(&run(&platform.url(), "from adk import ADK\nADK(lambda input: 1 / 0).init('x')\n")?);
        assert_eq!(said, "TypeError: format_exception() got an unexpected keyword argument 'etype'");
        Ok(())
    });
}
