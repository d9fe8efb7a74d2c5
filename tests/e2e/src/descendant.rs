//! The processes that a server has started, to look at them and to kill them.

use std::fs;
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::wait::wait_for;

/// A process that a [`Process`](crate::Process) has started, or another
/// descendant of it.
///
/// It holds on to that one process: should the process end, and its number
/// become another's, nothing that is done here reaches the other. So only
/// processes of a test can be killed. Linux only.
pub struct Descendant {
    pid: Pid,
    handle: OwnedFd,
}

impl Descendant {
    /// The process's number.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get() as u32
    }

    /// What it has started itself, and what still runs of it.
    pub fn children(&self) -> Result<Vec<Descendant>> {
        if !self.running() {
            return Ok(Vec::new());
        }
        children(self.pid)
    }

    /// Whether it runs; a dead one that nobody has reaped does not.
    pub fn running(&self) -> bool {
        let mut fds = [PollFd::new(&self.handle, PollFlags::IN)];
        // The handle becomes readable when the process ends.
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) == Ok(0)
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) -> Result<()> {
        self.send(Signal::TERM)
    }

    /// Sends SIGKILL. Without an error it ran until then.
    pub fn kill(&self) -> Result<()> {
        self.send(Signal::KILL)
    }

    /// Waits until it has ended.
    pub fn wait(&self, timeout: Duration) -> Result<()> {
        wait_for(&format!("the end of process {}", self.pid()), timeout, || Ok((!self.running()).then_some(())))
    }

    fn send(&self, signal: Signal) -> Result<()> {
        anyhow::ensure!(self.running(), "process {} has ended", self.pid());
        pidfd_send_signal(&self.handle, signal).with_context(|| format!("cannot send {signal:?} to {}", self.pid()))
    }
}

/// The children of a process that certainly is ours and runs.
pub(crate) fn children(parent: Pid) -> Result<Vec<Descendant>> {
    let mut found = Vec::new();
    for pid in listed(parent)? {
        // It may end at any time, and is left out then.
        if let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) {
            found.push(Descendant { pid, handle });
        }
    }
    // The number may have become another's before it was held: who is still a child now was one all the time.
    let still = listed(parent)?;
    found.retain(|child| still.contains(&child.pid));
    Ok(found)
}

fn listed(parent: Pid) -> Result<Vec<Pid>> {
    let mut numbers = String::new();
    let Ok(threads) = fs::read_dir(format!("/proc/{}/task", parent.as_raw_nonzero())) else {
        return Ok(Vec::new());
    };
    for thread in threads {
        // Threads come and go.
        numbers += &fs::read_to_string(thread?.path().join("children")).unwrap_or_default();
    }
    let pids = numbers.split_whitespace().map(|number| Ok(Pid::from_raw(number.parse()?)));
    Ok(pids.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}
