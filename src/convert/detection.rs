//! The format of an input: detected at its start and, where no format is set, again at each line and value.

use memchr::memrchr;

use crate::convert::{Format, MAX_BLANK};
use crate::json::lines::BYTE_ORDER_MARK;
use crate::json::lines::Lines;
use crate::json::split::Splitter;
use crate::line_protocol::framer::{Framer, FramerState};
use crate::settings::{Input, Settings};

impl Settings {
    /// The format of an input that starts with `start`, and how many bytes to skip before it. If the format is not known
    /// yet, only the number of bytes.
    pub(super) fn format(&self, start: &[u8], end_of_input: bool) -> Result<(usize, Format), usize> {
        if !end_of_input && start.len() < BYTE_ORDER_MARK.len() && BYTE_ORDER_MARK.starts_with(start) {
            return Err(0);
        }
        let mark = if start.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        let text = &start[mark..];
        let blank = text.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let format = match (self.input, &text[blank..]) {
            // White space belongs to the first line, unless there is too much of it. A zero byte may begin UTF-16.
            (Input::Auto, []) => return Err(if blank > MAX_BLANK { mark + blank } else { 0 }),
            (Input::Auto, [0]) if !end_of_input => return Err(0),
            (Input::Auto, [b'{' | b'[' | 0xff | 0xfe, ..] | [0, b'{' | b'[', ..]) | (Input::Json, _) => {
                Format::Json(Splitter::of_stream(self.limits))
            }
            (Input::JsonLines, _) => Format::JsonLines(Lines::default()),
            (Input::Auto | Input::Influx, _) => Format::Influx(self.framer(FramerState::LineStart)),
        };
        Ok((mark, format))
    }

    /// A framer for metrics, from a byte in this state on.
    pub(super) fn framer(&self, state: FramerState) -> Framer {
        Framer::within(state, self.input == Input::Auto)
    }

    /// The other format: JSON after metrics, metrics after JSON.
    pub(super) fn other(&self, format: &Format) -> Format {
        match format {
            Format::Json(_) => Format::Influx(self.framer(FramerState::LineStart)),
            _ => Format::Json(Splitter::of_stream(self.limits)),
        }
    }
}

/// The ends of the last complete line and of the last complete object in a buffer whose formats may alternate.
#[derive(Default)]
pub(super) struct Ends {
    pub line: Last,
    pub brace: Last,
}

/// How many bytes of a buffer follow the last byte of a kind. It is searched for only once.
#[derive(Default)]
pub(super) struct Last(Option<usize>);

impl Last {
    /// The position after the last such byte in a buffer, from a position on. No text that ends with this byte extends
    /// beyond it.
    pub fn find(&mut self, byte: u8, buffer: &[u8], from: usize) -> usize {
        let end = || memrchr(byte, &buffer[from..]).map_or(0, |len| from + len + 1);
        buffer.len().saturating_sub(*self.0.get_or_insert_with(|| buffer.len() - end()))
    }
}
