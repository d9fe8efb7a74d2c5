//! The input: a file or a pipe. Bytes in a pipe can be read without taking them out, so that a kill loses nothing that is
//! not yet in the journal, and so that a sender has to wait.

use std::fs::File;
use std::io::{self, Read};
use std::time::{Duration, Instant};

use super::log;
use crate::platform::{self, Call, PipeCopy, Signals, Waited, call, call_once, part, while_waiting};

/// The most bytes to read at once: the capacity of a pipe.
const READ_SIZE: usize = 64 * 1024;

/// The start of an incomplete metric stays in the pipe, which grows up to this many bytes, the limit that Linux allows
/// every user. A metric of more than half of that can be lost in a kill while it arrives.
const MAX_PIPE: usize = 1024 * 1024;

/// The least capacity: four pages. Linux gives a user with many pipes smaller ones, of two pages or one, and a few
/// bytes may fill both.
const MIN_PIPE: usize = 16 * 1024;

/// The longest pause between two checks for more input after the bytes that stay in the pipe.
const LONGEST_PAUSE: Duration = Duration::from_millis(10);

pub struct Input {
    file: File,
    /// For a pipe that keeps the bytes that are read until [`Input::consume`].
    copy: Option<PipeCopy>,
    /// How many of the bytes in the pipe have been read.
    seen: usize,
    buffer: Vec<u8>,
}

/// The result of a read.
pub enum Chunk<'a> {
    Bytes(&'a [u8]),
    /// There is nothing to read for now.
    Empty,
    /// All writers have closed the pipe. There may be more bytes after those that were read and not consumed.
    HungUp,
    /// The input has ended.
    End,
}

impl Input {
    /// An input that takes out of the pipe what is read.
    pub fn new(file: File) -> Self {
        Input { file, copy: None, seen: 0, buffer: vec![0; READ_SIZE] }
    }

    /// An input that keeps the bytes that are read until they are consumed, if it is a pipe and the platform supports
    /// that.
    pub fn keeping(file: File) -> io::Result<Self> {
        let mut input = Input::new(file);
        let mut told = false;
        let copy = loop {
            match PipeCopy::of(&input.file) {
                // Exiting would lose what is in the pipe.
                Err(error) if platform::is_shortage(&error) => {
                    if !std::mem::replace(&mut told, true) {
                        log::write('E', format_args!("cannot read stdin yet, but go on trying: {error}"));
                    }
                    platform::pause();
                }
                copy => break copy?,
            }
        };
        if let Some(copy) = copy {
            // The pipe may have been enlarged by a previous worker.
            input.buffer.resize(copy.size()?, 0);
            input.copy = Some(copy);
        }
        Ok(input)
    }

    /// Whether the input keeps the bytes that are read.
    pub fn keeps(&self) -> bool {
        self.copy.is_some()
    }

    /// Reads what has arrived, without waiting.
    pub fn read(&mut self) -> io::Result<Chunk<'_>> {
        let Some(copy) = &mut self.copy else {
            if !platform::is_readable(&self.file)? {
                return Ok(Chunk::Empty);
            }
            let most = part(self.buffer.len());
            return match call_once(Call::ReadPipe, || self.file.read(&mut self.buffer[..most])) {
                Ok(0) => Ok(Chunk::End),
                Ok(len) => Ok(Chunk::Bytes(&self.buffer[..len])),
                Err(error) if is_nothing(&error) => Ok(Chunk::Empty),
                Err(error) => Err(error),
            };
        };
        let len = match copy.read(&self.file, &mut self.buffer) {
            Err(error) if is_nothing(&error) => return Ok(Chunk::Empty),
            Err(error) if platform::is_shortage(&error) => {
                platform::pause();
                return Ok(Chunk::Empty);
            }
            len => len?,
        };
        if len > self.seen {
            let seen = std::mem::replace(&mut self.seen, len);
            return Ok(Chunk::Bytes(&self.buffer[seen..len]));
        }
        if len == 0 {
            return Ok(Chunk::End);
        }
        Ok(if platform::has_hung_up(&self.file)? { Chunk::HungUp } else { Chunk::Empty })
    }

    /// Enlarges a pipe to `size` bytes, if it holds less.
    pub fn grow(&mut self, size: usize) {
        match &self.copy {
            Some(copy) if self.buffer.len() < size && copy.grow(&self.file, size) => self.buffer.resize(size, 0),
            Some(_) => {}
            None => drop(platform::grow(&self.file, size)),
        }
    }

    /// The bytes that have been read and not consumed, except the last `rest` bytes.
    pub fn seen(&self, rest: usize) -> &[u8] {
        &self.buffer[..self.seen.saturating_sub(rest)]
    }

    /// Takes out of the pipe what has been read, except the last `rest` bytes.
    pub fn consume(&mut self, rest: usize) -> io::Result<()> {
        let rest = rest.min(self.seen);
        take(&mut self.file, self.seen - rest, &mut self.buffer)?;
        self.seen = rest;
        Ok(())
    }

    /// Whether a sender can write more while `rest` bytes stay in the pipe. Enlarges the pipe if there is little room
    /// left.
    pub fn has_room_behind(&mut self, rest: usize) -> bool {
        // Each write may leave nearly half of a page unused, and the first byte that stays occupies a page.
        if rest == 0 || rest <= self.buffer.len() / 4 && self.buffer.len() >= MIN_PIPE {
            return true;
        }
        let size = 2 * self.buffer.len();
        if size > MAX_PIPE && rest <= self.buffer.len() / 2 {
            // The bytes arrived in large pieces, which fill their pages.
            return true;
        }
        let grown = size <= MAX_PIPE && self.copy.as_ref().is_some_and(|copy| copy.grow(&self.file, size));
        if grown {
            self.buffer.resize(size, 0);
        }
        grown
    }

    /// Whether all writers have closed the pipe.
    pub fn has_hung_up(&self) -> io::Result<bool> {
        platform::has_hung_up(&self.file)
    }

    /// Waits until all writers have closed the pipe, even if there is something to read.
    pub fn wait_for_hang_up(&self, signals: &Signals, timeout: Option<Duration>) -> io::Result<Waited> {
        wait(timeout, |timeout| signals.wait_for_hang_up(&self.file, timeout))
    }

    /// Waits until there is more to read, or the input has ended. A signal ends the wait if `heed` is set.
    pub fn wait(&self, signals: &Signals, timeout: Option<Duration>, heed: bool) -> io::Result<Waited> {
        if self.seen == 0 {
            return wait(timeout, |timeout| signals.wait(Some(&self.file), timeout, heed));
        }
        // A poll would report the bytes that stay in the pipe.
        let until = while_waiting(timeout).map(|timeout| Instant::now() + timeout);
        let mut pause = Duration::from_micros(200);
        loop {
            let readable = platform::readable_bytes(&self.file)?.min(self.buffer.len() as u64);
            if readable > self.seen as u64 || self.has_hung_up()? {
                return Ok(Waited::Readable);
            }
            let left = until.map_or(pause, |until| until.saturating_duration_since(Instant::now()).min(pause));
            if left.is_zero() {
                return Ok(Waited::Timeout);
            }
            if signals.wait(None, Some(left), heed)? == Waited::Signal {
                return Ok(Waited::Signal);
            }
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
    }
}

/// Waits. If memory is too short even for that, returns as if input had arrived.
fn wait(timeout: Option<Duration>, wait: impl FnOnce(Option<Duration>) -> io::Result<Waited>) -> io::Result<Waited> {
    let timeout = while_waiting(timeout);
    match call_once(Call::Poll, || wait(timeout)) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Waited::Signal),
        Err(error) if platform::is_shortage(&error) => Ok(Waited::Readable),
        waited => waited,
    }
}

/// Whether an error only means that there is nothing to read for now.
fn is_nothing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock)
}

/// Takes `len` bytes, which must be there, out of a pipe.
fn take(file: &mut File, len: usize, buffer: &mut [u8]) -> io::Result<()> {
    let mut left = len;
    while left > 0 {
        // A read returns everything that is in the pipe, so no kill can happen between two parts of a message.
        let most = left.min(buffer.len());
        match call(Call::ReadPipe, || file.read(&mut buffer[..most]))? {
            0 => break,
            len => left -= len,
        }
    }
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::Write;

    use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

    use super::*;

    /// If the start of a message stayed in the only page, or in the last of two, its rest could never arrive.
    #[test]
    fn what_stays_in_a_small_pipe_leaves_room_for_the_next_write() {
        for size in [4096, 8192] {
            let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
            fcntl_setpipe_size(&writer, size).unwrap();
            let mut writer = File::from(writer);
            let mut input = Input::keeping(File::from(reader)).unwrap();
            for _ in 0..3 {
                // The write fills all pages, except for a few bytes.
                writer.write_all(&vec![b'x'; size - 10]).unwrap();
                let Chunk::Bytes(bytes) = input.read().unwrap() else { panic!("there is something to read") };
                let len = bytes.len();
                assert!(len >= size - 10);
                let rest = usize::from(input.has_room_behind(1));
                input.consume(rest).unwrap();
                assert_eq!(writer.write(&[b'y'; 100]).unwrap(), 100);
                let Chunk::Bytes(bytes) = input.read().unwrap() else { panic!("there is more to read") };
                assert_eq!(bytes, [b'y'; 100]);
                input.consume(0).unwrap();
            }
        }
    }
}
