//! The program that the demo shows.

use std::env;
use std::path::PathBuf;

use anyhow::{Result, ensure};

use crate::say;

/// The variable that telegraf.conf takes the program's path from.
const VARIABLE: &str = "TELEGRAF_ALGORITHMIA";

/// The path of the program: the one that `TELEGRAF_ALGORITHMIA` names, else built from the sources beside this demo.
pub fn provide() -> Result<PathBuf> {
    let Some(path) = env::var_os(VARIABLE).filter(|path| !path.is_empty()) else {
        say("telegraf-algorithmia: cargo builds it, which does nothing where it is up to date");
        return Ok(fixtures::program().into());
    };
    let path = std::path::absolute(path)?;
    ensure!(
        path.is_file(),
        "the environment variable {VARIABLE} says {}, where no program is: correct it, or unset it to have the program built",
        path.display()
    );
    Ok(path)
}
