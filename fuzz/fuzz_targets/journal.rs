//!     cargo +nightly fuzz run journal fuzz/corpus/journal

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| reference::fuzzed::journal(data));
