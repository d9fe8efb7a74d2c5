//! What Telegraf relies on when the command is its child: nothing is lost whatever dies, no more comes out than there is
//! room for, and it tells what it does.

use std::collections::{HashMap, HashSet};
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use influxdb_line_protocol::{FieldValue, parse_lines};
use rustix::process::{Pid, Signal, kill_process};
use telegraf_algorithmia::lines_of;

use fixtures::command::{DIVISOR, IMPATIENT, LONG, at_once, command, exit_code, run, signal, spawn, text, wait_until};
use fixtures::service::{
    Folder, Service, converted, gauge, gauge_of, long_message, message, messages, no_room, now, pieces, points, settle,
    without_blank_lines,
};
use fixtures::telegraf::metric;

/// A pipe that is written to in small pieces may hold no more than this.
const FULL: u64 = 30_000;

/// Asserts that readers take from an output all that is expected and nothing else, and says how much of it they cannot read:
/// what is left of a line in which a worker was killed.
fn check_points(output: &str, expected: &[String]) -> usize {
    assert!(output.ends_with('\n'), "the last line is whole");
    let expected: HashSet<&str> = expected.iter().map(String::as_str).collect();
    let mut found = HashSet::new();
    let mut unreadable = 0;
    for line in output.lines() {
        if expected.contains(line) {
            found.insert(line);
            continue;
        }
        unreadable += 1;
        let with_another = format!("{line}\nanother x=1 1\n");
        let read: Vec<_> = parse_lines(&with_another).filter_map(Result::ok).collect();
        assert_eq!(read.len(), 1, "{line} is read as something, or makes the next line unreadable");
        assert_eq!(read[0].series.measurement, "another", "{line} is read");
    }
    assert_eq!(found.len(), expected.len(), "of the expected lines");
    unreadable
}

#[test]
fn workers_that_are_killed_again_and_again_lose_nothing() {
    let folder = Folder::temporary();
    let input = messages(0..25_000);
    let mut service = Service::with_journal(&folder, &[IMPATIENT]);
    let pieces = pieces(&input);
    let mut left = pieces.iter().peekable();
    let mut kills = 0;
    while left.peek().is_some() {
        let worker = service.worker();
        let life = match kills % 8 {
            // In a row, and before or while it starts.
            0..3 => Duration::ZERO,
            // One that has lived is none of those that die at once.
            3 => Duration::from_millis(1200) / DIVISOR,
            _ => Duration::from_millis(rand::random_range(0..100)),
        };
        let born = Instant::now();
        while born.elapsed() < life && left.peek().is_some() {
            if service.offer(left.peek().unwrap().as_bytes()) {
                left.next();
            }
            service.take();
            std::thread::sleep(Duration::from_millis(1));
        }
        if left.peek().is_some() {
            service.kill_worker(worker);
            kills += 1;
        }
    }
    assert!(kills >= 10, "only {kills} kills hit");
    assert_eq!(service.end(), 0);
    check_points(service.output(), &converted(&input));
    assert_eq!(service.log().matches("W! the worker has died (signal: 9").count(), kills);
}

#[test]
fn a_worker_that_is_killed_in_the_midst_of_a_line_spoils_no_other() {
    let hits = AtomicUsize::new(0);
    at_once(0..12, |round| {
        let folder = Folder::temporary();
        let mut service = Service::with_journal(&folder, &[]);
        // The pipe to Telegraf is full at another place of a line each time.
        let input = long_message(0, &"n".repeat(1 + 7 * round)) + &messages(1..3000);
        let mut left = pieces(&input).into_iter().peekable();
        while let Some(piece) = left.next_if(|piece| {
            wait_until("it takes more, or waits for its output to be read", || {
                rustix::io::ioctl_fionread(service.stdin()).unwrap() == 0 || service.unread() > FULL
            });
            service.offer(piece.as_bytes())
        }) {
            assert!(!piece.is_empty());
        }
        settle(|| service.unread());
        let before = service.unread() as usize;
        assert!(before as u64 > FULL && left.peek().is_some(), "its output is full");
        let worker = service.worker();
        service.kill_worker(worker);
        service.send(&left.collect::<String>());
        assert_eq!(service.end(), 0);
        check_points(service.output(), &converted(&input));
        hits.fetch_add(usize::from(service.output().as_bytes()[before - 1] != b'\n'), Ordering::Relaxed);
    });
    let hits = hits.into_inner();
    assert!(hits >= 6, "{hits} workers were killed in the midst of a line");
}

#[test]
fn a_large_message_survives_a_worker_that_is_killed_while_it_comes() {
    let folder = Folder::temporary();
    let mut service = Service::with_journal(&folder, &[IMPATIENT]);
    let large = long_message(1, &"text ".repeat(45_000));
    let input = messages(0..1) + &large + &messages(2..3);
    let expected = converted(&input);
    let pieces = pieces(&input);
    for (index, piece) in pieces.iter().enumerate() {
        service.send(piece);
        if index % 10 == 5 {
            // The worker may not have seen all that there is; it does not matter.
            let worker = service.worker();
            service.kill_worker(worker);
        }
        if index % 40 == 20 {
            // Not too many that die young in a row.
            let worker = service.worker();
            let born = Instant::now();
            let young = Duration::from_millis(1100) / DIVISOR;
            service.wait_for("it is no longer young", |_| born.elapsed() > young);
            service.kill_worker(worker);
        }
    }
    assert_eq!(service.end(), 0);
    check_points(service.output(), &expected);
}

#[test]
fn the_rest_of_a_metric_whose_start_went_with_a_worker_is_one_rejection() {
    // Each of them looks like a metric, a gauge or a message, were it not in a string.
    const FORGED: [&str; 3] = [
        "algorithmia,algorithm_name=forged x=1 1\n",
        "internal_write,output=influxdb_v2 buffer_size=0i,buffer_limit=1000000i 1\n",
        "{\"algorithm_name\":\"forged\",\"x\":2}\n",
    ];
    at_once(["auto", "influx"].into_iter().flat_map(|input| FORGED.map(|first| (input, first))), |(input, first)| {
        let folder = Folder::temporary();
        let mut service = Service::with_journal(&folder, &["--input", input, "--flow-control", IMPATIENT]);
        // More than the half megabyte that stays in the pipe until the rest has come.
        let start = format!("{{\"algorithm_name\":\"a\",\"note\":\"{}\n", "text ".repeat(140_000));
        let large = metric(&format!("{start}{first}{}", FORGED.concat().repeat(10)), 1_613_780_514_867_231_593);
        let (start, rest) = large.split_at(large.find('\n').unwrap() + 1);
        let room = gauge(now(), 0, 100_000);
        service.send(&(room.clone() + &messages(0..10)));
        service.wait_for("the first ones are out", |service| service.points().len() == 10);
        service.send(start);
        let worker = service.worker();
        service.wait_for("the start is read", |service| rustix::io::ioctl_fionread(service.stdin()).unwrap() == 0);
        service.kill_worker(worker);
        service.send(rest);
        service.send(&messages(10..100));
        assert_eq!(service.end(), 0);
        let output = service.output();
        let of = |measurement: &str| -> Vec<&str> {
            lines_of(output.as_bytes(), measurement).map(|range| output[range].trim_end()).collect()
        };
        // The worker before had put out the first ten, which come again.
        let mut points = of("algorithmia");
        points.drain(..points.len() - 100);
        assert!(points == converted(&messages(0..100)), "{input}, {first}: {points:?}");
        let rejected = of("algorithmia_rejected");
        assert_eq!(rejected.len(), 1, "{input}, {first}: {rejected:?}");
        assert!(rejected[0].contains("this is the rest of it"), "{input}, {first}: {}", rejected[0]);
        assert!(of("internal_write").iter().all(|gauge| *gauge == room.trim_end()), "{input}, {first}");
    });
}

#[test]
fn a_line_that_is_written_in_pieces_of_any_size_comes_through() {
    // Pieces of a bit more than half a page fill a pipe when it holds little more than half of what it could.
    at_once([1, 700, 2049, 2100, 4095], |size| {
        let folder = Folder::temporary();
        let mut service = Service::with_journal(&folder, &[]);
        let line = format!("m s=\"{}\" 7\n", "y".repeat(100_000));
        let start = format!("m s=\"{}\" 7\n", "z".repeat(1250));
        let (head, tail) = line.as_bytes().split_at(900);
        assert!(service.offer(&[start.as_bytes(), head].concat()));
        for piece in tail.chunks(size) {
            service.wait_for(&format!("it takes pieces of {size} bytes"), |service| service.offer(piece));
        }
        assert_eq!(service.end(), 0);
        assert!(service.output() == start + &line, "pieces of {size} bytes");
    });
}

/// A process that is stopped until it is let go.
struct Stopped(Pid);

impl Stopped {
    fn new(process: Pid) -> Self {
        kill_process(process, Signal::STOP).unwrap();
        let stat = || fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero())).unwrap();
        wait_until("it has stopped", || stat().rsplit(')').next().unwrap().starts_with(" T"));
        Stopped(process)
    }

    fn let_go(self) {
        kill_process(self.0, Signal::CONT).unwrap();
    }
}

#[test]
fn after_telegrafs_death_what_is_in_the_pipes_gets_into_the_journal() {
    let whole = "kafka_consumer value=\"{\\\"algorithm_name\\\":\\\"a\\\",\\\"x\\\":1}\" 1613780514867231593\n";
    let ends = [
        "",
        // As it is, each of these would be a metric, and the last three would be other points than the whole one.
        &whole[..whole.len() - 1],
        &whole[..whole.len() - 5],
        &whole[..whole.len() - 21],
        "m x=1i 16137805",
        "m x=1",
        &whole[..40],
        "{\"algorithm_name\":\"a\",\"x\"",
    ];
    at_once(ends, |unfinished| {
        let folder = Folder::temporary();
        let mut service = Service::with_journal(&folder, &[]);
        // Nobody reads its output, which is more than a pipe holds.
        let first = messages(0..2000);
        let mut all = String::new();
        for piece in pieces(&first) {
            wait_until("it takes more, or waits for its output to be read", || {
                rustix::io::ioctl_fionread(service.stdin()).unwrap() == 0 || service.unread() > FULL
            });
            if service.unread() > FULL {
                break;
            }
            assert!(service.offer(piece.as_bytes()));
            all += piece;
        }
        settle(|| service.unread());
        let stopped = Stopped::new(service.worker());
        let mut in_pipe = 0;
        for index in 0.. {
            let lines: String = (0..100).map(|line| format!("m x={line}i {}\n", 100 * index + line)).collect();
            if in_pipe + lines.len() + unfinished.len() > 40_000 {
                break;
            }
            assert!(service.offer(lines.as_bytes()));
            in_pipe += lines.len();
            all += &lines;
        }
        assert!(unfinished.is_empty() || service.offer(unfinished.as_bytes()));
        assert!(in_pipe > 30_000 && service.unread() > 0, "both pipes are full");
        service.close_pipes();
        stopped.let_go();
        assert_eq!(service.wait(), 0, "{}", service.log());
        let expected = converted(&all);
        assert!(expected.len() > 2000, "thousands of lines were under way");
        assert!(folder.replay().lines().eq(expected), "{unfinished:?} was under way");
        assert_eq!(service.log().contains("W! left out the last "), !unfinished.is_empty());

        // The next life puts them all out.
        let mut next = Service::with_journal(&folder, &[]);
        assert_eq!(next.end(), 0);
        assert!(next.output().lines().eq(converted(&all)));
    });
}

#[test]
fn what_was_under_way_when_telegrafs_child_itself_is_killed_comes_in_the_next_life() {
    let folder = Folder::temporary();
    let mut service = Service::with_journal(&folder, &[]);
    service.send(&messages(0..10));
    service.wait_for_lines(10);
    let stopped = Stopped::new(service.worker());
    service.send(&messages(10..400));
    service.child.kill().unwrap();
    service.child.wait().unwrap();
    // Telegraf closes its ends when its child is gone, and starts another one.
    service.close_pipes();
    let mut next = Service::with_journal(&folder, &[]);
    next.send(&messages(400..410));
    stopped.let_go();
    assert_eq!(next.end(), 0, "{}", next.log());
    assert_eq!(next.points(), converted(&messages(0..410)));
}

/// Writes messages until nothing is taken any more, and the journal does not grow; what was taken. Its output is not read.
fn fill(service: &mut Service, folder: &Folder) -> String {
    let note = "n".repeat(300);
    let mut taken = String::new();
    let mut count = 0;
    loop {
        let lines: String = (count..count + 5).map(|index| long_message(index, &note)).collect();
        let mut accepted = false;
        let waited = Instant::now();
        while !accepted && waited.elapsed() < Duration::from_millis(500) {
            accepted = service.offer(lines.as_bytes());
            if !accepted {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        if !accepted {
            break;
        }
        taken += &lines;
        count += 5;
    }
    settle(|| folder.journal_size());
    taken
}

#[test]
fn a_kill_of_everything_while_nothing_may_go_out_loses_nothing_that_was_written() {
    // Telegraf's pipe, and one that has grown with a large message, perhaps under a worker that has been killed since.
    at_once([(false, 0), (true, 0), (true, 1)], |(grown, kills)| {
        let folder = Folder::temporary();
        let mut service = Service::with_journal(&folder, &["--flow-control"]);
        let mut start = no_room();
        if grown {
            start += &long_message(1_000_000, &"large".repeat(60_000));
        }
        service.send(&start);
        for _ in 0..kills {
            wait_until("the journal holds it", || folder.journal_size() > 50_000);
            let worker = service.worker();
            service.kill_worker(worker);
            // This worker has not seen the gauges; those that it has put into the journal it does not read.
            service.send(&no_room());
        }
        let taken = fill(&mut service, &folder);
        assert!(folder.journal_size() > 8 << 20, "much waits");
        assert_eq!(points(service.output()), [""; 0], "nothing may go out");
        service.kill_everything();
        service.take();
        assert_eq!(points(service.output()).len(), 0, "nothing went out");
        let replayed = folder.replay();
        let replayed: HashSet<&str> = replayed.lines().collect();
        let expected = converted(&taken);
        let missing = expected.iter().filter(|line| !replayed.contains(line.as_str())).count();
        assert_eq!(missing, 0, "of {} messages; the pipe has grown: {grown}, after {kills} kills", expected.len());
    });
}

#[test]
fn a_lone_message_leaves_at_once_before_a_flood_and_behind_it() {
    let folder = Folder::temporary();
    // The next thing that time asks for is further away than this test lasts.
    let mut service = Service::with_journal(&folder, &["--flow-control", "--journal-window", "1h"]);
    service.send(&gauge(now(), 0, 100_000));
    service.wait_for_lines(1);
    let mut sent = 0;
    for flood in [10_000, 20_000, 0] {
        for _ in 0..20 {
            // Nothing follows, and the input stays open.
            service.send(&messages(sent..sent + 1));
            sent += 1;
            service.wait_for_lines(1 + sent);
        }
        service.send(&messages(sent..sent + flood));
        sent += flood;
        service.wait_for_lines(1 + sent);
    }
    assert_eq!(service.end(), 0, "{}", service.log());
    assert!(service.points() == converted(&messages(0..sent)), "in order");
}

/// Of /proc, on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// The time for which a process has computed.
fn cpu_ticks(process: Pid) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn a_worker_that_waits_does_not_compute() {
    at_once([64 * 1024, 1024 * 1024], |pipe_size| {
        let folder = Folder::temporary();
        let mut service = Service::with_journal(&folder, &["--flow-control"]);
        // As a large message makes it grow; the next worker finds it so.
        rustix::pipe::fcntl_setpipe_size(service.stdin(), pipe_size).unwrap();
        let worker = service.worker();
        service.kill_worker(worker);
        service.send(&no_room());
        fill(&mut service, &folder);
        let worker = service.worker();
        let (start, before) = (Instant::now(), cpu_ticks(worker));
        std::thread::sleep(Duration::from_secs(1));
        let ticks = cpu_ticks(worker) - before;
        let elapsed = start.elapsed().as_secs_f64() * TICKS_PER_SECOND;
        assert!((ticks as f64) < elapsed / 10.0, "{ticks} of {elapsed} ticks with a pipe of {pipe_size} bytes");
    });
}

/// What Telegraf would have in the buffer of its output.
struct Buffer {
    limit: usize,
    /// How many lines have left it.
    stored: usize,
    /// The most lines it has held.
    fullest: usize,
}

impl Buffer {
    fn new(limit: usize) -> Self {
        Buffer { limit, stored: 0, fullest: 0 }
    }

    /// Reads what has come out, and asserts that there was room for it.
    fn take(&mut self, service: &mut Service) {
        service.take();
        let size = service.count() - self.stored;
        self.fullest = self.fullest.max(size);
        assert!(size <= self.limit * 9 / 10, "{size} lines in a buffer of {}", self.limit);
    }

    /// The gauge for now.
    fn gauge(&mut self, service: &mut Service) -> String {
        // All that came out before this is counted then.
        let time = now();
        self.take(service);
        gauge(time, service.count() - self.stored, self.limit)
    }
}

#[test]
fn no_more_comes_out_than_there_is_room_for_and_all_of_it_in_the_end() {
    at_once([true, false], |journal| {
        let folder = Folder::temporary();
        let mut service = Service::maybe_with_journal(&folder, journal, &["--flow-control"]);
        // More than may wait in memory, and many times the buffer.
        let note = "n".repeat(300);
        let input: String = (0..40_000).map(|index| long_message(index, &note)).collect();
        let expected = converted(&input);
        let all = pieces(&input);
        let mut left = all.iter().peekable();
        let mut buffer = Buffer::new(5000);
        let mut next_gauge = Instant::now();
        let mut rounds = 0;
        let mut in_a_row = 0;
        wait_until("all is out", || {
            for _ in 0..20 {
                if left.next_if(|piece| service.offer(piece.as_bytes())).is_none() {
                    break;
                }
            }
            buffer.take(&mut service);
            if Instant::now() >= next_gauge {
                // The output is quick, slow, or at a standstill for a while.
                let size = service.count() - buffer.stored;
                buffer.stored += match (rounds / 10) % 4 {
                    0 => size,
                    1 => size.min(rand::random_range(1..=2000)),
                    2 => 0,
                    _ => size / 2,
                };
                let text = buffer.gauge(&mut service);
                if service.offer(text.as_bytes()) {
                    rounds += 1;
                    in_a_row = 0;
                } else {
                    in_a_row += 1;
                }
                next_gauge = Instant::now() + Duration::from_millis(20);
            }
            let count = service.count();
            count >= expected.len() && service.points().len() == expected.len() || count > 2 * expected.len()
        });
        assert!(rounds > 20 && in_a_row < 1000, "{rounds} rounds");
        assert!(buffer.fullest > 500, "the room was used, up to {} of 5000 lines", buffer.fullest);
        assert_eq!(service.end(), 0, "{}", service.log());
        assert!(service.points() == expected, "in order");
    });
}

/// A message that gives so many lines.
fn array(count: usize) -> String {
    let payloads: Vec<String> = (0..count).map(|index| format!(r#"{{"algorithm_name":"a","x":{index}}}"#)).collect();
    metric(&format!("[{}]", payloads.join(",")), 1_613_780_514_867_231_593)
}

#[test]
fn a_message_of_more_lines_than_there_is_room_for_goes_out_in_parts() {
    at_once([true, false], |journal| {
        let folder = Folder::temporary();
        let mut service = Service::maybe_with_journal(&folder, journal, &["--flow-control"]);
        let input = array(5000);
        let expected = converted(&input);
        assert_eq!(expected.len(), 5000);
        let mut buffer = Buffer::new(1000);
        let mut next_gauge = Instant::now();
        let mut left = pieces(&input).into_iter().peekable();
        let mut parts = 0;
        wait_until("all is out", || {
            left.next_if(|piece| service.offer(piece.as_bytes()));
            buffer.take(&mut service);
            // Between the pieces of a line there is no place for a gauge.
            if left.peek().is_none() && Instant::now() >= next_gauge {
                let count = service.count();
                parts += usize::from(count > buffer.stored + 1);
                buffer.stored = count;
                let text = buffer.gauge(&mut service);
                assert!(service.offer(text.as_bytes()));
                next_gauge = Instant::now() + Duration::from_millis(50);
            }
            service.points().len() >= expected.len()
        });
        assert!(parts >= 5, "{parts} parts");
        assert_eq!(service.end(), 0);
        assert!(service.points() == expected, "in order");
    });
}

#[test]
fn a_text_that_looks_like_a_gauge_takes_room_as_any_other_does() {
    at_once([true, false], |journal| {
        let folder = Folder::temporary();
        let mut service = Service::maybe_with_journal(&folder, journal, &["--flow-control"]);
        // In a message, a line break is an escape. In a point it is one.
        let note = r"x\ninternal_write,output=influxdb_v2 buffer_size=0i,buffer_limit=1000000i 1\n";
        let input: String = (0..4000).map(|index| long_message(index, note)).collect();
        let time = now();
        service.send(&gauge(time, 0, 1000));
        service.send(&input);
        service.wait_for("what there is room for is out", |service| service.points().len() >= 300);
        settle(|| service.unread());
        service.take();
        let out = service.points().len();
        assert!(out <= 900, "{out} points, and room for 900");
        assert_eq!(service.end(), 0);
        if journal {
            let (all, kept) = (converted(&input), folder.replay());
            assert!(kept.lines().eq(all), "all of each text, and no gauge");
        }
    });
}

#[test]
fn the_gauges_of_the_fullest_output_of_the_name_count() {
    let other = |size| gauge_of("output=file", now(), size, 10_000);
    let called = |alias, size| gauge_of(&format!("alias={alias},output=influxdb_v2"), now(), size, 10_000);
    let with_id = |id, size| gauge_of(&format!("_id={id},output=influxdb_v2"), now(), size, 10_000);
    let cases = [
        (&[][..], [other(10_000), gauge(now(), 9500, 10_000), gauge(now(), 0, 10_000)], 9000),
        (&[], [other(0), gauge(now(), 0, 10_000), gauge(now(), 8900, 10_000)], 100),
        (&[], [with_id(1, 0), with_id(2, 8900), with_id(3, 5000)], 100),
        (&[], [with_id(1, 8900), with_id(2, 0), with_id(1, 8000)], 1000),
        (&["--flow-output", "file"], [gauge(now(), 10_000, 10_000), with_id(1, 9000), other(8900)], 100),
        (&["--flow-output=file"], [gauge(now(), 0, 10_000), other(0), other(9000)], 0),
        (&["--flow-output", "ours"], [gauge(now(), 10_000, 10_000), called("ours", 8900), called("theirs", 9500)], 100),
    ];
    at_once(cases, |(args, gauges, room)| {
        let folder = Folder::temporary();
        let mut service = Service::with_journal(&folder, &[&["--flow-control"], args].concat());
        // In one write, so that no gauge is read before the others.
        service.send(&gauges.concat());
        service.send(&messages(0..3000));
        service.send("end x=1 1\n");
        service.wait_for("all is in the journal", |_| folder.replay().contains("\nend x=1 1\n"));
        if room > 3000 {
            service.wait_for("all is out", |service| service.output().ends_with("end x=1 1\n"));
        } else {
            service.wait_for("there is no more room", |service| service.points().len() >= room);
            // What waits does so for a gauge.
            settle(|| service.unread());
            service.take();
            assert_eq!(service.points().len(), room, "after {gauges:?} with {args:?}");
        }
    });
}

#[test]
fn without_gauges_all_comes_out_and_that_is_said_once() {
    at_once([true, false], |journal| {
        let folder = Folder::temporary();
        let started = Instant::now();
        let mut service = Service::maybe_with_journal(&folder, journal, &["--flow-control", IMPATIENT]);
        // Metrics that only look like gauges.
        let others =
            "internal_write,output=influxdb_v2 errors=0i 1\ninternal_gather buffer_size=1i,buffer_limit=1i 2\n";
        service.send(others);
        service.send(&messages(0..1000));
        service.wait_for("lines come out", |service| service.output() != "");
        assert!(started.elapsed() >= Duration::from_secs(10) / DIVISOR, "the first gauge is waited for");
        service.wait_for_lines(1002);
        service.send(&messages(1000..2000));
        service.wait_for_lines(2002);
        assert_eq!(service.end(), 0);
        let expected = converted(&(others.to_owned() + &messages(0..2000)));
        assert!(service.output().lines().eq(expected));
        assert_eq!(service.log().matches("W! no flow control: ").count(), 1, "{}", service.log());
        assert_eq!(service.log().lines().count(), 1, "{}", service.log());
    });
}

/// Makes the command wait for the shortest times that it can.
const MOST_IMPATIENT: &str = "--patience-divisor=100";
const LARGEST_DIVISOR: u32 = 100;

#[test]
fn without_input_an_earlier_lifes_lines_wait_longer_for_a_gauge() {
    let folder = Folder::temporary();
    let mut service = Service::with_journal(&folder, &[]);
    service.send(&messages(0..10));
    assert_eq!(service.end(), 0);
    let started = Instant::now();
    let mut service = Service::with_journal(&folder, &["--flow-control", MOST_IMPATIENT]);
    service.wait_for_lines(10);
    assert!(started.elapsed() >= Duration::from_secs(30) / LARGEST_DIVISOR, "the first gauge is waited for");
    assert_eq!(service.end(), 0);
    assert_eq!(service.points(), converted(&messages(0..10)));
}

#[test]
fn when_gauges_come_no_more_all_comes_out_until_they_come_again() {
    at_once([true, false], |journal| {
        let folder = Folder::temporary();
        let mut service = Service::maybe_with_journal(&folder, journal, &["--flow-control", MOST_IMPATIENT]);
        let started = Instant::now();
        // Close to each other, so that the next one is missed soon.
        service.send(&(gauge(now() - 20_000_000, 1000, 1000) + &gauge(now(), 1000, 1000)));
        let mut count = 0;
        service.wait_for("lines come out", |service| {
            service.send(&message(count));
            count += 1;
            !service.points().is_empty()
        });
        assert!(started.elapsed() >= Duration::from_secs(30) / LARGEST_DIVISOR, "the next gauge is waited for");
        service.wait_for("all lines come out", |service| service.points().len() == count);
        assert_eq!(service.log().matches("W! no flow control: ").count(), 1, "{}", service.log());
        service.send(&gauge(now(), 0, 1000));
        service.wait_for("flow control is back", |service| service.log().contains("I! flow control again: "));
        assert_eq!(service.end(), 0);
        assert_eq!(service.points(), converted(&messages(0..count)), "in order");
    });
}

#[test]
fn lines_that_wait_for_long_are_told_of_and_so_is_their_end() {
    let folder = Folder::temporary();
    let mut service = Service::with_journal(&folder, &["--flow-control", MOST_IMPATIENT]);
    let started = Instant::now();
    service.send(&no_room());
    let mut count = 0;
    service.wait_for("the log says that lines wait", |service| {
        service.send(&message(count));
        count += 1;
        service.log().contains("W! lines wait for room in Telegraf's buffer, ")
    });
    assert!(started.elapsed() >= Duration::from_secs(10) / LARGEST_DIVISOR, "a short wait is not worth a line");
    assert_eq!(service.points(), [""; 0]);
    service.send(&gauge(now(), 0, 100_000));
    service.wait_for("all is out", |service| service.points().len() == count);
    service.wait_for("the log says so", |service| service.log().contains("I! InfluxDB has caught up; "));
    assert_eq!(service.end(), 0);
    assert_eq!(service.log().lines().count(), 2, "{}", service.log());
}

#[test]
fn what_the_log_held_back_is_counted_after_a_while() {
    let folder = Folder::temporary();
    let started = Instant::now();
    let mut service = Service::start(&folder, &[MOST_IMPATIENT]);
    service.send(&"oops\n".repeat(8));
    // Nothing follows, and the input stays open.
    let count = "W! 3 more messages rejected, invalid_metric\n";
    service.wait_for("the count is there", |service| service.log().contains(count));
    assert!(started.elapsed() >= Duration::from_secs(60) / LARGEST_DIVISOR, "it comes at the end of a period");
    assert_eq!(service.log().matches("W! rejected a message, invalid_metric: ").count(), 5, "{}", service.log());
    assert_eq!(service.end(), 0);
}

#[test]
fn the_input_ends_before_the_first_gauge_and_all_comes_out() {
    let output = run(&["execd", "--flow-control"], messages(0..1000).as_bytes());
    assert!(text(without_blank_lines(&output.stdout)).lines().eq(converted(&messages(0..1000))));
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn telegraf_is_made_to_read_more_at_once() {
    for (args, blank_lines) in [(&["execd", "--flow-control"][..], 6000), (&["execd"], 0), (&[], 0)] {
        let output = run(args, message(1).as_bytes()).stdout;
        let lines = without_blank_lines(&output);
        assert_eq!(output.len() - lines.len(), blank_lines, "{args:?}");
        assert!(text(lines).lines().eq(converted(&message(1))));
    }
    // Who comes after a worker that was killed finds it done.
    let folder = Folder::temporary();
    let mut service = Service::with_journal(&folder, &["--flow-control"]);
    service.send(&(gauge(now(), 0, 1000) + &message(1)));
    service.wait_for_lines(1);
    let worker = service.worker();
    service.kill_worker(worker);
    service.send(&message(2));
    assert_eq!(service.end(), 0);
    assert!(!service.output().contains("\n\n"), "{}", service.output());
}

#[test]
fn pipes_hold_more_where_messages_are_long() {
    for journal in [true, false] {
        for (message, wide) in [(long_message(1, &"text ".repeat(5_000)), true), (message(1), false)] {
            let folder = Folder::temporary();
            let mut service = Service::maybe_with_journal(&folder, journal, &[]);
            let count = 60_000 / message.len() * 10;
            service.send(&message.repeat(count));
            service.wait_for_lines(count);
            let size = rustix::pipe::fcntl_getpipe_size(service.stdin()).unwrap();
            assert_eq!(size > 64 * 1024, wide, "{size}");
            assert_eq!(service.end(), 0);
        }
    }
}

#[test]
fn while_there_is_no_room_for_long_input_is_taken_for_the_next_gauge_only() {
    at_once([true, false], |journal| {
        let folder = Folder::temporary();
        // A tenth of the usual times. On a busy machine, too, gauges then come within that of a last one.
        let args = ["--flow-control", "--patience-divisor=10"];
        let mut service = Service::maybe_with_journal(&folder, journal, &args);
        let note = "n".repeat(300);
        let mut input = String::new();
        // Messages with a gauge behind every fiftieth, and how many bytes of all that were taken.
        let offer = |service: &mut Service, size: usize, input: &mut String, count: &mut usize| {
            let gauge = if count.is_multiple_of(50) { gauge(now(), size, 10_000) } else { String::new() };
            let lines: String = (*count..*count + 5).map(|index| long_message(index, &note)).collect();
            let taken = service.offer((gauge + &lines).as_bytes());
            if taken {
                *count += 5;
                *input += &lines;
            } else {
                std::thread::sleep(Duration::from_millis(1));
            }
            taken
        };
        let mut count = 0;
        offer(&mut service, 10_000, &mut input, &mut count);
        // What may wait, and then some for the looks that come soon after each other.
        let start = Instant::now();
        let mut last_taken = Instant::now();
        while input.len() <= 8 << 20 || last_taken.elapsed() < Duration::from_millis(100) {
            assert!(start.elapsed() < LONG, "much may wait, and more than {} bytes", input.len());
            if offer(&mut service, 10_000, &mut input, &mut count) {
                last_taken = Instant::now();
            }
        }
        let at_first = input.len();
        assert!(at_first < 24 << 20, "{at_first} bytes were taken without room");
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(400) || input.len() == at_first {
            assert!(start.elapsed() < LONG, "it looks for the next gauge from time to time");
            offer(&mut service, 10_000, &mut input, &mut count);
        }
        let later = input.len() - at_first;
        assert!(later < 256 << 10, "{later} bytes were taken while there was no room for long");
        service.take();
        assert_eq!(service.points(), [""; 0]);

        // The output comes back; the gauge that says so is behind all that.
        let expected = converted(&input);
        let mut buffer = Buffer::new(10_000);
        service.wait_for("all is out", |service| {
            buffer.stored = service.count();
            let text = buffer.gauge(service);
            service.offer(text.as_bytes());
            std::thread::sleep(Duration::from_millis(20));
            service.count() >= expected.len() && service.points().len() >= expected.len()
        });
        assert!(service.points() == expected, "in order");
        assert_eq!(service.end(), 0);
    });
}

#[test]
fn it_ends_while_there_is_no_room_and_loses_nothing() {
    at_once([(true, true), (true, false), (false, true), (false, false)], |(journal, signal_first)| {
        let folder = Folder::temporary();
        let mut service = Service::maybe_with_journal(&folder, journal, &["--flow-control"]);
        service.send(&no_room());
        let taken = fill(&mut service, &folder);
        let started = Instant::now();
        if signal_first {
            signal(&service.child, Signal::TERM);
        } else {
            service.end_input();
        }
        assert_eq!(service.wait(), 0);
        // Telegraf would kill it after 10 s; this machine may be busy.
        assert!(started.elapsed() < Duration::from_secs(30), "it took {:?}", started.elapsed());
        let expected = converted(&taken);
        assert!(expected.len() > 10_000);
        if journal {
            assert_eq!(service.points(), [""; 0], "there was no room");
            assert!(points(&folder.replay()) == expected);
        } else {
            assert!(service.points() == expected);
        }
    });
}

#[test]
fn the_rest_of_a_message_for_which_there_was_no_room_is_not_lost_at_the_end() {
    let input = gauge(now(), 0, 1000) + &array(5000);
    let output = run(&["execd", "--flow-control"], input.as_bytes());
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(without_blank_lines(&output.stdout)).lines().count(), 5001, "without a journal");

    let folder = Folder::temporary();
    let mut service = Service::with_journal(&folder, &["--flow-control"]);
    service.send(&input);
    assert_eq!(service.end(), 0);
    assert_eq!(folder.replay().lines().count(), 5000, "without the gauge");
}

struct Report {
    tags: HashMap<String, String>,
    fields: HashMap<String, i64>,
    /// Where in the output it begins.
    at: usize,
}

/// The self-reports in an output.
fn reports(output: &str, name: &str) -> Vec<Report> {
    let mut found = Vec::new();
    let mut at = 0;
    for line in output.split_inclusive('\n') {
        let begin = at;
        at += line.len();
        let parsed: Vec<_> = parse_lines(line).map(|line| line.unwrap()).collect();
        assert_eq!(parsed.len(), 1, "{line}");
        if parsed[0].series.measurement != name {
            continue;
        }
        let tags = parsed[0].series.tag_set.iter().flatten();
        let tags = tags.map(|(key, value)| (key.to_string(), value.to_string())).collect();
        let fields = parsed[0].field_set.iter().map(|(key, value)| match value {
            FieldValue::I64(value) => (key.to_string(), *value),
            other => panic!("{key} is {other}"),
        });
        found.push(Report { tags, fields: fields.collect(), at: begin });
        assert!((now() - parsed[0].timestamp.unwrap()).abs() < 600_000_000_000, "{line}");
    }
    found
}

#[test]
fn the_report_counts_what_became_of_the_input() {
    let folder = Folder::temporary();
    let input = [
        metric(r#"{"algorithm_name":"a","x":1,"time":"2021-02-20T00:21:54"}"#, 1),
        metric(r#"{"algorithm_name":"a","x":NaN,"y":1}"#, 2),
        metric(r#"{"algorithm_name":"a","x":1,"time":"never"}"#, 3),
        metric(r#"[{"algorithm_name":"a","x":1},{"algorithm_name":"a","x":2}]"#, 4),
        metric("oops", 5),
        metric("oops!", 6),
        metric("5", 7),
        metric(r#"{"x":1}"#, 8),
        metric(r#"{"algorithm_name":"a"}"#, 9),
        metric(&format!(r#"{{"algorithm_name":"a","x":"{}"}}"#, "x".repeat(200)), 10),
        "oops\n".to_owned(),
        "m x=1 1\n".to_owned(),
        "kafka_consumer value=1i 1\n".to_owned(),
        "m x=\"two\nlines\" 1\n".to_owned(),
    ]
    .concat();
    let args = ["--stats", "50ms", "--max-message", "100"];
    let mut service = Service::with_journal(&folder, &args);
    service.send(&input);
    service
        .wait_for("a few reports are there", |service| service.output().matches("algorithmia_processor,").count() > 3);
    assert_eq!(service.end(), 0);
    let all = reports(&service.output().replace("two\nlines", "two lines"), "algorithmia_processor");
    let Report { tags, fields: last, at } = all.last().unwrap();
    for (field, value) in [
        ("received", 15),
        ("received_bytes", input.len() as i64),
        ("converted", 5),
        ("passed", 3),
        ("rejected", 7),
        ("rejected_invalid_json", 2),
        ("rejected_not_an_object", 1),
        ("rejected_missing_algorithm_name", 1),
        ("rejected_no_fields", 1),
        ("rejected_too_large", 1),
        ("rejected_invalid_metric", 1),
        ("time_defaulted", 1),
        ("fields_left_out", 1),
        ("strings_cut", 0),
        ("written_bytes", *at as i64),
        ("replayed", 0),
        ("queue_bytes", 0),
        ("throttled_ms", 0),
    ] {
        assert_eq!(last.get(field), Some(&value), "{field} in {last:?}");
    }
    assert!(last["journal_bytes"] > 0 && last["journal_written_bytes"] == last["journal_bytes"]);
    assert!(last["journal_bytes"] < folder.journal_size() as i64, "the last report is in it too");
    let lags: Vec<_> = all.iter().filter_map(lag).collect();
    let since_2021 = (now() - 1_613_780_514_000_000_000) / 1_000_000;
    assert!(lags[..] == [(lags[0].1, lags[0].1)] && (since_2021 - LATE..=since_2021).contains(&lags[0].1), "{lags:?}");
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(*tags, HashMap::from([("host", host.trim()), ("instance", &folder.journal())].map(owned)));
    for two in all.windows(2) {
        assert_eq!(two[0].tags, two[1].tags);
        let gauges = ["journal_bytes", "queue_bytes", "lag_mean_ms", "lag_max_ms"];
        let of_counters = |field: &&String| !gauges.contains(&field.as_str());
        assert!(two[0].fields.keys().filter(of_counters).all(|field| two[0].fields[field] <= two[1].fields[field]));
    }

    let lines = length_of(&folder.replay());
    let mut second = Service::with_journal(&folder, &args);
    // The report is to come behind what is replayed.
    second.wait_for("it has reported", |service| length_of(service.output()) > lines + 1);
    assert_eq!(second.end(), 0);
    let all = reports(&second.output().replace("two\nlines", "two lines"), "algorithmia_processor");
    let last = &all.last().unwrap().fields;
    assert_eq!((last["replayed"], last["received"]), (lines, 0));
    // The reports of the first life are replayed too.
    let mut own = all.iter().filter(|report| report.fields["received"] == 0);
    assert!(own.all(|report| lag(report).is_none()), "what is replayed does not come late");
}

/// How long this machine may take for a test, in milliseconds.
const LATE: i64 = 600_000;

/// The mean and the longest lag that a report gives, in milliseconds.
fn lag(report: &Report) -> Option<(i64, i64)> {
    let fields = ["lag_mean_ms", "lag_max_ms"].map(|field| report.fields.get(field).copied());
    assert_eq!(fields[0].is_some(), fields[1].is_some(), "both or none");
    fields[0].zip(fields[1])
}

/// The metric with a call that was made so many seconds before `now`.
fn call(now: i64, seconds_ago: i64) -> String {
    metric(&format!(r#"{{"algorithm_name":"a","x":1,"time":{}}}"#, now - seconds_ago * 1_000_000_000), 7)
}

#[test]
fn the_report_tells_how_late_calls_come() {
    for (ages, mean, max) in [(&[10, 40][..], 25, 40), (&[0], 0, 0), (&[-3600], -3600, -3600), (&[-90, 30], -30, 30)] {
        let before = now();
        let others = [
            metric(r#"{"algorithm_name":"a","x":1}"#, 7),
            metric(r#"{"algorithm_name":"a","x":1,"time":"yesterday","timestamp":null}"#, 7),
            metric(r#"{"time":"2021-02-20T00:21:54","x":1}"#, 7),
            "m x=1 7\n".to_owned(),
        ];
        let calls: String = ages.iter().map(|age| call(before, *age)).collect();
        let output = run(&["execd", "--stats", "1h"], (calls + &others.concat()).as_bytes());
        let took = (now() - before) / 1_000_000 + 1;
        let all = reports(&text(&output.stdout), "algorithmia_processor");
        assert_eq!((all.len(), all[0].fields["received"]), (1, ages.len() as i64 + 4));
        let (told_mean, told_max) = lag(&all[0]).unwrap();
        assert!((1000 * mean..1000 * mean + took).contains(&told_mean), "{ages:?}: {told_mean}");
        assert!((1000 * max..1000 * max + took).contains(&told_max), "{ages:?}: {told_max}");
    }
    let output = run(&["execd", "--stats", "1h"], metric(r#"{"algorithm_name":"a","x":1}"#, 7).as_bytes());
    assert_eq!(lag(&reports(&text(&output.stdout), "algorithmia_processor")[0]), None);
}

#[test]
fn the_lag_is_that_of_the_calls_since_the_last_report() {
    let folder = Folder::temporary();
    let mut service = Service::start(&folder, &["--stats", "50ms"]);
    let before = now();
    let lags = |service: &Service| -> Vec<Option<(i64, i64)>> {
        let whole = service.output().rfind('\n').map_or(0, |end| end + 1);
        reports(&service.output()[..whole], "algorithmia_processor").iter().map(lag).collect()
    };
    let ages = [5000, 50];
    for (index, age) in ages.into_iter().enumerate() {
        service.send(&call(before, age));
        service.wait_for("a report tells of the call, and the next one of none", |service| {
            let lags = lags(service);
            lags.iter().flatten().count() == index + 1 && lags.last() == Some(&None)
        });
    }
    assert_eq!(service.end(), 0);
    let told: Vec<_> = lags(&service).into_iter().flatten().collect();
    assert_eq!(told.len(), ages.len());
    for ((mean, max), age) in told.into_iter().zip(ages) {
        assert_eq!(mean, max, "of one call");
        assert!((1000 * age..1000 * age + LATE).contains(&max), "{max} for a call {age} s before");
    }
}

/// How many metrics there are, one of which has a line break in it.
fn length_of(output: &str) -> i64 {
    output.replace("two\nlines", "two lines").lines().count() as i64
}

fn owned((key, value): (&str, &str)) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

#[test]
fn the_report_tells_of_what_waits() {
    let folder = Folder::temporary();
    let mut service = Service::start(&folder, &["--flow-control", "--stats", "20ms"]);
    // Room for some reports, but for no batch.
    service.send(&gauge(now(), 0, 20));
    let dropped = gauge(now(), 0, 20).replace("buffer_size=0i", "buffer_size=3i,metrics_dropped=7i");
    service.send(&(dropped + &array(200)));
    service.wait_for_lines(4);
    let started = Instant::now();
    service.wait_for("a while is over", |_| started.elapsed() > Duration::from_millis(100));
    assert_eq!(service.end(), 0);
    let all = reports(service.output(), "algorithmia_processor");
    assert!(all.iter().any(|report| report.fields["queue_bytes"] > 0 && report.fields["throttled_ms"] > 0));
    let last = &all.last().unwrap().fields;
    let told = ["size", "limit"].map(|field| last[&format!("telegraf_buffer_{field}")]);
    assert_eq!((told, last["telegraf_dropped"]), ([3, 20], 7));
}

#[test]
fn reports_have_the_names_that_are_asked_for() {
    let input = message(1);
    for (args, name, instance) in [
        (&["--instance", "a b,c=d"][..], "algorithmia_processor", "a b,c=d"),
        (&["--instance", "é \"q\""], "algorithmia_processor", "é \"q\""),
        (&["--measurement", "x"], "x_processor", "default"),
        (&["--measurement", "x y"], "x y_processor", "default"),
    ] {
        let output = run(&[&["execd", "--stats", "1h"], args].concat(), input.as_bytes());
        let all = reports(&text(&output.stdout), name);
        assert_eq!(all.len(), 1, "the last one, {args:?}");
        assert_eq!(all[0].tags["instance"], instance);
        assert_eq!(all[0].fields["converted"], 1);
    }
    let output = run(&["execd", "--instance", "a"], input.as_bytes());
    assert_eq!(text(&output.stdout).lines().count(), 1, "no report without --stats");
}

fn first_line(pipe: impl Read) -> String {
    let mut line = String::new();
    BufReader::new(pipe).read_line(&mut line).unwrap();
    line
}

/// Whether a process is still there after a while in which it could have ended.
fn stays(child: &mut Child) -> bool {
    std::thread::sleep(Duration::from_millis(300));
    child.try_wait().unwrap().is_none()
}

#[test]
fn a_command_line_that_is_wrong_is_told_to_telegraf_and_keeps_it_from_losing_messages() {
    let folder = Folder::temporary();
    let journal = folder.journal();
    let cases = [
        (&["--no-such-option"][..], None),
        (&["--measurement", "_x"], None),
        (&["--as", "algorithm_name=drop"], None),
        (&["convert", "--max-fields", "0"], None),
        (&["execute"], Some(("ALGORITHMIA_INPUT", "xml"))),
        (&["execd", "--no-such-option"], None),
        (&["execd", "--stats", "0s"], None),
        (&["execd", "--journal-size", "many"], None),
        (&["execd", "file"], None),
        (&["execd", "--journal", &journal, "--measurement", "_x"], None),
        (&["execd", "--journal", &journal], Some(("ALGORITHMIA_STATS", "often"))),
        // As it was before there were commands.
        (&["--journal", &journal, "--flow-control"], None),
    ];
    at_once(cases, |(args, variable)| {
        let mut wrong = command();
        wrong.args(args).envs(variable);
        let mut child = spawn(&mut wrong);
        let line = first_line(child.stderr.take().unwrap());
        assert!(line.starts_with("E! ") || line.starts_with("error: "), "{args:?}: {line}");
        let stdin = child.stdin.as_mut().unwrap();
        stdin.write_all(message(1).as_bytes()).unwrap();
        signal(&child, Signal::HUP);
        assert!(stays(&mut child), "{args:?}");
        let unread = rustix::io::ioctl_fionread(child.stdin.as_ref().unwrap().as_fd()).unwrap();
        assert_eq!(unread, message(1).len() as u64, "{args:?}");
        child.stdin = None;
        assert_eq!(exit_code(&mut child), 2, "{args:?}");

        // Nobody but Telegraf reads three pipes.
        let mut child =
            wrong.stderr(tempfile::tempfile().unwrap()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        assert_eq!(exit_code(&mut child), 2, "{args:?}, by hand");
    });
}

#[test]
fn a_second_process_on_a_folder_is_refused_and_the_first_goes_on() {
    let folder = Folder::temporary();
    let mut first = Service::with_journal(&folder, &[]);
    first.send(&messages(0..10));
    first.wait_for_lines(10);
    let mut by_hand = Service::with_journal(&folder, &[IMPATIENT]);
    let mut by_telegraf = spawn(command().args(["execd", "--journal", &folder.journal(), IMPATIENT]));
    by_telegraf.stdin.as_mut().unwrap().write_all(messages(100..110).as_bytes()).unwrap();
    first.send(&messages(10..20));

    let holder = first.worker().as_raw_nonzero().get().to_string();
    let refused = format!("E! the journal {} is in use by the process {holder}: ", folder.journal());
    let line = first_line(by_telegraf.stderr.take().unwrap());
    assert!(line.starts_with(&refused), "{line}");
    assert!(stays(&mut by_telegraf));
    by_telegraf.stdin = None;
    // It has no journal, but Telegraf still reads what it writes.
    let mut output = String::new();
    by_telegraf.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    assert!(output.lines().eq(converted(&messages(100..110))), "{output}");
    assert_eq!(exit_code(&mut by_telegraf), 0);
    assert_eq!(by_hand.wait(), 1);
    assert!(by_hand.log().starts_with(&refused), "{}", by_hand.log());

    first.send(&messages(20..30));
    first.wait_for_lines(30);
    assert_eq!(first.end(), 0);
    assert_eq!(first.log(), "");
    assert!(first.output().lines().eq(converted(&messages(0..30))));
    assert!(folder.replay().lines().eq(converted(&messages(0..30))));
}

#[test]
fn a_second_process_under_telegraf_goes_on_when_the_first_has_gone() {
    let folder = Folder::temporary();
    let mut first = Service::with_journal(&folder, &[]);
    first.send(&messages(0..10));
    first.wait_for_lines(10);
    let mut second = spawn(command().args(["execd", "--journal", &folder.journal(), IMPATIENT]));
    second.stdin.as_mut().unwrap().write_all(messages(10..20).as_bytes()).unwrap();
    let mut log = BufReader::new(second.stderr.take().unwrap());
    let mut line = String::new();
    log.read_line(&mut line).unwrap();
    assert!(line.starts_with("E! the journal "), "{line}");
    assert_eq!(first.end(), 0);
    second.stdin = None;
    let mut output = String::new();
    second.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    assert!(output.lines().eq(converted(&messages(0..20))), "{output}");
    assert_eq!(exit_code(&mut second), 0);
    assert!(folder.replay().lines().eq(converted(&messages(0..20))));
}

#[test]
fn the_journal_is_its_owners_alone_and_holds_all_kinds_of_lines() {
    for args in [&[][..], &["--journal-sync"]] {
        let folder = Folder::temporary();
        let mut service = Service::with_journal(&folder, args);
        let input = messages(0..100) + &metric("oops", 5) + "m,t=a x=\"two\nlines\" 1\n" + "oops\n";
        service.send(&input);
        assert_eq!(service.end(), 0);
        assert_eq!(service.output().lines().count(), 104);
        assert_eq!(folder.replay(), service.output());
        let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(std::path::Path::new(&folder.journal())), 0o700);
        assert!(!folder.segments().is_empty());
        for entry in fs::read_dir(folder.journal()).unwrap() {
            assert_eq!(mode(&entry.unwrap().path()), 0o600);
        }
    }
}

#[test]
fn without_a_folder_that_can_be_used_the_stream_goes_on() {
    let folder = Folder::temporary();
    fs::write(folder.path().join("journal"), "a file").unwrap();
    for below in ["", "/sub"] {
        let path = folder.journal() + below;
        let mut service = Service::start(&folder, &["--journal", &path]);
        service.send(&messages(0..1000));
        service.wait_for_lines(1000);
        assert_eq!(service.end(), 0);
        assert!(service.output().lines().eq(converted(&messages(0..1000))));
        assert!(
            service.log().starts_with("E! no journal, so a kill now loses messages in flight: "),
            "{}",
            service.log()
        );
        assert_eq!(service.log().lines().count(), 1, "{}", service.log());
    }
    assert_eq!(fs::read_to_string(folder.journal()).unwrap(), "a file");
}

/// The command where no file can grow beyond a few KiB.
fn with_small_files(args: &[&str]) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -f 8; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_telegraf-algorithmia")]);
    shell.args(args);
    shell
}

#[test]
fn a_disk_that_is_full_costs_no_line_and_the_journal_goes_on_later() {
    let folder = Folder::temporary();
    let journal = folder.journal();
    let mut service = Service::spawn(&folder, &mut with_small_files(&["execd", "--journal", &journal, IMPATIENT]));
    service.send(&messages(0..2000));
    service.wait_for_lines(2000);
    assert!(
        service.log().contains("E! no journal, so a kill now loses messages in flight: cannot write "),
        "{}",
        service.log()
    );
    let held: Vec<String> = folder.replay().lines().map(str::to_owned).collect();
    assert!(held.len() < 2000, "a file that cannot grow has not held {} lines", held.len());
    let mut count = 2000;
    // A file that is begun anew has room again. One line at a time does not fill it at once.
    service.wait_for("the journal is tried again, and the last line is in it", |service| {
        service.send(&message(count));
        count += 1;
        service.wait_for_lines(count);
        let last = converted(&message(count - 1)).remove(0);
        service.log().contains("I! the journal is written again") && folder.replay().lines().any(|line| line == last)
    });
    assert_eq!(service.end(), 0);
    assert!(service.output().lines().eq(converted(&messages(0..count))));
    let expected: HashSet<String> = converted(&messages(0..count)).into_iter().collect();
    assert!(folder.replay().lines().all(|line| expected.contains(line)), "no half lines");
}

#[test]
fn a_journal_that_could_not_be_written_while_there_was_no_room_is_deleted_as_usual_later() {
    let folder = Folder::temporary();
    let journal = folder.journal();
    let args = ["execd", "--journal", &journal, "--journal-size", "32KiB", "--flow-control", IMPATIENT];
    let mut service = Service::spawn(&folder, &mut with_small_files(&args));
    // One batch that is too large for a new file.
    let stopped = Stopped::new(service.worker());
    service.send(&(no_room() + &messages(0..300)));
    stopped.let_go();
    service.wait_for("the disk is full", |service| service.log().contains("E! no journal"));
    let mut count = 300;
    service.wait_for("the journal is tried again", |service| {
        service.send(&message(count));
        count += 1;
        std::thread::sleep(Duration::from_millis(50));
        service.log().contains("I! the journal is written again")
    });
    // The two gauges that said that there is no room are lines too.
    let (mut lines, end) = (2 + count, count + 3000);
    while count < end {
        service.send(&(gauge(now(), 0, 100_000) + &messages(count..count + 5)));
        (count, lines) = (count + 5, lines + 6);
        // Small records, so that it stays at the one failure.
        service.wait_for("all is out", |service| service.count() == lines);
    }
    assert_eq!(service.points().len(), count);
    // What has gone out just now may still be on its way to Telegraf's buffer.
    service.wait_for("what is too much is deleted", |service| {
        service.send(&gauge(now(), 0, 100_000));
        std::thread::sleep(Duration::from_millis(50));
        folder.journal_size() <= 40 << 10
    });
    assert_eq!(service.log().matches("E! no journal").count(), 1, "{}", service.log());
    assert_eq!(service.end(), 0);
    check_points(&(service.points().join("\n") + "\n"), &converted(&messages(0..count)));
}

#[test]
fn what_the_journal_holds_comes_first_at_the_next_start() {
    let folder = Folder::temporary();
    let mut all = String::new();
    for life in 0..3 {
        let new = messages(1000 * life..1000 * (life + 1));
        all += &new;
        let mut service = Service::with_journal(&folder, &[]);
        service.send(&new);
        assert_eq!(service.end(), 0);
        assert!(service.output().lines().eq(converted(&all)), "life {life}");
    }
    assert!(folder.replay().lines().eq(converted(&all)));
}

#[test]
fn the_journal_keeps_to_its_size_and_loses_the_oldest() {
    let folder = Folder::temporary();
    let mut service = Service::with_journal(&folder, &["--journal-size", "256KiB"]);
    let mut largest = 0;
    for index in (0..40_000).step_by(100) {
        service.send(&messages(index..index + 100));
        largest = largest.max(folder.journal_size());
    }
    service.wait_for_lines(40_000);
    assert_eq!(service.end(), 0);
    // A record is written before the oldest segment goes.
    assert!(largest <= 384 << 10, "it held {largest} bytes");
    assert!(folder.journal_size() <= 256 << 10, "it holds {} bytes", folder.journal_size());
    let expected = converted(&messages(0..40_000));
    let replayed = folder.replay();
    let held: Vec<&str> = replayed.lines().collect();
    assert!(held.len() > 1500, "it holds {} lines", held.len());
    assert_eq!(held, expected[expected.len() - held.len()..]);
}

#[test]
fn lines_that_telegraf_has_not_stored_stay_in_the_journal_beyond_the_window() {
    let folder = Folder::temporary();
    let mut service = Service::with_journal(&folder, &["--flow-control", "--journal-window", "100ms"]);
    // As many gauges as messages, none of which the output gets: it takes internal_write nowhere. They are many more than what
    // counts as on its way to the buffer, and come in more time than a few windows.
    let started = Instant::now();
    let mut count = 0;
    while count < 4000 || started.elapsed() < Duration::from_millis(500) {
        service.send(&(gauge(now(), count, 100_000) + &message(count)));
        count += 1;
        service.wait_for("it is out, and so is its gauge", |service| service.count() == 2 * count);
    }
    assert_eq!(service.points().len(), count);
    service.kill_everything();
    let replayed = folder.replay();
    assert_eq!(points(&replayed).len(), count, "all of which InfluxDB does not have");
}

#[test]
fn replay_writes_what_there_is_and_says_where_there_is_nothing() {
    let folder = Folder::temporary();
    let output = run(&["replay", &folder.journal()], b"");
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(1), ""));
    assert!(text(&output.stderr).starts_with("E! cannot read the folder "), "{}", text(&output.stderr));

    fs::create_dir(folder.journal()).unwrap();
    let output = run(&["replay", &folder.journal()], b"");
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(0), ""));
    assert!(text(&output.stderr).starts_with("W! there is no journal in "), "{}", text(&output.stderr));

    let mut service = Service::with_journal(&folder, &[]);
    service.send(&messages(0..20_000));
    // It can be read while it is written.
    service.wait_for_lines(20_000);
    let first = converted(&message(0)).remove(0);
    let mut child = spawn(command().args(["replay", &folder.journal()]));
    assert_eq!(first_line(child.stdout.take().unwrap()).trim_end(), first);
    assert_eq!(exit_code(&mut child), 0);
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(stderr, "", "`| head -1` is no error");

    // Where Telegraf's environment is.
    let output = command().args(["replay", &folder.journal()]).env("ALGORITHMIA_JOURNAL", folder.journal()).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), service.output());
    assert_eq!(service.end(), 0);
}

#[test]
fn the_exit_code_is_the_workers() {
    for (full, code) in [(true, 1), (false, 0)] {
        let folder = Folder::temporary();
        let stdout =
            if full { OpenOptions::new().write(true).open("/dev/full").unwrap().into() } else { Stdio::null() };
        let mut execd = command();
        execd.args(["execd", "--journal", &folder.journal()]).stdin(Stdio::piped()).stdout(stdout);
        let mut child = execd.stderr(Stdio::null()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"oops\n").unwrap();
        assert_eq!(exit_code(&mut child), code, "{full}");
    }
}

#[test]
fn after_sigterm_it_takes_what_comes_within_a_second() {
    // The process that Telegraf starts, all of its processes, and a terminal's Ctrl-C.
    at_once([(Signal::TERM, false), (Signal::TERM, true), (Signal::INT, true)], |(stop, both)| {
        let folder = Folder::temporary();
        let mut service = Service::with_journal(&folder, &[]);
        service.send(&messages(0..10));
        service.wait_for_lines(10);
        let worker = service.worker();
        signal(&service.child, stop);
        if both {
            kill_process(worker, stop).unwrap();
        }
        for index in 1..11 {
            std::thread::sleep(Duration::from_millis(100));
            service.send(&messages(10 * index..10 * (index + 1)));
        }
        // The input stays open.
        assert_eq!(service.wait(), 0);
        assert!(service.output().lines().eq(converted(&messages(0..110))));
        assert_eq!(service.log(), "");
    });
}

#[test]
fn the_signals_of_telegraf_do_nothing_to_the_worker_and_the_supervisor() {
    let folder = Folder::temporary();
    let mut service = Service::with_journal(&folder, &[]);
    service.send(&messages(0..10));
    service.wait_for_lines(10);
    let mut count = 10;
    for telegrafs in [Signal::HUP, Signal::USR1, Signal::USR2, Signal::QUIT] {
        let worker = service.worker();
        for process in [Pid::from_child(&service.child), worker] {
            kill_process(process, telegrafs).unwrap();
            service.send(&messages(count..count + 10));
            count += 10;
            service.wait_for_lines(count);
        }
        assert_eq!(service.worker(), worker, "{telegrafs:?}");
    }
    assert_eq!(service.end(), 0);
    assert!(service.output().lines().eq(converted(&messages(0..count))));
    assert_eq!(service.log(), "");
}

#[test]
fn after_sigterm_it_takes_what_telegraf_still_hands_over_however_long_that_takes() {
    let folder = Folder::temporary();
    let mut service = Service::with_journal(&folder, &[IMPATIENT]);
    service.send(&messages(0..10));
    service.wait_for_lines(10);
    let worker = service.worker();
    signal(&service.child, Signal::TERM);
    kill_process(worker, Signal::TERM).unwrap();
    let started = Instant::now();
    let mut count = 10;
    // Longer than it would wait without Telegraf, which is 4 s, and never nothing for a second.
    while started.elapsed() < Duration::from_secs(8) / DIVISOR || count < 610 {
        service.send(&messages(count..count + 10));
        count += 10;
        service.wait_for_lines(count);
    }
    assert_eq!(service.end(), 0);
    assert!(service.output().lines().eq(converted(&messages(0..count))));
}

#[test]
fn sigterm_while_it_starts_loses_nothing_that_was_written() {
    at_once(0..20, |round| {
        let folder = Folder::temporary();
        let mut service = Service::with_journal(&folder, &[]);
        service.send(&messages(0..100));
        // At some moment between its start and its first line.
        let worker = service.worker();
        std::thread::sleep(Duration::from_micros(250 * round));
        signal(&service.child, Signal::TERM);
        let _ = kill_process(worker, Signal::TERM);
        assert_eq!(service.wait(), 0, "{}", service.log());
        // A worker that was killed before it could listen has another take its place.
        assert!(service.points() == converted(&messages(0..100)), "round {round}");
    });
}

#[test]
fn sigterm_while_the_one_before_still_has_the_journal_loses_nothing_that_was_written() {
    let folder = Folder::temporary();
    let mut first = Service::with_journal(&folder, &[]);
    first.send(&messages(0..10));
    first.wait_for_lines(10);
    let mut second = Service::with_journal(&folder, &[]);
    second.send(&messages(10..100));
    // At any moment: it waits for the journal all the time.
    assert!(stays(&mut second.child));
    signal(&second.child, Signal::TERM);
    assert!(stays(&mut second.child), "it has something to do: {}", second.log());
    assert_eq!(first.end(), 0);
    assert_eq!(second.wait(), 0, "{}", second.log());
    assert!(second.output().lines().eq(converted(&messages(0..100))));
}

#[test]
fn workers_that_die_at_once_are_not_started_for_ever() {
    let folder = Folder::temporary();
    let mut service = Service::with_journal(&folder, &[]);
    for _ in 0..9 {
        let worker = service.worker();
        service.kill_worker(worker);
    }
    assert!(service.child.try_wait().unwrap().is_none());
    let worker = service.worker();
    kill_process(worker, Signal::KILL).unwrap();
    assert_eq!(service.wait(), 1);
    assert!(service.log().contains("E! 10 workers in a row have died at once"), "{}", service.log());
}

/// An unfinished line is left out, for it comes again. A message that is broken, and what is behind it, is no unfinished line.
#[test]
fn lines_behind_a_broken_message_are_not_left_out_at_the_end() {
    let good = r#"{"algorithm_name":"a","x":1,"time":1613780514867231000}"#;
    for (format, unfinished) in [("json", ""), ("json", r#"{"algorithm"#), ("json-lines", ""), ("json-lines", "[{}, ")]
    {
        let folder = Folder::temporary();
        let mut service = Service::with_journal(&folder, &["--input", format, "--exact-time"]);
        service.send(&format!("{good}\n{{\"algorithm_name\":\"b\",\"x\":[\n{good}\n"));
        assert!(unfinished.is_empty() || service.offer(unfinished.as_bytes()));
        assert_eq!(service.end(), 0);
        let lines: Vec<_> = service.output().lines().collect();
        let point = "algorithmia,algorithm_name=a x=1 1613780514867231000";
        assert_eq!((lines.len(), lines[0], lines[2]), (3, point, point), "{format}: {lines:?}");
        assert!(lines[1].starts_with("algorithmia_rejected,reason=invalid_json "), "{format}: {lines:?}");
        assert_eq!(service.log().contains("W! left out the last "), !unfinished.is_empty(), "{}", service.log());
    }
}
