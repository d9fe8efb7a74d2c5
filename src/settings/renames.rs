//! `--rename FROM=TO`: renames keys before any other rule.

use std::borrow::Cow;
use std::str::FromStr;

/// Why a `FROM=TO` is refused. The text tells the user what to write instead.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenameError {
    /// There is no `=`, or one side of it is empty.
    #[error("`{0}` is not of the form FROM=TO, for example model=algorithm_name or data_*=*")]
    Form(String),
    /// A side has more than one `*`, or only TO has one.
    #[error(
        "`{0}` has a `*` too many: FROM may have one, which stands for any text, and then TO may have one, which stands for the same text"
    )]
    Star(String),
}

/// One rule `FROM=TO`, parsed from that text. A `*` in FROM matches any text, and a `*` in TO inserts the same text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rename {
    from: Pattern,
    to: Pattern,
}

/// A key, or the text before and after a `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    Key(String),
    Around(String, String),
}

impl Pattern {
    /// None if there is more than one `*`.
    fn of(text: &str) -> Option<Self> {
        match text.split_once('*') {
            None => Some(Pattern::Key(text.to_owned())),
            Some((_, behind)) if behind.contains('*') => None,
            Some((before, behind)) => Some(Pattern::Around(before.to_owned(), behind.to_owned())),
        }
    }

    /// The text that the `*` matches in a key; empty without a `*`. None if the key does not match.
    fn matches<'a>(&self, key: &'a [u8]) -> Option<&'a [u8]> {
        match self {
            Pattern::Key(known) => (key == known.as_bytes()).then_some(&key[..0]),
            Pattern::Around(before, behind) => key.strip_prefix(before.as_bytes())?.strip_suffix(behind.as_bytes()),
        }
    }

    fn with(&self, star: &[u8]) -> Vec<u8> {
        match self {
            Pattern::Key(key) => key.as_bytes().to_vec(),
            Pattern::Around(before, behind) => [before.as_bytes(), star, behind.as_bytes()].concat(),
        }
    }
}

impl FromStr for Rename {
    type Err = RenameError;

    fn from_str(text: &str) -> Result<Self, RenameError> {
        let sides = text.split_once('=').filter(|(from, to)| !from.is_empty() && !to.is_empty());
        let (from, to) = sides.ok_or_else(|| RenameError::Form(text.to_owned()))?;
        match (Pattern::of(from), Pattern::of(to)) {
            (Some(Pattern::Key(_)), Some(Pattern::Around(..))) | (None, _) | (_, None) => {
                Err(RenameError::Star(text.to_owned()))
            }
            (Some(from), Some(to)) => Ok(Rename { from, to }),
        }
    }
}

/// All renames, applied in the given order. Each renames the result of those before it.
#[derive(Clone, Debug, Default)]
pub struct Renames(Vec<Rename>);

impl Renames {
    /// The new name of a key. The key is a flattened one of a payload, or a tag or field of the metric.
    pub(crate) fn key<'a>(&self, key: &'a [u8]) -> Cow<'a, [u8]> {
        let mut renamed = Cow::Borrowed(key);
        for Rename { from, to } in &self.0 {
            let Some(star) = from.matches(&renamed) else { continue };
            renamed = Cow::Owned(to.with(star));
        }
        renamed
    }
}

impl FromIterator<Rename> for Renames {
    fn from_iter<T: IntoIterator<Item = Rename>>(renames: T) -> Self {
        Renames(renames.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renamed(rules: &[&str], key: &str) -> String {
        let renames: Renames = rules.iter().map(|rule| rule.parse().unwrap()).collect();
        String::from_utf8(renames.key(key.as_bytes()).into_owned()).unwrap()
    }

    #[test]
    fn renames_follow_each_other() {
        let envelope = ["data_*=*", "model=algorithm_name", "*_ms=duration_*", "x=y"];
        for (key, expected) in [
            ("data_model", "algorithm_name"),
            ("model", "algorithm_name"),
            ("data_x", "y"),
            ("data_", ""),
            ("data", "data"),
            ("total_ms", "duration_total"),
            ("other", "other"),
        ] {
            assert_eq!(renamed(&envelope, key), expected, "{key}");
        }
        assert_eq!(renamed(&["a*a=*"], "aa"), "");
        assert_eq!(renamed(&["a*a=*"], "a"), "a", "the two ends are two");
        assert_eq!(renamed(&["*=m_*"], "x"), "m_x");
        assert_eq!(renamed(&["*_model=algorithm_name"], "the_model"), "algorithm_name");
    }

    #[test]
    fn a_rule_that_cannot_be_is_refused_with_what_to_write() {
        for (rule, part) in
            [("model", "FROM=TO"), ("=a", "FROM=TO"), ("a=", "FROM=TO"), ("a=*", "too many"), ("a**=b", "too many")]
        {
            let error = rule.parse::<Rename>().unwrap_err().to_string();
            assert!(error.contains(part), "{rule}: {error}");
        }
    }
}
