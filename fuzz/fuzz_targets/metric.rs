//!     cargo +nightly fuzz run metric fuzz/corpus/metric

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| reference::fuzzed::metric(data));
