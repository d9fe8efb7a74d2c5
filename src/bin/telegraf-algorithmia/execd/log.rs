//! Log lines on stderr, with the level prefixes that Telegraf's execd understands, a few of each kind a minute.

use std::fmt::Display;
use std::io::Write;
use std::time::{Duration, Instant};

use telegraf_algorithmia::{Counts, Event, Reason};

use crate::output::progress;
use crate::output::shown::shown;
use crate::platform;

/// The maximum length of a line in bytes; the rest is cut. After a line of 64 KiB, Telegraf permanently stops reading a
/// child's stderr, and further output would block us.
const LINE: usize = 1000;

/// Writes one line to stderr, unless that would block: an unread log must not stop the stream. Special characters, for
/// example in file names, can neither affect a terminal nor start another line.
pub fn write(level: char, text: impl Display) {
    let text = shown(&text.to_string().replace('\n', " "));
    let line = format!("{level}! {}\n", &text[..text.floor_char_boundary(LINE)]);
    #[cfg(all(test, unix))]
    if platform::logged(&line) {
        return;
    }
    let mut stderr = std::io::stderr();
    progress::aside(|| {
        if platform::is_writable(&stderr).unwrap_or(false) {
            let _ = stderr.write_all(line.as_bytes());
        }
    });
}

/// The start of a text from a message, quoted.
fn start(text: &str) -> String {
    let end = text.floor_char_boundary(64);
    format!("{:?}{}", &text[..end], if end < text.len() { "..." } else { "" })
}

/// The most lines of one kind in one period; more are only counted.
const LINES: u64 = 5;

/// The kinds of log lines: one for each reason, and these.
const NO_MESSAGE: usize = Reason::ALL.len();
const LEFT_OUT: usize = NO_MESSAGE + 1;
const TIME_DEFAULTED: usize = LEFT_OUT + 1;
const STRING_CUT: usize = TIME_DEFAULTED + 1;
const KINDS: usize = STRING_CUT + 1;

/// Logs events, and limits how many lines are written.
pub struct Log {
    kinds: [Period; KINDS],
    /// The length of a period.
    period: Duration,
    write: Box<dyn FnMut(char, String)>,
}

#[derive(Clone, Copy, Default)]
struct Period {
    since: Option<Instant>,
    lines: u64,
}

impl Log {
    pub fn new(period: Duration) -> Self {
        Log { kinds: Default::default(), period, write: Box::new(write) }
    }

    pub fn observe(&mut self, event: Event<'_>) {
        match event {
            Event::Converted { .. } | Event::Passed { .. } => {}
            Event::Rejected { reason, error } => {
                self.line(reason as usize, || format!("rejected a message, {reason}: {error}"));
            }
            Event::NoMessage => self.line(NO_MESSAGE, || {
                "a metric that should hold a message has no such string field and passes through: in \
                 inputs.kafka_consumer, set data_format = \"value\" and data_type = \"string\""
                    .to_owned()
            }),
            Event::LeftOut { key, why } => self.line(LEFT_OUT, || format!("left out {}: {why}", start(key))),
            Event::TooMany { key, values, why } => {
                self.line(LEFT_OUT, || format!("left out {} with its {values} values: {why}", start(key)))
            }
            Event::TimeDefaulted { text } => {
                self.line(TIME_DEFAULTED, || format!("cannot read the time {}, so the point has another", start(text)))
            }
            Event::StringCut { key, bytes } => self.line(STRING_CUT, || {
                format!("cut {} from {bytes} bytes to 65536, InfluxDB's documented limit", start(key))
            }),
        }
    }

    fn line(&mut self, kind: usize, text: impl FnOnce() -> String) {
        self.tick();
        let period = &mut self.kinds[kind];
        period.since.get_or_insert_with(Instant::now);
        period.lines += 1;
        if period.lines <= LINES {
            (self.write)('W', text());
        }
    }

    /// How long until there is a count to write.
    pub fn due(&self) -> Option<Duration> {
        let ends = self.kinds.iter().filter_map(|period| period.since).map(|since| since + self.period);
        ends.min().map(|end| end.saturating_duration_since(Instant::now()))
    }

    /// Ends the periods that have expired.
    pub fn tick(&mut self) {
        for kind in 0..KINDS {
            if self.kinds[kind].since.is_some_and(|since| since.elapsed() >= self.period) {
                self.end(kind);
            }
        }
    }

    fn end(&mut self, kind: usize) {
        let Period { lines, .. } = std::mem::take(&mut self.kinds[kind]);
        if lines > LINES {
            let more = lines - LINES;
            let what = match kind {
                NO_MESSAGE => "metrics without a message",
                LEFT_OUT => "values left out",
                TIME_DEFAULTED => "times that cannot be read",
                STRING_CUT => "strings cut",
                reason => return (self.write)('W', format!("{more} more messages rejected, {}", Reason::ALL[reason])),
            };
            (self.write)('W', format!("{more} more {what}"));
        }
    }

    /// Writes the outstanding counts, and the totals if any message was rejected or any value left out or changed.
    pub fn finish(&mut self, counts: &Counts) {
        (0..KINDS).for_each(|kind| self.end(kind));
        let Counts { converted, passed, rejected, left_out, time_defaulted, strings_cut } = counts;
        if counts.all_rejected() + left_out + time_defaulted + strings_cut == 0 {
            return;
        }
        let mut text = format!("{converted} converted, {passed} passed through, {} rejected", counts.all_rejected());
        let reasons = Reason::ALL.iter().zip(rejected).filter(|(_, count)| **count > 0);
        let reasons: Vec<_> = reasons.map(|(reason, count)| format!("{count} {reason}")).collect();
        if !reasons.is_empty() {
            text += &format!(" ({})", reasons.join(", "));
        }
        for (count, what) in
            [(left_out, "values left out"), (time_defaulted, "times not read"), (strings_cut, "strings cut")]
        {
            if *count > 0 {
                text += &format!(", {what}: {count}");
            }
        }
        (self.write)('I', text);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    const PERIOD: Duration = Duration::from_secs(60);

    #[test]
    fn after_a_few_lines_there_is_a_count_a_minute() {
        let lines = Rc::new(RefCell::new(Vec::new()));
        let sink = Rc::clone(&lines);
        let write = move |level, text| sink.borrow_mut().push(format!("{level}! {text}"));
        let mut log = Log { write: Box::new(write), ..Log::new(PERIOD) };
        let new_lines = || lines.borrow_mut().drain(..).collect::<Vec<String>>();
        assert_eq!(log.due(), None);

        let rejected = Event::Rejected { reason: Reason::InvalidJson, error: "oops" };
        (0..8).for_each(|_| log.observe(rejected));
        log.observe(Event::LeftOut { key: "x", why: "because" });
        let few = [&["W! rejected a message, invalid_json: oops"; 5][..], &["W! left out \"x\": because"]].concat();
        assert_eq!(new_lines(), few);
        assert!(log.due().is_some_and(|due| due <= PERIOD));
        log.tick();
        assert_eq!(new_lines(), [""; 0], "the minute is not over");

        for period in &mut log.kinds {
            period.since = period.since.and_then(|since| since.checked_sub(PERIOD));
        }
        assert_eq!(log.due(), Some(Duration::ZERO));
        log.tick();
        assert_eq!(new_lines(), ["W! 3 more messages rejected, invalid_json"]);
        assert_eq!(log.due(), None);
        log.observe(rejected);
        assert_eq!(new_lines(), ["W! rejected a message, invalid_json: oops"]);
    }
}
