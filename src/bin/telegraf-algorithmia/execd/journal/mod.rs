//! The journal: a folder with all that went out lately, so that what Telegraf loses when it is killed is written again.
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

mod segment;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

pub use self::segment::replay;
use self::segment::{SegmentReader, append, sync};
use super::folder::{self, Folder, Holder, Listing};
use super::handover::{Handover, Note};
use super::record::{new_key, write_head};
use super::{Patience, Worker, log};
use crate::platform::{self, Call, call};

/// What the journal keeps, and where.
#[derive(Clone, Debug)]
pub struct Settings {
    pub folder: PathBuf,
    /// Lines are kept for this long after they were written to stdout, ...
    pub window: Duration,
    /// ... except lines that would make the folder larger than this many bytes.
    pub size: u64,
    /// Sync the journal to the disk before lines are written to stdout.
    pub sync: bool,
}

/// A segment is closed when it reaches the journal's limit divided by this, in bytes or in time, because only whole
/// segments are deleted.
const SHARE: u32 = 16;

/// The number of attempts to read a segment that a disk error makes unreadable. Later lines wait meanwhile.
const TRIES: u32 = 6;

pub struct Journal {
    settings: Settings,
    patience: Patience,
    /// None while the folder cannot be used.
    folder: Option<Folder>,
    /// In the order of their numbers, including those of earlier processes.
    segments: VecDeque<Segment>,
    /// The last segment, if it can still be appended to.
    active: Option<Active>,
    next_number: u64,
    /// Segments with a lower number were written by earlier processes.
    first_own: u64,
    /// The start of the lines that have not been written to stdout; None if all have.
    cursor: Option<Cursor>,
    /// The segment of the lines that were written to stdout last, or are about to be.
    latest: u64,
    retry_at: Option<Instant>,
    /// When to retry reading the waiting lines, and how often that has failed.
    reread: Option<(Instant, u32)>,
    written: u64,
    key: u32,
    head: String,
}

struct Segment {
    number: u64,
    bytes: u64,
    /// When the last of its lines was written to stdout, and how many lines this process had written by then.
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
    /// Opens the folder, and creates it if necessary. All lines in it wait to be written again. If the folder cannot be
    /// used, that is logged, and the journal takes no lines until it can be used.
    ///
    /// # Errors
    /// If another process uses the folder and keeps it. As a child of Telegraf, waits for that process instead, until
    /// Telegraf ends.
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
                // If this process exited, what Telegraf writes would be lost. If it read on without a journal, what
                // Telegraf then loses could not be recovered.
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

    /// The handover file for the worker that replaces us, and the note that the previous worker of the same supervisor
    /// left in it. None if the folder cannot be used.
    pub fn handover(&self, worker: Worker) -> Option<(Handover, Option<Note>)> {
        let folder = self.folder.as_ref().filter(|folder| folder.has_lock())?;
        let path = folder.path().join(folder::HANDOVER);
        let opened = folder.handover().and_then(|file| Handover::new(file, &path, worker));
        opened.inspect_err(|error| log::write('W', format_args!("cannot use {}: {error}", path.display()))).ok()
    }

    /// Takes the folder, and queues all its lines to be written. Returns the holder if another process has the folder.
    fn use_folder(&mut self) -> Result<Option<Holder>> {
        let folder = match Folder::take(&self.settings.folder)? {
            Ok(folder) => folder,
            Err(holder) => return Ok(Some(holder)),
        };
        // Segments are empty if a process was killed, or the power failed, before anything was written to them.
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

    /// The journal cannot be written: logs that, and pauses it until the next retry.
    fn fail(&mut self, error: &anyhow::Error) {
        let again = self.patience.retry.as_secs_f64();
        log::write(
            'E',
            format_args!(
                "no journal, so a kill now loses messages in flight: {error:#}; check the folder's owner and the room on \
                 its disk; it is tried again after {again} s"
            ),
        );
        self.active = None;
        self.retry_at = Some(Instant::now() + self.patience.retry);
    }

    /// Appends lines to the journal. Returns whether they are in it now. They wait for [`Journal::next`], unless they
    /// are about to be written to stdout; then no other lines may be waiting.
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

    /// If the next record needs a new segment, closes the current one and checks that the folder is ours.
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

    /// Writes a record. Returns its segment, its offset in the segment, and its length.
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
                // An older version, or another user, has created a file of that name.
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
        let written = append(&mut active.file, self.head.as_bytes(), lines);
        let is_new = segment.bytes == 0;
        let written =
            written.and_then(|()| if self.settings.sync { sync(folder, &active.file, is_new) } else { Ok(()) });
        if let Err(error) = written {
            let number = segment.number;
            // A reader would skip the torn record, but removing it frees room on a full disk.
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

    /// How many bytes are waiting to be written to stdout.
    pub fn waiting(&self) -> u64 {
        let Some(cursor) = &self.cursor else { return 0 };
        let behind = |segment: &Segment| match segment.number.cmp(&cursor.segment) {
            Ordering::Less => 0,
            Ordering::Equal => segment.bytes.saturating_sub(cursor.offset),
            Ordering::Greater => segment.bytes,
        };
        self.segments.iter().map(behind).sum()
    }

    /// Whether lines are waiting to be written to stdout, or the rest of the journal has yet to be checked for some.
    pub fn waits(&self) -> bool {
        let (Some(cursor), Some(last)) = (&self.cursor, self.segments.back()) else { return false };
        (cursor.segment, cursor.offset) < (last.number, last.bytes)
    }

    /// How long until a segment may have to be deleted or read again. None if nothing is due.
    pub fn due(&self) -> Option<Duration> {
        let reread = self.reread.map(|(when, _)| when.saturating_duration_since(Instant::now()));
        let tidy = (!self.segments.is_empty()).then(|| self.settings.window / SHARE);
        reread.into_iter().chain(tidy).min()
    }

    /// Whether the lines that [`Journal::next`] returned last were written by an earlier process.
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

    /// Replaces `lines` with those of the first waiting record. Returns their number. None if no record is waiting, or
    /// it cannot be read for now.
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
            cursor.offset = cursor.reader.as_ref().map_or(cursor.offset, |reader| reader.offset());
            self.latest = cursor.segment;
            let done = cursor.segment;
            match record {
                Ok(Some(count)) => {
                    self.reread = None;
                    return Some(count);
                }
                // This segment has no more lines to write.
                Ok(None) => {
                    if let Some(segment) = self.segments.iter_mut().find(|segment| segment.number == done) {
                        segment.emitted.get_or_insert((Instant::now(), 0));
                    }
                }
                Err(error) => {
                    if !self.give_up(&error) {
                        return None;
                    }
                    // Records appended to this segment would not be found again.
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

    /// Handles a segment at the cursor that cannot be read. Returns whether this process continues without it. The
    /// segment may be intact, and readable for another program, so it is not deleted with the others.
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

    /// Records that the lines last appended, or last returned by [`Journal::next`], have been written to stdout. With
    /// them, this process has written `total` lines.
    pub fn emitted(&mut self, total: u64) {
        let segment = self.segments.iter_mut().rfind(|segment| segment.number == self.latest);
        if let Some(segment) = segment {
            segment.emitted = Some((Instant::now(), total));
        }
    }

    /// Deletes segments that are no longer needed: those that are too old or exceed the size, and are not in Telegraf's
    /// buffer. `stored` is the number of lines of this process that are known to have left the buffer. Without it, no
    /// line is assumed to be in the buffer.
    pub fn tidy(&mut self, stored: Option<u64>) {
        // If another process has the folder, it decides about the files in it.
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
