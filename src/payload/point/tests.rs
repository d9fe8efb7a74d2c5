use super::*;
use crate::settings::Limits;

/// A point that is being made, and the text with the payload's values.
struct Made {
    point: Point,
    text: String,
}

impl Made {
    /// With the tags and fields of every point.
    fn new() -> Self {
        let mut made = Made { point: Point::default(), text: String::new() };
        let _ = made.point.incoming_tag(b"algorithm_name", b"n");
        made
    }

    fn incoming(mut self, tags: &[(&str, &str)]) -> Self {
        for (key, value) in tags {
            let _ = self.point.incoming_tag(key.as_bytes(), value.as_bytes());
        }
        self
    }

    /// Sets values of the payload. An empty value removes the key.
    fn set(mut self, set: Set, members: &[(&str, &str)]) -> Self {
        for (key, value) in members {
            let name = self.point.names.of(key.as_bytes(), set).unwrap();
            if value.is_empty() {
                self.point.remove(set, name);
            } else {
                let start = self.text.len();
                self.text.extend(["\"", value]);
                let field_type = if set == Set::Fields { FieldType::Float } else { FieldType::String };
                self.point.set(set, name, field_type, Value::string(start..self.text.len()));
            }
        }
        self
    }

    fn other(mut self, key: &str, value: &str) -> Self {
        let name = self.point.names.of(key.as_bytes(), Set::Others).unwrap();
        let write = |out: &mut Vec<u8>| {
            out.extend_from_slice(value.as_bytes());
            Ok(None)
        };
        self.point.other_field(name, FieldType::Float, write).unwrap();
        self
    }

    fn write(&mut self, room: usize, out: &mut Vec<u8>) -> Result<(), Rejection> {
        let source = Source { text: self.text.as_bytes(), decoded: &[] };
        let settings = Settings { limits: Limits { fields: 100, ..Limits::default() }, ..Settings::default() };
        self.point.write(b"m", source, &settings, &mut Room::of(1 << 20, room), false, out)
    }

    fn line(&mut self) -> String {
        let mut out = Vec::new();
        self.write(usize::MAX, &mut out).unwrap();
        write_time(7, &mut out);
        String::from_utf8(out).unwrap()
    }
}

#[test]
fn tags_are_sorted_and_the_payload_wins() {
    let tags = [("topic", "t"), ("b c", "1"), ("b", "2"), ("b-", "3"), ("_time", "4"), ("gone", "")];
    let mut made = Made::new().incoming(&tags);
    made = made.set(Set::Tags, &[("topic", "x"), ("a", "y"), ("a", "")]).set(Set::Fields, &[("f", "1")]);
    assert_eq!(made.line(), "m,algorithm_name=n,b=2,b\\ c=1,b-=3,time_tag=4,topic=x f=1 7\n");
    made.point.start_payload();
    made = made.set(Set::Fields, &[("g", "1")]);
    assert_eq!(made.line(), "m,algorithm_name=n,b=2,b\\ c=1,b-=3,time_tag=4,topic=t g=1 7\n");
    // The same if all names are new.
    made.point.forget_names();
    made = made.set(Set::Tags, &[("b", "5")]).set(Set::Fields, &[("b-", "1")]);
    assert_eq!(made.line(), "m,algorithm_name=n,b=5,b\\ c=1,b-=3,time_tag=4,topic=t b-_field=1 7\n");
}

#[test]
fn the_last_value_of_a_field_counts() {
    let values = [("a", "1"), ("b", "2"), ("a", "3"), ("c", "4"), ("c", "")];
    assert_eq!(Made::new().set(Set::Fields, &values).line(), "m,algorithm_name=n b=2,a=3 7\n");
}

#[test]
fn a_field_named_as_a_tag_gets_a_suffix() {
    let mut made = Made::new().incoming(&[("topic", "t")]).set(Set::Fields, &[("topic", "1"), ("x", "2")]);
    made = made.other("topic", "5i").other("offset", "6i");
    assert_eq!(made.line(), "m,algorithm_name=n,topic=t topic_field=1,x=2,offset=6i 7\n");
}

#[test]
fn keys_that_differ_as_they_come_and_not_as_they_are_written_are_one() {
    let twice = [("algorithm_owner\\", "1"), ("x", "2"), ("_x", "3")];
    let made = Made::new().set(Set::Fields, &twice).set(Set::Tags, &[("algorithm_owner", "o")]);
    let made = made.set(Set::Fields, &twice);
    let tags = "m,algorithm_name=n,algorithm_owner=o";
    assert_eq!({ made }.line(), format!("{tags} algorithm_owner_field=1,x=3 7\n"));
}

#[test]
fn a_series_longer_than_influxdb_takes_is_refused() {
    let value = "v".repeat(65_535 - "m,algorithm_name=n,t=".len() - 4 - "f".len());
    let mut made = Made::new().set(Set::Tags, &[("t", &value)]).set(Set::Fields, &[("f", "1")]);
    let mut out = Vec::new();
    made.write(usize::MAX, &mut out).unwrap();
    assert_eq!(out.len(), 65_535 - 4 - 1 + " f=1".len());
    let mut made = made.set(Set::Fields, &[("fg", "1")]);
    let mut out = b"before".to_vec();
    let refused = made.write(usize::MAX, &mut out).unwrap_err();
    assert!(refused.error.contains(" 65536 bytes, and InfluxDB at most 65535"), "{}", refused.error);
    assert_eq!(out, b"before");
}

#[test]
fn a_line_for_which_there_is_no_room_is_refused() {
    let mut made = Made::new().set(Set::Fields, &[("f", "1")]).other("g", "2");
    let line = "m,algorithm_name=n f=1,g=2";
    let mut out = b"before".to_vec();
    made.write(line.len(), &mut out).unwrap();
    assert_eq!(out, format!("before{line}").as_bytes());
    let refused = made.write(line.len() - 1, &mut out).unwrap_err();
    assert!(refused.error.contains(" would take 26 bytes or more, and the limit is 25,"), "{}", refused.error);
    assert_eq!(out, format!("before{line}").as_bytes());
}
