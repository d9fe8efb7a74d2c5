//! The distribution of a metric's values: count, minimum, mean, maximum and a histogram, in one pass and little memory.

use std::ops::Range;

/// A histogram has at most this many bins.
const BINS: usize = 24;

/// The number of leading digits that determine a number's bin.
const DIGITS: u32 = 17;

/// The values of one metric.
#[derive(Clone, Debug, Default)]
pub struct Spread {
    count: u64,
    least: f64,
    most: f64,
    mean: f64,
    /// The least and the greatest value, if all values are integers. They may have more digits than a float holds.
    integers: Option<(i128, i128)>,
    histogram: Histogram,
}

impl Spread {
    /// Adds the value of a field, as line protocol writes it. False if it is not a number.
    pub(crate) fn add(&mut self, text: &str) -> bool {
        let integer = text.strip_suffix(['i', 'u']);
        let digits = integer.unwrap_or(text);
        let (Ok(value), Some(decimal)) = (digits.parse::<f64>(), Decimal::of(digits)) else { return false };
        let integer = integer.and_then(|digits| digits.parse::<i128>().ok());
        self.count += 1;
        if self.count == 1 {
            (self.least, self.most, self.mean) = (value, value, value);
            self.integers = integer.map(|integer| (integer, integer));
        } else {
            (self.least, self.most) = (self.least.min(value), self.most.max(value));
            // Welford's method, because a plain sum loses digits as it grows.
            let count = self.count as f64;
            let away = value - self.mean;
            self.mean += if away.is_finite() { away / count } else { value / count - self.mean / count };
            self.integers = match (self.integers, integer) {
                (Some((least, most)), Some(integer)) => Some((least.min(integer), most.max(integer))),
                _ => None,
            };
        }
        self.histogram.add(decimal);
        true
    }

    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The least value.
    pub fn least(&self) -> f64 {
        self.least
    }

    /// The mean.
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// The greatest value.
    pub fn most(&self) -> f64 {
        self.most
    }

    /// The least and the greatest value with all digits, if all values are integers.
    pub fn integers(&self) -> Option<(i128, i128)> {
        self.integers
    }

    /// The histogram of the values.
    pub fn histogram(&self) -> &Histogram {
        &self.histogram
    }
}

/// A histogram: how many values are in each of at most 24 bins of the same width.
///
/// The width is one or five times a power of ten, the smallest with which all values fit, and the bins begin at multiples of
/// it. So the bins depend on the least and the greatest value only, not on the order of the values: if a value does not fit,
/// five bins, or two, are merged into one. A value's decimal digits determine its bin, not its nearest `f64`.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    /// The bins' width: 10^(`level` / 2), and five times that if `level` is odd.
    level: i32,
    /// The first bin begins at this multiple of the width.
    first: i64,
    counts: [u64; BINS],
    len: usize,
}

impl Histogram {
    fn add(&mut self, value: Decimal) {
        let finest = 2 * (value.exponent + value.digits() - DIGITS as i32);
        if self.len == 0 {
            self.level = finest;
        }
        while self.level < finest {
            self.coarsen();
        }
        let mut index = value.index(self.level);
        while !self.widen(index) {
            self.coarsen();
            index = value.index(self.level);
        }
        self.counts[(index - self.first) as usize] += 1;
    }

    /// Makes room for the bin at `index`; false if there is no room.
    fn widen(&mut self, index: i64) -> bool {
        if self.len == 0 {
            self.first = index;
        }
        let last = (self.first + self.len.max(1) as i64 - 1).max(index);
        let first = self.first.min(index);
        if last - first >= BINS as i64 {
            return false;
        }
        self.counts.copy_within(..BINS - (self.first - first) as usize, (self.first - first) as usize);
        self.counts[..(self.first - first) as usize].fill(0);
        (self.first, self.len) = (first, (last - first) as usize + 1);
        true
    }

    /// Merges the bins into bins of the next width.
    fn coarsen(&mut self) {
        let factor = if self.level % 2 == 0 { 5 } else { 2 };
        self.level += 1;
        if self.len == 0 {
            return;
        }
        let first = self.first.div_euclid(factor);
        let mut counts = [0; BINS];
        for (at, count) in self.counts[..self.len].iter().enumerate() {
            counts[((self.first + at as i64).div_euclid(factor) - first) as usize] += count;
        }
        self.len = ((self.first + self.len as i64 - 1).div_euclid(factor) - first) as usize + 1;
        (self.first, self.counts) = (first, counts);
    }

    /// The number of values in each bin. The first and the last bin are never empty.
    pub fn counts(&self) -> &[u64] {
        &self.counts[..self.len]
    }

    /// The start of the first bin, and the end of the last one.
    pub fn range(&self) -> Range<f64> {
        self.edge(self.first)..self.edge(self.first + self.len as i64)
    }

    /// The width of a bin.
    pub fn width(&self) -> f64 {
        self.edge(1)
    }

    fn edge(&self, index: i64) -> f64 {
        let index = if self.level % 2 == 0 { index } else { 5 * index };
        // The nearest float to these digits, as the number is usually written.
        format!("{index}e{}", self.level.div_euclid(2)).parse().unwrap_or(f64::NAN)
    }
}

/// A number as it is written: `mantissa` times ten to the power of `exponent`, rounded down to 18 digits.
#[derive(Clone, Copy, Debug)]
struct Decimal {
    mantissa: i64,
    exponent: i32,
}

impl Decimal {
    fn of(text: &str) -> Option<Self> {
        const MOST: i64 = 10i64.pow(17);
        let (digits, exponent) = match text.split_once(['e', 'E']) {
            Some((digits, exponent)) => (digits, exponent.parse::<i32>().ok()?.clamp(-9999, 9999)),
            None => (text, 0),
        };
        let (negative, digits) = digits.strip_prefix('-').map_or((false, digits), |digits| (true, digits));
        let (mut mantissa, mut exponent) = (0i64, exponent);
        let (mut is_fraction, mut is_cut) = (false, false);
        for byte in digits.bytes() {
            match byte {
                b'.' => is_fraction = true,
                b'0'..=b'9' if mantissa < MOST => {
                    mantissa = 10 * mantissa + i64::from(byte - b'0');
                    exponent -= i32::from(is_fraction);
                }
                b'0'..=b'9' => {
                    is_cut |= byte != b'0';
                    exponent += i32::from(!is_fraction);
                }
                _ => return None,
            }
        }
        let mantissa = if negative { -mantissa - i64::from(is_cut) } else { mantissa };
        Some(if mantissa == 0 { Decimal { mantissa: 0, exponent: -400 } } else { Decimal { mantissa, exponent } })
    }

    /// The number of the mantissa's digits.
    fn digits(&self) -> i32 {
        self.mantissa.unsigned_abs().checked_ilog10().map_or(0, |log| log as i32 + 1)
    }

    /// The number's bin at a level, which must not be finer than all of its digits.
    fn index(&self, level: i32) -> i64 {
        let shift = self.exponent - level.div_euclid(2);
        let power = |shift: i32| u32::try_from(shift).ok().and_then(|shift| 10i64.checked_pow(shift));
        let index = match power(shift.abs()) {
            Some(power) if shift >= 0 => self.mantissa.saturating_mul(power),
            Some(power) => self.mantissa.div_euclid(power),
            None if shift >= 0 => 0,
            None => -i64::from(self.mantissa < 0),
        };
        if level % 2 == 0 { index } else { index.div_euclid(5) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn spread(texts: &[&str]) -> Spread {
        let mut spread = Spread::default();
        texts.iter().for_each(|text| assert!(spread.add(text), "{text}"));
        spread
    }

    fn bins(texts: &[&str]) -> (Range<f64>, f64, Vec<u64>) {
        let spread = spread(texts);
        let histogram = spread.histogram();
        (histogram.range(), histogram.width(), histogram.counts().to_vec())
    }

    #[test]
    fn bins_are_as_wide_as_people_would_make_them() {
        assert_eq!(bins(&["0", "0.25", "0.15", "0.3"]), (0.0..0.35, 0.05, vec![1, 0, 0, 1, 0, 1, 1]));
        assert_eq!(bins(&["8", "9", "7", "12", "31"]), (5.0..35.0, 5.0, vec![3, 1, 0, 0, 0, 1]));
        assert_eq!(bins(&["-1", "1"]), (-1.0..1.1, 0.1, [vec![1], vec![0; 19], vec![1]].concat()));
        assert_eq!(bins(&["1e300", "0"]), (0.0..1.05e300, 5e298, [vec![1], vec![0; 19], vec![1]].concat()));
        assert_eq!(bins(&["29", "29", "29"]).2, [3]);
        assert_eq!(bins(&["0", "0"]).2, [2]);
        assert_eq!(bins(&["5e-324", "1.7976931348623157e308", "-1.7976931348623157e308"]).2.iter().sum::<u64>(), 3);
        assert_eq!(bins(&["9223372036854775807i", "-9223372036854775808i", "18446744073709551615u"]).2.len(), 6);
    }

    #[test]
    fn least_and_most_are_exact_and_the_mean_is_near() {
        let large = spread(&["9007199254740993i", "9007199254740992i"]);
        assert_eq!(large.integers(), Some((9007199254740992, 9007199254740993)));
        let far = spread(&["1.7e308", "-1.7e308", "1.7e308", "-1.7e308"]);
        assert!(far.mean().abs() < 1e295, "{}", far.mean());
        let mut near = Spread::default();
        (0..1_000_000).for_each(|at| assert!(near.add(&format!("1000000000.{}", at % 10))));
        assert!((near.mean() - 1_000_000_000.45).abs() < 1e-6, "{}", near.mean());
        assert!(!near.add("true") && !near.add("\"1\"") && near.count() == 1_000_000);
    }

    proptest! {
        #[test]
        fn the_bins_do_not_depend_on_the_order(
            values in vec((-10_000i64..10_000, -3..4i32), 1..60),
            turn in any::<prop::sample::Index>(),
        ) {
            let text = |(digits, power): &(i64, i32)| {
                let value = format!("{digits}e{power}").parse::<f64>().unwrap();
                format!("{value}")
            };
            let texts: Vec<String> = values.iter().map(text).collect();
            let mut texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let (range, width, counts) = bins(&texts);
            texts.rotate_left(turn.index(values.len()));
            texts.reverse();
            prop_assert_eq!(bins(&texts), (range.clone(), width, counts.clone()));

            // In whole thousandths, which all of them are.
            let whole = |value: f64| (value * 1000.0).round() as i64;
            let thousandths = |text: &&str| whole(text.parse().unwrap());
            if width >= 0.001 {
                let mut expected = vec![0u64; counts.len()];
                for value in texts.iter().map(thousandths) {
                    expected[((value - whole(range.start)) / whole(width)) as usize] += 1;
                }
                prop_assert_eq!(counts.clone(), expected);
            }
            prop_assert!(counts.len() <= BINS && counts[0] > 0 && counts[counts.len() - 1] > 0);
        }
    }
}
