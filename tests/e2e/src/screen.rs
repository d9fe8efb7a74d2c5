//! What InfluxDB's own UI shows in a cell, told as text.
//!
//! The rules are those of the UI and of its chart library, github.com/influxdata/ui
//! at OSS-v2.9.0 and github.com/influxdata/giraffe at 2.38, which docs/pictures are
//! drawn with. What is only seen, such as colours and axes, is left out.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};
use jiff::Timestamp;

use crate::dashboard::Cell;
use crate::flux::{self, Column, Table, Value};

/// So many values of a line are told; of more, how many there are.
const MANY: usize = 8;

/// Columns that no number is taken from.
const NO_VALUES: [&str; 5] = ["_start", "_stop", "_time", "table", "result"];

impl Cell {
    /// What the cell shows of the answers to its queries, which are annotated CSV:
    ///
    /// - `No Results`, the cell's note if it is to be shown then, or what else the UI says
    ///   in place of a chart.
    /// - A big number or a gauge is its text, such as `0.42 ms`.
    /// - A line of a chart is `name: value, 2 × value`. The name is what its tags and `_field`
    ///   are, so without the times and the measurement. So are the points of a histogram,
    ///   and of a heatmap, which tells none apart.
    /// - A row of a table, of which the first has the columns' names, is its texts with
    ///   ` | ` between.
    ///
    /// It is an error if a table does not show what it has: if a number or a time is not
    /// known, for which the UI shows something else, if rows are hidden or texts are torn.
    pub fn shows(&self, answers: &[String]) -> Result<String> {
        let mut tables = Vec::new();
        for answer in answers {
            tables.extend(flux::tables(answer.as_bytes())?);
        }
        tables.retain(|table| !table.rows.is_empty());
        if tables.is_empty() {
            let note = self.view["note"].as_str().filter(|note| !note.is_empty());
            let note = note.filter(|_| self.view["showNoteWhenEmpty"] == true);
            return Ok(note.unwrap_or("No Results").to_owned());
        }
        Ok(match self.kind.as_str() {
            "table" => self.rows(&tables[0], tables.len())?,
            "single-stat" => self.number(&tables),
            "gauge" => match latest(&tables) {
                Some(Latest::Text(_)) => "String value cannot be displayed in this graph type".to_owned(),
                _ => self.number(&tables),
            },
            "line-plus-single-stat" => format!("{}\n{}", self.number(&tables), self.lines(&tables, None)),
            "histogram" => {
                let tags = self.view["fillColumns"].as_array().into_iter().flatten().filter_map(|tag| tag.as_str());
                self.lines(&tables, Some(&tags.collect::<Vec<_>>()))
            }
            "heatmap" => self.lines(&tables, Some(&[])),
            _ => self.lines(&tables, None),
        })
    }

    fn number(&self, tables: &[Table]) -> String {
        let text = match latest(tables) {
            None => return "No latest value found".to_owned(),
            Some(Latest::Number(number)) => self.decimals(number),
            Some(Latest::Text(text)) => text,
        };
        let part = |name: &str| self.view[name].as_str().unwrap_or_default();
        format!("{}{text}{}", part("prefix"), part("suffix"))
    }

    /// A number as numbers and tables have it, with commas between thousands.
    fn decimals(&self, number: f64) -> String {
        let places = &self.view["decimalPlaces"];
        let digits = match places["digits"].as_u64().filter(|_| places["isEnforced"] == true) {
            Some(digits) => digits.min(10) as usize,
            None if number.fract() == 0.0 => 0,
            None => 2,
        };
        let text = format!("{:.digits$}", number.abs());
        let (whole, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
        let mut grouped = String::new();
        for (index, digit) in whole.chars().enumerate() {
            if index > 0 && (whole.len() - index).is_multiple_of(3) {
                grouped.push(',');
            }
            grouped.push(digit);
        }
        let is_zero = text.bytes().all(|byte| matches!(byte, b'0' | b'.'));
        format!("{}{grouped}{fraction}", if number < 0.0 && !is_zero { "-" } else { "" })
    }

    /// The lines of a chart, which the groups of the answer are, or the values of these tags.
    fn lines(&self, tables: &[Table], tags: Option<&[&str]>) -> String {
        let column = |name: &str, usual: &str| {
            self.view[name].as_str().filter(|name| !name.is_empty()).unwrap_or(usual).to_owned()
        };
        // The only axis of a histogram is that of its values.
        let y = if self.kind == "histogram" { column("xColumn", "_value") } else { column("yColumn", "_value") };
        let needed = tags.into_iter().flatten().copied().chain([y.as_str()]);
        if needed.clone().any(|name| tables.iter().any(|table| table.position(name).is_none())) {
            return "The data returned from the query can't be visualized with this graph type.".to_owned();
        }
        let mut lines: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for table in tables {
            let value = table.position(&y).unwrap_or_default();
            for row in &table.rows {
                let is_named = |name: &str, group: bool| match tags {
                    Some(tags) => tags.contains(&name),
                    None => group && !["_start", "_stop", "_measurement"].contains(&name),
                };
                let named = table.columns.iter().zip(row).filter(|(column, _)| is_named(&column.name, column.group));
                let named: BTreeMap<_, _> = named.map(|(column, value)| (&column.name, text(value))).collect();
                let name = named.into_values().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" ");
                lines.entry(name).or_default().push(text(&row[value]));
            }
        }
        let lines = lines.into_iter().map(|(name, values)| {
            let runs = values.chunk_by(|a, b| a == b).map(|run| match run {
                [value] => value.clone(),
                run => format!("{} × {}", run.len(), run[0]),
            });
            let runs = runs.collect::<Vec<_>>();
            let shown = if runs.len() > MANY { format!("{} values", values.len()) } else { runs.join(", ") };
            if name.is_empty() { shown } else { format!("{name}: {shown}") }
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// The rows of a table, in the order that the cell names.
    fn rows(&self, table: &Table, tables: usize) -> Result<String> {
        ensure!(tables == 1, "of {tables} tables one is seen at a time");
        for column in &table.columns {
            ensure!(!column.name.contains([',', '"', '\n']), "the UI tears the column {:?} apart", column.name);
        }
        // The UI makes CSV of all that is there, and reads that again.
        let texts = table.rows.iter().flatten().flatten().filter_map(|value| match value {
            Value::String(text) => Some(text),
            _ => None,
        });
        let torn = texts.into_iter().find(|text| text.contains(['"', '\n']));
        ensure!(torn.is_none(), "the UI tears {torn:?} apart");
        let options = self.view["fieldOptions"].as_array().map_or(&[][..], Vec::as_slice);
        let option = |name: &str| options.iter().position(|option| option["internalName"] == name);
        let mut columns = (0..table.columns.len())
            .filter(|index| !["", "result", "table"].contains(&table.columns[*index].name.as_str()))
            .filter(|index| option(&table.columns[*index].name).is_none_or(|at| options[at]["visible"] != false))
            .collect::<Vec<_>>();
        columns.sort_by_key(|index| option(&table.columns[*index].name).unwrap_or(options.len()));

        let mut rows = table.rows.iter().collect::<Vec<_>>();
        let by = self.view["tableOptions"]["sortBy"]["internalName"].as_str().and_then(|name| table.position(name));
        if let Some(by) = by {
            rows.sort_by(|a, b| in_table_order(&a[by], &b[by]));
        }
        let head = columns.iter().map(|index| {
            let name = &table.columns[*index].name;
            let shown = option(name).and_then(|at| options[at]["displayName"].as_str()).filter(|name| !name.is_empty());
            shown.unwrap_or(name).to_owned()
        });
        let mut lines = vec![head.collect::<Vec<_>>().join(" | ")];
        for row in rows {
            let cells = columns.iter().map(|index| match &row[*index] {
                None => {
                    let Column { name, datatype, .. } = &table.columns[*index];
                    let instead = if datatype.starts_with("dateTime") { "the present" } else { "null" };
                    bail!("the UI shows {instead} where {name} is not known, in {row:?}")
                }
                Some(Value::Float(number)) if number.is_finite() => Ok(self.decimals(*number)),
                Some(Value::Integer(number)) => Ok(self.decimals(*number as f64)),
                Some(Value::Unsigned(number)) => Ok(self.decimals(*number as f64)),
                value => Ok(text(value)),
            });
            lines.push(cells.collect::<Result<Vec<_>>>()?.join(" | "));
        }
        Ok(lines.join("\n"))
    }
}

/// The number that is shown large.
enum Latest {
    Number(f64),
    Text(String),
}

/// The first value that is there in the rows with the latest time, in the order of the columns' names, `_value` before all.
fn latest(tables: &[Table]) -> Option<Latest> {
    let count: usize = tables.iter().map(|table| table.rows.len()).sum();
    let has = |name: &str| tables.iter().any(|table| table.position(name).is_some());
    let clock = ["_time", "_stop"].into_iter().find(|name| has(name));
    let mut best: Option<(i64, usize, String, Latest)> = None;
    for (order, (table, row)) in
        tables.iter().flat_map(|table| table.rows.iter().map(move |row| (table, row))).enumerate()
    {
        let time = clock.and_then(|name| table.position(name)).and_then(|index| match &row[index] {
            // To the UI, a time is of milliseconds.
            Some(Value::Time(time)) => Some(time / 1_000_000),
            _ => None,
        });
        let Some(time) = time.or((count == 1).then_some(0)) else { continue };
        for (column, value) in table.columns.iter().zip(row) {
            let value = match value {
                Some(Value::Float(number)) if number.is_finite() => Latest::Number(*number),
                // What the UI cannot read as a number, it has as text.
                Some(Value::Float(number)) if number.is_infinite() => Latest::Text(text(value)),
                Some(Value::Integer(number)) => Latest::Number(*number as f64),
                Some(Value::Unsigned(number)) => Latest::Number(*number as f64),
                Some(Value::Time(time)) => Latest::Number((time / 1_000_000) as f64),
                Some(Value::String(text)) => Latest::Text(text.clone()),
                _ => continue,
            };
            if NO_VALUES.contains(&column.name.as_str()) {
                continue;
            }
            // "_value" is the first of all.
            let name = if column.name.contains("_value") { String::new() } else { column.name.clone() };
            let better = best.as_ref().is_none_or(|(then, before, other, _)| {
                time > *then || (time == *then && (order, &name) < (*before, other))
            });
            if better {
                best = Some((time, order, name, value));
            }
        }
    }
    best.map(|(.., value)| value)
}

/// As it stands in an answer; `null` where a number is not there.
fn text(value: &Option<Value>) -> String {
    match value {
        None => "null".to_owned(),
        Some(Value::Float(number)) if number.is_infinite() => if *number > 0.0 { "+Inf" } else { "-Inf" }.to_owned(),
        Some(Value::Float(number)) => number.to_string(),
        Some(Value::Integer(number)) => number.to_string(),
        Some(Value::Unsigned(number)) => number.to_string(),
        Some(Value::Boolean(is)) => is.to_string(),
        Some(Value::String(text)) => text.clone(),
        // Whatever the cell's own format, as this is none of those that the UI knows.
        Some(Value::Time(time)) => match Timestamp::from_nanosecond((*time).into()) {
            Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S").to_string(),
            Err(error) => error.to_string(),
        },
    }
}

/// Numbers, and texts that are some, by their size; other texts by their characters.
fn in_table_order(a: &Option<Value>, b: &Option<Value>) -> Ordering {
    let number = |value: &Option<Value>| match value {
        Some(Value::Float(number)) => Some(*number),
        Some(Value::Integer(number)) => Some(*number as f64),
        Some(Value::String(text)) if text.is_empty() => Some(0.0),
        Some(Value::String(text)) => text.parse().ok(),
        _ => None,
    };
    match (number(a), number(b)) {
        (Some(a), Some(b)) => a.total_cmp(&b),
        _ => text(a).cmp(&text(b)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cell(kind: &str, mut view: serde_json::Value) -> Cell {
        view["type"] = kind.into();
        serde_json::from_value(json!({"x": 0, "y": 0, "w": 1, "h": 1, "properties": view})).unwrap()
    }

    fn csv(types: &str, groups: &str, rows: &str) -> String {
        format!(
            "#datatype,string,long,{types}\n#group,false,false,{groups}\n#default,_result,,\n,result,table,{rows}\n"
        )
    }

    fn shown(kind: &str, view: serde_json::Value, csv: &str) -> String {
        cell(kind, view).shows(&[csv.to_owned()]).unwrap()
    }

    #[test]
    fn the_latest_number_is_shown_large() {
        let view = json!({"suffix": " ms", "decimalPlaces": {"isEnforced": true, "digits": 1}});
        assert_eq!(shown("single-stat", view.clone(), ""), "No Results");
        assert_eq!(shown("table", json!({"note": "a note", "showNoteWhenEmpty": true}), ""), "a note");
        assert_eq!(shown("table", json!({"note": "a note", "showNoteWhenEmpty": false}), ""), "No Results");
        let one = |value: &str| csv("double,string", "false,true", &format!("_value,owner\n,,0,{value},asli"));
        assert_eq!(shown("single-stat", view.clone(), &one("1234567.25")), "1,234,567.2 ms");
        // What is no number is not shown, but what else is there.
        assert_eq!(shown("single-stat", view.clone(), &one("NaN")), "asli ms");
        assert_eq!(shown("single-stat", view.clone(), &one("")), "asli ms");
        assert_eq!(shown("gauge", view.clone(), &one("")), "String value cannot be displayed in this graph type");
        assert_eq!(shown("single-stat", view.clone(), &one("+Inf")), "+Inf ms");
        let two = |second: &str| {
            let rows = format!("_time,_value\n,,0,2026-01-01T00:00:00Z,1\n,,0,2026-01-01T00:00:01Z,{second}");
            csv("dateTime:RFC3339,double", "false,false", &rows)
        };
        assert_eq!(shown("single-stat", view.clone(), &two("2")), "2.0 ms");
        assert_eq!(shown("single-stat", view.clone(), &two("")), "1.0 ms");
        let timeless = csv("double", "false", "_value\n,,0,1\n,,0,2");
        assert_eq!(shown("single-stat", view, &timeless), "No latest value found");
    }

    #[test]
    fn a_table_has_its_columns_names_and_order() {
        let view = json!({
            "fieldOptions": [
                {"internalName": "b", "displayName": "B", "visible": true},
                {"internalName": "_order", "displayName": "", "visible": false},
            ],
            "tableOptions": {"sortBy": {"internalName": "_order"}},
            "decimalPlaces": {"isEnforced": false, "digits": 2},
        });
        let answer = |number: &str, time: &str, text: &str| {
            let rows = format!("_order,a,b,c\n,,0,10,{number},x,{time}\n,,0,9,1234.5,{text},2026-01-01T00:00:00.5Z");
            csv("long,double,string,dateTime:RFC3339", "false,false,false,false", &rows)
        };
        let expected = "B | a | c\n | 1,234.50 | 2026-01-01 00:00:00\nx | 2 | 2026-01-01 00:00:01";
        let time = "2026-01-01T00:00:01Z";
        assert_eq!(shown("table", view.clone(), &answer("2", time, "")), expected);
        for (answer, says) in [
            (answer("", time, ""), "shows null where a is"),
            (answer("2", "", ""), "shows the present where c is"),
            (answer("2", time, "\"\"\"quoted\"\"\""), "tears"),
            (answer("2", time, "") + "\n" + &answer("2", time, ""), "of 2 tables"),
        ] {
            let error = cell("table", view.clone()).shows(&[answer]).unwrap_err().to_string();
            assert!(error.contains(says), "{error} does not say {says}");
        }
    }

    #[test]
    fn a_chart_has_a_line_for_each_group() {
        let answer = csv("double,string", "false,true", "_value,tag\n,,0,1.5,a\n,,0,,a\n,,1,2,b");
        assert_eq!(shown("xy", json!({}), &answer), "a: 1.5, null\nb: 2");
        assert_eq!(shown("heatmap", json!({}), &answer), "1.5, null, 2");
        assert_eq!(shown("histogram", json!({"fillColumns": ["tag"]}), &answer), "a: 1.5, null\nb: 2");
        let unfit = shown("histogram", json!({"fillColumns": ["other"]}), &answer);
        assert!(unfit.contains("can't be visualized"), "{unfit}");
    }
}
