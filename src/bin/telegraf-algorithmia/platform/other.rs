//! Platforms other than Unix: files and streams are converted as they come. To end the process, end its input.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File, Metadata, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

#[cfg(windows)]
use std::os::windows::io::AsHandle;

use super::Waited;

pub const LIMITS: Option<&str> =
    Some("--journal and --flow-control look into pipes and heed signals as only Unix can: leave them out");

pub const READS_WAIT: bool = true;

pub fn outlive_size_limit() -> io::Result<()> {
    Ok(())
}

pub fn ignore_telegrafs_signals() -> io::Result<()> {
    Ok(())
}

/// No signal ever arrives.
pub struct Signals(());

impl Signals {
    pub fn new(_: bool, _: bool) -> io::Result<Self> {
        Ok(Signals(()))
    }

    pub fn arrived(&self) -> bool {
        false
    }

    pub fn latest(&self) -> Option<(&'static str, u8)> {
        None
    }

    /// Returns at once: the next read blocks.
    pub fn wait(&self, _: Option<&File>, _: Option<Duration>, _: bool) -> io::Result<Waited> {
        Ok(Waited::Readable)
    }

    pub fn wait_for_hang_up(&self, _: &File, _: Option<Duration>) -> io::Result<Waited> {
        Ok(Waited::Readable)
    }
}

/// There is no supervisor.
pub enum ChildSignals {}

impl ChildSignals {
    pub fn new() -> io::Result<Self> {
        Err(io::Error::new(io::ErrorKind::Unsupported, LIMITS.unwrap_or_default()))
    }

    pub fn wait(&mut self) -> bool {
        match *self {}
    }

    pub fn asked_to_end(&self) -> bool {
        match *self {}
    }
}

pub fn parent_id() -> u32 {
    0
}

pub fn ask_to_end(_: &Child) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub fn is_readable(_: &File) -> io::Result<bool> {
    Ok(true)
}

pub fn is_writable<T>(_: T) -> io::Result<bool> {
    Ok(true)
}

pub fn wait_writable(_: &File) -> io::Result<()> {
    std::thread::sleep(Duration::from_millis(1));
    Ok(())
}

/// Nothing to do: the output closes when the process exits.
pub fn close_output() -> io::Result<()> {
    Ok(())
}

pub fn has_only_pipes() -> bool {
    false
}

pub fn has_hung_up<T>(_: T) -> io::Result<bool> {
    Ok(false)
}

pub fn wait_for_hang_up<T>(_: T, timeout: Duration) -> io::Result<bool> {
    std::thread::sleep(timeout);
    Ok(false)
}

pub fn readable_bytes(_: &File) -> io::Result<u64> {
    Ok(0)
}

pub fn unread(_: &File) -> io::Result<Option<u64>> {
    Ok(None)
}

#[cfg(windows)]
pub fn file_of(stream: impl AsHandle) -> io::Result<File> {
    Ok(File::from(stream.as_handle().try_clone_to_owned()?))
}

/// Nothing to do: a new folder inherits the permissions of its parent.
pub fn private_folder(builder: &mut DirBuilder) -> &mut DirBuilder {
    builder
}

/// A folder whose files can be read. This platform writes no journal.
pub struct Dir {
    path: PathBuf,
}

impl Dir {
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Dir { path: path.to_owned() })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn metadata(&self) -> io::Result<Metadata> {
        self.path.metadata()
    }

    pub fn try_lock(&self) -> Result<(), TryLockError> {
        Ok(())
    }

    pub fn unlock(&self) -> io::Result<()> {
        Ok(())
    }

    pub fn is_at_its_path(&self) -> io::Result<bool> {
        Ok(true)
    }

    pub fn has(&self, _: &str, _: &File) -> io::Result<bool> {
        Ok(true)
    }

    pub fn read(&self, name: &str) -> io::Result<File> {
        File::open(self.path.join(name))
    }

    pub fn make(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().write(true).create_new(true).open(self.path.join(name))
    }

    pub fn open_or_make(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(self.path.join(name))
    }

    pub fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name))
    }

    pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path.join(from), self.path.join(to))
    }

    pub fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

pub fn try_lock(file: &File) -> Result<(), TryLockError> {
    file.try_lock()
}

pub fn metadata(file: &File) -> io::Result<Metadata> {
    file.metadata()
}

/// Trusts every file: on this platform, permissions are not in a mode.
pub fn distrust(_: &Metadata, _: &Path, _: bool) -> Option<String> {
    None
}

pub fn is_shortage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::OutOfMemory)
}

pub fn is_of_disk(_: &io::Error) -> bool {
    false
}

pub fn set_name<'a>(command: &'a mut Command, _: &OsStr) -> &'a mut Command {
    command
}

pub fn host_name() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_default()
}
