//! The journal: a folder with all that went out lately, so that what Telegraf loses when it dies goes out again.
//!
//! It is a row of numbered files, the segments. A segment is line protocol, and can be written to InfluxDB as it is. It
//! consists of records ([`super::record`]): the lines that one read from stdin gave, behind a comment with their checksum,
//! length and number:
//!
//! ```text
//! # journal 1a2b3c4d5e6f7081 230 2
//! algorithmia,algorithm_name=... 1613780514867231593
//! algorithmia,algorithm_name=... 1613780515000000217
//! ```
//!
//! A process never appends to a segment of an earlier one, which may be torn at its end. What is damaged is skipped up to
//! the next record that is whole.
//!
//! The same files hold what has not gone out yet, because Telegraf has no room for it: the cursor says from where on.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, IoSlice, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use super::flow::without_gauges;
use super::handover::{Handover, Note};
use super::record::{RecordReader, write_head};
use super::{Patience, log};
use crate::platform;

/// What is kept, and where.
#[derive(Clone, Debug)]
pub struct Settings {
    pub folder: PathBuf,
    /// Lines are kept for this long after they went out, ...
    pub window: Duration,
    /// ... but for those that would make the folder larger than this many bytes.
    pub size: u64,
    /// Wait for the disk before lines go out.
    pub sync: bool,
}

/// A segment is closed when it holds this share of all that the journal may, in bytes or in time: what is deleted is
/// always a whole segment.
const SHARE: u32 = 16;

pub struct Journal {
    settings: Settings,
    patience: Patience,
    /// None as long as the folder cannot be used.
    lock: Option<File>,
    /// In the order of their numbers. Those from an earlier life, too.
    segments: VecDeque<Segment>,
    /// The last segment, if it can still be appended to.
    active: Option<Active>,
    next_number: u64,
    /// Segments with a number below this one are from an earlier life.
    first_own: u64,
    /// Where the lines begin that have not gone out; None where all have.
    cursor: Option<Cursor>,
    /// The segment of the lines that went out last, or are about to.
    latest: u64,
    retry_at: Option<Instant>,
    written: u64,
    head: String,
}

struct Segment {
    number: u64,
    bytes: u64,
    /// When the last of its lines went out, and how many lines this process had put out then.
    emitted: Option<(Instant, u64)>,
}

struct Active {
    file: File,
    since: Instant,
}

struct Cursor {
    segment: u64,
    offset: u64,
    reader: Option<SegmentReader>,
}

impl Journal {
    /// Opens the folder, and makes it if need be. All that it holds is waiting to go out again. Where it cannot be used, that is
    /// logged, and the journal is one that takes nothing until it can.
    ///
    /// # Errors
    /// Where another process uses the folder and keeps it. As a child of Telegraf, waits for it instead, until Telegraf ends.
    pub fn open(settings: Settings, patience: Patience) -> Result<Self> {
        let mut journal = Journal {
            settings,
            patience,
            lock: None,
            segments: VecDeque::new(),
            active: None,
            next_number: 1,
            first_own: 1,
            cursor: None,
            latest: 0,
            retry_at: None,
            written: 0,
            head: String::new(),
        };
        let started = Instant::now();
        let mut told: Option<Instant> = None;
        while let Some(holder) = journal.use_folder() {
            if started.elapsed() >= patience.lock {
                let error = anyhow!(
                    "the journal {folder} is in use by the process {holder}: give each telegraf-algorithmia a folder of \
                     its own",
                    folder = journal.settings.folder.display(),
                );
                if !platform::has_only_pipes() {
                    return Err(error);
                }
                // To end would be to lose what Telegraf hands over, and to read on, what it then loses.
                if told.is_none_or(|told| told.elapsed() >= patience.lock_reminder) {
                    log::write('E', format_args!("{error:#}; until then, messages wait in Kafka"));
                    told = Some(Instant::now());
                }
                if platform::has_hung_up(io::stdin())? {
                    journal.fail(&error);
                    break;
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(journal)
    }

    /// The file for what is left to a worker that takes our place, and what was left to us. None where the folder cannot be used.
    pub fn handover(&self, restarted: bool) -> Option<(Handover, Option<Note>)> {
        self.lock.as_ref()?;
        let path = self.settings.folder.join("handover");
        let file = private().read(true).create(true).open(&path);
        file.and_then(|file| Handover::new(file, &path, restarted))
            .inspect_err(|error| log::write('W', format_args!("cannot use {}: {error}", path.display())))
            .ok()
    }

    /// Tries to open the folder; who has it where another process does.
    fn use_folder(&mut self) -> Option<String> {
        match self.lock_folder() {
            Ok(Err(holder)) => return Some(holder),
            Ok(Ok(lock)) => match segments(&self.settings.folder) {
                Ok(found) => {
                    self.lock = Some(lock);
                    // A process was killed, or the power cut, before anything was in them.
                    let (empty, found): (Vec<_>, Vec<_>) = found.into_iter().partition(|(_, bytes)| *bytes == 0);
                    for (number, _) in empty {
                        let _ = std::fs::remove_file(segment_path(&self.settings.folder, number));
                    }
                    self.next_number = found.last().map_or(1, |(number, _)| number + 1);
                    self.first_own = self.next_number;
                    self.cursor = found.first().map(|(number, _)| Cursor { segment: *number, offset: 0, reader: None });
                    self.segments =
                        found.into_iter().map(|(number, bytes)| Segment { number, bytes, emitted: None }).collect();
                }
                Err(error) => self.fail(&error),
            },
            Err(error) => self.fail(&error),
        }
        None
    }

    fn lock_folder(&self) -> Result<Result<File, String>> {
        let folder = &self.settings.folder;
        platform::private_folder(DirBuilder::new().recursive(true))
            .create(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let path = folder.join("lock");
        let cannot_open = || format!("cannot open {}", path.display());
        let mut lock = private().read(true).create(true).open(&path).with_context(cannot_open)?;
        match lock.try_lock() {
            Ok(()) => {
                lock.set_len(0)?;
                write!(lock, "{}", std::process::id())?;
                Ok(Ok(lock))
            }
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                lock.read_to_string(&mut holder)?;
                Ok(Err(holder))
            }
            Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
        }
    }

    /// The journal cannot be written: says so, and leaves it alone for a while.
    fn fail(&mut self, error: &anyhow::Error) {
        let again = self.patience.retry.as_secs_f64();
        log::write(
            'E',
            format_args!(
                "no journal, so a kill now loses what is under way: {error:#}; check the folder's owner and the room on \
                 its disk; it is tried again after {again} s"
            ),
        );
        self.active = None;
        self.retry_at = Some(Instant::now() + self.patience.retry);
        if !self.settings.folder.join("lock").exists() {
            // Somebody has deleted the folder. The next try makes another one.
            (self.lock, self.cursor) = (None, None);
            self.segments.clear();
        }
    }

    /// Appends lines to the journal, and says whether they are in it now. They wait for [`Journal::next`], unless they
    /// are about to go out: then nothing may be waiting.
    pub fn append(&mut self, lines: &[u8], count: u64, waits: bool) -> bool {
        let is_again = self.retry_at.is_some();
        if let Some(retry_at) = self.retry_at {
            if Instant::now() < retry_at {
                return false;
            }
            self.retry_at = None;
            if self.lock.is_none() {
                if let Some(holder) = self.use_folder() {
                    self.fail(&anyhow::anyhow!("the process {holder} has come to use the folder"));
                }
                if self.retry_at.is_some() {
                    return false;
                }
            }
        }
        let waited = self.waits();
        match self.write(lines, count) {
            Ok((segment, offset, bytes)) => {
                if is_again {
                    log::write('I', "the journal is written again");
                }
                if !waited {
                    self.cursor = waits.then_some(Cursor { segment, offset, reader: None });
                }
                if !self.waits() {
                    self.latest = segment;
                }
                self.written += bytes;
                true
            }
            Err(error) => {
                self.fail(&error);
                false
            }
        }
    }

    /// Writes a record; the segment it is in, where it begins there, and its length.
    fn write(&mut self, lines: &[u8], count: u64) -> Result<(u64, u64, u64)> {
        let settings = &self.settings;
        let full = |active: &Active, bytes: u64| {
            bytes >= settings.size / u64::from(SHARE) || active.since.elapsed() >= settings.window / SHARE
        };
        let bytes = self.segments.back().map_or(0, |segment| segment.bytes);
        if self.active.as_ref().is_none_or(|active| full(active, bytes)) {
            self.active = None;
            let path = segment_path(&settings.folder, self.next_number);
            let open = private().create_new(true).open(&path);
            let file = open.with_context(|| format!("cannot make {}", path.display()))?;
            self.active = Some(Active { file, since: Instant::now() });
            self.segments.push_back(Segment { number: self.next_number, bytes: 0, emitted: None });
            self.next_number += 1;
        }
        let (Some(active), Some(segment)) = (&mut self.active, self.segments.back_mut()) else {
            bail!("there is no segment to write to");
        };
        write_head(&mut self.head, lines, count, segment.bytes);
        let written = write_both(&mut active.file, self.head.as_bytes(), lines);
        let written = written.and_then(|()| if settings.sync { sync(settings, &active.file, segment) } else { Ok(()) });
        if let Err(error) = written {
            let path = segment_path(&settings.folder, segment.number);
            // What is torn would be skipped, but a full disk is glad of the room.
            if segment.bytes > 0 {
                let _ = active.file.set_len(segment.bytes);
            } else {
                let _ = std::fs::remove_file(&path);
                self.segments.pop_back();
            }
            return Err(error).with_context(|| format!("cannot write {}", path.display()));
        }
        let offset = segment.bytes;
        let bytes = (self.head.len() + lines.len()) as u64;
        segment.bytes += bytes;
        Ok((segment.number, offset, bytes))
    }

    /// How many bytes wait to go out.
    pub fn waiting(&self) -> u64 {
        let Some(cursor) = &self.cursor else { return 0 };
        let behind = |segment: &Segment| match segment.number.cmp(&cursor.segment) {
            Ordering::Less => 0,
            Ordering::Equal => segment.bytes.saturating_sub(cursor.offset),
            Ordering::Greater => segment.bytes,
        };
        self.segments.iter().map(behind).sum()
    }

    /// Whether lines wait to go out, or it has to be seen that none does.
    pub fn waits(&self) -> bool {
        let (Some(cursor), Some(last)) = (&self.cursor, self.segments.back()) else { return false };
        (cursor.segment, cursor.offset) < (last.number, last.bytes)
    }

    /// How long until something may have to be deleted. None where there is nothing.
    pub fn due(&self) -> Option<Duration> {
        (!self.segments.is_empty()).then(|| self.settings.window / SHARE)
    }

    /// Whether the lines that [`Journal::next`] gave last are from an earlier life.
    pub fn is_earlier(&self) -> bool {
        self.cursor.as_ref().is_some_and(|cursor| cursor.segment < self.first_own)
    }

    /// How many bytes this process has written.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// How many bytes the journal takes.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Replaces `lines` by those of the first record that waits; how many they are. None where none waits any more.
    pub fn next(&mut self, lines: &mut Vec<u8>) -> Option<u64> {
        loop {
            let cursor = self.cursor.as_mut()?;
            let path = segment_path(&self.settings.folder, cursor.segment);
            let record = match &mut cursor.reader {
                Some(reader) => reader.next(lines),
                None => SegmentReader::open(&path, cursor.offset)
                    .and_then(|reader| cursor.reader.insert(reader).next(lines)),
            };
            cursor.offset = cursor.reader.as_ref().map_or(cursor.offset, |reader| reader.records.offset());
            self.latest = cursor.segment;
            match record {
                Ok(Some(count)) => return Some(count),
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    log::write('E', format_args!("{} is gone, and what it held", path.display()));
                }
                Err(error) => {
                    // It may be whole, and readable for somebody else; so it is not to be deleted with the others.
                    let aside = path.with_extension("unread");
                    let _ = std::fs::rename(&path, &aside);
                    let (path, aside) = (path.display(), aside.display());
                    log::write(
                        'E',
                        format_args!(
                            "cannot read {path}: {error}; it is kept as {aside}: give it its name again when it can be read"
                        ),
                    );
                }
            }
            // On to the next segment; this one has nothing that would have to go out.
            let done = cursor.segment;
            if let Some(segment) = self.segments.iter_mut().find(|segment| segment.number == done) {
                segment.emitted.get_or_insert((Instant::now(), 0));
            }
            let next = self.segments.iter().find(|segment| segment.number > done);
            self.cursor = next.map(|next| Cursor { segment: next.number, offset: 0, reader: None });
        }
    }

    /// Takes notice that the lines last appended, or last given by [`Journal::next`], have gone out; with them, this process
    /// has put out `total` lines.
    pub fn emitted(&mut self, total: u64) {
        let segment = self.segments.iter_mut().rfind(|segment| segment.number == self.latest);
        if let Some(segment) = segment {
            segment.emitted = Some((Instant::now(), total));
        }
    }

    /// Deletes what is not needed any more: what is too old or too much, and not in Telegraf's buffer. `stored` says how many of
    /// the lines that this process has put out are known to have left that; without it, nothing is known to be there.
    pub fn tidy(&mut self, stored: Option<u64>) {
        let mut bytes = self.bytes();
        while let Some(first) = self.segments.front() {
            let out = !self.waits() || self.cursor.as_ref().is_some_and(|cursor| first.number < cursor.segment);
            let (Some((when, lines)), true) = (first.emitted, out) else { break };
            let is_stored = stored.is_none_or(|stored| lines <= stored);
            let is_old = when.elapsed() > self.settings.window;
            let is_last = self.segments.len() == 1;
            if !is_stored || !is_old && (bytes <= self.settings.size || is_last) {
                break;
            }
            if is_last {
                self.active = None;
            }
            let path = segment_path(&self.settings.folder, first.number);
            if let Err(error) = std::fs::remove_file(&path)
                && error.kind() != io::ErrorKind::NotFound
            {
                log::write('W', format_args!("cannot delete {}: {error}", path.display()));
            }
            bytes -= first.bytes;
            self.segments.pop_front();
        }
    }
}

/// Writes all lines of the journal in `folder` to `out`, oldest first, but for the gauges, which say how full a buffer was then.
pub fn replay(folder: &Path, out: &mut dyn Write) -> Result<()> {
    let found = segments(folder)?;
    if found.is_empty() {
        log::write('W', format_args!("there is no journal in {}, or nothing in it", folder.display()));
    }
    let mut lines = Vec::new();
    for (number, _) in found {
        let path = segment_path(folder, number);
        let read = SegmentReader::open(&path, 0).and_then(|mut reader| {
            while reader.next(&mut lines)?.is_some() {
                out.write_all(&without_gauges(&lines))?;
            }
            Ok(())
        });
        match read {
            // A process that writes the journal may just have deleted it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            read => read.with_context(|| format!("cannot copy {}", path.display()))?,
        }
    }
    out.flush().context("cannot write to stdout")
}

/// The segments' numbers and sizes.
fn segments(folder: &Path) -> Result<Vec<(u64, u64)>> {
    let cannot_read = || format!("cannot read the folder {}", folder.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(cannot_read)? {
        let entry = entry.with_context(cannot_read)?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".lp")).filter(|number| number.len() == 20);
        if let Some(number) = number.and_then(|number| number.parse().ok()) {
            found.push((number, entry.metadata().with_context(cannot_read)?.len()));
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn segment_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:020}.lp"))
}

/// Files for their owner alone: payloads may hold what others should not read.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    platform::private_file(options.write(true));
    options
}

/// Reads the records of one segment, and logs what is damaged.
struct SegmentReader {
    records: RecordReader<File>,
    path: PathBuf,
}

impl SegmentReader {
    fn open(path: &Path, offset: u64) -> io::Result<Self> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(SegmentReader { records: RecordReader::new(file, offset), path: path.to_owned() })
    }

    /// See [`RecordReader::next`].
    fn next(&mut self, lines: &mut Vec<u8>) -> io::Result<Option<u64>> {
        let count = self.records.next(lines)?;
        let skipped = self.records.take_skipped();
        if skipped > 0 {
            log::write('W', format_args!("skipped {skipped} bytes of {} that are damaged", self.path.display()));
        }
        Ok(count)
    }
}

/// Waits until what was appended to the segment is on the disk.
fn sync(settings: &Settings, file: &File, segment: &Segment) -> io::Result<()> {
    if segment.bytes == 0 {
        // A new file is in its folder only when the folder is on the disk.
        File::open(&settings.folder)?.sync_all()?;
    }
    file.sync_data()
}

fn write_both(file: &mut File, head: &[u8], lines: &[u8]) -> io::Result<()> {
    let written = file.write_vectored(&[IoSlice::new(head), IoSlice::new(lines)])?;
    if written < head.len() {
        file.write_all(&head[written..])?;
    }
    file.write_all(&lines[written.saturating_sub(head.len())..])
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    fn settings(folder: &TempDir, window: Duration, size: u64) -> Settings {
        Settings { folder: folder.path().join("journal"), window, size, sync: false }
    }

    fn open(folder: &TempDir) -> Journal {
        open_with(settings(folder, LONG, 1 << 20))
    }

    fn open_with(settings: Settings) -> Journal {
        Journal::open(settings, Patience::default()).unwrap()
    }

    fn all(journal: &mut Journal) -> Vec<(String, u64)> {
        let mut lines = Vec::new();
        let mut next = || journal.next(&mut lines).map(|count| (String::from_utf8(lines.clone()).unwrap(), count));
        std::iter::from_fn(&mut next).collect()
    }

    fn files(journal: &Journal) -> Vec<PathBuf> {
        let folder = &journal.settings.folder;
        segments(folder).unwrap().into_iter().map(|(number, _)| segment_path(folder, number)).collect()
    }

    /// Records with all that a line may hold, even what looks like the start of a record.
    fn records() -> Vec<(String, u64)> {
        let mut head = String::new();
        write_head(&mut head, b"m=1\"", 1, 0);
        let looks_like = format!("m s=\"\n{head}m=1\" 2\n");
        ["a f=1 1\nb f=2 2\n", "c f=\"line\nbreak\" 3\n", looks_like.as_str(), "d f=4 4\n"]
            .map(|lines| (lines.to_owned(), length(lines)))
            .to_vec()
    }

    fn length(lines: &str) -> u64 {
        if lines.starts_with("a ") { 2 } else { 1 }
    }

    fn fill(journal: &mut Journal, records: &[(String, u64)]) {
        for (lines, count) in records {
            assert!(journal.append(lines.as_bytes(), *count, false));
            journal.emitted(0);
        }
    }

    #[test]
    fn what_went_out_goes_out_again_in_the_next_life_and_in_the_one_after() {
        let folder = tempfile::tempdir().unwrap();
        let records = records();
        let mut first = open(&folder);
        fill(&mut first, &records[..3]);
        assert!(!first.waits());
        assert_eq!(first.next(&mut Vec::new()), None);
        drop(first);

        let mut second = open(&folder);
        assert!(second.waits());
        assert!(second.append(records[3].0.as_bytes(), 1, true), "it waits behind what is there");
        assert_eq!(second.waiting(), second.bytes());
        assert_eq!(all(&mut second), records);
        assert_eq!((second.waiting(), second.waits()), (0, false));
        drop(second);
        assert_eq!(all(&mut open(&folder)), records);
        let mut copy = Vec::new();
        replay(&folder.path().join("journal"), &mut copy).unwrap();
        assert_eq!(
            String::from_utf8(copy).unwrap(),
            records.iter().map(|(lines, _)| lines.as_str()).collect::<String>()
        );
    }

    #[test]
    fn what_waits_comes_from_the_journal_until_nothing_waits() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = open(&folder);
        assert!(journal.append(b"a f=1 1\n", 1, false));
        assert!(journal.append(b"b f=1 1\n", 1, true));
        assert!(journal.append(b"c f=1 1\n", 1, true));
        let mut lines = Vec::new();
        assert_eq!((journal.next(&mut lines), lines.as_slice()), (Some(1), &b"b f=1 1\n"[..]));
        assert!(journal.append(b"d f=1 1\n", 1, true));
        assert_eq!(all(&mut journal), [("c f=1 1\n".to_owned(), 1), ("d f=1 1\n".to_owned(), 1)]);
        assert!(journal.append(b"e f=1 1\n", 1, false));
        assert!(!journal.waits());
        assert!(journal.append(b"f f=1 1\n", 1, true));
        assert_eq!(all(&mut journal), [("f f=1 1\n".to_owned(), 1)]);
    }

    #[test]
    fn a_segment_that_is_cut_anywhere_loses_only_the_record_that_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let records = records();
        let mut journal = open(&folder);
        let mut ends = Vec::new();
        for record in &records {
            fill(&mut journal, std::slice::from_ref(record));
            ends.push(journal.bytes() as usize);
        }
        let file = files(&journal).remove(0);
        drop(journal);
        let whole = fs::read(&file).unwrap();
        for cut in 0..=whole.len() {
            fs::write(&file, &whole[..cut]).unwrap();
            let complete = ends.iter().filter(|end| **end <= cut).count();
            let mut journal = open(&folder);
            assert_eq!(all(&mut journal), records[..complete], "cut at byte {cut}");
            assert!(!journal.waits());
            assert!(journal.append(b"new f=1 1\n", 1, false), "and life goes on");
            drop(journal);
            // Its segment; one that is cut to nothing gives up its number.
            let _ = fs::remove_file(segment_path(&folder.path().join("journal"), 2));
        }
    }

    #[test]
    fn a_byte_that_is_not_what_it_was_costs_one_record() {
        let folder = tempfile::tempdir().unwrap();
        let records = records();
        let mut journal = open(&folder);
        let mut starts = Vec::new();
        for record in &records {
            starts.push(journal.bytes() as usize);
            fill(&mut journal, std::slice::from_ref(record));
        }
        let file = files(&journal).remove(0);
        drop(journal);
        let whole = fs::read(&file).unwrap();
        for at in 0..whole.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] ^= flip;
                fs::write(&file, &damaged).unwrap();
                let hit = starts.iter().filter(|start| **start <= at).count() - 1;
                let others =
                    records.iter().enumerate().filter(|(index, _)| *index != hit).map(|(_, record)| record.clone());
                let found = all(&mut open(&folder));
                // The case of a digit of the checksum says nothing.
                assert!(found == others.collect::<Vec<_>>() || found == records, "byte {at} ^ {flip}: {found:?}");
            }
        }
    }

    #[test]
    fn a_long_record_and_a_long_damage_are_read_in_parts() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = open_with(settings(&folder, LONG, 1 << 30));
        let long = "x".repeat(3 * RecordReader::<File>::READ_SIZE);
        let records: Vec<_> = (0..3).map(|index| (format!("m{index} f=\"{long}\" 1\n"), 1)).collect();
        fill(&mut journal, &records);
        let file = files(&journal).remove(0);
        drop(journal);
        let mut text = fs::read(&file).unwrap();
        let middle = text.len() / 2;
        text[middle] ^= 1;
        fs::write(&file, text).unwrap();
        let mut journal = open(&folder);
        assert_eq!(all(&mut journal), [records[0].clone(), records[2].clone()]);
        assert!(!journal.waits());
    }

    #[test]
    fn what_is_old_goes_once_it_is_stored() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = open_with(settings(&folder, Duration::from_millis(1), 1 << 20));
        let old = |journal: &Journal| {
            let went_out = journal.segments.front().and_then(|segment| segment.emitted);
            while went_out.is_some_and(|(when, _)| when.elapsed() <= journal.settings.window) {
                std::thread::yield_now();
            }
        };
        assert!(journal.append(b"a f=1 1\n", 1, false));
        journal.emitted(7);
        old(&journal);
        journal.tidy(Some(6));
        assert_eq!(files(&journal).len(), 1, "one of the lines is in Telegraf's buffer");
        journal.tidy(Some(7));
        assert_eq!(files(&journal).len(), 0);
        assert!(journal.append(b"b f=1 1\n", 1, true));
        journal.tidy(None);
        assert_eq!(files(&journal).len(), 1, "it has not gone out");
        assert_eq!(all(&mut journal).len(), 1);
        journal.emitted(8);
        old(&journal);
        journal.tidy(None);
        assert_eq!(files(&journal).len(), 0);
        assert_eq!(journal.bytes(), 0);
    }

    #[test]
    fn what_is_too_much_goes_oldest_first_but_not_what_waits() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = open_with(settings(&folder, LONG, 16 * 100));
        let line = format!("m f=\"{}\" 1\n", "x".repeat(60));
        for waits in [false, true] {
            for _ in 0..50 {
                assert!(journal.append(line.as_bytes(), 1, waits));
                if !waits {
                    journal.emitted(1);
                }
                journal.tidy(Some(1));
                assert!(waits || journal.bytes() <= 16 * 100, "{} bytes", journal.bytes());
            }
        }
        let mut lines = Vec::new();
        let mut count = 0;
        while journal.next(&mut lines).is_some() {
            journal.emitted(2);
            count += 1;
        }
        assert_eq!(count, 50);
        journal.tidy(Some(1));
        assert!(journal.bytes() > 16 * 100, "the last ones are in Telegraf's buffer");
        journal.tidy(Some(2));
        assert!((8 * 100..=16 * 100).contains(&journal.bytes()), "{} bytes", journal.bytes());
    }

    #[test]
    fn an_empty_segment_of_an_earlier_life_is_in_nobodys_way() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = open(&folder);
        fill(&mut journal, &records());
        for number in [2, 3] {
            fs::write(segment_path(&journal.settings.folder, number), "").unwrap();
        }
        drop(journal);
        let mut journal = open_with(settings(&folder, LONG, 1));
        assert_eq!(all(&mut journal), records());
        journal.emitted(1);
        assert!(journal.append(b"a f=1 1\n", 1, false));
        journal.emitted(2);
        journal.tidy(None);
        assert_eq!(files(&journal).len(), 1);
    }

    #[test]
    fn a_folder_that_was_deleted_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = open(&folder);
        fill(&mut journal, &records());
        fs::remove_dir_all(&journal.settings.folder).unwrap();
        // Until the next segment, nobody notices.
        journal.active = None;
        assert!(!journal.append(b"a f=1 1\n", 1, false));
        journal.retry_at = Some(Instant::now());
        assert!(journal.append(b"a f=1 1\n", 1, false));
        assert_eq!(files(&journal).len(), 1);
        assert!(!journal.waits());
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_can_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let mut journal = open(&folder);
        fill(&mut journal, &records());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&journal.settings.folder), 0o700);
        assert_eq!(mode(&journal.settings.folder.join("lock")), 0o600);
        assert_eq!(mode(&files(&journal)[0]), 0o600);
    }

    #[test]
    fn a_folder_that_cannot_be_used_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let obstacle = folder.path().join("journal");
        fs::write(&obstacle, "").unwrap();
        let mut journal = open(&folder);
        assert!(!journal.append(b"a f=1 1\n", 1, false));
        assert!(!journal.append(b"a f=1 1\n", 1, true));
        assert_eq!((journal.waits(), journal.bytes()), (false, 0));
        fs::remove_file(&obstacle).unwrap();
        assert!(!journal.append(b"a f=1 1\n", 1, false), "it is not yet time");
        journal.retry_at = Some(Instant::now());
        assert!(journal.append(b"a f=1 1\n", 1, false));
        assert_eq!(files(&journal).len(), 1);
    }
}
