//! How far long files have been read: one line on a terminal, which is gone at the end. Standard error is one for the whole
//! process, and so is this line; whatever else is written there has to go [around](aside) it.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Files that take fewer bytes are done before anybody has read the line.
const LEAST: u64 = 16 * 1024 * 1024;

/// Nor is anything shown before so long.
const DELAY: Duration = Duration::from_millis(500);

static LINE: OnceLock<ProgressBar> = OnceLock::new();

/// Shows from now on how far these inputs (none for stdin) have been read, if somebody looks at stderr, the lines go elsewhere,
/// and all are files.
pub fn start(inputs: &[PathBuf]) {
    if !io::stderr().is_terminal() || io::stdout().is_terminal() {
        return;
    }
    let stdin = [PathBuf::from("-")];
    let inputs = if inputs.is_empty() { &stdin } else { inputs };
    let Some(total) = inputs.iter().map(|path| size(path)).sum::<Option<u64>>().filter(|total| *total >= LEAST) else {
        return;
    };
    const TEMPLATE: &str = "{bytes} of {total_bytes} [{wide_bar}] {binary_bytes_per_sec}, {eta} left";
    let style = ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar());
    let line = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden());
    let _ = LINE.set(line.with_style(style.progress_chars("=> ")));
}

/// The size of a file, or of stdin if it is one.
fn size(path: &Path) -> Option<u64> {
    let metadata = if path == Path::new("-") {
        File::from(io::stdin().as_fd().try_clone_to_owned().ok()?).metadata()
    } else {
        path.metadata()
    };
    metadata.ok().filter(|metadata| metadata.is_file()).map(|metadata| metadata.len())
}

/// So many more bytes have been read.
pub fn advance(bytes: usize) {
    let Some(line) = LINE.get() else { return };
    if line.is_hidden() && !line.is_finished() && line.elapsed() >= DELAY {
        line.set_draw_target(ProgressDrawTarget::stderr());
    }
    line.inc(bytes as u64);
}

/// Writes something else to stderr.
pub fn aside<T>(write: impl FnOnce() -> T) -> T {
    match LINE.get() {
        Some(line) => line.suspend(write),
        None => write(),
    }
}

/// Takes the line away.
pub fn end() {
    if let Some(line) = LINE.get() {
        line.finish_and_clear();
    }
}

/// Reads, and says how far.
pub struct Watched<R>(pub R);

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.0.read(buffer)?;
        advance(len);
        Ok(len)
    }
}
