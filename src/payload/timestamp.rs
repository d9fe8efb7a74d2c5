//! When a call was made: the texts and numbers that are read as a time, and the digits that are filled where the
//! time has none, so that two calls of one algorithm do not overwrite each other.

use crate::json::decimal::Decimal;
use crate::json::{Number, Scalar};

/// The first and the last nanosecond that InfluxDB 2 stores (MinNanoTime and MaxNanoTime in its models/time.go).
const STORED: std::ops::RangeInclusive<i64> = i64::MIN + 2..=i64::MAX - 1;

/// At most this many of a time's nine digits behind the second are filled: a call never moves by a millisecond.
const MOST_FILLED: u32 = 6;

/// A time as a payload gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timestamp {
    /// Nanoseconds since the epoch; a multiple of 10^`unknown`.
    pub nanoseconds: i64,
    /// How many of the last digits the payload did not give, six at most.
    pub unknown: u32,
}

impl Timestamp {
    /// Whole nanoseconds, of which the last `unknown` digits were not given.
    fn stored(nanoseconds: i128, known: u32) -> Option<Self> {
        let unknown = 9u32.saturating_sub(known).min(MOST_FILLED);
        let nanoseconds = i64::try_from(nanoseconds).ok().filter(|time| STORED.contains(time))?;
        Some(Timestamp { nanoseconds, unknown })
    }

    /// What a value says, if it is a time.
    pub fn of(scalar: Scalar<'_>) -> Option<Self> {
        match scalar {
            Scalar::Number(number) => Self::from_number(number),
            Scalar::String(text) => Self::from_text(&text.plain()),
            Scalar::Null | Scalar::Bool(_) | Scalar::NotFinite => None,
        }
    }

    /// Epoch seconds, milliseconds, microseconds or nanoseconds, told apart by magnitude: seconds would reach 10^11
    /// in the year 5138, milliseconds reached it in March 1973.
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

    /// A date and time of ISO 8601 / RFC 3339 (`2021-02-20T00:21:54.867231`, a space for the `T`, `Z`, an offset or
    /// none, which means UTC), or a number's text.
    fn from_text(text: &[u8]) -> Option<Self> {
        let text = text.trim_ascii();
        date_time(text).or_else(|| Self::from_number(Number::of(text)?))
    }

    /// The time with the digits it lacks taken from `hash`.
    pub fn filled(self, hash: u64) -> i64 {
        let filled = self.nanoseconds.saturating_add((hash % 10u64.pow(self.unknown)) as i64);
        filled.min(*STORED.end())
    }
}

/// A metric's own time, moved by some nanoseconds, if InfluxDB stores it.
pub(crate) fn of_metric(nanoseconds: i64, offset: i64) -> Option<i64> {
    nanoseconds.checked_add(offset).filter(|time| STORED.contains(time))
}

/// How many of the last digits of a nanosecond time are zero, six at most: a metric whose time has milliseconds
/// (Kafka's own timestamps) shares it with others.
pub(crate) fn trailing_zeros(nanoseconds: i64) -> u32 {
    (0..MOST_FILLED).take_while(|digit| nanoseconds % 10i64.pow(digit + 1) == 0).count() as u32
}

fn date_time(text: &[u8]) -> Option<Timestamp> {
    let (date, rest) = text.split_first_chunk()?;
    let (time, rest) = rest.split_first_chunk()?;
    let [y1, y2, y3, y4, _, m1, m2, _] = digits(*date, *b"0000-00-")?;
    let [d1, d2, _, h1, h2, _, n1, n2] =
        digits(*time, *b"00*00:00").filter(|_| matches!(time[2], b'T' | b't' | b' '))?;
    let number = |tens: u8, ones: u8| i32::from(tens * 10 + ones);
    let (year, month, day) = (number(y1, y2) * 100 + number(y3, y4), number(m1, m2), number(d1, d2));
    let (hour, minute) = (number(h1, h2), number(n1, n2));
    let (second, rest) = match rest {
        [b':', s1, s2, rest @ ..] => (two(*s1, *s2)?, rest),
        rest => (0, rest),
    };
    let (fraction, rest) = match rest {
        [b'.' | b',', rest @ ..] => {
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            rest.split_at_checked(digits).filter(|(fraction, _)| !fraction.is_empty())?
        }
        rest => (&rest[..0], rest),
    };
    // A leap second is the first second of the next minute, as on nearly every clock that logs.
    let (second, leap) = if second == 60 { (59, 1) } else { (second, 0) };
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = days_since_1970(year, month, day)?;
    let seconds = i64::from(days) * 86_400 + i64::from(hour * 3600 + minute * 60 + second) + leap;
    let seconds = seconds - i64::from(offset(rest)?);
    let known = fraction.len().min(9);
    let behind = fraction[..known].iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
    let behind = behind * 10i64.pow(9 - known as u32);
    Timestamp::stored(i128::from(seconds) * 1_000_000_000 + i128::from(behind), known as u32)
}

/// What the digits of a text mean, if it has digits where a form has `0`, anything for `*`, and is the same elsewhere.
#[inline(always)]
fn digits(text: [u8; 8], form: [u8; 8]) -> Option<[u8; 8]> {
    // A digit becomes its value, and anything else that should be there 0. What is added sets the high bit of what is more.
    let known = u64::from_le_bytes(form.map(|byte| if byte == b'*' { 0 } else { 0xff }));
    let more = u64::from_le_bytes(form.map(|byte| if byte == b'0' { 0x76 } else { 0x7f }));
    let values = (u64::from_le_bytes(text) ^ u64::from_le_bytes(form)) & known;
    let others = (values | values.wrapping_add(more)) & 0x8080_8080_8080_8080;
    (others == 0).then_some(values.to_le_bytes())
}

/// The days from 1970-01-01 to a date of the years 0 to 9999, if there is such a date.
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
    // A year begins in March here, so that its last day is the one that not all have; and 400 years later, so that none is
    // before the year 0. From March on, five months have 153 days, whichever they are.
    let (year, month) = if month > 2 { (year + 400, month - 3) } else { (year + 399, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    // What that gives for 1970-01-01.
    Some(days - 865_565)
}

/// Seconds east of Greenwich: nothing, `Z`, `+01:00`, `+0100` or `+01`, with blanks before it.
fn offset(text: &[u8]) -> Option<i32> {
    let (sign, hours, minutes) = match text.trim_ascii_start() {
        [] | [b'Z' | b'z'] => return Some(0),
        [sign, h1, h2] => (sign, two(*h1, *h2)?, 0),
        [sign, h1, h2, m1, m2] | [sign, h1, h2, b':', m1, m2] => (sign, two(*h1, *h2)?, two(*m1, *m2)?),
        _ => return None,
    };
    let seconds = Some(hours * 3600 + minutes * 60).filter(|_| hours < 24 && minutes < 60)?;
    match sign {
        b'+' => Some(seconds),
        b'-' => Some(-seconds),
        _ => None,
    }
}

/// The number that two digits write.
fn two(tens: u8, ones: u8) -> Option<i32> {
    let digit = |byte: u8| byte.is_ascii_digit().then(|| i32::from(byte - b'0'));
    Some(digit(tens)? * 10 + digit(ones)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<(i64, u32)> {
        Timestamp::from_text(text.as_bytes()).map(|time| (time.nanoseconds, time.unknown))
    }

    #[test]
    fn dates_are_read_in_every_accepted_form() {
        let (second, micro) = (1_613_780_514_000_000_000, 1_613_780_514_867_231_000);
        for (text, expected) in [
            ("2021-02-20T00:21:54.867231", (micro, 3)),
            ("2021-02-20 00:21:54.867231", (micro, 3)),
            ("2021-02-20t00:21:54,867231z", (micro, 3)),
            ("2021-02-20T00:21:54.867231Z", (micro, 3)),
            (" 2021-02-20T01:21:54.867231+01:00 ", (micro, 3)),
            ("2021-02-19 19:21:54.867231 -0500", (micro, 3)),
            ("2021-02-20T00:21:54", (second, 6)),
            ("2021-02-20T00:21:54+00", (second, 6)),
            ("2021-02-20T00:21", (second - 54_000_000_000, 6)),
            ("2021-02-20T00:21:54.8", (second + 800_000_000, 6)),
            ("2021-02-20T00:21:54.867", (second + 867_000_000, 6)),
            ("2021-02-20T00:21:54.8672312", (micro + 200, 2)),
            ("2021-02-20T00:21:54.867231234", (micro + 234, 0)),
            ("2021-02-20T00:21:54.867231234999999", (micro + 234, 0)),
            ("2021-02-20T00:21:60", (second + 6_000_000_000, 6)),
            ("1969-12-31T23:59:59.5", (-500_000_000, 6)),
            ("1677-09-21T00:12:43.145224194", (i64::MIN + 2, 0)),
            ("2262-04-11T23:47:16.854775806", (i64::MAX - 1, 0)),
        ] {
            assert_eq!(read(text), Some(expected), "{text}");
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
    fn numbers_are_read_by_magnitude() {
        let micro = 1_613_780_514_867_231_000;
        for (text, expected) in [
            ("1613780514", (1_613_780_514_000_000_000, 6)),
            ("1613780514.867231", (micro, 3)),
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
        for text in [
            "",
            "yesterday",
            "2021-02-20",
            "2021-02-30T00:00:00",
            "2021-13-01T00:00:00",
            "2021-02-20T24:00:00",
            "2021-02-20T00:60:00",
            "2021-02-20T00:00:61",
            "2021-02-20T00:21:54.",
            "2021-02-20T00:21:54+25:00",
            "2021-02-20T00:21:54 UTC",
            "2021-02-20T00:21:54Zulu",
            "2021-2-20T00:21:54",
            "20210220T002154",
            "0000-00-00 00:00:00",
            "1677-09-21T00:12:43.145224193",
            "2262-04-11T23:47:16.854775807",
            "9999-12-31T23:59:59",
            "9223372036854775807",
            "1e30",
            "-1e19",
            "1e999999",
            "NaN",
            "２021-02-20T00:21:54",
        ] {
            assert_eq!(read(text), None, "{text}");
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
    fn trailing_zeros_are_counted_to_six() {
        assert_eq!(trailing_zeros(1_613_780_514_867_000_000), 6);
        assert_eq!(trailing_zeros(1_613_780_514_867_231_000), 3);
        assert_eq!(trailing_zeros(1_613_780_514_867_231_234), 0);
        assert_eq!(trailing_zeros(-500), 2);
        assert_eq!(trailing_zeros(0), 6);
    }
}
