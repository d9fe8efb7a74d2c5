//! The text of line protocol.

pub(crate) mod decoder;
pub(crate) mod encoder;
pub(crate) mod escape;
pub(crate) mod field_type;
pub(crate) mod framer;
