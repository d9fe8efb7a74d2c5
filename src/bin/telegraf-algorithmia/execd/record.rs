//! The records of a journal's segment: the lines that one read from stdin gave, or a part of them if they are many, after a
//! comment, the head. Anything that is not a complete record is skipped up to the next one.
//!
//! ```text
//! # journal/2 KEY CHECKSUM LENGTH COUNT CHECK
//! ```
//!
//! Lines may contain text that looks like a head, and the lines of a damaged record are searched for heads. So a head is
//! verified before a byte after it is read. CHECK is the check of the head itself and its position. KEY is the same in all
//! heads that a process writes, and is unknown to those who send messages.
//!
//! The version before wrote `# journal CHECKSUM LENGTH COUNT`. The start of a segment, where no message can put anything,
//! shows which of them it has.
//!
//! Opens no file and logs nothing, so that it can be fuzzed by itself (fuzz/fuzz_targets/journal.rs).

use std::fmt::Write as _;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};

use memchr::memmem;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The start of every head, ...
const MARK: &str = "# journal";

/// ... which continues like this, ...
const OURS: &str = "# journal/2 ";

/// ... or, in the previous version, like this.
const BEFORE: &str = "# journal ";

/// The maximum length of a head.
const MAX_HEAD: usize = 80;

/// The maximum length of a record.
const MAX_RECORD: usize = 1 << 30;

/// A key for the heads of one process.
pub fn new_key() -> u32 {
    RandomState::new().hash_one(MARK) as u32
}

/// Replaces `head` with the head of a record with these lines, `count` of them, that begins at `offset` of its segment.
pub fn write_head(head: &mut String, key: u32, lines: &[u8], count: u64, offset: u64) {
    head.clear();
    let _ = write!(head, "{OURS}{key:08x} {:016x} {} {count}", checksum(lines, count, offset), lines.len());
    let check = check(head, offset);
    let _ = writeln!(head, " {check:08x}");
}

/// The check of a head that begins at `offset` of its segment.
fn check(head: &str, offset: u64) -> u32 {
    xxh3_64_with_seed(head.as_bytes(), offset) as u32
}

/// The checksum of the lines of a record that begins at `offset` of its segment.
fn checksum(lines: &[u8], count: u64, offset: u64) -> u64 {
    #[cfg(test)]
    tests::HASHED.set(tests::HASHED.get() + lines.len());
    xxh3_64_with_seed(lines, offset ^ count.rotate_left(32))
}

/// Reads the records of one segment.
pub struct RecordReader<R> {
    segment: R,
    /// The offset in the segment of the next record, or of bytes that are no record.
    offset: u64,
    /// What has been read of the segment. The bytes before `at` are done.
    buffer: Vec<u8>,
    at: usize,
    ended: bool,
    skipped: u64,
    /// None until something has been read.
    form: Option<Form>,
}

/// Which heads are valid.
#[derive(Clone, Copy)]
enum Form {
    /// Heads with the key of the first one.
    Keyed(u32),
    /// Heads with any key, because the first head is damaged.
    AnyKey,
    /// Heads of the previous version.
    Before,
    /// All heads, because the start of the segment does not show the version. The first head with a key rules out the
    /// previous version.
    Unknown,
}

struct Head {
    checksum: u64,
    /// The offsets of the lines' start and end from the start of the head.
    start: usize,
    end: usize,
    count: u64,
}

impl Form {
    /// The form of a segment in which `text`, at `offset`, was read first.
    fn of(text: &[u8], offset: u64) -> Self {
        if let Some((key, _)) = Head::read(text, offset) {
            Form::Keyed(key)
        } else if Head::read_before(text).is_some() {
            Form::Before
        } else if text.starts_with(OURS.as_bytes()) {
            Form::AnyKey
        } else {
            Form::Unknown
        }
    }
}

impl Head {
    /// The head at the start of `text`, which is at `offset` of its segment, and its key.
    fn read(text: &[u8], offset: u64) -> Option<(u32, Self)> {
        let (head, start) = Self::line(text, OURS)?;
        let (checked, own_check) = head.rsplit_once(' ')?;
        if u32::from_str_radix(own_check, 16) != Ok(check(checked, offset)) {
            return None;
        }
        let (key, rest) = checked.strip_prefix(OURS)?.split_once(' ')?;
        Some((u32::from_str_radix(key, 16).ok()?, Self::of(rest, start)?))
    }

    /// Reads a head of the previous version.
    fn read_before(text: &[u8]) -> Option<Self> {
        let (head, start) = Self::line(text, BEFORE)?;
        Self::of(head.strip_prefix(BEFORE)?, start)
    }

    /// The first line, if it begins with `mark`, and the offset of the next line.
    fn line<'a>(text: &'a [u8], mark: &str) -> Option<(&'a str, usize)> {
        let text = &text[..text.len().min(MAX_HEAD)];
        let end = text.starts_with(mark.as_bytes()).then(|| memchr::memchr(b'\n', text))??;
        Some((std::str::from_utf8(&text[..end]).ok()?, end + 1))
    }

    /// Reads `CHECKSUM LENGTH COUNT`, for lines that begin at `start`.
    fn of(words: &str, start: usize) -> Option<Self> {
        let mut words = words.split(' ');
        let checksum = u64::from_str_radix(words.next()?, 16).ok()?;
        let len: usize = words.next()?.parse().ok().filter(|len| *len <= MAX_RECORD)?;
        let count = words.next()?.parse().ok().filter(|_| words.next().is_none())?;
        Some(Head { checksum, start, end: start + len, count })
    }
}

impl<R: Read> RecordReader<R> {
    pub const READ_SIZE: usize = 256 * 1024;

    /// Reads a segment of which `offset` bytes have already been read: some complete records, or nothing.
    pub fn new(segment: R, offset: u64) -> Self {
        RecordReader { segment, offset, buffer: Vec::new(), at: 0, ended: false, skipped: 0, form: None }
    }

    /// How many bytes of the segment have been read or skipped.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// How many bytes have been skipped since the last call of this.
    pub fn take_skipped(&mut self) -> u64 {
        std::mem::take(&mut self.skipped)
    }

    /// Replaces `lines` with those of the next intact record. Returns their number. None at the end.
    ///
    /// # Errors
    /// If the segment cannot be read.
    pub fn next(&mut self, lines: &mut Vec<u8>) -> io::Result<Option<u64>> {
        // The segment may have grown.
        self.ended = false;
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

    /// The head at the cursor, if there is one.
    fn head(&mut self) -> io::Result<Option<Head>> {
        self.fill(MAX_HEAD)?;
        let text = &self.buffer[self.at..];
        if text.is_empty() {
            return Ok(None);
        }
        let form = self.form.get_or_insert_with(|| Form::of(text, self.offset));
        let ours = || Head::read(text, self.offset);
        Ok(match *form {
            Form::Keyed(key) => ours().filter(|(other, _)| *other == key).map(|(_, head)| head),
            Form::AnyKey => ours().map(|(_, head)| head),
            Form::Before => Head::read_before(text),
            Form::Unknown => match ours() {
                Some((_, head)) => {
                    *form = Form::AnyKey;
                    Some(head)
                }
                None => Head::read_before(text),
            },
        })
    }

    /// Moves to the next place where a record may begin. Returns false at the end.
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
            // The end of what has been read may cut the mark.
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

    /// Reads until there are `len` bytes after the cursor, or the segment ends.
    fn fill(&mut self, len: usize) -> io::Result<()> {
        if self.buffer.len() - self.at >= len || self.ended {
            return Ok(());
        }
        // This way no more bytes are moved than have been processed, whatever the heads claim.
        if self.at > self.buffer.len() / 2 {
            self.buffer.drain(..self.at);
            self.at = 0;
        }
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
    use std::cell::Cell;

    use super::*;

    thread_local! {
        /// How many bytes this thread has hashed for checksums.
        pub static HASHED: Cell<usize> = const { Cell::new(0) };
    }

    const KEY: u32 = 0x9c0f_fee1;

    /// A segment that is being built.
    #[derive(Default)]
    struct Segment(Vec<u8>);

    impl Segment {
        /// Appends a record. Returns its offset.
        fn add(&mut self, key: u32, lines: &[u8]) -> usize {
            let (start, mut head) = (self.0.len(), String::new());
            write_head(&mut head, key, lines, 1, start as u64);
            self.0.extend_from_slice(head.as_bytes());
            self.0.extend_from_slice(lines);
            start
        }

        /// Appends a record as the previous version wrote it. Returns its offset.
        fn add_before(&mut self, lines: &[u8]) -> usize {
            let start = self.0.len();
            self.0.extend_from_slice(head_before(lines, start).as_bytes());
            self.0.extend_from_slice(lines);
            start
        }

        /// The lines of all records that the reader finds.
        fn read(&self) -> Vec<Vec<u8>> {
            let (mut reader, mut lines) = (RecordReader::new(self.0.as_slice(), 0), vec![]);
            let mut next = || reader.next(&mut lines).unwrap().map(|_| lines.clone());
            std::iter::from_fn(&mut next).collect()
        }
    }

    fn head_before(lines: &[u8], offset: usize) -> String {
        format!("{BEFORE}{:016x} {} 1\n", checksum(lines, 1, offset as u64), lines.len())
    }

    /// Found by a fuzzer: if the line break after a head had become a space, the next head was read as the end of that
    /// head.
    #[test]
    fn a_head_with_more_in_it_is_none() {
        let mut segment = Segment::default();
        segment.add(KEY, b"");
        let len = segment.add(KEY, b"");
        segment.0[len - 1] = b' ';
        let mut reader = RecordReader::new(segment.0.as_slice(), 0);
        let mut lines = Vec::new();
        assert_eq!(reader.next(&mut lines).unwrap(), Some(1));
        assert_eq!((reader.take_skipped(), reader.offset()), (len as u64, 2 * len as u64));
        assert_eq!(reader.next(&mut lines).unwrap(), None);
    }

    /// Lines full of heads that are valid except for one detail, as an attacker who knows their offsets could write
    /// them. Each claims to cover everything after it.
    fn false_heads(kind: usize, start: usize, len: usize) -> Vec<u8> {
        let mut lines = Vec::new();
        let (mut head, rest) = (String::new(), vec![b'x'; len]);
        while lines.len() < len {
            let offset = start + lines.len();
            let claimed = &rest[lines.len()..];
            match kind {
                0 => head = head_before(claimed, offset),
                1 => write_head(&mut head, KEY ^ 1, claimed, 1, offset as u64),
                2 => write_head(&mut head, KEY, claimed, 1, offset as u64 ^ 1),
                3 => head = head_before(&rest, offset),
                _ => head = MARK.to_owned(),
            }
            lines.extend_from_slice(head.as_bytes());
        }
        lines
    }

    #[test]
    fn false_heads_in_a_damaged_record_cost_no_look_at_what_is_behind_them() {
        const LEN: usize = 128 << 10;
        // The damaged byte of the first head.
        let damage = [None, Some(0), Some(20)];
        for (kind, damaged) in (0..5).flat_map(|kind| damage.map(|damaged| (kind, damaged))) {
            let mut segment = Segment::default();
            segment.add(KEY, b"first f=1 1\n");
            let start = segment.0.len();
            // The false heads begin after the head of the record that contains them.
            let mut head = String::new();
            write_head(&mut head, KEY, &false_heads(kind, start, LEN), 1, start as u64);
            let lines = false_heads(kind, start + head.len(), LEN);
            segment.add(KEY, &lines);
            *segment.0.last_mut().unwrap() ^= 1;
            if let Some(at) = damaged {
                segment.0[at] ^= 1;
            }
            segment.add(KEY, b"last f=1 1\n");
            let expected = [b"first f=1 1\n".to_vec(), b"last f=1 1\n".to_vec()];

            HASHED.set(0);
            assert_eq!(segment.read(), expected[usize::from(damaged.is_some())..], "{kind} {damaged:?}");
            let hashed = HASHED.get();
            // If the first head does not show which key is valid, heads with another key are checked, too.
            if kind != 1 || damaged.is_none() {
                assert!(hashed <= segment.0.len(), "{kind} {damaged:?}: {hashed} bytes of {}", segment.0.len());
            }
        }
    }

    /// Counts what is read.
    struct Counted<'a>(&'a [u8], usize);

    impl Read for Counted<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 += 1;
            self.0.read(buffer)
        }
    }

    #[test]
    fn memory_is_bounded_by_the_largest_record_and_the_end_is_seen_once() {
        const SIZE: usize = RecordReader::<&[u8]>::READ_SIZE;
        let mut segment = Segment::default();
        segment.add(KEY, b"first f=1 1\n");
        let mut head = String::new();
        for _ in 0..200_000 {
            // A head with the right key that claims too many bytes, and is for another offset.
            write_head(&mut head, KEY, &[b'x'; 2000], 1, 7);
            segment.0.extend_from_slice(head.replace(" 2000 ", " 999999999 ").as_bytes());
        }
        // A record without its end, which contains another record without its end.
        let torn = segment.0.len();
        segment.add(KEY, &vec![b'y'; SIZE]);
        segment.add(KEY, &vec![b'z'; SIZE]);
        segment.0.truncate(torn + 2 * SIZE);
        let mut reader = RecordReader::new(Counted(&segment.0, 0), 0);
        let mut lines = Vec::new();
        for expected in [Some(12), Some(SIZE), None] {
            let found = reader.next(&mut lines).unwrap().map(|_| lines.len());
            assert_eq!(found, expected);
        }
        assert_eq!(reader.offset(), segment.0.len() as u64);
        assert!(reader.buffer.capacity() <= 8 * SIZE, "{}", reader.buffer.capacity());
        let reads = reader.segment.1;
        assert!(reads <= 8 * segment.0.len() / SIZE + 64, "{reads} reads");
    }

    #[test]
    fn segments_of_the_version_before_are_read_even_where_their_start_is_damaged() {
        let records = [b"a f=1 1\n", b"b f=2 2\n", b"c f=3 3\n"].map(|lines| lines.to_vec());
        let mut segment = Segment::default();
        for lines in &records {
            segment.add_before(lines);
        }
        assert_eq!(segment.read(), records);
        // Any byte of the first head or the first lines.
        for at in 0..head_before(&records[0], 0).len() + records[0].len() {
            for byte in [b' ', b'\n', b'#', b'/', 0, segment.0[at] ^ 1] {
                let mut damaged = Segment(segment.0.clone());
                damaged.0[at] = byte;
                let found = damaged.read();
                assert!(found == records[1..] || damaged.0 == segment.0, "{byte:?} at {at}: {found:?}");
            }
        }
    }

    #[test]
    fn what_looks_like_a_record_of_the_version_before_is_none_while_the_mark_of_the_first_head_is_whole() {
        let mut segment = Segment::default();
        segment.add(KEY, &[b'x'; 200]);
        let inner = segment.0.len() - 150;
        let hidden = head_before(b"hidden f=1 1\n", inner) + "hidden f=1 1\n";
        segment.0[inner..inner + hidden.len()].copy_from_slice(hidden.as_bytes());
        segment.add(KEY, b"last f=1 1\n");
        for at in 0..segment.0.len() - 200 {
            for byte in [b' ', b'\n', b'#', b'/', 0, segment.0[at] ^ 1] {
                let mut damaged = Segment(segment.0.clone());
                damaged.0[at] = byte;
                let found = damaged.read();
                let others = found.iter().filter(|lines| at >= OURS.len() || !lines.starts_with(b"hidden"));
                assert_eq!(others.collect::<Vec<_>>(), [b"last f=1 1\n"], "{byte:?} at {at}");
            }
        }
    }

    #[test]
    fn heads_of_the_version_before_that_claim_more_than_there_is_have_its_end_looked_for_once() {
        let mut segment = Segment::default();
        segment.add_before(b"first f=1 1\n");
        for _ in 0..10_000 {
            segment.0.extend_from_slice(head_before(b"", 0).replace(" 0 ", " 999999999 ").as_bytes());
        }
        segment.add_before(b"last f=1 1\n");
        let mut reader = RecordReader::new(Counted(&segment.0, 0), 0);
        let mut lines = Vec::new();
        while reader.next(&mut lines).unwrap().is_some() {}
        assert_eq!(lines, b"last f=1 1\n");
        assert!(reader.segment.1 < 100, "{} reads", reader.segment.1);
    }
}
