//! The tasks and the check of influxdb-drift.yml, run by InfluxDB as if it were another time.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use serde_json::json;
use stack::{Dir, Influxdb, wait_for};

use crate::drift::simulation::HOUR;
use crate::support::{LONG, edited, text};
use fixtures::repository;

/// So many runs are asked for at a time.
const TOGETHER: usize = 32;

pub const CHECKS: [&str; 3] = ["Drift Alert", "Group Alert", "Missing Values Alert"];

/// An InfluxDB with the templates, and the ids of the tasks.
pub struct Tasks<'a> {
    pub influxdb: &'a Influxdb,
    pub histograms: String,
    pub measures: String,
    /// Those of the checks, by the names of these.
    pub checks: BTreeMap<&'static str, String>,
}

/// A status that a check wrote.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Status {
    /// When the interval ended that it is about.
    pub stop: i64,
    pub check: String,
    pub name: String,
    pub metric: String,
    pub level: String,
    pub message: String,
}

impl Tasks<'_> {
    /// Applies both templates, that of the drift with these edits.
    pub fn apply<'a>(dir: &Dir, influxdb: &'a Influxdb, edits: &[(&str, &str, usize)]) -> Result<Tasks<'a>> {
        influxdb.apply(&repository("telegraf/influxdb-template.yml"), &[])?;
        influxdb.apply(&edited(dir, "influxdb-drift.yml", edits)?, &[])?;
        let all = influxdb.list("checks")?;
        let check = |name: &'static str| {
            let task = all.iter().find(|check| check["name"] == name).and_then(|check| check["taskID"].as_str());
            Ok((name, task.with_context(|| format!("there is no check {name}"))?.to_owned()))
        };
        Ok(Tasks {
            influxdb,
            histograms: influxdb.task("Drift - Histograms")?,
            measures: influxdb.task("Drift - Measures")?,
            checks: CHECKS.into_iter().map(check).collect::<Result<_>>()?,
        })
    }

    /// Runs a task at each of these ticks, in no order, and waits until all is done.
    pub fn run(&self, task: &str, ticks: impl IntoIterator<Item = i64>) -> Result<()> {
        let ticks: Vec<i64> = ticks.into_iter().collect();
        for ticks in ticks.chunks(TOGETHER) {
            let mut runs = BTreeMap::new();
            for tick in ticks {
                let time = Timestamp::from_second(*tick)?.to_string();
                let run =
                    self.influxdb.post_json(&format!("/api/v2/tasks/{task}/runs"), &json!({"scheduledFor": time}))?;
                runs.insert(run["id"].as_str().context("a run has no id")?.to_owned(), time);
            }
            wait_for("the end of a task's runs", LONG, || {
                while let Some(entry) = runs.first_entry() {
                    let (id, path) = (entry.key().clone(), format!("/api/v2/tasks/{task}/runs/{}", entry.key()));
                    let run = self.influxdb.get(&path).unwrap_or_default();
                    if ["scheduled", "started"].iter().any(|status| run["status"] == *status) {
                        return Ok(None);
                    }
                    // For a moment after its end the answer is that there is no such run, or an error.
                    for (id, status) in self.ended(task)? {
                        if let Some(time) = runs.remove(&id) {
                            ensure!(
                                status == "success",
                                "the run at {time} ended as {status}: {:#}",
                                self.influxdb.get(&path)?
                            );
                        }
                    }
                    if runs.contains_key(&id) {
                        return Ok(None);
                    }
                }
                Ok(Some(()))
            })?;
        }
        Ok(())
    }

    /// The runs of a task that have ended, and how.
    fn ended(&self, task: &str) -> Result<Vec<(String, String)>> {
        let flux = r#"from(bucket: "_tasks")
            |> range(start: -1h)
            |> filter(fn: (r) => r._measurement == "runs" and r._field == "runID" and r.taskID == "TASK")"#;
        let rows = self.influxdb.query(&flux.replace("TASK", task))?;
        Ok(rows.iter().map(|row| (text(row, "_value"), text(row, "status"))).collect())
    }

    /// Counts the intervals that end at these ticks, one after the other, for each knows the edges of those before.
    pub fn count(&self, ticks: &[i64]) -> Result<()> {
        ticks.iter().try_for_each(|tick| self.run(&self.histograms, [*tick]))
    }

    pub fn compare(&self, ticks: &[i64]) -> Result<()> {
        self.run(&self.measures, ticks.iter().copied())
    }

    /// Lets checks look at the intervals that ended at these full hours, as they do half an hour later.
    pub fn check(&self, checks: &[&str], hours: &[i64]) -> Result<()> {
        let ticks = || hours.iter().map(|hour| hour + HOUR / 2);
        checks.iter().try_for_each(|check| self.run(&self.checks[check], ticks()))
    }

    /// What the checks have found.
    pub fn statuses(&self) -> Result<BTreeSet<Status>> {
        let rows = self.influxdb.query(
            r#"from(bucket: "_monitoring")
                |> range(start: 0)
                |> filter(fn: (r) => r._measurement == "statuses" and r._field == "_message")"#,
        )?;
        let statuses = rows.iter().filter(|row| CHECKS.contains(&text(row, "_check_name").as_str())).map(|row| {
            let Some(stack::Value::Time(time)) = row.get("_time") else { bail!("a status without a time: {row:?}") };
            Ok(Status {
                stop: time / 1_000_000_000 - HOUR / 2,
                check: text(row, "_check_name"),
                name: text(row, "algorithm_name"),
                metric: text(row, "metric"),
                level: text(row, "_level"),
                message: text(row, "_value"),
            })
        });
        statuses.collect()
    }
}
