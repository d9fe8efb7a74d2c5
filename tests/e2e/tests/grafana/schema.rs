//! The dashboard is what Grafana's published schema says of one: `@grafana/schema`, from npm.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value as Json;
use stack::Dir;

use crate::grafana::{dashboard, panels};

/// What is imported of the schema. JSON has the values of an enumeration, and not its members.
const TYPES: &str = r#"
import type { Dashboard } from "@grafana/schema";
type Plain<T> = T extends string ? `${T}`
  : T extends number ? (`${number}` extends `${T}` ? number : `${T}` extends `${infer N extends number}` ? N : T)
  : T extends (infer Item)[] ? Plain<Item>[]
  : T extends object ? { [Key in keyof T]: Plain<T[Key]> }
  : T;
"#;

/// The options of a panel are no part of `Dashboard`. The schema has them by the panel's type.
fn module(kind: &str) -> Result<String> {
    let name = match kind {
        "gauge" => "Gauge",
        "heatmap" => "Heatmap",
        "histogram" => "Histogram",
        "stat" => "Stat",
        "table" => "Table",
        "text" => "Text",
        "timeseries" => "TimeSeries",
        other => anyhow::bail!("where does the schema have the options of a panel of the type {other}?"),
    };
    Ok(format!("@grafana/schema/dist/esm/raw/composable/{kind}/panelcfg/x/{name}PanelCfg_types.gen"))
}

/// The dashboard and the options of its panels, assigned to the types that they have to be of.
fn program(dashboard: &Json) -> Result<String> {
    let mut text = TYPES.to_owned();
    text += &format!("export const dashboard: Plain<Dashboard> = {dashboard};\n");
    for (index, panel) in panels(dashboard).enumerate() {
        let kind = panel["type"].as_str().context("a panel has no type")?;
        let module = module(kind)?;
        let options = &panel["options"];
        text += &format!("export const options{index}: Plain<Partial<import({module:?}).Options>> = {options};\n");
        if let Some(custom) = panel["fieldConfig"]["defaults"].get("custom") {
            text += &format!("export const field{index}: Plain<Partial<import({module:?}).FieldConfig>> = {custom};\n");
        }
    }
    Ok(text)
}

pub fn the_dashboard_is_what_the_schema_says(dir: &Dir) -> Result<()> {
    let modules = stack::grafana_schema()?;
    symlink(&modules, dir.path().join("node_modules"))?;
    let right = dashboard()?;
    dir.write("right.ts", program(&right)?)?;
    // Each has one thing wrong: a type, a value of an enumeration, a key, an option of a panel.
    let wrong: [fn(&mut Json); 5] = [
        |dashboard| dashboard["schemaVersion"] = "39".into(),
        |dashboard| dashboard["templating"]["list"][1]["refresh"] = 7.into(),
        |dashboard| dashboard["panels"][1]["fieldConfig"]["defaults"]["thresholds"]["mode"] = "absolutely".into(),
        |dashboard| dashboard["panels"][1]["gridPosition"] = 1.into(),
        |dashboard| dashboard["panels"][1]["options"]["colorMode"] = "rainbow".into(),
    ];
    for (index, change) in wrong.iter().enumerate() {
        let mut dashboard = right.clone();
        change(&mut dashboard);
        ensure!(dashboard != right, "change {index} changes nothing");
        dir.write(&format!("wrong{index}.ts"), program(&dashboard)?)?;
    }
    let files = fs::read_dir(dir.path())?.map(|entry| Ok(entry?.file_name())).collect::<Result<Vec<_>>>()?;
    let files = files.iter().filter(|name| name.to_string_lossy().ends_with(".ts"));
    let compiler = modules.join("typescript/bin/tsc");
    let output = Command::new("node")
        .arg(compiler)
        .args(["--noEmit", "--strict", "--skipLibCheck", "--pretty", "false"])
        .args(["--module", "esnext", "--moduleResolution", "bundler", "--target", "es2022"])
        .args(files)
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .output()
        .context("cannot run node: install Node.js 18 or newer")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = said.lines().filter(|line| line.contains(": error ")).collect::<Vec<_>>();
    for index in 0..wrong.len() {
        let file = format!("wrong{index}.ts(");
        ensure!(
            errors.iter().any(|line| line.starts_with(&file)),
            "the compiler finds nothing wrong in {file}\n{said}"
        );
    }
    ensure!(errors.iter().all(|line| line.starts_with("wrong")), "{said}");
    Ok(())
}
