//! The output: through the journal, and to stdout as far as flow control allows.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use anyhow::Result;
use telegraf_algorithmia::length_of_lines;

use super::flow::{self, Flow};
use super::journal::Journal;
use super::{Patience, log};
use crate::output::shown::shown_lines;
use crate::platform::{self, Call, call, part};

/// When this many bytes are waiting to be written, only as much input is read as necessary.
const MAX_WAITING: u64 = 8 * 1024 * 1024;

/// When this many bytes are waiting in memory, because there is no journal, they are written without regard to room.
const MAX_IN_MEMORY: u64 = 64 * 1024 * 1024;

/// Closes a string, or is a string where a value should begin. What follows is neither a field nor a time, wherever it
/// is.
const SPOILER: &[u8] = b"\"\" !\n";

/// Makes Telegraf's reads larger. Telegraf reads as much at once as the buffer of its parser holds. That is 1 KiB at
/// first, two or three lines, and each read is a system call. The buffer doubles, permanently, whenever it is full and
/// contains no complete metric (streamMachine.Next in Telegraf's plugins/parsers/influx/machine.go). Blank lines fill
/// it and are no metrics; this many make it 8 KiB. A larger buffer gains no more: with every metric, the rest of the
/// buffer is moved to its front.
const WIDENING: [u8; 6000] = [b'\n'; 6000];

pub struct Outlet {
    stdout: File,
    is_terminal: bool,
    journal: Option<Journal>,
    flow: Option<Flow>,
    patience: Patience,
    /// The next to be written: the rest of a batch that did not fit.
    rest: Option<Batch>,
    /// Batches that are waiting and are not in the journal.
    memory: VecDeque<Batch>,
    in_memory: u64,
    reader: Reader,
    /// How many lines were written again, after an earlier process had written them.
    replayed: u64,
    /// How many bytes were written to stdout.
    bytes: u64,
    /// The total time that lines waited, without the current wait.
    waited: Duration,
    waits_since: Option<Instant>,
    told: bool,
}

/// Whole lines; `count` is their number.
struct Batch {
    lines: Vec<u8>,
    count: u64,
    in_journal: bool,
    /// Written by an earlier process.
    is_replay: bool,
}

/// The state of the reader of stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    There,
    Gone,
    /// Stdout cannot be written.
    Broken,
}

/// The figures of an outlet for the self-report.
pub struct Sums {
    /// Bytes written to stdout.
    pub bytes: u64,
    /// Lines of an earlier process that were written again.
    pub replayed: u64,
    /// How many bytes were written to the journal, and how many it holds now.
    pub journal_written: u64,
    pub journal_bytes: u64,
    /// Bytes that are waiting to be written.
    pub waiting: u64,
    /// The total time that lines waited.
    pub waited: Duration,
}

impl Outlet {
    pub fn new(stdout: File, journal: Option<Journal>, flow: Option<Flow>, patience: Patience) -> Self {
        Outlet {
            is_terminal: stdout.is_terminal(),
            stdout,
            journal,
            flow,
            patience,
            rest: None,
            memory: VecDeque::new(),
            in_memory: 0,
            reader: Reader::There,
            replayed: 0,
            bytes: 0,
            waited: Duration::ZERO,
            waits_since: None,
            told: false,
        }
    }

    /// Ends a line in which the worker before us may have been killed. Whatever the line contains so far, it is invalid
    /// with this appended, and the next line is valid.
    pub fn spoil_line(&mut self) -> Result<()> {
        self.write(SPOILER, 0)
    }

    /// Makes Telegraf read more at once, see `WIDENING`.
    pub fn widen_reader(&mut self) -> Result<()> {
        self.write_out(&WIDENING)
    }

    /// Makes the output pipe hold `size` bytes.
    pub fn grow(&self, size: usize) {
        platform::grow(&self.stdout, size);
    }

    /// Takes `count` whole lines out of `lines`. Most are written at once. When this returns, they are in the journal
    /// if there is one.
    pub fn put(&mut self, lines: &mut Vec<u8>, count: u64) -> Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let at_once = !self.waits() && self.takes(count);
        let journaled = self.journal.as_mut().is_some_and(|journal| journal.append(lines, count, !at_once));
        if at_once {
            self.write(lines, count)?;
        } else if !journaled && self.reader == Reader::There {
            self.in_memory += lines.len() as u64;
            self.memory.push_back(Batch { lines: std::mem::take(lines), count, in_journal: false, is_replay: false });
        }
        lines.clear();
        self.tidy();
        Ok(())
    }

    /// Whether stdout has a reader, and there is room for this many lines.
    fn takes(&mut self, count: u64) -> bool {
        self.reader == Reader::There && self.room() >= count
    }

    fn room(&mut self) -> u64 {
        if self.in_memory > MAX_IN_MEMORY { u64::MAX } else { self.flow.as_mut().map_or(u64::MAX, Flow::room) }
    }

    /// Writes the next waiting batch, as far as there is room. Returns whether anything was written.
    pub fn drain(&mut self) -> Result<bool> {
        if self.reader != Reader::There || !self.waits() {
            return Ok(false);
        }
        match self.room() {
            0 => Ok(false),
            room => self.let_out(room),
        }
    }

    /// Writes at most `most` lines, and no more than one batch.
    fn let_out(&mut self, most: u64) -> Result<bool> {
        let Some(mut batch) = self.next() else { return Ok(false) };
        if batch.count > most {
            let rest = batch.lines.split_off(length_of_lines(&batch.lines, most));
            self.in_memory += rest.len() as u64;
            self.rest = Some(Batch { lines: rest, count: batch.count - most, ..batch });
            batch.count = most;
        }
        if batch.is_replay {
            self.replayed += batch.count;
        }
        self.write(&batch.lines, batch.count)?;
        self.tidy();
        Ok(true)
    }

    fn next(&mut self) -> Option<Batch> {
        if let Some(batch) = self.rest.take().or_else(|| self.memory.pop_front()) {
            self.in_memory -= batch.lines.len() as u64;
            return Some(batch);
        }
        let mut lines = Vec::new();
        let journal = self.journal.as_mut()?;
        let count = journal.next(&mut lines)?;
        Some(Batch { lines, count, in_journal: true, is_replay: journal.is_earlier() })
    }

    /// Whether any lines are waiting to be written.
    pub fn waits(&self) -> bool {
        self.rest.is_some() || !self.memory.is_empty() || self.journal.as_ref().is_some_and(Journal::waits)
    }

    fn waiting(&self) -> u64 {
        self.in_memory + self.journal.as_ref().map_or(0, Journal::waiting)
    }

    /// Whether so much is waiting that no more input should be read, except what is needed to find the next gauge.
    pub fn is_full(&self) -> bool {
        let Some(flow) = &self.flow else { return false };
        self.reader == Reader::There && self.waiting() > MAX_WAITING && !flow.look_in().is_zero()
    }

    /// How long until there is something to do without new input.
    pub fn due(&self) -> Option<Duration> {
        let journal = self.journal.as_ref().and_then(Journal::due);
        let flow = self.flow.as_ref().filter(|_| self.reader == Reader::There && self.waits());
        let look = flow.map(Flow::look_in).filter(|wait| !wait.is_zero());
        journal.into_iter().chain(look).chain(flow.and_then(Flow::due)).min()
    }

    fn has_gauges(&self) -> bool {
        self.flow.as_ref().is_some_and(Flow::has_gauges)
    }

    /// Flow control, if it is enabled.
    pub fn flow(&mut self) -> Option<&mut Flow> {
        self.flow.as_mut()
    }

    /// Deletes from the journal what is no longer needed, measures how long lines wait, and logs long waits.
    pub fn tidy(&mut self) {
        // The rest of a batch that is split is still in the journal.
        if let Some(journal) = self.journal.as_mut().filter(|_| self.rest.is_none()) {
            journal.tidy(self.flow.as_ref().and_then(Flow::stored));
        }
        let waits = self.reader == Reader::There && self.flow.is_some() && self.waits();
        match self.waits_since {
            None if waits => self.waits_since = Some(Instant::now()),
            Some(since) if !waits => {
                self.waited += since.elapsed();
                self.waits_since = None;
                if std::mem::take(&mut self.told) {
                    let seconds = since.elapsed().as_secs();
                    log::write('I', format_args!("InfluxDB has caught up; lines have waited for it for {seconds} s"));
                }
            }
            Some(since) if !self.told && since.elapsed() > self.patience.long_wait && self.has_gauges() => {
                self.told = true;
                let waiting = self.waiting() / 1024;
                log::write(
                    'W',
                    format_args!(
                        "lines wait for room in Telegraf's buffer, {waiting} KiB by now; when 8 MiB wait, new messages \
                         stay in Kafka: InfluxDB does not take them as fast as they come"
                    ),
                );
            }
            _ => {}
        }
    }

    fn write(&mut self, lines: &[u8], count: u64) -> Result<()> {
        self.write_out(lines)?;
        if self.reader != Reader::There {
            return Ok(());
        }
        self.bytes += lines.len() as u64;
        if let Some(flow) = &mut self.flow {
            flow.wrote(count.saturating_sub(flow::gauges_in(lines)), lines.len());
        }
        if let Some(journal) = &mut self.journal {
            journal.emitted(self.flow.as_ref().map_or(0, Flow::lines));
        }
        Ok(())
    }

    /// Writes to stdout while it has a reader.
    fn write_out(&mut self, text: &[u8]) -> Result<()> {
        let shown = self.is_terminal.then(|| shown_lines(text));
        let mut rest = shown.as_deref().map_or(text, str::as_bytes);
        while !rest.is_empty() {
            let most = part(rest.len());
            match call(Call::WritePipe, || self.stdout.write(&rest[..most])) {
                Ok(len) => rest = &rest[len..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => platform::wait_writable(&self.stdout)?,
                Err(error) if platform::is_shortage(&error) => platform::pause(),
                Err(error) => {
                    self.lose_reader(&error);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Stops writing after this error of stdout. A reader that has closed the pipe is no error.
    pub fn lose_reader(&mut self, error: &io::Error) {
        if error.kind() == io::ErrorKind::BrokenPipe {
            self.reader = Reader::Gone;
        } else {
            log::write('E', format_args!("cannot write to stdout: check that there is room where it goes: {error}"));
            self.reader = Reader::Broken;
        }
    }

    /// At the end of the input, writes what is still waiting. If the journal keeps the rest for the next process, that
    /// is as much as there is room for; else it is everything.
    pub fn finish(&mut self) -> Result<()> {
        let kept = self.memory.is_empty() && self.rest.as_ref().is_none_or(|rest| rest.in_journal);
        let heeds_room = kept && self.has_gauges();
        let started = Instant::now();
        while self.reader == Reader::There && self.waits() {
            if kept && started.elapsed() > self.patience.end {
                break;
            }
            let room = if heeds_room { self.room() } else { u64::MAX };
            if room == 0 || !self.let_out(room)? {
                break;
            }
        }
        Ok(())
    }

    pub fn has_journal(&self) -> bool {
        self.journal.is_some()
    }

    /// Whether further input would be of no use: stdout cannot be written, and there is no journal.
    pub fn is_closed(&self) -> bool {
        self.reader != Reader::There && self.journal.is_none()
    }

    /// Whether writing to stdout failed for another reason than a closed pipe.
    pub fn is_broken(&self) -> bool {
        self.reader == Reader::Broken
    }

    /// Whether stdout has a reader.
    pub fn is_read(&self) -> bool {
        self.reader == Reader::There
    }

    pub fn stdout(&self) -> &File {
        &self.stdout
    }

    pub fn sums(&self) -> Sums {
        Sums {
            bytes: self.bytes,
            replayed: self.replayed,
            journal_written: self.journal.as_ref().map_or(0, Journal::written),
            journal_bytes: self.journal.as_ref().map_or(0, Journal::bytes),
            waiting: self.waiting(),
            waited: self.waited + self.waits_since.map_or(Duration::ZERO, |since| since.elapsed()),
        }
    }
}
