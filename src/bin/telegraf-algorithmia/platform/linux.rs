//! Linux: pipes that can be made larger, and copied without taking out what is in them.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, tee};

use super::calls::{Call, call};
use super::unix::is_pipe;

/// Enlarges a pipe to `size` bytes. Returns false if the file is no pipe, or the system refuses.
pub fn grow(pipe: &File, size: usize) -> bool {
    set_size(pipe, size).is_ok()
}

fn set_size(pipe: impl AsFd, size: usize) -> io::Result<()> {
    call(Call::SizePipe, || Ok(fcntl_setpipe_size(&pipe, size).map(drop)?))
}

/// Reads what is in a pipe without taking it out.
pub struct PipeCopy {
    /// The copy goes through a pipe of our own.
    reader: File,
    writer: OwnedFd,
}

impl PipeCopy {
    /// Returns None if the input is no pipe, or the platform cannot copy one.
    pub fn of(input: &File) -> io::Result<Option<Self>> {
        if !is_pipe(input)? {
            return Ok(None);
        }
        let (reader, writer) = call(Call::MakePipe, || Ok(pipe_with(PipeFlags::CLOEXEC)?))?;
        // If our pipe stays smaller, less can be read at once.
        let _ = set_size(&writer, fcntl_getpipe_size(input)?);
        Ok(Some(PipeCopy { reader: File::from(reader), writer }))
    }

    /// How many bytes can be copied at once.
    pub fn size(&self) -> io::Result<usize> {
        Ok(fcntl_getpipe_size(&self.writer)?)
    }

    /// Enlarges both pipes to `size` bytes. Returns false if the system refuses.
    pub fn grow(&self, input: &File, size: usize) -> bool {
        set_size(&self.writer, size).is_ok() && grow(input, size)
    }

    /// Copies what is in the pipe to the start of `buffer`. Returns the number of bytes, and 0 if the pipe is empty and
    /// has no writer. The error is WouldBlock if the pipe is empty for now.
    pub fn read(&mut self, input: &File, buffer: &mut [u8]) -> io::Result<usize> {
        let len = call(Call::CopyPipe, || Ok(tee(input, &self.writer, buffer.len(), SpliceFlags::NONBLOCK)?))?;
        self.reader.read_exact(&mut buffer[..len])?;
        Ok(len)
    }
}

/// The running program, even if an upgrade has replaced or removed its file.
pub fn running_program() -> io::Result<PathBuf> {
    Ok(Path::new("/proc/self/exe").to_owned())
}
