//! What the standard library does not say about pipes: whether one can be read without waiting, and how much of what was
//! written has been read. Unix alone; all that is particular to a platform is here.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, fstat};
use rustix::io::{Errno, ioctl_fionread};
use signal_hook::consts::{SIGINT, SIGTERM};

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
    pub fn new() -> io::Result<Self> {
        let arrived = Arc::new(AtomicBool::new(false));
        let (wake, sender) = UnixStream::pair()?;
        for signal in [SIGTERM, SIGINT] {
            // The second one ends us at once.
            signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&arrived))?;
            signal_hook::flag::register(signal, Arc::clone(&arrived))?;
            signal_hook::low_level::pipe::register(signal, sender.try_clone()?)?;
        }
        Ok(Signals { arrived, wake })
    }

    pub fn arrived(&self) -> bool {
        self.arrived.load(Ordering::Relaxed)
    }

    /// Waits for input; for a signal too, where `heed` says so.
    pub fn wait(&self, input: BorrowedFd<'_>, timeout: Option<Duration>, heed: bool) -> io::Result<Waited> {
        let mut fds = [PollFd::new(&input, PollFlags::IN), PollFd::new(&self.wake, PollFlags::IN)];
        let watched = if heed { 2 } else { 1 };
        let timeout = timeout
            .map(|timeout| Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: timeout.subsec_nanos().into() });
        match poll(&mut fds[..watched], timeout.as_ref()) {
            Ok(0) => Ok(Waited::Timeout),
            Ok(_) if fds[0].revents().is_empty() => Ok(Waited::Signal),
            Ok(_) => Ok(Waited::Readable),
            Err(Errno::INTR) => Ok(Waited::Signal),
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether a read would return at once.
pub fn is_readable(input: BorrowedFd<'_>) -> io::Result<bool> {
    let mut fds = [PollFd::new(&input, PollFlags::IN)];
    match poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether a short write would return at once.
pub fn is_writable(output: BorrowedFd<'_>) -> io::Result<bool> {
    let mut fds = [PollFd::new(&output, PollFlags::OUT)];
    Ok(poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))? > 0)
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
    let nowhere = std::fs::File::options().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&nowhere)?;
    rustix::stdio::dup2_stderr(&nowhere)?;
    Ok(())
}

/// How many bytes of what was written to a pipe nobody has read yet. None where it is no pipe, or has lost its reader.
pub fn unread(output: BorrowedFd<'_>) -> io::Result<Option<u64>> {
    if FileType::from_raw_mode(fstat(output)?.st_mode) != FileType::Fifo {
        return Ok(None);
    }
    let mut fds = [PollFd::new(&output, PollFlags::empty())];
    let _ = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    if fds[0].revents().intersects(PollFlags::ERR | PollFlags::HUP) {
        return Ok(None);
    }
    Ok(Some(ioctl_fionread(output.as_fd())?))
}
