//! A processor as Telegraf starts it, with the benchmark in Telegraf's place.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fixtures::telegraf;
use jiff::Timestamp;
use memchr::memmem;

/// How often the shipped telegraf.conf has a gauge made.
pub const GAUGE_EVERY: Duration = Duration::from_millis(50);

/// The command and options of the shipped telegraf.conf, with the journal in this folder.
pub fn shipped(journal: &Path) -> Vec<String> {
    let journal = journal.display().to_string();
    ["execd", "--journal", &journal, "--flow-control", "--stats", "60s"].map(str::to_owned).into()
}

/// A message as Telegraf hands it over.
pub fn metric(message: &str) -> String {
    telegraf::metric(message, now())
}

/// What Telegraf says of an empty buffer.
pub fn gauge() -> String {
    format!(
        "internal_write,output=influxdb_v2,url=http://localhost:8086 buffer_size=0i,buffer_limit=100000i,\
         buffer_fullness=0,metrics_added=0i,metrics_dropped=0i,metrics_filtered=0i,metrics_rejected=0i,\
         metrics_written=0i,errors=0i,startup_errors=0i,write_time_ns=0i {}\n",
        now()
    )
}

fn now() -> i64 {
    Timestamp::now().as_nanosecond() as i64
}

/// A processor that runs, with a pipe at each of its three ends.
pub struct Processor {
    child: Child,
    pub stdin: ChildStdin,
    pub stdout: Output,
    /// When the next gauge is due.
    gauge_at: Instant,
}

/// What a processor writes.
pub struct Output {
    pipe: ChildStdout,
    buffer: Vec<u8>,
}

impl Processor {
    /// Our own binary with these options, where no other program is named.
    pub fn start(program: Option<&str>, options: &[String]) -> Result<Self> {
        let program = program.unwrap_or_else(|| fixtures::program());
        let mut command = Command::new(program);
        command.args(options).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start {program}"))?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(mut stderr)) = pipes else { bail!("{program} has no pipes") };
        thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::stderr()));
        let stdout = Output { pipe: stdout, buffer: vec![0; 256 * 1024] };
        let mut processor = Processor { child, stdin, stdout, gauge_at: Instant::now() };
        // Without a gauge, flow control lets nothing out.
        processor.heed_time()?;
        Ok(processor)
    }

    /// The process that Telegraf would see, and what it has started.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The only child of that process: where there is a journal, the one that does the work.
    pub fn worker(&self) -> Result<u32> {
        let path = PathBuf::from(format!("/proc/{0}/task/{0}/children", self.pid()));
        let children = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        children.trim().parse().with_context(|| format!("not one child: {children:?}"))
    }

    /// How long it takes until an answer to `text` comes that has `sign` in it.
    pub fn ask(&mut self, text: &[u8], sign: &[u8]) -> Result<Duration> {
        let start = Instant::now();
        self.stdin.write_all(text)?;
        loop {
            let lines = self.stdout.read()?;
            let elapsed = start.elapsed();
            // It may be a report of its own.
            if memmem::find(lines, sign).is_some() {
                return Ok(elapsed);
            }
        }
    }

    /// Hands over a gauge if one is due, and waits until it has come through: so has all that was handed over before.
    pub fn heed_time(&mut self) -> Result<()> {
        if Instant::now() >= self.gauge_at {
            self.gauge_at = Instant::now() + GAUGE_EVERY;
            let gauge = gauge();
            self.stdin.write_all(gauge.as_bytes())?;
            self.stdout.read_until(gauge.as_bytes(), |_| ())?;
        }
        Ok(())
    }

    /// Ends it, and what is still under way comes out.
    pub fn end(mut self) -> Result<()> {
        drop(self.stdin);
        while self.stdout.pipe.read(&mut self.stdout.buffer)? > 0 {}
        let status = self.child.wait()?;
        ensure!(status.success(), "a processor ended with {status}");
        Ok(())
    }
}

impl Output {
    /// Waits for output.
    pub fn read(&mut self) -> Result<&[u8]> {
        let len = self.pipe.read(&mut self.buffer)?;
        ensure!(len > 0, "a processor has ended");
        Ok(&self.buffer[..len])
    }

    /// Reads until `end` has come, and hands what comes to `see`.
    pub fn read_until(&mut self, end: &[u8], mut see: impl FnMut(&[u8])) -> Result<()> {
        // What was read before, as far as it may be the start of `end`.
        let mut kept = 0;
        loop {
            let len = self.pipe.read(&mut self.buffer[kept..])?;
            ensure!(len > 0, "a processor has ended");
            let there = kept + len;
            see(&self.buffer[kept..there]);
            if memmem::find(&self.buffer[..there], end).is_some() {
                return Ok(());
            }
            kept = there.min(end.len() - 1);
            self.buffer.copy_within(there - kept..there, 0);
        }
    }
}
