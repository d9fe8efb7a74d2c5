//! Numbers as texts, and what a float or an integer keeps of them.

use serde_json::value::RawValue;

/// "Strings that are entirely a JSON number."
pub(crate) fn is_number(text: &str) -> bool {
    text.starts_with(|c: char| c == '-' || c.is_ascii_digit())
        && text.ends_with(|c: char| c.is_ascii_digit())
        && serde_json::from_str::<&RawValue>(text).is_ok()
}

/// "A JSON number of which a float keeps every significant digit": one that is the same when it is read back from the float.
pub(crate) fn is_exact(text: &str) -> bool {
    let Some(number) = Some(text).filter(|text| is_number(text)).and_then(Decimal::read) else { return false };
    let float: f64 = text.parse().unwrap();
    float.is_finite() && shortest(float) == number.normal()
}

/// Of the shortest decimals that read back as the float the nearest; of two that are as near, the even one.
pub(crate) fn shortest(float: f64) -> (bool, String, i128) {
    let found = Decimal::read(&float_text(float)).unwrap().normal();
    let (negative, exact, places) = Decimal::read(&format!("{float:.80}")).unwrap().normal();
    match exact.strip_suffix('5') {
        Some(below) if below.len() == found.1.len() => {
            let below: u128 = below.parse().unwrap();
            let digits = (below + below % 2).to_string();
            Decimal { negative, digits, places: places - 1 }.normal()
        }
        _ => found,
    }
}

/// "NaN and infinities in their usual spellings."
pub(crate) fn is_not_finite(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let text = text.strip_prefix(['-', '+']).unwrap_or(&text);
    matches!(text, "nan" | "inf" | "infinity")
}

/// A word for a boolean.
pub(crate) fn word(text: &str) -> Option<bool> {
    match text.trim_matches([' ', '\t', '\r', '\n', '\x0c']).to_ascii_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "on" => Some(true),
        "false" | "f" | "no" | "n" | "off" => Some(false),
        _ => None,
    }
}

/// A decimal number, exactly: `digits` times ten to the power of `-places`.
pub(crate) struct Decimal {
    negative: bool,
    digits: String,
    pub(crate) places: i128,
}

impl Decimal {
    pub(crate) fn read(number: &str) -> Option<Decimal> {
        let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let exponent: i128 = exponent.parse().ok()?;
        Some(Decimal {
            negative: number.starts_with('-'),
            digits: format!("{}{fraction}", whole.trim_start_matches('-')),
            places: fraction.len() as i128 - exponent,
        })
    }

    /// The number times ten to the power of `shift`; what is behind the point is cut off.
    pub(crate) fn shifted(&self, shift: i128) -> Option<i128> {
        let zeros = shift - self.places;
        let magnitude: i128 = if self.digits.trim_start_matches('0').is_empty() {
            0
        } else if zeros >= 0 {
            if zeros > 40 {
                return None;
            }
            format!("{}{}", self.digits, "0".repeat(zeros as usize)).parse().ok()?
        } else {
            let kept = (self.digits.len() as i128 + zeros).max(0) as usize;
            format!("0{}", &self.digits[..kept]).parse().ok()?
        };
        Some(if self.negative { -magnitude } else { magnitude })
    }

    /// Sign, digits and exponent, with no zeros around the digits.
    pub(crate) fn normal(&self) -> (bool, String, i128) {
        let digits = self.digits.trim_start_matches('0');
        let kept = digits.trim_end_matches('0');
        let places = self.places - (digits.len() - kept.len()) as i128;
        (self.negative, kept.into(), if kept.is_empty() { 0 } else { places })
    }

    pub(crate) fn is_whole(&self) -> bool {
        let zeros = self.digits.len() - self.digits.trim_end_matches('0').len();
        zeros == self.digits.len() || zeros as i128 >= self.places
    }
}

/// "Integer: a number whose value is whole and fits i64 (exact, not through f64)."
pub(crate) fn integer(number: &str) -> Option<i64> {
    let number = Decimal::read(number)?;
    if !number.is_whole() {
        return None;
    }
    i64::try_from(number.shifted(0)?).ok()
}

/// The shortest text that reads back the same: plain where the decimal point is near the digits, else with an exponent.
pub fn float_text(value: f64) -> String {
    // `{:e}` gives the shortest digits, as `d.ddde-7`.
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap();
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |m| ("-", m));
    let digits = mantissa.replace('.', "");
    // The value is 0.digits times ten to the power of `point`.
    let point = exponent.parse::<i32>().unwrap() + 1;
    let len = digits.len() as i32;
    if value == 0.0 {
        format!("{sign}0")
    } else if -5 < point && point <= 0 {
        format!("{sign}0.{}{digits}", "0".repeat(-point as usize))
    } else if 0 < point && point <= 16 && len <= point {
        format!("{sign}{digits}{}", "0".repeat((point - len) as usize))
    } else if 0 < point && point <= 16 {
        format!("{sign}{}.{}", &digits[..point as usize], &digits[point as usize..])
    } else {
        format!("{sign}{mantissa}e{exponent}")
    }
}
