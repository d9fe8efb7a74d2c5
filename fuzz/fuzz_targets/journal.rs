//! Segments of a journal that are anything, or were written and then damaged: each byte of them is read or skipped, nothing
//! comes out that was not written, and all that is whole does.
//!
//!     cargo +nightly fuzz run journal

#![no_main]

#[path = "../../src/execd/record.rs"]
mod record;

use libfuzzer_sys::fuzz_target;
use record::{RecordReader, write_head};

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
        assert!(segment[start..lines_start].starts_with(b"# journal ") && segment[lines_start - 1] == b'\n');
        (skipped, taken) = (skipped + before, taken + end - start);
        records.push(Record { start, lines_start, lines: lines.clone(), count });
    }
    skipped += reader.take_skipped() as usize;
    assert_eq!((skipped + taken, reader.offset() as usize), (segment.len(), segment.len()), "each byte is accounted for");
    records
}

fuzz_target!(|data: &[u8]| {
    read(data);

    // What is before each 0xff is a record, and behind them is said what to damage.
    let Some((&[times, count], data)) = data.split_first_chunk() else { return };
    let (damage, texts) = data.split_at(data.len().min(4 * usize::from(times % 4)));
    let (mut segment, mut head, mut written) = (vec![], String::new(), vec![]);
    for lines in texts.split(|byte| *byte == 0xff) {
        let start = segment.len();
        write_head(&mut head, lines, u64::from(count), start as u64);
        segment.extend_from_slice(head.as_bytes());
        let lines_start = segment.len();
        segment.extend_from_slice(lines);
        written.push(Record { start, lines_start, lines: lines.to_vec(), count: u64::from(count) });
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
});
