//! The format of an input: detected at its start and, where no format is set, again at each line and value.

use memchr::memrchr;

use crate::convert::{Format, MAX_BLANK};
use crate::json::lines::BYTE_ORDER_MARK;
use crate::json::lines::Lines;
use crate::json::split::Splitter;
use crate::line_protocol::framer::{Framer, FramerState};
use crate::settings::{Input, Settings};

impl Settings {
    /// How to read an input that starts with `start`, and how many bytes to skip before; where that cannot be said yet only
    /// the latter.
    pub(super) fn format(&self, start: &[u8], end_of_input: bool) -> Result<(usize, Format), usize> {
        if !end_of_input && start.len() < BYTE_ORDER_MARK.len() && BYTE_ORDER_MARK.starts_with(start) {
            return Err(0);
        }
        let mark = if start.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        let text = &start[mark..];
        let blank = text.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let format = match (self.input, &text[blank..]) {
            // White space is part of the first line, unless it is without end. A zero byte may begin UTF-16.
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

    /// For metrics, from such a byte on.
    pub(super) fn framer(&self, state: FramerState) -> Framer {
        Framer::within(state, self.input == Input::Auto)
    }

    /// How to read what comes, where it is the other of the two that `format` is one of.
    pub(super) fn other(&self, format: &Format) -> Format {
        match format {
            Format::Json(_) => Format::Influx(self.framer(FramerState::LineStart)),
            _ => Format::Json(Splitter::of_stream(self.limits)),
        }
    }
}

/// Where the last line and the last object end that end in a buffer, which may be read in turns.
#[derive(Default)]
pub(super) struct Ends {
    pub line: Last,
    pub brace: Last,
}

/// How many bytes of a buffer are behind the last one of a kind: that is looked for once.
#[derive(Default)]
pub(super) struct Last(Option<usize>);

impl Last {
    /// Where the last such byte ends that is in a buffer from a place on: no text that one ends goes on behind that.
    pub fn find(&mut self, byte: u8, buffer: &[u8], from: usize) -> usize {
        let end = || memrchr(byte, &buffer[from..]).map_or(0, |len| from + len + 1);
        buffer.len().saturating_sub(*self.0.get_or_insert_with(|| buffer.len() - end()))
    }
}
