//! All that is particular to a platform; the rest of the program knows none.
//!
//! Linux can all that is promised. Other Unixes cannot read what is in a pipe and leave it there, so what a worker has read
//! when it is killed is lost with it. Elsewhere there are no signals and no pipes to look into: files and streams are
//! converted, and that is all.

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
