//! What a field is called: its key tells its type.
//!
//! InfluxDB refuses a whole point of which one field has another type than the first point of that week had, whichever model that
//! one was of. So a key has one type, whatever any payload says, and what has another type gets another key.

use crate::line_protocol::escape::{escape_key, plain_key};
use crate::observe::trace::LeftOut;
use crate::payload::kinds::{FieldType, Kind, Kinds};
use crate::payload::names::without_underscores;
use crate::payload::sets::FIELD_SUFFIX;

/// What the key of a text gets, and what makes every key that ends so one of texts.
const TEXT_SUFFIX: &[u8] = b"_text";

/// What the key of a number gets that would be one of texts otherwise.
const NUMBER_SUFFIX: &[u8] = b"_number";

/// What is added to a field's key, so that each key has one type and is not also that of a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suffix {
    /// `_text`: it is the key of a text.
    Text,
    /// `_number`: the key would be one of texts otherwise.
    Number,
    /// `_field`: the point has a tag of that key.
    Tag,
    /// `_field`: InfluxDB keeps `time` to itself.
    Time,
}

impl Suffix {
    /// What is added.
    pub fn text(self) -> &'static str {
        let text = match self {
            Suffix::Text => TEXT_SUFFIX,
            Suffix::Number => NUMBER_SUFFIX,
            Suffix::Tag | Suffix::Time => FIELD_SUFFIX,
        };
        std::str::from_utf8(text).unwrap_or_default()
    }

    /// Why, in words for people.
    pub fn why(self) -> &'static str {
        match self {
            Suffix::Text => "the value is text",
            Suffix::Number => "the value is a number, and keys that end in _text are for text",
            Suffix::Tag => "a tag has this key",
            Suffix::Time => "InfluxDB reserves the key time",
        }
    }
}

/// Rules with a `*` may give each longer key another type too: then there is none.
const MOST_SUFFIXES: usize = 4;

/// The key of a float or string whose type no rule fixes. `key` is without leading underscores. None where `--as` gives another type to
/// all that it could be called, or where there is nothing left of the key.
pub(crate) fn of_type(key: &[u8], field_type: FieldType, kinds: &Kinds) -> Option<Vec<u8>> {
    let key = match without_backslashes(key) {
        b"" => return None,
        b"time" => b"time_field",
        key => key,
    };
    let suffix = if field_type == FieldType::String { TEXT_SUFFIX } else { NUMBER_SUFFIX };
    let mut stored = key.to_vec();
    if field_type == FieldType::String || is_about_text(key) {
        stored.extend_from_slice(suffix);
    }
    for _ in 0..MOST_SUFFIXES {
        // What a rule names is another key, whatever its type.
        if type_of(&stored, kinds) == field_type && (stored == key || !kinds.name(&stored)) {
            return Some(stored);
        }
        stored.extend_from_slice(suffix);
    }
    None
}

/// The key of a field that is also that of a tag. None where `--as` gives another type to all that it could be called.
pub(crate) fn beside_tags(key: &[u8], kinds: &Kinds, is_tag: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
    let mut stored = key.to_vec();
    let mut others = 0;
    loop {
        let has_type = type_of(&stored, kinds) == type_of(key, kinds);
        if has_type && !is_tag(&stored) {
            return Some(stored);
        }
        others += usize::from(!has_type);
        if others > MOST_SUFFIXES {
            return None;
        }
        stored.extend_from_slice(FIELD_SUFFIX);
    }
}

/// How long a key is as InfluxDB stores it, without what is added to it. `key` is flattened and renamed.
pub(crate) fn own_len(key: &[u8]) -> usize {
    let mut written = Vec::new();
    escape_key(without_underscores(key), &mut written);
    plain_key(&written).len()
}

/// What was added to a key, of which the first `own_len` bytes are its own.
pub(crate) fn suffixes(own_len: usize, stored: &[u8]) -> Vec<Suffix> {
    let (own, mut rest) = stored.split_at(own_len.min(stored.len()));
    let mut suffixes = Vec::new();
    loop {
        let mut all =
            [(TEXT_SUFFIX, Suffix::Text), (NUMBER_SUFFIX, Suffix::Number), (FIELD_SUFFIX, Suffix::Tag)].into_iter();
        let Some((behind, suffix)) = all.find_map(|(text, suffix)| Some((rest.strip_prefix(text)?, suffix))) else {
            return suffixes;
        };
        let is_reserved = own == b"time" && behind.len() + FIELD_SUFFIX.len() == stored.len() - own_len;
        let suffix = if suffix == Suffix::Tag && is_reserved { Suffix::Time } else { suffix };
        if !suffixes.contains(&suffix) {
            suffixes.push(suffix);
        }
        rest = behind;
    }
}

/// What InfluxDB stores of a key.
fn without_backslashes(key: &[u8]) -> &[u8] {
    &key[..key.len() - key.iter().rev().take_while(|byte| **byte == b'\\').count()]
}

/// What is said of a field without such a key.
pub(crate) const NO_KEY: LeftOut = LeftOut::lost("--as gives another type to all keys that it could have");

/// The type of all fields with this key.
fn type_of(mut key: &[u8], kinds: &Kinds) -> FieldType {
    // A loop, since a key may have a great many of these suffixes.
    loop {
        match (kinds.of(key), key.strip_suffix(FIELD_SUFFIX)) {
            (Some(Kind::Field(field_type)), _) => return field_type,
            (Some(Kind::Json), _) => return FieldType::String,
            (_, Some(rest)) if !rest.is_empty() => key = rest,
            _ if key.ends_with(TEXT_SUFFIX) => return FieldType::String,
            _ => return FieldType::Float,
        }
    }
}

/// Whether a key is one of texts, or what numbers under one are called: so that no two keys of numbers are called the same.
fn is_about_text(mut key: &[u8]) -> bool {
    while let Some(rest) = key.strip_suffix(NUMBER_SUFFIX).or_else(|| key.strip_suffix(FIELD_SUFFIX)) {
        key = rest;
    }
    key.ends_with(TEXT_SUFFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called(rules: &[&str], key: &str, field_type: FieldType) -> Option<String> {
        let mut kinds = Kinds::default();
        rules.iter().for_each(|rule| kinds.add(rule).unwrap());
        of_type(key.as_bytes(), field_type, &kinds).map(|key| String::from_utf8(key).unwrap())
    }

    #[test]
    fn a_key_tells_its_type() {
        use FieldType::{Float, String};
        for (key, number, text) in [
            ("note", "note", "note_text"),
            ("note_text", "note_text_number", "note_text_text"),
            ("note_text_number", "note_text_number_number", "note_text_number_text"),
            ("note_text_field", "note_text_field_number", "note_text_field_text"),
            ("_field", "_field", "_field_text"),
            ("number", "number", "number_text"),
        ] {
            assert_eq!(called(&[], key, Float).as_deref(), Some(number));
            assert_eq!(called(&[], key, String).as_deref(), Some(text));
        }
        assert_eq!(called(&["a_text=integer"], "a", String).as_deref(), Some("a_text_text"));
        assert_eq!(called(&["a_text=string"], "a", String).as_deref(), Some("a_text_text"));
        assert_eq!(called(&["a=integer"], "a_field", Float).as_deref(), Some("a_field_number"));
        assert_eq!(called(&["a=integer"], "a_field", String).as_deref(), Some("a_field_text"));
        assert_eq!(called(&["a_t*=integer"], "a", String), None);
        assert_eq!(called(&[], "", String), None);
        let long = "_field".repeat(1_000_000);
        assert_eq!(called(&[], &long, Float), Some(long));
    }

    #[test]
    fn what_was_added_to_a_key_is_told() {
        use Suffix::{Number, Tag, Text, Time};
        for (key, stored, expected) in [
            ("score", "score", &[][..]),
            ("_score", "score", &[]),
            ("note", "note_text", &[Text]),
            ("__no\\=te\\", "no=te_text", &[Text]),
            ("no\nte", "no\\nte_text", &[Text]),
            ("note", "note_text_text", &[Text]),
            ("note", "note_text_field", &[Text, Tag]),
            ("note_text", "note_text_number", &[Number]),
            ("note_text", "note_text_number_field_field", &[Number, Tag]),
            ("host", "host_field", &[Tag]),
            ("_time", "time_field", &[Time]),
            ("_time", "time_field_text_field", &[Time, Text, Tag]),
            ("_time", "time_text_field", &[Text, Tag]),
            ("a long key", "other", &[]),
        ] {
            assert_eq!(suffixes(own_len(key.as_bytes()), stored.as_bytes()), expected, "{key}");
        }
    }

    #[test]
    fn a_tag_leaves_a_field_its_type() {
        let mut kinds = Kinds::default();
        for rule in ["n=integer", "n_field=string", "m=integer", "m_*=string"] {
            kinds.add(rule).unwrap();
        }
        let called = |key: &str| beside_tags(key.as_bytes(), &kinds, |other| other == key.as_bytes());
        assert_eq!(called("a"), Some(b"a_field".to_vec()));
        assert_eq!(called("a_text"), Some(b"a_text_field".to_vec()));
        assert_eq!(called("n"), None);
        assert_eq!(called("m"), None);
        assert_eq!(beside_tags(b"a", &kinds, |_| false), Some(b"a".to_vec()));
    }
}
