//! What the queries of a panel give, and what the cell of the same name shows, in one form.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use serde_json::{Value as Json, json};
use stack::{Point, Value};

use crate::grafana::{ALL, Choice};

/// Columns that are not null, tags among them. Times are in milliseconds.
pub type Row = BTreeMap<String, Json>;

/// Numbers, each known by the texts in front of it.
pub type Shown = BTreeMap<Vec<String>, Vec<f64>>;

/// What a panel and its cell answer to a choice.
pub struct Answer<'a> {
    pub choice: &'a Choice<'a>,
    pub interval_ms: i64,
    /// All calls, as they are stored.
    pub points: &'a [Point],
    pub grafana: BTreeMap<String, Vec<Row>>,
    pub cell: &'a [Row],
}

/// What is shown, and what has to be.
pub type Comparison = fn(&Answer) -> Result<(Shown, Shown)>;

/// How each panel is compared with the cell of its name.
pub const PANELS: &[(&str, Comparison)] = &[
    ("Calls", number),
    ("Messages Without Error", without_error),
    ("Models", models),
    ("Latest Status of Each Check", statuses),
    ("Calls per Minute, the Ten Busiest Models", ten_busiest),
    ("Risk Score", lines),
    ("Approvals", lines),
    ("Algorithm Duration", lines),
    ("Risk Score of the Latest Call", number),
    ("Approved", lines),
    ("Duration of the Latest Call", number),
    ("Calls per Minute", calls_per_minute),
    ("Duration: Half, 95 % and 99 % of the Calls Took Less", percentiles),
    ("The Metric, by Version: Mean, Highest, Lowest", lines),
    ("Distribution of the Metric, Latest 10,000 Calls", distribution),
    ("Distribution over Time, Latest 10,000 Calls", distribution),
    ("Versions Side by Side", versions),
    ("Worst Calls: the 10 Highest and the 10 Lowest of the Metric", worst),
    ("Latest 50 Calls", latest_50),
];

/// The rows of the series that InfluxQL gives.
pub fn rows(series: &[Json]) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for series in series {
        let columns = series["columns"].as_array().context("a series has no columns")?;
        let tags = series["tags"].as_object().into_iter().flatten().filter(|(_, value)| *value != "");
        let tags = tags.map(|(key, value)| (key.clone(), value.clone())).collect::<Row>();
        for values in series["values"].as_array().into_iter().flatten() {
            let values = columns.iter().zip(values.as_array().context("values are no list")?);
            let values = values.filter(|(_, value)| !value.is_null());
            let values = values.map(|(name, value)| (name.as_str().unwrap_or_default().to_owned(), value.clone()));
            rows.push(tags.clone().into_iter().chain(values).collect());
        }
    }
    Ok(rows)
}

/// A row of a cell, in the same form.
pub fn row(row: stack::Row) -> Row {
    let json = |value| match value {
        Value::Float(number) => json!(number),
        Value::Integer(number) => json!(number),
        Value::Unsigned(number) => json!(number),
        Value::Boolean(flag) => json!(flag),
        Value::String(text) => json!(text),
        Value::Time(time) => json!(time.div_euclid(1_000_000)),
    };
    row.into_iter().map(|(name, value)| (name, json(value))).collect()
}

/// Equal texts, and numbers to 9 digits.
pub fn same(shown: &Shown, expected: &Shown) -> Result<()> {
    let ordered = |numbers: &[f64]| {
        let mut numbers = numbers.to_vec();
        numbers.sort_by(f64::total_cmp);
        numbers
    };
    for (texts, expected) in expected {
        let shown = shown.get(texts).with_context(|| format!("{texts:?} is not shown, which is {expected:?}"))?;
        let (a, b) = (ordered(shown), ordered(expected));
        let same = a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= 1e-9 * a.abs().max(b.abs()));
        ensure!(same, "{texts:?} is {shown:?} instead of {expected:?}");
    }
    let more = shown.iter().find(|(texts, _)| !expected.contains_key(*texts));
    ensure!(more.is_none(), "{more:?} is shown");
    Ok(())
}

fn text(row: &Row, name: &str) -> String {
    row.get(name).and_then(Json::as_str).unwrap_or_default().to_owned()
}

/// As InfluxDB's dashboard has texts in its tables.
fn plain(text: &str) -> String {
    text.replace(',', "‚").replace('"', "'").replace('\n', " ")
}

fn float(row: &Row, name: &str) -> Result<f64> {
    row.get(name).and_then(Json::as_f64).with_context(|| format!("{name} is no number in {row:?}"))
}

fn time(row: &Row, name: &str) -> Result<i64> {
    row.get(name).and_then(Json::as_i64).with_context(|| format!("{name} is no time in {row:?}"))
}

fn owner_and_name(owner: &str, name: &str) -> String {
    if owner.is_empty() { name.to_owned() } else { format!("{owner}/{name}") }
}

/// All numbers that have the same texts, together.
fn shown(numbers: impl IntoIterator<Item = Result<(Vec<String>, f64)>>) -> Result<Shown> {
    let mut shown = Shown::new();
    for number in numbers {
        let (texts, number) = number?;
        shown.entry(texts).or_default().push(number);
    }
    Ok(shown)
}

/// The value that takes the place of `percent` in InfluxQL: that of a call.
fn nearest_rank(values: &[f64], percent: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (values.len() as f64 * percent / 100.0 + 0.5).floor() as usize;
    sorted[rank.max(1) - 1]
}

impl Answer<'_> {
    fn rows(&self, query: &str) -> &[Row] {
        self.grafana.get(query).map_or(&[], Vec::as_slice)
    }

    /// In InfluxQL a window has the time of its start, in Flux of its end.
    fn end(&self, start: i64) -> i64 {
        (start + self.interval_ms).min(self.choice.stop_ms)
    }

    /// Whether a window is in the range as a whole.
    fn is_whole(&self, end: i64) -> bool {
        end % self.interval_ms == 0 && end - self.interval_ms >= self.choice.start_ms
    }

    /// The values of a field in the range, by owner, algorithm and version.
    fn by_model(&self, field: &str) -> BTreeMap<[String; 3], Vec<(i64, f64)>> {
        let mut models: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for point in self.points {
            let tag = |key: &str| point.tags.get(key).cloned().unwrap_or_default();
            let model = [tag("algorithm_owner"), tag("algorithm_name"), tag("algorithm_version")];
            let time = point.time_ns.div_euclid(1_000_000);
            let chosen = self.choice.owner == ALL || self.choice.owner == model[0];
            if let (true, Some(Value::Float(number))) = (chosen, point.fields.get(field))
                && (self.choice.start_ms..self.choice.stop_ms).contains(&time)
            {
                models.entry(model).or_default().push((time, *number));
            }
        }
        models
    }

    /// The same of the chosen algorithm, by owner and version.
    fn by_version(&self, field: &str) -> BTreeMap<[String; 2], Vec<(i64, f64)>> {
        let models = self.by_model(field).into_iter().filter(|([_, name, _], _)| name == self.choice.algorithm);
        models.map(|([owner, _, version], values)| ([owner, version], values)).collect()
    }
}

fn number(answer: &Answer) -> Result<(Shown, Shown)> {
    let name = answer.rows("A").iter().flat_map(|row| row.keys()).find(|name| *name != "time");
    let name = name.map_or("", String::as_str);
    let panel = shown(answer.rows("A").iter().map(|row| Ok((vec![], float(row, name)?))))?;
    Ok((panel, shown(answer.cell.iter().map(|row| Ok((vec![], float(row, "_value")?))))?))
}

/// The transformations of the panel divide.
fn without_error(answer: &Answer) -> Result<(Shown, Shown)> {
    let rejected = answer.rows("B").iter().map(|row| float(row, "rejected")).sum::<Result<f64>>()?;
    let share = |row: &Row| {
        let good = float(row, "good")?;
        Ok((vec![], 100.0 * good / (good + rejected)))
    };
    let panel = shown(answer.rows("A").iter().map(share))?;
    Ok((panel, shown(answer.cell.iter().map(|row| Ok((vec![], float(row, "_value")?))))?))
}

fn models(answer: &Answer) -> Result<(Shown, Shown)> {
    let texts = |[owner, name, version]: [&str; 3], column: &str| {
        vec![plain(&owner_and_name(owner, name)), plain(version), column.to_owned()]
    };
    let column = |query: &str, name: &str, column: &str| {
        let number = |row: &Row| {
            let [owner, algorithm, version] =
                ["algorithm_owner", "algorithm_name", "algorithm_version"].map(|tag| text(row, tag));
            Ok((texts([&owner, &algorithm, &version], column), float(row, name)?))
        };
        answer.rows(query).iter().map(number).collect::<Vec<_>>()
    };
    let columns = [column("A", "Calls", "calls"), column("B", "Duration p95 (ms)", "p95"), column("C", "time", "last")];

    let mut expected = Vec::new();
    for row in answer.cell {
        for column in ["calls", "last"] {
            let texts = vec![text(row, "algorithm"), text(row, "version"), column.to_owned()];
            expected.push(Ok((texts, float(row, column)?)));
        }
    }
    for ([owner, name, version], values) in answer.by_model("duration_milliseconds") {
        let values = values.iter().map(|(_, value)| *value).collect::<Vec<_>>();
        expected.push(Ok((texts([&owner, &name, &version], "p95"), nearest_rank(&values, 95.0))));
    }
    Ok((shown(columns.into_iter().flatten())?, shown(expected)?))
}

fn statuses(answer: &Answer) -> Result<(Shown, Shown)> {
    let panel = |row: &Row| {
        let algorithm = owner_and_name(&text(row, "algorithm_owner"), &text(row, "algorithm_name"));
        let texts = [text(row, "_check_name"), algorithm, text(row, "algorithm_version")].map(|text| plain(&text));
        Ok(([&texts[..], &[text(row, "Level")]].concat(), float(row, "time")?))
    };
    let cell = |row: &Row| {
        Ok((["check", "algorithm", "version", "level"].map(|name| text(row, name)).to_vec(), float(row, "time")?))
    };
    Ok((shown(answer.rows("A").iter().map(panel))?, shown(answer.cell.iter().map(cell))?))
}

/// Each column of the panel is a line of the cell for each version, with its name where there are several.
fn lines(answer: &Answer) -> Result<(Shown, Shown)> {
    let mut panel = Vec::new();
    for row in answer.rows("A") {
        let (owner, version) = (text(row, "algorithm_owner"), text(row, "algorithm_version"));
        let end = answer.end(time(row, "time")?);
        for (name, value) in row.iter().filter(|(name, value)| *name != "time" && value.is_number()) {
            let texts = vec![owner.clone(), version.clone(), name.clone(), end.to_string()];
            panel.push(Ok((texts, value.as_f64().context("it is a number")?)));
        }
    }
    Ok((shown(panel)?, shown(answer.cell.iter().map(|row| cell_line(answer, row)))?))
}

/// A point of a line, as a cell has it.
fn cell_line(answer: &Answer, row: &Row) -> Result<(Vec<String>, f64)> {
    let time = time(row, "_time")?;
    // The line of the version called last ends 1 ms later.
    let is_end = |time: i64| time % answer.interval_ms == 0 || time == answer.choice.stop_ms;
    let end = if is_end(time) { time } else { time - 1 };
    let (owner, version) = (text(row, "algorithm_owner"), text(row, "algorithm_version"));
    Ok((vec![owner, version, text(row, "_field"), end.to_string()], float(row, "_value")?))
}

/// The lines of whole windows, by what `texts` makes of a row.
fn whole(answer: &Answer, texts: impl Fn(&Row) -> Vec<String>) -> Result<Shown> {
    let mut panel = Vec::new();
    for row in answer.rows("A") {
        let end = time(row, "time")? + answer.interval_ms;
        if answer.is_whole(end) && end <= answer.choice.stop_ms {
            panel.push(Ok(([texts(row), vec![end.to_string()]].concat(), float(row, "calls")?)));
        }
    }
    shown(panel)
}

fn calls_per_minute(answer: &Answer) -> Result<(Shown, Shown)> {
    let texts = |row: &Row| vec![text(row, "algorithm_owner"), text(row, "algorithm_version")];
    let cell = answer.cell.iter().map(|row| {
        let end = time(row, "_time")?.to_string();
        Ok(([texts(row), vec![end]].concat(), float(row, "_value")?))
    });
    Ok((whole(answer, texts)?, shown(cell)?))
}

/// The panel shows all models. Its legend begins with those that have most calls in all.
fn ten_busiest(answer: &Answer) -> Result<(Shown, Shown)> {
    let model = |row: &Row| {
        let name = owner_and_name(&text(row, "algorithm_owner"), &text(row, "algorithm_name"));
        [name, text(row, "algorithm_version")].join(" ").trim_end().to_owned()
    };
    let mut totals = BTreeMap::<String, f64>::new();
    for row in answer.rows("A") {
        *totals.entry(model(row)).or_default() += float(row, "calls")?;
    }
    let mut order = totals.iter().collect::<Vec<_>>();
    order.sort_by(|a, b| b.1.total_cmp(a.1));
    let busiest = order.iter().take(10).map(|(model, _)| *model).collect::<BTreeSet<_>>();
    let mut panel = whole(answer, |row| vec![model(row)])?;
    panel.retain(|texts, _| busiest.contains(&texts[0]));
    let cell = answer
        .cell
        .iter()
        .map(|row| Ok((vec![text(row, "model"), time(row, "_time")?.to_string()], float(row, "_value")?)));
    Ok((panel, shown(cell)?))
}

fn percentiles(answer: &Answer) -> Result<(Shown, Shown)> {
    let (panel, mut expected) = lines(answer)?;
    expected.retain(|texts, _| texts[2] == "p50");
    for ([owner, version], values) in answer.by_version("duration_milliseconds") {
        if answer.choice.version != ALL && answer.choice.version != version {
            continue;
        }
        let mut windows: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
        for (time, value) in values {
            let start = time.div_euclid(answer.interval_ms) * answer.interval_ms;
            windows.entry(answer.end(start)).or_default().push(value);
        }
        for (end, values) in windows {
            for (name, percent) in [("p95", 95.0), ("p99", 99.0)] {
                let texts = [&owner, &version, name, &end.to_string()].map(ToOwned::to_owned).to_vec();
                expected.insert(texts, vec![nearest_rank(&values, percent)]);
            }
        }
    }
    Ok((panel, expected))
}

fn distribution(answer: &Answer) -> Result<(Shown, Shown)> {
    let point = |row: &Row, at: &str, value: &str| {
        let texts = vec![text(row, "algorithm_owner"), text(row, "algorithm_version"), time(row, at)?.to_string()];
        Ok((texts, float(row, value)?))
    };
    let panel = shown(answer.rows("A").iter().map(|row| point(row, "time", "metric")))?;
    Ok((panel, shown(answer.cell.iter().map(|row| point(row, "_time", "_value")))?))
}

fn versions(answer: &Answer) -> Result<(Shown, Shown)> {
    let mut panel = Vec::new();
    for row in answer.rows("A") {
        let texts = ["algorithm_owner", "algorithm_version"].map(|tag| plain(&text(row, tag)));
        for (name, column) in [
            ("With the metric", "calls"),
            ("Mean", "mean"),
            ("Standard deviation", "stddev"),
            ("Min", "min"),
            ("Median", "p50"),
            ("p95", "p95"),
            ("Max", "max"),
        ] {
            // Of one call there is none.
            let is_none = column == "stddev" && !row.contains_key(name) && float(row, "With the metric")? == 1.0;
            let number = if is_none { 0.0 } else { float(row, name)? };
            panel.push(Ok(([&texts[..], &[column.to_owned()]].concat(), number)));
        }
    }
    let mut expected = Vec::new();
    for row in answer.cell {
        for column in ["calls", "mean", "stddev", "min", "p50", "max"] {
            let calls = text(row, "calls");
            let number = match column {
                "calls" => calls.trim_end_matches(" calls").parse()?,
                column => float(row, column)?,
            };
            expected.push(Ok((vec![text(row, "owner"), text(row, "version"), column.to_owned()], number)));
        }
    }
    for ([owner, version], values) in answer.by_version(answer.choice.metric) {
        let values = values.iter().map(|(_, value)| *value).collect::<Vec<_>>();
        expected.push(Ok((vec![plain(&owner), plain(&version), "p95".to_owned()], nearest_rank(&values, 95.0))));
    }
    Ok((shown(panel)?, shown(expected)?))
}

fn worst(answer: &Answer) -> Result<(Shown, Shown)> {
    let mut panel = Vec::new();
    for (query, which) in [("A", "highest"), ("B", "lowest")] {
        for row in answer.rows(query) {
            let texts = ["Request", "Version", "Owner"].map(|name| plain(&text(row, name)));
            let texts = [&[which.to_owned()], &texts[..], &[time(row, "time")?.to_string()]].concat();
            panel.push(Ok((texts, float(row, "Metric")?)));
        }
    }
    let cell = |row: &Row| {
        let texts = ["which", "request", "version", "owner"].map(|name| text(row, name));
        Ok(([&texts[..], &[time(row, "_time")?.to_string()]].concat(), float(row, "value")?))
    };
    Ok((shown(panel)?, shown(answer.cell.iter().map(cell))?))
}

/// Each call by its time and what is known of it. The cell has numbers as text, too.
fn latest_50(answer: &Answer) -> Result<(Shown, Shown)> {
    let numbers = answer.rows("A").iter().flatten().filter(|(name, value)| *name != "time" && value.is_number());
    let numbers = numbers.map(|(name, _)| plain(name)).collect::<BTreeSet<_>>();
    let call = |row: &Row, time_column: &str| -> Result<(String, Vec<(String, String)>)> {
        let hidden = [time_column, "algorithm_name", "_order", "result", "table"];
        let columns = row.iter().filter(|(name, _)| !hidden.contains(&name.as_str()));
        let columns = columns.map(|(name, value)| match value {
            Json::String(text) => (plain(name), plain(text)),
            other => (plain(name), other.to_string()),
        });
        Ok((time(row, time_column)?.to_string(), columns.filter(|(_, value)| !value.is_empty()).collect()))
    };
    let calls = |rows: &[Row], time_column: &str| {
        let mut all = Vec::new();
        for row in rows {
            let (time, columns) = call(row, time_column)?;
            let (numeric, texts): (Vec<_>, Vec<_>) = columns.into_iter().partition(|(name, _)| numbers.contains(name));
            let known = texts.iter().map(|(name, text)| format!("{name}={text}")).chain([time]).collect::<Vec<_>>();
            for (name, number) in numeric {
                all.push(Ok(([&known[..], &[name]].concat(), number.parse::<f64>()?)));
            }
            all.push(Ok((known, 1.0)));
        }
        shown(all)
    };
    Ok((calls(answer.rows("A"), "time")?, calls(answer.cell, "_time")?))
}
