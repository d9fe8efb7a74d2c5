//!     cargo +nightly fuzz run stream fuzz/corpus/stream

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| reference::fuzzed::stream(data));
