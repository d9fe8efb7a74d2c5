//! A day of 20 models: their calls, the check that looks at them every minute, and the tasks that send what it finds, run for
//! past times. Which messages each receiver gets, and when, is asserted to the letter. That the tasks run by themselves,
//! [`crate::alerts`] shows.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::thread;

use anyhow::{Context, Result, ensure};
use fixtures::generate::file;
use jiff::SignedDuration;
use serde_json::Value;
use stack::Dir;

use crate::senders::{Alerts, HTTP, NAMES, PAGERDUTY, SLACK, text};
use crate::support::{at, flux_of, long_tests, this_minute, turn};

const CHECK: &str = "Risk Score Alert";
const DAY: i64 = 24 * 60;
/// How many minutes before its tick the check looks at.
const WINDOW: i64 = 17;
/// A status ends so many minutes after the last news.
const CALM: i64 = 3;

/// A model that gives a high score once a minute for some minutes.
struct Incident {
    model: usize,
    bad: Range<i64>,
    /// So many minutes late these calls arrive.
    late: i64,
    /// Whether the model is not called any more afterwards.
    silent: bool,
    /// The minutes at which it is told, and as what.
    told: Vec<(i64, &'static str)>,
}

fn incident(model: usize, bad: Range<i64>, told: &[(i64, &'static str)]) -> Incident {
    Incident { model, bad, late: 0, silent: false, told: told.to_vec() }
}

fn late(model: usize, minute: i64, late: i64, told: &[(i64, &'static str)]) -> Incident {
    Incident { late, ..incident(model, minute..minute + 1, told) }
}

/// Ten of which each has a begin and an end, and what comes so late that it is over, or does not count any more.
fn incidents() -> Vec<Incident> {
    let (begin, end, past) = ("begin", "end", "past");
    vec![
        incident(0, 60..61, &[(61, begin), (64, end)]),
        incident(1, 62..72, &[(63, begin), (75, end)]),
        Incident { silent: true, ..incident(2, 63..65, &[(64, begin), (68, end)]) },
        late(3, 66, 1, &[(68, begin), (71, end)]),
        // InfluxDB is restarted at 305.
        incident(4, 300..310, &[(301, begin), (313, end)]),
        // No receiver takes anything from 611 on, and each does again from 621 on.
        incident(5, 610..630, &[(621, begin), (633, end)]),
        incident(6, 600..612, &[(601, begin), (621, end)]),
        incident(7, 613..614, &[(621, past)]),
        // The same model goes wrong again.
        incident(8, 900..901, &[(901, begin), (904, end)]),
        incident(8, 905..907, &[(906, begin), (910, end)]),
        // Two versions of an algorithm, and midnight, are nothing special.
        incident(10, DAY - 20..DAY - 10, &[(DAY - 19, begin), (DAY - 7, end)]),
        late(11, 1100, 5, &[(1109, past)]),
        late(12, 1100, 14, &[(1118, past)]),
        late(13, 1100, 20, &[]),
    ]
}

const RESTART: i64 = 305;
const DOWN: Range<i64> = 611..621;

fn name(model: usize) -> String {
    format!("m{model:02}")
}

/// The minute in which each call of a model is made, the first minute whose check sees it, and whether it is bad.
fn calls(model: usize, incidents: &[Incident]) -> Vec<(i64, i64, bool)> {
    let of_model = || incidents.iter().filter(|incident| incident.model == model);
    let last = of_model().find(|incident| incident.silent).map_or(DAY, |incident| incident.bad.end);
    let good = (0..last).map(|minute| (minute, minute + 1, false));
    let bad = of_model()
        .flat_map(|incident| incident.bad.clone().map(move |minute| (minute, minute + 1 + incident.late, true)));
    good.chain(bad).collect()
}

/// What a receiver is told of an incident at a minute.
fn said(alerts: &Alerts, sender: &str, incident: &Incident, event: &str, tick: i64, incidents: &[Incident]) -> String {
    let time = |minute: i64| alerts.time(minute).strftime("%Y-%m-%dT%H:%MZ").to_string();
    let name = name(incident.model);
    // At a begin, what is known by then; at the end, all.
    let end = if event == "begin" { tick.min(incident.bad.end) } else { incident.bad.end };
    let (since, until) = (time(incident.bad.start), time(end));
    let window = tick - WINDOW..tick;
    let seen = |bad: bool| {
        let calls = calls(incident.model, incidents);
        calls.into_iter().filter(|call| window.contains(&call.0) && call.1 <= tick && (call.2 || !bad)).count()
    };
    let value = if event == "begin" || incident.silent { "0.9" } else { "0.1" };
    let level = if event == "begin" { "crit" } else { "ok" };
    let finding = match event {
        "begin" => format!("risk_score above 0.7 since {since}, at worst 0.9"),
        _ => format!("risk_score {value}, last above 0.7 from {since} to {until}, at worst 0.9"),
    };
    let past = if event == "past" { "\nIt was critical, and is over." } else { "" };
    let lasted = match event {
        "begin" => String::new(),
        _ => format!("\nLasted: {}m", incident.bad.end - incident.bad.start),
    };
    format!(
        "Notification Rule: {sender} Alert triggered by check: {CHECK}: Check: {CHECK} is: {level}: asli/{name} 1: {finding}{past}\n\
         Owner: asli\nAlgorithm: {name}\nVersion: 1\nValue: {value}\nLimit: 0.7\nSince: {since}\nWorst: 0.9{lasted}\n\
         Calls above the limit: {} of {}\nTime: {}",
        seen(true),
        seen(false),
        alerts.time(tick)
    )
}

/// The keys of PagerDuty's incidents, each with what was done to it, in order.
fn pagerduty(events: &[Value]) -> BTreeMap<String, Vec<String>> {
    let mut of_key: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for event in events {
        let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
        of_key.entry(text("dedup_key")).or_default().push(text("event_action"));
    }
    of_key
}

#[test]
fn in_a_day_each_begin_and_each_end_is_told_once() {
    let _turn = turn();
    stack::test("incidents", day);
}

fn day(dir: &Dir) -> Result<()> {
    let alerts = Alerts::start(dir, this_minute()? - SignedDuration::from_mins(DAY + 60))?;
    let check = flux_of(&file("influxdb-template.yml"), CHECK)?;
    let incidents = incidents();

    // What arrives before each tick. All that is on time is written at once, since a check does not look ahead.
    let mut lines = String::new();
    let mut later: BTreeMap<i64, String> = BTreeMap::new();
    for model in 0..20 {
        for (minute, seen, bad) in calls(model, &incidents) {
            let time = alerts.time(minute).as_nanosecond() + if bad { 30_000_000_000 } else { 5_000_000_000 };
            let line = format!(
                "algorithmia,algorithm_owner=asli,algorithm_name={},algorithm_version=1 risk_score={} {time}\n",
                name(model),
                if bad { 0.9 } else { 0.1 }
            );
            if seen == minute + 1 { lines += &line } else { *later.entry(seen).or_default() += &line }
        }
    }
    alerts.influxdb.write(lines)?;

    // In quiet hours, every fifteenth run does: each looks at the last 17 minutes.
    let news: BTreeSet<i64> = incidents
        .iter()
        .flat_map(|incident| incident.bad.start..incident.bad.end + incident.late + CALM + 5)
        .chain(DOWN)
        .collect();
    let ticks = (1..=DAY).filter(|tick| long_tests() || tick % 15 == 0 || news.contains(tick));

    let mut told: [Vec<(i64, String)>; 4] = Default::default();
    let (mut events, mut json) = (Vec::new(), Vec::new());
    for tick in ticks {
        if tick == RESTART {
            alerts.influxdb.terminate()?;
            alerts.influxdb.restart()?;
        }
        alerts.answer_with(if DOWN.contains(&tick) { 500 } else { 200 })?;
        if let Some(lines) = later.remove(&tick) {
            alerts.influxdb.write(lines)?;
        }
        alerts.influxdb.query(&at(&check, alerts.time(tick))?)?;
        let sent = thread::scope(|scope| {
            let all = [0, 1, 2, 3].map(|which| {
                scope.spawn({
                    let alerts = &alerts;
                    move || alerts.run(which, tick)
                })
            });
            all.into_iter().map(|one| one.join().expect("a task that ran")).collect::<Result<Vec<_>>>()
        })?;
        if DOWN.contains(&tick) {
            continue;
        }
        events.extend(sent[PAGERDUTY].clone());
        json.extend(sent[HTTP].clone());
        for (told, sent) in told.iter_mut().zip(sent) {
            told.extend(sent.iter().map(|message| (tick, text(message))));
        }
    }
    ensure!(later.is_empty(), "calls have not arrived: {later:?}");

    for (which, told) in told.iter().enumerate() {
        // PagerDuty's incident of what is past is triggered and resolved with the same words.
        let times = |event: &str| if which == PAGERDUTY && event == "past" { 2 } else { 1 };
        let mut expected: Vec<_> = incidents
            .iter()
            .flat_map(|incident| incident.told.iter().map(move |told| (incident, *told)))
            .flat_map(|(incident, (tick, event))| {
                let text = said(&alerts, NAMES[which], incident, event, tick, &incidents);
                std::iter::repeat_n((tick, text), times(event))
            })
            .collect();
        expected.sort();
        let mut told = told.clone();
        told.sort();
        ensure_same(&told, &expected, NAMES[which])?;
    }
    let counts =
        |event: &str| incidents.iter().flat_map(|incident| &incident.told).filter(|told| told.1 == event).count();
    assert_eq!((counts("begin"), counts("end"), counts("past")), (10, 10, 3));
    assert_eq!(told[SLACK].len(), 23);
    // What the text says has keys of its own.
    for message in json {
        let text = message["message"].as_str().context("no message")?.to_owned();
        let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned();
        let known = |key: &str| match &message[key] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let past = text.contains("It was critical, and is over.");
        let event = if past {
            "past"
        } else if text.contains(" is: crit: ") {
            "begin"
        } else {
            "end"
        };
        assert_eq!(message["event"], event);
        for (key, name) in [
            ("owner", "Owner"),
            ("algorithm", "Algorithm"),
            ("version", "Version"),
            ("value", "Value"),
            ("limit", "Limit"),
            ("since", "Since"),
            ("worst", "Worst"),
            ("time", "Time"),
        ] {
            assert_eq!(known(key).trim_end_matches(".0"), line(&format!("{name}: ")), "{key} of {message}");
        }
        assert_eq!(format!("{} of {}", known("calls_above"), known("calls")), line("Calls above the limit: "));
        let minutes =
            message["lasted_seconds"].as_i64().map(|seconds| format!("{}m", seconds / 60)).unwrap_or_default();
        assert_eq!(minutes, line("Lasted: "));
    }
    // Of each model that goes wrong there is one incident, which is resolved each time it is triggered.
    let of_key = pagerduty(&events);
    ensure!(of_key.len() == 12, "{of_key:#?}");
    for actions in of_key.values() {
        ensure!(actions.chunks(2).all(|pair| pair == ["trigger", "resolve"]), "{of_key:#?}");
    }
    Ok(())
}

/// That two lists are the same, or where they begin to differ.
fn ensure_same(told: &[(i64, String)], expected: &[(i64, String)], sender: &str) -> Result<()> {
    let differ = told.iter().zip(expected).find(|(told, expected)| told != expected);
    ensure!(differ.is_none(), "{sender} says, and should say: {differ:#?}");
    ensure!(told.len() == expected.len(), "{sender} says {} things, not {}: {told:#?}", told.len(), expected.len());
    Ok(())
}
