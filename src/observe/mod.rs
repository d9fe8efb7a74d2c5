//! What becomes of the input, for observers: events and counts, each key of a message, and the distribution of values.

pub(crate) mod event;
pub(crate) mod spread;
pub(crate) mod summary;
pub(crate) mod trace;
