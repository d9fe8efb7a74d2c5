//! The folder and the process group that the servers of one test share.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::process::{Group, Process};

/// Runs a test in a [`Dir`] of its own and panics with the error if it gives
/// one, so that a failed test keeps its folder even when it failed through `?`.
#[track_caller]
pub fn test(name: &str, body: impl FnOnce(&Dir) -> Result<()>) {
    let dir = Dir::new(name).expect("cannot prepare the test");
    if let Err(error) = body(&dir) {
        panic!("{error:?}");
    }
}

/// A folder for the data and the logs of some servers, and the process group
/// they live in.
///
/// It lasts until the `Dir` and all servers started in it are dropped; then
/// whatever still runs in the group is killed. The folder is removed, unless
/// the thread is panicking, a server ended by itself with a failure, or
/// [`Dir::keep`] was called: then its path is printed to stderr.
pub struct Dir(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    folder: TempDir,
    pub(crate) group: Group,
    names: Mutex<BTreeMap<String, usize>>,
    reason_to_keep: Mutex<Option<String>>,
}

impl Dir {
    /// Makes a folder whose name starts with `name`, below the system's folder
    /// for temporary files.
    pub fn new(name: &str) -> Result<Dir> {
        let parent = std::env::temp_dir();
        let folder = tempfile::Builder::new()
            .prefix(&format!("{name}-"))
            .tempdir_in(&parent)
            .with_context(|| format!("cannot make a folder in {}", parent.display()))?;
        Ok(Dir(Arc::new(Shared {
            folder,
            group: Group::new()?,
            names: Mutex::default(),
            reason_to_keep: Mutex::default(),
        })))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.0.folder.path()
    }

    /// Writes a file into the folder and gives its path.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.path().join(name);
        std::fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Starts a command that shares the servers' fate. Its output goes to
    /// `<name>.log` in the folder.
    pub fn spawn(&self, name: &str, command: Command) -> Result<Process> {
        Process::spawn(self, name, command)
    }

    /// Keeps the folder, whatever comes.
    pub fn keep(&self) {
        self.0.keep("as asked");
    }

    /// `name` the first time, then `name-2`, `name-3`, ...
    pub(crate) fn unique(&self, name: &str) -> String {
        let mut names = self.0.names.lock().unwrap_or_else(PoisonError::into_inner);
        let count = names.entry(name.to_owned()).or_default();
        *count += 1;
        match *count {
            1 => name.to_owned(),
            n => format!("{name}-{n}"),
        }
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        self.0.keep_if_panicking();
    }
}

impl Shared {
    /// Keeps the folder; the first reason is the one that is told.
    pub(crate) fn keep(&self, reason: &str) {
        let mut kept = self.reason_to_keep.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get_or_insert_with(|| reason.to_owned());
    }

    pub(crate) fn keep_if_panicking(&self) {
        if thread::panicking() {
            self.keep("the test failed");
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Nobody may write to the folder while it is being removed.
        self.group.kill();
        let reason = self.reason_to_keep.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(reason) = reason {
            self.folder.disable_cleanup(true);
            // Not eprintln: the test harness would swallow it.
            let path = self.folder.path().display();
            let _ = writeln!(std::io::stderr(), "[stack] kept {path} ({reason})");
        }
    }
}
