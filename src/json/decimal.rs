//! Decimal numbers read exactly from their text, for what an `f64` is too coarse: times in nanoseconds and integers
//! past 2^53.

use crate::json::Number;

/// A number as its digits, with the decimal point `point` digits after their start.
pub(crate) struct Decimal<'a> {
    negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
    point: i64,
}

impl<'a> Decimal<'a> {
    pub fn of(number: Number<'a>) -> Self {
        let text = number.text;
        let (negative, text) = match text {
            [b'-', rest @ ..] => (true, rest),
            _ => (false, text),
        };
        let (mantissa, exponent) = match memchr::memchr2(b'e', b'E', text) {
            Some(at) => (&text[..at], exponent(&text[at + 1..])),
            None => (text, 0),
        };
        let (whole, fraction) = match memchr::memchr(b'.', mantissa) {
            Some(at) => (&mantissa[..at], &mantissa[at + 1..]),
            None => (mantissa, &mantissa[..0]),
        };
        Decimal { negative, whole, fraction, point: whole.len() as i64 + exponent }
    }

    fn digits(&self) -> impl Iterator<Item = u8> + use<'a> {
        self.whole.iter().chain(self.fraction).map(|digit| digit - b'0')
    }

    /// How many digits the number's absolute value has before the point: 3 for 123.4, 0 for 0.5, -1 for 0.05.
    pub fn magnitude(&self) -> i64 {
        match self.digits().position(|digit| digit != 0) {
            Some(zeros) => self.point - zeros as i64,
            None => 0,
        }
    }

    /// The digits from the first to the last that is not 0.
    fn significant(&self) -> impl Iterator<Item = u8> + use<'a> {
        let len = self.digits().count()
            - self.whole.iter().chain(self.fraction).rev().take_while(|digit| **digit == b'0').count();
        self.digits().take(len).skip_while(|digit| *digit == 0)
    }

    /// The number of digits from the first to the last that is not 0: 4 for 0.0120300.
    pub fn significant_digits(&self) -> usize {
        self.significant().count()
    }

    /// Whether both are the same number. 0 and -0 are not.
    pub fn equals(&self, other: &Decimal<'_>) -> bool {
        self.negative == other.negative
            && self.magnitude() == other.magnitude()
            && self.significant().eq(other.significant())
    }

    /// The number of digits that the text has after the point: 6 for `1.250000`, 0 for `1e3`.
    pub fn known_fraction(&self) -> u32 {
        let known = (self.whole.len() + self.fraction.len()) as i64 - self.point;
        known.clamp(0, 1_000_000) as u32
    }

    /// The number times 10^`power`, without the digits that are then after the point. None past 10^37.
    pub fn scaled(&self, power: u32) -> Option<i128> {
        let (magnitude, power) = (self.magnitude(), i64::from(power));
        if magnitude + power > 37 {
            return None;
        }
        if self.digits().all(|digit| digit == 0) {
            return Some(0);
        }
        let wanted = (self.point + power).max(0) as usize;
        let zeros = std::iter::repeat(0);
        // Leading zeros may make `wanted` large, but never larger than the text and 37 digits more.
        let value = self.digits().chain(zeros).take(wanted).fold(0i128, |sum, digit| sum * 10 + i128::from(digit));
        Some(if self.negative { -value } else { value })
    }

    /// The number, if it is an integer and fits.
    pub fn integer(&self) -> Option<i64> {
        let behind_point = self.digits().skip(self.point.max(0) as usize).any(|digit| digit != 0);
        if behind_point { None } else { self.scaled(0)?.try_into().ok() }
    }
}

/// An exponent's value, at most a million, which is far more than any use needs.
fn exponent(text: &[u8]) -> i64 {
    let (sign, digits) = match text {
        [b'-', digits @ ..] => (-1, digits),
        [b'+', digits @ ..] => (1, digits),
        digits => (1, digits),
    };
    sign * digits.iter().fold(0, |sum: i64, digit| (sum * 10 + i64::from(digit - b'0')).min(1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal<'_> {
        Decimal::of(Number::of(text.as_bytes()).expect(text))
    }

    #[test]
    fn scaling_is_exact() {
        assert_eq!(decimal("1613780514.867231").scaled(9), Some(1_613_780_514_867_231_000));
        assert_eq!(decimal("-1.5e3").scaled(0), Some(-1500));
        assert_eq!(decimal("0.0015").scaled(3), Some(1));
        assert_eq!(decimal("1e-30").scaled(9), Some(0));
        assert_eq!(decimal("0e999999999999").scaled(9), Some(0));
        assert_eq!(decimal("1e40").scaled(0), None);
        assert_eq!(decimal("1e99999999999999999999").scaled(0), None);
    }

    #[test]
    fn integers_are_whole_and_fit() {
        assert_eq!(decimal("9223372036854775807").integer(), Some(i64::MAX));
        assert_eq!(decimal("-9223372036854775808").integer(), Some(i64::MIN));
        assert_eq!(decimal("9223372036854775808").integer(), None);
        assert_eq!(decimal("5.0").integer(), Some(5));
        assert_eq!(decimal("1e3").integer(), Some(1000));
        assert_eq!(decimal("1.5e1").integer(), Some(15));
        assert_eq!(decimal("5.7").integer(), None);
        assert_eq!(decimal("5e-1").integer(), None);
        assert_eq!(decimal("5e-9").integer(), None);
    }

    #[test]
    fn the_same_number_may_be_written_in_many_ways() {
        for (a, b) in [("1.50", "1.5"), ("100", "1e2"), ("0.012", "1.2E-2"), ("0", "0.00"), ("-3e0", "-3")] {
            assert!(decimal(a).equals(&decimal(b)) && decimal(b).equals(&decimal(a)), "{a} {b}");
        }
        for (a, b) in
            [("1", "10"), ("1", "-1"), ("0.12", "0.012"), ("9007199254740993", "9007199254740992"), ("0", "1e-9")]
        {
            assert!(!decimal(a).equals(&decimal(b)) && !decimal(b).equals(&decimal(a)), "{a} {b}");
        }
        assert_eq!(decimal("0.0120300").significant_digits(), 4);
        assert_eq!(decimal("1200").significant_digits(), 2);
        assert_eq!(decimal("0.00").significant_digits(), 0);
    }

    #[test]
    fn magnitude_and_fraction() {
        assert_eq!(decimal("0").magnitude(), 0);
        assert_eq!(decimal("99999999999").magnitude(), 11);
        assert_eq!(decimal("0.05").magnitude(), -1);
        assert_eq!(decimal("1.25e5").magnitude(), 6);
        assert_eq!(decimal("1.250000").known_fraction(), 6);
        assert_eq!(decimal("1e3").known_fraction(), 0);
        assert_eq!(decimal("1e-3").known_fraction(), 3);
    }
}
