//! The order of a point's tags.

use std::cmp::Ordering;

use crate::buffers::KEPT;
use crate::payload::names::{Name, Names};
use crate::payload::sets::{Entries, Entry, GivenValues, Set};

/// The tags of a point in the order in which they are written.
#[derive(Debug, Default)]
pub(crate) struct Order {
    /// The metric's tags in order. Empty if the order is not known.
    incoming: Vec<usize>,
    /// The metric's and the payload's tags that `tags` was made of.
    names: [Vec<Name>; 2],
    pub tags: Vec<Entry>,
    /// The payload's tags in order.
    own: Vec<usize>,
}

impl Order {
    /// Call this if the metric's tags change.
    pub fn forget_metric(&mut self) {
        self.incoming.clear();
    }

    /// Call this if names change their meaning.
    pub fn forget_names(&mut self) {
        self.names.iter_mut().for_each(Vec::clear);
    }

    /// Sorts the tags of metric and payload into [`tags`](Self::tags), without those of the metric that the payload has too.
    /// Usually they are the same tags as in the last point.
    pub fn sort(&mut self, incoming: &Entries, tags: &GivenValues, names: &Names) {
        let order = self;
        let is_whole = incoming.gone + tags.gone == 0;
        let [of_metric, own] = &order.names;
        if is_whole
            && !own.is_empty()
            && incoming.names().eq(of_metric.iter().copied())
            && tags.names().eq(own.iter().copied())
        {
            return;
        }
        order.names.iter_mut().for_each(Vec::clear);
        if is_whole {
            order.names[0].extend(incoming.names());
            order.names[1].extend(tags.names());
        }
        // The metric may have many tags, so they are sorted once for all its payloads.
        if order.incoming.is_empty() {
            order.incoming.extend(incoming.iter().map(|(place, _)| place));
            let key = |place: &usize| incoming.key(&incoming.entries[*place]);
            order.incoming.sort_unstable_by(|a, b| by_meaning(key(a), key(b)));
        }
        let key = |place: &usize| names.key(tags.members[*place].name);
        order.own.clear();
        order.own.extend(tags.iter().map(|(place, _)| place));
        order.own.sort_unstable_by(|a, b| by_meaning(key(a), key(b)));
        order.tags.clear();
        let mut rest = order.incoming.as_slice();
        for place in &order.own {
            let is_before = |other: &usize| by_meaning(incoming.key(&incoming.entries[*other]), key(place)).is_lt();
            let (before, behind) = rest.split_at(rest.partition_point(is_before));
            order.tags.extend(before.iter().map(|place| (Set::Incoming, *place)));
            order.tags.push((Set::Tags, *place));
            rest = match behind {
                [same, behind @ ..] if incoming.entries[*same].name == tags.members[*place].name => behind,
                behind => behind,
            };
        }
        order.tags.extend(rest.iter().map(|place| (Set::Incoming, *place)));
    }

    /// Frees the memory that many tags took.
    pub fn shrink(&mut self) {
        self.incoming.shrink_to(KEPT / size_of::<usize>());
        self.names.iter_mut().for_each(|names| names.shrink_to(KEPT / size_of::<Name>()));
        self.tags.shrink_to(KEPT / size_of::<Entry>());
        self.own.shrink_to(KEPT / size_of::<usize>());
    }
}

/// The order of two escaped keys by the keys that they are escaped from.
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
