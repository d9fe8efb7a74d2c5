//! The positions of keys in payloads, and what becomes of each, computed once. Payloads of one algorithm have the same keys
//! in the same order, so a key is usually compared with the one that was there last time, and not looked up.

use std::ops::Range;

use hashbrown::HashTable;

use crate::buffers::KEPT;
use crate::line_protocol::field_type::FieldType;
use crate::payload::names::{Hasher, Name, is_identity, without_underscores};
use crate::payload::point::Set;
use crate::settings::Settings;
use crate::settings::kinds::Kind;

/// A position of a key or item in payloads. [`NONE`] is the last one that is not remembered.
pub(crate) type Node = u32;
pub(crate) const NONE: Node = 0;

/// The number of nodes for none and for whole payloads: see [`Encoding::ROOT`](crate::json::Encoding::ROOT).
const ROOTS: usize = 3;

/// The number of nodes that are remembered, and the most bytes of each of their texts: the key unchanged, and the key
/// flattened with those around it.
const MAX_NODES: usize = 2048;
const MAX_PATH: usize = 255;

/// What becomes of a key's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It gives the point its time.
    Time(TimeKey),
    /// A field of a type that a rule fixes.
    Field(FieldType),
    /// A field whose type the value determines. The key then shows the type.
    ByValue,
    /// A string field. For an object or array, its text.
    Json,
    Tag,
    Drop,
}

/// A key or item, and what is known about it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    pub role: Role,
    /// The number of its key in the set of its [`Role`]. If the value determines the type, the number of the key for
    /// numbers. None if there is no such key, or it is not known yet.
    pub name: Option<Name>,
    /// If the value determines the type, the number of the key for texts. None if there is no such key, or it is not known
    /// yet.
    pub text_name: Option<Name>,
    pub is_request_id: bool,
    /// As a tag, it names an algorithm, its owner or its version.
    pub is_identity: bool,
    /// The length of its path in bytes.
    pub path_len: u32,
    /// The same, but 0 if nothing of it can be written.
    pub counted_len: u32,
}

/// The keys that give a time. The first has priority over the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimeKey {
    Time,
    Timestamp,
}

impl Role {
    /// The set of values with this role.
    pub fn set(self) -> Option<Set> {
        match self {
            Role::Field(_) | Role::ByValue | Role::Json => Some(Set::Fields),
            Role::Tag => Some(Set::Tags),
            Role::Time(_) | Role::Drop => None,
        }
    }
}

impl Member {
    /// A member whose value is dropped.
    const NONE: Member = Member {
        role: Role::Drop,
        name: None,
        text_name: None,
        is_request_id: false,
        is_identity: false,
        path_len: 0,
        counted_len: 0,
    };

    /// What becomes of the value of a key that was flattened from `path_len` bytes, and then renamed. A nested key that was
    /// not renamed never gives the time.
    pub fn of(path_len: usize, key: &[u8], may_be_time: bool, settings: &Settings) -> Self {
        let time = match key {
            b"time" if may_be_time => Some(TimeKey::Time),
            b"timestamp" if may_be_time => Some(TimeKey::Timestamp),
            _ => None,
        };
        let key = without_underscores(key);
        // No field has the key `time`: it is stored as `time_field`.
        let other = if key == b"time" { settings.kinds.of(b"time_field") } else { None };
        let role = match (time, other.or_else(|| settings.kinds.of(key))) {
            (Some(_), _) if settings.kinds.drops(key) => Role::Drop,
            (Some(time), _) => Role::Time(time),
            (None, None) => Role::ByValue,
            (None, Some(Kind::Field(field_type))) => Role::Field(field_type),
            (None, Some(Kind::Json)) => Role::Json,
            (None, Some(Kind::Tag)) => Role::Tag,
            (None, Some(Kind::Drop)) => Role::Drop,
        };
        let path_len = path_len as u32;
        let counted_len = if time.is_some() { 0 } else { path_len };
        let (is_request_id, is_identity) = (key == b"request_id", is_identity(key));
        Member { role, is_request_id, is_identity, path_len, counted_len, ..Self::NONE }
    }
}

/// One cache line.
#[derive(Debug)]
#[repr(align(64))]
struct NodeState {
    member: Member,
    parent: Node,
    /// The key unchanged from the payload, with its quotes and a colon. Empty for an item.
    raw: Range<u32>,
    /// The key flattened with those around it.
    path: Range<u32>,
    /// The node that came after it last time.
    next: Node,
    /// The node that came first in it last time, as an object and as an array.
    first_member: Node,
    first_item: Node,
}

/// All nodes that are remembered.
#[derive(Debug)]
pub(crate) struct Tree {
    text: Vec<u8>,
    nodes: Vec<NodeState>,
    by_key: HashTable<Node>,
    hasher: Hasher,
}

impl Default for Tree {
    fn default() -> Self {
        let mut tree =
            Tree { text: Vec::new(), nodes: Vec::new(), by_key: HashTable::new(), hasher: Hasher::default() };
        tree.clear();
        tree
    }
}

impl Tree {
    /// Whether no more nodes can be remembered, so that all should be [cleared](Self::clear).
    pub fn is_full(&self) -> bool {
        self.nodes.len() >= MAX_NODES || self.text.len() > KEPT
    }

    /// Stores a member or item that is not remembered, as [`NONE`].
    pub fn set_none(&mut self, member: Member) {
        self.nodes[NONE as usize].member = member;
    }

    /// Whether a member or item can be remembered.
    pub fn takes(&self, parent: Node, raw: Option<&[u8]>, path: &[u8]) -> bool {
        parent != NONE && !self.is_full() && path.len().max(raw.map_or(0, <[u8]>::len)) <= MAX_PATH
    }

    /// Removes all nodes.
    pub fn clear(&mut self) {
        let root = || NodeState {
            member: Member::NONE,
            parent: NONE,
            raw: 0..0,
            path: 0..0,
            next: NONE,
            first_member: NONE,
            first_item: NONE,
        };
        self.text.clear();
        self.nodes.clear();
        self.nodes.extend((0..ROOTS).map(|_| root()));
        self.by_key.clear();
    }

    /// The node that came after `last`, or first, when an object or array was read last time. [`NONE`] if there was none.
    #[inline]
    pub fn next(&self, parent: Node, last: Node, is_object: bool) -> Node {
        if last != NONE {
            return self.nodes[last as usize].next;
        }
        // Nothing is known of NONE.
        let parent = &self.nodes[parent as usize];
        if is_object { parent.first_member } else { parent.first_item }
    }

    #[inline]
    pub fn member(&self, node: Node) -> &Member {
        &self.nodes[node as usize].member
    }

    pub fn member_mut(&mut self, node: Node) -> &mut Member {
        &mut self.nodes[node as usize].member
    }

    /// The key, unchanged from the payload, with its quotes and a colon.
    #[inline]
    pub fn raw(&self, node: Node) -> &[u8] {
        piece(&self.text, &self.nodes[node as usize].raw)
    }

    /// The key flattened with those around it.
    pub fn path(&self, node: Node) -> &[u8] {
        piece(&self.text, &self.nodes[node as usize].path)
    }

    /// The member of an object whose key, unchanged and with its quotes, is `raw`. It comes after `last`.
    pub fn find(&mut self, object: Node, raw: &[u8], last: Node) -> Option<Node> {
        if object == NONE {
            return None;
        }
        let is_it = |node: &Node| self.nodes[*node as usize].parent == object && without_colon(self.raw(*node)) == raw;
        let node = *self.by_key.find(self.hasher.hash(raw), is_it)?;
        self.link(object, last, node, Some(raw));
        Some(node)
    }

    /// Remembers a member of an object, or an item of an array, which has no `raw`. The tree must [take](Self::takes) it. It
    /// comes after `last`.
    pub fn add(&mut self, parent: Node, last: Node, raw: Option<&[u8]>, path: &[u8], member: Member) -> Node {
        let node = self.nodes.len() as Node;
        let mut take = |pieces: &[&[u8]]| {
            let start = self.text.len() as u32;
            pieces.iter().for_each(|piece| self.text.extend_from_slice(piece));
            start..self.text.len() as u32
        };
        let (key, path) = (take(&[raw.unwrap_or_default(), b":"]), take(&[path]));
        self.nodes.push(NodeState { member, parent, raw: key, path, next: NONE, first_member: NONE, first_item: NONE });
        if let Some(raw) = raw {
            let (nodes, text, hasher) = (&self.nodes, &self.text, self.hasher);
            let hash = |node: &Node| hasher.hash(without_colon(piece(text, &nodes[*node as usize].raw)));
            self.by_key.insert_unique(hasher.hash(raw), node, hash);
        }
        self.link(parent, last, node, raw);
        node
    }

    fn link(&mut self, parent: Node, last: Node, node: Node, raw: Option<&[u8]>) {
        if last != NONE {
            self.nodes[last as usize].next = node;
        } else if raw.is_some() {
            self.nodes[parent as usize].first_member = node;
        } else {
            self.nodes[parent as usize].first_item = node;
        }
    }
}

#[inline]
fn piece<'a>(text: &'a [u8], place: &Range<u32>) -> &'a [u8] {
    &text[place.start as usize..place.end as usize]
}

fn without_colon(key: &[u8]) -> &[u8] {
    &key[..key.len() - 1]
}
