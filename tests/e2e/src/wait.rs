//! Waiting for conditions, so that no test sleeps and hopes.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long a condition rests between two looks.
const POLL: Duration = Duration::from_millis(25);

/// Looks at `condition` until it gives a value, fails, or `timeout` has passed.
///
/// The error says what was waited for and for how long.
pub fn wait_for<T>(what: &str, timeout: Duration, mut condition: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(value) = condition().with_context(|| format!("while waiting for {what}"))? {
            return Ok(value);
        }
        if start.elapsed() >= timeout {
            bail!("waited {timeout:?} for {what}, in vain");
        }
        thread::sleep(POLL);
    }
}
