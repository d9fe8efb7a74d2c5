//! An object or array of a payload, while it is read.

use crate::payload::tree::{NONE, Node, TimeKey};

/// An object or array that is being read.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenContainer {
    pub content: Content,
    /// Something is made of what is in it.
    pub is_read: bool,
    pub is_object: bool,
    /// Its place, and that of the last one in it that is remembered.
    pub node: Node,
    pub last: Node,
    /// How long its path is.
    pub path_len: u32,
    /// How many items it had.
    pub items: u32,
    /// Where it begins.
    pub start: usize,
}

/// What becomes of what is in a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// The payload's own members.
    Payload,
    /// Members or items of one of those.
    Nested,
    /// It stands where a time should.
    Time(TimeKey),
    /// A rule drops it.
    Dropped,
    /// It is stored as its text.
    Json,
    /// It is left out, as it holds so many values.
    TooMany(u32),
    /// It is in one of these two, or stands where a payload should.
    Skipped,
}

impl OpenContainer {
    pub fn new(bracket: u8, content: Content, node: Node, path_len: u32, start: usize) -> Self {
        let is_read = matches!(content, Content::Payload | Content::Nested);
        OpenContainer { content, is_read, is_object: bracket == b'{', node, last: NONE, path_len, items: 0, start }
    }

    #[inline]
    pub fn close(&self) -> u8 {
        if self.is_object { b'}' } else { b']' }
    }
}
