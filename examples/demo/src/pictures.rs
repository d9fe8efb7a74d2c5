//! Pictures of the dashboards, drawn by tools/pictures.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use stack::{Influxdb, ORG, TOKEN};

use crate::say;

const PIPELINE: &str = "Algorithmia - Pipeline Health";

/// What has been made ready for drawing.
pub struct Painter {
    tool: PathBuf,
    out: PathBuf,
}

impl Painter {
    /// Installs what the drawing takes, so that a demo need not run for minutes before it is missed.
    pub fn new(out: &Path) -> Result<Painter> {
        let out = std::path::absolute(out)?;
        let tool = fixtures::repository("tools/pictures");
        ensure!(
            ["chromium", "chromium-browser", "google-chrome"].iter().any(|name| version(name)),
            "pictures are drawn by Chromium, which is not on the PATH: `apt-get install chromium`"
        );
        ensure!(
            version("node"),
            "pictures are drawn by a Node.js program, and `node` is not on the PATH: install Node.js"
        );
        say(format!("pictures: npm ci in {}", tool.display()));
        let status = Command::new("npm")
            .args(["ci", "--silent", "--no-audit", "--no-fund"])
            .current_dir(&tool)
            .status()
            .context("pictures need `npm`, which comes with Node.js")?;
        ensure!(status.success(), "npm ci failed in {} ({status})", tool.display());
        Ok(Painter { tool, out })
    }

    /// Draws every dashboard.
    pub fn paint(&self, influxdb: &Influxdb) -> Result<()> {
        for dashboard in influxdb.dashboards()? {
            // The pipeline knows nothing of the time before the demo.
            let start = if dashboard.name == PIPELINE { "-5m" } else { "-1h" };
            // Of the metrics, the one that drifts.
            let metric: &[&str] =
                if dashboard.name == PIPELINE { &[] } else { &["--set", "algorithmia_metric=risk_score"] };
            let status = Command::new("node")
                .arg(self.tool.join("render.mjs"))
                .args([
                    "--url",
                    influxdb.url(),
                    "--org",
                    ORG,
                    "--dashboard",
                    &dashboard.name,
                    "--start",
                    start,
                    // Wide enough for a request's id.
                    "--width",
                    "1600",
                    "--scale",
                    "1",
                ])
                .args(metric)
                .arg("--out")
                .arg(&self.out)
                // Not among the arguments, which everybody on the machine can see.
                .env("INFLUX_TOKEN", TOKEN)
                .status()
                .context("cannot run node")?;
            ensure!(status.success(), "the dashboard {:?} could not be drawn ({status})", dashboard.name);
        }
        say(format!("the pictures are in {}", self.out.display()));
        Ok(())
    }
}

/// Whether a command is there.
fn version(command: &str) -> bool {
    Command::new(command).arg("--version").output().is_ok_and(|output| output.status.success())
}
