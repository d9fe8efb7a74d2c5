//! Life between two pipes: as a child of Telegraf's processors.execd, and by hand.
//!
//! What Telegraf asks of its child, and does not say: that output leaves as soon as nothing more is waiting to be
//! read, and that the child goes only when its output has been read. When a child exits, Telegraf closes the pipe and
//! throws away what it has not read.

pub mod log;
mod pipe;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use telegraf_algorithmia::{Converter, Counts, Event, Observer};

use self::log::Log;
use self::pipe::{Signals, Waited};

/// Read at most this much at once: what a pipe holds.
const READ_SIZE: usize = 64 * 1024;

/// Write when this much is there, even if more input is waiting.
const WRITE_SIZE: usize = 128 * 1024;

/// After a signal: how long without input until nothing more is expected. When the whole service is stopped, Telegraf
/// gets the signal together with us, and still has to hand over what it has read from Kafka.
const QUIET: Duration = Duration::from_secs(1);

/// After a signal, and again at the end of the output: the longest to go on, as long as somebody reads what is written.
/// Telegraf kills a child 10 s after it has closed the child's stdin.
const PATIENCE: Duration = Duration::from_secs(4);

/// Between the end of our pipes and our own. Telegraf closes its ends when we are gone, and calls it an error if it was
/// still reading then.
const AFTER_CLOSE: Duration = Duration::from_millis(30);

/// Why reading came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The input ended.
    Input,
    /// A signal asked us to end, and was given time to.
    Signal,
    /// Nobody reads our output any more, or it cannot be written.
    Output,
}

/// The way from inputs to stdout.
pub struct Stream {
    converter: Converter,
    observer: Watch,
    signals: Signals,
    stdout: File,
    out: Vec<u8>,
    buffer: Vec<u8>,
    /// The output could not be written.
    failed: bool,
}

/// Counts, and logs what an operator should know.
#[derive(Default)]
struct Watch {
    counts: Counts,
    log: Log,
}

impl Observer for Watch {
    fn observe(&mut self, event: Event<'_>) {
        self.counts.observe(event);
        self.log.observe(event);
    }
}

impl Stream {
    pub fn new(converter: Converter) -> Result<Self> {
        Ok(Stream {
            converter,
            observer: Watch::default(),
            signals: Signals::new().context("cannot listen for SIGTERM")?,
            stdout: File::from(io::stdout().as_fd().try_clone_to_owned().context("cannot use stdout")?),
            out: Vec::new(),
            buffer: vec![0; READ_SIZE],
            failed: false,
        })
    }

    pub fn read_stdin(&mut self) -> Result<Ended> {
        let stdin = io::stdin().as_fd().try_clone_to_owned().context("cannot use stdin")?;
        self.read(File::from(stdin), Some(QUIET), || "cannot read stdin: pipe messages in, or name a file".to_owned())
    }

    pub fn read_file(&mut self, path: &Path) -> Result<Ended> {
        if path == Path::new("-") {
            return self.read_stdin();
        }
        let file = File::open(path)
            .with_context(|| format!("cannot open {}: check its name, and who may read it", path.display()))?;
        self.read(file, None, || format!("cannot read {}: check that it is a file, and its disk", path.display()))
    }

    /// Reads an input to its end. After a signal, what has arrived is still read, until nothing more has come for `quiet`;
    /// an input without `quiet` is left at once. `unreadable` says what to do where it cannot be read.
    fn read(&mut self, mut input: File, quiet: Option<Duration>, unreadable: impl Fn() -> String) -> Result<Ended> {
        let mut failure = Ok(());
        let mut stop_at = None;
        let ended = loop {
            let waiting = pipe::is_readable(input.as_fd())?;
            if (!waiting || self.out.len() >= WRITE_SIZE) && !self.write()? {
                return Ok(Ended::Output);
            }
            if self.signals.arrived() && stop_at.is_none() {
                if quiet.is_none() {
                    self.write()?;
                    return Ok(Ended::Signal);
                }
                stop_at = Some(Instant::now() + PATIENCE);
            }
            if stop_at.is_some_and(|stop_at| Instant::now() >= stop_at) {
                break Ended::Signal;
            }
            let timeout = match stop_at {
                Some(stop_at) => Some(quiet.unwrap_or_default().min(stop_at.saturating_duration_since(Instant::now()))),
                None => self.observer.log.due(),
            };
            if !waiting || stop_at.is_some() {
                match self.signals.wait(input.as_fd(), timeout, stop_at.is_none())? {
                    Waited::Readable => {}
                    Waited::Signal => continue,
                    Waited::Timeout if stop_at.is_some() => break Ended::Signal,
                    Waited::Timeout => {
                        self.observer.log.tick();
                        continue;
                    }
                }
            }
            match input.read(&mut self.buffer) {
                Ok(0) => break Ended::Input,
                Ok(len) => self.converter.push(&self.buffer[..len], &mut self.out, &mut self.observer),
                Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
                Err(error) => {
                    // What was read before is as good as ever.
                    failure = Err(error).with_context(unreadable);
                    break Ended::Input;
                }
            }
        };
        self.converter.finish(&mut self.out, &mut self.observer);
        let ended = if self.write()? { ended } else { Ended::Output };
        failure.map(|()| ended)
    }

    /// Writes what there is; false where nobody reads it.
    fn write(&mut self) -> Result<bool> {
        // In a flood there is no other pause.
        self.observer.log.tick();
        let mut rest = self.out.as_slice();
        while !rest.is_empty() {
            match self.stdout.write(rest) {
                Ok(len) => rest = &rest[len..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => pipe::wait_writable(self.stdout.as_fd())?,
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(false),
                Err(error) => {
                    log::write(
                        'E',
                        format_args!("cannot write to stdout: check that there is room where it goes: {error}"),
                    );
                    self.failed = true;
                    return Ok(false);
                }
            }
        }
        self.out.clear();
        // A flood of rejections may have made it large; a stream runs for months.
        self.out.shrink_to(2 * WRITE_SIZE);
        Ok(true)
    }

    /// Waits until the output has been read, says what there was to say, and lets go of both pipes. None where the output could
    /// not be written.
    pub fn finish(mut self, ended: Ended) -> Result<Option<Counts>> {
        if ended != Ended::Output {
            wait_until_read(self.stdout.as_fd())?;
        }
        self.observer.log.finish(&self.observer.counts);
        if pipe::unread(self.stdout.as_fd())?.is_some() {
            drop(self.stdout);
            pipe::close_output()?;
            std::thread::sleep(AFTER_CLOSE);
        }
        Ok(Some(self.observer.counts).filter(|_| !self.failed))
    }
}

/// Waits until a pipe has been read empty, or nobody reads it, or patience is at its end.
fn wait_until_read(stdout: BorrowedFd<'_>) -> Result<()> {
    let stop_at = Instant::now() + PATIENCE;
    let mut pause = Duration::from_micros(100);
    while let Some(unread) = pipe::unread(stdout)?.filter(|unread| *unread > 0) {
        if Instant::now() >= stop_at {
            let waited = PATIENCE.as_secs();
            log::write('W', format_args!("leaving with {unread} bytes of output unread after {waited} s"));
            break;
        }
        std::thread::sleep(pause);
        pause = (2 * pause).min(Duration::from_millis(10));
    }
    Ok(())
}
