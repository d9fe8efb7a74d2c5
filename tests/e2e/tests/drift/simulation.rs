//! Calls of models, simulated: what each reports is known here, and written to InfluxDB as the points that the program
//! makes of it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
pub use fixtures::Random as Dice;
use rand::{RngExt, SeedableRng};
use serde::Serialize;
use serde_json::{Map, Value};
use stack::Influxdb;
use telegraf_algorithmia::{Converter, Counts, Settings};

/// Times are in seconds since 1970, but for those of calls.
pub const HOUR: i64 = 3600;
pub const DAY: i64 = 24 * HOUR;

/// The key of the payload that says the group.
pub const GROUP_KEY: &str = "gender";

/// A version of an algorithm; without an owner or version its calls do not say any.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Version {
    pub owner: String,
    pub name: String,
    pub version: String,
}

pub fn version(owner: &str, name: &str, version: &str) -> Version {
    Version { owner: owner.to_owned(), name: name.to_owned(), version: version.to_owned() }
}

/// All calls of a version, in columns.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Calls {
    /// Nanoseconds since 1970.
    times: Vec<i64>,
    metrics: BTreeMap<String, Vec<Option<f64>>>,
    groups: Vec<Option<String>>,
}

/// The algorithms and all their calls.
pub struct World {
    pub versions: BTreeMap<Version, Calls>,
    /// How what is written next becomes points.
    pub settings: Settings,
    /// The keys that are stored as booleans, which are no metrics.
    pub booleans: &'static [&'static str],
    dice: Dice,
    /// The messages that are not written yet.
    unsent: Vec<u8>,
}

impl World {
    /// A world whose messages become points with these settings.
    pub fn new(settings: Settings) -> World {
        let dice = Dice::seed_from_u64(1);
        World { versions: BTreeMap::new(), dice, settings, booleans: &[], unsent: Vec::new() }
    }

    /// Calls a version at random moments between two times. `report` gives what a call's payload has beside the names
    /// and the time.
    pub fn call(
        &mut self,
        version: &Version,
        (start, stop): (i64, i64),
        count: usize,
        mut report: impl FnMut(&mut Dice) -> Value,
    ) -> Result<()> {
        let calls = self.versions.entry(version.clone()).or_default();
        for _ in 0..count {
            let microsecond = self.dice.random_range(start * 1_000_000..stop * 1_000_000);
            let Value::Object(mut payload) = report(&mut self.dice) else { unreachable!("a payload is an object") };
            calls.add(microsecond * 1000, &payload, self.booleans)?;
            for (key, name) in [
                ("algorithm_owner", &version.owner),
                ("algorithm_name", &version.name),
                ("algorithm_version", &version.version),
            ] {
                if !name.is_empty() {
                    payload.insert(key.to_owned(), name.as_str().into());
                }
            }
            payload.insert("time".to_owned(), (microsecond).into());
            payload.insert("session_id".to_owned(), format!("s{}", self.dice.random::<u32>()).into());
            serde_json::to_writer(&mut self.unsent, &payload)?;
            self.unsent.push(b'\n');
        }
        Ok(())
    }

    /// Writes what has been called since the last time.
    pub fn send(&mut self, influxdb: &Influxdb) -> Result<()> {
        const BATCH: usize = 8 << 20;
        let (mut lines, mut counts) = (Vec::new(), Counts::default());
        let mut converter = Converter::new(self.settings.clone())?;
        converter.push(&self.unsent, &mut lines, &mut counts);
        converter.finish(&mut lines, &mut counts);
        ensure!(counts.all_rejected() == 0, "{counts:?}");
        self.unsent.clear();
        let mut rest = lines.as_slice();
        while !rest.is_empty() {
            let end = rest.iter().skip(BATCH).position(|byte| *byte == b'\n').map_or(rest.len(), |at| BATCH + at + 1);
            let (batch, after) = rest.split_at(end);
            influxdb.write(batch)?;
            rest = after;
        }
        Ok(())
    }
}

impl Calls {
    /// Adds a call with this payload, of which some keys are stored as booleans.
    pub fn add(&mut self, time: i64, payload: &Map<String, Value>, booleans: &[&str]) -> Result<()> {
        let before = self.times.len();
        self.times.push(time);
        for (key, value) in payload {
            // As docs/contract.md says: what is a number or a boolean is one, and nothing else here is.
            let value = match value {
                _ if booleans.contains(&key.as_str()) => continue,
                Value::Number(number) => number.as_f64().context("no float")?,
                Value::Bool(is) => f64::from(u8::from(*is)),
                _ => continue,
            };
            let column = self.metrics.entry(key.clone()).or_default();
            column.resize(before, None);
            column.push(Some(value));
        }
        self.groups.push(match payload.get(GROUP_KEY) {
            Some(Value::String(group)) => Some(group.clone()),
            Some(Value::Number(group)) => Some(group.to_string()),
            _ => None,
        });
        Ok(())
    }

    /// In the order of their times.
    pub fn sorted(&self) -> Calls {
        let mut order: Vec<usize> = (0..self.times.len()).collect();
        order.sort_by_key(|index| self.times[*index]);
        let column =
            |values: &Vec<Option<f64>>| order.iter().map(|index| values.get(*index).copied().flatten()).collect();
        Calls {
            times: order.iter().map(|index| self.times[*index]).collect(),
            metrics: self.metrics.iter().map(|(metric, values)| (metric.clone(), column(values))).collect(),
            groups: order.iter().map(|index| self.groups[*index].clone()).collect(),
        }
    }
}
