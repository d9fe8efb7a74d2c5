//! One message of any form in metrics of Telegraf's: the road that reads a metric at a glance and the one that takes it apart
//! make the same of it, as often as it comes, and it can be read by all who read it.
//!
//!     cargo +nightly fuzz run payload

#![no_main]

#[path = "../../tests/reference/mod.rs"]
#[allow(dead_code)]
mod reference;

use libfuzzer_sys::fuzz_target;
use reference::product::{check_output, convert};
use reference::{Format, Options};

fuzz_target!(|data: &[u8]| {
    let Some((&choice, message)) = data.split_first() else { return };
    let mut options = Options { input: Format::Influx, exact_time: choice & 1 == 1, ..Options::default() };
    if choice & 2 == 2 {
        let kinds = ["approved=boolean", "count_*=integer", "label=tag", "note=string", "x*=drop", "score=float"];
        options.kinds = kinds.map(str::to_owned).to_vec();
    }
    if choice & 4 == 4 {
        (options.message, options.fields, options.nesting) = (200, 5, 3);
    }
    let mut metric = b"kafka_consumer,topic=insights value=\"".to_vec();
    for byte in message {
        if matches!(byte, b'"' | b'\\') {
            metric.push(b'\\');
        }
        metric.push(*byte);
    }
    metric.extend_from_slice(b"\" 1613780514867231593");
    // Telegraf never ends a line like this, so it is not read at a glance.
    let taken_apart = convert(&[&metric, b"\r\n".as_slice()].concat(), &options);
    check_output(&taken_apart, &options);
    metric.push(b'\n');
    let thrice = convert(&metric.repeat(3), &options);
    assert_eq!(
        String::from_utf8_lossy(&thrice),
        String::from_utf8_lossy(&taken_apart.repeat(3)),
        "for {:?}",
        String::from_utf8_lossy(message)
    );
});
