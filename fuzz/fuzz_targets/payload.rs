//!     cargo +nightly fuzz run payload fuzz/corpus/payload

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| reference::fuzzed::payload(data));
