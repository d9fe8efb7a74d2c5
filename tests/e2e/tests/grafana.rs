//! The Grafana dashboard, telegraf/grafana-dashboard.json: its queries, as Grafana fills them in, on a real InfluxDB, compared
//! with the cell of the same name; and its form, checked by Grafana's schema.

mod compare;
mod fill;
mod schema;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context, Result, bail, ensure};
use compare::{Answer, Comparison, PANELS, Row};
use fill::fill;
use fixtures::document::blocks;
use fixtures::repository;
use fixtures::telegraf::tagged;
use jiff::Timestamp;
use serde_json::{Value as Json, json};
use stack::{BUCKET, Cell, Dir, Influxdb, ORG, Point, TOKEN, Variables};

use crate::dashboards::calls::{HOUR, MINUTE, Metric, ODD_NAME, ODD_OWNER, ODD_VERSION, Producer, SECOND, bad};
use crate::dashboards::{converted, influxdb_with_template, metric_of};
use crate::shell::Shell;
use crate::support::{stop_checks, stop_task, turn};

/// The choice that is none, in InfluxDB's dashboard, and what the variables of Grafana's have for it.
pub const ALL: &str = "(all)";
pub const CUSTOM_ALL: &str = ".*";

/// A name that has to be escaped. Grafana has no format that escapes a backslash as InfluxQL wants it.
const QUOTED_METRIC: &str = r#"sure, "sure" ${x}=é"#;

const DASHBOARD: &str = "telegraf/grafana-dashboard.json";

/// The cells that InfluxQL cannot show. docs/influxdb.md says so.
const LEFT_OUT: [&str; 1] = ["Left Out, as Their Type Changed"];

/// What somebody has chosen at the top of a dashboard.
#[derive(Debug)]
pub struct Choice<'a> {
    pub start_ms: i64,
    pub stop_ms: i64,
    pub window_ms: i64,
    pub owner: &'a str,
    pub algorithm: &'a str,
    pub version: &'a str,
    pub metric: &'a str,
}

fn dashboard() -> Result<Json> {
    Ok(serde_json::from_str(&fs::read_to_string(repository(DASHBOARD))?)?)
}

fn panels(dashboard: &Json) -> impl Iterator<Item = &Json> {
    dashboard["panels"].as_array().into_iter().flatten()
}

fn title(panel: &Json) -> &str {
    panel["title"].as_str().unwrap_or_default()
}

/// An InfluxDB, and the token that docs/influxdb.md has Grafana read it with.
struct Source {
    influxdb: Influxdb,
    token: String,
}

impl Source {
    /// Runs the commands of the document.
    fn new(dir: &Dir, influxdb: Influxdb) -> Result<Source> {
        let blocks = blocks(&repository("docs/influxdb.md"))?;
        let block =
            blocks.iter().find(|block| block.text.contains("influx v1 dbrp")).context("there is no such block")?;
        let shell = Shell::new(dir)?
            .command("influx", stack::influx_binary()?)?
            .command("telegraf-algorithmia", fixtures::program())?
            .set("INFLUX_HOST", influxdb.url())
            .set("INFLUX_ORG", ORG)
            .set("INFLUX_TOKEN", TOKEN);
        let told = shell.succeed(block)?;
        ensure!(fs::read(dir.path().join("grafana-dashboard.json"))? == fs::read(repository(DASHBOARD))?);
        let token = told.lines().last().context("there is no token")?.to_owned();
        ensure!(token != TOKEN, "it is the token that may do everything");
        Ok(Source { influxdb, token })
    }

    fn ask(&self, query: &str) -> Result<Vec<Json>> {
        self.influxdb.influxql(&self.token, query)
    }
}

/// The cells of the models' dashboard, from top to bottom.
fn cells(influxdb: &Influxdb) -> Result<Vec<Cell>> {
    let mut dashboards = influxdb.dashboards()?;
    dashboards.retain(|dashboard| dashboard.name == "Algorithmia - ML Model Performance Metrics");
    Ok(dashboards.pop().context("there is no such dashboard")?.cells)
}

/// What a panel's queries give, each by its letter.
fn asked(source: &Source, panel: &Json, choice: &Choice) -> Result<BTreeMap<String, Vec<Row>>> {
    let targets = panel["targets"].as_array().context("it has no queries")?;
    let ask = |target: &Json| {
        let (name, query) = (target["refId"].as_str(), target["query"].as_str());
        let query = fill(query.context("a target has no query")?, choice, interval(panel, choice)?)?;
        let series = source.ask(&query)?;
        Ok((name.context("a target has no refId")?.to_owned(), compare::rows(&series)?))
    };
    targets.iter().map(ask).collect()
}

/// How wide the windows of a panel are: not less than its "Min interval".
fn interval(panel: &Json, choice: &Choice) -> Result<i64> {
    match panel.get("interval").map(Json::as_str) {
        None => Ok(choice.window_ms),
        Some(Some("1m")) => Ok(choice.window_ms.max(60_000)),
        other => bail!("what is the interval {other:?}?"),
    }
}

/// What each cell shows.
fn shown(influxdb: &Influxdb, cells: &[Cell], choice: &Choice) -> Result<BTreeMap<String, Vec<Row>>> {
    let mut v = Variables::new(choice.start_ms * 1_000_000, choice.stop_ms * 1_000_000)?;
    v.set_window_period(choice.window_ms);
    v.set("algorithmia_owner", choice.owner).set("algorithmia_algorithm", choice.algorithm);
    v.set("algorithmia_version", choice.version).set("algorithmia_metric", choice.metric);
    let mut shown = BTreeMap::new();
    for cell in cells {
        if let [flux] = &cell.queries[..] {
            shown.insert(cell.name.clone(), influxdb.query_with(flux, &v)?.into_iter().map(compare::row).collect());
        }
    }
    Ok(shown)
}

/// Compares each panel with what its cell shows. Gives the titles of those that differ, and how.
fn differing(
    source: &Source,
    dashboard: &Json,
    shown: &BTreeMap<String, Vec<Row>>,
    points: &[Point],
    choice: &Choice,
) -> Result<BTreeMap<String, String>> {
    let mut differing = BTreeMap::new();
    for panel in panels(dashboard).filter(|panel| panel["type"] != "text") {
        let title = title(panel);
        let (_, comparison): &(_, Comparison) =
            PANELS.iter().find(|(name, _)| *name == title).with_context(|| format!("nothing compares {title}"))?;
        let cell = shown.get(title).with_context(|| format!("no cell {title} has a query"))?;
        let grafana = asked(source, panel, choice).with_context(|| format!("in {title}"))?;
        let answer = Answer { choice, interval_ms: interval(panel, choice)?, points, grafana, cell };
        let (panel, expected) = comparison(&answer).with_context(|| format!("in {title}"))?;
        if let Err(error) = compare::same(&panel, &expected) {
            differing.insert(title.to_owned(), format!("{error:#}"));
        }
    }
    Ok(differing)
}

/// Some thousand calls of models in the hour after a time, hard on names and queries, and what our binary makes of them.
fn points(start: i64) -> Result<Vec<u8>> {
    let mut producer = Producer::default();
    let times = start..start + HOUR;
    for (model, count) in [
        (["asli", "credit_card_approval", "1.0.5"], 150),
        (["asli", "credit_card_approval", "1.0.6"], 830),
        (["bob", "credit_card_approval", "1.0.6"], 211),
        (["bob", "credit.card.approval", "1.0.6"], 43),
        (["", "orphan", ""], 71),
        (["asli", "unversioned", ""], 57),
        ([ODD_OWNER, ODD_NAME, ODD_VERSION], 183),
        ([ODD_OWNER, ODD_NAME, "2"], 37),
    ] {
        producer.model(model, count, times.clone(), &["n_features", "client.score", QUOTED_METRIC]);
    }
    for index in 0..6 {
        let name = format!("random forest {index}");
        producer.model(["carol", &name, "1.0.0"], 61 + 10 * index, times.clone(), &[]);
        producer.model(["carol", &name, "1.0.1"], 162 + 7 * index, times.clone(), &[]);
    }
    for index in 0..40 {
        let label = match index % 3 {
            0 => Metric::Text(format!("cat {index}")),
            _ => Metric::Number(f64::from(index)),
        };
        let metrics = [("duration_milliseconds", Metric::Number(5.0)), ("label", label)];
        producer.exact(["dora", "classifier", "1.0"], start + i64::from(index) * MINUTE + 7, &metrics);
    }
    producer.exact(["dora", "classifier", "2.0"], start + MINUTE, &[("label", Metric::Number(0.5))]);

    let call = |name: &str, metrics: Json, at: i64| {
        let mut payload = json!({"algorithm_name": name, "algorithm_owner": "dora", "time": at});
        payload.as_object_mut().expect("an object").extend(metrics.as_object().expect("an object").clone());
        tagged([("topic", "insights")], &payload.to_string(), at)
    };
    let others = [
        call("without a request", json!({"duration_milliseconds": 12}), start + SECOND),
        call("without a duration", json!({"request_id": "r"}), start + 2 * SECOND),
    ];
    let rejected = bad(0);
    let rejected = rejected.iter().map(|bad| tagged([("topic", "insights")], &bad.message, start + MINUTE));
    let metrics = producer.calls.iter().map(metric_of).chain(others).chain(rejected).collect::<Vec<_>>();
    converted(&[], &metrics)
}

/// Statuses as checks write them, with InfluxDB's own checks and tasks stopped, since they would write more.
fn statuses(influxdb: &Influxdb) -> Result<()> {
    stop_checks(influxdb)?;
    for task in influxdb.list("tasks")? {
        stop_task(influxdb, task["id"].as_str().context("a task has no id")?)?;
    }
    let now = Timestamp::now().as_nanosecond();
    let mut lines = String::new();
    for (index, (check, level, tags)) in [
        ("Risk Score Alert", "crit", ",_source_measurement=algorithmia,algorithm_owner=asli,algorithm_name=a"),
        ("Risk Score Alert", "ok", ",_source_measurement=algorithmia,algorithm_owner=asli,algorithm_name=a"),
        ("Duration Alert", "warn", ",_source_measurement=algorithmia,algorithm_owner=asli,algorithm_name=a"),
        ("Duration Alert", "crit", ",_source_measurement=algorithmia,algorithm_name=b,algorithm_version=1"),
        ("Duration Alert", "info", ",_source_measurement=algorithmia,algorithm_owner=bob,algorithm_name=a"),
        ("Lag Alert", "ok", ",_source_measurement=algorithmia_processor,host=a,instance=1"),
        ("Another", "crit", ",_source_measurement=cpu,host=a"),
    ]
    .into_iter()
    .enumerate()
    {
        let check = check.replace(' ', "\\ ");
        let time = now - i128::from(MINUTE) + index as i128 * i128::from(SECOND);
        lines += &format!("statuses,_check_name={check},_level={level}{tags} _message=\"m {index}\" {time}\n");
    }
    influxdb.write_to("_monitoring", lines)
}

/// The variables offer what was called.
fn variables_offer(source: &Source, dashboard: &Json, points: &[Point], choice: &Choice) -> Result<()> {
    let variables = dashboard["templating"]["list"].as_array().context("there are no variables")?;
    let offered = |name: &str| -> Result<Vec<Json>> {
        let variable = variables.iter().find(|variable| variable["name"] == name).context("no such variable")?;
        let query = variable["query"].as_str().context("it has no query")?;
        let series = source.ask(&fill(query, choice, choice.window_ms)?)?;
        Ok(series.iter().flat_map(|series| series["values"].as_array().cloned().unwrap_or_default()).collect())
    };
    let all = variables.iter().filter(|variable| variable["includeAll"] == true).map(|v| (&v["name"], &v["allValue"]));
    let custom = json!(CUSTOM_ALL);
    ensure!(all.eq([(&json!("owner"), &custom), (&json!("version"), &custom)]), "\"All\" is another value");

    let tag = |tag: &str, of: &[(&str, &str)]| {
        let points = points.iter().filter(|point| {
            of.iter().all(|(key, value)| *value == ALL || point.tags.get(*key).is_some_and(|tag| tag == value))
        });
        points.filter_map(|point| point.tags.get(tag).cloned()).collect::<BTreeSet<_>>()
    };
    let of_owner = ("algorithm_owner", choice.owner);
    for (name, expected) in [
        ("owner", tag("algorithm_owner", &[])),
        ("algorithm", tag("algorithm_name", &[of_owner])),
        ("version", tag("algorithm_version", &[of_owner, ("algorithm_name", choice.algorithm)])),
    ] {
        let values = offered(name)?.iter().map(|value| value[1].as_str().unwrap_or_default().to_owned()).collect();
        ensure!(expected == values, "{name} offers {values:?} instead of {expected:?}, with {choice:?}");
    }
    // Its regular expression leaves those out that are no numbers.
    let metric = variables.iter().find(|variable| variable["name"] == "metric").context("no such variable")?;
    ensure!(metric["regex"] == "/^(?!request_id$|session_id$|.*_text$).+$/", "which metrics are left out?");
    for field in offered("metric")? {
        let name = field[0].as_str().context("a field has no name")?;
        let left_out = name == "request_id" || name == "session_id" || name.ends_with("_text");
        ensure!(left_out == (field[1] == "string"), "metric offers {field}, or does not offer it");
    }
    Ok(())
}

#[test]
fn each_panel_shows_what_its_cell_shows() {
    let _turn = turn();
    stack::test("grafana", |dir| {
        let influxdb = influxdb_with_template(dir)?;
        // Windows begin at whole minutes, and the range does not.
        let start_ms = (Timestamp::now().as_millisecond() - 90 * 60_000) / 60_000 * 60_000 + 17_250;
        let (start_ms, stop_ms) = (start_ms + 5 * 60_000, start_ms + 55 * 60_000);
        influxdb.write(points((start_ms - 5 * 60_000) * 1_000_000)?)?;
        statuses(&influxdb)?;

        let dashboard = dashboard()?;
        let cells = cells(&influxdb)?;
        // The same cells in the same order.
        let titles = panels(&dashboard).map(title).collect::<Vec<_>>();
        let names = cells.iter().map(|cell| cell.name.as_str()).filter(|name| !LEFT_OUT.contains(name));
        assert_eq!(titles, names.collect::<Vec<_>>());
        let choice = |window_ms, [owner, algorithm, version, metric]: [&'static str; 4]| Choice {
            start_ms,
            stop_ms,
            window_ms,
            owner,
            algorithm,
            version,
            metric,
        };
        let choices = [
            choice(60_000, [ALL, "credit_card_approval", ALL, "risk_score"]),
            choice(10_000, ["asli", "credit_card_approval", "1.0.6", "client.score"]),
            choice(300_000, ["bob", "credit.card.approval", ALL, "n_features"]),
            choice(120_000, [ODD_OWNER, ODD_NAME, ODD_VERSION, QUOTED_METRIC]),
            choice(60_000, [ALL, "orphan", ALL, "risk_score"]),
            choice(60_000, ["dora", "classifier", ALL, "label"]),
        ];
        let points = influxdb.points(BUCKET, "algorithmia")?;
        let source = Source::new(dir, influxdb)?;
        let mut shown_at_first = BTreeMap::new();
        for choice in &choices {
            let shown = shown(&source.influxdb, &cells, choice)?;
            let differing = differing(&source, &dashboard, &shown, &points, choice)?;
            ensure!(differing.is_empty(), "with {choice:?}\n{differing:#?}");
            variables_offer(&source, &dashboard, &points, choice)?;
            if shown_at_first.is_empty() {
                shown_at_first = shown;
            }
        }

        // Each comparison can fail: with queries about something else, all do.
        let text = dashboard.to_string();
        let other = text.replace(r#"FROM \"algorithmia"#, r#"FROM \"other"#).replace("statuses", "other");
        let differing = differing(&source, &serde_json::from_str(&other)?, &shown_at_first, &points, &choices[0])?;
        let titles = panels(&dashboard).filter(|panel| panel["type"] != "text").map(title);
        assert_eq!(differing.keys().map(String::as_str).collect::<BTreeSet<_>>(), titles.collect());
        Ok(())
    });
}

#[test]
fn the_dashboard_is_what_the_schema_says() {
    let _turn = turn();
    stack::test("grafana-schema", schema::the_dashboard_is_what_the_schema_says);
}
