//! The key of a field, which determines its type.
//!
//! InfluxDB refuses a whole point if one of its fields has another type than in the first point of that week, even one of
//! another model. So a key always has one type, and a value of another type gets another key.

use crate::line_protocol::escape::{escape_key, plain_key};
use crate::line_protocol::field_type::FieldType;
use crate::observe::trace::{LeftOut, Suffix};
use crate::payload::names::without_underscores;
use crate::settings::kinds::{Kind, Kinds};

/// The suffix for the key of a text.
const TEXT: Suffix = Suffix { text: "_text", why: "the value is text" };

/// The suffix for the key of a number that would otherwise be a key of texts.
const NUMBER: Suffix =
    Suffix { text: "_number", why: "the value is a number, and keys that end in _text are for text" };

/// The suffix for a key that is also that of a tag.
const TAG: Suffix = Suffix { text: "_field", why: "a tag has this key" };

/// The suffix for the key that InfluxDB reserves.
pub(crate) const TIME: Suffix = Suffix { text: "_field", why: "InfluxDB reserves the key time" };

/// Rules with a `*` may give another type to each longer key too. After this many suffixes there is no key.
const MOST_SUFFIXES: usize = 4;

/// The key of a float or string whose type no rule fixes. `key` has no leading underscores. None if `--as` gives another
/// type to all keys that it could have, or if nothing is left of the key.
pub(crate) fn of_type(key: &[u8], field_type: FieldType, kinds: &Kinds) -> Option<Vec<u8>> {
    let key = match without_backslashes(key) {
        b"" => return None,
        b"time" => b"time_field",
        key => key,
    };
    let suffix = if field_type == FieldType::String { TEXT } else { NUMBER };
    let mut stored = key.to_vec();
    if field_type == FieldType::String || is_about_text(key) {
        stored.extend_from_slice(suffix.text.as_bytes());
    }
    for _ in 0..MOST_SUFFIXES {
        // A key that a rule names in full is a different key, whatever its type.
        if type_of(&stored, kinds) == field_type && (stored == key || !kinds.name(&stored)) {
            return Some(stored);
        }
        stored.extend_from_slice(suffix.text.as_bytes());
    }
    None
}

/// The key of a field that is also that of a tag. None if `--as` gives another type to all keys that it could have.
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
        stored.extend_from_slice(TAG.text.as_bytes());
    }
}

/// The length of a key as InfluxDB stores it, without suffixes. `key` is flattened and renamed.
pub(crate) fn own_len(key: &[u8]) -> usize {
    let mut written = Vec::new();
    escape_key(without_underscores(key), &mut written);
    plain_key(&written).len()
}

/// The suffixes of a key. Its first `own_len` bytes are its own.
pub(crate) fn suffixes(own_len: usize, stored: &[u8]) -> Vec<Suffix> {
    let (own, mut rest) = stored.split_at(own_len.min(stored.len()));
    let mut suffixes = Vec::new();
    loop {
        let is_first_of_time = own == b"time" && rest.len() == stored.len() - own.len();
        let all = [TEXT, NUMBER, if is_first_of_time { TIME } else { TAG }];
        let found = all.into_iter().find_map(|suffix| Some((rest.strip_prefix(suffix.text.as_bytes())?, suffix)));
        let Some((behind, suffix)) = found else { return suffixes };
        if !suffixes.contains(&suffix) {
            suffixes.push(suffix);
        }
        rest = behind;
    }
}

/// The part of a key that InfluxDB stores.
fn without_backslashes(key: &[u8]) -> &[u8] {
    &key[..key.len() - key.iter().rev().take_while(|byte| **byte == b'\\').count()]
}

/// The reason for a field without a key.
pub(crate) const NO_KEY: LeftOut = LeftOut::lost("--as gives another type to all keys that it could have");

/// The type of all fields with this key.
fn type_of(mut key: &[u8], kinds: &Kinds) -> FieldType {
    // A loop rather than recursion, since a key may have very many of these suffixes.
    loop {
        match (kinds.of(key), key.strip_suffix(TAG.text.as_bytes())) {
            (Some(Kind::Field(field_type)), _) => return field_type,
            (Some(Kind::Json), _) => return FieldType::String,
            (_, Some(rest)) if !rest.is_empty() => key = rest,
            _ if key.ends_with(TEXT.text.as_bytes()) => return FieldType::String,
            _ => return FieldType::Float,
        }
    }
}

/// Whether a key is one of texts, or that of a number beside texts. So no two keys of numbers get the same name.
fn is_about_text(mut key: &[u8]) -> bool {
    while let Some(rest) = key.strip_suffix(NUMBER.text.as_bytes()).or_else(|| key.strip_suffix(TAG.text.as_bytes())) {
        key = rest;
    }
    key.ends_with(TEXT.text.as_bytes())
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
        for (key, stored, expected) in [
            ("score", "score", &[][..]),
            ("_score", "score", &[]),
            ("note", "note_text", &[TEXT]),
            ("__no\\=te\\", "no=te_text", &[TEXT]),
            ("no\nte", "no\\nte_text", &[TEXT]),
            ("note", "note_text_text", &[TEXT]),
            ("note", "note_text_field", &[TEXT, TAG]),
            ("note_text", "note_text_number", &[NUMBER]),
            ("note_text", "note_text_number_field_field", &[NUMBER, TAG]),
            ("host", "host_field", &[TAG]),
            ("_time", "time_field", &[TIME]),
            ("_time", "time_field_text_field", &[TIME, TEXT, TAG]),
            ("_time", "time_text_field", &[TEXT, TAG]),
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
