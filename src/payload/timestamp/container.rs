//! Times that are objects or arrays: those of MongoDB's extended JSON, java.time and protobuf.

use crate::json::decimal::Decimal;
use crate::json::{Encoding, Number, Scalar, Source, Text, Value};
use crate::payload::timestamp::{Timestamp, seconds_since_1970, trailing_zeros};

/// The number of values in a java.time `LocalDateTime`, of which five repeat others.
const MOST_MEMBERS: usize = 12;

/// The time at the start of `text`, an object or array. It is returned as a string with the same meaning, appended to
/// `decoded`, so that nothing has to be stored that other times do not need.
#[cold]
pub(crate) fn read<E: Encoding>(text: &[u8], decoded: &mut Vec<u8>) -> Option<Value> {
    let Timestamp { nanoseconds, unknown } = time::<E>(Text::new(text), decoded)?;
    // Seconds, with the known digits only.
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(nanoseconds / 10i64.pow(unknown));
    let start = decoded.len();
    for part in ["\"", digits, "e-", itoa::Buffer::new().format(9 - unknown), "\""] {
        decoded.extend_from_slice(part.as_bytes());
    }
    Some(Value::decoded(start..decoded.len()))
}

fn time<E: Encoding>(text: Text<'_, E>, decoded: &mut Vec<u8>) -> Option<Timestamp> {
    if text.byte(0) == Some(b'[') {
        return of_items(text, decoded);
    }
    let mut members = [None; MOST_MEMBERS];
    read_members(text, 0, None, decoded, &mut members.iter_mut())?;
    Members { members, source: Source { text: text.bytes(), decoded } }.time()
}

/// The array of java.time: year, month, day, hour, minute, and optionally second and nanosecond.
fn of_items<E: Encoding>(text: Text<'_, E>, decoded: &mut Vec<u8>) -> Option<Timestamp> {
    let (mut items, mut count) = ([0; 7], 0);
    let (mut at, mut ended) = (1, false);
    while !ended {
        let (item, end) = text.scalar(text.skip_blank(at), decoded).ok()?;
        *items.get_mut(count)? = whole(item.of(Source { text: text.bytes(), decoded }))?;
        count += 1;
        (ended, at) = text.ends(end, b']').ok()?;
    }
    let [year, month, day, hour, minute, second, nano] = items;
    civil([year, month, day], [hour, minute, second], (count == 7).then_some(nano)).filter(|_| count >= 5)
}

/// A value that is neither object nor array.
#[derive(Clone, Copy)]
struct Member {
    /// The key of the object that holds it, unless that is the outermost.
    outer: Option<Value>,
    key: Value,
    value: Value,
}

/// Reads the members of the object at `at`, and of the objects within it, into the free places. Returns where it ends.
fn read_members<'r, E: Encoding>(
    text: Text<'_, E>,
    at: usize,
    outer: Option<Value>,
    decoded: &mut Vec<u8>,
    room: &mut impl Iterator<Item = &'r mut Option<Member>>,
) -> Option<usize> {
    let (mut at, mut ended) = (at + 1, false);
    while !ended {
        let (_, key, end) = text.key(at, decoded).ok()?;
        at = text.skip_blank(end);
        if text.byte(at) == Some(b'{') && outer.is_none() {
            at = read_members(text, at, Some(key), decoded, room)?;
        } else {
            let (value, end) = text.scalar(at, decoded).ok()?;
            *room.next()? = Some(Member { outer, key, value });
            at = end;
        }
        (ended, at) = text.ends(at, b'}').ok()?;
    }
    Some(at)
}

/// The members of an object that are not used yet.
struct Members<'a> {
    members: [Option<Member>; MOST_MEMBERS],
    source: Source<'a>,
}

impl<'a> Members<'a> {
    /// The object's time, if it is a time and has no other members.
    fn time(mut self) -> Option<Timestamp> {
        let time = if let Some(date) = self.take(&["$date"]) {
            match date {
                // A string with a number may mean anything here.
                Scalar::String(text) if Number::of(text.written().trim_ascii()).is_some() => None,
                Scalar::String(_) => Timestamp::of(date),
                date => milliseconds(date),
            }
        } else if let Some(date) = self.take(&["$date", "$numberLong"]) {
            milliseconds(date)
        } else if let Some(seconds) = self.take(&["$timestamp", "t"]) {
            // This member counts the events within the second.
            let _ = whole(self.take(&["$timestamp", "i"])?)?;
            instant(whole(seconds)?, None)
        } else if let Some(seconds) = self.take(&["epochSecond"]) {
            instant(whole(seconds)?, Some(self.whole("nano")?))
        } else if let Some(seconds) = self.take(&["seconds"]) {
            instant(whole(seconds)?, Some(self.whole("nanos")?))
        } else {
            let date = [self.whole("year")?, self.whole("monthValue")?, self.whole("dayOfMonth")?];
            let clock = [self.whole("hour")?, self.whole("minute")?, self.whole("second")?];
            let nano = self.whole("nano")?;
            for again in
                [&["month"][..], &["dayOfWeek"], &["dayOfYear"], &["chronology", "id"], &["chronology", "calendarType"]]
            {
                self.take(again);
            }
            civil(date, clock, Some(nano))
        };
        time.filter(|_| self.members.iter().all(Option::is_none))
    }

    fn take(&mut self, path: &[&str]) -> Option<Scalar<'a>> {
        let source = self.source;
        // Compares keys as they are written, since none of these needs escapes.
        let is =
            |key: Value, name: &str| matches!(key.of(source), Scalar::String(key) if key.written() == name.as_bytes());
        let has_path = |member: &&mut Option<Member>| match (**member, path) {
            (Some(Member { outer: None, key, .. }), [name]) => is(key, name),
            (Some(Member { outer: Some(outer), key, .. }), [outer_name, name]) => {
                is(outer, outer_name) && is(key, name)
            }
            _ => false,
        };
        let member = self.members.iter_mut().find(has_path)?.take()?;
        Some(member.value.of(source))
    }

    fn whole(&mut self, key: &str) -> Option<i64> {
        whole(self.take(&[key])?)
    }
}

/// An integer, or an integer in a string.
fn whole(scalar: Scalar<'_>) -> Option<i64> {
    let number = match scalar {
        Scalar::Number(number) => number,
        Scalar::String(text) => Number::of(text.written())?,
        Scalar::Null | Scalar::Bool(_) | Scalar::NotFinite => return None,
    };
    Decimal::of(number).integer()
}

fn milliseconds(since_1970: Scalar<'_>) -> Option<Timestamp> {
    Timestamp::stored(i128::from(whole(since_1970)?) * 1_000_000, 3)
}

/// A date and a time of day in UTC.
fn civil(date: [i64; 3], clock: [i64; 3], nano: Option<i64>) -> Option<Timestamp> {
    // No number here has more digits than a year.
    let small = |number| u16::try_from(number).ok().filter(|number| *number < 10_000).map(i32::from);
    let [year, month, day] = date.map(small);
    let [hour, minute, second] = clock.map(small);
    instant(seconds_since_1970([year?, month?, day?], [hour?, minute?, second?])?, nano)
}

/// A second, and the nanosecond within it if that is known.
fn instant(seconds: i64, nano: Option<i64>) -> Option<Timestamp> {
    let behind = Some(nano.unwrap_or(0)).filter(|nano| (0..1_000_000_000).contains(nano))?;
    // A clock with milliseconds writes nine digits too.
    let known = nano.map_or(0, |nano| 9 - trailing_zeros(nano));
    Timestamp::stored(i128::from(seconds) * 1_000_000_000 + i128::from(behind), known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{InString, Plain};
    use crate::line_protocol::escape::write_string;

    fn read_back<E: Encoding>(text: &[u8]) -> Option<Timestamp> {
        let mut decoded = b"something".to_vec();
        let time = read::<E>(text, &mut decoded)?;
        let time = Timestamp::of(time.of(Source { text, decoded: &decoded }));
        assert!(time.is_some(), "{}", String::from_utf8_lossy(&decoded));
        time
    }

    /// The time of a text, read by itself and in a string of line protocol, with more text after it.
    fn time(json: &str) -> Option<(i64, u32)> {
        let mut in_string = Vec::new();
        write_string(format!("{json}, ").as_bytes(), &mut in_string);
        let plain = read_back::<Plain>(format!("{json}, ").as_bytes());
        assert_eq!(read_back::<InString>(&in_string[1..]), plain, "{json}");
        plain.map(|time| (time.nanoseconds, time.unknown))
    }

    #[test]
    fn times_in_objects_and_arrays_are_read() {
        let (second, micro) = (1_613_780_514_000_000_000, 1_613_780_514_867_231_000);
        let milli = second + 867_000_000;
        for (json, expected) in [
            (r#"{"$date":"2021-02-20T00:21:54.867Z"}"#, (milli, 6)),
            (r#"{"$date":"2021-02-20T00:21:54Z"}"#, (second, 6)),
            (r#"{ "$date" : 1613780514867 }"#, (milli, 6)),
            (r#"{"$date":-1}"#, (-1_000_000, 6)),
            (r#"{"$date":{"$numberLong":"1613780514867"}}"#, (milli, 6)),
            (r#"{"$date":{"$numberLong":"86400000"}}"#, (86_400_000_000_000, 6)),
            (r#"{"\u0024date":{"$number\u004cong":"\u0030"}}"#, (0, 6)),
            (r#"{"$timestamp":{"t":1613780514,"i":1}}"#, (second, 6)),
            (r#"{"$timestamp":{"i":1,"t":1613780514}}"#, (second, 6)),
            (r#"{"epochSecond":1613780514,"nano":867231000}"#, (micro, 3)),
            (r#"{"nano":0,"epochSecond":-1}"#, (-1_000_000_000, 6)),
            (r#"{"seconds":1613780514,"nanos":867231000}"#, (micro, 3)),
            (r#"{"seconds":"1613780514","nanos":867231001}"#, (micro + 1, 0)),
            ("[2021,2,20,0,21]", (second - 54_000_000_000, 6)),
            ("[2021,2,20,0,21,54]", (second, 6)),
            ("[ 2021 , 2 , 20 , 0 , 21 , 54 , 867231000 ]", (micro, 3)),
            (
                r#"{"year":2021,"monthValue":2,"dayOfMonth":20,"hour":0,"minute":21,"second":54,"nano":867231000}"#,
                (micro, 3),
            ),
            (
                r#"{"nano":867231000,"year":2021,"monthValue":2,"dayOfMonth":20,"hour":0,"minute":21,"second":54,
                   "month":"FEBRUARY","dayOfWeek":"SATURDAY","dayOfYear":51,"chronology":{"calendarType":"iso8601","id":"ISO"}}"#,
                (micro, 3),
            ),
        ] {
            assert_eq!(time(json), Some(expected), "{json}");
        }
    }

    #[test]
    fn what_only_looks_like_one_is_refused() {
        for json in [
            "{}",
            "[]",
            "[2021,2]",
            "[2021,2,20,0]",
            "[2021,2,20,0,21,54,867231000,1]",
            "[2021,13,20,0,21]",
            "[2021,2,30,0,21]",
            "[2021,2,20,24,21]",
            "[2021,2,20,-1,21]",
            "[10000,2,20,0,21]",
            "[2262,5,20,0,21]",
            "[4294969317,2,20,0,21]",
            "[2021,2,20,0,21,61]",
            "[2021,2,20,0,21,54,1000000000]",
            "[2021,2,20,0,21,54,-1]",
            "[2021,2,20,0,21.5]",
            "[2021,2,20,0,true]",
            "[2021,2,20,0,null]",
            "[2021,2,20,0,[21]]",
            "[true,false]",
            r#"{"$date":true}"#,
            r#"{"$date":null}"#,
            r#"{"$date":NaN}"#,
            r#"{"$date":{}}"#,
            r#"{"$date":[1613780514867]}"#,
            r#"{"$date":"1613780514867"}"#,
            r#"{"$date":"yesterday"}"#,
            r#"{"$date":1613780514867.5}"#,
            r#"{"$date":9223372036854775807}"#,
            r#"{"$date":1613780514867,"x":1}"#,
            r#"{"$date":1613780514867,"$date":1613780514867}"#,
            r#"{"$date":{"$numberLong":"1613780514867","x":1}}"#,
            r#"{"$date":{"$date":1613780514867}}"#,
            r#"{"$date":{"$date":{"$date":1613780514867}}}"#,
            r#"{"$numberLong":"1613780514867"}"#,
            r#"{"x":{"$date":1613780514867}}"#,
            r#"{"$timestamp":{"t":1613780514}}"#,
            r#"{"$timestamp":1613780514}"#,
            r#"{"epochSecond":1613780514}"#,
            r#"{"epochSecond":1613780514,"nanos":1}"#,
            r#"{"epochSecond":1613780514,"nano":1000000000}"#,
            r#"{"epochSecond":99999999999,"nano":0}"#,
            r#"{"seconds":1613780514,"nanos":-1}"#,
            r#"{"seconds":1613780514,"nanos":"x"}"#,
            r#"{"seconds":3}"#,
            r#"{"year":2021,"monthValue":2,"dayOfMonth":20}"#,
            r#"{"year":2021,"monthValue":13,"dayOfMonth":20,"hour":0,"minute":21,"second":54,"nano":0}"#,
            r#"{"year":2021,"monthValue":2,"dayOfMonth":20,"hour":0,"minute":21,"second":54,"nano":0,"offset":{"id":"+01:00"}}"#,
            r#"{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,"i":1,"j":1,"k":1,"l":1,"m":1}"#,
        ] {
            assert_eq!(time(json), None, "{json}");
        }
    }
}
