//! Reads a payload: each key and value goes into the point as soon as it is read.

mod scalar;

use std::ops::Range;

use crate::json::{Encoding, Source, SyntaxError, Text};
use crate::line_protocol::field_type::FieldType;
use crate::observe::event::Reason;
use crate::observe::trace::LeftOut;
use crate::payload::container::{Content, OpenContainer};
use crate::payload::point::Set;
use crate::payload::room::Room;
use crate::payload::timestamp::container as container_time;
use crate::payload::tracer::Tracer;
use crate::payload::tree::{Member, NONE, Node, Role, TimeKey};
use crate::payload::value::is_plain_tag;
use crate::payload::{Payloads, Rejection, TIME_SOURCES, Time, large};
use crate::settings::Settings;

/// Separates a key from those that are nested in it.
const SEPARATOR: u8 = b'_';

/// How many more values a payload may have than its point may have fields and tags, since some values may make none.
const MORE_VALUES: usize = 16 * 1024;

/// The reason for a value that a rule drops.
const DROPPED: LeftOut = LeftOut::nothing("--as drops it");

/// The reason for an empty object or array.
const EMPTY: LeftOut = LeftOut::nothing("there is nothing in it");

/// Why reading ended before the payload did.
enum Failure {
    Syntax(SyntaxError),
    Limit(Box<Rejection>),
    /// An object or array may hold too many values.
    Many,
}

impl From<SyntaxError> for Failure {
    fn from(error: SyntaxError) -> Self {
        Failure::Syntax(error)
    }
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        Failure::Limit(Box::new(rejection))
    }
}

impl From<Failure> for Rejection {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Syntax(error) => error.into(),
            Failure::Limit(rejection) => *rejection,
            // Such objects and arrays are searched for only once, and are known after that.
            Failure::Many => Rejection::new(Reason::TooLarge, "the payload has too many values"),
        }
    }
}

/// Reads the payload `text`. A tracer, if there is one, is told of each key.
pub(super) fn read<E: Encoding>(
    payloads: &mut Payloads,
    text: &[u8],
    settings: &Settings,
    room: &mut Room,
    mut tracer: Option<&mut Tracer>,
) -> Result<(), Rejection> {
    payloads.large = None;
    let mut first_room = *room;
    let failure = match read_once::<E>(payloads, text, settings, &mut first_room, tracer.as_deref_mut()) {
        Ok(()) => return Ok(()),
        Err(failure) => failure,
    };
    if let Failure::Syntax(_) = failure {
        return Err(failure.into());
    }
    // Without objects and arrays that are too large, the rest may be within all limits. A syntax error is found again.
    let json = Text::<E>::new(text);
    let start = json.skip_blank(0);
    let large = large::find(json, start, settings.limits, &mut payloads.decoded).unwrap_or_default();
    if let Failure::Limit(rejection) = failure
        && large.is_empty()
    {
        *room = first_room;
        return Err(*rejection);
    }
    payloads.large = Some(large);
    if let Some(tracer) = &mut tracer {
        tracer.start_payload();
    }
    Ok(read_once::<E>(payloads, text, settings, room, tracer)?)
}

fn read_once<E: Encoding>(
    payloads: &mut Payloads,
    text: &[u8],
    settings: &Settings,
    room: &mut Room,
    tracer: Option<&mut Tracer>,
) -> Result<(), Failure> {
    // A tracer needs each key as it is written, but keys that are remembered are not decoded.
    let root = if tracer.is_some() { NONE } else { E::ROOT };
    let mut reader = PayloadReader::<E>::new(payloads, text, settings, room, tracer);
    let at = reader.text.skip_blank(0);
    let bracket = reader.text.byte(at).filter(|byte| matches!(byte, b'{' | b'['));
    let end = match bracket {
        Some(bracket) => {
            let content = if bracket == b'{' { Content::Payload } else { Content::Skipped };
            reader.container(OpenContainer::new(bracket, content, root, 0, at))?
        }
        None => reader.text.scalar(at, &mut reader.payloads.decoded)?.1,
    };
    reader.text.end(end)?;
    if bracket == Some(b'{') {
        return Ok(());
    }
    let error = "expected a JSON object, as Insights sends one for each call";
    Err(Rejection::new(Reason::NotAnObject, error).at(0).into())
}

/// Reads the payload at the start of `text`. Returns its length, or None if there is none.
#[inline]
pub(super) fn read_start<E: Encoding>(
    payloads: &mut Payloads,
    text: &[u8],
    settings: &Settings,
    room: &mut Room,
) -> Option<usize> {
    if text.first() != Some(&b'{') {
        return None;
    }
    payloads.large = None;
    let mut reader = PayloadReader::<E>::new(payloads, text, settings, room, None);
    reader.container(OpenContainer::new(b'{', Content::Payload, E::ROOT, 0, 0)).ok()
}

struct PayloadReader<'w, 'a, E> {
    text: Text<'a, E>,
    payloads: &'w mut Payloads,
    settings: &'w Settings,
    room: &'w mut Room,
    tracer: Option<&'w mut Tracer>,
}

impl<'w, 'a, E: Encoding> PayloadReader<'w, 'a, E> {
    #[inline]
    fn new(
        payloads: &'w mut Payloads,
        text: &'a [u8],
        settings: &'w Settings,
        room: &'w mut Room,
        tracer: Option<&'w mut Tracer>,
    ) -> Self {
        payloads.start();
        PayloadReader { text: Text::new(text), payloads, settings, room, tracer }
    }

    /// Reads a container and everything in it. Returns where it ends.
    fn container(&mut self, mut now: OpenContainer) -> Result<usize, Failure> {
        let (mut at, mut ended) = self.open(&now);
        loop {
            if !ended {
                let inner = match (now.is_read, now.is_object) {
                    (true, true) => self.members(&mut now, &mut at)?,
                    (true, false) => self.items(&mut now, &mut at)?,
                    (false, _) => self.skipped(&now, &mut at)?,
                };
                if let Some((bracket, node)) = inner {
                    let inner = self.inner(bracket, &now, node, at)?;
                    self.payloads.around.push(std::mem::replace(&mut now, inner));
                    (at, ended) = self.open(&now);
                    continue;
                }
            }
            self.end(&now, at);
            let Some(outer) = self.payloads.around.pop() else { break };
            now = outer;
            (ended, at) = self.text.ends(at, now.close())?;
        }
        self.check_values()?;
        Ok(at)
    }

    /// Reads the members of an object up to its end, or to one that is an object or array. Returns that one's bracket and
    /// node.
    #[inline(never)]
    fn members(&mut self, now: &mut OpenContainer, place: &mut usize) -> Result<Option<(u8, Node)>, Failure> {
        // State that changes with each member is in local variables, not in memory.
        let (text, object) = (self.text, now.node);
        let (mut at, mut last) = (*place, now.last);
        let inner = loop {
            at = text.skip_blank(at);
            let tree = &self.payloads.tree;
            let mut node = tree.next(object, last, true);
            if node != NONE
                && let Some(end) = text.key_is(at, tree.raw(node))
            {
                (last, at) = (node, end);
            } else {
                (node, at) = self.other_member(now, last, at)?;
                if node != NONE {
                    last = node;
                }
            }
            at = text.skip_blank(at);
            if let Some(bracket @ (b'{' | b'[')) = text.byte(at) {
                break Some((bracket, node));
            }
            at = self.scalar(node, at)?;
            let ended;
            (ended, at) = text.ends(at, b'}')?;
            if ended {
                break None;
            }
        };
        (*place, now.last) = (at, last);
        Ok(inner)
    }

    /// The same for the items of an array.
    #[inline(never)]
    fn items(&mut self, now: &mut OpenContainer, place: &mut usize) -> Result<Option<(u8, Node)>, Failure> {
        let (text, array) = (self.text, now.node);
        let (mut at, mut last) = (*place, now.last);
        let inner = loop {
            at = text.skip_blank(at);
            let mut node = self.payloads.tree.next(array, last, false);
            if node == NONE {
                node = self.other_item(now, last)?;
            }
            if node != NONE {
                last = node;
            }
            now.items += 1;
            if let Some(bracket @ (b'{' | b'[')) = text.byte(at) {
                break Some((bracket, node));
            }
            at = self.scalar(node, at)?;
            let ended;
            (ended, at) = text.ends(at, b']')?;
            if ended {
                break None;
            }
        };
        (*place, now.last) = (at, last);
        Ok(inner)
    }

    /// Skips members or items in the same way.
    fn skipped(&mut self, now: &OpenContainer, at: &mut usize) -> Result<Option<(u8, Node)>, Failure> {
        loop {
            if now.is_object {
                (_, _, *at) = self.text.key(*at, &mut self.payloads.decoded)?;
            }
            *at = self.text.skip_blank(*at);
            if let Some(bracket @ (b'{' | b'[')) = self.text.byte(*at) {
                return Ok(Some((bracket, NONE)));
            }
            (_, *at) = self.text.scalar(*at, &mut self.payloads.decoded)?;
            let ended;
            (ended, *at) = self.text.ends(*at, now.close())?;
            if ended {
                return Ok(None);
            }
        }
    }

    /// Reads the opening bracket of a container and, if it is empty, its closing one. Returns where that ends, and whether
    /// it is empty.
    fn open(&mut self, container: &OpenContainer) -> (usize, bool) {
        let at = self.text.skip_blank(container.start + 1);
        let is_empty = self.text.byte(at) == Some(container.close());
        let end = at + usize::from(is_empty);
        if is_empty && container.content == Content::Nested {
            self.trace_left_out(container.start..end, EMPTY);
        }
        (end, is_empty)
    }

    /// Begins an object or array that is a member of another, at `start`.
    fn inner(&mut self, bracket: u8, now: &OpenContainer, node: Node, start: usize) -> Result<OpenContainer, Failure> {
        let member = *self.payloads.tree.member(node);
        let content = match (now.content, member.role) {
            (Content::Time(_) | Content::Dropped | Content::Json | Content::TooMany(_) | Content::Skipped, _) => {
                Content::Skipped
            }
            (_, Role::Time(key)) => Content::Time(key),
            (_, Role::Drop) => Content::Dropped,
            (_, Role::Json) => Content::Json,
            (_, Role::Field(_) | Role::ByValue | Role::Tag) => self.large(start),
        };
        if let Content::Dropped | Content::Nested | Content::Json | Content::TooMany(_) = content {
            self.payloads.keys += member.counted_len as usize;
            self.check_keys()?;
        }
        let limit = self.settings.limits.nesting;
        // `around` includes neither the payload itself nor this container.
        if self.payloads.around.len() + 2 > limit {
            let error = format!("objects and arrays are nested deeper than {limit}");
            return Err(Rejection::new(Reason::TooLarge, error).at(start).into());
        }
        Ok(OpenContainer::new(bracket, content, node, member.path_len, start))
    }

    /// What becomes of an object or array whose values may become tags and fields.
    fn large(&self, start: usize) -> Content {
        let Some(large) = &self.payloads.large else { return Content::Nested };
        match large.binary_search_by_key(&start, |large| large.start) {
            Ok(found) => Content::TooMany(large[found].values as u32),
            Err(_) => Content::Nested,
        }
    }

    /// Ends a container at `end`.
    fn end(&mut self, container: &OpenContainer, end: usize) {
        let place = container.start..end;
        match container.content {
            Content::Time(key) => {
                let text = &self.text.bytes()[container.start..];
                let time = container_time::read::<E>(text, &mut self.payloads.decoded);
                self.payloads.times[key as usize] = Some(time.map_or(Time::Container, Time::Value));
                self.trace_time(place, key, false);
            }
            Content::Dropped => self.trace_left_out(place, DROPPED),
            Content::Json => self.json(container, place),
            Content::TooMany(values) => self.too_many(container, place, values as usize),
            Content::Payload | Content::Nested | Content::Skipped => {}
        }
    }

    /// Reads a key other than the expected one, and its colon. Returns where the colon ends.
    #[inline(never)]
    fn other_member(&mut self, now: &OpenContainer, last: Node, at: usize) -> Result<(Node, usize), Failure> {
        let (raw, key, end) = self.text.key(at, &mut self.payloads.decoded)?;
        if let Some(node) = self.payloads.tree.find(now.node, raw, last) {
            return Ok((node, end));
        }
        self.begin_path(now);
        let start = self.payloads.path.len();
        let source = Source { text: self.text.bytes(), decoded: &self.payloads.decoded };
        self.payloads.path.extend_from_slice(&key.of(source).text());
        if let Some(tracer) = &mut self.tracer {
            let key = String::from_utf8_lossy(&self.payloads.path[start..]);
            tracer.enter_key(self.payloads.around.len() + 1, &key);
        }
        Ok((self.new_member(now, last, Some(raw))?, end))
    }

    #[inline(never)]
    fn other_item(&mut self, now: &OpenContainer, last: Node) -> Result<Node, Failure> {
        self.begin_path(now);
        self.payloads.path.extend_from_slice(itoa::Buffer::new().format(now.items).as_bytes());
        if let Some(tracer) = &mut self.tracer {
            tracer.enter_item(self.payloads.around.len() + 1, now.items as usize);
        }
        self.new_member(now, last, None)
    }

    /// Sets the path to that of a container, with what follows it in its members' paths.
    fn begin_path(&mut self, now: &OpenContainer) {
        let Payloads { tree, path, .. } = &mut *self.payloads;
        if now.node == NONE {
            path.truncate(now.path_len as usize);
        } else {
            path.clear();
            path.extend_from_slice(tree.path(now.node));
        }
        if now.content == Content::Nested {
            path.push(SEPARATOR);
        }
    }

    /// Determines what becomes of the value at the current path. The result is remembered if possible, and otherwise stored
    /// at [`NONE`].
    fn new_member(&mut self, now: &OpenContainer, last: Node, raw: Option<&[u8]>) -> Result<Node, Failure> {
        self.check_values()?;
        let Payloads { tree, path, point, .. } = &mut *self.payloads;
        let key = self.settings.renames.key(path);
        let may_be_time = now.content == Content::Payload || *key != **path;
        let mut member = Member::of(path.len(), &key, may_be_time, self.settings);
        if !tree.takes(now.node, raw, path) {
            tree.set_none(member);
            return Ok(NONE);
        }
        member.name = match member.role {
            Role::ByValue => point.names.of_type(&key, FieldType::Float, &self.settings.kinds),
            role => role.set().and_then(|set| point.names.of(&key, set)),
        };
        Ok(tree.add(now.node, last, raw, path, member))
    }

    /// Reads the value at `at`, which is neither object nor array. Returns where it ends.
    #[inline(always)]
    fn scalar(&mut self, node: Node, at: usize) -> Result<usize, Failure> {
        let (value, end) = self.text.scalar(at, &mut self.payloads.decoded)?;
        let member = self.payloads.tree.member(node);
        self.payloads.keys += member.counted_len as usize;
        match (member.role, member.name) {
            (Role::ByValue, Some(name)) if value.is_float() => {
                self.payloads.point.set(Set::Fields, name, FieldType::Float, value);
                self.check_keys()?;
            }
            (Role::Field(field_type), Some(name)) if !value.is_null() => {
                if member.is_request_id {
                    self.payloads.request_id = Some(value);
                }
                self.payloads.point.set(Set::Fields, name, field_type, value);
                self.check_keys()?;
            }
            (Role::Tag, Some(name)) if !member.is_request_id && is_plain_tag(value.text(self.text.bytes())) => {
                self.payloads.point.set(Set::Tags, name, FieldType::String, value);
                self.check_keys()?;
            }
            _ => self.other_scalar(node, value, at..end)?,
        }
        Ok(end)
    }

    fn trace_left_out(&mut self, value: Range<usize>, why: LeftOut) {
        if let Some(tracer) = &mut self.tracer {
            tracer.left_out(value, why);
        }
    }

    fn trace_time(&mut self, value: Range<usize>, key: TimeKey, is_null: bool) {
        if let Some(tracer) = &mut self.tracer {
            tracer.time(value, TIME_SOURCES[key as usize], is_null);
        }
    }

    /// Flattened keys cost time and room even if nothing becomes of them.
    #[inline]
    fn check_keys(&mut self) -> Result<(), Failure> {
        Ok(self.room.check(self.payloads.keys)?)
    }

    fn check_values(&self) -> Result<(), Failure> {
        let limit = self.settings.limits.fields;
        if self.payloads.large.is_none()
            && self.payloads.point.values() + self.payloads.others > self.settings.limits.items
        {
            return Err(Failure::Many);
        }
        if self.payloads.point.values() <= limit + MORE_VALUES {
            return Ok(());
        }
        Err(Rejection::too_many_fields(limit).into())
    }
}
