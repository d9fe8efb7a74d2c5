//! The fields of a point of which some have the key of a tag or of each other, or of which somebody wants to know: each finds its key.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::buffers::KEPT;
use crate::json::Source;
use crate::line_protocol::escape::{escape_key, plain_key};
use crate::observe::trace::LeftOut;
use crate::payload::field_key::{self, NO_KEY};
use crate::payload::point::{Note, Part, Point, What};
use crate::payload::sets::{Entries, Entry, Set};
use crate::payload::value::write_field;
use crate::settings::kinds::Kinds;

/// The payload's fields as they are written, and why some are left out, by their places in [`Point::fields`].
#[derive(Debug, Default)]
pub(super) struct Written {
    fields: Entries,
    places: Vec<usize>,
    left_out: Vec<(Entry, LeftOut)>,
    /// All fields of the point, including the metric's. Each has its place among `fields` or the metric's fields, and its
    /// key if that was changed.
    parts: Vec<Named<Option<Vec<u8>>>>,
}

/// A field of the point, and its place among [`Written::fields`] or the metric's fields.
#[derive(Debug)]
struct Named<K> {
    entry: Entry,
    at: usize,
    key: K,
}

impl Point {
    /// Appends all fields, each with a comma before it. Returns the number of the payload's fields, and the length of the
    /// longest key.
    #[cold]
    pub(super) fn write_fields_apart(
        &mut self,
        source: Source<'_>,
        kinds: &Kinds,
        out: &mut Vec<u8>,
    ) -> (usize, usize) {
        self.written.start();
        let Written { fields, places, left_out, .. } = &mut self.written;
        for (place, field) in self.fields.members.iter().enumerate() {
            let write = |out: &mut Vec<u8>| write_field(field.field_type, field.value.of(source), out);
            let written = fields.push(field.name, self.names.text(field.name), field.field_type, write);
            self.notes.extend(Note::of(place, field.name, &written));
            match written {
                Ok(_) => {
                    places.push(place);
                    if field.is_gone
                        && let Some(last) = fields.entries.last_mut()
                    {
                        last.is_gone = true;
                        fields.gone += 1;
                    }
                }
                Err(why) => left_out.push(((Set::Fields, place), why)),
            }
        }
        self.find_keys(kinds);
        let mut longest = 0;
        for Part { key, value, .. } in self.field_parts() {
            out.push(b',');
            out.extend_from_slice(&key);
            out.push(b'=');
            out.extend_from_slice(&value);
            longest = longest.max(key.len());
        }
        (self.written.fields.len(), longest)
    }

    /// Determines which fields there are, and their keys.
    fn find_keys(&mut self, kinds: &Kinds) {
        let mut parts: Vec<Option<Named<Cow<'_, [u8]>>>> = Vec::new();
        let mut places = HashMap::new();
        let mut left_out = Vec::new();
        let Written { fields, places: known, .. } = &self.written;
        let own = fields.iter().map(|(at, field)| ((Set::Fields, known[at]), at, fields, field));
        let others = self.others.iter().map(|(place, field)| ((Set::Others, place), place, &self.others, field));
        for (entry, at, entries, field) in own.chain(others) {
            let written = entries.key(field);
            let key = if self.is_tag(written) {
                let plain = plain_key(written);
                field_key::beside_tags(&plain, kinds, |key| {
                    let mut written = Vec::new();
                    escape_key(key, &mut written);
                    self.is_tag(&written)
                })
                .map(|key| {
                    let mut written = Vec::new();
                    escape_key(&key, &mut written);
                    Cow::Owned(written)
                })
            } else {
                Some(Cow::Borrowed(written))
            };
            let Some(key) = key else {
                left_out.push((entry, field.name));
                continue;
            };
            if let Some(earlier) = places.get(&key).map(|earlier: &usize| &mut parts[*earlier]) {
                let is_payloads = earlier.as_ref().is_some_and(|earlier| earlier.entry.0 == Set::Fields);
                // The payload's field wins over the metric's, and the last one wins within a set.
                if entry.0 == Set::Others && is_payloads {
                    continue;
                }
                *earlier = None;
            }
            places.insert(key.clone(), parts.len());
            parts.push(Some(Named { entry, at, key }));
        }
        let changed = |key| if let Cow::Owned(key) = key { Some(key) } else { None };
        let parts = parts.into_iter().flatten().map(|Named { entry, at, key }| Named { entry, at, key: changed(key) });
        self.written.parts = parts.collect();
        for (entry, name) in left_out {
            self.notes.push(Note { behind: entry.1, name: Some(name), what: What::LeftOut(NO_KEY.why) });
            self.written.left_out.push((entry, NO_KEY));
        }
    }

    /// Why fields of the payload are left out.
    pub fn left_out(&self) -> impl Iterator<Item = (Entry, LeftOut)> {
        self.written.left_out.iter().copied()
    }

    /// The fields as they are written.
    pub(super) fn field_parts(&self) -> impl Iterator<Item = Part<'_>> {
        self.written.parts.iter().map(|Named { entry, at, key }| {
            let entries = if entry.0 == Set::Others { &self.others } else { &self.written.fields };
            let field = &entries.entries[*at];
            let key = key.as_deref().unwrap_or_else(|| entries.key(field)).into();
            Part {
                entry: *entry,
                key,
                value: entries.value(field).into(),
                field_type: field.field_type,
                cut_from: field.cut_from,
            }
        })
    }
}

impl Written {
    fn start(&mut self) {
        self.fields.clear();
        self.places.clear();
        self.left_out.clear();
        self.parts.clear();
    }

    pub fn shrink(&mut self) {
        self.start();
        self.fields.shrink();
        self.places.shrink_to(KEPT / size_of::<usize>());
        self.left_out.shrink_to(KEPT / size_of::<(Entry, LeftOut)>());
        self.parts.shrink_to(KEPT / size_of::<Named<Option<Vec<u8>>>>());
    }
}
