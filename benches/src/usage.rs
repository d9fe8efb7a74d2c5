//! What the kernel says of a process.

use anyhow::{Context, Result};
use rustix::param::clock_ticks_per_second;

/// The processor time that a process has taken so far, in seconds, with a resolution of a hundredth.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = read(pid, "stat")?;
    // The second item is the program's name in brackets, which may hold anything.
    let items = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks = items.skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>();
    Ok(ticks.with_context(|| format!("/proc/{pid}/stat has no times: {stat}"))? as f64
        / clock_ticks_per_second() as f64)
}

/// The processor time that the first thread of a process has taken so far, in seconds, to the nanosecond.
pub fn thread_seconds(pid: u32) -> Result<f64> {
    let stat = read(pid, "schedstat")?;
    let nanoseconds = stat.split_whitespace().next().and_then(|time| time.parse::<u64>().ok());
    Ok(nanoseconds.with_context(|| format!("/proc/{pid}/schedstat has no time: {stat}"))? as f64 / 1e9)
}

/// The most memory that a process has had so far, in bytes.
pub fn peak_rss(pid: u32) -> Result<u64> {
    status(pid, "VmHWM:")
}

/// The memory that a process has now, in bytes.
pub fn rss(pid: u32) -> Result<u64> {
    status(pid, "VmRSS:")
}

fn status(pid: u32, key: &str) -> Result<u64> {
    let status = read(pid, "status")?;
    let kib = status.lines().find_map(|line| line.strip_prefix(key)?.trim().strip_suffix(" kB"));
    // A process that has ended, and that nobody has asked for its status yet, has none.
    let kib = kib.with_context(|| format!("/proc/{pid}/status has no {key}"))?;
    Ok(kib.parse::<u64>()? * 1024)
}

fn read(pid: u32, name: &str) -> Result<String> {
    let path = format!("/proc/{pid}/{name}");
    std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
}
