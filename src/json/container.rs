//! An object or array in a stream: where it ends, or where it is broken.

use memchr::{memchr2, memchr3};

#[derive(Debug, Default)]
pub(super) struct Container {
    depth: usize,
    /// The last byte that was not white space.
    last: u8,
    /// A line break has come since then.
    line_ended: bool,
    in_string: bool,
    /// It can no longer become JSON.
    pub broken: bool,
    /// It exceeds the limit on length, and the buffer may hold only its end.
    pub too_long: bool,
    /// The offset from its start to the first line that begins with a container.
    pub resume: Option<usize>,
}

/// How a container ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum End {
    /// With its last bracket.
    Whole,
    Broken,
}

/// A bit for each open container, 1 for an array. Containers beyond the limit on nesting have none.
#[derive(Debug, Default)]
pub(super) struct Brackets([u64; 17]);

/// With `at` in a string, moves it after the closing quote (true), or to the line break that cuts the string off (false).
/// None if neither has arrived.
pub(super) fn string_end(at: &mut usize, buffer: &[u8], end_of_input: bool, lines: bool) -> Option<bool> {
    loop {
        let rest = &buffer[*at..];
        let found = if lines { memchr3(b'"', b'\\', b'\n', rest) } else { memchr2(b'"', b'\\', rest) };
        let Some(len) = found else {
            *at = buffer.len();
            return None;
        };
        *at += len;
        match (buffer[*at], buffer.get(*at + 1)) {
            (b'"', _) => {
                *at += 1;
                return Some(true);
            }
            (b'\n', _) => return Some(false),
            // The character after a backslash has not arrived yet.
            (_, None) if !end_of_input => return None,
            (_, None) => *at += 1,
            (_, Some(b'\n')) if lines => *at += 1,
            _ => *at += 2,
        }
    }
}

impl Container {
    /// The end of the container in a message, or the end of the part that is there. No other value follows in a message.
    pub fn end_in_message(&mut self, at: &mut usize, buffer: &[u8], end_of_input: bool) -> Option<usize> {
        loop {
            if self.in_string {
                string_end(at, buffer, end_of_input, false)?;
                self.in_string = false;
            }
            let byte = *buffer.get(*at)?;
            *at += 1;
            match byte {
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return Some(*at);
                    }
                }
                b'"' => self.in_string = true,
                _ => {}
            }
        }
    }

    /// Reads on to the end of the container in a stream, or to where it breaks. A broken one leaves `at` at the start or the
    /// end of a line, or within a line if there is a line to go back to.
    pub fn end(
        &mut self,
        at: &mut usize,
        start: usize,
        buffer: &[u8],
        end_of_input: bool,
        open: &mut Brackets,
        deepest: usize,
    ) -> Option<End> {
        loop {
            if self.in_string {
                if !string_end(at, buffer, end_of_input, true)? {
                    return Some(End::Broken);
                }
                self.in_string = false;
                self.last = b'"';
            }
            let byte = *buffer.get(*at)?;
            let blank = matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
            if self.line_ended && !blank {
                let begins = matches!(byte, b'{' | b'[');
                if begins && self.broken || !begins && !self.may_go_on_with(byte) {
                    return Some(End::Broken);
                }
                if begins && self.resume.is_none() {
                    self.resume = Some(*at - start);
                }
            }
            match byte {
                b'\n' => self.line_ended = true,
                b'{' | b'[' => {
                    if !self.broken {
                        self.broken = self.depth == deepest || !self.may_hold_more(open);
                        if self.broken && self.resume.is_some() {
                            return Some(End::Broken);
                        }
                        if !self.broken {
                            open.set(self.depth, byte == b'[');
                        }
                    }
                    self.depth += 1;
                }
                b'}' | b']' => {
                    if !self.broken {
                        self.broken = open.is_array(self.depth - 1) != (byte == b']');
                        if self.broken && self.resume.is_some() {
                            return Some(End::Broken);
                        }
                    }
                    self.depth -= 1;
                    if self.depth == 0 {
                        *at += 1;
                        return Some(End::Whole);
                    }
                }
                b'"' => self.in_string = true,
                _ => {}
            }
            *at += 1;
            if blank {
                continue;
            }
            self.last = byte;
            self.line_ended = false;
            if !is_special(byte) {
                *at += buffer[*at..].iter().take_while(|byte| !is_special(**byte)).count();
            }
        }
    }

    /// Whether a container may begin here in any JSON.
    fn may_hold_more(&self, open: &Brackets) -> bool {
        match self.depth.checked_sub(1) {
            Some(innermost) if open.is_array(innermost) => matches!(self.last, b'[' | b','),
            Some(_) => self.last == b':',
            None => true,
        }
    }

    /// Whether `byte`, which does not begin a container, may start a line within the container in any JSON.
    fn may_go_on_with(&self, byte: u8) -> bool {
        matches!(byte, b',' | b':' | b'}' | b']') || matches!(self.last, b'{' | b'[' | b',' | b':')
    }
}

/// Whether a byte is not just a part of a number or word.
fn is_special(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b'{' | b'}' | b'[' | b']' | b'"' | b',' | b':')
}

impl Brackets {
    fn set(&mut self, depth: usize, is_array: bool) {
        let bit = 1 << (depth % 64);
        let bits = &mut self.0[depth / 64];
        *bits = if is_array { *bits | bit } else { *bits & !bit };
    }

    fn is_array(&self, depth: usize) -> bool {
        self.0[depth / 64] >> (depth % 64) & 1 == 1
    }
}
