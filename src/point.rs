//! A point, and its text: the tags and fields of one line, gathered while the payload is read and then written at
//! once. Everything is kept escaped, in buffers that serve the next point again.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::ops::Range;

use crate::event::Reason;
use crate::line_protocol::{escape_key, write_string};
use crate::payload::Rejection;
use crate::room::{KEPT, Room};

/// InfluxDB refuses a point of which measurement, tags and one field's key take more bytes than this together with the
/// four that its storage puts between them (models.MaxKeyLength and seriesKeySize).
pub(crate) const MAX_SERIES_KEY: usize = 65_535 - 4;

/// What a field's key gets that cannot be the key alone.
const FIELD_SUFFIX: &[u8] = b"_field";

/// A point in the making.
#[derive(Debug, Default)]
pub(crate) struct Point {
    /// The tags that the metric came with, and the text of its other fields: for all points of one metric.
    incoming: Entries,
    others: Entries,
    /// What the payload gives.
    tags: Entries,
    fields: Entries,
    /// The tags in their order, for writing.
    sorted: Vec<(bool, Entry)>,
}

/// The sets of entries that a point is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Set {
    Incoming,
    Others,
    Tags,
    Fields,
}

/// A tag or field as it is written.
#[derive(Debug)]
pub(crate) struct Part<'a> {
    /// The entry that it is written of, as [`Point::last`] names it.
    pub entry: (Set, usize),
    pub key: Cow<'a, [u8]>,
    pub value: &'a [u8],
}

/// Why a key is not there after it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// It cannot be written.
    Key,
    /// It has no value.
    Value,
}

/// Keys with their values, each key once.
#[derive(Debug, Default)]
struct Entries {
    /// For each entry `,key=value`.
    text: Vec<u8>,
    entries: Vec<Entry>,
    /// A hash of each entry's key, side by side so that looking through a thousand of them is quick.
    hashes: Vec<u32>,
}

#[derive(Clone, Debug)]
struct Entry {
    key: Range<usize>,
    value: Range<usize>,
}

impl Entries {
    fn clear(&mut self) {
        self.text.clear();
        self.entries.clear();
        self.hashes.clear();
    }

    fn key(&self, entry: &Entry) -> &[u8] {
        &self.text[entry.key.clone()]
    }

    fn value(&self, entry: &Entry) -> &[u8] {
        &self.text[entry.value.clone()]
    }

    fn position(&self, key: &[u8], hash: u32) -> Option<usize> {
        // The compiler makes this quick, and it is nearly always the answer.
        if !self.hashes.contains(&hash) {
            return None;
        }
        let same = |(entry, other): (&Entry, &u32)| *other == hash && self.key(entry) == key;
        self.entries.iter().zip(&self.hashes).position(same)
    }

    fn contains(&self, key: &[u8]) -> bool {
        self.position(key, hash(key)).is_some()
    }

    /// Adds a key with what `write` appends for it, instead of any earlier value. Where `write` returns false the key has
    /// no value.
    ///
    /// InfluxDB keeps keys with a leading underscore to itself, which they lose, and `time`, which gets `suffix`.
    fn insert(&mut self, key: &[u8], suffix: &[u8], write: impl FnOnce(&mut Vec<u8>) -> bool) -> Result<(), Missing> {
        let start = self.text.len();
        self.text.push(b',');
        escape_key(&key[key.iter().take_while(|byte| **byte == b'_').count()..], &mut self.text);
        if self.text[start + 1..] == *b"time" {
            self.text.extend_from_slice(suffix);
        }
        let key = start + 1..self.text.len();
        if key.is_empty() {
            self.text.truncate(start);
            return Err(Missing::Key);
        }
        let hash = hash(&self.text[key.clone()]);
        if let Some(earlier) = self.position(&self.text[key.clone()], hash) {
            self.entries.remove(earlier);
            self.hashes.remove(earlier);
        }
        self.text.push(b'=');
        let value = self.text.len();
        if write(&mut self.text) {
            self.entries.push(Entry { key, value: value..self.text.len() });
            self.hashes.push(hash);
            Ok(())
        } else {
            self.text.truncate(start);
            Err(Missing::Value)
        }
    }

    /// How many bytes they are when they are written, and how many the longest key is.
    fn lengths(&self) -> (usize, usize) {
        lengths(self.entries.iter().map(|entry| (entry.key.len(), entry.value.len())))
    }

    fn shrink(&mut self) {
        self.text.shrink_to(KEPT);
        self.entries.shrink_to(KEPT / size_of::<Entry>());
        self.hashes.shrink_to(KEPT / size_of::<u32>());
    }
}

/// How many bytes fields are with their separators, and how many the longest key is, by the lengths of keys and values.
fn lengths(fields: impl Iterator<Item = (usize, usize)>) -> (usize, usize) {
    fields.fold((0, 0), |(bytes, longest), (key, value)| (bytes + key + value + 2, longest.max(key)))
}

/// Quick, not strong: a payload that is made to collide costs a look at each of its (limited) fields.
fn hash(key: &[u8]) -> u32 {
    const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;
    let (words, rest) = key.as_chunks::<8>();
    let rest = rest.iter().fold(key.len() as u64, |sum, byte| sum << 8 | u64::from(*byte));
    let mix = |sum: u64, word: u64| (sum.rotate_left(29) ^ word).wrapping_mul(FACTOR);
    (words.iter().fold(mix(0, rest), |sum, word| mix(sum, u64::from_le_bytes(*word))) >> 32) as u32
}

impl Point {
    /// Forgets everything, for the next metric.
    pub fn start_metric(&mut self) {
        self.incoming.clear();
        self.others.clear();
        self.start_payload();
    }

    /// Forgets the payload, for the next one of the same metric.
    pub fn start_payload(&mut self) {
        self.tags.clear();
        self.fields.clear();
    }

    /// Forgets everything, and gives back the memory that a large message took.
    pub fn shrink(&mut self) {
        self.start_metric();
        for entries in [&mut self.incoming, &mut self.others, &mut self.tags, &mut self.fields] {
            entries.shrink();
        }
        self.sorted.clear();
        self.sorted.shrink_to(KEPT / size_of::<(bool, Entry)>());
    }

    /// Adds a tag of the metric's own.
    pub fn incoming_tag(&mut self, key: &[u8], value: &[u8]) -> Result<(), Missing> {
        insert_tag(&mut self.incoming, key, value)
    }

    /// The metric's own tags: each key and value as it is written.
    pub fn incoming_tags(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.incoming.entries.iter().map(|tag| (self.incoming.key(tag), self.incoming.value(tag)))
    }

    /// Adds a field that stands beside the message, its value as it is written in line protocol.
    pub fn other_field(&mut self, key: &[u8], value: &[u8]) -> Result<(), Missing> {
        self.others.insert(key, FIELD_SUFFIX, |text| {
            text.extend_from_slice(value);
            true
        })
    }

    /// Sets a tag from the payload, or takes it away again where the value is empty.
    pub fn tag(&mut self, key: &str, value: &str) -> Result<(), Missing> {
        insert_tag(&mut self.tags, key.as_bytes(), value.as_bytes())
    }

    /// Sets a field to what `write` appends, or takes it away again where `write` returns false.
    pub fn field(&mut self, key: &str, write: impl FnOnce(&mut Vec<u8>) -> bool) -> Result<(), Missing> {
        self.fields.insert(key.as_bytes(), FIELD_SUFFIX, write)
    }

    /// How many fields and tags the payload gave.
    pub fn len(&self) -> usize {
        self.fields.entries.len() + self.tags.entries.len()
    }

    /// The bytes of the metric's own tags.
    pub fn incoming_len(&self) -> usize {
        self.incoming.text.len()
    }

    pub fn has_fields(&self) -> bool {
        !self.fields.entries.is_empty() || !self.others.entries.is_empty()
    }

    pub fn has_tag(&self, key: &str) -> bool {
        self.tags.contains(key.as_bytes()) || self.incoming.contains(key.as_bytes())
    }

    /// Appends the line up to its time, which [`write_time`] adds, if InfluxDB takes it and there is room for it.
    pub fn write(&mut self, measurement: &[u8], room: &mut Room, out: &mut Vec<u8>) -> Result<(), Rejection> {
        let start = out.len();
        out.extend_from_slice(measurement);
        self.write_tags(out);
        let series = out.len() - start;
        let renamed = self.fields.entries.iter().any(|field| self.is_tag(self.fields.key(field)));
        let (mut bytes, mut longest) = self.fields.lengths();
        // One by one, where a key has to change or a field has been replaced.
        let one_by_one = renamed || !self.others.entries.is_empty() || self.fields.text.len() != bytes;
        let parts = if one_by_one { self.field_parts() } else { Vec::new() };
        if one_by_one {
            (bytes, longest) = lengths(parts.iter().map(|part| (part.key.len(), part.value.len())));
        }
        debug_assert!(bytes > 0, "a point has a field");
        let checked = if series + longest > MAX_SERIES_KEY {
            let bytes = series + longest + 4;
            let error = format!("tags and a field's key take {bytes} bytes, and InfluxDB at most 65535");
            Err(Rejection::new(Reason::TooLarge, error))
        } else {
            room.check(series + bytes)
        };
        if checked.is_err() {
            out.truncate(start);
            return checked;
        }
        out.push(b' ');
        if !one_by_one {
            out.extend_from_slice(&self.fields.text[1..]);
        }
        for (at, Part { key, value, .. }) in parts.iter().enumerate() {
            out.extend_from_slice(if at == 0 { b"" } else { b"," });
            out.extend_from_slice(key);
            out.push(b'=');
            out.extend_from_slice(value);
        }
        Ok(())
    }

    fn is_tag(&self, key: &[u8]) -> bool {
        self.tags.contains(key) || self.incoming.contains(key)
    }

    /// The entry that was added last to a set: what tells it from all others of the metric and payload.
    pub fn last(&self, set: Set) -> Option<(Set, usize)> {
        self.entries(set).entries.last().map(|entry| (set, entry.key.start))
    }

    fn entries(&self, set: Set) -> &Entries {
        match set {
            Set::Incoming => &self.incoming,
            Set::Others => &self.others,
            Set::Tags => &self.tags,
            Set::Fields => &self.fields,
        }
    }

    /// The tags and fields as [`write`](Self::write) writes them.
    pub fn parts(&mut self) -> Vec<Part<'_>> {
        self.sort_tags();
        let tags = self.sorted.iter().map(|(incoming, tag)| {
            let set = if *incoming { Set::Incoming } else { Set::Tags };
            let texts = self.entries(set);
            Part { entry: (set, tag.key.start), key: texts.key(tag).into(), value: texts.value(tag) }
        });
        tags.chain(self.field_parts()).collect()
    }

    fn write_tags(&mut self, out: &mut Vec<u8>) {
        self.sort_tags();
        for (incoming, tag) in &self.sorted {
            let texts = if *incoming { &self.incoming } else { &self.tags };
            out.extend_from_slice(&texts.text[tag.key.start - 1..tag.value.end]);
        }
    }

    fn sort_tags(&mut self) {
        self.sorted.clear();
        let incoming = self.incoming.entries.iter().filter(|tag| !self.tags.contains(self.incoming.key(tag)));
        self.sorted.extend(incoming.map(|tag| (true, tag.clone())));
        self.sorted.extend(self.tags.entries.iter().map(|tag| (false, tag.clone())));
        let texts = |incoming: bool| if incoming { &self.incoming } else { &self.tags };
        self.sorted.sort_unstable_by(|(a_incoming, a), (b_incoming, b)| {
            by_meaning(texts(*a_incoming).key(a), texts(*b_incoming).key(b))
        });
    }

    fn field_parts(&self) -> Vec<Part<'_>> {
        let mut parts: Vec<Part<'_>> = Vec::new();
        let all = |set: Set| self.entries(set).entries.iter().map(move |field| (set, field));
        for (set, field) in all(Set::Fields).chain(all(Set::Others)) {
            let fields = self.entries(set);
            let mut key = Cow::Borrowed(fields.key(field));
            while self.is_tag(&key) {
                key.to_mut().extend_from_slice(FIELD_SUFFIX);
            }
            match parts.iter().position(|other| other.key == key) {
                // The payload's wins.
                Some(_) if set == Set::Others => continue,
                Some(earlier) => drop(parts.remove(earlier)),
                None => {}
            }
            parts.push(Part { entry: (set, field.key.start), key, value: fields.value(field) });
        }
        parts
    }

    /// Appends a line about the metric, with its tags and with one tag and some string fields of ours; without its tags
    /// where InfluxDB would not take them.
    pub fn write_about(
        &mut self,
        measurement: &[u8],
        tag: (&str, &str),
        fields: &[(&str, &str)],
        time: i64,
        out: &mut Vec<u8>,
    ) {
        self.start_payload();
        let _ = self.tag(tag.0, tag.1);
        let start = out.len();
        out.extend_from_slice(measurement);
        self.write_tags(out);
        let longest = fields.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
        if out.len() - start + longest > MAX_SERIES_KEY {
            out.truncate(start);
            out.extend_from_slice(measurement);
            out.extend_from_slice(&self.tags.text);
        }
        for (at, (key, value)) in fields.iter().enumerate() {
            out.push(if at == 0 { b' ' } else { b',' });
            escape_key(key.as_bytes(), out);
            out.push(b'=');
            write_string(value, out);
        }
        write_time(time, out);
    }
}

fn insert_tag(tags: &mut Entries, key: &[u8], value: &[u8]) -> Result<(), Missing> {
    tags.insert(key, b"_tag", |text| {
        let start = text.len();
        escape_key(value, text);
        text.len() > start
    })
}

/// The order of what two escaped keys stand for.
fn by_meaning(a: &[u8], b: &[u8]) -> Ordering {
    if !a.contains(&b'\\') && !b.contains(&b'\\') {
        return a.cmp(b);
    }
    let meant = |key: &[u8]| {
        let escapes = |at: usize| key[at] == b'\\' && matches!(key.get(at + 1), Some(b',' | b'=' | b' '));
        (0..key.len()).filter(|at| !escapes(*at)).map(|at| key[at]).collect::<Vec<u8>>()
    };
    meant(a).cmp(&meant(b))
}

/// Appends a line's time and its end.
pub(crate) fn write_time(time: i64, out: &mut Vec<u8>) {
    out.push(b' ');
    out.extend_from_slice(itoa::Buffer::new().format(time).as_bytes());
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &'static str) -> impl FnOnce(&mut Vec<u8>) -> bool {
        move |out| {
            out.extend_from_slice(text.as_bytes());
            !text.is_empty()
        }
    }

    fn line(point: &mut Point) -> String {
        let mut out = Vec::new();
        point.write(b"m", &mut Room::of(0, usize::MAX), &mut out).unwrap();
        write_time(7, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn tags_are_sorted_and_the_payload_wins() {
        let mut point = Point::default();
        let _ = point.incoming_tag(b"topic", b"t");
        let _ = point.incoming_tag(b"b c", b"1");
        let _ = point.incoming_tag(b"b", b"2");
        let _ = point.incoming_tag(b"b-", b"3");
        let _ = point.incoming_tag(b"_time", b"4");
        let _ = point.incoming_tag(b"gone", b"");
        let _ = point.tag("topic", "x");
        let _ = point.tag("a", "y");
        let _ = point.tag("a", "");
        let _ = point.field("f", raw("1"));
        assert_eq!(line(&mut point), "m,b=2,b\\ c=1,b-=3,time_tag=4,topic=x f=1 7\n");
        point.start_payload();
        let _ = point.field("g", raw("1"));
        assert_eq!(line(&mut point), "m,b=2,b\\ c=1,b-=3,time_tag=4,topic=t g=1 7\n");
    }

    #[test]
    fn the_last_value_of_a_field_counts() {
        let mut point = Point::default();
        for (key, value) in [("a", "1"), ("b", "2"), ("a", "3"), ("c", "4"), ("c", "")] {
            let _ = point.field(key, raw(value));
        }
        assert_eq!(line(&mut point), "m b=2,a=3 7\n");
    }

    #[test]
    fn a_field_named_as_a_tag_gets_a_suffix() {
        let mut point = Point::default();
        let _ = point.incoming_tag(b"topic", b"t");
        let _ = point.field("topic", raw("1"));
        let _ = point.field("x", raw("2"));
        let _ = point.other_field(b"topic", b"5i");
        let _ = point.other_field(b"offset", b"6i");
        assert_eq!(line(&mut point), "m,topic=t topic_field=1,x=2,offset=6i 7\n");
    }

    #[test]
    fn a_series_longer_than_influxdb_takes_is_refused() {
        let mut point = Point::default();
        let value = "v".repeat(65_535 - "m,t=".len() - 4 - "f".len());
        let _ = point.tag("t", &value);
        let _ = point.field("f", raw("1"));
        let (mut room, mut out) = (Room::of(100_000, usize::MAX), Vec::new());
        point.write(b"m", &mut room, &mut out).unwrap();
        assert_eq!(out.len(), 65_535 - 4 - 1 + " f=1".len());
        let _ = point.field("fg", raw("1"));
        let mut out = b"before".to_vec();
        let refused = point.write(b"m", &mut room, &mut out).unwrap_err();
        assert!(refused.error.contains(" 65536 bytes, and InfluxDB at most 65535"), "{}", refused.error);
        assert_eq!(out, b"before");
    }

    #[test]
    fn a_line_for_which_there_is_no_room_is_refused() {
        let mut point = Point::default();
        let _ = point.tag("t", "v");
        let _ = point.field("f", raw("1"));
        let _ = point.other_field(b"g", b"2");
        let mut out = b"before".to_vec();
        point.write(b"m", &mut Room::of(0, "m,t=v f=1,g=2".len()), &mut out).unwrap();
        assert_eq!(out, b"beforem,t=v f=1,g=2");
        let refused = point.write(b"m", &mut Room::of(0, "m,t=v f=1,g=2".len() - 1), &mut out).unwrap_err();
        assert!(refused.error.contains(" would take 13 bytes or more, and the limit is 12,"), "{}", refused.error);
        assert_eq!(out, b"beforem,t=v f=1,g=2");
    }
}
