//! The property that tests/properties.rs tries on likely inputs, on those that a fuzzer finds: no input makes the converter
//! panic or write what cannot be read, and the output does not depend on how the input is cut.
//!
//!     cargo +nightly fuzz run convert fuzz/corpus/convert fuzz/seeds

#![no_main]

#[path = "../../tests/reference/mod.rs"]
#[allow(dead_code)]
mod reference;

use libfuzzer_sys::fuzz_target;
use reference::Options;
use reference::product::survives;

fuzz_target!(|data: &[u8]| {
    // The first bytes say where to cut, and how small the limits are.
    let Some((&[small, first, second], input)) = data.split_first_chunk() else { return };
    let options = if small % 2 == 1 {
        Options { message: 200, fields: 5, nesting: 3, ..Options::default() }
    } else {
        Options::default()
    };
    survives(input, &[usize::from(first), usize::from(second)], &options);
});
