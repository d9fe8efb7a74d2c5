//! The checks that are tasks, run for chosen times over calls that are written by hand. That they run by themselves,
//! [`crate::alerts`] shows.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use fixtures::generate::file;
use jiff::{SignedDuration, Timestamp};
use stack::{Dir, Influxdb, Row, Value};

use crate::support::{at, flux_of, hours_ago, text, turn};

const RISK: (&str, &str) = ("Risk Score Alert", "risk_score");
const DURATION: (&str, &str) = ("Duration Alert", "duration_milliseconds");

/// An InfluxDB, and one of the checks.
struct Check {
    influxdb: Influxdb,
    name: &'static str,
    field: &'static str,
    flux: String,
    /// Minute 0.
    start: Timestamp,
}

impl Check {
    fn start(dir: &Dir, (name, field): (&'static str, &'static str), start: Timestamp) -> Result<Check> {
        let flux = flux_of(&file("influxdb-template.yml"), name)?;
        Ok(Check { influxdb: Influxdb::start(dir)?, name, field, flux, start })
    }

    fn time(&self, minute: i64) -> Timestamp {
        self.start + SignedDuration::from_mins(minute)
    }

    /// Calls in a minute, with the tags of a model as line protocol has them. A text is given with its quotes.
    fn call(&self, minute: i64, tags: &str, values: impl IntoIterator<Item = impl ToString>) -> Result<()> {
        let start = self.time(minute).as_nanosecond();
        let lines = values.into_iter().enumerate().map(|(index, value)| {
            let time = start + (index as i128 + 1) * 1_000_000_000;
            format!("algorithmia{tags} {}={} {time}\n", self.field, value.to_string())
        });
        self.influxdb.write(lines.collect::<String>())
    }

    /// Runs the check as at a minute, and gives the statuses that it wrote, by model.
    fn run(&self, minute: i64) -> Result<BTreeMap<String, Row>> {
        self.influxdb.query(&at(&self.flux, self.time(minute))?)?;
        let rows = self.influxdb.query(&format!(
            "from(bucket: \"_monitoring\") |> range(start: {0}, stop: {1})
                |> filter(fn: (r) => r._measurement == \"statuses\" and r._check_name == \"{2}\")
                |> filter(fn: (r) => r.product == \"algorithmia\")
                |> pivot(rowKey: [\"_time\"], columnKey: [\"_field\"], valueColumn: \"_value\")",
            self.time(minute),
            self.time(minute) + SignedDuration::from_secs(1),
            self.name
        ))?;
        // What was over before it was known is critical, and what it is now, at once.
        let is_ok =
            |model: &str| rows.iter().any(|row| text(row, "algorithm_name") == model && text(row, "_level") == "ok");
        let isnt_past = |row: &Row| text(row, "_level") != "crit" || !is_ok(&text(row, "algorithm_name"));
        let rows: Vec<_> = rows.iter().filter(|row| isnt_past(row)).cloned().collect();
        let count = rows.len();
        let by_model: BTreeMap<_, _> = rows.into_iter().map(|row| (text(&row, "algorithm_name"), row)).collect();
        ensure!(by_model.len() == count, "two statuses of one model at minute {minute}: {by_model:#?}");
        Ok(by_model)
    }

    /// How many statuses of a level one model has, from a minute on.
    fn count_of(&self, level: &str, minute: i64, model: &str) -> Result<usize> {
        let rows = self.influxdb.query(&format!(
            "from(bucket: \"_monitoring\") |> range(start: {}, stop: {})
                |> filter(fn: (r) => r._measurement == \"statuses\" and r._field == \"_message\")
                |> filter(fn: (r) => r.algorithm_name == \"{model}\" and r._level == \"{level}\")",
            self.time(minute),
            self.time(minute) + SignedDuration::from_hours(1)
        ))?;
        Ok(rows.len())
    }

    /// The level of one model at a minute; empty where it has no status.
    fn level(&self, minute: i64, model: &str) -> Result<String> {
        Ok(self.run(minute)?.get(model).map(|row| text(row, "_level")).unwrap_or_default())
    }
}

fn number(row: &Row, column: &str) -> f64 {
    match row.get(column) {
        Some(Value::Float(number)) => *number,
        other => panic!("{column} is {other:?}"),
    }
}

fn integer(row: &Row, column: &str) -> i64 {
    match row.get(column) {
        Some(Value::Integer(number)) => *number,
        other => panic!("{column} is {other:?}"),
    }
}

/// How a time stands in messages.
fn clock(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%MZ").to_string()
}

const A: &str = ",algorithm_owner=asli,algorithm_name=a,algorithm_version=1";

#[test]
fn a_status_says_what_is_wrong_since_when_and_ends() {
    let _turn = turn();
    stack::test("check-status", |dir| {
        let check = Check::start(dir, RISK, hours_ago()?)?;
        // The limit itself is well; each minute counts by its highest score.
        check.call(0, A, [0.7, 0.2])?;
        assert_eq!(check.level(1, "a")?, "ok");
        check.call(1, A, [0.1, 0.8, 0.2])?;
        check.call(2, A, [0.93])?;
        let since = clock(check.time(1));
        let status = &check.run(2)?["a"];
        let said =
            format!("Check: Risk Score Alert is: crit: asli/a 1: risk_score above 0.7 since {since}, at worst 0.8");
        assert_eq!(text(status, "_message"), said);
        let status = &check.run(3)?["a"];
        assert_eq!(text(status, "_message"), said.replace("worst 0.8", "worst 0.93"));
        let numbers = ["value", "limit", "worst"].map(|field| number(status, field));
        assert_eq!((numbers, text(status, "since")), ([0.93, 0.7, 0.93], since.clone()));
        // Of six calls, two were above the limit.
        assert_eq!(["calls", "above", "lasted"].map(|field| integer(status, field)), [6, 2, 120]);

        // It lasts until there is no news for three minutes, whether there are calls or not.
        check.call(3, A, [0.2])?;
        assert_eq!(check.level(4, "a")?, "crit");
        assert_eq!(check.level(5, "a")?, "crit");
        let status = &check.run(6)?["a"];
        let said = format!(
            "Check: Risk Score Alert is: ok: asli/a 1: risk_score 0.2, last above 0.7 from {since} to {}, at worst 0.93",
            clock(check.time(3))
        );
        assert_eq!(text(status, "_message"), said);
        // It has a status as long as its calls are looked at, and none for ever.
        assert_eq!(check.level(20, "a")?, "ok");
        assert_eq!(check.level(21, "a")?, "");

        // The next time is another one.
        check.call(30, A, [0.75])?;
        let status = &check.run(31)?["a"];
        assert_eq!((text(status, "since"), number(status, "worst")), (clock(check.time(30)), 0.75));
        // InfluxDB was down for an hour, and the model is not called any more.
        assert_eq!(check.level(91, "a")?, "ok");
        assert_eq!(check.level(92, "a")?, "");
        Ok(())
    });
}

#[test]
fn calls_count_up_to_15_minutes_late() {
    let _turn = turn();
    stack::test("check-late", |dir| {
        let check = Check::start(dir, RISK, hours_ago()?)?;
        for (index, late) in [1, 5, 14, 15, 20].into_iter().enumerate() {
            let minute = 100 * index as i64;
            let model = format!("late{late}");
            let tags = format!(",algorithm_name={model}");
            // One that is well came in time.
            check.call(minute + late, &tags, [0.1])?;
            assert_eq!(check.level(minute + late, &model)?, "", "{model}");
            check.call(minute, &tags, [0.9])?;
            let levels = (1..=5).map(|tick| check.level(minute + late + tick, &model)).collect::<Result<Vec<_>>>()?;
            // What came so late that it may be over is known to be after three minutes.
            let expected = match late {
                1 => ["crit", "crit", "crit", "ok", "ok"],
                2..=15 => ["warn", "warn", "warn", "ok", "ok"],
                _ => ["ok"; 5],
            };
            assert_eq!(levels, expected, "{model}");
            // It was critical, for it to be told.
            let critical = check.count_of("crit", minute + late, &model)?;
            assert_eq!(
                critical,
                match late {
                    1 => 3,
                    2..=15 => 1,
                    _ => 0,
                },
                "{model}"
            );
            // Looked at again, it is the same.
            assert_eq!(check.level(minute + late + 5, &model)?, "ok", "{model}");
        }
        // All calls come five minutes late: what goes on is critical, and is known to go on after three minutes.
        for minute in 500..510 {
            check.call(minute, ",algorithm_name=lagging", [0.9])?;
            let expected = if minute < 503 { "warn" } else { "crit" };
            assert_eq!(check.level(minute + 5, "lagging")?, expected);
        }
        let levels = (515..=518).map(|tick| check.level(tick, "lagging")).collect::<Result<Vec<_>>>()?;
        assert_eq!(levels, ["crit", "crit", "ok", "ok"]);
        // A second call that is as bad, of a minute that has been told, is no news.
        check.call(600, A, [0.9])?;
        assert_eq!(check.level(601, "a")?, "crit");
        check.call(600, A, [0.1, 0.95])?;
        let levels = (602..=605).map(|tick| check.level(tick, "a")).collect::<Result<Vec<_>>>()?;
        assert_eq!(levels, ["crit", "crit", "ok", "ok"]);
        Ok(())
    });
}

#[test]
fn a_duration_is_too_long_if_more_than_one_call_in_twenty_is() {
    let _turn = turn();
    stack::test("check-duration", |dir| {
        let check = Check::start(dir, DURATION, hours_ago()?)?;
        for (name, fast, slow, level, percentile) in [
            ("one of 25", 24, vec![20_000.0], "ok", 10.0),
            ("one of 20", 19, vec![20_000.0], "ok", 10.0),
            ("one of 19", 18, vec![20_000.0], "crit", 20_000.0),
            ("two of 39", 37, vec![3000.0, 20_000.0], "warn", 3000.0),
            ("the limits", 0, vec![1000.0], "ok", 1000.0),
            ("a warning", 0, vec![1000.5], "warn", 1000.5),
            ("five seconds", 0, vec![5000.0], "warn", 5000.0),
        ] {
            let tags = format!(",algorithm_owner=asli,algorithm_name={}", name.replace(' ', "\\ "));
            check.call(0, &tags, std::iter::repeat_n(10.0, fast).chain(slow))?;
            let status = &check.run(1)?[name];
            assert_eq!((text(status, "_level").as_str(), number(status, "value")), (level, percentile), "{name}");
        }
        // A warning that becomes critical is one affair, whose limit is the higher one.
        check.call(10, A, [3000.0])?;
        let status = &check.run(11)?["a"];
        assert_eq!((text(status, "_level").as_str(), number(status, "limit")), ("warn", 1000.0));
        check.call(11, A, [7000.0])?;
        let status = &check.run(12)?["a"];
        let said = "Check: Duration Alert is: crit: asli/a 1: duration_milliseconds above 5000 since ";
        assert_eq!(text(status, "_message"), format!("{said}{}, at worst 7000", clock(check.time(10))));
        Ok(())
    });
}

#[test]
fn odd_calls_do_not_stop_a_check() {
    let _turn = turn();
    stack::test("check-odd", |dir| {
        let check = Check::start(dir, RISK, hours_ago()?)?;
        check.call(20, A, [0.9])?;
        check.call(20, ",algorithm_owner=asli,algorithm_name=versionless", [0.9])?;
        check.call(20, ",algorithm_name=ownerless,algorithm_version=1", [0.9])?;
        check.call(20, ",algorithm_owner=asli", [0.9])?;
        check.call(20, ",algorithm_name=${r._level}<!channel>", [0.9])?;
        // Another tag makes no other model.
        check.call(20, &format!("{A},region=eu"), [0.95])?;
        let statuses = check.run(21)?;
        let said = |name: &str, model: &str| {
            let status = statuses.get(name).unwrap_or_else(|| panic!("no status of {name:?}"));
            let said = format!("Check: Risk Score Alert is: crit: {model}: risk_score above 0.7 since ");
            assert!(text(status, "_message").starts_with(&said), "{status:?} does not begin {said:?}");
        };
        said("a", "asli/a 1");
        said("versionless", "asli/versionless");
        said("ownerless", "ownerless 1");
        said("", "asli/");
        said("${r._level}<!channel>", "${r._level}<!channel>");
        assert_eq!(statuses.len(), 5, "{statuses:#?}");
        assert_eq!(number(&statuses["a"], "worst"), 0.95);
        Ok(())
    });
}

#[test]
fn statuses_of_an_earlier_template_are_understood() {
    let _turn = turn();
    stack::test("check-earlier", |dir| {
        let check = Check::start(dir, RISK, hours_ago()?)?;
        // Critical for a minute by what the template of that time wrote, and not called any more.
        let (tick, time) = (check.time(1).as_nanosecond(), check.time(0).as_nanosecond());
        check.influxdb.write_to(
            "_monitoring",
            format!(
                "statuses,_check_id=a160000000000001,_check_name=Risk\\ Score\\ Alert,_level=crit,_type=custom,\
                 _source_measurement=algorithmia,product=algorithmia,algorithm_name=a \
                 value=0.9,worst=0.9,limit=0.7,_since={time}i,_until={tick}i,_crit={tick}i,_warn={tick}i,\
                 _seen=\"\",_message=\"\" {tick}\n"
            ),
        )?;
        let levels = (2..=5).map(|tick| check.level(tick, "a")).collect::<Result<Vec<_>>>()?;
        assert_eq!(levels, ["crit", "crit", "ok", ""]);
        Ok(())
    });
}

#[test]
fn a_hundred_thousand_versions_do_not_stop_a_check() {
    let _turn = turn();
    stack::test("check-crowd", |dir| {
        let check = Check::start(dir, RISK, hours_ago()?)?;
        check.call(0, A, [0.1, 0.9])?;
        check.call(0, ",algorithm_owner=asli,algorithm_name=b,algorithm_version=1", [0.8])?;
        // There is a status of each version, as long as there are not too many.
        let statuses = check.run(1)?;
        assert!(statuses["a"].contains_key("algorithm_version") && statuses["b"].contains_key("algorithm_version"));

        let start = check.time(1).as_nanosecond();
        let lines = (0..100_000).map(|version| {
            let tags = format!("algorithm_owner=asli,algorithm_name=crowd,algorithm_version={version}");
            let score = if version == 70_000 { 0.95 } else { 0.1 };
            format!("algorithmia,{tags} risk_score={score} {}\n", start + version)
        });
        check.influxdb.write(lines.collect::<String>())?;
        check.call(1, ",algorithm_owner=asli,algorithm_name=c,algorithm_version=1", [0.8, 0.1])?;
        let rows = check.influxdb.query(&at(&check.flux, check.time(2))?)?;
        let found: BTreeMap<_, _> = rows
            .iter()
            .map(|row| ((text(row, "algorithm_name"), text(row, "algorithm_version")), text(row, "_level")))
            .collect();
        let (crit, known, together) = ("crit".to_owned(), "1".to_owned(), String::new());
        let expected =
            [("a", &known), ("b", &known), ("a", &together), ("b", &together), ("c", &together), ("crowd", &together)];
        let expected = expected.map(|(name, version)| ((name.to_owned(), version.clone()), crit.clone()));
        assert_eq!(found, BTreeMap::from(expected));
        let counts: BTreeMap<_, _> = rows
            .iter()
            .filter(|row| text(row, "algorithm_version").is_empty())
            .map(|row| (text(row, "algorithm_name"), ["above", "calls"].map(|field| integer(row, field))))
            .collect();
        let expected = [("a", [1, 2]), ("b", [1, 1]), ("c", [1, 2]), ("crowd", [1, 100_000])];
        assert_eq!(counts, BTreeMap::from(expected.map(|(name, counts)| (name.to_owned(), counts))));
        Ok(())
    });
}

/// The two differ in what they look at and in their limits; in nothing else.
#[test]
fn both_checks_judge_alike() -> Result<()> {
    let judges = [RISK, DURATION].map(|(name, _)| -> Result<String> {
        let flux = flux_of(&file("influxdb-template.yml"), name)?;
        let (_, flux) = flux.split_once("\nlate = ").context("the part that both share")?;
        let (head, rest) =
            flux.split_once("\n// The 95th percentile").or(flux.split_once("\nminutes = ")).context("the minutes")?;
        let (_, rest) = rest.split_once("\ntotals = ").context("what is said of calls")?;
        Ok([head, rest].concat())
    });
    let [risk, duration] = judges;
    ensure!(risk? == duration?, "they differ in what both should share");
    Ok(())
}
