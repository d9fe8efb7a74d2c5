//! Alerts, from calls in Kafka to what arrives at Slack, PagerDuty, an HTTP server and a mail provider: the shipped templates
//! on a real InfluxDB, with the shipped telegraf.conf before it.
//!
//! Checks tick every full minute, so these tests take minutes, in which they mostly wait. With ALGORITHMIA_LONG_TESTS=1
//! healthy models are watched for ten minutes. What was measured is written to stderr:
//! `cargo test -p e2e alerts:: -- --nocapture`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::pagerduty::PagerDuty;
use crate::support::{LONG, TOPIC, environment, keep_secret, long_tests, shipped_configuration, text, turn};
use anyhow::{Context, Result, bail, ensure};
use fixtures::{program, repository};
use serde_json::json;
use stack::{BUCKET, Dir, Influxdb, Kafka, Receiver, Request, Row, Telegraf, Value, wait_for};

/// Milliseconds. Times are milliseconds since 1970, ticks are the times of full minutes.
const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

/// How long checks wait for the calls of their minute.
const OFFSET: i64 = 15 * SECOND;

/// How many minutes before a tick are looked at again, for calls that come late.
const LOOK_BACK: i64 = 17;

const PAGERDUTY_KEY: &str = "routing-key-that-is-a-secret";
const EMAIL_TOKEN: &str = "email-token-that-is-a-secret";
const HTTP_TOKEN: &str = "http-token-that-is-a-secret";
const SLACK_PATH: &str = "/services/T0/B0/that-is-a-secret";

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64
}

fn sleep_until(time: i64) {
    thread::sleep(Duration::from_millis((time - now()).max(0) as u64));
}

fn first_tick_after(time: i64) -> i64 {
    (time / MINUTE + 1) * MINUTE
}

/// As text in UTC.
fn timestamp(time: i64) -> String {
    jiff::Timestamp::from_millisecond(time).expect("a time").to_string()
}

/// A model, and what its calls give at the moment.
#[derive(Clone)]
struct Model {
    owner: &'static str,
    name: &'static str,
    version: &'static str,
    risk: f64,
    duration: f64,
}

/// A model. Without an owner or version, its calls do not say any.
const fn model(owner: &'static str, name: &'static str, version: &'static str, risk: f64, duration: f64) -> Model {
    Model { owner, name, version, risk, duration }
}

/// `owner/name version`, of what there is.
fn series(owner: &str, name: &str, version: &str) -> String {
    let slash = if owner.is_empty() { "" } else { "/" };
    format!("{owner}{slash}{name} {version}").trim_end().to_owned()
}

struct Call {
    model: Model,
    /// When it was made.
    time: i64,
    /// When its message was produced.
    sent: i64,
}

impl Call {
    fn made(model: &Model, time: i64) -> Call {
        Call { model: model.clone(), time, sent: now() }
    }
}

/// Fields of statuses, and what they are called to people.
const FIELDS: [(&str, &str); 6] = [
    ("value", "Value"),
    ("rejected", "Value"),
    ("lag_mean_ms", "Value"),
    ("limit", "Limit"),
    ("since", "Since"),
    ("worst", "Worst"),
];

/// How long it was critical, of what is over.
fn lasted(row: &Row) -> String {
    let seconds = text(row, "lasted").parse::<i64>().ok().filter(|_| text(row, "_level") == "ok");
    match seconds {
        Some(0) => "0ns".to_owned(),
        Some(seconds) => format!("{}m", seconds / 60),
        None => String::new(),
    }
}

fn calls(row: &Row) -> String {
    let [above, calls] = ["above", "calls"].map(|field| text(row, field));
    if calls.is_empty() { calls } else { format!("{above} of {calls}") }
}

/// A status that a check wrote.
#[derive(Clone, Debug)]
struct Status {
    check: String,
    owner: String,
    name: String,
    version: String,
    /// That of a Telegraf, where the status is about one.
    host: String,
    level: String,
    message: String,
    /// The other fields that people are told of, each with what its line is called.
    details: Vec<(&'static str, String)>,
    tick: i64,
}

impl Status {
    fn of(row: &Row) -> Result<Status> {
        let Some(Value::Time(time)) = row.get("_time") else { bail!("a status without a time: {row:?}") };
        Ok(Status {
            check: text(row, "_check_name"),
            owner: text(row, "algorithm_owner"),
            name: text(row, "algorithm_name"),
            version: text(row, "algorithm_version"),
            host: text(row, "host"),
            level: text(row, "_level"),
            message: text(row, "_message"),
            details: FIELDS
                .iter()
                .map(|(field, name)| (*name, text(row, field)))
                .chain([("Lasted", lasted(row)), ("Calls above the limit", calls(row))])
                .filter(|(_, value)| !value.is_empty())
                .collect(),
            tick: time / 1_000_000,
        })
    }

    fn series(&self) -> String {
        series(&self.owner, &self.name, &self.version)
    }
}

/// InfluxDB's own checks store a value and a limit. What else people are told of follows from the statuses before, which are
/// in order of time.
fn add_what_was_before(statuses: &mut [Status]) {
    struct Incident {
        since: i64,
        worst: String,
        until: Option<i64>,
    }
    let number = |text: &str| text.parse::<f64>().expect("a number");
    let mut incidents: BTreeMap<(String, String), Incident> = BTreeMap::new();
    let own = |status: &&mut Status| ["Rejected Messages", "Late Messages"].contains(&status.check.as_str());
    for status in statuses.iter_mut().filter(own) {
        let value = status.details[0].1.clone();
        let key = (status.check.clone(), status.host.clone());
        match (status.level.as_str(), incidents.get_mut(&key)) {
            ("crit", Some(incident)) if incident.until.is_none() => {
                let worst = std::mem::take(&mut incident.worst);
                incident.worst = if number(&value) > number(&worst) { value } else { worst };
            }
            ("crit", _) => {
                incidents.insert(key.clone(), Incident { since: status.tick, worst: value, until: None });
            }
            ("ok", Some(incident)) => incident.until = incident.until.or(Some(status.tick)),
            _ => {}
        }
        let Some(Incident { since, worst, until }) = incidents.get(&key) else { continue };
        status.details.push(("Since", format!("{}Z", &timestamp(*since)[..16])));
        status.details.push(("Worst", worst.clone()));
        let lasted = until.map(|until| (until - since) / MINUTE).filter(|_| status.level == "ok");
        status.details.extend(lasted.map(|minutes| ("Lasted", format!("{minutes}m"))));
    }
}

/// How bad a minute is to a check that is a task, by the calls that it knows of at a tick.
fn level_of_minute(check: &str, of_model: &[&Call], minute: i64, tick: i64) -> Option<&'static str> {
    let of_minute = of_model.iter().filter(|call| call.sent < tick + OFFSET && call.time / MINUTE * MINUTE == minute);
    match check {
        "Risk Score Alert" => {
            let highest = of_minute.map(|call| call.model.risk).reduce(f64::max)?;
            Some(if highest > 0.7 { "crit" } else { "ok" })
        }
        // All calls of a minute take as long in these tests, so any percentile is any of them.
        _ => of_minute.map(|call| call.model.duration).next().map(|ms| match ms {
            5000.1.. => "crit",
            1000.1.. => "warn",
            _ => "ok",
        }),
    }
}

/// What a check should say of each series, by the calls that it can know of.
fn expected(check: &str, calls: &[Call], tick: i64) -> BTreeMap<String, &'static str> {
    let mut of_series: BTreeMap<String, Vec<&Call>> = BTreeMap::new();
    for call in calls.iter().filter(|call| call.sent < tick + OFFSET) {
        let Model { owner, name, version, .. } = call.model;
        let version = if check == "Silent Algorithm" { "" } else { version };
        of_series.entry(series(owner, name, version)).or_default().push(call);
    }
    let level = |calls: &[&Call]| {
        if check == "Silent Algorithm" {
            let last = calls.iter().map(|call| call.time).filter(|time| *time < tick).max()?;
            return Some(if last < tick - HOUR { "warn" } else { "ok" });
        }
        // A minute counts for three ticks from the first at which it is that bad.
        let minutes = |tick: i64| (1..=LOOK_BACK).map(move |ago| tick - ago * MINUTE);
        let at = |tick: i64| minutes(tick).map(move |minute| (minute, level_of_minute(check, calls, minute, tick)));
        let news = |tick: i64, level: &str| {
            at(tick).any(|(minute, now)| {
                let before = level_of_minute(check, calls, minute, tick - MINUTE);
                now == Some(level) && (before != now || minute == tick - MINUTE)
            })
        };
        let lately = |level: &str| (0..3).any(|ago| news(tick - ago * MINUTE, level));
        let called = at(tick).any(|(_, level)| level.is_some());
        ["crit", "warn"].into_iter().find(|level| lately(level)).or(called.then_some("ok"))
    };
    of_series.into_iter().filter_map(|(series, calls)| Some((series, level(&calls)?))).collect()
}

/// The statuses of each check and series, in order of time.
fn by_series(statuses: &[Status]) -> Vec<Vec<&Status>> {
    let mut all: BTreeMap<(&str, String), Vec<&Status>> = BTreeMap::new();
    for status in statuses {
        all.entry((&status.check, status.series())).or_default().push(status);
    }
    for series in all.values_mut() {
        series.sort_by_key(|status| status.tick);
    }
    all.into_values().collect()
}

/// What should be told: each change to critical, and each return.
fn told(statuses: &[Status]) -> Vec<Status> {
    let mut told = Vec::new();
    for series in by_series(statuses) {
        let mut critical = false;
        for status in series {
            if status.level == "crit" && !critical || status.level == "ok" && critical {
                critical = !critical;
                told.push(status.clone());
            }
        }
    }
    told
}

/// In an order of their own, for comparison.
fn sorted<T: fmt::Debug>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut items: Vec<T> = items.into_iter().collect();
    items.sort_by_cached_key(|item| format!("{item:?}"));
    items
}

/// The whole road, and all whom alerts reach.
struct Road {
    kafka: Kafka,
    influxdb: Influxdb,
    telegraf: Telegraf,
    slack: Receiver,
    http: Receiver,
    email: Receiver,
    pagerduty: PagerDuty,
    calls: Vec<Call>,
}

impl Road {
    /// Starts all servers, with all templates in InfluxDB.
    fn start(dir: &Dir) -> Result<Road> {
        let pagerduty = PagerDuty::start(dir)?;
        let (slack, http, email) = (Receiver::start()?, Receiver::start()?, Receiver::start()?);
        email.answer_with(202)?;

        let influxdb = Influxdb::start_with(dir, BUCKET, pagerduty.environment())?;
        keep_secret(&influxdb, "pagerduty-routing-key", PAGERDUTY_KEY)?;
        keep_secret(&influxdb, "email-api-token", EMAIL_TOKEN)?;
        keep_secret(&influxdb, "alerts-http-token", HTTP_TOKEN)?;
        influxdb.apply(&repository("telegraf/influxdb-template.yml"), &[])?;
        influxdb.apply(&generate(dir, "slack-template", &["--slack-url", &(slack.url() + SLACK_PATH)])?, &[])?;
        influxdb.apply(&generate(dir, "pagerduty-template", &[])?, &[])?;
        let template = generate(dir, "http-template", &["--http-url", &http.url()])?;
        use_bearer(&template)?;
        influxdb.apply(&template, &[])?;
        let url = email.url() + "/v3/mail/send";
        let options = ["--email-url", &url, "--email-from", "from@example.org"];
        let recipients = ["--email-to", "you@example.org", "--email-to", "all@example.org"];
        influxdb.apply(&generate(dir, "email-template", &[options, recipients].concat())?, &[])?;

        let kafka = Kafka::start(dir)?;
        kafka.create_topic(TOPIC, 1)?;
        let variables = environment(dir, kafka.broker(), influxdb.url());
        let telegraf = Telegraf::start(dir, shipped_configuration(), variables)?;
        Ok(Road { kafka, influxdb, telegraf, slack, http, email, pagerduty, calls: Vec::new() })
    }

    /// What Slack, HTTP, mail and PagerDuty have got.
    fn requests(&self) -> [Vec<Request>; 4] {
        [self.slack.requests(), self.http.requests(), self.email.requests(), self.pagerduty.requests()]
    }

    /// Calls models, each at the time given with it.
    fn call(&mut self, calls: impl IntoIterator<Item = Call>) -> Result<()> {
        let first = self.calls.len();
        self.calls.extend(calls);
        let messages = self.calls[first..].iter().enumerate().map(|(index, Call { model, time, .. })| {
            let mut message = json!({
                "algorithm_name": model.name,
                "risk_score": model.risk,
                "duration_milliseconds": model.duration,
                "request_id": format!("req-{}", first + index),
                "time": timestamp(*time),
            });
            for (key, value) in [("algorithm_owner", model.owner), ("algorithm_version", model.version)] {
                if !value.is_empty() {
                    message[key] = value.into();
                }
            }
            message.to_string()
        });
        self.kafka.produce(TOPIC, messages)
    }

    /// Calls all these models every few seconds, until a time.
    fn call_until(&mut self, time: i64, models: &[Model]) -> Result<()> {
        loop {
            let made = now();
            if made >= time {
                return Ok(());
            }
            self.telegraf.ensure_running()?;
            self.influxdb.ensure_running()?;
            self.call(models.iter().map(|model| Call::made(model, made)))?;
            sleep_until(time.min(made + 4 * SECOND));
        }
    }

    /// All statuses that are there, in order of time.
    fn statuses(&self) -> Result<Vec<Status>> {
        let rows = self.influxdb.query(
            r#"from(bucket: "_monitoring")
                |> range(start: -1h)
                |> filter(fn: (r) => r._measurement == "statuses")
                |> toString()
                |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")"#,
        )?;
        let mut statuses = rows.iter().map(Status::of).collect::<Result<Vec<_>>>()?;
        statuses.sort_by_key(|status| status.tick);
        add_what_was_before(&mut statuses);
        Ok(statuses)
    }

    /// Waits until the checks have looked at a minute, and compares what they say of models with their calls.
    fn ensure_statuses_follow_from_calls(&self, tick: i64) -> Result<()> {
        for check in ["Risk Score Alert", "Duration Alert", "Silent Algorithm"] {
            let expected = expected(check, &self.calls, tick);
            let of_tick = || -> Result<Vec<Status>> {
                let statuses = self.statuses()?;
                Ok(statuses.into_iter().filter(|status| status.check == check && status.tick == tick).collect())
            };
            // If they do not come, the comparison says which.
            let _ = wait_for("all statuses of a tick", LONG, || Ok((of_tick()?.len() >= expected.len()).then_some(())));
            let statuses = of_tick()?;
            let levels: Vec<_> = sorted(statuses.iter().map(|status| (status.series(), status.level.as_str())));
            assert_eq!(levels, sorted(expected), "{check} at {}", timestamp(tick));
        }
        Ok(())
    }

    /// What became of notifications: rule, series, level, and whether it was sent.
    fn sent(&self) -> Result<Vec<(String, String, String, bool)>> {
        let rows = self.influxdb.query(
            r#"from(bucket: "_monitoring")
                |> range(start: -1h)
                |> filter(fn: (r) => r._measurement == "notifications" and r._field == "_message")
                |> rename(columns: {_value: "_message"})"#,
        )?;
        rows.iter()
            .map(|row| {
                let status = Status::of(row)?;
                let sent = text(row, "_sent") == "true";
                Ok((text(row, "_notification_rule_name"), status.series(), status.level, sent))
            })
            .collect()
    }

    /// That nothing secret is in a log.
    fn ensure_logs_keep_secrets(&self) -> Result<()> {
        let secrets = [PAGERDUTY_KEY, EMAIL_TOKEN, HTTP_TOKEN, SLACK_PATH, stack::TOKEN];
        for (server, log) in [("InfluxDB", self.influxdb.log()), ("Telegraf", self.telegraf.log())] {
            for secret in secrets {
                ensure!(!log.contains(secret), "{server}'s log has {secret}:\n{log}");
            }
        }
        Ok(())
    }
}

/// Writes a template as the command gives it into a file.
fn generate(dir: &Dir, kind: &str, options: &[&str]) -> Result<PathBuf> {
    let output = Command::new(program()).args(["generate", kind]).args(options).output()?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "generate {kind} failed: {complaint}");
    dir.write(&format!("{kind}.yml"), output.stdout)
}

/// Has alerts sent to the HTTP server with a token, as the comments of its template tell.
fn use_bearer(template: &Path) -> Result<()> {
    let mut text = fs::read_to_string(template)?;
    let mut change = |from: &str, to: &str| {
        assert_eq!(text.matches(from).count(), 1, "{from:?} in the template:\n{text}");
        text = text.replace(from, to);
    };
    change("    headers = [\"Content-Type\": \"application/json\"]\n", "");
    change("    // token = ", "    token = ");
    change("    // headers = ", "    headers = ");
    Ok(fs::write(template, text)?)
}

/// A mail as it was sent: subject and text.
fn mail(request: &Request) -> Result<(String, String)> {
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/v3/mail/send"));
    assert_eq!(request.header("authorization"), Some(format!("Bearer {EMAIL_TOKEN}").as_str()));
    assert_eq!(request.header("content-type"), Some("application/json"));
    let body = request.json()?;
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let (subject, content) = (text(&body["subject"]), text(&body["content"][0]["value"]));
    let expected = json!({
        "personalizations": [{"to": [{"email": "you@example.org"}, {"email": "all@example.org"}]}],
        "from": {"email": "from@example.org"},
        "subject": subject,
        "content": [{"type": "text/plain", "value": content}],
    });
    assert_eq!(body, expected);
    Ok((subject, content.trim_end().to_owned()))
}

/// What a sender says of a status, to the letter.
fn said(sender: &str, status: &Status) -> String {
    let Status { check, message, owner, name, version, tick, .. } = status;
    let mut text = format!("Notification Rule: {sender} triggered by check: {check}: {message}");
    let time = timestamp(*tick);
    let about = [("Owner", owner), ("Algorithm", name), ("Version", version)];
    let details = status.details.iter().map(|(name, value)| (*name, value));
    for (name, value) in about.into_iter().chain(details).chain([("Time", &time)]) {
        if !value.is_empty() {
            text += &format!("\n{name}: {value}");
        }
    }
    text
}

/// What a sender says of it in short.
fn title(status: &Status) -> String {
    let about = format!("{} {}", status.series(), status.host);
    let about = if about.trim().is_empty() { String::new() } else { format!(": {}", about.trim()) };
    format!("{}{about} is {}", status.check, status.level)
}

/// That a sender told what was to be told, each once, by the text of one of its statuses. (If it is told late, there is a
/// newer one.)
fn ensure_told(sender: &str, texts: &[String], statuses: &[Status], told: &[Status]) -> Result<()> {
    let status = |text: &String| statuses.iter().find(|status| said(sender, status) == *text);
    let found = texts.iter().map(|text| status(text).with_context(|| format!("{sender} says of no status: {text:?}")));
    let key = |status: &Status| (status.check.clone(), status.series(), status.level.clone());
    let found = found.map(|status| status.map(key)).collect::<Result<Vec<_>>>()?;
    assert_eq!(sorted(found), sorted(told.iter().map(key)), "{sender}");
    Ok(())
}

/// Models whose calls are all right.
fn healthy() -> Vec<Model> {
    vec![
        model("asli", "credit", "1.0.6", 0.2, 20.0),
        model("asli", "credit", "1.0.7", 0.3, 30.0),
        model("emma", "credit", "1.0.6", 0.1, 20.0),
        // The thresholds themselves.
        model("asli", "fraud", "2.0.0", 0.7, 1000.0),
        model("asli", "versionless", "", 0.4, 20.0),
        model("", "ownerless", "1.0.0", 0.4, 20.0),
        model("asli", "slow", "1.0.0", 0.4, 20.0),
        model("asli", "stuck", "1.0.0", 0.4, 20.0),
        model("asli", "unlucky", "1.0.0", 0.4, 20.0),
        IN_THE_LAST_MILLISECOND,
        ON_ITS_WAY,
    ]
}

const IN_THE_LAST_MILLISECOND: Model = model("asli", "in-the-last-millisecond", "1.0.0", 0.4, 20.0);
const ON_ITS_WAY: Model = model("asli", "on-its-way", "1.0.0", 0.4, 20.0);
/// Called in two minutes only, which are not next to each other.
const RARE: Model = model("asli", "rare", "1.0.0", 0.4, 20.0);
/// Called when nobody takes alerts.
const UNLUCKY: Model = model("asli", "unlucky", "1.0.0", 0.95, 20.0);
/// Called once, and an hour later.
const BACKLOG: Model = model("asli", "backlog", "1.0.0", 0.4, 20.0);

/// The healthy models, some of which have changed.
fn healthy_but_for(changes: &[Model]) -> Vec<Model> {
    let key = |model: &Model| (model.owner, model.name, model.version);
    let change = |model: Model| changes.iter().find(|change| key(change) == key(&model)).cloned().unwrap_or(model);
    healthy().into_iter().map(change).collect()
}

/// Lets everything go wrong before the second of these ticks, and all be well before the others. Nobody takes the alerts of
/// the first. Gives how many of Slack, HTTP, mail and PagerDuty were tried in vain.
fn play(road: &mut Road, ticks: [i64; 5]) -> Result<[usize; 4]> {
    for receiver in [&road.slack, &road.http, &road.email] {
        receiver.answer_with(500)?;
    }
    road.pagerduty.answer_with(500)?;
    sleep_until(ticks[0] - MINUTE);
    let risky_rare = Model { risk: 0.9, ..RARE };
    road.call([Call::made(&risky_rare, now())])?;
    road.call_until(ticks[0], &healthy_but_for(&[UNLUCKY]))?;

    let bad = healthy_but_for(&[
        model("asli", "credit", "1.0.6", 0.93, 20.0),
        model("asli", "versionless", "", 0.99, 20.0),
        model("", "ownerless", "1.0.0", 0.99, 20.0),
        model("asli", "slow", "1.0.0", 0.4, 3000.0),
        model("asli", "stuck", "1.0.0", 0.4, 8000.0),
    ]);
    road.call_until(ticks[0] + 20 * SECOND, &bad)?;
    road.kafka.produce(TOPIC, ["{\"no\": \"JSON\""])?;
    road.call((0..40).map(|index| Call::made(&BACKLOG, now() - HOUR - MINUTE + index)))?;
    road.call_until(ticks[1] - SECOND, &bad)?;
    sleep_until(ticks[1] - 1);
    road.call([Call::made(&Model { risk: 0.99, ..IN_THE_LAST_MILLISECOND }, ticks[1] - 1)])?;
    sleep_until(ticks[1] + 1500);
    road.call([Call::made(&Model { risk: 0.99, ..ON_ITS_WAY }, ticks[1] - 500)])?;

    // By then the first alerts have gone out, and the next have not.
    road.call_until(ticks[1] + 20 * SECOND, &healthy())?;
    for receiver in [&road.slack, &road.http] {
        receiver.answer_with(200)?;
    }
    road.email.answer_with(202)?;
    road.pagerduty.answer_with(202)?;
    let in_vain = road.requests().map(|requests| requests.len());

    road.kafka.produce(TOPIC, (0..61).map(|index| format!("{{\"no\": \"JSON, {index}\"")))?;
    road.call([Call::made(&BACKLOG, now()), Call::made(&RARE, now())])?;
    road.call_until(ticks[4], &healthy())?;
    Ok(in_vain)
}

#[test]
fn what_goes_wrong_is_told_to_everybody_and_so_is_its_end() {
    stack::test("alerts", |dir| {
        let mut road = Road::start(dir)?;
        let first = first_tick_after(now() + 20 * SECOND);
        let ticks: [i64; 5] = std::array::from_fn(|index| first + index as i64 * MINUTE);
        let in_vain = play(&mut road, ticks)?;

        for tick in ticks {
            road.ensure_statuses_follow_from_calls(tick)?;
        }
        ensure_critical_is_what_should_be(&road, ticks)?;
        ensure_checks_say_what_is_wrong(&road, ticks)?;

        // What the checks find goes out half a minute after the tick.
        let statuses = road.statuses()?;
        let until: Vec<_> = statuses.iter().filter(|status| status.tick <= ticks[4]).cloned().collect();
        let told = told(&until);
        // If they do not come, the comparisons say which.
        let _ = wait_for("all alerts", LONG, || {
            let counts = road.requests().map(|requests| requests.len());
            Ok(counts.iter().zip(in_vain).all(|(count, in_vain)| *count >= in_vain + told.len()).then_some(()))
        });
        // What was not taken is sent again, and what was taken is not.
        let statuses = road.statuses()?;
        let of_the_first: Vec<_> = told.iter().filter(|status| status.tick == ticks[0]).cloned().collect();
        assert_eq!(of_the_first.len(), 2);
        let [slack, http, email, pagerduty] = road.requests();
        for (requests, in_vain, of) in [
            (slack, in_vain[0], ensure_slack_was_told as fn(&[Request], &[Status], &[Status]) -> Result<()>),
            (http, in_vain[1], ensure_http_was_told),
            (email, in_vain[2], ensure_mail_was_sent),
            (pagerduty, in_vain[3], ensure_pagerduty_was_told),
        ] {
            let (in_vain, taken) = requests.split_at(in_vain);
            of(in_vain, &statuses, &of_the_first)?;
            of(taken, &statuses, &told)?;
        }
        assert_eq!(road.pagerduty.refused(), Vec::<String>::new());

        let noted = road.sent()?;
        for sender in ["Slack Alert", "HTTP Alert", "PagerDuty Alert", "Email Alert"] {
            let of = |sent: bool| noted.iter().filter(move |note| note.0 == sender && note.3 == sent).count();
            assert_eq!((of(true), of(false)), (told.len(), of_the_first.len()), "{sender}: {noted:?}");
        }
        road.ensure_logs_keep_secrets()
    });
}

/// The critical scores by themselves, lest [`expected`] be wrong: each for three minutes.
fn ensure_critical_is_what_should_be(road: &Road, ticks: [i64; 5]) -> Result<()> {
    let statuses = road.statuses()?;
    let critical = statuses.iter().filter(|status| status.check == "Risk Score Alert" && status.level == "crit");
    let critical = critical.map(|status| (status.tick, status.series()));
    let expected = [
        (ticks[0], "asli/rare 1.0.0"),
        (ticks[0], "asli/unlucky 1.0.0"),
        (ticks[1], "asli/credit 1.0.6"),
        (ticks[1], "asli/in-the-last-millisecond 1.0.0"),
        (ticks[1], "asli/on-its-way 1.0.0"),
        (ticks[1], "asli/versionless"),
        (ticks[1], "ownerless 1.0.0"),
    ];
    let expected = expected.into_iter().flat_map(|(tick, series)| (0..3).map(move |ago| (tick + ago * MINUTE, series)));
    assert_eq!(sorted(critical), sorted(expected.map(|(tick, series)| (tick, series.to_owned()))));
    Ok(())
}

/// What the other checks have found, and their texts.
fn ensure_checks_say_what_is_wrong(road: &Road, ticks: [i64; 5]) -> Result<()> {
    let of_check = |check: &str| -> Result<Vec<Status>> {
        Ok(road.statuses()?.into_iter().filter(|status| status.check == check).collect())
    };
    let wrong = |statuses: &[Status]| -> Vec<Status> {
        statuses.iter().filter(|status| status.level != "ok").cloned().collect()
    };

    let duration = wrong(&of_check("Duration Alert")?);
    let since = timestamp(ticks[0]).replace(":00Z", "Z");
    let messages = sorted(duration.into_iter().map(|status| (status.tick, status.message)));
    let said = [("crit", "stuck", 5000, 8000), ("warn", "slow", 1000, 3000)].map(|(level, name, limit, worst)| {
        format!(
            "Check: Duration Alert is: {level}: asli/{name} 1.0.0: duration_milliseconds above {limit} since {since}, \
             at worst {worst}"
        )
    });
    let expected = ticks[1..4].iter().flat_map(|tick| said.clone().map(|said| (*tick, said)));
    assert_eq!(messages, sorted(expected));

    let silent = wrong(&of_check("Silent Algorithm")?);
    assert_eq!(silent.len(), 1, "{silent:?}");
    let calls = road.calls.iter().filter(|call| call.model.name == "backlog" && call.time < ticks[0]);
    let last = timestamp(calls.map(|call| call.time).max().context("no call")?).replace('Z', "");
    let said = format!("Silent Algorithm: backlog is warn: its last call was at {last}");
    ensure!(silent[0].message.starts_with(&said), "{:?} does not start with {said:?}", silent[0].message);

    let rejected = wait_for("a minute without rejected messages", LONG, || {
        let rejected = of_check("Rejected Messages")?;
        Ok(rejected.iter().any(|status| status.tick == ticks[3]).then_some(rejected))
    })?;
    let rejected = rejected.into_iter().filter(|status| (ticks[1]..=ticks[3]).contains(&status.tick));
    let rejected: Vec<_> = rejected.map(|status| (status.tick, status.message)).collect();
    let said = |level: &str, count: usize| {
        let where_to_look = "The dashboard Algorithmia - Pipeline Health shows why";
        format!("Rejected Messages is {level}: {count} in a minute. {where_to_look}")
    };
    let expected = [(ticks[1], said("warn", 1)), (ticks[2], said("crit", 61)), (ticks[3], said("ok", 0))];
    assert_eq!(rejected, expected);

    // telegraf-algorithmia reports the lag once a minute, though not on the minute.
    let lag = wait_for("a minute without late calls", LONG, || {
        let lag = of_check("Late Messages")?;
        let late = lag.iter().position(|status| status.level == "crit");
        Ok(late.is_some_and(|late| late + 1 < lag.len()).then_some(lag))
    })?;
    let late = wrong(&lag);
    assert_eq!(late.len(), 1, "{late:?}");
    let message = &late[0].message;
    let seconds = message
        .strip_prefix("Late Messages is crit: calls reach Telegraf on ")
        .and_then(|rest| rest.strip_suffix(" s late on average"))
        .and_then(|host_and_seconds| host_and_seconds.rsplit_once(' '))
        .and_then(|(_, seconds)| seconds.parse::<f64>().ok())
        .with_context(|| message.clone())?;
    ensure!((300.0..3661.0).contains(&seconds), "{message}");
    Ok(())
}

fn ensure_slack_was_told(requests: &[Request], statuses: &[Status], told: &[Status]) -> Result<()> {
    let mut texts = Vec::new();
    for request in requests {
        assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", SLACK_PATH));
        let body = request.json()?;
        let text = body["attachments"][0]["text"].as_str().context("no text")?.to_owned();
        let color = if text.contains(" is: crit") || text.contains(" is crit") { "danger" } else { "good" };
        assert_eq!(body, json!({"attachments": [{"color": color, "mrkdwn_in": ["text"], "text": text}]}));
        texts.push(text);
    }
    // The tutorial's text comes first.
    let sentence =
        "Notification Rule: Slack Alert triggered by check: Risk Score Alert: Check: Risk Score Alert is: crit";
    let count = told.iter().filter(|status| status.check == "Risk Score Alert" && status.level == "crit").count();
    assert_eq!(texts.iter().filter(|text| text.starts_with(sentence)).count(), count);
    ensure_told("Slack Alert", &texts, statuses, told)
}

fn ensure_http_was_told(requests: &[Request], statuses: &[Status], told: &[Status]) -> Result<()> {
    let mut texts = Vec::new();
    for request in requests {
        assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/"));
        assert_eq!(request.header("authorization"), Some(format!("Bearer {HTTP_TOKEN}").as_str()));
        let body = request.json()?;
        let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
        let message = text("message");
        let status = statuses.iter().find(|status| said("HTTP Alert", status) == message);
        let status = status.with_context(|| format!("of no status: {body}"))?;
        let keys = ["check", "level", "owner", "algorithm", "version", "time"].map(text);
        let Status { check, level, owner, name, version, tick, .. } = status.clone();
        assert_eq!(keys, [check, level, owner, name, version, timestamp(tick)]);
        let value = status.details.iter().find(|(name, _)| *name == "Value");
        let value = value.map(|(_, value)| value.parse::<f64>()).transpose()?;
        assert_eq!(body["value"].as_f64(), value, "{body}");
        texts.push(message);
    }
    ensure_told("HTTP Alert", &texts, statuses, told)
}

fn ensure_mail_was_sent(requests: &[Request], statuses: &[Status], told: &[Status]) -> Result<()> {
    let mails = requests.iter().map(mail).collect::<Result<Vec<_>>>()?;
    let texts: Vec<_> = mails.iter().map(|(_, text)| text.clone()).collect();
    ensure_told("Email Alert", &texts, statuses, told)?;
    let subjects = mails.into_iter().map(|(subject, _)| subject);
    assert_eq!(sorted(subjects), sorted(told.iter().map(title)));
    Ok(())
}

fn ensure_pagerduty_was_told(requests: &[Request], statuses: &[Status], told: &[Status]) -> Result<()> {
    // By incident: what is sent with the same key is about the same.
    let mut incidents: BTreeMap<String, Vec<[String; 4]>> = BTreeMap::new();
    let mut texts = Vec::new();
    for request in requests {
        let body = request.json()?;
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/v2/enqueue"));
        assert_eq!(body["routing_key"], PAGERDUTY_KEY);
        let payload = &body["payload"];
        texts.push(text(&payload["custom_details"]["message"]));
        let event = [&body["event_action"], &payload["severity"], &payload["class"], &payload["summary"]].map(text);
        incidents.entry(text(&body["dedup_key"])).or_default().push(event);
    }
    ensure_told("PagerDuty Alert", &texts, statuses, told)?;
    let expected = by_series(told).into_iter().map(|series| {
        let event = |status: &Status| {
            let (action, severity) = if status.level == "crit" { ("trigger", "critical") } else { ("resolve", "info") };
            [action, severity, &status.check, &title(status)].map(str::to_owned)
        };
        series.into_iter().map(event).collect::<Vec<_>>()
    });
    assert_eq!(sorted(incidents.into_values()), sorted(expected));
    Ok(())
}

#[test]
fn healthy_models_are_left_in_peace() {
    stack::test("healthy", |dir| {
        let mut road = Road::start(dir)?;
        // With the thresholds themselves.
        let models = [
            model("asli", "credit", "1.0.6", 0.7, 1000.0),
            model("asli", "credit", "1.0.7", 0.2, 20.0),
            model("emma", "fraud", "2.0.0", 0.01, 999.0),
        ];
        let long = long_tests();
        let minutes = if long { 10 } else { 3 };
        let first = first_tick_after(now() + 20 * SECOND);
        let last = first + minutes * MINUTE;

        // How long each call takes until InfluxDB has it is measured on the way. Not one call a second: Telegraf writes every
        // second, and each would wait as long for that as the one before.
        let mut under_way: BTreeMap<String, Instant> = BTreeMap::new();
        let mut delays = Vec::new();
        let mut next = now();
        while now() < last {
            road.telegraf.ensure_running()?;
            if now() >= next {
                next += 937;
                let number = road.calls.len();
                under_way.insert(format!("req-{number}"), Instant::now());
                road.call([Call::made(&models[number % models.len()], now())])?;
            }
            for row in road.influxdb.query(
                r#"from(bucket: "insights")
                    |> range(start: -30s)
                    |> filter(fn: (r) => r._measurement == "algorithmia" and r._field == "request_id")"#,
            )? {
                if let Some(Value::String(id)) = row.get("_value")
                    && let Some(start) = under_way.remove(id)
                {
                    delays.push(start.elapsed());
                }
            }
            thread::sleep(Duration::from_millis(100));
        }
        delays.sort();
        let percentile = |percent: usize| delays[(delays.len() - 1) * percent / 100];
        eprintln!(
            "[alerts] from Kafka into InfluxDB, of {} calls, about one a second: half of them within {:?}, 99 % within {:?}, \
             all within {:?}",
            delays.len(),
            percentile(50),
            percentile(99),
            percentile(100),
        );

        for tick in (first..=last).step_by(MINUTE as usize) {
            road.ensure_statuses_follow_from_calls(tick)?;
        }
        let mut ticks: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
        for status in road.statuses()? {
            assert_eq!(status.level, "ok", "{status:?}");
            ticks.entry(status.check).or_default().insert(status.tick);
        }
        let count = |check: &str| ticks.get(check).map_or(0, BTreeSet::len) as i64;
        // One report a minute makes these, the first of them after a minute.
        for check in ["Rejected Messages", "Late Messages"] {
            ensure!(count(check) >= minutes - 1, "{check} has looked only {} times", count(check));
        }
        for receiver in [&road.slack, &road.http, &road.email] {
            assert_eq!(receiver.requests(), []);
        }
        assert_eq!(road.pagerduty.requests(), []);
        assert_eq!(road.pagerduty.refused(), Vec::<String>::new());
        assert_eq!(road.sent()?, []);
        road.ensure_logs_keep_secrets()
    });
}

#[test]
fn secrets_last_unless_a_template_brings_some() {
    let _turn = turn();
    stack::test("secrets", |dir| {
        let influxdb = Influxdb::start_empty(dir)?;
        let secrets = || -> Result<BTreeSet<String>> {
            let secrets = influxdb.get(&format!("/api/v2/orgs/{}/secrets", influxdb.org_id()))?;
            let keys = secrets["secrets"].as_array().into_iter().flatten();
            Ok(keys.filter_map(|key| key.as_str()).map(str::to_owned).collect())
        };
        keep_secret(&influxdb, "pagerduty-routing-key", PAGERDUTY_KEY)?;
        keep_secret(&influxdb, "email-api-token", EMAIL_TOKEN)?;
        let template = generate(dir, "pagerduty-template", &[])?;
        let result = influxdb.apply(&template, &[])?;
        let both = ["email-api-token", "pagerduty-routing-key"].map(str::to_owned);
        assert_eq!(secrets()?, both.into());

        // Applied again as the templates tell, it is still there once.
        let stack = format!("--stack-id={}", result["stackID"].as_str().context("no stack")?);
        influxdb.apply(&template, &[&stack])?;
        assert_eq!(influxdb.list("tasks")?.len(), 1);

        // Why they warn of the other ways. Should InfluxDB mend that, they need not any more.
        influxdb.apply(&template, &[])?;
        assert_eq!(influxdb.list("tasks")?.len(), 2);
        influxdb.apply(&template, &[&stack, &format!("--secret=pagerduty-routing-key={PAGERDUTY_KEY}")])?;
        assert_eq!(secrets()?, ["pagerduty-routing-key".to_owned()].into());
        Ok(())
    });
}
