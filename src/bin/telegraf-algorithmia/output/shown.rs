//! Text made safe for a terminal, and its width in columns.

use std::io::{self, Write};

use unicode_width::UnicodeWidthChar;

/// The end of a text that fits into this many columns, and whether the start was cut.
pub fn last_columns(text: &str, columns: usize) -> (&str, bool) {
    let mut width = 0;
    for (at, c) in text.char_indices().rev() {
        width += width_of_char(c);
        if width > columns {
            return (&text[at + c.len_utf8()..], true);
        }
    }
    (text, false)
}

/// A text, shortened to at most this many columns.
pub fn shorten(text: &str, columns: usize) -> String {
    if width_of(text) <= columns {
        return text.to_owned();
    }
    let mut width = 1;
    let fits = text.char_indices().find(|(_, c)| {
        width += width_of_char(*c);
        width > columns
    });
    format!("{}…", &text[..fits.map_or(text.len(), |(at, _)| at)])
}

pub fn width_of(text: &str) -> usize {
    text.chars().map(width_of_char).sum()
}

fn width_of_char(c: char) -> usize {
    c.width().unwrap_or(0)
}

/// A text that is safe to show. Characters that could affect the terminal, or change the order of the text around them,
/// are escaped.
pub fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_shown(c) { shown.push(c) } else { shown.extend(c.escape_debug()) }
    }
    shown
}

/// Whole lines that are safe to show. They may no longer be line protocol.
pub fn shown_lines(lines: &[u8]) -> String {
    let text = String::from_utf8_lossy(lines);
    let lines = text.split_inclusive('\n').map(|line| match line.strip_suffix('\n') {
        Some(line) => shown(line) + "\n",
        None => shown(line),
    });
    lines.collect()
}

/// Writes to a terminal what arrives in whole lines.
pub struct Screen<W>(pub W);

impl<W: Write> Write for Screen<W> {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.0.write_all(shown_lines(lines).as_bytes())?;
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A text escaped as by [`shown`], for use between quotes.
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if is_shown(c) && !matches!(c, '"' | '\\') { escaped.push(c) } else { escaped.extend(c.escape_debug()) }
    }
    escaped
}

/// Whether a character can be shown as it is.
pub fn is_shown(c: char) -> bool {
    // Checks the character after another one, so that a combining character counts as shown.
    let mut buffer = [b'a'; 5];
    let len = c.encode_utf8(&mut buffer[1..]).len();
    let behind = std::str::from_utf8(&buffer[..=len]).unwrap_or_default();
    matches!(c, ' '..='~') || behind.escape_debug().nth(1) == Some(c)
}
