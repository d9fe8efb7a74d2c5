//! The forms in which a payload may tell a time, and how the digits that it lacks are filled.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp, civil, tz};
use xxhash_rust::xxh3::xxh3_64;

use crate::json::Json;
use crate::numbers::{Decimal, integer, is_number};
use crate::{Metric, STORABLE};

/// "Zero, or before 1970, is none."
pub(crate) fn metric_time(metric: &Metric) -> Option<i64> {
    metric.time.filter(|time| *time > 0 && STORABLE.contains(time))
}

/// How many of a time's last digits are zero, six at most.
pub(crate) fn zeros(time: i64) -> u32 {
    (1..=6).rev().find(|&n| time % 10_i64.pow(n) == 0).unwrap_or(0)
}

/// "A stable hash of request_id, or of the whole payload where it has none."
pub(crate) fn call_hash(leaves: &[(String, Json)], text: &str) -> u64 {
    let request_id = leaves
        .iter()
        .rev()
        .find(|(key, _)| key == "request_id")
        .and_then(|(_, value)| value.scalar_text())
        .filter(|id| !id.is_empty());
    xxh3_64(request_id.as_deref().unwrap_or(text).as_bytes())
}

/// Replaces the last `missing` digits by the hash's.
pub(crate) fn fill(time: i128, missing: u32, hash: u64) -> i128 {
    let unit = 10_i128.pow(missing);
    time - time.rem_euclid(unit) + i128::from(hash) % unit
}

/// "Epoch seconds, milliseconds, microseconds, nanoseconds, by magnitude": the nanoseconds, and how many digits of the
/// second are known.
pub(crate) fn epoch(number: &str) -> Option<(i128, u32)> {
    let decimal = Decimal::read(number)?;
    let unit = match decimal.shifted(0)?.abs() {
        0..100_000_000_000 => 0,
        100_000_000_000..100_000_000_000_000 => 3,
        100_000_000_000_000..100_000_000_000_000_000 => 6,
        _ => 9,
    };
    let known = (i128::from(unit) + decimal.places.max(0)).min(9) as u32;
    Some((decimal.shifted(9 - i128::from(unit))?, known))
}

/// "ISO 8601 / RFC 3339 with `T` or space, any fraction, `Z`, an offset or nothing (UTC)."
pub(crate) fn iso(text: &str) -> Option<(i128, u32)> {
    let mut rest = text;
    let year = take_number(&mut rest, 4)?;
    let rest_ok = take_one(&mut rest, "-");
    let month = take_number(&mut rest, 2)?;
    let rest_ok = rest_ok && take_one(&mut rest, "-");
    let day = take_number(&mut rest, 2)?;
    let rest_ok = rest_ok && take_one(&mut rest, "Tt ");
    let hour = take_number(&mut rest, 2)?;
    let rest_ok = rest_ok && take_one(&mut rest, ":");
    let minute = take_number(&mut rest, 2)?;
    let second = if take_one(&mut rest, ":") { take_number(&mut rest, 2)? } else { 0 };

    let mut fraction = String::new();
    if take_one(&mut rest, ".,") {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        if digits == 0 {
            return None;
        }
        fraction = rest[..digits].chars().take(9).collect();
        rest = &rest[digits..];
    }

    let offset = zone(rest)?;
    if !rest_ok {
        return None;
    }
    utc([year, month, day], [hour, minute, second], &fraction, offset)
}

/// "RFC 2822 and HTTP dates": the day of the week, if any, and then the rest in one of three orders.
pub(crate) fn date_in_words(text: &str) -> Option<(i128, u32)> {
    let mut words: Vec<&str> = text.split_ascii_whitespace().collect();
    let first = words.first()?.trim_end_matches(',');
    if words[0].len() - first.len() < 2 && first.chars().all(|c| c.is_ascii_alphabetic()) {
        words.remove(0);
    }
    // `20-Feb-21` is three words.
    if let [date, rest @ ..] = words.as_slice()
        && date.starts_with(|c: char| c.is_ascii_digit())
        && date.contains('-')
    {
        let date: Vec<&str> = date.split('-').collect();
        words = if date.len() == 3 { [&date, rest].concat() } else { return None };
    }
    let is_clock = |word: &str| word.contains(':');
    let (date, clock, place) = match words.as_slice() {
        [month, day, clock, place @ .., year] if is_clock(clock) => ([*year, *month, *day], clock, place),
        [day, month, year, clock, place @ ..] if day.starts_with(|c: char| c.is_ascii_digit()) => {
            ([*year, *month, *day], clock, place)
        }
        [month, day, year, clock, place @ ..] => ([*year, *month, *day], clock, place),
        _ => return None,
    };
    let months = "jan feb mar apr may jun jul aug sep oct nov dec";
    let month = months.split(' ').position(|month| month == date[1].to_ascii_lowercase())? as i64 + 1;
    let number = |text: &str, lengths: &[usize]| {
        let all_digits = text.bytes().all(|byte| byte.is_ascii_digit());
        (all_digits && lengths.contains(&text.len())).then(|| text.parse::<i64>().unwrap())
    };
    let year = match (number(date[0], &[2, 4])?, date[0].len()) {
        (year @ ..69, 2) => 2000 + year,
        (year, 2) => 1900 + year,
        (year, _) => year,
    };
    // "Any fraction", as in ISO 8601.
    let (clock, fraction) = match clock.split_once(['.', ',']) {
        Some((clock, fraction)) if !fraction.is_empty() && fraction.bytes().all(|byte| byte.is_ascii_digit()) => {
            (clock, &fraction[..fraction.len().min(9)])
        }
        Some(_) => return None,
        None => (*clock, ""),
    };
    let parts = clock.split(':').map(|part| number(part, &[2])).collect::<Option<Vec<_>>>()?;
    let (hour, minute, second) = match parts[..] {
        [hour, minute] => (hour, minute, 0),
        [hour, minute, second] => (hour, minute, second),
        _ => return None,
    };
    utc([year, month, number(date[2], &[1, 2])?], [hour, minute, second], fraction, zone(&place.join(" "))?)
}

/// "`Z`, an offset or nothing (UTC)", "a zone's name behind the time": seconds east of Greenwich.
pub(crate) fn zone(text: &str) -> Option<i64> {
    let text = text.trim_matches(|c: char| c.is_ascii_whitespace());
    if ["", "Z", "z", "UTC", "GMT", "UT"].contains(&text) {
        return Some(0);
    }
    if let Some(place) = text.strip_prefix(['Z', 'z']) {
        let place = place.trim_start_matches(|c: char| c.is_ascii_whitespace());
        return (place.len() > 1 && place.starts_with('[') && place.ends_with(']')).then_some(0);
    }
    let mut rest = ["UTC", "GMT", "UT"].iter().find_map(|name| text.strip_prefix(name)).unwrap_or(text);
    let sign = if rest.starts_with('-') { -1 } else { 1 };
    if !take_one(&mut rest, "+-") {
        return None;
    }
    let hours = take_number(&mut rest, 2)?;
    let colon = take_one(&mut rest, ":");
    let minutes = match take_number(&mut rest, 2) {
        Some(minutes) => minutes,
        None if colon => return None,
        None => 0,
    };
    // What is behind an offset is the same offset once more, for people.
    let is_word = |word: &str| {
        let is_offset = word.starts_with(['+', '-']) && word[1..].bytes().all(|byte| byte.is_ascii_digit());
        is_offset || word.starts_with("m=") || word.bytes().all(|byte| byte.is_ascii_uppercase())
    };
    let note = rest.trim_start_matches(|c: char| c.is_ascii_whitespace());
    let in_brackets = note.len() > 1
        && (note.starts_with('[') && note.ends_with(']') || note.starts_with('(') && note.ends_with(')'));
    let is_note =
        in_brackets || (note.len() < rest.len() || note.is_empty()) && note.split_ascii_whitespace().all(is_word);
    (is_note && hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

/// "The objects and arrays in which MongoDB and java.time write a time": the names of all values in one are those of its form.
pub(crate) fn time_of_container(json: &Json) -> Option<(i128, u32)> {
    let (mut values, mut is_twice) = (BTreeMap::<String, &Json>::new(), false);
    let members: Vec<(String, &Json)> = match json {
        Json::Large(whole) => return time_of_container(whole),
        Json::Object(members, _) => members.iter().map(|(key, value)| (format!(".{key}"), value)).collect(),
        Json::Array(items, _) => items.iter().enumerate().map(|(index, item)| (index.to_string(), item)).collect(),
        _ => vec![],
    };
    for (key, value) in members {
        let value = if let Json::Large(whole) = value { whole } else { value };
        match value {
            Json::Object(inner, _) if key.starts_with('.') && !inner.is_empty() => {
                for (inner, value) in inner {
                    is_twice |= values.insert(format!("{key}.{inner}"), value).is_some();
                }
            }
            _ => is_twice |= values.insert(key, value).is_some(),
        }
    }
    // No name is there twice, and nothing is nested any deeper.
    if is_twice || values.values().any(|value| matches!(value, Json::Array(..) | Json::Object(..) | Json::Large(_))) {
        return None;
    }
    // What says again what others say is not looked at.
    let again = [".month", ".dayOfWeek", ".dayOfYear", ".chronology.id", ".chronology.calendarType"];
    if values.contains_key(".year") {
        values.retain(|key, _| !again.contains(&key.as_str()));
    }
    let names: Vec<&str> = values.keys().map(String::as_str).collect();
    let whole = |key: &str| match values[key] {
        Json::Number(text) => integer(text),
        Json::Text(text) if is_number(text) => integer(text),
        _ => None,
    };
    let instant = |second: i128, nano: Option<i64>| {
        let is_one = nano.is_none_or(|nano| (0..1_000_000_000).contains(&nano));
        is_one
            .then_some((second * 1_000_000_000 + i128::from(nano.unwrap_or(0)), nano.map_or(0, |nano| 9 - zeros(nano))))
    };
    let civil = |parts: [&str; 6], nano: Option<i64>| {
        let mut numbers = [0; 6];
        for (number, part) in numbers.iter_mut().zip(parts) {
            *number = if values.contains_key(part) { whole(part)? } else { 0 };
        }
        let [year, month, day, hour, minute, second] = numbers;
        let (start, _) = utc([year, month, day], [hour, minute, second], "", 0).filter(|_| year >= 0)?;
        instant(start / 1_000_000_000, nano)
    };
    let items = ["0", "1", "2", "3", "4", "5"];
    match names[..] {
        [".$date"] => match values[".$date"] {
            Json::Text(text) => {
                let text = text.trim_matches(|c: char| c.is_ascii_whitespace());
                iso(text).or_else(|| date_in_words(text))
            }
            _ => Some((i128::from(whole(".$date")?) * 1_000_000, 3)),
        },
        [".$date.$numberLong"] => Some((i128::from(whole(".$date.$numberLong")?) * 1_000_000, 3)),
        [".$timestamp.i", ".$timestamp.t"] => {
            whole(".$timestamp.i")?;
            instant(whole(".$timestamp.t")?.into(), None)
        }
        [".epochSecond", ".nano"] => instant(whole(".epochSecond")?.into(), Some(whole(".nano")?)),
        [".nanos", ".seconds"] => instant(whole(".seconds")?.into(), Some(whole(".nanos")?)),
        [".dayOfMonth", ".hour", ".minute", ".monthValue", ".nano", ".second", ".year"] => {
            let parts = [".year", ".monthValue", ".dayOfMonth", ".hour", ".minute", ".second"];
            civil(parts, Some(whole(".nano")?))
        }
        ["0", "1", "2", "3", "4", "5", "6"] => civil(items, Some(whole("6")?)),
        ["0", "1", "2", "3", "4", "5"] | ["0", "1", "2", "3", "4"] => civil(items, None),
        _ => None,
    }
}

/// A date and a time of day, so many seconds east of Greenwich.
pub(crate) fn utc(date: [i64; 3], clock: [i64; 3], fraction: &str, offset: i64) -> Option<(i128, u32)> {
    let [[year, month, day], [hour, minute, second]] = [date, clock];
    // A leap second is read as the first of the next minute.
    let (second, leap) = if second == 60 { (59, 1) } else { (second, 0) };
    let small = |n: i64| i8::try_from(n).ok();
    let civil = civil::DateTime::new(
        i16::try_from(year).ok()?,
        small(month)?,
        small(day)?,
        small(hour)?,
        small(minute)?,
        small(second)?,
        0,
    )
    .ok()?;
    let utc: Timestamp = tz::TimeZone::UTC.to_timestamp(civil).ok()?;
    let utc = utc.checked_add(SignedDuration::from_secs(leap - offset)).ok()?;
    let known = fraction.len() as u32;
    let nanoseconds: i128 = format!("{fraction:0<9}").parse().unwrap();
    Some((i128::from(utc.as_second()) * 1_000_000_000 + nanoseconds, known))
}

pub(crate) fn take_number(rest: &mut &str, digits: usize) -> Option<i64> {
    let number = rest.get(..digits).filter(|text| text.bytes().all(|b| b.is_ascii_digit()))?;
    *rest = &rest[digits..];
    number.parse().ok()
}

pub(crate) fn take_one(rest: &mut &str, any_of: &str) -> bool {
    let taken = rest.starts_with(|c: char| any_of.contains(c));
    if taken {
        *rest = &rest[1..];
    }
    taken
}
