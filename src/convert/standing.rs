//! The state of a converter within its input, written as a word, so that another converter can continue there, for example
//! in the process that replaces a killed one.

use std::fmt;
use std::str::FromStr;

use crate::convert::oversize::Oversize;
use crate::convert::{Converter, Format};
use crate::line_protocol::framer::FramerState;

/// The place of a converter in its input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Place {
    /// Only white space has come.
    #[default]
    Start,
    /// In line protocol.
    Lines,
    /// In JSON lines.
    Messages,
    /// In a stream of JSON. `line_start`: at the start of a line.
    Values { line_start: bool },
    /// In an array of values in a stream of JSON. `line_start`: at the start of a line.
    Array { line_start: bool },
}

/// The state of a converter in its input: the format, and whether it is within a metric or message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing(pub(crate) Stands);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stands {
    /// Between two metrics or messages.
    Between(Place),
    /// Within a line of line protocol.
    Within(FramerState),
    /// Within a message, or a value of a stream. When its line ends, the converter is at this place. An array is likely to
    /// end there too.
    Before(Place),
}

/// All states, and the words for them.
const WORDS: [(&str, Stands); 14] = [
    ("start", Stands::Between(Place::Start)),
    ("influx", Stands::Between(Place::Lines)),
    ("influx-name", Stands::Within(FramerState::NameAndTags)),
    ("influx-fields", Stands::Within(FramerState::Fields)),
    ("influx-value", Stands::Within(FramerState::Value)),
    ("influx-string", Stands::Within(FramerState::String)),
    ("influx-comment", Stands::Within(FramerState::Comment)),
    ("json-lines", Stands::Between(Place::Messages)),
    ("json-lines-within", Stands::Before(Place::Messages)),
    ("json", Stands::Between(Place::Values { line_start: false })),
    ("json-line-start", Stands::Between(Place::Values { line_start: true })),
    ("json-within", Stands::Before(Place::Values { line_start: false })),
    ("json-array", Stands::Between(Place::Array { line_start: false })),
    ("json-array-line", Stands::Between(Place::Array { line_start: true })),
];

impl Standing {
    /// Whether the start of a metric or message has been read, so that the input continues with the rest of it.
    pub fn is_within(self) -> bool {
        !matches!(self.0, Stands::Between(_))
    }
}

/// The state at the start of an input.
impl Default for Standing {
    fn default() -> Self {
        Standing(Stands::Between(Place::Start))
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = WORDS.iter().find(|(_, stands)| *stands == self.0).map(|(word, _)| *word);
        f.write_str(word.unwrap_or("start"))
    }
}

/// The text is not a word for a state.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("no converter stands at `{0}`")]
pub struct StandingError(String);

impl FromStr for Standing {
    type Err = StandingError;

    fn from_str(text: &str) -> Result<Self, StandingError> {
        let found = WORDS.iter().find(|(word, _)| *word == text);
        found.map(|(_, stands)| Standing(*stands)).ok_or_else(|| StandingError(text.to_owned()))
    }
}

impl Converter {
    /// The state before the bytes that are [pending](Converter::pending).
    pub fn standing_before(&self) -> Standing {
        Standing(match &self.format {
            Format::Json(splitter) if splitter.in_empty_array() => Stands::Between(Place::Values { line_start: false }),
            _ => Stands::Between(self.place()),
        })
    }

    /// The state after all bytes that have come, except the last ones that it has not read yet. Returns their number too.
    pub fn standing_behind(&self) -> (Standing, usize) {
        let (stands, looked_at) = match &self.format {
            Format::Undecided => (Stands::Between(Place::Start), 0),
            Format::Influx(framer) => {
                let state = framer.state();
                let is_between = state == FramerState::LineStart;
                (if is_between { Stands::Between(Place::Lines) } else { Stands::Within(state) }, framer.at())
            }
            Format::JsonLines(lines) if lines.at_line_start() => (Stands::Between(Place::Messages), lines.at()),
            Format::Json(splitter) if splitter.is_between() => (Stands::Between(self.place()), splitter.at()),
            Format::Json(_) => (Stands::Before(Place::Values { line_start: false }), self.pending.len()),
            Format::JsonLines(_) => (Stands::Before(Place::Messages), self.pending.len()),
            Format::Rest(place) => (Stands::Before(*place), self.pending.len()),
        };
        (Standing(stands), self.pending.len() - looked_at)
    }

    /// Continues within an input, in the state that another converter had. If that was within a metric or message, the rest
    /// of it becomes a rejection.
    pub fn resume(&mut self, standing: Standing) {
        match standing.0 {
            Stands::Between(place) => return self.go_to(place),
            Stands::Within(state) => {
                self.abandon();
                self.format = Format::Influx(self.engine.settings.framer(state));
                if state == FramerState::Comment {
                    return;
                }
            }
            Stands::Before(place) => {
                self.abandon();
                self.format = Format::Rest(place);
            }
        }
        self.oversize = Some(Oversize::rest(self.engine.position()));
    }
}
