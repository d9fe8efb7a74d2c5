//! A valid message is converted without a heap allocation, once the buffers have grown to what is needed; and what a large one
//! has made them grow to is given back.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use fixtures::telegraf::tagged;
use fixtures::{Call, Shape};
use telegraf_algorithmia::{Converter, Counts, Settings};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    /// Bytes that are allocated, modulo what there is room for.
    static BYTES: Cell<usize> = const { Cell::new(0) };
}

fn count() {
    // Not while the thread ends and its variables are gone.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

fn resize(from: usize, to: usize) {
    let _ = BYTES.try_with(|bytes| bytes.set(bytes.get().wrapping_add(to).wrapping_sub(from)));
}

// SAFETY: all is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        resize(0, layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        resize(layout.size(), 0);
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        resize(layout.size(), size);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn telegraf(message: &str) -> String {
    tagged([("topic", "insights")], message, 1_613_780_514_867_231_999)
}

fn messages() -> Vec<String> {
    let numbers: Vec<String> = (0..25).map(|index| format!("\"metric_{index}\":{index}.12345678901234567")).collect();
    let texts: Vec<String> = (0..25).map(|index| format!("\"text_{index}\":\"{}\"", "é".repeat(490))).collect();
    let nested = r#""a":{"b":[1,true,null,{"c":"d"}]},"text":"\u00e9\n\"""#.to_owned();
    let tutorial = Call::numbered(0, "2021-02-20");
    let with = |metrics: String| Call { metrics, ..tutorial.clone() }.to_string();
    let mut messages = vec![with(numbers.join(",")), with(texts.join(",")), with(nested), tutorial.to_string()];
    let times = [
        r#""Sat Feb 20 2021 00:21:54 GMT+0000 (Coordinated Universal Time)""#,
        r#""2021-02-20T00:21:54.867231Z[UTC]""#,
        r#"{"$date":{"$numberLong":"1613780514867"}}"#,
        "[2021,2,20,0,21,54,867231000]",
    ];
    messages.extend(times.map(|time| format!(r#"{{"algorithm_name":"a","x":1,"time":{time}}}"#)));
    messages
}

#[test]
fn a_valid_message_costs_no_allocation() {
    for message in messages() {
        let raw = format!("{message}\n");
        for (input, chunk) in
            [(telegraf(&message), usize::MAX), (telegraf(&message), 100), (raw.clone(), usize::MAX), (raw, 100)]
        {
            let mut converter = Converter::new(Settings::default()).unwrap();
            let (mut out, mut counts) = (Vec::new(), Counts::default());
            let mut run = |times: usize| {
                let before = ALLOCATIONS.get();
                for _ in 0..times {
                    out.clear();
                    for chunk in input.as_bytes().chunks(chunk.min(input.len())) {
                        converter.push(chunk, &mut out, &mut counts);
                    }
                }
                ALLOCATIONS.get() - before
            };
            assert!(run(3) > 0, "the buffers had to grow, or nothing is counted");
            assert_eq!(run(100), 0, "in chunks of {chunk}: {input:.300}");
            assert_eq!(counts, Counts { converted: 103, ..Counts::default() });
        }
    }
}

/// Nor does one behind others of its kind, or behind some that are rejected, which do cost some.
#[test]
fn a_valid_message_among_others_costs_no_allocation() {
    for shape in Shape::ALL {
        let messages: Vec<String> = shape.messages(200).collect();
        let lines = messages.iter().map(|message| format!("{message}\n")).collect();
        let metrics = messages.iter().map(|message| telegraf(message)).collect();
        for inputs in [metrics, lines] as [Vec<String>; 2] {
            let mut converter = Converter::new(Settings::default()).unwrap();
            let (mut out, mut counts) = (Vec::new(), Counts::default());
            let mut run = || {
                let [mut valid, mut rejected] = [0; 2];
                for input in &inputs {
                    out.clear();
                    let (before, converted) = (ALLOCATIONS.get(), counts.converted);
                    converter.push(input.as_bytes(), &mut out, &mut counts);
                    let sum = if counts.converted > converted { &mut valid } else { &mut rejected };
                    *sum += ALLOCATIONS.get() - before;
                }
                [valid, rejected]
            };
            run();
            let [valid, rejected] = run();
            assert_eq!((valid, rejected > 0), (0, shape == Shape::Bad), "{shape:?}");
            assert_eq!(counts.converted, if shape == Shape::Bad { 2 * 190 } else { 2 * 200 });
        }
    }
}

/// A stream runs for months after a large message.
#[test]
fn what_a_large_message_took_is_given_back() {
    let usual = r#"{"algorithm_name":"a","x":1,"y":[1,2],"time":1613780514867231}"#;
    let short = (0..990).map(|index| format!("\"{index}\":1")).collect::<Vec<_>>().join(",");
    let blank = " ".repeat((1 << 20) - 30_000);
    let long = format!(r#"{{"algorithm_name":"a","{}":{{{short}}}{blank}}}"#, "k".repeat(15_000));
    let text = format!(r#"{{"algorithm_name":"a","x":"{}"}}"#, r#"\""#.repeat((1 << 19) - 100));
    let fields = |value: &str| format!("m {} 7\n", vec![value; 400_000].join(","));
    for (what, input, usual) in [
        ("a long key", telegraf(&long), telegraf(usual)),
        ("a long key in JSON", format!("{long}\n"), format!("{usual}\n")),
        ("escapes", telegraf(&text), telegraf(usual)),
        ("escapes in JSON", format!("{text}\n"), format!("{usual}\n")),
        ("many fields", fields("f=1"), telegraf(usual)),
        ("a line that is too large", "y".repeat(3 << 20) + "\n", telegraf(usual)),
    ] {
        let mut converter = Converter::new(Settings::default()).unwrap();
        let mut bytes = |input: &str| {
            let mut out = Vec::new();
            for chunk in input.as_bytes().chunks(1 << 16) {
                converter.push(chunk, &mut out, &mut ());
                out = Vec::new();
            }
            BYTES.get()
        };
        let before = bytes(&usual);
        assert!(input.len() > 1_000_000, "{what}");
        let _ = bytes(&input);
        let grown = bytes(&usual).saturating_sub(before);
        assert!(grown < 1 << 20, "{what}: {grown} bytes more than before");
    }
}
