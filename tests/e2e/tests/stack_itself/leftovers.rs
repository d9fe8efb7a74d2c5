//! No server may survive its test, however the test ends.
//!
//! The tests here run the test binary once more, as a process of its own that
//! starts a "server" (a shell with a child) and then ends in some way.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use rustix::process::{Pid, Signal};
use stack::Dir;

const SOON: Duration = Duration::from_secs(20);

/// Says to [`helper`] how to end; it does nothing without.
const HELPER: &str = "STACK_TEST_HELPER";

/// A stand-in for a server that has a child, like Telegraf.
fn server() -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "sleep 1000 & echo $!; wait"]);
    command
}

/// The numbers of the server and of its child.
fn start(dir: &Dir) -> (stack::Process, i32, i32) {
    let server = dir.spawn("server", server()).unwrap();
    let child = stack::wait_for("the server's child", SOON, || Ok(server.log().trim().parse::<i32>().ok()));
    let numbers = (server.pid() as i32, child.unwrap());
    (server, numbers.0, numbers.1)
}

/// Not a test: what the tests below run.
#[test]
fn helper() {
    let Ok(end) = std::env::var(HELPER) else {
        return;
    };
    let dir = Dir::new("leftovers").unwrap();
    let (_server, server, child) = start(&dir);
    println!("\n{HELPER} {server} {child} {}", dir.path().display());
    match end.as_str() {
        "panic" => panic!("as asked"),
        "exit" => std::process::exit(0),
        "signal" => loop {
            thread::park();
        },
        _ => unreachable!(),
    }
}

/// Runs [`helper`]; gives the helper's process, the server's number, its child's
/// and the folder.
fn run_helper(end: &str) -> (Child, i32, i32, String) {
    // Where these tests run in a script's background, SIGINT is ignored, and the helper would inherit that.
    let mut helper = Command::new("env")
        .arg("--default-signal=INT")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "stack_itself::leftovers::helper", "--nocapture"])
        .env(HELPER, end)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let stdout = BufReader::new(helper.stdout.take().unwrap());
    let line = stdout
        .lines()
        .map(|line| line.unwrap())
        .find(|line| line.starts_with(HELPER))
        .expect("the helper says what it started");
    let words = line.split(' ').collect::<Vec<_>>();
    (helper, words[1].parse().unwrap(), words[2].parse().unwrap(), words[3].to_owned())
}

/// Whether a process runs; a dead one that nobody has reaped does not.
fn runs(pid: i32) -> bool {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'),
        Err(_) if Path::new("/proc/self/stat").exists() => false,
        // There is no /proc outside Linux.
        Err(_) => rustix::process::test_kill_process(Pid::from_raw(pid).unwrap()).is_ok(),
    }
}

fn wait_until_gone(pids: [i32; 2]) -> Result<()> {
    stack::wait_for(&format!("the end of {pids:?}"), SOON, || Ok((!pids.into_iter().any(runs)).then_some(())))
}

fn end_by_signal(signal: Signal) {
    let (mut helper, server, child, folder) = run_helper("signal");
    assert!(runs(server) && runs(child));
    rustix::process::kill_process(Pid::from_child(&helper), signal).unwrap();
    assert_eq!(helper.wait().unwrap().signal(), Some(signal.as_raw()));
    wait_until_gone([server, child]).unwrap();
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn nothing_survives_ctrl_c() {
    end_by_signal(Signal::INT);
}

#[test]
fn nothing_survives_sigkill() {
    end_by_signal(Signal::KILL);
}

#[test]
fn nothing_survives_a_panic_but_the_folder() {
    let (mut helper, server, child, folder) = run_helper("panic");
    assert!(!helper.wait().unwrap().success());
    wait_until_gone([server, child]).unwrap();
    assert!(Path::new(&folder).join("server.log").exists());
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn nothing_survives_exit() {
    let (mut helper, server, child, folder) = run_helper("exit");
    assert!(helper.wait().unwrap().success());
    wait_until_gone([server, child]).unwrap();
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn nothing_survives_the_dir() {
    let dir = Dir::new("leftovers").unwrap();
    let folder = dir.path().to_owned();
    let (process, server, child) = start(&dir);
    drop(process);
    wait_until_gone([server, server]).unwrap();
    assert!(runs(child), "a server's child ends in its own time");
    drop(dir);
    wait_until_gone([child, child]).unwrap();
    assert!(!folder.exists());
}

#[test]
fn a_server_outlives_the_thread_that_started_it() {
    let dir = Dir::new("leftovers").unwrap();
    let process = thread::scope(|scope| scope.spawn(|| start(&dir).0).join().unwrap());
    process.ensure_running().unwrap();
    process.kill().unwrap();
    assert!(!process.running());
}

#[test]
fn the_folder_of_a_server_that_failed_is_kept() {
    let dir = Dir::new("leftovers").unwrap();
    let folder = dir.path().to_owned();
    let mut command = Command::new("sh");
    command.args(["-c", "echo the cause; exit 3"]);
    let process = dir.spawn("server", command).unwrap();
    let error = stack::wait_for("never", SOON, || process.ensure_running().map(|()| None::<()>));
    let error = format!("{:#}", error.unwrap_err());
    assert!(error.contains("the cause") && error.contains("exit status: 3"), "{error}");
    drop((process, dir));
    assert!(folder.join("server.log").exists());
    fs::remove_dir_all(folder).unwrap();
}
