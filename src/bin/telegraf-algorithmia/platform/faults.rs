//! Faults for tests: any system call of a thread may fail with any of its errors, or be the last one before the process is killed,
//! as a schedule has it that follows from a seed.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use fixtures::Random;
use rand::{RngExt, SeedableRng};
use rustix::io::Errno;

use super::Call;

/// A moment in which the simulated others may act.
pub enum Moment<'a> {
    /// The process waits. The wait ends at once, so whatever the others do meanwhile has to be done now.
    Wait,
    /// The process logs a line.
    Log(&'a str),
}

/// Which calls fail, and when the process is killed.
pub struct Schedule {
    seed: u64,
    random: Random,
    calls: u64,
    /// How often a call fails, and how often the process is killed at a call.
    pub faults: f64,
    pub kills: f64,
    /// The maximum number of times that the same error occurs in a row.
    pub longest: u32,
    /// The next calls to fail, their errors, and how often.
    pub next: Vec<(Call, Errno, u32)>,
    killed: bool,
    /// This kind of call fails, or is the last before a kill, ten times as often.
    pub focus: Call,
    /// The kinds of calls that have failed.
    pub seen: BTreeSet<Call>,
}

/// More calls than any schedule needs.
const MANY_CALLS: u64 = 1_000_000;

type Others = Box<dyn FnMut(Moment<'_>)>;

thread_local! {
    static SCHEDULE: RefCell<Option<Schedule>> = const { RefCell::new(None) };
    static OTHERS: RefCell<Option<Others>> = const { RefCell::new(None) };
}

impl Schedule {
    /// A schedule in which nothing fails.
    pub fn new(seed: u64) -> Self {
        let random = Random::seed_from_u64(seed);
        let seen = BTreeSet::new();
        let focus = Call::Open;
        Schedule {
            seed,
            random,
            calls: 0,
            faults: 0.0,
            kills: 0.0,
            longest: 1,
            focus,
            next: Vec::new(),
            killed: false,
            seen,
        }
    }

    fn before(&mut self, call: Call) -> io::Result<()> {
        self.calls += 1;
        assert!(self.calls < MANY_CALLS, "with the seed {}, it does not come to an end", self.seed);
        // This error comes from no real call.
        let killed = || Err(io::Error::other("the process has been killed"));
        if self.killed {
            return killed();
        }
        let often = if call == self.focus { 10.0 } else { 1.0 };
        if self.random.random_bool((often * self.kills).min(0.3)) {
            self.killed = true;
            return killed();
        }
        if let Some(at) = self.next.iter().position(|(next, ..)| *next == call) {
            let (_, errno, times) = &mut self.next[at];
            let error = (*errno).into();
            *times -= 1;
            if *times == 0 {
                self.next.remove(at);
            }
            return Err(error);
        }
        if self.random.random_bool((often * self.faults).min(0.3)) {
            let errors = errors(call);
            let errno = errors[self.random.random_range(0..errors.len())];
            self.seen.insert(call);
            let times = self.random.random_range(0..self.longest);
            if times > 0 {
                self.next.push((call, errno, times));
            }
            return Err(errno.into());
        }
        Ok(())
    }
}

/// The errors that a call may fail with.
fn errors(call: Call) -> &'static [Errno] {
    match call {
        Call::MakeFolder => &[Errno::NOSPC, Errno::DQUOT, Errno::ACCESS, Errno::ROFS, Errno::IO, Errno::NOMEM],
        Call::OpenFolder | Call::List => &[Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::ACCESS, Errno::IO],
        Call::Open => &[Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::ACCESS, Errno::IO, Errno::STALE, Errno::INTR],
        Call::Create => &[
            Errno::NOSPC,
            Errno::DQUOT,
            Errno::MFILE,
            Errno::NFILE,
            Errno::NOMEM,
            Errno::ACCESS,
            Errno::ROFS,
            Errno::IO,
            Errno::INTR,
        ],
        Call::Stat => &[Errno::IO, Errno::NOMEM],
        Call::StatPath => &[Errno::IO, Errno::NOMEM, Errno::ACCESS],
        Call::Lock => &[Errno::NOLCK, Errno::INTR, Errno::NOMEM],
        Call::Read => &[Errno::IO, Errno::NOMEM, Errno::INTR],
        Call::Write => &[Errno::NOSPC, Errno::DQUOT, Errno::FBIG, Errno::IO, Errno::NOMEM, Errno::INTR],
        Call::Truncate => &[Errno::IO, Errno::NOSPC, Errno::INTR],
        Call::Sync => &[Errno::IO, Errno::NOSPC, Errno::DQUOT],
        Call::Rename => &[Errno::NOSPC, Errno::IO, Errno::ACCESS, Errno::ROFS, Errno::NOMEM],
        Call::Remove => &[Errno::IO, Errno::ACCESS, Errno::ROFS, Errno::BUSY, Errno::NOMEM],
        Call::MakePipe => &[Errno::MFILE, Errno::NFILE, Errno::NOMEM],
        Call::SizePipe => &[Errno::PERM, Errno::BUSY, Errno::NOMEM],
        Call::CopyPipe => &[Errno::AGAIN, Errno::NOMEM, Errno::INTR],
        Call::ReadPipe => &[Errno::INTR],
        Call::WritePipe => &[Errno::INTR, Errno::AGAIN, Errno::NOMEM],
        Call::Poll => &[Errno::INTR, Errno::NOMEM],
    }
}

/// Starts a schedule for this thread's calls; `others` act while it waits.
pub fn begin(schedule: Schedule, others: impl FnMut(Moment<'_>) + 'static) {
    SCHEDULE.set(Some(schedule));
    OTHERS.set(Some(Box::new(others)));
}

/// Ends the schedule, and returns it.
pub fn end() -> Schedule {
    OTHERS.take();
    SCHEDULE.take().expect("a schedule has begun")
}

/// Changes the current schedule, if there is one.
pub fn change<T>(change: impl FnOnce(&mut Schedule) -> T) -> Option<T> {
    SCHEDULE.with_borrow_mut(|schedule| schedule.as_mut().map(change))
}

/// Stops all faults; the schedule continues without any.
pub fn stop() {
    change(|schedule| {
        (schedule.faults, schedule.kills) = (0.0, 0.0);
        schedule.next.clear();
    });
}

/// Whether the process has been killed. Resets that, since another process replaces it.
pub fn take_killed() -> bool {
    change(|schedule| std::mem::take(&mut schedule.killed)).unwrap_or(false)
}

/// Decides whether a call fails.
pub fn before(call: Call) -> io::Result<()> {
    change(|schedule| schedule.before(call)).unwrap_or(Ok(()))
}

/// See [`super::calls`].
pub fn part(len: usize) -> usize {
    let part = change(|schedule| {
        let is_part = len > 1 && schedule.random.random_bool(2.0 * schedule.faults);
        if is_part { schedule.random.random_range(1..len) } else { len }
    });
    part.unwrap_or(len)
}

/// See [`super::calls`].
pub fn while_waiting(timeout: Option<Duration>) -> Option<Duration> {
    if tell(Moment::Wait) { Some(Duration::ZERO) } else { timeout }
}

/// Passes a log line to the schedule. Returns whether there is one.
pub fn logged(line: &str) -> bool {
    tell(Moment::Log(line))
}

fn tell(moment: Moment<'_>) -> bool {
    // Taken out meanwhile, since `others` may itself wait or log.
    let Some(mut others) = OTHERS.take() else { return false };
    if !change(|schedule| schedule.killed).unwrap_or(false) {
        others(moment);
    }
    OTHERS.set(Some(others));
    true
}
