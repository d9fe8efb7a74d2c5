//! Life between two pipes: as a child of Telegraf's processors.execd, and by hand.
//!
//! What Telegraf asks of its child, and does not say: that output leaves as soon as nothing more is waiting to be
//! read, and that the child goes only when its output has been read. When a child exits, Telegraf closes the pipe and
//! throws away what it has not read.

#[cfg(all(test, target_os = "linux"))]
mod faults;
mod flow;
mod folder;
mod handover;
mod input;
mod journal;
pub mod log;
mod outlet;
mod patience;
mod record;
mod stats;
pub mod supervisor;

use std::fs::File;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use telegraf_algorithmia::{Converter, Counts, Event, Observer, Parallel, Standing, Summary};

use self::flow::{Flow, Reading};
use self::handover::{Handover, Note};
use self::input::{Chunk, Input};
use self::journal::Journal;
pub use self::journal::{Settings as JournalSettings, replay};
use self::log::Log;
use self::outlet::Outlet;
pub use self::patience::Patience;
use self::stats::{Lag, Stats};
use crate::output;
use crate::output::progress::{self, Watched};
use crate::platform::{self, Signals, Waited};

/// Write when this much is there, even if more input is waiting.
const WRITE_SIZE: usize = 128 * 1024;

/// And when this much is there, even in the midst of a read: short messages that are rejected make a hundred times as much.
pub const PAUSE_SIZE: usize = 2 * WRITE_SIZE;

/// Where fewer lines than this come with as many bytes, pipes of 64 KiB hold one or two, and Telegraf waits for us and we for
/// it with each. They are made to hold more; where lines are short, that would only put more of them beyond the reach of flow
/// control.
const FEW_LINES: u64 = 8;
const FEW_LINES_SIZE: usize = 32 * 1024;
const WIDE_PIPE: usize = 256 * 1024;

/// In a flood, wait so long before reading on: what comes meanwhile is read, written and woken up for at once. A pipe of
/// 64 KiB has room for what Telegraf writes in three times as long; one that is full would hold it up.
const FLOOD_PAUSE: Duration = Duration::from_micros(500);

/// It is a flood when so many more waits for input were short, or brought so many lines at once, than were and did neither.
/// On a busy machine, which wakes us late, it is the lines that tell.
const FLOOD_WAITS: u32 = 32;
const FLOOD_WAIT: Duration = Duration::from_micros(50);
const FLOOD_LINES: u64 = 4;

/// It is one no longer when a pause has brought fewer lines. If it has brought any, the next flood has to be longer before
/// it counts: somebody who waits for each answer before the next question must not pay for pauses.
const MAX_FLOOD_WAITS: u32 = 32 * 1024;

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

/// What is done beside converting. None of it is for files, or by hand.
#[derive(Clone, Debug, Default)]
pub struct Service {
    pub journal: Option<JournalSettings>,
    /// The name of the output whose buffer is heeded.
    pub flow_control: Option<String>,
    /// How often to report, under which name, and as whom.
    pub stats: Option<(Duration, String, String)>,
    /// There is a supervisor, which will end our pipes and may hand on a signal that we got too.
    pub supervised: bool,
    /// The process that is, by its id.
    pub supervisor: u32,
    /// A worker before us was killed, and may have left half a line.
    pub restarted: bool,
    /// It was killed by the signal that asked us both to end.
    pub ending: bool,
}

impl Service {
    pub fn is_asked_for(&self) -> bool {
        self.journal.is_some() || self.flow_control.is_some() || self.stats.is_some()
    }
}

/// The way from inputs to stdout.
pub struct Stream {
    converter: Converter,
    observer: Watch,
    signals: Rc<Signals>,
    outlet: Outlet,
    stats: Option<Stats>,
    /// Of all lines, by hand.
    summary: Option<Summary>,
    out: Vec<u8>,
    patience: Patience,
    has_journal: bool,
    /// For the worker that may have to take our place.
    handover: Option<Handover>,
    /// From the worker before us.
    note: Option<Note>,
    supervised: bool,
    /// How many convert a file.
    threads: usize,
    is_service: bool,
    interrupted: Option<u8>,
    /// Bytes of input.
    received: u64,
}

/// Counts, logs what an operator should know, measures the lag, and picks out the gauges.
struct Watch {
    counts: Counts,
    log: Log,
    /// Lines in `Stream::out`.
    lines: u64,
    /// For the self-report.
    lag: Lag,
    /// The output whose gauges count.
    output: Option<String>,
    gauges: Vec<Reading>,
}

impl Observer for Watch {
    fn observe(&mut self, event: Event<'_>) {
        self.counts.observe(event);
        self.log.observe(event);
        match event {
            Event::Converted { time } => {
                self.lines += 1;
                if let Some(time) = time {
                    self.lag.came(time);
                }
            }
            Event::Rejected { .. } | Event::NoMessage => self.lines += 1,
            Event::Passed { metric } => {
                self.lines += 1;
                if let Some(output) = &self.output {
                    self.gauges.extend(Reading::of(metric, output));
                }
            }
            Event::LeftOut { .. } | Event::TimeDefaulted { .. } | Event::StringCut { .. } => {}
        }
    }
}

impl Watch {
    /// Picks out the gauges of the outputs of this name.
    fn new(output: Option<String>, patience: &Patience) -> Self {
        Watch {
            counts: Counts::default(),
            log: Log::new(patience.log_period),
            lines: 0,
            lag: Lag::default(),
            output,
            gauges: Vec::new(),
        }
    }

    /// Takes notice of points and of metrics that passed through.
    fn add(&mut self, counts: &Counts) {
        self.counts.add(counts);
        self.lines += counts.converted + counts.passed;
    }
}

/// Tells a flood of input from single messages.
struct Flood {
    /// How many more waits were those of a flood than were not.
    waits: u32,
    /// How many of them make a flood.
    needed: u32,
    /// When the wait for input began. None if there was none.
    wait: Option<Instant>,
    /// In a flood, the lines that have come since the last pause.
    lines: Option<u64>,
}

impl Default for Flood {
    fn default() -> Self {
        Flood { waits: 0, needed: FLOOD_WAITS, wait: None, lines: None }
    }
}

impl Flood {
    /// So many lines have come.
    fn came(&mut self, lines: u64) {
        if let Some(sum) = &mut self.lines {
            *sum += lines;
        }
        if let Some(wait) = self.wait.take() {
            let is_flood = lines >= FLOOD_LINES || wait.elapsed() < FLOOD_WAIT;
            self.waits = if is_flood { self.waits + 1 } else { self.waits.saturating_sub(1) };
        }
    }

    /// There is nothing to read: makes a pause if this is a flood, and says so.
    fn pause(&mut self) -> bool {
        match self.lines {
            None if self.waits < self.needed => return false,
            None => {}
            // A gap in the flood, rather than somebody who waits for us.
            Some(0) => {
                *self = Flood { needed: self.needed, ..Flood::default() };
                return false;
            }
            Some(lines) if lines < FLOOD_LINES => {
                *self = Flood { needed: (4 * self.needed).min(MAX_FLOOD_WAITS), ..Flood::default() };
                return false;
            }
            Some(_) => self.needed = FLOOD_WAITS,
        }
        self.lines = Some(0);
        if let Some(pause) = platform::while_waiting(Some(FLOOD_PAUSE)) {
            std::thread::sleep(pause);
        }
        true
    }

    /// A wait for input begins.
    fn begin_wait(&mut self) {
        self.wait = Some(Instant::now());
    }
}

impl Stream {
    /// # Errors
    /// Where stdout or signals cannot be used, or another process uses the journal.
    pub fn new(
        converter: Converter,
        service: Service,
        patience: Patience,
        summary: Option<Summary>,
        threads: usize,
    ) -> Result<Self> {
        if let Some(limits) = platform::LIMITS.filter(|_| service.journal.is_some() || service.flow_control.is_some()) {
            bail!("{limits}");
        }
        // Before the journal, which may have to be waited for.
        let signals = Signals::new(!service.supervised, service.ending).context("cannot listen for SIGTERM")?;
        let stdout = platform::file_of(io::stdout()).context("cannot use stdout")?;
        Self::to(stdout, Rc::new(signals), converter, service, patience, summary, threads)
    }

    /// The way to any file.
    fn to(
        stdout: File,
        signals: Rc<Signals>,
        mut converter: Converter,
        service: Service,
        patience: Patience,
        summary: Option<Summary>,
        threads: usize,
    ) -> Result<Self> {
        let is_service = service.is_asked_for();
        let Service { journal, flow_control, stats, supervised, supervisor, restarted, .. } = service;
        let has_journal = journal.is_some();
        let journal = journal.map(|settings| Journal::open(settings, patience)).transpose()?;
        let (handover, note) = journal.as_ref().and_then(|journal| journal.handover(supervisor, restarted)).unzip();
        let flow = flow_control.clone().map(|output| Flow::new(output, patience));
        let mut outlet = Outlet::new(stdout, journal, flow, patience);
        if restarted {
            outlet.spoil_line()?;
        } else if flow_control.is_some() {
            // Only Telegraf has gauges to heed. Anybody else would wonder.
            outlet.widen_reader()?;
        }
        converter.pause_at(PAUSE_SIZE);
        Ok(Stream {
            converter,
            observer: Watch::new(flow_control, &patience),
            signals,
            outlet,
            stats: stats.map(|(every, name, instance)| Stats::new(every, &name, &instance)),
            summary,
            out: Vec::new(),
            patience,
            has_journal,
            handover,
            note: note.flatten(),
            supervised,
            // These look at each message when it comes.
            threads: if is_service { 1 } else { threads },
            is_service,
            interrupted: None,
            received: 0,
        })
    }

    /// Reads a file, or `-` for stdin, to its end.
    pub fn read_file(&mut self, path: &Path) -> Result<Ended> {
        let is_stdin = path == Path::new("-");
        let file = if is_stdin { platform::file_of(io::stdin()).context("cannot use stdin")? } else { open(path)? };
        let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
        // Who has been asked to end reads what is still under way to it. Nothing is where all is in a file, or typed.
        let quiet = (is_stdin && !is_file && !file.is_terminal()).then_some(self.patience.quiet);
        let unreadable = || unreadable(path);
        let ended = if self.threads > 1 && is_file {
            self.read_in_parallel(file, unreadable)?
        } else {
            let input = if is_stdin && self.has_journal { Input::keeping(file) } else { Ok(Input::new(file)) };
            self.read(input.with_context(unreadable)?, quiet, unreadable)?
        };
        if self.is_interrupted(ended, quiet)
            && let Some((name, status)) = self.signals.latest()
        {
            let what = if is_stdin { "stdin".into() } else { path.to_string_lossy() };
            log::write('E', format_args!("interrupted by {name}: {what} was not read to its end; the rest is missing"));
            self.interrupted = Some(status);
        }
        Ok(ended)
    }

    /// Whether a signal has cut this input short. By hand, whoever writes to a pipe mostly got it too, and ended before its time.
    fn is_interrupted(&self, ended: Ended, quiet: Option<Duration>) -> bool {
        let is_cut = match quiet {
            None => ended == Ended::Signal,
            Some(_) => ended != Ended::Output && !self.is_service,
        };
        is_cut && self.signals.arrived()
    }

    /// The exit status of somebody whom a signal has interrupted, if that has happened.
    pub fn interrupted(&self) -> Option<u8> {
        self.interrupted
    }

    /// Reads a file to its end, as [`Stream::read`] does.
    fn read_in_parallel(&mut self, file: File, unreadable: impl Fn() -> String) -> Result<Ended> {
        let mut input = Parallel::new(Watched(file), self.threads);
        let mut failure = Ok(());
        let ended = loop {
            if let Some(ended) = self.leaves_at_once(None, &mut None)? {
                return Ok(ended);
            }
            match input.next(&mut self.converter, &mut self.out, &mut self.observer) {
                Ok(Some(counts)) => {
                    self.observer.add(&counts);
                    self.put()?;
                }
                Ok(None) => break Ended::Input,
                Err(error) => {
                    failure = Err(error).with_context(&unreadable);
                    break Ended::Input;
                }
            }
        };
        self.end_input(ended, failure)
    }

    /// Reads an input to its end. After a signal, what has arrived is still read, until nothing more has come for `quiet`;
    /// an input without `quiet` is left at once. `unreadable` says what to do where it cannot be read.
    fn read(&mut self, mut input: Input, quiet: Option<Duration>, unreadable: impl Fn() -> String) -> Result<Ended> {
        let mut failure = Ok(());
        let mut stop_at = None;
        let mut flood = Flood::default();
        let mut wide = false;
        let ended = loop {
            let drained = self.outlet.drain()?;
            if let Some(ended) = self.leaves_at_once(quiet, &mut stop_at)? {
                return Ok(ended);
            }
            if stop_at.is_some_and(|stop_at| Instant::now() >= stop_at) {
                break Ended::Signal;
            }
            let full = stop_at.is_none() && self.outlet.is_full() && !input.has_hung_up()?;
            let chunk = if full && !input.keeps() {
                Ok(Chunk::Empty)
            } else {
                if !full {
                    self.consume(&mut input)?;
                }
                input.read()
            };
            if let Some(note) = self.note.take() {
                let standing = note.standing(if let Ok(Chunk::Bytes(bytes)) = &chunk { bytes } else { &[] });
                self.converter.resume(standing);
                self.handover.iter_mut().for_each(|handover| handover.begin(standing));
            }
            match chunk {
                Ok(Chunk::Bytes(bytes)) => {
                    let (len, mut lines) = (bytes.len(), 0);
                    self.received += len as u64;
                    progress::advance(len);
                    self.observer.lag.read_now();
                    let mut rest = bytes;
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
                    flood.came(lines);
                    if lines < FEW_LINES && len >= FEW_LINES_SIZE && !std::mem::replace(&mut wide, true) {
                        input.grow(WIDE_PIPE);
                        self.outlet.grow(WIDE_PIPE);
                    }
                    // What the input does not keep for us has to be in the journal before anything else; and where the
                    // next read waits, nothing else would let it out.
                    if self.has_journal || platform::READS_WAIT || self.out.len() >= WRITE_SIZE {
                        self.put()?;
                    }
                    continue;
                }
                Ok(Chunk::Empty) => self.put()?,
                Ok(Chunk::HungUp) => {
                    self.put()?;
                    self.take(&mut input, self.converter.standing_behind().0, 0)?;
                    continue;
                }
                Ok(Chunk::End) => break Ended::Input,
                Err(error) => {
                    // What was read before is as good as ever.
                    failure = Err(error).with_context(&unreadable);
                    break Ended::Input;
                }
            }
            if drained || stop_at.is_none() && flood.pause() {
                continue;
            }
            let timeout = match stop_at {
                Some(stop_at) => Some(quiet.unwrap_or_default().min(stop_at.saturating_duration_since(Instant::now()))),
                None => self.due(),
            };
            flood.begin_wait();
            let waited = if full && !input.keeps() {
                input.wait_for_hang_up(&self.signals, timeout)?
            } else {
                input.wait(&self.signals, timeout, stop_at.is_none())?
            };
            if waited == Waited::Timeout {
                if stop_at.is_some() {
                    break Ended::Signal;
                }
                self.tick()?;
            }
        };
        if self.converter.pending() > 0 && (self.has_journal || self.is_interrupted(ended, quiet)) {
            // Telegraf ends every line, unless it dies while it writes one.
            let len = self.converter.break_off(&mut self.out, &mut self.observer);
            if len > 0 && self.has_journal {
                log::write(
                    'W',
                    format_args!(
                        "left out the last {len} bytes, an unfinished line: what died while it wrote it sends it again"
                    ),
                );
            } else if len > 0 {
                log::write('W', format_args!("left out the last {len} bytes, an unfinished message"));
            }
        }
        self.end_input(ended, failure)
    }

    /// Takes out of the pipe what has been converted. The start of a metric that is not complete stays in it while there is room
    /// for the rest.
    fn consume(&mut self, input: &mut Input) -> Result<()> {
        let pending = self.converter.pending();
        let (standing, rest) = if input.has_room_behind(pending) {
            (self.converter.standing_before(), pending)
        } else {
            self.converter.standing_behind()
        };
        self.take(input, standing, rest)
    }

    /// Takes out of the pipe what has been read, but for the last `rest` bytes. What comes then begins at `standing`.
    fn take(&mut self, input: &mut Input, standing: Standing, rest: usize) -> Result<()> {
        if let Some(handover) = &mut self.handover {
            handover.note(standing, input.seen(rest));
        }
        Ok(input.consume(rest)?)
    }

    /// Why to leave an input as it is, if there is a reason. A signal only sets `stop_at` where the input has a `quiet`.
    fn leaves_at_once(&mut self, quiet: Option<Duration>, stop_at: &mut Option<Instant>) -> Result<Option<Ended>> {
        if self.outlet.is_closed() {
            return Ok(Some(Ended::Output));
        }
        if self.signals.arrived() && stop_at.is_none() {
            if quiet.is_none() {
                self.put()?;
                return Ok(Some(Ended::Signal));
            }
            // Telegraf sends a signal only when it has ended our input. When it got one together with us, it may take its
            // time, and what it still hands over is not to be lost.
            let patience = if self.supervised { Duration::from_secs(3600) } else { self.patience.end };
            *stop_at = Some(Instant::now() + patience);
        }
        Ok(None)
    }

    /// Lets out what there is at the end of an input, even where reading it has failed.
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

    /// How long until there is something to do without new input.
    fn due(&self) -> Option<Duration> {
        let stats = self.stats.as_ref().map(Stats::due);
        [self.observer.log.due(), stats, self.outlet.due()].into_iter().flatten().min()
    }

    /// Does what time asks for.
    fn tick(&mut self) -> Result<()> {
        self.outlet.tidy();
        self.put()
    }

    /// Heeds the gauges that were among the last `len` bytes of input.
    fn heed_gauges(&mut self, len: usize) {
        let Some(flow) = self.outlet.flow() else { return };
        flow.input_came(len);
        self.observer.gauges.drain(..).for_each(|reading| flow.read(reading));
    }

    /// Hands over the lines that there are.
    fn put(&mut self) -> Result<()> {
        // In a flood there is no other pause.
        self.observer.log.tick();
        if self.stats.as_ref().is_some_and(|stats| stats.due().is_zero()) {
            self.report();
        }
        if let Some(summary) = &mut self.summary {
            summary.read(&self.out);
        }
        self.outlet.put(&mut self.out, std::mem::take(&mut self.observer.lines))?;
        // A flood of rejections may have made it large; a stream runs for months.
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

    /// Lets out what there is, waits until it has been read, says what there was to say, and lets go of both pipes. None where
    /// the output could not be written.
    pub fn finish(mut self, ended: Ended) -> Result<Option<Counts>> {
        progress::end();
        if ended != Ended::Output {
            self.outlet.finish()?;
            // The last report counts what has just gone out.
            self.report();
            self.put()?;
            self.outlet.finish()?;
            if self.outlet.is_read() {
                wait_until_read(self.outlet.stdout(), self.patience.end)?;
            }
        }
        self.observer.log.finish(&self.observer.counts);
        if let Some(summary) = &self.summary {
            output::summarize(summary, &self.observer.counts);
        }
        let failed = self.outlet.is_broken();
        if !self.supervised && platform::unread(self.outlet.stdout())?.is_some() {
            drop(self.outlet);
            let_go()?;
        }
        Ok(Some(self.observer.counts).filter(|_| !failed))
    }
}

/// Opens a file to read.
pub fn open(path: &Path) -> Result<File> {
    File::open(path).with_context(|| format!("cannot open {}: check its name, and who may read it", path.display()))
}

/// What to say where a file, or `-` for stdin, cannot be read.
pub fn unreadable(path: &Path) -> String {
    if path == Path::new("-") {
        return "cannot read stdin: pipe messages in, or name a file".to_owned();
    }
    format!("cannot read {}: check that it is a file, and its disk", path.display())
}

/// Ends our pipes, a moment before we end.
pub fn let_go() -> Result<()> {
    platform::close_output()?;
    std::thread::sleep(AFTER_CLOSE);
    Ok(())
}

/// Where Telegraf has started us in a way that cannot work, says so with `say` and waits until it has given us up: to end
/// would be to lose what it reads from Kafka until somebody has a look. Anybody else sees us end at once.
pub fn hold(say: impl Fn()) -> Result<()> {
    const AGAIN: Duration = Duration::from_secs(60);
    say();
    if platform::has_only_pipes() {
        while !platform::wait_for_hang_up(io::stdin(), AGAIN)? {
            say();
        }
    }
    Ok(())
}

/// Waits until a pipe has been read empty, or nobody reads it, but no longer than `most`.
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
