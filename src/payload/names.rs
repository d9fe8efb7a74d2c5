//! The keys of tags and fields as they are in a line. Each has a number: facts about a key are computed once, and two keys
//! are equal if their numbers are.

use std::hash::{BuildHasher, RandomState};
use std::num::NonZero;
use std::ops::Range;

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::buffers::KEPT;
use crate::line_protocol::escape::escape_key;
use crate::line_protocol::field_type::FieldType;
use crate::payload::field_key;
use crate::payload::point::Set;
use crate::settings::kinds::Kinds;

/// The size of the chunks in which keys are copied, unless they are long. Most keys are so short that a call of memcpy takes
/// longer.
const CHUNK: usize = 16;
const MAX_IN_CHUNKS: usize = 64;

/// The number of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Name(NonZero<u32>);

/// The key that every point has as a tag.
pub(crate) const ALGORITHM_NAME: Name = Name(NonZero::<u32>::MIN);

/// All keys that are remembered.
#[derive(Debug)]
pub(crate) struct Names {
    /// `,key=` of each, padded to whole chunks.
    text: Vec<u8>,
    names: Vec<NameState>,
    by_key: HashTable<Name>,
    hasher: Hasher,
    /// The numbers of the current metric and payload, counted from 1.
    metric: u64,
    payload: u64,
}

#[derive(Debug)]
struct NameState {
    text: Range<usize>,
    /// The last value that it got in each set, by the set's number.
    given: [Given; Set::COUNT],
    /// The name of the same key with a value of another type.
    sibling: Option<Name>,
}

/// A value that a metric or payload gave to a key.
#[derive(Clone, Copy, Debug, Default)]
struct Given {
    /// The metric or payload, counted from 1.
    by: u64,
    /// Its place in the set.
    place: usize,
}

/// Computes hashes that cannot be predicted, so that no payload can be made to collide.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hasher(u64);

impl Default for Hasher {
    fn default() -> Self {
        Hasher(RandomState::new().hash_one(()))
    }
}

impl Hasher {
    pub fn hash(self, text: &[u8]) -> u64 {
        xxh3_64_with_seed(text, self.0)
    }
}

impl Name {
    fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

impl Default for Names {
    fn default() -> Self {
        let mut names = Names {
            text: Vec::new(),
            names: Vec::new(),
            by_key: HashTable::new(),
            hasher: Hasher::default(),
            metric: 1,
            payload: 1,
        };
        names.clear();
        names
    }
}

impl Names {
    /// The most keys that are kept from one payload to the next.
    const KEPT: usize = 4096;

    /// Whether there are so many keys that they should be [cleared](Self::clear).
    pub fn are_many(&self) -> bool {
        self.names.len() > Self::KEPT || self.text.len() > KEPT
    }

    /// Removes all keys but [`ALGORITHM_NAME`]. All other numbers become invalid.
    pub fn clear(&mut self) {
        self.text.clear();
        self.text.shrink_to(KEPT);
        self.names.clear();
        self.names.shrink_to(Self::KEPT);
        self.by_key.clear();
        self.by_key.shrink_to(Self::KEPT, |_| 0);
        self.of(b"algorithm_name", Set::Tags);
    }

    /// The number of a key as a set writes it. None if nothing is left of the key.
    pub fn of(&mut self, key: &[u8], set: Set) -> Option<Name> {
        let start = self.push(key, set);
        self.resolve(start, true)
    }

    /// The same, if the key is known.
    pub fn find(&mut self, key: &[u8], set: Set) -> Option<Name> {
        let start = self.push(key, set);
        self.resolve(start, false)
    }

    /// The number of a field's key with values of a type that no rule fixes: floats or strings. None if there is no such
    /// key.
    pub fn of_type(&mut self, key: &[u8], field_type: FieldType, kinds: &Kinds) -> Option<Name> {
        let key = without_underscores(key);
        let mut resolve = |field_type| self.of(&field_key::of_type(key, field_type, kinds)?, Set::Fields);
        // The key of strings is never resolved first, so the other key is always known by then.
        let float = resolve(FieldType::Float);
        if field_type == FieldType::Float {
            return float;
        }
        let string = resolve(FieldType::String);
        if let (Some(float), Some(string)) = (float, string) {
            self.names[float.index()].sibling = Some(string);
            self.names[string.index()].sibling = Some(float);
        }
        string
    }

    /// The number of a field's key with values of any type that no rule fixes, if it is known. The key for values of another
    /// type is then its sibling.
    pub fn find_of_any_type(&mut self, key: &[u8], kinds: &Kinds) -> Option<Name> {
        let key = without_underscores(key);
        let key =
            [FieldType::Float, FieldType::String].into_iter().find_map(|any| field_key::of_type(key, any, kinds))?;
        self.find(&key, Set::Fields)
    }

    /// The number of a key that is written like this.
    pub fn of_written(&mut self, key: &[u8]) -> Option<Name> {
        let start = self.text.len();
        self.text.push(b',');
        self.text.extend_from_slice(key);
        self.resolve(start, true)
    }

    /// Appends a key. It loses leading underscores, since InfluxDB reserves such keys. `time` gets a suffix, since it is
    /// reserved too.
    fn push(&mut self, key: &[u8], set: Set) -> usize {
        let start = self.text.len();
        self.text.push(b',');
        escape_key(without_underscores(key), &mut self.text);
        if self.text[start + 1..] == *b"time" {
            self.text.extend_from_slice(set.suffix());
        }
        start
    }

    /// The number of the key after the comma at `start`, up to the end of the text.
    fn resolve(&mut self, start: usize, adds: bool) -> Option<Name> {
        let written = &self.text[start + 1..];
        let hash = self.hasher.hash(written);
        let found = self.by_key.find(hash, |name| self.key(*name) == written).copied();
        if found.is_some() || !adds || written.is_empty() {
            self.text.truncate(start);
            return found;
        }
        self.text.push(b'=');
        let end = self.text.len();
        self.text.resize(end.next_multiple_of(CHUNK), 0);
        let name = Name(NonZero::<u32>::MIN.saturating_add(self.names.len() as u32));
        self.names.push(NameState { text: start..end, given: [Given::default(); Set::COUNT], sibling: None });
        let (text, names, hasher) = (&self.text, &self.names, self.hasher);
        self.by_key.insert_unique(hash, name, |name| hasher.hash(names[name.index()].key(text)));
        Some(name)
    }

    /// The number of a key that is written like this, if it is known.
    pub fn written(&self, key: &[u8]) -> Option<Name> {
        self.by_key.find(self.hasher.hash(key), |name| self.key(*name) == key).copied()
    }

    /// The key as it is written.
    pub fn key(&self, name: Name) -> &[u8] {
        self.names[name.index()].key(&self.text)
    }

    /// `,key=`.
    #[inline]
    pub fn text(&self, name: Name) -> &[u8] {
        &self.text[self.names[name.index()].text.clone()]
    }

    /// Appends `,key=`.
    #[inline(always)]
    pub fn write(&self, name: Name, out: &mut Vec<u8>) {
        let Range { start, end } = self.names[name.index()].text;
        if end - start > MAX_IN_CHUNKS {
            return out.extend_from_slice(&self.text[start..end]);
        }
        let len = out.len() + end - start;
        for chunk in self.text[start..end.next_multiple_of(CHUNK)].as_chunks::<CHUNK>().0 {
            out.extend_from_slice(chunk);
        }
        out.truncate(len);
    }

    /// Starts the next metric. No payload of the last one has any key now.
    pub fn start_metric(&mut self) {
        self.metric += 1;
        self.payload += 1;
    }

    /// Starts the next payload.
    #[inline]
    pub fn start_payload(&mut self) {
        self.payload += 1;
    }

    /// The name of a field's key with values of another type, if it is known.
    #[inline]
    pub fn sibling(&self, name: Name, set: Set) -> Option<Name> {
        self.names[name.index()].sibling.filter(|_| matches!(set, Set::Others | Set::Fields))
    }

    /// Records that the metric or payload gives a value to the key, at this place in its set. Returns the place of its
    /// earlier value, and whether any set of the metric or payload has the key or its sibling.
    #[inline]
    pub fn give(&mut self, name: Name, set: Set, place: usize) -> (Option<usize>, bool) {
        let earlier = self.place(name, set);
        let has_met = earlier.is_some()
            || Set::ALL.into_iter().any(|other| other != set && self.has(name, other))
            || self.sibling(name, set).is_some_and(|sibling| self.has(sibling, set));
        self.names[name.index()].given[set as usize] = Given { by: self.number(set), place };
        (earlier, has_met)
    }

    /// The place in a set of the last value that the metric or payload gave to the key.
    #[inline]
    pub fn place(&self, name: Name, set: Set) -> Option<usize> {
        let given = self.names[name.index()].given[set as usize];
        (given.by == self.number(set)).then_some(given.place)
    }

    /// Whether a set of the metric or payload has the key.
    #[inline]
    pub fn has(&self, name: Name, set: Set) -> bool {
        self.place(name, set).is_some()
    }

    /// Removes the key from the metric or payload. Returns the place of its value.
    pub fn take(&mut self, name: Name, set: Set) -> Option<usize> {
        let place = self.place(name, set)?;
        self.names[name.index()].given[set as usize] = Given::default();
        Some(place)
    }

    /// The number of the metric or payload that a set belongs to.
    #[inline]
    fn number(&self, set: Set) -> u64 {
        match set {
            Set::Incoming | Set::Others => self.metric,
            Set::Tags | Set::Fields => self.payload,
        }
    }
}

impl NameState {
    fn key<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        &text[self.text.start + 1..self.text.end - 1]
    }
}

/// Whether a tag's key names an algorithm, its owner or its version.
pub(crate) fn is_identity(key: &[u8]) -> bool {
    matches!(key, b"algorithm_name" | b"algorithm_owner" | b"algorithm_version")
}

/// The key without leading underscores, since InfluxDB reserves such keys.
pub(crate) fn without_underscores(key: &[u8]) -> &[u8] {
    &key[key.iter().take_while(|byte| **byte == b'_').count()..]
}
