//! Unix: what the standard library lacks for pipes (whether one can be read without waiting, its content, and how much of
//! what was written has been read), signals, and folders for their owner only.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
pub use std::os::unix::process::parent_id;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, fstat};
use rustix::io::{Errno, ioctl_fionread};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGXFSZ};
use signal_hook::low_level::signal_name;

use super::Waited;
use super::calls::{Call, call_once, while_waiting};
use super::dir::is_shortage;

/// Why this platform supports neither a journal nor flow control. None if it supports both.
pub const LIMITS: Option<&str> = None;

/// Whether a read blocks until input arrives, because the platform cannot tell beforehand.
pub const READS_WAIT: bool = false;

/// Makes a write beyond the file size limit fail, as it does on a full disk. Otherwise SIGXFSZ would end the process.
pub fn outlive_size_limit() -> io::Result<()> {
    ignore([SIGXFSZ])
}

/// Ignores the signals that are meant for Telegraf and reach us, too, by our name (`pkill -HUP telegraf`) or from a
/// terminal. If Telegraf ends because of one, it closes our input.
pub fn ignore_telegrafs_signals() -> io::Result<()> {
    ignore([SIGHUP, SIGUSR1, SIGUSR2, SIGQUIT])
}

/// Installs a handler that does nothing. Unlike an ignored signal, it is not inherited by the programs that we start.
fn ignore<const N: usize>(signals: [i32; N]) -> io::Result<()> {
    signals.into_iter().try_for_each(|signal| signal_hook::flag::register(signal, Arc::default()).map(drop))
}

/// The signals that ask us to end. This includes SIGINT: Ctrl-C in a terminal reaches Telegraf and its children alike.
pub struct Signals {
    arrived: Arc<AtomicBool>,
    /// The signal that arrived last. 0 for none.
    number: Arc<AtomicUsize>,
    wake: UnixStream,
}

impl Signals {
    /// Starts to listen. With `impatient`, the second signal ends us at once. `arrived` is set if a process that we
    /// replace got a signal.
    pub fn new(impatient: bool, arrived: bool) -> io::Result<Self> {
        let number = Arc::new(AtomicUsize::new(if arrived { SIGTERM as usize } else { 0 }));
        let arrived = Arc::new(AtomicBool::new(arrived));
        let (wake, sender) = UnixStream::pair()?;
        for signal in [SIGTERM, SIGINT] {
            if impatient {
                signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&arrived))?;
            }
            signal_hook::flag::register_usize(signal, Arc::clone(&number), signal as usize)?;
            signal_hook::flag::register(signal, Arc::clone(&arrived))?;
            signal_hook::low_level::pipe::register(signal, sender.try_clone()?)?;
        }
        Ok(Signals { arrived, number, wake })
    }

    pub fn arrived(&self) -> bool {
        self.arrived.load(Ordering::Relaxed)
    }

    /// The name of the signal that arrived last, such as SIGINT, and the exit status of a program that this signal
    /// ended.
    pub fn latest(&self) -> Option<(&'static str, u8)> {
        let number = self.number.load(Ordering::Relaxed) as i32;
        Some((signal_name(number)?, 128 + u8::try_from(number).ok()?))
    }

    /// Waits for input, if there is one, and with `heed` for a signal, too.
    pub fn wait(&self, input: Option<&File>, timeout: Option<Duration>, heed: bool) -> io::Result<Waited> {
        self.poll(input.map(|input| PollFd::new(input, PollFlags::IN)), timeout, heed)
    }

    /// Waits until the other end of a pipe is closed, or for a signal.
    pub fn wait_for_hang_up(&self, input: &File, timeout: Option<Duration>) -> io::Result<Waited> {
        self.poll(Some(PollFd::new(input, PollFlags::empty())), timeout, true)
    }

    fn poll(&self, input: Option<PollFd<'_>>, timeout: Option<Duration>, heed: bool) -> io::Result<Waited> {
        let has_input = input.is_some();
        let wake = PollFd::new(&self.wake, PollFlags::IN);
        let mut fds = [input.unwrap_or_else(|| wake.clone()), wake];
        let watched = usize::from(!has_input)..if heed { 2 } else { 1 };
        match poll(&mut fds[watched], timeout.map(timespec).as_ref()) {
            Ok(0) => Ok(Waited::Timeout),
            Ok(_) if has_input && !fds[0].revents().is_empty() => Ok(Waited::Readable),
            Ok(_) | Err(Errno::INTR) => Ok(Waited::Signal),
            Err(error) => Err(error.into()),
        }
    }
}

/// The signals for a process that only waits for its child.
pub struct ChildSignals {
    signals: signal_hook::iterator::Signals,
    asked_to_end: bool,
}

impl ChildSignals {
    pub fn new() -> io::Result<Self> {
        let signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGCHLD])?;
        Ok(ChildSignals { signals, asked_to_end: false })
    }

    /// Waits for the next signal. Returns whether one asks us to end.
    pub fn wait(&mut self) -> bool {
        let asked = self.signals.wait().filter(|signal| *signal != SIGCHLD).count() > 0;
        self.asked_to_end |= asked;
        asked
    }

    /// Whether any signal has asked us to end.
    pub fn asked_to_end(&self) -> bool {
        self.asked_to_end
    }
}

/// Sends SIGTERM to a child that has not been waited for.
pub fn ask_to_end(child: &Child) -> io::Result<()> {
    Ok(kill_process(Pid::from_child(child), Signal::TERM)?)
}

fn timespec(time: Duration) -> Timespec {
    Timespec { tv_sec: time.as_secs() as i64, tv_nsec: time.subsec_nanos().into() }
}

/// How many of these are ready now. None if that is unknown because a signal has arrived or memory is short.
fn look(fds: &mut [PollFd<'_>]) -> io::Result<Option<usize>> {
    match call_once(Call::Poll, || Ok(poll(fds, Some(&timespec(Duration::ZERO)))?)) {
        Ok(ready) => Ok(Some(ready)),
        Err(error) if error.kind() == io::ErrorKind::Interrupted || is_shortage(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a read would return at once.
pub fn is_readable(input: impl AsFd) -> io::Result<bool> {
    Ok(look(&mut [PollFd::new(&input, PollFlags::IN)])?.is_some_and(|ready| ready > 0))
}

/// Whether a short write would return at once.
pub fn is_writable(output: impl AsFd) -> io::Result<bool> {
    Ok(look(&mut [PollFd::new(&output, PollFlags::OUT)])?.is_some_and(|ready| ready > 0))
}

/// Waits until a write would not block, or a signal arrives.
pub fn wait_writable(output: impl AsFd) -> io::Result<()> {
    let timeout = while_waiting(None).map(timespec);
    let mut fds = [PollFd::new(&output, PollFlags::OUT)];
    match call_once(Call::Poll, || Ok(poll(&mut fds, timeout.as_ref())?)) {
        Err(error) if error.kind() != io::ErrorKind::Interrupted && !is_shortage(&error) => Err(error),
        _ => Ok(()),
    }
}

/// Closes stdout and stderr for their readers. Their replacement is not a file, which a sandbox may forbid to open.
/// Writes to it fail, which the standard library treats as success.
pub fn close_output() -> io::Result<()> {
    let (nowhere, _) = io::pipe()?;
    rustix::stdio::dup2_stdout(&nowhere)?;
    rustix::stdio::dup2_stderr(&nowhere)?;
    Ok(())
}

pub(super) fn is_pipe(file: impl AsFd) -> io::Result<bool> {
    Ok(FileType::from_raw_mode(fstat(file)?.st_mode) == FileType::Fifo)
}

/// Whether stdin, stdout and stderr all are pipes. If so, a program has started us, not a person.
pub fn has_only_pipes() -> bool {
    [is_pipe(io::stdin()), is_pipe(io::stdout()), is_pipe(io::stderr())]
        .into_iter()
        .all(|is_pipe| is_pipe.unwrap_or(false))
}

/// Whether the other end of a pipe is closed.
pub fn has_hung_up(file: impl AsFd) -> io::Result<bool> {
    let mut fds = [PollFd::new(&file, PollFlags::empty())];
    Ok(look(&mut fds)?.is_some() && fds[0].revents().intersects(PollFlags::ERR | PollFlags::HUP))
}

/// Waits until the other end of a pipe is closed. Returns false after a timeout.
pub fn wait_for_hang_up(file: impl AsFd, timeout: Duration) -> io::Result<bool> {
    let mut fds = [PollFd::new(&file, PollFlags::empty())];
    match poll(&mut fds, Some(&timespec(timeout))) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// How many bytes can be read from a pipe without waiting.
pub fn readable_bytes(input: impl AsFd) -> io::Result<u64> {
    Ok(ioctl_fionread(input)?)
}

/// How many bytes in an output pipe have not been read. None if it is no pipe, or has lost its reader.
pub fn unread(output: &File) -> io::Result<Option<u64>> {
    if !is_pipe(output)? || has_hung_up(output)? {
        return Ok(None);
    }
    Ok(Some(ioctl_fionread(output)?))
}

/// A duplicate handle of a standard stream, without its buffer.
pub fn file_of(stream: impl AsFd) -> io::Result<File> {
    Ok(File::from(stream.as_fd().try_clone_to_owned()?))
}

/// Makes new folders readable by their owner only.
pub fn private_folder(builder: &mut DirBuilder) -> &mut DirBuilder {
    builder.mode(0o700)
}

/// Sets the name of the program that it sees itself and that lists of processes show.
pub fn set_name<'a>(command: &'a mut Command, name: &OsStr) -> &'a mut Command {
    command.arg0(name)
}

pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
