//! The self-report: a metric with the counts of all input since the start, and the lag of calls since the last report.

use std::io::Write;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use telegraf_algorithmia::{Counts, Reason, escape_key};

use super::flow::Reading;
use super::outlet::Sums;
use crate::platform;

/// The delay of calls, from the time in their payload to the moment in which they are read, in nanoseconds. It is
/// negative if the clock that gave the time is ahead of ours.
#[derive(Default)]
pub struct Lag {
    /// When the current input was read.
    now: i64,
    sum: i128,
    count: i128,
    max: Option<i64>,
}

impl Lag {
    /// The input that follows is read now.
    pub fn read_now(&mut self) {
        self.now = now();
    }

    /// Records a call that was made at this time.
    pub fn came(&mut self, time: i64) {
        let lag = self.now.saturating_sub(time);
        self.sum += i128::from(lag);
        self.count += 1;
        self.max = self.max.max(Some(lag));
    }

    /// The mean and the longest delay since this was last called. None if there was no call.
    fn take(&mut self) -> Option<(i64, i64)> {
        let Lag { sum, count, max, .. } = std::mem::replace(self, Lag { now: self.now, ..Lag::default() });
        // The mean of 64-bit numbers fits into 64 bits.
        max.map(|max| (sum.div_euclid(count) as i64, max))
    }
}

/// Nanoseconds since the epoch by this machine's clock.
fn now() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_nanos()).unwrap_or(i64::MAX)
}

pub struct Stats {
    every: Duration,
    next: Instant,
    /// The measurement and the tags, as line protocol.
    series: Vec<u8>,
}

impl Stats {
    /// A report in the measurement `name`, tagged with the host's name and with `instance`, which distinguishes the
    /// processes of one host.
    pub fn new(every: Duration, name: &str, instance: &str) -> Self {
        let mut series = Vec::new();
        escape_key(name.as_bytes(), &mut series);
        let host = platform::host_name();
        for (key, value) in [("host", host.as_bytes()), ("instance", instance.as_bytes())] {
            if !value.is_empty() {
                series.extend_from_slice(format!(",{key}=").as_bytes());
                escape_key(value, &mut series);
            }
        }
        Stats { every, next: Instant::now() + every, series }
    }

    /// How long until the next report.
    pub fn due(&self) -> Duration {
        self.next.saturating_duration_since(Instant::now())
    }

    /// Appends the report to `out`. The next one is due after the interval, and covers the calls that are read until
    /// then.
    pub fn write(
        &mut self,
        counts: &Counts,
        lag: &mut Lag,
        received: u64,
        sums: &Sums,
        fullest: Option<&Reading>,
        out: &mut Vec<u8>,
    ) {
        self.next = Instant::now() + self.every;
        let Counts { converted, passed, rejected, left_out, time_defaulted, strings_cut } = *counts;
        out.extend_from_slice(&self.series);
        let mut separator = ' ';
        let mut integer = |key: &str, value: i64| {
            let _ = write!(out, "{separator}{key}={value}i");
            separator = ',';
        };
        let mut field = |key: &str, value: u64| integer(key, i64::try_from(value).unwrap_or(i64::MAX));
        field("received", converted + passed + counts.all_rejected());
        field("received_bytes", received);
        field("converted", converted);
        field("passed", passed);
        field("rejected", counts.all_rejected());
        for (reason, count) in Reason::ALL.iter().zip(rejected) {
            field(&format!("rejected_{reason}"), count);
        }
        field("time_defaulted", time_defaulted);
        field("fields_left_out", left_out);
        field("strings_cut", strings_cut);
        field("written_bytes", sums.bytes);
        field("replayed", sums.replayed);
        field("journal_written_bytes", sums.journal_written);
        field("journal_bytes", sums.journal_bytes);
        field("queue_bytes", sums.waiting);
        field("throttled_ms", u64::try_from(sums.waited.as_millis()).unwrap_or(u64::MAX));
        if let Some(fullest) = fullest {
            field("telegraf_buffer_size", fullest.size);
            field("telegraf_buffer_limit", fullest.limit);
            field("telegraf_dropped", fullest.dropped);
        }
        if let Some((mean, max)) = lag.take() {
            for (key, nanoseconds) in [("lag_mean_ms", mean), ("lag_max_ms", max)] {
                integer(key, nanoseconds.div_euclid(1_000_000));
            }
        }
        let _ = writeln!(out, " {}", now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_of_each_interval_is_its_own() {
        let mut lag = Lag { now: 1000, ..Lag::default() };
        assert_eq!(lag.take(), None);
        [900, 400, 300].into_iter().for_each(|time| lag.came(time));
        assert_eq!(lag.take(), Some((466, 700)));
        assert_eq!(lag.take(), None);
        [1005, 1002].into_iter().for_each(|time| lag.came(time));
        assert_eq!(lag.take(), Some((-4, -2)), "rounded down");
    }

    #[test]
    fn times_at_the_ends_of_what_is_stored_do_no_harm() {
        let mut lag = Lag { now: i64::MAX, ..Lag::default() };
        (0..3).for_each(|_| lag.came(i64::MIN));
        assert_eq!(lag.take(), Some((i64::MAX, i64::MAX)));
        lag.now = i64::MIN;
        (0..3).for_each(|_| lag.came(i64::MAX));
        assert_eq!(lag.take(), Some((i64::MIN, i64::MIN)));
    }
}
