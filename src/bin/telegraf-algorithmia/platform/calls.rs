//! The system calls on the journal's files and on the pipes. All go through here, so that tests can make any of them fail.
//! Outside tests, this is the plain call.

use std::io;
use std::time::Duration;

#[cfg(all(test, unix))]
use super::faults;
#[cfg(all(test, unix))]
pub use super::faults::{logged, part, while_waiting};

/// The kinds of system calls, as far as their errors differ.
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
#[cfg_attr(all(test, unix), derive(Debug, PartialEq, Eq, PartialOrd, Ord))]
#[derive(Clone, Copy)]
pub enum Call {
    MakeFolder,
    OpenFolder,
    List,
    Open,
    Create,
    Stat,
    StatPath,
    Lock,
    Read,
    Write,
    Truncate,
    Sync,
    Rename,
    Remove,
    MakePipe,
    SizePipe,
    CopyPipe,
    ReadPipe,
    WritePipe,
    Poll,
}

#[cfg(all(test, unix))]
impl Call {
    /// All kinds.
    pub const ALL: [Call; 20] = [
        Call::MakeFolder,
        Call::OpenFolder,
        Call::List,
        Call::Open,
        Call::Create,
        Call::Stat,
        Call::StatPath,
        Call::Lock,
        Call::Read,
        Call::Write,
        Call::Truncate,
        Call::Sync,
        Call::Rename,
        Call::Remove,
        Call::MakePipe,
        Call::SizePipe,
        Call::CopyPipe,
        Call::ReadPipe,
        Call::WritePipe,
        Call::Poll,
    ];
}

/// Makes a system call, and repeats it if a signal interrupts it.
#[inline]
pub fn call<T>(kind: Call, mut work: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call_once(kind, &mut work) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Makes a system call that a signal may end.
#[inline]
pub fn call_once<T>(kind: Call, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    #[cfg(all(test, unix))]
    faults::before(kind)?;
    #[cfg(not(all(test, unix)))]
    let _ = kind;
    work()
}

/// How many of `len` bytes to request in a read or write. A simulation sometimes requests fewer.
#[cfg(not(all(test, unix)))]
#[inline]
pub fn part(len: usize) -> usize {
    len
}

/// How long to wait. In a simulation zero, since what others do meanwhile is done at once.
#[cfg(not(all(test, unix)))]
#[inline]
pub fn while_waiting(timeout: Option<Duration>) -> Option<Duration> {
    timeout
}

/// Waits briefly for the system to have the lacking resource again.
pub fn pause() {
    const PAUSE: Duration = Duration::from_millis(10);
    if while_waiting(None).is_none() {
        std::thread::sleep(PAUSE);
    }
}
