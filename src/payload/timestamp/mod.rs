//! When a call was made: the values that are read as a time, and the digits that are filled where the
//! time has none, so that two calls of one algorithm do not overwrite each other.

pub(crate) mod container;
mod text;

use crate::json::decimal::Decimal;
use crate::json::{Number, Scalar};

/// The first and the last nanosecond that InfluxDB 2 stores (MinNanoTime and MaxNanoTime in its models/time.go).
const STORED: std::ops::RangeInclusive<i64> = i64::MIN + 2..=i64::MAX - 1;

/// The most digits of a time's nine after the second that are filled. So a call never moves by a millisecond.
const MOST_FILLED: u32 = 6;

/// A time from a payload or a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timestamp {
    /// Nanoseconds since the epoch; a multiple of 10^`unknown`.
    pub nanoseconds: i64,
    /// The number of last digits that were not given, six at most.
    pub unknown: u32,
}

impl Timestamp {
    /// A time whose fraction has `known` digits, if InfluxDB stores it.
    fn stored(nanoseconds: i128, known: u32) -> Option<Self> {
        let unknown = 9u32.saturating_sub(known).min(MOST_FILLED);
        let nanoseconds = i64::try_from(nanoseconds).ok().filter(|time| STORED.contains(time))?;
        Some(Timestamp { nanoseconds, unknown })
    }

    /// The time of a value that is neither object nor array, if it is a time.
    pub fn of(scalar: Scalar<'_>) -> Option<Self> {
        match scalar {
            Scalar::Number(number) => Self::from_number(number),
            Scalar::String(text) => Self::from_text(&text.plain()),
            Scalar::Null | Scalar::Bool(_) | Scalar::NotFinite => None,
        }
    }

    /// Epoch seconds, milliseconds, microseconds or nanoseconds. The magnitude tells which: seconds would reach 10^11 in the
    /// year 5138, and milliseconds reached it in March 1973.
    fn from_number(number: Number<'_>) -> Option<Self> {
        let decimal = Decimal::of(number);
        let unit = match decimal.magnitude() {
            ..=11 => 0,
            12..=14 => 3,
            15..=17 => 6,
            _ => 9,
        };
        Self::stored(decimal.scaled(9 - unit)?, unit + decimal.known_fraction())
    }

    /// A date and time, or a number as text.
    #[inline(always)]
    fn from_text(text: &[u8]) -> Option<Self> {
        let text = text.trim_ascii();
        text::iso(text).or_else(|| Self::from_number(Number::of(text)?)).or_else(|| text::in_words(text))
    }

    /// The time, with its unknown digits taken from `hash`.
    pub fn filled(self, hash: u64) -> i64 {
        let filled = self.nanoseconds.saturating_add((hash % 10u64.pow(self.unknown)) as i64);
        filled.min(*STORED.end())
    }
}

/// A metric's own time, if InfluxDB stores it. If a Kafka record has no time, Telegraf gives one of the year 1754, which
/// does not count.
pub(crate) fn of_metric(nanoseconds: i64) -> Option<Timestamp> {
    let is_time = nanoseconds > 0 && STORED.contains(&nanoseconds);
    is_time.then(|| Timestamp { nanoseconds, unknown: trailing_zeros(nanoseconds) })
}

/// The time some nanoseconds later, if InfluxDB stores it.
pub(crate) fn later(nanoseconds: i64, by: i64) -> Option<i64> {
    nanoseconds.checked_add(by).filter(|time| STORED.contains(time))
}

/// The number of trailing zeros of a time in nanoseconds, six at most. Metrics whose times are in milliseconds, such as
/// Kafka's own timestamps, share them with others.
pub(crate) fn trailing_zeros(nanoseconds: i64) -> u32 {
    (0..MOST_FILLED).take_while(|digit| nanoseconds % 10i64.pow(digit + 1) == 0).count() as u32
}

/// The seconds from 1970 to a time of day on a date in the years 0 to 9999, if both exist.
#[inline(always)]
fn seconds_since_1970([year, month, day]: [i32; 3], [hour, minute, second]: [i32; 3]) -> Option<i64> {
    // A leap second counts as the first second of the next minute, as on nearly every clock that logs.
    let (second, leap) = if second == 60 { (59, 1) } else { (second, 0) };
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = days_since_1970(year, month, day)?;
    Some(i64::from(days) * 86_400 + i64::from(hour * 3600 + minute * 60 + second) + leap)
}

/// The days from 1970-01-01 to a date in the years 0 to 9999, if it exists.
fn days_since_1970(year: i32, month: i32, day: i32) -> Option<i32> {
    let is_leap_year = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 => 28 + i32::from(is_leap_year),
        4 | 6 | 9 | 11 => 30,
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        _ => return None,
    };
    if !(1..=length).contains(&day) {
        return None;
    }
    // A year begins in March here, so that the leap day is its last day. 400 years are added, so that no year is before 0.
    // From March on, any five months in a row have 153 days.
    let (year, month) = if month > 2 { (year + 400, month - 3) } else { (year + 399, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    // The number is what the formula gives for 1970-01-01.
    Some(days - 865_565)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<(i64, u32)> {
        Timestamp::from_text(text.as_bytes()).map(|time| (time.nanoseconds, time.unknown))
    }

    #[test]
    fn numbers_are_read_by_magnitude() {
        let micro = 1_613_780_514_867_231_000;
        for (text, expected) in [
            ("1613780514", (1_613_780_514_000_000_000, 6)),
            ("1613780514.867231", (micro, 3)),
            ("1613780514.867231000", (micro, 0)),
            ("1613780514.000000001", (1_613_780_514_000_000_001, 0)),
            ("1.613780514867231e9", (micro, 3)),
            ("1613780514867", (1_613_780_514_867_000_000, 6)),
            ("1613780514867.231", (micro, 3)),
            ("1613780514867231", (micro, 3)),
            ("1613780514867231000", (micro, 0)),
            ("1613780514867231000.75", (micro, 0)),
            ("0", (0, 6)),
            ("-1.5", (-1_500_000_000, 6)),
            ("9223372036854775806", (i64::MAX - 1, 0)),
        ] {
            assert_eq!(read(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_or_cannot_be_stored_is_refused() {
        for text in ["", "yesterday", "9223372036854775807", "1e30", "-1e19", "1e999999", "NaN"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for year in (-1..=2500).chain(9990..=10_000) {
            for month in 0..=13 {
                for day in 0..=32 {
                    let date = jiff::civil::Date::new(year, month, day).ok().filter(|_| (0..10_000).contains(&year));
                    let expected = date.map(|date| (date - jiff::civil::date(1970, 1, 1)).get_days());
                    let days = days_since_1970(year.into(), month.into(), day.into());
                    assert_eq!(days.filter(|_| (0..10_000).contains(&year)), expected, "{year}-{month}-{day}");
                }
            }
        }
    }

    #[test]
    fn filling_stays_within_the_unknown_digits() {
        let time = Timestamp { nanoseconds: 1_613_780_514_867_231_000, unknown: 3 };
        assert_eq!(time.filled(1_234_567), 1_613_780_514_867_231_567);
        let before_1970 = Timestamp::from_text(b"1969-12-31T23:59:59.5").unwrap();
        assert_eq!(before_1970.filled(u64::MAX), -500_000_000 + 551_615);
        assert_eq!(Timestamp { nanoseconds: 5, unknown: 0 }.filled(99), 5);
    }

    #[test]
    fn a_metrics_time_is_later_than_1970_and_stored() {
        let of_metric = |time| of_metric(time).map(|time| (time.nanoseconds, time.unknown));
        for none in [0, -1, i64::MIN, i64::MAX] {
            assert_eq!(of_metric(none), None, "{none}");
        }
        assert_eq!(of_metric(1), Some((1, 0)));
        assert_eq!(of_metric(1_613_780_514_867_000_000), Some((1_613_780_514_867_000_000, 6)));
        assert_eq!(of_metric(i64::MAX - 1), Some((i64::MAX - 1, 0)));
        assert_eq!(later(i64::MAX - 2, 1), Some(i64::MAX - 1));
        assert_eq!(later(i64::MAX - 2, 2), None);
    }

    #[test]
    fn trailing_zeros_are_counted_to_six() {
        assert_eq!(trailing_zeros(1_613_780_514_867_000_000), 6);
        assert_eq!(trailing_zeros(1_613_780_514_867_231_000), 3);
        assert_eq!(trailing_zeros(1_613_780_514_867_231_234), 0);
        assert_eq!(trailing_zeros(-500), 2);
        assert_eq!(trailing_zeros(0), 6);
    }
}
