//! The table for people: what became of each message, key by key.

use std::borrow::Cow;
use std::io::{self, IsTerminal, StdoutLock, Write};
use std::ops::Range;

use anstream::{AutoStream, ColorChoice};
use anstyle::Style;
use jiff::Timestamp;
use telegraf_algorithmia::{Fate, FieldType, Key, LeftOut, Origin, Outcome, PointTime, Suffix, TimeSource, Trace};

use super::shown::{escaped, last_columns, shorten, shown, width_of};
use super::{ASIDE, BAD, GOOD, HEADING, LOST, begins_message};

/// The width of a table without a terminal, and its limits with one.
const WIDTH: usize = 100;
const WIDTHS: Range<usize> = 60..120;

/// Writes the tables to stdout, each when its message is read.
pub struct Report {
    out: AutoStream<StdoutLock<'static>>,
    width: usize,
    /// The input that the messages are from.
    input: String,
    messages: u64,
    failure: Option<io::Error>,
}

impl Report {
    /// Writes to stdout, with colours if it is a terminal that supports them, unless NO_COLOR is set.
    pub fn new() -> Self {
        let stdout = io::stdout().lock();
        let colours = if stdout.is_terminal() { AutoStream::choice(&stdout) } else { ColorChoice::Never };
        let size = terminal_size::terminal_size_of(&stdout);
        let width = size.map_or(WIDTH, |(width, _)| usize::from(width.0).clamp(WIDTHS.start, WIDTHS.end));
        Report { out: AutoStream::new(stdout, colours), width, input: String::new(), messages: 0, failure: None }
    }

    /// The next messages are from another input, with this name if it has one.
    pub fn begin_input(&mut self, name: Option<&str>) {
        self.input = name.map_or_else(String::new, |name| format!("{}, ", shown(name)));
    }

    /// Flushes the output.
    ///
    /// # Errors
    /// If writing to stdout has failed since the last call.
    pub fn flush(&mut self) -> io::Result<()> {
        match self.failure.take() {
            Some(error) => Err(error),
            None => self.out.flush(),
        }
    }

    /// Writes the table of a message.
    pub fn trace(&mut self, trace: &Trace<'_>) {
        self.messages += u64::from(begins_message(trace));
        if self.failure.is_none() {
            let text = text(trace, &self.input, self.messages, self.width);
            self.failure = self.out.write_all(text.as_bytes()).err();
        }
    }
}

/// The whole text about a message.
fn text(trace: &Trace<'_>, input: &str, number: u64, width: usize) -> String {
    let place = format!("{input}line {}, byte {}", trace.position.line, trace.position.byte);
    let item = trace.item.map_or_else(String::new, |item| format!(", payload {} of its array", item + 1));
    let message = format!("{HEADING}message {number}{HEADING:#}, {place}{item}");
    let passes = |what: &str, style: Style| {
        let what = format!("{what}, {place}, passes through: ");
        let room = width.saturating_sub(width_of(&what)).max(20);
        format!("{style}{what}{style:#}{}\n", shorten(&shown(&lossy_start(trace.text, width)), room))
    };
    match &trace.outcome {
        Outcome::Point(time) => {
            let nanoseconds = time.nanoseconds;
            let at = Timestamp::from_nanosecond(nanoseconds.into()).map(|at| format!("{at:.9}"));
            let at = at.unwrap_or_else(|_| nanoseconds.to_string());
            let origin = origin(time, trace.item);
            let table = table(trace, width);
            format!("{message}: {GOOD}a point{GOOD:#} at {at}\n  {ASIDE}{origin}{ASIDE:#}\n{table}\n")
        }
        Outcome::Rejected { reason, error, at } => {
            let marked = marked(trace.text, at.map(|at| at..at + 1), width, BAD);
            let mut text = format!("{message}: {BAD}rejected, {reason}{BAD:#}\n  {}\n{marked}", shown(error));
            if !trace.keys.is_empty() {
                text += &format!("  what its keys would have become:\n{}", table(trace, width));
            }
            text + "\n"
        }
        Outcome::Passed => passes("another metric", ASIDE),
        Outcome::NoMessage => passes("a metric without a message", LOST),
    }
}

/// The source of a point's time.
fn origin(time: &PointTime, item: Option<usize>) -> String {
    let mut text = match time.source {
        TimeSource::Time => "the time is the message's `time`".to_owned(),
        TimeSource::Timestamp => "the time is the message's `timestamp`".to_owned(),
        TimeSource::Metric => "the time is the metric's own".to_owned(),
        TimeSource::Clock => "the time is the clock's, as there is no other".to_owned(),
    };
    if time.filled > 0 {
        let digits = if time.filled == 1 { "digit".to_owned() } else { format!("{} digits", time.filled) };
        let from = if time.by_request_id { "`request_id`" } else { "the whole message" };
        text += &format!("; the last {digits}, which that lacks, filled from {from}");
    }
    if let (TimeSource::Metric, Some(item @ 1..)) = (time.source, item) {
        text += &format!(", and {item} ns, one for each payload before");
    }
    text
}

/// A line of the table.
struct Row<'a> {
    key: &'a Key,
    name: String,
    became: String,
    style: Style,
    /// Empty if it equals the key.
    stored_as: String,
    value: String,
    /// A note about the value.
    note: String,
}

impl<'a> Row<'a> {
    fn of(key: &'a Key, text: &[u8]) -> Self {
        let given = shown(&lossy(&text[key.value.clone()]));
        // For a value that has changed: the original.
        let from = |stored: &str, takes_strings: bool| {
            let same = given.is_empty() || given == stored || takes_strings && given.starts_with('"');
            if same { String::new() } else { format!(", from {}", shorten(&given, 24)) }
        };
        let (became, style, stored_as, value, note) = match &key.fate {
            Fate::Tag { key, value } => ("tag".to_owned(), GOOD, Some(key), shown(value), from(value, true)),
            Fate::Field { key, kind, value, cut_from, .. } => {
                let quoted = *kind == FieldType::String;
                let note = match cut_from {
                    Some(bytes) => format!(", cut from {bytes} bytes to {}", value.len()),
                    None => from(value, quoted),
                };
                let value = if quoted { format!("\"{}\"", escaped(value)) } else { shown(value) };
                (format!("{kind} field"), GOOD, Some(key), value, note)
            }
            Fate::Time => ("time".to_owned(), GOOD, None, given.clone(), String::new()),
            Fate::LeftOut(why) => {
                ("left out".to_owned(), if why.lost { LOST } else { ASIDE }, None, why.why.to_owned(), String::new())
            }
        };
        let stored_as =
            stored_as.filter(|stored| **stored != key.name).map_or_else(String::new, |stored| shown(stored));
        Row { key, name: shown(&key.name), became, style, stored_as, value, note }
    }
}

/// A table of the keys.
fn table(trace: &Trace<'_>, width: usize) -> String {
    let rows: Vec<Row<'_>> = trace.keys.iter().map(|key| Row::of(key, trace.text)).collect();
    let columns = Columns::of(&rows, width);
    let mut text = columns.line(["key", "became", "stored as", "value"], "", ASIDE, ASIDE);
    let mut origin = Origin::Payload;
    for row in &rows {
        let new = row.key.origin;
        if (new == Origin::Payload) != (origin == Origin::Payload) {
            let heading = if new == Origin::Payload { "of the message:" } else { "of the metric that it came in:" };
            text += &format!("  {ASIDE}{heading}{ASIDE:#}\n");
        }
        origin = new;
        text += &columns.line([&row.name, &row.became, &row.stored_as, &row.value], &row.note, Style::new(), row.style);
        if let Fate::LeftOut(LeftOut { lost: true, .. }) = row.key.fate
            && new == Origin::Payload
        {
            text += &marked(trace.text, Some(row.key.value.clone()), width, LOST);
        }
    }
    text + &legend(trace.keys)
}

/// Why keys have suffixes; each reason once.
fn legend(keys: &[Key]) -> String {
    let mut told: Vec<Suffix> = Vec::new();
    for key in keys {
        let Fate::Field { suffixes, .. } = &key.fate else { continue };
        for suffix in suffixes {
            if !told.contains(suffix) {
                told.push(*suffix);
            }
        }
    }
    told.iter().map(|suffix| format!("  {ASIDE}{} in the key: {}{ASIDE:#}\n", suffix.text, suffix.why)).collect()
}

/// The widths of the columns. A column of width 0 is not shown.
struct Columns([usize; 4]);

impl Columns {
    const GAP: usize = 2;

    fn of(rows: &[Row<'_>], width: usize) -> Self {
        let name = rows.iter().map(|row| width_of(&row.name)).max().unwrap_or(0).clamp("key".len(), width / 3);
        let became = "boolean field".len();
        let stored_as = match rows.iter().map(|row| width_of(&row.stored_as)).max().unwrap_or(0) {
            0 => 0,
            widest => widest.clamp("stored as".len(), width / 4),
        };
        let before = [name, became, stored_as].into_iter().filter(|column| *column > 0);
        let value = width.saturating_sub(before.map(|column| Self::GAP + column).sum::<usize>() + Self::GAP);
        Columns([name, became, stored_as, value])
    }

    /// A line of cells. The second has its own style. The last leaves room for the note after it.
    fn line(&self, cells: [&str; 4], note: &str, style: Style, second: Style) -> String {
        let mut line = String::new();
        for (index, (cell, width)) in cells.into_iter().zip(self.0).enumerate() {
            if width == 0 {
                continue;
            }
            let note = if index == 3 { note } else { "" };
            let room = width.saturating_sub(width_of(note)).max(8);
            let cell = shorten(cell, room) + note;
            let pad = if index == 3 { 0 } else { width.saturating_sub(width_of(&cell)) };
            let style = if index == 1 { second } else { style };
            line += &format!("  {style}{cell}{style:#}{:pad$}", "");
        }
        line + "\n"
    }
}

/// The text around a position, with carets under it. If the position is unknown, the start of the text.
fn marked(text: &[u8], place: Option<Range<usize>>, width: usize, style: Style) -> String {
    const INDENT: &str = "    ";
    // Leaves room for the marks of omitted text.
    let room = width - INDENT.len() - 2;
    let Some(place) = place.filter(|place| place.start <= text.len()) else {
        return format!("{INDENT}{}\n", shorten(&shown(&lossy_start(text, room)), room + 2));
    };
    // Text further away is neither shown nor read, since a message may have many places to mark. A character takes at
    // most four bytes.
    let window = place.start.saturating_sub(4 * width + 1)..text.len().min(place.start + 4 * width + 4);
    let (before, behind) = text[window.clone()].split_at(place.start - window.start);
    // In a text of several lines, the line with the position.
    let before = &before[memchr::memrchr(b'\n', before).map_or(0, |at| at + 1)..];
    let behind = &behind[..memchr::memchr(b'\n', &behind[behind.len().min(1)..]).map_or(behind.len(), |at| at + 1)];
    let cut = before.len().saturating_sub(4 * width);
    let before = shown(&lossy(&before[cut..]));
    let marked = shown(&lossy(&behind[..behind.len().min(place.len()).min(4 * width)]));
    let behind_text = shown(&lossy_start(behind, width));
    let rest = width_of(&behind_text).min((room / 3).max(room.saturating_sub(width_of(&before))));
    let (start, dropped) = last_columns(&before, room - rest.min(room));
    let head = if dropped || cut > 0 { "…" } else { "" };
    let tail = shorten(&behind_text, rest + 1);
    let pad = INDENT.len() + width_of(head) + width_of(start);
    let carets = "^".repeat(width_of(&marked).clamp(1, width_of(&tail).max(1)));
    format!("{INDENT}{ASIDE}{head}{start}{tail}{ASIDE:#}\n{:pad$}{style}{carets}{style:#}\n", "")
}

fn lossy(text: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(text)
}

/// Enough of the start of a text to fill this many columns, and a little more: a character takes at most four bytes.
fn lossy_start(text: &[u8], columns: usize) -> Cow<'_, str> {
    lossy(&text[..text.len().min(4 * columns + 4)])
}
