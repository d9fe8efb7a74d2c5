//! What the standard library does not say about pipes: whether one can be read without waiting, what is in it, and how
//! much of what was written has been read. Unix alone; all that is particular to a platform is here.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, fstat};
use rustix::io::{Errno, ioctl_fionread};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGCHLD, SIGINT, SIGTERM};

/// The signals that ask us to end. SIGINT too: Ctrl-C in a terminal goes to Telegraf and its children alike.
pub struct Signals {
    arrived: Arc<AtomicBool>,
    wake: UnixStream,
}

/// What ended a wait.
#[derive(Debug, PartialEq, Eq)]
pub enum Waited {
    /// There is input, or it has ended.
    Readable,
    Signal,
    Timeout,
}

impl Signals {
    /// Listens. The second signal ends us at once, where `impatient` says so. One has `arrived` already if it was for a process
    /// whose place we take.
    pub fn new(impatient: bool, arrived: bool) -> io::Result<Self> {
        let arrived = Arc::new(AtomicBool::new(arrived));
        let (wake, sender) = UnixStream::pair()?;
        for signal in [SIGTERM, SIGINT] {
            if impatient {
                signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&arrived))?;
            }
            signal_hook::flag::register(signal, Arc::clone(&arrived))?;
            signal_hook::low_level::pipe::register(signal, sender.try_clone()?)?;
        }
        Ok(Signals { arrived, wake })
    }

    pub fn arrived(&self) -> bool {
        self.arrived.load(Ordering::Relaxed)
    }

    /// Waits for input where there is one to wait for; for a signal too, where `heed` says so.
    pub fn wait(&self, input: Option<BorrowedFd<'_>>, timeout: Option<Duration>, heed: bool) -> io::Result<Waited> {
        self.poll(input.as_ref().map(|input| PollFd::new(input, PollFlags::IN)), timeout, heed)
    }

    /// Waits until the other end of a pipe is closed, or for a signal.
    pub fn wait_for_hang_up(&self, input: BorrowedFd<'_>, timeout: Option<Duration>) -> io::Result<Waited> {
        self.poll(Some(PollFd::new(&input, PollFlags::empty())), timeout, true)
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

/// The signals that a process heeds that does nothing but wait for its child.
pub struct ChildSignals {
    signals: signal_hook::iterator::Signals,
    asked_to_end: bool,
}

impl ChildSignals {
    pub fn new() -> io::Result<Self> {
        let signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGCHLD])?;
        Ok(ChildSignals { signals, asked_to_end: false })
    }

    /// Waits for the next signal; whether one asks to end.
    pub fn wait(&mut self) -> bool {
        let asked = self.signals.wait().filter(|signal| *signal != SIGCHLD).count() > 0;
        self.asked_to_end |= asked;
        asked
    }

    /// Whether any signal has asked to end.
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

/// Whether a read would return at once.
pub fn is_readable(input: BorrowedFd<'_>) -> io::Result<bool> {
    let mut fds = [PollFd::new(&input, PollFlags::IN)];
    match poll(&mut fds, Some(&timespec(Duration::ZERO))) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether a short write would return at once.
pub fn is_writable(output: BorrowedFd<'_>) -> io::Result<bool> {
    let mut fds = [PollFd::new(&output, PollFlags::OUT)];
    Ok(poll(&mut fds, Some(&timespec(Duration::ZERO)))? > 0)
}

/// Waits until a write would not have to.
pub fn wait_writable(output: BorrowedFd<'_>) -> io::Result<()> {
    match poll(&mut [PollFd::new(&output, PollFlags::OUT)], None) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Ends stdout and stderr, for those who read them.
pub fn close_output() -> io::Result<()> {
    let nowhere = File::options().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&nowhere)?;
    rustix::stdio::dup2_stderr(&nowhere)?;
    Ok(())
}

fn is_pipe(file: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(FileType::from_raw_mode(fstat(file)?.st_mode) == FileType::Fifo)
}

/// Whether stdin, stdout and stderr all are pipes: then a program has started us, and no person.
pub fn has_only_pipes() -> bool {
    let is_pipe = |file: BorrowedFd<'_>| is_pipe(file).unwrap_or(false);
    is_pipe(io::stdin().as_fd()) && is_pipe(io::stdout().as_fd()) && is_pipe(io::stderr().as_fd())
}

/// Whether the other end of a pipe is closed.
pub fn has_hung_up(file: BorrowedFd<'_>) -> io::Result<bool> {
    let mut fds = [PollFd::new(&file, PollFlags::empty())];
    match poll(&mut fds, Some(&timespec(Duration::ZERO))) {
        Ok(_) => Ok(fds[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Waits until the other end of a pipe is closed; false if that has not happened in time.
pub fn wait_for_hang_up(file: BorrowedFd<'_>, timeout: Duration) -> io::Result<bool> {
    let mut fds = [PollFd::new(&file, PollFlags::empty())];
    match poll(&mut fds, Some(&timespec(timeout))) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// How many bytes can be read from a pipe without waiting.
pub fn readable_bytes(input: BorrowedFd<'_>) -> io::Result<u64> {
    Ok(ioctl_fionread(input)?)
}

/// How many bytes of what was written to a pipe nobody has read yet. None where it is no pipe, or has lost its reader.
pub fn unread(output: BorrowedFd<'_>) -> io::Result<Option<u64>> {
    if !is_pipe(output)? || has_hung_up(output)? {
        return Ok(None);
    }
    Ok(Some(ioctl_fionread(output)?))
}

/// Makes a pipe hold `size` bytes; false where it is none, or the system does not let us.
#[cfg(target_os = "linux")]
pub fn grow(pipe: BorrowedFd<'_>, size: usize) -> bool {
    rustix::pipe::fcntl_setpipe_size(pipe, size).is_ok()
}

#[cfg(not(target_os = "linux"))]
pub fn grow(_: BorrowedFd<'_>, _: usize) -> bool {
    false
}

/// Reads what is in a pipe and leaves it there.
pub struct PipeCopy {
    /// The copy goes through a pipe of our own.
    reader: File,
    writer: OwnedFd,
}

impl PipeCopy {
    /// None where the input is no pipe, or the platform has no way to copy one.
    #[cfg(target_os = "linux")]
    pub fn of(input: BorrowedFd<'_>) -> io::Result<Option<Self>> {
        if !is_pipe(input)? {
            return Ok(None);
        }
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        // Should ours stay smaller, less can be read at once.
        let _ = rustix::pipe::fcntl_setpipe_size(&writer, rustix::pipe::fcntl_getpipe_size(input)?);
        Ok(Some(PipeCopy { reader: File::from(reader), writer }))
    }

    /// How much can be copied at once.
    #[cfg(target_os = "linux")]
    pub fn size(&self) -> io::Result<usize> {
        Ok(rustix::pipe::fcntl_getpipe_size(&self.writer)?)
    }

    #[cfg(not(target_os = "linux"))]
    pub fn size(&self) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    #[cfg(not(target_os = "linux"))]
    pub fn of(_: BorrowedFd<'_>) -> io::Result<Option<Self>> {
        Ok(None)
    }

    /// Makes both pipes hold `size` bytes; false where the system does not let us.
    pub fn grow(&self, input: BorrowedFd<'_>, size: usize) -> bool {
        grow(self.writer.as_fd(), size) && grow(input, size)
    }

    /// Copies what is in the pipe to the start of `buffer`: how many bytes that are, and 0 if the pipe is empty and nobody can
    /// write to it. The error is of the kind WouldBlock if it is empty for now.
    pub fn read(&mut self, input: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.copy(input, buffer.len())?;
        self.reader.read_exact(&mut buffer[..len])?;
        Ok(len)
    }

    #[cfg(target_os = "linux")]
    fn copy(&self, input: BorrowedFd<'_>, most: usize) -> io::Result<usize> {
        Ok(rustix::pipe::tee(input, &self.writer, most, rustix::pipe::SpliceFlags::NONBLOCK)?)
    }

    #[cfg(not(target_os = "linux"))]
    fn copy(&self, _: BorrowedFd<'_>, _: usize) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
