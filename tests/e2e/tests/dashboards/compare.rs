//! Whether a cell shows what it has to.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use anyhow::{Context, Result, bail, ensure};
use stack::{Cell, Row, Value};

use crate::dashboards::calls::MINUTE;
use crate::dashboards::expected::{Expected, Labels, Line, Shown};

/// Compares what a cell's query has given, and when it ran, with what is expected.
pub fn compare(cell: &Cell, answer: &str, asked: &Range<i64>, expected: &Expected) -> Result<()> {
    // What the UI makes of it is seen as it is.
    cell.shows(&[answer.to_owned()])?;
    let rows = &stack::rows(answer.as_bytes())?[..];
    match expected {
        Expected::Number(expected) => {
            ensure!(rows.len() <= 1, "there are {} rows where one number is shown", rows.len());
            let number = rows.first().map(number).transpose()?;
            ensure!(
                match (number, expected) {
                    (Some(number), Some(expected)) => same(number, *expected),
                    (None, None) => true,
                    _ => false,
                },
                "it is {number:?} instead of {expected:?}"
            );
        }
        Expected::Lines(expected) => lines(rows, expected)?,
        Expected::Cloud(expected) => cloud(cell, rows, expected)?,
        Expected::Table(expected) => table(cell, rows, asked, expected)?,
    }
    Ok(())
}

/// To 9 digits: sums of floats depend on their order.
fn same(a: f64, b: f64) -> bool {
    // What is too large for a sum is infinite.
    a == b || (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
}

fn number(row: &Row) -> Result<f64> {
    match row.get("_value") {
        Some(Value::Float(number)) => Ok(*number),
        Some(Value::Integer(number)) => Ok(*number as f64),
        other => bail!("{other:?} is no number, in {row:?}"),
    }
}

fn time(row: &Row) -> Result<i64> {
    match row.get("_time") {
        Some(Value::Time(time)) => Ok(*time),
        other => bail!("{other:?} is no time, in {row:?}"),
    }
}

/// The columns that `labels` names, as a row has them.
fn labels(row: &Row, labels: &Labels) -> Result<Labels> {
    let label = |name: &&'static str| match row.get(*name) {
        Some(Value::String(text)) => Ok((*name, text.clone())),
        None => Ok((*name, String::new())),
        Some(other) => bail!("{name} is {other:?}"),
    };
    labels.keys().map(label).collect()
}

/// Each table of the answer is a line.
fn lines(rows: &[Row], expected: &[Line]) -> Result<()> {
    let mut tables: BTreeMap<i64, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        let Some(Value::Integer(table)) = row.get("table") else { bail!("{row:?} is in no table") };
        tables.entry(*table).or_default().push(row);
    }
    let mut left = tables.into_values().collect::<Vec<_>>();
    for line in expected {
        let of_line = |table: &Vec<&Row>| labels(table[0], &line.labels).is_ok_and(|labels| labels == line.labels);
        let at = left.iter().position(of_line).with_context(|| format!("no line {:?} of {rows:?}", line.labels))?;
        let table = left.swap_remove(at);
        for row in &table {
            ensure!(labels(row, &line.labels)? == line.labels, "{row:?} is in the line {:?}", line.labels);
        }
        let points = table.iter().map(|row| Ok((time(row)?, number(row)?))).collect::<Result<Vec<_>>>()?;
        for (point, expected) in points.iter().zip(&line.points) {
            let same = point.0 == expected.0 && same(point.1, expected.1);
            ensure!(same, "the line {:?} has {point:?} instead of {expected:?}", line.labels);
        }
        let (count, expected) = (points.len(), line.points.len());
        ensure!(count == expected, "the line {:?} has {count} points instead of {expected}", line.labels);
    }
    ensure!(left.is_empty(), "there are lines that should not be there: {left:?}");
    Ok(())
}

fn cloud(cell: &Cell, rows: &[Row], expected: &[(i64, f64, Labels)]) -> Result<()> {
    // The UI fails where a column that it tells points apart by is missing.
    for column in cell.view["fillColumns"].as_array().into_iter().flatten().filter_map(|column| column.as_str()) {
        ensure!(rows.iter().all(|row| row.contains_key(column)), "there is no column {column}");
    }
    let names = expected.first().map(|(.., labels)| labels.clone()).unwrap_or_default();
    let mut points =
        rows.iter().map(|row| Ok((time(row)?, number(row)?, labels(row, &names)?))).collect::<Result<Vec<_>>>()?;
    let mut expected = expected.to_vec();
    for points in [&mut points, &mut expected] {
        points.sort_by(|a, b| a.0.cmp(&b.0).then(a.2.cmp(&b.2)).then(a.1.total_cmp(&b.1)));
    }
    ensure!(points.len() == expected.len(), "there are {} points instead of {}", points.len(), expected.len());
    for (point, expected) in points.iter().zip(&expected) {
        let same = point.0 == expected.0 && same(point.1, expected.1) && point.2 == expected.2;
        ensure!(same, "there is {point:?} instead of {expected:?}");
    }
    Ok(())
}

/// The rows in order of the column that the UI sorts by, and with the columns that it does not hide.
fn table(cell: &Cell, rows: &[Row], asked: &Range<i64>, expected: &[(i64, BTreeMap<String, Shown>)]) -> Result<()> {
    let options = cell.view["fieldOptions"].as_array().map_or(&[][..], Vec::as_slice);
    let hidden = options.iter().filter(|option| option["visible"] == false);
    let hidden: BTreeSet<_> = hidden.filter_map(|option| option["internalName"].as_str()).collect();
    let mut rows = rows.to_vec();
    let sort_by = cell.view["tableOptions"]["sortBy"]["internalName"].as_str().unwrap_or_default();
    if !sort_by.is_empty() {
        rows.sort_by(|a, b| order(a.get(sort_by), b.get(sort_by)));
    }
    for row in &mut rows {
        // CSV's own.
        if row.get("result") == Some(&Value::String("_result".to_owned())) {
            row.remove("result");
        }
        if let Some(Value::Integer(_)) = row.get("table") {
            row.remove("table");
        }
        row.retain(|name, value| !hidden.contains(name.as_str()) && *value != Value::String(String::new()));
    }
    let mut left = expected.iter().collect::<Vec<_>>();
    let mut last = i64::MIN;
    for row in &rows {
        let at = left.iter().position(|(_, expected)| is_row(row, expected, asked));
        let (rank, _) = left.remove(at.with_context(|| format!("a row is\n{row:?}\nbut there are left\n{left:?}"))?);
        ensure!(*rank >= last, "{row:?} should be further up");
        last = *rank;
    }
    ensure!(left.is_empty(), "there are no rows {left:?}\nin {rows:?}");
    Ok(())
}

fn is_row(row: &Row, expected: &BTreeMap<String, Shown>, asked: &Range<i64>) -> bool {
    let empty = |shown: &Shown| matches!(shown, Shown::Is(Value::String(text)) if text.is_empty());
    let expected = expected.iter().filter(|(_, shown)| !empty(shown));
    expected.clone().count() == row.len()
        && expected.clone().all(|(name, shown)| row.get(name).is_some_and(|value| is_shown(value, shown, asked)))
}

fn is_shown(value: &Value, shown: &Shown, asked: &Range<i64>) -> bool {
    match (value, shown) {
        (Value::Float(value), Shown::Is(Value::Float(expected))) => same(*value, *expected),
        (value, Shown::Is(expected)) => value == expected,
        // One that is halfway between two may be either.
        (Value::String(text), Shown::Whole(number)) => text
            .parse::<f64>()
            .is_ok_and(|whole| whole.fract() == 0.0 && (whole - number).abs() < 0.5 + 1e-9 * number.abs()),
        (Value::Float(minutes), Shown::Since(time)) => {
            let minutes_to = |now: i64| (now - time) as f64 / MINUTE as f64;
            (minutes_to(asked.start)..=minutes_to(asked.end)).contains(minutes)
        }
        _ => false,
    }
}

/// As the UI sorts: numbers and times by their size, text by its characters, what is missing first.
fn order(a: Option<&Value>, b: Option<&Value>) -> std::cmp::Ordering {
    match (a, b) {
        (Some(Value::Float(a)), Some(Value::Float(b))) => a.total_cmp(b),
        (Some(Value::Integer(a)), Some(Value::Integer(b))) => a.cmp(b),
        (Some(Value::Time(a)), Some(Value::Time(b))) => a.cmp(b),
        (Some(Value::String(a)), Some(Value::String(b))) => a.cmp(b),
        (a, b) => a.is_some().cmp(&b.is_some()),
    }
}
