//! The position in the input that a killed worker leaves to the next. A large metric does not stay in the pipe until all of
//! it has come, so the next worker may begin within it, and has to know that.
//!
//! The position is a line in a file of the journal's folder. It is written before bytes are taken out of the pipe, and only
//! if it has changed:
//!
//! ```text
//! 4711 influx influx-string 524288 1a2b3c4d5e6f7081
//! ```
//!
//! It holds the process that starts the workers, the converter's state before and after these bytes, their number, and their
//! hash. If the bytes are still in the pipe when the next worker looks, they have not been taken.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use telegraf_algorithmia::Standing;
use xxhash_rust::xxh3::xxh3_64;

use super::{Turn, Worker, log};
use crate::platform::{Call, call};

/// Every line has this length, so that one write replaces the previous line completely.
const LENGTH: usize = 96;

pub struct Handover {
    file: File,
    path: PathBuf,
    supervisor: u32,
    /// The position at which the next worker would begin.
    standing: Standing,
    /// The file does not hold this position, because it could not be written.
    is_stale: bool,
}

/// What the previous worker has left.
#[derive(Debug, PartialEq, Eq)]
pub struct Note {
    supervisor: u32,
    before: Standing,
    behind: Standing,
    len: usize,
    hash: u64,
}

impl Handover {
    /// Opens the handover in `file`, which is at `path`. Also returns the note of the previous worker of the same
    /// supervisor, if there was one.
    pub fn new(mut file: File, path: &Path, worker: Worker) -> io::Result<(Self, Option<Note>)> {
        let Worker { supervisor, turn } = worker;
        let mut text = Vec::new();
        match turn {
            Turn::First => drop(call(Call::Truncate, || file.set_len(0))?),
            Turn::Next | Turn::Last => {
                call(Call::Read, || Read::by_ref(&mut file).take(LENGTH as u64).read_to_end(&mut text))?;
            }
        }
        let note = std::str::from_utf8(&text).ok().and_then(Note::read);
        let note = note.filter(|note| note.supervisor == supervisor);
        let path = path.to_owned();
        Ok((Handover { file, path, supervisor, standing: Standing::default(), is_stale: false }, note))
    }

    /// Sets the position at which the input begins.
    pub fn begin(&mut self, standing: Standing) {
        self.standing = standing;
    }

    /// Call this before `bytes` are taken out of the pipe: stores the position at which the next worker then begins.
    pub fn note(&mut self, behind: Standing, bytes: &[u8]) {
        // Metrics of the usual size stay in the pipe until they are complete, so the position does not change.
        if bytes.is_empty() || behind == self.standing && !behind.is_within() && !self.is_stale {
            return;
        }
        let Handover { supervisor, standing: before, .. } = *self;
        let note = Note { supervisor, before, behind, len: bytes.len(), hash: xxh3_64(bytes) };
        self.standing = behind;
        let text = note.text();
        let written = call(Call::Write, || self.file.rewind().and_then(|()| self.file.write_all(text.as_bytes())));
        let was_stale = std::mem::replace(&mut self.is_stale, written.is_err());
        if let Err(error) = written {
            // An outdated note would be worse than none.
            let _ = call(Call::Truncate, || self.file.set_len(0));
            if was_stale {
                return;
            }
            let path = self.path.display();
            log::write(
                'W',
                format_args!("cannot write {path}, so a kill now may cost the message that is coming: {error}"),
            );
        }
    }
}

impl Note {
    fn read(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let mut word = || words.next();
        let supervisor = word()?.parse().ok()?;
        let (before, behind) = (word()?.parse().ok()?, word()?.parse().ok()?);
        let (len, hash) = (word()?.parse().ok()?, u64::from_str_radix(word()?, 16).ok()?);
        Some(Note { supervisor, before, behind, len, hash })
    }

    fn text(&self) -> String {
        let Note { supervisor, before, behind, len, hash } = self;
        let words = format!("{supervisor} {before} {behind} {len} {hash:016x}");
        format!("{words:<width$}\n", width = LENGTH - 1)
    }

    /// The position of a worker that finds these bytes in the pipe.
    pub fn standing(&self, bytes: &[u8]) -> Standing {
        let not_taken = bytes.get(..self.len).is_some_and(|bytes| xxh3_64(bytes) == self.hash);
        if not_taken { self.before } else { self.behind }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(word: &str) -> Standing {
        word.parse().unwrap()
    }

    #[test]
    fn the_next_one_knows_where_it_begins_whether_or_not_the_bytes_were_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("handover");
        let open = || File::options().read(true).write(true).create(true).truncate(false).open(&path).unwrap();
        let worker = |supervisor| Worker { supervisor, turn: Turn::Next };
        let (mut handover, note) = Handover::new(open(), &path, worker(3)).unwrap();
        assert_eq!(note, None);
        handover.note(standing("influx"), b"m f=1\n");
        handover.note(standing("influx"), b"m f=2\n");
        let note = Handover::new(open(), &path, worker(3)).unwrap().1.unwrap();
        assert_eq!(note.standing(b"m f=1\nm f=2\n"), Standing::default());
        assert_eq!(note.standing(b""), standing("influx"));

        handover.note(standing("influx-string"), b"m f=\"a");
        handover.note(standing("influx-string"), b"bbbb");
        let note = Handover::new(open(), &path, worker(3)).unwrap().1.unwrap();
        assert_eq!((note.standing(b"bbbbc"), note.standing(b"c\"\n")), (note.before, standing("influx-string")));
        handover.note(standing("influx"), b"\"\n");
        let (next, note) = Handover::new(open(), &path, worker(3)).unwrap();
        assert_eq!(note.as_ref().unwrap().standing(b"\"\nm"), standing("influx-string"));
        assert_eq!(note.unwrap().standing(b"m f=1\n"), standing("influx"));
        drop(next);
        assert_eq!(Handover::new(open(), &path, worker(4)).unwrap().1, None, "of another supervisor");
        assert_eq!(
            Handover::new(open(), &path, Worker { supervisor: 3, turn: Turn::First }).unwrap().1,
            None,
            "there was no worker"
        );
        assert_eq!(Handover::new(open(), &path, worker(3)).unwrap().1, None);
    }

    #[test]
    fn what_is_no_note_is_none() {
        for text in
            ["", "1", "1 influx influx 5", "1 influx xml 5 00", "1 influx influx x 00", "influx influx 5 00", "\u{0}"]
        {
            assert_eq!(Note::read(text), None, "{text:?}");
        }
        let note = Note {
            supervisor: u32::MAX,
            before: standing("json-array-line"),
            behind: standing("json-lines-within"),
            len: usize::MAX,
            hash: u64::MAX,
        };
        assert_eq!(note.text().len(), LENGTH);
        assert_eq!(Note::read(&note.text()), Some(note));
    }
}
