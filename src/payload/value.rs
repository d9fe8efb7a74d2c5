//! What a value becomes as a tag or field: the types of fields, and what makes none.

use std::borrow::Cow;

use crate::json::decimal::Decimal;
use crate::json::{Number, Scalar, Str};
use crate::line_protocol::encoder::{write_float, write_integer};
use crate::line_protocol::escape::{cut, write_string};
use crate::observe::trace::LeftOut;
use crate::payload::kinds::FieldType;

/// The most bytes of a string field that InfluxDB is documented to store.
pub(crate) const MAX_STRING: usize = 64 * 1024;

/// Appends the value of a field, of the type that the value says where none is given; or says why it makes none. The string's
/// length where it had to be cut.
#[inline(always)]
pub(crate) fn write_field(
    field_type: Option<FieldType>,
    scalar: Scalar<'_>,
    out: &mut Vec<u8>,
) -> Result<Option<usize>, LeftOut> {
    match (field_type, scalar) {
        (None | Some(FieldType::Float), Scalar::Number(number)) if number.shortest => {
            out.extend_from_slice(number.text);
            Ok(None)
        }
        (None, Scalar::String(string)) if !begins_number(string.written()) => Ok(write_text(string, out)),
        (Some(FieldType::String), Scalar::String(string)) => Ok(write_text(string, out)),
        _ => write_other_field(field_type, scalar, out),
    }
}

/// What the quick part of [`write_field`] leaves.
#[inline(never)]
fn write_other_field(
    field_type: Option<FieldType>,
    scalar: Scalar<'_>,
    out: &mut Vec<u8>,
) -> Result<Option<usize>, LeftOut> {
    match (field_type, scalar) {
        (_, Scalar::Null) => return Err(LeftOut::nothing("null makes no field")),
        (_, Scalar::NotFinite) => return Err(LeftOut::lost("NaN and Infinity make no field")),
        (None | Some(FieldType::Float), Scalar::Number(number)) => write_number(number, out)?,
        (None | Some(FieldType::Float), Scalar::Bool(value)) => out.push(if value { b'1' } else { b'0' }),
        (None | Some(FieldType::Float), Scalar::String(string)) => match Number::of(string.written()) {
            Some(number) => write_number(number, out)?,
            None if field_type.is_some() => return Err(NO_NUMBER),
            None => return Ok(write_text(string, out)),
        },
        (Some(FieldType::String), Scalar::String(string)) => return Ok(write_text(string, out)),
        (Some(FieldType::String), Scalar::Bool(_) | Scalar::Number(_)) => {
            out.push(b'"');
            out.extend_from_slice(&scalar.text());
            out.push(b'"');
        }
        (Some(FieldType::Integer), Scalar::Bool(value)) => write_integer(value.into(), out),
        (Some(FieldType::Integer), Scalar::Number(_) | Scalar::String(_)) => {
            let number = number_of(scalar).ok_or(NO_NUMBER)?;
            let integer = Decimal::of(number).integer();
            write_integer(integer.ok_or(LeftOut::lost("the number is not a whole one of 64 bits"))?, out);
        }
        (Some(FieldType::Boolean), scalar) => {
            let value = boolean_of(scalar).ok_or(LeftOut::lost("the value is not a boolean"))?;
            out.extend_from_slice(if value { b"true" } else { b"false" });
        }
    }
    Ok(None)
}

/// Whether a string may be a number.
#[inline]
fn begins_number(text: &[u8]) -> bool {
    matches!(text, [b'-' | b'0'..=b'9', ..])
}

const NO_NUMBER: LeftOut = LeftOut::lost("the value is not a number");

fn write_number(number: Number<'_>, out: &mut Vec<u8>) -> Result<(), LeftOut> {
    let written = write_float(number, out);
    written.then_some(()).ok_or(LeftOut::lost("the number is beyond a 64-bit float"))
}

/// Appends a string with its quotes; its length where it had to be cut.
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

fn boolean_of(scalar: Scalar<'_>) -> Option<bool> {
    match scalar {
        Scalar::Bool(value) => Some(value),
        Scalar::Number(number) => match Decimal::of(number).integer()? {
            1 => Some(true),
            0 => Some(false),
            _ => None,
        },
        Scalar::String(string) => match string.written() {
            b"1" => Some(true),
            b"0" => Some(false),
            text if text.eq_ignore_ascii_case(b"true") => Some(true),
            text if text.eq_ignore_ascii_case(b"false") => Some(false),
            _ => None,
        },
        Scalar::Null | Scalar::NotFinite => None,
    }
}

/// The text of a tag as it is meant; or why it makes none.
#[inline]
pub(crate) fn tag_text(scalar: Scalar<'_>) -> Result<Cow<'_, [u8]>, LeftOut> {
    match scalar {
        Scalar::Null => Err(LeftOut::nothing("null makes no tag")),
        Scalar::NotFinite => Err(LeftOut::lost("NaN and Infinity make no tag")),
        scalar => Ok(scalar.text()),
    }
}
