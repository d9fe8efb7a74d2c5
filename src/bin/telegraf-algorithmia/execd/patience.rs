//! Every duration for which the program waits, and why. Tests divide them.

use std::time::Duration;

/// The durations of one process. Documentation, help and log state the undivided durations, which are the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How long to wait for a journal that another process holds before it counts as in use. The previous process may
    /// need this long to read what was left in its pipes when Telegraf died.
    pub lock: Duration,
    /// The time between two log lines that report a journal in use. The lines are rare, and show that the problem
    /// persists.
    pub lock_reminder: Duration,
    /// How long until a journal that cannot be written is tried again. First someone has to free room on the disk, and
    /// each failure writes a log line.
    pub retry: Duration,
    /// How long lines wait for a first gauge after the first input. Ten seconds is Telegraf's default interval, so a
    /// gauge that arrives at all arrives within it.
    pub first_gauge: Duration,
    /// How long lines wait for a first gauge after the start, if there is no input. It covers the start of Telegraf's
    /// inputs.
    pub first_input: Duration,
    /// After this long without a gauge, while input arrives, flow control ends. It is three intervals of Telegraf's
    /// default.
    pub last_gauge: Duration,
    /// The longest time between two looks for a gauge while there is no room. Telegraf cannot stop before its last
    /// message has been read, and has room for only a few waiting gauges.
    pub rare_look: Duration,
    /// After this long, a wait for room is logged. A shorter wait is normal: the output writes in batches.
    pub long_wait: Duration,
    /// After a signal: how long without input until no more is expected. When the whole service stops, Telegraf gets
    /// the signal together with us, and still has to write what it has read from Kafka. Tests do not divide this
    /// duration: they have to write within it, even on a busy machine.
    pub quiet: Duration,
    /// After a signal, unless there is a supervisor, and again at the end of the output: the longest time to continue.
    /// Telegraf kills a child 10 s after it has closed the child's stdin.
    pub end: Duration,
    /// The period in which the log writes a few lines of each kind, and a count at its end.
    pub log_period: Duration,
    /// A worker that dies before this age dies young. If many in a row do, the next one would too.
    pub young: Duration,
    /// How long after the start progress is shown. A file that is finished before needs no progress.
    pub progress: Duration,
}

impl Patience {
    /// The durations, all but `quiet` divided by `divisor`, which is not 0.
    pub fn divided(divisor: u32) -> Self {
        let seconds = |seconds| Duration::from_secs(seconds) / divisor;
        Patience {
            lock: seconds(10),
            lock_reminder: seconds(60),
            retry: seconds(10),
            first_gauge: seconds(10),
            first_input: seconds(30),
            last_gauge: seconds(30),
            rare_look: seconds(3),
            long_wait: seconds(10),
            quiet: Duration::from_secs(1),
            end: seconds(4),
            log_period: seconds(60),
            young: seconds(1),
            progress: Duration::from_millis(500) / divisor,
        }
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self::divided(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RELIABILITY: &str = include_str!("../../../../docs/reliability.md");
    const OPERATIONS: &str = include_str!("../../../../docs/operations.md");
    const BY_HAND: &str = include_str!("../../../../docs/by_hand.md");
    const MANUAL: &str = include_str!("../manual.roff");

    #[test]
    fn the_documents_name_the_undivided_times() {
        let patience = Patience::default();
        assert!(RELIABILITY.contains(&format!("which is tried again every {} s.", patience.retry.as_secs())));
        assert_eq!(patience.quiet, Duration::from_secs(1));
        assert!(MANUAL.contains("until nothing more has come for a second;"));
        assert_eq!(patience.progress, Duration::from_millis(500));
        assert!(BY_HAND.contains("after half a second"));
        assert_eq!(patience.log_period, Duration::from_secs(60));
        assert!(OPERATIONS.contains("For each reason and minute, it logs a few lines and then a count."));
        let telegraf_kills = Duration::from_secs(10);
        assert!(patience.quiet + 2 * patience.end < telegraf_kills, "the end of the input and of the output");
    }

    #[test]
    fn all_times_are_divided_but_the_one_that_tests_write_in() {
        let milliseconds = Duration::from_millis;
        let divided = Patience {
            lock: milliseconds(100),
            lock_reminder: milliseconds(600),
            retry: milliseconds(100),
            first_gauge: milliseconds(100),
            first_input: milliseconds(300),
            last_gauge: milliseconds(300),
            rare_look: milliseconds(30),
            long_wait: milliseconds(100),
            quiet: milliseconds(1000),
            end: milliseconds(40),
            log_period: milliseconds(600),
            young: milliseconds(10),
            progress: milliseconds(5),
        };
        assert_eq!(Patience::divided(100), divided);
    }
}
