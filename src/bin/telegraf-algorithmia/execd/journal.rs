//! The journal: a folder with all that went out lately, so that what Telegraf loses when it dies goes out again.
//!
//! It is a row of numbered files, the segments. A segment is line protocol, and can be written to InfluxDB as it is. It
//! consists of records ([`super::record`]): the lines that one read from stdin gave, or a part of them, behind a comment with the
//! process's key, their checksum, length and number, and a check of the comment itself:
//!
//! ```text
//! # journal/2 9c0ffee1 1a2b3c4d5e6f7081 230 2 5d6e7f80
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
use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use super::flow::without_gauges;
use super::folder::{self, Folder, Holder, Listing};
use super::handover::{Handover, Note};
use super::record::{RecordReader, new_key, write_head};
use super::{Patience, Worker, log};
use crate::platform::{self, Call, call, part};

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

/// A segment that an error of the disk keeps from being read is tried so many times. Lines that come after it wait meanwhile.
const TRIES: u32 = 6;

pub struct Journal {
    settings: Settings,
    patience: Patience,
    /// None as long as the folder could not be used.
    folder: Option<Folder>,
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
    /// When to try again to read what waits, and how often that has failed.
    reread: Option<(Instant, u32)>,
    written: u64,
    key: u32,
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
            folder: None,
            segments: VecDeque::new(),
            active: None,
            next_number: 1,
            first_own: 1,
            cursor: None,
            latest: 0,
            retry_at: None,
            reread: None,
            written: 0,
            key: new_key(),
            head: String::new(),
        };
        let started = Instant::now();
        let mut told: Option<Instant> = None;
        loop {
            let holder = match journal.use_folder() {
                Ok(None) => break,
                Ok(Some(holder)) => holder,
                Err(error) => {
                    journal.fail(&error);
                    break;
                }
            };
            if started.elapsed() >= patience.lock {
                let error = anyhow!(
                    "the journal {folder} is in use by {holder}: give each telegraf-algorithmia a folder of \
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

    /// The file for what is left to a worker that takes our place, and what was left to us by one of the same supervisor. None where
    /// the folder cannot be used.
    pub fn handover(&self, worker: Worker) -> Option<(Handover, Option<Note>)> {
        let folder = self.folder.as_ref().filter(|folder| folder.has_lock())?;
        let path = folder.path().join(folder::HANDOVER);
        let opened = folder.handover().and_then(|file| Handover::new(file, &path, worker));
        opened.inspect_err(|error| log::write('W', format_args!("cannot use {}: {error}", path.display()))).ok()
    }

    /// Takes the folder, and all that is in it to go out; who has it where another process does.
    fn use_folder(&mut self) -> Result<Option<Holder>> {
        let folder = match Folder::take(&self.settings.folder)? {
            Ok(folder) => folder,
            Err(holder) => return Ok(Some(holder)),
        };
        // A process was killed, or the power cut, before anything was in them.
        let Listing { segments, last } = folder.list()?;
        let (empty, found): (Vec<_>, Vec<_>) = segments.into_iter().partition(|(_, bytes)| *bytes == 0);
        for (number, _) in empty {
            let _ = folder.remove(number);
        }
        self.next_number = last.saturating_add(1);
        self.first_own = self.next_number;
        self.cursor = found.first().map(|(number, _)| Cursor { segment: *number, offset: 0, reader: None });
        self.segments = found.into_iter().map(|(number, bytes)| Segment { number, bytes, emitted: None }).collect();
        (self.folder, self.reread) = (Some(folder), None);
        Ok(None)
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
    }

    /// Appends lines to the journal, and says whether they are in it now. They wait for [`Journal::next`], unless they
    /// are about to go out: then nothing may be waiting.
    pub fn append(&mut self, lines: &[u8], count: u64, waits: bool) -> bool {
        if self.retry_at.is_some_and(|retry_at| Instant::now() < retry_at) {
            return false;
        }
        let is_again = self.retry_at.take().is_some();
        if let Err(error) = self.close_full_segment() {
            self.fail(&error);
            return false;
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

    /// Where the next record takes a new segment, sees to it that the folder is ours.
    fn close_full_segment(&mut self) -> Result<()> {
        let bytes = self.segments.back().map_or(0, |segment| segment.bytes);
        let Settings { size, window, .. } = self.settings;
        let has_room = |active: &Active| bytes < size / u64::from(SHARE) && active.since.elapsed() < window / SHARE;
        if self.active.as_ref().is_some_and(has_room) {
            return Ok(());
        }
        self.active = None;
        let is_ours = self.folder.as_mut().map(Folder::is_ours).transpose()?.unwrap_or(false);
        if !is_ours && let Some(holder) = self.use_folder()? {
            bail!("{holder} has come to use the folder");
        }
        Ok(())
    }

    /// Writes a record; the segment it is in, where it begins there, and its length.
    fn write(&mut self, lines: &[u8], count: u64) -> Result<(u64, u64, u64)> {
        let Some(folder) = &self.folder else { bail!("there is no folder to write to") };
        while self.active.is_none() {
            let number = self.next_number;
            self.next_number = number.checked_add(1).context("no number is left for another segment")?;
            match folder.make(number) {
                Ok(file) => {
                    self.active = Some(Active { file, since: Instant::now() });
                    self.segments.push_back(Segment { number, bytes: 0, emitted: None });
                }
                // An older version, or somebody, has put something there.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot make {}", folder.path_of(number).display()));
                }
            }
        }
        let (Some(active), Some(segment)) = (&mut self.active, self.segments.back_mut()) else {
            bail!("there is no segment to write to");
        };
        write_head(&mut self.head, self.key, lines, count, segment.bytes);
        let written = write_both(&mut active.file, self.head.as_bytes(), lines);
        let is_new = segment.bytes == 0;
        let written =
            written.and_then(|()| if self.settings.sync { sync(folder, &active.file, is_new) } else { Ok(()) });
        if let Err(error) = written {
            let number = segment.number;
            // What is torn would be skipped, but a full disk is glad of the room.
            if is_new {
                let _ = folder.remove(number);
                self.segments.pop_back();
            } else {
                let _ = call(Call::Truncate, || active.file.set_len(segment.bytes));
            }
            return Err(error).with_context(|| format!("cannot write {}", folder.path_of(number).display()));
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

    /// How long until something may have to be deleted, or to be read again. None where there is nothing.
    pub fn due(&self) -> Option<Duration> {
        let reread = self.reread.map(|(when, _)| when.saturating_duration_since(Instant::now()));
        let tidy = (!self.segments.is_empty()).then(|| self.settings.window / SHARE);
        reread.into_iter().chain(tidy).min()
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

    /// Replaces `lines` by those of the first record that waits; how many they are. None where none waits any more, or it cannot
    /// be read for now.
    pub fn next(&mut self, lines: &mut Vec<u8>) -> Option<u64> {
        if self.reread.is_some_and(|(when, _)| Instant::now() < when) {
            return None;
        }
        loop {
            let (folder, cursor) = (self.folder.as_ref()?, self.cursor.as_mut()?);
            let record = match &mut cursor.reader {
                Some(reader) => reader.next(lines),
                None => SegmentReader::open(folder, cursor.segment, cursor.offset)
                    .and_then(|reader| cursor.reader.insert(reader).next(lines)),
            };
            cursor.offset = cursor.reader.as_ref().map_or(cursor.offset, |reader| reader.records.offset());
            self.latest = cursor.segment;
            let done = cursor.segment;
            match record {
                Ok(Some(count)) => {
                    self.reread = None;
                    return Some(count);
                }
                // This one has nothing that would have to go out.
                Ok(None) => {
                    if let Some(segment) = self.segments.iter_mut().find(|segment| segment.number == done) {
                        segment.emitted.get_or_insert((Instant::now(), 0));
                    }
                }
                Err(error) => {
                    if !self.give_up(&error) {
                        return None;
                    }
                    // What is appended to it would not be found again.
                    if self.segments.back().is_some_and(|last| last.number == done) {
                        self.active = None;
                    }
                    self.segments.retain(|segment| segment.number != done);
                }
            }
            self.reread = None;
            let next = self.segments.iter().find(|segment| segment.number > done);
            self.cursor = next.map(|next| Cursor { segment: next.number, offset: 0, reader: None });
        }
    }

    /// What becomes of the segment at the cursor, which cannot be read: whether to go on without it, for as long as this process
    /// lives. It may be whole, and readable for somebody else; so it is not to be deleted with the others.
    fn give_up(&mut self, error: &io::Error) -> bool {
        let (Some(folder), Some(cursor)) = (&self.folder, &mut self.cursor) else { return true };
        let path = folder.path_of(cursor.segment);
        let path = path.display();
        if error.kind() == io::ErrorKind::NotFound {
            log::write('E', format_args!("{path} is gone, and what it held"));
            return true;
        }
        let tries = self.reread.map_or(0, |(_, tries)| tries) + 1;
        if platform::is_shortage(error) || platform::is_of_disk(error) && tries < TRIES {
            cursor.reader = None;
            self.reread = Some((Instant::now() + self.patience.retry, tries));
            let again = self.patience.retry.as_secs_f64();
            log::write(
                'E',
                format_args!("cannot read {path}: {error}; lines wait, and it is tried again after {again} s"),
            );
            return false;
        }
        match folder.set_aside(cursor.segment) {
            Ok(aside) => log::write(
                'E',
                format_args!(
                    "cannot read {path}: {error}; it is kept as {}: give it its name again when it can be read",
                    aside.display()
                ),
            ),
            Err(_) => log::write('E', format_args!("cannot read {path}: {error}; it is tried again at the next start")),
        }
        true
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
        // Another process decides about what is in a folder that is its own.
        let Some(folder) = self.folder.as_ref().filter(|folder| folder.has_lock()) else { return };
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
            if let Err(error) = folder.remove(first.number)
                && error.kind() != io::ErrorKind::NotFound
            {
                log::write('W', format_args!("cannot delete {}: {error}", folder.path_of(first.number).display()));
            }
            bytes -= first.bytes;
            self.segments.pop_front();
        }
    }
}

/// Writes all lines of the journal in `folder` to `out`, oldest first, but for the gauges, which say how full a buffer was then.
pub fn replay(folder: &Path, out: &mut dyn Write) -> Result<()> {
    let folder = Folder::to_copy(folder)?;
    let found = folder.list()?.segments;
    if found.is_empty() {
        log::write('W', format_args!("there is no journal in {}, or nothing in it", folder.path().display()));
    }
    let mut lines = Vec::new();
    for (number, _) in found {
        let read = SegmentReader::open(&folder, number, 0).and_then(|mut reader| {
            while reader.next(&mut lines)?.is_some() {
                out.write_all(&without_gauges(&lines))?;
            }
            Ok(())
        });
        match read {
            // A process that writes the journal may just have deleted it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            read => read.with_context(|| format!("cannot copy {}", folder.path_of(number).display()))?,
        }
    }
    out.flush().context("cannot write to stdout")
}

/// Reads the records of one segment, and logs what is damaged.
struct SegmentReader {
    records: RecordReader<folder::Segment>,
    path: PathBuf,
}

impl SegmentReader {
    fn open(folder: &Folder, number: u64, offset: u64) -> io::Result<Self> {
        let segment = folder.read(number, offset)?;
        Ok(SegmentReader { records: RecordReader::new(segment, offset), path: folder.path_of(number) })
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

/// Waits until what was appended to a segment is on the disk.
fn sync(folder: &Folder, file: &File, is_new: bool) -> io::Result<()> {
    if is_new {
        // A new file is in its folder only when the folder is on the disk.
        folder.sync()?;
    }
    call(Call::Sync, || file.sync_data())
}

fn write_both(file: &mut File, mut head: &[u8], mut lines: &[u8]) -> io::Result<()> {
    while head.len() + lines.len() > 0 {
        let most = part(head.len() + lines.len());
        let first = &head[..most.min(head.len())];
        let parts = [IoSlice::new(first), IoSlice::new(&lines[..most - first.len()])];
        let len = call(Call::Write, || file.write_vectored(&parts))?;
        if len == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let of_head = len.min(head.len());
        (head, lines) = (&head[of_head..], &lines[len - of_head..]);
    }
    Ok(())
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

    fn segment_path(folder: &Path, number: u64) -> PathBuf {
        folder.join(format!("{number:020}.lp"))
    }

    fn files(journal: &Journal) -> Vec<PathBuf> {
        let entries = fs::read_dir(&journal.settings.folder).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|end| end == "lp")).collect();
        files.sort_unstable();
        files
    }

    /// Records with all that a line may hold, even what looks like the start of a record.
    fn records() -> Vec<(String, u64)> {
        let mut head = String::new();
        write_head(&mut head, 7, b"m=1\"", 1, 0);
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
    fn what_goes_out_at_once_behind_an_earlier_life_goes_out_once() {
        let folder = tempfile::tempdir().unwrap();
        fill(&mut open(&folder), &records());
        let mut journal = open(&folder);
        for _ in records() {
            assert!(journal.next(&mut Vec::new()).is_some());
        }
        assert!(!journal.waits(), "though the end of the segment has not been seen");
        assert!(journal.append(b"a f=1 1\n", 1, false));
        assert_eq!(all(&mut journal), []);
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
                // The case of a digit of the check says nothing.
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

    /// A journal that makes a segment of each record.
    #[cfg(unix)]
    fn open_small(folder: &TempDir) -> Journal {
        open_with(settings(folder, LONG, 1))
    }

    #[cfg(unix)]
    #[test]
    fn a_lock_that_is_a_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let precious = folder.path().join("precious");
        fs::write(&precious, "kept").unwrap();
        let lock = folder.path().join("journal/lock");
        fs::create_dir(lock.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(&precious, &lock).unwrap();
        let mut journal = open(&folder);
        assert!(!journal.append(b"a f=1 1\n", 1, false));
        assert_eq!(fs::read_to_string(&precious).unwrap(), "kept");
        fs::remove_file(&lock).unwrap();
        journal.retry_at = Some(Instant::now());
        assert!(journal.append(b"a f=1 1\n", 1, false));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_is_no_regular_file_is_left_alone() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        // Another process, such as mkfifo, would hold the locks of other tests until it runs.
        let make_pipe = |path: &Path| mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        fs::create_dir(&path).unwrap();
        let elsewhere = folder.path().join("elsewhere");
        let mut head = String::new();
        write_head(&mut head, 7, b"m f=1 1\n", 1, 0);
        fs::write(&elsewhere, head + "m f=1 1\n").unwrap();
        let [pipe, link, folder_in_it] = [1, 2, 3].map(|number| segment_path(&path, number));
        make_pipe(&pipe);
        std::os::unix::fs::symlink(&elsewhere, &link).unwrap();
        fs::create_dir(&folder_in_it).unwrap();
        let mut journal = open_small(&folder);
        assert_eq!((journal.waits(), journal.bytes()), (false, 0));
        for number in 0..3 {
            assert!(journal.append(b"a f=1 1\n", 1, false), "{number}");
            journal.emitted(number);
            journal.tidy(None);
        }
        assert!([&pipe, &link, &folder_in_it].iter().all(|path| fs::symlink_metadata(path).is_ok()));
        assert_eq!(files(&journal).len(), 4);
        let mut copy = Vec::new();
        replay(&path, &mut copy).unwrap();
        assert_eq!(copy, b"a f=1 1\n");
        // One that comes in the place of a segment is not read either.
        assert!(journal.append(b"b f=1 1\n", 1, true));
        let last = files(&journal).remove(4);
        fs::remove_file(&last).unwrap();
        make_pipe(&last);
        assert_eq!(journal.next(&mut Vec::new()), None);
        assert!(!journal.waits());
        assert!(fs::symlink_metadata(last.with_extension("unread")).is_ok(), "it is not taken for one that is empty");
    }

    #[cfg(unix)]
    #[test]
    fn what_everybody_may_write_is_not_used() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let mut journal = open_small(&folder);
        fill(&mut journal, &records());
        let path = journal.settings.folder.clone();
        let file = files(&journal).remove(3);
        drop(journal);
        let set_mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        for mode in [0o777, 0o1777] {
            set_mode(&path, mode);
            let mut journal = open_small(&folder);
            assert!(!journal.append(b"a f=1 1\n", 1, false));
            assert!(replay(&path, &mut Vec::new()).is_err());
        }
        set_mode(&path, 0o2775);
        set_mode(&file, 0o666);
        assert!(replay(&path, &mut Vec::new()).is_err());
        let mut journal = open_small(&folder);
        assert_eq!(all(&mut journal), records()[..3]);
        assert!(file.with_extension("unread").exists());
        assert!(journal.append(b"a f=1 1\n", 1, false));
    }

    #[test]
    fn a_number_that_somebody_has_taken_means_another() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = open_with(settings(&folder, LONG, 1));
        for number in [1, 2, 4] {
            fs::write(segment_path(&journal.settings.folder, number), "whose?").unwrap();
        }
        for number in [3, 5] {
            assert!(journal.append(b"a f=1 1\n", 1, false));
            assert_eq!(journal.segments.back().unwrap().number, number);
        }
        drop(journal);
        fs::write(segment_path(&folder.path().join("journal"), u64::MAX), "the last one").unwrap();
        assert!(!open(&folder).append(b"a f=1 1\n", 1, false));
    }

    #[cfg(unix)]
    #[test]
    fn without_its_lock_the_folder_is_still_nobody_elses() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = open_small(&folder);
        let lock = first.settings.folder.join("lock");
        for number in 1..=3 {
            fs::remove_file(&lock).unwrap();
            let second = Folder::take(&first.settings.folder).unwrap();
            assert!(second.is_err_and(|holder| holder == "another process"));
            assert!(first.append(b"a f=1 1\n", 1, false));
            first.emitted(number);
            assert_eq!(fs::read_to_string(&lock).unwrap(), std::process::id().to_string());
        }
        let holder = Folder::take(&first.settings.folder).unwrap().err().unwrap();
        assert_eq!(holder, format!("the process {}", std::process::id()));
        assert_eq!((files(&first).len(), first.waits()), (3, false));
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_an_older_version_has_taken_is_left_to_it_until_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = open_with(settings(&folder, Duration::ZERO, 1));
        let path = journal.settings.folder.clone();
        fill(&mut journal, &[("a f=1 1\n".to_owned(), 1)]);
        assert!(journal.append(b"b f=1 1\n", 1, true));
        fs::remove_file(path.join("lock")).unwrap();
        let other = File::create_new(path.join("lock")).unwrap();
        other.try_lock().unwrap();

        assert!(!journal.append(b"c f=1 1\n", 1, true));
        assert_eq!(all(&mut journal), [("b f=1 1\n".to_owned(), 1)], "what waits goes out all the same");
        journal.emitted(2);
        journal.tidy(None);
        assert_eq!(files(&journal).len(), 2, "the other one decides what is deleted");
        drop(other);
        journal.retry_at = Some(Instant::now());
        assert!(journal.append(b"d f=1 1\n", 1, true));
        let lines = all(&mut journal).into_iter().map(|(lines, _)| lines).collect::<String>();
        assert_eq!(lines, "a f=1 1\nb f=1 1\nd f=1 1\n", "as at a start");
    }

    #[cfg(unix)]
    #[test]
    fn in_a_folder_that_has_been_moved_nothing_is_deleted_for_its_successor() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = open_with(settings(&folder, Duration::ZERO, 1));
        fill(&mut first, &[("a f=1 1\n".to_owned(), 1)]);
        let path = first.settings.folder.clone();
        fs::rename(&path, path.with_extension("old")).unwrap();
        let mut second = open_small(&folder);
        assert!(second.append(b"b f=1 1\n", 1, false));
        first.tidy(None);
        assert_eq!(files(&second).len(), 1);
        assert!(!first.append(b"c f=1 1\n", 1, false), "the second one has the folder");
        drop(second);
        first.retry_at = Some(Instant::now());
        assert!(first.append(b"d f=1 1\n", 1, true));
        let lines = all(&mut first).into_iter().map(|(lines, _)| lines).collect::<String>();
        assert_eq!(lines, "b f=1 1\nd f=1 1\n");
    }

    /// Has calls of this thread fail next, each so often, while it does something.
    #[cfg(unix)]
    fn with_faults<T>(faults: &[(Call, rustix::io::Errno, u32)], work: impl FnOnce() -> T) -> T {
        use crate::platform::faults::{Schedule, begin, end};
        let mut schedule = Schedule::new(0);
        schedule.next = faults.to_vec();
        begin(schedule, |_| {});
        let result = work();
        assert!(end().next.is_empty(), "all of them have come");
        result
    }

    #[cfg(unix)]
    #[test]
    fn a_segment_that_cannot_be_read_for_now_is_read_later() {
        use rustix::io::Errno;
        let folder = tempfile::tempdir().unwrap();
        fill(&mut open_small(&folder), &records());
        for (call, error) in [(Call::Open, Errno::MFILE), (Call::Read, Errno::NOMEM)] {
            let mut journal =
                Journal::open(settings(&folder, LONG, 1), Patience { retry: Duration::ZERO, ..Patience::default() })
                    .unwrap();
            with_faults(&[(call, error, 10 * TRIES)], || {
                for _ in 0..10 * TRIES {
                    assert_eq!((journal.next(&mut Vec::new()), journal.waits()), (None, true));
                    assert_eq!(journal.due(), Some(Duration::ZERO), "nothing else may come that would have it tried");
                }
            });
            assert_eq!(all(&mut journal), records());
        }
        // Nor is it tried again all the time.
        let mut journal = open_small(&folder);
        with_faults(&[(Call::Open, Errno::MFILE, 1)], || {
            for _ in 0..3 {
                assert_eq!(journal.next(&mut Vec::new()), None);
            }
        });
    }

    #[cfg(unix)]
    #[test]
    fn a_segment_that_the_disk_does_not_give_is_set_aside_in_the_end() {
        use rustix::io::Errno;
        let folder = tempfile::tempdir().unwrap();
        fill(&mut open_small(&folder), &records());
        let patience = Patience { retry: Duration::ZERO, ..Patience::default() };
        let mut journal = Journal::open(settings(&folder, LONG, 1), patience).unwrap();
        let first = files(&journal).remove(0);
        with_faults(&[(Call::Open, Errno::IO, TRIES)], || {
            for _ in 1..TRIES {
                assert_eq!(journal.next(&mut Vec::new()), None);
            }
            assert_eq!(all(&mut journal), records()[1..]);
        });
        assert!(first.with_extension("unread").exists());
        drop(journal);
        // Its number is not given to another one.
        for file in files(&open_small(&folder)) {
            fs::remove_file(file).unwrap();
        }
        let mut journal = open_small(&folder);
        assert!(journal.append(b"a f=1 1\n", 1, false));
        assert_eq!(files(&journal), [segment_path(&journal.settings.folder, 2)]);
    }

    #[cfg(unix)]
    #[test]
    fn a_segment_that_cannot_even_be_set_aside_is_not_deleted() {
        use rustix::io::Errno;
        let folder = tempfile::tempdir().unwrap();
        fill(&mut open_small(&folder), &records());
        let mut journal = open_with(settings(&folder, Duration::ZERO, 1));
        with_faults(&[(Call::Open, Errno::ACCESS, 1), (Call::Rename, Errno::ROFS, 1)], || {
            assert_eq!(all(&mut journal), records()[1..]);
        });
        journal.emitted(1);
        journal.tidy(None);
        drop(journal);
        assert_eq!(all(&mut open(&folder)), records()[..1]);
    }

    #[cfg(unix)]
    #[test]
    fn what_is_appended_behind_a_segment_that_was_set_aside_is_found_again() {
        use rustix::io::Errno;
        let folder = tempfile::tempdir().unwrap();
        let mut journal = open(&folder);
        assert!(journal.append(b"a f=1 1\n", 1, true));
        with_faults(&[(Call::Open, Errno::ACCESS, 1)], || assert_eq!(journal.next(&mut Vec::new()), None));
        assert!(journal.append(b"b f=1 1\n", 1, true));
        drop(journal);
        assert_eq!(all(&mut open(&folder)), [("b f=1 1\n".to_owned(), 1)]);
    }
}
