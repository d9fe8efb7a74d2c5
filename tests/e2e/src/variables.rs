//! The variables of dashboards, with the values that InfluxDB's own UI gives them,
//! and queries that use them.
//!
//! What is told of the UI here is in its source, github.com/influxdata/ui, in
//! src/variables/.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::json;

use crate::flux::{self, Row, Value};
use crate::influxdb::Influxdb;

/// The UI's choice of window periods for the ranges it offers, both in
/// milliseconds (src/shared/constants/timeRanges.ts).
const WINDOW_PERIODS: [(i64, i64); 11] = [
    (MINUTE, 1_000),
    (5 * MINUTE, 10_000),
    (15 * MINUTE, 10_000),
    (HOUR, 10_000),
    (3 * HOUR, MINUTE),
    (6 * HOUR, MINUTE),
    (12 * HOUR, 2 * MINUTE),
    (24 * HOUR, 4 * MINUTE),
    (48 * HOUR, 10 * MINUTE),
    (7 * 24 * HOUR, 30 * MINUTE),
    (30 * 24 * HOUR, HOUR),
];
const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

/// How many windows the UI cuts any other range into.
const WINDOWS: f64 = 360.0;

/// The window period where that comes to nothing, in milliseconds.
const FALLBACK_WINDOW_PERIOD: i64 = 15_000;

/// The moment at which a query runs, in Flux.
const NOW: &str = "now()";

/// Units of Flux durations that always take the same time, in milliseconds.
const UNITS: [(&str, i64); 6] =
    [("ms", 1), ("s", 1_000), ("m", MINUTE), ("h", HOUR), ("d", 24 * HOUR), ("w", 7 * 24 * HOUR)];

/// A variable of a dashboard.
#[derive(Clone, Debug, Deserialize)]
pub struct Variable {
    /// What the API knows it by.
    pub id: String,
    /// The name: queries have its value in `v.NAME`.
    pub name: String,
    /// The description.
    #[serde(default)]
    pub description: String,
    /// What is selected where nobody has chosen: a value, or a key of a map. The
    /// UI looks at the first one only.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub selected: Vec<String>,
    /// Where its values come from.
    pub arguments: Arguments,
}

/// Where the values of a [`Variable`] come from.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type", content = "values", rename_all = "lowercase")]
pub enum Arguments {
    /// They are fixed.
    Constant(Vec<String>),
    /// They are fixed; people choose among the keys.
    Map(BTreeMap<String, String>),
    /// They are what a query gives in the column `_value`.
    Query {
        /// The query, in Flux.
        query: String,
    },
}

/// An end of the range of time that a dashboard shows.
#[derive(Clone, Debug, PartialEq)]
pub enum Moment {
    /// Relative to the time of the query, in Flux: `-1h`, or `now()`.
    Relative(String),
    /// A time in nanoseconds since 1970.
    At(i64),
}

/// Relative, in Flux.
impl From<&str> for Moment {
    fn from(text: &str) -> Moment {
        Moment::Relative(text.to_owned())
    }
}

/// Nanoseconds since 1970.
impl From<i64> for Moment {
    fn from(time_ns: i64) -> Moment {
        Moment::At(time_ns)
    }
}

/// The values that queries find in the record `v`.
#[derive(Clone, Debug)]
pub struct Variables {
    start: Moment,
    stop: Moment,
    window_period_ms: i64,
    values: BTreeMap<String, String>,
}

impl Variables {
    /// Those that every dashboard has: `timeRangeStart`, `timeRangeStop`, and
    /// `windowPeriod` as the UI chooses it for a query over this range.
    ///
    /// An end of the range is a time in nanoseconds (`1_600_000_000_000_000_000`),
    /// a time before now (`"-1h"`) or `"now()"`.
    pub fn new(start: impl Into<Moment>, stop: impl Into<Moment>) -> Result<Variables> {
        let (start, stop) = (start.into(), stop.into());
        let now = Timestamp::now().as_millisecond();
        let range = stop.milliseconds(now)? - start.milliseconds(now)?;
        ensure!(range > 0, "the range of time from {start:?} to {stop:?} is empty");
        Ok(Variables { start, stop, window_period_ms: window_period(range), values: BTreeMap::new() })
    }

    /// Sets a variable. Queries see this very value; for a map it is not the key.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Variables {
        self.values.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The value of a variable, if it is set.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// Sets `windowPeriod`.
    pub fn set_window_period(&mut self, milliseconds: i64) -> &mut Variables {
        self.window_period_ms = milliseconds;
        self
    }

    /// `windowPeriod` in milliseconds.
    pub fn window_period(&self) -> i64 {
        self.window_period_ms
    }

    /// The Flux file that the UI sends along with a query, as its syntax tree:
    /// `option v = {timeRangeStart: ..., timeRangeStop: ..., ...}`.
    fn file(&self) -> Result<serde_json::Value> {
        let property = |name: &str, value| json!({"type": "Property", "key": identifier(name), "value": value});
        let mut properties = vec![
            property("timeRangeStart", self.start.syntax()?),
            property("timeRangeStop", self.stop.syntax()?),
            property("windowPeriod", duration(self.window_period_ms, "ms")),
        ];
        for (name, value) in &self.values {
            properties.push(property(name, json!({"type": "StringLiteral", "value": value})));
        }
        Ok(json!({
            "type": "File",
            "package": null,
            "imports": null,
            "body": [{
                "type": "OptionStatement",
                "assignment": {
                    "type": "VariableAssignment",
                    "id": identifier("v"),
                    "init": {"type": "ObjectExpression", "properties": properties},
                },
            }],
        }))
    }
}

impl Moment {
    fn milliseconds(&self, now: i64) -> Result<i64> {
        Ok(match self {
            Moment::At(time_ns) => time_ns.div_euclid(1_000_000),
            Moment::Relative(text) if text == NOW => now,
            Moment::Relative(text) => {
                let (count, _, length) = ago(text)?;
                now.saturating_sub(count.saturating_mul(length))
            }
        })
    }

    fn syntax(&self) -> Result<serde_json::Value> {
        Ok(match self {
            Moment::At(time_ns) => {
                let time = Timestamp::from_nanosecond((*time_ns).into())?;
                json!({"type": "DateTimeLiteral", "value": time.to_string()})
            }
            Moment::Relative(text) if text == NOW => json!({"type": "CallExpression", "callee": identifier("now")}),
            Moment::Relative(text) => {
                let (count, unit, _) = ago(text)?;
                json!({"type": "UnaryExpression", "operator": "-", "argument": duration(count, unit)})
            }
        })
    }
}

impl Influxdb {
    /// All variables, by their names.
    pub fn variables(&self) -> Result<Vec<Variable>> {
        let mut variables = Vec::new();
        for listed in self.list("variables")? {
            variables.push(Variable::deserialize(&listed).with_context(|| format!("in the variable {listed}"))?);
        }
        variables.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(variables)
    }

    /// Sets the variables that `v` has not set yet to what the UI selects when a
    /// dashboard is opened: what is selected in the variable itself if it is among
    /// the values, else the first value, else nothing (an empty string). Those whose
    /// queries use others come after these.
    ///
    /// Gives the values (of a map the keys) that the UI offers of each variable.
    pub fn resolve_variables(&self, v: &mut Variables) -> Result<BTreeMap<String, Vec<String>>> {
        let mut waiting = BTreeMap::new();
        for variable in self.variables()? {
            let uses = self.uses(&variable)?;
            waiting.insert(variable.name.clone(), (variable, uses));
        }
        let mut offered = BTreeMap::new();
        while !waiting.is_empty() {
            let ready = waiting.values().find(|(_, uses)| !uses.iter().any(|name| waiting.contains_key(name)));
            let Some((variable, _)) = ready.cloned() else {
                bail!("no variable can be the first, as they use each other: {:?}", waiting.keys());
            };
            waiting.remove(&variable.name);
            let values = self.values(&variable, v).with_context(|| format!("in the variable {}", variable.name))?;
            if v.get(&variable.name).is_none() {
                let selected = variable.selected.first().filter(|selected| values.contains(selected));
                let selected = selected.or(values.first()).map_or("", String::as_str);
                let value = match &variable.arguments {
                    Arguments::Map(map) => map.get(selected).map_or("", String::as_str),
                    _ => selected,
                };
                v.set(&variable.name, value);
            }
            offered.insert(variable.name, values);
        }
        Ok(offered)
    }

    /// The rows a Flux query gives with variables, run as the UI runs the query of
    /// a cell.
    pub fn query_with(&self, flux: &str, v: &Variables) -> Result<Vec<Row>> {
        flux::rows(self.query_csv_with(flux, v)?).with_context(|| format!("the query was: {flux}\nwith {v:?}"))
    }

    /// The annotated CSV text that a Flux query gives with variables. [`rows`](crate::rows) reads it.
    pub fn answer(&self, flux: &str, v: &Variables) -> Result<String> {
        let mut text = String::new();
        self.query_csv_with(flux, v)?.read_to_string(&mut text)?;
        Ok(text)
    }

    /// The annotated CSV text a Flux query gives with variables, as it comes in.
    pub fn query_csv_with(&self, flux: &str, v: &Variables) -> Result<impl Read + use<>> {
        self.query_with_extern(flux, &v.file()?).with_context(|| format!("the variables were: {v:?}"))
    }

    /// The names of the variables that a variable's query has in it.
    fn uses(&self, variable: &Variable) -> Result<BTreeSet<String>> {
        let mut names = BTreeSet::new();
        if let Arguments::Query { query } = &variable.arguments {
            let answer = self.post_json("/api/v2/query/ast", &json!({"query": query}));
            let answer = answer.with_context(|| format!("in the variable {}: {query}", variable.name))?;
            find_members_of_v(&answer, &mut names);
        }
        Ok(names)
    }

    fn values(&self, variable: &Variable, v: &Variables) -> Result<Vec<String>> {
        Ok(match &variable.arguments {
            Arguments::Constant(values) => values.clone(),
            Arguments::Map(map) => map.keys().cloned().collect(),
            Arguments::Query { query } => {
                let rows = self.query_with(query, v)?;
                // The UI takes nothing but strings, each once, and sorts them.
                let values = rows.into_iter().filter_map(|mut row| match row.remove("_value") {
                    Some(Value::String(text)) => Some(text),
                    _ => None,
                });
                values.collect::<BTreeSet<_>>().into_iter().collect()
            }
        })
    }
}

/// Collects every NAME of `v.NAME` in a syntax tree.
fn find_members_of_v(node: &serde_json::Value, names: &mut BTreeSet<String>) {
    if node["type"] == "MemberExpression"
        && node["object"]["name"] == "v"
        && let Some(name) = node["property"]["name"].as_str()
    {
        names.insert(name.to_owned());
    }
    match node {
        serde_json::Value::Object(object) => object.values().for_each(|node| find_members_of_v(node, names)),
        serde_json::Value::Array(array) => array.iter().for_each(|node| find_members_of_v(node, names)),
        _ => {}
    }
}

/// The UI's window period for a range of time, both in milliseconds.
fn window_period(range: i64) -> i64 {
    if let Some((_, period)) = WINDOW_PERIODS.iter().find(|(offered, _)| *offered == range) {
        return *period;
    }
    match (range as f64 / WINDOWS).round() as i64 {
        0 => FALLBACK_WINDOW_PERIOD,
        period => period,
    }
}

fn identifier(name: &str) -> serde_json::Value {
    json!({"type": "Identifier", "name": name})
}

fn duration(count: i64, unit: &str) -> serde_json::Value {
    json!({"type": "DurationLiteral", "values": [{"magnitude": count, "unit": unit}]})
}

/// The count in a negative Flux duration such as `-1h`, its unit, and how long
/// that is in milliseconds.
fn ago(text: &str) -> Result<(i64, &'static str, i64)> {
    let digits = text.strip_prefix('-').unwrap_or_default();
    let (count, unit) = digits.split_at(digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len()));
    let unit = UNITS.iter().find(|(name, _)| *name == unit);
    match (count.parse(), unit) {
        (Ok(count), Some(&(unit, length))) => Ok((count, unit, length)),
        _ => bail!("{text:?} is neither {NOW} nor a time before it such as -1h, in ms, s, m, h, d or w"),
    }
}

fn null_is_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
