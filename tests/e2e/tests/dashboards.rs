//! The dashboards on real servers: what each cell shows, compared with what was produced.

pub mod calls;
mod compare;
mod drift;
mod expected;
mod few;
mod hostile;
mod stale;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::ops::Range;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::support::{
    GROUP, LONG, TOPIC, at, edited, ensure_apart, environment, flux_of, shipped_configuration, stop_task, turn,
};
use anyhow::{Context, Result, ensure};
use calls::{
    Bad, Call, DAY, HOUR, MINUTE, Metric, ODD_METRIC, ODD_NAME, ODD_OWNER, ODD_VERSION, Producer, SECOND, TOPIC_TAG,
    bad, messages, share,
};
use compare::compare;
use drift::{Drift, drifting};
use expected::{ALL, CELLS, Choice, Rejection, World};
use fixtures::telegraf::tagged;
use fixtures::{program, repository};
use jiff::Timestamp;
use serde_json::json;
use stack::{Arguments, BUCKET, Dashboard, Dir, Influxdb, Kafka, Point, Row, Telegraf, Value, Variables, wait_for};

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64
}

/// An InfluxDB with the template applied.
pub fn influxdb_with_template(dir: &Dir) -> Result<Influxdb> {
    let influxdb = Influxdb::start(dir)?;
    influxdb.apply(&repository("telegraf/influxdb-template.yml"), &[])?;
    Ok(influxdb)
}

/// A choice with the window period that the UI takes for the range.
fn choice(start: i64, stop: i64, [owner, algorithm, version, metric]: [&str; 4]) -> Result<Choice> {
    Ok(Choice {
        start,
        stop,
        window_ms: Variables::new(start, stop)?.window_period(),
        owner: owner.to_owned(),
        algorithm: algorithm.to_owned(),
        version: version.to_owned(),
        metric: metric.to_owned(),
    })
}

fn variables(choice: &Choice) -> Result<Variables> {
    let mut v = Variables::new(choice.start, choice.stop)?;
    v.set_window_period(choice.window_ms);
    v.set("algorithmia_owner", &choice.owner).set("algorithmia_algorithm", &choice.algorithm);
    v.set("algorithmia_version", &choice.version).set("algorithmia_metric", &choice.metric);
    Ok(v)
}

/// Each cell that has a query, with the name of its dashboard.
fn cells(dashboards: &[Dashboard]) -> impl Iterator<Item = (&str, &stack::Cell, &str)> {
    let cells = dashboards.iter().flat_map(|dashboard| dashboard.cells.iter().map(move |cell| (dashboard, cell)));
    cells.flat_map(|(dashboard, cell)| {
        cell.queries.iter().map(move |query| (dashboard.name.as_str(), cell, query.as_str()))
    })
}

/// All cells but those of drift show what they have to, for each choice.
fn cells_show(influxdb: &Influxdb, world: &World, choices: &[Choice]) -> Result<()> {
    let mut dashboards = influxdb.dashboards()?;
    dashboards.retain(|dashboard| dashboard.name != DRIFT);
    let found = cells(&dashboards).map(|(dashboard, cell, _)| (dashboard, cell.name.as_str())).collect::<Vec<_>>();
    let known = CELLS.iter().map(|(dashboard, cell, _)| (*dashboard, *cell)).collect::<BTreeSet<_>>();
    assert_eq!(found.len(), known.len(), "{found:?}");
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), known);

    let mut failures = Vec::new();
    for choice in choices {
        let v = variables(choice)?;
        for (dashboard, cell, query) in cells(&dashboards) {
            let expectation = CELLS.iter().find(|known| (known.0, known.1) == (dashboard, &cell.name));
            let (_, _, expectation) = expectation.context("checked above")?;
            let asked = now();
            let shown = influxdb.answer(query, &v).and_then(|answer| {
                let expected = expectation(world, choice);
                compare(cell, &answer, &(asked..now()), &expected)
            });
            if let Err(error) = shown {
                failures.push(format!("{dashboard}, {}, with {choice:?}:\n{error:#}", cell.name));
            }
        }
    }
    ensure_none(&failures)
}

/// Each cell's query, and each variable's, runs without an error. Gives how many rows came in all.
fn all_run(influxdb: &Influxdb, v: &Variables) -> Result<usize> {
    let mut count = 0;
    for (dashboard, cell, query) in cells(&influxdb.dashboards()?) {
        let rows = influxdb.query_with(query, v).with_context(|| format!("in {dashboard}, {}", cell.name))?;
        count += rows.len();
    }
    for variable in influxdb.variables()? {
        offered(influxdb, &variable.name, v)?;
    }
    Ok(count)
}

/// What a variable offers, in its own order.
fn offered(influxdb: &Influxdb, name: &str, v: &Variables) -> Result<Vec<String>> {
    let variables = influxdb.variables()?;
    let variable = variables.iter().find(|variable| variable.name == name).context("no such variable")?;
    let Arguments::Query { query } = &variable.arguments else { panic!("{variable:?} has no query") };
    let rows = influxdb.query_with(query, v).with_context(|| format!("in the variable {name}"))?;
    let value = |row: &Row| match row.get("_value") {
        Some(Value::String(text)) => Ok(text.clone()),
        other => anyhow::bail!("{name} offers {other:?}"),
    };
    rows.iter().map(value).collect()
}

/// The variables offer what was called in the dashboard's range, each narrowed by those before it.
fn variables_offer(influxdb: &Influxdb, world: &World, range: Range<i64>) -> Result<()> {
    let calls = world.calls.iter().filter(|call| range.contains(&call.time)).collect::<Vec<_>>();
    let with_all = |values: BTreeSet<String>| [ALL.to_owned()].into_iter().chain(values).collect::<Vec<_>>();
    let some = |value: &String| !value.is_empty();

    let mut v = Variables::new(range.start, range.end)?;
    let owners = with_all(calls.iter().map(|call| call.owner.clone()).filter(some).collect());
    assert_eq!(offered(influxdb, "algorithmia_owner", &v)?, owners);
    for owner in &owners {
        v.set("algorithmia_owner", owner);
        let of_owner = calls.iter().filter(|call| owner == ALL || call.owner == *owner).collect::<Vec<_>>();
        let names = of_owner.iter().map(|call| call.name.clone()).collect::<BTreeSet<_>>();
        assert_eq!(offered(influxdb, "algorithmia_algorithm", &v)?, Vec::from_iter(names.clone()), "of {owner}");
        // Of many, some.
        for name in names.iter().step_by(1 + names.len() / 20) {
            v.set("algorithmia_algorithm", name);
            let of_name = of_owner.iter().filter(|call| call.name == *name).collect::<Vec<_>>();
            let versions = with_all(of_name.iter().map(|call| call.version.clone()).filter(some).collect());
            assert_eq!(offered(influxdb, "algorithmia_version", &v)?, versions, "of {owner}, {name}");
            for version in &versions {
                v.set("algorithmia_version", version);
                // What was a number in any call: text is another field, and `--as` may keep booleans what they are.
                let of_version = of_name.iter().filter(|call| version == ALL || call.version == *version);
                let fields = of_version.flat_map(|call| call.metrics.iter().map(move |metric| (call, metric)));
                let numbers = fields.filter(|(call, (field, metric))| {
                    call.number(field).is_some() && !(world.booleans && matches!(metric, Metric::Flag(_)))
                });
                let numbers = numbers.map(|(_, (field, _))| field.clone()).collect::<BTreeSet<_>>();
                let found = offered(influxdb, "algorithmia_metric", &v)?;
                assert_eq!(found, Vec::from_iter(numbers), "of {owner}, {name}, {version}");
            }
        }
    }
    Ok(())
}

/// There are no failures; else the error is about the first part of each.
fn ensure_none(failures: &[String]) -> Result<()> {
    let short = failures.iter().map(|failure| failure.chars().take(3000).collect::<String>()).collect::<Vec<_>>();
    ensure!(failures.is_empty(), "{} failures\n\n{}", failures.len(), short.join("\n\n"));
    Ok(())
}

/// Runs all checks as at each of some moments, stops them, and gives the statuses that are there.
fn check_at(influxdb: &Influxdb, moments: &[i64]) -> Result<Vec<Row>> {
    for check in influxdb.list("checks")? {
        let task = check["taskID"].as_str().context("the check has no task")?;
        let runs = format!("/api/v2/tasks/{task}/runs");
        for moment in moments {
            influxdb.post_json(&runs, &json!({"scheduledFor": tick(*moment)?.to_string()}))?;
        }
        let all_done = || {
            let all = influxdb.get(&runs)?;
            let all = all["runs"].as_array().context("there is no list of runs")?;
            ensure!(all.iter().all(|run| run["status"] != "failed"), "{} failed: {all:?}", check["name"]);
            let done = all.iter().filter(|run| run["status"] == "success").count();
            Ok((done == all.len() && done >= moments.len()).then_some(()))
        };
        wait_for("the runs of a check", LONG, all_done)?;
        stop_task(influxdb, task)?;
        // The clock may have begun one just before. It has to be done when statuses are read.
        wait_for("the last run of a check", LONG, all_done)?;
    }
    // Those that are tasks. What they find depends on what they found before.
    let template = fs::read_to_string(repository("telegraf/influxdb-template.yml"))?;
    for task in ["Risk Score Alert", "Duration Alert"].into_iter().filter(|task| influxdb.task(task).is_ok()) {
        // The clock would write of the end of what these moments find.
        stop_task(influxdb, &influxdb.task(task)?)?;
        for moment in moments {
            influxdb.query(&at(&flux_of(&template, task)?, tick(*moment)?)?)?;
        }
    }
    influxdb.query(
        "from(bucket: \"_monitoring\") |> range(start: -30d)
            |> filter(fn: (r) => r._measurement == \"statuses\" and r._field == \"_message\")",
    )
}

/// The rejected messages, as they are stored.
fn rejections(influxdb: &Influxdb, bad: &[Bad]) -> Result<Vec<Rejection>> {
    let mut stored = BTreeMap::new();
    for mut point in influxdb.points(BUCKET, "algorithmia_rejected")? {
        match (point.fields.remove("payload"), point.fields.remove("error")) {
            (Some(Value::String(payload)), Some(Value::String(error))) => {
                stored.insert(payload, (point.tags["reason"].clone(), error, point.time_ns));
            }
            other => panic!("{other:?}"),
        }
    }
    let rejections = bad.iter().map(|bad| {
        let (reason, error, time) = stored.remove(&bad.message).context("a message is not there")?;
        assert_eq!(reason, bad.reason);
        Ok(Rejection { bad: bad.clone(), error, time })
    });
    rejections.collect()
}

/// Kafka, InfluxDB with the template, and two Telegrafs that share a topic.
struct Pipeline {
    kafka: Kafka,
    influxdb: Influxdb,
    telegrafs: [Telegraf; 2],
}

impl Pipeline {
    fn start(dir: &Dir) -> Result<Pipeline> {
        let kafka = Kafka::start(dir)?;
        kafka.create_topic(TOPIC, 2)?;
        let influxdb = influxdb_with_template(dir)?;
        // Reports come every second: a test does not wait for minutes.
        let shipped = fs::read_to_string(shipped_configuration())?;
        let config = shipped.replace("\"--stats\", \"60s\"", "\"--stats\", \"1s\"");
        ensure!(config != shipped, "telegraf.conf does not say how often reports come");
        let config = dir.write("telegraf.conf", config)?;
        let telegraf = |journal: &str| {
            let mut variables = environment(dir, kafka.broker(), influxdb.url());
            variables.retain(|(name, _)| *name != "ALGORITHMIA_JOURNAL");
            variables.push(("ALGORITHMIA_JOURNAL", dir.path().join(journal).display().to_string()));
            Telegraf::start(dir, &config, variables)
        };
        let telegrafs = [telegraf("journal-a")?, telegraf("journal-b")?];
        Ok(Pipeline { kafka, influxdb, telegrafs })
    }

    /// Waits until both Telegrafs have a share of the topic.
    fn wait_until_shared(&self) -> Result<()> {
        wait_for("two Telegrafs in the group", LONG, || {
            self.ensure_running()?;
            Ok((self.kafka.shares(GROUP, TOPIC)? == [1, 1]).then_some(()))
        })
    }

    /// Waits until InfluxDB has so many calls and rejected messages, and two reports of each process after that.
    fn wait_until_stored(&self, calls: usize, bad: usize) -> Result<()> {
        wait_for("all calls in InfluxDB", LONG, || {
            self.ensure_running()?;
            let stored = self.influxdb.count(BUCKET, "algorithmia", "request_id")?;
            let rejected = self.influxdb.count(BUCKET, "algorithmia_rejected", "payload")?;
            Ok(((stored, rejected) == (calls as u64, bad as u64)).then_some(()))
        })?;
        let since = now();
        wait_for("reports", LONG, || {
            self.ensure_running()?;
            let mut reports = BTreeMap::<_, usize>::new();
            for report in self.influxdb.points(BUCKET, "algorithmia_processor")? {
                if report.time_ns > since {
                    *reports.entry(report.tags["instance"].clone()).or_default() += 1;
                }
            }
            Ok((reports.len() == 2 && reports.values().all(|count| *count >= 2)).then_some(()))
        })
    }

    fn ensure_running(&self) -> Result<()> {
        self.telegrafs.iter().try_for_each(|telegraf| telegraf.ensure_running())
    }
}

/// Calls of models from an hour and a half ago on, some of them hard on names and queries, within a range of time, before
/// it and after it. Two minutes in it, at whose end checks look, have a risk and a duration that are too high.
struct Fleet {
    producer: Producer,
    start: i64,
    stop: i64,
    ticks: [i64; 2],
}

fn fleet() -> Result<Fleet> {
    // Windows begin at whole minutes, and the range does not.
    let start = (now() - 90 * MINUTE) / MINUTE * MINUTE + 17 * SECOND + 250_000_000;
    let stop = start + HOUR + 20 * SECOND + 500_000_000;
    let around = start - 10 * MINUTE..stop + 10 * MINUTE;
    let mut producer = Producer::default();
    // Two owners have an algorithm of the same name, and a version of it too.
    for (model, count) in [
        (["asli", "credit_card_approval", "1.0.5"], 60),
        (["asli", "credit_card_approval", "1.0.6"], 330),
        (["asli", "credit_card_approval", "1.1.0"], 170),
        (["bob", "credit_card_approval", "1.0.6"], 111),
        (["bob", "credit_card_approval", "2.0.0"], 57),
        (["asli", "gradientboosting_creditcardapproval", "0.1.0"], 23),
        (["", "orphan", "1.0.0"], 71),
        (["", "orphan", "1.0.1"], 29),
        (["asli", "unversioned", ""], 43),
    ] {
        producer.model(model, count, around.clone(), &["n_features", "client.score"]);
    }
    producer.model([ODD_OWNER, ODD_NAME, ODD_VERSION], 83, around.clone(), &[ODD_METRIC, "cats-in-image"]);
    producer.model([ODD_OWNER, ODD_NAME, "2"], 37, around.clone(), &[ODD_METRIC, "cats-in-image"]);
    for (index, count) in [13, 17, 19, 31, 41, 47, 53].into_iter().enumerate() {
        let name = format!("randomforest_{index}");
        producer.model(["carol", &name, "1.0.0"], count, around.clone(), &["faces_in_image"]);
        producer.model(["carol", &name, "1.0.1"], count + 101, around.clone(), &["faces_in_image"]);
    }
    // The first and the last window, and what is just outside.
    let edges = ["asli", "credit_card_approval", "1.0.6"];
    for time in [start - 1, start, start + 1, stop - 1, stop, stop + 1] {
        producer.call(edges, time, &["n_features"]);
    }
    // The end of one window is the start of the next.
    let every = Variables::new(start, stop)?.window_period() * 1_000_000;
    let boundary = (start + 20 * MINUTE) / every * every;
    for time in [boundary - 1, boundary, boundary + 1] {
        producer.call(edges, time, &["n_features"]);
    }

    // A key that is a text in one call and a number in the next.
    let label = |metric| [("duration_milliseconds", Metric::Number(5.0)), ("label", metric)];
    for index in 0..20 {
        let time = start + index * 3 * MINUTE + 7;
        for (version, nanosecond) in [("0.9", 1), ("1.0", 2)] {
            let cat = label(Metric::Text(format!("cat {index}")));
            producer.exact(["dora", "classifier", version], time + nanosecond, &cat);
        }
        producer.exact(["dora", "classifier", "1.0"], time, &label(Metric::Number(index as f64)));
    }
    producer.exact(["dora", "once", "1"], start + 5 * MINUTE, &label(Metric::Number(0.1)));
    // Too long ago to be silent; and to be offered.
    producer.exact(["zoe", "resting", "1"], start - 10 * DAY, &label(Metric::Number(0.5))[..1]);
    producer.exact(["abe", "a_retired", "1"], start - 45 * DAY, &label(Metric::Text("cat".to_owned())));

    let tick = (start / MINUTE + 30) * MINUTE;
    let ticks = [tick, tick + 5 * MINUTE];
    for (model, levels) in [
        (["eve", "recovering", "1"], [(0.9, 9000.0), (0.1, 10.0)]),
        (["eve", "drifting", "1"], [(0.1, 10.0), (0.95, 2000.0)]),
        (["", "drifting", ""], [(0.2, 20.0), (0.3, 7000.0)]),
    ] {
        for ((risk, duration), tick) in levels.into_iter().zip(ticks) {
            for _ in 0..3 {
                let time = tick - 30 * SECOND + producer.calls.len() as i64;
                let risk = ("risk_score", Metric::Number(risk));
                producer.exact(model, time, &[risk, ("duration_milliseconds", Metric::Number(duration))]);
            }
        }
    }
    // A metric that most calls do not have, and numbers that are none.
    let nothing = [("note", Metric::Text("§ \"quoted\", and\na new line".to_owned()))];
    producer.exact(edges, start + 11 * MINUTE + 1, &nothing);
    Ok(Fleet { producer, start, stop, ticks })
}

#[test]
fn cells_show_what_was_produced() {
    let _turn = turn();
    stack::test("dashboards", |dir| {
        let begin = now();
        let Fleet { producer: Producer { calls, .. }, start, stop, ticks } = fleet()?;
        let pipeline = Pipeline::start(dir)?;
        let influxdb = &pipeline.influxdb;
        pipeline.wait_until_shared()?;
        // Fewer calls come later, so that counters that begin again stay below what they were.
        let (first, second) = calls.split_at(calls.len() * 3 / 4);
        let (mut bad, later) = (bad(0), bad(1));
        pipeline.kafka.produce(TOPIC, messages(first).iter().chain(bad.iter().map(|bad| &bad.message)))?;
        pipeline.wait_until_stored(first.len(), bad.len())?;
        pipeline.telegrafs[0].terminate()?;
        pipeline.telegrafs[0].restart()?;
        pipeline.wait_until_shared()?;
        pipeline.kafka.produce(TOPIC, messages(second).iter().chain(later.iter().map(|bad| &bad.message)))?;
        bad.extend(later);
        pipeline.wait_until_stored(calls.len(), bad.len())?;
        pipeline.telegrafs.iter().try_for_each(|telegraf| telegraf.terminate().map(drop))?;
        let end = now();

        let world = World {
            rejections: rejections(influxdb, &bad)?,
            reports: influxdb.points(BUCKET, "algorithmia_processor")?,
            statuses: check_at(influxdb, &ticks)?,
            calls,
            now: end,
            ..World::default()
        };
        let levels = world.statuses.iter().filter_map(|status| match &status["_level"] {
            Value::String(level) => Some(level.as_str()),
            _ => None,
        });
        assert_eq!(levels.collect::<BTreeSet<_>>(), BTreeSet::from(["crit", "ok", "warn"]));
        let converted = |report: &Point| match report.fields["converted"] {
            Value::Integer(count) => (report.tags["instance"].clone(), count),
            ref other => panic!("{other:?} messages are converted"),
        };
        let mut so_far = BTreeMap::new();
        let again = world.reports.iter().map(converted).filter(|(instance, count)| {
            let before = so_far.insert(instance.clone(), *count);
            before.is_some_and(|before| before > *count)
        });
        assert_eq!(again.count(), 1, "one process has begun again");

        let in_range = |chosen| choice(start, stop, chosen);
        let mut coarse = in_range(["carol", "randomforest_6", "(all)", "faces_in_image"])?;
        coarse.window_ms = 5 * 60_000;
        let mut whole_minutes = choice(
            start / MINUTE * MINUTE,
            (start / MINUTE + 30) * MINUTE,
            ["(all)", "credit_card_approval", "1.0.6", "client.score"],
        )?;
        whole_minutes.window_ms = 60_000;
        let short = start + 20 * MINUTE..start + 21 * MINUTE;
        let mut shorter_than_a_window =
            choice(short.start, short.end, ["asli", "credit_card_approval", "(all)", "approved"])?;
        shorter_than_a_window.window_ms = 5 * 60_000;
        let mut pipeline_alone = choice(begin, end, ["(all)", "orphan", "(all)", "risk_score"])?;
        pipeline_alone.window_ms = 2_000;
        cells_show(
            influxdb,
            &world,
            &[
                in_range(["(all)", "credit_card_approval", "(all)", "risk_score"])?,
                in_range(["asli", "credit_card_approval", "(all)", "approved"])?,
                in_range(["asli", "credit_card_approval", "1.0.6", "n_features"])?,
                in_range([ODD_OWNER, ODD_NAME, ODD_VERSION, ODD_METRIC])?,
                in_range(["(all)", ODD_NAME, "(all)", "cats-in-image"])?,
                in_range(["(all)", "orphan", "(all)", "client.score"])?,
                in_range(["asli", "unversioned", "(all)", "n_features"])?,
                in_range(["dora", "classifier", "(all)", "label"])?,
                in_range(["(all)", "once", "1", "label"])?,
                in_range(["(all)", "drifting", "(all)", "risk_score"])?,
                coarse,
                whole_minutes,
                pipeline_alone,
                choice(start - 20 * MINUTE, end, ["(all)", "credit_card_approval", "(all)", "n_features"])?,
                shorter_than_a_window,
            ],
        )?;
        variables_offer(influxdb, &world, start..stop)?;
        // What the UI chooses at first.
        let mut v = Variables::new("-1h", "now()")?;
        influxdb.resolve_variables(&mut v)?;
        assert_eq!((v.get("algorithmia_owner"), v.get("algorithmia_version")), (Some(ALL), Some(ALL)));
        // A model that was not called in the range is none to begin with, whatever its name.
        let recent = world.calls.iter().filter(|call| call.time >= end - 55 * MINUTE);
        let first = recent.map(|call| call.name.as_str()).min();
        assert_eq!(v.get("algorithmia_algorithm"), first);
        assert!(v.get("algorithmia_metric").is_some_and(|metric| !metric.is_empty()));
        ensure!(all_run(influxdb, &v)? > 0, "nothing is shown with {v:?}");
        Ok(())
    });
}

/// What the processor, with some options, makes of messages that Telegraf hands over.
pub fn converted<'a>(args: &[&str], metrics: impl IntoIterator<Item = &'a String>) -> Result<Vec<u8>> {
    let input = metrics.into_iter().map(String::as_str).collect::<String>();
    let mut processor = Command::new(program());
    let mut processor =
        processor.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut stdin = processor.stdin.take().context("no input")?;
    let feeder = thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = processor.wait_with_output()?;
    feeder.join().expect("the feeder does not panic")?;
    ensure!(output.status.success(), "{args:?}: {}", output.status);
    Ok(output.stdout)
}

/// The metric of a call; its topic may be empty.
pub fn metric_of(call: &Call) -> String {
    let topic = call.tags.iter().filter(|(key, _)| *key == TOPIC_TAG).cloned();
    tagged(topic, &call.payload().to_string(), call.time)
}

#[test]
fn each_cell_shows_what_little_there_is() {
    let _turn = turn();
    stack::test("few", few::each_cell_shows_what_little_there_is);
}

#[test]
fn cells_read_one_type_and_say_what_they_leave_out() {
    let _turn = turn();
    stack::test("stale", stale::cells_read_one_type_and_say_what_they_leave_out);
}

#[test]
fn a_hostile_but_legal_world_is_shown_as_it_is() {
    let _turn = turn();
    stack::test("hostile", hostile::all_is_shown_as_it_is);
}

// ================================================================================================== Algorithmia - Drift

const DRIFT: &str = "Algorithmia - Drift";

/// The dashboard of drift, in an InfluxDB with both templates, that of drift with some of its text replaced.
fn influxdb_with_drift(dir: &Dir, edits: &[(&str, &str, usize)]) -> Result<(Influxdb, Dashboard)> {
    let influxdb = influxdb_with_template(dir)?;
    influxdb.apply(&edited(dir, "influxdb-drift.yml", edits)?, &[])?;
    let dashboard = influxdb.dashboards()?.into_iter().find(|dashboard| dashboard.name == DRIFT);
    Ok((influxdb, dashboard.context("there is no such dashboard")?))
}

fn tick(time: i64) -> Result<Timestamp> {
    Ok(Timestamp::from_nanosecond(time.into())?)
}

fn drift_cells_show(influxdb: &Influxdb, dashboard: &Dashboard, drift: &Drift, choices: &[Choice]) -> Result<()> {
    let asks = |cell: &&stack::Cell| !cell.queries.is_empty();
    let found = dashboard.cells.iter().filter(asks).map(|cell| (cell.name.as_str(), cell.queries.len()));
    let known = drift::CELLS.iter().map(|(cell, queries)| (*cell, queries.len()));
    assert_eq!(found.collect::<BTreeSet<_>>(), known.collect::<BTreeSet<_>>());

    let mut failures = Vec::new();
    for choice in choices {
        let v = variables(choice)?;
        for cell in dashboard.cells.iter().filter(asks) {
            let (_, expectations) = drift::CELLS.iter().find(|known| known.0 == cell.name).context("checked above")?;
            for (query, expectation) in cell.queries.iter().zip(*expectations) {
                let asked = now();
                let shown = influxdb
                    .answer(query, &v)
                    .and_then(|answer| compare(cell, &answer, &(asked..now()), &expectation(drift, choice)));
                if let Err(error) = shown {
                    failures.push(format!("{}, with {choice:?}:\n{error:#}", cell.name));
                }
            }
        }
    }
    ensure_none(&failures)
}

#[test]
fn drift_cells_show_what_was_measured() {
    let _turn = turn();
    stack::test("drift-cells", |dir| {
        let (influxdb, dashboard) = influxdb_with_drift(dir, &[])?;
        ensure_apart(&influxdb.dashboards()?)?;
        let latest = now() / HOUR * HOUR - 3 * HOUR;
        let end = latest + 2 * HOUR + 17 * MINUTE;
        let in_range = |start: i64, stop: i64, chosen: [&str; 4]| choice(start, stop, chosen);

        // Nothing yet: no rows, and no errors.
        let chosen = ["(all)", "credit_card_approval", "(all)", "risk_score"];
        for chosen in [chosen, ["asli", "credit_card_approval", "1.0.6", "risk_score"], [""; 4]] {
            let choice = in_range(latest - 7 * DAY, end, chosen)?;
            drift_cells_show(&influxdb, &dashboard, &Drift::default(), &[choice])?;
        }

        let mut drift = drifting(latest);
        influxdb.write(drift.lines())?;
        drift.statuses = check_at(&influxdb, &[latest + 30 * MINUTE, latest + HOUR + 30 * MINUTE])?;
        let ours = drift
            .statuses
            .iter()
            .filter(|status| status.get("_check_name") == Some(&Value::String("Drift Alert".to_owned())));
        let levels = ours.filter_map(|status| match status.get("_level") {
            Some(Value::String(level)) => Some(level.as_str()),
            _ => None,
        });
        assert_eq!(levels.collect::<BTreeSet<_>>(), BTreeSet::from(["crit", "ok", "warn"]));

        let week = latest - 7 * DAY + 11 * MINUTE;
        let whole = latest - 9 * DAY;
        let card = "credit_card_approval";
        drift_cells_show(
            &influxdb,
            &dashboard,
            &drift,
            &[
                in_range(week, end, chosen)?,
                in_range(whole, end, ["asli", card, "1.0.6", "approved"])?,
                in_range(whole, end, ["asli", card, "(all)", "stars"])?,
                // A new version, which is not in all of the reference.
                in_range(week, end, ["asli", card, "1.1.0", "risk_score"])?,
                in_range(week, end, ["bob", card, "(all)", "risk_score"])?,
                in_range(whole, end, ["(all)", "orphan", "(all)", "risk_score"])?,
                in_range(whole, end, [ODD_OWNER, ODD_NAME, ODD_VERSION, ODD_METRIC])?,
                in_range(whole, end, ["(all)", ODD_NAME, "(all)", ODD_METRIC])?,
                // Not reported of late; reported but not compared; never reported.
                in_range(whole, end, ["(all)", card, "(all)", "gone"])?,
                in_range(whole, end, ["(all)", card, "(all)", "n_features"])?,
                in_range(whole, end, ["(all)", card, "(all)", "no_such_metric"])?,
                in_range(whole, end, ["(all)", "no_such_algorithm", "(all)", "risk_score"])?,
                in_range(whole, end, ["(all)", "extremes", "(all)", "risk_score"])?,
                in_range(whole, end, ["asli", "extremes", "1", "risk_score"])?,
                in_range(whole, end, ["(all)", "extremes", "(all)", "huge"])?,
                // A shorter range than a day; one that ends earlier, at the very time of a point; one that lies before all of them.
                in_range(end - HOUR, end, chosen)?,
                in_range(latest - 2 * DAY, latest - 4 * HOUR, chosen)?,
                in_range(latest - 40 * DAY, latest - 30 * DAY, chosen)?,
                in_range(week, end, [""; 4])?,
            ],
        )
    });
}

#[test]
fn drift_cells_fit_what_the_tasks_write() {
    let _turn = turn();
    stack::test("drift-tasks", |dir| {
        let (influxdb, dashboard) = influxdb_with_drift(dir, &[("groupKey = \"\"", "groupKey = \"gender\"", 1)])?;
        let start = now() / HOUR * HOUR - 3 * HOUR;
        let mut producer = Producer::default();
        // The reference begins and ends with the second and the third of these hours; the others are none of it. No two are alike.
        let reference = start + HOUR - 8 * DAY..start + HOUR - DAY;
        let hours = [reference.start - HOUR, reference.start, reference.end - HOUR, reference.end, start];
        for (hour, power) in hours.into_iter().zip([1.0, 2.0, 2.3, 4.0, 1.7]) {
            for call in 0..1200 {
                let number = producer.calls.len() as u64;
                let dice = share(number).powf(power);
                let gender = if number.is_multiple_of(2) { "f" } else { "m" };
                let metrics = [
                    ("risk_score", Metric::Number(dice)),
                    ("approved", Metric::Flag(dice < 0.5)),
                    ("gender", Metric::Text(gender.to_owned())),
                ];
                let model = ["asli", "credit_card_approval", ["1.0.6", "1.1.0"][usize::from(call == 0)]];
                producer.exact(model, hour + call * 3 * SECOND + 1, &metrics);
            }
        }
        influxdb.write(converted(&[], &producer.calls.iter().map(metric_of).collect::<Vec<_>>())?)?;
        let histograms = influxdb.task("Drift - Histograms")?;
        for hour in hours {
            influxdb.run_task(&histograms, Some(tick(hour + HOUR)?))?;
        }
        influxdb.run_task(&influxdb.task("Drift - Measures")?, Some(tick(start + HOUR)?))?;
        check_at(&influxdb, &[start + 30 * MINUTE, start + HOUR + 30 * MINUTE])?;

        for metric in ["risk_score", "approved"] {
            let choice = choice(start - 9 * DAY, start + 3 * HOUR, ["(all)", "credit_card_approval", "(all)", metric])?;
            let v = variables(&choice)?;
            let mut sum = 0.0;
            for cell in &dashboard.cells {
                for query in &cell.queries {
                    let rows = influxdb.query_with(query, &v).with_context(|| format!("in {}", cell.name))?;
                    ensure!(!rows.is_empty(), "{} shows nothing of {metric}", cell.name);
                    if cell.name == "Where the Values Went: the Bins of the PSI" {
                        sum = rows
                            .iter()
                            .map(|row| match row.get("psi") {
                                Some(Value::Float(psi)) => *psi,
                                other => panic!("{other:?} is no part of the PSI"),
                            })
                            .sum();
                    }
                }
            }
            // Where the cell takes the same hours for the reference, and the same bins, as the task does.
            let measured = influxdb.points(BUCKET, "algorithmia_drift")?;
            let measured = measured.iter().find_map(|point| match point.fields.get("psi") {
                Some(Value::Float(psi)) if point.tags["metric"] == metric => Some(*psi),
                _ => None,
            });
            let psi = measured.with_context(|| format!("there is no PSI of {metric}"))?;
            ensure!(psi > 0.001 && (psi - sum).abs() < 1e-9, "the bins of {metric} add up to {sum}, the PSI is {psi}");
        }
        Ok(())
    });
}
