//! Streams of JSON in which one message is damaged. The others give the points that they give without it.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

use super::lines::{self, decode};
use super::product::{assert_same, check_output, chunks, convert, convert_chunks};
use super::{Line, Metric, Options, Reference};

/// A message as models send it, or as people and tools print it: an object, or an array of objects.
#[derive(Clone, Debug)]
pub struct Message {
    payloads: Vec<Value>,
    is_array: bool,
    /// Spread over lines.
    is_pretty: bool,
}

impl Message {
    /// A message of one payload for each of `values`, of which all that is not an object becomes a metric.
    pub fn new(values: Vec<Value>, is_array: bool, is_pretty: bool) -> Self {
        let payloads =
            values.into_iter().map(|value| json!({"algorithm_name": "a", "time": 1_613_780_514, "x": value}));
        Message { payloads: payloads.collect(), is_array, is_pretty }
    }

    /// Its text. Each payload says that it is `name`'s.
    pub fn text(&self, name: &str) -> String {
        let mut payloads = self.payloads.clone();
        for (index, payload) in payloads.iter_mut().enumerate() {
            payload["request_id"] = format!("{name} {index}").into();
        }
        let value = if self.is_array { Value::Array(payloads) } else { payloads.swap_remove(0) };
        if self.is_pretty { format!("{value:#}") } else { value.to_string() }
    }

    /// That text, damaged in each of these ways, one after the other.
    pub fn damaged(&self, name: &str, damage: &[Damage]) -> Vec<u8> {
        let mut text = self.text(name).into_bytes();
        damage.iter().for_each(|damage| damage.apply(&mut text));
        text
    }
}

/// Checks that of a stream of messages, in which `damaged` stands between those before `place` and the others, the others give what the
/// reference makes of them, and nothing else has any part of them. Each begins at a line of its own.
pub fn others_are_unharmed(
    messages: &[Message],
    damaged: &[u8],
    place: usize,
    line_end: &str,
    options: &Options,
    cuts: &[usize],
) {
    // It is what tells the others from it.
    const NAME: &str = "unharmed";
    if damaged.windows(NAME.len()).any(|window| window == NAME.as_bytes()) {
        return;
    }
    let (mut input, mut expected) = (vec![], vec![]);
    let mut reference = Reference::new(options);
    for index in 0..=messages.len() {
        if index == place {
            input.extend_from_slice(damaged);
            input.extend_from_slice(line_end.as_bytes());
        }
        if let Some(message) = messages.get(index) {
            let text = message.text(&format!("{NAME} {index}"));
            expected.extend(reference.convert_message(text.as_bytes(), &Metric::default()));
            input.extend_from_slice(text.as_bytes());
            input.extend_from_slice(line_end.as_bytes());
        }
    }
    let output = convert(&input, options);
    check_output(&output, options);
    let found: Vec<Line> = lines::split(&output)
        .expect("checked")
        .into_iter()
        .map(|line| std::str::from_utf8(line).expect("UTF-8"))
        .filter(|line| line.contains(NAME))
        .map(decode)
        .collect();
    assert!(found == expected, "{found:.1500?}\nnot {expected:.1500?}\nfor {:.3000}", String::from_utf8_lossy(&input));
    let cut = convert_chunks(&chunks(&input, cuts), options);
    assert_same(&cut, &output, &input);
}

/// Messages of all kinds; one that is to be damaged is the last.
pub fn messages(is_pretty: BoxedStrategy<bool>) -> BoxedStrategy<Vec<Message>> {
    let message = (vec(value(), 1..3), any::<bool>(), is_pretty)
        .prop_map(|(values, is_array, is_pretty)| Message::new(values, is_array, is_pretty));
    vec(message, 2..7).boxed()
}

fn value() -> BoxedStrategy<Value> {
    let texts = vec!["t", "", "{", "[", "}]", "\"", "\\", "\n", ",", "{\"a\":[", "\\\"", "é", "]\n{"];
    let scalar = prop_oneof![
        any::<i16>().prop_map(Value::from),
        select(vec![Value::Null, true.into(), 0.5.into()]),
        select(texts.clone()).prop_map(Value::from),
    ];
    scalar
        .prop_recursive(4, 16, 3, move |inner| {
            let key = select(texts.clone()).prop_map(String::from);
            prop_oneof![
                vec(inner.clone(), 0..4).prop_map(Value::from),
                vec((key, inner), 0..4).prop_map(|members| members.into_iter().collect()),
            ]
        })
        .boxed()
}

/// What becomes of a text on a bad day. Where `with_lines` is false, it gets no line break.
pub fn damage(with_lines: bool) -> BoxedStrategy<Vec<Damage>> {
    let mut bytes = b"{}[]\":,\\ \t\r\0e1-\xff\x1e".to_vec();
    bytes.extend(with_lines.then_some(b'\n'));
    let other = any::<u8>().prop_map(move |byte| if byte == b'\n' && !with_lines { b' ' } else { byte });
    let bytes = vec(prop_oneof![4 => select(bytes), 1 => other], 0..5);
    vec((any::<Index>(), 0..12_usize, bytes, any::<bool>()), 1..4)
        .prop_map(|all| all.into_iter().map(|(at, removed, put, is_end)| Damage { at, removed, put, is_end }).collect())
        .boxed()
}

/// At a place of the text some bytes are removed, or all from there on, and others put in.
#[derive(Clone, Debug)]
pub struct Damage {
    at: Index,
    removed: usize,
    put: Vec<u8>,
    is_end: bool,
}

impl Damage {
    fn apply(&self, text: &mut Vec<u8>) {
        let at = self.at.index(text.len() + 1);
        let end = if self.is_end { text.len() } else { text.len().min(at + self.removed) };
        text.splice(at..end, self.put.iter().copied());
    }
}
