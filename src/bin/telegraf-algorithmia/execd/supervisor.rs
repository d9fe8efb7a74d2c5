//! The supervisor: the process that Telegraf starts if there is a journal. It starts the worker, which does the work, and
//! keeps the pipes to Telegraf open while a worker is replaced.
//!
//! Telegraf drops what arrives while it has no child. If a process is killed for the memory it takes or for a bug, it is the
//! worker; the next one finds in the pipe what the last one had not put into the journal.

use std::io;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{Patience, Turn, WORKER, log};
use crate::platform::{self, ChildSignals, ask_to_end};

/// The exit status of a Rust program that panics.
const PANICKED: i32 = 101;

/// If this many workers in a row die young, the next one would die too.
const MAX_DEATHS: u32 = 10;

/// Runs workers until one has finished its work. Returns its exit status.
pub fn run(patience: &Patience) -> Result<u8> {
    let mut signals = ChildSignals::new().context("cannot listen for signals")?;
    let mut deaths = 0;
    let mut turn = Turn::First;
    loop {
        let started = Instant::now();
        let mut worker = start_somehow(turn)?;
        let status = wait(&mut worker, &mut signals).context("cannot wait for the worker")?;
        if let Some(code) = status.code().filter(|code| *code != PANICKED) {
            return Ok(u8::try_from(code).unwrap_or(u8::MAX));
        }
        deaths = if started.elapsed() < patience.young { deaths + 1 } else { 1 };
        if deaths >= MAX_DEATHS {
            log::write('E', format_args!("{MAX_DEATHS} workers in a row have died at once, the last of {status}"));
            return Ok(1);
        }
        // The signal that asked us to end may have killed the worker before it could listen. Its input still has to be
        // read.
        turn = if signals.asked_to_end() { Turn::Last } else { Turn::Next };
        if turn == Turn::Next {
            log::write('W', format_args!("the worker has died ({status}); another one goes on where it was"));
        }
    }
}

/// Starts a worker as soon as the system has the memory for it, since a worker that was killed for lack of memory is
/// replaced. Meanwhile Telegraf waits.
fn start_somehow(turn: Turn) -> Result<Child> {
    const PAUSE: Duration = Duration::from_millis(100);
    let mut told = false;
    loop {
        let error = match start(turn) {
            Ok(worker) => return Ok(worker),
            Err(error) => error,
        };
        if platform::wait_for_hang_up(io::stdin(), PAUSE)? || !platform::has_only_pipes() {
            return Err(error).context("cannot start another process of the same program");
        }
        if !std::mem::replace(&mut told, true) {
            log::write(
                'E',
                format_args!("cannot start another process of the same program, but go on trying: {error}"),
            );
        }
    }
}

/// Starts this program with its own command line, and tells it that it is a worker.
fn start(turn: Turn) -> io::Result<Child> {
    let spawn = |program: &Path| {
        let mut command = Command::new(program);
        // After the name of the command, which is the first argument.
        let mut args = std::env::args_os().skip(1);
        command.args(args.next()).arg(format!("--{WORKER}={turn}")).args(args);
        if let Some(name) = std::env::args_os().next() {
            platform::set_name(&mut command, &name);
        }
        command.spawn()
    };
    let running = || platform::running_program().and_then(|program| spawn(&program));
    std::env::current_exe().and_then(|program| spawn(&program)).or_else(|_| running())
}

/// Waits for the worker to exit, and forwards the signals that ask us to end.
fn wait(worker: &mut Child, signals: &mut ChildSignals) -> io::Result<ExitStatus> {
    loop {
        let asked = signals.wait();
        if let Some(status) = worker.try_wait()? {
            return Ok(status);
        }
        if asked {
            ask_to_end(worker)?;
        }
    }
}
