//! What each cell has to show, computed from what was produced.

use std::collections::{BTreeMap, BTreeSet};

use stack::{Point, Row, Value};

use crate::dashboards::calls::{Bad, Call, DAY, MILLISECOND, MINUTE};

/// All that there is to show.
#[derive(Default)]
pub struct World {
    pub calls: Vec<Call>,
    /// Whether `--as` keeps booleans what they are.
    pub booleans: bool,
    pub rejections: Vec<Rejection>,
    /// What the processors have reported of themselves, as it is stored.
    pub reports: Vec<Point>,
    /// The statuses of all checks, as they are stored.
    pub statuses: Vec<Row>,
    /// What another program wrote as text, under keys that are numbers else: owner and name of the algorithm, field, time.
    pub texts: Vec<(&'static str, &'static str, &'static str, i64)>,
    /// The calls with the numbers that text hides, where those above have none.
    pub numbers: Vec<Call>,
    /// When this is, where a cell looks at the last days whatever the range of time.
    pub now: i64,
}

/// A message that was rejected, with what is known only when it is stored.
pub struct Rejection {
    pub bad: Bad,
    pub error: String,
    pub time: i64,
}

/// What somebody has chosen at the top of a dashboard.
#[derive(Clone, Debug)]
pub struct Choice {
    pub start: i64,
    pub stop: i64,
    pub window_ms: i64,
    pub owner: String,
    pub algorithm: String,
    pub version: String,
    pub metric: String,
}

/// What a cell shows.
#[derive(Debug)]
pub enum Expected {
    /// One number, or nothing.
    Number(Option<f64>),
    /// Lines over time. Each is known by the values of some columns; an empty value is none.
    Lines(Vec<Line>),
    /// Points of a distribution, in no order: time, value, and the values of some columns.
    Cloud(Vec<(i64, f64, Labels)>),
    /// Rows in the order of their ranks, with these columns and no others. An empty text is none.
    Table(Vec<(i64, BTreeMap<String, Shown>)>),
}

#[derive(Debug)]
pub struct Line {
    pub labels: Labels,
    pub points: Vec<(i64, f64)>,
}

pub type Labels = BTreeMap<&'static str, String>;

/// What is in a table.
#[derive(Clone, Debug)]
pub enum Shown {
    Is(Value),
    /// A number as text, without what is behind its point.
    Whole(f64),
    /// The minutes since then.
    Since(i64),
}

type Expectation = fn(&World, &Choice) -> Expected;

const MODELS: &str = "Algorithmia - ML Model Performance Metrics";
const PIPELINE: &str = "Algorithmia - Pipeline Health";

/// The cells that have queries, and what they have to show.
pub const CELLS: &[(&str, &str, Expectation)] = &[
    (MODELS, "Calls", calls),
    (MODELS, "Messages Without Error", without_error),
    (MODELS, "Models", models),
    (MODELS, "Latest Status of Each Check", latest_statuses),
    (MODELS, "Calls per Minute, the Ten Busiest Models", ten_busiest),
    (MODELS, "Left Out, as Their Type Changed", left_out),
    (MODELS, "Risk Score", |world, choice| number_and_lines(world, choice, "risk_score", 1.0, true)),
    (MODELS, "Approvals", |world, choice| number_and_lines(world, choice, "approved", 100.0, false)),
    (MODELS, "Algorithm Duration", |world, choice| number_and_lines(world, choice, DURATION, 1.0, true)),
    (MODELS, "Risk Score of the Latest Call", |world, choice| latest(world, choice, "risk_score")),
    (MODELS, "Approved", approved),
    (MODELS, "Duration of the Latest Call", |world, choice| latest(world, choice, DURATION)),
    (MODELS, "Calls per Minute", calls_per_minute),
    (MODELS, "Duration: Half, 95 % and 99 % of the Calls Took Less", percentiles),
    (MODELS, "The Metric, by Version: Mean, Highest, Lowest", metric_by_version),
    (MODELS, "Distribution of the Metric, Latest 10,000 Calls", distribution),
    (MODELS, "Distribution over Time, Latest 10,000 Calls", distribution),
    (MODELS, "Versions Side by Side", versions),
    (MODELS, "Worst Calls: the 10 Highest and the 10 Lowest of the Metric", worst_calls),
    (MODELS, "Latest 50 Calls", latest_50),
    (PIPELINE, "Messages In", |world, choice| increase(world, choice, &["converted", "rejected"])),
    (PIPELINE, "Converted", |world, choice| increase(world, choice, &["converted"])),
    (PIPELINE, "Rejected", |world, choice| increase(world, choice, &["rejected"])),
    (PIPELINE, "Dropped by Telegraf", |world, choice| increase(world, choice, &["telegraf_dropped"])),
    (PIPELINE, "Messages per Minute", messages_per_minute),
    (PIPELINE, "Lag: How Late Telegraf Reads a Call", lag),
    (PIPELINE, "Rejected, by Reason", rejected),
    (PIPELINE, "Silent Algorithms First", silent),
    (PIPELINE, "Telegraf's Buffer", buffer),
];

/// The choice that is none.
pub const ALL: &str = "(all)";

/// How long a call took, which every call should say.
const DURATION: &str = "duration_milliseconds";

/// A line or a row is always of one of these.
type Model<'a> = [&'a str; 3];

impl Choice {
    fn window(&self) -> i64 {
        self.window_ms * 1_000_000
    }

    /// The windows in which calls are counted.
    fn minutes(&self) -> i64 {
        self.window().max(MINUTE)
    }

    fn has(&self, time: i64) -> bool {
        (self.start..self.stop).contains(&time)
    }

    fn has_owner(&self, owner: &str) -> bool {
        // No choice is that of no owner.
        self.owner == ALL || (self.owner == owner && !owner.is_empty())
    }

    /// The end of the window that a time is in. The last one ends with the range.
    fn end_of_window(&self, time: i64, every: i64) -> i64 {
        ((time.div_euclid(every) + 1) * every).min(self.stop)
    }

    /// The values of each window, by its end.
    fn windows(&self, points: &[(i64, f64)]) -> BTreeMap<i64, Vec<f64>> {
        let mut windows: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (time, value) in points {
            windows.entry(self.end_of_window(*time, self.window())).or_default().push(*value);
        }
        windows
    }

    /// How many calls are in each minute, or longer window. Those that are not whole are not counted.
    fn per_minute(&self, calls: &[(i64, f64)]) -> Vec<(i64, f64)> {
        let every = self.minutes();
        let first = self.start.div_euclid(every) + i64::from(self.start % every != 0);
        let ends = (first..self.stop.div_euclid(every)).map(|window| (window + 1) * every);
        let rate = |end: i64| {
            let count = calls.iter().filter(|(time, _)| (end - every..end).contains(time)).count();
            count as f64 * MINUTE as f64 / every as f64
        };
        ends.map(|end| (end, rate(end))).collect()
    }
}

impl World {
    /// The values of a field, by model, of the calls in the range and of the owner.
    fn by_model(&self, choice: &Choice, field: &str) -> BTreeMap<Model<'_>, Vec<(i64, f64)>> {
        let mut models: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for call in self.calls.iter().filter(|call| choice.has(call.time) && choice.has_owner(&call.owner)) {
            if let Some(number) = call.number(field) {
                let model = [call.owner.as_str(), &call.name, &call.version];
                models.entry(model).or_default().push((call.time, number));
            }
        }
        models.values_mut().for_each(|values| values.sort_by_key(|(time, _)| *time));
        models
    }

    /// The times of all calls in the range and of the owner, by model.
    fn all_by_model(&self, choice: &Choice) -> BTreeMap<Model<'_>, Vec<i64>> {
        let mut models: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for call in self.calls.iter().filter(|call| choice.has(call.time) && choice.has_owner(&call.owner)) {
            models.entry([call.owner.as_str(), &call.name, &call.version]).or_default().push(call.time);
        }
        models
    }

    /// The values of a field, of the chosen algorithm in all its versions.
    fn of_algorithm(&self, choice: &Choice, field: &str) -> BTreeMap<Model<'_>, Vec<(i64, f64)>> {
        let mut models = self.by_model(choice, field);
        models.retain(|[_, name, _], _| *name == choice.algorithm);
        models
    }

    /// The same, of the chosen version.
    fn of_version(&self, choice: &Choice, field: &str) -> BTreeMap<Model<'_>, Vec<(i64, f64)>> {
        let mut models = self.of_algorithm(choice, field);
        models.retain(|[_, _, version], _| choice.version == ALL || *version == choice.version);
        models
    }

    /// The reports in the range, by host and instance: the values of a field, in order of time.
    fn reported(&self, choice: &Choice, field: &str) -> BTreeMap<(&str, &str), Vec<(i64, f64)>> {
        let mut processes: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for report in self.reports.iter().filter(|report| choice.has(report.time_ns)) {
            let tag = |key| report.tags.get(key).map_or("", String::as_str);
            if let Some(Value::Integer(value)) = report.fields.get(field) {
                processes.entry((tag("host"), tag("instance"))).or_default().push((report.time_ns, *value as f64));
            }
        }
        processes
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// What a share of all values is not above, on the way from one value to the next where it is between them: InfluxDB's
/// `exact_mean`.
fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = share * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

fn max(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

fn min(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

/// As Algorithmia writes it.
pub fn owner_and_name(owner: &str, name: &str) -> String {
    if owner.is_empty() { name.to_owned() } else { format!("{owner}/{name}") }
}

pub fn text(text: impl Into<String>) -> Shown {
    Shown::Is(Value::String(text.into()))
}

pub fn float(number: f64) -> Shown {
    Shown::Is(Value::Float(number))
}

pub fn time(time: i64) -> Shown {
    Shown::Is(Value::Time(time))
}

pub fn row<const N: usize>(columns: [(&str, Shown); N]) -> BTreeMap<String, Shown> {
    columns.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Columns of tags by which lines are known: those of a model without its name, which all have that are shown.
fn version_labels([owner, _, version]: Model<'_>) -> Labels {
    Labels::from([("algorithm_owner", owner.to_owned()), ("algorithm_version", version.to_owned())])
}

/// A line for each model that has points.
fn lines<'a, T>(
    models: BTreeMap<Model<'a>, T>,
    labels: impl Fn(Model<'a>) -> Labels,
    points: impl Fn(&T) -> Vec<(i64, f64)>,
) -> Expected {
    let lines = models.into_iter().map(|(model, values)| Line { labels: labels(model), points: points(&values) });
    Expected::Lines(lines.filter(|line| !line.points.is_empty()).collect())
}

/// A value for each window, from all values in it.
fn each_window(choice: &Choice, points: &[(i64, f64)], value: impl Fn(&[f64]) -> f64) -> Vec<(i64, f64)> {
    choice.windows(points).into_iter().map(|(end, values)| (end, value(&values))).collect()
}

fn calls(world: &World, choice: &Choice) -> Expected {
    let count: usize = world.all_by_model(choice).values().map(Vec::len).sum();
    Expected::Number((count > 0).then_some(count as f64))
}

fn without_error(world: &World, choice: &Choice) -> Expected {
    let choice = &Choice { owner: ALL.to_owned(), ..choice.clone() };
    let good: usize = world.all_by_model(choice).values().map(Vec::len).sum();
    let bad = world.rejections.iter().filter(|rejection| choice.has(rejection.time)).count();
    Expected::Number((good + bad > 0).then(|| 100.0 * good as f64 / (good + bad) as f64))
}

fn models(world: &World, choice: &Choice) -> Expected {
    let durations = world.by_model(choice, DURATION);
    let rows = world.all_by_model(choice).into_iter().map(|(model, calls)| {
        let [owner, name, version] = model;
        let last = calls.iter().max().copied().unwrap_or_default();
        let mut row = row([
            ("algorithm", text(plain(&owner_and_name(owner, name)))),
            ("version", text(plain(version))),
            ("calls", float(calls.len() as f64)),
            // A float holds no more than microseconds.
            ("last", time(last / 1000 * 1000)),
        ]);
        if let Some(durations) = durations.get(&model) {
            let values = durations.iter().map(|(_, value)| *value).collect::<Vec<_>>();
            row.insert("p95".to_owned(), Shown::Whole(quantile(&values, 0.95)));
        }
        (-(calls.len() as i64), row)
    });
    Expected::Table(rows.collect())
}

/// From the worst on.
const LEVELS: [&str; 4] = ["crit", "warn", "info", "ok"];

fn latest_statuses(world: &World, choice: &Choice) -> Expected {
    let tag = |status: &Row, name: &str| match status.get(name) {
        Some(Value::String(value)) => value.clone(),
        _ => String::new(),
    };
    let mut latest = BTreeMap::new();
    for status in &world.statuses {
        let Some(Value::Time(time)) = status.get("_time") else { panic!("a status has no time: {status:?}") };
        let owner = tag(status, "algorithm_owner");
        let ours = tag(status, "_source_measurement").starts_with("algorithmia");
        let is_recent = (world.now - 7 * DAY..).contains(time);
        if ours && is_recent && (owner.is_empty() || choice.has_owner(&owner)) {
            let of =
                ["_check_name", "algorithm_owner", "algorithm_name", "algorithm_version", "host", "instance", "metric"];
            let newest = latest.entry(of.map(|name| tag(status, name))).or_insert((*time, status));
            // What was over before it was known is critical and ok at once.
            if *time > newest.0 || *time == newest.0 && tag(status, "_level") == "ok" {
                *newest = (*time, status);
            }
        }
    }
    // Of a model's metrics, the worst.
    let mut worst: BTreeMap<_, (usize, i64)> = BTreeMap::new();
    for ([check, owner, name, version, host, instance, _], (at, status)) in latest {
        let level = tag(status, "_level");
        let rank = LEVELS.iter().position(|other| *other == level).expect("a level");
        let of = worst.entry([check, owner, name, version, host, instance]).or_insert((rank, at));
        if rank < of.0 {
            *of = (rank, at);
        }
    }
    let rows = worst.into_iter().map(|([check, owner, name, version, ..], (rank, at))| {
        let row = row([
            ("level", text(LEVELS[rank])),
            ("check", text(plain(&check))),
            ("algorithm", text(plain(&owner_and_name(&owner, &name)))),
            ("version", text(plain(&version))),
            ("time", time(at)),
        ]);
        (rank as i64, row)
    });
    Expected::Table(rows.collect())
}

fn ten_busiest(world: &World, choice: &Choice) -> Expected {
    let mut models: Vec<_> = world.by_model(choice, DURATION).into_iter().collect();
    models.sort_by_key(|(_, calls)| std::cmp::Reverse(calls.len()));
    if let Some([(_, tenth), (_, eleventh)]) = models.get(9..11) {
        assert_ne!(tenth.len(), eleventh.len(), "which of them is the tenth?");
    }
    models.truncate(10);
    let labels = |[owner, name, version]: Model<'_>| {
        let version = if version.is_empty() { String::new() } else { format!(" {version}") };
        Labels::from([("model", owner_and_name(owner, name) + &version)])
    };
    lines(models.into_iter().collect(), labels, |calls| choice.per_minute(calls))
}

/// Of a range over several of InfluxDB's shards, a field has the type that it has in the oldest of them.
fn left_out(world: &World, choice: &Choice) -> Expected {
    // Of each field and type, when it was first in the range, and when so of what is chosen.
    let mut first: BTreeMap<(&str, bool), (i64, Option<i64>)> = BTreeMap::new();
    let mut add = |field, is_text, time: i64, is_chosen: bool| {
        if choice.has(time) {
            let (any, chosen) = first.entry((field, is_text)).or_insert((time, None));
            *any = time.min(*any);
            *chosen = if is_chosen { Some(chosen.unwrap_or(time).min(time)) } else { *chosen };
        }
    };
    let is_chosen = |owner: &str, name: &str| choice.has_owner(owner) && name == choice.algorithm;
    for (owner, name, field, time) in &world.texts {
        add(field, true, *time, is_chosen(owner, name) && choice.version == ALL);
        for call in world.calls.iter().chain(&world.numbers).filter(|call| call.number(field).is_some()) {
            let is_version = choice.version == ALL || call.version == choice.version;
            add(field, false, call.time, is_chosen(&call.owner, &call.name) && is_version);
        }
    }
    let rows = first.iter().filter_map(|((field, is_text), (any, chosen))| {
        let (other, _) = first.get(&(field, !is_text))?;
        let since = chosen.filter(|_| any > other)?;
        let left_out = if *is_text { "text" } else { "numbers" };
        Some(row([("field", text(*field)), ("type", text(left_out)), ("since", time(since))]))
    });
    Expected::Table(rows.enumerate().map(|(index, row)| (index as i64, row)).collect())
}

/// Lines of the means of each version and of its highest values. The UI shows the number of the line that ends last: the mean of the
/// version called last.
fn number_and_lines(world: &World, choice: &Choice, field: &str, factor: f64, with_highest: bool) -> Expected {
    let models = world.of_version(choice, field);
    let newest = models.iter().max_by_key(|(_, values)| values.last().map(|(time, _)| *time)).map(|(model, _)| *model);
    let mut all = Vec::new();
    for (model, values) in &models {
        let after = if Some(*model) == newest { MILLISECOND } else { 0 };
        let mut line = |name: &str, after: i64, value: fn(&[f64]) -> f64| {
            let mut labels = version_labels(*model);
            if with_highest {
                labels.insert("_field", name.to_owned());
            }
            let points = each_window(choice, values, |values| factor * value(values));
            all.push(Line { labels, points: points.into_iter().map(|(time, value)| (time + after, value)).collect() });
        };
        line("mean", after, mean);
        if with_highest {
            line("highest", 0, max);
        }
    }
    Expected::Lines(all)
}

fn latest(world: &World, choice: &Choice, field: &str) -> Expected {
    // InfluxDB begins with the newest shard, so no older one hides it.
    let newest = World { calls: world.numbers.clone(), ..World::default() };
    let both = [world, &newest].map(|world| world.of_version(choice, field).into_values().flatten());
    let mut values: Vec<_> = both.into_iter().flatten().collect();
    values.sort_by_key(|(time, _)| *time);
    Expected::Number(values.last().map(|(_, value)| *value))
}

fn approved(world: &World, choice: &Choice) -> Expected {
    let models = world.of_version(choice, "approved").into_iter();
    let points = models.flat_map(|(_, values)| each_window(choice, &values, |values| 100.0 * mean(values)));
    Expected::Cloud(points.map(|(time, value)| (time, value, Labels::new())).collect())
}

fn calls_per_minute(world: &World, choice: &Choice) -> Expected {
    lines(world.of_version(choice, DURATION), version_labels, |calls| choice.per_minute(calls))
}

fn percentiles(world: &World, choice: &Choice) -> Expected {
    let mut all = Vec::new();
    for (name, share) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)] {
        for (model, values) in world.of_version(choice, DURATION) {
            let mut labels = version_labels(model);
            labels.insert("_field", name.to_owned());
            let points = each_window(choice, &values, |values| quantile(values, share));
            all.push(Line { labels, points });
        }
    }
    Expected::Lines(all)
}

fn metric_by_version(world: &World, choice: &Choice) -> Expected {
    let mut all = Vec::new();
    for (name, value) in [("mean", mean as fn(&[f64]) -> f64), ("highest", max), ("lowest", min)] {
        for (model, values) in world.of_algorithm(choice, &choice.metric) {
            let mut labels = version_labels(model);
            labels.insert("_field", name.to_owned());
            all.push(Line { labels, points: each_window(choice, &values, value) });
        }
    }
    Expected::Lines(all)
}

fn distribution(world: &World, choice: &Choice) -> Expected {
    let models = world.of_version(choice, &choice.metric).into_iter();
    let mut points: Vec<_> = models
        .flat_map(|(model, values)| values.into_iter().map(move |(time, value)| (time, value, version_labels(model))))
        .collect();
    points.sort_by_key(|(time, ..)| *time);
    points.drain(..points.len().saturating_sub(10_000));
    Expected::Cloud(points)
}

fn versions(world: &World, choice: &Choice) -> Expected {
    let models = world.of_algorithm(choice, &choice.metric);
    let order: BTreeSet<_> = models.keys().map(|[_, _, version]| *version).collect();
    let rows = models.iter().map(|([owner, _, version], values)| {
        let values = values.iter().map(|(_, value)| *value).collect::<Vec<_>>();
        let mean = mean(&values);
        let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
        let row = row([
            ("version", text(plain(version))),
            ("owner", text(plain(owner))),
            ("calls", text(format!("{} calls", values.len()))),
            ("mean", float(mean)),
            ("min", float(min(&values))),
            ("p50", float(quantile(&values, 0.5))),
            ("p95", float(quantile(&values, 0.95))),
            ("max", float(max(&values))),
            ("stddev", float((squares / values.len() as f64).sqrt())),
        ]);
        (order.iter().filter(|other| *other < version).count() as i64, row)
    });
    Expected::Table(rows.collect())
}

/// A text as tables have it, so that InfluxDB's UI keeps it together.
pub fn plain(text: &str) -> String {
    text.replace(',', "‚").replace('"', "'").replace('\n', " ")
}

/// Of equal values the latest call comes first.
fn worst_calls(world: &World, choice: &Choice) -> Expected {
    let of_choice =
        |call: &&Call| choice.has(call.time) && choice.has_owner(&call.owner) && call.name == choice.algorithm;
    let calls =
        world.calls.iter().filter(of_choice).filter(|call| choice.version == ALL || call.version == choice.version);
    let mut calls: Vec<_> = calls.filter_map(|call| Some((call.number(&choice.metric)?, call))).collect();
    let mut rows = Vec::new();
    for (first, which, sign) in [(0, "highest", -1.0), (10, "lowest", 1.0)] {
        calls.sort_by(|(a, call), (b, other)| (sign * a).total_cmp(&(sign * b)).then(other.time.cmp(&call.time)));
        for (place, (value, call)) in calls.iter().take(10).enumerate() {
            let row = row([
                ("which", text(which)),
                ("value", float(*value)),
                ("request", text(&call.request)),
                ("version", text(plain(&call.version))),
                ("owner", text(plain(&call.owner))),
                ("_time", time(call.time)),
            ]);
            rows.push((first + place as i64, row));
        }
    }
    Expected::Table(rows)
}

/// A key as the name of a column: the answer to a query has some of its own.
fn column(key: &str) -> String {
    let key = plain(key);
    if key == "result" || key == "table" { key + "\u{200b}" } else { key }
}

fn latest_50(world: &World, choice: &Choice) -> Expected {
    let mut calls: Vec<_> = world
        .calls
        .iter()
        .filter(|call| choice.has(call.time) && choice.has_owner(&call.owner) && call.name == choice.algorithm)
        .filter(|call| choice.version == ALL || call.version == choice.version)
        .collect();
    calls.sort_by_key(|call| std::cmp::Reverse(call.time));
    let rows = calls.into_iter().take(50).map(|call| {
        let mut row = row([("_time", time(call.time)), ("algorithm_version", text(plain(&call.version)))]);
        row.extend(call.texts(world.booleans).into_iter().map(|(key, value)| (column(&key), text(plain(&value)))));
        (-call.time, row)
    });
    Expected::Table(rows.collect())
}

/// How much counters have risen over the range, all processes taken together. One that is less than before has begun again at 0, and
/// so has one that has not reported before.
fn increase(world: &World, choice: &Choice, fields: &[&str]) -> Expected {
    let so_far = &Choice { start: choice.start - 30 * DAY, ..choice.clone() };
    let counters = fields.iter().flat_map(|field| world.reported(so_far, field).into_values()).collect::<Vec<_>>();
    let mut sum = None;
    for values in counters {
        let mut before = 0.0;
        for (time, value) in values {
            if choice.has(time) {
                *sum.get_or_insert(0.0) += if value < before { value } else { value - before };
            }
            before = value;
        }
    }
    Expected::Number(sum)
}

fn messages_per_minute(world: &World, choice: &Choice) -> Expected {
    let every = choice.minutes();
    let mut all = Vec::new();
    for field in ["converted", "rejected"] {
        let mut sums: BTreeMap<i64, f64> = BTreeMap::new();
        for values in world.reported(choice, field).into_values() {
            let mut rates: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
            for pair in values.windows(2) {
                let ((before, less), (now, more)) = (pair[0], pair[1]);
                // A process that begins anew says nothing of the time in between.
                if more >= less {
                    let rate = (more - less) * MINUTE as f64 / (now - before) as f64;
                    rates.entry(choice.end_of_window(now, every)).or_default().push(rate);
                }
            }
            rates.into_iter().for_each(|(end, rates)| *sums.entry(end).or_default() += mean(&rates));
        }
        all.push(Line { labels: Labels::from([("_field", field.to_owned())]), points: sums.into_iter().collect() });
    }
    all.retain(|line| !line.points.is_empty());
    Expected::Lines(all)
}

fn process_labels((host, instance): (&str, &str)) -> Labels {
    Labels::from([("host", host.to_owned()), ("instance", instance.to_owned())])
}

fn lag(world: &World, choice: &Choice) -> Expected {
    let mut all = Vec::new();
    for (name, field) in [("mean", "lag_mean_ms"), ("longest", "lag_max_ms")] {
        for (process, values) in world.reported(choice, field) {
            let mut labels = process_labels(process);
            labels.insert("_field", name.to_owned());
            all.push(Line { labels, points: each_window(choice, &values, |values| max(values) / 1000.0) });
        }
    }
    Expected::Lines(all)
}

fn buffer(world: &World, choice: &Choice) -> Expected {
    let limits = world.reported(choice, "telegraf_buffer_limit");
    let processes = world.reported(choice, "telegraf_buffer_size").into_iter();
    let lines = processes.map(|(process, sizes)| {
        let sizes = each_window(choice, &sizes, max);
        let limits = each_window(choice, &limits[&process], max);
        let points = sizes.iter().zip(limits).map(|((end, size), (_, limit))| (*end, 100.0 * size / limit)).collect();
        Line { labels: process_labels(process), points }
    });
    Expected::Lines(lines.collect())
}

fn rejected(world: &World, choice: &Choice) -> Expected {
    let mut reasons: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for rejection in world.rejections.iter().filter(|rejection| choice.has(rejection.time)) {
        reasons.entry(rejection.bad.reason).or_default().push(rejection);
    }
    let rows = reasons.into_iter().map(|(reason, rejections)| {
        let latest = rejections.iter().max_by_key(|rejection| rejection.time).expect("one at least");
        let row = row([
            ("reason", text(reason)),
            ("messages", Shown::Is(Value::Integer(rejections.len() as i64))),
            ("last", time(latest.time)),
            ("error", text(plain(&latest.error))),
            ("payload", text(plain(&latest.bad.message.chars().take(300).collect::<String>()))),
        ]);
        (-(rejections.len() as i64), row)
    });
    Expected::Table(rows.collect())
}

fn silent(world: &World, _: &Choice) -> Expected {
    let mut last: BTreeMap<_, i64> = BTreeMap::new();
    for call in world.calls.iter().filter(|call| (world.now - 7 * DAY..world.now).contains(&call.time)) {
        if call.number(DURATION).is_some() {
            let last = last.entry((&call.owner, &call.name)).or_insert(call.time);
            *last = call.time.max(*last);
        }
    }
    let rows = last.into_iter().map(|((owner, name), last)| {
        let row = row([
            ("algorithm", text(plain(&owner_and_name(owner, name)))),
            ("last", time(last)),
            ("minutes", Shown::Since(last)),
        ]);
        (last, row)
    });
    Expected::Table(rows.collect())
}
