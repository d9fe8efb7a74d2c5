//! A folder that stays the same if its name changes, and its files, which must be regular: no link is followed, and nothing
//! waits for the other end of a pipe or for a device.

use std::fs::{File, Metadata, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, openat, renameat, statat, unlinkat};
use rustix::io::Errno;

use super::calls::{Call, call};

/// An open folder.
pub struct Dir {
    path: PathBuf,
    handle: File,
}

impl Dir {
    /// Opens a folder. Its name may be a link: systemd creates one for a DynamicUser's StateDirectory.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = call(Call::OpenFolder, || Ok(rustix::fs::open(path, flags, Mode::empty())?))?;
        Ok(Dir { path: path.to_owned(), handle: File::from(handle) })
    }

    /// The folder's path when it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder's metadata.
    pub fn metadata(&self) -> io::Result<Metadata> {
        call(Call::Stat, || self.handle.metadata())
    }

    /// Locks the folder until it is unlocked or closed.
    pub fn try_lock(&self) -> Result<(), TryLockError> {
        try_lock(&self.handle)
    }

    /// Unlocks the folder.
    pub fn unlock(&self) -> io::Result<()> {
        self.handle.unlock()
    }

    /// Whether the folder is still at its path.
    pub fn is_at_its_path(&self) -> io::Result<bool> {
        let found = call(Call::StatPath, || std::fs::metadata(&self.path));
        is_there(found.map(|found| (found.dev(), found.ino())), &self.metadata()?)
    }

    /// Whether `name` is the name of this open file.
    pub fn has(&self, name: &str, file: &File) -> io::Result<bool> {
        let found = call(Call::StatPath, || Ok(statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW)?));
        // These types differ between platforms.
        #[allow(clippy::unnecessary_cast)]
        let id = found.map(|found| (found.st_dev as u64, found.st_ino as u64));
        is_there(id, &metadata(file)?)
    }

    /// Opens a file to read it.
    pub fn read(&self, name: &str) -> io::Result<File> {
        self.open_file(Call::Open, name, OFlags::RDONLY)
    }

    /// Creates a file that does not exist, to write it.
    pub fn make(&self, name: &str) -> io::Result<File> {
        self.open_file(Call::Create, name, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL)
    }

    /// Opens a file to read and write it, and creates it if it does not exist.
    pub fn open_or_make(&self, name: &str) -> io::Result<File> {
        self.open_file(Call::Create, name, OFlags::RDWR | OFlags::CREATE)
    }

    /// Opens a file. A new file is private to its owner, since payloads may be confidential.
    fn open_file(&self, kind: Call, name: &str, flags: OFlags) -> io::Result<File> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = call(kind, || Ok(openat(&self.handle, name, flags, Mode::RUSR | Mode::WUSR)?));
        file.map(File::from).map_err(|error| match Errno::from_io_error(&error) {
            Some(Errno::LOOP) => io::Error::other("it is a symbolic link, which is not followed"),
            // A socket, or a pipe without a reader.
            Some(Errno::NXIO) => io::Error::other("it is no regular file"),
            _ => error,
        })
    }

    /// Deletes a file.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        call(Call::Remove, || Ok(unlinkat(&self.handle, name, AtFlags::empty())?))
    }

    /// Renames a file.
    pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        call(Call::Rename, || Ok(renameat(&self.handle, from, &self.handle, to)?))
    }

    /// Waits until the names of its files are on the disk.
    pub fn sync(&self) -> io::Result<()> {
        call(Call::Sync, || self.handle.sync_all())
    }
}

/// Locks a file until it is closed.
pub fn try_lock(file: &File) -> Result<(), TryLockError> {
    let mut held = false;
    call(Call::Lock, || match file.try_lock() {
        Err(TryLockError::Error(error)) => Err(error),
        tried => {
            held = tried.is_err();
            Ok(())
        }
    })
    .map_err(TryLockError::Error)?;
    if held { Err(TryLockError::WouldBlock) } else { Ok(()) }
}

/// The metadata of an open file.
pub fn metadata(file: &File) -> io::Result<Metadata> {
    call(Call::Stat, || file.metadata())
}

/// Whether the device and inode found under a name are those of this file.
fn is_there(found: io::Result<(u64, u64)>, file: &Metadata) -> io::Result<bool> {
    match found {
        Ok(found) => Ok(found == (file.dev(), file.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Why a file or folder cannot be trusted, and what to do; None if it can. Root, who can read everything, may copy
/// (`copies`) files of other users.
pub fn distrust(metadata: &Metadata, path: &Path, copies: bool) -> Option<String> {
    distrust_of(metadata.uid(), metadata.mode(), path, rustix::process::geteuid().as_raw(), copies)
}

/// Write permission for a group is accepted, since Kubernetes grants it wherever there is an fsGroup: volumes, and all
/// files in them at each start of a pod, are then writable by a group that the process is in. Such a folder belongs to
/// root, who has full access anyway.
fn distrust_of(owner: u32, mode: u32, path: &Path, user: u32, copies: bool) -> Option<String> {
    const BY_OTHERS: u32 = 0o002;
    let path = path.display();
    if owner != user && owner != 0 && !(copies && user == 0) {
        return Some(format!(
            "{path} belongs to the user with the id {owner}, and this process is {user}: `chown {user} {path}`, or run as {owner}"
        ));
    }
    (mode & BY_OTHERS != 0).then(|| format!("everybody may write to {path}: `chmod o-w {path}`"))
}

/// Whether the system only lacks a resource for now, such as file descriptors or memory.
pub fn is_shortage(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS | Errno::AGAIN)
    )
}

/// Whether an error comes from the disk or the connection to it, which may recover soon or never.
pub fn is_of_disk(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::IO | Errno::STALE | Errno::TIMEDOUT | Errno::BUSY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_own_or_may_write_is_not_trusted() {
        let path = Path::new("/j");
        let distrust = |owner, mode, user, copies| distrust_of(owner, mode, path, user, copies);
        let (root, we, other) = (0, 999, 1000);
        for mode in [0o700, 0o755, 0o600, 0o2775, 0o664] {
            for owner in [we, root] {
                assert_eq!(distrust(owner, mode, we, false), None, "{owner} {mode:o}");
                assert_eq!(distrust(owner, mode, we, true), None, "{owner} {mode:o}");
            }
            assert_eq!(distrust(other, mode, root, true), None, "root may copy it");
            for (user, copies) in [(we, false), (we, true), (root, false)] {
                let text = distrust(other, mode, user, copies).unwrap();
                assert!(text.contains(&format!("`chown {user} /j`")), "{text}");
            }
        }
        for mode in [0o777, 0o1777, 0o702, 0o666] {
            for (owner, user, copies) in [(we, we, false), (root, we, true), (other, root, true)] {
                let text = distrust(owner, mode, user, copies).unwrap();
                assert!(text.contains("`chmod o-w /j`"), "{text}");
            }
        }
    }
}
