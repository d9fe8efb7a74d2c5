//! Output for people: tables, summaries, and how far a file has been read.

pub mod progress;
pub mod shown;
mod summary;
mod table;

use anstyle::{AnsiColor, Style};

pub use self::summary::summarize;
pub use self::table::Report;

const HEADING: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const LOST: Style = AnsiColor::Yellow.on_default();
const ASIDE: Style = Style::new().dimmed();
