//! The segments of a journal: reading and writing them.

use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::execd::flow::without_gauges;
use crate::execd::folder::{self, Folder};
use crate::execd::log;
use crate::execd::record::RecordReader;
use crate::platform::{Call, call, part};

/// Writes all lines of the journal in `folder` to `out`, oldest first. Leaves out the gauges, which describe the buffer
/// of that time.
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
            // A process that writes the journal may just have deleted the segment.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            read => read.with_context(|| format!("cannot copy {}", folder.path_of(number).display()))?,
        }
    }
    out.flush().context("cannot write to stdout")
}

/// Reads the records of one segment, and logs damaged bytes.
pub struct SegmentReader {
    records: RecordReader<folder::Segment>,
    path: PathBuf,
}

impl SegmentReader {
    pub fn open(folder: &Folder, number: u64, offset: u64) -> io::Result<Self> {
        let segment = folder.read(number, offset)?;
        Ok(SegmentReader { records: RecordReader::new(segment, offset), path: folder.path_of(number) })
    }

    /// Where the next record begins.
    pub fn offset(&self) -> u64 {
        self.records.offset()
    }

    /// See [`RecordReader::next`].
    pub fn next(&mut self, lines: &mut Vec<u8>) -> io::Result<Option<u64>> {
        let count = self.records.next(lines)?;
        let skipped = self.records.take_skipped();
        if skipped > 0 {
            log::write('W', format_args!("skipped {skipped} bytes of {} that are damaged", self.path.display()));
        }
        Ok(count)
    }
}

/// Waits until the data appended to a segment is on the disk.
pub fn sync(folder: &Folder, file: &File, is_new: bool) -> io::Result<()> {
    if is_new {
        // A new file survives a power failure only if the folder is on the disk, too.
        folder.sync()?;
    }
    call(Call::Sync, || file.sync_data())
}

/// Appends a record.
pub fn append(file: &mut File, mut head: &[u8], mut lines: &[u8]) -> io::Result<()> {
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
