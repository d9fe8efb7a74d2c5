//! Dates and times as text: ISO 8601, and the forms in which mail, HTTP, C, Java, JavaScript and Go write one.

use crate::payload::timestamp::{Timestamp, seconds_since_1970};

/// A date and time of day in a zone that is not known yet.
struct Local<'a> {
    /// Seconds since 1970 in that zone.
    seconds: i64,
    /// The digits after the seconds.
    fraction: &'a [u8],
}

impl<'a> Local<'a> {
    /// Reads the rest after the minute: `:54.867231`, a part of that, or nothing. Returns the text after it too.
    #[inline(always)]
    fn read(date: [i32; 3], [hour, minute]: [i32; 2], rest: &'a [u8]) -> Option<(Self, &'a [u8])> {
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
        Some((Local { seconds: seconds_since_1970(date, [hour, minute, second])?, fraction }, rest))
    }

    /// The time, if the zone is `offset` seconds east of Greenwich.
    #[inline(always)]
    fn at(self, offset: i32) -> Option<Timestamp> {
        let known = self.fraction.len().min(9);
        let behind = self.fraction[..known].iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
        let behind = behind * 10i64.pow(9 - known as u32);
        let seconds = self.seconds - i64::from(offset);
        Timestamp::stored(i128::from(seconds) * 1_000_000_000 + i128::from(behind), known as u32)
    }
}

/// A date and time of ISO 8601 / RFC 3339: `2021-02-20T00:21:54.867231`, or with a space instead of the `T`. Without a zone
/// it is in UTC.
pub(super) fn iso(text: &[u8]) -> Option<Timestamp> {
    let (date, rest) = text.split_first_chunk()?;
    let (time, rest) = rest.split_first_chunk()?;
    let [y1, y2, y3, y4, _, m1, m2, _] = digits(*date, *b"0000-00-")?;
    let [d1, d2, _, h1, h2, _, n1, n2] =
        digits(*time, *b"00*00:00").filter(|_| matches!(time[2], b'T' | b't' | b' '))?;
    let number = |tens: u8, ones: u8| i32::from(tens * 10 + ones);
    let date = [number(y1, y2) * 100 + number(y3, y4), number(m1, m2), number(d1, d2)];
    let (local, rest) = Local::read(date, [number(h1, h2), number(n1, n2)], rest)?;
    local.at(zone(rest)?)
}

/// A date and time whose month is a word, as these write it: RFC 2822 and HTTP (`Sat, 20 Feb 2021 00:21:54 GMT`, and
/// formerly `Saturday, 20-Feb-21 00:21:54 GMT`), C (`Sat Feb 20 00:21:54 2021`), Java, Ruby and `date` (with a zone before
/// that year), and JavaScript (`Sat Feb 20 2021 00:21:54 GMT+0000 (Coordinated Universal Time)`). The day of the week is not
/// checked.
#[cold]
pub(super) fn in_words(text: &[u8]) -> Option<Timestamp> {
    let mut rest = text;
    let mut day = word(&mut rest);
    if day.strip_suffix(b",").unwrap_or(day).iter().all(u8::is_ascii_alphabetic) {
        day = word(&mut rest);
    }
    let mut dashes = day.split(|byte| *byte == b'-');
    let [day, month, year, time] = match [dashes.next(), dashes.next(), dashes.next(), dashes.next()] {
        [Some(day), Some(month), Some(year), None] => [day, month, year, word(&mut rest)],
        [Some([b'0'..=b'9', ..]), None, ..] => [day, word(&mut rest), word(&mut rest), word(&mut rest)],
        _ => {
            let (month, day, next) = (day, word(&mut rest), word(&mut rest));
            if next.contains(&b':') {
                let before_year = rest.iter().rposition(u8::is_ascii_whitespace).map_or(0, |at| at + 1);
                let (zone, year) = rest.split_at(before_year);
                rest = zone.trim_ascii_end();
                [day, month, year, next]
            } else {
                [day, month, next, word(&mut rest)]
            }
        }
    };
    let day = match *day {
        [ones] => two(b'0', ones)?,
        [tens, ones] => two(tens, ones)?,
        _ => return None,
    };
    let month = MONTHS.iter().position(|name| month.eq_ignore_ascii_case(name))? as i32 + 1;
    let year = match *year {
        // As in POSIX.
        [y1, y2] => two(y1, y2).map(|year| if year < 69 { 2000 + year } else { 1900 + year })?,
        [y1, y2, y3, y4] => two(y1, y2)? * 100 + two(y3, y4)?,
        _ => return None,
    };
    let [h1, h2, b':', n1, n2, seconds @ ..] = time else { return None };
    let (local, behind) = Local::read([year, month, day], [two(*h1, *h2)?, two(*n1, *n2)?], seconds)?;
    local.at(zone(rest).filter(|_| behind.is_empty())?)
}

const MONTHS: [&[u8]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

/// Removes the first word of a text, and the white space after it, and returns the word.
fn word<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let end = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
    let (word, behind) = rest.split_at(end);
    *rest = behind.trim_ascii_start();
    word
}

/// The values of the digits of a text, if it matches a form: `0` is any digit, `*` is any byte, and other bytes are
/// themselves.
#[inline(always)]
fn digits(text: [u8; 8], form: [u8; 8]) -> Option<[u8; 8]> {
    // A digit becomes its value, and any other expected byte 0. The addition sets the high bit of larger values.
    let known = u64::from_le_bytes(form.map(|byte| if byte == b'*' { 0 } else { 0xff }));
    let more = u64::from_le_bytes(form.map(|byte| if byte == b'0' { 0x76 } else { 0x7f }));
    let values = (u64::from_le_bytes(text) ^ u64::from_le_bytes(form)) & known;
    let others = (values | values.wrapping_add(more)) & 0x8080_8080_8080_8080;
    (others == 0).then_some(values.to_le_bytes())
}

/// Seconds east of Greenwich, from a text after optional white space: nothing, `Z`, an offset, or a zone with a name.
#[inline(always)]
fn zone(text: &[u8]) -> Option<i32> {
    match text.trim_ascii_start() {
        [] | [b'Z' | b'z'] => Some(0),
        text => offset(text).or_else(|| named_zone(text)),
    }
}

/// `+01:00`, `+0100` or `+01`.
#[inline]
fn offset(text: &[u8]) -> Option<i32> {
    let (sign, hours, minutes) = match text {
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

/// A name of UTC, optionally with an offset after it (`UTC`, `GMT+0000`). Or `Z` or an offset with the zone's name after it:
/// `Z[UTC]`, `+01:00[Europe/Paris]`, `+0100 (Central European Time)`, and Go's `+0100 CET`, optionally with `m=+0.1` after
/// that.
#[cold]
fn named_zone(text: &[u8]) -> Option<i32> {
    let behind_name = [b"UTC".as_slice(), b"GMT", b"UT"].iter().find_map(|name| text.strip_prefix(*name));
    let text = behind_name.unwrap_or(text);
    let is_behind_offset = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'[' | b'(');
    let (given, name) = text.split_at(text.iter().position(is_behind_offset).unwrap_or(text.len()));
    match (given, name.trim_ascii()) {
        ([], []) => behind_name.map(|_| 0),
        ([b'Z' | b'z'], [b'[', .., b']']) => Some(0),
        (given, [b'[', .., b']'] | [b'(', .., b')']) => offset(given),
        (given, name) => offset(given).filter(|_| name.split(u8::is_ascii_whitespace).all(is_gos)),
    }
}

/// Whether Go may write this word after an offset: an abbreviation, an offset in place of one, or its monotonic clock.
fn is_gos(word: &[u8]) -> bool {
    match word {
        [b'm', b'=', ..] => true,
        [b'+' | b'-', digits @ ..] => digits.iter().all(u8::is_ascii_digit),
        letters => letters.iter().all(u8::is_ascii_uppercase),
    }
}

/// The value of two digits.
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
    fn zones_may_have_names() {
        let (second, micro) = (1_613_780_514_000_000_000, 1_613_780_514_867_231_000);
        for (text, expected) in [
            ("2021-02-20T00:21:54 UTC", (second, 6)),
            ("2021-02-20T00:21:54.867231UTC", (micro, 3)),
            ("2021-02-20 00:21:54 GMT", (second, 6)),
            ("2021-02-20 00:21:54 UT", (second, 6)),
            ("2021-02-20 01:21:54 UTC+01:00", (second, 6)),
            ("2021-02-20T00:21:54.867231Z[UTC]", (micro, 3)),
            ("2021-02-20T00:21:54.867231+00:00[Europe/London]", (micro, 3)),
            ("2021-02-20T05:51:54.867231000+05:30[Asia/Kolkata]", (micro, 0)),
            ("2021-02-20 00:21:54.867231 +0000 UTC", (micro, 3)),
            ("2021-02-20 00:21:54.867231123 +0000 UTC m=+0.123456789", (micro + 123, 0)),
            ("2021-02-19 21:21:54 -0300 -03 m=-1.5", (second, 6)),
            ("2021-02-20 01:21:54 +0100 (CET)", (second, 6)),
        ] {
            assert_eq!(read(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn dates_in_words_are_read_as_libraries_write_them() {
        let second = 1_613_780_514_000_000_000;
        for text in [
            "Sat, 20 Feb 2021 00:21:54 GMT",
            "Sat, 20 Feb 2021 00:21:54 +0000",
            "Sat, 20 Feb 2021 01:21:54 +0100 (CET)",
            "Fri, 19 Feb 2021 19:21:54 -0500",
            "20 Feb 2021 00:21:54 UT",
            "20 feb 2021 00:21:54 Z",
            "20 Feb 2021 00:21:54",
            "Saturday, 20-Feb-21 00:21:54 GMT",
            "Sat Feb 20 00:21:54 2021",
            "Sat Feb 20 00:21:54 UTC 2021",
            "Sat Feb 20 01:21:54 +0100 2021",
            "Sat Feb 20 2021 00:21:54 GMT+0000 (Coordinated Universal Time)",
            "Sat Feb 20 2021 01:21:54 GMT+0100 (Mitteleuropäische Normalzeit)",
        ] {
            assert_eq!(read(text), Some((second, 6)), "{text}");
        }
        assert_eq!(read("Sat Feb  6 00:21:54 2021"), Some((second - 14 * 86_400_000_000_000, 6)));
        assert_eq!(read("6 Feb 2021 00:21 GMT"), Some((second - (14 * 86_400 + 54) * 1_000_000_000, 6)));
        assert_eq!(read("Sat, 20 Feb 2021 00:21:54.867 GMT"), Some((second + 867_000_000, 6)));
        assert_eq!(read("Tuesday, 31-Dec-68 00:00:00 GMT"), read("2068-12-31T00:00:00Z"));
        assert_eq!(read("Wednesday, 01-Jan-69 00:00:00 GMT"), read("1969-01-01T00:00:00Z"));
    }

    #[test]
    fn dates_in_words_are_those_that_jiff_writes() {
        for days in 0..3000 {
            // Two-digit years are those from 1969 to 2068.
            let seconds = days * 999_983 - 31_000_000;
            let time = jiff::Timestamp::from_second(seconds).unwrap();
            let zone = jiff::tz::Offset::constant([-8, 0, 2][days as usize % 3]).to_time_zone();
            let zoned = time.to_zoned(zone);
            for format in [
                "%a, %d %b %Y %H:%M:%S %z",
                "%-d %b %Y %H:%M:%S %z",
                "%a %b %e %H:%M:%S %z %Y",
                "%a %b %d %Y %H:%M:%S GMT%z (Some Time)",
                "%Y-%m-%d %H:%M:%S %z SOME",
                "%Y-%m-%dT%H:%M:%S%:z[Some/Place]",
            ] {
                let text = zoned.strftime(format).to_string();
                assert_eq!(read(&text), Some((seconds * 1_000_000_000, 6)), "{text}");
            }
            for format in ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y", "%a %b %e %H:%M:%S UTC %Y"] {
                let text = time.strftime(format).to_string();
                assert_eq!(read(&text), Some((seconds * 1_000_000_000, 6)), "{text}");
            }
        }
    }

    #[test]
    fn what_is_no_time_or_cannot_be_stored_is_refused() {
        for text in [
            "2021-02-20",
            "2021-02-30T00:00:00",
            "2021-13-01T00:00:00",
            "2021-02-20T24:00:00",
            "2021-02-20T00:60:00",
            "2021-02-20T00:00:61",
            "2021-02-20T00:21:54.",
            "2021-02-20T00:21:54+25:00",
            "2021-02-20T00:21:54Zulu",
            "2021-2-20T00:21:54",
            "20210220T002154",
            "0000-00-00 00:00:00",
            "1677-09-21T00:12:43.145224193",
            "2262-04-11T23:47:16.854775807",
            "9999-12-31T23:59:59",
            "２021-02-20T00:21:54",
            // Zones without an offset, other than UTC.
            "2021-02-20T00:21:54 CET",
            "2021-02-20T00:21:54[Europe/Paris]",
            "2021-02-20T00:21:54[UTC]",
            "2021-02-20T00:21:54 utc",
            "2021-02-20T00:21:54 UTCZ",
            "2021-02-20T00:21:54 UTC+1",
            "2021-02-20T00:21:54 UTC CET",
            "2021-02-20T00:21:54 Z UTC",
            "2021-02-20T00:21:54+01:00[Europe/Paris",
            "2021-02-20T00:21:54+01:00 Europe/Paris",
            "2021-02-20T00:21:54 +0100 2021",
            "2021-02-20T00:21:54 m=+0.1",
            "Sat, 20 Feb 2021 00:21:54 CET",
            // Words that are not a date and time.
            "Sat",
            "Sat, 20 Feb 2021",
            "Sat, 20 Feb 2021 00:21:54 GMT 2021",
            "Sat, 20 February 2021 00:21:54 GMT",
            "Mon, 30 Feb 2021 00:21:54 GMT",
            "Sat, 20 Abc 2021 00:21:54 GMT",
            "Sat, 20 02 2021 00:21:54 GMT",
            "Sat, 020 Feb 2021 00:21:54 GMT",
            "Sat, 20 Feb 021 00:21:54 GMT",
            "Sat, 20 Feb 2021 0:21:54 GMT",
            "Sat, 20 Feb 2021 24:21:54 GMT",
            "Sat, 20 Feb 2021 00:21:54.GMT",
            "Sat, 20 Feb 2021 00:21:54x GMT",
            "Saturday, 20-Feb 00:21:54 GMT",
            "Saturday, 20-Feb-21-02 00:21:54 GMT",
            "Sat Feb 20 00:21:54",
            "Sat Feb 20 00:21:54 CET 2021",
            "Feb 20 00:21:54 2021 ",
            "Sat Feb 20 2021",
            "Sat Sat Feb 20 00:21:54 2021",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
