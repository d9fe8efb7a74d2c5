//! What InfluxDB's UI shows in each cell where there is next to nothing: no data, one value, and values that are missing
//! beside others that are there.

use std::collections::BTreeSet;
use std::ops::Range;

use anyhow::{Context, Result};
use fixtures::repository;
use fixtures::telegraf;
use jiff::Timestamp;
use serde_json::{Value as Json, json};
use stack::{Dir, Influxdb, Variables};

use crate::dashboards::calls::{DAY, HOUR, MILLISECOND, MINUTE};
use crate::dashboards::drift::{Drift, Hour, Measure};
use crate::dashboards::{cells, converted, ensure_none, now};
use crate::support::stop_checks;

const MODELS: &str = "Algorithmia - ML Model Performance Metrics";
const PIPELINE: &str = "Algorithmia - Pipeline Health";
const DRIFT: &str = "Algorithmia - Drift";

const NOTHING: &str = "No Results";
/// The notes of cells that are empty as a rule.
const ONE_TYPE: &str = "Nothing is left out: each field of the chosen algorithm has one type in the range.";
const NO_GROUPS: &str = "Known where the option `groupKey` of the task \"Drift - Histograms\" names a key of the payload that says of \
                         which group a call is.";

/// A cell, and what it shows of no data, of one value, and where something is missing.
const CELLS: &[(&str, &str, [&str; 3])] = &[
    (MODELS, "Calls", [NOTHING, "1 calls", "2 calls"]),
    (MODELS, "Messages Without Error", [NOTHING, "50.00 %", "100.00 %"]),
    (
        MODELS,
        "Models",
        [
            NOTHING,
            "Algorithm | Version | Calls | Duration p95 (ms) | Last call\nasli/a | 1 | 1 | 1234 | ONE",
            "Algorithm | Version | Calls | Duration p95 (ms) | Last call\nb |  | 1 |  | MISSING\nb | 2 | 1 | 7 | MISSING",
        ],
    ),
    (
        MODELS,
        "Latest Status of Each Check",
        [
            NOTHING,
            "Level | Check | Algorithm | Version | Time\ncrit | Some Alert | asli/a | 1 | ONE",
            "Level | Check | Algorithm | Version | Time\ncrit | Some Alert |  |  | MISSING\n\
             crit | Some Alert | asli/a | 1 | ONE\ncrit | Some Alert | b |  | MISSING",
        ],
    ),
    (
        MODELS,
        "Calls per Minute, the Ten Busiest Models",
        [NOTHING, "asli/a 1: 30 × 0, 1, 29 × 0", "b 2: 30 × 0, 1, 29 × 0"],
    ),
    (MODELS, "Left Out, as Their Type Changed", [ONE_TYPE, ONE_TYPE, ONE_TYPE]),
    (MODELS, "Risk Score", [NOTHING, "0.25\nhighest a asli 1: 0.25\nmean a asli 1: 0.25", NOTHING]),
    (MODELS, "Approvals", [NOTHING, "100 %\napproved a asli 1: 100", NOTHING]),
    (
        MODELS,
        "Algorithm Duration",
        [NOTHING, "1,234 ms\nhighest a asli 1: 1234\nmean a asli 1: 1234", "7 ms\nhighest b 2: 7\nmean b 2: 7"],
    ),
    (MODELS, "Risk Score of the Latest Call", [NOTHING, "0.25", NOTHING]),
    (MODELS, "Approved", [NOTHING, "100", NOTHING]),
    (MODELS, "Duration of the Latest Call", [NOTHING, "1,234 ms", "7 ms"]),
    (
        MODELS,
        "Calls per Minute",
        [NOTHING, "duration_milliseconds a asli 1: 30 × 0, 1, 29 × 0", "duration_milliseconds b 2: 30 × 0, 1, 29 × 0"],
    ),
    (
        MODELS,
        "Duration: Half, 95 % and 99 % of the Calls Took Less",
        [NOTHING, "p50 a asli 1: 1234\np95 a asli 1: 1234\np99 a asli 1: 1234", "p50 b 2: 7\np95 b 2: 7\np99 b 2: 7"],
    ),
    (
        MODELS,
        "The Metric, by Version: Mean, Highest, Lowest",
        [
            NOTHING,
            "highest a asli 1: 2.5\nlowest a asli 1: 2.5\nmean a asli 1: 2.5",
            "highest b 2: 1\nlowest b 2: 1\nmean b 2: 1",
        ],
    ),
    (MODELS, "Distribution of the Metric, Latest 10,000 Calls", [NOTHING, "asli 1: 2.5", "2: 1"]),
    (MODELS, "Distribution over Time, Latest 10,000 Calls", [NOTHING, "2.5", "1"]),
    (
        MODELS,
        "Versions Side by Side",
        [
            NOTHING,
            "Version | Owner | With the metric | Mean | Standard deviation | Min | Median | p95 | Max\n\
             1 | asli | 1 calls | 2.500 | 0.000 | 2.500 | 2.500 | 2.500 | 2.500",
            "Version | Owner | With the metric | Mean | Standard deviation | Min | Median | p95 | Max\n\
             2 |  | 1 calls | 1.000 | 0.000 | 1.000 | 1.000 | 1.000 | 1.000",
        ],
    ),
    (
        MODELS,
        "Worst Calls: the 10 Highest and the 10 Lowest of the Metric",
        [
            NOTHING,
            "Which | Metric | Request | Version | Owner | Time\n\
             highest | 2.500 | req-1 | 1 | asli | ONE\nlowest | 2.500 | req-1 | 1 | asli | ONE",
            "Which | Metric | Request | Version | Owner | Time\n\
             highest | 1.000 |  | 2 |  | MISSING\nlowest | 1.000 |  | 2 |  | MISSING",
        ],
    ),
    (
        MODELS,
        "Latest 50 Calls",
        [
            NOTHING,
            "Time | Request | Version | Duration (ms) | approved | risk_score | score\n\
             ONE | req-1 | 1 | 1234 | 1 | 0.25 | 2.5",
            "Time | Request | Version | Duration (ms) | note_text | score\n\
             MISSING |  | 2 | 7 |  | 1\nMISSING | req-2 |  |  | no number | ",
        ],
    ),
    (PIPELINE, "Messages In", [NOTHING, "2 messages", "0 messages"]),
    (PIPELINE, "Converted", [NOTHING, "1 points", "0 points"]),
    (PIPELINE, "Rejected", [NOTHING, "1 messages", "0 messages"]),
    (PIPELINE, "Dropped by Telegraf", [NOTHING, "2 points", NOTHING]),
    // It takes two reports.
    (PIPELINE, "Messages per Minute", [NOTHING, NOTHING, NOTHING]),
    (PIPELINE, "Lag: How Late Telegraf Reads a Call", [NOTHING, "longest h i: 2.5\nmean h i: 1.5", NOTHING]),
    (
        PIPELINE,
        "Rejected, by Reason",
        [
            NOTHING,
            "Reason | Messages | Latest | Error of the latest | Payload of the latest\n\
             not_an_object | 1 | ONE | expected a JSON object‚ as Insights sends one for each call | 'no object'",
            NOTHING,
        ],
    ),
    (
        PIPELINE,
        "Silent Algorithms First",
        [
            NOTHING,
            "Algorithm | Silent for (min) | Last call\nasli/a | SINCE_ONE | ONE",
            "Algorithm | Silent for (min) | Last call\nasli/a | SINCE_ONE | ONE\nb | SINCE_MISSING | MISSING",
        ],
    ),
    (PIPELINE, "Telegraf's Buffer", [NOTHING, "h i: 25", NOTHING]),
    (DRIFT, "Highest PSI", [NOTHING, "0.12", "0.12"]),
    (
        DRIFT,
        "What Drifted",
        [
            NOTHING,
            "Drift | Algorithm | Version | Metric | PSI | Above 0.1 since (UTC) | Mean / median moved (sd) | \
             Missing / in the reference | Extreme / in the reference | Interval until\n\
             some | asli/a | 1 | score | 0.124 | MINUTE_ONE or before | 0.5 / -0.5 | 25 % / 50 % | 0 / 3 | ONE",
            "Drift | Algorithm | Version | Metric | PSI | Above 0.1 since (UTC) | Mean / median moved (sd) | \
             Missing / in the reference | Extreme / in the reference | Interval until\n\
             much | b |  | score |  |  |  | 100 % / 0 % |  | MISSING\n\
             some | asli/a | 1 | score | 0.124 | MINUTE_ONE or before | 0.5 / -0.5 | 25 % / 50 % | 0 / 3 | ONE",
        ],
    ),
    (
        DRIFT,
        "Latest Status of Each Check of Drift",
        [
            NOTHING,
            "Level | Check | Algorithm | Version | Metric | Time\ncrit | Some Alert | asli/a | 1 | score | ONE",
            "Level | Check | Algorithm | Version | Metric | Time\ncrit | Some Alert | asli/a | 1 | score | ONE\n\
             crit | Some Alert | b |  | score | MISSING",
        ],
    ),
    (
        DRIFT,
        "PSI of Each Metric",
        [NOTHING, "CRIT above 0.25: 2 × 0.25\nWARN above 0.1: 2 × 0.1\nasli 1 score: 0.124", NOTHING],
    ),
    (DRIFT, "Missing Values of Each Metric", [NOTHING, "asli 1 score: 25", "score: 100"]),
    (
        DRIFT,
        "PSI of the Metric",
        [NOTHING, "CRIT above 0.25: 2 × 0.25\nWARN above 0.1: 2 × 0.1\nasli 1: 0.124", NOTHING],
    ),
    (DRIFT, "Shift of Mean and Median", [NOTHING, "mean_shift asli 1: 0.5\nmedian_shift asli 1: -0.5", NOTHING]),
    (
        DRIFT,
        "Reference and Current, of 1,000 Values Each",
        [NOTHING, "1 current: 1000 values\n1 reference: 1000 values", NOTHING],
    ),
    (
        DRIFT,
        "Where the Values Went: the Bins of the PSI",
        [
            NOTHING,
            "Above | Up to | Reference (%) | Current (%) | Part of the PSI\n |  | 100.000 | 100.000 | 0.000",
            NOTHING,
        ],
    ),
    (DRIFT, "Versions, of 1,000 Values Each", [NOTHING, "asli 1: 1000 values", NOTHING]),
    (DRIFT, "Mean of Each Version over Time", [NOTHING, "asli 1: 2.5", NOTHING]),
    (
        DRIFT,
        "Versions in Numbers",
        [
            NOTHING,
            "Version | Owner | First in the range | Values | Extreme | Mean | Standard deviation | Missing | Last PSI | \
             Last KS\n1 | asli | HOUR_BEFORE | 500 values | 0 | 2.5 | 0 | 0 | 0.124 | 0.25",
            "Version | Owner | First in the range | Values | Extreme | Mean | Standard deviation | Missing | Last PSI | \
             Last KS\n |  | ONE | 2 values | 2 |  |  | 0.5 |  | ",
        ],
    ),
    (DRIFT, "Approvals of Each Group", [NO_GROUPS, "asli 1 f: 75", NO_GROUPS]),
    (DRIFT, "Difference: Highest less Lowest", [NO_GROUPS, "asli 1: 25", NO_GROUPS]),
    (DRIFT, "Ratio: Lowest to Highest", [NO_GROUPS, "asli 1: 0.5\nfour fifths: 2 × 0.8", NO_GROUPS]),
];

/// When there was one value, and when there were some that were not whole.
struct Times {
    one: i64,
    missing: i64,
}

/// Writes one of everything that a cell may show.
fn one(influxdb: &Influxdb, at: i64) -> Result<()> {
    let call = json!({
        "algorithm_owner": "asli", "algorithm_name": "a", "algorithm_version": "1", "risk_score": 0.25,
        "approved": true, "duration_milliseconds": 1234, "request_id": "req-1", "score": 2.5,
    });
    write(influxdb, at, &[call, json!("no object")])?;
    influxdb.write(format!(
        "algorithmia_processor,host=h,instance=i converted=1i,rejected=1i,lag_mean_ms=1500i,lag_max_ms=2500i,\
         telegraf_buffer_size=250i,telegraf_buffer_limit=1000i,telegraf_dropped=2i {at}\n"
    ))?;
    status(influxdb, at, "algorithmia", ",algorithm_owner=asli,algorithm_name=a,algorithm_version=1")?;

    let fields = [
        ("psi", 0.124),
        ("ks", 0.25),
        ("reference", 600.0),
        ("current", 500.0),
        ("mean_shift", 0.5),
        ("median_shift", -0.5),
        ("missing", 0.25),
        ("missing_reference", 0.5),
        ("extreme", 0.0),
        ("extreme_reference", 3.0),
        ("approvals_difference", 0.25),
        ("approvals_ratio", 0.5),
    ];
    drift(influxdb, at, "score", &[(2.5, 500)], [500, 0], &fields)?;
    let group = Measure {
        model: MODEL,
        metric: "approved",
        group: "f",
        time: at,
        fields: [("approvals", 0.75)].into(),
        reference: None,
    };
    influxdb.write(Drift { measures: vec![group], ..Drift::default() }.lines())?;
    status(influxdb, at, "algorithmia_drift", ",algorithm_owner=asli,algorithm_name=a,algorithm_version=1,metric=score")
}

/// Calls that lack what others have, a report of a Telegraf without flow control that has converted nothing yet, and a
/// metric of which no drift is known.
fn missing(influxdb: &Influxdb, at: i64) -> Result<()> {
    let calls = [
        json!({"algorithm_name": "b", "request_id": "req-2", "note": "no number"}),
        json!({"algorithm_name": "b", "algorithm_version": "2", "duration_milliseconds": 7, "score": 1}),
    ];
    write(influxdb, at, &calls)?;
    influxdb.write(format!("algorithmia_processor,host=h converted=0i,rejected=0i {at}\n"))?;
    status(influxdb, at, "algorithmia_processor", "")?;

    let model = ["", "b", ""];
    let fields = [("missing", 1.0), ("missing_reference", 0.0)];
    let measure = Measure { model, metric: "score", group: "", time: at, fields: fields.into(), reference: None };
    let hour = Hour {
        model,
        metric: "score",
        time: at - HOUR,
        counts: vec![(1e200, 2)],
        total: 2,
        extreme: 2,
        mean: 0.0,
        stddev: 0.0,
    };
    let calls = vec![(model, at - HOUR, 4)];
    influxdb.write(Drift { hours: vec![hour], calls, measures: vec![measure], ..Drift::default() }.lines())?;
    status(influxdb, at, "algorithmia_drift", ",algorithm_name=b,metric=score")
}

const MODEL: [&str; 3] = ["asli", "a", "1"];

fn drift(
    influxdb: &Influxdb,
    at: i64,
    metric: &'static str,
    counts: &[(f64, i64)],
    [total, extreme]: [i64; 2],
    fields: &[(&'static str, f64)],
) -> Result<()> {
    let hours = [at - 3 * DAY, at - HOUR].map(|time| Hour {
        model: MODEL,
        metric,
        time,
        counts: counts.to_vec(),
        total,
        extreme,
        mean: 2.5,
        stddev: 0.0,
    });
    let calls = hours.iter().map(|hour| (MODEL, hour.time, total)).collect();
    let fields = fields.iter().copied().collect();
    let reference = Some(("1", at - 8 * DAY..at - DAY));
    let measure = Measure { model: MODEL, metric, group: "", time: at, fields, reference };
    influxdb.write(Drift { hours: hours.into(), calls, measures: vec![measure], ..Drift::default() }.lines())
}

/// What the program makes of these messages.
fn write(influxdb: &Influxdb, at: i64, messages: &[Json]) -> Result<()> {
    let metric = |(index, message): (usize, &Json)| {
        telegraf::tagged([("topic", "")], &message.to_string(), at + index as i64 * MILLISECOND)
    };
    influxdb.write(converted(&[], &messages.iter().enumerate().map(metric).collect::<Vec<_>>())?)
}

fn status(influxdb: &Influxdb, at: i64, measurement: &str, tags: &str) -> Result<()> {
    influxdb.write_to(
        "_monitoring",
        format!(
            "statuses,_check_id=0a,_check_name=Some\\ Alert,_level=crit,_source_measurement={measurement},_type=custom{tags} \
             _message=\"bad\" {at}\n"
        ),
    )
}

fn clock(time: i64) -> Result<String> {
    Ok(Timestamp::from_nanosecond(time.into())?.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

/// An expected text with its times: `ONE` and `MISSING` are those of the calls, `SINCE_ONE` is how many minutes have passed,
/// and `MINUTE_ONE` the time without seconds.
fn filled(text: &str, times: &Times, now: i64) -> Result<String> {
    let minutes = |time: i64| format!("{:.1}", (now - time) as f64 / MINUTE as f64);
    let mut text = text.to_owned();
    text = text.replace("HOUR_BEFORE", &clock(times.one - HOUR)?);
    for (name, time) in [("ONE", times.one), ("MISSING", times.missing)] {
        text = text.replace(&format!("SINCE_{name}"), &minutes(time));
        text = text.replace(&format!("MINUTE_{name}"), &clock(time)?[..16]).replace(name, &clock(time)?);
    }
    Ok(text)
}

/// Compares what all cells show with one of the columns of [`CELLS`].
fn cells_show(influxdb: &Influxdb, column: usize, range: Range<i64>, algorithm: &str, times: &Times) -> Result<()> {
    let mut v = Variables::new(range.start, range.end)?;
    v.set("algorithmia_owner", "(all)").set("algorithmia_version", "(all)");
    v.set("algorithmia_algorithm", algorithm).set("algorithmia_metric", "score");
    let mut failures = Vec::new();
    for dashboard in influxdb.dashboards()? {
        for cell in dashboard.cells.iter().filter(|cell| !cell.queries.is_empty()) {
            let asked = now();
            let answers = cell.queries.iter().map(|query| influxdb.answer(query, &v)).collect::<Result<Vec<_>>>();
            let shown = answers.and_then(|answers| cell.shows(&answers)).unwrap_or_else(|error| format!("{error:#}"));
            let known = CELLS.iter().find(|known| (known.0, known.1) == (dashboard.name.as_str(), cell.name.as_str()));
            let expected = known.map_or("", |known| known.2[column]);
            // The minutes may have passed while the query ran.
            let expected = [filled(expected, times, asked)?, filled(expected, times, now())?];
            if !expected.contains(&shown) {
                failures.push(format!("{}, {}:\n{shown}\ninstead of\n{}", dashboard.name, cell.name, expected[0]));
            }
        }
    }
    ensure_none(&failures)
}

/// All of the test but its start.
pub fn each_cell_shows_what_little_there_is(dir: &Dir) -> Result<()> {
    let influxdb = Influxdb::start(dir)?;
    for template in ["influxdb-template.yml", "influxdb-drift.yml"] {
        influxdb.apply(&repository("telegraf").join(template), &[])?;
    }
    // What they find in the last minutes is not among what the cells are to show.
    stop_checks(&influxdb)?;
    let dashboards = influxdb.dashboards()?;
    let found = cells(&dashboards).map(|(dashboard, cell, _)| (dashboard, cell.name.as_str())).collect::<BTreeSet<_>>();
    assert_eq!(
        found,
        CELLS.iter().map(|(dashboard, cell, _)| (*dashboard, *cell)).collect(),
        "cells, and what is known of them"
    );

    let hour = now() / HOUR * HOUR;
    let times = Times { one: hour - 3 * HOUR, missing: hour - 2 * HOUR };
    let around = |time: i64| time - HOUR / 2..time + HOUR / 2;
    cells_show(&influxdb, 0, around(times.one), "a", &times).context("of no data")?;
    one(&influxdb, times.one)?;
    cells_show(&influxdb, 1, around(times.one), "a", &times).context("of one value")?;
    missing(&influxdb, times.missing)?;
    cells_show(&influxdb, 2, around(times.missing), "b", &times).context("of missing values")
}
