//! The times of rejections, so that different ones do not share one: they have no request's id that would keep them
//! apart, and Telegraf may give several messages the same time. That holds for any number of rejections in a row that were
//! given one time, and for as many as are remembered where given times come back in turn.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::timestamp::{self, Timestamp};

/// Of how many rejections the times are remembered.
const REMEMBERED: usize = 16_384;

/// Remembers which times are taken.
#[derive(Debug, Default)]
pub(crate) struct RejectionTimes {
    /// By the time that the metric or the clock gave and the hash of what was rejected: the same again gets the same.
    known: HashMap<(i64, u64), i64>,
    taken: HashSet<i64>,
    order: VecDeque<(i64, u64)>,
    run: Run,
}

/// The latest rejections that were given the same time. They may be more than the digits to fill can tell apart, and more than
/// what is remembered.
#[derive(Debug, Default)]
struct Run {
    given: i64,
    count: usize,
    /// The last of their times.
    highest: i64,
}

impl RejectionTimes {
    /// A time for a rejected text of this hash: the given one, with the digits that it lacks (trailing zeros, six at most)
    /// filled from the hash, and moved on while another text has it.
    pub fn time(&mut self, given: i64, hash: u64) -> i64 {
        if let Some(time) = self.known.get(&(given, hash)) {
            return *time;
        }
        if self.run.given != given {
            self.run = Run { given, count: 0, highest: i64::MIN };
        }
        let unknown = timestamp::trailing_zeros(given);
        let room = (10usize.pow(unknown) / 2).min(REMEMBERED / 2);
        let mut time = if self.run.count > room {
            after(self.run.highest)
        } else {
            Timestamp { nanoseconds: given, unknown }.filled(hash)
        };
        while self.taken.contains(&time) {
            time = after(time);
        }
        self.run.count += 1;
        self.run.highest = self.run.highest.max(time);
        self.known.insert((given, hash), time);
        self.taken.insert(time);
        self.order.push_back((given, hash));
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
            && let Some(time) = self.known.remove(&oldest)
        {
            self.taken.remove(&time);
        }
        time
    }
}

/// The next nanosecond that InfluxDB stores.
fn after(time: i64) -> i64 {
    timestamp::of_metric(time, 1).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_texts_never_share_a_time() {
        for (given, count) in [
            (1_613_780_514_867_231_593, 4 * REMEMBERED),
            (1_613_780_514_867_231_000, 4 * REMEMBERED),
            (1_613_780_514_867_000_000, 4 * REMEMBERED),
        ] {
            let mut times = RejectionTimes::default();
            let hash = |index: usize| xxhash_rust::xxh3::xxh3_64(&index.to_le_bytes());
            let all: HashSet<i64> = (0..count).map(|index| times.time(given, hash(index))).collect();
            assert_eq!(all.len(), count, "{given}");
        }
    }

    #[test]
    fn the_same_text_gets_the_same_time() {
        let mut times = RejectionTimes::default();
        let first: Vec<i64> = (0..100).map(|hash| times.time(5, hash)).collect();
        let second: Vec<i64> = (0..100).map(|hash| times.time(5, hash)).collect();
        assert_eq!(first, second);
        assert_eq!(first[..3], [5, 6, 7]);
    }
}
