//! Sets of tags or fields: those that are already written, and those that are positions in a payload's text.

use crate::buffers::KEPT;
use crate::json::Value;
use crate::line_protocol::field_type::FieldType;
use crate::payload::field_key::TIME;
use crate::payload::names::Name;

/// The sets of a point's tags and fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Set {
    /// The metric's tags.
    Incoming,
    /// The metric's fields other than the message.
    Others,
    /// The payload's tags. Its fields are the next set.
    Tags,
    Fields,
}

/// A set, and a place in it.
pub(crate) type Entry = (Set, usize);

/// Tags or fields that are already written.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    /// `,key=value` of each.
    pub text: Vec<u8>,
    pub entries: Vec<WrittenEntry>,
    pub gone: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct WrittenEntry {
    pub name: Name,
    /// For a field, its type.
    pub field_type: FieldType,
    /// It was replaced or removed.
    pub is_gone: bool,
    pub start: usize,
    pub value: usize,
    pub end: usize,
    /// The string's length before it was cut.
    pub cut_from: Option<usize>,
}

/// Tags or fields of the payload.
#[derive(Debug, Default)]
pub(crate) struct GivenValues {
    pub members: Vec<GivenValue>,
    pub gone: usize,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct GivenValue {
    pub name: Name,
    /// For a field, its type.
    pub field_type: FieldType,
    pub is_gone: bool,
    pub value: Value,
}

impl Set {
    pub const ALL: [Set; 4] = [Set::Incoming, Set::Others, Set::Tags, Set::Fields];
    pub const COUNT: usize = Set::ALL.len();

    /// The suffix of the key `time`.
    pub fn suffix(self) -> &'static [u8] {
        match self {
            Set::Incoming | Set::Tags => b"_tag",
            Set::Others | Set::Fields => TIME.text.as_bytes(),
        }
    }
}

impl Entries {
    pub fn clear(&mut self) {
        self.text.clear();
        self.entries.clear();
        self.gone = 0;
    }

    pub fn key(&self, entry: &WrittenEntry) -> &[u8] {
        &self.text[entry.start + 1..entry.value - 1]
    }

    pub fn value(&self, entry: &WrittenEntry) -> &[u8] {
        &self.text[entry.value..entry.end]
    }

    /// `,key=value`.
    pub fn written(&self, entry: &WrittenEntry) -> &[u8] {
        &self.text[entry.start..entry.end]
    }

    /// The names of all entries, including those that are gone.
    pub fn names(&self) -> impl Iterator<Item = Name> {
        self.entries.iter().map(|entry| entry.name)
    }

    /// The entries in the order in which they came, with their places.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &WrittenEntry)> + Clone {
        self.entries.iter().enumerate().filter(|(_, entry)| !entry.is_gone)
    }

    pub fn len(&self) -> usize {
        self.entries.len() - self.gone
    }

    pub fn remove(&mut self, place: usize) {
        self.entries[place].is_gone = true;
        self.gone += 1;
    }

    /// Adds a key, `,key=`, and the value that `write` appends, unless that fails. `write` returns a string's length if it
    /// cut the string.
    pub fn push<E>(
        &mut self,
        name: Name,
        key: &[u8],
        field_type: FieldType,
        write: impl FnOnce(&mut Vec<u8>) -> Result<Option<usize>, E>,
    ) -> Result<Option<usize>, E> {
        let start = self.text.len();
        self.text.extend_from_slice(key);
        let value = self.text.len();
        let written = write(&mut self.text);
        match written {
            Ok(cut_from) => {
                self.entries.push(WrittenEntry {
                    name,
                    field_type,
                    is_gone: false,
                    start,
                    value,
                    end: self.text.len(),
                    cut_from,
                });
            }
            Err(_) => self.text.truncate(start),
        }
        written
    }

    /// Appends the entries, each with a comma before it.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.iter().for_each(|(_, entry)| out.extend_from_slice(self.written(entry)));
    }

    /// The length of the longest key.
    pub fn longest_key(&self) -> usize {
        self.iter().map(|(_, entry)| self.key(entry).len()).max().unwrap_or(0)
    }

    pub fn shrink(&mut self) {
        self.text.shrink_to(KEPT);
        self.entries.shrink_to(KEPT / size_of::<WrittenEntry>());
    }
}

impl GivenValues {
    pub fn clear(&mut self) {
        self.members.clear();
        self.gone = 0;
    }

    pub fn len(&self) -> usize {
        self.members.len() - self.gone
    }

    /// The names of all members, including those that are gone.
    pub fn names(&self) -> impl Iterator<Item = Name> {
        self.members.iter().map(|member| member.name)
    }

    /// The members in the order in which they came, with their places.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &GivenValue)> + Clone {
        self.members.iter().enumerate().filter(|(_, member)| !member.is_gone)
    }

    pub fn remove(&mut self, place: usize) {
        self.members[place].is_gone = true;
        self.gone += 1;
    }
}
