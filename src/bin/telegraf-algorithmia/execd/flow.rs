//! Flow control: how many lines fit into Telegraf's buffer.
//!
//! Telegraf drops the oldest points of an output whose buffer is full. Its metrics `internal_write` of inputs.internal, the
//! gauges, say how full the buffer is. They arrive among the messages. A gauge is old when it is read, so lines that were
//! written since it was made, and those that had not reached the buffer by then, count as if they were in it.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use telegraf_algorithmia::{Metric, lines_of};

use super::{Patience, log};

/// The measurement of the gauges.
const GAUGES: &str = "internal_write";

/// While there is no room, input is read up to the next gauge once per interval between two gauges, for this many
/// gauges. Then the time between looks grows, up to [`Patience::rare_look`], since each look also reads the messages
/// before the gauge.
const EAGER_LOOKS: u32 = 20;

/// A look that has found no gauge in this many bytes of input continues after the interval between two gauges.
const LOOK_SIZE: usize = 256 * 1024;

/// The most that can be in flight between us and the buffer, in bytes and lines: in the pipe, in Telegraf's reader, and
/// in the queues between its parts, which hold 100 metrics each.
const UNDER_WAY_BYTES: u64 = 128 * 1024;
const UNDER_WAY_LINES: u64 = 300;

/// Lines that were written longer ago than this are no longer in flight.
const UNDER_WAY_TIME: Duration = Duration::from_secs(1);

/// How many writes are remembered, and the shortest time between two of them.
const WRITES: usize = 4096;
const WRITE_DISTANCE: Duration = Duration::from_millis(5);

/// What a gauge reports about an output's buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Identifies the output that the gauge belongs to.
    series: Vec<u8>,
    /// When the gauge was made, in nanoseconds since the epoch.
    time: i64,
    pub size: u64,
    pub limit: u64,
    /// How many points the output has dropped.
    pub dropped: u64,
}

impl Reading {
    /// The reading of a metric, if it is a gauge of an output with this name or alias.
    pub fn of(metric: Metric<'_>, output: &str) -> Option<Self> {
        let is_called = |key| metric.tag(key).is_some_and(|name| *name == *output.as_bytes());
        if *metric.name() != *GAUGES.as_bytes() || !(is_called("output") || is_called("alias")) {
            return None;
        }
        let field = |key| metric.integer(key).and_then(|value| u64::try_from(value).ok());
        Some(Reading {
            series: metric.series().to_vec(),
            time: metric.time()?,
            size: field("buffer_size")?,
            limit: field("buffer_limit")?,
            dropped: field("metrics_dropped").unwrap_or(0),
        })
    }
}

/// How many of these lines are gauges. Gauges do not enter the buffer, since InfluxDB has no use for them. If they were
/// counted, points that are still in the buffer would seem to have left it.
pub fn gauges_in(lines: &[u8]) -> u64 {
    lines_of(lines, GAUGES).count() as u64
}

/// The lines without the gauges.
pub fn without_gauges(lines: &[u8]) -> Vec<u8> {
    let (mut others, mut at) = (Vec::with_capacity(lines.len()), 0);
    for gauge in lines_of(lines, GAUGES) {
        others.extend_from_slice(&lines[at..gauge.start]);
        at = gauge.end;
    }
    others.extend_from_slice(&lines[at..]);
    others
}

pub struct Flow {
    output: String,
    patience: Patience,
    started: Instant,
    first_input: Option<Instant>,
    gauges: Vec<Gauge>,
    /// When the last gauge of any output was read.
    last_gauge: Option<Instant>,
    /// The shortest time between two gauges of one output.
    distance: Option<Duration>,
    /// How many gauges in a row left no room.
    full: u32,
    /// When to look for the next gauge, and how many bytes of input have been read since.
    look_at: Instant,
    looked: usize,
    /// The time of each of the last writes, and how many lines had been written before it.
    writes: VecDeque<(Instant, u64)>,
    /// How many lines and bytes have been written.
    lines: u64,
    bytes: u64,
    told: bool,
}

struct Gauge {
    reading: Reading,
    seen: Instant,
    /// How many of the written lines are included in the reading.
    counted: u64,
}

impl Flow {
    /// Flow control by the gauges of the outputs with this name.
    pub fn new(output: String, patience: Patience) -> Self {
        let now = Instant::now();
        Flow {
            output,
            patience,
            started: now,
            first_input: None,
            gauges: Vec::new(),
            last_gauge: None,
            distance: None,
            full: 0,
            look_at: now,
            looked: 0,
            writes: VecDeque::new(),
            lines: 0,
            bytes: 0,
            told: false,
        }
    }

    /// Records a gauge.
    pub fn read(&mut self, reading: Reading) {
        self.read_at(reading, Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
    }

    fn read_at(&mut self, reading: Reading, now: Instant, clock: Duration) {
        // Telegraf rounds times, by default to the second.
        let rounded = [1_000_000_000, 1_000_000].into_iter().find(|unit| reading.time % unit == 0).unwrap_or(0) / 2;
        let age = i64::try_from(clock.as_nanos()).unwrap_or(i64::MAX).saturating_sub(reading.time - rounded);
        let made = now.checked_sub(Duration::from_nanos(age.max(0) as u64)).unwrap_or(self.started);
        let sent = self.lines_before(made);
        let lately = sent - self.lines_before(made.checked_sub(UNDER_WAY_TIME).unwrap_or(self.started));
        let line_size = (self.bytes / self.lines.max(1)).max(1);
        let under_way = lately.min(UNDER_WAY_LINES + UNDER_WAY_BYTES / line_size).min(reading.limit * 2 / 5);
        let counted = sent - under_way;
        match self.gauges.iter_mut().find(|gauge| gauge.reading.series == reading.series) {
            Some(gauge) => {
                let distance = Duration::from_nanos((reading.time - gauge.reading.time).max(0) as u64);
                if distance > Duration::ZERO {
                    let distance = distance.max(Duration::from_millis(20));
                    self.distance = Some(self.distance.map_or(distance, |shortest| shortest.min(distance)));
                }
                // Lines that were counted before are still counted.
                *gauge = Gauge { reading, seen: now, counted: counted.max(gauge.counted) };
            }
            None => self.gauges.push(Gauge { reading, seen: now, counted }),
        }
        // An output that no longer exists sends no more gauges.
        self.gauges.retain(|gauge| now.duration_since(gauge.seen) < 2 * self.patience.last_gauge);
        if std::mem::take(&mut self.told) {
            log::write('I', "flow control again: Telegraf says how full its buffer is");
        }
        self.last_gauge = Some(now);
        self.full = if self.room_by_gauges() == Some(0) { self.full.saturating_add(1) } else { 0 };
        let doublings = self.full.saturating_sub(EAGER_LOOKS).min(16);
        let wait = (self.distance() * 2_u32.pow(doublings)).min(self.patience.rare_look.max(self.distance()));
        (self.look_at, self.looked) = (now + wait, 0);
    }

    /// How many lines had been written at that time, or fewer.
    fn lines_before(&self, when: Instant) -> u64 {
        let later = self.writes.partition_point(|(write, _)| *write <= when);
        match later.checked_sub(1) {
            _ if later == self.writes.len() && !self.moved_since(when) => self.lines,
            Some(index) => self.writes[index].1,
            None => 0,
        }
    }

    /// Whether anything has been written since that time.
    fn moved_since(&self, when: Instant) -> bool {
        self.writes.back().is_some_and(|(write, _)| *write + WRITE_DISTANCE >= when)
    }

    /// Records that lines have been written.
    pub fn wrote(&mut self, lines: u64, bytes: usize) {
        let now = Instant::now();
        if self.writes.back().is_none_or(|(last, _)| now.duration_since(*last) >= WRITE_DISTANCE) {
            if self.writes.len() == WRITES {
                self.writes.pop_front();
            }
            self.writes.push_back((now, self.lines));
        }
        self.lines += lines;
        self.bytes += bytes as u64;
    }

    /// How many lines have been written.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// How many lines may be written now.
    pub fn room(&mut self) -> u64 {
        match self.room_by_gauges() {
            Some(room) => room,
            None if !self.first_wait().is_zero() => 0,
            None => {
                self.tell_none();
                u64::MAX
            }
        }
    }

    /// The room according to the gauges. None without gauges.
    fn room_by_gauges(&self) -> Option<u64> {
        let room = |gauge: &Gauge| {
            // A tenth of the buffer is left for metrics of other inputs, which have no flow control.
            let usable = gauge.reading.limit * 9 / 10;
            usable.saturating_sub(gauge.reading.size + (self.lines - gauge.counted))
        };
        self.gauges.iter().map(room).min()
    }

    /// Whether there are gauges.
    pub fn has_gauges(&self) -> bool {
        !self.gauges.is_empty()
    }

    /// How many of the written lines have left the buffer again. None without gauges.
    pub fn stored(&self) -> Option<u64> {
        self.gauges.iter().map(|gauge| gauge.counted.saturating_sub(gauge.reading.size)).min()
    }

    /// The fullest buffer, as last read.
    pub fn fullest(&self) -> Option<&Reading> {
        let free = |reading: &Reading| reading.limit.saturating_sub(reading.size);
        self.gauges.iter().map(|gauge| &gauge.reading).min_by_key(|reading| free(reading))
    }

    /// How long until there may be room without another gauge.
    pub fn due(&self) -> Option<Duration> {
        (self.gauges.is_empty() && !self.told).then(|| self.first_wait())
    }

    /// How much longer lines wait for a first gauge.
    fn first_wait(&self) -> Duration {
        let without_input = self.started + self.patience.first_input;
        let until =
            self.first_input.map_or(without_input, |first| (first + self.patience.first_gauge).min(without_input));
        until.saturating_duration_since(Instant::now())
    }

    /// While there is no room: how long until the next look for a gauge.
    pub fn look_in(&self) -> Duration {
        self.look_at.saturating_duration_since(Instant::now())
    }

    /// Records that input has arrived. It should contain a gauge from time to time.
    pub fn input_came(&mut self, len: usize) {
        let now = Instant::now();
        self.first_input.get_or_insert(now);
        self.looked += len;
        if self.looked >= LOOK_SIZE {
            (self.look_at, self.looked) = (self.look_at.max(now + self.distance()), 0);
        }
        let patience = self.patience.last_gauge.max(3 * self.distance());
        if self.last_gauge.is_some_and(|last| now.duration_since(last) > patience) {
            self.gauges.clear();
            self.last_gauge = None;
        }
    }

    fn distance(&self) -> Duration {
        self.distance.unwrap_or(Duration::from_secs(1))
    }

    fn tell_none(&mut self) {
        if !std::mem::replace(&mut self.told, true) {
            log::write(
                'W',
                format_args!(
                    "no flow control: Telegraf does not say how full the buffer of outputs.{output} is; it needs \
                     [[inputs.internal]] and \"internal_write\" in the namepass of processors.execd, or the name of another \
                     output in --flow-output",
                    output = self.output,
                ),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOCK: Duration = Duration::from_secs(1_700_000_000);

    fn reading(time: Duration, size: u64, limit: u64) -> Reading {
        let time = time.as_nanos() as i64;
        Reading { series: b"internal_write,output=influxdb_v2".to_vec(), time, size, limit, dropped: 0 }
    }

    /// Flow control after `lines` lines were written a while ago.
    fn flow(lines: u64) -> Flow {
        let mut flow = Flow::new("influxdb_v2".to_owned(), Patience::default());
        flow.wrote(lines, 300 * lines as usize);
        flow
    }

    fn later(seconds: u64) -> Instant {
        Instant::now() + Duration::from_secs(seconds)
    }

    #[test]
    fn room_is_nine_tenths_of_the_buffer_less_what_is_in_it() {
        let mut flow = flow(500);
        assert_eq!(flow.room(), 0, "until a gauge comes");
        assert_eq!(flow.stored(), None);
        flow.read_at(reading(CLOCK, 300, 10_000), later(10), CLOCK);
        assert_eq!(flow.room(), 9000 - 300);
        assert_eq!(flow.stored(), Some(200));
        flow.wrote(1000, 300_000);
        assert_eq!(flow.room(), 9000 - 300 - 1000, "what goes out counts at once");
        flow.read_at(
            reading(CLOCK + Duration::from_secs(10), 9000, 10_000),
            later(20),
            CLOCK + Duration::from_secs(10),
        );
        assert_eq!(flow.room(), 0);
    }

    #[test]
    fn what_went_out_after_a_gauge_was_made_is_not_in_it() {
        let mut flow = flow(0);
        flow.writes.clear();
        let start = Instant::now();
        for second in 0..10 {
            flow.writes.push_back((start + Duration::from_secs(second), 100 * second));
        }
        (flow.lines, flow.bytes) = (1000, 300_000);
        let now = start + Duration::from_secs(20);
        // Made in the fifth second, when 500 lines had been written; the last hundred may still have been in flight.
        let made = CLOCK - Duration::from_millis(14_500);
        flow.read_at(reading(made, 0, 10_000), now, CLOCK);
        assert_eq!(flow.room(), 9000 - 600);
        // An older gauge does not undo what is known.
        flow.read_at(reading(made - Duration::from_secs(2), 0, 10_000), now, CLOCK);
        assert_eq!(flow.room(), 9000 - 600);
        // Times that Telegraf has rounded to the second may be half a second late.
        flow.read_at(reading(CLOCK - Duration::from_secs(13), 0, 10_000), now, CLOCK);
        assert_eq!(flow.room(), 9000 - 500);
    }

    #[test]
    fn the_fullest_output_counts() {
        let mut flow = flow(0);
        let other = Reading { series: b"internal_write,output=influxdb_v2,_id=2".to_vec(), ..reading(CLOCK, 50, 1000) };
        flow.read_at(reading(CLOCK, 0, 10_000), Instant::now(), CLOCK);
        flow.read_at(other.clone(), Instant::now(), CLOCK);
        assert_eq!(flow.room(), 850);
        assert_eq!(flow.fullest(), Some(&other));
    }

    #[test]
    fn a_buffer_that_is_small_is_used_too() {
        let mut flow = flow(0);
        for round in 1..=10 {
            let room = {
                flow.read_at(reading(CLOCK, 0, 10), later(10 * round), CLOCK);
                flow.room()
            };
            assert!((5..=9).contains(&room), "{room} lines");
            flow.wrote(room, 300 * room as usize);
        }
    }

    #[test]
    fn the_next_gauge_is_looked_for_more_rarely_the_longer_there_is_no_room() {
        let mut flow = flow(0);
        assert_eq!(flow.look_in(), Duration::ZERO, "as long as there is none");
        flow.input_came(LOOK_SIZE - 1);
        assert_eq!(flow.look_in(), Duration::ZERO);
        flow.input_came(1);
        assert!(flow.look_in() > Duration::ZERO, "but not all that comes is taken for that");
        for round in 0..100 {
            let made = CLOCK + Duration::from_millis(100 * round);
            flow.read_at(reading(made, 10_000, 10_000), Instant::now(), made);
            if round == 10 {
                assert!(flow.look_in() <= Duration::from_millis(100));
            }
        }
        assert!((Duration::from_secs(2)..=Patience::default().rare_look).contains(&flow.look_in()));
        let made = CLOCK + Duration::from_secs(100);
        flow.read_at(reading(made, 0, 10_000), Instant::now(), made);
        assert!(flow.look_in() <= Duration::from_millis(100));
    }
}
