//! The InfluxDB template on a real server: what it brings, applied to an empty organization, again, over what people have,
//! and removed; and Telegraf run from the configuration that it brings.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use crate::support::{LONG, TOPIC, ensure_apart, environment, shipped_configuration, turn};
use anyhow::{Context, Result, ensure};
use fixtures::repository;
use serde_json::{Value, json};
use stack::{BUCKET, Influxdb, Kafka, ORG, TOKEN, Telegraf, wait_for};

/// The kinds of which a template brings some, as the API calls them.
const KINDS: [&str; 7] = ["labels", "buckets", "variables", "dashboards", "checks", "telegrafs", "tasks"];

fn template() -> PathBuf {
    repository("telegraf/influxdb-template.yml")
}

/// All that the organization has, by kind and name, without InfluxDB's own. Dashboards are there with their cells.
fn resources(influxdb: &Influxdb) -> Result<BTreeMap<String, Vec<Value>>> {
    let mut all = BTreeMap::new();
    for kind in KINDS {
        let mut list = influxdb.list(kind)?;
        list.retain(|resource| resource["type"] != "system");
        for resource in &mut list {
            // Not a change: applying writes everything again, and the clock runs tasks meanwhile.
            if let Some(fields) = resource.as_object_mut() {
                for field in ["updatedAt", "latestCompleted", "latestScheduled", "lastRunStatus", "lastRunError"] {
                    fields.remove(field);
                }
            }
            if let Some(meta) = resource["meta"].as_object_mut() {
                meta.remove("updatedAt");
            }
            // InfluxDB formats the Flux of a task when it is applied again.
            if let Some(flux) = resource["flux"].as_str() {
                resource["flux"] = flux.replace(|c: char| c == ',' || c.is_whitespace(), "").into();
            }
            // Its cells have new ids each time.
            if kind == "dashboards" {
                resource["cells"] = Value::Null;
            }
        }
        list.sort_by_key(name);
        all.insert(kind.to_owned(), list);
    }
    let dashboards = influxdb.dashboards()?;
    let cells = dashboards.iter().flat_map(|dashboard| {
        dashboard.cells.iter().map(|cell| json!([dashboard.name, cell.name, cell.x, cell.y, cell.w, cell.h, cell.view]))
    });
    all.insert("cells".to_owned(), cells.collect());
    Ok(all)
}

fn name(resource: &Value) -> String {
    resource["name"].as_str().unwrap_or_default().to_owned()
}

fn names(resources: &[Value]) -> Vec<String> {
    resources.iter().map(name).collect()
}

/// `influx stacks remove`.
fn remove(influxdb: &Influxdb, stack: &Value) -> Result<()> {
    let id = stack.as_str().context("the stack has no id")?;
    let output = influxdb.cli(["stacks", "remove", "--force", "--stack-id", id])?.output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

#[test]
fn one_apply_brings_everything_the_next_changes_nothing_and_remove_takes_it_away() {
    let _turn = turn();
    stack::test("template", |dir| {
        let influxdb = Influxdb::start(dir)?;
        let before = resources(&influxdb)?;
        let applied = influxdb.apply(&template(), &[])?;
        let there = resources(&influxdb)?;
        assert_eq!(names(&there["labels"]), ["algorithmia"]);
        assert_eq!(there["buckets"], before["buckets"], "the bucket is not the template's");
        let variables = ["algorithmia_algorithm", "algorithmia_metric", "algorithmia_owner", "algorithmia_version"];
        assert_eq!(names(&there["variables"]), variables);
        assert_eq!(
            names(&there["dashboards"]),
            ["Algorithmia - ML Model Performance Metrics", "Algorithmia - Pipeline Health"]
        );
        assert_eq!(names(&there["checks"]), ["Late Messages", "Rejected Messages", "Silent Algorithm"]);
        assert_eq!(names(&there["tasks"]), ["Duration Alert", "Risk Score Alert"]);
        assert!(there["checks"].iter().all(|check| check["status"] == "active"));
        assert_eq!(names(&there["telegrafs"]), ["Algorithmia"]);
        // One label is on all of them.
        for resource in
            ["variables", "dashboards", "checks", "tasks", "telegrafs"].map(|kind| &there[kind]).into_iter().flatten()
        {
            assert_eq!(resource["labels"][0]["name"], "algorithmia", "{resource}");
        }

        let stack = applied["stackID"].as_str().context("no stack")?;
        let again = influxdb.apply(&template(), &["--stack-id", stack])?;
        assert_eq!(again["stackID"], applied["stackID"]);
        let there_again = resources(&influxdb)?;
        for (kind, list) in &there {
            assert_eq!(list, &there_again[kind], "{kind}");
        }

        remove(&influxdb, &applied["stackID"])?;
        assert_eq!(resources(&influxdb)?, before);
        Ok(())
    });
}

/// What people have who used the template of 2020: a bucket, a dashboard and a Telegraf of the same names.
const COMMUNITY: &str = r#"
apiVersion: influxdata.com/v2alpha1
kind: Bucket
metadata:
  name: unruffled-almeida-c0c001
spec:
  name: insights
---
apiVersion: influxdata.com/v2alpha1
kind: Dashboard
metadata:
  name: mystifying-booth-40c001
spec:
  name: Algorithmia - ML Model Performance Metrics
---
apiVersion: influxdata.com/v2alpha1
kind: Telegraf
metadata:
  name: algorithmia-telegraf
spec:
  name: Algorithmia
  config: |
    [agent]
      interval = "10s"
"#;

#[test]
fn no_stack_that_is_removed_takes_points_or_anything_of_the_users_with_it() {
    let _turn = turn();
    stack::test("stacks", |dir| {
        let influxdb = Influxdb::start(dir)?;
        influxdb.write("algorithmia,algorithm_name=a,algorithm_owner=o,algorithm_version=1 risk_score=0.5 1\n")?;
        let (points, before) = (influxdb.points(BUCKET, "algorithmia")?, resources(&influxdb)?);
        // Somebody's own variables, which have nothing to do with ours.
        let own = dir.write(
            "own.yml",
            ["owner", "algorithm", "version", "metric"].map(|name| {
                format!(
                    "apiVersion: influxdata.com/v2alpha1\nkind: Variable\nmetadata:\n  name: own-{name}\nspec:\n  name: {name}\n  \
                     type: constant\n  values: [mine]\n"
                )
            })
            .join("---\n"),
        )?;
        influxdb.apply(&own, &[])?;
        let with_own = resources(&influxdb)?;

        // Applied twice without its id, as a careless user does, with the other templates in between.
        let first = influxdb.apply(&template(), &[])?;
        let others = ["influxdb-drift.yml", "influxdb-http.yml"].map(|file| repository("telegraf").join(file));
        let others = others.iter().map(|file| influxdb.apply(file, &[])).collect::<Result<Vec<_>>>()?;
        let second = influxdb.apply(&template(), &[])?;
        remove(&influxdb, &second["stackID"])?;
        assert_eq!(influxdb.points(BUCKET, "algorithmia")?, points);
        // The first one brings back what the second had taken over.
        let again = influxdb.apply(&template(), &["--stack-id", first["stackID"].as_str().context("no stack")?])?;
        let there = resources(&influxdb)?;
        assert!(there["checks"].iter().any(|check| name(check) == "Late Messages"), "{:?}", names(&there["checks"]));
        assert!(there["variables"].iter().any(|variable| name(variable) == "algorithmia_owner"));

        for stack in others.iter().chain([&again]) {
            remove(&influxdb, &stack["stackID"])?;
            assert_eq!(influxdb.points(BUCKET, "algorithmia")?, points);
        }
        assert_eq!(resources(&influxdb)?, with_own);
        assert_eq!(with_own["buckets"], before["buckets"]);
        Ok(())
    });
}

#[test]
fn it_is_applied_over_the_bucket_of_the_community_template() {
    let _turn = turn();
    stack::test("community", |dir| {
        let influxdb = Influxdb::start_empty(dir)?;
        let community = dir.write("community.yml", COMMUNITY)?;
        influxdb.apply(&community, &[])?;
        // As its Telegraf wrote them.
        influxdb.write("algorithmia,algorithm_name=a,algorithm_owner=o,algorithm_version=1 risk_score=0.5 1\n")?;
        let bucket = |influxdb: &Influxdb| -> Result<Value> {
            let buckets = influxdb.list("buckets")?;
            Ok(buckets.into_iter().find(|bucket| name(bucket) == BUCKET).unwrap_or_default()["id"].take())
        };
        let old = bucket(&influxdb)?;
        let points = influxdb.points(BUCKET, "algorithmia")?;
        assert_eq!(points.len(), 1);

        // The bucket is taken as it is, and so are the points in it.
        let applied = influxdb.apply(&template(), &[])?;
        remove(&influxdb, &applied["stackID"])?;
        influxdb.apply(&template(), &[])?;
        assert_eq!(bucket(&influxdb)?, old);
        assert_eq!(influxdb.points(BUCKET, "algorithmia")?, points);
        // Beside the old dashboard there is one that has something to show.
        let dashboards = influxdb.dashboards()?;
        let models = dashboards.iter().filter(|dashboard| dashboard.name.ends_with("ML Model Performance Metrics"));
        assert_eq!(models.map(|dashboard| dashboard.cells.is_empty()).filter(|empty| *empty).count(), 1);
        Ok(())
    });
}

#[test]
fn names_that_people_know_are_there() {
    let _turn = turn();
    stack::test("names", |dir| {
        let influxdb = Influxdb::start(dir)?;
        influxdb.apply(&template(), &[])?;
        let dashboards = influxdb.dashboards()?;
        let models = dashboards.iter().find(|dashboard| dashboard.name == "Algorithmia - ML Model Performance Metrics");
        let models = models.context("no dashboard of the models")?;
        for (cell, kind) in [
            ("Risk Score", "line-plus-single-stat"),
            ("Approvals", "line-plus-single-stat"),
            ("Algorithm Duration", "line-plus-single-stat"),
            ("Approved", "heatmap"),
        ] {
            assert!(models.cells.iter().any(|other| other.name == cell && other.kind == kind), "{cell}");
        }
        for field in ["risk_score", "duration_milliseconds"] {
            let gauges = models.cells.iter().filter(|cell| cell.kind == "gauge");
            let mut queries = gauges.flat_map(|cell| &cell.queries);
            assert!(queries.any(|query| query.contains(&format!("\"{field}\""))), "no gauge of {field}");
        }
        ensure_apart(&dashboards)
    });
}

/// InfluxDB's UI reads off a query's ranges how wide its windows should be. It understands times, durations and now(); with
/// anything else the windows are of 15 s, whatever the range.
#[test]
fn the_ui_can_tell_how_wide_windows_should_be() {
    let template = fs::read_to_string(template()).unwrap();
    let queries = template.split("query: |-").filter(|query| query.contains("v.windowPeriod"));
    let ranges = queries.flat_map(str::lines).filter(|line| line.contains("range(")).map(str::trim);
    let understood = ["|> range(start: v.timeRangeStart, stop: v.timeRangeStop)"];
    let others: Vec<_> = ranges.clone().filter(|range| !understood.contains(range)).collect();
    assert_eq!(others, [""; 0]);
    assert!(ranges.count() > 10);
}

#[test]
fn telegraf_runs_on_the_configuration_that_influxdb_has() {
    let _turn = turn();
    stack::test("from-influxdb", |dir| {
        let influxdb = Influxdb::start(dir)?;
        influxdb.apply(&template(), &[])?;
        let telegrafs = influxdb.list("telegrafs")?;
        let ours = telegrafs.first().context("the template brings no Telegraf")?;
        // One text, in two files.
        assert_eq!(
            ours["config"],
            fs::read_to_string(shipped_configuration())?,
            "copy telegraf.conf into the template"
        );

        let kafka = Kafka::start(dir)?;
        kafka.create_topic(TOPIC, 1)?;
        kafka.produce(TOPIC, [r#"{"algorithm_name":"a","risk_score":0.5,"time":"2021-02-20T00:21:54.867231"}"#])?;
        let id = ours["id"].as_str().context("the Telegraf has no id")?;
        let url = format!("{}/api/v2/telegrafs/{id}", influxdb.url());
        let mut variables = environment(dir, kafka.broker(), influxdb.url());
        // Bucket and organization as a user has them who has set only what has to be set.
        variables.retain(|(name, _)| *name != "INFLUX_BUCKET");
        assert!(
            variables.contains(&("INFLUX_TOKEN", TOKEN.to_owned()))
                && variables.contains(&("INFLUX_ORG", ORG.to_owned()))
        );
        let telegraf = Telegraf::start(dir, url, variables)?;
        wait_for("the point", LONG, || {
            telegraf.ensure_running()?;
            Ok((influxdb.points(BUCKET, "algorithmia")?.len() == 1).then_some(()))
        })?;
        telegraf.terminate()?;
        Ok(())
    });
}
