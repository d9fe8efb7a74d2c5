//! The self-report: a metric with what has become of all input since the start.

use std::io::Write;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use telegraf_algorithmia::{Counts, Reason, escape_key};

use super::flow::Reading;
use super::outlet::Sums;

pub struct Stats {
    every: Duration,
    next: Instant,
    /// The measurement and the tags, as they are written.
    series: Vec<u8>,
}

impl Stats {
    /// A report of the measurement `name`, tagged with the host's name and with `instance`, which tells apart the processes of
    /// one host.
    pub fn new(every: Duration, name: &str, instance: &str) -> Self {
        let mut series = Vec::new();
        escape_key(name.as_bytes(), &mut series);
        let uname = rustix::system::uname();
        for (key, value) in [("host", uname.nodename().to_bytes()), ("instance", instance.as_bytes())] {
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

    /// Appends the report to `out`. The next one is due after the usual time.
    pub fn write(&mut self, counts: &Counts, received: u64, sums: &Sums, fullest: Option<&Reading>, out: &mut Vec<u8>) {
        self.next = Instant::now() + self.every;
        let Counts { converted, passed, rejected, left_out, time_defaulted, strings_cut } = *counts;
        out.extend_from_slice(&self.series);
        let mut separator = ' ';
        let mut field = |key: &str, value: u64| {
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            let _ = write!(out, "{separator}{key}={value}i");
            separator = ',';
        };
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
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let _ = writeln!(out, " {}", now.as_nanos());
    }
}
