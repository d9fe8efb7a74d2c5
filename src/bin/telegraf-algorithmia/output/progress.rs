//! The progress of long files: one line on a terminal, removed at the end. Standard error belongs to the whole process, and
//! so does this line; everything else that is written there has to go [around](aside) it.

use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::platform;

/// The minimum size in bytes. Smaller files are finished before anyone has read the line.
const LEAST: u64 = 16 * 1024 * 1024;

static LINE: OnceLock<Line> = OnceLock::new();

struct Line {
    bar: ProgressBar,
    /// How long after the start the line is shown.
    delay: Duration,
}

/// Starts to show how much of these inputs (none for stdin) has been read, if stderr is a terminal, the lines go
/// elsewhere, and all inputs are files. The line appears after `delay`, since nobody could read a line that disappears
/// at once.
pub fn start(inputs: &[PathBuf], delay: Duration) {
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
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden());
    let _ = LINE.set(Line { bar: bar.with_style(style.progress_chars("=> ")), delay });
}

/// The size of a file, or of stdin if stdin is a file.
fn size(path: &Path) -> Option<u64> {
    let metadata =
        if path == Path::new("-") { platform::file_of(io::stdin()).ok()?.metadata() } else { path.metadata() };
    metadata.ok().filter(|metadata| metadata.is_file()).map(|metadata| metadata.len())
}

/// Records that this many more bytes have been read.
pub fn advance(bytes: usize) {
    let Some(Line { bar, delay }) = LINE.get() else { return };
    if bar.is_hidden() && !bar.is_finished() && bar.elapsed() >= *delay {
        bar.set_draw_target(ProgressDrawTarget::stderr());
    }
    bar.inc(bytes as u64);
}

/// Writes something else to stderr, without the progress line.
pub fn aside<T>(write: impl FnOnce() -> T) -> T {
    match LINE.get() {
        Some(line) => line.bar.suspend(write),
        None => write(),
    }
}

/// Removes the progress line.
pub fn end() {
    if let Some(line) = LINE.get() {
        line.bar.finish_and_clear();
    }
}

/// A reader that reports its progress.
pub struct Watched<R>(pub R);

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.0.read(buffer)?;
        advance(len);
        Ok(len)
    }
}
