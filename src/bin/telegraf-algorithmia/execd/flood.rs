//! Tells a flood of input from single messages. In a flood it is cheaper to wait a moment and read more at once.

use std::time::{Duration, Instant};

use crate::platform;

/// In a flood, wait so long before reading on: what comes meanwhile is read, written and woken up for at once. A pipe of
/// 64 KiB has room for what Telegraf writes in three times as long; one that is full would hold it up.
const FLOOD_PAUSE: Duration = Duration::from_micros(500);

/// It is a flood when so many more waits for input were short, or brought so many lines at once, than were and did neither.
/// On a busy machine, which wakes us late, it is the lines that tell.
const FLOOD_WAITS: u32 = 32;
const FLOOD_WAIT: Duration = Duration::from_micros(50);
const FLOOD_LINES: u64 = 4;

/// It is one no longer when a pause has brought fewer lines. If it has brought any, the next flood has to be longer before
/// it counts: a sender that waits for each answer before the next message must not wait for pauses.
const MAX_FLOOD_WAITS: u32 = 32 * 1024;

/// Tells a flood of input from single messages.
pub struct Flood {
    /// How many more waits were those of a flood than were not.
    waits: u32,
    /// How many of them make a flood.
    needed: u32,
    /// When the wait for input began. None if there was none.
    wait: Option<Instant>,
    /// In a flood, the lines that have come since the last pause.
    lines: Option<u64>,
}

impl Default for Flood {
    fn default() -> Self {
        Flood { waits: 0, needed: FLOOD_WAITS, wait: None, lines: None }
    }
}

impl Flood {
    /// So many lines have come.
    pub fn came(&mut self, lines: u64) {
        if let Some(sum) = &mut self.lines {
            *sum += lines;
        }
        if let Some(wait) = self.wait.take() {
            let is_flood = lines >= FLOOD_LINES || wait.elapsed() < FLOOD_WAIT;
            self.waits = if is_flood { self.waits + 1 } else { self.waits.saturating_sub(1) };
        }
    }

    /// There is nothing to read: makes a pause if this is a flood, and says so.
    pub fn pause(&mut self) -> bool {
        match self.lines {
            None if self.waits < self.needed => return false,
            None => {}
            // A gap in the flood, rather than a sender that waits for us.
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

    /// A wait for input begins.
    pub fn begin_wait(&mut self) {
        self.wait = Some(Instant::now());
    }
}
