//! What buffers keep of their memory.

/// Between messages, a buffer keeps room for this many bytes: more than nearly all messages need, and not the memory that a
/// large one took months ago.
pub(crate) const KEPT: usize = 128 * 1024;
