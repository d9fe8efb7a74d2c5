//! What buffers keep of their memory.

/// Between messages, a buffer keeps at most this capacity, in bytes. Nearly all messages need less, and the memory of a rare
/// large message is freed.
pub(crate) const KEPT: usize = 128 * 1024;
