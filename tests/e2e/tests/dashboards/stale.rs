//! Fields that changed their type: of a range of time over the change, cells read one type, and one says what they leave out.

use anyhow::{Result, ensure};
use stack::Dir;

use crate::dashboards::calls::{Call, DAY, MINUTE, Metric, Producer, share};
use crate::dashboards::expected::World;
use crate::dashboards::{
    ALL, all_run, cells_show, choice, converted, influxdb_with_template, metric_of, now, variables,
};

/// Those that are text in an older week, or in a newer one.
const FIELDS: [&str; 4] = ["risk_score", "approved", "duration_milliseconds", "score"];

/// Owner and name of the algorithm whose fields another program wrote as text.
const TEXTS: (&str, &str) = ("eve", "texts");

/// All of the test but its start.
pub fn cells_read_one_type_and_say_what_they_leave_out(dir: &Dir) -> Result<()> {
    let influxdb = influxdb_with_template(dir)?;
    let now = now();
    // Each is in a shard of its own.
    let [before, between, after] = [40, 20, 10].map(|days| now - days * DAY);
    let mut producer = Producer::default();
    for index in 0..40 {
        let number = |seed| Metric::Number(share(index as u64 * 10 + seed));
        let metrics = [
            ("risk_score", number(1)),
            ("approved", Metric::Flag(index % 3 == 0)),
            ("duration_milliseconds", Metric::Number(index as f64 + 3.0)),
            ("score", number(2)),
            ("n_features", number(3)),
        ];
        let version = ["1", "2"][index as usize % 2];
        producer.exact(["asli", "numbers", version], between + index * MINUTE, &metrics);
    }
    let calls = producer.calls;
    influxdb.write(converted(&[], &calls.iter().map(metric_of).collect::<Vec<_>>())?)?;
    let mut texts = Vec::new();
    for time in [before, after] {
        let fields = FIELDS.map(|field| format!("{field}=\"high\"")).join(",");
        influxdb.write(format!(
            "algorithmia,algorithm_name={},algorithm_owner={},algorithm_version=1 {fields} {time}\n",
            TEXTS.1, TEXTS.0
        ))?;
        texts.extend(FIELDS.map(|field| (TEXTS.0, TEXTS.1, field, time)));
    }
    let world = |calls: Vec<Call>| World { calls, texts: texts.clone(), now, ..World::default() };
    let without = |call: &Call| {
        let mut call = call.clone();
        call.metrics.retain(|(key, _)| !FIELDS.contains(&key.as_str()));
        call
    };

    // Text came first, of another algorithm: of the numbers nothing is shown. Of the range without it, all is.
    let chosen = ["asli", "numbers", ALL, "score"];
    let over_both = choice(now - 45 * DAY, now - 15 * DAY, chosen)?;
    let mut left_out = world(calls.iter().map(without).collect());
    left_out.numbers = calls.clone();
    cells_show(&influxdb, &left_out, std::slice::from_ref(&over_both))?;
    let by_version = choice(now - 45 * DAY, now - 15 * DAY, ["asli", "numbers", "2", "n_features"])?;
    cells_show(&influxdb, &left_out, &[by_version])?;
    let all = world(calls);
    cells_show(&influxdb, &all, &[choice(now - 25 * DAY, now - 15 * DAY, chosen)?])?;
    // Numbers came first: text is not shown.
    let over_both = choice(now - 30 * DAY, now - 5 * DAY, chosen)?;
    let of_texts = choice(now - 30 * DAY, now - 5 * DAY, [ALL, TEXTS.1, ALL, "score"])?;
    cells_show(&influxdb, &all, &[over_both, of_texts])?;
    // Where text is what is read, no query fails.
    let v = variables(&choice(now - 45 * DAY, now - 15 * DAY, [ALL, TEXTS.1, ALL, "score"])?)?;
    ensure!(all_run(&influxdb, &v)? > 0, "nothing is shown of {v:?}");
    Ok(())
}
