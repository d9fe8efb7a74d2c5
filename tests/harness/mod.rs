//! The command between two pipes, as Telegraf has it: what is written to it, what it writes, and its worker.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::child::{LONG, command, metric, run, text, wait_until};

/// A write of at most this many bytes is taken by a pipe as a whole, or not at all.
const ATOMIC: usize = 4096;

/// A folder for a journal and a log.
pub struct Folder(TempDir);

impl Folder {
    pub fn new() -> Self {
        Folder(tempfile::tempdir().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The journal's folder, which is not there yet.
    pub fn journal(&self) -> String {
        self.path().join("journal").to_str().unwrap().to_owned()
    }

    /// What `--replay` says that the journal holds.
    pub fn replay(&self) -> String {
        let output = run(&["--replay", &self.journal()], b"");
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    }

    /// The journal's files.
    pub fn segments(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.journal()) else { return Vec::new() };
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "lp")).collect()
    }

    /// How many bytes they have.
    pub fn journal_size(&self) -> u64 {
        // One may be deleted at any time.
        self.segments().iter().filter_map(|path| fs::metadata(path).ok()).map(|data| data.len()).sum()
    }
}

/// The command, running. Its stderr is a file.
pub struct Service {
    pub child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    output: Vec<u8>,
    log: PathBuf,
}

impl Service {
    pub fn start(folder: &Folder, args: &[&str]) -> Self {
        Self::spawn(folder, command().args(args))
    }

    /// With a journal in `folder`.
    pub fn with_journal(folder: &Folder, args: &[&str]) -> Self {
        Self::start(folder, &[&["--journal", &folder.journal()], args].concat())
    }

    /// With a journal in `folder`, or without one.
    pub fn maybe_with_journal(folder: &Folder, journal: bool, args: &[&str]) -> Self {
        if journal { Self::with_journal(folder, args) } else { Self::start(folder, args) }
    }

    pub fn spawn(folder: &Folder, command: &mut Command) -> Self {
        let logs = fs::read_dir(folder.path()).unwrap().count();
        let log = folder.path().join(format!("log-{logs}"));
        let stderr = OpenOptions::new().create_new(true).append(true).open(&log).unwrap();
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        for pipe in [stdin.as_ref().unwrap().as_fd(), stdout.as_ref().unwrap().as_fd()] {
            let flags = rustix::fs::fcntl_getfl(pipe).unwrap();
            rustix::fs::fcntl_setfl(pipe, flags | rustix::fs::OFlags::NONBLOCK).unwrap();
        }
        Service { child, stdin, stdout, output: Vec::new(), log }
    }

    /// Writes lines to its stdin if there is room for them all now.
    pub fn offer(&mut self, lines: &[u8]) -> bool {
        assert!(lines.len() <= ATOMIC);
        match self.stdin.as_mut().unwrap().write(lines) {
            Ok(len) => {
                assert_eq!(len, lines.len(), "a pipe takes so little as a whole");
                true
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(error) => panic!("cannot write to its stdin: {error}"),
        }
    }

    /// Writes lines to its stdin, and takes its output meanwhile.
    pub fn send(&mut self, lines: &str) {
        for piece in pieces(lines) {
            self.wait_for("it takes input", |service| service.offer(piece.as_bytes()));
        }
    }

    /// Takes the output that there is; false at its end.
    pub fn take(&mut self) -> bool {
        let mut buffer = [0; 1 << 16];
        loop {
            match self.stdout.as_mut().unwrap().read(&mut buffer) {
                Ok(0) => return false,
                Ok(len) => {
                    self.output.extend_from_slice(&buffer[..len]);
                    if self.output.first() == Some(&b'\n') {
                        self.output = without_blank_lines(&self.output).to_owned();
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) => panic!("cannot read its stdout: {error}"),
            }
        }
    }

    /// Takes output until the condition holds.
    pub fn wait_for(&mut self, what: &str, mut condition: impl FnMut(&mut Self) -> bool) {
        wait_until(what, || {
            self.take();
            condition(self)
        });
    }

    /// Waits until so many lines have come out.
    pub fn wait_for_lines(&mut self, count: usize) {
        self.wait_for(&format!("{count} lines are there"), |service| service.count() >= count);
    }

    /// How many lines have been taken.
    pub fn count(&self) -> usize {
        self.output.iter().filter(|byte| **byte == b'\n').count()
    }

    /// What has been taken.
    pub fn output(&self) -> &str {
        std::str::from_utf8(&self.output).unwrap()
    }

    /// Lines of messages among that.
    pub fn points(&self) -> Vec<&str> {
        points(self.output())
    }

    /// How many bytes of its output are not taken yet.
    pub fn unread(&self) -> u64 {
        rustix::io::ioctl_fionread(self.stdout()).unwrap()
    }

    pub fn stdout(&self) -> BorrowedFd<'_> {
        self.stdout.as_ref().unwrap().as_fd()
    }

    pub fn stdin(&self) -> BorrowedFd<'_> {
        self.stdin.as_ref().unwrap().as_fd()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// The worker's process, when there is one.
    pub fn worker(&self) -> Pid {
        let mut worker = None;
        wait_until("there is a worker", || {
            worker = self.child_processes().first().copied();
            worker.is_some()
        });
        worker.unwrap()
    }

    fn child_processes(&self) -> Vec<Pid> {
        let id = self.child.id();
        let Ok(mut file) = File::open(format!("/proc/{id}/task/{id}/children")) else { return Vec::new() };
        let mut ids = String::new();
        // The process may be gone by now.
        let _ = file.read_to_string(&mut ids);
        ids.split_whitespace().filter_map(|id| Pid::from_raw(id.parse().unwrap())).collect()
    }

    /// Kills this worker and waits for the next.
    pub fn kill_worker(&mut self, worker: Pid) {
        kill_process(worker, Signal::KILL).unwrap();
        self.wait_for("there is another worker", |service| service.child_processes().iter().any(|id| *id != worker));
    }

    /// Kills all there is in the same moment, as the end of a container does.
    pub fn kill_everything(&mut self) {
        let worker = self.worker();
        kill_process(Pid::from_child(&self.child), Signal::KILL).unwrap();
        kill_process(worker, Signal::KILL).unwrap();
        self.child.wait().unwrap();
        wait_until("the worker is gone", || !Path::new(&format!("/proc/{}", worker.as_raw_nonzero())).exists());
    }

    /// What Telegraf's death does to its child.
    pub fn close_pipes(&mut self) {
        self.stdout = None;
        self.stdin = None;
    }

    /// Ends the input.
    pub fn end_input(&mut self) {
        self.stdin = None;
    }

    /// Waits until it has gone, and takes its output meanwhile; its exit code.
    pub fn wait(&mut self) -> i32 {
        let mut status = None;
        wait_until("the command ends", || {
            if self.stdout.is_some() {
                self.take();
            }
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        if self.stdout.is_some() {
            self.wait_for_end();
        }
        status.unwrap().code().expect("it was not killed")
    }

    /// Takes output until its end.
    pub fn wait_for_end(&mut self) {
        wait_until("the output ends", || !self.take());
    }

    /// Ends the input, and waits until it has gone; its exit code.
    pub fn end(&mut self) -> i32 {
        self.end_input();
        self.wait()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Only a test that fails leaves any.
        let workers = self.child_processes();
        let _ = self.child.kill();
        for worker in workers {
            let _ = kill_process(worker, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

/// Whole lines, as many as a pipe takes at once.
pub fn pieces(lines: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = lines;
    while !rest.is_empty() {
        let most = rest.floor_char_boundary(ATOMIC);
        let len = rest[..most].rfind('\n').map_or(most, |end| end + 1);
        let (piece, behind) = rest.split_at(len);
        pieces.push(piece);
        rest = behind;
    }
    pieces
}

/// The metric with the message number `index`.
pub fn message(index: usize) -> String {
    long_message(index, "")
}

/// One with a text in it.
pub fn long_message(index: usize, note: &str) -> String {
    let message = format!(
        r#"{{"algorithm_name":"a","note":"{note}","x":{index},"time":"2021-02-20T00:21:54.867231","request_id":"{index}"}}"#
    );
    metric(&message, index as i64 + 1)
}

pub fn messages(indices: std::ops::Range<usize>) -> String {
    indices.map(message).collect()
}

/// The lines that messages become.
pub fn converted(messages: &str) -> Vec<String> {
    let output = run(&[], messages.as_bytes());
    assert!(output.status.success());
    text(&output.stdout).lines().map(str::to_owned).collect()
}

/// The lines that messages have become: not gauges, reports, and what makes an end to half a line.
pub fn points(output: &str) -> Vec<&str> {
    output
        .lines()
        .filter(|line| ["algorithmia,", "algorithmia_rejected,"].iter().any(|name| line.starts_with(name)))
        .collect()
}

pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64
}

/// An output without the blank lines at its start, which are there for Telegraf's parser.
pub fn without_blank_lines(output: &[u8]) -> &[u8] {
    let blank = output.iter().take_while(|byte| **byte == b'\n').count();
    &output[blank..]
}

/// What Telegraf says of the InfluxDB output's buffer.
pub fn gauge(time: i64, size: usize, limit: usize) -> String {
    gauge_of("output=influxdb_v2", time, size, limit)
}

pub fn gauge_of(output: &str, time: i64, size: usize, limit: usize) -> String {
    format!("internal_write,{output} buffer_size={size}i,buffer_limit={limit}i {time}\n")
}

/// Gauges a minute apart, so that the next one is not looked for within the test, and no room.
pub fn no_room() -> String {
    gauge(now() - 60_000_000_000, 1000, 1000) + &gauge(now(), 1000, 1000)
}

/// Waits until nothing has changed for a while.
pub fn settle<T: PartialEq>(mut state: impl FnMut() -> T) {
    const STILL: Duration = Duration::from_millis(200);
    let start = Instant::now();
    let mut last = (state(), Instant::now());
    while last.1.elapsed() < STILL {
        assert!(start.elapsed() < LONG, "it does not settle");
        std::thread::sleep(Duration::from_millis(5));
        let state = state();
        if state != last.0 {
            last = (state, Instant::now());
        }
    }
}

/// Runs a test for all cases at the same time: most of it is waiting.
pub fn at_once<T: Send>(cases: impl IntoIterator<Item = T>, test: impl Fn(T) + Sync) {
    std::thread::scope(|scope| {
        for case in cases {
            scope.spawn(|| test(case));
        }
    });
}
