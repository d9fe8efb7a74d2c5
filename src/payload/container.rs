//! An object or array of a payload, while it is read.

use crate::payload::tree::{NONE, Node, TimeKey};

/// An object or array that is being read.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenContainer {
    pub content: Content,
    /// Its content is used.
    pub is_read: bool,
    pub is_object: bool,
    /// Its node, and the last node in it that is remembered.
    pub node: Node,
    pub last: Node,
    /// The length of its path.
    pub path_len: u32,
    /// The number of its items so far.
    pub items: u32,
    /// Where it begins.
    pub start: usize,
}

/// What becomes of the content of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// The payload's own members.
    Payload,
    /// Members or items of one of the payload's members.
    Nested,
    /// It is the value of a key that gives a time.
    Time(TimeKey),
    /// A rule drops it.
    Dropped,
    /// It is stored as its text.
    Json,
    /// It is left out because it holds too many values.
    TooMany(u32),
    /// It is within one of these two, or in the place of a payload.
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
