//! Dashboards, as the server has them.

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::influxdb::Influxdb;

/// A dashboard.
#[derive(Clone, Debug, Deserialize)]
pub struct Dashboard {
    /// What the API knows it by.
    pub id: String,
    /// The name.
    pub name: String,
    /// The description.
    pub description: String,
    /// The cells, row by row.
    pub cells: Vec<Cell>,
}

/// A cell of a dashboard.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Answer")]
pub struct Cell {
    /// The name.
    pub name: String,
    /// The column its left side is in, of 12.
    pub x: i64,
    /// The row its upper side is in.
    pub y: i64,
    /// How many columns it is wide.
    pub w: i64,
    /// How many rows it is high.
    pub h: i64,
    /// How it is shown: `xy`, `single-stat`, `line-plus-single-stat`, `gauge`,
    /// `heatmap`, `histogram`, `table`, `markdown`, ...
    pub kind: String,
    /// Its Flux queries.
    pub queries: Vec<String>,
    /// All properties of the view; `kind` and `queries` are among them.
    pub view: serde_json::Value,
}

/// A cell in the server's words.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    name: String,
    x: i64,
    y: i64,
    w: i64,
    h: i64,
    properties: serde_json::Value,
}

impl From<Answer> for Cell {
    fn from(answer: Answer) -> Cell {
        let view = answer.properties;
        let queries = view["queries"].as_array().into_iter().flatten();
        Cell {
            name: answer.name,
            x: answer.x,
            y: answer.y,
            w: answer.w,
            h: answer.h,
            kind: view["type"].as_str().unwrap_or_default().to_owned(),
            queries: queries.filter_map(|query| Some(query["text"].as_str()?.to_owned())).collect(),
            view,
        }
    }
}

impl Influxdb {
    /// All dashboards, by their names.
    pub fn dashboards(&self) -> Result<Vec<Dashboard>> {
        let mut dashboards = Vec::new();
        for listed in self.list("dashboards")? {
            let id = listed["id"].as_str().context("a dashboard has no id")?;
            let answer = self.get(&format!("/api/v2/dashboards/{id}?include=properties"))?;
            let mut dashboard = Dashboard::deserialize(answer).with_context(|| format!("in the dashboard {listed}"))?;
            dashboard.cells.sort_by_key(|cell| (cell.y, cell.x));
            dashboards.push(dashboard);
        }
        dashboards.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(dashboards)
    }
}
