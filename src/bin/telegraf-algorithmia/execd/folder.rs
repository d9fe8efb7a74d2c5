//! The journal's folder: its lock, and the files in it. Uses only regular files of our own and follows no link, since
//! another user may have put something in their place.

use std::fs::{DirBuilder, File, Metadata, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::log;
use crate::platform::{self, Call, Dir, call, part};

/// Older versions lock only this file. It contains the id of the process that holds the folder.
const LOCK: &str = "lock";

/// The file with what a worker leaves to the next one.
pub const HANDOVER: &str = "handover";

/// A process id has no more digits.
const MAX_HOLDER: u64 = 20;

/// The extensions of segments, and of segments that could not be read.
const SEGMENT: &str = "lp";
const UNREAD: &str = "unread";

/// The process that holds a folder, worded for use in a sentence.
pub type Holder = String;

/// An open folder.
pub struct Folder {
    dir: Dir,
    /// None if the folder is not ours.
    lock: Option<File>,
    copies: bool,
}

impl Folder {
    /// Opens a folder that another process may be using, to copy its contents.
    ///
    /// # Errors
    /// If it cannot be read or trusted.
    pub fn to_copy(path: &Path) -> Result<Self> {
        let cannot_read = || format!("cannot read the folder {}", path.display());
        Self::open(path, true).with_context(cannot_read)
    }

    /// Locks the folder for this process, and creates it if necessary. Returns the holder if another process has it.
    ///
    /// # Errors
    /// If it cannot be used or trusted.
    pub fn take(path: &Path) -> Result<Result<Self, Holder>> {
        let mut private = DirBuilder::new();
        platform::private_folder(private.recursive(true));
        call(Call::MakeFolder, || private.create(path))
            .with_context(|| format!("cannot make the folder {}", path.display()))?;
        loop {
            let cannot_open = || format!("cannot open the folder {}", path.display());
            let mut folder = Self::open(path, false).with_context(cannot_open)?;
            // If the folder itself is replaced by another one, that is noticed, since `lock` goes with it. Some network
            // file systems cannot lock folders; there, only `lock` is locked.
            if let Err(TryLockError::WouldBlock) = folder.dir.try_lock() {
                return Ok(Err(folder.holder()));
            }
            if let Err(holder) = folder.take_lock()? {
                return Ok(Err(holder));
            }
            if folder.dir.is_at_its_path().with_context(cannot_open)? {
                return Ok(Ok(folder));
            }
        }
    }

    fn open(path: &Path, copies: bool) -> Result<Self> {
        let dir = Dir::open(path)?;
        if let Some(why) = platform::distrust(&dir.metadata()?, path, copies) {
            bail!(why);
        }
        Ok(Folder { dir, lock: None, copies })
    }

    /// Locks the file `lock`. Returns the holder if another process has it.
    fn take_lock(&mut self) -> Result<Result<(), Holder>> {
        self.lock = None;
        let path = self.dir.path().join(LOCK);
        let cannot_open = || format!("cannot open {}", path.display());
        loop {
            let mut lock = self.dir.open_or_make(LOCK).with_context(cannot_open)?;
            self.check(&lock, LOCK).with_context(cannot_open)?;
            match platform::try_lock(&lock) {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(Err(self.holder())),
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("cannot lock {}", path.display()));
                }
            }
            // The file may have been removed before it was locked.
            if !self.dir.has(LOCK, &lock).with_context(cannot_open)? {
                continue;
            }
            let id = std::process::id().to_string();
            call(Call::Truncate, || lock.set_len(0))
                .and_then(|()| call(Call::Write, || lock.write_all(id.as_bytes())))
                .with_context(|| format!("cannot write {}", path.display()))?;
            self.lock = Some(lock);
            return Ok(Ok(()));
        }
    }

    /// The process that uses the folder.
    fn holder(&self) -> Holder {
        let mut text = String::new();
        let read = self.dir.read(LOCK).and_then(|lock| {
            self.check(&lock, LOCK)?;
            call(Call::Read, || (&lock).take(MAX_HOLDER).read_to_string(&mut text))
        });
        match text.trim().parse::<u32>() {
            Ok(id) if read.is_ok() => format!("the process {id}"),
            _ => "another process".to_owned(),
        }
    }

    /// Whether the folder was ours at the last check.
    pub fn has_lock(&self) -> bool {
        self.lock.is_some()
    }

    /// Whether the folder is still ours. It is not if it was moved or deleted, or if another process has `lock`. If
    /// only `lock` is gone, it is created again.
    pub fn is_ours(&mut self) -> Result<bool> {
        let kept = self.keep();
        if self.lock.is_none() {
            // The next holder of the folder may be this process.
            let _ = self.dir.unlock();
        }
        kept.map(|()| self.lock.is_some())
    }

    fn keep(&mut self) -> Result<()> {
        let Some(lock) = &self.lock else { return Ok(()) };
        let path = self.dir.path().display();
        let cannot_look = || format!("cannot look at {path}");
        if !self.dir.is_at_its_path().with_context(cannot_look)? {
            log::write('W', format_args!("somebody has moved or deleted {path}; it is made again"));
            self.lock = None;
        } else if !self.dir.has(LOCK, lock).with_context(cannot_look)? {
            log::write('W', format_args!("somebody has moved or deleted {path}/{LOCK}; it is made again"));
            let _ = self.take_lock()?;
        }
        Ok(())
    }

    /// Lists the segments.
    pub fn list(&self) -> Result<Listing> {
        let path = self.dir.path();
        let cannot_read = || format!("cannot read the folder {}", path.display());
        let mut listing = Listing::default();
        for entry in call(Call::List, || std::fs::read_dir(path)).with_context(cannot_read)? {
            let entry = entry.with_context(cannot_read)?;
            let name = entry.file_name();
            let parts = name.to_str().and_then(|name| name.split_once('.')).filter(|(number, _)| number.len() == 20);
            let Some((number, kind)) = parts.and_then(|(number, kind)| Some((number.parse().ok()?, kind))) else {
                continue;
            };
            listing.last = listing.last.max(number);
            if kind != SEGMENT {
                continue;
            }
            match call(Call::StatPath, || entry.metadata()) {
                Ok(metadata) if metadata.is_file() => listing.segments.push((number, metadata.len())),
                Ok(_) => {
                    let path = entry.path();
                    log::write('W', format_args!("left {} alone, which is no regular file", path.display()));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error).with_context(cannot_read),
            }
        }
        listing.segments.sort_unstable();
        Ok(listing)
    }

    /// The path by which it was opened.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The path of a segment.
    pub fn path_of(&self, number: u64) -> PathBuf {
        self.dir.path().join(name_of(number))
    }

    /// Opens a segment to read it from `offset`.
    pub fn read(&self, number: u64, offset: u64) -> io::Result<Segment> {
        let name = name_of(number);
        let mut file = self.dir.read(&name)?;
        self.check(&file, &name)?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(Segment(file))
    }

    /// Creates a segment with an unused number.
    pub fn make(&self, number: u64) -> io::Result<File> {
        self.dir.make(&name_of(number))
    }

    /// Deletes a segment.
    pub fn remove(&self, number: u64) -> io::Result<()> {
        self.dir.remove(&name_of(number))
    }

    /// Renames a segment so that it is no longer read as one. Returns its new path.
    pub fn set_aside(&self, number: u64) -> io::Result<PathBuf> {
        let aside = format!("{number:020}.{UNREAD}");
        self.dir.rename(&name_of(number), &aside)?;
        Ok(self.dir.path().join(aside))
    }

    /// Opens the file with what a worker leaves to the next one.
    pub fn handover(&self) -> io::Result<File> {
        let file = self.dir.open_or_make(HANDOVER)?;
        self.check(&file, HANDOVER).map(|()| file)
    }

    /// Waits until the names of new segments are on the disk.
    pub fn sync(&self) -> io::Result<()> {
        self.dir.sync()
    }

    /// Checks that an open file can be used.
    fn check(&self, file: &File, name: &str) -> io::Result<()> {
        let metadata: Metadata = platform::metadata(file)?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is no regular file: move it away"));
        }
        match platform::distrust(&metadata, &self.dir.path().join(name), self.copies) {
            Some(why) => Err(io::Error::other(why)),
            None => Ok(()),
        }
    }
}

fn name_of(number: u64) -> String {
    format!("{number:020}.{SEGMENT}")
}

/// The segments of a folder.
#[derive(Default)]
pub struct Listing {
    /// Their numbers and sizes, in order.
    pub segments: Vec<(u64, u64)>,
    /// The highest number in a file name, whether the file is a segment or not.
    pub last: u64,
}

/// A segment that is being read.
pub struct Segment(File);

impl Read for Segment {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = part(buffer.len());
        call(Call::Read, || self.0.read(&mut buffer[..most]))
    }
}
