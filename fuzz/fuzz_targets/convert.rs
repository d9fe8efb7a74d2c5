//!     cargo +nightly fuzz run convert fuzz/corpus/convert

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| reference::fuzzed::convert(data));
