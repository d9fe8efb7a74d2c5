//! Metrics of any form, none of which is a message: what Telegraf reads passes through byte for byte and is understood as it
//! is written, and what Telegraf refuses is rejected.
//!
//!     cargo +nightly fuzz run metric

#![no_main]

#[path = "../../tests/reference/mod.rs"]
#[allow(dead_code)]
mod reference;

use libfuzzer_sys::fuzz_target;
use reference::lines::{self, Parts};
use reference::product::{converter, survives};
use reference::{Format, Options};
use telegraf_algorithmia::{Event, Observer, length_of_lines};

/// What the product says of each metric: its series and time, or None where it was rejected.
#[derive(Default)]
struct Seen(Vec<Option<(Vec<u8>, Option<i64>)>>);

impl Observer for Seen {
    fn observe(&mut self, event: Event<'_>) {
        self.0.push(match event {
            Event::Passed { metric } => Some((metric.series().to_vec(), metric.time())),
            _ => None,
        });
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&[first, second], input)) = data.split_first_chunk() else { return };
    let options = Options { sources: vec!["none of these".to_owned()], input: Format::Influx, ..Options::default() };
    survives(input, &[usize::from(first), usize::from(second)], &options);

    let (mut out, mut seen) = (vec![], Seen::default());
    let mut converter = converter(&options);
    converter.push(input, &mut out, &mut seen);
    converter.finish(&mut out, &mut seen);
    match lines::split(input) {
        Ok(metrics) => {
            let read = |metric: &&[u8]| {
                let (Parts { measurement, tags, time, .. }, _) = lines::parse(metric).expect("split has read it");
                let tags = tags.iter().map(|(key, value)| [key, b"=".as_slice(), value].concat());
                Some(([vec![measurement.to_vec()], tags.collect()].concat().join(&b','), time))
            };
            assert_eq!(seen.0, metrics.iter().map(read).collect::<Vec<_>>());
            assert_eq!(out.strip_suffix(b"\n").unwrap_or(&out), input.strip_suffix(b"\n").unwrap_or(input));
            for count in 0..=metrics.len() {
                assert_eq!(length_of_lines(input, count as u64), metrics[..count].iter().map(|metric| metric.len()).sum());
            }
        }
        Err(refused) if refused.len() == input.len() && !input.contains(&b'\n') => {
            let text = input.trim_ascii_start();
            assert!(seen.0.iter().all(Option::is_none), "Telegraf refuses it: {}", String::from_utf8_lossy(input));
            assert!(text.is_empty() || text.starts_with(b"#") || seen.0.len() == 1);
        }
        Err(_) => {}
    }
});
