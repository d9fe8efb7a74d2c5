//! The tasks that send alerts, run for chosen times over statuses that are written by hand: what each receiver gets, to the
//! letter. Nothing here waits for InfluxDB's clock; that the tasks run by themselves, [`crate::alerts`] shows.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use fixtures::generate::{file, generated};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use stack::{Dir, Influxdb, Receiver};

use crate::support::{at, flux_of, hours_ago, keep_secret, this_minute, turn};

pub const SLACK: usize = 0;
pub const HTTP: usize = 1;
pub const PAGERDUTY: usize = 2;
const EMAIL: usize = 3;

/// Which model a status is about.
#[derive(Clone)]
struct Model(String, String, String);

fn model(owner: &str, name: &str, version: &str) -> Model {
    Model(owner.to_owned(), name.to_owned(), version.to_owned())
}

/// A receiver of each kind, in the order of [`NAMES`].
pub fn start_receivers() -> Result<[Receiver; 4]> {
    Ok([Receiver::start()?, Receiver::start()?, Receiver::start()?, Receiver::start()?])
}

/// The template for each receiver, in the order of [`NAMES`]. InfluxDB gets the secrets that they want.
pub fn templates_to(influxdb: &Influxdb, receivers: &[Receiver; 4]) -> Result<[String; 4]> {
    for key in ["pagerduty-routing-key", "email-api-token"] {
        keep_secret(influxdb, key, "secret")?;
    }
    let url = receivers.each_ref().map(Receiver::url);
    let mail = ["--email-url", &url[EMAIL], "--email-from", "a@example.org", "--email-to", "b@example.org"];
    Ok([
        generated("slack-template", &["--slack-url", &url[SLACK]]),
        generated("http-template", &["--http-url", &url[HTTP]]),
        generated("pagerduty-template", &[]).replace("https://events.pagerduty.com/v2/enqueue", &url[PAGERDUTY]),
        generated("email-template", &mail),
    ])
}

/// An InfluxDB, and all receivers with the task that sends to each.
pub struct Alerts {
    pub influxdb: Influxdb,
    receivers: [Receiver; 4],
    tasks: [String; 4],
    /// Minute 0.
    start: Timestamp,
}

impl Alerts {
    /// Starts all, with nothing in them. Minute 0 is the one given.
    pub fn start(dir: &Dir, start: Timestamp) -> Result<Alerts> {
        let influxdb = Influxdb::start(dir)?;
        let receivers = start_receivers()?;
        let templates = templates_to(&influxdb, &receivers)?;
        let tasks = templates
            .iter()
            .zip(NAMES)
            .map(|(template, name)| flux_of(template, &format!("{name} Alert")))
            .collect::<Result<Vec<_>>>()?;
        let tasks = tasks.try_into().ok().context("four tasks")?;
        Ok(Alerts { influxdb, receivers, tasks, start })
    }

    pub fn time(&self, minute: i64) -> Timestamp {
        self.start + SignedDuration::from_mins(minute)
    }

    /// Has a check find something of models at a minute.
    fn status(&self, check: &str, minute: i64, level: &str, models: &[Model]) -> Result<()> {
        let lines = models.iter().map(|Model(owner, name, version)| {
            let mut line = format!("statuses,_check_id=0a,_check_name={},_level={level}", escaped(check));
            line += ",_source_measurement=algorithmia,_type=threshold";
            // What other people's checks find is in the same bucket.
            if !check.starts_with("Somebody") {
                line += ",product=algorithmia";
            }
            for (key, value) in [("owner", owner), ("name", name), ("version", version)] {
                if !value.is_empty() {
                    line += &format!(",algorithm_{key}={}", escaped(value));
                }
            }
            let time = self.time(minute).as_nanosecond();
            format!("{line} _message=\"Check: {check} is: {level}\",risk_score=0.93,_source_timestamp={time}i {time}\n")
        });
        self.influxdb.write_to("_monitoring", lines.collect::<String>())
    }

    /// Runs one of the tasks as at a minute, and gives the requests that come of it.
    pub fn run(&self, which: usize, minute: i64) -> Result<Vec<Value>> {
        let before = self.receivers[which].requests().len();
        self.influxdb.query(&at(&self.tasks[which], self.time(minute))?)?;
        self.receivers[which].requests()[before..].iter().map(|request| request.json()).collect()
    }

    /// Runs all of them, and asserts that each sends as many messages.
    fn run_all(&self, minute: i64, count: usize) -> Result<[Vec<Value>; 4]> {
        let mut all: [Vec<Value>; 4] = Default::default();
        for (which, sent) in all.iter_mut().enumerate() {
            *sent = self.run(which, minute)?;
            ensure!(sent.len() == count, "at minute {minute} {} sends {sent:#?}, not {count}", NAMES[which]);
        }
        Ok(all)
    }

    pub fn answer_with(&self, status: u16) -> Result<()> {
        self.receivers.iter().try_for_each(|receiver| receiver.answer_with(status))
    }

    /// What everybody should get about one model, which has been critical since a minute.
    fn expected(&self, check: &str, minute: i64, level: &str, model: &Model, since: i64) -> [Value; 4] {
        let Model(owner, name, version) = model;
        let time = self.time(minute);
        let details = [("Owner", owner), ("Algorithm", name), ("Version", version)];
        let details = details.iter().filter(|(_, value)| !value.is_empty());
        let details = details.map(|(key, value)| format!("\n{key}: {value}")).collect::<String>();
        let critical = level == "crit";
        let lasted = if critical { None } else { Some(minute - since) };
        let since = self.time(since).strftime("%Y-%m-%dT%H:%MZ").to_string();
        let duration = lasted.map(|minutes| if minutes == 60 { "1h".to_owned() } else { format!("{minutes}m") });
        let over = duration.map(|duration| format!("\nLasted: {duration}")).unwrap_or_default();
        let text = |sender: &str| {
            format!(
                "Notification Rule: {sender} Alert triggered by check: {check}: Check: {check} is: {level}{details}\n\
                 Value: 0.93\nSince: {since}{over}\nTime: {time}"
            )
        };
        let known = |value: &str| if value.is_empty() { Value::Null } else { json!(value) };
        let slash = if owner.is_empty() { "" } else { "/" };
        let about = format!("{owner}{slash}{name} {version}").trim().to_owned();
        let title = format!("{check}: {about} is {level}");
        let escaped = text("Slack").replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let color = if critical { "danger" } else { "good" };
        [
            json!({"attachments": [{"color": color, "mrkdwn_in": ["text"], "text": escaped}]}),
            json!({
                "check": check, "event": if critical { "begin" } else { "end" }, "level": level, "owner": known(owner), "algorithm": known(name),
                "version": known(version), "metric": null, "value": 0.93, "limit": null, "since": since, "worst": null,
                "lasted_seconds": lasted.map(|minutes| minutes * 60), "calls": null, "calls_above": null, "time": time.to_string(), "message": text("HTTP"), "models": [about], "count": 1,
            }),
            json!({
                "routing_key": "secret", "event_action": if critical { "trigger" } else { "resolve" },
                "client": "InfluxDB", "client_url": "http://localhost:8086",
                "payload": {
                    "summary": title, "severity": if critical { "critical" } else { "info" },
                    "source": "telegraf-algorithmia", "component": about, "class": check,
                    "timestamp": time.to_string(),
                    "custom_details": {"message": text("PagerDuty"), "value": "0.93"},
                },
            }),
            json!({
                "personalizations": [{"to": [{"email": "b@example.org"}]}], "from": {"email": "a@example.org"},
                "subject": title, "content": [{"type": "text/plain", "value": text("Email") + "\n"}],
            }),
        ]
    }

    /// Runs all, asserts that each tells what is to be told of one model and nothing else, and gives PagerDuty's key.
    fn ensure_told(&self, at: i64, check: &str, minute: i64, level: &str, model: &Model, since: i64) -> Result<Value> {
        let mut all = self.run_all(at, 1)?;
        let incident = all[PAGERDUTY][0].as_object_mut().and_then(|event| event.remove("dedup_key"));
        let expected = self.expected(check, minute, level, model, since);
        for ((sent, expected), name) in all.iter().zip(&expected).zip(NAMES) {
            assert_eq!(&sent[0], expected, "{name}");
        }
        incident.context("an event without a key")
    }
}

pub const NAMES: [&str; 4] = ["Slack", "HTTP", "PagerDuty", "Email"];

/// In a tag's value.
fn escaped(text: &str) -> String {
    [' ', ',', '='].iter().fold(text.to_owned(), |text, c| text.replace(*c, &format!("\\{c}")))
}

/// The text of what was sent, whoever got it.
pub fn text(message: &Value) -> String {
    let texts = [
        &message["attachments"][0]["text"],
        &message["message"],
        &message["payload"]["custom_details"]["message"],
        &message["content"][0]["value"],
    ];
    texts.into_iter().find_map(Value::as_str).unwrap_or_default().trim_end().to_owned()
}

#[test]
fn each_begin_and_each_end_is_told_once() {
    let _turn = turn();
    stack::test("senders", |dir| {
        let alerts = Alerts::start(dir, hours_ago()?)?;
        let (check, credit) = ("Risk Score Alert", model("asli", "credit", "1.0.6"));
        let status = |minute, level| alerts.status(check, minute, level, std::slice::from_ref(&credit));

        // What is well is not told, and nor is what other people's checks find.
        status(0, "ok")?;
        alerts.status("Somebody else's check", 0, "crit", std::slice::from_ref(&credit))?;
        alerts.run_all(0, 0)?;
        // A begin, however long it lasts.
        status(1, "crit")?;
        let incident = alerts.ensure_told(1, check, 1, "crit", &credit, 1)?;
        status(2, "crit")?;
        alerts.run_all(2, 0)?;
        // An end in two steps, of which the first is neither.
        status(3, "warn")?;
        alerts.run_all(3, 0)?;
        status(4, "ok")?;
        assert_eq!(alerts.ensure_told(4, check, 4, "ok", &credit, 1)?, incident);
        status(5, "ok")?;
        alerts.run_all(5, 0)?;
        // A first status that is critical, and an end after a silence.
        alerts.status("Drift Alert", 6, "crit", std::slice::from_ref(&credit))?;
        let other = alerts.ensure_told(6, "Drift Alert", 6, "crit", &credit, 6)?;
        assert_ne!(other, incident);
        alerts.status("Drift Alert", 66, "ok", std::slice::from_ref(&credit))?;
        assert_eq!(alerts.ensure_told(66, "Drift Alert", 66, "ok", &credit, 6)?, other);
        // A warning that becomes critical, is one again, and is critical again, is one incident.
        for (minute, level, count) in
            [(70, "warn", 0), (71, "crit", 1), (72, "warn", 0), (73, "crit", 0), (74, "ok", 1)]
        {
            status(minute, level)?;
            alerts.run_all(minute, count)?;
        }
        // Names that mean something to Slack or Flux, and calls without an owner or version.
        for (minute, model) in [
            (80, model("<!channel>", "a&b", "<https://example.org|here>")),
            (81, model("", "${r._level}", "1 = 2, \"3\"")),
            (82, model("asli", "versionless", "")),
        ] {
            alerts.status(check, minute, "crit", std::slice::from_ref(&model))?;
            alerts.ensure_told(minute, check, minute, "crit", &model, minute)?;
        }
        // What is over for an hour is no news, and nor is what was critical and has no status any more.
        alerts.status(check, 90, "crit", &[model("asli", "long ago", "1")])?;
        alerts.run_all(151, 0)?;
        Ok(())
    });
}

#[test]
fn a_hundred_models_are_one_message() {
    let _turn = turn();
    stack::test("storm", |dir| {
        let alerts = Alerts::start(dir, hours_ago()?)?;
        let check = "Duration Alert";
        let models: Vec<_> = (0..100).map(|number| model("asli", &format!("m{number:02}"), "1")).collect();
        let says = |sender: usize, count: usize, level: &str, first: usize, more: usize| {
            let list: String = (first..first + 10).map(|number| format!("\nasli/m{number:02} 1: 0.93")).collect();
            let sender = NAMES[sender];
            format!(
                "Notification Rule: {sender} Alert triggered by check: {check}: {count} models are {level}{list}\n\
                 and {more} more"
            )
        };

        // Ten are ten messages; all others become critical a minute later, and one is of another check.
        alerts.status(check, 0, "crit", &models[..10])?;
        alerts.run_all(0, 10)?;
        alerts.status(check, 1, "crit", &models)?;
        alerts.status("Risk Score Alert", 1, "crit", &models[..1])?;
        for (which, sent) in alerts.run_all(1, 2)?.iter().enumerate() {
            let texts: BTreeSet<_> = sent.iter().map(text).collect();
            assert!(texts.contains(&says(which, 90, "crit", 10, 80)), "{texts:#?}");
        }
        alerts.run_all(1, 0)?;

        // PagerDuty has an incident for each of the first ten, and one for the others, which ends with the last of them.
        alerts.status(check, 2, "ok", &models[..99])?;
        let events = alerts.run(PAGERDUTY, 2)?;
        ensure!(events.len() == 10 && events.iter().all(|event| event["event_action"] == "resolve"), "{events:#?}");
        for which in [SLACK, HTTP, EMAIL] {
            let sent = alerts.run(which, 2)?;
            let texts: Vec<_> = sent.iter().map(text).collect();
            assert_eq!(texts, [says(which, 99, "ok", 0, 89)]);
        }
        alerts.status(check, 3, "ok", &models)?;
        alerts.run_all(3, 1)?;
        alerts.status("Risk Score Alert", 3, "ok", &models[..1])?;
        alerts.run_all(4, 1)?;
        alerts.run_all(5, 0)?;
        let events =
            alerts.receivers[PAGERDUTY].requests().iter().map(|event| event.json()).collect::<Result<Vec<_>>>()?;
        let incidents = |action: &str| -> BTreeSet<_> {
            let events = events.iter().filter(|event| event["event_action"] == action);
            events.map(|event| event["dedup_key"].as_str().unwrap_or_default()).collect()
        };
        assert_eq!((events.len(), incidents("trigger").len()), (24, 12));
        assert_eq!(incidents("trigger"), incidents("resolve"));
        Ok(())
    });
}

#[test]
fn what_is_not_taken_is_sent_again_and_a_restart_forgets_nothing() {
    let _turn = turn();
    stack::test("retries", |dir| {
        let alerts = Alerts::start(dir, hours_ago()?)?;
        let (check, credit) = ("Risk Score Alert", model("asli", "credit", "1.0.6"));
        let both = [credit.clone(), model("asli", "fraud", "2")];

        // One request that fails keeps no other from being sent.
        alerts.answer_with(500)?;
        alerts.status(check, 0, "crit", &both)?;
        alerts.run_all(0, 2)?;
        alerts.status(check, 1, "crit", &both[1..])?;
        alerts.run_all(1, 2)?;
        // It is over before anybody has taken it, and InfluxDB has been down meanwhile: it is told as past, once.
        alerts.status(check, 3, "ok", &both[..1])?;
        alerts.influxdb.terminate()?;
        alerts.influxdb.restart()?;
        alerts.answer_with(202)?;
        for (which, name) in NAMES.iter().enumerate() {
            let sent = alerts.run(which, 50)?;
            let past = sent.iter().filter(|sent| text(sent).contains(" is: ok\nIt was critical, and is over.\n"));
            let begins = sent.iter().filter(|sent| text(sent).contains(" is: crit\n"));
            let expected = if which == PAGERDUTY { (2, 1) } else { (1, 1) };
            assert_eq!((past.count(), begins.count()), expected, "{name}: {sent:#?}");
        }
        alerts.influxdb.terminate()?;
        alerts.influxdb.restart()?;
        alerts.run_all(52, 0)?;

        // Nobody can be reached at all. An end is told however late it is.
        let elsewhere = Alerts { tasks: alerts.tasks.clone().map(|task| unreachable(&task, &alerts)), ..alerts };
        elsewhere.status(check, 60, "ok", &both[1..])?;
        elsewhere.run_all(60, 0)?;
        let tasks = elsewhere.tasks.clone().map(|task| task.replace("http://127.0.0.1:1/", ""));
        let alerts = Alerts { tasks, ..elsewhere };
        alerts.ensure_told(130, check, 60, "ok", &both[1], 0)?;
        let noted = alerts.influxdb.query(
            "from(bucket: \"_monitoring\") |> range(start: -6h)
                |> filter(fn: (r) => r._measurement == \"notifications\" and r._field == \"_status\" and r._sent == \"false\")",
        )?;
        ensure!(!noted.is_empty(), "nothing is noted of what was not taken");
        Ok(())
    });
}

/// A task whose URL leads nowhere. The URL that it had can be made of it again.
fn unreachable(task: &str, alerts: &Alerts) -> String {
    alerts.receivers.iter().fold(task.to_owned(), |task, receiver| {
        task.replace(&receiver.url(), &format!("http://127.0.0.1:1/{}", receiver.url()))
    })
}

#[test]
fn what_lasts_is_told_again_if_that_is_wanted() {
    let _turn = turn();
    stack::test("reminders", |dir| {
        let mut alerts = Alerts::start(dir, hours_ago()?)?;
        for task in &mut alerts.tasks {
            *task = task.replace("reminder = 0h", "reminder = 1h");
        }
        let (check, models) = ("Risk Score Alert", [model("asli", "credit", "1.0.6"), model("asli", "fraud", "2")]);
        // Each is told every hour, counted from its last message.
        for (minute, count) in [(0, 1), (1, 0), (59, 0), (60, 1), (61, 0), (119, 0), (120, 1), (121, 0)] {
            alerts.status(check, minute, "crit", &models[..1])?;
            alerts.run_all(minute, count)?;
        }
        let reminder = alerts.receivers[HTTP].requests().last().context("nothing was sent")?.json()?;
        assert_eq!((&reminder["event"], &reminder["level"]), (&json!("reminder"), &json!("crit")));
        let mail = alerts.receivers[EMAIL].requests().last().context("nothing was sent")?.json()?;
        assert_eq!(mail["subject"], "Risk Score Alert: asli/credit 1.0.6 is still crit");
        // One that begins is told as such.
        alerts.status(check, 180, "crit", &models)?;
        let subjects: BTreeSet<_> = alerts
            .run(EMAIL, 180)?
            .iter()
            .map(|mail| mail["subject"].as_str().unwrap_or_default().to_owned())
            .collect();
        let expected = ["Risk Score Alert: asli/credit 1.0.6 is still crit", "Risk Score Alert: asli/fraud 2 is crit"];
        assert_eq!(subjects, BTreeSet::from(expected.map(str::to_owned)));
        for which in [SLACK, HTTP, PAGERDUTY] {
            ensure!(alerts.run(which, 180)?.len() == 2, "{}", NAMES[which]);
        }
        // PagerDuty's are about the same incident, which the end resolves.
        alerts.status(check, 181, "ok", &models)?;
        alerts.run_all(181, 2)?;
        alerts.run_all(242, 0)?;
        let events = alerts.receivers[PAGERDUTY].requests();
        let keys: BTreeSet<_> =
            events.iter().map(|event| Ok(event.json()?["dedup_key"].to_string())).collect::<Result<_>>()?;
        assert_eq!((events.len(), keys.len()), (7, 2));
        Ok(())
    });
}

/// A status of one of InfluxDB's own checks holds no more than a value: the rest is in those before it.
#[test]
fn what_influxdbs_own_checks_find_is_told_in_full() {
    let _turn = turn();
    stack::test("own-checks", |dir| {
        let alerts = Alerts::start(dir, this_minute()?)?;
        let status = |check: &str, minute: i64, level: &str, tags: &str, fields: &str| {
            let time = alerts.time(minute).as_nanosecond();
            let key =
                format!("statuses,_check_id={check},_check_name={check},_level={level},product=algorithmia{tags}");
            alerts
                .influxdb
                .write_to("_monitoring", format!("{key},_type=threshold _message=\"{check}\",{fields} {time}"))
        };
        let told = |minute: i64, check: &str| -> Result<(Value, String)> {
            let sent = alerts.run(HTTP, minute)?;
            let of_check: Vec<_> = sent.iter().filter(|sent| sent["check"] == check).collect();
            ensure!(of_check.len() == 1, "{check} at {minute}: {sent:#?}");
            let keys = ["value", "limit", "since", "worst", "lasted_seconds", "calls"];
            let text = text(of_check[0]);
            let (_, details) = text.split_once('\n').context("no details")?;
            Ok((json!(keys.map(|key| of_check[0][key].clone())), details.to_owned()))
        };
        let since = |minute: i64| alerts.time(minute).strftime("%Y-%m-%dT%H:%MZ").to_string();

        // Nobody takes the begin for a while.
        let drift = ",algorithm_name=credit,metric=risk_score,limit=0.25";
        status("Drift", -400, "crit", drift, "psi=9,calls=1000")?;
        status("Drift", -370, "ok", drift, "psi=0.1,calls=1000")?;
        for (minute, psi) in [(-180, "0.3"), (-120, "0.52"), (-60, "0.4")] {
            status("Drift", minute, "crit", drift, &format!("psi={psi},calls=1234"))?;
        }
        alerts.answer_with(500)?;
        alerts.run(HTTP, -180)?;
        alerts.answer_with(200)?;
        let begun = since(-180);
        let (keys, details) = told(-60, "Drift")?;
        assert_eq!(keys, json!([0.4, 0.25, begun, 0.52, null, 1234]));
        let metric = "Algorithm: credit\nMetric: risk_score";
        let time = alerts.time(-60);
        let expected =
            format!("{metric}\nValue: 0.4\nLimit: 0.25\nSince: {begun}\nWorst: 0.52\nCalls: 1234\nTime: {time}");
        assert_eq!(details, expected);
        // A warning is no end. What comes after the end is not part of it.
        status("Drift", -30, "warn", drift, "psi=0.2,calls=10")?;
        status("Drift", -20, "ok", drift, "psi=0.05,calls=10")?;
        status("Drift", -10, "ok", drift, "psi=0.01,calls=12")?;
        assert_eq!(told(-10, "Drift")?.0, json!([0.01, 0.25, begun, 0.52, 160 * 60, 12]));

        // Below a limit, lower is worse.
        for (minute, ratio) in [(-9, "0.7"), (-8, "0.5"), (-7, "0.6")] {
            status("Groups", minute, "crit", ",limit=0.8", &format!("ratio={ratio}"))?;
        }
        assert_eq!(told(-7, "Groups")?.0, json!([0.6, 0.8, since(-9), 0.5, null, null]));
        // A check of somebody's own, which looks at text, and has a limit that is no number.
        status("Text", -6, "crit", ",limit=a\\ lot", "state=\"down\"")?;
        let (keys, details) = told(-6, "Text")?;
        assert_eq!(keys, json!([null, null, since(-6), null, null, null]));
        ensure!(details.starts_with("Value: down\nLimit: a lot\nSince: "), "{details}");
        // InfluxDB keeps statuses for a week. When something began that was critical before is not known.
        status("Old", 30 - 7 * 24 * 60, "crit", ",limit=1", "x=2")?;
        status("Old", -5, "crit", ",limit=1", "x=3")?;
        assert_eq!(told(-5, "Old")?.0, json!([3, 1, null, 3, null, null]));
        status("Old", -4, "ok", ",limit=1", "x=0")?;
        assert_eq!(told(-4, "Old")?.0, json!([0, 1, null, 3, null, null]));
        ensure!(alerts.run(HTTP, -3)?.is_empty(), "something is told twice");
        Ok(())
    });
}

#[test]
fn applied_again_a_task_is_there_once() {
    let _turn = turn();
    stack::test("senders-again", |dir| {
        let influxdb = Influxdb::start_empty(dir)?;
        let template = dir.write("slack.yml", generated("slack-template", &["--slack-url", "http://127.0.0.1:1/"]))?;
        let applied = influxdb.apply(&template, &[])?;
        let stack = format!("--stack-id={}", applied["stackID"].as_str().context("no stack")?);
        influxdb.apply(&template, &[&stack])?;
        let tasks = influxdb.list("tasks")?;
        ensure!(tasks.len() == 1 && tasks[0]["name"] == "Slack Alert", "{tasks:?}");
        Ok(())
    });
}

/// The files differ in what is sent, and where; in nothing else.
#[test]
fn all_receivers_are_served_alike() -> Result<()> {
    let mut rest = BTreeSet::new();
    for name in NAMES {
        let flux = flux_of(&file(&format!("influxdb-{}.yml", name.to_lowercase())), &format!("{name} Alert"))?;
        let (_, flux) = flux.split_once("\nago = ").context("the part that all share")?;
        let at = flux.find("\nare = ").context("the end of what is about states")?;
        let end = flux[at + 1..].find('\n').context("a line")? + at + 1;
        let (_, due) = flux.split_once("\n// Usually few models have").context("what is due")?;
        rest.insert([flux[..end].to_owned(), due.to_owned()].concat());
    }
    ensure!(rest.len() == 1, "they differ in what all should share");
    Ok(())
}
