//! What becomes of a value that is neither object nor array, where that is not plain from its key.

use std::ops::Range;

use crate::json::{Encoding, Source, Value};
use crate::line_protocol::field_type::FieldType;
use crate::observe::trace::LeftOut;
use crate::payload::container::OpenContainer;
use crate::payload::field_key::NO_KEY;
use crate::payload::large::TOO_MANY;
use crate::payload::names::{Name, without_underscores};
use crate::payload::point::{Note, Set, What};
use crate::payload::reader::{DROPPED, Failure, PayloadReader};
use crate::payload::tree::{NONE, Node, Role};
use crate::payload::value::{tag_text, type_of};
use crate::payload::{Payloads, Time};
use crate::settings::Settings;

impl<E: Encoding> PayloadReader<'_, '_, E> {
    #[inline(never)]
    pub(super) fn other_scalar(&mut self, node: Node, value: Value, place: Range<usize>) -> Result<(), Failure> {
        let member = *self.payloads.tree.member(node);
        self.payloads.others += 1;
        self.check_keys()?;
        if member.is_request_id {
            self.payloads.request_id = Some(value);
        }
        let made = match member.role {
            Role::Time(key) => {
                self.payloads.times[key as usize] = if value.is_null() { None } else { Some(Time::Value(value)) };
                self.trace_time(place, key, value.is_null());
                return Ok(());
            }
            Role::Drop => Err(DROPPED),
            Role::Tag => self.tag(node, value),
            Role::Field(field_type) => {
                let name = self.name(node, Set::Fields, value);
                self.field(node, name, field_type, value)
            }
            Role::Json => {
                let name = self.name(node, Set::Fields, value);
                self.field(node, name, FieldType::String, value)
            }
            Role::ByValue => {
                let source = Source { text: self.text.bytes(), decoded: &self.payloads.decoded };
                let field_type = type_of(value.of(source));
                let name = self.name_of_type(node, field_type, value);
                self.field(node, name, field_type, value)
            }
        };
        self.trace_made(place, made);
        Ok(())
    }

    fn trace_made(&mut self, place: Range<usize>, made: Result<Set, LeftOut>) {
        if let Some(tracer) = &mut self.tracer {
            match made {
                Ok(set) => {
                    let key = self.settings.renames.key(&self.payloads.path);
                    tracer.made(place, &key, set, &self.payloads.point);
                }
                Err(why) => tracer.left_out(place, why),
            }
        }
    }

    /// Stores an object or array as a field with its text.
    pub(super) fn json(&mut self, container: &OpenContainer, place: Range<usize>) {
        let node = container.node;
        let decoded = &mut self.payloads.decoded;
        let start = decoded.len();
        E::write_string(&self.text.bytes()[place.clone()], decoded);
        let value = Value::decoded(start..decoded.len());
        self.payloads.path.truncate(container.path_len as usize);
        let name = self.name(node, Set::Fields, value);
        let made = self.field(node, name, FieldType::String, value);
        self.trace_made(place, made);
    }

    /// Leaves out an object or array that holds too many values.
    #[cold]
    pub(super) fn too_many(&mut self, container: &OpenContainer, place: Range<usize>, values: usize) {
        let Payloads { point, tree, path, .. } = &mut *self.payloads;
        path.truncate(container.path_len as usize);
        let path = if container.node == NONE { path } else { tree.path(container.node) };
        let name = point.names.of(&self.settings.renames.key(path), Set::Fields);
        let behind = point.last(Set::Fields).map_or(0, |(_, last)| last + 1);
        point.notes.push(Note { behind, name, what: What::TooMany(values) });
        self.trace_left_out(place, TOO_MANY);
    }

    fn field(&mut self, node: Node, name: Option<Name>, field_type: FieldType, value: Value) -> Result<Set, LeftOut> {
        let Payloads { point, tree, path, .. } = &mut *self.payloads;
        match name {
            Some(name) if value.is_null() => {
                point.remove(Set::Fields, name);
                Err(LeftOut::nothing("null makes no field"))
            }
            // Whether the value makes a field is determined when it is written.
            Some(name) => {
                point.set(Set::Fields, name, field_type, value);
                Ok(Set::Fields)
            }
            None => {
                let key = self.settings.renames.key(if node == NONE { path } else { tree.path(node) });
                // The last value of a key wins, even if it makes no field.
                point.remove_of_any_type(Set::Fields, &key, &self.settings.kinds);
                if value.is_null() {
                    return Err(LeftOut::nothing("null makes no field"));
                }
                let is_empty = without_underscores(&key).is_empty();
                self.left_out(None, if is_empty { LeftOut::lost("an empty key makes no field") } else { NO_KEY })
            }
        }
    }

    fn tag(&mut self, node: Node, value: Value) -> Result<Set, LeftOut> {
        let name = self.name(node, Set::Tags, value);
        let Payloads { point, decoded, tree, .. } = &mut *self.payloads;
        let source = Source { text: self.text.bytes(), decoded };
        let value = if tree.member(node).is_identity { value.trimmed(source) } else { value };
        let text = tag_text(value.of(source));
        let why = match (&text, name) {
            (Err(why), _) => *why,
            // A value of backslashes alone cannot be written.
            (Ok(text), _) if text.iter().all(|byte| *byte == b'\\') => LeftOut::nothing("an empty value makes no tag"),
            (Ok(_), None) => LeftOut::lost("an empty key makes no tag"),
            (Ok(_), Some(name)) => {
                point.set(Set::Tags, name, FieldType::String, value);
                return Ok(Set::Tags);
            }
        };
        name.into_iter().for_each(|name| point.remove(Set::Tags, name));
        self.left_out(name, why)
    }

    #[cold]
    fn left_out(&mut self, name: Option<Name>, why: LeftOut) -> Result<Set, LeftOut> {
        if why.lost {
            let behind = self.payloads.point.last(Set::Fields).map_or(0, |(_, last)| last + 1);
            self.payloads.point.notes.push(Note { behind, name, what: What::LeftOut(why.why) });
        }
        Err(why)
    }

    /// The name of a member's key in a set. A null adds no name.
    #[inline]
    fn name(&mut self, node: Node, set: Set, value: Value) -> Option<Name> {
        let Payloads { point, path, tree, .. } = &mut *self.payloads;
        if node != NONE {
            return tree.member(node).name;
        }
        let key = self.settings.renames.key(path);
        if value.is_null() { point.names.find(&key, set) } else { point.names.of(&key, set) }
    }

    /// The name of a member's key, if the value determines the type. A null adds no name.
    fn name_of_type(&mut self, node: Node, field_type: FieldType, value: Value) -> Option<Name> {
        let Settings { kinds, renames, .. } = self.settings;
        let Payloads { point, path, tree, .. } = &mut *self.payloads;
        let names = &mut point.names;
        let path = &*renames.key(if node == NONE { path } else { tree.path(node) });
        if node == NONE && value.is_null() {
            return names.find_of_any_type(path, kinds);
        }
        if node == NONE {
            return names.of_type(path, field_type, kinds);
        }
        let member = *tree.member(node);
        if field_type != FieldType::String {
            return member.name;
        }
        if member.text_name.is_none() {
            tree.member_mut(node).text_name = names.of_type(path, field_type, kinds);
        }
        tree.member(node).text_name
    }
}
