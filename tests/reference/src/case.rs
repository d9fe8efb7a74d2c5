//! A case of the tests by example: what goes in, and the text that comes out.
//!
//! It is run whole, cut in two at every byte, and byte by byte; its output is read by the parsers of Telegraf and InfluxDB and
//! fed through again; and the reference must agree with the text.

use super::lines::{self, decode};
use super::product::{check_output, chunks, convert, convert_chunks};
use super::{Metric, Options, convert_message};
use fixtures::telegraf::metric;

/// A case: what goes in, and how.
pub struct Case {
    name: String,
    input: Vec<u8>,
    /// The message, where the input is one metric with the time 7 and nothing else.
    message: Option<String>,
    options: Options,
}

pub fn input(name: &str, text: &str) -> Case {
    bytes_input(name, text.as_bytes())
}

pub fn bytes_input(name: &str, input: &[u8]) -> Case {
    Case { name: name.into(), input: input.to_vec(), message: None, options: Options::default() }
}

/// One message, in a metric whose time is 7.
pub fn message(name: &str, text: &str) -> Case {
    Case { message: Some(text.into()), ..input(name, &metric(text, 7)) }
}

impl Case {
    pub fn with(mut self, change: impl FnOnce(&mut Options)) -> Case {
        change(&mut self.options);
        self
    }

    pub fn gives_nothing(self) {
        self.check("");
    }

    /// The output's lines, without the last line's end. In `error="*"` the text may be any.
    pub fn gives(self, expected: &str) {
        self.check(&format!("{expected}\n"));
    }

    fn check(self, expected: &str) {
        let name = format!("{}\n   input {:.600?}", self.name, String::from_utf8_lossy(&self.input));
        let out = convert(&self.input, &self.options);
        let text = String::from_utf8_lossy(&out);
        assert!(matches(&text, expected), "{name}\nexpected {expected:.2000?}\n     got {text:.2000?}");
        check_output(&out, &self.options);

        let length = self.input.len();
        // Of long inputs only some places: behind every place the whole input is converted again.
        let step = (length * length / 2_000_000).max(1);
        for cut in (0..=length).step_by(step) {
            let cut_out = convert_chunks(&chunks(&self.input, &[cut]), &self.options);
            assert!(cut_out == out, "{name}\ncut at {cut}: {:.2000?}", String::from_utf8_lossy(&cut_out));
        }
        if length < 100_000 {
            let cut_out = convert_chunks(&self.input.chunks(1).collect::<Vec<_>>(), &self.options);
            assert!(cut_out == out, "{name}\nbyte by byte: {:.2000?}", String::from_utf8_lossy(&cut_out));
        }

        if let Some(message) = &self.message {
            let bytes = Some(self.input.strip_suffix(b"\n").unwrap_or(&self.input).len());
            let metric = Metric { time: Some(7), bytes, ..Default::default() };
            let by_reference = convert_message(message.as_bytes(), &metric, &self.options);
            let literal = expected.replace("error=\"*\"", "error=\"any\"");
            let literal: Vec<_> = lines::split(literal.as_bytes())
                .unwrap_or_else(|_| panic!("{name}: the expected text is no line protocol"))
                .into_iter()
                .map(|line| decode(std::str::from_utf8(line).unwrap()))
                .collect();
            assert!(
                by_reference == literal,
                "{name}\nthe reference: {by_reference:.2000?}\n  the literal: {literal:.2000?}"
            );
        }
    }
}

fn matches(text: &str, pattern: &str) -> bool {
    let mut pieces = pattern.split("error=\"*\"");
    let Some(mut rest) = text.strip_prefix(pieces.next().unwrap()) else { return false };
    for piece in pieces {
        let Some(error) = rest.strip_prefix("error=\"") else { return false };
        // The text ends where what is expected behind it begins.
        let Some(end) = error.find(&format!("\"{piece}")) else { return false };
        if end == 0 {
            return false;
        }
        rest = &error[end + 1 + piece.len()..];
    }
    rest.is_empty()
}
