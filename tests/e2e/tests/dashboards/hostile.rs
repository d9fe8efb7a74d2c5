//! All templates over a world that is hostile, but legal: what the program can write, and few would expect.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use anyhow::{Context, Result, ensure};
use fixtures::repository;
use fixtures::telegraf::tagged;
use serde_json::{Map, Value as Json, json};
use stack::{BUCKET, Dashboard, Dir, Influxdb, Point, Receiver, Row, Value, Variables};
use telegraf_algorithmia::Settings;

use crate::dashboards::calls::{
    Bad, Call, DAY, HOUR, MINUTE, Metric, ODD_METRIC, ODD_NAME, ODD_OWNER, ODD_VERSION, Producer, SECOND, TOPIC_TAG,
    bad, share,
};
use crate::dashboards::drift::{Drift, Hour, Measure, Model};
use crate::dashboards::expected::{World, owner_and_name};
use crate::dashboards::{
    ALL, DRIFT, all_run, cells_show, check_at, choice, converted, drift_cells_show, metric_of, now, rejections, tick,
    variables, variables_offer,
};
use crate::drift::{judge, simulation};
use crate::senders::{HTTP, NAMES, start_receivers, templates_to};
use crate::support::{at, ensure_apart, flux_of, stop_task};

/// An InfluxDB with all templates, and what the senders send to.
struct Everything {
    influxdb: Influxdb,
    receivers: [Receiver; 4],
    /// The Flux of the tasks that send. They do not run by themselves.
    senders: [String; 4],
    drift: Dashboard,
}

impl Everything {
    fn start(dir: &Dir) -> Result<Everything> {
        let influxdb = Influxdb::start(dir)?;
        for template in ["influxdb-template.yml", "influxdb-drift.yml"] {
            influxdb.apply(&repository("telegraf").join(template), &[])?;
        }
        let receivers = start_receivers()?;
        let templates = templates_to(&influxdb, &receivers)?;
        let mut senders = Vec::new();
        for (template, name) in templates.iter().zip(NAMES) {
            influxdb.apply(&dir.write(&format!("{name}.yml"), template)?, &[])?;
            let task = format!("{name} Alert");
            stop_task(&influxdb, &influxdb.task(&task)?)?;
            senders.push(flux_of(template, &task)?);
        }
        let senders = senders.try_into().ok().context("four senders")?;
        let dashboards = influxdb.dashboards()?;
        ensure_apart(&dashboards)?;
        let drift =
            dashboards.into_iter().find(|dashboard| dashboard.name == DRIFT).context("no dashboard of drift")?;
        Ok(Everything { influxdb, receivers, senders, drift })
    }

    /// Of no data, nothing is shown, offered or sent, and nothing fails.
    fn ensure_nothing(&self, start: i64, stop: i64) -> Result<()> {
        let chosen = ["asli", "credit_card_approval", "1.0.6", "risk_score"];
        for chosen in [chosen, [ALL, "credit_card_approval", ALL, "risk_score"], [""; 4]] {
            let shown = all_run(&self.influxdb, &variables(&choice(start, stop, chosen)?)?)?;
            assert_eq!(shown, 0, "{chosen:?}");
        }
        let mut v = Variables::new("-1h", "now()")?;
        let offered = self.influxdb.resolve_variables(&mut v)?;
        for (name, values) in [("owner", &[ALL][..]), ("algorithm", &[]), ("version", &[ALL]), ("metric", &[])] {
            assert_eq!(offered[&format!("algorithmia_{name}")], values, "{name}");
        }
        assert_eq!(all_run(&self.influxdb, &v)?, 0);
        self.ensure_sent(&[], stop)
    }

    /// Each sender tells of what is critical at a time, and of nothing else.
    fn ensure_sent(&self, statuses: &[Row], time: i64) -> Result<()> {
        // What was critical last, and was or was not ok by then.
        let mut newest: BTreeMap<Vec<(&str, String)>, [Option<i64>; 2]> = BTreeMap::new();
        for status in statuses {
            let Some(Value::Time(at)) = status.get("_time") else { panic!("a status has no time: {status:?}") };
            // InfluxDB's clock may have run a check meanwhile, for a later time.
            let is_due = *at > time - HOUR && *at <= time;
            let level = ["crit", "ok"].iter().position(|level| tag(status, "_level") == *level);
            if let Some(level) = level
                && is_due
                && tag(status, "product") == "algorithmia"
            {
                let of = status.keys().map(String::as_str).filter(|key| !key.starts_with('_') || *key == "_check_name");
                let of = of.filter(|key| !["result", "table", "product"].contains(key));
                let newest = newest.entry(of.map(|key| (key, tag(status, key))).collect()).or_default();
                newest[level] = newest[level].max(Some(*at));
            }
        }
        let mut by_check: BTreeMap<(String, &str), Vec<String>> = BTreeMap::new();
        for (of, [crit, ok]) in newest.into_iter().filter(|(_, [crit, _])| crit.is_some()) {
            let of = BTreeMap::from_iter(of);
            let part = |key: &str| of.get(key).cloned().unwrap_or_default();
            let model = owner_and_name(&part("algorithm_owner"), &part("algorithm_name"));
            let about = [model, part("algorithm_version"), part("metric"), part("host")];
            let about = about.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
            let event = if ok >= crit { "past" } else { "begin" };
            by_check.entry((part("_check_name"), event)).or_default().push(about);
        }
        let mut expected = BTreeSet::new();
        for ((check, event), abouts) in &mut by_check {
            abouts.sort();
            if abouts.len() > 10 {
                expected.insert((check.as_str(), *event, abouts.len() as u64, abouts[..10].to_vec()));
            } else {
                expected.extend(abouts.iter().map(|about| (check.as_str(), *event, 1, vec![about.clone()])));
            }
        }
        for ((flux, receiver), name) in self.senders.iter().zip(&self.receivers).zip(NAMES) {
            self.influxdb.query(&at(flux, tick(time)?)?)?;
            let sent = receiver.requests();
            // PagerDuty's incident of what is past is triggered, and then resolved.
            let past = expected.iter().filter(|(_, event, ..)| name == "PagerDuty" && *event == "past").count();
            assert_eq!(sent.len(), expected.len() + past, "{name} sends {sent:#?} of {expected:#?}");
        }
        for sent in self.receivers[HTTP].requests() {
            let sent = sent.json()?;
            let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
            let models = sent["models"].as_array().into_iter().flatten().map(text).collect::<Vec<_>>();
            let found = expected.iter().any(|(check, event, count, abouts)| {
                (sent["check"] == *check && sent["count"] == *count && sent["event"] == *event)
                    && abouts.len() == models.len()
                    // Of many, each comes with its value.
                    && abouts.iter().zip(&models).all(|(about, model)| {
                        model.strip_prefix(about.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(": "))
                    })
            });
            ensure!(found, "{sent:#} is not one of {expected:#?}");
        }
        Ok(())
    }
}

fn tag(status: &Row, name: &str) -> String {
    match status.get(name) {
        Some(Value::String(value)) => value.clone(),
        _ => String::new(),
    }
}

/// The calls. Drift is that of the hour that ended at `hour`.
fn calls(times: &Range<i64>, hour: i64) -> Vec<Call> {
    let start = times.start + 5 * MINUTE;
    let mut producer = Producer::default();
    // Keys that the answer to a query, or what is computed from it, may have too.
    let keys = ["n_features", "result", "table", "order", "model", "error", "group"];
    producer.model(["asli", "busy", "1"], 11_000, times.clone(), &["n_features"]);
    producer.model(["asli", "busy", "2"], 300, times.clone(), &["n_features"]);
    producer.model(["asli", "named", "1"], 70, times.clone(), &keys);
    producer.model([ODD_OWNER, ODD_NAME, ODD_VERSION], 83, times.clone(), &[ODD_METRIC, "cats-in-image"]);
    producer.model([ODD_OWNER, ODD_NAME, "2"], 37, times.clone(), &[ODD_METRIC, "cats-in-image"]);
    producer.model(["", "bare", ""], 50, times.clone(), &["n_features"]);
    producer.call(["", "once", ""], start + 10 * MINUTE, &[]);
    for index in 0..50 {
        for (number, version) in ["1.0", "1.1", "2.0", "3.0"].into_iter().enumerate() {
            // It can be told which are the ten busiest.
            let more = if index < 45 { 0 } else { 40 * (index - 45) + 10 * number };
            let count = 5 + index * 3 + more;
            producer.model(["bob", &format!("algorithm_{index}"), version], count, times.clone(), &["n_features"]);
        }
    }
    // 300 algorithms in all.
    for index in 0..240 {
        producer.call(["carol", &format!("rare {index}"), "1"], start + index * 7 * SECOND + 5, &[]);
    }
    // Calls that do not say how long they took are calls too.
    for index in 0..40 {
        let risk = [("risk_score", Metric::Number(share(index as u64)))];
        producer.exact(["asli", "untimed", "1"], start + index * MINUTE + 1, &risk);
        // Text where numbers are expected; two versions at once, one of them with a number.
        let text = |text: &str| Metric::Text(text.to_owned());
        let texts = [("risk_score", text("high, or \"so\"")), ("duration_milliseconds", text("slow"))];
        producer.exact(["asli", "texts", "1"], start + index * MINUTE + 2, &texts);
        producer.exact(["asli", "texts", "2"], start + index * MINUTE + 3, &risk);
    }
    // Calls of the future, which must not come about while all is compared.
    for time in [times.end + 2 * HOUR, times.end + 2 * HOUR + MINUTE, times.end + DAY] {
        producer.call(["asli", "ahead", "1"], time, &["n_features"]);
    }
    // Each value by itself can be stored. There is no sum of all, nor of their squares.
    let score = |number| [("score", Metric::Number(number)), ("duration_milliseconds", Metric::Number(7.0))];
    for (index, number) in [f64::MAX, 1e200, -1e200, 5e-324, -0.0, 0.25, -7.5].into_iter().enumerate() {
        producer.exact(["asli", "extreme", "1"], start + 20 * MINUTE + 100 + index as i64, &score(number));
    }
    // Enough for drift: now, and days ago.
    for (of, moved) in [(hour - 3 * DAY, 0.0), (hour - HOUR, 0.3)] {
        for call in 0..600 {
            let number = share(of.unsigned_abs() + call as u64);
            let time = of + call * 5 * SECOND + 11;
            let extreme = if call % 50 == 0 { 1e200 } else { number + moved };
            producer.exact(["asli", "extreme", "1"], time, &score(extreme));
            let odd = [(ODD_METRIC, Metric::Number(number)), ("risk_score", Metric::Number((number + moved) / 2.0))];
            producer.exact([ODD_OWNER, ODD_NAME, ODD_VERSION], time + 1, &odd);
            producer.exact(["", "bare", ""], time + 2, &odd[1..]);
        }
    }
    for (index, call) in producer.calls.iter_mut().enumerate() {
        call.tags.push((TOPIC_TAG, ["eu", "us"][usize::from(index % 3 == 0)].to_owned()));
        call.tags.push(("region", ["north", "the \"deep\", or far, south"][usize::from(index % 5 == 0)].to_owned()));
        for (key, metric) in &mut call.metrics {
            if let (Metric::Number(number), "n_features") = (metric, key.as_str()) {
                *number = number.round();
            }
        }
    }
    producer.calls
}

/// Messages that cannot be converted: some among the calls, some alone, hours before.
fn rejected(start: i64) -> (Vec<Bad>, Vec<String>) {
    let bad = (0..6).flat_map(bad).collect::<Vec<_>>();
    let metrics = bad.iter().enumerate().map(|(index, bad)| {
        // The order of the topics is not that of the times.
        let topic = if index < 8 { "us" } else { "eu" };
        let time = if index < 4 { start - 150 * MINUTE } else { start };
        tagged([(TOPIC_TAG, topic)], &bad.message, time + index as i64 * SECOND)
    });
    let metrics = metrics.collect();
    (bad, metrics)
}

/// Reports of two hosts. One begins again at 0; one has no flow control, and no calls at first.
fn reports(start: i64) -> String {
    let mut reports = String::new();
    for (index, (converted, dropped)) in [(100, 5), (700, 5), (40, 0), (90, 2), (90, 2)].into_iter().enumerate() {
        let time = start + index as i64 * MINUTE;
        reports += &format!(
            "algorithmia_processor,host=a,instance=i converted={converted}i,rejected={index}i,lag_mean_ms=-5i,\
             lag_max_ms={converted}i,telegraf_buffer_size={converted}i,telegraf_buffer_limit=1000i,\
             telegraf_dropped={dropped}i {time}\n"
        );
        let lag = if index > 2 { ",lag_mean_ms=20000i,lag_max_ms=30000i" } else { "" };
        let count = index * index;
        let time = time + 20 * SECOND;
        reports += &format!("algorithmia_processor,host=b converted={count}i,rejected=0i{lag} {time}\n");
    }
    reports
}

/// What numpy and scipy make of the calls is what the tasks of drift have stored.
fn ensure_drift_stored(dir: &Dir, influxdb: &Influxdb, calls: &[Call], counted: &[i64], compared: i64) -> Result<()> {
    let mut world = simulation::World::new(Settings::default());
    for call in calls {
        let version = simulation::version(&call.owner, &call.name, &call.version);
        let metrics = call.metrics.iter().filter_map(|(key, metric)| {
            // `--as` keeps booleans what they are, which are no metrics.
            let number = call.number(key).filter(|_| !matches!(metric, Metric::Flag(_)))?;
            Some((key.clone(), json!(number)))
        });
        world.versions.entry(version).or_default().add(call.time, &metrics.collect::<Map<_, _>>(), &[])?;
    }
    let seconds = |times: &[i64]| times.iter().map(|time| time / SECOND).collect::<Vec<_>>();
    let options = judge::Options::default();
    let verdict = judge::judge(dir, influxdb, &world, &options, &seconds(counted), &seconds(&[compared]))?;
    judge::ensure_all_stored(influxdb, &verdict).map(drop)
}

/// What the tasks of drift have stored.
fn stored_drift(influxdb: &Influxdb, statuses: &[Row]) -> Result<Drift> {
    let fixed = |text: &str| -> &'static str { text.to_owned().leak() };
    let tag = |point: &Point, key: &str| fixed(point.tags.get(key).map_or("", String::as_str));
    let model = |point: &Point| -> Model {
        ["algorithm_owner", "algorithm_name", "algorithm_version"].map(|key| tag(point, key))
    };
    let number = |point: &Point, field: &str| match point.fields.get(field) {
        Some(Value::Float(number)) => Some(*number),
        Some(Value::Integer(number)) => Some(*number as f64),
        _ => None,
    };
    let integer = |point: &Point, field: &str| number(point, field).unwrap_or_default() as i64;

    let mut drift = Drift { statuses: statuses.to_vec(), ..Drift::default() };
    let mut counts: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for point in influxdb.points(BUCKET, "algorithmia_histogram")? {
        let of = (model(&point), tag(&point, "metric"), point.time_ns);
        counts.entry(of).or_default().push((point.tags["le"].parse::<f64>()?, integer(&point, "count")));
    }
    for point in influxdb.points(BUCKET, "algorithmia_summary")? {
        let (model, metric, time) = (model(&point), tag(&point, "metric"), point.time_ns);
        if metric.is_empty() {
            drift.calls.push((model, time, integer(&point, "calls")));
            continue;
        }
        let mut counts = counts.remove(&(model, metric, time)).unwrap_or_default();
        counts.sort_by(|a, b| a.0.total_cmp(&b.0));
        drift.hours.push(Hour {
            model,
            metric,
            time,
            counts,
            total: integer(&point, "values"),
            extreme: integer(&point, "extreme"),
            mean: number(&point, "mean").unwrap_or_default(),
            stddev: number(&point, "stddev").unwrap_or_default(),
        });
    }
    for point in influxdb.points(BUCKET, "algorithmia_drift")? {
        let reference = match point.fields.get("reference_version") {
            Some(Value::String(version)) => {
                let [start, stop] = ["reference_start", "reference_stop"].map(|field| match point.fields[field] {
                    Value::Integer(time) => time,
                    ref other => panic!("{field} is {other:?}"),
                });
                Some((fixed(version), start..stop))
            }
            _ => None,
        };
        let fields = point.fields.keys().filter_map(|field| Some((fixed(field), number(&point, field)?)));
        drift.measures.push(Measure {
            model: model(&point),
            metric: tag(&point, "metric"),
            group: tag(&point, "group"),
            time: point.time_ns,
            fields: fields.collect(),
            reference,
        });
    }
    Ok(drift)
}

/// All of the test but its start.
pub fn all_is_shown_as_it_is(dir: &Dir) -> Result<()> {
    let everything = Everything::start(dir)?;
    let influxdb = &everything.influxdb;
    let end = now() / MINUTE * MINUTE;
    let start = end - HOUR;
    everything.ensure_nothing(start, end)?;

    let hour = end / HOUR * HOUR - HOUR;
    let mut calls = calls(&(start - 5 * MINUTE..end), hour);
    let (bad, unconverted) = rejected(start);
    let metrics = calls.iter().map(metric_of).chain(unconverted).collect::<Vec<_>>();
    let options = ["--as", "approved=boolean,duration_milliseconds=integer,n_features=integer,region=tag"];
    influxdb.write(converted(&options, &metrics)?)?;
    influxdb.write(reports(start))?;
    // `--as` leaves out what is no integer.
    for call in &mut calls {
        let is_slow = |metric: &Metric| matches!(metric, Metric::Text(text) if text == "slow");
        call.metrics.retain(|(_, metric)| !is_slow(metric));
    }

    let counted = [hour - 3 * DAY + HOUR, hour];
    let histograms = influxdb.task("Drift - Histograms")?;
    for time in counted {
        influxdb.run_task(&histograms, Some(tick(time)?))?;
    }
    influxdb.run_task(&influxdb.task("Drift - Measures")?, Some(tick(hour)?))?;
    ensure_drift_stored(dir, influxdb, &calls, &counted, hour)?;
    for check in influxdb.list("checks")? {
        if check["labels"].as_array().into_iter().flatten().any(|label| label["name"] == "algorithmia-drift") {
            let task = check["taskID"].as_str().context("the check has no task")?;
            influxdb.run_task(task, Some(tick(hour + HOUR / 2)?))?;
        }
    }
    let statuses = check_at(influxdb, &[end - 10 * MINUTE, end - 5 * MINUTE])?;
    everything.ensure_sent(&statuses, end - 5 * MINUTE)?;

    let world = World {
        calls,
        booleans: true,
        rejections: rejections(influxdb, &bad)?,
        reports: influxdb.points(BUCKET, "algorithmia_processor")?,
        statuses: statuses.clone(),
        now: end,
        ..World::default()
    };
    let chosen = [
        [ALL, "busy", ALL, "n_features"],
        [ALL, "named", ALL, "order"],
        [ALL, "untimed", ALL, "risk_score"],
        ["bob", "algorithm_49", ALL, "n_features"],
        [ODD_OWNER, ODD_NAME, ODD_VERSION, ODD_METRIC],
        [ALL, "bare", ALL, "n_features"],
        [ALL, "once", ALL, "risk_score"],
        [ALL, "rare 7", "1", "duration_milliseconds"],
        ["asli", "texts", ALL, "risk_score"],
        ["asli", "extreme", ALL, "score"],
        [""; 4],
    ];
    let mut choices = chosen.into_iter().map(|chosen| choice(start, end, chosen)).collect::<Result<Vec<_>>>()?;
    // Calls of the future, and nothing but messages that were rejected.
    choices.push(choice(end - 20 * MINUTE, end + 3 * HOUR, [ALL, "ahead", ALL, "risk_score"])?);
    choices.push(choice(start - 3 * HOUR, start - 2 * HOUR, [ALL, "busy", ALL, "risk_score"])?);
    cells_show(influxdb, &world, &choices)?;
    variables_offer(influxdb, &world, start..end)?;

    let drift = stored_drift(influxdb, &statuses)?;
    let week = |chosen| choice(end - 7 * DAY, end, chosen);
    drift_cells_show(
        influxdb,
        &everything.drift,
        &drift,
        &[
            week([ALL, "extreme", ALL, "score"])?,
            week([ODD_OWNER, ODD_NAME, ODD_VERSION, ODD_METRIC])?,
            week([ALL, ODD_NAME, ALL, "risk_score"])?,
            week([ALL, "bare", ALL, "risk_score"])?,
            week([ALL, "no_such_algorithm", ALL, "risk_score"])?,
        ],
    )?;
    // What the UI chooses at first.
    let mut v = Variables::new("-1h", "now()")?;
    influxdb.resolve_variables(&mut v)?;
    ensure!(all_run(influxdb, &v)? > 0, "nothing is shown with {v:?}");
    Ok(())
}
