//! Child processes that never outlive the process that started them.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::net::TcpListener;
use std::ops::Range;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, anyhow, bail};
use rustix::process::{Pid, Signal};

use crate::descendant::{self, Descendant};
use crate::dir::{Dir, Shared};
use crate::wait::wait_for;

/// How long a server may take to end after SIGTERM.
const TERMINATION: Duration = Duration::from_secs(60);

/// A process group that ends with this process, even if this process is killed
/// with SIGKILL.
///
/// Its leader is a shell that does nothing but read from a pipe whose other end
/// only this process holds. The kernel closes that end when this process ends,
/// whatever the cause; the shell then kills the whole group and so reaches the
/// children's children as well. (Linux's parent death signal would not: it goes
/// to the direct child only, and already when the thread that started it ends,
/// which test threads do.)
pub(crate) struct Group {
    watchdog: Child,
    /// Once killed, its number may become another's.
    killed: bool,
}

impl Group {
    pub(crate) fn new() -> Result<Group> {
        let watchdog = Command::new("/bin/sh")
            .args(["-c", "trap '' HUP INT TERM; read -r _; kill -KILL 0"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("cannot start /bin/sh, which is to watch over the servers")?;
        Ok(Group { watchdog, killed: false })
    }

    /// Puts what `command` will start into the group.
    pub(crate) fn adopt(&self, command: &mut Command) {
        command.process_group(self.watchdog.id() as i32);
    }

    /// Ends every process of the group and waits until they are gone.
    pub(crate) fn kill(&mut self) {
        if std::mem::replace(&mut self.killed, true) {
            return;
        }
        let group = Pid::from_child(&self.watchdog);
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
        let _ = self.watchdog.wait();
        // Grandchildren are reaped by init; where that never happens, a dead
        // process counts as a member for ever, hence the limit.
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(1) && rustix::process::test_kill_process_group(group).is_ok() {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A running server, or any other command started in a [`Dir`].
///
/// It is killed when dropped. Should this process end without dropping it
/// (Ctrl-C, SIGKILL, `exit`), it is killed all the same, and so are processes
/// that it started itself, unless they have moved to another process group.
///
/// When only the process itself ends, be it by [`Process::kill`], its own
/// children stay and end in their own time; at the latest they are killed with
/// the [`Dir`]. So a child of Telegraf can do what it has to do after the
/// sudden death of its parent.
pub struct Process {
    name: String,
    log: PathBuf,
    command: Mutex<Command>,
    state: Mutex<State>,
    dir: Arc<Shared>,
}

struct State {
    child: Child,
    /// Its end is nothing to worry about: we asked for it or waited for it.
    end_expected: bool,
}

/// Marks the error of a server that found its port taken by somebody else.
#[derive(Debug)]
struct PortTaken;

impl fmt::Display for PortTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("its port was already in use")
    }
}

impl std::error::Error for PortTaken {}

impl Process {
    pub(crate) fn spawn(dir: &Dir, name: &str, mut command: Command) -> Result<Process> {
        let name = dir.unique(name);
        let log = dir.path().join(format!("{name}.log"));
        let output = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        dir.0.group.adopt(&mut command);
        let child = spawn(&mut command)?;
        Ok(Process {
            name,
            log,
            command: Mutex::new(command),
            state: Mutex::new(State { child, end_expected: false }),
            dir: Arc::clone(&dir.0),
        })
    }

    /// Starts the same command again; its output is appended to the same log.
    pub(crate) fn spawn_again(&self) -> Result<()> {
        if self.running() {
            bail!("{} still runs (process {})", self.name, self.pid());
        }
        let child = spawn(&mut self.command.lock().unwrap_or_else(PoisonError::into_inner))?;
        *self.state() = State { child, end_expected: false };
        Ok(())
    }

    /// The process's number.
    pub fn pid(&self) -> u32 {
        self.state().child.id()
    }

    /// The processes that it has started itself and that run; their own are in
    /// [`Descendant::children`].
    pub fn children(&self) -> Result<Vec<Descendant>> {
        let mut state = self.state();
        // Once reaped, its number may be another's.
        match state.child.try_wait()? {
            None => descendant::children(Pid::from_child(&state.child)),
            Some(_) => Ok(Vec::new()),
        }
    }

    /// Whether it runs.
    pub fn running(&self) -> bool {
        matches!(self.state().child.try_wait(), Ok(None))
    }

    /// An error that shows the end of the log, if it does not run any more.
    /// Good to have in the condition of a [`wait_for`].
    pub fn ensure_running(&self) -> Result<()> {
        let mut state = self.state();
        let Some(status) = state.child.try_wait()? else {
            return Ok(());
        };
        let log = self.log();
        let text = tail(&log, 30);
        // Go writes it small, Java with a capital.
        let reason = if log.contains("ddress already in use") {
            state.end_expected = true;
            Error::new(PortTaken)
        } else {
            anyhow!("it ended ({status})")
        };
        Err(reason.context(format!("{} is not running; the end of {}:\n{text}", self.name, self.log.display())))
    }

    /// All that it has written to stdout and stderr so far.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The file that holds its output.
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// Sends SIGTERM and waits for the end.
    pub fn terminate(&self) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait(TERMINATION)
    }

    /// Sends SIGKILL and waits for the end.
    pub fn kill(&self) -> Result<ExitStatus> {
        self.signal(Signal::KILL)?;
        self.wait(TERMINATION)
    }

    /// Waits until it ends.
    pub fn wait(&self, timeout: Duration) -> Result<ExitStatus> {
        let status = wait_for(&format!("the end of {}", self.name), timeout, || Ok(self.state().child.try_wait()?))?;
        self.state().end_expected = true;
        Ok(status)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        self.ensure_running()?;
        let mut state = self.state();
        // Once reaped, its number may be another's.
        if state.child.try_wait()?.is_none() {
            state.end_expected = true;
            rustix::process::kill_process(Pid::from_child(&state.child), signal)
                .with_context(|| format!("cannot send {signal:?} to {}", self.name))?;
        }
        Ok(())
    }

    /// Waits until a freshly started server passes `probe`.
    pub(crate) fn wait_until_ready(&self, timeout: Duration, mut probe: impl FnMut() -> Result<()>) -> Result<()> {
        let mut last = None;
        wait_for(&format!("{} to answer", self.name), timeout, || {
            self.ensure_running()?;
            last = probe().err();
            Ok(last.is_none().then_some(()))
        })
        .map_err(|error| match last.take() {
            Some(last) => error.context(format!(
                "its last answer was: {last:#}; the end of {}:\n{}",
                self.log.display(),
                tail(&self.log(), 30)
            )),
            None => error,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.dir.keep_if_panicking();
        let mut state = self.state();
        match state.child.try_wait() {
            Ok(Some(status)) if !status.success() && !state.end_expected => {
                self.dir.keep(&format!("{} ended by itself, {status}", self.name));
            }
            Ok(Some(_)) => {}
            _ => {
                let _ = state.child.kill();
                let _ = state.child.wait();
            }
        }
    }
}

fn spawn(command: &mut Command) -> Result<Child> {
    command.spawn().with_context(|| format!("cannot start {}", command.get_program().display()))
}

/// Tries again with other ports as long as a server finds its port taken, which
/// can happen between our choosing it and the server's opening it.
pub(crate) fn on_free_ports<T>(mut start: impl FnMut() -> Result<T>) -> Result<T> {
    for _ in 0..4 {
        match start() {
            Err(error) if error.is::<PortTaken>() => {}
            result => return result,
        }
    }
    start()
}

/// A loopback port that nobody uses at the moment. No two calls give the same one,
/// and it lies below the ports that systems give to connections (from 32768 or 49152
/// on), so it is still free when a server that was killed starts on it again.
pub(crate) fn free_port() -> Result<u16> {
    const PORTS: Range<u16> = 16384..32768;
    static TAKEN: AtomicUsize = AtomicUsize::new(0);
    // Another process begins elsewhere.
    let first = std::process::id() as usize * 997;
    for _ in PORTS {
        let port = PORTS.start + ((first + TAKEN.fetch_add(1, Relaxed)) % PORTS.len()) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port of 127.0.0.1 from {} to {} is free", PORTS.start, PORTS.end - 1)
}

/// The last `lines` lines of `text`.
pub(crate) fn tail(text: &str, lines: usize) -> &str {
    let text = text.trim_end();
    match text.rmatch_indices('\n').nth(lines.saturating_sub(1)) {
        Some((newline, _)) => &text[newline + 1..],
        None => text,
    }
}

/// The last line of a file that may be long and still growing.
pub(crate) fn last_line(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(4096)))?;
    let mut end = Vec::new();
    file.read_to_end(&mut end)?;
    Ok(tail(&String::from_utf8_lossy(&end), 1).to_owned())
}
