//! Numbers as JSON writes them.

/// The text of a number that follows JSON's grammar.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Number<'a> {
    pub text: &'a [u8],
    /// The text is already the shortest plain decimal that reads back as the same `f64`.
    pub shortest: bool,
}

impl<'a> Number<'a> {
    /// The number, if the whole text is one.
    #[inline]
    pub fn of(text: &'a [u8]) -> Option<Self> {
        let [b'-' | b'0'..=b'9', ..] = text else { return None };
        match number_prefix(text) {
            Ok((len, shortest)) if len == text.len() => Some(Number { text, shortest }),
            _ => None,
        }
    }
}

/// The number of digits that `text` starts with.
fn digits_len(text: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    let (words, rest) = text.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        // A digit becomes its value. Adding 0x76 sets the high bit of values above 9. The lowest bit that is set is always
        // right.
        let values = u64::from_le_bytes(*word) ^ (u64::from(b'0') * ONES);
        let others = (values.wrapping_add(0x76 * ONES) | values) & (0x80 * ONES);
        if others != 0 {
            return 8 * index + others.trailing_zeros() as usize / 8;
        }
    }
    8 * words.len() + rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// The length of the number that `text` starts with, and whether it is [`Number::shortest`]. The error is the length of the
/// part that could have been the start of a number.
pub(crate) fn number_prefix(text: &[u8]) -> Result<(usize, bool), usize> {
    let digits = |at: usize| digits_len(&text[at..]);
    let minus = usize::from(text.first() == Some(&b'-'));
    let whole = match digits(minus) {
        0 => return Err(minus),
        _ if text[minus] == b'0' => 1,
        count => count,
    };
    let mut at = minus + whole;
    let mut fraction = 0;
    if text.get(at) == Some(&b'.') {
        fraction = digits(at + 1);
        if fraction == 0 {
            return Err(at + 1);
        }
        at += 1 + fraction;
    }
    // Fifteen digits always survive conversion to an f64 and back (C's DBL_DIG). So without a zero to remove, the text is
    // its own shortest form. ryu uses exponents from five zeros after the point on.
    let shortest = whole + fraction <= 15
        && (fraction == 0 || text[at - 1] != b'0')
        && !(fraction > 5 && text[minus..].starts_with(b"0.00000"));
    if let Some(b'e' | b'E') = text.get(at) {
        let sign = usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
        return match digits(at + 1 + sign) {
            0 => Err(at + 1 + sign),
            count => Ok((at + 1 + sign + count, false)),
        };
    }
    Ok((at, shortest))
}

/// The length of NaN or an infinity, in one of the usual spellings, if `text` starts with one: `NaN`, `nan`, `-Infinity`,
/// `+inf`.
#[cold]
pub(crate) fn not_finite_prefix(text: &[u8]) -> Option<usize> {
    let sign = usize::from(matches!(text.first(), Some(b'-' | b'+')));
    let letters = text[sign..].iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
    let word = &text[sign..sign + letters];
    let is_known = [&b"nan"[..], b"inf", b"infinity"].iter().any(|known| word.eq_ignore_ascii_case(known));
    is_known.then_some(sign + letters)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    #[test]
    fn numbers_follow_the_grammar() {
        for text in ["0", "-0", "1", "10", "0.5", "-1.25", "1e5", "1E+5", "1.5e-7", "123456789012345678901234567890"] {
            assert!(Number::of(text.as_bytes()).is_some(), "{text}");
        }
        for text in ["", "-", "+1", "01", "1.", ".5", "1e", "1e+", "0x10", "1 ", " 1", "1_000", "NaN", "１"] {
            assert!(Number::of(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn nan_and_infinities_are_known_in_their_usual_spellings() {
        for text in ["NaN", "nan", "-NaN", "Infinity", "-Infinity", "+Infinity", "inf", "-INF", "+Inf"] {
            assert_eq!(not_finite_prefix(format!("{text},").as_bytes()), Some(text.len()), "{text}");
        }
        for text in ["", "-", "nane", "infinit", "in", "--inf", "nan1", "N a N"] {
            assert_eq!(not_finite_prefix(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn digits_go_to_the_first_byte_that_is_none(
            digits in 0..40_usize,
            rest in vec(select(&b"0189/:.eE+-,\0\x7f\x80\xb0\xba\xff"[..]), 0..20),
        ) {
            let text = [vec![b'7'; digits], rest].concat();
            let end = text.iter().position(|byte| !byte.is_ascii_digit());
            prop_assert_eq!(digits_len(&text), end.unwrap_or(text.len()));
        }
    }

    #[test]
    fn a_shortest_number_is_what_ryu_writes() {
        let mut seen = [0; 2];
        for whole in ["0", "-0", "1", "8", "100", "99999", "1234567", "123456789012345", "1234567890123456"] {
            for fraction in ["", ".0", ".5", ".50", ".1", ".00001", ".000001", ".0000011", ".867231", ".12345678901"] {
                let text = format!("{whole}{fraction}");
                let number = Number::of(text.as_bytes()).unwrap();
                seen[usize::from(number.shortest)] += 1;
                if number.shortest {
                    let float: f64 = text.parse().unwrap();
                    let mut buffer = ryu::Buffer::new();
                    let expected = buffer.format_finite(float);
                    assert_eq!(expected.strip_suffix(".0").unwrap_or(expected), text);
                }
            }
        }
        assert!(seen.iter().all(|count| *count > 20), "both kinds are tried: {seen:?}");
    }
}
