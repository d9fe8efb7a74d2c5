//! A query of the dashboard as Grafana sends it.
//!
//! The formats of variables are in "Variable syntax" of Grafana's documentation
//! (grafana.com/docs/grafana/latest/dashboards/variables/variable-syntax/), the custom "all" value in "Add and manage
//! variables", `$timeFilter` and `$__interval` in "InfluxDB query editor". What they become exactly is in Grafana's source: the
//! formats in github.com/grafana/scenes, packages/scenes/src/variables/interpolation/formatRegistry.ts; the rest in
//! github.com/grafana/grafana, pkg/tsdb/influxdb/models/query.go.

use anyhow::{Context, Result, bail};

use crate::grafana::Choice;

/// The query with the variables that people choose, and then with those of the range.
pub fn fill(query: &str, choice: &Choice, interval_ms: i64) -> Result<String> {
    let mut filled = String::new();
    let mut rest = query;
    while let Some((before, behind)) = rest.split_once("${") {
        let (variable, behind) = behind.split_once('}').with_context(|| format!("no end of a variable in {query}"))?;
        filled += before;
        filled += &match variable.split_once(':') {
            Some(("owner", "regex")) => all_or(choice.owner),
            Some(("algorithm", "regex")) => regex(choice.algorithm),
            Some(("version", "regex")) => all_or(choice.version),
            Some(("metric", "doublequote")) => format!("\"{}\"", choice.metric.replace('"', "\\\"")),
            _ => bail!("the dashboard has no variable {variable}, or not in that format"),
        };
        rest = behind;
    }
    filled += rest;
    let range = format!("time >= {}ms and time <= {}ms", choice.start_ms, choice.stop_ms);
    let interval = if interval_ms % 60_000 == 0 {
        format!("{}m", interval_ms / 60_000)
    } else if interval_ms % 1_000 == 0 {
        format!("{}s", interval_ms / 1_000)
    } else {
        format!("{interval_ms}ms")
    };
    let filled = filled.replace("$timeFilter", &range);
    Ok(filled.replace("$__interval_ms", &interval_ms.to_string()).replace("$__interval", &interval))
}

/// "All" is the custom value of the variable, as it is.
fn all_or(value: &str) -> String {
    if value == super::ALL { super::CUSTOM_ALL.to_owned() } else { regex(value) }
}

fn regex(value: &str) -> String {
    let escape = |char: char| if r"\^$*+?.()|[]{}/".contains(char) { vec!['\\', char] } else { vec![char] };
    value.chars().flat_map(escape).collect()
}
