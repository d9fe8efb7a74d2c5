//! The system calls on the journal's files and on the pipes: each goes through here, so that tests can have any of them fail.

use std::io;

/// Which system call, as far as its errors differ.
#[cfg_attr(not(unix), allow(dead_code))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
}

/// Makes a system call, again where a signal has interrupted it.
pub fn call<T>(_: Call, mut work: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match work() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
