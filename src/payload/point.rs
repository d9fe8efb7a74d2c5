//! A point under construction: the tags and fields of the metric, as they are written, and those of the payload, by their
//! positions in its text. All are written at once.

mod same_keys;

use std::borrow::Cow;

use crate::buffers::KEPT;
use crate::json::{Source, Value};
use crate::line_protocol::encoder::write_time;
use crate::line_protocol::escape::{escape_key, write_string};
use crate::line_protocol::field_type::FieldType;
use crate::observe::event::Reason;
use crate::observe::trace::LeftOut;
use crate::payload::Rejection;
use crate::payload::names::{ALGORITHM_NAME, Name, Names};
use crate::payload::order::Order;
use crate::payload::point::same_keys::Written;
use crate::payload::room::Room;
use crate::payload::sets::{Entries, GivenValue, GivenValues};
pub(crate) use crate::payload::sets::{Entry, Set};
use crate::payload::value::{tag_text, write_field};
use crate::settings::Settings;
use crate::settings::kinds::Kinds;

/// InfluxDB refuses a point whose measurement, tags and key of any one field take more bytes than this, together with the
/// four that its storage puts between them (models.MaxKeyLength and seriesKeySize).
pub(crate) const MAX_SERIES_KEY: usize = 65_535 - 4;

/// A point that is being made.
#[derive(Debug, Default)]
pub(crate) struct Point {
    pub names: Names,
    /// The metric's tags and other fields, for all points of the metric.
    incoming: Entries,
    others: Entries,
    /// The payload's tags and fields.
    tags: GivenValues,
    fields: GivenValues,
    /// A key is, or was, in two of these sets.
    keys_meet: bool,
    /// The same without the payload's sets.
    incoming_keys_meet: bool,
    order: Order,
    /// The notes on the payload's keys, for an observer.
    pub notes: Vec<Note>,
    /// What became of the payload's fields, if keys are in two sets or an observer wants to know.
    written: Written,
}

/// A tag or field as it is written.
#[derive(Debug)]
pub(crate) struct Part<'a> {
    /// The entry that it was written from, as [`Point::last`] names it.
    pub entry: Entry,
    pub key: Cow<'a, [u8]>,
    pub value: Cow<'a, [u8]>,
    /// For a field, its type.
    pub field_type: FieldType,
    /// The string's length before it was cut.
    pub cut_from: Option<usize>,
}

/// What an observer is told of a key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Note {
    /// The number of fields before it.
    pub behind: usize,
    /// None if nothing is left of the key.
    pub name: Option<Name>,
    pub what: What,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum What {
    LeftOut(&'static str),
    Cut(usize),
    /// It is an object or array with this many values.
    TooMany(usize),
}

/// The size of a line: the bytes of the measurement and tags, the bytes of the fields, the number of tags and fields, and
/// the length of the longest field's key.
#[derive(Clone, Copy, Debug)]
struct Line {
    tags: usize,
    fields: usize,
    count: usize,
    longest: usize,
}

impl Point {
    /// Clears everything, for the next metric.
    pub fn start_metric(&mut self) {
        self.incoming.clear();
        self.others.clear();
        self.incoming_keys_meet = false;
        self.order.forget_metric();
        self.names.start_metric();
        self.start_payload();
    }

    /// Clears the payload, for the next one of the same metric.
    #[inline]
    pub fn start_payload(&mut self) {
        self.names.start_payload();
        self.tags.clear();
        self.fields.clear();
        self.notes.clear();
        self.keys_meet = self.incoming_keys_meet;
    }

    /// Clears the payload, and all names but those of the metric.
    pub fn forget_names(&mut self) {
        self.start_payload();
        self.names.clear();
        self.order.forget_names();
        for (entries, set) in [(&mut self.incoming, Set::Incoming), (&mut self.others, Set::Others)] {
            for at in 0..entries.entries.len() {
                let entry = entries.entries[at].clone();
                let Some(name) = self.names.of_written(entries.key(&entry)) else { continue };
                entries.entries[at].name = name;
                if !entry.is_gone {
                    self.names.give(name, set, at);
                }
            }
        }
    }

    /// Clears the payload, and frees the memory that a large message took.
    pub fn shrink(&mut self) {
        self.start_payload();
        self.incoming.shrink();
        self.others.shrink();
        for members in [&mut self.tags, &mut self.fields] {
            members.members.shrink_to(KEPT / size_of::<GivenValue>());
        }
        self.notes.shrink_to(KEPT / size_of::<Note>());
        self.written.shrink();
        self.order.shrink();
    }

    /// Adds one of the metric's tags.
    pub fn incoming_tag(&mut self, key: &[u8], value: &[u8]) -> Result<(), LeftOut> {
        self.order.forget_metric();
        let name = self.names.of(key, Set::Incoming).ok_or(LeftOut::nothing("there is nothing left of the key"))?;
        if value.iter().all(|byte| *byte == b'\\') {
            return Err(LeftOut::nothing("there is nothing left of the value"));
        }
        self.insert(Set::Incoming, name, FieldType::String, |text| {
            escape_key(value, text);
            Ok(None)
        })
        .map(drop)
    }

    /// Adds one of the metric's other fields, with the value that `write` appends. Returns a string's length if it was cut.
    pub fn other_field(
        &mut self,
        name: Name,
        field_type: FieldType,
        write: impl FnOnce(&mut Vec<u8>) -> Result<Option<usize>, LeftOut>,
    ) -> Result<Option<usize>, LeftOut> {
        self.insert(Set::Others, name, field_type, write)
    }

    /// Adds a key of the metric with the value that `write` appends, in place of any earlier value.
    fn insert(
        &mut self,
        set: Set,
        name: Name,
        field_type: FieldType,
        write: impl FnOnce(&mut Vec<u8>) -> Result<Option<usize>, LeftOut>,
    ) -> Result<Option<usize>, LeftOut> {
        self.remove(set, name);
        let entries = if set == Set::Incoming { &mut self.incoming } else { &mut self.others };
        let cut_from = entries.push(name, self.names.text(name), field_type, write)?;
        let (_, has_met) = self.names.give(name, set, entries.entries.len() - 1);
        self.incoming_keys_meet |= has_met;
        self.keys_meet |= self.incoming_keys_meet;
        Ok(cut_from)
    }

    /// The size of the metric's tags in bytes.
    pub fn incoming_len(&self) -> usize {
        self.incoming.text.len()
    }

    /// Sets a tag or field of the payload, in place of any earlier value.
    #[inline]
    pub fn set(&mut self, set: Set, name: Name, field_type: FieldType, value: Value) {
        let members = if set == Set::Tags { &mut self.tags } else { &mut self.fields };
        members.members.push(GivenValue { name, field_type, is_gone: false, value });
        let (earlier, has_met) = self.names.give(name, set, members.members.len() - 1);
        if has_met {
            self.meet(set, name, earlier);
        }
    }

    /// Handles a key that the payload or its metric had before, or that the payload had with a value of another type.
    /// `earlier` is the place of the payload's earlier value.
    #[cold]
    fn meet(&mut self, set: Set, name: Name, earlier: Option<usize>) {
        if let Some(place) = earlier {
            if set == Set::Tags { &mut self.tags } else { &mut self.fields }.remove(place);
        }
        if let Some(sibling) = self.names.sibling(name, set) {
            self.remove_one(set, sibling);
        }
        self.keys_meet |= Set::ALL.into_iter().any(|other| other != set && self.names.has(name, other));
    }

    /// Removes the value that the payload or its metric gave to a key of a set, including one of another type.
    pub fn remove(&mut self, set: Set, name: Name) {
        self.remove_one(set, name);
        if let Some(sibling) = self.names.sibling(name, set) {
            self.remove_one(set, sibling);
        }
    }

    fn remove_one(&mut self, set: Set, name: Name) {
        let Some(place) = self.names.take(name, set) else { return };
        match set {
            Set::Incoming => self.incoming.remove(place),
            Set::Others => self.others.remove(place),
            Set::Tags => self.tags.remove(place),
            Set::Fields => self.fields.remove(place),
        }
    }

    /// Removes the value, of any type, that the payload or its metric gave to a field that no rule of `--as` names.
    #[cold]
    pub fn remove_of_any_type(&mut self, set: Set, key: &[u8], kinds: &Kinds) {
        if let Some(name) = self.names.find_of_any_type(key, kinds) {
            self.remove(set, name);
        }
    }

    /// How many values the payload gave to tags and fields, including those that were replaced and those that make no field.
    pub fn values(&self) -> usize {
        self.fields.members.len() + self.tags.members.len()
    }

    fn has_tag(&self, name: Name) -> bool {
        self.names.has(name, Set::Incoming) || self.names.has(name, Set::Tags)
    }

    /// Whether a tag has the key that is written like this.
    fn is_tag(&self, key: &[u8]) -> bool {
        self.names.written(key).is_some_and(|name| self.has_tag(name))
    }

    /// Appends the line up to its time, which [`write_time`] adds. It does so only if InfluxDB accepts the line and there is
    /// room for it. Notes on fields are made in any case. If `wanted`, the notes and what became of each field are known for
    /// all [`parts`](Self::parts).
    pub fn write(
        &mut self,
        measurement: &[u8],
        source: Source<'_>,
        settings: &Settings,
        room: &mut Room,
        wanted: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), Rejection> {
        let most_fields = settings.limits.fields;
        let start = out.len();
        out.extend_from_slice(measurement);
        self.write_tags(source, out);
        let fields = out.len();
        let (count, longest) = if self.keys_meet || wanted {
            self.write_fields_apart(source, &settings.kinds, out)
        } else {
            let (count, longest) = self.write_fields(source, out);
            self.others.write(out);
            (count, longest.max(self.others.longest_key()))
        };
        let line = Line { tags: fields - start, fields: out.len() - fields, count: self.tags.len() + count, longest };
        if line.count <= most_fields
            && self.has_tag(ALGORITHM_NAME)
            && line.fields > 0
            && line.tags + longest <= MAX_SERIES_KEY
            && room.has(line.tags + line.fields)
        {
            out[fields] = b' ';
            return Ok(());
        }
        out.truncate(start);
        Err(self.refuse(line, most_fields, room))
    }

    /// Why there is no line.
    #[cold]
    fn refuse(&self, line: Line, most_fields: usize, room: &mut Room) -> Rejection {
        if line.count > most_fields {
            Rejection::too_many_fields(most_fields)
        } else if !self.has_tag(ALGORITHM_NAME) {
            let error = "the payload does not say which algorithm was called";
            Rejection::new(Reason::MissingAlgorithmName, error)
        } else if line.fields == 0 {
            let error = "the payload has nothing but tags, time and values that make no field";
            Rejection::new(Reason::NoFields, error)
        } else if line.tags + line.longest > MAX_SERIES_KEY {
            let bytes = line.tags + line.longest + 4;
            let error = format!("tags and a field's key take {bytes} bytes, and InfluxDB at most 65535");
            Rejection::new(Reason::TooLarge, error)
        } else {
            room.rejection(line.tags + line.fields)
        }
    }

    /// Appends the payload's fields, each with a comma before it. Returns their number, and the length of the longest key.
    #[inline]
    fn write_fields(&mut self, source: Source<'_>, out: &mut Vec<u8>) -> (usize, usize) {
        let (mut count, mut longest) = (0, 0);
        for (place, field) in self.fields.members.iter().enumerate() {
            let start = out.len();
            self.names.write(field.name, out);
            let key_len = out.len() - start - 2;
            let written = write_field(field.field_type, field.value.of(source), out);
            self.notes.extend(Note::of(place, field.name, &written));
            if written.is_err() || field.is_gone {
                out.truncate(start);
            } else {
                count += 1;
                longest = longest.max(key_len);
            }
        }
        (count, longest)
    }

    /// The entry of the payload's or the metric's tag or field that was added last. It identifies the value among all those
    /// of the metric and payload.
    pub fn last(&self, set: Set) -> Option<Entry> {
        let len = match set {
            Set::Incoming => self.incoming.entries.len(),
            Set::Others => self.others.entries.len(),
            Set::Tags => self.tags.members.len(),
            Set::Fields => self.fields.members.len(),
        };
        len.checked_sub(1).map(|last| (set, last))
    }

    /// The tags and fields as [`write`](Self::write) wrote them.
    pub fn parts<'a>(&'a mut self, source: Source<'a>) -> Vec<Part<'a>> {
        self.order.sort(&self.incoming, &self.tags, &self.names);
        let tags = self.order.tags.iter().map(|(set, place)| {
            let (key, value) = if *set == Set::Incoming {
                let tag = &self.incoming.entries[*place];
                (self.incoming.key(tag), self.incoming.value(tag).into())
            } else {
                let tag = &self.tags.members[*place];
                let mut value = Vec::new();
                write_tag(tag, source, &mut value);
                (self.names.key(tag.name), value.into())
            };
            Part { entry: (*set, *place), key: key.into(), value, field_type: FieldType::String, cut_from: None }
        });
        tags.chain(self.field_parts()).collect()
    }

    fn write_tags(&mut self, source: Source<'_>, out: &mut Vec<u8>) {
        self.order.sort(&self.incoming, &self.tags, &self.names);
        for (set, place) in &self.order.tags {
            if *set == Set::Incoming {
                out.extend_from_slice(self.incoming.written(&self.incoming.entries[*place]));
            } else {
                let tag = &self.tags.members[*place];
                self.names.write(tag.name, out);
                write_tag(tag, source, out);
            }
        }
    }

    /// Appends a line about the metric, with its tags, one additional tag and some string fields. The metric's tags are left
    /// out if InfluxDB would refuse them.
    pub fn write_about(
        &mut self,
        measurement: &[u8],
        tag: (&str, &str),
        fields: &[(&str, &[u8])],
        time: i64,
        out: &mut Vec<u8>,
    ) {
        self.start_payload();
        let source = Source { text: &[b"\"", tag.1.as_bytes()].concat(), decoded: &[] };
        if let Some(name) = self.names.of(tag.0.as_bytes(), Set::Tags) {
            self.set(Set::Tags, name, FieldType::String, Value::string(0..source.text.len()));
        }
        let start = out.len();
        out.extend_from_slice(measurement);
        self.write_tags(source, out);
        let longest = fields.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
        if out.len() - start + longest > MAX_SERIES_KEY {
            out.truncate(start);
            out.extend_from_slice(measurement);
            for tag in &self.tags.members {
                out.extend_from_slice(self.names.text(tag.name));
                write_tag(tag, source, out);
            }
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

impl Note {
    /// The note on a field, if there is one.
    #[inline]
    fn of(place: usize, name: Name, written: &Result<Option<usize>, LeftOut>) -> Option<Self> {
        let what = match written {
            Ok(None) | Err(LeftOut { lost: false, .. }) => return None,
            Ok(Some(bytes)) => What::Cut(*bytes),
            Err(LeftOut { why, .. }) => What::LeftOut(why),
        };
        Some(Note { behind: place, name: Some(name), what })
    }
}

/// Appends a tag's value.
#[inline]
fn write_tag(tag: &GivenValue, source: Source<'_>, out: &mut Vec<u8>) {
    if let Some(text) = tag.value.text(source.text) {
        escape_key(text, out);
    } else if let Ok(text) = tag_text(tag.value.of(source)) {
        escape_key(&text, out);
    }
}

#[cfg(test)]
mod tests;
