//! A field that a metric brings along beside its message: for the point it is as if the payload had it.

use std::borrow::Cow;

use crate::json::{Number, Scalar, Str, trim};
use crate::line_protocol::field_type::FieldType;
use crate::observe::trace::LeftOut;
use crate::payload::field_key::NO_KEY;
use crate::payload::names::is_identity;
use crate::payload::point::{Point, Set};
use crate::payload::tree::{Member, Role};
use crate::payload::value::{tag_text, type_of, write_field};
use crate::settings::Settings;

impl Point {
    /// Adds one of the metric's tags.
    pub fn take_metric_tag(&mut self, key: &[u8], value: &[u8], settings: &Settings) -> Result<Set, LeftOut> {
        self.take_tag(&settings.renames.key(key), value)
    }

    fn take_tag(&mut self, key: &[u8], value: &[u8]) -> Result<Set, LeftOut> {
        let value = if is_identity(key) { trim(value).1 } else { value };
        self.incoming_tag(key, value)?;
        Ok(Set::Incoming)
    }

    /// Adds one of the metric's fields, with its value as line protocol writes it. Returns the set that it went into, and a
    /// string's length if it was cut.
    pub fn take_metric_field(
        &mut self,
        key: &[u8],
        value: &[u8],
        settings: &Settings,
    ) -> Result<(Set, Option<usize>), LeftOut> {
        let text = String::from_utf8_lossy(value);
        let number = number_text(&text);
        let scalar = match text.as_bytes() {
            [opened @ .., b'"'] => Scalar::String(Str::opened(opened)),
            [b't' | b'T', ..] => Scalar::Bool(true),
            [b'f' | b'F', ..] => Scalar::Bool(false),
            _ => Scalar::Number(Number { text: number.as_bytes(), shortest: false }),
        };
        let key = &*settings.renames.key(key);
        let (name, field_type) = match Member::of(key.len(), key, false, settings).role {
            Role::Drop | Role::Time(_) => return Err(LeftOut::nothing("--as drops it")),
            Role::Tag => return self.take_tag(key, &tag_text(scalar)?).map(|set| (set, None)),
            Role::Field(field_type) => (self.names.of(key, Set::Others), field_type),
            Role::Json => (self.names.of(key, Set::Others), FieldType::String),
            Role::ByValue => {
                let field_type = type_of(scalar);
                (self.names.of_type(key, field_type, &settings.kinds), field_type)
            }
        };
        let Some(name) = name else {
            // The last value of a key wins, even if it makes no field.
            self.remove_of_any_type(Set::Others, key, &settings.kinds);
            return Err(NO_KEY);
        };
        let cut_from = self.other_field(name, field_type, |out| write_field(field_type, scalar, out))?;
        Ok((Set::Others, cut_from))
    }
}

/// A number of line protocol, as JSON writes it.
fn number_text(text: &str) -> Cow<'_, str> {
    let text = text.strip_suffix(['i', 'u']).unwrap_or(text);
    match Number::of(text.as_bytes()) {
        Some(_) => text.into(),
        None => text.parse::<f64>().unwrap_or_default().to_string().into(),
    }
}
