//! The program that the demo shows: telegraf-algorithmia, as cargo builds it.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::say;

/// The variable that telegraf.conf takes the program's path from.
const VARIABLE: &str = "TELEGRAF_ALGORITHMIA";

/// As much of cargo's messages as it takes to find what it has built.
#[derive(Deserialize)]
struct Artifact {
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// The path of the program: the one that `TELEGRAF_ALGORITHMIA` names, else built from the sources beside this demo, which
/// costs nothing where that has been done. (`cargo run --example` builds the library only.)
pub fn provide() -> Result<PathBuf> {
    if let Some(path) = env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
        let path = std::path::absolute(path)?;
        ensure!(
            path.is_file(),
            "the environment variable {VARIABLE} says {}, where no program is: correct it, or unset it to have the \
             program built",
            path.display()
        );
        return Ok(path);
    }
    build()
}

fn build() -> Result<PathBuf> {
    // The one profile for both, so that a demo for looking at runs what is shipped.
    let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
    say(format!("telegraf-algorithmia: cargo build --profile {profile}, which does nothing where it is up to date"));
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["build", "--quiet", "--locked", "--profile", profile, "--bin", env!("CARGO_PKG_NAME")])
        .args(["--message-format", "json-render-diagnostics"])
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run cargo: install Rust, or set {VARIABLE} to the program's path"))?;
    ensure!(output.status.success(), "cargo could not build telegraf-algorithmia ({})", output.status);
    let messages = String::from_utf8_lossy(&output.stdout);
    let artifacts = messages.lines().filter_map(|line| serde_json::from_str::<Artifact>(line).ok());
    let ours = |artifact: Artifact| match artifact.target {
        Some(target) if target.name == env!("CARGO_PKG_NAME") => artifact.executable,
        _ => None,
    };
    match artifacts.filter_map(ours).next_back() {
        Some(path) => Ok(path),
        None => bail!("cargo does not say where telegraf-algorithmia is: set {VARIABLE} to its path"),
    }
}
