//! What becomes of the input, for those who want to know: events and counts, each key of a message, and how values are spread.

pub(crate) mod event;
pub(crate) mod spread;
pub(crate) mod summary;
pub(crate) mod trace;
