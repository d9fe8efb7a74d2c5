//! Drift on a real InfluxDB: calls of simulated models, the tasks of influxdb-drift.yml as InfluxDB runs them, and
//! every figure compared with what numpy and scipy make of the same calls (`tests/e2e/tests/drift/judge.py`).
//!
//! The tasks are told to run as at times long past, so weeks of calls take minutes. What was measured is written to
//! stderr: `cargo test -p e2e drift:: -- --nocapture`.

pub mod judge;
pub mod simulation;
mod tasks;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::support::{LONG, edited, turn};
use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use judge::{Fields, Key, MEASUREMENTS, Options, ensure_all_stored, ensure_stored, judge, stored};
use rand::RngExt;
use rand_distr::{Distribution, Exp1, LogNormal, Poisson, StandardNormal};
use serde_json::{Value, json};
use simulation::{DAY, Dice, GROUP_KEY, HOUR, Version, World, version};
use stack::{Influxdb, Receiver, Value as Cell, wait_for};
use tasks::{CHECKS, Status, Tasks};
use telegraf_algorithmia::{Kinds, Settings};

/// Thursday, 1 January 2026, at midnight.
const START: i64 = 1_767_225_600;

/// The hour of this number, counted from [`START`].
fn hour(number: i64) -> (i64, i64) {
    (START + number * HOUR, START + (number + 1) * HOUR)
}

/// The ends of hours.
fn ends(numbers: impl IntoIterator<Item = i64>) -> Vec<i64> {
    numbers.into_iter().map(|number| hour(number).1).collect()
}

fn normal(dice: &mut Dice) -> f64 {
    StandardNormal.sample(dice)
}

fn exponential(dice: &mut Dice) -> f64 {
    Exp1.sample(dice)
}

// ========================================================================================== Figures, and what is found

/// Metrics and how they are distributed, first as long as all is well, then by how many standard deviations they shift.
type Metric = (&'static str, f64, fn(&mut Dice, f64) -> Value);

/// Those that never change.
const STEADY: [Metric; 5] = [
    ("thousand", 0.0, |dice, _| json!(1000.0 + normal(dice))),
    ("skewed", 0.0, |dice, _| json!(LogNormal::new(3.0, 2.0).expect("a distribution").sample(dice))),
    ("stars", 0.0, |dice, _| json!(dice.random_range(1..=8))),
    // Its mean is not exactly this.
    ("constant", 0.0, |_, _| json!(0.1)),
    ("sometimes", 0.0, |dice, _| if dice.random_bool(0.05) { Value::Null } else { json!(0.97 + 0.01 * normal(dice)) }),
];

/// Those that shift by half a standard deviation.
const SHIFTING: [Metric; 8] = [
    ("normal_up", 0.5, |dice, shift| json!(normal(dice) + shift)),
    ("normal_down", -0.5, |dice, shift| json!(normal(dice) + shift)),
    ("exponential_up", 0.5, |dice, shift| json!(exponential(dice) + shift)),
    ("exponential_down", -0.5, |dice, shift| json!(exponential(dice) + shift)),
    ("uniform_up", 0.5, |dice, shift| json!(dice.random::<f64>() + shift / 12_f64.sqrt())),
    // Its standard deviation is 3, so half of it is 1.5: one less or two.
    ("count_down", -0.5, |dice, shift| {
        let less = if shift < 0.0 { f64::from(dice.random_range(1..=2)) } else { 0.0 };
        json!(Poisson::new(9.0).expect("a distribution").sample(dice) - less)
    }),
    ("approved", 0.5, |dice, shift| json!(dice.random_bool(0.4 + shift * (0.4_f64 * 0.6).sqrt()))),
    ("rejected", -0.5, |dice, shift| json!(dice.random_bool(0.6 + shift * (0.4_f64 * 0.6).sqrt()))),
];

/// Those that change otherwise.
const CHANGING: [Metric; 4] = [
    ("variance", 1.0, |dice, change| json!(normal(dice) * (1.0 + change))),
    ("shape", 1.0, |dice, change| if change > 0.0 { json!(exponential(dice) - 1.0) } else { json!(normal(dice)) }),
    ("missing", 0.2, |dice, change| if dice.random_bool(0.05 + change) { Value::Null } else { json!(normal(dice)) }),
    ("absent", 1.0, |dice, change| if change > 0.0 { Value::Null } else { json!(normal(dice)) }),
];

/// How long calls take has an alert of its own.
const DURATION: Metric = ("duration_milliseconds", 1.0, |dice, shift| json!(20.0 + exponential(dice) + shift));

/// What a model reports that has these metrics.
fn report(metrics: &[&[Metric]], drifted: bool, dice: &mut Dice) -> Value {
    let value = |(name, shift, draw): &Metric| ((*name).to_owned(), draw(dice, if drifted { *shift } else { 0.0 }));
    Value::Object(metrics.iter().copied().flatten().map(value).collect())
}

#[test]
fn two_hundred_hours_without_drift_give_no_alarm() {
    /// From here on, the reference is of a day or more.
    const FIRST: i64 = 48;
    const END: i64 = FIRST + 200;

    let _turn = turn();
    stack::test("drift-quiet", |dir| {
        let influxdb = Influxdb::start(dir)?;
        let tasks = Tasks::apply(dir, &influxdb, &[])?;
        keep_old_statuses(&influxdb)?;
        let begin = Instant::now();
        let model = version("asli", "credit_card_approval", "1.0.6");
        let metrics = [&STEADY[..3], &SHIFTING[..1]];
        let mut world = World::new(Settings::default());
        for number in 0..END {
            let calls = 550 + (number * 37 % 100) as usize;
            world.call(&model, hour(number), calls, |dice| report(&metrics, false, dice))?;
        }
        world.send(&influxdb)?;
        eprintln!("{END} hours of calls were written after {:?},", begin.elapsed());
        let (counted, compared) = (ends(0..END), ends(FIRST..END));
        // The first lays the edges. The others are counted side by side, and may each add some that others lack.
        tasks.count(&counted[..1])?;
        tasks.run(&tasks.histograms, counted[1..].iter().copied())?;
        eprintln!("counted after {:?},", begin.elapsed());
        tasks.compare(&compared)?;
        eprintln!("compared after {:?}", begin.elapsed());
        tasks.check(&CHECKS[..1], &compared)?;
        eprintln!("and checked after {:?}", begin.elapsed());

        let verdict = judge(dir, &influxdb, &world, &Options::default(), &counted, &compared)?;
        let points = ensure_all_stored(&influxdb, &verdict)?;
        ensure_statuses_follow(&tasks, &CHECKS[..1], &verdict.points)?;
        let statuses = tasks.statuses()?;
        assert_eq!(statuses.len(), metrics.concat().len() * compared.len());
        let alarms: Vec<_> = statuses.iter().filter(|status| status.level != "ok").collect();
        let hours = alarms.iter().map(|status| status.stop).collect::<BTreeSet<_>>().len();
        eprintln!("{points} points are right; {} alarms in {hours} of {} hours", alarms.len(), compared.len());
        ensure!(100 * hours <= compared.len() && 100 * alarms.len() <= statuses.len(), "{alarms:?}");
        Ok(())
    });
}

#[test]
fn figures_are_numpys_and_scipys_and_what_shifts_is_found() {
    let _turn = turn();
    stack::test("drift-figures", |dir| {
        let influxdb = Influxdb::start(dir)?;
        let tasks = Tasks::apply(dir, &influxdb, &[])?;
        keep_old_statuses(&influxdb)?;
        let model = version("asli", "credit_card_approval", "1.0.6");
        let metrics = [&STEADY[..], &SHIFTING, &CHANGING, &[DURATION]];
        // What shifts does so at hour 49, and until then there is a day of calls to compare it with.
        let hours: Vec<_> = (0..24).chain(48..51).collect();
        let mut world = World::new(Settings::default());
        for number in &hours {
            let calls = 550 + (number * 37 % 100) as usize;
            world.call(&model, hour(*number), calls, |dice| report(&metrics, *number >= 49, dice))?;
        }
        world.send(&influxdb)?;
        let (counted, compared) = (ends(hours), ends(48..51));
        tasks.count(&counted)?;
        tasks.compare(&compared)?;
        tasks.check(&CHECKS, &compared)?;

        let verdict = judge(dir, &influxdb, &world, &Options::default(), &counted, &compared)?;
        let points = ensure_all_stored(&influxdb, &verdict)?;
        let loss = verdict.ks_losses.iter().copied().fold(0.0, f64::max);
        eprintln!(
            "{points} points are right; no more than {loss:.4} of a Kolmogorov-Smirnov statistic is lost at the edges"
        );
        ensure!(loss < 0.05, "the edges are too far apart");
        ensure_edges_serve(&verdict.points, &counted)?;
        ensure_statuses_follow(&tasks, &CHECKS, &verdict.points)?;

        let statuses = tasks.statuses()?;
        let psi = statuses.iter().filter(|status| status.check == "Drift Alert");
        let alarms = |check: &str, stops: &[i64]| -> BTreeSet<&str> {
            let alarms = statuses.iter().filter(|status| status.check == check && status.level != "ok");
            alarms.filter(|status| stops.contains(&status.stop)).map(|status| status.metric.as_str()).collect()
        };
        assert_eq!(psi.filter(|status| status.stop == compared[0]).count(), metrics.concat().len() - 1);
        assert_eq!(
            (alarms("Drift Alert", &compared[..1]), alarms("Missing Values Alert", &compared[..1])),
            Default::default()
        );
        let shifted = SHIFTING.iter().chain(&CHANGING[..2]).map(|(metric, ..)| *metric).collect::<BTreeSet<_>>();
        assert_eq!(alarms("Drift Alert", &compared[1..]), shifted);
        assert_eq!(alarms("Missing Values Alert", &compared[1..]), BTreeSet::from(["missing", "absent"]));
        Ok(())
    });
}

/// These checks find what follows from the points of the drift, and nothing else.
fn ensure_statuses_follow(tasks: &Tasks, checks: &[&str], points: &BTreeMap<Key, Fields>) -> Result<()> {
    let mut expected = BTreeSet::new();
    for ((measurement, stop, tags), fields) in points {
        if measurement != "algorithmia_drift" {
            continue;
        }
        let number = |field: &str| match fields.get(field) {
            Some(stack::Value::Float(number)) => Some(*number),
            _ => None,
        };
        let tag = |name: &str| tags.get(name).cloned().unwrap_or_default();
        let above = |value: f64| ["ok", "warn", "crit"][usize::from(value > 0.1) + usize::from(value > 0.25)];
        let mut add = |check: &str, level: &str, says: &str| {
            if !checks.contains(&check) {
                return;
            }
            let (name, metric) = (tag("algorithm_name"), tag("metric"));
            let message = format!("{check}: {metric} of {name} {} is {level}: {says}", tag("algorithm_version"));
            expected.insert(Status {
                stop: *stop,
                check: check.to_owned(),
                name,
                metric,
                level: level.to_owned(),
                message,
            });
        };
        if let Some(psi) = number("psi").filter(|_| tag("metric") != "duration_milliseconds") {
            let rounded = (psi * 1000.0 + 0.5).trunc() / 1000.0;
            add("Drift Alert", above(psi), &format!("its population stability index is {rounded}"));
        }
        if let (Some(missing), Some(before)) = (number("missing"), number("missing_reference")) {
            let percent = ((missing - before) * 1000.0 + 0.5).trunc() / 10.0;
            // There is no -0 among InfluxDB's texts of whole numbers.
            let says = format!("the share of calls without it has grown by {} %", percent + 0.0);
            add("Missing Values Alert", above(missing - before), &says);
        }
        if let Some(ratio) = number("approvals_ratio") {
            let percent = (ratio * 1000.0 + 0.5).trunc() / 10.0;
            let says =
                format!("the group with the fewest approvals has {percent} % of those of the group with the most");
            add("Group Alert", if ratio < 0.8 { "warn" } else { "ok" }, &says);
        }
    }
    let found = tasks.statuses()?;
    let (missing, surplus) = (expected.difference(&found), found.difference(&expected));
    let faults: Vec<_> = missing.take(3).chain(surplus.take(3)).collect();
    ensure!(
        faults.is_empty(),
        "of {} statuses, up to three that are missing, and up to three that are too many: {faults:#?}",
        expected.len()
    );
    Ok(())
}

/// An InfluxDB keeps what checks find for a week. Here it is long past.
fn keep_old_statuses(influxdb: &Influxdb) -> Result<()> {
    let buckets = influxdb.list("buckets")?;
    let monitoring = buckets.iter().find(|bucket| bucket["name"] == "_monitoring").context("no bucket _monitoring")?;
    let id = monitoring["id"].as_str().context("it has no id")?;
    let output = influxdb.cli(["bucket", "update", "--id", id, "--retention", "0"])?.output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Of each metric there are edges from the first interval on, enough for deciles where it has many values, and each is
/// counted at ever after.
fn ensure_edges_serve(points: &BTreeMap<Key, Fields>, counted: &[i64]) -> Result<()> {
    let mut edges: BTreeMap<&str, BTreeMap<&str, BTreeSet<i64>>> = BTreeMap::new();
    for (measurement, time, tags) in points.keys() {
        if measurement == "algorithmia_histogram" {
            edges.entry(&tags["metric"]).or_default().entry(&tags["le"]).or_default().insert(*time);
        }
    }
    for (metric, edges) in edges {
        let first = edges.values().filter(|times| times.contains(&(counted[0] - HOUR))).count();
        let few = ["stars", "constant", "approved", "rejected", "count_down"].contains(&metric);
        ensure!(
            first >= if few { 1 } else { 50 } && edges.len() <= 256,
            "{metric} has {first} edges, later {}",
            edges.len()
        );
        for (edge, times) in edges {
            let since = times.first().context("an edge is counted at")?;
            let expected = counted.iter().filter(|stop| **stop - HOUR >= *since).count();
            // Of a metric that is absent, there is nothing to count.
            ensure!(
                times.len() == expected || metric == "absent",
                "{metric}: {edge} is counted at {} of {expected} times",
                times.len()
            );
        }
    }
    Ok(())
}

// =============================================================================== Late calls, and another run of a task

#[test]
fn late_calls_are_counted_a_day_later_and_a_task_that_runs_again_changes_nothing() {
    let _turn = turn();
    stack::test("drift-late", |dir| {
        let influxdb = Influxdb::start(dir)?;
        let tasks = Tasks::apply(dir, &influxdb, &[])?;
        let judge = |world: &World, counted: &[i64], compared: &[i64]| {
            judge(dir, &influxdb, world, &Options::default(), counted, compared)
        };
        let report = |dice: &mut Dice| json!({"risk_score": normal(dice), "label": "a"});
        let (late, outage, unheard) =
            (version("asli", "late", "1"), version("asli", "outage", "1"), version("asli", "late", "unheard of"));
        let mut world = World::new(Settings::default());
        for (model, hours) in [(&late, &[0, 1, 25][..]), (&outage, &[0, 25])] {
            hours.iter().try_for_each(|number| world.call(model, hour(*number), 600, report))?;
        }
        world.send(&influxdb)?;
        let everything = || MEASUREMENTS.iter().map(|name| stored(&influxdb, name)).collect::<Result<Vec<_>>>();
        let mut before = Vec::new();
        for round in 0..2 {
            tasks.count(&ends([0, 1]))?;
            ensure!(round == 0 || everything()? == before, "hours that are counted again change");
            before = everything()?;
        }
        ensure_all_stored(&influxdb, &judge(&world, &ends([0, 1]), &[])?)?;

        // Of an hour that was counted, some calls come later, and of others all.
        let risky = |dice: &mut Dice| json!({"risk_score": normal(dice) + 3.0, "label": "a", "new": normal(dice)});
        world.call(&late, hour(0), 80, risky)?;
        world.call(&late, hour(1), 80, report)?;
        world.call(&unheard, hour(0), 600, report)?;
        world.call(&outage, hour(1), 600, report)?;
        world.call(&unheard, hour(25), 600, report)?;
        world.send(&influxdb)?;
        // These ticks are a day after those of hours 0 and 1.
        tasks.count(&ends([24, 25]))?;
        tasks.compare(&ends([25]))?;
        let all = ends([0, 1, 24, 25]);
        let verdict = judge(&world, &all, &ends([25]))?;
        ensure_all_stored(&influxdb, &verdict)?;
        for (model, calls) in [(&late, 1360), (&outage, 1200), (&unheard, 600)] {
            let reference = drift_of(&verdict.points, model, "risk_score")["reference"].clone();
            assert_eq!(reference, stack::Value::Integer(calls), "{model:?}");
        }

        before = everything()?;
        tasks.count(&ends([24, 25]))?;
        tasks.compare(&ends([25]))?;
        ensure!(everything()? == before, "late calls are counted twice, or a comparison changes");
        // Where hours to which calls came late are counted again by themselves, these may bring edges, and no more.
        for round in 0..2 {
            tasks.count(&all)?;
            tasks.compare(&ends([25]))?;
            ensure!(round == 0 || everything()? == before, "points change that are written again");
            before = everything()?;
            ensure_all_stored(&influxdb, &judge(&world, &all, &ends([25]))?)?;
        }

        // What comes to the hour that is compared changes nothing until that is counted again.
        world.call(&late, hour(25), 70, risky)?;
        world.send(&influxdb)?;
        tasks.compare(&ends([25]))?;
        ensure!(everything()? == before, "calls are compared that were not counted");
        tasks.count(&ends([25]))?;
        tasks.compare(&ends([25]))?;
        ensure_all_stored(&influxdb, &judge(&world, &all, &ends([25]))?)?;
        Ok(())
    });
}

/// What is expected of a metric.
fn drift_of<'a>(points: &'a BTreeMap<Key, Fields>, model: &Version, metric: &str) -> &'a Fields {
    let tags = [
        ("algorithm_owner", &model.owner),
        ("algorithm_name", &model.name),
        ("algorithm_version", &model.version),
        ("metric", &metric.to_owned()),
    ];
    let there = tags.iter().filter(|(_, text)| !text.is_empty());
    let tags: BTreeMap<_, _> = there.map(|(tag, text)| ((*tag).to_owned(), (*text).clone())).collect();
    let found = points.iter().filter(|((measurement, _, its), _)| measurement == "algorithmia_drift" && *its == tags);
    found.map(|(_, fields)| fields).next_back().unwrap_or_else(|| panic!("nothing is said of {metric} of {model:?}"))
}

// ========================================================================================================== Too little

#[test]
fn of_too_few_calls_and_of_none_nothing_is_said() {
    let _turn = turn();
    stack::test("drift-few", |dir| {
        let influxdb = Influxdb::start(dir)?;
        let tasks = Tasks::apply(dir, &influxdb, &[])?;
        keep_old_statuses(&influxdb)?;
        let run = |numbers: &[i64]| -> Result<()> {
            tasks.count(&ends(numbers.iter().copied()))?;
            tasks.compare(&ends(numbers.iter().copied()))?;
            tasks.check(&CHECKS, &ends(numbers.iter().copied()))
        };
        let nothing = |measurements: &[&str]| -> Result<()> {
            measurements.iter().try_for_each(|name| ensure_stored(&influxdb, name, &BTreeMap::new()).map(drop))
        };
        // Long before there is anything.
        run(&[-1000, -999])?;
        nothing(&MEASUREMENTS)?;

        for number in [-800, -775] {
            let lines = (0..600).map(|call| {
                let time = (hour(number).0 + call) * 1_000_000_000;
                format!("algorithmia_rejected,reason=invalid_json error=\"expected a value\",payload=\"oops\" {time}\n")
            });
            influxdb.write(lines.collect::<String>())?;
        }
        run(&[-800, -775])?;
        nothing(&MEASUREMENTS)?;

        let mut world = World::new(Settings::default());
        let texts = version("asli", "texts", "1");
        for number in [-600, -575] {
            world.call(&texts, hour(number), 600, |_| json!({"label": "good"}))?;
        }
        world.send(&influxdb)?;
        run(&[-600, -575])?;
        nothing(&["algorithmia_histogram", "algorithmia_groups", "algorithmia_drift"])?;

        // How many calls there are in each of the hours 0, 1 and 25.
        let metric = |dice: &mut Dice| json!({"score": normal(dice)});
        for (name, model_version, calls) in [
            ("exactly", "1", [500, 0, 500]),
            ("too few", "1", [499, 0, 499]),
            ("too few now", "1", [600, 0, 499]),
            ("too few before", "1", [499, 0, 600]),
            ("each hour too few", "1", [300, 300, 600]),
            ("slow start", "1", [300, 600, 600]),
            ("roll-out", "1", [600, 600, 0]),
            ("roll-out", "2", [300, 300, 600]),
            ("gone", "1", [600, 600, 0]),
            ("new", "1", [0, 0, 600]),
        ] {
            for (number, count) in [0, 1, 25].into_iter().zip(calls) {
                world.call(&version("asli", name, model_version), hour(number), count, metric)?;
            }
        }
        // Of each, one call less than is enough has the one metric, and as many as are enough the other.
        let partly = version("asli", "partly", "1");
        for number in [0, 25] {
            let (mut now, mut before, mut both) = (0, 0, 0);
            world.call(&partly, hour(number), 600, |dice| {
                let mut some = |count: &mut usize, most: usize| {
                    *count += 1;
                    if *count <= most { json!(normal(dice)) } else { Value::Null }
                };
                json!({
                    "too_few_now": some(&mut now, if number == 0 { 600 } else { 499 }),
                    "too_few_before": some(&mut before, if number == 0 { 499 } else { 600 }),
                    "exactly": some(&mut both, 500),
                })
            })?;
        }
        world.send(&influxdb)?;
        run(&[0, 1])?;
        // The first hours have nothing to be compared with.
        nothing(&["algorithmia_drift"])?;
        run(&[25])?;

        let counted = ends([-600, -575, 0, 1, 25]);
        let verdict = judge(dir, &influxdb, &world, &Options::default(), &counted, &ends([0, 1, 25]))?;
        ensure_all_stored(&influxdb, &verdict)?;
        ensure_statuses_follow(&tasks, &CHECKS, &verdict.points)?;
        let said = verdict.points.iter().filter(|((measurement, ..), _)| measurement == "algorithmia_drift");
        let said = said.map(|((.., tags), fields)| {
            let text = |tag: &str| tags[tag].clone();
            (text("algorithm_name"), text("algorithm_version"), text("metric"), fields.contains_key("psi"))
        });
        let expected = [
            ("each hour too few", "1", "score", false),
            ("exactly", "1", "score", true),
            ("partly", "1", "exactly", true),
            ("partly", "1", "too_few_before", false),
            ("partly", "1", "too_few_now", false),
            ("roll-out", "2", "score", true),
            ("slow start", "1", "score", true),
        ];
        let expected = expected.map(|(name, version, metric, psi)| (name.into(), version.into(), metric.into(), psi));
        assert_eq!(said.collect::<BTreeSet<(String, String, String, bool)>>(), BTreeSet::from(expected));
        Ok(())
    });
}

// =========================================================================================================== Odd names

#[test]
fn names_may_be_anything_and_texts_may_become_numbers() {
    let _turn = turn();
    stack::test("drift-names", |dir| {
        let influxdb = Influxdb::start(dir)?;
        let tasks = Tasks::apply(dir, &influxdb, &[])?;
        let mut world = World::new(Settings::default());
        let odd = r#"a, b=c "d" 'e' (.*) [f]/g|h\i ${j} é✓^$"#;
        let models = [
            version("asli", "plain", "1"),
            version(odd, odd, odd),
            version("", "neither", ""),
            version("", "ownerless", "1"),
            version("asli", "versionless", ""),
            version("asli", "(.*)", "1"),
            version("asli", "plai.", "1"),
            version("as", "li/plain", "1"),
            version("emma", "plain", "1"),
        ];
        // On Monday, InfluxDB begins another shard: in it, a field may have another type, if a rule of `--as` has changed it.
        const MONDAY: i64 = 4 * 24;
        let hours = [MONDAY - 3, MONDAY - 2, MONDAY + 22];
        for number in hours {
            if number > MONDAY {
                world.send(&influxdb)?;
                world.settings.kinds.add("verdict=string")?;
            }
            for model in &models {
                world.call(model, hour(number), 600, |dice| {
                    json!({
                        "score": normal(dice),
                        odd: exponential(dice),
                        "(.*)": normal(dice),
                        "scor.": 2.0 * normal(dice),
                        "metric": normal(dice),
                        "le": normal(dice),
                        "group": normal(dice),
                        "calls": normal(dice),
                        "label": "a",
                    })
                })?;
            }
            for name in ["text then", "number then"] {
                let number_then = name == "number then";
                world.call(&version("asli", name, "1"), hour(number), 600, |dice| {
                    let mut report = json!({"score": normal(dice)});
                    if number_then && number < MONDAY {
                        report["verdict"] = json!(normal(dice));
                    } else if !number_then && number > MONDAY {
                        report["verdict"] = json!("good");
                    }
                    report
                })?;
            }
        }
        world.send(&influxdb)?;
        let counted = ends(hours);
        tasks.count(&counted)?;
        tasks.compare(&counted[2..])?;
        let verdict = judge(dir, &influxdb, &world, &Options::default(), &counted, &counted[2..])?;
        ensure_all_stored(&influxdb, &verdict)?;
        for model in &models {
            for metric in ["score", odd, "(.*)", "scor.", "metric", "le", "group", "calls"] {
                ensure!(drift_of(&verdict.points, model, metric).contains_key("psi"), "{model:?} {metric}");
            }
        }
        let missing = &drift_of(&verdict.points, &version("asli", "number then", "1"), "verdict")["missing"];
        assert_eq!(*missing, stack::Value::Float(1.0));
        Ok(())
    });
}

// ===================================================================================================== Hostile, but legal

/// Each of these models reports something that sums, squares, types or tags do not bear, beside one that is as usual. All
/// figures are numpy's, and a model's are the same whatever the others report.
#[test]
fn no_model_can_silence_another_or_make_its_figures_wrong() {
    /// On Monday, InfluxDB begins another shard: in it, a field may have another type.
    const MONDAY: i64 = 4 * 24;

    let _turn = turn();
    stack::test("drift-hostile", |dir| {
        let influxdb = Influxdb::start(dir)?;
        let tasks = Tasks::apply(dir, &influxdb, &[("groupKey = \"\"", "groupKey = \"gender\"", 1)])?;
        keep_old_statuses(&influxdb)?;
        let mut world = World::new(Settings::default());
        for rule in ["big=integer", "count=integer", "flag=boolean", "le=tag", "metric=tag", "group=tag", "total=tag"] {
            world.settings.kinds.add(rule)?;
        }
        // Until Monday another program, or another rule, stored these.
        let before = world.settings.clone();
        for rule in ["mixed=integer", "worded=string", "answered=boolean"] {
            world.settings.kinds.add(rule)?;
        }
        world.booleans = &["flag", "answered"];
        let hours = [MONDAY - 3, MONDAY - 2, MONDAY + 22];
        for number in hours {
            let later = number > MONDAY;
            if later {
                world.send(&influxdb)?;
                world.settings = before.clone();
                world.booleans = &["flag"];
            }
            let mut call = |name: &str, calls: usize, report: &mut dyn FnMut(usize, &mut Dice) -> Value| {
                let mut index = 0;
                world.call(&version("asli", name, "1"), hour(number), calls, |dice| {
                    index += 1;
                    report(index, dice)
                })
            };
            let score = |value: f64| json!({"score": value});
            call("usual", 600, &mut |_, dice| score(normal(dice)))?;
            call("one in 50", 600, &mut |index, dice| score(if index % 50 == 0 { 1e200 } else { normal(dice) }))?;
            call("once", 600, &mut |index, dice| score(if index == 1 && !later { -1e155 } else { normal(dice) }))?;
            call("both ends", 600, &mut |index, _| score(if index % 2 == 0 { 1e308 } else { -1e308 }))?;
            call("the largest", 600, &mut |_, _| score(f64::MAX))?;
            call("large, but not extreme", 600, &mut |_, dice| score(1e99 * normal(dice)))?;
            call("suddenly", 600, &mut |_, dice| score(if later { 1e300 } else { normal(dice) }))?;
            call("most", 1500, &mut |index, dice| score(if index % 5 < 3 { -1e250 } else { normal(dice) }))?;
            call("too few are left", 600, &mut |index, dice| score(if index % 3 == 0 { 1e101 } else { normal(dice) }))?;
            call("tiny", 600, &mut |index, _| score(if index % 2 == 0 { 5e-324 } else { 1e-310 }))?;
            call("all alike", 600, &mut |_, _| score(0.3))?;
            call("zeros", 600, &mut |index, _| score(if index % 2 == 0 { 0.0 } else { -0.0 }))?;
            // Sums of these leave the range of an integer.
            call(
                "integers",
                600,
                &mut |_, dice| json!({"big": dice.random_range(-1_i64 << 53..1 << 53) * 1000, "count": dice.random_range(0..9), "mixed": 5}),
            )?;
            call(
                "times",
                600,
                &mut |_, dice| json!({"big": 1_700_000_000_000_000_000 + dice.random_range(0..1_i64 << 58)}),
            )?;
            call("flags", 600, &mut |_, dice| json!({"flag": dice.random_bool(0.5), "score": normal(dice)}))?;
            call("texts", 700, &mut |index, dice| match index % 10 {
                0 => json!({"score": "n/a"}),
                1 => json!({"score": Value::Null, "note": "é"}),
                _ => json!({"score": normal(dice)}),
            })?;
            call("other types", 600, &mut |_, dice| {
                let number: i64 = dice.random_range(0..100);
                let (worded, answered) = if later { (json!(number), json!(0.5)) } else { (json!("good"), json!(true)) };
                json!({"mixed": number, "worded": worded, "answered": answered})
            })?;
            call("once only", 1, &mut |_, _| score(1e308))?;
            let tagged = ["approved", "groups", "texts of groups"];
            call(tagged[0], 1200, &mut |index, dice| {
                let approved = if index % 7 == 0 { json!(1e308) } else { json!(dice.random_bool(0.5)) };
                json!({"approved": approved, GROUP_KEY: if index % 2 == 0 { "f" } else { "m" }})
            })?;
            // These tags are not those that the tasks write.
            call(tagged[1], 1200, &mut |index, dice| {
                let gender = if index % 2 == 0 { "f" } else { "m" };
                json!({"approved": dice.random_bool(0.5), GROUP_KEY: gender, "le": "1", "metric": "x", "group": "y", "total": "z"})
            })?;
            call(tagged[2], 1200, &mut |index, dice| {
                let group = if index % 2 == 0 { r"ends with \\".to_owned() } else { "long ".repeat(8000) };
                json!({"approved": if index % 3 == 0 { json!("yes") } else { json!(dice.random_bool(0.5)) }, GROUP_KEY: group})
            })?;
            for (owner, model_version) in [("", ""), ("", "1"), ("asli", "")] {
                world.call(
                    &version(owner, "unnamed", model_version),
                    hour(number),
                    600,
                    |dice| json!({"score": if model_version.is_empty() { 1e160 } else { normal(dice) }}),
                )?;
            }
            for index in 0..300 {
                let name = format!(r#"{index} "q"\w ${{r._value}}, é=1"#);
                world.call(&version("", &name, ""), hour(number), 3, |dice| score(normal(dice)))?;
            }
        }
        let hours_later = hour(hours[2] + 30);
        world.call(&version("asli", "usual", "1"), hours_later, 600, |_| json!({"score": 1e200}))?;
        world.send(&influxdb)?;
        let (counted, compared) = (ends(hours), ends([hours[2]]));
        tasks.count(&counted)?;
        tasks.compare(&compared)?;
        tasks.check(&CHECKS, &compared)?;
        let verdict = judge(dir, &influxdb, &world, &Options::default(), &counted, &compared)?;
        let points = ensure_all_stored(&influxdb, &verdict)?;
        ensure_statuses_follow(&tasks, &CHECKS, &verdict.points)?;
        eprintln!("{points} points are right");

        let fields = |name, metric| drift_of(&verdict.points, &version("asli", name, "1"), metric);
        for (name, extreme, reference) in
            [("one in 50", 12, 24), ("once", 0, 2), ("both ends", 600, 1200), ("suddenly", 600, 0), ("most", 900, 1800)]
        {
            let counted = ["extreme", "extreme_reference"].map(|field| fields(name, "score")[field].clone());
            assert_eq!(counted, [extreme, reference].map(stack::Value::Integer), "{name}");
        }
        for (name, metric, shifts) in [
            ("usual", "score", true),
            ("one in 50", "score", true),
            ("once", "score", true),
            ("large, but not extreme", "score", true),
            ("texts", "score", true),
            ("integers", "big", true),
            ("times", "big", true),
            ("other types", "mixed", true),
            ("both ends", "score", false),
            ("the largest", "score", false),
            ("suddenly", "score", false),
            ("most", "score", false),
            ("too few are left", "score", false),
            ("tiny", "score", false),
            ("all alike", "score", false),
        ] {
            let fields = fields(name, metric);
            let has = ["psi", "ks", "mean_shift", "median_shift"].map(|field| fields.contains_key(field));
            assert_eq!(has, [true, true, shifts, shifts], "{metric} of {name}: {fields:?}");
        }

        // Points of an earlier version of the tasks lack what was infinite.
        let drift = stored(&influxdb, "algorithmia_drift")?;
        for point in [
            "summary,algorithm_name=earlier,metric=score values=600i,mean=1e197",
            "groups,algorithm_name=earlier,group=f,metric=approved calls=600i",
        ] {
            influxdb.write(format!("algorithmia_{point} {}000000000\n", hour(hours[0]).0))?;
        }
        tasks.compare(&compared)?;
        ensure!(stored(&influxdb, "algorithmia_drift")? == drift, "a point without a deviation changes others");
        Ok(())
    });
}

// ============================================================================================================= Options

#[test]
fn a_version_can_be_pinned_and_approvals_told_by_group() {
    let _turn = turn();
    stack::test("drift-options", |dir| {
        let influxdb = Influxdb::start(dir)?;
        let none = r#"baseline = [{owner: "", name: "", version: ""}]"#;
        let pins = [["asli", "credit (.*)", "1.0.6"], ["", "ownerless", "1"], ["asli", "never called", "1"]];
        let list = pins
            .map(|[owner, name, version]| format!("{{owner: \"{owner}\", name: \"{name}\", version: \"{version}\"}}"));
        let pinned = format!("baseline = [{}]", list.join(", "));
        let edits = [
            (none, pinned.as_str(), 1),
            ("groupKey = \"\"", "groupKey = \"gender\"", 1),
            ("approved = \"approved\"", "approved = \"accepted\"", 1),
        ];
        let tasks = Tasks::apply(dir, &influxdb, &edits)?;
        keep_old_statuses(&influxdb)?;

        let mut world = World::new(Settings::default());
        // The reference of those that are not pinned is a week, and hour 0 is before it.
        for (owner, name, model_version, hours) in [
            ("asli", "credit (.*)", "1.0.6", &[0][..]),
            ("asli", "credit (.*)", "1.1.0", &[200, 224]),
            ("asli", "credit (.*)", "1.2.0", &[224]),
            ("emma", "credit (.*)", "1.0.6", &[0, 200]),
            ("emma", "credit (.*)", "1.1.0", &[200, 224]),
            ("", "ownerless", "1", &[0, 200, 224]),
            ("", "ownerless", "", &[224]),
            ("asli", "never called", "2", &[200, 224]),
        ] {
            let shift = f64::from(u8::from(model_version != "1.0.6")) * 0.3;
            for number in hours {
                world.call(
                    &version(owner, name, model_version),
                    hour(*number),
                    600,
                    |dice| json!({"score": normal(dice) + shift}),
                )?;
            }
        }
        // Approvals by a group that is a text, and by one that is a tag.
        let groups = [("f", 0.3), ("m", 0.5), ("non-binary, (.*) \"é\"", 0.4)];
        let report = |dice: &mut Dice| {
            let (group, rate) = groups[dice.random_range(0..3)];
            let mut report = json!({"accepted": dice.random_bool(rate), GROUP_KEY: group, "score": normal(dice)});
            // Some do not say the one or the other, and one group is too small.
            match dice.random_range(0..20) {
                0 => report["accepted"] = Value::Null,
                1 => report[GROUP_KEY] = Value::Null,
                2 => report[GROUP_KEY] = json!("x"),
                _ => {}
            }
            report
        };
        for number in [199, 200, 224] {
            world.call(&version("asli", "by text", "1"), hour(number), 2500, report)?;
            world.call(&version("", "by text", ""), hour(number), 2500, report)?;
            world.call(
                &version("asli", "by number", "1"),
                hour(number),
                1200,
                |dice| json!({"accepted": dice.random_bool(0.5), GROUP_KEY: dice.random_range(0..2)}),
            )?;
            // One group is not enough to compare.
            world.call(
                &version("asli", "one group", "1"),
                hour(number),
                600,
                |dice| json!({"accepted": dice.random_bool(0.5), GROUP_KEY: "f"}),
            )?;
            world.call(
                &version("asli", "nobody", "1"),
                hour(number),
                1200,
                |dice| json!({"accepted": false, GROUP_KEY: if dice.random_bool(0.5) { "f" } else { "m" }}),
            )?;
        }
        world.send(&influxdb)?;
        let mut kinds = Kinds::default();
        kinds.add("gender=tag")?;
        world.settings.kinds = kinds;
        for number in [199, 200, 224] {
            world.call(&version("asli", "by tag", "1"), hour(number), 2500, report)?;
        }
        world.send(&influxdb)?;

        let counted = ends([0, 199, 200, 224]);
        tasks.count(&counted)?;
        tasks.compare(&ends([224]))?;
        tasks.check(&CHECKS, &ends([224]))?;
        let options = Options { baseline: pins.to_vec(), approved: "accepted", ..Options::default() };
        let verdict = judge(dir, &influxdb, &world, &options, &counted, &ends([224]))?;
        ensure_all_stored(&influxdb, &verdict)?;
        ensure_statuses_follow(&tasks, &CHECKS, &verdict.points)?;

        let against = |model: &Version| drift_of(&verdict.points, model, "score")["reference_version"].clone();
        for (owner, name, model_version, baseline) in [
            ("asli", "credit (.*)", "1.1.0", "1.0.6"),
            ("asli", "credit (.*)", "1.2.0", "1.0.6"),
            ("emma", "credit (.*)", "1.1.0", "1.1.0"),
            ("", "ownerless", "", "1"),
        ] {
            let model = version(owner, name, model_version);
            assert_eq!(against(&model), stack::Value::String(baseline.to_owned()), "{model:?}");
        }
        for model in [version("asli", "by text", "1"), version("", "by text", ""), version("asli", "by tag", "1")] {
            let fields = drift_of(&verdict.points, &model, "accepted");
            let stack::Value::Float(difference) = fields["approvals_difference"] else { panic!("{fields:?}") };
            let stack::Value::Float(ratio) = fields["approvals_ratio"] else { panic!("{fields:?}") };
            ensure!((0.1..0.3).contains(&difference) && (0.4..0.8).contains(&ratio), "{fields:?}");
        }
        ensure!(
            drift_of(&verdict.points, &version("asli", "by number", "1"), "accepted").contains_key("approvals_ratio")
        );
        for name in ["one group", "nobody"] {
            ensure!(
                !drift_of(&verdict.points, &version("asli", name, "1"), "accepted").contains_key("approvals_ratio")
            );
        }
        Ok(())
    });
}

#[test]
fn another_interval_is_measured_as_well() {
    let _turn = turn();
    stack::test("drift-interval", |dir| {
        for (every, interval) in [("10m", HOUR / 6), ("1d", DAY)] {
            let influxdb = Influxdb::start(dir)?;
            let tasks = Tasks::apply(dir, &influxdb, &[("  every: 1h\n", &format!("  every: {every}\n"), 2)])?;
            let mut world = World::new(Settings::default());
            let model = version("asli", "credit_card_approval", "1.0.6");
            // The second of these ends a day before the last does, or the reference would not have it.
            let last = 1 + DAY / interval;
            for number in [0, 1, last] {
                let start = START + number * interval;
                world.call(
                    &model,
                    (start, start + interval),
                    700,
                    |dice| json!({"score": normal(dice), "label": "a", "stars": dice.random_range(1..=5)}),
                )?;
            }
            world.send(&influxdb)?;
            let counted: Vec<_> = [0, 1, last].into_iter().map(|number| START + (number + 1) * interval).collect();
            tasks.count(&counted)?;
            tasks.compare(&counted[2..])?;
            let options = Options { interval, ..Options::default() };
            let verdict = judge(dir, &influxdb, &world, &options, &counted, &counted[2..])?;
            ensure_all_stored(&influxdb, &verdict)?;
            assert_eq!(drift_of(&verdict.points, &model, "score")["reference"], stack::Value::Integer(1400), "{every}");
        }
        Ok(())
    });
}

// =============================================================================================================== Slack

/// With everything every minute, on InfluxDB's own clock.
#[test]
fn what_drifts_is_told_to_slack() {
    const MINUTE: i64 = 60;

    stack::test("drift-slack", |dir| {
        let influxdb = Influxdb::start(dir)?;
        let slack = Receiver::start()?;
        let tasks = Tasks::apply(
            dir,
            &influxdb,
            &[
                ("  every: 1h\n  offset: 10m\n", "  every: 1m\n  offset: 5s\n", 1),
                ("  every: 1h\n  offset: 20m\n", "  every: 1m\n  offset: 15s\n", 1),
                ("every: 30m", "every: 1m", 6),
                ("gap = 1d", "gap = 2m", 2),
                ("reference = 7d", "reference = 10m", 1),
            ],
        )?;
        let webhook = "https://hooks.slack.com/services/REPLACE/WITH/YOURS";
        influxdb.apply(&edited(dir, "influxdb-slack.yml", &[(webhook, &slack.url(), 1)])?, &[])?;

        // Calls of some minutes that are over, and of some that are to come, which drift.
        let model = version("asli", "credit_card_approval", "1.0.6");
        let mut world = World::new(Settings::default());
        let now = Timestamp::now().as_second() / MINUTE * MINUTE;
        for minute in -6..9 {
            let start = now + minute * MINUTE;
            let shift = if minute > 0 { 2.0 } else { 0.0 };
            world.call(
                &model,
                (start, start + MINUTE),
                600,
                |dice| json!({"score": normal(dice) + shift, "steady": normal(dice)}),
            )?;
        }
        world.send(&influxdb)?;
        tasks.count(&(-5..=0).map(|minute| now + minute * MINUTE).collect::<Vec<_>>())?;

        let told = wait_for("an alert in Slack", LONG, || Ok(slack.requests().into_iter().next()))?;
        let text = told.json()?["attachments"][0]["text"].as_str().unwrap_or_default().to_owned();
        let says = "Notification Rule: Slack Alert triggered by check: Drift Alert: Drift Alert: score of \
                    credit_card_approval 1.0.6 is crit: its population stability index is ";
        ensure!(text.starts_with(says), "{text}");
        let (_, details) = text.split_once('\n').context("no details")?;
        let names: Vec<_> = details.lines().filter_map(|line| line.split_once(": ").map(|(name, _)| name)).collect();
        let expected = ["Owner", "Algorithm", "Version", "Metric", "Value", "Limit", "Since", "Worst", "Calls", "Time"];
        assert_eq!(names, expected, "{text}");
        ensure!(details.contains("\nLimit: 0.25\n") && details.contains("\nCalls: 600\n"), "{text}");
        // The same number of calls stands beside what is missing.
        let missing = influxdb.query(
            r#"from(bucket: "_monitoring")
                |> range(start: -1h)
                |> filter(fn: (r) => r._check_name == "Missing Values Alert" and r._field == "calls")"#,
        )?;
        ensure!(!missing.is_empty(), "no status says how many calls there were");
        for row in missing {
            assert_eq!(row.get("_value"), Some(&Cell::Integer(600)), "{row:?}");
        }
        Ok(())
    });
}
