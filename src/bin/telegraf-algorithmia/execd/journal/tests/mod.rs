//! Tests of the journal. Here are those of what comes out of it, and what they share.

mod trouble;

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::execd::record::RecordReader;

const LONG: Duration = Duration::from_secs(3600);

fn settings(folder: &TempDir, window: Duration, size: u64) -> Settings {
    Settings { folder: folder.path().join("journal"), window, size, sync: false }
}

fn open(folder: &TempDir) -> Journal {
    open_with(settings(folder, LONG, 1 << 20))
}

fn open_with(settings: Settings) -> Journal {
    Journal::open(settings, Patience::default()).unwrap()
}

fn all(journal: &mut Journal) -> Vec<(String, u64)> {
    let mut lines = Vec::new();
    let mut next = || journal.next(&mut lines).map(|count| (String::from_utf8(lines.clone()).unwrap(), count));
    std::iter::from_fn(&mut next).collect()
}

fn segment_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:020}.lp"))
}

fn files(journal: &Journal) -> Vec<PathBuf> {
    let entries = fs::read_dir(&journal.settings.folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|end| end == "lp")).collect();
    files.sort_unstable();
    files
}

/// Records with everything that a line may contain, even what looks like the start of a record.
fn records() -> Vec<(String, u64)> {
    let mut head = String::new();
    write_head(&mut head, 7, b"m=1\"", 1, 0);
    let looks_like = format!("m s=\"\n{head}m=1\" 2\n");
    ["a f=1 1\nb f=2 2\n", "c f=\"line\nbreak\" 3\n", looks_like.as_str(), "d f=4 4\n"]
        .map(|lines| (lines.to_owned(), length(lines)))
        .to_vec()
}

fn length(lines: &str) -> u64 {
    if lines.starts_with("a ") { 2 } else { 1 }
}

fn fill(journal: &mut Journal, records: &[(String, u64)]) {
    for (lines, count) in records {
        assert!(journal.append(lines.as_bytes(), *count, false));
        journal.emitted(0);
    }
}

#[test]
fn what_went_out_goes_out_again_in_the_next_life_and_in_the_one_after() {
    let folder = tempfile::tempdir().unwrap();
    let records = records();
    let mut first = open(&folder);
    fill(&mut first, &records[..3]);
    assert!(!first.waits());
    assert_eq!(first.next(&mut Vec::new()), None);
    drop(first);

    let mut second = open(&folder);
    assert!(second.waits());
    assert!(second.append(records[3].0.as_bytes(), 1, true), "it waits behind what is there");
    assert_eq!(second.waiting(), second.bytes());
    assert_eq!(all(&mut second), records);
    assert_eq!((second.waiting(), second.waits()), (0, false));
    drop(second);
    assert_eq!(all(&mut open(&folder)), records);
    let mut copy = Vec::new();
    replay(&folder.path().join("journal"), &mut copy).unwrap();
    assert_eq!(String::from_utf8(copy).unwrap(), records.iter().map(|(lines, _)| lines.as_str()).collect::<String>());
}

#[test]
fn what_waits_comes_from_the_journal_until_nothing_waits() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(&folder);
    assert!(journal.append(b"a f=1 1\n", 1, false));
    assert!(journal.append(b"b f=1 1\n", 1, true));
    assert!(journal.append(b"c f=1 1\n", 1, true));
    let mut lines = Vec::new();
    assert_eq!((journal.next(&mut lines), lines.as_slice()), (Some(1), &b"b f=1 1\n"[..]));
    assert!(journal.append(b"d f=1 1\n", 1, true));
    assert_eq!(all(&mut journal), [("c f=1 1\n".to_owned(), 1), ("d f=1 1\n".to_owned(), 1)]);
    assert!(journal.append(b"e f=1 1\n", 1, false));
    assert!(!journal.waits());
    assert!(journal.append(b"f f=1 1\n", 1, true));
    assert_eq!(all(&mut journal), [("f f=1 1\n".to_owned(), 1)]);
}

#[test]
fn what_goes_out_at_once_behind_an_earlier_life_goes_out_once() {
    let folder = tempfile::tempdir().unwrap();
    fill(&mut open(&folder), &records());
    let mut journal = open(&folder);
    for _ in records() {
        assert!(journal.next(&mut Vec::new()).is_some());
    }
    assert!(!journal.waits(), "though the end of the segment has not been seen");
    assert!(journal.append(b"a f=1 1\n", 1, false));
    assert_eq!(all(&mut journal), []);
}

#[test]
fn a_segment_that_is_cut_anywhere_loses_only_the_record_that_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let records = records();
    let mut journal = open(&folder);
    let mut ends = Vec::new();
    for record in &records {
        fill(&mut journal, std::slice::from_ref(record));
        ends.push(journal.bytes() as usize);
    }
    let file = files(&journal).remove(0);
    drop(journal);
    let whole = fs::read(&file).unwrap();
    for cut in 0..=whole.len() {
        fs::write(&file, &whole[..cut]).unwrap();
        let complete = ends.iter().filter(|end| **end <= cut).count();
        let mut journal = open(&folder);
        assert_eq!(all(&mut journal), records[..complete], "cut at byte {cut}");
        assert!(!journal.waits());
        assert!(journal.append(b"new f=1 1\n", 1, false), "and life goes on");
        drop(journal);
        // The new record's segment. A segment that is cut to nothing is deleted and frees its number.
        let _ = fs::remove_file(segment_path(&folder.path().join("journal"), 2));
    }
}

#[test]
fn a_byte_that_is_not_what_it_was_costs_one_record() {
    let folder = tempfile::tempdir().unwrap();
    let records = records();
    let mut journal = open(&folder);
    let mut starts = Vec::new();
    for record in &records {
        starts.push(journal.bytes() as usize);
        fill(&mut journal, std::slice::from_ref(record));
    }
    let file = files(&journal).remove(0);
    drop(journal);
    let whole = fs::read(&file).unwrap();
    for at in 0..whole.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut damaged = whole.clone();
            damaged[at] ^= flip;
            fs::write(&file, &damaged).unwrap();
            let hit = starts.iter().filter(|start| **start <= at).count() - 1;
            let others =
                records.iter().enumerate().filter(|(index, _)| *index != hit).map(|(_, record)| record.clone());
            let found = all(&mut open(&folder));
            // The case of the check's hexadecimal digits does not matter.
            assert!(found == others.collect::<Vec<_>>() || found == records, "byte {at} ^ {flip}: {found:?}");
        }
    }
}

#[test]
fn a_long_record_and_a_long_damage_are_read_in_parts() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open_with(settings(&folder, LONG, 1 << 30));
    let long = "x".repeat(3 * RecordReader::<File>::READ_SIZE);
    let records: Vec<_> = (0..3).map(|index| (format!("m{index} f=\"{long}\" 1\n"), 1)).collect();
    fill(&mut journal, &records);
    let file = files(&journal).remove(0);
    drop(journal);
    let mut text = fs::read(&file).unwrap();
    let middle = text.len() / 2;
    text[middle] ^= 1;
    fs::write(&file, text).unwrap();
    let mut journal = open(&folder);
    assert_eq!(all(&mut journal), [records[0].clone(), records[2].clone()]);
    assert!(!journal.waits());
}

#[test]
fn what_is_old_goes_once_it_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open_with(settings(&folder, Duration::from_millis(1), 1 << 20));
    let old = |journal: &Journal| {
        let went_out = journal.segments.front().and_then(|segment| segment.emitted);
        while went_out.is_some_and(|(when, _)| when.elapsed() <= journal.settings.window) {
            std::thread::yield_now();
        }
    };
    assert!(journal.append(b"a f=1 1\n", 1, false));
    journal.emitted(7);
    old(&journal);
    journal.tidy(Some(6));
    assert_eq!(files(&journal).len(), 1, "one of the lines is in Telegraf's buffer");
    journal.tidy(Some(7));
    assert_eq!(files(&journal).len(), 0);
    assert!(journal.append(b"b f=1 1\n", 1, true));
    journal.tidy(None);
    assert_eq!(files(&journal).len(), 1, "it has not gone out");
    assert_eq!(all(&mut journal).len(), 1);
    journal.emitted(8);
    old(&journal);
    journal.tidy(None);
    assert_eq!(files(&journal).len(), 0);
    assert_eq!(journal.bytes(), 0);
}

#[test]
fn what_is_too_much_goes_oldest_first_but_not_what_waits() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open_with(settings(&folder, LONG, 16 * 100));
    let line = format!("m f=\"{}\" 1\n", "x".repeat(60));
    for waits in [false, true] {
        for _ in 0..50 {
            assert!(journal.append(line.as_bytes(), 1, waits));
            if !waits {
                journal.emitted(1);
            }
            journal.tidy(Some(1));
            assert!(waits || journal.bytes() <= 16 * 100, "{} bytes", journal.bytes());
        }
    }
    let mut lines = Vec::new();
    let mut count = 0;
    while journal.next(&mut lines).is_some() {
        journal.emitted(2);
        count += 1;
    }
    assert_eq!(count, 50);
    journal.tidy(Some(1));
    assert!(journal.bytes() > 16 * 100, "the last ones are in Telegraf's buffer");
    journal.tidy(Some(2));
    assert!((8 * 100..=16 * 100).contains(&journal.bytes()), "{} bytes", journal.bytes());
}

#[test]
fn an_empty_segment_of_an_earlier_life_is_in_nobodys_way() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(&folder);
    fill(&mut journal, &records());
    for number in [2, 3] {
        fs::write(segment_path(&journal.settings.folder, number), "").unwrap();
    }
    drop(journal);
    let mut journal = open_with(settings(&folder, LONG, 1));
    assert_eq!(all(&mut journal), records());
    journal.emitted(1);
    assert!(journal.append(b"a f=1 1\n", 1, false));
    journal.emitted(2);
    journal.tidy(None);
    assert_eq!(files(&journal).len(), 1);
}
