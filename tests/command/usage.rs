//! The command as people and Telegraf run it: what it reads, how it ends, and when its output leaves.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, recv, socketpair};
use rustix::process::Signal;

use fixtures::command::{IMPATIENT, at_once, command, exit_code, run, signal, spawn, text, wait_until};
use fixtures::repository;
use fixtures::telegraf::metric;

const MESSAGE: &str = r#"{"algorithm_name":"a","x":1,"time":"2021-02-20T00:21:54.867231","request_id":"r"}"#;
const POINT: &str = "algorithmia,algorithm_name=a x=1,request_id=\"r\" 1613780514867231";

struct TempFile(tempfile::TempDir);

impl TempFile {
    fn new(content: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("messages.jsonl"), content).unwrap();
        TempFile(dir)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("messages.jsonl")
    }
}

fn read_line(stdout: &mut ChildStdout) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while stdout.read(&mut byte).unwrap() == 1 {
        if byte[0] == b'\n' {
            break;
        }
        line.push(byte[0]);
    }
    text(&line)
}

#[test]
fn a_file_stdin_and_telegraf_give_the_same_lines() {
    let sample = fs::read_to_string(repository("examples/insights.jsonl")).unwrap();
    // Lines without a time of their own get the clock's, which is another each time.
    let without_times = |output: Output| -> Vec<String> {
        assert!(output.status.success());
        let text = text(&output.stdout);
        let given = |line: &str| line.contains("16137") && !line.starts_with("algorithmia_rejected");
        text.lines()
            .map(|line| {
                if given(line) { line } else { line.rsplit_once(' ').map_or(line, |(line, _)| line) }.to_owned()
            })
            .collect()
    };
    let file = TempFile::new(&sample);
    let from_file = without_times(run(&[file.path().to_str().unwrap()], b""));
    let from_stdin = without_times(run(&[], sample.as_bytes()));
    let from_telegraf =
        without_times(run(&[], sample.lines().map(|line| metric(line, 7)).collect::<String>().as_bytes()));
    assert_eq!(from_file, from_stdin);
    assert_eq!(from_file, from_telegraf);
    assert!(from_file.len() > 20);
}

#[test]
fn several_files_are_read_in_turn_and_a_missing_one_costs_only_itself() {
    let (first, second) = (TempFile::new(MESSAGE), TempFile::new(&format!("\n{}", metric(MESSAGE, 7))));
    let (first, second) = (first.path(), second.path());
    let output = run(&[first.to_str().unwrap(), "missing.jsonl", "-", second.to_str().unwrap()], MESSAGE.as_bytes());
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout).matches(POINT).count(), 3);
    let stderr = text(&output.stderr);
    assert!(stderr.starts_with("E! cannot open missing.jsonl: "), "{stderr}");
}

/// Messages enough for several threads, some of them no good.
fn many_messages() -> String {
    let message = |index: usize| match index % 50 {
        7 => "oops\n".to_owned(),
        9 => MESSAGE.replace("\"x\":1", "\"x\":NaN,\"y\":1") + "\n",
        _ => MESSAGE.replace("\"r\"", &format!("\"{index}\"")) + "\n",
    };
    (0..20_000).map(message).collect()
}

#[test]
fn several_threads_write_and_log_what_one_does() {
    let file = TempFile::new(&many_messages());
    // Rejections of raw JSON get the clock's time.
    let without_times = |output: &[u8]| -> Vec<String> {
        let lines = text(output);
        let is_rejection = |line: &str| line.starts_with("algorithmia_rejected");
        lines
            .lines()
            .map(|line| if is_rejection(line) { line.rsplit_once(' ').unwrap().0 } else { line }.to_owned())
            .collect()
    };
    let run = |threads: &str, stdin: Stdio, args: &[&str]| {
        let output = command().args(["--threads", threads]).args(args).stdin(stdin).output().unwrap();
        assert!(output.status.success());
        (without_times(&output.stdout), text(&output.stderr))
    };
    let path = file.path();
    let path = path.to_str().unwrap();
    let (lines, log) = run("1", Stdio::null(), &[path, path]);
    assert_eq!(lines.len(), 40_000);
    assert!(log.contains("39200 converted, 0 passed through, 800 rejected (800 invalid_json)"), "{log}");
    for threads in ["2", "5"] {
        let stdin = || Stdio::from(fs::File::open(path).unwrap());
        for (what, got) in [
            ("files", run(threads, Stdio::null(), &[path, path])),
            ("a file and stdin", run(threads, stdin(), &[path, "-"])),
        ] {
            assert_eq!(got.1, log, "{what}, {threads} threads");
            assert!(got.0 == lines, "{what}, {threads} threads");
        }
        let (from_stdin, _) = run(threads, stdin(), &[]);
        assert!(from_stdin == lines[..20_000], "stdin, {threads} threads");
    }
}

#[test]
fn a_signal_leaves_a_file_at_once() {
    let file = TempFile::new(&many_messages().repeat(5));
    for threads in ["1", "3"] {
        let mut child = spawn(command().args(["--threads", threads]).arg(file.path()));
        let mut stdout = child.stdout.take().unwrap();
        read_line(&mut stdout);
        signal(&child, Signal::TERM);
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).unwrap();
        assert_eq!(exit_code(&mut child), 143);
        assert!(rest.ends_with('\n') && rest.lines().count() < 100_000 - 1, "{} lines", rest.lines().count());
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        let path = file.path();
        let said =
            format!("E! interrupted by SIGTERM: {} was not read to its end; the rest is missing\n", path.display());
        assert!(stderr.contains(&said), "{stderr}");
    }
}

#[test]
fn who_is_interrupted_says_so_and_converts_no_half_message() {
    let line = metric(MESSAGE, 7);
    for (format, whole, half) in [
        ("influx", line.as_str(), &line[..line.len() - 3]),
        ("json", MESSAGE, &MESSAGE[..MESSAGE.len() - 1]),
        ("json-lines", &format!("{MESSAGE}\n"), &MESSAGE[..MESSAGE.len() - 2]),
    ] {
        at_once([(Signal::INT, false), (Signal::INT, true), (Signal::TERM, true)], |(stop, ends)| {
            let mut child = spawn(command().args(["--input", format]));
            let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
            write!(stdin, "{whole}").unwrap();
            assert!(read_line(&mut stdout).starts_with(POINT), "{format}");
            write!(stdin, "{half}").unwrap();
            signal(&child, stop);
            // Whoever writes has mostly got the signal too.
            let stdin = Some(stdin).filter(|_| !ends);
            let (mut rest, mut stderr) = (String::new(), String::new());
            stdout.read_to_string(&mut rest).unwrap();
            child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
            assert_eq!(rest, "", "{format}, {stop:?}");
            let (name, status) = if stop == Signal::INT { ("SIGINT", 130) } else { ("SIGTERM", 143) };
            let said = format!("E! interrupted by {name}: stdin was not read to its end; the rest is missing\n");
            assert!(stderr.contains(&said), "{format}: {stderr}");
            assert_eq!(exit_code(&mut child), status, "{format}");
            drop(stdin);
        });
    }
}

#[test]
fn a_limit_on_the_size_of_files_is_a_full_disk() {
    let file = TempFile::new(&format!("{MESSAGE}\n").repeat(1000));
    let mut shell = Command::new("sh");
    let script = "ulimit -f 8; exec \"$0\" messages.jsonl > points.lp";
    shell.args(["-c", script, env!("CARGO_BIN_EXE_telegraf-algorithmia")]).current_dir(file.0.path());
    let output = shell.output().unwrap();
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.starts_with("E! cannot write to stdout: check that there is room where it goes: File too large"));
}

#[test]
fn the_signals_of_telegraf_do_nothing_to_its_child() {
    let mut child = spawn(&mut command());
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    for telegrafs in [Signal::HUP, Signal::USR1, Signal::USR2, Signal::QUIT] {
        // Nobody can know when it has begun to listen but by a line that it has written.
        feed(&mut stdin, 1);
        assert!(read_line(&mut stdout).starts_with("algorithmia,"), "{telegrafs:?}");
        signal(&child, telegrafs);
    }
    feed(&mut stdin, 1);
    assert!(read_line(&mut stdout).starts_with("algorithmia,"));
    drop(stdin);
    assert_eq!(exit_code(&mut child), 0);
}

#[test]
fn exit_status_tells_rejections_only_when_strict() {
    for (args, input, code) in [
        (&[][..], "oops", 0),
        (&["--strict"], "{\"algorithm_name\":\"a\",\"x\":1}", 0),
        (&["--strict"], "oops", 1),
        (&["--max-nesting", "0"], "", 2),
        (&["--max-message", "1.5"], "", 2),
        (&["--threads", "0"], "", 2),
        (&["--patience-divisor", "0"], "", 2),
        (&["--patience-divisor", "101"], "", 2),
        (&["--as", "x=number"], "", 2),
        (&["--as", "algorithm_name=drop"], "", 2),
        (&["--rename", "model"], "", 2),
        (&["--rename", "model=*"], "", 2),
        (&["--measurement", "kafka_consumer"], "", 2),
        (&["--measurement", "_x"], "", 2),
        (&["--measurement", "{x"], "", 2),
        (&["--measurement", ""], "", 2),
        (&["--source", ""], "", 2),
        (&["--no-such-option"], "", 2),
        (&["--input", "xml"], "", 2),
        (&["--help"], "", 0),
        (&["--version"], "", 0),
    ] {
        let output = run(args, input.as_bytes());
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", text(&output.stderr));
    }
}

#[test]
fn the_version_is_that_of_the_package() {
    let output = run(&["--version"], b"");
    // A build with the profile for releases names the commit as well.
    let version = text(&output.stdout);
    let start = concat!("telegraf-algorithmia ", env!("CARGO_PKG_VERSION"));
    assert!(version.strip_prefix(start).is_some_and(|rest| rest == "\n" || rest.starts_with(" (")), "{version}");
}

#[test]
fn options_reach_the_conversion_from_the_command_line_and_the_environment() {
    let input =
        "m text=\"{\\\"model\\\":\\\"a\\\",\\\"data\\\":{\\\"x\\\":1},\\\"y\\\":1,\\\"time\\\":1613780514867}\" 7\n";
    let expected = "n,algorithm_name=a x=1i,y=true 1613780514867000000\n";
    let args =
        ["--source", "other,m", "--field", "text", "--measurement", "n", "--as", "x=integer", "--as", "y=boolean"];
    let renames = ["--rename", "model=algorithm_name", "--rename", "data_*=*"];
    let output = run(&[&args[..], &renames, &["--exact-time", "--input", "influx"]].concat(), input.as_bytes());
    assert_eq!(text(&output.stdout), expected, "{}", text(&output.stderr));

    let variables = [
        ("SOURCE", "other,m"),
        ("FIELD", "text"),
        ("MEASUREMENT", "n"),
        ("RENAME", "model=algorithm_name,data_*=*"),
        ("AS", "x=integer,y=boolean"),
        ("EXACT_TIME", "true"),
        ("INPUT", "influx"),
        ("STRICT", "true"),
        ("MAX_FIELDS", "3"),
        ("MAX_NESTING", "2"),
        ("MAX_MESSAGE", "60"),
    ];
    let mut child = spawn(command().envs(variables.map(|(name, value)| (format!("ALGORITHMIA_{name}"), value))));
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(text(&output.stdout), expected, "{}", text(&output.stderr));
    for (name, value) in [("MAX_FIELDS", "2"), ("MAX_MESSAGE", "20")] {
        let variables = variables.map(|(other, old)| (other, if other == name { value } else { old }));
        let mut child = spawn(command().envs(variables.map(|(name, value)| (format!("ALGORITHMIA_{name}"), value))));
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(text(&output.stdout).starts_with("n_rejected,reason=too_large "), "{name}");
        assert_eq!(output.status.code(), Some(1), "strict by environment");
    }
    for (value, code) in [("1", 1), ("yes", 1), ("0", 0), ("false", 0)] {
        let mut child = spawn(command().env("ALGORITHMIA_STRICT", value));
        child.stdin.take().unwrap().write_all(b"oops").unwrap();
        assert_eq!(child.wait_with_output().unwrap().status.code(), Some(code), "{value}");
    }
}

#[test]
fn a_variable_that_is_set_to_nothing_is_not_set() {
    let names = [
        "SOURCE",
        "FIELD",
        "MEASUREMENT",
        "RENAME",
        "AS",
        "EXACT_TIME",
        "INPUT",
        "STRICT",
        "MAX_FIELDS",
        "MAX_NESTING",
        "MAX_MESSAGE",
        "THREADS",
        "SUMMARY",
        "FORMAT",
        "JOURNAL",
        "JOURNAL_WINDOW",
        "JOURNAL_SIZE",
        "JOURNAL_SYNC",
        "FLOW_CONTROL",
        "FLOW_OUTPUT",
        "STATS",
        "INSTANCE",
    ];
    for args in [&[][..], &["convert"], &["execd"], &["inspect"], &["inspect", "--format", "summary"]] {
        let variables = names.map(|name| (format!("ALGORITHMIA_{name}"), ""));
        let mut child = spawn(command().args(args).envs(variables));
        child.stdin.take().unwrap().write_all(metric(MESSAGE, 7).as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let (shown, log) = (text(&output.stdout), text(&output.stderr));
        let expected = match args {
            ["inspect", "--format", ..] => "1 message: 1 point, 0 rejected\n",
            ["inspect"] => "message 1, line 1, byte 0: a point at ",
            _ => POINT,
        };
        assert!(shown.starts_with(expected), "{args:?}: {shown}{log}");
        assert_eq!((output.status.code(), log.as_str()), (Some(0), ""), "{args:?}");
    }
}

#[test]
fn help_groups_the_options_and_names_their_defaults() {
    let help = text(&run(&["--help"], b"").stdout);
    for part in [
        "Commands:",
        "Input:",
        "Points:",
        "Limits:",
        "Exit status:",
        "[default: kafka_consumer]",
        "[default: value]",
        "[default: auto]",
        "[default: algorithmia]",
        "[default: 1048576]",
        "[default: 1000]",
        "[default: 64]",
        "[env: ALGORITHMIA_RENAME=]",
        "[env: ALGORITHMIA_AS=]",
        "Examples:",
    ] {
        assert!(help.contains(part), "{part} is missing in:\n{help}");
    }
}

#[test]
fn a_lone_message_leaves_at_once() {
    let mut child = spawn(&mut command());
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    for _ in 0..3 {
        // Nothing follows and stdin stays open: the line can only come because no input is waiting.
        stdin.write_all(metric(MESSAGE, 7).as_bytes()).unwrap();
        assert!(read_line(&mut stdout).starts_with(POINT));
    }
    drop(stdin);
    assert_eq!(exit_code(&mut child), 0);
}

#[test]
fn a_flood_leaves_in_large_writes() {
    // A socket that keeps the limits of each write shows how many there were.
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::empty(), None).unwrap();
    // As long as a child has it, the end of the output would not be seen.
    fcntl_setfd(&theirs, FdFlags::CLOEXEC).unwrap();
    fcntl_setfd(&ours, FdFlags::CLOEXEC).unwrap();
    let messages = 20_000;
    let file = TempFile::new(&format!("{MESSAGE}\n").repeat(messages));
    let mut child = command().arg(file.path()).stdin(Stdio::null()).stdout(Stdio::from(theirs)).spawn().unwrap();
    let mut buffer = vec![0; 1 << 20];
    let (mut writes, mut lines) = (0, 0);
    loop {
        let (len, _) = recv(&ours, &mut buffer, RecvFlags::empty()).unwrap();
        if len == 0 {
            break;
        }
        writes += 1;
        lines += buffer[..len].iter().filter(|byte| **byte == b'\n').count();
    }
    assert_eq!(exit_code(&mut child), 0);
    assert_eq!(lines, messages);
    assert!(writes * 200 < messages, "{writes} writes for {messages} messages");
}

fn feed(stdin: &mut ChildStdin, count: usize) {
    let lines: String = (0..count).map(|index| metric(&MESSAGE.replace("\"r\"", &format!("\"{index}\"")), 7)).collect();
    stdin.write_all(lines.as_bytes()).unwrap();
}

#[test]
fn sigterm_with_stdin_open_finishes_what_was_read() {
    at_once([Signal::TERM, Signal::INT], |stop| {
        let mut child = spawn(&mut command());
        let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let count = 100;
        // The first line shows that it runs; the others may still be in the pipe when the signal comes.
        feed(&mut stdin, 1);
        read_line(&mut stdout);
        feed(&mut stdin, count);
        signal(&child, stop);
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).unwrap();
        assert_eq!(rest.lines().count(), count, "{stop:?}");
        assert_eq!(exit_code(&mut child), if stop == Signal::TERM { 143 } else { 130 });
        drop(stdin);
    });
}

#[test]
fn after_sigterm_it_still_takes_what_telegraf_has_to_hand_over() {
    let mut child = spawn(&mut command());
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    feed(&mut stdin, 1);
    read_line(&mut stdout);
    signal(&child, Signal::TERM);
    // Had the signal ended it, the next line would find no reader.
    for _ in 0..20 {
        feed(&mut stdin, 10);
        for _ in 0..10 {
            assert!(read_line(&mut stdout).starts_with("algorithmia,"));
        }
    }
    drop(stdin);
    assert_eq!(exit_code(&mut child), 143);
}

#[test]
fn sigterm_ends_it_even_if_the_input_never_does() {
    let endless = fs::File::open("/dev/zero").unwrap();
    let mut command = command();
    command.arg(IMPATIENT).stdin(Stdio::from(endless)).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    // It handles signals before it reads.
    let io = || fs::read_to_string(format!("/proc/{}/io", child.id())).unwrap();
    wait_until("it reads", || {
        !io().contains("rchar: 0\n") && io().lines().next().unwrap().len() > "rchar: 1000000".len()
    });
    signal(&child, Signal::TERM);
    assert_eq!(exit_code(&mut child), 143);
}

#[test]
fn it_goes_only_when_its_output_has_been_read() {
    let mut child = spawn(&mut command());
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    feed(&mut stdin, 100);
    drop(stdin);
    wait_until("the output is there", || rustix::io::ioctl_fionread(stdout.as_fd()).unwrap() > 5000);
    // A process that went at the end of its input would be gone within this.
    std::thread::sleep(Duration::from_millis(300));
    assert!(child.try_wait().unwrap().is_none(), "it went with its output unread");
    let mut output = String::new();
    stdout.read_to_string(&mut output).unwrap();
    assert_eq!(output.lines().count(), 100);
    assert_eq!(exit_code(&mut child), 0);
}

/// With the usual time, which the environment does not shorten.
#[test]
fn it_does_not_wait_for_ever_for_its_output_to_be_read() {
    let started = Instant::now();
    let mut child = spawn(command().env("ALGORITHMIA_PATIENCE_DIVISOR", "100"));
    feed(child.stdin.as_mut().unwrap(), 100);
    drop(child.stdin.take());
    assert_eq!(exit_code(&mut child), 0);
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert!(stderr.starts_with("W! leaving with ") && stderr.ends_with(" unread after 4 s\n"), "{stderr}");
    assert!(started.elapsed() >= Duration::from_secs(4), "{:?}", started.elapsed());
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let file = TempFile::new(&format!("{MESSAGE}\n").repeat(20_000));
    let mut child = spawn(command().arg(file.path()));
    let mut stdout = child.stdout.take().unwrap();
    assert!(read_line(&mut stdout).starts_with(POINT));
    drop(stdout);
    assert_eq!(exit_code(&mut child), 0);
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(stderr, "");
}

#[test]
fn a_closed_stderr_does_not_stop_the_stream() {
    let mut child = spawn(&mut command());
    drop(child.stderr.take());
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    stdin.write_all(b"oops\n").unwrap();
    assert!(read_line(&mut stdout).starts_with("algorithmia_rejected,reason=invalid_metric "));
    drop(stdin);
    assert_eq!(exit_code(&mut child), 0);
}

#[test]
fn an_output_that_cannot_be_written_is_an_error() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let file = TempFile::new(MESSAGE);
    let output = command().arg(file.path()).stdout(full).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    assert!(stderr.starts_with("E! cannot write to stdout: check that there is room"), "{stderr}");

    let output = run(&["/"], b"");
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    assert!(stderr.starts_with("E! cannot read /: check that it is a file"), "{stderr}");
}

#[test]
fn on_a_terminal_with_nothing_piped_in_it_says_how_it_is_used() {
    let controller = rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY).unwrap();
    rustix::pty::grantpt(&controller).unwrap();
    rustix::pty::unlockpt(&controller).unwrap();
    let name = rustix::pty::ptsname(&controller, Vec::new()).unwrap();
    let terminal: OwnedFd = rustix::fs::open(
        name.as_c_str(),
        rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY,
        rustix::fs::Mode::empty(),
    )
    .unwrap();
    for args in [&[][..], &["--strict"], &["convert"], &["inspect"], &["execd", "--flow-control"]] {
        let mut nothing = command();
        nothing.args(args).stdin(Stdio::from(terminal.try_clone().unwrap()));
        let mut child = nothing.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        assert_eq!(exit_code(&mut child), 2, "{args:?}");
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert!(
            stderr.starts_with("E! nothing is piped in") && stderr.contains("Usage: ") && stderr.contains("kcat"),
            "{args:?}: {stderr}"
        );
    }
}

#[test]
fn log_lines_have_levels_and_are_few() {
    let bad: String = (0..1000).map(|index| metric(&format!("oops {index}"), 7)).collect();
    let good = metric(r#"{"algorithm_name":"a","x":NaN,"y":1,"time":"never"}"#, 7);
    let output = run(&[], (bad + &good).as_bytes());
    let stderr = text(&output.stderr);
    assert!(stderr.lines().all(|line| ["E! ", "W! ", "I! "].iter().any(|level| line.starts_with(level))), "{stderr}");
    assert_eq!(stderr.matches("W! rejected a message, invalid_json: ").count(), 5, "{stderr}");
    for part in [
        "W! 995 more messages rejected, invalid_json",
        "W! left out \"x\": NaN",
        "W! cannot read the time \"never\"",
        "I! 1 converted, 0 passed through, 1000 rejected (1000 invalid_json), values left out: 1, times not read: 1",
    ] {
        assert!(stderr.contains(part), "{part} is missing in:\n{stderr}");
    }
}

#[test]
fn a_log_that_nobody_reads_does_not_stop_the_stream() {
    let (reader, writer) = std::io::pipe().unwrap();
    // Full, so that a single line would have to wait.
    let flags = rustix::fs::fcntl_getfl(&writer).unwrap();
    rustix::fs::fcntl_setfl(&writer, flags | rustix::fs::OFlags::NONBLOCK).unwrap();
    while rustix::io::write(&writer, &[b'.'; 4096]).is_ok() {}
    rustix::fs::fcntl_setfl(&writer, flags).unwrap();
    let mut child = command()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::from(OwnedFd::from(writer)))
        .spawn()
        .unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    stdin.write_all(b"oops\n").unwrap();
    assert!(read_line(&mut stdout).starts_with("algorithmia_rejected,reason=invalid_metric "));
    stdin.write_all(metric(MESSAGE, 7).as_bytes()).unwrap();
    assert!(read_line(&mut stdout).starts_with(POINT));
    drop(stdin);
    assert_eq!(exit_code(&mut child), 0);
    drop(reader);
}

#[test]
fn log_lines_are_short_whatever_is_in_the_message() {
    // Telegraf stops reading the log at a line of 64 KiB.
    let long = "k".repeat(100_000);
    let message = format!(r#"{{"algorithm_name":"a","x":1,"{long}":NaN,"time":"{long}","y":"{long}"}}"#);
    let output = run(&[], metric(&message, 7).as_bytes());
    let stderr = text(&output.stderr);
    assert_eq!(stderr.lines().count(), 4, "{stderr:.2000}");
    assert!(stderr.lines().all(|line| line.len() < 1024), "{stderr:.2000}");
}

/// The most memory that the process has held so far, in kB.
fn peak_memory(child: &Child) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Feeds `input` to a process over and over; its peak memory in kB after the first and after the last time, and the end of what
/// it wrote the last time.
fn peaks(input: &[u8], times: usize) -> (u64, u64, String) {
    let mut child = spawn(&mut command());
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    // A metric of another kind marks the end of each round.
    let mut round = || {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                stdin.write_all(input).unwrap();
                stdin.write_all(b"\nmark x=1 1\n").unwrap();
            });
            let mut output = Vec::new();
            let mut buffer = vec![0; 1 << 16];
            while !output.ends_with(b"mark x=1 1\n") {
                let len = stdout.read(&mut buffer).unwrap();
                assert!(len > 0, "it ended");
                output.extend_from_slice(&buffer[..len]);
                // The end is all that matters of a long one.
                let surplus = output.len().saturating_sub(1 << 20);
                output.drain(..surplus);
            }
            output
        })
    };
    let mut last = round();
    let first = peak_memory(&child);
    for _ in 1..times {
        last = round();
    }
    let peak = peak_memory(&child);
    drop(stdin);
    assert_eq!(exit_code(&mut child), 0);
    (first, peak, text(&last))
}

#[test]
fn memory_stays_flat() {
    let messages: String = (0..20_000)
        .map(|index| match index % 20 {
            0 => metric(&format!("oops {index}"), index),
            1 => metric(&MESSAGE.replace("\"x\"", &format!("\"x{index}\"")), index),
            _ => metric(MESSAGE, index),
        })
        .collect();
    let (first, last, _) = peaks(messages.as_bytes(), 20);
    assert!(last - first < 2048, "it grew by {} kB over 380,000 messages", last - first);
}

#[test]
fn a_file_takes_no_more_memory_than_a_few_messages() {
    let message = |index: usize| MESSAGE.replace("\"r\"", &format!("\"{index}\""));
    let messages: Vec<String> = (0..10_000).map(message).collect();
    let size = 100 << 20;
    for (what, start, between, end) in [("lines", "", "\n", "\n"), ("an array", "[", ",", "]\n")] {
        let block = messages.join(between);
        let blocks = size / block.len() + 1;
        let file = TempFile::new("");
        let mut writer = fs::File::create(file.path()).unwrap();
        for index in 0..blocks {
            writer.write_all(if index == 0 { start } else { between }.as_bytes()).unwrap();
            writer.write_all(block.as_bytes()).unwrap();
        }
        writer.write_all(end.as_bytes()).unwrap();
        for threads in ["1", "2", "16"] {
            let mut child = spawn(command().args(["--threads", threads]).arg(file.path()));
            let mut stdout = child.stdout.take().unwrap();
            let (mut buffer, mut lines, mut peak) = (vec![0; 1 << 20], 0, 0);
            loop {
                let len = stdout.read(&mut buffer).unwrap();
                if len == 0 {
                    break;
                }
                lines += buffer[..len].iter().filter(|byte| **byte == b'\n').count();
                // Nothing of it is left unread but the last line, and until that has been read, the process is there.
                if lines < blocks * messages.len() {
                    peak = peak_memory(&child);
                }
            }
            assert_eq!(exit_code(&mut child), 0);
            assert_eq!(lines, blocks * messages.len(), "{what}, {threads} threads");
            assert!(peak < 16 * 1024, "{what}, {threads} threads: {peak} kB");
        }
    }
}

#[test]
fn ten_megabytes_without_a_line_break_are_one_rejection_in_bounded_memory() {
    for (input, reason) in [
        (vec![b'x'; 10 << 20], "too_large"),
        (
            [b"kafka_consumer,topic=t value=\"".as_slice(), &vec![b'y'; 10 << 20], b"\" 1613780514867231000"].concat(),
            "too_large",
        ),
        ((0..10u32 << 20).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8 | 0x80).collect(), "too_large"),
    ] {
        let (first, last, output) = peaks(&input, 3);
        assert!(last < 32 * 1024, "{last} kB");
        assert!(last - first < 4096, "it grew by {} kB", last - first);
        assert!(output.starts_with(&format!("algorithmia_rejected,reason={reason}")), "{}", &output[..200]);
        let payload = output.split("payload=\"").nth(1).unwrap().split('"').next().unwrap();
        assert!((61_436..=61_440).contains(&payload.len()), "{} bytes of the payload were kept", payload.len());
        assert_eq!(output.matches("algorithmia_rejected").count(), 1);
    }
}

#[test]
fn hostile_messages_cost_bounded_memory() {
    let key = "k".repeat(500_000);
    let payload = |rest: String| metric(&format!(r#"{{"algorithm_name":"a","x":1,{rest}}}"#), 7);
    let times = |text: &str, count: usize| vec![text; count].join(",");
    let numbered = |count: usize| (0..count).map(|index| format!("f{index}=1")).collect::<Vec<_>>().join(",");
    // Any of these took minutes or gigabytes, if each item cost what all items cost.
    for (what, input) in [
        ("a long key in front of many values", payload(format!(r#""{key}":[{}]"#, times("1", 100_000)))),
        ("a long key in front of nothing", payload(format!(r#""{key}":[{}]"#, times("null", 90_000)))),
        ("a long key in front of repeated keys", payload(format!(r#""{key}":{{{}}}"#, times(r#""a":1"#, 70_000)))),
        ("one key, repeated", payload(times(r#""a":1"#, 150_000))),
        (
            "tags for many short payloads",
            format!("kafka_consumer,t={} value=\"[{}]\" 7\n", "t".repeat(60_000), times("1", 300_000)),
        ),
        ("many fields beside the message", format!("kafka_consumer value=\"{{}}\",{} 7\n", numbered(100_000))),
        ("many tags", format!("kafka_consumer,{} value=\"{{}}\" 7\n", numbered(100_000))),
    ] {
        let (first, last, output) = peaks(input.as_bytes(), 2);
        assert!(last < 64 * 1024, "{what}: {last} kB");
        assert!(last - first < 2048, "{what}: it grew by {} kB", last - first);
        assert!(output.contains("algorithmia"), "{what}");
    }
}

/// Beyond its bounds, a number is refused by name; at both, the command works.
#[test]
fn every_number_of_the_command_line_has_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let journal = journal.to_str().unwrap();
    let times = ["0s", "-1s", "8785h", "9223372036854775807s", "9999999999999999999s", ""];
    let counts = |beyond: &'static str| ["0", "-1", beyond, "18446744073709551616", "1.5", ""];
    for (option, bounds, beyond) in [
        ("--stats", ["1ms", "8784h"], times),
        ("--journal-window", ["1ms", "8784h"], times),
        ("--journal-size", ["1KiB", "1PiB"], ["0", "-1", "1023B", "1025TiB", "18446744073709551616", "many"]),
        ("--max-message", ["1", "1073741824"], counts("1073741825")),
        ("--max-fields", ["1", "1000000"], counts("1000001")),
        ("--max-nesting", ["1", "1000"], counts("1001")),
        ("--threads", ["1", "256"], counts("257")),
    ] {
        // Each beside what it has to do with.
        let args = if option == "--threads" { vec!["convert"] } else { vec!["execd", "--journal", journal] };
        let with =
            |value: &str| run(&[&args[..], &[&format!("{option}={value}")]].concat(), metric(MESSAGE, 7).as_bytes());
        for value in bounds {
            let output = with(value);
            assert!(output.status.success(), "{option}={value}: {}", text(&output.stderr));
            assert!(text(&output.stdout).contains("algorithmia"), "{option}={value}: {}", text(&output.stdout));
        }
        for value in beyond {
            let output = with(value);
            let stderr = text(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{option}={value}: {stderr}");
            assert!(stderr.contains(option) && !stderr.contains("panicked"), "{option}={value}: {stderr}");
        }
    }
}
