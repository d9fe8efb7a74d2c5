//!     cargo +nightly fuzz run journal fuzz/corpus/journal

#![no_main]

#[path = "../../tests/fuzzed/mod.rs"]
mod fuzzed;
#[path = "../../tests/reference/mod.rs"]
mod reference;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzed::journal(data));
