//! Whether all has come as it should: what `--once` says in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::{SignedDuration, Timestamp};
use stack::{BUCKET, Value, Variables, wait_for};

use crate::servers::Servers;
use crate::state::{
    DRIFT_ALERT, Delivery, GROUP_ALERT, Key, Level, RISK_SCORE_ALERT, State, Status, stability, statuses,
};
use crate::traffic::{Ledger, Sent};
use crate::view::number;
use fixtures::models::DRIFTING;

/// How long the last messages may take to InfluxDB.
const PATIENCE: Duration = Duration::from_secs(60);

/// Calls that come later are not seen by the checks.
const LATE: Duration = Duration::from_secs(15);

const MINUTE: SignedDuration = SignedDuration::from_mins(1);

/// Something that was looked at.
pub struct Finding {
    pub what: String,
    /// What is missing or wrong.
    pub flaws: Vec<String>,
}

/// Looks at everything. The ledger is of all calls, those of the time before among them.
pub fn reach(servers: &Servers, state: &State, sent: &Sent, ledger: &Ledger, start: Timestamp) -> Result<Vec<Finding>> {
    Ok(vec![
        messages(servers, sent, ledger)?,
        rejections(servers, sent, ledger)?,
        slack(state),
        drift(servers, state, start)?,
        checks(servers, start)?,
        lag(state),
        dashboards(servers)?,
    ])
}

/// Every message has become one point.
fn messages(servers: &Servers, sent: &Sent, ledger: &Ledger) -> Result<Finding> {
    let what = format!(
        "{} calls are in InfluxDB, each once: {} by way of Kafka, {} written by hand",
        number(ledger.requests.len() as u64),
        number(sent.points),
        number(ledger.requests.len() as u64 - sent.points)
    );
    let stored = all_stored(servers, "algorithmia", "request_id", ledger.requests.len())?;
    Ok(Finding { what, flaws: compare("calls", &ledger.requests, &stored) })
}

/// Every bad message has become a rejection, with the right reason.
fn rejections(servers: &Servers, sent: &Sent, ledger: &Ledger) -> Result<Finding> {
    let reasons = sent.bad.iter().map(|(reason, count)| format!("{count} {reason}")).collect::<Vec<_>>().join(", ");
    let what = format!("{} bad messages are stored as such: {reasons}", sent.rejections());
    let stored = all_stored(servers, "algorithmia_rejected", "payload", ledger.bad.len())?;
    let mut flaws = compare("bad messages", &ledger.bad, &stored);
    let rows = servers.influxdb.query(&format!(
        "from(bucket: \"{BUCKET}\") |> range(start: 0) \
         |> filter(fn: (r) => r._measurement == \"algorithmia_rejected\" and r._field == \"error\") \
         |> group(columns: [\"reason\"]) |> count()"
    ))?;
    let mut counts = BTreeMap::new();
    for row in &rows {
        if let (Some(Value::String(reason)), Some(Value::Integer(count))) = (row.get("reason"), row.get("_value")) {
            counts.insert(reason.as_str(), count.unsigned_abs());
        }
    }
    if counts != sent.bad {
        flaws.push(format!("the reasons should be {:?} and are {counts:?}", sent.bad));
    }
    Ok(Finding { what, flaws })
}

/// All values of a string field, as soon as there are as many as there should be, or in the end.
fn all_stored(servers: &Servers, measurement: &str, field: &str, count: usize) -> Result<Vec<String>> {
    let stored = || servers.influxdb.strings(BUCKET, measurement, field);
    let complete = wait_for("the last messages", PATIENCE, || {
        servers.ensure_running()?;
        Ok(Some(stored()?).filter(|stored| stored.len() >= count))
    });
    complete.or_else(|_| stored())
}

fn compare(what: &str, expected: &BTreeSet<String>, stored: &[String]) -> Vec<String> {
    let mut flaws = Vec::new();
    let mut unseen = expected.iter().map(String::as_str).collect::<BTreeSet<_>>();
    let (mut strange, mut twice) = (Vec::new(), Vec::new());
    for text in stored {
        if !unseen.remove(text.as_str()) {
            if expected.contains(text) { &mut twice } else { &mut strange }.push(text.as_str());
        }
    }
    let unseen = unseen.into_iter().collect();
    for (texts, why) in [(unseen, "are not stored"), (strange, "were never sent"), (twice, "are stored twice")] {
        if let Some(first) = texts.first() {
            flaws.push(format!("{} {what} {why}, such as {first}", texts.len()));
        }
    }
    flaws
}

/// Slack has got the alert, and then the news that it is over, and nothing else but what there is to say of drift.
fn slack(state: &State) -> Finding {
    let expected = [Level::Crit, Level::Ok]
        .map(|level| beginning(level, RISK_SCORE_ALERT, &format!("Check: {RISK_SCORE_ALERT} is: {}", level.name())));
    let received = received(state, |delivery| !delivery.is_of(DRIFT_ALERT));
    let mut flaws = Vec::new();
    let begin = |(received, expected): (&Told, &Told)| begins_with(received, expected);
    if received.len() != expected.len() || !received.iter().zip(&expected).all(begin) {
        flaws.push(format!("Slack should have received{}\n  and has received{}", list(&expected), list(&received)));
    }
    Finding { what: "Slack has received the alert to the letter, and then that all is well again".to_owned(), flaws }
}

/// Slack has got what Drift Alert said, to the letter: with the values that InfluxDB has.
fn drift(servers: &Servers, state: &State, start: Timestamp) -> Result<Finding> {
    let mut flaws = Vec::new();
    let stored = stability(servers)?;
    let all = statuses(servers, Timestamp::UNIX_EPOCH, "")?;
    let mut expected = Vec::new();
    let mut before = BTreeMap::new();
    let mut told = BTreeSet::new();
    for status in all.iter().filter(|status| status.check == DRIFT_ALERT) {
        let Status { key, metric, level, time, .. } = status;
        // The time of a comparison is the end of its minute, and the check ticks half a minute later.
        let compared = *time - MINUTE / 2;
        let psi = stored.get(&(key.clone(), metric.clone(), compared));
        let message = psi.map(|psi| drift_message(*level, metric, key, *psi));
        // The minutes before the start may have been compared again when more of the history was counted.
        if compared >= start && message.as_ref() != Some(&status.message) {
            flaws.push(format!("{DRIFT_ALERT} should have said {message:?} at {time}, and said {:?}", status.message));
        }
        let critical = before.entry((key, metric)).or_insert(false);
        if *level == Level::Crit && !*critical || *level == Level::Ok && *critical {
            *critical = !*critical;
            expected.push((*time, beginning(*level, DRIFT_ALERT, &status.message)));
            told.insert((*level, metric.as_str(), key[1].as_str(), key[2].as_str()));
        }
    }
    let mut received = received(state, |delivery| delivery.is_of(DRIFT_ALERT));
    for (time, told) in expected {
        match received.iter().position(|received| begins_with(received, &told)) {
            Some(index) => drop(received.remove(index)),
            // It goes out with the next minute.
            None if time + 2 * MINUTE > Timestamp::now() => {}
            None => flaws.push(format!("Slack should have received{}", list(&[told]))),
        }
    }
    if !received.is_empty() {
        flaws.push(format!("Slack should not have received{}", list(&received)));
    }
    for level in [Level::Crit, Level::Ok] {
        if !told.contains(&(level, "risk_score", DRIFTING.0, DRIFTING.1)) {
            flaws.push(format!("that risk_score of {} {} is {level}, was not to be told", DRIFTING.0, DRIFTING.1));
        }
    }
    let metrics = told.iter().map(|(_, metric, ..)| *metric).collect::<BTreeSet<_>>();
    let metrics = metrics.into_iter().collect::<Vec<_>>().join(", ");
    Ok(Finding { what: format!("Slack has received that there is drift, of {metrics}, and its end"), flaws })
}

/// What Drift Alert says of a value.
fn drift_message(level: Level, metric: &str, [_, name, version]: &Key, psi: f64) -> String {
    let psi = (psi * 1000.0 + 0.5).trunc() / 1000.0;
    format!("{DRIFT_ALERT}: {metric} of {name} {version} is {}: its population stability index is {psi}", level.name())
}

/// A colour and a text, as Slack gets them.
type Told = [String; 2];

/// How that begins which Slack gets of a status. Owner, algorithm and the like follow on lines of their own.
fn beginning(level: Level, check: &str, message: &str) -> Told {
    let color = if level == Level::Crit { "danger" } else { "good" };
    [color.to_owned(), format!("Notification Rule: Slack Alert triggered by check: {check}: {message}")]
}

fn begins_with([color, text]: &Told, [expected, beginning]: &Told) -> bool {
    color == expected && text.strip_prefix(beginning.as_str()).is_some_and(|rest| rest.starts_with([':', '\n']))
}

fn received(state: &State, which: impl Fn(&Delivery) -> bool) -> Vec<Told> {
    let told = |delivery: &Delivery| [delivery.color(), delivery.text()].map(Option::unwrap_or_default);
    state.deliveries.iter().filter(|delivery| which(delivery)).map(told).collect()
}

fn list(told: &[Told]) -> String {
    if told.is_empty() {
        return " nothing".to_owned();
    }
    told.iter().map(|[color, text]| format!("\n    {color}: {text:?}")).collect()
}

/// The checks went off for what happened, and for nothing else.
fn checks(servers: &Servers, start: Timestamp) -> Result<Finding> {
    let mut flaws = Vec::new();
    let statuses = statuses(servers, start, "")?;
    let mut names = BTreeSet::new();
    let mut alerted = false;
    for status in &statuses {
        names.insert(status.check.as_str());
        let [_, name, version] = &status.key;
        match (status.check.as_str(), status.level) {
            (_, Level::Ok) | ("Rejected Messages", Level::Warn) => {}
            (RISK_SCORE_ALERT, Level::Crit) if (name.as_str(), version.as_str()) == DRIFTING => alerted = true,
            // Which of its metrics, and how much, is another question.
            (DRIFT_ALERT | GROUP_ALERT, _) if (name.as_str(), version.as_str()) == DRIFTING => {}
            (check, level) => {
                flaws.push(format!("{check} was {level} for {name} {version} at {}: {}", status.time, status.message));
            }
        }
    }
    if !alerted {
        flaws.push(format!("{RISK_SCORE_ALERT} was never critical for {} {}", DRIFTING.0, DRIFTING.1));
    }
    for check in servers.influxdb.list("checks")? {
        if let Some(name) = check["name"].as_str()
            && !names.contains(name)
        {
            flaws.push(format!("{name} has given no status"));
        }
    }
    let what = format!("{} checks gave {} statuses, those that were to be expected", names.len(), statuses.len());
    Ok(Finding { what, flaws })
}

/// telegraf-algorithmia reports how late the calls came, which is what the checks rely on.
fn lag(state: &State) -> Finding {
    let numbers = state.report.as_ref().map(|report| &report.numbers);
    let of = |name: &str| numbers.and_then(|numbers| numbers.get(name)).copied();
    let (what, flaws) = match (of("lag_mean_ms"), of("lag_max_ms")) {
        (Some(mean), Some(max)) => {
            let what =
                format!("calls were read {mean} ms late on average in the last minute reported, {max} ms at most");
            let flaw = format!("a mean between 0 and {} ms was to be expected", LATE.as_millis());
            let late = !(0..LATE.as_millis() as i64).contains(&mean) || max < mean;
            (what, late.then_some(flaw).into_iter().collect())
        }
        _ => ("how late calls were read".to_owned(), vec!["telegraf-algorithmia has not reported it".to_owned()]),
    };
    Finding { what, flaws }
}

/// Each cell of each dashboard has something to show as it opens, if only its note that says of what there is none, and answers for
/// every algorithm.
fn dashboards(servers: &Servers) -> Result<Finding> {
    let mut flaws = Vec::new();
    let dashboards = servers.influxdb.dashboards()?;
    let mut defaults = Variables::new("-1h", "now()")?;
    let offered = servers.influxdb.resolve_variables(&mut defaults)?;
    let algorithms = offered.get("algorithmia_algorithm").context("there is no variable algorithmia_algorithm")?;
    let (mut cells, mut queries) = (0, 0);
    for dashboard in &dashboards {
        for cell in dashboard.cells.iter().filter(|cell| !cell.queries.is_empty()) {
            cells += 1;
            for query in &cell.queries {
                queries += 1;
                match servers.influxdb.query_with(query, &defaults) {
                    Ok(rows) if rows.is_empty() && cell.view["showNoteWhenEmpty"] != true => {
                        flaws.push(format!("{}, {}: no rows", dashboard.name, cell.name))
                    }
                    Ok(_) => {}
                    Err(error) => flaws.push(format!("{}, {}: {error:#}", dashboard.name, cell.name)),
                }
            }
        }
    }
    for algorithm in algorithms {
        let mut v = Variables::new("-1h", "now()")?;
        v.set("algorithmia_algorithm", algorithm);
        servers.influxdb.resolve_variables(&mut v)?;
        for cell in dashboards.iter().flat_map(|dashboard| &dashboard.cells) {
            for query in &cell.queries {
                queries += 1;
                if let Err(error) = servers.influxdb.query_with(query, &v) {
                    flaws.push(format!("{} of {algorithm}: {error:#}", cell.name));
                }
            }
        }
    }
    let what = format!(
        "{cells} cells of {} dashboards have something to show, and their {queries} queries for {} algorithms no error",
        dashboards.len(),
        algorithms.len()
    );
    Ok(Finding { what, flaws })
}
