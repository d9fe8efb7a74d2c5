//! Everything that depends on the platform.
//!
//! Linux supports all of it. Other Unixes cannot read a pipe without taking bytes out, so a killed worker loses what it has
//! read. On other platforms there are no signals and no pipes to look into: files and streams are converted, and that is
//! all.

mod calls;
pub use calls::*;

#[cfg(all(test, unix))]
pub mod faults;

#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub use unix::*;

#[cfg(unix)]
mod dir;
#[cfg(unix)]
pub use dir::*;

#[cfg(not(unix))]
mod other;
#[cfg(not(unix))]
pub use other::*;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub use linux::*;

#[cfg(not(target_os = "linux"))]
mod not_linux;
#[cfg(not(target_os = "linux"))]
pub use not_linux::*;

/// What ended a wait.
#[derive(Debug, PartialEq, Eq)]
pub enum Waited {
    /// There is input, or it has ended.
    Readable,
    Signal,
    Timeout,
}
