//! What the fuzzer has found worth to keep (fuzz/corpus), checked again without it.

use std::fs;

use fixtures::repository;
use reference::fuzzed;

#[test]
fn convert() {
    replay("convert", fuzzed::convert);
}

#[test]
fn metric() {
    replay("metric", fuzzed::metric);
}

#[test]
fn payload() {
    replay("payload", fuzzed::payload);
}

#[test]
fn stream() {
    replay("stream", fuzzed::stream);
}

#[test]
fn journal() {
    replay("journal", fuzzed::journal);
}

fn replay(target: &str, check: fn(&[u8])) {
    let folder = repository("fuzz/corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 50, "{} holds but {} inputs", folder.display(), files.len());
    for file in files {
        let data = fs::read(&file).unwrap();
        if std::panic::catch_unwind(|| check(&data)).is_err() {
            panic!("{} fails; the reason is above", file.display());
        }
    }
}
