//!     cargo +nightly fuzz run payload fuzz/corpus/payload

#![no_main]

#[path = "../../tests/fuzzed/mod.rs"]
mod fuzzed;
#[path = "../../tests/reference/mod.rs"]
mod reference;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzed::payload(data));
