//! The parts of a metric's line.
//!
//! The grammar is that of Telegraf's own parser (plugins/parsers/influx/machine.go.rl), since that parser reads next what
//! passes through here. The crate influxdb-line-protocol cannot replace it: it accepts lines that Telegraf and InfluxDB 2
//! refuse (`m,a,b=c f=1`, `m,a=b=c f=1`), which would cost their whole batch. It checks our output in the tests.

use std::borrow::Cow;
use std::ops::Range;

use crate::buffers::KEPT;
use crate::line_protocol::escape::{plain_key, special};

/// White space within a line.
pub(super) const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x0b | 0x0c)
}

/// White space that ends a name, key or tag value even after a backslash.
const fn is_break(byte: u8) -> bool {
    matches!(byte, b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

/// The parts of a metric's line, as ranges of its text. Reused for each line.
#[derive(Debug, Default)]
pub(crate) struct MetricReader {
    /// The measurement's name, without the tags.
    pub name: Range<usize>,
    /// Keys and values as they are written, with escapes.
    pub tags: Vec<Pair>,
    /// Values include the marks of their type: the quotes, the `i`.
    pub fields: Vec<Pair>,
    /// Nanoseconds since the epoch.
    pub time: Option<i64>,
}

#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub key: Range<usize>,
    pub value: Range<usize>,
}

/// Where a line is not line protocol, and what was expected there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MetricError {
    pub at: usize,
    pub what: &'static str,
}

type Result<T> = std::result::Result<T, MetricError>;

/// The error if a string does not end within the line.
const OPEN_STRING: &str = "expected the `\"` that ends the string";

impl MetricReader {
    /// Clears the parts, and frees the memory that a line with many tags or fields took.
    pub fn shrink(&mut self) {
        for pairs in [&mut self.tags, &mut self.fields] {
            pairs.clear();
            pairs.shrink_to(KEPT / size_of::<Pair>());
        }
    }

    /// Whether a line is a metric, or the first line of one whose string spans several.
    pub fn begins(&mut self, line: &[u8]) -> bool {
        // Only these first bytes show that a text is JSON.
        !matches!(line, [b'{' | b'[' | b'"', ..])
            && self.read(line).map_or_else(|error| error.what == OPEN_STRING, |()| true)
    }

    /// Reads a whole line, without its line break.
    pub fn read(&mut self, line: &[u8]) -> Result<()> {
        let at = self.read_head(line)?;
        let at = self.read_fields(line, at)?;
        self.time = Self::read_time(line, at)?;
        Ok(())
    }

    /// Reads the first of several whole lines. Returns its length with the line break.
    pub fn read_first(&mut self, lines: &[u8]) -> Result<usize> {
        let at = self.read_head(lines)?;
        self.read_behind_head(lines, at)
    }

    /// The same, if the first `at` bytes, its name and tags, are those of the line before.
    pub fn read_behind_head(&mut self, lines: &[u8], at: usize) -> Result<usize> {
        let at = self.read_fields(lines, at)?;
        let end = memchr::memchr(b'\n', &lines[at..]).map_or(lines.len(), |len| at + len);
        self.time = Self::read_time(&lines[..end], at)?;
        Ok(lines.len().min(end + 1))
    }

    /// Reads the fields after the white space at `at`. Returns the offset after them.
    fn read_fields(&mut self, line: &[u8], at: usize) -> Result<usize> {
        self.fields.clear();
        let mut at = Self::blanks(line, at);
        loop {
            let key = Self::field_key(line, at)?;
            let value = key.end + 1..Self::field_value(line, key.end + 1)?;
            at = value.end;
            self.fields.push(Pair { key, value });
            match line.get(at) {
                Some(b',') => at += 1,
                _ => return Ok(at),
            }
        }
    }

    /// Reads the name and the tags. Returns the offset of the white space after them.
    pub fn read_head(&mut self, line: &[u8]) -> Result<usize> {
        self.tags.clear();
        let start = Self::blanks(line, 0);
        if line.get(start) == Some(&b'#') {
            return Err(MetricError { at: start, what: "expected the name of a measurement" });
        }
        let mut at = start;
        loop {
            match line.get(at) {
                Some(b'\\') if line.get(at + 1).is_some_and(|byte| !is_break(*byte)) => at += 2,
                Some(b'\\') => return Err(MetricError { at, what: "expected a character after the backslash" }),
                Some(byte) if *byte != b',' && *byte != b' ' && !is_break(*byte) => at += 1,
                _ => break,
            }
        }
        self.name = start..at;
        if at == start {
            return Err(MetricError { at, what: "expected the name of a measurement" });
        }
        while line.get(at) == Some(&b',') {
            let key = at + 1..Self::tag_text(line, at + 1)?;
            if line.get(key.end) != Some(&b'=') {
                return Err(MetricError { at: key.end, what: "expected the `=` after a tag's key" });
            }
            let value = key.end + 1..Self::tag_text(line, key.end + 1)?;
            at = value.end;
            self.tags.push(Pair { key, value });
        }
        match line.get(at) {
            Some(byte) if is_blank(*byte) => Ok(at),
            _ => Err(MetricError { at, what: "expected a space and the fields" }),
        }
    }

    /// The time at the end of a line whose fields end at `at`. None if it has no time.
    pub fn read_time(line: &[u8], at: usize) -> Result<Option<i64>> {
        let rest = line[at..].strip_suffix(b"\r").unwrap_or(&line[at..]);
        let blanks = rest.iter().take_while(|byte| is_blank(**byte)).count();
        if blanks == rest.len() {
            return Ok(None);
        }
        let behind = rest.iter().rev().take_while(|byte| is_blank(**byte)).count();
        let text = &rest[blanks..rest.len() - behind];
        let error = MetricError { at, what: "expected a space and the time in nanoseconds, and nothing after it" };
        let digits = text.strip_prefix(b"-").unwrap_or(text);
        if blanks == 0 || digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) || digits.len() > 19 {
            return Err(error);
        }
        match std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()) {
            Some(time) => Ok(Some(time)),
            None => Err(error),
        }
    }

    fn blanks(line: &[u8], at: usize) -> usize {
        at + line[at..].iter().take_while(|byte| is_blank(**byte)).count()
    }

    /// The end of the tag key or value that starts at `start`.
    fn tag_text(line: &[u8], start: usize) -> Result<usize> {
        let mut at = start;
        loop {
            match line.get(at) {
                Some(b'\\') => match line.get(at + 1) {
                    Some(b'\\') => at += 1,
                    Some(byte) if !is_break(*byte) => at += 2,
                    _ => return Err(MetricError { at, what: "expected a character after the backslash" }),
                },
                Some(b',' | b'=' | b' ') | None => break,
                Some(byte) if is_break(*byte) => break,
                Some(_) => at += 1,
            }
        }
        if at == start { Err(MetricError { at, what: "expected a tag's key or value" }) } else { Ok(at) }
    }

    /// The key of the field that starts at `start`, up to its `=`.
    fn field_key(line: &[u8], start: usize) -> Result<Range<usize>> {
        let mut at = start;
        loop {
            match line.get(at) {
                Some(b'\\') if line.get(at + 1).is_some_and(|byte| !is_break(*byte)) => at += 2,
                Some(b'=') if at > start => return Ok(start..at),
                Some(byte) if !matches!(byte, b'\\' | b',' | b'=' | b' ') && !is_break(*byte) => at += 1,
                _ => return Err(MetricError { at, what: "expected a field: KEY=VALUE" }),
            }
        }
    }

    /// The end of the field value that starts at `start`.
    fn field_value(line: &[u8], start: usize) -> Result<usize> {
        let rest = &line[start..];
        if rest.first() == Some(&b'"') {
            let mut at = 1;
            while let Some(len) = special(&rest[at..]) {
                at += len;
                match (rest[at], rest.get(at + 1)) {
                    (b'"', _) => return Ok(start + at + 1),
                    (_, Some(b'"' | b'\\')) => at += 2,
                    _ => return Err(MetricError { at: start + at, what: "expected `\\\"` or `\\\\` in the string" }),
                }
            }
            return Err(MetricError { at: line.len(), what: OPEN_STRING });
        }
        let len = rest.iter().take_while(|byte| **byte != b',' && **byte != b' ' && !is_break(**byte)).count();
        if is_plain_value(&rest[..len]) {
            Ok(start + len)
        } else {
            Err(MetricError { at: start, what: "expected a number, a boolean, or a string in quotes" })
        }
    }
}

/// A metric that passes through, for an observer to read.
#[derive(Clone, Copy, Debug)]
pub struct Metric<'a> {
    line: &'a [u8],
    parts: &'a MetricReader,
}

impl<'a> Metric<'a> {
    /// The metric of `line`, which `parts` has read.
    pub(crate) fn new(line: &'a [u8], parts: &'a MetricReader) -> Self {
        Metric { line, parts }
    }

    /// The measurement's name.
    pub fn name(&self) -> Cow<'a, [u8]> {
        plain_key(&self.line[self.parts.name.clone()])
    }

    /// The measurement's name and the tags, as they are written: the same for all metrics of one series from one sender.
    pub fn series(&self) -> &'a [u8] {
        let end = self.parts.tags.last().map_or(self.parts.name.end, |tag| tag.value.end);
        &self.line[self.parts.name.start..end]
    }

    /// The value of a tag.
    pub fn tag(&self, key: &str) -> Option<Cow<'a, [u8]>> {
        let tag = self.parts.tags.iter().find(|tag| *plain_key(&self.line[tag.key.clone()]) == *key.as_bytes())?;
        Some(plain_key(&self.line[tag.value.clone()]))
    }

    /// The value of a field that is an integer.
    pub fn integer(&self, key: &str) -> Option<i64> {
        let field =
            self.parts.fields.iter().rfind(|field| *plain_key(&self.line[field.key.clone()]) == *key.as_bytes())?;
        let text = std::str::from_utf8(&self.line[field.value.clone()]).ok()?;
        text.strip_suffix('i')?.parse().ok()
    }

    /// Nanoseconds since the epoch.
    pub fn time(&self) -> Option<i64> {
        self.parts.time
    }
}

/// Whether a text is a float, integer, unsigned integer or boolean that Telegraf's parser accepts.
fn is_plain_value(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else { return false };
    let is_number = |text: &str| {
        let text = text.strip_prefix('-').unwrap_or(text);
        text.strip_prefix('.').unwrap_or(text).starts_with(|c: char| c.is_ascii_digit())
    };
    // Integers have no leading zeros; floats may have them.
    let is_integer = |text: &str| {
        let text = text.strip_prefix('-').unwrap_or(text);
        text == "0" || text.starts_with(|c: char| ('1'..='9').contains(&c))
    };
    match text {
        "t" | "T" | "true" | "True" | "TRUE" | "f" | "F" | "false" | "False" | "FALSE" => true,
        _ => match (text.strip_suffix('i'), text.strip_suffix('u')) {
            (Some(integer), _) => is_integer(integer) && integer.parse::<i64>().is_ok(),
            (_, Some(unsigned)) => is_integer(unsigned) && unsigned.parse::<u64>().is_ok(),
            _ => is_number(text) && text.parse::<f64>().is_ok_and(f64::is_finite),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<String> {
        let mut reader = MetricReader::default();
        reader.read(line.as_bytes())?;
        let pairs = |pairs: &[Pair]| {
            let texts = pairs.iter().map(|pair| format!("{}>{}", &line[pair.key.clone()], &line[pair.value.clone()]));
            texts.collect::<Vec<_>>().join(" ")
        };
        Ok(format!(
            "{} | {} | {} | {:?}",
            &line[reader.name.clone()],
            pairs(&reader.tags),
            pairs(&reader.fields),
            reader.time
        ))
    }

    #[test]
    fn metrics_are_taken_apart() {
        assert_eq!(read("m f=1").unwrap(), "m |  | f>1 | None");
        assert_eq!(
            read(r#"m\ n,a=b,c\=d=e\,f  f="x, y",g=-1i,h=2u,i=t,j=1.5e-7,k=-.5,l=5. -12"#).unwrap(),
            r#"m\ n | a>b c\=d>e\,f | f>"x, y" g>-1i h>2u i>t j>1.5e-7 k>-.5 l>5. | Some(-12)"#
        );
        assert_eq!(read("m,a=b\\\\\\,c f=1 5\r").unwrap(), "m | a>b\\\\\\,c | f>1 | Some(5)");
    }

    #[test]
    fn what_telegraf_refuses_is_refused() {
        for line in [
            "m",
            "m ",
            ",t=a f=1",
            "m,t f=1",
            "m,t= f=1",
            "m,=a f=1",
            "m,t=a=b f=1",
            "m,a,b=c f=1",
            "m f",
            "m f=",
            "m =1",
            "m f=1,",
            "m f=1,,g=2",
            "m f=abc",
            "m f=\"abc",
            "m f=1 5 6",
            "m f=1 abc",
            "m f=99999999999999999999i",
            "m f=-1u",
            "m f=1 99999999999999999999",
            "m f=NaN",
            "m f=inf",
            "m f=1e999",
            "m f=\"a\\b\"",
            "m,t=a\u{b}b f=1",
            "m,t=a\\",
            "hello world",
            "{\"a\":1}",
            "m f=1x5",
            "m f=1 1.5",
        ] {
            assert!(read(line).is_err(), "{line:?} gave {:?}", read(line));
        }
    }
}
