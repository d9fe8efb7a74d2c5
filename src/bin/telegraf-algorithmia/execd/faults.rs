//! Simulates faults: any system call on the journal or the pipes fails, or the worker is killed at it. Checks what comes out
//! over several lives of the worker and of Telegraf.
//!
//! The worker is the real one, from the pipe that it reads to the pipe that it writes. Telegraf is simulated: it acts
//! whenever the worker waits. It writes messages in pieces that end anywhere, reads lines, keeps some in a buffer until they
//! are stored, and is killed or ends. Its own files never fail.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::ops::Bound;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use fixtures::Random;
use fixtures::service::{gauge, long_message};
use rand::{RngExt, SeedableRng};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use telegraf_algorithmia::{Counts, Settings};

use super::input::Input;
use super::*;
use crate::platform::faults::{self, Moment, Schedule};
use crate::platform::{Call, Signals};

const SCHEDULES: u64 = 1000;

/// The capacity of the pipe from Telegraf, and of the one to it.
const INPUT_PIPE: usize = 16 * 1024;
const PIPE: usize = 4096;

/// The capacity of Telegraf's buffer, in messages.
const BUFFER: usize = 30;

/// The size of the journal: larger than the pipe to Telegraf and Telegraf's buffer together, and smaller than all
/// messages.
const JOURNAL: u64 = 32 * 1024;

const MOST_MESSAGES: usize = 400;

/// Ends an incomplete line.
const SPOILER: &[u8] = b"\"\" !";

/// The error of a message that was rejected because its start was lost.
const REST: &[u8] = b"was lost when a process was killed; this is the rest of it";

/// Messages, and the lines that they are converted to.
struct Messages {
    metrics: Vec<String>,
    numbers: BTreeMap<Vec<u8>, usize>,
}

impl Messages {
    fn new() -> Self {
        let mut random = Random::seed_from_u64(0);
        let mut converter = Converter::new(Settings::default()).unwrap();
        let (mut metrics, mut numbers) = (Vec::new(), BTreeMap::new());
        for number in 0..MOST_MESSAGES {
            metrics.push(long_message(number, &"x".repeat(random.random_range(0..200))));
            let mut line = Vec::new();
            converter.push(metrics[number].as_bytes(), &mut line, &mut ());
            assert_eq!(line.pop(), Some(b'\n'));
            numbers.insert(line, number);
        }
        Messages { metrics, numbers }
    }
}

/// How Telegraf ends.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Killed,
    Stopped,
}

/// The simulated Telegraf, and what is known of each message.
struct World {
    messages: Arc<Messages>,
    random: Random,
    flow_control: bool,
    /// The ends of the pipes that the supervisor keeps open.
    worker_input: File,
    worker_output: File,
    /// Telegraf's ends of the pipes. None once it has closed them.
    input: Option<File>,
    output: Option<File>,
    end: End,
    /// The id of the supervisor, a different one for each Telegraf.
    supervisor: u32,
    /// How many messages this Telegraf still has to write.
    left: usize,
    /// How often it had nothing to do.
    idle: u32,
    /// The bytes still to be written, and the messages in them with the offset of their end in all that it writes.
    outbox: Vec<u8>,
    under_way: VecDeque<(u64, usize)>,
    queued: u64,
    written: u64,
    /// The messages that this Telegraf has written completely.
    handed: Vec<(u64, usize)>,
    /// The start of an incomplete line, and the messages in its buffer.
    unread: Vec<u8>,
    buffer: VecDeque<usize>,
    gauges: BTreeSet<Vec<u8>>,
    next: usize,
    stored: BTreeSet<usize>,
    /// How many messages were rejected because a kill had lost their start.
    rests: usize,
    /// Messages that this worker has read while the journal could not be written, and those of them that a kill may
    /// have lost.
    unsafe_ones: BTreeSet<usize>,
    excused: BTreeSet<usize>,
    /// Whether the worker has begun to read.
    reads: bool,
    log: Vec<String>,
    wrong: Vec<String>,
}

fn pipe(size: usize) -> (File, File) {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
    fcntl_setpipe_size(&writer, size).unwrap();
    (File::from(reader), File::from(writer))
}

impl World {
    /// Starts a Telegraf with new pipes.
    fn start(&mut self, end: End, messages: usize) {
        let (worker_input, input) = pipe(INPUT_PIPE);
        let (output, worker_output) = pipe(PIPE);
        (self.worker_input, self.worker_output) = (worker_input, worker_output);
        (self.input, self.output) = (Some(input), Some(output));
        (self.end, self.left, self.idle) = (end, messages, 0);
        self.supervisor += 1;
        (self.queued, self.written) = (0, 0);
        self.outbox.clear();
        self.under_way.clear();
        self.handed.clear();
        self.unread.clear();
        self.buffer.clear();
    }

    fn heed(&mut self, moment: Moment<'_>) {
        match moment {
            Moment::Wait => self.act(),
            Moment::Log(line) => {
                self.log.push(line.trim_end().to_owned());
                if self.reads && line.contains("no journal, so a kill now loses") {
                    // Messages that have been read stay in the pipe until they are in the journal.
                    let consumed = self.written - platform::readable_bytes(&self.worker_input).unwrap();
                    let read = self.handed.iter().filter(|(end, _)| *end > consumed);
                    self.unsafe_ones.extend(read.map(|(_, number)| number));
                }
            }
        }
    }

    fn act(&mut self) {
        match self.random.random_range(0..10) {
            0..4 => self.write(),
            4..7 => drop(self.read(PIPE)),
            7 => drop(self.read(100)),
            8 => {
                let len = self.random.random_range(0..=self.buffer.len());
                self.stored.extend(self.buffer.drain(..len));
            }
            _ => {
                let dies = self.end == End::Killed && self.random.random_range(0..20) == 0;
                if dies || self.left == 0 && self.outbox.is_empty() {
                    self.idle += 1;
                }
                // While there is output, it has not received everything.
                if dies || self.idle > 4 && !self.read(PIPE) {
                    self.finish();
                }
            }
        }
    }

    /// Ends Telegraf: both pipes, or only the worker's input.
    fn finish(&mut self) {
        self.input = None;
        if self.end == End::Killed {
            self.output = None;
        }
    }

    /// Writes some more bytes.
    fn write(&mut self) {
        let Some(mut input) = self.input.as_ref() else { return };
        while self.left > 0 && self.outbox.len() < 1000 {
            self.left -= 1;
            if self.flow_control && self.random.random_bool(0.3) {
                let gauge = gauge(fixtures::service::now(), self.buffer.len(), BUFFER);
                self.outbox.extend_from_slice(gauge.as_bytes());
                self.gauges.insert(gauge.trim_end().as_bytes().to_vec());
                self.queued += gauge.len() as u64;
            }
            let metric = self.messages.metrics[self.next].as_bytes();
            self.outbox.extend_from_slice(metric);
            self.queued += metric.len() as u64;
            self.under_way.push_back((self.queued, self.next));
            self.next += 1;
        }
        let len = self.random.random_range(0..=self.outbox.len());
        match input.write(&self.outbox[..len]) {
            Ok(len) => drop(self.outbox.drain(..len).map(|_| self.written += 1).count()),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        while self.under_way.front().is_some_and(|(end, _)| *end <= self.written) {
            self.handed.extend(self.under_way.pop_front());
        }
    }

    /// Reads at most `most` bytes. Returns whether there were any.
    fn read(&mut self, most: usize) -> bool {
        let Some(mut output) = self.output.as_ref() else { return false };
        if self.flow_control && self.buffer.len() >= BUFFER {
            // Telegraf would drop the oldest messages. Flow control that comes too late is tested elsewhere.
            self.stored.extend(self.buffer.drain(..BUFFER / 2));
        }
        let mut bytes = vec![0; most];
        let len = match output.read(&mut bytes) {
            Ok(len) => len,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                0
            }
        };
        self.unread.extend_from_slice(&bytes[..len]);
        while let Some(end) = memchr::memchr(b'\n', &self.unread) {
            let line: Vec<u8> = self.unread.drain(..=end).take(end).collect();
            match self.messages.numbers.get(&line) {
                Some(number) => self.buffer.push_back(*number),
                None if line.is_empty() || self.gauges.contains(&line) => {}
                None if line.ends_with(SPOILER) && self.is_torn(&line[..line.len() - SPOILER.len()]) => {}
                None if memchr::memmem::find(&line, REST).is_some() => self.rests += 1,
                None => self.wrong.push(format!("a line that nobody sent: {}", String::from_utf8_lossy(&line))),
            }
        }
        while self.buffer.len() > BUFFER {
            self.stored.extend(self.buffer.pop_front());
        }
        len > 0
    }

    /// Whether this is the start of a line, or of a line that was ended by the spoiler or a part of it.
    fn is_torn(&self, text: &[u8]) -> bool {
        let behind = (Bound::Included(text), Bound::Unbounded);
        let starts = |found: Option<&Vec<u8>>| found.is_some_and(|line| line.starts_with(text));
        let lines = self.messages.numbers.range::<[u8], _>(behind).next().map(|(line, _)| line);
        starts(lines)
            || starts(self.gauges.range::<[u8], _>(behind).next())
            || (1..=SPOILER.len())
                .any(|len| text.strip_suffix(&SPOILER[..len]).is_some_and(|before| self.is_torn(before)))
    }
}

/// Runs one worker from its start to its end. None if it was killed.
fn work(
    world: &Rc<RefCell<World>>,
    signals: &Rc<Signals>,
    journal: &journal::Settings,
    restarted: bool,
) -> Option<Result<Option<Counts>>> {
    let turn = if restarted { Turn::Next } else { Turn::First };
    let (supervisor, flow_control) = (world.borrow().supervisor, world.borrow().flow_control);
    let plan = Plan {
        caller: Caller::Supervisor(Worker { supervisor, turn }),
        service: Service {
            journal: Some(journal.clone()),
            flow_control: flow_control.then(|| "influxdb_v2".to_owned()),
            stats: None,
        },
        form: Form::Lines,
        summary: None,
        threads: 1,
        // No time passes in the simulation.
        patience: Patience::divided(u32::MAX),
    };
    let (input, output) = {
        let mut world = world.borrow_mut();
        world.reads = false;
        (world.worker_input.try_clone().unwrap(), world.worker_output.try_clone().unwrap())
    };
    let run = || {
        let converter = Converter::new(Settings::default())?;
        let quiet = plan.patience.quiet;
        let mut stream = Stream::to(output, Rc::clone(signals), converter, plan)?;
        world.borrow_mut().reads = true;
        let ended = stream.read(Input::keeping(input)?, Some(quiet), Path::new("-"))?;
        stream.finish(ended)
    };
    let result = run();
    (!faults::take_killed()).then_some(result)
}

/// The result of several lives of Telegraf.
struct Outcome {
    /// How many messages were written, and how many of them were not stored in the end.
    handed: usize,
    missing: usize,
    wrong: Vec<String>,
    log: Vec<String>,
    /// Which calls have failed.
    seen: BTreeSet<Call>,
}

/// Runs several lives of Telegraf.
fn run(seed: u64, messages: &Arc<Messages>, signals: &Rc<Signals>) -> Outcome {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    let mut random = Random::seed_from_u64(seed);
    let journal = journal::Settings {
        folder: folder.path().join("journal"),
        window: Duration::from_secs(3600),
        size: JOURNAL,
        sync: random.random(),
    };
    let (worker_input, worker_output) = pipe(PIPE);
    let world = Rc::new(RefCell::new(World {
        messages: Arc::clone(messages),
        flow_control: random.random(),
        random: Random::seed_from_u64(!seed),
        worker_input,
        worker_output,
        input: None,
        output: None,
        end: End::Killed,
        supervisor: 0,
        left: 0,
        idle: 0,
        outbox: Vec::new(),
        under_way: VecDeque::new(),
        queued: 0,
        written: 0,
        handed: Vec::new(),
        unread: Vec::new(),
        buffer: VecDeque::new(),
        gauges: BTreeSet::new(),
        next: 0,
        stored: BTreeSet::new(),
        rests: 0,
        unsafe_ones: BTreeSet::new(),
        excused: BTreeSet::new(),
        reads: false,
        log: Vec::new(),
        wrong: Vec::new(),
    }));
    let mut schedule = Schedule::new(seed);
    schedule.faults = [0.0, 0.003, 0.02, 0.1][random.random_range(0..4)];
    schedule.longest = [1, 4, 30][random.random_range(0..3)];
    schedule.focus = Call::ALL[random.random_range(0..Call::ALL.len())];
    let kills = [0.0, 0.003, 0.02][random.random_range(0..3)];
    faults::begin(schedule, {
        let world = Rc::clone(&world);
        move |moment| world.borrow_mut().heed(moment)
    });
    let mut handed = BTreeSet::new();
    let lives = random.random_range(1..=4);
    for life in 0..=lives {
        let is_last = life == lives;
        let end = if is_last || random.random_bool(0.3) { End::Stopped } else { End::Killed };
        world.borrow_mut().start(end, random.random_range(0..60));
        world.borrow_mut().log.push(format!("-- Telegraf {life}"));
        if is_last {
            faults::stop();
            for entry in fs::read_dir(&journal.folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.extension().is_some_and(|extension| extension == "unread") {
                    fs::rename(&path, path.with_extension("lp")).unwrap();
                }
            }
            world.borrow_mut().flow_control = false;
        }
        for worker in 0.. {
            let may_die = !is_last && worker < 8;
            faults::change(|schedule| schedule.kills = if may_die { kills } else { 0.0 });
            let result = work(&world, signals, &journal, worker > 0);
            let world = &mut *world.borrow_mut();
            if result.is_none() || world.output.is_none() {
                world.excused.append(&mut world.unsafe_ones);
            }
            world.unsafe_ones.clear();
            let Some(result) = result else {
                world.log.push("-- killed".to_owned());
                continue;
            };
            if let Err(error) = &result {
                world.wrong.push(format!("the worker gave up: {error:#}"));
            } else if result.is_ok_and(|counts| counts.is_none()) {
                world.wrong.push("the worker could not write its output".to_owned());
            } else if world.input.is_some() {
                world.wrong.push("the worker ended by itself".to_owned());
            }
            break;
        }
        let mut world = world.borrow_mut();
        if world.end == End::Stopped {
            while world.read(PIPE) {}
            let buffer = std::mem::take(&mut world.buffer);
            world.stored.extend(buffer);
        }
        handed.extend(world.handed.iter().map(|(_, number)| *number));
    }
    let schedule = faults::end();
    let world = &mut *world.borrow_mut();
    let missing: Vec<_> = handed.difference(&world.stored).collect();
    let lost: Vec<_> = missing.iter().filter(|number| !world.excused.contains(number)).collect();
    if !lost.is_empty() {
        world.wrong.push(format!("lost {lost:?}"));
    }
    if world.rests > missing.len() {
        world.wrong.push(format!("{} rests are rejected, and {} messages missing", world.rests, missing.len()));
    }
    let (wrong, log) = (std::mem::take(&mut world.wrong), std::mem::take(&mut world.log));
    Outcome { handed: handed.len(), missing: missing.len(), wrong, log, seen: schedule.seen }
}

#[test]
fn whatever_fails_no_message_is_lost_that_the_journal_has_taken() {
    let number = |name| std::env::var(name).ok().map(|number| number.parse::<u64>().unwrap());
    let seeds = match number("FAULTS_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("FAULTS_SCHEDULES").unwrap_or(SCHEDULES),
    };
    let messages = Arc::new(Messages::new());
    let signals = Rc::new(Signals::new(true, false).unwrap());
    let (mut handed, mut missing, mut failures) = (0, 0, 0);
    let mut seen = BTreeSet::new();
    for seed in seeds.clone() {
        let outcome = run(seed, &messages, &signals);
        (handed, missing) = (handed + outcome.handed, missing + outcome.missing);
        seen.extend(outcome.seen);
        if !outcome.wrong.is_empty() {
            failures += 1;
            println!("FAULTS_SEED={seed}: {:#?}", outcome.wrong);
            if failures == 1 {
                println!("{}", outcome.log.join("\n"));
            }
        }
    }
    println!("{missing} of {handed} messages were lost, which only a kill without a journal may do");
    assert_eq!(failures, 0, "schedules went wrong");
    if seeds.end - seeds.start >= SCHEDULES {
        let never: Vec<_> = Call::ALL.iter().filter(|call| !seen.contains(call)).collect();
        assert!(never.is_empty(), "{never:?} never failed");
        assert!(handed > 50_000 && (1..handed / 20).contains(&missing), "{missing} of {handed}");
    }
}
