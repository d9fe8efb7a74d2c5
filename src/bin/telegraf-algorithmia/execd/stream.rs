//! The loop that reads inputs and writes their lines, by hand and under Telegraf.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use telegraf_algorithmia::{Converter, Counts, Summary, compression};

use super::flow::Flow;
use super::handover::{Handover, Note};
use super::input::Input;
use super::journal::{self, Journal};
use super::outlet::Outlet;
use super::stats::Stats;
use super::watch::Watch;
use super::{Patience, Turn, Worker, let_go, log};
use crate::output::progress;
use crate::output::{self, Form};
use crate::platform::{self, Signals};

/// Lines are written when the buffer holds this many bytes, even if more input is waiting.
const WRITE_SIZE: usize = 128 * 1024;

/// The converter pauses for a write when the buffer holds this many bytes, even in the middle of a read. The lines of
/// short messages that are rejected are a hundred times as large as the messages.
const PAUSE_SIZE: usize = 2 * WRITE_SIZE;

/// What started the process and sends it signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A person, a script, or a Telegraf that is not configured with `execd`. A signal interrupts unfinished work.
    Hand,
    /// Telegraf ends the process with a signal. That is no error.
    Telegraf,
    /// The supervisor forwards Telegraf's signals, and closes the pipes.
    Supervisor(Worker),
}

/// What the stream does in addition to converting.
#[derive(Clone, Debug, Default)]
pub struct Service {
    pub journal: Option<journal::Settings>,
    /// The name of the output whose buffer limits what is written.
    pub flow_control: Option<String>,
    /// The interval of the self-report, the name it is reported under, and the name of the instance.
    pub stats: Option<(Duration, String, String)>,
}

/// The settings of a stream.
pub struct Plan {
    pub caller: Caller,
    pub service: Service,
    pub form: Form,
    /// The summary of all lines, printed at the end.
    pub summary: Option<Summary>,
    /// How many threads convert a file.
    pub threads: usize,
    pub patience: Patience,
}

/// Why the reading of an input ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The input ended, or could not be read further.
    Input,
    /// A signal asked us to end, and the messages in flight have been read.
    Signal,
    /// A signal interrupted the input; holds the exit status for that.
    Interrupted(u8),
    /// Our output has no reader any more, or cannot be written.
    Output,
}

/// The pipeline from inputs to stdout.
pub struct Stream {
    pub(super) converter: Converter,
    pub(super) observer: Watch,
    pub(super) signals: Rc<Signals>,
    pub(super) outlet: Outlet,
    stats: Option<Stats>,
    summary: Option<Summary>,
    pub(super) out: Vec<u8>,
    pub(super) caller: Caller,
    pub(super) patience: Patience,
    pub(super) threads: usize,
    /// The position for the worker that may have to replace us.
    pub(super) handover: Option<Handover>,
    /// The position that the worker before us left; None once the first input has arrived.
    pub(super) note: Option<Note>,
    /// How many bytes of input have been read.
    pub(super) received: u64,
}

impl Stream {
    /// # Errors
    /// If stdout or signals cannot be used, or another process uses the journal.
    pub fn new(converter: Converter, plan: Plan) -> Result<Self> {
        let Service { journal, flow_control, .. } = &plan.service;
        if let Some(limits) = platform::LIMITS.filter(|_| journal.is_some() || flow_control.is_some()) {
            bail!("{limits}");
        }
        // Listen before opening the journal, which may have to wait.
        let signals = match plan.caller {
            Caller::Hand | Caller::Telegraf => Signals::new(true, false),
            Caller::Supervisor(worker) => Signals::new(false, worker.turn == Turn::Last),
        };
        let signals = signals.context("cannot listen for SIGTERM")?;
        let stdout = platform::file_of(io::stdout()).context("cannot use stdout")?;
        Self::to(stdout, Rc::new(signals), converter, plan)
    }

    /// A stream that writes to any file.
    pub(super) fn to(stdout: File, signals: Rc<Signals>, mut converter: Converter, plan: Plan) -> Result<Self> {
        let Plan { caller, service, form, summary, threads, patience } = plan;
        let Service { journal, flow_control, stats } = service;
        let journal = journal.map(|settings| Journal::open(settings, patience)).transpose()?;
        let (handover, note) = match (&journal, caller) {
            (Some(journal), Caller::Supervisor(worker)) => journal.handover(worker).unzip(),
            _ => (None, None),
        };
        let flow = flow_control.clone().map(|output| Flow::new(output, patience));
        let mut outlet = Outlet::new(stdout, journal, flow, patience);
        match caller {
            Caller::Supervisor(worker) if worker.turn != Turn::First => outlet.spoil_line()?,
            // Only Telegraf sends gauges. Any other reader would see unexpected blank lines.
            _ if flow_control.is_some() => outlet.widen_reader()?,
            _ => {}
        }
        converter.pause_at(PAUSE_SIZE);
        if form.traces() {
            converter.trace();
        }
        Ok(Stream {
            converter,
            // A trace is written message by message, while the message is read.
            threads: if form.traces() { 1 } else { threads },
            observer: Watch::new(form, flow_control, &patience),
            signals,
            outlet,
            stats: stats.map(|(every, name, instance)| Stats::new(every, &name, &instance)),
            summary,
            out: Vec::new(),
            caller,
            patience,
            handover,
            note: note.flatten(),
            received: 0,
        })
    }

    /// Reads these inputs, files or `-` for stdin, one after the other. Returns the exit status.
    pub fn run(mut self, inputs: &[PathBuf], strict: bool) -> Result<ExitCode> {
        progress::start(inputs, self.patience.progress);
        let mut failed = false;
        let mut ended = Ended::Input;
        for path in inputs {
            match self.read_file(path) {
                Ok(Ended::Input) => {}
                Ok(other) => {
                    ended = other;
                    break;
                }
                // If one file cannot be read, the others still are.
                Err(error) => {
                    log::write('E', format_args!("{error:#}"));
                    failed = true;
                }
            }
        }
        match self.finish(ended)? {
            Some(counts) => failed |= strict && counts.all_rejected() > 0,
            None => failed = true,
        }
        Ok(match ended {
            Ended::Interrupted(status) => ExitCode::from(status),
            _ if failed => ExitCode::FAILURE,
            _ => ExitCode::SUCCESS,
        })
    }

    /// Reads a file, or `-` for stdin, to its end.
    fn read_file(&mut self, path: &Path) -> Result<Ended> {
        let is_stdin = path == Path::new("-");
        let mut file = if is_stdin { platform::file_of(io::stdin()).context("cannot use stdin")? } else { open(path)? };
        let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
        if is_file && self.caller == Caller::Hand {
            refuse_compressed(&start_of(&mut file).with_context(|| unreadable(path))?, path)?;
        }
        let quiet = (is_stdin && !is_file && !file.is_terminal()).then_some(self.patience.quiet);
        self.observer.form.begin_input((!is_stdin).then(|| path.display().to_string()).as_deref());
        let unreadable = || unreadable(path);
        let ended = if self.threads > 1 && is_file {
            self.read_in_parallel(file, unreadable)?
        } else {
            let input = if is_stdin && self.outlet.has_journal() { Input::keeping(file) } else { Ok(Input::new(file)) };
            self.read(input.with_context(unreadable)?, quiet, path)?
        };
        if self.is_interrupted(ended, quiet)
            && let Some((name, status)) = self.signals.latest()
        {
            let what = if is_stdin { "stdin".into() } else { path.to_string_lossy() };
            log::write('E', format_args!("interrupted by {name}: {what} was not read to its end; the rest is missing"));
            return Ok(Ended::Interrupted(status));
        }
        Ok(ended)
    }

    /// Whether a signal interrupted this input. If a person runs the program, the sender at the other end of the pipe
    /// usually got the signal too, and ended early.
    pub(super) fn is_interrupted(&self, ended: Ended, quiet: Option<Duration>) -> bool {
        let is_cut = match quiet {
            None => ended == Ended::Signal,
            Some(_) => ended != Ended::Output && self.caller == Caller::Hand,
        };
        is_cut && self.signals.arrived()
    }

    /// Converts what has been read. Returns the number of lines.
    pub(super) fn convert(&mut self, bytes: &[u8]) -> Result<u64> {
        self.received += bytes.len() as u64;
        progress::advance(bytes.len());
        self.observer.lag.read_now();
        let (mut rest, mut lines) = (bytes, 0);
        loop {
            let before = self.observer.lines;
            self.converter.push(rest, &mut self.out, &mut self.observer);
            lines += self.observer.lines - before;
            self.heed_gauges(rest.len());
            if !self.converter.has_paused() {
                break;
            }
            self.put()?;
            rest = &[];
        }
        // Lines whose input is already out of the pipe have to be in the journal before anything else. And if the next
        // read blocks, nothing else would write them.
        if self.outlet.has_journal() || platform::READS_WAIT || self.out.len() >= WRITE_SIZE {
            self.put()?;
        }
        Ok(lines)
    }

    /// How long until there is something to do without new input.
    pub(super) fn due(&self) -> Option<Duration> {
        let log = self.observer.log.as_ref().and_then(log::Log::due);
        let stats = self.stats.as_ref().map(Stats::due);
        [log, stats, self.outlet.due()].into_iter().flatten().min()
    }

    /// Passes the gauges in the last `len` bytes of input to flow control.
    fn heed_gauges(&mut self, len: usize) {
        let Some(flow) = self.outlet.flow() else { return };
        flow.input_came(len);
        self.observer.gauges.drain(..).for_each(|reading| flow.read(reading));
    }

    /// Passes the buffered lines to the outlet.
    pub(super) fn put(&mut self) -> Result<()> {
        // In a flood the log has no other chance to write.
        self.observer.log.iter_mut().for_each(log::Log::tick);
        if self.stats.as_ref().is_some_and(|stats| stats.due().is_zero()) {
            self.report();
        }
        if let Some(summary) = &mut self.summary {
            summary.read(&self.out);
        }
        let lines = std::mem::take(&mut self.observer.lines);
        match &mut self.observer.form {
            Form::Lines => self.outlet.put(&mut self.out, lines)?,
            form => {
                self.out.clear();
                if let Err(error) = form.flush() {
                    self.outlet.lose_reader(&error);
                }
            }
        }
        // A flood of rejections may have made the buffer large, and a stream runs for months.
        self.out.shrink_to(PAUSE_SIZE);
        Ok(())
    }

    fn report(&mut self) {
        if let Some(stats) = &mut self.stats {
            let sums = self.outlet.sums();
            let fullest = self.outlet.flow().and_then(|flow| flow.fullest());
            stats.write(&self.observer.counts, &mut self.observer.lag, self.received, &sums, fullest, &mut self.out);
            self.observer.lines += 1;
        }
    }

    /// Writes what is left, waits until it has been read, writes the last log lines and the summary, and closes both
    /// pipes. Returns None if the output could not be written.
    pub(super) fn finish(mut self, ended: Ended) -> Result<Option<Counts>> {
        progress::end();
        let is_for_programs = matches!(self.observer.form, Form::Lines);
        if ended != Ended::Output {
            self.outlet.finish()?;
            // The last report includes what has just been written.
            self.report();
            self.put()?;
            self.outlet.finish()?;
            if self.outlet.is_read() && is_for_programs {
                wait_until_read(self.outlet.stdout(), self.patience.end)?;
            }
        }
        let Watch { counts, mut log, form, .. } = self.observer;
        if let Some(log) = &mut log {
            log.finish(&counts);
        }
        match (&self.summary, form) {
            (None, _) => {}
            (Some(summary), Form::Nothing) => {
                if let Err(error) = output::summarize(io::stdout().lock(), summary, &counts) {
                    self.outlet.lose_reader(&error);
                }
            }
            // The lines are on stdout, so the summary goes to stderr. It is no error if nobody reads it.
            (Some(summary), _) => drop(output::summarize(io::stderr().lock(), summary, &counts)),
        }
        let failed = self.outlet.is_broken();
        match self.caller {
            Caller::Hand | Caller::Telegraf if is_for_programs && platform::unread(self.outlet.stdout())?.is_some() => {
                drop(self.outlet);
                let_go()?;
            }
            Caller::Hand | Caller::Telegraf | Caller::Supervisor(_) => {}
        }
        Ok(Some(counts).filter(|_| !failed))
    }
}

/// Opens a file to read.
fn open(path: &Path) -> Result<File> {
    File::open(path).with_context(|| format!("cannot open {}: check its name, and who may read it", path.display()))
}

/// The first bytes of a file. The file is then read from its start all the same.
fn start_of(file: &mut File) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    let len = file.take(4).read_to_end(&mut start)?;
    file.seek(SeekFrom::Current(-(len as i64)))?;
    Ok(start)
}

/// # Errors
/// If an input that begins with `start` is compressed; the error says what to do.
pub(super) fn refuse_compressed(start: &[u8], path: &Path) -> Result<()> {
    let Some(program) = compression(start) else { return Ok(()) };
    let (what, file) = match path.to_string_lossy() {
        name if name == "-" => ("stdin".into(), "FILE".into()),
        name => (name.clone(), name),
    };
    bail!("{what} is compressed: decompress it first, `{program} -dc {file} | telegraf-algorithmia ...`")
}

/// The error message for a file, or `-` for stdin, that cannot be read.
pub(super) fn unreadable(path: &Path) -> String {
    if path == Path::new("-") {
        return "cannot read stdin: pipe messages in, or name a file".to_owned();
    }
    format!("cannot read {}: check that it is a file, and its disk", path.display())
}

/// Waits until a pipe is empty or has no reader, but no longer than `most`.
fn wait_until_read(stdout: &File, most: Duration) -> Result<()> {
    let stop_at = Instant::now() + most;
    let mut pause = Duration::from_micros(100);
    while let Some(unread) = platform::unread(stdout)?.filter(|unread| *unread > 0) {
        if Instant::now() >= stop_at {
            let waited = most.as_secs_f64();
            log::write('W', format_args!("leaving with {unread} bytes of output unread after {waited} s"));
            break;
        }
        std::thread::sleep(pause);
        pause = (2 * pause).min(Duration::from_millis(10));
    }
    Ok(())
}
