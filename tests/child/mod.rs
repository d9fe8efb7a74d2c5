//! What the tests of the command share: starting it, waiting for it, and asking it to end.

use std::io::Write;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Everything is over in far less; this only keeps a failing test from waiting for ever.
pub const LONG: Duration = Duration::from_secs(60);

pub fn command() -> Command {
    Command::new(env!("CARGO_BIN_EXE_telegraf-algorithmia"))
}

/// Runs the command to its end with `input` on stdin.
pub fn run(args: &[&str], input: &[u8]) -> Output {
    let mut child = spawn(command().args(args));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

pub fn spawn(command: &mut Command) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The message as Telegraf hands it over.
pub fn metric(message: &str, time: i64) -> String {
    format!("kafka_consumer value=\"{}\" {time}\n", message.replace('\\', "\\\\").replace('"', "\\\""))
}

pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LONG, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub fn exit_code(child: &mut Child) -> i32 {
    let mut status = None;
    wait_until("the command ends", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap().code().expect("it was not killed")
}

pub fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}
