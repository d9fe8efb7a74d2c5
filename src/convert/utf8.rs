//! Whether messages are UTF-8. Many are checked at once.

/// How much of a buffer is known to be UTF-8.
#[derive(Debug, Default)]
pub(super) struct Utf8 {
    /// How many bytes of the buffer were left at the start of the checked part, and at its end or at the first byte that is
    /// not UTF-8.
    from: usize,
    to: usize,
}

impl Utf8 {
    /// The size of a check. It fits into the fastest cache with everything else.
    const AT_ONCE: usize = 16 * 1024;

    /// Whether the first `len` bytes of the rest of a buffer are UTF-8.
    #[inline]
    pub fn check(&mut self, buffer: &[u8], len: usize) -> Option<()> {
        let left = buffer.len();
        if left <= self.from && left - len >= self.to {
            return Some(());
        }
        let text = &buffer[..len.max(Self::AT_ONCE).min(left)];
        let valid = match simdutf8::compat::from_utf8(text) {
            Ok(_) => text.len(),
            Err(error) => error.valid_up_to(),
        };
        (self.from, self.to) = (left, left - valid);
        (len <= valid).then_some(())
    }
}
