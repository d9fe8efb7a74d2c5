//! A point, and its text: the tags and fields of one line, gathered while the payload is read and then written at
//! once. Everything is kept escaped, in buffers that serve the next point again.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::line_protocol::{escape_key, write_string};
use crate::observe::event::Reason;
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
    /// The metric's own tags in their order, for all points of one metric.
    ordered: Ordered,
    /// The payload's tags in their order, and how both are merged.
    sorted: Vec<Entry>,
    runs: Vec<(Set, Range<usize>)>,
}

/// Entries in an order of their own.
#[derive(Debug, Default)]
struct Ordered {
    /// They are those of the present metric.
    is_current: bool,
    entries: Vec<Entry>,
    /// What is written of them, and where each one ends.
    text: Vec<u8>,
    ends: Vec<usize>,
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
    /// How many of the entries are gone.
    gone: usize,
    /// Some have been, so that `text` is more than what is written of the entries.
    has_gaps: bool,
    /// The length of the longest key, whether or not it is gone.
    longest: usize,
    /// Each entry's hash and its place and one, from the place on that the hash says; zeros for none. At most half of them
    /// are taken.
    slots: Vec<(u32, u32)>,
    seed: Seed,
}

#[derive(Clone, Debug)]
struct Entry {
    key: Range<usize>,
    value: Range<usize>,
    /// There is another value for the key, or none any more.
    is_gone: bool,
}

/// Makes hashes that nobody can foresee, so that no payload is made to collide.
#[derive(Debug)]
struct Seed(u64);

impl Default for Seed {
    fn default() -> Self {
        Seed(RandomState::new().hash_one(()))
    }
}

impl Entries {
    /// The fewest slots.
    const SLOTS: usize = 32;

    fn clear(&mut self) {
        self.text.clear();
        self.longest = 0;
        self.has_gaps = false;
        if !self.entries.is_empty() {
            self.entries.clear();
            self.gone = 0;
            self.slots.clear();
        }
    }

    fn key(&self, entry: &Entry) -> &[u8] {
        &self.text[entry.key.clone()]
    }

    fn value(&self, entry: &Entry) -> &[u8] {
        &self.text[entry.value.clone()]
    }

    /// The entries in the order in which they came.
    fn iter(&self) -> impl Iterator<Item = &Entry> + Clone {
        self.entries.iter().filter(|entry| !entry.is_gone)
    }

    fn len(&self) -> usize {
        self.entries.len() - self.gone
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes [`write`](Self::write) appends.
    fn written_len(&self) -> usize {
        if self.has_gaps { self.iter().map(Entry::written_len).sum() } else { self.text.len() }
    }

    /// How many bytes the longest key is.
    fn longest_key(&self) -> usize {
        if self.has_gaps { self.iter().map(|entry| entry.key.len()).max().unwrap_or(0) } else { self.longest }
    }

    /// Appends the entries, each with a comma before it.
    fn write(&self, out: &mut Vec<u8>) {
        if self.has_gaps {
            self.iter().for_each(|entry| out.extend_from_slice(&self.text[entry.written()]));
        } else {
            out.extend_from_slice(&self.text);
        }
    }

    fn hash(&self, key: &[u8]) -> u32 {
        xxh3_64_with_seed(key, self.seed.0) as u32
    }

    /// The slot of a key, or a free one for it. There has to be one.
    fn slot(&self, key: &[u8], hash: u32) -> usize {
        let mut at = hash as usize;
        loop {
            at &= self.slots.len() - 1;
            match self.slots[at] {
                (_, 0) => return at,
                (other, place) if other == hash && self.key(&self.entries[place as usize - 1]) == key => return at,
                _ => at += 1,
            }
        }
    }

    fn contains(&self, key: &[u8]) -> bool {
        if self.is_empty() {
            return false;
        }
        let (_, place) = self.slots[self.slot(key, self.hash(key))];
        place > 0 && !self.entries[place as usize - 1].is_gone
    }

    /// Makes room for one more entry: forgets those that are gone, and takes more slots where there are too few.
    fn make_room(&mut self) {
        if 2 * (self.entries.len() + 1) <= self.slots.len() {
            return;
        }
        self.entries.retain(|entry| !entry.is_gone);
        self.gone = 0;
        self.slots.clear();
        self.slots.resize((4 * self.entries.len()).next_power_of_two().max(Self::SLOTS), (0, 0));
        for place in 0..self.entries.len() {
            let key = self.key(&self.entries[place]);
            let hash = self.hash(key);
            let slot = self.slot(key, hash);
            self.slots[slot] = (hash, place as u32 + 1);
        }
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
        self.make_room();
        let hash = self.hash(&self.text[key.clone()]);
        let slot = self.slot(&self.text[key.clone()], hash);
        if let (_, place @ 1..) = self.slots[slot]
            && let earlier = &mut self.entries[place as usize - 1]
            && !earlier.is_gone
        {
            earlier.is_gone = true;
            self.gone += 1;
            self.has_gaps = true;
        }
        self.text.push(b'=');
        let value = self.text.len();
        if write(&mut self.text) {
            self.longest = self.longest.max(key.len());
            self.entries.push(Entry { key, value: value..self.text.len(), is_gone: false });
            self.slots[slot] = (hash, self.entries.len() as u32);
            Ok(())
        } else {
            self.text.truncate(start);
            Err(Missing::Value)
        }
    }

    fn shrink(&mut self) {
        self.text.shrink_to(KEPT);
        self.entries.shrink_to(KEPT / size_of::<Entry>());
        self.slots.shrink_to(KEPT / size_of::<(u32, u32)>());
    }
}

/// How many bytes fields are with their separators, and how many the longest key is.
fn lengths(fields: &[Part<'_>]) -> (usize, usize) {
    let sizes = fields.iter().map(|field| (field.key.len(), field.value.len()));
    sizes.fold((0, 0), |(bytes, longest), (key, value)| (bytes + key + value + 2, longest.max(key)))
}

impl Entry {
    /// Where `,key=value` stands.
    fn written(&self) -> Range<usize> {
        self.key.start - 1..self.value.end
    }

    fn written_len(&self) -> usize {
        self.written().len()
    }
}

impl Ordered {
    /// Takes the entries, unless it has them.
    fn take(&mut self, entries: &Entries) {
        if self.is_current {
            return;
        }
        self.is_current = true;
        self.entries.clear();
        self.entries.extend(entries.iter().cloned());
        self.entries.sort_unstable_by(|a, b| by_meaning(entries.key(a), entries.key(b)));
        self.text.clear();
        self.ends.clear();
        for entry in &self.entries {
            self.text.extend_from_slice(&entries.text[entry.written()]);
            self.ends.push(self.text.len());
        }
    }

    fn shrink(&mut self) {
        self.is_current = false;
        self.entries.clear();
        self.entries.shrink_to(KEPT / size_of::<Entry>());
        self.text.clear();
        self.text.shrink_to(KEPT);
        self.ends.clear();
        self.ends.shrink_to(KEPT / size_of::<usize>());
    }

    /// What is written of the entries in a range.
    fn text(&self, range: Range<usize>) -> &[u8] {
        let end = |count: usize| count.checked_sub(1).map_or(0, |last| self.ends[last]);
        &self.text[end(range.start)..end(range.end)]
    }
}

impl Point {
    /// Forgets everything, for the next metric.
    pub fn start_metric(&mut self) {
        self.incoming.clear();
        self.others.clear();
        self.ordered.is_current = false;
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
        self.sorted.shrink_to(KEPT / size_of::<Entry>());
        self.runs.clear();
        self.runs.shrink_to(KEPT / size_of::<(Set, Range<usize>)>());
        self.ordered.shrink();
    }

    /// Adds a tag of the metric's own.
    pub fn incoming_tag(&mut self, key: &[u8], value: &[u8]) -> Result<(), Missing> {
        self.ordered.is_current = false;
        insert_tag(&mut self.incoming, key, value)
    }

    /// The metric's own tags: each key and value as it is written.
    pub fn incoming_tags(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.incoming.iter().map(|tag| (self.incoming.key(tag), self.incoming.value(tag)))
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
        self.fields.len() + self.tags.len()
    }

    /// The bytes of the metric's own tags.
    pub fn incoming_len(&self) -> usize {
        self.incoming.text.len()
    }

    pub fn has_fields(&self) -> bool {
        !self.fields.is_empty() || !self.others.is_empty()
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
        let (fields, others) = (&self.fields, &self.others);
        let as_they_are = self.keys_are_apart();
        // One by one, where a key has to change.
        let parts = if as_they_are { Vec::new() } else { self.field_parts() };
        let (bytes, longest) = if as_they_are {
            (fields.written_len() + others.written_len(), fields.longest_key().max(others.longest_key()))
        } else {
            lengths(&parts)
        };
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
        let separator = out.len();
        if as_they_are {
            fields.write(out);
            others.write(out);
            out[separator] = b' ';
        }
        for (at, Part { key, value, .. }) in parts.iter().enumerate() {
            out.push(if at == 0 { b' ' } else { b',' });
            out.extend_from_slice(key);
            out.push(b'=');
            out.extend_from_slice(value);
        }
        Ok(())
    }

    /// Whether each field's key is neither that of a tag nor that of another field.
    fn keys_are_apart(&self) -> bool {
        let are_no_keys_of = |entries: &Entries, others: &Entries| {
            entries.is_empty() || !others.iter().any(|other| entries.contains(others.key(other)))
        };
        // The metric may have many tags and other fields for each of many payloads.
        self.fields.iter().all(|field| !self.is_tag(self.fields.key(field)))
            && are_no_keys_of(&self.others, &self.fields)
            && are_no_keys_of(&self.others, &self.tags)
            && are_no_keys_of(&self.incoming, &self.others)
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
        self.merge_tags();
        let part = |(set, tag): (Set, &Entry)| {
            let texts = self.entries(set);
            Part { entry: (set, tag.key.start), key: texts.key(tag).into(), value: texts.value(tag) }
        };
        let tags = self.runs.iter().flat_map(|(set, range)| {
            let tags = if *set == Set::Incoming { &self.ordered.entries } else { &self.sorted };
            tags[range.clone()].iter().map(move |tag| (*set, tag))
        });
        tags.map(part).chain(self.field_parts()).collect()
    }

    fn write_tags(&mut self, out: &mut Vec<u8>) {
        self.merge_tags();
        for (set, range) in &self.runs {
            if *set == Set::Incoming {
                out.extend_from_slice(self.ordered.text(range.clone()));
            } else {
                for tag in &self.sorted[range.clone()] {
                    out.extend_from_slice(&self.tags.text[tag.written()]);
                }
            }
        }
    }

    /// Sorts the tags of metric and payload into `runs`, without those of the metric that the payload has too. The metric's
    /// own are sorted once, and those between two of the payload's are one run, as they may be many.
    fn merge_tags(&mut self) {
        self.ordered.take(&self.incoming);
        let (tags, incoming, ordered) = (&self.tags, &self.incoming, &self.ordered.entries);
        self.sorted.clear();
        self.sorted.extend(tags.iter().cloned());
        self.sorted.sort_unstable_by(|a, b| by_meaning(tags.key(a), tags.key(b)));
        self.runs.clear();
        let mut at = 0;
        for (index, tag) in self.sorted.iter().enumerate() {
            let key = tags.key(tag);
            let place = at + ordered[at..].partition_point(|other| by_meaning(incoming.key(other), key).is_lt());
            self.runs.push((Set::Incoming, at..place));
            self.runs.push((Set::Tags, index..index + 1));
            at = place + usize::from(ordered.get(place).is_some_and(|other| incoming.key(other) == key));
        }
        self.runs.push((Set::Incoming, at..ordered.len()));
    }

    fn field_parts(&self) -> Vec<Part<'_>> {
        let mut parts: Vec<Option<Part<'_>>> = Vec::new();
        let mut places = HashMap::new();
        let all = |set: Set| self.entries(set).iter().map(move |field| (set, field));
        for (set, field) in all(Set::Fields).chain(all(Set::Others)) {
            let fields = self.entries(set);
            let mut key = Cow::Borrowed(fields.key(field));
            while self.is_tag(&key) {
                key.to_mut().extend_from_slice(FIELD_SUFFIX);
            }
            match places.get(&key) {
                // The payload's wins.
                Some(_) if set == Set::Others => continue,
                Some(earlier) => parts[*earlier] = None,
                None => {}
            }
            places.insert(key.clone(), parts.len());
            parts.push(Some(Part { entry: (set, field.key.start), key, value: fields.value(field) }));
        }
        parts.into_iter().flatten().collect()
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
