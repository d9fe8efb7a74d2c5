//! The records that a segment of the journal consists of: the lines that one read from stdin gave, behind a comment with
//! their checksum, length and number. What is no whole record is skipped, up to the next one that is.
//!
//! No file is opened here and nothing logged, so that it can be fuzzed by itself (fuzz/fuzz_targets/journal.rs).

use std::fmt::Write as _;
use std::io::{self, Read};

use memchr::memmem;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Begins every record.
const MARK: &str = "# journal ";

/// No record's comment is longer.
const MAX_HEAD: usize = 80;

/// No record is longer.
const MAX_RECORD: usize = 1 << 30;

/// Replaces `head` by the comment of a record with these lines, `count` of them, that begins at `offset` of its segment.
pub fn write_head(head: &mut String, lines: &[u8], count: u64, offset: u64) {
    head.clear();
    let _ = writeln!(head, "{MARK}{:016x} {} {count}", checksum(lines, count, offset), lines.len());
}

/// The checksum of a record that begins at `offset` of its segment. A string within a line, which may hold what looks like a
/// record, cannot know where it will be.
fn checksum(lines: &[u8], count: u64, offset: u64) -> u64 {
    xxh3_64_with_seed(lines, offset ^ count.rotate_left(32))
}

/// Reads the records of one segment.
pub struct RecordReader<R> {
    segment: R,
    /// Where in the segment the next record begins, or what is none.
    offset: u64,
    /// What has been read of the segment. What is before `at` is done with.
    buffer: Vec<u8>,
    at: usize,
    ended: bool,
    skipped: u64,
}

struct Head {
    checksum: u64,
    /// Where the lines begin and end, from the start of the comment.
    start: usize,
    end: usize,
    count: u64,
}

impl<R: Read> RecordReader<R> {
    pub const READ_SIZE: usize = 256 * 1024;

    /// Reads a segment, of which `offset` bytes have been read before.
    pub fn new(segment: R, offset: u64) -> Self {
        RecordReader { segment, offset, buffer: Vec::new(), at: 0, ended: false, skipped: 0 }
    }

    /// How much of the segment is done with.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// How many bytes have been skipped since this was asked last.
    pub fn take_skipped(&mut self) -> u64 {
        std::mem::take(&mut self.skipped)
    }

    /// Replaces `lines` by those of the next record that is whole; how many they are. None at the end.
    ///
    /// # Errors
    /// Where the segment cannot be read.
    pub fn next(&mut self, lines: &mut Vec<u8>) -> io::Result<Option<u64>> {
        loop {
            if let Some(head) = self.head()? {
                self.fill(head.end)?;
                let record = self.buffer.get(self.at + head.start..self.at + head.end);
                if let Some(record) = record.filter(|record| checksum(record, head.count, self.offset) == head.checksum)
                {
                    lines.clear();
                    lines.extend_from_slice(record);
                    self.done(head.end);
                    return Ok(Some(head.count));
                }
            }
            if !self.skip()? {
                return Ok(None);
            }
        }
    }

    /// The comment at the cursor, if there is one.
    fn head(&mut self) -> io::Result<Option<Head>> {
        self.fill(MAX_HEAD)?;
        let text = &self.buffer[self.at..];
        let text = &text[..text.len().min(MAX_HEAD)];
        let parse = || {
            let end = memchr::memchr(b'\n', text)?;
            let mut words = std::str::from_utf8(text[..end].strip_prefix(MARK.as_bytes())?).ok()?.split(' ');
            let checksum = u64::from_str_radix(words.next()?, 16).ok()?;
            let len: usize = words.next()?.parse().ok().filter(|len| *len <= MAX_RECORD)?;
            let count = words.next()?.parse().ok().filter(|_| words.next().is_none())?;
            Some(Head { checksum, start: end + 1, end: end + 1 + len, count })
        };
        Ok(parse())
    }

    /// Moves on to where the next record may begin; false at the end.
    fn skip(&mut self) -> io::Result<bool> {
        let mut from = 1;
        loop {
            self.fill(from + MARK.len())?;
            let rest = &self.buffer[self.at..];
            if let Some(found) = rest.get(from..).and_then(|rest| memmem::find(rest, MARK.as_bytes())) {
                self.done(from + found);
                self.skipped += (from + found) as u64;
                return Ok(true);
            }
            // The mark may be cut by the end of what has been read.
            let done = if self.ended { rest.len() } else { rest.len().saturating_sub(MARK.len()) };
            self.done(done);
            self.skipped += done as u64;
            if self.ended {
                return Ok(false);
            }
            from = 0;
            self.fill(MARK.len() + 1)?;
        }
    }

    fn done(&mut self, len: usize) {
        self.at += len;
        self.offset += len as u64;
    }

    /// Reads on until `len` bytes are there behind the cursor, or the segment ends.
    fn fill(&mut self, len: usize) -> io::Result<()> {
        if self.buffer.len() - self.at >= len {
            return Ok(());
        }
        // So that no more is moved than is done with, whatever the heads of damaged records claim.
        if self.at > self.buffer.len() / 2 {
            self.buffer.drain(..self.at);
            self.at = 0;
        }
        self.ended = false;
        while self.buffer.len() - self.at < len {
            let have = self.buffer.len() - self.at;
            let want = (len - have).max(Self::READ_SIZE) as u64;
            if self.segment.by_ref().take(want).read_to_end(&mut self.buffer)? == 0 {
                self.ended = true;
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fuzzer found it: where the line break behind a comment had become a space, the next comment was taken for its end.
    #[test]
    fn a_comment_with_more_in_it_is_none() {
        let (mut head, mut segment) = (String::new(), String::new());
        for _ in 0..2 {
            write_head(&mut head, b"", 1, segment.len() as u64);
            segment += &head;
        }
        let len = head.len();
        segment.replace_range(len - 1..len, " ");
        let mut reader = RecordReader::new(segment.as_bytes(), 0);
        let mut lines = Vec::new();
        assert_eq!(reader.next(&mut lines).unwrap(), Some(1));
        assert_eq!((reader.take_skipped(), reader.offset()), (len as u64, 2 * len as u64));
        assert_eq!(reader.next(&mut lines).unwrap(), None);
    }
}
