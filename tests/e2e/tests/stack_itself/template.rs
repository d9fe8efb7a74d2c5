//! A template on a real server: applied, read back, its variables resolved and
//! its queries run.

use stack::{Arguments, BUCKET, Influxdb, Row, Value, Variables};

const TEMPLATE: &str = r##"
apiVersion: influxdata.com/v2alpha1
kind: Label
metadata:
  name: models
spec:
  name: Models
---
apiVersion: influxdata.com/v2alpha1
kind: Bucket
metadata:
  name: insights
spec:
  name: insights
  associations:
    - kind: Label
      name: models
---
apiVersion: influxdata.com/v2alpha1
kind: Variable
metadata:
  name: model
spec:
  name: model
  type: query
  language: flux
  query: |
    import "influxdata/influxdb/schema"
    schema.tagValues(bucket: v.bucket, tag: "model", predicate: (r) => r.owner == v.owner,
      start: v.timeRangeStart, stop: v.timeRangeStop)
---
apiVersion: influxdata.com/v2alpha1
kind: Variable
metadata:
  name: owner
spec:
  name: owner
  type: query
  language: flux
  query: |
    import "influxdata/influxdb/schema"
    // Not by the way of v.model, nor in the order of the alphabet.
    schema.tagValues(bucket: v.bucket, tag: "owner", start: v.timeRangeStart, stop: v.timeRangeStop)
      |> sort(columns: ["_value"], desc: true)
  selected:
    - nobody
---
apiVersion: influxdata.com/v2alpha1
kind: Variable
metadata:
  name: bucket
spec:
  name: bucket
  type: constant
  values: [another, insights]
  selected: [insights]
---
apiVersion: influxdata.com/v2alpha1
kind: Variable
metadata:
  name: factor
spec:
  name: factor
  type: map
  values:
    one: "1"
    percent: "100"
  selected: [percent]
---
apiVersion: influxdata.com/v2alpha1
kind: Variable
metadata:
  name: nothing
spec:
  name: nothing
  type: query
  language: flux
  query: |
    import "array"
    array.from(rows: [{_value: 1.0}])
---
apiVersion: influxdata.com/v2alpha1
kind: Dashboard
metadata:
  name: models
spec:
  name: Models
  description: How they do
  charts:
    - kind: Single_Stat
      name: Calls
      xPos: 6
      yPos: 1
      width: 3
      height: 2
      queries:
        - query: |
            import "array"
            from(bucket: v.bucket) |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
              |> filter(fn: (r) => r.owner == v.owner) |> group() |> count()
    - kind: Xy
      name: Risk
      xPos: 0
      yPos: 1
      width: 6
      height: 3
      geom: line
      queries:
        - query: |
            import "strings"
            from(bucket: v.bucket) |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
              |> filter(fn: (r) => r.model == strings.trimSpace(v: v.model))
              |> aggregateWindow(every: v.windowPeriod, fn: mean, createEmpty: false)
              |> map(fn: (r) => ({r with _value: r._value * float(v: v.factor)}))
        - query: "from(bucket: v.bucket) |> range(start: v.timeRangeStart) |> limit(n: 0)"
      axes:
        - name: x
          base: "10"
          scale: linear
        - name: y
          base: "10"
          scale: linear
    - kind: Markdown
      name: Notes
      xPos: 1
      yPos: 0
      width: 11
      height: 1
      note: "# What is seen"
"##;

/// 2020-09-13T12:00:00Z.
const START: i64 = 1_599_998_400_000_000_000;
const MINUTE: i64 = 60_000_000_000;
const HOUR: i64 = 60 * MINUTE;

#[test]
fn template() {
    stack::test("template", |dir| {
        let influxdb = Influxdb::start_with(dir, "initial", [("INFLUXD_SESSION_LENGTH", "7")])?;
        let has_bucket = |name: &str| -> anyhow::Result<bool> {
            Ok(influxdb.list("buckets")?.iter().any(|bucket| bucket["name"] == name))
        };
        assert!(has_bucket("initial")? && !has_bucket(BUCKET)?);
        assert_eq!(influxdb.get("/api/v2/config")?["config"]["session-length"], 7);
        assert!(influxdb.dashboards()?.is_empty());
        assert!(influxdb.variables()?.is_empty());

        let template = dir.write("template.yml", TEMPLATE)?;
        let applied = influxdb.apply(&template, &[])?;
        assert_eq!(applied["diff"]["buckets"][0]["stateStatus"], "new", "{applied}");
        assert_eq!(applied["summary"]["dashboards"][0]["name"], "Models");
        let stack = format!("--stack-id={}", applied["stackID"].as_str().unwrap());
        let again = influxdb.apply(&template, &[&stack])?;
        assert_eq!(again["diff"]["buckets"][0]["stateStatus"], "exists", "{again}");
        assert_eq!(again["stackID"], applied["stackID"]);
        for kind in ["labels", "dashboards", "stacks"] {
            assert_eq!(influxdb.list(kind)?.len(), 1, "{kind}");
        }
        for kind in ["checks", "notificationEndpoints", "notificationRules", "tasks", "telegrafs"] {
            assert_eq!(influxdb.list(kind)?.len(), 0, "{kind}");
        }
        assert!(has_bucket(BUCKET)?);
        let broken = dir.write("broken.yml", TEMPLATE.replace("kind: Xy", "kind: NoSuchChart"))?;
        let error = format!("{:#}", influxdb.apply(&broken, &[]).unwrap_err());
        assert!(error.contains("invalid chart kind provided: nosuchchart") && error.contains("broken.yml"), "{error}");

        let dashboards = influxdb.dashboards()?;
        assert_eq!(dashboards.len(), 1);
        let dashboard = &dashboards[0];
        assert_eq!((dashboard.name.as_str(), dashboard.description.as_str()), ("Models", "How they do"));
        let cells = dashboard.cells.iter().map(|cell| (cell.name.as_str(), cell.kind.as_str(), cell.queries.len()));
        let expected = [("Notes", "markdown", 0), ("Risk", "xy", 2), ("Calls", "single-stat", 1)];
        assert_eq!(cells.collect::<Vec<_>>(), expected);
        let [notes, risk, calls] = &dashboard.cells[..] else { unreachable!() };
        assert_eq!((calls.x, calls.y, calls.w, calls.h), (6, 1, 3, 2));
        assert_eq!(notes.view["note"], "# What is seen");
        assert_eq!(risk.view["geom"], "line");

        influxdb.write(format!(
            "m,owner=b,model=x risk=0.5 {START}\nm,owner=b,model=x risk=0.7 {}\nm,owner=b,model=x risk=1 {}\n\
             m,owner=b,model=y risk=0.1 {START}\nm,owner=a,model=z risk=0.2 {START}\nm,owner=c,model=w risk=0.3 {}\n",
            START + 1_000_000_000,
            START + 10_000_000_000,
            // In another shard: schema.tagValues looks no closer.
            START + 10 * 24 * HOUR
        ))?;
        let mut v = Variables::new(START, START + HOUR)?;
        v.set("owner", "b");
        let offered = influxdb.resolve_variables(&mut v)?;
        assert_eq!(offered["owner"], ["a", "b"]);
        assert_eq!(offered["model"], ["x", "y"]);
        assert_eq!(offered["bucket"], ["another", "insights"]);
        assert_eq!(offered["factor"], ["one", "percent"]);
        assert!(offered["nothing"].is_empty());
        let values = ["owner", "model", "bucket", "factor", "nothing"].map(|name| v.get(name));
        assert_eq!(values, [Some("b"), Some("x"), Some(BUCKET), Some("100"), Some("")]);

        let column = |rows: Vec<Row>, name: &str| rows.iter().map(|row| row[name].clone()).collect::<Vec<_>>();
        assert_eq!(column(influxdb.query_with(&calls.queries[0], &v)?, "_value"), [Value::Integer(4)]);
        let rows = influxdb.query_with(&risk.queries[0], &v)?;
        // Two windows of 10 s, which is what the UI takes for an hour.
        assert_eq!(column(rows.clone(), "_value"), [Value::Float(60.0), Value::Float(100.0)]);
        let end = |window: i64| Value::Time(START + window * 10_000_000_000);
        assert_eq!(column(rows, "_time"), [end(1), end(2)]);
        assert!(influxdb.query_with(&risk.queries[1], &v)?.is_empty());
        v.set_window_period(60_000).set("factor", "1");
        assert_eq!(column(influxdb.query_with(&risk.queries[0], &v)?, "_value"), [Value::Float(2.2 / 3.0)]);

        // Without a choice the first owner in the order of the alphabet, and what is his.
        let mut v = Variables::new(START, START + HOUR)?;
        assert_eq!(influxdb.resolve_variables(&mut v)?["model"], ["z"]);
        assert_eq!(v.get("owner"), Some("a"));

        // Times before now, which the data is not in.
        let mut v = Variables::new("-30d", "now()")?;
        let offered = influxdb.resolve_variables(&mut v)?;
        assert!(offered["owner"].is_empty() && offered["model"].is_empty(), "{offered:?}");
        let now =
            "import \"array\" array.from(rows: [{_value: string(v: v.timeRangeStart) + string(v: v.windowPeriod)}])";
        assert_eq!(column(influxdb.query_with(now, &v)?, "_value"), [Value::String("-4w2d1h".into())]);

        let error = |flux: &str| format!("{:#}", influxdb.query_with(flux, &v).unwrap_err());
        let unknown = error("import \"array\" array.from(rows: [{_value: v.nobody}])");
        assert!(unknown.contains("400") && unknown.contains("record is missing label nobody"), "{unknown}");
        let missing = error("from(bucket: \"none\") |> range(start: v.timeRangeStart)");
        assert!(missing.contains("could not find bucket \"none\""), "{missing}");

        let variable = influxdb.variables()?.into_iter().find(|variable| variable.name == "model").unwrap();
        assert!(matches!(&variable.arguments, Arguments::Query { query } if query.contains("tagValues")));
        let mut circle = influxdb.get(&format!("/api/v2/variables/{}", variable.id))?;
        circle["name"] = "circle".into();
        circle["arguments"]["values"]["query"] = "x = v.circle".into();
        let circle = influxdb.post_json("/api/v2/variables", &circle)?;
        let error = influxdb.resolve_variables(&mut Variables::new("-1h", "now()")?).unwrap_err().to_string();
        assert!(error.contains("[\"circle\"]"), "{error}");
        influxdb.delete(&format!("/api/v2/variables/{}", circle["id"].as_str().unwrap()))?;
        influxdb.resolve_variables(&mut Variables::new("-1h", "now()")?)?;
        assert!(influxdb.delete("/api/v2/variables/0000000000000001").is_err());
        Ok(())
    });
}

#[test]
fn window_periods_are_those_of_the_ui() -> anyhow::Result<()> {
    let minutes = |count| -> anyhow::Result<i64> { Ok(Variables::new(START, START + count * MINUTE)?.window_period()) };
    assert_eq!(minutes(1)?, 1_000);
    assert_eq!(minutes(3 * 60)?, 60_000);
    assert_eq!(minutes(7 * 24 * 60)?, 1_800_000);
    assert_eq!(minutes(2)?, 333);
    assert_eq!(minutes(60 * 24 * 60)?, 14_400_000);
    assert_eq!(Variables::new("-2d", "now()")?.window_period(), 600_000);
    assert_eq!(Variables::new(START, START + 2_000_000)?.window_period(), 15_000);
    assert!(Variables::new(START, START).is_err());
    for no_start in ["1h", "-1mo", "-h", "-1", "-", "", "yesterday", "now()"] {
        assert!(Variables::new(no_start, "now()").is_err(), "{no_start}");
    }
    Ok(())
}
