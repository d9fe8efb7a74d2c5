//! The types that fields have.

use strum::{Display, EnumString, IntoStaticStr, VariantNames};

/// The types of fields. Their names are those of `--as`, such as `float`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Display, EnumString, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum FieldType {
    /// A 64-bit float.
    Float,
    /// A 64-bit integer.
    Integer,
    /// True or false.
    Boolean,
    /// Text.
    String,
}
