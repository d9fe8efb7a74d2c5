//! Numbers and times as line protocol writes them.

use lexical_parse_float::FromLexical;

/// Appends a float field's value: the shortest text that reads back as the same number. If the number exceeds the range of
/// `f64`, writes nothing and returns false.
pub(crate) fn write_float(number: &[u8], out: &mut Vec<u8>) -> bool {
    // Of all exact parsers, this one is the fastest for numbers with hundreds of digits.
    match f64::from_lexical(number) {
        Ok(float) if float.is_finite() => {
            let mut buffer = zmij::Buffer::new();
            let text = buffer.format_finite(float);
            if float.abs() < 1e16 {
                out.extend_from_slice(text.strip_suffix(".0").unwrap_or(text).as_bytes());
            } else {
                // Without the plus sign in 1e+16.
                out.extend(text.bytes().filter(|byte| *byte != b'+'));
            }
            true
        }
        _ => false,
    }
}

/// Appends an integer field's value.
pub(crate) fn write_integer(value: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    out.push(b'i');
}

/// Appends a line's time and its end.
pub(crate) fn write_time(time: i64, out: &mut Vec<u8>) {
    out.push(b' ');
    out.extend_from_slice(itoa::Buffer::new().format(time).as_bytes());
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_short_and_exact() {
        for (text, float) in [
            ("1", "1"),
            ("1.0", "1"),
            ("1.50", "1.5"),
            ("-0.0", "-0"),
            ("0.2", "0.2"),
            ("1e16", "1e16"),
            ("1e15", "1000000000000000"),
            ("0.1e-6", "1e-7"),
            ("12345678901234567890", "12345678901234567000"),
            ("1e-400", "0"),
            ("5e-324", "5e-324"),
            ("1.7976931348623157e308", "1.7976931348623157e308"),
        ] {
            let mut out = Vec::new();
            assert!(write_float(text.as_bytes(), &mut out), "{text}");
            let out = String::from_utf8(out).unwrap();
            assert_eq!(out.parse::<f64>().unwrap(), float.parse::<f64>().unwrap());
            if out.len() < 18 {
                assert_eq!(out, float, "{text}");
            }
        }
        let mut out = Vec::new();
        assert!(!write_float(b"1e309", &mut out));
        assert!(!write_float(b"-1e999999", &mut out));
        assert!(out.is_empty());
    }
}
