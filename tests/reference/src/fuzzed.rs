//! What the fuzzer's targets check of any bytes (fuzz/fuzz_targets); tests/conversion/corpus.rs checks it of the inputs that they have found.

#[path = "../../../src/bin/telegraf-algorithmia/execd/record.rs"]
pub mod record;

use fixtures::telegraf::quoted_bytes;
use serde_json::json;
use telegraf_algorithmia::{Event, Observer, length_of_lines, lines_of};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::lines::{self, Parts};
use crate::product::{self, check_output, converter, survives};
use crate::streams::{Message, others_are_unharmed};
use crate::{Format, Options};
use record::{RecordReader, write_head};

/// The property that tests/conversion/properties.rs tries on likely inputs: no input makes the converter panic or write what cannot be
/// read, and the output does not depend on how the input is cut.
pub fn convert(data: &[u8]) {
    // The first bytes say where to cut, and how small the limits are.
    let Some((&[small, first, second], input)) = data.split_first_chunk() else { return };
    let options = if small % 2 == 1 {
        Options { message: 200, fields: 5, nesting: 3, ..Options::default() }
    } else {
        Options::default()
    };
    survives(input, &[usize::from(first), usize::from(second)], &options);
}

/// Metrics of any form, none of which is a message: what Telegraf reads passes through byte for byte and is understood as it is
/// written, and what Telegraf refuses is rejected.
pub fn metric(data: &[u8]) {
    let Some((&[first, second], mut input)) = data.split_first_chunk() else { return };
    // A byte order mark in front of it all is none of the first metric's.
    while let Some(rest) = input.strip_prefix("\u{feff}".as_bytes()) {
        input = rest;
    }
    let options = Options { sources: vec!["none of these".to_owned()], input: Format::Influx, ..Options::default() };
    survives(input, &[usize::from(first), usize::from(second)], &options);

    let (mut out, mut seen) = (vec![], Seen::default());
    let mut converter = converter(&options);
    converter.push(input, &mut out, &mut seen);
    converter.finish(&mut out, &mut seen);
    match lines::split(input) {
        Ok(metrics) => {
            let read = |metric: &&[u8]| {
                let (Parts { measurement, tags, time, .. }, _) = lines::parse(metric).expect("split has read it");
                let tags = tags.iter().map(|(key, value)| [key, b"=".as_slice(), value].concat());
                Some(([vec![measurement.to_vec()], tags.collect()].concat().join(&b','), time))
            };
            assert_eq!(seen.0, metrics.iter().map(read).collect::<Vec<_>>());
            assert_eq!(out.strip_suffix(b"\n").unwrap_or(&out), input.strip_suffix(b"\n").unwrap_or(input));
            // A name without escapes is written in one way alone.
            let name = |metric| lines::parse(metric).expect("split has read it").0.measurement;
            let is_plain = |name: &&[u8]| name.iter().all(|byte| !matches!(byte, b'\\' | b'"' | b'='));
            let first = metrics.first().map(|metric| name(metric)).filter(is_plain);
            if let Some(Ok(first)) = first.map(std::str::from_utf8) {
                let of_the_first = metrics.iter().filter(|metric| name(metric) == first.as_bytes()).count();
                assert_eq!(lines_of(input, first).count(), of_the_first);
            }
            for count in 0..=metrics.len() {
                assert_eq!(
                    length_of_lines(input, count as u64),
                    metrics[..count].iter().map(|metric| metric.len()).sum::<usize>()
                );
            }
        }
        Err(refused) if refused.len() == input.len() && !input.contains(&b'\n') => {
            let is_blank = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0x0b;
            let text = &input[input.iter().take_while(|byte| is_blank(byte)).count()..];
            assert!(seen.0.iter().all(Option::is_none), "Telegraf refuses it: {}", String::from_utf8_lossy(input));
            assert!(text.is_empty() || text.starts_with(b"#") || seen.0.len() == 1);
        }
        Err(_) => {}
    }
}

/// What the product says of each metric: its series and time, or None where it was rejected.
#[derive(Default)]
struct Seen(Vec<Option<(Vec<u8>, Option<i64>)>>);

impl Observer for Seen {
    fn observe(&mut self, event: Event<'_>) {
        self.0.push(match event {
            Event::Passed { metric } => Some((metric.series().to_vec(), metric.time())),
            _ => None,
        });
    }
}

/// One message of any form in metrics of Telegraf's: the road that reads a metric at a glance and the one that takes it apart
/// make the same of it, as often as it comes, and it can be read by all who read it.
pub fn payload(data: &[u8]) {
    let Some((&choice, message)) = data.split_first() else { return };
    let mut options = Options { input: Format::Influx, exact_time: choice & 1 == 1, ..Options::default() };
    if choice & 2 == 2 {
        let kinds = ["approved=boolean", "count_*=integer", "label=tag", "note=string", "x*=drop", "score=float"];
        options.kinds = kinds.map(str::to_owned).to_vec();
    }
    if choice & 4 == 4 {
        (options.message, options.fields, options.nesting) = (200, 5, 3);
    }
    let value = quoted_bytes(message);
    let mut metric = [b"kafka_consumer,topic=insights value=", value.as_slice(), b" 1613780514867231593"].concat();
    // Telegraf never ends a line like this, so it is not read at a glance.
    let taken_apart = product::convert(&[&metric, b"\r\n".as_slice()].concat(), &options);
    check_output(&taken_apart, &options);
    metric.push(b'\n');
    let thrice = product::convert(&metric.repeat(3), &options);
    assert_eq!(
        String::from_utf8_lossy(&thrice),
        String::from_utf8_lossy(&taken_apart.repeat(3)),
        "for {:?}",
        String::from_utf8_lossy(message)
    );
}

/// Any text in a stream of JSON, in the place of a message: those beside it, of every kind, give what they give without it.
pub fn stream(data: &[u8]) {
    let Some((&[choice, first, second], text)) = data.split_first_chunk() else { return };
    let kinds = [(false, false), (false, true), (true, false), (true, true)];
    // The first kind, and whether a line break is all that is between them.
    let messages: Vec<Message> = (0..4)
        .map(|index| {
            let (is_array, is_pretty) = kinds[(index + usize::from(choice)) % 4];
            Message::new(vec![json!({"y": [{"z": index}, []]}), json!("]}")], is_array, is_pretty)
        })
        .collect();
    let line_end = if choice & 4 == 4 { "\r\n \n  " } else { "\n" };
    let place = usize::from(choice >> 3) % 5;
    let cuts = [usize::from(first), usize::from(second)];
    let options = Options { input: Format::Json, ..Options::default() };
    others_are_unharmed(&messages, text, place, line_end, &options, &cuts);
}

/// Segments of a journal that are anything, or were written and then damaged: each byte of them is read or skipped, nothing
/// comes out that was not written, and all that is whole does.
pub fn journal(data: &[u8]) {
    read(data);

    // What is before each 0xff is a record, and behind them is said what to damage.
    let Some((&[times, count], data)) = data.split_first_chunk() else { return };
    let (damage, texts) = data.split_at(data.len().min(4 * usize::from(times % 4)));
    let is_before = times >= 0x80;
    let (mut segment, mut head, mut written) = (vec![], String::new(), vec![]);
    for lines in texts.split(|byte| *byte == 0xff) {
        let (start, count) = (segment.len(), u64::from(count));
        if is_before {
            head = head_before(lines, count, start as u64);
        } else {
            write_head(&mut head, KEY, lines, count, start as u64);
        }
        segment.extend_from_slice(head.as_bytes());
        let lines_start = segment.len();
        segment.extend_from_slice(lines);
        written.push(Record { start, lines_start, lines: lines.to_vec(), count });
    }
    assert_eq!(read(&segment), written);

    let mut damaged = segment.clone();
    for place in damage.chunks_exact(4) {
        let &[high, low, byte, cut] = place else { continue };
        let at = usize::from(u16::from_be_bytes([high, low])) % segment.len();
        if cut == 0 {
            damaged.truncate(at);
        } else if let Some(place) = damaged.get_mut(at) {
            *place = byte;
        }
    }
    // Whoever knows the key, and where in the segment a line will be, can put a record into it that comes out when the true one
    // around it is damaged. The fuzzer knows, and does. In a segment of the version before there is no key, and without the
    // start of a segment it cannot be told which version wrote it.
    let holds = |mark: &[u8]| texts.windows(mark.len()).any(|window| window == mark);
    let start_is_whole = damaged.get(..written[0].lines_start) == Some(&segment[..written[0].lines_start]);
    if holds(b"# journal/2 ") || holds(b"# journal ") && (is_before || !start_is_whole) {
        return;
    }
    let found = read(&damaged);
    let mut in_order = written.iter();
    for record in &found {
        assert!(in_order.any(|written| written == record), "it was written, and in this order: {record:?}");
    }
    for record in &written {
        let range = record.start..record.end();
        let is_whole = damaged.get(range.clone()).is_some_and(|rest| *rest == segment[range]);
        assert!(!is_whole || found.contains(record), "it is whole: {record:?}");
    }
}

/// The key of the records that are written here: in decimal it could be the length in a head of the version before.
const KEY: u32 = 0xfeed_beef;

/// The head of a record as the version before wrote it.
fn head_before(lines: &[u8], count: u64, offset: u64) -> String {
    let checksum = xxh3_64_with_seed(lines, offset ^ count.rotate_left(32));
    format!("# journal {checksum:016x} {} {count}\n", lines.len())
}

/// A record: where it begins in the segment and where its lines do, the lines, and how many the comment says they are.
#[derive(Debug, PartialEq)]
struct Record {
    start: usize,
    lines_start: usize,
    lines: Vec<u8>,
    count: u64,
}

impl Record {
    fn end(&self) -> usize {
        self.lines_start + self.lines.len()
    }
}

/// All that is read of a segment.
fn read(segment: &[u8]) -> Vec<Record> {
    let mut reader = RecordReader::new(segment, 0);
    let (mut records, mut lines, mut skipped, mut taken) = (Vec::<Record>::new(), vec![], 0, 0);
    while let Some(count) = reader.next(&mut lines).expect("it is in memory") {
        let end = reader.offset() as usize;
        let lines_start = end - lines.len();
        assert_eq!(segment[lines_start..end], lines, "what comes out stands there");
        let before = reader.take_skipped() as usize;
        let start = records.last().map_or(0, Record::end) + before;
        assert!(segment[start..lines_start].starts_with(b"# journal") && segment[lines_start - 1] == b'\n');
        (skipped, taken) = (skipped + before, taken + end - start);
        records.push(Record { start, lines_start, lines: lines.clone(), count });
    }
    skipped += reader.take_skipped() as usize;
    assert_eq!(
        (skipped + taken, reader.offset() as usize),
        (segment.len(), segment.len()),
        "each byte is accounted for"
    );
    records
}
