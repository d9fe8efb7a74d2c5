//! Tells a flood of input from single messages. In a flood it is cheaper to wait a moment and read more at once.

use std::time::{Duration, Instant};

use crate::platform;

/// In a flood, the pause before the next read. What arrives during the pause is read and written together, with one
/// wake-up. A pipe of 64 KiB has room for what Telegraf writes in three times this time; a full pipe would delay it.
const FLOOD_PAUSE: Duration = Duration::from_micros(500);

/// A wait for input counts as part of a flood if it was shorter than `FLOOD_WAIT` or brought `FLOOD_LINES` lines at
/// once. A flood starts when such waits outnumber the others by `FLOOD_WAITS`. On a busy machine, which wakes us late,
/// only the lines show a flood.
const FLOOD_WAITS: u32 = 32;
const FLOOD_WAIT: Duration = Duration::from_micros(50);
const FLOOD_LINES: u64 = 4;

/// A flood ends when a pause has brought fewer lines than `FLOOD_LINES`. If the pause has brought any lines, the next
/// flood has to be longer before it counts, up to this limit: a sender that waits for each answer before the next
/// message must not wait for pauses.
const MAX_FLOOD_WAITS: u32 = 32 * 1024;

/// Tells a flood of input from single messages.
pub struct Flood {
    /// By how many the waits of a flood outnumber the others.
    waits: u32,
    /// The value of `waits` from which it is a flood.
    needed: u32,
    /// When the wait for input began. None if there was no wait.
    wait: Option<Instant>,
    /// In a flood, how many lines have arrived since the last pause.
    lines: Option<u64>,
}

impl Default for Flood {
    fn default() -> Self {
        Flood { waits: 0, needed: FLOOD_WAITS, wait: None, lines: None }
    }
}

impl Flood {
    /// Records that this many lines have arrived.
    pub fn came(&mut self, lines: u64) {
        if let Some(sum) = &mut self.lines {
            *sum += lines;
        }
        if let Some(wait) = self.wait.take() {
            let is_flood = lines >= FLOOD_LINES || wait.elapsed() < FLOOD_WAIT;
            self.waits = if is_flood { self.waits + 1 } else { self.waits.saturating_sub(1) };
        }
    }

    /// There is nothing to read: pauses if this is a flood. Returns whether it paused.
    pub fn pause(&mut self) -> bool {
        match self.lines {
            None if self.waits < self.needed => return false,
            None => {}
            // This is a gap in the flood, not a sender that waits for us.
            Some(0) => {
                *self = Flood { needed: self.needed, ..Flood::default() };
                return false;
            }
            Some(lines) if lines < FLOOD_LINES => {
                *self = Flood { needed: (4 * self.needed).min(MAX_FLOOD_WAITS), ..Flood::default() };
                return false;
            }
            Some(_) => self.needed = FLOOD_WAITS,
        }
        self.lines = Some(0);
        if let Some(pause) = platform::while_waiting(Some(FLOOD_PAUSE)) {
            std::thread::sleep(pause);
        }
        true
    }

    /// Records that a wait for input begins.
    pub fn begin_wait(&mut self) {
        self.wait = Some(Instant::now());
    }
}
