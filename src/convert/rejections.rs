//! The times of rejections, which keep different rejections apart: they have no request id, and Telegraf may give several
//! messages the same time. This holds for any number of rejections in a row with one given time, and for as many as are
//! remembered if given times alternate.
//!
//! A message that is rejected again gets the same time again, also in another process: the time comes from the metric's time
//! and the message alone, unless another message had it, or more than half as many as are remembered came in a row with one
//! given time.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::payload::timestamp::{self, Timestamp};

/// The number of rejections whose times are remembered.
const REMEMBERED: usize = 16_384;

/// Remembers which times are taken.
#[derive(Debug, Default)]
pub(crate) struct RejectionTimes {
    /// The times of rejections, by the time that the metric or the clock gave and the hash of the rejected text. An equal
    /// rejection gets the same time.
    known: HashMap<(i64, u64), i64>,
    taken: Taken,
    order: VecDeque<(i64, u64)>,
    run: Run,
}

/// The latest rejections that were given the same time. There may be more of them than the digits to fill can keep apart,
/// and more than are remembered.
#[derive(Debug, Default)]
struct Run {
    given: i64,
    count: usize,
    /// The latest of their times.
    highest: i64,
}

/// A set of times, kept as intervals: the first and the last time of each. No two intervals touch, so there is a free time
/// after each, however many times are taken.
#[derive(Debug, Default)]
struct Taken(BTreeMap<i64, i64>);

impl RejectionTimes {
    /// A time for a rejected text with this hash. The digits that the given time lacks (trailing zeros, six at most) are
    /// filled from the hash. If another text has that time, the next free one is used.
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
        while let Some((_, last)) = self.taken.interval(time) {
            time = after(last);
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
            self.taken.remove(time);
        }
        time
    }
}

impl Taken {
    /// The first and the last time of the interval that contains `time`.
    fn interval(&self, time: i64) -> Option<(i64, i64)> {
        let (first, last) = self.0.range(..=time).next_back()?;
        (time <= *last).then_some((*first, *last))
    }

    /// Adds a time that is not in the set.
    fn insert(&mut self, time: i64) {
        let last = self.0.remove(&time.saturating_add(1)).unwrap_or(time);
        match self.0.range_mut(..time).next_back() {
            Some((_, before)) if *before + 1 == time => *before = last,
            _ => drop(self.0.insert(time, last)),
        }
    }

    fn remove(&mut self, time: i64) {
        let Some((first, last)) = self.interval(time) else { return };
        if first < time {
            self.0.insert(first, time - 1);
        } else {
            self.0.remove(&first);
        }
        if time < last {
            self.0.insert(time + 1, last);
        }
    }
}

/// The next nanosecond that InfluxDB stores.
fn after(time: i64) -> i64 {
    timestamp::later(time, 1).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn hash(index: usize) -> u64 {
        xxhash_rust::xxh3::xxh3_64(&index.to_le_bytes())
    }

    #[test]
    fn different_texts_never_share_a_time() {
        for (given, count) in [
            (1_613_780_514_867_231_593, 4 * REMEMBERED),
            (1_613_780_514_867_231_000, 4 * REMEMBERED),
            (1_613_780_514_867_000_000, 4 * REMEMBERED),
        ] {
            let mut times = RejectionTimes::default();
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

    /// Checks that the time after an interval is free.
    #[test]
    fn times_in_a_row_are_one_interval_whatever_times_are_given() {
        const LAST: i64 = i64::MAX - 1;
        for given in [&[7][..], &[7, 1_613_780_514_867_231_593], &[7, 8], &[LAST, 7, LAST - 1], &[1, LAST]] {
            let mut times = RejectionTimes::default();
            for index in 0..2 * REMEMBERED {
                times.time(given[index % given.len()], hash(index));
                // Behind the last time comes 0, and at the start of an interval some are forgotten.
                assert!(times.taken.0.len() <= 2 * given.len() + 1, "{given:?}: {:?}", times.taken);
            }
        }
    }

    /// The same with a plain set of times, which searches for a free time nanosecond by nanosecond.
    #[derive(Default)]
    struct Model {
        known: HashMap<(i64, u64), i64>,
        taken: HashSet<i64>,
        order: VecDeque<(i64, u64)>,
        run: Run,
    }

    impl Model {
        fn time(&mut self, given: i64, hash: u64) -> i64 {
            if let Some(time) = self.known.get(&(given, hash)) {
                return *time;
            }
            if self.run.given != given {
                self.run = Run { given, count: 0, highest: i64::MIN };
            }
            let unknown = timestamp::trailing_zeros(given);
            let mut time = if self.run.count > (10usize.pow(unknown) / 2).min(REMEMBERED / 2) {
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
            if self.order.len() > REMEMBERED {
                let time = self.known.remove(&self.order.pop_front().unwrap()).unwrap();
                self.taken.remove(&time);
            }
            time
        }
    }

    /// Whether both give the same times, and no more is remembered than should be.
    fn agree(given: impl Iterator<Item = (i64, u64)>) {
        let (mut times, mut model) = (RejectionTimes::default(), Model::default());
        for (at, (given, hash)) in given.enumerate() {
            assert_eq!(times.time(given, hash), model.time(given, hash), "number {at}, {given}");
        }
        let mut taken: Vec<i64> = times.taken.0.iter().flat_map(|(first, last)| *first..=*last).collect();
        let mut expected: Vec<i64> = model.taken.into_iter().collect();
        taken.sort_unstable();
        expected.sort_unstable();
        assert_eq!(taken, expected);
        let intervals: Vec<_> = times.taken.0.into_iter().collect();
        assert!(intervals.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0), "neighbours are one interval");
    }

    proptest! {
        #[test]
        fn times_are_those_of_a_plain_set(
            base in prop_oneof![
                Just(i64::MIN + 1), Just(-3), Just(i64::MAX - 20), Just(i64::MAX), Just(1_613_780_514_867_000_000)
            ],
            given in vec((0..6i64, prop_oneof![Just(1), Just(1000), Just(1_000_000)], 0..40u64), 1..400),
        ) {
            agree(given.into_iter().map(|(place, unit, hash)| (base.saturating_add(place * unit), hash)));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]

        /// Few rejections have the same time, so that the plain set is fast enough.
        #[test]
        fn so_they_are_where_more_are_given_than_are_remembered(
            distinct in 500..5000usize,
            apart in 20..200i64,
            in_a_row in 1..4usize,
        ) {
            let given = |index: usize| 1_613_780_514_867_231_593 + (index / in_a_row % distinct) as i64 * apart;
            agree((0..2 * REMEMBERED).map(|index| (given(index), hash(index / 2))));
        }
    }
}
