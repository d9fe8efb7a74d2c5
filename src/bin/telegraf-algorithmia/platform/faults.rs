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

/// What the rest of the world may look at.
pub enum Moment<'a> {
    /// The process waits, which ends at once: whatever the others do while it waits has to be done now.
    Wait,
    /// The process logs a line.
    Log(&'a str),
}

/// Which calls fail, and when the process is killed.
pub struct Schedule {
    seed: u64,
    random: Random,
    calls: u64,
    /// How often a call fails, and is the last one.
    pub faults: f64,
    pub kills: f64,
    /// The same error comes up to so many times in a row.
    pub longest: u32,
    /// What calls fail with next, and how often.
    pub next: Vec<(Call, Errno, u32)>,
    killed: bool,
    /// This call does so ten times as often.
    pub focus: Call,
    /// Which calls have failed.
    pub seen: BTreeSet<Call>,
}

/// No schedule takes so many.
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
        // An error that no call gives.
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

/// What a call may fail with.
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

/// From now on, this thread's calls fail as the schedule has it, and `others` act while it waits.
pub fn begin(schedule: Schedule, others: impl FnMut(Moment<'_>) + 'static) {
    SCHEDULE.set(Some(schedule));
    OTHERS.set(Some(Box::new(others)));
}

/// From now on, nothing fails; the schedule.
pub fn end() -> Schedule {
    OTHERS.take();
    SCHEDULE.take().expect("a schedule has begun")
}

/// Changes the schedule, if there is one.
pub fn change<T>(change: impl FnOnce(&mut Schedule) -> T) -> Option<T> {
    SCHEDULE.with_borrow_mut(|schedule| schedule.as_mut().map(change))
}

/// From now on, nothing fails any more.
pub fn stop() {
    change(|schedule| {
        (schedule.faults, schedule.kills) = (0.0, 0.0);
        schedule.next.clear();
    });
}

/// Whether the process has been killed; another one takes its place.
pub fn take_killed() -> bool {
    change(|schedule| std::mem::take(&mut schedule.killed)).unwrap_or(false)
}

/// Decides what becomes of a call.
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

/// Whether a schedule's log takes a line.
pub fn logged(line: &str) -> bool {
    tell(Moment::Log(line))
}

fn tell(moment: Moment<'_>) -> bool {
    // It may itself call what tells of moments.
    let Some(mut others) = OTHERS.take() else { return false };
    if !change(|schedule| schedule.killed).unwrap_or(false) {
        others(moment);
    }
    OTHERS.set(Some(others));
    true
}
