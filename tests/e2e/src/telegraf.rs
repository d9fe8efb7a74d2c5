//! Telegraf, run with a configuration of the caller's.

use std::ffi::OsStr;
use std::ops::Deref;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result};

use crate::dir::Dir;
use crate::install::telegraf_binary;
use crate::process::Process;

/// A Telegraf. Dereferences to its [`Process`].
pub struct Telegraf {
    process: Process,
}

impl Telegraf {
    /// Starts Telegraf with a configuration file (or folder) and environment
    /// variables on top of the test's own. Does not wait for anything: what
    /// there is to wait for depends on the configuration.
    pub fn start<K: AsRef<OsStr>, V: AsRef<OsStr>>(
        dir: &Dir,
        config: impl AsRef<Path>,
        envs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Telegraf> {
        let mut command = Command::new(telegraf_binary()?);
        command.arg("--config").arg(config.as_ref()).envs(envs);
        Ok(Telegraf { process: Process::spawn(dir, "telegraf", command)? })
    }

    /// Starts a Telegraf that has ended, with the same configuration and
    /// environment. The log goes on in the same file.
    pub fn restart(&self) -> Result<()> {
        self.process.spawn_again()
    }

    /// Runs `telegraf config check` on a configuration file.
    pub fn check<K: AsRef<OsStr>, V: AsRef<OsStr>>(
        config: impl AsRef<Path>,
        envs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Output> {
        Command::new(telegraf_binary()?)
            .args(["config", "check", "--config"])
            .arg(config.as_ref())
            .envs(envs)
            .stdin(Stdio::null())
            .output()
            .context("cannot run telegraf")
    }
}

impl Deref for Telegraf {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}
