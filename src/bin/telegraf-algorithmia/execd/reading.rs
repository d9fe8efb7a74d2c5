//! Reads one input to its end: its position, what it waits for, and what it takes out of a pipe.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use telegraf_algorithmia::{Parallel, Standing};

use super::flood::Flood;
use super::input::{Chunk, Input};
use super::log;
use super::stream::{Caller, Ended, Stream, refuse_compressed, unreadable};
use crate::output::progress::Watched;
use crate::platform::Waited;

/// If a read of this many bytes gives fewer lines than this, a pipe of 64 KiB holds only one or two lines, and Telegraf
/// and we wait for each other with each line. Such pipes are enlarged. With short lines, a larger pipe would only put
/// more lines beyond the control of flow control.
const FEW_LINES: u64 = 8;
const FEW_LINES_SIZE: usize = 32 * 1024;
const WIDE_PIPE: usize = 256 * 1024;

/// After a signal, the longest time for which a worker continues. The pipes from its supervisor end long before that.
const WORKER_END: Duration = Duration::from_secs(3600);

/// The state of an input.
#[derive(Clone, Copy)]
enum State {
    /// The input is read as it arrives.
    Reading,
    /// So many lines are waiting to be written that only as much input is read as necessary.
    Full,
    /// A signal has asked us to end. Messages in flight are still read, but only until this time.
    Ending { until: Instant },
    /// Reading stops at once; an incomplete message is not converted.
    Left(Ended),
    /// Nothing more is read. What has been read is still written.
    Over(Ended),
}

/// An input that is being read.
struct Reading {
    input: Input,
    state: State,
    /// After a signal: how long without input until no more is expected. None for an input that a signal ends at once:
    /// if the input is a file or typed, nothing is in flight.
    quiet: Option<Duration>,
    flood: Flood,
    /// The pipes have been enlarged.
    is_wide: bool,
}

impl Stream {
    /// Reads a file to its end, as [`Stream::read`] does.
    pub(super) fn read_in_parallel(&mut self, file: File, unreadable: impl Fn() -> String) -> Result<Ended> {
        let mut input = Parallel::new(Watched(file), self.threads);
        let mut failure = Ok(());
        let mut state = State::Reading;
        loop {
            state = self.next_state(state, None)?;
            match state {
                State::Left(ended) => return Ok(ended),
                State::Over(ended) => return self.end_input(ended, failure),
                State::Reading | State::Full | State::Ending { .. } => {}
            }
            match input.next(&mut self.converter, &mut self.out, &mut self.observer) {
                Ok(Some(counts)) => {
                    self.observer.add(&counts);
                    self.put()?;
                }
                Ok(None) => state = State::Over(Ended::Input),
                Err(error) => {
                    failure = Err(error).with_context(&unreadable);
                    state = State::Over(Ended::Input);
                }
            }
        }
    }

    /// Reads the input that is at `path`, or `-` for stdin, to its end.
    pub(super) fn read(&mut self, input: Input, quiet: Option<Duration>, path: &Path) -> Result<Ended> {
        let mut failure = Ok(());
        let received = self.received;
        let mut reading = Reading { input, state: State::Reading, quiet, flood: Flood::default(), is_wide: false };
        let ended = loop {
            let drained = self.outlet.drain()?;
            reading.state = self.next_state(reading.state, quiet)?;
            if matches!(reading.state, State::Reading) && self.outlet.is_full() && !reading.input.has_hung_up()? {
                reading.state = State::Full;
            }
            let chunk = match reading.state {
                State::Left(ended) => return Ok(ended),
                State::Over(ended) => break ended,
                State::Full if !reading.input.keeps() => Ok(Chunk::Empty),
                State::Full => reading.input.read(),
                State::Reading | State::Ending { .. } => {
                    self.consume(&mut reading.input)?;
                    reading.input.read()
                }
            };
            self.take_over(&chunk);
            match chunk {
                Ok(Chunk::Bytes(bytes)) if self.received == received && self.is_refused(bytes, path, &mut failure) => {
                    reading.state = State::Over(Ended::Input);
                }
                Ok(Chunk::Bytes(bytes)) => {
                    let len = bytes.len();
                    let lines = self.convert(bytes)?;
                    reading.flood.came(lines);
                    if lines < FEW_LINES && len >= FEW_LINES_SIZE && !std::mem::replace(&mut reading.is_wide, true) {
                        reading.input.grow(WIDE_PIPE);
                        self.outlet.grow(WIDE_PIPE);
                    }
                }
                Ok(Chunk::Empty) => {
                    self.put()?;
                    if !drained {
                        self.wait(&mut reading)?;
                    }
                }
                Ok(Chunk::HungUp) => {
                    self.put()?;
                    self.take(&mut reading.input, self.converter.standing_behind().0, 0)?;
                }
                Ok(Chunk::End) => reading.state = State::Over(Ended::Input),
                Err(error) => {
                    // What was read before the error is still valid.
                    failure = Err(error).with_context(|| unreadable(path));
                    reading.state = State::Over(Ended::Input);
                }
            }
        };
        if self.converter.pending() > 0 && (self.outlet.has_journal() || self.is_interrupted(ended, quiet)) {
            self.break_off();
        }
        self.end_input(ended, failure)
    }

    /// Whether an input that begins with `start` is compressed, which sets `failure`. Under Telegraf such bytes can
    /// only be a message.
    fn is_refused(&self, start: &[u8], path: &Path, failure: &mut Result<()>) -> bool {
        if self.caller == Caller::Hand {
            *failure = refuse_compressed(start, path);
        }
        failure.is_err()
    }

    /// The state of an input now. One without a `quiet` ends at once when a signal arrives.
    fn next_state(&mut self, state: State, quiet: Option<Duration>) -> Result<State> {
        Ok(match state {
            State::Left(_) | State::Over(_) => state,
            _ if self.outlet.is_closed() => State::Left(Ended::Output),
            State::Ending { until } if Instant::now() >= until => State::Over(Ended::Signal),
            State::Ending { .. } => state,
            State::Reading | State::Full if !self.signals.arrived() => State::Reading,
            State::Reading | State::Full if quiet.is_none() => {
                self.put()?;
                State::Left(Ended::Signal)
            }
            // Telegraf sends a signal only after it has closed our input. If Telegraf got a signal together with us, it
            // may need time, and what it still writes must not be lost.
            State::Reading | State::Full => {
                let most = match self.caller {
                    Caller::Supervisor(_) => WORKER_END,
                    Caller::Hand | Caller::Telegraf => self.patience.end,
                };
                State::Ending { until: Instant::now() + most }
            }
        })
    }

    /// Nothing can be read: waits until input arrives or something else is due.
    fn wait(&mut self, reading: &mut Reading) -> Result<()> {
        let Reading { input, state, quiet, flood, .. } = reading;
        let waited = match *state {
            State::Reading | State::Full => {
                if flood.pause() {
                    return Ok(());
                }
                let due = self.due();
                flood.begin_wait();
                if matches!(state, State::Full) && !input.keeps() {
                    input.wait_for_hang_up(&self.signals, due)?
                } else {
                    input.wait(&self.signals, due, true)?
                }
            }
            State::Ending { until } => {
                let left = until.saturating_duration_since(Instant::now());
                flood.begin_wait();
                input.wait(&self.signals, Some(quiet.unwrap_or_default().min(left)), false)?
            }
            State::Left(_) | State::Over(_) => return Ok(()),
        };
        match (waited, *state) {
            (Waited::Readable | Waited::Signal, _) => {}
            (Waited::Timeout, State::Ending { .. }) => *state = State::Over(Ended::Signal),
            (Waited::Timeout, _) => {
                self.outlet.tidy();
                self.put()?;
            }
        }
        Ok(())
    }

    /// Continues where the worker before us was, if there was one. `chunk` is the first chunk that is read.
    fn take_over(&mut self, chunk: &io::Result<Chunk<'_>>) {
        if let Some(note) = self.note.take() {
            let standing = note.standing(if let Ok(Chunk::Bytes(bytes)) = chunk { bytes } else { &[] });
            self.converter.resume(standing);
            self.handover.iter_mut().for_each(|handover| handover.begin(standing));
        }
    }

    /// Takes out of the pipe what has been converted. The start of an incomplete metric stays in the pipe while there
    /// is room for the rest.
    fn consume(&mut self, input: &mut Input) -> Result<()> {
        let pending = self.converter.pending();
        let (standing, rest) = if input.has_room_behind(pending) {
            (self.converter.standing_before(), pending)
        } else {
            self.converter.standing_behind()
        };
        self.take(input, standing, rest)
    }

    /// Takes out of the pipe what has been read, except the last `rest` bytes. The next input then begins at
    /// `standing`.
    fn take(&mut self, input: &mut Input, standing: Standing, rest: usize) -> Result<()> {
        if let Some(handover) = &mut self.handover {
            handover.note(standing, input.seen(rest));
        }
        Ok(input.consume(rest)?)
    }

    /// Drops the start of a message whose rest will not arrive: Telegraf ends every line, unless it dies while it
    /// writes one.
    fn break_off(&mut self) {
        let len = self.converter.break_off(&mut self.out, &mut self.observer);
        if len > 0 && self.outlet.has_journal() {
            log::write(
                'W',
                format_args!(
                    "left out the last {len} bytes, an unfinished line: its sender was killed, and sends it again"
                ),
            );
        } else if len > 0 {
            log::write('W', format_args!("left out the last {len} bytes, an unfinished message"));
        }
    }

    /// Writes what is left at the end of an input, even if reading it has failed.
    fn end_input(&mut self, ended: Ended, failure: Result<()>) -> Result<Ended> {
        loop {
            self.converter.finish(&mut self.out, &mut self.observer);
            self.put()?;
            if !self.converter.has_paused() {
                break;
            }
        }
        let ended = if self.outlet.is_closed() { Ended::Output } else { ended };
        failure.map(|()| ended)
    }
}
