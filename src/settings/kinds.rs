//! What a payload's key becomes: by default what its value says, or what `--as KEY=KIND` fixes.

use std::str::FromStr;

use strum::VariantNames;

use crate::line_protocol::field_type::FieldType;

/// What a key becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A field of this type.
    Field(FieldType),
    /// A string field. For an object or array, its text.
    Json,
    /// A tag.
    Tag,
    /// Nothing.
    Drop,
}

/// Why a `KEY=KIND` is refused. The text tells the user what to write instead.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum KindError {
    /// There is no `=`, or nothing before it.
    #[error("`{0}` is not of the form KEY=KIND, for example approved=boolean or score_*=float")]
    Form(String),
    /// The part after the `=` is no kind.
    #[error("`{0}` is no kind of field: use {kinds}", kinds = Kind::names())]
    Kind(String),
    /// There is a `*` before the end of the key.
    #[error("`{0}` has a `*` that is not at its end: only `KEY*` for every key that starts with KEY is understood")]
    Wildcard(String),
    /// The rule would remove the tag algorithm_name.
    #[error("`{0}` would leave points without algorithm_name, which every point has as a tag: name other keys")]
    AlgorithmName(String),
}

impl Kind {
    /// All kinds, as text for people: `float, integer, ... or drop`.
    pub fn names() -> String {
        format!("{}, json, tag or drop", FieldType::VARIANTS.join(", "))
    }
}

impl FromStr for Kind {
    type Err = KindError;

    fn from_str(text: &str) -> Result<Self, KindError> {
        match text {
            "json" => Ok(Kind::Json),
            "tag" => Ok(Kind::Tag),
            "drop" => Ok(Kind::Drop),
            other => other.parse().map(Kind::Field).map_err(|_| KindError::Kind(other.to_owned())),
        }
    }
}

/// One rule `KEY=KIND`, parsed from that text. A key that ends in `*` matches every key with that start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KindRule {
    key: String,
    prefix: bool,
    kind: Kind,
}

impl KindRule {
    fn matches(&self, key: &[u8]) -> bool {
        if self.prefix { key.starts_with(self.key.as_bytes()) } else { key == self.key.as_bytes() }
    }
}

impl FromStr for KindRule {
    type Err = KindError;

    fn from_str(text: &str) -> Result<Self, KindError> {
        // The last `=`, since a key may hold one and a kind does not.
        let (key, kind) = text.rsplit_once('=').ok_or_else(|| KindError::Form(text.to_owned()))?;
        if key.is_empty() {
            return Err(KindError::Form(text.to_owned()));
        }
        let kind = kind.parse()?;
        let (key, prefix) = key.strip_suffix('*').map_or((key, false), |key| (key, true));
        if key.contains('*') {
            return Err(KindError::Wildcard(text.to_owned()));
        }
        if !prefix && key == "algorithm_name" && kind != Kind::Tag {
            return Err(KindError::AlgorithmName(text.to_owned()));
        }
        Ok(KindRule { key: key.to_owned(), prefix, kind })
    }
}

/// All rules. Of the given rules, the last that matches wins. If none matches, the rules that every payload has apply.
#[derive(Clone, Debug, Default)]
pub struct Kinds {
    rules: Vec<KindRule>,
}

impl Kinds {
    /// Adds a rule from its text, `KEY=KIND`.
    ///
    /// # Errors
    /// If the text is not a rule; the error says what to write.
    pub fn add(&mut self, rule: &str) -> Result<(), KindError> {
        self.rules.push(rule.parse()?);
        Ok(())
    }

    /// The kind of a key as it is stored. None if the value decides.
    pub(crate) fn of(&self, key: &[u8]) -> Option<Kind> {
        // algorithm_name first, so that no wildcard changes its kind.
        if key == b"algorithm_name" {
            return Some(Kind::Tag);
        }
        if let Some(rule) = self.rules.iter().rev().find(|rule| rule.matches(key)) {
            return Some(rule.kind);
        }
        match key {
            b"algorithm_owner" | b"algorithm_version" => Some(Kind::Tag),
            b"session_id" | b"request_id" => Some(Kind::Field(FieldType::String)),
            _ => None,
        }
    }

    /// Whether a rule names this key in full, without a wildcard.
    pub(crate) fn name(&self, key: &[u8]) -> bool {
        self.rules.iter().any(|rule| !rule.prefix && rule.matches(key))
    }

    /// Whether a rule drops this key by its full name. A wildcard never removes a point's time.
    pub(crate) fn drops(&self, key: &[u8]) -> bool {
        let rule = self.rules.iter().rev().find(|rule| !rule.prefix && rule.matches(key));
        rule.is_some_and(|rule| rule.kind == Kind::Drop)
    }
}

impl FromIterator<KindRule> for Kinds {
    fn from_iter<T: IntoIterator<Item = KindRule>>(rules: T) -> Self {
        Kinds { rules: rules.into_iter().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_rule_that_matches_counts() {
        let mut kinds = Kinds::default();
        for rule in ["score_*=integer", "score_x=string", "*=drop", "score_y=float", "a=b=tag"] {
            kinds.add(rule).unwrap();
        }
        assert_eq!(kinds.of(b"score_y"), Some(Kind::Field(FieldType::Float)));
        assert_eq!(kinds.of(b"score_x"), Some(Kind::Drop));
        assert_eq!(kinds.of(b"request_id"), Some(Kind::Drop));
        assert_eq!(kinds.of(b"a=b"), Some(Kind::Tag));
        assert_eq!(kinds.of(b"algorithm_name"), Some(Kind::Tag));
        assert_eq!(Kinds::default().of(b"request_id"), Some(Kind::Field(FieldType::String)));
        assert_eq!(Kinds::default().of(b"risk_score"), None);
    }

    #[test]
    fn a_rule_that_cannot_be_is_refused_with_what_to_write() {
        for (rule, part) in [
            ("approved", "KEY=KIND"),
            ("=float", "KEY=KIND"),
            ("a=number", "use float, integer"),
            ("a*b=float", "not at its end"),
            ("algorithm_name=drop", "name other keys"),
        ] {
            let error = Kinds::default().add(rule).unwrap_err().to_string();
            assert!(error.contains(part), "{rule}: {error}");
        }
    }
}
