//! What a value becomes as a tag or field: its type, and the values that make none.

use std::borrow::Cow;

use crate::json::decimal::Decimal;
use crate::json::number::not_finite_prefix;
use crate::json::{Number, Scalar, Str};
use crate::line_protocol::encoder::{write_float, write_integer};
use crate::line_protocol::escape::{cut, write_string};
use crate::line_protocol::field_type::FieldType;
use crate::observe::trace::LeftOut;

/// The largest string field that InfluxDB is documented to store, in bytes.
pub(crate) const MAX_STRING: usize = 64 * 1024;

/// The type of a field whose type no rule fixes.
#[inline]
pub(crate) fn type_of(scalar: Scalar<'_>) -> FieldType {
    match scalar {
        Scalar::String(string) if !is_float(string.written()) => FieldType::String,
        _ => FieldType::Float,
    }
}

/// Whether a string carries no more information than a float: it is a number of which a float keeps every digit, or NaN or
/// an infinity.
fn is_float(text: &[u8]) -> bool {
    match text {
        [b'-' | b'0'..=b'9', ..] => Number::of(text).is_some_and(keeps_digits) || is_not_finite(text),
        _ => is_not_finite(text),
    }
}

/// Whether the float that is written for a number equals the number.
fn keeps_digits(number: Number<'_>) -> bool {
    if number.shortest {
        return true;
    }
    let mut written = Vec::new();
    let decimal = Decimal::of(number);
    decimal.significant_digits() <= MOST_DIGITS
        && write_float(number.text, &mut written)
        && Number::of(&written).is_some_and(|written| decimal.equals(&Decimal::of(written)))
}

/// The shortest text of a float never has more digits.
const MOST_DIGITS: usize = 17;

/// Appends the value of a field, or returns why it makes none. Returns a string's length if it was cut.
#[inline(always)]
pub(crate) fn write_field(
    field_type: FieldType,
    scalar: Scalar<'_>,
    out: &mut Vec<u8>,
) -> Result<Option<usize>, LeftOut> {
    match (field_type, scalar) {
        (FieldType::Float, Scalar::Number(number)) if number.shortest => {
            out.extend_from_slice(number.text);
            Ok(None)
        }
        (FieldType::Float, Scalar::Number(number)) => write_number(number, out),
        (FieldType::String, Scalar::String(string)) => Ok(write_text(string, out)),
        _ => write_other_field(field_type, scalar, out),
    }
}

/// The slow path of [`write_field`].
#[inline(never)]
fn write_other_field(field_type: FieldType, scalar: Scalar<'_>, out: &mut Vec<u8>) -> Result<Option<usize>, LeftOut> {
    match (field_type, scalar) {
        (_, Scalar::Null) => return Err(LeftOut::nothing("null makes no field")),
        (_, Scalar::NotFinite) => return Err(NOT_FINITE),
        (FieldType::String, Scalar::String(string)) => return Ok(write_text(string, out)),
        (_, Scalar::String(string)) if is_not_finite(string.written()) => return Err(NOT_FINITE),
        (FieldType::Float, scalar) => match (boolean_word(scalar), number_of(scalar)) {
            (Some(value), _) => out.push(if value { b'1' } else { b'0' }),
            (None, Some(number)) => return write_number(number, out),
            (None, None) => return Err(NO_NUMBER),
        },
        (FieldType::String, Scalar::Bool(_) | Scalar::Number(_)) => {
            out.push(b'"');
            out.extend_from_slice(&scalar.text());
            out.push(b'"');
        }
        (FieldType::Integer, scalar) => {
            let integer = match boolean_word(scalar) {
                Some(value) => value.into(),
                None => {
                    let integer = Decimal::of(number_of(scalar).ok_or(NO_NUMBER)?).integer();
                    integer.ok_or(LeftOut::lost("the number is not a whole one of 64 bits"))?
                }
            };
            write_integer(integer, out);
        }
        (FieldType::Boolean, scalar) => {
            let integer = || Decimal::of(number_of(scalar)?).integer();
            let value = boolean_word(scalar).or_else(|| match integer()? {
                1 => Some(true),
                0 => Some(false),
                _ => None,
            });
            let value = value.ok_or(LeftOut::lost("the value is not a boolean"))?;
            out.extend_from_slice(if value { b"true" } else { b"false" });
        }
    }
    Ok(None)
}

const NO_NUMBER: LeftOut = LeftOut::lost("the value is not a number");
const NOT_FINITE: LeftOut = LeftOut::lost("NaN and Infinity make no field");

fn is_not_finite(text: &[u8]) -> bool {
    not_finite_prefix(text) == Some(text.len())
}

fn write_number(number: Number<'_>, out: &mut Vec<u8>) -> Result<Option<usize>, LeftOut> {
    if number.shortest {
        out.extend_from_slice(number.text);
        return Ok(None);
    }
    let written = write_float(number.text, out);
    written.then_some(None).ok_or(LeftOut::lost("the number is beyond a 64-bit float"))
}

/// Appends a string with its quotes. Returns its length if it was cut.
#[inline]
fn write_text(string: Str<'_>, out: &mut Vec<u8>) -> Option<usize> {
    if string.written().len() > MAX_STRING {
        return write_long_text(string, out);
    }
    string.write(out);
    None
}

#[cold]
fn write_long_text(string: Str<'_>, out: &mut Vec<u8>) -> Option<usize> {
    let plain = string.plain();
    write_string(cut(&plain, MAX_STRING), out);
    Some(plain.len()).filter(|len| *len > MAX_STRING)
}

fn number_of(scalar: Scalar<'_>) -> Option<Number<'_>> {
    match scalar {
        Scalar::Number(number) => Some(number),
        Scalar::String(string) => Number::of(string.written()),
        _ => None,
    }
}

/// The value of a boolean, or of a word for one.
fn boolean_word(scalar: Scalar<'_>) -> Option<bool> {
    let text = match scalar {
        Scalar::Bool(value) => return Some(value),
        Scalar::String(string) => string.written().trim_ascii(),
        Scalar::Null | Scalar::NotFinite | Scalar::Number(_) => return None,
    };
    let is_one_of = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word.as_bytes()));
    if is_one_of(&["true", "t", "yes", "y", "on"]) {
        Some(true)
    } else if is_one_of(&["false", "f", "no", "n", "off"]) {
        Some(false)
    } else {
        None
    }
}

/// Whether a tag's text is written unchanged from a payload, for any key.
#[inline]
pub(crate) fn is_plain_tag(text: Option<&[u8]>) -> bool {
    // A text of backslashes alone is not written, and white space around a name does not belong to it.
    matches!(text, Some([first, .., last]) if *first != b'\\' && first.is_ascii_graphic() && last.is_ascii_graphic())
}

/// The unescaped text of a tag, or why it makes none.
#[inline]
pub(crate) fn tag_text(scalar: Scalar<'_>) -> Result<Cow<'_, [u8]>, LeftOut> {
    match scalar {
        Scalar::Null => Err(LeftOut::nothing("null makes no tag")),
        Scalar::NotFinite => Err(LeftOut::lost("NaN and Infinity make no tag")),
        scalar => Ok(scalar.text()),
    }
}
