//! The dashboard of drift: what each cell has to show, computed from the points that it is about.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use fixtures::telegraf;
use jiff::Timestamp;
use stack::{Row, Value};

use crate::dashboards::calls::{DAY, HOUR, ODD_METRIC, ODD_NAME, ODD_OWNER, ODD_VERSION, share};
use crate::dashboards::expected::{
    ALL, Choice, Expected, Labels, Line, Shown, float, owner_and_name, plain, row, text, time,
};

/// Owner, name and version of an algorithm; the first and the last may be empty.
pub type Model = [&'static str; 3];

/// The values of a metric that a version reported in an hour, as they are counted: how many are not above each edge.
pub struct Hour {
    pub model: Model,
    pub metric: &'static str,
    pub time: i64,
    pub counts: Vec<(f64, i64)>,
    pub total: i64,
    /// How many of the values are extreme, and mean and standard deviation of the others.
    pub extreme: i64,
    pub mean: f64,
    pub stddev: f64,
}

/// Beyond this, values are extreme.
const EXTREME: f64 = 1e100;

/// A point of `algorithmia_drift`, about the hour that ended then.
pub struct Measure {
    pub model: Model,
    pub metric: &'static str,
    pub group: &'static str,
    pub time: i64,
    pub fields: BTreeMap<&'static str, f64>,
    /// What it was compared with: a version, and the time of its calls.
    pub reference: Option<(&'static str, Range<i64>)>,
}

/// All that there is to show.
#[derive(Default)]
pub struct Drift {
    pub hours: Vec<Hour>,
    /// How many calls a version had in an hour.
    pub calls: Vec<(Model, i64, i64)>,
    pub measures: Vec<Measure>,
    /// The statuses of all checks, as they are stored.
    pub statuses: Vec<Row>,
}

type Expectation = fn(&Drift, &Choice) -> Expected;

/// The cells that have queries, and what each of these has to show.
pub const CELLS: &[(&str, &[Expectation])] = &[
    ("Highest PSI", &[highest]),
    ("What Drifted", &[ranked]),
    ("Latest Status of Each Check of Drift", &[statuses]),
    (
        "PSI of Each Metric",
        &[
            |drift, choice| bound(&drift.measured(choice, "psi"), ("metric", "WARN above 0.1"), 0.1),
            |drift, choice| bound(&drift.measured(choice, "psi"), ("metric", "CRIT above 0.25"), 0.25),
            |drift, choice| lines(&drift.measured(choice, "psi"), 1.0, &["metric"]),
        ],
    ),
    ("Missing Values of Each Metric", &[|drift, choice| lines(&drift.measured(choice, "missing"), 100.0, &["metric"])]),
    (
        "PSI of the Metric",
        &[
            |drift, choice| bound(&drift.of_metric(choice, "psi"), ("algorithm_version", "WARN above 0.1"), 0.1),
            |drift, choice| bound(&drift.of_metric(choice, "psi"), ("algorithm_version", "CRIT above 0.25"), 0.25),
            |drift, choice| lines(&drift.of_metric(choice, "psi"), 1.0, &[]),
        ],
    ),
    (
        "Shift of Mean and Median",
        &[|drift, choice| {
            let fields = ["mean_shift", "median_shift"];
            let measured = fields.into_iter().flat_map(|field| drift.of_metric(choice, field)).collect::<Vec<_>>();
            lines(&measured, 1.0, &["_field"])
        }],
    ),
    ("Reference and Current, of 1,000 Values Each", &[reference_and_current]),
    ("Where the Values Went: the Bins of the PSI", &[bins]),
    ("Versions, of 1,000 Values Each", &[versions]),
    ("Mean of Each Version over Time", &[means]),
    ("Versions in Numbers", &[numbers]),
    ("Approvals of Each Group", &[|drift, choice| lines(&drift.measured(choice, "approvals"), 100.0, &["group"])]),
    (
        "Difference: Highest less Lowest",
        &[|drift, choice| lines(&drift.measured(choice, "approvals_difference"), 100.0, &[])],
    ),
    (
        "Ratio: Lowest to Highest",
        &[
            |drift, choice| {
                bound(&drift.measured(choice, "approvals_ratio"), ("algorithm_version", "four fifths"), 0.8)
            },
            |drift, choice| lines(&drift.measured(choice, "approvals_ratio"), 1.0, &[]),
        ],
    ),
];

/// A field of a point.
#[derive(Clone, Copy)]
struct Measured<'a> {
    of: &'a Measure,
    field: &'static str,
    value: f64,
}

/// Cells show a day at least.
fn shown(choice: &Choice, time: i64) -> bool {
    (choice.start.min(choice.stop - DAY)..choice.stop).contains(&time)
}

fn of_owner(choice: &Choice, [owner, ..]: Model) -> bool {
    choice.owner == ALL || (choice.owner == owner && !owner.is_empty())
}

fn of_algorithm(choice: &Choice, model: Model) -> bool {
    of_owner(choice, model) && model[1] == choice.algorithm
}

fn of_version(choice: &Choice, model: Model) -> bool {
    of_algorithm(choice, model) && (choice.version == ALL || (choice.version == model[2] && !model[2].is_empty()))
}

impl Drift {
    /// A field of all points of the owner that are shown.
    fn of_owner(&self, choice: &Choice, field: &'static str) -> Vec<Measured<'_>> {
        let measures = self.measures.iter().filter(|of| shown(choice, of.time) && of_owner(choice, of.model));
        measures.filter_map(|of| Some(Measured { of, field, value: *of.fields.get(field)? })).collect()
    }

    /// The same, of the chosen algorithm and version.
    fn measured(&self, choice: &Choice, field: &'static str) -> Vec<Measured<'_>> {
        let mut measured = self.of_owner(choice, field);
        measured.retain(|measured| of_version(choice, measured.of.model));
        measured
    }

    /// The same, of the chosen metric.
    fn of_metric(&self, choice: &Choice, field: &'static str) -> Vec<Measured<'_>> {
        let mut measured = self.measured(choice, field);
        measured.retain(|measured| measured.of.metric == choice.metric);
        measured
    }

    /// What the points are in line protocol.
    pub fn lines(&self) -> String {
        let mut lines = String::new();
        let tags = |[owner, name, version]: Model| {
            [("algorithm_owner", owner), ("algorithm_name", name), ("algorithm_version", version)]
        };
        for Hour { model, metric, time, counts, total, extreme, mean, stddev } in &self.hours {
            for (edge, count) in counts {
                let edge = edge.to_string();
                let tags = tags(*model).into_iter().chain([("metric", *metric), ("le", &edge)]);
                let fields = [("count", format!("{count}i")), ("total", format!("{total}i"))];
                lines += &telegraf::line("algorithmia_histogram", tags, fields, *time);
            }
            let tags = tags(*model).into_iter().chain([("metric", *metric)]);
            let mut fields = vec![("values", format!("{total}i"))];
            if extreme < total {
                fields.extend([("mean", mean.to_string()), ("stddev", stddev.to_string())]);
            }
            if *extreme > 0 {
                fields.push(("extreme", format!("{extreme}i")));
            }
            lines += &telegraf::line("algorithmia_summary", tags, fields, *time);
        }
        for (model, time, calls) in &self.calls {
            lines += &telegraf::line("algorithmia_summary", tags(*model), [("calls", format!("{calls}i"))], *time);
        }
        for Measure { model, metric, group, time, fields, reference } in &self.measures {
            let tags = tags(*model).into_iter().chain([("metric", *metric), ("group", *group)]);
            let fields = fields.iter().map(|(field, value)| match *field {
                "reference" | "current" | "extreme" | "extreme_reference" => (*field, format!("{}i", *value as i64)),
                _ => (*field, value.to_string()),
            });
            let mut fields = fields.collect::<Vec<_>>();
            if let Some((version, Range { start, end })) = reference {
                fields.extend([
                    ("current_start", format!("{}i", time - HOUR)),
                    ("reference_version", telegraf::quoted(version)),
                    ("reference_start", format!("{start}i")),
                    ("reference_stop", format!("{end}i")),
                ]);
            }
            lines += &telegraf::line("algorithmia_drift", tags, fields, *time);
        }
        lines
    }
}

// ================================================================================================ what cells have to show

/// The last of each version and metric.
fn latest<'a>(measured: Vec<Measured<'a>>) -> BTreeMap<(Model, &'static str), Measured<'a>> {
    let mut latest = BTreeMap::new();
    for measured in measured {
        let last = latest.entry((measured.of.model, measured.of.metric)).or_insert(measured);
        if measured.of.time > last.of.time {
            *last = measured;
        }
    }
    latest
}

fn highest(drift: &Drift, choice: &Choice) -> Expected {
    let latest = latest(drift.of_owner(choice, "psi"));
    Expected::Number(latest.values().map(|measured| measured.value).reduce(f64::max))
}

/// Rows in the order of a number, from small to large.
fn in_order(mut rows: Vec<(f64, BTreeMap<String, Shown>)>) -> Expected {
    rows.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut ranked: Vec<(i64, _)> = Vec::new();
    let mut before = f64::NAN;
    for (number, row) in rows {
        let rank = ranked.last().map_or(0, |(rank, _)| *rank) + i64::from(number != before);
        ranked.push((rank, row));
        before = number;
    }
    Expected::Table(ranked)
}

/// A hundredth is the last digit.
fn hundredths(number: f64) -> String {
    ((number * 100.0).round() / 100.0).to_string()
}

/// Three decimals; numbers that are very large or very small as a multiple of a power of ten.
fn shortened(number: f64) -> Shown {
    let thousandths = |number: f64| ((number * 1000.0).round() / 1000.0).to_string();
    if number == 0.0 || (0.001..1e9).contains(&number.abs()) {
        return text(thousandths(number));
    }
    let scientific = format!("{number:e}");
    let (digits, power) = scientific.split_once('e').expect("a power");
    text(format!("{}e{power}", thousandths(digits.parse().expect("a number"))))
}

fn ranked(drift: &Drift, choice: &Choice) -> Expected {
    const FIELDS: [&str; 7] =
        ["psi", "mean_shift", "median_shift", "missing", "missing_reference", "extreme", "extreme_reference"];
    let by_field = FIELDS.map(|field| (field, latest(drift.of_owner(choice, field))));
    let series = by_field.iter().flat_map(|(_, latest)| latest.keys().copied()).collect::<BTreeSet<_>>();
    let rows = series.into_iter().map(|of| {
        let last = by_field.iter().filter_map(|(_, latest)| latest.get(&of));
        let at = last.map(|measured| measured.of.time).max().expect("of a field at least");
        let value = |name| {
            let (_, latest) = by_field.iter().find(|(field, _)| *field == name).expect("one of these");
            latest.get(&of).filter(|measured| measured.of.time == at).map(|measured| measured.value)
        };
        let ([owner, name, version], metric) = of;
        let mut row = row([
            ("algorithm", text(plain(&owner_and_name(owner, name)))),
            ("version", text(plain(version))),
            ("metric", text(plain(metric))),
            ("time", time(at)),
        ]);
        let mut set = |name: &str, shown| row.insert(name.to_owned(), shown);
        let mut rank = f64::max(0.0, value("psi").unwrap_or(0.0));
        if let Some(psi) = value("psi") {
            set("psi", shortened(psi));
            let mut all = drift.of_owner(choice, "psi");
            all.retain(|measured| (measured.of.model, measured.of.metric) == of);
            all.sort_by_key(|measured| std::cmp::Reverse(measured.of.time));
            let above = all.iter().take_while(|measured| measured.value > 0.1).collect::<Vec<_>>();
            if let Some(first) = above.last() {
                let since = Timestamp::from_nanosecond(first.of.time.into()).expect("a time");
                let before = if above.len() == all.len() { " or before" } else { "" };
                set("since", text(format!("{}{before}", since.strftime("%Y-%m-%d %H:%M"))));
            }
        }
        if let (Some(mean), Some(median)) = (value("mean_shift"), value("median_shift")) {
            let [mean, median] = [mean, median].map(|shift| match shortened(shift) {
                Shown::Is(Value::String(text)) => text,
                other => panic!("{other:?} is no text"),
            });
            set("shifts", text(format!("{mean} / {median}")));
        }
        if let (Some(now), Some(before)) = (value("missing"), value("missing_reference")) {
            set("missing", text(format!("{} % / {} %", hundredths(now * 100.0), hundredths(before * 100.0))));
            rank = rank.max(now - before);
        }
        if let (Some(now), Some(before)) = (value("extreme"), value("extreme_reference")) {
            set("extreme", text(format!("{now} / {before}")));
        }
        set(
            "drift",
            text(if rank > 0.25 {
                "much"
            } else if rank > 0.1 {
                "some"
            } else if value("psi").is_some() {
                "none"
            } else {
                "not known"
            }),
        );
        (-rank, row)
    });
    in_order(rows.collect())
}

fn statuses(drift: &Drift, choice: &Choice) -> Expected {
    let tag = |status: &Row, name: &str| match status.get(name) {
        Some(Value::String(value)) => value.clone(),
        _ => String::new(),
    };
    let mut latest: BTreeMap<_, (i64, &Row)> = BTreeMap::new();
    for status in drift.statuses.iter().filter(|status| tag(status, "_source_measurement") == "algorithmia_drift") {
        let Some(Value::Time(at)) = status.get("_time") else { panic!("a status has no time: {status:?}") };
        let owner = tag(status, "algorithm_owner");
        if shown(choice, *at) && (choice.owner == ALL || (choice.owner == owner && !owner.is_empty())) {
            let of = ["_check_name", "algorithm_owner", "algorithm_name", "algorithm_version", "metric"]
                .map(|name| tag(status, name));
            let newest = latest.entry(of).or_insert((*at, status));
            if *at > newest.0 {
                *newest = (*at, status);
            }
        }
    }
    let rows = latest.into_iter().map(|([check, owner, name, version, metric], (at, status))| {
        let level = tag(status, "_level");
        let rank = ["crit", "warn", "info", "ok"].iter().position(|other| *other == level).expect("a level");
        let row = row([
            ("level", text(level)),
            ("check", text(plain(&check))),
            ("algorithm", text(plain(&owner_and_name(&owner, &name)))),
            ("version", text(plain(&version))),
            ("metric", text(plain(&metric))),
            ("time", time(at)),
        ]);
        (rank as i64, row)
    });
    Expected::Table(rows.collect())
}

/// A line from the first of these points to the last.
fn bound(measured: &[Measured], (key, name): (&'static str, &str), value: f64) -> Expected {
    let times = measured.iter().map(|measured| measured.of.time);
    let (Some(first), Some(last)) = (times.clone().min(), times.max()) else { return Expected::Lines(Vec::new()) };
    let labels = Labels::from([(key, name.to_owned())]);
    Expected::Lines(vec![Line { labels, points: vec![(first, value), (last, value)] }])
}

/// A line for each version, and for each value of these columns too.
fn lines(measured: &[Measured], factor: f64, columns: &[&'static str]) -> Expected {
    let mut lines: BTreeMap<Labels, Vec<(i64, f64)>> = BTreeMap::new();
    for Measured { of, field, value } in measured {
        let [owner, _, version] = of.model.map(str::to_owned);
        let mut labels = Labels::from([("algorithm_owner", owner), ("algorithm_version", version)]);
        for column in columns {
            let label = match *column {
                "metric" => of.metric,
                "group" => of.group,
                _ => field,
            };
            labels.insert(column, label.to_owned());
        }
        lines.entry(labels).or_default().push((of.time, factor * value));
    }
    into_lines(lines)
}

fn into_lines(lines: BTreeMap<Labels, Vec<(i64, f64)>>) -> Expected {
    let line = |(labels, mut points): (_, Vec<(i64, f64)>)| {
        points.sort_by_key(|(time, _)| *time);
        Line { labels, points }
    };
    Expected::Lines(lines.into_iter().map(line).collect())
}

/// Counts of several hours together: of the edges at which all values were counted, in their order, and of all.
#[derive(Default)]
struct Distribution {
    counts: Vec<(f64, i64)>,
    total: i64,
}

impl Distribution {
    fn of<'a>(hours: impl Iterator<Item = &'a Hour>) -> Distribution {
        let mut edges: BTreeMap<String, (f64, i64, i64)> = BTreeMap::new();
        for hour in hours {
            for (edge, count) in &hour.counts {
                let sums = edges.entry(edge.to_string()).or_insert((*edge, 0, 0));
                (sums.1, sums.2) = (sums.1 + count, sums.2 + hour.total);
            }
        }
        let total = edges.values().map(|(.., total)| *total).max().unwrap_or_default();
        let known = edges.into_values().filter(|(.., counted)| *counted == total);
        let mut counts = known.map(|(edge, count, _)| (edge, count)).collect::<Vec<_>>();
        counts.sort_by(|a, b| a.0.total_cmp(&b.0));
        Distribution { counts, total }
    }
}

/// For each of some distributions of a metric, a thousand values that stand for all, with the time that InfluxDB gives each.
fn thousand(distributions: &[(Labels, Distribution)]) -> Expected {
    let usual = |(edge, _): &&(f64, i64)| edge.abs() <= EXTREME;
    let mut edges: Vec<f64> =
        distributions.iter().flat_map(|(_, of)| of.counts.iter().filter(usual).map(|(edge, _)| *edge)).collect();
    edges.sort_by(f64::total_cmp);
    edges.dedup();
    let few = edges.len() < 24;
    let distance = |edges: &[f64]| match edges {
        [first, .., last] => last - first,
        _ => 1.0,
    };
    let next_24 = distance(&edges[..edges.len().min(4)]);
    let little = distance(&edges) / 1000.0;
    let mut points = Vec::new();
    let some = distributions.iter().filter(|(_, distribution)| distribution.total > 0);
    for (labels, Distribution { counts, total }) in some {
        // A part of all values lies between two edges, and is as wide as a part of a second.
        let nanoseconds = |count: i64| count * 1_000_000_000 / total;
        let mut parts = Vec::new();
        let mut before: Option<(f64, i64)> = None;
        for (edge, count) in counts.iter().filter(usual) {
            let top = few && Some(edge) == edges.last();
            let low = match before {
                _ if few => *edge,
                Some((low, _)) => low,
                None if *edge >= 0.0 => (edge - next_24).max(0.0),
                None => edge - next_24,
            };
            let begin = before.map_or(0, |(_, count)| nanoseconds(count));
            parts.push((begin, nanoseconds(*count), low, if top { edge + little } else { *edge }));
            before = Some((*edge, *count));
        }
        let Some((last, count)) = before else { continue };
        let high = if Some(&last) == edges.last() { last + little } else { last };
        parts.push((nanoseconds(count), nanoseconds(*total), last, high));
        for number in 1..=1000 {
            let at = number * 1_000_000 - 500_000;
            let part = parts.iter().find(|(begin, end, ..)| (begin + 1..=*end).contains(&at));
            let (begin, end, low, high) = part.expect("all parts are all values");
            let value = low + (high - low) * (at - begin - 1) as f64 / (end - begin - 1) as f64;
            points.push((number * 1_000_000, value, labels.clone()));
        }
    }
    Expected::Cloud(points)
}

struct Compared {
    version: &'static str,
    current: Distribution,
    reference_version: &'static str,
    reference: Distribution,
}

/// The last comparison, and of several the one with the highest PSI.
fn compared(drift: &Drift, choice: &Choice) -> Option<Compared> {
    let latest = latest(drift.of_metric(choice, "psi")).into_values();
    let last = latest.max_by(|a, b| a.of.time.cmp(&b.of.time).then(a.value.total_cmp(&b.value)))?.of;
    let (version, times) = last.reference.clone().expect("a PSI comes with it");
    let within = |version: &str, times: Range<i64>| {
        let of = |hour: &&Hour| hour.model[..2] == last.model[..2] && hour.model[2] == version;
        let hours = drift.hours.iter().filter(of).filter(|hour| hour.metric == choice.metric);
        Distribution::of(hours.filter(|hour| times.contains(&hour.time)))
    };
    let model = last.model;
    Some(Compared {
        version: model[2],
        current: within(model[2], last.time - HOUR..last.time),
        reference_version: version,
        reference: within(version, times),
    })
}

fn reference_and_current(drift: &Drift, choice: &Choice) -> Expected {
    let Some(compared) = compared(drift, choice) else { return Expected::Cloud(Vec::new()) };
    let labels =
        |window: &str, version: &str| Labels::from([("window", window.to_owned()), ("version", version.to_owned())]);
    thousand(&[
        (labels("reference", compared.reference_version), compared.reference),
        (labels("current", compared.version), compared.current),
    ])
}

fn bins(drift: &Drift, choice: &Choice) -> Expected {
    let Some(Compared { reference, current, .. }) = compared(drift, choice) else {
        return Expected::Table(Vec::new());
    };
    let currents: BTreeMap<_, _> = current.counts.iter().map(|(edge, count)| (edge.to_string(), *count)).collect();
    if reference.total == 0 || current.total == 0 {
        return Expected::Table(Vec::new());
    }
    let (mut rows, mut tenth, mut below) = (Vec::new(), 0, (None, 0, 0));
    let mut bin = |up_to: Option<f64>, counts: (i64, i64)| {
        let (r, c) = ((counts.0 - below.1) as f64, (counts.1 - below.2) as f64);
        let (p, q) = ((r + 0.5) / (reference.total as f64 + 5.0), (c + 0.5) / (current.total as f64 + 5.0));
        let mut row = row([
            ("reference", float(100.0 * r / reference.total as f64)),
            ("current", float(100.0 * c / current.total as f64)),
            ("psi", float((q - p) * (q / p).ln())),
        ]);
        row.extend(below.0.map(|edge| ("above".to_owned(), shortened(edge))));
        row.extend(up_to.map(|edge| ("upTo".to_owned(), shortened(edge))));
        below = (up_to, counts.0, counts.1);
        rows.push((rows.len() as i64, row));
    };
    for (edge, count) in &reference.counts {
        let Some(current) = currents.get(&edge.to_string()) else { continue };
        let reached = 10 * count / reference.total;
        if reached > tenth && reached < 10 {
            bin(Some(*edge), (*count, *current));
        }
        tenth = reached;
    }
    bin(None, (reference.total, current.total));
    Expected::Table(rows)
}

fn of_metric<'a>(drift: &'a Drift, choice: &Choice) -> BTreeMap<Model, Vec<&'a Hour>> {
    let mut models: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for hour in &drift.hours {
        if shown(choice, hour.time) && of_algorithm(choice, hour.model) && hour.metric == choice.metric {
            models.entry(hour.model).or_default().push(hour);
        }
    }
    models
}

fn versions(drift: &Drift, choice: &Choice) -> Expected {
    let distributions = of_metric(drift, choice).into_iter().map(|([owner, _, version], hours)| {
        let labels = Labels::from([("owner", owner.to_owned()), ("version", version.to_owned())]);
        (labels, Distribution::of(hours.into_iter()))
    });
    thousand(&distributions.collect::<Vec<_>>())
}

fn means(drift: &Drift, choice: &Choice) -> Expected {
    let mut lines = BTreeMap::new();
    for ([owner, _, version], hours) in of_metric(drift, choice) {
        let labels = Labels::from([("algorithm_owner", owner.to_owned()), ("algorithm_version", version.to_owned())]);
        let known = hours.iter().filter(|hour| hour.extreme < hour.total);
        let points = known.map(|hour| (hour.time, hour.mean)).collect::<Vec<_>>();
        if !points.is_empty() {
            lines.insert(labels, points);
        }
    }
    into_lines(lines)
}

fn numbers(drift: &Drift, choice: &Choice) -> Expected {
    let models = of_metric(drift, choice);
    let order: BTreeSet<_> = models.keys().map(|[.., version]| *version).collect();
    let rows = models.into_iter().map(|(model, hours)| {
        let [owner, _, version] = model;
        let [values, extreme] = [|hour: &Hour| hour.total, |hour: &Hour| hour.extreme]
            .map(|count| hours.iter().map(|hour| count(hour)).sum::<i64>());
        let usual = (values - extreme) as f64;
        let sum = |of: &dyn Fn(&Hour) -> f64| -> f64 {
            let known = hours.iter().filter(|hour| hour.extreme < hour.total);
            known.map(|hour| (hour.total - hour.extreme) as f64 * of(hour)).sum()
        };
        let mean = sum(&|hour| hour.mean) / usual;
        let variance = sum(&|hour| hour.stddev.powi(2) + (hour.mean - mean).powi(2)) / usual;
        let calls = drift.calls.iter().filter(|(other, time, _)| *other == model && shown(choice, *time));
        let calls = calls.map(|(.., calls)| calls).sum::<i64>() as f64;
        let mut row = row([
            ("version", text(plain(version))),
            ("owner", text(plain(owner))),
            ("first", time(hours.iter().map(|hour| hour.time).min().expect("an hour at least"))),
            ("values", text(format!("{values} values"))),
            ("extreme", text(extreme.to_string())),
            ("missing", shortened(1.0 - values as f64 / calls)),
        ]);
        if usual > 0.0 {
            row.extend([("mean".to_owned(), shortened(mean)), ("stddev".to_owned(), shortened(variance.sqrt()))]);
        }
        for field in ["psi", "ks"] {
            let latest = latest(drift.of_owner(choice, field));
            row.extend(latest.get(&(model, hours[0].metric)).map(|last| (field.to_owned(), shortened(last.value))));
        }
        (order.iter().filter(|other| **other < version).count() as i64, row)
    });
    Expected::Table(rows.collect())
}

// ================================================================================================== what there is to show

/// Counts and measures of models, some of them hard on names and queries, up to the hour that begins then.
pub fn drifting(latest: i64) -> Drift {
    let mut drift = Drift::default();
    // Within the reference, the first hour of it and the last; around it; and now.
    let hours = [-192, -191, -150, -100, -50, -24, -23, -22, -5, -2, -1, 0];
    let card = "credit_card_approval";
    for (number, (model, first)) in [
        (["asli", card, "1.0.6"], -192),
        (["asli", card, "1.1.0"], -50),
        (["bob", card, "1.0.6"], -192),
        (["", "orphan", ""], -192),
        ([ODD_OWNER, ODD_NAME, ODD_VERSION], -192),
        ([ODD_OWNER, ODD_NAME, "2"], -23),
    ]
    .into_iter()
    .enumerate()
    {
        let seed = number as u64 * 1_000_000;
        for hour in hours.into_iter().filter(|hour| *hour >= first) {
            let time = latest + hour * HOUR;
            let calls = 400 + (share(seed + hour.unsigned_abs()) * 300.0) as i64;
            drift.calls.push((model, time, calls));
            for (index, metric) in ["risk_score", "approved", "stars", "n_features", ODD_METRIC].into_iter().enumerate()
            {
                let seed = seed + index as u64 * 100_000 + hour.unsigned_abs() * 1000;
                // Nine of ten calls have it.
                let count = calls * 9 / 10;
                drift.hours.push(hour_of(model, metric, time, seed, count, hour));
            }
        }
        measures(&mut drift, model, latest, seed);
    }
    extremes(&mut drift, latest);
    drift
}

/// Of one version, there are values that no sum bears, edges among them, and hours with nothing else; of another, a single
/// point; of a third there is no measure but of what is missing.
fn extremes(drift: &mut Drift, latest: i64) {
    let model = ["asli", "extremes", "1"];
    let mut add = |model: Model, metric, at: i64, counts: &[(f64, i64)], total: i64, extreme: i64| {
        let (time, counts) = (latest + at * HOUR, counts.to_vec());
        drift.calls.push((model, time, total));
        drift.hours.push(Hour { model, metric, time, counts, total, extreme, mean: 2e-5, stddev: 4e12 });
    };
    let edges = (0..30).map(|edge| (f64::from(edge) * 1e-4, 10 * i64::from(edge + 2)));
    let counts: Vec<_> = [(-f64::MAX, 10)].into_iter().chain(edges).chain([(1e200, 350), (f64::MAX, 400)]).collect();
    for hour in [-100, -30, 0] {
        add(model, "risk_score", hour, &counts, 400, 100);
    }
    for hour in [-31, -1] {
        add(model, "huge", hour, &[(1e120, 300), (1e300, 600)], 600, 600);
    }
    add(["asli", "extremes", "once"], "risk_score", -1, &[(0.25, 1)], 1, 0);
    let time = latest + HOUR;
    let mut measure = |model: Model, metric, fields: &[(&'static str, f64)]| {
        let reference = Some((model[2], time - 8 * DAY..time - DAY));
        drift.measures.push(Measure {
            model,
            metric,
            group: "",
            time,
            fields: fields.iter().copied().collect(),
            reference,
        });
    };
    let missing = [("missing", 0.01), ("missing_reference", 0.02)];
    let measured = [("psi", 0.3), ("ks", 0.2), ("reference", 800.0), ("current", 600.0)];
    let shifts = [("mean_shift", 3e104), ("median_shift", -2e-7)];
    measure(
        model,
        "risk_score",
        &[&missing[..], &measured, &shifts, &[("extreme", 100.0), ("extreme_reference", 200.0)]].concat(),
    );
    measure(model, "huge", &[&missing[..], &measured, &[("extreme", 600.0), ("extreme_reference", 0.0)]].concat());
    measure(["", "extremes", ""], "risk_score", &missing);
}

fn hour_of(model: Model, metric: &'static str, time: i64, seed: u64, count: i64, hour: i64) -> Hour {
    let moved = if hour > -5 { 0.2 } else { 0.0 };
    let values = (0..count).map(|number| share(seed + number as u64)).map(|dice| match metric {
        "risk_score" => 0.05 + dice * dice * 0.7 + moved,
        "approved" => f64::from(u8::from(dice > 0.4 + moved)),
        "stars" => (dice * 5.0 + moved * 3.0).ceil(),
        "n_features" => 23.0,
        // Its lowest edges are below 0.
        _ => (dice - 0.4) * 1e6 * (1.0 + moved),
    });
    let values = values.collect::<Vec<_>>();
    let edges: Vec<f64> = match metric {
        // Edges that came later.
        "risk_score" if hour < -120 => (6..36).map(|edge| f64::from(edge) / 50.0).collect(),
        "risk_score" => (6..=44).map(|edge| f64::from(edge) / 50.0).collect(),
        "approved" => vec![0.0, 1.0],
        "stars" => (1..=6).map(f64::from).collect(),
        "n_features" => vec![23.0],
        // None of the values lies between the last two.
        _ => (-15..=25).map(|edge| f64::from(edge) * 2e4 + 0.125).chain([9e5]).collect(),
    };
    let counts = edges.into_iter().map(|edge| (edge, values.iter().filter(|value| **value <= edge).count() as i64));
    let mean = values.iter().sum::<f64>() / count as f64;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count as f64;
    Hour { model, metric, time, counts: counts.collect(), total: count, extreme: 0, mean, stddev: variance.sqrt() }
}

/// What was measured of a version: other numbers than its counts give, so that each cell can be told to show the right ones.
fn measures(drift: &mut Drift, model: Model, latest: i64, seed: u64) {
    for (index, metric) in ["risk_score", "approved", "stars", ODD_METRIC, "gone", "constant"].into_iter().enumerate() {
        // A version of two has not been compared of late.
        let last: i64 = if model[2] == "2" { -1 } else { 0 };
        // Each version since another hour.
        for hour in 5 * (seed / 1_000_000) as i64 - 30..=last {
            let dice = |number: u64| share(seed + index as u64 * 10_000 + hour.unsigned_abs() * 100 + number);
            let mut fields = BTreeMap::from([("missing", dice(1) * 0.05), ("missing_reference", dice(2) * 0.05)]);
            if metric == "gone" && hour > -3 {
                fields.insert("missing", 1.0);
            } else {
                // Up and down, then up for good; more of some versions than of others.
                let psi = match (index + seed as usize / 1_000_000) % 3 {
                    0 if hour >= -3 => 0.26 + dice(3) * 0.1,
                    0 if hour == -4 => 0.05,
                    1 if hour >= -6 => 0.11 + dice(3) * 0.1,
                    _ => dice(3) * 0.12,
                };
                fields.extend([("psi", psi), ("ks", dice(4) * 0.3), ("reference", 3000.0), ("current", 500.0)]);
                if metric != "constant" {
                    fields.extend([("mean_shift", dice(5) * 2.0 - 1.0), ("median_shift", dice(6) * 2.0 - 1.0)]);
                }
            }
            let time = latest + (hour + 1) * HOUR;
            if metric == "approved" {
                for (number, group) in ["f", "m", "not, said"].into_iter().enumerate() {
                    let fields = [("approvals", dice(10 + number as u64)), ("approvals_reference", dice(20))];
                    drift.measures.push(Measure { model, metric, group, time, fields: fields.into(), reference: None });
                }
                fields.extend([("approvals_difference", dice(30)), ("approvals_ratio", dice(31))]);
            }
            let reference = match model {
                // A baseline is pinned.
                ["asli", _, "1.1.0"] => ("1.0.6", time - 9 * DAY..time - DAY),
                [.., version] => (version, time - 8 * DAY..time - DAY),
            };
            let reference = Some(reference);
            drift.measures.push(Measure { model, metric, group: "", time, fields, reference });
        }
    }
}
